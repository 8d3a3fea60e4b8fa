// SPDX-License-Identifier: MIT
/*
 * Nodes that go row by row.
 */
#include <math.h>

#include "lower.h"

static bool f32_rows(const struct ggml_tensor *t)
{
	return t->type == GGML_TYPE_F32 && ggml_is_contiguous(t);
}

static int rows(struct lower *l, const struct kiln_rows *r)
{
	return kiln_rows(l->ops, r, lower_done, l);
}

/* ---------------------------------------------------------------- softmax -- */

/* mask times ALiBi's slope of each head: powers of 2^(-bias / heads), as kiln_rows() has them */
static int sloped(struct lower *l, struct kiln_tensor *mask, uint32_t heads, float bias)
{
	struct kiln_tensor to = scratch(l, KILN_TYPE_F32, mask->dim[0], heads, mask->dim[2], mask->dim[3]);
	uint32_t whole = 1, i;
	float slope[256];
	uint64_t at;
	int err;

	if (heads > 256)
		return -ENOTSUP;
	while (2 * whole <= heads)
		whole *= 2;
	for (i = 0; i < heads; i++)
		slope[i] = i < whole ? powf(powf(2, -bias / whole), i + 1) :
			powf(powf(2, -bias / 2 / whole), 2 * (i - whole) + 1);
	at = lower_constants(l, slope, heads);
	if (!at || !to.addr)
		return -ENOMEM;
	err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = *mask,
		     .y = dense(KILN_TYPE_F32, at, 1, heads, 1, 1), .out = to);
	*mask = to;
	return err;
}

/* Rows that are too long for a partition. A sink is one more element of each. */
static int long_softmax(struct lower *l, const struct ggml_tensor *node, struct kiln_rows *r)
{
	const struct ggml_tensor *x = node->src[0];
	uint32_t width = x->ne[0] + (r->b.addr ? 1 : 0);
	struct kiln_tensor scores = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1], width);
	struct kiln_tensor part, sink = r->b;
	int err = 0;

	if (!scores.addr)
		return -ENOMEM;
	scores.stride[3] = 1;
	for (int d = 2; d >= 0; d--)
		scores.stride[d] = scores.stride[d + 1] * scores.dim[d + 1];
	part = scores;
	part.dim[3] = x->ne[0];
	if (r->max_bias > 0)
		err = sloped(l, &r->a, x->ne[2], r->max_bias);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .scale = r->scale, .x = r->x,
			     .binary = r->a.addr ? KILN_BINARY_ADD : 0, .y = r->a, .out = part);
	if (r->b.addr && !err) {
		struct kiln_tensor last = scores;

		last.dim[3] = 1;
		last.addr += x->ne[0] * sizeof(float);
		err = copy(l, sink, last);
	}
	if (!err)
		err = SUBMIT(l, kiln_softmax, .type = KILN_TYPE_F32, .rows = ggml_nrows(x),
			     .width = width, .x = scores.addr, .y = scores.addr);
	return err ? err : copy(l, part, r->out);
}

int lower_softmax(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *mask = node->src[1], *sinks = node->src[2];
	struct kiln_rows r = {
		.func = KILN_ROWS_SOFTMAX, .x = view(x), .out = view(node),
		.scale = float_param(node, 0), .max_bias = mask ? float_param(node, 1) : 0,
	};
	int err;

	/* libkiln takes a scale of 0 as 1. */
	if (r.scale == 0 || x->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32)
		return -ENOTSUP;
	if (mask) {
		if (mask->ne[1] < x->ne[1])
			return -ENOTSUP;
		r.a = view(mask);
		/* The mask may have more rows than there are. */
		r.a.dim[2] = x->ne[1];
	}
	if (sinks)
		r.b = dense(KILN_TYPE_F32, address(sinks), 1, x->ne[2], 1, 1);
	err = rows(l, &r);
	return err != -ENOTSUP || (mask && !type_of(mask->type)) ? err : long_softmax(l, node, &r);
}

/* src[0] is the gradient, src[1] the result. */
int lower_softmax_back(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_rows r = {
		.func = KILN_ROWS_SOFTMAX_BACK, .x = view(node->src[0]), .a = view(node->src[1]),
		.out = view(node), .scale = float_param(node, 0),
	};

	/* What a bias added to the scores is gone from the derivative. */
	return r.scale == 0 ? -ENOTSUP : rows(l, &r);
}

/* ------------------------------------------------------------------ norms -- */

