// SPDX-License-Identifier: GPL-2.0-only
/* Drivers with drm_gpuvm had to say so. */
#include <drm/drm_drv.h>

u32 probe(void)
{
	return DRIVER_GEM_GPUVA;
}
