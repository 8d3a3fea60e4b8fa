// SPDX-License-Identifier: MIT
/*
 * What nobody should do: everything twice, at the same time, too far, too
 * often, or with somebody else's descriptors. Each gets its errno, and the next
 * good call works.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "_abi.h"

static int fd;
static uint32_t vm, queue;

static int nop(int card, uint32_t q, uint64_t wait_addr, uint64_t wait_value, uint64_t signal_addr,
	       uint64_t signal_value)
{
	struct drm_kiln_exec e = {
		.queue_id = q, .flags = DRM_KILN_EXEC_NOP, .wait_addr = wait_addr,
		.wait_value = wait_value, .signal_addr = signal_addr, .signal_value = signal_value,
	};

	return run_one(card, &e);
}

/* ---------------------------------------------- two threads, the same thing -- */

static struct race {
	pthread_barrier_t barrier;
	int (*func)(uint32_t id);
	uint32_t id;
	int ret[2];
} race;

static void *racer(void *arg)
{
	int me = (int)(uintptr_t)arg;

	pthread_barrier_wait(&race.barrier);
	race.ret[me] = race.func(race.id);
	return NULL;
}

static void run_race(int (*func)(uint32_t id), uint32_t id)
{
	pthread_t thread[2];

	race.func = func;
	race.id = id;
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, racer, (void *)i);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
}

static int free_bo(uint32_t id)
{
	return close_bo(fd, id);
}

static int free_vm(uint32_t id)
{
	return destroy_vm(fd, id);
}

static int free_queue(uint32_t id)
{
	return destroy_queue(fd, id);
}

/* One of them is bound. */
static int free_or_bind(uint32_t id)
{
	static atomic_int turn;

	return turn++ % 2 ? close_bo(fd, id) : bind_bo(fd, vm, id, 0, VA_BASE, 16 * PAGE);
}

static void test_twice(void)
{
	int once[3] = { 0 }, other[3] = { 0 }, bad = 0;

	pthread_barrier_init(&race.barrier, NULL, 2);
	for (int n = 0; n < 30; n++) {
		uint32_t id[3] = { make_bo(fd, 16 * PAGE, n % 2 ? DRM_KILN_BO_HBM : DRM_KILN_BO_SYSTEM) };
		int (*const func[])(uint32_t) = { free_bo, free_vm, free_queue };
		const int error[] = { -EINVAL, -ENOENT, -ENOENT };

		if (n % 3)
			bad += bind_bo(fd, vm, id[0], 0, VA_BASE + n * MIB, 16 * PAGE) != 0;
		id[1] = make_vm(fd);
		id[2] = make_queue(fd, vm, 8, 0);
		for (int k = 0; k < 3; k++) {
			run_race(func[k], id[k]);
			once[k] += (race.ret[0] == 0) + (race.ret[1] == 0);
			other[k] += (race.ret[0] == error[k]) + (race.ret[1] == error[k]);
		}
	}
	is(bad, 0, "twice: binds");
	is(once[0], 30, "twice: of two frees of a buffer one works");
	is(other[0], 30, "twice: the other one gets EINVAL");
	is(once[1], 30, "twice: of two destructions of a VM one works");
	is(other[1], 30, "twice: the other one gets ENOENT");
	is(once[2], 30, "twice: of two destructions of a queue one works");
	is(other[2], 30, "twice: the other one gets ENOENT");

	for (int n = 0; n < 50; n++) {
		run_race(free_or_bind, make_bo(fd, 16 * PAGE, DRM_KILN_BO_HBM));
		for (int i = 0; i < 2; i++)
			bad += race.ret[i] && race.ret[i] != -ENOENT;
	}
	is(bad, 0, "twice: bound while it is freed: bound, or ENOENT");
	is(unbind(fd, vm, PAGE, (1ull << 48) - PAGE), 0, "twice: unmap all");
	is(nop(fd, queue, 0, 0, VA_BASE, 1), -EFAULT, "twice: nothing is left");
	is(nop(fd, queue, 0, 0, 0, 0), 0, "twice: the next command works");
}

/* ------------------------------------------------------------------ ranges -- */

