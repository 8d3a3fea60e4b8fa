// SPDX-License-Identifier: GPL-2.0-only
/* ttm_device_init() took two bools where it takes flags now. */
#include <drm/ttm/ttm_device.h>

int probe(struct ttm_device *bdev, struct address_space *mapping,
	  struct drm_vma_offset_manager *offsets)
{
	int (*init)(struct ttm_device *bdev, const struct ttm_device_funcs *funcs,
		    struct device *dev, struct address_space *mapping,
		    struct drm_vma_offset_manager *vma_manager,
		    bool use_dma_alloc, bool use_dma32) = ttm_device_init;

	return init(bdev, NULL, NULL, mapping, offsets, false, false);
}
