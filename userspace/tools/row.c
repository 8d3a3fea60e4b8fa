// SPDX-License-Identifier: MIT
/*
 * kiln run: softmax, norms, elementwise ops, gather, rope, reductions, top-k.
 *
 * Each has its sizes, its addresses, and a check of one row of its result
 * against float64. What a row may be off by is made of roundings of 2^-24: of
 * the sums as docs/numerics.md orders them (32 partial ones), of what functions
 * are off by, and of the type that is stored.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "run.h"

#define U	0x1p-24
#define FULL	(1ull << 20)	/* elements that are all compared */
#define SAMPLES	256		/* rows, if there are more */

static double in(const struct run *r, unsigned int input, uint64_t i)
{
	return element(r->input[input].tensor.host, r->input[input].tensor.type, i);
}

static bool given(const struct run *r, unsigned int input)
{
	return r->input[input].tensor.host;
}

/* Element col of a row, cols wide, of the result. */
static void compare(struct run *r, uint64_t row, uint64_t cols, uint64_t col, double want,
		    double allowed)
{
	check_element(&r->w.check, element(r->out.host, r->out.type, row * cols + col), want,
		      allowed + check_rounding(r->out.type, fabs(want) + allowed), row, col);
	r->w.check.elements++;
}

/* All rows of a small result; of a large one the first, the last, and some between. */
static void check_rows(struct run *r, uint64_t rows, void (*row)(struct run *r, uint64_t row))
{
	uint64_t state = r->common.seed ^ 0x6368656b726f77, i;

	r->w.check = (struct check) { .ok = true, .full = r->out.count <= FULL || rows <= SAMPLES };
	for (i = 0; i < (r->w.check.full ? rows : SAMPLES); i++)
		row(r, r->w.check.full ? i : !i ? 0 : i == 1 ? rows - 1 :
		    check_next(&state) % rows);
}

/* Relative error of a sum of n squares, or of n probabilities. */
static double sum_error(double n)
{
	return (n / 32 + 24) * U;
}

static int missing(const struct run *r, const char *option)
{
	return usage_error(r->common.command, "--%s is missing, and no file says it", option);
}

/* Rows and width of an input of [..., width], and of the result that is as it is. */
static int row_sizes(struct run *r, struct input *x, uint32_t *rows, uint32_t *width)
{
	int err = check_ndim(r, x, 1, 2);

	if (!err)
		err = settle(r, x, 0, "width", width);
	if (!err && x->path && x->npy.ndim == 2)
		err = settle(r, x, 1, "rows", rows);
	if (err)
		return err;
	if (!*width)
		return missing(r, "width");
	if (!*rows)
		*rows = 1;
	x->count = (uint64_t)*rows * *width;
	r->out_dim[0] = *rows;
	r->out_dim[1] = *width;
	r->out_ndim = 2;
	snprintf(r->w.shape, sizeof(r->w.shape), "%ux%u", *rows, *width);
	return 0;
}

static void describe(struct run *r, const char *what)
{
	size_t length = strlen(r->w.shape);

	snprintf(r->w.shape + length, sizeof(r->w.shape) - length, " %s", what);
}

/* --------------------------------------------------------------- softmax -- */

static int softmax_sizes(struct run *r)
{
	struct kiln_softmax *d = &r->w.softmax;

	d->type = r->type;
	return row_sizes(r, &r->input[0], &d->rows, &d->width);
}

static void softmax_bind(struct run *r)
{
	r->w.softmax.x = r->input[0].tensor.addr;
	r->w.softmax.y = r->out.addr;
}

static void softmax_row(struct run *r, uint64_t row)
{
	const struct kiln_softmax *d = &r->w.softmax;
	double scale = d->scale ? d->scale : 1, most = -INFINITY, sum = 0;
	bool strange = false;
	uint64_t j, n = d->width;

	for (j = 0; j < n; j++) {
		double x = in(r, 0, row * n + j);

		strange |= isnan(x) || x == INFINITY;
		most = fmax(most, x);
	}
	strange |= most == -INFINITY;
	for (j = 0; j < n; j++)
		sum += exp(scale * (in(r, 0, row * n + j) - most));
	for (j = 0; j < n; j++) {
		double arg = scale * (in(r, 0, row * n + j) - most);
		double want = strange ? NAN : exp(arg) / sum;

		compare(r, row, n, j, want, want * (sum_error(n) +
			2 * U * fmin(fabs(arg) + scale * fabs(most), 1e6)));
	}
}

