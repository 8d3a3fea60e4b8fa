// SPDX-License-Identifier: MIT
/* Commands through a ring that the caller has: kiln_prep_exec() and kiln_parse_cqe(), on rings of big and of mixed sizes. */
#include <liburing.h>
#include <sys/wait.h>

#include "sim/core_test.h"

/* What Linux 7 has and the headers of 6.12 do not know. */
#define MIXED		(1u << 18 | 1u << 19)	/* IORING_SETUP_CQE_MIXED, _SQE_MIXED */
#define URING_CMD128	64			/* IORING_OP_URING_CMD128 */
#define BIG_CQE		(1u << 15)		/* IORING_CQE_F_32 */

#define BIG		(IORING_SETUP_SQE128 | IORING_SETUP_CQE32)

static struct kiln_device *card;
static struct kiln_buffer *buffer;
static volatile uint64_t *memory;

static struct kiln_queue *caller_queue(void)
{
	struct kiln_queue_attr attr = { .way = KILN_SUBMIT_CALLER, .depth = 64 };
	struct kiln_queue *queue;

	if (kiln_queue_create(card, &attr, &queue))
		bail("no queue");
	return queue;
}

static struct kiln_command signal_to(unsigned int index, uint64_t value)
{
	return (struct kiln_command){
		.signal_addr = kiln_addr(buffer) + 8 * index, .signal_value = value,
	};
}

/* A ring whose file 0 is the card; false: the kernel has no such rings. */
static bool make_ring(struct io_uring *ring, unsigned int flags)
{
	int fd = kiln_device_fd(card);

	if (io_uring_queue_init(64, ring, flags))
		return false;
	if (io_uring_register_files(ring, &fd, 1)) {
		printf("Bail out! io_uring_register_files\n");
		exit(1);
	}
	return true;
}

static void push(struct io_uring *ring, struct kiln_queue *queue, const struct kiln_command *c,
		 uint64_t data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (kiln_prep_exec(sqe, 0, queue, c))
		bail("kiln_prep_exec");
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->user_data = data;
}

static void test_wrong(void)
{
	struct kiln_command good = signal_to(0, 1), c;
	struct kiln_queue *queue = caller_queue(), *other;
	struct io_uring_sqe sqe[2], before[2];

	memset(sqe, 0x5a, sizeof(sqe));
	memcpy(before, sqe, sizeof(sqe));
	ok(!strcmp(kiln_queue_way(queue), "caller"), "the way is \"caller\"");
	is(kiln_submit(queue, &good, 1, NULL), -ENOTSUP, "kiln_submit() is not for such a queue");
	is(kiln_queue_fd(queue), -ENOTSUP, "nor kiln_queue_fd()");
	is(kiln_wait(queue, 1, -1), 0, "kiln_wait() has nothing to wait for");
	is(kiln_prep_exec(NULL, 0, queue, &good), -EINVAL, "no SQE");
	is(kiln_prep_exec(sqe, 0, NULL, &good), -EINVAL, "no queue");
	is(kiln_prep_exec(sqe, 0, queue, NULL), -EINVAL, "no command");
	c = good;
	c.user = &c;
	is(kiln_prep_exec(sqe, 0, queue, &c), -EINVAL, "a callback's argument");
	c = good;
	c.signal_addr += 4;
	is(kiln_prep_exec(sqe, 0, queue, &c), -EINVAL, "signal_addr is checked");
	c = good;
	c.args = 8;
	is(kiln_prep_exec(sqe, 0, queue, &c), -EINVAL, "arguments without a program are refused");
	other = make_queue(card, 8, 0);
	is(kiln_prep_exec(sqe, 0, other, &good), -EINVAL, "a queue with a ring of its own");
	ok(!memcmp(before, sqe, sizeof(sqe)), "none of them has touched the SQE");
	kiln_queue_destroy(other);
	kiln_queue_destroy(queue);
}

static void test_commands(unsigned int flags, const char *name)
{
	struct kiln_queue *queue = caller_queue();
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	uint64_t seen = 0;
	int bad = 0;
	char what[80];

	if (!make_ring(&ring, BIG | flags))
		bail("no ring");
	for (unsigned int i = 0; i < 64; i++) {
		struct kiln_command c = signal_to(i, 1000 + i);

		memory[i] = 0;
		push(&ring, queue, &c, i);
	}
	io_uring_submit_and_wait(&ring, 64);
	for (unsigned int i = 0; i < 64; i++) {
		struct kiln_result result = { .res = 1 };

		if (io_uring_wait_cqe(&ring, &cqe))
			break;
		kiln_parse_cqe(cqe, &result);
		bad += result.res != 0 || memory[cqe->user_data & 63] != 1000 + cqe->user_data;
		seen |= 1ull << (cqe->user_data & 63);
		io_uring_cqe_seen(&ring, cqe);
	}
	snprintf(what, sizeof(what), "%s: 64 commands succeed", name);
	is(bad, 0, what);
	snprintf(what, sizeof(what), "%s: each once", name);
	is(seen, -1, what);
	io_uring_queue_exit(&ring);
	kiln_queue_destroy(queue);
}

