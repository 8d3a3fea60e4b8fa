// SPDX-License-Identifier: MIT
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "tensor.h"

#define FULL_MATMUL	(4ull << 20)	/* multiplications that are quick even on an emulated CPU */
#define FULL_ATTENTION	(4ull << 20)
#define SAMPLES		256
#define U32		0x1p-24		/* unit roundoff of fp32 */
#define TINY		0x1p-100	/* denormals count as zero: nothing is exact to the last of them */

static double unit_roundoff(enum kiln_type type)
{
	switch (type) {
	case KILN_TYPE_BF16:
		return 0x1p-8;
	case KILN_TYPE_F16:
		return 0x1p-11;
	case KILN_TYPE_F8E4M3:
		return 0x1p-4;
	case KILN_TYPE_F8E5M2:
		return 0x1p-3;
	default:
		return U32;
	}
}

/* What rounding to the type does to a value, and what gets lost where it has denormals only. */
double check_rounding(enum kiln_type type, double value)
{
	double least = type == KILN_TYPE_F16 ? 0x1p-25 : type == KILN_TYPE_F8E4M3 ? 0x1p-10 :
		       type == KILN_TYPE_F8E5M2 ? 0x1p-17 : TINY;

	return unit_roundoff(type) * fabs(value) + least;
}

/* What k additions in fp32 may do, relative to the sum of magnitudes. */
double check_sum_error(double k, bool random)
{
	return U32 * (random ? fmin(k, 8 * sqrt(k)) : k) + U32;
}

uint64_t check_next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

void check_element(struct check *check, double got, double want, double allowed,
		   uint64_t row, uint64_t col)
{
	double error = fabs(got - want);

	/* Written so that NaN fails, unless it is what ought to come out. */
	if (isnan(want) ? isnan(got) : got == want || error <= allowed) {
		if (error * check->allowed > check->error * allowed || !check->allowed) {
			check->error = error;
			check->allowed = allowed;
		}
		return;
	}
	if (check->ok) {
		check->ok = false;
		check->error = error;
		check->allowed = allowed;
		snprintf(check->what, sizeof(check->what), "[%llu, %llu] is %.9g, not %.9g",
			 (unsigned long long)row, (unsigned long long)col, got, want);
	}
}

/* ---------------------------------------------------------------- matmul -- */

struct matmul {
	const struct kiln_matmul *mm;
	enum kiln_type out;
	uint64_t m, n, k;
	const uint8_t *a, *b, *c;	/* of one batch */
	bool random;
	double *row;			/* k: a row of op(a) */
	double *x, *y;			/* n, k: the probe */
};

static double a_at(const struct matmul *t, uint64_t i, uint64_t l)
{
	return element(t->a, t->mm->type, t->mm->trans_a ? l * t->m + i : i * t->k + l);
}

static double b_at(const struct matmul *t, uint64_t l, uint64_t j)
{
	return element(t->b, t->mm->type, t->mm->trans_b ? j * t->k + l : l * t->n + j);
}

/* t->row holds row i of op(a). */
static void compare_element(struct matmul *t, uint64_t i, uint64_t j, struct check *check)
{
	double sum = 0, magnitude = 0, got = element(t->c, t->out, i * t->n + j);

	for (uint64_t l = 0; l < t->k; l++) {
		double p = t->row[l] * b_at(t, l, j);

		sum += p;
		magnitude += fabs(p);
	}
	check_element(check, got, sum,
		t->mm->type == KILN_TYPE_I8 && t->out == KILN_TYPE_I32 ? 0 :
		check_sum_error((double)t->k, t->random) * magnitude +
			check_rounding(t->out, sum), i, j);
	check->elements++;
}

static void load_row(struct matmul *t, uint64_t i)
{
	for (uint64_t l = 0; l < t->k; l++)
		t->row[l] = a_at(t, i, l);
}

static void all_elements(struct matmul *t, struct check *check)
{
	for (uint64_t i = 0; i < t->m; i++) {
		load_row(t, i);
		for (uint64_t j = 0; j < t->n; j++)
			compare_element(t, i, j, check);
	}
}

/* Four columns of each row that is looked at: loading a row costs as much as a column. */
static void some_elements(struct matmul *t, uint64_t samples, uint64_t *state,
			  struct check *check)
{
	for (uint64_t s = 0; s < samples / 4; s++) {
		uint64_t i = s == 0 ? 0 : s == 1 ? t->m - 1 : check_next(state) % t->m;

		load_row(t, i);
		compare_element(t, i, 0, check);
		compare_element(t, i, t->n - 1, check);
		compare_element(t, i, check_next(state) % t->n, check);
		compare_element(t, i, check_next(state) % t->n, check);
	}
}