static void softmax_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, r->w.softmax.rows, softmax_row);
}

static int run_softmax(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run softmax", .w.op = WORKLOAD_SOFTMAX,
		.input = { { .option = "x" } }, .inputs = 1,
		.sizes = softmax_sizes, .bind = softmax_bind, .check = softmax_check,
	};
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		SIZE_OPTION("rows", r.w.softmax.rows),
		SIZE_OPTION("width", r.w.softmax.width),
		FLOAT_OPTION("scale", r.w.softmax.scale),
		FILE_OPTION(r, 0),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

/* ----------------------------------------------------------------- norms -- */

static int norm_sizes(struct run *r)
{
	struct kiln_norm *d = &r->w.norm;
	int err = row_sizes(r, &r->input[0], &d->rows, &d->width);

	d->type = r->type;
	for (unsigned int i = 1; !err && i < r->inputs; i++) {
		err = check_ndim(r, &r->input[i], 1, 1);
		if (!err)
			err = settle(r, &r->input[i], 0, "width", &d->width);
		r->input[i].count = d->width;
	}
	return err;
}

static void norm_bind(struct run *r)
{
	struct kiln_norm *d = &r->w.norm;

	d->x = r->input[0].tensor.addr;
	d->y = r->out.addr;
	d->weight = r->input[1].tensor.addr;
	d->bias = r->input[2].tensor.addr;
}

static void norm_row(struct run *r, uint64_t row)
{
	const struct kiln_norm *d = &r->w.norm;
	bool layer = r->w.op == WORKLOAD_LAYERNORM;
	double mean = 0, square = 0, largest = 0, e = sum_error(d->width), inverse;
	uint64_t j, n = d->width;

	for (j = 0; layer && j < n; j++)
		mean += in(r, 0, row * n + j) / (double)n;
	for (j = 0; j < n; j++) {
		double x = in(r, 0, row * n + j);

		square += (x - mean) * (x - mean) / (double)n;
		largest = fmax(largest, fabs(x));
	}
	inverse = 1 / sqrt(square + d->eps);
	/* The mean is off by e of the largest, and the variance by the square of that. */
	if (layer)
		e += e * e * largest * largest * inverse * inverse;
	for (j = 0; j < n; j++) {
		double x = in(r, 0, row * n + j), weight = given(r, 1) ? in(r, 1, j) : 1;
		double bias = layer && given(r, 2) ? in(r, 2, j) : 0;
		double want = (x - mean) * inverse * weight;

		compare(r, row, n, j, want + bias, e * (fabs(want) + fabs(bias) +
			(layer ? largest * inverse * fabs(weight) : 0)));
	}
}

static void norm_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, r->w.norm.rows, norm_row);
}

static int run_norm(struct run *r, int argc, char **argv)
{
	const struct option table[] = {
		COMMON_OPTIONS(r->common),
		SIZE_OPTION("rows", r->w.norm.rows),
		SIZE_OPTION("width", r->w.norm.width),
		FLOAT_OPTION("eps", r->w.norm.eps),
		FILE_OPTION(*r, 0),
		FILE_OPTION(*r, 1),
		/* rmsnorm has none. */
		r->inputs > 2 ? (struct option) FILE_OPTION(*r, 2) : (struct option) { 0 },
		{ 0 },
	};

	r->w.norm.eps = 1e-5f;
	return run_op(r, argc, argv, table);
}

static int run_rmsnorm(int argc, char **argv)
{
	return run_norm(&(struct run) {
		.common.command = "kiln run rmsnorm", .w.op = WORKLOAD_RMSNORM,
		.input = { { .option = "x" }, { .option = "weight" } }, .inputs = 2,
		.sizes = norm_sizes, .bind = norm_bind, .check = norm_check,
	}, argc, argv);
}

static int run_layernorm(int argc, char **argv)
{
	return run_norm(&(struct run) {
		.common.command = "kiln run layernorm", .w.op = WORKLOAD_LAYERNORM,
		.input = { { .option = "x" }, { .option = "weight" }, { .option = "bias" } },
		.inputs = 3,
		.sizes = norm_sizes, .bind = norm_bind, .check = norm_check,
	}, argc, argv);
}

/* ----------------------------------------------------- functions, of one -- */

