// SPDX-License-Identifier: MIT
/*
 * A queue's submission ring, completion ring and control block in host memory.
 * The guest can write all of them at any time, and the memory can vanish.
 */
#include <string.h>

#include "firmware/firmware.h"

#define CTL(q, field) ((q)->ctl + offsetof(struct kiln_ring_ctl, field))

static bool load32(struct kiln_sim *sim, uint64_t addr, uint32_t *value)
{
	return sim->memory.host->load32(sim->memory.opaque, addr, value);
}

static bool store32(struct kiln_sim *sim, uint64_t addr, uint32_t value)
{
	return sim->memory.host->store32(sim->memory.opaque, addr, value);
}

/* Stop looking at this queue. The admin queue's end is the firmware's. */
void fw_ring_broken(struct kiln_sim *sim, struct fw_queue *q, const char *why)
{
	if (q->state == FW_QUEUE_BROKEN)
		return;
	fw_log(sim, KILN_SIM_LOG_GUEST_ERROR, "queue %u: %s",
	       fw_queue_id(sim, q), why);
	/* a command on a core still has to come back */
	if (q->state != FW_QUEUE_RUNNING)
		fw_queue_set_state(sim, q, FW_QUEUE_BROKEN);
	q->broken = true;
	if (q == &sim->queue[0])
		fw_crash(sim, KILN_BOOT_CRASHED, "admin queue: %s", why);
}

/* The device's half of the control block at the start. */
bool fw_ring_reset(struct kiln_sim *sim, struct fw_queue *q)
{
	uint32_t tail;

	return load32(sim, CTL(q, sq_tail), &tail) &&
	       store32(sim, CTL(q, sq_head), 0) &&
	       store32(sim, CTL(q, cq_tail), 0) &&
	       store32(sim, CTL(q, sq_event), 0);
}

bool fw_ring_tail(struct kiln_sim *sim, struct fw_queue *q, uint32_t *tail)
{
	if (!load32(sim, CTL(q, sq_tail), tail)) {
		fw_ring_broken(sim, q, "control block does not answer");
		return false;
	}
	if ((uint32_t)(*tail - q->sq_fetched) > 1u << q->log2) {
		fw_ring_broken(sim, q, "sq_tail is more than a ring ahead");
		return false;
	}
	return true;
}

/* The next count entries from index on, as many of them as stand in one piece. */
static uint32_t read_entries(struct kiln_sim *sim, struct fw_queue *q,
			     uint32_t index, uint32_t count, struct kiln_cmd *cmds)
{
	uint32_t entries = 1u << q->log2;
	uint32_t offset = index & (entries - 1);

	if (count > entries - offset)
		count = entries - offset;
	if (!sim->memory.host->dma_read(sim->memory.opaque,
					q->sq + offset * sizeof(*cmds), cmds,
					count * sizeof(*cmds))) {
		fw_ring_broken(sim, q, "submission ring does not answer");
		return 0;
	}
	return count;
}

static bool test_and_clear_cancelled(struct fw_queue *q, uint32_t index)
{
	uint32_t slot = index & ((1u << q->log2) - 1);
	uint64_t mask = 1ull << slot % 64;

	if (!(q->cancelled[slot / 64] & mask))
		return false;
	q->cancelled[slot / 64] &= ~mask;
	return true;
}

/* Copy out as many entries as there are and fetched[] has room for. */
bool fw_ring_fill(struct kiln_sim *sim, struct fw_queue *q)
{
	uint32_t used = q->sq_next - q->sq_base;
	uint32_t have = q->sq_fetched - q->sq_next;
	uint32_t first = q->sq_fetched, tail;

	if (q->dying)
		tail = q->flush_to;	/* what came later does not count */
	else if (!fw_ring_tail(sim, q, &tail))
		return false;
	if (tail == first)
		return true;

	memmove(q->fetched, q->fetched + used, have * sizeof(*q->fetched));
	q->taken = used < 64 ? q->taken >> used : 0;
	q->aborted = used < 64 ? q->aborted >> used : 0;
	q->sq_base = q->sq_next;

	while (q->sq_fetched != tail && have < FW_FETCH) {
		uint32_t count = tail - q->sq_fetched;

		if (count > FW_FETCH - have)
			count = FW_FETCH - have;
		count = read_entries(sim, q, q->sq_fetched, count, q->fetched + have);
		if (!count)
			return false;
		have += count;
		q->sq_fetched += count;
	}
	for (uint32_t i = first; i != q->sq_fetched; i++)
		if (test_and_clear_cancelled(q, i))
			q->aborted |= fw_ring_bit(q, i);
	if (!store32(sim, CTL(q, sq_head), q->sq_fetched)) {
		fw_ring_broken(sim, q, "control block does not answer");
		return false;
	}
	return true;
}

/* Is there a next entry? Copies entries out if none is left in fetched[]. */
bool fw_ring_fetch(struct kiln_sim *sim, struct fw_queue *q)
{
	return q->sq_fetched != q->sq_next ||
	       (fw_ring_fill(sim, q) && q->sq_fetched != q->sq_next);
}

