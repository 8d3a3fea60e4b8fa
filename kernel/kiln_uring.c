// SPDX-License-Identifier: GPL-2.0-only
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/io_uring/cmd.h>
#include <linux/wait.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_print.h>

#include "kiln_compat.h"
#include "kiln_drv.h"
#include "kiln_queue.h"
#include "kiln_submit.h"
#include "kiln_uring.h"

/**
 * struct kiln_uring_pdu - our part of the io_uring command while it is in flight
 */
struct kiln_uring_pdu {
	/** @queue: referenced, so that a cancellation can always look at it. */
	struct kiln_queue *queue;
	/** @next: that has ended with it, once it has. */
	struct io_uring_cmd *next;
	/** @cycles: device time, once it has ended. */
	u64 cycles;
	/** @res: result, once it has ended. */
	int res;
	/** @index: of its slot. Whoever ends that slot completes the command. */
	u16 index;
	/** @queue_id: of @queue, for those who do not hold it. */
	u16 queue_id : 15;
	/** @polled: of a ring with IOPOLL: not cancelable, and looked for by its submitter. */
	u16 polled : 1;
};

static_assert(KILN_MAX_QUEUES < 1 << 15);

static struct kiln_uring_pdu *kiln_uring_pdu(struct io_uring_cmd *ucmd)
{
	return io_uring_cmd_to_pdu(ucmd, struct kiln_uring_pdu);
}

/*
 * The command has a slot and will end by kiln_uring_end(). Only now may it be
 * marked cancelable: one that is refused is never taken off that list. And not
 * later either, because it may end as soon as the card has it. From here on it
 * owns the caller's reference to the queue.
 */
void kiln_uring_prepare(struct io_uring_cmd *ucmd, struct kiln_queue *queue, u16 index,
			unsigned int issue_flags)
{
	struct kiln_uring_pdu *pdu = kiln_uring_pdu(ucmd);

	pdu->queue = queue;
	pdu->queue_id = queue->id;
	pdu->index = index;
	pdu->polled = !!(issue_flags & IO_URING_F_IOPOLL);
	/* Linux 7 refuses to mark a polled one, 6.12 ruins its own lists by it. */
	if (!pdu->polled)
		io_uring_cmd_mark_cancelable(ucmd, issue_flags);
}

/* Post the CQEs of a batch. */
static void kiln_uring_post(struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	struct kiln_queue *queue = kiln_uring_pdu(ucmd)->queue;
	unsigned int count = 0;

	while (ucmd) {
		struct kiln_uring_pdu *pdu = kiln_uring_pdu(ucmd);
		struct io_uring_cmd *next = pdu->next;

		/* Takes it off the list of cancelable ones: then nobody looks at the queue. */
		kiln_uring_cmd_done(ucmd, pdu->res, pdu->cycles, issue_flags);
		ucmd = next;
		count++;
	}
	kiln_queue_put_many(queue, count);
}

KILN_URING_TASK_WORK(kiln_uring_task_work, kiln_uring_post)

/*
 * The command has ended: put it into the batch, whose end is kiln_uring_tell().
 * The queue's lock is held. A batch is posted by the task work of its first
 * command, so it is of one task, which nobody else has to wait for, and of one
 * ring, whose lock is held then. For a polled command the CQE is only marked:
 * whoever polls makes it.
 */
void kiln_uring_end(struct kiln_uring_batch *batch, struct io_uring_cmd *ucmd, int res, u64 cycles)
{
	struct kiln_uring_pdu *pdu = kiln_uring_pdu(ucmd);

	pdu->res = res;
	pdu->cycles = cycles;
	pdu->next = NULL;
	if (pdu->polled) {
		kiln_uring_post(ucmd, IO_URING_F_UNLOCKED);
		return;
	}
	if (batch->first && (kiln_uring_ring(batch->first) != kiln_uring_ring(ucmd) ||
			     io_uring_cmd_get_task(batch->first) != io_uring_cmd_get_task(ucmd)))
		kiln_uring_tell(batch);
	if (batch->first)
		kiln_uring_pdu(batch->last)->next = ucmd;
	else
		batch->first = ucmd;
	batch->last = ucmd;
}

/* Have the batch's CQEs posted. A cancelable command must not end in an interrupt. */
void kiln_uring_tell(struct kiln_uring_batch *batch)
{
	if (batch->first)
		io_uring_cmd_complete_in_task(batch->first, kiln_uring_task_work);
	batch->first = NULL;
}

static bool kiln_uring_has_room(struct kiln_queue *queue)
{
	bool room;

	spin_lock_irq(&queue->lock);
	room = queue->num_free || queue->error;
	spin_unlock_irq(&queue->lock);
	return room;
}

/*
 * Wait for room, if we may: in a worker of io_uring, which is where a command
 * comes from that was refused with -EAGAIN under IO_URING_F_NONBLOCK.
 */
