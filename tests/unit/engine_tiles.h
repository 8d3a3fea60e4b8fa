/* SPDX-License-Identifier: MIT */
/*
 * For the tests of single instructions: operands of random shapes, and where
 * their elements are, found the long way.
 */
#ifndef TESTS_UNIT_ENGINE_TILES_H
#define TESTS_UNIT_ENGINE_TILES_H

#include "engine.h"

static struct machine *m;

/* Where the elements of an operand are, found the long way. */
static uint8_t *element(const struct kiln_operand *op, uint32_t p, uint32_t i)
{
	int64_t offset = 0;

	for (int d = op->ndim - 1; d >= 0; d--) {
		offset += (int64_t)(i % op->size[d]) * op->stride[d];
		i /= op->size[d];
	}
	offset = offset * kiln_dtype_bytes(op->dtype) + op->addr;
	return op->space == KILN_PSUM ? psum_at(m, op->partition + p, offset) :
					sbuf_at(m, op->partition + p, offset);
}

static uint32_t count_of(const struct kiln_operand *op)
{
	uint32_t n = 1;

	for (unsigned int d = 0; d < op->ndim; d++)
		n *= op->size[d];
	return n;
}

static float value(const struct kiln_operand *op, uint32_t p, uint32_t i)
{
	return kiln_load_one(element(op, p, i), op->dtype);
}

/*
 * A random operand of n free elements in [base, base + room) of each
 * partition, none of them twice unless again is set.
 */
static struct kiln_operand random_tile(enum kiln_space space, enum kiln_dtype dtype,
				       unsigned int partitions, uint32_t n, uint32_t base,
				       uint32_t room, bool again)
{
	unsigned int unit = partitions > 64 ? 128 : partitions > 32 ? 64 : 32;
	uint32_t bytes = kiln_dtype_bytes(dtype);
	struct kiln_operand op;
	int64_t low = 0;

	do {
		uint32_t left = n, extent = 1;
		unsigned int order[4] = { 0, 1, 2, 3 };

		memset(&op, 0, sizeof(op));
		op.space = space;
		op.dtype = dtype;
		op.partitions = partitions;
		op.partition = rng() % (KILN_PARTITIONS / unit) * unit;
		op.ndim = rng() % 4 + 1;
		for (unsigned int d = 0; d + 1 < op.ndim; d++) {
			uint32_t size = rng() % 6 + 1;

			op.size[d] = left % size ? 1 : size;
			left /= op.size[d];
		}
		op.size[op.ndim - 1] = left;
		/* Innermost first most of the time, else any order. */
		for (unsigned int d = 0; d < op.ndim; d++)
			order[d] = op.ndim - 1 - d;
		for (unsigned int d = 0; d < op.ndim && rng() % 3 == 0; d++) {
			unsigned int e = rng() % op.ndim, t = order[d];

			order[d] = order[e];
			order[e] = t;
		}
		low = 0;
		for (unsigned int k = 0; k < op.ndim; k++) {
			unsigned int d = order[k];
			uint32_t stride = extent + (rng() % 3 ? 0 : rng() % 3);

			if (again && rng() % 6 == 0)
				stride = 0;
			extent += stride * (op.size[d] - 1);
			op.stride[d] = stride;
			if (rng() % 5 == 0) {
				op.stride[d] = -op.stride[d];
				low += (int64_t)op.stride[d] * (op.size[d] - 1);
			}
		}
		if (extent * bytes <= room) {
			uint32_t slack = (room - extent * bytes) / bytes;

			op.addr = base + (rng() % (slack + 1) - low) * bytes;
			return op;
		}
	} while (1);
}

static enum kiln_dtype any_dtype(void)
{
	return rng() % 2 ? KILN_F32 : rng() % 2 ? KILN_BF16 :
	       KILN_I32 + rng() % (KILN_DTYPES - KILN_I32);
}

__attribute__((unused))
static const uint32_t counts[] = { 1, 2, 3, 12, 30, 64, 120, 360, 512, 600, 720 };

/* Values a computation can do something with, and some that it cannot. */
static void fill_memory(void)
{
	for (unsigned int p = 0; p < KILN_PARTITIONS; p++) {
		float *s = sbuf_at(m, p, 0), *q = psum_at(m, p, 0);

		for (unsigned int i = 0; i < (96 << 10) / 4; i++)
			s[i] = rng() % 64 ? rng_float() * 10 : bits_float(rng());
		for (unsigned int i = 0; i < (16 << 10) / 4; i++)
			q[i] = rng() % 64 ? rng_float() * 10 : bits_float(rng());
	}
}

#endif
