// SPDX-License-Identifier: MIT
/*
 * Device time against what was measured on the chips.
 *
 *	time [-o DIR] [NAME...]
 *
 * Each row of the table is a published measurement and a program with the
 * schedule that was published with it: the same instructions on the same
 * engines, tiles, loop order, buffers. They are run for their time alone (see
 * kiln_core_time_only()), so a tile has the shape and the steps that it would
 * have, and all tiles of a kind lie in one place. What orders them is as it has
 * to be: a load waits for its buffer, a matmul for its tiles and its bank, an
 * eviction for the last matmul.
 *
 * Only the rows that have a NAME in theirs; DIR: time.json is written there.
 * docs/time.md says where the figures and the schedules come from.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <time.h>

/* A struct of the engine's own, beside the one of kiln_ops.h. */
#define kiln_matmul engine_matmul
#include "unit/engine.h"
#undef kiln_matmul

#include <kiln.h>
#include <kiln_asm.h>
#include <kiln_ops.h>

/* ---------------------------------------------------------------- programs -- */

static struct kiln_asm *as;
static unsigned int next_sem;

/* Buffers that one side fills and the other empties, in turns. */
struct pipe {
	unsigned int full, empty;
};

static struct pipe pipe_make(enum kiln_engine consumer, unsigned int depth)
{
	struct pipe p = { next_sem, next_sem + 1 };

	next_sem += 2;
	for (; depth; depth -= depth < 255 ? depth : 255) {
		kiln_asm_nop(as, consumer);
		kiln_asm_post(as, consumer, p.empty, depth < 255 ? depth : 255);
	}
	return p;
}

static void fill(enum kiln_engine engine, struct pipe p)
{
	kiln_asm_wait(as, engine, p.empty, 1);
}

static void filled(enum kiln_engine engine, struct pipe p)
{
	kiln_asm_post(as, engine, p.full, 1);
}

static void use(enum kiln_engine engine, struct pipe p)
{
	kiln_asm_wait(as, engine, p.full, 1);
}

static void used(enum kiln_engine engine, struct pipe p)
{
	kiln_asm_post(as, engine, p.empty, 1);
}

/* Where an instruction has no room for another wait or post. */
static void nop_fill(enum kiln_engine engine, struct pipe p)
{
	fill(engine, p);
	kiln_asm_nop(as, engine);
}

static void nop_filled(enum kiln_engine engine, struct pipe p)
{
	kiln_asm_nop(as, engine);
	filled(engine, p);
}

static void nop_used(enum kiln_engine engine, struct pipe p)
{
	kiln_asm_nop(as, engine);
	used(engine, p);
}

static void nop_use(enum kiln_engine engine, struct pipe p)
{
	use(engine, p);
	kiln_asm_nop(as, engine);
}

static struct kiln_operand sbuf(enum kiln_dtype dtype, unsigned int partitions, unsigned int n)
{
	return kiln_tile1(KILN_SBUF, dtype, 0, partitions, 0, n);
}

static struct kiln_operand psum(enum kiln_dtype dtype, unsigned int partitions, unsigned int n)
{
	return kiln_tile1(KILN_PSUM, dtype, 0, partitions, 0, n);
}

/* Rows of n elements that are contiguous in a matrix. */
static void load(unsigned int ring, struct pipe p, enum kiln_dtype dtype,
		 unsigned int partitions, unsigned int n)
{
	fill(KILN_SYNC, p);
	kiln_asm_dma(as, KILN_SYNC, ring, sbuf(dtype, partitions, n), kiln_dram(1, 0, 16384, 1));
	filled(KILN_SYNC, p);
}

static void store(enum kiln_engine engine, unsigned int ring, struct pipe p,
		  enum kiln_dtype dtype, unsigned int partitions, unsigned int n)
{
	use(engine, p);
	kiln_asm_dma(as, engine, ring, kiln_dram(1, 0, 16384, 1), sbuf(dtype, partitions, n));
	used(engine, p);
}

enum { RING_LHS, RING_RHS, RING_OUT, RING_MORE };

#define TILE	128	/* rows of a product, and of its contraction */
#define WIDE	512	/* columns */

struct shape {
	enum kiln_dtype dtype;
	unsigned int m, k, n;
};

/* One bank of a product to SBUF on its way out: the whole tile, or one of so many next to one another. */
static void evict(enum kiln_engine engine, struct pipe banks, struct pipe out,
		  enum kiln_dtype dtype)
{
	use(engine, banks);
	fill(engine, out);
	kiln_asm_tensor_copy(as, engine, sbuf(dtype, TILE, WIDE), psum(KILN_F32, TILE, WIDE));
	used(engine, banks);
	filled(engine, out);
}

static void stationary(enum kiln_dtype dtype)
{
	kiln_asm_load_stationary(as, sbuf(dtype, TILE, TILE));
}

static void matmul(enum kiln_dtype dtype, unsigned int n, bool accumulate)
{
	kiln_asm_matmul(as, psum(KILN_F32, TILE, n), sbuf(dtype, TILE, n), accumulate);
}

/* nki_matmul_tiled_: both tiles are loaded for each matmul. */
static void mm_tiled(const void *arg)
{
	const struct shape *s = arg;
	struct pipe lhs = pipe_make(KILN_TENSOR, 4), rhs = pipe_make(KILN_TENSOR, 4);
	struct pipe banks = pipe_make(KILN_VECTOR, 2), out = pipe_make(KILN_SYNC, 2);
	unsigned int tiles = s->k / TILE;

	kiln_asm_loop(as, s->m / TILE * (s->n / WIDE));
	for (unsigned int k = 0; k < tiles; k++) {
		load(RING_LHS, lhs, s->dtype, TILE, TILE);
		load(RING_RHS, rhs, s->dtype, TILE, WIDE);
		use(KILN_TENSOR, lhs);
		stationary(s->dtype);
		use(KILN_TENSOR, rhs);
		if (!k)
			fill(KILN_TENSOR, banks);
		matmul(s->dtype, WIDE, k);
		used(KILN_TENSOR, lhs);
		used(KILN_TENSOR, rhs);
	}
	nop_filled(KILN_TENSOR, banks);
	evict(KILN_VECTOR, banks, out, s->dtype);
	store(KILN_SCALAR, RING_OUT, out, s->dtype, TILE, WIDE);
	kiln_asm_loop_end(as);
}

/* The columns of one row of blocks: lhs stays, rhs comes strip by strip. */
static void hoisted_strip(const struct shape *s, struct pipe lhs, struct pipe rhs,
			  struct pipe banks, struct pipe out, bool first, bool last)
{
	for (unsigned int k = 0; k < s->k / TILE; k++) {
		load(RING_RHS, rhs, s->dtype, TILE, WIDE);
		if (first)
			use(KILN_TENSOR, lhs);
		stationary(s->dtype);
		use(KILN_TENSOR, rhs);
		if (!k)
			fill(KILN_TENSOR, banks);
		matmul(s->dtype, WIDE, k);
		used(KILN_TENSOR, rhs);
		if (last)
			used(KILN_TENSOR, lhs);
	}
	nop_filled(KILN_TENSOR, banks);
	evict(KILN_VECTOR, banks, out, s->dtype);
	store(KILN_SCALAR, RING_OUT, out, s->dtype, TILE, WIDE);
}

/*
 * nki_matmul_hoist_load_: a strip of lhs for each m, one of rhs for each n. Also
 * nki_matmul_block_free_dimension_ in fp32, of which two strips of rhs are more
 * than SBUF has, so they come again for each m.
 */
static void mm_hoisted(const void *arg)
{
	const struct shape *s = arg;
	unsigned int tiles = s->k / TILE, strip = tiles * WIDE * kiln_dtype_bytes(s->dtype);
	struct pipe lhs = pipe_make(KILN_TENSOR, 2 * tiles);
	struct pipe rhs = pipe_make(KILN_TENSOR, strip > 65536 ? tiles : 2 * tiles);
	struct pipe banks = pipe_make(KILN_VECTOR, 2), out = pipe_make(KILN_SYNC, 2);

	kiln_asm_loop(as, s->m / TILE);
	for (unsigned int k = 0; k < tiles; k++)
		load(RING_LHS, lhs, s->dtype, TILE, TILE);
	hoisted_strip(s, lhs, rhs, banks, out, true, false);
	kiln_asm_loop(as, s->n / WIDE - 2);
	hoisted_strip(s, lhs, rhs, banks, out, false, false);
	kiln_asm_loop_end(as);
	hoisted_strip(s, lhs, rhs, banks, out, false, true);
	kiln_asm_loop_end(as);
}

