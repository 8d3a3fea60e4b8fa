// SPDX-License-Identifier: MIT
/*
 * Attention on strided tensors of mixed types, heads of up to MAX_DIM, with sinks: flash
 * attention's running maximum and sum, step by step. (attention.c overlaps the engines,
 * and takes dense tensors of one type.)
 *
 * A tile is up to 128 queries: all heads of a key-value head, if they fit, or some queries of
 * one head. Few queries have several key-value heads at once, where these lie beside each other:
 * to the engines they are one wide head, of which each row of q has its own part and zeros in the
 * others, and of which each result is a part. What that multiplies in vain costs less than to
 * begin anew for each head.
 *
 * Keys come in chunks of CHUNK. What is multiplied is 16 bits wide: other types
 * are converted or expanded first; Tensor transposes.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "dequant.h"
#include "nd.h"
#include "seq.h"

#define CHUNK		512u	/* keys: a bank of scores */
#define BLOCKS		(CHUNK / PART)
#define MAX_DIM		640
#define SPLITS		(MAX_DIM / PART)
#define PSUM_T		(4 * KILN_PSUM_BANK_BYTES)	/* what is transposed; scores and results before it */
#define LEAST		-0x1p100f	/* of a maximum: what is masked is as far below as it gets */
#define BESIDE_ROWS	32u	/* of a tile with several key-value heads */
#define TINY		0x1p-120f	/* of a sum: rows of which nothing counts become 0 */

enum { Q, K, V, MASK, SINKS, SLOPES, OUT, ALSO, TENSORS };
enum { RING_Q = 0, RING_K = 4, RING_V = 6, RING_OUT = 8 };

struct attend {
	struct kiln_tensor t[TENSORS];	/* addresses are not looked at, but for 0: not there */
	float scale, softcap;
	enum kiln_dtype work;		/* of what is multiplied */
};

struct gen {
	struct seq s;
	struct kiln_asm *as;
	const struct attend *at;
	uint32_t heads;			/* of queries for each key-value head */
	uint32_t n, keys, dk, dv;	/* dk and dv of all key-value heads of a tile */
	bool packed;			/* all heads in a tile */
	uint32_t beside;		/* key-value heads in a tile */
	unsigned int addr[TENSORS];	/* Sync: of the tile */
	unsigned int k, v, mask;	/* of the chunk */
	uint32_t m, segments, segment;	/* queries of a tile, heads in it, queries of each */
	/* SBUF */
	uint32_t raw, expand, q, qt, kc, kt, vc, score, prob, pt, bias, out;
	uint32_t max, newer, sum, more, alpha, sink, slope;	/* columns */
};

static struct kiln_scalar column(uint32_t addr)
{
	return kiln_col(KILN_SBUF, KILN_F32, addr, 0);
}

static struct kiln_operand stat(const struct gen *g, uint32_t addr)
{
	return sbuf(g->m, KILN_F32, addr, 1);
}

static void vector(struct gen *g, struct kiln_operand dst, struct kiln_operand a,
		   enum kiln_alu func,
		   struct kiln_operand b)
{
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_tensor_tensor(g->as, KILN_VECTOR, dst, a, func, b);
}

static void scalar(struct gen *g, struct kiln_operand dst, enum kiln_activation func,
		   struct kiln_operand src, struct kiln_scalar scale, struct kiln_scalar bias)
{
	seq_on(&g->s, KILN_SCALAR);
	kiln_asm_activation(g->as, dst, func, src, scale, bias, NULL);
}

/* ------------------------------------------------------------------ loads -- */

static uint32_t row_bytes(enum kiln_type type, uint32_t width)
{
	struct kiln_block block = kiln_type_block(type);

	return width / block.elements * block.bytes;
}

/* Bytes from one to the next along a dimension */
static int64_t step_of(const struct gen *g, unsigned int t, int d)
{
	const struct kiln_tensor *x = &g->at->t[t];
	struct kiln_block block = kiln_type_block(x->type);

	return x->dim[d] == 1 ? 0 : x->stride[d] / block.elements * block.bytes;
}

