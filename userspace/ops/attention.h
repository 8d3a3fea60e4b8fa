/* SPDX-License-Identifier: MIT */
/* The schedule of attention that takes no maxima; attention.c goes on where that was wrong. */
#ifndef KILN_OPS_ATTENTION_H
#define KILN_OPS_ATTENTION_H

#include "ops.h"

bool kiln_attention_by_keys_fits(const struct kiln_attention *at, unsigned int generation);

/* bad: a register of each engine, 1 after it if the result is no good. 0 or -ENOMEM. */
int kiln_attention_by_keys(struct kiln_asm *as, const struct kiln_attention *at,
			   unsigned int bad[KILN_ENGINES]);

/* To be written first where they are 1. */
void kiln_attention_by_keys_again(struct kiln_asm *as);

#endif
