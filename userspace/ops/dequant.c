// SPDX-License-Identifier: MIT
/*
 * The quantised types of ggml, expanded by Vector: fields of bits become bytes, bytes
 * times the block's scale become elements. All blocks of a tile go through each
 * instruction together.
 *
 * What lies where in a block (fp16 d and m, dmin; q, low bits; h, high bits; s, scales):
 *
 *	Q8_0	d, 32 int8
 *	Q4_0	d, q[16]: the low halves are elements 0 to 15, the high ones 16 to 31
 *	Q4_1	d, m, q[16]
 *	Q5_0	d, h[4]: bit i is the fifth of element i, q[16]
 *	Q5_1	d, m, h[4], q[16]
 *	IQ4_NL	as Q4_0, halves are places in a table
 *	MXFP4	exponent, q[16]: as Q4_0, halves are fp4 (1 sign, 2 exponent, 1 fraction)
 *	Q2_K	s[16]: scale, minimum; q[64], d, dmin
 *	Q3_K	h[32], q[64], s[12], d
 *	Q4_K	d, dmin, s[12], q[128]
 *	Q5_K	d, dmin, s[12], h[32], q[128]
 *	Q6_K	q[128], h[64], int8 s[16], d
 *	IQ4_XS	d, upper two bits of eight scales, s[4]: lower four; q[128] as IQ4_NL
 *	TQ1_0	q[48], q[4], d: bytes of base 3, the first digit being the upper one
 *	TQ2_0	q[64], d
 *	Q1_0	d, q[16]: 128 signs
 *	Q2_0	d, q[16]: 64 times two bits
 *	NVFP4	s[4]: fp8 for 16 elements each; q[32]: 8 low halves, 8 high ones
 *
 * and, where q is places in a table of eight (IQ3: four) values, h their upper bits, g signs:
 *
 *	IQ2_XXS	d, 8 times: q[4], 4 times seven bits of g, scale
 *	IQ2_XS	d, q[32] of nine bits with seven of g, s[8]
 *	IQ2_S	d, q[32], g[32], h[8], s[8]
 *	IQ3_XXS	d, q[64], 8 times: 4 times seven bits of g, scale
 *	IQ3_S	d, q[64], h[8], g[32], s[4]
 *	IQ1_S	d, q[32], h[8] of 4 times three bits, scale, sign of what is added
 *	IQ1_M	q[32], h[16]: two times three bits, sign; s[8]: scales of three bits, d in the upper ones
 */
#include <string.h>

#include "dequant.h"

struct kiln_block kiln_type_block(enum kiln_type type)
{
	static const struct kiln_block block[] = {
		[KILN_TYPE_Q4_0] = { 32, 18 }, [KILN_TYPE_Q4_1] = { 32, 20 },
		[KILN_TYPE_Q5_0] = { 32, 22 }, [KILN_TYPE_Q5_1] = { 32, 24 },
		[KILN_TYPE_Q8_0] = { 32, 34 }, [KILN_TYPE_IQ4_NL] = { 32, 18 },
		[KILN_TYPE_MXFP4] = { 32, 17 }, [KILN_TYPE_Q2_K] = { 256, 84 },
		[KILN_TYPE_Q3_K] = { 256, 110 }, [KILN_TYPE_Q4_K] = { 256, 144 },
		[KILN_TYPE_Q5_K] = { 256, 176 }, [KILN_TYPE_Q6_K] = { 256, 210 },
		[KILN_TYPE_IQ4_XS] = { 256, 136 }, [KILN_TYPE_TQ1_0] = { 256, 54 },
		[KILN_TYPE_TQ2_0] = { 256, 66 }, [KILN_TYPE_Q1_0] = { 128, 18 },
		[KILN_TYPE_Q2_0] = { 64, 18 }, [KILN_TYPE_NVFP4] = { 64, 36 },
		[KILN_TYPE_IQ2_XXS] = { 256, 66 }, [KILN_TYPE_IQ2_XS] = { 256, 74 },
		[KILN_TYPE_IQ2_S] = { 256, 82 }, [KILN_TYPE_IQ3_XXS] = { 256, 98 },
		[KILN_TYPE_IQ3_S] = { 256, 110 }, [KILN_TYPE_IQ1_S] = { 256, 50 },
		[KILN_TYPE_IQ1_M] = { 256, 56 },
	};

	return quantised(type) ? block[type] : (struct kiln_block) { 1, type_size(type) };
}

struct gen {
	struct kiln_asm *as;
	const struct dequant *dq;
	uint32_t n, bytes;		/* blocks, bytes of one */
	uint32_t elements;
	uint32_t value, bit, wide, scale;	/* scratch: bytes, bytes, fp32; scales */
};

/* [blocks, n1, n2] of src, step bytes from block to block */
static struct kiln_operand field(const struct gen *g, uint32_t at, uint32_t n1, int s1,
				 uint32_t n2, int s2)
{
	return kiln_at(kiln_tile3(KILN_SBUF, KILN_U8, 0, g->dq->p, g->dq->src + at, g->n, g->bytes,
				  n1, s1, n2, s2), g->dq->reg);
}

/* The same of scratch, where a block has pitch bytes */
static struct kiln_operand bytes(const struct gen *g, uint32_t at, int pitch, uint32_t n1, int s1,
				 uint32_t n2, int s2)
{
	return kiln_at(kiln_tile3(KILN_SBUF, KILN_U8, 0, g->dq->p, at, g->n, pitch, n1, s1, n2, s2),
		       g->dq->reg);
}

