// SPDX-License-Identifier: MIT
/*
 * Element by element: functions of one tensor, of two with broadcasting, and
 * gated ones.
 *
 * Dimensions that lie behind each other in all tensors become one. What is left
 * is [outer..., rows, columns]. A tile is up to 128 partitions of a group of rows
 * each, so that each has about TILE_BYTES, of all columns or a chunk of them. What
 * is the same for all rows is loaded once for all tiles of a chunk; where there is
 * but one value for all columns, only that is loaded.
 *
 * Sync loads, GpSimd stores, Scalar computes functions of one element and Vector
 * those of two; memory takes longer than any of them.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "stream.h"

#define TILE_BYTES	8192u	/* of a partition, in the type of the inputs */
#define IN_SLOTS	4
#define SHARED_SLOTS	2	/* of what is the same for all rows */
#define OUT_SLOTS	3
#define TMP_SLOTS	2
#define OUT		2	/* the tensors are 0 and 1, and the result */
#define DIMS		4

enum kind { UNARY, BINARY, GLU };

enum {
	SEM_FULL,	/* and that of the second */
	SEM_FREE = 2,
	SEM_OUT_FULL = 4, SEM_OUT_FREE,
	SEM_TMP_FULL, SEM_TMP_FREE,
};

enum { RING_IN = 0, RING_OUT = 8 };

/* What a program depends on. */
struct elements {
	enum kind kind;
	enum kiln_type type, out_type;
	uint32_t func;		/* enum kiln_unary_func or kiln_binary_func */
	float scale, shift;
	uint32_t dims;
	uint32_t dim[DIMS];		/* outermost first */
	uint64_t stride[3][DIMS];	/* elements */
};

struct gen {
	struct kiln_asm *as;
	const struct elements *el;
	unsigned int inputs, outer;
	uint32_t outer_dim[3];
	uint32_t rows, columns;
	uint64_t outer_stride[3][3], row_stride[3], column_stride[3];
	uint32_t group, chunk;		/* rows of a partition, columns of a tile */
	enum kiln_dtype type[3];
	uint32_t es[3];
	bool shared[2];			/* the same for all rows */
	struct turn in[2][KILN_ENGINES], out[KILN_ENGINES], tmp[KILN_ENGINES];
	unsigned int addr[3][6];	/* Sync's, for OUT GpSimd's: registers, by level */
};

static const enum kiln_engine mover[] = { KILN_SYNC, KILN_SYNC, KILN_GPSIMD };

static const struct {
	enum kiln_activation act;
	bool known;
} unary[] = {
#define FUNC(name, act) [KILN_UNARY_##name] = { KILN_ACT_##act, true }
	FUNC(COPY, COPY), FUNC(EXP, EXP), FUNC(SQUARE, SQUARE), FUNC(RELU, RELU), FUNC(ABS, ABS),
	FUNC(SIGMOID, SIGMOID), FUNC(TANH, TANH), FUNC(GELU, GELU),
	FUNC(GELU_TANH, GELU_APPRX_TANH), FUNC(GELU_QUICK, GELU_APPRX_SIGMOID), FUNC(SILU, SILU),
	FUNC(SOFTPLUS, SOFTPLUS), FUNC(MISH, MISH), FUNC(ERF, ERF), FUNC(LOG, LOG), FUNC(SIN, SIN),
	FUNC(COS, COS), FUNC(ARCTAN, ARCTAN), FUNC(SQRT, SQRT), FUNC(RSQRT, RSQRT),
	FUNC(RECIPROCAL, RECIPROCAL), FUNC(SIGN, SIGN),
#undef FUNC
};

static const enum kiln_alu binary[] = {
	[KILN_BINARY_ADD] = KILN_ALU_ADD,
	[KILN_BINARY_SUBTRACT] = KILN_ALU_SUBTRACT,
	[KILN_BINARY_MULTIPLY] = KILN_ALU_MULTIPLY,
	[KILN_BINARY_DIVIDE] = KILN_ALU_MULTIPLY,	/* by the reciprocal */
	[KILN_BINARY_MAX] = KILN_ALU_MAX,
	[KILN_BINARY_MIN] = KILN_ALU_MIN,
};

/* ------------------------------------------------------------------ shape -- */

