// SPDX-License-Identifier: MIT
/*
 * Rows of strided tensors: what needs all of a row to say what becomes of each of its
 * elements, or one value for it. A row lies in one partition, as many of them as fit
 * beside each other.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "nd.h"

struct rows {
	struct nd nd;
	enum kiln_rows_func func;
	float scale, eps;
	uint8_t at[3];			/* tensors of a, b and the slopes; 0: none */
};

enum { A, B, SLOPES };

#define X	0

/* ------------------------------------------------------------------ parts -- */

static void reduce(struct nd_tile *t, unsigned int stat, enum kiln_alu func,
		   struct kiln_operand rows)
{
	kiln_asm_tensor_reduce(t->as, nd_stat(t, stat), func, rows, false);
}

/* stat = 1 / sqrt(stat * scale + eps) */
static void inverse_root(struct nd_tile *t, unsigned int stat, float scale, float eps)
{
	nd_on(t, KILN_SCALAR);
	nd_act(t, nd_stat(t, stat), KILN_ACT_SQRT, nd_stat(t, stat), scale, eps);
	nd_on(t, KILN_VECTOR);
	kiln_asm_reciprocal(t->as, nd_stat(t, stat), nd_stat(t, stat));
}

/* out = scratch 0 times stat, then weight and bias */
static void scaled_out(struct nd_tile *t, const struct rows *r, unsigned int stat)
{
	struct kiln_operand out = nd_view(t, r->nd.inputs), tmp = nd_tmp(t, 0);
	bool a = r->at[A], b = r->at[B];

	nd_tt(t, a || b ? tmp : out, tmp, KILN_ALU_MULTIPLY, nd_stat_view(t, stat));
	if (a)
		nd_tt(t, b ? tmp : out, tmp, KILN_ALU_MULTIPLY, nd_view(t, r->at[A]));
	if (b)
		nd_tt(t, out, tmp, KILN_ALU_ADD, nd_view(t, r->at[B]));
}

/* ------------------------------------------------------------------- rows -- */

/* Scores into scratch 0, their greatest into stat 0, their sum of exponentials into 1. */
static void exponentials(struct nd_tile *t, const struct rows *r)
{
	struct kiln_operand s = nd_tmp(t, 0), mask;

	nd_ts(t, s, nd_view(t, X), KILN_ALU_MULTIPLY, r->scale, KILN_ALU_BYPASS, 0);
	if (r->at[A]) {
		mask = nd_view(t, r->at[A]);
		if (r->at[SLOPES]) {
			nd_tt(t, nd_tmp(t, 1), mask, KILN_ALU_MULTIPLY, nd_view(t, r->at[SLOPES]));
			mask = nd_tmp(t, 1);
		}
		nd_tt(t, s, s, KILN_ALU_ADD, mask);
	}
	reduce(t, 0, KILN_ALU_MAX, nd_tmp_rows(t, 0));
	if (r->at[B])
		nd_tt(t, nd_stat(t, 0), nd_stat(t, 0), KILN_ALU_MAX, nd_row_view(t, r->at[B]));
	nd_tt(t, s, s, KILN_ALU_SUBTRACT, nd_stat_view(t, 0));
	if (r->at[B])
		nd_tt(t, nd_stat(t, 2), nd_row_view(t, r->at[B]), KILN_ALU_SUBTRACT, nd_stat(t, 0));
}

static void softmax(struct nd_tile *t, const struct rows *r)
{
	exponentials(t, r);
	nd_on(t, KILN_SCALAR);
	nd_act(t, nd_tmp(t, 0), KILN_ACT_EXP, nd_tmp(t, 0), 1, 0);
	if (r->at[B])
		nd_act(t, nd_stat(t, 2), KILN_ACT_EXP, nd_stat(t, 2), 1, 0);
	nd_on(t, KILN_VECTOR);
	reduce(t, 1, KILN_ALU_ADD, nd_tmp_rows(t, 0));
	if (r->at[B])
		nd_tt(t, nd_stat(t, 1), nd_stat(t, 1), KILN_ALU_ADD, nd_stat(t, 2));
	kiln_asm_reciprocal(t->as, nd_stat(t, 1), nd_stat(t, 1));
	nd_tt(t, nd_view(t, r->nd.inputs), nd_tmp(t, 0), KILN_ALU_MULTIPLY, nd_stat_view(t, 1));
}

