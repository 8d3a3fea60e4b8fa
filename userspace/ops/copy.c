// SPDX-License-Identifier: MIT
/*
 * Copies between any strides and types. Bits that stay go straight from device
 * memory to device memory; others through Vector. Of a quantised tensor the points
 * are its blocks.
 */
#include <errno.h>

#include "dequant.h"
#include "nd.h"

#define COPY_DIMS	4

struct copy {
	struct nd nd;
	enum kiln_type from, to;
	uint64_t grid;			/* of from */
};

static void convert(struct nd_tile *t, const void *op)
{
	(void)op;
	kiln_asm_tensor_copy(t->as, KILN_VECTOR, nd_view(t, 1), nd_view(t, 0));
}

static void expand(struct nd_tile *t, const void *op)
{
	const struct copy *copy = op;
	struct dequant dq = {
		.type = copy->from, .p = t->p, .blocks = nd_points(t),
		.src = nd_offset(t, 0), .dst = nd_offset(t, 1), .tmp = nd_tmp_offset(t, 0),
		.dst_type = copy->nd.dtype[1], .reg = nd_reg(t), .grid = copy->grid,
	};

	dequantise(t->as, &dq);
}

static void pack(struct nd_tile *t, const void *op)
{
	const struct copy *copy = op;
	struct quant qu = {
		.type = copy->to, .p = t->p, .blocks = nd_points(t),
		.src = nd_offset(t, 0), .dst = nd_offset(t, 1), .tmp = nd_tmp_offset(t, 0),
		.src_type = copy->nd.dtype[0], .reg = nd_reg(t),
	};

	quantise(t->as, &qu);
}

static int make_copy(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct copy *copy = shape;

	if (quantised(copy->from) && copy->from != copy->to)
		return nd_make(as, generation, &copy->nd, KILN_VECTOR, expand, copy);
	if (quantised(copy->to) && copy->from != copy->to)
		return nd_make(as, generation, &copy->nd, KILN_VECTOR, pack, copy);
	if (copy->from != copy->to)
		return nd_make(as, generation, &copy->nd, KILN_VECTOR, convert, copy);
	return nd_move(as, &copy->nd);
}

/* Blocks instead of elements: as bytes in a quantised tensor, as so many elements in another. */
static int to_blocks(const char *name, struct kiln_tensor *t, struct kiln_block block)
{
	int d;

	if (t->dim[3] % block.elements || (t->dim[3] > 1 && t->stride[3] != 1))
		return kiln_error(-EINVAL, "copy: the last dimension of %s is %u elements, %lld apart: whole blocks of %u behind each other",
				  name, t->dim[3], (long long)t->stride[3], block.elements);
	t->dim[3] /= block.elements;
	t->stride[3] = quantised(t->type) ? block.bytes : block.elements;
	for (d = 0; d < 3 && quantised(t->type); d++) {
		if (t->stride[d] % block.elements)
			return kiln_error(-EINVAL, "copy: dimension %d of %s has a stride of %lld: whole blocks of %u",
					  d, name, (long long)t->stride[d], block.elements);
		t->stride[d] = t->stride[d] / block.elements * block.bytes;
	}
	return 0;
}