/* Drop dimensions of 1 and join those that lie behind each other in all tensors. */
static void join(struct elements *el)
{
	uint32_t d, out = 0, t;

	for (d = 0; d < el->dims; d++) {
		bool joins = out > 0;

		if (el->dim[d] == 1)
			continue;
		for (t = 0; t < 3; t++)
			joins = joins && el->stride[t][out - 1] == el->stride[t][d] * el->dim[d];
		joins = joins && (uint64_t)el->dim[out - 1] * el->dim[d] <= INT32_MAX;
		if (!joins)
			out++;
		el->dim[out - 1] = joins ? el->dim[out - 1] * el->dim[d] : el->dim[d];
		for (t = 0; t < 3; t++)
			el->stride[t][out - 1] = el->stride[t][d];
	}
	if (!out) {
		out = 1;
		el->dim[0] = 1;
		for (t = 0; t < 3; t++)
			el->stride[t][0] = 1;
	}
	el->dims = out;
	for (d = out; d < DIMS; d++) {
		el->dim[d] = 0;
		for (t = 0; t < 3; t++)
			el->stride[t][d] = 0;
	}
}

/* Which of the dimensions are rows and columns. */
static void plan(struct gen *g)
{
	const struct elements *el = g->el;
	uint32_t last = el->dims - 1, d, t, tile = TILE_BYTES / g->es[0];
	/* Few long rows: their columns fill the partitions better. */
	bool flat = !last || (el->dim[last - 1] < 64 && el->dim[last] >= 512);
	uint32_t row = flat ? last : last - 1;
	uint64_t widest = 1;

	g->inputs = el->kind == UNARY ? 1 : 2;
	g->outer = row;
	for (d = 0; d < row; d++)
		g->outer_dim[d] = el->dim[d];
	g->rows = el->dim[row];
	g->columns = flat ? 1 : el->dim[last];
	for (t = 0; t < 3; t++) {
		for (d = 0; d < row; d++)
			g->outer_stride[t][d] = el->stride[t][d];
		g->row_stride[t] = el->stride[t][row];
		g->column_stride[t] = flat ? 1 : el->stride[t][last];
		if (g->row_stride[t] > widest)
			widest = g->row_stride[t];
	}
	for (t = 0; t < g->inputs; t++)
		g->shared[t] = !g->row_stride[t];
	g->chunk = kiln_min(g->columns, tile);
	g->group = kiln_min(tile / g->chunk, kiln_ceil_div(g->rows, PART));
	while (g->group > 1 && g->group * widest > INT32_MAX)
		g->group--;
}

/* Columns of input t that a tile of n has. */
static uint32_t stored(const struct gen *g, unsigned int t, uint32_t n)
{
	return g->column_stride[t] ? n : 1;
}

/* One value of input t for each partition, for all that it holds */
static bool is_column(const struct gen *g, unsigned int t, uint32_t rows, uint32_t n)
{
	return stored(g, t, n) == 1 && (g->shared[t] || rows == 1) && (rows > 1 || n > 1);
}

/* As the engines see it: [rows, n] with what is not there repeated. */
static struct kiln_operand view(const struct gen *g, unsigned int t, const struct turn *turn,
				enum kiln_dtype type, uint32_t p, uint32_t rows, uint32_t n)
{
	uint32_t columns = stored(g, t, n);
	int step = columns > 1 || n == 1, row_step = g->shared[t] ? 0 : (int)columns;

	if (n == 1)
		return kiln_at(kiln_tile2(KILN_SBUF, type, 0, p, 0, 1, 1, rows, row_step), turn->reg);
	if (rows == 1 || row_step == step * (int)n)
		return kiln_at(kiln_tile2(KILN_SBUF, type, 0, p, 0, 1, 1, rows * n, step), turn->reg);
	return kiln_at(kiln_tile2(KILN_SBUF, type, 0, p, 0, rows, row_step, n, step), turn->reg);
}

/* ------------------------------------------------------------------ tiles -- */

