// SPDX-License-Identifier: MIT
/*
 * Attention against float64.
 *
 * The bound, relative to the largest |v| that a row can see, is made of: the
 * scores' sums (dim roundings of 2^-24, times scale and the size of the
 * products), which exp makes relative errors of p; exp itself and the sums of
 * p and p v (seq_kv + 16 roundings of 2^-24, generous); for bf16 the rounding
 * of p (2^-9 each, up or down) and of the result (2^-9), for fp16 2^-12, and
 * 2^-25 where they underflow. Errors of p count twice: in the numerator and in
 * the sum. Mask, ALiBi and softcap add roundings of what they add.
 */
#include "ops_test.h"

#define ROOM (20u << 20)

static struct tensor tq, tk, tv, to, tm, ts;

/* Heads of all batches in one row. */
static uint64_t q_at(const struct kiln_attention *at, uint32_t head, uint32_t row)
{
	return ((uint64_t)head * at->seq_q + row) * at->dim;
}

static uint32_t batches(const struct kiln_attention *at)
{
	return at->batch ? at->batch : 1;
}

/* How far mask_dim reaches in each dimension; nothing said: everywhere. */
static void mask_dims(const struct kiln_attention *at, uint32_t dim[4])
{
	const uint32_t full[4] = { batches(at), at->heads, at->seq_q, at->seq_kv };

	memcpy(dim, at->mask_dim[0] ? at->mask_dim : full, sizeof(full));
}

static uint64_t mask_elements(const struct kiln_attention *at)
{
	uint32_t dim[4];

	mask_dims(at, dim);
	return (uint64_t)dim[0] * dim[1] * dim[2] * dim[3];
}

static enum kiln_type mask_type(const struct kiln_attention *at)
{
	return at->mask_type ? at->mask_type : at->type;
}

static double mask_of(const struct kiln_attention *at, uint32_t head, uint32_t row, uint32_t key)
{
	uint32_t at_dim[4] = { head / at->heads, head % at->heads, row, key }, dim[4], i;
	uint64_t index = 0;

	mask_dims(at, dim);
	for (i = 0; i < 4; i++)
		index = index * dim[i] + (dim[i] > 1 ? at_dim[i] : 0);
	return get(tm.shadow, mask_type(at), index);
}

/* One row of the result in float64, and the bound on its error. */
static double reference(const struct kiln_attention *at, uint32_t head, uint32_t row,
			double *out)
{
	int64_t place = (int64_t)row + at->seq_kv - at->seq_q;
	uint64_t kv = (uint64_t)(head / (at->heads / at->kv_heads)) * at->seq_kv * at->dim;
	double scale = at->scale ? at->scale : (float)(1 / sqrtf(at->dim));
	double *p = malloc(2 * at->seq_kv * sizeof(*p)), *sizes = p + at->seq_kv;
	double top = -INFINITY, sum = 0, largest = 0, size = 0, error;
	uint32_t i, j;

	for (i = 0; i < at->seq_kv; i++) {
		double s = 0, abs = 0, d = fabs((double)place - i);

		for (j = 0; j < at->dim; j++) {
			double product = (double)get(tq.shadow, at->type, q_at(at, head, row) + j) *
					 get(tk.shadow, at->type, kv + (uint64_t)i * at->dim + j);
			s += product;
			abs += fabs(product);
		}
		s *= scale;
		abs *= scale;
		if (at->softcap) {
			s = at->softcap * tanh(s / at->softcap);
			abs += 4 * at->softcap;
		}
		if (at->slopes) {
			d *= get(ts.shadow, KILN_TYPE_F32, head % at->heads);
			s -= d;
			abs += 4 * fabs(d);
		}
		if (at->mask) {
			d = mask_of(at, head, row, i);
			s += d;
			abs += 4 * fabs(d);
		}
		if (s < -0x1p126 || (at->causal && i > place) ||
		    (at->window && fabs((double)place - i) >= at->window))
			s = -INFINITY;
		p[i] = s;
		sizes[i] = abs;
		/* fmax() would forget a NaN. */
		if (!(s <= top))
			top = s;
	}
	for (j = 0; j < at->dim; j++)
		out[j] = 0;
	for (i = 0; i < at->seq_kv; i++) {
		if (p[i] > top - 60)
			size = fmax(size, sizes[i]);
		p[i] = top == -INFINITY ? 0 : exp(p[i] - top);
		sum += p[i];
	}
	for (i = 0; i < at->seq_kv && sum; i++)
		for (j = 0; j < at->dim; j++) {
			double v = get(tv.shadow, at->type, kv + (uint64_t)i * at->dim + j);

			out[j] += p[i] / sum * v;
			if (p[i] && fabs(v) > largest)
				largest = fabs(v);
		}
	free(p);
	error = 2 * (0x1p-24 * (at->dim + 4) * size + 0x1p-24 * (at->seq_kv + 16));
	if (at->type == KILN_TYPE_BF16)
		error += 0x1p-9 + 0x1p-8;
	if (at->type == KILN_TYPE_F16)
		error += 0x1p-12 + 0x1p-11 + 0x1p-24 * at->seq_kv;
	return error * largest;
}

