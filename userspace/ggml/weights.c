// SPDX-License-Identifier: MIT
/*
 * Weights the other way round. ggml keeps a matrix with k along its rows; the
 * array wants k along the partitions. What is turned on its way in each product
 * costs more than the product where there are few tokens, so a matrix that is
 * said to be weights is turned once, into a copy beside it that is used as long as
 * nobody writes to its buffer. Without memory for that it is used as it is.
 *
 * Matrices of which products are made together are turned to beside each other: the rows
 * of all of them are those of one wider matrix.
 */
#include <stdlib.h>

#include "lower.h"

/* Memory that some of them share */
struct panel {
	struct kiln_buffer *buffer;
	unsigned int users;
	uint32_t width;			/* elements of a row */
};

struct turned {
	const void *data;		/* of the tensor */
	size_t bytes;
	uint64_t written;		/* when the copy was made */
	struct panel *panel;		/* NULL: there is none */
	uint32_t column;		/* where it begins there */
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

static void leave_panel(struct turned *t)
{
	struct panel *panel = t->panel;

	t->panel = NULL;
	t->written = 0;
	if (!panel || --panel->users)
		return;
	kiln_free(panel->buffer);
	free(panel);
}

static bool turnable(struct lower *l, const struct ggml_tensor *w)
{
	return l->device && memory_written(w) && !w->view_src && ggml_n_dims(w) == 2 &&
		ggml_is_contiguous(w) && !ggml_is_quantized(w->type);
}

/* The entry of w, without a copy of what was there before and was not as large */
static struct turned *fresh_entry(struct lower *l, const struct ggml_tensor *w)
{
	struct turned *t = entry_of(l, w);

	if (t && t->bytes != ggml_nbytes(w)) {
		leave_panel(t);
		t->bytes = ggml_nbytes(w);
	}
	return t;
}

bool lower_turned_together(struct lower *l, const struct ggml_tensor *const w[], unsigned int count)
{
	struct panel *panel = NULL;
	uint32_t width = 0, column = 0;
	unsigned int i, without = 0;
	bool beside = true;

	for (i = 0; i < count; i++) {
		struct turned *t;

		if (!turnable(l, w[i]) || w[i]->type != w[0]->type || w[i]->ne[0] != w[0]->ne[0])
			return false;
		t = fresh_entry(l, w[i]);
		if (!t)
			return false;
		without += !t->panel;
		panel = i ? panel : t->panel;
		beside = beside && t->panel && t->panel == panel && t->column == width;
		width += w[i]->ne[1];
	}
	if (without < count)
		return beside && panel->width == width;
	panel = calloc(1, sizeof(*panel));
	if (!panel)
		return false;
	if (kiln_alloc(l->device, width * w[0]->ne[0] * ggml_type_size(w[0]->type), KILN_HBM, 0,
		       &panel->buffer)) {
		free(panel);
		return false;
	}
	panel->width = width;
	for (i = 0; i < count; column += w[i++]->ne[1]) {
		struct turned *t = entry_of(l, w[i]);

		t->panel = panel;
		t->column = column;
		panel->users++;
	}
	return true;
}

uint64_t lower_turned(struct lower *l, const struct ggml_tensor *w, uint32_t *width)
{
	uint64_t k = w->ne[0], n = w->ne[1], at;
	struct kiln_tensor from, to;
	struct turned *t;

	if (!turnable(l, w))
		return 0;
	t = fresh_entry(l, w);
	if (!t || (!t->panel && !lower_turned_together(l, &w, 1)))
		return 0;
	*width = t->panel->width;
	at = kiln_addr(t->panel->buffer) + t->column * ggml_type_size(w->type);
	if (t->written != memory_written(w)) {
		from = view(w);
		to = dense(from.type, at, 1, 1, n, k);
		to.stride[0] = to.stride[1] = *width * k;
		to.stride[2] = 1;
		to.stride[3] = *width;
		if (copy(l, from, to))
			return 0;
		l->turning = true;
		t->written = memory_written(w);
	}
	return at;
}

void lower_turned_forget(struct lower *l)
{
	for (unsigned int i = 0; i < l->turned_count; i++)
		l->turned[i].written = 0;
}

void lower_turned_free(struct lower *l)
{
	for (unsigned int i = 0; i < l->turned_count; i++)
		leave_panel(&l->turned[i]);
	free(l->turned);
}
