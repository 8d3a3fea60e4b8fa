// SPDX-License-Identifier: MIT
/*
 * Nodes that carry a state from token to token: a matrix for each head of each sequence,
 * which each token lets decay, adds products of its vectors to, and is answered from.
 * A token is a few commands for all heads of all sequences.
 */
#include <math.h>

#include "lower.h"

struct scan {
	struct lower *l;
	int err;
	uint32_t seqs, tokens, heads;
	uint32_t rows, columns;		/* of a state */
	struct kiln_tensor state;	/* [seqs, heads, rows, columns] */
	struct kiln_tensor update;	/* the same in scratch */
};

/* out = unary(scale * x + shift) binary y, unless something failed before */
static void step(struct scan *s, struct kiln_pointwise p)
{
	if (!s->err)
		s->err = kiln_pointwise(s->l->ops, &p, lower_done, s->l);
}

#define STEP(s, ...)	step(s, (struct kiln_pointwise){ __VA_ARGS__ })

static void moved(struct scan *s, struct kiln_tensor from, struct kiln_tensor to)
{
	if (!s->err)
		s->err = copy(s->l, from, to);
}

static bool f32(const struct ggml_tensor *t)
{
	return t->type == GGML_TYPE_F32 && ggml_is_contiguous(t);
}

static struct kiln_tensor dense_f32(uint64_t addr, uint32_t d0, uint32_t d1, uint32_t d2, uint32_t d3)
{
	struct kiln_tensor t = dense(KILN_TYPE_F32, addr, d0, d1, d2, d3);

	t.stride[3] = 1;
	for (int d = 2; d >= 0; d--)
		t.stride[d] = t.stride[d + 1] * t.dim[d + 1];
	return t;
}

static struct kiln_tensor room(struct scan *s, uint32_t d0, uint32_t d1, uint32_t d2, uint32_t d3)
{
	struct kiln_tensor t = scratch(s->l, KILN_TYPE_F32, d0, d1, d2, d3);

	if (!t.addr && !s->err)
		s->err = -ENOMEM;
	return dense_f32(t.addr, d0, d1, d2, d3);
}

static void set_up(struct scan *s, uint64_t state)
{
	s->state = dense_f32(state, s->seqs, s->heads, s->rows, s->columns);
	s->update = room(s, s->seqs, s->heads, s->rows, s->columns);
}

/* Vectors of the heads of all tokens, [seqs, tokens, heads, n]; t may count them all as tokens. */
static struct kiln_tensor vectors(const struct scan *s, const struct ggml_tensor *t)
{
	struct kiln_tensor v = view(t);

	if (t->ne[3] == 1 && t->ne[2] == (int64_t)s->seqs * s->tokens) {
		v.dim[0] = s->seqs;
		v.dim[1] = s->tokens;
		v.stride[0] = s->tokens * v.stride[1];
	}
	return v;
}

/* Those of a token, down the rows of the states or along them */
enum along { DOWN, ALONG };

static struct kiln_tensor of_token(struct kiln_tensor v, uint32_t token, enum along along)
{
	struct kiln_tensor t = {
		.type = v.type, .addr = v.addr + token * v.stride[1] * sizeof(float),
		.dim = { v.dim[0], v.dim[2], 1, 1 },
		.stride = { v.stride[0], v.stride[2], v.stride[3], v.stride[3] },
	};

	t.dim[along == DOWN ? 2 : 3] = v.dim[3];
	return t;
}

/* state += down * along */
static void add_product(struct scan *s, struct kiln_tensor down, struct kiln_tensor along)
{
	STEP(s, .x = down, .binary = KILN_BINARY_MULTIPLY, .y = along, .out = s->update);
	STEP(s, .x = s->state, .binary = KILN_BINARY_ADD, .y = s->update, .out = s->state);
}

/* out = the sum over rows of v * state, or over columns: vectors of a token, as of_token() has them */
static void answer(struct scan *s, struct kiln_tensor state, struct kiln_tensor v, bool over_columns,
		   struct kiln_tensor out)
{
	uint32_t size = s->rows * s->columns;

	if (!s->err)
		s->err = SUBMIT(s->l, kiln_matmul, .type = KILN_TYPE_F32, .m = 1,
				.n = over_columns ? s->rows : s->columns,
				.k = over_columns ? s->columns : s->rows, .trans_b = over_columns,
				.batch = s->heads, .outer = s->seqs, .a = v.addr, .b = state.addr,
				.c = out.addr, .stride_a = v.stride[1], .outer_a = v.stride[0],
				.stride_b = size, .outer_b = (uint64_t)size * s->heads,
				.stride_c = out.stride[1], .outer_c = out.stride[0]);
}

