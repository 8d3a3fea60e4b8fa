// SPDX-License-Identifier: MIT
/*
 * Elements that change place: Vector's transpose and shuffle within 32
 * partitions, GpSimd's gather within 16. Bits are unchanged.
 */
#include <string.h>

#include "engine/state.h"

#define QUADRANT	32	/* partitions that Vector reaches across */
#define GPSIMD_CORE	16	/* partitions of each of GpSimd's cores */
#define UNMODIFIED	255	/* in a shuffle mask */

/* [P <= 32, F <= 32] to [F, P]; either side in SBUF or PSUM. */
enum kiln_status kiln_exec_transpose32(struct kiln_core *core, const struct tiles *t)
{
	uint8_t *in = (uint8_t *)core->x, *out = (uint8_t *)core->out;
	uint32_t rows = t->src[0].partitions, cols = t->src[0].count, esize = t->src[0].esize;

	for (uint32_t p = 0; p < rows; p++) {
		kiln_tile_gather(&t->src[0], p, 0, cols, in);
		kiln_copy_elements(out + p * esize, rows * esize, in, esize, cols, esize);
	}
	for (uint32_t p = 0; p < cols; p++)
		kiln_tile_scatter(&t->dst, p, 0, rows, out + p * rows * esize);
	return KILN_ST_OK;
}

/*
 * Partition q of each quadrant of dst = partition mask[q] of the same quadrant
 * of src, or as it is if mask[q] is 255. The mask is a column on dst's
 * partitions, so each quadrant has its own. What is neither a whole number from
 * 0 to 31 nor 255 is KILN_ST_OPERAND.
 */
enum kiln_status kiln_exec_stream_shuffle(struct kiln_core *core, const struct tiles *t)
{
	uint8_t from[KILN_PARTITIONS];
	uint8_t *rows = (uint8_t *)core->out;
	uint32_t row = CHUNK * t->dst.esize;

	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		float m = tile_scalar(&t->col[0], p, 0);

		core->fault_addr = t->col[0].lo;
		if (!(m >= 0 && m < QUADRANT) && m != UNMODIFIED)
			return KILN_ST_OPERAND;
		from[p] = (uint8_t)m;
		if (from[p] != m)
			return KILN_ST_OPERAND;
	}
	for (uint32_t q = 0; q < t->dst.partitions; q += QUADRANT) {
		for (uint32_t at = 0; at < t->dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t->dst, at);

			/* all of them first: dst may be src */
			for (uint32_t p = 0; p < QUADRANT; p++)
				kiln_tile_gather(&t->src[0], q + p, at, n, rows + p * row);
			for (uint32_t p = 0; p < QUADRANT; p++) {
				if (from[q + p] != UNMODIFIED)
					kiln_tile_scatter(&t->dst, q + p, at, n,
							  rows + from[q + p] * row);
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/*
 * For each 16 partitions on their own, with e = func elements an index: index j
 * is that of partition j % 16, element j / 16, and for every e elements of src.
 * Elements j * e to j * e + e - 1 of dst are those of src from index * e on. An
 * index that leads out of src is KILN_ST_MEMORY, at the byte where the first
 * index lies.
 */
enum kiln_status kiln_exec_local_gather(struct kiln_core *core, const struct tiles *t)
{
	uint32_t e = t->insn->func, esize = t->dst.esize;
	uint32_t n = t->dst.count / e, limit = t->src[0].count / e;
	uint32_t *index = core->moving;	/* what is packed goes for it */
	uint8_t *row = (uint8_t *)core->out;

	kiln_packed_forget(core);
	for (uint32_t first = 0; first < t->dst.partitions; first += GPSIMD_CORE) {
		for (uint32_t p = 0; p < GPSIMD_CORE && p < n; p++) {
			uint32_t count = (n - p + GPSIMD_CORE - 1) / GPSIMD_CORE;
			const float *x = kiln_tile_load(core, &t->src[1], first + p, 0, count,
							core->x);

			for (uint32_t j = 0; j < count; j++) {
				if (!(x[j] >= 0 && x[j] < limit)) {
					core->fault_addr = t->src[1].lo;
					return KILN_ST_MEMORY;
				}
				index[j * GPSIMD_CORE + p] = (uint32_t)x[j];
			}
		}
		for (uint32_t p = first; p < first + GPSIMD_CORE; p++) {
			const uint8_t *src = row;

			if (tile_contiguous(&t->src[0]))
				src = t->src[0].base + p * t->src[0].pitch;
			else
				kiln_tile_gather(&t->src[0], p, 0, t->src[0].count, row);
			for (uint32_t j = 0; j < n; j += CHUNK / e) {
				uint32_t k = n - j < CHUNK / e ? n - j : CHUNK / e;
				uint8_t *to = (uint8_t *)core->x;

				for (uint32_t i = 0; i < k; i++)
					memcpy(to + i * e * esize, src + index[j + i] * e * esize,
					       e * esize);
				kiln_tile_scatter(&t->dst, p, j * e, k * e, to);
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}
