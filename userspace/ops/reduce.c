// SPDX-License-Identifier: MIT
/*
 * Sum, mean, maximum and minimum over one dimension: x is [outer, n, inner].
 *
 * A tile has up to 128 partitions with some elements of the result each, and of
 * n a chunk at a time, of which Vector takes the reduction and joins it with what
 * it had. In the partitions lie, whichever fills them better:
 *
 *	ROWS	inner is 1: groups of outer
 *	OUTER	outer, beside each other chunks of inner
 *	INNER	groups of inner, one of outer after the other
 *
 * Sync loads, GpSimd stores.
 */
#include <errno.h>
#include <math.h>

#include "stream.h"

#define TILE_ELEMENTS	4096u	/* of a partition at a time */
#define SLOTS		4
#define OUT_SLOTS	3

enum way { ROWS, OUTER, INNER };

enum { SEM_FULL, SEM_FREE, SEM_OUT_FULL, SEM_OUT_FREE };
enum { RING_IN = 0, RING_OUT = 8 };

struct gen {
	struct kiln_asm *as;
	const struct kiln_reduce *re;
	enum way way;
	enum kiln_dtype type, out_type;
	uint32_t es, os;
	uint32_t width, chunk;	/* results of a partition; of n at a time */
	enum kiln_alu func;
	uint32_t so_far, part;	/* SBUF, fp32 [width] */
	struct turn in[KILN_ENGINES], out[KILN_ENGINES];
	unsigned int x, x_outer, x_next;	/* Sync */
	unsigned int y;				/* GpSimd */
};

/* The next k of n for p partitions with width results. */
static void piece(struct gen *g, uint32_t p, uint32_t width, uint32_t k)
{
	struct kiln_asm *as = g->as;
	int32_t inner = g->re->inner, n = g->re->n;
	struct kiln_operand part = sbuf(p, KILN_F32, g->part, width);
	struct kiln_operand so_far = sbuf(p, KILN_F32, g->so_far, width);

	kiln_asm_wait(as, KILN_SYNC, SEM_FREE, 1);
	if (g->way == ROWS)
		kiln_asm_dma(as, KILN_SYNC, RING_IN,
			     kiln_at(kiln_tile2(KILN_SBUF, g->type, 0, p, 0, width, k, k, 1),
				     g->in[KILN_SYNC].reg),
			     kiln_dram2(g->x_next, 0, n * (int32_t)width, n, 1));
	else
		kiln_asm_dma(as, KILN_SYNC, RING_IN,
			     kiln_at(kiln_tile2(KILN_SBUF, g->type, 0, p, 0, k, width, width, 1),
				     g->in[KILN_SYNC].reg),
			     kiln_dram2(g->x_next, 0, g->way == OUTER ? n * inner : (int32_t)width,
					inner, 1));
	kiln_asm_post(as, KILN_SYNC, SEM_FULL, 1);
	turn_next(as, KILN_SYNC, &g->in[KILN_SYNC]);
	bump(as, KILN_SYNC, g->x_next, (int64_t)k * inner * g->es);

	kiln_asm_wait(as, KILN_VECTOR, SEM_FULL, 1);
	kiln_asm_tensor_reduce(as, part, g->func,
			       kiln_at(g->way == ROWS ?
				       kiln_tile2(KILN_SBUF, g->type, 0, p, 0, width, k, k, 1) :
				       kiln_tile2(KILN_SBUF, g->type, 0, p, 0, width, 1, k, width),
				       g->in[KILN_VECTOR].reg), false);
	kiln_asm_post(as, KILN_VECTOR, SEM_FREE, 1);
	kiln_asm_tensor_tensor(as, KILN_VECTOR, so_far, so_far, g->func, part);
	turn_next(as, KILN_VECTOR, &g->in[KILN_VECTOR]);
}