/* y = op(b) x, or with magnitudes |op(b)| 1 */
static void times_b(struct matmul *t, bool magnitude)
{
	if (t->mm->trans_b) {
		for (uint64_t l = 0; l < t->k; l++)
			t->y[l] = 0;
		for (uint64_t j = 0; j < t->n; j++)
			for (uint64_t l = 0; l < t->k; l++)
				t->y[l] += magnitude ? fabs(b_at(t, l, j)) : t->x[j] * b_at(t, l, j);
		return;
	}
	for (uint64_t l = 0; l < t->k; l++) {
		double sum = 0;

		for (uint64_t j = 0; j < t->n; j++)
			sum += magnitude ? fabs(b_at(t, l, j)) : t->x[j] * b_at(t, l, j);
		t->y[l] = sum;
	}
}

/*
 * C x against A (B x), row by row. An element's error has a random sign in
 * it, so with random inputs a row's is about sqrt(n) times one element's: the
 * deviations of storing (uniform: u |c| / sqrt 3) and of summing (u c sqrt(k/6),
 * as partial sums grow with the square root), eight of them allowed.
 */
static void probe(struct matmul *t, uint64_t *state, struct check *check)
{
	double *magnitude = NULL;
	double u = unit_roundoff(t->out);
	double relative = 8 * sqrt(u * u / 3 + U32 * U32 * (double)t->k / 6 + U32 * U32);

	if (!t->random) {
		magnitude = malloc(t->k * sizeof(*magnitude));
		if (magnitude) {
			times_b(t, true);
			memcpy(magnitude, t->y, t->k * sizeof(*magnitude));
		}
	}
	for (uint64_t j = 0; j < t->n; j++)
		t->x[j] = check_next(state) & 1 << 20 ? 1 : -1;
	times_b(t, false);

	for (uint64_t i = 0; i < t->m; i++) {
		double want = 0, got = 0, squares = 0, sum = 0, allowed;

		for (uint64_t l = 0; l < t->k; l++)
			want += a_at(t, i, l) * t->y[l];
		for (uint64_t j = 0; j < t->n; j++)
			got += t->x[j] * element(t->c, t->out, i * t->n + j);
		if (t->random) {
			/* A quarter of the row tells how large its elements are. */
			uint64_t step = t->n > 64 ? 4 : 1, counted = 0;

			for (uint64_t j = i % step; j < t->n; j += step, counted++) {
				double c = element(t->c, t->out, i * t->n + j);

				squares += c * c;
			}
			/* A row of unlucky zeroes: k products of variance 1/9. */
			squares = fmax(squares / (double)counted,
				       (t->mm->type == KILN_TYPE_I8 ? 0x1p27 : 1) * t->k / 90);
			allowed = relative * sqrt(squares * (double)t->n);
		} else {
			for (uint64_t l = 0; magnitude && l < t->k; l++)
				sum += fabs(a_at(t, i, l)) * magnitude[l];
			allowed = (check_sum_error((double)t->k, false) + u) * sum;
		}
		if (isfinite(want) && !(fabs(got - want) <= allowed + TINY) && check->ok) {
			check->ok = false;
			check->error = fabs(got - want);
			check->allowed = allowed;
			snprintf(check->what, sizeof(check->what), "row %llu fails the probe",
				 (unsigned long long)i);
		}
		check->rows++;
	}
	free(magnitude);
}

