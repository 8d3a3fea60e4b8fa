// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/pci.h>

#include <drm/drm_accel.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include "kiln_bo.h"
#include "kiln_compat.h"
#include "kiln_debugfs.h"
#include "kiln_devcoredump.h"
#include "kiln_drv.h"
#include "kiln_fault.h"
#include "kiln_fdinfo.h"
#include "kiln_hbm.h"
#include "kiln_hw.h"
#include "kiln_pm.h"
#include "kiln_prime.h"
#include "kiln_queue.h"
#include "kiln_share.h"
#include "kiln_submit.h"
#include "kiln_sysfs.h"
#include "kiln_tt.h"
#include "kiln_uring.h"
#include "kiln_vm.h"

#define CREATE_TRACE_POINTS
#include "kiln_trace.h"

/* ---------------------------------------------------------------- files -- */

static int kiln_open(struct drm_device *drm, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_file *kfile;
	int ret;

	ret = kiln_pm_get(kdev);
	if (ret)
		return ret;
	if (READ_ONCE(kdev->wedged)) {
		ret = kiln_bad(kdev, -ENODEV, "the card is wedged");
		goto err_pm;
	}
	kfile = kzalloc(sizeof(*kfile), GFP_KERNEL);
	if (!kfile) {
		ret = -ENOMEM;
		goto err_pm;
	}
	kfile->kdev = kdev;
	kfile->user = kiln_user_get(kdev, current_euid());
	if (!kfile->user) {
		kfree(kfile);
		ret = -ENOMEM;
		goto err_pm;
	}
	mutex_init(&kfile->lock);
	xa_init_flags(&kfile->vms, XA_FLAGS_ALLOC1);
	xa_init_flags(&kfile->queues, XA_FLAGS_ALLOC1);
	file->driver_priv = kfile;
	return 0;

err_pm:
	kiln_pm_put(kdev);
	return ret;
}

/*
 * The last user of the file is gone, io_uring's commands among them: each holds
 * a reference to it. What is still running came by ioctl, and is aborted.
 */
static void kiln_file_free(struct kiln_file *kfile)
{
	struct kiln_queue *queue;
	struct kiln_vm *vm;
	unsigned long id;

	mutex_lock(&kfile->lock);
	xa_for_each(&kfile->queues, id, queue) {
		xa_erase(&kfile->queues, id);
		kiln_queue_destroy(queue, kfile);
	}
	mutex_unlock(&kfile->lock);
	xa_for_each(&kfile->vms, id, vm)
		kiln_vm_destroy(vm);

	xa_destroy(&kfile->queues);
	xa_destroy(&kfile->vms);
	mutex_destroy(&kfile->lock);
	kiln_user_put(kfile->user);
	kfree(kfile);
}

struct kiln_close {
	struct work_struct work;
	struct kiln_file *kfile;
};

static void kiln_close_work(struct work_struct *work)
{
	kiln_file_free(container_of(work, struct kiln_close, work)->kfile);
}

/*
 * While the machine sleeps, tasks are frozen, but not the kernel's workers, who
 * close what a task that was killed has left. kiln_pm.c wants the card alone, and
 * what they would destroy is not on it: such a file waits until all are awake.
 */
static void kiln_postclose(struct drm_device *drm, struct drm_file *file)
{
	struct kiln_file *kfile = file->driver_priv;

	if (current->flags & PF_KTHREAD) {
		struct kiln_close close = { .kfile = kfile };

		INIT_WORK_ONSTACK(&close.work, kiln_close_work);
		queue_work(system_freezable_wq, &close.work);
		flush_work(&close.work);
		destroy_work_on_stack(&close.work);
	} else {
		kiln_file_free(kfile);
	}
	kiln_pm_put(to_kiln_device(drm));
}

static int kiln_query_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct drm_kiln_query *args = data;
	struct drm_kiln_info info = {
		.generation = kdev->generation,
		.cores = kdev->cores,
		.hbm_bytes = kdev->hbm_bytes,
		.hbm_used_bytes = kiln_bo_hbm_used(kdev),
		.sbuf_bytes = kdev->sbuf_bytes,
		.psum_bytes = kdev->psum_bytes,
		.clock_khz = kdev->clock_khz,
		.fw_version = kdev->fw_version,
		.hw_version = kdev->hw_version,
		.max_queue_depth = KILN_QUEUE_DEPTH_MAX,
		.va_start = KILN_VA_START,
		.va_end = KILN_VA_END,
	};
	u32 known;

	if (args->type != DRM_KILN_QUERY_INFO)
		return kiln_bad(kdev, -EINVAL, "type %u", args->type);
	if (args->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", args->reserved);

	if (args->pointer) {
		known = min_t(u32, args->size, sizeof(info));
		if (copy_to_user(u64_to_user_ptr(args->pointer), &info, known))
			return -EFAULT;
		if (clear_user(u64_to_user_ptr(args->pointer + known), args->size - known))
			return -EFAULT;
	}
	args->size = sizeof(info);
	return 0;
}

