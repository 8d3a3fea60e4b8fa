// SPDX-License-Identifier: MIT
/*
 * kiln selftest: the shapes that language models are made of, each checked.
 *
 * The CPU may be an emulated one, so what it does counts: inputs are made once
 * and lie in HBM once for each type, and every tensor is a piece of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "card.h"
#include "commands.h"
#include "options.h"
#include "tensor.h"

#define SEED		1
/* As large as the largest input (4096 x 1024), and where the others begin in it. */
#define POOL		(8ull << 20)
#define SECOND		((4ull << 20) - 4096 * 3)
#define THIRD		((2ull << 20) + 4096 * 5)
#define OUT		(4096ull * 4096)

static const struct {
	uint32_t m, n, k, batch;
	bool trans_a, trans_b;
} matmuls[] = {
	{ 128, 128, 128, 1, false, false },
	{ 1000, 777, 513, 1, false, false },
	{ 2048, 2048, 2048, 1, false, false },
	{ 4096, 4096, 1024, 1, false, false },
	{ 128, 128, 128, 1, true, true },
	{ 1000, 777, 513, 1, true, false },
	{ 1000, 777, 513, 1, false, true },
	{ 1000, 777, 513, 1, true, true },
	{ 2048, 2048, 2048, 1, false, true },
	{ 4096, 4096, 1024, 1, true, false },
	{ 128, 128, 128, 16, false, false },
	{ 1000, 777, 513, 4, false, true },
};

static const struct {
	uint32_t heads, kv_heads, seq_q, seq_kv, dim;
	bool causal;
} attentions[] = {
	{ 12, 12, 1024, 1024, 64, true },	/* GPT-2 small */
	{ 32, 8, 1024, 1024, 128, true },	/* Llama 3 8B, prefill */
	{ 32, 8, 1, 4096, 128, true },		/* and one token against its cache */
};

static const enum kiln_type types[] = { KILN_TYPE_BF16, KILN_TYPE_F32 };

struct selftest {
	struct card card;
	struct tensor pool;		/* of one type at a time */
	struct tensor out;
	uint32_t repeat;
	unsigned int passed, failed;
};

/* Element at of the pool: on the CPU, and on the card. */
static const void *host(const struct selftest *s, uint64_t at)
{
	return (const char *)s->pool.host + at * type_bytes(s->pool.type);
}

static uint64_t device(const struct selftest *s, uint64_t at)
{
	return s->pool.addr + at * type_bytes(s->pool.type);
}

static void report(struct selftest *s, struct workload *w)
{
	print_row(&s->card, w);
	fflush(stdout);
	if (workload_ok(w))
		s->passed++;
	else
		s->failed++;
}

/* Results of an earlier row must not pass for this one's: NaN wherever it does not write. */
static bool run(struct selftest *s, struct workload *w, uint64_t elements)
{
	size_t bytes = elements * type_bytes(s->out.type);
	void *map = kiln_map(s->out.buffer);

	w->checked = false;
	memset(map, 0xff, bytes);
	workload_run(&s->card, w, s->repeat);
	if (w->error)
		return false;
	memcpy(s->out.host, map, bytes);
	w->checked = true;
	return true;
}

static void run_matmul(struct selftest *s, size_t i)
{
	uint64_t c = (uint64_t)matmuls[i].batch * matmuls[i].m * matmuls[i].n;
	struct workload w = {
		.op = WORKLOAD_MATMUL,
		.matmul = {
			.type = s->pool.type,
			.m = matmuls[i].m,
			.n = matmuls[i].n,
			.k = matmuls[i].k,
			.batch = matmuls[i].batch,
			.trans_a = matmuls[i].trans_a,
			.trans_b = matmuls[i].trans_b,
			.a = device(s, 0),
			.b = device(s, SECOND),
			.c = s->out.addr,
		},
	};

	if (run(s, &w, c))
		check_matmul(&w.matmul, host(s, 0), host(s, SECOND), s->out.host, true,
			     SEED + i, &w.check);
	report(s, &w);
}

static void run_attention(struct selftest *s, size_t i)
{
	uint64_t out = (uint64_t)attentions[i].heads * attentions[i].seq_q * attentions[i].dim;
	struct workload w = {
		.op = WORKLOAD_ATTENTION,
		.attention = {
			.type = s->pool.type,
			.heads = attentions[i].heads,
			.kv_heads = attentions[i].kv_heads,
			.seq_q = attentions[i].seq_q,
			.seq_kv = attentions[i].seq_kv,
			.dim = attentions[i].dim,
			.causal = attentions[i].causal,
			.q = device(s, 0),
			.k = device(s, SECOND),
			.v = device(s, THIRD),
			.out = s->out.addr,
		},
	};

	if (run(s, &w, out))
		check_attention(&w.attention, &(struct check_inputs) {
			host(s, 0), host(s, SECOND), host(s, THIRD), NULL, NULL },
			s->out.host, true, SEED + i, &w.check);
	report(s, &w);
}

static int run_type(struct selftest *s, enum kiln_type type)
{
	int err;

	err = tensor_create(s->card.device, type, POOL, &s->pool);
	if (!err)
		err = tensor_create(s->card.device, type, OUT, &s->out);
	if (!err) {
		fill_random(s->pool.host, type, POOL, SEED, 0);
		err = tensor_upload(&s->pool);
	}
	if (!err && !kiln_map(s->out.buffer))
		err = -1;
	if (err) {
		fprintf(stderr, "kiln selftest: %s\n", kiln_last_error());
	} else {
		for (size_t i = 0; i < sizeof(matmuls) / sizeof(matmuls[0]); i++)
			run_matmul(s, i);
		for (size_t i = 0; i < sizeof(attentions) / sizeof(attentions[0]); i++)
			run_attention(s, i);
	}
	tensor_destroy(&s->pool);
	tensor_destroy(&s->out);
	return err;
}

int command_selftest(int argc, char **argv)
{
	static const char *const ways[] = { "uring", "ioctl", NULL };
	struct selftest s = { .repeat = 2 };
	const char *transport = NULL;
	struct timespec start, end;
	int way = 0, err;
	char text[160];
	const struct option table[] = {
		{ .name = "submit", .kind = OPTION_CHOICE, .value = &way, .choices = ways },
		{ .name = "transport", .kind = OPTION_TEXT, .value = &transport },
		{ .name = "repeat", .kind = OPTION_U32, .value = &s.repeat, .min = 1, .max = 1000 },
		{ 0 },
	};

	err = options_parse("kiln selftest", argc, argv, table);
	if (err)
		return err;
	err = card_open(transport, (enum kiln_submit_way)way, &s.card);
	if (err)
		return err;
	clock_gettime(CLOCK_MONOTONIC, &start);
	card_describe(&s.card, text, sizeof(text));
	printf("%s\n", text);
	print_header();
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) && !err; i++)
		err = run_type(&s, types[i]);
	card_close(&s.card);
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("error: the element nearest to its limit, against float64; allowed: that limit. compared: elements one by one,\n"
	       "and all of them by a random probe (matmul) or for range (attention) where they are too many for this CPU\n");
	printf("%u passed, %u failed (%.1f s)\n", s.passed, s.failed,
	       (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	return err || s.failed ? 1 : 0;
}
