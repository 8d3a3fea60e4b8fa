// SPDX-License-Identifier: MIT
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "usage.h"

#define CLASS	"/sys/class/accel"

/* The content of a small file without its newline; "" if it cannot be read. */
static void read_text(const char *dir, const char *name, char *text, size_t size)
{
	char path[512];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (f) {
		n = fread(text, 1, size - 1, f);
		fclose(f);
	}
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
}

static uint64_t read_number(const char *dir, const char *name)
{
	char text[32];

	read_text(dir, name, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

static void read_cores(const char *dir, const char *name, uint64_t *value)
{
	char text[256], *p = text;

	read_text(dir, name, text, sizeof(text));
	for (unsigned int i = 0; i < USAGE_CORES; i++)
		value[i] = strtoull(p, &p, 10);
}

/* The last part of what a link points to; "" if it is none. */
static void read_link(const char *dir, const char *name, char *text, size_t size)
{
	char path[512], target[512], *last;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	last = strrchr(target, '/');
	snprintf(text, size, "%.*s", (int)size - 1, last ? last + 1 : target);
}

/* One more of size bytes at the end of an array; NULL: no memory. */
static void *append(void *array, size_t *count, size_t size)
{
	char **base = array, *more = realloc(*base, (*count + 1) * size);

	if (!more)
		return NULL;
	*base = more;
	return memset(more + (*count)++ * size, 0, size);
}

static int read_card(struct usage *usage, const char *name)
{
	struct usage_card *card;
	char dir[256], driver[32];

	snprintf(dir, sizeof(dir), CLASS "/%s/device", name);
	read_link(dir, "driver", driver, sizeof(driver));
	if (strcmp(driver, "kiln"))
		return 0;
	card = append(&usage->cards, &usage->card_count, sizeof(*card));
	if (!card)
		return -ENOMEM;
	snprintf(card->name, sizeof(card->name), "%s", name);
	snprintf(dir, sizeof(dir), CLASS "/%s", name);
	read_link(dir, "device", card->pci, sizeof(card->pci));
	snprintf(dir, sizeof(dir), CLASS "/%s/device", name);
	read_text(dir, "generation", card->generation, sizeof(card->generation));
	read_text(dir, "firmware_version", card->firmware, sizeof(card->firmware));
	read_text(dir, "state", card->state, sizeof(card->state));
	card->cores = read_number(dir, "cores");
	if (card->cores > USAGE_CORES)
		card->cores = USAGE_CORES;
	card->hbm_total = read_number(dir, "hbm_total");
	card->hbm_used = read_number(dir, "hbm_used");
	card->resets = read_number(dir, "resets");
	card->uptime_ns = read_number(dir, "stats/uptime_ns");
	card->commands = read_number(dir, "stats/commands");
	card->faults = read_number(dir, "stats/faults");
	read_cores(dir, "stats/core_busy_ns", card->busy_ns);
	read_cores(dir, "stats/core_cycles", card->cycles);
	return 0;
}

static uint64_t bytes(const char *value)
{
	char *unit;
	uint64_t n = strtoull(value, &unit, 10);

	return strstr(unit, "KiB") ? n << 10 : strstr(unit, "MiB") ? n << 20 : n;
}

/* True if it is a Kiln card's file; then everything that it says is in client. */
static bool read_fdinfo(const char *dir, const char *fd, struct usage_client *client)
{
	bool kiln = false;
	char path[512], line[256];
	FILE *f;

	memset(client, 0, sizeof(*client));
	snprintf(path, sizeof(path), "%s/fdinfo/%s", dir, fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		char *value = strchr(line, ':');

		if (!value)
			continue;
		*value++ = 0;
		value += strspn(value, " \t");
		value[strcspn(value, "\n")] = 0;
		if (!strcmp(line, "drm-driver"))
			kiln = !strcmp(value, "kiln");
		else if (!strcmp(line, "drm-pdev"))
			snprintf(client->pci, sizeof(client->pci), "%.31s", value);
		else if (!strcmp(line, "drm-client-id"))
			client->id = strtoull(value, NULL, 10);
		else if (!strcmp(line, "drm-engine-core"))
			client->busy_ns = strtoull(value, NULL, 10);
		else if (!strcmp(line, "drm-cycles-core"))
			client->cycles = strtoull(value, NULL, 10);
		else if (!strcmp(line, "drm-resident-hbm"))
			client->hbm = bytes(value);
		else if (!strcmp(line, "drm-resident-memory"))
			client->host = bytes(value);
		else if (!strcmp(line, "kiln-contexts"))
			client->contexts = strtoull(value, NULL, 10);
		else if (!strcmp(line, "kiln-queues"))
			client->queues = strtoull(value, NULL, 10);
		else if (!strcmp(line, "kiln-in-flight"))
			client->in_flight = strtoull(value, NULL, 10);
		else if (!strcmp(line, "kiln-commands"))
			client->commands = strtoull(value, NULL, 10);
	}
	if (f)
		fclose(f);
	return kiln;
}

static int read_process(struct usage *usage, const char *pid)
{
	struct usage_client client, *slot;
	char dir[64], path[512], target[64], command[32];
	struct dirent *e;
	struct stat st;
	int err = 0;
	DIR *fds;

	snprintf(dir, sizeof(dir), "/proc/%.20s", pid);
	snprintf(path, sizeof(path), "%s/fd", dir);
	fds = opendir(path);
	if (!fds) {
		usage->hidden += errno == EACCES;
		return 0;
	}
	while (!err && (e = readdir(fds))) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/fd/%.20s", dir, e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		/* a file that was opened twice, or inherited, counts once */
		if (strncmp(target, "/dev/accel/", 11) || !read_fdinfo(dir, e->d_name, &client) ||
		    usage_find_client(usage, &client))
			continue;
		client.pid = atoi(pid);
		client.uid = stat(dir, &st) ? (uid_t)-1 : st.st_uid;
		read_text(dir, "comm", command, sizeof(command));
		for (char *p = command; *p; p++)
			if (!isprint((unsigned char)*p))
				*p = '?';
		memcpy(client.command, command, sizeof(command));
		slot = append(&usage->clients, &usage->client_count, sizeof(*slot));
		if (slot)
			*slot = client;
		else
			err = -ENOMEM;
	}
	closedir(fds);
	return err;
}

/* Every entry of a directory whose name begins with a character of first. */
static int for_each(struct usage *usage, const char *path, const char *first,
		    int (*read)(struct usage *usage, const char *name))
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int err = 0;

	while (dir && !err && (e = readdir(dir)))
		if (strchr(first, e->d_name[0]))
			err = read(usage, e->d_name);
	if (dir)
		closedir(dir);
	return err;
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(((const struct usage_card *)a)->name, ((const struct usage_card *)b)->name);
}