static const struct drm_ioctl_desc kiln_ioctls[] = {
	DRM_IOCTL_DEF_DRV(KILN_QUERY, kiln_query_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_BO_CREATE, kiln_bo_create_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_BO_INFO, kiln_bo_info_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_VM_CREATE, kiln_vm_create_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_VM_DESTROY, kiln_vm_destroy_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_VM_BIND, kiln_vm_bind_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_VM_FAULT, kiln_vm_fault_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_VM_SHARE, kiln_vm_share_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_QUEUE_CREATE, kiln_queue_create_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_QUEUE_DESTROY, kiln_queue_destroy_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_SUBMIT, kiln_submit_ioctl, 0),
	DRM_IOCTL_DEF_DRV(KILN_WAIT, kiln_wait_ioctl, 0),
};

/*
 * The file of an accel node has no DRM master, but some of DRM's own ioctls, which
 * are for displays, take it for granted and use it: DRM_IOCTL_GET_MAGIC for one. So
 * what is allowed is what a render node allows.
 */
static bool kiln_ioctl_is_for_us(unsigned int cmd)
{
	unsigned int flags;

	return !drm_ioctl_flags(DRM_IOCTL_NR(cmd), &flags) || (flags & DRM_RENDER_ALLOW);
}

static long kiln_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	return kiln_ioctl_is_for_us(cmd) ? drm_ioctl(filp, cmd, arg) : -EACCES;
}

#ifdef CONFIG_COMPAT
static long kiln_compat_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	return kiln_ioctl_is_for_us(cmd) ? drm_compat_ioctl(filp, cmd, arg) : -EACCES;
}
#else
#define kiln_compat_ioctl NULL
#endif

/* DRM_ACCEL_FOPS, but for the ioctls, and what io_uring calls. */
static const struct file_operations kiln_fops = {
	.owner = THIS_MODULE,
	.open = accel_open,
	.release = drm_release,
	.unlocked_ioctl = kiln_ioctl,
	.compat_ioctl = kiln_compat_ioctl,
	.poll = drm_poll,
	.read = drm_read,
	.llseek = noop_llseek,
	.mmap = drm_gem_mmap,
	.fop_flags = FOP_UNSIGNED_OFFSET,
	.show_fdinfo = drm_show_fdinfo,
	.uring_cmd = kiln_uring_cmd,
	.uring_cmd_iopoll = kiln_uring_cmd_iopoll,
};

/*
 * Versions of the interface to userspace:
 * 1.0 - the first
 * 1.1 - DRM_IOCTL_KILN_VM_SHARE; priority and min_share of VM_CREATE
 */
static const struct drm_driver kiln_driver = {
	.driver_features = DRIVER_COMPUTE_ACCEL | DRIVER_GEM | KILN_DRIVER_GEM_GPUVA |
			   DRIVER_SYNCOBJ,
	.open = kiln_open,
	.postclose = kiln_postclose,
	.show_fdinfo = kiln_fdinfo_show,
	.ioctls = kiln_ioctls,
	.num_ioctls = ARRAY_SIZE(kiln_ioctls),
	.fops = &kiln_fops,
	.gem_prime_import = kiln_prime_import,
	.name = "kiln",
	.desc = "Kiln accelerator",
	KILN_DRM_DATE
	.major = 1,
	.minor = 1,
};

/* ------------------------------------------------------------------ PCI -- */

static void kiln_release_wq(struct drm_device *drm, void *data)
{
	destroy_workqueue(data);
}

/* For what somebody may wait for to get memory. */
static int kiln_init_wq(struct kiln_device *kdev, struct workqueue_struct **wq, const char *name,
			unsigned int flags)
{
	*wq = alloc_workqueue("%s-%s", WQ_UNBOUND | WQ_MEM_RECLAIM | flags, 0, name,
			      pci_name(to_pci_dev(kdev->drm.dev)));
	if (!*wq)
		return -ENOMEM;
	return drmm_add_action_or_reset(&kdev->drm, kiln_release_wq, *wq);
}

