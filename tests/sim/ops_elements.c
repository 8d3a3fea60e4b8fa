// SPDX-License-Identifier: MIT
/*
 * Unary, binary and gated ops against float64.
 *
 * u = 2^-24 is one rounding of fp32. A binary op has one, division two (its
 * reciprocal's and the product's); a function is within 4 ulp (docs/numerics.md
 * gives less), of which an argument scaled and shifted adds u times itself and
 * the function's slope, at most 1 + |x| + |f| for those here and their
 * arguments. A result that has been rounded to bf16 adds 2^-8 of itself,
 * to fp16 2^-11, or 2^-25 where that is more.
 */
#include "ops_test.h"

#define ROOM	(8u << 20)	/* bytes of a tensor */
#define U	0x1p-24

static struct tensor ta, tb, to;

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
	return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double unary(enum kiln_unary_func func, double x)
{
	switch (func) {
	case KILN_UNARY_COPY: return x;
	case KILN_UNARY_EXP: return exp(x);
	case KILN_UNARY_SQUARE: return x * x;
	case KILN_UNARY_RELU: return x > 0 ? x : 0;
	case KILN_UNARY_ABS: return fabs(x);
	case KILN_UNARY_SIGMOID: return sigmoid(x);
	case KILN_UNARY_TANH: return tanh(x);
	case KILN_UNARY_GELU: return x * erfc(-x / sqrt(2)) / 2;
	case KILN_UNARY_GELU_TANH:
		return x * sigmoid(2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
	case KILN_UNARY_GELU_QUICK: return x * sigmoid(1.702 * x);
	case KILN_UNARY_SILU: return x * sigmoid(x);
	case KILN_UNARY_SOFTPLUS: return softplus(x);
	case KILN_UNARY_MISH: return x * tanh(softplus(x));
	case KILN_UNARY_ERF: return erf(x);
	case KILN_UNARY_LOG: return log(x);
	case KILN_UNARY_SIN: return sin(x);
	case KILN_UNARY_COS: return cos(x);
	case KILN_UNARY_ARCTAN: return atan(x);
	case KILN_UNARY_SQRT: return sqrt(x);
	case KILN_UNARY_RSQRT: return 1 / sqrt(x);
	case KILN_UNARY_RECIPROCAL: return 1 / x;
	case KILN_UNARY_SIGN: return (x > 0) - (x < 0);
	default: return NAN;	/* kiln_pointwise()'s: ops_tensor.c */
	}
}

static double rounded(double bound, double want, enum kiln_type type)
{
	return bound + type_error(type, want) + type_error(type, bound);
}

static bool near(const char *where, uint64_t i, double got, double want, double bound)
{
	if (fabs(got - want) <= bound || (isnan(got) && isnan(want)))
		return true;
	printf("# %s %llu: expected %.9g +- %.3g, got %.9g\n", where, (unsigned long long)i, want,
	       bound, got);
	return false;
}

/* The bytes [from, to) of the result are as they were made. */
static bool untouched(uint64_t from, uint64_t end)
{
	for (; from < end; from++)
		if (((uint8_t *)to.shadow)[from] != 0xa5) {
			printf("# byte %llu was written\n", (unsigned long long)from);
			return false;
		}
	return true;
}

static void clear(uint64_t bytes)
{
	if (bytes + 64 > ROOM)
		bail("a shape does not fit the test's memory");
	memset(to.map, 0xa5, bytes + 64);
}

static int wait_for(int err, struct outcome *outcome)
{
	if (err) {
		printf("# %d %s\n", err, kiln_last_error());
		return err;
	}
	return finish(outcome);
}

/* Arguments of both signs, or positive ones for what has no others. */
static void fill(struct tensor *t, enum kiln_type type, uint64_t n, bool positive)
{
	uint64_t i;

	if (n * type_bytes(type) > ROOM)
		bail("a shape does not fit the test's memory");
	for (i = 0; i < n; i++) {
		float x = normal() * 3;

		put(t->shadow, type, i, positive ? fabsf(x) + 0.01f : x);
	}
	tensor_upload(t, n * type_bytes(type));
}

static void check_unary(struct kiln_unary d)
{
	enum kiln_type out = d.out_type ? d.out_type : d.type;
	uint32_t rows = d.rows ? d.rows : 1, ldx = d.ldx ? d.ldx : d.width;
	uint32_t ldy = d.ldy ? d.ldy : d.width, i, j;
	uint64_t bytes = (uint64_t)rows * ldy * type_bytes(out);
	struct outcome outcome = { 0 };
	bool good;

	fill(&ta, d.type, (uint64_t)rows * ldx, d.func == KILN_UNARY_LOG ||
	     d.func == KILN_UNARY_SQRT || d.func == KILN_UNARY_RSQRT ||
	     d.func == KILN_UNARY_RECIPROCAL);
	clear(bytes);
	d.x = ta.addr;
	d.y = to.addr;
	good = !wait_for(kiln_unary(ops, &d, on_done, &outcome), &outcome) &&
		outcome.result.cycles;
	tensor_download(&to, bytes + 64);
	for (i = 0; good && i < rows; i++) {
		for (j = 0; good && j < d.width; j++) {
			uint64_t at = (uint64_t)i * ldy + j;
			double x = get(ta.shadow, d.type, (uint64_t)i * ldx + j), want, bound;
			bool moved = d.scale || d.shift;

			x = x * (d.scale ? d.scale : 1) + d.shift;
			want = unary(d.func, x);
			bound = 8 * U * fabs(want) + (moved ? U * fabs(x) * (1 + fabs(x) + fabs(want)) : 0);
			/* near their zeros between two numbers */
			if (d.func == KILN_UNARY_SIN || d.func == KILN_UNARY_COS)
				bound += U;
			good = near("element", at, get(to.shadow, out, at), want,
				    rounded(bound, want, out));
		}
		good = good && untouched(((uint64_t)i * ldy + d.width) * type_bytes(out),
					 ((uint64_t)i + 1) * ldy * type_bytes(out));
	}
	good = good && untouched(bytes, bytes + 64);
	ok(good, "unary %d %s to %s [%u, %u] ld %u %u, %llu cycles", d.func, type_name(d.type),
	   type_name(out), rows, d.width, ldx, ldy, (unsigned long long)outcome.result.cycles);
}

static void check_glu(struct kiln_glu d, bool halves)
{
	uint32_t rows = d.rows ? d.rows : 1, i, j;
	uint64_t bytes = (uint64_t)rows * d.width * type_bytes(d.type);
	struct outcome outcome = { 0 };
	uint32_t ld = halves ? 2 * d.width : d.width;
	bool good;

	fill(&ta, d.type, (uint64_t)rows * ld, false);
	fill(&tb, d.type, (uint64_t)rows * d.width, false);
	clear(bytes);
	d.gate = ta.addr;
	d.up = halves ? ta.addr + (uint64_t)d.width * type_bytes(d.type) : tb.addr;
	d.ld_gate = d.ld_up = halves ? ld : 0;
	d.out = to.addr;
	good = !wait_for(kiln_glu(ops, &d, on_done, &outcome), &outcome);
	tensor_download(&to, bytes + 64);
	for (i = 0; good && i < rows; i++)
		for (j = 0; good && j < d.width; j++) {
			uint64_t at = (uint64_t)i * d.width + j, from = (uint64_t)i * ld + j;
			double want = unary(d.func, get(ta.shadow, d.type, from));

			want *= halves ? get(ta.shadow, d.type, from + d.width) :
				get(tb.shadow, d.type, from);
			good = near("element", at, get(to.shadow, d.type, at), want,
				    rounded(9 * U * fabs(want), want, d.type));
		}
	good = good && untouched(bytes, bytes + 64);
	ok(good, "glu %d %s [%u, %u]%s, %llu cycles", d.func, type_name(d.type), rows, d.width,
	   halves ? " halves" : "", (unsigned long long)outcome.result.cycles);
}

static void check_binary(struct kiln_binary d, bool in_place)
{
	enum kiln_type out = d.out_type ? d.out_type : d.type;
	uint64_t na = 1, nb = 1, n = 1, bytes, i, rest;
	uint32_t dim[4], a[4], b[4];
	struct outcome outcome = { 0 };
	bool good;
	int k;

	for (k = 0; k < 4; k++) {
		a[k] = d.a_dim[k] ? d.a_dim[k] : 1;
		b[k] = d.b_dim[k] ? d.b_dim[k] : 1;
		dim[k] = a[k] > b[k] ? a[k] : b[k];
		na *= a[k];
		nb *= b[k];
		n *= dim[k];
	}
	fill(&ta, d.type, na, false);
	fill(&tb, d.type, nb, d.func == KILN_BINARY_DIVIDE);
	bytes = n * type_bytes(out);
	clear(bytes);
	d.a = ta.addr;
	d.b = tb.addr;
	d.out = in_place ? ta.addr : to.addr;
	good = !wait_for(kiln_binary(ops, &d, on_done, &outcome), &outcome);
	memcpy(to.shadow, in_place ? ta.map : to.map, bytes + 64);
	for (i = 0; good && i < n; i++) {
		uint64_t at = 0, bt = 0, sa = 1, sb = 1;
		double x, y, want = 0, bound = U;

		for (rest = i, k = 3; k >= 0; k--) {
			uint64_t index = rest % dim[k];

			at += a[k] > 1 ? index * sa : 0;
			bt += b[k] > 1 ? index * sb : 0;
			sa *= a[k];
			sb *= b[k];
			rest /= dim[k];
		}
		x = get(ta.shadow, d.type, at);
		y = get(tb.shadow, d.type, bt);
		switch (d.func) {
		case KILN_BINARY_ADD: want = x + y; break;
		case KILN_BINARY_SUBTRACT: want = x - y; break;
		case KILN_BINARY_MULTIPLY: want = x * y; break;
		case KILN_BINARY_DIVIDE: want = x / y; bound = 2.01 * U; break;
		case KILN_BINARY_MAX: want = x > y ? x : y; break;
		case KILN_BINARY_MIN: want = x < y ? x : y; break;
		default: break;
		}
		good = near("element", i, get(to.shadow, out, i), want,
			    rounded(bound * fabs(want), want, out));
	}
	good = good && (in_place || untouched(bytes, bytes + 64));
	ok(good, "binary %d %s to %s [%u %u %u %u] [%u %u %u %u]%s, %llu cycles", d.func,
	   type_name(d.type), type_name(out), a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3],
	   in_place ? " in place" : "", (unsigned long long)outcome.result.cycles);
}

