// SPDX-License-Identifier: MIT
/*
 * Rings of the simulated card, driven as kiln.ko drives those of the real one:
 * both event indices are honoured, and whoever waits sleeps on an eventfd.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

struct sim_queue {
	struct kiln_queue base;
	struct sim_queue *next;		/* of the device's queues [card] */
	struct sim_rings rings;
	unsigned int id, vector;
	int event;			/* eventfd: there are completions */
	bool gone;			/* the card has forgotten it */
};

int sim_errno(unsigned int status)
{
	switch (status) {
	case KILN_ST_OK:
		return 0;
	case KILN_ST_PAGE_FAULT:
	case KILN_ST_BUS:
		return -EFAULT;
	case KILN_ST_BAD_PROGRAM:
	case KILN_ST_ILLEGAL:
	case KILN_ST_OPERAND:
	case KILN_ST_MEMORY:
		return -ENOEXEC;
	case KILN_ST_DEADLOCK:
		return -EDEADLK;
	case KILN_ST_TIMEOUT:
		return -ETIME;
	case KILN_ST_CONTEXT:
	case KILN_ST_ABORTED:
		return -ECANCELED;
	case KILN_ST_BAD_COMMAND:
		return -EINVAL;
	case KILN_ST_NO_SPACE:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

int sim_rings_init(struct sim_device *dev, struct sim_rings *rings, unsigned int log2)
{
	uint64_t sq_bytes = KILN_ALIGN_UP(sizeof(struct kiln_cmd) << log2, KILN_PAGE);
	uint64_t cq_bytes = KILN_ALIGN_UP(sizeof(struct kiln_completion) << log2, KILN_PAGE);
	int err;

	rings->entries = 1u << log2;
	rings->bytes = sq_bytes + cq_bytes + KILN_PAGE;
	rings->mem = mmap(NULL, rings->bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (rings->mem == MAP_FAILED) {
		rings->mem = NULL;
		return -ENOMEM;
	}
	rings->sq = (void *)rings->mem;
	rings->cq = (void *)(rings->mem + sq_bytes);
	rings->ctl = (void *)(rings->mem + sq_bytes + cq_bytes);
	err = sim_host_add(dev, rings->mem, rings->bytes, true);
	if (err) {
		munmap(rings->mem, rings->bytes);
		rings->mem = NULL;
	}
	return err;
}

void sim_rings_fini(struct sim_device *dev, struct sim_rings *rings)
{
	if (!rings->mem)
		return;
	sim_host_remove(dev, rings->mem);
	munmap(rings->mem, rings->bytes);
}

/* Show the card what stands before sq_tail, and ring if it asked for it. */
static void publish(struct sim_device *dev, struct sim_rings *rings, unsigned int queue)
{
	uint32_t old = rings->ctl->sq_tail, event;

	__atomic_store_n(&rings->ctl->sq_tail, rings->sq_tail, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = __atomic_load_n(&rings->ctl->sq_event, __ATOMIC_ACQUIRE);
	if (kiln_event_crossed(event, rings->sq_tail, old))
		kiln_sim_doorbell(dev->sim, queue);
}

static bool completed(const struct sim_rings *rings)
{
	return __atomic_load_n(&rings->ctl->cq_tail, __ATOMIC_ACQUIRE) != rings->cq_head;
}

static void consumed(struct sim_rings *rings)
{
	__atomic_store_n(&rings->ctl->cq_head, rings->cq_head, __ATOMIC_RELEASE);
}

/* Ask for an interrupt with the n-th completion from here; false: it is there already. */
static bool arm(struct sim_rings *rings, uint32_t n)
{
	__atomic_store_n(&rings->ctl->cq_event, rings->cq_head + n - 1, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&rings->ctl->cq_tail, __ATOMIC_ACQUIRE) - rings->cq_head < n;
}

/* One admin command at a time, and its completion. With driver locked. */
int sim_admin(struct sim_device *dev, const struct kiln_cmd *cmd)
{
	struct sim_rings *rings = &dev->admin;
	unsigned int status;

	rings->sq[rings->sq_tail++ % rings->entries] = *cmd;
	arm(rings, 1);
	publish(dev, rings, 0);
	pthread_mutex_lock(&dev->card);
	while (!completed(rings) &&
	       kiln_sim_reg_read(dev->sim, KILN_REG_STATUS) == KILN_STATE_READY)
		pthread_cond_wait(&dev->state, &dev->card);
	pthread_mutex_unlock(&dev->card);
	if (!completed(rings))
		return kiln_error(-EIO, "the simulated card's firmware has stopped");
	status = rings->cq[rings->cq_head++ % rings->entries].status;
	consumed(rings);
	return status ? kiln_error(sim_errno(status), "the simulated card refused admin command %#x: status %u",
				   cmd->opcode, status) : 0;
}

/* [card] */
void sim_queue_interrupt(struct sim_device *dev, unsigned int vector)
{
	uint64_t one = 1;

	for (struct sim_queue *q = dev->queues; q; q = q->next)
		if (q->vector == vector && write(q->event, &one, sizeof(one)) < 0)
			continue;	/* full: it is readable already */
}

static int submit(struct kiln_queue *base, const struct kiln_command *commands,
		  unsigned int count)
{
	struct sim_queue *q = (struct sim_queue *)base;
	struct sim_rings *rings = &q->rings;

	for (unsigned int i = 0; i < count; i++) {
		const struct kiln_command *c = &commands[i];
		struct kiln_cmd *cmd = &rings->sq[rings->sq_tail++ % rings->entries];

		*cmd = (struct kiln_cmd){
			.opcode = c->program ? KILN_CMD_EXEC : KILN_CMD_NOP,
			.cookie = kiln_queue_take(base, c),
			.exec = {
				.args = c->args,
				.wait_addr = c->wait_addr,
				.wait_value = c->wait_value,
				.signal_addr = c->signal_addr,
				.signal_value = c->signal_value,
			},
		};
		if (c->program) {
			cmd->exec.program = c->program->buffer->addr;
			cmd->param = KILN_EXEC_PARAM(c->program->bytes, c->args_bytes);
		}
	}
	publish(to_sim(base->device), rings, q->id);
	return (int)count;
}

static void collect(struct sim_queue *q)
{
	struct sim_rings *rings = &q->rings;

	while (completed(rings)) {
		const struct kiln_completion *c = &rings->cq[rings->cq_head++ % rings->entries];

		kiln_queue_done(&q->base, (uint32_t)c->cookie, sim_errno(c->status),
				c->cycles);
	}
	consumed(rings);
	/* What the card owes and will not deliver any more: its firmware has stopped. */
	while (q->gone && q->base.in_flight) {
		const struct kiln_cmd *cmd = &rings->sq[rings->cq_head++ % rings->entries];

		kiln_queue_done(&q->base, (uint32_t)cmd->cookie, -EIO, 0);
	}
}

/* 0, -ETIME or -EINTR. */
static int sleep_for(struct sim_queue *q, int64_t timeout_ns)
{
	struct pollfd pfd = { .fd = q->event, .events = POLLIN };
	struct timespec ts = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};
	int n = ppoll(&pfd, 1, timeout_ns < 0 ? NULL : &ts, NULL);

	return n < 0 ? -errno : n ? 0 : -ETIME;
}

static int reap(struct kiln_queue *base, unsigned int min, int64_t timeout_ns)
{
	struct sim_queue *q = (struct sim_queue *)base;
	unsigned int before = base->finished_count, n;
	uint64_t events;
	int err = 0;

	for (;;) {
		/* First the event, then the ring: what comes in between is found. */
		if (read(q->event, &events, sizeof(events)) < 0 && errno != EAGAIN)
			return kiln_error(-errno, "reading an eventfd: %s", strerror(errno));
		collect(q);
		n = base->finished_count - before;
		if (err || n >= min || !timeout_ns || q->gone) {
			/* For kiln_queue_fd(), and for the next wait. */
			if (arm(&q->rings, 1))
				break;
			continue;
		}
		/* Not by the clock: a command may take seconds. */
		if (timeout_ns < 0 && sim_help(to_sim(base->device)))
			continue;
		if (arm(&q->rings, min - n))
			err = sleep_for(q, timeout_ns);
	}
	return n >= min || (!timeout_ns && !err) ? 0 : err;
}

static void cancel(struct kiln_queue *base)
{
	struct sim_queue *q = (struct sim_queue *)base;
	struct sim_device *dev = to_sim(base->device);
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_QUEUE_DESTROY,
		.queue.queue = q->id,
	};

	pthread_mutex_lock(&dev->driver);
	sim_admin(dev, &cmd);
	dev->queue_ids[q->id / 64] &= ~(1ull << q->id % 64);
	pthread_mutex_unlock(&dev->driver);
	q->gone = true;
}

static void destroy(struct kiln_queue *base)
{
	struct sim_queue *q = (struct sim_queue *)base;
	struct sim_device *dev = to_sim(base->device);
	struct sim_queue **link;

	pthread_mutex_lock(&dev->card);
	for (link = &dev->queues; *link != q; link = &(*link)->next)
		;
	*link = q->next;
	pthread_mutex_unlock(&dev->card);
	sim_rings_fini(dev, &q->rings);
	close(q->event);
	kiln_queue_fini(base);
	free(q);
}

static int fd(struct kiln_queue *base)
{
	return ((struct sim_queue *)base)->event;
}

static const struct kiln_way sim_way = {
	.name = "sim",
	.submit = submit,
	.reap = reap,
	.cancel = cancel,
	.destroy = destroy,
	.fd = fd,
};

/* [driver] 0: none left */
static unsigned int free_id(struct sim_device *dev)
{
	for (unsigned int id = 1; id < KILN_MAX_QUEUES; id++)
		if (!(dev->queue_ids[id / 64] & 1ull << id % 64))
			return id;
	return 0;
}

int sim_queue_create(struct kiln_device *device, const struct kiln_queue_attr *attr,
		     struct kiln_queue **queue)
{
	struct sim_device *dev = to_sim(device);
	unsigned int log2 = (unsigned int)__builtin_ctz(attr->depth);
	struct sim_queue *q = calloc(1, sizeof(*q));
	struct kiln_cmd cmd;
	int err;

	if (!q)
		return kiln_error(-ENOMEM, "kiln_queue_create: out of memory");
	err = kiln_queue_init(&q->base, device, &sim_way, attr->depth);
	if (err)
		goto err_free;
	q->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->event < 0) {
		err = kiln_error(-errno, "kiln_queue_create: eventfd: %s", strerror(errno));
		goto err_fini;
	}
	err = sim_rings_init(dev, &q->rings, log2);
	if (err) {
		kiln_error(err, "kiln_queue_create: no memory for rings of %u", attr->depth);
		goto err_event;
	}

	pthread_mutex_lock(&dev->driver);
	q->id = free_id(dev);
	if (!q->id) {
		err = kiln_error(-ENOSPC, "kiln_queue_create: the card has %u queues, and all are in use",
				 KILN_MAX_QUEUES - 1);
		goto err_unlock;
	}
	q->vector = 1 + q->id % (KILN_MSIX_VECTORS - 1);
	pthread_mutex_lock(&dev->card);
	q->next = dev->queues;
	dev->queues = q;
	pthread_mutex_unlock(&dev->card);
	cmd = (struct kiln_cmd){
		.opcode = KILN_ADM_QUEUE_CREATE,
		.queue = {
			.queue = q->id,
			.context = SIM_CONTEXT,
			.sq = (uintptr_t)q->rings.sq,
			.cq = (uintptr_t)q->rings.cq,
			.ctl = (uintptr_t)q->rings.ctl,
			.log2_entries = log2,
			.vector = q->vector,
			.weight = attr->weight,
			.limit_ms = attr->limit_ms,
		},
	};
	err = sim_admin(dev, &cmd);
	if (err) {
		pthread_mutex_lock(&dev->card);
		dev->queues = q->next;
		pthread_mutex_unlock(&dev->card);
		goto err_unlock;
	}
	dev->queue_ids[q->id / 64] |= 1ull << q->id % 64;
	pthread_mutex_unlock(&dev->driver);
	*queue = &q->base;
	return 0;

err_unlock:
	pthread_mutex_unlock(&dev->driver);
	sim_rings_fini(dev, &q->rings);
err_event:
	close(q->event);
err_fini:
	kiln_queue_fini(&q->base);
err_free:
	free(q);
	return err;
}