/* A fp16 of each block, for n elements of it */
static struct kiln_operand half(const struct gen *g, uint32_t at, uint32_t n)
{
	return kiln_at(kiln_tile2(KILN_SBUF, KILN_F16, 0, g->dq->p, g->dq->src + at, g->n,
				  g->bytes / 2, n, 0), g->dq->reg);
}

/* All elements, in order */
static struct kiln_operand all(const struct gen *g, enum kiln_dtype type, uint32_t at)
{
	return kiln_at(kiln_tile1(KILN_SBUF, type, 0, g->dq->p, at, g->n * g->elements),
		       g->dq->reg);
}

static struct kiln_operand out(const struct gen *g)
{
	return all(g, g->dq->dst_type, g->dq->dst);
}

/* (src >> shift) & mask */
static void bits(const struct gen *g, struct kiln_operand dst, struct kiln_operand src,
		 uint32_t shift, uint32_t mask)
{
	struct kiln_scalar by = kiln_const(0), with = kiln_const(0);

	/* The bits of the constant count. */
	memcpy(&by.imm, &shift, 4);
	memcpy(&with.imm, &mask, 4);
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, dst, src, KILN_ALU_RIGHT_SHIFT, by,
			       KILN_ALU_BITWISE_AND, with, 0);
}

/* (src << shift) & mask */
static void shifted(const struct gen *g, struct kiln_operand dst, struct kiln_operand src,
		    uint32_t shift, uint32_t mask)
{
	struct kiln_scalar by = kiln_const(0), with = kiln_const(0);

	memcpy(&by.imm, &shift, 4);
	memcpy(&with.imm, &mask, 4);
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, dst, src, KILN_ALU_LEFT_SHIFT, by,
			       KILN_ALU_BITWISE_AND, with, 0);
}

/* dst = a func b */
static void two(const struct gen *g, struct kiln_operand dst, struct kiln_operand a,
		enum kiln_alu func, struct kiln_operand b)
{
	kiln_asm_tensor_tensor(g->as, KILN_VECTOR, dst, a, func, b);
}

/* dst = (a func s0) func1 b */
static void three(const struct gen *g, struct kiln_operand dst, struct kiln_operand a,
		  enum kiln_alu func, float s0, enum kiln_alu func1, struct kiln_operand b)
{
	kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, dst, a, func, kiln_const(s0), func1, b,
				      0);
}

/* dst = (src func s0) func1 s1 */
static void one(const struct gen *g, struct kiln_operand dst, struct kiln_operand src,
		enum kiln_alu func, float s0, enum kiln_alu func1, float s1)
{
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, dst, src, func, kiln_const(s0), func1,
			       kiln_const(s1), 0);
}

/* ------------------------------------------------------- blocks of 32 -- */

/* Halves of 16 bytes at q: the low ones, then the high ones. */
static void halves(const struct gen *g, uint32_t q)
{
	bits(g, bytes(g, g->value, 32, 1, 1, 16, 1), field(g, q, 1, 1, 16, 1), 0, 15);
	bits(g, bytes(g, g->value + 16, 32, 1, 1, 16, 1), field(g, q, 1, 1, 16, 1), 4, 15);
}

/* 16 times the bits of four bytes at h are added to value. */
static void fifth_bits(const struct gen *g, uint32_t h)
{
	uint32_t i;

	for (i = 0; i < 8; i++)
		bits(g, bytes(g, g->bit + i, 32, 1, 1, 4, 8), field(g, h, 1, 1, 4, 1), i, 1);
	three(g, all(g, KILN_U8, g->value), all(g, KILN_U8, g->bit), KILN_ALU_MULTIPLY, 16,
	      KILN_ALU_ADD, all(g, KILN_U8, g->value));
}

/* (value - zero) * d */
static void scaled(const struct gen *g, float zero)
{
	three(g, out(g), all(g, KILN_U8, g->value), KILN_ALU_SUBTRACT, zero, KILN_ALU_MULTIPLY,
	      half(g, 0, 32));
}

/* value * d + m */
static void scaled_and_moved(const struct gen *g)
{
	two(g, all(g, KILN_F32, g->wide), all(g, KILN_U8, g->value), KILN_ALU_MULTIPLY,
	    half(g, 0, 32));
	two(g, out(g), all(g, KILN_F32, g->wide), KILN_ALU_ADD, half(g, 2, 32));
}

/* value becomes what stands there in the table, as a sum of steps; fp32 */
static void looked_up(const struct gen *g, const int8_t table[16])
{
	struct kiln_operand value = all(g, KILN_U8, g->value), step = all(g, KILN_I16, g->scale);
	struct kiln_operand wide = all(g, KILN_F32, g->wide);
	int i;

	one(g, wide, value, KILN_ALU_MULTIPLY, 0, KILN_ALU_ADD, table[0]);
	for (i = 1; i < 16; i++) {
		one(g, step, value, KILN_ALU_GE, i, KILN_ALU_MULTIPLY, table[i] - table[i - 1]);
		two(g, wide, wide, KILN_ALU_ADD, step);
	}
}