/* nki_matmul_block_free_dimension_: two strips of each, so each tile serves two. */
static void blocked_pair(const struct shape *s, struct pipe lhs, struct pipe rhs,
			 struct pipe banks, struct pipe out, bool first, bool last)
{
	unsigned int tiles = s->k / TILE;

	for (unsigned int bn = 0; bn < 2; bn++) {
		for (unsigned int k = 0; k < tiles; k++)
			load(RING_RHS, rhs, s->dtype, TILE, WIDE);
		for (unsigned int bm = 0; bm < 2; bm++) {
			for (unsigned int k = 0; k < tiles; k++) {
				if (first && !bn)
					use(KILN_TENSOR, lhs);
				stationary(s->dtype);
				if (!bm)
					use(KILN_TENSOR, rhs);
				if (!k)
					fill(KILN_TENSOR, banks);
				matmul(s->dtype, WIDE, k);
				if (bm)
					used(KILN_TENSOR, rhs);
				if (last && bn)
					used(KILN_TENSOR, lhs);
			}
			nop_filled(KILN_TENSOR, banks);
			evict(KILN_VECTOR, banks, out, s->dtype);
			store(KILN_SCALAR, RING_OUT, out, s->dtype, TILE, WIDE);
		}
	}
}

static void mm_blocked(const void *arg)
{
	const struct shape *s = arg;
	unsigned int tiles = s->k / TILE;
	struct pipe lhs = pipe_make(KILN_TENSOR, 2 * tiles);
	struct pipe rhs = pipe_make(KILN_TENSOR, 2 * tiles);
	struct pipe banks = pipe_make(KILN_VECTOR, 2), out = pipe_make(KILN_SYNC, 2);

	kiln_asm_loop(as, s->m / (2 * TILE));
	for (unsigned int k = 0; k < 2 * tiles; k++)
		load(RING_LHS, lhs, s->dtype, TILE, TILE);
	blocked_pair(s, lhs, rhs, banks, out, true, false);
	kiln_asm_loop(as, s->n / (2 * WIDE) - 2);
	blocked_pair(s, lhs, rhs, banks, out, false, false);
	kiln_asm_loop_end(as);
	blocked_pair(s, lhs, rhs, banks, out, false, true);
	kiln_asm_loop_end(as);
}

/*
 * A block of sums in SBUF, to which the products of a block of the contraction
 * are added: nki_matmul_fully_optimized_ (16 x 2 x 8 tiles, all of M under one
 * strip of rhs) and the samples' contributed matmul (4 x 4 x 8).
 */
struct blocks {
	struct shape shape;
	unsigned int m, n, k;	/* tiles of a block */
	bool whole_m;		/* rhs serves all of M */
};

static void block_product(const struct blocks *b, struct pipe lhs, struct pipe rhs,
			  struct pipe banks, bool first_use, bool last_use)
{
	enum kiln_dtype dtype = b->shape.dtype;

	for (unsigned int k = 0; k < b->k; k++)
		load(RING_LHS, lhs, dtype, TILE, b->m * TILE);
	for (unsigned int n = 0; n < b->n; n++) {
		for (unsigned int m = 0; m < b->m; m++) {
			bool first = !n && !m, last = n == b->n - 1 && m == b->m - 1;

			for (unsigned int k = 0; k < b->k; k++) {
				if (first)
					use(KILN_TENSOR, lhs);
				stationary(dtype);
				if (first && first_use)
					use(KILN_TENSOR, rhs);
				if (!k)
					fill(KILN_TENSOR, banks);
				matmul(dtype, WIDE, k);
				if (last)
					used(KILN_TENSOR, lhs);
				if (last && last_use)
					used(KILN_TENSOR, rhs);
			}
			nop_filled(KILN_TENSOR, banks);
			use(KILN_VECTOR, banks);
			kiln_asm_tensor_tensor(as, KILN_VECTOR, sbuf(dtype, TILE, WIDE),
					       sbuf(dtype, TILE, WIDE), KILN_ALU_ADD,
					       psum(KILN_F32, TILE, WIDE));
			used(KILN_VECTOR, banks);
		}
	}
}

static void mm_blocks(const void *arg)
{
	const struct blocks *b = arg;
	const struct shape *s = &b->shape;
	enum kiln_dtype dtype = s->dtype;
	unsigned int rows = b->whole_m ? s->m / TILE : b->m;
	struct pipe lhs = pipe_make(KILN_TENSOR, 2 * b->k), rhs = pipe_make(KILN_TENSOR, 2 * b->k);
	struct pipe banks = pipe_make(KILN_VECTOR, KILN_PSUM_BANKS), out = pipe_make(KILN_SYNC, 2);

	kiln_asm_loop(as, s->n / (b->n * WIDE) * (b->whole_m ? 1 : s->m / (b->m * TILE)));
	for (unsigned int i = 0; i < rows * b->n; i++)
		kiln_asm_memset(as, KILN_VECTOR, sbuf(dtype, TILE, WIDE), 0);
	kiln_asm_loop(as, s->k / (b->k * TILE));
	for (unsigned int k = 0; k < b->k; k++)
		load(RING_RHS, rhs, dtype, TILE, b->n * WIDE);
	for (unsigned int m = 0; m < rows / b->m; m++)
		block_product(b, lhs, rhs, banks, !m, m == rows / b->m - 1);
	kiln_asm_loop_end(as);
	for (unsigned int m = 0; m < rows; m++) {
		for (unsigned int n = 0; n < b->n; n++) {
			if (!n)
				fill(KILN_VECTOR, out);
			kiln_asm_tensor_copy(as, KILN_VECTOR, sbuf(dtype, TILE, WIDE),
					     sbuf(dtype, TILE, WIDE));
		}
		filled(KILN_VECTOR, out);
		store(KILN_SCALAR, RING_OUT, out, dtype, TILE, b->n * WIDE);
	}
	kiln_asm_loop_end(as);
}

/* 2048^3 one thing after the other: the strips of a tile of C, its products, its way out. */
static void mm_single(const void *arg)
{
	const struct shape *s = arg;
	unsigned int tiles = s->k / TILE;
	struct pipe step = pipe_make(KILN_SYNC, 1);	/* the one set of buffers */
	struct pipe in = pipe_make(KILN_TENSOR, 2 * tiles);
	struct pipe bank = pipe_make(KILN_VECTOR, 1), out = pipe_make(KILN_SCALAR, 1);

	kiln_asm_loop(as, s->m / TILE * (s->n / WIDE));
	nop_fill(KILN_SYNC, step);
	for (unsigned int k = 0; k < tiles; k++) {
		load(RING_LHS, in, s->dtype, TILE, TILE);
		load(RING_RHS, in, s->dtype, TILE, WIDE);
	}
	for (unsigned int k = 0; k < 2 * tiles; k++)
		nop_use(KILN_TENSOR, in);
	for (unsigned int k = 0; k < tiles; k++) {
		stationary(s->dtype);
		if (!k)
			fill(KILN_TENSOR, bank);
		matmul(s->dtype, WIDE, k);
		used(KILN_TENSOR, in);
		used(KILN_TENSOR, in);
	}
	nop_filled(KILN_TENSOR, bank);
	evict(KILN_VECTOR, bank, out, s->dtype);
	use(KILN_SCALAR, out);
	kiln_asm_dma(as, KILN_SCALAR, RING_OUT, kiln_dram(1, 0, 16384, 1),
		     sbuf(s->dtype, TILE, WIDE));
	used(KILN_SCALAR, out);
	used(KILN_SCALAR, step);
	kiln_asm_loop_end(as);
}

/* 2048^3 with both matrices in SBUF first, as many banks, or as they come. */
struct resident {
	struct shape shape;
	unsigned int banks;
	bool stream;
};

