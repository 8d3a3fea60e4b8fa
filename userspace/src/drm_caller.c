// SPDX-License-Identifier: MIT
/*
 * Submission through a ring that the caller has: a queue of which libkiln sees
 * neither commands nor completions, and what fills and reads the ring's entries.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "drm_transport.h"

static int submit(struct kiln_queue *base, const struct kiln_command *commands,
		  unsigned int count)
{
	(void)base, (void)commands, (void)count;
	return kiln_error(-ENOTSUP, "kiln_submit: commands of this queue go through the caller's own ring: use kiln_prep_exec(), or create the queue with KILN_SUBMIT_AUTO");
}

/* There is never anything in flight that is known here. */
static int reap(struct kiln_queue *base, unsigned int min, int64_t timeout_ns)
{
	(void)base, (void)min, (void)timeout_ns;
	return 0;
}

static void destroy(struct kiln_queue *base)
{
	kiln_queue_fini(base);
	free(base);
}

static int fd(struct kiln_queue *base)
{
	(void)base;
	return kiln_error(-ENOTSUP, "kiln_queue_fd: completions of this queue come to the caller's own ring: poll that");
}

static const struct kiln_way caller_way = {
	.name = "caller",
	.submit = submit,
	.reap = reap,
	.cancel = drm_queue_cancel,
	.destroy = destroy,
	.fd = fd,
};

int drm_caller_create(struct drm_device *dev, const struct kiln_queue_attr *attr,
		      struct drm_queue **queue)
{
	struct drm_queue *q = calloc(1, sizeof(*q));
	int err;

	if (!q)
		return kiln_error(-ENOMEM, "kiln_queue_create: out of memory");
	err = kiln_queue_init(&q->base, &dev->base, &caller_way, attr->depth);
	if (err) {
		free(q);
		return err;
	}
	*queue = q;
	return 0;
}

int kiln_device_fd(struct kiln_device *device)
{
	if (!device)
		return kiln_error(-EINVAL, "kiln_device_fd: device is NULL");
	if (device->transport != &kiln_drm_transport)
		return kiln_error(-ENOTSUP, "kiln_device_fd: a card of transport \"%s\" has no descriptor",
				  device->transport->name);
	return to_drm(device)->fd;
}

int kiln_prep_exec(struct io_uring_sqe *sqe, int fd, struct kiln_queue *queue,
		   const struct kiln_command *command)
{
	int err;

	if (!sqe || !queue || !command)
		return kiln_error(-EINVAL, "kiln_prep_exec: an argument is NULL");
	if (queue->way != &caller_way)
		return kiln_error(-EINVAL, "kiln_prep_exec: the queue has a ring of its own: create it with KILN_SUBMIT_CALLER");
	if (command->done || command->user)
		return kiln_error(-EINVAL, "kiln_prep_exec: nobody calls back from your ring: done and user must be NULL");
	err = kiln_check_command(queue, command);
	if (err)
		return err;

	/* HBM is mapped write-combined: what was written there comes before the command. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->user_data = 0;
	sqe->cmd_op = DRM_KILN_URING_EXEC;
	drm_queue_exec((struct drm_queue *)queue, command, (struct drm_kiln_exec *)sqe->cmd);
	return 0;
}

void kiln_parse_cqe(const struct io_uring_cqe *cqe, struct kiln_result *result)
{
	result->res = cqe->res;
	result->cycles = cqe->res ? 0 : cqe->big_cqe[0];
}