static bool check_row(const struct kiln_attention *at, uint32_t head, uint32_t row)
{
	double want[128], bound = reference(at, head, row, want);
	uint32_t j;

	for (j = 0; j < at->dim; j++) {
		double got = get(to.shadow, at->type, q_at(at, head, row) + j);

		if (fabs(got - want[j]) <= bound || (isnan(got) && isnan(want[j])))
			continue;
		printf("# head %u row %u column %u: expected %.9g +- %.3g, got %.9g\n", head, row,
		       j, want[j], bound, got);
		return false;
	}
	return true;
}

static int run(struct kiln_attention at, struct outcome *outcome)
{
	int err;

	*outcome = (struct outcome) { 0 };
	at.q = tq.addr;
	at.k = tk.addr;
	at.v = tv.addr;
	at.out = to.addr;
	at.mask = at.mask ? tm.addr : 0;
	at.slopes = at.slopes ? ts.addr : 0;
	err = kiln_attention(ops, &at, on_done, outcome);
	if (err) {
		printf("# kiln_attention: %d %s\n", err, kiln_last_error());
		return err;
	}
	return finish(outcome);
}

/* spread: standard deviation of q, which makes the softmax sharp. */
static void check_data(struct kiln_attention at, uint32_t samples, float spread)
{
	uint64_t nq = (uint64_t)batches(&at) * at.heads * at.seq_q * at.dim;
	uint64_t nkv = (uint64_t)batches(&at) * at.kv_heads * at.seq_kv * at.dim;
	uint64_t bytes = nq * type_bytes(at.type), i;
	struct outcome outcome;
	uint32_t head, row, s, heads = batches(&at) * at.heads, dim[4];
	bool good;

	mask_dims(&at, dim);

	if (nq * 4 > ROOM - 64 || nkv * 4 > ROOM) {
		ok(false, "a shape does not fit the test's memory");
		return;
	}
	for (i = 0; i < nq; i++)
		put(tq.shadow, at.type, i, normal() * spread);
	tensor_upload(&tq, bytes);
	tensor_random(&tk, at.type, nkv);
	tensor_random(&tv, at.type, nkv);
	memset(to.map, 0xa5, bytes + 64);
	good = !run(at, &outcome);
	if (good && !outcome.result.cycles) {
		printf("# no device cycles\n");
		good = false;
	}
	tensor_download(&to, bytes + 64);
	for (i = 0; i < 64; i++)
		if (((uint8_t *)to.shadow)[bytes + i] != 0xa5) {
			printf("# byte %llu behind the result was written\n", (unsigned long long)i);
			good = false;
			break;
		}
	/* A guest's CPU is slow: the reference takes longer there than all else. */
	if (!strcmp(card.transport, "drm"))
		samples = (samples + 3) / 4;
	for (s = 0; good && s < samples; s++) {
		/* The corners, and anywhere. */
		head = s < 4 ? (s & 1 ? heads - 1 : 0) : next_random() % heads;
		row = s < 4 ? (s & 2 ? at.seq_q - 1 : 0) : next_random() % at.seq_q;
		good = check_row(&at, head, row);
	}
	ok(good, "%s %u x heads %u/%u, %u queries, %u keys, dim %u%s, window %u, softcap %g%s, mask %s [%u, %u, %u, %u], spread %g",
	   type_name(at.type), batches(&at), at.heads, at.kv_heads, at.seq_q, at.seq_kv, at.dim,
	   at.causal ? ", causal" : "", at.window, at.softcap, at.slopes ? ", ALiBi" : "",
	   at.mask ? type_name(mask_type(&at)) : "none", dim[0], dim[1], dim[2], dim[3], spread);
}