/* DMA's unit: elements, or bytes of blocks */
static enum kiln_dtype unit_of(enum kiln_type type)
{
	return quantised(type) ? KILN_U8 : kiln_type_dtype(type);
}

/*
 * rows of width elements from reg + offset, step bytes apart, to partition first of dst, as they
 * are
 */
static void load_raw(struct gen *g, unsigned int t, unsigned int ring, uint32_t dst, uint32_t first,
		     uint32_t rows, uint32_t width, unsigned int reg, int64_t offset, int64_t step)
{
	enum kiln_type type = g->at->t[t].type;
	uint32_t es = kiln_dtype_bytes(unit_of(type));

	seq_dma(&g->s, ring, kiln_tile1(KILN_SBUF, unit_of(type), first, rows, dst,
					row_bytes(type, width) / es),
		kiln_dram(reg, offset, step / es, 1));
}

/* What was loaded to raw, in the type of work, to dst */
static void converted(struct gen *g, unsigned int t, uint32_t rows, uint32_t width, uint32_t dst)
{
	enum kiln_type type = g->at->t[t].type;

	seq_on(&g->s, KILN_VECTOR);
	if (quantised(type))
		dequantise(g->as, &(struct dequant) {
			.type = type, .p = rows, .blocks = width / kiln_type_block(type).elements,
			.src = g->raw, .dst = dst, .tmp = g->expand, .dst_type = g->at->work,
		});
	else
		kiln_asm_tensor_copy(g->as, KILN_VECTOR, sbuf(rows, g->at->work, dst, width),
				     sbuf(rows, kiln_type_dtype(type), g->raw, width));
}

/*
 * rows of width at src, pitch bytes from one PART of rows to the next, become [width, rows] at
 * dst, step bytes from one PART of width to the next. Through PSUM.
 */
static void transposed(struct gen *g, uint32_t dst, uint32_t step, uint32_t src, uint32_t pitch,
		       uint32_t rows, uint32_t width)
{
	enum kiln_dtype work = g->at->work;
	uint32_t i, b, n, r;

	for (i = 0; i * PART < width; i++) {
		n = kiln_min(PART, width - i * PART);
		seq_on(&g->s, KILN_TENSOR);
		for (b = 0; b * PART < rows; b++) {
			r = kiln_min(PART, rows - b * PART);
			kiln_asm_transpose(g->as,
					   kiln_tile1(KILN_PSUM, work, 0, n, PSUM_T + b * PART * 2,
						      r),
					   sbuf(r, work, src + b * pitch + i * PART * 2, n));
		}
		seq_on(&g->s, KILN_VECTOR);
		kiln_asm_tensor_copy(g->as, KILN_VECTOR, sbuf(n, work, dst + i * step, rows),
				     kiln_tile1(KILN_PSUM, work, 0, n, PSUM_T, rows));
	}
}

/* Rows of a tile that one transfer moves: queries of a head, or of several heads their only one */
struct rows {
	uint32_t first, count;
	int64_t offset, step;		/* bytes in memory */
};

static uint32_t transfers(const struct gen *g, uint32_t heads)
{
	return g->segment > 1 ? g->segments : g->segments / heads;
}

/* The i-th of the transfers that take up to so many heads at once */
static struct rows rows_of(const struct gen *g, unsigned int t, uint32_t heads, uint32_t i)
{
	int64_t head = step_of(g, t, 1);

	if (g->segment > 1)
		return (struct rows) { i * g->segment, g->segment, i * head, step_of(g, t, 2) };
	return (struct rows) { i * heads, heads, i * heads * head, head };
}

/* What all heads have of t, width elements from reg on, to dst */
static void load_heads(struct gen *g, unsigned int t, uint32_t dst, uint32_t width, unsigned int reg)
{
	for (uint32_t i = 0; i < transfers(g, g->segments); i++) {
		struct rows r = rows_of(g, t, g->segments, i);

		load_raw(g, t, RING_Q, dst, r.first, r.count, width, reg, r.offset, r.step);
	}
}

/* Heads that have the same part of a wide head */
static uint32_t together(const struct gen *g)
{
	return g->segments / g->beside;
}

