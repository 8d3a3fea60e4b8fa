// SPDX-License-Identifier: MIT
/*
 * KILN_PROFILE=FILE: what a card did and when, as a trace that Perfetto and
 * chrome://tracing open, and a summary on standard error when it is closed.
 *
 * Process N is core N in device time, which stands still while no command runs:
 * a thread for its commands, for each engine and each ring. Process HOST is this
 * process in its own time: each command from its submission to its completion,
 * with its cycles. Behind the events stand sums, for all and for each program:
 * they are whole even where events were dropped. Each event is a line, so that
 * kiln profile --report can read it with little.
 *
 * Now and then the sums until there stand between the events, as metadata, and
 * the file is flushed: what is left of a process that is killed can be mended.
 *
 * Cards of the driver cannot be watched inside: of those there are commands.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kiln/hw.h"
#include "kiln_sim.h"
#include "transport.h"

#define MAX_EVENTS	1000000		/* of a trace: some 150 MB */
#define MAX_FILES	1000
#define STAND_EVENTS	5000		/* until the sums are written again */
#define STAND_NS	200000000
#define MAX_ROWS	1000		/* programs beyond are counted in the first row */
#define ENGINES		5
#define RING_THREAD	10		/* of ring 0; 0: commands, 1 to 5: engines */
#define HOST		100		/* process */

struct sums {
	double seconds, busy[ENGINES], dma, operations, at_peak;
	uint64_t hbm_bytes, sbuf_bytes, psum_bytes;
};

struct row {
	uint64_t program;		/* device address */
	uint32_t bytes;
	char name[32];
	uint64_t commands, failed;
	double host_seconds;		/* from submission to completion */
	struct sums sums;
};

struct kiln_profile {
	struct kiln_device *device;
	FILE *file;
	char path[4096];
	pthread_mutex_t lock;
	uint64_t events, dropped, commands;
	uint64_t stand_events, stand_time;	/* when the sums are written next */
	uint64_t opened;		/* ns */
	double clock;			/* ns of device time, where nobody watches */
	double ring_end[KILN_MAX_CORES][16];
	double began[KILN_MAX_CORES];	/* s: the command that runs */
	struct sums running[KILN_MAX_CORES];
	struct row total, *rows;
	unsigned int count;
};

static const char *const engine_names[ENGINES] = { "Tensor", "Vector", "Scalar", "GpSimd", "Sync" };

uint64_t kiln_profile_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static bool room(struct kiln_profile *p)
{
	if (p->events == MAX_EVENTS) {
		p->dropped++;
		return false;
	}
	p->events++;
	return true;
}

/* -------------------------------------------------------------------- sums -- */

static void add(struct sums *to, const struct sums *s)
{
	to->seconds += s->seconds;
	for (unsigned int e = 0; e < ENGINES; e++)
		to->busy[e] += s->busy[e];
	to->dma += s->dma;
	to->operations += s->operations;
	to->at_peak += s->at_peak;
	to->hbm_bytes += s->hbm_bytes;
	to->sbuf_bytes += s->sbuf_bytes;
	to->psum_bytes += s->psum_bytes;
}

/* Addresses come back when a program is freed: the last one that had it. */
static struct row *row_of(struct kiln_profile *p, uint64_t program)
{
	for (unsigned int i = p->count; i > 1; i--)
		if (p->rows[i - 1].program == program)
			return &p->rows[i - 1];
	return &p->rows[0];
}

void kiln_profile_program(const struct kiln_program *program, const char *name)
{
	struct kiln_profile *p = program->device->profile;
	struct row *row;

	pthread_mutex_lock(&p->lock);
	row = row_of(p, program->buffer->addr);
	/* One that has run stays; one that has not is but named anew. */
	if ((row == p->rows || row->commands || row->bytes != program->bytes) &&
	    p->count < MAX_ROWS)
		row = &p->rows[p->count++];
	if (row != p->rows) {
		row->program = program->buffer->addr;
		row->bytes = program->bytes;
		snprintf(row->name, sizeof(row->name), "%s", name);
	}
	pthread_mutex_unlock(&p->lock);
}

