// SPDX-License-Identifier: MIT
/*
 * Graphs: nodes that follow each other as one command where that gives the same bits,
 * and what products make of their right-hand sides made once.
 *
 * A node may go without its own result only if the next one's lies on top of it: ggml
 * gives the place away when nobody else wants what is there.
 */
#include "lower.h"

#define AHEAD	12	/* nodes in which a product that wants a result is looked for */

/* The next one takes x's place, and x with it; 0, or which of its sources is the other one. */
static int takes_over(const struct ggml_tensor *next, const struct ggml_tensor *x, enum ggml_op op)
{
	if (!next || next->op != op || next->data != x->data || !next->data ||
	    next->type != GGML_TYPE_F32 || x->type != GGML_TYPE_F32 ||
	    !ggml_are_same_shape(next, x) || !ggml_is_contiguous(next) || !ggml_is_contiguous(x) ||
	    next->src[0] == next->src[1])
		return 0;
	return next->src[0] == x ? 1 : next->src[1] == x ? 2 : 0;
}

static const struct ggml_tensor *other_source(const struct ggml_tensor *node, int which)
{
	return node->src[which == 1 ? 1 : 0];
}

static bool overlap(const struct ggml_tensor *a, const struct ggml_tensor *b)
{
	const char *x = a->data, *y = b->data;

	return x < y + ggml_nbytes(b) && y < x + ggml_nbytes(a);
}

/* Views only say where something is. */
static bool writes(const struct ggml_tensor *node)
{
	return node->op != GGML_OP_NONE && node->op != GGML_OP_RESHAPE && node->op != GGML_OP_VIEW &&
	       node->op != GGML_OP_PERMUTE && node->op != GGML_OP_TRANSPOSE;
}

/* A norm with its weight, and its bias: how many nodes that are */
static int fused_norm(struct lower *l, struct ggml_tensor *const node[3])
{
	const struct ggml_tensor *norm = node[0], *weight, *bias = NULL, *last = node[1];
	int which = takes_over(node[1], norm, GGML_OP_MUL);

	if (!which || norm->src[0]->type != GGML_TYPE_F32)
		return 0;
	weight = other_source(node[1], which);
	/* What is overwritten before it is read */
	if (overlap(weight, norm))
		return 0;
	which = takes_over(node[2], node[1], GGML_OP_ADD);
	if (which && !overlap(other_source(node[2], which), norm)) {
		bias = other_source(node[2], which);
		last = node[2];
	}
	if (SUBMIT(l, kiln_rows, .func = norm->op == GGML_OP_NORM ? KILN_ROWS_NORM : KILN_ROWS_RMS_NORM,
		   .eps = float_param(norm, 0), .x = view(norm->src[0]), .a = view(weight),
		   .b = bias ? view(bias) : (struct kiln_tensor){ 0 }, .out = view(last),
		   .also = lower_twin(l, last)))
		return 0;
	return bias ? 3 : 2;
}

/* A product and what it is added to */
static int fused_sum(struct lower *l, struct ggml_tensor *const node[3])
{
	int which = takes_over(node[1], node[0], GGML_OP_ADD);
	const struct ggml_tensor *x;

	if (!which)
		return 0;
	x = other_source(node[1], which);
	if (x->type != GGML_TYPE_F32 || !ggml_is_contiguous(x) || !ggml_are_same_shape(x, node[0]) ||
	    overlap(x, node[0]))
		return 0;
	return lower_matmul_add(l, node[0], x) ? 0 : 2;
}

int lower_graph(struct lower *l, struct ggml_cgraph *graph, int at, int *err)
{
	int left = ggml_graph_n_nodes(graph) - at, taken = 0;
	struct ggml_tensor *node[3] = { NULL };

	for (int i = 0; i < 3 && i < left; i++) {
		node[i] = ggml_graph_node(graph, at + i);
		if (!(node[i]->flags & GGML_TENSOR_FLAG_COMPUTE))
			node[i] = NULL;
	}
	*err = 0;
	if (!node[0])
		return 1;
	l->graph = graph;
	l->at = at;
	lower_begin(l);
	if (node[0]->op == GGML_OP_NORM || node[0]->op == GGML_OP_RMS_NORM)
		taken = fused_norm(l, node);
	else if (node[0]->op == GGML_OP_MUL_MAT)
		taken = fused_sum(l, node);
	if (!taken) {
		/* What was refused may have been about to write one. */
		if (l->twin.at == at)
			l->twin.of = NULL;
		*err = lower_node(l, node[0]);
		taken = 1;
	}
	for (int i = 0; i < taken; i++) {
		memory_write(node[i]);
		/* Who made the twin wrote its original, too. */
		if (l->twin.of && l->twin.at != at && writes(node[i]) && overlap(l->twin.of, node[i]))
			l->twin.of = NULL;
	}
	return taken;
}

