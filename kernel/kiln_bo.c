// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dma-buf.h>
#include <linux/sizes.h>

#include <drm/drm_drv.h>
#include <drm/drm_gem_ttm_helper.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>
#include <drm/ttm/ttm_range_manager.h>

#include "kiln_admin.h"
#include "kiln_bo.h"
#include "kiln_compat.h"
#include "kiln_drv.h"
#include "kiln_evict.h"
#include "kiln_hbm.h"
#include "kiln_pm.h"
#include "kiln_prime.h"
#include "kiln_trace.h"
#include "kiln_tt.h"

static const struct ttm_place kiln_place_hbm = { .mem_type = TTM_PL_VRAM };
/* Only if nobody has to leave. */
static const struct ttm_place kiln_place_free_hbm = {
	.mem_type = TTM_PL_VRAM, .flags = TTM_PL_FLAG_DESIRED,
};

static const struct ttm_place kiln_place_system = { .mem_type = TTM_PL_SYSTEM };
static const struct ttm_place kiln_place_free_hbm_or_system[] = {
	{ .mem_type = TTM_PL_VRAM, .flags = TTM_PL_FLAG_DESIRED },
	{ .mem_type = TTM_PL_SYSTEM },
};

static const struct ttm_placement kiln_in_hbm = {
	.num_placement = 1, .placement = &kiln_place_hbm,
};

static const struct ttm_placement kiln_in_free_hbm = {
	.num_placement = 1, .placement = &kiln_place_free_hbm,
};

static const struct ttm_placement kiln_in_system = {
	.num_placement = 1, .placement = &kiln_place_system,
};

static const struct ttm_placement kiln_in_free_hbm_or_system = {
	.num_placement = 2, .placement = kiln_place_free_hbm_or_system,
};

static const struct drm_gem_object_funcs kiln_bo_funcs;

/* One admin command moves this much at most. */
#define KILN_COPY_BYTES	(64ull << 20)

static struct kiln_bo *to_kiln_bo_ttm(struct ttm_buffer_object *tbo)
{
	return container_of(tbo, struct kiln_bo, tbo);
}

/* TTM does not change it, but does not say so. */
static int kiln_bo_validate(struct kiln_bo *bo, const struct ttm_placement *where,
			    bool interruptible)
{
	struct ttm_operation_ctx ctx = { .interruptible = interruptible };

	return ttm_bo_validate(&bo->tbo, (struct ttm_placement *)where, &ctx);
}

/* ------------------------------------------------------------------ TTM -- */

static void kiln_ttm_evict_flags(struct ttm_buffer_object *tbo, struct ttm_placement *placement)
{
	*placement = kiln_in_system;
}

/* Nobody has ever written to it: it is all zeroes. */
static bool kiln_ttm_is_untouched(struct ttm_buffer_object *tbo)
{
	return tbo->resource->mem_type == TTM_PL_SYSTEM &&
	       (!tbo->ttm || (!ttm_tt_is_populated(tbo->ttm) &&
			      !(tbo->ttm->page_flags & TTM_TT_FLAG_SWAPPED)));
}

/* Between HBM and host memory, by the card. -EIO: it could not, and nothing has changed. */
static int kiln_ttm_copy(struct ttm_buffer_object *tbo, struct ttm_operation_ctx *ctx,
			 struct ttm_resource *new_mem)
{
	struct kiln_device *kdev = to_kiln_device(tbo->base.dev);
	bool out = new_mem->mem_type == TTM_PL_SYSTEM;
	u64 hbm = (u64)(out ? tbo->resource : new_mem)->start << PAGE_SHIFT;
	u32 epoch = READ_ONCE(kdev->epoch);
	dma_addr_t *pages;
	u32 first, count;
	int ret;

	ret = kiln_ttm_bo_populate(tbo, ctx);
	if (ret)
		return ret;
	pages = to_kiln_tt(tbo->ttm)->addresses;
	for (first = 0; first < tbo->ttm->num_pages; first += count) {
		u64 at = hbm + ((u64)first << PAGE_SHIFT);

		for (count = 1; first + count < tbo->ttm->num_pages; count++)
			if (pages[first + count] != pages[first] + ((u64)count << PAGE_SHIFT) ||
			    count == KILN_COPY_BYTES >> PAGE_SHIFT)
				break;
		ret = kiln_admin_copy(kdev, epoch, out ? pages[first] : at, out,
				      out ? at : pages[first], (u64)count << PAGE_SHIFT);
		if (ret)
			return ret;
	}
	ttm_bo_move_sync_cleanup(tbo, new_mem);
	return 0;
}

