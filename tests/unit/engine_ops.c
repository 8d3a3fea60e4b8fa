// SPDX-License-Identifier: MIT
/*
 * The tile kernels: each vector path against the reference, bit for bit, over
 * special values and random ones; the reference against arithmetic that is
 * done another way.
 */
#include "engine.h"

#define N	1024

static const uint32_t specials[] = {
	0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x807fffff,
	0x00800000, 0x80800000, 0x00800001, 0x01000000, 0x00ffffff, 0x33800000,
	0x3effffff, 0x3f000000, 0xbf000000, 0x3f7fffff, 0x3f800000, 0xbf800000,
	0x3f800001, 0x3f808000, 0x3f818000, 0x3f808001, 0x3fc00000, 0x40200000,
	0x437f0000, 0x437f8000, 0x437effff, 0x43800000, 0x4affffff, 0x4effffff,
	0x4f000000, 0xcf000000, 0xcf000001, 0xceffffff, 0x4f7fffff, 0x4f800000,
	0x7f7fffff, 0xff7fffff, 0x7f7f8000, 0x7f800000, 0xff800000, 0x7fc00000,
	0xffc00000, 0x7f800001, 0xffa12345, 0x7fffffff, 0x42b17218, 0x42b17217,
	0xc2aeac50, 0xc2ce8ed0, 0xc2cff1b5, 0xc2d00000, 0x42b20000, 0xc2b00000,
};
#define SPECIALS	(sizeof(specials) / sizeof(specials[0]))

/* A value: special, any bits, or of everyday size. */
static uint32_t any_bits(void)
{
	switch (rng() % 4) {
	case 0:
		return specials[rng() % SPECIALS];
	case 1:
		return rng();
	case 2:
		return float_bits(rng_float() * 60);
	default:
		return float_bits(rng_float());
	}
}

static void fill(float *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = any_bits();

		memcpy(&x[i], &bits, sizeof(bits));
	}
}

static uint32_t quiet_bits(uint32_t bits)
{
	return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : bits;
}

/* The same but for what a NaN looks like: that is settled when it is stored. */
static bool same(const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (quiet_bits(float_bits(a[i])) != quiet_bits(float_bits(b[i]))) {
			printf("# [%zu] %08x, reference %08x\n", i, float_bits(a[i]),
			       float_bits(b[i]));
			return false;
		}
	}
	return true;
}

static bool same_bytes(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (size_t i = 0; i < n; i++) {
		if (x[i] != y[i]) {
			printf("# byte %zu: %02x, reference %02x\n", i, x[i], y[i]);
			return false;
		}
	}
	return true;
}

static float x[N + 8], y[N + 8], out[N + 8], want[N + 8];

static void test_conversions(const struct kiln_ops *ops)
{
	static const char *names[] = {
#define KILN_DTYPE(name, code, bytes, doc) [code] = #name,
#include "kiln/isa.def"
	};

	for (unsigned int t = 1; t < KILN_DTYPES; t++) {
		bool good = true;

		for (int round = 0; round < 400 && good; round++) {
			size_t n = rng() % (N - 4) + 1;
			uint32_t bytes = kiln_dtype_bytes(t);

			fill(x, N);
			for (unsigned int i = 0; i < n * bytes; i++) {
				if (round & 1)
					((uint8_t *)x)[i] = rng();
			}
			memset(out, 0xaa, sizeof(out));
			memset(want, 0xaa, sizeof(want));
			ops->load(out, x, n, t);
			kiln_ops_ref.load(want, x, n, t);
			good &= same(out, want, N + 8);

			fill(x, N);
			memset(out, 0xaa, sizeof(out));
			memset(want, 0xaa, sizeof(want));
			ops->store(out, x, n, t);
			kiln_ops_ref.store(want, x, n, t);
			good &= same_bytes(out, want, sizeof(out));
		}
		ok(good, "%s: load and store %s", ops->name, names[t]);
	}
}

