// SPDX-License-Identifier: MIT
/*
 * helper_unplugged [--reset]: works until the card goes away under it (-ENODEV
 * everywhere), or is reset (-EIO); abi_module.sh does that. Alone, it has
 * nothing to test.
 */
#include <liburing.h>

#include "_abi.h"

int main(int argc, char **argv)
{
	int expected = argc > 1 && !strcmp(argv[1], "--reset") ? -EIO : -ENODEV;
	struct drm_kiln_exec e = { .flags = DRM_KILN_EXEC_NOP };
	struct drm_kiln_result result = { 0 };
	uint32_t vm, by_ring, by_ioctl, bo, system;
	struct drm_kiln_query query = { 0 };
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int fd, i, ret, bad = 0;
	volatile uint64_t *p;
	uint64_t seqno = 0;

	if (isatty(1) || getppid() == 1 || !getenv("KILN_UNPLUG")) {
		printf("1..0 # SKIP abi_module.sh runs it\n");
		return 0;
	}
	fd = open_card();
	vm = make_vm(fd);
	by_ring = make_queue(fd, vm, 64, 0);
	by_ioctl = make_queue(fd, vm, 64, 0);
	system = make_bo(fd, 4 * MIB, DRM_KILN_BO_SYSTEM);
	memset(map_bo(fd, system, 4 * MIB), 1, 4 * MIB);
	bo = make_bo(fd, 4 * MIB, DRM_KILN_BO_HBM);
	p = map_bo(fd, bo, 4 * MIB);
	p[0] = 0;
	if (bind_bo(fd, vm, bo, 0, VA_BASE, 4 * MIB) ||
	    bind_bo(fd, vm, system, 0, VA_BASE + 16 * MIB, 4 * MIB) ||
	    io_uring_queue_init(128, &ring, IORING_SETUP_SQE128 | IORING_SETUP_CQE32))
		bail("set up", errno);
	e.wait_addr = VA_BASE;
	e.wait_value = 1;
	/* 64 that the card has, and 20 that wait for room. */
	for (i = 0; i < 84; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		e.queue_id = by_ring;
		memset(sqe, 0, 128);
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->fd = fd;
		sqe->cmd_op = DRM_KILN_URING_EXEC;
		memcpy(sqe->cmd, &e, sizeof(e));
	}
	io_uring_submit(&ring);
	e.queue_id = by_ioctl;
	is(submit(fd, &e, 1, &seqno), 1, "submit");
	printf("# working\n");
	fflush(stdout);

	for (i = 0; i < 84; i++) {
		struct __kernel_timespec ts = { .tv_sec = 30 };

		ret = io_uring_wait_cqe_timeout(&ring, &cqe, &ts);
		if (ret)
			break;
		bad += cqe->res != expected;
		io_uring_cqe_seen(&ring, cqe);
	}
	is(i, 84, "every command by io_uring ends");
	is(bad, 0, "in %s", strerror(-expected));
	ret = wait_results(fd, by_ioctl, seqno, 1, 10000000000ll, &result);
	ok(ret == -ENODEV || (!ret && result.res == expected), "so does the one by ioctl (%d, %d)", ret, result.res);
	is(submit(fd, &e, 1, NULL), expected, "another submission");
	is(bind_bo(fd, vm, bo, 0, VA_BASE, 4 * MIB), expected, "bind");
	is(call(fd, DRM_IOCTL_KILN_QUERY, &query), expected == -ENODEV ? -ENODEV : 0, "query");
	/* Memory of a card that is gone reads as something; nobody gets a signal. */
	(void)p[100];
	io_uring_queue_exit(&ring);
	close(fd);
	return done_testing();
}
