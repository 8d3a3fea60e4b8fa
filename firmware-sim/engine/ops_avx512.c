// SPDX-License-Identifier: MIT
/*
 * Tile kernels for AVX-512 with BF16. Same bits as ops_ref.c.
 */
#include "engine/ops.h"

#if defined(__x86_64__) && !defined(KILN_NO_VECTOR)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define MR	8	/* rows of two vectors: 16 sums hide the latency; divides 128 */
#define W	16
#define FETCH	12	/* lines a block: 256 blocks, and 2560 lines for two bf16 matrices */

#define INLINE	static inline __attribute__((always_inline))

static inline __mmask16 tail(size_t n)
{
	return n >= W ? 0xffff : (1u << n) - 1;
}

static inline __m512 quiet(__m512 x)
{
	return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q),
				  _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

/* ---------------------------------------------------------- values -- */

/* What elementary.h is written in, 16 values at a time. */
typedef __m512 F;
typedef uint32_t U __attribute__((vector_size(64)));
typedef __mmask16 M;
#define K(c)		_mm512_set1_ps(c)
#define KU(c)		((U)_mm512_set1_epi32((int)(c)))

INLINE F fma3(F a, F b, F c)
{
	return _mm512_fmadd_ps(a, b, c);
}

INLINE F root(F x)
{
	return _mm512_sqrt_ps(x);
}

INLINE F whole(F x)
{
	return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE U to_word(F x)
{
	return (U)_mm512_cvtps_epi32(x);
}

INLINE F to_value(U u)
{
	return _mm512_cvtepi32_ps((__m512i)u);
}

INLINE U bits(F x)
{
	return (U)_mm512_castps_si512(x);
}

INLINE F real(U u)
{
	return _mm512_castsi512_ps((__m512i)u);
}

INLINE M less(F a, F b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

INLINE M nan_in(F x)
{
	return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
}

INLINE M odd(U u)
{
	return _mm512_test_epi32_mask((__m512i)u, _mm512_set1_epi32(1));
}

INLINE F pick(M m, F a, F b)
{
	return _mm512_mask_mov_ps(b, m, a);
}

/* both give their second operand for a NaN */
INLINE F clamp(F x, float low, float high)
{
	return _mm512_min_ps(K(high), _mm512_max_ps(K(low), x));
}

INLINE F scale(F x, F n)
{
	return _mm512_scalef_ps(x, n);
}

#include "engine/elementary.h"
#include "engine/float8.h"

/* ------------------------------------------------------- conversions -- */

static void load(float *dst, const void *src, size_t n, enum kiln_dtype dtype)
{
	for (size_t i = 0; i < n; i += W) {
		__mmask16 m = tail(n - i);
		__m512 x;

		switch (dtype) {
		case KILN_BF16:
			x = _mm512_castsi512_ps(_mm512_slli_epi32(
				_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(
					m, (const uint16_t *)src + i)), 16));
			break;
		case KILN_U8:
			x = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(
				_mm_maskz_loadu_epi8(m, (const uint8_t *)src + i)));
			break;
		case KILN_I32:
			x = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(
				m, (const int32_t *)src + i));
			break;
		case KILN_U32:
			x = _mm512_cvtepu32_ps(_mm512_maskz_loadu_epi32(
				m, (const uint32_t *)src + i));
			break;
		case KILN_F16:
			x = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, (const uint16_t *)src + i));
			break;
		case KILN_F8E5M2:
			x = _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(
				_mm_maskz_loadu_epi8(m, (const uint8_t *)src + i)), 8));
			break;
		case KILN_F8E4M3:
			x = from_e4m3((U)_mm512_cvtepu8_epi32(
				_mm_maskz_loadu_epi8(m, (const uint8_t *)src + i)));
			break;
		case KILN_TF32:
			x = to_tf32(_mm512_maskz_loadu_ps(m, (const float *)src + i));
			break;
		case KILN_I8:
			x = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(
				_mm_maskz_loadu_epi8(m, (const int8_t *)src + i)));
			break;
		case KILN_I16:
			x = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(
				_mm256_maskz_loadu_epi16(m, (const int16_t *)src + i)));
			break;
		case KILN_U16:
			x = _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(
				_mm256_maskz_loadu_epi16(m, (const uint16_t *)src + i)));
			break;
		default:
			x = _mm512_maskz_loadu_ps(m, (const float *)src + i);
			break;
		}
		_mm512_mask_storeu_ps(dst + i, m, x);
	}
}

/* VCVTNEPS2BF16 would make denormals zero. */
static inline __m256i to_bf16(__m512 x)
{
	__m512i u = _mm512_castps_si512(quiet(x));
	__m512i even = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));

	u = _mm512_add_epi32(u, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
	return _mm512_cvtepi32_epi16(_mm512_srli_epi32(u, 16));
}

