// SPDX-License-Identifier: MIT
/*
 * Does kiln's own check notice? Right results pass, in every layout and type;
 * each kind of wrong one fails: an element, a tile, a row, NaN, a result that
 * was rounded too early, a mask that is off by one.
 */
#include <stdio.h>

#include "../../userspace/tools/tensor.c"
#include "../../userspace/tools/check.c"

static int tests, failures;

static void expect(const struct check *check, bool good, const char *what)
{
	bool as_expected = check->ok == good;

	printf("%sok %d - %s %s (%s, %llu elements)\n", as_expected ? "" : "not ", ++tests, what,
	       good ? "passes" : "is noticed", check->full ? "full" : "sampled",
	       (unsigned long long)check->elements);
	if (!as_expected) {
		printf("# expected %s\n# got %s: error %g, allowed %g, %s\n", good ? "ok" : "wrong",
		       check->ok ? "ok" : "wrong", check->error, check->allowed, check->what);
		failures++;
	}
}

static void put(void *data, enum kiln_type type, uint64_t i, double x)
{
	if (type == KILN_TYPE_BF16)
		((uint16_t *)data)[i] = f64_to_bf16(x);
	else
		((float *)data)[i] = (float)x;
}

/* ---------------------------------------------------------------- matmul -- */

static void *a, *b, *c, *good;

/* As the card does it: fp32 sums in order, one rounding. early: bf16 sums. */
static void multiply(const struct kiln_matmul *mm, bool early)
{
	for (uint64_t g = 0; g < mm->batch; g++) {
		uint64_t oa = g * mm->m * mm->k, ob = g * mm->k * mm->n, oc = g * mm->m * mm->n;

		for (uint64_t i = 0; i < mm->m; i++) {
			static float row[8192];

			memset(row, 0, mm->n * sizeof(float));
			for (uint64_t l = 0; l < mm->k; l++) {
				float x = (float)element(a, mm->type, oa + (mm->trans_a ? l * mm->m + i :
										       i * mm->k + l));

				for (uint64_t j = 0; j < mm->n; j++) {
					row[j] += x * (float)element(b, mm->type,
						ob + (mm->trans_b ? j * mm->k + l : l * mm->n + j));
					if (early)
						row[j] = bf16_to_f32(f32_to_bf16(row[j]));
				}
			}
			for (uint64_t j = 0; j < mm->n; j++)
				put(good, mm->out_type, oc + i * mm->n + j, row[j]);
		}
	}
}

static struct check judge(const struct kiln_matmul *mm, bool random, uint64_t seed)
{
	struct check check;

	check_matmul(mm, a, b, c, random, seed, &check);
	return check;
}

static void restore(const struct kiln_matmul *mm)
{
	memcpy(c, good, (uint64_t)mm->batch * mm->m * mm->n * type_bytes(mm->out_type));
}

static void matmul(struct kiln_matmul mm, const char *name, bool strict)
{
	uint64_t count = (uint64_t)mm.batch * mm.m * mm.n;
	struct check check;
	char what[96];
	uint64_t at = count / 3 + 7;
	bool noticed;

	fill_random(a, mm.type, (uint64_t)mm.batch * mm.m * mm.k, 3, 0);
	fill_random(b, mm.type, (uint64_t)mm.batch * mm.k * mm.n, 3, 1);
	multiply(&mm, false);
	restore(&mm);
	check = judge(&mm, true, 1);
	expect(&check, true, name);
	check = judge(&mm, false, 2);
	snprintf(what, sizeof(what), "%s, as if it came from files,", name);
	expect(&check, true, what);

	put(c, mm.out_type, at, element(c, mm.out_type, at) + 3 * sqrt(mm.k / 9.0));
	noticed = true;
	for (uint64_t seed = 1; seed <= 5; seed++) {
		check = judge(&mm, true, seed);
		noticed &= !check.ok;
	}
	check.ok = !noticed;
	snprintf(what, sizeof(what), "%s: one wrong element, with five seeds,", name);
	/* bf16's own rounding hides a single element of a long row: the samples are for that. */
	if (strict)
		expect(&check, false, what);

	restore(&mm);
	put(c, mm.out_type, count - 1, NAN);
	check = judge(&mm, true, 1);
	snprintf(what, sizeof(what), "%s: a NaN", name);
	expect(&check, false, what);

	restore(&mm);
	for (uint64_t i = 0; i < 64 && i < mm.m; i++)
		for (uint64_t j = 0; j < 64 && j < mm.n; j++)
			put(c, mm.out_type, i * mm.n + j, 0);
	check = judge(&mm, true, 4);
	snprintf(what, sizeof(what), "%s: a tile that was not written", name);
	expect(&check, false, what);

	restore(&mm);
	memmove(c, (char *)c + mm.n * type_bytes(mm.out_type), mm.n * type_bytes(mm.out_type));
	check = judge(&mm, true, 5);
	snprintf(what, sizeof(what), "%s: a row that is another one's", name);
	expect(&check, false, what);

	multiply(&mm, true);
	restore(&mm);
	check = judge(&mm, true, 6);
	snprintf(what, sizeof(what), "%s: sums rounded to bf16", name);
	expect(&check, false, what);
}