static void load(struct gen *g, unsigned int t, unsigned int addr, uint32_t p, uint32_t rows,
		 uint32_t n)
{
	uint32_t columns = stored(g, t, n);

	kiln_asm_wait(g->as, KILN_SYNC, SEM_FREE + t, 1);
	kiln_asm_dma(g->as, KILN_SYNC, RING_IN + 4 * t,
		     kiln_at(kiln_tile2(KILN_SBUF, g->type[t], 0, p, 0, rows, columns, columns, 1),
			     g->in[t][KILN_SYNC].reg),
		     kiln_dram2(addr, 0, g->row_stride[t] * rows, g->row_stride[t],
				g->column_stride[t]));
	kiln_asm_post(g->as, KILN_SYNC, SEM_FULL + t, 1);
	turn_next(g->as, KILN_SYNC, &g->in[t][KILN_SYNC]);
}

/* Who reads input t */
static enum kiln_engine reader(const struct gen *g, unsigned int t)
{
	return g->el->kind == BINARY || t ? KILN_VECTOR : KILN_SCALAR;
}

/* Input t has come, or did with the chunk. */
static void wait_input(struct gen *g, unsigned int t)
{
	if (!g->shared[t])
		kiln_asm_wait(g->as, reader(g, t), SEM_FULL + t, 1);
}

/* The tile has been read, and the slot's turn is over. */
static void free_input(struct gen *g, unsigned int t)
{
	if (g->shared[t])
		return;
	post_free(g->as, reader(g, t), SEM_FREE + t, 1);
	turn_next(g->as, reader(g, t), &g->in[t][reader(g, t)]);
}

static void by_scalar(struct gen *g, struct kiln_operand dst, uint32_t p, uint32_t rows,
		      uint32_t n)
{
	wait_input(g, 0);
	kiln_asm_activation(g->as, dst, unary[g->el->func].act,
			    view(g, 0, &g->in[0][KILN_SCALAR], g->type[0], p, rows, n),
			    kiln_const(g->el->scale), kiln_const(g->el->shift), NULL);
}

static void by_vector(struct gen *g, uint32_t p, uint32_t rows, uint32_t n)
{
	struct kiln_asm *as = g->as;
	const struct turn *a = &g->in[0][KILN_VECTOR], *b = &g->in[1][KILN_VECTOR];
	enum kiln_dtype b_type = g->type[1];
	struct kiln_operand dst = kiln_at(sbuf(p, g->type[OUT], 0, rows * n),
					  g->out[KILN_VECTOR].reg);
	enum kiln_alu func = binary[g->el->func];

	wait_input(g, 0);
	wait_input(g, 1);
	if (g->el->func == KILN_BINARY_DIVIDE) {
		uint32_t held = stored(g, 1, n) * (g->shared[1] ? 1 : rows);

		kiln_asm_reciprocal(as, slot(&g->tmp[KILN_VECTOR], KILN_F32, p, held),
				    slot(b, b_type, p, held));
		b = &g->tmp[KILN_VECTOR];
		b_type = KILN_F32;
	}
	kiln_asm_wait(as, KILN_VECTOR, SEM_OUT_FREE, 1);
	if (is_column(g, 1, rows, n))
		kiln_asm_tensor_scalar(as, KILN_VECTOR, dst, view(g, 0, a, g->type[0], p, rows, n),
				       func, kiln_col(KILN_SBUF, b_type, 0, b->reg),
				       KILN_ALU_BYPASS, kiln_const(0), 0);
	else if (is_column(g, 0, rows, n))
		kiln_asm_tensor_scalar(as, KILN_VECTOR, dst, view(g, 1, b, b_type, p, rows, n),
				       func, kiln_col(KILN_SBUF, g->type[0], 0, a->reg),
				       KILN_ALU_BYPASS, kiln_const(0), KILN_F_REVERSE0);
	else
		kiln_asm_tensor_tensor(as, KILN_VECTOR, dst,
				       view(g, 0, a, g->type[0], p, rows, n), func,
				       view(g, 1, b, b_type, p, rows, n));
	kiln_asm_post(as, KILN_VECTOR, SEM_OUT_FULL, 1);
	free_input(g, 0);
	free_input(g, 1);
}

