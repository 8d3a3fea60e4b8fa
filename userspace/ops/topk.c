// SPDX-License-Identifier: MIT
/*
 * The k greatest of each row and where they are. A tile is up to 128 rows, one in
 * each partition. Vector takes eight at a time, finds them, and puts -infinity in
 * their place for the next eight; Sync loads, GpSimd stores.
 */
#include <errno.h>
#include <math.h>

#include "stream.h"

#define MAX_WIDTH	16384u	/* of the instructions */
#define MAX_K		1024u
#define SLOTS		2

enum { SEM_FULL, SEM_FREE, SEM_OUT_FULL, SEM_OUT_FREE };
enum { RING_IN = 0, RING_OUT = 8 };
enum { ARG_X, ARG_VALUES, ARG_INDICES, ARGS };

struct gen {
	struct kiln_asm *as;
	const struct kiln_topk *tk;
	enum kiln_dtype type;
	uint32_t es, width, rounds;	/* width: at least 8 */
	struct turn in[KILN_ENGINES], values[KILN_ENGINES], indices[KILN_ENGINES];
	unsigned int x;			/* Sync */
	unsigned int v, i;		/* GpSimd */
};

static void eight(struct gen *g, unsigned int opcode, struct kiln_operand dst,
		  struct kiln_operand src, struct kiln_operand vals, float value)
{
	struct kiln_insn insn = { .opcode = opcode, .dst = dst, .src = { src, vals },
				  .imm = { value } };

	kiln_asm_insn(g->as, KILN_VECTOR, &insn);
}

static void tile(struct gen *g, uint32_t p)
{
	struct kiln_asm *as = g->as;
	struct kiln_operand x = slot(&g->in[KILN_VECTOR], g->type, p, g->width);
	uint32_t k = g->tk->k, r;

	kiln_asm_wait(as, KILN_SYNC, SEM_FREE, 1);
	kiln_asm_dma(as, KILN_SYNC, RING_IN, slot(&g->in[KILN_SYNC], g->type, p, g->tk->width),
		     kiln_dram(g->x, 0, g->tk->ldx, 1));
	kiln_asm_post(as, KILN_SYNC, SEM_FULL, 1);
	turn_next(as, KILN_SYNC, &g->in[KILN_SYNC]);
	bump(as, KILN_SYNC, g->x, (int64_t)PART * g->tk->ldx * g->es);

	kiln_asm_wait(as, KILN_VECTOR, SEM_FULL, 1);
	kiln_asm_wait(as, KILN_VECTOR, SEM_OUT_FREE, 1);
	for (r = 0; r < g->rounds; r++) {
		struct kiln_operand values = kiln_at(sbuf(p, g->type, r * 8 * g->es, 8),
						     g->values[KILN_VECTOR].reg);
		struct kiln_operand indices = kiln_at(sbuf(p, KILN_U32, r * 32, 8),
						      g->indices[KILN_VECTOR].reg);

		eight(g, KILN_OP_MAX8, values, x, (struct kiln_operand) { 0 }, 0);
		eight(g, KILN_OP_FIND_INDEX8, indices, x, values, 0);
		if (r + 1 < g->rounds)
			eight(g, KILN_OP_MATCH_REPLACE8, x, x, values, -INFINITY);
	}
	kiln_asm_post(as, KILN_VECTOR, SEM_FREE, 1);
	kiln_asm_post(as, KILN_VECTOR, SEM_OUT_FULL, 1);
	turn_next(as, KILN_VECTOR, &g->in[KILN_VECTOR]);
	turn_next(as, KILN_VECTOR, &g->values[KILN_VECTOR]);
	turn_next(as, KILN_VECTOR, &g->indices[KILN_VECTOR]);

	kiln_asm_wait(as, KILN_GPSIMD, SEM_OUT_FULL, 1);
	kiln_asm_dma(as, KILN_GPSIMD, RING_OUT, kiln_dram(g->v, 0, k, 1),
		     slot(&g->values[KILN_GPSIMD], g->type, p, k));
	/* One ring: the values are stored when the indices are. */
	kiln_asm_dma(as, KILN_GPSIMD, RING_OUT, kiln_dram(g->i, 0, k, 1),
		     slot(&g->indices[KILN_GPSIMD], KILN_U32, p, k));
	kiln_asm_post(as, KILN_GPSIMD, SEM_OUT_FREE, 1);
	turn_next(as, KILN_GPSIMD, &g->values[KILN_GPSIMD]);
	turn_next(as, KILN_GPSIMD, &g->indices[KILN_GPSIMD]);
	bump(as, KILN_GPSIMD, g->v, (int64_t)PART * k * g->es);
	bump(as, KILN_GPSIMD, g->i, (int64_t)PART * k * 4);
}

