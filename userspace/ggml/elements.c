// SPDX-License-Identifier: MIT
/*
 * Nodes that go element by element, and those that only move elements.
 */
#include <math.h>

#include "lower.h"

/* Functions of elements are of these; kiln_pointwise() takes no others. */
static bool real(const struct ggml_tensor *t)
{
	return t->type == GGML_TYPE_F32 || t->type == GGML_TYPE_F16 || t->type == GGML_TYPE_BF16;
}

static int pointwise(struct lower *l, const struct kiln_pointwise *p)
{
	return kiln_pointwise(l->ops, p, lower_done, l);
}

int lower_binary(struct lower *l, const struct ggml_tensor *node)
{
	static const uint8_t func[] = {
		[GGML_OP_ADD] = KILN_BINARY_ADD, [GGML_OP_ADD1] = KILN_BINARY_ADD,
		[GGML_OP_SUB] = KILN_BINARY_SUBTRACT, [GGML_OP_MUL] = KILN_BINARY_MULTIPLY,
		[GGML_OP_DIV] = KILN_BINARY_DIVIDE,
	};

	if (!real(node) || !real(node->src[0]) || !real(node->src[1]))
		return -ENOTSUP;
	return SUBMIT(l, kiln_pointwise, .binary = func[node->op], .x = view(node->src[0]),
		      .y = view(node->src[1]), .out = view(node), .also = lower_twin(l, node));
}

/* ------------------------------------------------------------------ unary -- */

int lower_unary(struct lower *l, const struct ggml_tensor *node)
{
	static const uint8_t plain[] = {
		[GGML_OP_SQR] = KILN_UNARY_SQUARE, [GGML_OP_SQRT] = KILN_UNARY_SQRT,
		[GGML_OP_LOG] = KILN_UNARY_LOG, [GGML_OP_SIN] = KILN_UNARY_SIN,
		[GGML_OP_COS] = KILN_UNARY_COS, [GGML_OP_CLAMP] = KILN_UNARY_CLAMP,
		[GGML_OP_LEAKY_RELU] = KILN_UNARY_LEAKY_RELU,
	};
	static const uint8_t func[GGML_UNARY_OP_COUNT] = {
		[GGML_UNARY_OP_ABS] = KILN_UNARY_ABS, [GGML_UNARY_OP_SGN] = KILN_UNARY_SIGN,
		[GGML_UNARY_OP_NEG] = KILN_UNARY_COPY, [GGML_UNARY_OP_STEP] = KILN_UNARY_STEP,
		[GGML_UNARY_OP_TANH] = KILN_UNARY_TANH, [GGML_UNARY_OP_ELU] = KILN_UNARY_ELU,
		[GGML_UNARY_OP_RELU] = KILN_UNARY_RELU,
		[GGML_UNARY_OP_SIGMOID] = KILN_UNARY_SIGMOID,
		[GGML_UNARY_OP_GELU] = KILN_UNARY_GELU_TANH,
		[GGML_UNARY_OP_GELU_QUICK] = KILN_UNARY_GELU_QUICK,
		[GGML_UNARY_OP_SILU] = KILN_UNARY_SILU,
		[GGML_UNARY_OP_HARDSWISH] = KILN_UNARY_HARDSWISH,
		[GGML_UNARY_OP_HARDSIGMOID] = KILN_UNARY_HARDSIGMOID,
		[GGML_UNARY_OP_EXP] = KILN_UNARY_EXP, [GGML_UNARY_OP_EXPM1] = KILN_UNARY_EXPM1,
		[GGML_UNARY_OP_SOFTPLUS] = KILN_UNARY_SOFTPLUS,
		[GGML_UNARY_OP_GELU_ERF] = KILN_UNARY_GELU, [GGML_UNARY_OP_XIELU] = KILN_UNARY_XIELU,
		[GGML_UNARY_OP_FLOOR] = KILN_UNARY_FLOOR, [GGML_UNARY_OP_CEIL] = KILN_UNARY_CEIL,
		[GGML_UNARY_OP_ROUND] = KILN_UNARY_ROUND, [GGML_UNARY_OP_TRUNC] = KILN_UNARY_TRUNC,
	};
	struct kiln_pointwise p = { .x = view(node->src[0]), .out = view(node) };

	if (!real(node) || !real(node->src[0]))
		return -ENOTSUP;
	if (node->op != GGML_OP_UNARY) {
		p.unary = plain[node->op];
		p.param[0] = float_param(node, 0);
		p.param[1] = float_param(node, 1);
	} else {
		p.unary = func[ggml_get_unary_op(node)];
		if (ggml_get_unary_op(node) == GGML_UNARY_OP_NEG)
			p.scale = -1;
		if (ggml_get_unary_op(node) == GGML_UNARY_OP_XIELU) {
			/* alpha_n, alpha_p, beta, eps stand behind the function */
			p.param[0] = float_param(node, 2);
			p.param[1] = float_param(node, 1);
			p.param[2] = float_param(node, 3);
			p.param[3] = float_param(node, 4);
		}
	}
	if (!p.unary)
		return -ENOTSUP;
	p.also = lower_twin(l, node);
	return pointwise(l, &p);
}