/* The part that the i-th transfer of q or out is of */
static uint32_t part_of(const struct gen *g, uint32_t i)
{
	return i * g->beside / transfers(g, together(g));
}

/* Queries, transposed, and what belongs to them. */
static void load_queries(struct gen *g)
{
	enum kiln_dtype type = unit_of(g->at->t[Q].type);
	uint32_t part = g->dk / g->beside, i;

	if (g->beside > 1) {
		seq_on(&g->s, KILN_VECTOR);
		kiln_asm_memset(g->as, KILN_VECTOR, sbuf(g->m, type, g->raw, g->dk), 0);
	}
	for (i = 0; i < transfers(g, together(g)); i++) {
		struct rows r = rows_of(g, Q, together(g), i);

		load_raw(g, Q, RING_Q, g->raw + part_of(g, i) * part * kiln_dtype_bytes(type), r.first,
			 r.count, part, g->addr[Q], r.offset, r.step);
	}
	if (g->at->t[SINKS].addr)
		load_heads(g, SINKS, g->sink, 1, g->addr[SINKS]);
	if (g->at->t[SLOPES].addr)
		load_heads(g, SLOPES, g->slope, 1, g->addr[SLOPES]);
	converted(g, Q, g->m, g->dk, g->q);
	transposed(g, g->qt, PART * 2, g->q, 0, g->m, g->dk);
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_memset(g->as, KILN_VECTOR, stat(g, g->max), LEAST);
	kiln_asm_memset(g->as, KILN_VECTOR, stat(g, g->sum), 0);
	kiln_asm_memset(g->as, KILN_VECTOR, sbuf(g->m, KILN_F32, g->out, g->dv), 0);
}

/* keys rows of k or v to dst, in the type of work, a PART of them beside the other */
static void load_rows(struct gen *g, unsigned int t, unsigned int ring, unsigned int reg,
		      uint32_t dst,
		      uint32_t keys, uint32_t width)
{
	enum kiln_dtype work = g->at->work;
	uint32_t full = keys / PART, rest = keys % PART, b;
	int64_t row = step_of(g, t, 2);

	if (kiln_type_dtype(g->at->t[t].type) != work) {
		for (b = 0; b * PART < keys; b++) {
			uint32_t rows = kiln_min(PART, keys - b * PART);

			load_raw(g, t, ring, g->raw, 0, rows, width, reg, b * PART * row, row);
			converted(g, t, rows, width, dst + b * MAX_DIM * 2);
		}
		return;
	}
	if (full)
		seq_dma(&g->s, ring,
			kiln_tile2(KILN_SBUF, work, 0, PART, dst, full, MAX_DIM, width, 1),
			kiln_dram2(reg, 0, row / 2, row / 2 * PART, 1));
	if (rest)
		seq_dma(&g->s, ring, sbuf(rest, work, dst + full * MAX_DIM * 2, width),
			kiln_dram(reg, full * PART * row, row / 2, 1));
}

/* Up to CHUNK keys and values: keys transposed. */
static void load_keys(struct gen *g, uint32_t keys)
{
	load_rows(g, K, RING_K, g->k, g->kc, keys, g->dk);
	load_rows(g, V, RING_V, g->v, g->vc, keys, g->dv);
	transposed(g, g->kt, CHUNK * 2, g->kc, MAX_DIM * 2, keys, g->dk);
}

/* ----------------------------------------------------------------- chunks -- */

