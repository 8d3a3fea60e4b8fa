// SPDX-License-Identifier: MIT
/*
 * Matrix products.
 *
 * c = op(a) op(b) is cut into groups of up to GM row tiles of 128 and panels
 * of up to NB column tiles of 512: one PSUM bank for each pair, all of k summed
 * up in it, k ascending. Blocking therefore never changes a bit of the result.
 *
 *	for each block of rows (as many as SBUF can keep of a)
 *		for each panel of columns
 *			for each group of rows
 *				for each chunk of k (KC tiles of 128)
 *					for each k tile: GM x NB matmuls
 *				drain, store
 *
 * "A side" is op(a) with k on the partitions, the stationary; "B side" is
 * op(b), the moving. A side that is stored with k along its rows is transposed
 * on the Tensor engine on its way, 128 rows at a time. A is loaded (and
 * transposed) once for its block, during the first panel; B once for a block
 * and panel. Where k is too large for that, a side streams: two chunks in SBUF,
 * loaded again for each group (B) or panel (A). A is a chunk ahead of its use,
 * its transposing spread between the products of the chunk before.
 *
 * fp8 goes by double rows where the card has them: what counts as an element
 * along k is then a pair of them. Transposed, a pair moves as one of 16 bits;
 * loaded as it is stored, its two rows stand one behind the other.
 *
 * int8 becomes bf16 on its way to SBUF: by the copy after transposing, or where
 * that is not needed by one of its own. Sums of 1024 products are exact in PSUM;
 * where k is larger, they are taken from there chunk by chunk, as multiples of
 * SPLIT and a rest.
 *
 * Who does what: Sync loads; Tensor transposes and multiplies; Vector and
 * Scalar, alternating by PSUM bank, copy transposed tiles to SBUF and drain
 * results; GpSimd stores. Each semaphore belongs to one place (a slot, a bank)
 * or to one ring, so that the order in which transfers end does not matter.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "ops.h"

#define PART		128
#define BANK_COLS	512
#define NAT_SLOTS	4
#define CHUNK_TILES	8	/* the most k tiles of a chunk */
#define SPLIT		4096
#define MAX_WHOLE_K	(1u << 20)	/* so that low stays below 2^22 */
#define LATE_BYTES	(64 << 10)	/* of SBUF, for a row of results */
#define MAX_BLOCK	240	/* row tiles; a stride has 16 bits */

enum {
	SEM_BANK_FULL	= 0,	/* + bank */
	SEM_BANK_FREE	= 8,
	SEM_OUT_FULL	= 16,	/* + bank / 2 or bank: the result in SBUF, to be stored */
	SEM_OUT_FREE	= 24,	/* + bank */
	SEM_T_FULL	= 32,	/* + transpose slot */
	SEM_T_FREE	= 34,
	SEM_SIDE	= 40,	/* + 32 for the B side; then: */
	SEM_LOADED	= 0,	/* + ring of the side */
	SEM_READY	= 8,	/* + writing engine, Vector or Scalar */
	SEM_FREE	= 10,	/* + writer */
	SEM_NAT_LOADED	= 12,	/* + slot */
	SEM_NAT_FREE	= 16,	/* + slot */
	SEM_BIAS_FULL	= 110,
	SEM_BIAS_FREE	= 111,
	SEM_ONES	= 112,
	SEM_END		= 113,	/* all is multiplied */
	SEM_RESIDUAL	= 120,	/* + bank: it is in SBUF, where the result will be */
	SEM_ACTIVATED	= 128,	/* + bank: in PSUM */
};

struct side {
	enum kiln_dtype type;	/* as stored */
	bool transposed;	/* on the way */
	bool copied;		/* by Vector and Scalar: transposed, or converted */
	bool resident;
	bool column;		/* a single one, its k tiles beside each other: a chunk is one transfer */
	unsigned int buffers;	/* of a resident side */
	unsigned int sem, ring;
	int64_t step_free, step_k;	/* bytes in memory from row (column) to the next, of k */
	int32_t row_elems;	/* leading dimension */
	uint32_t pitch;		/* elements in SBUF from k tile to k tile */
	uint32_t col;		/* bytes in SBUF from column to column */
	uint32_t nat_bytes;	/* of a slot */
	uint32_t chunk_bytes;
	uint32_t sbuf[2], nat;
	/* registers */
	unsigned int dram;
	unsigned int dst[KILN_ENGINES], base[KILN_ENGINES];
};

struct gen {
	struct kiln_asm *as;
	const struct kiln_matmul *mm;
	enum kiln_dtype out_type, bias_type;
	bool pairs;			/* double rows */
	bool convert, split;		/* int8; with more than a chunk of k */
	uint32_t k;			/* elements along it: pairs, if so */
	uint32_t es, os;		/* bytes of one: in SBUF, of the result */
	uint32_t ns;			/* the same before transposing */
	uint32_t high, low, carry;	/* SBUF: what is split, of all banks; of one */
	uint32_t kc, chunks, k_last;	/* k tiles of a chunk; chunks; rows of k in the last */
	uint32_t gm, nb;
	uint32_t block_rows;
	uint32_t out, out_places;	/* SBUF: the results of all banks, as often */
	bool late;			/* they are stored at the end */
	struct side a, b;
	unsigned int t_banks;
	uint32_t ones, bias, bias_bytes;	/* SBUF: a row of ones; the bias of a panel, twice */
	/* registers */
	unsigned int bias_next, bias_slot[KILN_ENGINES];
	unsigned int a_block, a_batch, b_panel, b_batch, sync_tmp;
	unsigned int a_read, b_read;
	unsigned int c_batch, c_block, c_panel, c_group, c_tmp;
	unsigned int to_residual;	/* from c */
	unsigned int to_more[2];	/* the same */
	unsigned int out_reg[KILN_ENGINES][KILN_PSUM_BANKS];	/* of a unit: where its turn is */
};

/* A register plus a constant as DRAM operand: by its offset where that is wide enough. */
static unsigned int based(struct gen *g, enum kiln_engine e, unsigned int reg,
			  unsigned int tmp, int64_t offset, int32_t *rest)
{
	if (offset >= INT32_MIN && offset <= INT32_MAX) {
		*rest = offset;
		return reg;
	}
	*rest = 0;
	kiln_asm_addi(g->as, e, tmp, reg, offset);
	return tmp;
}

static void bump(struct gen *g, enum kiln_engine e, unsigned int reg, int64_t by)
{
	if (by)
		kiln_asm_addi(g->as, e, reg, reg, by);
}

/* ------------------------------------------------------------ side: loads -- */

/* The engines that write a side's SBUF: Sync by DMA, or the two that copy. */
static unsigned int writers(const struct side *s, enum kiln_engine writer[2])
{
	writer[0] = s->copied ? KILN_VECTOR : KILN_SYNC;
	writer[1] = KILN_SCALAR;
	return s->copied ? 2 : 1;
}

static void wait_free(struct gen *g, struct side *s)
{
	enum kiln_engine writer[2];
	unsigned int i, n = writers(s, writer);

	for (i = 0; i < n; i++)
		kiln_asm_wait(g->as, writer[i], s->sem + SEM_FREE + i, 1);
}

/* Tensor has read a chunk (streaming) or a whole buffer (resident) for the last time. */
static void post_free(struct gen *g, struct side *s, unsigned int units)
{
	enum kiln_engine writer[2];
	unsigned int i, n = writers(s, writer);

	kiln_asm_nop(g->as, KILN_TENSOR);
	for (i = 0; i < n; i++)
		kiln_asm_post(g->as, KILN_TENSOR, s->sem + SEM_FREE + i, units);
}

static void advance_writers(struct gen *g, struct side *s, int64_t by)
{
	enum kiln_engine writer[2];
	unsigned int i, n = writers(s, writer);

	for (i = 0; i < n; i++)
		bump(g, writer[i], s->dst[writer[i]], by);
}

static void flip_writers(struct gen *g, struct side *s, unsigned int *reg)
{
	enum kiln_engine writer[2];
	unsigned int i, n = writers(s, writer);

	for (i = 0; i < n; i++)
		kiln_asm_xori(g->as, writer[i], reg[writer[i]], reg[writer[i]],
			      s->sbuf[0] ^ s->sbuf[1]);
}

/* In which type a side's elements are transposed, and in which they stand in SBUF then. */
static enum kiln_dtype moved_as(const struct gen *g, const struct side *s)
{
	return g->pairs ? KILN_BF16 : s->type;
}

static enum kiln_dtype kept_as(const struct gen *g, const struct side *s)
{
	return g->pairs || g->convert ? KILN_BF16 : s->type;
}

