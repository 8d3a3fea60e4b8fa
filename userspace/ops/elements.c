// SPDX-License-Identifier: MIT
/*
 * Element by element: functions of one tensor, of two with broadcasting, and
 * gated ones. Scalar computes functions of one element and Vector those of two;
 * memory takes longer than any of them.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "nd.h"

/* What a program depends on. */
struct elements {
	struct nd nd;
	uint32_t unary, binary;		/* enum kiln_unary_func, or 0, and kiln_binary_func, or 0 */
	float scale, shift, param[4];
};

static const struct {
	enum kiln_activation act;
	bool known;
} unary[] = {
#define FUNC(name, act) [KILN_UNARY_##name] = { KILN_ACT_##act, true }
	FUNC(COPY, COPY), FUNC(EXP, EXP), FUNC(SQUARE, SQUARE), FUNC(RELU, RELU), FUNC(ABS, ABS),
	FUNC(SIGMOID, SIGMOID), FUNC(TANH, TANH), FUNC(GELU, GELU),
	FUNC(GELU_TANH, GELU_APPRX_TANH), FUNC(GELU_QUICK, GELU_APPRX_SIGMOID), FUNC(SILU, SILU),
	FUNC(SOFTPLUS, SOFTPLUS), FUNC(MISH, MISH), FUNC(ERF, ERF), FUNC(LOG, LOG), FUNC(SIN, SIN),
	FUNC(COS, COS), FUNC(ARCTAN, ARCTAN), FUNC(SQRT, SQRT), FUNC(RSQRT, RSQRT),
	FUNC(RECIPROCAL, RECIPROCAL), FUNC(SIGN, SIGN), FUNC(SILU_DX, SILU_DX),
	FUNC(GELU_DX, GELU_DX),
#undef FUNC
};

static const enum kiln_alu binary[] = {
	[KILN_BINARY_ADD] = KILN_ALU_ADD,
	[KILN_BINARY_SUBTRACT] = KILN_ALU_SUBTRACT,
	[KILN_BINARY_MULTIPLY] = KILN_ALU_MULTIPLY,
	[KILN_BINARY_DIVIDE] = KILN_ALU_MULTIPLY,	/* by the reciprocal */
	[KILN_BINARY_MAX] = KILN_ALU_MAX,
	[KILN_BINARY_MIN] = KILN_ALU_MIN,
	[KILN_BINARY_EQUAL] = KILN_ALU_EQ,
};

/* One instruction of Scalar */
static bool is_activation(uint32_t func)
{
	return func < sizeof(unary) / sizeof(*unary) && unary[func].known;
}

static bool moved(const struct elements *el)
{
	return el->scale != 1 || el->shift != 0;
}

/* -------------------------------------------------------------- functions -- */

/*
 * e^x - 1. Near 0 as 2 t / (1 - t) with t = tanh(x / 2), which has no cancellation.
 * Scratch 1 to 3; x may be scratch 0.
 */
static void expm1_into(struct nd_tile *t, struct kiln_operand dst, struct kiln_operand x)
{
	struct kiln_operand a = nd_tmp(t, 1), b = nd_tmp(t, 2), near = nd_tmp(t, 3);

	nd_ts(t, near, x, KILN_ALU_ABS, 0, KILN_ALU_LT, 0.5f);
	nd_on(t, KILN_SCALAR);
	nd_act(t, a, KILN_ACT_TANH, x, 0.5f, 0);
	nd_act(t, b, KILN_ACT_EXP, x, 1, 0);
	nd_on(t, KILN_VECTOR);
	nd_ts(t, b, b, KILN_ALU_ADD, -1, KILN_ALU_BYPASS, 0);
	/* b where it is not near, else 2 a / (1 - a) */
	nd_ts(t, dst, a, KILN_ALU_MULTIPLY, -1, KILN_ALU_ADD, 1);
	kiln_asm_reciprocal(t->as, dst, dst);
	nd_stt(t, a, a, KILN_ALU_MULTIPLY, 2, KILN_ALU_MULTIPLY, dst);
	kiln_asm_tensor_copy(t->as, KILN_VECTOR, dst, b);
	kiln_asm_tensor_copy_predicated(t->as, dst, a, near, false);
}

