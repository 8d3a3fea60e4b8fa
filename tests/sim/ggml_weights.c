// SPDX-License-Identifier: MIT
/*
 * The plug-in keeps what it made of weights only as long as they are what they were:
 * products after each way of writing to their buffer, in the next graph or in the same.
 */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include "core_test.h"
#include "ggml_test.h"

#define K	96
#define N	200
#define M	3

static ggml_backend_t card;
static struct ggml_tensor *w, *other, *x, *y;
static float weights[N * K], columns[M * K];

static void fill(float *values, int count, unsigned int seed)
{
	for (int i = 0; i < count; i++)
		values[i] = (float)((i * 7 + seed) % 23) / 8 - 1;
}

/* The product is that of these weights: exact, as all values are eighths. */
static void check(struct ggml_cgraph *graph, const float *expected, const char *what)
{
	static float got[M * N];
	int wrong = 0;

	if (ggml_backend_graph_compute(card, graph) != GGML_STATUS_SUCCESS)
		bail("the graph failed");
	ggml_backend_tensor_get(y, got, 0, sizeof(got));
	for (int j = 0; j < M; j++)
		for (int i = 0; i < N; i++) {
			float sum = 0;

			for (int k = 0; k < K; k++)
				sum += expected[i * K + k] * columns[j * K + k];
			wrong += sum != got[j * N + i];
		}
	is(wrong, 0, what);
}

static struct ggml_context *context(void)
{
	return ggml_init((struct ggml_init_params){ .mem_size = 1 << 20, .no_alloc = true });
}

int main(void)
{
	struct ggml_context *stored = context(), *used = context();
	struct ggml_cgraph *product, *both;
	ggml_backend_buffer_t memory;
	ggml_backend_dev_t dev;

	dev = load_plugin("sim");
	if (!dev || !(card = ggml_backend_dev_init(dev, NULL)))
		bail("no card");

	w = ggml_new_tensor_2d(stored, GGML_TYPE_F32, K, N);
	memory = ggml_backend_alloc_ctx_tensors(stored, card);
	ggml_backend_buffer_set_usage(memory, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
	x = ggml_new_tensor_2d(used, GGML_TYPE_F32, K, M);
	other = ggml_new_tensor_2d(used, GGML_TYPE_F32, K, N);
	y = ggml_mul_mat(used, w, x);
	product = ggml_new_graph(used);
	ggml_build_forward_expand(product, y);
	/* The same with a node before it that writes the weights */
	both = ggml_new_graph(used);
	ggml_build_forward_expand(both, ggml_cpy(used, other, w));
	ggml_build_forward_expand(both, y);
	if (!ggml_backend_alloc_ctx_tensors(used, card))
		bail("no memory");

	fill(columns, M * K, 5);
	ggml_backend_tensor_set(x, columns, 0, sizeof(columns));
	fill(weights, N * K, 1);
	ggml_backend_tensor_set(w, weights, 0, sizeof(weights));
	check(product, weights, "weights as they were set");
	check(product, weights, "once more");
	fill(weights + K, K, 9);
	ggml_backend_tensor_set(w, weights + K, K * 4, K * 4);
	check(product, weights, "a row of them is set anew");
	fill(weights, N * K, 3);
	ggml_backend_tensor_set(other, weights, 0, sizeof(weights));
	check(both, weights, "written by a node of the same graph");
	fill(weights, N * K, 4);
	ggml_backend_tensor_set(other, weights, 0, sizeof(weights));
	ggml_backend_tensor_copy(other, w);
	check(product, weights, "copied from another buffer");
	memset(weights, 0, sizeof(weights));
	ggml_backend_buffer_clear(memory, 0);
	check(product, weights, "cleared");
	ggml_backend_buffer_free(memory);
	ggml_backend_free(card);
	return done_testing();
}