/* One tile of 128 rows as stored, [rows, k], becomes [k, rows] for the chunk. */
static void load_transposed(struct gen *g, struct side *s, unsigned int i, uint32_t rows,
			    uint32_t k)
{
	enum kiln_engine copier = i % 2 ? KILN_SCALAR : KILN_VECTOR;
	enum kiln_dtype type = moved_as(g, s), kept = kept_as(g, s);
	unsigned int slot = i % NAT_SLOTS, base;
	uint32_t nat = s->nat + slot * s->nat_bytes;
	uint32_t psum = (KILN_PSUM_BANKS - 2 + i % 2) * KILN_PSUM_BANK_BYTES;
	uint32_t full = k / PART, tiles = kiln_ceil_div(k, PART), j;
	struct kiln_operand src, dst;
	int32_t rest;

	base = based(g, KILN_SYNC, s->dram, g->sync_tmp, i * PART * s->step_free, &rest);
	kiln_asm_wait(g->as, KILN_SYNC, s->sem + SEM_NAT_FREE + slot, 1);
	kiln_asm_dma(g->as, KILN_SYNC, s->ring + slot,
		     kiln_tile1(KILN_SBUF, s->type, 0, rows, nat, g->pairs ? 2 * k : k),
		     kiln_dram(base, rest, s->row_elems, 1));
	kiln_asm_post(g->as, KILN_SYNC, s->sem + SEM_NAT_LOADED + slot, 1);

	kiln_asm_wait(g->as, KILN_TENSOR, s->sem + SEM_NAT_LOADED + slot, 1);
	kiln_asm_wait(g->as, KILN_TENSOR, SEM_T_FREE + i % 2, 1);
	for (j = 0; j < tiles; j++) {
		uint32_t kp = kiln_min(PART, k - j * PART);

		kiln_asm_transpose(g->as,
				   kiln_tile1(KILN_PSUM, type, 0, kp, psum + j * PART * g->ns,
					      rows),
				   kiln_tile1(KILN_SBUF, type, 0, rows, nat + j * PART * g->ns,
					      kp));
	}
	kiln_asm_post(g->as, KILN_TENSOR, SEM_T_FULL + i % 2, 1);
	kiln_asm_post(g->as, KILN_TENSOR, s->sem + SEM_NAT_FREE + slot, 1);

	kiln_asm_wait(g->as, copier, SEM_T_FULL + i % 2, 1);
	if (full) {
		src = kiln_tile2(KILN_PSUM, type, 0, PART, psum, full, PART, rows, 1);
		dst = kiln_tile2(KILN_SBUF, kept, 0, PART, i * PART * g->es, full, s->pitch, rows,
				 1);
		kiln_asm_tensor_copy(g->as, copier, kiln_at(dst, s->dst[copier]), src);
	}
	if (full < tiles) {
		src = kiln_tile1(KILN_PSUM, type, 0, k % PART, psum + full * PART * g->ns, rows);
		dst = kiln_tile1(KILN_SBUF, kept, 0, k % PART,
				 (full * s->pitch + i * PART) * g->es, rows);
		kiln_asm_tensor_copy(g->as, copier, kiln_at(dst, s->dst[copier]), src);
	}
	kiln_asm_post(g->as, copier, SEM_T_FREE + i % 2, 1);
	kiln_asm_post(g->as, copier, s->sem + SEM_READY + i % 2, 1);
}

/* One k tile as stored, [k, columns], is converted for the chunk. */
static void load_converted(struct gen *g, struct side *s, uint32_t j, uint32_t free, uint32_t kp)
{
	enum kiln_engine copier = j % 2 ? KILN_SCALAR : KILN_VECTOR;
	unsigned int slot = j % NAT_SLOTS, base;
	struct kiln_operand nat = kiln_tile1(KILN_SBUF, s->type, 0, kp,
					     s->nat + slot * s->nat_bytes, free);
	struct kiln_operand dst = kiln_tile1(KILN_SBUF, KILN_BF16, 0, kp, j * s->pitch * g->es,
					     free);
	int32_t rest;

	base = based(g, KILN_SYNC, s->dram, g->sync_tmp, j * PART * s->step_k, &rest);
	kiln_asm_wait(g->as, KILN_SYNC, s->sem + SEM_NAT_FREE + slot, 1);
	kiln_asm_dma(g->as, KILN_SYNC, s->ring + slot, nat,
		     kiln_dram(base, rest, s->row_elems, 1));
	kiln_asm_post(g->as, KILN_SYNC, s->sem + SEM_NAT_LOADED + slot, 1);
	kiln_asm_wait(g->as, copier, s->sem + SEM_NAT_LOADED + slot, 1);
	kiln_asm_tensor_copy(g->as, copier, kiln_at(dst, s->dst[copier]), nat);
	kiln_asm_post(g->as, copier, s->sem + SEM_NAT_FREE + slot, 1);
	kiln_asm_post(g->as, copier, s->sem + SEM_READY + j % 2, 1);
}

static void load_direct(struct gen *g, struct side *s, uint32_t j, uint32_t free, uint32_t k)
{
	uint32_t kp = kiln_min(PART, k - j * PART), at = j * s->pitch * g->es;
	unsigned int base;
	int32_t rest;

	if (s->copied) {
		load_converted(g, s, j, free, kp);
		return;
	}
	base = based(g, KILN_SYNC, s->dram, g->sync_tmp, j * PART * s->step_k, &rest);
	if (g->pairs)
		kiln_asm_dma(g->as, KILN_SYNC, s->ring + j,
			     kiln_at(kiln_tile2(KILN_SBUF, s->type, 0, kp, at, 2, s->pitch, free,
						1), s->dst[KILN_SYNC]),
			     kiln_dram2(base, rest, 2 * s->row_elems, s->row_elems, 1));
	else
		kiln_asm_dma(g->as, KILN_SYNC, s->ring + j,
			     kiln_at(kiln_tile1(KILN_SBUF, s->type, 0, kp, at, free),
				     s->dst[KILN_SYNC]),
			     kiln_dram(base, rest, s->row_elems, 1));
	kiln_asm_post(g->as, KILN_SYNC, s->sem + SEM_LOADED + j, 1);
}

/* A chunk of a single column */
static void load_column(struct gen *g, struct side *s, uint32_t k)
{
	uint32_t full = k / PART, rest = k % PART;
	struct kiln_operand tile = kiln_tile1(KILN_SBUF, s->type, 0, PART, 0, full);

	if (full)
		kiln_asm_dma(g->as, KILN_SYNC, s->ring, kiln_at(tile, s->dst[KILN_SYNC]),
			     kiln_dram(s->dram, 0, s->row_elems, PART * s->row_elems));
	if (rest)
		kiln_asm_dma(g->as, KILN_SYNC, s->ring,
			     kiln_at(kiln_tile1(KILN_SBUF, s->type, 0, rest, full * g->es, 1),
				     s->dst[KILN_SYNC]),
			     kiln_dram(s->dram, full * PART * s->step_k, s->row_elems, 1));
	/* Transfers of one ring end in order. */
	kiln_asm_post(g->as, KILN_SYNC, s->sem + SEM_LOADED, 1);
}

/*
 * The next chunk of a side, free columns by k, is brought in in parts: its
 * tiles of 128 columns if they are transposed, else its k tiles; a column as a whole.
 */
struct load {
	uint32_t free, k;
	bool last;		/* of these columns */
	uint32_t parts, done;
};

static struct load load_of(const struct side *s, uint32_t free, uint32_t k, bool last)
{
	return (struct load) {
		.free = free, .k = k, .last = last,
		.parts = !free ? 0 : s->column ? 1 : kiln_ceil_div(s->transposed ? free : k, PART),
	};
}

/* Parts up to the until-th; behind the last one move on. */
static void load_parts(struct gen *g, struct side *s, struct load *load, uint32_t until)
{
	if (load->done >= until)
		return;
	if (!load->done && !s->resident)
		wait_free(g, s);
	for (; load->done < until; load->done++) {
		uint32_t i = load->done;

		if (s->column)
			load_column(g, s, load->k);
		else if (s->transposed)
			load_transposed(g, s, i, kiln_min(PART, load->free - i * PART), load->k);
		else
			load_direct(g, s, i, load->free, load->k);
	}
	if (load->done < load->parts)
		return;

	bump(g, KILN_SYNC, s->dram, (int64_t)g->kc * PART * s->step_k);
	if (s->resident)
		advance_writers(g, s, s->chunk_bytes);
	else
		flip_writers(g, s, s->dst);
	if (!load->last)
		return;
	/* All chunks of these columns: on to the columns after them. */
	bump(g, KILN_SYNC, s->dram,
	     load->free * s->step_free - (int64_t)g->chunks * g->kc * PART * s->step_k);
	if (s->resident)
		advance_writers(g, s, (int64_t)load->free * s->col -
				(int64_t)g->chunks * s->chunk_bytes);
}

static void load_chunk(struct gen *g, struct side *s, uint32_t free, uint32_t k, bool last)
{
	struct load load = load_of(s, free, k, last);

	load_parts(g, s, &load, load.parts);
}

/* Tensor: the k tile j of a chunk just loaded is there. */
static void wait_loaded(struct gen *g, struct side *s, uint32_t free, uint32_t j)
{
	uint32_t tiles = kiln_ceil_div(free, PART);

	if (s->column) {
		if (!j)
			kiln_asm_wait(g->as, KILN_TENSOR, s->sem + SEM_LOADED, 1);
	} else if (!s->copied) {
		kiln_asm_wait(g->as, KILN_TENSOR, s->sem + SEM_LOADED + j, 1);
	} else if (!s->transposed) {
		kiln_asm_wait(g->as, KILN_TENSOR, s->sem + SEM_READY + j % 2, 1);
	} else if (!j) {
		kiln_asm_wait(g->as, KILN_TENSOR, s->sem + SEM_READY, (tiles + 1) / 2);
		if (tiles > 1)
			kiln_asm_wait(g->as, KILN_TENSOR, s->sem + SEM_READY + 1, tiles / 2);
	}
}