void check_matmul(const struct kiln_matmul *mm, const void *a, const void *b,
		  const void *c, bool random, uint64_t seed, struct check *check)
{
	uint64_t batch = mm->batch ? mm->batch : 1;
	uint64_t state = seed ^ 0x6368656b6d6d;	/* any constant: not the inputs' own stream */
	uint64_t samples = SAMPLES / batch < 16 ? 16 : SAMPLES / batch;
	struct matmul t = {
		.mm = mm,
		.out = mm->out_type ? mm->out_type : mm->type,
		.m = mm->m, .n = mm->n, .k = mm->k,
		.random = random,
	};

	*check = (struct check){ .ok = true };
	check->full = (double)batch * mm->m * mm->n * mm->k <= FULL_MATMUL;
	t.row = malloc(t.k * sizeof(double));
	t.x = malloc(t.n * sizeof(double));
	t.y = malloc(t.k * sizeof(double));
	if (!t.row || !t.x || !t.y) {
		check->ok = false;
		snprintf(check->what, sizeof(check->what), "no memory for the check");
		goto out;
	}
	for (uint64_t i = 0; i < batch; i++) {
		t.a = (const uint8_t *)a + i * t.m * t.k * type_bytes(mm->type);
		t.b = (const uint8_t *)b + i * t.k * t.n * type_bytes(mm->type);
		t.c = (const uint8_t *)c + i * t.m * t.n * type_bytes(t.out);
		if (check->full) {
			all_elements(&t, check);
		} else {
			some_elements(&t, samples, &state, check);
			probe(&t, &state, check);
		}
	}
out:
	free(t.row);
	free(t.x);
	free(t.y);
}

/* ------------------------------------------------------------- attention -- */

struct attention {
	const struct kiln_attention *at;
	const struct check_inputs *in;
	const void *out;
	uint64_t heads, kv_heads;	/* of all batches */
	double scale;
	bool random;
	double *p, *size;		/* seq_kv: probabilities; what their scores were made of */
	double *sum, *magnitude;	/* dim */
	double *query;			/* dim */
};

static double mask_at(const struct attention *t, uint64_t head, uint64_t i, uint64_t j)
{
	const uint32_t *dim = t->at->mask_dim;
	uint64_t index[4] = { head / t->at->heads, head % t->at->heads, i, j }, at = 0;

	for (int d = 0; d < 4; d++)
		at = at * dim[d] + (dim[d] > 1 ? index[d] : 0);
	return ((const float *)t->in->mask)[at];
}

/* Softcap, ALiBi, mask, and what is not seen; size grows by what their roundings may do. */
static double change_score(const struct attention *t, uint64_t head, uint64_t i, uint64_t j,
			   double s, double *size)
{
	const struct kiln_attention *at = t->at;
	double place = (double)i + at->seq_kv - at->seq_q, distance = fabs(place - (double)j), add;

	if (at->softcap > 0) {
		s = at->softcap * tanh(s / at->softcap);
		*size += 4 * at->softcap;
	}
	if (t->in->slopes) {
		add = t->in->slopes[head % at->heads] * distance;
		s -= add;
		*size += 4 * fabs(add);
	}
	if (t->in->mask) {
		add = mask_at(t, head, i, j);
		s += add;
		*size += 4 * fabs(add);
	}
	if (s < -0x1p126 || (at->causal && (double)j > place) ||
	    (at->window && distance >= at->window))
		return -INFINITY;
	return s;
}

/* One row of the output against float64. */
static void compare_row(struct attention *t, uint64_t head, uint64_t i, struct check *check)
{
	const struct kiln_attention *at = t->at;
	uint64_t dim = at->dim, row = head * at->seq_q + i, keys = at->seq_kv;
	uint64_t kv = (head / (at->heads / at->kv_heads)) * keys;
	double most = -INFINITY, total = 0, largest = 0, u = unit_roundoff(at->type);
	double score_error;

	for (uint64_t d = 0; d < dim; d++)
		t->query[d] = t->scale * element(t->in->q, at->type, row * dim + d);
	for (uint64_t j = 0; j < keys; j++) {
		double s = 0, size = 0;

		for (uint64_t d = 0; d < dim; d++) {
			double product = t->query[d] *
					 element(t->in->k, at->type, (kv + j) * dim + d);

			s += product;
			size += fabs(product);
		}
		t->p[j] = change_score(t, head, i, j, s, &size);
		t->size[j] = size;
		if (!(t->p[j] <= most))		/* NaN too */
			most = t->p[j];
	}
	for (uint64_t j = 0; j < keys; j++)
		if (t->p[j] > most - 60)	/* the others count for nothing, however wrong */
			largest = fmax(largest, t->size[j]);
	if (most == -INFINITY)
		most = 0;
	for (uint64_t j = 0; j < keys; j++) {
		t->p[j] = exp(t->p[j] - most);
		total += t->p[j];
	}
	for (uint64_t d = 0; d < dim; d++)
		t->sum[d] = t->magnitude[d] = 0;
	for (uint64_t j = 0; j < keys; j++) {
		double p = total == 0 ? 0 : t->p[j] / total;

		for (uint64_t d = 0; d < dim; d++) {
			double product = p * element(t->in->v, at->type, (kv + j) * dim + d);

			t->sum[d] += product;
			t->magnitude[d] += fabs(product);
		}
	}
	/*
	 * A score that is off by e makes its probability off by the factor
	 * 1 + e: the sum over dim, and a few roundings of numbers as large as
	 * the score. Then probabilities are stored (bf16: rounded to it),
	 * summed with v, divided and stored.
	 */
	score_error = 2 * (check_sum_error((double)dim, t->random) + 8 * U32) * fmax(largest, 1);
	for (uint64_t d = 0; d < dim; d++)
		check_element(check, element(t->out, at->type, row * dim + d), t->sum[d],
			(score_error + 2 * check_sum_error((double)keys, t->random) + 16 * U32 +
			 (at->type == KILN_TYPE_F32 ? 0 : 2 * u)) * t->magnitude[d] +
				check_rounding(at->type, t->sum[d]) +
				(at->type == KILN_TYPE_F16 ? keys * 0x1p-24 : 0), row, d);
	check->elements += dim;
}