/* x rounded to an integer: what has 24 bits already, and a NaN, stays. Scratch 1 to 3. */
static void integer_into(struct nd_tile *t, uint32_t func, struct kiln_operand dst,
			 struct kiln_operand x)
{
	struct kiln_operand n = nd_tmp(t, 1), d = nd_tmp(t, 2), small = nd_tmp(t, 3);
	struct kiln_operand whole = nd_tmp_as(t, 2, KILN_I32);
	bool symmetric = func == KILN_UNARY_ROUND || func == KILN_UNARY_TRUNC;

	nd_ts(t, small, x, KILN_ALU_ABS, 0, KILN_ALU_LT, 0x1p23f);
	/* n to nearest even, and by how much x is more */
	nd_ts(t, n, x, symmetric ? KILN_ALU_ABS : KILN_ALU_BYPASS, 0, KILN_ALU_MIN, 0x1p23f);
	nd_ts(t, whole, n, KILN_ALU_MAX, -0x1p23f, KILN_ALU_BYPASS, 0);
	kiln_asm_tensor_copy(t->as, KILN_VECTOR, dst, whole);
	nd_tt(t, d, n, KILN_ALU_SUBTRACT, dst);
	switch (func) {
	case KILN_UNARY_CEIL:
		nd_stt(t, dst, d, KILN_ALU_GT, 0, KILN_ALU_ADD, dst);
		break;
	case KILN_UNARY_ROUND:
		nd_stt(t, dst, d, KILN_ALU_GE, 0.5f, KILN_ALU_ADD, dst);
		break;
	default:	/* FLOOR, TRUNC */
		nd_ts(t, d, d, KILN_ALU_LT, 0, KILN_ALU_MULTIPLY, -1);
		nd_tt(t, dst, dst, KILN_ALU_ADD, d);
		break;
	}
	if (symmetric) {
		nd_ts(t, d, x, KILN_ALU_LT, 0, KILN_ALU_MULTIPLY, -2);
		nd_stt(t, dst, d, KILN_ALU_ADD, 1, KILN_ALU_MULTIPLY, dst);
	}
	kiln_asm_tensor_copy_predicated(t->as, dst, x, small, true);
}

/* x may be scratch 0, dst may be scratch 4 or the result. */
static void compute(struct nd_tile *t, const struct elements *el, struct kiln_operand dst,
		    struct kiln_operand x)
{
	struct kiln_operand a = nd_tmp(t, 1), b = nd_tmp(t, 2), c = nd_tmp(t, 3);
	const float *param = el->param;

