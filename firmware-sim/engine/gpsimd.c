// SPDX-License-Identifier: MIT
/*
 * What only the GpSimd engine does.
 */
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
