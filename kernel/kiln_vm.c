// SPDX-License-Identifier: GPL-2.0-only
#include <linux/delay.h>
#include <linux/dma-resv.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_exec.h>
#include <drm/drm_gem.h>
#include <drm/drm_print.h>

#include "kiln_bo.h"
#include "kiln_compat.h"
#include "kiln_drv.h"
#include "kiln_evict.h"
#include "kiln_hbm.h"
#include "kiln_hw.h"
#include "kiln_vm.h"

#define KILN_VMS_PER_FILE	XA_LIMIT(1, KILN_MAX_CONTEXTS)
#define KILN_VM_TRIES		4

/**
 * struct kiln_vma - a mapping
 */
struct kiln_vma {
	/** @base: the mapping. */
	struct drm_gpuva base;
	/** @link: in kiln_vm_bind.removed. */
	struct list_head link;
};

/**
 * struct kiln_vm_bind - one change of an address space
 */
struct kiln_vm_bind {
	/** @vm: which; its lock is held. */
	struct kiln_vm *vm;
	/** @bo: to map; NULL: unmap. */
	struct kiln_bo *bo;
	/** @bo_offset: bytes. */
	u64 bo_offset;
	/** @va: device address. */
	u64 va;
	/** @bytes: to map or to unmap. */
	u64 bytes;
	/** @readonly: the card may not write there. */
	bool readonly;
	/** @vm_bo: buffer and VM together, while it is locked. */
	struct drm_gpuvm_bo *vm_bo;
	/** @spare: one mapping, and the two ends of one that it cuts in the middle. */
	struct kiln_vma *spare[3];
	/** @removed: mappings whose buffers may not move until the flush. */
	struct list_head removed;
	/** @fence: the next eviction fence, if the VM has to be restored. */
	struct dma_fence *fence;
	/** @restore: bring back what was evicted; @bytes is 0. */
	bool restore;
};

/* ------------------------------------------------------------- mappings -- */

static struct kiln_vma *kiln_vm_take_vma(struct kiln_vm_bind *bind)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bind->spare); i++)
		if (bind->spare[i])
			return no_free_ptr(bind->spare[i]);
	return NULL;
}

static int kiln_vm_alloc_vmas(struct kiln_vm_bind *bind)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bind->spare); i++) {
		bind->spare[i] = kzalloc(sizeof(*bind->spare[i]), GFP_KERNEL);
		if (!bind->spare[i])
			return -ENOMEM;
	}
	return 0;
}

static void kiln_vm_free_vmas(struct kiln_vm_bind *bind)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bind->spare); i++)
		kfree(bind->spare[i]);
}

static struct kiln_vma *to_kiln_vma(struct drm_gpuva *va)
{
	return container_of(va, struct kiln_vma, base);
}

static bool kiln_vm_has_home_in_hbm(struct drm_gpuvm_bo *vm_bo)
{
	return to_kiln_bo(vm_bo->obj)->flags & DRM_KILN_BO_HBM;
}

/* Out of the books; kiln_vm_forget_removed() after the flush, then kiln_vm_free_removed(). */
static void kiln_vm_remove_vma(struct kiln_vm_bind *bind, struct drm_gpuva *va)
{
	struct drm_gpuvm_bo *vm_bo = va->vm_bo;

	if (list_is_singular(&vm_bo->list.gpuva) && kiln_vm_has_home_in_hbm(vm_bo))
		bind->vm->hbm_bytes -= vm_bo->obj->size;
	drm_gpuva_unlink(va);
	list_add(&to_kiln_vma(va)->link, &bind->removed);
}

/* A mapping that has been inserted gets its buffer. */
static void kiln_vm_link_vma(struct kiln_vma *vma, struct drm_gpuvm_bo *vm_bo, bool readonly)
{
	struct kiln_vm *vm = container_of(vm_bo->vm, struct kiln_vm, base);

	if (readonly)
		vma->base.flags |= KILN_VMA_READONLY;
	if (list_empty(&vm_bo->list.gpuva) && kiln_vm_has_home_in_hbm(vm_bo))
		vm->hbm_bytes += vm_bo->obj->size;
	drm_gpuva_link(&vma->base, vm_bo);
}

