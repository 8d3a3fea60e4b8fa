// SPDX-License-Identifier: MIT
/*
 * Who gets a core. First the context whose promised minimum share is due for
 * longest, if there is one; else, of the highest priority that wants a core,
 * the context with the least virtual runtime; and of it the queue with the
 * least. Virtual runtime is device time, in cycles, times SHARE / weight, so
 * the host's speed has no part in it.
 *
 * What a command will take is not known when it starts, so its queue's last
 * one stands for it until it retires: otherwise a context could take every
 * core before its first command counts. Who comes back from idleness starts
 * at the floor and gets no credit for having been away.
 *
 * A promise is kept by a clock of its own: sim->spent is what the card has
 * given to everybody, and a context with min_share m that is served at its due
 * time for c cycles is due again c * 1000 / m later. Only what it gets this way
 * moves the clock, so time that others have lent it is not held against it. It
 * counts in its virtual runtime, too, so that promise and weight do not add up;
 * but two commands ahead of the others is as far as a promise takes it.
 */
#include "firmware/firmware.h"

#define SHARE		1024
#define FIRST_GUESS	100000
/* No command is free; and one that stops its context keeps the firmware busy, too. */
#define LEAST_CYCLES	64
#define FAULT_CYCLES	100000

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* To the back of the line, for who has not been in it. */
static void join(struct kiln_sim *sim, struct fw_context *ctx)
{
	ctx->vruntime = later(ctx->vruntime, sim->floor[ctx->priority]);
	ctx->due = later(ctx->due, sim->spent);
}

/* CTX_CREATE and CTX_SHARE: all of it, or nothing. */
enum kiln_status fw_sched_share(struct kiln_sim *sim, struct fw_context *ctx,
				const struct kiln_cmd *cmd)
{
	uint32_t others = sim->promised - ctx->min_share;
	uint64_t floor = sim->floor[ctx->priority], ahead = 0;

	if (!cmd->ctx.weight || cmd->ctx.weight > KILN_WEIGHT_MAX ||
	    cmd->ctx.priority >= KILN_PRIORITIES ||
	    cmd->ctx.min_share > KILN_MIN_SHARE_SUM)
		return KILN_ST_BAD_COMMAND;
	if (cmd->ctx.min_share > KILN_MIN_SHARE_SUM - others)
		return KILN_ST_NO_SPACE;

	/*
	 * What it has had more than others stays its debt, or a context would
	 * get rid of it by a change and back.
	 */
	if (ctx->vruntime > floor)
		ahead = (ctx->vruntime - floor) * ctx->weight / cmd->ctx.weight;
	sim->promised = others + cmd->ctx.min_share;
	ctx->weight = cmd->ctx.weight;
	ctx->priority = cmd->ctx.priority;
	ctx->min_share = cmd->ctx.min_share;
	ctx->vruntime = sim->floor[ctx->priority] + ahead;
	ctx->due = sim->spent;
	return KILN_ST_OK;
}

void fw_sched_forget(struct kiln_sim *sim, struct fw_context *ctx)
{
	sim->promised -= ctx->min_share;
}

/* Suspended, it stood in the line without moving. */
void fw_sched_resume(struct kiln_sim *sim, struct fw_context *ctx)
{
	join(sim, ctx);
}

void fw_sched_ready(struct kiln_sim *sim, struct fw_queue *q)
{
	struct fw_context *ctx = &sim->context[q->context];
	unsigned int id = fw_queue_id(sim, q);

	/* a command that has just ended leaves no gap before the next */
	if (q->away) {
		q->vruntime = later(q->vruntime, ctx->queue_floor);
		if (!ctx->ready && !ctx->running)
			join(sim, ctx);
	}
	if (!ctx->ready)
		sim->ready_contexts[q->context / 64] |= 1ull << q->context % 64;
	else
		sim->queue[ctx->ready].prev = id;
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

/* Has it had less than it was promised? */
static bool is_due(struct kiln_sim *sim, const struct fw_context *ctx)
{
	return ctx->min_share && ctx->due <= sim->spent;
}

static unsigned int rank(const struct fw_context *ctx)
{
	static const uint8_t ranks[KILN_PRIORITIES] = {
		[KILN_PRIORITY_LOW] = 0,
		[KILN_PRIORITY_NORMAL] = 1,
		[KILN_PRIORITY_HIGH] = 2,
	};

	return ranks[ctx->priority];
}

/* Does a come before b? */
static bool comes_before(struct kiln_sim *sim, const struct fw_context *a,
			 const struct fw_context *b)
{
	bool a_due = is_due(sim, a), b_due = is_due(sim, b);

	if (a_due != b_due)
		return a_due;
	if (a_due && a->due != b->due)
		return a->due < b->due;
	if (rank(a) != rank(b))
		return rank(a) > rank(b);
	if (a->vruntime != b->vruntime)
		return a->vruntime < b->vruntime;
	return a->turn < b->turn;
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

			if (!c->suspended && (!ctx || comes_before(sim, c, ctx)))
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

/* A command of q starts. */
struct fw_charge fw_sched_charge(struct kiln_sim *sim, struct fw_queue *q)
{
	struct fw_context *ctx = &sim->context[q->context];
	struct fw_charge charge = {
		.cycles = q->last_cycles ? q->last_cycles : FIRST_GUESS,
		.due = is_due(sim, ctx),
	};
	uint64_t weighted = charge.cycles * SHARE / ctx->weight;
	uint64_t *floor = &sim->floor[ctx->priority];

	if (charge.due) {
		ctx->due += charge.cycles * 1000 / ctx->min_share;
		if (ctx->vruntime > *floor + weighted)
			ctx->vruntime = *floor + weighted;
	} else {
		*floor = later(*floor, ctx->vruntime);
	}
	ctx->queue_floor = later(ctx->queue_floor, q->vruntime);
	ctx->vruntime += weighted;
	q->vruntime += charge.cycles * SHARE / q->weight;
	ctx->turn = ++sim->turns;
	sim->spent += charge.cycles;
	return charge;
}

/* After a change of shares the charge may not be in the sum any more. */
static uint64_t instead(uint64_t sum, uint64_t charged, uint64_t took)
{
	return sum + took > charged ? sum + took - charged : 0;
}

/* It has ended: what it took instead of what it was thought to take. */
void fw_sched_settle(struct kiln_sim *sim, struct fw_queue *q,
		     const struct fw_charge *charge, uint64_t cycles, bool fault)
{
	struct fw_context *ctx = &sim->context[q->context];

	cycles = later(cycles, fault ? FAULT_CYCLES : LEAST_CYCLES);
	q->last_cycles = cycles;
	q->vruntime = instead(q->vruntime, charge->cycles * SHARE / q->weight,
			      cycles * SHARE / q->weight);
	ctx->vruntime = instead(ctx->vruntime, charge->cycles * SHARE / ctx->weight,
				cycles * SHARE / ctx->weight);
	if (charge->due && ctx->min_share)
		ctx->due = instead(ctx->due, charge->cycles * 1000 / ctx->min_share,
				   cycles * 1000 / ctx->min_share);
	sim->spent = instead(sim->spent, charge->cycles, cycles);
}
