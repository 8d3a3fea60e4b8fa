// SPDX-License-Identifier: MIT
/* The order of rows against sorting. */
#include "ops_test.h"

#define ROOM	(9u << 20)	/* bytes of a tensor */

static struct tensor tx, ti, tw;
static const float *row_data;
static bool upwards;

static int before(const void *a, const void *b)
{
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	float x = row_data[i], y = row_data[j];

	if (x != y)
		return (x > y) == upwards ? 1 : -1;
	return i < j ? -1 : 1;
}

/* few: values that repeat, infinities among them */
static void check(struct kiln_order o, bool few)
{
	static const float some[] = { 1, 2, INFINITY, -INFINITY, 0, -3 };
	uint32_t n = o.rows * o.width, out = o.rows * o.k, row, i;
	uint32_t *sorted = malloc(o.width * sizeof(*sorted)), *indices = ti.shadow;
	struct outcome outcome = { 0 };
	float *x = tx.shadow;
	bool good;
	int err;

	if (n * 4 > ROOM || out * 4 + 64 > ROOM || kiln_order_work(o.width) > ROOM || !sorted)
		bail("a shape does not fit the test's memory");
	for (i = 0; i < n; i++)
		x[i] = few ? some[next_random() % 6] : normal();
	tensor_upload(&tx, n * 4);
	memset(ti.map, 0xa5, out * 4 + 64);
	o.x = tx.addr;
	o.indices = ti.addr;
	o.work = kiln_order_work(o.width) ? tw.addr : 0;
	err = kiln_order(ops, &o, on_done, &outcome);
	if (err)
		printf("# %d %s\n", err, kiln_last_error());
	good = !err && !finish(&outcome) && outcome.result.cycles;
	tensor_download(&ti, out * 4 + 64);
	upwards = o.ascending;
	for (row = 0; good && row < o.rows; row++) {
		row_data = x + row * o.width;
		for (i = 0; i < o.width; i++)
			sorted[i] = i;
		qsort(sorted, o.width, sizeof(*sorted), before);
		for (i = 0; good && i < o.k; i++) {
			good = indices[row * o.k + i] == sorted[i];
			if (!good)
				printf("# row %u, number %u: expected %u, got %u\n", row, i, sorted[i],
				       indices[row * o.k + i]);
		}
	}
	for (i = 0; good && i < 64; i++)
		good = ((uint8_t *)ti.shadow)[out * 4 + i] == 0xa5;
	ok(good, "order %u of [%u, %u]%s%s, %llu cycles", o.k, o.rows, o.width,
	   o.ascending ? " ascending" : "", few ? " repeated" : "",
	   (unsigned long long)outcome.result.cycles);
	free(sorted);
}

static void refused(struct kiln_order o, int want, const char *word)
{
	int got = kiln_order(ops, &o, NULL, NULL);

	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

int main(void)
{
	static const uint32_t shapes[][3] = {
		{ 1, 1, 1 }, { 3, 2, 2 }, { 129, 7, 5 }, { 128, 8, 8 }, { 5, 1000, 1000 },
		{ 2, 8192, 8192 }, { 2, 8193, 8193 }, { 1, 16384, 16384 }, { 2, 20000, 9999 },
		{ 1, 100000, 100000 }, { 1, 262144, 262144 },
	};
	struct kiln_order d = { .rows = 2, .width = 9, .k = 3 }, e;
	unsigned int i;

	seed_random();
	open_card();
	tensor_make(&tx, ROOM);
	tensor_make(&ti, ROOM);
	tensor_make(&tw, ROOM);
	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		struct kiln_order o = { .rows = shapes[i][0], .width = shapes[i][1],
					.k = shapes[i][2] };

		check(o, false);
		o.ascending = true;
		check(o, true);
	}
	d.x = tx.addr;
	d.indices = ti.addr;
	e = d, e.k = 10, refused(e, -EINVAL, "10 of 9");
	e = d, e.k = 0, refused(e, -EINVAL, "0 of 9");
	e = d, e.rows = 0, refused(e, -EINVAL, "0 rows");
	e = d, e.width = (1 << 19) + 1, refused(e, -ENOTSUP, "up to 524288");
	e = d, e.width = 8193, refused(e, -EINVAL, "work is at 0x0, of 131072 bytes");
	e = d, e.indices++, refused(e, -EINVAL, "indices");
	ok(kiln_order(ops, NULL, NULL, NULL) == -EINVAL, "refused: %s", kiln_last_error());
	check(d, false);
	tensor_free(&tx);
	tensor_free(&ti);
	tensor_free(&tw);
	close_card();
	return done_testing();
}
