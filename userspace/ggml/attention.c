// SPDX-License-Identifier: MIT
/*
 * FLASH_ATTN_EXT: q [dim, queries, heads, batch], k and v [dim, keys, kv heads, batch];
 * the result is [dim, heads, queries, batch].
 */
#include "lower.h"

int lower_attention(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *q = node->src[0], *k = node->src[1], *v = node->src[2];
	const struct ggml_tensor *mask = node->src[3];
	float max_bias = float_param(node, 1);
	enum kiln_type type = k->type == GGML_TYPE_F32 ? KILN_TYPE_F32 :
			      k->type == GGML_TYPE_BF16 ? KILN_TYPE_BF16 : KILN_TYPE_F16;
	struct kiln_attention a = {
		.type = type, .batch = q->ne[3], .heads = q->ne[2], .kv_heads = k->ne[2],
		.seq_q = q->ne[1], .seq_kv = k->ne[1], .dim = q->ne[0],
		.scale = float_param(node, 0), .softcap = float_param(node, 2),
	};
	struct kiln_tensor out;
	int err = 0;

	if (node->src[4] || v->ne[0] != k->ne[0] || v->ne[2] != k->ne[2] || a.scale == 0 ||
	    q->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32)
		return -ENOTSUP;
	a.q = dense_copy(l, q, type, &err);
	a.k = dense_copy(l, k, type, &err);
	a.v = dense_copy(l, v, type, &err);
	if (mask) {
		struct ggml_tensor seen = *mask;

		if (mask->ne[1] < q->ne[1])
			return -ENOTSUP;
		/* The mask may have more rows than there are queries. */
		seen.ne[1] = q->ne[1];
		a.mask_type = type_of(mask->type);
		if (max_bias > 0) {
			struct kiln_tensor sloped;

			if (!err)
				err = slope_mask(l, &seen, q->ne[2], max_bias, &sloped);
			if (err)
				return err;
			a.mask = sloped.addr;
			a.mask_type = KILN_TYPE_F32;
			seen.ne[2] = q->ne[2];
		} else {
			a.mask = dense_copy(l, &seen, a.mask_type, &err);
		}
		for (int d = 0; d < 4; d++)
			a.mask_dim[d] = seen.ne[3 - d];
		if ((seen.ne[2] != 1 && seen.ne[2] != q->ne[2]) ||
		    (seen.ne[3] != 1 && seen.ne[3] != q->ne[3]))
			return -ENOTSUP;
	}
	out = scratch(l, type, q->ne[3], q->ne[2], q->ne[1], q->ne[0]);
	a.out = out.addr;
	if (err)
		return err;
	err = kiln_attention(l->ops, &a, lower_done, l);
	if (!err) {
		/* Heads and queries change places. */
		struct kiln_tensor to = view(node);
		uint32_t heads = to.dim[2];
		int64_t stride = to.stride[2];

		to.dim[2] = to.dim[1];
		to.stride[2] = to.stride[1];
		to.dim[1] = heads;
		to.stride[1] = stride;
		err = copy(l, out, to);
	}
	return err;
}