/* ------------------------------------------------------------------ groups -- */

struct group {
	uint32_t rows, cols;		/* of c */
	uint32_t next_rows;		/* of the group behind it whose A is to be loaded */
	bool fresh_a, fresh_b;		/* is being loaded: wait for it */
	bool own_a;			/* nobody before it has loaded its first chunk of A */
	uint32_t next_cols;		/* of the panel behind it whose B is to be begun */
};

/* A smaller group takes banks in the middle: they are drained early, and not wanted first. */
static unsigned int bank_of(const struct gen *g, const struct group *group, uint32_t i, uint32_t j)
{
	return (i + (g->gm - kiln_ceil_div(group->rows, PART)) / 2) * g->nb + j;
}

static struct kiln_operand bank_tile(const struct gen *g, const struct group *group,
				     uint32_t i, uint32_t j)
{
	return kiln_tile1(KILN_PSUM, KILN_F32, 0, kiln_min(PART, group->rows - i * PART),
			  bank_of(g, group, i, j) * KILN_PSUM_BANK_BYTES,
			  kiln_min(BANK_COLS, group->cols - j * BANK_COLS));
}

/* Every other row tile goes backwards, so that a moving tile is used twice in a row. */
static uint32_t zigzag(uint32_t i, uint32_t j, uint32_t nt)
{
	return i % 2 ? nt - 1 - j : j;
}

/* A row of tiles starts as ones times the bias: a product with k = 1. */
static void start_with_bias(struct gen *g, const struct group *group, uint32_t i, uint32_t rows)
{
	uint32_t nt = kiln_ceil_div(group->cols, BANK_COLS), j;

	kiln_asm_load_stationary(g->as,
				 kiln_tile1(KILN_SBUF, g->bias_type, 0, 1, g->ones, rows));
	for (j = 0; j < nt; j++) {
		uint32_t col = zigzag(i, j, nt);
		struct kiln_operand dst = bank_tile(g, group, i, col);

		kiln_asm_wait(g->as, KILN_TENSOR, SEM_BANK_FREE + bank_of(g, group, i, col), 1);
		kiln_asm_matmul(g->as, dst,
				kiln_at(kiln_tile1(KILN_SBUF, g->bias_type, 0, 1,
						   col * BANK_COLS * kiln_dtype_bytes(g->bias_type),
						   dst.size[0]),
					g->bias_slot[KILN_TENSOR]), false);
	}
}

static void flip_bias(struct gen *g, enum kiln_engine e)
{
	kiln_asm_xori(g->as, e, g->bias_slot[e], g->bias_slot[e],
		      g->bias ^ (g->bias + g->bias_bytes));
}

/* The bias of the next cols columns. */
static void load_bias(struct gen *g, uint32_t cols)
{
	kiln_asm_wait(g->as, KILN_SYNC, SEM_BIAS_FREE, 1);
	kiln_asm_dma(g->as, KILN_SYNC, g->b.ring,
		     kiln_at(kiln_tile1(KILN_SBUF, g->bias_type, 0, 1, 0, cols),
			     g->bias_slot[KILN_SYNC]), kiln_dram(g->bias_next, 0, 0, 1));
	kiln_asm_post(g->as, KILN_SYNC, SEM_BIAS_FULL, 1);
	flip_bias(g, KILN_SYNC);
	bump(g, KILN_SYNC, g->bias_next, (int64_t)cols * kiln_dtype_bytes(g->bias_type));
	kiln_asm_wait(g->as, KILN_TENSOR, SEM_BIAS_FULL, 1);
	kiln_asm_nop(g->as, KILN_TENSOR);
}

/* n columns of a k tile that is there. */
static struct kiln_operand tile_of(const struct gen *g, const struct side *s, uint32_t t,
				   uint32_t column, uint32_t kp, uint32_t n, unsigned int reg)
{
	uint32_t at = t * s->pitch * g->es + column * s->col;
	enum kiln_dtype type = g->convert ? KILN_BF16 : s->type;

	if (!g->pairs)
		return kiln_at(kiln_tile1(KILN_SBUF, type, 0, kp, at, n), reg);
	return kiln_at(kiln_tile2(KILN_SBUF, type, 0, kp, at, 2, s->transposed ? 1 : s->pitch, n,
				  s->transposed ? 2 : 1), reg);
}

/*
 * Memory is read in the order of this: of a side that is wanted here, own[],
 * a k tile ahead of its product; of the chunk behind it, next[], what is in time
 * for that. Its tiles are transposed in the middle of their share of the chunk:
 * the ends have waits of their own.
 */
static void multiply_chunk(struct gen *g, const struct group *group, uint32_t k, bool first,
			   bool last, struct load own[2], struct load next[2])
{
	struct side *const side[2] = { &g->a, &g->b };
	uint32_t mt = kiln_ceil_div(group->rows, PART);
	uint32_t nt = kiln_ceil_div(group->cols, BANK_COLS);
	uint32_t kt = kiln_ceil_div(k, PART), i, j, t;
	uint8_t flags = g->pairs ? KILN_F_DOUBLE_ROW : 0;

	/* Split, each chunk is a sum of its own. */
	first |= g->split;
	last |= g->split;
	for (t = 0; t < kt; t++) {
		uint32_t kp = kiln_min(PART, k - t * PART);

		for (i = 0; i < 2; i++)
			load_parts(g, side[i], &own[i], kiln_min(own[i].parts, t + 2));
		for (i = 0; i < 2; i++)
			if (own[i].done == own[i].parts)
				load_parts(g, side[i], &next[i],
					   (next[i].parts * (2 * t + 1) + kt) / (2 * kt));
		if (group->fresh_a)
			wait_loaded(g, &g->a, group->rows, t);
		if (group->fresh_b)
			wait_loaded(g, &g->b, group->cols, t);
		for (i = 0; i < mt; i++) {
			uint32_t rows = kiln_min(PART, group->rows - i * PART);

			if (g->mm->bias && first && !t)
				start_with_bias(g, group, i, rows);
			KILN_ASM(g->as, KILN_TENSOR, LOAD_STATIONARY, .flags = flags,
				 .src = { tile_of(g, &g->a, t, i * PART, kp, rows, g->a_read) });
			for (j = 0; j < nt; j++) {
				uint32_t col = zigzag(i, j, nt);
				struct kiln_operand dst = bank_tile(g, group, i, col);
				unsigned int bank = bank_of(g, group, i, col);

				if (first && !t && !g->mm->bias)
					kiln_asm_wait(g->as, KILN_TENSOR, SEM_BANK_FREE + bank, 1);
				KILN_ASM(g->as, KILN_TENSOR, MATMUL, .dst = dst,
					 .src = { tile_of(g, &g->b, t, col * BANK_COLS, kp,
							  dst.size[0], g->b_read) },
					 .flags = flags | (!first || t || g->mm->bias ?
							   KILN_F_ACCUMULATE : 0));
				if (last && t == kt - 1)
					kiln_asm_post(g->as, KILN_TENSOR, SEM_BANK_FULL + bank, 1);
			}
		}
	}
}

/* Writers of a resident B: on to the next panel. */
static void begin_b(struct gen *g, uint32_t cols)
{
	enum kiln_engine writer[2];
	unsigned int i, n = writers(&g->b, writer);

	wait_free(g, &g->b);
	kiln_asm_addi(g->as, KILN_SYNC, g->b.dram, g->b_panel, 0);
	bump(g, KILN_SYNC, g->b_panel, cols * g->b.step_free);
	for (i = 0; i < n; i++)
		kiln_asm_addi(g->as, writer[i], g->b.dst[writer[i]], g->b.base[writer[i]], 0);
	if (g->b.buffers > 1)
		flip_writers(g, &g->b, g->b.base);
}

/* Vector: what is kept of a bank while its chunks are summed up. */
static struct kiln_operand split_tile(const struct gen *g, const struct group *group, uint32_t i,
				      uint32_t j, enum kiln_dtype type, uint32_t sbuf)
{
	struct kiln_operand bank = bank_tile(g, group, i, j);
	uint32_t at = sbuf == g->carry ? 0 : bank_of(g, group, i, j) * BANK_COLS * 4;

	return kiln_tile1(KILN_SBUF, type, 0, bank.partitions, sbuf + at, bank.size[0]);
}

/*
 * The sum s of a chunk is at most 2^24. high += round(s / SPLIT), low += the
 * rest, which is at most SPLIT / 2: all of it whole numbers that fp32 has.
 */
