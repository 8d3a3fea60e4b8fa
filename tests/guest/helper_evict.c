// SPDX-License-Identifier: MIT
/*
 * Two processes whose buffers together need twice the HBM there is, all bound,
 * both at work at the same time, and looked at by the CPU; with a third one that
 * wants as much and is killed in the middle of it, again and again. Wants a card
 * with 64 MiB or so; see tests/host/evict.sh.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "_abi.h"

#define BUFFERS		5
#define PARTS		8
#define ROUNDS		6

struct shared {
	volatile int ready, evicted[2], rounds[2];
};

struct tenant {
	int fd;
	uint64_t seed;
	volatile int stop, wrong, looks;
	uint32_t vm, queue, bo[BUFFERS];
	uint64_t bytes[BUFFERS], va[BUFFERS], *p[BUFFERS];
};

static uint32_t placement(struct tenant *t, int n)
{
	struct drm_kiln_bo_info info = { .handle = t->bo[n] };

	return call(t->fd, DRM_IOCTL_KILN_BO_INFO, &info) ? 0 : info.placement;
}

static uint64_t pattern(uint64_t seed, int n, uint64_t i)
{
	return seed << 48 | (uint64_t)n << 40 | i;
}

/* Bytes into its buffer of what command i looks at. */
static uint64_t place(struct tenant *t, int i)
{
	return t->bytes[i / PARTS] / PARTS * (i % PARTS) / PAGE * PAGE;
}

/* Of all of HBM: 5/8, 1/8, 1/16, 1/32 and a small one; the last is in host memory. */
static void set_up(struct tenant *t, uint64_t seed)
{
	uint64_t total;

	t->fd = open_card();
	total = card_info(t->fd).hbm_bytes;
	t->vm = make_vm(t->fd);
	t->queue = make_queue(t->fd, t->vm, 64, 0);
	for (int n = 0; n < BUFFERS; n++) {
		t->bytes[n] = n == 0 ? total * 5 / 8 : n == BUFFERS - 1 ? 3 * PAGE : total >> (n + 2);
		t->va[n] = VA_BASE + n * total + (n == 2 ? PAGE : 0);
		t->bo[n] = make_bo(t->fd, t->bytes[n],
				   n == BUFFERS - 1 ? DRM_KILN_BO_SYSTEM : DRM_KILN_BO_HBM);
		t->p[n] = map_bo(t->fd, t->bo[n], t->bytes[n]);
		for (uint64_t i = 0; i < t->bytes[n] / 8; i += PAGE / 8)
			t->p[n][i] = pattern(seed, n, i);
	}
	for (int n = 0; n < BUFFERS; n++) {
		int ret = bind_bo(t->fd, t->vm, t->bo[n], 0, t->va[n], t->bytes[n]);

		if (ret)
			bail("bind", -ret);
	}
}

/* At the beginning of each 1/8 of a buffer the card checks what it sees, and writes beside it. */
static int work(struct tenant *t, uint64_t seed, uint64_t round)
{
	struct drm_kiln_result results[BUFFERS * PARTS];
	struct drm_kiln_exec e[BUFFERS * PARTS];
	uint64_t seqno = 0;
	int bad = 0, ret;

	for (int i = 0; i < BUFFERS * PARTS; i++) {
		uint64_t at = place(t, i);

		e[i] = (struct drm_kiln_exec) {
			.queue_id = t->queue, .flags = DRM_KILN_EXEC_NOP,
			.wait_addr = t->va[i / PARTS] + at,
			.wait_value = pattern(seed, i / PARTS, at / 8),
			.signal_addr = t->va[i / PARTS] + at + 8, .signal_value = round,
		};
	}
	ret = submit(t->fd, e, BUFFERS * PARTS, &seqno);
	if (ret != BUFFERS * PARTS)
		bail("submit", ret < 0 ? -ret : EAGAIN);
	ret = wait_results(t->fd, t->queue, seqno - ret + 1, ret, 120000000000ll, results);
	if (ret)
		bail("wait", -ret);
	for (int i = 0; i < BUFFERS * PARTS; i++) {
		volatile uint64_t *p = t->p[i / PARTS] + place(t, i) / 8;

		/* The card waits for a value that is as large; so see for ourselves, too. */
		if (results[i].res || p[0] != e[i].wait_value || p[1] != round) {
			printf("# tenant %d, round %d, buffer %d, part %d: %d, %#llx for %#llx, %llu for %llu\n",
			       (int)seed, (int)round, i / PARTS, i % PARTS, results[i].res,
			       (long long)p[0], (long long)e[i].wait_value, (long long)p[1],
			       (long long)round);
			bad++;
		}
	}
	return bad;
}