/* The 8-bit types: by a search for the nearest of all values, the even one of two. */
static void test_float8(void)
{
	static const struct { enum kiln_dtype type; int fraction, bias; } types[] = {
		{ KILN_F8E4M3, 3, 7 }, { KILN_F8E5M2, 2, 15 },
	};

	for (unsigned int t = 0; t < 2; t++) {
		int fraction = types[t].fraction, codes = 128 - (1 << fraction);
		double value[129];
		bool good = true;

		for (int code = 0; code <= codes; code++) {	/* the last: infinity, as if finite */
			int exponent = code >> fraction, low = code & ((1 << fraction) - 1);
			uint8_t byte = code;
			float x = kiln_load_one(&byte, types[t].type);

			value[code] = exponent ? ldexp((1 << fraction) + low,
						       exponent - types[t].bias - fraction) :
				      ldexp(low, 1 - types[t].bias - fraction);
			good &= code == codes ? x == INFINITY : x == value[code];
		}
		for (int round = 0; round < 300000 && good; round++) {
			float x = round & 1 ? bits_float((rng() & 0x1fffffff) | 0x30000000) :
				  (float)(value[rng() % codes] + value[rng() % codes]) / 2;
			uint8_t byte = 0x55;
			int best = 0;

			x = bits_float(float_bits(x) & 0x7fffffff);
			for (int code = 1; code <= codes; code++) {
				double d = fabs(value[code] - x), least = fabs(value[best] - x);

				if (d < least || (d == least && !(code & 1)))
					best = code;
			}
			kiln_store_one(&byte, -x, types[t].type);
			good = byte == (x != x ? codes | 1 << (fraction - 1) : 0x80 | best);
			if (!good)
				printf("# %a is %02x, wanted %02x\n", -x, byte, 0x80 | best);
		}
		ok(good, "fp8 with %d bits of fraction is the nearest", fraction);
	}
}

static void test_elementwise(const struct kiln_ops *ops)
{
	for (int op = 0; op < KILN_ALU_BITWISE; op++) {
		bool good = true;

		for (int round = 0; round < 300 && good; round++) {
			size_t n = rng() % N + 1;
			float s = bits_float(any_bits());
			bool reverse = rng() & 1;

			fill(x, N);
			fill(y, N);
			for (size_t i = 0; i < n; i++) {
				if (rng() % 8 == 0)
					y[i] = x[i];
			}
			memset(out, 0xaa, sizeof(out));
			memset(want, 0xaa, sizeof(want));
			ops->binary(op, out, x, y, n);
			kiln_ops_ref.binary(op, want, x, y, n);
			good &= same(out, want, N + 8);
			ops->binary_scalar(op, out, x, s, reverse, n);
			kiln_ops_ref.binary_scalar(op, want, x, s, reverse, n);
			good &= same(out, want, N + 8);
		}
		ok(good, "%s: alu %d", ops->name, op);
	}
	for (int func = 0; func < KILN_ACTS; func++) {
		bool good = true;

		for (int round = 0; round < 300 && good; round++) {
			size_t n = rng() % N + 1;
			float scale = round % 3 ? 1 : bits_float(any_bits());
			float bias = round % 4 ? 0 : bits_float(any_bits());

			fill(x, N);
			memset(out, 0xaa, sizeof(out));
			memset(want, 0xaa, sizeof(want));
			ops->activation(func, out, x, scale, bias, n);
			kiln_ops_ref.activation(func, want, x, scale, bias, n);
			good &= same(out, want, N + 8);
		}
		ok(good, "%s: activation %d", ops->name, func);
	}
	bool reciprocal = true, select = true;

	for (int round = 0; round < 300; round++) {
		size_t n = rng() % N + 1;
		float s = bits_float(any_bits());

		fill(x, N);
		fill(y, N);
		memset(out, 0xaa, sizeof(out));
		memset(want, 0xaa, sizeof(want));
		ops->reciprocal(out, x, n);
		kiln_ops_ref.reciprocal(want, x, n);
		reciprocal &= same(out, want, N + 8);
		ops->select(out, x, y, s, n);
		kiln_ops_ref.select(want, x, y, s, n);
		select &= same(out, want, N + 8);
	}
	ok(reciprocal, "%s: reciprocal", ops->name);
	ok(select, "%s: select", ops->name);
}

