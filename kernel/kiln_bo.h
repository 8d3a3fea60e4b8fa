/* SPDX-License-Identifier: GPL-2.0-only */
/* Buffer objects: GEM on TTM, in HBM or in host memory. */
#ifndef KILN_BO_H
#define KILN_BO_H

#include <drm/drm_gem.h>
#include <drm/ttm/ttm_bo.h>
#include <drm/ttm/ttm_placement.h>

struct dma_buf;
struct drm_file;
struct kiln_device;
struct kiln_user;

/**
 * struct kiln_bo - buffer object
 *
 * HBM is TTM_PL_VRAM; host memory is TTM_PL_SYSTEM, whose pages are mapped for
 * DMA as long as they are there.
 *
 * The card walks page tables whenever it likes and does not know how to fault.
 * So a buffer that is bound carries the eviction fence of each VM that it is
 * bound in, and moves only when those have signalled: see kiln_evict.c.
 */
struct kiln_bo {
	/** @tbo: the TTM object, with the GEM object in it. */
	struct ttm_buffer_object tbo;
	/** @flags: DRM_KILN_BO_*; 0: imported, its pages are in the exporter's hands. */
	u32 flags;
	/** @user: whose memory it counts as; NULL: nobody's. */
	struct kiln_user *user;
	/** @link: in kiln_device.bos. */
	struct list_head link;
	/** @exported: the dma-buf of it; NULL: there is none. Under the reservation. */
	struct dma_buf *exported;
	/** @num_maps: of @exported, which keep it in host memory. Under the reservation. */
	unsigned int num_maps;
	/** @dmabuf: which it is an import of; NULL: it is ours. */
	struct dma_buf *dmabuf;
	/** @saved: what was in HBM, while the machine sleeps. */
	void *saved;
};

static inline struct kiln_bo *to_kiln_bo(struct drm_gem_object *gem)
{
	return container_of(gem, struct kiln_bo, tbo.base);
}

static inline bool kiln_bo_in_hbm(struct kiln_bo *bo)
{
	return bo->tbo.resource->mem_type == TTM_PL_VRAM;
}

/* Where in HBM, for a buffer that is there and cannot move. */
static inline u64 kiln_bo_hbm_offset(struct kiln_bo *bo)
{
	return (u64)bo->tbo.resource->start << PAGE_SHIFT;
}

bool kiln_bo_peek(struct kiln_bo *bo, bool *resident);
int kiln_bo_init(struct kiln_device *kdev);
u64 kiln_bo_hbm_used(struct kiln_device *kdev);
u64 kiln_bo_hbm_room(struct kiln_device *kdev);

struct kiln_bo *kiln_bo_create_pinned(struct kiln_device *kdev, u64 bytes);
void kiln_bo_destroy_pinned(struct kiln_bo *bo);
int kiln_bo_make_resident_locked(struct kiln_bo *bo, bool evict, bool interruptible);
int kiln_bo_make_away_locked(struct kiln_bo *bo, bool interruptible);

struct kiln_bo *kiln_bo_create_import(struct kiln_device *kdev, struct dma_buf *dmabuf);
int kiln_bo_make_host_locked(struct kiln_bo *bo);
int kiln_bo_pin_locked(struct kiln_bo *bo);
void kiln_bo_unpin_locked(struct kiln_bo *bo);
int kiln_bo_save_hbm(struct kiln_device *kdev);
void kiln_bo_restore_hbm(struct kiln_device *kdev, bool copy);

int kiln_bo_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int kiln_bo_info_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
