// SPDX-License-Identifier: GPL-2.0-only
#include <linux/jiffies.h>
#include <linux/pci.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "kiln_drv.h"
#include "kiln_fault.h"
#include "kiln_hw.h"
#include "kiln_share.h"
#include "kiln_trace.h"

/*
 * How long the firmware may take for one command. The longest is a destroyed
 * queue whose program does not stop; a clear is cut into pieces. Generous,
 * because the host below an emulated card may be busy, and a reset costs every
 * tenant its work.
 */
#define KILN_ADMIN_TIMEOUT	(20 * HZ)
#define KILN_CLEAR_BYTES	(256ull << 20)

int kiln_admin_init(struct kiln_device *kdev)
{
	struct kiln_admin *admin = &kdev->admin;
	unsigned int i;

	spin_lock_init(&admin->lock);
	init_waitqueue_head(&admin->room);
	admin->error = -EIO;
	for (i = 0; i < KILN_ADMIN_DEPTH; i++)
		init_completion(&admin->slots[i].answered);
	return kiln_ring_alloc(kdev->drm.dev, &admin->ring, KILN_ADMIN_DEPTH);
}

/* Nobody waits and no interrupt comes any more. */
void kiln_admin_fini(struct kiln_device *kdev)
{
	kiln_ring_free(kdev->drm.dev, &kdev->admin.ring);
}

/* The firmware is up. */
void kiln_admin_start(struct kiln_device *kdev)
{
	spin_lock_irq(&kdev->admin.lock);
	kdev->admin.error = 0;
	spin_unlock_irq(&kdev->admin.lock);
	wake_up_all(&kdev->admin.room);
}

/* The card sleeps: no command is taken until kiln_admin_start(). None is on its way. */
void kiln_admin_pause(struct kiln_device *kdev)
{
	spin_lock_irq(&kdev->admin.lock);
	kdev->admin.error = -EIO;
	spin_unlock_irq(&kdev->admin.lock);
}

/* The card does not answer: end every wait, and take no command until kiln_admin_start(). */
void kiln_admin_fail(struct kiln_device *kdev, int error)
{
	struct kiln_admin *admin = &kdev->admin;
	unsigned int i;

	spin_lock_irq(&admin->lock);
	admin->error = error;
	kdev->epoch++;
	for (i = 0; i < KILN_ADMIN_DEPTH; i++) {
		struct kiln_admin_slot *slot = &admin->slots[i];

		if (slot->busy && !completion_done(&slot->answered)) {
			slot->result = error;
			complete(&slot->answered);
		}
	}
	spin_unlock_irq(&admin->lock);
	wake_up_all(&admin->room);
}

/* Take answers out; true if there was one. Any context. */
bool kiln_admin_process(struct kiln_device *kdev)
{
	struct kiln_admin *admin = &kdev->admin;
	struct kiln_completion answer;
	unsigned long flags;
	bool any = false;
	int ret = 0;

	spin_lock_irqsave(&admin->lock, flags);
	if (!admin->ring.sq || admin->error)
		goto out;
	do {
		while ((ret = kiln_ring_pop(&admin->ring, &answer)) > 0) {
			u32 index = lower_32_bits(answer.cookie);
			struct kiln_admin_slot *slot;

			any = true;
			if (index < KILN_ADMIN_DEPTH) {
				slot = &admin->slots[index];
				if (slot->busy && !completion_done(&slot->answered) &&
				    slot->generation == upper_32_bits(answer.cookie)) {
					slot->result = answer.status;
					complete(&slot->answered);
					continue;
				}
			}
			dev_err_ratelimited(kdev->drm.dev,
					    "admin queue: answer to a command that was not sent (%#llx)\n",
					    answer.cookie);
			kiln_hw_broken(kdev, kdev->epoch);
		}
	} while (!ret && kiln_ring_rearm(&admin->ring));
	if (ret) {
		dev_err_ratelimited(kdev->drm.dev, "admin queue: completion index out of range\n");
		kiln_hw_broken(kdev, kdev->epoch);
	}
out:
	spin_unlock_irqrestore(&admin->lock, flags);
	return any;
}

/* False: all are in use. Else *ret is a slot, or the reason why waiting is of no use. */
static bool kiln_admin_get_slot(struct kiln_device *kdev, u32 epoch,
				struct kiln_admin_slot **ret)
{
	struct kiln_admin *admin = &kdev->admin;
	struct kiln_admin_slot *slot = NULL;
	unsigned int i;
	int error;

