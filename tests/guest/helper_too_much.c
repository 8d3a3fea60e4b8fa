// SPDX-License-Identifier: MIT
/* More than HBM, bound at once in one VM: refused, and nothing is lost. See tests/host/evict.sh. */
#include "_abi.h"

int main(void)
{
	int fd = open_card(), n, ret = 0;
	uint64_t total = card_info(fd).hbm_bytes, part = total / 8, *p[16];
	uint32_t vm = make_vm(fd), queue = make_queue(fd, vm, 64, 0), bo[16];
	struct drm_kiln_exec e = { .queue_id = queue, .flags = DRM_KILN_EXEC_NOP };

	for (n = 0; n < 16; n++) {
		bo[n] = make_bo(fd, part, DRM_KILN_BO_HBM);
		p[n] = map_bo(fd, bo[n], part);
		p[n][0] = 100 + n;
	}
	for (n = 0; n < 16 && !ret; n++)
		ret = bind_bo(fd, vm, bo[n], 0, VA_BASE + n * part, part);
	is(ret, -ENOMEM, "twice of HBM in one VM");
	ok(n == 8, "refused is the eighth of eight, page tables being there, too: %d", n);
	is(bind_bo(fd, vm, bo[0], 0, VA_BASE + 16 * part, part), 0, "one more mapping of what is bound costs nothing");
	is(unbind(fd, vm, VA_BASE + 16 * part, part), 0, "unmap it");
	for (n = 0; n < 7; n++) {
		e.wait_addr = VA_BASE + n * part;
		e.wait_value = 100 + n;
		e.signal_addr = VA_BASE + n * part + 8;
		e.signal_value = n;
		is(run_one(fd, &e), 0, "the card has the first ones, %d", n);
		is(p[n][1], n, "and writes there");
	}
	is(unbind(fd, vm, VA_BASE + 3 * part, part), 0, "unmap one");
	is(bind_bo(fd, vm, bo[15], 0, VA_BASE + 3 * part, part), 0, "now another one fits");
	e.wait_addr = VA_BASE + 3 * part;
	e.wait_value = 115;
	e.signal_addr = 0;
	e.signal_value = 0;
	is(run_one(fd, &e), 0, "and the card sees it");
	for (n = 0; n < 16; n++)
		ret |= p[n][0] != 100ull + n;
	is(ret & 1, 0, "all have their content");
	return done_testing();
}