	switch (el->unary) {
	case KILN_UNARY_FILL:
		kiln_asm_memset(t->as, KILN_VECTOR, dst, param[0]);
		break;
	case KILN_UNARY_STEP:
		nd_ts(t, dst, x, KILN_ALU_GT, 0, KILN_ALU_BYPASS, 0);
		break;
	case KILN_UNARY_CLAMP:
		nd_ts(t, dst, x, KILN_ALU_MAX, param[0], KILN_ALU_MIN, param[1]);
		break;
	case KILN_UNARY_LEAKY_RELU:
		nd_ts(t, a, x, KILN_ALU_MIN, 0, KILN_ALU_MULTIPLY, param[0]);
		nd_stt(t, dst, x, KILN_ALU_MAX, 0, KILN_ALU_ADD, a);
		break;
	case KILN_UNARY_HARDSWISH:
	case KILN_UNARY_HARDSIGMOID:
		nd_ts(t, a, x, KILN_ALU_ADD, 3, KILN_ALU_MULTIPLY, 1.0f / 6);
		nd_ts(t, el->unary == KILN_UNARY_HARDSIGMOID ? dst : a, a, KILN_ALU_MAX, 0,
		      KILN_ALU_MIN, 1);
		if (el->unary == KILN_UNARY_HARDSWISH)
			nd_tt(t, dst, a, KILN_ALU_MULTIPLY, x);
		break;
	case KILN_UNARY_EXPM1:
		expm1_into(t, dst, x);
		break;
	case KILN_UNARY_ELU:
		expm1_into(t, dst, x);
		nd_ts(t, a, x, KILN_ALU_GT, 0, KILN_ALU_BYPASS, 0);
		kiln_asm_tensor_copy_predicated(t->as, dst, x, a, false);
		break;
	case KILN_UNARY_XIELU:
		/* below 0 in scratch 4, then above it over that */
		nd_ts(t, nd_tmp(t, 4), x, KILN_ALU_MIN, param[3], KILN_ALU_BYPASS, 0);
		expm1_into(t, nd_tmp(t, 4), nd_tmp(t, 4));
		nd_tt(t, b, nd_tmp(t, 4), KILN_ALU_SUBTRACT, x);
		nd_ts(t, c, x, KILN_ALU_MULTIPLY, param[2], KILN_ALU_BYPASS, 0);
		nd_stt(t, b, b, KILN_ALU_MULTIPLY, param[1], KILN_ALU_ADD, c);
		nd_stt(t, a, x, KILN_ALU_MULTIPLY, param[0], KILN_ALU_MULTIPLY, x);
		nd_tt(t, a, a, KILN_ALU_ADD, c);
		nd_ts(t, c, x, KILN_ALU_GT, 0, KILN_ALU_BYPASS, 0);
		kiln_asm_tensor_copy(t->as, KILN_VECTOR, dst, b);
		kiln_asm_tensor_copy_predicated(t->as, dst, a, c, false);
		break;
	default:
		integer_into(t, el->unary, dst, x);
		break;
	}
}

/* What is x in it goes through scratch 0; y is limited, and 1 more. */
static void swiglu_oai(struct nd_tile *t, const struct elements *el)
{
	struct kiln_operand x = nd_tmp(t, 0), y = nd_tmp(t, 1), out = nd_view(t, 2);
	float alpha = el->param[0], limit = el->param[1];

	nd_ts(t, x, nd_view(t, 0), KILN_ALU_MIN, limit, KILN_ALU_BYPASS, 0);
	nd_on(t, KILN_SCALAR);
	nd_act(t, nd_tmp(t, 2), KILN_ACT_SIGMOID, nd_tmp(t, 0), alpha, 0);
	nd_on(t, KILN_VECTOR);
	nd_ts(t, y, nd_view(t, 1), KILN_ALU_MIN, limit, KILN_ALU_MAX, -limit);
	nd_tt(t, x, x, KILN_ALU_MULTIPLY, nd_tmp(t, 2));
	nd_stt(t, out, y, KILN_ALU_ADD, 1, KILN_ALU_MULTIPLY, x);
}

/* Integers, to the bit: as fp32, those beyond 2^24 would be the same as their neighbours. */
static bool of_integers(const struct elements *el)
{
	return el->binary == KILN_BINARY_EQUAL && el->nd.dtype[0] == KILN_I32;
}

static enum kiln_engine first_engine(const struct elements *el)
{
	if (el->binary == KILN_BINARY_SWIGLU_OAI)
		return KILN_VECTOR;
	return el->unary && (is_activation(el->unary) || moved(el)) ? KILN_SCALAR : KILN_VECTOR;
}

