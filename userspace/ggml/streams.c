// SPDX-License-Identifier: MIT
/*
 * Hyper-connections: several residual streams of each token, mixed by small matrices.
 */
#include "lower.h"

static bool f32(const struct ggml_tensor *t)
{
	return t->type == GGML_TYPE_F32 && ggml_is_contiguous(t);
}

/* x [n, streams, tokens] times weights [streams, tokens], or times scale * sigmoid(gate), summed up */
int lower_streams_in(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *w = node->src[1];
	uint32_t n = x->ne[0], streams = x->ne[1], tokens = x->ne[2];
	struct kiln_tensor gated, out = view(node);
	float scale = float_param(node, 0);
	bool gate = node->op_params[1];
	int err;

	if (!f32(x) || !f32(w) || !f32(node) || x->ne[3] != 1 || scale == 0 || (!gate && scale != 1))
		return -ENOTSUP;
	if (!gate)
		return SUBMIT(l, kiln_matmul, .type = KILN_TYPE_F32, .m = 1, .n = n, .k = streams,
			      .batch = tokens, .a = address(w), .b = address(x), .c = address(node));
	gated = scratch(l, KILN_TYPE_F32, 1, tokens, streams, n);
	err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_SIGMOID, .x = view(w),
		     .binary = KILN_BINARY_MULTIPLY, .y = view(x), .out = gated);
	if (!err)
		err = SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM,
			     .outer = tokens, .n = streams, .inner = n, .x = gated.addr,
			     .y = address(node));
	return err ? err : SUBMIT(l, kiln_pointwise, .scale = scale, .x = out, .out = out);
}

/* x [n, tokens] to all streams by post [streams, tokens], and the residual streams by comb [to, from, tokens] */
int lower_streams_out(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *residual = node->src[1], *post = node->src[2];
	const struct ggml_tensor *comb = node->src[3];
	uint32_t n = x->ne[0], tokens = x->ne[1], streams = residual->ne[1];
	int err;

	if (!f32(x) || !f32(residual) || !f32(post) || (comb && !f32(comb)) || !f32(node))
		return -ENOTSUP;
	err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY,
		     .x = dense(KILN_TYPE_F32, address(x), 1, tokens, 1, n),
		     .y = dense(KILN_TYPE_F32, address(post), 1, tokens, streams, 1),
		     .out = view(node));
	if (err)
		return err;
	if (!comb)
		return SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = view(node),
			      .y = view(residual), .out = view(node));
	return SUBMIT(l, kiln_matmul, .type = KILN_TYPE_F32, .m = streams, .n = n, .k = streams,
		      .batch = tokens, .trans_a = true, .a = address(comb), .b = address(residual),
		      .c = address(node), .residual = address(node));
}

/* comb [1, tokens, 4, 4] divided by the sums of its columns, or of its rows, and eps */
static int balanced(struct lower *l, struct kiln_tensor comb, bool columns, float eps)
{
	uint32_t tokens = comb.dim[1], n = comb.dim[3];
	struct kiln_tensor sum = scratch(l, KILN_TYPE_F32, 1, tokens, columns ? 1 : n, columns ? n : 1);
	int err = SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM,
			 .outer = columns ? tokens : tokens * n, .n = n, .inner = columns ? n : 1,
			 .x = comb.addr, .y = sum.addr);

	if (!err)
		err = SUBMIT(l, kiln_pointwise, .shift = eps, .x = sum, .out = sum);
	return err ? err : SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_DIVIDE, .x = comb, .y = sum,
				  .out = comb);
}

/* Behind eight others of each token, 4 x 4 mixes: softmax(scale[2] * mix + base), then balanced so often */
int lower_streams_mix(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *mixes = node->src[0], *scale = node->src[1], *base = node->src[2];
	struct kiln_tensor comb = view(node), mix = view(mixes);
	float eps = float_param(node, 0);
	int32_t turns = node->op_params[1];
	int err;

	if (!f32(mixes) || !f32(scale) || !f32(base) || !f32(node) || node->ne[0] != 4 ||
	    node->ne[1] != 4 || mixes->ne[0] != 24)
		return -ENOTSUP;
	mix = (struct kiln_tensor) {
		.type = KILN_TYPE_F32, .addr = address(mixes) + 8 * sizeof(float),
		.dim = { 1, mixes->ne[1], 4, 4 }, .stride = { 24 * mixes->ne[1], 24, 4, 1 },
	};
	err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = mix,
		     .y = dense(KILN_TYPE_F32, address(scale) + 2 * sizeof(float), 1, 1, 1, 1),
		     .out = comb);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = comb,
			     .y = dense(KILN_TYPE_F32, address(base) + 8 * sizeof(float), 1, 1, 4, 4),
			     .out = comb);
	if (!err)
		err = SUBMIT(l, kiln_rows, .func = KILN_ROWS_SOFTMAX, .x = comb, .out = comb);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .shift = eps, .x = comb, .out = comb);
	for (int32_t i = 0; i < turns && !err; i++) {
		if (i)
			err = balanced(l, comb, false, eps);
		if (!err)
			err = balanced(l, comb, true, eps);
	}
	return err;
}