/* Whole numbers; a NaN is 0. */
INLINE __m512i saturated(__m512 x, float low, float high)
{
	x = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x);
	return _mm512_cvtps_epi32(clamp(x, low, high));
}

/* The low 8 bits of each word. */
INLINE void store_bytes(uint8_t *dst, __mmask16 m, __m512i v)
{
	_mm_mask_storeu_epi8(dst, m, _mm512_cvtepi32_epi8(v));
}

static void store(void *dst, const float *src, size_t n, enum kiln_dtype dtype)
{
	const __m512 zero = _mm512_setzero_ps();

	/* What results mostly become, whole vectors of it */
	for (; dtype == KILN_BF16 && n >= W; n -= W, src += W, dst = (uint16_t *)dst + W)
		_mm256_storeu_si256(dst, to_bf16(_mm512_loadu_ps(src)));

	for (size_t i = 0; i < n; i += W) {
		__mmask16 m = tail(n - i);
		__m512 x = _mm512_maskz_loadu_ps(m, src + i);
		__mmask16 big;
		__m512i v;

		switch (dtype) {
		case KILN_BF16:
			_mm256_mask_storeu_epi16((uint16_t *)dst + i, m, to_bf16(x));
			break;
		case KILN_F16:
			_mm256_mask_storeu_epi16((uint16_t *)dst + i, m, _mm512_cvtps_ph(
				quiet(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
			break;
		case KILN_TF32:
			_mm512_mask_storeu_ps((float *)dst + i, m, to_tf32(x));
			break;
		case KILN_F8E4M3:
			store_bytes((uint8_t *)dst + i, m, (__m512i)to_e4m3(x));
			break;
		case KILN_F8E5M2:
			store_bytes((uint8_t *)dst + i, m, (__m512i)to_e5m2(x));
			break;
		case KILN_I8:
			store_bytes((uint8_t *)dst + i, m, saturated(x, INT8_MIN, INT8_MAX));
			break;
		case KILN_U8:
			store_bytes((uint8_t *)dst + i, m, saturated(x, 0, UINT8_MAX));
			break;
		case KILN_I16:
			_mm256_mask_storeu_epi16((uint16_t *)dst + i, m, _mm512_cvtepi32_epi16(
				saturated(x, INT16_MIN, INT16_MAX)));
			break;
		case KILN_U16:
			_mm256_mask_storeu_epi16((uint16_t *)dst + i, m, _mm512_cvtepi32_epi16(
				saturated(x, 0, UINT16_MAX)));
			break;
		case KILN_I32:
			/* too small and NaN give INT32_MIN by themselves */
			big = _mm512_cmp_ps_mask(x, _mm512_set1_ps(0x1p31f), _CMP_GE_OQ);
			v = _mm512_mask_mov_epi32(_mm512_cvtps_epi32(x), big,
						  _mm512_set1_epi32(INT32_MAX));
			v = _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), v);
			_mm512_mask_storeu_epi32((int32_t *)dst + i, m, v);
			break;
		case KILN_U32:
			/* too big gives UINT32_MAX by itself */
			v = _mm512_cvtps_epu32(_mm512_max_ps(x, zero));
			_mm512_mask_storeu_epi32((uint32_t *)dst + i, m, v);
			break;
		default:
			_mm512_mask_storeu_ps((float *)dst + i, m, quiet(x));
			break;
		}
	}
}

/* -------------------------------------------------------- arithmetic -- */

/* NaN wins; of two zeros, the hardware gives the second operand. */
static inline __m512 max(__m512 a, __m512 b)
{
	__m512 r = _mm512_and_ps(_mm512_max_ps(a, b), _mm512_max_ps(b, a));

	return _mm512_mask_mov_ps(r, _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q),
				  _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

static inline __m512 min(__m512 a, __m512 b)
{
	__m512 r = _mm512_or_ps(_mm512_min_ps(a, b), _mm512_min_ps(b, a));

	return _mm512_mask_mov_ps(r, _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q),
				  _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

static inline __m512 truth(__mmask16 m)
{
	return _mm512_maskz_mov_ps(m, _mm512_set1_ps(1));
}

static inline __mmask16 not_zero(__m512 x)
{
	return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
}

INLINE __m512 alu(enum kiln_alu op, __m512 a, __m512 b)
{
	switch (op) {
	case KILN_ALU_ADD:
		return _mm512_add_ps(a, b);
	case KILN_ALU_SUBTRACT:
		return _mm512_sub_ps(a, b);
	case KILN_ALU_MULTIPLY:
		return _mm512_mul_ps(a, b);
	case KILN_ALU_MAX:
		return max(a, b);
	case KILN_ALU_MIN:
		return min(a, b);
	case KILN_ALU_EQ:
		return truth(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ));
	case KILN_ALU_NE:
		return truth(_mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ));
	case KILN_ALU_GE:
		return truth(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ));
	case KILN_ALU_GT:
		return truth(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ));
	case KILN_ALU_LE:
		return truth(_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ));
	case KILN_ALU_LT:
		return truth(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ));
	case KILN_ALU_AND:
		return truth(not_zero(a) & not_zero(b));
	case KILN_ALU_OR:
		return truth(not_zero(a) | not_zero(b));
	case KILN_ALU_XOR:
		return truth(not_zero(a) ^ not_zero(b));
	case KILN_ALU_NOT:
		return truth(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_EQ_OQ));
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

