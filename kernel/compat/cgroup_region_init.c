// SPDX-License-Identifier: GPL-2.0-only
/* Its regions got a struct to be described by. */
#include <drm/drm_drv.h>
#include <drm/ttm/ttm_resource.h>
#include <linux/cgroup_dmem.h>

void probe(struct ttm_resource_manager *man, struct drm_device *drm,
	   const struct dmem_cgroup_init *init)
{
	man->cg = drmm_cgroup_register_region(drm, "hbm", init);
}
