// SPDX-License-Identifier: MIT
/*
 * helper_load [SECONDS]: computes in two processes, one for each way of
 * submission, until the card is lost or the time is over, and checks every
 * result. Says "ready" when both have one, and in the end a line for each:
 *
 *	uring right=N wrong=N lost=N res=R again=R
 *
 * wrong: results; lost: commands that never ended; res: of the first one that
 * failed, again: of one more afterwards. Status 0 if none is wrong or lost.
 * Others make the card go away meanwhile; alone, it has nothing to test.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kiln_ops.h>

#include "sim/core_test.h"

#define DEPTH	8
#define M	64

static struct worker {
	volatile unsigned int right;
	unsigned int wrong, submitted, ended;
	int res, again;
} *worker;

static void ended(void *user, const struct kiln_result *result)
{
	struct worker *w = user;

	w->ended++;
	if (result->res && !w->res)
		w->res = result->res;
}

/* A machine that goes to sleep interrupts io_uring's wait like a signal does. */
static int drain(struct kiln_queue *queue)
{
	int err;

	do
		err = kiln_drain(queue);
	while (err == -EINTR);
	return err;
}

/* With the card its memory goes, too: what the CPU reads there then is no result. */
static bool gone(struct kiln_queue *queue)
{
	struct worker one = { 0 };
	int err = kiln_submit(queue, &(struct kiln_command){ .done = ended, .user = &one }, 1, NULL);

	if (!err)
		err = drain(queue);
	return err == -ENODEV || one.res == -ENODEV;
}

/* A row of ones times a matrix of ones: each element is M. */
static void compute(struct worker *w, enum kiln_submit_way way, uint64_t end)
{
	struct kiln_queue_attr attr = { .depth = DEPTH, .way = way, .limit_ms = 500 };
	struct kiln_device *device = open_card();
	struct kiln_buffer *a, *c;
	struct kiln_queue *queue;
	struct kiln_ops *ops;
	float *pa, *pc;
	int err = 0;

	if (kiln_queue_create(device, &attr, &queue) || kiln_ops_create(queue, &ops))
		bail("a queue");
	a = make_buffer(device, M * M * 4, KILN_HBM);
	c = make_buffer(device, DEPTH * M * 4, KILN_HOST);
	pa = kiln_map(a);
	pc = kiln_map(c);
	for (int i = 0; i < M * M; i++)
		pa[i] = 1;
	while (!w->res && !err && now_ms() < end) {
		unsigned int wrong = 0;

		memset(pc, 0xff, DEPTH * M * 4);
		for (int i = 0; i < DEPTH && !err; i++) {
			err = kiln_matmul(ops, &(struct kiln_matmul){
				.type = KILN_TYPE_F32, .m = 1, .n = M, .k = M,
				.a = kiln_addr(a), .b = kiln_addr(a), .c = kiln_addr(c) + i * M * 4,
			}, ended, w);
			w->submitted += !err;
		}
		if (!err)
			err = drain(queue);
		if (err || w->res)
			break;
		for (int i = 0; i < DEPTH * M; i++)
			wrong += pc[i] != M;
		if (wrong && gone(queue)) {
			w->res = -ENODEV;
			break;
		}
		w->wrong += wrong != 0;
		w->right += !wrong;
	}
	if (!w->res)
		w->res = err;
	while (kiln_pending(queue) && !drain(queue))
		;
	w->again = kiln_submit(queue, &(struct kiln_command){ .done = ended, .user = w }, 1, NULL);
	w->submitted += !w->again;
	if (!w->again) {
		struct worker one = { 0 };

		w->again = drain(queue);
		if (!w->again && !kiln_submit(queue, &(struct kiln_command){ .done = ended, .user = &one }, 1, NULL)) {
			drain(queue);
			w->again = one.res;
		}
	}
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	kiln_free(a);
	kiln_free(c);
	kiln_close(device);
}

int main(int argc, char **argv)
{
	uint64_t end = now_ms() + 1000 * (argc > 1 ? atoi(argv[1]) : 60);
	static const char *const names[] = { "uring", "ioctl" };
	bool bad = false;
	pid_t pid[2];
	int status;

	setenv("KILN_TRANSPORT", "drm", 0);
	worker = mmap(NULL, 2 * sizeof(*worker), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (worker == MAP_FAILED)
		bail("mmap");
	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			compute(&worker[i], i ? KILN_SUBMIT_IOCTL : KILN_SUBMIT_URING, end);
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++)
		while (!worker[i].right && !worker[i].res && now_ms() < end)
			usleep(1000);
	puts("ready");
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		struct worker *w = &worker[i];

		waitpid(pid[i], &status, 0);
		printf("%s right=%u wrong=%u lost=%u res=%d again=%d\n", names[i], w->right,
		       w->wrong, w->submitted - w->ended, w->res, w->again);
		bad |= status || w->wrong || w->submitted != w->ended;
	}
	return bad;
}
