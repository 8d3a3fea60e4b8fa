// SPDX-License-Identifier: MIT
/* Submission by io_uring: results, every wrong field, cancellation, and the ways in which a ring can end. */
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "_abi.h"

#define RING_FLAGS	(IORING_SETUP_SQE128 | IORING_SETUP_CQE32)

static int fd;
static uint32_t vm, queue, bo;
static volatile uint64_t *memory;

static void make_ring(struct io_uring *ring, unsigned int entries, unsigned int flags)
{
	int ret = io_uring_queue_init(entries, ring, flags);

	if (ret)
		bail("io_uring", -ret);
}

static struct drm_kiln_exec nop(void)
{
	return (struct drm_kiln_exec) { .queue_id = queue, .flags = DRM_KILN_EXEC_NOP };
}

/* A command that starts when memory[0] reaches value. */
static struct drm_kiln_exec waiter(uint64_t value)
{
	struct drm_kiln_exec e = nop();

	e.wait_addr = VA_BASE;
	e.wait_value = value;
	return e;
}

static struct io_uring_sqe *prepare(struct io_uring *ring, const struct drm_kiln_exec *e, uint64_t data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		bail("no SQE", EBUSY);
	memset(sqe, 0, ring->flags & IORING_SETUP_SQE128 ? 128 : 64);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = DRM_KILN_URING_EXEC;
	sqe->user_data = data;
	memcpy(sqe->cmd, e, ring->flags & IORING_SETUP_SQE128 ? sizeof(*e) : 16);
	return sqe;
}

