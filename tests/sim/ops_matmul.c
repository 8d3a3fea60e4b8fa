// SPDX-License-Identifier: MIT
/*
 * Matrix products: against float64 within the bound of the documented sum,
 * and to the bit against a scalar model of it.
 *
 * The bound: k roundings to 24 bits, one for each product added, so
 * |error| <= k * 2^-24 / (1 - k * 2^-24) * sum |a b|; bf16 results have one
 * more rounding, to 8 bits. Data is normal, far from overflow and denormals.
 */
#include "ops_test.h"

#define ROOM (24u << 20)

static struct tensor ta, tb, tc;
static uint8_t *before;		/* what C held */

static uint64_t index_of(bool trans, uint32_t row, uint32_t col, uint32_t ld)
{
	return trans ? (uint64_t)col * ld + row : (uint64_t)row * ld + col;
}

/* One step of VDPBF16PS: fused, denormals as zero. */
static float fma_flushed(float a, float b, float c)
{
	float r = fmaf(a, b, c);

	return fabsf(r) < 0x1p-126f ? copysignf(0, r) : r;
}

static float model(const struct kiln_matmul *mm, const void *a, const void *b, uint32_t i,
		   uint32_t j)
{
	uint32_t k;
	float sum = 0;

#define A(x) ((x) < mm->k ? get(a, mm->type, index_of(mm->trans_a, i, x, mm->lda)) : 0)
#define B(x) ((x) < mm->k ? get(b, mm->type, index_of(mm->trans_b, x, j, mm->ldb)) : 0)
	if (mm->type == KILN_TYPE_F32) {
		for (k = 0; k < mm->k; k++)
			sum = fmaf(A(k), B(k), sum);
		return sum;
	}
	for (k = 0; k < mm->k; k += 2) {
		sum = fma_flushed(A(k + 1), B(k + 1), sum);
		sum = fma_flushed(A(k), B(k), sum);
	}
	return sum;
#undef A
#undef B
}

/* Fill in what 0 stands for, so that the checks can use it. */
static struct kiln_matmul resolve(struct kiln_matmul mm)
{
	uint32_t ra = mm.trans_a ? mm.k : mm.m, ca = mm.trans_a ? mm.m : mm.k;
	uint32_t rb = mm.trans_b ? mm.n : mm.k, cb = mm.trans_b ? mm.k : mm.n;

	if (!mm.out_type)
		mm.out_type = mm.type;
	if (!mm.batch)
		mm.batch = 1;
	if (!mm.lda)
		mm.lda = ca;
	if (!mm.ldb)
		mm.ldb = cb;
	if (!mm.ldc)
		mm.ldc = mm.n;
	if (!mm.stride_a)
		mm.stride_a = (uint64_t)ra * mm.lda;
	if (!mm.stride_b)
		mm.stride_b = (uint64_t)rb * mm.ldb;
	if (!mm.stride_c)
		mm.stride_c = (uint64_t)mm.m * mm.ldc;
	return mm;
}

static void describe(char *text, size_t size, const struct kiln_matmul *mm)
{
	snprintf(text, size, "%ux%ux%u %s%s%s%s%s batch %u ld %u %u %u", mm->m, mm->n, mm->k,
		 type_name(mm->type), mm->out_type && mm->out_type != mm->type ? " to " : "",
		 mm->out_type && mm->out_type != mm->type ? type_name(mm->out_type) : "",
		 mm->trans_a ? " A^T" : "", mm->trans_b ? " B^T" : "", mm->batch ? mm->batch : 1,
		 mm->lda, mm->ldb, mm->ldc);
}

static bool check_element(const struct kiln_matmul *r, uint32_t batch, uint32_t i, uint32_t j,
			  bool exact)
{
	const uint8_t *a = (uint8_t *)ta.shadow + batch * r->stride_a * type_bytes(r->type);
	const uint8_t *b = (uint8_t *)tb.shadow + batch * r->stride_b * type_bytes(r->type);
	uint64_t at = batch * r->stride_c + (uint64_t)i * r->ldc + j;
	float got = get(tc.shadow, r->out_type, at), want;
	double sum = 0, size = 0, bound, u = r->k * 0x1p-24;
	uint32_t k;

	if (exact) {
		want = model(r, a, b, i, j);
		if (r->out_type == KILN_TYPE_BF16)
			want = from_bf16(to_bf16(want));
		if (!memcmp(&want, &got, 4))
			return true;
		printf("# [%u] (%u, %u): expected %a, got %a\n", batch, i, j, want, got);
		return false;
	}
	for (k = 0; k < r->k; k++) {
		double p = (double)get(a, r->type, index_of(r->trans_a, i, k, r->lda)) *
			   get(b, r->type, index_of(r->trans_b, k, j, r->ldb));
		sum += p;
		size += fabs(p);
	}
	bound = u / (1 - u) * size;
	if (r->out_type == KILN_TYPE_BF16)
		bound += 0x1p-8 * (fabs(sum) + bound);
	if (fabs(got - sum) <= bound)
		return true;
	printf("# [%u] (%u, %u): expected %.9g +- %.3g, got %.9g\n", batch, i, j, sum, bound, got);
	return false;
}

