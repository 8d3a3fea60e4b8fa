// SPDX-License-Identifier: MIT
/*
 * Gather, to the bit, and rope against float64: two products and a sum, each
 * rounded in fp32 (u = 2^-24), and the result in bf16 (2^-8 of it) or fp16 (2^-11).
 */
#include "ops_test.h"

#define ROOM	(8u << 20)	/* bytes of a tensor */
#define U	0x1p-24

static struct tensor tx, ty, ti, tc, ts;

static int wait_for(int err, struct outcome *outcome)
{
	if (err) {
		printf("# %d %s\n", err, kiln_last_error());
		return err;
	}
	return finish(outcome);
}

static bool untouched(uint64_t from, uint64_t end)
{
	for (; from < end; from++)
		if (((uint8_t *)ty.shadow)[from] != 0xa5) {
			printf("# byte %llu was written\n", (unsigned long long)from);
			return false;
		}
	return true;
}

static void fits(uint64_t bytes)
{
	if (bytes + 64 > ROOM)
		bail("a shape does not fit the test's memory");
}

static void indices(uint32_t n, uint32_t below)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		((uint32_t *)ti.shadow)[i] = next_random() % below;
	((uint32_t *)ti.shadow)[n - 1] = below - 1;
	tensor_upload(&ti, n * 4);
}

static void check_gather(struct kiln_gather d)
{
	uint32_t es = type_bytes(d.type), ldt = d.ld_table ? d.ld_table : d.width;
	uint32_t ldo = d.ld_out ? d.ld_out : d.width, i;
	uint64_t bytes = (uint64_t)d.rows * ldo * es, table = (uint64_t)d.table_rows * ldt * es;
	struct outcome outcome = { 0 };
	bool good;

	fits(bytes);
	fits(table);
	for (i = 0; i < table / 8 + 1; i++)
		((uint64_t *)tx.shadow)[i] = next_random();
	tensor_upload(&tx, table);
	indices(d.rows, d.table_rows);
	memset(ty.map, 0xa5, bytes + 64);
	d.table = tx.addr;
	d.index = ti.addr;
	d.out = ty.addr;
	good = !wait_for(kiln_gather(ops, &d, on_done, &outcome), &outcome) &&
		outcome.result.cycles;
	tensor_download(&ty, bytes + 64);
	for (i = 0; good && i < d.rows; i++) {
		uint64_t from = (uint64_t)((uint32_t *)ti.shadow)[i] * ldt * es;
		uint64_t to = (uint64_t)i * ldo * es;

		good = !memcmp((char *)ty.shadow + to, (char *)tx.shadow + from, d.width * es);
		if (!good)
			printf("# row %u\n", i);
		good = good && untouched(to + d.width * es, to + ldo * es);
	}
	good = good && untouched(bytes, bytes + 64);
	ok(good, "gather %s %u rows of %u from %u, %llu cycles", type_name(d.type), d.rows, d.width,
	   d.table_rows, (unsigned long long)outcome.result.cycles);
}