static void mm_resident(const void *arg)
{
	const struct resident *r = arg;
	const struct shape *s = &r->shape;
	unsigned int tiles = s->k / TILE;
	struct pipe lhs = pipe_make(KILN_TENSOR, 255), rhs = pipe_make(KILN_TENSOR, 255);
	struct pipe banks = pipe_make(KILN_VECTOR, r->banks), out = pipe_make(KILN_SYNC, 4);

	/* Whole rows, or what the first tiles of C want first. */
	for (unsigned int block = 0; block < (r->stream ? s->m / WIDE : 1); block++) {
		for (unsigned int k = 0; k < tiles; k++) {
			load(RING_LHS, lhs, s->dtype, TILE, r->stream ? WIDE : s->m);
			if (!block)
				load(RING_RHS, rhs, s->dtype, TILE, r->stream ? WIDE : s->n);
		}
	}
	for (unsigned int block = 1; r->stream && block < s->n / WIDE; block++)
		for (unsigned int k = 0; k < tiles; k++)
			load(RING_RHS, rhs, s->dtype, TILE, WIDE);
	if (!r->stream) {
		for (unsigned int k = 0; k < tiles; k++) {
			nop_use(KILN_TENSOR, lhs);
			nop_use(KILN_TENSOR, rhs);
		}
	}
	for (unsigned int n = 0; n < s->n / WIDE; n++) {
		for (unsigned int m = 0; m < s->m / TILE; m++) {
			for (unsigned int k = 0; k < tiles; k++) {
				if (r->stream && !(m % (WIDE / TILE)) && !n)
					use(KILN_TENSOR, lhs);
				stationary(s->dtype);
				if (r->stream && !m)
					use(KILN_TENSOR, rhs);
				if (!k)
					fill(KILN_TENSOR, banks);
				matmul(s->dtype, WIDE, k);
			}
			nop_filled(KILN_TENSOR, banks);
			evict(KILN_VECTOR, banks, out, s->dtype);
			store(KILN_SCALAR, RING_OUT, out, s->dtype, TILE, WIDE);
		}
	}
}

/* A [128, 8 * 128] tile of fp32 turned over by the array, through PSUM and Scalar. */
static void turn_over(struct pipe in, struct pipe banks, struct pipe turned)
{
	for (unsigned int i = 0; i < 8; i++) {
		if (!i)
			use(KILN_TENSOR, in);
		stationary(KILN_F32);
		fill(KILN_TENSOR, banks);
		matmul(KILN_F32, TILE, false);
		filled(KILN_TENSOR, banks);
		use(KILN_SCALAR, banks);
		fill(KILN_SCALAR, turned);
		kiln_asm_tensor_copy(as, KILN_SCALAR, sbuf(KILN_F32, TILE, TILE),
				     psum(KILN_F32, TILE, TILE));
		used(KILN_SCALAR, banks);
		filled(KILN_SCALAR, turned);
	}
	nop_used(KILN_TENSOR, in);
}

/* NKIBench matmul: rhs comes again for each 128 rows of lhs, which the array turns over. */
static void mm_turned(const void *arg)
{
	const struct shape *s = arg;
	unsigned int tiles = s->k / TILE;
	struct pipe lhs = pipe_make(KILN_TENSOR, 4), turned = pipe_make(KILN_TENSOR, 2 * tiles);
	struct pipe small = pipe_make(KILN_SCALAR, 4), banks = pipe_make(KILN_SCALAR, 4);
	struct pipe rhs = pipe_make(KILN_TENSOR, tiles), out = pipe_make(KILN_SYNC, 4);

	kiln_asm_loop(as, s->n / (2 * WIDE) * (s->m / TILE));
	for (unsigned int k = 0; k < tiles; k += 8) {
		load(RING_LHS, lhs, KILN_F32, TILE, 8 * TILE);
		turn_over(lhs, small, turned);
	}
	for (unsigned int k = 0; k < tiles; k++)
		load(RING_RHS, rhs, KILN_F32, TILE, 2 * WIDE);
	for (unsigned int half = 0; half < 2; half++) {
		for (unsigned int k = 0; k < tiles; k++) {
			if (!half)
				use(KILN_TENSOR, turned);
			stationary(KILN_F32);
			if (!half)
				use(KILN_TENSOR, rhs);
			if (!k)
				fill(KILN_TENSOR, banks);
			matmul(KILN_F32, WIDE, k);
			if (half) {
				used(KILN_TENSOR, rhs);
				used(KILN_TENSOR, turned);
			}
		}
		nop_filled(KILN_TENSOR, banks);
	}
	evict(KILN_SCALAR, banks, out, KILN_F32);
	evict(KILN_SCALAR, banks, out, KILN_F32);
	nop_use(KILN_GPSIMD, out);
	store(KILN_GPSIMD, RING_OUT, out, KILN_F32, TILE, 2 * WIDE);
	nop_used(KILN_GPSIMD, out);
	kiln_asm_loop_end(as);
}

/* One of swiglu's two products: x turned over for each block of 1024 columns of w. */
static void gate_or_up(struct pipe w, struct pipe x, struct pipe small, struct pipe turned,
		       struct pipe banks, struct pipe out, bool up)
{
	kiln_asm_loop(as, 3);
	for (unsigned int k = 0; k < 8; k++)
		load(RING_RHS, w, KILN_F32, TILE, 1024);
	for (unsigned int k = 0; k < 8; k++)
		nop_use(KILN_TENSOR, w);
	kiln_asm_loop(as, 8);
	for (unsigned int i = 0; i < 4; i++) {
		load(RING_LHS, x, KILN_F32, TILE, 1024);
		turn_over(x, small, turned);
	}
	for (unsigned int i = 0; i < 32; i++)
		nop_use(KILN_TENSOR, turned);
	for (unsigned int m = 0; m < 8; m++) {
		for (unsigned int k = 0; k < 8; k++) {
			stationary(KILN_F32);
			if (!k)
				fill(KILN_TENSOR, banks);
			matmul(KILN_F32, WIDE, k);
		}
		filled(KILN_TENSOR, banks);
		if (!up) {
			use(KILN_SCALAR, banks);
			kiln_asm_tensor_copy(as, KILN_SCALAR, sbuf(KILN_F32, TILE, WIDE),
					     psum(KILN_F32, TILE, WIDE));
			used(KILN_SCALAR, banks);
			continue;
		}
		fill(KILN_SCALAR, out);
		kiln_asm_activation(as, sbuf(KILN_F32, TILE, WIDE), KILN_ACT_EXP,
				    sbuf(KILN_F32, TILE, WIDE), kiln_const(-1), kiln_const(0),
				    NULL);
		kiln_asm_post(as, KILN_SCALAR, next_sem, 1);
		kiln_asm_wait(as, KILN_VECTOR, next_sem, 1);
		kiln_asm_tensor_scalar(as, KILN_VECTOR, sbuf(KILN_F32, TILE, WIDE),
				       sbuf(KILN_F32, TILE, WIDE), KILN_ALU_ADD, kiln_const(1),
				       KILN_ALU_BYPASS, kiln_const(0), 0);
		kiln_asm_reciprocal(as, sbuf(KILN_F32, TILE, WIDE), sbuf(KILN_F32, TILE, WIDE));
		kiln_asm_tensor_tensor(as, KILN_VECTOR, sbuf(KILN_F32, TILE, WIDE),
				       sbuf(KILN_F32, TILE, WIDE), KILN_ALU_MULTIPLY,
				       sbuf(KILN_F32, TILE, WIDE));
		use(KILN_VECTOR, banks);
		kiln_asm_tensor_tensor(as, KILN_VECTOR, sbuf(KILN_F32, TILE, WIDE),
				       sbuf(KILN_F32, TILE, WIDE), KILN_ALU_MULTIPLY,
				       psum(KILN_F32, TILE, WIDE));
		used(KILN_VECTOR, banks);
		filled(KILN_VECTOR, out);
		store(KILN_GPSIMD, RING_OUT, out, KILN_F32, TILE, WIDE);
	}
	for (unsigned int i = 0; i < 32; i++)
		nop_used(KILN_TENSOR, turned);
	kiln_asm_loop_end(as);
	for (unsigned int k = 0; k < 8; k++)
		nop_used(KILN_TENSOR, w);
	kiln_asm_loop_end(as);
}

