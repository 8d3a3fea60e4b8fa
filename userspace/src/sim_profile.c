// SPDX-License-Identifier: MIT
/*
 * KILN_PROFILE=FILE: what the card's engines and rings did and when, as a trace
 * that Perfetto and chrome://tracing open, and a summary on standard error when
 * the card is closed. A process of core N has a thread for its commands, for
 * each engine and each ring; times are device time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define MAX_EVENTS	1000000		/* of a trace: some 150 MB */
#define MAX_FILES	1000
#define ENGINES		5
#define RING_THREAD	10		/* of ring 0; 0: commands, 1 to 5: engines */

struct sim_profile {
	FILE *file;
	char path[4096];
	pthread_mutex_t lock;
	uint64_t events, dropped, commands;
	double ring_end[KILN_MAX_CORES][16];
};

static const char *const engine_names[ENGINES] = { "Tensor", "Vector", "Scalar", "GpSimd", "Sync" };

static void write_event(struct sim_profile *p, const char *name, unsigned int core,
			unsigned int thread, double start, double end,
			const struct kiln_sim_event *e)
{
	if (p->events == MAX_EVENTS) {
		p->dropped++;
		return;
	}
	p->events++;
	fprintf(p->file, ",\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%u,\"tid\":%u,\"ts\":%.4f,\"dur\":%.4f",
		name, core, thread, start / 1000, (end - start) / 1000);
	if (e->kind != KILN_SIM_COMMAND)
		fprintf(p->file, ",\"args\":{\"engine\":\"%s\",\"instruction\":%u,\"label\":%u,\"bytes\":%" PRIu64 "}",
			engine_names[e->engine], e->index, e->label, e->bytes);
	fputc('}', p->file);
}

static void on_event(void *opaque, const struct kiln_sim_event *e)
{
	struct sim_profile *p = opaque;
	double start = e->start;

	pthread_mutex_lock(&p->lock);
	switch (e->kind) {
	case KILN_SIM_COMMAND:
		p->commands++;
		write_event(p, "command", e->core, 0, e->start, e->end, e);
		break;
	case KILN_SIM_TRANSFER:
		/* One after the other, as they end: from when the one before did. */
		if (start < p->ring_end[e->core][e->ring])
			start = p->ring_end[e->core][e->ring];
		p->ring_end[e->core][e->ring] = e->end;
		write_event(p, e->name, e->core, RING_THREAD + e->ring, start, e->end, e);
		break;
	default:
		if (e->start > e->wait)
			write_event(p, "wait", e->core, 1 + e->engine, e->wait, e->start, e);
		write_event(p, e->name, e->core, 1 + e->engine, e->start, e->end, e);
		break;
	}
	pthread_mutex_unlock(&p->lock);
}

static void write_names(struct sim_profile *p, unsigned int core, unsigned int generation)
{
	fprintf(p->file, "%s{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"args\":{\"name\":\"trn%u core %u, device time\"}}",
		core ? ",\n" : "", core, generation, core);
	for (unsigned int t = 0; t < RING_THREAD + 16; t++) {
		char name[16] = "commands";

		if (t > ENGINES && t < RING_THREAD)
			continue;
		if (t >= RING_THREAD)
			snprintf(name, sizeof(name), "DMA ring %u", t - RING_THREAD);
		else if (t)
			snprintf(name, sizeof(name), "%s", engine_names[t - 1]);
		fprintf(p->file, ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":%u,\"args\":{\"name\":\"%s\"}}",
			core, t, name);
	}
}

/* The file, or the first of FILE.2, FILE.3, ... that is not there: a process may open several cards. */
static FILE *create(const char *path, char name[4096])
{
	FILE *file = NULL;

	for (unsigned int i = 1; i <= MAX_FILES && !file; i++) {
		if (i == 1)
			snprintf(name, 4096, "%s", path);
		else
			snprintf(name, 4096, "%s.%u", path, i);
		file = fopen(name, "wx");
		if (!file && errno != EEXIST)
			break;
	}
	return file;
}

int sim_profile_start(struct sim_device *dev)
{
	const char *path = getenv("KILN_PROFILE");
	struct sim_profile *p;

	if (!path || !*path)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return kiln_error(-ENOMEM, "sim: out of memory");
	p->file = create(path, p->path);
	if (!p->file) {
		int err = errno;

		free(p);
		return kiln_error(-err, "sim: KILN_PROFILE: %s: %s", path, strerror(err));
	}
	pthread_mutex_init(&p->lock, NULL);
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", p->file);
	for (unsigned int i = 0; i < dev->config.cores; i++)
		write_names(p, i, dev->config.generation);
	dev->profile = p;
	kiln_sim_watch(dev->sim, on_event, p);
	return 0;
}

static void summary(const struct sim_profile *p, const struct kiln_sim_usage *u)
{
	const char *bound = "DMA";
	double most = u->dma;

	fprintf(stderr, "kiln profile: %s\n", p->path);
	fprintf(stderr, "  %" PRIu64 " commands, %.3f us of device time; HBM %.3f MB\n", p->commands,
		u->seconds * 1e6, u->hbm_bytes * 1e-6);
	if (!(u->seconds > 0))
		return;
	fprintf(stderr, "  busy: ");
	for (unsigned int e = 0; e < 4; e++) {
		fprintf(stderr, "%s %.1f %%, ", engine_names[e], 100 * u->busy[e] / u->seconds);
		if (u->busy[e] > most) {
			most = u->busy[e];
			bound = engine_names[e];
		}
	}
	fprintf(stderr, "DMA %.1f %%; busiest: %s\n", 100 * u->dma / u->seconds, bound);
	if (p->dropped)
		fprintf(stderr, "  the trace has the first %u events, %" PRIu64 " more were left out\n",
			MAX_EVENTS, p->dropped);
}

void sim_profile_end(struct sim_device *dev)
{
	struct sim_profile *p = dev->profile;
	struct kiln_sim_usage usage;

	if (!p)
		return;
	dev->profile = NULL;
	kiln_sim_usage(dev->sim, &usage);
	fprintf(p->file, "\n],\"otherData\":{\"dropped\":\"%" PRIu64 "\"}}\n", p->dropped);
	if (fclose(p->file))
		fprintf(stderr, "kiln profile: %s: %s\n", p->path, strerror(errno));
	else
		summary(p, &usage);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
