// SPDX-License-Identifier: MIT
/*
 * Conversions of every path against the plain C: from each element of 16 bits or
 * fewer, and to each type from every STEPth fp32.
 *
 *	convert [-s STEP]	37 by default: more than 10^8 values for each type
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops.h"

#define N	4096

static const char *const names[] = {
#define KILN_DTYPE(name, code, bytes, doc) [code] = #name,
#include "kiln/isa.def"
};

static float x[N], y[N], z[N];
static uint8_t a[N * 4], b[N * 4];

static bool same(float p, float q)
{
	return !memcmp(&p, &q, sizeof(p)) || (p != p && q != q);
}

static bool loads(const struct kiln_ops *ops, enum kiln_dtype type)
{
	uint32_t bytes = kiln_dtype_bytes(type);

	for (uint32_t code = 0; code < 1u << 8 * bytes; code += 256) {
		for (unsigned int i = 0; i < 256; i++) {
			uint32_t element = code + i;

			memcpy(a + i * bytes, &element, bytes);
		}
		ops->load(y, a, 256, type);
		kiln_ops_ref.load(z, a, 256, type);
		for (unsigned int i = 0; i < 256; i++) {
			if (!same(y[i], z[i])) {
				printf("# %s: %x as %s is %a, not %a\n", ops->name, code + i,
				       names[type], y[i], z[i]);
				return false;
			}
		}
	}
	return true;
}

static bool stores(const struct kiln_ops *ops, enum kiln_dtype type, uint32_t step)
{
	uint32_t bytes = kiln_dtype_bytes(type);

	for (uint64_t at = 0; at < 1ull << 32;) {
		unsigned int n = 0;

		for (; n < N && at < 1ull << 32; n++, at += step) {
			uint32_t bits = at;

			memcpy(&x[n], &bits, sizeof(bits));
		}
		ops->store(a, x, n, type);
		kiln_ops_ref.store(b, x, n, type);
		for (unsigned int i = 0; i < n * bytes; i++) {
			if (a[i] != b[i]) {
				printf("# %s: %a to %s: byte %u is %02x, not %02x\n", ops->name,
				       x[i / bytes], names[type], i % bytes, a[i], b[i]);
				return false;
			}
		}
		if (bytes == 4) {	/* and back */
			ops->load(y, x, n, type);
			kiln_ops_ref.load(z, x, n, type);
			for (unsigned int i = 0; i < n; i++) {
				if (!same(y[i], z[i])) {
					printf("# %s: %a read as %s is %a, not %a\n", ops->name,
					       x[i], names[type], y[i], z[i]);
					return false;
				}
			}
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	uint32_t step = argc == 3 && !strcmp(argv[1], "-s") ? strtoul(argv[2], NULL, 0) : 37;
	unsigned int tests = 0, failed = 0;

	if (!step || (argc != 1 && argc != 3)) {
		fprintf(stderr, "usage: convert [-s STEP]\n");
		return 2;
	}
	for (int level = KILN_OPS_AVX2; level < KILN_OPS_LEVELS; level++) {
		const struct kiln_ops *ops = kiln_ops_get(level);

		if (!ops) {
			printf("ok %u - level %d # SKIP not on this host\n", ++tests, level);
			continue;
		}
		for (int type = 1; type < KILN_DTYPES; type++) {
			bool good = kiln_dtype_bytes(type) > 2 || loads(ops, type);

			good = stores(ops, type, step) && good;
			printf("%sok %u - %s: %s, every %uth fp32\n", good ? "" : "not ", ++tests,
			       ops->name, names[type], step);
			failed += !good;
		}
	}
	printf("1..%u\n", tests);
	return failed != 0;
}
