// SPDX-License-Identifier: MIT
/*
 * The asynchronous part of ggml's interface: copies to and from a card, and between cards,
 * in the order of the calls, with graphs between them; events.
 */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include "core_test.h"
#include "ggml_test.h"

#define N	1000

static float values[N], got[N];

/* How many are not factor * i + more */
static int wrong(float factor, float more)
{
	int count = 0;

	for (int i = 0; i < N; i++)
		count += got[i] != factor * (float)i + more;
	return count;
}

int main(void)
{
	struct ggml_context *ctx[2];
	struct ggml_tensor *x[2], *half[2], *y[2];
	struct ggml_backend_dev_props props;
	ggml_backend_t card[2], cpu;
	ggml_backend_buffer_t memory[2], host;
	struct ggml_context *outside = ggml_init((struct ggml_init_params){ .mem_size = 1 << 16, .no_alloc = true });
	struct ggml_tensor *h = ggml_new_tensor_1d(outside, GGML_TYPE_F32, N);
	struct ggml_cgraph *graph[2];
	ggml_backend_event_t event;
	ggml_backend_dev_t dev;

	if (!load_plugin("sim sim"))
		bail("no plug-in");
	for (int i = 0; i < 2; i++) {
		dev = ggml_backend_dev_by_name(i ? "Kiln1" : "Kiln0");
		card[i] = dev ? ggml_backend_dev_init(dev, NULL) : NULL;
		if (!card[i])
			bail("no card");
		ctx[i] = ggml_init((struct ggml_init_params){ .mem_size = 1 << 20, .no_alloc = true });
		x[i] = ggml_new_tensor_1d(ctx[i], GGML_TYPE_F32, N);
		half[i] = ggml_view_1d(ctx[i], x[i], N / 2, N / 2 * sizeof(float));
		y[i] = ggml_scale_bias(ctx[i], x[i], 2, 1);
		memory[i] = ggml_backend_alloc_ctx_tensors(ctx[i], card[i]);
		graph[i] = ggml_new_graph(ctx[i]);
		ggml_build_forward_expand(graph[i], y[i]);
	}
	for (int i = 0; i < N; i++)
		values[i] = (float)i;

	ggml_backend_tensor_set_async(card[0], x[0], values, 0, sizeof(values) / 2);
	ggml_backend_tensor_set_async(card[0], half[0], values + N / 2, 0, sizeof(values) / 2);
	ggml_backend_graph_compute_async(card[0], graph[0]);
	ggml_backend_tensor_get_async(card[0], y[0], got, 0, sizeof(got));
	ggml_backend_synchronize(card[0]);
	is(wrong(2, 1), 0, "set, a graph, got");

	ggml_backend_tensor_copy_async(card[0], card[1], y[0], x[1]);
	ggml_backend_graph_compute_async(card[1], graph[1]);
	ggml_backend_tensor_get_async(card[1], y[1], got, 0, sizeof(got));
	ggml_backend_synchronize(card[1]);
	is(wrong(4, 3), 0, "to another card, a graph there, got");

	/* With another backend, ggml copies. */
	ggml_backend_load_all();
	cpu = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, NULL);
	if (cpu) {
		host = ggml_backend_alloc_ctx_tensors(outside, cpu);
		ggml_backend_tensor_copy_async(card[1], cpu, y[1], h);
		ggml_backend_tensor_copy_async(cpu, card[0], h, x[0]);
		ggml_backend_synchronize(card[0]);
		ggml_backend_tensor_get(x[0], got, 0, sizeof(got));
		is(wrong(4, 3), 0, "to the CPU and back");
		ggml_backend_buffer_free(host);
		ggml_backend_free(cpu);
	} else {
		skip("to the CPU and back", "no CPU backend in this tree");
	}

	ggml_backend_dev_get_props(ggml_backend_get_device(card[0]), &props);
	event = ggml_backend_event_new(ggml_backend_get_device(card[0]));
	is(event && props.caps.events && !props.caps.async, 1, "there are events, and no graphs that go on");
	ggml_backend_tensor_set_async(card[0], x[0], values, 0, sizeof(values));
	ggml_backend_graph_compute_async(card[0], graph[0]);
	ggml_backend_event_record(event, card[0]);
	ggml_backend_event_wait(card[1], event);
	ggml_backend_tensor_copy_async(card[0], card[1], y[0], x[1]);
	ggml_backend_event_synchronize(event);
	ggml_backend_tensor_get(x[1], got, 0, sizeof(got));
	is(wrong(2, 1), 0, "what was before the event is there behind it");
	ggml_backend_event_free(event);

	for (int i = 0; i < 2; i++) {
		ggml_backend_buffer_free(memory[i]);
		ggml_backend_free(card[i]);
		ggml_free(ctx[i]);
	}
	ggml_free(outside);
	return done_testing();
}
