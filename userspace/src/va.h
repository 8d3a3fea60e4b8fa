/* SPDX-License-Identifier: MIT */
/*
 * An allocator of address ranges: device addresses, and the simulated card's
 * HBM. A list of free ranges in order of address, the first that fits.
 */
#ifndef KILN_VA_H
#define KILN_VA_H

#include <stdint.h>

struct kiln_va_range;

struct kiln_va {
	struct kiln_va_range *free;	/* by address, never touching each other */
	struct kiln_va_range *spare;	/* at least one for each live allocation */
	uint64_t free_bytes;
};

/* [start, end). 0 or -ENOMEM. */
int kiln_va_init(struct kiln_va *va, uint64_t start, uint64_t end);
void kiln_va_fini(struct kiln_va *va);

/* align is a power of two. 0 or -ENOMEM. */
int kiln_va_alloc(struct kiln_va *va, uint64_t bytes, uint64_t align,
		  uint64_t *start);

/* A range that kiln_va_alloc() gave. Cannot fail. */
void kiln_va_free(struct kiln_va *va, uint64_t start, uint64_t bytes);

#endif
