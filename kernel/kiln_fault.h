/* SPDX-License-Identifier: GPL-2.0-only */
/* What the card says went wrong, for people and for programs. */
#ifndef KILN_FAULT_H
#define KILN_FAULT_H

#include <linux/types.h>

struct drm_device;
struct drm_file;
struct kiln_completion;
struct kiln_queue;

int kiln_fault_errno(unsigned int status);
const char *kiln_fault_text(unsigned int status);
void kiln_fault_record(struct kiln_queue *queue, const struct kiln_completion *completion);
int kiln_vm_fault_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
