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

enum kiln_status kiln_exec_tensor_copy(struct kiln_core *core, struct stream *s,
				       const struct kiln_insn *insn)
{
	struct tiles t;
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);

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
	enum kiln_status status;

	if (insn->func >= KILN_ALU_BITWISE)
		return kiln_exec_bitwise(core, s, insn);
	status = kiln_tiles(core, s, insn, &t);
	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);
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
	enum kiln_status status;

	if (insn->func >= KILN_ALU_BITWISE || insn->func1 >= KILN_ALU_BITWISE)
		return kiln_exec_bitwise(core, s, insn);
	status = kiln_tiles(core, s, insn, &t);
	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		float s0 = tile_scalar(&t.col[0], p, insn->imm[0]);
		float s1 = tile_scalar(&t.col[1], p, insn->imm[1]);

		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);
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
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		float s0 = tile_scalar(&t.col[0], p, insn->imm[0]);

		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);
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
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

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
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		float s0 = tile_scalar(&t.col[0], p, insn->imm[0]);

		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);
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
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);

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
			kiln_tile_store(core, &dst, p, at, tile_chunk(&dst, at), core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/*
 * Where the predicate is not zero, dst becomes src[0]; elsewhere it stays as it
 * is, to the bit. The same type on both sides: bits unchanged.
 */
enum kiln_status kiln_exec_tensor_copy_predicated(struct kiln_core *core, struct stream *s,
						  const struct kiln_insn *insn)
{
	bool reverse = insn->flags & KILN_F_REVERSE0;
	struct tiles t;
	enum kiln_status status = kiln_tiles(core, s, insn, &t);
	uint8_t *old = (uint8_t *)core->row[0], *new = (uint8_t *)core->row[1];
	uint32_t esize;

	if (status != KILN_ST_OK)
		return status;
	esize = t.dst.esize;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);
			const float *b = kiln_tile_load(core, &t.src[1], p, at, n, core->y);

			kiln_tile_gather(&t.dst, p, at, n, old);
			if (t.src[0].dtype == t.dst.dtype)
				kiln_tile_gather(&t.src[0], p, at, n, new);
			else
				core->ops->store(new, kiln_tile_load(core, &t.src[0], p, at, n,
								     core->x), n, t.dst.dtype);
			for (uint32_t i = 0; i < n; i++) {
				if ((b[i] != 0) != reverse)
					memcpy(old + i * esize, new + i * esize, esize);
			}
			kiln_tile_scatter(&t.dst, p, at, n, old);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/*
 * v = i + imm[0] in fp32, i the element's index in its partition; dst = src[0]
 * where both v func col[0] and v func1 col[1] hold, imm[1] elsewhere. REDUCE:
 * src[1] = the greatest of the results in fp32, before they become dst's type.
 */
enum kiln_status kiln_exec_range_select(struct kiln_core *core, struct stream *s,
					const struct kiln_insn *insn)
{
	struct tiles t;
	struct tile max = { .base = NULL };
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

	if (status == KILN_ST_OK && insn->src[1].space)
		status = kiln_tile_out(core, s, &insn->src[1], &max);
	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		float b0 = tile_scalar(&t.col[0], p, 0), b1 = tile_scalar(&t.col[1], p, 0);
		float lane[KILN_LANES], most;

		kiln_reduce_start(KILN_ALU_MAX, lane);
		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);
			const float *a = kiln_tile_load(core, &t.src[0], p, at, n, core->x);

			for (uint32_t i = 0; i < n; i++)
				core->y[i] = (float)(at + i) + insn->imm[0];
			core->ops->binary_scalar(insn->func, core->z, core->y, b0, false, n);
			core->ops->binary_scalar(insn->func1, core->y, core->y, b1, false, n);
			core->ops->binary(KILN_ALU_MULTIPLY, core->y, core->y, core->z, n);
			core->ops->select(core->z, core->y, a, insn->imm[1], n);
			if (max.base)
				core->ops->reduce(KILN_ALU_MAX, lane, core->z, n);
			kiln_tile_store(core, &t.dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
		if (max.base) {
			most = kiln_reduce_fold(KILN_ALU_MAX, lane);
			kiln_tile_store(core, &max, p, 0, 1, &most);
		}
	}
	return KILN_ST_OK;
}