static void check(struct kiln_attention at, uint32_t samples)
{
	check_data(at, samples, 1);
}

static void check_grid(void)
{
	static const uint32_t edge[] = { 1, 2, 127, 128, 129, 511, 512, 513, 1023, 1024, 1025, 1100 };
	uint32_t i, t;

	for (t = 0; t < 4; t++)
		check((struct kiln_attention) {
			.type = t & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16, .heads = 1, .kv_heads = 1,
			.seq_q = 1, .seq_kv = 1, .dim = 1, .causal = t & 2 }, 1);
	for (i = 0; i < sizeof(edge) / sizeof(*edge); i++)
		for (t = 0; t < 4; t++) {
			uint32_t other = 1 + next_random() % edge[i];

			check((struct kiln_attention) {
				.type = (i + t) & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16,
				.heads = 4, .kv_heads = 1 + t % 2, .causal = t & 2,
				.seq_q = t & 1 ? edge[i] : other, .seq_kv = edge[i],
				.dim = 1 + next_random() % 128 }, 30);
		}
}

static void check_shapes(void)
{
	static const struct kiln_attention some[] = {
		/* decode: a group's heads are the rows of one tile */
		{ .heads = 32, .kv_heads = 8, .seq_q = 1, .seq_kv = 4096, .dim = 128 },
		{ .heads = 32, .kv_heads = 8, .seq_q = 1, .seq_kv = 777, .dim = 128, .causal = true },
		{ .heads = 6, .kv_heads = 6, .seq_q = 1, .seq_kv = 5, .dim = 64 },
		{ .heads = 200, .kv_heads = 1, .seq_q = 3, .seq_kv = 300, .dim = 40 },
		/* several tiles, bodies, heads */
		{ .heads = 2, .kv_heads = 2, .seq_q = 1024, .seq_kv = 1024, .dim = 64, .causal = true },
		{ .heads = 4, .kv_heads = 2, .seq_q = 300, .seq_kv = 2500, .dim = 128, .causal = true },
		{ .heads = 3, .kv_heads = 1, .seq_q = 250, .seq_kv = 1300, .dim = 80 },
		{ .heads = 1, .kv_heads = 1, .seq_q = 500, .seq_kv = 6000, .dim = 33, .causal = true },
		{ .heads = 2, .kv_heads = 2, .seq_q = 2, .seq_kv = 9000, .dim = 128 },
		/* more than SBUF keeps */
		{ .heads = 2, .kv_heads = 1, .seq_q = 130, .seq_kv = 30001, .dim = 128 },
		{ .heads = 2, .kv_heads = 2, .seq_q = 140, .seq_kv = 16500, .dim = 128, .causal = true },
	};
	uint32_t i, t;

	for (i = 0; i < sizeof(some) / sizeof(*some); i++)
		for (t = 0; t < 2; t++) {
			struct kiln_attention at = some[i];

			at.type = t ? KILN_TYPE_F32 : KILN_TYPE_BF16;
			check(at, 16);
		}
	/* Sharp: the running maximum moves a lot, most of p vanishes. */
	check_data((struct kiln_attention) { .type = KILN_TYPE_F32, .heads = 2, .kv_heads = 1,
		.seq_q = 150, .seq_kv = 3000, .dim = 64, .causal = true }, 20, 30);
	check_data((struct kiln_attention) { .type = KILN_TYPE_BF16, .heads = 2, .kv_heads = 1,
		.seq_q = 150, .seq_kv = 3000, .dim = 64 }, 20, 30);
	check((struct kiln_attention) { .type = KILN_TYPE_F32, .heads = 2, .kv_heads = 1,
		.seq_q = 50, .seq_kv = 600, .dim = 64, .scale = 0.7f }, 20);
}

