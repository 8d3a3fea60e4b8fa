// SPDX-License-Identifier: MIT
/*
 * Elements become quantised blocks, by Vector: the steps of ggml's own quantisation, so
 * that the same blocks come out. (dequant.c says what lies where.)
 */
#include "quant.h"

/* ----------------------------------------------------------------- scales -- */

static void extremes(const struct gen *g)
{
	kiln_asm_tensor_reduce(g->as, each(g, g->high), KILN_ALU_MAX, source(g), false);
	kiln_asm_tensor_reduce(g->as, each(g, g->low), KILN_ALU_MIN, source(g), false);
}

/* 1 / scale, and 0 where the scale is 0; the scale goes into the blocks. */
static void take_scale(const struct gen *g, uint32_t byte)
{
	struct kiln_operand scale = each(g, g->scale), inverse = each(g, g->inverse);
	struct kiln_operand some = each(g, g->high);

	one(g, some, scale, KILN_ALU_NE, 0, KILN_ALU_BYPASS, 0);
	/* x + 1 where it is 0, so that there is an inverse */
	one(g, inverse, scale, KILN_ALU_EQ, 0, KILN_ALU_BYPASS, 0);
	two(g, inverse, inverse, KILN_ALU_ADD, scale);
	kiln_asm_reciprocal(g->as, inverse, inverse);
	two(g, inverse, inverse, KILN_ALU_MULTIPLY, some);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, field(g, KILN_F16, byte, 1),
			     tile(g, KILN_F32, g->scale, 1, 1, 1));
}

/* scale / by, rounded once: by is one less than a power of two, so what is missing is exact. */
static void divide_scale(const struct gen *g, float by)
{
	struct kiln_operand scale = each(g, g->scale), guess = each(g, g->inverse);
	struct kiln_operand rest = each(g, g->high);

	one(g, guess, scale, KILN_ALU_MULTIPLY, 1 / by, KILN_ALU_BYPASS, 0);
	three(g, rest, guess, KILN_ALU_MULTIPLY, by + 1, KILN_ALU_SUBTRACT, scale);
	two(g, rest, guess, KILN_ALU_SUBTRACT, rest);
	three(g, scale, rest, KILN_ALU_MULTIPLY, 1 / by, KILN_ALU_ADD, guess);
}

/*
 * low = n / scale, rounded once, and 0 for 0: a guess r, and what of n it misses, n - r scale,
 * whose product is made of four exact ones.
 */
static void inverse_of(const struct gen *g, float n)
{
	struct kiln_operand scale = each(g, g->scale), rest = each(g, g->inverse);
	struct kiln_operand r = each(g, g->low);
	struct kiln_operand t[6];
	uint32_t i;

	for (i = 0; i < 6; i++)
		t[i] = each(g, g->other + 4 * i * g->n);
	one(g, t[5], scale, KILN_ALU_EQ, 0, KILN_ALU_BYPASS, 0);
	two(g, t[4], scale, KILN_ALU_ADD, t[5]);	/* 1 for 0 */
	kiln_asm_reciprocal(g->as, rest, t[4]);
	one(g, r, rest, KILN_ALU_MULTIPLY, n, KILN_ALU_BYPASS, 0);
	split(g, t[4], t[0], t[1]);
	split(g, r, t[2], t[3]);
	two(g, t[5], t[0], KILN_ALU_MULTIPLY, t[2]);
	one(g, t[5], t[5], KILN_ALU_SUBTRACT, n, KILN_ALU_MULTIPLY, -1);
	two(g, t[0], t[0], KILN_ALU_MULTIPLY, t[3]);
	two(g, t[5], t[5], KILN_ALU_SUBTRACT, t[0]);
	two(g, t[2], t[2], KILN_ALU_MULTIPLY, t[1]);
	two(g, t[5], t[5], KILN_ALU_SUBTRACT, t[2]);
	two(g, t[1], t[1], KILN_ALU_MULTIPLY, t[3]);
	two(g, t[5], t[5], KILN_ALU_SUBTRACT, t[1]);
	two(g, t[5], t[5], KILN_ALU_MULTIPLY, rest);
	two(g, r, r, KILN_ALU_ADD, t[5]);
	one(g, t[5], scale, KILN_ALU_NE, 0, KILN_ALU_BYPASS, 0);
	two(g, r, r, KILN_ALU_MULTIPLY, t[5]);
}

