// SPDX-License-Identifier: MIT
/*
 * Attention: softmax(scale q k^T + mask) v with the scores never leaving the
 * core, the running maximum and sum of flash attention.
 *
 * Query heads of one key-value head lie behind each other, so that without a
 * mask (or with one query) they are one matrix of rows. A tile is up to 128
 * rows; the last one of a matrix is moved back so as to be full, and then
 * writes some rows a second time, with the same bits. The keys that a tile
 * sees are cut into items of up to KEYS. For each item, in three stages:
 *
 *	A  Tensor: scores = q k^T, and the mask, in PSUM. Vector: their maximum.
 *	   GpSimd: the maximum so far. Scalar: p = exp(scale * (scores - maximum))
 *	   in the type of v, and its sum; alpha = exp(scale * (what the maximum
 *	   was - is)). GpSimd: l = l * alpha + sum.
 *	B  Tensor: p transposed. Vector: copied to SBUF.
 *	C  Tensor: p v in PSUM. Vector: o = o * alpha + that. After the last item
 *	   of the tile GpSimd makes o / l of it and stores that. Where tiles have
 *	   one item each, Scalar makes p v / l of it at once.
 *
 * A step is A of one item, B of the one before, C of the one before that, so
 * that no engine waits for another within a step. Steps go on across tiles and
 * heads. All hand-overs are first in first out between two engines: counting
 * semaphores, and slots taken in turn.
 *
 * A body is what the program's loop repeats: with a mask the tiles of one
 * query head (each sees another number of keys), without one a single tile.
 * K is transposed, and V loaded, once for each key-value head, in the body
 * before it is wanted; if two heads of them do not fit into SBUF they stream:
 * each item brings its own.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

#define PART		128
#define KEYS		1024	/* of an item */
#define BANK_COLS	512
#define MASKED		-0x1p127f	/* exp of it, scaled, is 0 */
#define Q_SLOTS		4
#define KN_SLOTS	16	/* enough to hide the latency of memory */
#define COL_SLOTS	4	/* A is two items ahead of C */
#define V_SLOTS		4	/* streaming needs 3: A is two items ahead of C */

enum {
	SEM_QN_LOADED, SEM_QN_FREE,	/* q as stored */
	SEM_QT_FULL, SEM_QT_FREE,	/* q transposed */
	SEM_KN_LOADED, SEM_KN_FREE,
	SEM_KT_FULL, SEM_KT_FREE,
	SEM_V_LOADED, SEM_V_FREE,
	SEM_S_FULL, SEM_S_FREE,
	SEM_NMAX_FULL, SEM_MAX_FULL,
	SEM_P_FULL, SEM_P_FREE,
	SEM_T_FULL, SEM_T_FREE,
	SEM_KQ_FULL, SEM_KQ_FREE,
	SEM_STAT_FULL, SEM_L_FULL,
	SEM_O_FULL, SEM_O_FREE,
	SEM_PT_FULL, SEM_PT_FREE,
	SEM_PV_FULL, SEM_PV_FREE,
	SEM_OUT_FULL, SEM_OUT_FREE,
	SEM_MASK,
};

enum { RING_Q = 0, RING_K = 4, RING_V = 8, RING_OUT = 12 };

/* PSUM: two slots each of scores (two banks), p transposed (one), p v, and q or k transposed (half). */
#define PSUM_S	0
#define PSUM_T	(4 * KILN_PSUM_BANK_BYTES)
#define PSUM_PV	(6 * KILN_PSUM_BANK_BYTES)
#define PSUM_KQ	(7 * KILN_PSUM_BANK_BYTES)
#define HALF	(KILN_PSUM_BANK_BYTES / 2)

/* Slots taken in turn: one engine's address of the next. */
struct turn {
	unsigned int reg, end;
	uint32_t start, bytes;
};

struct item {
	uint32_t tile, index;	/* in the body; in the tile */
	uint32_t keys;
	bool first, last;	/* of its tile */
	bool masked;		/* its last columns, as many as the tile has rows */
};

struct gen {
	struct kiln_asm *as;
	const struct kiln_attention *at;
	enum kiln_dtype type;
	uint32_t es, d;
	uint32_t rows;		/* of a matrix of queries: of a head, or all heads of a group */
	uint32_t m;		/* rows of a tile */
	uint32_t tiles;		/* of the matrix */
	uint32_t body_tiles, period;	/* tiles of a body, bodies of a key-value head */
	uint32_t total;		/* bodies */
	bool masked, resident;
	uint32_t unit, units;	/* tiles of p that are transposed at a time; of those in an item */
	uint32_t k_unit;	/* the same for k */
	enum kiln_engine copier;	/* of q and k transposed: who has less to do */
	struct item *item;	/* of the body */
	uint32_t items;

	uint32_t mask, identity;		/* SBUF, bf16 */
	bool single;				/* each tile has one item */
	uint32_t kt_bytes, v_bytes;		/* of a buffer */

	/* registers; struct turn where slots go round */
	unsigned int left[KILN_ENGINES];	/* bodies, this one included */
	unsigned int group[KILN_ENGINES];	/* bodies of this key-value head */
	unsigned int prep[KILN_ENGINES];	/* tiles until the last one of a matrix is next */
	unsigned int a_group, c_group;		/* Tensor: the same for stages A and C */
	struct turn qn[KILN_ENGINES], qt[KILN_ENGINES], kn[KILN_ENGINES];
	struct turn s[KILN_ENGINES], p[KILN_ENGINES], t[KILN_ENGINES], pt[KILN_ENGINES];
	struct turn pv[KILN_ENGINES], out[KILN_ENGINES], ktb[KILN_ENGINES], vb[KILN_ENGINES];
	struct turn kq[KILN_ENGINES], l[KILN_ENGINES], o[KILN_ENGINES], inverse[KILN_ENGINES];
	struct turn max[KILN_ENGINES], stat[KILN_ENGINES];
	unsigned int max_prev;			/* GpSimd: the slot before */
	unsigned int q, k, v_dram, k_head, v_head;	/* Sync: device addresses */
	unsigned int out_dram;			/* GpSimd */
	unsigned int kt_col, v_col;		/* Tensor: within the buffers */
};

/* ------------------------------------------------------------------- slots -- */

static uint32_t take(uint32_t *top, uint32_t bytes)
{
	uint32_t at = *top;

	*top += KILN_ALIGN_UP(bytes, 64u);
	return at;
}

static void turn_init(struct gen *g, enum kiln_engine e, struct turn *t, uint32_t start,
		      uint32_t bytes, unsigned int slots)
{
	t->start = start;
	t->bytes = bytes;
	t->reg = kiln_asm_reg(g->as, e);
	t->end = kiln_asm_reg(g->as, e);
	kiln_asm_movi(g->as, e, t->reg, start);
	kiln_asm_movi(g->as, e, t->end, start + slots * bytes);
}

static void turn_next(struct gen *g, enum kiln_engine e, struct turn *t)
{
	kiln_asm_addi(g->as, e, t->reg, t->reg, t->bytes);
	kiln_asm_blt(g->as, e, t->reg, t->end, kiln_asm_count(g->as, e) + 2);
	kiln_asm_movi(g->as, e, t->reg, t->start);
}

