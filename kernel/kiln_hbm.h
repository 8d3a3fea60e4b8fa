/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUs in HBM, by BAR 4. */
#ifndef KILN_HBM_H
#define KILN_HBM_H

#include <linux/mm.h>

struct drm_device;
struct kiln_device;

extern const struct vm_operations_struct kiln_hbm_vm_ops;

void kiln_hbm_init(struct kiln_device *kdev);
bool kiln_hbm_enter(struct drm_device *drm, int *idx);
void kiln_hbm_exit(struct drm_device *drm, int idx);
void kiln_hbm_close(struct kiln_device *kdev);
void kiln_hbm_open(struct kiln_device *kdev);

#endif