static void test_ranges(void)
{
	uint32_t bo[3], other;
	uint64_t *p[3];
	int card = open_card();

	for (int i = 0; i < 3; i++) {
		bo[i] = make_bo(fd, 8 * MIB, i ? DRM_KILN_BO_HBM : DRM_KILN_BO_SYSTEM);
		p[i] = map_bo(fd, bo[i], 8 * MIB);
	}
	is(bind_bo(fd, vm, bo[0], 0, VA_BASE, 8 * MIB), 0, "ranges: one");
	is(bind_bo(fd, vm, bo[1], 0, VA_BASE + 5 * MIB + PAGE, 8 * MIB), 0, "ranges: another over its end");
	is(bind_bo(fd, vm, bo[2], MIB, VA_BASE + 4 * MIB, 2 * MIB), 0, "ranges: a third over the seam");
	is(nop(fd, queue, 0, 0, VA_BASE + 4 * MIB - 8, 1), 0, "ranges: before");
	is(nop(fd, queue, 0, 0, VA_BASE + 4 * MIB, 2), 0, "ranges: at the beginning");
	is(nop(fd, queue, 0, 0, VA_BASE + 6 * MIB - 8, 3), 0, "ranges: at the end");
	is(nop(fd, queue, 0, 0, VA_BASE + 6 * MIB, 4), 0, "ranges: behind");
	is(p[0][(4 * MIB - 8) / 8], 1, "ranges: the first one's");
	is(p[2][MIB / 8], 2, "ranges: the third one's");
	is(p[2][(3 * MIB - 8) / 8], 3, "ranges: still the third one's");
	is(p[1][(MIB - PAGE) / 8], 4, "ranges: the second one's");
	is(bind_bo(fd, vm, bo[0], 0, PAGE, (1ull << 48) - PAGE), -EINVAL, "ranges: all there is, of a small buffer");
	is(bind_bo(fd, vm, bo[0], 8 * MIB, VA_BASE, PAGE), -EINVAL, "ranges: what is behind a buffer");
	is(bind_bo(fd, vm, bo[0], 0, VA_BASE, ~0ull << 12), -EINVAL, "ranges: the largest size");
	is(bind_bo(fd, vm, bo[0], ~0ull << 12, VA_BASE, 2 * PAGE), -EINVAL, "ranges: the largest offset");
	is(unbind(fd, vm, VA_BASE, ~0ull << 12), -EINVAL, "ranges: unmap the largest size");
	is(bind_bo(card, make_vm(card), bo[0], 0, VA_BASE, PAGE), -ENOENT, "ranges: another file's buffer");
	other = make_bo(card, PAGE, DRM_KILN_BO_HBM);
	is(close_bo(card, other), 0, "ranges: free a buffer");
	is(bind_bo(card, make_vm(card), other, 0, VA_BASE, PAGE), -ENOENT, "ranges: and bind it");
	close(card);
	is(nop(fd, queue, 0, 0, VA_BASE + 4 * MIB, 5), 0, "ranges: all is as it was");
	is(p[2][MIB / 8], 5, "ranges: with its content");
	is(unbind(fd, vm, VA_BASE, 64 * MIB), 0, "ranges: unmap");
	for (int i = 0; i < 3; i++) {
		munmap(p[i], 8 * MIB);
		close_bo(fd, bo[i]);
	}
}

static int map_error(int card, uint64_t bytes, uint64_t offset)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, card, (off_t)offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, bytes);
	return 0;
}

