// SPDX-License-Identifier: MIT
/*
 * What a submitted command costs: one submitter, several things to submit to.
 *
 *	submit [-s SECONDS] [-r ROUNDS] [CASE...]
 *
 * For the guest. Each case keeps DEPTH commands in flight and hands them over in
 * batches of BATCH. The cases take turns, ROUNDS times, and the best round of
 * each counts: what disturbs a round only makes it slower. A line a case:
 *
 *	name commands/s p50_us p99_us syscalls doorbells interrupts busy_ns
 *
 * the last four per command; "-" where nobody counts. Latency: from the SQE's
 * being filled to its CQE's being seen, each command of all rounds. Doorbells
 * are those that kiln.ko wrote. busy_ns: time that no CPU was idle, of which
 * QEMU's -icount shift=0 makes instructions.
 */
#include <ctype.h>
#include <getopt.h>
#include <liburing.h>
#include <linux/nvme_ioctl.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <kiln_ops.h>

#include "guest/_abi.h"

#define BLOCK	4096			/* of an NVMe read */
#define LATENCIES (1u << 16)

enum target { URING_NOP, KILN_NOP, KILN_MATMUL, NVME_READ };
enum way { URING, SQPOLL, IOPOLL, IOCTL, LIBKILN };

struct bench {
	const char *name;
	enum target target;
	enum way way;
	unsigned int depth, batch;
	unsigned int processes;		/* 0: this one */
	/* results */
	double best;			/* commands/s */
	uint64_t commands, syscalls, doorbells, interrupts, busy;
	uint32_t *latency;		/* ns */
	unsigned int latencies;
	char error[128];
};

#define BENCH(n, t, w, d, b, p) \
	{ .name = n, .target = t, .way = w, .depth = d, .batch = b, .processes = p }

static struct bench benches[] = {
	BENCH("uring_nop_qd1", URING_NOP, URING, 1, 1, 0),
	BENCH("uring_nop_qd128_b32", URING_NOP, URING, 128, 32, 0),
	BENCH("nvme_qd1", NVME_READ, URING, 1, 1, 0),
	BENCH("nvme_qd8_b8", NVME_READ, URING, 8, 8, 0),
	BENCH("nvme_qd32_b8", NVME_READ, URING, 32, 8, 0),
	BENCH("nvme_qd128_b32", NVME_READ, URING, 128, 32, 0),
	BENCH("kiln_qd1", KILN_NOP, URING, 1, 1, 0),
	BENCH("kiln_qd8_b1", KILN_NOP, URING, 8, 1, 0),
	BENCH("kiln_qd8_b8", KILN_NOP, URING, 8, 8, 0),
	BENCH("kiln_qd32_b1", KILN_NOP, URING, 32, 1, 0),
	BENCH("kiln_qd32_b8", KILN_NOP, URING, 32, 8, 0),
	BENCH("kiln_qd128_b1", KILN_NOP, URING, 128, 1, 0),
	BENCH("kiln_qd128_b8", KILN_NOP, URING, 128, 8, 0),
	BENCH("kiln_qd128_b32", KILN_NOP, URING, 128, 32, 0),
	BENCH("kiln_sqpoll_qd1", KILN_NOP, SQPOLL, 1, 1, 0),
	BENCH("kiln_sqpoll_qd128_b32", KILN_NOP, SQPOLL, 128, 32, 0),
	BENCH("kiln_iopoll_qd1", KILN_NOP, IOPOLL, 1, 1, 0),
	BENCH("kiln_iopoll_qd128_b32", KILN_NOP, IOPOLL, 128, 32, 0),
	BENCH("kiln_ioctl_qd1", KILN_NOP, IOCTL, 1, 1, 0),
	BENCH("kiln_ioctl_qd32_b1", KILN_NOP, IOCTL, 32, 1, 0),
	BENCH("kiln_ioctl_b32", KILN_NOP, IOCTL, 32, 32, 0),
	BENCH("kiln_matmul_qd1", KILN_MATMUL, LIBKILN, 1, 1, 0),
	BENCH("kiln_matmul_qd8_b8", KILN_MATMUL, LIBKILN, 8, 8, 0),
	BENCH("kiln_8x16_b8", KILN_NOP, URING, 16, 8, 8),
	BENCH("kiln_1x128_b8", KILN_NOP, URING, 128, 8, 1),
};

