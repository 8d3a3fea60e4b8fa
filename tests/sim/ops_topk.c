// SPDX-License-Identifier: MIT
/* Top-k against sorting, to the bit: nothing is computed. */
#include "ops_test.h"

#define ROOM	(12u << 20)	/* bytes of a tensor */

static struct tensor tx, tv, ti;
static const void *row_data;
static enum kiln_type row_type;

/* Greatest first, of equals the first. */
static int order(const void *a, const void *b)
{
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	float x = get(row_data, row_type, i), y = get(row_data, row_type, j);

	return x > y ? -1 : x < y ? 1 : i < j ? -1 : 1;
}

/* few: values that repeat */
static void check(struct kiln_topk d, bool few)
{
	uint32_t es = type_bytes(d.type), ldx = d.ldx ? d.ldx : d.width, row, i;
	uint64_t n = (uint64_t)d.rows * ldx, out = (uint64_t)d.rows * d.k;
	uint32_t *sorted = malloc(d.width * sizeof(*sorted));
	struct outcome outcome = { 0 };
	bool good;
	int err;

	if (n * es > ROOM || out * 4 + 64 > ROOM || !sorted)
		bail("a shape does not fit the test's memory");
	for (uint64_t j = 0; j < n; j++)
		put(tx.shadow, d.type, j, few ? 1 + next_random() % 5 : normal());
	tensor_upload(&tx, n * es);
	memset(tv.map, 0xa5, out * es + 64);
	memset(ti.map, 0xa5, out * 4 + 64);
	d.x = tx.addr;
	d.values = tv.addr;
	d.indices = ti.addr;
	err = kiln_topk(ops, &d, on_done, &outcome);
	if (err)
		printf("# %d %s\n", err, kiln_last_error());
	good = !err && !finish(&outcome) && outcome.result.cycles;
	tensor_download(&tv, out * es + 64);
	tensor_download(&ti, out * 4 + 64);
	for (row = 0; good && row < d.rows; row++) {
		row_data = (char *)tx.shadow + (uint64_t)row * ldx * es;
		row_type = d.type;
		for (i = 0; i < d.width; i++)
			sorted[i] = i;
		qsort(sorted, d.width, sizeof(*sorted), order);
		for (i = 0; good && i < d.k; i++) {
			uint32_t index = ((uint32_t *)ti.shadow)[(uint64_t)row * d.k + i];
			float value = get(tv.shadow, d.type, (uint64_t)row * d.k + i);

			good = index == sorted[i] && value == get(row_data, d.type, index);
			if (!good)
				printf("# row %u, number %u: expected %u, got %u, %g\n", row, i,
				       sorted[i], index, value);
		}
	}
	for (i = 0; good && i < 64; i++)
		good = ((uint8_t *)tv.shadow)[out * es + i] == 0xa5 &&
			((uint8_t *)ti.shadow)[out * 4 + i] == 0xa5;
	ok(good, "topk %s %u of [%u, %u]%s%s, %llu cycles", type_name(d.type), d.k, d.rows, d.width,
	   d.ldx ? " ld" : "", few ? " repeated" : "", (unsigned long long)outcome.result.cycles);
	free(sorted);
}

static void refused(struct kiln_topk d, int want, const char *word)
{
	int got = kiln_topk(ops, &d, NULL, NULL);

	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

int main(void)
{
	static const uint32_t shapes[][3] = {
		{ 1, 1, 1 }, { 3, 2, 2 }, { 129, 7, 5 }, { 128, 8, 8 }, { 127, 9, 9 },
		{ 300, 128, 2 }, { 130, 64, 17 }, { 5, 1000, 40 }, { 2, 16384, 1 }, { 2, 16384, 100 },
		{ 1, 129, 127 },
		/* in chunks */
		{ 2, 16385, 1 }, { 130, 16400, 9 }, { 3, 50000, 50 }, { 1, 131072, 1024 },
		{ 2, 152064, 40 }, { 1, 1000003, 5 },
	};
	struct kiln_topk d = { .type = KILN_TYPE_F32, .rows = 2, .width = 9, .k = 3 }, e;
	unsigned int i;

	seed_random();
	open_card();
	tensor_make(&tx, ROOM);
	tensor_make(&tv, ROOM);
	tensor_make(&ti, ROOM);
	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		struct kiln_topk s = { .type = KILN_TYPE_F32, .rows = shapes[i][0],
				       .width = shapes[i][1], .k = shapes[i][2] };

		check(s, false);
		check(s, true);
		s.type = KILN_TYPE_BF16;
		s.ldx = s.width + 3;
		check(s, false);
		s.type = KILN_TYPE_F16;
		check(s, true);
	}
	d.x = tx.addr;
	d.values = tv.addr;
	d.indices = ti.addr;
	e = d, e.type = 4, refused(e, -ENOTSUP, "type 4");
	e = d, e.k = 10, refused(e, -EINVAL, "10 of 9");
	e = d, e.k = 0, refused(e, -EINVAL, "0 of 9");
	e = d, e.rows = 0, refused(e, -EINVAL, "0 rows");
	e = d, e.width = 131073, e.k = 1024, refused(e, -ENOTSUP, "at most 131072");
	e = d, e.width = (1 << 24) + 1, refused(e, -ENOTSUP, "at most 16777216");
	e = d, e.width = 5000, e.k = 1025, refused(e, -ENOTSUP, "at most 1024");
	e = d, e.ldx = 8, refused(e, -EINVAL, "ldx is 8");
	e = d, e.values = 0, refused(e, -EINVAL, "values at 0x0");
	e = d, e.indices++, refused(e, -EINVAL, "indices");
	ok(kiln_topk(ops, NULL, NULL, NULL) == -EINVAL, "refused: %s", kiln_last_error());
	tensor_free(&tx);
	tensor_free(&tv);
	tensor_free(&ti);
	close_card();
	return done_testing();
}