/* The next completion's res; *data: whose. -ETIME if none comes. */
static int reap(struct io_uring *ring, double seconds, uint64_t *data, uint64_t *extra)
{
	struct __kernel_timespec ts = { .tv_sec = seconds, .tv_nsec = (seconds - (int)seconds) * 1e9 };
	struct io_uring_cqe *cqe;
	int ret;

	ret = io_uring_wait_cqe_timeout(ring, &cqe, &ts);
	if (ret)
		return ret == -ETIME ? -ETIME : -1000;
	ret = cqe->res;
	if (data)
		*data = cqe->user_data;
	if (extra)
		*extra = cqe->big_cqe[0];
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

static int run(struct io_uring *ring, const struct drm_kiln_exec *e)
{
	prepare(ring, e, 1);
	io_uring_submit(ring);
	return reap(ring, 20, NULL, NULL);
}

/* Have another queue write memory[0], so that the card looks. */
static void signal_value(uint64_t value)
{
	uint32_t other = make_queue(fd, vm, 8, 0);
	struct drm_kiln_exec e = {
		.queue_id = other, .flags = DRM_KILN_EXEC_NOP, .signal_addr = VA_BASE, .signal_value = value,
	};

	if (run_one(fd, &e))
		ok(false, "signal %llu", (unsigned long long)value);
	destroy_queue(fd, other);
}

static void test_basic(unsigned int flags, const char *name)
{
	struct io_uring ring;
	struct drm_kiln_exec e = nop();
	int bad = 0, i, n;

	make_ring(&ring, 64, RING_FLAGS | flags);
	is(run(&ring, &e), 0, "%s: a nop", name);
	for (i = 0; i < 64; i++) {
		e.signal_addr = VA_BASE + 8 * i;
		e.signal_value = 100 + i;
		prepare(&ring, &e, i);
	}
	n = io_uring_submit(&ring);
	is(n, 64, "%s: 64 nops at once", name);
	for (i = 0; i < 64; i++) {
		uint64_t data = 0;

		bad += reap(&ring, 20, &data, NULL) != 0;
	}
	is(bad, 0, "%s: each has succeeded", name);
	for (i = 0, bad = 0; i < 64; i++)
		bad += memory[i] != 100u + i;
	is(bad, 0, "%s: each has signalled", name);
	io_uring_queue_exit(&ring);
}

static void test_fields(void)
{
	struct drm_kiln_exec e;
	static char buffer[4096];
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	uint64_t extra = 1;

	make_ring(&ring, 16, RING_FLAGS);
#define REFUSED(error, what, ...) do { \
		e = nop(); \
		__VA_ARGS__; \
		is(run(&ring, &e), error, "uring: %s", what); \
	} while (0)
	REFUSED(-ENOENT, "queue_id", e.queue_id = 999);
	REFUSED(-EINVAL, "unknown flag", e.flags |= 4);
	REFUSED(-EINVAL, "nop with program", e.program = VA_BASE);
	REFUSED(-EINVAL, "program unaligned", e.flags = 0, e.program = VA_BASE + 8, e.program_bytes = 64);
	REFUSED(-EINVAL, "program_bytes", e.flags = 0, e.program = VA_BASE, e.program_bytes = 8);
	REFUSED(-EINVAL, "args", e.flags = 0, e.program = VA_BASE, e.program_bytes = 64,
		e.args = VA_BASE + 4, e.args_bytes = 8);
	REFUSED(-EINVAL, "wait_addr", e.wait_addr = 4);
	REFUSED(-EINVAL, "wait_value", e.wait_value = 4);
	REFUSED(-EINVAL, "signal_addr", e.signal_addr = 12);
	REFUSED(-EINVAL, "signal_value", e.signal_value = 12);
	REFUSED(-EINVAL, "syncobj without flag", e.syncobj = 1);
	REFUSED(-ENOENT, "syncobj", e.flags |= DRM_KILN_EXEC_SYNCOBJ, e.syncobj = 999);
	REFUSED(-EINVAL, "pad", e.pad = 1);
	REFUSED(-EINVAL, "reserved", e.reserved = 1);
	REFUSED(-EFAULT, "a program that is not mapped", e.flags = 0, e.program = VA_BASE + 64 * MIB,
		e.program_bytes = 64);
	REFUSED(-ENOEXEC, "a program of zeroes", memset((void *)(memory + 1024), 0, 64), e.flags = 0,
		e.program = VA_BASE + 8192, e.program_bytes = 64);
	REFUSED(0, "a good one", (void)0);
#undef REFUSED

	e = nop();
	sqe = prepare(&ring, &e, 1);
	sqe->cmd_op = 0x4b03;
	io_uring_submit(&ring);
	is(reap(&ring, 5, NULL, NULL), -EINVAL, "uring: cmd_op");
	io_uring_register_buffers(&ring, &(struct iovec) { .iov_base = buffer, .iov_len = 4096 }, 1);
	sqe = prepare(&ring, &e, 1);
	sqe->uring_cmd_flags = 1;
	io_uring_submit(&ring);
	is(reap(&ring, 5, NULL, NULL), -EINVAL, "uring: registered buffer");
	sqe = prepare(&ring, &e, 1);
	sqe->uring_cmd_flags = 1u << 20;
	io_uring_submit(&ring);
	is(reap(&ring, 5, NULL, NULL), -EINVAL, "uring: unknown uring_cmd_flags");
	prepare(&ring, &e, 1);
	io_uring_submit(&ring);
	is(reap(&ring, 5, NULL, &extra), 0, "uring: a good one");
	ok(extra < 1000000000, "uring: extra1 is a time");
	io_uring_queue_exit(&ring);

	make_ring(&ring, 16, IORING_SETUP_CQE32);
	is(run(&ring, &e), -EINVAL, "uring: SQE without SQE128");
	io_uring_queue_exit(&ring);
	make_ring(&ring, 16, IORING_SETUP_SQE128);
	is(run(&ring, &e), 0, "uring: without CQE32, there is no time but a result");
	io_uring_queue_exit(&ring);
	is(run_nop(fd, queue), 0, "uring: the next good command works");
}

/*
 * IOPOLL: nobody interrupts, and a polled command cannot be marked cancelable.
 * (With the mark, Linux 6.12 loses its list of such commands: the next ring
 * that is closed crashes it.)
 */
