// SPDX-License-Identifier: MIT
/*
 * Attention against float64.
 *
 * The bound, relative to the largest |v| that a row can see, is made of: the
 * scores' sums (dim roundings of 2^-24, times scale and the size of the
 * products), which exp makes relative errors of p; exp itself and the sums of
 * p and p v (seq_kv + 16 roundings of 2^-24, generous); for bf16 the rounding
 * of p (2^-9 each, up or down) and of the result (2^-9). Errors of p count
 * twice: in the numerator and in the sum.
 */
#include "ops_test.h"

#define ROOM (20u << 20)

static struct tensor tq, tk, tv, to;

static uint64_t q_at(const struct kiln_attention *at, uint32_t head, uint32_t row)
{
	return ((uint64_t)head * at->seq_q + row) * at->dim;
}

/* One row of the result in float64, and the bound on its error. */
static double reference(const struct kiln_attention *at, uint32_t head, uint32_t row,
			double *out)
{
	uint32_t keys = at->causal ? row + 1 + at->seq_kv - at->seq_q : at->seq_kv;
	uint64_t kv = (uint64_t)(head / (at->heads / at->kv_heads)) * at->seq_kv * at->dim;
	double scale = at->scale ? at->scale : (float)(1 / sqrtf(at->dim));
	double *p = malloc(keys * sizeof(*p)), top = -INFINITY, sum = 0, largest = 0, size = 0;
	double error;
	uint32_t i, j;

	for (i = 0; i < keys; i++) {
		double s = 0, abs = 0;

		for (j = 0; j < at->dim; j++) {
			double product = (double)get(tq.shadow, at->type, q_at(at, head, row) + j) *
					 get(tk.shadow, at->type, kv + (uint64_t)i * at->dim + j);
			s += product;
			abs += fabs(product);
		}
		p[i] = s * scale;
		if (abs * scale > size)
			size = abs * scale;
		if (p[i] > top)
			top = p[i];
	}
	for (i = 0; i < keys; i++) {
		p[i] = exp(p[i] - top);
		sum += p[i];
	}
	for (j = 0; j < at->dim; j++)
		out[j] = 0;
	for (i = 0; i < keys; i++)
		for (j = 0; j < at->dim; j++) {
			double v = get(tv.shadow, at->type, kv + (uint64_t)i * at->dim + j);

			out[j] += p[i] / sum * v;
			if (fabs(v) > largest)
				largest = fabs(v);
		}
	free(p);
	error = 2 * (0x1p-24 * (at->dim + 4) * size + 0x1p-24 * (keys + 16));
	if (at->type == KILN_TYPE_BF16)
		error += 0x1p-9 + 0x1p-8;
	return error * largest;
}

static bool check_row(const struct kiln_attention *at, uint32_t head, uint32_t row)
{
	double want[128], bound = reference(at, head, row, want);
	uint32_t j;

	for (j = 0; j < at->dim; j++) {
		double got = get(to.shadow, at->type, q_at(at, head, row) + j);

		if (fabs(got - want[j]) <= bound)
			continue;
		printf("# head %u row %u column %u: expected %.9g +- %.3g, got %.9g\n", head, row,
		       j, want[j], bound, got);
		return false;
	}
	return true;
}

static int run(struct kiln_attention at, struct outcome *outcome)
{
	int err;

	*outcome = (struct outcome) { 0 };
	at.q = tq.addr;
	at.k = tk.addr;
	at.v = tv.addr;
	at.out = to.addr;
	err = kiln_attention(ops, &at, on_done, outcome);
	if (err) {
		printf("# kiln_attention: %d %s\n", err, kiln_last_error());
		return err;
	}
	return finish(outcome);
}