/* NKIBench swiglu, 4096 x 1024 x 3072: gate, up and what is between them, then down. */
static void swiglu(const void *arg)
{
	struct pipe w = pipe_make(KILN_TENSOR, 8), x = pipe_make(KILN_TENSOR, 4);
	struct pipe small = pipe_make(KILN_SCALAR, 4), turned = pipe_make(KILN_TENSOR, 64);
	struct pipe gate = pipe_make(KILN_SCALAR, 2), up = pipe_make(KILN_VECTOR, 2);
	struct pipe out = pipe_make(KILN_SYNC, 4), down = pipe_make(KILN_TENSOR, 48);
	struct pipe w_down = pipe_make(KILN_TENSOR, 24), banks = pipe_make(KILN_SCALAR, 2);
	struct pipe spilled = { next_sem, next_sem + 1 };

	(void)arg;
	next_sem += 2;
	gate_or_up(w, x, small, turned, gate, out, false);
	gate_or_up(w, x, small, turned, up, out, true);
	nop_filled(KILN_GPSIMD, spilled);
	nop_use(KILN_SYNC, spilled);
	for (unsigned int i = 0; i < 24; i++)
		load(RING_RHS, w_down, KILN_F32, TILE, 1024);
	for (unsigned int i = 0; i < 24; i++)
		nop_use(KILN_TENSOR, w_down);
	kiln_asm_loop(as, 8);
	for (unsigned int k = 0; k < 24; k++)
		load(RING_LHS, down, KILN_F32, TILE, WIDE);
	for (unsigned int k = 0; k < 24; k++)
		nop_use(KILN_TENSOR, down);
	for (unsigned int i = 0; i < 8; i++) {
		for (unsigned int k = 0; k < 24; k++) {
			stationary(KILN_F32);
			if (!k)
				fill(KILN_TENSOR, banks);
			matmul(KILN_F32, WIDE, k);
		}
		filled(KILN_TENSOR, banks);
		evict(KILN_SCALAR, banks, out, KILN_F32);
		store(KILN_GPSIMD, RING_MORE, out, KILN_F32, TILE, WIDE);
	}
	for (unsigned int k = 0; k < 24; k++)
		nop_used(KILN_TENSOR, down);
	kiln_asm_loop_end(as);
}

/* NKIBench rope: 512 columns at a time; the halves lie on partitions of their own. */
static void rope(const void *arg)
{
	const enum kiln_engine v = KILN_VECTOR;
	struct kiln_operand half = sbuf(KILN_F32, 64, WIDE);
	struct pipe x = pipe_make(v, 1), table = pipe_make(v, 2), out = pipe_make(KILN_SYNC, 1);
	unsigned int moved = next_sem++;

	(void)arg;
	kiln_asm_loop(as, 64 * 4096 / WIDE);
	load(RING_LHS, x, KILN_F32, 128, WIDE);
	load(RING_RHS, table, KILN_F32, 64, WIDE);
	load(RING_RHS, table, KILN_F32, 64, WIDE);
	use(KILN_SCALAR, x);
	kiln_asm_tensor_copy(as, KILN_SCALAR, half, half);
	kiln_asm_post(as, KILN_SCALAR, moved, 1);
	nop_use(v, table);
	nop_use(v, table);
	kiln_asm_wait(as, v, moved, 1);
	for (unsigned int i = 0; i < 4; i++)
		kiln_asm_tensor_tensor(as, v, half, half, KILN_ALU_MULTIPLY, half);
	used(v, x);
	used(v, table);
	nop_used(v, table);
	fill(v, out);
	kiln_asm_tensor_tensor(as, v, half, half, KILN_ALU_SUBTRACT, half);
	kiln_asm_tensor_tensor(as, v, half, half, KILN_ALU_ADD, half);
	filled(v, out);
	store(KILN_GPSIMD, RING_OUT, out, KILN_F32, 128, WIDE);
	kiln_asm_loop_end(as);
}

/* NKIBench transpose_matmul: all rows of A^T that 1024 rows of C want, B in strips of 1024 columns. */
static void transpose_strip(struct pipe rhs, struct pipe banks, struct pipe out, unsigned int n)
{
	for (unsigned int k = 0; k < 16; k++)
		load(RING_RHS, rhs, KILN_F32, TILE, n);
	for (unsigned int i = 0; i < 8; i++) {
		for (unsigned int from = 0; from < n; from += WIDE) {
			unsigned int w = n - from < WIDE ? n - from : WIDE;

			for (unsigned int k = 0; k < 16; k++) {
				stationary(KILN_F32);
				if (!i && !from)
					use(KILN_TENSOR, rhs);
				if (!k)
					fill(KILN_TENSOR, banks);
				matmul(KILN_F32, w, k);
			}
			filled(KILN_TENSOR, banks);
			use(KILN_SCALAR, banks);
			if (!from)
				fill(KILN_SCALAR, out);
			kiln_asm_tensor_copy(as, KILN_SCALAR, sbuf(KILN_F32, TILE, w),
					     psum(KILN_F32, TILE, w));
			used(KILN_SCALAR, banks);
		}
		filled(KILN_SCALAR, out);
		store(KILN_GPSIMD, RING_OUT, out, KILN_F32, TILE, n);
	}
	for (unsigned int k = 0; k < 16; k++)
		nop_used(KILN_TENSOR, rhs);
}

static void transpose_matmul(const void *arg)
{
	struct pipe lhs = pipe_make(KILN_TENSOR, 16), rhs = pipe_make(KILN_TENSOR, 24);
	struct pipe banks = pipe_make(KILN_SCALAR, 2), out = pipe_make(KILN_GPSIMD, 2);

	(void)arg;
	kiln_asm_loop(as, 4);
	for (unsigned int k = 0; k < 16; k++)
		load(RING_LHS, lhs, KILN_F32, TILE, 8 * TILE);
	for (unsigned int k = 0; k < 16; k++)
		nop_use(KILN_TENSOR, lhs);
	kiln_asm_loop(as, 10);
	transpose_strip(rhs, banks, out, 1024);
	kiln_asm_loop_end(as);
	transpose_strip(rhs, banks, out, 10944 - 10 * 1024);
	for (unsigned int k = 0; k < 16; k++)
		nop_used(KILN_TENSOR, lhs);
	kiln_asm_loop_end(as);
}

/*
 * NKIBench bmm, 16 of 4096 x 64 x 4096: a matrix turned over once, then 1024 columns of the
 * other one at a time.
 */
static void bmm(const void *arg)
{
	struct pipe lhs = pipe_make(KILN_TENSOR, 4), small = pipe_make(KILN_SCALAR, 2);
	struct pipe turned = pipe_make(KILN_TENSOR, 64), rhs = pipe_make(KILN_TENSOR, 2);
	struct pipe banks = pipe_make(KILN_SCALAR, 2), out = pipe_make(KILN_GPSIMD, 2);

	(void)arg;
	kiln_asm_loop(as, 16);
	for (unsigned int i = 0; i < 32; i++) {
		load(RING_LHS, lhs, KILN_F32, TILE, 64);
		use(KILN_TENSOR, lhs);
		kiln_asm_load_stationary(as, sbuf(KILN_F32, TILE, 64));
		fill(KILN_TENSOR, small);
		kiln_asm_matmul(as, psum(KILN_F32, 64, TILE), sbuf(KILN_F32, TILE, TILE), false);
		filled(KILN_TENSOR, small);
		used(KILN_TENSOR, lhs);
		use(KILN_SCALAR, small);
		fill(KILN_SCALAR, turned);
		kiln_asm_tensor_copy(as, KILN_SCALAR, sbuf(KILN_F32, 64, TILE), psum(KILN_F32, 64, TILE));
		used(KILN_SCALAR, small);
		filled(KILN_SCALAR, turned);
	}
	for (unsigned int i = 0; i < 32; i++)
		nop_use(KILN_TENSOR, turned);
	kiln_asm_loop(as, 4);
	load(RING_RHS, rhs, KILN_F32, 64, 1024);
	nop_use(KILN_TENSOR, rhs);
	for (unsigned int i = 0; i < 32; i++) {
		for (unsigned int half = 0; half < 2; half++) {
			kiln_asm_load_stationary(as, sbuf(KILN_F32, 64, TILE));
			fill(KILN_TENSOR, banks);
			kiln_asm_matmul(as, psum(KILN_F32, TILE, WIDE), sbuf(KILN_F32, 64, WIDE), false);
			filled(KILN_TENSOR, banks);
			use(KILN_SCALAR, banks);
			if (!half)
				fill(KILN_SCALAR, out);
			kiln_asm_tensor_copy(as, KILN_SCALAR, sbuf(KILN_F32, TILE, WIDE),
					     psum(KILN_F32, TILE, WIDE));
			used(KILN_SCALAR, banks);
		}
		filled(KILN_SCALAR, out);
		store(KILN_GPSIMD, RING_OUT, out, KILN_F32, TILE, 1024);
	}
	nop_used(KILN_TENSOR, rhs);
	kiln_asm_loop_end(as);
	for (unsigned int i = 0; i < 32; i++)
		nop_used(KILN_TENSOR, turned);
	kiln_asm_loop_end(as);
}