/* Everything outside the result is as it was. */
static bool check_gaps(const struct kiln_matmul *r, uint64_t bytes)
{
	uint32_t size = type_bytes(r->out_type), batch, i;
	const uint8_t *c = tc.shadow;
	uint64_t at = 0;

	for (batch = 0; batch < r->batch; batch++)
		for (i = 0; i < r->m; i++) {
			uint64_t row = (batch * r->stride_c + (uint64_t)i * r->ldc) * size;

			if (memcmp(c + at, before + at, row - at)) {
				printf("# bytes %llu to %llu, before row %u, were written\n",
				       (unsigned long long)at, (unsigned long long)row, i);
				return false;
			}
			at = row + (uint64_t)r->n * size;
		}
	if (memcmp(c + at, before + at, bytes - at)) {
		printf("# bytes behind the result were written\n");
		return false;
	}
	return true;
}

static int run(struct kiln_matmul mm, struct outcome *outcome)
{
	int err;

	*outcome = (struct outcome) { 0 };
	mm.a = ta.addr;
	mm.b = tb.addr;
	mm.c = tc.addr;
	err = kiln_matmul(ops, &mm, on_done, outcome);
	if (err) {
		printf("# kiln_matmul: %d %s\n", err, kiln_last_error());
		return err;
	}
	return finish(outcome);
}

/* samples: how many elements to look at, 0: all. */
static void check(struct kiln_matmul mm, bool exact, uint32_t samples)
{
	struct kiln_matmul r = resolve(mm);
	uint64_t na = r.batch * r.stride_a, nb = r.batch * r.stride_b;
	uint64_t bytes = r.batch * r.stride_c * type_bytes(r.out_type) + 64, s;
	uint32_t batch, i, j;
	struct outcome outcome;
	char text[128];
	bool good;

	describe(text, sizeof(text), &mm);
	if ((na > nb ? na : nb) * type_bytes(r.type) > ROOM || bytes > ROOM) {
		ok(false, "%s: does not fit the test's memory", text);
		return;
	}
	tensor_random(&ta, r.type, na);
	tensor_random(&tb, r.type, nb);
	for (s = 0; s < bytes; s++)
		before[s] = s * 7 + 0x5a;
	memcpy(tc.map, before, bytes);
	good = !run(mm, &outcome);
	if (good && !outcome.result.cycles) {
		printf("# no device cycles\n");
		good = false;
	}
	tensor_download(&tc, bytes);
	good = good && check_gaps(&r, bytes);
	if (!samples) {
		for (batch = 0; good && batch < r.batch; batch++)
			for (i = 0; good && i < r.m; i++)
				for (j = 0; good && j < r.n; j++)
					good = check_element(&r, batch, i, j, exact);
	} else {
		/* The corners, and anywhere. */
		for (s = 0; good && s < samples; s++) {
			batch = next_random() % r.batch;
			i = s < 4 ? (s & 1 ? r.m - 1 : 0) : next_random() % r.m;
			j = s < 4 ? (s & 2 ? r.n - 1 : 0) : next_random() % r.n;
			good = check_element(&r, batch, i, j, exact);
		}
	}
	ok(good, "%s %s", exact ? "bits" : "value", text);
}

static void check_grid(void)
{
	static const uint32_t edge[] = { 1, 2, 31, 127, 128, 129, 511, 512, 513, 1025 };
	static const uint32_t some[][3] = {
		{ 1, 1, 1 }, { 1, 1, 300 }, { 1, 700, 1 }, { 700, 1, 1 }, { 1, 600, 513 },
		{ 600, 1, 257 }, { 128, 128, 128 }, { 128, 512, 128 }, { 130, 70, 33 },
		{ 1000, 777, 513 }, { 384, 1024, 1024 }, { 512, 2048, 2049 },
		{ 1537, 1100, 129 },
	};
	uint32_t i, t;
	enum kiln_type type;

	/* The smallest, all of it and to the bit. */
	for (t = 0; t < 8; t++)
		check((struct kiln_matmul) {
			.type = t & 4 ? KILN_TYPE_F32 : KILN_TYPE_BF16,
			.out_type = t & 4 ? KILN_TYPE_F32 : KILN_TYPE_BF16,
			.m = 1, .n = 1, .k = 1, .trans_a = t & 1, .trans_b = t & 2,
		}, true, 0);
	/* Every edge in every direction, the others at random. */
	for (i = 0; i < sizeof(edge) / sizeof(*edge); i++)
		for (t = 0; t < 3; t++) {
			uint32_t size[3];

			size[t] = edge[i];
			size[(t + 1) % 3] = 1 + next_random() % 200;
			size[(t + 2) % 3] = 1 + next_random() % 200;
			type = next_random() & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16;
			check((struct kiln_matmul) {
				.type = type, .m = size[0], .n = size[1], .k = size[2],
				.trans_a = next_random() & 1, .trans_b = next_random() & 1,
			}, true, 200);
		}
	for (i = 0; i < sizeof(some) / sizeof(*some); i++)
		for (t = 0; t < 4; t++) {
			type = (i + t) & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16;
			check((struct kiln_matmul) {
				.type = type, .m = some[i][0], .n = some[i][1], .k = some[i][2],
				.trans_a = t & 1, .trans_b = t & 2,
			}, false, 150);
		}
}