static struct kiln_operand sbuf(uint32_t partitions, enum kiln_dtype type, uint32_t addr,
				uint32_t n)
{
	return kiln_tile1(KILN_SBUF, type, 0, partitions, addr, n);
}

static struct kiln_operand slot(enum kiln_space space, const struct turn *t,
				enum kiln_dtype type, uint32_t partitions, uint32_t offset,
				uint32_t n)
{
	return kiln_at(kiln_tile1(space, type, 0, partitions, offset, n), t->reg);
}

/* ------------------------------------------------------------ transposing -- */

/* Tensor: tile j of the transpose slot t, each PART columns wide. */
static void t_tile(struct gen *g, const struct turn *t, uint32_t j, struct kiln_operand src)
{
	kiln_asm_transpose(g->as, slot(KILN_PSUM, &t[KILN_TENSOR], g->type, src.size[0],
				       j * PART * g->es, src.partitions), src);
}

/* The tile of queries after the one that was prepared last. */
static void prepare_q(struct gen *g)
{
	struct kiln_asm *as = g->as;

	kiln_asm_wait(as, KILN_SYNC, SEM_QN_FREE, 1);
	kiln_asm_dma(as, KILN_SYNC, RING_Q,
		     slot(KILN_SBUF, &g->qn[KILN_SYNC], g->type, g->m, 0, g->d),
		     kiln_dram(g->q, 0, g->d, 1));
	kiln_asm_post(as, KILN_SYNC, SEM_QN_LOADED, 1);
	turn_next(g, KILN_SYNC, &g->qn[KILN_SYNC]);

	kiln_asm_wait(as, KILN_TENSOR, SEM_QN_LOADED, 1);
	kiln_asm_wait(as, KILN_TENSOR, SEM_KQ_FREE, 1);
	t_tile(g, g->kq, 0, slot(KILN_SBUF, &g->qn[KILN_TENSOR], g->type, g->m, 0, g->d));
	kiln_asm_post(as, KILN_TENSOR, SEM_QN_FREE, 1);
	kiln_asm_post(as, KILN_TENSOR, SEM_KQ_FULL, 1);
	turn_next(g, KILN_TENSOR, &g->kq[KILN_TENSOR]);
	turn_next(g, KILN_TENSOR, &g->qn[KILN_TENSOR]);

	kiln_asm_wait(as, g->copier, SEM_KQ_FULL, 1);
	kiln_asm_wait(as, g->copier, SEM_QT_FREE, 1);
	kiln_asm_tensor_copy(as, g->copier,
			     slot(KILN_SBUF, &g->qt[g->copier], g->type, g->d, 0, g->m),
			     slot(KILN_PSUM, &g->kq[g->copier], g->type, g->d, 0, g->m));
	kiln_asm_post(as, g->copier, SEM_QT_FULL, 1);
	kiln_asm_post(as, g->copier, SEM_KQ_FREE, 1);
	turn_next(g, g->copier, &g->kq[g->copier]);
	turn_next(g, g->copier, &g->qt[g->copier]);
}

/* One transposing's worth of keys, and the values with them; to the buffers' next columns. */
static void load_unit(struct gen *g, uint32_t keys)
{
	struct kiln_asm *as = g->as;
	uint32_t full = keys / PART, rest = keys % PART, j;
	uint32_t row = g->d * g->es;

	kiln_asm_wait(as, KILN_SYNC, SEM_KN_FREE, 1);
	if (full) {
		kiln_asm_dma(as, KILN_SYNC, RING_K,
			     kiln_at(kiln_tile2(KILN_SBUF, g->type, 0, PART, 0, full, g->d,
						g->d, 1), g->kn[KILN_SYNC].reg),
			     kiln_dram2(g->k, 0, g->d, PART * g->d, 1));
		if (!rest)
			kiln_asm_post(as, KILN_SYNC, SEM_KN_LOADED, 1);
		kiln_asm_dma(as, KILN_SYNC, RING_V,
			     kiln_at(kiln_tile2(KILN_SBUF, g->type, 0, PART, 0, full, g->d,
						g->d, 1), g->vb[KILN_SYNC].reg),
			     kiln_dram2(g->v_dram, 0, g->d, PART * g->d, 1));
		if (!rest)
			kiln_asm_post(as, KILN_SYNC, SEM_V_LOADED, 1);
	}
	if (rest) {
		kiln_asm_dma(as, KILN_SYNC, RING_K,
			     slot(KILN_SBUF, &g->kn[KILN_SYNC], g->type, rest, full * row, g->d),
			     kiln_dram(g->k, full * PART * row, g->d, 1));
		kiln_asm_post(as, KILN_SYNC, SEM_KN_LOADED, 1);
		kiln_asm_dma(as, KILN_SYNC, RING_V,
			     slot(KILN_SBUF, &g->vb[KILN_SYNC], g->type, rest, full * row, g->d),
			     kiln_dram(g->v_dram, full * PART * row, g->d, 1));
		kiln_asm_post(as, KILN_SYNC, SEM_V_LOADED, 1);
	}
	kiln_asm_addi(as, KILN_SYNC, g->k, g->k, (int64_t)keys * row);
	kiln_asm_addi(as, KILN_SYNC, g->v_dram, g->v_dram, (int64_t)keys * row);
	turn_next(g, KILN_SYNC, &g->kn[KILN_SYNC]);

	kiln_asm_wait(as, KILN_TENSOR, SEM_KN_LOADED, 1);
	kiln_asm_wait(as, KILN_TENSOR, SEM_KQ_FREE, 1);
	for (j = 0; j * PART < keys; j++)
		t_tile(g, g->kq, j, slot(KILN_SBUF, &g->kn[KILN_TENSOR], g->type,
					 kiln_min(PART, keys - j * PART), j * row, g->d));
	kiln_asm_post(as, KILN_TENSOR, SEM_KN_FREE, 1);
	kiln_asm_post(as, KILN_TENSOR, SEM_KQ_FULL, 1);
	turn_next(g, KILN_TENSOR, &g->kq[KILN_TENSOR]);
	turn_next(g, KILN_TENSOR, &g->kn[KILN_TENSOR]);

	/* Tiles of keys stand side by side, in PSUM as in SBUF. */
	kiln_asm_wait(as, g->copier, SEM_KQ_FULL, 1);
	kiln_asm_tensor_copy(as, g->copier,
			     slot(KILN_SBUF, &g->ktb[g->copier], g->type, g->d, 0, keys),
			     slot(KILN_PSUM, &g->kq[g->copier], g->type, g->d, 0, keys));
	kiln_asm_post(as, g->copier, SEM_KT_FULL, 1);
	kiln_asm_post(as, g->copier, SEM_KQ_FREE, 1);
	turn_next(g, g->copier, &g->kq[g->copier]);
}

/*
 * keys of them from where the device addresses stand, into the next buffers.
 * The buffers' turns belong to the writers while they are filled.
 */
