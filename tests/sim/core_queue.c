// SPDX-License-Identifier: MIT
/* Queues: batches, waits, timelines, callbacks, descriptors, threads, destruction. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "core_test.h"

static struct kiln_device *device;

/* Timelines are shared with the card. */
static uint64_t load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *p, uint64_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static void batches(void)
{
	static struct kiln_command c[1000];
	struct kiln_queue *queue = make_queue(device, 16, 0);
	struct tally tally = { 0 };
	unsigned int taken;

	for (int i = 0; i < 1000; i++)
		c[i] = (struct kiln_command){ .done = count, .user = &tally };
	is(kiln_submit(queue, c, 1000, &taken), 0, "1000 commands to a queue of 16");
	is(taken, 1000, "are all taken");
	ok(tally.calls >= 984 && tally.calls + kiln_pending(queue) == 1000,
	   "what was called back and what is pending makes 1000");
	is(kiln_drain(queue), 0, "they complete");
	is(tally.good, 1000, "well, each once");
	is(kiln_pending(queue), 0, "and nothing is pending");
	c[0].done = NULL;
	is(kiln_submit(queue, c, 1, NULL), 0, "a command without a callback");
	is(kiln_wait(queue, 1, -1), 1, "counts as one");
	kiln_queue_destroy(queue);
}

struct order {
	unsigned int next;
	bool good;
};

struct numbered {
	struct order *order;
	unsigned int number;
};

static void in_order(void *user, const struct kiln_result *result)
{
	struct numbered *n = user;

	n->order->good &= !result->res && n->number == n->order->next++;
}

static void ordering(void)
{
	static struct kiln_command c[300];
	static struct numbered n[300];
	struct kiln_queue *queue = make_queue(device, 64, 0);
	struct order order = { .good = true };

	for (unsigned int i = 0; i < 300; i++) {
		n[i] = (struct numbered){ &order, i };
		c[i] = (struct kiln_command){ .done = in_order, .user = &n[i] };
	}
	/* In pieces of all sizes. */
	for (unsigned int at = 0, size = 1; at < 300; at += size, size = size % 50 + 7) {
		if (size > 300 - at)
			size = 300 - at;
		kiln_submit(queue, c + at, size, NULL);
	}
	kiln_drain(queue);
	is(order.next, 300, "300 commands in uneven batches");
	ok(order.good, "complete in order");
	kiln_queue_destroy(queue);
}

static void timelines(enum kiln_placement placement, const char *where)
{
	struct kiln_queue *a = make_queue(device, 8, 0), *b = make_queue(device, 8, 0);
	struct kiln_buffer *buffer = make_buffer(device, 4096, placement);
	uint64_t *value = kiln_map(buffer);
	struct tally first = { 0 }, second = { 0 };
	struct kiln_command wait = {
		.wait_addr = kiln_addr(buffer) + 8, .wait_value = 5,
		.signal_addr = kiln_addr(buffer) + 16, .signal_value = 77,
		.done = count, .user = &first,
	}, signal = {
		.signal_addr = kiln_addr(buffer) + 8, .signal_value = 5,
		.done = count, .user = &second,
	};
	uint64_t start = now_ms();

	printf("# timeline in %s\n", where);
	is(kiln_submit(a, &wait, 1, NULL), 0, "a command that waits");
	is(kiln_wait(a, 1, 100000000), -ETIME, "does not complete in 100 ms");
	ok(now_ms() - start >= 95, "and kiln_wait() waited for them");
	is(kiln_wait(a, 1, 0), 0, "a look does not find it done either");
	is(kiln_pending(a), 1, "it is pending");
	is((long long)load(value + 2), 0, "and has signalled nothing");
	is(kiln_submit(b, &signal, 1, NULL), 0, "another queue signals");
	is(kiln_drain(b), 0, "that is done");
	is(kiln_wait(a, 1, 5000000000), 1, "then the first one is, too");
	is(first.good + second.good, 2, "both well");
	is((long long)load(value + 1), 5, "the first timeline");
	is((long long)load(value + 2), 77, "the second timeline");

	/* And from the CPU. */
	wait.wait_value = 6;
	kiln_submit(a, &wait, 1, NULL);
	store(value + 1, 9);
	is(kiln_wait(a, 1, 5000000000), 1, "a value beyond what is waited for, written by the CPU");
	kiln_queue_destroy(a);
	kiln_queue_destroy(b);
	kiln_free(buffer);
}

struct chain {
	struct kiln_queue *queue;
	unsigned int left, depth, deepest;
	int wait_result;
};

