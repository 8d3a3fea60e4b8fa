// SPDX-License-Identifier: MIT
/*
 * Reductions against float64. A sum has at most n / 32 + 16 roundings of 2^-24 in
 * a row in each piece and one for each piece, each of what the sum of the
 * absolute values bounds; a mean two more. bf16 rounds the result (2^-8 of it), fp16 too (2^-11).
 */
#include "ops_test.h"

#define ROOM	(8u << 20)	/* bytes of a tensor */

static struct tensor tx, ty;

static void check(struct kiln_reduce d)
{
	enum kiln_type out = d.out_type ? d.out_type : d.type;
	uint32_t outer = d.outer ? d.outer : 1, inner = d.inner ? d.inner : 1, o, i, k;
	uint64_t n = (uint64_t)outer * d.n * inner, bytes = (uint64_t)outer * inner * type_bytes(out);
	struct outcome outcome = { 0 };
	bool good;
	int err;

	if (n * type_bytes(d.type) > ROOM || bytes + 64 > ROOM)
		bail("a shape does not fit the test's memory");
	tensor_random(&tx, d.type, n);
	memset(ty.map, 0xa5, bytes + 64);
	d.x = tx.addr;
	d.y = ty.addr;
	err = kiln_reduce(ops, &d, on_done, &outcome);
	if (err)
		printf("# %d %s\n", err, kiln_last_error());
	good = !err && !finish(&outcome) && outcome.result.cycles;
	tensor_download(&ty, bytes + 64);
	for (o = 0; good && o < outer; o++)
		for (i = 0; good && i < inner; i++) {
			double got = get(ty.shadow, out, (uint64_t)o * inner + i), want = 0, bound = 0;
			double size = 0;

			for (k = 0; k < d.n; k++) {
				double x = get(tx.shadow, d.type, ((uint64_t)o * d.n + k) * inner + i);

				size += fabs(x);
				if (d.func == KILN_REDUCE_MAX)
					want = !k || x > want ? x : want;
				else if (d.func == KILN_REDUCE_MIN)
					want = !k || x < want ? x : want;
				else
					want += x;
			}
			if (d.func == KILN_REDUCE_MEAN)
				want /= d.n, size /= d.n;
			if (d.func < KILN_REDUCE_MAX)
				/* Pieces have at least 8 of n. */
				bound = size * 0x1p-24 * (d.n / 8.0 + 20);
			if (d.func < KILN_REDUCE_MAX)
				bound += type_error(out, want) + type_error(out, bound);
			good = fabs(got - want) <= bound;
			if (!good)
				printf("# [%u, %u]: expected %.9g +- %.3g, got %.9g\n", o, i, want,
				       bound, got);
		}
	for (i = 0; good && i < 64; i++)
		if (((uint8_t *)ty.shadow)[bytes + i] != 0xa5) {
			printf("# byte %u behind the result was written\n", i);
			good = false;
		}
	ok(good, "reduce %d %s to %s [%u, %u, %u], %llu cycles", d.func, type_name(d.type),
	   type_name(out), outer, d.n, inner, (unsigned long long)outcome.result.cycles);
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct kiln_reduce d = { .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM, .n = 4,
				 .x = tx.addr, .y = ty.addr }, e;

	refused(kiln_reduce(NULL, &d, NULL, NULL), -EINVAL, "no ops");
	e = d, e.type = 5, refused(kiln_reduce(ops, &e, NULL, NULL), -ENOTSUP, "type 5");
	e = d, e.out_type = 6, refused(kiln_reduce(ops, &e, NULL, NULL), -ENOTSUP, "out_type 6");
	e = d, e.func = 0, refused(kiln_reduce(ops, &e, NULL, NULL), -ENOTSUP, "function 0");
	e = d, e.func = 5, refused(kiln_reduce(ops, &e, NULL, NULL), -ENOTSUP, "function 5");
	e = d, e.n = 0, refused(kiln_reduce(ops, &e, NULL, NULL), -EINVAL, "n at least 1");
	e = d, e.inner = 1u << 31, refused(kiln_reduce(ops, &e, NULL, NULL), -EINVAL, "2147483648");
	e = d, e.x += 2, refused(kiln_reduce(ops, &e, NULL, NULL), -EINVAL, "aligned");
	e = d, e.y = 0, refused(kiln_reduce(ops, &e, NULL, NULL), -EINVAL, "y at 0x0");
}

int main(void)
{
	static const uint32_t shapes[][3] = {
		{ 1, 1, 1 }, { 1, 129, 1 }, { 127, 128, 1 }, { 129, 33, 1 }, { 1000, 3, 1 },
		{ 1, 300000, 1 }, { 7, 4097, 1 }, { 70000, 5, 1 },
		{ 1, 129, 127 }, { 1, 5, 20000 }, { 3, 100, 1000 }, { 128, 7, 129 }, { 300, 40, 2 },
		{ 130, 3, 1100 }, { 2, 5000, 3 }, { 1, 1, 128 }, { 1, 700, 513 },
	};
	unsigned int i;

	seed_random();
	open_card();
	tensor_make(&tx, ROOM);
	tensor_make(&ty, ROOM);
	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		struct kiln_reduce d = { .type = KILN_TYPE_F32, .func = KILN_REDUCE_SUM,
					 .outer = shapes[i][0], .n = shapes[i][1],
					 .inner = shapes[i][2] };

		check(d);
		d.type = KILN_TYPE_BF16;
		d.func = KILN_REDUCE_MAX;
		check(d);
		d.func = KILN_REDUCE_MIN;
		d.out_type = KILN_TYPE_F32;
		check(d);
		d.func = KILN_REDUCE_MEAN;
		d.out_type = 0;
		check(d);
		d.type = KILN_TYPE_F16;
		check(d);
	}
	bad_arguments();
	tensor_free(&tx);
	tensor_free(&ty);
	close_card();
	return done_testing();
}
