// SPDX-License-Identifier: MIT
/*
 * Quantised types of 256 elements whose groups have scales of their own: each group's is
 * searched for, the steps and the order of sums being ggml's, and so are the blocks, but for
 * bits that mean nothing (digits of a group whose scale is 0). All groups of a tile search
 * together; what a trial is better for is copied, by group.
 */
#include "quant.h"

/* Tiles, fp32 for each element, and behind them values of each group */
enum { VALUE, WEIGHT, LEVEL, WORK, DIGITS, MORE, SPARE, TILES };

enum {
	LEAST, MOST, SCALE, BEST, STEP, INVERSE, LIVE,
	SUM_W, SUM_X, SUM_L, SUM_L2, SUM_XL,
	NEW_SCALE, NEW_LEAST, TRY, GOOD,
	DIVISOR, RECIPROCAL, HIGH, LOW,	/* what quotients are by */
	T0, T1, T2, T3, VALUES
};

#define TINY	1e-30f		/* instead of what is not to be divided by */

static uint32_t tile_at(const struct gen *g, unsigned int i)
{
	return g->value + 4 * i * g->n * g->per;
}

static struct kiln_operand full(const struct gen *g, unsigned int i)
{
	return all(g, KILN_F32, tile_at(g, i));
}

static uint32_t value_at(const struct gen *g, unsigned int i)
{
	return tile_at(g, TILES) + 4 * i * g->n;
}

static struct kiln_operand val(const struct gen *g, unsigned int i)
{
	return each(g, value_at(g, i));
}

static struct kiln_operand vals(const struct gen *g, unsigned int i)
{
	return spread(g, value_at(g, i));
}

static void set(const struct gen *g, struct kiln_operand dst, float x)
{
	kiln_asm_memset(g->as, KILN_VECTOR, dst, x);
}

static void copy(const struct gen *g, struct kiln_operand dst, struct kiln_operand src)
{
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, dst, src);
}

static void copy_good(const struct gen *g, unsigned int dst, unsigned int src)
{
	kiln_asm_tensor_copy_predicated(g->as, val(g, dst), val(g, src), val(g, GOOD), false);
}

/* dst = a * b - c * d of values; works in T0 and T1 */
static void cross(const struct gen *g, unsigned int dst, unsigned int a, unsigned int b,
		  unsigned int c, unsigned int d)
{
	two(g, val(g, T0), val(g, a), KILN_ALU_MULTIPLY, val(g, b));
	two(g, val(g, T1), val(g, c), KILN_ALU_MULTIPLY, val(g, d));
	two(g, val(g, dst), val(g, T0), KILN_ALU_SUBTRACT, val(g, T1));
}

/* ----------------------------------------------------------------- parts -- */

/* Element i of each group */
static struct kiln_operand nth(const struct gen *g, unsigned int of, unsigned int i)
{
	return tile(g, KILN_F32, tile_at(g, of) + 4 * i, g->per, 1, 1);
}

/* Sums of groups, from first to last. No scan: what is not finite in one group stays there. */
static void sum(const struct gen *g, unsigned int dst, unsigned int of)
{
	unsigned int i;

	copy(g, val(g, dst), nth(g, of, 0));
	for (i = 1; i < g->per; i++)
		two(g, val(g, dst), val(g, dst), KILN_ALU_ADD, nth(g, of, i));
}

static void divide_by(const struct gen *g, struct kiln_operand x)
{
	copy(g, val(g, DIVISOR), x);
	kiln_asm_reciprocal(g->as, val(g, RECIPROCAL), val(g, DIVISOR));
	split(g, val(g, DIVISOR), val(g, HIGH), val(g, LOW));
}

/* The same by x without 0, which becomes 1 */
static void divide_by_other_than_0(const struct gen *g, unsigned int x)
{
	three(g, val(g, T0), val(g, x), KILN_ALU_EQ, 0, KILN_ALU_ADD, val(g, x));
	divide_by(g, val(g, T0));
}

static void divide_by_more_than_0(const struct gen *g, unsigned int x)
{
	one(g, val(g, T0), val(g, x), KILN_ALU_MAX, TINY, KILN_ALU_BYPASS, 0);
	divide_by(g, val(g, T0));
}

/*
 * q = a / divisor, rounded once: a guess, and what it misses, whose product is made of four
 * exact ones. a is lost. Works in three of t.
 */