int lower_norm(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	struct kiln_rows r = {
		.func = node->op == GGML_OP_NORM ? KILN_ROWS_NORM :
			node->op == GGML_OP_RMS_NORM ? KILN_ROWS_RMS_NORM : KILN_ROWS_L2_NORM,
		.eps = float_param(node, 0), .x = view(x), .out = view(node),
	};
	struct kiln_norm norm = {
		.type = KILN_TYPE_F32, .rows = ggml_nrows(node), .width = node->ne[0], .eps = r.eps,
		.y = address(node),
	};
	int err;

	if (x->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32)
		return -ENOTSUP;
	err = rows(l, &r);
	if (err != -ENOTSUP || node->op == GGML_OP_L2_NORM || !ggml_is_contiguous(node))
		return err;

	/* Rows that are too long for a partition */
	err = 0;
	norm.x = dense_copy(l, x, KILN_TYPE_F32, &err);
	if (err)
		return err;
	return (node->op == GGML_OP_NORM ? kiln_layernorm : kiln_rmsnorm)(l->ops, &norm, lower_done,
									  l);
}

/* src[0] is the gradient, src[1] what was normed. */
int lower_norm_back(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_rows r = {
		.func = KILN_ROWS_RMS_NORM_BACK, .eps = float_param(node, 0),
		.x = view(node->src[0]), .a = view(node->src[1]), .out = view(node),
	};

	return rows(l, &r);
}

/* Rows that are too long for a partition go piece by piece, each on top of the last sum before it. */
#define CUMSUM_PIECE	4096

int lower_cumsum(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	struct kiln_rows r = { .func = KILN_ROWS_CUMSUM, .x = view(x), .out = view(node) };
	int err = rows(l, &r);
	int64_t at;

	if (err != -ENOTSUP || x->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32)
		return err;
	for (at = 0, err = 0; at < x->ne[0] && !err; at += CUMSUM_PIECE) {
		struct kiln_tensor before;

		r.x = view(x);
		r.out = view(node);
		r.x.addr += at * x->nb[0];
		r.out.addr += at * node->nb[0];
		r.x.dim[3] = r.out.dim[3] = x->ne[0] - at < CUMSUM_PIECE ? x->ne[0] - at : CUMSUM_PIECE;
		err = rows(l, &r);
		before = r.out;
		before.dim[3] = 1;
		before.addr -= node->nb[0];
		if (at && !err)
			err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = r.out, .y = before,
				     .out = r.out);
	}
	return err;
}

int lower_group_norm(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	int32_t groups = node->op_params[0];
	struct kiln_norm norm = {
		.type = KILN_TYPE_F32, .rows = groups * x->ne[3],
		.width = x->ne[0] * x->ne[1] * (x->ne[2] / groups),
		.eps = float_param(node, 1), .x = address(x), .y = address(node),
	};

	if (!f32_rows(x) || !f32_rows(node) || x->ne[2] % groups)
		return -ENOTSUP;
	return kiln_layernorm(l->ops, &norm, lower_done, l);
}

/* ------------------------------------------------------------- reductions -- */

int lower_reduce(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	int64_t n = node->op == GGML_OP_SUM ? ggml_nelements(x) : x->ne[0];
	uint64_t at;
	int err = 0;

	/* Of rows whose elements lie apart, ggml's own SUM takes others: nothing to agree with. */
	if (x->type != GGML_TYPE_F32 || !f32_rows(node) || n > UINT32_MAX ||
	    (node->op == GGML_OP_SUM && x->nb[0] != sizeof(float)))
		return -ENOTSUP;
	at = dense_copy(l, x, KILN_TYPE_F32, &err);
	if (err)
		return err;
	return SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32,
		      .func = node->op == GGML_OP_MEAN ? KILN_REDUCE_MEAN : KILN_REDUCE_SUM,
		      .outer = ggml_nelements(x) / n, .n = n, .x = at, .y = address(node));
}

/* How many elements of two tensors are the same: exact as long as fp32 counts so far */
int lower_count_equal(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	struct kiln_tensor same = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1], x->ne[0]);
	struct kiln_tensor count = scratch(l, KILN_TYPE_F32, 1, 1, 1, 1);
	int err;

	if (node->type != GGML_TYPE_I64 || x->type != GGML_TYPE_I32 ||
	    node->src[1]->type != GGML_TYPE_I32 || !ggml_are_same_shape(x, node->src[1]) ||
	    ggml_nelements(x) > 1 << 24)
		return -ENOTSUP;
	err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_EQUAL, .x = view(x),
		     .y = view(node->src[1]), .out = same);
	if (!err)
		err = SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM, .outer = 1,
			     .n = ggml_nelements(x), .x = same.addr, .y = count.addr);
	/* The lower half of the 64 bits, then the upper one */
	if (!err)
		err = copy(l, count, dense(KILN_TYPE_I32, address(node), 1, 1, 1, 1));
	return err ? err : lower_constant_fill(l, dense(KILN_TYPE_I32, address(node) + 4, 1, 1, 1, 1), 0);
}

