// SPDX-License-Identifier: MIT
/*
 * The worst error of each activation function over fp32 arguments, and whether
 * all paths give the same bits for them.
 *
 *	ulp [-s STEP] [-j THREADS] [NAME...]
 *
 * STEP 1: every fp32 argument (some minutes). The vector paths are compared for
 * each argument that is looked at, the plain C for every 16th of them at least.
 * Prints the table of docs/numerics.md; exits non-zero if a path differs or an
 * error is beyond what that table may say.
 *
 * Exact values are those of the C library in double: their own error is some
 * 2^-29 of the unit used here.
 */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops.h"

#define BLOCK		(1u << 20)	/* arguments taken at a time */
#define CHUNK		4096

static double normal(double x)	/* below x */
{
	return 0.5 * erfc(-x * M_SQRT1_2);
}

static double density(double x)
{
	return exp(-0.5 * x * x) * 0.39894228040143267794;
}

static double sigmoid(double x)
{
	return 1 / (1 + exp(-x));
}

static double square(double x) { return x * x; }
static double relu(double x) { return x > 0 ? x : 0; }
static double gelu(double x) { return x * normal(x); }
static double gelu_dx(double x) { return normal(x) + x * density(x); }
static double silu(double x) { return x * sigmoid(x); }
static double silu_dx(double x) { return sigmoid(x) * (1 + x * sigmoid(-x)); }
static double gelu_apprx_sigmoid(double x) { return x * sigmoid(1.702 * x); }
static double erf_dx(double x) { return M_2_SQRTPI * exp(-x * x); }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double reciprocal(double x) { return 1 / x; }
static double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
static double copy(double x) { return x; }

static double gelu_apprx_tanh(double x)
{
	return x * sigmoid(2 * sqrt(M_2_PI) * (x + 0.044715 * x * x * x));
}