static void unaries(void)
{
	static const uint32_t sizes[] = { 1, 2, 127, 128, 129, 300, 16385, 300001 };
	enum kiln_unary_func func;
	unsigned int i;

	for (func = KILN_UNARY_COPY; func <= KILN_UNARY_SIGN; func++)
		check_unary((struct kiln_unary) { .type = KILN_TYPE_F32, .func = func, .width = 1000 });
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		check_unary((struct kiln_unary) { .type = KILN_TYPE_F32, .func = KILN_UNARY_RELU,
						  .width = sizes[i] });
		check_unary((struct kiln_unary) { .type = KILN_TYPE_BF16, .func = KILN_UNARY_SILU,
						  .width = sizes[i] });
		check_unary((struct kiln_unary) { .type = KILN_TYPE_F16, .func = KILN_UNARY_SIGMOID,
						  .width = sizes[i] });
	}
	check_unary((struct kiln_unary) { .type = KILN_TYPE_F32, .out_type = KILN_TYPE_BF16,
					  .func = KILN_UNARY_COPY, .scale = -2.5f, .shift = 1.25f,
					  .rows = 130, .width = 77, .ldx = 80, .ldy = 101 });
	check_unary((struct kiln_unary) { .type = KILN_TYPE_BF16, .out_type = KILN_TYPE_F32,
					  .func = KILN_UNARY_TANH, .scale = 0.5f,
					  .rows = 5, .width = 5000, .ldx = 5003, .ldy = 5001 });
	check_unary((struct kiln_unary) { .type = KILN_TYPE_F32, .func = KILN_UNARY_ABS,
					  .rows = 70, .width = 2500, .ldx = 2501 });
}

