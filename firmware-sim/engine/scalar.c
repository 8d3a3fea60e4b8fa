// SPDX-License-Identifier: MIT
/*
 * The Scalar engine: a function of a scaled and shifted tile.
 */
#include "engine/state.h"

const float *kiln_chunk_activation(struct kiln_core *core, struct chunk *c)
{
	core->ops->activation(c->insn->func, core->z, c->a, c->s0,
			      tile_scalar(&c->t->src[1], c->p, c->insn->imm[1]), c->n);
	return core->z;
}