static void take_chunk(struct gen *g, const struct group *group, bool first)
{
	uint32_t mt = kiln_ceil_div(group->rows, PART);
	uint32_t nt = kiln_ceil_div(group->cols, BANK_COLS), i, j;
	enum kiln_engine v = KILN_VECTOR;

	for (i = 0; i < mt; i++)
		for (j = 0; j < nt; j++) {
			uint32_t col = zigzag(i, j, nt);
			unsigned int bank = bank_of(g, group, i, col);
			struct kiln_operand s = bank_tile(g, group, i, col);
			struct kiln_operand high = split_tile(g, group, i, col, KILN_I32, g->high);
			struct kiln_operand low = split_tile(g, group, i, col, KILN_F32, g->low);
			struct kiln_operand part = split_tile(g, group, i, col, KILN_I32, g->carry);

			kiln_asm_wait(g->as, v, SEM_BANK_FULL + bank, 1);
			kiln_asm_tensor_scalar(g->as, v, first ? high : part, s, KILN_ALU_MULTIPLY,
					       kiln_const(1.0f / SPLIT), KILN_ALU_BYPASS,
					       kiln_const(0), 0);
			kiln_asm_scalar_tensor_tensor(g->as, v, first ? low : s,
						      first ? high : part, KILN_ALU_MULTIPLY,
						      kiln_const(-SPLIT), KILN_ALU_ADD, s, 0);
			if (!first)
				kiln_asm_tensor_tensor(g->as, v, low, low, KILN_ALU_ADD, s);
			kiln_asm_post(g->as, v, SEM_BANK_FREE + bank, 1);
			if (!first)
				kiln_asm_tensor_tensor(g->as, v, high, high, KILN_ALU_ADD, part);
		}
}

/* SPLIT * high + low, of which int32 gets the bits: modulo 2^32. */
static void join(struct gen *g, const struct group *group, uint32_t i, uint32_t j,
		 struct kiln_operand dst)
{
	struct kiln_operand high = split_tile(g, group, i, j, KILN_I32, g->high);
	struct kiln_operand low = split_tile(g, group, i, j, KILN_F32, g->low);
	struct kiln_operand carry = split_tile(g, group, i, j, KILN_I32, g->carry);
	struct kiln_operand bits = low;
	const uint32_t shift = 12;
	enum kiln_engine v = KILN_VECTOR;
	struct kiln_scalar by = { 0 };

	if (g->out_type != KILN_I32) {
		kiln_asm_scalar_tensor_tensor(g->as, v, dst, high, KILN_ALU_MULTIPLY,
					      kiln_const(SPLIT), KILN_ALU_ADD, low, 0);
		return;
	}
	/* carry = floor(low / SPLIT), by rounding to nearest what is half a step less. */
	kiln_asm_tensor_scalar(g->as, v, carry, low, KILN_ALU_ADD, kiln_const(0.5f - SPLIT / 2),
			       KILN_ALU_MULTIPLY, kiln_const(1.0f / SPLIT), 0);
	kiln_asm_tensor_tensor(g->as, v, high, high, KILN_ALU_ADD, carry);
	bits.dtype = KILN_I32;
	kiln_asm_scalar_tensor_tensor(g->as, v, bits, carry, KILN_ALU_MULTIPLY,
				      kiln_const(-SPLIT), KILN_ALU_ADD, low, 0);
	/* A constant of bitwise functions is its bits. */
	memcpy(&by.imm, &shift, sizeof(shift));
	kiln_asm_tensor_scalar(g->as, v, high, high, KILN_ALU_LEFT_SHIFT, by, KILN_ALU_BYPASS,
			       kiln_const(0), 0);
	kiln_asm_tensor_tensor(g->as, v, dst, high, KILN_ALU_BITWISE_OR, bits);
}

/* next_*: of the chunk behind this one; rows or columns 0: that side is not to be loaded. */
static void chunk(struct gen *g, const struct group *group, uint32_t k, bool first, bool last,
		  uint32_t next_rows, uint32_t next_cols, uint32_t next_k, bool next_last)
{
	struct load next[2] = {
		load_of(&g->a, next_rows, next_k, next_last),
		load_of(&g->b, next_cols, next_k, next_last),
	};
	struct load own[2] = {
		load_of(&g->a, first && group->own_a ? group->rows : 0, k, last),
		load_of(&g->b, group->fresh_b && !g->b.transposed ? group->cols : 0, k, last),
	};

	if (last && next_cols)
		begin_b(g, next_cols);
	multiply_chunk(g, group, k, first, last, own, next);
	load_parts(g, &g->a, &next[0], next[0].parts);
	load_parts(g, &g->b, &next[1], next[1].parts);
	if (g->a.resident) {
		bump(g, KILN_TENSOR, g->a_read, g->a.chunk_bytes);
	} else {
		post_free(g, &g->a, 1);
		kiln_asm_xori(g->as, KILN_TENSOR, g->a_read, g->a_read,
			      g->a.sbuf[0] ^ g->a.sbuf[1]);
	}
	if (g->b.resident) {
		bump(g, KILN_TENSOR, g->b_read, g->b.chunk_bytes);
	} else {
		post_free(g, &g->b, 1);
		kiln_asm_xori(g->as, KILN_TENSOR, g->b_read, g->b_read,
			      g->b.sbuf[0] ^ g->b.sbuf[1]);
	}
	if (g->split)
		take_chunk(g, group, first);
}

/*
 * Two banks beside each other are stored together, in longer rows: a unit. It
 * has two places in SBUF that take turns, so that what waits in the queues of
 * the DMA engines does not hold up the banks. A single row has a place for each
 * panel and is stored at the end: nothing is written while the matrix streams.
 */
static unsigned int unit_of(const struct gen *g, unsigned int bank)
{
	return bank / g->nb * ((g->nb + 1) / 2) + bank % g->nb / 2;
}

static uint32_t out_bytes(const struct gen *g)
{
	return KILN_ALIGN_UP(g->gm * g->nb * BANK_COLS * g->os, 64u);
}

static void flip_out(struct gen *g, enum kiln_engine e, unsigned int bank)
{
	unsigned int reg = g->out_reg[e][unit_of(g, bank)];

	if (g->late)
		bump(g, e, reg, out_bytes(g));
	else
		kiln_asm_xori(g->as, e, reg, reg, g->out ^ (g->out + out_bytes(g)));
}

/* Who takes the results of a bank to SBUF. */
static enum kiln_engine drainer(const struct gen *g, unsigned int bank)
{
	if (g->mm->residual || g->split)
		return KILN_VECTOR;
	return bank % 2 || g->mm->activation ? KILN_SCALAR : KILN_VECTOR;
}

/* Columns that are stored together: a unit, or what there is of it. */
static struct kiln_operand unit_tile(const struct gen *g, const struct group *group, uint32_t i,
				     uint32_t j)
{
	unsigned int bank = bank_of(g, group, i, j);

	return kiln_at(kiln_tile1(KILN_SBUF, g->out_type, 0,
				  kiln_min(PART, group->rows - i * PART),
				  bank * BANK_COLS * g->os,
				  kiln_min(2 * BANK_COLS, group->cols - j * BANK_COLS)),
		       g->out_reg[KILN_GPSIMD][unit_of(g, bank)]);
}

static int64_t unit_offset(const struct gen *g, uint32_t i, uint32_t j)
{
	return ((int64_t)i * PART * g->mm->ldc + (int64_t)j * BANK_COLS) * g->os;
}

/* GpSimd: what is added to the results, to where they will be, while they are computed. */
static void load_residual(struct gen *g, const struct group *group)
{
	uint32_t mt = kiln_ceil_div(group->rows, PART);
	uint32_t nt = kiln_ceil_div(group->cols, BANK_COLS), i, j;

	for (i = 0; i < mt; i++)
		for (j = 0; j < nt; j += 2) {
			unsigned int bank = bank_of(g, group, i, j);

			kiln_asm_addi(g->as, KILN_GPSIMD, g->c_tmp, g->c_group,
				      unit_offset(g, i, j));
			kiln_asm_add(g->as, KILN_GPSIMD, g->c_tmp, g->c_tmp, g->to_residual);
			kiln_asm_wait(g->as, KILN_GPSIMD, SEM_OUT_FREE + bank, 1);
			if (j + 1 < g->nb)
				kiln_asm_wait(g->as, KILN_GPSIMD, SEM_OUT_FREE + bank + 1, 1);
			kiln_asm_dma(g->as, KILN_GPSIMD, bank % KILN_DMA_RINGS,
				     unit_tile(g, group, i, j),
				     kiln_dram(g->c_tmp, 0, g->mm->ldc, 1));
			kiln_asm_post(g->as, KILN_GPSIMD, SEM_RESIDUAL + bank, 1);
			if (j + 1 < nt)
				kiln_asm_post(g->as, KILN_GPSIMD, SEM_RESIDUAL + bank + 1, 1);
		}
}

/* activation(bank) + beta * what stands in dst: Scalar within PSUM, then Vector. */
static void add_residual(struct gen *g, unsigned int bank, struct kiln_operand dst,
			 struct kiln_operand src, enum kiln_activation act)
{
	unsigned int full = SEM_BANK_FULL + bank;

	if (g->mm->activation) {
		kiln_asm_wait(g->as, KILN_SCALAR, full, 1);
		kiln_asm_activation(g->as, src, act, src, kiln_const(1), kiln_const(0), NULL);
		full = SEM_ACTIVATED + bank;
		kiln_asm_post(g->as, KILN_SCALAR, full, 1);
	}
	kiln_asm_wait(g->as, KILN_VECTOR, full, 1);
	kiln_asm_wait(g->as, KILN_VECTOR, SEM_RESIDUAL + bank, 1);
	kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, dst, dst, KILN_ALU_MULTIPLY,
				      kiln_const(g->mm->beta), KILN_ALU_ADD, src, 0);
}

