// SPDX-License-Identifier: MIT
/*
 * Nodes that go element by element.
 */
#include <math.h>

#include "lower.h"

/* ----------------------------------------------------------------- binary -- */

#define MAX_DIMS	8

struct dim {
	uint32_t a, b;			/* sizes; 1 repeats */
};

/*
 * ggml repeats the whole of b along each dimension of a, where NumPy would repeat
 * only what is 1: a dimension of r * n against n is two, r against 1 and n against
 * n. Innermost first.
 */
static unsigned int split_dims(const struct ggml_tensor *a, const struct ggml_tensor *b,
			       struct dim *dim)
{
	unsigned int dims = 0;

	for (int d = 0; d < GGML_MAX_DIMS; d++) {
		uint32_t n = b->ne[d], r = a->ne[d] / n;
		struct dim parts[2] = { { n, n }, { r, 1 } };

		for (int p = 0; p < 2; p++) {
			struct dim *last = dims ? &dim[dims - 1] : NULL;

			if (parts[p].a == 1)
				continue;
			/* All dense: what repeats in both or neither is one dimension. */
			if (last && (last->b == 1) == (parts[p].b == 1)) {
				last->a *= parts[p].a;
				last->b *= parts[p].b;
			} else {
				dim[dims++] = parts[p];
			}
		}
	}
	return dims;
}

int lower_binary(struct lower *l, const struct ggml_tensor *node)
{
	static const uint8_t func[] = {
		[GGML_OP_ADD] = KILN_BINARY_ADD, [GGML_OP_SUB] = KILN_BINARY_SUBTRACT,
		[GGML_OP_MUL] = KILN_BINARY_MULTIPLY, [GGML_OP_DIV] = KILN_BINARY_DIVIDE,
	};
	const struct ggml_tensor *a = node->src[0], *b = node->src[1];
	struct dim dim[MAX_DIMS];
	struct kiln_binary binary = {
		.type = type_of(a->type), .out_type = type_of(node->type),
		.func = func[node->op],
		.a = address(a), .b = address(b), .out = address(node),
	};
	unsigned int dims;

	if (!binary.type || !binary.out_type || b->type != a->type ||
	    !ggml_is_contiguous(a) || !ggml_is_contiguous(b) || !ggml_is_contiguous(node))
		return -ENOTSUP;
	dims = split_dims(a, b, dim);
	if (dims > 4)
		return -ENOTSUP;
	for (unsigned int d = 0; d < dims; d++) {
		binary.a_dim[3 - d] = dim[d].a;
		binary.b_dim[3 - d] = dim[d].b;
	}
	return kiln_binary(l->ops, &binary, lower_done, l);
}

/* ------------------------------------------------------------------ unary -- */

struct unary {
	enum kiln_unary_func func;
	float scale, shift;
};

static int run_unary(struct lower *l, const struct walk *w, void *arg)
{
	const struct unary *u = arg;
	const struct ggml_tensor *x = w->tensor[0], *y = w->tensor[1];

	return SUBMIT(l, kiln_unary, .type = type_of(x->type), .out_type = type_of(y->type),
		      .func = u->func, .scale = u->scale, .shift = u->shift,
		      .rows = w->rows, .width = x->ne[0], .ldx = w->ld[0], .ldy = w->ld[1],
		      .x = w->at[0], .y = w->at[1]);
}

static int map(struct lower *l, const struct ggml_tensor *x, const struct ggml_tensor *y,
	       struct unary u)
{
	struct walk w = { .count = 2, .tensor = { x, y } };

	if (!type_of(x->type) || !type_of(y->type) || !ggml_are_same_shape(x, y) ||
	    x->nb[0] != ggml_type_size(x->type) || y->nb[0] != ggml_type_size(y->type))
		return -ENOTSUP;
	return walk_rows(&w, run_unary, l, &u);
}

