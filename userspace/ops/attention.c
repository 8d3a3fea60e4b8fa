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
 * What is added to scores comes in three ways. Where causal or window is all,
 * MASKED is added by Tensor, in a band of columns of a tile's first and last
 * item; keys beyond them are not even loaded. A mask, ALiBi or a softcap make
 * it Vector's: between the scores and their maximum, softcap's tanh (Scalar),
 * distances times slopes (GpSimd counts them, an item ahead), the mask, the
 * bands. Slopes are divided by the scale, which is applied with the mask, or
 * else with exp as ever.
 *
 * Many queries in bf16 go by attention_by_keys.c first; what is here then
 * stands behind that and runs if it has to.
 *
 * A body is what the program's loop repeats: if rows see different keys, or
 * have a mask of their own, the tiles of one query head, else a single tile.
 * K is transposed, and V loaded, once for each key-value head, in the body
 * before it is wanted; if two heads of them do not fit into SBUF they stream:
 * each item brings its own.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"

#define PART		128
#define KEYS		1024	/* of an item */
#define BANK_COLS	512
#define MASKED		-0x1p127f	/* exp of it, scaled, is 0 */
#define FLOOR		0x1p126f	/* -maximum is no more: what is below counts for nothing */
#define TINY		0x1p-100f	/* the sum of a row of which nothing counts: o / l is 0 */
#define MAX_SLOPES	4096
#define Q_SLOTS		4
#define KN_SLOTS	16	/* enough to hide the latency of memory */
#define COL_SLOTS	4	/* A is two items ahead of C */
#define V_SLOTS		4	/* streaming needs 3: A is two items ahead of C */
#define MK_SLOTS	3

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
	SEM_BANDS,
	SEM_CAP_FULL,
	SEM_MK_LOADED, SEM_MK_FREE,
	SEM_D_FULL, SEM_D_FREE,
	SEM_SLOPES,
};

enum { RING_Q = 0, RING_MASK = 2, RING_K = 4, RING_V = 8, RING_OUT = 12 };

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
	uint32_t tile;		/* in the body */
	uint32_t start, keys;
	bool first, last;	/* of its tile */
	/* Bands of columns that not all rows see: from which one on, how many, and of the strip. */
	struct band {
		uint32_t column, n, strip;
	} left, right;
};

struct gen {
	struct kiln_asm *as;
	const struct kiln_attention *at;
	enum kiln_dtype type;
	uint32_t es, d;
	uint32_t skip, keys;	/* keys that no query sees, and those behind them */
	float raw_scale, scale;	/* of scores as they are, and as they are with a mask added */
	bool band;		/* rows see different keys */
	bool biased;		/* mask, ALiBi or softcap: scores are changed by Vector */
	uint32_t rows;		/* of a matrix of queries: of a head, or all heads of a group */
	uint32_t m;		/* rows of a tile */
	uint32_t tiles;		/* of the matrix */
	uint32_t body_tiles, period;	/* tiles of a body, bodies of a key-value head */
	uint32_t total;		/* bodies */
	bool by_head, resident;
	uint32_t unit, units;	/* tiles of p that are transposed at a time; of those in an item */
	uint32_t k_unit;	/* the same for k */
	enum kiln_engine copier;	/* of q and k transposed: who has less to do */
	struct item *item;	/* of the body */
	uint32_t items;

