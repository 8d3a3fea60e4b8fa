// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dma-fence.h>
#include <linux/iopoll.h>
#include <linux/jiffies.h>
#include <linux/pci.h>

#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include "kiln_devcoredump.h"
#include "kiln_drv.h"
#include "kiln_hbm.h"
#include "kiln_hw.h"
#include "kiln_queue.h"
#include "kiln_trace.h"

#define KILN_BOOT_US		(20 * USEC_PER_SEC)
#define KILN_STOP_US		(20 * USEC_PER_SEC)
#define KILN_WATCHDOG_PERIOD	HZ
#define KILN_PING_PERIOD	(5 * HZ)
/* Ten beats: the host below an emulated card may be busy. */
#define KILN_HEARTBEAT_LIMIT	(5 * HZ)

static u64 kiln_hw_read64(struct kiln_device *kdev, u32 offset)
{
	return kiln_hw_read(kdev, offset) | (u64)kiln_hw_read(kdev, offset + 4) << 32;
}

static void kiln_hw_write64(struct kiln_device *kdev, u32 offset, u64 value)
{
	kiln_hw_write(kdev, offset, lower_32_bits(value));
	kiln_hw_write(kdev, offset + 4, upper_32_bits(value));
}

/* Registers of a card that was pulled out read as all ones. */
static bool kiln_hw_gone(struct kiln_device *kdev)
{
	return kiln_hw_read(kdev, KILN_REG_MAGIC) != KILN_MAGIC;
}

static void kiln_hw_reset_work(struct work_struct *work)
{
	struct kiln_device *kdev = container_of(work, struct kiln_device, reset_work);
	int idx;

	if (!drm_dev_enter(&kdev->drm, &idx))
		return;
	kiln_hw_reset(kdev, READ_ONCE(kdev->broken_epoch), "has stopped, or talks nonsense");
	drm_dev_exit(idx);
}

/*
 * As drm_dev_wedged_event() does it, which does not know accel nodes. Not by whoever resets the
 * card: it allocates memory.
 */
static void kiln_hw_event_work(struct work_struct *work)
{
	struct kiln_device *kdev = container_of(work, struct kiln_device, event_work);
	char *event[2] = { };
	int idx;

	if (!drm_dev_enter(&kdev->drm, &idx))
		return;
	event[0] = READ_ONCE(kdev->wedged) ? "WEDGED=rebind,bus-reset" : "WEDGED=none";
	kobject_uevent_env(&kdev->drm.accel->kdev->kobj, KOBJ_CHANGE, event);
	drm_dev_exit(idx);
}

/* The card, or what it did in @epoch, is broken. Any context. */
void kiln_hw_broken(struct kiln_device *kdev, u32 epoch)
{
	/* What a reset leaves behind is no reason for another one. */
	if (epoch != READ_ONCE(kdev->epoch))
		return;
	WRITE_ONCE(kdev->broken_epoch, epoch);
	queue_work(kdev->wq, &kdev->reset_work);
}

static void kiln_hw_reset_locked(struct kiln_device *kdev, const char *why);

/*
 * Why the card is of no use; NULL: it seems well. reset_lock is held: a card
 * that is just being reset has stopped, too.
 */
static const char *kiln_hw_trouble(struct kiln_device *kdev)
{
	u32 heartbeat = kiln_hw_read(kdev, KILN_REG_HEARTBEAT);

	if (kiln_hw_gone(kdev))
		return "does not answer";
	if (kiln_hw_read(kdev, KILN_REG_STATUS) != KILN_STATE_READY)
		return "has stopped";
	if (heartbeat != kdev->heartbeat) {
		kdev->heartbeat = heartbeat;
		kdev->heartbeat_at = jiffies;
	}
	if (time_after(jiffies, kdev->heartbeat_at + KILN_HEARTBEAT_LIMIT))
		return "has no heartbeat";
	return NULL;
}

/*
 * Does the firmware live? KILN_REG_HEARTBEAT alone cannot tell: it grows also in
 * a card that cannot reach memory. So there is a command now and then;
 * kiln_admin_ping() resets a card that gives no answer. And interrupts get
 * lost: what stands in the rings is taken out here, if by nobody else.
 */
