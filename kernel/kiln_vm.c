// SPDX-License-Identifier: GPL-2.0-only
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
#include "kiln_hw.h"
#include "kiln_vm.h"

#define KILN_WEIGHT_DEFAULT	64
#define KILN_WEIGHT_MAX		1024
#define KILN_VMS_PER_FILE	XA_LIMIT(1, KILN_MAX_CONTEXTS)

/* The card may not write there. */
#define KILN_VMA_READONLY	DRM_GPUVA_USERBITS

/**
 * struct kiln_vma - a mapping; pins its buffer
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
	/** @removed: mappings whose buffers stay pinned until the flush. */
	struct list_head removed;
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

/* Out of the books; the pin is dropped after the flush. */
static void kiln_vm_remove_vma(struct kiln_vm_bind *bind, struct drm_gpuva *va)
{
	drm_gpuva_unlink(va);
	list_add(&to_kiln_vma(va)->link, &bind->removed);
}

/* A mapping that has been inserted gets its buffer and its pin. */
static void kiln_vm_link_vma(struct kiln_vma *vma, struct drm_gpuvm_bo *vm_bo, bool readonly)
{
	if (readonly)
		vma->base.flags |= KILN_VMA_READONLY;
	drm_gpuva_link(&vma->base, vm_bo);
	kiln_bo_pin_locked(to_kiln_bo(vma->base.gem.obj));
}