static uint32_t load_keys(struct gen *g, uint32_t keys)
{
	uint32_t unit = g->k_unit * PART, full = keys / unit, rest = keys % unit;
	uint32_t kt_step = unit * g->es, v_step = g->k_unit * g->d * g->es;
	unsigned int kt = g->ktb[g->copier].reg, vb = g->vb[KILN_SYNC].reg;

	kiln_asm_wait(g->as, KILN_SYNC, SEM_V_FREE, 1);
	kiln_asm_wait(g->as, g->copier, SEM_KT_FREE, 1);
	if (full) {
		kiln_asm_loop(g->as, full);
		load_unit(g, unit);
		kiln_asm_addi(g->as, g->copier, kt, kt, kt_step);
		kiln_asm_addi(g->as, KILN_SYNC, vb, vb, v_step);
		kiln_asm_loop_end(g->as);
	}
	if (rest)
		load_unit(g, rest);
	if (full) {
		kiln_asm_addi(g->as, g->copier, kt, kt, -(int64_t)full * kt_step);
		kiln_asm_addi(g->as, KILN_SYNC, vb, vb, -(int64_t)full * v_step);
	}
	turn_next(g, g->copier, &g->ktb[g->copier]);
	turn_next(g, KILN_SYNC, &g->vb[KILN_SYNC]);
	return full + !!rest;
}

/* Tensor: what load_keys() has brought is there. */
static void wait_keys(struct gen *g, uint32_t units)
{
	while (units) {
		uint32_t some = kiln_min(units, 200);

		kiln_asm_wait(g->as, KILN_TENSOR, SEM_KT_FULL, some);
		kiln_asm_wait(g->as, KILN_TENSOR, SEM_V_LOADED, some);
		units -= some;
	}
}

static uint32_t kv_units(const struct gen *g)
{
	return kiln_ceil_div(g->at->seq_kv, g->k_unit * PART);
}

/* ------------------------------------------------------------------ stages -- */

static void if_reg(struct gen *g, unsigned int reg, bool less, int64_t limit)
{
	const unsigned int regs[KILN_ENGINES] = { [KILN_TENSOR] = reg };

	/* Only Tensor will have anything inside. */
	kiln_asm_if(g->as, regs, less, limit);
}

/*
 * Tensor: MASKED is added to the scores of what a row must not see, which is a
 * product of the identity and the mask: 0 changes no sum, and beside MASKED no
 * score counts. The columns may lie in two banks.
 */
static void add_mask(struct gen *g, uint32_t column)
{
	uint32_t done, n;

	kiln_asm_load_stationary(g->as, sbuf(g->m, KILN_BF16, g->identity, g->m));
	for (done = 0; done < g->m; done += n) {
		n = kiln_min(g->m - done, BANK_COLS - (column + done) % BANK_COLS);
		kiln_asm_matmul(g->as, slot(KILN_PSUM, &g->s[KILN_TENSOR], KILN_F32, g->m,
					    (column + done) * 4, n),
				sbuf(g->m, KILN_BF16, g->mask + done * 2, n), true);
	}
}

static void stage_a(struct gen *g, const struct item *it)
{
	struct kiln_asm *as = g->as;
	const struct turn *s = g->s, *max = g->max;
	enum kiln_dtype f32 = KILN_F32;
	struct kiln_scalar scale = kiln_const(g->at->scale);
	struct kiln_operand sm, prev, sum, l, nmax;
	struct kiln_scalar stat;
	uint32_t j, m = g->m;
	bool body_first = !it->tile && it->first;
	bool body_last = it->tile == g->body_tiles - 1 && it->last;

	/* Tensor: scores. */
	if (!g->resident) {
		if (it->first) {
			kiln_asm_addi(as, KILN_SYNC, g->k, g->k_head, 0);
			kiln_asm_addi(as, KILN_SYNC, g->v_dram, g->v_head, 0);
		}
		wait_keys(g, load_keys(g, it->keys));
		kiln_asm_addi(as, KILN_TENSOR, g->kt_col, g->ktb[KILN_TENSOR].reg, 0);
	} else {
		if (body_first) {
			if_reg(g, g->a_group, false, g->period);
			wait_keys(g, kv_units(g));
			kiln_asm_if_end(as);
		}
		if (it->first)
			kiln_asm_addi(as, KILN_TENSOR, g->kt_col, g->ktb[KILN_TENSOR].reg, 0);
	}
	if (it->first)
		kiln_asm_wait(as, KILN_TENSOR, SEM_QT_FULL, 1);
	kiln_asm_load_stationary(as, slot(KILN_SBUF, &g->qt[KILN_TENSOR], g->type, g->d, 0, m));
	kiln_asm_wait(as, KILN_TENSOR, SEM_S_FREE, 1);
	for (j = 0; j * BANK_COLS < it->keys; j++) {
		uint32_t n = kiln_min(BANK_COLS, it->keys - j * BANK_COLS);

		kiln_asm_matmul(as, slot(KILN_PSUM, &s[KILN_TENSOR], f32, m,
					 j * KILN_PSUM_BANK_BYTES, n),
				kiln_at(sbuf(g->d, g->type, j * BANK_COLS * g->es, n), g->kt_col),
				false);
	}
	if (it->last)
		kiln_asm_post(as, KILN_TENSOR, SEM_QT_FREE, 1);
	if (it->masked)
		add_mask(g, it->keys - m);
	kiln_asm_post(as, KILN_TENSOR, SEM_S_FULL, 1);
	turn_next(g, KILN_TENSOR, &g->s[KILN_TENSOR]);
	if (it->last)
		turn_next(g, KILN_TENSOR, &g->qt[KILN_TENSOR]);
	if (!g->resident) {
		kiln_asm_nop(as, KILN_TENSOR);
		kiln_asm_post(as, KILN_TENSOR, SEM_KT_FREE, 1);
		turn_next(g, KILN_TENSOR, &g->ktb[KILN_TENSOR]);
	} else {
		kiln_asm_addi(as, KILN_TENSOR, g->kt_col, g->kt_col, it->keys * g->es);
	}
	if (body_last) {
		kiln_asm_addi(as, KILN_TENSOR, g->a_group, g->a_group, -1);
		if_reg(g, g->a_group, true, 1);
		kiln_asm_movi(as, KILN_TENSOR, g->a_group, g->period);
		if (g->resident) {
			kiln_asm_nop(as, KILN_TENSOR);
			kiln_asm_post(as, KILN_TENSOR, SEM_KT_FREE, 1);
			turn_next(g, KILN_TENSOR, &g->ktb[KILN_TENSOR]);
		}
		kiln_asm_if_end(as);
	}

	/* Vector: -maximum. */
	kiln_asm_wait(as, KILN_VECTOR, SEM_S_FULL, 1);
	kiln_asm_tensor_reduce(as, slot(KILN_SBUF, &max[KILN_VECTOR], f32, m, 8, 1), KILN_ALU_MAX,
			       slot(KILN_PSUM, &s[KILN_VECTOR], f32, m, 0, it->keys), true);
	kiln_asm_post(as, KILN_VECTOR, SEM_NMAX_FULL, 1);
	turn_next(g, KILN_VECTOR, &g->max[KILN_VECTOR]);
	turn_next(g, KILN_VECTOR, &g->s[KILN_VECTOR]);

	/* GpSimd: -scale * maximum so far, and the difference that this item makes to it. */
	nmax = slot(KILN_SBUF, &max[KILN_GPSIMD], f32, m, 8, 1);
	sm = slot(KILN_SBUF, &max[KILN_GPSIMD], f32, m, 0, 1);
	prev = kiln_at(sbuf(m, f32, 0, 1), g->max_prev);
	kiln_asm_wait(as, KILN_GPSIMD, SEM_NMAX_FULL, 1);
	if (it->first) {
		kiln_asm_tensor_scalar(as, KILN_GPSIMD, sm, nmax, KILN_ALU_MULTIPLY, scale,
				       KILN_ALU_BYPASS, kiln_const(0), 0);
	} else {
		kiln_asm_scalar_tensor_tensor(as, KILN_GPSIMD, sm, nmax, KILN_ALU_MULTIPLY,
					      scale, KILN_ALU_MIN, prev, 0);
		kiln_asm_tensor_tensor(as, KILN_GPSIMD,
				       slot(KILN_SBUF, &max[KILN_GPSIMD], f32, m, 4, 1), sm,
				       KILN_ALU_SUBTRACT, prev);
	}
	kiln_asm_post(as, KILN_GPSIMD, SEM_MAX_FULL, 1);
	kiln_asm_addi(as, KILN_GPSIMD, g->max_prev, max[KILN_GPSIMD].reg, 0);
	turn_next(g, KILN_GPSIMD, &g->max[KILN_GPSIMD]);

	/* Scalar: alpha, then p and its sum. */
	kiln_asm_wait(as, KILN_SCALAR, SEM_MAX_FULL, 1);
	if (!it->first)
		kiln_asm_activation(as, slot(KILN_SBUF, &g->stat[KILN_SCALAR], f32, m, 4, 1),
				    KILN_ACT_EXP,
				    slot(KILN_SBUF, &max[KILN_SCALAR], f32, m, 4, 1),
				    kiln_const(1), kiln_const(0), NULL);
	kiln_asm_wait(as, KILN_SCALAR, SEM_P_FREE, 1);
	stat = kiln_col(KILN_SBUF, f32, 0, g->stat[KILN_SCALAR].reg);
	kiln_asm_activation(as, slot(KILN_SBUF, &g->p[KILN_SCALAR], g->type, m, 0, it->keys),
			    KILN_ACT_EXP,
			    slot(KILN_PSUM, &s[KILN_SCALAR], f32, m, 0, it->keys), scale,
			    kiln_col(KILN_SBUF, f32, 0, max[KILN_SCALAR].reg), &stat.col);
	kiln_asm_post(as, KILN_SCALAR, SEM_S_FREE, 1);
	kiln_asm_post(as, KILN_SCALAR, SEM_P_FULL, 1);
	kiln_asm_nop(as, KILN_SCALAR);
	kiln_asm_post(as, KILN_SCALAR, SEM_STAT_FULL, 1);
	turn_next(g, KILN_SCALAR, &g->s[KILN_SCALAR]);
	turn_next(g, KILN_SCALAR, &g->p[KILN_SCALAR]);
	turn_next(g, KILN_SCALAR, &g->max[KILN_SCALAR]);
	turn_next(g, KILN_SCALAR, &g->stat[KILN_SCALAR]);

	/* GpSimd: the sum so far. */
	sum = slot(KILN_SBUF, &g->stat[KILN_GPSIMD], f32, m, 0, 1);
	l = slot(KILN_SBUF, &g->l[KILN_GPSIMD], f32, m, 0, 1);
	kiln_asm_wait(as, KILN_GPSIMD, SEM_STAT_FULL, 1);
	if (it->first)
		kiln_asm_tensor_copy(as, KILN_GPSIMD, l, sum);
	else
		kiln_asm_scalar_tensor_tensor(as, KILN_GPSIMD, l, l, KILN_ALU_MULTIPLY,
					      kiln_col(KILN_SBUF, f32, 4,
						       g->stat[KILN_GPSIMD].reg),
					      KILN_ALU_ADD, sum, 0);
	if (it->last) {
		kiln_asm_post(as, KILN_GPSIMD, SEM_L_FULL, 1);
		turn_next(g, KILN_GPSIMD, &g->l[KILN_GPSIMD]);
	}
	turn_next(g, KILN_GPSIMD, &g->stat[KILN_GPSIMD]);
}

