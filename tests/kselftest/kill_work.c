// SPDX-License-Identifier: MIT
/*
 * Processes, each with four queues full of programs, die at any moment from their start on: the card is idle afterwards, all
 * memory is free, and it computes as before. abi_kill.c does the same with commands that run no program.
 */
#include "_tenants.h"

#include <glob.h>
#include <signal.h>

#include <kiln_ops.h>

#define QUEUES		4
#define DEPTH		64
#define MOMENTS		100

/* Turns rounds times, without end for 0. */
static struct kiln_program *loop(struct kiln_device *device, int64_t rounds)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_movi(as, KILN_SYNC, 1, rounds - 1);
	kiln_asm_addi(as, KILN_SYNC, 2, 2, 1);
	kiln_asm_bne(as, KILN_SYNC, 1, 2, 1);
	return assemble(device, as);
}

/*
 * Queue 0 computes, queue 1 waits for a value that never comes, queue 2 has
 * short programs behind one without end, queue 3 is filled up again and again.
 */
static void victim(int n)
{
	struct kiln_device *device = open_driver();
	struct kiln_queue *queue[QUEUES];
	struct kiln_buffer *data = make_buffer(device, 4 << 20, n & 1 ? KILN_HBM : KILN_HOST);
	struct kiln_program *brief = loop(device, 1000), *endless = loop(device, 0);
	struct kiln_command c[DEPTH];
	struct kiln_ops *ops;

	for (int i = 0; i < QUEUES; i++) {
		struct kiln_queue_attr attr = {
			.depth = DEPTH,
			.way = (i + n) & 1 ? KILN_SUBMIT_URING : KILN_SUBMIT_IOCTL,
		};

		if (kiln_queue_create(device, &attr, &queue[i]))
			_exit(1);
	}
	if (kiln_ops_create(queue[0], &ops))
		_exit(1);
	for (int i = 0; i < DEPTH; i++)
		c[i] = (struct kiln_command){
			.program = brief, .wait_addr = kiln_addr(data), .wait_value = 1,
		};
	kiln_submit(queue[1], c, DEPTH, NULL);
	for (int i = 0; i < DEPTH; i++)
		c[i] = (struct kiln_command){ .program = i ? brief : endless };
	kiln_submit(queue[2], c, DEPTH, NULL);
	c[0].program = brief;
	for (;;) {
		struct kiln_matmul mm = {
			.type = KILN_TYPE_F32, .m = 300, .n = 200, .k = 100,
			.a = kiln_addr(data) + 4096, .b = kiln_addr(data) + (1 << 20),
			.c = kiln_addr(data) + (2 << 20),
		};

		if (kiln_matmul(ops, &mm, NULL, NULL) || kiln_submit(queue[3], c, DEPTH, NULL)) {
			printf("# victim %d: %s\n", n, kiln_last_error());
			fflush(stdout);
			_exit(1);
		}
	}
}

/* A file of the first card's debugfs directory: its lines, without the heading. */
static int rows(const char *name)
{
	char pattern[64];
	int lines = -1, ch;
	glob_t g;
	FILE *f;

	snprintf(pattern, sizeof(pattern), "/sys/kernel/debug/accel/*/%s", name);
	if (glob(pattern, 0, NULL, &g) || !(f = fopen(g.gl_pathv[0], "r"))) {
		printf("Bail out! no %s\n", pattern);
		exit(1);
	}
	while ((ch = getc(f)) != EOF)
		lines += ch == '\n';
	fclose(f);
	globfree(&g);
	return lines;
}

/* Files are closed by kernel threads, a little after their process is gone. */
static int settled(const char *name)
{
	for (int i = 0; i < 500 && rows(name); i++)
		usleep(10000);
	return rows(name);
}

static uint64_t hbm_used(void)
{
	struct kiln_device *device = open_driver();
	struct kiln_info info;

	if (kiln_get_info(device, &info))
		bail("info");
	kiln_close(device);
	return info.hbm_used_bytes;
}

