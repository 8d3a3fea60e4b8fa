// SPDX-License-Identifier: MIT
/*
 * Functions of elements on strided tensors of mixed types, repeated into each other,
 * against float64. Errors as in ops_elements.c: a function is within 8 u of itself and
 * of its slope's share of what its argument was rounded by, u = 2^-24.
 */
#include "tensors.h"

#define U	0x1p-24

static const int dense[4] = { 0, 1, 2, 3 }, swapped[4] = { 0, 2, 1, 3 }, turned[4] = { 0, 1, 3, 2 };

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

static double unary(uint32_t func, const float *p, double x)
{
	switch (func) {
	case 0: case KILN_UNARY_COPY: return x;
	case KILN_UNARY_EXP: return exp(x);
	case KILN_UNARY_RELU: return x > 0 ? x : 0;
	case KILN_UNARY_SILU: return x * sigmoid(x);
	case KILN_UNARY_GELU: return x * erfc(-x / sqrt(2)) / 2;
	case KILN_UNARY_SILU_DX: return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
	case KILN_UNARY_GELU_DX:
		return erfc(-x / sqrt(2)) / 2 + x * exp(-x * x / 2) / sqrt(2 * M_PI);
	case KILN_UNARY_FILL: return p[0];
	case KILN_UNARY_STEP: return x > 0;
	case KILN_UNARY_CLAMP: return fmin(fmax(x, p[0]), p[1]);
	case KILN_UNARY_LEAKY_RELU: return x > 0 ? x : p[0] * x;
	case KILN_UNARY_ELU: return x > 0 ? x : expm1(x);
	case KILN_UNARY_EXPM1: return expm1(x);
	case KILN_UNARY_HARDSWISH: return x * fmin(fmax(x + 3, 0), 6) / 6;
	case KILN_UNARY_HARDSIGMOID: return fmin(fmax(x + 3, 0), 6) / 6;
	case KILN_UNARY_FLOOR: return floor(x);
	case KILN_UNARY_CEIL: return ceil(x);
	case KILN_UNARY_ROUND: return round(x);
	case KILN_UNARY_TRUNC: return trunc(x);
	case KILN_UNARY_XIELU:
		return x > 0 ? p[0] * x * x + p[2] * x :
			(expm1(fmin(x, p[3])) - x) * p[1] + p[2] * x;
	}
	return NAN;
}

static double both(const struct kiln_pointwise *d, double x, double y)
{
	double z, up;

	/* The card's argument is an fp32. */
	x = fmaf(x, d->scale ? d->scale : 1, d->shift);
	z = unary(d->unary, d->param, x);
	switch ((uint32_t)d->binary) {
	case 0: return z;
	case KILN_BINARY_ADD: return z + y;
	case KILN_BINARY_SUBTRACT: return z - y;
	case KILN_BINARY_MULTIPLY: return z * y;
	case KILN_BINARY_DIVIDE: return z / y;
	case KILN_BINARY_MAX: return fmax(z, y);
	case KILN_BINARY_MIN: return fmin(z, y);
	case KILN_BINARY_SWIGLU_OAI:
		x = fmin(x, d->param[1]);
		up = fmin(fmax(y, -d->param[1]), d->param[1]);
		return x * sigmoid(d->param[0] * x) * (1 + up);
	}
	return NAN;
}