/* Vector: n transposed tiles of p from the j-th on, to lie as wide as they are. */
static void copy_p(struct gen *g, uint32_t j, uint32_t n, uint32_t keys)
{
	kiln_asm_tensor_copy(g->as, KILN_VECTOR,
		kiln_at(kiln_tile2(KILN_SBUF, g->type, 0, keys, j * g->m * g->es, n, g->m,
				   g->m, 1), g->pt[KILN_VECTOR].reg),
		kiln_at(kiln_tile2(KILN_PSUM, g->type, 0, keys, j * PART * g->es, n, PART,
				   g->m, 1), g->t[KILN_VECTOR].reg));
}

static void stage_b(struct gen *g, const struct item *it)
{
	struct kiln_asm *as = g->as;
	uint32_t tiles = kiln_ceil_div(it->keys, PART), u, j;

	kiln_asm_wait(as, KILN_TENSOR, SEM_P_FULL, 1);
	for (u = 0; u < tiles; u += g->unit) {
		uint32_t n = kiln_min(g->unit, tiles - u), full = n;

		kiln_asm_wait(as, KILN_TENSOR, SEM_T_FREE, 1);
		for (j = 0; j < n; j++) {
			uint32_t keys = kiln_min(PART, it->keys - (u + j) * PART);

			t_tile(g, g->t, j, slot(KILN_SBUF, &g->p[KILN_TENSOR], g->type, g->m,
						(u + j) * PART * g->es, keys));
			if (keys < PART)
				full--;
		}
		if (u + n == tiles)
			kiln_asm_post(as, KILN_TENSOR, SEM_P_FREE, 1);
		kiln_asm_post(as, KILN_TENSOR, SEM_T_FULL, 1);
		turn_next(g, KILN_TENSOR, &g->t[KILN_TENSOR]);

		kiln_asm_wait(as, KILN_VECTOR, SEM_T_FULL, 1);
		kiln_asm_wait(as, KILN_VECTOR, SEM_PT_FREE, 1);
		if (full)
			copy_p(g, 0, full, PART);
		if (full < n)
			copy_p(g, full, 1, it->keys % PART);
		kiln_asm_post(as, KILN_VECTOR, SEM_PT_FULL, 1);
		kiln_asm_post(as, KILN_VECTOR, SEM_T_FREE, 1);
		turn_next(g, KILN_VECTOR, &g->t[KILN_VECTOR]);
		turn_next(g, KILN_VECTOR, &g->pt[KILN_VECTOR]);
	}
	turn_next(g, KILN_TENSOR, &g->p[KILN_TENSOR]);
}