INLINE void binary_with(enum kiln_alu op, float *dst, const float *a, const float *b,
			size_t n)
{
	for (size_t i = 0; i < n; i += W) {
		__mmask16 m = tail(n - i);

		_mm512_mask_storeu_ps(dst + i, m,
				      alu(op, _mm512_maskz_loadu_ps(m, a + i),
					  _mm512_maskz_loadu_ps(m, b + i)));
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
	__m512 y = _mm512_set1_ps(s);

	for (size_t i = 0; i < n; i += W) {
		__mmask16 m = tail(n - i);
		__m512 x = _mm512_maskz_loadu_ps(m, a + i);

		_mm512_mask_storeu_ps(dst + i, m, reverse ? alu(op, y, x) : alu(op, x, y));
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
		__mmask16 m = tail(n - i);

		_mm512_mask_storeu_ps(dst + i, m, act(func,
			_mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, src + i), s, b)));
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
		__mmask16 m = tail(n - i);

		_mm512_mask_storeu_ps(dst + i, m,
			_mm512_div_ps(_mm512_set1_ps(1), _mm512_maskz_loadu_ps(m, src + i)));
	}
}

static void choose(float *dst, const float *predicate, const float *a, float s,
		   size_t n)
{
	for (size_t i = 0; i < n; i += W) {
		__mmask16 m = tail(n - i);
		__mmask16 p = not_zero(_mm512_maskz_loadu_ps(m, predicate + i));

		_mm512_mask_storeu_ps(dst + i, m,
			_mm512_mask_mov_ps(_mm512_set1_ps(s), p,
					   _mm512_maskz_loadu_ps(m, a + i)));
	}
}

INLINE void reduce_with(enum kiln_alu op, float lane[KILN_LANES], const float *x,
			size_t n)
{
	__m512 lo = _mm512_loadu_ps(lane), hi = _mm512_loadu_ps(lane + W);
	size_t i = 0;

	for (; i + 2 * W <= n; i += 2 * W) {
		lo = alu(op, lo, _mm512_loadu_ps(x + i));
		hi = alu(op, hi, _mm512_loadu_ps(x + i + W));
	}
	if (i < n) {
		__mmask16 m = tail(n - i);

		lo = _mm512_mask_mov_ps(lo, m, alu(op, lo, _mm512_maskz_loadu_ps(m, x + i)));
		m = n - i > W ? tail(n - i - W) : 0;
		hi = _mm512_mask_mov_ps(hi, m, alu(op, hi, _mm512_maskz_loadu_ps(m, x + i + W)));
	}
	_mm512_storeu_ps(lane, lo);
	_mm512_storeu_ps(lane + W, hi);
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

static inline __m512i pairs(const uint16_t *even, const uint16_t *odd, __mmask16 m)
{
	__m512i lo = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, even));
	__m512i hi = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, odd));

	return _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16));
}

/* 32 columns of a row: even and odd ones interleaved in two vectors. */
INLINE void interleave(const uint16_t *even, const uint16_t *odd, __mmask32 m,
		       __m512i out[2])
{
	const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10,
					     41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4,
					     35, 3, 34, 2, 33, 1, 32, 0);
	const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
	__m512i e = _mm512_maskz_loadu_epi16(m, even), o = _mm512_maskz_loadu_epi16(m, odd);

	out[0] = _mm512_permutex2var_epi16(e, low, o);
	out[1] = _mm512_permutex2var_epi16(e, high, o);
}