static void write_row(struct kiln_profile *p, const struct row *row, const char *before)
{
	const struct sums *s = &row->sums;

	fprintf(p->file, "%s{\"name\":\"%s\",\"program_bytes\":%u,\"commands\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"host_s\":%.9f,\"device_s\":%.12f,\"busy_s\":[%.12f,%.12f,%.12f,%.12f,%.12f],\"dma_s\":%.12f,\"hbm_bytes\":%" PRIu64 ",\"sbuf_bytes\":%" PRIu64 ",\"psum_bytes\":%" PRIu64 ",\"operations\":%.0f,\"at_peak_s\":%.12f}",
		before, row->name, row->bytes, row->commands, row->failed, row->host_seconds,
		s->seconds, s->busy[0], s->busy[1], s->busy[2], s->busy[3], s->busy[4], s->dma,
		s->hbm_bytes, s->sbuf_bytes, s->psum_bytes, s->operations, s->at_peak);
}

/* How it stands now, commands that run included; in a full trace each time twice as late. */
static void stand(struct kiln_profile *p, uint64_t now)
{
	const struct kiln_info *info = &p->device->info;
	uint64_t seen = p->events + p->dropped;
	struct row all = p->total;

	if (seen < p->stand_events && now < p->stand_time)
		return;
	p->stand_events = seen + (p->dropped ? seen : STAND_EVENTS);
	p->stand_time = p->dropped ? UINT64_MAX : now + STAND_NS;
	for (unsigned int i = 0; i < p->count; i++) {
		all.commands += p->rows[i].commands;
		all.failed += p->rows[i].failed;
		all.host_seconds += p->rows[i].host_seconds;
	}
	for (unsigned int core = 0; core < info->cores; core++)
		add(&all.sums, &p->running[core]);
	fprintf(p->file, ",\n{\"name\":\"stand\",\"ph\":\"M\",\"pid\":%u,\"args\":{\"transport\":\"%s\",\"generation\":%u,\"cores\":%u,\"engines\":%d,\"wall_s\":%.6f,\"dropped\":%" PRIu64,
		HOST, info->transport, info->generation, info->cores,
		p->device->transport->watch != NULL, (now - p->opened) * 1e-9, p->dropped);
	write_row(p, &all, ",\"total\":");
	fputs("}}", p->file);
	fflush(p->file);
}

/* ------------------------------------------------------------------ events -- */

static void write_event(struct kiln_profile *p, const char *name, unsigned int core,
			unsigned int thread, double start, double end,
			const struct kiln_sim_event *e)
{
	if (!room(p))
		return;
	fprintf(p->file, ",\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%u,\"tid\":%u,\"ts\":%.4f,\"dur\":%.4f",
		name, core, thread, start / 1000, (end - start) / 1000);
	if (e && e->kind != KILN_SIM_COMMAND)
		fprintf(p->file, ",\"args\":{\"engine\":\"%s\",\"instruction\":%u,\"label\":%u,\"bytes\":%" PRIu64 "}",
			engine_names[e->engine], e->index, e->label, e->hbm_bytes);
	fputc('}', p->file);
}

