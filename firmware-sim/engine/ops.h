/* SPDX-License-Identifier: MIT */
/*
 * Tile kernels: the arithmetic of the engines, on plain host memory.
 *
 * ops_ref.c defines each one; the vector paths give the same bits, faster.
 * docs/numerics.md says the same in words. All of them expect MXCSR at its
 * default (round to nearest, no flushing) and leave it so.
 */
#ifndef KILN_ENGINE_OPS_H
#define KILN_ENGINE_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kiln/isa.h"

enum kiln_ops_level {
	KILN_OPS_REF,
	KILN_OPS_AVX2,
	KILN_OPS_AVX512,	/* with BF16 */
	KILN_OPS_LEVELS,
};

#define KILN_LANES	32	/* partial results of a reduction */
#define KILN_PANEL	32	/* columns of a packed panel of the moving matrix */
#define KILN_MAX_MR	16

/*
 * Both matrices are packed in panels. A row of either is one k (fp32), or a
 * pair of them (bf16), the odd one in the upper half; what K lacks to a whole
 * pair is +0.
 *
 * stationary, panels of mr columns: a[m / mr * a_pitch + row * mr + m % mr]
 * moving, panels of KILN_PANEL columns: b[n / KILN_PANEL * b_pitch + row * b_step + n % KILN_PANEL],
 * which are also the rows of a matrix that was never packed
 *
 * What pads the last panels is computed with and not stored.
 */
struct kiln_matmul {
	/*
	 * What the host should fetch meanwhile: the matrices of the next matmul.
	 * Each row of them is on a page of its own, and packing them from cold
	 * caches takes a tenth as long as multiplying. bytes 0: nothing.
	 */
	struct kiln_ahead {
		const uint8_t *base;
		size_t pitch;
		uint32_t rows, bytes;
	} ahead[2];
	const uint32_t *a, *b;
	size_t a_pitch, b_pitch, b_step;
	uint32_t rows;
	uint32_t m, n;
	float *c;		/* c[m * pitch + n] */
	size_t pitch;		/* floats */
	bool accumulate;
};

#define KILN_MATVEC_MAX_N	4096

/* One row of C, bf16: the moving matrix is not packed, rows (of k) lie pitch bytes apart. */
struct kiln_matvec {
	const uint32_t *a;	/* pairs as above, a_step words apart */
	size_t a_step;
	const uint8_t *b;
	size_t pitch;
	uint32_t rows;
	uint32_t n;
	float *c;
	bool accumulate;
};

#define KILN_FEW	16

/*
 * C of up to KILN_FEW rows, f16 or bf16: packing the moving matrix costs more than to multiply
 * so little with it. rows (of k) lie pitch bytes apart.
 */
struct kiln_few {
	const uint32_t *a;	/* panels of mr columns as above */
	size_t a_pitch;
	const uint8_t *b;
	size_t pitch;
	const uint8_t *next;	/* rows like those of b that are wanted behind them, or NULL */
	enum kiln_dtype dtype;	/* of b */
	uint32_t rows;
	uint32_t m, n;
	float *c;		/* c[m * c_pitch + n] */
	size_t c_pitch;		/* floats */
	bool accumulate;
};

struct kiln_ops {
	const char *name;
	unsigned int mr;

	/* n elements of any dtype to and from fp32. store makes every NaN the canonical one. */
	void (*load)(float *dst, const void *src, size_t n, enum kiln_dtype dtype);
	void (*store)(void *dst, const float *src, size_t n, enum kiln_dtype dtype);

	/* dst may be a source. The scalar is the second operand, with reverse the first. */
	void (*binary)(enum kiln_alu op, float *dst, const float *a,
		       const float *b, size_t n);
	void (*binary_scalar)(enum kiln_alu op, float *dst, const float *a,
			      float s, bool reverse, size_t n);
	void (*activation)(enum kiln_activation func, float *dst,
			   const float *src, float scale, float bias, size_t n);
	void (*reciprocal)(float *dst, const float *src, size_t n);
	/* dst = predicate != 0 ? a : s */
	void (*select)(float *dst, const float *predicate, const float *a,
		       float s, size_t n);