struct run {
	struct bench *b;
	struct io_uring ring;
	int fd;				/* of what is submitted to; -1: nothing */
	uint32_t queue;			/* of the card */
	char *blocks;			/* for NVMe: one a slot */
	uint32_t nsid;
	uint64_t *since;		/* by slot: ns */
	uint32_t *slots;		/* stack of free ones */
	unsigned int num_free;
	uint64_t end;			/* ns; no command begins later */
	uint64_t commands;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* ------------------------------------------------------------- counters -- */

/* System calls of this thread, as the kernel's tracepoint counts them; -1: it does not. */
static int open_syscalls(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .disabled = 0,
	};
	FILE *f = fopen("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", "r");
	unsigned long long id;

	if (!f)
		return -1;
	if (fscanf(f, "%llu", &id) != 1)
		id = 0;
	fclose(f);
	attr.config = id;
	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t read_counter(int fd)
{
	uint64_t value = 0;

	if (fd >= 0 && read(fd, &value, sizeof(value)) != sizeof(value))
		value = 0;
	return value;
}

/* Interrupts of all CPUs whose line in /proc/interrupts has this word. */
static uint64_t count_interrupts(const char *word)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[4096];
	uint64_t sum = 0;

	while (f && fgets(line, sizeof(line), f)) {
		char *p = strchr(line, ':');

		if (!p || !strstr(p, word))
			continue;
		for (p++;;) {
			char *end;
			uint64_t n = strtoull(p, &end, 10);

			if (end == p || !(isspace(*end)))
				break;
			sum += n;
			p = end;
		}
	}
	if (f)
		fclose(f);
	return sum;
}

/* ns that all CPUs together were idle, to 10 ms. */
static uint64_t count_idle(void)
{
	FILE *f = fopen("/proc/stat", "r");
	unsigned long long idle = 0, iowait = 0;

	if (!f)
		return 0;
	if (fscanf(f, "cpu %*u %*u %*u %llu %llu", &idle, &iowait) != 2)
		idle = iowait = 0;
	fclose(f);
	return (idle + iowait) * (1000000000 / sysconf(_SC_CLK_TCK));
}

/* Doorbells that the driver has written for the queues there are: a column of debugfs. */
static uint64_t count_doorbells(void)
{
	const char *text = debugfs("queues");
	uint64_t sum = 0;
	int column = 0, found = -1;
	const char *p = text;

	for (; *p && *p != '\n'; column++) {
		size_t n = strcspn(p, " \n");

		if (n == strlen("doorbells") && !strncmp(p, "doorbells", n))
			found = column;
		p += n + (p[n] == ' ');
	}
	while (found >= 0 && *p == '\n') {
		p++;
		for (column = 0; *p && *p != '\n'; column++) {
			size_t n = strcspn(p, " \n");

			if (column == found)
				sum += strtoull(p, NULL, 10);
			p += n + (p[n] == ' ');
		}
	}
	return sum;
}

/* ------------------------------------------------------------- a target -- */

static bool open_nvme(struct run *r)
{
	struct iovec iov;
	int id;

	r->fd = open("/dev/ng0n1", O_RDWR | O_CLOEXEC);
	if (r->fd < 0) {
		snprintf(r->b->error, sizeof(r->b->error), "/dev/ng0n1: %s", strerror(errno));
		return false;
	}
	id = ioctl(r->fd, NVME_IOCTL_ID);
	r->nsid = id;
	if (posix_memalign((void **)&r->blocks, BLOCK, r->b->depth * BLOCK))
		bail("memory", ENOMEM);
	memset(r->blocks, 0, r->b->depth * BLOCK);
	iov = (struct iovec) { .iov_base = r->blocks, .iov_len = r->b->depth * BLOCK };
	id = io_uring_register_buffers(&r->ring, &iov, 1);
	if (id)
		bail("register buffers", -id);
	return true;
}

static void open_kiln(struct run *r)
{
	unsigned int depth = 16;

	while (depth < r->b->depth)
		depth *= 2;
	r->fd = open_card();
	r->queue = make_queue(r->fd, make_vm(r->fd), depth, 0);
}