static void take_quotient(const struct gen *g, struct kiln_operand q, struct kiln_operand a,
			  struct kiln_operand (*of)(const struct gen *g, unsigned int i),
			  const struct kiln_operand t[3])
{
	struct kiln_operand high = of(g, HIGH), low = of(g, LOW), guess = of(g, RECIPROCAL);

	two(g, q, a, KILN_ALU_MULTIPLY, guess);
	split(g, q, t[0], t[1]);
	two(g, t[2], t[0], KILN_ALU_MULTIPLY, high);
	two(g, a, a, KILN_ALU_SUBTRACT, t[2]);
	two(g, t[2], t[0], KILN_ALU_MULTIPLY, low);
	two(g, a, a, KILN_ALU_SUBTRACT, t[2]);
	two(g, t[2], t[1], KILN_ALU_MULTIPLY, high);
	two(g, a, a, KILN_ALU_SUBTRACT, t[2]);
	two(g, t[2], t[1], KILN_ALU_MULTIPLY, low);
	two(g, a, a, KILN_ALU_SUBTRACT, t[2]);
	two(g, a, a, KILN_ALU_MULTIPLY, guess);
	two(g, q, q, KILN_ALU_ADD, a);
}

/* Of values; a may be dst */
static void quotient(const struct gen *g, unsigned int dst, unsigned int a)
{
	const struct kiln_operand t[3] = { val(g, T1), val(g, T2), val(g, T3) };

	copy(g, val(g, T0), val(g, a));
	take_quotient(g, val(g, dst), val(g, T0), val, t);
}

/* LEVEL = VALUE / divisor, element by element */
static void quotients(const struct gen *g)
{
	const struct kiln_operand t[3] = { full(g, WEIGHT), full(g, MORE), full(g, WORK) };

	take_quotient(g, full(g, LEVEL), full(g, VALUE), vals, t);
}

/* The greatest of each group's values without their signs, with its sign, becomes MOST. */
static void farthest(const struct gen *g)
{
	struct gen f = *g;

	f.other = tile_at(g, WORK);
	f.digit = tile_at(g, MORE);
	f.low = value_at(g, T0);
	f.scale = value_at(g, MOST);
	quant_farthest(&f, 1);
}

/* ----------------------------------------- level * scale + least, both searched -- */

/* LEVEL = (x - least) * INVERSE, to nearest, up to most */
static void levels_above_least(const struct gen *g, float most)
{
	struct kiln_operand byte = all(g, KILN_U8, tile_at(g, WORK));

	two(g, full(g, VALUE), source(g), KILN_ALU_SUBTRACT, vals(g, LEAST));
	two(g, byte, full(g, VALUE), KILN_ALU_MULTIPLY, vals(g, INVERSE));
	one(g, full(g, LEVEL), byte, KILN_ALU_MIN, most, KILN_ALU_BYPASS, 0);
}

/* What the levels miss, weighted: distances or their squares */
static void take_error(const struct gen *g, unsigned int dst, unsigned int scale,
		       unsigned int least, bool distance)
{
	struct kiln_operand work = full(g, WORK);

	two(g, work, full(g, LEVEL), KILN_ALU_MULTIPLY, vals(g, scale));
	two(g, work, work, KILN_ALU_ADD, vals(g, least));
	two(g, work, work, KILN_ALU_SUBTRACT, source(g));
	if (distance)
		one(g, work, work, KILN_ALU_ABS, 0, KILN_ALU_BYPASS, 0);
	else
		two(g, work, work, KILN_ALU_MULTIPLY, work);
	two(g, work, work, KILN_ALU_MULTIPLY, full(g, WEIGHT));
	sum(g, dst, WORK);
}