static const char *const unary_funcs[] = {
	"copy", "exp", "square", "relu", "abs", "sigmoid", "tanh", "gelu", "gelu_tanh",
	"gelu_quick", "silu", "softplus", "mish", "erf", "log", "sin", "cos", "arctan", "sqrt",
	"rsqrt", "reciprocal", "sign", NULL
};

_Static_assert(KILN_UNARY_COPY == 1 && KILN_UNARY_SILU == 11 && KILN_UNARY_SIGN == 22,
	       "unary_funcs[] is in their order");

static double apply(enum kiln_unary_func func, double x)
{
	static const double pi = 3.14159265358979323846;

	switch (func) {
	case KILN_UNARY_COPY:
		return x;
	case KILN_UNARY_EXP:
		return exp(x);
	case KILN_UNARY_SQUARE:
		return x * x;
	case KILN_UNARY_RELU:
		return x > 0 || isnan(x) ? x : 0;
	case KILN_UNARY_ABS:
		return fabs(x);
	case KILN_UNARY_SIGMOID:
		return 1 / (1 + exp(-x));
	case KILN_UNARY_TANH:
		return tanh(x);
	case KILN_UNARY_GELU:
		return x / 2 * erfc(-x / sqrt(2));
	case KILN_UNARY_GELU_TANH:
		return x / (1 + exp(-2 * sqrt(2 / pi) * (x + 0.044715 * x * x * x)));
	case KILN_UNARY_GELU_QUICK:
		return x / (1 + exp(-1.702 * x));
	case KILN_UNARY_SILU:
		return x / (1 + exp(-x));
	case KILN_UNARY_SOFTPLUS:
		return x > 40 ? x : log1p(exp(x));
	case KILN_UNARY_MISH:
		return x * tanh(x > 40 ? x : log1p(exp(x)));
	case KILN_UNARY_ERF:
		return erf(x);
	case KILN_UNARY_LOG:
		return log(x);
	case KILN_UNARY_SIN:
		return fabs(x) > 65536 ? NAN : sin(x);
	case KILN_UNARY_COS:
		return fabs(x) > 65536 ? NAN : cos(x);
	case KILN_UNARY_ARCTAN:
		return atan(x);
	case KILN_UNARY_SQRT:
		return sqrt(x);
	case KILN_UNARY_RSQRT:
		return 1 / sqrt(x);
	case KILN_UNARY_RECIPROCAL:
		return 1 / x;
	case KILN_UNARY_SIGN:
		return x > 0 ? 1 : x < 0 ? -1 : x;
	default:	/* not in unary_funcs[] */
		return NAN;
	}
}

/* Functions are off by 7 ulp at most; near zeros of sin, cos and mish by 2^-24 of one. */
static double apply_error(enum kiln_unary_func func, double x, double moved)
{
	double y = apply(func, x), up = apply(func, x + moved), down = apply(func, x - moved);
	bool wave = func == KILN_UNARY_SIN || func == KILN_UNARY_COS;
	double e = 14 * U * fabs(y) + (wave ? 2 * U : 0);

	if (!isfinite(y) || !moved)
		return e;
	return e + fmax(isnan(up) ? 0 : fabs(up - y), isnan(down) ? 0 : fabs(down - y));
}

static int unary_sizes(struct run *r)
{
	struct kiln_unary *d = &r->w.unary;
	int err = row_sizes(r, &r->input[0], &d->rows, &d->width);

	if (err)
		return err;
	if (!d->func)
		return usage_error(r->common.command, "--func is missing: kiln help has the list");
	describe(r, unary_funcs[d->func - 1]);
	d->type = r->type;
	d->out_type = r->out_type;
	return 0;
}

static void unary_bind(struct run *r)
{
	r->w.unary.x = r->input[0].tensor.addr;
	r->w.unary.y = r->out.addr;
}

static void unary_row(struct run *r, uint64_t row)
{
	const struct kiln_unary *d = &r->w.unary;
	double scale = d->scale ? d->scale : 1;
	uint64_t j, n = d->width;

	for (j = 0; j < n; j++) {
		double x = scale * in(r, 0, row * n + j) + d->shift;
		bool moved = scale != 1 || d->shift;

		compare(r, row, n, j, apply(d->func, x),
			apply_error(d->func, x, moved ? U * fabs(x) : 0));
	}
}

static void unary_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, r->w.unary.rows, unary_row);
}

