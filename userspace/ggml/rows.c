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

/* ---------------------------------------------------------------- softmax -- */

/* The slope of each head, as ALiBi has them */
static uint64_t alibi(struct lower *l, uint32_t heads, float max_bias)
{
	float slope[4096], base = powf(2, -max_bias / (1u << (int)log2f(heads)));
	float between = powf(2, -max_bias / 2 / (1u << (int)log2f(heads)));

	if (heads > 4096)
		return 0;
	for (uint32_t h = 0; h < heads; h++)
		slope[h] = h < 1u << (int)log2f(heads) ? powf(base, h + 1) :
			   powf(between, 2 * (h - (1u << (int)log2f(heads))) + 1);
	return lower_constants(l, slope, heads);
}

int slope_mask(struct lower *l, const struct ggml_tensor *mask, uint32_t heads, float max_bias,
	       struct kiln_tensor *out)
{
	uint64_t slopes = alibi(l, heads, max_bias);

	if (!slopes)
		return heads > 4096 ? -ENOTSUP : -ENOMEM;
	*out = scratch(l, KILN_TYPE_F32, mask->ne[3], heads, mask->ne[1], mask->ne[0]);
	return SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = view(mask),
		      .y = dense(KILN_TYPE_F32, slopes, 1, heads, 1, 1), .out = *out);
}

int lower_softmax(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *mask = node->src[1], *sinks = node->src[2];
	uint32_t rows = ggml_nrows(node), width = node->ne[0];
	struct kiln_tensor in = view(x), out = view(node);
	float scale = float_param(node, 0), max_bias = float_param(node, 1);
	int err;

	if (x->type != GGML_TYPE_F32 || !f32_rows(node) || !(scale > 0) ||
	    (mask && mask->type != GGML_TYPE_F32 && mask->type != GGML_TYPE_F16))
		return -ENOTSUP;
	if (mask || sinks) {
		/* A sink is one more column, which is left behind at the end. */
		struct kiln_tensor all = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1],
						 width + !!sinks), part = all;

		part.dim[3] = width;
		for (int64_t d = 3, step = 1; d >= 0; step *= all.dim[d--])
			part.stride[d] = step;
		err = SUBMIT(l, kiln_pointwise, .scale = scale, .x = in, .out = part);
		if (!err && mask) {
			struct kiln_tensor add = view(mask);

			if (mask->ne[1] < x->ne[1])
				return -ENOTSUP;
			/* The mask may have more rows than there are. */
			add.dim[2] = x->ne[1];
			if (max_bias > 0) {
				struct ggml_tensor seen = *mask;

				seen.ne[1] = x->ne[1];
				err = slope_mask(l, &seen, x->ne[2], max_bias, &add);
			}
			if (!err)
				err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = part,
					     .y = add, .out = part);
		}
		if (!err && sinks) {
			struct kiln_tensor column = part, sink = view(sinks);

			column.dim[3] = 1;
			column.addr += width * sizeof(float);
			sink = dense(KILN_TYPE_F32, sink.addr, 1, x->ne[2], 1, 1);
			err = copy(l, sink, column);
		}
		if (!err)
			err = SUBMIT(l, kiln_softmax, .type = KILN_TYPE_F32, .rows = rows,
				     .width = width + !!sinks, .x = all.addr,
				     .y = sinks ? all.addr : out.addr);
		if (!err && sinks)
			err = copy(l, part, out);
		return err;
	}
	in.addr = dense_copy(l, x, KILN_TYPE_F32, (err = 0, &err));
	return err ? err : SUBMIT(l, kiln_softmax, .type = KILN_TYPE_F32, .rows = rows,
				  .width = width, .scale = scale, .x = in.addr, .y = out.addr);
}

/* ------------------------------------------------------------------ norms -- */

