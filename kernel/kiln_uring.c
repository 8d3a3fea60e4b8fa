// SPDX-License-Identifier: GPL-2.0-only
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
	/** @cookie: of the slot. Whoever ends that slot completes the command. */
	u64 cookie;
	/** @cycles: device time, once it has ended. */
	u64 cycles;
	/** @res: result, once it has ended. */
	int res;
	/** @queue_id: of @queue, for those who do not hold it. */
	u32 queue_id : 31;
	/** @polled: of a ring with IOPOLL: not cancelable, and looked for by its submitter. */
	u32 polled : 1;
};

static struct kiln_uring_pdu *kiln_uring_pdu(struct io_uring_cmd *ucmd)
{
	return io_uring_cmd_to_pdu(ucmd, struct kiln_uring_pdu);
}

bool kiln_uring_is_polled(struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	return ucmd && (issue_flags & IO_URING_F_IOPOLL);
}

bool kiln_uring_is_nonblock(struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	return ucmd && (issue_flags & IO_URING_F_NONBLOCK);
}

/*
 * The command has a slot and will end by kiln_uring_complete(). Only now may it
 * be marked cancelable: one that is refused is never taken off that list. And
 * not later either, because it may end as soon as the card has it.
 */
void kiln_uring_prepare(struct io_uring_cmd *ucmd, struct kiln_queue *queue, u64 cookie,
			unsigned int issue_flags)
{
	struct kiln_uring_pdu *pdu = kiln_uring_pdu(ucmd);

	/* Its own: it may end, and drop it, while its submitter still rings the doorbell. */
	kref_get(&queue->ref);
	pdu->queue = queue;
	pdu->queue_id = queue->id;
	pdu->cookie = cookie;
	pdu->polled = kiln_uring_is_polled(ucmd, issue_flags);
	/* Linux 7 refuses to mark a polled one, 6.12 ruins its own lists by it. */
	if (!pdu->polled)
		io_uring_cmd_mark_cancelable(ucmd, issue_flags);
}

static void kiln_uring_post(struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	struct kiln_uring_pdu *pdu = kiln_uring_pdu(ucmd);
	struct kiln_queue *queue = pdu->queue;

	/* Takes it off the list of cancelable commands: then nobody looks at the queue. */
	kiln_uring_cmd_done(ucmd, pdu->res, pdu->cycles, issue_flags);
	kiln_queue_put(queue);
}

KILN_URING_TASK_WORK(kiln_uring_task_work, kiln_uring_post)

/*
 * Post the CQE. A cancelable command must not end in an interrupt, so by task
 * work. For a polled one this only marks it: whoever polls makes the CQE.
 */
void kiln_uring_complete(struct io_uring_cmd *ucmd, int res, u64 cycles)
{
	struct kiln_uring_pdu *pdu = kiln_uring_pdu(ucmd);

	pdu->res = res;
	pdu->cycles = cycles;
	if (pdu->polled)
		kiln_uring_post(ucmd, IO_URING_F_UNLOCKED);
	else
		io_uring_cmd_complete_in_task(ucmd, kiln_uring_task_work);
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
 * Submit, and wait for room if we may: in a worker of io_uring, which is where a
 * command comes from that was refused with -EAGAIN under IO_URING_F_NONBLOCK.
 */
static int kiln_uring_submit(struct kiln_queue *queue, const struct drm_kiln_exec *exec,
			     struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	struct drm_file *file = ucmd->file->private_data;
	int ret;

	for (;;) {
		ret = kiln_submit(queue, exec, file, ucmd, issue_flags, NULL, false);
		if (ret != -EAGAIN || (issue_flags & IO_URING_F_NONBLOCK))
			return ret;
		/* A signal to a worker means that the command is canceled. */
		if (wait_event_interruptible(queue->wait, kiln_uring_has_room(queue)))
			return -ECANCELED;
	}
}

/* file_operations.uring_cmd: one struct drm_kiln_exec. */
int kiln_uring_cmd(struct io_uring_cmd *ucmd, unsigned int issue_flags)
{
	struct drm_file *file = ucmd->file->private_data;
	struct kiln_device *kdev = to_kiln_device(file->minor->dev);
	const struct drm_kiln_exec *payload;
	struct drm_kiln_exec exec;
	struct kiln_queue *queue;
	int ret;

	/* First: only for commands that are in flight, and possibly from a kworker. */
	if (issue_flags & IO_URING_F_CANCEL) {
		struct kiln_uring_pdu *pdu = kiln_uring_pdu(ucmd);

		kiln_queue_cancel(pdu->queue, pdu->cookie);
		return 0;
	}

	if (ucmd->cmd_op != DRM_KILN_URING_EXEC)
		return kiln_bad(kdev, -EINVAL, "cmd_op %#x", ucmd->cmd_op);
	/* Without it there are 16 bytes, and whatever comes behind. */
	if (!(issue_flags & IO_URING_F_SQE128))
		return kiln_bad(kdev, -EINVAL, "SQE without SQE128");
	if (ucmd->flags & IORING_URING_CMD_MASK)
		return kiln_bad(kdev, -EINVAL, "uring_cmd_flags %#x", ucmd->flags);

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
	ret = kiln_uring_submit(queue, &exec, ucmd, issue_flags);
	kiln_queue_put(queue);
	return ret ?: -EIOCBQUEUED;
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