/* spread of v, which the third argument of check_data() is of q */
static void check_values(float size)
{
	struct kiln_attention at = { .type = KILN_TYPE_BF16, .heads = 2, .kv_heads = 1,
				     .seq_q = 1030, .seq_kv = 1100, .dim = 32, .causal = true };
	struct outcome outcome;
	uint64_t i;
	bool good;

	tensor_random(&tq, at.type, 2 * 1030 * 32);
	tensor_random(&tk, at.type, 1100 * 32);
	for (i = 0; i < 1100 * 32; i++)
		put(tv.shadow, at.type, i, normal() * size);
	tensor_upload(&tv, 1100 * 32 * 2);
	good = !run(at, &outcome);
	tensor_download(&to, 2 * 1030 * 32 * 2);
	for (i = 0; good && i < 20; i++)
		good = check_row(&at, next_random() % 2, next_random() % at.seq_q);
	ok(good, "values of %g", size);
}

/*
 * Many queries of bf16: at first without the rows' maxima (attention_by_keys.c), where
 * blocks and tiles end anywhere; and where that is wrong, once more.
 */
static void check_many_queries(void)
{
	static const struct kiln_attention some[] = {
		{ .batch = 2, .heads = 6, .kv_heads = 2, .seq_q = 1024, .seq_kv = 1024, .dim = 128, .causal = true },
		{ .heads = 6, .kv_heads = 2, .seq_q = 1100, .seq_kv = 1300, .dim = 127, .causal = true },
		{ .heads = 4, .kv_heads = 4, .seq_q = 1025, .seq_kv = 1153, .dim = 1, .causal = true },
		{ .batch = 3, .heads = 2, .kv_heads = 1, .seq_q = 1601, .seq_kv = 2911, .dim = 40 },
		{ .heads = 2, .kv_heads = 2, .seq_q = 2048, .seq_kv = 1024, .dim = 128 },
		{ .heads = 1, .kv_heads = 1, .seq_q = 1024, .seq_kv = 9001, .dim = 64, .causal = true },
	};
	/* by scores: all fit; some sums are too large; all are, or too small */
	static const float spread[] = { 4, 12, 100 };
	uint32_t i;

	for (i = 0; i < sizeof(some) / sizeof(*some); i++) {
		struct kiln_attention at = some[i];

		at.type = KILN_TYPE_BF16;
		check(at, 16);
		at.running_max = true;
		check(at, 8);
	}
	for (i = 0; i < sizeof(spread) / sizeof(*spread); i++)
		check_data((struct kiln_attention) { .type = KILN_TYPE_BF16, .heads = 2, .kv_heads = 1,
			.seq_q = 1100, .seq_kv = 1100, .dim = 64, .causal = i & 1 }, 20, spread[i]);
	check_values(0x1p-100f);
	check_values(0x1p120f);
}

/* In place: queries are no longer there to be taken again. Sharp scores would want that. */
static void check_in_place(void)
{
	struct kiln_attention at = { .type = KILN_TYPE_BF16, .heads = 2, .kv_heads = 1,
				     .seq_q = 1100, .seq_kv = 1100, .dim = 64 };
	uint64_t n = 2 * 1100 * 64, i;
	struct outcome outcome = { 0 };
	void *bits = malloc(n * 2);
	bool good;

	for (i = 0; i < n; i++)
		put(tq.shadow, at.type, i, normal() * 100);
	tensor_upload(&tq, n * 2);
	tensor_random(&tk, at.type, n / 2);
	tensor_random(&tv, at.type, n / 2);
	at.running_max = true;
	good = !run(at, &outcome);
	memcpy(bits, to.map, n * 2);
	outcome = (struct outcome) { 0 };
	at.running_max = false;
	at.q = at.out = tq.addr;
	at.k = tk.addr;
	at.v = tv.addr;
	good = good && !kiln_attention(ops, &at, on_done, &outcome) && !finish(&outcome);
	ok(good && !memcmp(bits, tq.map, n * 2), "the result in the queries' place");
	free(bits);
}