static int make_topk(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct kiln_topk *tk = shape;
	struct gen gen = {
		.as = as, .tk = tk, .type = kiln_type_dtype(tk->type), .es = type_size(tk->type),
		.width = tk->width < 8 ? 8 : tk->width, .rounds = kiln_ceil_div(tk->k, 8),
	}, *g = &gen;
	uint32_t x = KILN_ALIGN_UP(g->width * g->es, 64u);
	uint32_t v = KILN_ALIGN_UP(g->rounds * 8 * g->es, 64u);
	uint32_t i = KILN_ALIGN_UP(g->rounds * 8 * 4, 64u);
	enum kiln_engine e;

	(void)generation;	/* fits into the smallest */
	turn_init(as, KILN_SYNC, &g->in[KILN_SYNC], 0, x, SLOTS);
	turn_init(as, KILN_VECTOR, &g->in[KILN_VECTOR], 0, x, SLOTS);
	for (e = KILN_VECTOR; e <= KILN_GPSIMD; e += KILN_GPSIMD - KILN_VECTOR) {
		turn_init(as, e, &g->values[e], SLOTS * x, v, SLOTS);
		turn_init(as, e, &g->indices[e], SLOTS * (x + v), i, SLOTS);
	}
	g->x = kiln_asm_reg(as, KILN_SYNC);
	g->v = kiln_asm_reg(as, KILN_GPSIMD);
	g->i = kiln_asm_reg(as, KILN_GPSIMD);
	kiln_asm_ldarg(as, KILN_SYNC, g->x, ARG_X);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->v, ARG_VALUES);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->i, ARG_INDICES);
	/* What a narrow row lacks of eight */
	if (tk->width < 8)
		kiln_asm_memset(as, KILN_VECTOR, sbuf(PART, g->type, 0, 2 * x / g->es), -INFINITY);
	post_free(as, KILN_VECTOR, SEM_FREE, SLOTS);
	post_free(as, KILN_VECTOR, SEM_OUT_FREE, SLOTS);
	if (tk->rows / PART) {
		kiln_asm_loop(as, tk->rows / PART);
		tile(g, PART);
		kiln_asm_loop_end(as);
	}
	if (tk->rows % PART)
		tile(g, tk->rows % PART);
	return 0;
}

int kiln_topk(struct kiln_ops *ops, const struct kiln_topk *topk, kiln_done_fn done, void *user)
{
	struct kiln_ops_key key;
	struct kiln_topk tk;
	uint64_t args[ARGS];
	uint32_t es;

	if (!ops || !topk)
		return kiln_error(-EINVAL, "topk: no ops or no description");
	tk = *topk;
	if (!known_type(tk.type))
		return kiln_error(-ENOTSUP, "topk: type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  (int)tk.type);
	if (!tk.rows || !tk.width || tk.rows > INT32_MAX || !tk.k || tk.k > tk.width)
		return kiln_error(-EINVAL, "topk: %u of %u in %u rows: each at least 1, not more than there are, rows at most 2147483647",
				  tk.k, tk.width, tk.rows);
	if (tk.width > MAX_WIDTH || tk.k > MAX_K)
		return kiln_error(-ENOTSUP, "topk: %u of %u: at most %u of %u: take the row in parts, then the best of each",
				  tk.k, tk.width, MAX_K, MAX_WIDTH);
	if (!tk.ldx)
		tk.ldx = tk.width;
	if (tk.ldx < tk.width || tk.ldx > INT32_MAX)
		return kiln_error(-EINVAL, "topk: ldx is %u: 0, or from a row of %u elements up to 2147483647",
				  tk.ldx, tk.width);
	es = type_size(tk.type);
	if (!tk.x || tk.x % es || !tk.values || tk.values % es || !tk.indices || tk.indices % 4)
		return kiln_error(-EINVAL, "topk: x is at 0x%llx, values at 0x%llx, indices at 0x%llx: device addresses, aligned to %u, %u and 4 bytes",
				  (unsigned long long)tk.x, (unsigned long long)tk.values,
				  (unsigned long long)tk.indices, es, es);
	args[ARG_X] = tk.x;
	args[ARG_VALUES] = tk.values;
	args[ARG_INDICES] = tk.indices;
	key = (struct kiln_ops_key) { .word = {
		KILN_OPS_TOPK | (uint64_t)tk.type << 8, tk.rows, tk.width, tk.k, tk.ldx,
	} };
	return kiln_ops_run(ops, &key, "topk", make_topk, &tk, args, ARGS, done, user);
}
