// SPDX-License-Identifier: MIT
/*
 * Functions of integers: elements are of one type, as they lie, and never become
 * fp32.
 */
#include <string.h>

#include "engine/state.h"

static void widen(uint32_t *dst, const void *src, uint32_t n, uint32_t esize)
{
	const uint16_t *halves = src;
	const uint8_t *bytes = src;

	for (uint32_t i = 0; i < n; i++)
		dst[i] = esize == 2 ? halves[i] : bytes[i];
}

static void narrow(void *dst, const uint32_t *src, uint32_t n, uint32_t esize)
{
	uint16_t *halves = dst;
	uint8_t *bytes = dst;

	for (uint32_t i = 0; i < n; i++) {
		if (esize == 2)
			halves[i] = (uint16_t)src[i];
		else
			bytes[i] = (uint8_t)src[i];
	}
}

static void load(const struct tile *tile, uint32_t p, uint32_t at, uint32_t n,
		 uint32_t *dst)
{
	uint32_t raw[CHUNK];

	if (tile->esize == sizeof(*dst)) {
		kiln_tile_gather(tile, p, at, n, dst);
		return;
	}
	kiln_tile_gather(tile, p, at, n, raw);
	widen(dst, raw, n, tile->esize);
}

static void store(const struct tile *tile, uint32_t p, uint32_t at, uint32_t n,
		  const uint32_t *src)
{
	uint32_t raw[CHUNK];

	if (tile->esize != sizeof(*src)) {
		narrow(raw, src, n, tile->esize);
		src = raw;
	}
	kiln_tile_scatter(tile, p, at, n, src);
}

/* The same value n times: the column's, or the low bits of the constant. */
static void fill(uint32_t *dst, const struct tile *col, const struct tile *data, uint32_t p,
		 float imm, uint32_t n)
{
	uint32_t value;

	if (col->base)
		load(col, p, 0, 1, &value);
	else
		memcpy(&value, &imm, sizeof(value));
	if (data->esize < sizeof(value))
		value &= (1u << 8 * data->esize) - 1;
	for (uint32_t i = 0; i < n; i++)
		dst[i] = value;
}

/* a = a op b; shifted out is what is beyond the element. */
static void apply(enum kiln_alu op, uint32_t *a, const uint32_t *b, bool reverse, uint32_t n,
		  uint32_t esize)
{
	kiln_bitwise(op, a, reverse ? b : a, reverse ? a : b, n);
	if (esize < sizeof(*a)) {
		for (uint32_t i = 0; i < n; i++)
			a[i] &= (1u << 8 * esize) - 1;
	}
}

enum kiln_status kiln_exec_bitwise(struct kiln_core *core, const struct tiles *t)
{
	const struct kiln_insn *insn = t->insn;
	bool tensor = insn->opcode == KILN_OP_TENSOR_TENSOR;
	bool reverse0 = !tensor && insn->flags & KILN_F_REVERSE0;
	bool reverse1 = !tensor && insn->flags & KILN_F_REVERSE1;
	uint32_t *a = core->row[0], *b = core->row[1];

	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		for (uint32_t at = 0; at < t->dst.count; at += CHUNK) {
			uint32_t n = tile_chunk(&t->dst, at);

			load(&t->src[0], p, at, n, a);
			if (tensor)
				load(&t->src[1], p, at, n, b);
			else
				fill(b, &t->col[0], &t->dst, p, insn->imm[0], n);
			apply(insn->func, a, b, reverse0, n, t->dst.esize);
			if (insn->func1 != KILN_ALU_BYPASS || reverse1) {
				fill(b, &t->col[1], &t->dst, p, insn->imm[1], n);
				apply(insn->func1, a, b, reverse1, n, t->dst.esize);
			}
			store(&t->dst, p, at, n, a);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_bitwise_reduce(struct kiln_core *core, const struct tiles *t)
{
	uint32_t inner = t->src[0].count / t->dst.count, *a = core->row[0];

	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		for (uint32_t row = 0; row < t->dst.count; row++) {
			uint32_t word = t->insn->func == KILN_ALU_BITWISE_AND ? ~0u : 0;

			for (uint32_t at = 0; at < inner; at += CHUNK) {
				uint32_t n = inner - at < CHUNK ? inner - at : CHUNK;

				load(&t->src[0], p, row * inner + at, n, a);
				for (uint32_t i = 0; i < n; i++)
					kiln_bitwise(t->insn->func, &word, &word, &a[i], 1);
			}
			store(&t->dst, p, row, 1, &word);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_bitwise_partitions(struct kiln_core *core, const struct tiles *t)
{
	uint32_t *a = core->row[0], *b = core->row[1];

	for (uint32_t at = 0; at < t->dst.count; at += CHUNK) {
		uint32_t n = tile_chunk(&t->dst, at);

		load(&t->src[0], 0, at, n, a);
		for (uint32_t p = 1; p < t->src[0].partitions; p++) {
			load(&t->src[0], p, at, n, b);
			kiln_bitwise(t->insn->func, a, a, b, n);
		}
		store(&t->dst, 0, at, n, a);
		if (aborted(core))
			return KILN_ST_OK;
	}
	return KILN_ST_OK;
}