static void check_strides(void)
{
	struct kiln_matmul mm = {
		.type = KILN_TYPE_BF16, .m = 200, .n = 300, .k = 150, .batch = 3,
		.lda = 333, .ldb = 401, .ldc = 310,
	};
	int t;

	for (t = 0; t < 4; t++) {
		mm.trans_a = t & 1;
		mm.trans_b = t & 2;
		mm.out_type = t & 1 ? KILN_TYPE_F32 : 0;
		check(mm, true, 300);
	}
	mm.type = KILN_TYPE_F32;
	mm.out_type = KILN_TYPE_BF16;
	mm.stride_a = 70000;
	mm.stride_b = 130000;
	mm.stride_c = 62111;
	check(mm, true, 300);
	/* Many small ones. */
	check((struct kiln_matmul) { .type = KILN_TYPE_BF16, .m = 33, .n = 17, .k = 65,
				     .batch = 100, .trans_b = true }, true, 300);
	check((struct kiln_matmul) { .type = KILN_TYPE_F32, .m = 150, .n = 600, .k = 40,
				     .batch = 9, .trans_a = true }, true, 300);
}

/* Too long for SBUF to keep: both sides stream, in several chunks. */
static void check_long(void)
{
	int t;

	for (t = 0; t < 4; t++)
		check((struct kiln_matmul) {
			.type = t & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16, .out_type = KILN_TYPE_F32,
			.m = 70, .n = 60, .k = 70001 + t, .trans_a = t & 1, .trans_b = t & 2,
		}, true, 30);
	check((struct kiln_matmul) { .type = KILN_TYPE_BF16, .m = 530, .n = 1100, .k = 9001,
				     .trans_a = true }, false, 60);
	check((struct kiln_matmul) { .type = KILN_TYPE_BF16, .m = 530, .n = 1100, .k = 9001,
				     .trans_b = true }, false, 60);
	check((struct kiln_matmul) { .type = KILN_TYPE_F32, .m = 1300, .n = 700, .k = 4100 },
	      false, 60);
}

static void check_random(void)
{
	int n;

	for (n = 0; n < 40; n++) {
		struct kiln_matmul mm = {
			.type = next_random() & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16,
			.out_type = next_random() % 3, .m = 1 + next_random() % 600,
			.n = 1 + next_random() % 1400, .k = 1 + next_random() % 700,
			.batch = 1 + next_random() % 3, .trans_a = next_random() & 1,
			.trans_b = next_random() & 1,
		};

		if (next_random() & 1)
			mm.lda = (mm.trans_a ? mm.m : mm.k) + next_random() % 50;
		if (next_random() & 1)
			mm.ldb = (mm.trans_b ? mm.k : mm.n) + next_random() % 50;
		if (next_random() & 1)
			mm.ldc = mm.n + next_random() % 50;
		check(mm, true, 60);
	}
}

/* The same bits from a program just made, from a kept one, and beside others in flight. */
static double activated(enum kiln_unary_func func, double x)
{
	if (func == KILN_UNARY_RELU)
		return x > 0 ? x : 0;
	return func == KILN_UNARY_SILU ? x / (1 + exp(-x)) : x;
}

/*
 * Bias, activation and shared matrices. The bias is one more term of the sum; an
 * activation's slope is at most 1.1, and it is within 4 ulp itself.
 */
