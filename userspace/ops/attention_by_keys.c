// SPDX-License-Identifier: MIT
/*
 * Attention with keys on the partitions: the array makes k q^T, so that exp of
 * it is at once what p v wants as its stationary matrix, and nothing is turned
 * over. The maximum of a query would now have to be taken across partitions; it
 * is not taken at all. p = exp(scale * score) as it is has the same relative
 * errors, and bf16 the range of fp32, so the result is as good as with a maximum
 * as long as the sum of a row is neither huge nor tiny. At the end the program
 * knows the worst sum of all: beyond LIMIT the one of attention.c follows, which
 * takes maxima, and overwrites everything.
 *
 * A block is up to 512 queries of a head, an item of it 128 keys. For each item:
 *
 *	A  Tensor: scores = k q^T, a bank. Scalar: p = exp(scale * scores). GpSimd:
 *	   what is behind a query's place becomes 0.
 *	C  Tensor: p v for each 128 queries, added up in PSUM. v has a column of ones
 *	   beside it, so that the sums of p come with it.
 *
 * A is AHEAD items before C. After its last item Vector makes o / sum of 128
 * queries, GpSimd looks at the sums and stores. K of the next head is
 * transposed bit by bit during this one.
 */
#include <errno.h>
#include <stdlib.h>

#include "attention.h"
#include "stream.h"

#define BLOCK		512	/* queries: a bank of scores */
#define UNIT		4	/* tiles of keys that are transposed at a time */
#define AHEAD		3	/* items of A before C: GpSimd's turn fits in between */
#define S_SLOTS		4
#define P_SLOTS		5
#define Q_SLOTS		2
#define KN_SLOTS	4
#define MIN_QUERIES	1024	/* fewer are no faster this way */
#define LIMIT		0x1p90f	/* of a row's sum, and of 1 / it; what exp loses below 2^-126 is nothing then */

enum {
	SEM_QN_LOADED = 64, SEM_QN_FREE,	/* q as stored */
	SEM_QT_FULL, SEM_QT_FREE,		/* q transposed */
	SEM_KN_LOADED, SEM_KN_FREE,
	SEM_KT_FULL, SEM_KT_FREE,
	SEM_V_LOADED, SEM_V_FREE,
	SEM_T_FULL, SEM_T_FREE,			/* q or k transposed, in PSUM */
	SEM_S_FULL, SEM_S_FREE,
	SEM_P_FULL, SEM_P_WHOLE, SEM_P_MASKED,	/* all of p counts; not all, before and after GpSimd */
	SEM_P_FREE,
	SEM_O_FULL, SEM_O_FREE,
	SEM_OUT_FULL, SEM_OUT_FREE,
	SEM_ONES,
	SEM_BAD,				/* and KILN_ENGINES - 1 more */
	SEM_READ = SEM_BAD + KILN_ENGINES,	/* so all know whether it is */
	SEM_AGAIN,				/* and KILN_ENGINES - 1 more */
};

enum { RING_Q = 0, RING_K = 4, RING_V = 8, RING_OUT = 12 };

/* PSUM, in banks */
#define PSUM_S	0
#define PSUM_O	(4 * KILN_PSUM_BANK_BYTES)	/* of 128 queries, half a bank each */
#define PSUM_T	(6 * KILN_PSUM_BANK_BYTES)

struct item {
	uint32_t block, start, keys;
	uint32_t column;	/* the first one with queries that see any of the keys; those of a tile are together */
	uint32_t whole;		/* from here on they see all */
	bool first, last;	/* of the block */
	uint32_t ends;		/* tiles of queries, a bit each, that see no more */
};

struct gen {
	struct kiln_asm *as;
	const struct kiln_attention *at;
	uint32_t d, row;	/* elements and bytes of a row */
	uint32_t v_row;		/* elements of a row of v with its one */
	uint32_t period, total;	/* query heads of a key-value head; of all */
	uint32_t blocks, units;
	struct item *item;	/* of a query head */
	uint32_t items;

	uint32_t out, inverse, sum, term, worst, bad;	/* SBUF */
	unsigned int left[KILN_ENGINES];	/* query heads, this one included */
	unsigned int group[KILN_ENGINES];	/* of this key-value head */
	unsigned int a_group, c_group;		/* Tensor: the same for A and C */
	struct turn qn[KILN_ENGINES], qt[KILN_ENGINES], kn[KILN_ENGINES], kt[KILN_ENGINES];
	struct turn vb[KILN_ENGINES], t[KILN_ENGINES], s[KILN_ENGINES], p[KILN_ENGINES];
	unsigned int q, k, v, out_dram;		/* device addresses */
	unsigned int kt_row, v_unit;		/* Vector, Sync: where the next unit goes */
	unsigned int kt_col, v_col;		/* Tensor: within the buffers */
};