static void glus(void)
{
	static const enum kiln_type types[] = { KILN_TYPE_F32, KILN_TYPE_BF16, KILN_TYPE_F16 };
	int t;

	for (t = 0; t < 3; t++) {
		check_glu((struct kiln_glu) { .type = types[t], .func = KILN_UNARY_SILU, .width = 1 }, false);
		check_glu((struct kiln_glu) { .type = types[t], .func = KILN_UNARY_SILU, .width = 14336 }, false);
		check_glu((struct kiln_glu) { .type = types[t], .func = KILN_UNARY_GELU, .rows = 129, .width = 127 }, true);
		check_glu((struct kiln_glu) { .type = types[t], .func = KILN_UNARY_GELU_TANH, .rows = 3, .width = 5000 }, true);
		check_glu((struct kiln_glu) { .type = types[t], .func = KILN_UNARY_RELU, .rows = 300, .width = 513 }, false);
	}
}

static void binaries(void)
{
	static const struct {
		uint32_t a[4], b[4];
	} shapes[] = {
		{ { 0, 0, 0, 1 }, { 0, 0, 0, 1 } },
		{ { 0, 0, 0, 129 }, { 0, 0, 0, 129 } },
		{ { 3, 5, 7, 11 }, { 3, 5, 7, 11 } },
		{ { 0, 0, 300, 257 }, { 0, 0, 1, 257 } },	/* a bias */
		{ { 0, 0, 300, 257 }, { 0, 0, 300, 1 } },	/* one for each row */
		{ { 0, 0, 1, 257 }, { 0, 0, 300, 257 } },
		{ { 0, 0, 300, 1 }, { 0, 0, 1, 129 } },	/* outer */
		{ { 0, 0, 2, 5000 }, { 0, 0, 2, 1 } },
		{ { 0, 0, 2, 5000 }, { 0, 0, 1, 5000 } },
		{ { 0, 0, 100, 4500 }, { 0, 0, 1, 4500 } },
		{ { 0, 0, 100, 4500 }, { 0, 0, 100, 1 } },
		{ { 0, 0, 0, 70000 }, { 0, 0, 0, 1 } },		/* one for all */
		{ { 0, 0, 0, 1 }, { 0, 0, 0, 70000 } },
		{ { 3, 1, 130, 4 }, { 1, 5, 1, 4 } },
		{ { 3, 1, 130, 1 }, { 1, 5, 1, 4 } },
		{ { 2, 3, 1, 600 }, { 1, 3, 5, 1 } },
		{ { 2, 1, 3, 1 }, { 1, 129, 1, 127 } },
		{ { 0, 0, 40000, 3 }, { 0, 0, 1, 3 } },
		{ { 0, 0, 40000, 3 }, { 0, 0, 40000, 1 } },
	};
	unsigned int i;
	int in;

	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		for (in = 0; in < 2; in++) {
			struct kiln_binary d = {
				.type = in ? KILN_TYPE_BF16 : KILN_TYPE_F32,
				.out_type = i % 4 == 3 ? KILN_TYPE_F32 : 0,
				.func = KILN_BINARY_ADD + (i + in) % 6,
			};

			memcpy(d.a_dim, shapes[i].a, sizeof(d.a_dim));
			memcpy(d.b_dim, shapes[i].b, sizeof(d.b_dim));
			check_binary(d, false);
			/* Not the same as the other way round. */
			d.func = i & 1 ? KILN_BINARY_SUBTRACT : KILN_BINARY_DIVIDE;
			check_binary(d, false);
		}
	check_binary((struct kiln_binary) { .type = KILN_TYPE_F32, .func = KILN_BINARY_MULTIPLY,
					    .a_dim = { 0, 0, 0, 1 }, .b_dim = { 0, 0, 0, 1 } }, false);
}