static int kiln_ttm_move(struct ttm_buffer_object *tbo, bool evict,
			 struct ttm_operation_ctx *ctx, struct ttm_resource *new_mem,
			 struct ttm_place *hop)
{
	struct kiln_device *kdev = to_kiln_device(tbo->base.dev);
	int ret, idx;

	/* New: of HBM, kiln_bo_create() clears what it gets. */
	if (!tbo->resource) {
		ttm_bo_move_null(tbo, new_mem);
		return 0;
	}
	ret = ttm_bo_wait_ctx(tbo, ctx);
	if (ret)
		return ret;
	kiln_evict_moved(to_kiln_bo_ttm(tbo));
	kiln_prime_moved(to_kiln_bo_ttm(tbo));

	if (tbo->resource->mem_type == TTM_PL_SYSTEM && new_mem->mem_type == TTM_PL_SYSTEM) {
		ttm_bo_move_null(tbo, new_mem);
		return 0;
	}
	trace_kiln_move(tbo->base.size, new_mem->mem_type == TTM_PL_VRAM);
	if (kiln_ttm_is_untouched(tbo)) {
		ret = kiln_admin_clear(kdev, READ_ONCE(kdev->epoch),
				       (u64)new_mem->start << PAGE_SHIFT, tbo->base.size);
		if (!ret)
			ttm_bo_move_sync_cleanup(tbo, new_mem);
		return ret;
	}
	ret = kiln_ttm_copy(tbo, ctx, new_mem);
	if (ret != -EIO && ret != -ENODEV)
		return ret;
	/* A card that was just reset, or is wedged: through BAR 4, as long as that is there. */
	if (!kiln_hbm_enter(tbo->base.dev, &idx))
		return -ENODEV;
	ret = ttm_bo_move_memcpy(tbo, ctx, new_mem);
	kiln_hbm_exit(tbo->base.dev, idx);
	return ret;
}

/* To disk, or to where the kernel likes: as TTM sees it, it stays in host memory. */
static void kiln_ttm_swap_notify(struct ttm_buffer_object *tbo)
{
	kiln_evict_moved(to_kiln_bo_ttm(tbo));
	kiln_prime_moved(to_kiln_bo_ttm(tbo));
}

static int kiln_ttm_io_mem_reserve(struct ttm_device *ttm, struct ttm_resource *mem)
{
	struct kiln_device *kdev = container_of(ttm, struct kiln_device, ttm);
	u64 offset;

	if (mem->mem_type == TTM_PL_SYSTEM)
		return 0;
	offset = (u64)mem->start << PAGE_SHIFT;
	mem->bus.offset = kdev->hbm_base + offset;
	mem->bus.addr = (void __force *)(kdev->hbm + offset);
	mem->bus.is_iomem = true;
	mem->bus.caching = ttm_write_combined;
	return 0;
}

static const struct ttm_device_funcs kiln_ttm_funcs = {
	.ttm_tt_create = kiln_tt_create,
	.ttm_tt_populate = kiln_tt_populate,
	.ttm_tt_unpopulate = kiln_tt_unpopulate,
	.ttm_tt_destroy = kiln_tt_destroy,
	.eviction_valuable = ttm_bo_eviction_valuable,
	.evict_flags = kiln_ttm_evict_flags,
	.move = kiln_ttm_move,
	.swap_notify = kiln_ttm_swap_notify,
	.io_mem_reserve = kiln_ttm_io_mem_reserve,
};

static void kiln_bo_fini(struct drm_device *drm, void *data)
{
	struct kiln_device *kdev = data;

	ttm_range_man_fini(&kdev->ttm, TTM_PL_VRAM);
	ttm_device_fini(&kdev->ttm);
}

