// SPDX-License-Identifier: MIT
/*
 * out = x w^T with weights that stay as they are in memory, quantised or not, and are
 * expanded on the way; also by experts, where data say which weights a row has.
 *
 * A tile is up to 128 rows of x, transposed once, and COLUMNS rows of w, which are what
 * is left of out's columns in a bank of PSUM. k goes by in chunks. What is multiplied is
 * BF16, or F16 where w is. One step after the other, but for loads.
 *
 * By experts: few rows each take the weights that their number says; if that is less to do,
 * each expert's weights meet all rows of a tile, and those that are its own are stored.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "dequant.h"
#include "nd.h"
#include "seq.h"

#define COLUMNS		512u		/* a bank */
#define CHUNK		1024u		/* of k: what is expanded at a time */
#define MAX_K		32768u
#define PSUM_T		KILN_PSUM_BANK_BYTES	/* a chunk, transposed: a bank, behind the results */
#define NOBODY		0x1p24f		/* added to the number of a row that is not the expert's */

enum { X, W, IDS, OUT, TENSORS };
enum { RING_X = 0, RING_W = 4, RING_OUT = 8 };

struct linear {
	struct kiln_tensor t[TENSORS];	/* addresses are not looked at, but for 0: not there */
	enum kiln_dtype work;
	uint64_t grid;			/* of w's type */
};

struct gen {
	struct seq s;
	struct kiln_asm *as;
	const struct linear *li;
	uint32_t n, m, k;		/* rows of x, rows of w */
	uint32_t experts;
	unsigned int addr[TENSORS];	/* Sync: of the tile */
	unsigned int w, w_rows, out, limit, id, step;
	uint32_t slots, each;		/* rows of a tile: so many times so many */
	/* SBUF */
	uint32_t raw, expand, wide, xt, wt, result;
	uint32_t ids, place, expert, index, probe;
	bool scattered;
};

/* ------------------------------------------------------------------ loads -- */

static uint32_t row_bytes(enum kiln_type type, uint32_t width)
{
	struct kiln_block block = kiln_type_block(type);

	return width / block.elements * block.bytes;
}

/* Bytes from one to the next along a dimension; 0 if there is but one */
static int64_t step_of(const struct gen *g, unsigned int t, int d)
{
	const struct kiln_tensor *x = &g->li->t[t];
	struct kiln_block block = kiln_type_block(x->type);

	return x->dim[d] == 1 ? 0 : x->stride[d] / (int64_t)block.elements * block.bytes;
}

static uint32_t rows_of_tile(const struct gen *g)
{
	return g->slots * g->each;
}

/*
 * rows of width elements of t at raw become work at wide, then [k, rows] at to, pitch bytes a
 * split
 */
static void expand(struct gen *g, unsigned int t, uint32_t rows, uint32_t width, uint32_t to,
		   uint32_t pitch)
{
	enum kiln_type type = g->li->t[t].type;
	enum kiln_dtype work = g->li->work;
	uint32_t full = width / PART, i, n;

	seq_on(&g->s, KILN_VECTOR);
	if (quantised(type))
		dequantise(g->as, &(struct dequant) {
			.type = type, .p = rows, .blocks = width / kiln_type_block(type).elements,
			.src = g->raw, .dst = g->wide, .tmp = g->expand, .dst_type = work,
			.grid = g->li->grid,
		});
	else
		kiln_asm_tensor_copy(g->as, KILN_VECTOR, sbuf(rows, work, g->wide, width),
				     sbuf(rows, kiln_type_dtype(type), g->raw, width));
	seq_on(&g->s, KILN_TENSOR);
	for (i = 0; i * PART < width; i++) {
		n = kiln_min(PART, width - i * PART);
		kiln_asm_transpose(g->as,
				   kiln_tile1(KILN_PSUM, work, 0, n, PSUM_T + i * PART * 2, rows),
				   sbuf(rows, work, g->wide + i * PART * 2, n));
	}
	seq_on(&g->s, KILN_VECTOR);
	if (full)
		kiln_asm_tensor_copy(g->as, KILN_VECTOR,
				     kiln_tile2(KILN_SBUF, work, 0, PART, to, full, pitch / 2, rows,
						1),
				     kiln_tile2(KILN_PSUM, work, 0, PART, PSUM_T, full, PART, rows,
						1));
	n = width % PART;
	if (n)
		kiln_asm_tensor_copy(g->as, KILN_VECTOR, sbuf(n, work, to + full * pitch, rows),
				     kiln_tile1(KILN_PSUM, work, 0, n, PSUM_T + full * PART * 2,
						rows));
}

