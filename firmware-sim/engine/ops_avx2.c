// SPDX-License-Identifier: MIT
/*
 * Tile kernels for AVX2 with FMA. Same bits as ops_ref.c.
 *
 * Without masked 8- and 16-bit accesses, what does not fill a vector goes
 * through a small buffer.
 */
#include "engine/ops.h"

#if defined(__x86_64__) && !defined(KILN_NO_VECTOR)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define MR	4	/* 4 rows of two vectors, and both halves of a bf16 pair beside them */
#define W	8
#define FLUSH	0x8040	/* MXCSR: denormals are zero, results too */

#define INLINE	static inline __attribute__((always_inline))

static inline __m256 nan_bits(void)
{
	return _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
}

static inline __m256 quiet(__m256 x)
{
	return _mm256_blendv_ps(x, nan_bits(), _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* ---------------------------------------------------------- values -- */

/* What elementary.h is written in, 8 values at a time. */
typedef __m256 F;
typedef uint32_t U __attribute__((vector_size(32)));
typedef __m256 M;
#define K(c)		_mm256_set1_ps(c)
#define KU(c)		((U)_mm256_set1_epi32((int)(c)))

INLINE F fma3(F a, F b, F c)
{
	return _mm256_fmadd_ps(a, b, c);
}

INLINE F root(F x)
{
	return _mm256_sqrt_ps(x);
}

INLINE F whole(F x)
{
	return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE U to_word(F x)
{
	return (U)_mm256_cvtps_epi32(x);
}

INLINE F to_value(U u)
{
	return _mm256_cvtepi32_ps((__m256i)u);
}

INLINE U bits(F x)
{
	return (U)_mm256_castps_si256(x);
}

INLINE F real(U u)
{
	return _mm256_castsi256_ps((__m256i)u);
}

INLINE M less(F a, F b)
{
	return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

INLINE M nan_in(F x)
{
	return _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
}

/* Blends look at the highest bit. */
INLINE M odd(U u)
{
	return real(u << 31);
}

INLINE F pick(M m, F a, F b)
{
	return _mm256_blendv_ps(b, a, m);
}

/* both give their second operand for a NaN */
INLINE F clamp(F x, float low, float high)
{
	return _mm256_min_ps(K(high), _mm256_max_ps(K(low), x));
}

/* In two factors, since 2^n may be no fp32; the first product is exact. */
INLINE F scale(F x, F n)
{
	__m256i all = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(all, 1);
	U a = (U)half + KU(127), b = (U)_mm256_sub_epi32(all, half) + KU(127);

	return x * real(a << 23) * real(b << 23);
}

#include "engine/elementary.h"
#include "engine/float8.h"

/* ------------------------------------------------------- conversions -- */

INLINE __m256 load8(const void *src, enum kiln_dtype dtype)
{
	__m256i v, lo, hi;

	switch (dtype) {
	case KILN_BF16:
		v = _mm256_cvtepu16_epi32(_mm_loadu_si128(src));
		return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
	case KILN_U8:
		return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(src)));
	case KILN_I32:
		return _mm256_cvtepi32_ps(_mm256_loadu_si256(src));
	case KILN_U32:
		/* two exact halves, added with one rounding */
		v = _mm256_loadu_si256(src);
		lo = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
		hi = _mm256_srli_epi32(v, 16);
		return _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(hi),
						   _mm256_set1_ps(65536)),
				     _mm256_cvtepi32_ps(lo));
	case KILN_F16:
		return _mm256_cvtph_ps(_mm_loadu_si128(src));
	case KILN_F8E5M2:
		return _mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64(src)),
						      8));
	case KILN_F8E4M3:
		return from_e4m3((U)_mm256_cvtepu8_epi32(_mm_loadl_epi64(src)));
	case KILN_TF32:
		return to_tf32(_mm256_loadu_ps(src));
	case KILN_I8:
		return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(src)));
	case KILN_I16:
		return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128(src)));
	case KILN_U16:
		return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(src)));
	default:
		return _mm256_loadu_ps(src);
	}
}