static bool open_ring(struct run *r)
{
	static const unsigned int flags[] = {
		[URING] = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		[SQPOLL] = IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER,
		[IOPOLL] = IORING_SETUP_IOPOLL | IORING_SETUP_SINGLE_ISSUER,
	};
	struct io_uring_params params = {
		.flags = flags[r->b->way] | IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
		.sq_thread_idle = 50,
	};
	int err = io_uring_queue_init_params(r->b->depth, &r->ring, &params);

	if (err)
		bail("io_uring", -err);
	r->since = calloc(r->b->depth, sizeof(*r->since));
	r->slots = calloc(r->b->depth, sizeof(*r->slots));
	if (!r->since || !r->slots)
		bail("memory", ENOMEM);
	while (r->num_free < r->b->depth) {
		r->slots[r->num_free] = r->num_free;
		r->num_free++;
	}
	return true;
}

static void prepare(struct run *r, struct io_uring_sqe *sqe, uint32_t slot)
{
	memset(sqe, 0, offsetof(struct io_uring_sqe, cmd));
	sqe->user_data = slot;
	switch (r->b->target) {
	case URING_NOP:
		sqe->opcode = IORING_OP_NOP;
		return;
	case NVME_READ:
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->cmd_op = NVME_URING_CMD_IO;
		sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
		*(struct nvme_uring_cmd *)sqe->cmd = (struct nvme_uring_cmd) {
			.opcode = 2, .nsid = r->nsid, .data_len = BLOCK,
			.addr = (uintptr_t)(r->blocks + (size_t)slot * BLOCK),
			.cdw10 = slot * (BLOCK / 512), .cdw12 = BLOCK / 512 - 1,
		};
		break;
	default:
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->cmd_op = DRM_KILN_URING_EXEC;
		*(struct drm_kiln_exec *)sqe->cmd = (struct drm_kiln_exec) {
			.queue_id = r->queue, .flags = DRM_KILN_EXEC_NOP,
		};
	}
	/* The one registered file. */
	sqe->flags = IOSQE_FIXED_FILE;
}

static void seen(struct run *r, uint64_t since, uint64_t now)
{
	struct bench *b = r->b;

	r->commands++;
	/* A ring of them: the last ones count. */
	b->latency[b->latencies++ % LATENCIES] = now - since;
}

/* ----------------------------------------------------------------- loops -- */

/* Batches as long as there is room, then one call that hands them over and waits for a batch. */
static void loop_ring(struct run *r)
{
	unsigned int depth = r->b->depth, batch = r->b->batch;
	bool more = true;

	while (more || r->num_free < depth) {
		struct io_uring_cqe *cqe;
		unsigned int head, n = 0, want;
		uint64_t now = now_ns();
		int err;

		more = now < r->end;
		if (more && r->num_free >= batch) {
			for (unsigned int i = 0; i < batch; i++) {
				uint32_t slot = r->slots[--r->num_free];

				prepare(r, io_uring_get_sqe(&r->ring), slot);
				r->since[slot] = now;
			}
		}
		want = depth - r->num_free < batch ? depth - r->num_free : batch;
		/* Room for another batch: do not wait. */
		if (more && r->num_free >= batch)
			want = 0;
		err = io_uring_submit_and_wait(&r->ring, want);
		if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY) {
			snprintf(r->b->error, sizeof(r->b->error), "submit: %s", strerror(-err));
			return;
		}
		now = now_ns();
		io_uring_for_each_cqe(&r->ring, head, cqe) {
			uint32_t slot = cqe->user_data;

			if (cqe->res) {
				snprintf(r->b->error, sizeof(r->b->error), "command: %s",
					 strerror(abs(cqe->res)));
				more = false;
				r->end = 0;
			}
			r->slots[r->num_free++] = slot;
			seen(r, r->since[slot], now);
			n++;
		}
		io_uring_cq_advance(&r->ring, n);
	}
}

/* As many calls as make up the depth, then one that waits for all of them. */
static void loop_ioctl(struct run *r)
{
	unsigned int batch = r->b->batch, depth = r->b->depth;
	struct drm_kiln_exec exec[batch];
	struct drm_kiln_result results[depth];

	for (unsigned int i = 0; i < batch; i++)
		exec[i] = (struct drm_kiln_exec) {
			.queue_id = r->queue, .flags = DRM_KILN_EXEC_NOP,
		};
	for (uint64_t now = now_ns(); now < r->end;) {
		uint64_t since = now, seqno = 0;
		unsigned int n;
		int err = 0;

		for (n = 0; n < depth && err >= 0; n += batch)
			err = submit(r->fd, exec, batch, &seqno);
		if (err >= 0)
			err = wait_results(r->fd, r->queue, seqno - n + 1, n, -1, results);
		if (err) {
			snprintf(r->b->error, sizeof(r->b->error), "ioctl: %s", strerror(-err));
			return;
		}
		now = now_ns();
		while (n--)
			seen(r, since, now);
	}
}