static void load(struct gen *g, unsigned int t, unsigned int ring, uint32_t first, uint32_t rows,
		 uint32_t width, unsigned int reg, int64_t offset, int64_t step)
{
	enum kiln_type type = g->li->t[t].type;
	enum kiln_dtype unit = quantised(type) ? KILN_U8 : kiln_type_dtype(type);
	uint32_t es = kiln_dtype_bytes(unit);

	seq_dma(&g->s, ring,
		kiln_tile1(KILN_SBUF, unit, first, rows, g->raw, row_bytes(type, width) / es),
		kiln_dram(reg, offset, step / es, 1));
}

/* All of k of a tile of x */
static void load_x(struct gen *g)
{
	uint32_t at, width, i;

	for (at = 0; at < g->k; at += width) {
		width = kiln_min(CHUNK, g->k - at);
		seq_settle(&g->s);
		for (i = 0; i < g->slots; i++)
			load(g, X, RING_X, i * g->each, g->each, width, g->addr[X],
			     i * step_of(g, X, 2) + (int64_t)at * type_size(g->li->t[X].type),
			     step_of(g, X, g->li->t[IDS].addr ? 1 : 2));
		expand(g, X, rows_of_tile(g), width, g->xt + at / PART * PART * 2, PART * 2);
	}
}

/* ---------------------------------------------------------------- product -- */

/* A chunk of k for so many columns */
static void chunk(struct gen *g, uint32_t columns, uint32_t at, uint32_t width)
{
	struct kiln_operand psum = kiln_tile1(KILN_PSUM, KILN_F32, 0, rows_of_tile(g), 0, columns);
	enum kiln_type type = g->li->t[W].type;
	uint32_t j, i, n;

	for (j = 0; j < columns; j += n) {
		n = kiln_min(PART, columns - j);
		seq_settle(&g->s);
		load(g, W, RING_W, 0, n, width, g->w,
		     row_bytes(type, at) + (int64_t)j * step_of(g, W, 2), step_of(g, W, 2));
		expand(g, W, n, width, g->wt + j * 2, COLUMNS * 2);
	}
	seq_on(&g->s, KILN_TENSOR);
	for (i = 0; i * PART < width; i++) {
		n = kiln_min(PART, width - i * PART);
		kiln_asm_load_stationary(g->as, sbuf(n, g->li->work, g->xt + (at + i * PART) * 2,
						     rows_of_tile(g)));
		kiln_asm_matmul(g->as, psum, sbuf(n, g->li->work, g->wt + i * COLUMNS * 2, columns),
				at + i > 0);
	}
}

/* Columns from g->out on, of rows that lie where they are to be */
static void store(struct gen *g, uint32_t columns)
{
	enum kiln_dtype type = kiln_type_dtype(g->li->t[OUT].type);
	uint32_t es = kiln_dtype_bytes(type), i;

	seq_on(&g->s, KILN_SCALAR);
	kiln_asm_activation(g->as, sbuf(rows_of_tile(g), type, g->result, columns), KILN_ACT_COPY,
			    kiln_tile1(KILN_PSUM, KILN_F32, 0, rows_of_tile(g), 0, columns),
			    kiln_const(1), kiln_const(-0.0f), NULL);
	seq_on(&g->s, KILN_SYNC);
	for (i = 0; i < g->slots; i++) {
		int64_t down = g->li->t[IDS].addr ? step_of(g, OUT, 1) : step_of(g, OUT, 2);
		int64_t offset = i * step_of(g, OUT, 2);
		struct kiln_operand tile = kiln_tile1(KILN_SBUF, type, i * g->each, g->each,
						      g->result,
						      columns);

		if (g->scattered)	/* rows are counted from the first of the tile */
			kiln_asm_dma_scatter(g->as, KILN_SYNC, RING_OUT,
					     kiln_dram(g->out, offset - i * g->each * down,
						       down / es, 1),
					     tile, kiln_tile1(KILN_SBUF, KILN_U32, i * g->each,
							      g->each,
							      g->index, 1), g->limit, KILN_F_DROP);
		else
			kiln_asm_dma(g->as, KILN_SYNC, RING_OUT,
				     kiln_dram(g->out, offset, down / es, 1), tile);
		seq_started(&g->s);
	}
	seq_settle(&g->s);
}