static const int8_t nonlinear[16] = {
	-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

static void iq4_nl(const struct gen *g)
{
	halves(g, 2);
	looked_up(g, nonlinear);
	two(g, out(g), all(g, KILN_F32, g->wide), KILN_ALU_MULTIPLY, half(g, 0, 32));
}

/*
 * Halves that are fp4 as fp16 with the same sign, exponent and fraction: 2^-14 of what they are.
 * They lie in wide.
 */
static struct kiln_operand fp4(const struct gen *g)
{
	struct kiln_operand wide = all(g, KILN_U16, g->wide);
	struct kiln_operand sign = all(g, KILN_U16, g->wide + 2 * g->n * g->elements);

	kiln_asm_tensor_copy(g->as, KILN_VECTOR, wide, all(g, KILN_U8, g->value));
	shifted(g, sign, wide, 12, 0x8000);
	shifted(g, wide, wide, 9, 0xe00);
	two(g, wide, wide, KILN_ALU_BITWISE_OR, sign);
	wide.dtype = KILN_F16;
	return wide;
}

static void mxfp4(const struct gen *g)
{
	struct kiln_operand scale = kiln_at(kiln_tile1(KILN_SBUF, KILN_F32, 0, g->dq->p, g->scale,
						       g->n), g->dq->reg), of_all = scale;

	halves(g, 1);
	/* 2^(exponent - 128), half of the scale */
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, scale, field(g, 0, 1, 1, 1, 1),
			       KILN_ALU_SUBTRACT, kiln_const(128), KILN_ALU_POW, kiln_const(2),
			       KILN_F_REVERSE1);
	of_all = kiln_at(kiln_tile2(KILN_SBUF, KILN_F32, 0, g->dq->p, g->scale, g->n, 1, 32, 0),
			 g->dq->reg);
	three(g, out(g), fp4(g), KILN_ALU_MULTIPLY, 0x1p15f, KILN_ALU_MULTIPLY, of_all);
}

/* ------------------------------------------------------ blocks of 256 -- */

/*
 * Scratch of scales: for each block 16 bytes of scales, as many of minimums, two
 * times as many to work with, then 16 fp32 of each.
 */
enum { SCALES = 0, MINS = 16, WORK = 32, SCALE_BYTES = 64 };

static struct kiln_operand small(const struct gen *g, uint32_t at, uint32_t n)
{
	return bytes(g, g->scale + at, SCALE_BYTES, 1, 1, n, 1);
}

static struct kiln_operand factors(const struct gen *g, uint32_t which, uint32_t n)
{
	return kiln_at(kiln_tile2(KILN_SBUF, KILN_F32, 0, g->dq->p,
				  g->scale + g->n * (SCALE_BYTES + 64 * which), g->n, n, n, 1),
		       g->dq->reg);
}

/* Of the n of each block, for every 256 / n elements again */
static struct kiln_operand factors_of_all(const struct gen *g, uint32_t which, uint32_t n)
{
	return kiln_at(kiln_tile2(KILN_SBUF, KILN_F32, 0, g->dq->p,
				  g->scale + g->n * (SCALE_BYTES + 64 * which), g->n * n, 1,
				  256 / n, 0), g->dq->reg);
}

/* n scales times the fp16 at d */
static void set_factors(const struct gen *g, uint32_t which, struct kiln_operand scales, uint32_t n,
			uint32_t d)
{
	two(g, factors(g, which, n), scales, KILN_ALU_MULTIPLY, half(g, d, n));
}

/* value * scale - minimum, of n each */
static void scaled_less(const struct gen *g, uint32_t n)
{
	struct kiln_operand wide = all(g, KILN_F32, g->wide);

	two(g, wide, all(g, KILN_U8, g->value), KILN_ALU_MULTIPLY, factors_of_all(g, 0, n));
	two(g, out(g), wide, KILN_ALU_SUBTRACT, factors_of_all(g, 1, n));
}

/* 64 bytes of four times two bits: 2 halves of the block, 4 planes, 32 bytes */
static void pairs(const struct gen *g, uint32_t to, uint32_t q)
{
	uint32_t j;

	for (j = 0; j < 4; j++)
		bits(g, bytes(g, to + 32 * j, 256, 2, 128, 32, 1), field(g, q, 2, 32, 32, 1), 2 * j,
		     3);
}

static void q2_k(const struct gen *g)
{
	bits(g, small(g, SCALES, 16), field(g, 0, 1, 1, 16, 1), 0, 15);
	bits(g, small(g, MINS, 16), field(g, 0, 1, 1, 16, 1), 4, 15);
	set_factors(g, 0, small(g, SCALES, 16), 16, 80);
	set_factors(g, 1, small(g, MINS, 16), 16, 82);
	pairs(g, g->value, 16);
	scaled_less(g, 16);
}