/* Columns of a unit, from first on in all of c, that lie at c, or in one of the matrices behind it */
static void store_part(struct gen *g, const struct group *group, uint32_t j, unsigned int part,
		       uint32_t first, uint32_t end)
{
	struct kiln_operand tile = unit_tile(g, group, 0, j);
	uint32_t from = j * BANK_COLS, to = from + tile.size[0];
	unsigned int base = g->c_group, bank = bank_of(g, group, 0, j);

	from = from > first ? from : first;
	to = to < end ? to : end;
	if (from >= to)
		return;
	if (part) {
		base = g->c_tmp;
		kiln_asm_add(g->as, KILN_GPSIMD, base, g->c_group, g->to_more[part - 1]);
	}
	tile.addr += (from - j * BANK_COLS) * g->os;
	tile.size[0] = to - from;
	/* One ring: who waits for the last waits for all. */
	kiln_asm_dma(g->as, KILN_GPSIMD, bank % KILN_DMA_RINGS,
		     kiln_dram(base, (from - first) * g->os, part ? g->mm->more[part - 1].n : g->mm->ldc,
			       1), tile);
}

static void store_unit(struct gen *g, const struct group *group, uint32_t i, uint32_t j)
{
	const struct kiln_matmul *mm = g->mm;
	uint32_t second = mm->n - mm->more[1].n, first = second - mm->more[0].n;
	unsigned int base;
	int32_t rest;

	if (mm->more[0].n) {
		store_part(g, group, j, 0, 0, first);
		store_part(g, group, j, 1, first, second);
		store_part(g, group, j, 2, second, mm->n);
		return;
	}
	base = based(g, KILN_GPSIMD, g->c_group, g->c_tmp, unit_offset(g, i, j), &rest);
	kiln_asm_dma(g->as, KILN_GPSIMD, bank_of(g, group, i, j) % KILN_DMA_RINGS,
		     kiln_dram(base, rest, mm->ldc, 1), unit_tile(g, group, i, j));
}

static void drain(struct gen *g, const struct group *group)
{
	enum kiln_activation act = KILN_ACT_COPY;
	uint32_t mt = kiln_ceil_div(group->rows, PART);
	uint32_t nt = kiln_ceil_div(group->cols, BANK_COLS), i, j;

	if (g->mm->activation)
		kiln_ops_activation("matmul", g->mm->activation, &act);
	if (g->mm->residual)
		load_residual(g, group);
	/* In the order in which Tensor is through with them. */
	for (i = 0; i < mt; i++)
		for (j = 0; j < nt; j++) {
			uint32_t col = zigzag(i, j, nt);
			unsigned int bank = bank_of(g, group, i, col);
			enum kiln_engine e = drainer(g, bank);
			struct kiln_operand src = bank_tile(g, group, i, col);
			struct kiln_operand dst = kiln_tile1(KILN_SBUF, g->out_type, 0,
				src.partitions, bank * BANK_COLS * g->os, src.size[0]);

			dst = kiln_at(dst, g->out_reg[e][unit_of(g, bank)]);
			if (g->mm->residual) {
				add_residual(g, bank, dst, src, act);
			} else if (g->split) {
				kiln_asm_wait(g->as, e, SEM_OUT_FREE + bank, 1);
				join(g, group, i, col, dst);
				kiln_asm_post(g->as, e, SEM_OUT_FULL + bank, 1);
				continue;
			} else {
				kiln_asm_wait(g->as, e, SEM_BANK_FULL + bank, 1);
				kiln_asm_wait(g->as, e, SEM_OUT_FREE + bank, 1);
				if (g->mm->activation)
					kiln_asm_activation(g->as, dst, act, src, kiln_const(1),
							    kiln_const(0), NULL);
				else
					kiln_asm_tensor_copy(g->as, e, dst, src);
			}
			kiln_asm_post(g->as, e, SEM_BANK_FREE + bank, 1);
			kiln_asm_post(g->as, e, SEM_OUT_FULL + bank, 1);
		}

	for (i = 0; i < mt; i++)
		for (j = 0; j < nt; j += 2) {
			unsigned int bank = bank_of(g, group, i, j);
			enum kiln_engine e = drainer(g, bank), e1 = drainer(g, bank + 1);

			kiln_asm_wait(g->as, KILN_GPSIMD, SEM_OUT_FULL + bank, 1);
			if (j + 1 < nt)
				kiln_asm_wait(g->as, KILN_GPSIMD, SEM_OUT_FULL + bank + 1, 1);
			store_unit(g, group, i, j);
			kiln_asm_post(g->as, KILN_GPSIMD, SEM_OUT_FREE + bank, 1);
			if (j + 1 < g->nb) {
				/* The other bank keeps in step, even where it is not used. */
				kiln_asm_post(g->as, KILN_GPSIMD, SEM_OUT_FREE + bank + 1, 1);
				if (j + 1 == nt && !g->mm->residual)
					kiln_asm_wait(g->as, e1, SEM_OUT_FREE + bank + 1, 1);
				if (e1 != e)
					flip_out(g, e1, bank + 1);
			}
			flip_out(g, KILN_GPSIMD, bank);
			flip_out(g, e, bank);
		}
}

static void group(struct gen *g, const struct group *group)
{
	uint32_t kc = g->kc * PART, rows = group->fresh_a ? group->rows : 0;
	uint32_t cols = group->fresh_b && g->b.transposed ? group->cols : 0;
	uint32_t first_k = g->chunks == 1 ? g->k_last : kc;	/* of the next group */

	if (group->fresh_b && !g->b.resident) {
		kiln_asm_addi(g->as, KILN_SYNC, g->b.dram, g->b_panel, 0);
		if (g->b.transposed)
			load_chunk(g, &g->b, cols, first_k, g->chunks == 1);
	}
	if (g->chunks > 1)
		chunk(g, group, kc, true, false, rows, cols, g->chunks == 2 ? g->k_last : kc,
		      g->chunks == 2);
	if (g->chunks > 3) {
		kiln_asm_loop(g->as, g->chunks - 3);
		chunk(g, group, kc, false, false, rows, cols, kc, false);
		kiln_asm_loop_end(g->as);
	}
	if (g->chunks > 2)
		chunk(g, group, kc, false, false, rows, cols, g->k_last, true);
	chunk(g, group, g->k_last, g->chunks == 1, true, group->next_rows, group->next_cols,
	      first_k, g->chunks == 1);
	if (g->a.resident)
		bump(g, KILN_TENSOR, g->a_read, (int64_t)group->rows * g->a.col -
		     (int64_t)g->chunks * g->a.chunk_bytes);
	if (g->b.resident)
		bump(g, KILN_TENSOR, g->b_read, -(int64_t)g->chunks * g->b.chunk_bytes);
	drain(g, group);
	bump(g, KILN_GPSIMD, g->c_group, (int64_t)group->rows * g->mm->ldc * g->os);
}

/* ------------------------------------------------------- panels and blocks -- */

/*
 * All rows of the block by cols columns. load_a: bring the block's A in
 * meanwhile. begun: its B has been begun by the panel before; next_cols: do so
 * for the panel behind it.
 */
static void panel(struct gen *g, uint32_t rows, uint32_t cols, bool load_a, bool begun,
		  uint32_t next_cols)
{
	uint32_t gm = g->gm * PART, full = rows / gm, rest = rows % gm;
	uint32_t first_k = g->chunks == 1 ? g->k_last : g->kc * PART;
	struct group group_of = {
		.rows = full ? gm : rest, .cols = cols, .fresh_a = load_a, .fresh_b = true,
	};

	kiln_asm_addi(g->as, KILN_GPSIMD, g->c_group, g->c_panel, 0);
	if (g->mm->bias)
		load_bias(g, cols);
	if (load_a)
		kiln_asm_addi(g->as, KILN_SYNC, g->a.dram, g->a_block, 0);
	if (g->a.resident)
		kiln_asm_addi(g->as, KILN_TENSOR, g->a_read, g->a.base[KILN_TENSOR], 0);
	if (load_a && !g->a.transposed)
		group_of.own_a = true;
	else if (load_a)
		load_chunk(g, &g->a, group_of.rows, first_k, g->chunks == 1);
	if (g->b.resident) {
		kiln_asm_addi(g->as, KILN_TENSOR, g->b_read, g->b.base[KILN_TENSOR], 0);
		if (!begun)
			begin_b(g, cols);
		if (!begun && g->b.transposed)
			load_chunk(g, &g->b, cols, first_k, g->chunks == 1);
	}

	if (full) {
		if (load_a)
			group_of.next_rows = full > 1 ? gm : rest;
		if (full == 1 && !rest)
			group_of.next_cols = next_cols;
		group(g, &group_of);
		group_of.own_a = false;
		if (g->b.resident)
			group_of.fresh_b = false;
		if (full > 2) {
			kiln_asm_loop(g->as, full - 2);
			group(g, &group_of);
			kiln_asm_loop_end(g->as);
		}
		if (load_a)
			group_of.next_rows = rest;
		if (!rest)
			group_of.next_cols = next_cols;
		if (full > 1)
			group(g, &group_of);
	}
	if (rest) {
		group_of.rows = rest;
		group_of.next_rows = 0;
		group_of.next_cols = next_cols;
		group(g, &group_of);
	}

	if (g->b.resident) {
		post_free(g, &g->b, 1);
		if (g->b.buffers > 1)
			kiln_asm_xori(g->as, KILN_TENSOR, g->b.base[KILN_TENSOR],
				      g->b.base[KILN_TENSOR], g->b.sbuf[0] ^ g->b.sbuf[1]);
	} else {
		bump(g, KILN_SYNC, g->b_panel, cols * g->b.step_free);
	}
	if (g->mm->bias) {
		kiln_asm_nop(g->as, KILN_TENSOR);
		kiln_asm_post(g->as, KILN_TENSOR, SEM_BIAS_FREE, 1);
		flip_bias(g, KILN_TENSOR);
	}
	bump(g, KILN_GPSIMD, g->c_panel, (int64_t)cols * g->os);
}