static void columns_of(struct gen *g, uint32_t columns)
{
	uint32_t at, width;

	for (at = 0; at < g->k; at += width) {
		width = kiln_min(CHUNK, g->k - at);
		chunk(g, columns, at, width);
	}
	store(g, columns);
	bump(g->as, KILN_SYNC, g->w, columns * step_of(g, W, 2));
	bump(g->as, KILN_SYNC, g->out, (int64_t)columns * type_size(g->li->t[OUT].type));
}

/* The tile of x times all rows of w, from where g->w stands */
static void all_columns(struct gen *g)
{
	seq_settle(&g->s);
	kiln_asm_addi(g->as, KILN_SYNC, g->out, g->addr[OUT], 0);
	if (g->m / COLUMNS) {
		seq_loop(&g->s, g->m / COLUMNS);
		columns_of(g, COLUMNS);
		seq_loop_end(&g->s);
	}
	if (g->m % COLUMNS)
		columns_of(g, g->m % COLUMNS);
}

/* ------------------------------------------------------------------ plain -- */

static void step(struct gen *g, unsigned int t, int d, int64_t by)
{
	bump(g->as, KILN_SYNC, g->addr[t], by * step_of(g, t, d));
}

static void plain_tile(struct gen *g, uint32_t rows)
{
	g->slots = 1;
	g->each = rows;
	load_x(g);
	seq_settle(&g->s);
	kiln_asm_addi(g->as, KILN_SYNC, g->w, g->addr[W], 0);
	all_columns(g);
	step(g, X, 2, rows);
	step(g, OUT, 2, rows);
}

/* One matrix of x */
static void matrix(struct gen *g)
{
	if (g->n / PART) {
		seq_loop(&g->s, g->n / PART);
		plain_tile(g, PART);
		seq_loop_end(&g->s);
	}
	if (g->n % PART)
		plain_tile(g, g->n % PART);
	step(g, X, 2, -(int64_t)g->n);
	step(g, OUT, 2, -(int64_t)g->n);
}

/* Dimension d of the batch: w goes on where x has gone on so often. */
static void batch(struct gen *g, int d)
{
	const struct kiln_tensor *x = &g->li->t[X], *w = &g->li->t[W];

	if (d == 2) {
		matrix(g);
		return;
	}
	seq_loop(&g->s, w->dim[d]);
	seq_loop(&g->s, x->dim[d] / w->dim[d]);
	batch(g, d + 1);
	step(g, X, d, 1);
	step(g, OUT, d, 1);
	seq_loop_end(&g->s);
	step(g, W, d, 1);
	seq_loop_end(&g->s);
	step(g, X, d, -(int64_t)x->dim[d]);
	step(g, OUT, d, -(int64_t)x->dim[d]);
	step(g, W, d, -(int64_t)w->dim[d]);
}

/* ---------------------------------------------------------------- experts -- */

