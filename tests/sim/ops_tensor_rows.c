// SPDX-License-Identifier: MIT
/*
 * Rows of strided tensors against float64, and rows by index. Errors are those of ggml's
 * suite, a normalised mean square of 1e-7, or 1e-9 where fp32 goes in and out: a row's
 * sum has few roundings. Rows by index are compared to the bit.
 */
#include "blocks.h"
#include "tensors.h"

static const int dense[4] = { 0, 1, 2, 3 }, swapped[4] = { 0, 2, 1, 3 }, reversed[4] = { 1, 0, 2, 3 };
static const enum kiln_type types[] = { KILN_TYPE_F32, KILN_TYPE_F16, KILN_TYPE_BF16 };

static double slope_of(float max_bias, uint32_t heads, uint32_t h)
{
	uint32_t whole = 1;

	if (max_bias == 0)
		return 1;
	while (2 * whole <= heads)
		whole *= 2;
	return h < whole ? pow(2, -max_bias / whole * (h + 1)) :
		pow(2, -max_bias / 2 / whole * (2 * (h - whole) + 1));
}

/* One row of n: x in, y out; its place is at. */
static void row(const struct kiln_rows *d, const uint32_t at[4], double *y)
{
	uint32_t n = d->x.dim[3], j, p[4] = { at[0], at[1], at[2], 0 };
	double scale = d->scale ? d->scale : 1, sum = 0, squares = 0, dot = 0, most = -INFINITY, mean;
	double x[n], a[n], b[n];	/* scale is positive */

	for (j = 0; j < n; j++) {
		p[3] = j;
		x[j] = value_of(&d->x, p);
		a[j] = d->a.addr ? value_of(&d->a, p) : 1;
		b[j] = d->b.addr ? value_of(&d->b, p) : 0;
		if (d->func == KILN_ROWS_SOFTMAX)
			x[j] = x[j] * scale + (d->a.addr ? a[j] * slope_of(d->max_bias, d->x.dim[1], at[1]) : 0);
		sum += x[j];
		y[j] = d->func == KILN_ROWS_CUMSUM ? sum : 0;
		squares += x[j] * x[j];
		dot += x[j] * a[j];
		most = fmax(most, x[j]);
	}
	mean = sum / n;
	switch (d->func) {
	case KILN_ROWS_SUM: y[0] = scale * sum; return;
	case KILN_ROWS_MAX: y[0] = scale * most; return;
	case KILN_ROWS_MEAN: y[0] = scale * mean; return;
	case KILN_ROWS_CUMSUM: return;
	case KILN_ROWS_RMS_NORM:
		for (j = 0; j < n; j++)
			y[j] = x[j] / sqrt(squares / n + d->eps) * a[j] + b[j];
		return;
	case KILN_ROWS_L2_NORM:
		for (j = 0; j < n; j++)
			y[j] = x[j] / fmax(sqrt(squares), d->eps) * a[j] + b[j];
		return;
	case KILN_ROWS_NORM:
		for (squares = 0, j = 0; j < n; j++)
			squares += (x[j] - mean) * (x[j] - mean);
		for (j = 0; j < n; j++)
			y[j] = (x[j] - mean) / sqrt(squares / n + d->eps) * a[j] + b[j];
		return;
	case KILN_ROWS_SOFTMAX_BACK:
		for (j = 0; j < n; j++)
			y[j] = scale * a[j] * (x[j] - dot);
		return;
	case KILN_ROWS_RMS_NORM_BACK:
		for (squares = 0, j = 0; j < n; j++)
			squares += a[j] * a[j];
		for (j = 0; j < n; j++)
			y[j] = (x[j] - a[j] * dot / (squares + n * d->eps)) / sqrt(squares / n + d->eps);
		return;
	default:
		break;
	}
	if (d->func == KILN_ROWS_SOFTMAX && d->b.addr)
		most = fmax(most, b[0]);
	for (sum = 0, j = 0; j < n; j++)
		sum += exp(x[j] - most);
	if (d->func == KILN_ROWS_SOFTMAX && d->b.addr)
		sum += exp(b[0] - most);
	for (dot = 0, j = 0; j < n; j++) {
		double p = exp(x[j] - most) / sum;

		y[j] = d->func == KILN_ROWS_SOFTMAX ? p : scale * b[j] * (p - a[j]);
		dot -= scale * a[j] * (x[j] - most - log(sum));
	}
	if (d->func == KILN_ROWS_CROSS_ENTROPY)
		y[0] = dot;
}