static void tile(struct gen *g, uint32_t p, uint32_t width)
{
	struct kiln_asm *as = g->as;
	uint32_t n = g->re->n;
	/* What leaves every other value alone */
	float none = g->func == KILN_ALU_ADD ? -0.0f : g->func == KILN_ALU_MAX ? -INFINITY : INFINITY;
	float factor = g->re->func == KILN_REDUCE_MEAN ? 1.0f / n : 1;

	kiln_asm_memset(as, KILN_VECTOR, sbuf(p, KILN_F32, g->so_far, width), none);
	kiln_asm_addi(as, KILN_SYNC, g->x_next, g->x, 0);
	kiln_asm_loop(as, n / g->chunk);
	piece(g, p, width, g->chunk);
	kiln_asm_loop_end(as);
	if (n % g->chunk)
		piece(g, p, width, n % g->chunk);
	kiln_asm_wait(as, KILN_VECTOR, SEM_OUT_FREE, 1);
	kiln_asm_tensor_scalar(as, KILN_VECTOR, slot(&g->out[KILN_VECTOR], g->out_type, p, width),
			       sbuf(p, KILN_F32, g->so_far, width), KILN_ALU_MULTIPLY,
			       kiln_const(factor), KILN_ALU_BYPASS, kiln_const(0), 0);
	kiln_asm_post(as, KILN_VECTOR, SEM_OUT_FULL, 1);
	turn_next(as, KILN_VECTOR, &g->out[KILN_VECTOR]);

	kiln_asm_wait(as, KILN_GPSIMD, SEM_OUT_FULL, 1);
	kiln_asm_dma(as, KILN_GPSIMD, RING_OUT,
		     kiln_dram(g->y, 0, g->way == OUTER ? g->re->inner : width, 1),
		     slot(&g->out[KILN_GPSIMD], g->out_type, p, width));
	kiln_asm_post(as, KILN_GPSIMD, SEM_OUT_FREE, 1);
	turn_next(as, KILN_GPSIMD, &g->out[KILN_GPSIMD]);
}

/* count results that lie behind each other, step elements of x apart, in groups. */
static void grouped(struct gen *g, uint32_t count, uint64_t step)
{
	const uint32_t all = PART * g->width, rest = count % all;
	uint32_t p[3] = { PART, rest / g->width, 1 };
	uint32_t width[3] = { g->width, g->width, rest % g->width };
	uint32_t times[3] = { count / all, rest / g->width ? 1 : 0, rest % g->width ? 1 : 0 };
	int i;

	for (i = 0; i < 3; i++) {
		if (!times[i])
			continue;
		kiln_asm_loop(g->as, times[i]);
		tile(g, p[i], width[i]);
		bump(g->as, KILN_SYNC, g->x, (int64_t)(step * p[i] * width[i] * g->es));
		bump(g->as, KILN_GPSIMD, g->y, (int64_t)p[i] * width[i] * g->os);
		kiln_asm_loop_end(g->as);
	}
}

/* p of outer: all of inner, in chunks. */
static void side_by_side(struct gen *g, uint32_t p)
{
	uint32_t inner = g->re->inner;
	uint64_t step = (uint64_t)g->re->n * inner;

	kiln_asm_addi(g->as, KILN_SYNC, g->x_outer, g->x, 0);
	kiln_asm_loop(g->as, inner / g->width);
	tile(g, p, g->width);
	bump(g->as, KILN_SYNC, g->x, (int64_t)g->width * g->es);
	bump(g->as, KILN_GPSIMD, g->y, (int64_t)g->width * g->os);
	kiln_asm_loop_end(g->as);
	if (inner % g->width)
		tile(g, p, inner % g->width);
	kiln_asm_addi(g->as, KILN_SYNC, g->x, g->x_outer, (int64_t)(PART * step * g->es));
	bump(g->as, KILN_GPSIMD, g->y,
	     ((int64_t)PART * inner - inner / g->width * g->width) * g->os);
}

