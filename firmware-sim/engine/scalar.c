// SPDX-License-Identifier: MIT
/*
 * The Scalar engine: a function of a scaled and shifted tile.
 */
#include "engine/state.h"

enum kiln_status kiln_exec_activation(struct kiln_core *core, struct stream *s,
				      const struct kiln_insn *insn)
{
	struct tile dst, src, scale, bias, sum;
	enum kiln_status status = kiln_tile(core, s, &insn->src[0], &src);

	bias.base = NULL;
	if (status == KILN_ST_OK)
		status = kiln_column(core, s, &insn->col[0], &src, &scale);
	if (status == KILN_ST_OK && insn->src[1].space)
		status = kiln_tile(core, s, &insn->src[1], &bias);
	if (status == KILN_ST_OK)
		status = kiln_tile_out(core, s, &insn->dst, &dst);
	if (status == KILN_ST_OK)
		status = kiln_column_out(core, s, &insn->col[1], &dst, &sum);
	if (status != KILN_ST_OK)
		return status;

	for (uint32_t p = 0; p < dst.partitions; p++) {
		float a = insn->imm[0], b = insn->imm[1];
		float lane[KILN_LANES];

		if (scale.base)
			a = kiln_load_one(scale.base + p * scale.pitch, scale.dtype);
		if (bias.base)
			b = kiln_load_one(bias.base + p * bias.pitch, bias.dtype);
		if (sum.base)
			kiln_reduce_start(KILN_ALU_ADD, lane);

		for (uint32_t at = 0; at < dst.count; at += CHUNK) {
			uint32_t n = dst.count - at < CHUNK ? dst.count - at : CHUNK;
			const float *x = kiln_tile_load(core, &src, p, at, n, core->x);

			core->ops->activation(insn->func, core->x, x, a, b, n);
			if (sum.base)
				core->ops->reduce(KILN_ALU_ADD, lane, core->x, n);
			kiln_tile_store(core, &dst, p, at, n, core->x);
			if (aborted(core))
				return KILN_ST_OK;
		}
		if (sum.base)
			kiln_store_one(sum.base + p * sum.pitch,
				       kiln_reduce_fold(KILN_ALU_ADD, lane), sum.dtype);
	}
	return KILN_ST_OK;
}
