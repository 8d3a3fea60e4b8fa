// SPDX-License-Identifier: MIT
/*
 * Convolutions: each place of the kernel is one strided copy into the matrix of
 * columns, and the rest is a matrix product. Pools go over the places likewise.
 */
#include <float.h>

#include "lower.h"

#define MAX_SHARES	4096	/* outputs of a row whose means are of different counts */

/* Dimensions in the order depth, height, width */
struct conv {
	uint32_t batch, channels;
	uint32_t in[3], kernel[3], out[3];
	int32_t stride[3], pad[3], dilation[3];
	uint64_t at;			/* of the input */
	enum kiln_type type;
	int64_t step_batch, step_channel, step[3];	/* elements */
};

/* Which of the outputs see the input through place k of the kernel: count from first on */
static uint32_t seen(const struct conv *c, int d, int32_t k, uint32_t *first, uint32_t *from)
{
	int32_t shift = k * c->dilation[d] - c->pad[d], s = c->stride[d];
	int32_t low = shift < 0 ? (-shift + s - 1) / s : 0;
	int32_t high = (int32_t)c->in[d] - 1 - shift;

	high = high < 0 ? -1 : high / s;
	if (high >= (int32_t)c->out[d])
		high = c->out[d] - 1;
	*first = low;
	*from = low * s + shift;
	return high < low ? 0 : high - low + 1;
}

/* Columns [batch, depth, height, width, channels * kernel] at a device address */
static int columns(struct lower *l, const struct conv *c, enum kiln_type type, uint64_t to)
{
	uint32_t places = c->kernel[0] * c->kernel[1] * c->kernel[2], k[3];
	uint64_t row = (uint64_t)places * c->channels;
	uint64_t step[3] = { c->out[1] * c->out[2] * row, c->out[2] * row, row };
	bool padded = c->pad[0] || c->pad[1] || c->pad[2];
	int err = 0;

	if (padded)
		err = lower_constant_fill(l, dense(type, to, c->batch, c->out[0] * c->out[1], c->out[2], row), 0);
	for (k[0] = 0; k[0] < c->kernel[0]; k[0]++)
		for (k[1] = 0; k[1] < c->kernel[1]; k[1]++)
			for (k[2] = 0; k[2] < c->kernel[2] && !err; k[2]++) {
				struct kiln_tensor x = { .type = c->type, .addr = c->at };
				struct kiln_tensor y = { .type = type, .addr = to };
				uint32_t place = (k[0] * c->kernel[1] + k[1]) * c->kernel[2] + k[2];
				uint32_t first, from, n[3];
				bool deep = c->out[0] > 1;

				for (int d = 0; d < 3; d++) {
					n[d] = seen(c, d, k[d], &first, &from);
					x.addr += from * c->step[d] * type_bytes(c->type);
					y.addr += first * step[d] * type_bytes(type);
				}
				if (!n[0] || !n[1] || !n[2])
					continue;
				y.addr += place * type_bytes(type);
				x.dim[0] = deep ? n[0] : c->batch;
				x.stride[0] = deep ? c->step[0] * c->stride[0] : c->step_batch;
				y.stride[0] = deep ? step[0] : c->out[0] * step[0];
				x.dim[1] = n[1];
				x.stride[1] = c->step[1] * c->stride[1];
				y.stride[1] = step[1];
				x.dim[2] = n[2];
				x.stride[2] = c->step[2] * c->stride[2];
				y.stride[2] = step[2];
				x.dim[3] = c->channels;
				x.stride[3] = c->step_channel;
				y.stride[3] = places;
				for (int d = 0; d < 4; d++)
					y.dim[d] = x.dim[d];
				for (uint32_t i = 0; i < (deep ? c->batch : 1) && !err; i++) {
					err = copy(l, x, y);
					x.addr += c->step_batch * type_bytes(c->type);
					y.addr += c->out[0] * step[0] * type_bytes(type);
				}
			}
	return err;
}

static bool plain(const struct ggml_tensor *t)
{
	return t->type == GGML_TYPE_F32 || t->type == GGML_TYPE_F16 || t->type == GGML_TYPE_BF16;
}