static void check_epilogue(struct kiln_matmul mm, bool biased)
{
	uint32_t outer = mm.outer ? mm.outer : 1;
	struct kiln_matmul r = resolve(mm);
	uint32_t inner_a = mm.share_a ? 1 : r.batch, inner_b = mm.share_b ? 1 : r.batch;
	uint64_t na = (uint64_t)mm.m * mm.k * inner_a * (mm.outer_share_a ? 1 : outer);
	uint64_t nb = (uint64_t)mm.n * mm.k * inner_b * (mm.outer_share_b ? 1 : outer);
	uint64_t nc = (uint64_t)mm.m * mm.n * r.batch * outer, at;
	uint64_t bytes = nc * type_bytes(r.out_type);
	bool in_place = mm.residual == 1, other = mm.residual == 2;
	float beta = mm.beta ? mm.beta : 1;
	struct tensor bias, residual;
	struct outcome outcome;
	uint32_t k;
	bool good;

	tensor_make(&residual, bytes + 64);
	tensor_make(&bias, mm.n * 4);
	tensor_random(&bias, mm.type, mm.n);
	tensor_random(&ta, mm.type, na);
	tensor_random(&tb, mm.type, nb);
	memset(tc.map, 0xa5, bytes + 64);
	tensor_random(&residual, r.out_type, nc);
	if (in_place)
		memcpy(tc.map, residual.shadow, bytes);
	mm.residual = in_place ? tc.addr : other ? residual.addr : 0;
	mm.bias = biased ? bias.addr : 0;
	good = !run(mm, &outcome);
	tensor_download(&tc, bytes + 64);
	for (at = 0; good && at < nc; at += nc > 20000 ? 1 + next_random() % 97 : 1) {
		uint32_t batch = at / mm.n / mm.m, i = at / mm.n % mm.m, j = at % mm.n;
		uint32_t inner = batch % r.batch, out = batch / r.batch;
		uint64_t a_at = (mm.outer_share_a ? 0 : out * inner_a) + (mm.share_a ? 0 : inner);
		uint64_t b_at = (mm.outer_share_b ? 0 : out * inner_b) + (mm.share_b ? 0 : inner);
		const char *a = (char *)ta.shadow + a_at * mm.m * mm.k * type_bytes(mm.type);
		const char *b = (char *)tb.shadow + b_at * mm.n * mm.k * type_bytes(mm.type);
		double sum = biased ? get(bias.shadow, mm.type, j) : 0, size = fabs(sum), bound, want;
		double got = get(tc.shadow, r.out_type, at);

		for (k = 0; k < mm.k; k++) {
			double p = (double)get(a, mm.type, index_of(mm.trans_a, i, k, r.lda)) *
				   get(b, mm.type, index_of(mm.trans_b, k, j, r.ldb));
			sum += p;
			size += fabs(p);
		}
		want = activated(mm.activation, sum);
		bound = (mm.k + 2) * 0x1p-24 * 1.1 * size + 0x1p-21 * fabs(want);
		if (in_place || other) {
			double add = beta * get(residual.shadow, r.out_type, at);

			want += add;
			bound += 0x1p-23 * (fabs(add) + fabs(want));
		}
		if (r.out_type == KILN_TYPE_BF16)
			bound += fabs(want) * 0x1p-8 + bound * 0x1p-7;
		if (r.out_type == KILN_TYPE_F16)
			bound += type_error(r.out_type, want) + type_error(r.out_type, bound);
		good = fabs(got - want) <= bound;
		if (!good)
			printf("# [%u] (%u, %u): expected %g +- %g, got %g\n", batch, i, j, want, bound,
			       got);
	}
	for (k = 0; good && k < 64; k++)
		good = ((uint8_t *)tc.shadow)[bytes + k] == 0xa5;
	ok(good, "%ux%ux%u %s to %s batch %u x %u%s%s%s%s%s%s%s%s activation %d", mm.m, mm.n, mm.k,
	   type_name(mm.type), type_name(r.out_type), outer, r.batch, biased ? " bias" : "",
	   mm.trans_a ? " A^T" : "", mm.trans_b ? " B^T" : "", mm.share_a ? " one A" : "",
	   mm.share_b ? " one B" : "", mm.outer_share_a ? " the same A" : "",
	   mm.outer_share_b ? " the same B" : "",
	   in_place ? " + c" : other ? " + residual" : "", mm.activation);
	tensor_free(&bias);
	tensor_free(&residual);
}