static void check(struct kiln_rows d)
{
	struct outcome outcome = { 0 };
	uint32_t n = d.x.dim[3], outs = d.out.dim[3], j;
	const uint32_t places[4] = { d.x.dim[0], d.x.dim[1], d.x.dim[2], 1 };
	struct nmse nmse = { 0 }, again = { 0 };
	double *y = malloc(n * sizeof(*y));
	bool good, fine = d.x.type == KILN_TYPE_F32 && d.out.type == KILN_TYPE_F32;

	fill_normal(&d.x, 1);
	if (d.a.addr)
		fill_normal(&d.a, d.func == KILN_ROWS_CROSS_ENTROPY ? 0.1 : 1);
	if (d.b.addr)
		fill_normal(&d.b, 1);
	if (d.a.addr && d.func == KILN_ROWS_SOFTMAX)	/* some keys are not seen, the first is */
		EACH(at, d.a.dim)
			if (at[3] && next_random() % 4 == 0)
				set_value(&d.a, at, -INFINITY);
	clear_result(&d.out);
	if (d.also.addr)
		clear_result(&d.also);
	upload_room();
	good = !run_case(kiln_rows(ops, &d, on_done, &outcome), &outcome);
	if (good)
		EACH(at, places) {
			row(&d, at, y);
			for (j = 0; j < outs; j++) {
				uint32_t p[4] = { at[0], at[1], at[2], j };

				nmse_add(&nmse, result_of(&d.out, p), y[j]);
				if (d.also.addr)
					nmse_add(&again, result_of(&d.also, p), y[j]);
			}
		}
	free(y);
	good = good && nmse_good(&nmse, fine ? 1e-9 : d.out.type == KILN_TYPE_BF16 ? 1e-5 : 1e-7) &&
		(d.also.addr ? gaps_untouched_below(&d.out, d.also.addr) : gaps_untouched(&d.out));
	if (d.also.addr)
		good = good && nmse_good(&again, 1e-5) && gaps_untouched(&d.also);
	ok(good, "rows %d %s %s a %s b %s, %llu cycles", d.func, any_type_name(d.x.type), shape_text(&d.x),
	   d.a.addr ? shape_text(&d.a) : "none", d.b.addr ? shape_text(&d.b) : "none",
	   (unsigned long long)outcome.result.cycles);
}

static const uint32_t shapes[][4] = { { 3, 4, 5, 10 }, { 1, 1, 300, 64 }, { 2, 3, 7, 1000 },
				      { 1, 1, 1, 4096 }, { 1, 2, 129, 33 } };

static void functions(void)
{
	unsigned int func, i;

	for (func = KILN_ROWS_SOFTMAX; func <= KILN_ROWS_MAX; func++)
		for (i = 0; i < 5; i++) {
			struct kiln_rows d = { .func = func, .eps = 1e-6f };
			bool value = func == KILN_ROWS_SUM || func == KILN_ROWS_MEAN ||
				func == KILN_ROWS_CROSS_ENTROPY || func == KILN_ROWS_MAX;
			uint32_t dim[4] = { shapes[i][0], shapes[i][1], shapes[i][2], value ? 1 : shapes[i][3] };

			if (i % 2)
				d.scale = 0.7f;
			start_case();
			d.x = tensor_of(types[i % 3], shapes[i], i % 2 ? dense : swapped, i, 1);
			if (func >= KILN_ROWS_SOFTMAX_BACK && func != KILN_ROWS_MAX)
				d.a = tensor_of(KILN_TYPE_F32, shapes[i], i % 2 ? reversed : dense, 0, 1);
			else if (func <= KILN_ROWS_L2_NORM && i > 1)
				d.a = dense_of(i % 2 ? KILN_TYPE_F32 : KILN_TYPE_F16, 1, 1, i == 2 ? shapes[i][2] : 1,
					       shapes[i][3]);
			if (func == KILN_ROWS_CROSS_ENTROPY_BACK)
				d.b = dense_of(KILN_TYPE_F32, 1, 1, 1, 1);
			else if (func == KILN_ROWS_SOFTMAX && i % 2 == 0)
				d.b = dense_of(KILN_TYPE_F32, 1, shapes[i][1], 1, 1);
			else if (func <= KILN_ROWS_L2_NORM && func != KILN_ROWS_SOFTMAX && i > 2)
				d.b = dense_of(KILN_TYPE_F32, 1, 1, 1, shapes[i][3]);
			if (func == KILN_ROWS_SOFTMAX && i > 1)
				d.max_bias = 8;
			d.out = tensor_of(i == 1 ? types[1] : KILN_TYPE_F32, dim, dense, value ? 0 : i % 2, 1);
			check(d);
			if (!value && (i == 0 || i == 3)) {
				d.also = tensor_of(KILN_TYPE_BF16, dim, i ? swapped : dense, 3, 1);
				check(d);
			}
		}
}

