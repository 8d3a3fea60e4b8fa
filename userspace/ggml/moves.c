// SPDX-License-Identifier: MIT
/*
 * Nodes that put elements elsewhere: piece by piece, row by row, tile by tile.
 */
#include <math.h>

#include "lower.h"

/* Nodes with a command for each row: up to so many */
#define MAX_ROWS	512

/* Bits of any type that lie still on their way: words of the same size */
struct kiln_tensor lower_bits(const struct ggml_tensor *t)
{
	struct kiln_tensor v = view(t);

	if (t->type == GGML_TYPE_I8)
		v.type = KILN_TYPE_I8;
	else if (t->type == GGML_TYPE_I16)
		v.type = KILN_TYPE_F16;
	else if (!v.type && ggml_is_quantized(t->type) && t->nb[0] == ggml_type_size(t->type)) {
		v.type = KILN_TYPE_I8;
		v.dim[3] = ggml_row_size(t->type, t->ne[0]);
		for (int d = 0; d < 3; d++)
			v.stride[d] = t->nb[3 - d];
		v.stride[3] = 1;
	}
	return v;
}

int lower_constant_fill(struct lower *l, struct kiln_tensor out, float value)
{
	uint64_t at = lower_constants(l, &value, 1);

	return at ? copy(l, dense(KILN_TYPE_F32, at, 1, 1, 1, 1), out) : -ENOMEM;
}

/* out[i] = x[i - shift], going round in each of the dimensions from d on inwards */
static int wrapped(struct lower *l, const struct ggml_tensor *node, struct kiln_tensor out,
		   struct kiln_tensor x, const int32_t shift[4], int d)
{
	const struct ggml_tensor *src = node->src[0];
	int32_t n = src->ne[d < 0 ? 0 : d], to = node->ne[d < 0 ? 0 : d], from;
	int err = 0;

	if (d < 0)
		return copy(l, x, out);
	for (int32_t at = 0, count; at < to && !err; at += count) {
		struct kiln_tensor piece = out, source = x;

		from = ((at - shift[d]) % n + n) % n;
		count = n - from < to - at ? n - from : to - at;
		piece.dim[3 - d] = source.dim[3 - d] = count;
		piece.addr += at * node->nb[d];
		source.addr += from * src->nb[d];
		err = wrapped(l, node, piece, source, shift, d - 1);
	}
	return err;
}

int lower_roll(struct lower *l, const struct ggml_tensor *node)
{
	return wrapped(l, node, view(node), view(node->src[0]), node->op_params, 3);
}

/* op_params: elements before and behind, dimension by dimension, and whether they go round */
int lower_pad(struct lower *l, const struct ggml_tensor *node)
{
	const int32_t *p = node->op_params, before[] = { p[0], p[2], p[4], p[6] };
	struct kiln_tensor out = view(node), x = view(node->src[0]);
	int err;

	if (p[8])
		return wrapped(l, node, out, x, before, 3);
	err = lower_constant_fill(l, out, 0);
	if (err)
		return err;
	for (int d = 0; d < 4; d++) {
		out.dim[3 - d] = x.dim[3 - d];
		out.addr += before[d] * node->nb[d];
	}
	return copy(l, x, out);
}

/* The row, and before and behind it what lies next to its ends, the other way round */
int lower_pad_reflect(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *src = node->src[0];
	int32_t before = node->op_params[0], behind = node->op_params[1];
	struct kiln_tensor out = view(node), x = view(src), edge = x;
	uint64_t step = node->nb[0];
	int err;

	if (src->type != node->type || before >= src->ne[0] || behind >= src->ne[0])
		return -ENOTSUP;
	out.dim[3] = x.dim[3];
	out.addr += before * step;
	err = copy(l, x, out);
	edge.stride[3] = -x.stride[3];
	if (before && !err) {
		edge.dim[3] = out.dim[3] = before;
		edge.addr = x.addr + before * src->nb[0];
		out.addr = address(node);
		err = copy(l, edge, out);
	}
	if (behind && !err) {
		edge.dim[3] = out.dim[3] = behind;
		edge.addr = x.addr + (src->ne[0] - 2) * src->nb[0];
		out.addr = address(node) + (before + src->ne[0]) * step;
		err = copy(l, edge, out);
	}
	return err;
}