	uint32_t strip_left, strip_right, identity;	/* SBUF, bf16 */
	uint32_t mask_bodies;			/* bodies of a batch */
	uint64_t mask_head, mask_batch;		/* bytes from body to body, and of a batch */
	int32_t mask_row, mask_col;		/* elements from row to row, from key to key */
	uint32_t mask_bytes;			/* of an element */
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
	struct turn mk[KILN_ENGINES], dist[KILN_ENGINES];
	struct turn slope;			/* Vector: -slope / scale of the rows of a body */
	unsigned int distance;			/* GpSimd: of the first row and key of an item */
	/* Sync: mask of the item, of the body; bodies left of the batch */
	unsigned int mask, mask_body, mask_left;
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

/* Resident: all keys of the next head. */
static void load_head(struct gen *g)
{
	load_keys(g, g->keys);
	if (!g->skip)
		return;
	kiln_asm_addi(g->as, KILN_SYNC, g->k, g->k, (int64_t)g->skip * g->d * g->es);
	kiln_asm_addi(g->as, KILN_SYNC, g->v_dram, g->v_dram, (int64_t)g->skip * g->d * g->es);
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
	return kiln_ceil_div(g->keys, g->k_unit * PART);
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
 * product of the identity and the strip: 0 changes no sum, and beside MASKED no
 * score counts. The columns may lie in two banks.
 */
static void add_band(struct gen *g, uint32_t strip, const struct band *band)
{
	uint32_t done, n;

	if (!band->n)
		return;
	kiln_asm_load_stationary(g->as, sbuf(g->m, KILN_BF16, g->identity, g->m));
	for (done = 0; done < band->n; done += n) {
		n = kiln_min(band->n - done, BANK_COLS - (band->column + done) % BANK_COLS);
		kiln_asm_matmul(g->as, slot(KILN_PSUM, &g->s[KILN_TENSOR], KILN_F32, g->m,
					    (band->column + done) * 4, n),
				sbuf(g->m, KILN_BF16, strip + (band->strip + done) * 2, n), true);
	}
}

/* Vector: the same by an addition of -infinity. */
static void add_band_later(struct gen *g, uint32_t strip, const struct band *band)
{
	struct kiln_operand scores = slot(KILN_PSUM, &g->s[KILN_VECTOR], KILN_F32, g->m,
					  band->column * 4, band->n);

	if (band->n)
		kiln_asm_tensor_tensor(g->as, KILN_VECTOR, scores, scores, KILN_ALU_ADD,
				       sbuf(g->m, KILN_BF16, strip + band->strip * 2, band->n));
}

/* Sync: the item's mask. */
static void load_mask(struct gen *g, const struct item *it, bool body_last)
{
	struct kiln_asm *as = g->as;
	int64_t row = kiln_min(it->tile * PART, g->rows - g->m);
	struct kiln_operand dst = slot(KILN_SBUF, &g->mk[KILN_SYNC],
				       kiln_type_dtype(g->at->mask_type), g->m, 0, it->keys);

	if (it->first)
		kiln_asm_addi(as, KILN_SYNC, g->mask, g->mask_body, g->mask_bytes *
			      (row * g->mask_row + (int64_t)(g->skip + it->start) * g->mask_col));
	kiln_asm_wait(as, KILN_SYNC, SEM_MK_FREE, 1);
	kiln_asm_dma(as, KILN_SYNC, RING_MASK, dst,
		     kiln_dram(g->mask, 0, g->mask_row, g->mask_col));
	kiln_asm_post(as, KILN_SYNC, SEM_MK_LOADED, 1);
	turn_next(g, KILN_SYNC, &g->mk[KILN_SYNC]);
	kiln_asm_addi(as, KILN_SYNC, g->mask, g->mask,
		      (int64_t)it->keys * g->mask_col * g->mask_bytes);
	if (body_last) {
		const unsigned int regs[KILN_ENGINES] = { [KILN_SYNC] = g->mask_left };

		kiln_asm_addi(as, KILN_SYNC, g->mask_body, g->mask_body, g->mask_head);
		kiln_asm_addi(as, KILN_SYNC, g->mask_left, g->mask_left, -1);
		kiln_asm_if(as, regs, true, 1);
		kiln_asm_addi(as, KILN_SYNC, g->mask_body, g->mask_body,
			      (int64_t)(g->mask_batch - g->mask_bodies * g->mask_head));
		kiln_asm_movi(as, KILN_SYNC, g->mask_left, g->mask_bodies);
		kiln_asm_if_end(as);
	}
}

/*
 * GpSimd: how far each key of an item is from each row, for the item behind
 * it, or NULL: for the first one of all. As wide as any, so that steps are alike.
 */
static void count_distances(struct gen *g, const struct item *it)
{
	struct kiln_asm *as = g->as;
	const struct item *next = !it ? g->item : g->item + (it - g->item + 1) % g->items;
	uint32_t row = kiln_min(next->tile * PART, g->rows - g->m);
	struct kiln_operand dst = slot(KILN_SBUF, &g->dist[KILN_GPSIMD], KILN_F32, g->m, 0, KEYS);
	bool flat = !g->by_head;

	if (next->first)
		kiln_asm_movi(as, KILN_GPSIMD, g->distance, (int64_t)row + g->keys - g->at->seq_q -
			      next->start);
	else
		kiln_asm_addi(as, KILN_GPSIMD, g->distance, g->distance, -(int64_t)it->keys);
	kiln_asm_wait(as, KILN_GPSIMD, SEM_D_FREE, 1);
	KILN_ASM(as, KILN_GPSIMD, IOTA, .dst = dst,
		 .src = { [1] = { .space = KILN_DRAM, .dram = {
			.base = g->distance, .step = { flat ? 0 : 1, -1 } } } });
	/* Causal: what is behind a row's own place is masked anyway. */
	if (!g->at->causal && g->at->seq_q > 1)
		kiln_asm_tensor_scalar(as, KILN_GPSIMD, dst, dst, KILN_ALU_ABS, kiln_const(0),
				       KILN_ALU_BYPASS, kiln_const(0), 0);
	kiln_asm_post(as, KILN_GPSIMD, SEM_D_FULL, 1);
	turn_next(g, KILN_GPSIMD, &g->dist[KILN_GPSIMD]);
}

/* Scalar and Vector: softcap, ALiBi, mask and bands, in the scores' place. */
static void change_scores(struct gen *g, const struct item *it, bool body_last)
{
	struct kiln_asm *as = g->as;
	const struct kiln_attention *at = g->at;
	uint32_t m = g->m, n = it->keys;
	struct kiln_operand s = slot(KILN_PSUM, &g->s[KILN_VECTOR], KILN_F32, m, 0, n);

	if (at->softcap) {
		struct kiln_operand raw = slot(KILN_PSUM, &g->s[KILN_SCALAR], KILN_F32, m, 0, n);

		kiln_asm_wait(as, KILN_SCALAR, SEM_S_FULL, 1);
		kiln_asm_activation(as, raw, KILN_ACT_TANH, raw,
				    kiln_const(at->scale / at->softcap), kiln_const(0), NULL);
		kiln_asm_post(as, KILN_SCALAR, SEM_CAP_FULL, 1);
		kiln_asm_wait(as, KILN_VECTOR, SEM_CAP_FULL, 1);
	} else {
		kiln_asm_wait(as, KILN_VECTOR, SEM_S_FULL, 1);
	}
	if (at->slopes) {
		kiln_asm_wait(as, KILN_VECTOR, SEM_D_FULL, 1);
		kiln_asm_scalar_tensor_tensor(as, KILN_VECTOR, s,
			slot(KILN_SBUF, &g->dist[KILN_VECTOR], KILN_F32, m, 0, n),
			KILN_ALU_MULTIPLY, kiln_col(KILN_SBUF, KILN_F32, 0, g->slope.reg),
			KILN_ALU_ADD, s, 0);
		kiln_asm_post(as, KILN_VECTOR, SEM_D_FREE, 1);
		turn_next(g, KILN_VECTOR, &g->dist[KILN_VECTOR]);
		if (body_last)
			turn_next(g, KILN_VECTOR, &g->slope);
	}
	if (at->mask) {
		kiln_asm_wait(as, KILN_VECTOR, SEM_MK_LOADED, 1);
		kiln_asm_scalar_tensor_tensor(as, KILN_VECTOR, s, s, KILN_ALU_MULTIPLY,
			kiln_const(g->raw_scale), KILN_ALU_ADD,
			slot(KILN_SBUF, &g->mk[KILN_VECTOR], kiln_type_dtype(at->mask_type), m, 0,
			     n), 0);
		kiln_asm_post(as, KILN_VECTOR, SEM_MK_FREE, 1);
		turn_next(g, KILN_VECTOR, &g->mk[KILN_VECTOR]);
	}
	add_band_later(g, g->strip_left, &it->left);
	add_band_later(g, g->strip_right, &it->right);
}

static void stage_a(struct gen *g, const struct item *it)
{
	struct kiln_asm *as = g->as;
	const struct turn *s = g->s, *max = g->max;
	enum kiln_dtype f32 = KILN_F32;
	struct kiln_scalar scale = kiln_const(g->scale);
	struct kiln_operand sm, prev, sum, l, nmax;
	struct kiln_scalar stat;
	uint32_t j, m = g->m;
	bool body_first = !it->tile && it->first;
	bool body_last = it->tile == g->body_tiles - 1 && it->last;

	/* Tensor: scores. */
	if (!g->resident) {
		if (it->first) {
			int64_t start = (int64_t)it->start * g->d * g->es;

			kiln_asm_addi(as, KILN_SYNC, g->k, g->k_head, start);
			kiln_asm_addi(as, KILN_SYNC, g->v_dram, g->v_head, start);
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
			kiln_asm_addi(as, KILN_TENSOR, g->kt_col, g->ktb[KILN_TENSOR].reg,
				      it->start * g->es);
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
	if (!g->biased) {
		add_band(g, g->strip_left, &it->left);
		add_band(g, g->strip_right, &it->right);
	}
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
	if (g->at->mask)
		load_mask(g, it, body_last);
	if (g->biased)
		change_scores(g, it, body_last);
	else
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
				       g->biased ? KILN_ALU_MIN : KILN_ALU_BYPASS,
				       kiln_const(g->biased ? FLOOR : 0), 0);
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
	if (g->at->slopes)
		count_distances(g, it);

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
	if (it->last && g->biased)
		kiln_asm_tensor_scalar(as, KILN_GPSIMD, l, l, KILN_ALU_MAX, kiln_const(TINY),
				       KILN_ALU_BYPASS, kiln_const(0), 0);
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
		kiln_asm_addi(as, KILN_TENSOR, g->v_col, g->vb[KILN_TENSOR].reg,
			      g->resident ? it->start / PART * g->d * g->es : 0);
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
	load_head(g);
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
	return a->tile == b->tile && a->keys == b->keys && a->keys == KEYS && !a->first &&
	       !b->first && !a->last && !b->last;
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

/*
 * The items of the body's tiles; how many. Row r of a tile, the first of which
 * is at place, sees keys from place + r - window + 1 on, up to place + r if
 * causal, else to place + r + window - 1. The first item starts where a tile of
 * v does; it is wide enough for all of the left band.
 */
static uint32_t list_items(const struct gen *g, struct item *out)
{
	uint32_t tile, n = 0, i, window = g->at->window;

	for (tile = 0; tile < g->body_tiles; tile++) {
		uint32_t row = tile == g->tiles - 1 ? g->rows - g->m : tile * PART;
		int64_t place = g->band ? (int64_t)row + g->keys - g->at->seq_q : 0;
		int64_t left = g->band && window ? place - window + 1 : -(int64_t)g->m;
		int64_t right = !g->band ? g->keys : g->at->causal ? place :
				window ? place + window - 1 : g->keys;
		uint32_t start = left > 0 ? left / PART * PART : 0;
		uint32_t end = right + g->m < g->keys ? right + g->m : g->keys;
		uint32_t band = right < end ? end - right : 0;
		uint32_t items = kiln_ceil_div(end - start, KEYS);
		uint32_t last = end - start - (items - 1) * KEYS;
		/* The columns of the right band must not be torn apart. */
		uint32_t shift = items > 1 && last < band ? PART : 0;

		for (i = 0; i < items; i++, n++) {
			struct item *it = &out[n];

			if (!out)
				continue;
			*it = (struct item) {
				.tile = tile, .start = start + i * KEYS, .keys = KEYS,
				.first = !i, .last = i == items - 1,
			};
			if (it->last) {
				it->start -= shift;
				it->keys = last + shift;
				it->right = (struct band) { it->keys - band, band, 0 };
			} else if (i == items - 2) {
				it->keys = KEYS - shift;
			}
			if (it->first && left - start + g->m > 1)
				it->left = (struct band) {
					0, kiln_min(left - start + g->m - 1, it->keys),
					PART - 1 - (left - start),
				};
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
	g->skip = at->window && at->seq_kv - at->seq_q >= at->window ?
		at->seq_kv - at->seq_q - at->window + 1 : 0;
	g->keys = at->seq_kv - g->skip;
	g->raw_scale = at->softcap ? at->softcap : at->scale;
	g->scale = at->mask ? 1 : g->raw_scale;
	g->biased = at->mask || at->slopes || at->softcap;
	g->band = (at->causal || at->window) && at->seq_q > 1;
	g->by_head = g->band || ((at->mask || at->slopes) && (at->seq_q > 1 || heads > PART));
	g->rows = g->by_head ? at->seq_q : heads * at->seq_q;
	g->m = kiln_min(g->rows, PART);
	g->tiles = kiln_ceil_div(g->rows, PART);
	/* What Vector has to do with p grows with the rows, Scalar's part does not. */
	g->copier = g->m > 32 ? KILN_SCALAR : KILN_VECTOR;
	g->body_tiles = g->by_head ? g->tiles : 1;
	g->period = g->by_head ? heads : g->tiles;
	g->total = at->batch * at->kv_heads * g->period;
	if (at->mask) {
		const uint32_t *dim = at->mask_dim;
		int64_t head = dim[1] > 1 ? (int64_t)dim[2] * dim[3] : 0;

		g->mask_bytes = kiln_dtype_bytes(kiln_type_dtype(at->mask_type));
		g->mask_col = dim[3] > 1;
		g->mask_row = !g->by_head ? head : dim[2] > 1 ? dim[3] : 0;
		g->mask_bodies = at->kv_heads * g->period;
		g->mask_head = (g->by_head ? head : heads * head) * g->mask_bytes;
		g->mask_batch = dim[0] > 1 ? (uint64_t)dim[1] * dim[2] * dim[3] * g->mask_bytes : 0;
	}
}

static void post_credits(struct gen *g, unsigned int sem, unsigned int n)
{
	kiln_asm_nop(g->as, KILN_VECTOR);
	kiln_asm_post(g->as, KILN_VECTOR, sem, n);
}

/* What is not seen where column - (PART - 1) < row; column > row; the identity. */
static void set_up_bands(struct gen *g, uint32_t *top)
{
	struct kiln_asm *as = g->as;
	float masked = g->biased ? -INFINITY : MASKED;
	enum kiln_engine user = g->biased ? KILN_VECTOR : KILN_TENSOR;
	static const int32_t up[3] = { 1 }, down[3] = { -1 };
	struct kiln_operand right, left, identity;

	g->strip_right = take(top, PART * 2);
	g->strip_left = take(top, 2 * PART * 2);
	g->identity = take(top, PART * 2);
	right = sbuf(g->m, KILN_BF16, g->strip_right, g->m);
	left = sbuf(g->m, KILN_BF16, g->strip_left, PART + g->m - 1);
	identity = sbuf(g->m, KILN_BF16, g->identity, g->m);
	kiln_asm_memset(as, KILN_GPSIMD, right, 0);
	kiln_asm_affine_select(as, right, right, KILN_ALU_GE, masked, 0, 0, 1, down);
	if (g->at->window) {
		kiln_asm_memset(as, KILN_GPSIMD, left, 0);
		kiln_asm_affine_select(as, left, left, KILN_ALU_GE, masked, 0, 1 - PART, -1, up);
	}
	if (!g->biased) {
		kiln_asm_memset(as, KILN_GPSIMD, identity, 1);
		kiln_asm_affine_select(as, identity, identity, KILN_ALU_EQ, 0, 0, 0, 1, down);
	}
	kiln_asm_post(as, KILN_GPSIMD, SEM_BANDS, 1);
	kiln_asm_wait(as, user, SEM_BANDS, 1);
	kiln_asm_nop(as, user);
}

/* A column for each head, or where a group's heads are rows of a tile, for each group. */
static void set_up_slopes(struct gen *g, uint32_t *top)
{
	struct kiln_asm *as = g->as;
	uint32_t group = g->at->heads / g->at->kv_heads;
	uint32_t columns = g->by_head ? g->at->heads : g->at->kv_heads;
	uint32_t at = take(top, columns * 4);
	struct kiln_operand slopes = sbuf(g->m, KILN_F32, at, columns);
	unsigned int dram = kiln_asm_reg(as, KILN_SYNC);

	kiln_asm_ldarg(as, KILN_SYNC, dram, 5);
	kiln_asm_dma(as, KILN_SYNC, RING_MASK, slopes,
		     g->by_head ? kiln_dram(dram, 0, 0, 1) : kiln_dram(dram, 0, 1, group));
	kiln_asm_post(as, KILN_SYNC, SEM_SLOPES, 1);
	kiln_asm_reg_free(as, KILN_SYNC, dram);
	kiln_asm_wait(as, KILN_VECTOR, SEM_SLOPES, 1);
	kiln_asm_tensor_scalar(as, KILN_VECTOR, slopes, slopes, KILN_ALU_MULTIPLY,
			       kiln_const(-1 / g->raw_scale), KILN_ALU_BYPASS, kiln_const(0), 0);
	turn_init(g, KILN_VECTOR, &g->slope, at, 4, columns);
}

static void set_up(struct gen *g, unsigned int generation)
{
	struct kiln_asm *as = g->as;
	uint32_t top = 0, left, at, es = g->es, row = g->d * es, q_cols = KILN_ALIGN_UP(g->m * es, 4u);
	uint32_t unit_bytes = g->k_unit * row, pt_bytes = g->unit * g->m * es;
	uint32_t tiles = kiln_ceil_div(g->keys, PART), buffers;
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

	if (g->band)
		set_up_bands(g, &top);

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

	if (g->at->mask) {
		at = take(&top, MK_SLOTS * KEYS * g->mask_bytes);
		TURN(mk, KILN_SYNC, at, KEYS * g->mask_bytes, MK_SLOTS);
		TURN(mk, KILN_VECTOR, at, KEYS * g->mask_bytes, MK_SLOTS);
	}
	if (g->at->slopes) {
		at = take(&top, 2 * KEYS * 4);
		TURN(dist, KILN_GPSIMD, at, KEYS * 4, 2);
		TURN(dist, KILN_VECTOR, at, KEYS * 4, 2);
		set_up_slopes(g, &top);
	}

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
	if (g->skip) {
		kiln_asm_addi(as, KILN_SYNC, g->k, g->k, (int64_t)g->skip * row);
		kiln_asm_addi(as, KILN_SYNC, g->v_dram, g->v_dram, (int64_t)g->skip * row);
	}
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

	if (g->at->mask) {
		g->mask = kiln_asm_reg(as, KILN_SYNC);
		g->mask_body = kiln_asm_reg(as, KILN_SYNC);
		g->mask_left = kiln_asm_reg(as, KILN_SYNC);
		kiln_asm_ldarg(as, KILN_SYNC, g->mask_body, 4);
		kiln_asm_movi(as, KILN_SYNC, g->mask_left, g->mask_bodies);
		post_credits(g, SEM_MK_FREE, MK_SLOTS);
	}
	if (g->at->slopes) {
		g->distance = kiln_asm_reg(as, KILN_GPSIMD);
		post_credits(g, SEM_D_FREE, 2);
	}
}

static int make_attention(struct kiln_asm *as, unsigned int generation, const void *description)
{
	struct gen *g = calloc(1, sizeof(*g));
	unsigned int bad[KILN_ENGINES];
	bool by_keys;

	if (!g)
		return -ENOMEM;
	g->as = as;
	g->at = description;
	by_keys = !g->at->running_max;
	shape(g);
	g->items = list_items(g, NULL);
	g->item = calloc(g->items, sizeof(*g->item));
	if (!g->item || (by_keys && kiln_attention_by_keys(as, g->at, bad))) {
		free(g->item);
		free(g);
		return -ENOMEM;
	}
	if (by_keys) {
		kiln_asm_if(as, bad, false, 1);
		kiln_attention_by_keys_again(as);
	}
	list_items(g, g->item);
	g->single = g->items == g->body_tiles;
	set_up(g, generation);

	prepare_tile(g, 0);
	if (g->resident)
		load_head(g);
	prepare_tile(g, 1);
	if (g->at->slopes)
		count_distances(g, NULL);
	stage_a(g, &g->item[0]);
	kiln_asm_loop(as, g->total);
	body(g);
	kiln_asm_loop_end(as);
	stage_c(g, &g->item[g->items - 1]);
	if (by_keys)
		kiln_asm_if_end(as);
	free(g->item);
	free(g);
	return 0;
}

/* ------------------------------------------------------------------- entry -- */

/* Mask and slopes: fill in and check. What is not used is zero, as in the key. */
static int check_bias(struct kiln_attention *at)
{
	const uint32_t full[4] = { at->batch, at->heads, at->seq_q, at->seq_kv };
	uint32_t *dim = at->mask_dim, i;

	if (at->slopes % 4)
		return kiln_error(-EINVAL, "attention: slopes are at 0x%llx: a device address, aligned to 4 bytes",
				  (unsigned long long)at->slopes);
	if (at->slopes && at->heads > MAX_SLOPES)
		return kiln_error(-EINVAL, "attention: %u heads with slopes, at most %u", at->heads,
				  MAX_SLOPES);
	if (!at->mask) {
		memset(at->mask_dim, 0, sizeof(at->mask_dim));
		at->mask_type = 0;
		return 0;
	}
	if (!at->mask_type)
		at->mask_type = at->type;
	if (!known_type(at->mask_type))
		return kiln_error(-ENOTSUP, "attention: mask_type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  (int)at->mask_type);
	if (at->mask % type_size(at->mask_type))
		return kiln_error(-EINVAL, "attention: mask is at 0x%llx: a device address, aligned to %u bytes",
				  (unsigned long long)at->mask, type_size(at->mask_type));
	if (!dim[0] && !dim[1] && !dim[2] && !dim[3])
		memcpy(dim, full, sizeof(full));
	for (i = 0; i < 4; i++)
		if (dim[i] != full[i] && dim[i] != 1)
			return kiln_error(-EINVAL, "attention: mask_dim[%u] is %u: %u or 1", i, dim[i],
					  full[i]);
	return 0;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

/* The result lies where inputs do: they cannot be taken a second time. */
static bool in_place(const struct kiln_attention *at)
{
	uint64_t row = (uint64_t)at->dim * type_size(at->type);
	uint64_t q = at->batch * at->heads * at->seq_q * row;
	uint64_t kv = at->batch * at->kv_heads * at->seq_kv * row;

	return overlap(at->out, q, at->q, q) || overlap(at->out, q, at->k, kv) ||
	       overlap(at->out, q, at->v, kv);
}

int kiln_attention(struct kiln_ops *ops, const struct kiln_attention *attention,
		   kiln_done_fn done, void *user)
{
	struct kiln_attention at;
	struct kiln_ops_key key;
	uint64_t args[6];
	uint32_t bytes, scale_bits, softcap_bits;
	unsigned int i;
	int err;

	if (!ops || !attention)
		return kiln_error(-EINVAL, "attention: no ops or no description");
	at = *attention;
	if (!known_type(at.type))
		return kiln_error(-ENOTSUP, "attention: type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  (int)at.type);
	if (!at.batch)
		at.batch = 1;
	if (!at.heads || !at.kv_heads || !at.seq_q || !at.seq_kv || !at.dim)
		return kiln_error(-EINVAL, "attention: heads %u, kv_heads %u, seq_q %u, seq_kv %u, dim %u: each at least 1",
				  at.heads, at.kv_heads, at.seq_q, at.seq_kv, at.dim);
	if (at.heads % at.kv_heads)
		return kiln_error(-EINVAL, "attention: %u heads are no multiple of %u kv_heads",
				  at.heads, at.kv_heads);
	if (at.dim > 128)
		return kiln_error(-EINVAL, "attention: dim is %u, at most 128", at.dim);
	if ((at.causal || at.window) && at.seq_q > at.seq_kv)
		return kiln_error(-EINVAL, "attention: %s, but seq_q %u is more than seq_kv %u",
				  at.causal ? "causal" : "a window", at.seq_q, at.seq_kv);
	if (at.seq_kv > 1u << 30 || at.heads > 1u << 30 || at.batch > 1u << 30 ||
	    (uint64_t)at.heads * at.seq_q > 1u << 30 ||
	    (uint64_t)at.batch * at.heads * at.seq_q > 1u << 30)
		return kiln_error(-EINVAL, "attention: seq_kv, and batch times heads times seq_q, at most 2^30");
	if (!at.scale)
		at.scale = 1 / sqrtf(at.dim);
	if (!isfinite(at.scale) || at.scale < 0)
		return kiln_error(-EINVAL, "attention: scale is %g: finite and positive, or 0 for 1 / sqrt(dim)",
				  at.scale);
	if (!isfinite(at.softcap) || at.softcap < 0)
		return kiln_error(-EINVAL, "attention: softcap is %g: finite and positive, or 0 for none",
				  at.softcap);
	/* Wider than that is none. */
	if (at.window >= at.seq_kv)
		at.window = 0;
	err = check_bias(&at);
	if (err)
		return err;
	args[0] = at.q;
	args[1] = at.k;
	args[2] = at.v;
	args[3] = at.out;
	args[4] = at.mask;
	args[5] = at.slopes;
	bytes = type_size(at.type);
	for (i = 0; i < 4; i++)
		if (!args[i] || args[i] % bytes)
			return kiln_error(-EINVAL, "attention: %.3s is at 0x%llx: a device address, aligned to %u bytes",
					  &"q\0\0k\0\0v\0\0out"[3 * i],
					  (unsigned long long)args[i], bytes);

	if (!kiln_attention_by_keys_fits(&at, kiln_ops_generation(ops)) || in_place(&at))
		at.running_max = true;

	memcpy(&scale_bits, &at.scale, sizeof(scale_bits));
	memcpy(&softcap_bits, &at.softcap, sizeof(softcap_bits));
	key = (struct kiln_ops_key) { .word = {
		KILN_OPS_ATTENTION | (uint64_t)at.type << 8 | (uint64_t)at.causal << 16 |
			(uint64_t)!!at.slopes << 17 | (uint64_t)at.running_max << 18 |
			(uint64_t)at.mask_type << 24,
		at.heads, at.kv_heads, at.seq_q, at.seq_kv, at.dim, scale_bits, at.batch,
		at.window, softcap_bits, at.mask_dim[0], at.mask_dim[1], at.mask_dim[2],
		at.mask_dim[3],
	} };
	return kiln_ops_run(ops, &key, "attention", make_attention, &at, args, 6, done, user);
}
