/* SPDX-License-Identifier: MIT */
/*
 * Is what the card computed right? Against float64 on this CPU, which may be
 * an emulated one, so large results are not computed a second time as a whole:
 *
 *   full	every element against its float64 value.
 *   sampled	some hundreds of elements like that, corners and edges among
 *		them; and for matmul a probe that covers every element: for a
 *		random x of +1 and -1, row by row, C x against A (B x). For
 *		attention: a row of each 128-row tile of each head, and every
 *		element finite and within the range of v.
 *
 * An element may differ from its float64 value by what rounding explains:
 * u = 2^-24 at each of k steps of an fp32 sum, and the rounding to the type
 * that is stored (2^-24 or 2^-8). Random inputs err in both directions, so
 * there 8 sqrt(k) u stands for k u; inputs of the user's get the full k u.
 */
#ifndef KILN_TOOL_CHECK_H
#define KILN_TOOL_CHECK_H

#include <stdbool.h>

#include "kiln_ops.h"

struct check {
	bool full;		/* else sampled */
	uint64_t elements;	/* compared one by one */
	uint64_t rows;		/* compared by the probe, or swept for range */
	double error;		/* absolute, of the element nearest to its limit */
	double allowed;		/* there */
	bool ok;
	char what[64];		/* the first thing found wrong */
};

/* Host copies, dense. random: the inputs are fill_random()'s. */
void check_matmul(const struct kiln_matmul *mm, const void *a, const void *b,
		  const void *c, bool random, uint64_t seed, struct check *check);

struct check_inputs {
	const void *q, *k, *v;
	const void *mask;		/* fp32, with mask_dim said; NULL: none */
	const float *slopes;
};

void check_attention(const struct kiln_attention *at, const struct check_inputs *in,
		     const void *out, bool random, uint64_t seed, struct check *check);

/* What the checks of other ops are made of: one element, a rounding, sums, numbers to choose by. */
void check_element(struct check *check, double got, double want, double allowed, uint64_t row,
		   uint64_t col);
double check_rounding(enum kiln_type type, double value);
double check_sum_error(double k, bool random);
uint64_t check_next(uint64_t *state);

#endif