static struct kiln_operand at_turn(enum kiln_space space, const struct turn *t,
				   enum kiln_dtype type, uint32_t partitions, uint32_t offset,
				   uint32_t n)
{
	return kiln_at(kiln_tile1(space, type, 0, partitions, offset, n), t->reg);
}

static uint32_t queries(const struct gen *g, uint32_t block)
{
	return kiln_min(BLOCK, g->at->seq_q - block * BLOCK);
}

static struct kiln_operand scalar_of(uint32_t addr, uint32_t tile, uint32_t m)
{
	return sbuf(m, KILN_F32, addr + tile * 4, 1);
}

/* ------------------------------------------------------------ transposing -- */

/*
 * Sync: up to UNIT tiles of rows into a slot, tile by tile beside each other,
 * each row_elements wide; then a post.
 */
static void load_rows(struct gen *g, unsigned int ring, unsigned int dst, unsigned int dram,
		      uint32_t rows, uint32_t row_elements, unsigned int sem)
{
	uint32_t full = rows / PART, rest = rows % PART, d = g->d;

	if (full)
		kiln_asm_dma(g->as, KILN_SYNC, ring,
			     kiln_at(kiln_tile2(KILN_SBUF, KILN_BF16, 0, PART, 0, full,
						row_elements, d, 1), dst),
			     kiln_dram2(dram, 0, d, PART * d, 1));
	if (rest)
		kiln_asm_dma(g->as, KILN_SYNC, ring,
			     kiln_at(sbuf(rest, KILN_BF16, full * row_elements * 2, d), dst),
			     kiln_dram(dram, full * PART * g->row, d, 1));
	kiln_asm_post(g->as, KILN_SYNC, sem, 1);
	kiln_asm_addi(g->as, KILN_SYNC, dram, dram, (int64_t)rows * g->row);
}

/* Tensor: what was loaded is turned over; Vector: copied to dst, once free is there. */
static void transpose_rows(struct gen *g, struct turn *rows, unsigned int loaded,
			   unsigned int free, uint32_t n, unsigned int dst,
			   unsigned int dst_free, unsigned int dst_full)
{
	struct kiln_asm *as = g->as;

	kiln_asm_wait(as, KILN_TENSOR, loaded, 1);
	kiln_asm_wait(as, KILN_TENSOR, SEM_T_FREE, 1);
	for (uint32_t i = 0; i * PART < n; i++) {
		uint32_t m = kiln_min(PART, n - i * PART);

		kiln_asm_transpose(as, at_turn(KILN_PSUM, &g->t[KILN_TENSOR], KILN_BF16, g->d,
					       i * PART * 2, m),
				   at_turn(KILN_SBUF, &rows[KILN_TENSOR], KILN_BF16, m, i * g->row,
					   g->d));
	}
	kiln_asm_post(as, KILN_TENSOR, free, 1);
	kiln_asm_post(as, KILN_TENSOR, SEM_T_FULL, 1);
	turn_next(as, KILN_TENSOR, &g->t[KILN_TENSOR]);
	turn_next(as, KILN_TENSOR, &rows[KILN_TENSOR]);

	kiln_asm_wait(as, KILN_VECTOR, SEM_T_FULL, 1);
	if (dst_free)
		kiln_asm_wait(as, KILN_VECTOR, dst_free, 1);
	kiln_asm_tensor_copy(as, KILN_VECTOR, kiln_at(sbuf(g->d, KILN_BF16, 0, n), dst),
			     at_turn(KILN_PSUM, &g->t[KILN_VECTOR], KILN_BF16, g->d, 0, n));
	kiln_asm_post(as, KILN_VECTOR, dst_full, 1);
	kiln_asm_post(as, KILN_VECTOR, SEM_T_FREE, 1);
	turn_next(as, KILN_VECTOR, &g->t[KILN_VECTOR]);
}

