// SPDX-License-Identifier: MIT
/*
 * Rotary embeddings. The angles of a graph's positions are computed once, on the
 * card: position times frequency, whose cosine and sine all layers use.
 */
#include <math.h>
#include <string.h>

#include "lower.h"

#define MAX_PAIRS	512

struct rope {
	uint32_t rotated;		/* elements of a head */
	uint32_t pairs, tokens;
	int32_t offset;			/* where they begin */
	int32_t mode;
	float magnitude;
	float frequency[MAX_PAIRS];
	uint8_t place[MAX_PAIRS];	/* which of a token's positions */
};

static float corrected(float rotations, uint32_t dims, int32_t context, float base)
{
	return dims * logf(context / (rotations * 2 * (float)M_PI)) / (2 * logf(base));
}

/* Which of four positions counts for a pair, by the sections of the op */
static uint8_t place_of(int32_t mode, const int32_t *sections, uint32_t pair)
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

static int describe(const struct ggml_tensor *node, struct rope *r)
{
	const struct ggml_tensor *x = node->src[0];
	const int32_t *sections = node->op_params + 11;
	uint32_t dims = node->op_params[1];
	int32_t context = node->op_params[4];
	float base = float_param(node, 5), scale = float_param(node, 6);
	float extrapolate = float_param(node, 7), low, high;
	bool several, vision;

	r->mode = node->op_params[2];
	several = r->mode & GGML_ROPE_TYPE_MROPE;
	vision = r->mode == GGML_ROPE_TYPE_VISION;
	r->rotated = vision ? x->ne[0] : dims;
	r->pairs = r->rotated / 2;
	r->tokens = x->ne[2];
	r->offset = node->op_params[15];
	r->magnitude = float_param(node, 8);
	if (!dims || dims % 2 || r->pairs > MAX_PAIRS || r->offset < 0 || r->offset % 2 ||
	    r->offset + r->rotated > x->ne[0])
		return -ENOTSUP;
	if (several && sections[0] + sections[1] + sections[2] + sections[3] <= 0)
		return -ENOTSUP;
	if (r->mode != GGML_ROPE_TYPE_NORMAL && r->mode != GGML_ROPE_TYPE_NEOX &&
	    r->mode != GGML_ROPE_TYPE_MROPE && r->mode != GGML_ROPE_TYPE_IMROPE && !vision)
		return -ENOTSUP;
	if (extrapolate != 0)
		r->magnitude *= 1 + 0.1f * logf(1 / scale);
	low = fmaxf(0, floorf(corrected(float_param(node, 9), dims, context, base)));
	high = fminf(dims - 1, ceilf(corrected(float_param(node, 10), dims, context, base)));
	for (uint32_t j = 0; j < r->pairs; j++) {
		uint32_t power = j;
		float f, mix;

		r->place[j] = several ? place_of(r->mode, sections, j) : 0;
		/* Each section of a picture counts from its own beginning. */
		if (vision) {
			uint32_t all = sections[0] + sections[1] + sections[2] + sections[3];

			power = j % all;
			for (int i = 0; i < r->place[j]; i++)
				power -= sections[i];
		}
		f = powf(base, -2.0f * power / dims);
		mix = 1 - fminf(1, fmaxf(0, ((float)j - low) / fmaxf(0.001f, high - low)));
		mix *= extrapolate;
		r->frequency[j] = f * (scale * (1 - mix) + mix);
	}
	return 0;
}

/* cos and sin [tokens, pairs]; kept, because the next layer asks for the same */
static int make_table(struct lower *l, const struct ggml_tensor *node, const struct rope *r,
		      struct kiln_tensor *cos, struct kiln_tensor *sin)
{
	const struct ggml_tensor *positions = node->src[1], *factors = node->src[2];
	struct rope_table *table = &l->rope;
	uint64_t bytes = (uint64_t)r->tokens * r->pairs * sizeof(float);
	struct kiln_tensor frequency, number, angle, magnitude;
	uint32_t places = positions->ne[0] / r->tokens;
	int err;

	if (positions->type != GGML_TYPE_I32 || !ggml_is_contiguous(positions) ||
	    (factors && (factors->type != GGML_TYPE_F32 || factors->ne[0] < r->pairs)))
		return -ENOTSUP;
	if (l->device) {
		bool large = table->memory && kiln_bytes(table->memory) >= 2 * bytes;

		if (large && table->positions == positions && table->factors == factors &&
		    !memcmp(table->params, node->op_params, sizeof(table->params))) {
			*cos = dense(KILN_TYPE_F32, kiln_addr(table->memory), 1, r->tokens, 1, r->pairs);
			*sin = *cos;
			sin->addr += bytes;
			return 0;
		}
		if (!large) {
			/* Commands that use the old one may be under way. */
			if (table->retired_count == MAX_RETIRED)
				return -ENOMEM;
			table->retired[table->retired_count++] = table->memory;
			table->memory = NULL;
			table->positions = NULL;
			if (kiln_alloc(l->device, 2 * bytes, KILN_HBM, 0, &table->memory))
				return -ENOMEM;
		}
	}
	*cos = dense(KILN_TYPE_F32, l->device ? kiln_addr(table->memory) : 4096, 1, r->tokens, 1,
		     r->pairs);
	*sin = *cos;
	sin->addr += bytes;

