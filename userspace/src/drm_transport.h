/* SPDX-License-Identifier: MIT */
/* The transport "drm": the card behind kiln.ko. */
#ifndef KILN_DRM_TRANSPORT_H
#define KILN_DRM_TRANSPORT_H

#include <stdatomic.h>

#include <kiln_accel.h>

#include "transport.h"

struct drm_device {
	struct kiln_device base;
	int fd;
	pthread_mutex_t vm_lock;	/* vm, buffers */
	uint32_t vm;
	struct kiln_buffer *buffers;	/* what is bound in it */
	struct drm_kiln_vm_share share;	/* as it was last set; flags 0: never */
	char path[64];
	atomic_flag told;		/* that io_uring is forbidden */
};

/* Its head is the way's own queue's head. */
struct drm_queue {
	struct kiln_queue base;
	uint32_t id, vm;
	struct drm_kiln_queue_create create;	/* but for the VM */
	bool canceled;			/* the driver's queue is gone */
};

static inline struct drm_device *to_drm(struct kiln_device *device)
{
	return (struct drm_device *)device;
}

/* drm.c, for both ways */
void drm_queue_exec(struct drm_queue *queue, const struct kiln_command *command,
		    struct drm_kiln_exec *exec);
void drm_queue_cancel(struct kiln_queue *queue);
int drm_queue_revive(struct kiln_queue *queue);

/* Make a queue whose driver's half is id. */
int drm_uring_create(struct drm_device *dev, const struct kiln_queue_attr *attr,
		     struct drm_queue **queue);
int drm_ioctl_create(struct drm_device *dev, const struct kiln_queue_attr *attr,
		     struct drm_queue **queue);
int drm_caller_create(struct drm_device *dev, const struct kiln_queue_attr *attr,
		      struct drm_queue **queue);

#endif