static void prepare_block(struct gen *g, uint32_t block)
{
	uint32_t n = queries(g, block);

	kiln_asm_wait(g->as, KILN_SYNC, SEM_QN_FREE, 1);
	load_rows(g, RING_Q, g->qn[KILN_SYNC].reg, g->q, n, g->d, SEM_QN_LOADED);
	turn_next(g->as, KILN_SYNC, &g->qn[KILN_SYNC]);
	transpose_rows(g, g->qn, SEM_QN_LOADED, SEM_QN_FREE, n, g->qt[KILN_VECTOR].reg,
		       SEM_QT_FREE, SEM_QT_FULL);
	turn_next(g->as, KILN_VECTOR, &g->qt[KILN_VECTOR]);
}

/* Keys and values of one unit of the head that is next in memory. */
static void load_unit(struct gen *g, uint32_t unit)
{
	struct kiln_asm *as = g->as;
	uint32_t n = kiln_min(UNIT * PART, g->at->seq_kv - unit * UNIT * PART);

	if (!unit) {
		kiln_asm_wait(as, KILN_SYNC, SEM_V_FREE, 1);
		kiln_asm_addi(as, KILN_SYNC, g->v_unit, g->vb[KILN_SYNC].reg, 0);
		turn_next(as, KILN_SYNC, &g->vb[KILN_SYNC]);
		kiln_asm_addi(as, KILN_VECTOR, g->kt_row, g->kt[KILN_VECTOR].reg, 0);
		turn_next(as, KILN_VECTOR, &g->kt[KILN_VECTOR]);
	}
	load_rows(g, RING_V, g->v_unit, g->v, n, g->v_row, SEM_V_LOADED);
	kiln_asm_addi(as, KILN_SYNC, g->v_unit, g->v_unit, UNIT * g->v_row * 2);
	kiln_asm_wait(as, KILN_SYNC, SEM_KN_FREE, 1);
	load_rows(g, RING_K, g->kn[KILN_SYNC].reg, g->k, n, g->d, SEM_KN_LOADED);
	turn_next(as, KILN_SYNC, &g->kn[KILN_SYNC]);
	transpose_rows(g, g->kn, SEM_KN_LOADED, SEM_KN_FREE, n, g->kt_row,
		       unit ? 0 : SEM_KT_FREE, SEM_KT_FULL);
	kiln_asm_addi(as, KILN_VECTOR, g->kt_row, g->kt_row, UNIT * PART * 2);
}

/* Of the next head, this block's share; where there are more blocks, the first one has none. */
static void load_share(struct gen *g, uint32_t block)
{
	uint32_t shares = g->blocks > 1 ? g->blocks - 1 : 1;
	uint32_t share = g->blocks > 1 ? block - 1 : 0, unit, end;

	if (g->blocks > 1 && !block)
		return;
	unit = (uint64_t)g->units * share / shares;
	end = (uint64_t)g->units * (share + 1) / shares;
	if (unit == end)
		return;
	kiln_asm_if(g->as, g->group, true, 2);
	kiln_asm_if(g->as, g->left, false, 2);
	for (; unit < end; unit++)
		load_unit(g, unit);
	kiln_asm_if_end(g->as);
	kiln_asm_if_end(g->as);
}

/* ------------------------------------------------------------------ stages -- */

/* Tensor: after the last item of a query head, buffers go on with the next group's. */
static void next_group(struct gen *g, unsigned int left, unsigned int sem, struct turn *buffer)
{
	const unsigned int regs[KILN_ENGINES] = { [KILN_TENSOR] = left };

	kiln_asm_addi(g->as, KILN_TENSOR, left, left, -1);
	kiln_asm_if(g->as, regs, true, 1);
	kiln_asm_movi(g->as, KILN_TENSOR, left, g->period);
	kiln_asm_nop(g->as, KILN_TENSOR);
	kiln_asm_post(g->as, KILN_TENSOR, sem, 1);
	turn_next(g->as, KILN_TENSOR, buffer);
	kiln_asm_if_end(g->as);
}