/* The CPU's look at buffers that come and go. */
static void *looker(void *arg)
{
	struct tenant *t = arg;

	for (uint64_t x = 1; !t->stop; x = x * 6364136223846793005ull + 1442695040888963407ull) {
		int n = (x >> 33) % BUFFERS;
		uint64_t i = (x >> 36) % (t->bytes[n] / PAGE) * (PAGE / 8);
		uint64_t value = *(volatile uint64_t *)&t->p[n][i];

		if (value != pattern(t->seed, n, i)) {
			printf("# the CPU sees %#llx in buffer %d at %#llx\n", (long long)value, n,
			       (long long)i * 8);
			t->wrong++;
		}
		t->looks++;
		usleep(3000);
	}
	return NULL;
}

/* Binds as much as the others, and has commands, until somebody kills it. */
static void nuisance(void)
{
	struct tenant t = { 0 };

	set_up(&t, 9);
	for (;;)
		work(&t, 9, 1);
}

static int tenant(struct shared *s, int me)
{
	uint64_t seed = me + 1;
	struct tenant t = { .seed = seed };
	pthread_t thread;
	int bad = 0;

	set_up(&t, seed);
	pthread_create(&thread, NULL, looker, &t);
	__sync_fetch_and_add(&s->ready, 1);
	for (int n = 0; s->ready < 2 && n < 3000; n++)
		usleep(10000);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		for (int n = 0; n < BUFFERS - 1; n++)
			s->evicted[me] += placement(&t, n) == DRM_KILN_BO_SYSTEM;
		bad += work(&t, seed, round);
		s->rounds[me]++;
	}
	/* However busy the machine is, it has to have a look. */
	for (int n = 0; !t.looks && n < 3000; n++)
		usleep(10000);
	t.stop = 1;
	pthread_join(thread, NULL);
	bad += t.wrong + !t.looks;
	for (int n = 0; n < BUFFERS; n++)
		for (uint64_t i = 0; i < t.bytes[n] / 8; i += PAGE / 8)
			bad += t.p[n][i] != pattern(seed, n, i);
	return bad > 255 ? 255 : bad;
}

int main(void)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t used;
	pid_t pid[2], third = 0;
	int fd, left, killed = 0;

	if (s == MAP_FAILED)
		bail("mmap", errno);
	fd = open_card();
	used = card_info(fd).hbm_used_bytes;
	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(tenant(s, i));
	}
	for (left = 2; left;) {
		int status[2] = { -1, -1 };

		/* Lives a little longer each time: dies in set-up, in bind, at work. */
		third = fork();
		if (!third)
			nuisance();
		for (int ms = 0; left && ms < 40 + killed * 150; ms += 20) {
			for (int i = 0; i < 2; i++) {
				if (!pid[i] || !waitpid(pid[i], &status[i], WNOHANG))
					continue;
				pid[i] = 0;
				left--;
				is(status[i], 0, "tenant %d: what it wrote, the card and it have seen, always", i);
				is(s->rounds[i], ROUNDS, "tenant %d: has finished", i);
			}
			usleep(20000);
		}
		kill(third, SIGKILL);
		waitpid(third, NULL, 0);
		killed++;
	}
	/* Which of them, and how often, is a matter of who comes first. */
	ok(s->evicted[0] + s->evicted[1] > 0, "tenants had to give their memory up: %d and %d times",
	   s->evicted[0], s->evicted[1]);
	ok(killed > 1, "the third one has been killed %d times", killed);
	for (int n = 0; card_info(fd).hbm_used_bytes != used && n < 100; n++)
		usleep(20000);
	is(card_info(fd).hbm_used_bytes, used, "all of HBM is free again");
	return done_testing();
}
