// SPDX-License-Identifier: MIT
/*
 * The plug-in's SCALE, by 0 too: so do recurrent models clear a sequence's state, which lies in
 * the card's memory, and nobody else can do it there.
 */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <math.h>

#include "core_test.h"
#include "ggml_test.h"

#define N	300

static ggml_backend_t card;
static ggml_backend_dev_t dev;

static void check(float scale, float shift)
{
	struct ggml_init_params params = { .mem_size = 8 * ggml_tensor_overhead() +
					   ggml_graph_overhead(), .no_alloc = true };
	struct ggml_context *ctx = ggml_init(params);
	struct ggml_tensor *x = ggml_new_tensor_1d(ctx, GGML_TYPE_F32, N);
	/* in place, and not all of it */
	struct ggml_tensor *part = ggml_view_1d(ctx, x, N - 2, sizeof(float));
	struct ggml_tensor *y = ggml_scale_bias_inplace(ctx, part, scale, shift);
	struct ggml_cgraph *graph = ggml_new_graph(ctx);
	ggml_backend_buffer_t memory = ggml_backend_alloc_ctx_tensors(ctx, card);
	float in[N], out[N], expected[N];
	int i;

	if (!ok(ggml_backend_dev_supports_op(dev, y), "x * %g + %g is supported", scale, shift))
		goto out;
	for (i = 0; i < N; i++)
		in[i] = expected[i] = i == 7 ? INFINITY : i == 8 ? NAN : (i - 150) * 0.5f;
	for (i = 1; i < N - 1; i++)
		expected[i] = in[i] * scale + shift;
	ggml_build_forward_expand(graph, y);
	ggml_backend_tensor_set(x, in, 0, sizeof(in));
	is(ggml_backend_graph_compute(card, graph), GGML_STATUS_SUCCESS, "  it is computed");
	ggml_backend_tensor_get(x, out, 0, sizeof(out));
	for (i = 0; i < N; i++)
		if (out[i] != expected[i] && !(isnan(out[i]) && isnan(expected[i])))
			break;
	ok(i == N, "  and each element is right");
	if (i < N)
		printf("# expected [%d] = %g\n# got %g\n", i, expected[i], out[i]);
out:
	ggml_backend_buffer_free(memory);
	ggml_free(ctx);
}

int main(void)
{
	dev = load_plugin("sim");
	card = dev ? ggml_backend_dev_init(dev, NULL) : NULL;
	if (!ok(card != NULL, "the plug-in loads"))
		return done_testing();
	check(2, 0);
	check(0.5, 3);
	check(0, 0);
	check(0, -1.5);
	ggml_backend_free(card);
	return done_testing();
}
