// SPDX-License-Identifier: MIT
/*
 * Rotary embedding of strided tensors by positions that lie in the card's memory. The
 * points are pairs; angles, their sines and cosines are made on the card for each tile.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "nd.h"

#define SECTIONS	4

struct rotate {
	struct nd nd;
	uint32_t sections;
	bool interleaved, factors, back;
	float scale;
};

/* Angles are brought to -pi to pi: a multiple of 2 pi in two parts, the first of 8 bits. */
#define TURN_HI		6.28125f
#define TURN_LO		1.9353071795864769e-3f

/* The inputs: x (and its second half), frequencies, positions, factors */
static unsigned int parts(const struct rotate *r)
{
	return r->interleaved ? 1 : 2;
}

/* The second ones of the pairs */
static struct kiln_operand second(const struct nd_tile *t, const struct rotate *r,
				  unsigned int first)
{
	struct kiln_operand view = nd_view(t, r->interleaved ? first : first + 1);

	if (r->interleaved)
		view.addr += kiln_dtype_bytes(view.dtype);
	return view;
}

static void body(struct nd_tile *t, const void *op)
{
	const struct rotate *r = op;
	unsigned int table = parts(r), i, y = r->nd.inputs;
	struct kiln_operand angle = nd_tmp(t, 0), other = nd_tmp(t, 1), cosine = nd_tmp(t, 2);
	struct kiln_operand a = nd_tmp(t, 3), b = nd_tmp(t, 4), f = nd_view(t, table);

	for (i = 0; i < r->sections; i++) {
		nd_tt(t, i ? other : angle, f, KILN_ALU_MULTIPLY, nd_view(t, table + 1 + i));
		if (i)
			nd_tt(t, angle, angle, KILN_ALU_ADD, other);
		f.addr += sizeof(float);
	}
	if (r->factors) {
		kiln_asm_reciprocal(t->as, other, nd_view(t, table + 1 + r->sections));
		nd_tt(t, angle, angle, KILN_ALU_MULTIPLY, other);
	}
	nd_ts(t, nd_tmp_as(t, 1, KILN_I32), angle, KILN_ALU_MULTIPLY, (float)(0.5 / M_PI),
	      KILN_ALU_BYPASS, 0);
	nd_stt(t, angle, nd_tmp_as(t, 1, KILN_I32), KILN_ALU_MULTIPLY, -TURN_HI, KILN_ALU_ADD,
	       angle);
	nd_stt(t, angle, nd_tmp_as(t, 1, KILN_I32), KILN_ALU_MULTIPLY, -TURN_LO, KILN_ALU_ADD,
	       angle);
	nd_on(t, KILN_SCALAR);
	nd_act(t, cosine, KILN_ACT_COS, angle, 1, 0);
	nd_act(t, other, KILN_ACT_SIN, angle, 1, 0);
	nd_on(t, KILN_VECTOR);
	if (r->scale != 1)
		nd_ts(t, cosine, cosine, KILN_ALU_MULTIPLY, r->scale, KILN_ALU_BYPASS, 0);
	if (r->scale != 1 || r->back)
		nd_ts(t, other, other, KILN_ALU_MULTIPLY, r->back ? -r->scale : r->scale,
		      KILN_ALU_BYPASS, 0);
	nd_tt(t, a, nd_view(t, 0), KILN_ALU_MULTIPLY, cosine);
	nd_tt(t, b, second(t, r, 0), KILN_ALU_MULTIPLY, other);
	nd_tt(t, nd_view(t, y), a, KILN_ALU_SUBTRACT, b);
	nd_tt(t, a, second(t, r, 0), KILN_ALU_MULTIPLY, cosine);
	nd_tt(t, b, nd_view(t, 0), KILN_ALU_MULTIPLY, other);
	nd_tt(t, second(t, r, y), a, KILN_ALU_ADD, b);
}

static int make(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct rotate *r = shape;

	return nd_make(as, generation, &r->nd, KILN_VECTOR, body, r);
}

static int check(const struct kiln_rotate *ro, const struct kiln_tensor *x,
		 const struct kiln_tensor *y)
{
	int d;

	if (!known_type(x->type) || x->type != y->type)
		return kiln_error(-ENOTSUP, "rotate: type %d to type %d: KILN_TYPE_F32, _BF16 or _F16, the same",
				  (int)x->type, (int)y->type);
	for (d = 0; d < 4; d++)
		if (x->dim[d] != y->dim[d])
			return kiln_error(-EINVAL, "rotate: dimension %d of y is %u, of x %u", d, y->dim[d],
					  x->dim[d]);
	if (!ro->pairs || ro->pairs > x->dim[3] / 2 || x->dim[3] > 4096 || !ro->frequency)
		return kiln_error(-EINVAL, "rotate: %u pairs of %u elements, frequencies %s: 1 to half of them, of up to 4096, and a frequency for each",
				  ro->pairs, x->dim[3], ro->frequency ? "given" : "missing");
	if (x->stride[3] != 1 || y->stride[3] != 1)
		return kiln_error(-EINVAL, "rotate: elements of a head lie %lld and %lld apart: 1",
				  (long long)x->stride[3], (long long)y->stride[3]);
	if (!ro->positions || ro->positions % 4 || ro->factors % 4)
		return kiln_error(-EINVAL, "rotate: positions are at 0x%llx, factors at 0x%llx: device addresses, aligned to 4 bytes",
				  (unsigned long long)ro->positions, (unsigned long long)ro->factors);
	if (!isfinite(ro->scale))
		return kiln_error(-EINVAL, "rotate: scale is %g", ro->scale);
	return 0;
}