static void check(struct kiln_pointwise d, double scale)
{
	struct outcome outcome = { 0 };
	bool good, in_place = d.out.addr == d.x.addr;
	double *want, *got;
	uint64_t n = 0;

	fill_normal(&d.x, scale);
	if (d.binary)
		fill_normal(&d.y, 1);
	if (!in_place)
		clear_result(&d.out);
	if (d.also.addr)
		clear_result(&d.also);
	upload_room();
	good = !run_case(kiln_pointwise(ops, &d, on_done, &outcome), &outcome);
	want = malloc(count_of(&d.out) * 2 * sizeof(*want));
	got = want + count_of(&d.out);
	EACH(at, d.out.dim) {
		double y = d.binary ? value_of(&d.y, at) : 0;

		want[n] = both(&d, value_of(&d.x, at), y);
		got[n] = result_of(&d.out, at);
		if (good) {
			double slack = 16 * U * (fabs(want[n]) + fabs(y) + 1);

			slack += type_error(d.out.type, want[n]);
			if (!(fabs(want[n] - got[n]) <= slack) && !(isnan(want[n]) && isnan(got[n]))) {
				printf("# %u %u %u %u: x %.9g y %.9g: expected %.9g +- %.3g, got %.9g\n",
				       at[0], at[1], at[2], at[3], value_of(&d.x, at), y, want[n], slack,
				       got[n]);
				good = false;
			}
		}
		/* The result once more: rounded to out's type, then to its own */
		if (good && d.also.addr) {
			double also = result_of(&d.also, at);

			if (!(fabs(also - got[n]) <= type_error(d.also.type, got[n]))) {
				printf("# %u %u %u %u: expected %.9g once more, got %.9g\n",
				       at[0], at[1], at[2], at[3], got[n], also);
				good = false;
			}
		}
		n++;
	}
	free(want);
	good = good && (d.also.addr ? gaps_untouched_below(&d.out, d.also.addr) && gaps_untouched(&d.also) :
			in_place || gaps_untouched(&d.out));
	ok(good, "pointwise %d %d: %s %s, %s %s to %s %s, %llu cycles", d.unary, d.binary,
	   any_type_name(d.x.type), shape_text(&d.x), any_type_name(d.binary ? d.y.type : d.x.type),
	   d.binary ? shape_text(&d.y) : "", any_type_name(d.out.type), shape_text(&d.out),
	   (unsigned long long)outcome.result.cycles);
}

static const enum kiln_type types[] = { KILN_TYPE_F32, KILN_TYPE_F16, KILN_TYPE_BF16 };

static void functions(void)
{
	static const uint32_t dim[4] = { 2, 3, 5, 70 };
	uint32_t func;

	for (func = 0; func <= KILN_UNARY_FILL; func++) {
		struct kiln_pointwise d = { .unary = func };
		enum kiln_type type = types[func % 3];

		if (isnan(unary(func, d.param, 1)))
			continue;	/* ops_elements.c has it */
		if (func == KILN_UNARY_CLAMP)
			d.param[0] = -0.5f, d.param[1] = 0.75f;
		else if (func == KILN_UNARY_XIELU)
			d.param[0] = 0.8f, d.param[1] = 0.7f, d.param[2] = 0.5f, d.param[3] = -1e-6f;
		else
			d.param[0] = 0.1f;
		start_case();
		d.x = tensor_of(type, dim, turned, 0, 1);
		d.out = tensor_of(KILN_TYPE_F32, dim, dense, 2, 1);
		check(d, 3);
		start_case();
		d.x = dense_of(KILN_TYPE_F32, 1, 1, 257, 33);
		d.y = dense_of(type, 1, 1, 1, 33);
		d.out = dense_of(type, 1, 1, 257, 33);
		d.binary = KILN_BINARY_MULTIPLY;
		check(d, 0.3);
		d.scale = 0.5f;
		d.shift = 0.25f;
		check(d, 0.3);
	}
}

/* What repeats into what, with which strides */
static void repetition(void)
{
	static const uint32_t out[][4] = { { 2, 3, 5, 10 }, { 1, 1, 640, 33 }, { 1, 2, 130, 520 },
					   { 4, 6, 1, 1 }, { 1, 16, 3, 1024 } };
	static const uint32_t of[][4] = { { 1, 1, 1, 1 }, { 1, 1, 1, 0 }, { 1, 1, 0, 1 }, { 0, 0, 0, 0 },
					  { 0, 1, 0, 0 } };
	uint32_t i, j, k;

	for (i = 0; i < 5; i++)
		for (j = 0; j < 6; j++) {
			struct kiln_pointwise d = { .binary = KILN_BINARY_ADD + (i + j) % 4 };
			uint32_t dim[4];

			for (k = 0; k < 4; k++)
				dim[k] = j == 5 ? out[i][k] % 2 ? out[i][k] : out[i][k] / 2 :
					of[j][k] ? 1 : out[i][k];
			start_case();
			d.x = tensor_of(types[i % 2], out[i], j % 2 ? swapped : turned, 0, 1);
			d.y = tensor_of(types[j % 3], dim, j % 2 ? dense : swapped, j, 1);
			d.out = tensor_of(types[i % 3], out[i], dense, j % 3, 1);
			/* no quotients by almost nothing */
			if (d.binary == KILN_BINARY_DIVIDE)
				d.binary = KILN_BINARY_MAX;
			check(d, 2);
		}
}

