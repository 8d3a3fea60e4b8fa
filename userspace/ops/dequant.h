/* SPDX-License-Identifier: MIT */
/*
 * Blocks of quantised types, and instructions that expand them in SBUF and make them.
 */
#ifndef KILN_OPS_DEQUANT_H
#define KILN_OPS_DEQUANT_H

#include "ops.h"

#define DEQUANT_SCRATCH	2	/* fp32 values for each element */

/* Blocks that lie behind each other in each of p partitions, and what becomes of them. */
struct dequant {
	enum kiln_type type;
	uint32_t p, blocks;
	uint32_t src, dst, tmp;		/* bytes in the partition */
	enum kiln_dtype dst_type;
	unsigned int reg;		/* added to all three */
	uint64_t grid;			/* dequant_grid()'s */
};

/* Where the table of such a type lies, from which each block looks up its values; 0: it has none. */
int dequant_grid(struct kiln_ops *ops, enum kiln_type type, uint64_t *addr);

static inline bool has_grid(enum kiln_type type)
{
	return type >= KILN_TYPE_IQ2_XXS && type <= KILN_TYPE_IQ1_M;
}

#define DEQUANT_SEM	160		/* of those that look up */
#define DEQUANT_RING	12

/* On Vector. */
void dequantise(struct kiln_asm *as, const struct dequant *dq);

/* Types that can be made. */
static inline bool quantisable(enum kiln_type type)
{
	return type >= KILN_TYPE_Q4_0 && type <= KILN_TYPE_NVFP4;
}

/* fp32 values for each element; groups that search for their scales want more */
static inline uint32_t quant_scratch(enum kiln_type type)
{
	return type >= KILN_TYPE_Q2_K && type <= KILN_TYPE_IQ4_XS ? 9 : 4;
}

/* The other way round: src_type elements to blocks. */
struct quant {
	enum kiln_type type;
	uint32_t p, blocks;
	uint32_t src, dst, tmp;		/* bytes in the partition */
	enum kiln_dtype src_type;
	unsigned int reg;		/* added to all three */
};

void quantise(struct kiln_asm *as, const struct quant *qu);

#endif