static void check_epilogues(void)
{
	static const uint32_t shapes[][3] = {
		{ 1, 1, 1 }, { 1, 1500, 64 }, { 127, 513, 129 }, { 128, 128, 128 }, { 700, 1100, 70 },
		{ 1100, 700, 40 }, { 129, 2100, 300 }, { 300, 600, 2100 }, { 300, 5000, 33 },
	};
	unsigned int i, t;

	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		for (t = 0; t < 4; t++) {
			struct kiln_matmul mm = {
				.type = t & 1 ? KILN_TYPE_BF16 : KILN_TYPE_F32,
				.out_type = t == 3 ? KILN_TYPE_F32 : 0, .m = shapes[i][0],
				.n = shapes[i][1], .k = shapes[i][2], .trans_a = i & 1,
				.trans_b = t & 1,
				.activation = t == 0 ? 0 : t == 1 ? KILN_UNARY_SILU : KILN_UNARY_RELU,
			};

			mm.residual = (i + t) % 3;
			mm.beta = i % 2 ? -0.5f : 0;
			if (mm.m * mm.k > 1000000 && !strcmp(card.transport, "drm"))
				continue;
			check_epilogue(mm, t != 2);
			if (t == 0) {
				mm.type = KILN_TYPE_F16;
				check_epilogue(mm, true);
				mm.type = KILN_TYPE_F32;
			}
			if (i > 3)
				continue;
			mm.batch = 3;
			mm.share_a = t & 1;
			mm.share_b = t != 1;
			check_epilogue(mm, t & 1);
			mm.outer = 2;
			mm.outer_share_a = t & 2;
			mm.outer_share_b = t & 1;
			check_epilogue(mm, t & 1);
		}
}

/* ------------------------------------------------------- types of 8 bits -- */

static float from_f8(enum kiln_type type, uint8_t bits)
{
	int e3 = type == KILN_TYPE_F8E4M3, fraction = e3 ? 3 : 2, bias = e3 ? 7 : 15;
	int exponent = (bits & 0x7f) >> fraction, m = bits & ((1 << fraction) - 1);
	float x = exponent ? ldexpf((1 << fraction) + m, exponent - bias - fraction) :
			     ldexpf(m, 1 - bias - fraction);

	if (exponent == (e3 ? 15 : 31))
		x = m ? NAN : INFINITY;
	return bits & 0x80 ? -x : x;
}

static const char *small_name(enum kiln_type type)
{
	return type == KILN_TYPE_F8E4M3 ? "e4m3" : type == KILN_TYPE_F8E5M2 ? "e5m2" :
	       type == KILN_TYPE_I8 ? "i8" : type == KILN_TYPE_I32 ? "i32" : type_name(type);
}

/* Every finite value as likely; int8: the ends more often, so that sums grow. */
static void random_small(struct tensor *t, enum kiln_type type, uint64_t n, bool ends)
{
	uint8_t *x = t->shadow;
	uint64_t i;

	for (i = 0; i < n; i++) {
		do
			x[i] = next_random() >> 20;
		while (type != KILN_TYPE_I8 && !isfinite(from_f8(type, x[i])));
		if (type == KILN_TYPE_I8 && ends)
			x[i] = next_random() & 15 ? 0x80 : 0x7f;
	}
	tensor_upload(t, n);
}

/* To the bit: fp8 as one chain of fused multiply-adds, int8 as whole numbers. */
static void check_small(struct kiln_matmul mm, bool ends)
{
	struct kiln_matmul r = mm;
	uint64_t bytes, at, n = 0, nc;
	enum kiln_type b_type = mm.b_type ? mm.b_type : mm.type;
	struct outcome outcome;
	struct tensor bias;
	uint32_t k;
	bool good;

	r.batch = mm.batch ? mm.batch : 1;
	r.lda = mm.lda ? mm.lda : mm.trans_a ? mm.m : mm.k;
	r.ldb = mm.ldb ? mm.ldb : mm.trans_b ? mm.k : mm.n;
	r.stride_a = (uint64_t)r.lda * (mm.trans_a ? mm.k : mm.m);
	r.stride_b = (uint64_t)r.ldb * (mm.trans_b ? mm.n : mm.k);
	r.out_type = mm.out_type ? mm.out_type : mm.type == KILN_TYPE_I8 ? KILN_TYPE_I32 :
		KILN_TYPE_F32;
	nc = (uint64_t)r.batch * mm.m * mm.n;
	bytes = nc * (r.out_type == KILN_TYPE_BF16 ? 2 : 4);
	tensor_make(&bias, mm.n * 4);
	tensor_random(&bias, KILN_TYPE_F32, mm.n);
	random_small(&ta, mm.type, r.batch * r.stride_a, ends);
	random_small(&tb, b_type, r.batch * r.stride_b, ends);
	memset(tc.map, 0xa5, bytes + 64);
	mm.bias = mm.bias ? bias.addr : 0;
	good = !run(mm, &outcome);
	tensor_download(&tc, bytes + 64);
	for (at = 0; good && at < nc && n < 300; n++) {
		uint32_t batch = at / mm.n / mm.m, i = at / mm.n % mm.m, j = at % mm.n;
		const uint8_t *a = (uint8_t *)ta.shadow + batch * r.stride_a;
		const uint8_t *b = (uint8_t *)tb.shadow + batch * r.stride_b;
		float sum = mm.bias ? get(bias.shadow, KILN_TYPE_F32, j) : 0;
		int64_t whole = 0;

		for (k = 0; k < mm.k; k++) {
			uint8_t x = a[index_of(mm.trans_a, i, k, r.lda)];
			uint8_t y = b[index_of(mm.trans_b, k, j, r.ldb)];

			if (mm.type == KILN_TYPE_I8)
				whole += (int8_t)x * (int8_t)y;
			else
				sum = fmaf(from_f8(mm.type, x), from_f8(b_type, y), sum);
		}
		if (r.out_type == KILN_TYPE_I32) {
			int32_t got = ((int32_t *)tc.shadow)[at];

			good = got == (int32_t)(uint64_t)whole;
			if (!good)
				printf("# [%u] (%u, %u): expected %lld, got %d\n", batch, i, j,
				       (long long)whole, got);
		} else {
			float want = mm.type == KILN_TYPE_I8 ? (float)whole : sum;
			float got = get(tc.shadow, r.out_type, at);

			if (r.out_type == KILN_TYPE_BF16)
				want = from_bf16(to_bf16(want));
			good = got == want;
			if (!good)
				printf("# [%u] (%u, %u): expected %a, got %a\n", batch, i, j, want,
				       got);
		}
		at += nc > 300 ? 1 + next_random() % (nc / 150) : 1;
	}
	for (k = 0; good && k < 64; k++)
		good = ((uint8_t *)tc.shadow)[bytes + k] == 0xa5;
	ok(good, "%ux%ux%u %s x %s to %s batch %u%s%s%s ld %u %u%s", mm.m, mm.n, mm.k,
	   small_name(mm.type), small_name(b_type), small_name(r.out_type), r.batch,
	   mm.trans_a ? " A^T" : "", mm.trans_b ? " B^T" : "", mm.bias ? " bias" : "", mm.lda,
	   mm.ldb, ends ? " ends" : "");
	tensor_free(&bias);
}