static void test_reduce(const struct kiln_ops *ops)
{
	static const enum kiln_alu alus[] = { KILN_ALU_ADD, KILN_ALU_MULTIPLY, KILN_ALU_MAX,
					      KILN_ALU_MIN };

	for (unsigned int a = 0; a < 4; a++) {
		bool good = true;

		for (int round = 0; round < 500 && good; round++) {
			size_t n = rng() % (round & 1 ? 80 : N) + 1;
			float lane[KILN_LANES], expect[KILN_LANES];

			kiln_reduce_start(alus[a], lane);
			kiln_reduce_start(alus[a], expect);
			for (size_t i = 0; i < n; i++)
				x[i] = round % 3 ? rng_float() : bits_float(any_bits());
			ops->reduce(alus[a], lane, x, n);
			kiln_ops_ref.reduce(alus[a], expect, x, n);
			good &= same(lane, expect, KILN_LANES);
		}
		ok(good, "%s: reduce %d", ops->name, alus[a]);
	}
}

/* A bf16 value: about one in three special, exponents that make denormal products. */
static uint16_t any_bf16(int kind)
{
	switch (kind) {
	case 0:
		return specials[rng() % SPECIALS] >> 16;
	case 1:	/* products around 2^-126 */
		return (rng() & 0x80ff) | (rng() % 4 ? 0x1f80 : 0x2080);
	case 2:
		return rng();
	default:
		return to_bf16(rng_float());
	}
}

static uint32_t pack_a[130 * 144], pack_b[130 * 512], other_a[128 * 144];
static float c[128 * 520], d[128 * 520];

static void test_matmul(const struct kiln_ops *ops, bool bf16)
{
	bool good = true;

	for (int round = 0; round < 60 && good; round++) {
		uint32_t k = rng() % 128 + 1, m = rng() % 128 + 1, n = rng() % 200 + 1;
		uint32_t rows = bf16 ? (k + 1) / 2 : k, pitch = n + rng() % 8;
		int kind = round % 5;
		struct kiln_matmul mm = { .rows = rows, .m = m, .n = n, .pitch = pitch,
					  .accumulate = round & 1 };

		if (kind != 4)
			k = k % 12 + 1, rows = bf16 ? (k + 1) / 2 : k, mm.rows = rows;
		mm.b_step = KILN_PANEL;
		mm.b_pitch = (rows + 1) * KILN_PANEL;
		if (round % 3 == 0) {	/* rows as they come */
			mm.b_step = n + KILN_PANEL;
			mm.b_pitch = KILN_PANEL;
		}
		memset(pack_a, 0, sizeof(pack_a));
		memset(other_a, 0, sizeof(other_a));
		for (uint32_t i = 0; i < rows; i++) {
			for (uint32_t j = 0; j < m; j++) {
				uint32_t v = bf16 ? any_bf16(kind) | (uint32_t)any_bf16(kind) << 16 :
					     kind < 3 ? any_bits() : float_bits(rng_float());

				pack_a[j / ops->mr * (rows + 2) * ops->mr + i * ops->mr + j % ops->mr] = v;
				other_a[j / kiln_ops_ref.mr * kiln_ops_ref.mr * rows +
					i * kiln_ops_ref.mr + j % kiln_ops_ref.mr] = v;
			}
			for (uint32_t j = 0; j < n; j++) {
				uint32_t v = bf16 ? any_bf16(kind) | (uint32_t)any_bf16(kind) << 16 :
					     kind < 3 ? any_bits() : float_bits(rng_float());

				pack_b[j / KILN_PANEL * mm.b_pitch + i * mm.b_step +
				       j % KILN_PANEL] = v;
			}
		}
		for (uint32_t i = 0; i < sizeof(c) / 4; i++)
			c[i] = d[i] = kind == 1 ? bits_float(rng() & 0x81ffffff) :
				      bits_float(any_bits());
		mm.a = pack_a;
		mm.a_pitch = (rows + 2) * ops->mr;
		mm.b = pack_b;
		mm.c = c;
		(bf16 ? ops->matmul_bf16 : ops->matmul_f32)(&mm);
		mm.a = other_a;
		mm.a_pitch = rows * kiln_ops_ref.mr;
		mm.c = d;
		(bf16 ? kiln_ops_ref.matmul_bf16 : kiln_ops_ref.matmul_f32)(&mm);
		good &= same_bytes(c, d, sizeof(c));
		if (!good)
			printf("# k %u m %u n %u kind %d\n", k, m, n, kind);
	}
	ok(good, "%s: matmul %s", ops->name, bf16 ? "bf16" : "f32");
}