static void check_random(void)
{
	int n;

	for (n = 0; n < 30; n++) {
		uint32_t kv_heads = 1 + next_random() % 3;
		struct kiln_attention at = {
			.type = next_random() & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16,
			.kv_heads = kv_heads, .heads = kv_heads * (1 + next_random() % 4),
			.seq_kv = 1 + next_random() % (next_random() & 1 ? 3000 : 300),
			.dim = 1 + next_random() % 128, .causal = next_random() & 1,
		};

		at.seq_q = 1 + next_random() % (at.seq_kv < 400 ? at.seq_kv : 400);
		check(at, 10);
	}
}

/* Zeros, -infinity, ordinary numbers, a large negative one; some rows -infinity throughout. */
static void make_mask(const struct kiln_attention *at)
{
	static const float some[] = { 0, 0, 0, -INFINITY, -INFINITY, -65504, 5 };
	uint64_t n = mask_elements(at), i;
	uint32_t dim[4];
	bool none = false;

	if (n * type_bytes(mask_type(at)) > ROOM)
		bail("a mask does not fit the test's memory");
	mask_dims(at, dim);
	for (i = 0; i < n; i++) {
		uint64_t r = next_random();

		if (i % dim[3] == 0)
			none = r >> 32 & 1 ? false : r >> 33 & 1;
		put(tm.shadow, mask_type(at), i, none ? -INFINITY : r % 8 == 7 ? normal() * 3 :
		    some[r % 8]);
	}
	tensor_upload(&tm, n * type_bytes(mask_type(at)));
}

/* As ALiBi has them: 2^(-8 i / n); n need be no power of two. */
static void make_slopes(uint32_t heads)
{
	uint32_t i;

	for (i = 0; i < heads; i++)
		put(ts.shadow, KILN_TYPE_F32, i, exp2f(-8.0f * (i + 1) / heads));
	tensor_upload(&ts, heads * 4);
}

static void check_bias(struct kiln_attention at, uint32_t samples)
{
	if (at.mask)
		make_mask(&at);
	if (at.slopes)
		make_slopes(at.heads);
	check(at, samples);
}

