// SPDX-License-Identifier: MIT
/*
 * The definition of each tile kernel: plain C, slow, to be read. What a vector
 * path gives for the same input must be the same to the bit.
 */
#include <math.h>
#include <string.h>

#include "engine/ops.h"

#define MR	8

static float from_bits(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

static void load(float *dst, const void *src, size_t n, enum kiln_dtype dtype)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = kiln_load_one((const uint8_t *)src + i * kiln_dtype_bytes(dtype),
				       dtype);
}

static void store(void *dst, const float *src, size_t n, enum kiln_dtype dtype)
{
	for (size_t i = 0; i < n; i++)
		kiln_store_one((uint8_t *)dst + i * kiln_dtype_bytes(dtype), src[i], dtype);
}

static void binary(enum kiln_alu op, float *dst, const float *a, const float *b,
		   size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = kiln_alu_one(op, a[i], b[i]);
}

static void binary_scalar(enum kiln_alu op, float *dst, const float *a, float s,
			  bool reverse, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = reverse ? kiln_alu_one(op, s, a[i]) : kiln_alu_one(op, a[i], s);
}

/* What elementary.h is written in, for single values. */
typedef float F;
typedef uint32_t U;
typedef bool M;
#define K(c)		((float)(c))
#define KU(c)		((uint32_t)(c))

static F fma3(F a, F b, F c)
{
	return fmaf(a, b, c);
}

static F root(F x)
{
	return sqrtf(x);
}

static F whole(F x)
{
	return rintf(x);
}

static U to_word(F x)
{
	return x != x ? 0x80000000 : (uint32_t)(int32_t)x;
}

static F to_value(U u)
{
	return (float)(int32_t)u;
}

static U bits(F x)
{
	uint32_t u;

	memcpy(&u, &x, sizeof(u));
	return u;
}

static F real(U u)
{
	return from_bits(u);
}

static M less(F a, F b)
{
	return a < b;
}

static M nan_in(F x)
{
	return x != x;
}

static M odd(U u)
{
	return u & 1;
}

static F pick(M m, F a, F b)
{
	return m ? a : b;
}

static F clamp(F x, float low, float high)
{
	return x < low ? low : x > high ? high : x;
}

/* In two factors, since 2^n may be no fp32; the first product is exact. */
static F scale(F x, F n)
{
	int32_t all = (int32_t)to_word(n), half = all >> 1;

	if (x != x)
		return x;
	return x * from_bits((uint32_t)(half + 127) << 23) *
	       from_bits((uint32_t)(all - half + 127) << 23);
}

#include "engine/elementary.h"

static void activation(enum kiln_activation func, float *dst, const float *src,
		       float scale, float bias, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = act(func, fmaf(src[i], scale, bias));
}

static void reciprocal(float *dst, const float *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = 1 / src[i];
}

static void choose(float *dst, const float *predicate, const float *a, float s,
		   size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = predicate[i] != 0 ? a[i] : s;
}

static void reduce(enum kiln_alu op, float lane[KILN_LANES], const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		lane[i % KILN_LANES] = kiln_alu_one(op, lane[i % KILN_LANES], x[i]);
}

static void pack_pairs(uint32_t *dst, size_t pitch, unsigned int width,
		       const uint16_t *even, const uint16_t *odd, size_t n)
{
	for (size_t i = 0; i < (n + width - 1) / width * width; i++)
		dst[i / width * pitch + i % width] =
			i < n ? even[i] | (uint32_t)odd[i] << 16 : 0;
}