/* The queue goes with commands in flight: they end in the caller's ring. */
static void test_destroy(void)
{
	struct kiln_command c = { .wait_addr = kiln_addr(buffer), .wait_value = 7 };
	struct kiln_queue *queue = caller_queue();
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int canceled = 0;

	memory[0] = 0;
	if (!make_ring(&ring, BIG))
		bail("no ring");
	for (int i = 0; i < 8; i++)
		push(&ring, queue, &c, i);
	io_uring_submit(&ring);
	kiln_queue_destroy(queue);
	for (int i = 0; i < 8 && !io_uring_wait_cqe(&ring, &cqe); i++) {
		struct kiln_result result;

		kiln_parse_cqe(cqe, &result);
		canceled += result.res == -ECANCELED && !result.cycles;
		io_uring_cqe_seen(&ring, cqe);
	}
	is(canceled, 8, "a queue that is destroyed: all 8 end in -ECANCELED");
	is(io_uring_cq_ready(&ring), 0, "and none twice");
	io_uring_queue_exit(&ring);
}

/* Entries of 64 and of 128 bytes, completions of 16 and of 32, in one ring. */
static void test_mixed(void)
{
	struct kiln_queue *queue = caller_queue();
	struct kiln_command c = signal_to(3, 77);
	const char *names[] = { "mixed: a nop and a command are taken", "mixed: both succeed",
				"mixed: the command's completion is a big one, the nop's is not",
				"mixed: the command has signalled" };
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	unsigned int flags[2] = { 0, 0 }, at;
	int res[2] = { 1, 1 }, n;

	if (!make_ring(&ring, MIXED)) {
		for (int i = 0; i < 4; i++)
			skip(names[i], "this kernel has no rings of mixed sizes");
		kiln_queue_destroy(queue);
		return;
	}
	memory[3] = 0;
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_nop(sqe);
	sqe->user_data = 0;
	sqe = io_uring_get_sqe(&ring);
	io_uring_get_sqe(&ring);	/* its second half; liburing clears some of what it hands out */
	if (kiln_prep_exec(sqe, 0, queue, &c))
		bail("kiln_prep_exec");
	sqe->opcode = URING_CMD128;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->user_data = 1;
	n = io_uring_submit_and_wait(&ring, 2);
	/* Two, or as many as slots are used: kernels differ in what they count. */
	ok(n == 2 || n == 3, "%s", names[0]);
	at = *ring.cq.khead;
	for (int i = 0; i < 2 && at != *(volatile unsigned int *)ring.cq.ktail; i++) {
		struct io_uring_cqe *cqe = &ring.cq.cqes[at & ring.cq.ring_mask];

		res[cqe->user_data & 1] = cqe->res;
		flags[cqe->user_data & 1] = cqe->flags;
		at += cqe->flags & BIG_CQE ? 2 : 1;
	}
	is(res[0] | res[1], 0, names[1]);
	ok(flags[1] & BIG_CQE && !(flags[0] & BIG_CQE), "%s", names[2]);
	is(memory[3], 77, names[3]);
	io_uring_queue_exit(&ring);
	kiln_queue_destroy(queue);
}

/* The example runs. */
static void test_example(void)
{
	const char *build = getenv("KILN_BUILD");
	char path[256];
	int status;

	snprintf(path, sizeof(path), "%s/bin/examples/own-ring >/dev/null", build ? build : "build/tree");
	status = system(path);
	is(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0, "the example own-ring");
}

int main(void)
{
	struct kiln_device *sim;

	if (kiln_open("drm", &card))
		bail("no card");
	buffer = make_buffer(card, 4096, KILN_HBM);
	memory = kiln_map(buffer);
	test_wrong();
	test_commands(0, "plain");
	test_commands(IORING_SETUP_SQPOLL, "sqpoll");
	test_commands(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "defer");
	test_commands(IORING_SETUP_IOPOLL, "iopoll");
	test_destroy();
	test_mixed();
	test_example();
	if (!kiln_open("sim", &sim)) {
		is(kiln_device_fd(sim), -ENOTSUP, "\"sim\" has no descriptor");
		kiln_close(sim);
	}
	kiln_free(buffer);
	kiln_close(card);
	return done_testing();
}