/* The result of a tile: o / l. */
static void store_tile(struct gen *g, const struct item *it)
{
	struct kiln_asm *as = g->as;
	uint32_t next, last = g->rows - g->m, row = g->d * g->es;
	bool body_last = it->tile == g->body_tiles - 1;
	struct kiln_operand out = slot(KILN_SBUF, &g->out[KILN_GPSIMD], g->type, g->m, 0, g->d);

	if (g->single) {
		kiln_asm_wait(as, KILN_SCALAR, SEM_O_FULL, 1);
		kiln_asm_wait(as, KILN_SCALAR, SEM_PV_FULL, 1);
		kiln_asm_wait(as, KILN_SCALAR, SEM_OUT_FREE, 1);
		kiln_asm_activation(as, slot(KILN_SBUF, &g->out[KILN_SCALAR], g->type, g->m, 0,
					     g->d), KILN_ACT_COPY,
				    slot(KILN_PSUM, &g->pv[KILN_SCALAR], KILN_F32, g->m, 0, g->d),
				    kiln_col(KILN_SBUF, KILN_F32, 0, g->inverse[KILN_SCALAR].reg),
				    kiln_const(0), NULL);
		kiln_asm_post(as, KILN_SCALAR, SEM_PV_FREE, 1);
		kiln_asm_post(as, KILN_SCALAR, SEM_OUT_FULL, 1);
		turn_next(g, KILN_SCALAR, &g->out[KILN_SCALAR]);
		turn_next(g, KILN_SCALAR, &g->pv[KILN_SCALAR]);
		turn_next(g, KILN_SCALAR, &g->inverse[KILN_SCALAR]);
	} else {
		kiln_asm_wait(as, KILN_GPSIMD, SEM_O_FULL, 1);
		kiln_asm_wait(as, KILN_GPSIMD, SEM_OUT_FREE, 1);
		kiln_asm_tensor_scalar(as, KILN_GPSIMD, out,
				       slot(KILN_SBUF, &g->o[KILN_GPSIMD], KILN_F32, g->m, 0,
					    g->d), KILN_ALU_MULTIPLY,
				       kiln_col(KILN_SBUF, KILN_F32, 0,
						g->inverse[KILN_GPSIMD].reg),
				       KILN_ALU_BYPASS, kiln_const(0), 0);
		kiln_asm_post(as, KILN_GPSIMD, SEM_O_FREE, 1);
		kiln_asm_post(as, KILN_GPSIMD, SEM_OUT_FULL, 1);
		turn_next(g, KILN_GPSIMD, &g->o[KILN_GPSIMD]);
		turn_next(g, KILN_GPSIMD, &g->inverse[KILN_GPSIMD]);
	}
	kiln_asm_wait(as, KILN_GPSIMD, SEM_OUT_FULL, 1);
	kiln_asm_dma(as, KILN_GPSIMD, RING_OUT, kiln_dram(g->out_dram, 0, g->d, 1), out);
	kiln_asm_post(as, KILN_GPSIMD, SEM_OUT_FREE, 1);
	turn_next(g, KILN_GPSIMD, &g->out[KILN_GPSIMD]);

	/* On to the next tile's rows, or to the next matrix behind the last one's. */
	if (g->body_tiles == g->tiles) {
		next = it->tile + 2 == g->tiles ? last - it->tile * PART :
			body_last ? g->m : PART;
		kiln_asm_addi(as, KILN_GPSIMD, g->out_dram, g->out_dram, (int64_t)next * row);
	} else {
		const unsigned int regs[KILN_ENGINES] = {
			[KILN_GPSIMD] = g->prep[KILN_GPSIMD],
		};

		kiln_asm_addi(as, KILN_GPSIMD, g->out_dram, g->out_dram, (int64_t)PART * row);
		kiln_asm_addi(as, KILN_GPSIMD, g->prep[KILN_GPSIMD], g->prep[KILN_GPSIMD], -1);
		kiln_asm_if(as, regs, true, 1);
		kiln_asm_addi(as, KILN_GPSIMD, g->out_dram, g->out_dram,
			      -(int64_t)(g->tiles * PART - g->rows) * row);
		kiln_asm_movi(as, KILN_GPSIMD, g->prep[KILN_GPSIMD], g->tiles);
		kiln_asm_if_end(as);
	}
}

static void stage_c(struct gen *g, const struct item *it)
{
	struct kiln_asm *as = g->as;
	uint32_t tiles = kiln_ceil_div(it->keys, PART), j, m = g->m;
	bool body_last = it->tile == g->body_tiles - 1 && it->last;
	struct kiln_operand o = slot(KILN_SBUF, &g->o[KILN_VECTOR], KILN_F32, m, 0, g->d);
	struct kiln_operand pv = slot(KILN_PSUM, &g->pv[KILN_VECTOR], KILN_F32, m, 0, g->d);

	if (it->first || !g->resident)
		kiln_asm_addi(as, KILN_TENSOR, g->v_col, g->vb[KILN_TENSOR].reg, 0);
	for (j = 0; j < tiles; j++) {
		uint32_t keys = kiln_min(PART, it->keys - j * PART);
		bool last_of_unit = j % g->unit == g->unit - 1 || j == tiles - 1;

		if (j % g->unit == 0)
			kiln_asm_wait(as, KILN_TENSOR, SEM_PT_FULL, 1);
		kiln_asm_load_stationary(as, slot(KILN_SBUF, &g->pt[KILN_TENSOR], g->type, keys,
						  j % g->unit * m * g->es, m));
		if (last_of_unit)
			kiln_asm_post(as, KILN_TENSOR, SEM_PT_FREE, 1);
		if (!j)
			kiln_asm_wait(as, KILN_TENSOR, SEM_PV_FREE, 1);
		kiln_asm_matmul(as, slot(KILN_PSUM, &g->pv[KILN_TENSOR], KILN_F32, m, 0, g->d),
				kiln_at(sbuf(keys, g->type, j * g->d * g->es, g->d), g->v_col),
				j);
		if (j == tiles - 1)
			kiln_asm_post(as, KILN_TENSOR, SEM_PV_FULL, 1);
		if (last_of_unit)
			turn_next(g, KILN_TENSOR, &g->pt[KILN_TENSOR]);
	}
	turn_next(g, KILN_TENSOR, &g->pv[KILN_TENSOR]);
	if (!g->resident) {
		kiln_asm_nop(as, KILN_TENSOR);
		kiln_asm_post(as, KILN_TENSOR, SEM_V_FREE, 1);
		turn_next(g, KILN_TENSOR, &g->vb[KILN_TENSOR]);
	} else {
		kiln_asm_addi(as, KILN_TENSOR, g->v_col, g->v_col, tiles * g->d * g->es);
	}
	if (body_last) {
		kiln_asm_addi(as, KILN_TENSOR, g->c_group, g->c_group, -1);
		if_reg(g, g->c_group, true, 1);
		kiln_asm_movi(as, KILN_TENSOR, g->c_group, g->period);
		if (g->resident) {
			kiln_asm_nop(as, KILN_TENSOR);
			kiln_asm_post(as, KILN_TENSOR, SEM_V_FREE, 1);
			turn_next(g, KILN_TENSOR, &g->vb[KILN_TENSOR]);
		}
		kiln_asm_if_end(as);
	}

	if (it->last) {
		kiln_asm_wait(as, KILN_VECTOR, SEM_L_FULL, 1);
		kiln_asm_reciprocal(as, slot(KILN_SBUF, &g->inverse[KILN_VECTOR], KILN_F32, m, 0, 1),
				    slot(KILN_SBUF, &g->l[KILN_VECTOR], KILN_F32, m, 0, 1));
		if (g->single)
			kiln_asm_post(as, KILN_VECTOR, SEM_O_FULL, 1);
		turn_next(g, KILN_VECTOR, &g->l[KILN_VECTOR]);
		turn_next(g, KILN_VECTOR, &g->inverse[KILN_VECTOR]);
	}
	if (g->single) {
		turn_next(g, KILN_VECTOR, &g->stat[KILN_VECTOR]);
		store_tile(g, it);
		return;
	}
	kiln_asm_wait(as, KILN_VECTOR, SEM_PV_FULL, 1);
	if (it->first) {
		kiln_asm_wait(as, KILN_VECTOR, SEM_O_FREE, 1);
		kiln_asm_tensor_copy(as, KILN_VECTOR, o, pv);
	} else {
		kiln_asm_scalar_tensor_tensor(as, KILN_VECTOR, o, o, KILN_ALU_MULTIPLY,
					      kiln_col(KILN_SBUF, KILN_F32, 4,
						       g->stat[KILN_VECTOR].reg),
					      KILN_ALU_ADD, pv, 0);
	}
	kiln_asm_post(as, KILN_VECTOR, SEM_PV_FREE, 1);
	if (it->last) {
		kiln_asm_post(as, KILN_VECTOR, SEM_O_FULL, 1);
		turn_next(g, KILN_VECTOR, &g->o[KILN_VECTOR]);
	}
	turn_next(g, KILN_VECTOR, &g->pv[KILN_VECTOR]);
	turn_next(g, KILN_VECTOR, &g->stat[KILN_VECTOR]);
	if (it->last)
		store_tile(g, it);
}