static void q3_k(const struct gen *g)
{
	struct kiln_operand value = all(g, KILN_U8, g->value), bit = all(g, KILN_U8, g->bit);
	uint32_t i;

	/* six bits of a scale: four in bytes 0 to 7, twice; two in bytes 8 to 11, four times */
	bits(g, small(g, SCALES, 8), field(g, 96, 1, 1, 8, 1), 0, 15);
	bits(g, small(g, SCALES + 8, 8), field(g, 96, 1, 1, 8, 1), 4, 15);
	for (i = 0; i < 4; i++)
		bits(g, small(g, WORK + 4 * i, 4), field(g, 104, 1, 1, 4, 1), 2 * i, 3);
	three(g, small(g, SCALES, 16), small(g, WORK, 16), KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD,
	      small(g, SCALES, 16));
	three(g, factors(g, 0, 16), small(g, SCALES, 16), KILN_ALU_SUBTRACT, 32, KILN_ALU_MULTIPLY,
	      half(g, 108, 16));
	pairs(g, g->value, 32);
	for (i = 0; i < 8; i++)
		bits(g, bytes(g, g->bit + 32 * i, 256, 1, 1, 32, 1), field(g, 0, 1, 1, 32, 1), i,
		     1);
	three(g, value, bit, KILN_ALU_MULTIPLY, 4, KILN_ALU_ADD, value);
	three(g, out(g), value, KILN_ALU_SUBTRACT, 4, KILN_ALU_MULTIPLY, factors_of_all(g, 0, 16));
}

/*
 * Eight scales and minimums of six bits in twelve bytes at s: the first four of each
 * are bytes 0 to 3 and 4 to 7, whose upper two bits go on top of the halves of
 * bytes 8 to 11, which are the others.
 */
static void packed_scales(const struct gen *g, uint32_t s)
{
	uint32_t which;

	for (which = 0; which < 2; which++) {
		uint32_t to = which ? MINS : SCALES;

		bits(g, small(g, to, 4), field(g, s + 4 * which, 1, 1, 4, 1), 0, 63);
		bits(g, small(g, to + 4, 4), field(g, s + 8, 1, 1, 4, 1), 4 * which, 15);
		bits(g, small(g, WORK, 4), field(g, s + 4 * which, 1, 1, 4, 1), 6, 3);
		three(g, small(g, to + 4, 4), small(g, WORK, 4), KILN_ALU_MULTIPLY, 16,
		      KILN_ALU_ADD,
		      small(g, to + 4, 4));
		set_factors(g, which, small(g, to, 8), 8, 2 * which);
	}
}

/* Four times 32 bytes at q: the low halves are 32 elements, the high ones the next. */
static void alternating_halves(const struct gen *g, uint32_t q)
{
	bits(g, bytes(g, g->value, 256, 4, 64, 32, 1), field(g, q, 4, 32, 32, 1), 0, 15);
	bits(g, bytes(g, g->value + 32, 256, 4, 64, 32, 1), field(g, q, 4, 32, 32, 1), 4, 15);
}

static void q4_k(const struct gen *g)
{
	packed_scales(g, 4);
	alternating_halves(g, 16);
	scaled_less(g, 8);
}

static void q5_k(const struct gen *g)
{
	struct kiln_operand value = all(g, KILN_U8, g->value);
	uint32_t i;

	packed_scales(g, 4);
	alternating_halves(g, 48);
	for (i = 0; i < 8; i++)
		bits(g, bytes(g, g->bit + 32 * i, 256, 1, 1, 32, 1), field(g, 16, 1, 1, 32, 1), i,
		     1);
	three(g, value, all(g, KILN_U8, g->bit), KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD, value);
	scaled_less(g, 8);
}

static void q6_k(const struct gen *g)
{
	struct kiln_operand value = all(g, KILN_U8, g->value), scales = field(g, 192, 1, 1, 16, 1);

	scales.dtype = KILN_I8;
	set_factors(g, 0, scales, 16, 208);
	bits(g, bytes(g, g->value, 256, 2, 128, 64, 1), field(g, 0, 2, 64, 64, 1), 0, 15);
	bits(g, bytes(g, g->value + 64, 256, 2, 128, 64, 1), field(g, 0, 2, 64, 64, 1), 4, 15);
	pairs(g, g->bit, 128);
	three(g, value, all(g, KILN_U8, g->bit), KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD, value);
	three(g, out(g), value, KILN_ALU_SUBTRACT, 32, KILN_ALU_MULTIPLY, factors_of_all(g, 0, 16));
}

static void iq4_xs(const struct gen *g)
{
	uint32_t i;

	bits(g, bytes(g, g->value, 256, 8, 32, 16, 1), field(g, 8, 8, 16, 16, 1), 0, 15);
	bits(g, bytes(g, g->value + 16, 256, 8, 32, 16, 1), field(g, 8, 8, 16, 16, 1), 4, 15);
	looked_up(g, nonlinear);
	for (i = 0; i < 2; i++)
		bits(g, bytes(g, g->scale + SCALES + i, SCALE_BYTES, 1, 1, 4, 2),
		     field(g, 4, 1, 1, 4, 1),
		     4 * i, 15);
	for (i = 0; i < 4; i++)
		bits(g, bytes(g, g->scale + WORK + i, SCALE_BYTES, 1, 1, 2, 4),
		     field(g, 2, 1, 1, 2, 1),
		     2 * i, 3);
	three(g, small(g, SCALES, 8), small(g, WORK, 8), KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD,
	      small(g, SCALES, 8));
	three(g, factors(g, 0, 8), small(g, SCALES, 8), KILN_ALU_SUBTRACT, 32, KILN_ALU_MULTIPLY,
	      half(g, 0, 8));
	two(g, out(g), all(g, KILN_F32, g->wide), KILN_ALU_MULTIPLY, factors_of_all(g, 0, 8));
}

/* ------------------------------------------------------- two bits and less -- */

