/* SPDX-License-Identifier: MIT */
/*
 * Random numbers by counter: Philox4x32-10 (Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3", SC11). What comes out depends on the seed and
 * the counter only, so any element can be had without those before it, in any
 * order and by any path.
 */
#ifndef KILN_ENGINE_RANDOM_H
#define KILN_ENGINE_RANDOM_H

#include <stdint.h>

#define KILN_PHILOX_M0	0xd2511f53u
#define KILN_PHILOX_M1	0xcd9e8d57u
#define KILN_PHILOX_W0	0x9e3779b9u
#define KILN_PHILOX_W1	0xbb67ae85u
#define KILN_PHILOX_ROUNDS 10

static inline void kiln_philox(uint64_t seed, const uint32_t counter[4], uint32_t out[4])
{
	uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
	uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

	for (int round = 0; round < KILN_PHILOX_ROUNDS; round++) {
		uint64_t p0 = (uint64_t)KILN_PHILOX_M0 * c0;
		uint64_t p1 = (uint64_t)KILN_PHILOX_M1 * c2;

		c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
		c1 = (uint32_t)p1;
		c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
		c3 = (uint32_t)p0;
		k0 += KILN_PHILOX_W0;
		k1 += KILN_PHILOX_W1;
	}
	out[0] = c0;
	out[1] = c1;
	out[2] = c2;
	out[3] = c3;
}

/* What the numbers are for: kept apart, in the counter. */
enum kiln_random_use {
	KILN_RANDOM_DATA,	/* RNG, DROPOUT */
	KILN_RANDOM_ROUNDING,
};

/*
 * Words for the n elements of a partition from first on: element i gets word
 * i % 4 of the block with counter (i / 4, partition, use, 0). first is a multiple
 * of 4, and dst has room for n rounded up to one.
 */
static inline void kiln_philox_row(uint64_t seed, uint32_t partition, uint32_t first,
				   uint32_t n, enum kiln_random_use use, uint32_t *dst)
{
	uint32_t counter[4] = { first / 4, partition, use };

	for (uint32_t i = 0; i < n; i += 4, counter[0]++)
		kiln_philox(seed, counter, dst + i);
}

/* In [0, 1), in steps of 2^-24. */
static inline float kiln_uniform(uint32_t word)
{
	return (float)(word >> 8) * 0x1p-24f;
}

#endif