/* ---------------------------------------------------------- rows by index -- */

/* Random ones below limit, each once where unique */
static void fill_index(const struct kiln_tensor *index, uint32_t limit, bool unique)
{
	uint32_t step = 1 + next_random() % limit, i = next_random() % limit;

	while (unique && (limit % 2 == 0 ? step % 2 == 0 : step % 3 == 0 || step % 5 == 0 || step % 7 == 0))
		step++;
	EACH(at, index->dim) {
		set_value(index, at, unique ? i % limit : next_random() % limit);
		i += step % limit ? step : 1;
	}
}

static void check_get(enum kiln_type type, enum kiln_type out, const uint32_t dim[4], uint32_t rows,
		      enum kiln_type index_type, bool with_addend)
{
	const uint32_t out_dim[4] = { dim[0], dim[1], rows, dim[3] };
	struct kiln_get_rows d = { .addend = { .addr = 0 } };
	struct outcome outcome = { 0 };
	bool good;

	start_case();
	d.table = tensor_of(type, dim, swapped, 1, 1);
	d.index = tensor_of(index_type, (uint32_t[]) { 1, dim[0], dim[1], rows }, dense, 2, 1);
	if (with_addend)
		d.addend = tensor_of(KILN_TYPE_F32, out_dim, swapped, 0, 1);
	d.out = tensor_of(out, out_dim, dense, 3, 1);
	fill_normal(&d.table, 100);
	if (with_addend)
		fill_normal(&d.addend, 1);
	fill_index(&d.index, dim[2], false);
	clear_result(&d.out);
	upload_room();
	good = !run_case(kiln_get_rows(ops, &d, on_done, &outcome), &outcome);
	EACH(at, out_dim) {
		const uint32_t in[4] = { 0, at[0], at[1], at[2] };
		const uint32_t from[4] = { at[0], at[1], good ? value_of(&d.index, in) : 0, at[3] };
		double want = value_of(&d.table, from), got = result_of(&d.out, at);

		if (with_addend)
			want = (float)(want + value_of(&d.addend, at));
		set_value(&d.out, at, want);
		want = value_of(&d.out, at);
		if (good && got != want) {
			printf("# %u %u %u %u: expected %.9g, got %.9g\n", at[0], at[1], at[2], at[3], want, got);
			good = false;
		}
	}
	good = good && gaps_untouched(&d.out);
	ok(good, "get %u rows of %s %s to %s by %s%s", rows, any_type_name(type), shape_text(&d.table),
	   any_type_name(out), any_type_name(index_type), with_addend ? ", added" : "");
}

static void check_get_blocks(enum kiln_type type)
{
	uint32_t per = block_elements(type), size = block_bytes(type), n = 2 * per, rows = 37, i;
	struct kiln_get_rows d = { .addend = { .addr = 0 } };
	struct outcome outcome = { 0 };
	struct nmse nmse = { 0 };
	bool good;
	uint8_t *blocks;

	start_case();
	d.table = (struct kiln_tensor) { .type = type, .dim = { 1, 1, 50, n }, .addr = room.addr };
	used = 50 * 2 * 256;
	blocks = bytes_at(d.table.addr);
	for (i = 0; i < 100; i++)
		random_block(type, blocks + i * size);
	d.index = dense_of(KILN_TYPE_I32, 1, 1, 1, rows);
	fill_index(&d.index, 50, false);
	d.out = dense_of(KILN_TYPE_F32, 1, 1, rows, n);
	clear_result(&d.out);
	upload_room();
	good = !run_case(kiln_get_rows(ops, &d, on_done, &outcome), &outcome);
	EACH(at, d.out.dim) {
		const uint32_t in[4] = { 0, 0, 0, at[2] };
		uint32_t from = value_of(&d.index, in) * 2 + at[3] / per;

		nmse_add(&nmse, result_of(&d.out, at), block_element(type, blocks + from * size, at[3] % per));
	}
	ok(good && nmse_good(&nmse, 1e-13), "get rows of %s", any_type_name(type));
}