/* (value - 1) * the fp16 at d, of n elements a block */
static void less_one(const struct gen *g, uint32_t d, uint32_t n)
{
	three(g, out(g), all(g, KILN_U8, g->value), KILN_ALU_SUBTRACT, 1, KILN_ALU_MULTIPLY,
	      half(g, d, n));
}

/*
 * Digits of n bytes at q, planes of them, from element to on: bytes times powers of 3, as 16 bits
 */
static void digits(const struct gen *g, uint32_t to, uint32_t q, uint32_t n, uint32_t planes)
{
	uint32_t i, power = 1;

	for (i = 0; i < planes; i++, power *= 3) {
		struct kiln_operand wide = bytes(g, g->wide, 256, 1, 1, n, 1);

		wide.dtype = KILN_U16;
		wide.addr += 2 * (to + i * n);
		one(g, wide, field(g, q, 1, 1, n, 1), KILN_ALU_MULTIPLY, power, KILN_ALU_BYPASS, 0);
	}
}

static void tq1_0(const struct gen *g)
{
	struct kiln_operand wide = all(g, KILN_U16, g->wide);

	digits(g, 0, 0, 32, 5);
	digits(g, 160, 32, 16, 5);
	digits(g, 240, 48, 4, 4);
	/* what is left of a byte, times 3: the digit is what goes beyond it */
	bits(g, wide, wide, 0, 255);
	one(g, wide, wide, KILN_ALU_MULTIPLY, 3, KILN_ALU_BYPASS, 0);
	bits(g, wide, wide, 8, 255);
	three(g, out(g), wide, KILN_ALU_SUBTRACT, 1, KILN_ALU_MULTIPLY, half(g, 52, 256));
}

static void q1_0(const struct gen *g)
{
	uint32_t i;

	for (i = 0; i < 8; i++)
		bits(g, bytes(g, g->value + i, 128, 1, 1, 16, 8), field(g, 2, 1, 1, 16, 1), i, 1);
	one(g, all(g, KILN_I8, g->bit), all(g, KILN_U8, g->value), KILN_ALU_MULTIPLY, 2,
	    KILN_ALU_SUBTRACT, 1);
	two(g, out(g), all(g, KILN_I8, g->bit), KILN_ALU_MULTIPLY, half(g, 0, 128));
}

static void q2_0(const struct gen *g)
{
	uint32_t i;

	for (i = 0; i < 4; i++)
		bits(g, bytes(g, g->value + i, 64, 1, 1, 16, 4), field(g, 2, 1, 1, 16, 1), 2 * i,
		     3);
	less_one(g, 0, 64);
}

/* The scale's bits, moved to where fp16 has them, are 2^-8 of it; 127 is none, so 0. */
static void nvfp4(const struct gen *g)
{
	const uint32_t scale = g->scale, there = g->scale + 8 * g->n, shift = 7;
	struct kiln_scalar by = kiln_const(0);
	struct kiln_operand s = kiln_at(kiln_tile1(KILN_SBUF, KILN_U16, 0, g->dq->p, scale,
						   4 * g->n),
					g->dq->reg);
	struct kiln_operand t = kiln_at(kiln_tile1(KILN_SBUF, KILN_U16, 0, g->dq->p, there,
						   4 * g->n),
					g->dq->reg);

	bits(g, bytes(g, g->value, 64, 4, 16, 8, 1), field(g, 4, 4, 8, 8, 1), 0, 15);
	bits(g, bytes(g, g->value + 8, 64, 4, 16, 8, 1), field(g, 4, 4, 8, 8, 1), 4, 15);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, s, field(g, 0, 1, 1, 4, 1));
	bits(g, s, s, 0, 127);
	one(g, t, s, KILN_ALU_NE, 127, KILN_ALU_MULTIPLY, 128);
	memcpy(&by.imm, &shift, 4);
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, s, s, KILN_ALU_LEFT_SHIFT, by, KILN_ALU_BYPASS,
			       kiln_const(0), 0);
	s.dtype = KILN_F16;
	two(g, kiln_at(kiln_tile1(KILN_SBUF, KILN_F32, 0, g->dq->p, there + 8 * g->n, 4 * g->n),
		       g->dq->reg), s, KILN_ALU_MULTIPLY, t);
	three(g, out(g), fp4(g), KILN_ALU_MULTIPLY, 0x1p15f, KILN_ALU_MULTIPLY,
	      kiln_at(kiln_tile2(KILN_SBUF, KILN_F32, 0, g->dq->p, there + 8 * g->n, 4 * g->n, 1, 16,
				 0),
		      g->dq->reg));
}

/* ------------------------------------------------------------------- tables -- */

/*
 * Numbers of what is looked up stand in wide, n of each block as words. What they
 * stand for, 256 / n bytes each, goes into value: each is a transfer, of all partitions.
 */
static struct kiln_operand places(const struct gen *g, uint32_t n, uint32_t n1, int s1)
{
	return kiln_at(kiln_tile3(KILN_SBUF, KILN_U32, 0, g->dq->p, g->wide, g->n, n, n1, s1,
				  n / n1, s1 == 1 ? n1 : 1), g->dq->reg);
}

