// SPDX-License-Identifier: MIT
/*
 * Rotary embedding. A tile is up to 128 tokens, one in each partition, with some
 * of their heads; cosines and sines of the tokens come with the tile of tokens
 * and are read again for each head. Of each pair Vector makes the first and
 * GpSimd the second; Sync loads, Scalar copies what is not rotated and stores.
 */
#include <errno.h>

#include "stream.h"

#define TILE_ELEMENTS	2048u
#define SLOTS		3
#define MAX_DIM		1024

enum {
	SEM_FULL_V, SEM_FULL_G, SEM_FREE,
	SEM_TABLE_V, SEM_TABLE_G, SEM_TABLE_FREE_V, SEM_TABLE_FREE_G,
	SEM_OUT_V, SEM_OUT_G, SEM_OUT_FREE_V, SEM_OUT_FREE_G,
	SEM_COPIED,
};

enum { RING_X = 0, RING_TABLE = 4, RING_OUT = 8 };
enum { ARG_X, ARG_OUT, ARG_COS, ARG_SIN, ARG_POSITIONS, ARGS };

struct gen {
	struct kiln_asm *as;
	const struct kiln_rope *ro;
	enum kiln_dtype type;
	uint32_t es, half, heads;	/* heads of a tile */
	uint32_t product[KILN_ENGINES];
	struct turn x[KILN_ENGINES], out[KILN_ENGINES], table[KILN_ENGINES];
	unsigned int x_next, cos, sin, positions, limit;	/* Sync */
	unsigned int y_next;			/* Scalar */
};

static const enum kiln_engine rotator[] = { KILN_VECTOR, KILN_GPSIMD };

/* The first or second of the pairs of all heads. */
static struct kiln_operand part(const struct gen *g, const struct turn *t, uint32_t p,
				uint32_t heads, unsigned int second)
{
	uint32_t step = g->ro->interleaved ? 2 : 1;
	uint32_t first = second ? (g->ro->interleaved ? 1 : g->half) : 0;

	return kiln_at(kiln_tile2(KILN_SBUF, g->type, 0, p, first * g->es, heads, g->ro->dim,
				  g->half, step), t->reg);
}

/* Cosines (0) or sines (1), for each head again. */
static struct kiln_operand table(const struct gen *g, enum kiln_engine e, uint32_t p,
				 uint32_t heads, unsigned int which)
{
	return kiln_at(kiln_tile2(KILN_SBUF, KILN_F32, 0, p, which * g->half * 4, heads, 0,
				  g->half, 1), g->table[e].reg);
}

static void rotate(struct gen *g, unsigned int i, uint32_t p, uint32_t heads)
{
	enum kiln_engine e = rotator[i];
	struct kiln_operand a = sbuf(p, KILN_F32, g->product[e], heads * g->half);
	struct kiln_operand b = sbuf(p, KILN_F32, g->product[e] + heads * g->half * 4,
				     heads * g->half);

	/* first: x0 cos - x1 sin; second: x1 cos + x0 sin */
	kiln_asm_wait(g->as, e, i ? SEM_FULL_G : SEM_FULL_V, 1);
	kiln_asm_tensor_tensor(g->as, e, a, part(g, &g->x[e], p, heads, i), KILN_ALU_MULTIPLY,
			       table(g, e, p, heads, 0));
	kiln_asm_tensor_tensor(g->as, e, b, part(g, &g->x[e], p, heads, !i), KILN_ALU_MULTIPLY,
			       table(g, e, p, heads, 1));
	kiln_asm_wait(g->as, e, i ? SEM_OUT_FREE_G : SEM_OUT_FREE_V, 1);
	kiln_asm_tensor_tensor(g->as, e, part(g, &g->out[e], p, heads, i), a,
			       i ? KILN_ALU_ADD : KILN_ALU_SUBTRACT, b);
	kiln_asm_post(g->as, e, i ? SEM_OUT_G : SEM_OUT_V, 1);
	turn_next(g->as, e, &g->x[e]);
	turn_next(g->as, e, &g->out[e]);
}