/* Scores of the chunk in fp32, with all that is added to them */
static void make_scores(struct gen *g, uint32_t keys)
{
	const struct attend *at = g->at;
	struct kiln_operand psum = kiln_tile1(KILN_PSUM, KILN_F32, 0, g->m, 0, keys);
	struct kiln_operand score = sbuf(g->m, KILN_F32, g->score, keys);
	struct kiln_operand mask = sbuf(g->m, kiln_type_dtype(at->t[MASK].type), g->bias, keys);
	uint32_t i, n;

	seq_on(&g->s, KILN_TENSOR);
	for (i = 0; i * PART < g->dk; i++) {
		n = kiln_min(PART, g->dk - i * PART);
		kiln_asm_load_stationary(g->as, sbuf(n, at->work, g->qt + i * PART * 2, g->m));
		kiln_asm_matmul(g->as, psum, sbuf(n, at->work, g->kt + i * CHUNK * 2, keys), i > 0);
	}
	if (at->softcap) {
		scalar(g, score, KILN_ACT_TANH, psum, kiln_const(at->scale / at->softcap),
		       kiln_const(0));
		scalar(g, score, KILN_ACT_COPY, score, kiln_const(at->softcap), kiln_const(0));
	} else {
		scalar(g, score, KILN_ACT_COPY, psum, kiln_const(at->scale), kiln_const(0));
	}
	if (!at->t[MASK].addr)
		return;
	seq_settle(&g->s);
	load_heads(g, MASK, g->bias, keys, g->mask);
	seq_on(&g->s, KILN_VECTOR);
	if (at->t[SLOPES].addr)
		kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, score, mask, KILN_ALU_MULTIPLY,
					      column(g->slope), KILN_ALU_ADD, score, 0);
	else
		vector(g, score, score, KILN_ALU_ADD, mask);
}

/* alpha is what was scaled by max as it is scaled by newer. */
static void take_newer(struct gen *g)
{
	vector(g, stat(g, g->newer), stat(g, g->newer), KILN_ALU_MAX, stat(g, g->max));
	vector(g, stat(g, g->alpha), stat(g, g->max), KILN_ALU_SUBTRACT, stat(g, g->newer));
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, stat(g, g->max), stat(g, g->newer));
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, stat(g, g->newer), stat(g, g->newer),
			       KILN_ALU_MULTIPLY, kiln_const(-1), KILN_ALU_BYPASS, kiln_const(0), 0);
	scalar(g, stat(g, g->alpha), KILN_ACT_EXP, stat(g, g->alpha), kiln_const(1), kiln_const(0));
}

/* sum = sum * alpha + more */
static void add_sum(struct gen *g)
{
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, stat(g, g->sum), stat(g, g->sum),
				      KILN_ALU_MULTIPLY, column(g->alpha), KILN_ALU_ADD,
				      stat(g, g->more), 0);
}

/* n of what a chunk adds to the result, from element at on: behind the scores in PSUM */
static struct kiln_operand result(const struct gen *g, uint32_t at, uint32_t n)
{
	return kiln_tile1(KILN_PSUM, KILN_F32, 0, g->m, (1 + at / CHUNK) * KILN_PSUM_BANK_BYTES, n);
}

static void chunk(struct gen *g, uint32_t keys)
{
	struct kiln_column sums = { .space = KILN_SBUF, .dtype = KILN_F32, .addr = g->more };
	enum kiln_dtype work = g->at->work;
	uint32_t b, at, n;

	load_keys(g, keys);
	make_scores(g, keys);
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_tensor_reduce(g->as, stat(g, g->newer), KILN_ALU_MAX,
			       sbuf(g->m, KILN_F32, g->score, keys), false);
	take_newer(g);
	seq_on(&g->s, KILN_SCALAR);
	kiln_asm_activation(g->as, sbuf(g->m, work, g->prob, keys), KILN_ACT_EXP,
			    sbuf(g->m, KILN_F32, g->score, keys), kiln_const(1), column(g->newer),
			    &sums);
	add_sum(g);
	transposed(g, g->pt, PART * 2, g->prob, 0, g->m, keys);
	seq_on(&g->s, KILN_TENSOR);
	for (at = 0; at < g->dv; at += n) {
		n = kiln_min(CHUNK, g->dv - at);
		for (b = 0; b * PART < keys; b++) {
			uint32_t rows = kiln_min(PART, keys - b * PART);

			kiln_asm_load_stationary(g->as,
						 sbuf(rows, work, g->pt + b * PART * 2, g->m));
			kiln_asm_matmul(g->as, result(g, at, n),
					sbuf(rows, work, g->vc + (b * MAX_DIM + at) * 2, n), b > 0);
		}
	}
	seq_on(&g->s, KILN_VECTOR);
	for (at = 0; at < g->dv; at += n) {
		struct kiln_operand out;

		n = kiln_min(CHUNK, g->dv - at);
		out = sbuf(g->m, KILN_F32, g->out + at * 4, n);
		kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, out, out, KILN_ALU_MULTIPLY,
					      column(g->alpha), KILN_ALU_ADD,
					      result(g, at, n), 0);
	}
	seq_settle(&g->s);
	bump(g->as, KILN_SYNC, g->k, keys * step_of(g, K, 2));
	bump(g->as, KILN_SYNC, g->v, keys * step_of(g, V, 2));
	bump(g->as, KILN_SYNC, g->mask, (int64_t)keys * type_size(g->at->t[MASK].type));
}