/* NKIBench silu, 4096 x 7168: 1024 columns at a time, in halves. */
static void silu(const void *arg)
{
	const struct kiln_operand half = sbuf(KILN_F32, TILE, WIDE);
	struct pipe x = pipe_make(KILN_VECTOR, 2), e = pipe_make(KILN_VECTOR, 2);
	struct pipe loaded = { next_sem, next_sem + 1 }, out = pipe_make(KILN_SYNC, 2);

	(void)arg;
	next_sem += 2;
	kiln_asm_loop(as, 32 * 7);
	fill(KILN_SYNC, x);
	kiln_asm_dma(as, KILN_SYNC, RING_LHS, sbuf(KILN_F32, TILE, 1024), kiln_dram(1, 0, 16384, 1));
	filled(KILN_SYNC, loaded);
	for (unsigned int i = 0; i < 2; i++) {
		if (!i)
			use(KILN_SCALAR, loaded);
		fill(KILN_SCALAR, e);
		kiln_asm_activation(as, half, KILN_ACT_EXP, half, kiln_const(-1), kiln_const(0), NULL);
		filled(KILN_SCALAR, e);
		use(KILN_VECTOR, e);
		kiln_asm_tensor_scalar(as, KILN_VECTOR, half, half, KILN_ALU_ADD, kiln_const(1),
				       KILN_ALU_BYPASS, kiln_const(0), 0);
		kiln_asm_reciprocal(as, half, half);
		if (!i)
			fill(KILN_VECTOR, out);
		kiln_asm_tensor_tensor(as, KILN_VECTOR, half, half, KILN_ALU_MULTIPLY, half);
		used(KILN_VECTOR, e);
	}
	nop_used(KILN_VECTOR, x);
	nop_filled(KILN_VECTOR, out);
	store(KILN_GPSIMD, RING_OUT, out, KILN_F32, TILE, 1024);
	kiln_asm_loop_end(as);
}

/* NKIBench adamw, 10944 x 2048: 1024 columns at a time, in halves. What has one tensor, Scalar does. */
static void adamw(const void *arg)
{
	const struct kiln_operand half = sbuf(KILN_F32, TILE, WIDE);
	struct pipe in = pipe_make(KILN_VECTOR, 8), out = pipe_make(KILN_SYNC, 2);
	struct pipe scaled = pipe_make(KILN_VECTOR, 2), root = pipe_make(KILN_VECTOR, 2);
	struct pipe v = pipe_make(KILN_SCALAR, 2), m = pipe_make(KILN_SCALAR, 2);
	struct pipe loaded = { next_sem, next_sem + 1 };

	(void)arg;
	next_sem += 2;
	kiln_asm_loop(as, 86 * 2);
	for (unsigned int i = 0; i < 4; i++) {
		fill(KILN_SYNC, in);
		kiln_asm_dma(as, KILN_SYNC, i, sbuf(KILN_F32, TILE, 1024), kiln_dram(1, 0, 16384, 1));
		filled(KILN_SYNC, loaded);
	}
	for (unsigned int i = 0; i < 2; i++) {
		/* theta * wd, m * b1, g * (1 - b1), v * b2, g * (1 - b2) */
		for (unsigned int k = 0; k < 5; k++) {
			if (!i && !k)
				kiln_asm_wait(as, KILN_SCALAR, loaded.full, 4);
			if (!k)
				fill(KILN_SCALAR, scaled);
			kiln_asm_tensor_scalar(as, KILN_SCALAR, half, half, KILN_ALU_MULTIPLY,
					       kiln_const(2), KILN_ALU_BYPASS, kiln_const(0), 0);
		}
		filled(KILN_SCALAR, scaled);
		use(KILN_VECTOR, scaled);
		kiln_asm_tensor_tensor(as, KILN_VECTOR, half, half, KILN_ALU_MULTIPLY, half);
		fill(KILN_VECTOR, v);
		kiln_asm_tensor_tensor(as, KILN_VECTOR, half, half, KILN_ALU_ADD, half);
		filled(KILN_VECTOR, v);
		kiln_asm_tensor_tensor(as, KILN_VECTOR, half, half, KILN_ALU_SUBTRACT, half);
		fill(KILN_VECTOR, m);
		kiln_asm_tensor_tensor(as, KILN_VECTOR, half, half, KILN_ALU_ADD, half);
		filled(KILN_VECTOR, m);
		used(KILN_VECTOR, scaled);
		use(KILN_SCALAR, v);
		kiln_asm_activation(as, half, KILN_ACT_SQRT, half, kiln_const(1000), kiln_const(0),
				    NULL);
		used(KILN_SCALAR, v);
		fill(KILN_SCALAR, root);
		kiln_asm_tensor_scalar(as, KILN_SCALAR, half, half, KILN_ALU_ADD, kiln_const(1e-8f),
				       KILN_ALU_BYPASS, kiln_const(0), 0);
		use(KILN_SCALAR, m);
		kiln_asm_tensor_scalar(as, KILN_SCALAR, half, half, KILN_ALU_MULTIPLY,
				       kiln_const(0.01f), KILN_ALU_BYPASS, kiln_const(0), 0);
		used(KILN_SCALAR, m);
		filled(KILN_SCALAR, root);
		use(KILN_VECTOR, root);
		kiln_asm_reciprocal(as, half, half);
		kiln_asm_tensor_tensor(as, KILN_VECTOR, half, half, KILN_ALU_MULTIPLY, half);
		used(KILN_VECTOR, root);
		if (!i)
			fill(KILN_VECTOR, out);
		kiln_asm_tensor_tensor(as, KILN_VECTOR, half, half, KILN_ALU_SUBTRACT, half);
	}
	filled(KILN_VECTOR, out);
	for (unsigned int i = 0; i < 4; i++)
		nop_used(KILN_VECTOR, in);
	store(KILN_GPSIMD, RING_OUT, out, KILN_F32, TILE, 1024);
	kiln_asm_loop_end(as);
}

/* A row of one partition to all: a matmul with ones. */
static void broadcast(struct pipe row, struct pipe banks)
{
	use(KILN_TENSOR, row);
	kiln_asm_load_stationary(as, sbuf(KILN_F32, 1, TILE));
	fill(KILN_TENSOR, banks);
	kiln_asm_matmul(as, psum(KILN_F32, TILE, WIDE), sbuf(KILN_F32, 1, WIDE), false);
	used(KILN_TENSOR, row);
	filled(KILN_TENSOR, banks);
}

