/* SPDX-License-Identifier: GPL-2.0-only */
/* The way of a command to the card; ioctl and io_uring use the same. */
#ifndef KILN_SUBMIT_H
#define KILN_SUBMIT_H

#include <linux/types.h>

#include <drm/kiln_accel.h>

struct drm_device;
struct drm_file;
struct io_uring_cmd;
struct kiln_queue;

int kiln_submit(struct kiln_queue *queue, const struct drm_kiln_exec *exec,
		struct drm_file *file, struct io_uring_cmd *ucmd, unsigned int issue_flags,
		u64 *seqno);
int kiln_submit_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int kiln_wait_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