/* The first k of an order of x's rows, whatever k is */
static int ordered(struct lower *l, const struct ggml_tensor *node, uint32_t k, bool ascending)
{
	const struct ggml_tensor *x = node->src[0];
	uint64_t bytes = kiln_order_work(x->ne[0]), work = bytes ? lower_scratch(l, bytes) : 0;

	/* Long rows are as much as a command gets done in its time. */
	uint32_t rows = ggml_nrows(x), each = bytes ? 1 : rows, row;
	int err = bytes && !work ? -ENOMEM : 0;

	for (row = 0; row < rows && !err; row += each)
		err = SUBMIT(l, kiln_order, .rows = each, .width = x->ne[0], .k = k,
			     .ascending = ascending, .x = address(x) + row * x->nb[1],
			     .indices = address(node) + row * node->nb[1], .work = work);
	return err;
}

/* ARGMAX, TOP_K, ARGSORT: the greatest, so many of them, or all; upwards, those of -x. */
#define MAX_PICKED	1024u

int lower_top(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	bool up = node->op == GGML_OP_ARGSORT && node->op_params[0] == GGML_SORT_ORDER_ASC;
	uint32_t rows = ggml_nrows(x), k = node->op == GGML_OP_ARGMAX ? 1 : node->ne[0];
	uint64_t at = address(x), values;
	int err = 0;

	if (!f32_rows(x) || !ggml_is_contiguous(node) || node->type != GGML_TYPE_I32)
		return -ENOTSUP;
	if (k > MAX_PICKED)
		return ordered(l, node, k, up);
	values = lower_scratch(l, (uint64_t)rows * k * sizeof(float));
	if (up) {
		struct kiln_tensor down = scratch(l, KILN_TYPE_F32, 1, 1, rows, x->ne[0]);

		at = down.addr;
		err = SUBMIT(l, kiln_pointwise, .scale = -1,
			     .x = dense(KILN_TYPE_F32, address(x), 1, 1, rows, x->ne[0]), .out = down);
	}
	if (!err)
		err = SUBMIT(l, kiln_topk, .type = KILN_TYPE_F32, .rows = rows, .width = x->ne[0],
			     .k = k, .x = at, .values = values, .indices = address(node));
	return err == -ENOTSUP ? ordered(l, node, k, up) : err;
}

/* ------------------------------------------------------------ rows by index -- */

/* ggml's index [rows, batches...] is one dimension short of what is looked up. */
static struct kiln_tensor index_of(const struct ggml_tensor *t)
{
	struct kiln_tensor v = view(t);

	if (t->type != GGML_TYPE_I32 && t->type != GGML_TYPE_I64)
		v.type = 0;
	return v;
}

int lower_get_rows(struct lower *l, const struct ggml_tensor *node)
{
	return SUBMIT(l, kiln_get_rows, .table = view(node->src[0]), .index = index_of(node->src[1]),
		      .out = view(node));
}

int lower_set_rows(struct lower *l, const struct ggml_tensor *node)
{
	return SUBMIT(l, kiln_set_rows, .src = view(node->src[0]), .index = index_of(node->src[1]),
		      .out = view(node));
}

/* Gradients of looked up rows are added where they came from. */
int lower_get_rows_back(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_tensor gradients = view(node->src[0]), index = index_of(node->src[1]);
	float nothing = 0;
	uint64_t at = lower_constants(l, &nothing, 1);
	int err;

	if (index.dim[2] != 1 || index.dim[1] != 1)
		return -ENOTSUP;
	/* There may be more rows of them than indices. */
	gradients.dim[2] = index.dim[3];
	err = copy(l, dense(KILN_TYPE_F32, at, 1, 1, 1, 1), view(node));
	return err ? err : SUBMIT(l, kiln_set_rows, .src = gradients, .add = true, .index = index,
				  .out = view(node));
}

/* dst[i0][i1][i2] = a + b[ids[i1][i2]] */
int lower_add_id(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_tensor index = index_of(node->src[2]), a = view(node->src[0]);

	return SUBMIT(l, kiln_get_rows, .table = view(node->src[1]), .index = index, .addend = a,
		      .out = view(node));
}