static long available_kib(void)
{
	char line[128];
	long kib = -1;
	FILE *f;

	f = fopen("/proc/sys/vm/drop_caches", "w");
	if (f) {
		fputs("3", f);
		fclose(f);
	}
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* A product of small whole numbers, which is exact, by that way of submission: its result, or how many of it are wrong. */
static int product(enum kiln_submit_way way)
{
	enum { M = 130, N = 70, K = 50 };
	struct kiln_queue_attr attr = { .way = way };
	struct kiln_device *device = open_driver();
	struct tally tally = { 0 };
	struct kiln_buffer *a, *b, *c;
	struct kiln_queue *queue;
	struct kiln_ops *ops;
	float *pa, *pb, *pc;
	int wrong = 0;

	if (kiln_queue_create(device, &attr, &queue) || kiln_ops_create(queue, &ops))
		bail("a queue");
	a = make_buffer(device, M * K * 4, KILN_HBM);
	b = make_buffer(device, K * N * 4, KILN_HBM);
	c = make_buffer(device, M * N * 4, KILN_HBM);
	pa = kiln_map(a);
	pb = kiln_map(b);
	pc = kiln_map(c);
	for (int i = 0; i < M * K; i++)
		pa[i] = (float)(i * 7 % 11 - 5);
	for (int i = 0; i < K * N; i++)
		pb[i] = (float)(i * 5 % 13 - 6);
	if (kiln_matmul(ops, &(struct kiln_matmul){ .type = KILN_TYPE_F32, .m = M, .n = N, .k = K,
			.a = kiln_addr(a), .b = kiln_addr(b), .c = kiln_addr(c) }, count, &tally) ||
	    kiln_drain(queue))
		bail("matmul");
	for (int i = 0; i < M; i++) {
		for (int j = 0; j < N; j++) {
			float sum = 0;

			for (int l = 0; l < K; l++)
				sum += pa[i * K + l] * pb[l * N + j];
			wrong += pc[i * N + j] != sum;
		}
	}
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	kiln_free(a);
	kiln_free(b);
	kiln_free(c);
	kiln_close(device);
	return tally.last ? tally.last : wrong;
}

/* Each at its own moment, from the first system call to queues that are full; how many had all of their queues. */
static int kill_victims(struct __test_metadata *_metadata, int first, int last)
{
	int full = 0, status;

	for (int i = first; i < last; i++) {
		pid_t pid = fork_tenant();

		if (!pid)
			victim(i);
		usleep(1000 * (unsigned int)(i * 37 % MOMENTS));
		full += rows("queues") == QUEUES;
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			TH_LOG("victim %d ended with status %#x", i, status);
		}
	}
	return full;
}

FIXTURE(killed) {
	uint64_t used;		/* of the card's memory, before */
};

FIXTURE_SETUP(killed)
{
	ASSERT_EQ(0, product(KILN_SUBMIT_URING));
	ASSERT_EQ(0, settled("contexts"));
	self->used = hbm_used();
}

FIXTURE_TEARDOWN(killed)
{
}

TEST_F_TIMEOUT(killed, the_card_is_idle, 300)
{
	kill_victims(_metadata, 0, 25);
	EXPECT_EQ(0, settled("queues"));
	EXPECT_EQ(0, settled("contexts"));
}

TEST_F_TIMEOUT(killed, the_cards_memory_is_free, 300)
{
	kill_victims(_metadata, 25, 50);
	EXPECT_EQ(0, settled("contexts"));
	EXPECT_EQ(self->used, hbm_used());
}

TEST_F_TIMEOUT(killed, the_card_computes, 300)
{
	kill_victims(_metadata, 50, 75);
	EXPECT_EQ(0, product(KILN_SUBMIT_URING));
	EXPECT_EQ(0, product(KILN_SUBMIT_IOCTL));
}

TEST_F_TIMEOUT(killed, the_hosts_memory_is_free, 300)
{
	/* Each CPU keeps some pages and slabs of its own, and RCU frees in its own time. */
	long slack = 2048 + 2048 * sysconf(_SC_NPROCESSORS_ONLN), before;
	int full;

	/* What a first few leave is the kernel's caches. */
	full = kill_victims(_metadata, 0, 10);
	ASSERT_EQ(0, settled("contexts"));
	before = available_kib();
	full += kill_victims(_metadata, 10, MOMENTS);
	EXPECT_LE(MOMENTS / 4, full) {
		TH_LOG("too few had all of their queues when they were killed");
	}
	EXPECT_EQ(0, settled("queues"));
	EXPECT_EQ(0, settled("contexts"));
	EXPECT_EQ(self->used, hbm_used());
	for (int i = 0; i < 50 && before - available_kib() >= slack; i++)
		usleep(100000);
	EXPECT_GT(slack, before - available_kib());
}

TEST_HARNESS_MAIN