/* Softmax mixes rows of v, so no result is beyond them. */
static void sweep(struct attention *t, struct check *check)
{
	const struct kiln_attention *at = t->at;
	uint64_t kv_elements = (uint64_t)at->seq_kv * at->dim;
	uint64_t elements = (uint64_t)at->seq_q * at->dim;
	double slack = 1 + 4 * unit_roundoff(at->type);

	for (uint64_t g = 0; g < t->kv_heads; g++) {
		uint64_t heads = at->heads / at->kv_heads;
		double most = 0;

		for (uint64_t i = g * kv_elements; i < (g + 1) * kv_elements; i++)
			most = fmax(most, fabs(element(t->in->v, at->type, i)));
		if (!isfinite(most))
			continue;
		for (uint64_t i = g * heads * elements; i < (g + 1) * heads * elements; i++) {
			double x = element(t->out, at->type, i);

			if (!(fabs(x) <= most * slack + TINY) && check->ok) {
				check->ok = false;
				check->error = fabs(x) - most;
				snprintf(check->what, sizeof(check->what),
					 "[%llu, %llu] is %.9g, beyond v",
					 (unsigned long long)(i / at->dim),
					 (unsigned long long)(i % at->dim), x);
			}
		}
	}
	check->rows += t->heads * at->seq_q;
}

void check_attention(const struct kiln_attention *at, const struct check_inputs *in,
		     const void *out, bool random, uint64_t seed, struct check *check)
{
	uint64_t state = seed ^ 0x6368656b6174;
	uint64_t tiles = (at->seq_q + 127ull) / 128, batch = at->batch ? at->batch : 1;
	double work = 2.0 * batch * at->heads * at->seq_q * at->seq_kv * at->dim;
	struct attention t = {
		.at = at, .in = in, .out = out,
		.heads = batch * at->heads, .kv_heads = batch * at->kv_heads,
		.scale = at->scale != 0 ? at->scale : 1 / sqrt(at->dim),
		.random = random,
	};

	*check = (struct check){ .ok = true };
	check->full = work <= FULL_ATTENTION;
	t.p = malloc(2 * at->seq_kv * sizeof(double));
	t.sum = malloc(3 * at->dim * sizeof(double));
	if (!t.p || !t.sum) {
		check->ok = false;
		snprintf(check->what, sizeof(check->what), "no memory for the check");
		goto out;
	}
	t.size = t.p + at->seq_kv;
	t.magnitude = t.sum + at->dim;
	t.query = t.sum + 2 * at->dim;

	for (uint64_t head = 0; head < t.heads; head++) {
		if (check->full) {
			for (uint64_t i = 0; i < at->seq_q; i++)
				compare_row(&t, head, i, check);
			continue;
		}
		for (uint64_t tile = 0; tile < tiles; tile++) {
			uint64_t first = tile * 128;
			uint64_t rows = at->seq_q - first < 128 ? at->seq_q - first : 128;
			/* Every eighth is a first or a last row of its tile. */
			uint64_t pick = check_next(&state), i = pick >> 8;

			i = pick % 16 == 0 ? 0 : pick % 16 == 1 ? rows - 1 : i % rows;
			compare_row(&t, head, first + i, check);
		}
	}
	sweep(&t, check);
out:
	free(t.p);
	free(t.sum);
}
