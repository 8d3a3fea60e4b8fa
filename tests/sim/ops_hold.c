// SPDX-License-Identifier: MIT
/* Commands that are held back and handed over together; ops without a queue. */
#include "ops_test.h"

#define COUNT	300	/* more than the queue's depth */
#define N	64

static unsigned int completed;

static void count_done(void *user, const struct kiln_result *result)
{
	*(int *)user |= result->res;
	completed++;
}

int main(void)
{
	struct tensor x, y;
	struct kiln_ops *dry;
	struct kiln_ops_stats stats;
	struct kiln_unary square = { .type = KILN_TYPE_F32, .func = KILN_UNARY_SQUARE, .width = N };
	int res = 0, err = 0, got;
	bool same = true;

	open_card();
	tensor_make(&x, N * 4);
	tensor_make(&y, COUNT * N * 4);
	for (int i = 0; i < N; i++)
		((float *)x.map)[i] = i;

	kiln_ops_hold(ops);
	for (int i = 0; i < COUNT && !err; i++) {
		square.x = x.addr;
		square.y = y.addr + i * N * 4;
		err = kiln_unary(ops, &square, count_done, &res);
	}
	ok(!err && !kiln_pending(queue) && !completed, "held: %u are pending, %u completed",
	   kiln_pending(queue), completed);
	got = kiln_ops_flush(ops);
	kiln_drain(queue);
	ok(!got && completed == COUNT && !res,
	   "flushed: %d, %u of %u completed", got, completed, COUNT);
	for (int i = 0; i < COUNT * N; i++)
		same &= ((float *)y.map)[i] == (float)(i % N) * (i % N);
	ok(same, "all of them did their work");
	ok(!kiln_ops_flush(ops), "a flush of nothing");
	err = kiln_unary(ops, &square, count_done, &res);
	ok(!err && kiln_pending(queue) + completed == COUNT + 1, "after it, ops submit at once");
	kiln_drain(queue);

	if (kiln_ops_create_dry(device, &dry))
		bail("kiln_ops_create_dry");
	got = kiln_unary(dry, &square, count_done, &res);
	kiln_ops_get_stats(dry, &stats);
	ok(!got && completed == COUNT + 1 && !stats.commands && !stats.programs_made,
	   "dry: %d, nothing is done", got);
	square.func = 1000;
	got = kiln_unary(dry, &square, NULL, NULL);
	ok(got == kiln_unary(ops, &square, NULL, NULL) && got < 0, "dry: refused as ever: %d", got);
	got = kiln_ops_create_dry(NULL, &dry);
	ok(got == -EINVAL, "no device: %s", kiln_last_error());

	kiln_ops_destroy(dry);
	tensor_free(&x);
	tensor_free(&y);
	close_card();
	return done_testing();
}