static void gated(struct gen *g, uint32_t p, uint32_t rows, uint32_t n)
{
	struct kiln_asm *as = g->as;

	kiln_asm_wait(as, KILN_SCALAR, SEM_TMP_FREE, 1);
	by_scalar(g, slot(&g->tmp[KILN_SCALAR], KILN_F32, p, rows * n), p, rows, n);
	kiln_asm_post(as, KILN_SCALAR, SEM_TMP_FULL, 1);
	free_input(g, 0);
	turn_next(as, KILN_SCALAR, &g->tmp[KILN_SCALAR]);

	wait_input(g, 1);
	kiln_asm_wait(as, KILN_VECTOR, SEM_TMP_FULL, 1);
	kiln_asm_wait(as, KILN_VECTOR, SEM_OUT_FREE, 1);
	kiln_asm_tensor_tensor(as, KILN_VECTOR,
			       slot(&g->out[KILN_VECTOR], g->type[OUT], p, rows * n),
			       slot(&g->tmp[KILN_VECTOR], KILN_F32, p, rows * n),
			       KILN_ALU_MULTIPLY,
			       view(g, 1, &g->in[1][KILN_VECTOR], g->type[1], p, rows, n));
	kiln_asm_post(as, KILN_VECTOR, SEM_TMP_FREE, 1);
	kiln_asm_post(as, KILN_VECTOR, SEM_OUT_FULL, 1);
	turn_next(as, KILN_VECTOR, &g->tmp[KILN_VECTOR]);
	free_input(g, 1);
}

static void tile(struct gen *g, uint32_t p, uint32_t rows, uint32_t n)
{
	struct kiln_asm *as = g->as;
	enum kiln_engine e = g->el->kind == UNARY ? KILN_SCALAR : KILN_VECTOR;
	unsigned int level = g->outer + 2, t;

	for (t = 0; t < g->inputs; t++)
		if (!g->shared[t])
			load(g, t, g->addr[t][level], p, rows, n);
	if (g->el->kind == UNARY) {
		kiln_asm_wait(as, KILN_SCALAR, SEM_OUT_FREE, 1);
		by_scalar(g, slot(&g->out[KILN_SCALAR], g->type[OUT], p, rows * n), p, rows, n);
		kiln_asm_post(as, KILN_SCALAR, SEM_OUT_FULL, 1);
		free_input(g, 0);
	} else if (g->el->kind == BINARY) {
		by_vector(g, p, rows, n);
	} else {
		gated(g, p, rows, n);
	}
	turn_next(as, e, &g->out[e]);

	kiln_asm_wait(as, KILN_GPSIMD, SEM_OUT_FULL, 1);
	kiln_asm_dma(as, KILN_GPSIMD, RING_OUT,
		     kiln_dram2(g->addr[OUT][level], 0, g->row_stride[OUT] * rows,
				g->row_stride[OUT], g->column_stride[OUT]),
		     kiln_at(kiln_tile2(KILN_SBUF, g->type[OUT], 0, p, 0, rows, n, n, 1),
			     g->out[KILN_GPSIMD].reg));
	kiln_asm_post(as, KILN_GPSIMD, SEM_OUT_FREE, 1);
	turn_next(as, KILN_GPSIMD, &g->out[KILN_GPSIMD]);

	for (t = 0; t < 3; t++)
		if (t == OUT || t < g->inputs)
			bump(as, mover[t], g->addr[t][level],
			     (int64_t)(g->row_stride[t] * p * rows * g->es[t]));
}

/* The addresses of a level start where those of the one before stand. */
static void enter(struct gen *g, unsigned int level)
{
	unsigned int t;

	for (t = 0; t < 3; t++)
		if (t == OUT || t < g->inputs)
			kiln_asm_addi(g->as, mover[t], g->addr[t][level], g->addr[t][level - 1], 0);
}

static void step(struct gen *g, unsigned int level, const uint64_t by[3])
{
	unsigned int t;

	for (t = 0; t < 3; t++)
		if (t == OUT || t < g->inputs)
			bump(g->as, mover[t], g->addr[t][level], (int64_t)(by[t] * g->es[t]));
}