static void on_event(void *opaque, const struct kiln_sim_event *e)
{
	struct kiln_profile *p = opaque;
	struct sums *sums = &p->running[e->core];
	double start = e->start;
	struct row *row;

	pthread_mutex_lock(&p->lock);
	sums->operations += e->operations;
	sums->at_peak += e->at_peak * 1e-9;
	sums->hbm_bytes += e->hbm_bytes;
	sums->sbuf_bytes += e->sbuf_bytes;
	sums->psum_bytes += e->psum_bytes;
	switch (e->kind) {
	case KILN_SIM_COMMAND:
		row = row_of(p, e->program);
		sums->seconds = (e->end - e->start) * 1e-9;
		add(&row->sums, sums);
		add(&p->total.sums, sums);
		*sums = (struct sums){ 0 };
		write_event(p, row->name, e->core, 0, e->start, e->end, e);
		break;
	case KILN_SIM_TRANSFER:
		sums->dma += e->busy * 1e-9;
		/* One after the other, as they end: from when the one before did. */
		if (start < p->ring_end[e->core][e->ring])
			start = p->ring_end[e->core][e->ring];
		p->ring_end[e->core][e->ring] = e->end;
		write_event(p, e->name, e->core, RING_THREAD + e->ring, start, e->end, e);
		break;
	default:
		sums->busy[e->engine] += e->busy * 1e-9;
		if (e->start > e->wait)
			write_event(p, "wait", e->core, 1 + e->engine, e->wait, e->start, e);
		write_event(p, e->name, e->core, 1 + e->engine, e->start, e->end, e);
		break;
	}
	if (e->kind != KILN_SIM_COMMAND && e->end * 1e-9 > sums->seconds + p->began[e->core])
		sums->seconds = e->end * 1e-9 - p->began[e->core];
	else if (e->kind == KILN_SIM_COMMAND)
		p->began[e->core] = e->end * 1e-9;
	if (p->events + p->dropped >= p->stand_events)
		stand(p, kiln_profile_now());
	pthread_mutex_unlock(&p->lock);
}

void kiln_profile_done(struct kiln_device *device, const struct kiln_slot *slot, int res,
		       uint64_t cycles)
{
	struct kiln_profile *p = device->profile;
	uint64_t now = kiln_profile_now();
	double seconds = res ? 0 : cycles / (device->info.clock_khz * 1e3);
	struct row *row;

	pthread_mutex_lock(&p->lock);
	row = row_of(p, slot->program);
	row->commands++;
	row->failed += res != 0;
	row->host_seconds += (now - slot->submitted) * 1e-9;
	if (!device->transport->watch) {
		struct sums sums = { .seconds = seconds };

		add(&row->sums, &sums);
		add(&p->total.sums, &sums);
		if (seconds > 0)
			write_event(p, row->name, 0, 0, p->clock, p->clock + seconds * 1e9, NULL);
		p->clock += seconds * 1e9;
	}
	p->commands++;
	/* Commands of a queue overlap: each has a track of its own while it lasts. */
	if (room(p))
		fprintf(p->file, ",\n{\"name\":\"%s\",\"ph\":\"b\",\"cat\":\"host\",\"id\":%" PRIu64 ",\"pid\":%u,\"tid\":0,\"ts\":%.3f}"
			",\n{\"name\":\"%s\",\"ph\":\"e\",\"cat\":\"host\",\"id\":%" PRIu64 ",\"pid\":%u,\"tid\":0,\"ts\":%.3f,"
			"\"args\":{\"result\":%d,\"cycles\":%" PRIu64 ",\"device_us\":%.3f}}",
			row->name, p->commands, HOST, (slot->submitted - p->opened) / 1e3,
			row->name, p->commands, HOST, (now - p->opened) / 1e3, res, res ? 0 : cycles,
			seconds * 1e6);
	stand(p, now);
	pthread_mutex_unlock(&p->lock);
}

/* ---------------------------------------------------------- start and end -- */