static void test_mmap(void)
{
	struct drm_kiln_bo_info info = { .handle = make_bo(fd, 4 * PAGE, DRM_KILN_BO_HBM) };
	volatile uint64_t *p;
	void *q;

	is(call(fd, DRM_IOCTL_KILN_BO_INFO, &info), 0, "mmap: where");
	is(map_error(fd, 5 * PAGE, info.mmap_offset), -EINVAL, "mmap: a page more");
	is(map_error(fd, PAGE, info.mmap_offset + 4 * PAGE), -EINVAL, "mmap: the page behind");
	is(map_error(fd, 1ull << 40, info.mmap_offset), -EINVAL, "mmap: far more");
	is(map_error(fd, PAGE, 0), -EINVAL, "mmap: offset 0");
	is(map_error(fd, PAGE, 1ull << 60), -EINVAL, "mmap: an offset that is nobody's");
	is(map_error(fd, PAGE, info.mmap_offset), 0, "mmap: the first page only");
	p = map_bo(fd, info.handle, 4 * PAGE);
	q = mremap((void *)p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	ok(q == MAP_FAILED, "mmap: a mapping does not grow");
	p[0] = 1;
	is(close_bo(fd, info.handle), 0, "mmap: free the buffer");
	is(p[0], 1, "mmap: the mapping keeps it");
	is(map_error(fd, PAGE, info.mmap_offset), -EINVAL, "mmap: its offset is nobody's now");
	munmap((void *)p, 4 * PAGE);
}

/* ---------------------------------------------------- while commands wait -- */

static void *wait_for(void *arg)
{
	uint32_t *q = arg;
	struct drm_kiln_result result = { .res = 1 };
	int ret = wait_results(fd, q[0], q[1], 1, 15000000000ll, &result);

	return (void *)(intptr_t)(ret ? ret : result.res);
}

static void test_while_busy(void)
{
	uint32_t mine = make_vm(fd), bo = make_bo(fd, PAGE, DRM_KILN_BO_HBM), q[2];
	struct drm_kiln_exec e = {
		.flags = DRM_KILN_EXEC_NOP, .wait_addr = VA_BASE, .wait_value = 1,
	};
	uint64_t seqno, *p = map_bo(fd, bo, PAGE);
	pthread_t thread;
	void *ret;
	int bad = 0;

	is(bind_bo(fd, mine, bo, 0, VA_BASE, PAGE), 0, "busy: bind");
	q[0] = e.queue_id = make_queue(fd, mine, 8, 0);
	is(submit(fd, &e, 1, &seqno), 1, "busy: a command that waits");
	q[1] = (uint32_t)seqno;
	pthread_create(&thread, NULL, wait_for, q);
	is(destroy_vm(fd, mine), -EBUSY, "busy: destroy the VM below it");
	usleep(20000);
	is(destroy_queue(fd, q[0]), 0, "busy: destroy the queue");
	pthread_join(thread, &ret);
	ok((intptr_t)ret == -ECANCELED || (intptr_t)ret == -ENOENT, "busy: who waits, is told: %d", (int)(intptr_t)ret);
	is(submit(fd, &e, 1, &seqno), -ENOENT, "busy: there is no queue any more");

	/* Memory goes while commands use it. */
	q[0] = e.queue_id = make_queue(fd, mine, 64, 0);
	for (int n = 0; n < 20; n++) {
		struct drm_kiln_result results[32];
		struct drm_kiln_exec many[32];

		p[0] = 0;
		for (int i = 0; i < 32; i++)
			many[i] = (struct drm_kiln_exec) {
				.queue_id = q[0], .flags = DRM_KILN_EXEC_NOP,
				.signal_addr = VA_BASE, .signal_value = 1,
			};
		bad += submit(fd, many, 32, &seqno) != 32;
		bad += unbind(fd, mine, VA_BASE, PAGE) != 0;
		bad += wait_results(fd, q[0], seqno - 31, 32, 15000000000ll, results) != 0;
		for (int i = 0; i < 32; i++)
			bad += results[i].res && results[i].res != -EFAULT && results[i].res != -ECANCELED;
		bad += bind_bo(fd, mine, bo, 0, VA_BASE, PAGE) != 0;
	}
	is(bad, 0, "busy: unmapped while commands write there: done, EFAULT or ECANCELED");
	e.wait_addr = 0;
	e.wait_value = 0;
	is(run_one(fd, &e), 0, "busy: the next command works");
	is(destroy_queue(fd, q[0]), 0, "busy: destroy the queue");
	is(destroy_vm(fd, mine), 0, "busy: destroy the VM");
	munmap(p, PAGE);
	close_bo(fd, bo);
}

/* -------------------------------------------------------------- too many -- */

static void test_many(void)
{
	static uint32_t id[8192];
	struct drm_kiln_queue_create create = { .vm_id = vm, .depth = 8 };
	struct drm_kiln_vm_create one = { 0 };
	int n, vms, ret = 0, bad = 0;

	for (n = 0; n < 8192; n++) {
		create.id = 0;
		ret = call(fd, DRM_IOCTL_KILN_QUEUE_CREATE, &create);
		if (ret)
			break;
		id[n] = create.id;
	}
	is(ret, -ENOSPC, "many: queues have an end");
	ok(n > 2000, "many: after %d of them", n);
	for (int i = 0; i < n; i += 97)
		bad += nop(fd, id[i], 0, 0, 0, 0) != 0;
	is(bad, 0, "many: each works");
	is(nop(fd, queue, 0, 0, 0, 0), 0, "many: so does the one of before");
	for (int i = 0; i < n; i++)
		bad += destroy_queue(fd, id[i % 2 ? n - 1 - i / 2 : i / 2]) != 0;
	is(bad, 0, "many: destroy them, out of order");
	create.id = 0;
	is(call(fd, DRM_IOCTL_KILN_QUEUE_CREATE, &create), 0, "many: there is room again");
	is(destroy_queue(fd, create.id), 0, "many: destroy it");

	for (vms = 0; vms < 1024; vms++) {
		one.id = 0;
		ret = call(fd, DRM_IOCTL_KILN_VM_CREATE, &one);
		if (ret)
			break;
		id[vms] = one.id;
	}
	is(ret, -ENOSPC, "many: VMs have an end");
	ok(vms > 200, "many: after %d of them", vms);
	for (int i = 0; i < vms; i++)
		bad += destroy_vm(fd, id[i]) != 0;
	is(bad, 0, "many: destroy them");
}

/* ------------------------------------------------------ over a socket -- */

static int send_fds(int to, const int *fds, int count, const void *data, size_t bytes)
{
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
	struct iovec iov = { (void *)data, bytes };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	return sendmsg(to, &msg, 0) == (ssize_t)bytes ? 0 : -errno;
}

static int receive_fds(int from, int *fds, int count, void *data, size_t bytes)
{
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} u = { 0 };
	struct iovec iov = { data, bytes };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf,
		.msg_controllen = sizeof(u.buf),
	};

	if (recvmsg(from, &msg, 0) != (ssize_t)bytes || !CMSG_FIRSTHDR(&msg))
		return -EIO;
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), count * sizeof(int));
	return 0;
}