/* The greatest without its sign; what is without signs stays in value. */
static void greatest(const struct gen *g)
{
	struct kiln_operand value = all(g, KILN_F32, g->value);

	one(g, value, source(g), KILN_ALU_ABS, 0, KILN_ALU_BYPASS, 0);
	kiln_asm_tensor_reduce(g->as, each(g, g->scale), KILN_ALU_MAX, value, false);
}

/* Its sign is that of a sum of all of them, each weighing half of the one before. */
void quant_farthest(const struct gen *g, float factor)
{
	struct kiln_operand value = all(g, KILN_F32, g->value), other = all(g, KILN_F32, g->other);
	struct kiln_operand weight = all(g, KILN_F32, g->digit), sign = each(g, g->low);

	kiln_asm_memset(g->as, KILN_VECTOR, value, 0.5f);
	kiln_asm_memset(g->as, KILN_VECTOR, tile(g, KILN_F32, g->value, g->per, 1, 1), 0);
	kiln_asm_memset(g->as, KILN_VECTOR, other, 0);
	kiln_asm_memset(g->as, KILN_VECTOR, tile(g, KILN_F32, g->other, g->per, 1, 1), 1);
	kiln_asm_tensor_tensor_scan(g->as, weight, value, KILN_ALU_MULTIPLY, kiln_const(0),
				    KILN_ALU_ADD,
				    other, 0);
	greatest(g);
	two(g, other, value, KILN_ALU_EQ, spread(g, g->scale));
	two(g, other, other, KILN_ALU_MULTIPLY, weight);
	two(g, other, other, KILN_ALU_MULTIPLY, source(g));
	kiln_asm_tensor_reduce(g->as, sign, KILN_ALU_ADD, other, false);
	one(g, sign, sign, KILN_ALU_GT, 0, KILN_ALU_MULTIPLY, 2 * factor);
	one(g, sign, sign, KILN_ALU_SUBTRACT, factor, KILN_ALU_BYPASS, 0);
	two(g, each(g, g->scale), each(g, g->scale), KILN_ALU_MULTIPLY, sign);
}

/* ----------------------------------------------------------------- digits -- */

/* value, cut off to an integer of up to most, in bytes */
static void cut(const struct gen *g, float most)
{
	struct kiln_operand value = all(g, KILN_F32, g->value), other = all(g, KILN_F32, g->other);
	struct kiln_operand digit = all(g, KILN_U8, g->digit);

	kiln_asm_tensor_copy(g->as, KILN_VECTOR, digit, value);
	two(g, other, digit, KILN_ALU_GT, value);
	two(g, other, digit, KILN_ALU_SUBTRACT, other);
	one(g, digit, other, KILN_ALU_MIN, most, KILN_ALU_BYPASS, 0);
}

/* x / scale + up */
static void symmetric(const struct gen *g, float up, float most)
{
	struct kiln_operand value = all(g, KILN_F32, g->value);

	two(g, value, source(g), KILN_ALU_MULTIPLY, spread(g, g->inverse));
	one(g, value, value, KILN_ALU_ADD, up, KILN_ALU_BYPASS, 0);
	cut(g, most);
}

/* (x - least) / scale + 0.5; scale and least in the first bytes */
static void from_least(const struct gen *g, float most)
{
	struct kiln_operand value = all(g, KILN_F32, g->value);

	extremes(g);
	two(g, each(g, g->scale), each(g, g->high), KILN_ALU_SUBTRACT, each(g, g->low));
	divide_scale(g, most);
	take_scale(g, 0);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, field(g, KILN_F16, 2, 1),
			     tile(g, KILN_F32, g->low, 1, 1, 1));
	two(g, value, source(g), KILN_ALU_SUBTRACT, spread(g, g->low));
	two(g, value, value, KILN_ALU_MULTIPLY, spread(g, g->inverse));
	one(g, value, value, KILN_ALU_ADD, 0.5f, KILN_ALU_BYPASS, 0);
	cut(g, most);
}