/* Rows as they lie give the bits of packed ones. */
static void test_matvec(const struct kiln_ops *ops)
{
	static uint16_t b[128 * 4100];
	static float one[4100], two[4100];
	static uint32_t panels[64 * 4128];
	bool good = true;

	for (int round = 0; ops->matvec_bf16 && round < 200 && good; round++) {
		uint32_t k = rng() % 128 + 1, n = rng() % (round % 8 ? 300 : 4096) + 1;
		uint32_t rows = (k + 1) / 2;
		int kind = round % 5;
		struct kiln_matvec mv = { .a = pack_a, .a_step = 3, .b = (const uint8_t *)b,
					  .pitch = (n + rng() % 4) * 2, .rows = k, .n = n,
					  .c = one, .accumulate = round & 1 };
		struct kiln_matmul mm = { .a = other_a, .b = panels, .a_pitch = rows * kiln_ops_ref.mr,
					  .b_pitch = rows * KILN_PANEL, .b_step = KILN_PANEL, .rows = rows, .m = 1,
					  .n = n, .c = two, .pitch = n, .accumulate = round & 1 };

		for (uint32_t i = 0; i < rows; i++)
			pack_a[i * 3] = other_a[i * kiln_ops_ref.mr] =
				any_bf16(kind) | (2 * i + 1 < k ? (uint32_t)any_bf16(kind) << 16 : 0);
		for (uint32_t i = 0; i < k; i++)
			for (uint32_t j = 0; j < n; j++)
				b[i * mv.pitch / 2 + j] = any_bf16(kind);
		for (uint32_t i = 0; i < rows; i++)
			for (uint32_t j = 0; j < n; j++)
				panels[j / KILN_PANEL * mm.b_pitch + i * KILN_PANEL + j % KILN_PANEL] =
					b[2 * i * mv.pitch / 2 + j] |
					(2 * i + 1 < k ? (uint32_t)b[(2 * i + 1) * mv.pitch / 2 + j] << 16 : 0);
		for (uint32_t j = 0; j < sizeof(one) / sizeof(*one); j++)
			one[j] = two[j] = bits_float(any_bits());
		ops->matvec_bf16(&mv);
		kiln_ops_ref.matmul_bf16(&mm);
		good &= same_bytes(one, two, sizeof(one));
		if (!good)
			printf("# k %u n %u kind %d\n", k, n, kind);
	}
	ok(good, "%s: matrix times vector", ops->name);
}