/* The mamba tutorial: v1 loads delta and u for each state, v2 once for 128 channels. */
static void mamba(const void *arg)
{
	const unsigned int *version = arg;
	const enum kiln_engine v = KILN_VECTOR;
	struct kiln_operand t = sbuf(KILN_F32, TILE, WIDE), bank = psum(KILN_F32, TILE, WIDE);
	struct pipe delta = pipe_make(v, 2), u = pipe_make(v, 2), a = pipe_make(KILN_SCALAR, 2);
	struct pipe b = pipe_make(KILN_TENSOR, 2), c = pipe_make(KILN_TENSOR, 2);
	struct pipe banks = pipe_make(v, 4), decay = pipe_make(v, 2), out = pipe_make(KILN_SYNC, 2);
	unsigned int there = next_sem++;

	for (unsigned int pass = 0; pass < (*version == 1 ? 1 : 2); pass++) {
		if (*version == 2 && pass)
			break;
		kiln_asm_loop(as, *version == 1 ? 16 : 32);
		if (*version == 2) {
			load(RING_LHS, delta, KILN_F32, TILE, WIDE);
			load(RING_LHS, u, KILN_F32, TILE, WIDE);
			nop_use(v, delta);
			use(v, u);
			kiln_asm_tensor_tensor(as, v, t, t, KILN_ALU_MULTIPLY, t);
			kiln_asm_post(as, v, there, 1);
			kiln_asm_wait(as, KILN_SCALAR, there, 1);
			kiln_asm_nop(as, KILN_SCALAR);
		}
		kiln_asm_loop(as, *version == 1 ? 32 : 16);
		if (*version == 1)
			load(RING_LHS, delta, KILN_F32, TILE, WIDE);
		load(RING_MORE, a, KILN_F32, TILE, 1);
		use(KILN_SCALAR, a);
		if (*version == 1) {
			nop_use(KILN_SCALAR, delta);
			kiln_asm_post(as, KILN_SCALAR, there, 1);
		}
		fill(KILN_SCALAR, decay);
		kiln_asm_activation(as, t, KILN_ACT_EXP, t, kiln_col(KILN_SBUF, KILN_F32, 0, 0),
				    kiln_const(0), NULL);
		used(KILN_SCALAR, a);
		filled(KILN_SCALAR, decay);
		if (*version == 1)
			load(RING_LHS, u, KILN_F32, TILE, WIDE);
		load(RING_RHS, b, KILN_F32, 1, WIDE);
		broadcast(b, banks);
		if (*version == 1) {
			kiln_asm_wait(as, v, there, 1);
			use(v, u);
			kiln_asm_tensor_tensor(as, v, t, t, KILN_ALU_MULTIPLY, t);
			used(v, u);
			used(v, delta);
		}
		use(v, banks);
		kiln_asm_tensor_tensor(as, v, t, t, KILN_ALU_MULTIPLY, bank);
		used(v, banks);
		use(v, decay);
		kiln_asm_tensor_tensor_scan(as, t, t, KILN_ALU_MULTIPLY, kiln_const(0),
					    KILN_ALU_ADD, t, 0);
		used(v, decay);
		load(RING_RHS, c, KILN_F32, 1, WIDE);
		broadcast(c, banks);
		use(v, banks);
		kiln_asm_tensor_tensor(as, v, t, t, KILN_ALU_MULTIPLY, bank);
		used(v, banks);
		kiln_asm_tensor_tensor(as, v, t, t, KILN_ALU_ADD, t);
		kiln_asm_loop_end(as);
		if (*version == 2) {
			nop_used(v, delta);
			used(v, u);
			nop_filled(v, out);
			store(KILN_GPSIMD, RING_OUT, out, KILN_F32, TILE, WIDE);
			nop_fill(v, out);
		}
		kiln_asm_loop_end(as);
	}
	if (*version == 1) {
		kiln_asm_loop(as, 32);
		nop_fill(v, out);
		filled(v, out);
		store(KILN_GPSIMD, RING_OUT, out, KILN_F32, TILE, WIDE);
		kiln_asm_loop_end(as);
	}
}

/* --------------------------------------------------------- libkiln's own -- */

static void on_done(void *user, const struct kiln_result *result)
{
	*(struct kiln_result *)user = *result;
}

static void need(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "time: %s: %s\n", what, kiln_last_error());
	exit(1);
}

static struct kiln_attention causal(uint32_t heads, uint32_t tokens)
{
	return (struct kiln_attention){ .type = KILN_TYPE_BF16, .heads = heads, .kv_heads = heads,
					.seq_q = tokens, .seq_kv = tokens, .dim = 128,
					.causal = true };
}

/* Cycles of a product or an attention on trn2, on a card that only carries time. */
static double cycles_of(const struct kiln_matmul *mm, const struct kiln_attention *at)
{
	struct kiln_device *card;
	struct kiln_queue *queue;
	struct kiln_ops *ops;
	struct kiln_buffer *buffer;
	struct kiln_result r = { .res = 1 };

	need(kiln_open("sim:time=only", &card), "open");
	need(kiln_queue_create(card, NULL, &queue), "queue");
	need(kiln_ops_create(queue, &ops), "ops");
	need(kiln_alloc(card, 256 << 20, KILN_HBM, 0, &buffer), "alloc");
	if (mm) {
		struct kiln_matmul arg = *mm;

		arg.a = arg.b = arg.c = kiln_addr(buffer);
		arg.b += 64 << 20;
		arg.c += 128 << 20;
		need(kiln_matmul(ops, &arg, on_done, &r), "matmul");
	} else {
		struct kiln_attention arg = *at;

		arg.q = arg.k = arg.v = arg.out = kiln_addr(buffer);
		arg.k += 64 << 20;
		arg.v += 128 << 20;
		arg.out += 192 << 20;
		need(kiln_attention(ops, &arg, on_done, &r), "attention");
	}
	need(kiln_drain(queue), "drain");
	if (r.res) {
		fprintf(stderr, "time: the card: %s\n", strerror(-r.res));
		exit(1);
	}
	kiln_free(buffer);
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	kiln_close(card);
	return r.cycles;
}

/* -------------------------------------------------------------------- rows -- */

#define PEAK_TRN2	(2.0 * 128 * 128)	/* operations in a cycle, bf16 */

/* Half of the square's products at the peak, in ms, by the share of it that was reached. */
#define ATTENTION_MS(seq, share)	(2.0 * 128 * (seq) * (seq) / PEAK_TRN2 / 2.4e6 / (share))

#define BF16(m, k, n)	(&(const struct shape){ KILN_BF16, m, k, n })
#define F32(m, k, n)	(&(const struct shape){ KILN_F32, m, k, n })

static const struct row {
	const char *name;
	unsigned int generation;
	double published;	/* ms */
	void (*build)(const void *arg);	/* NULL: libkiln's own causal attention, of as many tokens */
	const void *arg;
	const char *busy;	/* published beside it */
} rows[] = {
	{ "matmul_f32_4096x8192x8192_naive", 2, 39.89, mm_tiled, F32(4096, 8192, 8192),
	  "PE 87.3, DMA 99.9" },
	{ "matmul_f32_4096x8192x8192_hoisted", 2, 28.20, mm_hoisted, F32(4096, 8192, 8192),
	  "PE 99.9, DMA 99.7" },
	{ "matmul_f32_4096x8192x8192_block_mn", 2, 28.41, mm_hoisted, F32(4096, 8192, 8192),
	  "PE 99.5, DMA 95.7" },
	{ "matmul_f32_4096x8192x8192_block_mnk", 2, 28.30, mm_blocks,
	  &(const struct blocks){ { KILN_F32, 4096, 8192, 8192 }, 16, 2, 8, true },
	  "PE 99.5, DMA 21.5, Vector 10.6" },
	/* of 0.2185 ms, the peak's */
	{ "matmul_bf16_2048_single", 2, 0.2185 / 0.16, mm_single, BF16(2048, 2048, 2048), "" },
	{ "matmul_bf16_2048_hoisted", 2, 0.2185 / 0.59, mm_resident,
	  &(const struct resident){ { KILN_BF16, 2048, 2048, 2048 }, 1, false }, "" },
	{ "matmul_bf16_2048_double", 2, 0.2185 / 0.837, mm_resident,
	  &(const struct resident){ { KILN_BF16, 2048, 2048, 2048 }, 2, false }, "" },
	{ "matmul_bf16_2048_stream", 2, 0.2185 / 0.895, mm_resident,
	  &(const struct resident){ { KILN_BF16, 2048, 2048, 2048 }, 2, true }, "" },
	{ "matmul_bf16_4096x8192x8192_tiled", 1, 20.99, mm_tiled, BF16(4096, 8192, 8192), "" },
	{ "matmul_bf16_4096x8192x8192_hoisted", 1, 11.8, mm_hoisted, BF16(4096, 8192, 8192), "" },
	{ "matmul_bf16_4096x8192x8192_block_mn", 1, 8.07, mm_blocked, BF16(4096, 8192, 8192), "" },
	{ "matmul_bf16_4096x8192x8192_block_mnk", 1, 7.62, mm_blocks,
	  &(const struct blocks){ { KILN_BF16, 4096, 8192, 8192 }, 16, 2, 8, true }, "" },
	{ "matmul_bf16_4096x8192x8192_contributed", 1, 6.96, mm_blocks,
	  &(const struct blocks){ { KILN_BF16, 4096, 8192, 8192 }, 4, 4, 8, false }, "" },
	{ "matmul_f32_4096x5120x12288", 1, 35.20, mm_turned, F32(4096, 5120, 12288),
	  "Scalar 6.8" },
	{ "swiglu_f32_4096x1024x3072", 1, 4.22, swiglu, NULL, "Scalar 9.3, Vector 13.5" },
	{ "rope_f32_h64_n4096_d128", 1, 4.33, rope, NULL, "Scalar 14.1, Vector 71.6" },
	/* no schedule was published with these: queries on the partitions, with a running maximum */
	{ "attention_bf16_2048_d128_causal", 2, ATTENTION_MS(2048, 0.30), NULL,
	  &(const unsigned int){ 2048 }, "" },
	{ "attention_bf16_16384_d128_causal", 2, ATTENTION_MS(16384, 0.46), NULL,
	  &(const unsigned int){ 16384 }, "" },
	{ "mamba_v1_f32_c4096_l512_s16", 1, 2.34, mamba, &(const unsigned int){ 1 }, "Vector 92" },
	{ "mamba_v2_f32_c4096_l512_s16", 1, 1.61, mamba, &(const unsigned int){ 2 }, "Vector 99.6" },
};

