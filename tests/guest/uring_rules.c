// SPDX-License-Identifier: MIT
/*
 * The rules of a uring_cmd handler, each learnt from somebody's bug, a test
 * each; and what is done to a ring by those who do not play along. With each
 * test stands the wrong driver that it was seen to fail on.
 */
#include <liburing.h>
#include <sys/wait.h>

#include "_abi.h"

#define BIG	(IORING_SETUP_SQE128 | IORING_SETUP_CQE32)
#define MANY	10000

static int fd;
static uint32_t vm, queue;
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

/* A command that starts when memory[0] reaches 1, and nobody has to write that. */
static struct drm_kiln_exec waiter(void)
{
	struct drm_kiln_exec e = nop();

	e.wait_addr = VA_BASE;
	e.wait_value = 1;
	return e;
}

static void push(struct io_uring *ring, const struct drm_kiln_exec *e, uint64_t data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		bail("no SQE", EBUSY);
	memset(sqe, 0, 128);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = DRM_KILN_URING_EXEC;
	sqe->user_data = data;
	memcpy(sqe->cmd, e, sizeof(*e));
}

static void push_take_back(struct io_uring *ring, uint64_t target, uint64_t data)
{
	struct drm_kiln_exec none = { 0 };
	struct drm_kiln_uring_cancel cancel = { .queue_id = queue, .user_data = target };

	push(ring, &none, data);
	/* The last SQE that was handed out. */
	struct io_uring_sqe *sqe = &ring->sq.sqes[((ring->sq.sqe_tail - 1) & ring->sq.ring_mask) << 1];

	sqe->cmd_op = DRM_KILN_URING_CANCEL;
	memcpy(sqe->cmd, &cancel, sizeof(cancel));
}