/* Where is the entry with this cookie, among those that have not had their turn? */
bool fw_ring_find(struct kiln_sim *sim, struct fw_queue *q, uint64_t cookie,
		  uint32_t *index)
{
	struct kiln_cmd cmds[FW_FETCH];
	uint32_t tail, count;

	for (*index = q->sq_next; *index != q->sq_fetched; ++*index)
		if (q->fetched[*index - q->sq_base].cookie == cookie)
			return true;
	if (!fw_ring_tail(sim, q, &tail))
		return false;
	for (; *index != tail; *index += count) {
		count = tail - *index;
		if (count > FW_FETCH)
			count = FW_FETCH;
		count = read_entries(sim, q, *index, count, cmds);
		if (!count)
			return false;
		for (uint32_t i = 0; i < count; i++) {
			if (cmds[i].cookie == cookie) {
				*index += i;
				return true;
			}
		}
	}
	return false;
}

/*
 * The queue is empty: ask for a doorbell, then look once more, since an entry
 * may have come before the driver could see that we ask. True in *more if so.
 */
bool fw_ring_arm(struct kiln_sim *sim, struct fw_queue *q, bool *more)
{
	uint32_t tail;

	*more = false;
	if (!store32(sim, CTL(q, sq_event), q->sq_next)) {
		fw_ring_broken(sim, q, "control block does not answer");
		return false;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!fw_ring_tail(sim, q, &tail))
		return false;
	*more = tail != q->sq_next;
	return true;
}

/* What kiln_sim_inject() wants of this completion. Its cookie and index are what it breaks. */
static bool inject(struct kiln_sim *sim, struct fw_queue *q, enum kiln_sim_fault fault)
{
	if (q == &sim->queue[0] || !(sim->inject & 1u << fault))
		return false;
	sim->inject &= ~(1u << fault);
	return true;
}

/* How many more completions fit. */
uint32_t fw_ring_room(struct kiln_sim *sim, struct fw_queue *q)
{
	uint32_t entries = 1u << q->log2;
	uint32_t used = q->cq_tail - q->cq_head;

	if (used < entries / 2)
		return entries - used;
	if (!load32(sim, CTL(q, cq_head), &q->cq_head)) {
		fw_ring_broken(sim, q, "control block does not answer");
		return 0;
	}
	used = q->cq_tail - q->cq_head;
	if (used > entries) {
		fw_ring_broken(sim, q, "cq_head is not behind cq_tail");
		return 0;
	}
	return entries - used;
}

/*
 * A completion for which there is room, to be written with others by
 * fw_ring_complete_flush() before anybody looks at another queue.
 */
void fw_ring_complete_later(struct kiln_sim *sim, struct fw_queue *q,
			    const struct kiln_completion *completion)
{
	struct kiln_completion *record = &sim->done[sim->done_count];

	if (q->broken)
		return;
	sim->done_count++;
	*record = *completion;
	q->cq_tail++;
	if (inject(sim, q, KILN_SIM_FAULT_COOKIE))
		record->cookie = ~record->cookie;
	if (sim->done_count == FW_DONE)
		fw_ring_complete_flush(sim, q);
}

/* Write the records, then the index that says so, then see whether an interrupt is wanted. */
void fw_ring_complete_flush(struct kiln_sim *sim, struct fw_queue *q)
{
	uint32_t entries = 1u << q->log2, count = sim->done_count;
	uint32_t first = q->cq_tail - count, offset = first & (entries - 1);
	uint32_t piece = count < entries - offset ? count : entries - offset;
	size_t size = sizeof(*sim->done);
	uint32_t event;

	sim->done_count = 0;
	if (!count)
		return;
	if (!sim->memory.host->dma_write(sim->memory.opaque, q->cq + offset * size,
					 sim->done, piece * size) ||
	    (piece < count &&
	     !sim->memory.host->dma_write(sim->memory.opaque, q->cq,
					  sim->done + piece, (count - piece) * size))) {
		fw_ring_broken(sim, q, "completion ring does not answer");
		return;
	}
	if (inject(sim, q, KILN_SIM_FAULT_INDEX))
		q->cq_tail ^= 1u << 31;
	if (!store32(sim, CTL(q, cq_tail), q->cq_tail)) {
		fw_ring_broken(sim, q, "control block does not answer");
		return;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!load32(sim, CTL(q, cq_event), &event)) {
		fw_ring_broken(sim, q, "control block does not answer");
		return;
	}
	if (kiln_event_crossed(event, q->cq_tail, first)) {
		sim->interrupts++;
		sim->memory.host->interrupt(sim->memory.opaque, q->vector);
	}
}

void fw_ring_complete(struct kiln_sim *sim, struct fw_queue *q,
		      const struct kiln_completion *completion)
{
	fw_ring_complete_later(sim, q, completion);
	fw_ring_complete_flush(sim, q);
}