static void pack_pairs(uint32_t *dst, size_t pitch, unsigned int width,
		       const uint16_t *even, const uint16_t *odd, size_t n)
{
	__m512i v[2];

	/* The moving matrix, and the stationary one */
	for (; width == KILN_PANEL && n >= 32; n -= 32, dst += pitch, even += 32, odd += 32) {
		interleave(even, odd, ~0u, v);
		_mm512_storeu_si512(dst, v[0]);
		_mm512_storeu_si512(dst + W, v[1]);
	}
	if (width == KILN_PANEL && n) {
		interleave(even, odd, (1u << n) - 1, v);
		_mm512_storeu_si512(dst, v[0]);
		_mm512_storeu_si512(dst + W, v[1]);
		return;
	}
	for (; width == MR && n >= 32; n -= 32, dst += 4 * pitch, even += 32, odd += 32) {
		interleave(even, odd, ~0u, v);
		_mm256_storeu_si256((void *)dst, _mm512_castsi512_si256(v[0]));
		_mm256_storeu_si256((void *)(dst + pitch), _mm512_extracti64x4_epi64(v[0], 1));
		_mm256_storeu_si256((void *)(dst + 2 * pitch), _mm512_castsi512_si256(v[1]));
		_mm256_storeu_si256((void *)(dst + 3 * pitch),
				    _mm512_extracti64x4_epi64(v[1], 1));
	}
	for (size_t at = 0; at < n; at += width, dst += pitch) {
		for (unsigned int i = 0; i < width; i += W) {
			size_t left = n - at > i ? n - at - i : 0;
			__mmask16 m = tail(width - i);

			_mm512_mask_storeu_epi32(dst + i, m,
				pairs(even + at + i, odd + at + i, tail(left) & m));
		}
	}
}

INLINE void store_block(const struct kiln_matmul *mm, float *c, uint32_t rows, __mmask16 lo,
			__mmask16 hi, unsigned int mr, __m512 sum[MR][2])
{
	for (unsigned int i = 0; i < mr && i < rows; i++) {
		_mm512_mask_storeu_ps(c + i * mm->pitch, lo, sum[i][0]);
		_mm512_mask_storeu_ps(c + i * mm->pitch + W, hi, sum[i][1]);
	}
}

/*
 * One block of mr rows and two vectors of C; rows: of C, at most mr. fetch: the
 * block of C that is next, whose rows are on pages of their own.
 */
INLINE void block(bool bf16, unsigned int mr, const struct kiln_matmul *mm,
		  const uint32_t *a, const uint32_t *b, float *c, uint32_t rows,
		  __mmask16 lo, __mmask16 hi, const float *fetch)
{
	__m512 sum[MR][2], any;

	for (unsigned int i = 0; i < mr; i++) {
		bool load = mm->accumulate && i < rows;

		sum[i][0] = _mm512_maskz_loadu_ps(load ? lo : 0, c + i * mm->pitch);
		sum[i][1] = _mm512_maskz_loadu_ps(load ? hi : 0, c + i * mm->pitch + W);
		_mm_prefetch((const char *)(fetch + i * mm->pitch), _MM_HINT_T0);
		_mm_prefetch((const char *)(fetch + i * mm->pitch + W), _MM_HINT_T0);
	}
#pragma GCC unroll 2
	for (uint32_t k = mm->rows; k; k--, a += MR, b += mm->b_step) {
		__m512i b0 = _mm512_loadu_si512(b), b1 = _mm512_loadu_si512(b + W);

#pragma GCC unroll 16
		for (unsigned int i = 0; i < mr; i++) {
			__m512i x = _mm512_set1_epi32(a[i]);

			if (bf16) {
				sum[i][0] = _mm512_dpbf16_ps(sum[i][0], (__m512bh)x, (__m512bh)b0);
				sum[i][1] = _mm512_dpbf16_ps(sum[i][1], (__m512bh)x, (__m512bh)b1);
			} else {
				sum[i][0] = _mm512_fmadd_ps(_mm512_castsi512_ps(x),
							    _mm512_castsi512_ps(b0), sum[i][0]);
				sum[i][1] = _mm512_fmadd_ps(_mm512_castsi512_ps(x),
							    _mm512_castsi512_ps(b1), sum[i][1]);
			}
		}
	}
	store_block(mm, c, rows, lo, hi, mr, sum);
	/*
	 * No NaN among them if there is none in their sum; adding costs no multiplier
	 * its turn. After the stores, which the next block waits for.
	 */
	any = _mm512_add_ps(sum[0][0], sum[0][1]);
	for (unsigned int i = 1; i < mr; i++)
		any = _mm512_add_ps(any, _mm512_add_ps(sum[i][0], sum[i][1]));
	if (__builtin_expect(_mm512_cmp_ps_mask(any, any, _CMP_UNORD_Q), 0)) {
		for (unsigned int i = 0; i < mr; i++) {
			sum[i][0] = quiet(sum[i][0]);
			sum[i][1] = quiet(sum[i][1]);
		}
		store_block(mm, c, rows, lo, hi, mr, sum);
	}
}

/* A walk over the cache lines that are wanted next. */
struct fetch {
	const struct kiln_ahead *ahead, *end;
	uint32_t row, at;
};