/* Results of a function of one element that go on into one of two are scratch. */
static void result(struct nd_tile *t, const struct elements *el)
{
	unsigned int out = el->nd.inputs;
	struct kiln_operand x, y;

	if (el->binary == KILN_BINARY_SWIGLU_OAI) {
		swiglu_oai(t, el);
		return;
	}
	if (of_integers(el)) {
		x = nd_tmp_as(t, 0, KILN_I32);
		nd_tt(t, x, nd_view(t, 0), KILN_ALU_BITWISE_XOR, nd_view(t, 1));
		nd_ts(t, nd_view(t, out), x, KILN_ALU_EQ, 0, KILN_ALU_BYPASS, 0);
		return;
	}
	if (is_activation(el->unary)) {
		nd_act(t, el->binary ? nd_tmp(t, 0) : nd_view(t, out), unary[el->unary].act,
		       nd_view(t, 0), el->scale, el->shift);
		if (!el->binary)
			return;
		nd_on(t, KILN_VECTOR);
		x = nd_tmp(t, 0);
	} else if (el->unary) {
		if (moved(el)) {
			nd_act(t, nd_tmp(t, 0), KILN_ACT_COPY, nd_view(t, 0), el->scale,
			       el->shift);
			nd_on(t, KILN_VECTOR);
		}
		x = moved(el) ? nd_tmp(t, 0) : nd_view(t, 0);
		compute(t, el, nd_tmp(t, 5), x);
		x = nd_tmp(t, 5);
		if (!el->binary) {
			kiln_asm_tensor_copy(t->as, KILN_VECTOR, nd_view(t, out), x);
			return;
		}
	} else {
		x = nd_view(t, 0);
	}
	y = nd_view(t, 1);
	if (el->binary == KILN_BINARY_DIVIDE) {
		kiln_asm_reciprocal(t->as, nd_tmp(t, 1), y);
		y = nd_tmp(t, 1);
	}
	nd_tt(t, nd_view(t, out), x, binary[el->binary], y);
}

static void body(struct nd_tile *t, const void *op)
{
	const struct elements *el = op;

	result(t, el);
	nd_also(t, &el->nd);
}

static uint32_t scratch_of(const struct elements *el)
{
	if (el->binary == KILN_BINARY_SWIGLU_OAI)
		return 3;
	if (of_integers(el))
		return 1;
	if (el->unary && !is_activation(el->unary))
		return 6;
	if (el->binary == KILN_BINARY_DIVIDE)
		return 2;
	return el->unary && el->binary ? 1 : 0;
}

static int make_elements(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct elements *el = shape;

	return nd_make(as, generation, &el->nd, first_engine(el), body, el);
}

/* ------------------------------------------------------------------ entry -- */

int kiln_ops_activation(const char *op, uint32_t func, enum kiln_activation *act)
{
	if (func >= sizeof(unary) / sizeof(*unary) || !unary[func].known)
		return kiln_error(-ENOTSUP, "%s: function %u is none of enum kiln_unary_func", op,
				  func);
	*act = unary[func].act;
	return 0;
}

static int check_type(const char *op, const char *name, enum kiln_type type)
{
	if (!known_type(type))
		return kiln_error(-ENOTSUP, "%s: %s %d is not KILN_TYPE_F32, _BF16 or _F16", op,
				  name, (int)type);
	return 0;
}

static bool also_there(const struct kiln_tensor *also)
{
	return also && also->addr;
}

/*
 * The inputs, which names calls so, and the results; b is NULL where there is but one
 * input, also where out is the only result.
 */
static int run(struct kiln_ops *ops, const char *op, const char *const name[3],
	       struct elements *el, const struct kiln_tensor *a, const struct kiln_tensor *b,
	       const struct kiln_tensor *out, const struct kiln_tensor *also, kiln_done_fn done,
	       void *user)
{
	struct kiln_tensor held[4] = { *a };
	const struct kiln_tensor *t[] = { &held[0], &held[1], &held[2], &held[3] };
	const char *names[] = { name[0], b ? name[1] : name[2], b ? name[2] : "also", "also" };
	struct kiln_ops_key key = { .word = { 0 } };
	uint64_t args[4];
	uint32_t i;
	int err;

	el->nd.inputs = b ? 2 : 1;
	el->nd.tensors = el->nd.inputs + 1 + also_there(also);
	if (b)
		held[1] = *b;
	held[el->nd.inputs] = *out;
	if (also_there(also))
		held[el->nd.inputs + 1] = *also;
	for (i = 0; i < el->nd.tensors; i++) {
		bool integers = el->binary == KILN_BINARY_EQUAL && i < 2 && !moved(el) &&
			el->unary == KILN_UNARY_COPY && a->type == KILN_TYPE_I32 &&
			b->type == KILN_TYPE_I32;

		err = integers ? 0 : check_type(op, names[i], held[i].type);
		if (!err)
			err = nd_tensor(op, names[i], &held[i]);
		if (!err && i > el->nd.inputs)
			err = nd_check_also(op, &held[i - 1], &held[i]);
		if (err)
			return err;
		el->nd.dtype[i] = kiln_type_dtype(held[i].type);
		args[i] = held[i].addr;
	}
	err = nd_space(op, &el->nd, t, t[el->nd.inputs]->dim);
	if (err)
		return err;
	if (el->unary == KILN_UNARY_COPY && b && !moved(el))
		el->unary = 0;
	el->nd.scratch = scratch_of(el);
	key.word[0] = KILN_OPS_ELEMENTS | (uint64_t)el->unary << 16 | (uint64_t)el->binary << 32;
	memcpy(&key.word[1], &el->scale, 4);
	memcpy((char *)&key.word[1] + 4, &el->shift, 4);
	memcpy(&key.word[2], el->param, sizeof(el->param));
	nd_key(&key, 4, &el->nd);
	return kiln_ops_run(ops, &key, op, make_elements, el, args, el->nd.tensors, done, user);
}