static void look_up(const struct gen *g, uint32_t n)
{
	uint32_t width = 256 / n, count = g->n * n, i;
	struct kiln_operand row = kiln_tile1(KILN_SBUF, KILN_U8, 0, g->dq->p, g->value, width);
	struct kiln_operand place = kiln_tile1(KILN_SBUF, KILN_U32, 0, g->dq->p, g->wide, 1);
	unsigned int base = kiln_asm_reg(g->as, KILN_VECTOR), to = kiln_asm_reg(g->as, KILN_VECTOR);
	unsigned int from = kiln_asm_reg(g->as, KILN_VECTOR), end = kiln_asm_reg(g->as, KILN_VECTOR);

	kiln_asm_movi(g->as, KILN_VECTOR, base, g->dq->grid);
	kiln_asm_addi(g->as, KILN_VECTOR, to, g->dq->reg, 0);
	kiln_asm_addi(g->as, KILN_VECTOR, from, g->dq->reg, 0);
	kiln_asm_addi(g->as, KILN_VECTOR, end, g->dq->reg, count * 4);
	i = kiln_asm_count(g->as, KILN_VECTOR);
	kiln_asm_dma_gather(g->as, KILN_VECTOR, DEQUANT_RING, kiln_at(row, to),
			    kiln_dram(base, 0, width, 1), kiln_at(place, from), 0, 0);
	kiln_asm_post(g->as, KILN_VECTOR, DEQUANT_SEM, 1);
	kiln_asm_addi(g->as, KILN_VECTOR, to, to, width);
	kiln_asm_addi(g->as, KILN_VECTOR, from, from, 4);
	kiln_asm_blt(g->as, KILN_VECTOR, from, end, i);
	for (; count; count -= i) {
		i = kiln_min(count, UINT8_MAX);
		kiln_asm_wait(g->as, KILN_VECTOR, DEQUANT_SEM, i);
		kiln_asm_nop(g->as, KILN_VECTOR);
	}
	kiln_asm_reg_free(g->as, KILN_VECTOR, end);
	kiln_asm_reg_free(g->as, KILN_VECTOR, from);
	kiln_asm_reg_free(g->as, KILN_VECTOR, to);
	kiln_asm_reg_free(g->as, KILN_VECTOR, base);
}

/*
 * Scratch of scales has room for bytes to work with, 32 of each block, behind its factors: signs,
 * upper bits.
 */
static struct kiln_operand work(const struct gen *g, uint32_t n1, int s1, uint32_t n2, int s2)
{
	return bytes(g, g->scale + g->n * (SCALE_BYTES + 128), 64, n1, s1, n2, s2);
}

/* Byte i of each group of four, of which groups lie step apart, becomes number l of seven bits. */
static void seven_bits(const struct gen *g, uint32_t at)
{
	struct kiln_operand more = small(g, WORK, 8);
	uint32_t l;

	for (l = 0; l < 4; l++) {
		struct kiln_operand to = work(g, 1, 1, 8, 4);

		to.addr += l;
		bits(g, to, field(g, at + l, 1, 1, 8, at == 6 ? 8 : 4), 0, 127 >> l);
		if (!l)
			continue;
		bits(g, more, field(g, at + l - 1, 1, 1, 8, at == 6 ? 8 : 4), 8 - l, (1 << l) - 1);
		three(g, to, to, KILN_ALU_MULTIPLY, 1 << l, KILN_ALU_ADD, more);
	}
	bits(g, small(g, SCALES, 8), field(g, at + 3, 1, 1, 8, at == 6 ? 8 : 4), 4, 15);
}

/* The eighth sign, so that there is an even number of them */
static void eighth_signs(const struct gen *g)
{
	struct kiln_operand signs = work(g, 1, 1, 32, 1), odd = signs;
	uint32_t shift;

	odd.addr += 32;
	bits(g, odd, signs, 4, 15);
	two(g, odd, odd, KILN_ALU_BITWISE_XOR, signs);
	for (shift = 2; shift; shift /= 2) {
		struct kiln_operand half = bytes(g, g->bit, 32, 1, 1, 32, 1);

		bits(g, half, odd, shift, 255);
		two(g, odd, odd, KILN_ALU_BITWISE_XOR, half);
	}
	bits(g, odd, odd, 0, 1);
	three(g, signs, odd, KILN_ALU_MULTIPLY, 128, KILN_ALU_ADD, signs);
}

/* value with the signs that are bits of 32 bytes, times n factors */
static void signed_values(const struct gen *g, struct kiln_operand signs, uint32_t n)
{
	struct kiln_operand value = all(g, KILN_I8, g->value), sign = all(g, KILN_I8, g->bit);
	uint32_t i;

	for (i = 0; i < 8; i++)
		bits(g, bytes(g, g->bit + i, 256, 1, 1, 32, 8), signs, i, 1);
	one(g, sign, sign, KILN_ALU_MULTIPLY, -2, KILN_ALU_ADD, 1);
	two(g, value, value, KILN_ALU_MULTIPLY, sign);
	two(g, out(g), value, KILN_ALU_MULTIPLY, factors_of_all(g, 0, n));
}

/* n factors: (scale + 1 / 2) * d * by */
static void half_more(const struct gen *g, uint32_t n, float by)
{
	struct kiln_operand to = factors(g, 0, n);

	three(g, to, small(g, SCALES, n), KILN_ALU_ADD, 0.5f, KILN_ALU_MULTIPLY, half(g, 0, n));
	one(g, to, to, KILN_ALU_MULTIPLY, by, KILN_ALU_BYPASS, 0);
}

