// SPDX-License-Identifier: MIT
/*
 * Who gets a core: the context with the least virtual runtime that has a
 * command to start, and of it the queue with the least. Virtual runtime is
 * host time spent on cores, times SHARE / weight.
 *
 * What a command will take is not known when it starts, so its queue's last
 * one stands for it until it retires: otherwise a context could take every
 * core before its first command counts. Who comes back from idleness starts
 * at the floor and gets no credit for having been away.
 */
#include "firmware/firmware.h"

#define SHARE		1024
#define FIRST_GUESS_NS	100000

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void fw_sched_ready(struct kiln_sim *sim, struct fw_queue *q)
{
	struct fw_context *ctx = &sim->context[q->context];
	unsigned int id = fw_queue_id(sim, q);

	if (!ctx->ready) {
		ctx->vruntime = later(ctx->vruntime, sim->context_floor);
		sim->ready_contexts[q->context / 64] |= 1ull << q->context % 64;
	} else {
		sim->queue[ctx->ready].prev = id;
	}
	q->vruntime = later(q->vruntime, ctx->queue_floor);
	q->next = ctx->ready;
	q->prev = 0;
	ctx->ready = id;
}

void fw_sched_unready(struct kiln_sim *sim, struct fw_queue *q)
{
	struct fw_context *ctx = &sim->context[q->context];

	if (q->prev)
		sim->queue[q->prev].next = q->next;
	else
		ctx->ready = q->next;
	if (q->next)
		sim->queue[q->next].prev = q->prev;
	if (!ctx->ready)
		sim->ready_contexts[q->context / 64] &= ~(1ull << q->context % 64);
}

/* The queue whose command shall start next; it stays READY. */
struct fw_queue *fw_sched_pick(struct kiln_sim *sim)
{
	struct fw_context *ctx = NULL;
	struct fw_queue *best;

	for (unsigned int word = 0; word < KILN_MAX_CONTEXTS / 64; word++) {
		for (uint64_t bits = sim->ready_contexts[word]; bits; bits &= bits - 1) {
			struct fw_context *c = &sim->context[word * 64 +
							     __builtin_ctzll(bits)];

			if (!c->suspended && (!ctx || c->vruntime < ctx->vruntime))
				ctx = c;
		}
	}
	if (!ctx)
		return NULL;
	best = &sim->queue[ctx->ready];
	for (unsigned int id = best->next; id; id = sim->queue[id].next) {
		struct fw_queue *q = &sim->queue[id];

		if (q->vruntime < best->vruntime ||
		    (q->vruntime == best->vruntime && q < best))
			best = q;
	}
	return best;
}

static void add(struct kiln_sim *sim, struct fw_queue *q, uint64_t ns)
{
	struct fw_context *ctx = &sim->context[q->context];

	ctx->vruntime += ns * SHARE / ctx->weight;
	q->vruntime += ns * SHARE / q->weight;
}

/* A command of q starts. Returns the estimate that fw_sched_settle() takes back. */
uint64_t fw_sched_charge(struct kiln_sim *sim, struct fw_queue *q)
{
	struct fw_context *ctx = &sim->context[q->context];
	uint64_t ns = q->last_ns ? q->last_ns : FIRST_GUESS_NS;

	sim->context_floor = later(sim->context_floor, ctx->vruntime);
	ctx->queue_floor = later(ctx->queue_floor, q->vruntime);
	add(sim, q, ns);
	return ns;
}

void fw_sched_settle(struct kiln_sim *sim, struct fw_queue *q,
		     uint64_t charged, uint64_t took)
{
	/* unsigned arithmetic wraps back: the charge stands in the sum */
	add(sim, q, took);
	sim->context[q->context].vruntime -= charged * SHARE /
					     sim->context[q->context].weight;
	q->vruntime -= charged * SHARE / q->weight;
	q->last_ns = took ? took : 1;
}
