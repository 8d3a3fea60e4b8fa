// SPDX-License-Identifier: MIT
/*
 * A stream of graphs: a queue of the card. The commands of a graph are handed over
 * together, and the graph ends when they have, so that whoever asked for it learns
 * what became of it.
 *
 * KILN_GGML_STATS names a file that gets a line for each graph, in the end: "graph", or
 * "again" if its commands were made before; tokens, commands, device cycles, the nanoseconds
 * from handing them over to the end of the last one, and those before that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lower.h"

#define DEPTH	1024u

struct stream {
	struct ggml_backend backend;
	struct card *card;
	struct kiln_queue *queue;
	struct lower lower;
	struct replays replays;
	FILE *stats;
};

static struct stream *to_stream(ggml_backend_t backend)
{
	return backend->context;
}

static const char *stream_name(ggml_backend_t backend)
{
	return to_stream(backend)->card->name;
}

static void stream_free(ggml_backend_t backend)
{
	struct stream *s = to_stream(backend);

	if (s->stats)
		fclose(s->stats);
	kiln_queue_destroy(s->queue);
	replay_forget(&s->replays);
	kiln_ops_destroy(s->lower.ops);
	lower_turned_free(&s->lower);
	kiln_free(s->lower.twin_memory);
	kiln_free(s->lower.moved_memory);
	for (int i = 0; i < MAX_SCRATCH; i++)
		kiln_free(s->lower.scratch[i]);
	for (int i = 0; i < MAX_CONSTANTS; i++)
		kiln_free(s->lower.constants[i]);
	free(s);
}

static void explain(struct stream *s, int res)
{
	struct kiln_fault_info fault = { 0 };

	kiln_get_fault(s->card->kiln, &fault);
	log_error("%s: a command ended with %s; last fault: engine %u, instruction %u, address %#llx\n",
		  s->card->name, strerror(-res), fault.engine, fault.instruction,
		  (unsigned long long)fault.address);
}

/* Columns of its largest product: what the graph did for so many tokens */
static int64_t graph_tokens(struct ggml_cgraph *graph)
{
	int64_t tokens = 0;

	for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
		const struct ggml_tensor *node = ggml_graph_node(graph, i);

		if (node->op == GGML_OP_MUL_MAT && node->ne[1] > tokens)
			tokens = node->ne[1];
	}
	return tokens;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The graph as commands; what there is of them, if that fails. */
static int make_list(struct stream *s, struct ggml_cgraph *graph, struct kiln_ops_list **list)
{
	struct lower *l = &s->lower;
	int count = ggml_graph_n_nodes(graph), err = 0;

	if (!lower_twin_start(l))
		replay_forget(&s->replays);
	kiln_ops_hold(l->ops);
	for (int i = 0, taken; i < count && !err; i += taken) {
		const struct ggml_tensor *node = ggml_graph_node(graph, i);

		taken = lower_graph(l, graph, i, &err);
		if (err)
			log_error("%s: %s (%s): %s\n", s->card->name, node->name,
				  ggml_op_desc(node), err == -ENOTSUP ? "not supported" :
				  kiln_last_error());
	}
	if (!kiln_ops_take_list(l->ops, list))
		return err;
	log_error("%s: %s\n", s->card->name, kiln_last_error());
	kiln_ops_flush(l->ops);
	return -ENOMEM;
}

static enum ggml_status stream_compute(ggml_backend_t backend, struct ggml_cgraph *graph)
{
	struct stream *s = to_stream(backend);
	struct lower *l = &s->lower;
	int64_t begun = now_ns(), handed_over, ended;
	struct kiln_ops_list *kept = replay_find(&s->replays, graph), *list = kept;
	int err = 0;