static void test_polled(void)
{
	struct io_uring polled, ring;
	struct drm_kiln_exec e = nop();
	struct io_uring_cqe *cqe;
	uint64_t data = 0;
	int good = 0;

	make_ring(&polled, 64, RING_FLAGS | IORING_SETUP_IOPOLL);
	make_ring(&ring, 64, RING_FLAGS);
	for (int i = 0; i < 200; i++) {
		/* One that needs an interrupt after one that does not, on the same queue. */
		prepare(&polled, &e, i);
		io_uring_submit(&polled);
		if (i % 2) {
			prepare(&ring, &e, i);
			io_uring_submit(&ring);
			good += !reap(&ring, 5, &data, NULL) && data == (uint64_t)i;
		}
		/* The kernel may come back early, with other things to do. */
		if (io_uring_wait_cqe(&polled, &cqe))
			break;
		good += !cqe->res && cqe->user_data == (uint64_t)i;
		io_uring_cqe_seen(&polled, cqe);
	}
	is(good, 300, "polled: 200 polled nops and 100 others take turns");

	memory[0] = 0;
	e = waiter(1);
	prepare(&polled, &e, 1);
	io_uring_submit(&polled);
	/* From another queue, which goes on while this one waits. */
	signal_value(1);
	is(io_uring_wait_cqe(&polled, &cqe) ?: cqe->res, 0, "polled: the one that waited");
	io_uring_cq_advance(&polled, 1);

	/* Closed while one is in flight: the kernel polls for it. */
	memory[0] = 0;
	prepare(&polled, &e, 1);
	io_uring_submit(&polled);
	io_uring_queue_exit(&polled);
	signal_value(1);
	e = nop();
	is(run(&ring, &e), 0, "polled: after a ring that was closed in flight");
	io_uring_queue_exit(&ring);
}

static int take_back(struct io_uring *ring, uint32_t id, uint32_t pad, uint64_t data)
{
	struct drm_kiln_exec none = { 0 };
	struct io_uring_sqe *sqe = prepare(ring, &none, 1000);

	sqe->cmd_op = DRM_KILN_URING_CANCEL;
	*(struct drm_kiln_uring_cancel *)sqe->cmd = (struct drm_kiln_uring_cancel) {
		.queue_id = id, .pad = pad, .user_data = data,
	};
	return io_uring_submit(ring);
}

/* Results by user_data of count completions; 1000 is the answer of take_back(). */
static void collect(struct io_uring *ring, int count, int *res, int *answer)
{
	while (count--) {
		uint64_t data = 0;
		int r = reap(ring, 20, &data, NULL);

		if (data == 1000)
			*answer = r;
		else
			res[data & 7] = r;
	}
}

static void test_take_back(void)
{
	int res[8] = { 1, 1, 1, 1, 1, 1, 1, 1 }, answer = 1;
	struct drm_kiln_exec e = waiter(1000);
	struct io_uring ring, other;

	memory[0] = 0;
	make_ring(&ring, 16, RING_FLAGS);
	make_ring(&other, 16, RING_FLAGS | IORING_SETUP_IOPOLL);
	for (int i = 0; i < 4; i++)
		prepare(&ring, &e, i < 3 ? i : 1);
	io_uring_submit(&ring);
	take_back(&ring, queue, 0, 7);
	collect(&ring, 1, res, &answer);
	is(answer, -ENOENT, "take back: no such user_data");
	take_back(&ring, 999, 0, 1);
	collect(&ring, 1, res, &answer);
	is(answer, -ENOENT, "take back: no such queue");
	take_back(&ring, queue, 5, 1);
	collect(&ring, 1, res, &answer);
	is(answer, -EINVAL, "take back: pad");
	take_back(&other, queue, 0, 1);
	collect(&other, 1, res, &answer);
	is(answer, -EOPNOTSUPP, "take back: from a ring with IOPOLL");
	io_uring_queue_exit(&other);
	make_ring(&other, 16, IORING_SETUP_CQE32);
	take_back(&other, queue, 0, 1);
	collect(&other, 1, res, &answer);
	is(answer, -ENOENT, "take back: nothing of another ring, which has small SQEs");
	io_uring_queue_exit(&other);
	is(res[0] + res[1] + res[2], 3, "take back: nothing has ended by all that");

	take_back(&ring, queue, 0, 1);
	collect(&ring, 3, res, &answer);
	is(answer, 0, "take back: two with this user_data");
	is(res[1], -ECANCELED, "take back: they end");
	is(res[0] + res[2], 2, "take back: the others do not");
	take_back(&ring, queue, 0, 0);
	collect(&ring, 2, res, &answer);
	is(res[0], -ECANCELED, "take back: the one that is first in the queue");
	signal_value(1000);
	collect(&ring, 1, res, &answer);
	is(res[2], 0, "take back: what is left goes on");
	is(reap(&ring, 0.05, NULL, NULL), -ETIME, "take back: no completion twice");
	take_back(&ring, queue, 0, 2);
	collect(&ring, 1, res, &answer);
	is(answer, -ENOENT, "take back: it has ended");
	io_uring_queue_exit(&ring);
}

