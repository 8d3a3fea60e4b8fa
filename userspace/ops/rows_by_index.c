// SPDX-License-Identifier: MIT
/*
 * Rows of a tensor by index, converted on the way: what is looked up, what is written
 * in a place that data say, what is added up there. DMA goes where the indices say, a
 * row to each partition; Vector converts, expands blocks, adds.
 */
#include <errno.h>

#include "dequant.h"
#include "nd.h"

enum what { GET, SET };

struct by_index {
	struct nd nd;
	enum what what;
	enum kiln_type from, to;
	uint64_t grid;			/* of from */
	bool add;
};

enum { X, INDEX, ADDEND };	/* the inputs; the result comes next */

static void body(struct nd_tile *t, const void *op)
{
	const struct by_index *by = op;
	unsigned int out = by->nd.inputs;

	if (quantised(by->from)) {
		struct dequant dq = {
			.type = by->from, .p = t->p, .blocks = nd_points(t),
			.src = nd_offset(t, X), .dst = nd_offset(t, out),
			.tmp = nd_tmp_offset(t, 0),
			.dst_type = by->nd.dtype[out], .reg = nd_reg(t), .grid = by->grid,
		};

		dequantise(t->as, &dq);
	} else if (quantised(by->to)) {
		struct quant qu = {
			.type = by->to, .p = t->p, .blocks = nd_points(t),
			.src = nd_offset(t, X), .dst = nd_offset(t, out),
			.tmp = nd_tmp_offset(t, 0),
			.src_type = by->nd.dtype[X], .reg = nd_reg(t),
		};

		quantise(t->as, &qu);
	} else if (by->add) {
		nd_tt(t, nd_view(t, out), nd_view(t, X), KILN_ALU_ADD, nd_view(t, ADDEND));
	} else {
		kiln_asm_tensor_copy(t->as, KILN_VECTOR, nd_view(t, out), nd_view(t, X));
	}
}

static int make(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct by_index *by = shape;

	return nd_make(as, generation, &by->nd, KILN_VECTOR, body, by);
}

/* The index as words, with a last dimension along which it is the same. */
static int set_index(const char *op, struct kiln_tensor *index)
{
	int err, d;

	if (index->type != KILN_TYPE_I32 && index->type != KILN_TYPE_I64)
		return kiln_error(-ENOTSUP, "%s: type %d of index: KILN_TYPE_I32 or _I64", op,
				  (int)index->type);
	err = nd_tensor(op, "index", index);
	if (err)
		return err;
	if (index->dim[0] != 1)
		return kiln_error(-EINVAL, "%s: index has %u in its first dimension: up to three dimensions, at the end",
				  op, index->dim[0]);
	for (d = 0; d < 3; d++) {
		index->dim[d] = index->dim[d + 1];
		index->stride[d] = index->stride[d + 1] * (index->type == KILN_TYPE_I64 ? 2 : 1);
	}
	index->dim[3] = 1;
	index->stride[3] = 0;
	return 0;
}

static bool pair_known(enum kiln_type from, enum kiln_type to)
{
	return (from == to && from == KILN_TYPE_I32) ||
		((known_type(from) || quantised(from)) && known_type(to));
}

/* Of each tensor blocks as points, if one of them has some. */
static int set_blocks(const char *op, struct by_index *by, struct kiln_tensor *x,
		      struct kiln_tensor *out, uint32_t out_tensor)
{
	struct kiln_tensor *with = quantised(x->type) ? x : out;
	struct kiln_block block = kiln_type_block(with->type);
	int d;

	if (block.elements == 1)
		return 0;
	if (x->dim[3] % block.elements || out->dim[3] != x->dim[3] || x->stride[3] != 1 ||
	    out->stride[3] != 1)
		return kiln_error(-EINVAL, "%s: rows of %u into rows of %u elements, %lld and %lld apart: whole blocks of %u, dense",
				  op, x->dim[3], out->dim[3], (long long)x->stride[3],
				  (long long)out->stride[3], block.elements);
	for (d = 0; d < 3; d++) {
		if (with->stride[d] % block.elements)
			return kiln_error(-EINVAL, "%s: a stride of %lld: whole blocks of %u", op,
					  (long long)with->stride[d], block.elements);
		with->stride[d] = with->stride[d] / block.elements * block.bytes;
	}
	x->dim[3] /= block.elements;
	out->dim[3] /= block.elements;
	by->nd.unit[X] = x->stride[3] = with == x ? block.bytes : block.elements;
	by->nd.unit[out_tensor] = out->stride[3] = with == x ? block.elements : block.bytes;
	by->nd.scratch = block.elements * (with == x ? DEQUANT_SCRATCH : quant_scratch(out->type));
	return 0;
}

static int run(struct kiln_ops *ops, const char *op, struct by_index *by,
	       struct kiln_tensor t[4], kiln_done_fn done, void *user)
{
	const struct kiln_tensor *p[] = { &t[0], &t[1], &t[2], &t[3] };
	struct kiln_ops_key key = { .word = { 0 } };
	uint32_t out = by->nd.inputs, i, space[4];
	uint64_t args[4];
	int err, d;