static int run_unary(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run unary", .w.op = WORKLOAD_UNARY,
		.input = { { .option = "x" } }, .inputs = 1,
		.sizes = unary_sizes, .bind = unary_bind, .check = unary_check,
	};
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		OUT_DTYPE_OPTION(r.common),
		{ .name = "func", .kind = OPTION_CHOICE, .value = &r.w.unary.func,
		  .choices = unary_funcs },
		SIZE_OPTION("rows", r.w.unary.rows),
		SIZE_OPTION("width", r.w.unary.width),
		FLOAT_OPTION("scale", r.w.unary.scale),
		FLOAT_OPTION("shift", r.w.unary.shift),
		FILE_OPTION(r, 0),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

/* ---------------------------------------------------------------- of two -- */

static const char *const binary_funcs[] = {
	"add", "subtract", "multiply", "divide", "max", "min", NULL
};

_Static_assert(KILN_BINARY_ADD == 1 && KILN_BINARY_MIN == 6, "binary_funcs[] is in their order");

/* Files have any shapes that broadcast; without them both are [rows, width]. */
static int binary_sizes(struct run *r)
{
	struct kiln_binary *d = &r->w.binary;
	uint32_t *dim[2] = { d->a_dim, d->b_dim }, rows = d->a_dim[2], width = d->a_dim[3];

	if (!d->func)
		return usage_error(r->common.command, "--func is missing: kiln help has the list");
	for (unsigned int i = 0; i < 2; i++) {
		struct input *x = &r->input[i];

		x->count = 1;
		for (unsigned int j = 0; j < 4; j++) {
			unsigned int lead = x->path ? 4 - x->npy.ndim : 2;
			uint64_t n = j < lead ? 1 : x->path ? x->npy.dim[j - lead] :
				     j == 2 ? rows ? rows : 1 : width;

			if (!n && !x->path)
				return missing(r, "width");
			if (!n || n > MAX_SIZE)
				return usage_error(r->common.command, "--%s %s: a dimension of %llu is not within 1 to %u",
						   x->option, x->path, (unsigned long long)n, MAX_SIZE);
			dim[i][j] = (uint32_t)n;
			x->count *= n;
		}
	}
	for (unsigned int j = 0; j < 4; j++) {
		uint32_t a = d->a_dim[j], b = d->b_dim[j];

		if (a != b && a != 1 && b != 1)
			return usage_error(r->common.command, "dimensions of %u and %u do not go together",
					   a, b);
		if (a > 1 || b > 1 || r->out_ndim || j == 3)
			r->out_dim[r->out_ndim++] = a > b ? a : b;
	}
	for (unsigned int j = 0; j < r->out_ndim; j++)
		snprintf(r->w.shape + strlen(r->w.shape), sizeof(r->w.shape) - strlen(r->w.shape),
			 "%s%llu", j ? "x" : "", (unsigned long long)r->out_dim[j]);
	describe(r, binary_funcs[d->func - 1]);
	d->type = r->type;
	d->out_type = r->out_type;
	return 0;
}

static void binary_bind(struct run *r)
{
	r->w.binary.a = r->input[0].tensor.addr;
	r->w.binary.b = r->input[1].tensor.addr;
	r->w.binary.out = r->out.addr;
}

static uint64_t broadcast(const uint32_t dim[4], const uint64_t at[4])
{
	uint64_t index = 0;

	for (unsigned int i = 0; i < 4; i++)
		index = index * dim[i] + (dim[i] > 1 ? at[i] : 0);
	return index;
}

static void binary_row(struct run *r, uint64_t row)
{
	const struct kiln_binary *d = &r->w.binary;
	uint64_t out[4], at[4], left = row, n = r->out_dim[r->out_ndim - 1];

	for (unsigned int i = 0; i < 4; i++)
		out[i] = d->a_dim[i] > d->b_dim[i] ? d->a_dim[i] : d->b_dim[i];
	for (unsigned int i = 3; i--; left /= out[i])
		at[i] = left % out[i];
	for (at[3] = 0; at[3] < n; at[3]++) {
		double a = in(r, 0, broadcast(d->a_dim, at)), b = in(r, 1, broadcast(d->b_dim, at));
		double want = 0;

		switch (d->func) {
		case KILN_BINARY_ADD:
			want = a + b;
			break;
		case KILN_BINARY_SUBTRACT:
			want = a - b;
			break;
		case KILN_BINARY_MULTIPLY:
			want = a * b;
			break;
		case KILN_BINARY_DIVIDE:
			want = a / b;
			break;
		case KILN_BINARY_MAX:
			want = isnan(a) || isnan(b) ? NAN : fmax(a, b);
			break;
		case KILN_BINARY_MIN:
			want = isnan(a) || isnan(b) ? NAN : fmin(a, b);
			break;
		default:	/* kiln_pointwise()'s */
			break;
		}
		compare(r, row, n, at[3], want, 3 * U * fabs(want));
	}
}

