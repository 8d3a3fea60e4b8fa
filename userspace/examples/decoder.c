// SPDX-License-Identifier: MIT
/*
 * The decoder of a llama-like model on libkiln's ops: decoder [CARD [TOKENS]].
 *
 * Its weights are random (seeded), so what it says means nothing, but it is the same on every
 * card. No token comes to the CPU before the end: topk writes it to where the next round's
 * gather reads it, and a queue runs its commands in order. From token to token only addresses
 * change, so the programs are made for the first one and kept.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <kiln_ops.h>

enum {
	DIM = 256, HEADS = 4, KV = 2, HEAD = 64, FFN = 512, LAYERS = 4, VOCAB = 512, CONTEXT = 64,
	BF16 = 2,	/* bytes */
};

struct layer {
	uint64_t norm1, q, k, v, o, norm2, gate_up, down, keys, values;
};

static struct kiln_ops *ops;
static struct kiln_buffer *memory;
static uint64_t used, cycles;

static void must(int err)
{
	if (!err)
		return;
	fprintf(stderr, "decoder: %s\n", kiln_last_error());
	exit(1);
}

static void done(void *user, const struct kiln_result *result)
{
	if (result->res)
		*(int *)user = result->res;
	cycles += result->cycles;
}

/* Zeroed memory of the card, and where the CPU sees it. */
static uint64_t place(size_t bytes)
{
	uint64_t at = used;

	used += (bytes + 63) / 64 * 64;
	must(used > kiln_bytes(memory) ? -1 : 0);
	return kiln_addr(memory) + at;
}

static void *at(uint64_t addr)
{
	return (char *)kiln_map(memory) + (addr - kiln_addr(memory));
}

/* n bf16 values of about size, around the middle. */
static uint64_t weights(size_t n, float size, float middle)
{
	static uint32_t seed = 1;
	uint64_t addr = place(n * BF16);
	uint16_t *to = at(addr);

	for (size_t i = 0; i < n; i++) {
		union { float f; uint32_t bits; } w;

		seed = seed * 1664525 + 1013904223;
		w.f = middle + size * ((int)(seed >> 8) - (1 << 23)) / (1 << 23);
		to[i] = w.bits >> 16;
	}
	return addr;
}

static void norm(uint64_t x, uint64_t weight, uint64_t y, int *err)
{
	must(kiln_rmsnorm(ops, &(struct kiln_norm){ .type = KILN_TYPE_BF16, .rows = 1, .width = DIM,
			  .eps = 1e-5f, .x = x, .y = y, .weight = weight }, done, err));
}

/* y = W x (+ residual), of n rows of k weights */
static void matmul(uint64_t w, uint64_t x, uint64_t y, unsigned int n, unsigned int k,
		   uint64_t residual, enum kiln_type type, int *err)
{
	must(kiln_matmul(ops, &(struct kiln_matmul){ .type = KILN_TYPE_BF16, .out_type = type,
			 .m = 1, .n = n, .k = k, .a = x, .b = w, .trans_b = true, .c = y,
			 .residual = residual }, done, err));
}

static void rope(uint64_t x, unsigned int heads, uint64_t cosines, uint64_t sines,
		 unsigned int token, int *err)
{
	unsigned int row = token * HEAD / 2 * sizeof(float);

	must(kiln_rope(ops, &(struct kiln_rope){ .type = KILN_TYPE_BF16, .tokens = 1,
		       .heads = heads, .dim = HEAD, .x = x, .y = x, .cos = cosines + row,
		       .sin = sines + row }, done, err));
}

/* [heads, rows, HEAD], rows being heads of a token apart */
static struct kiln_tensor tensor(uint64_t addr, unsigned int heads, unsigned int rows)
{
	return (struct kiln_tensor){ .type = KILN_TYPE_BF16, .dim = { 1, heads, rows, HEAD },
				     .stride = { 0, HEAD, heads * HEAD, 1 }, .addr = addr };
}