	frequency = dense(KILN_TYPE_F32, lower_constants(l, r->frequency, r->pairs), 1, 1, 1, r->pairs);
	magnitude = dense(KILN_TYPE_F32, lower_constants(l, &r->magnitude, 1), 1, 1, 1, 1);
	number = scratch(l, KILN_TYPE_F32, 1, 1, places, r->tokens);
	angle = scratch(l, KILN_TYPE_F32, 1, r->tokens, 1, r->pairs);
	err = copy(l, dense(KILN_TYPE_I32, address(positions), 1, 1, places, r->tokens), number);
	for (uint32_t from = 0, to; from < r->pairs && !err; from = to) {
		struct kiln_tensor part = angle, f = frequency, p = number;

		for (to = from; to < r->pairs && r->place[to] == r->place[from]; to++)
			;
		if (r->place[from] >= places)
			return -ENOTSUP;
		part.dim[3] = f.dim[3] = to - from;
		part.stride[3] = 1;
		part.stride[1] = r->pairs;
		part.addr += from * sizeof(float);
		f.addr += from * sizeof(float);
		p = dense(KILN_TYPE_F32, number.addr + r->place[from] * r->tokens * sizeof(float), 1,
			  r->tokens, 1, 1);
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = f, .y = p,
			     .out = part);
	}
	if (factors && !err)
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_DIVIDE, .x = angle,
			     .y = dense(KILN_TYPE_F32, address(factors), 1, 1, 1, r->pairs),
			     .out = angle);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_COS, .x = angle,
			     .binary = KILN_BINARY_MULTIPLY, .y = magnitude, .out = *cos);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_SIN, .x = angle,
			     .scale = node->op == GGML_OP_ROPE_BACK ? -1 : 1,
			     .binary = KILN_BINARY_MULTIPLY, .y = magnitude, .out = *sin);
	table->positions = positions;
	table->factors = factors;
	memcpy(table->params, node->op_params, sizeof(table->params));
	return err;
}

/* [batch, tokens, heads, pairs]: the first or second element of each pair */
static struct kiln_tensor half(const struct ggml_tensor *t, const struct rope *r, int second)
{
	struct kiln_tensor v = view(t);
	bool adjacent = r->mode == GGML_ROPE_TYPE_NORMAL;

	v.addr += (r->offset + second * (adjacent ? 1 : r->pairs)) * t->nb[0];
	v.dim[3] = r->pairs;
	v.stride[3] = adjacent ? 2 : 1;
	return v;
}

int lower_rope(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	struct kiln_tensor cos, sin, a, b, out = view(node);
	struct rope r;
	int err = describe(node, &r);

	if (err || x->type != node->type || (x->type != GGML_TYPE_F32 && x->type != GGML_TYPE_F16) ||
	    x->nb[0] != ggml_type_size(x->type) || node->nb[0] != x->nb[0])
		return -ENOTSUP;
	err = make_table(l, node, &r, &cos, &sin);
	if (err)
		return err;
	/* Whole heads behind each other, and tokens evenly: one command */
	if (!r.offset && x->nb[1] == x->ne[0] * x->nb[0] && node->nb[1] == x->nb[1] &&
	    x->ne[3] == 1 && x->ne[0] <= 1024)
		return SUBMIT(l, kiln_rope, .type = type_of(x->type), .tokens = r.tokens,
			      .heads = x->ne[1], .dim = x->ne[0], .rotated = r.rotated,
			      .interleaved = r.mode == GGML_ROPE_TYPE_NORMAL,
			      .ldx = x->nb[2] / x->nb[0], .ldy = node->nb[2] / x->nb[0],
			      .x = address(x), .y = address(node), .cos = cos.addr, .sin = sin.addr);

	/* a = x0 cos - x1 sin, b = x1 cos + x0 sin */
	a = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1], r.pairs);
	b = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1], r.pairs);
	for (int second = 0; second < 2 && !err; second++) {
		struct kiln_tensor sum = second ? b : a;
		struct kiln_tensor other = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1],
						   r.pairs);

		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .y = cos,
			     .x = half(x, &r, second), .out = sum);
		if (!err)
			err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .y = sin,
				     .x = half(x, &r, !second), .out = other);
		if (!err)
			err = SUBMIT(l, kiln_pointwise, .x = sum, .y = other, .out = sum,
				     .binary = second ? KILN_BINARY_ADD : KILN_BINARY_SUBTRACT);
	}
	/* What is not rotated stays; where node is x, it is there. */
	if (!err && r.rotated < x->ne[0] && address(x) != address(node))
		err = copy(l, view(x), out);
	if (!err)
		err = copy(l, a, half(node, &r, 0));
	if (!err)
		err = copy(l, b, half(node, &r, 1));
	return err;
}
