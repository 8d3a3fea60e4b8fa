// SPDX-License-Identifier: MIT
/*
 * Random numbers and dropout. The seed is terms' base register plus offset;
 * partitions count from the first of dst, so a tile gives the same numbers
 * wherever it lies.
 */
#include <string.h>

#include "engine/random.h"
#include "engine/state.h"

static uint64_t seed_of(const struct stream *s, const struct kiln_operand *terms)
{
	return s->reg[terms->dram.base] + (int64_t)terms->dram.offset;
}

/* Integers have no halves. */
static bool is_float(enum kiln_dtype dtype)
{
	uint32_t bits = 0;

	kiln_store_one(&bits, 1.5f, dtype);
	return kiln_load_one(&bits, dtype) == 1.5f;
}

/* Integers: the words' low bits. Others: uniform in [0, 1), then rounded to dst's type. */
enum kiln_status kiln_exec_rng(struct kiln_core *core, struct stream *s,
			       const struct kiln_insn *insn)
{
	uint64_t seed = seed_of(s, &insn->src[1]);
	uint32_t *words = core->row[0];
	struct tile dst;
	enum kiln_status status = kiln_tile_out(core, s, &insn->dst, &dst);
	bool uniform = is_float(insn->dst.dtype);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < dst.partitions; p++) {
		for (uint32_t at = 0; at < dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&dst, at);
			uint8_t *low = (uint8_t *)core->row[1];

			kiln_philox_row(seed, p, at, n, KILN_RANDOM_DATA, words);
			if (uniform) {
				for (uint32_t i = 0; i < n; i++)
					core->z[i] = kiln_uniform(words[i]);
				kiln_tile_store(core, &dst, p, at, n, core->z);
			} else {
				for (uint32_t i = 0; i < n; i++)
					memcpy(low + i * dst.esize, &words[i], dst.esize);
				kiln_tile_scatter(&dst, p, at, n, low);
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/* dst = u < prob ? 0 : src, u uniform in [0, 1): nothing is scaled. */
enum kiln_status kiln_exec_dropout(struct kiln_core *core, struct stream *s,
				   const struct kiln_insn *insn)
{
	uint64_t seed = seed_of(s, &insn->src[1]);
	struct tiles t;
	enum kiln_status status = kiln_tiles(core, s, insn, &t);

	if (status != KILN_ST_OK)
		return status;
	for (uint32_t p = 0; p < t.dst.partitions; p++) {
		float prob = tile_scalar(&t.col[0], p, insn->imm[0]);

		for (uint32_t at = 0; at < t.dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t.dst, at);
			const float *x = kiln_tile_load(core, &t.src[0], p, at, n, core->x);

			kiln_philox_row(seed, p, at, n, KILN_RANDOM_DATA, core->row[0]);
			for (uint32_t i = 0; i < n; i++)
				core->z[i] = kiln_uniform(core->row[0][i]) < prob ? 0 : x[i];
			kiln_tile_store(core, &t.dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}
