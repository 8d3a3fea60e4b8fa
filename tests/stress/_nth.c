// SPDX-License-Identifier: MIT
/*
 * Every allocation of every call fails, one after the other: the first, the second, ... until the call makes no more of them.
 * Each time it says so or does its work, nothing is left behind, and the next call is well. Wants a kernel with fail-nth.
 */
#include <liburing.h>

#include "_stress.h"
#include "guest/_abi.h"

#define LIMIT	400

static int fd, nth;
static uint32_t vm, queue, syncobj, bo;

/* What the call has made, for its undoing. */
static uint32_t made;
static void *mapped;

static int try_open(void)
{
	int card = open("/dev/accel/accel0", O_RDWR | O_CLOEXEC);

	made = card;
	return card < 0 ? -errno : 0;
}

static void undo_open(void)
{
	close(made);
}

static int try_query(void)
{
	struct drm_kiln_info info;
	struct drm_kiln_query args = { .size = sizeof(info), .pointer = (uintptr_t)&info };

	return ioctl(fd, DRM_IOCTL_KILN_QUERY, &args) ? -errno : 0;
}

static int create_bo(uint32_t flags, uint64_t bytes)
{
	struct drm_kiln_bo_create args = { .size = bytes, .flags = flags };
	int ret = ioctl(fd, DRM_IOCTL_KILN_BO_CREATE, &args) ? -errno : 0;

	made = args.handle;
	return ret;
}

static int try_bo_hbm(void)
{
	return create_bo(DRM_KILN_BO_HBM, MIB);
}

static int try_bo_system(void)
{
	return create_bo(DRM_KILN_BO_SYSTEM, MIB);
}

static void undo_bo(void)
{
	close_bo(fd, made);
}

static int try_bo_info(void)
{
	struct drm_kiln_bo_info args = { .handle = bo };

	return ioctl(fd, DRM_IOCTL_KILN_BO_INFO, &args) ? -errno : 0;
}

static int try_vm(void)
{
	struct drm_kiln_vm_create args = { 0 };
	int ret = ioctl(fd, DRM_IOCTL_KILN_VM_CREATE, &args) ? -errno : 0;

	made = args.id;
	return ret;
}

static void undo_vm(void)
{
	destroy_vm(fd, made);
}

static int change(uint32_t op, uint64_t va, uint64_t bytes)
{
	struct drm_kiln_vm_bind args = {
		.vm_id = vm, .op = op, .handle = op ? 0 : bo, .va = va, .size = bytes,
	};

	return ioctl(fd, DRM_IOCTL_KILN_VM_BIND, &args) ? -errno : 0;
}

/* Far away from all others: it takes tables of its own. */
static int try_bind(void)
{
	return change(DRM_KILN_VM_BIND_MAP, VA_BASE + (3ull << 40), MIB);
}

static void undo_bind(void)
{
	unbind(fd, vm, VA_BASE + (3ull << 40), MIB);
}

/* Out of the middle: two mappings are left of one. */
static int try_unbind(void)
{
	return change(DRM_KILN_VM_BIND_UNMAP, VA_BASE + MIB / 2, PAGE);
}

static void undo_unbind(void)
{
	bind_bo(fd, vm, bo, 0, VA_BASE, MIB);
}

static int try_fault(void)
{
	struct drm_kiln_vm_fault args = { .vm_id = vm };

	return ioctl(fd, DRM_IOCTL_KILN_VM_FAULT, &args) ? -errno : 0;
}

static int try_share(void)
{
	struct drm_kiln_vm_share args = { .vm_id = vm, .flags = DRM_KILN_SHARE_WEIGHT, .weight = 100 };

	return ioctl(fd, DRM_IOCTL_KILN_VM_SHARE, &args) ? -errno : 0;
}

static int try_queue(void)
{
	struct drm_kiln_queue_create args = { .vm_id = vm, .depth = 64 };
	int ret = ioctl(fd, DRM_IOCTL_KILN_QUEUE_CREATE, &args) ? -errno : 0;

	made = args.id;
	return ret;
}

static void undo_queue(void)
{
	destroy_queue(fd, made);
}

static int try_submit(void)
{
	struct drm_kiln_exec e = {
		.queue_id = queue, .flags = DRM_KILN_EXEC_NOP | DRM_KILN_EXEC_SYNCOBJ, .syncobj = syncobj,
	};
	struct drm_kiln_submit args = { .commands = (uintptr_t)&e, .count = 1, .stride = sizeof(e) };
	struct drm_kiln_wait wait = { .queue_id = queue, .count = 1, .timeout_ns = 20000000000ll };

	if (ioctl(fd, DRM_IOCTL_KILN_SUBMIT, &args))
		return -errno;
	wait.seqno = args.seqno;
	return ioctl(fd, DRM_IOCTL_KILN_WAIT, &wait) ? -errno : 0;
}

static int try_uring(void)
{
	struct drm_kiln_exec e = { .queue_id = queue, .flags = DRM_KILN_EXEC_NOP };
	struct __kernel_timespec limit = { .tv_sec = 20 };
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	int ret;

	ret = io_uring_queue_init(8, &ring, IORING_SETUP_SQE128 | IORING_SETUP_CQE32);
	if (ret)
		return ret;
	sqe = io_uring_get_sqe(&ring);
	if (!sqe)
		bail("no SQE", EBUSY);
	memset(sqe, 0, 128);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = DRM_KILN_URING_EXEC;
	memcpy(sqe->cmd, &e, sizeof(e));
	ret = io_uring_submit(&ring);
	if (ret == 1)
		ret = io_uring_wait_cqe_timeout(&ring, &cqe, &limit);
	if (!ret)
		ret = cqe->res;
	io_uring_queue_exit(&ring);
	return ret;
}