	/* Element i goes into lane i % KILN_LANES; so n is a multiple of that but at the end. */
	void (*reduce)(enum kiln_alu op, float lane[KILN_LANES],
		       const float *x, size_t n);

	/*
	 * A row of a packed bf16 matrix: even[i] | odd[i] << 16 goes to
	 * dst[i / width * pitch + i % width], and 0 fills the last panel up.
	 */
	void (*pack_pairs)(uint32_t *dst, size_t pitch, unsigned int width,
			   const uint16_t *even, const uint16_t *odd, size_t n);
	void (*matmul_bf16)(const struct kiln_matmul *mm);
	void (*matmul_f32)(const struct kiln_matmul *mm);
	/* The same bits as matmul_bf16(); NULL: packing is faster. */
	void (*matvec_bf16)(const struct kiln_matvec *mv);
	/* The same bits as packing and matmul; NULL where matvec_bf16 is. */
	void (*matmul_few)(const struct kiln_few *few);

	/* dst[j][i] = src[i][j], elements of 2 or 4 bytes, pitches in bytes. */
	void (*transpose16)(void *dst, size_t dst_pitch, const void *src,
			    size_t src_pitch, unsigned int rows, unsigned int cols);
	void (*transpose32)(void *dst, size_t dst_pitch, const void *src,
			    size_t src_pitch, unsigned int rows, unsigned int cols);
};

extern const struct kiln_ops kiln_ops_ref;
extern const struct kiln_ops kiln_ops_avx2;
extern const struct kiln_ops kiln_ops_avx512;

/* The kernels of a level, NULL if this host or build does not have them. */
const struct kiln_ops *kiln_ops_get(enum kiln_ops_level level);
enum kiln_ops_level kiln_ops_best(void);

/* The first step of a reduction, each lane what changes nothing; and the last. */
void kiln_reduce_start(enum kiln_alu op, float lane[KILN_LANES]);
float kiln_reduce_fold(enum kiln_alu op, float lane[KILN_LANES]);

/* Single values, by the same rules. */
float kiln_load_one(const void *src, enum kiln_dtype dtype);
void kiln_store_one(void *dst, float value, enum kiln_dtype dtype);
float kiln_alu_one(enum kiln_alu op, float a, float b);
/* To a floating-point type other than fp32: up with the probability of what is lost. */
void kiln_store_random(void *dst, float x, uint32_t word, enum kiln_dtype dtype);

/* The functions of integers, of elements in the low bits of words. dst may be a source. */
void kiln_bitwise(enum kiln_alu op, uint32_t *dst, const uint32_t *a, const uint32_t *b,
		  size_t n);

/*
 * exp, shared by all paths so that they take the same steps:
 *   t = clamp(x, EXP_MIN, EXP_MAX)
 *   n = round to nearest even (t * LOG2E)
 *   r = fma(n, -LN2_LO, fma(n, -LN2_HI, t))
 *   q = C2 + r (C3 + r (C4 + r (C5 + r (C6 + r C7)))), one fma a step
 *   y = fma(q, r * r, r) + 1
 *   result = y * 2^n, rounded once
 */
#define KILN_EXP_MIN	-104.0f		/* 2^-150 and less rounds to 0 */
#define KILN_EXP_MAX	89.0f		/* more than the largest fp32 */
#define KILN_LOG2E	0x1.715476p+0f
#define KILN_LN2_HI	0x1.62e4p-1f	/* 15 bits: n times it is exact */
#define KILN_LN2_LO	0x1.7f7d1cp-20f
#define KILN_EXP_C2		0x1p-1f
#define KILN_EXP_C3		0x1.555556p-3f
#define KILN_EXP_C4		0x1.555482p-5f
#define KILN_EXP_C5		0x1.11107ep-7f
#define KILN_EXP_C6		0x1.6d950cp-10f
#define KILN_EXP_C7		0x1.a1b76cp-13f

#endif