/* Numbers of experts, one in each partition; one that is none stops the program. */
static void load_ids(struct gen *g)
{
	enum kiln_type type = g->li->t[W].type;
	enum kiln_dtype unit = quantised(type) ? KILN_U8 : kiln_type_dtype(type);
	uint32_t i;

	seq_settle(&g->s);
	for (i = 0; i < g->slots; i++)
		seq_dma(&g->s, RING_X,
			kiln_tile1(KILN_SBUF, KILN_I32, i * g->each, g->each, g->ids, 1),
			kiln_dram(g->addr[IDS], i * step_of(g, IDS, 3), step_of(g, IDS, 2) / 4, 1));
	seq_settle(&g->s);
	kiln_asm_movi(g->as, KILN_SYNC, g->limit, g->experts);
	kiln_asm_dma_gather(g->as, KILN_SYNC, RING_X, sbuf(rows_of_tile(g), unit, g->probe, 1),
			    kiln_dram(g->addr[W], 0, step_of(g, W, 1) / kiln_dtype_bytes(unit), 1),
			    sbuf(rows_of_tile(g), KILN_I32, g->ids, 1), g->limit, 0);
	seq_started(&g->s);
	seq_settle(&g->s);
}

/* Each row by itself */
static void single_rows(struct gen *g)
{
	const struct kiln_tensor *ids = &g->li->t[IDS];

	g->slots = g->each = 1;
	seq_loop(&g->s, ids->dim[2]);
	seq_loop(&g->s, ids->dim[3]);
	load_ids(g);
	kiln_asm_load_register(g->as, KILN_SYNC, g->id, sbuf(1, KILN_I32, g->ids, 1));
	kiln_asm_mul(g->as, KILN_SYNC, g->id, g->id, g->step);
	kiln_asm_add(g->as, KILN_SYNC, g->w_rows, g->addr[W], g->id);
	load_x(g);
	seq_settle(&g->s);
	kiln_asm_addi(g->as, KILN_SYNC, g->w, g->w_rows, 0);
	all_columns(g);
	step(g, X, 2, 1);
	step(g, OUT, 2, 1);
	step(g, IDS, 3, 1);
	seq_loop_end(&g->s);
	step(g, X, 2, -(int64_t)ids->dim[3]);
	step(g, OUT, 2, -(int64_t)ids->dim[3]);
	step(g, IDS, 3, -(int64_t)ids->dim[3]);
	step(g, X, 1, 1);
	step(g, OUT, 1, 1);
	step(g, IDS, 2, 1);
	seq_loop_end(&g->s);
}

/* Which rows of the tile are the expert's: its place, or far beyond */
static void choose(struct gen *g)
{
	uint32_t rows = rows_of_tile(g);
	struct kiln_operand expert = sbuf(rows, KILN_F32, g->expert, 1);

	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_tensor_tensor(g->as, KILN_VECTOR, sbuf(rows, KILN_F32, g->probe, 1),
			       sbuf(rows, KILN_I32, g->ids, 1), KILN_ALU_NE, expert);
	kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, sbuf(rows, KILN_U32, g->index, 1),
				      sbuf(rows, KILN_F32, g->probe, 1), KILN_ALU_MULTIPLY,
				      kiln_const(NOBODY), KILN_ALU_ADD,
				      sbuf(rows, KILN_F32, g->place, 1), 0);
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR, expert, expert, KILN_ALU_ADD, kiln_const(1),
			       KILN_ALU_BYPASS, kiln_const(0), 0);
	seq_settle(&g->s);
}

static void expert_tile(struct gen *g, uint32_t tokens)
{
	g->slots = g->li->t[IDS].dim[3];
	g->each = tokens;
	load_ids(g);
	load_x(g);
	seq_on(&g->s, KILN_VECTOR);
	kiln_asm_memset(g->as, KILN_VECTOR, sbuf(PART, KILN_F32, g->expert, 1), 0);
	seq_settle(&g->s);
	kiln_asm_movi(g->as, KILN_SYNC, g->limit, PART);
	kiln_asm_addi(g->as, KILN_SYNC, g->w_rows, g->addr[W], 0);
	seq_loop(&g->s, g->experts);
	choose(g);
	kiln_asm_addi(g->as, KILN_SYNC, g->w, g->w_rows, 0);
	all_columns(g);
	kiln_asm_add(g->as, KILN_SYNC, g->w_rows, g->w_rows, g->step);
	seq_loop_end(&g->s);
	step(g, X, 1, tokens);
	step(g, OUT, 1, tokens);
	step(g, IDS, 2, tokens);
}