/* v, scaled, dense, and repeated for all heads */
static struct kiln_tensor for_heads(struct scan *s, struct kiln_tensor v, float scale)
{
	struct kiln_tensor all = room(s, s->seqs, s->tokens, s->heads, v.dim[3]);

	STEP(s, .x = v, .scale = scale, .out = all);
	return all;
}

/*
 * q, k [n, heads, tokens, sequences], perhaps of fewer heads, v, gate (of each row or one), beta
 * (one), state, whose rows are v's: state = e^gate * state, then + beta (v - state k) k.
 * Behind the answers, which are state q / sqrt(n), the states, the last ones first.
 */
int lower_delta_net(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *v = node->src[2], *gate = node->src[3], *beta = node->src[4];
	uint32_t n = v->ne[0], keep = node->op_params[0], t;
	struct scan s = {
		.l = l, .seqs = v->ne[3], .tokens = v->ne[2], .heads = v->ne[1], .rows = n,
		.columns = n,
	};
	uint64_t answers = (uint64_t)s.seqs * s.tokens * s.heads * n;
	uint64_t states = (uint64_t)s.seqs * s.heads * n * n;
	struct kiln_tensor q, k, out, rest, slot;

	for (int i = 0; i < 6; i++) {
		const struct ggml_tensor *x = node->src[i];

		if (x->type != GGML_TYPE_F32 || x->ne[3] != v->ne[3] || (i > 2 && !f32(x)) ||
		    (i < 3 && x->nb[0] != sizeof(float)))
			return -ENOTSUP;
	}
	if (!f32(node))
		return -ENOTSUP;
	set_up(&s, address(node) + answers * sizeof(float));
	moved(&s, dense_f32(address(node->src[5]), s.seqs, s.heads, n, n), s.state);
	q = for_heads(&s, vectors(&s, node->src[0]), 1 / sqrtf(n));
	k = for_heads(&s, vectors(&s, node->src[1]), 1);
	out = dense_f32(address(node), s.seqs, s.tokens, s.heads, n);
	rest = room(&s, s.seqs, 1, s.heads, n);
	slot = s.state;
	for (t = 0; t < s.tokens && !s.err; t++) {
		struct kiln_tensor missing = of_token(rest, 0, DOWN);

		STEP(&s, .unary = KILN_UNARY_EXP, .x = of_token(vectors(&s, gate), t, ALONG),
		     .binary = KILN_BINARY_MULTIPLY, .y = s.state, .out = s.state);
		answer(&s, s.state, of_token(k, t, ALONG), true, missing);
		STEP(&s, .x = of_token(vectors(&s, v), t, DOWN), .binary = KILN_BINARY_SUBTRACT,
		     .y = missing, .out = missing);
		STEP(&s, .x = missing, .binary = KILN_BINARY_MULTIPLY,
		     .y = of_token(vectors(&s, beta), t, DOWN), .out = missing);
		add_product(&s, missing, of_token(k, t, ALONG));
		answer(&s, s.state, of_token(q, t, ALONG), true, of_token(out, t, ALONG));
		slot.addr = s.state.addr + (s.tokens - 1 - t) * states * sizeof(float);
		if (t + 1 < s.tokens && s.tokens - 1 - t < keep)
			moved(&s, s.state, slot);
	}
	return s.err;
}

/* The parts that RWKV and gated linear attention have in common; state_at is the source with the states. */
static int start(struct scan *s, struct lower *l, const struct ggml_tensor *node, int state_at)
{
	const struct ggml_tensor *v = node->src[1], *state = node->src[state_at];

	*s = (struct scan) {
		.l = l, .seqs = state->ne[1], .tokens = v->ne[2] / state->ne[1], .heads = v->ne[1],
		.rows = v->ne[0], .columns = v->ne[0],
	};
	for (int i = 0; i <= state_at; i++)
		if (!f32(node->src[i]))
			return -ENOTSUP;
	if (!f32(node) || v->ne[3] != 1)
		return -ENOTSUP;
	set_up(s, address(node) + ggml_nelements(v) * sizeof(float));
	moved(s, dense_f32(address(state), s->seqs, s->heads, s->rows, s->columns), s->state);
	return s->err;
}

/* k, v, q, gate, states: state = gate * state + k v, and q state */
int lower_gated_linear_attention(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_tensor q, out;
	struct scan s;
	int err = start(&s, l, node, 4);

	if (err || float_param(node, 0) == 0)
		return err ? err : -ENOTSUP;
	q = for_heads(&s, vectors(&s, node->src[2]), float_param(node, 0));
	out = dense_f32(address(node), s.seqs, s.tokens, s.heads, s.columns);
	for (uint32_t t = 0; t < s.tokens && !s.err; t++) {
		STEP(&s, .x = s.state, .binary = KILN_BINARY_MULTIPLY,
		     .y = of_token(vectors(&s, node->src[3]), t, DOWN), .out = s.state);
		add_product(&s, of_token(vectors(&s, node->src[0]), t, DOWN),
			    of_token(vectors(&s, node->src[1]), t, ALONG));
		answer(&s, s.state, of_token(q, t, ALONG), false, of_token(out, t, ALONG));
	}
	return s.err;
}