/* As many elements in two shapes: pieces that both are made of, the last ones first. */
static int reshape(struct nd *nd, const struct kiln_tensor *a, const struct kiln_tensor *b)
{
	const struct kiln_tensor *t[] = { a, b };
	uint32_t left[] = { a->dim[3], b->dim[3] }, i;
	int64_t step[] = { a->stride[3], b->stride[3] };
	int at[] = { 3, 3 };

	nd->dims = 0;
	for (;;) {
		uint32_t n = kiln_min(left[0], left[1]);

		if (left[0] % n || left[1] % n)
			return kiln_error(-ENOTSUP, "copy: dimensions of %u and %u elements are not made of common pieces: let one of the tensors be dense",
					  left[0], left[1]);
		if (nd->dims == ND_DIMS)
			return kiln_error(-ENOTSUP, "copy: these shapes take more than %d dimensions",
					  ND_DIMS);
		nd->dim[nd->dims] = n;
		for (i = 0; i < 2; i++) {
			nd->stride[i][nd->dims] = step[i];
			step[i] *= n;
			left[i] /= n;
			while (left[i] == 1 && at[i]) {
				at[i]--;
				left[i] = t[i]->dim[at[i]];
				step[i] = t[i]->stride[at[i]];
			}
		}
		nd->dims++;
		if (left[0] == 1 && left[1] == 1)
			break;
	}
	for (i = 0; i < nd->dims / 2; i++) {	/* outermost first */
		uint32_t j = nd->dims - 1 - i, n = nd->dim[i], k;

		nd->dim[i] = nd->dim[j];
		nd->dim[j] = n;
		for (k = 0; k < 2; k++) {
			int64_t s = nd->stride[k][i];

			nd->stride[k][i] = nd->stride[k][j];
			nd->stride[k][j] = s;
		}
	}
	nd_join(nd);
	return 0;
}

/* Join the dimensions of a dense tensor, so that its shape does not matter. */
static void flatten(struct kiln_tensor *t)
{
	int d;

	for (d = 2; d >= 0; d--)
		if (t->stride[d] == t->stride[3] * (int64_t)t->dim[3] &&
		    (uint64_t)t->dim[d] * t->dim[3] <= INT32_MAX) {
			t->dim[3] *= t->dim[d];
			t->dim[d] = 1;
		} else if (t->dim[d] > 1) {
			break;
		}
}

static bool pair_known(enum kiln_type from, enum kiln_type to)
{
	if (from == to)
		return known_type(from) || quantised(from) || from == KILN_TYPE_I32 ||
			from == KILN_TYPE_I64 || from == KILN_TYPE_I8;
	if (quantisable(to))
		return known_type(from);
	return (known_type(from) || from == KILN_TYPE_I32 || quantised(from)) &&
		(known_type(to) || (to == KILN_TYPE_I32 && !quantised(from)));
}

static int run(struct kiln_ops *ops, const struct copy *copy, uint64_t src, uint64_t dst,
	       kiln_done_fn done, void *user)
{
	struct kiln_ops_key key = { .word = { 0 } };
	const uint64_t args[] = { src, dst };

	key.word[0] = KILN_OPS_COPY | (uint64_t)copy->from << 8 | (uint64_t)copy->to << 16;
	nd_key(&key, 1, &copy->nd);
	return kiln_ops_run(ops, &key, "copy", make_copy, copy, args, 2, done, user);
}