/* A few rows of C from a matrix as it lies: the bits of a packed one. */
static void test_few(const struct kiln_ops *ops)
{
	static uint16_t b[128 * 524];
	static float one[KILN_FEW * 524], two[KILN_FEW * 524], wide[524];
	static uint32_t panels[17 * 128 * KILN_PANEL];
	bool good = true;

	for (int round = 0; ops->matmul_few && round < 400 && good; round++) {
		uint32_t k = rng() % 128 + 1, n = rng() % 512 + 1, m = rng() % KILN_FEW + 1;
		bool bf16 = round & 1;
		uint32_t rows = bf16 ? (k + 1) / 2 : k, pitch = n + rng() % 4, c_pitch = n + rng() % 8;
		int kind = round % 5;
		struct kiln_few few = { .a = pack_a, .a_pitch = (rows + 1) * ops->mr,
					.b = (const uint8_t *)b, .pitch = pitch * 2,
					.dtype = bf16 ? KILN_BF16 : KILN_F16,
					.rows = k, .m = m, .n = n, .c = one, .c_pitch = c_pitch,
					.accumulate = round & 2 };
		struct kiln_matmul mm = { .a = other_a, .b = panels, .a_pitch = rows * kiln_ops_ref.mr,
					  .b_pitch = rows * KILN_PANEL, .b_step = KILN_PANEL, .rows = rows,
					  .m = m, .n = n, .c = two, .pitch = c_pitch,
					  .accumulate = round & 2 };

		for (uint32_t i = 0; i < rows; i++)
			for (uint32_t j = 0; j < m; j++) {
				uint32_t v = bf16 ? any_bf16(kind) :
					     kind < 3 ? any_bits() : float_bits(rng_float());

				if (bf16 && 2 * i + 1 < k)
					v |= (uint32_t)any_bf16(kind) << 16;
				pack_a[j / ops->mr * few.a_pitch + i * ops->mr + j % ops->mr] = v;
				other_a[j / kiln_ops_ref.mr * mm.a_pitch + i * kiln_ops_ref.mr +
					j % kiln_ops_ref.mr] = v;
			}
		for (uint32_t i = 0; i < k; i++)
			for (uint32_t j = 0; j < n; j++)
				b[i * pitch + j] = bf16 ? any_bf16(kind) :
					kind < 3 ? rng() : 0x3000 | (rng() & 0x8fff);
		for (uint32_t i = 0; i < rows; i++) {
			if (!bf16)
				kiln_ops_ref.load(wide, &b[i * pitch], n, KILN_F16);
			for (uint32_t j = 0; j < n; j++)
				panels[j / KILN_PANEL * mm.b_pitch + i * KILN_PANEL + j % KILN_PANEL] =
					!bf16 ? float_bits(wide[j]) : b[2 * i * pitch + j] |
					(2 * i + 1 < k ? (uint32_t)b[(2 * i + 1) * pitch + j] << 16 : 0);
		}
		for (uint32_t j = 0; j < sizeof(one) / sizeof(*one); j++)
			one[j] = two[j] = bits_float(any_bits());
		ops->matmul_few(&few);
		(bf16 ? kiln_ops_ref.matmul_bf16 : kiln_ops_ref.matmul_f32)(&mm);
		good &= same_bytes(one, two, sizeof(one));
		if (!good)
			printf("# k %u m %u n %u kind %d\n", k, m, n, kind);
	}
	ok(good, "%s: a few rows times a matrix", ops->name);
}

