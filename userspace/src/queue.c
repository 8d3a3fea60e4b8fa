// SPDX-License-Identifier: MIT
/*
 * The part of a queue that is the same for every way of submission: slots,
 * and the list of what has completed and waits for its callback.
 *
 * The list is what makes callbacks simple to write. A callback may submit to
 * a full queue: then room is made by collecting completions into the list, not
 * by running more callbacks, so they never nest.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "kiln/hw.h"
#include "transport.h"

int kiln_queue_init(struct kiln_queue *queue, struct kiln_device *device,
		    const struct kiln_way *way, unsigned int depth)
{
	queue->device = device;
	queue->way = way;
	queue->depth = depth;
	queue->finished_size = depth;
	queue->slots = calloc(depth, sizeof(*queue->slots));
	queue->free_slots = calloc(depth, sizeof(*queue->free_slots));
	queue->finished = calloc(depth, sizeof(*queue->finished));
	if (!queue->slots || !queue->free_slots || !queue->finished) {
		kiln_queue_fini(queue);
		return kiln_error(-ENOMEM, "kiln_queue_create: out of memory");
	}
	for (unsigned int i = 0; i < depth; i++)
		queue->free_slots[i] = depth - 1 - i;
	return 0;
}

void kiln_queue_fini(struct kiln_queue *queue)
{
	free(queue->slots);
	free(queue->free_slots);
	free(queue->finished);
}

uint32_t kiln_queue_take(struct kiln_queue *queue,
			 const struct kiln_command *command)
{
	uint32_t slot;

	queue->in_flight++;
	slot = queue->free_slots[queue->depth - queue->in_flight];
	queue->slots[slot] = (struct kiln_slot){ .done = command->done, .user = command->user };
	if (queue->device->profile) {
		queue->slots[slot].program = command->program ? command->program->buffer->addr : 0;
		queue->slots[slot].submitted = kiln_profile_now();
	}
	return slot;
}

void kiln_queue_untake(struct kiln_queue *queue, uint32_t slot)
{
	queue->free_slots[queue->depth - queue->in_flight] = slot;
	queue->in_flight--;
}

void kiln_queue_done(struct kiln_queue *queue, uint32_t slot, int res,
		     uint64_t cycles)
{
	unsigned int at = (queue->finished_head + queue->finished_count++) %
			  queue->finished_size;

	queue->finished[at] = (struct kiln_finished){
		.slot = queue->slots[slot],
		.result = { .res = res, .cycles = res ? 0 : cycles },
	};
	if (queue->device->profile)
		kiln_profile_done(queue->device, &queue->slots[slot], res, cycles);
	kiln_queue_untake(queue, slot);
	if (res == -EIO)
		queue->lost = true;
}

/* Make sure that everything in flight can go into the list. */
static int reserve_finished(struct kiln_queue *queue)
{
	unsigned int size = queue->finished_size;
	struct kiln_finished *bigger;

	if (queue->finished_count + queue->in_flight <= size)
		return 0;
	while (queue->finished_count + queue->in_flight > size)
		size *= 2;
	bigger = calloc(size, sizeof(*bigger));
	if (!bigger)
		return kiln_error(-ENOMEM, "kiln_submit: out of memory for %u completions",
				  size);
	for (unsigned int i = 0; i < queue->finished_count; i++)
		bigger[i] = queue->finished[(queue->finished_head + i) %
					    queue->finished_size];
	free(queue->finished);
	queue->finished = bigger;
	queue->finished_head = 0;
	queue->finished_size = size;
	return 0;
}

static int reap(struct kiln_queue *queue, unsigned int min, int64_t timeout_ns)
{
	int err;

	if (!queue->in_flight)
		return 0;
	err = reserve_finished(queue);
	if (err)
		return err;
	return queue->way->reap(queue, min, timeout_ns);
}

static int run_callbacks(struct kiln_queue *queue)
{
	int ran = 0;

	queue->calling = true;
	while (queue->finished_count) {
		struct kiln_finished f = queue->finished[queue->finished_head];

		queue->finished_head = (queue->finished_head + 1) %
				       queue->finished_size;
		queue->finished_count--;
		if (f.slot.done)
			f.slot.done(f.slot.user, &f.result);
		ran++;
	}
	queue->calling = false;
	return ran;
}

int kiln_queue_create(struct kiln_device *device,
		      const struct kiln_queue_attr *attr,
		      struct kiln_queue **queue)
{
	struct kiln_queue_attr a = { 0 };

	if (!device || !queue)
		return kiln_error(-EINVAL, "kiln_queue_create: an argument is NULL");
	*queue = NULL;
	if (attr)
		a = *attr;
	if (!a.depth)
		a.depth = KILN_DEFAULT_DEPTH;
	if (!a.weight)
		a.weight = KILN_DEFAULT_WEIGHT;
	if (!a.limit_ms)
		a.limit_ms = KILN_MAX_LIMIT_MS;
	if (a.depth < 1u << KILN_RING_LOG2_MIN || a.depth & (a.depth - 1) ||
	    a.depth > device->info.max_queue_depth)
		return kiln_error(-EINVAL, "kiln_queue_create: depth %u is not a power of two from %u to %u",
				  a.depth, 1u << KILN_RING_LOG2_MIN,
				  device->info.max_queue_depth);
	if (a.weight > KILN_MAX_WEIGHT)
		return kiln_error(-EINVAL, "kiln_queue_create: weight %u is above %u",
				  a.weight, KILN_MAX_WEIGHT);
	if (a.limit_ms > KILN_MAX_LIMIT_MS)
		return kiln_error(-EINVAL, "kiln_queue_create: limit_ms %u is above %u",
				  a.limit_ms, KILN_MAX_LIMIT_MS);
	if ((unsigned int)a.way > KILN_SUBMIT_CALLER)
		return kiln_error(-EINVAL, "kiln_queue_create: way %u is not one of enum kiln_submit_way",
				  (unsigned int)a.way);
	return device->transport->queue_create(device, &a, queue);
}