/* The next completion's res, or -ETIME after 20 s. */
static int reap(struct io_uring *ring, uint64_t *data)
{
	struct __kernel_timespec ts = { .tv_sec = 20 };
	struct io_uring_cqe *cqe;
	int ret;

	do
		ret = io_uring_wait_cqe_timeout(ring, &cqe, &ts);
	while (ret == -EINTR);
	if (ret)
		return ret;
	ret = cqe->res;
	if (data)
		*data = cqe->user_data;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

/* How many of the next count completions do not have this result. */
static int others(struct io_uring *ring, int count, int res)
{
	int bad = 0;

	while (count--) {
		uint64_t data = -1;
		int r = reap(ring, &data);

		if (r != res)
			printf("# command %lld: %d\n", (long long)data, r);
		bad += r != res;
	}
	return bad;
}

static void let_go(void)
{
	struct drm_kiln_exec e = {
		.queue_id = make_queue(fd, vm, 8, 0), .flags = DRM_KILN_EXEC_NOP,
		.signal_addr = VA_BASE, .signal_value = 1,
	};

	if (run_one(fd, &e))
		ok(false, "signal");
	destroy_queue(fd, e.queue_id);
}

/*
 * 1. The SQE's slot is the submitter's again as soon as it was handed over.
 * Fails on a driver that looks at the SQE once more when the command ends.
 */
static void test_sqe_once(void)
{
	struct drm_kiln_exec e = waiter();
	struct io_uring ring;
	int bad = 0, i;

	memory[0] = 0;
	make_ring(&ring, 16, BIG);
	for (i = 0; i < 16; i++) {
		e.signal_addr = VA_BASE + 8 + 8 * i;
		e.signal_value = 100 + i;
		memory[1 + i] = 0;
		push(&ring, &e, i);
	}
	io_uring_submit(&ring);
	memset(ring.sq.sqes, 0xff, 16 * 128);
	let_go();
	is(others(&ring, 16, 0), 0, "rule 1: 16 commands succeed whose SQEs are scribbled over");
	for (i = 0; i < 16; i++)
		bad += memory[1 + i] != 100u + i;
	is(bad, 0, "rule 1: and do what was asked for");
	io_uring_queue_exit(&ring);
}

/*
 * 2. Without SQE128 there are 16 bytes, and behind them the next SQE. Fails on
 * a driver that does not look: it runs what stands there.
 */
static void test_sqe_size(void)
{
	struct drm_kiln_exec e = nop();
	struct io_uring_sqe *sqe;
	struct io_uring ring;

	make_ring(&ring, 16, IORING_SETUP_CQE32);
	memset(ring.sq.sqes, 0, 16 * 64);
	sqe = io_uring_get_sqe(&ring);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = DRM_KILN_URING_EXEC;
	memcpy(sqe->cmd, &e, 16);
	io_uring_submit(&ring);
	is(reap(&ring, NULL), -EINVAL, "rule 2: a short SQE is refused");
	io_uring_queue_exit(&ring);
}

/*
 * 3. Submission does not sleep. Fails on a driver that waits for room under
 * IO_URING_F_NONBLOCK: then nobody comes to let the commands go, and they end
 * in -ETIME.
 */
static void test_nonblock(void)
{
	struct drm_kiln_exec e = waiter();
	uint32_t saved = queue;
	struct io_uring ring;
	int i;

	memory[0] = 0;
	queue = e.queue_id = make_queue(fd, vm, 8, 0);
	make_ring(&ring, 32, BIG);
	for (i = 0; i < 24; i++)
		push(&ring, &e, i);
	is(io_uring_submit(&ring), 24, "rule 3: 24 commands for a queue of 8");
	let_go();
	is(others(&ring, 24, 0), 0, "rule 3: all of them succeed");
	io_uring_queue_exit(&ring);
	destroy_queue(fd, queue);
	queue = saved;
}

/*
 * 4. A cancelable command does not end in an interrupt. Fails on a driver that
 * posts the CQE there: the kernel dies of a mutex taken in an interrupt.
 */
static void test_context(void)
{
	struct drm_kiln_exec e = nop();
	struct io_uring ring;
	int bad = 0, i, n;

	make_ring(&ring, 64, BIG);
	for (i = 0; i < 100; i++) {
		for (n = 0; n < 64; n++)
			push(&ring, &e, n);
		io_uring_submit(&ring);
		bad += others(&ring, 64, 0);
	}
	is(bad, 0, "rule 4: 6400 commands end by interrupts");
	io_uring_queue_exit(&ring);
}

/*
 * 5. Of cancellation and completion one wins. Fails on a driver that ends a
 * command where it is canceled, without asking whether it has ended: some come
 * twice, or the kernel dies. Here thousands are taken back at random, some
 * before, some while and some after they end.
 */
static void test_race(void)
{
	static uint8_t times[MANY];
	static int res[MANY];
	unsigned int first = 0, next = 0, reaped = 0, answers = 0, asked = 0, canceled = 0, random = 12345;
	int wrong = 0, odd = 0;
	struct io_uring ring;

	memset(times, 0, sizeof(times));
	memory[0] = 0;
	make_ring(&ring, 128, BIG | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	while (reaped < MANY || answers < asked) {
		uint64_t data;
		int r;

		/* 48 under way: half of them never end by themselves. */
		while (next < MANY && next - reaped < 48) {
			struct drm_kiln_exec e;

			random = random * 1103515245 + 12345;
			e = random >> 16 & 1 ? waiter() : nop();
			push(&ring, &e, next++);
		}
		/* The oldest one, which may hold up the others, or any of those around. */
		while (first < next && times[first])
			first++;
		if (first < next && asked - answers < 16) {
			random = random * 1103515245 + 12345;
			data = first + (random >> 20 & 1 ? 0 : (random >> 16) % (next - first));
			push_take_back(&ring, data, MANY);
			asked++;
		}
		io_uring_submit_and_wait(&ring, 1);
		do {
			r = reap(&ring, &data);
			if (r == -ETIME) {
				ok(false, "rule 5: a completion in 20 s");
				goto out;
			}
			if (data == MANY) {
				answers++;
				odd += r && r != -ENOENT;
				continue;
			}
			reaped++;
			times[data]++;
			res[data] = r;
			canceled += r == -ECANCELED;
		} while (io_uring_cq_ready(&ring));
	}
out:
	for (int i = 0; i < MANY; i++) {
		wrong += times[i] != 1;
		odd += res[i] && res[i] != -ECANCELED;
	}
	is(wrong, 0, "rule 5: of %d commands, canceled at random, each completes once", MANY);
	is(odd, 0, "rule 5: with 0 or -ECANCELED");
	ok(canceled > MANY / 20, "rule 5: many were canceled (%u, of %u attempts)", canceled, asked);
	io_uring_queue_exit(&ring);
	is(run_nop(fd, queue), 0, "rule 5: the queue is free");
}

/*
 * And of what is taken back while it is being handed over, none stays. Fails on
 * a driver that cancels by the card what the card has not been given yet: with
 * several CPUs, or a kernel that preempts, such commands wait until their limit.
 */
static void test_race_in_batch(void)
{
	struct io_uring ring;
	int rounds, bad = 0;

	memory[0] = 0;
	make_ring(&ring, 64, BIG);
	for (rounds = 0; rounds < 100 && !bad; rounds++) {
		struct drm_kiln_exec e = waiter();

		for (int i = 0; i < 24; i++) {
			push(&ring, &e, i);
			push_take_back(&ring, i, MANY);
		}
		io_uring_submit(&ring);
		for (int i = 0; i < 48 && !bad; i++) {
			uint64_t data = -1;
			int r = reap(&ring, &data);

			bad = r != (data == MANY ? 0 : -ECANCELED) ? r ?: 1 : 0;
		}
	}
	is(bad, 0, "rule 5: 24 commands, each taken back in the batch it is in, %d times", rounds);
	io_uring_queue_exit(&ring);
}

/*
 * 6. Commands can be canceled, by whatever context. Fails on a driver that does
 * not mark them: the child's exec cannot go on before they have waited for too
 * long, and they end in -ETIME.
 */
static void test_cancelable(void)
{
	struct drm_kiln_exec e = waiter();
	struct io_uring ring;
	int status;
	pid_t pid;

	memory[0] = 0;
	make_ring(&ring, 16, BIG);
	pid = fork();
	if (!pid) {
		/* Into the parent's ring, which outlives this. */
		for (int i = 0; i < 8; i++)
			push(&ring, &e, i);
		io_uring_submit(&ring);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	is(status, 0, "rule 6: a child submits into its parent's ring, and execs");
	is(others(&ring, 8, -ECANCELED), 0, "rule 6: its commands are canceled");
	is(memory[0], 0, "rule 6: although nobody has signalled");
	io_uring_queue_exit(&ring);
	is(run_nop(fd, queue), 0, "rule 6: the queue is free");
}

/*
 * 7. A polled command is not marked cancelable. Fails on a driver that does: 6.12
 * dies at the next ring that is closed, 7.x warns.
 */
static void test_polled(void)
{
	struct drm_kiln_exec e = nop();
	struct io_uring ring;
	int bad = 0;

	for (int round = 0; round < 5; round++) {
		make_ring(&ring, 32, BIG | IORING_SETUP_IOPOLL);
		for (int i = 0; i < 32; i++)
			push(&ring, &e, i);
		io_uring_submit(&ring);
		for (int i = 0; i < 32; i++) {
			struct io_uring_cqe *cqe;

			bad += io_uring_wait_cqe(&ring, &cqe) || cqe->res;
			io_uring_cq_advance(&ring, 1);
		}
		io_uring_queue_exit(&ring);
	}
	is(bad, 0, "rule 7: polled commands in 5 rings, one after the other");
}

/*
 * 8. Where io_uring is forbidden, the ioctl can do it all: waits, signals,
 * fences. Fails on a driver whose ioctl has no syncobj.
 */
static void test_forbidden(void)
{
	const char *sysctl = "/proc/sys/kernel/io_uring_disabled";
	struct drm_kiln_exec e = nop();
	uint32_t syncobj;
	struct io_uring ring;
	int f = open(sysctl, O_WRONLY);

	if (f < 0 && errno == ENOENT) {
		ok(true, "rule 8 # SKIP a kernel without sysctl");
		return;
	}
	if (f < 0 || write(f, "2", 1) != 1)
		bail(sysctl, errno);
	is(io_uring_queue_init(8, &ring, BIG), -EPERM, "rule 8: io_uring is forbidden");
	if (drmSyncobjCreate(fd, 0, &syncobj))
		bail("syncobj", errno);
	memory[0] = 1;
	memory[1] = 0;
	e.wait_addr = VA_BASE;
	e.wait_value = 1;
	e.signal_addr = VA_BASE + 8;
	e.signal_value = 5;
	e.flags |= DRM_KILN_EXEC_SYNCOBJ;
	e.syncobj = syncobj;
	is(run_one(fd, &e), 0, "rule 8: a command by ioctl that waits, signals and has a fence");
	is(memory[1], 5, "rule 8: it has signalled");
	is(drmSyncobjWait(fd, &syncobj, 1, INT64_MAX, 0, NULL), 0, "rule 8: so has its fence");
	drmSyncobjDestroy(fd, syncobj);
	if (pwrite(f, "0", 1, 0) != 1)
		bail(sysctl, errno);
	close(f);
}

/*
 * A submitter that stops reaping. Its commands end on the card; their slots are
 * there for others at once: completions are taken out by whoever is interrupted,
 * and not in the submitter's task work.
 */
static void test_no_reaper(unsigned int flags, const char *name)
{
	struct drm_kiln_exec e = nop();
	struct io_uring lazy, ring;
	unsigned int seen[64] = { 0 };
	int wrong = 0;

	make_ring(&lazy, 8, BIG | flags);	/* 16 CQEs */
	make_ring(&ring, 8, BIG);
	for (int i = 0; i < 64; i++) {
		push(&lazy, &e, i);
		if (i % 8 == 7)
			io_uring_submit(&lazy);
	}
	for (int i = 0; i < 20; i++) {
		push(&ring, &e, i);
		io_uring_submit(&ring);
		wrong += reap(&ring, NULL) != 0;
	}
	is(wrong, 0, "no reaper, %s: another ring goes on in the same queue", name);
	is(run_nop(fd, queue), 0, "no reaper, %s: and the ioctl", name);
	for (int i = 0; i < 64; i++) {
		uint64_t data = 0;

		wrong += reap(&lazy, &data) != 0;
		seen[data & 63]++;
	}
	for (int i = 0; i < 64; i++)
		wrong += seen[i] != 1;
	is(wrong, 0, "no reaper, %s: all 64 are there later, more than the CQ holds, each once", name);
	io_uring_queue_exit(&lazy);
	io_uring_queue_exit(&ring);
}

/* A ring that a child has, too. */
static void test_fork(void)
{
	struct drm_kiln_exec e = waiter();
	struct io_uring ring;
	int status;
	pid_t pid;

	memory[0] = 0;
	make_ring(&ring, 16, BIG);
	for (int i = 0; i < 8; i++)
		push(&ring, &e, i);
	io_uring_submit(&ring);
	pid = fork();
	if (!pid)
		_exit(0);	/* it had the ring and the card */
	waitpid(pid, &status, 0);
	let_go();
	is(others(&ring, 8, 0), 0, "fork: the child's end does not touch the parent's commands");

	e = nop();
	push(&ring, &e, 9);
	io_uring_submit(&ring);
	is(reap(&ring, NULL), 0, "fork: the ring works on");
	is(io_uring_cq_ready(&ring), 0, "fork: and nothing came twice");
	io_uring_queue_exit(&ring);
}

/* The card is reset below the driver with commands in flight. */
static void test_reset(void)
{
	struct drm_kiln_exec e = waiter();
	struct io_uring ring;
	int f, wrong = 0;
	glob_t g;

	memory[0] = 0;
	make_ring(&ring, 64, BIG);
	for (int i = 0; i < 40; i++)
		push(&ring, &e, i);
	io_uring_submit(&ring);
	if (glob("/sys/class/accel/accel*/device/reset", 0, NULL, &g))
		bail("no reset in sysfs", ENOENT);
	f = open(g.gl_pathv[0], O_WRONLY);
	globfree(&g);
	is(write(f, "1", 1), 1, "reset: of the function, with 40 commands in flight");
	close(f);
	for (int i = 0; i < 40; i++) {
		int r = reap(&ring, NULL);

		wrong += r != -EIO && r != -ECANCELED && r != -ENODEV;
	}
	is(wrong, 0, "reset: each ends in an error that says it");
	is(io_uring_cq_ready(&ring), 0, "reset: and none twice");
	io_uring_queue_exit(&ring);
}

int main(void)
{
	uint32_t bo;

	fd = open_card();
	vm = make_vm(fd);
	queue = make_queue(fd, vm, 64, 0);
	bo = make_bo(fd, MIB, DRM_KILN_BO_HBM);
	memory = map_bo(fd, bo, MIB);
	if (bind_bo(fd, vm, bo, 0, VA_BASE, MIB))
		bail("bind", errno);

	test_sqe_once();
	test_sqe_size();
	test_nonblock();
	test_context();
	test_race();
	test_race_in_batch();
	test_cancelable();
	test_polled();
	test_forbidden();
	test_no_reaper(0, "plain");
	test_no_reaper(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "defer");
	test_fork();
	test_reset();
	close(fd);

	/* The queue went with the reset. */
	fd = open_card();
	queue = make_queue(fd, make_vm(fd), 8, 0);
	is(run_nop(fd, queue), 0, "after all of it, a command works");
	close(fd);
	return done_testing();
}
