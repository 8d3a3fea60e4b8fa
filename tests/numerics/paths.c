// SPDX-License-Identifier: MIT
/*
 * Every path against the plain C where values are computed with, not converted:
 * all 16-bit and all pairs of 8-bit inputs, all pairs of special values, and
 * 10^8 pairs of others.
 *
 *	paths [-s STEP]		every STEPth of the 10^8 only
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops.h"

#define N	4096
#define PAIRS	100000000ull

static float x[N], y[N], want[N], got[N];
static unsigned int tests, failed;

static void ok(bool good, const char *path, const char *what)
{
	printf("%sok %u - %s: %s\n", good ? "" : "not ", ++tests, path, what);
	failed += !good;
}

static uint64_t state = 0x9e3779b97f4a7c15;

static uint32_t rng(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 16;
}

static float from_bits(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static uint32_t to_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

/* The same but for what a NaN looks like: that is settled when it is stored. */
static bool same(const char *path, const char *what, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (to_bits(got[i]) == to_bits(want[i]) || (got[i] != got[i] && want[i] != want[i]))
			continue;
		printf("# %s, %s of %a and %a: expected %a, got %a\n", path, what, x[i], y[i],
		       want[i], got[i]);
		return false;
	}
	return true;
}

static const char *const alus[] = {
#define KILN_ALU(name, code, doc) [code] = #name,
#include "kiln/isa.def"
};

static const char *const acts[] = {
#define KILN_ACT(name, code, doc) [code] = #name,
#include "kiln/isa.def"
};

#define REDUCED	7
static const enum kiln_alu reductions[REDUCED] = {
	KILN_ALU_ADD, KILN_ALU_MULTIPLY, KILN_ALU_MAX, KILN_ALU_MIN, KILN_ALU_AND, KILN_ALU_OR,
	KILN_ALU_XOR,
};

/* What is wrong of a path so far, by function; it is not looked at again. */
struct bad {
	bool alu[KILN_ALU_BITWISE], reduce[REDUCED], act[KILN_ACTS], select;
};

/* All functions of two operands on the n pairs in x and y. */
static void pairs(const struct kiln_ops *ops, struct bad *bad, size_t n)
{
	float lanes[2][KILN_LANES];

	for (int op = 0; op < KILN_ALU_BITWISE; op++) {
		if (bad->alu[op] || op == KILN_ALU_POW)	/* which all paths have from the plain C */
			continue;
		ops->binary(op, got, x, y, n);
		kiln_ops_ref.binary(op, want, x, y, n);
		bad->alu[op] = !same(ops->name, alus[op], n);
	}
	for (int i = 0; i < REDUCED; i++) {
		if (bad->reduce[i])
			continue;
		memcpy(lanes[0], y, sizeof(lanes[0]));
		memcpy(lanes[1], y, sizeof(lanes[1]));
		ops->reduce(reductions[i], lanes[0], x, n);
		kiln_ops_ref.reduce(reductions[i], lanes[1], x, n);
		memcpy(got, lanes[0], sizeof(lanes[0]));
		memcpy(want, lanes[1], sizeof(lanes[1]));
		bad->reduce[i] = !same(ops->name, "a reduction", KILN_LANES);
	}
	if (!bad->select) {
		ops->select(got, x, y, y[0], n);
		kiln_ops_ref.select(want, x, y, y[0], n);
		bad->select = !same(ops->name, "select", n);
	}
}

/* All functions of one operand on the n values in x. */
static void singles(const struct kiln_ops *ops, struct bad *bad, size_t n)
{
	for (int func = 0; func < KILN_ACTS; func++) {
		if (bad->act[func])
			continue;
		ops->activation(func, got, x, 1, -0.0f, n);
		kiln_ops_ref.activation(func, want, x, 1, -0.0f, n);
		bad->act[func] = !same(ops->name, acts[func], n);
	}
}

/* Each element of a type of 16 bits; then each pair of one of 8. */
static void small(const struct kiln_ops *ops, struct bad *bad)
{
	for (int type = 1; type < KILN_DTYPES; type++) {
		uint32_t bytes = kiln_dtype_bytes(type);

		for (uint32_t code = 0; bytes < 4 && code < 65536; code += N) {
			for (uint32_t i = 0; i < N; i++) {
				uint16_t both = code + i;
				uint8_t low = both, high = both >> 8;

				x[i] = kiln_load_one(bytes == 2 ? (void *)&both : &low, type);
				y[i] = bytes == 2 ? x[i] : kiln_load_one(&high, type);
			}
			if (bytes == 2 || code < 256)
				singles(ops, bad, bytes == 2 ? N : 256);
			if (bytes == 1)
				pairs(ops, bad, N);
		}
	}
}

/* Powers of two and their neighbours, at the ends of all that is done with them; and NaN. */
static void special(const struct kiln_ops *ops, struct bad *bad)
{
	static float value[512];
	size_t n = 0, count = 0;

	for (uint32_t exponent = 0; exponent < 256; exponent += exponent < 3 || exponent > 252 ? 1 : 9)
		for (int near = -1; near <= 1; near++)
			for (uint32_t sign = 0; sign < 2; sign++)
				value[n++] = from_bits(((exponent << 23) + near) ^ sign << 31);
	value[n++] = from_bits(0x7f800001);
	value[n++] = from_bits(0x7fc00000);
	value[n++] = from_bits(0xffffffff);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n; j++) {
			x[count] = value[i];
			y[count] = value[j];
			if (++count == N) {
				pairs(ops, bad, count);
				count = 0;
			}
		}
	}
	if (count)
		pairs(ops, bad, count);
	memcpy(x, value, sizeof(value));
	singles(ops, bad, n);
}

static void many(const struct kiln_ops *ops, struct bad *bad, uint64_t count)
{
	for (uint64_t done = 0; done < count; done += N) {
		for (unsigned int i = 0; i < N; i++) {
			uint32_t a = rng(), b = rng();

			/* a third is near each other, where sums cancel and comparisons are close */
			if (i % 3 == 0)
				b = (a & 0xfffffff0) ^ (b & 0x8000000f);
			x[i] = from_bits(a);
			y[i] = from_bits(b);
		}
		pairs(ops, bad, N);
	}
}

int main(int argc, char **argv)
{
	uint64_t step = argc == 3 && !strcmp(argv[1], "-s") ? strtoull(argv[2], NULL, 0) : 1;
	char what[64];

	if (!step || (argc != 1 && argc != 3)) {
		fprintf(stderr, "usage: paths [-s STEP]\n");
		return 2;
	}
	for (int level = KILN_OPS_AVX2; level < KILN_OPS_LEVELS; level++) {
		const struct kiln_ops *ops = kiln_ops_get(level);
		struct bad bad = { 0 };

		if (!ops) {
			printf("ok %u - level %d # SKIP not on this host\n", ++tests, level);
			continue;
		}
		small(ops, &bad);
		special(ops, &bad);
		many(ops, &bad, PAIRS / step);
		for (int op = 0; op < KILN_ALU_BITWISE; op++)
			if (op != KILN_ALU_POW)
				ok(!bad.alu[op], ops->name, alus[op]);
		for (int i = 0; i < REDUCED; i++) {
			snprintf(what, sizeof(what), "reduction by %s", alus[reductions[i]]);
			ok(!bad.reduce[i], ops->name, what);
		}
		ok(!bad.select, ops->name, "select");
		for (int func = 0; func < KILN_ACTS; func++) {
			snprintf(what, sizeof(what), "%s of 16 bits", acts[func]);
			ok(!bad.act[func], ops->name, what);
		}
	}
	printf("1..%u\n", tests);
	return failed != 0;
}
