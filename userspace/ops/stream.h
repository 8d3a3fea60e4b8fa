/* SPDX-License-Identifier: MIT */
/*
 * What the ops that stream tensors through SBUF share: slots that are taken in
 * turn, and the types of their elements.
 */
#ifndef KILN_OPS_STREAM_H
#define KILN_OPS_STREAM_H

#include "ops.h"

#define PART	128

/* Slots taken in turn: one engine's address of the next. */
struct turn {
	unsigned int reg, end;
	uint32_t start, bytes;
};

static inline void turn_init(struct kiln_asm *as, enum kiln_engine e, struct turn *t,
			     uint32_t start, uint32_t bytes, unsigned int slots)
{
	t->start = start;
	t->bytes = bytes;
	t->reg = kiln_asm_reg(as, e);
	t->end = kiln_asm_reg(as, e);
	kiln_asm_movi(as, e, t->reg, start);
	kiln_asm_movi(as, e, t->end, start + slots * bytes);
}

static inline void turn_next(struct kiln_asm *as, enum kiln_engine e, struct turn *t)
{
	kiln_asm_addi(as, e, t->reg, t->reg, t->bytes);
	kiln_asm_blt(as, e, t->reg, t->end, kiln_asm_count(as, e) + 2);
	kiln_asm_movi(as, e, t->reg, t->start);
}

static inline void post_free(struct kiln_asm *as, enum kiln_engine e, unsigned int sem,
			     unsigned int slots)
{
	kiln_asm_nop(as, e);
	kiln_asm_post(as, e, sem, slots);
}

static inline void bump(struct kiln_asm *as, enum kiln_engine e, unsigned int reg, int64_t by)
{
	if (by)
		kiln_asm_addi(as, e, reg, reg, by);
}

static inline struct kiln_operand sbuf(uint32_t partitions, enum kiln_dtype type, uint32_t addr,
				       uint32_t n)
{
	return kiln_tile1(KILN_SBUF, type, 0, partitions, addr, n);
}

static inline struct kiln_operand slot(const struct turn *t, enum kiln_dtype type,
				       uint32_t partitions, uint32_t n)
{
	return kiln_at(kiln_tile1(KILN_SBUF, type, 0, partitions, 0, n), t->reg);
}

static inline uint32_t take(uint32_t *top, uint32_t bytes)
{
	uint32_t at = *top;

	*top += KILN_ALIGN_UP(bytes, 64u);
	return at;
}

/* Sync: rows of device memory, step elements apart, by the u32s at index, into dst. */
static inline void gather_rows(struct kiln_asm *as, unsigned int ring, struct kiln_operand dst,
			       unsigned int base, uint32_t step, unsigned int index,
			       unsigned int limit)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_DMA_GATHER, .func = ring, .func1 = limit, .dst = dst,
		.src = { kiln_dram(base, 0, step, 1), kiln_dram(index, 0, 1, 0) },
	};

	insn.src[0].dtype = dst.dtype;
	insn.src[1].dtype = KILN_U32;
	kiln_asm_insn(as, KILN_SYNC, &insn);
}

#endif
