// SPDX-License-Identifier: MIT
/*
 * Submission by ioctl, for places where io_uring is forbidden. Commands get
 * sequence numbers that count up by one, so the slots of what is in flight
 * stand in a ring in that order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "drm_transport.h"

struct ioctl_queue {
	struct drm_queue drm;
	uint64_t next;			/* sequence number of the oldest in flight */
	uint32_t head;			/* its place in order[] */
	uint32_t *order;		/* slots, depth of them */
	struct drm_kiln_exec *exec;	/* depth of them: a batch */
	struct drm_kiln_result *result;	/* depth of them */
};

static struct ioctl_queue *to_ioctl(struct kiln_queue *base)
{
	return (struct ioctl_queue *)base;
}

static int submit(struct kiln_queue *base, const struct kiln_command *commands,
		  unsigned int count)
{
	struct ioctl_queue *q = to_ioctl(base);
	unsigned int before = base->in_flight, taken;
	struct drm_kiln_submit s = {
		.commands = (uintptr_t)q->exec,
		.count = count,
		.stride = sizeof(*q->exec),
	};

	for (unsigned int i = 0; i < count; i++)
		drm_queue_exec(&q->drm, &commands[i], &q->exec[i]);
	/* Not drmIoctl(): it would spin on the -EAGAIN of a full queue. */
	if (ioctl(to_drm(base->device)->fd, DRM_IOCTL_KILN_SUBMIT, &s)) {
		if (errno == EINTR || (errno == EAGAIN && before))
			return 0;
		return kiln_error(-errno, "kiln_submit: %s", strerror(errno));
	}
	taken = s.done;
	for (unsigned int i = 0; i < taken; i++)
		q->order[(q->head + before + i) % base->depth] =
			kiln_queue_take(base, &commands[i]);
	if (taken && !before)
		q->next = s.seqno - taken + 1;
	return (int)taken;
}

static void complete(struct ioctl_queue *q, int res, uint64_t cycles)
{
	struct kiln_queue *base = &q->drm.base;

	kiln_queue_done(base, q->order[q->head], res, cycles);
	q->head = (q->head + 1) % base->depth;
	q->next++;
}

/* The oldest count commands, once all of them are done. */
static int wait_for(struct ioctl_queue *q, unsigned int count, int64_t timeout_ns)
{
	struct drm_kiln_wait w = {
		.queue_id = q->drm.id,
		.count = count,
		.seqno = q->next,
		.timeout_ns = timeout_ns,
		.results = (uintptr_t)q->result,
	};

	if (ioctl(to_drm(q->drm.base.device)->fd, DRM_IOCTL_KILN_WAIT, &w))
		return -errno;
	for (unsigned int i = 0; i < count; i++)
		complete(q, q->result[i].res, q->result[i].cycles);
	return 0;
}

static int reap(struct kiln_queue *base, unsigned int min, int64_t timeout_ns)
{
	struct ioctl_queue *q = to_ioctl(base);
	unsigned int before = base->finished_count, n;
	int err = 0;

	/* The driver forgot its queue together with the results. */
	if (q->drm.canceled) {
		while (base->in_flight)
			complete(q, -ECANCELED, 0);
		return 0;
	}
	if (min && timeout_ns)
		err = wait_for(q, min, timeout_ns);
	/* Then whatever else there is: all, or half of it, or a quarter. */
	for (n = base->in_flight; n && (!err || err == -ETIME); ) {
		int look = wait_for(q, n, 0);

		if (look && look != -ETIME) {
			err = look;
			break;
		}
		if (!look && n < base->in_flight)
			continue;
		n = look ? n / 2 : base->in_flight;
	}
	if (base->finished_count - before >= min || !timeout_ns)
		err = err == -ETIME ? 0 : err;
	if (err == -ENODEV) {
		while (base->in_flight)
			complete(q, -ENODEV, 0);
		return 0;
	}
	if (err && err != -ETIME && err != -EINTR)
		return kiln_error(err, "kiln_wait: %s", strerror(-err));
	return err;
}

static void destroy(struct kiln_queue *base)
{
	struct ioctl_queue *q = to_ioctl(base);

	kiln_queue_fini(base);
	free(q->order);
	free(q->exec);
	free(q->result);
	free(q);
}

static int fd(struct kiln_queue *base)
{
	(void)base;
	return kiln_error(-ENOTSUP, "kiln_queue_fd: submission by ioctl has no descriptor to poll: call kiln_wait() with a timeout, or use io_uring");
}

static const struct kiln_way ioctl_way = {
	.name = "ioctl",
	.submit = submit,
	.reap = reap,
	.cancel = drm_queue_cancel,
	.revive = drm_queue_revive,
	.destroy = destroy,
	.fd = fd,
};

int drm_ioctl_create(struct drm_device *dev, const struct kiln_queue_attr *attr,
		     struct drm_queue **queue)
{
	struct ioctl_queue *q = calloc(1, sizeof(*q));
	int err;

	if (!q)
		return kiln_error(-ENOMEM, "kiln_queue_create: out of memory");
	q->order = calloc(attr->depth, sizeof(*q->order));
	q->exec = calloc(attr->depth, sizeof(*q->exec));
	q->result = calloc(attr->depth, sizeof(*q->result));
	err = q->order && q->exec && q->result ? 0 :
	      kiln_error(-ENOMEM, "kiln_queue_create: out of memory");
	if (!err)
		err = kiln_queue_init(&q->drm.base, &dev->base, &ioctl_way, attr->depth);
	if (err) {
		free(q->order);
		free(q->exec);
		free(q->result);
		free(q);
		return err;
	}
	*queue = &q->drm;
	return 0;
}
