// SPDX-License-Identifier: MIT
/*
 * UPSCALE: images of another size. Each dimension for itself, as sums of rows by index times
 * weights: one row for the nearest, two, four, or as many as lie below a wide triangle.
 */
#include <math.h>
#include <stdlib.h>

#include "lower.h"

#define MAX_TAPS	16

/* What each of n places takes: taps of n indices, and of n weights, one behind the other */
struct taps {
	uint32_t n, count;
	int32_t *index;
	float *weight;
};

static void put(struct taps *t, unsigned int tap, uint32_t at, int64_t from, int64_t below, float weight)
{
	t->index[tap * t->n + at] = from < 0 ? 0 : from < below ? from : below - 1;
	t->weight[tap * t->n + at] = weight;
}

/* The one that a cubic of the four around it has at a distance below 1, and from 1 to 2 */
static float cubic_near(float x)
{
	const float a = -0.75f;

	return ((a + 2) * x - (a + 3)) * x * x + 1;
}

static float cubic_far(float x)
{
	const float a = -0.75f;

	return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

/* Below a triangle that reaches to both sides as far as wide */
static int triangle(struct taps *t, uint32_t i, float x, float wide, float offset, int64_t n)
{
	float low = x - wide + offset, high = x + wide + offset, total = 0;
	int64_t first = low > 0 ? low : 0, end = high < n ? high : n;
	unsigned int tap;

	if (end - first > t->count)
		return -ENOTSUP;
	for (tap = 0; tap < t->count; tap++) {
		float weight = 1 - fabsf((first + tap - x + offset) * (1 / wide));

		if (weight < 0 || first + tap >= end)
			weight = 0;
		total += weight;
		put(t, tap, i, first + tap, n, weight);
	}
	for (tap = 0; tap < t->count && total > 0; tap++)
		t->weight[tap * t->n + i] /= total;
	return 0;
}

/* How dimension d of node comes from that of its source, in the steps of ggml */
static int make_taps(struct taps *t, const struct ggml_tensor *node, int d)
{
	int32_t flags = node->op_params[0], mode = d > 1 ? GGML_SCALE_MODE_NEAREST : flags & 255;
	int64_t n = node->src[0]->ne[d];
	bool corners = d < 2 && (flags & GGML_SCALE_FLAG_ALIGN_CORNERS);
	float factor = (float)t->n / n, offset = corners ? 0 : 0.5f, wide;
	uint32_t i;
	int err = 0;

	if (corners && t->n > 1 && n > 1)
		factor = (float)(t->n - 1) / (n - 1);
	wide = fmaxf(1, 1 / factor);
	t->count = mode == GGML_SCALE_MODE_NEAREST ? 1 : mode == GGML_SCALE_MODE_BICUBIC ? 4 :
		   flags & GGML_SCALE_FLAG_ANTIALIAS ? 2 * ceilf(wide) + 1 : 2;
	if (t->count > MAX_TAPS)
		return -ENOTSUP;
	t->index = malloc((size_t)t->count * t->n * sizeof(*t->index));
	t->weight = malloc((size_t)t->count * t->n * sizeof(*t->weight));
	if (!t->index || !t->weight)
		return -ENOMEM;
	for (i = 0; i < t->n && !err; i++) {
		float x = (i + offset) / factor - offset, rest;
		int64_t at = floorf(x);

		if (mode == GGML_SCALE_MODE_NEAREST) {
			put(t, 0, i, i / factor, n, 1);
		} else if (mode == GGML_SCALE_MODE_BICUBIC) {
			rest = x - at;
			put(t, 0, i, at - 1, n, cubic_far(rest + 1));
			put(t, 1, i, at, n, cubic_near(rest));
			put(t, 2, i, at + 1, n, cubic_near(1 - rest));
			put(t, 3, i, at + 2, n, cubic_far(2 - rest));
		} else if (flags & GGML_SCALE_FLAG_ANTIALIAS) {
			err = triangle(t, i, (i + offset) / factor, wide, offset, n);
		} else {
			rest = x - (at < 0 ? 0 : at < n ? at : n - 1);
			rest = fmaxf(0, fminf(rest, 1));
			put(t, 0, i, at, n, 1 - rest);
			put(t, 1, i, at + 1, n, rest);
		}
	}
	return err;
}

/* Dimension d becomes the rows that are looked up, the others stand around it. */
static struct kiln_tensor rows_along(struct kiln_tensor t, int d)
{
	struct kiln_tensor v = t;
	int other = d == 3 ? 2 : 3;

	v.dim[2] = t.dim[d];
	v.stride[2] = t.stride[d];
	v.dim[3] = t.dim[other];
	v.stride[3] = t.stride[other];
	if (d < 2) {
		v.dim[d] = t.dim[2];
		v.stride[d] = t.stride[2];
	}
	return v;
}

static int resize(struct lower *l, const struct taps *t, int d, struct kiln_tensor x,
		  struct kiln_tensor out)
{
	struct kiln_tensor part = t->count > 1 ?
		scratch(l, KILN_TYPE_F32, out.dim[0], out.dim[1], out.dim[2], out.dim[3]) : out;
	unsigned int tap;
	int err = part.addr ? 0 : -ENOMEM;

	for (int i = 3; i >= 0 && t->count > 1; i--)
		part.stride[i] = i == 3 ? 1 : part.stride[i + 1] * part.dim[i + 1];
	for (tap = 0; tap < t->count && !err; tap++) {
		uint64_t index = lower_constants(l, (const float *)(t->index + tap * t->n), t->n);
		struct kiln_tensor weight = dense(KILN_TYPE_F32, 0, 1, 1, 1, 1);

		weight.dim[d] = t->n;
		weight.addr = lower_constants(l, t->weight + tap * t->n, t->n);
		if (!index || !weight.addr)
			return -ENOTSUP;
		err = SUBMIT(l, kiln_get_rows, .table = rows_along(x, d),
			     .index = dense(KILN_TYPE_I32, index, 1, 1, 1, t->n),
			     .out = rows_along(part, d));
		if (t->count == 1 || err)
			continue;
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = part, .y = weight,
			     .out = tap ? part : out);
		if (tap && !err)
			err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = out, .y = part,
				     .out = out);
	}
	return err;
}

int lower_upscale(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *src = node->src[0];
	struct kiln_tensor x = view(src), out;
	int changed = 0, d, err = 0;

	if (src->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32 ||
	    (node->op_params[0] & 255) > GGML_SCALE_MODE_BICUBIC)
		return -ENOTSUP;
	for (d = 0; d < 4; d++)
		changed += src->ne[d] != node->ne[d];
	if (!changed)
		return copy(l, x, view(node));
	for (d = 3; d >= 0 && !err; d--) {
		struct taps t = { .n = node->ne[d] };

		if (src->ne[d] == node->ne[d])
			continue;
		out = view(node);
		if (--changed) {
			uint32_t dim[4];

			for (int i = 0; i < 4; i++)
				dim[i] = 3 - i == d ? node->ne[d] : x.dim[i];
			out = scratch(l, KILN_TYPE_F32, dim[0], dim[1], dim[2], dim[3]);
			for (int i = 3; i >= 0; i--)
				out.stride[i] = i == 3 ? 1 : out.stride[i + 1] * out.dim[i + 1];
		}
		err = out.addr ? make_taps(&t, node, d) : -ENOMEM;
		if (!err)
			err = resize(l, &t, 3 - d, x, out);
		free(t.index);
		free(t.weight);
		x = out;
	}
	return err;
}