static void again(void *user, const struct kiln_result *result)
{
	struct chain *chain = user;
	struct kiln_command c[3] = {
		{ .done = again, .user = chain },
		{ .done = again, .user = chain },
		{ .done = again, .user = chain },
	};
	unsigned int n = chain->left < 3 ? chain->left : 3;

	if (result->res)
		return;
	if (++chain->depth > chain->deepest)
		chain->deepest = chain->depth;
	chain->left -= n;
	if (n)
		kiln_submit(chain->queue, c, n, NULL);
	chain->wait_result = kiln_wait(chain->queue, 1, 0);
	chain->depth--;
}

static void callbacks(void)
{
	struct chain chain = { .queue = make_queue(device, 8, 0), .left = 999 };
	struct kiln_command c = { .done = again, .user = &chain };

	kiln_submit(chain.queue, &c, 1, NULL);
	is(kiln_drain(chain.queue), 0, "each callback submits three, to a queue of 8");
	is(chain.left, 0, "until there were 1000");
	is(chain.deepest, 1, "callbacks do not nest");
	is(chain.wait_result, -EBUSY, "and must not wait");
	kiln_queue_destroy(chain.queue);
}

/* The descriptor of an idle queue is quiet, and readable once something is done. */
static void descriptor(void)
{
	struct kiln_queue *queue = make_queue(device, 8, 0);
	struct kiln_buffer *buffer = make_buffer(device, 4096, KILN_HOST);
	uint64_t *value = kiln_map(buffer);
	struct tally tally = { 0 };
	struct kiln_command c = {
		.wait_addr = kiln_addr(buffer),
		.done = count, .user = &tally,
	};
	struct pollfd pfd = { .fd = kiln_queue_fd(queue), .events = POLLIN };
	bool good = true;

	if (pfd.fd == -ENOTSUP) {
		skip("a descriptor to poll", "this way of submission has none");
		goto out;
	}
	ok(pfd.fd >= 0, "there is a descriptor");
	is(poll(&pfd, 1, 0), 0, "quiet at first");
	for (uint64_t i = 1; i <= 20; i++) {
		c.wait_value = i;
		kiln_submit(queue, &c, 1, NULL);
		good &= poll(&pfd, 1, i == 1 ? 50 : 0) == 0;
		store(value, i);
		good &= poll(&pfd, 1, 5000) == 1;
		good &= kiln_wait(queue, 0, 0) == 1;
		good &= poll(&pfd, 1, 0) == 0;
	}
	ok(good, "twenty times: quiet, then readable, then quiet after kiln_wait(queue, 0, 0)");
	is(tally.good, 20, "each time with a completion behind it");

	/* Several at once, and one look for them. */
	struct kiln_command three[3] = { c, c, c };

	kiln_submit(queue, three, 3, NULL);
	while (kiln_pending(queue) && poll(&pfd, 1, 5000) == 1)
		kiln_wait(queue, 0, 0);
	is(kiln_pending(queue), 0, "an event loop gets them all");
out:
	kiln_queue_destroy(queue);
	kiln_free(buffer);
}

static void destruction(void)
{
	struct kiln_queue *queue = make_queue(device, 16, 0), *other = make_queue(device, 8, 0);
	struct kiln_buffer *buffer = make_buffer(device, 4096, KILN_HBM);
	struct tally tally = { 0 }, after = { 0 };
	struct kiln_command c[10];

	for (int i = 0; i < 10; i++)
		c[i] = (struct kiln_command){
			.wait_addr = kiln_addr(buffer), .wait_value = 1,
			.done = count, .user = &tally,
		};
	kiln_submit(queue, c, 10, NULL);
	kiln_queue_destroy(queue);
	is(tally.calls, 10, "a queue destroyed with ten commands: ten callbacks");
	is(tally.good, 0, "none of them done");
	is(tally.last, -ECANCELED, "but canceled");
	c[0] = (struct kiln_command){ .done = count, .user = &after };
	kiln_submit(other, c, 1, NULL);
	kiln_drain(other);
	is(after.good, 1, "another queue goes on");
	kiln_queue_destroy(other);
	kiln_free(buffer);
}

static void many_queues(void)
{
	struct kiln_queue *q[100];
	struct tally tally = { 0 };
	struct kiln_command c = { .done = count, .user = &tally };

	for (int i = 0; i < 100; i++)
		q[i] = make_queue(device, 8, 0);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 100; i++)
			kiln_submit(q[i], &c, 1, NULL);
	for (int i = 0; i < 100; i++) {
		kiln_drain(q[i]);
		kiln_queue_destroy(q[i]);
	}
	is(tally.good, 300, "100 queues with three commands each");
}

struct worker {
	pthread_t thread;
	struct tally tally;
	int err;
};