static void test_cancel(void)
{
	struct drm_kiln_exec e = waiter(1000);
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	int res[3] = { 1, 1, 1 }, i;
	uint64_t data;

	memory[0] = 0;
	make_ring(&ring, 16, RING_FLAGS);
	prepare(&ring, &e, 0);
	prepare(&ring, &e, 1);
	io_uring_submit(&ring);
	is(reap(&ring, 0.05, NULL, NULL), -ETIME, "cancel: two commands wait");
	sqe = prepare(&ring, &e, 2);
	memset(sqe, 0, 128);
	io_uring_prep_cancel64(sqe, 1, 0);
	io_uring_sqe_set_data64(sqe, 2);
	io_uring_submit(&ring);
	/* io_uring cancels commands in flight only as a whole ring, or by their task: the answer says so. */
	i = reap(&ring, 5, &data, NULL);
	if (data == 2 && (i == -EALREADY || i == -ENOENT)) {
		ok(true, "cancel: one of them: not by io_uring (%d)", i);
		signal_value(1000);
		for (i = 0; i < 2; i++) {
			int r = reap(&ring, 20, &data, NULL);

			if (data < 2)
				res[data] = r;
		}
		is(res[0], 0, "cancel: they go on");
		is(res[1], 0, "cancel: both");
	} else {
		if (data < 3)
			res[data] = i;
		i = reap(&ring, 5, &data, NULL);
		if (data < 3)
			res[data] = i;
		is(res[1], -ECANCELED, "cancel: the second one");
		signal_value(1000);
		is(reap(&ring, 20, NULL, NULL), 0, "cancel: the first one runs");
	}

	/* A ring that goes takes its commands along, and the card forgets them. */
	memory[0] = 0;
	for (i = 0; i < 10; i++)
		prepare(&ring, &e, i);
	io_uring_submit(&ring);
	io_uring_queue_exit(&ring);
	for (i = 0; i < 200 && run_nop(fd, queue); i++)
		usleep(10000);
	is(run_nop(fd, queue), 0, "cancel: the queue is free when the ring is gone");
	is(memory[0], 0, "cancel: although nobody has signalled");
}

static void test_full(unsigned int flags, const char *name)
{
	struct drm_kiln_exec e = waiter(1);
	struct io_uring ring;
	uint32_t saved = queue;
	int i, bad = 0;

	memory[0] = 0;
	queue = e.queue_id = make_queue(fd, vm, 8, 0);
	make_ring(&ring, 64, RING_FLAGS | flags);
	for (i = 0; i < 40; i++)
		prepare(&ring, &e, i);
	is(io_uring_submit(&ring), 40, "%s: 40 commands into a queue of 8", name);
	is(reap(&ring, 0.1, NULL, NULL), -ETIME, "%s: none fails, none ends", name);
	signal_value(1);
	for (i = 0; i < 40; i++)
		bad += reap(&ring, 20, NULL, NULL) != 0;
	is(bad, 0, "%s: then all of them succeed", name);

	/* Again, and away while some wait for room. */
	memory[0] = 0;
	for (i = 0; i < 40; i++)
		prepare(&ring, &e, i);
	io_uring_submit(&ring);
	io_uring_queue_exit(&ring);
	is(destroy_queue(fd, queue), 0, "%s: destroy the queue meanwhile", name);
	queue = saved;
	is(run_nop(fd, queue), 0, "%s: another one works", name);
}

static void test_destroy(void)
{
	struct drm_kiln_exec e = waiter(1);
	uint32_t saved = queue;
	struct io_uring ring;
	int i, bad = 0;

	memory[0] = 0;
	queue = e.queue_id = make_queue(fd, vm, 8, 0);
	make_ring(&ring, 64, RING_FLAGS);
	for (i = 0; i < 20; i++)
		prepare(&ring, &e, i);
	io_uring_submit(&ring);
	usleep(20000);
	is(destroy_queue(fd, queue), 0, "destroy: with 8 commands in it and 12 before it");
	for (i = 0; i < 20; i++) {
		int res = reap(&ring, 20, NULL, NULL);

		/* Who was on the way finds it canceled, or not there any more. */
		bad += res != -ECANCELED && res != -ENOENT;
	}
	is(bad, 0, "destroy: all of them end");
	is(run(&ring, &e), -ENOENT, "destroy: and then it is not there");
	io_uring_queue_exit(&ring);
	queue = saved;
}