static void binary_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, r->out.count / r->out_dim[r->out_ndim - 1], binary_row);
}

static int run_binary(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run binary", .w.op = WORKLOAD_BINARY,
		.input = { { .option = "a" }, { .option = "b" } }, .inputs = 2,
		.sizes = binary_sizes, .bind = binary_bind, .check = binary_check,
	};
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		OUT_DTYPE_OPTION(r.common),
		{ .name = "func", .kind = OPTION_CHOICE, .value = &r.w.binary.func,
		  .choices = binary_funcs },
		SIZE_OPTION("rows", r.w.binary.a_dim[2]),
		SIZE_OPTION("width", r.w.binary.a_dim[3]),
		FILE_OPTION(r, 0),
		FILE_OPTION(r, 1),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

static int glu_sizes(struct run *r)
{
	struct kiln_glu *d = &r->w.glu;
	int err = row_sizes(r, &r->input[0], &d->rows, &d->width);

	if (!err)
		err = row_sizes(r, &r->input[1], &d->rows, &d->width);
	if (err)
		return err;
	/* The first may have had no rows to say. */
	r->input[0].count = r->input[1].count;
	if (!d->func)
		d->func = KILN_UNARY_SILU;
	describe(r, unary_funcs[d->func - 1]);
	d->type = r->type;
	return 0;
}

static void glu_bind(struct run *r)
{
	r->w.glu.gate = r->input[0].tensor.addr;
	r->w.glu.up = r->input[1].tensor.addr;
	r->w.glu.out = r->out.addr;
}

static void glu_row(struct run *r, uint64_t row)
{
	const struct kiln_glu *d = &r->w.glu;
	uint64_t j, n = d->width;

	for (j = 0; j < n; j++) {
		double gate = in(r, 0, row * n + j), up = in(r, 1, row * n + j);
		double want = apply(d->func, gate) * up;

		compare(r, row, n, j, want,
			apply_error(d->func, gate, 0) * fabs(up) + U * fabs(want));
	}
}

static void glu_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, r->w.glu.rows, glu_row);
}

static int run_glu(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run glu", .w.op = WORKLOAD_GLU,
		.input = { { .option = "gate" }, { .option = "up" } }, .inputs = 2,
		.sizes = glu_sizes, .bind = glu_bind, .check = glu_check,
	};
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		{ .name = "func", .kind = OPTION_CHOICE, .value = &r.w.glu.func,
		  .choices = unary_funcs },
		SIZE_OPTION("rows", r.w.glu.rows),
		SIZE_OPTION("width", r.w.glu.width),
		FILE_OPTION(r, 0),
		FILE_OPTION(r, 1),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

/* ---------------------------------------------------------------- gather -- */

static int gather_sizes(struct run *r)
{
	struct kiln_gather *d = &r->w.gather;
	struct input *table = &r->input[0], *index = &r->input[1];
	int err;

	if ((err = check_ndim(r, table, 2, 2)) || (err = check_ndim(r, index, 1, 1)) ||
	    (err = settle(r, table, 1, "table-rows", &d->table_rows)) ||
	    (err = settle(r, table, 0, "width", &d->width)) ||
	    (err = settle(r, index, 0, "rows", &d->rows)))
		return err;
	if (!d->table_rows || !d->width || !d->rows)
		return missing(r, !d->table_rows ? "table-rows" : !d->width ? "width" : "rows");
	d->type = r->type;
	table->count = (uint64_t)d->table_rows * d->width;
	index->count = d->rows;
	index->limit = d->table_rows;
	r->out_dim[0] = d->rows;
	r->out_dim[1] = d->width;
	r->out_ndim = 2;
	snprintf(r->w.shape, sizeof(r->w.shape), "%ux%u of %u rows", d->rows, d->width,
		 d->table_rows);
	return 0;
}

