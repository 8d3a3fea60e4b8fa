// SPDX-License-Identifier: MIT
/*
 * Vector instructions that carry something along a partition: the scan, and the
 * statistics of batch and layer norm.
 */
#include "engine/state.h"

/* y[i] = (a[i] op0 y[i - 1]) op1 b[i]; the carried value is fp32, whatever dst is. */
static float scan(const struct kiln_insn *insn, float *z, const float *a, const float *b,
		  float carry, uint32_t n)
{
	bool reverse0 = insn->flags & KILN_F_REVERSE0;
	bool reverse1 = insn->flags & KILN_F_REVERSE1;

	if (insn->func == KILN_ALU_MULTIPLY && insn->func1 == KILN_ALU_ADD) {
		/* the recurrence of state-space models; both operations commute */
		for (uint32_t i = 0; i < n; i++) {
			carry = a[i] * carry;
			z[i] = carry = carry + b[i];
		}
		return carry;
	}
	for (uint32_t i = 0; i < n; i++) {
		carry = reverse0 ? kiln_alu_one(insn->func, carry, a[i]) :
				   kiln_alu_one(insn->func, a[i], carry);
		carry = reverse1 ? kiln_alu_one(insn->func1, b[i], carry) :
				   kiln_alu_one(insn->func1, carry, b[i]);
		z[i] = carry;
	}
	return carry;
}

const float *kiln_chunk_scan(struct kiln_core *core, struct chunk *c)
{
	c->s0 = scan(c->insn, core->z, c->a, c->b, c->s0, c->n);
	return core->z;
}

static float sum(const struct kiln_core *core, const float *x, uint32_t n)
{
	float lane[KILN_LANES];

	kiln_reduce_start(KILN_ALU_ADD, lane);
	core->ops->reduce(KILN_ALU_ADD, lane, x, n);
	return kiln_reduce_fold(KILN_ALU_ADD, lane);
}

/*
 * count, mean and count * variance of the even elements, then of the odd ones,
 * all in fp32. Sums are those of TENSOR_REDUCE; the second is over the squares
 * of x - mean. Of no elements all three are 0.
 */
enum kiln_status kiln_exec_bn_stats(struct kiln_core *core, const struct tiles *t)
{
	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		const float *x = kiln_tile_load(core, &t->src[0], p, 0, t->src[0].count, core->x);
		float out[6] = { 0 };

		for (uint32_t odd = 0; odd < 2; odd++) {
			uint32_t n = (t->src[0].count + 1 - odd) / 2;
			float *o = out + 3 * odd;

			if (!n)
				continue;
			for (uint32_t i = 0; i < n; i++)
				core->y[i] = x[2 * i + odd];
			o[0] = n;
			o[1] = sum(core, core->y, n) / o[0];
			core->ops->binary_scalar(KILN_ALU_SUBTRACT, core->z, core->y, o[1],
						 false, n);
			core->ops->binary(KILN_ALU_MULTIPLY, core->z, core->z, core->z, n);
			o[2] = sum(core, core->z, n);
		}
		kiln_tile_store(core, &t->dst, p, 0, 6, out);
		if (aborted(core))
			return KILN_ST_OK;
	}
	return KILN_ST_OK;
}

#define TRIPLES	(CHUNK / 3)

/*
 * Of (count, mean, count * variance) tuples, in their order, in fp32:
 *   n = sum of count; mean = (sum of count * mean_i) / n
 *   variance = (sum of (count * variance)_i + count_i * (mean_i - mean)^2) / n
 * NaN if n is 0.
 */
enum kiln_status kiln_exec_bn_aggr(struct kiln_core *core, const struct tiles *t)
{
	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		float n = 0, total = 0, mean = 0, m2 = 0, out[2];

		for (int pass = 0; pass < 2; pass++) {
			for (uint32_t at = 0; at < t->src[0].count; at += 3 * TRIPLES) {
				uint32_t left = t->src[0].count - at;
				uint32_t k = left < 3 * TRIPLES ? left : 3 * TRIPLES;
				const float *x = kiln_tile_load(core, &t->src[0], p, at, k,
								core->x);

				for (uint32_t i = 0; i < k; i += 3) {
					float d = x[i + 1] - mean;

					if (pass) {
						m2 += x[i + 2] + x[i] * (d * d);
					} else {
						n += x[i];
						total += x[i] * x[i + 1];
					}
				}
				if (aborted(core))
					return KILN_ST_OK;
			}
			if (!pass)
				mean = total / n;
		}
		out[0] = mean;
		out[1] = m2 / n;
		kiln_tile_store(core, &t->dst, p, 0, 2, out);
	}
	return KILN_ST_OK;
}
