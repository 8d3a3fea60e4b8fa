// SPDX-License-Identifier: MIT
/*
 * Softmax, RMS norm and layer norm against float64.
 *
 * u = 2^-24 is the error of one rounding of fp32. A sum of width terms has at
 * most width / 32 + 16 roundings in a row: 32 partial ones, then those of the
 * chunks. Each element of the result has some ten more, of which the exponent's
 * count as often as it is large. bf16 adds one rounding, of 2^-8, fp16 of 2^-11.
 */
#include "ops_test.h"

#define ROOM	(6u << 20)	/* bytes of a tensor */
#define U	0x1p-24

enum op { SOFTMAX, RMSNORM, LAYERNORM };

static const char *const names[] = { "softmax", "rmsnorm", "layernorm" };

static struct tensor tx, ty, tw, tb;

struct shape {
	enum op op;
	enum kiln_type type, weight_type;
	uint32_t rows, width, ldx, ldy;
	bool weight, bias, in_place;
	float scale, eps;
};

static int run(const struct shape *s, struct outcome *outcome)
{
	uint64_t y = s->in_place ? tx.addr : ty.addr;
	int err;

	*outcome = (struct outcome) { 0 };
	if (s->op == SOFTMAX) {
		struct kiln_softmax d = {
			.type = s->type, .rows = s->rows, .width = s->width, .ldx = s->ldx,
			.ldy = s->ldy, .scale = s->scale, .x = tx.addr, .y = y,
		};

		err = kiln_softmax(ops, &d, on_done, outcome);
	} else {
		struct kiln_norm d = {
			.type = s->type, .weight_type = s->weight_type, .rows = s->rows,
			.width = s->width, .ldx = s->ldx, .ldy = s->ldy, .eps = s->eps,
			.x = tx.addr, .y = y, .weight = s->weight ? tw.addr : 0,
			.bias = s->bias ? tb.addr : 0,
		};

		err = (s->op == RMSNORM ? kiln_rmsnorm : kiln_layernorm)(ops, &d, on_done, outcome);
	}
	if (err) {
		printf("# %d %s\n", err, kiln_last_error());
		return err;
	}
	return finish(outcome);
}

/* One row: what it should be and how far from it it may be. */
static void reference(const struct shape *s, const void *x, uint64_t at, double *want,
		      double *bound)
{
	enum kiln_type wt = s->weight_type ? s->weight_type : s->type;
	double sum = 0, abs = 0, square = 0, mean, root, steps = s->width / 32.0 + 16;
	double top = -INFINITY, low = INFINITY, scale = s->scale ? s->scale : 1;
	uint32_t i;

	for (i = 0; i < s->width; i++) {
		double v = get(x, s->type, at + i);

		top = v > top ? v : top;
		low = v < low && v > -1e30 ? v : low;
		sum += v;
		abs += fabs(v);
	}
	if (s->op == SOFTMAX) {
		for (sum = 0, i = 0; i < s->width; i++)
			sum += want[i] = exp(scale * (get(x, s->type, at + i) - top));
		for (i = 0; i < s->width; i++) {
			want[i] /= sum;
			/* Beyond exp's range there are denormals and zeros. */
			bound[i] = want[i] * U * (2 * scale * (top - low) + steps + 10) + 0x1p-125;
		}
	} else {
		mean = s->op == RMSNORM ? 0 : sum / s->width;
		for (i = 0; i < s->width; i++)
			square += pow(get(x, s->type, at + i) - mean, 2);
		root = 1 / sqrt(square / s->width + s->eps);
		for (i = 0; i < s->width; i++) {
			double v = get(x, s->type, at + i) - mean;
			double w = s->weight ? get(tw.shadow, wt, i) : 1;
			double off = s->op == RMSNORM ? 0 : steps * abs / s->width;

			want[i] = v * root * w + (s->bias ? get(tb.shadow, wt, i) : 0);
			bound[i] = U * (fabs(w) * root * ((steps + 10) * fabs(v) + off) +
					2 * fabs(want[i]));
			/* A wrong mean makes the root wrong by its square only; of a row of equals it is all there is. */
			bound[i] += fabs(v * w) * root * pow(root * U * off, 2);
		}
	}
	for (i = 0; i < s->width; i++)
		bound[i] += type_error(s->type, want[i]) + type_error(s->type, bound[i]);
}