/* Written when the model was done, so that it meets what it was not held against before. */
static const struct row held_back[] = {
	{ "transpose_matmul_f32_4096x2048x10944", 1, 9.610, transpose_matmul, NULL, "Scalar 3.8" },
	{ "bmm_f32_b16_4096x64x4096", 1, 4.611, bmm, NULL, "Scalar 37.3" },
	{ "adamw_f32_10944x2048", 1, 2.000, adamw, NULL, "Scalar 61.6, Vector 90.0" },
	{ "silu_f32_4096x7168", 1, 1.333, silu, NULL, "Scalar 31.5, Vector 73.9" },
};

/* What an engine and the DMA engines did in a run, in ticks. */
struct tally {
	uint64_t busy[KILN_ENGINES], dma, bytes;
};

static void count(void *opaque, const struct kiln_event *event)
{
	struct tally *tally = opaque;

	if (!event->insn)
		return;		/* the whole job */
	if (event->insn->opcode >= KILN_OP_LOAD_STATIONARY)
		tally->busy[event->engine] += event->busy - event->start;
	tally->dma += event->dma_busy;
	tally->bytes += event->bytes;
}

static double run_row(const struct row *row, struct tally *tally)
{
	struct kiln_watch watch = { count, tally };
	struct machine *m;
	struct kiln_outcome outcome;
	void *program;
	size_t bytes;
	double ms;

	if (!row->build) {
		struct kiln_attention at = causal(1, *(const unsigned int *)row->arg);

		at.running_max = true;
		return cycles_of(NULL, &at) / (double)kiln_core_clock_khz(row->generation);
	}
	as = kiln_asm_create(row->generation);
	next_sem = 0;
	row->build(row->arg);
	if (kiln_asm_finish(as, &program, &bytes)) {
		fprintf(stderr, "time: %s: %s\n", row->name, kiln_asm_error(as));
		exit(1);
	}
	if (bytes > TABLES - PROGRAM) {
		fprintf(stderr, "time: %s: a program of %zu bytes\n", row->name, bytes);
		exit(1);
	}
	m = machine(row->generation);
	memcpy(m->hbm + PROGRAM, program, bytes);
	free(program);
	kiln_asm_destroy(as);
	kiln_core_time_only(m->core, true);
	kiln_core_watch(m->core, &watch);
	outcome = run_placed(m, bytes);
	if (outcome.status != KILN_ST_OK) {
		fprintf(stderr, "time: %s: status %u, engine %u, instruction %u\n", row->name,
			outcome.status, outcome.engine, outcome.instruction);
		exit(1);
	}
	ms = outcome.cycles / (double)kiln_core_clock_khz(row->generation);
	machine_free(m);
	return ms;
}

static const char *const unit_names[] = { "PE", "Vector", "Scalar", "GpSimd" };

/* The engine that is busy longest, or the DMA engines. */
static const char *bound(const struct tally *tally)
{
	const char *best = "DMA";
	uint64_t most = tally->dma / KILN_DMA_ENGINES;

	for (unsigned int e = 0; e < KILN_SYNC; e++) {
		if (tally->busy[e] > most) {
			most = tally->busy[e];
			best = unit_names[e];
		}
	}
	return best;
}

static bool want(char **names, const char *name)
{
	bool any = !*names;

	for (; *names; names++)
		any |= strstr(name, *names) != NULL;
	return any;
}

static FILE *json;
static unsigned int missed;

/* target: at most (at_least false) or at least; NAN: none. */
static void result(const char *name, double value, const char *unit, double target, bool at_least)
{
	bool met = isnan(target) || (at_least ? value >= target : fabs(value) <= target);

	missed += !met;
	if (!isnan(target))
		printf("%-40s %8.2f %-8s target %s %g   %s\n", name, value, unit,
		       at_least ? "at least" : "at most", target, met ? "met" : "MISSED");
	if (!json)
		return;
	fprintf(json, "%s{\"name\": \"%s\", \"value\": %.2f, \"unit\": \"%s\", ",
		ftell(json) > 1 ? ",\n " : "", name, value, unit);
	if (isnan(target))
		fprintf(json, "\"target\": null, \"met\": true}");
	else
		fprintf(json, "\"target\": %g, \"met\": %s}", target, met ? "true" : "false");
}

/* ---------------------------------------------------------- what time costs -- */

/*
 * How much of the engine's speed goes into device time. Linked with --wrap, the
 * engine asks here what things cost. What it was told is kept in a first run;
 * after that, runs that compute it and runs that only read it alternate. Both
 * take the same turns, so nothing else differs.
 */
struct told {
	uint64_t now;		/* of the array, after it */
	struct kiln_cost cost;
	struct kiln_dma_time dma;
};

static enum { COMPUTE, KEEP, READ } mode;
static struct told *kept;
static size_t kept_count, kept_size, kept_next;

static struct told *keep(void)
{
	if (kept_count == kept_size) {
		kept_size = kept_size ? 2 * kept_size : 65536;
		kept = realloc(kept, kept_size * sizeof(*kept));
		if (!kept)
			abort();
	}
	return &kept[kept_count++];
}

struct kiln_cost __real_kiln_time_insn(unsigned int generation, enum kiln_engine engine,
				       const struct kiln_insn *insn);
struct kiln_cost __wrap_kiln_time_insn(unsigned int generation, enum kiln_engine engine,
				       const struct kiln_insn *insn);
uint64_t __real_kiln_time_array(struct kiln_clocks *clocks, unsigned int generation,
				const struct kiln_insn *insn, uint64_t now, struct kiln_cost *cost);
uint64_t __wrap_kiln_time_array(struct kiln_clocks *clocks, unsigned int generation,
				const struct kiln_insn *insn, uint64_t now, struct kiln_cost *cost);
struct kiln_dma_time __real_kiln_time_dma(struct kiln_clocks *clocks, unsigned int generation,
					  unsigned int ring, uint64_t now, unsigned int partition,
					  unsigned int partitions, uint64_t row_bytes,
					  uint64_t run, bool both_dram);
struct kiln_dma_time __wrap_kiln_time_dma(struct kiln_clocks *clocks, unsigned int generation,
					  unsigned int ring, uint64_t now, unsigned int partition,
					  unsigned int partitions, uint64_t row_bytes,
					  uint64_t run, bool both_dram);

struct kiln_cost __wrap_kiln_time_insn(unsigned int generation, enum kiln_engine engine,
				       const struct kiln_insn *insn)
{
	struct kiln_cost cost;

	if (mode == READ)
		return kept[kept_next++].cost;
	cost = __real_kiln_time_insn(generation, engine, insn);
	if (mode == KEEP)
		keep()->cost = cost;
	return cost;
}

uint64_t __wrap_kiln_time_array(struct kiln_clocks *clocks, unsigned int generation,
				const struct kiln_insn *insn, uint64_t now, struct kiln_cost *cost)
{
	if (mode == READ) {
		*cost = kept[kept_next].cost;
		return kept[kept_next++].now;
	}
	now = __real_kiln_time_array(clocks, generation, insn, now, cost);
	if (mode == KEEP)
		*keep() = (struct told){ .now = now, .cost = *cost };
	return now;
}

