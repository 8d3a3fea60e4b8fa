// SPDX-License-Identifier: MIT
/*
 * What all paths share: which one to take, and values one at a time.
 */
#include <math.h>
#include <string.h>

#include "engine/ops.h"

const struct kiln_ops *kiln_ops_get(enum kiln_ops_level level)
{
	switch (level) {
	case KILN_OPS_REF:
		return &kiln_ops_ref;
#if defined(__x86_64__) && !defined(KILN_NO_VECTOR)
	case KILN_OPS_AVX2:
		if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
			return &kiln_ops_avx2;
		return NULL;
	case KILN_OPS_AVX512:
		if (__builtin_cpu_supports("avx512f") &&
		    __builtin_cpu_supports("avx512bw") &&
		    __builtin_cpu_supports("avx512vl") &&
		    __builtin_cpu_supports("avx512dq") &&
		    __builtin_cpu_supports("avx512bf16") &&
		    __builtin_cpu_supports("fma"))
			return &kiln_ops_avx512;
		return NULL;
#endif
	default:
		return NULL;
	}
}

enum kiln_ops_level kiln_ops_best(void)
{
	for (int level = KILN_OPS_LEVELS - 1; level > 0; level--) {
		if (kiln_ops_get(level))
			return level;
	}
	return KILN_OPS_REF;
}