void kiln_queue_destroy(struct kiln_queue *queue)
{
	if (!queue)
		return;
	queue->closing = true;
	queue->way->cancel(queue);
	while (queue->in_flight) {
		int err = reap(queue, queue->in_flight, -1);

		if (err && err != -EINTR)
			break;
	}
	run_callbacks(queue);
	queue->way->destroy(queue);
}

struct kiln_device *kiln_queue_device(struct kiln_queue *queue)
{
	return queue->device;
}

const char *kiln_queue_way(const struct kiln_queue *queue)
{
	return queue->way->name;
}

unsigned int kiln_pending(const struct kiln_queue *queue)
{
	return queue->in_flight + queue->finished_count;
}

int kiln_check_command(const struct kiln_queue *queue, const struct kiln_command *c)
{
	if (c->program && c->program->device != queue->device)
		return kiln_error(-EINVAL, "kiln_submit: the program was loaded on another device");
	if (!c->program && (c->args || c->args_bytes))
		return kiln_error(-EINVAL, "kiln_submit: arguments without a program");
	if (c->args % 8 || !c->args != !c->args_bytes)
		return kiln_error(-EINVAL, "kiln_submit: args %#llx is not a multiple of 8, or only one of args and args_bytes is set",
				  (unsigned long long)c->args);
	if (c->args_bytes % 8 || c->args_bytes > KILN_MAX_ARGS_BYTES)
		return kiln_error(-EINVAL, "kiln_submit: args_bytes %u is not a multiple of 8 up to %u",
				  c->args_bytes, KILN_MAX_ARGS_BYTES);
	if (c->wait_addr % 8 || c->signal_addr % 8)
		return kiln_error(-EINVAL, "kiln_submit: wait_addr and signal_addr must be multiples of 8");
	return 0;
}

/* What was in flight has been lost, too, and comes back by itself. */
static int revive(struct kiln_queue *queue)
{
	int err = 0;

	while (queue->in_flight && !err)
		err = reap(queue, queue->in_flight, -1);
	if (!err && queue->way->revive)
		err = queue->way->revive(queue);
	if (!err)
		queue->lost = false;
	return err;
}

int kiln_submit(struct kiln_queue *queue, const struct kiln_command *commands,
		unsigned int count, unsigned int *taken)
{
	unsigned int done = 0, good = 0;
	int err = 0, bad = 0;

	if (taken)
		*taken = 0;
	if (!queue || (count && !commands))
		return kiln_error(-EINVAL, "kiln_submit: an argument is NULL");
	if (queue->closing)
		return kiln_error(-ECANCELED, "kiln_submit: the queue is being destroyed");

	while (good < count && !(bad = kiln_check_command(queue, &commands[good])))
		good++;

	if (queue->lost && good)
		err = revive(queue);
	if (err)
		return err;

	/* HBM is mapped write-combined: what was written there comes before the command. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (done < good) {
		unsigned int n = queue->depth - queue->in_flight;

		if (n > good - done)
			n = good - done;
		if (n) {
			err = queue->way->submit(queue, commands + done, n);
			if (err == -EIO)
				queue->lost = true;
			if (err < 0)
				break;
			done += (unsigned int)err;
			err = 0;
			if (done == good)
				break;
		}
		err = reap(queue, 1, -1);
		if (!queue->calling)
			run_callbacks(queue);
		if (err)
			break;
	}
	if (taken)
		*taken = done;
	return err ? err : bad;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

int kiln_wait(struct kiln_queue *queue, unsigned int min, int64_t timeout_ns)
{
	int64_t deadline = 0, left = timeout_ns;
	unsigned int ran = 0;
	int err;

	if (!queue)
		return kiln_error(-EINVAL, "kiln_wait: queue is NULL");
	if (queue->calling)
		return kiln_error(-EBUSY, "kiln_wait: called from a callback of the same queue");
	if (min > kiln_pending(queue))
		min = kiln_pending(queue);
	if (timeout_ns > 0) {
		int64_t now = now_ns();

		deadline = timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
	}

	/* Once around even if nothing is wanted: min 0 looks. */
	do {
		unsigned int want = min > ran ? min - ran : 0;

		want = want > queue->finished_count ? want - queue->finished_count : 0;
		err = reap(queue, want, want ? left : 0);
		ran += (unsigned int)run_callbacks(queue);
		if (err == -ETIME && !timeout_ns)
			err = 0;
		if (err || !timeout_ns)
			break;
		if (timeout_ns > 0) {
			left = deadline - now_ns();
			if (left < 0)
				left = 0;
		}
	} while (ran < min);

	if (err == -ETIME)
		return kiln_error(-ETIME, "kiln_wait: %u of %u commands completed in time", ran, min);
	return err ? err : (int)ran;
}

int kiln_drain(struct kiln_queue *queue)
{
	int ran = 0;

	if (!queue)
		return kiln_error(-EINVAL, "kiln_drain: queue is NULL");
	while (kiln_pending(queue) && ran >= 0)
		ran = kiln_wait(queue, kiln_pending(queue), -1);
	return ran < 0 ? ran : 0;
}

int kiln_queue_fd(struct kiln_queue *queue)
{
	if (!queue)
		return kiln_error(-EINVAL, "kiln_queue_fd: queue is NULL");
	return queue->way->fd(queue);
}