/* A page that the CPU has not seen yet. */
static int try_mmap(void)
{
	struct drm_kiln_bo_info info = { .handle = bo };
	int zero, ret;

	mapped = NULL;
	if (ioctl(fd, DRM_IOCTL_KILN_BO_INFO, &info))
		return -errno;
	mapped = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, info.mmap_offset);
	if (mapped == MAP_FAILED) {
		mapped = NULL;
		return -errno;
	}
	/* The kernel writes, so that there is no signal. */
	zero = open("/dev/zero", O_RDONLY);
	ret = zero < 0 ? -errno : read(zero, (uint8_t *)mapped + MIB / 2, 8) == 8 ? 0 : -errno;
	if (zero >= 0)
		close(zero);
	if (ret) {
		munmap(mapped, MIB);
		mapped = NULL;
	}
	return ret;
}

static void undo_mmap(void)
{
	munmap(mapped, MIB);
}

static int try_export(void)
{
	struct drm_prime_handle args = { .handle = bo, .flags = DRM_CLOEXEC };
	int ret = ioctl(fd, DRM_IOCTL_PRIME_HANDLE_TO_FD, &args) ? -errno : 0;

	made = args.fd;
	return ret;
}

static void undo_nothing(void)
{
}

static const struct {
	const char *name;
	int (*call)(void);
	void (*undo)(void);
} calls[] = {
	{ "open", try_open, undo_open },
	{ "QUERY", try_query, undo_nothing },
	{ "BO_CREATE in HBM", try_bo_hbm, undo_bo },
	{ "BO_CREATE in host memory", try_bo_system, undo_bo },
	{ "BO_INFO", try_bo_info, undo_nothing },
	{ "VM_CREATE", try_vm, undo_vm },
	{ "VM_BIND, map", try_bind, undo_bind },
	{ "VM_BIND, unmap", try_unbind, undo_unbind },
	{ "VM_FAULT", try_fault, undo_nothing },
	{ "VM_SHARE", try_share, undo_nothing },
	{ "QUEUE_CREATE", try_queue, undo_queue },
	{ "SUBMIT and WAIT", try_submit, undo_nothing },
	{ "uring_cmd", try_uring, undo_nothing },
	{ "mmap and a fault", try_mmap, undo_mmap },
	{ "PRIME export", try_export, undo_open },
};

static void set_nth(int n)
{
	char text[16];
	int bytes = snprintf(text, sizeof(text), "%d", n);

	/* Looking and setting are copies, which may be what fails: once. */
	if (pwrite(nth, text, bytes, 0) < 0 && pwrite(nth, text, bytes, 0) < 0)
		bail("fail-nth", errno);
}

/* Allocations that were to fail and have not been reached. */
static int left(void)
{
	char text[16] = "";

	return pread(nth, text, sizeof(text) - 1, 0) < 0 ? 1 : atoi(text);
}

int fail_each(void)
{
	int all = 0, bad = 0, watcher;
	uint64_t used;

	nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth < 0)
		return 0;
	watcher = open_card();
	used = card_info(watcher).hbm_used_bytes;
	for (unsigned int i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		int failed = 0, refused = 0, n, ret, reached;

		fd = open_card();
		vm = make_vm(fd);
		queue = make_queue(fd, vm, 64, 0);
		bo = make_bo(fd, MIB, DRM_KILN_BO_HBM);
		if (bind_bo(fd, vm, bo, 0, VA_BASE, MIB) || drmSyncobjCreate(fd, 0, &syncobj))
			bail("to begin with", errno);
		for (n = 1; n < LIMIT; n++) {
			set_nth(n);
			ret = calls[i].call();
			reached = !left();
			set_nth(0);
			if (!ret)
				calls[i].undo();
			if (!reached)
				break;
			failed++;
			refused += ret != 0;
			/* A copy from or to the caller counts as an allocation. */
			if (ret && ret != -ENOMEM && ret != -EFAULT && ret != -EAGAIN) {
				printf("# %s: allocation %d: %s\n", calls[i].name, n, strerror(-ret));
				bad++;
			}
		}
		if (ret) {
			printf("# %s: without a failure: %s\n", calls[i].name, strerror(-ret));
			bad++;
		}
		ret = run_nop(fd, queue);
		if (ret) {
			printf("# %s: a command afterwards: %s\n", calls[i].name, strerror(-ret));
			bad++;
		}
		/* What was made, but not told of for the copy failed, goes with the file; some by work queues. */
		close(fd);
		for (int ms = 0; card_info(watcher).hbm_used_bytes > used && ms < 5000; ms += 10)
			usleep(10000);
		if (card_info(watcher).hbm_used_bytes > used) {
			printf("# %s: HBM is lost: %llu bytes\n", calls[i].name,
			       (unsigned long long)(card_info(watcher).hbm_used_bytes - used));
			bad++;
		}
		printf("%-26s %4d allocations failed, %4d times it said so\n", calls[i].name, failed, refused);
		all += failed;
	}
	close(watcher);
	close(nth);
	return bad ? -1 : all;
}
