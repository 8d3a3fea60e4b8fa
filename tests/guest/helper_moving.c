// SPDX-License-Identifier: MIT
/*
 * helper_moving TURNS: multiplies matrices, always three at once, one of them
 * with its result in host memory, and says after each what became of it:
 *
 *	first SLOT HASH CYCLES		the first one of each
 *	turn N				one more that is equal to it
 *	wrong ...			it is not
 *	done
 *
 * Meanwhile others move the machine away under it; alone, it has nothing to test.
 */
#include <kiln_ops.h>

#include "sim/core_test.h"

#define SLOTS	3
#define MN	512
#define K	8192
#define BYTES	(MN * MN * 2)

static struct slot {
	struct kiln_buffer *c;
	struct kiln_result result;
	bool ended;
	uint64_t hash, cycles;
} slot[SLOTS];

static void ended(void *user, const struct kiln_result *result)
{
	struct slot *s = user;

	s->result = *result;
	s->ended = true;
}

static uint64_t hash(const uint64_t *p, size_t words)
{
	uint64_t h = 0xcbf29ce484222325;

	while (words--)
		h = (h ^ *p++) * 0x100000001b3;
	return h;
}

/* bf16 between 1 and 2, of both signs; rows differ, since their length is no multiple of the pattern's. */
static void fill(uint16_t *p, size_t count, uint32_t seed)
{
	uint16_t pattern[4099];

	for (int i = 0; i < 4099; i++) {
		seed = seed * 1664525 + 1013904223;
		pattern[i] = 0x3f80 | (seed >> 16 & 0x807f);
	}
	for (size_t i = 0; i < count; i += 4099)
		memcpy(p + i, pattern, (count - i < 4099 ? count - i : 4099) * 2);
}

static void start(struct kiln_ops *ops, struct slot *s, uint64_t a, uint64_t b)
{
	s->ended = false;
	memset(kiln_map(s->c), 0xff, BYTES);
	if (kiln_matmul(ops, &(struct kiln_matmul){ .type = KILN_TYPE_BF16, .m = MN, .n = MN, .k = K,
						    .a = a, .b = b, .c = kiln_addr(s->c) }, ended, s))
		bail("a matmul");
}

int main(int argc, char **argv)
{
	struct kiln_device *device = open_card();
	int turns = argc > 1 ? atoi(argv[1]) : 10;
	struct kiln_buffer *a, *b;
	struct kiln_queue *queue;
	struct kiln_ops *ops;

	if (kiln_queue_create(device, NULL, &queue) || kiln_ops_create(queue, &ops))
		bail("a queue");
	a = make_buffer(device, MN * K * 2, KILN_HBM);
	b = make_buffer(device, MN * K * 2, KILN_HBM);
	fill(kiln_map(a), MN * K, 1);
	fill(kiln_map(b), MN * K, 2);
	for (int i = 0; i < SLOTS; i++) {
		slot[i].c = make_buffer(device, BYTES, i == 1 ? KILN_HOST : KILN_HBM);
		start(ops, &slot[i], kiln_addr(a), kiln_addr(b));
	}
	setlinebuf(stdout);
	for (int turn = 0; turn < turns + SLOTS; turn++) {
		struct slot *s = &slot[turn % SLOTS];
		uint64_t h;

		while (!s->ended)
			if (kiln_wait(queue, 1, -1) < 0)
				bail("waiting");
		h = hash(kiln_map(s->c), BYTES / 8);
		if (turn < SLOTS) {
			s->hash = h;
			s->cycles = s->result.cycles;
			printf("first %d %016" PRIx64 " %" PRIu64 " res=%d\n", turn, h, s->cycles, s->result.res);
		} else if (s->result.res || h != s->hash || s->result.cycles != s->cycles) {
			printf("wrong turn %d: res=%d, bits %016" PRIx64 ", %" PRIu64 " cycles\n", turn - SLOTS + 1,
			       s->result.res, h, s->result.cycles);
			return 1;
		} else {
			printf("turn %d\n", turn - SLOTS + 1);
		}
		if (turn < turns)
			start(ops, s, kiln_addr(a), kiln_addr(b));
	}
	puts("done");
	return 0;
}
