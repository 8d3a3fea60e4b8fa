// SPDX-License-Identifier: MIT
/*
 * The k greatest of each row and where they are. A tile is up to 128 rows, one in
 * each partition. Vector takes eight at a time, finds them, and puts -infinity in
 * their place for the next eight; Sync loads, GpSimd stores.
 *
 * A row that is wider than the instructions take comes in chunks. Of each, as
 * many as are wanted become candidates, with their places; they stand in the
 * order of the row, equals too, so the greatest of them are the result. What
 * place a candidate had is picked out by comparing its number with all numbers.
 */
#include <errno.h>
#include <math.h>

#include "stream.h"

#define MAX_WIDTH	16384u	/* of the instructions */
#define MAX_K		1024u
#define MAX_CANDIDATES	8192u	/* in each partition */
#define MAX_PLACE	(1u << 24)	/* whole numbers that fp32 has */
#define SLOTS		2

enum { SEM_FULL, SEM_FREE, SEM_OUT_FULL, SEM_OUT_FREE, SEM_CHOSEN, SEM_NUMBERS };
enum { RING_IN = 0, RING_OUT = 8 };
enum { ARG_X, ARG_VALUES, ARG_INDICES, ARGS };

struct gen {
	struct kiln_asm *as;
	const struct kiln_topk *tk;
	enum kiln_dtype type;
	uint32_t es, width, rounds;	/* width: at least 8; of a chunk */
	uint32_t chunks, chosen;	/* candidates of one */
	uint32_t numbers, picked;	/* SBUF, in the place of x: 0, 1, 2, ...; one candidate's */
	uint32_t best, places, start;	/* SBUF: candidates, where they were; where the chunk starts */
	unsigned int best_reg, places_reg;	/* Vector */
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

/* GpSimd: values and indices of a tile. */
static void store(struct gen *g, uint32_t p)
{
	struct kiln_asm *as = g->as;
	uint32_t k = g->tk->k;

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

static void tile(struct gen *g, uint32_t p)
{
	struct kiln_asm *as = g->as;
	struct kiln_operand x = slot(&g->in[KILN_VECTOR], g->type, p, g->width);
	uint32_t r;

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

	store(g, p);
}

static struct kiln_operand row_of(uint32_t p, enum kiln_dtype type, uint32_t addr, uint32_t n,
				  unsigned int reg)
{
	return kiln_at(sbuf(p, type, addr, n), reg);
}

/* The candidates of width elements of a row. */
static void choose(struct gen *g, uint32_t p, uint32_t width, bool last)
{
	struct kiln_asm *as = g->as;
	struct kiln_operand x = sbuf(p, g->type, 0, width), start = sbuf(p, KILN_F32, g->start, 1);
	struct kiln_operand places = row_of(p, KILN_U32, 0, g->chosen, g->places_reg);
	uint32_t r;

	kiln_asm_wait(as, KILN_SYNC, SEM_FREE, 1);
	kiln_asm_dma(as, KILN_SYNC, RING_IN, x, kiln_dram(g->x, 0, g->tk->ldx, 1));
	kiln_asm_post(as, KILN_SYNC, SEM_FULL, 1);
	bump(as, KILN_SYNC, g->x, (int64_t)width * g->es);

	kiln_asm_wait(as, KILN_VECTOR, SEM_FULL, 1);
	for (r = 0; r < g->rounds; r++) {
		struct kiln_operand best = row_of(p, g->type, r * 8 * g->es, 8, g->best_reg);

		eight(g, KILN_OP_MAX8, best, x, (struct kiln_operand) { 0 }, 0);
		eight(g, KILN_OP_FIND_INDEX8, row_of(p, KILN_U32, r * 32, 8, g->places_reg), x, best,
		      0);
		if (r + 1 < g->rounds)
			eight(g, KILN_OP_MATCH_REPLACE8, x, x, best, -INFINITY);
	}
	/* The place of the last one is free only when numbers need it no more. */
	kiln_asm_post(as, KILN_VECTOR, last ? SEM_CHOSEN : SEM_FREE, 1);
	kiln_asm_tensor_scalar(as, KILN_VECTOR, places, places, KILN_ALU_ADD,
			       kiln_col(KILN_SBUF, KILN_F32, g->start, 0), KILN_ALU_BYPASS,
			       kiln_const(0), 0);
	kiln_asm_tensor_scalar(as, KILN_VECTOR, start, start, KILN_ALU_ADD, kiln_const(width),
			       KILN_ALU_BYPASS, kiln_const(0), 0);
	bump(as, KILN_VECTOR, g->best_reg, g->chosen * g->es);
	bump(as, KILN_VECTOR, g->places_reg, g->chosen * 4);
}

static void wide_tile(struct gen *g, uint32_t p)
{
	struct kiln_asm *as = g->as;
	uint32_t n = g->chunks * g->chosen, r, j;
	uint32_t rest = g->tk->width - (g->chunks - 1) * g->width;
	struct kiln_operand best = sbuf(p, g->type, g->best, n);
	struct kiln_operand places = sbuf(p, KILN_U32, g->places, n);
	struct kiln_operand numbers = sbuf(p, KILN_F32, g->numbers, n);
	struct kiln_operand picked = sbuf(p, KILN_F32, g->picked, n);

	kiln_asm_movi(as, KILN_VECTOR, g->best_reg, g->best);
	kiln_asm_movi(as, KILN_VECTOR, g->places_reg, g->places);
	kiln_asm_memset(as, KILN_VECTOR, sbuf(p, KILN_F32, g->start, 1), 0);
	kiln_asm_loop(as, g->chunks - 1);
	choose(g, p, g->width, false);
	kiln_asm_loop_end(as);
	choose(g, p, rest, true);
	bump(as, KILN_SYNC, g->x, ((int64_t)PART * g->tk->ldx - g->tk->width) * g->es);

	kiln_asm_wait(as, KILN_GPSIMD, SEM_CHOSEN, 1);
	KILN_ASM(as, KILN_GPSIMD, IOTA, .dst = numbers,
		 .src = { [1] = { .space = KILN_DRAM, .dram = { .step = { 0, 1 } } } });
	kiln_asm_post(as, KILN_GPSIMD, SEM_NUMBERS, 1);

	kiln_asm_wait(as, KILN_VECTOR, SEM_NUMBERS, 1);
	kiln_asm_wait(as, KILN_VECTOR, SEM_OUT_FREE, 1);
	for (r = 0; r < g->rounds; r++) {
		unsigned int to = g->indices[KILN_VECTOR].reg;
		struct kiln_operand values = row_of(p, g->type, r * 8 * g->es, 8,
						    g->values[KILN_VECTOR].reg);

		eight(g, KILN_OP_MAX8, values, best, (struct kiln_operand) { 0 }, 0);
		eight(g, KILN_OP_FIND_INDEX8, row_of(p, KILN_U32, r * 32, 8, to), best, values, 0);
		if (r + 1 < g->rounds)
			eight(g, KILN_OP_MATCH_REPLACE8, best, best, values, -INFINITY);
		for (j = 0; j < 8; j++) {
			uint32_t at = r * 32 + j * 4;

			kiln_asm_scalar_tensor_tensor(as, KILN_VECTOR, picked, numbers, KILN_ALU_EQ,
						      kiln_col(KILN_SBUF, KILN_U32, at, to),
						      KILN_ALU_MULTIPLY, places, 0);
			kiln_asm_tensor_reduce(as, row_of(p, KILN_U32, at, 1, to), KILN_ALU_ADD,
					       picked, false);
		}
	}
	kiln_asm_post(as, KILN_VECTOR, SEM_FREE, 1);
	kiln_asm_post(as, KILN_VECTOR, SEM_OUT_FULL, 1);
	turn_next(as, KILN_VECTOR, &g->values[KILN_VECTOR]);
	turn_next(as, KILN_VECTOR, &g->indices[KILN_VECTOR]);
	store(g, p);
}

static void set_up_out(struct gen *g, uint32_t top)
{
	uint32_t v = KILN_ALIGN_UP(g->rounds * 8 * g->es, 64u);
	uint32_t i = KILN_ALIGN_UP(g->rounds * 8 * 4, 64u);
	enum kiln_engine e;

	for (e = KILN_VECTOR; e <= KILN_GPSIMD; e += KILN_GPSIMD - KILN_VECTOR) {
		turn_init(g->as, e, &g->values[e], top, v, SLOTS);
		turn_init(g->as, e, &g->indices[e], top + SLOTS * v, i, SLOTS);
	}
}

static void set_up_chunks(struct gen *g)
{
	uint32_t top = 0, n;

	g->chunks = kiln_ceil_div(g->tk->width, MAX_WIDTH);
	g->width = kiln_ceil_div(g->tk->width, g->chunks);
	g->chosen = g->rounds * 8;
	n = g->chunks * g->chosen;
	g->numbers = take(&top, n * 4);
	g->picked = take(&top, n * 4);
	if (top < g->width * g->es)
		top = KILN_ALIGN_UP(g->width * g->es, 64u);
	g->best = take(&top, n * g->es);
	g->places = take(&top, n * 4);
	g->start = take(&top, 4);
	g->best_reg = kiln_asm_reg(g->as, KILN_VECTOR);
	g->places_reg = kiln_asm_reg(g->as, KILN_VECTOR);
	set_up_out(g, top);
	post_free(g->as, KILN_VECTOR, SEM_FREE, 1);
}

static int make_topk(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct kiln_topk *tk = shape;
	struct gen gen = {
		.as = as, .tk = tk, .type = kiln_type_dtype(tk->type), .es = type_size(tk->type),
		.width = tk->width < 8 ? 8 : tk->width, .rounds = kiln_ceil_div(tk->k, 8),
	}, *g = &gen;
	uint32_t x = KILN_ALIGN_UP(g->width * g->es, 64u);
	bool wide = tk->width > MAX_WIDTH;
	void (*part)(struct gen *g, uint32_t p) = wide ? wide_tile : tile;

	(void)generation;	/* fits into the smallest */
	if (wide) {
		set_up_chunks(g);
	} else {
		turn_init(as, KILN_SYNC, &g->in[KILN_SYNC], 0, x, SLOTS);
		turn_init(as, KILN_VECTOR, &g->in[KILN_VECTOR], 0, x, SLOTS);
		set_up_out(g, SLOTS * x);
		/* What a narrow row lacks of eight */
		if (tk->width < 8)
			kiln_asm_memset(as, KILN_VECTOR, sbuf(PART, g->type, 0, 2 * x / g->es),
					-INFINITY);
		post_free(as, KILN_VECTOR, SEM_FREE, SLOTS);
	}
	g->x = kiln_asm_reg(as, KILN_SYNC);
	g->v = kiln_asm_reg(as, KILN_GPSIMD);
	g->i = kiln_asm_reg(as, KILN_GPSIMD);
	kiln_asm_ldarg(as, KILN_SYNC, g->x, ARG_X);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->v, ARG_VALUES);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->i, ARG_INDICES);
	post_free(as, KILN_VECTOR, SEM_OUT_FREE, SLOTS);
	if (tk->rows / PART) {
		kiln_asm_loop(as, tk->rows / PART);
		part(g, PART);
		kiln_asm_loop_end(as);
	}
	if (tk->rows % PART)
		part(g, tk->rows % PART);
	return 0;
}

/* How many chunks a row can have, so that all of their candidates fit. */
static uint32_t most_width(uint32_t k)
{
	uint64_t width = MAX_CANDIDATES / (kiln_ceil_div(k, 8) * 8) * (uint64_t)MAX_WIDTH;

	return width < MAX_PLACE ? (uint32_t)width : MAX_PLACE;
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
	if (tk.k > MAX_K || tk.width > most_width(tk.k))
		return kiln_error(-ENOTSUP, "topk: %u of %u: at most %u, of so many at most %u: take the row in parts, then the best of each",
				  tk.k, tk.width, MAX_K, most_width(kiln_min(tk.k, MAX_K)));
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