/* [pairs][sections]: of each pair the frequency stands in its section. */
static int add_frequencies(struct kiln_ops *ops, const struct kiln_rotate *ro, uint32_t sections,
			   struct kiln_tensor *t)
{
	float table[ro->pairs * sections];
	uint32_t i;

	memset(table, 0, sizeof(table));
	for (i = 0; i < ro->pairs; i++) {
		uint32_t section = ro->section ? ro->section[i] : 0;

		if (section >= sections)
			return kiln_error(-EINVAL, "rotate: pair %u is of section %u: 0 to 3", i, section);
		table[i * sections + section] = ro->frequency[i];
	}
	*t = (struct kiln_tensor) {
		.type = KILN_TYPE_F32, .dim = { 1, 1, 1, ro->pairs },
		.stride = { 1, 1, 1, sections },
	};
	return kiln_ops_constant(ops, table, sizeof(table), &t->addr);
}

/* The pairs of x or y */
static void add_pairs(struct rotate *r, struct kiln_tensor t[], uint32_t *n,
		      const struct kiln_tensor *x, uint32_t pairs)
{
	t[*n] = *x;
	t[*n].dim[3] = pairs;
	if (r->interleaved) {
		t[*n].stride[3] = 2;
		r->nd.unit[(*n)++] = 2;
		return;
	}
	t[*n + 1] = t[*n];
	t[*n + 1].addr += pairs * type_size(x->type);
	*n += 2;
}

/* What is not rotated */
static int copy_rest(struct kiln_ops *ops, struct kiln_tensor x, struct kiln_tensor y,
		     uint32_t from)
{
	x.dim[3] = y.dim[3] -= from;
	x.addr += from * type_size(x.type);
	y.addr += from * type_size(y.type);
	return kiln_copy(ops, &x, &y, NULL, NULL);
}

int kiln_rotate(struct kiln_ops *ops, const struct kiln_rotate *rotate, kiln_done_fn done,
		void *user)
{
	struct kiln_tensor x, y, t[ND_TENSORS];
	const struct kiln_tensor *p[ND_TENSORS];
	struct kiln_ops_key key = { .word = { 0 } };
	uint64_t args[ND_TENSORS];
	uint32_t n = 0, i, space[4];
	struct rotate r;
	int err;

	if (!ops || !rotate)
		return kiln_error(-EINVAL, "rotate: no ops or no description");
	x = rotate->x;
	y = rotate->y;
	err = nd_tensor("rotate", "x", &x);
	if (!err)
		err = nd_tensor("rotate", "y", &y);
	if (!err)
		err = check(rotate, &x, &y);
	if (err)
		return err;
	r = (struct rotate) {
		.sections = rotate->section ? SECTIONS : 1, .interleaved = rotate->interleaved,
		.factors = rotate->factors, .back = rotate->back,
		.scale = rotate->scale == 0 ? 1 : rotate->scale, .nd = { .scratch = 5 },
	};
	add_pairs(&r, t, &n, &x, rotate->pairs);
	r.nd.unit[n] = r.sections;
	err = add_frequencies(ops, rotate, r.sections, &t[n++]);
	if (err)
		return err;
	for (i = 0; i < r.sections; i++)
		t[n++] = (struct kiln_tensor) {
			.type = KILN_TYPE_I32, .dim = { 1, x.dim[1], 1, 1 },
			.stride = { 0, 1, 0, 0 },
			.addr = rotate->positions + (uint64_t)i * x.dim[1] * 4,
		};
	if (r.factors)
		t[n++] = (struct kiln_tensor) {
			.type = KILN_TYPE_F32, .dim = { 1, 1, 1, rotate->pairs },
			.stride = { 0, 0, 0, 1 }, .addr = rotate->factors,
		};
	r.nd.inputs = n;
	add_pairs(&r, t, &n, &y, rotate->pairs);
	r.nd.tensors = n;
	for (i = 0; i < n; i++) {
		r.nd.dtype[i] = kiln_type_dtype(t[i].type);
		args[i] = t[i].addr;
		p[i] = &t[i];
	}
	memcpy(space, x.dim, sizeof(space));
	space[3] = rotate->pairs;
	err = nd_space("rotate", &r.nd, p, space);
	if (err)
		return err;
	if (2 * rotate->pairs < x.dim[3] &&
	    (x.addr != y.addr || memcmp(x.stride, y.stride, sizeof(x.stride)))) {
		err = copy_rest(ops, x, y, 2 * rotate->pairs);
		if (err)
			return err;
	}
	key.word[0] = KILN_OPS_TENSOR_ROPE | (uint64_t)r.sections << 8 | (uint64_t)r.interleaved << 16 |
		(uint64_t)r.factors << 17 | (uint64_t)r.back << 18;
	memcpy((char *)&key.word[0] + 4, &r.scale, 4);
	nd_key(&key, 1, &r.nd);
	return kiln_ops_run(ops, &key, "rotate", make, &r, args, n, done, user);
}