/* All rows of n columns. */
static void all_rows(struct gen *g, uint32_t n)
{
	uint32_t tile_rows = PART * g->group, rest = g->rows % tile_rows;
	const uint64_t by[3] = { g->column_stride[0] * n, g->column_stride[1] * n,
				 g->column_stride[2] * n };
	unsigned int level = g->outer + 1, t;

	for (t = 0; t < g->inputs; t++)
		if (g->shared[t]) {
			load(g, t, g->addr[t][level], PART, 1, n);
			kiln_asm_wait(g->as, reader(g, t), SEM_FULL + t, 1);
			kiln_asm_nop(g->as, reader(g, t));
		}
	enter(g, level + 1);
	if (g->rows / tile_rows) {
		kiln_asm_loop(g->as, g->rows / tile_rows);
		tile(g, PART, g->group, n);
		kiln_asm_loop_end(g->as);
	}
	if (rest / g->group)
		tile(g, rest / g->group, g->group, n);
	if (rest % g->group)
		tile(g, 1, rest % g->group, n);
	for (t = 0; t < g->inputs; t++)
		if (g->shared[t]) {
			post_free(g->as, reader(g, t), SEM_FREE + t, 1);
			turn_next(g->as, reader(g, t), &g->in[t][reader(g, t)]);
		}
	step(g, level, by);
}

static void all_columns(struct gen *g)
{
	enter(g, g->outer + 1);
	if (g->columns / g->chunk) {
		kiln_asm_loop(g->as, g->columns / g->chunk);
		all_rows(g, g->chunk);
		kiln_asm_loop_end(g->as);
	}
	if (g->columns % g->chunk)
		all_rows(g, g->columns % g->chunk);
}

static void outer(struct gen *g, unsigned int level)
{
	uint64_t by[3];
	unsigned int t;

	if (level > g->outer) {
		all_columns(g);
		return;
	}
	for (t = 0; t < 3; t++)
		by[t] = g->outer_stride[t][level - 1];
	enter(g, level);
	kiln_asm_loop(g->as, g->outer_dim[level - 1]);
	outer(g, level + 1);
	step(g, level, by);
	kiln_asm_loop_end(g->as);
}

/* ---------------------------------------------------------------- program -- */

static int make_elements(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct elements *el = shape;
	struct gen gen = { .as = as, .el = el }, *g = &gen;
	uint32_t top = 0, most, bytes;
	unsigned int t, level;

	(void)generation;	/* fits into the smallest */
	for (t = 0; t < 3; t++) {
		g->type[t] = kiln_type_dtype(t == OUT ? el->out_type : el->type);
		g->es[t] = type_size(t == OUT ? el->out_type : el->type);
	}
	plan(g);
	most = g->group * g->chunk;

	for (t = 0; t < g->inputs; t++) {
		uint32_t slots = g->shared[t] ? SHARED_SLOTS : IN_SLOTS;

		bytes = KILN_ALIGN_UP(stored(g, t, g->chunk) * (g->shared[t] ? 1 : g->group) *
				      g->es[t], 64u);
		turn_init(as, KILN_SYNC, &g->in[t][KILN_SYNC], top, bytes, slots);
		turn_init(as, reader(g, t), &g->in[t][reader(g, t)], top, bytes, slots);
		post_free(as, reader(g, t), SEM_FREE + t, slots);
		top += slots * bytes;
	}
	bytes = KILN_ALIGN_UP(most * g->es[OUT], 64u);
	turn_init(as, el->kind == UNARY ? KILN_SCALAR : KILN_VECTOR,
		  &g->out[el->kind == UNARY ? KILN_SCALAR : KILN_VECTOR], top, bytes, OUT_SLOTS);
	turn_init(as, KILN_GPSIMD, &g->out[KILN_GPSIMD], top, bytes, OUT_SLOTS);
	post_free(as, KILN_GPSIMD, SEM_OUT_FREE, OUT_SLOTS);
	top += OUT_SLOTS * bytes;
	if (el->kind == GLU || (el->kind == BINARY && el->func == KILN_BINARY_DIVIDE)) {
		bytes = KILN_ALIGN_UP(most * 4, 64u);
		turn_init(as, KILN_SCALAR, &g->tmp[KILN_SCALAR], top, bytes, TMP_SLOTS);
		turn_init(as, KILN_VECTOR, &g->tmp[KILN_VECTOR], top, bytes, TMP_SLOTS);
	}
	if (el->kind == GLU)
		post_free(as, KILN_VECTOR, SEM_TMP_FREE, TMP_SLOTS);
	for (t = 0; t < 3; t++) {
		if (t != OUT && t >= g->inputs)
			continue;
		for (level = 0; level <= g->outer + 2; level++)
			g->addr[t][level] = kiln_asm_reg(as, mover[t]);
		kiln_asm_ldarg(as, mover[t], g->addr[t][0], t);
	}
	outer(g, 1);
	return 0;
}