static void gates(void)
{
	static const uint32_t dim[4] = { 1, 3, 130, 200 };
	static const uint32_t funcs[] = { KILN_UNARY_SILU, KILN_UNARY_GELU, KILN_UNARY_RELU };
	uint32_t i;

	for (i = 0; i < 4; i++) {
		struct kiln_pointwise d = { .binary = KILN_BINARY_MULTIPLY };

		if (i < 3)
			d.unary = funcs[i];
		else
			d.binary = KILN_BINARY_SWIGLU_OAI, d.param[0] = 1.702f, d.param[1] = 1.5f;
		start_case();
		d.x = tensor_of(types[i % 2], dim, dense, 200, 1);
		d.y = d.x;
		d.y.addr += 200 * element_bytes(d.x.type);
		d.x.stride[2] = d.y.stride[2] = 400;
		d.x.stride[1] = d.y.stride[1] = 400 * 130;
		used *= 2;
		d.out = dense_of(types[i % 2], 1, 3, 130, 200);
		check(d, 2);
		d.also = tensor_of(types[(i + 1) % 3], dim, swapped, 3, 1);
		check(d, 2);
	}
}

/* A step of an optimizer on a tensor of many tiles, or one with gaps */
static void steps(enum kiln_optimizer_func func, const uint32_t dim[4], uint32_t gap)
{
	static const float values[2][7] = {
		{ 0.01f, 0.9f, 0.999f, 1e-8f, 0.1f, 1.5f, 2.5f }, { 0.05f, 0.1f },
	};
	const float *w = values[func == KILN_OPTIMIZER_SGD];
	struct kiln_optimizer d = { .func = func };
	struct outcome outcome = { 0 };
	struct kiln_tensor params, *state[] = { &d.x, &d.m, &d.v };
	struct nmse nmse[3] = { { 0 } };
	unsigned int i;
	bool good;

	start_case();
	params = dense_of(KILN_TYPE_F32, 1, 1, 1, 7);
	d.gradient = tensor_of(KILN_TYPE_F32, dim, swapped, 0, 1);
	for (i = 0; i < 3; i++)
		*state[i] = tensor_of(KILN_TYPE_F32, dim, dense, gap, 1);
	EACH(at, params.dim)
		set_value(&params, at, w[at[3]]);
	fill_normal(&d.gradient, 1);
	fill_normal(&d.x, 1);
	fill_normal(&d.m, 1);
	EACH(at, dim)
		set_value(&d.v, at, fabsf(normal()) + 0.01);
	upload_room();
	d.params = params.addr;
	good = !run_case(kiln_optimizer(ops, &d, on_done, &outcome), &outcome);
	if (good)
		EACH(at, dim) {
			double x = value_of(&d.x, at), g = value_of(&d.gradient, at);
			double m = value_of(&d.m, at), v = value_of(&d.v, at);

			if (func == KILN_OPTIMIZER_SGD) {
				x = x * (1 - w[0] * w[1]) - w[0] * g;
			} else {
				m = m * w[1] + g * (1 - w[1]);
				v = v * w[2] + g * g * (1 - w[2]);
				x = x * (1 - w[0] * w[4]) - w[0] * m * w[5] / (sqrt(v * w[6]) + w[3]);
			}
			nmse_add(&nmse[0], result_of(&d.x, at), x);
			nmse_add(&nmse[1], result_of(&d.m, at), m);
			nmse_add(&nmse[2], result_of(&d.v, at), v);
		}
	for (i = 0; i < 3; i++)
		good = good && nmse_good(&nmse[i], 1e-12);
	ok(good, "optimizer %d on %s, %llu cycles", func, shape_text(&d.x),
	   (unsigned long long)outcome.result.cycles);
	d.params = 2;
	ok(kiln_optimizer(ops, &d, NULL, NULL) == -EINVAL, "refused: %s", kiln_last_error());
	d.gradient.type = KILN_TYPE_F16;
	ok(kiln_optimizer(ops, &d, NULL, NULL) == -ENOTSUP, "refused: %s", kiln_last_error());
}