static void stage_a(struct gen *g, const struct item *it)
{
	struct kiln_asm *as = g->as;
	uint32_t n = queries(g, it->block) - it->column, done;
	struct kiln_operand p;

	if (it == g->item) {
		const unsigned int regs[KILN_ENGINES] = { [KILN_TENSOR] = g->a_group };

		kiln_asm_if(as, regs, false, g->period);
		for (uint32_t units = g->units; units; units -= done) {
			done = kiln_min(units, 200);
			kiln_asm_wait(as, KILN_TENSOR, SEM_KT_FULL, done);
			kiln_asm_wait(as, KILN_TENSOR, SEM_V_LOADED, done);
		}
		kiln_asm_nop(as, KILN_TENSOR);
		kiln_asm_if_end(as);
	}
	if (it->first) {
		kiln_asm_addi(as, KILN_TENSOR, g->kt_col, g->kt[KILN_TENSOR].reg, 0);
		kiln_asm_wait(as, KILN_TENSOR, SEM_QT_FULL, 1);
	}
	kiln_asm_load_stationary(as, kiln_at(sbuf(g->d, KILN_BF16, 0, it->keys), g->kt_col));
	kiln_asm_addi(as, KILN_TENSOR, g->kt_col, g->kt_col, PART * 2);
	kiln_asm_wait(as, KILN_TENSOR, SEM_S_FREE, 1);
	kiln_asm_matmul(as, at_turn(KILN_PSUM, &g->s[KILN_TENSOR], KILN_F32, it->keys,
				    it->column * 4, n),
			at_turn(KILN_SBUF, &g->qt[KILN_TENSOR], KILN_BF16, g->d, it->column * 2, n),
			false);
	kiln_asm_post(as, KILN_TENSOR, SEM_S_FULL, 1);
	if (it->last) {
		kiln_asm_post(as, KILN_TENSOR, SEM_QT_FREE, 1);
		turn_next(as, KILN_TENSOR, &g->qt[KILN_TENSOR]);
	}
	turn_next(as, KILN_TENSOR, &g->s[KILN_TENSOR]);
	if (it == g->item + g->items - 1)
		next_group(g, g->a_group, SEM_KT_FREE, &g->kt[KILN_TENSOR]);

	kiln_asm_wait(as, KILN_SCALAR, SEM_S_FULL, 1);
	kiln_asm_wait(as, KILN_SCALAR, SEM_P_FREE, 1);
	kiln_asm_activation(as, at_turn(KILN_SBUF, &g->p[KILN_SCALAR], KILN_BF16, it->keys,
					it->column * 2, n), KILN_ACT_EXP,
			    at_turn(KILN_PSUM, &g->s[KILN_SCALAR], KILN_F32, it->keys,
				    it->column * 4, n),
			    kiln_const(g->at->scale), kiln_const(0), NULL);
	kiln_asm_post(as, KILN_SCALAR, SEM_S_FREE, 1);
	kiln_asm_post(as, KILN_SCALAR, it->whole > it->column ? SEM_P_WHOLE : SEM_P_FULL, 1);
	turn_next(as, KILN_SCALAR, &g->s[KILN_SCALAR]);
	turn_next(as, KILN_SCALAR, &g->p[KILN_SCALAR]);

	if (it->whole > it->column) {
		static const int32_t one[3] = { 1 };
		int32_t place = it->block * BLOCK + it->column + g->at->seq_kv - g->at->seq_q;

		p = at_turn(KILN_SBUF, &g->p[KILN_GPSIMD], KILN_BF16, it->keys, it->column * 2,
			    it->whole - it->column);
		kiln_asm_wait(as, KILN_GPSIMD, SEM_P_WHOLE, 1);
		kiln_asm_affine_select(as, p, p, KILN_ALU_GE, 0, 0, place - (int32_t)it->start, -1,
				       one);
		kiln_asm_post(as, KILN_GPSIMD, SEM_P_MASKED, 1);
	}
	turn_next(as, KILN_GPSIMD, &g->p[KILN_GPSIMD]);
}

