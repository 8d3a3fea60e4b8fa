/* SPDX-License-Identifier: MIT */
/*
 * Blocks of quantised types, and instructions that expand them in SBUF.
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
};

/* On Vector. */
void dequantise(struct kiln_asm *as, const struct dequant *dq);

#endif
