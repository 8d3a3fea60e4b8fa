// SPDX-License-Identifier: MIT
/*
 * Graphs that come again. A model's tokens have the same graph, but for what lies in its
 * tensors: what was made of it for one token is handed over again for the next.
 *
 * A graph is the same if its nodes and all that they take are, field by field, and nobody
 * has written to weights since. All that commands were made of is in there, so that to
 * make them again would give the same ones.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lower.h"

/* Of a tensor, all that comes before its name */
#define FIELDS	offsetof(struct ggml_tensor, name)

struct seen {
	const struct ggml_tensor *tensor;
	uint64_t written;		/* memory_written() */
	char fields[FIELDS];
};

static struct seen see(const struct ggml_tensor *tensor)
{
	struct seen seen = { .tensor = tensor, .written = memory_written(tensor) };

	memcpy(seen.fields, tensor, FIELDS);
	return seen;
}

static bool same(const struct seen *seen)
{
	return !memcmp(seen->fields, seen->tensor, FIELDS) &&
		seen->written == memory_written(seen->tensor);
}

static bool known(const struct replay *r, const struct ggml_tensor *t)
{
	for (unsigned int i = r->count; i--; )
		if (r->seen[i].tensor == t)
			return true;
	return false;
}

static void drop(struct replay *r)
{
	kiln_ops_free_list(r->list);
	free(r->seen);
	*r = (struct replay){ .list = NULL };
}

void replay_forget(struct replays *all)
{
	for (unsigned int i = 0; i < REPLAYS; i++)
		drop(&all->replay[i]);
}

struct kiln_ops_list *replay_find(struct replays *all, struct ggml_cgraph *graph)
{
	unsigned int nodes = ggml_graph_n_nodes(graph), i, n;

	for (i = 0; i < REPLAYS; i++) {
		struct replay *r = &all->replay[i];

		if (!r->list || r->nodes != nodes)
			continue;
		/* The nodes first: if they are the same, what they take is still there. */
		for (n = 0; n < nodes && ggml_graph_node(graph, n) == r->seen[n].tensor; n++)
			if (!same(&r->seen[n]))
				break;
		if (n < nodes)
			continue;
		while (n < r->count && same(&r->seen[n]))
			n++;
		if (n == r->count)
			return r->list;
	}
	return NULL;
}

bool replay_keep(struct replays *all, struct ggml_cgraph *graph, struct kiln_ops_list *list)
{
	struct replay *r = &all->replay[all->next];
	unsigned int nodes = ggml_graph_n_nodes(graph), room = nodes;

	drop(r);
	r->seen = malloc(room * sizeof(*r->seen));
	if (!r->seen)
		return false;
	for (r->nodes = r->count = 0; r->count < nodes; r->count++) {
		r->seen[r->count] = see(ggml_graph_node(graph, r->count));
		/* It would write to weights each time. */
		if (r->seen[r->count].written)
			goto err;
	}
	for (unsigned int i = 0; i < nodes; i++)
		for (int j = 0; j < GGML_MAX_SRC; j++) {
			const struct ggml_tensor *t = r->seen[i].tensor->src[j];

			if (!t || known(r, t))
				continue;
			if (r->count == room) {
				struct seen *more = reallocarray(r->seen, room *= 2, sizeof(*more));

				if (!more)
					goto err;
				r->seen = more;
			}
			r->seen[r->count++] = see(t);
		}
	r->nodes = nodes;
	r->list = list;
	all->next = (all->next + 1) % REPLAYS;
	return true;

err:
	drop(r);
	return false;
}