/* ------------------------------------------------------------------ tiles -- */

/* A sink is one more key, with a score of its own and no value. */
static void take_sink(struct gen *g)
{
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_tensor_copy(g->as, KILN_VECTOR, stat(g, g->newer), stat(g, g->sink));
	take_newer(g);
	scalar(g, stat(g, g->more), KILN_ACT_EXP, stat(g, g->sink), kiln_const(1),
	       column(g->newer));
	add_sum(g);
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, sbuf(g->m, KILN_F32, g->out, g->dv),
			       sbuf(g->m, KILN_F32, g->out, g->dv), KILN_ALU_MULTIPLY,
			       column(g->alpha), KILN_ALU_BYPASS, kiln_const(0), 0);
}

/* A result of its type from there in SBUF */
static void store(struct gen *g, unsigned int t, uint32_t from)
{
	enum kiln_dtype type = kiln_type_dtype(g->at->t[t].type);
	uint32_t es = kiln_dtype_bytes(type), part = g->dv / g->beside;

	for (uint32_t i = 0; i < transfers(g, together(g)); i++) {
		struct rows r = rows_of(g, t, together(g), i);

		seq_dma(&g->s, RING_OUT, kiln_dram(g->addr[t], r.offset, r.step / es, 1),
			kiln_tile1(KILN_SBUF, type, r.first, r.count,
				   from + part_of(g, i) * part * es, part));
	}
}

static void tile(struct gen *g, uint32_t segments, uint32_t segment)
{
	enum kiln_dtype type = kiln_type_dtype(g->at->t[OUT].type);
	struct kiln_asm *as = g->as;

	g->segments = segments;
	g->segment = segment;
	g->m = segments * segment;
	load_queries(g);
	seq_settle(&g->s);
	kiln_asm_addi(as, KILN_SYNC, g->k, g->addr[K], 0);
	kiln_asm_addi(as, KILN_SYNC, g->v, g->addr[V], 0);
	kiln_asm_addi(as, KILN_SYNC, g->mask, g->addr[MASK], 0);
	if (g->keys / CHUNK) {
		seq_loop(&g->s, g->keys / CHUNK);
		chunk(g, CHUNK);
		seq_loop_end(&g->s);
	}
	if (g->keys % CHUNK)
		chunk(g, g->keys % CHUNK);
	if (g->at->t[SINKS].addr)
		take_sink(g);
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_tensor_scalar(as, KILN_VECTOR, stat(g, g->sum), stat(g, g->sum), KILN_ALU_MAX,
			       kiln_const(TINY), KILN_ALU_BYPASS, kiln_const(0), 0);
	kiln_asm_reciprocal(as, stat(g, g->sum), stat(g, g->sum));
	kiln_asm_tensor_scalar(as, KILN_VECTOR, sbuf(g->m, type, g->raw, g->dv),
			       sbuf(g->m, KILN_F32, g->out, g->dv), KILN_ALU_MULTIPLY,
			       column(g->sum),
			       KILN_ALU_BYPASS, kiln_const(0), 0);
	if (g->at->t[ALSO].addr)
		kiln_asm_tensor_copy(as, KILN_VECTOR,
				     sbuf(g->m, kiln_type_dtype(g->at->t[ALSO].type), g->expand, g->dv),
				     sbuf(g->m, type, g->raw, g->dv));
	store(g, OUT, g->raw);
	if (g->at->t[ALSO].addr)
		store(g, ALSO, g->expand);
	seq_settle(&g->s);
}

