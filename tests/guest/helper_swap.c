// SPDX-License-Identifier: MIT
/*
 * Host memory of buffers goes to swap when TTM is told to shrink, bound or not,
 * and comes back where it is needed. See tests/host/evict.sh.
 */
#include "_abi.h"

#define BYTES	(4 * MIB)

/* Swap one buffer out: pages, 0 if there is none left. */
static long shrink(void)
{
	FILE *f = fopen("/sys/kernel/debug/ttm/tt_shrink", "r");
	long pages = -1;

	if (!f || fscanf(f, "%ld", &pages) != 1)
		bail("/sys/kernel/debug/ttm/tt_shrink", errno);
	fclose(f);
	return pages;
}

int main(void)
{
	int fd = open_card(), bad, n;
	uint32_t vm = make_vm(fd), queue = make_queue(fd, vm, 64, 0), bo[3];
	struct drm_kiln_exec e = { .queue_id = queue, .flags = DRM_KILN_EXEC_NOP };
	uint64_t *p[3], i;
	long pages, all = 0;

	for (n = 0; n < 3; n++) {
		bo[n] = make_bo(fd, BYTES, DRM_KILN_BO_SYSTEM);
		p[n] = map_bo(fd, bo[n], BYTES);
		for (i = 0; i < BYTES / 8; i += 64)
			p[n][i] = i + n;
	}
	for (n = 0; n < 2; n++)
		is(bind_bo(fd, vm, bo[n], 0, VA_BASE + n * BYTES, BYTES), 0, "bind %d", n);
	e.signal_addr = VA_BASE + 8;
	e.signal_value = 5;
	is(run_one(fd, &e), 0, "the card writes");

	for (n = 0; n < 64 && (pages = shrink()) > 0; n++)
		all += pages;
	ok(all >= 3 * (long)(BYTES / PAGE), "%ld pages are swapped out", all);
	for (bad = 0, i = 0; i < BYTES / 8; i += 64)
		bad += p[2][i] != i + 2;
	is(bad, 0, "what is not bound comes back when the CPU looks");

	e.wait_addr = VA_BASE + BYTES + 512;
	e.wait_value = 65;
	e.signal_value = 6;
	is(run_one(fd, &e), 0, "what is bound comes back when the card is wanted");
	for (n = 0, bad = 0; n < 2; n++)
		for (i = 0; i < BYTES / 8; i += 64)
			bad += p[n][i] != i + n;
	is(bad, 0, "with all its content");
	is(p[0][1], 6, "and the card's");

	/* In the middle of work. */
	for (bad = 0, n = 1; n <= 10; n++) {
		e.wait_addr = VA_BASE + BYTES + 512;
		e.signal_addr = VA_BASE + 16;
		e.signal_value = n;
		while (shrink() > 0)
			;
		bad += run_one(fd, &e) != 0;
		bad += p[0][2] != (uint64_t)n;
	}
	is(bad, 0, "ten times, with a command each");
	return done_testing();
}