/* Digits 0 to 15 and 16 to 31 of a block become 16 bytes. */
static void pack_halves(const struct gen *g, uint32_t byte)
{
	three(g, field(g, KILN_U8, byte, 16), tile(g, KILN_U8, g->digit + 16, 32, 16, 1),
	      KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD, tile(g, KILN_U8, g->digit, 32, 16, 1));
}

/* The fifth bits of the digits go into four bytes and off the digits. */
static void pack_fifth(const struct gen *g, uint32_t byte)
{
	struct kiln_operand value = all(g, KILN_F32, g->value), other = all(g, KILN_F32, g->other);
	struct kiln_operand digit = all(g, KILN_U8, g->digit);
	uint32_t i;

	one(g, value, digit, KILN_ALU_GE, 16, KILN_ALU_BYPASS, 0);
	three(g, digit, value, KILN_ALU_MULTIPLY, -16, KILN_ALU_ADD, digit);
	for (i = 0; i < 8; i++)
		kiln_asm_memset(g->as, KILN_VECTOR, tile(g, KILN_F32, g->other + 4 * i, 32, 4, 8),
				1 << i);
	two(g, value, value, KILN_ALU_MULTIPLY, other);
	kiln_asm_tensor_reduce(g->as, field(g, KILN_U8, byte, 4), KILN_ALU_ADD,
			       at(g,
				  kiln_tile3(KILN_SBUF, KILN_F32, 0, g->qu->p, g->value, g->n, 32,
						4, 8, 8, 1)), false);
}

void quant_pairs(const struct gen *g, uint32_t byte)
{
	uint32_t half, i;

	for (half = 0; half < 2; half++)
		for (i = 0; i < 4; i++) {
			struct kiln_operand bytes = field(g, KILN_U8, byte + 32 * half, 32);
			struct kiln_operand plane = tile(g, KILN_U8, g->digit + 128 * half + 32 * i,
							 256, 32, 1);

			if (i)
				three(g, bytes, plane, KILN_ALU_MULTIPLY, 1 << 2 * i, KILN_ALU_ADD,
				      bytes);
			else
				kiln_asm_tensor_copy(g->as, KILN_VECTOR, bytes, plane);
		}
}

/* 0, 1, 2 of x / scale, -1 to 1: halves go away from 0 */
static void ternary(const struct gen *g, uint32_t scale_at)
{
	struct kiln_operand value = all(g, KILN_F32, g->value), other = all(g, KILN_F32, g->other);

	greatest(g);
	take_scale(g, scale_at);
	two(g, value, source(g), KILN_ALU_MULTIPLY, spread(g, g->inverse));
	one(g, other, value, KILN_ALU_GT, -0.5f, KILN_ALU_BYPASS, 0);
	three(g, all(g, KILN_U8, g->digit), value, KILN_ALU_GE, 0.5f, KILN_ALU_ADD, other);
}

void quant_planes(const struct gen *g, uint32_t byte, uint32_t n, uint32_t planes, uint32_t step,
		  uint32_t apart)
{
	struct kiln_operand bytes = field(g, KILN_U8, byte, n);
	uint32_t i;

	for (i = 0; i < planes; i++) {
		struct kiln_operand plane = tile(g, KILN_U8, g->digit + i * apart, g->per, n, step);

		if (i)
			three(g, bytes, plane, KILN_ALU_MULTIPLY, 1 << i * (8 / planes), KILN_ALU_ADD,
			      bytes);
		else
			kiln_asm_tensor_copy(g->as, KILN_VECTOR, bytes, plane);
	}
}

/* Planes of n digits, from digit first on, become n numbers of base 3 in value, from number to on. */
static void digits_to_numbers(const struct gen *g, uint32_t first, uint32_t n, uint32_t planes,
			      uint32_t to)
{
	struct kiln_operand number = tile(g, KILN_F32, g->value + 4 * to, g->per, n, 1);
	uint32_t i;

	for (i = 0; i < planes; i++)
		three(g, number, number, KILN_ALU_MULTIPLY, 3, KILN_ALU_ADD,
		      tile(g, KILN_U8, g->digit + first + i * n, g->per, n, 1));
}