static float from_bits(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

static uint32_t to_bits(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

/*
 * The floating-point types but fp32: a sign, exponent bits, fraction bits, at the
 * upper end of the element. All have denormals, infinities and NaN as IEEE 754.
 */
struct format {
	int exponent, fraction;
	int unused;		/* bits below */
};

static const struct format formats[KILN_DTYPES] = {
	[KILN_BF16] = { 8, 7, 0 },
	[KILN_F16] = { 5, 10, 0 },
	[KILN_TF32] = { 8, 10, 13 },
	[KILN_F8E4M3] = { 4, 3, 0 },
	[KILN_F8E5M2] = { 5, 2, 0 },
};

static float decode(uint32_t code, const struct format *f)
{
	int most = (1 << f->exponent) - 1, bias = most >> 1;
	int exponent = (int)(code >> f->fraction) & most;
	int32_t fraction = code & ((1u << f->fraction) - 1);
	float x;

	if (exponent == most)
		x = fraction ? NAN : INFINITY;
	else if (exponent)
		x = ldexpf((float)(fraction + (1 << f->fraction)), exponent - bias - f->fraction);
	else
		x = ldexpf((float)fraction, 1 - bias - f->fraction);
	return code >> (f->exponent + f->fraction) ? -x : x;
}

static uint32_t encode(float x, const struct format *f)
{
	uint32_t infinity = ((1u << f->exponent) - 1) << f->fraction;
	uint32_t sign = (to_bits(x) >> 31) << (f->exponent + f->fraction), code;
	int least = 2 - (1 << (f->exponent - 1)), exponent = least;

	if (x != x)
		return infinity | 1u << (f->fraction - 1);
	x = fabsf(x);
	if (x == INFINITY)
		return sign | infinity;
	if (x >= ldexpf(1, least))
		exponent = ilogbf(x);
	/* In units of the last place. What rounds up to the next power of two carries. */
	code = (uint32_t)rintf(ldexpf(x, f->fraction - exponent)) +
	       ((uint32_t)(exponent - least) << f->fraction);
	return sign | (code > infinity ? infinity : code);
}

static int32_t saturate(float x, float low, float high)
{
	return x != x ? 0 : x <= low ? (int32_t)low : x >= high ? (int32_t)high :
	       (int32_t)rintf(x);
}

float kiln_load_one(const void *src, enum kiln_dtype dtype)
{
	uint32_t u32 = 0;

	if (dtype == KILN_F32) {
		memcpy(&u32, src, sizeof(u32));
		return from_bits(u32);
	}
	memcpy(&u32, src, kiln_dtype_bytes(dtype));
	switch (dtype) {
	case KILN_BF16:
		return from_bits(u32 << 16);
	case KILN_F16:
	case KILN_F8E4M3:
	case KILN_F8E5M2:
		return decode(u32, &formats[dtype]);
	case KILN_TF32:		/* what DMA brought may not be one yet */
		return decode(encode(from_bits(u32), &formats[dtype]), &formats[dtype]);
	case KILN_I8:
		return (int8_t)u32;
	case KILN_I16:
		return (int16_t)u32;
	case KILN_I32:
		return (float)(int32_t)u32;
	default:
		return (float)u32;
	}
}

void kiln_store_one(void *dst, float x, enum kiln_dtype dtype)
{
	uint32_t u32 = to_bits(x);

	if (dtype == KILN_F32) {
		u32 = x != x ? 0x7fc00000 : u32;
		memcpy(dst, &u32, sizeof(u32));
		return;
	}
	switch (dtype) {
	case KILN_BF16:
		/* to nearest even: half a unit, less one if the unit is even */
		u32 = x != x ? 0x7fc0 : (u32 + 0x7fff + (u32 >> 16 & 1)) >> 16;
		break;
	case KILN_F16:
	case KILN_TF32:
	case KILN_F8E4M3:
	case KILN_F8E5M2:
		u32 = encode(x, &formats[dtype]) << formats[dtype].unused;
		break;
	case KILN_I8:
		u32 = (uint32_t)saturate(x, INT8_MIN, INT8_MAX);
		break;
	case KILN_U8:
		u32 = (uint32_t)saturate(x, 0, UINT8_MAX);
		break;
	case KILN_I16:
		u32 = (uint32_t)saturate(x, INT16_MIN, INT16_MAX);
		break;
	case KILN_U16:
		u32 = (uint32_t)saturate(x, 0, UINT16_MAX);
		break;
	case KILN_I32:
		u32 = x != x ? 0 : x >= 0x1p31f ? INT32_MAX :
		      x < -0x1p31f ? (uint32_t)INT32_MIN : (uint32_t)(int32_t)rintf(x);
		break;
	case KILN_U32:
		u32 = !(x > 0) ? 0 : x >= 0x1p32f ? UINT32_MAX : (uint32_t)rintf(x);
		break;
	default:
		break;
	}
	memcpy(dst, &u32, kiln_dtype_bytes(dtype));
}

/*
 * The significand with d bits below those that are kept: the word's upper d are
 * added, and the sum is cut off. What lies below the least normal number is
 * shifted down to its place first; with more than 32 bits to lose it is 0.
 */
static uint32_t encode_random(float x, uint32_t word, const struct format *f)
{
	uint32_t infinity = ((1u << f->exponent) - 1) << f->fraction;
	uint32_t u = to_bits(x), sign = (u >> 31) << (f->exponent + f->fraction);
	int least = 2 - (1 << (f->exponent - 1));	/* exponent of a normal number */
	int exponent = (int)(u >> 23 & 0xff) - 127, drop = 23 - f->fraction;
	uint64_t code;

	if (x != x || isinf(x))
		return encode(x, f);
	u &= 0x7fffffff;
	if (exponent < -126)
		exponent = -126;
	if (exponent < least) {		/* the significand alone, at the place of the denormals */
		u = (u & 0x7fffff) | (uint32_t)(u >= 0x800000) << 23;
		drop += least - exponent;
		code = drop > 32 ? 0 : ((uint64_t)u + (word >> (32 - drop))) >> drop;
	} else {
		code = ((u + (uint64_t)(word >> (32 - drop))) >> drop) -
		       ((uint64_t)(least + 126) << f->fraction);
	}
	return sign | (uint32_t)(code > infinity ? infinity : code);
}

void kiln_store_random(void *dst, float x, uint32_t word, enum kiln_dtype dtype)
{
	uint32_t code = encode_random(x, word, &formats[dtype]) << formats[dtype].unused;

	memcpy(dst, &code, kiln_dtype_bytes(dtype));
}

/* log2 of a finite x > 0 */
static double log2_of(double x)
{
	int exponent;
	double m = frexp(x, &exponent), s, z, sum = 0;

	if (m < 0.70710678118654752) {
		m *= 2;
		exponent--;
	}
	s = (m - 1) / (m + 1);
	z = s * s;
	for (int i = 23; i >= 1; i -= 2)	/* the series of the inverse tangent's hyperbolic kin */
		sum = sum * z + 1.0 / i;
	return exponent + 2 * s * sum * 1.4426950408889634;
}

/* 2^x, -200 <= x <= 200 */
static double exp2_of(double x)
{
	double n = rint(x), r = (x - n) * 0.69314718055994531, sum = 1;

	for (int i = 14; i >= 1; i--)
		sum = 1 + sum * r / i;
	return ldexp(sum, (int)n);
}

/* As IEEE 754's pow(): what is special there is so here. */
static float power(float x, float y)
{
	bool whole = fabsf(y) >= 0x1p24f || y == rintf(y);
	bool negative = signbit(x) && whole && fabsf(y) < 0x1p24f && ((int32_t)y & 1);
	double t;
	float r;

	if (y == 0 || x == 1)
		return 1;
	if (x != x || y != y)
		return NAN;
	if (isinf(y)) {
		if (x == -1)
			return 1;
		return (fabsf(x) > 1) == (y > 0) ? INFINITY : 0;
	}
	if (x == 0 || isinf(x)) {
		r = (x == 0) == (y > 0) ? 0 : INFINITY;
		return negative ? -r : r;
	}
	if (x < 0 && !whole)
		return NAN;
	t = y * log2_of(fabsf(x));
	r = (float)exp2_of(t < -200 ? -200 : t > 200 ? 200 : t);
	return negative ? -r : r;
}

void kiln_bitwise(enum kiln_alu op, uint32_t *dst, const uint32_t *a, const uint32_t *b,
		  size_t n)
{
	for (size_t i = 0; i < n; i++) {
		switch (op) {
		case KILN_ALU_INVERT:
			dst[i] = ~a[i];
			break;
		case KILN_ALU_BITWISE_AND:
			dst[i] = a[i] & b[i];
			break;
		case KILN_ALU_BITWISE_OR:
			dst[i] = a[i] | b[i];
			break;
		case KILN_ALU_BITWISE_XOR:
			dst[i] = a[i] ^ b[i];
			break;
		case KILN_ALU_LEFT_SHIFT:
			dst[i] = b[i] < 32 ? a[i] << b[i] : 0;
			break;
		case KILN_ALU_RIGHT_SHIFT:
			dst[i] = b[i] < 32 ? a[i] >> b[i] : 0;
			break;
		case KILN_ALU_INTEGER_ADD:
			dst[i] = a[i] + b[i];
			break;
		case KILN_ALU_INTEGER_SUBTRACT:
			dst[i] = a[i] - b[i];
			break;
		case KILN_ALU_INTEGER_MULTIPLY:
			dst[i] = a[i] * b[i];
			break;
		default:
			dst[i] = a[i];
			break;
		}
	}
}

float kiln_alu_one(enum kiln_alu op, float a, float b)
{
	switch (op) {
	case KILN_ALU_ADD:
		return a + b;
	case KILN_ALU_SUBTRACT:
		return a - b;
	case KILN_ALU_MULTIPLY:
		return a * b;
	case KILN_ALU_MAX:	/* NaN wins; +0 is more than -0 */
		if (a != a || b != b)
			return NAN;
		return a == b ? from_bits(to_bits(a) & to_bits(b)) : a > b ? a : b;
	case KILN_ALU_MIN:
		if (a != a || b != b)
			return NAN;
		return a == b ? from_bits(to_bits(a) | to_bits(b)) : a < b ? a : b;
	case KILN_ALU_EQ:
		return a == b;
	case KILN_ALU_NE:
		return a != b;
	case KILN_ALU_GE:
		return a >= b;
	case KILN_ALU_GT:
		return a > b;
	case KILN_ALU_LE:
		return a <= b;
	case KILN_ALU_LT:
		return a < b;
	case KILN_ALU_AND:
		return a != 0 && b != 0;
	case KILN_ALU_OR:
		return a != 0 || b != 0;
	case KILN_ALU_XOR:
		return (a != 0) != (b != 0);
	case KILN_ALU_NOT:
		return !(a != 0);
	case KILN_ALU_ABS:
		return fabsf(a);
	case KILN_ALU_RECIPROCAL:
		return 1 / a;
	case KILN_ALU_RSQRT:
		return 1 / sqrtf(a);
	case KILN_ALU_POW:
		return power(a, b);
	default:
		return a;
	}
}

void kiln_reduce_start(enum kiln_alu op, float lane[KILN_LANES])
{
	float start = op == KILN_ALU_MULTIPLY || op == KILN_ALU_AND ? 1 : op == KILN_ALU_MAX ? -INFINITY :
		      op == KILN_ALU_MIN ? INFINITY : -0.0f;	/* -0 + x is x for every x */

	for (unsigned int i = 0; i < KILN_LANES; i++)
		lane[i] = start;
}

float kiln_reduce_fold(enum kiln_alu op, float lane[KILN_LANES])
{
	if (op == KILN_ALU_ADD) {	/* most are: without a choice for each element */
		for (unsigned int half = KILN_LANES / 2; half; half /= 2) {
			for (unsigned int i = 0; i < half; i++)
				lane[i] += lane[i + half];
		}
		return lane[0];
	}
	for (unsigned int half = KILN_LANES / 2; half; half /= 2) {
		for (unsigned int i = 0; i < half; i++)
			lane[i] = kiln_alu_one(op, lane[i], lane[i + half]);
	}
	return lane[0];
}
