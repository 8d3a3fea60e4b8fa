// SPDX-License-Identifier: MIT
/*
 * Submission by io_uring: each queue has a ring of its own, so that none waits
 * for another and the ring's descriptor tells of this queue's completions.
 *
 * IORING_SETUP_SINGLE_ISSUER (and DEFER_TASKRUN, which needs it) is not used:
 * it ties a ring to one thread for life, and kiln.h promises that a queue can
 * move from thread to thread. COOP_TASKRUN saves the interrupt of the thread
 * and keeps the descriptor readable when something has completed.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "drm_transport.h"

struct uring_queue {
	struct drm_queue drm;
	struct io_uring ring;
	int broken;			/* the ring takes no more: this errno */
};

_Static_assert(sizeof(struct drm_kiln_exec) == 80, "the command area of an SQE128");

static struct uring_queue *to_uring(struct kiln_queue *base)
{
	return (struct uring_queue *)base;
}

/*
 * Hand all that stands in the ring to the kernel: whoever only polls the
 * descriptor from here on would wait for what was left for ever. So the rare
 * refusals for want of memory are sat out.
 */
static void flush(struct uring_queue *q)
{
	static const struct timespec a_while = { .tv_nsec = 1000000 };

	while (!q->broken && io_uring_sq_ready(&q->ring)) {
		int n = io_uring_submit(&q->ring);

		if (n == -EAGAIN || n == -EBUSY)
			nanosleep(&a_while, NULL);
		else if (n < 0 && n != -EINTR)
			q->broken = n;
	}
}

static int submit(struct kiln_queue *base, const struct kiln_command *commands,
		  unsigned int count)
{
	struct uring_queue *q = to_uring(base);

	if (q->broken)
		return kiln_error(-EIO, "kiln_submit: io_uring has failed before: %s",
				  strerror(-q->broken));
	for (unsigned int i = 0; i < count; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
		uint32_t slot;

		if (!sqe) {
			count = i;
			break;
		}
		slot = kiln_queue_take(base, &commands[i]);
		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, 0, NULL, 0, 0);
		sqe->flags = IOSQE_FIXED_FILE;
		sqe->cmd_op = DRM_KILN_URING_EXEC;
		sqe->user_data = slot;
		drm_queue_exec(&q->drm, &commands[i], (struct drm_kiln_exec *)sqe->cmd);
	}
	flush(q);
	return (int)count;
}

static unsigned int collect(struct uring_queue *q)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;

	io_uring_for_each_cqe(&q->ring, head, cqe) {
		kiln_queue_done(&q->drm.base, (uint32_t)cqe->user_data, cqe->res,
				cqe->big_cqe[0]);
		n++;
	}
	io_uring_cq_advance(&q->ring, n);
	return n;
}

static int reap(struct kiln_queue *base, unsigned int min, int64_t timeout_ns)
{
	struct uring_queue *q = to_uring(base);
	struct __kernel_timespec ts = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};
	struct io_uring_cqe *cqe;
	unsigned int n;
	int err;

	n = collect(q);
	if (n >= min && n)
		return 0;
	if (!timeout_ns || !min) {
		/* Enters the kernel only if completions are waiting for us to. */
		if (!io_uring_peek_cqe(&q->ring, &cqe))
			collect(q);
		return 0;
	}
	if (q->broken)
		return kiln_error(-EIO, "kiln_wait: io_uring has failed: %s",
				  strerror(-q->broken));
	err = io_uring_wait_cqes(&q->ring, &cqe, min - n,
				 timeout_ns < 0 ? NULL : &ts, NULL);
	collect(q);
	if (err && err != -ETIME && err != -EINTR)
		return kiln_error(err, "kiln_wait: io_uring: %s", strerror(-err));
	return err;
}

static void destroy(struct kiln_queue *base)
{
	struct uring_queue *q = to_uring(base);

	io_uring_queue_exit(&q->ring);
	kiln_queue_fini(base);
	free(q);
}

static int fd(struct kiln_queue *base)
{
	return to_uring(base)->ring.ring_fd;
}

static const struct kiln_way uring_way = {
	.name = "uring",
	.submit = submit,
	.reap = reap,
	.cancel = drm_queue_cancel,
	.revive = drm_queue_revive,
	.destroy = destroy,
	.fd = fd,
};

int drm_uring_create(struct drm_device *dev, const struct kiln_queue_attr *attr,
		     struct drm_queue **queue)
{
	/* From what is best to what every kernel with SQE128 has. */
	static const unsigned int flags[] = {
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	struct uring_queue *q = calloc(1, sizeof(*q));
	int err = -EINVAL;

	if (!q)
		return kiln_error(-ENOMEM, "kiln_queue_create: out of memory");
	for (size_t i = 0; i < 2 && err == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = flags[i] | IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
		};

		err = io_uring_queue_init_params(attr->depth, &q->ring, &params);
	}
	if (err == -EPERM || err == -ENOSYS || err == -EACCES) {
		err = kiln_error(-EPERM, "kiln_queue_create: io_uring is forbidden here (%s; see sysctl kernel.io_uring_disabled): use KILN_SUBMIT_IOCTL or KILN_SUBMIT_AUTO",
				 strerror(-err));
		goto err_free;
	}
	if (err) {
		kiln_error(err, "kiln_queue_create: io_uring for %u commands: %s",
			   attr->depth, strerror(-err));
		goto err_free;
	}
	err = io_uring_register_files(&q->ring, &dev->fd, 1);
	if (err) {
		kiln_error(err, "kiln_queue_create: io_uring_register_files: %s",
			   strerror(-err));
		goto err_exit;
	}
	err = kiln_queue_init(&q->drm.base, &dev->base, &uring_way, attr->depth);
	if (err)
		goto err_exit;
	*queue = &q->drm;
	return 0;

err_exit:
	io_uring_queue_exit(&q->ring);
err_free:
	free(q);
	return err;
}