/* k, v, r, first, decay, states: r (first k v + state), then state = decay * state + k v */
int lower_rwkv6(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_tensor out, now, first;
	struct scan s;
	int err = start(&s, l, node, 5);

	if (err)
		return err;
	out = dense_f32(address(node), s.seqs, s.tokens, s.heads, s.columns);
	now = room(&s, s.seqs, s.heads, s.rows, s.columns);
	first = dense_f32(address(node->src[3]), 1, s.heads, s.rows, 1);
	for (uint32_t t = 0; t < s.tokens && !s.err; t++) {
		STEP(&s, .x = of_token(vectors(&s, node->src[0]), t, DOWN),
		     .binary = KILN_BINARY_MULTIPLY,
		     .y = of_token(vectors(&s, node->src[1]), t, ALONG), .out = s.update);
		STEP(&s, .x = s.update, .binary = KILN_BINARY_MULTIPLY, .y = first, .out = now);
		STEP(&s, .x = now, .binary = KILN_BINARY_ADD, .y = s.state, .out = now);
		answer(&s, now, of_token(vectors(&s, node->src[2]), t, ALONG), false,
		       of_token(out, t, ALONG));
		STEP(&s, .x = s.state, .binary = KILN_BINARY_MULTIPLY,
		     .y = of_token(vectors(&s, node->src[4]), t, DOWN), .out = s.state);
		STEP(&s, .x = s.state, .binary = KILN_BINARY_ADD, .y = s.update, .out = s.state);
	}
	return s.err;
}

/* r, w, k, v, a, b, states: state = w * state + v k + (state a) b, and state r */
int lower_rwkv7(struct lower *l, const struct ggml_tensor *node)
{
	struct kiln_tensor out, found;
	struct scan s;
	int err = start(&s, l, node, 6);

	if (err)
		return err;
	out = dense_f32(address(node), s.seqs, s.tokens, s.heads, s.rows);
	found = of_token(room(&s, s.seqs, 1, s.heads, s.rows), 0, DOWN);
	for (uint32_t t = 0; t < s.tokens && !s.err; t++) {
		answer(&s, s.state, of_token(vectors(&s, node->src[4]), t, ALONG), true, found);
		STEP(&s, .x = s.state, .binary = KILN_BINARY_MULTIPLY,
		     .y = of_token(vectors(&s, node->src[1]), t, ALONG), .out = s.state);
		add_product(&s, of_token(vectors(&s, node->src[3]), t, DOWN),
			    of_token(vectors(&s, node->src[2]), t, ALONG));
		add_product(&s, found, of_token(vectors(&s, node->src[5]), t, ALONG));
		answer(&s, s.state, of_token(vectors(&s, node->src[0]), t, ALONG), true,
		       of_token(out, t, ALONG));
	}
	return s.err;
}

/* Vectors of groups of heads, for each of them */
static struct kiln_tensor of_groups(struct scan *s, const struct ggml_tensor *t)
{
	uint32_t each = s->heads / t->ne[1];
	struct kiln_tensor all = room(s, s->seqs, s->tokens, s->heads, s->columns), v = view(t);
	struct kiln_strided copies = {
		.from = KILN_TYPE_F32, .to = KILN_TYPE_F32, .dims = 5, .src = v.addr, .dst = all.addr,
		.dim = { s->seqs, s->tokens, t->ne[1], each, s->columns },
		.src_stride = { v.stride[0], v.stride[1], v.stride[2], 0, v.stride[3] },
		.dst_stride = { all.stride[0], all.stride[1], each * all.stride[2], all.stride[2], 1 },
	};

	if (!s->err)
		s->err = kiln_copy_strided(s->l->ops, &copies, lower_done, s->l);
	return all;
}

/*
 * States [n, dim, heads, many], x [dim, heads, tokens, sequences], dt [heads, tokens,
 * sequences], a [n or 1, heads], b and c [n, groups, tokens, sequences], and which states.
 * With d = softplus(dt): state = e^(d a) * state + d x b, and c state.
 */