/* spread: standard deviation of q, which makes the softmax sharp. */
static void check_data(struct kiln_attention at, uint32_t samples, float spread)
{
	uint64_t nq = (uint64_t)at.heads * at.seq_q * at.dim;
	uint64_t nkv = (uint64_t)at.kv_heads * at.seq_kv * at.dim;
	uint64_t bytes = nq * type_bytes(at.type), i;
	struct outcome outcome;
	uint32_t head, row, s;
	bool good;

	if (nq * 4 > ROOM - 64 || nkv * 4 > ROOM) {
		ok(false, "a shape does not fit the test's memory");
		return;
	}
	for (i = 0; i < nq; i++)
		put(tq.shadow, at.type, i, normal() * spread);
	tensor_upload(&tq, bytes);
	tensor_random(&tk, at.type, nkv);
	tensor_random(&tv, at.type, nkv);
	memset(to.map, 0xa5, bytes + 64);
	good = !run(at, &outcome);
	if (good && !outcome.result.cycles) {
		printf("# no device cycles\n");
		good = false;
	}
	tensor_download(&to, bytes + 64);
	for (i = 0; i < 64; i++)
		if (((uint8_t *)to.shadow)[bytes + i] != 0xa5) {
			printf("# byte %llu behind the result was written\n", (unsigned long long)i);
			good = false;
			break;
		}
	/* A guest's CPU is slow: the reference takes longer there than all else. */
	if (!strcmp(card.transport, "drm"))
		samples = (samples + 3) / 4;
	for (s = 0; good && s < samples; s++) {
		/* The corners, and anywhere. */
		head = s < 4 ? (s & 1 ? at.heads - 1 : 0) : next_random() % at.heads;
		row = s < 4 ? (s & 2 ? at.seq_q - 1 : 0) : next_random() % at.seq_q;
		good = check_row(&at, head, row);
	}
	ok(good, "%s heads %u/%u, %u queries, %u keys, dim %u%s, spread %g", type_name(at.type),
	   at.heads, at.kv_heads, at.seq_q, at.seq_kv, at.dim, at.causal ? ", causal" : "", spread);
}

static void check(struct kiln_attention at, uint32_t samples)
{
	check_data(at, samples, 1);
}

static void check_grid(void)
{
	static const uint32_t edge[] = { 1, 2, 127, 128, 129, 511, 512, 513, 1023, 1024, 1025, 1100 };
	uint32_t i, t;

	for (t = 0; t < 4; t++)
		check((struct kiln_attention) {
			.type = t & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16, .heads = 1, .kv_heads = 1,
			.seq_q = 1, .seq_kv = 1, .dim = 1, .causal = t & 2 }, 1);
	for (i = 0; i < sizeof(edge) / sizeof(*edge); i++)
		for (t = 0; t < 4; t++) {
			uint32_t other = 1 + next_random() % edge[i];

			check((struct kiln_attention) {
				.type = (i + t) & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16,
				.heads = 4, .kv_heads = 1 + t % 2, .causal = t & 2,
				.seq_q = t & 1 ? edge[i] : other, .seq_kv = edge[i],
				.dim = 1 + next_random() % 128 }, 30);
		}
}

static void check_shapes(void)
{
	static const struct kiln_attention some[] = {
		/* decode: a group's heads are the rows of one tile */
		{ .heads = 32, .kv_heads = 8, .seq_q = 1, .seq_kv = 4096, .dim = 128 },
		{ .heads = 32, .kv_heads = 8, .seq_q = 1, .seq_kv = 777, .dim = 128, .causal = true },
		{ .heads = 6, .kv_heads = 6, .seq_q = 1, .seq_kv = 5, .dim = 64 },
		{ .heads = 200, .kv_heads = 1, .seq_q = 3, .seq_kv = 300, .dim = 40 },
		/* several tiles, bodies, heads */
		{ .heads = 2, .kv_heads = 2, .seq_q = 1024, .seq_kv = 1024, .dim = 64, .causal = true },
		{ .heads = 4, .kv_heads = 2, .seq_q = 300, .seq_kv = 2500, .dim = 128, .causal = true },
		{ .heads = 3, .kv_heads = 1, .seq_q = 250, .seq_kv = 1300, .dim = 80 },
		{ .heads = 1, .kv_heads = 1, .seq_q = 500, .seq_kv = 6000, .dim = 33, .causal = true },
		{ .heads = 2, .kv_heads = 2, .seq_q = 2, .seq_kv = 9000, .dim = 128 },
		/* more than SBUF keeps */
		{ .heads = 2, .kv_heads = 1, .seq_q = 130, .seq_kv = 30001, .dim = 128 },
		{ .heads = 2, .kv_heads = 2, .seq_q = 140, .seq_kv = 16500, .dim = 128, .causal = true },
	};
	uint32_t i, t;

	for (i = 0; i < sizeof(some) / sizeof(*some); i++)
		for (t = 0; t < 2; t++) {
			struct kiln_attention at = some[i];

			at.type = t ? KILN_TYPE_F32 : KILN_TYPE_BF16;
			check(at, 16);
		}
	/* Sharp: the running maximum moves a lot, most of p vanishes. */
	check_data((struct kiln_attention) { .type = KILN_TYPE_F32, .heads = 2, .kv_heads = 1,
		.seq_q = 150, .seq_kv = 3000, .dim = 64, .causal = true }, 20, 30);
	check_data((struct kiln_attention) { .type = KILN_TYPE_BF16, .heads = 2, .kv_heads = 1,
		.seq_q = 150, .seq_kv = 3000, .dim = 64 }, 20, 30);
	check((struct kiln_attention) { .type = KILN_TYPE_F32, .heads = 2, .kv_heads = 1,
		.seq_q = 50, .seq_kv = 600, .dim = 64, .scale = 0.7f }, 20);
}