int kiln_bo_init(struct kiln_device *kdev)
{
	int ret;

	INIT_LIST_HEAD(&kdev->bos);
	ret = drmm_mutex_init(&kdev->drm, &kdev->room_lock);
	if (ret)
		return ret;
	ret = drmm_mutex_init(&kdev->drm, &kdev->bos_lock);
	if (ret)
		return ret;
	INIT_LIST_HEAD(&kdev->mapped);
	ret = drmm_mutex_init(&kdev->drm, &kdev->map_lock);
	if (ret)
		return ret;
	ret = kiln_ttm_device_init(&kdev->ttm, &kiln_ttm_funcs, &kdev->drm);
	if (ret)
		return ret;
	ret = ttm_range_man_init(&kdev->ttm, TTM_PL_VRAM, false, kdev->hbm_bytes >> PAGE_SHIFT);
	if (ret) {
		ttm_device_fini(&kdev->ttm);
		return ret;
	}
	ret = drmm_add_action_or_reset(&kdev->drm, kiln_bo_fini, kdev);
	if (ret)
		return ret;
	return kiln_cgroup_register(&kdev->drm, ttm_manager_type(&kdev->ttm, TTM_PL_VRAM), "hbm",
				    kdev->hbm_bytes);
}

u64 kiln_bo_hbm_used(struct kiln_device *kdev)
{
	return ttm_resource_manager_usage(ttm_manager_type(&kdev->ttm, TTM_PL_VRAM));
}

/* What one VM can have of HBM, if all others leave. */
u64 kiln_bo_hbm_room(struct kiln_device *kdev)
{
	return kdev->hbm_bytes - atomic64_read(&kdev->hbm_pinned);
}

/* ---------------------------------------------------------------- sleep -- */

/* For each buffer in HBM. Tasks are frozen, but TTM may still be freeing some. */
static int kiln_bo_each_in_hbm(struct kiln_device *kdev,
			       int (*func)(struct kiln_bo *bo, void __iomem *hbm))
{
	struct kiln_bo *bo;
	int ret = 0;

	mutex_lock(&kdev->bos_lock);
	list_for_each_entry(bo, &kdev->bos, link) {
		/* Who has it locked while everybody is frozen is freeing it. */
		if (!dma_resv_trylock(bo->tbo.base.resv))
			continue;
		if (bo->tbo.resource && kiln_bo_in_hbm(bo))
			ret = func(bo, kdev->hbm + kiln_bo_hbm_offset(bo));
		dma_resv_unlock(bo->tbo.base.resv);
		if (ret)
			break;
	}
	mutex_unlock(&kdev->bos_lock);
	return ret;
}

static int kiln_bo_save(struct kiln_bo *bo, void __iomem *hbm)
{
	bo->saved = kvmalloc(bo->tbo.base.size, GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY);
	if (!bo->saved)
		return -ENOMEM;
	memcpy_fromio(bo->saved, hbm, bo->tbo.base.size);
	return 0;
}

static int kiln_bo_restore(struct kiln_bo *bo, void __iomem *hbm)
{
	if (bo->saved)
		memcpy_toio(hbm, bo->saved, bo->tbo.base.size);
	return 0;
}

/* The card will lose its power. Nothing is kept on failure. */
int kiln_bo_save_hbm(struct kiln_device *kdev)
{
	int ret;

	ret = kiln_bo_each_in_hbm(kdev, kiln_bo_save);
	if (ret)
		kiln_bo_restore_hbm(kdev, false);
	return ret;
}

/* It has it again; without @copy, it has not, or never lost it. */
void kiln_bo_restore_hbm(struct kiln_device *kdev, bool copy)
{
	struct kiln_bo *bo;

	if (copy)
		kiln_bo_each_in_hbm(kdev, kiln_bo_restore);
	/* Out of the write-combining buffers. */
	wmb();
	mutex_lock(&kdev->bos_lock);
	list_for_each_entry(bo, &kdev->bos, link) {
		kvfree(bo->saved);
		bo->saved = NULL;
	}
	mutex_unlock(&kdev->bos_lock);
}

/* -------------------------------------------------------------- objects -- */

static enum kiln_resource kiln_bo_resource(u32 flags)
{
	return flags & DRM_KILN_BO_HBM ? KILN_RES_HBM : KILN_RES_SYSTEM;
}

static void kiln_bo_free(struct ttm_buffer_object *tbo)
{
	struct kiln_device *kdev = to_kiln_device(tbo->base.dev);
	struct kiln_bo *bo = to_kiln_bo_ttm(tbo);

	mutex_lock(&kdev->bos_lock);
	list_del(&bo->link);
	mutex_unlock(&kdev->bos_lock);
	kvfree(bo->saved);
	kiln_pm_put(kdev);
	if (bo->dmabuf)
		dma_buf_put(bo->dmabuf);
	if (bo->user) {
		kiln_user_force(bo->user, kiln_bo_resource(bo->flags), tbo->base.size, 0);
		kiln_user_put(bo->user);
	}
	drm_gem_object_release(&tbo->base);
	kfree(bo);
}