/* ------------------------------------------------------------------ entry -- */

static int check_types(const char *op, struct elements *el)
{
	if (!el->out_type)
		el->out_type = el->type;
	if (!known_type(el->type))
		return kiln_error(-ENOTSUP, "%s: type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  op, (int)el->type);
	if (!known_type(el->out_type))
		return kiln_error(-ENOTSUP, "%s: out_type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  op, (int)el->out_type);
	return 0;
}

int kiln_ops_activation(const char *op, uint32_t func, enum kiln_activation *act)
{
	if (func >= sizeof(unary) / sizeof(*unary) || !unary[func].known)
		return kiln_error(-ENOTSUP, "%s: function %u is none of enum kiln_unary_func", op,
				  func);
	*act = unary[func].act;
	return 0;
}

static int check_address(const char *op, const char *name, uint64_t addr, enum kiln_type type)
{
	if (!addr || addr % type_size(type))
		return kiln_error(-EINVAL, "%s: %s is at 0x%llx: a device address, aligned to %u bytes",
				  op, name, (unsigned long long)addr, type_size(type));
	return 0;
}

/* [rows, width] with this leading dimension, as tensor t. */
static int set_rows(const char *op, const char *name, struct elements *el, unsigned int t,
		    uint32_t ld)
{
	if (!ld)
		ld = el->dim[1];
	if (ld < el->dim[1] || ld > INT32_MAX)
		return kiln_error(-EINVAL, "%s: %s is %u: 0, or from a row of %u elements up to 2147483647",
				  op, name, ld, el->dim[1]);
	el->stride[t][0] = ld;
	el->stride[t][1] = 1;
	return 0;
}

static int check_rows(const char *op, struct elements *el)
{
	el->dims = 2;
	if (!el->dim[0] || !el->dim[1] || el->dim[0] > INT32_MAX || el->dim[1] > INT32_MAX)
		return kiln_error(-EINVAL, "%s: %u rows of %u: each 1 to 2147483647", op,
				  el->dim[0], el->dim[1]);
	return 0;
}

static int run(struct kiln_ops *ops, const char *op, struct elements *el, uint64_t a, uint64_t b,
	       uint64_t out, kiln_done_fn done, void *user)
{
	const uint64_t args[] = { a, b, out };
	struct kiln_ops_key key = { .word = { 0 } };
	uint32_t scale, shift;
	unsigned int d, t;

	join(el);
	memcpy(&scale, &el->scale, sizeof(scale));
	memcpy(&shift, &el->shift, sizeof(shift));
	key.word[0] = KILN_OPS_ELEMENTS | (uint64_t)el->kind << 8 | (uint64_t)el->type << 16 |
		(uint64_t)el->out_type << 24 | (uint64_t)el->func << 32;
	key.word[1] = (uint64_t)scale << 32 | shift;
	for (d = 0; d < DIMS; d++) {
		key.word[2 + d] = el->dim[d];
		for (t = 0; t < 3; t++)
			key.word[6 + 4 * t + d] = el->stride[t][d];
	}
	return kiln_ops_run(ops, &key, op, make_elements, el, args, 3, done, user);
}

int kiln_unary(struct kiln_ops *ops, const struct kiln_unary *un, kiln_done_fn done, void *user)
{
	enum kiln_activation act;
	struct elements el;
	int err;

	if (!ops || !un)
		return kiln_error(-EINVAL, "unary: no ops or no description");
	el = (struct elements) {
		.kind = UNARY, .type = un->type, .out_type = un->out_type, .func = un->func,
		.scale = un->scale == 0 ? 1 : un->scale, .shift = un->shift,
		.dim = { un->rows ? un->rows : 1, un->width },
	};
	err = check_types("unary", &el);
	if (!err)
		err = kiln_ops_activation("unary", un->func, &act);
	if (!err)
		err = check_rows("unary", &el);
	if (!err)
		err = set_rows("unary", "ldx", &el, 0, un->ldx);
	if (!err)
		err = set_rows("unary", "ldy", &el, OUT, un->ldy);
	if (!err)
		err = check_address("unary", "x", un->x, el.type);
	if (!err)
		err = check_address("unary", "y", un->y, el.out_type);
	if (err)
		return err;
	if (!isfinite(el.scale) || !isfinite(el.shift))
		return kiln_error(-EINVAL, "unary: scale is %g and shift %g: both finite", el.scale,
				  el.shift);
	memcpy(el.stride[1], el.stride[0], sizeof(el.stride[0]));
	return run(ops, "unary", &el, un->x, 0, un->y, done, user);
}

int kiln_glu(struct kiln_ops *ops, const struct kiln_glu *glu, kiln_done_fn done, void *user)
{
	enum kiln_activation act;
	struct elements el;
	int err;

	if (!ops || !glu)
		return kiln_error(-EINVAL, "glu: no ops or no description");
	el = (struct elements) {
		.kind = GLU, .type = glu->type, .func = glu->func, .scale = 1,
		.dim = { glu->rows ? glu->rows : 1, glu->width },
	};
	err = check_types("glu", &el);
	if (!err)
		err = kiln_ops_activation("glu", glu->func, &act);
	if (!err)
		err = check_rows("glu", &el);
	if (!err)
		err = set_rows("glu", "ld_gate", &el, 0, glu->ld_gate);
	if (!err)
		err = set_rows("glu", "ld_up", &el, 1, glu->ld_up);
	if (!err)
		err = set_rows("glu", "ld_out", &el, OUT, glu->ld_out);
	if (!err)
		err = check_address("glu", "gate", glu->gate, el.type);
	if (!err)
		err = check_address("glu", "up", glu->up, el.type);
	if (!err)
		err = check_address("glu", "out", glu->out, el.type);
	if (err)
		return err;
	return run(ops, "glu", &el, glu->gate, glu->up, glu->out, done, user);
}

int kiln_binary(struct kiln_ops *ops, const struct kiln_binary *bin, kiln_done_fn done,
		void *user)
{
	uint64_t count[3] = { 1, 1, 1 };
	struct elements el;
	int err, d;

	if (!ops || !bin)
		return kiln_error(-EINVAL, "binary: no ops or no description");
	el = (struct elements) {
		.kind = BINARY, .type = bin->type, .out_type = bin->out_type, .func = bin->func,
		.dims = DIMS,
	};
	err = check_types("binary", &el);
	if (err)
		return err;
	if (bin->func < KILN_BINARY_ADD || bin->func > KILN_BINARY_MIN)
		return kiln_error(-ENOTSUP, "binary: function %d is none of enum kiln_binary_func",
				  (int)bin->func);
	for (d = DIMS - 1; d >= 0; d--) {
		uint32_t n[2] = { bin->a_dim[d] ? bin->a_dim[d] : 1, bin->b_dim[d] ? bin->b_dim[d] : 1 };
		int t;

		if (n[0] != n[1] && n[0] != 1 && n[1] != 1)
			return kiln_error(-EINVAL, "binary: dimension %d is %u in a and %u in b: equal, or one of them 1",
					  d, n[0], n[1]);
		el.dim[d] = n[0] > n[1] ? n[0] : n[1];
		if (el.dim[d] > INT32_MAX || count[OUT] * el.dim[d] > 1ull << 40)
			return kiln_error(-EINVAL, "binary: dimension %d is %u: at most 2147483647, and at most 2^40 elements",
					  d, el.dim[d]);
		for (t = 0; t < 2; t++) {
			el.stride[t][d] = n[t] == 1 ? 0 : count[t];
			count[t] *= n[t];
		}
		el.stride[OUT][d] = count[OUT];
		count[OUT] *= el.dim[d];
	}
	err = check_address("binary", "a", bin->a, el.type);
	if (!err)
		err = check_address("binary", "b", bin->b, el.type);
	if (!err)
		err = check_address("binary", "out", bin->out, el.out_type);
	if (err)
		return err;
	return run(ops, "binary", &el, bin->a, bin->b, bin->out, done, user);
}