/* Halves of n bytes become scales. */
static void half_scales(const struct gen *g, uint32_t at, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < 2; i++)
		bits(g, bytes(g, g->scale + SCALES + i, SCALE_BYTES, 1, 1, n, 2),
		     field(g, at, 1, 1, n, 1), 4 * i, 15);
}

static void iq2_xxs(const struct gen *g)
{
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, places(g, 32, 8, 4), field(g, 2, 8, 8, 4, 1));
	look_up(g, 32);
	seven_bits(g, 6);
	half_more(g, 8, 0.25f);
	eighth_signs(g);
	signed_values(g, work(g, 1, 1, 32, 1), 8);
}

static void iq2_xs(const struct gen *g)
{
	struct kiln_operand signs = work(g, 1, 1, 32, 1);

	bits(g, signs, field(g, 3, 1, 1, 32, 2), 0, 1);
	three(g, places(g, 32, 1, 32), signs, KILN_ALU_MULTIPLY, 256, KILN_ALU_ADD,
	      field(g, 2, 1, 1, 32, 2));
	look_up(g, 32);
	half_scales(g, 66, 8);
	half_more(g, 16, 0.25f);
	bits(g, signs, field(g, 3, 1, 1, 32, 2), 1, 127);
	eighth_signs(g);
	signed_values(g, signs, 16);
}

static void iq2_s(const struct gen *g)
{
	uint32_t l;

	for (l = 0; l < 4; l++) {
		struct kiln_operand to = work(g, 1, 1, 8, 4);

		to.addr += l;
		bits(g, to, field(g, 66, 1, 1, 8, 1), 2 * l, 3);
	}
	three(g, places(g, 32, 1, 32), work(g, 1, 1, 32, 1), KILN_ALU_MULTIPLY, 256, KILN_ALU_ADD,
	      field(g, 2, 1, 1, 32, 1));
	look_up(g, 32);
	half_scales(g, 74, 8);
	half_more(g, 16, 0.25f);
	signed_values(g, field(g, 34, 1, 1, 32, 1), 16);
}

static void iq3_xxs(const struct gen *g)
{
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, places(g, 64, 1, 64), field(g, 2, 1, 1, 64, 1));
	look_up(g, 64);
	seven_bits(g, 66);
	half_more(g, 8, 0.5f);
	eighth_signs(g);
	signed_values(g, work(g, 1, 1, 32, 1), 8);
}

static void iq3_s(const struct gen *g)
{
	struct kiln_operand to = factors(g, 0, 8);
	uint32_t i;

	for (i = 0; i < 8; i++)
		bits(g, bytes(g, g->bit + i, 64, 1, 1, 8, 8), field(g, 66, 1, 1, 8, 1), i, 1);
	three(g, places(g, 64, 1, 64), bytes(g, g->bit, 64, 1, 1, 64, 1), KILN_ALU_MULTIPLY, 256,
	      KILN_ALU_ADD, field(g, 2, 1, 1, 64, 1));
	look_up(g, 64);
	half_scales(g, 106, 4);
	one(g, to, small(g, SCALES, 8), KILN_ALU_MULTIPLY, 2, KILN_ALU_ADD, 1);
	two(g, to, to, KILN_ALU_MULTIPLY, half(g, 0, 8));
	signed_values(g, field(g, 74, 1, 1, 32, 1), 8);
}

/* Four numbers of three bits from n pairs of bytes that lie step apart, to `to`, as [n, 4] */
static void triples(const struct gen *g, struct kiln_operand to, uint32_t at, uint32_t n)
{
	struct kiln_operand more = small(g, WORK, n);
	static const uint8_t from[4][2] = { { 0, 0 }, { 0, 3 }, { 0, 6 }, { 1, 1 } };
	uint32_t l;

	for (l = 0; l < 4; l++, to.addr++)
		bits(g, to, field(g, at + from[l][0], 1, 1, n, 2), from[l][1], l == 2 ? 3 : 7);
	to.addr -= 2;
	bits(g, more, field(g, at + 1, 1, 1, n, 2), 0, 1);
	three(g, to, more, KILN_ALU_MULTIPLY, 4, KILN_ALU_ADD, to);
}

/* Eight times: value and 1, or -1 where one of the n bytes in bit is; n_factors scales */
static void moved_values(const struct gen *g, struct kiln_operand d, uint32_t n, uint32_t n_factors)
{
	struct kiln_operand value = all(g, KILN_I8, g->value), to = factors(g, 0, n_factors);
	struct kiln_operand by = kiln_at(kiln_tile2(KILN_SBUF, KILN_U8, 0, g->dq->p, g->bit,
						    g->n * n, 1, 256 / n, 0), g->dq->reg);

	three(g, value, by, KILN_ALU_MULTIPLY, -2, KILN_ALU_ADD, value);
	one(g, to, small(g, SCALES, n_factors), KILN_ALU_MULTIPLY, 0.25f, KILN_ALU_ADD, 0.125f);
	two(g, to, to, KILN_ALU_MULTIPLY, d);
	three(g, out(g), value, KILN_ALU_ADD, 1, KILN_ALU_MULTIPLY,
	      factors_of_all(g, 0, n_factors));
}