	l->res = 0;
	l->commands = 0;
	l->cycles = 0;
	if (!list)
		err = make_list(s, graph, &list);
	handed_over = now_ns();
	if (list && kiln_ops_submit_list(list)) {
		log_error("%s: %s\n", s->card->name, kiln_last_error());
		err = -EIO;
	}
	/* Of a list that may still be under way, nothing can be given back. */
	if (kiln_drain(s->queue)) {
		log_error("%s: %s\n", s->card->name, kiln_last_error());
		return GGML_STATUS_FAILED;
	}
	ended = now_ns();
	if (l->res)
		explain(s, l->res);
	if (err || l->res) {
		lower_turned_forget(l);
		replay_forget(&s->replays);
	}
	if (list != kept && (err || l->res || !lower_settled(l) ||
			     !replay_keep(&s->replays, graph, list)))
		kiln_ops_free_list(list);
	if (s->stats)
		fprintf(s->stats, "%s %lld %u %llu %lld %lld\n", kept ? "again" : "graph",
			(long long)graph_tokens(graph), l->commands, (unsigned long long)l->cycles,
			(long long)(ended - handed_over), (long long)(handed_over - begun));
	return err == -ENOMEM ? GGML_STATUS_ALLOC_FAILED :
	       err || l->res ? GGML_STATUS_FAILED : GGML_STATUS_SUCCESS;
}

/*
 * A graph has ended when stream_compute() returns: what may be put off in ggml's interface
 * has nothing to wait for, and is done at once, in the order of the calls.
 */
static ggml_backend_buffer_t memory_of(const struct ggml_tensor *t)
{
	return t->view_src ? t->view_src->buffer : t->buffer;
}

static void stream_set(ggml_backend_t backend, struct ggml_tensor *tensor, const void *data,
		       size_t offset, size_t bytes)
{
	ggml_backend_buffer_t memory = memory_of(tensor);

	(void)backend;
	memory->iface.set_tensor(memory, tensor, data, offset, bytes);
}

static void stream_get(ggml_backend_t backend, const struct ggml_tensor *tensor, void *data,
		       size_t offset, size_t bytes)
{
	ggml_backend_buffer_t memory = memory_of(tensor);

	(void)backend;
	memory->iface.get_tensor(memory, tensor, data, offset, bytes);
}

/* Between tensors on cards; false: ggml waits for both backends, and copies by itself. */
static bool stream_copy(ggml_backend_t from, ggml_backend_t to, const struct ggml_tensor *src,
			struct ggml_tensor *dst)
{
	ggml_backend_buffer_t memory = memory_of(dst);

	return from->iface.cpy_tensor_async == stream_copy && to->iface.cpy_tensor_async == stream_copy &&
		memory_is_ours(memory) && memory->iface.cpy_tensor(memory, src, dst);
}

static void stream_synchronize(ggml_backend_t backend)
{
	(void)backend;
}

/* What an event would tell of is over when it is recorded. */
static void stream_event(ggml_backend_t backend, ggml_backend_event_t event)
{
	(void)backend;
	(void)event;
}

bool stream_supports(struct card *card, const struct ggml_tensor *node)
{
	struct lower dry = { .ops = card->dry };

	return !lower_node(&dry, node);
}

ggml_backend_t stream_create(struct card *card)
{
	static ggml_guid guid = { 0x6b, 0x69, 0x6c, 0x6e, 0x2d, 0x67, 0x67, 0x6d,
				  0x6c, 0x2d, 0x73, 0x74, 0x72, 0x65, 0x61, 0x6d };
	struct kiln_queue_attr attr = { .depth = DEPTH };
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (attr.depth > card->info.max_queue_depth)
		attr.depth = card->info.max_queue_depth;
	if (kiln_queue_create(card->kiln, &attr, &s->queue) ||
	    kiln_ops_create(s->queue, &s->lower.ops)) {
		log_error("%s: %s\n", card->name, kiln_last_error());
		kiln_queue_destroy(s->queue);
		free(s);
		return NULL;
	}
	if (getenv("KILN_GGML_STATS"))
		s->stats = fopen(getenv("KILN_GGML_STATS"), "a");
	s->card = card;
	s->lower.device = card->kiln;
	s->backend = (struct ggml_backend){
		.guid = &guid,
		.iface = {
			.get_name = stream_name,
			.free = stream_free,
			.set_tensor_async = stream_set,
			.get_tensor_async = stream_get,
			.cpy_tensor_async = stream_copy,
			.synchronize = stream_synchronize,
			.graph_compute = stream_compute,
			.event_record = stream_event,
			.event_wait = stream_event,
		},
		.device = &card->dev,
		.context = s,
	};
	return &s->backend;
}