/* src[0] is the gradient, src[1] what the function was of. */
int lower_unary_back(struct lower *l, const struct ggml_tensor *node)
{
	if (!real(node) || !real(node->src[0]) || !real(node->src[1]))
		return -ENOTSUP;
	return SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_SILU_DX, .binary = KILN_BINARY_MULTIPLY,
		      .x = view(node->src[1]), .y = view(node->src[0]), .out = view(node));
}

int lower_scale(struct lower *l, const struct ggml_tensor *node)
{
	float scale = float_param(node, 0), shift = float_param(node, 1);
	struct kiln_tensor out = view(node);
	uint64_t at;
	int err;

	if (!real(node) || !real(node->src[0]))
		return -ENOTSUP;
	if (scale != 0)
		return SUBMIT(l, kiln_pointwise, .scale = scale, .shift = shift,
			      .x = view(node->src[0]), .out = out);
	/* libkiln takes 0 as 1. It is not a fill: what is not finite becomes no number. */
	at = lower_constants(l, &scale, 1);
	if (!at)
		return -ENOMEM;
	err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = view(node->src[0]),
		     .y = dense(KILN_TYPE_F32, at, 1, 1, 1, 1), .out = out);
	return err || shift == 0 ? err :
		SUBMIT(l, kiln_pointwise, .shift = shift, .x = out, .out = out);
}

/* -------------------------------------------------------------------- GLU -- */

/* A copy of t between two limits, in place of it */
static int clamped(struct lower *l, struct kiln_tensor *t, float low, float high)
{
	struct kiln_tensor to = scratch(l, KILN_TYPE_F32, t->dim[0], t->dim[1], t->dim[2], t->dim[3]);
	int err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_CLAMP, .param = { low, high }, .x = *t,
			 .out = to);

	*t = to;
	return err;
}

int lower_glu(struct lower *l, const struct ggml_tensor *node)
{
	static const uint8_t func[GGML_GLU_OP_COUNT] = {
		[GGML_GLU_OP_REGLU] = KILN_UNARY_RELU, [GGML_GLU_OP_GEGLU] = KILN_UNARY_GELU_TANH,
		[GGML_GLU_OP_SWIGLU] = KILN_UNARY_SILU, [GGML_GLU_OP_GEGLU_ERF] = KILN_UNARY_GELU,
		[GGML_GLU_OP_GEGLU_QUICK] = KILN_UNARY_GELU_QUICK,
		[GGML_GLU_OP_SWIGLU_OAI] = KILN_UNARY_COPY,
		[GGML_GLU_OP_SWIGLU_CLAMP] = KILN_UNARY_SILU,
	};
	const struct ggml_tensor *gate = node->src[0], *up = node->src[1];
	struct kiln_pointwise p = {
		.unary = func[ggml_get_glu_op(node)], .binary = KILN_BINARY_MULTIPLY,
		.x = view(gate), .y = view(up ? up : gate), .out = view(node),
	};

	if (!p.unary || !real(node) || !real(gate) || (up && !real(up)))
		return -ENOTSUP;
	if (!up) {
		struct kiln_tensor *second = node->op_params[1] ? &p.x : &p.y;

		p.x.dim[3] = p.y.dim[3] = node->ne[0];
		second->addr += node->ne[0] * gate->nb[0];
	}
	if (ggml_get_glu_op(node) == GGML_GLU_OP_SWIGLU_OAI) {
		p.binary = KILN_BINARY_SWIGLU_OAI;
		p.param[0] = float_param(node, 2);
		p.param[1] = float_param(node, 3);
	}
	if (ggml_get_glu_op(node) == GGML_GLU_OP_SWIGLU_CLAMP) {
		int err = clamped(l, &p.x, -INFINITY, float_param(node, 3));

		if (!err)
			err = clamped(l, &p.y, -float_param(node, 3), float_param(node, 3));
		if (err)
			return err;
	}
	p.also = lower_twin(l, node);
	return pointwise(l, &p);
}