static void block(struct gen *g, uint32_t rows)
{
	uint32_t bn = g->nb * BANK_COLS, full = g->mm->n / bn, rest = g->mm->n % bn;
	uint32_t panels = full + !!rest, done = 0, count;
	/* Sync reads ahead by itself; tiles to be transposed have to be put somewhere. */
	bool ahead = g->b.resident && g->b.transposed && g->b.buffers > 1;

	kiln_asm_addi(g->as, KILN_SYNC, g->b_panel, g->b_batch, 0);
	kiln_asm_addi(g->as, KILN_GPSIMD, g->c_panel, g->c_block, 0);
	if (g->mm->bias)
		kiln_asm_ldarg(g->as, KILN_SYNC, g->bias_next, 3);
	if (g->a.resident) {
		enum kiln_engine writer[2];
		unsigned int i, n = writers(&g->a, writer);

		wait_free(g, &g->a);
		for (i = 0; i < n; i++)
			kiln_asm_addi(g->as, writer[i], g->a.dst[writer[i]],
				      g->a.base[writer[i]], 0);
	}
	/* The first brings A in; the last two differ in what is behind them. */
	while (done < panels) {
		bool load_a = !done || !g->a.resident;
		uint32_t cols = done < full ? bn : rest, next = 0;

		if (ahead && done + 1 < panels)
			next = done + 1 < full ? bn : rest;
		count = done && done < full - ahead ? full - ahead - done : 1;
		kiln_asm_loop(g->as, count);
		panel(g, rows, cols, load_a, ahead && done, next);
		kiln_asm_loop_end(g->as);
		done += count;
	}
	if (g->a.resident) {
		post_free(g, &g->a, 1);
		if (g->a.buffers > 1) {
			flip_writers(g, &g->a, g->a.base);
			kiln_asm_xori(g->as, KILN_TENSOR, g->a.base[KILN_TENSOR],
				      g->a.base[KILN_TENSOR], g->a.sbuf[0] ^ g->a.sbuf[1]);
		}
	}
	bump(g, KILN_SYNC, g->a_block, rows * g->a.step_free);
	bump(g, KILN_GPSIMD, g->c_block, (int64_t)rows * g->mm->ldc * g->os);
}

/* ------------------------------------------------------------------ layout -- */

static uint32_t take(uint32_t *top, uint32_t bytes)
{
	uint32_t at = *top;

	*top += KILN_ALIGN_UP(bytes, 64u);
	return at;
}

static void place_side(struct gen *g, struct side *s, uint32_t *top, uint32_t columns)
{
	uint32_t bytes;

	/* Whole lines; a single column needs none. */
	s->pitch = columns > 1 ? KILN_ALIGN_UP(columns, 32u) : 1;
	s->chunk_bytes = g->kc * s->pitch * g->es;
	bytes = s->resident ? kiln_ceil_div(g->k, PART) * s->pitch * g->es : s->chunk_bytes;
	s->sbuf[0] = take(top, bytes);
	s->sbuf[1] = s->buffers > 1 || !s->resident ? take(top, bytes) : s->sbuf[0];
}

static bool many(const struct kiln_matmul *mm)
{
	return mm->batch > 1 || mm->outer > 1;
}

/* How large groups and panels are, what stays in SBUF, and where. */
static void layout(struct gen *g, unsigned int generation)
{
	const struct kiln_matmul *mm = g->mm;
	uint32_t sbuf = kiln_asm_sbuf_bytes(generation), top = 0, left;
	uint32_t mt = kiln_ceil_div(mm->m, PART), nt = kiln_ceil_div(mm->n, BANK_COLS);
	uint32_t kt = kiln_ceil_div(g->k, PART);
	uint64_t bytes, tile;
	uint32_t banks, panels, columns, tiles, blocks;

	g->kc = kiln_min(CHUNK_TILES, CHUNK_TILES * 2 / g->es);
	if (mm->m == 1 && !g->convert)	/* a matrix that is used once: just enough to be on its way */
		g->kc = kiln_min(g->kc, 4096 / kiln_min(mm->n, 4096));
	g->chunks = kiln_ceil_div(kt, g->kc);
	g->k_last = g->k - (g->chunks - 1) * g->kc * PART;
	g->split = g->convert && g->chunks > 1;

	banks = g->t_banks ? 6 : 8;
	if (nt >= 2 && mt >= banks / 2)
		g->nb = 2;
	else
		g->nb = kiln_min(nt, banks / kiln_min(mt, banks));
	g->gm = kiln_min(mt, banks / g->nb);

	columns = kiln_min(mm->n, g->nb * BANK_COLS);
	panels = kiln_ceil_div(mm->n, g->nb * BANK_COLS);
	g->late = mm->m == 1 && !many(mm) && !mm->residual &&
		  (uint64_t)panels * out_bytes(g) <= LATE_BYTES;
	g->out_places = g->late ? panels : 2;
	g->out = take(&top, g->out_places * out_bytes(g));
	if (mm->bias) {
		g->ones = take(&top, PART * kiln_dtype_bytes(g->bias_type));
		g->bias_bytes = KILN_ALIGN_UP(columns * kiln_dtype_bytes(g->bias_type), 64u);
		g->bias = take(&top, 2 * g->bias_bytes);
	}
	g->a.nat_bytes = g->a.transposed ? g->kc * PART * g->ns : g->gm * PART;
	g->b.nat_bytes = g->b.transposed ? g->kc * PART * g->ns : columns;
	if (g->a.copied)
		g->a.nat = take(&top, NAT_SLOTS * g->a.nat_bytes);
	if (g->b.copied)
		g->b.nat = take(&top, NAT_SLOTS * g->b.nat_bytes);
	if (g->split) {
		g->high = take(&top, g->gm * g->nb * BANK_COLS * 4);
		g->low = take(&top, g->gm * g->nb * BANK_COLS * 4);
		g->carry = take(&top, BANK_COLS * 4);
	}
	left = sbuf - top;

	/* B: all of k for two panels, if that leaves as much for A. */
	bytes = (uint64_t)kt * KILN_ALIGN_UP(columns, 32u) * g->es;
	g->b.resident = mm->m > 1 &&
		(2 * bytes <= left / 2 ||
		 2 * bytes + (uint64_t)kt * kiln_min(mm->m, g->gm * PART) * g->es + 4096 <= left);
	g->b.buffers = panels > 1 || many(mm) || mm->m > g->gm * PART ? 2 : 1;
	place_side(g, &g->b, &top, columns);
	left = sbuf - top;

	/* A: as many groups as fit; twice where another block will come. */
	tile = (uint64_t)kt * PART * g->es;
	tiles = kiln_min(left / tile, MAX_BLOCK);
	if (tiles >= mt) {
		g->a.resident = true;
		g->block_rows = mm->m;
		blocks = many(mm) ? 2 : 1;
	} else {
		tiles -= tiles % g->gm;
		g->a.resident = tiles >= g->gm;
		g->block_rows = g->a.resident ? tiles * PART : mm->m;
		blocks = 2;
	}
	columns = !g->a.resident ? g->gm * PART :
		g->block_rows > 1 ? KILN_ALIGN_UP(g->block_rows, 32u) : 1;
	g->a.buffers = blocks > 1 && 2ull * kt * columns * g->es <= left ? 2 : 1;
	place_side(g, &g->a, &top, columns);
}

static void side_registers(struct gen *g, struct side *s)
{
	enum kiln_engine writer[2];
	unsigned int i, n = writers(s, writer);

	s->dram = kiln_asm_reg(g->as, KILN_SYNC);
	for (i = 0; i < n; i++) {
		s->dst[writer[i]] = kiln_asm_reg(g->as, writer[i]);
		s->base[writer[i]] = kiln_asm_reg(g->as, writer[i]);
		kiln_asm_movi(g->as, writer[i], s->base[writer[i]], s->sbuf[0]);
		kiln_asm_movi(g->as, writer[i], s->dst[writer[i]], s->sbuf[0]);
	}
	s->base[KILN_TENSOR] = kiln_asm_reg(g->as, KILN_TENSOR);
	kiln_asm_movi(g->as, KILN_TENSOR, s->base[KILN_TENSOR], s->sbuf[0]);
	/* What is free at the start. */
	post_free(g, s, s->resident ? s->buffers : 2);
	if (s->copied)
		for (i = 0; i < NAT_SLOTS; i += 2) {
			kiln_asm_nop(g->as, KILN_TENSOR);
			kiln_asm_post(g->as, KILN_TENSOR, s->sem + SEM_NAT_FREE + i, 1);
			kiln_asm_post(g->as, KILN_TENSOR, s->sem + SEM_NAT_FREE + i + 1, 1);
		}
}