/* by places further along a dimension of queries, for all that has one */
static void step_queries(struct gen *g, int d, int64_t by)
{
	static const uint8_t of[] = { Q, MASK, OUT, ALSO, SINKS, SLOPES };
	unsigned int i;

	for (i = 0; i < sizeof(of); i++)
		if (g->at->t[of[i]].addr)
			bump(g->as, KILN_SYNC, g->addr[of[i]], by * step_of(g, of[i], d));
}

static void step_keys(struct gen *g, int d, int64_t by)
{
	bump(g->as, KILN_SYNC, g->addr[K], by * step_of(g, K, d));
	bump(g->as, KILN_SYNC, g->addr[V], by * step_of(g, V, d));
}

/* All queries of one head */
static void head(struct gen *g)
{
	uint32_t full = g->n / PART;

	if (full) {
		seq_loop(&g->s, full);
		tile(g, 1, PART);
		step_queries(g, 2, PART);
		seq_loop_end(&g->s);
	}
	if (g->n % PART)
		tile(g, 1, g->n % PART);
	step_queries(g, 2, -(int64_t)full * PART);
}

static void key_head(struct gen *g)
{
	if (g->packed) {
		tile(g, g->beside * g->heads, g->n);
		step_queries(g, 1, g->beside * g->heads);
		return;
	}
	seq_loop(&g->s, g->heads);
	head(g);
	step_queries(g, 1, 1);
	seq_loop_end(&g->s);
}

/* How many key-value heads go into a tile: as many as lie beside each other and fit */
static uint32_t heads_beside(const struct gen *g)
{
	const struct kiln_tensor *k = &g->at->t[K], *v = &g->at->t[V];
	uint32_t beside = kiln_min(BESIDE_ROWS / (g->heads * g->n),
				   MAX_DIM / (g->dk > g->dv ? g->dk : g->dv));

	if (k->stride[1] != k->dim[3] || v->stride[1] != v->dim[3])
		return 1;
	while (beside > 1 && k->dim[1] % beside)
		beside--;
	return beside ? beside : 1;
}

static int make(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct attend *at = shape;
	struct gen gen = {
		.s = seq_start(as), .as = as, .at = at, .n = at->t[Q].dim[2], .keys = at->t[K].dim[2],
		.heads = at->t[Q].dim[1] / at->t[K].dim[1], .dk = at->t[Q].dim[3],
		.dv = at->t[V].dim[3],
	}, *g = &gen;
	uint32_t top = 0, t;

	(void)generation;	/* fits into the smallest */
	g->packed = g->n * g->heads <= PART;
	g->beside = heads_beside(g);
	g->dk *= g->beside;
	g->dv *= g->beside;
	g->raw = take(&top, MAX_DIM * 4);
	g->expand = take(&top, MAX_DIM * 4 * DEQUANT_SCRATCH);
	g->q = take(&top, MAX_DIM * 2);
	g->qt = take(&top, SPLITS * PART * 2);
	g->kc = take(&top, BLOCKS * MAX_DIM * 2);
	g->kt = take(&top, SPLITS * CHUNK * 2);
	g->vc = take(&top, BLOCKS * MAX_DIM * 2);
	g->score = take(&top, CHUNK * 4);
	g->prob = take(&top, CHUNK * 2);
	g->pt = take(&top, BLOCKS * PART * 2);
	g->bias = take(&top, CHUNK * 4);
	g->out = take(&top, MAX_DIM * 4);
	g->max = take(&top, 4);
	g->newer = take(&top, 4);
	g->sum = take(&top, 4);
	g->more = take(&top, 4);
	g->alpha = take(&top, 4);
	g->sink = take(&top, 4);
	g->slope = take(&top, 4);
	for (t = 0; t < TENSORS; t++) {
		g->addr[t] = kiln_asm_reg(as, KILN_SYNC);
		kiln_asm_ldarg(as, KILN_SYNC, g->addr[t], t);
	}
	g->k = kiln_asm_reg(as, KILN_SYNC);
	g->v = kiln_asm_reg(as, KILN_SYNC);
	g->mask = kiln_asm_reg(as, KILN_SYNC);

	seq_loop(&g->s, at->t[Q].dim[0]);
	seq_loop(&g->s, at->t[K].dim[1] / g->beside);
	key_head(g);
	step_keys(g, 1, g->beside);
	seq_loop_end(&g->s);
	step_keys(g, 1, -(int64_t)at->t[K].dim[1]);
	step_queries(g, 1, -(int64_t)at->t[Q].dim[1]);
	step_queries(g, 0, 1);
	step_keys(g, 0, 1);
	seq_loop_end(&g->s);
	return 0;
}