/* -------------------------------------------------------------------- body -- */

/* Prepare the queries of the tile that many after the start of this body, if there is one. */
static void prepare_tile(struct gen *g, uint32_t tile)
{
	uint32_t later = tile / g->body_tiles, next, row = g->d * g->es;
	uint32_t last = g->rows - g->m;

	tile %= g->body_tiles;
	if (later)
		kiln_asm_if(g->as, g->left, false, later + 1);
	prepare_q(g);
	if (g->body_tiles == g->tiles) {
		next = tile + 2 == g->tiles ? last - tile * PART :
			tile == g->tiles - 1 ? g->m : PART;
		kiln_asm_addi(g->as, KILN_SYNC, g->q, g->q, (int64_t)next * row);
	} else {
		const unsigned int regs[KILN_ENGINES] = { [KILN_SYNC] = g->prep[KILN_SYNC] };

		kiln_asm_addi(g->as, KILN_SYNC, g->q, g->q, (int64_t)PART * row);
		kiln_asm_addi(g->as, KILN_SYNC, g->prep[KILN_SYNC], g->prep[KILN_SYNC], -1);
		kiln_asm_if(g->as, regs, true, 1);
		kiln_asm_addi(g->as, KILN_SYNC, g->q, g->q,
			      -(int64_t)(g->tiles * PART - g->rows) * row);
		kiln_asm_movi(g->as, KILN_SYNC, g->prep[KILN_SYNC], g->tiles);
		kiln_asm_if_end(g->as);
	}
	if (later)
		kiln_asm_if_end(g->as);
}

/* In the last body of a key-value head: the next one's keys and values. */
static void load_next_head(struct gen *g)
{
	if (!g->resident)
		return;
	kiln_asm_if(g->as, g->group, true, 2);
	kiln_asm_if(g->as, g->left, false, 2);
	load_keys(g, g->at->seq_kv);
	kiln_asm_if_end(g->as);
	kiln_asm_if_end(g->as);
}

static void advance_head(struct gen *g)
{
	int64_t bytes = (int64_t)g->at->seq_kv * g->d * g->es;
	const unsigned int regs[KILN_ENGINES] = { [KILN_SYNC] = g->group[KILN_SYNC] };

	/* Streaming: Sync is at the first item of the next body when it gets here. */
	if (g->resident)
		return;
	kiln_asm_if(g->as, regs, true, 2);
	kiln_asm_addi(g->as, KILN_SYNC, g->k_head, g->k_head, bytes);
	kiln_asm_addi(g->as, KILN_SYNC, g->v_head, g->v_head, bytes);
	kiln_asm_if_end(g->as);
}

/* A of the item after i, B of i, C of the one before. */
static void step(struct gen *g, uint32_t i)
{
	const struct item *it = &g->item[i];
	bool last = i == g->items - 1;

	if (it->first)
		prepare_tile(g, it->tile + 2);
	if (g->items == 1) {
		/* The buffers of the head before last are free only after its C. */
		kiln_asm_if(g->as, g->left, true, g->total);
		stage_c(g, it);
		kiln_asm_if_end(g->as);
		load_next_head(g);
	}
	if (last) {
		kiln_asm_if(g->as, g->left, false, 2);
		advance_head(g);
		stage_a(g, &g->item[0]);
		kiln_asm_if_end(g->as);
	} else {
		stage_a(g, it + 1);
	}
	stage_b(g, it);
	if (g->items > 1) {
		if (!i) {
			kiln_asm_if(g->as, g->left, true, g->total);
			stage_c(g, &g->item[g->items - 1]);
			kiln_asm_if_end(g->as);
			load_next_head(g);
		} else {
			stage_c(g, it - 1);
		}
	}
}

/* Are both only distinguished by where they are? */
static bool alike(const struct item *a, const struct item *b)
{
	return a->tile == b->tile && a->keys == b->keys && a->keys == KEYS && !a->masked &&
	       !b->masked && !a->first && !b->first && !a->last && !b->last;
}

