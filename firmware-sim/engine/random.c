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
enum kiln_status kiln_exec_rng(struct kiln_core *core, const struct tiles *t)
{
	uint64_t seed = seed_of(t->s, &t->insn->src[1]);
	uint32_t *words = core->row[0];
	const struct tile *dst = &t->dst;
	bool uniform = is_float(dst->dtype);

	for (uint32_t p = 0; p < dst->partitions; p++) {
		for (uint32_t at = 0; at < dst->count; at += CHUNK) {
			uint32_t n = tile_chunk(dst, at);
			uint8_t *low = (uint8_t *)core->row[1];

			kiln_philox_row(seed, p, at, n, KILN_RANDOM_DATA, words);
			if (uniform) {
				for (uint32_t i = 0; i < n; i++)
					core->z[i] = kiln_uniform(words[i]);
				kiln_tile_store(core, dst, p, at, n, core->z);
			} else {
				for (uint32_t i = 0; i < n; i++)
					memcpy(low + i * dst->esize, &words[i], dst->esize);
				kiln_tile_scatter(dst, p, at, n, low);
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

/* dst = u < prob ? 0 : src, u uniform in [0, 1): nothing is scaled. */
const float *kiln_chunk_dropout(struct kiln_core *core, struct chunk *c)
{
	kiln_philox_row(seed_of(c->t->s, &c->insn->src[1]), c->p, c->at, c->n, KILN_RANDOM_DATA,
			core->row[0]);
	for (uint32_t i = 0; i < c->n; i++)
		core->z[i] = kiln_uniform(core->row[0][i]) < c->s0 ? 0 : c->a[i];
	return core->z;
}
