// SPDX-License-Identifier: MIT
/*
 * Nodes of training: losses, and steps of the optimisers, whose parameters lie on the card.
 */
#include "lower.h"

static bool f32(const struct ggml_tensor *t)
{
	return t->type == GGML_TYPE_F32 && ggml_is_contiguous(t);
}

/*
 * Rows that are too long for a partition: logits minus the greatest of each, dense; sums of their
 * powers of e, which stay in powers
 */
static int long_rows(struct lower *l, const struct ggml_tensor *x, struct kiln_tensor *less,
		     struct kiln_tensor *powers, struct kiln_tensor *sum)
{
	uint32_t rows = ggml_nrows(x), n = x->ne[0];
	struct kiln_tensor logits = dense(KILN_TYPE_F32, address(x), 1, 1, rows, n);
	int err;

	*less = scratch(l, KILN_TYPE_F32, 1, 1, rows, n);
	*powers = scratch(l, KILN_TYPE_F32, 1, 1, rows, n);
	*sum = scratch(l, KILN_TYPE_F32, 1, 1, rows, 1);
	if (!less->addr || !powers->addr || !sum->addr)
		return -ENOMEM;
	err = SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32, .func = KILN_REDUCE_MAX, .outer = rows,
		     .n = n, .x = logits.addr, .y = sum->addr);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_SUBTRACT, .x = logits, .y = *sum,
			     .out = *less);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_EXP, .x = *less, .out = *powers);
	return err ? err : SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM,
				  .outer = rows, .n = n, .x = powers->addr, .y = sum->addr);
}

static int long_cross_entropy(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *labels = node->src[1];
	uint32_t rows = ggml_nrows(x), n = x->ne[0];
	struct kiln_tensor less, powers, sum, loss = dense(KILN_TYPE_F32, address(node), 1, 1, 1, 1);
	int err = long_rows(l, x, &less, &powers, &sum);

	if (!err)
		err = SUBMIT(l, kiln_pointwise, .unary = KILN_UNARY_LOG, .x = sum, .out = sum);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_SUBTRACT, .x = less, .y = sum,
			     .out = less);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_MULTIPLY, .x = less,
			     .y = dense(KILN_TYPE_F32, address(labels), 1, 1, rows, n), .out = less);
	if (!err)
		err = SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM,
			     .n = rows * n, .x = less.addr, .y = loss.addr);
	return err ? err : SUBMIT(l, kiln_pointwise, .scale = -1.0f / rows, .x = loss, .out = loss);
}

static int long_cross_entropy_back(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[1], *labels = node->src[2];
	uint32_t rows = ggml_nrows(x), n = x->ne[0];
	struct kiln_tensor less, p, sum;
	int err = long_rows(l, x, &less, &p, &sum);

	if (!err)
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_DIVIDE, .x = p, .y = sum, .out = p);
	if (!err)
		err = SUBMIT(l, kiln_pointwise, .binary = KILN_BINARY_SUBTRACT, .x = p,
			     .y = dense(KILN_TYPE_F32, address(labels), 1, 1, rows, n), .out = p);
	return err ? err : SUBMIT(l, kiln_pointwise, .scale = 1.0f / rows, .x = p,
				  .binary = KILN_BINARY_MULTIPLY,
				  .y = dense(KILN_TYPE_F32, address(node->src[0]), 1, 1, 1, 1),
				  .out = dense(KILN_TYPE_F32, address(node), 1, 1, rows, n));
}

/* -sum of labels * log softmax(logits), over the rows */
int lower_cross_entropy(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *x = node->src[0], *labels = node->src[1];
	uint32_t rows = ggml_nrows(x);
	struct kiln_tensor each = scratch(l, KILN_TYPE_F32, x->ne[3], x->ne[2], x->ne[1], 1);
	int err;

	if (!f32(x) || !f32(labels) || !f32(node))
		return -ENOTSUP;
	err = SUBMIT(l, kiln_rows, .func = KILN_ROWS_CROSS_ENTROPY, .scale = 1.0f / rows,
		     .x = view(x), .a = view(labels), .out = each);
	if (err == -ENOTSUP)
		return long_cross_entropy(l, node);
	return err ? err : SUBMIT(l, kiln_reduce, .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM,
				  .n = rows, .x = each.addr, .y = address(node));
}

/* src[0] is the loss's gradient, one number; then logits and labels */
int lower_cross_entropy_back(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *gradient = node->src[0], *x = node->src[1], *labels = node->src[2];
	int err;

	if (!f32(gradient) || !f32(x) || !f32(labels) || !f32(node))
		return -ENOTSUP;
	err = SUBMIT(l, kiln_rows, .func = KILN_ROWS_CROSS_ENTROPY_BACK,
		     .scale = 1.0f / ggml_nrows(x), .x = view(x), .a = view(labels),
		     .b = dense(KILN_TYPE_F32, address(gradient), 1, 1, 1, 1), .out = view(node));
	return err == -ENOTSUP ? long_cross_entropy_back(l, node) : err;
}

