// SPDX-License-Identifier: MIT
/*
 * What only the GpSimd engine does.
 */
#include <string.h>

#include "engine/state.h"

/* How v compares with 0. */
static bool holds(enum kiln_alu op, int64_t v)
{
	switch (op) {
	case KILN_ALU_EQ:
		return v == 0;
	case KILN_ALU_NE:
		return v != 0;
	case KILN_ALU_GE:
		return v >= 0;
	case KILN_ALU_GT:
		return v > 0;
	case KILN_ALU_LE:
		return v <= 0;
	default:
		return v < 0;
	}
}

/*
 * What the terms of IOTA and AFFINE_SELECT give for n elements from at on, over
 * the dimensions of tile; all of it modulo 2^64, as registers are.
 */
static void terms(const struct tiles *t, const struct kiln_operand *tile, uint32_t p,
		  uint32_t at, uint32_t n, uint64_t *values)
{
	const struct kiln_operand *op = &t->insn->src[1];
	unsigned int last = tile->ndim - 1;
	uint64_t step[4];

	for (unsigned int d = 0; d < 4; d++)
		step[d] = (int64_t)(d < 3 ? op->dram.step[d + 1] : t->insn->last_step);
	while (n) {
		uint32_t left = tile->size[last] - at % tile->size[last], outer = at;
		uint64_t v = t->s->reg[op->dram.base] + (int64_t)op->dram.offset +
			     (int64_t)op->dram.step[0] * p;

		for (int d = (int)last; d >= 0; d--) {
			v += step[d] * (outer % tile->size[d]);
			outer /= tile->size[d];
		}
		if (left > n)
			left = n;
		at += left;
		for (n -= left; left; left--, v += step[last])
			*values++ = v;
	}
}

const float *kiln_chunk_affine_select(struct kiln_core *core, struct chunk *c)
{
	uint64_t v[CHUNK];

	terms(c->t, &c->insn->src[0], c->p, c->at, c->n, v);
	for (uint32_t i = 0; i < c->n; i++)
		core->z[i] = holds(c->insn->func, v[i]) ? c->a[i] : c->insn->imm[0];
	return core->z;
}

/* 32-bit integers are stored as they are, of others the value as a signed one is converted. */
enum kiln_status kiln_exec_iota(struct kiln_core *core, const struct tiles *t)
{
	bool as_it_is = t->dst.dtype == KILN_I32 || t->dst.dtype == KILN_U32;
	uint32_t *words = core->row[0];
	uint64_t v[CHUNK];

	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		for (uint32_t at = 0; at < t->dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t->dst, at);

			terms(t, &t->insn->dst, p, at, n, v);
			for (uint32_t i = 0; i < n; i++)
				words[i] = (uint32_t)v[i];
			if (as_it_is) {
				kiln_tile_scatter(&t->dst, p, at, n, words);
			} else {
				core->ops->load(core->z, words, n, KILN_I32);
				kiln_tile_store(core, &t->dst, p, at, n, core->z);
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/* dst [1, F] = ((src[0] func src[1]) func src[2]) ... over the partitions, in fp32. */
enum kiln_status kiln_exec_partition_reduce(struct kiln_core *core, const struct tiles *t)
{
	const struct tile *src = &t->src[0];

	if (t->insn->func >= KILN_ALU_BITWISE)
		return kiln_exec_bitwise_partitions(core, t);
	for (uint32_t at = 0; at < t->dst.count; at += CHUNK) {
		uint32_t n = tile_chunk(&t->dst, at);

		memcpy(core->z, kiln_tile_load(core, src, 0, at, n, core->x), n * sizeof(float));
		for (uint32_t p = 1; p < src->partitions; p++)
			core->ops->binary(t->insn->func, core->z, core->z,
					  kiln_tile_load(core, src, p, at, n, core->x), n);
		kiln_tile_store(core, &t->dst, 0, at, n, core->z);
		if (aborted(core))
			return KILN_ST_OK;
	}
	return KILN_ST_OK;
}

/*
 * dst[i] = where the run of equal numbers that element i of src belongs to
 * begins, dst[n + i] = where it ends, the first beyond it; n and -1 where src is
 * 0. Numbers are the same if their bits are, and -0 is 0.
 */
enum kiln_status kiln_exec_sequence_bounds(struct kiln_core *core, const struct tiles *t)
{
	uint32_t n = t->src[0].count, zero = t->src[0].dtype == KILN_F32 ? 0x80000000 : 0;
	uint32_t *id = core->row[0];

	for (int ends = 0; ends < 2; ends++) {
		uint32_t before = 0, bound = 0;

		/* In the order of elements, or from the last one back. */
		for (uint32_t at = 0; at < n; at += CHUNK) {
			uint32_t k = tile_chunk(&t->src[0], at), first = ends ? n - at - k : at;

			kiln_tile_gather(&t->src[0], 0, first, k, id);
			for (uint32_t j = 0; j < k; j++) {
				uint32_t i = ends ? k - 1 - j : j;

				if (at + j == 0 || id[i] != before)
					bound = first + i + ends;
				before = id[i];
				core->z[i] = id[i] && id[i] != zero ? (float)bound :
					     ends ? -1 : (float)n;
			}
			kiln_tile_store(core, &t->dst, 0, first + ends * n, k, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}