static void test_moves(const struct kiln_ops *ops)
{
	static uint8_t src[128 * 520], dst[128 * 520], expect[128 * 520];
	bool good = true;

	for (int round = 0; round < 200 && good; round++) {
		unsigned int rows = rng() % 128 + 1, cols = rng() % 128 + 1;
		unsigned int esize = round & 1 ? 2 : 4;

		for (size_t i = 0; i < sizeof(src); i++)
			src[i] = rng();
		memset(dst, 0, sizeof(dst));
		memset(expect, 0, sizeof(expect));
		(esize == 2 ? ops->transpose16 : ops->transpose32)(dst, 516, src, 512, rows, cols);
		for (unsigned int i = 0; i < rows; i++) {
			for (unsigned int j = 0; j < cols; j++)
				memcpy(expect + j * 516 + i * esize, src + i * 512 + j * esize, esize);
		}
		good &= same_bytes(dst, expect, sizeof(dst));
	}
	ok(good, "%s: transpose", ops->name);

	good = true;
	for (int round = 0; round < 200 && good; round++) {
		unsigned int n = rng() % 200 + 1;
		unsigned int width = round % 3 == 0 ? KILN_PANEL : round % 3 == 1 ? 12 : ops->mr;

		for (size_t i = 0; i < sizeof(src); i++)
			src[i] = rng();
		memset(dst, 0, sizeof(dst));
		memset(expect, 0, sizeof(expect));
		ops->pack_pairs((uint32_t *)dst, 40, width, (uint16_t *)src,
				(uint16_t *)(src + 1024), n);
		kiln_ops_ref.pack_pairs((uint32_t *)expect, 40, width, (uint16_t *)src,
					(uint16_t *)(src + 1024), n);
		good &= same_bytes(dst, expect, sizeof(dst));
	}
	ok(good, "%s: pack_pairs", ops->name);
}

/* The reference itself: exp against libm in double. */
static void test_exp(void)
{
	double worst = 0;
	float at = 0;

	for (uint64_t bits = 0; bits < 1ull << 32; bits += 997) {
		float v = bits_float(bits), r;
		double exact;
		int exponent;

		if (!(v > -87.3f && v < 88.7f))
			continue;
		kiln_ops_ref.activation(KILN_ACT_EXP, &r, &v, 1, -0.0f, 1);
		exact = exp((double)v);
		frexp(exact, &exponent);
		if (fabs(r - exact) / ldexp(1, exponent - 24) > worst) {
			worst = fabs(r - exact) / ldexp(1, exponent - 24);
			at = v;
		}
	}
	ok(worst < 1.0, "exp is off by %.3f ulp at most (at %a)", worst, at);

	static const struct { float x, y; } points[] = {
		{ 0, 1 }, { -INFINITY, 0 }, { INFINITY, INFINITY }, { -3e38f, 0 },
		{ 3e38f, INFINITY }, { 1e-40f, 1 }, { -104, 0 }, { 89, INFINITY },
	};
	bool good = true;

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		float r;

		kiln_ops_ref.activation(KILN_ACT_EXP, &r, &points[i].x, 1, 0, 1);
		good &= r == points[i].y;
	}
	ok(good, "exp of zero, infinities and beyond");
}

