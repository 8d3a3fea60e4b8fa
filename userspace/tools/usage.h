/* SPDX-License-Identifier: MIT */
/* Who uses the cards of this machine, as the kernel tells it: sysfs of the cards, fdinfo of the processes. */
#ifndef KILN_TOOL_USAGE_H
#define KILN_TOOL_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define USAGE_CORES	8

/* A card. Counters since its firmware booted. */
struct usage_card {
	char name[16];			/* accel0 */
	char pci[32];			/* 0000:01:00.0 */
	char generation[16], firmware[16], state[16];
	unsigned int cores;
	uint64_t hbm_total, hbm_used;	/* bytes */
	uint64_t resets;
	uint64_t uptime_ns;
	uint64_t commands, faults;
	uint64_t busy_ns[USAGE_CORES];
	uint64_t cycles[USAGE_CORES];
};

/* An open file of a card, in the first process that was found to have it. Counters since it was opened. */
struct usage_client {
	uint64_t id;			/* the kernel's, for this card */
	char pci[32];
	pid_t pid;
	uid_t uid;
	char command[32];		/* printable characters only */
	uint64_t contexts, queues, in_flight;
	uint64_t commands;
	uint64_t busy_ns, cycles;	/* all cores together */
	uint64_t hbm, host;		/* bytes of its buffers that are there now */
};

struct usage {
	uint64_t when_ns;		/* monotonic */
	struct usage_card *cards;
	size_t card_count;
	struct usage_client *clients;
	size_t client_count;
	size_t hidden;			/* processes of others that may not be looked at */
};

/* 0, or -ENOMEM; usage_free() in either case. */
int usage_read(struct usage *usage);
void usage_free(struct usage *usage);

/* The same card or client in another sample, or NULL. */
const struct usage_card *usage_find_card(const struct usage *usage, const struct usage_card *card);
const struct usage_client *usage_find_client(const struct usage *usage,
					     const struct usage_client *client);

#endif