int lower_unary(struct lower *l, const struct ggml_tensor *node)
{
	static const uint8_t plain[] = {
		[GGML_OP_SQR] = KILN_UNARY_SQUARE, [GGML_OP_SQRT] = KILN_UNARY_SQRT,
		[GGML_OP_LOG] = KILN_UNARY_LOG, [GGML_OP_SIN] = KILN_UNARY_SIN,
		[GGML_OP_COS] = KILN_UNARY_COS,
	};
	static const uint8_t func[GGML_UNARY_OP_COUNT] = {
		[GGML_UNARY_OP_ABS] = KILN_UNARY_ABS, [GGML_UNARY_OP_SGN] = KILN_UNARY_SIGN,
		[GGML_UNARY_OP_NEG] = KILN_UNARY_COPY, [GGML_UNARY_OP_TANH] = KILN_UNARY_TANH,
		[GGML_UNARY_OP_RELU] = KILN_UNARY_RELU,
		[GGML_UNARY_OP_SIGMOID] = KILN_UNARY_SIGMOID,
		[GGML_UNARY_OP_GELU] = KILN_UNARY_GELU_TANH,
		[GGML_UNARY_OP_GELU_QUICK] = KILN_UNARY_GELU_QUICK,
		[GGML_UNARY_OP_SILU] = KILN_UNARY_SILU, [GGML_UNARY_OP_EXP] = KILN_UNARY_EXP,
		[GGML_UNARY_OP_SOFTPLUS] = KILN_UNARY_SOFTPLUS,
		[GGML_UNARY_OP_GELU_ERF] = KILN_UNARY_GELU,
	};
	struct unary u = { .scale = 1 };

	if (node->op == GGML_OP_UNARY) {
		u.func = func[ggml_get_unary_op(node)];
		if (ggml_get_unary_op(node) == GGML_UNARY_OP_NEG)
			u.scale = -1;
	} else {
		u.func = plain[node->op];
	}
	return u.func ? map(l, node->src[0], node, u) : -ENOTSUP;
}

int lower_scale(struct lower *l, const struct ggml_tensor *node)
{
	struct unary u = { KILN_UNARY_COPY, float_param(node, 0), float_param(node, 1) };

	/* libkiln takes 0 as 1. */
	if (u.scale == 0 || !isfinite(u.scale) || !isfinite(u.shift))
		return -ENOTSUP;
	return map(l, node->src[0], node, u);
}

int lower_convert(struct lower *l, const struct ggml_tensor *x, uint64_t y, enum kiln_type type)
{
	struct ggml_tensor dense = *x;

	dense.type = type == KILN_TYPE_F32 ? GGML_TYPE_F32 :
		     type == KILN_TYPE_F16 ? GGML_TYPE_F16 : GGML_TYPE_BF16;
	dense.data = (void *)y;
	dense.nb[0] = type_bytes(type);
	for (int d = 1; d < GGML_MAX_DIMS; d++)
		dense.nb[d] = dense.nb[d - 1] * dense.ne[d - 1];
	return map(l, x, &dense, (struct unary){ KILN_UNARY_COPY, 1, 0 });
}

int lower_copy(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];

	if (ggml_are_same_shape(x, node))
		return map(l, x, node, (struct unary){ KILN_UNARY_COPY, 1, 0 });
	/* CPY may change the shape: the order of the elements stays. */
	if (!ggml_is_contiguous(node) || !type_of(node->type))
		return -ENOTSUP;
	return lower_convert(l, x, address(node), type_of(node->type));
}

/* -------------------------------------------------------------------- GLU -- */

static int run_glu(struct lower *l, const struct walk *w, void *arg)
{
	const struct kiln_glu *glu = arg;

	return SUBMIT(l, kiln_glu, .type = glu->type, .func = glu->func, .rows = w->rows,
		      .width = w->tensor[2]->ne[0], .ld_gate = w->ld[0], .ld_up = w->ld[1],
		      .ld_out = w->ld[2], .gate = w->at[0], .up = w->at[1], .out = w->at[2]);
}

int lower_glu(struct lower *l, const struct ggml_tensor *node)
{
	static const uint8_t func[GGML_GLU_OP_COUNT] = {
		[GGML_GLU_OP_REGLU] = KILN_UNARY_RELU, [GGML_GLU_OP_GEGLU] = KILN_UNARY_GELU_TANH,
		[GGML_GLU_OP_SWIGLU] = KILN_UNARY_SILU, [GGML_GLU_OP_GEGLU_ERF] = KILN_UNARY_GELU,
		[GGML_GLU_OP_GEGLU_QUICK] = KILN_UNARY_GELU_QUICK,
	};
	struct kiln_glu glu = { .type = type_of(node->type), .func = func[ggml_get_glu_op(node)] };
	struct ggml_tensor gate = *node->src[0], up = node->src[1] ? *node->src[1] : gate;
	struct walk w = { .count = 3, .tensor = { &gate, &up, node } };

	if (!glu.type || !glu.func || gate.type != node->type || up.type != node->type ||
	    gate.nb[0] != type_bytes(glu.type) || up.nb[0] != type_bytes(glu.type) ||
	    node->nb[0] != type_bytes(glu.type))
		return -ENOTSUP;
	if (!node->src[1]) {
		struct ggml_tensor *second = node->op_params[1] ? &gate : &up;

		second->data = (char *)second->data + node->ne[0] * type_bytes(glu.type);
	}
	return walk_rows(&w, run_glu, l, &glu);
}
