// SPDX-License-Identifier: MIT
/*
 * FLASH_ATTN_EXT: q [dim, queries, heads, batch], k and v [dim, keys, kv heads, batch];
 * the result is [dim, heads, queries, batch].
 */
#include "lower.h"

int lower_attention(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *mask = node->src[3], *sinks = node->src[4];
	struct kiln_attend a = {
		.q = view(node->src[0]), .k = view(node->src[1]), .v = view(node->src[2]),
		.out = view(node), .scale = float_param(node, 0),
		.max_bias = mask ? float_param(node, 1) : 0, .softcap = float_param(node, 2),
	};
	struct kiln_tensor out = a.out;

	/* Heads and queries change places. */
	a.out.dim[1] = out.dim[2];
	a.out.stride[1] = out.stride[2];
	a.out.dim[2] = out.dim[1];
	a.out.stride[2] = out.stride[1];
	if (mask)
		a.mask = view(mask);
	if (sinks)
		a.sinks = address(sinks);
	return kiln_attend(l->ops, &a, lower_done, l);
}
