// SPDX-License-Identifier: MIT
/*
 * Rotary embeddings: the frequencies are made here, of the op's parameters; the angles,
 * from positions that lie on the card, are made there.
 */
#include <math.h>

#include "lower.h"

#define MAX_PAIRS	512

static float corrected(float rotations, uint32_t dims, int32_t context, float base)
{
	return dims * logf(context / (rotations * 2 * (float)M_PI)) / (2 * logf(base));
}

/* Which of four positions counts for a pair, by the sections of the op */
static uint8_t section_of(int32_t mode, const int32_t *sections, uint32_t pair)
{
	uint32_t all = sections[0] + sections[1] + sections[2] + sections[3];
	int32_t at = pair % all;

	if (mode == GGML_ROPE_TYPE_IMROPE) {
		int which = at % 3;

		return at < 3 * sections[which] ? which : 3;
	}
	for (int i = 0; i < 3; at -= sections[i++])
		if (at < sections[i])
			return i;
	return 3;
}

int lower_rope(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *positions = node->src[1];
	const struct ggml_tensor *factors = node->src[2];
	const int32_t *sections = node->op_params + 11;
	uint32_t dims = node->op_params[1];
	int32_t mode = node->op_params[2], context = node->op_params[4];
	int32_t offset = node->op_params[15];
	float base = float_param(node, 5), scale = float_param(node, 6);
	float extrapolate = float_param(node, 7), low, high;
	bool several = mode & GGML_ROPE_TYPE_MROPE, vision = mode == GGML_ROPE_TYPE_VISION;
	struct kiln_rotate r = {
		.x = view(x), .y = view(node), .pairs = (vision ? x->ne[0] : dims) / 2,
		.interleaved = mode == GGML_ROPE_TYPE_NORMAL,
		.back = node->op == GGML_OP_ROPE_BACK, .scale = float_param(node, 8),
		.positions = address(positions), .factors = factors ? address(factors) : 0,
	};
	uint32_t all = sections[0] + sections[1] + sections[2] + sections[3];
	float frequency[MAX_PAIRS];
	uint8_t section[MAX_PAIRS];
	int err = 0;

	r.x.addr = lower_place(l, x);
	if (!dims || dims % 2 || r.pairs > MAX_PAIRS || offset < 0 ||
	    offset + 2 * r.pairs > x->ne[0] || (several && !all) ||
	    positions->type != GGML_TYPE_I32 || !ggml_is_contiguous(positions) ||
	    (factors && (factors->type != GGML_TYPE_F32 || factors->ne[0] < r.pairs)))
		return -ENOTSUP;
	if (mode != GGML_ROPE_TYPE_NORMAL && mode != GGML_ROPE_TYPE_NEOX &&
	    mode != GGML_ROPE_TYPE_MROPE && mode != GGML_ROPE_TYPE_IMROPE && !vision)
		return -ENOTSUP;
	/* YaRN: fast pairs go on as they were, slow ones are interpolated. */
	if (extrapolate != 0)
		r.scale *= 1 + 0.1f * logf(1 / scale);
	low = fmaxf(0, floorf(corrected(float_param(node, 9), dims, context, base)));
	high = fminf(dims - 1, ceilf(corrected(float_param(node, 10), dims, context, base)));
	for (uint32_t j = 0; j < r.pairs; j++) {
		uint32_t power = j;
		float mix;

		section[j] = several ? section_of(mode, sections, j) : 0;
		/* Each section of a picture counts from its own beginning. */
		if (vision) {
			power = j % all;
			for (int i = 0; i < section[j]; i++)
				power -= sections[i];
		}
		mix = 1 - fminf(1, fmaxf(0, (j - low) / fmaxf(0.001f, high - low)));
		mix *= extrapolate;
		frequency[j] = powf(base, -2.0f * power / dims) * (scale * (1 - mix) + mix);
	}
	r.frequency = frequency;
	r.section = several ? section : NULL;
	if (offset) {
		/* Heads from the first turned element on; those before stay. */
		if (r.x.addr != address(node))
			err = copy(l, r.x, r.y);
		r.x.addr += offset * x->nb[0];
		r.y.addr += offset * node->nb[0];
		r.x.dim[3] = r.y.dim[3] = x->ne[0] - offset;
	}
	return err ? err : kiln_rotate(l->ops, &r, lower_done, l);
}
