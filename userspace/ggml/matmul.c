// SPDX-License-Identifier: MIT
/*
 * Matrix products. ggml's MUL_MAT is dst[j][i] = sum over k of src0[i][k] *
 * src1[j][k]: rows of src1, the activations, times those of src0, the weights,
 * each matrix of which serves several of src1.
 */
#include "lower.h"

/* Of a command that goes by experts: elements of weights that are expanded, and rows */
#define MAX_EXPERT_WORK	(1ull << 25)
#define MAX_EXPERT_ROWS	256u

enum kiln_type lower_product_type(enum ggml_type weights)
{
	switch (weights) {
	case GGML_TYPE_F32:
		return KILN_TYPE_F32;
	case GGML_TYPE_F16:
		return KILN_TYPE_F16;
	default:
		/* Expanded blocks have fewer bits than bf16 loses. */
		return type_of(weights) && type_of(weights) != KILN_TYPE_I32 &&
		       type_of(weights) != KILN_TYPE_I64 ? KILN_TYPE_BF16 : 0;
	}
}

struct matrix {
	uint64_t at;
	uint64_t nb[4];			/* bytes */
};

/* t as it lies if the engine can load it so, else a dense copy of the product's type */
static int matrix_of(struct lower *l, const struct ggml_tensor *t, enum kiln_type type,
		     struct matrix *m)
{
	uint32_t es = type_bytes(type);
	int err = 0;

	for (int d = 0; d < 4; d++)
		m->nb[d] = t->nb[d];
	m->at = address(t);
	if (type_of(t->type) == type && m->nb[0] == es && m->nb[1] % es == 0 &&
	    m->nb[1] >= (uint64_t)t->ne[0] * es)
		return 0;
	m->at = lower_twin_of(l, t, type, &err);
	m->nb[0] = es;
	for (int d = 1; d < 4; d++)
		m->nb[d] = m->nb[d - 1] * t->ne[d - 1];
	return err;
}

static int product(struct lower *l, const struct ggml_tensor *node, const struct ggml_tensor *add)
{
	const struct ggml_tensor *w = node->src[0], *x = node->src[1];
	enum kiln_type type = lower_product_type(w->type);
	uint32_t es = type ? type_bytes(type) : 1, repeat2, repeat3;
	uint64_t out = (uint64_t)node->ne[0] * node->ne[1];
	struct matrix wm, xm;
	uint64_t turned = 0;
	uint32_t width = 0;
	int err;

	if (!type || node->type != GGML_TYPE_F32 || !lower_product_type(x->type) ||
	    !ggml_is_contiguous(node))
		return -ENOTSUP;
	/* Weights as they are stored, in one command */
	if (ggml_is_quantized(w->type)) {
		if (add)
			return -ENOTSUP;
		err = SUBMIT(l, kiln_linear, .x = view(x), .w = view(w), .out = view(node));
		if (!err)
			return 0;
	}
	turned = lower_turned(l, w, &width);
	err = matrix_of(l, w, type, &wm);
	if (turned) {
		wm.at = turned;
		wm.nb[1] = (uint64_t)width * es;
	}
	if (!err)
		err = matrix_of(l, x, type, &xm);
	repeat2 = x->ne[2] / w->ne[2];
	repeat3 = x->ne[3] / w->ne[3];
	/*
	 * Two dimensions of batches in one command: those that share a matrix of w, and
	 * the matrices; where none is shared, one is enough.
	 */
	for (int64_t i3 = 0; i3 < x->ne[3] && !err; i3++)
		err = SUBMIT(l, kiln_matmul, .type = type, .out_type = KILN_TYPE_F32,
			     .m = x->ne[1], .n = w->ne[1], .k = w->ne[0], .trans_b = !turned,
			     .batch = repeat2 > 1 ? repeat2 : x->ne[2],
			     .outer = repeat2 > 1 ? w->ne[2] : 1,
			     .a = xm.at + i3 * xm.nb[3], .b = wm.at + i3 / repeat3 * wm.nb[3],
			     .c = address(node) + i3 * node->nb[3],
			     .residual = add ? address(add) + i3 * add->nb[3] : 0,
			     .lda = xm.nb[1] / es, .ldb = wm.nb[1] / es, .share_b = repeat2 > 1,
			     .stride_a = xm.nb[2] / es, .stride_b = wm.nb[2] / es, .stride_c = out,
			     .outer_a = xm.nb[2] / es * repeat2, .outer_b = wm.nb[2] / es,
			     .outer_c = out * repeat2);
	return err;
}

int lower_matmul(struct lower *l, const struct ggml_tensor *node)
{
	return product(l, node, NULL);
}