/* The card has forgotten them: their buffers can move without asking this VM. */
static void kiln_vm_forget_removed(struct kiln_vm_bind *bind)
{
	struct kiln_vma *vma;

	list_for_each_entry(vma, &bind->removed, link) {
		struct drm_gem_object *gem = vma->base.gem.obj;
		struct drm_gpuvm_bo *vm_bo = drm_gpuvm_bo_find(&bind->vm->base, gem);

		if (vm_bo)
			drm_gpuvm_bo_put(vm_bo);
		else
			dma_resv_replace_fences(gem->resv, bind->vm->fence_context,
						dma_fence_get_stub(), DMA_RESV_USAGE_BOOKKEEP);
		drm_gem_object_get(gem);
	}
}

/*
 * Nothing is locked any more. Earlier no buffer may go: lockdep remembers the
 * first lock of a transaction until all are free, also one that already is
 * (before Linux 6.13).
 */
static void kiln_vm_free_removed(struct kiln_vm_bind *bind)
{
	struct kiln_vma *vma, *next;

	list_for_each_entry_safe(vma, next, &bind->removed, link) {
		list_del(&vma->link);
		drm_gem_object_put(vma->base.gem.obj);
		kfree(vma);
	}
}

static int kiln_vm_step_map(struct drm_gpuva_op *op, void *priv)
{
	struct kiln_vm_bind *bind = priv;
	struct kiln_vma *vma;
	int ret;

	/* A suspended VM needs no page tables yet: they are written when it is restored. */
	if (bind->vm_bo->evicted) {
		ret = 0;
	} else {
		ret = kiln_pt_map(&bind->vm->pts, op->map.va.addr, op->map.va.range, bind->bo,
				  op->map.gem.offset, bind->readonly);
	}
	if (ret)
		return ret;
	vma = kiln_vm_take_vma(bind);
	drm_gpuva_map(&bind->vm->base, &vma->base, &op->map);
	kiln_vm_link_vma(vma, bind->vm_bo, bind->readonly);
	return 0;
}

static int kiln_vm_step_remap(struct drm_gpuva_op *op, void *priv)
{
	struct kiln_vm_bind *bind = priv;
	struct drm_gpuva *old = op->remap.unmap->va;
	bool readonly = old->flags & KILN_VMA_READONLY;
	struct kiln_vma *prev = NULL, *next = NULL;
	u64 addr, range;
	int ret;

	drm_gpuva_op_remap_to_unmap_range(&op->remap, &addr, &range);
	ret = kiln_pt_unmap(&bind->vm->pts, addr, range);
	if (ret)
		return ret;
	if (op->remap.prev)
		prev = kiln_vm_take_vma(bind);
	if (op->remap.next)
		next = kiln_vm_take_vma(bind);
	drm_gpuva_remap(prev ? &prev->base : NULL, next ? &next->base : NULL, &op->remap);
	if (prev)
		kiln_vm_link_vma(prev, old->vm_bo, readonly);
	if (next)
		kiln_vm_link_vma(next, old->vm_bo, readonly);
	kiln_vm_remove_vma(bind, old);
	return 0;
}

static int kiln_vm_step_unmap(struct drm_gpuva_op *op, void *priv)
{
	struct kiln_vm_bind *bind = priv;
	struct drm_gpuva *va = op->unmap.va;
	int ret;

	ret = kiln_pt_unmap(&bind->vm->pts, va->va.addr, va->va.range);
	if (ret)
		return ret;
	drm_gpuva_unmap(&op->unmap);
	kiln_vm_remove_vma(bind, va);
	return 0;
}