struct kiln_dma_time __wrap_kiln_time_dma(struct kiln_clocks *clocks, unsigned int generation,
					  unsigned int ring, uint64_t now, unsigned int partition,
					  unsigned int partitions, uint64_t row_bytes,
					  uint64_t run, bool both_dram)
{
	struct kiln_dma_time time;

	if (mode == READ)
		return kept[kept_next++].dma;
	time = __real_kiln_time_dma(clocks, generation, ring, now, partition, partitions,
				    row_bytes, run, both_dram);
	if (mode == KEEP)
		keep()->dma = time;
	return time;
}

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* Percent of an op's CPU time, the least of all rounds of both. */
static double cost_of_time(const struct kiln_matmul *mm, const struct kiln_attention *at)
{
	const unsigned int rounds = 100;
	double best[3] = { INFINITY, INFINITY, INFINITY };
	uint64_t cycles = 0;
	struct kiln_device *card;
	struct kiln_queue *queue;
	struct kiln_ops *ops;
	struct kiln_buffer *buffer;

	need(kiln_open("sim", &card), "open");
	need(kiln_queue_create(card, NULL, &queue), "queue");
	need(kiln_ops_create(queue, &ops), "ops");
	need(kiln_alloc(card, 256 << 20, KILN_HBM, 0, &buffer), "alloc");
	memset(kiln_map(buffer), 0x3c, 192 << 20);
	kept_count = 0;
	for (unsigned int i = 0; i < 2 * rounds + 2; i++) {
		struct kiln_result r = { .res = 1 };
		uint64_t a = kiln_addr(buffer), b = a + (64 << 20), c = a + (128 << 20);
		double start;

		/* The first one makes the program, the second keeps. */
		mode = i == 1 ? KEEP : i & 1 ? READ : COMPUTE;
		kept_next = 0;
		start = cpu_seconds();
		if (mm) {
			struct kiln_matmul arg = *mm;

			arg.a = a;
			arg.b = b;
			arg.c = a + (192 << 20);
			need(kiln_matmul(ops, &arg, on_done, &r), "matmul");
		} else {
			struct kiln_attention arg = *at;

			arg.q = a;
			arg.k = b;
			arg.v = c;
			arg.out = a + (192 << 20);
			need(kiln_attention(ops, &arg, on_done, &r), "attention");
		}
		need(kiln_drain(queue), "drain");
		best[mode] = i ? fmin(best[mode], cpu_seconds() - start) : INFINITY;
		if (r.res || (i > 1 && r.cycles != cycles) ||
		    (mode == READ && kept_next != kept_count)) {
			fprintf(stderr, "time: what time costs: result %d, %llu cycles and %llu before, %zu answers of %zu\n",
				r.res, (unsigned long long)r.cycles, (unsigned long long)cycles,
				kept_next, kept_count);
			exit(1);
		}
		cycles = r.cycles;
	}
	mode = COMPUTE;
	kiln_free(buffer);
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	kiln_close(card);
	return 100 * (best[COMPUTE] / best[READ] - 1);
}

static void costs_of_time(char **names)
{
	const struct kiln_matmul large = { .type = KILN_TYPE_BF16, .m = 1024, .n = 1024, .k = 1024 };
	const struct kiln_matmul small = { .type = KILN_TYPE_BF16, .m = 128, .n = 128, .k = 128 };
	const struct kiln_attention many = causal(4, 1024);
	struct kiln_attention decode = causal(8, 1024);

	decode.seq_q = 1;
	if (want(names, "carrying_time_matmul_1024_pct"))
		result("carrying_time_matmul_1024_pct", cost_of_time(&large, NULL), "percent", 3, false);
	if (want(names, "carrying_time_matmul_128_pct"))
		result("carrying_time_matmul_128_pct", cost_of_time(&small, NULL), "percent", 3, false);
	if (want(names, "carrying_time_attention_1024_pct"))
		result("carrying_time_attention_1024_pct", cost_of_time(NULL, &many), "percent", 3, false);
	if (want(names, "carrying_time_decode_1024_pct"))
		result("carrying_time_decode_1024_pct", cost_of_time(NULL, &decode), "percent", 3, false);
}

/* --------------------------------------------------------------------- main -- */

static void own_ops(char **names)
{
	/* A as the published kernels have it, with K outermost; then as C has it, to be turned over */
	struct kiln_matmul mm = { .type = KILN_TYPE_BF16, .m = 2048, .n = 2048, .k = 2048,
				  .trans_a = true };
	const struct kiln_attention at = causal(8, 4096);
	const double n = 2048, seq = 4096, heads = 8, dim = 128;

	if (want(names, "ops_matmul_2048_trn2_pct_of_peak"))
		result("ops_matmul_2048_trn2_pct_of_peak",
		       100 * 2 * n * n * n / PEAK_TRN2 / cycles_of(&mm, NULL), "percent", 88, true);
	mm.trans_a = false;
	if (want(names, "ops_matmul_2048_row_major_trn2_pct_of_peak"))
		result("ops_matmul_2048_row_major_trn2_pct_of_peak",
		       100 * 2 * n * n * n / PEAK_TRN2 / cycles_of(&mm, NULL), "percent", NAN, true);
	if (want(names, "ops_attention_4096_trn2_pct_of_peak"))
		result("ops_attention_4096_trn2_pct_of_peak",
		       100 * 4 * heads * dim * seq * (seq + 1) / 2 / PEAK_TRN2 /
		       cycles_of(NULL, &at), "percent", 60, true);
}

struct errors {
	double sum, worst;	/* absolute, percent */
	unsigned int count;
};

/* Run a row, if it is one of names, and say what came out beside what was published. */
static void compare(const struct row *row, char **names, struct errors *errors)
{
	struct tally tally = { 0 };
	double ms, error, ticks;
	char name[96];

	if (!want(names, row->name))
		return;
	ms = run_row(row, &tally);
	ticks = ms * 1e6 * KILN_TICKS_PER_NS / 100;
	error = 100 * (ms / row->published - 1);
	errors->sum += fabs(error);
	errors->worst = fmax(errors->worst, fabs(error));
	errors->count++;
	printf("%-40s trn%u  %6.3f ms %6.3f ms %+6.1f%%  ", row->name, row->generation, ms,
	       row->published, error);
	if (row->build)
		printf("%-7s PE %.1f, Vector %.1f, Scalar %.1f, DMA %.1f; %.0f MB%s%s\n",
		       bound(&tally), tally.busy[KILN_TENSOR] / ticks,
		       tally.busy[KILN_VECTOR] / ticks, tally.busy[KILN_SCALAR] / ticks,
		       tally.dma / ticks / KILN_DMA_ENGINES, tally.bytes / 1e6,
		       *row->busy ? "; published: " : "", row->busy);
	else
		puts("libkiln's own program");
	snprintf(name, sizeof(name), "%s_trn%u_error_pct", row->name, row->generation);
	result(name, error, "percent", NAN, false);
}

int main(int argc, char **argv)
{
	struct errors errors = { 0 }, unseen = { 0 };
	char path[4096];
	int c;

	while ((c = getopt(argc, argv, "o:")) != -1) {
		if (c != 'o') {
			fprintf(stderr, "usage: time [-o DIR] [NAME...]\n");
			return 2;
		}
		snprintf(path, sizeof(path), "%s/time.json", optarg);
		json = fopen(path, "w");
		if (!json) {
			fprintf(stderr, "time: %s: %s\n", path, strerror(errno));
			return 1;
		}
		fputc('[', json);
	}
	printf("%-40s %5s %9s %9s %7s  %-7s %s\n", "", "", "predicted", "published", "error",
	       "bound", "busy %, and as published");
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		compare(&rows[i], argv + optind, &errors);
	if (errors.count) {
		result("mean_abs_error_pct", errors.sum / errors.count, "percent", 8, false);
		result("worst_abs_error_pct", errors.worst, "percent", 20, false);
	}
	for (unsigned int i = 0; i < sizeof(held_back) / sizeof(held_back[0]); i++)
		compare(&held_back[i], argv + optind, &unseen);
	if (unseen.count)
		result("held_back_mean_abs_error_pct", unseen.sum / unseen.count, "percent", NAN, false);
	own_ops(argv + optind);
	costs_of_time(argv + optind);
	if (json) {
		fputs("]\n", json);
		if (fclose(json)) {
			fprintf(stderr, "time: %s: %s\n", path, strerror(errno));
			return 1;
		}
	}
	return missed != 0;
}