static inline void fetch_some(struct fetch *f, unsigned int lines)
{
	while (f->ahead < f->end && lines) {
		if (f->at >= f->ahead->bytes) {
			f->at = 0;
			if (++f->row >= f->ahead->rows) {
				f->row = 0;
				f->ahead++;
			}
			continue;
		}
		_mm_prefetch((const char *)f->ahead->base + f->row * f->ahead->pitch + f->at,
			     _MM_HINT_T1);
		f->at += 64;
		lines--;
	}
}

/* A block's share of the panel that is next: packed long ago, or rows on pages of their own. */
static inline void fetch_panel(const struct kiln_matmul *mm, uint32_t n, uint32_t m)
{
	uint32_t share = (mm->rows * MR + mm->m - 1) / mm->m, k = m / MR * share;
	const uint32_t *b = mm->b + n / KILN_PANEL * mm->b_pitch + k * mm->b_step;

	for (; n < mm->n && share && k < mm->rows; share--, k++, b += mm->b_step) {
		_mm_prefetch((const char *)b, _MM_HINT_T1);
		_mm_prefetch((const char *)(b + W), _MM_HINT_T1);
	}
}

INLINE void matmul(bool bf16, const struct kiln_matmul *mm)
{
	struct fetch fetch = { .ahead = mm->ahead, .end = mm->ahead + 2 };

	for (uint32_t n = 0; n < mm->n; n += KILN_PANEL) {
		const uint32_t *b = mm->b + n / KILN_PANEL * mm->b_pitch;
		uint32_t cols = mm->n - n;
		__mmask16 lo = tail(cols), hi = cols > W ? tail(cols - W) : 0;

		for (uint32_t m = 0; m < mm->m; m += MR) {
			const uint32_t *a = mm->a + m / MR * mm->a_pitch;
			float *c = mm->c + m * mm->pitch + n;
			uint32_t rows = mm->m - m;

			const float *next = m + MR < mm->m ? c + MR * mm->pitch :
							     mm->c + n + KILN_PANEL;

			fetch_some(&fetch, FETCH);
			fetch_panel(mm, n + KILN_PANEL, m);
			if (rows >= MR && cols >= KILN_PANEL)
				block(bf16, MR, mm, a, b, c, MR, 0xffff, 0xffff, next);
			else if (rows == 1)
				block(bf16, 1, mm, a, b, c, 1, lo, hi, next);
			else if (rows <= 4)
				block(bf16, 4, mm, a, b, c, rows, lo, hi, next);
			else
				block(bf16, MR, mm, a, b, c, rows, lo, hi, next);
		}
	}
}

static void matmul_bf16(const struct kiln_matmul *mm)
{
	matmul(true, mm);
}

#define PAIRS	4	/* of rows at a time: as many streams as the host follows */
#define SHORT	2048	/* columns: of such rows one group is over before the next one has come */

/* One pair of rows by 32 columns; lo and hi are those of the sum. */
INLINE void add_pair(const uint8_t *even, const uint8_t *odd, __mmask32 m, __m512i x,
		     __m512 *lo, __m512 *hi)
{
	__m512i v[2];

	interleave((const uint16_t *)even, (const uint16_t *)odd, m, v);
	*lo = _mm512_dpbf16_ps(*lo, (__m512bh)x, (__m512bh)v[0]);
	*hi = _mm512_dpbf16_ps(*hi, (__m512bh)x, (__m512bh)v[1]);
}

/* The columns from n on, or the rows, that are less than a block. load: add to what C holds; last: of all rows. */
static void few(const struct kiln_matvec *mv, uint32_t k, uint32_t rows, uint32_t n, bool load,
		bool last)
{
	static const uint8_t zero[64];

	for (; n < mv->n; n += 32) {
		__mmask32 m = mv->n - n >= 32 ? ~0u : (1u << (mv->n - n)) - 1;
		__mmask16 m0 = m, m1 = m >> W;
		float *c = mv->c + n;
		__m512 lo = _mm512_maskz_loadu_ps(load ? m0 : 0, c);
		__m512 hi = _mm512_maskz_loadu_ps(load ? m1 : 0, c + W);

		for (uint32_t i = 0; i < rows; i += 2) {
			const uint8_t *even = mv->b + (k + i) * mv->pitch + 2 * (size_t)n;

			add_pair(even, i + 1 < rows ? even + mv->pitch : zero, m,
				 _mm512_set1_epi32(mv->a[(k + i) / 2 * mv->a_step]), &lo, &hi);
		}
		_mm512_mask_storeu_ps(c, m0, last ? quiet(lo) : lo);
		_mm512_mask_storeu_ps(c + W, m1, last ? quiet(hi) : hi);
	}
}