static void check_rope(struct kiln_rope d, bool with_positions, bool in_place)
{
	uint32_t rotated = d.rotated ? d.rotated : d.dim, half = rotated / 2, row = d.heads * d.dim;
	uint32_t ldx = d.ldx ? d.ldx : row, ldy = d.ldy ? d.ldy : row, es = type_bytes(d.type);
	uint32_t rows = with_positions ? d.table_rows : d.tokens, t, h, j;
	uint64_t bytes = (uint64_t)d.tokens * ldy * es, i;
	struct outcome outcome = { 0 };
	bool good;

	fits(bytes);
	fits((uint64_t)d.tokens * ldx * es);
	fits((uint64_t)rows * half * 4);
	tensor_random(&tx, d.type, (uint64_t)d.tokens * ldx);
	for (i = 0; i < (uint64_t)rows * half; i++) {
		float angle = normal() * 10;

		((float *)tc.shadow)[i] = cosf(angle);
		((float *)ts.shadow)[i] = sinf(angle);
	}
	tensor_upload(&tc, (uint64_t)rows * half * 4);
	tensor_upload(&ts, (uint64_t)rows * half * 4);
	indices(d.tokens, rows);
	memset(ty.map, 0xa5, bytes + 64);
	d.x = tx.addr;
	d.y = in_place ? tx.addr : ty.addr;
	d.cos = tc.addr;
	d.sin = ts.addr;
	d.positions = with_positions ? ti.addr : 0;
	good = !wait_for(kiln_rope(ops, &d, on_done, &outcome), &outcome) && outcome.result.cycles;
	memcpy(ty.shadow, in_place ? tx.map : ty.map, bytes + 64);
	for (t = 0; good && t < d.tokens; t++) {
		uint64_t at = (uint64_t)(with_positions ? ((uint32_t *)ti.shadow)[t] : t) * half;

		for (h = 0; good && h < d.heads; h++)
			for (j = 0; good && j < d.dim; j++) {
				uint64_t base = (uint64_t)t * ldx + h * d.dim;
				uint64_t to = (uint64_t)t * ldy + h * d.dim + j;
				double want, size, got = get(ty.shadow, d.type, to);
				double x = get(tx.shadow, d.type, base + j), c, s, other;
				uint32_t pair = d.interleaved ? j / 2 : j % (half ? half : 1);
				bool second = d.interleaved ? j & 1 : j >= half;

				if (j >= rotated) {
					good = got == x;
				} else {
					c = ((float *)tc.shadow)[at + pair];
					s = ((float *)ts.shadow)[at + pair];
					other = get(tx.shadow, d.type, base +
						    (d.interleaved ? j ^ 1 : second ? j - half : j + half));
					want = x * c + (second ? other * s : -other * s);
					size = U * (fabs(x * c) + fabs(other * s) + fabs(want));
					size += type_error(d.type, want) + type_error(d.type, size);
					good = fabs(got - want) <= size;
				}
				if (!good)
					printf("# token %u head %u element %u: got %.9g\n", t, h, j, got);
			}
		good = good && (in_place || untouched(((uint64_t)t * ldy + row) * es,
						      ((uint64_t)t + 1) * ldy * es));
	}
	good = good && (in_place || untouched(bytes, bytes + 64));
	ok(good, "rope %s [%u, %u, %u] %u%s%s%s, %llu cycles", type_name(d.type), d.tokens, d.heads,
	   d.dim, rotated, d.interleaved ? " interleaved" : "", with_positions ? " positions" : "",
	   in_place ? " in place" : "", (unsigned long long)outcome.result.cycles);
}