/* Input [width, height, channels, batch] */
static void input_2d(struct conv *c, const struct ggml_tensor *x)
{
	size_t es = ggml_type_size(x->type);

	c->in[0] = 1;
	c->in[1] = x->ne[1];
	c->in[2] = x->ne[0];
	c->step[1] = x->nb[1] / es;
	c->step[2] = x->nb[0] / es;
	c->channels = x->ne[2];
	c->step_channel = x->nb[2] / es;
	c->batch = x->ne[3];
	c->step_batch = x->nb[3] / es;
	c->at = address(x);
	c->type = type_of(x->type);
}

int lower_im2col(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *kernel = node->src[0], *x = node->src[1];
	const int32_t *p = node->op_params;
	struct conv c = {
		.kernel = { 1, kernel->ne[1], kernel->ne[0] }, .out = { 1, node->ne[2], node->ne[1] },
		.stride = { 1, p[1], p[0] }, .pad = { 0, p[3], p[2] }, .dilation = { 1, p[5], p[4] },
	};

	if (!plain(x) || !plain(node) || !ggml_is_contiguous(node))
		return -ENOTSUP;
	input_2d(&c, x);
	if (!p[6]) {
		/* [width, channels, batch] */
		c.in[1] = c.kernel[1] = c.out[1] = c.stride[1] = c.dilation[1] = 1;
		c.pad[1] = 0;
		c.step_batch = c.step_channel;
		c.batch = x->ne[2];
		c.step_channel = c.step[1];
		c.channels = x->ne[1];
	}
	return columns(l, &c, type_of(node->type), address(node));
}

static void input_3d(struct conv *c, const struct ggml_tensor *x, uint32_t channels)
{
	size_t es = ggml_type_size(x->type);

	for (int d = 0; d < 3; d++) {
		c->in[d] = x->ne[2 - d];
		c->step[d] = x->nb[2 - d] / es;
	}
	c->channels = channels;
	c->step_channel = x->nb[3] / es;
	c->batch = x->ne[3] / channels;
	c->step_batch = c->step_channel * channels;
	c->at = address(x);
	c->type = type_of(x->type);
}

int lower_im2col_3d(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *kernel = node->src[0], *x = node->src[1];
	const int32_t *p = node->op_params;
	struct conv c = {
		.kernel = { kernel->ne[2], kernel->ne[1], kernel->ne[0] },
		.stride = { p[2], p[1], p[0] }, .pad = { p[5], p[4], p[3] },
		.dilation = { p[8], p[7], p[6] },
	};

	if (!plain(x) || !plain(node) || !ggml_is_contiguous(node))
		return -ENOTSUP;
	input_3d(&c, x, p[9]);
	c.out[0] = node->ne[3] / c.batch;
	c.out[1] = node->ne[2];
	c.out[2] = node->ne[1];
	return columns(l, &c, type_of(node->type), address(node));
}

/* node [batch, filters, places] = filters [filters, row] times columns [batch, places, row] */
static int multiply(struct lower *l, const struct conv *c, const struct ggml_tensor *node,
		    const struct ggml_tensor *kernel, uint32_t filters)
{
	enum kiln_type type = type_of(kernel->type);
	uint32_t places = c->out[0] * c->out[1] * c->out[2];
	uint32_t row = ggml_nelements(kernel) / filters;
	uint64_t cols = lower_scratch(l, (uint64_t)c->batch * places * row * type_bytes(type));
	uint64_t weights;
	int err;

	if (!cols)
		return -ENOMEM;
	err = columns(l, c, type, cols);
	weights = dense_copy(l, kernel, type, &err);
	if (err)
		return err;
	return SUBMIT(l, kiln_matmul, .type = type, .out_type = KILN_TYPE_F32, .m = filters,
		      .n = places, .k = row, .batch = c->batch, .trans_b = true, .share_a = true,
		      .a = weights, .b = cols, .c = address(node));
}

int lower_conv_2d(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *kernel = node->src[0], *x = node->src[1];
	const int32_t *p = node->op_params;
	struct conv c = {
		.kernel = { 1, kernel->ne[1], kernel->ne[0] }, .out = { 1, node->ne[1], node->ne[0] },
		.stride = { 1, p[1], p[0] }, .pad = { 0, p[3], p[2] }, .dilation = { 1, p[5], p[4] },
	};

	if (!plain(x) || !plain(kernel) || node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node))
		return -ENOTSUP;
	input_2d(&c, x);
	return multiply(l, &c, node, kernel, kernel->ne[3]);
}