/* ------------------------------------------------------------- attention -- */

/* off: the causal mask is one key too generous. */
static void attend(const struct kiln_attention *at, const void *q, const void *k, const void *v,
		   void *out, bool off)
{
	double scale = 1 / sqrt(at->dim);
	double *p = malloc(at->seq_kv * sizeof(double));

	for (uint64_t h = 0; h < at->heads; h++) {
		uint64_t kv = h / (at->heads / at->kv_heads) * (uint64_t)at->seq_kv;

		for (uint64_t i = 0; i < at->seq_q; i++) {
			uint64_t row = h * at->seq_q + i;
			uint64_t keys = at->causal ? i + at->seq_kv - at->seq_q + 1 : at->seq_kv;
			double total = 0;

			if (off && keys < at->seq_kv)
				keys++;
			for (uint64_t j = 0; j < keys; j++) {
				double s = 0;

				for (uint64_t d = 0; d < at->dim; d++)
					s += element(q, at->type, row * at->dim + d) *
					     element(k, at->type, (kv + j) * at->dim + d);
				p[j] = exp(s * scale);
				total += p[j];
			}
			for (uint64_t d = 0; d < at->dim; d++) {
				double sum = 0;

				for (uint64_t j = 0; j < keys; j++)
					sum += p[j] * element(v, at->type, (kv + j) * at->dim + d);
				put(out, at->type, row * at->dim + d, sum / total);
			}
		}
	}
	free(p);
}

/* A right result is a wrong one of another question. */
static void changed(struct kiln_attention at, const struct check_inputs *in, void *out,
		    uint64_t elements, const char *name)
{
	static const char *const what[] = { "window", "softcap", "ALiBi", "mask" };
	float *slopes = calloc(at.heads, 4), *mask = calloc(at.seq_kv, 4);
	void *same = malloc(elements * type_bytes(at.type));
	struct check_inputs with = *in;
	struct check check;
	char text[96];

	if (at.seq_kv < 3)
		goto out;
	for (unsigned int i = 0; i < 4; i++) {
		struct kiln_attention other = at;

		with = *in;
		if (i == 0)
			other.window = at.seq_kv / 3;
		if (i == 1)
			other.softcap = 0.01f;
		if (i == 2)
			with.slopes = slopes;
		if (i == 3) {
			with.mask = mask;
			memcpy(other.mask_dim, (uint32_t[4]) { 1, 1, 1, at.seq_kv },
			       sizeof(other.mask_dim));
		}
		for (uint32_t j = 0; j < at.heads; j++)
			slopes[j] = 0.5f;
		for (uint32_t j = 0; j < at.seq_kv; j++)
			mask[j] = j % 2 ? -INFINITY : 0;
		check_attention(&other, &with, out, true, 1, &check);
		snprintf(text, sizeof(text), "%s: without its %s", name, what[i]);
		expect(&check, false, text);
	}
	/* Nothing added is nothing changed. */
	memset(slopes, 0, at.heads * 4);
	memset(mask, 0, at.seq_kv * 4);
	with.slopes = slopes;
	memcpy(at.mask_dim, (uint32_t[4]) { 1, 1, 1, at.seq_kv }, sizeof(at.mask_dim));
	at.window = at.seq_kv;
	at.softcap = 1e6f;
	attend(&at, in->q, in->k, in->v, same, false);
	check_attention(&at, &with, same, true, 1, &check);
	snprintf(text, sizeof(text), "%s: with a mask of zeros", name);
	expect(&check, true, text);
out:
	free(slopes);
	free(mask);
	free(same);
}