static void tq1_0(const struct gen *g)
{
	struct kiln_operand value = all(g, KILN_F32, g->value);
	struct kiln_operand fours = tile(g, KILN_F32, g->value + 4 * 48, g->per, 4, 1);

	ternary(g, 52);
	kiln_asm_memset(g->as, KILN_VECTOR, value, 0);
	digits_to_numbers(g, 0, 32, 5, 0);
	digits_to_numbers(g, 160, 16, 5, 32);
	digits_to_numbers(g, 240, 4, 4, 48);
	one(g, fours, fours, KILN_ALU_MULTIPLY, 3, KILN_ALU_BYPASS, 0);
	/* 256 / 243 of them, rounded up: far enough from whole numbers to be cut off */
	one(g, value, value, KILN_ALU_MULTIPLY, 256, KILN_ALU_ADD, 242.5f);
	one(g, value, value, KILN_ALU_MULTIPLY, 1 / 243.0f, KILN_ALU_BYPASS, 0);
	cut(g, 255);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, field(g, KILN_U8, 0, 52),
			     tile(g, KILN_U8, g->digit, g->per, 52, 1));
}

/* The nearest fp4 to x / scale, the lower one of two: sign and place among eight magnitudes */
static void nearest_fp4(const struct gen *g)
{
	static const float between[] = { 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5 };
	struct kiln_operand value = all(g, KILN_F32, g->value), other = all(g, KILN_F32, g->other);
	struct kiln_operand over = all(g, KILN_F32, g->digit);
	uint32_t i;

	one(g, value, source(g), KILN_ALU_ABS, 0, KILN_ALU_BYPASS, 0);
	kiln_asm_memset(g->as, KILN_VECTOR, other, 0);
	for (i = 0; i < 7; i++) {
		one(g, each(g, g->low), each(g, g->scale), KILN_ALU_MULTIPLY, between[i],
		    KILN_ALU_BYPASS, 0);
		two(g, over, value, KILN_ALU_GT, spread(g, g->low));
		two(g, other, other, KILN_ALU_ADD, over);
	}
	one(g, each(g, g->low), each(g, g->scale), KILN_ALU_NE, 0, KILN_ALU_BYPASS, 0);
	two(g, other, other, KILN_ALU_MULTIPLY, spread(g, g->low));
	one(g, value, source(g), KILN_ALU_LT, 0, KILN_ALU_MULTIPLY, 8);
	three(g, value, other, KILN_ALU_GT, 0, KILN_ALU_MULTIPLY, value);
	two(g, all(g, KILN_U8, g->digit), other, KILN_ALU_ADD, value);
}

/* The same value as bits */
static struct kiln_operand bits_of(struct kiln_operand x)
{
	x.dtype = KILN_U32;
	return x;
}

/* The exponent of the greatest, less 2, so that it is 4 to 6 of the scale */
static void mxfp4(const struct gen *g)
{
	struct kiln_operand scale = each(g, g->scale), exponent = bits_of(each(g, g->high));

	greatest(g);
	bits(g, exponent, bits_of(scale), 23, 255);
	one(g, scale, exponent, KILN_ALU_SUBTRACT, 2, KILN_ALU_MAX, 0);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, field(g, KILN_U8, 0, 1),
			     tile(g, KILN_F32, g->scale, 1, 1, 1));
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, scale, scale, KILN_ALU_SUBTRACT, kiln_const(127),
			       KILN_ALU_POW, kiln_const(2), KILN_F_REVERSE1);
	nearest_fp4(g);
	pack_halves(g, 1);
}

/*
 * A scale is the greatest of 16 divided by 6, as fp8 without a sign, halves going up: with half of
 * its last place added, its exponent and three bits of fraction are the upper ones of fp32. Below
 * 2^-6 they are steps of 2^-9.
 */