int lower_conv_3d(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *kernel = node->src[0], *x = node->src[1];
	const int32_t *p = node->op_params;
	struct conv c = {
		.kernel = { kernel->ne[2], kernel->ne[1], kernel->ne[0] },
		.out = { node->ne[2], node->ne[1], node->ne[0] },
		.stride = { p[2], p[1], p[0] }, .pad = { p[5], p[4], p[3] },
		.dilation = { p[8], p[7], p[6] },
	};

	if (!plain(x) || !plain(kernel) || node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node))
		return -ENOTSUP;
	input_3d(&c, x, p[9]);
	return multiply(l, &c, node, kernel, p[11]);
}

/* 1 / how many of the kernel's places are on the input, for each output of a row; 0: no memory */
static uint64_t shares(struct lower *l, const struct conv *c)
{
	float share[MAX_SHARES];

	for (uint32_t i = 0; i < c->out[2]; i++) {
		uint32_t count = 0;

		for (uint32_t k = 0; k < c->kernel[2]; k++) {
			int64_t x = (int64_t)i * c->stride[2] + k - c->pad[2];

			count += x >= 0 && x < c->in[2];
		}
		share[i] = count ? 1.0f / count : 0;
	}
	return lower_constants(l, share, c->out[2]);
}

/*
 * The greatest or the mean of what lies under the kernel; that of two dimensions counts
 * what is padded, too, that of one does not.
 */
int lower_pool(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	const int32_t *p = node->op_params;
	bool flat = node->op == GGML_OP_POOL_1D, max = p[0] == GGML_OP_POOL_MAX;
	struct conv c = {
		.kernel = { 1, flat ? 1 : p[2], p[1] }, .out = { 1, node->ne[1], node->ne[0] },
		.stride = { 1, flat ? 1 : p[4], flat ? p[2] : p[3] },
		.pad = { 0, flat ? 0 : p[6], flat ? p[3] : p[5] }, .dilation = { 1, 1, 1 },
	};
	struct kiln_tensor out = view(node);
	int err;

	if (x->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node) ||
	    (flat && node->ne[0] > MAX_SHARES))
		return -ENOTSUP;
	input_2d(&c, x);
	err = lower_constant_fill(l, out, max ? -FLT_MAX : 0);
	for (uint32_t ky = 0; ky < c.kernel[1]; ky++)
		for (uint32_t kx = 0; kx < c.kernel[2] && !err; kx++) {
			struct kiln_tensor part = out, under = view(x);
			uint32_t first, from;

			part.dim[2] = seen(&c, 1, ky, &first, &from);
			part.addr += first * node->nb[1];
			under.addr += from * x->nb[1];
			part.dim[3] = seen(&c, 2, kx, &first, &from);
			part.addr += first * node->nb[0];
			under.addr += from * x->nb[0];
			if (!part.dim[2] || !part.dim[3])
				continue;
			for (int d = 2; d < 4; d++) {
				under.dim[d] = part.dim[d];
				under.stride[d] *= c.stride[d - 1];
			}
			err = SUBMIT(l, kiln_pointwise, .x = part, .y = under, .out = part,
				     .binary = max ? KILN_BINARY_MAX : KILN_BINARY_ADD);
		}
	if (max || err)
		return err;
	if (flat) {
		uint64_t at = shares(l, &c);

		return !at ? -ENOMEM :
			SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = out,
			       .y = dense(KILN_TYPE_F32, at, 1, 1, 1, node->ne[0]), .out = out);
	}
	return SUBMIT(l, kiln_pointwise, .x = out, .out = out,
		      .scale = 1.0f / (c.kernel[1] * c.kernel[2]));
}

/* ------------------------------------------------------------- depthwise -- */

/* out, or a part of it that is there, gets x * y, or that is added to it. */
static int multiply_add(struct lower *l, bool first, struct kiln_tensor x, struct kiln_tensor y,
			struct kiln_tensor out)
{
	struct kiln_tensor product = out;
	int err;

	if (!first)
		product = scratch(l, KILN_TYPE_F32, out.dim[0], out.dim[1], out.dim[2], out.dim[3]);
	err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = x, .y = y,
		     .out = product);
	if (first || err)
		return err;
	return SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = out, .y = product, .out = out);
}