static void attention(struct kiln_attention at, const char *name)
{
	uint64_t nq = (uint64_t)at.heads * at.seq_q * at.dim;
	uint64_t nkv = (uint64_t)at.kv_heads * at.seq_kv * at.dim;
	void *q = malloc(nq * 4), *k = malloc(nkv * 4), *v = malloc(nkv * 4), *out = malloc(nq * 4);
	struct check check;
	char what[96];

	fill_random(q, at.type, nq, 5, 0);
	fill_random(k, at.type, nkv, 5, 1);
	fill_random(v, at.type, nkv, 5, 2);
	attend(&at, q, k, v, out, false);
	check_attention(&at, &(struct check_inputs) { q, k, v, NULL, NULL }, out, true, 1, &check);
	expect(&check, true, name);

	put(out, at.type, nq / 2, 1.5);
	check_attention(&at, &(struct check_inputs) { q, k, v, NULL, NULL }, out, true, 1, &check);
	snprintf(what, sizeof(what), "%s: an element beyond v", name);
	expect(&check, false, what);
	put(out, at.type, nq / 2, NAN);
	check_attention(&at, &(struct check_inputs) { q, k, v, NULL, NULL }, out, true, 1, &check);
	snprintf(what, sizeof(what), "%s: a NaN", name);
	expect(&check, false, what);

	changed(at, &(struct check_inputs) { q, k, v, NULL, NULL }, out, nq, name);
	if (at.causal) {
		attend(&at, q, k, v, out, true);
		check_attention(&at, &(struct check_inputs) { q, k, v, NULL, NULL }, out, true, 1, &check);
		snprintf(what, sizeof(what), "%s: a mask off by one", name);
		expect(&check, false, what);
	}
	if (at.heads > 1) {
		attend(&at, q, k, v, out, false);
		memcpy(out, (char *)out + nq / at.heads * type_bytes(at.type),
		       nq / at.heads * type_bytes(at.type));
		check_attention(&at, &(struct check_inputs) { q, k, v, NULL, NULL }, out, true, 1, &check);
		snprintf(what, sizeof(what), "%s: a head in another's place", name);
		expect(&check, false, what);
	}
	free(q);
	free(k);
	free(v);
	free(out);
}

static void rounding(void)
{
	bool good = true;

	for (uint32_t h = 0; h < 0x10000; h++) {
		float f = bf16_to_f32((uint16_t)h);

		if (isnan(f)) {
			good &= isnan(bf16_to_f32(f32_to_bf16(f))) && isnan(bf16_to_f32(f64_to_bf16(f)));
			continue;
		}
		good &= f32_to_bf16(f) == h && f64_to_bf16(f) == h;
		if (h & 0x7fff && (h & 0x7f80) != 0x7f80) {
			double next = bf16_to_f32((uint16_t)(h + 1));
			double half = isfinite(next) ? (f + next) / 2 : f + (f - bf16_to_f32((uint16_t)(h - 1))) / 2;

			good &= f64_to_bf16(half) == (h & 1 ? h + 1 : h);
			good &= f64_to_bf16(half * (1 + 0x1p-50)) == h + 1;
			good &= f64_to_bf16(half * (1 - 0x1p-50)) == h;
		}
	}
	printf("%sok %d - every bf16 number, and both sides of every tie, round as they should\n",
	       good ? "" : "not ", ++tests);
	failures += !good;
}

int main(void)
{
	static const struct { enum kiln_type in, out; } types[] = {
		{ KILN_TYPE_F32, KILN_TYPE_F32 },
		{ KILN_TYPE_BF16, KILN_TYPE_F32 },
		{ KILN_TYPE_BF16, KILN_TYPE_BF16 },
	};
	char name[64];

	rounding();
	a = malloc(4 << 20);
	b = malloc(4 << 20);
	c = malloc(4 << 20);
	good = malloc(4 << 20);
	for (int t = 0; t < 3; t++) {
		bool wide = types[t].out == KILN_TYPE_F32;
		struct kiln_matmul small = {
			.type = types[t].in, .out_type = types[t].out,
			.m = 70, .n = 90, .k = 100, .batch = 2,
		}, large = {
			.type = types[t].in, .out_type = types[t].out,
			.m = 500, .n = 700, .k = 300, .batch = 1,
		};

		for (int layout = 0; layout < 4; layout++) {
			snprintf(name, sizeof(name), "%s to %s, layout %d", type_name(types[t].in),
				 type_name(types[t].out), layout);
			small.trans_a = large.trans_a = layout & 1;
			small.trans_b = large.trans_b = layout & 2;
			/* Sums rounded to bf16 and then stored as bf16 are the harder case, noticed too. */
			matmul(small, name, true);
			matmul(large, name, wide);
		}
	}
	for (int t = 0; t < 2; t++) {
		enum kiln_type type = t ? KILN_TYPE_BF16 : KILN_TYPE_F32;

		attention((struct kiln_attention){ .type = type, .heads = 2, .kv_heads = 1, .seq_q = 20,
			  .seq_kv = 30, .dim = 16, .causal = true }, t ? "small, bf16" : "small, f32");
		attention((struct kiln_attention){ .type = type, .heads = 4, .kv_heads = 2, .seq_q = 300,
			  .seq_kv = 300, .dim = 64, .causal = true }, t ? "large, bf16" : "large, f32");
		attention((struct kiln_attention){ .type = type, .heads = 4, .kv_heads = 4, .seq_q = 1,
			  .seq_kv = 9000, .dim = 64 }, t ? "decode, bf16" : "decode, f32");
	}
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}
