// SPDX-License-Identifier: MIT
/*
 * The ops on one core: GFLOP/s of wall time on this host, and device time with
 * the share of the Tensor engine's peak that it is.
 *
 *	ops [NAME]		only what has NAME in its name
 *	KILN_TRANSPORT=...	another card (default: sim)
 */
#include "../sim/ops_test.h"

#define REPEAT 5

static struct tensor t[4];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* Products a cycle of the Tensor engine: 128 x 128, fp32 a quarter of that. */
static void report(const char *name, enum kiln_type type, double flop, double seconds,
		   uint64_t cycles)
{
	double peak = 2.0 * 128 * 128 / (type == KILN_TYPE_F32 ? 4 : 1);

	printf("%-44s %-5s %9.2f ms %8.1f GFLOP/s   device %9.1f us %10llu cycles %5.1f %% of peak\n",
	       name, type_name(type), seconds * 1e3, flop / seconds * 1e-9,
	       cycles * 1e3 / card.clock_khz, (unsigned long long)cycles,
	       100 * flop / peak / cycles);
}

static bool wanted(int argc, char **argv, const char *name)
{
	return argc < 2 || strstr(name, argv[1]);
}

static void matmul(const char *name, struct kiln_matmul mm)
{
	double best = 1e9, start;
	struct outcome outcome;
	int i;

	mm.a = t[0].addr;
	mm.b = t[1].addr;
	mm.c = t[2].addr;
	for (i = 0; i <= REPEAT; i++) {
		outcome = (struct outcome) { 0 };
		start = now();
		if (kiln_matmul(ops, &mm, on_done, &outcome) || finish(&outcome))
			bail(name);
		if (i && now() - start < best)
			best = now() - start;
	}
	report(name, mm.type, 2.0 * mm.m * mm.n * mm.k * (mm.batch ? mm.batch : 1), best,
	       outcome.result.cycles);
}

static void attention(const char *name, struct kiln_attention at)
{
	double best = 1e9, start, pairs = (double)at.seq_q * at.seq_kv;
	struct outcome outcome;
	int i;

	at.q = t[0].addr;
	at.k = t[1].addr;
	at.v = t[2].addr;
	at.out = t[3].addr;
	if (at.causal)
		pairs -= (double)at.seq_q * (at.seq_q - 1) / 2;
	for (i = 0; i <= REPEAT; i++) {
		outcome = (struct outcome) { 0 };
		start = now();
		if (kiln_attention(ops, &at, on_done, &outcome) || finish(&outcome))
			bail(name);
		if (i && now() - start < best)
			best = now() - start;
	}
	report(name, at.type, 4.0 * at.heads * pairs * at.dim, best, outcome.result.cycles);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		struct kiln_matmul mm;
	} products[] = {
		{ "matmul 128^3", { .m = 128, .n = 128, .k = 128 } },
		{ "matmul 1000x777x513", { .m = 1000, .n = 777, .k = 513 } },
		{ "matmul 2048^3", { .m = 2048, .n = 2048, .k = 2048 } },
		{ "matmul 2048^3 A^T", { .m = 2048, .n = 2048, .k = 2048, .trans_a = true } },
		{ "matmul 2048^3 B^T", { .m = 2048, .n = 2048, .k = 2048, .trans_b = true } },
		{ "matmul 4096x4096x1024", { .m = 4096, .n = 4096, .k = 1024 } },
		{ "matmul 1x4096x4096", { .m = 1, .n = 4096, .k = 4096 } },
		{ "matmul 12 of 1024x1024x64 B^T", { .m = 1024, .n = 1024, .k = 64, .batch = 12,
						     .trans_b = true } },
	};
	static const struct {
		const char *name;
		struct kiln_attention at;
	} attentions[] = {
		{ "attention GPT-2 12x1024 d=64 causal",
		  { .heads = 12, .kv_heads = 12, .seq_q = 1024, .seq_kv = 1024, .dim = 64,
		    .causal = true } },
		{ "attention Llama-3-8B 32/8x1024 d=128 causal",
		  { .heads = 32, .kv_heads = 8, .seq_q = 1024, .seq_kv = 1024, .dim = 128,
		    .causal = true } },
		{ "attention Llama-3-8B 32/8 decode of 4096",
		  { .heads = 32, .kv_heads = 8, .seq_q = 1, .seq_kv = 4096, .dim = 128 } },
	};
	enum kiln_type type;
	unsigned int i;

	open_card();
	for (i = 0; i < 4; i++) {
		tensor_make(&t[i], 80u << 20);
		tensor_random(&t[i], KILN_TYPE_BF16, 40u << 20);
	}
	for (type = KILN_TYPE_BF16; type; type = type == KILN_TYPE_BF16 ? KILN_TYPE_F32 : 0) {
		for (i = 0; i < sizeof(products) / sizeof(*products); i++) {
			struct kiln_matmul mm = products[i].mm;

			mm.type = type;
			if (wanted(argc, argv, products[i].name))
				matmul(products[i].name, mm);
		}
		for (i = 0; i < sizeof(attentions) / sizeof(*attentions); i++) {
			struct kiln_attention at = attentions[i].at;

			at.type = type;
			if (wanted(argc, argv, attentions[i].name))
				attention(attentions[i].name, at);
		}
	}
	for (i = 0; i < 4; i++)
		tensor_free(&t[i]);
	close_card();
	return 0;
}