/*
 * Some pairs of rows. The matrix comes from memory, once: the rows that are next
 * are fetched while these are computed with.
 */
INLINE void row_group(const struct kiln_matvec *mv, uint32_t k, bool load, bool last)
{
	const size_t pitch = mv->pitch, ahead = (mv->n <= SHORT ? 4 : 2) * PAIRS * pitch;
	const uint8_t *row[3], *next[3];	/* each the first of three */
	uint32_t count = mv->n, n = 0;
	float *c = mv->c;
	__m512i x[PAIRS];

#pragma GCC unroll 3
	for (unsigned int i = 0; i < 3; i++) {
		row[i] = mv->b + (k + 3 * i) * pitch;
		next[i] = row[i] + ahead;
	}
#pragma GCC unroll 4
	for (unsigned int i = 0; i < PAIRS; i++)
		x[i] = _mm512_set1_epi32(mv->a[(k / 2 + i) * mv->a_step]);
	for (; n + 64 <= count; n += 64, c += 64) {
		__m512 sum[4];

#pragma GCC unroll 4
		for (unsigned int i = 0; i < 4; i++)
			sum[i] = load ? _mm512_loadu_ps(c + i * W) : _mm512_setzero_ps();
#pragma GCC unroll 4
		for (unsigned int i = 0; i < PAIRS; i++) {
			const unsigned int j = 2 * i, l = j + 1;
			const uint8_t *even = row[j / 3] + j % 3 * pitch;
			const uint8_t *odd = row[l / 3] + l % 3 * pitch;

			_mm_prefetch(next[j / 3] + j % 3 * pitch, _MM_HINT_T1);
			_mm_prefetch(next[l / 3] + l % 3 * pitch, _MM_HINT_T1);
			_mm_prefetch(next[j / 3] + j % 3 * pitch + 64, _MM_HINT_T1);
			_mm_prefetch(next[l / 3] + l % 3 * pitch + 64, _MM_HINT_T1);
			add_pair(even, odd, ~0u, x[i], &sum[0], &sum[1]);
			add_pair(even + 64, odd + 64, ~0u, x[i], &sum[2], &sum[3]);
			/* Spread: many at once stand in the way of the loads. */
			__asm__ volatile("" : : : "memory");
		}
#pragma GCC unroll 4
		for (unsigned int i = 0; i < 4; i++)
			_mm512_storeu_ps(c + i * W, last ? quiet(sum[i]) : sum[i]);
#pragma GCC unroll 3
		for (unsigned int i = 0; i < 3; i++) {
			row[i] += 128;
			next[i] += 128;
			/* An address for each row would be more than there are registers. */
			__asm__("" : "+r"(row[i]), "+r"(next[i]));
		}
	}
	if (n < count)
		few(mv, k, 2 * PAIRS, n, load, last);
}

static void matvec_bf16(const struct kiln_matvec *mv)
{
	uint32_t k = 0, left = mv->rows;

	if (left > 2 * PAIRS && !mv->accumulate) {
		row_group(mv, 0, false, false);
		k += 2 * PAIRS;
		left -= 2 * PAIRS;
	}
	for (; left > 2 * PAIRS; k += 2 * PAIRS, left -= 2 * PAIRS)
		row_group(mv, k, true, false);
	if (left == 2 * PAIRS && (k || mv->accumulate))
		row_group(mv, k, true, true);
	else
		few(mv, k, left, 0, k || mv->accumulate, true);
}

#define RUN	4	/* lines of a row that are fetched together: memory is read in longer pieces */

/* rows of C, m of them or one less, by 32 columns. next: rows of b to be fetched, RUN lines of each. */
INLINE void few_block(bool bf16, unsigned int m, const struct kiln_few *few, const uint32_t *a,
		      float *c, uint32_t rows, uint32_t n, __mmask32 mask, const uint8_t *next)
{
	const unsigned int lines = 1 + bf16;	/* so many rows are behind one step */
	const uint8_t *b = few->b + n * sizeof(uint16_t), *last = b + (few->rows - 1) * few->pitch;
	const size_t step = (1 + bf16) * few->pitch;
	const __mmask16 m0 = mask, m1 = mask >> W;
	__m512 sum[MR][2];

	c += n;
#pragma GCC unroll 8
	for (unsigned int i = 0; i < m; i++) {
		bool load = few->accumulate && i < rows;

		sum[i][0] = _mm512_maskz_loadu_ps(load ? m0 : 0, c + i * few->c_pitch);
		sum[i][1] = _mm512_maskz_loadu_ps(load ? m1 : 0, c + i * few->c_pitch + W);
	}
#pragma GCC unroll 4
	for (uint32_t k = 0; b <= last; k += lines, b += step, a += MR) {
		static const uint8_t zero[64];
		__m512i y[2];

		for (unsigned int i = 0; i < lines; i++)
			_mm_prefetch((const char *)next + (k + i) % RUN * 64, _MM_HINT_T1);
		if ((k + lines) % RUN == 0)
			next += few->pitch;
		if (bf16) {
			interleave((const uint16_t *)b,
				   (const uint16_t *)(b < last ? b + few->pitch : zero), mask, y);
		} else {
			__m512i x = _mm512_maskz_loadu_epi16(mask, b);

			y[0] = _mm512_castps_si512(_mm512_cvtph_ps(_mm512_castsi512_si256(x)));
			y[1] = _mm512_castps_si512(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1)));
		}