static int kiln_vm_step_map(struct drm_gpuva_op *op, void *priv)
{
	struct kiln_vm_bind *bind = priv;
	struct kiln_vma *vma;
	int ret;

	ret = kiln_pt_map(&bind->vm->pts, op->map.va.addr, op->map.va.range, bind->bo,
			  op->map.gem.offset, bind->readonly);
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

/* Lock the VM, every buffer that the range touches now, and the one to map. */
static int kiln_vm_lock_range(struct kiln_vm_bind *bind, struct drm_exec *exec)
{
	struct drm_gpuvm *gpuvm = &bind->vm->base;
	int ret = 0;

	drm_exec_init(exec, DRM_EXEC_INTERRUPTIBLE_WAIT | DRM_EXEC_IGNORE_DUPLICATES, 0);
	drm_exec_until_all_locked(exec) {
		ret = drm_gpuvm_prepare_vm(gpuvm, exec, 0);
		drm_exec_retry_on_contention(exec);
		if (ret)
			break;
		ret = drm_gpuvm_prepare_range(gpuvm, exec, bind->va, bind->bytes, 0);
		drm_exec_retry_on_contention(exec);
		if (ret || !bind->bo)
			break;
		ret = drm_exec_lock_obj(exec, &bind->bo->tbo.base);
		drm_exec_retry_on_contention(exec);
		if (ret)
			break;
	}
	if (ret)
		drm_exec_fini(exec);
	return ret;
}

/* Spare tables that the change can take at most, splits of large pages at its ends included. */
static void kiln_vm_count_tables(struct kiln_vm_bind *bind, u32 *inner, u32 *leaf)
{
	*inner = 0;
	*leaf = 0;
	if (bind->bo) {
		kiln_pt_count(bind->va, bind->bytes, inner, leaf);
		/* In large pages but for the ends? */
		if (kiln_bo_in_hbm(bind->bo) &&
		    IS_ALIGNED(kiln_bo_hbm_offset(bind->bo) + bind->bo_offset - bind->va,
			       1ull << KILN_LARGE_SHIFT))
			*leaf = min(*leaf, 2u);
	}
	*leaf += 2;
}

/* With everything locked: change tables and books, flush. */
static int kiln_vm_bind_locked(struct kiln_vm_bind *bind)
{
	struct kiln_vm *vm = bind->vm;
	struct kiln_vma *vma, *next;
	int ret, err, idx;

	if (!drm_dev_enter(&vm->kdev->drm, &idx))
		return -ENODEV;
	if (bind->bo) {
		bind->vm_bo = kiln_gpuvm_bo_obtain_locked(&vm->base, &bind->bo->tbo.base);
		if (IS_ERR(bind->vm_bo)) {
			drm_dev_exit(idx);
			return PTR_ERR(bind->vm_bo);
		}
		ret = kiln_gpuvm_sm_map(&vm->base, bind, bind->va, bind->bytes,
					&bind->bo->tbo.base, bind->bo_offset);
		drm_gpuvm_bo_put(bind->vm_bo);
	} else {
		ret = drm_gpuvm_sm_unmap(&vm->base, bind, bind->va, bind->bytes);
	}
	/* Out of the write-combining buffers, before any command can use it. */
	wmb();
	drm_dev_exit(idx);

	/* On failure the card holds no translation at all any more, so go on. */
	if (vm->pts.flush) {
		err = kiln_admin_tlb_flush(vm->kdev, vm->epoch, vm->hw_id);
		if (err && err != -EIO && err != -ENODEV) {
			drm_err(&vm->kdev->drm, "context %u: TLB flush failed: %d\n",
				vm->hw_id, err);
			kiln_hw_reset(vm->kdev, vm->epoch, "keeps translations");
			err = -EIO;
		}
		ret = ret ?: err;
	}
	kiln_pt_flushed(&vm->pts);
	list_for_each_entry_safe(vma, next, &bind->removed, link) {
		kiln_bo_unpin_locked(to_kiln_bo(vma->base.gem.obj));
		kfree(vma);
	}
	return ret;
}

static int kiln_vm_bind(struct kiln_vm_bind *bind)
{
	struct kiln_vm *vm = bind->vm;
	struct drm_exec exec;
	u32 inner, leaf;
	int ret;

	for (;;) {
		ret = kiln_vm_lock_range(bind, &exec);
		if (ret)
			return ret;
		if (bind->bo) {
			ret = kiln_bo_make_resident_locked(bind->bo);
			if (ret)
				break;
		}
		kiln_vm_count_tables(bind, &inner, &leaf);
		if (vm->pts.num_inner >= inner && vm->pts.num_leaf >= leaf) {
			ret = kiln_vm_bind_locked(bind);
			break;
		}
		/* Room for tables may have to be made by eviction: not with these locks. */
		drm_exec_fini(&exec);
		ret = kiln_pt_reserve(&vm->pts, inner, leaf);
		if (ret)
			return ret;
	}
	drm_exec_fini(&exec);
	return ret;
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
static int kiln_vm_create_context(struct kiln_vm *vm)
{
	struct kiln_device *kdev = vm->kdev;
	int ret;

	ret = xa_alloc(&kdev->contexts, &vm->hw_id, vm, XA_LIMIT(1, kdev->max_contexts - 1),
		       GFP_KERNEL);
	if (ret)
		return ret == -EBUSY ? -ENOSPC : ret;
	ret = kiln_admin_context_create(kdev, vm->epoch, vm->hw_id, vm->weight,
					vm->pts.root->addr);
	if (ret) {
		xa_erase(&kdev->contexts, vm->hw_id);
		vm->hw_id = 0;
	}
	return ret;
}

static struct kiln_vm *kiln_vm_create(struct kiln_device *kdev, u32 weight)
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
	vm->weight = weight;
	vm->pid = task_tgid_nr(current);
	vm->epoch = READ_ONCE(kdev->epoch);
	mutex_init(&vm->lock);
	spin_lock_init(&vm->fault_lock);
	drm_gpuvm_init(&vm->base, "kiln", 0, &kdev->drm, resv, KILN_VA_START,
		       KILN_VA_END - KILN_VA_START, 0, 0, &kiln_vm_ops);
	drm_gem_object_put(resv);

	ret = kiln_pt_init(&vm->pts, kdev);
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

	if (vm->hw_id) {
		ret = kiln_admin_context_destroy(kdev, vm->epoch, vm->hw_id);
		if (ret && ret != -EIO && ret != -ENODEV) {
			drm_err(&kdev->drm, "context %u does not go away: %d\n", vm->hw_id, ret);
			kiln_hw_reset(kdev, vm->epoch, "keeps a context");
		}
		xa_erase(&kdev->contexts, vm->hw_id);
	}

	mutex_lock(&vm->lock);
	vm->dead = true;
	drm_gpuvm_for_each_va_safe(va, next, &vm->base) {
		struct drm_gem_object *gem = va->gem.obj;

		if (va == &vm->base.kernel_alloc_node)
			continue;
		drm_gem_object_get(gem);
		dma_resv_lock(gem->resv, NULL);
		drm_gpuva_remove(va);
		drm_gpuva_unlink(va);
		kiln_bo_unpin_locked(to_kiln_bo(gem));
		dma_resv_unlock(gem->resv);
		drm_gem_object_put(gem);
		kfree(to_kiln_vma(va));
	}
	kiln_pt_fini(&vm->pts);
	mutex_unlock(&vm->lock);
	kiln_vm_put(vm);
}

int kiln_vm_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_file *kfile = file->driver_priv;
	struct drm_kiln_vm_create *args = data;
	struct kiln_vm *vm;
	u32 id;
	int ret;

	if (args->flags)
		return kiln_bad(kdev, -EINVAL, "flags %#x", args->flags);
	if (args->weight > KILN_WEIGHT_MAX)
		return kiln_bad(kdev, -EINVAL, "weight %u", args->weight);
	if (args->id)
		return kiln_bad(kdev, -EINVAL, "id %u", args->id);
	if (args->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", args->pad);

	vm = kiln_vm_create(kdev, args->weight ?: KILN_WEIGHT_DEFAULT);
	if (IS_ERR(vm))
		return PTR_ERR(vm);
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