INLINE void load_with(float *dst, const uint8_t *src, size_t n, enum kiln_dtype dtype,
		      unsigned int bytes)
{
	uint8_t in[W * 4] = { 0 };
	float out[W];
	size_t i = 0;

	for (; i + W <= n; i += W)
		_mm256_storeu_ps(dst + i, load8(src + i * bytes, dtype));
	if (i < n) {
		memcpy(in, src + i * bytes, (n - i) * bytes);
		_mm256_storeu_ps(out, load8(in, dtype));
		memcpy(dst + i, out, (n - i) * sizeof(float));
	}
}

static void load(float *dst, const void *src, size_t n, enum kiln_dtype dtype)
{
	switch (dtype) {
#define LOAD(dtype, bytes)				\
	case dtype:					\
		load_with(dst, src, n, dtype, bytes);	\
		break
	LOAD(KILN_BF16, 2);
	LOAD(KILN_I32, 4);
	LOAD(KILN_U32, 4);
	LOAD(KILN_U8, 1);
	LOAD(KILN_F16, 2);
	LOAD(KILN_TF32, 4);
	LOAD(KILN_F8E4M3, 1);
	LOAD(KILN_F8E5M2, 1);
	LOAD(KILN_I8, 1);
	LOAD(KILN_I16, 2);
	LOAD(KILN_U16, 2);
#undef LOAD
	default:
		memmove(dst, src, n * sizeof(float));
		break;
	}
}

/* The low 16 bits of each word, in order. */
static inline __m128i narrow(__m256i v)
{
	v = _mm256_packus_epi32(v, v);
	return _mm256_castsi256_si128(_mm256_permute4x64_epi64(v, 0x08));
}

/* Whole numbers; a NaN is 0. */
INLINE __m256i saturated(__m256 x, float low, float high)
{
	x = _mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q));
	return _mm256_cvtps_epi32(clamp(x, low, high));
}

/* The low 8 bits of each word. */
INLINE void store_bytes(void *dst, __m256i v)
{
	__m128i w = narrow(_mm256_and_si256(v, _mm256_set1_epi32(0xff)));

	_mm_storel_epi64(dst, _mm_packus_epi16(w, w));
}