/* mask and slopes: 1 says that there is one. */
static void check_biases(void)
{
	static const struct kiln_attention some[] = {
		/* windows: of one, at the edges of tiles and items, wider than the keys */
		{ .heads = 4, .kv_heads = 2, .seq_q = 300, .seq_kv = 300, .dim = 64, .causal = true, .window = 1 },
		{ .heads = 2, .kv_heads = 1, .seq_q = 700, .seq_kv = 2000, .dim = 33, .causal = true, .window = 128 },
		{ .heads = 2, .kv_heads = 2, .seq_q = 1500, .seq_kv = 1500, .dim = 64, .causal = true, .window = 1100 },
		{ .heads = 1, .kv_heads = 1, .seq_q = 130, .seq_kv = 400, .dim = 128, .causal = true, .window = 129 },
		{ .heads = 1, .kv_heads = 1, .seq_q = 130, .seq_kv = 400, .dim = 40, .causal = true, .window = 399 },
		{ .heads = 3, .kv_heads = 1, .seq_q = 250, .seq_kv = 1300, .dim = 80, .window = 70 },
		{ .heads = 3, .kv_heads = 1, .seq_q = 500, .seq_kv = 2600, .dim = 20, .window = 1200 },
		{ .heads = 2, .kv_heads = 1, .seq_q = 50, .seq_kv = 60, .dim = 64, .causal = true, .window = 1000 },
		{ .heads = 32, .kv_heads = 8, .seq_q = 1, .seq_kv = 4096, .dim = 128, .causal = true, .window = 512 },
		{ .heads = 4, .kv_heads = 2, .seq_q = 1, .seq_kv = 500, .dim = 128, .window = 1 },
		{ .heads = 1, .kv_heads = 1, .seq_q = 150, .seq_kv = 20000, .dim = 128, .causal = true, .window = 18000 },
		/* softcap */
		{ .heads = 4, .kv_heads = 2, .seq_q = 200, .seq_kv = 1100, .dim = 64, .softcap = 2 },
		{ .heads = 2, .kv_heads = 1, .seq_q = 300, .seq_kv = 1300, .dim = 64, .softcap = 50, .causal = true },
		{ .heads = 8, .kv_heads = 1, .seq_q = 1, .seq_kv = 2100, .dim = 128, .softcap = 30, .window = 1500 },
		{ .heads = 1, .kv_heads = 1, .seq_q = 600, .seq_kv = 1700, .dim = 64, .softcap = 1, .window = 300, .causal = true },
		/* ALiBi */
		{ .heads = 12, .kv_heads = 4, .seq_q = 140, .seq_kv = 300, .dim = 64, .causal = true, .slopes = 1 },
		{ .heads = 3, .kv_heads = 3, .seq_q = 260, .seq_kv = 3300, .dim = 40, .causal = true, .slopes = 1 },
		{ .heads = 5, .kv_heads = 5, .seq_q = 300, .seq_kv = 200, .dim = 64, .slopes = 1 },
		{ .batch = 2, .heads = 14, .kv_heads = 2, .seq_q = 1, .seq_kv = 1200, .dim = 64, .slopes = 1 },
		{ .batch = 2, .heads = 6, .kv_heads = 2, .seq_q = 20, .seq_kv = 1200, .dim = 64, .window = 40, .slopes = 1 },
		{ .heads = 200, .kv_heads = 1, .seq_q = 1, .seq_kv = 300, .dim = 40, .slopes = 1 },
		/* masks of every shape */
		{ .batch = 2, .heads = 4, .kv_heads = 2, .seq_q = 140, .seq_kv = 300, .dim = 64, .mask = 1 },
		{ .batch = 2, .heads = 4, .kv_heads = 2, .seq_q = 3, .seq_kv = 3000, .dim = 64, .mask = 1, .mask_dim = { 2, 1, 3, 3000 } },
		{ .batch = 3, .heads = 4, .kv_heads = 4, .seq_q = 140, .seq_kv = 1100, .dim = 32, .mask = 1, .mask_dim = { 3, 1, 1, 1100 } },
		{ .batch = 2, .heads = 4, .kv_heads = 1, .seq_q = 40, .seq_kv = 110, .dim = 32, .mask = 1, .mask_dim = { 1, 4, 1, 110 } },
		{ .batch = 2, .heads = 2, .kv_heads = 1, .seq_q = 40, .seq_kv = 110, .dim = 32, .mask = 1, .mask_dim = { 2, 2, 40, 1 } },
		{ .heads = 4, .kv_heads = 1, .seq_q = 40, .seq_kv = 110, .dim = 32, .mask = 1, .mask_dim = { 1, 1, 1, 1 } },
		{ .batch = 3, .heads = 8, .kv_heads = 2, .seq_q = 1, .seq_kv = 1500, .dim = 64, .mask = 1 },
		{ .batch = 3, .heads = 8, .kv_heads = 2, .seq_q = 1, .seq_kv = 500, .dim = 64, .mask = 1, .mask_dim = { 3, 1, 1, 500 } },
		{ .heads = 140, .kv_heads = 1, .seq_q = 1, .seq_kv = 200, .dim = 64, .mask = 1 },
		{ .heads = 1, .kv_heads = 1, .seq_q = 129, .seq_kv = 17000, .dim = 128, .mask = 1, .mask_dim = { 1, 1, 129, 17000 } },
		/* all together */
		{ .batch = 2, .heads = 6, .kv_heads = 2, .seq_q = 300, .seq_kv = 1500, .dim = 64, .causal = true,
		  .window = 1100, .softcap = 5, .slopes = 1, .mask = 1, .mask_dim = { 2, 1, 300, 1500 } },
	};
	uint32_t i, t;

	for (i = 0; i < sizeof(some) / sizeof(*some); i++)
		for (t = 0; t < 3; t++) {
			struct kiln_attention at = some[i];

			at.type = KILN_TYPE_F32 + t;
			at.mask_type = (i + t) % 4;
			check_bias(at, 16);
		}
	for (i = 0; i < 30; i++) {
		struct kiln_attention at = {
			.type = KILN_TYPE_F32 + next_random() % 3, .batch = next_random() % 4,
			.kv_heads = 1 + next_random() % 3, .causal = next_random() & 1,
			.seq_kv = 1 + next_random() % (next_random() & 1 ? 2500 : 300),
			.dim = 1 + next_random() % 128, .mask = next_random() & 1,
			.slopes = next_random() & 1, .softcap = next_random() % 3 * 10,
			.mask_type = next_random() % 4,
		};

		at.heads = at.kv_heads * (1 + next_random() % 4);
		at.seq_q = 1 + next_random() % (at.seq_kv < 300 ? at.seq_kv : 300);
		if (next_random() & 1)
			at.window = 1 + next_random() % at.seq_kv;
		if (at.mask && next_random() & 1) {
			at.mask_dim[0] = next_random() & 1 ? batches(&at) : 1;
			at.mask_dim[1] = next_random() & 1 ? at.heads : 1;
			at.mask_dim[2] = next_random() & 1 ? at.seq_q : 1;
			at.mask_dim[3] = next_random() & 3 ? at.seq_kv : 1;
		}
		if (at.mask && mask_elements(&at) * 4 > ROOM)
			at.mask = 0;
		check_bias(at, 10);
	}
}