/* Along k an element may be a pair. */
static void steps(const struct gen *g, struct side *s, uint32_t bytes)
{
	int64_t row = (int64_t)s->row_elems * bytes;

	s->step_free = s->transposed ? row : bytes;
	s->step_k = (s->transposed ? bytes : row) * (1 + g->pairs);
}

static bool float8(enum kiln_type type)
{
	return type == KILN_TYPE_F8E4M3 || type == KILN_TYPE_F8E5M2;
}

static enum kiln_type bias_type(const struct kiln_matmul *mm)
{
	return float8(mm->type) ? KILN_TYPE_F32 : mm->type;
}

static int make_matmul(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct kiln_matmul *mm = shape;
	struct gen gen = { .as = as, .mm = mm, .out_type = kiln_type_dtype(mm->out_type) };
	struct gen *g = &gen;
	unsigned int i, j;

	g->convert = mm->type == KILN_TYPE_I8;
	g->pairs = generation > 1 && float8(mm->type) && mm->k % 2 == 0;
	g->k = g->pairs ? mm->k / 2 : mm->k;
	g->bias_type = kiln_type_dtype(bias_type(mm));
	g->a.type = kiln_type_dtype(mm->type);
	g->b.type = kiln_type_dtype(mm->b_type);
	g->a.transposed = !mm->trans_a;
	g->b.transposed = mm->trans_b;
	g->a.copied = g->a.transposed || g->convert;
	g->b.copied = g->b.transposed || g->convert;
	g->t_banks = g->a.transposed || g->b.transposed ? 2 : 0;
	g->es = g->pairs || g->convert ? 2 : type_size(mm->type);
	g->ns = g->pairs ? 2 : type_size(mm->type);
	g->os = type_size(mm->out_type);
	g->a.col = g->pairs && !g->a.transposed ? 1 : g->es;
	g->b.col = g->pairs && !g->b.transposed ? 1 : g->es;
	layout(g, generation);
	g->a.column = mm->m == 1 && !g->a.copied && !g->pairs && g->a.pitch == 1 && mm->lda == 1;

	g->a.sem = SEM_SIDE;
	g->b.sem = SEM_SIDE + 32;
	g->a.ring = 8;
	g->b.ring = 0;
	g->a.row_elems = mm->lda;
	g->b.row_elems = mm->ldb;
	steps(g, &g->a, type_size(mm->type));
	steps(g, &g->b, type_size(mm->type));

	g->a_batch = kiln_asm_reg(as, KILN_SYNC);
	g->a_block = kiln_asm_reg(as, KILN_SYNC);
	g->b_batch = kiln_asm_reg(as, KILN_SYNC);
	g->b_panel = kiln_asm_reg(as, KILN_SYNC);
	g->sync_tmp = kiln_asm_reg(as, KILN_SYNC);
	g->c_batch = kiln_asm_reg(as, KILN_GPSIMD);
	g->c_block = kiln_asm_reg(as, KILN_GPSIMD);
	g->c_panel = kiln_asm_reg(as, KILN_GPSIMD);
	g->c_group = kiln_asm_reg(as, KILN_GPSIMD);
	g->c_tmp = kiln_asm_reg(as, KILN_GPSIMD);
	g->a_read = kiln_asm_reg(as, KILN_TENSOR);
	g->b_read = kiln_asm_reg(as, KILN_TENSOR);
	kiln_asm_ldarg(as, KILN_SYNC, g->a_batch, 0);
	kiln_asm_ldarg(as, KILN_SYNC, g->b_batch, 1);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->c_batch, 2);
	side_registers(g, &g->a);
	side_registers(g, &g->b);
	kiln_asm_movi(as, KILN_TENSOR, g->a_read, g->a.sbuf[0]);
	kiln_asm_movi(as, KILN_TENSOR, g->b_read, g->b.sbuf[0]);
	for (i = 0; i < g->gm * g->nb; i++) {
		kiln_asm_nop(as, KILN_VECTOR);
		kiln_asm_post(as, KILN_VECTOR, SEM_BANK_FREE + i, 1);
		kiln_asm_post(as, KILN_VECTOR, SEM_OUT_FREE + i, g->out_places);
	}
	for (i = 0; i < g->gm * ((g->nb + 1) / 2); i++) {
		static const enum kiln_engine users[] = { KILN_VECTOR, KILN_SCALAR, KILN_GPSIMD };

		for (j = 0; j < 3; j++) {
			g->out_reg[users[j]][i] = kiln_asm_reg(as, users[j]);
			kiln_asm_movi(as, users[j], g->out_reg[users[j]][i], g->out);
		}
	}
	kiln_asm_nop(as, KILN_VECTOR);
	kiln_asm_post(as, KILN_VECTOR, SEM_T_FREE, 1);
	kiln_asm_post(as, KILN_VECTOR, SEM_T_FREE + 1, 1);

	if (mm->bias) {
		g->bias_next = kiln_asm_reg(as, KILN_SYNC);
		g->bias_slot[KILN_SYNC] = kiln_asm_reg(as, KILN_SYNC);
		g->bias_slot[KILN_TENSOR] = kiln_asm_reg(as, KILN_TENSOR);
		kiln_asm_movi(as, KILN_SYNC, g->bias_slot[KILN_SYNC], g->bias);
		kiln_asm_movi(as, KILN_TENSOR, g->bias_slot[KILN_TENSOR], g->bias);
		kiln_asm_memset(as, KILN_VECTOR, kiln_tile1(KILN_SBUF, g->bias_type, 0, 1, g->ones, PART), 1);
		kiln_asm_post(as, KILN_VECTOR, SEM_ONES, 1);
		kiln_asm_post(as, KILN_VECTOR, SEM_BIAS_FREE, 2);
		kiln_asm_wait(as, KILN_TENSOR, SEM_ONES, 1);
		kiln_asm_nop(as, KILN_TENSOR);
	}
	if (mm->residual) {
		g->to_residual = kiln_asm_reg(as, KILN_GPSIMD);
		kiln_asm_ldarg(as, KILN_GPSIMD, g->to_residual, 4);
	}
	for (i = 0; i < 2 && mm->more[i].n; i++) {
		g->to_more[i] = kiln_asm_reg(as, KILN_GPSIMD);
		kiln_asm_ldarg(as, KILN_GPSIMD, g->to_more[i], 5 + i);
	}
	if (g->late)
		kiln_asm_wait(as, KILN_GPSIMD, SEM_END, 1);
	kiln_asm_loop(as, mm->outer);
	kiln_asm_loop(as, mm->batch);
	kiln_asm_addi(as, KILN_SYNC, g->a_block, g->a_batch, 0);
	kiln_asm_addi(as, KILN_GPSIMD, g->c_block, g->c_batch, 0);
	if (mm->m / g->block_rows) {
		kiln_asm_loop(as, mm->m / g->block_rows);
		block(g, g->block_rows);
		kiln_asm_loop_end(as);
	}
	if (mm->m % g->block_rows)
		block(g, mm->m % g->block_rows);
	bump(g, KILN_SYNC, g->a_batch, (int64_t)mm->stride_a * type_size(mm->type));
	bump(g, KILN_SYNC, g->b_batch, (int64_t)mm->stride_b * type_size(mm->type));
	bump(g, KILN_GPSIMD, g->c_batch, (int64_t)mm->stride_c * g->os);
	kiln_asm_loop_end(as);
	bump(g, KILN_SYNC, g->a_batch,
	     (int64_t)(mm->outer_a - mm->batch * mm->stride_a) * type_size(mm->type));
	bump(g, KILN_SYNC, g->b_batch,
	     (int64_t)(mm->outer_b - mm->batch * mm->stride_b) * type_size(mm->type));
	bump(g, KILN_GPSIMD, g->c_batch, (int64_t)(mm->outer_c - mm->batch * mm->stride_c) * g->os);
	kiln_asm_loop_end(as);
	if (g->late) {
		kiln_asm_nop(as, KILN_TENSOR);
		kiln_asm_post(as, KILN_TENSOR, SEM_END, 1);
	}
	return 0;
}

/* ------------------------------------------------------------------- entry -- */