static int check_scale(const char *op, const struct elements *el)
{
	if (!isfinite(el->scale) || !isfinite(el->shift))
		return kiln_error(-EINVAL, "%s: scale is %g and shift %g: both finite", op, el->scale,
				  el->shift);
	return 0;
}

int kiln_pointwise(struct kiln_ops *ops, const struct kiln_pointwise *pw, kiln_done_fn done,
		   void *user)
{
	static const char *const name[] = { "x", "y", "out" };
	struct elements el;
	int err;

	if (!ops || !pw)
		return kiln_error(-EINVAL, "pointwise: no ops or no description");
	el = (struct elements) {
		.unary = pw->unary ? pw->unary : KILN_UNARY_COPY, .binary = pw->binary,
		.scale = pw->scale == 0 ? 1 : pw->scale, .shift = pw->shift,
	};
	if (pw->unary > KILN_UNARY_FILL)
		return kiln_error(-ENOTSUP, "pointwise: function %u is none of enum kiln_unary_func",
				  (unsigned int)pw->unary);
	if (pw->binary > KILN_BINARY_EQUAL)
		return kiln_error(-ENOTSUP, "pointwise: function %u is none of enum kiln_binary_func",
				  (unsigned int)pw->binary);
	if (pw->binary == KILN_BINARY_SWIGLU_OAI && (el.unary != KILN_UNARY_COPY || moved(&el)))
		return kiln_error(-EINVAL, "pointwise: swiglu_oai has a function of its own: unary, scale and shift are 0");
	if (!is_activation(el.unary) || el.binary == KILN_BINARY_SWIGLU_OAI)
		memcpy(el.param, pw->param, sizeof(el.param));
	err = check_scale("pointwise", &el);
	if (err)
		return err;
	return run(ops, "pointwise", name, &el, &pw->x, pw->binary ? &pw->y : NULL, &pw->out,
		   &pw->also, done, user);
}

/* [rows, width] with this leading dimension. */
static int set_rows(const char *op, const char *name, struct kiln_tensor *t,
		    enum kiln_type type, uint64_t addr, uint32_t rows, uint32_t width, uint32_t ld)
{
	if (!rows || !width || rows > INT32_MAX || width > INT32_MAX)
		return kiln_error(-EINVAL, "%s: %u rows of %u: each 1 to 2147483647", op, rows, width);
	if (!ld)
		ld = width;
	if (ld < width || ld > INT32_MAX)
		return kiln_error(-EINVAL, "%s: ld%s is %u: 0, or from a row of %u elements up to 2147483647",
				  op, name, ld, width);
	*t = (struct kiln_tensor) {
		.type = type, .dim = { 1, 1, rows, width }, .stride = { 0, 0, ld, 1 }, .addr = addr,
	};
	return 0;
}