static void kiln_vm_free(struct drm_gpuvm *gpuvm)
{
	struct kiln_vm *vm = container_of(gpuvm, struct kiln_vm, base);

	dma_fence_put(vm->evict_fence);
	mutex_destroy(&vm->lock);
	kfree(vm);
}

static const struct drm_gpuvm_ops kiln_vm_ops = {
	.vm_free = kiln_vm_free,
	.sm_step_map = kiln_vm_step_map,
	.sm_step_remap = kiln_vm_step_remap,
	.sm_step_unmap = kiln_vm_step_unmap,
};

/* ----------------------------------------------------------------- bind -- */

/*
 * Lock the VM, the buffer to map, and every one that the range touches now; or
 * all that are bound, which those who have to leave HBM are not among then.
 */
static int kiln_vm_lock_objects(struct kiln_vm_bind *bind, bool all, struct drm_exec *exec)
{
	struct drm_gpuvm *gpuvm = &bind->vm->base;
	int ret = 0;

	drm_exec_init(exec, DRM_EXEC_IGNORE_DUPLICATES |
			    (bind->restore ? 0 : DRM_EXEC_INTERRUPTIBLE_WAIT), 0);
	drm_exec_until_all_locked(exec) {
		ret = drm_gpuvm_prepare_vm(gpuvm, exec, 1);
		drm_exec_retry_on_contention(exec);
		if (ret)
			break;
		if (all)
			ret = drm_gpuvm_prepare_objects(gpuvm, exec, 1);
		else
			ret = drm_gpuvm_prepare_range(gpuvm, exec, bind->va, bind->bytes, 1);
		drm_exec_retry_on_contention(exec);
		if (ret || !bind->bo)
			break;
		ret = drm_exec_prepare_obj(exec, &bind->bo->tbo.base, 1);
		drm_exec_retry_on_contention(exec);
		if (ret)
			break;
	}
	if (ret)
		drm_exec_fini(exec);
	return ret;
}

/* The next mapping whose buffer was evicted; all are locked. */
static struct drm_gpuva *kiln_vm_next_evicted(struct kiln_vm *vm, struct drm_gpuva *va)
{
	if (!va)
		va = list_first_entry(&vm->base.rb.list, struct drm_gpuva, rb.entry);
	else
		va = list_next_entry(va, rb.entry);
	list_for_each_entry_from(va, &vm->base.rb.list, rb.entry)
		if (va->vm_bo && va->vm_bo->evicted)
			return va;
	return NULL;
}

/* Have all buffers of a suspended VM where the card can reach them. */
static int kiln_vm_make_resident(struct kiln_vm *vm)
{
	struct drm_gpuva *va;
	int ret = 0;

	for (va = kiln_vm_next_evicted(vm, NULL); va; va = kiln_vm_next_evicted(vm, va)) {
		ret = kiln_bo_make_resident_locked(to_kiln_bo(va->gem.obj), true, false);
		if (ret)
			break;
	}
	return ret;
}

/*
 * There is room for all of them, but not in one piece where it is wanted: let
 * all leave and come back, the largest first.
 */
static int kiln_vm_make_compact(struct kiln_vm *vm, struct drm_exec *exec)
{
	struct drm_gem_object *gem;
	size_t next = SIZE_MAX;
	int ret;

	drm_exec_for_each_locked_object(exec, gem) {
		if (gem == vm->base.r_obj)
			continue;
		ret = kiln_bo_make_away_locked(to_kiln_bo(gem), false);
		if (ret)
			return ret;
	}
	while (next) {
		size_t size = next;

		next = 0;
		drm_exec_for_each_locked_object(exec, gem) {
			if (gem == vm->base.r_obj)
				continue;
			if (gem->size >= size) {
				if (size == SIZE_MAX || gem->size > size)
					continue;
				ret = kiln_bo_make_resident_locked(to_kiln_bo(gem), true, false);
				if (ret)
					return ret;
			} else {
				next = max(next, gem->size);
			}
		}
	}
	return 0;
}