static void kiln_hw_watchdog_work(struct work_struct *work)
{
	struct kiln_device *kdev = container_of(work, struct kiln_device, watchdog.work);
	const char *trouble = NULL;
	bool signalling;
	u32 epoch;
	int idx;

	if (!drm_dev_enter(&kdev->drm, &idx))
		return;
	if (READ_ONCE(kdev->wedged))
		goto out;

	signalling = dma_fence_begin_signalling();
	kiln_queue_poll_all(kdev);
	mutex_lock(&kdev->reset_lock);
	epoch = kdev->epoch;
	if (!kdev->wedged && !kdev->away)
		trouble = kiln_hw_trouble(kdev);
	if (trouble)
		kiln_hw_reset_locked(kdev, trouble);
	mutex_unlock(&kdev->reset_lock);
	if (!trouble && time_after_eq(jiffies, kdev->ping_at)) {
		kdev->ping_at = jiffies + KILN_PING_PERIOD;
		kiln_admin_ping(kdev, epoch);
	}
	kiln_queue_expire_fences(kdev);
	dma_fence_end_signalling(signalling);
	queue_delayed_work(kdev->wq, &kdev->watchdog, KILN_WATCHDOG_PERIOD);
out:
	drm_dev_exit(idx);
}

void kiln_hw_start_watchdog(struct kiln_device *kdev)
{
	kdev->heartbeat_at = jiffies;
	kdev->ping_at = jiffies + KILN_PING_PERIOD;
	queue_delayed_work(kdev->wq, &kdev->watchdog, KILN_WATCHDOG_PERIOD);
}

/* After drm_dev_unplug(), so that none of them comes back. */
void kiln_hw_stop_watchdog(struct kiln_device *kdev)
{
	cancel_delayed_work_sync(&kdev->watchdog);
	cancel_work_sync(&kdev->reset_work);
	cancel_work_sync(&kdev->event_work);
}

/* Map the BARs and learn what card this is. */
int kiln_hw_init(struct kiln_device *kdev)
{
	struct drm_device *drm = &kdev->drm;
	struct pci_dev *pdev = to_pci_dev(drm->dev);
	u32 magic, major;
	int ret;

	ret = drmm_mutex_init(drm, &kdev->reset_lock);
	if (ret)
		return ret;
	init_completion(&kdev->stopped);
	INIT_WORK(&kdev->reset_work, kiln_hw_reset_work);
	INIT_WORK(&kdev->event_work, kiln_hw_event_work);
	INIT_DELAYED_WORK(&kdev->watchdog, kiln_hw_watchdog_work);

	if (pci_resource_len(pdev, KILN_BAR_REGS) < KILN_BAR_REGS_SIZE) {
		drm_err(drm, "BAR %d is too small: not a card that this driver knows\n",
			KILN_BAR_REGS);
		return -ENODEV;
	}
	kdev->regs = devm_ioremap(drm->dev, pci_resource_start(pdev, KILN_BAR_REGS),
				  KILN_BAR_REGS_SIZE);
	if (!kdev->regs)
		return -ENOMEM;

	magic = kiln_hw_read(kdev, KILN_REG_MAGIC);
	if (magic != KILN_MAGIC) {
		drm_err(drm, "no Kiln card behind this PCI id (magic %#x)\n", magic);
		return -ENODEV;
	}
	kdev->hw_version = kiln_hw_read(kdev, KILN_REG_HW_VERSION);
	major = kdev->hw_version >> 16;
	if (major != KILN_HW_VERSION >> 16) {
		drm_err(drm, "the card has hardware interface %u.%u, this driver knows %u.x: update %s\n",
			major, kdev->hw_version & 0xffff, KILN_HW_VERSION >> 16,
			major > KILN_HW_VERSION >> 16 ? "the driver" : "the card");
		return -ENODEV;
	}

	kdev->generation = kiln_hw_read(kdev, KILN_REG_GENERATION);
	kdev->cores = kiln_hw_read(kdev, KILN_REG_CORES);
	kdev->hbm_bytes = kiln_hw_read64(kdev, KILN_REG_HBM_SIZE_LO);
	kdev->clock_khz = kiln_hw_read(kdev, KILN_REG_CLOCK_KHZ);
	kdev->sbuf_bytes = kiln_hw_read(kdev, KILN_REG_SBUF_KIB) * SZ_1K;
	kdev->psum_bytes = kiln_hw_read(kdev, KILN_REG_PSUM_KIB) * SZ_1K;
	kdev->max_queues = min_t(u32, kiln_hw_read(kdev, KILN_REG_MAX_QUEUES), KILN_MAX_QUEUES);
	kdev->max_contexts = min_t(u32, kiln_hw_read(kdev, KILN_REG_MAX_CONTEXTS),
				   KILN_MAX_CONTEXTS);

	if (!kdev->hbm_bytes || kdev->max_queues < 2 || kdev->max_contexts < 2 ||
	    pci_resource_len(pdev, KILN_BAR_HBM) < kdev->hbm_bytes) {
		drm_err(drm, "the card tells nonsense: HBM %llu bytes in a BAR of %llu, %u queues, %u contexts\n",
			kdev->hbm_bytes, (u64)pci_resource_len(pdev, KILN_BAR_HBM),
			kdev->max_queues, kdev->max_contexts);
		return -ENODEV;
	}
	kdev->hbm_base = pci_resource_start(pdev, KILN_BAR_HBM);
	devm_arch_io_reserve_memtype_wc(drm->dev, kdev->hbm_base, kdev->hbm_bytes);
	kdev->hbm = devm_ioremap_wc(drm->dev, kdev->hbm_base, kdev->hbm_bytes);
	if (!kdev->hbm)
		return -ENOMEM;
	return 0;
}

