// SPDX-License-Identifier: MIT
/* Good work beside the storm: products whose every value is looked at. A run ends when the card does, and the next one begins. */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <kiln_ops.h>

#include "_stress.h"

#define M	64
#define DEPTH	4

static unsigned int submitted, ended;
static int failed;

static void end(void *user, const struct kiln_result *result)
{
	(void)user;
	ended++;
	if (result->res && !failed)
		failed = result->res;
}

static int drain(struct kiln_queue *queue)
{
	int err;

	do
		err = kiln_drain(queue);
	while (err == -EINTR);
	return err;
}

/* Is the card still the one that has computed? Otherwise its memory is not what it was, and says nothing. */
static bool still_there(struct kiln_queue *queue)
{
	if (kiln_submit(queue, &(struct kiln_command){ .done = end }, 1, NULL))
		return false;
	submitted++;
	return !drain(queue) && !failed;
}

/* Row i of c is row i of a, times a matrix of ones. Returns what has ended it. */
static int compute(struct stress *s, struct kiln_ops *ops, struct kiln_queue *queue, struct kiln_buffer *a,
		   struct kiln_buffer *b, struct kiln_buffer *c)
{
	float *pa = kiln_map(a), *pb = kiln_map(b), *pc = kiln_map(c);

	/* The card has gone since they were allocated. */
	if (!pa || !pb || !pc)
		return -ENODEV;
	for (int i = 0; i < M * M; i++)
		pb[i] = 1;
	for (int round = 0; !s->stop; round++) {
		bool wrong = false;
		int err = 0;

		for (int i = 0; i < M * M; i++)
			pa[i] = (i / M + round) % 16;
		memset(pc, 0xff, M * M * 4);
		for (int i = 0; i < DEPTH && !err; i++) {
			err = kiln_matmul(ops, &(struct kiln_matmul){
				.type = KILN_TYPE_F32, .m = M / DEPTH, .n = M, .k = M, .a = kiln_addr(a) + i * M / DEPTH * M * 4,
				.b = kiln_addr(b), .c = kiln_addr(c) + i * M / DEPTH * M * 4,
			}, end, NULL);
			submitted += !err;
		}
		if (!err)
			err = drain(queue);
		if (err || failed)
			return err ? err : failed;
		for (int i = 0; i < M * M; i++)
			wrong |= pc[i] != (i / M + round) % 16 * M;
		if (!wrong)
			atomic_fetch_add(&s->right, 1);
		else if (still_there(queue))
			atomic_fetch_add(&s->wrong, 1);
		else
			return failed ? failed : -ENODEV;
	}
	return 0;
}

static int run(struct stress *s, int way)
{
	struct kiln_queue_attr attr = { .way = way };
	struct kiln_buffer *a = NULL, *b = NULL, *c = NULL;
	struct kiln_queue *queue = NULL;
	struct kiln_ops *ops = NULL;
	struct kiln_device *device;
	int err;

	submitted = ended = failed = 0;
	err = kiln_open(NULL, &device);
	if (err)
		return err;
	err = kiln_queue_create(device, &attr, &queue);
	if (!err)
		err = kiln_ops_create(queue, &ops);
	if (!err)
		err = kiln_alloc(device, M * M * 4, KILN_HBM, 0, &a);
	if (!err)
		err = kiln_alloc(device, M * M * 4, KILN_HBM, 0, &b);
	if (!err)
		err = kiln_alloc(device, M * M * 4, KILN_HOST, 0, &c);
	if (!err)
		err = compute(s, ops, queue, a, b, c);
	while (queue && kiln_pending(queue) && !drain(queue))
		;
	atomic_fetch_add(&s->lost, submitted - ended);
	kiln_ops_destroy(ops);
	if (queue)
		kiln_queue_destroy(queue);
	kiln_free(a);
	kiln_free(b);
	kiln_free(c);
	kiln_close(device);
	return err;
}

void good(struct stress *s, int way)
{
	setpriority(PRIO_PROCESS, 0, 0);
	while (!s->stop) {
		unsigned int before = s->events;
		int err = run(s, way);

		if (!err)
			continue;
		/* An event that went on when it began, or came since. */
		if (before % 2 || s->events != before) {
			atomic_fetch_add(&s->disturbed, 1);
		} else {
			atomic_fetch_add(&s->unexplained, 1);
			s->last_unexplained = err;
		}
		usleep(50000);
	}
}