static noinline int kiln_uring_submit_wait(struct kiln_queue *queue,
					   const struct drm_kiln_exec *exec,
					   struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	int ret;

	do {
		/*
		 * A signal to a worker means that the command is canceled; but not the
		 * one by which tasks are told to freeze.
		 */
		if (wait_event_freezable(queue->wait, kiln_uring_has_room(queue)))
			return -ECANCELED;
		ret = kiln_submit(queue, exec, ucmd->file->private_data, ucmd, issue_flags, NULL);
	} while (ret == -EAGAIN);
	return ret;
}

static int kiln_uring_cancel(struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	const struct drm_kiln_uring_cancel *payload =
		kiln_uring_short_payload(ucmd, struct drm_kiln_uring_cancel);
	struct drm_file *file = ucmd->file->private_data;
	struct kiln_device *kdev = to_kiln_device(file->minor->dev);
	u64 user_data = READ_ONCE(payload->user_data);
	u32 queue_id = READ_ONCE(payload->queue_id);
	u32 pad = READ_ONCE(payload->pad);
	struct kiln_queue *queue;
	bool found;

	if (pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", pad);
	if (issue_flags & IO_URING_F_IOPOLL)
		return kiln_bad(kdev, -EOPNOTSUPP, "a polled command cannot be taken back");
	queue = kiln_queue_get(file->driver_priv, queue_id);
	if (!queue)
		return kiln_bad(kdev, -ENOENT, "queue_id %u", queue_id);
	found = kiln_queue_cancel_like(queue, ucmd, user_data);
	kiln_queue_put(queue);
	return found ? 0 : -ENOENT;
}

/* file_operations.uring_cmd: one struct drm_kiln_exec, or drm_kiln_uring_cancel. */
int kiln_uring_cmd(struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	struct drm_file *file = ucmd->file->private_data;
	struct kiln_device *kdev = to_kiln_device(file->minor->dev);
	const struct drm_kiln_exec *payload;
	struct drm_kiln_exec exec;
	struct kiln_queue *queue;
	int ret;

	/* First: only for commands that are in flight, and possibly from a kworker. */
	if (unlikely(issue_flags & IO_URING_F_CANCEL)) {
		struct kiln_uring_pdu *pdu = kiln_uring_pdu(ucmd);

		kiln_queue_cancel(pdu->queue, pdu->index, ucmd);
		return 0;
	}

	if (ucmd->flags & IORING_URING_CMD_MASK)
		return kiln_bad(kdev, -EINVAL, "uring_cmd_flags %#x", ucmd->flags);
	if (unlikely(ucmd->cmd_op == DRM_KILN_URING_CANCEL))
		return kiln_uring_cancel(ucmd, issue_flags);
	if (ucmd->cmd_op != DRM_KILN_URING_EXEC)
		return kiln_bad(kdev, -EINVAL, "cmd_op %#x", ucmd->cmd_op);
	/* Without it there are 16 bytes, and whatever comes behind. */
	if (!(issue_flags & IO_URING_F_SQE128))
		return kiln_bad(kdev, -EINVAL, "SQE without SQE128");

	/* The SQE may be in user memory: each field is read once, and never again. */
	payload = kiln_uring_payload(ucmd, struct drm_kiln_exec);
	exec = (struct drm_kiln_exec) {
		.queue_id = READ_ONCE(payload->queue_id),
		.flags = READ_ONCE(payload->flags),
		.program = READ_ONCE(payload->program),
		.program_bytes = READ_ONCE(payload->program_bytes),
		.args_bytes = READ_ONCE(payload->args_bytes),
		.args = READ_ONCE(payload->args),
		.wait_addr = READ_ONCE(payload->wait_addr),
		.wait_value = READ_ONCE(payload->wait_value),
		.signal_addr = READ_ONCE(payload->signal_addr),
		.signal_value = READ_ONCE(payload->signal_value),
		.syncobj = READ_ONCE(payload->syncobj),
		.pad = READ_ONCE(payload->pad),
		.reserved = READ_ONCE(payload->reserved),
	};

	queue = kiln_queue_get(file->driver_priv, exec.queue_id);
	if (!queue)
		return kiln_bad(kdev, -ENOENT, "queue_id %u", exec.queue_id);
	ret = kiln_submit(queue, &exec, file, ucmd, issue_flags, NULL);
	if (unlikely(ret == -EAGAIN && !(issue_flags & IO_URING_F_NONBLOCK)))
		ret = kiln_uring_submit_wait(queue, &exec, ucmd, issue_flags);
	if (likely(!ret))
		return -EIOCBQUEUED;
	kiln_queue_put(queue);
	return ret;
}

/*
 * file_operations.uring_cmd_iopoll: has the command ended? It may do so, and
 * drop its queue, while we ask; so the queue is looked up again.
 */
int kiln_uring_cmd_iopoll(struct io_uring_cmd *ucmd, struct io_comp_batch *iob,
			  unsigned int poll_flags)
{
	struct drm_file *file = ucmd->file->private_data;
	struct kiln_queue *queue = kiln_queue_get(file->driver_priv,
						  kiln_uring_pdu(ucmd)->queue_id);
	bool any;

	/* Whoever destroyed it has ended its commands. */
	if (!queue)
		return 0;
	any = kiln_queue_process(queue);
	kiln_queue_put(queue);
	return any;
}
