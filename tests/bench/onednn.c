// SPDX-License-Identifier: MIT
/*
 * The peer: the same matrix product by oneDNN on this machine's CPU.
 *
 *	onednn M N K bf16|f32 [REPEAT]
 *
 * prints the best of REPEAT runs in GFLOP/s. Set OMP_NUM_THREADS=1 for one core.
 */
#include "host.h"
#include "onednn.h"

static void *matrix(long rows, long cols, size_t element)
{
	void *data = host_alloc(rows * cols * element);

	/* 0x3c3c: a small positive number in either type */
	return memset(data, 0x3c, rows * cols * element);
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
	size_t element = dnnl_data_type_size(type);
	struct onednn o;
	double best = 1e9;

	onednn_make(&o, type, m, n, k, matrix(m, k, element), matrix(k, n, element),
		    matrix(m, n, element));
	for (int i = 0; i <= repeat; i++) {	/* the first one warms up */
		double start = seconds();

		onednn_run(&o);
		if (i && seconds() - start < best)
			best = seconds() - start;
	}
	printf("%.1f\n", 2.0 * m * n * k / best * 1e-9);
	return 0;
}
