// SPDX-License-Identifier: MIT
/*
 * The peer: the same matrix product by oneDNN on this machine's CPU.
 *
 *	onednn M N K bf16|f32 [REPEAT]
 *
 * prints the best of REPEAT runs in GFLOP/s. Set OMP_NUM_THREADS=1 for one core.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <dnnl.h>

static void check(dnnl_status_t status, const char *what)
{
	if (status != dnnl_success) {
		fprintf(stderr, "onednn: %s: status %d\n", what, status);
		exit(1);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static dnnl_memory_t matrix(dnnl_engine_t engine, const dnnl_memory_desc_t desc)
{
	size_t bytes = dnnl_memory_desc_get_size(desc);
	void *data = aligned_alloc(4096, (bytes + 4095) & ~4095ul);
	dnnl_memory_t memory;

	memset(data, 0x3c, bytes);	/* 0x3c3c: a small positive number in either type */
	check(dnnl_memory_create(&memory, desc, engine, data), "memory");
	return memory;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: onednn M N K bf16|f32 [REPEAT]\n");
		return 2;
	}
	long m = atol(argv[1]), n = atol(argv[2]), k = atol(argv[3]);
	int repeat = argc > 5 ? atoi(argv[5]) : 5;
	dnnl_data_type_t type = strcmp(argv[4], "bf16") ? dnnl_f32 : dnnl_bf16;
	dnnl_dims_t a_dims = { m, k }, b_dims = { k, n }, c_dims = { m, n };
	dnnl_memory_desc_t a, b, c;
	dnnl_engine_t engine;
	dnnl_stream_t stream;
	dnnl_primitive_desc_t desc;
	dnnl_primitive_t matmul;
	double best = 1e9;

	check(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
	check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
	check(dnnl_memory_desc_create_with_tag(&a, 2, a_dims, type, dnnl_ab), "a");
	check(dnnl_memory_desc_create_with_tag(&b, 2, b_dims, type, dnnl_ab), "b");
	check(dnnl_memory_desc_create_with_tag(&c, 2, c_dims, type, dnnl_ab), "c");
	check(dnnl_matmul_primitive_desc_create(&desc, engine, a, b, NULL, c, NULL), "matmul");
	check(dnnl_primitive_create(&matmul, desc), "primitive");

	dnnl_exec_arg_t args[] = {
		{ DNNL_ARG_SRC, matrix(engine, a) },
		{ DNNL_ARG_WEIGHTS, matrix(engine, b) },
		{ DNNL_ARG_DST, matrix(engine, c) },
	};
	for (int i = 0; i <= repeat; i++) {	/* the first one warms up */
		double start = now();

		check(dnnl_primitive_execute(matmul, stream, 3, args), "execute");
		check(dnnl_stream_wait(stream), "wait");
		if (i && now() - start < best)
			best = now() - start;
	}
	printf("%.1f\n", 2.0 * m * n * k / best * 1e-9);
	return 0;
}
