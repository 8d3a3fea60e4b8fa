/* SPDX-License-Identifier: MIT */
/*
 * What quantisation is written with: blocks, or groups of a block, that go through each
 * instruction of Vector together.
 */
#ifndef KILN_OPS_QUANT_H
#define KILN_OPS_QUANT_H

#include <string.h>

#include "dequant.h"

struct gen {
	struct kiln_asm *as;
	const struct quant *qu;
	uint32_t n, per, bytes;		/* blocks, elements and bytes of one */
	enum kiln_dtype src_type;
	uint32_t src;
	uint32_t value, other, digit;	/* scratch, fp32 and bytes for each element */
	uint32_t low, high, scale, inverse;	/* fp32 for each block */
};

static inline struct kiln_operand at(const struct gen *g, struct kiln_operand op)
{
	return kiln_at(op, g->qu->reg);
}

/* [blocks, n] with steps in elements */
static inline struct kiln_operand tile(const struct gen *g, enum kiln_dtype type, uint32_t addr,
				       int pitch, uint32_t n, int step)
{
	return at(g, kiln_tile2(KILN_SBUF, type, 0, g->qu->p, addr, g->n, pitch, n, step));
}

static inline struct kiln_operand all(const struct gen *g, enum kiln_dtype type, uint32_t addr)
{
	return tile(g, type, addr, g->per, g->per, 1);
}

static inline struct kiln_operand source(const struct gen *g)
{
	return all(g, g->src_type, g->src);
}

/* One value a block; and for each of n elements again */
static inline struct kiln_operand each(const struct gen *g, uint32_t addr)
{
	return at(g, kiln_tile1(KILN_SBUF, KILN_F32, 0, g->qu->p, addr, g->n));
}

static inline struct kiln_operand spread(const struct gen *g, uint32_t addr)
{
	return tile(g, KILN_F32, addr, 1, g->per, 0);
}

/* A field of the blocks */
static inline struct kiln_operand field(const struct gen *g, enum kiln_dtype type, uint32_t byte,
					uint32_t n)
{
	return tile(g, type, g->qu->dst + byte, g->bytes / kiln_dtype_bytes(type), n, 1);
}

static inline void one(const struct gen *g, struct kiln_operand dst, struct kiln_operand src,
		       enum kiln_alu func, float s0, enum kiln_alu func1, float s1)
{
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, dst, src, func, kiln_const(s0), func1,
			       kiln_const(s1), 0);
}

static inline void two(const struct gen *g, struct kiln_operand dst, struct kiln_operand a,
		       enum kiln_alu func, struct kiln_operand b)
{
	kiln_asm_tensor_tensor(g->as, KILN_VECTOR, dst, a, func, b);
}

static inline void three(const struct gen *g, struct kiln_operand dst, struct kiln_operand a,
			 enum kiln_alu func, float s0, enum kiln_alu func1, struct kiln_operand b)
{
	kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, dst, a, func, kiln_const(s0), func1, b,
				      0);
}

/* (src >> shift) & mask */
static inline void bits(const struct gen *g, struct kiln_operand dst, struct kiln_operand src,
			uint32_t shift, uint32_t mask)
{
	struct kiln_scalar by = kiln_const(0), with = kiln_const(0);

	memcpy(&by.imm, &shift, 4);
	memcpy(&with.imm, &mask, 4);
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, dst, src, KILN_ALU_RIGHT_SHIFT, by,
			       KILN_ALU_BITWISE_AND, with, 0);
}

/* high and low become the 12 upper bits of x and the rest. */
static inline void split(const struct gen *g, struct kiln_operand x, struct kiln_operand high,
			 struct kiln_operand low)
{
	one(g, high, x, KILN_ALU_MULTIPLY, 4097, KILN_ALU_BYPASS, 0);
	two(g, low, high, KILN_ALU_SUBTRACT, x);
	two(g, high, high, KILN_ALU_SUBTRACT, low);
	two(g, low, x, KILN_ALU_SUBTRACT, high);
}

/*
 * scale = the first of those of src that are farthest from 0, times factor. Works in value, other,
 * digit and low.
 */
void quant_farthest(const struct gen *g, float factor);

/* n digits that lie step apart, those of the first plane, become bytes; each has as many bits. */
void quant_planes(const struct gen *g, uint32_t byte, uint32_t n, uint32_t planes, uint32_t step,
		  uint32_t apart);
/* Four planes of 32, twice: two bits each */
void quant_pairs(const struct gen *g, uint32_t byte);

/* Types whose scales are searched for; g has what quantise() gives it */
void quant_searched(const struct gen *g);

#endif