/* 128 queries of the block: o / sum, and how bad that sum is. */
static void store_tile(struct gen *g, uint32_t tile, uint32_t m, uint32_t credits)
{
	struct kiln_asm *as = g->as;
	uint32_t psum = PSUM_O + tile * (KILN_PSUM_BANK_BYTES / 2);
	struct kiln_operand o = kiln_tile1(KILN_PSUM, KILN_F32, 0, m, psum, g->d);
	struct kiln_operand out = sbuf(m, KILN_BF16, g->out + tile * g->row, g->d);
	struct kiln_operand inverse = scalar_of(g->inverse, tile, m);
	struct kiln_operand sum = scalar_of(g->sum, tile, m);
	struct kiln_operand term = scalar_of(g->term, 0, m), worst = scalar_of(g->worst, 0, m);
	struct kiln_scalar over = kiln_col(KILN_SBUF, KILN_F32, g->inverse + tile * 4, 0);

	kiln_asm_wait(as, KILN_VECTOR, SEM_O_FULL, 1);
	kiln_asm_wait(as, KILN_VECTOR, SEM_OUT_FREE, credits);
	kiln_asm_reciprocal(as, inverse, kiln_tile1(KILN_PSUM, KILN_F32, 0, m, psum + g->d * 4, 1));
	kiln_asm_tensor_scalar_reduce(as, out, o, KILN_ALU_MULTIPLY, over, KILN_ALU_ADD,
				      kiln_col(KILN_SBUF, KILN_F32, g->sum + tile * 4, 0).col, 0);
	kiln_asm_post(as, KILN_VECTOR, SEM_O_FREE, credits);
	kiln_asm_post(as, KILN_VECTOR, SEM_OUT_FULL, 1);

	/*
	 * Sums of row sums, of what 1 is divided by them, and of zero times the result: large,
	 * infinite or NaN if any of them is. NaN goes through an addition, not always a maximum.
	 */
	kiln_asm_wait(as, KILN_GPSIMD, SEM_OUT_FULL, 1);
	kiln_asm_tensor_scalar(as, KILN_GPSIMD, term, inverse, KILN_ALU_RECIPROCAL, kiln_const(0),
			       KILN_ALU_ADD, over, 0);
	kiln_asm_scalar_tensor_tensor(as, KILN_GPSIMD, term, sum, KILN_ALU_MULTIPLY, kiln_const(0),
				      KILN_ALU_ADD, term, 0);
	kiln_asm_tensor_tensor(as, KILN_GPSIMD, worst, worst, KILN_ALU_ADD, term);
	kiln_asm_dma(as, KILN_GPSIMD, RING_OUT, kiln_dram(g->out_dram, 0, g->d, 1), out);
	kiln_asm_post(as, KILN_GPSIMD, SEM_OUT_FREE, credits);
	kiln_asm_addi(as, KILN_GPSIMD, g->out_dram, g->out_dram, (int64_t)m * g->row);
}

static void stage_c(struct gen *g, const struct item *it)
{
	struct kiln_asm *as = g->as;
	uint32_t n = queries(g, it->block), tiles = kiln_ceil_div(n, PART), t;

	if (it->first)
		kiln_asm_addi(as, KILN_TENSOR, g->v_col, g->vb[KILN_TENSOR].reg, 0);
	kiln_asm_wait(as, KILN_TENSOR, it->whole > it->column ? SEM_P_MASKED : SEM_P_FULL, 1);
	for (t = it->column / PART; t < tiles; t++) {
		uint32_t m = kiln_min(PART, n - t * PART);
		/* The last tile of a short block stands for those that it has not. */
		uint32_t credits = t == tiles - 1 ? BLOCK / PART - t : 1;

		kiln_asm_load_stationary(as, at_turn(KILN_SBUF, &g->p[KILN_TENSOR], KILN_BF16,
						     it->keys, t * PART * 2, m));
		if (t == tiles - 1)
			kiln_asm_post(as, KILN_TENSOR, SEM_P_FREE, 1);
		if (it->first)
			kiln_asm_wait(as, KILN_TENSOR, SEM_O_FREE, credits);
		kiln_asm_matmul(as, kiln_tile1(KILN_PSUM, KILN_F32, 0, m,
					       PSUM_O + t * (KILN_PSUM_BANK_BYTES / 2), g->d + 1),
				kiln_at(sbuf(it->keys, KILN_BF16, 0, g->d + 1), g->v_col),
				!it->first);
		if (it->ends & 1u << t) {
			kiln_asm_post(as, KILN_TENSOR, SEM_O_FULL, 1);
			store_tile(g, t, m, credits);
		}
	}
	turn_next(as, KILN_TENSOR, &g->p[KILN_TENSOR]);
	kiln_asm_addi(as, KILN_TENSOR, g->v_col, g->v_col, g->v_row * 2);
	if (it == g->item + g->items - 1)
		next_group(g, g->c_group, SEM_V_FREE, &g->vb[KILN_TENSOR]);
}

/* -------------------------------------------------------------------- body -- */

/* What is written is for a query head so many after this one. */
static bool if_later(struct gen *g, uint32_t heads)
{
	if (heads)
		kiln_asm_if(g->as, g->left, false, heads + 1);
	return heads;
}

static void step(struct gen *g, uint32_t i)
{
	const struct item *it = &g->item[i], *ahead = &g->item[(i + AHEAD) % g->items];
	const struct item *next = &g->item[(i + AHEAD + 1) % g->items];

	if (it->first)
		load_share(g, it->block);
	if (next->first) {
		bool later = if_later(g, (i + AHEAD + 1) / g->items);

		prepare_block(g, next->block);
		if (later)
			kiln_asm_if_end(g->as);
	}
	stage_c(g, it);
	if (if_later(g, (i + AHEAD) / g->items)) {
		stage_a(g, ahead);
		kiln_asm_if_end(g->as);
	} else {
		stage_a(g, ahead);
	}
}