static void norm(struct nd_tile *t, const struct rows *r)
{
	uint32_t n = t->n[2];

	reduce(t, 0, KILN_ALU_ADD, nd_rows_of(t, X));
	nd_ts(t, nd_stat(t, 0), nd_stat(t, 0), KILN_ALU_MULTIPLY, 1.0f / n, KILN_ALU_BYPASS, 0);
	nd_tt(t, nd_tmp(t, 0), nd_view(t, X), KILN_ALU_SUBTRACT, nd_stat_view(t, 0));
	nd_tt(t, nd_tmp(t, 1), nd_tmp(t, 0), KILN_ALU_MULTIPLY, nd_tmp(t, 0));
	reduce(t, 1, KILN_ALU_ADD, nd_tmp_rows(t, 1));
	inverse_root(t, 1, 1.0f / n, r->eps);
	scaled_out(t, r, 1);
}

static void rms_norm(struct nd_tile *t, const struct rows *r)
{
	nd_tt(t, nd_tmp(t, 0), nd_view(t, X), KILN_ALU_MULTIPLY, nd_view(t, X));
	reduce(t, 0, KILN_ALU_ADD, nd_tmp_rows(t, 0));
	if (r->func == KILN_ROWS_RMS_NORM) {
		inverse_root(t, 0, 1.0f / t->n[2], r->eps);
	} else {	/* L2: 1 / max(sqrt(sum), eps) */
		nd_on(t, KILN_SCALAR);
		nd_act(t, nd_stat(t, 0), KILN_ACT_SQRT, nd_stat(t, 0), 1, 0);
		nd_on(t, KILN_VECTOR);
		nd_ts(t, nd_stat(t, 0), nd_stat(t, 0), KILN_ALU_MAX, r->eps, KILN_ALU_BYPASS, 0);
		kiln_asm_reciprocal(t->as, nd_stat(t, 0), nd_stat(t, 0));
	}
	kiln_asm_tensor_copy(t->as, KILN_VECTOR, nd_tmp(t, 0), nd_view(t, X));
	scaled_out(t, r, 0);
}

static void sum_or_max(struct nd_tile *t, const struct rows *r)
{
	reduce(t, 0, r->func == KILN_ROWS_MAX ? KILN_ALU_MAX : KILN_ALU_ADD, nd_rows_of(t, X));
	nd_ts(t, nd_row_view(t, r->nd.inputs), nd_stat(t, 0), KILN_ALU_MULTIPLY, r->scale,
	      KILN_ALU_BYPASS, 0);
}

/* One scan over all rows of a partition: what is carried is multiplied by 0 where one begins. */
static void cumsum(struct nd_tile *t, const struct rows *r)
{
	struct kiln_operand starts = nd_tmp_rows(t, 0);

	kiln_asm_memset(t->as, KILN_VECTOR, nd_tmp(t, 0), 1);
	starts.size[starts.ndim - 1] = 1;
	kiln_asm_memset(t->as, KILN_VECTOR, starts, 0);
	kiln_asm_tensor_tensor_scan(t->as, nd_view(t, r->nd.inputs), nd_tmp(t, 0),
				    KILN_ALU_MULTIPLY,
				    kiln_const(0), KILN_ALU_ADD, nd_view(t, X), 0);
}

/* x is the gradient, a softmax's result: a * (x - sum(x a)) * scale */
static void softmax_back(struct nd_tile *t, const struct rows *r)
{
	struct kiln_operand tmp = nd_tmp(t, 0), y = nd_view(t, r->at[A]);

	nd_tt(t, tmp, nd_view(t, X), KILN_ALU_MULTIPLY, y);
	reduce(t, 0, KILN_ALU_ADD, nd_tmp_rows(t, 0));
	nd_tt(t, tmp, nd_view(t, X), KILN_ALU_SUBTRACT, nd_stat_view(t, 0));
	nd_stt(t, nd_view(t, r->nd.inputs), tmp, KILN_ALU_MULTIPLY, r->scale, KILN_ALU_MULTIPLY, y);
}

/*
 * x is the gradient, a what the norm was of, s = sum(a^2) / n + eps:
 * (x - a * sum(a x) / (n s)) / sqrt(s)
 */