int lower_matmul_together(struct lower *l, const struct ggml_tensor *const node[], unsigned int count,
			  uint64_t c)
{
	const struct ggml_tensor *x = node[0]->src[1];
	enum kiln_type type = lower_product_type(node[0]->src[0]->type);
	struct kiln_matmul mm = {
		.type = type, .out_type = KILN_TYPE_F32, .m = x->ne[1], .k = x->ne[0], .c = c,
	};
	struct matrix xm;
	int err = 0;

	for (unsigned int i = 0; i < count; i++) {
		uint32_t width;
		uint64_t turned = lower_turned(l, node[i]->src[0], &width);

		if (!turned)
			return -ENOTSUP;
		if (!i) {
			mm.b = turned;
			mm.ldb = width;
		} else {
			mm.more[i - 1].n = node[i]->ne[0];
			mm.more[i - 1].c = address(node[i]);
		}
		mm.n += node[i]->ne[0];
	}
	err = matrix_of(l, x, type, &xm);
	if (err)
		return err;
	mm.a = xm.at;
	mm.lda = xm.nb[1] / type_bytes(type);
	return kiln_matmul(l->ops, &mm, lower_done, l);
}

int lower_matmul_add(struct lower *l, const struct ggml_tensor *node, const struct ggml_tensor *add)
{
	return product(l, node, add);
}

/*
 * dst[t][u][i] = sum over k of src0[ids[t][u]][i][k] * src1[t][u or 0][k]: an expert for
 * each row
 */
int lower_matmul_id(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *w = node->src[0], *x = node->src[1], *ids = node->src[2];
	int64_t used = ids->ne[0], tokens = MAX_EXPERT_ROWS / used, columns, t, m;
	int err = 0;

	if (node->type != GGML_TYPE_F32 || ids->type != GGML_TYPE_I32)
		return -ENOTSUP;
	if (!tokens)
		tokens = 1;
	if (tokens > node->ne[2])
		tokens = node->ne[2];
	/*
	 * Tokens at a time, and columns, so that no command runs into its queue's limit:
	 * weights are expanded for each row or for each expert, whichever are fewer.
	 */
	columns = tokens * used < w->ne[2] ? tokens * used : w->ne[2];
	columns = MAX_EXPERT_WORK / (w->ne[0] * columns) / 512 * 512;
	if (!columns)
		columns = 512;
	for (t = 0; t < node->ne[2] && !err; t += tokens)
		for (m = 0; m < w->ne[1] && !err; m += columns) {
			struct kiln_linear part = {
				.x = view(x), .w = view(w), .ids = view(ids), .out = view(node),
			};

			part.x.dim[1] = part.out.dim[1] = part.ids.dim[2] =
				node->ne[2] - t < tokens ? node->ne[2] - t : tokens;
			part.w.dim[2] = part.out.dim[3] =
				w->ne[1] - m < columns ? w->ne[1] - m : columns;
			part.x.addr += t * x->nb[2];
			part.w.addr += m * w->nb[1];
			part.out.addr += t * node->nb[2] + m * node->nb[0];
			part.ids.addr += t * ids->nb[1];
			err = kiln_linear(l->ops, &part, lower_done, l);
		}
	return err;
}

/* dst[j][i] = sum over k of src0[k][i] * src1[k][j] */
int lower_out_prod(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *a = node->src[0], *b = node->src[1];
	enum kiln_type type = a->type == GGML_TYPE_F32 ? KILN_TYPE_F32 : KILN_TYPE_F16;
	uint32_t es = type_bytes(type);
	uint32_t repeat2 = b->ne[2] / a->ne[2], repeat3 = b->ne[3] / a->ne[3];
	struct matrix am, bm;
	int err;

	if (!lower_product_type(a->type) || !lower_product_type(b->type) || node->type != GGML_TYPE_F32 ||
	    !ggml_is_contiguous(node))
		return -ENOTSUP;
	err = matrix_of(l, a, type, &am);
	if (!err)
		err = matrix_of(l, b, type, &bm);
	for (int64_t i3 = 0; i3 < node->ne[3] && !err; i3++)
		for (int64_t i2 = 0; i2 < a->ne[2] && !err; i2++)
			err = SUBMIT(l, kiln_matmul, .type = type, .out_type = KILN_TYPE_F32,
				     .m = node->ne[1], .n = node->ne[0], .k = a->ne[1],
				     .batch = repeat2, .trans_a = true, .share_b = true,
				     .a = bm.at + i3 * bm.nb[3] + i2 * repeat2 * bm.nb[2],
				     .b = am.at + i3 / repeat3 * am.nb[3] + i2 * am.nb[2],
				     .c = address(node) + i3 * node->nb[3] +
					  i2 * repeat2 * node->nb[2],
				     .lda = bm.nb[1] / es, .ldb = am.nb[1] / es,
				     .stride_a = bm.nb[2] / es);
	return err;
}