	spin_lock_irq(&admin->lock);
	error = admin->error;
	if (!error && kdev->epoch != epoch)
		error = kiln_lost_errno(kdev);
	for (i = 0; !error && i < KILN_ADMIN_DEPTH; i++) {
		if (admin->slots[i].busy)
			continue;
		slot = &admin->slots[i];
		slot->busy = true;
		slot->generation++;
		slot->result = 0;
		reinit_completion(&slot->answered);
		break;
	}
	spin_unlock_irq(&admin->lock);
	*ret = error ? ERR_PTR(error) : slot;
	return *ret;
}

static void kiln_admin_put_slot(struct kiln_device *kdev, struct kiln_admin_slot *slot)
{
	spin_lock_irq(&kdev->admin.lock);
	slot->busy = false;
	spin_unlock_irq(&kdev->admin.lock);
	wake_up(&kdev->admin.room);
}

/* False: no answer, and none to be expected. A card that is gone reads as all ones. */
static bool kiln_admin_wait(struct kiln_device *kdev, struct kiln_admin_slot *slot)
{
	unsigned long end = jiffies + KILN_ADMIN_TIMEOUT;

	do {
		if (wait_for_completion_timeout(&slot->answered, HZ))
			return true;
		/* An interrupt may have been lost. */
		kiln_admin_process(kdev);
		if (kiln_hw_read(kdev, KILN_REG_STATUS) != KILN_STATE_READY)
			return completion_done(&slot->answered);
	} while (time_before(jiffies, end));
	return false;
}

static int kiln_admin_exec_entered(struct kiln_device *kdev, u32 epoch, struct kiln_cmd *cmd)
{
	struct kiln_admin *admin = &kdev->admin;
	struct kiln_admin_slot *slot;
	bool doorbell = false;
	int result;

	if (!wait_event_timeout(admin->room, kiln_admin_get_slot(kdev, epoch, &slot),
				KILN_ADMIN_TIMEOUT))
		goto silent;
	if (IS_ERR(slot))
		return PTR_ERR(slot);

	spin_lock_irq(&admin->lock);
	/* Between then and now the card may have been given up. */
	if (admin->error || kdev->epoch != epoch) {
		slot->result = admin->error ?: kiln_lost_errno(kdev);
		complete(&slot->answered);
	} else {
		cmd->cookie = (u64)slot->generation << 32 | (slot - admin->slots);
		*kiln_ring_next(&admin->ring) = *cmd;
		doorbell = kiln_ring_publish(&admin->ring);
	}
	spin_unlock_irq(&admin->lock);
	if (doorbell) {
		trace_kiln_doorbell(0);
		kiln_hw_doorbell(kdev, 0);
	}

	if (!kiln_admin_wait(kdev, slot)) {
		kiln_admin_put_slot(kdev, slot);
		goto silent;
	}
	result = slot->result;
	kiln_admin_put_slot(kdev, slot);
	trace_kiln_admin(cmd, result);
	if (result < 0)
		return result;
	if (result)
		drm_dbg(&kdev->drm, "admin command %#x: %s\n", cmd->opcode,
			kiln_fault_text(result));
	switch (result) {
	case KILN_ST_OK:
		return 0;
	case KILN_ST_NO_SPACE:
		return -ENOSPC;
	case KILN_ST_BAD_STATE:
		return -ENXIO;
	case KILN_ST_BAD_COMMAND:
		return -EINVAL;
	default:
		return -EIO;
	}

silent:
	drm_err(&kdev->drm, "the firmware does not answer admin command %#x\n", cmd->opcode);
	kiln_hw_reset(kdev, epoch, "does not answer");
	return kiln_lost_errno(kdev);
}

/*
 * Send one command and wait for its answer. cmd->cookie is ours to fill.
 *
 * Returns 0; -ENOSPC, -ENXIO, -EINVAL: the firmware refused it; -EIO: the card
 * was reset since @epoch, or now, because it did not answer; -ENODEV: the
 * driver has left it. With -EIO and -ENODEV the card holds nothing any more:
 * it does no DMA to what an earlier command gave it. To know that, this waits
 * for kiln_device.stopped, so do not call it inside of drm_dev_enter().
 */