/* Spare tables that a mapping can take at most. */
static void kiln_vm_count_mapping(struct kiln_bo *bo, u64 bo_offset, u64 va, u64 bytes,
				  u32 *inner, u32 *leaf)
{
	u32 more_inner, more_leaf;

	kiln_pt_count(va, bytes, &more_inner, &more_leaf);
	/* In large pages but for the ends? */
	if (kiln_bo_in_hbm(bo) &&
	    IS_ALIGNED(kiln_bo_hbm_offset(bo) + bo_offset - va, 1ull << KILN_LARGE_SHIFT))
		more_leaf = min(more_leaf, 2u);
	*inner += more_inner;
	*leaf += more_leaf;
}

/* And the whole change, splits of large pages at its ends included. */
static void kiln_vm_count_tables(struct kiln_vm_bind *bind, u32 *inner, u32 *leaf)
{
	struct kiln_vm *vm = bind->vm;
	struct drm_gpuva *va;

	*inner = 0;
	*leaf = 2;
	if (bind->restore) {
		for (va = kiln_vm_next_evicted(vm, NULL); va; va = kiln_vm_next_evicted(vm, va))
			kiln_vm_count_mapping(to_kiln_bo(va->gem.obj), va->gem.offset, va->va.addr,
					      va->va.range, inner, leaf);
	} else if (bind->bo && !kiln_evict_is_suspended(vm)) {
		kiln_vm_count_mapping(bind->bo, bind->bo_offset, bind->va, bind->bytes,
				      inner, leaf);
	}
}

/* What the card may have cached goes, before memory behind it does. */
static int kiln_vm_flush(struct kiln_vm *vm)
{
	int ret;

	ret = kiln_admin_tlb_flush(vm->kdev, vm->epoch, vm->hw_id);
	/* On failure the card holds no translation at all any more, so go on. */
	if (ret && ret != -EIO && ret != -ENODEV) {
		drm_err(&vm->kdev->drm, "context %u: TLB flush failed: %d\n", vm->hw_id, ret);
		kiln_hw_reset(vm->kdev, vm->epoch, "keeps translations");
		ret = -EIO;
	}
	return ret;
}

/* With everything locked: change tables and books, flush. */
static int kiln_vm_bind_locked(struct kiln_vm_bind *bind)
{
	struct kiln_vm *vm = bind->vm;
	int ret, err, idx;

	if (!kiln_hbm_enter(&vm->kdev->drm, &idx))
		return -ENODEV;
	if (bind->bo) {
		bind->vm_bo = kiln_gpuvm_bo_obtain_locked(&vm->base, &bind->bo->tbo.base);
		if (IS_ERR(bind->vm_bo)) {
			kiln_hbm_exit(&vm->kdev->drm, idx);
			return PTR_ERR(bind->vm_bo);
		}
		drm_gpuvm_bo_extobj_add(bind->vm_bo);
		if (kiln_evict_is_suspended(vm))
			drm_gpuvm_bo_evict(bind->vm_bo, true);
		else
			dma_resv_add_fence(bind->bo->tbo.base.resv, vm->evict_fence,
					   DMA_RESV_USAGE_BOOKKEEP);
		ret = kiln_gpuvm_sm_map(&vm->base, bind, bind->va, bind->bytes,
					&bind->bo->tbo.base, bind->bo_offset);
		drm_gpuvm_bo_put(bind->vm_bo);
	} else {
		ret = drm_gpuvm_sm_unmap(&vm->base, bind, bind->va, bind->bytes);
	}
	kiln_hbm_exit(&vm->kdev->drm, idx);

	if (vm->pts.flush) {
		err = kiln_vm_flush(vm);
		ret = ret ?: err;
	}
	kiln_pt_flushed(&vm->pts);
	kiln_vm_forget_removed(bind);
	return ret;
}