static void body(struct gen *g)
{
	uint32_t i, n, e;

	for (i = 0; i < g->items; i += n) {
		/* Steps whose three items are the same three again: a loop. */
		for (n = 0; i && i + n + 1 < g->items &&
		     alike(&g->item[i - 1], &g->item[i + n + 1]) &&
		     alike(&g->item[i - 1], &g->item[i + n]); n++)
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

/* The items of the body's tiles; how many. */
static uint32_t list_items(const struct gen *g, struct item *out)
{
	uint32_t tile, n = 0, i;

	for (tile = 0; tile < g->body_tiles; tile++) {
		uint32_t row = tile == g->tiles - 1 ? g->rows - g->m : tile * PART;
		uint32_t keys = g->masked ? row + g->m + g->at->seq_kv - g->at->seq_q :
				g->at->seq_kv;
		uint32_t items = kiln_ceil_div(keys, KEYS);
		uint32_t last = keys - (items - 1) * KEYS;
		/* The columns of the mask must not be torn apart. */
		uint32_t shift = g->masked && items > 1 && last < g->m ? PART : 0;

		for (i = 0; i < items; i++, n++) {
			if (!out)
				continue;
			out[n] = (struct item) {
				.tile = tile, .index = i, .keys = KEYS,
				.first = !i, .last = i == items - 1,
			};
			if (i == items - 1) {
				out[n].keys = last + shift;
				out[n].masked = g->masked;
			} else if (i == items - 2) {
				out[n].keys = KEYS - shift;
			}
		}
	}
	return n;
}

/* ------------------------------------------------------------------ layout -- */

static void shape(struct gen *g)
{
	const struct kiln_attention *at = g->at;
	uint32_t heads = at->heads / at->kv_heads;

	g->type = kiln_type_dtype(at->type);
	g->es = kiln_dtype_bytes(g->type);
	g->d = at->dim;
	g->unit = 16 / g->es;
	g->units = KEYS / PART / g->unit;
	g->k_unit = 8 / g->es;
	g->masked = at->causal && at->seq_q > 1;
	g->rows = g->masked ? at->seq_q : heads * at->seq_q;
	g->m = kiln_min(g->rows, PART);
	g->tiles = kiln_ceil_div(g->rows, PART);
	/* What Vector has to do with p grows with the rows, Scalar's part does not. */
	g->copier = g->m > 32 ? KILN_SCALAR : KILN_VECTOR;
	g->body_tiles = g->masked ? g->tiles : 1;
	g->period = g->masked ? heads : g->tiles;
	g->total = at->kv_heads * g->period;
}

static void post_credits(struct gen *g, unsigned int sem, unsigned int n)
{
	kiln_asm_nop(g->as, KILN_VECTOR);
	kiln_asm_post(g->as, KILN_VECTOR, sem, n);
}

static void set_up(struct gen *g, unsigned int generation)
{
	struct kiln_asm *as = g->as;
	uint32_t top = 0, left, at, es = g->es, row = g->d * es, q_cols = KILN_ALIGN_UP(g->m * es, 4u);
	uint32_t unit_bytes = g->k_unit * row, pt_bytes = g->unit * g->m * es;
	uint32_t tiles = kiln_ceil_div(g->at->seq_kv, PART), buffers;
	static const int32_t diagonal[3] = { -1 };
	uint64_t kv;
	unsigned int e;

	for (e = 0; e < KILN_ENGINES; e++) {
		g->left[e] = kiln_asm_reg(as, e);
		g->group[e] = kiln_asm_reg(as, e);
		kiln_asm_movi(as, e, g->left[e], g->total);
		kiln_asm_movi(as, e, g->group[e], g->period);
	}
	g->a_group = kiln_asm_reg(as, KILN_TENSOR);
	g->c_group = kiln_asm_reg(as, KILN_TENSOR);
	kiln_asm_movi(as, KILN_TENSOR, g->a_group, g->period);
	kiln_asm_movi(as, KILN_TENSOR, g->c_group, g->period);
	g->prep[KILN_SYNC] = kiln_asm_reg(as, KILN_SYNC);
	g->prep[KILN_GPSIMD] = kiln_asm_reg(as, KILN_GPSIMD);
	kiln_asm_movi(as, KILN_SYNC, g->prep[KILN_SYNC], g->tiles - 1);
	kiln_asm_movi(as, KILN_GPSIMD, g->prep[KILN_GPSIMD], g->tiles - 1);

	g->mask = take(&top, PART * 2);
	g->identity = take(&top, PART * 2);

#define TURN(field, engine, start, bytes, slots) \
	turn_init(g, engine, &g->field[engine], start, bytes, slots)
	at = take(&top, Q_SLOTS * KILN_ALIGN_UP(row, 4u));
	TURN(qn, KILN_SYNC, at, KILN_ALIGN_UP(row, 4u), Q_SLOTS);
	TURN(qn, KILN_TENSOR, at, KILN_ALIGN_UP(row, 4u), Q_SLOTS);
	at = take(&top, Q_SLOTS * q_cols);
	TURN(qt, g->copier, at, q_cols, Q_SLOTS);
	TURN(qt, KILN_TENSOR, at, q_cols, Q_SLOTS);
	at = take(&top, 2 * KEYS * es);
	TURN(p, KILN_SCALAR, at, KEYS * es, 2);
	TURN(p, KILN_TENSOR, at, KEYS * es, 2);
	at = take(&top, 2 * g->units * pt_bytes);
	TURN(pt, KILN_VECTOR, at, pt_bytes, 2 * g->units);
	TURN(pt, KILN_TENSOR, at, pt_bytes, 2 * g->units);
	at = take(&top, 2 * KILN_ALIGN_UP(row, 4u));
	TURN(out, KILN_GPSIMD, at, KILN_ALIGN_UP(row, 4u), 2);
	TURN(out, KILN_SCALAR, at, KILN_ALIGN_UP(row, 4u), 2);
	/* -scale * maximum so far, the difference to the one before, -maximum of the item. */
	at = take(&top, COL_SLOTS * 12);
	TURN(max, KILN_VECTOR, at, 12, COL_SLOTS);
	TURN(max, KILN_GPSIMD, at, 12, COL_SLOTS);
	TURN(max, KILN_SCALAR, at, 12, COL_SLOTS);
	at = take(&top, COL_SLOTS * 8);
	TURN(stat, KILN_SCALAR, at, 8, COL_SLOTS);
	TURN(stat, KILN_GPSIMD, at, 8, COL_SLOTS);
	TURN(stat, KILN_VECTOR, at, 8, COL_SLOTS);
	at = take(&top, COL_SLOTS * 4);
	TURN(l, KILN_GPSIMD, at, 4, COL_SLOTS);
	TURN(l, KILN_VECTOR, at, 4, COL_SLOTS);
	at = take(&top, COL_SLOTS * 4);
	TURN(inverse, KILN_VECTOR, at, 4, COL_SLOTS);
	TURN(inverse, KILN_GPSIMD, at, 4, COL_SLOTS);
	TURN(inverse, KILN_SCALAR, at, 4, COL_SLOTS);
	at = take(&top, 2 * g->d * 4);
	TURN(o, KILN_VECTOR, at, g->d * 4, 2);
	TURN(o, KILN_GPSIMD, at, g->d * 4, 2);
	at = take(&top, KN_SLOTS * unit_bytes);
	TURN(kn, KILN_SYNC, at, unit_bytes, KN_SLOTS);
	TURN(kn, KILN_TENSOR, at, unit_bytes, KN_SLOTS);
	TURN(s, KILN_TENSOR, PSUM_S, 2 * KILN_PSUM_BANK_BYTES, 2);
	TURN(s, KILN_VECTOR, PSUM_S, 2 * KILN_PSUM_BANK_BYTES, 2);
	TURN(s, KILN_SCALAR, PSUM_S, 2 * KILN_PSUM_BANK_BYTES, 2);
	TURN(t, KILN_TENSOR, PSUM_T, KILN_PSUM_BANK_BYTES, 2);
	TURN(t, KILN_VECTOR, PSUM_T, KILN_PSUM_BANK_BYTES, 2);
	TURN(pv, KILN_TENSOR, PSUM_PV, HALF, 2);
	TURN(pv, KILN_VECTOR, PSUM_PV, HALF, 2);
	TURN(pv, KILN_SCALAR, PSUM_PV, HALF, 2);
	TURN(kq, KILN_TENSOR, PSUM_KQ, HALF, 2);
	TURN(kq, g->copier, PSUM_KQ, HALF, 2);

	/* Keys and values of at least two heads, or else of a few items. */
	left = kiln_asm_sbuf_bytes(generation) - top;
	kv = (uint64_t)tiles * (PART + g->d) * es;
	g->resident = 2 * kv + 256 <= left;
	g->kt_bytes = (g->resident ? tiles * PART : KEYS) * es;
	g->v_bytes = (g->resident ? tiles : KEYS / PART) * row;
	g->v_bytes = KILN_ALIGN_UP(g->v_bytes, 4u);
	/* The more values, the earlier the next heads' are on their way. */
	buffers = V_SLOTS;
	while (2 * g->kt_bytes + buffers * g->v_bytes + 128 > left)
		buffers--;
	at = take(&top, 2 * g->kt_bytes);
	TURN(ktb, g->copier, at, g->kt_bytes, 2);
	TURN(ktb, KILN_TENSOR, at, g->kt_bytes, 2);
	at = take(&top, buffers * g->v_bytes);
	TURN(vb, KILN_SYNC, at, g->v_bytes, buffers);
	TURN(vb, KILN_TENSOR, at, g->v_bytes, buffers);
#undef TURN

	g->max_prev = kiln_asm_reg(as, KILN_GPSIMD);
	g->kt_col = kiln_asm_reg(as, KILN_TENSOR);
	g->v_col = kiln_asm_reg(as, KILN_TENSOR);
	g->q = kiln_asm_reg(as, KILN_SYNC);
	g->k = kiln_asm_reg(as, KILN_SYNC);
	g->v_dram = kiln_asm_reg(as, KILN_SYNC);
	g->k_head = kiln_asm_reg(as, KILN_SYNC);
	g->v_head = kiln_asm_reg(as, KILN_SYNC);
	g->out_dram = kiln_asm_reg(as, KILN_GPSIMD);
	kiln_asm_ldarg(as, KILN_SYNC, g->q, 0);
	kiln_asm_ldarg(as, KILN_SYNC, g->k, 1);
	kiln_asm_ldarg(as, KILN_SYNC, g->v_dram, 2);
	kiln_asm_addi(as, KILN_SYNC, g->k_head, g->k, 0);
	kiln_asm_addi(as, KILN_SYNC, g->v_head, g->v_dram, 0);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->out_dram, 3);

	post_credits(g, SEM_QN_FREE, Q_SLOTS);
	post_credits(g, SEM_QT_FREE, Q_SLOTS);
	post_credits(g, SEM_KN_FREE, KN_SLOTS);
	post_credits(g, SEM_KQ_FREE, 2);
	post_credits(g, SEM_O_FREE, 2);
	post_credits(g, SEM_KT_FREE, 2);
	post_credits(g, SEM_V_FREE, buffers);
	post_credits(g, SEM_S_FREE, 2);
	post_credits(g, SEM_P_FREE, 2);
	post_credits(g, SEM_T_FREE, 2);
	post_credits(g, SEM_PT_FREE, 2 * g->units);
	post_credits(g, SEM_PV_FREE, 2);
	post_credits(g, SEM_OUT_FREE, 2);

	if (g->masked) {
		struct kiln_operand mask = sbuf(g->m, KILN_BF16, g->mask, g->m);
		struct kiln_operand identity = sbuf(g->m, KILN_BF16, g->identity, g->m);

		/* MASKED where column > row; 1 where they are the same. */
		kiln_asm_memset(as, KILN_GPSIMD, mask, 0);
		kiln_asm_affine_select(as, mask, mask, KILN_ALU_GE, MASKED, 0, 0, 1, diagonal);
		kiln_asm_memset(as, KILN_GPSIMD, identity, 1);
		kiln_asm_affine_select(as, identity, identity, KILN_ALU_EQ, 0, 0, 0, 1, diagonal);
		kiln_asm_post(as, KILN_GPSIMD, SEM_MASK, 1);
		kiln_asm_wait(as, KILN_TENSOR, SEM_MASK, 1);
	}
}

static int make_attention(struct kiln_asm *as, unsigned int generation, const void *description)
{
	struct gen *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->as = as;
	g->at = description;
	shape(g);
	g->items = list_items(g, NULL);
	g->item = calloc(g->items, sizeof(*g->item));
	if (!g->item) {
		free(g);
		return -ENOMEM;
	}
	list_items(g, g->item);
	g->single = g->items == g->body_tiles;
	set_up(g, generation);

	prepare_tile(g, 0);
	if (g->resident)
		load_keys(g, g->at->seq_kv);
	prepare_tile(g, 1);
	stage_a(g, &g->item[0]);
	kiln_asm_loop(as, g->total);
	body(g);
	kiln_asm_loop_end(as);
	stage_c(g, &g->item[g->items - 1]);
	free(g->item);
	free(g);
	return 0;
}

/* ------------------------------------------------------------------- entry -- */

int kiln_attention(struct kiln_ops *ops, const struct kiln_attention *attention,
		   kiln_done_fn done, void *user)
{
	struct kiln_attention at;
	struct kiln_ops_key key;
	uint64_t args[4];
	uint32_t bytes, scale_bits;
	unsigned int i;

	if (!ops || !attention)
		return kiln_error(-EINVAL, "attention: no ops or no description");
	at = *attention;
	if (at.type != KILN_TYPE_F32 && at.type != KILN_TYPE_BF16)
		return kiln_error(-ENOTSUP, "attention: type %d is not KILN_TYPE_F32 or KILN_TYPE_BF16",
				  (int)at.type);
	if (!at.heads || !at.kv_heads || !at.seq_q || !at.seq_kv || !at.dim)
		return kiln_error(-EINVAL, "attention: heads %u, kv_heads %u, seq_q %u, seq_kv %u, dim %u: each at least 1",
				  at.heads, at.kv_heads, at.seq_q, at.seq_kv, at.dim);
	if (at.heads % at.kv_heads)
		return kiln_error(-EINVAL, "attention: %u heads are no multiple of %u kv_heads",
				  at.heads, at.kv_heads);
	if (at.dim > 128)
		return kiln_error(-EINVAL, "attention: dim is %u, at most 128", at.dim);
	if (at.causal && at.seq_q > at.seq_kv)
		return kiln_error(-EINVAL, "attention: causal, but seq_q %u is more than seq_kv %u",
				  at.seq_q, at.seq_kv);
	if (at.seq_kv > 1u << 30 || (uint64_t)at.heads * at.seq_q > 1u << 30)
		return kiln_error(-EINVAL, "attention: seq_kv, and heads times seq_q, at most 2^30");
	if (!at.scale)
		at.scale = 1 / sqrtf(at.dim);
	if (!isfinite(at.scale) || at.scale < 0)
		return kiln_error(-EINVAL, "attention: scale is %g: finite and positive, or 0 for 1 / sqrt(dim)",
				  at.scale);
	args[0] = at.q;
	args[1] = at.k;
	args[2] = at.v;
	args[3] = at.out;
	bytes = at.type == KILN_TYPE_BF16 ? 2 : 4;
	for (i = 0; i < 4; i++)
		if (!args[i] || args[i] % bytes)
			return kiln_error(-EINVAL, "attention: %.3s is at 0x%llx: a device address, aligned to %u bytes",
					  &"q\0\0k\0\0v\0\0out"[3 * i],
					  (unsigned long long)args[i], bytes);

	memcpy(&scale_bits, &at.scale, sizeof(scale_bits));
	key = (struct kiln_ops_key) { .word = {
		KILN_OPS_ATTENTION | (uint64_t)at.type << 8 | (uint64_t)at.causal << 16,
		at.heads, at.kv_heads, at.seq_q, at.seq_kv, at.dim, scale_bits,
	} };
	return kiln_ops_run(ops, &key, "attention", make_attention, &at, args, 4, done, user);
}