struct matmul_slot {
	struct run *run;
	uint64_t since;
	int res;
};

static void matmul_done(void *user, const struct kiln_result *result)
{
	struct matmul_slot *slot = user;

	slot->res = result->res;
	seen(slot->run, slot->since, now_ns());
}

/* C = A B, 128 by 128 of bf16, as serving code would say it. */
static void loop_libkiln(struct run *r)
{
	const uint64_t bytes = 128 * 128 * 2;
	unsigned int batch = r->b->batch;
	struct matmul_slot slots[batch];
	struct kiln_device *card = NULL;
	struct kiln_queue *queue = NULL;
	struct kiln_buffer *memory = NULL;
	struct kiln_ops *ops = NULL;

	if (kiln_open("drm", &card) || kiln_queue_create(card, NULL, &queue) ||
	    kiln_ops_create(queue, &ops) || kiln_alloc(card, 3 * bytes, KILN_HBM, 0, &memory)) {
		snprintf(r->b->error, sizeof(r->b->error), "%s", kiln_last_error());
		goto out;
	}
	while (now_ns() < r->end) {
		uint64_t at = kiln_addr(memory);

		for (unsigned int i = 0; i < batch; i++) {
			struct kiln_matmul matmul = {
				.type = KILN_TYPE_BF16, .m = 128, .n = 128, .k = 128,
				.a = at, .b = at + bytes, .c = at + 2 * bytes,
			};

			slots[i] = (struct matmul_slot) { .run = r, .since = now_ns(), .res = 1 };
			if (kiln_matmul(ops, &matmul, matmul_done, &slots[i]))
				goto failed;
		}
		if (kiln_drain(queue))
			goto failed;
		for (unsigned int i = 0; i < batch; i++)
			if (slots[i].res)
				goto failed;
	}
	goto out;
failed:
	snprintf(r->b->error, sizeof(r->b->error), "matmul: %s", kiln_last_error());
	r->end = 0;
out:
	kiln_ops_destroy(ops);
	kiln_free(memory);
	if (queue)
		kiln_queue_destroy(queue);
	if (card)
		kiln_close(card);
}

/* ------------------------------------------------------------- one round -- */

/* Counters are a thread's own, and those of all: only one case runs at a time. */
static void measure(struct run *r, double seconds, int syscalls)
{
	const char *word = r->b->target == NVME_READ ? "nvme" : "kiln";
	uint64_t doorbells = count_doorbells(), interrupts = count_interrupts(word);
	uint64_t idle = count_idle(), calls = read_counter(syscalls), start = now_ns(), took;

	r->end = start + seconds * 1e9;
	if (r->b->way == LIBKILN)
		loop_libkiln(r);
	else if (r->b->way == IOCTL)
		loop_ioctl(r);
	else
		loop_ring(r);
	took = now_ns() - start;
	calls = read_counter(syscalls) - calls;
	idle = count_idle() - idle;
	r->b->busy += took > idle ? took - idle : 0;
	r->b->commands += r->commands;
	r->b->syscalls += calls;
	r->b->interrupts += count_interrupts(word) - interrupts;
	r->b->doorbells += count_doorbells() - doorbells;
	if (r->commands * 1e9 / took > r->b->best)
		r->b->best = r->commands * 1e9 / took;
}

/* ready, go: pipes of those that begin together, once all are ready; -1: alone. */
static void round_of(struct bench *b, double seconds, int syscalls, int ready, int go)
{
	char c = 0;
	struct run r = { .b = b, .fd = -1 };
	bool ring = b->way == URING || b->way == SQPOLL || b->way == IOPOLL;

	if (ring)
		open_ring(&r);
	if (b->target == NVME_READ && !open_nvme(&r))
		goto out;
	if (b->target == KILN_NOP) {
		/* The ring of the round before may still be going, and its queue with it. */
		for (int i = 0; i < 1000 && !b->processes && debugfs_rows("queues") > 0; i++)
			usleep(1000);
		open_kiln(&r);
	}
	if (ring && r.fd >= 0) {
		int err = io_uring_register_files(&r.ring, &r.fd, 1);

		if (err)
			bail("register the file", -err);
	}
	if (ready >= 0 && (write(ready, &c, 1) != 1 || read(go, &c, 1) < 0))
		bail("pipe", errno);
	measure(&r, seconds, syscalls);
out:
	if (ring)
		io_uring_queue_exit(&r.ring);
	if (r.fd >= 0)
		close(r.fd);
	free(r.blocks);
	free(r.since);
	free(r.slots);
}