static void rms_norm_back(struct nd_tile *t, const struct rows *r)
{
	struct kiln_operand tmp = nd_tmp(t, 0), a = nd_view(t, r->at[A]);
	float n = t->n[2];

	nd_tt(t, tmp, a, KILN_ALU_MULTIPLY, a);
	reduce(t, 0, KILN_ALU_ADD, nd_tmp_rows(t, 0));
	nd_tt(t, tmp, a, KILN_ALU_MULTIPLY, nd_view(t, X));
	reduce(t, 1, KILN_ALU_ADD, nd_tmp_rows(t, 0));
	nd_ts(t, nd_stat(t, 2), nd_stat(t, 0), KILN_ALU_MULTIPLY, -1, KILN_ALU_SUBTRACT,
	      r->eps * n);
	kiln_asm_reciprocal(t->as, nd_stat(t, 2), nd_stat(t, 2));
	nd_tt(t, nd_stat(t, 1), nd_stat(t, 1), KILN_ALU_MULTIPLY, nd_stat(t, 2));
	inverse_root(t, 0, 1 / n, r->eps);
	nd_tt(t, tmp, a, KILN_ALU_MULTIPLY, nd_stat_view(t, 1));
	nd_tt(t, tmp, tmp, KILN_ALU_ADD, nd_view(t, X));
	nd_tt(t, nd_view(t, r->nd.inputs), tmp, KILN_ALU_MULTIPLY, nd_stat_view(t, 0));
}

/* -sum(a * log softmax(x)) * scale: the scores are x's own */
static void cross_entropy(struct nd_tile *t, const struct rows *r)
{
	struct kiln_operand x = nd_tmp(t, 0), e = nd_tmp(t, 1);

	reduce(t, 0, KILN_ALU_MAX, nd_rows_of(t, X));
	nd_tt(t, x, nd_view(t, X), KILN_ALU_SUBTRACT, nd_stat_view(t, 0));
	nd_on(t, KILN_SCALAR);
	nd_act(t, e, KILN_ACT_EXP, x, 1, 0);
	nd_on(t, KILN_VECTOR);
	reduce(t, 1, KILN_ALU_ADD, nd_tmp_rows(t, 1));
	nd_on(t, KILN_SCALAR);
	nd_act(t, nd_stat(t, 1), KILN_ACT_LOG, nd_stat(t, 1), 1, 0);
	nd_on(t, KILN_VECTOR);
	nd_tt(t, x, x, KILN_ALU_SUBTRACT, nd_stat_view(t, 1));
	nd_tt(t, x, x, KILN_ALU_MULTIPLY, nd_view(t, r->at[A]));
	reduce(t, 0, KILN_ALU_ADD, nd_tmp_rows(t, 0));
	nd_ts(t, nd_row_view(t, r->nd.inputs), nd_stat(t, 0), KILN_ALU_MULTIPLY, -r->scale,
	      KILN_ALU_BYPASS, 0);
}

/* (softmax(x) - a) * b * scale, b being the gradient of the sum */
static void cross_entropy_back(struct nd_tile *t, const struct rows *r)
{
	struct kiln_operand p = nd_tmp(t, 0);

	reduce(t, 0, KILN_ALU_MAX, nd_rows_of(t, X));
	nd_tt(t, p, nd_view(t, X), KILN_ALU_SUBTRACT, nd_stat_view(t, 0));
	nd_on(t, KILN_SCALAR);
	nd_act(t, p, KILN_ACT_EXP, p, 1, 0);
	nd_on(t, KILN_VECTOR);
	reduce(t, 1, KILN_ALU_ADD, nd_tmp_rows(t, 0));
	kiln_asm_reciprocal(t->as, nd_stat(t, 1), nd_stat(t, 1));
	nd_tt(t, p, p, KILN_ALU_MULTIPLY, nd_stat_view(t, 1));
	nd_tt(t, p, p, KILN_ALU_SUBTRACT, nd_view(t, r->at[A]));
	nd_stt(t, nd_view(t, r->nd.inputs), p, KILN_ALU_MULTIPLY, r->scale, KILN_ALU_MULTIPLY,
	       nd_view(t, r->at[B]));
}