int lower_norm(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_norm norm = {
		.type = KILN_TYPE_F32, .rows = ggml_nrows(node), .width = node->ne[0],
		.eps = float_param(node, 0), .y = address(node),
	};
	int err = 0;

	if (node->src[0]->type != GGML_TYPE_F32 || !f32_rows(node))
		return -ENOTSUP;
	norm.x = dense_copy(l, node->src[0], KILN_TYPE_F32, &err);
	if (err)
		return err;
	return (node->op == GGML_OP_NORM ? kiln_layernorm : kiln_rmsnorm)(l->ops, &norm, lower_done,
									  l);
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

/* x / max(sqrt(sum of x^2), eps) */
int lower_l2_norm(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	struct kiln_tensor square, sum;
	int err;

	if (x->type != GGML_TYPE_F32 || !f32_rows(node))
		return -ENOTSUP;
	square = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1], x->ne[0]);
	sum = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1], 1);
	err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_SQUARE, .x = view(x), .out = square);
	if (!err)
		err = SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM,
			     .outer = ggml_nrows(x), .n = x->ne[0], .x = square.addr, .y = sum.addr);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_SQRT, .x = sum, .out = sum);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_CLAMP,
			     .param = { float_param(node, 0), INFINITY }, .x = sum, .out = sum);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_DIVIDE, .x = view(x),
			     .y = sum, .out = view(node));
	return err;
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

/* ARGMAX, TOP_K, ARGSORT: the greatest, so many of them, or all; upwards, those of -x. */
int lower_top(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	uint32_t rows = ggml_nrows(x), k = node->op == GGML_OP_ARGMAX ? 1 : node->ne[0];
	uint64_t at = address(x), values = lower_scratch(l, (uint64_t)rows * k * sizeof(float));

	if (!f32_rows(x) || !ggml_is_contiguous(node) || node->type != GGML_TYPE_I32)
		return -ENOTSUP;
	if (node->op == GGML_OP_ARGSORT && node->op_params[0] == GGML_SORT_ORDER_ASC) {
		struct kiln_tensor down = scratch(l, KILN_TYPE_F32, 1, 1, rows, x->ne[0]);
		int err = SUBMIT(l, kiln_pointwise, .scale = -1, .x = view(x),
				 .out = dense(KILN_TYPE_F32, down.addr, x->ne[3], x->ne[2],
					      x->ne[1], x->ne[0]));

		if (err)
			return err;
		at = down.addr;
	}
	return SUBMIT(l, kiln_topk, .type = KILN_TYPE_F32, .rows = rows, .width = x->ne[0], .k = k,
		      .x = at, .values = values, .indices = address(node));
}

/* ---------------------------------------------------------------- get rows -- */

int lower_get_rows(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *table = node->src[0], *index = node->src[1];
	enum kiln_type type = type_of(table->type);
	uint32_t rows = index->ne[0], width = table->ne[0];

	if ((type != KILN_TYPE_F32 && type != KILN_TYPE_F16 && type != KILN_TYPE_BF16) ||
	    node->type != GGML_TYPE_F32 || index->type != GGML_TYPE_I32 || index->nb[0] != 4 ||
	    table->nb[0] != type_bytes(type) || table->nb[1] % table->nb[0] ||
	    !ggml_is_contiguous(node))
		return -ENOTSUP;
	for (int64_t i3 = 0; i3 < index->ne[2]; i3++)
		for (int64_t i2 = 0; i2 < index->ne[1]; i2++) {
			uint64_t out = address(node) + i2 * node->nb[2] + i3 * node->nb[3];
			struct kiln_tensor got = dense(KILN_TYPE_F32, out, 1, 1, rows, width);
			int err;

			if (type != KILN_TYPE_F32)
				got = scratch(l, type, 1, 1, rows, width);
			err = SUBMIT(l, kiln_gather, .type = type, .rows = rows, .width = width,
				     .table_rows = table->ne[1],
				     .ld_table = table->nb[1] / table->nb[0],
				     .table = address(table) + i2 * table->nb[2] +
					      i3 * table->nb[3],
				     .index = address(index) + i2 * index->nb[1] +
					      i3 * index->nb[2], .out = got.addr);
			if (!err && type != KILN_TYPE_F32)
				err = copy(l, got, dense(KILN_TYPE_F32, out, 1, 1, rows, width));
			if (err)
				return err;
		}
	return 0;
}