static void in_place(void)
{
	struct kiln_binary d = { .type = KILN_TYPE_F32, .func = KILN_BINARY_ADD,
				 .a_dim = { 0, 0, 131, 4100 }, .b_dim = { 0, 0, 131, 4100 } };

	check_binary(d, true);
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct kiln_unary u = { .type = KILN_TYPE_F32, .func = KILN_UNARY_EXP, .width = 8,
				.x = ta.addr, .y = to.addr }, v;
	struct kiln_binary b = { .type = KILN_TYPE_F32, .func = KILN_BINARY_ADD,
				 .a = ta.addr, .b = tb.addr, .out = to.addr }, c;
	struct kiln_glu g = { .type = KILN_TYPE_BF16, .func = KILN_UNARY_SILU, .width = 8,
			      .gate = ta.addr, .up = tb.addr, .out = to.addr }, h;

	refused(kiln_unary(NULL, &u, NULL, NULL), -EINVAL, "no ops");
	v = u, v.type = 77, refused(kiln_unary(ops, &v, NULL, NULL), -ENOTSUP, "type 77");
	v = u, v.out_type = 77, refused(kiln_unary(ops, &v, NULL, NULL), -ENOTSUP, "out_type 77");
	v = u, v.func = 99, refused(kiln_unary(ops, &v, NULL, NULL), -ENOTSUP, "99");
	v = u, v.func = 0, refused(kiln_unary(ops, &v, NULL, NULL), -ENOTSUP, "function 0");
	v = u, v.width = 0, refused(kiln_unary(ops, &v, NULL, NULL), -EINVAL, "rows of 0");
	v = u, v.ldy = 3, refused(kiln_unary(ops, &v, NULL, NULL), -EINVAL, "ldy is 3");
	v = u, v.x += 2, refused(kiln_unary(ops, &v, NULL, NULL), -EINVAL, "aligned");
	v = u, v.y = 0, refused(kiln_unary(ops, &v, NULL, NULL), -EINVAL, "y is at");
	v = u, v.scale = INFINITY, refused(kiln_unary(ops, &v, NULL, NULL), -EINVAL, "scale");
	c = b, c.func = 7, refused(kiln_binary(ops, &c, NULL, NULL), -ENOTSUP, "function 7");
	c = b, c.a_dim[2] = 3, c.b_dim[2] = 2;
	refused(kiln_binary(ops, &c, NULL, NULL), -EINVAL, "3 in a and 2 in b");
	c = b, c.a_dim[3] = 1u << 31, refused(kiln_binary(ops, &c, NULL, NULL), -EINVAL, "2147483648");
	c = b, c.b = 0, refused(kiln_binary(ops, &c, NULL, NULL), -EINVAL, "b is at");
	h = g, h.func = 50, refused(kiln_glu(ops, &h, NULL, NULL), -ENOTSUP, "50");
	h = g, h.ld_up = 4, refused(kiln_glu(ops, &h, NULL, NULL), -EINVAL, "ld_up is 4");
	h = g, h.gate = 1, refused(kiln_glu(ops, &h, NULL, NULL), -EINVAL, "gate");
}

int main(void)
{
	seed_random();
	open_card();
	tensor_make(&ta, ROOM);
	tensor_make(&tb, ROOM);
	tensor_make(&to, ROOM);
	unaries();
	glus();
	binaries();
	check_binary((struct kiln_binary) { .type = KILN_TYPE_F16, .func = KILN_BINARY_SUBTRACT,
					    .a_dim = { 0, 3, 1, 129 }, .b_dim = { 0, 1, 130, 1 } }, false);
	in_place();
	bad_arguments();
	tensor_free(&ta);
	tensor_free(&tb);
	tensor_free(&to);
	close_card();
	return done_testing();
}