int kiln_unary(struct kiln_ops *ops, const struct kiln_unary *un, kiln_done_fn done, void *user)
{
	static const char *const name[] = { "x", "", "y" };
	enum kiln_activation act;
	struct kiln_tensor x, y;
	struct elements el;
	uint32_t rows;
	int err;

	if (!ops || !un)
		return kiln_error(-EINVAL, "unary: no ops or no description");
	rows = un->rows ? un->rows : 1;
	el = (struct elements) {
		.unary = un->func, .scale = un->scale == 0 ? 1 : un->scale, .shift = un->shift,
	};
	err = check_type("unary", "type", un->type);
	if (!err && un->out_type)
		err = check_type("unary", "out_type", un->out_type);
	if (!err)
		err = kiln_ops_activation("unary", un->func, &act);
	if (!err)
		err = check_scale("unary", &el);
	if (!err)
		err = set_rows("unary", "x", &x, un->type, un->x, rows, un->width, un->ldx);
	if (!err)
		err = set_rows("unary", "y", &y, un->out_type ? un->out_type : un->type, un->y, rows,
			       un->width, un->ldy);
	if (err)
		return err;
	return run(ops, "unary", name, &el, &x, NULL, &y, NULL, done, user);
}

int kiln_glu(struct kiln_ops *ops, const struct kiln_glu *glu, kiln_done_fn done, void *user)
{
	static const char *const name[] = { "gate", "up", "out" };
	struct kiln_tensor gate, up, out;
	enum kiln_activation act;
	struct elements el;
	uint32_t rows;
	int err;

	if (!ops || !glu)
		return kiln_error(-EINVAL, "glu: no ops or no description");
	rows = glu->rows ? glu->rows : 1;
	el = (struct elements) { .unary = glu->func, .binary = KILN_BINARY_MULTIPLY, .scale = 1 };
	err = check_type("glu", "type", glu->type);
	if (!err)
		err = kiln_ops_activation("glu", glu->func, &act);
	if (!err)
		err = set_rows("glu", "_gate", &gate, glu->type, glu->gate, rows, glu->width,
			       glu->ld_gate);
	if (!err)
		err = set_rows("glu", "_up", &up, glu->type, glu->up, rows, glu->width, glu->ld_up);
	if (!err)
		err = set_rows("glu", "_out", &out, glu->type, glu->out, rows, glu->width,
			       glu->ld_out);
	if (err)
		return err;
	return run(ops, "glu", name, &el, &gate, &up, &out, NULL, done, user);
}

int kiln_binary(struct kiln_ops *ops, const struct kiln_binary *bin, kiln_done_fn done,
		void *user)
{
	static const char *const name[] = { "a", "b", "out" };
	struct kiln_tensor a, b, out;
	struct elements el;
	int d;

	if (!ops || !bin)
		return kiln_error(-EINVAL, "binary: no ops or no description");
	if (bin->func < KILN_BINARY_ADD || bin->func > KILN_BINARY_MIN)
		return kiln_error(-ENOTSUP, "binary: function %d is none of enum kiln_binary_func",
				  (int)bin->func);
	el = (struct elements) { .binary = bin->func, .scale = 1 };
	a = (struct kiln_tensor) { .type = bin->type, .addr = bin->a };
	b = (struct kiln_tensor) { .type = bin->type, .addr = bin->b };
	out = (struct kiln_tensor) {
		.type = bin->out_type ? bin->out_type : bin->type, .addr = bin->out,
	};
	for (d = 0; d < 4; d++) {
		a.dim[d] = bin->a_dim[d] ? bin->a_dim[d] : 1;
		b.dim[d] = bin->b_dim[d] ? bin->b_dim[d] : 1;
		if (a.dim[d] != b.dim[d] && a.dim[d] != 1 && b.dim[d] != 1)
			return kiln_error(-EINVAL, "binary: dimension %d is %u in a and %u in b: equal, or one of them 1",
					  d, a.dim[d], b.dim[d]);
		out.dim[d] = a.dim[d] > b.dim[d] ? a.dim[d] : b.dim[d];
	}
	return run(ops, "binary", name, &el, &a, &b, &out, NULL, done, user);
}