/* Levels of another inverse, then the scale and least that suit them best */
static void try_affine(const struct gen *g, float most, float first, bool distance)
{
	one(g, val(g, STEP), val(g, STEP), KILN_ALU_ADD, 1, KILN_ALU_BYPASS, 0);
	two(g, val(g, T1), val(g, MOST), KILN_ALU_SUBTRACT, val(g, LEAST));
	divide_by_more_than_0(g, T1);
	one(g, val(g, TRY), val(g, STEP), KILN_ALU_MULTIPLY, 0.1f, KILN_ALU_ADD, first);
	one(g, val(g, TRY), val(g, TRY), KILN_ALU_ADD, most, KILN_ALU_BYPASS, 0);
	quotient(g, INVERSE, TRY);
	levels_above_least(g, most);
	two(g, full(g, WORK), full(g, WEIGHT), KILN_ALU_MULTIPLY, full(g, LEVEL));
	sum(g, SUM_L, WORK);
	two(g, full(g, VALUE), full(g, WORK), KILN_ALU_MULTIPLY, full(g, LEVEL));
	sum(g, SUM_L2, VALUE);
	two(g, full(g, VALUE), full(g, WORK), KILN_ALU_MULTIPLY, source(g));
	sum(g, SUM_XL, VALUE);

	cross(g, TRY, SUM_W, SUM_L2, SUM_L, SUM_L);
	three(g, val(g, LIVE), val(g, TRY), KILN_ALU_GT, 0, KILN_ALU_MULTIPLY, val(g, LIVE));
	divide_by_more_than_0(g, TRY);
	cross(g, TRY, SUM_W, SUM_XL, SUM_X, SUM_L);
	quotient(g, NEW_SCALE, TRY);
	cross(g, TRY, SUM_L2, SUM_X, SUM_L, SUM_XL);
	quotient(g, NEW_LEAST, TRY);
	/* least is not above 0 */
	one(g, val(g, GOOD), val(g, NEW_LEAST), KILN_ALU_GT, 0, KILN_ALU_BYPASS, 0);
	one(g, val(g, NEW_LEAST), val(g, NEW_LEAST), KILN_ALU_MIN, 0, KILN_ALU_BYPASS, 0);
	divide_by_more_than_0(g, SUM_L2);
	quotient(g, TRY, SUM_XL);
	copy_good(g, NEW_SCALE, TRY);

	take_error(g, TRY, NEW_SCALE, NEW_LEAST, distance);
	two(g, val(g, GOOD), val(g, TRY), KILN_ALU_LT, val(g, BEST));
	two(g, val(g, GOOD), val(g, GOOD), KILN_ALU_MULTIPLY, val(g, LIVE));
	copy_good(g, BEST, TRY);
	copy_good(g, SCALE, NEW_SCALE);
	copy_good(g, LEAST, NEW_LEAST);
}

/* SCALE and LEAST of each group; WEIGHT is set. */
static void search_affine(const struct gen *g, float most, float first, uint32_t steps,
			  bool distance)
{
	sum(g, SUM_W, WEIGHT);
	two(g, full(g, WORK), full(g, WEIGHT), KILN_ALU_MULTIPLY, source(g));
	sum(g, SUM_X, WORK);
	kiln_asm_tensor_reduce(g->as, val(g, MOST), KILN_ALU_MAX, source(g), false);
	kiln_asm_tensor_reduce(g->as, val(g, LEAST), KILN_ALU_MIN, source(g), false);
	one(g, val(g, LEAST), val(g, LEAST), KILN_ALU_MIN, 0, KILN_ALU_BYPASS, 0);

	two(g, val(g, T1), val(g, MOST), KILN_ALU_SUBTRACT, val(g, LEAST));
	divide_by_more_than_0(g, T1);
	set(g, val(g, TRY), most);
	quotient(g, INVERSE, TRY);
	kiln_asm_reciprocal(g->as, val(g, SCALE), val(g, INVERSE));
	/* All the same: the scale is 0 and stays so. */
	two(g, val(g, GOOD), val(g, MOST), KILN_ALU_GT, val(g, LEAST));
	two(g, val(g, SCALE), val(g, SCALE), KILN_ALU_MULTIPLY, val(g, GOOD));
	levels_above_least(g, most);
	take_error(g, BEST, SCALE, LEAST, distance);
	set(g, val(g, STEP), -1);
	kiln_asm_loop(g->as, steps + 1);
	two(g, val(g, LIVE), val(g, MOST), KILN_ALU_GT, val(g, LEAST));
	try_affine(g, most, first, distance);
	kiln_asm_loop_end(g->as);
	one(g, val(g, LEAST), val(g, LEAST), KILN_ALU_MULTIPLY, -1, KILN_ALU_BYPASS, 0);
}

/* --------------------------------------------------------- level * scale -- */