static void check_smalls(void)
{
	static const uint32_t shapes[][3] = {
		{ 1, 1, 1 }, { 3, 5, 2 }, { 1, 1500, 64 }, { 127, 513, 129 }, { 128, 128, 256 },
		{ 700, 1100, 70 }, { 1100, 700, 44 }, { 129, 600, 2000 }, { 300, 5000, 34 },
		{ 70, 60, 5001 }, { 40, 200, 70002 },
	};
	unsigned int i, t;

	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		for (t = 0; t < 4; t++) {
			struct kiln_matmul mm = {
				.m = shapes[i][0], .n = shapes[i][1], .k = shapes[i][2],
				.trans_a = t & 1, .trans_b = t & 2, .batch = i < 5 ? 2 : 0,
			};

			if ((uint64_t)(mm.m + mm.n) * mm.k > 10000000 && t & 1)
				continue;
			if (t & 1)
				mm.lda = (mm.trans_a ? mm.m : mm.k) + 3;
			if (t & 2)
				mm.ldb = (mm.trans_b ? mm.k : mm.n) + 1;
			mm.type = (i + t) & 1 ? KILN_TYPE_F8E4M3 : KILN_TYPE_F8E5M2;
			mm.b_type = t == 1 ? KILN_TYPE_F8E4M3 : t == 2 ? KILN_TYPE_F8E5M2 : 0;
			mm.out_type = t == 3 ? KILN_TYPE_BF16 : 0;
			mm.bias = t == 2;
			check_small(mm, false);
			mm.bias = 0;
			mm.b_type = 0;
			mm.type = KILN_TYPE_I8;
			mm.out_type = t == 2 ? KILN_TYPE_F32 : 0;
			check_small(mm, t == 3);
			mm.out_type = 0;
			check_small(mm, t != 3);
		}
	/* Beyond what int32 holds. */
	check_small((struct kiln_matmul) { .type = KILN_TYPE_I8, .m = 3, .n = 5, .k = 300000 }, true);
}