static double softplus(double x)
{
	return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double mish(double x)
{
	double e = exp(x);

	return x * (e * (e + 2) / (e * (e + 2) + 2));
}

/*
 * exact: between the ends where that is not known more easily: below 2^-20 it is
 * c[0] + c[1] x + c[2] x^2, beyond 150 low or high, or x itself where they say 'x'.
 */
struct function {
	const char *name;
	enum kiln_activation func;
	double (*exact)(double);
	double allowed;		/* ulp; 0: must be the nearest fp32 */
	bool ends;
	double c[3];
	char low, high;		/* of "0", "1", "-" for -1, "i" for infinity, "x" */
};

#define Y	0.69314718055994530942
#define D	0.39894228040143267794
#define ALL(name, NAME, allowed) { #name, KILN_ACT_##NAME, name, allowed, 0, { 0 }, 0, 0 }

static const struct function functions[] = {
	ALL(copy, COPY, 0),
	{ "exp", KILN_ACT_EXP, exp, 1.0, 1, { 1, 1, 0.5 }, '0', 'i' },
	ALL(square, SQUARE, 0),
	ALL(relu, RELU, 0),
	{ "abs", KILN_ACT_ABS, fabs, 0, 0, { 0 }, 0, 0 },
	{ "sigmoid", KILN_ACT_SIGMOID, sigmoid, 3, 1, { 0.5, 0.25 }, '0', '1' },
	{ "tanh", KILN_ACT_TANH, tanh, 3, 1, { 0, 1 }, '-', '1' },
	{ "gelu", KILN_ACT_GELU, gelu, 7, 1, { 0, 0.5, D }, '0', 'x' },
	{ "gelu_dx", KILN_ACT_GELU_DX, gelu_dx, INFINITY, 1, { 0.5, 2 * D }, '0', '1' },
	{ "gelu_apprx_tanh", KILN_ACT_GELU_APPRX_TANH, gelu_apprx_tanh, 5, 1, { 0, 0.5, D },
	  '0', 'x' },
	{ "gelu_apprx_sigmoid", KILN_ACT_GELU_APPRX_SIGMOID, gelu_apprx_sigmoid, 5, 1,
	  { 0, 0.5, 1.702 / 4 }, '0', 'x' },
	{ "silu", KILN_ACT_SILU, silu, 4, 1, { 0, 0.5, 0.25 }, '0', 'x' },
	{ "silu_dx", KILN_ACT_SILU_DX, silu_dx, INFINITY, 1, { 0.5, 0.5 }, '0', '1' },
	{ "softplus", KILN_ACT_SOFTPLUS, softplus, 4, 1, { Y, 0.5, 0.125 }, '0', 'x' },
	{ "mish", KILN_ACT_MISH, mish, 5, 1, { 0, 0.6, 0.32 }, '0', 'x' },
	{ "erf", KILN_ACT_ERF, erf, 3, 1, { 0, M_2_SQRTPI }, '-', '1' },
	{ "erf_dx", KILN_ACT_ERF_DX, erf_dx, 3, 1, { M_2_SQRTPI, 0, -M_2_SQRTPI }, '0', '0' },
	ALL(log, LOG, 2),
	{ "sin", KILN_ACT_SIN, sin, INFINITY, 0, { 0 }, 0, 0 },
	{ "cos", KILN_ACT_COS, cos, INFINITY, 0, { 0 }, 0, 0 },
	{ "arctan", KILN_ACT_ARCTAN, atan, 3, 0, { 0 }, 0, 0 },
	ALL(sqrt, SQRT, 0),
	ALL(rsqrt, RSQRT, 1.5),
	ALL(reciprocal, RECIPROCAL, 0),
	ALL(sign, SIGN, 0),
};
#define FUNCTIONS	(sizeof(functions) / sizeof(functions[0]))

struct outcome {
	double ulp, within, absolute;	/* worst; within: of arguments from -pi to pi */
	float at;
	uint64_t looked_at, different;
	float different_at;
};

static uint32_t step = 1;
static struct outcome outcomes[FUNCTIONS];
static bool wanted[FUNCTIONS];
static uint64_t next_block;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double exact_value(const struct function *f, double x)
{
	char end;

	if (f->func == KILN_ACT_SIN || f->func == KILN_ACT_COS) {
		if (fabs(x) > 65536)
			return NAN;
		if (fabs(x) < 0x1p-20)
			return f->func == KILN_ACT_SIN ? x : 1 - x * x / 2;
	}
	if (!f->ends)
		return f->exact(x);
	if (fabs(x) < 0x1p-20)
		return f->c[0] + x * (f->c[1] + x * f->c[2]);
	if (fabs(x) <= 150)
		return f->exact(x);
	end = x < 0 ? f->low : f->high;
	return end == 'x' ? x : end == 'i' ? INFINITY : end == '-' ? -1 : end == '1';
}

/* In units of the last place of what is exact, denormals having those of 2^-126. */
static double error_of(float y, double exact)
{
	uint64_t bits;
	int exponent;
	double unit;

	if (exact != exact || y != y)
		return exact != exact && y != y ? 0 : INFINITY;
	if (isinf((float)exact) || isinf(y)) {
		/* rounding may carry it over the end; not more than that */
		if (isinf((float)exact) && isinf(y))
			return (exact > 0) == (y > 0) ? 0 : INFINITY;
		if (!isinf(y))
			return fabs((double)y) >= 0x1.fffff0p127 ? 1 : INFINITY;
		return fabs(exact) >= 0x1.fffff0p127 ? 1 : INFINITY;
	}
	memcpy(&bits, &exact, sizeof(bits));
	exponent = (int)(bits >> 52 & 0x7ff) - 1023;
	bits = (uint64_t)((exponent < -126 ? -126 : exponent) - 23 + 1023) << 52;
	memcpy(&unit, &bits, sizeof(unit));
	return fabs(y - exact) / unit;
}

static bool same(float a, float b)
{
	return !memcmp(&a, &b, sizeof(a)) || (a != a && b != b);
}

static void look(const struct function *f, uint64_t first, uint64_t end, struct outcome *o)
{
	static __thread float x[CHUNK], y[CHUNK], z[CHUNK];
	const struct kiln_ops *best = kiln_ops_get(kiln_ops_best());

	while (first < end) {
		unsigned int n = 0;

		for (; n < CHUNK && first < end; n++, first += step) {
			uint32_t bits = first;

			memcpy(&x[n], &bits, sizeof(bits));
		}
		best->activation(f->func, y, x, 1, -0.0f, n);
		for (int level = 0; level < KILN_OPS_LEVELS; level++) {
			const struct kiln_ops *ops = kiln_ops_get(level);
			unsigned int m = n;

			if (!ops || ops == best)
				continue;
			if (level == KILN_OPS_REF && step < 16)
				m = n / 16;
			ops->activation(f->func, z, x + n - m, 1, -0.0f, m);
			for (unsigned int i = 0; i < m; i++) {
				if (!same(z[i], y[n - m + i])) {
					o->different++;
					o->different_at = x[n - m + i];
				}
			}
		}
		for (unsigned int i = 0; i < n; i++) {
			double exact, error;

			exact = x[i] != x[i] ? NAN : exact_value(f, x[i]);
			/* the nearest there is, and worse has been seen */
			if (y[i] == (float)exact && o->ulp >= 0.5 && o->within >= 0.5 &&
			    fabsf(y[i]) * 0x1p-24f <= o->absolute)
				continue;
			error = error_of(y[i], exact);
			if (error > o->ulp) {
				o->ulp = error;
				o->at = x[i];
			}
			if (fabsf(x[i]) <= 0x1.921fb6p+1f && error > o->within)
				o->within = error;
			if (fabs(y[i] - exact) > o->absolute && isfinite(y[i]))
				o->absolute = fabs(y[i] - exact);
		}
		o->looked_at += n;
	}
}

static void *work(void *unused)
{
	uint64_t arguments = (1ull << 32) / step, blocks = (arguments + BLOCK - 1) / BLOCK;

	(void)unused;
	for (;;) {
		uint64_t block = __atomic_fetch_add(&next_block, 1, __ATOMIC_RELAXED);
		struct outcome o = { 0 }, *all = &outcomes[block / blocks % FUNCTIONS];
		uint64_t first = block % blocks * BLOCK, end = first + BLOCK;

		if (block >= blocks * FUNCTIONS)
			return NULL;
		if (!wanted[block / blocks])
			continue;
		if (end > arguments)
			end = arguments;
		pthread_mutex_lock(&lock);
		o.ulp = all->ulp;
		o.at = all->at;
		o.within = all->within;
		o.absolute = all->absolute;
		pthread_mutex_unlock(&lock);
		look(&functions[block / blocks], first * step, end * step, &o);
		pthread_mutex_lock(&lock);
		if (o.ulp > all->ulp || (o.ulp == all->ulp && o.at < all->at)) {
			all->ulp = o.ulp;
			all->at = o.at;
		}
		if (o.within > all->within)
			all->within = o.within;
		if (o.absolute > all->absolute)
			all->absolute = o.absolute;
		all->looked_at += o.looked_at;
		all->different += o.different;
		if (o.different)
			all->different_at = o.different_at;
		pthread_mutex_unlock(&lock);
	}
}

int main(int argc, char **argv)
{
	unsigned int threads = 2, i;
	pthread_t thread[64];
	bool any = false;
	int failed = 0;

	for (i = 1; i < (unsigned int)argc; i++) {
		if (!strcmp(argv[i], "-s") && i + 1 < (unsigned int)argc) {
			step = strtoul(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "-j") && i + 1 < (unsigned int)argc) {
			threads = strtoul(argv[++i], NULL, 0);
		} else {
			unsigned int f = 0;

			while (f < FUNCTIONS && strcmp(functions[f].name, argv[i]))
				f++;
			if (f == FUNCTIONS) {
				fprintf(stderr, "usage: ulp [-s STEP] [-j THREADS] [NAME...]\n");
				return 2;
			}
			wanted[f] = any = true;
		}
	}
	if (!step || !threads || threads > 64) {
		fprintf(stderr, "ulp: STEP from 1, THREADS 1 to 64\n");
		return 2;
	}
	for (i = 0; i < FUNCTIONS; i++)
		wanted[i] |= !any;
	for (i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, work, NULL);
	for (i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);

	printf("| function | arguments | worst error, ulp | at | from -pi to pi | worst absolute error |\n"
	       "| --- | --- | --- | --- | --- | --- |\n");
	for (i = 0; i < FUNCTIONS; i++) {
		const struct function *f = &functions[i];
		const struct outcome *o = &outcomes[i];
		double allowed = f->allowed ? f->allowed : 0.5;

		if (!wanted[i])
			continue;
		if (step == 1)
			printf("| `%s` | all |", f->name);
		else
			printf("| `%s` | every %uth |", f->name, step);
		printf(o->ulp > 1000 ? " %.2g | %.9g |" : " %.3f | %.9g |", o->ulp, o->at);
		if (f->func == KILN_ACT_SIN || f->func == KILN_ACT_COS)
			printf(" %.3f |", o->within);
		else
			printf(" |");
		if (o->absolute > 1)	/* of values that have no bound */
			printf(" |\n");
		else
			printf(" %.2g |\n", o->absolute);
		if (o->different) {
			fprintf(stderr, "%s: %" PRIu64 " of %" PRIu64 " differ between the paths, "
				"as of %a\n", f->name, o->different, o->looked_at,
				o->different_at);
			failed = 1;
		}
		if (o->ulp > allowed) {
			fprintf(stderr, "%s: off by %.3f ulp at %a, %.3f allowed\n", f->name,
				o->ulp, o->at, allowed);
			failed = 1;
		}
	}
	return failed;
}