#pragma GCC unroll 8
		for (unsigned int i = 0; i < m; i++) {
			__m512i x = _mm512_set1_epi32(a[i]);

			if (bf16) {
				sum[i][0] = _mm512_dpbf16_ps(sum[i][0], (__m512bh)x, (__m512bh)y[0]);
				sum[i][1] = _mm512_dpbf16_ps(sum[i][1], (__m512bh)x, (__m512bh)y[1]);
			} else {
				sum[i][0] = _mm512_fmadd_ps(_mm512_castsi512_ps(x),
							    _mm512_castsi512_ps(y[0]), sum[i][0]);
				sum[i][1] = _mm512_fmadd_ps(_mm512_castsi512_ps(x),
							    _mm512_castsi512_ps(y[1]), sum[i][1]);
			}
		}
	}
#pragma GCC unroll 8
	for (unsigned int i = 0; i < m; i++) {
		if (i == rows)
			break;
		_mm512_mask_storeu_ps(c + i * few->c_pitch, m0, quiet(sum[i][0]));
		_mm512_mask_storeu_ps(c + i * few->c_pitch + W, m1, quiet(sum[i][1]));
	}
}

/*
 * A panel of a by 32 columns of b. Each row of b is on a page of its own, where the host does not
 * look ahead: the columns behind some blocks are fetched meanwhile, each does so for its share
 * of the rows. Behind the last ones is what comes next.
 */
INLINE void few_panel(bool bf16, const struct kiln_few *few, uint32_t m, uint32_t n,
		      __mmask32 mask)
{
	const uint32_t *a = few->a + m / MR * few->a_pitch;
	uint32_t rows = few->m - m < MR ? few->m - m : MR;
	float *c = few->c + m * few->c_pitch;
	uint32_t behind = (n / 32 / RUN + 1) * RUN * 32;
	const uint8_t *next = few->b + behind * sizeof(uint16_t);

	if (behind >= few->n && few->next)
		next = few->next;
	next += n / 32 % RUN * (few->rows / RUN) * few->pitch;

	if (rows > 6)
		few_block(bf16, 8, few, a, c, rows, n, mask, next);
	else if (rows > 4)
		few_block(bf16, 6, few, a, c, rows, n, mask, next);
	else if (rows > 2)
		few_block(bf16, 4, few, a, c, rows, n, mask, next);
	else
		few_block(bf16, 2, few, a, c, rows, n, mask, next);
}

INLINE void few_of(bool bf16, const struct kiln_few *few)
{
	uint32_t n = 0, m;

	for (; n + 32 <= few->n; n += 32)
		for (m = 0; m < few->m; m += MR)
			few_panel(bf16, few, m, n, ~0u);
	for (m = 0; n < few->n && m < few->m; m += MR)
		few_panel(bf16, few, m, n, (1u << (few->n - n)) - 1);
}

static void matmul_few(const struct kiln_few *few)
{
	if (few->dtype == KILN_BF16)
		few_of(true, few);
	else
		few_of(false, few);
}

static void matmul_f32(const struct kiln_matmul *mm)
{
	matmul(false, mm);
}

/* --------------------------------------------------------- transpose -- */

/* 16 rows of 16 words to 16 columns. */
INLINE void transpose_block(__m512i r[16])
{
	__m512i t[16];

	for (unsigned int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
	}
	for (unsigned int i = 0; i < 16; i += 4) {
		r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	/* r[4 g + j]: column 4 l + j of rows 4 g to 4 g + 3 in its lane l */
	for (unsigned int j = 0; j < 4; j++) {
		__m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
		__m512i b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
		__m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
		__m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);

		t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
		t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
		t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
		t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
	}
	for (unsigned int i = 0; i < 16; i++)
		r[i] = t[i];
}

