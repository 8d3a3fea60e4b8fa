// SPDX-License-Identifier: GPL-2.0-only
/*
 * While somebody else resets the function (sysfs, an error on the bus), the card
 * does not decode BAR 4: what CPUs write there is lost, and nobody is told. HBM
 * keeps its content, so a reset must not cost more than the commands of the card.
 * For that time the window is closed: mappings of userspace are taken away, and
 * who faults, or writes page tables, waits.
 *
 * Resets by register, which are the driver's own, leave BAR 4 alone.
 */
#include <linux/rwsem.h>
#include <linux/wait.h>

#include <drm/drm_drv.h>
#include <drm/ttm/ttm_bo.h>

#include "kiln_drv.h"
#include "kiln_hbm.h"

/* 0: HBM can be reached until kiln_hbm_exit(). -ENODEV: never again. -EAGAIN: not now. */
static int kiln_hbm_try_enter(struct kiln_device *kdev, int *idx)
{
	if (!drm_dev_enter(&kdev->drm, idx))
		return -ENODEV;
	down_read(&kdev->hbm_lock);
	if (!kdev->hbm_closed)
		return 0;
	up_read(&kdev->hbm_lock);
	drm_dev_exit(*idx);
	return -EAGAIN;
}

/*
 * As drm_dev_enter(), for those who touch HBM. May wait for the end of a reset,
 * but for no fence, and no memory.
 */
bool kiln_hbm_enter(struct drm_device *drm, int *idx)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	int ret;

	while ((ret = kiln_hbm_try_enter(kdev, idx)) == -EAGAIN)
		wait_event(kdev->hbm_opened, !READ_ONCE(kdev->hbm_closed));
	return !ret;
}

void kiln_hbm_exit(struct drm_device *drm, int idx)
{
	/* Out of the write-combining buffers, while the card still takes it. */
	wmb();
	up_read(&to_kiln_device(drm)->hbm_lock);
	drm_dev_exit(idx);
}

/*
 * On return no CPU reaches HBM until kiln_hbm_open(). Not for those whom a fence
 * waits for: who is in there may want memory.
 */
void kiln_hbm_close(struct kiln_device *kdev)
{
	down_write(&kdev->hbm_lock);
	WRITE_ONCE(kdev->hbm_closed, true);
	up_write(&kdev->hbm_lock);
	unmap_mapping_range(kdev->drm.anon_inode->i_mapping, 0, 0, 1);
}

void kiln_hbm_open(struct kiln_device *kdev)
{
	down_write(&kdev->hbm_lock);
	WRITE_ONCE(kdev->hbm_closed, false);
	up_write(&kdev->hbm_lock);
	wake_up_all(&kdev->hbm_opened);
}

/* ---------------------------------------------------------------- mmap -- */

static vm_fault_t kiln_hbm_fault(struct vm_fault *vmf)
{
	struct ttm_buffer_object *tbo = vmf->vma->vm_private_data;
	struct kiln_device *kdev = to_kiln_device(tbo->base.dev);
	vm_fault_t ret;
	int idx;

	ret = ttm_bo_vm_reserve(tbo, vmf);
	if (ret)
		return ret;
	switch (kiln_hbm_try_enter(kdev, &idx)) {
	case 0:
		ret = ttm_bo_vm_fault_reserved(vmf, vmf->vma->vm_page_prot,
					       TTM_BO_VM_NUM_PREFAULT);
		kiln_hbm_exit(&kdev->drm, idx);
		/* It has unlocked everything. */
		if (ret == VM_FAULT_RETRY && !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT))
			return ret;
		break;
	case -ENODEV:
		ret = ttm_bo_vm_dummy_page(vmf, vmf->vma->vm_page_prot);
		break;
	default:
		/* Others may need the reservation meanwhile. The access comes again by itself. */
		dma_resv_unlock(tbo->base.resv);
		wait_event_killable(kdev->hbm_opened, !READ_ONCE(kdev->hbm_closed));
		return VM_FAULT_NOPAGE;
	}
	dma_resv_unlock(tbo->base.resv);
	return ret;
}

/* A debugger. */
static int kiln_hbm_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len,
			   int write)
{
	struct ttm_buffer_object *tbo = vma->vm_private_data;
	int idx;

	if (!kiln_hbm_enter(tbo->base.dev, &idx))
		return -ENODEV;
	len = ttm_bo_vm_access(vma, addr, buf, len, write);
	kiln_hbm_exit(tbo->base.dev, idx);
	return len;
}

const struct vm_operations_struct kiln_hbm_vm_ops = {
	.fault = kiln_hbm_fault,
	.open = ttm_bo_vm_open,
	.close = ttm_bo_vm_close,
	.access = kiln_hbm_access,
};

void kiln_hbm_init(struct kiln_device *kdev)
{
	init_rwsem(&kdev->hbm_lock);
	init_waitqueue_head(&kdev->hbm_opened);
}