int kiln_copy(struct kiln_ops *ops, const struct kiln_tensor *src, const struct kiln_tensor *dst,
	      kiln_done_fn done, void *user)
{
	const struct kiln_tensor *t[2];
	uint64_t count[2] = { 1, 1 };
	struct kiln_tensor a, b;
	bool same = true, into = true;
	struct kiln_block block;
	struct copy copy;
	int err, d;

	if (!ops || !src || !dst)
		return kiln_error(-EINVAL, "copy: no ops or no description");
	a = *src;
	b = *dst;
	if (!pair_known(a.type, b.type))
		return kiln_error(-ENOTSUP, "copy: from type %d to type %d: F32, BF16, F16 and I32 to each other, quantised ones to F32, BF16 and F16, these to all of them but IQ1 to IQ3, or the same type",
				  (int)a.type, (int)b.type);
	err = nd_tensor("copy", "src", &a);
	if (!err)
		err = nd_tensor("copy", "dst", &b);
	if (err)
		return err;
	copy = (struct copy) {
		.from = a.type, .to = b.type,
		.nd = { .inputs = 1, .tensors = 2,
			.dtype = { kiln_type_dtype(a.type), kiln_type_dtype(b.type) } },
	};
	block = kiln_type_block(quantised(a.type) ? a.type : b.type);
	if (a.type == KILN_TYPE_I64) {	/* two words */
		for (d = 0; d < COPY_DIMS; d++) {
			a.stride[d] *= 2;
			b.stride[d] *= 2;
		}
		copy.nd.unit[0] = copy.nd.unit[1] = 2;
	} else if (block.elements > 1) {
		err = to_blocks("src", &a, block);
		if (!err)
			err = to_blocks("dst", &b, block);
		if (err)
			return err;
		copy.nd.unit[0] = a.stride[3];
		copy.nd.unit[1] = b.stride[3];
		copy.nd.scratch = block.elements * (a.type == b.type ? 0 : quantised(a.type) ?
						    DEQUANT_SCRATCH : quant_scratch(b.type));
	}
	for (d = 0; d < COPY_DIMS; d++) {
		count[0] *= a.dim[d];
		count[1] *= b.dim[d];
		same = same && a.dim[d] == b.dim[d];
		into = into && b.dim[d] % a.dim[d] == 0;
	}
	if (!same && count[0] == count[1]) {
		flatten(&a);
		flatten(&b);
		err = reshape(&copy.nd, &a, &b);
	} else if (into) {
		t[0] = &a;
		t[1] = &b;
		err = nd_space("copy", &copy.nd, t, b.dim);
	} else {
		err = kiln_error(-EINVAL, "copy: [%u, %u, %u, %u] into [%u, %u, %u, %u]: the same shape, as many elements, or a multiple in each dimension",
				 a.dim[0], a.dim[1], a.dim[2], a.dim[3], b.dim[0], b.dim[1],
				 b.dim[2], b.dim[3]);
	}
	if (!err)
		err = dequant_grid(ops, a.type, &copy.grid);
	if (err)
		return err;
	return run(ops, &copy, a.addr, b.addr, done, user);
}

int kiln_copy_strided(struct kiln_ops *ops, const struct kiln_strided *st, kiln_done_fn done,
		      void *user)
{
	uint64_t count = 1;
	struct copy copy;
	uint32_t d;

	if (!ops || !st)
		return kiln_error(-EINVAL, "copy_strided: no ops or no description");
	if (quantised(st->from) || quantised(st->to) || !pair_known(st->from, st->to) ||
	    st->from == KILN_TYPE_I64)
		return kiln_error(-ENOTSUP, "copy_strided: from type %d to type %d: F32, BF16, F16 and I32, or the same type",
				  (int)st->from, (int)st->to);
	if (!st->dims || st->dims > KILN_STRIDED_DIMS)
		return kiln_error(-EINVAL, "copy_strided: %u dimensions: 1 to %d", st->dims,
				  KILN_STRIDED_DIMS);
	if (!st->src || st->src % type_size(st->from) || !st->dst || st->dst % type_size(st->to))
		return kiln_error(-EINVAL, "copy_strided: src is at 0x%llx, dst at 0x%llx: device addresses, aligned to %u and %u bytes",
				  (unsigned long long)st->src, (unsigned long long)st->dst,
				  type_size(st->from), type_size(st->to));
	copy = (struct copy) {
		.from = st->from, .to = st->to,
		.nd = { .inputs = 1, .tensors = 2, .dims = st->dims,
			.dtype = { kiln_type_dtype(st->from), kiln_type_dtype(st->to) } },
	};
	for (d = 0; d < st->dims; d++) {
		if (!st->dim[d] || st->dim[d] > INT32_MAX || (count *= st->dim[d]) > 1ull << 40)
			return kiln_error(-EINVAL, "copy_strided: dimension %u is %u: 1 to 2147483647, and at most 2^40 elements",
					  d, st->dim[d]);
		copy.nd.dim[d] = st->dim[d];
		copy.nd.stride[0][d] = st->src_stride[d];
		copy.nd.stride[1][d] = st->dst_stride[d];
	}
	nd_join(&copy.nd);
	return run(ops, &copy, st->src, st->dst, done, user);
}