static void some_heads(struct gen *g, uint32_t p, uint32_t heads)
{
	struct kiln_asm *as = g->as;
	uint32_t dim = g->ro->dim, rest = dim - 2 * g->half, n = heads * dim;

	kiln_asm_wait(as, KILN_SYNC, SEM_FREE, 1);
	kiln_asm_dma(as, KILN_SYNC, RING_X, slot(&g->x[KILN_SYNC], g->type, p, n),
		     kiln_dram(g->x_next, 0, g->ro->ldx, 1));
	kiln_asm_post(as, KILN_SYNC, SEM_FULL_V, 1);
	kiln_asm_post(as, KILN_SYNC, SEM_FULL_G, 1);
	turn_next(as, KILN_SYNC, &g->x[KILN_SYNC]);
	bump(as, KILN_SYNC, g->x_next, (int64_t)n * g->es);

	rotate(g, 0, p, heads);
	rotate(g, 1, p, heads);

	/* Both have made their half, so they have read the tile. */
	kiln_asm_wait(as, KILN_SCALAR, SEM_OUT_V, 1);
	kiln_asm_wait(as, KILN_SCALAR, SEM_OUT_G, 1);
	if (rest)
		kiln_asm_tensor_copy(as, KILN_SCALAR,
				     kiln_at(kiln_tile2(KILN_SBUF, g->type, 0, p,
							2 * g->half * g->es, heads, dim, rest, 1),
					     g->out[KILN_SCALAR].reg),
				     kiln_at(kiln_tile2(KILN_SBUF, g->type, 0, p,
							2 * g->half * g->es, heads, dim, rest, 1),
					     g->x[KILN_SCALAR].reg));
	else
		kiln_asm_nop(as, KILN_SCALAR);
	kiln_asm_post(as, KILN_SCALAR, SEM_FREE, 1);
	/* A transfer may start before the instruction in front of it is complete. */
	kiln_asm_post(as, KILN_SCALAR, SEM_COPIED, 1);
	kiln_asm_wait(as, KILN_SCALAR, SEM_COPIED, 1);
	kiln_asm_dma(as, KILN_SCALAR, RING_OUT, kiln_dram(g->y_next, 0, g->ro->ldy, 1),
		     slot(&g->out[KILN_SCALAR], g->type, p, n));
	kiln_asm_post(as, KILN_SCALAR, SEM_OUT_FREE_V, 1);
	kiln_asm_post(as, KILN_SCALAR, SEM_OUT_FREE_G, 1);
	turn_next(as, KILN_SCALAR, &g->x[KILN_SCALAR]);
	turn_next(as, KILN_SCALAR, &g->out[KILN_SCALAR]);
	bump(as, KILN_SCALAR, g->y_next, (int64_t)n * g->es);
}

/* Cosines (0) or sines (1) of p tokens. */
static void load_table(struct gen *g, unsigned int base, uint32_t p, unsigned int which)
{
	struct kiln_operand dst = kiln_at(sbuf(p, KILN_F32, which * g->half * 4, g->half),
					  g->table[KILN_SYNC].reg);

	if (g->ro->positions)
		gather_rows(g->as, RING_TABLE, dst, base, g->half, g->positions, g->limit);
	else
		kiln_asm_dma(g->as, KILN_SYNC, RING_TABLE, dst, kiln_dram(base, 0, g->half, 1));
}

