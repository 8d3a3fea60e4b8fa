// SPDX-License-Identifier: MIT
/* A card that carries time and computes nothing: the cycles of one that does both. */
#include "ops_test.h"

static struct {
	struct kiln_device *device;
	struct kiln_queue *queue;
	struct kiln_ops *ops;
	struct kiln_buffer *memory;
} cards[2];

static struct kiln_result result[2];

static void note(void *user, const struct kiln_result *r)
{
	*(struct kiln_result *)user = *r;
}

static void set_up(unsigned int i, const char *name)
{
	if (kiln_open(name, &cards[i].device) ||
	    kiln_queue_create(cards[i].device, NULL, &cards[i].queue) ||
	    kiln_ops_create(cards[i].queue, &cards[i].ops) ||
	    kiln_alloc(cards[i].device, 16 << 20, KILN_HBM, 0, &cards[i].memory))
		bail(name);
	/* Something that a product of it would change. */
	memset(kiln_map(cards[i].memory), 0x3f, 16 << 20);
}

static void compare(const char *what)
{
	for (unsigned int i = 0; i < 2; i++)
		if (kiln_drain(cards[i].queue))
			bail("drain");
	if (!ok(!result[0].res && !result[1].res && result[0].cycles &&
		result[0].cycles == result[1].cycles, "%s: as many cycles", what)) {
		printf("# expected %d, %llu cycles\n", result[0].res,
		       (unsigned long long)result[0].cycles);
		printf("# got %d, %llu cycles\n", result[1].res,
		       (unsigned long long)result[1].cycles);
	}
}

static void matmul(uint32_t m, uint32_t n, uint32_t k, enum kiln_type type, const char *what)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t at = kiln_addr(cards[i].memory);
		const struct kiln_matmul mm = { .type = type, .m = m, .n = n, .k = k, .a = at,
						.b = at + (4 << 20), .c = at + (8 << 20) };

		if (kiln_matmul(cards[i].ops, &mm, note, &result[i]))
			bail(what);
	}
	compare(what);
}

static void attention(uint32_t tokens, const char *what)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t at = kiln_addr(cards[i].memory);
		const struct kiln_attention a = {
			.type = KILN_TYPE_BF16, .heads = 4, .kv_heads = 2, .seq_q = tokens,
			.seq_kv = 512, .dim = 128, .causal = true, .q = at, .k = at + (4 << 20),
			.v = at + (6 << 20), .out = at + (8 << 20),
		};

		if (kiln_attention(cards[i].ops, &a, note, &result[i]))
			bail(what);
	}
	compare(what);
}

int main(void)
{
	static const char *const names[][2] = {
		{ "sim", "sim:time=only" },
		{ "sim:generation=trn1", "sim:generation=trn1,time=only" },
		{ "sim:generation=trn3", "sim:time=only,generation=trn3" },
	};
	struct kiln_device *device;

	for (unsigned int g = 0; g < 3; g++) {
		const uint8_t *out;
		bool same = true;

		set_up(0, names[g][0]);
		set_up(1, names[g][1]);
		matmul(512, 512, 512, KILN_TYPE_BF16, "bf16 512^3");
		matmul(129, 513, 257, KILN_TYPE_F32, "fp32 129x513x257");
		matmul(1, 1024, 1024, KILN_TYPE_BF16, "one row");
		attention(512, "attention");
		attention(1, "attention of one query");
		out = (uint8_t *)kiln_map(cards[1].memory) + (8 << 20);
		for (unsigned int i = 0; i < 512 * 512 * 2; i++)
			same &= out[i] == 0x3f;
		ok(same, "%s computes nothing", names[g][1]);
		for (unsigned int i = 0; i < 2; i++) {
			kiln_free(cards[i].memory);
			kiln_ops_destroy(cards[i].ops);
			kiln_queue_destroy(cards[i].queue);
			kiln_close(cards[i].device);
		}
	}
	ok(kiln_open("sim:time=never", &device) == -EINVAL && strstr(kiln_last_error(), "time=only"),
	   "time=never is refused, and what there is is said");
	return done_testing();
}
