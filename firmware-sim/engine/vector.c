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

#define AHEAD	2	/* partitions, in copying */

static const float *tensor_tensor(struct kiln_core *core, struct chunk *c)
{
	core->ops->binary(c->insn->func, core->z, c->a, c->b, c->n);
	return core->z;
}

static const float *tensor_scalar(struct kiln_core *core, struct chunk *c)
{
	const struct kiln_insn *insn = c->insn;
	bool reverse0 = insn->flags & KILN_F_REVERSE0;
	bool reverse1 = insn->flags & KILN_F_REVERSE1;

	core->ops->binary_scalar(insn->func, core->z, c->a, c->s0, reverse0, c->n);
	if (insn->func1 != KILN_ALU_BYPASS || reverse1)
		core->ops->binary_scalar(insn->func1, core->z, core->z, c->s1, reverse1, c->n);
	return core->z;
}

static const float *scalar_tensor_tensor(struct kiln_core *core, struct chunk *c)
{
	const struct kiln_insn *insn = c->insn;
	bool reverse0 = insn->flags & KILN_F_REVERSE0;
	bool reverse1 = insn->flags & KILN_F_REVERSE1;

	core->ops->binary_scalar(insn->func, core->z, c->a, c->s0, reverse0, c->n);
	core->ops->binary(insn->func1, core->z, reverse1 ? c->b : core->z,
			  reverse1 ? core->z : c->b, c->n);
	return core->z;
}

static const float *tensor_scalar_reduce(struct kiln_core *core, struct chunk *c)
{
	core->ops->binary_scalar(c->insn->func, core->z, c->a, c->s0,
				 c->insn->flags & KILN_F_REVERSE0, c->n);
	return core->z;
}

static const float *select(struct kiln_core *core, struct chunk *c)
{
	const float *predicate = c->b;

	if (c->insn->flags & KILN_F_REVERSE_PRED) {
		core->ops->binary(KILN_ALU_NOT, core->y, c->b, c->b, c->n);
		predicate = core->y;
	}
	core->ops->select(core->z, predicate, c->a, c->s0, c->n);
	return core->z;
}

static const float *reciprocal(struct kiln_core *core, struct chunk *c)
{
	core->ops->reciprocal(core->z, c->a, c->n);
	return core->z;
}

static const float *fill(struct kiln_core *core, struct chunk *c)
{
	for (unsigned int i = 0; i < CHUNK && !c->p && !c->at; i++)	/* it stays there */
		core->z[i] = c->insn->imm[0];
	return core->z;
}

/*
 * v = i + imm[0] in fp32, i the element's index in its partition; src[0] where
 * both v func col[0] and v func1 col[1] hold, imm[1] elsewhere.
 */
static const float *range_select(struct kiln_core *core, struct chunk *c)
{
	const struct kiln_insn *insn = c->insn;

	for (uint32_t i = 0; i < c->n; i++)
		core->y[i] = (float)(c->at + i) + insn->imm[0];
	core->ops->binary_scalar(insn->func, core->z, core->y, c->s0, false, c->n);
	core->ops->binary_scalar(insn->func1, core->y, core->y, c->s1, false, c->n);
	core->ops->binary(KILN_ALU_MULTIPLY, core->y, core->y, core->z, c->n);
	core->ops->select(core->z, core->y, c->a, insn->imm[1], c->n);
	return core->z;
}

static const struct {
	kiln_chunk_fn *fn;
	bool two;			/* src[1] goes with src[0], element by element */
	enum kiln_alu reduce;		/* of the results, where that is wanted; or func1 */
} elements[256] = {
	[KILN_OP_ACTIVATION] = { kiln_chunk_activation, .reduce = KILN_ALU_ADD },
	[KILN_OP_TENSOR_TENSOR] = { tensor_tensor, true },
	[KILN_OP_TENSOR_SCALAR] = { tensor_scalar },
	[KILN_OP_SCALAR_TENSOR_TENSOR] = { scalar_tensor_tensor, true },
	[KILN_OP_SELECT] = { select, true, KILN_ALU_MAX },
	[KILN_OP_TENSOR_SCALAR_REDUCE] = { tensor_scalar_reduce },
	[KILN_OP_RECIPROCAL] = { reciprocal },
	[KILN_OP_MEMSET] = { fill },
	[KILN_OP_AFFINE_SELECT] = { kiln_chunk_affine_select },
	[KILN_OP_RANGE_SELECT] = { range_select, .reduce = KILN_ALU_MAX },
	[KILN_OP_TENSOR_TENSOR_SCAN] = { kiln_chunk_scan, true },
	[KILN_OP_DROPOUT] = { kiln_chunk_dropout },
};

/* How the results are reduced, and where to; BYPASS: not at all. */
static enum kiln_alu reduction(const struct tiles *t, const struct tile **to)
{
	const struct kiln_insn *insn = t->insn;

	*to = insn->opcode == KILN_OP_RANGE_SELECT ? &t->src[1] : &t->col[1];
	return !(*to)->base ? KILN_ALU_BYPASS : insn->opcode == KILN_OP_TENSOR_SCALAR_REDUCE ?
		insn->func1 : elements[insn->opcode].reduce;
}