/* What no softmax has: rows of nothing, NaN, infinity. */
static void check_strange_masks(void)
{
	struct kiln_attention at = { .type = KILN_TYPE_F32, .heads = 2, .kv_heads = 1, .seq_q = 8,
				     .seq_kv = 1300, .dim = 16, .mask = 1,
				     .mask_dim = { 1, 1, 8, 1300 } };
	static const struct {
		const char *what;
		float most, one;
		double want;
	} row[] = {
		{ "nothing but -infinity", -INFINITY, -INFINITY, 0 },
		{ "nothing but -3e38", -3e38f, -3e38f, 0 },
		{ "one NaN", 0, NAN, NAN },
		{ "one NaN among -infinity", -INFINITY, NAN, NAN },
		{ "one +infinity", 0, INFINITY, NAN },
		{ "one 0 among -infinity", -INFINITY, 0, 1 },
		{ "one 3e38", 0, 3e38f, 1 },
		{ "one -1e30 among -infinity", -INFINITY, -1e30f, 1 },
	};
	struct outcome outcome;
	uint32_t i, j;

	tensor_random(&tq, at.type, 2 * 8 * 16);
	tensor_random(&tk, at.type, 1300 * 16);
	for (i = 0; i < 1300 * 16; i++)
		put(tv.shadow, at.type, i, 1);
	tensor_upload(&tv, 1300 * 16 * 4);
	for (i = 0; i < 8; i++)
		for (j = 0; j < 1300; j++)
			put(tm.shadow, at.type, i * 1300 + j, j == 1100 ? row[i].one : row[i].most);
	tensor_upload(&tm, 8 * 1300 * 4);
	if (!ok(!run(at, &outcome), "strange masks"))
		return;
	tensor_download(&to, 2 * 8 * 16 * 4);
	for (i = 0; i < 8; i++) {
		double got = get(to.shadow, at.type, q_at(&at, 1, i) + 3), want = row[i].want;

		if (!ok(got == want || (isnan(got) && isnan(want)), "a mask row of %s", row[i].what))
			printf("# expected %g, got %g\n", want, got);
	}
}

/* The same bits and cycles from a program just made and from a kept one. */
static void check_cache(void)
{
	struct kiln_attention at = { .type = KILN_TYPE_BF16, .heads = 4, .kv_heads = 2,
				     .seq_q = 200, .seq_kv = 1500, .dim = 64, .causal = true };
	uint64_t bytes = (uint64_t)at.heads * at.seq_q * at.dim * 2;
	struct kiln_ops_stats first_stats, stats;
	struct outcome first, second;
	void *bits = malloc(bytes);
	bool good;

	check(at, 4);
	kiln_ops_get_stats(ops, &first_stats);
	good = !run(at, &first);
	memcpy(bits, to.map, bytes);
	memset(to.map, 0, bytes);
	good = good && !run(at, &second) && !memcmp(bits, to.map, bytes);
	kiln_ops_get_stats(ops, &stats);
	if (!ok(good && first.result.cycles == second.result.cycles &&
		stats.programs_made == first_stats.programs_made,
		"again: same program, same bits, same cycles"))
		printf("# cycles %llu and %llu\n", (unsigned long long)first.result.cycles,
		       (unsigned long long)second.result.cycles);
	free(bits);
}