/* Returns a buffer with its reservation held. HBM is not cleared yet. */
static struct kiln_bo *kiln_bo_create_locked(struct kiln_device *kdev, u64 bytes, u32 flags,
					     enum ttm_bo_type type,
					     const struct ttm_placement *where,
					     struct dma_resv *resv)
{
	struct ttm_operation_ctx ctx = { .interruptible = true };
	/* Large buffers on large pages, so that VMs can map them so. */
	u32 align = bytes >= SZ_2M ? SZ_2M >> PAGE_SHIFT : 1;
	struct kiln_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->flags = flags;
	bo->tbo.base.funcs = &kiln_bo_funcs;
	drm_gem_private_object_init(&kdev->drm, &bo->tbo.base, bytes);
	drm_gem_gpuva_init(&bo->tbo.base);
	kiln_pm_get_again(kdev);
	mutex_lock(&kdev->bos_lock);
	list_add(&bo->link, &kdev->bos);
	mutex_unlock(&kdev->bos_lock);

	/* On failure TTM has freed it by kiln_bo_free(). */
	ret = ttm_bo_init_reserved(&kdev->ttm, &bo->tbo, type, (struct ttm_placement *)where,
				   align, &ctx, NULL, resv, kiln_bo_free);
	return ret ? ERR_PTR(ret) : bo;
}

/* Nobody has to leave HBM for a buffer that is not bound yet. */
static struct kiln_bo *kiln_bo_create(struct kiln_device *kdev, u64 bytes, u32 flags)
{
	struct kiln_bo *bo;
	int ret = 0;

	bo = kiln_bo_create_locked(kdev, bytes, flags, ttm_bo_type_device,
				   flags & DRM_KILN_BO_HBM ? &kiln_in_free_hbm_or_system :
							     &kiln_in_system, NULL);
	if (IS_ERR(bo))
		return bo;
	/* TTM hands out zeroed host pages; of HBM it knows nothing. */
	if (kiln_bo_in_hbm(bo))
		ret = kiln_admin_clear(kdev, READ_ONCE(kdev->epoch), kiln_bo_hbm_offset(bo), bytes);
	ttm_bo_unreserve(&bo->tbo);
	if (ret) {
		drm_gem_object_put(&bo->tbo.base);
		return ERR_PTR(ret);
	}
	return bo;
}

/*
 * HBM for the driver's own use: stays where it is, and is not cleared. At the
 * end of HBM, where it is in nobody's way; elsewhere only if there is no room.
 */
struct kiln_bo *kiln_bo_create_pinned(struct kiln_device *kdev, u64 bytes)
{
	struct ttm_place place = {
		.mem_type = TTM_PL_VRAM,
		.flags = TTM_PL_FLAG_TOPDOWN,
		.fpfn = (kdev->hbm_bytes - max_t(u64, kdev->hbm_bytes / 32, SZ_1M)) >> PAGE_SHIFT,
	};
	const struct ttm_placement where = { .num_placement = 1, .placement = &place };
	struct kiln_bo *bo;

	if (mutex_lock_interruptible(&kdev->room_lock))
		return ERR_PTR(-ERESTARTSYS);
	bo = kiln_bo_create_locked(kdev, bytes, DRM_KILN_BO_HBM, ttm_bo_type_kernel, &where,
				   NULL);
	if (bo == ERR_PTR(-ENOMEM)) {
		place.fpfn = 0;
		bo = kiln_bo_create_locked(kdev, bytes, DRM_KILN_BO_HBM, ttm_bo_type_kernel,
					   &where, NULL);
	}
	mutex_unlock(&kdev->room_lock);
	if (IS_ERR(bo))
		return bo;
	ttm_bo_pin(&bo->tbo);
	ttm_bo_unreserve(&bo->tbo);
	atomic64_add(bytes, &kdev->hbm_pinned);
	return bo;
}

void kiln_bo_destroy_pinned(struct kiln_bo *bo)
{
	struct kiln_device *kdev = to_kiln_device(bo->tbo.base.dev);

	atomic64_sub(bo->tbo.base.size, &kdev->hbm_pinned);
	ttm_bo_reserve(&bo->tbo, false, false, NULL);
	ttm_bo_unpin(&bo->tbo);
	ttm_bo_unreserve(&bo->tbo);
	drm_gem_object_put(&bo->tbo.base);
}