static void body(struct nd_tile *t, const void *op)
{
	static void (*const how[])(struct nd_tile *t, const struct rows *r) = {
		[KILN_ROWS_SOFTMAX] = softmax, [KILN_ROWS_NORM] = norm,
		[KILN_ROWS_RMS_NORM] = rms_norm, [KILN_ROWS_L2_NORM] = rms_norm,
		[KILN_ROWS_SUM] = sum_or_max, [KILN_ROWS_MEAN] = sum_or_max, [KILN_ROWS_MAX] = sum_or_max,
	 [KILN_ROWS_CUMSUM] = cumsum,
		[KILN_ROWS_SOFTMAX_BACK] = softmax_back,
		[KILN_ROWS_RMS_NORM_BACK] = rms_norm_back,
		[KILN_ROWS_CROSS_ENTROPY] = cross_entropy,
		[KILN_ROWS_CROSS_ENTROPY_BACK] = cross_entropy_back,
	};
	const struct rows *r = op;

	how[r->func](t, r);
	nd_also(t, &r->nd);
}

static int make(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct rows *r = shape;

	return nd_make(as, generation, &r->nd, KILN_VECTOR, body, r);
}

/* ------------------------------------------------------------------ entry -- */

/* What a function takes: 0 not at all, 1 if it is there, 2 for certain. */
static const struct {
	uint8_t a, b;
	bool value;		/* one for each row comes out */
} takes[] = {
	[KILN_ROWS_SOFTMAX] = { 1, 1, false }, [KILN_ROWS_NORM] = { 1, 1, false },
	[KILN_ROWS_RMS_NORM] = { 1, 1, false }, [KILN_ROWS_L2_NORM] = { 1, 1, false },
	[KILN_ROWS_SUM] = { 0, 0, true }, [KILN_ROWS_MEAN] = { 0, 0, true },
	[KILN_ROWS_CUMSUM] = { 0, 0, false }, [KILN_ROWS_SOFTMAX_BACK] = { 2, 0, false },
	[KILN_ROWS_RMS_NORM_BACK] = { 2, 0, false }, [KILN_ROWS_CROSS_ENTROPY] = { 2, 0, true },
	[KILN_ROWS_CROSS_ENTROPY_BACK] = { 2, 2, false }, [KILN_ROWS_MAX] = { 0, 0, true },
};

/*
 * Powers of 2^(-max_bias / heads), with the greatest power of two of heads; those that
 * are left have the powers in between.
 */
int kiln_ops_slopes(struct kiln_ops *ops, uint32_t heads, float max_bias, struct kiln_tensor *t)
{
	uint32_t whole = 1, i;
	float slope[4096];

	if (heads > 4096)
		return kiln_error(-ENOTSUP, "slopes for %u heads: up to 4096", heads);
	while (2 * whole <= heads)
		whole *= 2;
	for (i = 0; i < heads; i++)
		slope[i] = i < whole ? powf(powf(2, -max_bias / whole), i + 1) :
			powf(powf(2, -max_bias / 2 / whole), 2 * (i - whole) + 1);
	*t = (struct kiln_tensor) {
		.type = KILN_TYPE_F32, .dim = { 1, heads, 1, 1 }, .stride = { heads, 1, 1, 1 },
	};
	return kiln_ops_constant(ops, slope, heads * sizeof(*slope), &t->addr);
}

static int add_input(struct rows *r, struct kiln_tensor t[7], unsigned int which, const char *name,
		     const struct kiln_tensor *input, uint8_t need)
{
	if (!input->addr && need < 2)
		return 0;
	if (!need)
		return kiln_error(-EINVAL, "rows: function %d takes no %s", (int)r->func, name);
	if (!known_type(input->type))
		return kiln_error(-ENOTSUP, "rows: type %d of %s: KILN_TYPE_F32, _BF16 or _F16",
				  (int)input->type, name);
	r->at[which] = r->nd.inputs;
	t[r->nd.inputs] = *input;
	return nd_tensor("rows", name, &t[r->nd.inputs++]);
}