static void refuse(int want, const char *what, struct kiln_attention at)
{
	struct outcome outcome = { 0 };
	int err = kiln_attention(ops, &at, on_done, &outcome);

	kiln_drain(queue);
	if (!ok(err == want && !outcome.calls, "%s is refused: %s", what, kiln_last_error()))
		printf("# expected %d, got %d, %u calls\n", want, err, outcome.calls);
}

static void check_bad(void)
{
	struct kiln_attention good = {
		.type = KILN_TYPE_BF16, .heads = 4, .kv_heads = 2, .seq_q = 10, .seq_kv = 20,
		.dim = 32, .q = tq.addr, .k = tk.addr, .v = tv.addr, .out = to.addr,
	}, bad;

#define REFUSE(want, change) do { bad = good; bad.change; refuse(want, #change, bad); } while (0)
	REFUSE(-ENOTSUP, type = 0);
	REFUSE(-ENOTSUP, type = 5);
	REFUSE(-EINVAL, heads = 0);
	REFUSE(-EINVAL, kv_heads = 0);
	REFUSE(-EINVAL, kv_heads = 3);
	REFUSE(-EINVAL, seq_q = 0);
	REFUSE(-EINVAL, seq_kv = 0);
	REFUSE(-EINVAL, seq_kv = 0xffffffff);
	REFUSE(-EINVAL, dim = 0);
	REFUSE(-EINVAL, dim = 129);
	REFUSE(-EINVAL, scale = -1);
	REFUSE(-EINVAL, scale = NAN);
	REFUSE(-EINVAL, scale = INFINITY);
	REFUSE(-EINVAL, q = 0);
	REFUSE(-EINVAL, k++);
	REFUSE(-EINVAL, v = 1);
	REFUSE(-EINVAL, out += 1);
	REFUSE(-EINVAL, softcap = -1);
	REFUSE(-EINVAL, softcap = INFINITY);
	REFUSE(-EINVAL, slopes = ts.addr + 2);
	REFUSE(-EINVAL, batch = 0x40000000);
	good.mask = tm.addr;
	REFUSE(-EINVAL, mask++);
	REFUSE(-ENOTSUP, mask_type = 9);
	REFUSE(-EINVAL, mask_dim[0] = 1);
	REFUSE(-EINVAL, mask_dim[3] = 20);
	good.mask = 0;
	good.window = 3;
	REFUSE(-EINVAL, seq_q = 21);
	good.window = 0;
	good.causal = true;
	REFUSE(-EINVAL, seq_q = 21);
	good.slopes = ts.addr;
	good.heads = good.kv_heads = 4097;
	REFUSE(-EINVAL, dim = 1);
	check((struct kiln_attention) { .type = KILN_TYPE_BF16, .heads = 4, .kv_heads = 2,
					.seq_q = 10, .seq_kv = 20, .dim = 32 }, 10);
}

int main(void)
{
	seed_random();
	open_card();
	tensor_make(&tq, ROOM);
	tensor_make(&tk, ROOM);
	tensor_make(&tv, ROOM);
	tensor_make(&to, ROOM);
	tensor_make(&tm, ROOM);
	tensor_make(&ts, 4096);
	check_grid();
	check_shapes();
	check_random();
	check_many_queries();
	check_in_place();
	check_biases();
	check_strange_masks();
	check_cache();
	check_bad();
	tensor_free(&tq);
	tensor_free(&tk);
	tensor_free(&tv);
	tensor_free(&to);
	tensor_free(&tm);
	tensor_free(&ts);
	close_card();
	return done_testing();
}
