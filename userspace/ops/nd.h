/* SPDX-License-Identifier: MIT */
/*
 * Tensors of many dimensions with any strides, streamed through SBUF: what an op
 * adds is its body, which computes one tile.
 *
 * The dimensions are those of a space of points. Each tensor has a stride for each
 * of them, 0 where it is the same along the dimension. Dimensions that lie behind
 * each other in all tensors become one. A tile is up to 128 partitions of
 * [rows, mid, columns] points; in SBUF, a tensor has only what differs.
 *
 * All of a tile lies in a frame: tensors and scratch. Frames are taken in turn.
 * Sync loads, GpSimd stores, the body's engines hand the tile to each other. What
 * is the same for all partitions and rows is loaded once for all tiles in a row.
 */
#ifndef KILN_OPS_ND_H
#define KILN_OPS_ND_H

#include "stream.h"

#define ND_TENSORS	10
#define ND_DIMS		12
#define ND_SCRATCH	6

/* What a program depends on, but for the body. */
struct nd {
	uint32_t inputs, tensors;	/* results stand behind the inputs */
	uint32_t dims;
	uint32_t dim[ND_DIMS];		/* outermost first */
	int64_t stride[ND_TENSORS][ND_DIMS];	/* elements */
	enum kiln_dtype dtype[ND_TENSORS];
	uint32_t unit[ND_TENSORS];	/* elements behind each other at each point; 0: 1 */
	bool rows;			/* the last dimension stays whole, in one partition */
	uint32_t scratch;		/* fp32 tiles that the body wants */
	uint32_t stats;			/* fp32 values for each row */
	/*
	 * Rows by index: tensor by_index - 1 has its row of each point of a dimension where
	 * tensor index says, index_step elements from row to row, of index_rows. Its
	 * strides of the dimension are 0. The index is an input that is not loaded.
	 */
	uint32_t by_index, index;
	int64_t index_step;
	uint32_t index_rows;
	bool accumulate;		/* a result by index is added */
};

/* A tile that is being written. */
struct nd_tile {
	struct nd_gen *g;
	struct kiln_asm *as;
	uint32_t p, n[3];		/* partitions; rows, mid, columns */
};

typedef void (*nd_body_fn)(struct nd_tile *t, const void *op);

/*
 * The program. first is the engine that the body begins with. -EINVAL if the rows
 * do not fit.
 */
int nd_make(struct kiln_asm *as, unsigned int generation, const struct nd *nd,
	    enum kiln_engine first, nd_body_fn body, const void *op);

/* Bits as they are from tensor 0 to tensor 1, of one element size: nothing but DMA. */
int nd_move(struct kiln_asm *as, const struct nd *nd);

/* Drop dimensions of 1, join what lies behind each other in all tensors. */
void nd_join(struct nd *nd);

/* Points of the longest row that fits; a body with so much scratch. */
uint32_t nd_longest(unsigned int generation, const struct nd *nd);

/* Fill in what is 0, and check: op and name say what is wrong. */
int nd_tensor(const char *op, const char *name, struct kiln_tensor *t);

/*
 * The space of points dim, with all tensors repeated into it. Before: inputs,
 * tensors, rows. A dimension that stays whole is the tensor's own or 1.
 */
int nd_space(const char *op, struct nd *nd, const struct kiln_tensor *const t[],
	     const uint32_t dim[4]);

/* Whether a second result has the dimensions of the first */
int nd_check_also(const char *op, const struct kiln_tensor *out, const struct kiln_tensor *also);

/* Append the shape to a key, from this word on. */
void nd_key(struct kiln_ops_key *key, unsigned int word, const struct nd *nd);

/* ------------------------------------------------------------- for bodies -- */

/* What follows runs on this engine, after what was written before. */
void nd_on(struct nd_tile *t, enum kiln_engine e);

/* For any engine: a tensor as the whole tile sees it, ... */
struct kiln_operand nd_view(const struct nd_tile *t, unsigned int tensor);
/* ... scratch in fp32, ... */
struct kiln_operand nd_tmp(const struct nd_tile *t, unsigned int i);
/* ... the same with another type of four bytes or less, ... */
struct kiln_operand nd_tmp_as(const struct nd_tile *t, unsigned int i, enum kiln_dtype dtype);
/* ... a value of each row, [rows, mid], ... */
struct kiln_operand nd_stat(const struct nd_tile *t, unsigned int i);
/* ... and for each point of the row again. */
struct kiln_operand nd_stat_view(const struct nd_tile *t, unsigned int i);
/* For reductions: a tensor, or scratch, with the last dimension on its own. */
struct kiln_operand nd_rows_of(const struct nd_tile *t, unsigned int tensor);
struct kiln_operand nd_tmp_rows(const struct nd_tile *t, unsigned int i);
/* A tensor that is the same along the last dimension, so a result of rows: [rows, mid]. */
struct kiln_operand nd_row_view(const struct nd_tile *t, unsigned int tensor);
/* Views of one's own: byte in the partition where the tensor or scratch stands, and register. */
uint32_t nd_offset(const struct nd_tile *t, unsigned int tensor);
uint32_t nd_tmp_offset(const struct nd_tile *t, unsigned int i);
unsigned int nd_reg(const struct nd_tile *t);

static inline uint32_t nd_points(const struct nd_tile *t)
{
	return t->n[0] * t->n[1] * t->n[2];
}

/* dst = (src func s0) func1 s1 on Vector */
void nd_ts(struct nd_tile *t, struct kiln_operand dst, struct kiln_operand src,
	   enum kiln_alu func, float s0, enum kiln_alu func1, float s1);
/* dst = a func b on Vector */
void nd_tt(struct nd_tile *t, struct kiln_operand dst, struct kiln_operand a,
	   enum kiln_alu func, struct kiln_operand b);
/* dst = (a func s0) func1 b on Vector */
void nd_stt(struct nd_tile *t, struct kiln_operand dst, struct kiln_operand a,
	    enum kiln_alu func, float s0, enum kiln_alu func1, struct kiln_operand b);
/* dst = func(scale * src + bias) on Scalar */
void nd_act(struct nd_tile *t, struct kiln_operand dst, enum kiln_activation func,
	    struct kiln_operand src, float scale, float bias);

/* Where there is a second result, it is the first once more. */
void nd_also(struct nd_tile *t, const struct nd *nd);

/* [n0, n1, n2] with strides, without dimensions of 1 and what can be joined; never empty. */
struct kiln_operand nd_tile3(enum kiln_dtype dtype, uint32_t p, uint32_t addr,
			     const uint32_t n[3], const int stride[3]);

#endif