/* For a dma-buf of somebody else's. On failure @dmabuf is as it was. */
struct kiln_bo *kiln_bo_create_import(struct kiln_device *kdev, struct dma_buf *dmabuf)
{
	struct kiln_bo *bo;

	dma_resv_lock(dmabuf->resv, NULL);
	bo = kiln_bo_create_locked(kdev, dmabuf->size, 0, ttm_bo_type_sg, &kiln_in_system,
				   dmabuf->resv);
	if (!IS_ERR(bo)) {
		get_dma_buf(dmabuf);
		bo->dmabuf = dmabuf;
	}
	dma_resv_unlock(dmabuf->resv);
	return bo;
}

/*
 * Have the buffer where the card can reach it: at home, or, while somebody else
 * has it pinned or mapped in host memory (a dma-buf importer), there. If @evict,
 * others may have to leave for it: those that the caller has not locked.
 */
int kiln_bo_make_resident_locked(struct kiln_bo *bo, bool evict, bool interruptible)
{
	struct ttm_operation_ctx ctx = { .interruptible = interruptible };
	int ret;

	if (bo->dmabuf)
		return kiln_prime_map_locked(bo, interruptible);
	if (!bo->tbo.pin_count && !bo->num_maps) {
		if (!(bo->flags & DRM_KILN_BO_HBM))
			ret = kiln_bo_validate(bo, &kiln_in_system, interruptible);
		else
			ret = kiln_bo_validate(bo, evict ? &kiln_in_hbm : &kiln_in_free_hbm,
					       interruptible);
		if (ret)
			return ret;
	}
	if (kiln_bo_in_hbm(bo))
		return 0;
	return kiln_ttm_bo_populate(&bo->tbo, &ctx);
}

/* Out of HBM. */
int kiln_bo_make_away_locked(struct kiln_bo *bo, bool interruptible)
{
	return bo->tbo.pin_count ? 0 : kiln_bo_validate(bo, &kiln_in_system, interruptible);
}

static void kiln_gem_free(struct drm_gem_object *gem)
{
	struct kiln_bo *bo = to_kiln_bo(gem);

	/* No VM has it any more. */
	if (bo->dmabuf)
		kiln_prime_detach(bo);
	kiln_ttm_bo_fini(&bo->tbo);
}

/* Have it in host memory, for others; the reservation is held. */
int kiln_bo_make_host_locked(struct kiln_bo *bo)
{
	struct ttm_operation_ctx ctx = { .interruptible = true };
	int ret;

	if (bo->tbo.pin_count && kiln_bo_in_hbm(bo))
		return -EBUSY;
	if (!bo->tbo.pin_count) {
		ret = kiln_bo_validate(bo, &kiln_in_system, true);
		if (ret)
			return ret;
	}
	return kiln_ttm_bo_populate(&bo->tbo, &ctx);
}

/* For those who cannot be told that it moves. */
int kiln_bo_pin_locked(struct kiln_bo *bo)
{
	int ret = kiln_bo_make_host_locked(bo);

	if (ret)
		return ret;
	/* TTM sorts the buffer in by its pins only when it is moved to the tail of its list. */
	ttm_bo_pin(&bo->tbo);
	ttm_bo_move_to_lru_tail_unlocked(&bo->tbo);
	return 0;
}

void kiln_bo_unpin_locked(struct kiln_bo *bo)
{
	ttm_bo_unpin(&bo->tbo);
	ttm_bo_move_to_lru_tail_unlocked(&bo->tbo);
}

/* What was imported, its exporter maps. */
static int kiln_gem_mmap(struct drm_gem_object *gem, struct vm_area_struct *vma)
{
	int ret;

	if (!to_kiln_bo(gem)->dmabuf)
		return drm_gem_ttm_mmap(gem, vma);
	/* Not every exporter sets them. */
	vma->vm_private_data = NULL;
	vma->vm_ops = NULL;
	ret = dma_buf_mmap(to_kiln_bo(gem)->dmabuf, vma, 0);
	/* The exporter holds its own reference. */
	if (!ret)
		drm_gem_object_put(gem);
	return ret;
}

