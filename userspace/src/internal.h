/* SPDX-License-Identifier: MIT */
/*
 * What stands behind the opaque handles of kiln.h.
 */
#ifndef KILN_INTERNAL_H
#define KILN_INTERNAL_H

#include <pthread.h>

#include "kiln.h"
#include "va.h"

#define KILN_PAGE		4096ull
#define KILN_LARGE_PAGE		(2ull << 20)
#define KILN_DEFAULT_DEPTH	128
#define KILN_DEFAULT_WEIGHT	64
#define KILN_MAX_WEIGHT		1024
#define KILN_MAX_PROMISE	900
#define KILN_MAX_LIMIT_MS	10000

#define KILN_ALIGN_UP(x, a)	(((x) + (a) - 1) & ~((a) - 1))

struct kiln_transport;
struct kiln_way;
struct kiln_profile;

/* The head of a transport's own structure. */
struct kiln_device {
	const struct kiln_transport *transport;
	struct kiln_info info;		/* as it was at kiln_open() */
	pthread_mutex_t lock;		/* va, and buffers' map */
	struct kiln_va va;		/* free device addresses */
	struct kiln_profile *profile;	/* NULL: nobody wants one */
};

struct kiln_buffer {
	struct kiln_device *device;
	uint64_t addr;
	uint64_t bytes;
	enum kiln_placement placement;
	unsigned int flags;
	void *map;			/* NULL: not mapped yet */
	uint32_t handle;		/* drm: GEM handle */
	struct kiln_buffer *next, **link;	/* drm: of its device */
	uint64_t offset;		/* sim: where in HBM */
};

struct kiln_program {
	struct kiln_device *device;
	struct kiln_buffer *buffer;
	uint32_t bytes;
};

struct kiln_slot {
	kiln_done_fn done;
	void *user;
	/* for a profile */
	uint64_t program;		/* device address */
	uint64_t submitted;		/* ns, CLOCK_MONOTONIC */
};

/* A command that has completed, its callback not run yet. */
struct kiln_finished {
	struct kiln_slot slot;
	struct kiln_result result;
};

/* The head of a way's own structure. */
struct kiln_queue {
	struct kiln_device *device;
	const struct kiln_way *way;
	unsigned int depth;
	unsigned int in_flight;		/* handed to the way and not come back */
	struct kiln_slot *slots;	/* depth of them; a command is known by its index */
	uint32_t *free_slots;		/* depth - in_flight of them are valid */
	struct kiln_finished *finished;	/* ring */
	unsigned int finished_head, finished_count, finished_size;
	bool calling;			/* inside a callback */
	bool closing;			/* being destroyed */
	bool lost;			/* a command ended with -EIO: perhaps the card was reset */
};

/* Set this thread's kiln_last_error() and return err. */
__attribute__((format(printf, 2, 3)))
int kiln_error(int err, const char *format, ...);

/* "2 MiB", for messages; buf of at least 24 bytes. */
const char *kiln_format_bytes(uint64_t bytes, char *buf);

/*
 * profile.c: KILN_PROFILE. Start and end are 0 and nothing if it is not set; the rest is called
 * only where device->profile is.
 */
int kiln_profile_start(struct kiln_device *device);
void kiln_profile_end(struct kiln_device *device);
void kiln_profile_program(const struct kiln_program *program, const char *name);
uint64_t kiln_profile_now(void);
void kiln_profile_done(struct kiln_device *device, const struct kiln_slot *slot, int res,
		       uint64_t cycles);

/* queue.c, for the ways of submission */
int kiln_queue_init(struct kiln_queue *queue, struct kiln_device *device,
		    const struct kiln_way *way, unsigned int depth);
void kiln_queue_fini(struct kiln_queue *queue);
uint32_t kiln_queue_take(struct kiln_queue *queue, const struct kiln_command *command);
void kiln_queue_untake(struct kiln_queue *queue, uint32_t slot);
void kiln_queue_done(struct kiln_queue *queue, uint32_t slot, int res,
		     uint64_t cycles);
int kiln_check_command(const struct kiln_queue *queue, const struct kiln_command *command);

#endif