static void by_experts(struct gen *g)
{
	static const int32_t none[1];
	uint32_t used = g->li->t[IDS].dim[3], tokens = g->li->t[IDS].dim[2], most = PART / used;

	seq_settle(&g->s);
	kiln_asm_movi(g->as, KILN_SYNC, g->step, step_of(g, W, 1));
	/* A row by itself takes about as long as a tile: it is the weights that are expanded. */
	if (!most || (uint64_t)used * tokens < (uint64_t)kiln_ceil_div(tokens, most) * g->experts) {
		single_rows(g);
		return;
	}
	g->scattered = true;
	seq_on(&g->s, KILN_GPSIMD);
	kiln_asm_iota(g->as, sbuf(PART, KILN_F32, g->place, 1), 0, 0, 1, none);
	if (tokens / most) {
		seq_loop(&g->s, tokens / most);
		expert_tile(g, most);
		seq_loop_end(&g->s);
	}
	if (tokens % most)
		expert_tile(g, tokens % most);
}

static int make(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct linear *li = shape;
	struct gen gen = {
		.s = seq_start(as), .as = as, .li = li, .n = li->t[X].dim[2], .m = li->t[W].dim[2],
		.k = li->t[X].dim[3], .experts = li->t[W].dim[1],
	}, *g = &gen;
	uint32_t top = 0, t, wide = kiln_min(CHUNK, g->k);

	(void)generation;	/* fits into the smallest */
	g->raw = take(&top, wide * 4);
	g->expand = take(&top, wide * 4 * DEQUANT_SCRATCH);
	g->wide = take(&top, wide * 2);
	g->xt = take(&top, KILN_ALIGN_UP(g->k, PART) * 2);
	g->wt = take(&top, CHUNK / PART * COLUMNS * 2);
	g->result = take(&top, COLUMNS * 4);
	g->ids = take(&top, 4);
	g->place = take(&top, 4);
	g->expert = take(&top, 4);
	g->index = take(&top, 4);
	g->probe = take(&top, 4);
	for (t = 0; t < TENSORS; t++) {
		g->addr[t] = kiln_asm_reg(as, KILN_SYNC);
		kiln_asm_ldarg(as, KILN_SYNC, g->addr[t], t);
	}
	g->w = kiln_asm_reg(as, KILN_SYNC);
	g->w_rows = kiln_asm_reg(as, KILN_SYNC);
	g->out = kiln_asm_reg(as, KILN_SYNC);
	g->limit = kiln_asm_reg(as, KILN_SYNC);
	g->id = kiln_asm_reg(as, KILN_SYNC);
	g->step = kiln_asm_reg(as, KILN_SYNC);
	if (li->t[IDS].addr)
		by_experts(g);
	else
		batch(g, 0);
	return 0;
}

/* ------------------------------------------------------------------ entry -- */

static int check_shapes(const struct linear *li)
{
	const struct kiln_tensor *x = &li->t[X], *w = &li->t[W], *o = &li->t[OUT], *ids = &li->t[IDS];
	bool by_ids = ids->addr, good = x->dim[3] == w->dim[3] && o->dim[3] == w->dim[2];
	int d;

	if (by_ids)
		good = good && x->dim[0] == 1 && w->dim[0] == 1 && o->dim[0] == 1 && ids->dim[0] == 1 &&
			ids->dim[1] == 1 && x->dim[1] == ids->dim[2] && o->dim[1] == ids->dim[2] &&
			(x->dim[2] == 1 || x->dim[2] == ids->dim[3]) && o->dim[2] == ids->dim[3];
	else
		for (d = 0; d < 3; d++)
			good = good && o->dim[d] == x->dim[d] &&
				(d == 2 || x->dim[d] % w->dim[d] == 0);
	if (!good)
		return kiln_error(-EINVAL, "linear: x [%u, %u, %u, %u], w [%u, %u, %u, %u], out [%u, %u, %u, %u]%s: they do not go together",
				  x->dim[0], x->dim[1], x->dim[2], x->dim[3], w->dim[0], w->dim[1],
				  w->dim[2], w->dim[3], o->dim[0], o->dim[1], o->dim[2], o->dim[3],
				  by_ids ? " and ids" : "");
	if (x->dim[3] > MAX_K)
		return kiln_error(-ENOTSUP, "linear: rows of %u: up to %u", x->dim[3], MAX_K);
	return 0;
}