static void check(struct shape s)
{
	uint32_t ldx = s.ldx ? s.ldx : s.width, ldy = s.ldy ? s.ldy : s.width, row, i;
	uint64_t nx = (uint64_t)s.rows * ldx, ny = (uint64_t)s.rows * ldy;
	uint64_t xbytes = nx * type_bytes(s.type), bytes = ny * type_bytes(s.type);
	double *want = malloc(s.width * 2 * sizeof(*want)), *bound = want + s.width;
	uint8_t *before = malloc(xbytes);
	struct tensor *out = s.in_place ? &tx : &ty;
	struct outcome outcome;
	bool good = true;

	if (xbytes + 64 > ROOM || bytes + 64 > ROOM || s.width * 4u > ROOM || !want || !before)
		bail("a shape does not fit the test's memory");
	for (uint64_t j = 0; j < nx; j++)
		put(tx.shadow, s.type, j, normal() * 2 + 1);
	tensor_upload(&tx, xbytes);
	memcpy(before, tx.shadow, xbytes);
	tensor_random(&tw, s.weight_type ? s.weight_type : s.type, s.width);
	tensor_random(&tb, s.weight_type ? s.weight_type : s.type, s.width);
	if (!s.in_place)
		memset(ty.map, 0xa5, bytes + 64);
	good = !run(&s, &outcome) && outcome.result.cycles;
	memcpy(out->shadow, out->map, bytes + 64);
	for (row = 0; good && row < s.rows; row++) {
		/* All of narrow rows; of wide ones on a slow CPU some. */
		if (!strcmp(card.transport, "drm") && s.rows > 8 && row % 37 && row != s.rows - 1)
			continue;
		reference(&s, before, (uint64_t)row * ldx, want, bound);
		for (i = 0; good && i < s.width; i++) {
			double got = get(out->shadow, s.type, (uint64_t)row * ldy + i);

			if (fabs(got - want[i]) <= bound[i])
				continue;
			printf("# row %u column %u: expected %.9g +- %.3g, got %.9g\n", row, i,
			       want[i], bound[i], got);
			good = false;
		}
		for (i = s.width * type_bytes(s.type);
		     good && !s.in_place && i < ldy * type_bytes(s.type); i++)
			if (((uint8_t *)out->shadow)[(uint64_t)row * ldy * type_bytes(s.type) + i] !=
			    0xa5) {
				printf("# behind row %u was written\n", row);
				good = false;
			}
	}
	for (i = 0; good && !s.in_place && i < 64; i++)
		if (((uint8_t *)out->shadow)[bytes + i] != 0xa5) {
			printf("# byte %u behind the result was written\n", i);
			good = false;
		}
	ok(good, "%s %s [%u, %u]%s%s%s%s%s, %llu cycles", names[s.op], type_name(s.type), s.rows,
	   s.width, s.ldx || s.ldy ? " ld" : "", s.weight ? " weight" : "", s.bias ? " bias" : "",
	   s.scale ? " scale" : "", s.in_place ? " in place" : "",
	   (unsigned long long)outcome.result.cycles);
	free(want);
	free(before);
}

static void shapes(void)
{
	static const uint32_t sizes[][2] = {
		{ 1, 1 }, { 1, 2 }, { 3, 127 }, { 127, 128 }, { 128, 129 }, { 129, 33 }, { 300, 64 },
		{ 257, 513 }, { 130, 2048 }, { 2, 9001 },
	};
	static const enum kiln_type types[] = { KILN_TYPE_F32, KILN_TYPE_BF16, KILN_TYPE_F16 };
	unsigned int i, t, op;

	for (op = SOFTMAX; op <= LAYERNORM; op++)
		for (t = 0; t < 3; t++)
			for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
				check((struct shape) {
					.op = op, .type = types[t], .rows = sizes[i][0],
					.width = sizes[i][1], .eps = 1e-5f,
					.weight = op != SOFTMAX && i % 3 != 0,
					.bias = op == LAYERNORM && i % 2,
				});
	for (op = SOFTMAX; op <= LAYERNORM; op++) {
		struct shape s = { .op = op, .type = KILN_TYPE_F32, .rows = 131, .width = 100,
				   .eps = 1e-6f, .weight = op != SOFTMAX, .bias = op == LAYERNORM };

		/* wider than SBUF: whole chunks, and a rest */
		s.rows = 2;
		s.width = 65536;
		check(s);
		s.rows = 131;
		s.width = 100;
		s.ldx = 107;
		s.ldy = 103;
		check(s);
		s.ldx = s.ldy = 0;
		s.in_place = true;
		check(s);
		s.type = KILN_TYPE_BF16;
		s.rows = 3;
		s.width = 70001;
		check(s);
		s.in_place = false;
		s.weight_type = KILN_TYPE_F32;
		s.rows = 140;
		s.width = 1100;
		check(s);
	}
	/* More tiles than there are columns and slots to take in turn. */
	for (t = 0; t < 4; t++)
		check((struct shape) { .op = LAYERNORM, .type = types[t % 3], .rows = 1500 + t,
				       .width = 70 + 300 * t, .eps = 1e-5f, .weight = t != 1,
				       .bias = t != 2 });
	check((struct shape) { .op = SOFTMAX, .type = KILN_TYPE_F32, .rows = 40, .width = 333, .scale = 0.125f });
	check((struct shape) { .op = SOFTMAX, .type = KILN_TYPE_F32, .rows = 40, .width = 333, .scale = 30 });
}

