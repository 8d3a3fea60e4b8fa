// SPDX-License-Identifier: MIT
/*
 * Nodes by their op, and what their functions share.
 */
#include <limits.h>

#include "lower.h"

#define SCRATCH_BYTES	(1ull << 20)

void lower_done(void *user, const struct kiln_result *result)
{
	struct lower *l = user;

	l->commands++;
	l->cycles += result->cycles;
	if (result->res && !l->res)
		l->res = result->res;
}

/*
 * Commands of a queue run one after the other, so that all nodes share the same
 * scratch buffers. What is too large for them gets one more.
 */
uint64_t lower_scratch(struct lower *l, uint64_t bytes)
{
	bytes = (bytes + 255) & ~255ull;
	if (!l->device)
		return 4096;
	for (; l->scratch_turn < MAX_SCRATCH; l->scratch_turn++, l->scratch_used = 0) {
		struct kiln_buffer **buffer = &l->scratch[l->scratch_turn];

		if (!*buffer) {
			uint64_t size = SCRATCH_BYTES << l->scratch_turn;

			if (kiln_alloc(l->device, size > bytes ? size : bytes, KILN_HBM, 0, buffer))
				return 0;
		}
		if (l->scratch_used + bytes <= kiln_bytes(*buffer)) {
			l->scratch_used += bytes;
			return kiln_addr(*buffer) + l->scratch_used - bytes;
		}
	}
	return 0;
}

int walk_rows(struct walk *walk, int (*run)(struct lower *l, const struct walk *walk, void *arg),
	      struct lower *l, void *arg)
{
	const int64_t *ne = walk->tensor[0]->ne;
	unsigned int first = 1, even, t;
	int64_t rows, count[2];
	int err = 0;

	/* Rows go along the first dimension that has several, and on as long as all lie evenly. */
	while (first < 3 && ne[first] == 1)
		first++;
	rows = ne[first];
	for (even = first + 1; even < 4; even++) {
		for (t = 0; t < walk->count; t++)
			if (ne[even] != 1 && walk->tensor[t]->nb[even] != walk->tensor[t]->nb[first] * rows)
				break;
		if (t < walk->count)
			break;
		rows *= ne[even];
	}
	if (rows > INT_MAX)
		return -ENOTSUP;
	walk->rows = rows;
	for (t = 0; t < walk->count; t++) {
		const struct ggml_tensor *x = walk->tensor[t];

		walk->ld[t] = rows == 1 ? 0 : x->nb[first] / x->nb[0];
		if (rows > 1 && (x->nb[first] % x->nb[0] || x->nb[first] / x->nb[0] > INT_MAX ||
				 walk->ld[t] < x->ne[0]))
			return -ENOTSUP;
	}
	count[0] = even <= 2 ? ne[2] : 1;
	count[1] = even <= 3 ? ne[3] : 1;
	for (int64_t i3 = 0; i3 < count[1] && !err; i3++)
		for (int64_t i2 = 0; i2 < count[0] && !err; i2++) {
			for (t = 0; t < walk->count; t++)
				walk->at[t] = address(walk->tensor[t]) + i2 * walk->tensor[t]->nb[2] +
					      i3 * walk->tensor[t]->nb[3];
			err = run(l, walk, arg);
		}
	return err;
}

int lower_node(struct lower *l, const struct ggml_tensor *node)
{
	l->scratch_turn = 0;
	l->scratch_used = 0;
	if (ggml_is_empty(node))
		return 0;
	switch (node->op) {
	case GGML_OP_NONE:
	case GGML_OP_RESHAPE:
	case GGML_OP_VIEW:
	case GGML_OP_PERMUTE:
	case GGML_OP_TRANSPOSE:
		return 0;
	case GGML_OP_ADD:
	case GGML_OP_SUB:
	case GGML_OP_MUL:
	case GGML_OP_DIV:
		return lower_binary(l, node);
	case GGML_OP_SQR:
	case GGML_OP_SQRT:
	case GGML_OP_LOG:
	case GGML_OP_SIN:
	case GGML_OP_COS:
	case GGML_OP_UNARY:
		return lower_unary(l, node);
	case GGML_OP_GLU:
		return lower_glu(l, node);
	case GGML_OP_SCALE:
		return lower_scale(l, node);
	case GGML_OP_CPY:
	case GGML_OP_CONT:
	case GGML_OP_DUP:
		return lower_copy(l, node);
	case GGML_OP_SOFT_MAX:
		return lower_softmax(l, node);
	case GGML_OP_NORM:
	case GGML_OP_RMS_NORM:
		return lower_norm(l, node);
	case GGML_OP_SUM:
	case GGML_OP_SUM_ROWS:
	case GGML_OP_MEAN:
		return lower_reduce(l, node);
	case GGML_OP_ARGMAX:
		return lower_argmax(l, node);
	case GGML_OP_GET_ROWS:
		return lower_get_rows(l, node);
	case GGML_OP_MUL_MAT:
		return lower_matmul(l, node);
	default:
		return -ENOTSUP;
	}
}