static void iq1_s(const struct gen *g)
{
	triples(g, work(g, 1, 1, 8, 4), 34, 8);
	three(g, places(g, 32, 1, 32), work(g, 1, 1, 32, 1), KILN_ALU_MULTIPLY, 256, KILN_ALU_ADD,
	      field(g, 2, 1, 1, 32, 1));
	look_up(g, 32);
	bits(g, small(g, SCALES, 8), field(g, 35, 1, 1, 8, 2), 4, 7);
	bits(g, bytes(g, g->bit, 8, 1, 1, 8, 1), field(g, 35, 1, 1, 8, 2), 7, 1);
	moved_values(g, half(g, 0, 8), 8, 8);
}

static void iq1_m(const struct gen *g)
{
	struct kiln_operand d = small(g, WORK, 1);
	uint32_t i;

	for (i = 0; i < 2; i++) {
		struct kiln_operand to = work(g, 1, 1, 16, 2);

		to.addr += i;
		bits(g, to, field(g, 32, 1, 1, 16, 1), 4 * i, 7);
	}
	three(g, places(g, 32, 1, 32), work(g, 1, 1, 32, 1), KILN_ALU_MULTIPLY, 256, KILN_ALU_ADD,
	      field(g, 0, 1, 1, 32, 1));
	look_up(g, 32);
	triples(g, bytes(g, g->scale + SCALES, SCALE_BYTES, 1, 1, 4, 4), 48, 4);
	for (i = 0; i < 2; i++) {
		bits(g, bytes(g, g->bit + i, 32, 1, 1, 16, 2), field(g, 32, 1, 1, 16, 1), 4 * i + 3,
		     1);
		/* d: the upper halves of bytes 1, 3, 5 and 7 */
		bits(g, d, field(g, 49 + 4 * i, 1, 1, 1, 1), 4, 15);
		bits(g, small(g, WORK + 2, 1), field(g, 51 + 4 * i, 1, 1, 1, 1), 0, 0xf0);
		two(g, small(g, WORK + 4 + i, 1), small(g, WORK + 2, 1), KILN_ALU_ADD, d);
	}
	moved_values(g, kiln_at(kiln_tile2(KILN_SBUF, KILN_F16, 0, g->dq->p, g->scale + WORK + 4,
					   g->n, SCALE_BYTES / 2, 16, 0), g->dq->reg), 32, 16);
}

void dequantise(struct kiln_asm *as, const struct dequant *dq)
{
	struct kiln_block block = kiln_type_block(dq->type);
	uint32_t n = dq->blocks * block.elements;
	struct gen gen = {
		.as = as, .dq = dq, .n = dq->blocks, .bytes = block.bytes,
		.elements = block.elements, .value = dq->tmp, .bit = dq->tmp + n,
		.wide = dq->tmp + 2 * n, .scale = dq->tmp + 6 * n,
	}, *g = &gen;
	struct kiln_operand all_bytes;

	switch (dq->type) {
	case KILN_TYPE_Q8_0:
		all_bytes = field(g, 2, 1, 1, 32, 1);
		all_bytes.dtype = KILN_I8;
		two(g, out(g), all_bytes, KILN_ALU_MULTIPLY, half(g, 0, 32));
		break;
	case KILN_TYPE_Q4_0:
		halves(g, 2);
		scaled(g, 8);
		break;
	case KILN_TYPE_Q4_1:
		halves(g, 4);
		scaled_and_moved(g);
		break;
	case KILN_TYPE_Q5_0:
		halves(g, 6);
		fifth_bits(g, 2);
		scaled(g, 16);
		break;
	case KILN_TYPE_Q5_1:
		halves(g, 8);
		fifth_bits(g, 4);
		scaled_and_moved(g);
		break;
	case KILN_TYPE_IQ4_NL:
		iq4_nl(g);
		break;
	case KILN_TYPE_MXFP4:
		mxfp4(g);
		break;
	case KILN_TYPE_Q2_K:
		q2_k(g);
		break;
	case KILN_TYPE_Q3_K:
		q3_k(g);
		break;
	case KILN_TYPE_Q4_K:
		q4_k(g);
		break;
	case KILN_TYPE_Q5_K:
		q5_k(g);
		break;
	case KILN_TYPE_IQ4_XS:
		iq4_xs(g);
		break;
	case KILN_TYPE_TQ1_0:
		tq1_0(g);
		break;
	case KILN_TYPE_TQ2_0:
		pairs(g, g->value, 0);
		less_one(g, 64, 256);
		break;
	case KILN_TYPE_Q1_0:
		q1_0(g);
		break;
	case KILN_TYPE_Q2_0:
		q2_0(g);
		break;
	case KILN_TYPE_NVFP4:
		nvfp4(g);
		break;
	case KILN_TYPE_IQ2_XXS:
		iq2_xxs(g);
		break;
	case KILN_TYPE_IQ2_XS:
		iq2_xs(g);
		break;
	case KILN_TYPE_IQ2_S:
		iq2_s(g);
		break;
	case KILN_TYPE_IQ3_XXS:
		iq3_xxs(g);
		break;
	case KILN_TYPE_IQ3_S:
		iq3_s(g);
		break;
	case KILN_TYPE_IQ1_S:
		iq1_s(g);
		break;
	case KILN_TYPE_IQ1_M:
		iq1_m(g);
		break;
	default:
		q6_k(g);
		break;
	}
}