/* ------------------------------------------------------------------ entry -- */

/* dim of t is n, or 1 */
static bool fits(const struct kiln_tensor *t, int d, uint32_t n)
{
	return t->dim[d] == n || t->dim[d] == 1;
}

static int check(const struct attend *a)
{
	const struct kiln_tensor *q = &a->t[Q], *k = &a->t[K], *v = &a->t[V], *o = &a->t[OUT];
	const struct kiln_tensor *mask = &a->t[MASK];
	unsigned int i, d;

	if (q->dim[3] != k->dim[3] || q->dim[3] > MAX_DIM || v->dim[3] > MAX_DIM ||
	    o->dim[3] != v->dim[3])
		return kiln_error(-EINVAL, "attend: heads of %u in q, %u in k, %u in v, %u in out: q as k, v as out, up to %u",
				  q->dim[3], k->dim[3], v->dim[3], o->dim[3], MAX_DIM);
	if (q->dim[1] % k->dim[1] || k->dim[1] != v->dim[1] || q->dim[1] != o->dim[1])
		return kiln_error(-EINVAL, "attend: %u heads of q, %u of k, %u of v, %u of out: k as v, q and out a multiple of that",
				  q->dim[1], k->dim[1], v->dim[1], o->dim[1]);
	if (k->dim[2] != v->dim[2] || q->dim[2] != o->dim[2] || q->dim[0] != o->dim[0] ||
	    !fits(k, 0, q->dim[0]) || !fits(v, 0, q->dim[0]))
		return kiln_error(-EINVAL, "attend: %u keys and %u values, %u queries and %u results, in batches of %u, %u, %u and %u: the same",
				  k->dim[2], v->dim[2], q->dim[2], o->dim[2], k->dim[0], v->dim[0],
				  q->dim[0], o->dim[0]);
	if (mask->addr &&
	    (mask->dim[3] < k->dim[2] || mask->dim[2] < q->dim[2] || !fits(mask, 1, q->dim[1]) ||
			   !fits(mask, 0, q->dim[0])))
		return kiln_error(-EINVAL, "attend: a mask of [%u, %u, %u, %u] for [%u, %u, %u, %u]: as many, or 1 in the first two",
				  mask->dim[0], mask->dim[1], mask->dim[2], mask->dim[3], q->dim[0],
				  q->dim[1], q->dim[2], k->dim[2]);
	for (i = Q; i <= V; i++) {
		struct kiln_block block = kiln_type_block(a->t[i].type);

		if (a->t[i].dim[3] % block.elements)
			return kiln_error(-ENOTSUP, "attend: heads of %u elements in blocks of %u",
					  a->t[i].dim[3], block.elements);
		for (d = 0; d < 3; d++)
			if (a->t[i].stride[d] % block.elements)
				return kiln_error(-EINVAL, "attend: a stride of %lld: whole blocks of %u",
						  (long long)a->t[i].stride[d], block.elements);
	}
	for (i = 0; i < TENSORS; i++)
		if (a->t[i].addr && a->t[i].dim[3] > 1 && a->t[i].stride[3] != 1)
			return kiln_error(-EINVAL, "attend: elements of a head, or keys of the mask, lie %lld apart: 1",
					  (long long)a->t[i].stride[3]);
	/* What a DMA adds to an address has 31 bits: rows of a chunk of keys, heads of a tile. */
	for (i = 0; i < TENSORS; i++)
		for (d = 0; d < 3; d++) {
			int64_t most = d == 2 ? INT32_MAX / (4 * CHUNK) :
				d == 1 && i != K && i != V ? INT32_MAX / (4 * PART) : INT64_MAX;

			if (a->t[i].addr && (a->t[i].stride[d] > most || a->t[i].stride[d] < 0))
				return kiln_error(-ENOTSUP, "attend: in dimension %u a stride of %lld: 0 to %lld",
						  d, (long long)a->t[i].stride[d], (long long)most);
		}
	return 0;
}