static void nvfp4(const struct gen *g)
{
	struct gen quarter = *g, *q = &quarter;
	struct kiln_operand scale, work, steps, small, code;

	q->n = 4 * g->n;
	q->per = 16;
	q->high = g->low + 4 * q->n;
	q->scale = g->low + 8 * q->n;
	q->inverse = g->low + 12 * q->n;
	scale = each(q, q->scale);
	work = each(q, q->high);
	steps = each(q, q->low);
	small = each(q, q->inverse);
	code = each(q, q->other);
	greatest(q);
	one(q, scale, scale, KILN_ALU_MULTIPLY, 1 / 6.0f, KILN_ALU_MIN, 448);
	one(q, small, scale, KILN_ALU_LT, 0x1p-6f, KILN_ALU_BYPASS, 0);
	one(q, steps, scale, KILN_ALU_MULTIPLY, 512, KILN_ALU_ADD, 0.5f);
	one(q, steps, steps, KILN_ALU_MIN, 7.5f, KILN_ALU_BYPASS, 0);
	kiln_asm_tensor_copy(q->as, KILN_VECTOR, bits_of(work), steps);
	two(q, code, bits_of(work), KILN_ALU_GT, steps);
	two(q, steps, bits_of(work), KILN_ALU_SUBTRACT, code);
	two(q, steps, steps, KILN_ALU_MULTIPLY, small);
	bits(q, bits_of(work), bits_of(scale), 0, 0x7f800000);
	three(q, scale, work, KILN_ALU_MULTIPLY, 0x1p-4f, KILN_ALU_ADD, scale);
	bits(q, bits_of(scale), bits_of(scale), 0, 0x7ff00000);
	/* From 256 on there is but one. */
	one(q, work, scale, KILN_ALU_GE, 256, KILN_ALU_MULTIPLY, 448);
	two(q, scale, scale, KILN_ALU_MAX, work);
	bits(q, bits_of(work), bits_of(scale), 20, 0x7ff);
	one(q, code, bits_of(work), KILN_ALU_SUBTRACT, 120 * 8, KILN_ALU_BYPASS, 0);
	one(q, work, small, KILN_ALU_EQ, 0, KILN_ALU_BYPASS, 0);
	two(q, code, code, KILN_ALU_MULTIPLY, work);
	two(q, code, code, KILN_ALU_ADD, steps);
	kiln_asm_tensor_copy(q->as, KILN_VECTOR, field(g, KILN_U8, 0, 4), code);
	two(q, scale, scale, KILN_ALU_MULTIPLY, work);
	three(q, scale, steps, KILN_ALU_MULTIPLY, 0x1p-9f, KILN_ALU_ADD, scale);
	nearest_fp4(q);
	three(q, at(g, kiln_tile3(KILN_SBUF, KILN_U8, 0, g->qu->p, g->qu->dst + 4, g->n, 36, 4, 8, 8, 1)),
	      tile(q, KILN_U8, g->digit + 8, 16, 8, 1), KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD,
	      tile(q, KILN_U8, g->digit, 16, 8, 1));
}

/* Places in the table of IQ4_NL, and what makes the squares of errors, each times x^2, least */
static void iq4_nl(const struct gen *g)
{
	static const int8_t table[16] = {
		-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
	};
	struct kiln_operand value = all(g, KILN_F32, g->value), other = all(g, KILN_F32, g->other);
	struct kiln_operand work = all(g, KILN_F32, g->digit);
	uint32_t places = g->inverse + 4 * g->n, i;
	struct kiln_operand place = all(g, KILN_U8, places);

	quant_farthest(g, -1 / 127.0f);
	take_scale(g, 0);
	two(g, value, source(g), KILN_ALU_MULTIPLY, spread(g, g->inverse));
	kiln_asm_memset(g->as, KILN_VECTOR, other, table[0]);
	kiln_asm_memset(g->as, KILN_VECTOR, place, 0);
	for (i = 1; i < 16; i++) {
		float middle = (table[i - 1] + table[i]) / 2.0f;

		three(g, place, value, KILN_ALU_GE, middle, KILN_ALU_ADD, place);
		one(g, work, value, KILN_ALU_GE, middle, KILN_ALU_MULTIPLY, table[i] - table[i - 1]);
		two(g, other, other, KILN_ALU_ADD, work);
	}
	two(g, value, source(g), KILN_ALU_MULTIPLY, source(g));
	two(g, value, value, KILN_ALU_MULTIPLY, other);
	two(g, work, value, KILN_ALU_MULTIPLY, source(g));
	kiln_asm_tensor_reduce(g->as, each(g, g->high), KILN_ALU_ADD, work, false);
	two(g, work, value, KILN_ALU_MULTIPLY, other);
	kiln_asm_tensor_reduce(g->as, each(g, g->low), KILN_ALU_ADD, work, false);
	one(g, each(g, g->inverse), each(g, g->low), KILN_ALU_EQ, 0, KILN_ALU_BYPASS, 0);
	two(g, each(g, g->low), each(g, g->low), KILN_ALU_ADD, each(g, g->inverse));
	kiln_asm_reciprocal(g->as, each(g, g->inverse), each(g, g->low));
	two(g, each(g, g->scale), each(g, g->high), KILN_ALU_MULTIPLY, each(g, g->inverse));
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, field(g, KILN_F16, 0, 1),
			     tile(g, KILN_F32, g->scale, 1, 1, 1));
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, all(g, KILN_U8, g->digit), place);
	pack_halves(g, 2);
}

