/* SPDX-License-Identifier: GPL-2.0-only */
/* Host pages of buffers, and where the card finds them. */
#ifndef KILN_TT_H
#define KILN_TT_H

#include <drm/ttm/ttm_tt.h>

struct kiln_device;
struct ttm_buffer_object;
struct ttm_device;
struct ttm_operation_ctx;

/**
 * struct kiln_tt - host pages of a buffer
 */
struct kiln_tt {
	/** @base: the pages. */
	struct ttm_tt base;
	/** @link: in kiln_device.mapped. */
	struct list_head link;
	/**
	 * @sg: the pages, mapped for the card; NULL: they are not. Under
	 * kiln_device.map_lock. What is imported has @base.sg.
	 */
	struct sg_table *sg;
	/** @addresses: of each page, for the card; valid while @base is populated. */
	dma_addr_t *addresses;
};

static inline struct kiln_tt *to_kiln_tt(struct ttm_tt *tt)
{
	return container_of(tt, struct kiln_tt, base);
}

struct ttm_tt *kiln_tt_create(struct ttm_buffer_object *tbo, u32 page_flags);
void kiln_tt_destroy(struct ttm_device *ttm, struct ttm_tt *tt);
int kiln_tt_populate(struct ttm_device *ttm, struct ttm_tt *tt, struct ttm_operation_ctx *ctx);
void kiln_tt_unpopulate(struct ttm_device *ttm, struct ttm_tt *tt);
void kiln_tt_unmap_all(struct kiln_device *kdev);

#endif