/* The sum of all tiles of what was repeated */
int lower_repeat_back(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	struct kiln_tensor out = view(node);
	int64_t at[4], tiles = 1;
	int err = 0;

	if (x->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32)
		return -ENOTSUP;
	for (int d = 0; d < 4; d++)
		tiles *= x->ne[d] / node->ne[d];
	for (int64_t i = 0; i < tiles && !err; i++) {
		struct kiln_tensor tile = view(x);
		int64_t left = i;

		for (int d = 0; d < 4; d++) {
			at[d] = left % (x->ne[d] / node->ne[d]);
			left /= x->ne[d] / node->ne[d];
			tile.addr += at[d] * node->ne[d] * x->nb[d];
			tile.dim[3 - d] = node->ne[d];
		}
		err = !i ? copy(l, tile, out) :
			SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = out, .y = tile,
			       .out = out);
	}
	return err;
}

/* Columns [from, to) of a row */
static void columns_of(struct kiln_tensor *t, const struct ggml_tensor *of, int64_t row, int64_t from,
		       int64_t to)
{
	t->dim[2] = 1;
	t->dim[3] = to - from;
	t->addr += row * of->nb[1] + from * of->nb[0];
}

/* One side of the diagonal, with it or without, and 0 */
int lower_tri(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	enum ggml_tri_type type = node->op_params[0];
	bool lower = type == GGML_TRI_TYPE_LOWER || type == GGML_TRI_TYPE_LOWER_DIAG;
	bool diagonal = type == GGML_TRI_TYPE_LOWER_DIAG || type == GGML_TRI_TYPE_UPPER_DIAG;
	int err;

	if (node->ne[1] > MAX_ROWS || x->type != node->type ||
	    (x->data && x->data == node->data))
		return -ENOTSUP;
	err = lower_constant_fill(l, view(node), 0);
	for (int64_t row = 0; row < node->ne[1] && !err; row++) {
		int64_t from = lower ? 0 : row + !diagonal, to = lower ? row + diagonal : node->ne[0];
		struct kiln_tensor in = view(x), out = view(node);

		if (to > node->ne[0])
			to = node->ne[0];
		if (from >= to)
			continue;
		columns_of(&in, x, row, from, to);
		columns_of(&out, node, row, from, to);
		err = copy(l, in, out);
	}
	return err;
}

/* A row onto the diagonal */
int lower_diag(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_tensor x = view(node->src[0]), out = view(node);
	int err = lower_constant_fill(l, out, 0);

	out.dim[2] = 1;
	out.stride[3] += out.stride[2];
	return err ? err : copy(l, x, out);
}

/* What is to the right of the diagonal, which n_past columns are in front of */
int lower_diag_mask(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	float value = node->op == GGML_OP_DIAG_MASK_INF ? -INFINITY : 0;
	int err = 0;

	if (node->ne[1] > MAX_ROWS || x->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32)
		return -ENOTSUP;
	if (x->data != node->data || !x->data)
		err = copy(l, view(x), view(node));
	for (int64_t row = 0; row < node->ne[1] && !err; row++) {
		int64_t from = node->op_params[0] + row + 1;
		struct kiln_tensor out = view(node);

		if (from >= node->ne[0])
			break;
		columns_of(&out, node, row, from, node->ne[0]);
		err = lower_constant_fill(l, out, value);
	}
	return err;
}

/* start + step * i: the numbers from 0 on, twice as many each time, exact as long as fp32 has them */
int lower_arange(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_tensor out = view(node), more;
	float start = float_param(node, 0), step = float_param(node, 2), zero = 0;
	uint64_t at = lower_constants(l, &zero, 1);
	uint32_t n = node->ne[0];
	int err;

	if (node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node) || n > 1u << 24 || step == 0)
		return -ENOTSUP;
	if (!at)
		return -ENOMEM;
	out = dense(KILN_TYPE_F32, address(node), 1, 1, 1, 1);
	err = copy(l, dense(KILN_TYPE_F32, at, 1, 1, 1, 1), out);
	for (uint32_t have = 1; have < n && !err; have *= 2) {
		out.dim[3] = n - have < have ? n - have : have;
		more = out;
		more.addr += have * sizeof(float);
		err = SUBMIT(l, kiln_pointwise, .shift = have, .x = out, .out = more);
	}
	out.dim[3] = n;
	if (!err && (start != 0 || step != 1))
		err = SUBMIT(l, kiln_pointwise, .scale = step, .shift = start, .x = out, .out = out);
	return err;
}