/* Is it like any other but for its place? */
static bool plain(const struct gen *g, uint32_t i)
{
	const struct item *it = &g->item[i];

	return i < g->items && !it->first && !it->last && !it->ends && !it->whole &&
	       it->keys == PART;
}

static void head(struct gen *g)
{
	uint32_t i, n, e;

	for (i = 0; i < g->items; i += n) {
		for (n = 0; plain(g, i + n) && plain(g, i + n + 1) && plain(g, i + n + AHEAD) &&
		     g->item[i + n + AHEAD].block == g->item[i].block; n++)
			;
		if (n < 2) {
			step(g, i);
			n = 1;
			continue;
		}
		kiln_asm_loop(g->as, n);
		step(g, i);
		kiln_asm_loop_end(g->as);
	}
	for (e = 0; e < KILN_ENGINES; e++) {
		kiln_asm_addi(g->as, e, g->left[e], g->left[e], -1);
		kiln_asm_addi(g->as, e, g->group[e], g->group[e], -1);
	}
	kiln_asm_if(g->as, g->group, true, 1);
	for (e = 0; e < KILN_ENGINES; e++)
		kiln_asm_movi(g->as, e, g->group[e], g->period);
	kiln_asm_if_end(g->as);
}

static uint32_t list_items(const struct kiln_attention *at, struct item *out)
{
	uint32_t blocks = kiln_ceil_div(at->seq_q, BLOCK), count = 0;

	for (uint32_t b = 0; b < blocks; b++) {
		uint32_t n = kiln_min(BLOCK, at->seq_q - b * BLOCK);
		/* of the block's first query among the keys */
		int64_t place = (int64_t)b * BLOCK + at->seq_kv - at->seq_q;
		uint32_t end = at->causal ? place + n : at->seq_kv;
		uint32_t before = 0;

		for (uint32_t start = 0; start < end; start += PART, count++) {
			uint32_t keys = kiln_min(PART, at->seq_kv - start);
			int64_t sees = at->causal ? start - place : 0;
			int64_t all = at->causal ? start + keys - 1 - place : 0;
			struct item it = {
				.block = b, .start = start, .keys = keys,
				.column = sees > 0 ? sees / PART * PART : 0,
				.whole = all < 0 ? 0 : kiln_min(all, n),
				.first = !start, .last = start + PART >= end,
			};

			if (!out)
				continue;
			/* The tiles that it has not any more ended with the one before. */
			for (; before < it.column / PART; before++)
				out[count - 1].ends |= 1u << before;
			if (it.last)
				for (; before * PART < n; before++)
					it.ends |= 1u << before;
			out[count] = it;
		}
	}
	return count;
}

/* ------------------------------------------------------------------ layout -- */

static uint32_t v_row(const struct kiln_attention *at)
{
	return KILN_ALIGN_UP(at->dim + 1, 2u);
}

/* SBUF that keys and values of a head take. */
static uint64_t head_bytes(const struct kiln_attention *at)
{
	return (uint64_t)kiln_ceil_div(at->seq_kv, PART) * (PART + v_row(at)) * 2 + 128;
}

static void set_up(struct gen *g)
{
	struct kiln_asm *as = g->as;
	uint32_t top = 0, at, unit = UNIT * g->row, tiles = kiln_ceil_div(g->at->seq_kv, PART);
	uint32_t kt_bytes = tiles * PART * 2, v_bytes = tiles * g->v_row * 2;

	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		g->left[e] = kiln_asm_reg(as, e);
		g->group[e] = kiln_asm_reg(as, e);
		kiln_asm_movi(as, e, g->left[e], g->total);
		kiln_asm_movi(as, e, g->group[e], g->period);
	}
	g->a_group = kiln_asm_reg(as, KILN_TENSOR);
	g->c_group = kiln_asm_reg(as, KILN_TENSOR);
	kiln_asm_movi(as, KILN_TENSOR, g->a_group, g->period);
	kiln_asm_movi(as, KILN_TENSOR, g->c_group, g->period);

	g->out = take(&top, BLOCK / PART * g->row);
	g->inverse = take(&top, BLOCK / PART * 4);
	g->sum = take(&top, BLOCK / PART * 4);
	g->term = take(&top, 4);
	g->worst = take(&top, 4);
	g->bad = take(&top, 4);
