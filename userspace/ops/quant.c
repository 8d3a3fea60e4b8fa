// SPDX-License-Identifier: MIT
/*
 * Elements become quantised blocks, by Vector: the steps of ggml's own quantisation, so
 * that the same blocks come out. (dequant.c says what lies where.)
 */
#include "dequant.h"

struct gen {
	struct kiln_asm *as;
	const struct quant *qu;
	uint32_t n, per, bytes;		/* blocks, elements and bytes of one */
	uint32_t value, other, digit;	/* scratch, fp32 and bytes for each element */
	uint32_t low, high, scale, inverse;	/* fp32 for each block */
};

static struct kiln_operand at(const struct gen *g, struct kiln_operand op)
{
	return kiln_at(op, g->qu->reg);
}

/* [blocks, n] with steps in elements */
static struct kiln_operand tile(const struct gen *g, enum kiln_dtype type, uint32_t addr, int pitch,
				uint32_t n, int step)
{
	return at(g, kiln_tile2(KILN_SBUF, type, 0, g->qu->p, addr, g->n, pitch, n, step));
}

static struct kiln_operand all(const struct gen *g, enum kiln_dtype type, uint32_t addr)
{
	return tile(g, type, addr, g->per, g->per, 1);
}

static struct kiln_operand source(const struct gen *g)
{
	return all(g, g->qu->src_type, g->qu->src);
}

/* One value a block; and for each of n elements again */
static struct kiln_operand each(const struct gen *g, uint32_t addr)
{
	return at(g, kiln_tile1(KILN_SBUF, KILN_F32, 0, g->qu->p, addr, g->n));
}

static struct kiln_operand spread(const struct gen *g, uint32_t addr)
{
	return tile(g, KILN_F32, addr, 1, g->per, 0);
}

/* A field of the blocks */
static struct kiln_operand field(const struct gen *g, enum kiln_dtype type, uint32_t byte,
				 uint32_t n)
{
	return tile(g, type, g->qu->dst + byte, g->bytes / kiln_dtype_bytes(type), n, 1);
}

static void one(const struct gen *g, struct kiln_operand dst, struct kiln_operand src,
		enum kiln_alu func, float s0, enum kiln_alu func1, float s1)
{
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, dst, src, func, kiln_const(s0), func1,
			       kiln_const(s1), 0);
}

static void two(const struct gen *g, struct kiln_operand dst, struct kiln_operand a,
		enum kiln_alu func, struct kiln_operand b)
{
	kiln_asm_tensor_tensor(g->as, KILN_VECTOR, dst, a, func, b);
}

static void three(const struct gen *g, struct kiln_operand dst, struct kiln_operand a,
		  enum kiln_alu func, float s0, enum kiln_alu func1, struct kiln_operand b)
{
	kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, dst, a, func, kiln_const(s0), func1, b,
				      0);
}

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

/* high and low become the 12 upper bits of x and the rest. */
static void split(const struct gen *g, struct kiln_operand x, struct kiln_operand high,
		  struct kiln_operand low)
{
	one(g, high, x, KILN_ALU_MULTIPLY, 4097, KILN_ALU_BYPASS, 0);
	two(g, low, high, KILN_ALU_SUBTRACT, x);
	two(g, high, high, KILN_ALU_SUBTRACT, low);
	two(g, low, x, KILN_ALU_SUBTRACT, high);
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

/*
 * The first of those that are farthest from 0, times factor. Its sign is that of a sum of
 * all of them, each weighing half of the one before.
 */
static void signed_scale(const struct gen *g, float factor)
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

/* Four planes of 32, twice: two bits each */
static void pack_pairs(const struct gen *g)
{
	uint32_t half, i;

	for (half = 0; half < 2; half++)
		for (i = 0; i < 4; i++) {
			struct kiln_operand bytes = field(g, KILN_U8, 32 * half, 32);
			struct kiln_operand plane = tile(g, KILN_U8, g->digit + 128 * half + 32 * i,
							 256, 32, 1);

			if (i)
				three(g, bytes, plane, KILN_ALU_MULTIPLY, 1 << 2 * i, KILN_ALU_ADD,
				      bytes);
			else
				kiln_asm_tensor_copy(g->as, KILN_VECTOR, bytes, plane);
		}
}

void quantise(struct kiln_asm *as, const struct quant *qu)
{
	struct kiln_block block = kiln_type_block(qu->type);
	uint32_t n = qu->blocks * block.elements;
	struct gen gen = {
		.as = as, .qu = qu, .n = qu->blocks, .per = block.elements, .bytes = block.bytes,
		.value = qu->tmp, .other = qu->tmp + 4 * n, .digit = qu->tmp + 8 * n,
		.low = qu->tmp + 12 * n, .high = qu->tmp + 12 * n + 4 * qu->blocks,
		.scale = qu->tmp + 12 * n + 8 * qu->blocks,
		.inverse = qu->tmp + 12 * n + 12 * qu->blocks,
	}, *g = &gen;
	struct kiln_operand value = all(g, KILN_F32, g->value);
	struct kiln_operand other = all(g, KILN_F32, g->other);

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
		signed_scale(g, -1.0f / 8);
		take_scale(g, 0);
		symmetric(g, 8.5f, 15);
		pack_halves(g, 2);
		break;
	case KILN_TYPE_Q5_0:
		signed_scale(g, -1.0f / 16);
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
	default:	/* TQ2_0 */
		greatest(g);
		take_scale(g, 64);
		two(g, value, source(g), KILN_ALU_MULTIPLY, spread(g, g->inverse));
		/* 0, 1, 2: of -1 to 1, halves go away from 0 */
		one(g, other, value, KILN_ALU_GT, -0.5f, KILN_ALU_BYPASS, 0);
		three(g, all(g, KILN_U8, g->digit), value, KILN_ALU_GE, 0.5f, KILN_ALU_ADD, other);
		pack_pairs(g);
		break;
	}
}