/* ------------------------------------------------------------------ twins -- */

/* Memory for a twin; 0: not in this graph. */
static uint64_t room(struct lower *l, uint64_t bytes)
{
	if (bytes > l->twin_wanted)
		l->twin_wanted = bytes;
	return l->twin_memory && bytes <= kiln_bytes(l->twin_memory) ? kiln_addr(l->twin_memory) : 0;
}

static bool twin_too_small(const struct lower *l)
{
	return l->twin_wanted > (l->twin_memory ? kiln_bytes(l->twin_memory) : 0);
}

bool lower_twin_start(struct lower *l)
{
	l->twin.of = NULL;
	l->turning = false;
	if (!twin_too_small(l))
		return true;
	kiln_free(l->twin_memory);
	l->twin_memory = NULL;
	/* Without it, each product makes its own. */
	if (kiln_alloc(l->device, l->twin_wanted, KILN_HBM, 0, &l->twin_memory))
		l->twin_memory = NULL;
	return false;
}

bool lower_settled(const struct lower *l)
{
	return !l->turning && !twin_too_small(l);
}

static uint64_t twin(struct lower *l, const struct ggml_tensor *t, enum kiln_type type)
{
	uint64_t addr = room(l, ggml_nelements(t) * type_bytes(type));

	/* Until the call that writes it has been made, there is none. */
	if (addr)
		l->twin = (struct twin){ .of = t, .at = l->at, .type = type };
	return addr;
}

/* Products that follow want t in this type; 0: none does. */
static enum kiln_type wanted(struct lower *l, const struct ggml_tensor *t)
{
	int count = ggml_graph_n_nodes(l->graph);

	for (int i = l->at + 1; i < count && i <= l->at + AHEAD; i++) {
		const struct ggml_tensor *node = ggml_graph_node(l->graph, i);
		const struct ggml_tensor *x = node->src[1];

		if (node->op == GGML_OP_MUL_MAT && x->data == t->data && ggml_is_contiguous(x) &&
		    x->type == t->type && ggml_nelements(x) == ggml_nelements(t) &&
		    !ggml_is_quantized(node->src[0]->type))
			return lower_product_type(node->src[0]->type);
	}
	return 0;
}

struct kiln_tensor lower_twin(struct lower *l, const struct ggml_tensor *t)
{
	enum kiln_type type = l->graph && t->type == GGML_TYPE_F32 && ggml_is_contiguous(t) ?
		wanted(l, t) : 0;
	uint64_t addr = type && type != KILN_TYPE_F32 ? twin(l, t, type) : 0;

	return dense(type, addr, t->ne[3], t->ne[2], t->ne[1], t->ne[0]);
}

uint64_t lower_twin_of(struct lower *l, const struct ggml_tensor *t, enum kiln_type type, int *err)
{
	struct kiln_tensor to;
	int said;

	if (!l->graph || t->type != GGML_TYPE_F32 || !ggml_is_contiguous(t) || type == KILN_TYPE_F32)
		return dense_copy(l, t, type, err);
	if (l->twin.of && l->twin.of->data == t->data && l->twin.type == type &&
	    ggml_nelements(l->twin.of) == ggml_nelements(t))
		return kiln_addr(l->twin_memory);
	to = dense(type, twin(l, t, type), t->ne[3], t->ne[2], t->ne[1], t->ne[0]);
	if (!to.addr)
		return dense_copy(l, t, type, err);
	said = copy(l, view(t), to);
	if (said) {
		l->twin.of = NULL;
		*err = said;
	}
	return to.addr;
}