static int kiln_hw_boot_failed(struct kiln_device *kdev, u32 state)
{
	u32 error = kiln_hw_read(kdev, KILN_REG_ERROR);
	u32 fw = kiln_hw_read(kdev, KILN_REG_FW_VERSION);

	switch (error) {
	case KILN_BOOT_VERSION:
		drm_err(&kdev->drm, "the card's firmware (%u.%u) is older than %u.%u, the oldest that this driver works with: update the card, or use the driver that came with it\n",
			fw >> 16, fw & 0xffff, KILN_FW_VERSION >> 16, KILN_FW_VERSION & 0xffff);
		return -ENODEV;
	case KILN_BOOT_DMA:
		drm_err(&kdev->drm, "the card cannot reach host memory: look for IOMMU faults in this log\n");
		return -EIO;
	default:
		drm_err(&kdev->drm, "the firmware does not boot: state %u, error %u\n",
			state, error);
		return -EIO;
	}
}

/* The handshake. The card is off or fresh from reset, the admin ring clear. */
int kiln_hw_boot(struct kiln_device *kdev)
{
	struct kiln_ring *ring = &kdev->admin.ring;
	u32 state;
	int ret;

	kiln_hw_write(kdev, KILN_REG_DRV_VERSION, KILN_FW_VERSION);
	kiln_hw_write64(kdev, KILN_REG_ADMIN_SQ_LO, ring->dma);
	kiln_hw_write64(kdev, KILN_REG_ADMIN_CQ_LO, ring->cq_dma);
	kiln_hw_write64(kdev, KILN_REG_ADMIN_CTL_LO, ring->ctl_dma);
	kiln_hw_write(kdev, KILN_REG_ADMIN_LOG2, KILN_ADMIN_LOG2);

	/* Not before: until now the card had no address to go to. */
	pci_set_master(to_pci_dev(kdev->drm.dev));
	kiln_hw_write(kdev, KILN_REG_CTRL, KILN_CTRL_ENABLE);

	ret = read_poll_timeout(kiln_hw_read, state,
				state == KILN_STATE_READY || state == KILN_STATE_FAILED,
				1000, KILN_BOOT_US, false, kdev, KILN_REG_STATUS);
	if (ret || state != KILN_STATE_READY)
		return kiln_hw_boot_failed(kdev, state);

	kdev->fw_version = kiln_hw_read(kdev, KILN_REG_FW_VERSION);
	kiln_admin_start(kdev);
	return 0;
}

/* Function reset by register. 0: the card is as after power-on. */
static int kiln_hw_function_reset(struct kiln_device *kdev)
{
	u32 ctrl;

	if (kiln_hw_gone(kdev))
		return -ENODEV;
	kiln_hw_write(kdev, KILN_REG_CTRL, KILN_CTRL_RESET);
	return read_poll_timeout(kiln_hw_read, ctrl, !(ctrl & KILN_CTRL_RESET),
				 1000, KILN_STOP_US, false, kdev, KILN_REG_CTRL);
}

/*
 * Stop the card for good: no DMA, no interrupt. A reset, not just CTRL_ENABLE
 * off, because that waits for running commands and leaves the next driver with
 * whatever state this one has made.
 */
void kiln_hw_stop(struct kiln_device *kdev)
{
	if (kiln_hw_function_reset(kdev))
		drm_dbg(&kdev->drm, "the card does not answer any more\n");
	pci_clear_master(to_pci_dev(kdev->drm.dev));
}

/*
 * Nothing of this epoch is on the card any more, and it does no DMA: every
 * command ends in @error, and so do later ones in the queues and VMs of now.
 */
static void kiln_hw_end_epoch(struct kiln_device *kdev, int error)
{
	kiln_admin_fail(kdev, error);
	kiln_queue_fail_all(kdev, error);
}

/* The card does not come back. reset_lock is held. */
static void kiln_hw_wedge(struct kiln_device *kdev, int ret)
{
	WRITE_ONCE(kdev->wedged, true);
	pci_clear_master(to_pci_dev(kdev->drm.dev));
	kiln_hw_end_epoch(kdev, -ENODEV);
	queue_work(system_unbound_wq, &kdev->event_work);
	drm_err(&kdev->drm, "wedged: the card did not come back (%d): unbind it, or remove and rescan it on the PCI bus\n",
		ret);
}