/* Signs, and the mean of what they are of */
static void q1_0(const struct gen *g)
{
	struct kiln_operand value = all(g, KILN_F32, g->value);

	one(g, value, source(g), KILN_ALU_ABS, 0, KILN_ALU_BYPASS, 0);
	kiln_asm_tensor_reduce(g->as, each(g, g->scale), KILN_ALU_ADD, value, false);
	one(g, each(g, g->scale), each(g, g->scale), KILN_ALU_MULTIPLY, 1.0f / 128, KILN_ALU_BYPASS, 0);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, field(g, KILN_F16, 0, 1),
			     tile(g, KILN_F32, g->scale, 1, 1, 1));
	one(g, all(g, KILN_U8, g->digit), source(g), KILN_ALU_GE, 0, KILN_ALU_BYPASS, 0);
	quant_planes(g, 2, 16, 8, 8, 1);
}

void quantise(struct kiln_asm *as, const struct quant *qu)
{
	struct kiln_block block = kiln_type_block(qu->type);
	uint32_t n = qu->blocks * block.elements;
	struct gen gen = {
		.as = as, .qu = qu, .n = qu->blocks, .per = block.elements, .bytes = block.bytes,
		.src_type = qu->src_type, .src = qu->src,
		.value = qu->tmp, .other = qu->tmp + 4 * n, .digit = qu->tmp + 8 * n,
		.low = qu->tmp + 12 * n, .high = qu->tmp + 12 * n + 4 * qu->blocks,
		.scale = qu->tmp + 12 * n + 8 * qu->blocks,
		.inverse = qu->tmp + 12 * n + 12 * qu->blocks,
	}, *g = &gen;

	switch (qu->type) {
	case KILN_TYPE_Q8_0:
		greatest(g);
		inverse_of(g, 127);
		divide_scale(g, 127);
		kiln_asm_tensor_copy(as, KILN_VECTOR, field(g, KILN_F16, 0, 1),
				     tile(g, KILN_F32, g->scale, 1, 1, 1));
		two(g, field(g, KILN_I8, 2, 32), source(g), KILN_ALU_MULTIPLY, spread(g, g->low));
		break;
	case KILN_TYPE_Q4_0:
		quant_farthest(g, -1.0f / 8);
		take_scale(g, 0);
		symmetric(g, 8.5f, 15);
		pack_halves(g, 2);
		break;
	case KILN_TYPE_Q5_0:
		quant_farthest(g, -1.0f / 16);
		take_scale(g, 0);
		symmetric(g, 16.5f, 31);
		pack_fifth(g, 2);
		pack_halves(g, 6);
		break;
	case KILN_TYPE_Q4_1:
		from_least(g, 15);
		pack_halves(g, 4);
		break;
	case KILN_TYPE_Q5_1:
		from_least(g, 31);
		pack_fifth(g, 4);
		pack_halves(g, 8);
		break;
	case KILN_TYPE_IQ4_NL:
		iq4_nl(g);
		break;
	case KILN_TYPE_MXFP4:
		mxfp4(g);
		break;
	case KILN_TYPE_NVFP4:
		nvfp4(g);
		break;
	case KILN_TYPE_Q1_0:
		q1_0(g);
		break;
	case KILN_TYPE_Q2_0:
		ternary(g, 0);
		quant_planes(g, 2, 16, 4, 4, 1);
		break;
	case KILN_TYPE_TQ1_0:
		tq1_0(g);
		break;
	case KILN_TYPE_TQ2_0:
		ternary(g, 64);
		quant_pairs(g, 0);
		break;
	default:
		quant_searched(g);
		break;
	}
}