static void gather_bind(struct run *r)
{
	r->w.gather.table = r->input[0].tensor.addr;
	r->w.gather.index = r->input[1].tensor.addr;
	r->w.gather.out = r->out.addr;
}

static void gather_row(struct run *r, uint64_t row)
{
	uint64_t n = r->w.gather.width, j;
	uint64_t from = ((const uint32_t *)r->input[1].tensor.host)[row] * n;

	/* Copied, so nothing is off. */
	for (j = 0; j < n; j++, r->w.check.elements++)
		check_element(&r->w.check, element(r->out.host, r->out.type, row * n + j),
			      in(r, 0, from + j), 0, row, j);
}

static void gather_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, r->w.gather.rows, gather_row);
}

static int run_gather(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run gather", .w.op = WORKLOAD_GATHER,
		.input = { { .option = "table" }, { .option = "index", .kind = INPUT_INDEX } },
		.inputs = 2,
		.sizes = gather_sizes, .bind = gather_bind, .check = gather_check,
	};
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		SIZE_OPTION("rows", r.w.gather.rows),
		SIZE_OPTION("width", r.w.gather.width),
		SIZE_OPTION("table-rows", r.w.gather.table_rows),
		FILE_OPTION(r, 0),
		FILE_OPTION(r, 1),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

/* ------------------------------------------------------------------ rope -- */

static int rope_sizes(struct run *r)
{
	struct kiln_rope *d = &r->w.rope;
	struct input *x = &r->input[0], *positions = &r->input[3];
	uint32_t half, rows;
	int err;

	if ((err = check_ndim(r, x, 3, 3)) ||
	    (err = settle(r, x, 2, "tokens", &d->tokens)) ||
	    (err = settle(r, x, 1, "heads", &d->heads)) ||
	    (err = settle(r, x, 0, "dim", &d->dim)))
		return err;
	if (!d->tokens || !d->heads || !d->dim)
		return missing(r, !d->tokens ? "tokens" : !d->heads ? "heads" : "dim");
	half = (d->rotated ? d->rotated : d->dim) / 2;
	rows = positions->path ? d->table_rows : d->tokens;
	for (unsigned int i = 1; i < 3; i++) {
		if ((err = check_ndim(r, &r->input[i], 2, 2)) ||
		    (err = settle(r, &r->input[i], 1, positions->path ? "table-rows" : "tokens", &rows)) ||
		    (err = settle(r, &r->input[i], 0, "rotated / 2", &half)))
			return err;
	}
	if (!rows)
		return missing(r, "table-rows");
	if (positions->path) {
		err = check_ndim(r, positions, 1, 1);
		if (!err)
			err = settle(r, positions, 0, "tokens", &d->tokens);
		if (err)
			return err;
		d->table_rows = rows;
	}
	d->type = r->type;
	x->count = (uint64_t)d->tokens * d->heads * d->dim;
	r->input[1].count = r->input[2].count = (uint64_t)rows * half;
	positions->count = d->tokens;
	positions->limit = rows;
	r->out_dim[0] = d->tokens;
	r->out_dim[1] = d->heads;
	r->out_dim[2] = d->dim;
	r->out_ndim = 3;
	snprintf(r->w.shape, sizeof(r->w.shape), "%ux%uh d%u%s", d->tokens, d->heads, d->dim,
		 d->interleaved ? " interleaved" : "");
	return 0;
}

static void rope_bind(struct run *r)
{
	struct kiln_rope *d = &r->w.rope;

	d->x = r->input[0].tensor.addr;
	d->cos = r->input[1].tensor.addr;
	d->sin = r->input[2].tensor.addr;
	d->positions = r->input[3].tensor.addr;
	d->y = r->out.addr;
}

/* A row is one head of one token. */
static void rope_row(struct run *r, uint64_t row)
{
	const struct kiln_rope *d = &r->w.rope;
	uint64_t rotated = d->rotated ? d->rotated : d->dim, token = row / d->heads, j;
	uint64_t at = given(r, 3) ? ((const uint32_t *)r->input[3].tensor.host)[token] : token;

	for (j = 0; j < rotated / 2; j++) {
		uint64_t i0 = d->interleaved ? 2 * j : j;
		uint64_t i1 = d->interleaved ? 2 * j + 1 : j + rotated / 2;
		double x0 = in(r, 0, row * d->dim + i0), x1 = in(r, 0, row * d->dim + i1);
		double c = in(r, 1, at * (rotated / 2) + j), s = in(r, 2, at * (rotated / 2) + j);

		compare(r, row, d->dim, i0, x0 * c - x1 * s, 3 * U * (fabs(x0 * c) + fabs(x1 * s)));
		compare(r, row, d->dim, i1, x1 * c + x0 * s, 3 * U * (fabs(x1 * c) + fabs(x0 * s)));
	}
	for (j = rotated; j < d->dim; j++)
		compare(r, row, d->dim, j, in(r, 0, row * d->dim + j), 0);
}

