// SPDX-License-Identifier: MIT
/*
 * Matrix products. ggml's MUL_MAT is dst[j][i] = sum over k of src0[i][k] *
 * src1[j][k]: rows of src1, the activations, times those of src0, the weights,
 * each matrix of which serves several of src1.
 */
#include "lower.h"


int lower_matmul(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *w = node->src[0], *x = node->src[1];
	enum kiln_type type = type_of(w->type);
	uint32_t es = type ? type_bytes(type) : 1;
	uint32_t repeat2, repeat3, batch, outer;
	uint64_t x_at = address(x), x_nb[4];
	bool transposed;

	if (!type || node->type != GGML_TYPE_F32 || !type_of(x->type) ||
	    !ggml_is_contiguous(node))
		return -ENOTSUP;
	transposed = w->nb[0] != es;
	if (transposed ? w->nb[1] != es || w->nb[0] % es : w->nb[1] % es)
		return -ENOTSUP;
	for (int d = 0; d < 4; d++)
		x_nb[d] = x->nb[d];
	if (x->type != w->type || x->nb[0] != es) {
		int err;

		x_at = lower_scratch(l, ggml_nelements(x) * es);
		if (!x_at)
			return -ENOMEM;
		err = lower_convert(l, x, x_at, type);
		if (err)
			return err;
		x_nb[0] = es;
		for (int d = 1; d < 4; d++)
			x_nb[d] = x_nb[d - 1] * x->ne[d - 1];
	}
	repeat2 = x->ne[2] / w->ne[2];
	repeat3 = x->ne[3] / w->ne[3];
	/*
	 * Two dimensions of batches in one command: those that share a matrix of w, and
	 * the matrices; or, where none is shared, those of both.
	 */
	batch = repeat2 > 1 ? repeat2 : x->ne[2];
	outer = repeat2 > 1 ? w->ne[2] : 1;
	for (int64_t i3 = 0; i3 < x->ne[3]; i3++) {
		uint64_t w_step = repeat2 > 1 ? 0 : w->nb[2];
		int err = SUBMIT(l, kiln_matmul, .type = type, .out_type = KILN_TYPE_F32,
				 .m = x->ne[1], .n = w->ne[1], .k = w->ne[0],
				 .batch = batch, .outer = outer, .trans_b = !transposed,
				 .a = x_at + i3 * x_nb[3],
				 .b = address(w) + i3 / repeat3 * w->nb[3],
				 .c = address(node) + i3 * node->nb[3],
				 .lda = x_nb[1] / es, .ldb = w->nb[transposed ? 0 : 1] / es,
				 .stride_a = x_nb[2] / es, .stride_b = w_step / es,
				 .stride_c = node->ne[0] * node->ne[1], .share_b = repeat2 > 1,
				 .outer_a = x_nb[2] / es * repeat2, .outer_b = w->nb[2] / es,
				 .outer_c = node->ne[0] * node->ne[1] * repeat2);
		if (err)
			return err;
	}
	return 0;
}