static int kiln_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct kiln_device *kdev;
	struct drm_device *drm;
	int ret;

	kdev = devm_drm_dev_alloc(&pdev->dev, &kiln_driver, struct kiln_device, drm);
	if (IS_ERR(kdev))
		return PTR_ERR(kdev);
	drm = &kdev->drm;
	pci_set_drvdata(pdev, kdev);
	kiln_hbm_init(kdev);
	xa_init_flags(&kdev->queues, XA_FLAGS_ALLOC1);
	xa_init_flags(&kdev->contexts, XA_FLAGS_ALLOC1);

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = pcim_request_all_regions(pdev, "kiln");
	if (ret)
		return ret;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	/* While the machine goes to sleep, kiln_pm.c wants to be alone with the card. */
	ret = kiln_init_wq(kdev, &kdev->wq, "kiln", WQ_FREEZABLE);
	if (ret)
		return ret;
	/* Not these: a work that has begun must end before it does, and may wait for one. */
	ret = kiln_init_wq(kdev, &kdev->evict_wq, "kiln-evict", 0);
	if (ret)
		return ret;
	ret = kiln_devcoredump_init(kdev);
	if (ret)
		return ret;
	ret = kiln_limits_init(kdev);
	if (ret)
		return ret;
	ret = kiln_hw_init(kdev);
	if (ret)
		return ret;
	ret = kiln_bo_init(kdev);
	if (ret)
		return ret;
	ret = kiln_admin_init(kdev);
	if (ret)
		return ret;
	ret = kiln_irq_init(kdev);
	if (ret)
		goto err_admin;
	ret = kiln_hw_boot(kdev);
	if (ret)
		goto err_stop;
	kiln_debugfs_init(kdev);
	ret = drm_dev_register(drm, 0);
	if (ret)
		goto err_stop;
	kiln_hw_start_watchdog(kdev);
	kiln_pm_start(kdev);
	drm_info(drm, "trn%u, %u cores, %llu MiB of HBM, firmware %u.%u\n", kdev->generation,
		 kdev->cores, kdev->hbm_bytes >> 20, kdev->fw_version >> 16,
		 kdev->fw_version & 0xffff);
	return 0;

err_stop:
	kiln_hw_stop(kdev);
	kiln_irq_fini(kdev);
	kiln_hw_stop_watchdog(kdev);
	kiln_devcoredump_fini(kdev);
err_admin:
	kiln_admin_fini(kdev);
	return ret;
}

/*
 * rmmod, unbind, unplug; files may be open, and stay so. Afterwards the card
 * touches nothing of ours, every command has ended, and every call on an open
 * file gets -ENODEV.
 */
static void kiln_remove(struct pci_dev *pdev)
{
	struct kiln_device *kdev = pci_get_drvdata(pdev);

	kiln_pm_stop(kdev);
	drm_dev_unplug(&kdev->drm);
	kiln_hw_stop_watchdog(kdev);
	kiln_hw_stop(kdev);
	kiln_admin_fail(kdev, -ENODEV);
	kiln_queue_fail_all(kdev, -ENODEV);
	/* Now those go on who wait to free what the card had. */
	complete_all(&kdev->stopped);
	kiln_irq_fini(kdev);
	kiln_devcoredump_fini(kdev);
	kiln_queue_release_all(kdev);
	kiln_admin_fini(kdev);
	kiln_prime_detach_all(kdev);
	kiln_tt_unmap_all(kdev);
}

/* The machine goes down, or another kernel takes over: leave the card for good. */
static void kiln_shutdown(struct pci_dev *pdev)
{
	struct kiln_device *kdev = pci_get_drvdata(pdev);

	mutex_lock(&kdev->reset_lock);
	kdev->wedged = true;
	kiln_hw_stop(kdev);
	mutex_unlock(&kdev->reset_lock);
	kiln_admin_fail(kdev, -ENODEV);
	kiln_queue_fail_all(kdev, -ENODEV);
}

/* Somebody resets the function, by sysfs for instance. */
static void kiln_reset_prepare(struct pci_dev *pdev)
{
	kiln_hw_reset_prepare(pci_get_drvdata(pdev));
}

static void kiln_reset_done(struct pci_dev *pdev)
{
	kiln_hw_reset_done(pci_get_drvdata(pdev));
}

static const struct pci_error_handlers kiln_err_handlers = {
	.reset_prepare = kiln_reset_prepare,
	.reset_done = kiln_reset_done,
};

static const struct pci_device_id kiln_ids[] = {
	{ PCI_DEVICE(KILN_PCI_VENDOR_ID, KILN_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, kiln_ids);

static struct pci_driver kiln_pci_driver = {
	.name = "kiln",
	.id_table = kiln_ids,
	.probe = kiln_probe,
	.remove = kiln_remove,
	.shutdown = kiln_shutdown,
	.err_handler = &kiln_err_handlers,
	.dev_groups = kiln_sysfs_groups,
	.driver.pm = pm_ptr(&kiln_pm_ops),
};

static int __init kiln_init(void)
{
	return pci_register_driver(&kiln_pci_driver);
}
module_init(kiln_init);

static void __exit kiln_exit(void)
{
	pci_unregister_driver(&kiln_pci_driver);
	/* Queues are freed by call_rcu(). */
	rcu_barrier();
}
module_exit(kiln_exit);

MODULE_DESCRIPTION("Kiln accelerator");
MODULE_LICENSE("GPL");
KILN_IMPORT_NS_DMA_BUF;