static void test_stores(void)
{
	static const struct { enum kiln_dtype dtype; float x; uint32_t bits; } points[] = {
		{ KILN_BF16, 1.00390625f, 0x3f80 },	/* half way: to even, down */
		{ KILN_BF16, 1.01171875f, 0x3f82 },	/* half way: to even, up */
		{ KILN_BF16, 3.4e38f, 0x7f80 },
		{ KILN_BF16, 1e-40f, 0x0001 },
		{ KILN_BF16, -NAN, 0x7fc0 },
		{ KILN_F32, -NAN, 0x7fc00000 },
		{ KILN_I32, 2.5f, 2 }, { KILN_I32, 3.5f, 4 }, { KILN_I32, -2.5f, (uint32_t)-2 },
		{ KILN_I32, 3e9f, INT32_MAX }, { KILN_I32, -3e9f, 0x80000000 },
		{ KILN_I32, NAN, 0 },
		{ KILN_U32, -1, 0 }, { KILN_U32, 3e9f, 3000000000u },
		{ KILN_U32, 5e9f, UINT32_MAX }, { KILN_U32, NAN, 0 },
		{ KILN_U8, 254.5f, 254 }, { KILN_U8, 255.5f, 255 }, { KILN_U8, -3, 0 },
		{ KILN_U8, 1e10f, 255 }, { KILN_U8, NAN, 0 },
		{ KILN_I8, -128.5f, 0x80 }, { KILN_I8, 127.5f, 0x7f }, { KILN_I8, -2.5f, 0xfe },
		{ KILN_I8, NAN, 0 }, { KILN_I16, 40000, 0x7fff }, { KILN_I16, -1e9f, 0x8000 },
		{ KILN_U16, 65535.5f, 0xffff }, { KILN_U16, 2.5f, 2 }, { KILN_U16, -1, 0 },
		{ KILN_F16, 1, 0x3c00 }, { KILN_F16, 65519, 0x7bff }, { KILN_F16, 65520, 0x7c00 },
		{ KILN_F16, -0x1p-24f, 0x8001 }, { KILN_F16, 0x1p-25f, 0 }, { KILN_F16, -NAN, 0x7e00 },
		{ KILN_TF32, 1.00048828125f, 0x3f800000 },	/* half way: to even, down */
		{ KILN_TF32, 1.00146484375f, 0x3f804000 }, { KILN_TF32, 3.4019e38f, 0x7f7fe000 },
		{ KILN_TF32, 3.4021e38f, 0x7f800000 }, { KILN_TF32, -NAN, 0x7fc00000 },
		{ KILN_F8E4M3, 240, 0x77 }, { KILN_F8E4M3, 247.9f, 0x77 }, { KILN_F8E4M3, 248, 0x78 },
		{ KILN_F8E4M3, -0x1p-9f, 0x81 }, { KILN_F8E4M3, 0x1p-10f, 0 },
		{ KILN_F8E4M3, -INFINITY, 0xf8 }, { KILN_F8E4M3, -NAN, 0x7c },
		{ KILN_F8E5M2, 57344, 0x7b }, { KILN_F8E5M2, 61440, 0x7c },
		{ KILN_F8E5M2, -0x1p-16f, 0x81 }, { KILN_F8E5M2, NAN, 0x7e },
	};
	bool good = true;

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		uint32_t bits = 0;

		kiln_store_one(&bits, points[i].x, points[i].dtype);
		if (bits != points[i].bits) {
			printf("# %g as %d: %x\n", points[i].x, points[i].dtype, bits);
			good = false;
		}
	}
	ok(good, "conversions round to even, saturate, and know one NaN");
}

/* POW against the C library's in double. */
static void test_pow(void)
{
	double worst = 0;
	bool special = true;

	for (int round = 0; round < 2000000; round++) {
		float a = round % 4 ? fabsf(rng_float() * 4) : bits_float(any_bits());
		float b = round % 3 == 0 ? (float)((int)(rng() % 40) - 20) :
			  round % 3 == 1 ? rng_float() * 40 : bits_float(any_bits());
		float r = kiln_alu_one(KILN_ALU_POW, a, b);
		double exact = pow(a, b), unit;
		int exponent;

		if (exact != exact || isinf((float)exact) || (float)exact == 0 || isinf(b) ||
		    isnan(a) || isnan(b)) {
			if (quiet_bits(float_bits(r)) != quiet_bits(float_bits((float)exact)) &&
			    !(r != r && exact != exact)) {
				printf("# pow(%a, %a) = %a, not %a\n", a, b, r, exact);
				special = false;
			}
			continue;
		}
		frexp(exact, &exponent);
		unit = ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
		if (fabs(r - exact) / unit > worst)
			worst = fabs(r - exact) / unit;
	}
	ok(worst < 0.5001, "pow is off by %.7f ulp at most", worst);
	ok(special, "pow of zeros, infinities, NaN and beyond the ends");
}

int main(void)
{
	rng_start();
	test_pow();
	test_exp();
	test_stores();
	test_float8();
	for (int level = 0; level < KILN_OPS_LEVELS; level++) {
		const struct kiln_ops *ops = kiln_ops_get(level);

		if (!ops) {
			ok(true, "level %d # SKIP not on this host", level);
			continue;
		}
		test_conversions(ops);
		test_elementwise(ops);
		test_reduce(ops);
		test_matmul(ops, true);
		test_matmul(ops, false);
		test_matvec(ops);
		test_few(ops);
		test_moves(ops);
	}
	return done();
}