#define TURN(field, engine, start, bytes, slots) \
	turn_init(as, engine, &g->field[engine], start, bytes, slots)
	at = take(&top, Q_SLOTS * unit);
	TURN(qn, KILN_SYNC, at, unit, Q_SLOTS);
	TURN(qn, KILN_TENSOR, at, unit, Q_SLOTS);
	at = take(&top, KN_SLOTS * unit);
	TURN(kn, KILN_SYNC, at, unit, KN_SLOTS);
	TURN(kn, KILN_TENSOR, at, unit, KN_SLOTS);
	at = take(&top, Q_SLOTS * BLOCK * 2);
	TURN(qt, KILN_VECTOR, at, BLOCK * 2, Q_SLOTS);
	TURN(qt, KILN_TENSOR, at, BLOCK * 2, Q_SLOTS);
	at = take(&top, P_SLOTS * BLOCK * 2);
	TURN(p, KILN_SCALAR, at, BLOCK * 2, P_SLOTS);
	TURN(p, KILN_GPSIMD, at, BLOCK * 2, P_SLOTS);
	TURN(p, KILN_TENSOR, at, BLOCK * 2, P_SLOTS);
	at = take(&top, 2 * kt_bytes);
	TURN(kt, KILN_VECTOR, at, kt_bytes, 2);
	TURN(kt, KILN_TENSOR, at, kt_bytes, 2);
	at = take(&top, 2 * v_bytes);
	TURN(vb, KILN_SYNC, at, v_bytes, 2);
	TURN(vb, KILN_TENSOR, at, v_bytes, 2);
	TURN(s, KILN_TENSOR, PSUM_S, KILN_PSUM_BANK_BYTES, S_SLOTS);
	TURN(s, KILN_SCALAR, PSUM_S, KILN_PSUM_BANK_BYTES, S_SLOTS);
	TURN(t, KILN_TENSOR, PSUM_T, KILN_PSUM_BANK_BYTES, 2);
	TURN(t, KILN_VECTOR, PSUM_T, KILN_PSUM_BANK_BYTES, 2);
#undef TURN

	kiln_asm_memset(as, KILN_GPSIMD, scalar_of(g->worst, 0, PART), 0);
	/* The ones: all columns behind a row of v; transfers leave them alone. */
	for (uint32_t i = 0; i < 2 * tiles; i += at) {
		at = kiln_min(2 * tiles - i, 4096);
		kiln_asm_memset(as, KILN_VECTOR,
				kiln_tile2(KILN_SBUF, KILN_BF16, 0, PART,
					   g->vb[KILN_SYNC].start + (i * g->v_row + g->d) * 2, at,
					   g->v_row, 1, 1), 1);
	}
	kiln_asm_post(as, KILN_VECTOR, SEM_ONES, 1);
	kiln_asm_wait(as, KILN_TENSOR, SEM_ONES, 1);
	kiln_asm_nop(as, KILN_TENSOR);

	g->q = kiln_asm_reg(as, KILN_SYNC);
	g->k = kiln_asm_reg(as, KILN_SYNC);
	g->v = kiln_asm_reg(as, KILN_SYNC);
	g->v_unit = kiln_asm_reg(as, KILN_SYNC);
	g->kt_row = kiln_asm_reg(as, KILN_VECTOR);
	g->kt_col = kiln_asm_reg(as, KILN_TENSOR);
	g->v_col = kiln_asm_reg(as, KILN_TENSOR);
	g->out_dram = kiln_asm_reg(as, KILN_GPSIMD);
	kiln_asm_ldarg(as, KILN_SYNC, g->q, 0);
	kiln_asm_ldarg(as, KILN_SYNC, g->k, 1);
	kiln_asm_ldarg(as, KILN_SYNC, g->v, 2);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->out_dram, 3);

	post_free(as, KILN_VECTOR, SEM_QN_FREE, Q_SLOTS);
	post_free(as, KILN_VECTOR, SEM_QT_FREE, Q_SLOTS);
	post_free(as, KILN_VECTOR, SEM_KN_FREE, KN_SLOTS);
	post_free(as, KILN_VECTOR, SEM_KT_FREE, 2);
	post_free(as, KILN_VECTOR, SEM_V_FREE, 2);
	post_free(as, KILN_VECTOR, SEM_T_FREE, 2);
	post_free(as, KILN_VECTOR, SEM_S_FREE, S_SLOTS);
	post_free(as, KILN_VECTOR, SEM_P_FREE, P_SLOTS);
	post_free(as, KILN_VECTOR, SEM_O_FREE, BLOCK / PART);
	post_free(as, KILN_VECTOR, SEM_OUT_FREE, BLOCK / PART);
}