static void rope_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, (uint64_t)r->w.rope.tokens * r->w.rope.heads, rope_row);
}

static int run_rope(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run rope", .w.op = WORKLOAD_ROPE,
		.input = {
			{ .option = "x" }, { .option = "cos", .kind = INPUT_F32 },
			{ .option = "sin", .kind = INPUT_F32 },
			{ .option = "positions", .kind = INPUT_INDEX, .optional = true },
		},
		.inputs = 4,
		.sizes = rope_sizes, .bind = rope_bind, .check = rope_check,
	};
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		SIZE_OPTION("tokens", r.w.rope.tokens),
		SIZE_OPTION("heads", r.w.rope.heads),
		SIZE_OPTION("dim", r.w.rope.dim),
		SIZE_OPTION("rotated", r.w.rope.rotated),
		SIZE_OPTION("table-rows", r.w.rope.table_rows),
		{ .name = "interleaved", .kind = OPTION_FLAG, .value = &r.w.rope.interleaved },
		FILE_OPTION(r, 0),
		FILE_OPTION(r, 1),
		FILE_OPTION(r, 2),
		FILE_OPTION(r, 3),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

/* ---------------------------------------------------------------- reduce -- */

static const char *const reduce_funcs[] = { "sum", "mean", "max", "min", NULL };

_Static_assert(KILN_REDUCE_SUM == 1 && KILN_REDUCE_MIN == 4, "reduce_funcs[] is in their order");

static int reduce_sizes(struct run *r)
{
	struct kiln_reduce *d = &r->w.reduce;
	struct input *x = &r->input[0];
	int err;

	if ((err = check_ndim(r, x, 3, 3)) || (err = settle(r, x, 2, "outer", &d->outer)) ||
	    (err = settle(r, x, 1, "n", &d->n)) || (err = settle(r, x, 0, "inner", &d->inner)))
		return err;
	if (!d->func)
		return usage_error(r->common.command, "--func is missing: sum, mean, max or min");
	if (!d->n)
		return missing(r, "n");
	if (!d->outer)
		d->outer = 1;
	if (!d->inner)
		d->inner = 1;
	d->type = r->type;
	d->out_type = r->out_type;
	if (__builtin_mul_overflow((uint64_t)d->outer * d->n, (uint64_t)d->inner, &x->count))
		x->count = UINT64_MAX;
	r->out_dim[0] = d->outer;
	r->out_dim[1] = d->inner;
	r->out_ndim = 2;
	snprintf(r->w.shape, sizeof(r->w.shape), "%ux[%u]x%u %s", d->outer, d->n, d->inner,
		 reduce_funcs[d->func - 1]);
	return 0;
}

static void reduce_bind(struct run *r)
{
	r->w.reduce.x = r->input[0].tensor.addr;
	r->w.reduce.y = r->out.addr;
}

static void reduce_row(struct run *r, uint64_t row)
{
	const struct kiln_reduce *d = &r->w.reduce;

	for (uint64_t i = 0; i < d->inner; i++) {
		double sum = 0, size = 0, most = -INFINITY, least = INFINITY, error;
		bool nan = false;

		for (uint64_t k = 0; k < d->n; k++) {
			double x = in(r, 0, (row * d->n + k) * d->inner + i);

			sum += x;
			size += fabs(x);
			most = fmax(most, x);
			least = fmin(least, x);
			nan |= isnan(x);
		}
		error = check_sum_error(d->n, false) * size;
		if (d->func == KILN_REDUCE_MEAN) {
			sum /= d->n;
			error = error / d->n + U * fabs(sum);
		}
		if (d->func == KILN_REDUCE_MAX || d->func == KILN_REDUCE_MIN) {
			sum = nan ? NAN : d->func == KILN_REDUCE_MAX ? most : least;
			error = 0;
		}
		compare(r, row, d->inner, i, sum, error);
	}
}