/* Types that go with one another; what is not said is filled in. */
static int check_types(struct kiln_matmul *mm)
{
	bool whole = mm->type == KILN_TYPE_I8, small = float8(mm->type);

	if (!known_type(mm->type) && !whole && !small)
		return kiln_error(-ENOTSUP, "matmul: type %d is not KILN_TYPE_F32, _BF16, _F16, _F8E4M3, _F8E5M2 or _I8",
				  (int)mm->type);
	if (!mm->b_type)
		mm->b_type = mm->type;
	if (mm->b_type != mm->type && !(small && float8(mm->b_type)))
		return kiln_error(-ENOTSUP, "matmul: b_type %d with type %d: only the two fp8 types go with each other",
				  (int)mm->b_type, (int)mm->type);
	if (!mm->out_type)
		mm->out_type = whole ? KILN_TYPE_I32 : small ? KILN_TYPE_F32 : mm->type;
	if (whole && mm->out_type != KILN_TYPE_I32 && mm->out_type != KILN_TYPE_F32)
		return kiln_error(-ENOTSUP, "matmul: out_type %d of int8 is not KILN_TYPE_I32 or _F32",
				  (int)mm->out_type);
	if (!whole && !known_type(mm->out_type) && !float8(mm->out_type))
		return kiln_error(-ENOTSUP, "matmul: out_type %d is not KILN_TYPE_F32, _BF16, _F16, _F8E4M3 or _F8E5M2",
				  (int)mm->out_type);
	if (whole && (mm->bias || mm->activation || mm->residual))
		return kiln_error(-ENOTSUP, "matmul: int8 has no bias, activation or residual: use kiln_binary() and kiln_unary() on an fp32 result");
	if (whole && mm->k > MAX_WHOLE_K)
		return kiln_error(-EINVAL, "matmul: k is %u, of int8 at most %u", mm->k, MAX_WHOLE_K);
	return 0;
}

/* How one matrix lies: what a caller said, and fills in. */
struct layout {
	const char *name;
	uint32_t rows, cols, bytes;
	uint64_t addr;
	uint32_t *ld;
	uint64_t *stride, *outer;
	bool shared, outer_shared, output;
};

/* The stride over count of what takes extent elements; dense: what it is if it is not said. */
static int check_stride(const struct layout *l, const char *what, uint32_t count, bool shared,
			uint64_t extent, uint64_t dense, uint64_t *stride)
{
	if (count == 1 || shared)
		*stride = 0;
	else if (!*stride)
		*stride = dense;
	else if (l->output && *stride < extent)
		return kiln_error(-EINVAL, "matmul: %s_%s is %llu, but that takes %llu elements",
				  what, l->name, (unsigned long long)*stride,
				  (unsigned long long)extent);
	else if (*stride > UINT64_MAX >> 24)
		return kiln_error(-EINVAL, "matmul: %s_%s is too large", what, l->name);
	return 0;
}

/* Leading dimension, strides and address of one matrix: fill in and check. */
static int check_matrix(const struct kiln_matmul *mm, const struct layout *l)
{
	uint64_t extent;
	int err;

	if (!*l->ld)
		*l->ld = l->cols;
	if (*l->ld < l->cols)
		return kiln_error(-EINVAL, "matmul: ld%s is %u, less than a row of %u elements",
				  l->name, *l->ld, l->cols);
	if (*l->ld > INT32_MAX)
		return kiln_error(-EINVAL, "matmul: ld%s is %u, at most 2147483647", l->name, *l->ld);
	if (!l->addr || l->addr % l->bytes)
		return kiln_error(-EINVAL, "matmul: %s is at 0x%llx: a device address, aligned to %u bytes",
				  l->name, (unsigned long long)l->addr, l->bytes);
	extent = (uint64_t)(l->rows - 1) * *l->ld + l->cols;
	err = check_stride(l, "stride", mm->batch, l->shared, extent, (uint64_t)l->rows * *l->ld,
			   l->stride);
	if (err)
		return err;
	if (__builtin_mul_overflow(mm->batch - 1, *l->stride, &extent) ||
	    __builtin_add_overflow(extent, (uint64_t)l->rows * *l->ld, &extent) ||
	    extent > UINT64_MAX >> 24)
		return kiln_error(-EINVAL, "matmul: stride_%s is too large", l->name);
	return check_stride(l, "outer", mm->outer, l->outer_shared, extent, extent, l->outer);
}

/* Matrices behind c: *first becomes its own columns. */
static int check_more(const struct kiln_matmul *mm, uint32_t bytes, uint32_t *first)
{
	uint32_t most = (mm->m == 1 && !mm->trans_b ? 8 : 6) * BANK_COLS;
	unsigned int i;

	if (!mm->more[0].n && !mm->more[1].n)
		return 0;
	if (mm->m > PART || mm->n > most || mm->batch > 1 || mm->outer > 1 || mm->residual)
		return kiln_error(-ENOTSUP, "matmul: results in several places of %u x %u, batch %u%s: one product of up to 128 rows and %u columns, without residual",
				  mm->m, mm->n, mm->batch, mm->residual ? " with residual" : "", most);
	if (!mm->more[0].n || (uint64_t)mm->more[0].n + mm->more[1].n >= mm->n)
		return kiln_error(-EINVAL, "matmul: %u and %u of %u columns elsewhere: some in the first place, less than all",
				  mm->more[0].n, mm->more[1].n, mm->n);
	for (i = 0; i < 2; i++) {
		if (mm->more[i].c % bytes || (mm->more[i].n && !mm->more[i].c))
			return kiln_error(-EINVAL, "matmul: more[%u] is at 0x%llx: a device address, aligned to %u bytes",
					  i, (unsigned long long)mm->more[i].c, bytes);
		*first -= mm->more[i].n;
	}
	return 0;
}

int kiln_matmul(struct kiln_ops *ops, const struct kiln_matmul *matmul,
		kiln_done_fn done, void *user)
{
	struct kiln_matmul mm;
	struct kiln_ops_key key;
	enum kiln_activation act;
	uint64_t args[7];
	uint32_t in, out, beta_bits, first;
	int err;

	if (!ops || !matmul)
		return kiln_error(-EINVAL, "matmul: no ops or no description");
	mm = *matmul;
	err = check_types(&mm);
	if (err)
		return err;
	if (!mm.m || !mm.n || !mm.k)
		return kiln_error(-EINVAL, "matmul: m %u, n %u, k %u: each at least 1", mm.m, mm.n,
				  mm.k);
	if (mm.m > INT32_MAX || mm.n > INT32_MAX || mm.k > INT32_MAX)
		return kiln_error(-EINVAL, "matmul: m %u, n %u, k %u: each at most 2147483647",
				  mm.m, mm.n, mm.k);
	if (!mm.batch)
		mm.batch = 1;
	if (!mm.outer)
		mm.outer = 1;
	if (!mm.residual)
		mm.beta = 0;
	else if (!mm.beta)
		mm.beta = 1;

	in = type_size(mm.type);
	out = type_size(mm.out_type);
	first = mm.n;
	err = check_more(&mm, out, &first);
	if (err)
		return err;
	err = check_matrix(&mm, &(struct layout) {
		"a", mm.trans_a ? mm.k : mm.m, mm.trans_a ? mm.m : mm.k, in, mm.a, &mm.lda,
		&mm.stride_a, &mm.outer_a, mm.share_a, mm.outer_share_a, false });
	if (!err)
		err = check_matrix(&mm, &(struct layout) {
			"b", mm.trans_b ? mm.n : mm.k, mm.trans_b ? mm.k : mm.n, in, mm.b,
			&mm.ldb, &mm.stride_b, &mm.outer_b, mm.share_b, mm.outer_share_b, false });
	if (!err)
		err = check_matrix(&mm, &(struct layout) {
			"c", mm.m, first, out, mm.c, &mm.ldc, &mm.stride_c, &mm.outer_c, false,
			false, true });
	if (!err && mm.activation)
		err = kiln_ops_activation("matmul", mm.activation, &act);
	if (!err && mm.bias % type_size(bias_type(&mm)))
		err = kiln_error(-EINVAL, "matmul: bias is at 0x%llx: a device address, aligned to %u bytes",
				 (unsigned long long)mm.bias, type_size(bias_type(&mm)));
	if (!err && mm.residual % out)
		err = kiln_error(-EINVAL, "matmul: residual is at 0x%llx: a device address, aligned to %u bytes",
				 (unsigned long long)mm.residual, out);
	if (!err && !isfinite(mm.beta))
		err = kiln_error(-EINVAL, "matmul: beta is %g: finite, or 0 for 1", mm.beta);
	if (err)
		return err;

	if (mm.m == 1 && !mm.trans_a) {		/* a row that is read as a column needs no transposing */
		mm.trans_a = true;
		mm.lda = 1;
	}
	args[0] = mm.a;
	args[1] = mm.b;
	args[2] = mm.c;
	args[3] = mm.bias;
	args[4] = mm.residual - mm.c;
	args[5] = mm.more[0].c - mm.c;
	args[6] = mm.more[1].c - mm.c;
	memcpy(&beta_bits, &mm.beta, sizeof(beta_bits));
	key = (struct kiln_ops_key) { .word = {
		KILN_OPS_MATMUL | (uint64_t)mm.type << 8 | (uint64_t)mm.out_type << 16 |
			(uint64_t)mm.trans_a << 24 | (uint64_t)mm.trans_b << 25 |
			(uint64_t)!!mm.bias << 26 | (uint64_t)!!mm.residual << 27 |
			(uint64_t)mm.activation << 32 | (uint64_t)mm.b_type << 40,
		mm.m, mm.n, mm.k, mm.batch, mm.lda, mm.ldb, mm.ldc,
		mm.stride_a, mm.stride_b, mm.stride_c,
		mm.outer, mm.outer_a, mm.outer_b, mm.outer_c, beta_bits,
		mm.more[0].n | (uint64_t)mm.more[1].n << 32,
	} };
	return kiln_ops_run(ops, &key, "matmul", make_matmul, &mm, args, mm.more[0].n ? 7 : 5, done,
			    user);
}