static void check_set(enum kiln_type type, const uint32_t dim[4], uint32_t of, enum kiln_type index_type,
		      bool shared, bool add)
{
	const uint32_t out_dim[4] = { dim[0], dim[1], of, dim[3] };
	struct kiln_set_rows d = { .add = add };
	struct outcome outcome = { 0 };
	bool good;

	start_case();
	d.src = tensor_of(KILN_TYPE_F32, dim, swapped, 1, 1);
	d.index = tensor_of(index_type, (uint32_t[]) { 1, shared ? 1 : dim[0], shared ? 1 : dim[1], dim[2] },
			    dense, 0, 1);
	d.out = tensor_of(type, out_dim, dense, 3, 1);
	fill_normal(&d.src, 1);
	fill_index(&d.index, of, true);
	clear_result(&d.out);
	fill_normal(&d.out, 1);
	upload_room();
	good = !run_case(kiln_set_rows(ops, &d, on_done, &outcome), &outcome);
	EACH(at, dim) {		/* in order: where one stands twice, sums come out all the same */
		const uint32_t in[4] = { 0, shared ? 0 : at[0], shared ? 0 : at[1], at[2] };
		uint32_t row = value_of(&d.index, in);
		const uint32_t to[4] = { at[0], at[1], row, at[3] };
		double x = value_of(&d.src, at);

		set_value(&d.out, to, add ? value_of(&d.out, to) + x : x);
	}
	EACH(at, out_dim) {
		double want = value_of(&d.out, at), got = result_of(&d.out, at);

		if (good && got != want) {
			printf("# %u %u %u %u: expected %.9g, got %.9g\n", at[0], at[1], at[2], at[3], want, got);
			good = false;
		}
	}
	good = good && gaps_untouched(&d.out);
	ok(good, "set rows %s into %s %s by %s%s", shape_text(&d.src), any_type_name(type),
	   shape_text(&d.out), any_type_name(index_type), add ? ", added" : "");
}

