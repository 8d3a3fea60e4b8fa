// SPDX-License-Identifier: MIT
/*
 * The Vector engine, and what Scalar and GpSimd share with it: element by
 * element in fp32, a chunk at a time.
 *
 * A loop that sees an abort returns at once; the stream looks at the flag
 * before it goes on.
 */
#include <string.h>

#include "engine/state.h"

/* The operands of an instruction; absent ones have no base. */
struct tiles {
	struct tile dst, src[2], col[2];
};

static enum kiln_status resolve(struct kiln_core *core, const struct stream *s,
				const struct kiln_insn *insn, struct tiles *t)
{
	enum kiln_status status = KILN_ST_OK;

	for (unsigned int i = 0; i < 2 && status == KILN_ST_OK; i++) {
		t->src[i].base = NULL;
		if (insn->src[i].space == KILN_SBUF || insn->src[i].space == KILN_PSUM)
			status = kiln_tile(core, s, &insn->src[i], &t->src[i]);
	}
	for (unsigned int i = 0; i < 2 && status == KILN_ST_OK; i++)
		status = kiln_column(core, s, &insn->col[i], &t->src[0], &t->col[i]);
	if (status == KILN_ST_OK)
		status = kiln_tile_out(core, s, &insn->dst, &t->dst);
	return status;
}

static float scalar(const struct tile *col, uint32_t p, float imm)
{
	return col->base ? kiln_load_one(col->base + p * col->pitch, col->dtype) : imm;
}

static uint32_t chunk(const struct tile *tile, uint32_t at)
{
	return tile->count - at < CHUNK ? tile->count - at : CHUNK;
}

enum kiln_status kiln_exec_tensor_copy(struct kiln_core *core, struct stream *s,
				       const struct kiln_insn *insn)
{
	struct tiles t;
	enum kiln_status status = resolve(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = chunk(&t.dst, at);

			if (t.src[0].dtype != t.dst.dtype) {
				kiln_tile_store(core, &t.dst, p, at, n,
						kiln_tile_load(core, &t.src[0], p, at, n,
							       core->x));
			} else if (tile_contiguous(&t.src[0])) {
				kiln_tile_scatter(&t.dst, p, at, n,
						  t.src[0].base + p * t.src[0].pitch +
						  (size_t)at * t.src[0].esize);
			} else {
				kiln_tile_gather(&t.src[0], p, at, n, core->x);
				kiln_tile_scatter(&t.dst, p, at, n, core->x);
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_tensor_tensor(struct kiln_core *core, struct stream *s,
					 const struct kiln_insn *insn)
{
	struct tiles t;
	enum kiln_status status = resolve(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = chunk(&t.dst, at);
			const float *a = kiln_tile_load(core, &t.src[0], p, at, n, core->x);
			const float *b = kiln_tile_load(core, &t.src[1], p, at, n, core->y);

			core->ops->binary(insn->func, core->z, a, b, n);
			kiln_tile_store(core, &t.dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_tensor_scalar(struct kiln_core *core, struct stream *s,
					 const struct kiln_insn *insn)
{
	bool reverse0 = insn->flags & KILN_F_REVERSE0;
	bool reverse1 = insn->flags & KILN_F_REVERSE1;
	struct tiles t;
	enum kiln_status status = resolve(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		float s0 = scalar(&t.col[0], p, insn->imm[0]);
		float s1 = scalar(&t.col[1], p, insn->imm[1]);

		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = chunk(&t.dst, at);
			const float *a = kiln_tile_load(core, &t.src[0], p, at, n, core->x);

			core->ops->binary_scalar(insn->func, core->z, a, s0, reverse0, n);
			if (insn->func1 != KILN_ALU_BYPASS || reverse1)
				core->ops->binary_scalar(insn->func1, core->z, core->z, s1,
							 reverse1, n);
			kiln_tile_store(core, &t.dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_scalar_tensor_tensor(struct kiln_core *core, struct stream *s,
						const struct kiln_insn *insn)
{
	bool reverse0 = insn->flags & KILN_F_REVERSE0;
	bool reverse1 = insn->flags & KILN_F_REVERSE1;
	struct tiles t;
	enum kiln_status status = resolve(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		float s0 = scalar(&t.col[0], p, insn->imm[0]);

		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = chunk(&t.dst, at);
			const float *a = kiln_tile_load(core, &t.src[0], p, at, n, core->x);
			const float *b = kiln_tile_load(core, &t.src[1], p, at, n, core->y);

			core->ops->binary_scalar(insn->func, core->z, a, s0, reverse0, n);
			if (reverse1)
				core->ops->binary(insn->func1, core->z, b, core->z, n);
			else
				core->ops->binary(insn->func1, core->z, core->z, b, n);
			kiln_tile_store(core, &t.dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_tensor_reduce(struct kiln_core *core, struct stream *s,
					 const struct kiln_insn *insn)
{
	const struct kiln_operand *op = &insn->src[0];
	uint32_t inner = op->size[op->ndim - 1];
	float sign = insn->flags & KILN_F_NEGATE ? -1 : 1;
	struct tiles t;
	enum kiln_status status = resolve(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t row = 0; row < t.dst.count; row++) {
			float lane[KILN_LANES], result;

			kiln_reduce_start(insn->func, lane);
			for (uint32_t at = 0; at < inner; at += CHUNK) {
				uint32_t n = inner - at < CHUNK ? inner - at : CHUNK;

				core->ops->reduce(insn->func, lane,
						  kiln_tile_load(core, &t.src[0], p,
								 row * inner + at, n, core->x),
						  n);
			}
			result = sign * kiln_reduce_fold(insn->func, lane);
			kiln_tile_store(core, &t.dst, p, row, 1, &result);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_select(struct kiln_core *core, struct stream *s,
				  const struct kiln_insn *insn)
{
	struct tiles t;
	enum kiln_status status = resolve(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		float s0 = scalar(&t.col[0], p, insn->imm[0]);

		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = chunk(&t.dst, at);
			const float *a = kiln_tile_load(core, &t.src[0], p, at, n, core->x);
			const float *b = kiln_tile_load(core, &t.src[1], p, at, n, core->y);

			core->ops->select(core->z, b, a, s0, n);
			kiln_tile_store(core, &t.dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_reciprocal(struct kiln_core *core, struct stream *s,
				      const struct kiln_insn *insn)
{
	struct tiles t;
	enum kiln_status status = resolve(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = chunk(&t.dst, at);

			core->ops->reciprocal(core->z, kiln_tile_load(core, &t.src[0], p, at, n,
								      core->x), n);
			kiln_tile_store(core, &t.dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_memset(struct kiln_core *core, struct stream *s,
				  const struct kiln_insn *insn)
{
	struct tile dst;
	enum kiln_status status = kiln_tile_out(core, s, &insn->dst, &dst);

	if (status != KILN_ST_OK)
		return status;
	for (unsigned int i = 0; i < CHUNK; i++)
		core->z[i] = insn->imm[0];
	for (uint32_t p = 0; p < dst.partitions; p++) {
		for (uint32_t at = 0; at < dst.count; at += CHUNK) {
			kiln_tile_store(core, &dst, p, at, chunk(&dst, at), core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}