/* Stop the card: what it does is lost. reset_lock is held, and fences are to be signalled. */
static int kiln_hw_down_locked(struct kiln_device *kdev)
{
	int ret;

	ret = kiln_hw_function_reset(kdev);
	pci_clear_master(to_pci_dev(kdev->drm.dev));
	/* Now nothing moves: tell those who wait. */
	kiln_hw_end_epoch(kdev, ret == -ENODEV ? -ENODEV : -EIO);
	return ret;
}

/* Boot a card that is off, or give it up. reset_lock is held. */
static void kiln_hw_up_locked(struct kiln_device *kdev)
{
	int ret;

	spin_lock_irq(&kdev->admin.lock);
	kiln_ring_clear(&kdev->admin.ring);
	spin_unlock_irq(&kdev->admin.lock);
	ret = kiln_hw_gone(kdev) ? -ENODEV : kiln_hw_boot(kdev);
	if (ret) {
		kiln_hw_wedge(kdev, ret);
		return;
	}
	kdev->heartbeat_at = jiffies;
	kdev->ping_at = jiffies + KILN_PING_PERIOD;
}

/*
 * Reset a card that is of no use, or wedge it. reset_lock is held, and fences
 * are to be signalled.
 */
static void kiln_hw_reset_locked(struct kiln_device *kdev, const char *why)
{
	u32 epoch = kdev->epoch;
	int ret;

	drm_err(&kdev->drm, "resetting the card, because it %s (state %u, error %u); every command on it is lost\n",
		why, kiln_hw_read(kdev, KILN_REG_STATUS), kiln_hw_read(kdev, KILN_REG_ERROR));
	kiln_devcoredump_reset(kdev, why);
	ret = kiln_hw_down_locked(kdev);
	trace_kiln_reset(epoch, why, ret);
	if (ret)
		kiln_hw_wedge(kdev, ret);
	else
		kiln_hw_up_locked(kdev);
	if (!kdev->wedged) {
		drm_info(&kdev->drm, "the card is up again\n");
		queue_work(system_unbound_wq, &kdev->event_work);
	}
}

/*
 * Reset the card, if nobody has since @epoch. When this returns, the card does
 * no DMA into what it was given before @epoch ended.
 */
void kiln_hw_reset(struct kiln_device *kdev, u32 epoch, const char *why)
{
	bool signalling = dma_fence_begin_signalling();

	mutex_lock(&kdev->reset_lock);
	if (kdev->epoch == epoch && !kdev->wedged && !kdev->away)
		kiln_hw_reset_locked(kdev, why);
	mutex_unlock(&kdev->reset_lock);
	dma_fence_end_signalling(signalling);
}

/*
 * Somebody else is going to reset the function, and nobody else does until
 * kiln_hw_reset_done(). The lock is not kept until then: the PCI core takes
 * some which others hold who need memory, and so possibly a fence.
 */
void kiln_hw_reset_prepare(struct kiln_device *kdev)
{
	bool signalling;

	kiln_hbm_close(kdev);
	signalling = dma_fence_begin_signalling();
	mutex_lock(&kdev->reset_lock);
	if (!kdev->wedged) {
		drm_err(&kdev->drm, "the card is being reset; every command on it is lost\n");
		kiln_hw_down_locked(kdev);
	}
	kdev->away = true;
	mutex_unlock(&kdev->reset_lock);
	dma_fence_end_signalling(signalling);
}

/* A card that was wedged gets another chance. */
void kiln_hw_reset_done(struct kiln_device *kdev)
{
	bool signalling;

	kiln_hbm_open(kdev);
	signalling = dma_fence_begin_signalling();
	mutex_lock(&kdev->reset_lock);
	kdev->away = false;
	WRITE_ONCE(kdev->wedged, false);
	kiln_hw_up_locked(kdev);
	mutex_unlock(&kdev->reset_lock);
	dma_fence_end_signalling(signalling);
	kiln_hw_start_watchdog(kdev);
}

/* The card is going to lose its power, or be idle; what it holds is the caller's to keep. */
void kiln_hw_sleep(struct kiln_device *kdev)
{
	mutex_lock(&kdev->reset_lock);
	if (!kdev->wedged) {
		kiln_admin_pause(kdev);
		kiln_hw_stop(kdev);
	}
	mutex_unlock(&kdev->reset_lock);
}

/* 0: it runs again, and holds nothing. */
int kiln_hw_wake(struct kiln_device *kdev)
{
	bool signalling = dma_fence_begin_signalling();
	int ret;

	mutex_lock(&kdev->reset_lock);
	if (!kdev->wedged)
		kiln_hw_up_locked(kdev);
	ret = kdev->wedged ? -ENODEV : 0;
	mutex_unlock(&kdev->reset_lock);
	dma_fence_end_signalling(signalling);
	return ret;
}
