// SPDX-License-Identifier: MIT
/*
 * Nodes that go row by row.
 */
#include "lower.h"

static bool f32_rows(const struct ggml_tensor *t)
{
	return t->type == GGML_TYPE_F32 && t->nb[0] == sizeof(float);
}

/* ---------------------------------------------------------------- softmax -- */

static int run_softmax(struct lower *l, const struct walk *w, void *arg)
{
	return SUBMIT(l, kiln_softmax, .type = KILN_TYPE_F32, .rows = w->rows,
		      .width = w->tensor[0]->ne[0], .ldx = w->ld[0], .ldy = w->ld[1],
		      .scale = *(float *)arg, .x = w->at[0], .y = w->at[1]);
}

int lower_softmax(struct lower *l, const struct ggml_tensor *node)
{
	struct walk w = { .count = 2, .tensor = { node->src[0], node } };
	float scale = float_param(node, 0);

	if (!f32_rows(node->src[0]) || !f32_rows(node) || !(scale > 0) || node->src[1] ||
	    node->src[2])
		return -ENOTSUP;
	return walk_rows(&w, run_softmax, l, &scale);
}

/* ------------------------------------------------------------------ norms -- */

static int run_norm(struct lower *l, const struct walk *w, void *arg)
{
	const struct ggml_tensor *node = arg;
	struct kiln_norm norm = {
		.type = KILN_TYPE_F32, .rows = w->rows, .width = node->ne[0], .ldx = w->ld[0],
		.ldy = w->ld[1], .eps = float_param(node, 0), .x = w->at[0], .y = w->at[1],
	};

	return (node->op == GGML_OP_NORM ? kiln_layernorm : kiln_rmsnorm)(l->ops, &norm, lower_done,
									  l);
}

int lower_norm(struct lower *l, const struct ggml_tensor *node)
{
	struct walk w = { .count = 2, .tensor = { node->src[0], node } };

	if (!f32_rows(node->src[0]) || !f32_rows(node))
		return -ENOTSUP;
	return walk_rows(&w, run_norm, l, (void *)node);
}

/* ------------------------------------------------------------- reductions -- */

int lower_reduce(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	int64_t n = node->op == GGML_OP_SUM ? ggml_nelements(x) : x->ne[0];

	if (x->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32 || !ggml_is_contiguous(x) ||
	    !ggml_is_contiguous(node))
		return -ENOTSUP;
	return SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32,
		      .func = node->op == GGML_OP_MEAN ? KILN_REDUCE_MEAN : KILN_REDUCE_SUM,
		      .outer = ggml_nelements(x) / n, .n = n, .x = address(x), .y = address(node));
}

int lower_argmax(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	uint64_t values;

	if (x->type != GGML_TYPE_F32 || !ggml_is_contiguous(x) || !ggml_is_contiguous(node))
		return -ENOTSUP;
	values = lower_scratch(l, ggml_nrows(x) * sizeof(float));
	if (!values)
		return -ENOMEM;
	return SUBMIT(l, kiln_topk, .type = KILN_TYPE_F32, .rows = ggml_nrows(x),
		      .width = x->ne[0], .k = 1, .x = address(x), .values = values,
		      .indices = address(node));
}

/* ---------------------------------------------------------------- get rows -- */

int lower_get_rows(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *table = node->src[0], *index = node->src[1];
	enum kiln_type type = type_of(table->type);
	uint32_t rows = index->ne[0], width = table->ne[0];

	if (!type || node->type != GGML_TYPE_F32 || index->type != GGML_TYPE_I32 ||
	    index->nb[0] != 4 || table->nb[0] != type_bytes(type) ||
	    table->nb[1] % table->nb[0] || !ggml_is_contiguous(node))
		return -ENOTSUP;
	for (int64_t i3 = 0; i3 < index->ne[2]; i3++)
		for (int64_t i2 = 0; i2 < index->ne[1]; i2++) {
			uint64_t out = address(node) + i2 * node->nb[2] + i3 * node->nb[3], to = out;
			int err;

			if (type != KILN_TYPE_F32) {
				to = lower_scratch(l, (uint64_t)rows * width * type_bytes(type));
				if (!to)
					return -ENOMEM;
			}
			err = SUBMIT(l, kiln_gather, .type = type, .rows = rows, .width = width,
				     .table_rows = table->ne[1],
				     .ld_table = table->nb[1] / table->nb[0],
				     .table = address(table) + i2 * table->nb[2] +
					      i3 * table->nb[3],
				     .index = address(index) + i2 * index->nb[1] +
					      i3 * index->nb[2], .out = to);
			if (!err && to != out)
				err = SUBMIT(l, kiln_unary, .type = type,
					     .out_type = KILN_TYPE_F32, .func = KILN_UNARY_COPY,
					     .rows = rows, .width = width, .x = to, .y = out);
			if (err)
				return err;
		}
	return 0;
}
