// SPDX-License-Identifier: GPL-2.0-only
/* The dmem cgroup, since 6.14. */
#include <drm/drm_drv.h>
#include <drm/ttm/ttm_resource.h>

void probe(struct ttm_resource_manager *man, struct drm_device *drm, u64 size)
{
	man->cg = drmm_cgroup_register_region(drm, "hbm", size);
}