int kiln_attend(struct kiln_ops *ops, const struct kiln_attend *attend, kiln_done_fn done,
		void *user)
{
	static const char *const name[] = { "q", "k", "v", "mask", "sinks", "slopes", "out", "also" };
	struct kiln_ops_key key = { .word = { 0 } };
	uint64_t args[TENSORS];
	unsigned int i, d, word = 3;
	struct attend a;
	int err;

	if (!ops || !attend)
		return kiln_error(-EINVAL, "attend: no ops or no description");
	memset(&a, 0, sizeof(a));
	a.t[Q] = attend->q;
	a.t[K] = attend->k;
	a.t[V] = attend->v;
	a.t[MASK] = attend->mask;
	a.t[OUT] = attend->out;
	a.t[ALSO] = attend->also;
	a.scale = attend->scale;
	a.softcap = attend->softcap;
	if (attend->sinks)
		a.t[SINKS] = (struct kiln_tensor) {
			.type = KILN_TYPE_F32, .dim = { 1, attend->q.dim[1], 1, 1 },
			.stride = { 0, 1, 0, 0 }, .addr = attend->sinks,
		};
	if (!isfinite(a.scale) || !isfinite(a.softcap) || !(attend->max_bias >= 0))
		return kiln_error(-EINVAL, "attend: scale is %g, softcap %g, max_bias %g: finite, and the latter not below 0",
				  a.scale, a.softcap, attend->max_bias);
	for (i = 0; i < TENSORS; i++) {
		bool blocks = i == K || i == V;

		if (i > V && i != OUT && !a.t[i].addr)
			continue;
		if (!known_type(a.t[i].type) && !(blocks && quantised(a.t[i].type) &&
						     !has_grid(a.t[i].type)))
			return kiln_error(-ENOTSUP, "attend: type %d of %s: F32, BF16 or F16, of k and v quantised ones, too, but IQ1 to IQ3",
					  (int)a.t[i].type, name[i]);
		err = nd_tensor("attend", name[i], &a.t[i]);
		if (err)
			return err;
	}
	err = check(&a);
	if (!err && a.t[ALSO].addr)
		err = nd_check_also("attend", &a.t[OUT], &a.t[ALSO]);
	if (err)
		return err;
	if (attend->max_bias > 0 && a.t[MASK].addr) {
		err = kiln_ops_slopes(ops, a.t[Q].dim[1], attend->max_bias, &a.t[SLOPES]);
		if (err)
			return err;
	}
	a.work = a.t[K].type == KILN_TYPE_BF16 || a.t[K].type == KILN_TYPE_F32 ? KILN_BF16 : KILN_F16;
	key.word[0] = KILN_OPS_ATTEND;
	memcpy(&key.word[1], &a.scale, 4);
	memcpy(&key.word[2], &a.softcap, 4);
	for (i = 0; i < TENSORS; i++) {
		args[i] = a.t[i].addr;
		if (!args[i])
			continue;
		key.word[word++] = (uint64_t)i << 56 | (uint64_t)a.t[i].type << 48 | a.t[i].dim[0];
		key.word[word++] = (uint64_t)a.t[i].dim[1] << 32 | a.t[i].dim[2];
		key.word[word++] = a.t[i].dim[3];
		for (d = 0; d < 3; d++)
			key.word[word++] = a.t[i].stride[d];
	}
	return kiln_ops_run(ops, &key, "attend", make, &a, args, TENSORS, done, user);
}