int usage_read(struct usage *usage)
{
	struct timespec now;
	int err;

	memset(usage, 0, sizeof(*usage));
	clock_gettime(CLOCK_MONOTONIC, &now);
	usage->when_ns = now.tv_sec * 1000000000ull + now.tv_nsec;
	err = for_each(usage, CLASS, "a", read_card);
	if (!err && usage->card_count) {
		qsort(usage->cards, usage->card_count, sizeof(*usage->cards), by_name);
		err = for_each(usage, "/proc", "123456789", read_process);
	}
	return err;
}

void usage_free(struct usage *usage)
{
	free(usage->cards);
	free(usage->clients);
	memset(usage, 0, sizeof(*usage));
}

const struct usage_card *usage_find_card(const struct usage *usage, const struct usage_card *card)
{
	for (size_t i = 0; i < usage->card_count; i++)
		if (!strcmp(usage->cards[i].pci, card->pci))
			return &usage->cards[i];
	return NULL;
}

const struct usage_client *usage_find_client(const struct usage *usage,
					     const struct usage_client *client)
{
	for (size_t i = 0; i < usage->client_count; i++)
		if (usage->clients[i].id == client->id && !strcmp(usage->clients[i].pci, client->pci))
			return &usage->clients[i];
	return NULL;
}
