// SPDX-License-Identifier: MIT
/*
 * Graphs: nodes that follow each other as one command where that gives the same bits,
 * and what products make of their right-hand sides made once.
 *
 * A node may go without its own result only if the next one's lies on top of it: ggml
 * gives the place away when nobody else wants what is there.
 */
#include "lower.h"

#define MAX_ASIDE	(256u << 10)
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

/* ---------------------------------------------------------------- together -- */

uint64_t lower_place(const struct lower *l, const struct ggml_tensor *t)
{
	return l->together.moved && l->together.moved->data == t->data ? l->together.to : address(t);
}

static bool reads(const struct ggml_tensor *node, const struct ggml_tensor *place)
{
	for (int i = 0; i < GGML_MAX_SRC; i++)
		if (node->src[i] && node->src[i]->data && overlap(node->src[i], place))
			return true;
	return false;
}

/* A rotation of all of a product's result, which it may take from somewhere else */
static bool rotates(const struct ggml_tensor *node, const struct ggml_tensor *product)
{
	return node->op == GGML_OP_ROPE && node->src[0]->data == product->data &&
		node->src[0]->type == GGML_TYPE_F32 && ggml_is_contiguous(node->src[0]) &&
		ggml_nelements(node->src[0]) == ggml_nelements(product) && !overlap(node, product);
}

/*
 * The product at this place and those behind it of the same right-hand side; between them
 * views, and rotations of what they give. How many there are.
 */
static unsigned int products(struct lower *l, const struct ggml_tensor *found[MAX_TOGETHER],
			     int at[MAX_TOGETHER])
{
	const struct ggml_tensor *first = ggml_graph_node(l->graph, l->at), *x = first->src[1];
	int nodes = ggml_graph_n_nodes(l->graph);
	unsigned int count = 0;

	for (int i = l->at; i < nodes && i <= l->at + AHEAD && count < MAX_TOGETHER; i++) {
		const struct ggml_tensor *node = ggml_graph_node(l->graph, i);
		unsigned int of = 0;

		if (!writes(node))
			continue;
		if (!(node->flags & GGML_TENSOR_FLAG_COMPUTE))
			break;
		while (of < count && !rotates(node, found[of]))
			of++;
		if (of < count)
			continue;
		if (node->op != GGML_OP_MUL_MAT || node->src[1] != x || !node->data ||
		    !ggml_is_contiguous(node) || node->type != GGML_TYPE_F32 ||
		    x->ne[2] != 1 || x->ne[3] != 1 || ggml_n_dims(node->src[0]) > 2)
			break;
		found[count] = node;
		at[count++] = i;
	}
	return count;
}

/*
 * Whether the last of these products can be made at the place of the first one: nobody
 * between them wants what lies where its result goes, but for a rotation of the first
 * result, which then has to lie somewhere else: *moved.
 */
static bool comes_early(struct lower *l, const struct ggml_tensor *const found[], const int at[],
			unsigned int last, bool *moved)
{
	const struct ggml_tensor *late = found[last];

	if (overlap(late, late->src[1]))
		return false;
	for (unsigned int i = 0; i < last; i++) {
		if (overlap(late, found[i]) && i)
			return false;
		*moved |= overlap(late, found[i]);
	}
	for (int i = at[0] + 1; i < at[last]; i++) {
		const struct ggml_tensor *node = ggml_graph_node(l->graph, i);

		if (!writes(node) || node->op == GGML_OP_MUL_MAT)
			continue;
		/* A rotation of the first one takes it from there; of what else it takes, nothing may go. */
		if (overlap(node, late) || overlap(node, late->src[1]) ||
		    (reads(node, late) && !rotates(node, found[0])) ||
		    overlap(node->src[1], late) || (node->src[2] && overlap(node->src[2], late)))
			return false;
	}
	return true;
}

/* Memory for a result that another one will lie on, until that is due */
static uint64_t aside(struct lower *l, const struct ggml_tensor *t)
{
	if (!l->moved_memory && kiln_alloc(l->device, MAX_ASIDE, KILN_HBM, 0, &l->moved_memory))
		l->moved_memory = NULL;
	return l->moved_memory && ggml_nbytes(t) <= MAX_ASIDE ? kiln_addr(l->moved_memory) : 0;
}

/* Products of one right-hand side, as of queries, keys and values, or gates and what they are of */
static bool fused_products(struct lower *l)
{
	const struct ggml_tensor *found[MAX_TOGETHER], *w[MAX_TOGETHER];
	int at[MAX_TOGETHER];
	unsigned int count = products(l, found, at), i;
	bool moved = false;
	uint64_t c;

	for (i = 0; i < count; i++)
		w[i] = found[i]->src[0];
	/* Their weights, whether this graph can make use of it or the next one. */
	if (count < 2 || !lower_turned_together(l, w, count))
		return false;
	for (i = 1; i < count; i++)
		if (!comes_early(l, found, at, i, &moved))
			return false;
	c = moved ? aside(l, found[0]) : address(found[0]);
	if (!c || lower_matmul_together(l, found, count, c))
		return false;
	l->together = (struct together){ .moved = moved ? found[0] : NULL, .to = c };
	for (i = 1; i < count; i++)
		l->together.done[i - 1] = found[i];
	return true;
}

/* Whether the node's result is there already; the first one's own place is the other's from now on. */
static bool made_before(struct lower *l, const struct ggml_tensor *node)
{
	for (unsigned int i = 0; i < MAX_TOGETHER - 1; i++)
		if (l->together.done[i] == node) {
			if (l->together.moved && overlap(l->together.moved, node))
				l->together.moved = NULL;
			l->together.done[i] = NULL;
			return true;
		}
	return false;
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
	if (made_before(l, node[0]))
		taken = 1;
	else if (node[0]->op == GGML_OP_NORM || node[0]->op == GGML_OP_RMS_NORM)
		taken = fused_norm(l, node);
	else if (node[0]->op == GGML_OP_MUL_MAT)
		taken = fused_products(l) ? 1 : fused_sum(l, node);
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
	l->together = (struct together){ .moved = NULL };
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