static void transpose32(void *dst, size_t dst_pitch, const void *src,
			size_t src_pitch, unsigned int rows, unsigned int cols)
{
	for (unsigned int i = 0; i < rows; i += 16) {
		unsigned int h = rows - i < 16 ? rows - i : 16;

		for (unsigned int j = 0; j < cols; j += 16) {
			unsigned int w = cols - j < 16 ? cols - j : 16;
			const uint8_t *from = (const uint8_t *)src + i * src_pitch + j * 4;
			uint8_t *to = (uint8_t *)dst + j * dst_pitch + i * 4;
			__m512i r[16];

			for (unsigned int k = 0; k < 16; k++)
				r[k] = _mm512_maskz_loadu_epi32(k < h ? tail(w) : 0,
								from + k * src_pitch);
			/* What is next, each row on a page of its own */
			for (unsigned int k = 0; k < 16; k++) {
				_mm_prefetch((const char *)from + (16 + k) * src_pitch, _MM_HINT_T0);
				__builtin_prefetch(to + k * dst_pitch + 64, 1);
			}
			transpose_block(r);
			for (unsigned int k = 0; k < 16 && k < w; k++)
				_mm512_mask_storeu_epi32(to + k * dst_pitch, tail(h), r[k]);
		}
	}
}

/* 16 columns of 32 rows, k and 16 + k in the halves of r[k], become 16 rows. */
INLINE void transpose_block16(__m512i r[16])
{
	const __m512i low = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
	const __m512i high = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
	__m512i t[16];

	for (unsigned int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
	}
	for (unsigned int i = 0; i < 16; i += 4) {
		r[i] = _mm512_unpacklo_epi32(t[i], t[i + 2]);
		r[i + 1] = _mm512_unpackhi_epi32(t[i], t[i + 2]);
		r[i + 2] = _mm512_unpacklo_epi32(t[i + 1], t[i + 3]);
		r[i + 3] = _mm512_unpackhi_epi32(t[i + 1], t[i + 3]);
	}
	for (unsigned int j = 0; j < 4; j++) {
		t[2 * j] = _mm512_unpacklo_epi64(r[j], r[4 + j]);
		t[2 * j + 1] = _mm512_unpackhi_epi64(r[j], r[4 + j]);
		t[8 + 2 * j] = _mm512_unpacklo_epi64(r[8 + j], r[12 + j]);
		t[9 + 2 * j] = _mm512_unpackhi_epi64(r[8 + j], r[12 + j]);
	}
	/* t[8 g + j]: column j, then j + 8, of rows 8 g to 8 g + 7; the same of those 16 below */
	for (unsigned int j = 0; j < 8; j++) {
		r[j] = _mm512_permutex2var_epi64(t[j], low, t[8 + j]);
		r[8 + j] = _mm512_permutex2var_epi64(t[j], high, t[8 + j]);
	}
}

/* h rows by w columns of a block; where it is whole, both are constants. */
INLINE void block16(uint8_t *to, size_t to_pitch, const uint8_t *from, size_t from_pitch,
		    unsigned int h, unsigned int w)
{
	__mmask32 m = h < 32 ? (1u << h) - 1 : ~0u;
	__m512i r[16];

	for (unsigned int k = 0; k < 16; k++) {
		__m256i a = _mm256_maskz_loadu_epi16(k < h ? tail(w) : 0, from + k * from_pitch);
		__m256i b = _mm256_maskz_loadu_epi16(16 + k < h ? tail(w) : 0,
						     from + (16 + k) * from_pitch);

		r[k] = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
	}
	transpose_block16(r);
	for (unsigned int k = 0; k < 16 && k < w; k++)
		_mm512_mask_storeu_epi16(to + k * to_pitch, m, r[k]);
}

static void transpose16(void *dst, size_t dst_pitch, const void *src,
			size_t src_pitch, unsigned int rows, unsigned int cols)
{
	for (unsigned int i = 0; i < rows; i += 32) {
		unsigned int h = rows - i < 32 ? rows - i : 32;

		for (unsigned int j = 0; j < cols; j += 16) {
			unsigned int w = cols - j < 16 ? cols - j : 16;
			const uint8_t *from = (const uint8_t *)src + i * src_pitch + j * 2;
			uint8_t *to = (uint8_t *)dst + j * dst_pitch + i * 2;

			/* What is next: a line of each row is two blocks */
			for (unsigned int k = 0; j % 32 == 0 && k < 32; k++)
				_mm_prefetch((const char *)from + (32 + k) * src_pitch, _MM_HINT_T1);
			for (unsigned int k = 0; k < 16; k++)
				__builtin_prefetch(to + k * dst_pitch + 64, 1);
			if (h == 32 && w == 16)
				block16(to, dst_pitch, from, src_pitch, 32, 16);
			else
				block16(to, dst_pitch, from, src_pitch, h, w);
		}
	}
}

const struct kiln_ops kiln_ops_avx512 = {
	.name = "avx512",
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

#endif