/* Each channel with a kernel [width, height, 1, channels] of its own */
int lower_conv_2d_dw(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *kernel = node->src[0], *x = node->src[1];
	const int32_t *p = node->op_params;
	struct conv c = {
		.kernel = { 1, kernel->ne[1], kernel->ne[0] }, .out = { 1, node->ne[1], node->ne[0] },
		.stride = { 1, p[1], p[0] }, .pad = { 0, p[3], p[2] }, .dilation = { 1, p[5], p[4] },
	};
	int err;

	if (!plain(kernel) || x->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32)
		return -ENOTSUP;
	input_2d(&c, x);
	err = lower_constant_fill(l, view(node), 0);
	for (uint32_t ky = 0; ky < c.kernel[1]; ky++)
		for (uint32_t kx = 0; kx < c.kernel[2] && !err; kx++) {
			struct kiln_tensor part = view(node), under = view(x), w = view(kernel);
			uint32_t first, from;

			part.dim[2] = seen(&c, 1, ky, &first, &from);
			part.addr += first * node->nb[1];
			under.addr += from * x->nb[1];
			part.dim[3] = seen(&c, 2, kx, &first, &from);
			part.addr += first * node->nb[0];
			under.addr += from * x->nb[0];
			if (!part.dim[2] || !part.dim[3])
				continue;
			for (int d = 2; d < 4; d++) {
				under.dim[d] = part.dim[d];
				under.stride[d] *= c.stride[d - 1];
			}
			w.addr += kx * kernel->nb[0] + ky * kernel->nb[1];
			w.dim[1] = w.dim[0];
			w.stride[1] = w.stride[0];
			w.dim[0] = w.dim[2] = w.dim[3] = 1;
			lower_begin(l);
			err = multiply_add(l, false, under, w, part);
		}
	return err;
}

/* Along time: [taps - 1 + tokens, channels, sequences] and [taps, channels] to [channels, tokens, sequences] */
int lower_ssm_conv(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *taps = node->src[1];
	struct kiln_tensor out = view(node), in = view(x), w = view(taps);
	int err = 0;

	if (x->type != GGML_TYPE_F32 || taps->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32)
		return -ENOTSUP;
	/* Channels and time change places. */
	in.stride[2] = view(x).stride[3];
	in.stride[3] = view(x).stride[2];
	w.stride[3] = w.stride[2];
	w.dim[3] = w.dim[2];
	w.dim[2] = 1;
	for (int d = 0; d < 4; d++)
		in.dim[d] = out.dim[d];
	for (int64_t k = 0; k < taps->ne[0] && !err; k++) {
		lower_begin(l);
		err = multiply_add(l, !k, in, w, out);
		in.addr += x->nb[0];
		w.addr += taps->nb[0];
	}
	return err;
}

/* ------------------------------------------------------------ transposed -- */

/*
 * columns [channels, kernel, time], their strides in elements, each added to
 * out [channels, length] at time * stride + its place in the kernel - pad
 */
static int scatter_columns(struct lower *l, struct kiln_tensor columns, const int64_t steps[3],
			   uint32_t kernel, uint32_t times, int32_t stride, int32_t pad, uint64_t out,
			   uint32_t channels, uint32_t length)
{
	int err = lower_constant_fill(l, dense(KILN_TYPE_F32, out, 1, 1, channels, length), 0);

	for (uint32_t k = 0; k < kernel && !err; k++) {
		int32_t shift = (int32_t)k - pad;
		int32_t low = shift < 0 ? (-shift + stride - 1) / stride : 0;
		int32_t high = (int32_t)length - 1 - shift;
		struct kiln_tensor part = dense(KILN_TYPE_F32, out, 1, 1, channels, 1), x = columns;

		high = high < 0 ? -1 : high / stride;
		if (high >= (int32_t)times)
			high = times - 1;
		if (high < low)
			continue;
		part.addr += (low * stride + shift) * sizeof(float);
		part.dim[3] = high - low + 1;
		part.stride[3] = stride;
		part.stride[0] = part.stride[1] = (uint64_t)channels * length;
		part.stride[2] = length;
		x.addr += (k * steps[1] + low * steps[2]) * type_bytes(x.type);
		for (int d = 0; d < 4; d++)
			x.dim[d] = part.dim[d];
		x.stride[0] = x.stride[1] = 0;
		x.stride[2] = steps[0];
		x.stride[3] = steps[2];
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = part, .y = x, .out = part);
	}
	return err;
}