static void write_names(struct kiln_profile *p)
{
	const struct kiln_info *info = &p->device->info;
	bool watched = p->device->transport->watch;

	fprintf(p->file, "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"args\":{\"name\":\"host, from submission to completion\"}}",
		HOST);
	for (unsigned int core = 0; core < (watched ? info->cores : 1); core++) {
		fprintf(p->file, ",\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"args\":{\"name\":\"trn%u ",
			core, info->generation);
		if (watched)
			fprintf(p->file, "core %u, device time\"}}", core);
		else
			fprintf(p->file, "commands, device time, one after the other\"}}");
		for (unsigned int t = 0; t < (watched ? RING_THREAD + 16 : 1); t++) {
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

int kiln_profile_start(struct kiln_device *device)
{
	const char *path = getenv("KILN_PROFILE");
	struct kiln_profile *p;

	if (!path || !*path)
		return 0;
	p = calloc(1, sizeof(*p));
	if (p)
		p->rows = calloc(MAX_ROWS, sizeof(*p->rows));
	if (!p || !p->rows) {
		free(p);
		return kiln_error(-ENOMEM, "kiln_open: out of memory for a profile");
	}
	p->file = create(path, p->path);
	if (!p->file) {
		int err = errno;

		free(p->rows);
		free(p);
		return kiln_error(-err, "kiln_open: KILN_PROFILE: %s: %s", path, strerror(err));
	}
	pthread_mutex_init(&p->lock, NULL);
	p->device = device;
	p->opened = kiln_profile_now();
	p->count = 1;
	snprintf(p->rows[0].name, sizeof(p->rows[0].name), "others");
	snprintf(p->total.name, sizeof(p->total.name), "all");
	fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"kiln\":\"trace 2\"},\"traceEvents\":[\n", p->file);
	write_names(p);
	device->profile = p;
	if (device->transport->watch)
		device->transport->watch(device, on_event, p);
	return 0;
}

static void write_sums(struct kiln_profile *p)
{
	const struct kiln_info *info = &p->device->info;

	fprintf(p->file, "\n],\n\"kiln\":{\"transport\":\"%s\",\"generation\":%u,\"cores\":%u,\"engines\":%d,\"wall_s\":%.6f,\"dropped\":%" PRIu64,
		info->transport, info->generation, info->cores, p->device->transport->watch != NULL,
		(kiln_profile_now() - p->opened) * 1e-9, p->dropped);
	write_row(p, &p->total, ",\n\"total\":");
	fputs(",\n\"programs\":[\n", p->file);
	write_row(p, &p->rows[0], "");
	for (unsigned int i = 1; i < p->count; i++)
		if (p->rows[i].commands)
			write_row(p, &p->rows[i], ",\n");
	fputs("\n]}}\n", p->file);
}

static void summary(const struct kiln_profile *p)
{
	const struct sums *s = &p->total.sums;
	const char *bound = "DMA";
	double most = s->dma;

	fprintf(stderr, "kiln profile: %s\n", p->path);
	fprintf(stderr, "  %" PRIu64 " commands, %" PRIu64 " failed; %.3f us of device time, %.3g device-seconds; %.3f us from submissions to completions\n",
		p->commands, p->total.failed, s->seconds * 1e6, s->seconds, p->total.host_seconds * 1e6);
	if (s->seconds > 0 && p->device->transport->watch) {
		fprintf(stderr, "  busy: ");
		for (unsigned int e = 0; e < 4; e++) {
			fprintf(stderr, "%s %.1f %%, ", engine_names[e], 100 * s->busy[e] / s->seconds);
			if (s->busy[e] > most) {
				most = s->busy[e];
				bound = engine_names[e];
			}
		}
		fprintf(stderr, "DMA %.1f %%; busiest: %s\n", 100 * s->dma / s->seconds, bound);
		fprintf(stderr, "  moved: HBM %.3f MB, SBUF %.3f MB, PSUM %.3f MB; products at %.1f %% of the array's peak\n",
			s->hbm_bytes * 1e-6, s->sbuf_bytes * 1e-6, s->psum_bytes * 1e-6,
			100 * s->at_peak / s->seconds);
	}
	if (p->dropped)
		fprintf(stderr, "  the trace has the first %u events, %" PRIu64 " more were left out\n",
			MAX_EVENTS, p->dropped);
}

void kiln_profile_end(struct kiln_device *device)
{
	struct kiln_profile *p = device->profile;

	if (!p)
		return;
	if (device->transport->watch)
		device->transport->watch(device, NULL, NULL);
	device->profile = NULL;
	for (unsigned int i = 0; i < p->count; i++) {
		p->total.commands += p->rows[i].commands;
		p->total.failed += p->rows[i].failed;
		p->total.host_seconds += p->rows[i].host_seconds;
	}
	write_sums(p);
	if (ferror(p->file) | fclose(p->file))
		fprintf(stderr, "kiln profile: %s: the trace could not be written: %s\n", p->path,
			strerror(errno));
	else
		summary(p);
	pthread_mutex_destroy(&p->lock);
	free(p->rows);
	free(p);
}