/* Number i of an optimiser's parameters */
static struct kiln_tensor parameter(const struct ggml_tensor *t, unsigned int i)
{
	return dense(KILN_TYPE_F32, address(t) + i * sizeof(float), 1, 1, 1, 1);
}

/* out = unary(scale * x + shift) binary y, unless something failed before */
static void step(struct lower *l, int *err, struct kiln_pointwise p)
{
	if (!*err)
		*err = kiln_pointwise(l->ops, &p, lower_done, l);
}

#define STEP(l, err, ...)	step(l, err, (struct kiln_pointwise){ __VA_ARGS__ })

/* w = w (1 - alpha decay) - alpha delta */
static void update(struct lower *l, int *err, struct kiln_tensor w, struct kiln_tensor delta,
		   struct kiln_tensor alpha, struct kiln_tensor decay)
{
	struct kiln_tensor keep = scratch(l, KILN_TYPE_F32, 1, 1, 1, 1);

	STEP(l, err, .x = alpha, .binary = KILN_BINARY_MULTIPLY, .y = decay, .out = keep);
	STEP(l, err, .x = keep, .scale = -1, .shift = 1, .out = keep);
	STEP(l, err, .x = w, .binary = KILN_BINARY_MULTIPLY, .y = keep, .out = w);
	STEP(l, err, .x = delta, .binary = KILN_BINARY_MULTIPLY, .y = alpha, .out = delta);
	STEP(l, err, .x = w, .binary = KILN_BINARY_SUBTRACT, .y = delta, .out = w);
}

/* Weights, gradient, alpha and weight decay; the weights change in place. */
int lower_sgd(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *w = node->src[0], *g = node->src[1], *p = node->src[2];
	struct kiln_tensor delta = scratch(l, KILN_TYPE_F32, w->ne[3], w->ne[2], w->ne[1], w->ne[0]);
	int err = 0;

	if (!f32(w) || !f32(g) || !f32(p))
		return -ENOTSUP;
	STEP(l, &err, .x = view(g), .out = delta);
	update(l, &err, view(w), delta, parameter(p, 0), parameter(p, 1));
	return err;
}

/*
 * Weights, gradient, both momenta; alpha, beta1, beta2, eps, weight decay, and what the
 * momenta are corrected by. Weights and momenta change in place.
 */
int lower_adamw(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *t = node->src[0], *p = node->src[4];
	struct kiln_tensor w = view(t), g = view(node->src[1]);
	struct kiln_tensor m = view(node->src[2]), v = view(node->src[3]);
	struct kiln_tensor a = scratch(l, KILN_TYPE_F32, t->ne[3], t->ne[2], t->ne[1], t->ne[0]);
	struct kiln_tensor b = scratch(l, KILN_TYPE_F32, t->ne[3], t->ne[2], t->ne[1], t->ne[0]);
	struct kiln_tensor rest = scratch(l, KILN_TYPE_F32, 1, 1, 1, 1);
	int err = 0;

	for (int i = 0; i < 5; i++)
		if (!f32(node->src[i]))
			return -ENOTSUP;
	STEP(l, &err, .x = parameter(p, 1), .scale = -1, .shift = 1, .out = rest);
	STEP(l, &err, .x = g, .binary = KILN_BINARY_MULTIPLY, .y = rest, .out = a);
	STEP(l, &err, .x = m, .binary = KILN_BINARY_MULTIPLY, .y = parameter(p, 1), .out = m);
	STEP(l, &err, .x = m, .binary = KILN_BINARY_ADD, .y = a, .out = m);

	STEP(l, &err, .x = parameter(p, 2), .scale = -1, .shift = 1, .out = rest);
	STEP(l, &err, .x = g, .unary = KILN_UNARY_SQUARE, .binary = KILN_BINARY_MULTIPLY, .y = rest,
	     .out = a);
	STEP(l, &err, .x = v, .binary = KILN_BINARY_MULTIPLY, .y = parameter(p, 2), .out = v);
	STEP(l, &err, .x = v, .binary = KILN_BINARY_ADD, .y = a, .out = v);

	STEP(l, &err, .x = v, .binary = KILN_BINARY_MULTIPLY, .y = parameter(p, 6), .out = b);
	STEP(l, &err, .x = b, .unary = KILN_UNARY_SQRT, .binary = KILN_BINARY_ADD,
	     .y = parameter(p, 3), .out = b);
	STEP(l, &err, .x = m, .binary = KILN_BINARY_MULTIPLY, .y = parameter(p, 5), .out = a);
	STEP(l, &err, .x = a, .binary = KILN_BINARY_DIVIDE, .y = b, .out = a);
	update(l, &err, w, a, parameter(p, 0), parameter(p, 4));
	return err;
}