static void tile(struct gen *g, uint32_t p)
{
	uint32_t heads = g->ro->heads, row = heads * g->ro->dim, i;
	int64_t step = g->ro->positions ? 0 : (int64_t)PART * g->half * 4;

	kiln_asm_wait(g->as, KILN_SYNC, SEM_TABLE_FREE_V, 1);
	kiln_asm_wait(g->as, KILN_SYNC, SEM_TABLE_FREE_G, 1);
	load_table(g, g->cos, p, 0);
	load_table(g, g->sin, p, 1);
	/* One ring: the cosines are there when the sines are. */
	kiln_asm_post(g->as, KILN_SYNC, SEM_TABLE_V, 1);
	kiln_asm_post(g->as, KILN_SYNC, SEM_TABLE_G, 1);
	bump(g->as, KILN_SYNC, g->cos, step);
	bump(g->as, KILN_SYNC, g->sin, step);
	bump(g->as, KILN_SYNC, g->positions, PART * 4);
	turn_next(g->as, KILN_SYNC, &g->table[KILN_SYNC]);
	for (i = 0; i < 2; i++) {
		kiln_asm_wait(g->as, rotator[i], i ? SEM_TABLE_G : SEM_TABLE_V, 1);
		kiln_asm_nop(g->as, rotator[i]);
	}
	if (heads / g->heads) {
		kiln_asm_loop(g->as, heads / g->heads);
		some_heads(g, p, g->heads);
		kiln_asm_loop_end(g->as);
	}
	if (heads % g->heads)
		some_heads(g, p, heads % g->heads);
	for (i = 0; i < 2; i++) {
		post_free(g->as, rotator[i], i ? SEM_TABLE_FREE_G : SEM_TABLE_FREE_V, 1);
		turn_next(g->as, rotator[i], &g->table[rotator[i]]);
	}
	bump(g->as, KILN_SYNC, g->x_next, ((int64_t)PART * g->ro->ldx - row) * g->es);
	bump(g->as, KILN_SCALAR, g->y_next, ((int64_t)PART * g->ro->ldy - row) * g->es);
}

static int make_rope(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct kiln_rope *ro = shape;
	struct gen gen = { .as = as, .ro = ro, .type = kiln_type_dtype(ro->type),
			   .es = type_size(ro->type), .half = ro->rotated / 2 }, *g = &gen;
	uint32_t bytes, top;
	enum kiln_engine e;

	(void)generation;	/* fits into the smallest */
	g->heads = kiln_min(ro->heads, TILE_ELEMENTS / ro->dim);
	bytes = KILN_ALIGN_UP(g->heads * ro->dim * g->es, 64u);
	for (e = KILN_VECTOR; e < KILN_ENGINES; e++) {
		turn_init(as, e, &g->x[e], 0, bytes, SLOTS);
		turn_init(as, e, &g->out[e], SLOTS * bytes, bytes, SLOTS);
		turn_init(as, e, &g->table[e], 2 * SLOTS * bytes,
			  KILN_ALIGN_UP(2 * g->half * 4, 64u), 2);
	}
	top = 2 * SLOTS * bytes + 2 * g->table[KILN_SYNC].bytes;
	g->product[KILN_VECTOR] = take(&top, 2 * g->heads * g->half * 4);
	g->product[KILN_GPSIMD] = take(&top, 2 * g->heads * g->half * 4);
	g->x_next = kiln_asm_reg(as, KILN_SYNC);
	g->cos = kiln_asm_reg(as, KILN_SYNC);
	g->sin = kiln_asm_reg(as, KILN_SYNC);
	g->positions = kiln_asm_reg(as, KILN_SYNC);
	g->limit = kiln_asm_reg(as, KILN_SYNC);
	g->y_next = kiln_asm_reg(as, KILN_SCALAR);
	kiln_asm_ldarg(as, KILN_SYNC, g->x_next, ARG_X);
	kiln_asm_ldarg(as, KILN_SYNC, g->cos, ARG_COS);
	kiln_asm_ldarg(as, KILN_SYNC, g->sin, ARG_SIN);
	kiln_asm_ldarg(as, KILN_SYNC, g->positions, ARG_POSITIONS);
	kiln_asm_movi(as, KILN_SYNC, g->limit, ro->table_rows);
	kiln_asm_ldarg(as, KILN_SCALAR, g->y_next, ARG_OUT);
	post_free(as, KILN_SCALAR, SEM_FREE, SLOTS);
	post_free(as, KILN_SCALAR, SEM_TABLE_FREE_V, 2);
	post_free(as, KILN_SCALAR, SEM_TABLE_FREE_G, 2);
	post_free(as, KILN_SCALAR, SEM_OUT_FREE_V, SLOTS);
	post_free(as, KILN_SCALAR, SEM_OUT_FREE_G, SLOTS);
	if (ro->tokens / PART) {
		kiln_asm_loop(as, ro->tokens / PART);
		tile(g, PART);
		kiln_asm_loop_end(as);
	}
	if (ro->tokens % PART)
		tile(g, ro->tokens % PART);
	return 0;
}

