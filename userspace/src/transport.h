/* SPDX-License-Identifier: MIT */
/*
 * What a transport does for the core, and what a queue's way of submission
 * does. Arguments were checked by the core.
 */
#ifndef KILN_TRANSPORT_H
#define KILN_TRANSPORT_H

#include "internal.h"

struct kiln_sim_event;

struct kiln_transport {
	const char *name;
	/* arg: what follows "name:", or "". Fills device->info, device->va. */
	int (*open)(const char *arg, struct kiln_device **device);
	void (*close)(struct kiln_device *device);
	int (*info)(struct kiln_device *device, struct kiln_info *info);
	int (*fault)(struct kiln_device *device, struct kiln_fault_info *fault);
	/* NULL: nobody knows. */
	int (*engine_time)(struct kiln_device *device, struct kiln_engine_time *time);
	/* Have each instruction told, as kiln_sim_watch() does. NULL: cannot be. */
	void (*watch)(struct kiln_device *device,
		      void (*event)(void *opaque, const struct kiln_sim_event *event),
		      void *opaque);
	/* share has its defaults filled in. */
	int (*share)(struct kiln_device *device, const struct kiln_share *share);
	/* Make and bind zeroed memory as addr, bytes, placement and flags say. */
	int (*alloc)(struct kiln_buffer *buffer);
	void (*free)(struct kiln_buffer *buffer);
	/* Set buffer->map. */
	int (*map)(struct kiln_buffer *buffer);
	/* attr has its defaults filled in. */
	int (*queue_create)(struct kiln_device *device,
			    const struct kiln_queue_attr *attr,
			    struct kiln_queue **queue);
};

struct kiln_way {
	const char *name;
	/*
	 * Hand over up to count commands, for which there is room, each under
	 * the slot that kiln_queue_take() gives. How many, or a negative errno
	 * if not even the first.
	 */
	int (*submit)(struct kiln_queue *queue,
		      const struct kiln_command *commands, unsigned int count);
	/*
	 * kiln_queue_done() for each command that has completed, waiting until
	 * at least min have. timeout_ns: 0 only looks, negative for ever.
	 * 0, or -ETIME, -EINTR, or an error that will not go away.
	 */
	int (*reap)(struct kiln_queue *queue, unsigned int min,
		    int64_t timeout_ns);
	/* Cancel what is in flight: afterwards reap() finds it without waiting long. */
	void (*cancel)(struct kiln_queue *queue);
	/* After a reset, with nothing in flight: make what the card knew again. NULL: it forgets nothing. */
	int (*revive)(struct kiln_queue *queue);
	void (*destroy)(struct kiln_queue *queue);
	int (*fd)(struct kiln_queue *queue);
};

extern const struct kiln_transport kiln_drm_transport;
extern const struct kiln_transport kiln_sim_transport;

#endif
