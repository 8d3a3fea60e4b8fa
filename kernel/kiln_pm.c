// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two kinds of sleep.
 *
 * With the machine, the card loses its power: HBM, contexts and queues. All
 * tasks and our works are frozen, evictions are held. The firmware suspends the
 * contexts, so that each command has either ended or not begun; HBM is copied
 * out, and back to the same places, page tables included; contexts and queues
 * are made anew, and the rings get again what had not ended. Nobody sees more
 * than a pause.
 *
 * At run time, if it is allowed (power/control), the card sleeps when nobody
 * has it open and no buffer is left. There are no contexts then, and HBM keeps
 * its content.
 */
#include <linux/mm.h>
#include <linux/pm_runtime.h>

#include <drm/drm_print.h>

#include "kiln_admin.h"
#include "kiln_bo.h"
#include "kiln_drv.h"
#include "kiln_evict.h"
#include "kiln_hw.h"
#include "kiln_pm.h"
#include "kiln_queue.h"
#include "kiln_vm.h"

#define KILN_PM_IDLE_MS		2000

/* Calls @func for each VM, until one fails. */
static int kiln_pm_each_vm(struct kiln_device *kdev, int (*func)(struct kiln_vm *vm))
{
	unsigned long hw_id;
	struct kiln_vm *vm;
	int ret = 0;

	xa_lock(&kdev->contexts);
	xa_for_each(&kdev->contexts, hw_id, vm) {
		if (!kref_get_unless_zero(&vm->base.kref))
			continue;
		xa_unlock(&kdev->contexts);
		ret = func(vm);
		kiln_vm_put(vm);
		xa_lock(&kdev->contexts);
		if (ret)
			break;
	}
	xa_unlock(&kdev->contexts);
	return ret;
}

/* A reset has lost it: the card does not know it. */
static bool kiln_pm_is_lost(struct kiln_vm *vm)
{
	return vm->epoch != READ_ONCE(vm->kdev->epoch);
}

static int kiln_pm_suspend_vm(struct kiln_vm *vm)
{
	if (kiln_pm_is_lost(vm))
		return 0;
	return kiln_admin_context_suspend(vm->kdev, vm->epoch, vm->hw_id);
}

/* After all, the machine does not sleep. Who gave its memory away stays suspended. */
static int kiln_pm_resume_vm(struct kiln_vm *vm)
{
	if (!kiln_pm_is_lost(vm) && !kiln_evict_is_suspended(vm))
		kiln_admin_context_resume(vm->kdev, vm->epoch, vm->hw_id);
	return 0;
}

static int kiln_pm_restore_vm(struct kiln_vm *vm)
{
	int ret;

	if (kiln_pm_is_lost(vm))
		return 0;
	ret = kiln_vm_create_hw(vm);
	if (!ret && kiln_evict_is_suspended(vm))
		ret = kiln_admin_context_suspend(vm->kdev, vm->epoch, vm->hw_id);
	return ret;
}

static int kiln_pm_suspend(struct device *dev)
{
	struct kiln_device *kdev = dev_get_drvdata(dev);
	int ret;

	kiln_pm_each_vm(kdev, kiln_evict_hold);
	if (READ_ONCE(kdev->wedged))
		return 0;
	ret = kiln_pm_each_vm(kdev, kiln_pm_suspend_vm);
	/* A card that was reset over it has nothing left to save. */
	if (ret == -EIO || ret == -ENODEV)
		ret = 0;
	kiln_queue_poll_all(kdev);
	if (!ret)
		ret = kiln_bo_save_hbm(kdev);
	if (ret) {
		drm_err(&kdev->drm, "no sleep (%d): %s\n", ret, ret == -ENOMEM ?
			"not enough memory for what is in HBM" : "a context does not stop");
		kiln_pm_each_vm(kdev, kiln_pm_resume_vm);
		kiln_pm_each_vm(kdev, kiln_evict_let);
		return ret;
	}
	kiln_hw_sleep(kdev);
	return 0;
}

static int kiln_pm_resume(struct device *dev)
{
	struct kiln_device *kdev = dev_get_drvdata(dev);
	int ret;

	ret = kiln_hw_wake(kdev);
	kiln_bo_restore_hbm(kdev, !ret);
	/* If it is wedged, everybody knows; the machine goes on. */
	if (!ret)
		ret = kiln_pm_each_vm(kdev, kiln_pm_restore_vm);
	if (!ret)
		ret = kiln_queue_restore_all(kdev);
	if (ret && ret != -EIO && ret != -ENODEV)
		kiln_hw_reset(kdev, READ_ONCE(kdev->epoch), "does not take back what it had");
	kiln_pm_each_vm(kdev, kiln_evict_let);
	return 0;
}

static int kiln_pm_runtime_suspend(struct device *dev)
{
	struct kiln_device *kdev = dev_get_drvdata(dev);

	kiln_hw_stop_watchdog(kdev);
	kiln_hw_sleep(kdev);
	return 0;
}

/* A card that does not wake up is wedged, which open() says. */
static int kiln_pm_runtime_resume(struct device *dev)
{
	struct kiln_device *kdev = dev_get_drvdata(dev);

	if (!kiln_hw_wake(kdev))
		kiln_hw_start_watchdog(kdev);
	return 0;
}

const struct dev_pm_ops kiln_pm_ops = {
	SYSTEM_SLEEP_PM_OPS(kiln_pm_suspend, kiln_pm_resume)
	RUNTIME_PM_OPS(kiln_pm_runtime_suspend, kiln_pm_runtime_resume, NULL)
};

/* The end of probe: the PCI bus has taken a reference for the driver to drop. */
void kiln_pm_start(struct kiln_device *kdev)
{
	struct device *dev = kdev->drm.dev;

	pm_runtime_set_autosuspend_delay(dev, KILN_PM_IDLE_MS);
	pm_runtime_use_autosuspend(dev);
	pm_runtime_mark_last_busy(dev);
	pm_runtime_put_autosuspend(dev);
}

/* The beginning of remove; the card is awake. */
void kiln_pm_stop(struct kiln_device *kdev)
{
	pm_runtime_dont_use_autosuspend(kdev->drm.dev);
	pm_runtime_get_noresume(kdev->drm.dev);
}

/* Each open file, and each buffer, keeps the card awake. */
int kiln_pm_get(struct kiln_device *kdev)
{
	return pm_runtime_resume_and_get(kdev->drm.dev);
}

/* For who knows that the card is awake. */
void kiln_pm_get_again(struct kiln_device *kdev)
{
	pm_runtime_get_noresume(kdev->drm.dev);
}

void kiln_pm_put(struct kiln_device *kdev)
{
	pm_runtime_mark_last_busy(kdev->drm.dev);
	pm_runtime_put_autosuspend(kdev->drm.dev);
}

/* For who only wants to look, and then has to put it. */
bool kiln_pm_get_if_awake(struct kiln_device *kdev)
{
	if (!pm_runtime_enabled(kdev->drm.dev)) {
		kiln_pm_get_again(kdev);
		return true;
	}
	return pm_runtime_get_if_active(kdev->drm.dev) > 0;
}
