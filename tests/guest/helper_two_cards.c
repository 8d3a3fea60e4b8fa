// SPDX-License-Identifier: MIT
/*
 * A buffer of one card that another one works with, too: both see what the other writes, wait for each other, and go on
 * when it has been to swap. Then the other card loses its driver. See tests/host/cards_slow.sh; one card has nothing to test.
 */
#include "_abi.h"

#define BYTES	(4 * MIB)

static struct side {
	int fd;
	uint32_t vm, queue;
} a, b;

static struct side open_side(const char *path)
{
	struct side s = { .fd = open(path, O_RDWR | O_CLOEXEC) };

	if (s.fd < 0)
		bail(path, errno);
	s.vm = make_vm(s.fd);
	s.queue = make_queue(s.fd, s.vm, 16, 0);
	return s;
}

/* A command that waits for the u64 at VA_BASE + wait, and then writes the one at VA_BASE + signal. */
static struct drm_kiln_exec step(struct side *s, uint64_t wait, uint64_t value, uint64_t signal,
				 uint64_t new)
{
	return (struct drm_kiln_exec) {
		.queue_id = s->queue, .flags = DRM_KILN_EXEC_NOP,
		.wait_addr = VA_BASE + wait, .wait_value = value,
		.signal_addr = VA_BASE + signal, .signal_value = new,
	};
}

static int touch(struct side *s, uint64_t wait, uint64_t value, uint64_t signal, uint64_t new)
{
	struct drm_kiln_exec e = step(s, wait, value, signal, new);

	return run_one(s->fd, &e);
}

/* Have everything swapped out that can be. */
static void shrink(void)
{
	long pages = 1;

	for (int n = 0; n < 64 && pages > 0; n++) {
		FILE *f = fopen("/sys/kernel/debug/ttm/tt_shrink", "r");

		if (!f || fscanf(f, "%ld", &pages) != 1)
			bail("/sys/kernel/debug/ttm/tt_shrink", errno);
		fclose(f);
	}
}

/* @b waits for @a, who begins when the buffer has been away; its result, and its own value. */
static int in_step(bool swap, uint64_t value)
{
	struct drm_kiln_exec e = step(&b, 24, value, 32, value);
	struct drm_kiln_result result = { .res = 1 };
	uint64_t seqno = 0;
	int ret = submit(b.fd, &e, 1, &seqno);

	if (ret != 1)
		return ret;
	if (swap)
		shrink();
	ret = touch(&a, 0, 1, 24, value);
	if (!ret)
		ret = wait_results(b.fd, b.queue, seqno, 1, 20000000000ll, &result);
	return ret ? ret : result.res;
}

static void test_both(uint32_t flags, const char *name)
{
	uint32_t bo = make_bo(a.fd, BYTES, flags), theirs = 0;
	volatile uint64_t *p = map_bo(a.fd, bo, BYTES);
	struct drm_kiln_bo_info info = { .handle = bo };
	int buf = -1, bad = 0;

	p[0] = 1;
	p[BYTES / 8 - 1] = 77;
	is(bind_bo(a.fd, a.vm, bo, 0, VA_BASE, BYTES), 0, "%s: bound on one card", name);
	is(drmPrimeHandleToFD(a.fd, bo, DRM_CLOEXEC | DRM_RDWR, &buf), 0, "%s: exported", name);
	is(drmPrimeFDToHandle(b.fd, buf, &theirs), 0, "%s: imported by the other card", name);
	is(bind_bo(b.fd, b.vm, theirs, 0, VA_BASE, BYTES), 0, "%s: and bound there", name);
	call(a.fd, DRM_IOCTL_KILN_BO_INFO, &info);
	is(info.placement, DRM_KILN_BO_SYSTEM, "%s: it is where both reach it", name);
	is(touch(&a, 0, 1, 8, 2), 0, "%s: the one writes", name);
	is(touch(&b, 8, 2, 16, 3), 0, "%s: the other one sees it, and writes", name);
	is(touch(&a, 16, 3, 8, 4), 0, "%s: which the first one sees", name);
	is(p[1] + p[2], 7, "%s: and we do", name);
	is(in_step(false, 10), 0, "%s: one waits for the other", name);
	shrink();
	is(touch(&b, BYTES - 8, 77, 8, 5), 0, "%s: swapped out, it comes back when the other card wants it", name);
	is(touch(&a, 8, 5, 16, 6), 0, "%s: and the first one sees it there", name);
	is(p[2], 6, "%s: so do we", name);
	for (int i = 11; i <= 20; i++)
		bad += in_step(true, i) || p[4] != (uint64_t)i;
	is(bad, 0, "%s: ten times, while one waits for the other", name);
	is(unbind(b.fd, b.vm, VA_BASE, BYTES), 0, "%s: unbound there", name);
	close_bo(b.fd, theirs);
	is(unbind(a.fd, a.vm, VA_BASE, BYTES), 0, "%s: and here", name);
	is(bind_bo(a.fd, a.vm, bo, 0, VA_BASE, BYTES), 0, "%s: bound again", name);
	call(a.fd, DRM_IOCTL_KILN_BO_INFO, &info);
	is(info.placement, flags, "%s: it is at home again", name);
	is(touch(&a, 16, 6, 8, 7), 0, "%s: with its content", name);
	is(drmPrimeFDToHandle(b.fd, buf, &theirs), 0, "%s: imported again", name);
	is(bind_bo(b.fd, b.vm, theirs, 0, VA_BASE, BYTES), 0, "%s: and bound", name);
	is(touch(&b, 8, 7, 16, 8), 0, "%s: the other card sees it", name);
	close(buf);
}

int main(void)
{
	if (access("/dev/accel/accel1", F_OK)) {
		printf("1..0 # SKIP there is one card only\n");
		return 0;
	}
	a = open_side("/dev/accel/accel0");
	b = open_side("/dev/accel/accel1");
	test_both(DRM_KILN_BO_HBM, "HBM");
	close(b.fd);
	b = open_side("/dev/accel/accel1");
	is(unbind(a.fd, a.vm, VA_BASE, BYTES), 0, "unbound");
	test_both(DRM_KILN_BO_SYSTEM, "host memory");

	/* The driver leaves the other card, with a buffer imported and bound. */
	is(system("cd /sys/bus/pci/drivers/kiln && basename $(readlink -f /sys/class/accel/accel1/device) >/tmp/card && "
		  "cat /tmp/card >unbind"), 0, "the other card loses its driver");
	is(run_nop(b.fd, b.queue), -ENODEV, "its commands get -ENODEV");
	is(touch(&a, 16, 8, 8, 9), 0, "the first card goes on");
	shrink();
	is(touch(&a, 8, 9, 16, 10), 0, "swapped out and in again, too");
	close(b.fd);
	is(touch(&a, 16, 10, 8, 11), 0, "and when the other file is closed");
	is(system("cat /tmp/card >/sys/bus/pci/drivers/kiln/bind"), 0, "the other card has a driver again");
	b = open_side("/dev/accel/accel1");
	is(run_nop(b.fd, b.queue), 0, "and works");
	return done_testing();
}
