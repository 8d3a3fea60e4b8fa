// SPDX-License-Identifier: MIT
/*
 * The card goes while processes compute on it: unbound from its driver,
 * removed from the bus, reset below the driver. All that they have submitted
 * ends, in time and with an errno that says it, and what they hold can be
 * given back, or, after a reset, used again. Then the card is there again and computes.
 */
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kiln_ops.h>

#include "sim/core_test.h"

#define WORKERS		2
#define DEPTH		32
#define M		200
#define TIMEOUT_MS	30000

/* What a worker tells its parent. */
static struct worker {
	volatile unsigned int done;	/* right results before the end */
	unsigned int wrong;		/* successes with wrong numbers */
	unsigned int submitted, ended;
	int res;			/* first result that was no success */
	int odd;			/* a result or error that does not belong here */
	int again;			/* what one more submission gives */
	unsigned int right;		/* of M, in one more product if that is 0 */
} *worker;

static bool lost(int res)
{
	return res == -ENODEV || res == -EIO || res == -ECANCELED;
}

struct job {
	struct worker *w;
	bool ended;
	int res;
};

static void ended(void *user, const struct kiln_result *result)
{
	struct job *job = user;

	job->ended = true;
	job->res = result->res;
	job->w->ended++;
	if (!result->res) {
		job->w->done++;
		return;
	}
	if (!job->w->res)
		job->w->res = result->res;
	if (!lost(result->res))
		job->w->odd = result->res;
}

/* A row of ones times a matrix of ones: each element is M. */
static void compute(struct worker *w, enum kiln_submit_way way)
{
	struct kiln_queue_attr attr = { .depth = DEPTH, .way = way };
	struct kiln_device *device = open_card();
	struct kiln_buffer *a, *c;
	struct kiln_queue *queue;
	struct kiln_ops *ops;
	struct job job[DEPTH], last = { .w = w };
	unsigned int wrong = 0;
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
	while (!w->res && !err) {
		memset(job, 0, sizeof(job));
		memset(pc, 0xff, DEPTH * M * 4);
		for (unsigned int i = 0; i < DEPTH && !err; i++) {
			job[i].w = w;
			err = kiln_matmul(ops, &(struct kiln_matmul){
				.type = KILN_TYPE_F32, .m = 1, .n = M, .k = M,
				.a = kiln_addr(a), .b = kiln_addr(a), .c = kiln_addr(c) + i * M * 4,
			}, ended, &job[i]);
			w->submitted += !err;
		}
		if (!err)
			err = kiln_drain(queue);
		/* Memory of a card that is gone reads as anything: what was wrong counts if it was still there. */
		if (!err && !w->res)
			w->wrong += wrong;
		wrong = 0;
		for (unsigned int i = 0; i < DEPTH; i++)
			for (int j = 0; job[i].ended && !job[i].res && j < M; j++)
				wrong += pc[i * M + j] != M;
	}
	if (err && !lost(err))
		w->odd = err;
	if (!w->res)
		w->res = err;
	/* What is still under way comes back now, whatever the queue says. */
	while (kiln_pending(queue) && !(err = kiln_drain(queue)))
		;
	w->again = kiln_submit(queue, &(struct kiln_command){ .done = ended, .user = &last }, 1, NULL);
	w->submitted += !w->again;
	if (!w->again)
		w->again = kiln_drain(queue);
	if (!w->again)
		w->again = last.res;
	if (!w->again) {
		struct job more = { .w = w };

		w->submitted++;
		memset(pc, 0xff, M * 4);
		w->again = kiln_matmul(ops, &(struct kiln_matmul){
			.type = KILN_TYPE_F32, .m = 1, .n = M, .k = M,
			.a = kiln_addr(a), .b = kiln_addr(a), .c = kiln_addr(c),
		}, ended, &more);
		if (!w->again)
			w->again = kiln_drain(queue);
		for (int j = 0; more.ended && !more.res && j < M; j++)
			w->right += pc[j] == M;
	}
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	/* Nobody gets a signal for memory of a card that is gone. */
	pa[0] = pa[1];
	kiln_free(a);
	kiln_free(c);
	kiln_close(device);
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (!good)
		printf("# %s to %s: %s\n", text, path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return good;
}

/* Is a card there, and does it compute? */
static bool works(void)
{
	struct kiln_queue *queue;
	struct kiln_device *device;
	struct tally tally = { 0 };
	bool good = false;

	for (int i = 0; i < 500 && kiln_open(transport(), &device); i++) {
		if (i == 499) {
			printf("# %s\n", kiln_last_error());
			return false;
		}
		usleep(10000);
	}
	if (!kiln_queue_create(device, NULL, &queue)) {
		struct kiln_ops *ops;
		struct kiln_buffer *b;

		if (!kiln_ops_create(queue, &ops) && !kiln_alloc(device, 8192, KILN_HBM, 0, &b)) {
			float *p = kiln_map(b);

			for (int i = 0; i < 256; i++)
				p[i] = (float)(i % 17 == 0);	/* the identity */
			p[256 + 37] = 5;
			good = !kiln_matmul(ops, &(struct kiln_matmul){
				.type = KILN_TYPE_F32, .m = 16, .n = 16, .k = 16,
				.a = kiln_addr(b), .b = kiln_addr(b) + 1024,
				.c = kiln_addr(b) + 4096,
			}, count, &tally) && !kiln_drain(queue) && tally.good == 1 &&
			       p[1024 + 37] == 5 && p[1024 + 38] == 0;
			kiln_ops_destroy(ops);
			kiln_free(b);
		}
		kiln_queue_destroy(queue);
	}
	if (!good)
		printf("# result %d, last error: %s\n", tally.last, kiln_last_error());
	kiln_close(device);
	return good;
}

/* Start the workers, make the card go away under them, look at how they end, bring it back. */
static void lose(const char *how, const char *path, const char *text,
		 const char *back, const char *back_text)
{
	pid_t pid[WORKERS];
	uint64_t start;
	int status;

	memset(worker, 0, WORKERS * sizeof(*worker));
	for (int i = 0; i < WORKERS; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			compute(&worker[i], i ? KILN_SUBMIT_IOCTL : KILN_SUBMIT_URING);
			_exit(0);
		}
	}
	start = now_ms();
	for (int i = 0; i < WORKERS; i++)
		while (!worker[i].done && now_ms() - start < TIMEOUT_MS)
			usleep(1000);
	usleep(30000);
	ok(put(path, text), "%s, with %d processes at work", how, WORKERS);
	start = now_ms();
	for (int i = 0; i < WORKERS; i++) {
		const char *way = i ? "ioctl" : "uring";
		struct worker *w = &worker[i];
		pid_t ret = 0;

		while (!(ret = waitpid(pid[i], &status, WNOHANG)) && now_ms() - start < TIMEOUT_MS)
			usleep(5000);
		if (!ok(ret == pid[i] && !status, "  %s: the process gets to its end", way)) {
			printf("# expected status 0 within %d s\n# got %s %#x\n", TIMEOUT_MS / 1000,
			       ret ? "status" : "nothing, status", ret ? status : 0);
			if (!ret) {
				kill(pid[i], SIGKILL);
				waitpid(pid[i], &status, 0);
			}
		}
		ok(w->done > 0 && !w->wrong, "  %s: %u results before were right", way, w->done);
		if (!ok(w->submitted == w->ended, "  %s: every command ended", way))
			printf("# expected %u\n# got %u\n", w->submitted, w->ended);
		if (!ok(lost(w->res) && !w->odd, "  %s: with an errno that says it", way))
			printf("# expected one of %d, %d, %d\n# got %d, %d\n", -ENODEV, -EIO,
			       -ECANCELED, w->res, w->odd);
		if (!back) {
			if (!ok(!w->again && w->right == M, "  %s: the next ones work, with what was in HBM", way))
				printf("# expected 0, %d right\n# got %d, %u\n", M, w->again, w->right);
		} else if (!ok(lost(w->again), "  %s: so does one more", way))
			printf("# expected one of %d, %d, %d\n# got %d\n", -ENODEV, -EIO,
			       -ECANCELED, w->again);
		printf("# %s: %u results, then %d; then %d\n", way, w->done, w->res, w->again);
	}
	if (back)
		ok(put(back, back_text), "  the card comes back");
	ok(works(), "  and computes");
}