static void gathers(void)
{
	static const uint32_t shapes[][3] = {
		{ 1, 1, 1 }, { 1, 4096, 100 }, { 127, 3, 1000 }, { 128, 64, 2 }, { 129, 128, 129 },
		{ 300, 1000, 500 }, { 3, 20001, 10 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		struct kiln_gather d = { .type = KILN_TYPE_F32, .rows = shapes[i][0],
					 .width = shapes[i][1], .table_rows = shapes[i][2] };

		check_gather(d);
		d.type = KILN_TYPE_BF16;
		d.ld_table = d.width + 3;
		d.ld_out = d.width + 5;
		check_gather(d);
	}
}

static void ropes(void)
{
	static const uint32_t shapes[][4] = {
		{ 1, 1, 2, 0 }, { 1, 32, 128, 0 }, { 127, 3, 64, 0 }, { 128, 8, 128, 64 },
		{ 129, 5, 10, 6 }, { 300, 33, 80, 32 }, { 2, 2, 1024, 0 }, { 700, 1, 7, 2 },
	};
	unsigned int i, k;

	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		for (k = 0; k < 4; k++)
			check_rope((struct kiln_rope) {
				.type = k & 1 ? KILN_TYPE_BF16 : KILN_TYPE_F32,
				.tokens = shapes[i][0], .heads = shapes[i][1], .dim = shapes[i][2],
				.rotated = shapes[i][3], .interleaved = k > 1, .table_rows = 50 + i,
				.ldx = k == 1 ? shapes[i][1] * shapes[i][2] + 3 : 0,
				.ldy = k == 2 ? shapes[i][1] * shapes[i][2] + 1 : 0,
			}, k == 1 || k == 2, false);
	check_rope((struct kiln_rope) { .type = KILN_TYPE_F32, .tokens = 200, .heads = 40,
					.dim = 96 }, false, false);
	check_rope((struct kiln_rope) { .type = KILN_TYPE_BF16, .tokens = 130, .heads = 9,
					.dim = 64, .interleaved = true }, false, true);
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct kiln_gather g = { .type = KILN_TYPE_F32, .rows = 2, .width = 4, .table_rows = 9,
				 .table = tx.addr, .index = ti.addr, .out = ty.addr }, h;
	struct kiln_rope r = { .type = KILN_TYPE_F32, .tokens = 2, .heads = 2, .dim = 8, .x = tx.addr,
			       .y = ty.addr, .cos = tc.addr, .sin = ts.addr }, s;
	struct outcome outcome = { 0 };

	refused(kiln_gather(ops, NULL, NULL, NULL), -EINVAL, "no description");
	h = g, h.type = 8, refused(kiln_gather(ops, &h, NULL, NULL), -ENOTSUP, "type 8");
	h = g, h.rows = 0, refused(kiln_gather(ops, &h, NULL, NULL), -EINVAL, "0 rows of 4");
	h = g, h.table_rows = 0, refused(kiln_gather(ops, &h, NULL, NULL), -EINVAL, "table of 0");
	h = g, h.ld_out = 3, refused(kiln_gather(ops, &h, NULL, NULL), -EINVAL, "ld_out 3");
	h = g, h.index += 2, refused(kiln_gather(ops, &h, NULL, NULL), -EINVAL, "index");
	s = r, s.type = 8, refused(kiln_rope(ops, &s, NULL, NULL), -ENOTSUP, "type 8");
	s = r, s.rotated = 3, refused(kiln_rope(ops, &s, NULL, NULL), -EINVAL, "rotated 3");
	s = r, s.dim = 1025, refused(kiln_rope(ops, &s, NULL, NULL), -EINVAL, "1025");
	s = r, s.tokens = 0, refused(kiln_rope(ops, &s, NULL, NULL), -EINVAL, "0 tokens");
	s = r, s.positions = ti.addr, refused(kiln_rope(ops, &s, NULL, NULL), -EINVAL, "table_rows");
	s = r, s.ldx = 15, refused(kiln_rope(ops, &s, NULL, NULL), -EINVAL, "ldx is 15");
	s = r, s.y += 1, refused(kiln_rope(ops, &s, NULL, NULL), -EINVAL, "y at");
	s = r, s.cos = 0, refused(kiln_rope(ops, &s, NULL, NULL), -EINVAL, "cos is at 0x0");

	/* An index that leads out of the table: only the card can see it. */
	((uint32_t *)ti.shadow)[0] = 3;
	((uint32_t *)ti.shadow)[1] = 9;
	tensor_upload(&ti, 8);
	ok(!kiln_gather(ops, &g, on_done, &outcome) && finish(&outcome) == -ENOEXEC,
	   "an index out of the table is a fault");
}

int main(void)
{
	seed_random();
	open_card();
	tensor_make(&tx, ROOM);
	tensor_make(&ty, ROOM);
	tensor_make(&ti, ROOM);
	tensor_make(&tc, ROOM);
	tensor_make(&ts, ROOM);
	gathers();
	ropes();
	check_gather((struct kiln_gather) { .type = KILN_TYPE_F16, .rows = 130, .width = 77,
					    .table_rows = 40 });
	check_rope((struct kiln_rope) { .type = KILN_TYPE_F16, .tokens = 130, .heads = 3,
					.dim = 64 }, false, false);
	bad_arguments();
	tensor_free(&tx);
	tensor_free(&ty);
	tensor_free(&ti);
	tensor_free(&tc);
	tensor_free(&ts);
	close_card();
	return done_testing();
}
