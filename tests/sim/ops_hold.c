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

/* y[i] = x^2 for all i, again and again, with what lies in x then */
static void lists(struct tensor *x, struct tensor *y)
{
	struct kiln_unary square = { .type = KILN_TYPE_F32, .func = KILN_UNARY_SQUARE, .width = N };
	struct kiln_ops_list *list = NULL, *none = NULL;
	struct kiln_ops_stats before, after;
	int res = 0, err = 0;

	completed = 0;
	kiln_ops_hold(ops);
	for (int i = 0; i < COUNT && !err; i++) {
		square.x = x->addr;
		square.y = y->addr + i * N * 4;
		err = kiln_unary(ops, &square, count_done, &res);
	}
	if (!err)
		err = kiln_ops_take_list(ops, &list);
	ok(!err && list && !kiln_pending(queue) && !completed && !kiln_ops_flush(ops),
	   "a list: %d, %u are pending, nothing is left to flush", err, kiln_pending(queue));
	kiln_ops_get_stats(ops, &before);
	for (int round = 1; round <= 3 && !err; round++) {
		bool same = true;

		for (int i = 0; i < N; i++)
			((float *)x->map)[i] = i + round;
		memset(y->map, 0, COUNT * N * 4);
		err = kiln_ops_submit_list(list);
		kiln_drain(queue);
		for (int i = 0; i < COUNT * N; i++)
			same &= ((float *)y->map)[i] == (float)(i % N + round) * (i % N + round);
		ok(!err && same && !res && completed == (unsigned int)(COUNT * round),
		   "round %d of it: %d, %u of %u completed", round, err, completed, COUNT * round);
		/* Other ops between: their argument blocks are others. */
		square.y = y->addr;
		err = kiln_unary(ops, &square, NULL, NULL);
		kiln_drain(queue);
	}
	kiln_ops_get_stats(ops, &after);
	ok(after.programs_made == before.programs_made, "no program was made for them");
	kiln_ops_free_list(list);
	kiln_ops_free_list(NULL);

	kiln_ops_hold(ops);
	err = kiln_ops_take_list(ops, &none);
	ok(!err && none && !kiln_ops_submit_list(none), "a list of nothing: %d", err);
	kiln_ops_free_list(none);
	err = kiln_ops_take_list(ops, NULL);
	ok(err == -EINVAL, "no place for a list: %s", kiln_last_error());
	err = kiln_ops_submit_list(NULL);
	ok(err == -EINVAL, "no list: %s", kiln_last_error());
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
	lists(&x, &y);
	completed = COUNT + 1;

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
