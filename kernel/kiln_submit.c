// SPDX-License-Identifier: GPL-2.0-only
#include <linux/io_uring/cmd.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/uaccess.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <drm/drm_syncobj.h>

#include "kiln_drv.h"
#include "kiln_evict.h"
#include "kiln_fence.h"
#include "kiln_hw.h"
#include "kiln_queue.h"
#include "kiln_submit.h"
#include "kiln_trace.h"
#include "kiln_uring.h"
#include "kiln_vm.h"

/* A fence signals within this time: the longest command, and some waiting before it. */
#define KILN_FENCE_LIMIT	(30 * HZ)

/* Commands of one ioctl that are copied, and given to the card, at a time. */
#define KILN_SUBMIT_PART	16

#define KILN_EXEC_FLAGS		(DRM_KILN_EXEC_SYNCOBJ | DRM_KILN_EXEC_NOP)

static_assert(sizeof(struct drm_kiln_exec) == 80);

/* An address that the card may be given: in range and aligned; 0 means none. */
static bool kiln_submit_address_ok(u64 addr, u64 align)
{
	return !addr || (IS_ALIGNED(addr, align) && addr >= KILN_VA_START && addr < KILN_VA_END);
}

/* Check every field. What the program does is the MMU's concern, not ours. */
static int kiln_submit_check(struct kiln_device *kdev, const struct drm_kiln_exec *exec)
{
	if (exec->flags & ~KILN_EXEC_FLAGS)
		return kiln_bad(kdev, -EINVAL, "flags %#x", exec->flags);
	if (exec->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", exec->pad);
	if (exec->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", exec->reserved);
	if (exec->syncobj && !(exec->flags & DRM_KILN_EXEC_SYNCOBJ))
		return kiln_bad(kdev, -EINVAL, "syncobj %u without its flag", exec->syncobj);
	if (exec->flags & DRM_KILN_EXEC_NOP) {
		if (exec->program || exec->program_bytes || exec->args || exec->args_bytes)
			return kiln_bad(kdev, -EINVAL, "program or args for a nop");
	} else {
		if (!exec->program || !kiln_submit_address_ok(exec->program, 64))
			return kiln_bad(kdev, -EINVAL, "program %#llx", exec->program);
		if (!exec->program_bytes || !IS_ALIGNED(exec->program_bytes, 64) ||
		    exec->program_bytes > KILN_MAX_PROGRAM_BYTES ||
		    exec->program_bytes > KILN_VA_END - exec->program)
			return kiln_bad(kdev, -EINVAL, "program_bytes %#x", exec->program_bytes);
		if (!kiln_submit_address_ok(exec->args, 8))
			return kiln_bad(kdev, -EINVAL, "args %#llx", exec->args);
		if (!IS_ALIGNED(exec->args_bytes, 8) || exec->args_bytes > KILN_MAX_ARGS_BYTES ||
		    !exec->args != !exec->args_bytes)
			return kiln_bad(kdev, -EINVAL, "args_bytes %#x", exec->args_bytes);
	}
	if (!kiln_submit_address_ok(exec->wait_addr, 8))
		return kiln_bad(kdev, -EINVAL, "wait_addr %#llx", exec->wait_addr);
	if (!exec->wait_addr && exec->wait_value)
		return kiln_bad(kdev, -EINVAL, "wait_value without wait_addr");
	if (!kiln_submit_address_ok(exec->signal_addr, 8))
		return kiln_bad(kdev, -EINVAL, "signal_addr %#llx", exec->signal_addr);
	if (!exec->signal_addr && exec->signal_value)
		return kiln_bad(kdev, -EINVAL, "signal_value without signal_addr");
	return 0;
}

/* The card's command, written straight into the ring. */
static void kiln_submit_encode(struct kiln_cmd *cmd, const struct drm_kiln_exec *exec, u64 cookie)
{
	cmd->opcode = exec->flags & DRM_KILN_EXEC_NOP ? KILN_CMD_NOP : KILN_CMD_EXEC;
	cmd->flags = 0;
	cmd->reserved = 0;
	cmd->param = KILN_EXEC_PARAM(exec->program_bytes, exec->args_bytes);
	cmd->cookie = cookie;
	cmd->exec.program = exec->program;
	cmd->exec.args = exec->args;
	cmd->exec.wait_addr = exec->wait_addr;
	cmd->exec.wait_value = exec->wait_value;
	cmd->exec.signal_addr = exec->signal_addr;
	cmd->exec.signal_value = exec->signal_value;
}

/* Take a slot for the command. From here on it completes, whatever happens. */
static struct kiln_slot *kiln_submit_reserve_locked(struct kiln_queue *queue,
						    struct io_uring_cmd *ucmd,
						    struct dma_fence *fence, bool polled,
						    u64 *seqno)
{
	struct kiln_queue_result *result = NULL;
	struct kiln_slot *slot;

	if (queue->error)
		return ERR_PTR(queue->error);
	if (!ucmd) {
		/* Commands complete in order, so only a broken card gets us here. */
		result = &queue->results[(queue->last_seqno + 1) & (queue->depth - 1)];
		if (!result->done)
			return ERR_PTR(-EAGAIN);
	}
	slot = kiln_queue_reserve_locked(queue);
	if (!slot)
		return ERR_PTR(-EAGAIN);
	slot->ucmd = ucmd;
	slot->fence = fence;
	slot->polled = polled;
	queue->num_polled += polled;
	queue->last_polled = polled;
	if (fence) {
		slot->expires = jiffies + KILN_FENCE_LIMIT;
		queue->num_fences++;
	}
	if (result) {
		result->done = false;
		slot->seqno = ++queue->last_seqno;
		*seqno = slot->seqno;
	}
	return slot;
}

/*
 * The queue or the command has been given up since it has its slot. Apart, for
 * what stands on the stack in here is cleared in each call.
 */
static noinline void kiln_submit_give_up(struct kiln_queue *queue, struct kiln_slot *slot)
	__releases(&queue->lock)
{
	struct kiln_ended ended = { 0 };

	kiln_queue_end_locked(queue, slot, queue->error ?: -ECANCELED, 0, &ended);
	wake_up_all(&queue->wait);
	spin_unlock_irq(&queue->lock);
	kiln_queue_tell(&ended);
}

/**
 * kiln_submit() - submit one command
 * @queue: where to
 * @exec: what, in kernel memory: nobody changes it any more
 * @file: whose syncobj is meant
 * @ucmd: io_uring command to complete; NULL: results are kept for DRM_KILN_WAIT,
 *	and the caller calls kiln_queue_publish() after the last one
 * @issue_flags: of @ucmd
 * @seqno: out, without @ucmd: sequence number
 *
 * On success @ucmd, if there is one, owns the caller's reference to @queue.
 * Does not sleep for @ucmd with IO_URING_F_NONBLOCK.
 *
 * Return: 0: it completes, possibly with an error. -EAGAIN: the queue is full,
 * or memory short. Others: the command is wrong, or the queue gone.
 */
int kiln_submit(struct kiln_queue *queue, const struct drm_kiln_exec *exec,
		struct drm_file *file, struct io_uring_cmd *ucmd, unsigned int issue_flags,
		u64 *seqno)
{
	struct kiln_device *kdev = queue->kdev;
	struct drm_syncobj *syncobj = NULL;
	struct dma_fence *fence = NULL;
	bool doorbell = false, late = false;
	struct kiln_slot *slot;
	struct kiln_cmd *cmd;
	u32 hw_id = queue->hw_id;
	int ret, idx;

	ret = kiln_submit_check(kdev, exec);
	if (ret)
		return ret;
	if (unlikely(exec->flags & DRM_KILN_EXEC_SYNCOBJ)) {
		bool nonblock = ucmd && (issue_flags & IO_URING_F_NONBLOCK);

		syncobj = drm_syncobj_find(file, exec->syncobj);
		if (!syncobj)
			return kiln_bad(kdev, -ENOENT, "syncobj %u", exec->syncobj);
		fence = kiln_fence_create(nonblock ? GFP_NOWAIT : GFP_KERNEL);
		if (!fence) {
			ret = nonblock ? -EAGAIN : -ENOMEM;
			goto out_syncobj;
		}
	}

	spin_lock_irq(&queue->lock);
	slot = kiln_submit_reserve_locked(queue, ucmd, fence,
					  ucmd && (issue_flags & IO_URING_F_IOPOLL), seqno);
	if (IS_ERR(slot)) {
		spin_unlock_irq(&queue->lock);
		/* Never shown to anybody: no need to signal it. */
		dma_fence_put(fence);
		ret = PTR_ERR(slot);
		goto out_syncobj;
	}
	/*
	 * Before the command can end. What sleeps does so without the lock: nobody
	 * else frees or reuses a slot that is only reserved.
	 */
	if (unlikely(syncobj || (ucmd && (issue_flags & IO_URING_F_UNLOCKED)))) {
		spin_unlock_irq(&queue->lock);
		if (syncobj)
			drm_syncobj_replace_fence(syncobj, fence);
		if (ucmd)
			kiln_uring_prepare(ucmd, queue, slot - queue->slots, issue_flags);
		spin_lock_irq(&queue->lock);
	} else if (ucmd) {
		kiln_uring_prepare(ucmd, queue, slot - queue->slots, issue_flags);
	}

	if (unlikely(queue->error || slot->cancel)) {
		kiln_submit_give_up(queue, slot);
		goto out_syncobj;
	}
	slot->state = KILN_SLOT_SUBMITTED;
	cmd = kiln_ring_next(&queue->ring);
	kiln_submit_encode(cmd, exec, kiln_queue_cookie(queue, slot));
	/* A fence must not wait for what its submitter does next. */
	if (fence || (ucmd && !kiln_queue_plug_locked(queue)))
		doorbell = kiln_queue_publish_locked(queue);
	trace_kiln_submit(queue, cmd, doorbell);
	/* The first that needs an interrupt, after some that were polled. */
	if (unlikely(!queue->armed && !slot->polled)) {
		queue->armed = true;
		late = kiln_ring_rearm(&queue->ring);
		if (late)
			kref_get(&queue->ref);
	}
	/* The lock orders this: kiln_evict.c sets it, then looks for commands. */
	if (unlikely(READ_ONCE(queue->vm->suspended)))
		kiln_evict_want_back(queue->vm);
	doorbell = doorbell && drm_dev_enter(&kdev->drm, &idx);
	spin_unlock_irq(&queue->lock);

	/* The command may have ended by now, and the queue be gone with it. */
	if (doorbell) {
		trace_kiln_doorbell(hw_id);
		kiln_hw_doorbell(kdev, hw_id);
		drm_dev_exit(idx);
	}
	if (late) {
		kiln_queue_process(queue);
		kiln_queue_put(queue);
	}
out_syncobj:
	if (syncobj)
		drm_syncobj_put(syncobj);
	return ret;
}

/* How many of the commands from @done on could be had. */
static u32 kiln_submit_copy(const struct drm_kiln_submit *args, u32 done,
			    struct drm_kiln_exec *part)
{
	size_t bytes = min_t(u32, args->count - done, KILN_SUBMIT_PART) * sizeof(*part);
	const void __user *from = u64_to_user_ptr(args->commands + (u64)done * sizeof(*part));

	return (bytes - copy_from_user(part, from, bytes)) / sizeof(*part);
}

int kiln_submit_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct drm_kiln_submit *args = data;
	struct drm_kiln_exec part[KILN_SUBMIT_PART];
	struct kiln_queue *queue = NULL;
	u32 done = 0, i;
	u64 seqno = 0;
	int ret = 0;

	if (!args->count)
		return kiln_bad(kdev, -EINVAL, "count 0");
	if (args->stride != sizeof(struct drm_kiln_exec))
		return kiln_bad(kdev, -EINVAL, "stride %u", args->stride);
	if (args->done)
		return kiln_bad(kdev, -EINVAL, "done %u", args->done);
	if (args->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", args->pad);
	if (args->seqno)
		return kiln_bad(kdev, -EINVAL, "seqno %#llx", args->seqno);
	if (args->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", args->reserved);

	while (!ret && done < args->count) {
		u32 count = kiln_submit_copy(args, done, part);

		if (!count)
			ret = -EFAULT;
		for (i = 0; i < count && !ret; i++) {
			if (!queue)
				queue = kiln_queue_get(file->driver_priv, part[i].queue_id);
			if (!queue)
				ret = kiln_bad(kdev, -ENOENT, "queue_id %u", part[i].queue_id);
			else if (part[i].queue_id != queue->id)
				ret = kiln_bad(kdev, -EINVAL, "queue_id %u after %u",
					       part[i].queue_id, queue->id);
			else
				ret = kiln_submit(queue, &part[i], file, NULL, 0, &seqno);
			done += !ret;
		}
		/* Before the next copy, which sleeps for as long as the user likes. */
		if (queue)
			kiln_queue_publish(queue);
		cond_resched();
	}
	if (queue)
		kiln_queue_put(queue);
	args->done = done;
	args->seqno = seqno;
	return done ? 0 : ret;
}

/* ----------------------------------------------------------------- wait -- */

static bool kiln_wait_is_done(struct kiln_queue *queue, u64 seqno, u32 count)
{
	bool done = true;
	u32 i;

	spin_lock_irq(&queue->lock);
	/* They end in order, mostly: the last one first. */
	for (i = count; done && i--;)
		done = queue->results[(seqno + i) & (queue->depth - 1)].done;
	spin_unlock_irq(&queue->lock);
	return done;
}

static bool kiln_wait_is_remembered(struct kiln_queue *queue, u64 seqno)
{
	return queue->last_seqno - seqno < queue->depth;
}

static int kiln_wait_copy(struct kiln_queue *queue, const struct drm_kiln_wait *args)
{
	struct drm_kiln_result results[16];
	u32 done, part, i;

	for (done = 0; done < args->count; done += part) {
		part = min_t(u32, args->count - done, ARRAY_SIZE(results));
		spin_lock_irq(&queue->lock);
		/* Others may have submitted, and overwritten them, while we slept. */
		if (!kiln_wait_is_remembered(queue, args->seqno + done)) {
			spin_unlock_irq(&queue->lock);
			return -ENODATA;
		}
		for (i = 0; i < part; i++) {
			struct kiln_queue_result *result =
				&queue->results[(args->seqno + done + i) & (queue->depth - 1)];

			results[i] = (struct drm_kiln_result) {
				.cycles = result->cycles, .res = result->res,
			};
		}
		spin_unlock_irq(&queue->lock);
		if (copy_to_user(u64_to_user_ptr(args->results + (u64)done * sizeof(*results)),
				 results, part * sizeof(*results)))
			return -EFAULT;
	}
	return 0;
}

int kiln_wait_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct drm_kiln_wait *args = data;
	struct kiln_queue *queue;
	ktime_t end;
	long ret = 0;
	u64 last;

	if (args->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", args->reserved);
	queue = kiln_queue_get(file->driver_priv, args->queue_id);
	if (!queue)
		return kiln_bad(kdev, -ENOENT, "queue_id %u", args->queue_id);

	spin_lock_irq(&queue->lock);
	last = queue->last_seqno;
	spin_unlock_irq(&queue->lock);
	if (!args->count || args->count > queue->depth)
		ret = kiln_bad(kdev, -EINVAL, "count %u", args->count);
	else if (!args->seqno || args->seqno > last || args->count > last - args->seqno + 1)
		ret = kiln_bad(kdev, -EINVAL, "seqno %#llx, count %u: last is %#llx",
			       args->seqno, args->count, last);
	else if (last - args->seqno >= queue->depth)
		ret = kiln_bad(kdev, -ENODATA, "seqno %#llx: last is %#llx", args->seqno, last);
	if (ret)
		goto out;

	end = ktime_add_safe(ktime_get(), ns_to_ktime(args->timeout_ns));
	if (args->timeout_ns < 0) {
		ret = wait_event_interruptible(queue->wait,
					       kiln_wait_is_done(queue, args->seqno, args->count));
	} else {
		ktime_t timeout = ns_to_ktime(args->timeout_ns);

		ret = 0;
		if (!kiln_wait_is_done(queue, args->seqno, args->count))
			ret = timeout ? wait_event_interruptible_hrtimeout(queue->wait,
					kiln_wait_is_done(queue, args->seqno, args->count),
					timeout) : -ETIME;
	}
	/*
	 * The call is made again by itself after what was no signal, but io_uring's
	 * work for this task; then it waits for what is left.
	 */
	if (ret == -ERESTARTSYS && args->timeout_ns >= 0)
		args->timeout_ns = max_t(s64, ktime_to_ns(ktime_sub(end, ktime_get())), 0);
	if (!ret && args->results)
		ret = kiln_wait_copy(queue, args);
out:
	kiln_queue_put(queue);
	return ret;
}
