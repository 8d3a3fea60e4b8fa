// SPDX-License-Identifier: MIT
/*
 * The order of each row: a bitonic network over pairs of an element and its place, on
 * Vector. A row lies in one partition, or, if it is longer, over several, which makes steps
 * of two kinds: those within a partition, and those between partitions, before which the row
 * goes through memory and comes back with its partitions beside each other.
 *
 * Two sorted halves are merged by turning the second one round and comparing over half, a quarter
 * and so on: so all comparisons go in one direction. What is equal is ordered by its place, so
 * that what a row is filled up with comes last.
 */
#include <errno.h>
#include <math.h>

#include "seq.h"

#define WIDTH		8192u	/* of a partition */
#define MAX_ROW		(64 * WIDTH)	/* what a command comes to the end of in time */

enum { ARG_X, ARG_WORK, ARG_INDICES, ARGS };
enum { RING_IN = 0, RING_OUT = 8 };

struct gen {
	struct seq s;
	struct kiln_asm *as;
	const struct kiln_order *o;
	uint32_t width, parts;		/* of a partition; partitions of a row */
	uint32_t p;			/* partitions of a tile */
	uint32_t key, place, swap, equal;	/* SBUF */
	unsigned int x, work, out;	/* Sync */
};

/* [n0, n1] from element first of what stands there on */
static struct kiln_operand part(uint32_t p, uint32_t at, int first, uint32_t n0, int s0, uint32_t n1,
				int s1)
{
	return kiln_tile2(KILN_SBUF, KILN_F32, 0, p, at + first * 4, n0, s0, n1, s1);
}

static void two(const struct gen *g, struct kiln_operand dst, struct kiln_operand a, enum kiln_alu func,
		struct kiln_operand b)
{
	kiln_asm_tensor_tensor(g->as, KILN_VECTOR, dst, a, func, b);
}

/* The greater ones to the first of both, or the earlier ones of equals */
static void exchange(struct gen *g, uint32_t p, int first, int second, uint32_t n0, int s0, uint32_t n1,
		     int s1)
{
	struct kiln_operand swap = sbuf(p, KILN_F32, g->swap, n0 * n1);
	struct kiln_operand equal = sbuf(p, KILN_F32, g->equal, n0 * n1);
	struct kiln_operand a = part(p, g->key, first, n0, s0, n1, 1);
	struct kiln_operand b = part(p, g->key, second, n0, s0, n1, s1);
	struct kiln_operand at = part(p, g->place, first, n0, s0, n1, 1);
	struct kiln_operand bt = part(p, g->place, second, n0, s0, n1, s1);

	two(g, equal, b, KILN_ALU_EQ, a);
	two(g, swap, bt, KILN_ALU_LT, at);
	two(g, equal, equal, KILN_ALU_MULTIPLY, swap);
	two(g, swap, b, KILN_ALU_GT, a);
	two(g, swap, swap, KILN_ALU_ADD, equal);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, equal, a);
	kiln_asm_tensor_copy_predicated(g->as, a, b, swap, false);
	kiln_asm_tensor_copy_predicated(g->as, b, equal, swap, false);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, equal, at);
	kiln_asm_tensor_copy_predicated(g->as, at, bt, swap, false);
	kiln_asm_tensor_copy_predicated(g->as, bt, equal, swap, false);
}

/* Pairs that are distance apart, among n */
static void halve(struct gen *g, uint32_t p, uint32_t n, uint32_t distance)
{
	exchange(g, p, 0, distance, n / (2 * distance), 2 * distance, distance, 1);
}

static void sort_partitions(struct gen *g)
{
	uint32_t size, distance;

	for (size = 2; size <= g->width; size *= 2) {
		exchange(g, g->p, 0, size - 1, g->width / size, size, size / 2, -1);
		for (distance = size / 4; distance; distance /= 2)
			halve(g, g->p, g->width, distance);
	}
}