static void check_random(void)
{
	int n;

	for (n = 0; n < 30; n++) {
		uint32_t kv_heads = 1 + next_random() % 3;
		struct kiln_attention at = {
			.type = next_random() & 1 ? KILN_TYPE_F32 : KILN_TYPE_BF16,
			.kv_heads = kv_heads, .heads = kv_heads * (1 + next_random() % 4),
			.seq_kv = 1 + next_random() % (next_random() & 1 ? 3000 : 300),
			.dim = 1 + next_random() % 128, .causal = next_random() & 1,
		};

		at.seq_q = 1 + next_random() % (at.seq_kv < 400 ? at.seq_kv : 400);
		check(at, 10);
	}
}

/* The same bits and cycles from a program just made and from a kept one. */
static void check_cache(void)
{
	struct kiln_attention at = { .type = KILN_TYPE_BF16, .heads = 4, .kv_heads = 2,
				     .seq_q = 200, .seq_kv = 1500, .dim = 64, .causal = true };
	uint64_t bytes = (uint64_t)at.heads * at.seq_q * at.dim * 2;
	struct kiln_ops_stats first_stats, stats;
	struct outcome first, second;
	void *bits = malloc(bytes);
	bool good;

	check(at, 4);
	kiln_ops_get_stats(ops, &first_stats);
	good = !run(at, &first);
	memcpy(bits, to.map, bytes);
	memset(to.map, 0, bytes);
	good = good && !run(at, &second) && !memcmp(bits, to.map, bytes);
	kiln_ops_get_stats(ops, &stats);
	if (!ok(good && first.result.cycles == second.result.cycles &&
		stats.programs_made == first_stats.programs_made,
		"again: same program, same bits, same cycles"))
		printf("# cycles %llu and %llu\n", (unsigned long long)first.result.cycles,
		       (unsigned long long)second.result.cycles);
	free(bits);
}

static void refuse(int want, const char *what, struct kiln_attention at)
{
	struct outcome outcome = { 0 };
	int err = kiln_attention(ops, &at, on_done, &outcome);

	kiln_drain(queue);
	if (!ok(err == want && !outcome.calls, "%s is refused: %s", what, kiln_last_error()))
		printf("# expected %d, got %d, %u calls\n", want, err, outcome.calls);
}

static void check_bad(void)
{
	struct kiln_attention good = {
		.type = KILN_TYPE_BF16, .heads = 4, .kv_heads = 2, .seq_q = 10, .seq_kv = 20,
		.dim = 32, .q = tq.addr, .k = tk.addr, .v = tv.addr, .out = to.addr,
	}, bad;

#define REFUSE(want, change) do { bad = good; bad.change; refuse(want, #change, bad); } while (0)
	REFUSE(-ENOTSUP, type = 0);
	REFUSE(-ENOTSUP, type = 5);
	REFUSE(-EINVAL, heads = 0);
	REFUSE(-EINVAL, kv_heads = 0);
	REFUSE(-EINVAL, kv_heads = 3);
	REFUSE(-EINVAL, seq_q = 0);
	REFUSE(-EINVAL, seq_kv = 0);
	REFUSE(-EINVAL, seq_kv = 0xffffffff);
	REFUSE(-EINVAL, dim = 0);
	REFUSE(-EINVAL, dim = 129);
	REFUSE(-EINVAL, scale = -1);
	REFUSE(-EINVAL, scale = NAN);
	REFUSE(-EINVAL, scale = INFINITY);
	REFUSE(-EINVAL, q = 0);
	REFUSE(-EINVAL, k++);
	REFUSE(-EINVAL, v = 1);
	REFUSE(-EINVAL, out += 1);
	good.causal = true;
	REFUSE(-EINVAL, seq_q = 21);
	check((struct kiln_attention) { .type = KILN_TYPE_BF16, .heads = 4, .kv_heads = 2,
					.seq_q = 10, .seq_kv = 20, .dim = 32 }, 10);
}

int main(void)
{
	seed_random();
	open_card();
	tensor_make(&tq, ROOM);
	tensor_make(&tk, ROOM);
	tensor_make(&tv, ROOM);
	tensor_make(&to, ROOM);
	check_grid();
	check_shapes();
	check_random();
	check_cache();
	check_bad();
	tensor_free(&tq);
	tensor_free(&tk);
	tensor_free(&tv);
	tensor_free(&to);
	close_card();
	return done_testing();
}