/* With everything locked and resident: new page tables for what has moved, and go on. */
static int kiln_vm_restore_locked(struct kiln_vm_bind *bind, struct drm_exec *exec)
{
	struct kiln_vm *vm = bind->vm;
	struct drm_gem_object *gem;
	struct drm_gpuva *va;
	int ret = 0, idx;

	if (!kiln_hbm_enter(&vm->kdev->drm, &idx))
		return -ENODEV;
	for (va = kiln_vm_next_evicted(vm, NULL); va; va = kiln_vm_next_evicted(vm, va)) {
		ret = kiln_pt_unmap(&vm->pts, va->va.addr, va->va.range);
		/* Nobody reads tables of a suspended context. */
		kiln_pt_flushed(&vm->pts);
		if (!ret)
			ret = kiln_pt_map(&vm->pts, va->va.addr, va->va.range,
					  to_kiln_bo(va->gem.obj), va->gem.offset,
					  va->flags & KILN_VMA_READONLY);
		if (ret)
			break;
	}
	kiln_hbm_exit(&vm->kdev->drm, idx);
	if (ret)
		return ret;
	ret = kiln_vm_flush(vm);
	if (ret)
		return ret;

	drm_exec_for_each_locked_object(exec, gem) {
		struct drm_gpuvm_bo *vm_bo;

		dma_resv_add_fence(gem->resv, bind->fence, DMA_RESV_USAGE_BOOKKEEP);
		if (gem == vm->base.r_obj)
			continue;
		vm_bo = drm_gpuvm_bo_find(&vm->base, gem);
		if (vm_bo)
			drm_gpuvm_bo_evict(vm_bo, false);
		drm_gpuvm_bo_put(vm_bo);
		/* Who came last leaves last. */
		ttm_bo_move_to_lru_tail_unlocked(&to_kiln_bo(gem)->tbo);
	}
	kiln_evict_restored(vm, no_free_ptr(bind->fence));
	return 0;
}

/* One try. -EAGAIN: with @inner and @leaf spare tables it can be tried again. */
static int kiln_vm_try(struct kiln_vm_bind *bind, bool all, bool compact, u32 *inner, u32 *leaf)
{
	struct kiln_vm *vm = bind->vm;
	struct drm_exec exec;
	int ret;

	ret = kiln_vm_lock_objects(bind, all, &exec);
	if (ret)
		return ret;
	if (compact) {
		ret = kiln_vm_make_compact(vm, &exec);
		if (ret)
			goto out;
	}
	/* While it was running when the caller looked, it may be suspended now. */
	if (bind->restore)
		ret = kiln_vm_make_resident(vm);
	else if (bind->bo && !kiln_evict_is_suspended(vm))
		ret = kiln_bo_make_resident_locked(bind->bo, all, true);
	if (ret)
		goto out;

	kiln_vm_count_tables(bind, inner, leaf);
	if (vm->pts.num_inner < *inner || vm->pts.num_leaf < *leaf)
		ret = -EAGAIN;
	else if (bind->restore)
		ret = kiln_vm_restore_locked(bind, &exec);
	else
		ret = kiln_vm_bind_locked(bind);
out:
	drm_exec_fini(&exec);
	kiln_vm_free_removed(bind);
	return ret;
}

/*
 * Map, unmap, or restore. In what is free, if possible; else others have to
 * leave. Locks of others may be in the way for a moment.
 */
static int kiln_vm_bind(struct kiln_vm_bind *bind)
{
	struct kiln_vm *vm = bind->vm;
	bool all = bind->restore;
	u32 tries = 0, inner, leaf;
	int ret;

	for (;;) {
		if (all && mutex_lock_interruptible(&vm->kdev->room_lock))
			return -ERESTARTSYS;
		ret = kiln_vm_try(bind, all, tries > 1, &inner, &leaf);
		if (all)
			mutex_unlock(&vm->kdev->room_lock);

		if (ret == -EAGAIN) {
			/* Room for tables may have to be made by eviction: not with those locks. */
			ret = kiln_pt_reserve(&vm->pts, inner, leaf);
			if (ret)
				return ret;
		} else if (ret != -ENOMEM || !(bind->bo || bind->restore)) {
			return ret;
		} else if (!all) {
			all = true;
		} else {
			if (++tries == KILN_VM_TRIES)
				return ret;
			msleep(20);
		}
	}
}