/* Columns [channels * kernel, time] */
int lower_col2im_1d(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0];
	const int32_t *p = node->op_params;
	uint32_t channels = p[1], kernel = x->ne[0] / channels;
	const int64_t steps[3] = { kernel, 1, x->ne[0] };
	struct kiln_tensor out = view(node);
	int err;

	if (!plain(x) || !plain(node) || !ggml_is_contiguous(x) || !ggml_is_contiguous(node))
		return -ENOTSUP;
	if (node->type != GGML_TYPE_F32)
		out = scratch(l, KILN_TYPE_F32, 1, 1, channels, node->ne[0]);
	if (!out.addr)
		return -ENOMEM;
	err = scatter_columns(l, view(x), steps, kernel, x->ne[1], p[0], p[2], out.addr, channels,
			      node->ne[0]);
	return err || node->type == GGML_TYPE_F32 ? err : copy(l, out, view(node));
}

/* Kernel [kernel, filters, channels], input [time, channels] */
int lower_conv_transpose_1d(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *kernel = node->src[0], *x = node->src[1];
	enum kiln_type type = type_of(kernel->type);
	uint32_t rows = kernel->ne[0] * kernel->ne[1], times = x->ne[0];
	const int64_t steps[3] = { kernel->ne[0] * times, times, 1 };
	struct kiln_tensor cols = scratch(l, KILN_TYPE_F32, 1, 1, rows, times);
	uint64_t in;
	int err = 0;

	if (!plain(kernel) || !plain(x) || !ggml_is_contiguous(kernel) || kernel->ne[3] != 1 ||
	    x->ne[2] * x->ne[3] != 1 || node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node) ||
	    node->op_params[1] || node->op_params[2] != 1)
		return -ENOTSUP;
	if (!cols.addr)
		return -ENOMEM;
	in = dense_copy(l, x, type, &err);
	if (!err)
		err = SUBMIT(l, kiln_matmul, .type = type, .out_type = KILN_TYPE_F32, .m = rows,
			     .n = times, .k = kernel->ne[2], .trans_a = true, .a = address(kernel),
			     .b = in, .c = cols.addr);
	return err ? err : scatter_columns(l, cols, steps, kernel->ne[0], times, node->op_params[0], 0,
					   address(node), node->ne[1], node->ne[0]);
}

/* Kernel [width, height, filters, channels], input [width, height, channels, batch] */
int lower_conv_transpose_2d(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *kernel = node->src[0], *x = node->src[1];
	enum kiln_type type = type_of(kernel->type);
	uint32_t places = kernel->ne[0] * kernel->ne[1], rows = places * kernel->ne[2];
	uint32_t points = x->ne[0] * x->ne[1], stride = node->op_params[0];
	struct kiln_tensor cols = scratch(l, KILN_TYPE_F32, x->ne[3], kernel->ne[2], places, points);
	uint64_t in;
	int err = 0;

	if (!plain(kernel) || !plain(x) || !ggml_is_contiguous(kernel) ||
	    node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node))
		return -ENOTSUP;
	if (!cols.addr)
		return -ENOMEM;
	in = dense_copy(l, x, type, &err);
	if (!err)
		err = SUBMIT(l, kiln_matmul, .type = type, .out_type = KILN_TYPE_F32, .m = rows,
			     .n = points, .k = kernel->ne[3], .batch = x->ne[3], .trans_a = true,
			     .share_a = true, .a = address(kernel), .b = in, .c = cols.addr);
	if (!err)
		err = lower_constant_fill(l, view(node), 0);
	for (uint32_t i = 0; i < places && !err; i++) {
		struct kiln_tensor out = view(node), part = cols;

		out.addr += i / kernel->ne[0] * node->nb[1] + i % kernel->ne[0] * node->nb[0];
		out.dim[2] = x->ne[1];
		out.dim[3] = x->ne[0];
		out.stride[2] *= stride;
		out.stride[3] *= stride;
		part.addr += (uint64_t)i * points * sizeof(float);
		for (int d = 0; d < 4; d++)
			part.dim[d] = out.dim[d];
		part.stride[0] = (int64_t)rows * points;
		part.stride[1] = (int64_t)places * points;
		part.stride[2] = x->ne[0];
		part.stride[3] = 1;
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_ADD, .x = out, .y = part,
			     .out = out);
	}
	return err;
}