static void by_index(void)
{
	static const uint32_t dim[4] = { 2, 3, 50, 70 };
	enum kiln_type type;

	check_get(KILN_TYPE_F32, KILN_TYPE_F32, dim, 200, KILN_TYPE_I32, false);
	check_get(KILN_TYPE_F16, KILN_TYPE_F32, dim, 7, KILN_TYPE_I64, false);
	check_get(KILN_TYPE_BF16, KILN_TYPE_F32, (uint32_t[]) { 1, 1, 5, 1 }, 4, KILN_TYPE_I32, false);
	check_get(KILN_TYPE_F32, KILN_TYPE_BF16, (uint32_t[]) { 1, 1, 5, 4100 }, 1, KILN_TYPE_I32, false);
	check_get(KILN_TYPE_I32, KILN_TYPE_I32, dim, 3, KILN_TYPE_I32, false);
	check_get(KILN_TYPE_F32, KILN_TYPE_F32, dim, 9, KILN_TYPE_I32, true);
	check_get(KILN_TYPE_F32, KILN_TYPE_F32, dim, 1, KILN_TYPE_I32, false);
	check_get(KILN_TYPE_F32, KILN_TYPE_F16, (uint32_t[]) { 3, 1, 4, 1 }, 1, KILN_TYPE_I32, false);
	for (type = KILN_TYPE_Q4_0; type <= KILN_TYPE_NVFP4; type++)
		check_get_blocks(type);
	check_set(KILN_TYPE_F32, (uint32_t[]) { 2, 3, 17, 31 }, 64, KILN_TYPE_I64, false, false);
	check_set(KILN_TYPE_F16, (uint32_t[]) { 2, 3, 17, 31 }, 64, KILN_TYPE_I32, true, false);
	check_set(KILN_TYPE_BF16, (uint32_t[]) { 1, 1, 140, 128 }, 256, KILN_TYPE_I64, true, false);
	check_set(KILN_TYPE_F16, (uint32_t[]) { 1, 1, 1, 1024 }, 16, KILN_TYPE_I64, true, false);
	check_set(KILN_TYPE_F32, (uint32_t[]) { 3, 2, 1, 40 }, 8, KILN_TYPE_I64, false, false);
	check_set(KILN_TYPE_F32, (uint32_t[]) { 1, 1, 300, 33 }, 20, KILN_TYPE_I32, true, true);
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct kiln_rows d = { .func = KILN_ROWS_NORM }, e;
	struct kiln_get_rows g, h;
	struct kiln_set_rows s = { .add = false }, u;
	struct outcome outcome = { 0 };

	start_case();
	memset(&g, 0, sizeof(g));
	d.x = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	d.out = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	refused(kiln_rows(NULL, &d, NULL, NULL), -EINVAL, "no ops");
	e = d, e.func = 0, refused(kiln_rows(ops, &e, NULL, NULL), -ENOTSUP, "function 0");
	e = d, e.eps = -1, refused(kiln_rows(ops, &e, NULL, NULL), -EINVAL, "eps -1");
	e = d, e.out.dim[3] = 32, refused(kiln_rows(ops, &e, NULL, NULL), -EINVAL, "out is 32");
	e = d, e.a = d.x, e.a.dim[3] = 32, refused(kiln_rows(ops, &e, NULL, NULL), -EINVAL, "is 32, of x 64");
	e = d, e.func = KILN_ROWS_SUM, e.a = d.x, refused(kiln_rows(ops, &e, NULL, NULL), -EINVAL, "takes no a");
	e = d, e.func = KILN_ROWS_SOFTMAX_BACK, refused(kiln_rows(ops, &e, NULL, NULL), -ENOTSUP, "type 0 of a");
	e = d, e.func = KILN_ROWS_SOFTMAX, e.b = d.x;
	refused(kiln_rows(ops, &e, NULL, NULL), -EINVAL, "64 values");
	e = d, e.x.dim[3] = e.out.dim[3] = 1 << 20, refused(kiln_rows(ops, &e, NULL, NULL), -ENOTSUP, "up to");
	check(d);

	g.table = d.x, g.out = d.out;
	g.index = dense_of(KILN_TYPE_I32, 1, 1, 2, 3);
	memset(bytes_at(g.index.addr), 0, 24);
	h = g, h.index.type = KILN_TYPE_F32, refused(kiln_get_rows(ops, &h, NULL, NULL), -ENOTSUP, "index");
	h = g, h.index.dim[3] = 2, refused(kiln_get_rows(ops, &h, NULL, NULL), -EINVAL, "2 indices");
	h = g, h.out.dim[3] = 32, refused(kiln_get_rows(ops, &h, NULL, NULL), -EINVAL, "one length");
	h = g, h.out.type = KILN_TYPE_Q8_0, refused(kiln_get_rows(ops, &h, NULL, NULL), -ENOTSUP, "36");
	s.src = d.x, s.out = d.out, s.index = g.index;
	u = s, u.src.type = KILN_TYPE_Q8_0, refused(kiln_set_rows(ops, &u, NULL, NULL), -ENOTSUP, "36");
	u = s, u.index.addr = 0, refused(kiln_set_rows(ops, &u, NULL, NULL), -EINVAL, "index is at");
	((int32_t *)bytes_at(g.index.addr))[4] = 3;
	upload_room();
	ok(!kiln_get_rows(ops, &g, on_done, &outcome) && finish(&outcome) == -ENOEXEC,
	   "an index that is no row fails the command");
	((int32_t *)bytes_at(g.index.addr))[4] = -1;
	upload_room();
	outcome.calls = 0;
	ok(!kiln_set_rows(ops, &s, on_done, &outcome) && finish(&outcome) == -ENOEXEC,
	   "nor does a negative one go anywhere");
	check(d);
}

int main(void)
{
	open_room();
	functions();
	by_index();
	bad_arguments();
	return close_room();
}