/* ------------------------------------------------------------------ moves -- */

int lower_copy(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_tensor x = view(node->src[0]), whole;
	int err;

	if (node->type == node->src[0]->type) {
		x = lower_bits(node->src[0]);
		whole = x;
		err = copy(l, x, lower_bits(node));
		if (err != -ENOTSUP)
			return err;
		/* Shapes that are not made of common pieces: by a dense one */
		whole.addr = lower_scratch(l, ggml_nelements(node) / ggml_blck_size(node->type) *
					   ggml_type_size(node->type));
		for (int d = 0; d < 4; d++)
			whole.stride[d] = 0;
		err = whole.addr ? copy(l, x, whole) : -ENOMEM;
		return err ? err : copy(l, whole, lower_bits(node));
	}
	if (node->type != GGML_TYPE_I32 || !real(node->src[0]))
		return copy(l, x, view(node));
	/* Towards zero, where kiln_copy() goes to the nearest */
	whole = scratch(l, KILN_TYPE_F32, x.dim[0], x.dim[1], x.dim[2], x.dim[3]);
	err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_TRUNC, .x = x, .out = whole);
	return err ? err : copy(l, whole, view(node));
}

int lower_fill(struct lower *l, const struct ggml_tensor *node)
{
	return lower_constant_fill(l, view(node), float_param(node, 0));
}

/* Steps x frequencies, of which there are as many as pairs of cosine and sine: [cosines, sines] of each */
int lower_timestep_embedding(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *steps = node->src[0];
	int32_t dim = node->op_params[0], half = dim / 2, j;
	struct kiln_tensor angles = scratch(l, KILN_TYPE_F32, 1, 1, steps->ne[0], half);
	struct kiln_tensor out = view(node);
	float frequency[1024];
	uint64_t at;
	int err;

	if (steps->type != GGML_TYPE_F32 || steps->nb[0] != sizeof(float) || !real(node) ||
	    half > 1024 || dim % 2 || !half)
		return -ENOTSUP;
	for (j = 0; j < half; j++)
		frequency[j] = expf(-logf(node->op_params[1]) * j / half);
	at = lower_constants(l, frequency, half);
	if (!at || !angles.addr)
		return -ENOMEM;
	err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY,
		     .x = dense(KILN_TYPE_F32, address(steps), 1, 1, steps->ne[0], 1),
		     .y = dense(KILN_TYPE_F32, at, 1, 1, 1, half), .out = angles);
	out.dim[3] = half;
	for (j = 0; j < 2 && !err; j++, out.addr += half * node->nb[0])
		err = SUBMIT(l, kiln_pointwise, .unary = j ? KILN_UNARY_SIN : KILN_UNARY_COS,
			     .x = angles, .out = out);
	return err;
}

/* The view of node that op_params say, in bytes, gets src[1], or that is added to it. */
int lower_set(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *y = node->src[1];
	size_t bytes = ggml_type_size(node->type);
	struct kiln_tensor part = view(y), to = view(node);
	bool inplace = node->op_params[4];
	int err = 0;

	if (x->type != node->type || y->type != node->type || !type_of(node->type) ||
	    !ggml_is_contiguous(node))
		return -ENOTSUP;
	to.stride[3] = 1;
	for (int d = 0; d < 3; d++) {
		uint32_t step = node->op_params[d];

		if (step % bytes)
			return -ENOTSUP;
		to.stride[2 - d] = step / bytes;
	}
	if ((uint32_t)node->op_params[3] % bytes)
		return -ENOTSUP;
	for (int d = 0; d < 4; d++)
		to.dim[d] = part.dim[d];
	to.addr += (uint32_t)node->op_params[3];
	if (!inplace)
		err = copy(l, view(x), view(node));
	if (err)
		return err;
	if (node->op == GGML_OP_SET)
		return copy(l, part, to);
	return SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = to, .y = part, .out = to);
}

int lower_concat(struct lower *l, const struct ggml_tensor *node)
{
	int along = 3 - node->op_params[0], err;
	struct kiln_tensor out = lower_bits(node), first = lower_bits(node->src[0]);
	struct kiln_tensor second = lower_bits(node->src[1]);
	uint32_t unit = along == 3 ? ggml_blck_size(node->type) : 1;

	if (first.dim[along] % unit || second.dim[along] % unit)
		return -ENOTSUP;
	out.dim[along] = first.dim[along];
	err = copy(l, first, out);
	if (err)
		return err;
	out.addr += first.dim[along] / unit * node->nb[3 - along];
	out.dim[along] = second.dim[along];
	return copy(l, second, out);
}