/* Keys and places to memory: rows of n1 elements, n0 of each partition, s0 apart */
static void store(struct gen *g, uint32_t p, int step, uint32_t n0, int s0, uint32_t n1)
{
	uint32_t i;

	for (i = 0; i < 2; i++)
		seq_dma(&g->s, RING_OUT, kiln_dram2(g->work, i * g->parts * g->width * 4, step, s0, 1),
			part(p, i ? g->place : g->key, 0, n0, n1, n1, 1));
	seq_settle(&g->s);
}

static void merge(struct gen *g, uint32_t pieces)
{
	uint32_t each = g->width / PART, half = pieces / 2, i, first, distance;

	store(g, g->p, g->width, 1, g->width, g->width);
	/* The partitions beside each other, each of all 128 having a part of them */
	for (i = 0; i < 2; i++) {
		for (first = 0; first < g->parts; first += half) {
			bool back = first / half % 2;
			uint32_t from = back ? (first + half) * g->width - 1 : first * g->width;
			int sign = back ? -1 : 1;

			seq_dma(&g->s, RING_IN,
				part(PART, i ? g->place : g->key, first * each, half, each, each, 1),
				kiln_dram2(g->work, (i * g->parts * g->width + from) * 4,
					   sign * (int)each, sign * (int)g->width, sign));
		}
		seq_settle(&g->s);
	}
	seq_on(&g->s, KILN_VECTOR);
	for (distance = half; distance; distance /= 2)
		halve(g, PART, g->parts * each, distance * each);
	store(g, PART, each, g->parts, g->width, each);
	for (i = 0; i < 2; i++)
		seq_dma(&g->s, RING_IN, sbuf(g->p, KILN_F32, i ? g->place : g->key, g->width),
			kiln_dram(g->work, i * g->parts * g->width * 4, g->width, 1));
	seq_settle(&g->s);
	seq_on(&g->s, KILN_VECTOR);
	for (distance = g->width / 2; distance; distance /= 2)
		halve(g, g->p, g->width, distance);
}

/* Full partitions of n elements that lie behind each other in memory, and the last one */
static void move_row(struct gen *g, uint32_t n, bool out)
{
	uint32_t full = n / g->width, rest = n % g->width, i;

	for (i = 0; i < 2; i++) {
		uint32_t p = i ? 1 : full, columns = i ? rest : g->width, from = i ? full : 0;
		struct kiln_operand tile, dram;

		if (!p || !columns)
			continue;
		tile = kiln_tile1(KILN_SBUF, out ? KILN_U32 : KILN_F32, from, p, g->key, columns);
		dram = kiln_dram(out ? g->out : g->x, from * g->width * 4, g->width, 1);
		if (out)
			seq_dma(&g->s, RING_OUT, dram, tile);
		else
			seq_dma(&g->s, RING_IN, tile, dram);
	}
}

/* rows of one partition each, or one row of many */
static void tile(struct gen *g, uint32_t rows)
{
	const struct kiln_order *o = g->o;
	const int32_t one[] = { 1 };
	uint32_t pieces;

	g->p = rows * g->parts;
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_memset(g->as, KILN_VECTOR, sbuf(g->p, KILN_F32, g->key, g->width),
			o->ascending ? INFINITY : -INFINITY);
	seq_settle(&g->s);
	if (g->parts > 1)
		move_row(g, o->width, false);
	else
		seq_dma(&g->s, RING_IN, sbuf(rows, KILN_F32, g->key, o->width),
			kiln_dram(g->x, 0, o->width, 1));
	seq_settle(&g->s);
	seq_on(&g->s, KILN_GPSIMD);
	kiln_asm_iota(g->as, sbuf(g->p, KILN_F32, g->place, g->width), 0, 0,
		      g->parts > 1 ? g->width : 0, one);
	seq_on(&g->s, KILN_VECTOR);
	if (o->ascending)
		kiln_asm_tensor_scalar(g->as, KILN_VECTOR, sbuf(g->p, KILN_F32, g->key, g->width),
				       sbuf(g->p, KILN_F32, g->key, g->width), KILN_ALU_MULTIPLY,
				       kiln_const(-1), KILN_ALU_BYPASS, kiln_const(0), 0);
	sort_partitions(g);
	for (pieces = 2; pieces <= g->parts; pieces *= 2)
		merge(g, pieces);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, sbuf(g->p, KILN_U32, g->key, g->width),
			     sbuf(g->p, KILN_F32, g->place, g->width));
	seq_settle(&g->s);
	if (g->parts > 1)
		move_row(g, o->k, true);
	else
		seq_dma(&g->s, RING_OUT, kiln_dram(g->out, 0, o->k, 1),
			sbuf(rows, KILN_U32, g->key, o->k));
	seq_settle(&g->s);
	bump(g->as, KILN_SYNC, g->x, (int64_t)rows * o->width * 4);
	bump(g->as, KILN_SYNC, g->out, (int64_t)rows * o->k * 4);
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t power = 2;

	while (power < n)
		power *= 2;
	return power;
}