int main(void)
{
	char link[PATH_MAX], remove[PATH_MAX + 16], reset[PATH_MAX + 16], *slot;
	ssize_t n = -1;
	glob_t g;

	setenv("KILN_TRANSPORT", "drm", 0);
	worker = mmap(NULL, WORKERS * sizeof(*worker), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!glob("/sys/bus/pci/drivers/kiln/0000:*", 0, NULL, &g)) {
		n = readlink(g.gl_pathv[0], link, sizeof(link) - 1);
		globfree(&g);
	}
	if (worker == MAP_FAILED || n <= 0)
		bail("no card in /sys/bus/pci/drivers/kiln");
	link[n] = 0;
	slot = strrchr(link, '/') + 1;
	snprintf(remove, sizeof(remove), "/sys/bus/pci/devices/%s/remove", slot);
	snprintf(reset, sizeof(reset), "/sys/bus/pci/devices/%s/reset", slot);

	for (int i = 0; i < 3; i++)
		lose("unbound", "/sys/bus/pci/drivers/kiln/unbind", slot,
		     "/sys/bus/pci/drivers/kiln/bind", slot);
	for (int i = 0; i < 3; i++)
		lose("reset", reset, "1", NULL, NULL);
	for (int i = 0; i < 2; i++)
		lose("removed", remove, "1", "/sys/bus/pci/rescan", "1");
	/* Kernel threads close the last files; then the card gets its old number again. */
	for (int i = 0; i < 50 && access("/dev/accel/accel0", F_OK); i++) {
		put("/sys/bus/pci/drivers/kiln/unbind", slot);
		usleep(20000);
		put("/sys/bus/pci/drivers/kiln/bind", slot);
	}
	ok(!access("/dev/accel/accel0", F_OK), "unbound and bound again, it is the first card");
	ok(works(), "  and computes");
	return done_testing();
}