static float flush(float x)
{
	return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

/*
 * a * b + c, rounded once, with denormals as zero on both sides. A result is a
 * denormal if, rounded to 24 bits as though exponents had no end, it is less
 * than 2^-126; what rounds up to 2^-126 only because denormals have fewer bits
 * is one too.
 */
static float fma_flush(float a, float b, float c)
{
	float r;

	a = flush(a);
	b = flush(b);
	c = flush(c);
	r = fmaf(a, b, c);
	if (fabsf(r) == 0x1p-126f) {
		/* Scaled up, nothing here is near the ends: so small a result has small terms. */
		if (fabsf(a) < fabsf(b))
			a *= 0x1p64f;
		else
			b *= 0x1p64f;
		if (fabsf(fmaf(a, b, c * 0x1p64f)) < 0x1p-62f)
			return copysignf(0, r);
	}
	return flush(r);
}

static void matmul_bf16(const struct kiln_matmul *mm)
{
	for (uint32_t m = 0; m < mm->m; m++) {
		const uint32_t *a = mm->a + m / MR * mm->a_pitch + m % MR;

		for (uint32_t n = 0; n < mm->n; n++) {
			const uint32_t *b = mm->b + n / KILN_PANEL * mm->b_pitch +
					    n % KILN_PANEL;
			float *c = mm->c + m * mm->pitch + n;
			float sum = mm->accumulate ? *c : 0;

			for (uint32_t k = 0; k < mm->rows; k++) {
				uint32_t x = a[k * MR], y = b[k * mm->b_step];

				sum = fma_flush(from_bits(x & 0xffff0000),
						from_bits(y & 0xffff0000), sum);
				sum = fma_flush(from_bits(x << 16), from_bits(y << 16), sum);
			}
			*c = sum != sum ? NAN : sum;
		}
	}
}

static void matvec_bf16(const struct kiln_matvec *mv)
{
	for (uint32_t n = 0; n < mv->n; n++) {
		float sum = mv->accumulate ? mv->c[n] : 0;

		for (uint32_t k = 0; k < mv->rows; k += 2) {
			uint32_t x = mv->a[k / 2 * mv->a_step];
			uint16_t even, odd = 0;

			memcpy(&even, mv->b + k * mv->pitch + n * sizeof(even), sizeof(even));
			if (k + 1 < mv->rows)
				memcpy(&odd, mv->b + (k + 1) * mv->pitch + n * sizeof(odd),
				       sizeof(odd));
			sum = fma_flush(from_bits(x & 0xffff0000),
					from_bits((uint32_t)odd << 16), sum);
			sum = fma_flush(from_bits(x << 16), from_bits((uint32_t)even << 16), sum);
		}
		mv->c[n] = sum != sum ? NAN : sum;
	}
}

static void matmul_few(const struct kiln_few *few)
{
	bool bf16 = few->dtype == KILN_BF16;

	for (uint32_t m = 0; m < few->m; m++) {
		const uint32_t *a = few->a + m / MR * few->a_pitch + m % MR;

		for (uint32_t n = 0; n < few->n; n++) {
			float *c = few->c + m * few->c_pitch + n;
			float sum = few->accumulate ? *c : 0;

			for (uint32_t k = 0; k < few->rows; k += 1 + bf16) {
				const uint8_t *b = few->b + k * few->pitch + n * sizeof(uint16_t);
				uint32_t x = a[k / (1 + bf16) * MR];
				float y = kiln_load_one(b, few->dtype), odd = 0;

				if (!bf16) {
					sum = fmaf(from_bits(x), y, sum);
					continue;
				}
				if (k + 1 < few->rows)
					odd = kiln_load_one(b + few->pitch, KILN_BF16);
				sum = fma_flush(from_bits(x & 0xffff0000), odd, sum);
				sum = fma_flush(from_bits(x << 16), y, sum);
			}
			*c = sum != sum ? NAN : sum;
		}
	}
}

static void matmul_f32(const struct kiln_matmul *mm)
{
	for (uint32_t m = 0; m < mm->m; m++) {
		const uint32_t *a = mm->a + m / MR * mm->a_pitch + m % MR;

		for (uint32_t n = 0; n < mm->n; n++) {
			const uint32_t *b = mm->b + n / KILN_PANEL * mm->b_pitch +
					    n % KILN_PANEL;
			float *c = mm->c + m * mm->pitch + n;
			float sum = mm->accumulate ? *c : 0;

			for (uint32_t k = 0; k < mm->rows; k++)
				sum = fmaf(from_bits(a[k * MR]),
					   from_bits(b[k * mm->b_step]), sum);
			*c = sum != sum ? NAN : sum;
		}
	}
}

static void transpose16(void *dst, size_t dst_pitch, const void *src,
			size_t src_pitch, unsigned int rows, unsigned int cols)
{
	for (unsigned int i = 0; i < rows; i++) {
		for (unsigned int j = 0; j < cols; j++)
			memcpy((uint8_t *)dst + j * dst_pitch + i * 2,
			       (const uint8_t *)src + i * src_pitch + j * 2, 2);
	}
}

static void transpose32(void *dst, size_t dst_pitch, const void *src,
			size_t src_pitch, unsigned int rows, unsigned int cols)
{
	for (unsigned int i = 0; i < rows; i++) {
		for (unsigned int j = 0; j < cols; j++)
			memcpy((uint8_t *)dst + j * dst_pitch + i * 4,
			       (const uint8_t *)src + i * src_pitch + j * 4, 4);
	}
}

const struct kiln_ops kiln_ops_ref = {
	.name = "ref",
	.mr = MR,
	.load = load,
	.store = store,
	.binary = binary,
	.binary_scalar = binary_scalar,
	.activation = activation,
	.reciprocal = reciprocal,
	.select = choose,
	.reduce = reduce,
	.pack_pairs = pack_pairs,
	.matmul_bf16 = matmul_bf16,
	.matmul_f32 = matmul_f32,
	.matvec_bf16 = matvec_bf16,
	.matmul_few = matmul_few,
	.transpose16 = transpose16,
	.transpose32 = transpose32,
};