static void store_result(const struct tile *to, uint32_t p, enum kiln_alu op, float x, bool go_on)
{
	uint8_t *at = to->base + p * to->pitch;

	if (go_on)
		x = kiln_alu_one(op, kiln_load_one(at, to->dtype), x);
	kiln_store_one(at, x, to->dtype);
}

static bool looks_at_bits(const struct kiln_insn *insn)
{
	return (insn->opcode == KILN_OP_TENSOR_TENSOR || insn->opcode == KILN_OP_TENSOR_SCALAR) &&
	       (insn->func >= KILN_ALU_BITWISE || insn->func1 >= KILN_ALU_BITWISE);
}

enum kiln_status kiln_exec_elements(struct kiln_core *core, const struct tiles *t)
{
	const struct kiln_insn *insn = t->insn;
	const struct tile *result;
	enum kiln_alu reduce = reduction(t, &result);
	struct chunk c = { .insn = insn, .t = t };

	if (looks_at_bits(insn))
		return kiln_exec_bitwise(core, t);
	for (c.p = 0; c.p < t->dst.partitions; c.p++) {
		float lane[KILN_LANES];

		c.s0 = tile_scalar(&t->col[0], c.p, insn->imm[0]);
		if (!reduce || result != &t->col[1])
			c.s1 = tile_scalar(&t->col[1], c.p, insn->imm[1]);
		if (reduce)
			kiln_reduce_start(reduce, lane);
		for (c.at = 0; c.at < t->dst.count; c.at += CHUNK) {
			const float *z;

			c.n = tile_chunk(&t->dst, c.at);
			if (t->src[0].base)
				c.a = kiln_tile_load(core, &t->src[0], c.p, c.at, c.n, core->x);
			if (elements[insn->opcode].two)
				c.b = kiln_tile_load(core, &t->src[1], c.p, c.at, c.n, core->y);
			z = elements[insn->opcode].fn(core, &c);
			if (reduce)
				core->ops->reduce(reduce, lane, z, c.n);
			kiln_tile_store(core, &t->dst, c.p, c.at, c.n, z);
			if (aborted(core))
				return KILN_ST_OK;
		}
		if (reduce)
			store_result(result, c.p, reduce, kiln_reduce_fold(reduce, lane),
				     insn->flags & KILN_F_CONTINUE);
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_tensor_copy(struct kiln_core *core, const struct tiles *t)
{
	const struct tile *dst = &t->dst, *src = &t->src[0];

	for (uint32_t p = 0; p < dst->partitions; p++) {
		tile_prefetch(src, p + AHEAD, false);
		tile_prefetch(dst, p + AHEAD, true);
		for (uint32_t at = 0; at < dst->count; at += CHUNK) {
			uint32_t n = tile_chunk(dst, at);

			if (src->dtype != dst->dtype) {
				kiln_tile_store(core, dst, p, at, n,
						kiln_tile_load(core, src, p, at, n, core->x));
			} else if (tile_contiguous(src)) {
				kiln_tile_scatter(dst, p, at, n, src->base + p * src->pitch +
						  (size_t)at * src->esize);
			} else {
				kiln_tile_gather(src, p, at, n, core->x);
				kiln_tile_scatter(dst, p, at, n, core->x);
			}
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
enum kiln_status kiln_exec_tensor_copy_predicated(struct kiln_core *core, const struct tiles *t)
{
	bool reverse = t->insn->flags & KILN_F_REVERSE_PRED;
	uint8_t *old = (uint8_t *)core->row[0], *new = (uint8_t *)core->row[1];
	const struct tile *dst = &t->dst, *src = &t->src[0];
	uint32_t esize = dst->esize;

	for (uint32_t p = 0; p < dst->partitions; p++) {
		for (uint32_t at = 0; at < dst->count; at += CHUNK) {
			uint32_t n = tile_chunk(dst, at);
			const float *b = kiln_tile_load(core, &t->src[1], p, at, n, core->y);

			kiln_tile_gather(dst, p, at, n, old);
			if (src->dtype == dst->dtype)
				kiln_tile_gather(src, p, at, n, new);
			else
				core->ops->store(new, kiln_tile_load(core, src, p, at, n, core->x),
						 n, dst->dtype);
			for (uint32_t i = 0; i < n; i++) {
				if ((b[i] != 0) != reverse)
					memcpy(old + i * esize, new + i * esize, esize);
			}
			kiln_tile_scatter(dst, p, at, n, old);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_tensor_reduce(struct kiln_core *core, const struct tiles *t)
{
	const struct kiln_insn *insn = t->insn;
	uint32_t inner = t->src[0].count / t->dst.count;
	float sign = insn->flags & KILN_F_NEGATE ? -1 : 1;

	if (insn->func >= KILN_ALU_BITWISE)
		return kiln_exec_bitwise_reduce(core, t);
	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		for (uint32_t row = 0; row < t->dst.count; row++) {
			float lane[KILN_LANES], result;

			kiln_reduce_start(insn->func, lane);
			for (uint32_t at = 0; at < inner; at += CHUNK) {
				uint32_t n = inner - at < CHUNK ? inner - at : CHUNK;

				core->ops->reduce(insn->func, lane,
						  kiln_tile_load(core, &t->src[0], p,
								 row * inner + at, n, core->x),
						  n);
			}
			result = sign * kiln_reduce_fold(insn->func, lane);
			kiln_tile_store(core, &t->dst, p, row, 1, &result);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}