int main(int argc, char **argv)
{
	unsigned int tokens = argc > 2 ? atoi(argv[2]) : 16;
	struct kiln_device *card;
	struct kiln_queue *queue;
	struct layer layers[LAYERS];
	int err = 0;

	if (tokens < 1 || tokens > CONTEXT)
		return fprintf(stderr, "decoder: 1 to %d tokens\n", CONTEXT), 2;
	must(kiln_open(argc > 1 ? argv[1] : "drm", &card));
	must(kiln_queue_create(card, NULL, &queue));
	must(kiln_ops_create(queue, &ops));
	must(kiln_alloc(card, 16 << 20, KILN_HBM, 0, &memory));
	must(!kiln_map(memory));

	uint64_t table = weights(VOCAB * DIM, 1, 0), last = weights(DIM, 0.5, 1);
	uint64_t head = weights(VOCAB * DIM, 0.1f, 0);
	for (struct layer *l = layers; l < layers + LAYERS; l++) {
		l->norm1 = weights(DIM, 0.5, 1);
		l->q = weights(HEADS * HEAD * DIM, 0.1f, 0);
		l->k = weights(KV * HEAD * DIM, 0.1f, 0);
		l->v = weights(KV * HEAD * DIM, 0.1f, 0);
		l->o = weights(DIM * HEADS * HEAD, 0.1f, 0);
		l->norm2 = weights(DIM, 0.5, 1);
		l->gate_up = weights(2 * FFN * DIM, 0.1f, 0);
		l->down = weights(DIM * FFN, 0.1f, 0);
		l->keys = place(CONTEXT * KV * HEAD * BF16);
		l->values = place(CONTEXT * KV * HEAD * BF16);
	}

	uint64_t cosines = place(CONTEXT * HEAD / 2 * 4), sines = place(CONTEXT * HEAD / 2 * 4);
	uint64_t mask = place(CONTEXT * CONTEXT * 4), said = place((CONTEXT + 1) * 4);
	for (int t = 0; t < CONTEXT; t++) {
		for (int i = 0; i < HEAD / 2; i++) {
			((float *)at(cosines))[t * HEAD / 2 + i] = cos(t * pow(10000, -2.0 * i / HEAD));
			((float *)at(sines))[t * HEAD / 2 + i] = sin(t * pow(10000, -2.0 * i / HEAD));
		}
		for (int key = t + 1; key < CONTEXT; key++)
			((float *)at(mask))[t * CONTEXT + key] = -INFINITY;
	}
	((uint32_t *)at(said))[0] = 1;

	uint64_t x = place(DIM * BF16), n = place(DIM * BF16);
	uint64_t q = place(HEADS * HEAD * BF16), a = place(HEADS * HEAD * BF16);
	uint64_t gate_up = place(2 * FFN * BF16), h = place(FFN * BF16);
	uint64_t logits = place(VOCAB * 4), best = place(4);
	for (unsigned int t = 0; t < tokens; t++) {
		kiln_ops_hold(ops);
		must(kiln_gather(ops, &(struct kiln_gather){
			.type = KILN_TYPE_BF16, .rows = 1, .width = DIM, .table_rows = VOCAB,
			.table = table, .index = said + 4 * t, .out = x }, done, &err));
		for (struct layer *l = layers; l < layers + LAYERS; l++) {
			uint64_t key = l->keys + t * KV * HEAD * BF16, value = l->values + t * KV * HEAD * BF16;

			norm(x, l->norm1, n, &err);
			matmul(l->q, n, q, HEADS * HEAD, DIM, 0, 0, &err);
			matmul(l->k, n, key, KV * HEAD, DIM, 0, 0, &err);
			matmul(l->v, n, value, KV * HEAD, DIM, 0, 0, &err);
			rope(q, HEADS, cosines, sines, t, &err);
			rope(key, KV, cosines, sines, t, &err);
			must(kiln_attend(ops, &(struct kiln_attend){
				.q = tensor(q, HEADS, 1), .out = tensor(a, HEADS, 1),
				.k = tensor(l->keys, KV, CONTEXT), .v = tensor(l->values, KV, CONTEXT),
				.mask = { .type = KILN_TYPE_F32, .dim = { 1, 1, 1, CONTEXT },
					  .addr = mask + t * CONTEXT * 4 },
				.scale = 1 / sqrtf(HEAD) }, done, &err));
			matmul(l->o, a, x, DIM, HEADS * HEAD, x, 0, &err);
			norm(x, l->norm2, n, &err);
			matmul(l->gate_up, n, gate_up, 2 * FFN, DIM, 0, 0, &err);
			must(kiln_glu(ops, &(struct kiln_glu){
				.type = KILN_TYPE_BF16, .func = KILN_UNARY_SILU, .width = FFN,
				.gate = gate_up, .up = gate_up + FFN * BF16, .out = h }, done, &err));
			matmul(l->down, h, x, DIM, FFN, x, 0, &err);
		}
		norm(x, last, n, &err);
		matmul(head, n, logits, VOCAB, DIM, 0, KILN_TYPE_F32, &err);
		must(kiln_topk(ops, &(struct kiln_topk){
			.type = KILN_TYPE_F32, .rows = 1, .width = VOCAB, .k = 1, .x = logits,
			.values = best, .indices = said + 4 * (t + 1) }, done, &err));
		must(kiln_ops_flush(ops));
	}
	must(kiln_drain(queue));

	for (unsigned int t = 1; t <= tokens && !err; t++)
		printf("%u%c", ((uint32_t *)at(said))[t], t < tokens ? ' ' : '\n');
	if (err)
		fprintf(stderr, "decoder: a command failed with %d\n", err);
	else
		fprintf(stderr, "%.0f cycles a token\n", (double)cycles / tokens);
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	kiln_free(memory);
	kiln_close(card);
	return err != 0;
}
