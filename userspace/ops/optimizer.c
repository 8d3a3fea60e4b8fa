// SPDX-License-Identifier: MIT
/*
 * Steps of an optimizer: weights and what is kept about them, in place. The parameters are
 * data, so that a schedule does not make programs.
 */
#include <errno.h>

#include "nd.h"

struct step {
	struct nd nd;
	enum kiln_optimizer_func func;
};

enum { X, GRADIENT, M, V };

/* One of the parameters, for each point again */
static struct kiln_operand param(const struct nd_tile *t, const struct step *s, unsigned int i)
{
	struct kiln_operand view = nd_view(t, s->nd.inputs - 1);

	view.addr += i * sizeof(float);
	return view;
}

/* dst = 1 - a */
static void one_less(struct nd_tile *t, struct kiln_operand dst, struct kiln_operand a)
{
	nd_ts(t, dst, a, KILN_ALU_MULTIPLY, -1, KILN_ALU_ADD, 1);
}

/* dst = x * (1 - rate * decay) */
static void decayed(struct nd_tile *t, const struct step *s, struct kiln_operand dst,
		    unsigned int decay)
{
	nd_tt(t, dst, param(t, s, 0), KILN_ALU_MULTIPLY, param(t, s, decay));
	one_less(t, dst, dst);
	nd_tt(t, dst, dst, KILN_ALU_MULTIPLY, nd_view(t, X));
}

static void sgd(struct nd_tile *t, const struct step *s)
{
	struct kiln_operand a = nd_tmp(t, 0), b = nd_tmp(t, 1);

	decayed(t, s, a, 1);
	nd_tt(t, b, param(t, s, 0), KILN_ALU_MULTIPLY, nd_view(t, GRADIENT));
	nd_tt(t, nd_view(t, s->nd.inputs), a, KILN_ALU_SUBTRACT, b);
}

/* dst = old * beta + new * (1 - beta); a is scratch */
static void averaged(struct nd_tile *t, const struct step *s, struct kiln_operand dst,
		     struct kiln_operand old, unsigned int beta, struct kiln_operand new,
		     struct kiln_operand a)
{
	one_less(t, a, param(t, s, beta));
	nd_tt(t, a, a, KILN_ALU_MULTIPLY, new);
	nd_tt(t, dst, old, KILN_ALU_MULTIPLY, param(t, s, beta));
	nd_tt(t, dst, dst, KILN_ALU_ADD, a);
}

static void adamw(struct nd_tile *t, const struct step *s)
{
	struct kiln_operand a = nd_tmp(t, 0), b = nd_tmp(t, 1), c = nd_tmp(t, 2);
	struct kiln_operand g = nd_view(t, GRADIENT);
	unsigned int out = s->nd.inputs;
	struct kiln_operand m = nd_view(t, out + 1), v = nd_view(t, out + 2);

	averaged(t, s, m, nd_view(t, M), 1, g, a);
	nd_tt(t, b, g, KILN_ALU_MULTIPLY, g);
	averaged(t, s, v, nd_view(t, V), 2, b, a);
	nd_tt(t, b, v, KILN_ALU_MULTIPLY, param(t, s, 6));
	nd_on(t, KILN_SCALAR);
	nd_act(t, b, KILN_ACT_SQRT, b, 1, 0);
	nd_on(t, KILN_VECTOR);
	nd_tt(t, b, b, KILN_ALU_ADD, param(t, s, 3));
	kiln_asm_reciprocal(t->as, b, b);
	nd_tt(t, a, m, KILN_ALU_MULTIPLY, param(t, s, 5));
	nd_tt(t, a, a, KILN_ALU_MULTIPLY, b);
	nd_tt(t, a, a, KILN_ALU_MULTIPLY, param(t, s, 0));
	decayed(t, s, c, 4);
	nd_tt(t, nd_view(t, out), c, KILN_ALU_SUBTRACT, a);
}

static void body(struct nd_tile *t, const void *op)
{
	const struct step *s = op;

	if (s->func == KILN_OPTIMIZER_SGD)
		sgd(t, s);
	else
		adamw(t, s);
}

static int make(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct step *s = shape;

	return nd_make(as, generation, &s->nd, KILN_VECTOR, body, s);
}

int kiln_optimizer(struct kiln_ops *ops, const struct kiln_optimizer *optimizer, kiln_done_fn done,
		   void *user)
{
	static const char *const name[] = { "x", "gradient", "m", "v" };
	struct kiln_ops_key key = { .word = { 0 } };
	const struct kiln_tensor *p[8];
	struct kiln_tensor t[8];
	uint32_t states, params, i, d;
	uint64_t args[8];
	struct step s;
	int err;

	if (!ops || !optimizer)
		return kiln_error(-EINVAL, "optimizer: no ops or no description");
	if (optimizer->func != KILN_OPTIMIZER_ADAMW && optimizer->func != KILN_OPTIMIZER_SGD)
		return kiln_error(-ENOTSUP, "optimizer: function %d is none of enum kiln_optimizer_func",
				  (int)optimizer->func);
	params = optimizer->func == KILN_OPTIMIZER_SGD ? 2 : 7;
	states = optimizer->func == KILN_OPTIMIZER_SGD ? 2 : 4;
	t[X] = optimizer->x;
	t[GRADIENT] = optimizer->gradient;
	t[M] = optimizer->m;
	t[V] = optimizer->v;
	for (i = 0; i < states; i++) {
		if (t[i].type != KILN_TYPE_F32)
			return kiln_error(-ENOTSUP, "optimizer: type %d of %s: KILN_TYPE_F32",
					  (int)t[i].type, name[i]);
		err = nd_tensor("optimizer", name[i], &t[i]);
		if (err)
			return err;
		for (d = 0; d < 4; d++)
			if (t[i].dim[d] != t[X].dim[d])
				return kiln_error(-EINVAL, "optimizer: dimension %u of %s is %u, of x %u", d,
						  name[i], t[i].dim[d], t[X].dim[d]);
	}
	if (!optimizer->params || optimizer->params % 4)
		return kiln_error(-EINVAL, "optimizer: params are at 0x%llx: a device address, aligned to 4 bytes",
				  (unsigned long long)optimizer->params);
	s = (struct step) { .func = optimizer->func, .nd = { .inputs = states + 1, .scratch = 3 } };
	t[states] = (struct kiln_tensor) {
		.type = KILN_TYPE_F32, .dim = { 1, 1, 1, 1 }, .addr = optimizer->params,
	};
	s.nd.unit[states] = params;
	s.nd.tensors = states + 2;
	t[states + 1] = t[X];
	if (states == 4) {
		t[states + 2] = t[M];
		t[states + 3] = t[V];
		s.nd.tensors += 2;
	}
	for (i = 0; i < s.nd.tensors; i++) {
		s.nd.dtype[i] = KILN_F32;
		args[i] = t[i].addr;
		p[i] = &t[i];
	}
	err = nd_space("optimizer", &s.nd, p, t[X].dim);
	if (err)
		return err;
	key.word[0] = KILN_OPS_OPTIMIZER | (uint64_t)s.func << 8;
	nd_key(&key, 1, &s.nd);
	return kiln_ops_run(ops, &key, "optimizer", make, &s, args, s.nd.tensors, done, user);
}