/* Bring a suspended VM back to the card. vm->lock is held. */
int kiln_vm_restore(struct kiln_vm *vm)
{
	struct kiln_vm_bind bind = {
		.vm = vm,
		.restore = true,
		.removed = LIST_HEAD_INIT(bind.removed),
		.fence = kiln_evict_create_fence(vm),
	};
	int ret;

	if (!bind.fence)
		return -ENOMEM;
	ret = kiln_vm_bind(&bind);
	dma_fence_put(bind.fence);
	return ret;
}

/* Can all that is bound be in HBM at the same time, if all others leave? */
static bool kiln_vm_fits(struct kiln_vm_bind *bind)
{
	struct kiln_device *kdev = bind->vm->kdev;
	u64 room = kiln_bo_hbm_room(kdev);
	struct drm_gem_object *gem = &bind->bo->tbo.base;
	struct drm_gpuvm_bo *vm_bo;

	if (!(bind->bo->flags & DRM_KILN_BO_HBM) || bind->vm->hbm_bytes + gem->size <= room)
		return true;
	/* Bound already, and counted? */
	dma_resv_lock(gem->resv, NULL);
	vm_bo = drm_gpuvm_bo_find(&bind->vm->base, gem);
	drm_gpuvm_bo_put(vm_bo);
	dma_resv_unlock(gem->resv);
	if (vm_bo)
		return true;
	drm_dbg(&kdev->drm, "vm %u: %zu bytes more than the %lld of HBM that it has bound do not fit into the %llu there are\n",
		bind->vm->id, gem->size, bind->vm->hbm_bytes, room);
	return false;
}

static bool kiln_vm_range_ok(u64 va, u64 bytes)
{
	return bytes && PAGE_ALIGNED(va) && PAGE_ALIGNED(bytes) && va >= KILN_VA_START &&
	       va < KILN_VA_END && bytes <= KILN_VA_END - va;
}

int kiln_vm_bind_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct drm_kiln_vm_bind *args = data;
	struct kiln_vm_bind bind = {
		.va = args->va,
		.bytes = args->size,
		.bo_offset = args->bo_offset,
		.readonly = args->flags & DRM_KILN_VM_BIND_READONLY,
		.removed = LIST_HEAD_INIT(bind.removed),
	};
	struct drm_gem_object *gem = NULL;
	struct kiln_vm *vm;
	int ret;

	if (args->op != DRM_KILN_VM_BIND_MAP && args->op != DRM_KILN_VM_BIND_UNMAP)
		return kiln_bad(kdev, -EINVAL, "op %u", args->op);
	if (args->flags & ~(args->op == DRM_KILN_VM_BIND_MAP ? DRM_KILN_VM_BIND_READONLY : 0))
		return kiln_bad(kdev, -EINVAL, "flags %#x", args->flags);
	if (args->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", args->reserved);
	if (!kiln_vm_range_ok(args->va, args->size))
		return kiln_bad(kdev, -EINVAL, "va %#llx size %#llx", args->va, args->size);
	if (!PAGE_ALIGNED(args->bo_offset))
		return kiln_bad(kdev, -EINVAL, "bo_offset %#llx", args->bo_offset);
	if (args->op == DRM_KILN_VM_BIND_UNMAP && (args->handle || args->bo_offset))
		return kiln_bad(kdev, -EINVAL, "handle %u, bo_offset %#llx for unmap",
				args->handle, args->bo_offset);

	vm = kiln_vm_get(file->driver_priv, args->vm_id);
	if (!vm)
		return kiln_bad(kdev, -ENOENT, "vm_id %u", args->vm_id);
	bind.vm = vm;

	if (args->op == DRM_KILN_VM_BIND_MAP) {
		gem = drm_gem_object_lookup(file, args->handle);
		if (!gem) {
			ret = kiln_bad(kdev, -ENOENT, "handle %u", args->handle);
			goto out_vm;
		}
		bind.bo = to_kiln_bo(gem);
		if (args->bo_offset > gem->size || args->size > gem->size - args->bo_offset) {
			ret = kiln_bad(kdev, -EINVAL, "bo_offset %#llx size %#llx of %#zx",
				       args->bo_offset, args->size, gem->size);
			goto out_gem;
		}
	}

	ret = kiln_vm_alloc_vmas(&bind);
	if (ret)
		goto out_vmas;
	ret = mutex_lock_interruptible(&vm->lock);
	if (ret)
		goto out_vmas;
	if (vm->dead)
		ret = kiln_bad(kdev, -ENOENT, "vm_id %u", args->vm_id);
	else if (vm->epoch != READ_ONCE(kdev->epoch))
		ret = kiln_bad(kdev, kiln_lost_errno(kdev), "vm %u was lost in a reset",
			       args->vm_id);
	else if (bind.bo && !kiln_vm_fits(&bind))
		ret = -ENOMEM;
	else
		ret = kiln_vm_bind(&bind);
	mutex_unlock(&vm->lock);

out_vmas:
	kiln_vm_free_vmas(&bind);
out_gem:
	if (gem)
		drm_gem_object_put(gem);
out_vm:
	kiln_vm_put(vm);
	return ret;
}