int kiln_rope(struct kiln_ops *ops, const struct kiln_rope *rope, kiln_done_fn done, void *user)
{
	struct kiln_ops_key key;
	struct kiln_rope ro;
	uint64_t args[ARGS];
	uint32_t es;

	if (!ops || !rope)
		return kiln_error(-EINVAL, "rope: no ops or no description");
	ro = *rope;
	if (!known_type(ro.type))
		return kiln_error(-ENOTSUP, "rope: type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  (int)ro.type);
	if (!ro.rotated)
		ro.rotated = ro.dim;
	if (ro.dim < 2 || ro.dim > MAX_DIM || ro.rotated % 2 || ro.rotated > ro.dim)
		return kiln_error(-EINVAL, "rope: dim is %u and rotated %u: dim 2 to %u, rotated even and within dim",
				  ro.dim, ro.rotated, MAX_DIM);
	if (!ro.tokens || !ro.heads || ro.tokens > INT32_MAX || ro.heads > INT32_MAX / ro.dim)
		return kiln_error(-EINVAL, "rope: %u tokens of %u heads of %u: each at least 1, less than 2^31 elements a token",
				  ro.tokens, ro.heads, ro.dim);
	if (ro.positions && (!ro.table_rows || ro.table_rows > INT32_MAX))
		return kiln_error(-EINVAL, "rope: table_rows is %u: with positions 1 to 2147483647",
				  ro.table_rows);
	if (!ro.ldx)
		ro.ldx = ro.heads * ro.dim;
	if (!ro.ldy)
		ro.ldy = ro.heads * ro.dim;
	if (ro.ldx < ro.heads * ro.dim || ro.ldy < ro.heads * ro.dim || ro.ldx > INT32_MAX ||
	    ro.ldy > INT32_MAX)
		return kiln_error(-EINVAL, "rope: ldx is %u and ldy %u: 0, or from a token of %u elements up to 2147483647",
				  ro.ldx, ro.ldy, ro.heads * ro.dim);
	es = type_size(ro.type);
	if (!ro.x || ro.x % es || !ro.y || ro.y % es)
		return kiln_error(-EINVAL, "rope: x is at 0x%llx, y at 0x%llx: device addresses, aligned to %u bytes",
				  (unsigned long long)ro.x, (unsigned long long)ro.y, es);
	if (!ro.cos || ro.cos % 4 || !ro.sin || ro.sin % 4 || ro.positions % 4)
		return kiln_error(-EINVAL, "rope: cos is at 0x%llx, sin at 0x%llx, positions at 0x%llx: device addresses, aligned to 4 bytes",
				  (unsigned long long)ro.cos, (unsigned long long)ro.sin,
				  (unsigned long long)ro.positions);
	args[ARG_X] = ro.x;
	args[ARG_OUT] = ro.y;
	args[ARG_COS] = ro.cos;
	args[ARG_SIN] = ro.sin;
	args[ARG_POSITIONS] = ro.positions;
	key = (struct kiln_ops_key) { .word = {
		KILN_OPS_ROPE | (uint64_t)ro.type << 8 | (uint64_t)ro.interleaved << 16 |
			(uint64_t)!!ro.positions << 17,
		ro.tokens, ro.heads, ro.dim, ro.rotated, ro.ldx, ro.ldy,
		ro.positions ? ro.table_rows : 0,
	} };
	return kiln_ops_run(ops, &key, "rope", make_rope, &ro, args, ARGS, done, user);
}
