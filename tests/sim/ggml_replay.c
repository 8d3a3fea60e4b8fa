// SPDX-License-Identifier: MIT
/*
 * A graph that comes again is handed over as it was, with what lies in its tensors now; one
 * of which a node, a parameter, a source or a weight has changed is made anew. The plug-in's
 * statistics say which it was.
 */
#define _GNU_SOURCE
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core_test.h"
#include "ggml_test.h"

#define K	64
#define N	96
#define MOST	32		/* graphs */

static ggml_backend_t card;
static struct ggml_tensor *w, *x, *more, *third, *product, *scaled, *sum;
static float weights[N * K], column[K], addend[N];
static int again[MOST], graphs;

static void fill(float *values, int count, unsigned int seed)
{
	for (int i = 0; i < count; i++)
		values[i] = (float)((i * 7 + seed) % 23) / 8 - 1;
}

/* sum = scale * w x + addend: exact, as all values are eighths. */
static void check(struct ggml_cgraph *graph, float scale, bool replayed, const char *what)
{
	float got[N];
	int wrong = 0;

	ggml_backend_tensor_set(x, column, 0, sizeof(column));
	ggml_backend_tensor_set(more, addend, 0, sizeof(addend));
	if (ggml_backend_graph_compute(card, graph) != GGML_STATUS_SUCCESS)
		bail("the graph failed");
	ggml_backend_tensor_get(sum, got, 0, sizeof(got));
	for (int i = 0; i < N; i++) {
		float dot = 0;

		for (int k = 0; k < K; k++)
			dot += weights[i * K + k] * column[k];
		wrong += got[i] != scale * dot + addend[i];
	}
	is(wrong, 0, what);
	again[graphs++] = replayed;
}

static struct ggml_context *context(void)
{
	return ggml_init((struct ggml_init_params){ .mem_size = 1 << 20, .no_alloc = true });
}

int main(void)
{
	struct ggml_context *stored = context(), *used = context(), *built = context();
	struct ggml_cgraph *graph, *other;
	ggml_backend_buffer_t memory;
	struct ggml_tensor *place;
	ggml_backend_dev_t dev;
	char stats[64], line[128], what[64];
	float scale = 2;
	int fd = memfd_create("statistics", 0), n = 0;
	FILE *f;

	if (fd < 0)
		bail("no file for the statistics");
	snprintf(stats, sizeof(stats), "/proc/self/fd/%d", fd);
	setenv("KILN_GGML_STATS", stats, 1);
	dev = load_plugin("sim");
	if (!dev || !(card = ggml_backend_dev_init(dev, NULL)))
		bail("no card");

	w = ggml_new_tensor_2d(stored, GGML_TYPE_F32, K, N);
	memory = ggml_backend_alloc_ctx_tensors(stored, card);
	ggml_backend_buffer_set_usage(memory, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
	x = ggml_new_tensor_1d(used, GGML_TYPE_F32, K);
	more = ggml_new_tensor_1d(used, GGML_TYPE_F32, N);
	third = ggml_new_tensor_1d(used, GGML_TYPE_F32, N);
	place = ggml_new_tensor_1d(used, GGML_TYPE_F32, N);
	product = ggml_mul_mat(used, w, x);
	scaled = ggml_scale(used, product, scale);
	sum = ggml_add(used, scaled, more);
	if (!ggml_backend_alloc_ctx_tensors(used, card))
		bail("no memory");
	graph = ggml_new_graph(built);
	ggml_build_forward_expand(graph, sum);
	/* The same nodes in a graph of its own */
	other = ggml_new_graph(built);
	ggml_build_forward_expand(other, sum);

	fill(weights, N * K, 1);
	ggml_backend_tensor_set(w, weights, 0, sizeof(weights));
	fill(column, K, 2);
	fill(addend, N, 3);
	check(graph, scale, false, "the first time, weights are turned");
	check(graph, scale, false, "then they are there");
	check(graph, scale, true, "again");
	fill(column, K, 9);
	fill(addend, N, 7);
	check(graph, scale, true, "again, of other values");
	check(other, scale, true, "again, as another graph of the same nodes");
	scale = 4;
	memcpy(scaled->op_params, &scale, sizeof(scale));
	check(graph, scale, false, "with another parameter");
	check(graph, scale, true, "again with that");
	sum->data = place->data;
	check(graph, scale, false, "with a result somewhere else");
	more = sum->src[1] = third;
	check(graph, scale, false, "with another source");
	check(graph, scale, true, "again with that");
	fill(weights, N * K, 4);
	ggml_backend_tensor_set(w, weights, 0, sizeof(weights));
	check(graph, scale, false, "with other weights, which are turned");
	check(graph, scale, false, "then they are there");
	check(graph, scale, true, "again with those");
	ggml_backend_free(card);
	f = fopen(stats, "r");
	for (; f && n < graphs && fgets(line, sizeof(line), f); n++) {
		snprintf(what, sizeof(what), "graph %d was %s", n, again[n] ? "handed over again" : "made");
		is(!strncmp(line, "again ", 6), again[n], what);
	}
	is(n, graphs, "a line for each graph");
	if (f)
		fclose(f);
	ggml_backend_buffer_free(memory);
	close(fd);
	return done_testing();
}