static void *work(void *arg)
{
	struct kiln_queue *queue = make_queue(device, 8, 0);
	struct worker *w = arg;
	struct kiln_command c[20];

	for (int i = 0; i < 20; i++)
		c[i] = (struct kiln_command){ .done = count, .user = &w->tally };
	for (int round = 0; round < 20; round++) {
		struct kiln_buffer *buffer = make_buffer(device, 100000, KILN_HBM);

		memset(kiln_map(buffer), round, 100000);
		c[19].signal_addr = kiln_addr(buffer);
		w->err |= kiln_submit(queue, c, 20, NULL);
		w->err |= kiln_drain(queue);
		kiln_free(buffer);
	}
	kiln_queue_destroy(queue);
	return NULL;
}

static void threads(void)
{
	struct worker w[4] = { 0 };
	unsigned int good = 0;
	int err = 0;

	for (int i = 0; i < 4; i++)
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	for (int i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		good += w[i].tally.good;
		err |= w[i].err;
	}
	is(err, 0, "four threads with a queue and buffers each");
	is(good, 4 * 400, "get all of their commands done");
}

/* A queue belongs to one thread at a time, not to one for ever. */
static void *drain(void *queue)
{
	return (void *)(intptr_t)kiln_drain(queue);
}

static void moving(void)
{
	struct kiln_queue *queue = make_queue(device, 8, 0);
	struct kiln_buffer *buffer = make_buffer(device, 4096, KILN_HOST);
	struct tally tally = { 0 };
	struct kiln_command c = {
		.wait_addr = kiln_addr(buffer), .wait_value = 1,
		.done = count, .user = &tally,
	};
	pthread_t thread;
	void *err;

	kiln_submit(queue, &c, 1, NULL);
	pthread_create(&thread, NULL, drain, queue);
	store(kiln_map(buffer), 1);
	pthread_join(thread, &err);
	is((intptr_t)err, 0, "submitted by one thread, waited for by another");
	is(tally.good, 1, "done");
	kiln_queue_destroy(queue);
	kiln_free(buffer);
}

struct left {
	struct kiln_queue *queue;
	const struct kiln_command *commands;
	unsigned int count;
};

static void *submit_and_end(void *arg)
{
	struct left *left = arg;

	return (void *)(intptr_t)kiln_submit(left->queue, left->commands, left->count, NULL);
}

/* What a thread submitted goes on when it has ended, in a queue that others submit to, too. */
static void ended(void)
{
	struct kiln_queue *queue = make_queue(device, 8, 0);
	struct kiln_buffer *buffer = make_buffer(device, 4096, KILN_HOST);
	struct tally first = { 0 }, theirs = { 0 }, last = { 0 };
	struct kiln_command c = {
		.wait_addr = kiln_addr(buffer), .wait_value = 1,
		.done = count, .user = &first,
	}, behind[4];
	struct left left = { queue, behind, 4 };
	pthread_t thread;
	void *err;

	for (int i = 0; i < 4; i++) {
		behind[i] = c;
		behind[i].user = &theirs;
	}
	kiln_submit(queue, &c, 1, NULL);
	pthread_create(&thread, NULL, submit_and_end, &left);
	pthread_join(thread, &err);
	is((intptr_t)err, 0, "a thread submits behind another's command and ends");
	c.user = &last;
	is(kiln_submit(queue, &c, 1, NULL), 0, "the queue takes more");
	is(kiln_pending(queue), 6, "nothing is canceled");
	store(kiln_map(buffer), 1);
	is(kiln_drain(queue), 0, "all of it completes");
	is(first.good, 1, "what was there before it");
	is(theirs.good, 4, "what the ended thread submitted");
	is(last.good, 1, "and what came after it");
	kiln_queue_destroy(queue);
	kiln_free(buffer);
}

static void nothing(int signal)
{
	(void)signal;
}

static void signals(void)
{
	struct kiln_queue *queue = make_queue(device, 8, 0);
	struct kiln_buffer *buffer = make_buffer(device, 4096, KILN_HOST);
	struct tally tally = { 0 };
	struct kiln_command c = {
		.wait_addr = kiln_addr(buffer), .wait_value = 1,
		.done = count, .user = &tally,
	};
	struct sigaction action = { .sa_handler = nothing }, old;
	struct itimerval timer = { .it_value.tv_usec = 100000 };

	sigaction(SIGALRM, &action, &old);
	kiln_submit(queue, &c, 1, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	is(kiln_wait(queue, 1, -1), -EINTR, "a signal ends a wait");
	is(kiln_pending(queue), 1, "the command is still pending");
	store(kiln_map(buffer), 1);
	is(kiln_wait(queue, 1, -1), 1, "and completes later");
	is(tally.good, 1, "well");
	sigaction(SIGALRM, &old, NULL);
	kiln_queue_destroy(queue);
	kiln_free(buffer);
}

int main(void)
{
	device = open_card();
	signals();
	batches();
	ordering();
	timelines(KILN_HBM, "HBM");
	timelines(KILN_HOST, "host memory");
	callbacks();
	descriptor();
	destruction();
	many_queues();
	threads();
	moving();
	ended();
	kiln_close(device);
	return done_testing();
}