int kiln_admin_exec(struct kiln_device *kdev, u32 epoch, struct kiln_cmd *cmd)
{
	int ret, idx;

	if (!drm_dev_enter(&kdev->drm, &idx)) {
		wait_for_completion(&kdev->stopped);
		return -ENODEV;
	}
	ret = kiln_admin_exec_entered(kdev, epoch, cmd);
	drm_dev_exit(idx);
	return ret;
}

/* Does the firmware live? It is reset if not. For callers inside drm_dev_enter(). */
void kiln_admin_ping(struct kiln_device *kdev, u32 epoch)
{
	struct kiln_cmd cmd = { .opcode = KILN_ADM_NOP };

	kiln_admin_exec_entered(kdev, epoch, &cmd);
}

int kiln_admin_context_create(struct kiln_device *kdev, u32 epoch, u32 context,
			      const struct kiln_share *share, u64 root)
{
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_CTX_CREATE,
		.ctx = {
			.context = context, .weight = share->weight, .root = root,
			.priority = share->priority, .min_share = share->min_share,
		},
	};

	return kiln_admin_exec(kdev, epoch, &cmd);
}

int kiln_admin_context_share(struct kiln_device *kdev, u32 epoch, u32 context,
			     const struct kiln_share *share)
{
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_CTX_SHARE,
		.ctx = {
			.context = context, .weight = share->weight,
			.priority = share->priority, .min_share = share->min_share,
		},
	};

	return kiln_admin_exec(kdev, epoch, &cmd);
}

static int kiln_admin_context(struct kiln_device *kdev, u32 epoch, u32 context, u8 opcode)
{
	struct kiln_cmd cmd = { .opcode = opcode, .ctx = { .context = context } };

	return kiln_admin_exec(kdev, epoch, &cmd);
}

int kiln_admin_context_destroy(struct kiln_device *kdev, u32 epoch, u32 context)
{
	return kiln_admin_context(kdev, epoch, context, KILN_ADM_CTX_DESTROY);
}

/* Waits for its running commands: as long as the longest of them. */
int kiln_admin_context_suspend(struct kiln_device *kdev, u32 epoch, u32 context)
{
	return kiln_admin_context(kdev, epoch, context, KILN_ADM_CTX_SUSPEND);
}

int kiln_admin_context_resume(struct kiln_device *kdev, u32 epoch, u32 context)
{
	return kiln_admin_context(kdev, epoch, context, KILN_ADM_CTX_RESUME);
}

int kiln_admin_tlb_flush(struct kiln_device *kdev, u32 epoch, u32 context)
{
	return kiln_admin_context(kdev, epoch, context, KILN_ADM_TLB_FLUSH);
}

int kiln_admin_queue_destroy(struct kiln_device *kdev, u32 epoch, u32 queue)
{
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_QUEUE_DESTROY,
		.queue = { .queue = queue },
	};

	return kiln_admin_exec(kdev, epoch, &cmd);
}

int kiln_admin_queue_cancel(struct kiln_device *kdev, u32 epoch, u32 queue, u64 cookie)
{
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_QUEUE_CANCEL,
		.cancel = { .queue = queue, .target = cookie },
	};

	return kiln_admin_exec(kdev, epoch, &cmd);
}

/* From HBM to host memory, or back. The card reads and writes the pages by DMA. */
int kiln_admin_copy(struct kiln_device *kdev, u32 epoch, u64 dst, bool to_host, u64 src, u64 bytes)
{
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_COPY,
		.copy = {
			.dst = dst, .dst_host = to_host,
			.src = src, .src_host = !to_host,
			.bytes = bytes,
		},
	};

	/* What the CPU has written through BAR 4. */
	wmb();
	return kiln_admin_exec(kdev, epoch, &cmd);
}

/* Zero a range of HBM. */
int kiln_admin_clear(struct kiln_device *kdev, u32 epoch, u64 addr, u64 bytes)
{
	while (bytes) {
		u64 piece = min(bytes, KILN_CLEAR_BYTES);
		struct kiln_cmd cmd = {
			.opcode = KILN_ADM_CLEAR,
			.copy = { .dst = addr, .bytes = piece },
		};
		int ret;

		ret = kiln_admin_exec(kdev, epoch, &cmd);
		if (ret)
			return ret;
		addr += piece;
		bytes -= piece;
	}
	return 0;
}