int kiln_linear(struct kiln_ops *ops, const struct kiln_linear *linear, kiln_done_fn done,
		void *user)
{
	static const char *const name[] = { "x", "w", "ids", "out" };
	struct kiln_ops_key key = { .word = { 0 } };
	struct kiln_block block;
	uint64_t args[TENSORS];
	unsigned int i, d, word = 1;
	struct linear li;
	int err;

	if (!ops || !linear)
		return kiln_error(-EINVAL, "linear: no ops or no description");
	memset(&li, 0, sizeof(li));
	li.t[X] = linear->x;
	li.t[W] = linear->w;
	li.t[IDS] = linear->ids;
	li.t[OUT] = linear->out;
	for (i = 0; i < TENSORS; i++) {
		if (i == IDS && !li.t[i].addr)
			continue;
		if (i == IDS ? li.t[i].type != KILN_TYPE_I32 :
		    !known_type(li.t[i].type) && !(i == W && quantised(li.t[i].type)))
			return kiln_error(-ENOTSUP, "linear: type %d of %s: F32, BF16 or F16, of w quantised ones, too, of ids I32",
					  (int)li.t[i].type, name[i]);
		err = nd_tensor("linear", name[i], &li.t[i]);
		if (err)
			return err;
		if (i != IDS && li.t[i].dim[3] > 1 && li.t[i].stride[3] != 1)
			return kiln_error(-EINVAL, "linear: elements of %s lie %lld apart: 1", name[i],
					  (long long)li.t[i].stride[3]);
		block = kiln_type_block(li.t[i].type);
		for (d = 0; d < 4; d++) {
			if (d < 3 ? li.t[i].stride[d] % block.elements :
			    li.t[i].dim[d] % block.elements)
				return kiln_error(-EINVAL, "linear: dimension %u of %s, %u elements %lld apart: whole blocks of %u",
						  d, name[i], li.t[i].dim[d],
						  (long long)li.t[i].stride[d], block.elements);
			/* What a DMA adds to an address has 31 bits: that of COLUMNS rows. */
			if (li.t[i].stride[d] < 0 ||
			    ((d == 2 || (d == 1 && i != W && li.t[IDS].addr)) &&
			     li.t[i].stride[d] > INT32_MAX / (int)(4 * COLUMNS)))
				return kiln_error(-ENOTSUP, "linear: in dimension %u of %s a stride of %lld: 0 to %d",
						  d, name[i], (long long)li.t[i].stride[d],
						  INT32_MAX / (int)(4 * COLUMNS));
		}
	}
	err = check_shapes(&li);
	if (err)
		return err;
	li.work = li.t[W].type == KILN_TYPE_F16 ? KILN_F16 : KILN_BF16;
	err = dequant_grid(ops, li.t[W].type, &li.grid);
	if (err)
		return err;
	key.word[0] = KILN_OPS_LINEAR;
	for (i = 0; i < TENSORS; i++) {
		args[i] = li.t[i].addr;
		if (!args[i])
			continue;
		key.word[word++] = (uint64_t)i << 56 | (uint64_t)li.t[i].type << 48 | li.t[i].dim[0];
		key.word[word++] = (uint64_t)li.t[i].dim[1] << 32 | li.t[i].dim[2];
		key.word[word++] = li.t[i].dim[3];
		for (d = 0; d < 4; d++)
			key.word[word++] = li.t[i].stride[d];
	}
	return kiln_ops_run(ops, &key, "linear", make, &li, args, TENSORS, done, user);
}