int kiln_rows(struct kiln_ops *ops, const struct kiln_rows *rows, kiln_done_fn done, void *user)
{
	struct kiln_tensor t[7];
	const struct kiln_tensor *p[7];
	struct kiln_ops_key key = { .word = { 0 } };
	uint32_t i, width;
	uint64_t args[7];
	struct rows r;
	int err;

	if (!ops || !rows)
		return kiln_error(-EINVAL, "rows: no ops or no description");
	if (rows->func < KILN_ROWS_SOFTMAX || rows->func > KILN_ROWS_MAX)
		return kiln_error(-ENOTSUP, "rows: function %d is none of enum kiln_rows_func",
				  (int)rows->func);
	if (!known_type(rows->x.type) || !known_type(rows->out.type))
		return kiln_error(-ENOTSUP, "rows: type %d to type %d: KILN_TYPE_F32, _BF16 or _F16",
				  (int)rows->x.type, (int)rows->out.type);
	r = (struct rows) {
		.func = rows->func, .scale = rows->scale == 0 ? 1 : rows->scale, .eps = rows->eps,
		.nd = { .inputs = 1, .rows = true, .scratch = 2, .stats = 3 },
	};
	if (!isfinite(r.scale) || !isfinite(r.eps) || r.eps < 0 || !(rows->max_bias >= 0))
		return kiln_error(-EINVAL, "rows: scale is %g, eps %g, max_bias %g: finite, and the latter not below 0",
				  r.scale, r.eps, rows->max_bias);
	t[X] = rows->x;
	err = nd_tensor("rows", "x", &t[X]);
	if (!err)
		err = add_input(&r, t, A, "a", &rows->a, takes[r.func].a);
	if (!err)
		err = add_input(&r, t, B, "b", &rows->b, takes[r.func].b);
	if (err)
		return err;
	width = t[X].dim[3];
	if (rows->max_bias > 0 && r.func == KILN_ROWS_SOFTMAX && r.at[A]) {
		r.at[SLOPES] = r.nd.inputs;
		err = kiln_ops_slopes(ops, t[X].dim[1], rows->max_bias, &t[r.nd.inputs++]);
		if (err)
			return err;
	}
	if (r.func == KILN_ROWS_MEAN)
		r.scale /= width;
	t[r.nd.inputs] = rows->out;
	err = nd_tensor("rows", "out", &t[r.nd.inputs]);
	if (err)
		return err;
	r.nd.tensors = r.nd.inputs + 1;
	if (rows->also.addr) {
		if (takes[r.func].value || !known_type(rows->also.type))
			return kiln_error(-ENOTSUP, "rows: also of type %d of function %d: KILN_TYPE_F32, _BF16 or _F16 of rows",
					  (int)rows->also.type, (int)r.func);
		t[r.nd.tensors] = rows->also;
		err = nd_tensor("rows", "also", &t[r.nd.tensors]);
		if (!err)
			err = nd_check_also("rows", &t[r.nd.inputs], &t[r.nd.tensors++]);
		if (err)
			return err;
	}
	for (i = 0; i < 4; i++) {
		uint32_t n = i == 3 && takes[r.func].value ? 1 : t[X].dim[i];

		if (t[r.nd.inputs].dim[i] != n)
			return kiln_error(-EINVAL, "rows: dimension %u of out is %u, and has to be %u", i,
					  t[r.nd.inputs].dim[i], n);
	}
	for (i = 0; i < r.nd.tensors; i++) {
		if (t[i].dim[3] != 1 && t[i].dim[3] != width)
			return kiln_error(-EINVAL, "rows: a tensor's last dimension is %u, of x %u: the same, or 1",
					  t[i].dim[3], width);
		r.nd.dtype[i] = kiln_type_dtype(t[i].type);
		args[i] = t[i].addr;
		p[i] = &t[i];
	}
	if (r.at[B] && r.func == KILN_ROWS_SOFTMAX && t[r.at[B]].dim[3] != 1)
		return kiln_error(-EINVAL, "rows: b has %u values for each row: one",
				  t[r.at[B]].dim[3]);
	err = nd_space("rows", &r.nd, p, t[X].dim);
	if (err)
		return err;
	if (width > nd_longest(kiln_ops_generation(ops), &r.nd))
		return kiln_error(-ENOTSUP, "rows: rows of %u elements: with these tensors up to %u",
				  width, nd_longest(kiln_ops_generation(ops), &r.nd));
	key.word[0] = KILN_OPS_TENSOR_ROWS | (uint64_t)r.func << 8;
	memcpy((char *)&key.word[0] + 4, r.at, sizeof(r.at));
	memcpy(&key.word[1], &r.scale, 4);
	memcpy((char *)&key.word[1] + 4, &r.eps, 4);
	nd_key(&key, 2, &r.nd);
	return kiln_ops_run(ops, &key, "rows", make, &r, args, r.nd.tensors, done, user);
}
