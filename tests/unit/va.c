// SPDX-License-Identifier: MIT
/* The address allocator against a plain model: no overlap, alignment, and all of it comes back. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../userspace/src/va.c"

#define START	0x200000ull
#define END	(START + (64ull << 20))
#define LIVE	200

static int tests, failures;

static void ok(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++tests, what);
	failures += !good;
}

static uint64_t rng = 12345;

static uint64_t next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}

/* Free ranges in order, apart from each other, and as many bytes as it says. */
static bool consistent(const struct kiln_va *va)
{
	uint64_t last = 0, bytes = 0;

	for (const struct kiln_va_range *r = va->free; r; r = r->next) {
		if (r->start >= r->end || r->start < START || r->end > END ||
		    (last && r->start <= last))
			return false;
		last = r->end;
		bytes += r->end - r->start;
	}
	return bytes == va->free_bytes;
}

int main(void)
{
	static struct { uint64_t start, bytes; } live[LIVE];
	struct kiln_va va;
	uint64_t a, b;
	bool good = true, aligned = true, inside = true, apart = true;
	unsigned int refused = 0;

	ok(!kiln_va_init(&va, START, END), "made");
	ok(!kiln_va_alloc(&va, END - START, 4096, &a) && a == START, "all of it at once");
	ok(kiln_va_alloc(&va, 4096, 4096, &b) == -ENOMEM, "then nothing is left");
	kiln_va_free(&va, a, END - START);
	ok(va.free && !va.free->next && va.free->start == START && va.free->end == END,
	   "and it comes back whole");
	ok(kiln_va_alloc(&va, END - START + 1, 1, &a) == -ENOMEM, "more than there is");
	ok(kiln_va_alloc(&va, UINT64_MAX, 4096, &a) == -ENOMEM, "a size that would wrap");
	ok(kiln_va_alloc(&va, 4096, 1ull << 63, &a) == -ENOMEM, "an alignment that would wrap");

	for (int i = 0; i < 20000; i++) {
		unsigned int at = (unsigned int)(next() % LIVE);
		uint64_t align = 4096ull << next() % 10, bytes = 4096 * (1 + next() % 64);

		if (live[at].bytes) {
			kiln_va_free(&va, live[at].start, live[at].bytes);
			live[at].bytes = 0;
		} else if (kiln_va_alloc(&va, bytes, align, &a)) {
			refused++;
		} else {
			aligned &= !(a % align);
			inside &= a >= START && a + bytes <= END;
			for (int j = 0; j < LIVE; j++)
				apart &= !live[j].bytes || a + bytes <= live[j].start ||
					 live[j].start + live[j].bytes <= a;
			live[at].start = a;
			live[at].bytes = bytes;
		}
		good &= consistent(&va);
	}
	ok(aligned, "20000 random steps: aligned");
	ok(inside, "inside");
	ok(apart, "apart from each other");
	ok(good, "the list is in order, merged, and adds up");
	ok(refused < 2000, "and room is found");
	for (int i = 0; i < LIVE; i++)
		if (live[i].bytes)
			kiln_va_free(&va, live[i].start, live[i].bytes);
	ok(va.free && !va.free->next && va.free_bytes == END - START, "all freed, it is whole again");
	kiln_va_fini(&va);
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}
