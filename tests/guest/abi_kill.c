// SPDX-License-Identifier: MIT
/* A hundred processes die in the middle of their work: the card is idle afterwards, and all memory free. */
#include <liburing.h>
#include <signal.h>
#include <sys/wait.h>

#include "_abi.h"

/* Fill a queue by io_uring and another by ioctl; some commands run, some wait for ever. */
static void victim(int n)
{
	int fd = open_card(), i;
	uint32_t vm = make_vm(fd);
	uint32_t bo = make_bo(fd, 4 * MIB, n & 1 ? DRM_KILN_BO_HBM : DRM_KILN_BO_SYSTEM);
	uint32_t by_ring = make_queue(fd, vm, 64, 0), by_ioctl = make_queue(fd, vm, 64, 0);
	struct drm_kiln_exec e = { .flags = DRM_KILN_EXEC_NOP };
	struct io_uring ring;

	if (bind_bo(fd, vm, bo, 0, VA_BASE, 4 * MIB) ||
	    io_uring_queue_init(128, &ring, IORING_SETUP_SQE128 | IORING_SETUP_CQE32))
		exit(1);
	for (i = 0; ; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		e.wait_addr = i % 20 == 19 ? VA_BASE : 0;
		e.wait_value = e.wait_addr ? 1 : 0;
		e.queue_id = by_ioctl;
		submit(fd, &e, 1, NULL);
		if (!sqe) {
			io_uring_submit(&ring);
			if (i > 400)
				pause();
			continue;
		}
		e.queue_id = by_ring;
		memset(sqe, 0, 128);
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->fd = fd;
		sqe->cmd_op = DRM_KILN_URING_EXEC;
		memcpy(sqe->cmd, &e, sizeof(e));
		if (i % 8 == 7)
			io_uring_submit(&ring);
	}
}

/* Files are closed by kworkers, a little after the process is gone. */
static bool settles(const char *name)
{
	for (int i = 0; i < 1000; i++) {
		if (!debugfs_rows(name))
			return true;
		usleep(10000);
	}
	return false;
}

int main(void)
{
	int fd = open_card(), i, odd = 0;
	uint64_t used = card_info(fd).hbm_used_bytes;
	uint32_t vm, queue;

	for (i = 0; i < 100; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			close(fd);
			victim(i);
		}
		usleep(2000 + i % 10 * 4000);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		odd += !WIFSIGNALED(status);
	}
	is(odd, 0, "100 processes killed");
	ok(settles("queues"), "no queue is left");
	ok(settles("contexts"), "no context is left");
	is(card_info(fd).hbm_used_bytes, used, "HBM is as it was");
	vm = make_vm(fd);
	queue = make_queue(fd, vm, 64, 0);
	is(run_nop(fd, queue), 0, "the card works");
	close(fd);
	return done_testing();
}