INLINE void store8(void *dst, __m256 x, enum kiln_dtype dtype)
{
	const __m256 zero = _mm256_setzero_ps(), half = _mm256_set1_ps(0x1p31f);
	__m256i v, even;
	__m256 big;

	switch (dtype) {
	case KILN_BF16:
		v = _mm256_castps_si256(quiet(x));
		even = _mm256_and_si256(_mm256_srli_epi32(v, 16), _mm256_set1_epi32(1));
		v = _mm256_add_epi32(v, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
		_mm_storeu_si128(dst, narrow(_mm256_srli_epi32(v, 16)));
		break;
	case KILN_F16:
		_mm_storeu_si128(dst, _mm256_cvtps_ph(quiet(x), _MM_FROUND_TO_NEAREST_INT));
		break;
	case KILN_TF32:
		_mm256_storeu_ps(dst, to_tf32(x));
		break;
	case KILN_F8E4M3:
		store_bytes(dst, (__m256i)to_e4m3(x));
		break;
	case KILN_F8E5M2:
		store_bytes(dst, (__m256i)to_e5m2(x));
		break;
	case KILN_I8:
		store_bytes(dst, saturated(x, INT8_MIN, INT8_MAX));
		break;
	case KILN_U8:
		store_bytes(dst, saturated(x, 0, UINT8_MAX));
		break;
	case KILN_I16:
		v = saturated(x, INT16_MIN, INT16_MAX);
		_mm_storeu_si128(dst, narrow(_mm256_and_si256(v, _mm256_set1_epi32(0xffff))));
		break;
	case KILN_U16:
		_mm_storeu_si128(dst, narrow(saturated(x, 0, UINT16_MAX)));
		break;
	case KILN_I32:
		/* too small and NaN give INT32_MIN by themselves */
		big = _mm256_cmp_ps(x, half, _CMP_GE_OQ);
		v = _mm256_cvtps_epi32(x);
		v = _mm256_blendv_epi8(v, _mm256_set1_epi32(INT32_MAX),
				       _mm256_castps_si256(big));
		v = _mm256_and_si256(v, _mm256_castps_si256(
					_mm256_cmp_ps(x, x, _CMP_ORD_Q)));
		_mm256_storeu_si256(dst, v);
		break;
	case KILN_U32:
		x = _mm256_max_ps(x, zero);
		/* from 2^31 on every fp32 is whole: take 2^31 off, and put it back as a bit */
		big = _mm256_cmp_ps(x, half, _CMP_GE_OQ);
		v = _mm256_cvtps_epi32(_mm256_sub_ps(x, _mm256_and_ps(big, half)));
		v = _mm256_xor_si256(v, _mm256_and_si256(_mm256_castps_si256(big),
							 _mm256_set1_epi32(INT32_MIN)));
		big = _mm256_cmp_ps(x, _mm256_set1_ps(0x1p32f), _CMP_GE_OQ);
		_mm256_storeu_si256(dst, _mm256_or_si256(v, _mm256_castps_si256(big)));
		break;
	default:
		_mm256_storeu_ps(dst, quiet(x));
		break;
	}
}

INLINE void store_with(uint8_t *dst, const float *src, size_t n, enum kiln_dtype dtype,
		       unsigned int bytes)
{
	uint8_t out[W * 4];
	float in[W] = { 0 };
	size_t i = 0;

	for (; i + W <= n; i += W)
		store8(dst + i * bytes, _mm256_loadu_ps(src + i), dtype);
	if (i < n) {
		memcpy(in, src + i, (n - i) * sizeof(float));
		store8(out, _mm256_loadu_ps(in), dtype);
		memcpy(dst + i * bytes, out, (n - i) * bytes);
	}
}

static void store(void *dst, const float *src, size_t n, enum kiln_dtype dtype)
{
	switch (dtype) {
#define STORE(dtype, bytes)				\
	case dtype:					\
		store_with(dst, src, n, dtype, bytes);	\
		break
	STORE(KILN_BF16, 2);
	STORE(KILN_I32, 4);
	STORE(KILN_U32, 4);
	STORE(KILN_U8, 1);
	STORE(KILN_F16, 2);
	STORE(KILN_TF32, 4);
	STORE(KILN_F8E4M3, 1);
	STORE(KILN_F8E5M2, 1);
	STORE(KILN_I8, 1);
	STORE(KILN_I16, 2);
	STORE(KILN_U16, 2);
#undef STORE
	default:
		store_with(dst, src, n, KILN_F32, 4);
		break;
	}
}

/* -------------------------------------------------------- arithmetic -- */

/* NaN wins; of two zeros, the hardware gives the second operand. */
static inline __m256 max(__m256 a, __m256 b)
{
	__m256 r = _mm256_and_ps(_mm256_max_ps(a, b), _mm256_max_ps(b, a));

	return _mm256_blendv_ps(r, nan_bits(), _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
}

static inline __m256 min(__m256 a, __m256 b)
{
	__m256 r = _mm256_or_ps(_mm256_min_ps(a, b), _mm256_min_ps(b, a));

	return _mm256_blendv_ps(r, nan_bits(), _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
}

static inline __m256 truth(__m256 m)
{
	return _mm256_and_ps(m, _mm256_set1_ps(1));
}

static inline __m256 not_zero(__m256 x)
{
	return _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NEQ_UQ);
}

INLINE __m256 alu(enum kiln_alu op, __m256 a, __m256 b)
{
	switch (op) {
	case KILN_ALU_ADD:
		return _mm256_add_ps(a, b);
	case KILN_ALU_SUBTRACT:
		return _mm256_sub_ps(a, b);
	case KILN_ALU_MULTIPLY:
		return _mm256_mul_ps(a, b);
	case KILN_ALU_MAX:
		return max(a, b);
	case KILN_ALU_MIN:
		return min(a, b);
	case KILN_ALU_EQ:
		return truth(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
	case KILN_ALU_NE:
		return truth(_mm256_cmp_ps(a, b, _CMP_NEQ_UQ));
	case KILN_ALU_GE:
		return truth(_mm256_cmp_ps(a, b, _CMP_GE_OQ));
	case KILN_ALU_GT:
		return truth(_mm256_cmp_ps(a, b, _CMP_GT_OQ));
	case KILN_ALU_LE:
		return truth(_mm256_cmp_ps(a, b, _CMP_LE_OQ));
	case KILN_ALU_LT:
		return truth(_mm256_cmp_ps(a, b, _CMP_LT_OQ));
	case KILN_ALU_AND:
		return truth(_mm256_and_ps(not_zero(a), not_zero(b)));
	case KILN_ALU_OR:
		return truth(_mm256_or_ps(not_zero(a), not_zero(b)));
	case KILN_ALU_XOR:
		return truth(_mm256_xor_ps(not_zero(a), not_zero(b)));
	case KILN_ALU_NOT:
		return truth(_mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_EQ_OQ));
	case KILN_ALU_ABS:
		return abs_of(a);
	case KILN_ALU_RECIPROCAL:
		return K(1) / a;
	case KILN_ALU_RSQRT:
		return K(1) / root(a);
	default:
		return a;
	}
}

/* DO(op) with op a constant, so that the loop in it has no choice left to make. */
#define FOR_ALU(op, DO)							\
	switch (op) {							\
	case KILN_ALU_ADD:	DO(KILN_ALU_ADD); break;		\
	case KILN_ALU_SUBTRACT:	DO(KILN_ALU_SUBTRACT); break;		\
	case KILN_ALU_MULTIPLY:	DO(KILN_ALU_MULTIPLY); break;		\
	case KILN_ALU_MAX:	DO(KILN_ALU_MAX); break;		\
	case KILN_ALU_MIN:	DO(KILN_ALU_MIN); break;		\
	case KILN_ALU_EQ:	DO(KILN_ALU_EQ); break;			\
	case KILN_ALU_NE:	DO(KILN_ALU_NE); break;			\
	case KILN_ALU_GE:	DO(KILN_ALU_GE); break;			\
	case KILN_ALU_GT:	DO(KILN_ALU_GT); break;			\
	case KILN_ALU_LE:	DO(KILN_ALU_LE); break;			\
	case KILN_ALU_LT:	DO(KILN_ALU_LT); break;			\
	case KILN_ALU_AND:	DO(KILN_ALU_AND); break;		\
	case KILN_ALU_OR:	DO(KILN_ALU_OR); break;			\
	case KILN_ALU_XOR:	DO(KILN_ALU_XOR); break;		\
	case KILN_ALU_NOT:	DO(KILN_ALU_NOT); break;		\
	case KILN_ALU_ABS:	DO(KILN_ALU_ABS); break;		\
	case KILN_ALU_RECIPROCAL: DO(KILN_ALU_RECIPROCAL); break;	\
	case KILN_ALU_RSQRT:	DO(KILN_ALU_RSQRT); break;		\
	default:		DO(KILN_ALU_BYPASS); break;		\
	}

/* All lanes of the first n, for VMASKMOVPS. */
static inline __m256i tail(size_t n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < W ? (int)n : W),
				  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE void binary_with(enum kiln_alu op, float *dst, const float *a, const float *b,
			size_t n)
{
	for (size_t i = 0; i < n; i += W) {
		__m256i m = tail(n - i);

		_mm256_maskstore_ps(dst + i, m, alu(op, _mm256_maskload_ps(a + i, m),
						    _mm256_maskload_ps(b + i, m)));
	}
}

static void binary(enum kiln_alu op, float *dst, const float *a, const float *b,
		   size_t n)
{
	if (op == KILN_ALU_POW) {	/* rare: in double, one at a time */
		kiln_ops_ref.binary(op, dst, a, b, n);
		return;
	}
#define DO(op) binary_with(op, dst, a, b, n)
	FOR_ALU(op, DO)
#undef DO
}

INLINE void scalar_with(enum kiln_alu op, float *dst, const float *a, float s,
			bool reverse, size_t n)
{
	__m256 y = _mm256_set1_ps(s);

	for (size_t i = 0; i < n; i += W) {
		__m256i m = tail(n - i);
		__m256 x = _mm256_maskload_ps(a + i, m);

		_mm256_maskstore_ps(dst + i, m, reverse ? alu(op, y, x) : alu(op, x, y));
	}
}

static void binary_scalar(enum kiln_alu op, float *dst, const float *a, float s,
			  bool reverse, size_t n)
{
	if (op == KILN_ALU_POW) {
		kiln_ops_ref.binary_scalar(op, dst, a, s, reverse, n);
		return;
	}
#define DO(op) scalar_with(op, dst, a, s, reverse, n)
	FOR_ALU(op, DO)
#undef DO
}

INLINE void activation_with(enum kiln_activation func, float *dst, const float *src,
			    float scale, float bias, size_t n)
{
	F s = K(scale), b = K(bias);

	for (size_t i = 0; i < n; i += W) {
		__m256i m = tail(n - i);

		_mm256_maskstore_ps(dst + i, m,
			act(func, _mm256_fmadd_ps(_mm256_maskload_ps(src + i, m), s, b)));
	}
}

/* Each function with a loop of its own. */
static void activation(enum kiln_activation func, float *dst, const float *src,
		       float scale, float bias, size_t n)
{
	switch (func) {
#define KILN_ACT(name, code, doc)						\
	case KILN_ACT_##name:							\
		activation_with(KILN_ACT_##name, dst, src, scale, bias, n);	\
		break;
#include "kiln/isa.def"
	default:
		break;
	}
}

static void reciprocal(float *dst, const float *src, size_t n)
{
	for (size_t i = 0; i < n; i += W) {
		__m256i m = tail(n - i);

		_mm256_maskstore_ps(dst + i, m, _mm256_div_ps(_mm256_set1_ps(1),
							      _mm256_maskload_ps(src + i, m)));
	}
}

static void choose(float *dst, const float *predicate, const float *a, float s,
		   size_t n)
{
	for (size_t i = 0; i < n; i += W) {
		__m256i m = tail(n - i);
		__m256 p = not_zero(_mm256_maskload_ps(predicate + i, m));

		_mm256_maskstore_ps(dst + i, m,
			_mm256_blendv_ps(_mm256_set1_ps(s), _mm256_maskload_ps(a + i, m), p));
	}
}

INLINE void reduce_with(enum kiln_alu op, float lane[KILN_LANES], const float *x,
			size_t n)
{
	__m256 sum[KILN_LANES / W];
	size_t i = 0;

	for (unsigned int j = 0; j < KILN_LANES / W; j++)
		sum[j] = _mm256_loadu_ps(lane + j * W);
	for (; i + KILN_LANES <= n; i += KILN_LANES) {
		for (unsigned int j = 0; j < KILN_LANES / W; j++)
			sum[j] = alu(op, sum[j], _mm256_loadu_ps(x + i + j * W));
	}
	for (unsigned int j = 0; j < KILN_LANES / W; j++, i += W) {
		if (i < n) {
			__m256i m = tail(n - i);

			sum[j] = _mm256_blendv_ps(sum[j],
						  alu(op, sum[j], _mm256_maskload_ps(x + i, m)),
						  _mm256_castsi256_ps(m));
		}
		_mm256_storeu_ps(lane + j * W, sum[j]);
	}
}

static void reduce(enum kiln_alu op, float lane[KILN_LANES], const float *x, size_t n)
{
	switch (op) {
	case KILN_ALU_MULTIPLY:
		reduce_with(KILN_ALU_MULTIPLY, lane, x, n);
		break;
	case KILN_ALU_MAX:
		reduce_with(KILN_ALU_MAX, lane, x, n);
		break;
	case KILN_ALU_MIN:
		reduce_with(KILN_ALU_MIN, lane, x, n);
		break;
	case KILN_ALU_AND:
		reduce_with(KILN_ALU_AND, lane, x, n);
		break;
	case KILN_ALU_OR:
		reduce_with(KILN_ALU_OR, lane, x, n);
		break;
	case KILN_ALU_XOR:
		reduce_with(KILN_ALU_XOR, lane, x, n);
		break;
	default:
		reduce_with(KILN_ALU_ADD, lane, x, n);
		break;
	}
}

/* ------------------------------------------------------------ matmul -- */

static void pack_pairs(uint32_t *dst, size_t pitch, unsigned int width,
		       const uint16_t *even, const uint16_t *odd, size_t n)
{
	for (size_t at = 0; at < n; at += width, dst += pitch) {
		size_t left = n - at < width ? n - at : width, i = 0;

		for (; i + W <= left; i += W) {
			__m256i lo = _mm256_cvtepu16_epi32(
				_mm_loadu_si128((const __m128i *)(even + at + i)));
			__m256i hi = _mm256_cvtepu16_epi32(
				_mm_loadu_si128((const __m128i *)(odd + at + i)));

			_mm256_storeu_si256((__m256i *)(dst + i),
					    _mm256_or_si256(lo, _mm256_slli_epi32(hi, 16)));
		}
		for (; i < left; i++)
			dst[i] = even[at + i] | (uint32_t)odd[at + i] << 16;
		for (; i < width; i++)
			dst[i] = 0;
	}
}

/* One block of mr rows and two vectors of C. rows: of C, at most mr. */
INLINE void block(bool bf16, unsigned int mr, const struct kiln_matmul *mm,
		  const uint32_t *a, const uint32_t *b, float *c, uint32_t rows,
		  __m256i lo, __m256i hi)
{
	const __m256i upper = _mm256_set1_epi32((int)0xffff0000);
	__m256 sum[MR][2];

	for (unsigned int i = 0; i < mr; i++) {
		bool load = mm->accumulate && i < rows;

		sum[i][0] = load ? _mm256_maskload_ps(c + i * mm->pitch, lo) :
				   _mm256_setzero_ps();
		sum[i][1] = load ? _mm256_maskload_ps(c + i * mm->pitch + W, hi) :
				   _mm256_setzero_ps();
	}
	for (uint32_t k = mm->rows; k; k--, a += MR, b += mm->b_step) {
		__m256i b0 = _mm256_loadu_si256((const __m256i *)b);
		__m256i b1 = _mm256_loadu_si256((const __m256i *)(b + W));

		if (!bf16) {
#pragma GCC unroll 8
			for (unsigned int i = 0; i < mr; i++) {
				__m256 x = _mm256_castsi256_ps(_mm256_set1_epi32((int)a[i]));

				sum[i][0] = _mm256_fmadd_ps(x, _mm256_castsi256_ps(b0), sum[i][0]);
				sum[i][1] = _mm256_fmadd_ps(x, _mm256_castsi256_ps(b1), sum[i][1]);
			}
			continue;
		}
		/* the odd ones, then the even ones */
		__m256 o0 = _mm256_castsi256_ps(_mm256_and_si256(b0, upper));
		__m256 o1 = _mm256_castsi256_ps(_mm256_and_si256(b1, upper));
		__m256 e0 = _mm256_castsi256_ps(_mm256_slli_epi32(b0, 16));
		__m256 e1 = _mm256_castsi256_ps(_mm256_slli_epi32(b1, 16));

#pragma GCC unroll 8
		for (unsigned int i = 0; i < mr; i++) {
			__m256i pair = _mm256_set1_epi32((int)a[i]);
			__m256 odd = _mm256_castsi256_ps(_mm256_and_si256(pair, upper));
			__m256 even = _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));

			sum[i][0] = _mm256_fmadd_ps(even, e0, _mm256_fmadd_ps(odd, o0, sum[i][0]));
			sum[i][1] = _mm256_fmadd_ps(even, e1, _mm256_fmadd_ps(odd, o1, sum[i][1]));
		}
	}
	for (unsigned int i = 0; i < mr; i++) {
		if (i >= rows)
			break;
		_mm256_maskstore_ps(c + i * mm->pitch, lo, quiet(sum[i][0]));
		_mm256_maskstore_ps(c + i * mm->pitch + W, hi, quiet(sum[i][1]));
	}
}

INLINE void matmul(bool bf16, const struct kiln_matmul *mm)
{
	for (uint32_t n = 0; n < mm->n; n += 2 * W) {
		const uint32_t *b = mm->b + n / KILN_PANEL * mm->b_pitch +
				    n % KILN_PANEL;
		uint32_t cols = mm->n - n;
		__m256i lo = tail(cols), hi = tail(cols > W ? cols - W : 0);

		for (uint32_t m = 0; m < mm->m; m += MR) {
			const uint32_t *a = mm->a + m / MR * mm->a_pitch;
			float *c = mm->c + m * mm->pitch + n;
			uint32_t rows = mm->m - m;

			if (rows >= MR)
				block(bf16, MR, mm, a, b, c, MR, lo, hi);
			else if (rows == 1)
				block(bf16, 1, mm, a, b, c, 1, lo, hi);
			else
				block(bf16, MR, mm, a, b, c, rows, lo, hi);
		}
	}
}

/* A function of its own, so that nothing of it is moved past a change of MXCSR. */
static __attribute__((noinline)) void matmul_flushing(const struct kiln_matmul *mm)
{
	matmul(true, mm);
}

static void matmul_bf16(const struct kiln_matmul *mm)
{
	unsigned int mxcsr = _mm_getcsr();

	_mm_setcsr(mxcsr | FLUSH);
	matmul_flushing(mm);
	_mm_setcsr(mxcsr);
}

static void matmul_f32(const struct kiln_matmul *mm)
{
	matmul(false, mm);
}

/* --------------------------------------------------------- transpose -- */

/* In blocks that stay in the first cache; the rest is the compiler's. */
INLINE void transpose(unsigned int esize, uint8_t *dst, size_t dst_pitch,
		      const uint8_t *src, size_t src_pitch, unsigned int rows,
		      unsigned int cols)
{
	for (unsigned int i = 0; i < rows; i += 16) {
		unsigned int h = rows - i < 16 ? rows - i : 16;

		for (unsigned int j = 0; j < cols; j++) {
			uint8_t *to = dst + j * dst_pitch + i * esize;
			const uint8_t *from = src + i * src_pitch + j * esize;

			for (unsigned int k = 0; k < h; k++)
				memcpy(to + k * esize, from + k * src_pitch, esize);
		}
	}
}

static void transpose16(void *dst, size_t dst_pitch, const void *src,
			size_t src_pitch, unsigned int rows, unsigned int cols)
{
	transpose(2, dst, dst_pitch, src, src_pitch, rows, cols);
}

static void transpose32(void *dst, size_t dst_pitch, const void *src,
			size_t src_pitch, unsigned int rows, unsigned int cols)
{
	transpose(4, dst, dst_pitch, src, src_pitch, rows, cols);
}

const struct kiln_ops kiln_ops_avx2 = {
	.name = "avx2",
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
	.transpose16 = transpose16,
	.transpose32 = transpose32,
};

#endif
