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

enum kiln_status kiln_exec_affine_select(struct kiln_core *core, struct stream *s,
					 const struct kiln_insn *insn)
{
	const struct kiln_operand *op = &insn->src[0], *terms = &insn->src[1];
	uint32_t inner = op->size[op->ndim - 1];
	uint64_t step = (int64_t)terms->dram.step[op->ndim];
	struct tile dst, src;
	enum kiln_status status = kiln_tile(core, s, op, &src);

	if (status == KILN_ST_OK)
		status = kiln_tile_out(core, s, &insn->dst, &dst);
	if (status != KILN_ST_OK)
		return status;

	for (uint32_t p = 0; p < dst.partitions; p++) {
		/* Modulo 2^64, as the registers. */
		uint64_t start = s->reg[terms->dram.base] + (int64_t)terms->dram.offset +
				 (int64_t)terms->dram.step[0] * p;

		for (uint32_t at = 0; at < dst.count;) {
			uint32_t n = inner - at % inner < CHUNK ? inner - at % inner : CHUNK;
			uint32_t outer = at / inner;
			const float *x = kiln_tile_load(core, &src, p, at, n, core->x);
			uint64_t v = start + at % inner * step;

			for (int d = (int)op->ndim - 2; d >= 0; d--) {
				v += (int64_t)terms->dram.step[d + 1] *
				     (outer % op->size[d]);
				outer /= op->size[d];
			}
			for (uint32_t i = 0; i < n; i++, v += step)
				core->z[i] = holds(insn->func, v) ? x[i] : insn->imm[0];
			kiln_tile_store(core, &dst, p, at, n, core->z);
			at += n;
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/*
 * offset + base register + p * step[0] + sum of i[d] * step[d + 1], modulo 2^32,
 * over dst's dimensions. 32-bit integers are stored as they are, of others the
 * value as a signed 32-bit integer is converted.
 */
enum kiln_status kiln_exec_iota(struct kiln_core *core, struct stream *s,
				const struct kiln_insn *insn)
{
	const struct kiln_operand *op = &insn->dst, *terms = &insn->src[1];
	uint32_t inner = op->size[op->ndim - 1];
	uint32_t step = terms->dram.step[op->ndim];
	uint32_t *values = core->row[0];
	struct tile dst;
	enum kiln_status status = kiln_tile_out(core, s, op, &dst);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < dst.partitions; p++) {
		uint32_t start = (uint32_t)s->reg[terms->dram.base] +
				 (uint32_t)terms->dram.offset +
				 (uint32_t)terms->dram.step[0] * p;

		for (uint32_t at = 0; at < dst.count;) {
			uint32_t n = inner - at % inner < CHUNK ? inner - at % inner : CHUNK;
			uint32_t outer = at / inner, v = start + at % inner * step;

			for (int d = (int)op->ndim - 2; d >= 0; d--) {
				v += (uint32_t)terms->dram.step[d + 1] * (outer % op->size[d]);
				outer /= op->size[d];
			}
			for (uint32_t i = 0; i < n; i++, v += step)
				values[i] = v;
			if (dst.dtype == KILN_I32 || dst.dtype == KILN_U32) {
				kiln_tile_scatter(&dst, p, at, n, values);
			} else {
				core->ops->load(core->z, values, n, KILN_I32);
				kiln_tile_store(core, &dst, p, at, n, core->z);
			}
			at += n;
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