/* For fdinfo; a look without the lock, as everybody's. */
static enum drm_gem_object_status kiln_gem_status(struct drm_gem_object *gem)
{
	struct kiln_bo *bo = to_kiln_bo(gem);
	struct ttm_resource *res = READ_ONCE(bo->tbo.resource);
	struct ttm_tt *tt = READ_ONCE(bo->tbo.ttm);

	if (res && res->mem_type == TTM_PL_VRAM)
		return DRM_GEM_OBJECT_RESIDENT;
	return tt && ttm_tt_is_populated(tt) ? DRM_GEM_OBJECT_RESIDENT : 0;
}

/*
 * Is it in HBM, and has it memory at all? For those who only want to show it,
 * under any spin lock: while somebody works on it, it is where it belongs.
 */
bool kiln_bo_peek(struct kiln_bo *bo, bool *resident)
{
	bool in_hbm = bo->flags & DRM_KILN_BO_HBM;

	*resident = true;
	if (!dma_resv_trylock(bo->tbo.base.resv))
		return in_hbm;
	in_hbm = kiln_bo_in_hbm(bo);
	*resident = in_hbm || (bo->tbo.ttm && ttm_tt_is_populated(bo->tbo.ttm));
	dma_resv_unlock(bo->tbo.base.resv);
	return in_hbm;
}

static const struct drm_gem_object_funcs kiln_bo_funcs = {
	.free = kiln_gem_free,
	.export = kiln_prime_export,
	.vmap = drm_gem_ttm_vmap,
	.vunmap = drm_gem_ttm_vunmap,
	.mmap = kiln_gem_mmap,
	.vm_ops = &kiln_hbm_vm_ops,
	.print_info = drm_gem_ttm_print_info,
	.status = kiln_gem_status,
};

/* --------------------------------------------------------------- ioctls -- */

int kiln_bo_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_user *user = to_kiln_file(file)->user;
	struct drm_kiln_bo_create *args = data;
	struct kiln_bo *bo;
	u32 handle;
	int ret;

	if (!args->size || !PAGE_ALIGNED(args->size))
		return kiln_bad(kdev, -EINVAL, "size %#llx", args->size);
	if (args->flags != DRM_KILN_BO_HBM && args->flags != DRM_KILN_BO_SYSTEM)
		return kiln_bad(kdev, -EINVAL, "flags %#x", args->flags);
	if (args->handle)
		return kiln_bad(kdev, -EINVAL, "handle %u", args->handle);
	if (args->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", args->reserved);
	/* It could never be bound; this also keeps TTM's 32-bit page counts in range. */
	if (args->size > (args->flags & DRM_KILN_BO_HBM ? kiln_bo_hbm_room(kdev) :
			  (u64)totalram_pages() << PAGE_SHIFT))
		return kiln_bad(kdev, -ENOMEM, "size %#llx is more than there is", args->size);

	ret = kiln_user_charge(user, kiln_bo_resource(args->flags), 0, args->size);
	if (ret)
		return kiln_bad(kdev, ret, "size %#llx is beyond the user's limit", args->size);
	bo = kiln_bo_create(kdev, args->size, args->flags);
	if (IS_ERR(bo)) {
		kiln_user_force(user, kiln_bo_resource(args->flags), args->size, 0);
		return PTR_ERR(bo);
	}
	bo->user = kiln_user_ref(user);
	ret = drm_gem_handle_create(file, &bo->tbo.base, &handle);
	drm_gem_object_put(&bo->tbo.base);
	if (ret)
		return ret;
	args->handle = handle;
	return 0;
}

int kiln_bo_info_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct drm_kiln_bo_info *args = data;
	struct drm_gem_object *gem;
	struct kiln_bo *bo;
	int ret;

	if (args->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", args->pad);
	if (args->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", args->reserved);
	gem = drm_gem_object_lookup(file, args->handle);
	if (!gem)
		return kiln_bad(kdev, -ENOENT, "handle %u", args->handle);

	bo = to_kiln_bo(gem);
	ret = ttm_bo_reserve(&bo->tbo, true, false, NULL);
	if (ret)
		goto out;
	args->size = gem->size;
	args->mmap_offset = drm_vma_node_offset_addr(&gem->vma_node);
	args->flags = bo->flags;
	args->placement = kiln_bo_in_hbm(bo) ? DRM_KILN_BO_HBM : DRM_KILN_BO_SYSTEM;
	ttm_bo_unreserve(&bo->tbo);
out:
	drm_gem_object_put(gem);
	return ret;
}