static void check_cache(void)
{
	struct kiln_matmul mm = { .type = KILN_TYPE_BF16, .m = 300, .n = 520, .k = 290 };
	uint64_t bytes = (uint64_t)mm.m * mm.n * 2, part = 4u << 20;
	struct kiln_ops_stats before_stats, after;
	struct outcome outcome[16] = { { 0 } };
	void *first = malloc(bytes);
	bool good = true;
	int i, err = 0;

	tensor_random(&ta, mm.type, (uint64_t)mm.m * mm.k);
	tensor_random(&tb, mm.type, (uint64_t)mm.k * mm.n);
	kiln_ops_get_stats(ops, &before_stats);
	good = !run(mm, &outcome[0]);
	memcpy(first, tc.map, bytes);
	kiln_ops_get_stats(ops, &after);
	ok(good && after.programs_made == before_stats.programs_made + 1,
	   "a new shape makes one program");

	memset(outcome, 0, sizeof(outcome));
	for (i = 0; i < 16 && !err; i++) {
		struct kiln_matmul each = mm;

		each.a = ta.addr;
		each.b = tb.addr;
		each.c = tc.addr + (i % 4) * part;
		if (i < 4)
			memset((uint8_t *)tc.map + i * part, 0xff, bytes);
		err = kiln_matmul(ops, &each, on_done, &outcome[i]);
	}
	if (!err)
		err = kiln_drain(queue);
	for (i = 0; i < 16; i++)
		good = good && outcome[i].calls == 1 && !outcome[i].result.res &&
		       outcome[i].result.cycles == outcome[0].result.cycles;
	for (i = 0; i < 4; i++)
		good = good && !memcmp(first, (uint8_t *)tc.map + i * part, bytes);
	kiln_ops_get_stats(ops, &before_stats);
	ok(good && !err, "16 in flight: same bits, same cycles");
	ok(before_stats.programs_made == after.programs_made &&
	   before_stats.commands == after.commands + 16, "and no program made for them");
	free(first);
}

/* The same columns, to one matrix and to several: the same bits, and nothing around them. */
static void check_more(struct kiln_matmul mm, uint32_t n1, uint32_t n2)
{
	uint32_t es = type_bytes(mm.out_type ? mm.out_type : mm.type), n0 = mm.n - n1 - n2, i, j;
	uint64_t bytes = (uint64_t)mm.m * mm.n * es, gap = 64, at1 = (uint64_t)mm.m * n0 * es + gap;
	uint64_t at2 = at1 + (uint64_t)mm.m * n1 * es + gap, end = at2 + (uint64_t)mm.m * n2 * es + gap;
	struct outcome outcome;
	uint8_t *got = tc.map;
	bool good;

	tensor_random(&ta, mm.type, (uint64_t)mm.m * mm.k);
	tensor_random(&tb, mm.type, (uint64_t)mm.n * mm.k);
	good = !run(mm, &outcome);
	tensor_download(&tc, bytes);
	memcpy(before, tc.map, bytes);
	memset(tc.map, 0x5a, end);
	mm.more[0].n = n1;
	mm.more[0].c = tc.addr + at1;
	mm.more[1].n = n2;
	mm.more[1].c = n2 ? tc.addr + at2 : 0;
	good = good && !run(mm, &outcome);
	tensor_download(&tc, end);
	for (i = 0; good && i < mm.m; i++) {
		const uint8_t *row = before + (uint64_t)i * mm.n * es;

		good = !memcmp(got + (uint64_t)i * n0 * es, row, n0 * es) &&
			!memcmp(got + at1 + (uint64_t)i * n1 * es, row + n0 * es, n1 * es) &&
			!memcmp(got + at2 + (uint64_t)i * n2 * es, row + (n0 + n1) * es, n2 * es);
		if (!good)
			printf("# row %u differs\n", i);
	}
	for (j = 0; good && j < gap; j++) {
		good = got[at1 - gap + j] == 0x5a && got[at2 - gap + j] == 0x5a && got[end - gap + j] == 0x5a;
		if (!good)
			printf("# byte %u between the matrices was written\n", j);
	}
	ok(good, "%u x %u x %u %s to %u, %u and %u columns", mm.m, mm.n, mm.k, type_name(mm.type), n0, n1, n2);
}

static void check_several(void)
{
	const enum kiln_type F32 = KILN_TYPE_F32, BF16 = KILN_TYPE_BF16;

	check_more((struct kiln_matmul) { .type = BF16, .out_type = F32, .m = 1, .n = 1280, .k = 768 }, 256, 256);
	check_more((struct kiln_matmul) { .type = BF16, .out_type = F32, .m = 1, .n = 3968, .k = 256 }, 1984, 0);
	check_more((struct kiln_matmul) { .type = BF16, .m = 1, .n = 4096, .k = 130 }, 1, 4094);
	check_more((struct kiln_matmul) { .type = F32, .m = 1, .n = 3, .k = 5 }, 1, 1);
	check_more((struct kiln_matmul) { .type = BF16, .out_type = F32, .m = 8, .n = 1100, .k = 300 }, 30, 70);
	check_more((struct kiln_matmul) { .type = F32, .m = 128, .n = 3072, .k = 40, .trans_b = true }, 513, 0);
	check_more((struct kiln_matmul) { .type = KILN_TYPE_F16, .m = 33, .n = 1025, .k = 64,
					  .activation = KILN_UNARY_SILU }, 511, 1);
}