/* When everything is stored: each engine's register is 1 if the result is no good. */
static void judge(struct gen *g, unsigned int bad[KILN_ENGINES])
{
	struct kiln_asm *as = g->as;
	struct kiln_operand worst = scalar_of(g->worst, 0, PART);

	kiln_asm_wait(as, KILN_GPSIMD, SEM_OUT_FREE, BLOCK / PART);
	kiln_asm_tensor_scalar(as, KILN_GPSIMD, worst, worst, KILN_ALU_LE, kiln_const(LIMIT),
			       KILN_ALU_EQ, kiln_const(0), 0);
	kiln_asm_partition_reduce(as, scalar_of(g->term, 0, 1), KILN_ALU_MAX, worst);
	kiln_asm_tensor_copy(as, KILN_GPSIMD, sbuf(1, KILN_I32, g->bad, 1),
			     scalar_of(g->term, 0, 1));
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		bad[e] = kiln_asm_reg(as, e);
		if (e != KILN_GPSIMD) {
			kiln_asm_nop(as, KILN_GPSIMD);
			kiln_asm_post(as, KILN_GPSIMD, SEM_BAD + e, 1);
			kiln_asm_wait(as, e, SEM_BAD + e, 1);
		}
		kiln_asm_load_register(as, e, bad[e], sbuf(1, KILN_I32, g->bad, 1));
	}
}

/* All engines have read what judge() wrote before any of them writes over it. */
void kiln_attention_by_keys_again(struct kiln_asm *as)
{
	unsigned int e;

	for (e = 0; e < KILN_ENGINES; e++) {
		if (e == KILN_GPSIMD)
			continue;
		kiln_asm_nop(as, e);
		kiln_asm_post(as, e, SEM_READ, 1);
	}
	kiln_asm_wait(as, KILN_GPSIMD, SEM_READ, KILN_ENGINES - 1);
	for (e = 0; e < KILN_ENGINES; e++) {
		if (e == KILN_GPSIMD)
			continue;
		kiln_asm_nop(as, KILN_GPSIMD);
		kiln_asm_post(as, KILN_GPSIMD, SEM_AGAIN + e, 1);
		kiln_asm_wait(as, e, SEM_AGAIN + e, 1);
		kiln_asm_nop(as, e);
	}
}

bool kiln_attention_by_keys_fits(const struct kiln_attention *at, unsigned int generation)
{
	uint64_t other = (2 + 4 + 1) * UNIT * PART * 2 + (Q_SLOTS + P_SLOTS) * BLOCK * 2 + 1024;

	return at->type == KILN_TYPE_BF16 && !at->window && !at->mask && !at->slopes &&
	       !at->softcap && at->seq_q >= MIN_QUERIES && at->seq_kv >= MIN_QUERIES &&
	       2 * head_bytes(at) + other <= kiln_asm_sbuf_bytes(generation);
}

int kiln_attention_by_keys(struct kiln_asm *as, const struct kiln_attention *at,
			   unsigned int bad[KILN_ENGINES])
{
	struct gen *g = calloc(1, sizeof(*g));
	uint32_t i;

	if (!g)
		return -ENOMEM;
	g->as = as;
	g->at = at;
	g->d = at->dim;
	g->row = at->dim * 2;
	g->v_row = v_row(at);
	g->period = at->heads / at->kv_heads;
	g->total = at->batch * at->heads;
	g->blocks = kiln_ceil_div(at->seq_q, BLOCK);
	g->units = kiln_ceil_div(at->seq_kv, UNIT * PART);
	g->items = list_items(at, NULL);
	g->item = calloc(g->items, sizeof(*g->item));
	if (!g->item) {
		free(g);
		return -ENOMEM;
	}
	list_items(at, g->item);
	set_up(g);

	prepare_block(g, 0);
	for (i = 0; i < g->units; i++)
		load_unit(g, i);
	for (i = 1; i <= AHEAD && i < g->items; i++)
		if (g->item[i].first)
			prepare_block(g, g->item[i].block);
	for (i = 0; i < AHEAD; i++)
		stage_a(g, &g->item[i]);
	kiln_asm_loop(as, g->total);
	head(g);
	kiln_asm_loop_end(as);
	judge(g, bad);
	free(g->item);
	free(g);
	return 0;
}