/* Each in a process of its own, all at once; the sum of their rates. */
static void round_of_many(struct bench *b, double seconds)
{
	int results[2], ready[2], go[2];
	double sum = 0;
	char c;

	if (pipe(results) || pipe(ready) || pipe(go))
		bail("pipe", errno);
	for (unsigned int i = 0; i < b->processes; i++) {
		if (fork())
			continue;
		close(go[1]);
		b->best = 0;
		round_of(b, seconds, -1, ready[1], go[0]);
		if (*b->error)
			b->best = -1;
		_exit(write(results[1], &b->best, sizeof(b->best)) != sizeof(b->best));
	}
	close(ready[1]);
	close(results[1]);
	close(go[0]);
	for (unsigned int i = 0; i < b->processes && read(ready[0], &c, 1) == 1; i++)
		;
	close(go[1]);	/* off they go */
	close(ready[0]);
	for (unsigned int i = 0; i < b->processes; i++) {
		double rate;

		if (read(results[0], &rate, sizeof(rate)) != sizeof(rate) || rate < 0) {
			snprintf(b->error, sizeof(b->error), "a process of %u failed", b->processes);
			break;
		}
		sum += rate;
	}
	close(results[0]);
	while (wait(NULL) > 0)
		;
	if (sum > b->best)
		b->best = sum;
}

static int compare_latency(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void per_command(uint64_t count, uint64_t commands, bool counted)
{
	if (counted && commands)
		printf(" %.4f", (double)count / commands);
	else
		printf(" -");
}

static void report(struct bench *b)
{
	unsigned int n = b->latencies < LATENCIES ? b->latencies : LATENCIES;
	bool kiln = b->target == KILN_NOP || b->target == KILN_MATMUL;

	if (*b->error) {
		printf("%s failed: %s\n", b->name, b->error);
		return;
	}
	printf("%s %.0f", b->name, b->best);
	if (n) {
		qsort(b->latency, n, sizeof(*b->latency), compare_latency);
		printf(" %.1f %.1f", b->latency[n / 2] / 1e3, b->latency[n - n / 100 - 1] / 1e3);
	} else {
		printf(" - -");
	}
	per_command(b->syscalls, b->commands, !b->processes);
	/* libkiln's queue is gone when its doorbells could be counted. */
	per_command(b->doorbells, b->commands, kiln && b->way != LIBKILN && !b->processes);
	per_command(b->interrupts, b->commands, b->target != URING_NOP && !b->processes);
	if (b->processes || !b->commands)
		printf(" -\n");
	else
		printf(" %.0f\n", (double)b->busy / b->commands);
}

int main(int argc, char **argv)
{
	const size_t count = sizeof(benches) / sizeof(*benches);
	int option, syscalls = open_syscalls(), rounds = 3, failed = 0;
	double seconds = 0.5;
	bool wanted[count];

	while ((option = getopt(argc, argv, "s:r:")) != -1) {
		if (option == 's')
			seconds = atof(optarg);
		else if (option == 'r')
			rounds = atoi(optarg);
		else
			return 2;
	}
	for (size_t i = 0; i < count; i++) {
		wanted[i] = optind == argc;
		for (int j = optind; j < argc; j++)
			wanted[i] |= !strcmp(benches[i].name, argv[j]);
		benches[i].latency = calloc(LATENCIES, sizeof(uint32_t));
		if (!benches[i].latency)
			bail("memory", ENOMEM);
	}
	for (int round = 0; round < rounds; round++) {
		for (size_t i = 0; i < count; i++) {
			struct bench *b = &benches[i];

			if (!wanted[i] || *b->error)
				continue;
			printf("# %s\n", b->name);
			fflush(stdout);
			if (b->processes)
				round_of_many(b, seconds);
			else
				round_of(b, seconds, syscalls, -1, -1);
			printf("# %s %llu\n", b->name, (unsigned long long)b->commands);
			fflush(stdout);
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (wanted[i])
			report(&benches[i]);
		failed |= *benches[i].error;
	}
	return failed != 0;
}
