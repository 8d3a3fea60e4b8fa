// SPDX-License-Identifier: MIT
/*
 * Nodes that the plug-in takes together, and what it makes once for several products, give
 * the bits of one node after the other. ggml's allocator puts results on top of what nobody
 * wants any more, which is what permits it; where each tensor has a place of its own,
 * there is a command for each node.
 */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <limits.h>
#include <unistd.h>

#include "core_test.h"
#include "ggml_test.h"

#define N	96
#define WIDE	160
#define ROWS	5

static ggml_backend_t card;
static ggml_backend_dev_t dev;
static char stats[64];

/* Commands of the nth graph, or the last if there are less, as the plug-in's statistics have them */
static unsigned int commands_of(int nth)
{
	unsigned int count = 0;
	char line[128];
	FILE *f = fopen(stats, "r");

	for (int i = 0; i <= nth && f && fgets(line, sizeof(line), f); i++)
		sscanf(line, "%*s %*d %u", &count);
	if (f)
		fclose(f);
	return count;
}

static struct ggml_tensor *input(struct ggml_context *ctx, enum ggml_type type, int n0, int n1)
{
	struct ggml_tensor *t = ggml_new_tensor_2d(ctx, type, n0, n1);

	ggml_set_input(t);
	return t;
}

/* Some values that are different everywhere, exact in bf16 */
static void fill(struct ggml_tensor *t, unsigned int seed)
{
	static float f32[N * WIDE];
	static ggml_bf16_t bf16[N * WIDE];
	int count = ggml_nelements(t);

	for (int i = 0; i < count; i++)
		f32[i] = (float)((i * 37 + seed * 11) % 101 - 50) / 64;
	ggml_fp32_to_bf16_row(f32, bf16, count);
	ggml_backend_tensor_set(t, t->type == GGML_TYPE_F32 ? (void *)f32 : (void *)bf16, 0,
				ggml_nbytes(t));
}

/* A norm, products of it, a unit with a gate or without, and products again with their sums. */
static unsigned int compute(int rows, bool layer, bool apart, float *out)
{
	struct ggml_context *ctx = ggml_init((struct ggml_init_params){
		.mem_size = 1 << 20, .no_alloc = true });
	struct ggml_tensor *x = input(ctx, GGML_TYPE_F32, N, rows);
	struct ggml_tensor *weight = input(ctx, GGML_TYPE_F32, N, 1);
	struct ggml_tensor *bias = input(ctx, GGML_TYPE_F32, N, 1);
	struct ggml_tensor *up = input(ctx, GGML_TYPE_BF16, N, WIDE);
	struct ggml_tensor *gate = input(ctx, GGML_TYPE_BF16, N, WIDE);
	struct ggml_tensor *square = input(ctx, GGML_TYPE_BF16, N, N);
	struct ggml_tensor *down = input(ctx, GGML_TYPE_BF16, WIDE, N);
	struct ggml_tensor *of[] = { x, weight, bias, up, gate, square, down }, *h, *y;
	struct ggml_cgraph *graph = ggml_new_graph(ctx);
	ggml_gallocr_t places = NULL;
	ggml_backend_buffer_t memory = NULL;

	h = layer ? ggml_norm(ctx, x, 1e-5f) : ggml_rms_norm(ctx, x, 1e-5f);
	h = ggml_mul(ctx, h, weight);
	if (layer)
		h = ggml_add(ctx, h, bias);
	y = ggml_mul_mat(ctx, gate, h);
	y = layer ? ggml_gelu(ctx, y) : ggml_swiglu_split(ctx, y, ggml_mul_mat(ctx, up, h));
	y = ggml_add(ctx, ggml_mul_mat(ctx, down, y), x);
	y = ggml_add(ctx, y, ggml_mul_mat(ctx, square, h));
	ggml_build_forward_expand(graph, y);
	card = ggml_backend_dev_init(dev, NULL);
	if (!card)
		bail("no card");
	if (apart) {
		memory = ggml_backend_alloc_ctx_tensors(ctx, card);
	} else {
		places = ggml_gallocr_new(ggml_backend_get_default_buffer_type(card));
		ggml_gallocr_alloc_graph(places, graph);
	}
	/* Twice: the first time there is no memory yet for what is made once. */
	for (int i = 0; i < 2; i++) {
		/* Their places, too, are given away. */
		for (unsigned int j = 0; j < sizeof(of) / sizeof(*of); j++)
			if (of[j]->data)
				fill(of[j], j);
		if (ggml_backend_graph_compute(card, graph) != GGML_STATUS_SUCCESS)
			bail("the graph failed");
	}
	ggml_backend_tensor_get(y, out, 0, ggml_nbytes(y));
	ggml_backend_buffer_free(memory);
	ggml_gallocr_free(places);
	ggml_free(ctx);
	ggml_backend_free(card);
	return commands_of(INT_MAX - 1);
}

/* ------------------------------------------------- queries, keys and values -- */

#define HEAD	16
#define KEYS	(2 * HEAD)

static struct ggml_tensor *wq, *wk, *wv;

/* A product of x, its heads rotated */
static struct ggml_tensor *rotated(struct ggml_context *ctx, struct ggml_tensor *w, struct ggml_tensor *x,
				   struct ggml_tensor *positions)
{
	struct ggml_tensor *y = ggml_mul_mat(ctx, w, x);

