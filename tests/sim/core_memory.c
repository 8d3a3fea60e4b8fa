// SPDX-License-Identifier: MIT
/* Buffers: addresses, zeroes, both placements, what freeing gives back. */
#include "core_test.h"

static bool zeroes(const void *memory, uint64_t bytes)
{
	const uint8_t *p = memory;

	for (uint64_t i = 0; i < bytes; i++)
		if (p[i])
			return false;
	return true;
}

static uint64_t used(struct kiln_device *device)
{
	struct kiln_info info;

	if (kiln_get_info(device, &info))
		bail("no info");
	return info.hbm_used_bytes;
}

static void one(struct kiln_device *device, enum kiln_placement placement, const char *name)
{
	struct kiln_buffer *small, *large;
	char text[64];
	uint8_t *p;

	is(kiln_alloc(device, 1, placement, 0, &small), 0, name);
	is((long long)kiln_bytes(small), 4096, "1 byte is rounded up to a page");
	is((long long)(kiln_addr(small) % 4096), 0, "its address is page-aligned");
	is(kiln_alloc(device, (5 << 20) + 1, placement, 0, &large), 0, "5 MiB and a byte");
	is((long long)kiln_bytes(large), (5 << 20) + 4096, "rounded up to pages");
	is((long long)(kiln_addr(large) % (2 << 20)), 0, "its address is 2 MiB-aligned");
	ok(kiln_addr(small) + kiln_bytes(small) <= kiln_addr(large) ||
	   kiln_addr(large) + kiln_bytes(large) <= kiln_addr(small), "they do not overlap");

	p = kiln_map(large);
	if (!ok(p != NULL, "it can be mapped")) {
		printf("# got %s\n", kiln_last_error());
		return;
	}
	ok(kiln_map(large) == p, "mapping it again gives the same pointer");
	ok(zeroes(p, kiln_bytes(large)), "it is zero");
	memset(p, 0xa5, kiln_bytes(large));
	ok(p[0] == 0xa5 && p[kiln_bytes(large) - 1] == 0xa5, "it holds what is written");
	kiln_free(large);

	/* What somebody else left behind must not be seen. */
	if (kiln_alloc(device, (5 << 20) + 1, placement, 0, &large))
		bail("allocate again");
	p = kiln_map(large);
	snprintf(text, sizeof(text), "memory that is used again is zero (%s)", name);
	ok(p && zeroes(p, kiln_bytes(large)), "%s", text);
	kiln_free(large);
	kiln_free(small);
}

static void many(struct kiln_device *device)
{
	static struct kiln_buffer *b[200];
	uint64_t before = used(device), between = 0;
	bool good = true;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 200; i++)
			good &= !kiln_alloc(device, (uint64_t)(i % 7 + 1) * 3000 * (uint64_t)(i % 5 + 1),
					    i % 3 ? KILN_HBM : KILN_HOST, 0, &b[i]);
		for (int i = 0; i < 200; i += 2)
			kiln_free(b[i]);
		for (int i = 0; i < 200; i += 2)
			good &= !kiln_alloc(device, 70000, KILN_HBM, 0, &b[i]);
		for (int i = 0; i < 200; i++)
			kiln_free(b[i]);
		if (!round)
			between = used(device);
	}
	ok(good, "900 buffers come and go");
	/* Page tables may stay, but not grow. */
	is((long long)used(device), (long long)between, "and leave nothing behind");
	ok(between - before <= 64 << 10, "but page tables");
	if (between - before > 64 << 10)
		printf("# expected at most 65536 bytes\n# got %" PRIu64 "\n", between - before);
}

static void exhaust(struct kiln_device *device)
{
	struct kiln_buffer *b[64], *more;
	struct kiln_info info;
	int n = 0, err = 0;

	kiln_get_info(device, &info);
	/* Eighths: with the page tables' part gone, seven of them fit. */
	while (n < 64 && !(err = kiln_alloc(device, info.hbm_bytes / 8, KILN_HBM, 0, &b[n])))
		n++;
	is(err, -ENOMEM, "more HBM than there is: -ENOMEM");
	is(n, 7, "seven eighths of it could be had");
	ok(strstr(kiln_last_error(), "HBM") != NULL, "the message says what was missing");
	while (n)
		kiln_free(b[--n]);
	is(kiln_alloc(device, info.hbm_bytes / 2, KILN_HBM, 0, &more), 0, "afterwards half of it");
	kiln_free(more);
}

int main(void)
{
	struct kiln_device *device = open_card();

	one(device, KILN_HBM, "a byte of HBM");
	one(device, KILN_HOST, "a byte of host memory");
	many(device);
	if (simulated())
		exhaust(device);
	kiln_free(NULL);
	kiln_close(device);
	return done_testing();
}
