// SPDX-License-Identifier: MIT
/*
 * Weights the other way round. ggml keeps a matrix with k along its rows; the
 * array wants k along the partitions. What is turned on its way in each product
 * costs more than the product where there are few tokens, so a matrix that is
 * said to be weights is turned once, into a copy beside it that is used as long as
 * nobody writes to its buffer. Without memory for that it is used as it is.
 */
#include <stdlib.h>

#include "lower.h"

struct turned {
	const void *data;		/* of the tensor */
	size_t bytes;
	uint64_t written;		/* when the copy was made */
	struct kiln_buffer *copy;
};

/* The entry of w, perhaps a new one; NULL: no memory. */
static struct turned *entry_of(struct lower *l, const struct ggml_tensor *w)
{
	struct turned *more;

	/* Graphs use them in the same order each time. */
	for (unsigned int i = 0; i < l->turned_count; i++) {
		unsigned int at = (l->turned_next + i) % l->turned_count;

		if (l->turned[at].data == w->data) {
			l->turned_next = at + 1;
			return &l->turned[at];
		}
	}
	more = reallocarray(l->turned, l->turned_count + 1, sizeof(*more));
	if (!more)
		return NULL;
	l->turned = more;
	more += l->turned_count++;
	*more = (struct turned){ .data = w->data };
	return more;
}

uint64_t lower_turned(struct lower *l, const struct ggml_tensor *w)
{
	uint64_t written = l->device ? memory_written(w) : 0, k = w->ne[0], n = w->ne[1];
	struct kiln_tensor from, to;
	struct turned *t;

	if (!written || w->view_src || ggml_n_dims(w) != 2 || !ggml_is_contiguous(w) ||
	    ggml_is_quantized(w->type))
		return 0;
	t = entry_of(l, w);
	if (!t)
		return 0;
	if (t->bytes != ggml_nbytes(w)) {
		kiln_free(t->copy);
		t->copy = NULL;
		t->bytes = ggml_nbytes(w);
		t->written = 0;
	}
	if (t->written != written) {
		if (!t->copy && kiln_alloc(l->device, t->bytes, KILN_HBM, 0, &t->copy))
			return 0;
		from = view(w);
		to = dense(from.type, kiln_addr(t->copy), 1, 1, n, k);
		to.stride[0] = to.stride[1] = n * k;
		to.stride[2] = 1;
		to.stride[3] = n;
		if (copy(l, from, to))
			return 0;
		l->turning = true;
		t->written = written;
	}
	return kiln_addr(t->copy);
}

void lower_turned_forget(struct lower *l)
{
	for (unsigned int i = 0; i < l->turned_count; i++)
		l->turned[i].written = 0;
}

void lower_turned_free(struct lower *l)
{
	for (unsigned int i = 0; i < l->turned_count; i++)
		kiln_free(l->turned[i].copy);
	free(l->turned);
}