/* ------------------------------------------------------- life of the VM -- */

struct kiln_vm *kiln_vm_get(struct kiln_file *kfile, u32 id)
{
	struct kiln_vm *vm;

	xa_lock(&kfile->vms);
	vm = xa_load(&kfile->vms, id);
	if (vm)
		drm_gpuvm_get(&vm->base);
	xa_unlock(&kfile->vms);
	return vm;
}

void kiln_vm_put(struct kiln_vm *vm)
{
	drm_gpuvm_put(&vm->base);
}

/* Make the card know the context. */
int kiln_vm_create_hw(struct kiln_vm *vm)
{
	return kiln_admin_context_create(vm->kdev, vm->epoch, vm->hw_id, &vm->share,
					 vm->pts.root->addr);
}

static int kiln_vm_create_context(struct kiln_vm *vm)
{
	struct kiln_device *kdev = vm->kdev;
	int ret;

	ret = xa_alloc(&kdev->contexts, &vm->hw_id, vm, XA_LIMIT(1, kdev->max_contexts - 1),
		       GFP_KERNEL);
	if (ret)
		return ret == -EBUSY ? -ENOSPC : ret;
	ret = kiln_vm_create_hw(vm);
	if (ret) {
		xa_erase(&kdev->contexts, vm->hw_id);
		vm->hw_id = 0;
	}
	return ret;
}

static struct kiln_vm *kiln_vm_create(struct kiln_device *kdev, const struct kiln_share *share)
{
	struct drm_gem_object *resv;
	struct kiln_vm *vm;
	int ret;

	vm = kzalloc(sizeof(*vm), GFP_KERNEL);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	resv = drm_gpuvm_resv_object_alloc(&kdev->drm);
	if (!resv) {
		kfree(vm);
		return ERR_PTR(-ENOMEM);
	}
	vm->kdev = kdev;
	vm->share = *share;
	vm->pid = task_tgid_nr(current);
	vm->epoch = READ_ONCE(kdev->epoch);
	mutex_init(&vm->lock);
	spin_lock_init(&vm->fault_lock);
	drm_gpuvm_init(&vm->base, "kiln", 0, &kdev->drm, resv, KILN_VA_START,
		       KILN_VA_END - KILN_VA_START, 0, 0, &kiln_vm_ops);
	drm_gem_object_put(resv);

	ret = kiln_pt_init(&vm->pts, kdev);
	if (!ret)
		ret = kiln_evict_init(vm);
	if (!ret)
		ret = kiln_vm_create_context(vm);
	if (ret) {
		kiln_vm_destroy(vm);
		return ERR_PTR(ret);
	}
	return vm;
}