static const int8_t table[16] = {
	-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

static float middle(unsigned int i)
{
	return (table[i - 1] + table[i]) / 2.0f;
}

/* LEVEL = x * INVERSE, to nearest, -most to most - 1; or, if most is 0, the nearest in the table */
static void levels(const struct gen *g, float most)
{
	struct kiln_operand byte = all(g, KILN_I8, tile_at(g, WORK)), level = full(g, LEVEL);
	unsigned int i;

	if (most > 0) {
		two(g, byte, source(g), KILN_ALU_MULTIPLY, vals(g, INVERSE));
		one(g, level, byte, KILN_ALU_MAX, -most, KILN_ALU_MIN, most - 1);
		return;
	}
	two(g, full(g, VALUE), source(g), KILN_ALU_MULTIPLY, vals(g, INVERSE));
	set(g, level, table[0]);
	for (i = 1; i < 16; i++) {
		one(g, full(g, WORK), full(g, VALUE), KILN_ALU_GE, middle(i), KILN_ALU_MULTIPLY,
		    table[i] - table[i - 1]);
		two(g, level, level, KILN_ALU_ADD, full(g, WORK));
	}
}

/* SUM_XL and SUM_L2 of levels, in the order of ggml's products: (w x) l, of the table's (w l) x */
static void take_sums(const struct gen *g, bool of_table)
{
	two(g, full(g, WORK), full(g, WEIGHT), KILN_ALU_MULTIPLY, full(g, LEVEL));
	if (of_table)
		two(g, full(g, VALUE), full(g, WORK), KILN_ALU_MULTIPLY, source(g));
	else
		two(g, full(g, VALUE), full(g, SPARE), KILN_ALU_MULTIPLY, full(g, LEVEL));
	sum(g, SUM_XL, VALUE);
	two(g, full(g, WORK), full(g, WORK), KILN_ALU_MULTIPLY, full(g, LEVEL));
	sum(g, SUM_L2, WORK);
}

/* The scale that suits the levels of INVERSE, if it is better */
static void try_symmetric(const struct gen *g, float most)
{
	levels(g, most);
	take_sums(g, most == 0);
	two(g, val(g, T0), val(g, SUM_XL), KILN_ALU_MULTIPLY, val(g, SUM_XL));
	two(g, val(g, T1), val(g, BEST), KILN_ALU_MULTIPLY, val(g, SUM_L2));
	two(g, val(g, GOOD), val(g, T0), KILN_ALU_GT, val(g, T1));
	three(g, val(g, GOOD), val(g, SUM_L2), KILN_ALU_GT, 0, KILN_ALU_MULTIPLY, val(g, GOOD));
	divide_by_more_than_0(g, SUM_L2);
	quotient(g, NEW_SCALE, SUM_XL);
	two(g, val(g, TRY), val(g, NEW_SCALE), KILN_ALU_MULTIPLY, val(g, SUM_XL));
	copy_good(g, SCALE, NEW_SCALE);
	copy_good(g, BEST, TRY);
}

static void prepare_squares(const struct gen *g)
{
	farthest(g);
	two(g, full(g, WEIGHT), source(g), KILN_ALU_MULTIPLY, source(g));
	two(g, full(g, SPARE), full(g, WEIGHT), KILN_ALU_MULTIPLY, source(g));
}

/* SCALE of each group: from the one that the farthest asks for, the better of some around it */
static void search_symmetric(const struct gen *g, float most, unsigned int around)
{
	prepare_squares(g);
	set(g, val(g, SCALE), 0);
	set(g, val(g, BEST), -1);
	if (most > 0) {
		set(g, val(g, TRY), -most);
		divide_by_other_than_0(g, MOST);
		quotient(g, INVERSE, TRY);
	} else {	/* the farthest is to be the lesser end, first of the other sign */
		set(g, val(g, TRY), -table[0]);
		divide_by(g, val(g, TRY));
		quotient(g, TRY, MOST);
		divide_by_other_than_0(g, TRY);
		copy(g, val(g, INVERSE), val(g, RECIPROCAL));
	}
	try_symmetric(g, most);
	set(g, val(g, STEP), -1.0f - around);
	kiln_asm_loop(g->as, 2 * around + 1);
	one(g, val(g, STEP), val(g, STEP), KILN_ALU_ADD, 1, KILN_ALU_BYPASS, 0);
	if (most > 0) {
		one(g, val(g, TRY), val(g, STEP), KILN_ALU_MULTIPLY, 0.1f, KILN_ALU_ADD, most);
		one(g, val(g, TRY), val(g, TRY), KILN_ALU_MULTIPLY, -1, KILN_ALU_BYPASS, 0);
	} else {
		one(g, val(g, TRY), val(g, STEP), KILN_ALU_ADD, table[0], KILN_ALU_BYPASS, 0);
	}
	divide_by_other_than_0(g, MOST);
	quotient(g, INVERSE, TRY);
	try_symmetric(g, most);
	kiln_asm_loop_end(g->as);
}

/*
 * Element i of each group takes the level that suits best the scale which the others have, if
 * that makes the error less.
 */
static void improve(const struct gen *g, unsigned int i)
{
	struct kiln_operand byte = each(g, value_at(g, TRY));
	struct kiln_operand level = nth(g, LEVEL, i), w = nth(g, WEIGHT, i), wx = nth(g, SPARE, i);

	byte.dtype = KILN_I8;
	two(g, val(g, T0), wx, KILN_ALU_MULTIPLY, level);
	two(g, val(g, SUM_X), val(g, SUM_XL), KILN_ALU_SUBTRACT, val(g, T0));
	two(g, val(g, T0), w, KILN_ALU_MULTIPLY, level);
	two(g, val(g, T0), val(g, T0), KILN_ALU_MULTIPLY, level);
	two(g, val(g, SUM_W), val(g, SUM_L2), KILN_ALU_SUBTRACT, val(g, T0));
	one(g, val(g, GOOD), val(g, SUM_X), KILN_ALU_GT, 0, KILN_ALU_BYPASS, 0);
	divide_by_more_than_0(g, SUM_X);
	two(g, val(g, NEW_LEAST), nth(g, VALUE, i), KILN_ALU_MULTIPLY, val(g, SUM_W));
	quotient(g, NEW_LEAST, NEW_LEAST);
	copy(g, byte, val(g, NEW_LEAST));
	one(g, val(g, NEW_LEAST), byte, KILN_ALU_MAX, -4, KILN_ALU_MIN, 3);
	two(g, val(g, T0), val(g, NEW_LEAST), KILN_ALU_NE, level);
	two(g, val(g, GOOD), val(g, GOOD), KILN_ALU_MULTIPLY, val(g, T0));

	two(g, val(g, T0), wx, KILN_ALU_MULTIPLY, val(g, NEW_LEAST));
	two(g, val(g, SUM_X), val(g, SUM_X), KILN_ALU_ADD, val(g, T0));
	two(g, val(g, T0), w, KILN_ALU_MULTIPLY, val(g, NEW_LEAST));
	two(g, val(g, T0), val(g, T0), KILN_ALU_MULTIPLY, val(g, NEW_LEAST));
	two(g, val(g, SUM_W), val(g, SUM_W), KILN_ALU_ADD, val(g, T0));
	three(g, val(g, GOOD), val(g, SUM_W), KILN_ALU_GT, 0, KILN_ALU_MULTIPLY, val(g, GOOD));
	two(g, val(g, T0), val(g, SUM_X), KILN_ALU_MULTIPLY, val(g, SUM_X));
	two(g, val(g, T0), val(g, T0), KILN_ALU_MULTIPLY, val(g, SUM_L2));
	two(g, val(g, T1), val(g, SUM_XL), KILN_ALU_MULTIPLY, val(g, SUM_XL));
	two(g, val(g, T1), val(g, T1), KILN_ALU_MULTIPLY, val(g, SUM_W));
	two(g, val(g, T0), val(g, T0), KILN_ALU_GT, val(g, T1));
	two(g, val(g, GOOD), val(g, GOOD), KILN_ALU_MULTIPLY, val(g, T0));
	kiln_asm_tensor_copy_predicated(g->as, level, val(g, NEW_LEAST), val(g, GOOD), false);
	copy_good(g, SUM_XL, SUM_X);
	copy_good(g, SUM_L2, SUM_W);
}

/* SCALE of each group, which levels of -4 to 3 have that were improved one by one */
static void search_by_elements(const struct gen *g)
{
	unsigned int i;

	prepare_squares(g);
	set(g, val(g, TRY), -4);
	divide_by_other_than_0(g, MOST);
	quotient(g, INVERSE, TRY);
	levels(g, 4);
	take_sums(g, false);
	copy(g, full(g, VALUE), source(g));
	kiln_asm_loop(g->as, 5);
	for (i = 0; i < g->per; i++)
		improve(g, i);
	kiln_asm_loop_end(g->as);
	divide_by_more_than_0(g, SUM_L2);
	quotient(g, SCALE, SUM_XL);
}

/* ---------------------------------------------------------------- blocks -- */

/* Blocks whose elements are values i of their groups. All of their tiles lie in VALUE. */
static struct gen blocks_of(const struct gen *g, unsigned int i)
{
	struct gen b = *g;

	b.n = g->qu->blocks;
	b.per = g->n / b.n;
	b.src_type = KILN_F32;
	b.src = value_at(g, i);
	return b;
}

/* Bytes of the groups: the numbers that blocks store of their scales, or their minimums */
static uint32_t numbers_at(const struct gen *g, unsigned int which)
{
	return tile_at(g, SPARE) + which * g->n;
}

static struct kiln_operand numbers(const struct gen *b, enum kiln_dtype type, uint32_t addr,
				   uint32_t first, uint32_t n)
{
	return tile(b, type, addr + first, b->per, n, 1);
}

/* Value i of groups, 0 and more, as numbers of up to most; their unit goes into the blocks. */
static void store_positive(const struct gen *g, unsigned int i, unsigned int which, float most,
			   uint32_t byte)
{
	struct gen b = blocks_of(g, i);
	struct kiln_operand to = numbers(&b, KILN_U8, numbers_at(g, which), 0, b.per);

	kiln_asm_tensor_reduce(b.as, val(&b, MOST), KILN_ALU_MAX, source(&b), false);
	one(&b, val(&b, MOST), val(&b, MOST), KILN_ALU_MAX, 0, KILN_ALU_BYPASS, 0);
	set(&b, val(&b, TRY), most);
	divide_by_more_than_0(&b, MOST);
	quotient(&b, INVERSE, TRY);
	two(&b, to, source(&b), KILN_ALU_MULTIPLY, vals(&b, INVERSE));
	one(&b, to, to, KILN_ALU_MIN, most, KILN_ALU_BYPASS, 0);
	set(&b, val(&b, TRY), most);
	divide_by(&b, val(&b, TRY));
	quotient(&b, SCALE, MOST);
	copy(&b, field(&b, KILN_F16, byte, 1), tile(&b, KILN_F32, value_at(&b, SCALE), 1, 1, 1));
}

/* SCALE as numbers of -most to top, the farthest as -most; their unit goes into the blocks. */
static void store_signed(const struct gen *g, float most, float top, uint32_t byte)
{
	struct gen b = blocks_of(g, SCALE);
	struct kiln_operand to = numbers(&b, KILN_I8, numbers_at(g, 0), 0, b.per);

	farthest(&b);
	set(&b, val(&b, TRY), -most);
	divide_by_other_than_0(&b, MOST);
	quotient(&b, INVERSE, TRY);
	two(&b, to, source(&b), KILN_ALU_MULTIPLY, vals(&b, INVERSE));
	one(&b, to, to, KILN_ALU_MAX, -most, KILN_ALU_MIN, top);
	kiln_asm_reciprocal(b.as, val(&b, SCALE), val(&b, INVERSE));
	three(&b, val(&b, SCALE), val(&b, MOST), KILN_ALU_NE, 0, KILN_ALU_MULTIPLY, val(&b, SCALE));
	copy(&b, field(&b, KILN_F16, byte, 1), tile(&b, KILN_F32, value_at(&b, SCALE), 1, 1, 1));
}

/* Value i of groups = their numbers times the block's fp16 */
static void take_factors(const struct gen *g, unsigned int i, unsigned int which,
			 enum kiln_dtype type, uint32_t byte)
{
	struct gen b = blocks_of(g, i);

	two(&b, all(&b, KILN_F32, b.src), numbers(&b, type, numbers_at(g, which), 0, b.per),
	    KILN_ALU_MULTIPLY, tile(&b, KILN_F16, b.qu->dst + byte, b.bytes / 2, b.per, 0));
}

/* The levels of VALUE with the scales as they are stored, -least to most, as digits from 0 on */
static void take_digits(const struct gen *g, float least, float most)
{
	struct kiln_operand byte = all(g, least ? KILN_I8 : KILN_U8, tile_at(g, WORK));

	divide_by_other_than_0(g, SCALE);
	quotients(g);
	copy(g, byte, full(g, LEVEL));
	one(g, full(g, LEVEL), byte, KILN_ALU_MAX, -least, KILN_ALU_MIN, most);
	one(g, all(g, KILN_U8, tile_at(g, DIGITS)), full(g, LEVEL), KILN_ALU_ADD, least,
	    KILN_ALU_BYPASS, 0);
}

/* Blocks with digits, for what packs them */
static struct gen whole(const struct gen *g)
{
	struct gen w = *g;

	w.n = g->qu->blocks;
	w.per = 256;
	w.digit = tile_at(g, DIGITS);
	return w;
}

/* Bits of digits from shift on, as other digits */
static struct gen upper_bits(const struct gen *w, uint32_t shift, uint32_t mask)
{
	struct gen u = *w;

	u.digit = u.value;
	bits(w, all(&u, KILN_U8, u.digit), all(w, KILN_U8, w->digit), shift, mask);
	return u;
}

static void keep_bits(const struct gen *w, uint32_t mask)
{
	bits(w, all(w, KILN_U8, w->digit), all(w, KILN_U8, w->digit), 0, mask);
}

/* n bytes of low halves at from, high ones so much farther */
static void pack_bytes(const struct gen *w, uint32_t byte, uint32_t from, uint32_t n,
		       uint32_t farther)
{
	struct kiln_operand low = tile(w, KILN_U8, w->digit + from, w->per, n, 1), high = low;

	high.addr += farther;
	three(w, field(w, KILN_U8, byte, n), high, KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD, low);
}

/* 32 low halves, 32 high ones, four times */
static void pack_alternating(const struct gen *w, uint32_t byte)
{
	uint32_t i;

	for (i = 0; i < 4; i++)
		pack_bytes(w, byte + 32 * i, 64 * i, 32, 32);
}

/* ----------------------------------------------------------------- types -- */

static void absolute_weights(const struct gen *g)
{
	one(g, full(g, WEIGHT), source(g), KILN_ALU_ABS, 0, KILN_ALU_BYPASS, 0);
}

/* The elements without their signs, and the root of the mean of their squares */
static void raised_weights(const struct gen *g)
{
	two(g, full(g, WORK), source(g), KILN_ALU_MULTIPLY, source(g));
	sum(g, T0, WORK);
	one(g, val(g, T0), val(g, T0), KILN_ALU_MULTIPLY, 1.0f / g->per, KILN_ALU_POW, 0.5f);
	absolute_weights(g);
	two(g, full(g, WEIGHT), full(g, WEIGHT), KILN_ALU_ADD, vals(g, T0));
}

/* Scales and minimums of up to most, their units at byte and behind; then the digits */
static void store_affine(const struct gen *g, float most, uint32_t byte, float top)
{
	store_positive(g, SCALE, 0, most, byte);
	store_positive(g, LEAST, 1, most, byte + 2);
	take_factors(g, SCALE, 0, KILN_U8, byte);
	take_factors(g, LEAST, 1, KILN_U8, byte + 2);
	two(g, full(g, VALUE), source(g), KILN_ALU_ADD, vals(g, LEAST));
	take_digits(g, 0, top);
}

static void q2_k(const struct gen *g)
{
	struct gen w = whole(g), b = blocks_of(g, SCALE);

	absolute_weights(g);
	search_affine(g, 3, -0.5f, 15, true);
	store_affine(g, 15, 80, 3);
	three(&b, field(&b, KILN_U8, 0, 16), numbers(&b, KILN_U8, numbers_at(g, 1), 0, 16),
	      KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD, numbers(&b, KILN_U8, numbers_at(g, 0), 0, 16));
	quant_pairs(&w, 16);
}

/*
 * Eight scales and minimums of six bits in twelve bytes: the first four of each, with the upper
 * two bits of the others on top; then the lower halves of those
 */
static void store_sixes(const struct gen *g, uint32_t byte)
{
	struct gen b = blocks_of(g, SCALE);
	struct kiln_operand half[2], upper = numbers(&b, KILN_U8, b.value, 0, 4);
	unsigned int which;

	for (which = 0; which < 2; which++) {
		uint32_t from = numbers_at(g, which);
		struct kiln_operand rest = numbers(&b, KILN_U8, from, 4, 4);

		half[which] = numbers(&b, KILN_U8, b.value + (1 + which) * g->n, 0, 4);
		bits(&b, upper, rest, 4, 3);
		bits(&b, half[which], rest, 0, 15);
		three(&b, field(&b, KILN_U8, byte + 4 * which, 4), upper, KILN_ALU_MULTIPLY, 64,
		      KILN_ALU_ADD, numbers(&b, KILN_U8, from, 0, 4));
	}
	three(&b, field(&b, KILN_U8, byte + 8, 4), half[1], KILN_ALU_MULTIPLY, 16, KILN_ALU_ADD,
	      half[0]);
}

static void q4_k(const struct gen *g)
{
	struct gen w = whole(g);

	raised_weights(g);
	search_affine(g, 15, -1, 20, false);
	store_affine(g, 63, 0, 15);
	store_sixes(g, 4);
	pack_alternating(&w, 16);
}

static void q5_k(const struct gen *g)
{
	struct gen w = whole(g), u;

	raised_weights(g);
	search_affine(g, 31, -0.5f, 15, false);
	store_affine(g, 63, 0, 31);
	store_sixes(g, 4);
	u = upper_bits(&w, 4, 1);
	quant_planes(&u, 16, 32, 8, 1, 32);
	keep_bits(&w, 15);
	pack_alternating(&w, 48);
}

static void q6_k(const struct gen *g)
{
	struct gen w = whole(g), b = blocks_of(g, SCALE), u;
	uint32_t half;

	search_symmetric(g, 32, 9);
	store_signed(g, 128, 127, 208);
	copy(&b, field(&b, KILN_I8, 192, 16), numbers(&b, KILN_I8, numbers_at(g, 0), 0, 16));
	take_factors(g, SCALE, 0, KILN_I8, 208);
	copy(g, full(g, VALUE), source(g));
	take_digits(g, 32, 31);
	u = upper_bits(&w, 4, 3);
	quant_pairs(&u, 128);
	keep_bits(&w, 15);
	for (half = 0; half < 2; half++)
		pack_bytes(&w, 64 * half, 128 * half, 64, 64);
}

/* Numbers of -32 to 31 get 32 more: their lower halves are digits of b, their upper bits of u. */
static void split_sixes(const struct gen *g, struct gen *b, struct gen *u)
{
	*b = blocks_of(g, SCALE);
	b->digit = numbers_at(g, 1);
	one(b, numbers(b, KILN_U8, b->digit, 0, b->per),
	    numbers(b, KILN_I8, numbers_at(g, 0), 0, b->per), KILN_ALU_ADD, 32, KILN_ALU_BYPASS, 0);
	*u = upper_bits(b, 4, 3);
	keep_bits(b, 15);
}

static void q3_k(const struct gen *g)
{
	struct gen w = whole(g), b, u;

	search_by_elements(g);
	store_signed(g, 32, 31, 108);
	split_sixes(g, &b, &u);
	pack_bytes(&b, 96, 0, 8, 8);
	quant_planes(&u, 104, 4, 4, 1, 4);
	take_factors(g, SCALE, 0, KILN_I8, 108);
	copy(g, full(g, VALUE), source(g));
	take_digits(g, 4, 3);
	u = upper_bits(&w, 2, 1);
	quant_planes(&u, 0, 32, 8, 1, 32);
	keep_bits(&w, 3);
	quant_pairs(&w, 32);
}

/* The places in the table of x / SCALE, as digits */
static void take_places(const struct gen *g)
{
	struct kiln_operand place = all(g, KILN_U8, tile_at(g, DIGITS));
	unsigned int i;

	divide_by_other_than_0(g, SCALE);
	three(g, val(g, INVERSE), val(g, SCALE), KILN_ALU_NE, 0, KILN_ALU_MULTIPLY,
	      val(g, RECIPROCAL));
	two(g, full(g, VALUE), source(g), KILN_ALU_MULTIPLY, vals(g, INVERSE));
	set(g, place, 0);
	for (i = 1; i < 16; i++)
		three(g, place, full(g, VALUE), KILN_ALU_GE, middle(i), KILN_ALU_ADD, place);
}

static void iq4_xs(const struct gen *g)
{
	struct gen w = whole(g), b, u;
	uint32_t i;

	search_symmetric(g, 0, 7);
	store_signed(g, 32, 31, 0);
	split_sixes(g, &b, &u);
	for (i = 0; i < 4; i++)
		pack_bytes(&b, 4 + i, 2 * i, 1, 1);
	quant_planes(&u, 2, 2, 4, 4, 1);
	/* The places are those of scales which are not rounded to fp16. */
	b = blocks_of(g, SCALE);
	farthest(&b);
	one(&b, val(&b, MOST), val(&b, MOST), KILN_ALU_MULTIPLY, -1 / 32.0f, KILN_ALU_BYPASS, 0);
	copy(&b, field(&b, KILN_F16, 0, 1), tile(&b, KILN_F32, value_at(&b, MOST), 1, 1, 1));
	two(&b, all(&b, KILN_F32, b.src), numbers(&b, KILN_I8, numbers_at(g, 0), 0, b.per),
	    KILN_ALU_MULTIPLY, vals(&b, MOST));
	take_places(g);
	for (i = 0; i < 8; i++)
		pack_bytes(&w, 8 + 16 * i, 32 * i, 16, 16);
}

void quant_searched(const struct gen *block)
{
	enum kiln_type type = block->qu->type;
	struct gen groups = *block, *g = &groups;

	g->per = 16;
	if (type == KILN_TYPE_Q4_K || type == KILN_TYPE_Q5_K || type == KILN_TYPE_IQ4_XS)
		g->per = 32;
	g->n = block->n * (256 / g->per);
	switch (type) {
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
	case KILN_TYPE_Q6_K:
		q6_k(g);
		break;
	default:
		iq4_xs(g);
		break;
	}
}
