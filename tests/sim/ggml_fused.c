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
#include <unistd.h>

#include "core_test.h"

#define N	96
#define WIDE	160
#define ROWS	5

static ggml_backend_t card;
static ggml_backend_dev_t dev;
static char stats[64];

/* Commands of the last graph, as the plug-in's statistics have them */
static unsigned int commands(void)
{
	unsigned int count = 0;
	char line[128];
	FILE *f = fopen(stats, "r");

	while (f && fgets(line, sizeof(line), f))
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
	return commands();
}

int main(void)
{
	static float one[N * ROWS], other[N * ROWS];
	const char *build = getenv("KILN_BUILD");
	char path[4096];
	int fd;

	snprintf(stats, sizeof(stats), "/tmp/ggml_fused.XXXXXX");
	fd = mkstemp(stats);
	if (fd < 0)
		bail("no file for the statistics");
	close(fd);
	setenv("KILN_GGML_STATS", stats, 1);
	setenv("KILN_GGML_CARDS", "sim", 1);
	snprintf(path, sizeof(path), "%s/lib/libggml-kiln.so", build ? build : "build/tree");
	if (!ggml_backend_load(path) || !(dev = ggml_backend_dev_by_name("Kiln0")))
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
	unlink(stats);
	return done_testing();
}