	by->nd.tensors = out + 1;
	by->nd.index = INDEX;
	for (i = 0; i <= out; i++) {
		by->nd.dtype[i] = kiln_type_dtype(t[i].type);
		args[i] = t[i].addr;
	}
	by->nd.dtype[INDEX] = KILN_I32;
	for (d = 0; d < 4; d++)		/* points: of the tensor that is not by index */
		space[d] = t[by->what == GET ? out : X].dim[d];
	err = nd_space(op, &by->nd, p, space);
	if (err)
		return err;
	key.word[0] = KILN_OPS_BY_INDEX | (uint64_t)by->from << 8 | (uint64_t)by->to << 16 |
		(uint64_t)by->add << 24;
	nd_key(&key, 1, &by->nd);
	return kiln_ops_run(ops, &key, op, make, by, args, by->nd.tensors, done, user);
}

/* The tensor by index has one row for all places of dimension 2: they come with the index. */
static void take_rows(struct by_index *by, uint32_t tensor, struct kiln_tensor *t)
{
	by->nd.by_index = tensor + 1;
	by->nd.index_step = t->stride[2];
	by->nd.index_rows = t->dim[2];
	t->dim[2] = 1;
	t->stride[2] = 0;
}

static int check_places(const char *op, const struct kiln_tensor *index,
			const struct kiln_tensor *by_place, const struct kiln_tensor *by_row)
{
	int d;

	for (d = 0; d < 3; d++)
		if (by_place->dim[d] % index->dim[d])
			return kiln_error(-EINVAL, "%s: %u rows in dimension %d and %u indices: one for each, or for each again",
					  op, by_place->dim[d], d, index->dim[d]);
	if (by_row->dim[3] != by_place->dim[3] || by_place->dim[1] % by_row->dim[1] ||
	    by_place->dim[0] % by_row->dim[0])
		return kiln_error(-EINVAL, "%s: tensors of [%u, %u, any, %u] and [%u, %u, %u, %u]: rows of one length, and the others repeat",
				  op, by_row->dim[0], by_row->dim[1], by_row->dim[3],
				  by_place->dim[0], by_place->dim[1], by_place->dim[2],
				  by_place->dim[3]);
	return 0;
}

int kiln_get_rows(struct kiln_ops *ops, const struct kiln_get_rows *get, kiln_done_fn done,
		  void *user)
{
	struct by_index by = { .what = GET, .nd = { .inputs = 2 } };
	struct kiln_tensor t[4];
	uint32_t out = 2;
	int err;

	if (!ops || !get)
		return kiln_error(-EINVAL, "get_rows: no ops or no description");
	t[X] = get->table;
	t[INDEX] = get->index;
	by.add = get->addend.addr;
	if (by.add) {
		t[ADDEND] = get->addend;
		by.nd.inputs = out = 3;
	}
	t[out] = get->out;
	by.from = get->table.type;
	by.to = get->out.type;
	if (!pair_known(by.from, by.to) ||
	    (by.add && (!known_type(by.from) || !known_type(get->addend.type))))
		return kiln_error(-ENOTSUP, "get_rows: type %d to type %d: F32, BF16, F16 and, without addend, quantised types to the former, or I32 to I32",
				  (int)by.from, (int)by.to);
	err = nd_tensor("get_rows", "table", &t[X]);
	if (!err)
		err = set_index("get_rows", &t[INDEX]);
	if (!err && by.add)
		err = nd_tensor("get_rows", "addend", &t[ADDEND]);
	if (!err)
		err = nd_tensor("get_rows", "out", &t[out]);
	if (!err)
		err = check_places("get_rows", &t[INDEX], &t[out], &t[X]);
	if (!err)
		err = set_blocks("get_rows", &by, &t[X], &t[out], out);
	if (!err)
		err = dequant_grid(ops, by.from, &by.grid);
	if (err)
		return err;
	take_rows(&by, X, &t[X]);
	return run(ops, "get_rows", &by, t, done, user);
}

int kiln_set_rows(struct kiln_ops *ops, const struct kiln_set_rows *set, kiln_done_fn done,
		  void *user)
{
	struct by_index by = { .what = SET, .nd = { .inputs = 2, .accumulate = set && set->add } };
	struct kiln_tensor t[4];
	int err;

	if (!ops || !set)
		return kiln_error(-EINVAL, "set_rows: no ops or no description");
	t[X] = set->src;
	t[INDEX] = set->index;
	t[2] = set->out;
	by.from = set->src.type;
	by.to = set->out.type;
	if (!known_type(by.from) || !(known_type(by.to) || (quantisable(by.to) && !set->add)))
		return kiln_error(-ENOTSUP, "set_rows: type %d to type %d: from F32, BF16 and F16 to these and, without add, quantised ones but IQ1 to IQ3",
				  (int)by.from, (int)by.to);
	err = nd_tensor("set_rows", "src", &t[X]);
	if (!err)
		err = set_index("set_rows", &t[INDEX]);
	if (!err)
		err = nd_tensor("set_rows", "out", &t[2]);
	if (!err)
		err = check_places("set_rows", &t[INDEX], &t[X], &t[2]);
	if (!err)
		err = set_blocks("set_rows", &by, &t[X], &t[2], 2);
	if (err)
		return err;
	take_rows(&by, 2, &t[2]);
	return run(ops, "set_rows", &by, t, done, user);
}