	return ggml_rope(ctx, ggml_reshape_3d(ctx, y, HEAD, y->ne[0] / HEAD, y->ne[1]), positions, HEAD, 0);
}

static struct ggml_tensor *flat(struct ggml_context *ctx, struct ggml_tensor *t)
{
	return ggml_reshape_2d(ctx, t, t->ne[0] * t->ne[1], t->ne[2]);
}

/*
 * What layers have: q, v and k of one x, q and k rotated, beside each other in out. The place
 * of the raw q is v's, as ggml's allocator gives it away. one: only that of them, in a graph
 * of its own.
 */
static unsigned int attention(int rows, int one, float *out)
{
	struct ggml_context *ctx = ggml_init((struct ggml_init_params){
		.mem_size = 1 << 20, .no_alloc = true });
	struct ggml_tensor *x = input(ctx, GGML_TYPE_F32, N, rows), *q, *k, *v, *y;
	struct ggml_tensor *positions = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, rows);
	struct ggml_cgraph *graph = ggml_new_graph(ctx);
	ggml_gallocr_t places = ggml_gallocr_new(ggml_backend_get_default_buffer_type(card));
	int32_t at[ROWS];

	ggml_set_input(positions);
	q = rotated(ctx, wq, x, positions);
	v = ggml_mul_mat(ctx, wv, x);
	k = rotated(ctx, wk, x, positions);
	y = one == 0 ? flat(ctx, q) : one == 1 ? v : one == 2 ? flat(ctx, k) : NULL;
	if (!y) {
		ggml_build_forward_expand(graph, q);
		ggml_build_forward_expand(graph, v);
		ggml_build_forward_expand(graph, k);
		y = ggml_concat(ctx, ggml_concat(ctx, flat(ctx, q), v, 0), flat(ctx, k), 0);
	}
	ggml_build_forward_expand(graph, y);
	ggml_gallocr_alloc_graph(places, graph);
	for (int i = 0; i < rows; i++)
		at[i] = 3 * i + 1;
	/* Weights are turned, then there is memory for what is made once, then it comes again. */
	for (int i = 0; i < 3; i++) {
		fill(x, 5);
		if (positions->data)
			ggml_backend_tensor_set(positions, at, 0, sizeof(*at) * rows);
		if (ggml_backend_graph_compute(card, graph) != GGML_STATUS_SUCCESS)
			bail("the graph failed");
	}
	ggml_backend_tensor_get(y, out, 0, ggml_nbytes(y));
	ggml_gallocr_free(places);
	ggml_free(ctx);
	return y->ne[0];
}

static void check_attention(int rows)
{
	struct ggml_context *stored = ggml_init((struct ggml_init_params){
		.mem_size = 1 << 20, .no_alloc = true });
	static float all[ROWS * (N + 2 * KEYS)], each[ROWS * N];
	ggml_backend_buffer_t memory;
	unsigned int wide = N + 2 * KEYS, column = 0, n, one, wrong = 0;
	char what[128];

	card = ggml_backend_dev_init(dev, NULL);
	if (!card)
		bail("no card");
	wq = ggml_new_tensor_2d(stored, GGML_TYPE_BF16, N, N);
	wk = ggml_new_tensor_2d(stored, GGML_TYPE_BF16, N, KEYS);
	wv = ggml_new_tensor_2d(stored, GGML_TYPE_BF16, N, KEYS);
	memory = ggml_backend_alloc_ctx_tensors(stored, card);
	ggml_backend_buffer_set_usage(memory, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
	fill(wq, 1);
	fill(wk, 2);
	fill(wv, 3);
	attention(rows, 3, all);
	for (one = 0; one < 3; one++, column += n) {
		n = attention(rows, one, each);
		for (int j = 0; j < rows; j++)
			wrong += !!memcmp(&all[j * wide + column], &each[j * n], n * sizeof(float));
	}
	ggml_backend_buffer_free(memory);
	ggml_free(stored);
	ggml_backend_free(card);
	snprintf(what, sizeof(what), "queries, values and keys of %d rows: as each alone", rows);
	is(wrong, 0, what);
}

int main(void)
{
	static float one[N * ROWS], other[N * ROWS];
	int fd;

	snprintf(stats, sizeof(stats), "/tmp/ggml_fused.XXXXXX");
	fd = mkstemp(stats);
	if (fd < 0)
		bail("no file for the statistics");
	close(fd);
	setenv("KILN_GGML_STATS", stats, 1);
	dev = load_plugin("sim");
	if (!dev)
		bail("no card");

	for (int rows = 1; rows <= ROWS; rows += ROWS - 1)
		for (int layer = 0; layer < 2; layer++) {
			unsigned int few, many;
			char what[128];

			memset(one, 0, sizeof(one));
			memset(other, 0xff, sizeof(other));
			few = compute(rows, layer, false, one);
			many = compute(rows, layer, true, other);
			snprintf(what, sizeof(what), "%s of %d rows: the same bits",
				 layer ? "layer norm" : "rms norm", rows);
			is(memcmp(one, other, sizeof(float) * N * rows), 0, what);
			snprintf(what, sizeof(what), "with %u commands instead of %u", few, many);
			is(few < many, 1, what);
		}
	truncate(stats, 0);
	check_attention(1);
	/* One for the right-hand side, one for the products, two that rotate, four that copy */
	is(commands_of(2), 8, "in so few commands");
	check_attention(ROWS);
	unlink(stats);
	return done_testing();
}