/* A masked row, a row of equals, one that holds infinity. */
static void special(void)
{
	struct shape s = { .op = SOFTMAX, .type = KILN_TYPE_F32, .rows = 4, .width = 200 };
	float *x = tx.shadow, *y = ty.shadow;
	struct outcome outcome;
	bool good = true;
	int i;

	for (i = 0; i < 800; i++)
		x[i] = i < 200 ? (i < 50 ? 3 : -INFINITY) : i < 400 ? 1e30f : i < 600 ? -INFINITY :
			i == 700 ? NAN : 1;
	tensor_upload(&tx, 3200);
	good = !run(&s, &outcome);
	tensor_download(&ty, 3200);
	for (i = 0; i < 200; i++)
		good = good && fabs(y[i] - (i < 50 ? 0.02 : 0)) < 1e-8 && fabs(y[200 + i] - 0.005) < 1e-9 &&
			isnan(y[400 + i]) && isnan(y[600 + i]);
	ok(good, "softmax of masked and special rows");
}

static void refuses(struct shape s, int want, const char *word)
{
	struct outcome outcome;
	int got;

	got = run(&s, &outcome);
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct shape s = { .op = SOFTMAX, .type = KILN_TYPE_F32, .rows = 2, .width = 8 }, t;
	struct kiln_softmax d = { .type = KILN_TYPE_BF16, .rows = 1, .width = 1, .x = tx.addr };
	struct kiln_norm n = { .type = KILN_TYPE_F32, .rows = 1, .width = 4, .x = tx.addr,
			       .y = ty.addr };

	t = s, t.type = 9, refuses(t, -ENOTSUP, "type 9");
	t = s, t.rows = 0, refuses(t, -EINVAL, "0 rows of 8");
	t = s, t.width = 0, refuses(t, -EINVAL, "2 rows of 0");
	t = s, t.width = 1u << 25, refuses(t, -ENOTSUP, "width");
	t = s, t.ldx = 7, refuses(t, -EINVAL, "ldx is 7");
	t = s, t.ldy = 7, refuses(t, -EINVAL, "ldy 7");
	t = s, t.scale = -1, refuses(t, -EINVAL, "scale");
	t = s, t.scale = NAN, refuses(t, -EINVAL, "scale");
	t = s, t.op = RMSNORM, t.bias = true, refuses(t, -EINVAL, "no bias");
	t = s, t.op = RMSNORM, t.eps = -1, refuses(t, -EINVAL, "eps");
	t = s, t.op = LAYERNORM, t.weight_type = 5, refuses(t, -ENOTSUP, "weight_type 5");
	ok(kiln_softmax(ops, &d, NULL, NULL) == -EINVAL && strstr(kiln_last_error(), "address of y"),
	   "refused: %s", kiln_last_error());
	d.y = ty.addr + 1;
	ok(kiln_softmax(ops, &d, NULL, NULL) == -EINVAL && strstr(kiln_last_error(), "aligned"),
	   "refused: %s", kiln_last_error());
	n.weight = tw.addr + 2;
	ok(kiln_layernorm(ops, &n, NULL, NULL) == -EINVAL && strstr(kiln_last_error(), "weight"),
	   "refused: %s", kiln_last_error());
	ok(kiln_rmsnorm(ops, NULL, NULL, NULL) == -EINVAL, "refused: %s", kiln_last_error());
}

static void cached(void)
{
	struct shape s = { .op = SOFTMAX, .type = KILN_TYPE_F32, .rows = 2, .width = 8 };
	struct kiln_ops_stats before, after;
	struct outcome outcome;

	run(&s, &outcome);
	kiln_ops_get_stats(ops, &before);
	run(&s, &outcome);
	kiln_ops_get_stats(ops, &after);
	ok(after.programs_made == before.programs_made && after.commands == before.commands + 1,
	   "the second run of a shape makes no program");
}

int main(void)
{
	seed_random();
	open_card();
	tensor_make(&tx, ROOM);
	tensor_make(&ty, ROOM);
	tensor_make(&tw, ROOM);
	tensor_make(&tb, ROOM);
	shapes();
	special();
	bad_arguments();
	cached();
	tensor_free(&tx);
	tensor_free(&ty);
	tensor_free(&tw);
	tensor_free(&tb);
	close_card();
	return done_testing();
}
