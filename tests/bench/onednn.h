/* SPDX-License-Identifier: MIT */
/* A matrix product by oneDNN, all three matrices as they come: rows one behind the other. */
#ifndef BENCH_ONEDNN_H
#define BENCH_ONEDNN_H

#include <stdio.h>
#include <stdlib.h>

#include <dnnl.h>

struct onednn {
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	dnnl_primitive_t matmul;
	dnnl_exec_arg_t args[3];
};

static inline void onednn_check(dnnl_status_t status, const char *what)
{
	if (status != dnnl_success) {
		fprintf(stderr, "onednn: %s: status %d\n", what, status);
		exit(1);
	}
}

/* It keeps to as many threads as OpenMP has at this moment. */
static inline void onednn_make(struct onednn *o, dnnl_data_type_t type, long m, long n, long k,
			       void *a, void *b, void *c)
{
	dnnl_dims_t dims[3] = { { m, k }, { k, n }, { m, n } };
	void *data[3] = { a, b, c };
	int arg[3] = { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST };
	dnnl_memory_desc_t desc[3];
	dnnl_primitive_desc_t matmul;

	onednn_check(dnnl_engine_create(&o->engine, dnnl_cpu, 0), "engine");
	onednn_check(dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags),
		     "stream");
	for (int i = 0; i < 3; i++) {
		onednn_check(dnnl_memory_desc_create_with_tag(&desc[i], 2, dims[i], type, dnnl_ab),
			     "description");
		o->args[i].arg = arg[i];
		onednn_check(dnnl_memory_create(&o->args[i].memory, desc[i], o->engine, data[i]),
			     "memory");
	}
	onednn_check(dnnl_matmul_primitive_desc_create(&matmul, o->engine, desc[0], desc[1], NULL,
						       desc[2], NULL), "matmul");
	onednn_check(dnnl_primitive_create(&o->matmul, matmul), "primitive");
}

static inline void onednn_run(struct onednn *o)
{
	onednn_check(dnnl_primitive_execute(o->matmul, o->stream, 3, o->args), "execute");
	onednn_check(dnnl_stream_wait(o->stream), "wait");
}

#endif
