/* SPDX-License-Identifier: MIT */
/*
 * A program written as one sequence: each instruction runs after the one before, on
 * whichever engine, and after the transfers that were started. For ops in which one
 * engine has nearly all to do.
 */
#ifndef KILN_OPS_SEQ_H
#define KILN_OPS_SEQ_H

#include "stream.h"

#define SEQ_SEM_DMA	32
#define SEQ_SEM_HAND	40	/* + 5 * from + to */

struct seq {
	struct kiln_asm *as;
	enum kiln_engine now;
	unsigned int transfers;		/* that nobody has waited for; started by Sync */
};

static inline struct seq seq_start(struct kiln_asm *as)
{
	return (struct seq) { .as = as, .now = KILN_SYNC };
}

/* Sync goes on when what it started is complete; nobody else waits for transfers. */
static inline void seq_arrived(struct seq *s)
{
	while (s->transfers) {	/* a wait is for up to 255 */
		unsigned int some = kiln_min(s->transfers, (unsigned int)UINT8_MAX);

		kiln_asm_wait(s->as, KILN_SYNC, SEQ_SEM_DMA, some);
		kiln_asm_nop(s->as, KILN_SYNC);
		s->transfers -= some;
	}
}

/* What follows runs on this engine. */
static inline void seq_on(struct seq *s, enum kiln_engine e)
{
	unsigned int sem = SEQ_SEM_HAND + KILN_ENGINES * s->now + e;

	if (s->now == e)
		return;
	/* In this turn of a loop, Sync may have nothing yet that could post. */
	if (s->now == KILN_SYNC && s->transfers)
		seq_arrived(s);
	else if (s->now == KILN_SYNC)
		kiln_asm_nop(s->as, KILN_SYNC);
	kiln_asm_post(s->as, s->now, sem, 1);
	kiln_asm_wait(s->as, e, sem, 1);
	s->now = e;
}

static inline void seq_settle(struct seq *s)
{
	seq_on(s, KILN_SYNC);
	seq_arrived(s);
}

/* After a transfer has been written to Sync. */
static inline void seq_started(struct seq *s)
{
	kiln_asm_post(s->as, KILN_SYNC, SEQ_SEM_DMA, 1);
	s->transfers++;
}

static inline void seq_dma(struct seq *s, unsigned int ring, struct kiln_operand dst,
			   struct kiln_operand src)
{
	seq_on(s, KILN_SYNC);
	kiln_asm_dma(s->as, KILN_SYNC, ring, dst, src);
	seq_started(s);
}

static inline void seq_loop(struct seq *s, uint32_t count)
{
	seq_settle(s);
	kiln_asm_loop(s->as, count);
}

static inline void seq_loop_end(struct seq *s)
{
	seq_settle(s);
	kiln_asm_loop_end(s->as);
}

#endif