static int make_reduce(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	static const enum kiln_alu funcs[] = {
		[KILN_REDUCE_SUM] = KILN_ALU_ADD, [KILN_REDUCE_MEAN] = KILN_ALU_ADD,
		[KILN_REDUCE_MAX] = KILN_ALU_MAX, [KILN_REDUCE_MIN] = KILN_ALU_MIN,
	};
	const struct kiln_reduce *re = shape;
	struct gen gen = {
		.as = as, .re = re, .type = kiln_type_dtype(re->type), .es = type_size(re->type),
		.out_type = kiln_type_dtype(re->out_type), .os = type_size(re->out_type),
		.func = funcs[re->func],
	}, *g = &gen;
	uint32_t bytes, out, top = 0;

	(void)generation;	/* fits into the smallest */
	if (re->inner == 1) {
		g->way = ROWS;
		g->chunk = kiln_min(re->n, TILE_ELEMENTS);
		g->width = kiln_min(TILE_ELEMENTS / g->chunk, kiln_ceil_div(re->outer, PART));
		while (g->width > 1 && (uint64_t)g->width * re->n > INT32_MAX)
			g->width--;
	} else {
		/* At least 64 elements beside each other: shorter pieces cost memory as much. */
		uint32_t wide = re->inner < 64 ? re->inner : 64;

		g->way = re->outer >= PART || (uint64_t)re->outer * wide >= re->inner ? OUTER : INNER;
		if ((uint64_t)re->n * re->inner > INT32_MAX)
			g->way = INNER;
		g->width = kiln_min(g->way == OUTER ? re->inner : kiln_ceil_div(re->inner, PART), 512);
		g->chunk = kiln_min(re->n, TILE_ELEMENTS / g->width);
	}
	bytes = KILN_ALIGN_UP(g->width * g->chunk * g->es, 64u);
	out = KILN_ALIGN_UP(g->width * g->os, 64u);
	turn_init(as, KILN_SYNC, &g->in[KILN_SYNC], top, bytes, SLOTS);
	turn_init(as, KILN_VECTOR, &g->in[KILN_VECTOR], top, bytes, SLOTS);
	top += SLOTS * bytes;
	turn_init(as, KILN_VECTOR, &g->out[KILN_VECTOR], top, out, OUT_SLOTS);
	turn_init(as, KILN_GPSIMD, &g->out[KILN_GPSIMD], top, out, OUT_SLOTS);
	top += OUT_SLOTS * out;
	g->so_far = take(&top, g->width * 4);
	g->part = take(&top, g->width * 4);
	g->x = kiln_asm_reg(as, KILN_SYNC);
	g->x_outer = kiln_asm_reg(as, KILN_SYNC);
	g->x_next = kiln_asm_reg(as, KILN_SYNC);
	g->y = kiln_asm_reg(as, KILN_GPSIMD);
	kiln_asm_ldarg(as, KILN_SYNC, g->x, 0);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->y, 1);
	post_free(as, KILN_VECTOR, SEM_FREE, SLOTS);
	post_free(as, KILN_VECTOR, SEM_OUT_FREE, OUT_SLOTS);

	switch (g->way) {
	case ROWS:
		grouped(g, re->outer, re->n);
		break;
	case INNER:
		kiln_asm_loop(as, re->outer);
		kiln_asm_addi(as, KILN_SYNC, g->x_outer, g->x, 0);
		grouped(g, re->inner, 1);
		kiln_asm_addi(as, KILN_SYNC, g->x, g->x_outer,
			      (int64_t)((uint64_t)re->n * re->inner * g->es));
		kiln_asm_loop_end(as);
		break;
	case OUTER:
		if (re->outer / PART) {
			kiln_asm_loop(as, re->outer / PART);
			side_by_side(g, PART);
			kiln_asm_loop_end(as);
		}
		if (re->outer % PART)
			side_by_side(g, re->outer % PART);
		break;
	}
	return 0;
}

int kiln_reduce(struct kiln_ops *ops, const struct kiln_reduce *reduce, kiln_done_fn done,
		void *user)
{
	struct kiln_ops_key key;
	struct kiln_reduce re;
	uint64_t args[2];

	if (!ops || !reduce)
		return kiln_error(-EINVAL, "reduce: no ops or no description");
	re = *reduce;
	if (!re.out_type)
		re.out_type = re.type;
	if (!known_type(re.type) || !known_type(re.out_type))
		return kiln_error(-ENOTSUP, "reduce: type %d and out_type %d: KILN_TYPE_F32, _BF16 or _F16",
				  (int)re.type, (int)re.out_type);
	if (re.func < KILN_REDUCE_SUM || re.func > KILN_REDUCE_MIN)
		return kiln_error(-ENOTSUP, "reduce: function %d is none of enum kiln_reduce_func",
				  (int)re.func);
	if (!re.outer)
		re.outer = 1;
	if (!re.inner)
		re.inner = 1;
	if (!re.n || re.n > INT32_MAX || re.outer > INT32_MAX || re.inner > INT32_MAX)
		return kiln_error(-EINVAL, "reduce: [%u, %u, %u]: n at least 1, each at most 2147483647",
				  re.outer, re.n, re.inner);
	if (!re.x || re.x % type_size(re.type) || !re.y || re.y % type_size(re.out_type))
		return kiln_error(-EINVAL, "reduce: x is at 0x%llx, y at 0x%llx: device addresses, aligned to %u and %u bytes",
				  (unsigned long long)re.x, (unsigned long long)re.y,
				  type_size(re.type), type_size(re.out_type));
	args[0] = re.x;
	args[1] = re.y;
	key = (struct kiln_ops_key) { .word = {
		KILN_OPS_REDUCE | (uint64_t)re.type << 8 | (uint64_t)re.out_type << 16 |
			(uint64_t)re.func << 24,
		re.outer, re.n, re.inner,
	} };
	return kiln_ops_run(ops, &key, "reduce", make_reduce, &re, args, 2, done, user);
}