/*
 * Take the context from the card, drop every mapping, and the caller's
 * reference. There are no queues any more.
 */
void kiln_vm_destroy(struct kiln_vm *vm)
{
	struct kiln_device *kdev = vm->kdev;
	struct drm_gpuva *va, *next;
	int ret;

	mutex_lock(&vm->lock);
	vm->dead = true;
	mutex_unlock(&vm->lock);
	kiln_evict_fini(vm);
	if (vm->hw_id) {
		ret = kiln_admin_context_destroy(kdev, vm->epoch, vm->hw_id);
		if (ret && ret != -EIO && ret != -ENODEV) {
			drm_err(&kdev->drm, "context %u does not go away: %d\n", vm->hw_id, ret);
			kiln_hw_reset(kdev, vm->epoch, "keeps a context");
		}
		xa_erase(&kdev->contexts, vm->hw_id);
	}

	mutex_lock(&vm->lock);
	drm_gpuvm_for_each_va_safe(va, next, &vm->base) {
		struct drm_gem_object *gem = va->gem.obj;

		if (va == &vm->base.kernel_alloc_node)
			continue;
		drm_gem_object_get(gem);
		dma_resv_lock(gem->resv, NULL);
		drm_gpuva_remove(va);
		drm_gpuva_unlink(va);
		dma_resv_unlock(gem->resv);
		drm_gem_object_put(gem);
		kfree(to_kiln_vma(va));
	}
	kiln_pt_fini(&vm->pts);
	mutex_unlock(&vm->lock);
	if (vm->user)
		kiln_share_uncharge(vm->user, &vm->share, &kiln_no_share);
	kiln_vm_put(vm);
}

int kiln_vm_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_file *kfile = file->driver_priv;
	struct drm_kiln_vm_create *args = data;
	struct kiln_share share = {
		.weight = args->weight, .priority = args->priority, .min_share = args->min_share,
	};
	struct kiln_vm *vm;
	u32 id;
	int ret;

	if (args->flags)
		return kiln_bad(kdev, -EINVAL, "flags %#x", args->flags);
	if (args->id)
		return kiln_bad(kdev, -EINVAL, "id %u", args->id);
	if (args->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", args->pad);

	ret = kiln_share_check(kdev, &kiln_no_share, &share);
	if (ret)
		return ret;

	ret = kiln_share_charge(kdev, kfile->user, &kiln_no_share, &share);
	if (ret)
		return ret;
	vm = kiln_vm_create(kdev, &share);
	if (IS_ERR(vm)) {
		kiln_share_uncharge(kfile->user, &share, &kiln_no_share);
		return PTR_ERR(vm);
	}
	vm->user = kfile->user;
	/* Complete before anybody can find it. */
	ret = xa_alloc(&kfile->vms, &id, NULL, KILN_VMS_PER_FILE, GFP_KERNEL);
	if (ret) {
		kiln_vm_destroy(vm);
		return ret == -EBUSY ? -ENOSPC : ret;
	}
	vm->id = id;
	args->id = id;
	xa_store(&kfile->vms, id, vm, GFP_KERNEL);
	return 0;
}

int kiln_vm_destroy_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_file *kfile = file->driver_priv;
	struct drm_kiln_vm_destroy *args = data;
	struct kiln_vm *vm;
	int ret = 0;

	if (args->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", args->pad);

	mutex_lock(&kfile->lock);
	vm = xa_load(&kfile->vms, args->id);
	if (!vm)
		ret = kiln_bad(kdev, -ENOENT, "id %u", args->id);
	else if (vm->num_queues)
		ret = kiln_bad(kdev, -EBUSY, "vm %u has %u queues", args->id, vm->num_queues);
	else
		xa_erase(&kfile->vms, args->id);
	mutex_unlock(&kfile->lock);
	if (!ret)
		kiln_vm_destroy(vm);
	return ret;
}