static int make(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct kiln_order *o = shape;
	uint32_t n = power_of_two(o->width), top = 0, rows;
	struct gen gen = {
		.s = seq_start(as), .as = as, .o = o, .width = kiln_min(n, WIDTH),
		.parts = kiln_ceil_div(n, WIDTH),
	}, *g = &gen;

	(void)generation;	/* fits into the smallest */
	g->key = take(&top, g->width * 4);
	g->place = take(&top, g->width * 4);
	g->swap = take(&top, g->width * 2);
	g->equal = take(&top, g->width * 2);
	g->x = kiln_asm_reg(as, KILN_SYNC);
	g->work = kiln_asm_reg(as, KILN_SYNC);
	g->out = kiln_asm_reg(as, KILN_SYNC);
	kiln_asm_ldarg(as, KILN_SYNC, g->x, ARG_X);
	kiln_asm_ldarg(as, KILN_SYNC, g->work, ARG_WORK);
	kiln_asm_ldarg(as, KILN_SYNC, g->out, ARG_INDICES);
	rows = g->parts > 1 ? 1 : PART;
	if (o->rows / rows) {
		seq_loop(&g->s, o->rows / rows);
		tile(g, rows);
		seq_loop_end(&g->s);
	}
	if (o->rows % rows)
		tile(g, o->rows % rows);
	return 0;
}

uint64_t kiln_order_work(uint32_t width)
{
	return width > WIDTH && width <= MAX_ROW ? 8ull * power_of_two(width) : 0;
}

int kiln_order(struct kiln_ops *ops, const struct kiln_order *order, kiln_done_fn done, void *user)
{
	const struct kiln_order *o = order;
	struct kiln_ops_key key;
	uint64_t args[ARGS];

	if (!ops || !o)
		return kiln_error(-EINVAL, "order: no ops or no description");
	if (!o->rows || !o->width || o->rows > INT32_MAX || !o->k || o->k > o->width)
		return kiln_error(-EINVAL, "order: %u of %u in %u rows: each at least 1, not more than there are, rows at most 2147483647",
				  o->k, o->width, o->rows);
	if (o->width > MAX_ROW)
		return kiln_error(-ENOTSUP, "order: rows of %u: up to %u", o->width, MAX_ROW);
	if (!o->x || o->x % 4 || !o->indices || o->indices % 4 || o->work % 4 ||
	    (!o->work && kiln_order_work(o->width)))
		return kiln_error(-EINVAL, "order: x is at 0x%llx, indices at 0x%llx: device addresses, aligned to 4 bytes; work is at 0x%llx, of %llu bytes",
				  (unsigned long long)o->x, (unsigned long long)o->indices,
				  (unsigned long long)o->work,
				  (unsigned long long)kiln_order_work(o->width));
	args[ARG_X] = o->x;
	args[ARG_WORK] = o->work;
	args[ARG_INDICES] = o->indices;
	key = (struct kiln_ops_key) { .word = {
		KILN_OPS_ORDER | (uint64_t)o->ascending << 8, o->rows, o->width, o->k,
	} };
	return kiln_ops_run(ops, &key, "order", make, o, args, ARGS, done, user);
}
