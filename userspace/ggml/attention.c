// SPDX-License-Identifier: MIT
/*
 * FLASH_ATTN_EXT: q [dim, queries, heads, batch], k and v [dim, keys, kv heads, batch];
 * the result is [dim, heads, queries, batch].
 */
#include "lower.h"

/* Heads and queries change places. */
static void swap(struct kiln_tensor *t)
{
	struct kiln_tensor was = *t;

	/* The strides of what is dense are not said. */
	t->stride[0] = (int64_t)was.dim[1] * was.dim[2] * was.dim[3];
	t->stride[1] = was.dim[3];
	t->stride[2] = (int64_t)was.dim[2] * was.dim[3];
	t->stride[3] = 1;
	t->dim[1] = was.dim[2];
	t->dim[2] = was.dim[1];
}

int lower_attention(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *mask = node->src[3], *sinks = node->src[4];
	struct kiln_attend a = {
		.q = view(node->src[0]), .k = view(node->src[1]), .v = view(node->src[2]),
		.out = view(node), .scale = float_param(node, 0),
		.max_bias = mask ? float_param(node, 1) : 0, .softcap = float_param(node, 2),
	};

	a.also = lower_twin(l, node);
	swap(&a.out);
	swap(&a.also);
	if (!ggml_is_contiguous(node))
		return -ENOTSUP;
	if (mask)
		a.mask = view(mask);
	if (sinks)
		a.sinks = address(sinks);
	return kiln_attend(l->ops, &a, lower_done, l);
}

/*
 * LIGHTNING_INDEXER: q [dim, heads, tokens, streams], k [dim, 1, keys, streams], a weight for each
 * head [heads, tokens, 1, streams]; mask [keys, tokens, 1, streams or fewer] plus the weighted
 * sum over the heads of what is above 0 of q times k.
 */
int lower_indexer(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *q = node->src[0], *k = node->src[1], *w = node->src[2];
	const struct ggml_tensor *mask = node->src[3];
	uint32_t dim = q->ne[0], heads = q->ne[1], tokens = q->ne[2], keys = k->ne[2];
	struct kiln_tensor scores = scratch(l, KILN_TYPE_F32, 1, tokens, heads, keys);
	uint64_t row = (uint64_t)tokens * keys, queries, table, weights, added;
	int err = 0;

	if (q->type != GGML_TYPE_F32 || w->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32 ||
	    !type_of(k->type) || !type_of(mask->type) || !ggml_is_contiguous(node))
		return -ENOTSUP;
	if (!scores.addr)
		return -ENOMEM;
	queries = dense_copy(l, q, KILN_TYPE_F32, &err);
	table = dense_copy(l, k, KILN_TYPE_F32, &err);
	weights = dense_copy(l, w, KILN_TYPE_F32, &err);
	added = dense_copy(l, mask, KILN_TYPE_F32, &err);
	for (int64_t s = 0; s < q->ne[3] && !err; s++) {
		err = SUBMIT(l, kiln_matmul, .type = KILN_TYPE_F32, .m = tokens * heads, .n = keys,
			     .k = dim, .trans_b = true,
			     .a = queries + s * tokens * heads * dim * sizeof(float),
			     .b = table + s * keys * dim * sizeof(float), .c = scores.addr);
		if (!err)
			err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_RELU, .x = scores, .out = scores);
		if (!err)
			err = SUBMIT(l, kiln_matmul, .type = KILN_TYPE_F32, .m = 1, .n = keys, .k = heads,
				     .batch = tokens, .a = weights + s * tokens * heads * sizeof(float),
				     .b = scores.addr, .c = address(node) + s * row * sizeof(float),
				     .residual = added + s % mask->ne[3] * row * sizeof(float));
	}
	return err;
}
