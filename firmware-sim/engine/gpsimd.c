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

/* What IOTA and AFFINE_SELECT compute an element from; all of it modulo 2^64, as registers are. */
struct terms {
	uint64_t start, step[5];	/* of the partition, then of each dimension of the tile */
	const struct kiln_operand *tile;
};

static struct terms terms_of(const struct stream *s, const struct kiln_insn *insn,
			     const struct kiln_operand *tile)
{
	const struct kiln_operand *op = &insn->src[1];
	struct terms t = { .start = s->reg[op->dram.base] + (int64_t)op->dram.offset,
			   .tile = tile };

	for (unsigned int d = 0; d < 5; d++)
		t.step[d] = (int64_t)(d < 4 ? op->dram.step[d] : insn->last_step);
	return t;
}

/*
 * The value of element at of partition p, and the step to the next n - 1, of n
 * at most: all that follow in the innermost dimension.
 */
static uint64_t terms_at(const struct terms *t, uint32_t p, uint32_t at, uint64_t *step,
			 uint32_t *n)
{
	unsigned int d = t->tile->ndim;
	uint32_t left = t->tile->size[d - 1] - at % t->tile->size[d - 1];
	uint64_t v = t->start + t->step[0] * p;

	*step = t->step[d];
	*n = left < CHUNK ? left : CHUNK;
	for (; d; d--) {
		v += t->step[d] * (at % t->tile->size[d - 1]);
		at /= t->tile->size[d - 1];
	}
	return v;
}

enum kiln_status kiln_exec_affine_select(struct kiln_core *core, struct stream *s,
					 const struct kiln_insn *insn)
{
	struct terms terms = terms_of(s, insn, &insn->src[0]);
	struct tiles t;
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t at = 0, n; at < t.dst.count; at += n) {
			uint64_t step, v = terms_at(&terms, p, at, &step, &n);
			const float *x = kiln_tile_load(core, &t.src[0], p, at, n, core->x);

			for (uint32_t i = 0; i < n; i++, v += step)
				core->z[i] = holds(insn->func, v) ? x[i] : insn->imm[0];
			kiln_tile_store(core, &t.dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/* 32-bit integers are stored as they are, of others the value as a signed one is converted. */
enum kiln_status kiln_exec_iota(struct kiln_core *core, struct stream *s,
				const struct kiln_insn *insn)
{
	struct terms terms = terms_of(s, insn, &insn->dst);
	uint32_t *values = core->row[0];
	struct tile dst;
	enum kiln_status status = kiln_tile_out(core, s, &insn->dst, &dst);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < dst.partitions; p++) {
		for (uint32_t at = 0, n; at < dst.count; at += n) {
			uint64_t step, v = terms_at(&terms, p, at, &step, &n);

			for (uint32_t i = 0; i < n; i++, v += step)
				values[i] = (uint32_t)v;
			if (dst.dtype == KILN_I32 || dst.dtype == KILN_U32) {
				kiln_tile_scatter(&dst, p, at, n, values);
			} else {
				core->ops->load(core->z, values, n, KILN_I32);
				kiln_tile_store(core, &dst, p, at, n, core->z);
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/* dst [1, F] = ((src[0] func src[1]) func src[2]) ... over the partitions, in fp32. */
enum kiln_status kiln_exec_partition_reduce(struct kiln_core *core, struct stream *s,
					    const struct kiln_insn *insn)
{
	struct tiles t;
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
		uint32_t n = tile_chunk(&t.dst, at);

		memcpy(core->z, kiln_tile_load(core, &t.src[0], 0, at, n, core->x),
		       n * sizeof(float));
		for (uint32_t p = 1; p < t.src[0].partitions; p++)
			core->ops->binary(insn->func, core->z, core->z,
					  kiln_tile_load(core, &t.src[0], p, at, n, core->x), n);
		kiln_tile_store(core, &t.dst, 0, at, n, core->z);
		if (aborted(core))
			return KILN_ST_OK;
	}
	return KILN_ST_OK;
}