static void refuse(int want, const char *what, struct kiln_matmul mm)
{
	struct outcome outcome = { 0 };
	int err = kiln_matmul(ops, &mm, on_done, &outcome);

	kiln_drain(queue);
	if (!ok(err == want && !outcome.calls && *kiln_last_error(), "%s is refused: %s", what,
		kiln_last_error()))
		printf("# expected %d, got %d, %u calls\n", want, err, outcome.calls);
}

static void check_bad(void)
{
	struct kiln_matmul good = {
		.type = KILN_TYPE_BF16, .m = 20, .n = 30, .k = 40, .a = ta.addr, .b = tb.addr,
		.c = tc.addr,
	}, bad;

#define REFUSE(want, change) do { bad = good; bad.change; refuse(want, #change, bad); } while (0)
	REFUSE(-ENOTSUP, type = KILN_TYPE_I32);
	REFUSE(-ENOTSUP, type = 99);
	REFUSE(-ENOTSUP, b_type = KILN_TYPE_F8E4M3);
	REFUSE(-ENOTSUP, out_type = KILN_TYPE_I32);
	good.type = KILN_TYPE_I8;
	REFUSE(-ENOTSUP, out_type = KILN_TYPE_BF16);
	REFUSE(-ENOTSUP, bias = tb.addr);
	REFUSE(-EINVAL, k = 1 << 21);
	good.type = KILN_TYPE_BF16;
	REFUSE(-ENOTSUP, type = 0);
	REFUSE(-ENOTSUP, out_type = 9);
	REFUSE(-EINVAL, m = 0);
	REFUSE(-EINVAL, n = 0);
	REFUSE(-EINVAL, k = 0);
	REFUSE(-EINVAL, m = 0x80000000);
	REFUSE(-EINVAL, lda = 39);
	REFUSE(-EINVAL, ldb = 29);
	REFUSE(-EINVAL, ldc = 1);
	REFUSE(-EINVAL, lda = 0xffffffff);
	REFUSE(-EINVAL, a = 0);
	REFUSE(-EINVAL, b++);
	REFUSE(-EINVAL, c += 3);
	REFUSE(-EINVAL, bias = 1);
	REFUSE(-EINVAL, residual = tc.addr + 1);
	good.residual = tc.addr;
	REFUSE(-EINVAL, beta = NAN);
	good.residual = 0;
	REFUSE(-ENOTSUP, activation = 99);
	good.batch = 2;
	REFUSE(-EINVAL, stride_c = 599);
	REFUSE(-EINVAL, stride_a = UINT64_MAX);
	good.outer = 2;
	REFUSE(-EINVAL, outer_c = 1199);
	REFUSE(-EINVAL, outer_b = UINT64_MAX);
	good.batch = good.outer = 0;
	good.more[0].c = good.more[1].c = tc.addr;
	REFUSE(-EINVAL, more[0].n = 30);
	REFUSE(-EINVAL, more[1].n = 3);
	good.more[0].n = 10;
	REFUSE(-EINVAL, more[1].n = 20);
	REFUSE(-EINVAL, more[0].c = 0);
	REFUSE(-EINVAL, more[0].c++);
	REFUSE(-ENOTSUP, residual = tc.addr);
	REFUSE(-ENOTSUP, batch = 2);
	REFUSE(-ENOTSUP, m = 129);
	REFUSE(-ENOTSUP, n = 3073);
	ok(kiln_matmul(ops, NULL, NULL, NULL) == -EINVAL, "no description is refused");
	check((struct kiln_matmul) { .type = KILN_TYPE_BF16, .m = 20, .n = 30, .k = 40 }, true, 0);
}

/* An address that is not bound fails that command; the next one works. */
static void check_fault(void)
{
	struct kiln_matmul mm = {
		.type = KILN_TYPE_BF16, .m = 64, .n = 64, .k = 64, .a = 0x7f0000000000,
		.b = tb.addr, .c = tc.addr,
	};
	struct outcome outcome = { 0 };
	int err = kiln_matmul(ops, &mm, on_done, &outcome);

	if (!err)
		err = kiln_drain(queue);
	if (!ok(!err && outcome.calls == 1 && outcome.result.res == -EFAULT,
		"a matrix that is not there is -EFAULT"))
		printf("# expected -EFAULT, got %d, result %d\n", err, outcome.result.res);
}

int main(void)
{
	seed_random();
	open_card();
	tensor_make(&ta, ROOM);
	tensor_make(&tb, ROOM);
	tensor_make(&tc, ROOM);
	before = malloc(ROOM);
	check_grid();
	check_strides();
	check_long();
	check_random();
	check_epilogues();
	check_smalls();
	check_cache();
	check_several();
	check_bad();
	check_fault();
	free(before);
	tensor_free(&ta);
	tensor_free(&tb);
	tensor_free(&tc);
	close_card();
	return done_testing();
}
