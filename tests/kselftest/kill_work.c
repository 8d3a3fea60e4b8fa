// SPDX-License-Identifier: MIT
/*
 * A hundred processes, each with four queues full of programs, die at any
 * moment from their start on: the card is idle afterwards, all memory is free,
 * and it computes as before. abi_kill.c does the same with commands that run
 * no program.
 */
#include <glob.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kiln_asm.h>
#include <kiln_ops.h>

#include "sim/core_test.h"

#define VICTIMS		100
#define QUEUES		4
#define DEPTH		64

static struct kiln_program *load(struct kiln_device *device, struct kiln_asm *as)
{
	struct kiln_program *program;
	void *bytes;
	size_t size;

	if (kiln_asm_finish(as, &bytes, &size) ||
	    kiln_program_load(device, bytes, size, &program))
		_exit(1);
	kiln_asm_destroy(as);
	free(bytes);
	return program;
}

/* Turns rounds times, without end for 0. */
static struct kiln_program *loop(struct kiln_device *device, int64_t rounds)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_movi(as, KILN_SYNC, 1, rounds - 1);
	kiln_asm_addi(as, KILN_SYNC, 2, 2, 1);
	kiln_asm_bne(as, KILN_SYNC, 1, 2, 1);
	return load(device, as);
}

/*
 * Queue 0 computes, queue 1 waits for a value that never comes, queue 2 has
 * short programs behind one without end, queue 3 is filled up again and again.
 */
static void victim(int n)
{
	struct kiln_device *device = open_card();
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
static void settle(const char *name, const char *what)
{
	for (int i = 0; i < 500 && rows(name); i++)
		usleep(10000);
	is(rows(name), 0, what);
}

static uint64_t hbm_used(void)
{
	struct kiln_device *device = open_card();
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

/* A product of small whole numbers, which is exact, by that way of submission. */
static void still_works(enum kiln_submit_way way, const char *what)
{
	enum { M = 130, N = 70, K = 50 };
	struct kiln_queue_attr attr = { .way = way };
	struct kiln_device *device = open_card();
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
	if (!ok(!tally.last && !wrong, "%s", what))
		printf("# expected result 0, 0 wrong\n# got result %d, %d wrong\n", tally.last, wrong);
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	kiln_free(a);
	kiln_free(b);
	kiln_free(c);
	kiln_close(device);
}

int main(void)
{
	int odd = 0, full = 0;
	uint64_t used;
	long before = 0, slack;

	setenv("KILN_TRANSPORT", "drm", 0);
	still_works(KILN_SUBMIT_URING, "a product before");
	settle("contexts", "no context is left");
	used = hbm_used();
	for (int i = 0; i < VICTIMS; i++) {
		pid_t pid = fork();
		int status;

		if (!pid)
			victim(i);
		/* From the first system call to queues that are full. */
		usleep(1000 * (unsigned int)(i * 37 % VICTIMS));
		full += rows("queues") == QUEUES;
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			odd++;
		/* What a first few leave is the kernel's caches. */
		if (i == 9) {
			settle("contexts", "after ten of them no context is left");
			before = available_kib();
		}
	}
	is(odd, 0, "a hundred processes killed");
	if (!ok(full >= VICTIMS / 4, "many of them when all of their queues stood"))
		printf("# expected %d or more\n# got %d\n", VICTIMS / 4, full);
	settle("queues", "no queue is left");
	settle("contexts", "no context is left");
	is((long long)hbm_used(), (long long)used, "the card's memory in use is what it was");
	/* Each CPU keeps some pages and slabs of its own, and RCU frees in its own time. */
	slack = 2048 + 2048 * sysconf(_SC_NPROCESSORS_ONLN);
	for (int i = 0; i < 50 && before - available_kib() >= slack; i++)
		usleep(100000);
	if (!ok(before - available_kib() < slack, "so is the host's"))
		printf("# expected %ld kB, less %ld at most\n# got %ld kB\n", before, slack,
		       available_kib());
	still_works(KILN_SUBMIT_URING, "a product through io_uring");
	still_works(KILN_SUBMIT_IOCTL, "a product through the ioctl");
	return done_testing();
}