static void reduce_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, r->w.reduce.outer, reduce_row);
}

static int run_reduce(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run reduce", .w.op = WORKLOAD_REDUCE,
		.input = { { .option = "x" } }, .inputs = 1,
		.sizes = reduce_sizes, .bind = reduce_bind, .check = reduce_check,
	};
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		OUT_DTYPE_OPTION(r.common),
		{ .name = "func", .kind = OPTION_CHOICE, .value = &r.w.reduce.func,
		  .choices = reduce_funcs },
		SIZE_OPTION("outer", r.w.reduce.outer),
		SIZE_OPTION("n", r.w.reduce.n),
		SIZE_OPTION("inner", r.w.reduce.inner),
		FILE_OPTION(r, 0),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

/* ------------------------------------------------------------------ topk -- */

static int topk_sizes(struct run *r)
{
	struct kiln_topk *d = &r->w.topk;
	int err = row_sizes(r, &r->input[0], &d->rows, &d->width);
	char text[32];

	if (err)
		return err;
	if (!d->k)
		return usage_error(r->common.command, "--k is missing");
	d->type = r->type;
	r->out_dim[1] = d->k;
	snprintf(text, sizeof(text), "top %u", d->k);
	describe(r, text);
	return 0;
}

static void topk_bind(struct run *r)
{
	r->w.topk.x = r->input[0].tensor.addr;
	r->w.topk.values = r->out.addr;
	r->w.topk.indices = r->indices.addr;
}

struct ranked {
	double value;
	uint32_t index;
};

/* NaN before everything, then the greater, then the first; +0 before -0. */
static int rank(const void *left, const void *right)
{
	const struct ranked *a = left, *b = right;
	int first = a->index < b->index ? -1 : 1;

	if (isnan(a->value) || isnan(b->value))
		return isnan(a->value) && isnan(b->value) ? first : isnan(a->value) ? -1 : 1;
	if (a->value != b->value)
		return a->value > b->value ? -1 : 1;
	if (signbit(a->value) != signbit(b->value))
		return signbit(a->value) ? 1 : -1;
	return first;
}

static void topk_row(struct run *r, uint64_t row)
{
	const struct kiln_topk *d = &r->w.topk;
	struct ranked *all = malloc(d->width * sizeof(*all));
	uint64_t j, n = d->width;

	if (!all) {
		r->w.check.ok = false;
		snprintf(r->w.check.what, sizeof(r->w.check.what), "no memory for the check");
		return;
	}
	for (j = 0; j < n; j++)
		all[j] = (struct ranked) { in(r, 0, row * n + j), (uint32_t)j };
	qsort(all, n, sizeof(*all), rank);
	for (j = 0; j < d->k; j++, r->w.check.elements++) {
		check_element(&r->w.check, element(r->out.host, r->out.type, row * d->k + j),
			      all[j].value, 0, row, j);
		/* Of -infinity the place says nothing. */
		if (all[j].value != -INFINITY)
			check_element(&r->w.check, element(r->indices.host, KILN_TYPE_I32,
							   row * d->k + j), all[j].index, 0, row, j);
	}
	free(all);
}

static void topk_check(struct run *r, bool random)
{
	(void)random;
	check_rows(r, r->w.topk.rows, topk_row);
}

static int run_topk(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run topk", .w.op = WORKLOAD_TOPK,
		.input = { { .option = "x" } }, .inputs = 1, .has_indices = true,
		.sizes = topk_sizes, .bind = topk_bind, .check = topk_check,
	};
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		SIZE_OPTION("rows", r.w.topk.rows),
		SIZE_OPTION("width", r.w.topk.width),
		SIZE_OPTION("k", r.w.topk.k),
		{ .name = "out-indices", .kind = OPTION_TEXT, .value = &r.indices_path },
		FILE_OPTION(r, 0),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

/* ------------------------------------------------------------------ list -- */

int (*find_row_op(const char *name))(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} ops[] = {
		{ "softmax", run_softmax }, { "rmsnorm", run_rmsnorm },
		{ "layernorm", run_layernorm }, { "unary", run_unary }, { "binary", run_binary },
		{ "glu", run_glu }, { "gather", run_gather }, { "rope", run_rope },
		{ "reduce", run_reduce }, { "topk", run_topk },
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(name, ops[i].name))
			return ops[i].run;
	return NULL;
}