/* Neighbours that are the same in fp32, a row against all rows, a zero and the other one's bits */
static void equality(void)
{
	static const uint32_t dim[4] = { 1, 3, 140, 33 };
	struct kiln_pointwise d = { .binary = KILN_BINARY_EQUAL };
	struct outcome outcome = { 0 };
	int32_t *x, *y;
	bool good;

	start_case();
	d.x = tensor_of(KILN_TYPE_I32, dim, dense, 0, 1);
	d.y = dense_of(KILN_TYPE_I32, 1, 1, 1, 33);
	d.out = tensor_of(KILN_TYPE_F32, dim, dense, 0, 1);
	x = (int32_t *)bytes_at(d.x.addr);
	y = (int32_t *)bytes_at(d.y.addr);
	for (uint32_t i = 0; i < 33; i++)
		y[i] = i % 3 ? (1 << 24) + (int)i : i % 2 ? INT32_MIN : -(int)i;
	for (uint32_t i = 0; i < count_of(&d.x); i++)
		x[i] = y[i % 33] + (int)(next_random() % 2);
	x[0] = INT32_MIN;	/* y[0] is 0 */
	clear_result(&d.out);
	upload_room();
	good = !run_case(kiln_pointwise(ops, &d, on_done, &outcome), &outcome);
	if (good)
		EACH(at, dim) {
			uint64_t i = (at[1] * (uint64_t)dim[2] + at[2]) * dim[3] + at[3];
			double want = x[i] == y[i % 33], got = result_of(&d.out, at);

			if (good && got != want) {
				printf("# %d and %d: expected %g, got %g\n", x[i], y[i % 33], want, got);
				good = false;
			}
		}
	ok(good && gaps_untouched(&d.out), "integers that are equal");
	d.scale = 2;
	ok(kiln_pointwise(ops, &d, NULL, NULL) == -ENOTSUP, "refused: %s", kiln_last_error());
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct kiln_pointwise d = { .binary = KILN_BINARY_ADD }, e;

	start_case();
	d.x = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	d.y = dense_of(KILN_TYPE_F32, 1, 1, 3, 32);
	d.out = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	refused(kiln_pointwise(NULL, &d, NULL, NULL), -EINVAL, "no ops");
	refused(kiln_pointwise(ops, NULL, NULL, NULL), -EINVAL, "no description");
	e = d, e.unary = 99, refused(kiln_pointwise(ops, &e, NULL, NULL), -ENOTSUP, "99");
	e = d, e.binary = 99, refused(kiln_pointwise(ops, &e, NULL, NULL), -ENOTSUP, "99");
	e = d, e.y.dim[3] = 30, refused(kiln_pointwise(ops, &e, NULL, NULL), -EINVAL, "64 in one tensor and 30");
	e = d, e.x.dim[3] = 16, e.y.dim[3] = 24, e.out.dim[3] = 48;
	refused(kiln_pointwise(ops, &e, NULL, NULL), -ENOTSUP, "after 16 and after 24");
	e = d, e.y.type = KILN_TYPE_Q4_0, refused(kiln_pointwise(ops, &e, NULL, NULL), -ENOTSUP, "y 32");
	e = d, e.out.addr += 1, refused(kiln_pointwise(ops, &e, NULL, NULL), -EINVAL, "out is at");
	e = d, e.shift = INFINITY, refused(kiln_pointwise(ops, &e, NULL, NULL), -EINVAL, "shift");
	e = d, e.binary = KILN_BINARY_SWIGLU_OAI, e.unary = KILN_UNARY_SILU;
	refused(kiln_pointwise(ops, &e, NULL, NULL), -EINVAL, "swiglu_oai");
	e = d, e.also = dense_of(KILN_TYPE_BF16, 1, 1, 3, 64);
	refused(kiln_pointwise(ops, &e, NULL, NULL), -EINVAL, "dimension 1 of also is 1, of out 2");
	e.also.type = KILN_TYPE_I32, refused(kiln_pointwise(ops, &e, NULL, NULL), -ENOTSUP, "also");
	check(d, 1);
	d.out = d.x;
	check(d, 1);
}

int main(void)
{
	open_room();
	functions();
	repetition();
	gates();
	steps(KILN_OPTIMIZER_ADAMW, (uint32_t[]) { 1, 3, 200, 300 }, 0);
	steps(KILN_OPTIMIZER_ADAMW, (uint32_t[]) { 2, 3, 5, 10 }, 3);
	steps(KILN_OPTIMIZER_SGD, (uint32_t[]) { 1, 1, 1, 7 }, 0);
	equality();
	bad_arguments();
	return close_room();
}