struct parcel {
	uint32_t vm, queue, bo;
};

/* Makes all that a tenant has, sends it away, and dies. */
static int sender(int to)
{
	int card = open_card(), fds[2] = { card, -1 };
	struct parcel parcel = { .vm = make_vm(card), .bo = make_bo(card, MIB, DRM_KILN_BO_HBM) };
	struct drm_kiln_exec wait = {
		.flags = DRM_KILN_EXEC_NOP, .wait_addr = VA_BASE + 64, .wait_value = 1,
	};
	uint64_t *p = map_bo(card, parcel.bo, MIB), seqno;

	p[0] = 77;
	wait.queue_id = parcel.queue = make_queue(card, parcel.vm, 16, 0);
	if (bind_bo(card, parcel.vm, parcel.bo, 0, VA_BASE, MIB) ||
	    drmPrimeHandleToFD(card, parcel.bo, DRM_CLOEXEC | DRM_RDWR, &fds[1]) ||
	    submit(card, &wait, 1, &seqno) != 1)
		return 1;
	return send_fds(to, fds, 2, &parcel, sizeof(parcel)) ? 2 : 0;
}

static void test_socket(void)
{
	struct drm_kiln_result result = { .res = 1 };
	int pair[2], fds[2] = { -1, -1 }, status = -1;
	struct parcel parcel;
	uint32_t mine = 0;
	uint64_t *p;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		bail("socketpair", errno);
	pid = fork();
	if (!pid)
		_exit(sender(pair[1]));
	is(receive_fds(pair[0], fds, 2, &parcel, sizeof(parcel)), 0, "socket: a card's descriptor, and a dma-buf's");
	waitpid(pid, &status, 0);
	is(status, 0, "socket: the sender is dead");
	is(drmPrimeFDToHandle(fd, fds[1], &mine), 0, "socket: import its buffer");
	p = map_bo(fd, mine, MIB);
	p[8] = 1;
	is(nop(fds[0], parcel.queue, 0, 0, 0, 0), 0, "socket: its queue works, behind the command that waits");
	is(p[0], 77, "socket: with its content");
	is(bind_bo(fd, vm, mine, 0, VA_BASE, MIB), 0, "socket: bind it");
	is(nop(fd, queue, VA_BASE, 77, VA_BASE + 8, 78), 0, "socket: the card sees it");
	is(p[1], 78, "socket: and writes");
	is(wait_results(fds[0], parcel.queue, 1, 1, 15000000000ll, &result), 0, "socket: the sender's command");
	is(result.res, 0, "socket: ends well");
	is(close(fds[0]), 0, "socket: close its card");
	is(p[1], 78, "socket: its buffer stays");
	is(nop(fd, queue, VA_BASE, 77, VA_BASE + 8, 79), 0, "socket: for the card, too");
	is(unbind(fd, vm, VA_BASE, MIB), 0, "socket: unmap");
	munmap(p, MIB);
	close_bo(fd, mine);
	close(fds[1]);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	uint64_t used;

	fd = open_card();
	vm = make_vm(fd);
	queue = make_queue(fd, vm, 16, 0);
	used = card_info(fd).hbm_used_bytes;
	test_twice();
	test_ranges();
	test_mmap();
	test_while_busy();
	test_many();
	test_socket();
	is(destroy_queue(fd, queue), 0, "destroy the queue");
	is(destroy_vm(fd, vm), 0, "destroy the VM");
	ok(card_info(fd).hbm_used_bytes <= used, "HBM is as it was");
	close(fd);
	return done_testing();
}