static void test_limit(void)
{
	struct drm_kiln_exec e = waiter(1);
	struct io_uring ring;
	double start;

	/* However short the queue's limit is, waiting has its own. */
	memory[0] = 0;
	make_ring(&ring, 8, RING_FLAGS);
	start = now_s();
	is(run(&ring, &e), -ETIME, "limit: a command that waits for ever");
	ok(now_s() - start > 5 && now_s() - start < 19, "limit: not for ever (%.2f s)", now_s() - start);
	io_uring_queue_exit(&ring);
	is(run_nop(fd, queue), 0, "limit: the next good command works");
}

static void test_syncobj(void)
{
	struct drm_kiln_exec e = nop();
	struct io_uring ring;
	uint32_t syncobj;

	if (drmSyncobjCreate(fd, 0, &syncobj))
		bail("syncobj", errno);
	e.flags |= DRM_KILN_EXEC_SYNCOBJ;
	e.syncobj = syncobj;
	make_ring(&ring, 8, RING_FLAGS);
	is(run(&ring, &e), 0, "syncobj: a command with an out-fence");
	is(drmSyncobjWait(fd, &syncobj, 1, INT64_MAX, 0, NULL), 0, "syncobj: signalled");
	e.flags = DRM_KILN_EXEC_SYNCOBJ;
	e.program = VA_BASE + 64 * MIB;
	e.program_bytes = 64;
	is(run(&ring, &e), -EFAULT, "syncobj: of a command that fails");
	is(drmSyncobjWait(fd, &syncobj, 1, INT64_MAX, 0, NULL), 0, "syncobj: signalled too");
	io_uring_queue_exit(&ring);
	drmSyncobjDestroy(fd, syncobj);
}

static void *storm(void *arg)
{
	struct drm_kiln_exec e = { .queue_id = (uintptr_t)arg, .flags = DRM_KILN_EXEC_NOP };
	struct io_uring ring;
	long bad = 0;
	int i, round;

	make_ring(&ring, 64, RING_FLAGS | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < 32; i++)
			prepare(&ring, &e, i);
		io_uring_submit(&ring);
		for (i = 0; i < 32; i++)
			bad += reap(&ring, 30, NULL, NULL) != 0;
	}
	io_uring_queue_exit(&ring);
	return (void *)bad;
}

static void test_threads(void)
{
	pthread_t threads[4];
	uint32_t queues[4];
	double start = now_s();
	long bad = 0;
	void *ret;
	int i;

	for (i = 0; i < 4; i++) {
		queues[i] = i < 2 ? make_queue(fd, vm, 64, 0) : queues[i - 2];
		pthread_create(&threads[i], NULL, storm, (void *)(uintptr_t)queues[i]);
	}
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], &ret);
		bad += (long)ret;
	}
	is(bad, 0, "threads: 4 x 3200 commands in two queues");
	printf("# %.0f commands a second\n", 12800 / (now_s() - start));
	is(destroy_queue(fd, queues[0]) | destroy_queue(fd, queues[1]), 0, "threads: destroy the queues");
}

int main(void)
{
	fd = open_card();
	vm = make_vm(fd);
	queue = make_queue(fd, vm, 64, 0);
	bo = make_bo(fd, MIB, DRM_KILN_BO_HBM);
	memory = map_bo(fd, bo, MIB);
	if (bind_bo(fd, vm, bo, 0, VA_BASE, MIB))
		bail("bind", errno);

	test_basic(0, "plain");
	test_basic(IORING_SETUP_SQPOLL, "sqpoll");
	test_basic(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "defer");
	test_fields();
	test_polled();
	test_take_back();
	test_cancel();
	test_full(0, "full");
	test_full(IORING_SETUP_SQPOLL, "full, sqpoll");
	test_full(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "full, defer");
	test_destroy();
	test_limit();
	test_syncobj();
	test_threads();

	is(destroy_queue(fd, queue), 0, "destroy the queue");
	is(destroy_vm(fd, vm), 0, "destroy the VM");
	close(fd);
	return done_testing();
}