int lower_ssm_scan(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *from = node->src[0], *x = node->src[1], *dt = node->src[2];
	const struct ggml_tensor *a = node->src[3], *ids = node->src[6];
	struct scan s = {
		.l = l, .seqs = x->ne[3], .tokens = x->ne[2], .heads = x->ne[1], .rows = x->ne[0],
		.columns = from->ne[0],
	};
	uint64_t states = (uint64_t)s.seqs * s.heads * s.rows * s.columns;
	uint32_t each = s.heads * s.rows * s.columns, keep = node->op_params[0];
	struct kiln_tensor d, dx, b, c, out, rate, slot, given;

	for (int i = 0; i < 6; i++)
		if (node->src[i]->type != GGML_TYPE_F32 || node->src[i]->nb[0] != sizeof(float))
			return -ENOTSUP;
	if (!f32(node) || !f32(from) || !f32(a) || ids->type != GGML_TYPE_I32 ||
	    x->ne[1] % node->src[4]->ne[1])
		return -ENOTSUP;
	set_up(&s, address(node) + (uint64_t)s.seqs * s.tokens * s.heads * s.rows * sizeof(float));
	if (!s.err)
		s.err = SUBMIT(l, kiln_get_rows,
			       .table = dense(KILN_TYPE_F32, address(from), 1, 1, from->ne[3], each),
			       .index = dense(KILN_TYPE_I32, address(ids), 1, 1, 1, s.seqs),
			       .out = dense(KILN_TYPE_F32, s.state.addr, 1, 1, s.seqs, each));
	d = room(&s, s.seqs, s.tokens, s.heads, 1);
	given = view(dt);
	given = (struct kiln_tensor) {
		.type = KILN_TYPE_F32, .addr = given.addr, .dim = { s.seqs, s.tokens, s.heads, 1 },
		.stride = { given.stride[1], given.stride[2], given.stride[3], 1 },
	};
	STEP(&s, .unary = KILN_UNARY_SOFTPLUS, .x = given, .out = d);
	dx = room(&s, s.seqs, s.tokens, s.heads, s.rows);
	STEP(&s, .x = view(x), .binary = KILN_BINARY_MULTIPLY, .y = d, .out = dx);
	b = of_groups(&s, node->src[4]);
	c = of_groups(&s, node->src[5]);
	rate = room(&s, s.seqs, s.heads, 1, a->ne[0]);
	out = dense_f32(address(node), s.seqs, s.tokens, s.heads, s.rows);
	slot = s.state;
	for (uint32_t t = 0; t < s.tokens && !s.err; t++) {
		STEP(&s, .x = of_token(d, t, ALONG), .binary = KILN_BINARY_MULTIPLY,
		     .y = dense_f32(address(a), 1, s.heads, 1, a->ne[0]), .out = rate);
		STEP(&s, .unary = KILN_UNARY_EXP, .x = rate, .binary = KILN_BINARY_MULTIPLY,
		     .y = s.state, .out = s.state);
		add_product(&s, of_token(dx, t, DOWN), of_token(b, t, ALONG));
		answer(&s, s.state, of_token(c, t, ALONG), true, of_token(out, t, ALONG));
		slot.addr = s.state.addr + (s.tokens - 1 - t) * states * sizeof(float);
		if (t + 1 < s.tokens && s.tokens - 1 - t < keep)
			moved(&s, s.state, slot);
	}
	return s.err;
}

/*
 * a x = b, a [n, n] being lower triangular, b and x [columns, n]: row by row, each taken
 * off all of b by its column of a. What that does to rows that are done, by what stands
 * above the diagonal, nobody reads.
 */
int lower_solve_triangle(struct lower *l, const struct ggml_tensor *node)
{
	const struct ggml_tensor *a = node->src[0], *b = node->src[1];
	uint32_t n = a->ne[0], columns = b->ne[0];
	struct scan s = { .l = l };
	struct kiln_tensor left = room(&s, b->ne[3], b->ne[2], n, columns);
	struct kiln_tensor off = room(&s, b->ne[3], b->ne[2], n, columns);
	struct kiln_tensor row, column, diagonal, x;

	if (!f32(a) || !f32(b) || !f32(node))
		return -ENOTSUP;
	moved(&s, view(b), left);
	for (uint32_t i = 0; i < n && !s.err; i++) {
		column = diagonal = view(a);
		x = view(node);
		row = left;
		column.dim[3] = diagonal.dim[3] = diagonal.dim[2] = x.dim[2] = row.dim[2] = 1;
		column.addr += i * a->nb[0];
		diagonal.addr += i * (a->nb[0] + a->nb[1]);
		x.addr += i * node->nb[1];
		row.addr += i * columns * sizeof(float);
		STEP(&s, .x = row, .binary = KILN_BINARY_DIVIDE, .y = diagonal, .out = x);
		STEP(&s, .x = column, .binary = KILN_BINARY_MULTIPLY, .y = x, .out = off);
		STEP(&s, .x = left, .binary = KILN_BINARY_SUBTRACT, .y = off, .out = left);
	}
	return s.err;
}
