// SPDX-License-Identifier: MIT
/*
 * What contexts and queues do to one another: shares, suspension, destruction,
 * cancellation, limits, timelines, faults.
 */
#include "fw_harness.h"

static struct kiln_cmd wait_for(struct kiln_cmd cmd, uint64_t addr, uint64_t value)
{
	cmd.exec.wait_addr = addr;
	cmd.exec.wait_value = value;
	return cmd;
}

static struct kiln_cmd then_signal(struct kiln_cmd cmd, uint64_t addr, uint64_t value)
{
	cmd.exec.signal_addr = addr;
	cmd.exec.signal_value = value;
	return cmd;
}

/* Start what wants a core and leave it there. Returns the core. */
static int start(struct fw *f)
{
	fw_serve(f);
	return kiln_sim_take(f->sim);
}

static void finish(struct fw *f, int core)
{
	fw_run(f, core);
	kiln_sim_retire(f->sim, core);
	kiln_sim_tick(f->sim);
	fw_serve(f);
}

/* A worker in a thread, for programs that end only when they are told to. */
struct runner {
	struct fw *f;
	int core;
	pthread_t thread;
};

static void *runner_main(void *arg)
{
	struct runner *r = arg;

	kiln_sim_run(r->f->sim, r->core);
	return NULL;
}

static void runner_start(struct runner *r, struct fw *f, int core)
{
	r->f = f;
	r->core = core;
	if (core < 0 || pthread_create(&r->thread, NULL, runner_main, r)) {
		printf("Bail out! nothing to run\n");
		exit(1);
	}
	/* until it has looked at the clock */
	while (!__atomic_load_n(&f->sim->core[core].start_ns, __ATOMIC_RELAXED))
		sched_yield();
}

static void runner_join(struct runner *r)
{
	pthread_join(r->thread, NULL);
	kiln_sim_retire(r->f->sim, r->core);
	fw_serve(r->f);
}

/* Keep n queues supplied, count what each gets done in 2000 commands of 1 ms. */
static void share(struct fw *f, struct fw_ring **r, unsigned int n, unsigned int *got)
{
	unsigned int total = 0;

	f->run_cost = MS;
	memset(got, 0, n * sizeof(*got));
	while (total < 2000) {
		for (unsigned int i = 0; i < n; i++) {
			struct kiln_completion record;

			while (fw_pop(r[i], &record)) {
				got[i]++;
				total++;
			}
			while (r[i]->tail - r[i]->head < r[i]->entries)
				fw_push1(r[i], fw_exec(0, FW_GOOD));
		}
		fw_turn(f);
	}
	f->run_cost = 0;
	fw_pump(f);
}

static bool about(unsigned int got, unsigned int want)
{
	return got + 30 > want && got < want + 30;
}

static void weights(unsigned int cores)
{
	struct fw_ring *r[4];
	struct fw_tenant t[3];
	unsigned int got[4];
	struct fw f;

	fw_boot_card(&f, cores);
	fw_tenant_new(&f, &t[0], 1, 100);
	fw_tenant_new(&f, &t[1], 2, 300);
	fw_tenant_new(&f, &t[2], 3, 600);
	/* two in the second context, 1 : 3 */
	r[0] = fw_queue(&f, 1, 1, 4, 64);
	r[1] = fw_queue(&f, 2, 2, 4, 100);
	r[2] = fw_queue(&f, 3, 2, 4, 300);
	r[3] = fw_queue(&f, 4, 3, 4, 1);
	share(&f, r, 4, got);
	OK(about(got[0], 200) && about(got[1], 150) && about(got[2], 450) &&
	   about(got[3], 1200),
	   "%u core(s): 100 : (1 : 3) 300 : 600 gives %u : (%u : %u) : %u",
	   cores, got[0], got[1], got[2], got[3]);
	/* whoever was away gets no credit for it */
	share(&f, r, 1, got);
	share(&f, r, 4, got);
	OK(about(got[0], 200) && about(got[3], 1200),
	   "%u core(s): the same after one has been alone", cores);
	share(&f, r + 1, 1, got);
	share(&f, r + 1, 2, got);
	OK(about(got[0], 500) && about(got[1], 1500),
	   "%u core(s): nor does a queue of the same context: %u : %u", cores,
	   got[0], got[1]);
	fw_free(&f);
}

static void suspend(void)
{
	struct fw_tenant t, u;
	struct fw_ring *r, *other;
	struct kiln_completion record;
	uint64_t cookie;
	struct fw f;
	int core;

	fw_boot_card(&f, 2);
	fw_tenant_new(&f, &t, 1, 64);
	fw_tenant_new(&f, &u, 2, 64);
	r = fw_queue(&f, 1, 1, 4, 64);
	other = fw_queue(&f, 2, 2, 4, 64);
	fw_push1(r, fw_exec(1, FW_GOOD));
	fw_push1(r, fw_exec(2, FW_GOOD));
	fw_push1(r, fw_nop(3));
	core = start(&f);
	cookie = fw_admin_send(&f, (struct kiln_cmd){
		.opcode = KILN_ADM_CTX_SUSPEND, .ctx.context = 1 });
	fw_serve(&f);
	OK(!fw_pop(f.admin, &record), "not suspended while a command runs");
	IS(fw_admin(&f, (struct kiln_cmd){ .opcode = KILN_ADM_NOP }), KILN_ST_OK,
	   "the admin queue goes on meanwhile");
	finish(&f, core);
	OK(fw_pop(f.admin, &record) && record.cookie == cookie && !record.status,
	   "suspended when it is over");
	IS(fw_result(r, 1), KILN_ST_OK, "that command is complete");
	fw_push1(other, fw_exec(9, FW_GOOD));
	fw_pump(&f);
	IS(fw_result(r, 2), -1, "the next one does not start");
	IS(fw_result(other, 9), KILN_ST_OK, "other contexts do not care");
	IS(fw_ctx(&f, KILN_ADM_CTX_SUSPEND, 1), KILN_ST_OK, "suspended twice");
	IS(fw_ctx(&f, KILN_ADM_CTX_RESUME, 1), KILN_ST_OK, "resumed");
	fw_pump(&f);
	IS(fw_result(r, 2), KILN_ST_OK, "it goes on");
	IS(fw_result(r, 3), KILN_ST_OK, "to the end");

	/* one that wants a core and has none yet */
	fw_push1(r, fw_exec(10, FW_GOOD));
	fw_serve(&f);
	IS(fw_ctx(&f, KILN_ADM_CTX_SUSPEND, 1), KILN_ST_OK, "suspended before it has a core");
	IS(kiln_sim_take(f.sim), -1, "it gets none");
	IS(fw_ctx(&f, KILN_ADM_CTX_RESUME, 1), KILN_ST_OK, "resumed");
	fw_pump(&f);
	IS(fw_result(r, 10), KILN_ST_OK, "now it does");

	/* resumed before it was done */
	fw_push1(r, fw_exec(4, FW_GOOD));
	core = start(&f);
	fw_admin_send(&f, (struct kiln_cmd){
		.opcode = KILN_ADM_CTX_SUSPEND, .ctx.context = 1 });
	IS(fw_ctx(&f, KILN_ADM_CTX_RESUME, 1), KILN_ST_OK, "resumed too early");
	OK(fw_pop(f.admin, &record) && record.status == KILN_ST_ABORTED,
	   "then the suspension is aborted");
	finish(&f, core);
	IS(fw_result(r, 4), KILN_ST_OK, "the command is not");

	/* a wait does not look at memory while suspended, and its time stands still */
	fw_push1(r, wait_for(fw_nop(5), FW_LINE(0), 1));
	fw_serve(&f);
	IS(fw_ctx(&f, KILN_ADM_CTX_SUSPEND, 1), KILN_ST_OK, "suspended with a wait");
	t.line[0] = 1;
	f.clock += 20000 * MS;
	kiln_sim_tick(f.sim);
	fw_pump(&f);
	IS(fw_result(r, 5), -1, "it does not end");
	IS(fw_ctx(&f, KILN_ADM_CTX_RESUME, 1), KILN_ST_OK, "resumed");
	fw_pump(&f);
	IS(fw_result(r, 5), KILN_ST_OK, "now it does");

	/* turns on the card: each shorter than the limit, and together longer */
	fw_push1(r, wait_for(fw_nop(6), FW_LINE(0), 9));
	fw_serve(&f);
	for (unsigned int turn = 0; turn < 4; turn++) {
		IS(fw_result(r, 6), -1, "it waits, for %u s", turn * 3);
		IS(fw_ctx(&f, KILN_ADM_CTX_SUSPEND, 1), KILN_ST_OK, "suspended");
		f.clock += 60000 * MS;
		IS(fw_ctx(&f, KILN_ADM_CTX_RESUME, 1), KILN_ST_OK, "resumed");
		fw_pump(&f);
		f.clock += 3000 * MS;
		kiln_sim_tick(f.sim);
		fw_pump(&f);
	}
	IS(fw_result(r, 6), KILN_ST_TIMEOUT, "and no longer than 10 s of its own");
	fw_free(&f);
}

static void destroy(void)
{
	struct fw_tenant t;
	struct kiln_completion record;
	struct fw_ring *r, *other;
	struct runner run;
	uint64_t cookie;
	bool good = true;
	struct fw f;

	fw_boot_card(&f, 2);
	fw_tenant_new(&f, &t, 1, 64);
	r = fw_queue(&f, 1, 1, 6, 64);
	other = fw_queue(&f, 2, 1, 6, 64);
	fw_push1(r, fw_exec(0, FW_SPIN));
	for (unsigned int i = 1; i < 40; i++)
		fw_push1(r, i & 1 ? fw_nop(i) : fw_exec(i, FW_BAD));
	runner_start(&run, &f, start(&f));
	cookie = fw_admin_send(&f, (struct kiln_cmd){
		.opcode = KILN_ADM_QUEUE_DESTROY, .queue.queue = 1 });
	fw_serve(&f);
	IS(fw_queue_destroy(&f, 1), KILN_ST_BAD_STATE, "destroyed twice");
	fw_push1(r, fw_nop(99));
	runner_join(&run);
	OK(fw_pop(f.admin, &record) && record.cookie == cookie && !record.status,
	   "done when the core is out");
	for (unsigned int i = 0; i < 40; i++)
		good &= fw_result(r, i) == KILN_ST_ABORTED;
	OK(good, "what ran and what was queued ends in ABORTED");
	IS(fw_result(r, 99), -1, "what came later is not answered");
	fw_push1(other, fw_exec(1, FW_GOOD));
	fw_pump(&f);
	IS(fw_result(other, 1), KILN_ST_OK, "the context's other queue goes on");
	IS(f.sim->context[1].fault.count, 0, "it is no fault");

	/* one command, on a core; meanwhile another queue's fault, which is not its business */
	r = fw_queue(&f, 3, 1, 4, 64);
	fw_push1(r, fw_exec(1, FW_SPIN));
	runner_start(&run, &f, start(&f));
	fw_admin_send(&f, (struct kiln_cmd){
		.opcode = KILN_ADM_QUEUE_DESTROY, .queue.queue = 3 });
	fw_serve(&f);
	OK(!fw_pop(f.admin, &record), "nothing but the running command: still not done");
	fw_push1(other, fw_exec(5, FW_BAD));
	fw_push1(r, fw_nop(2));
	finish(&f, start(&f));
	IS(fw_result(other, 5), KILN_ST_BAD_PROGRAM, "a fault next to it");
	runner_join(&run);
	OK(fw_pop(f.admin, &record) && !record.status, "done when the core is out");
	IS(fw_result(r, 1), KILN_ST_ABORTED, "ABORTED, as it was destroyed first");
	IS(fw_result(r, 2), -1, "and nothing after it");

	/* suspended, waiting, ready: destroyed all the same */
	fw_push1(other, wait_for(fw_nop(2), FW_LINE(0), 1));
	fw_serve(&f);
	IS(fw_queue_destroy(&f, 2), KILN_ST_OK, "destroyed while it waits");
	IS(fw_result(other, 2), KILN_ST_ABORTED, "the command ends");
	other = fw_queue(&f, 2, 1, 3, 64);
	fw_push1(other, fw_exec(3, FW_GOOD));
	fw_serve(&f);
	IS(fw_queue_destroy(&f, 2), KILN_ST_OK, "destroyed while it wants a core");
	IS(fw_result(other, 3), KILN_ST_ABORTED, "the command ends");
	IS(kiln_sim_take(f.sim), -1, "and does not start");
	other = fw_queue(&f, 2, 1, 3, 64);
	IS(fw_ctx(&f, KILN_ADM_CTX_SUSPEND, 1), KILN_ST_OK, "suspend");
	fw_push1(other, fw_exec(4, FW_GOOD));
	fw_serve(&f);
	IS(fw_queue_destroy(&f, 2), KILN_ST_OK, "destroyed while suspended");
	IS(fw_result(other, 4), KILN_ST_ABORTED, "the command ends");

	/* a driver that reads no completions cannot hold it up */
	IS(fw_ctx(&f, KILN_ADM_CTX_RESUME, 1), KILN_ST_OK, "resume");
	other = fw_queue(&f, 2, 1, 3, 64);
	for (unsigned int i = 0; i < 8; i++)
		fw_push1(other, fw_nop(i));
	fw_pump(&f);
	for (unsigned int i = 0; i < 8; i++)
		fw_push1(other, fw_nop(i));
	fw_pump(&f);
	IS(fw_queue_destroy(&f, 2), KILN_ST_OK, "destroyed with its completion ring full");
	IS(other->ctl->cq_tail, 8, "which did not overrun");
	IS(fw_ctx(&f, KILN_ADM_CTX_DESTROY, 1), KILN_ST_OK, "the context goes at last");
	fw_free(&f);
}

static int cancel(struct fw *f, uint32_t queue, uint64_t cookie)
{
	return fw_admin(f, (struct kiln_cmd){
		.opcode = KILN_ADM_QUEUE_CANCEL, .cancel.queue = queue,
		.cancel.target = cookie,
	});
}

static void cancels(void)
{
	struct fw_tenant t;
	struct fw_ring *r;
	struct runner run;
	struct fw f;
	bool good = true;

	fw_boot_card(&f, 1);
	fw_tenant_new(&f, &t, 1, 64);
	r = fw_queue(&f, 1, 1, 6, 64);
	fw_push1(r, fw_exec(0, FW_SPIN));
	for (unsigned int i = 1; i < 40; i++)
		fw_push1(r, fw_exec(i, FW_GOOD));
	runner_start(&run, &f, start(&f));
	IS(cancel(&f, 1, 39), KILN_ST_OK, "the last one, still in the ring");
	IS(fw_result(r, 39), KILN_ST_ABORTED, "ends at once");
	IS(cancel(&f, 1, 5), KILN_ST_OK, "one that has been copied out");
	IS(fw_result(r, 5), KILN_ST_ABORTED, "ends at once");
	IS(cancel(&f, 1, 5), KILN_ST_OK, "again");
	IS(cancel(&f, 1, 4711), KILN_ST_OK, "one that never was");
	IS(fw_result(r, 5), -1, "no further completion");
	IS(cancel(&f, 1, 0), KILN_ST_OK, "the one that runs");
	runner_join(&run);
	IS(fw_result(r, 0), KILN_ST_ABORTED, "ends too");
	fw_admin_send(&f, (struct kiln_cmd){
		.opcode = KILN_ADM_QUEUE_CANCEL, .cancel = { .queue = 1, .target = 1 } });
	kiln_sim_service(f.sim);
	IS(kiln_sim_take(f.sim), -1, "the one that wants a core gets none");
	IS(fw_result(r, 1), KILN_ST_ABORTED, "and ends");
	fw_pop(f.admin, &(struct kiln_completion){ 0 });
	fw_pump(&f);
	for (unsigned int i = 2; i < 39; i++)
		good &= i == 5 || fw_result(r, i) == KILN_ST_OK;
	OK(good, "all others run");
	IS(fw_result(r, 39), -1, "and nothing comes twice");
	IS(f.sim->context[1].fault.count, 0, "it is no fault");
	fw_push1(r, wait_for(fw_nop(50), FW_LINE(0), 1));
	fw_push1(r, fw_nop(51));
	fw_serve(&f);
	IS(cancel(&f, 1, 50), KILN_ST_OK, "one that waits");
	IS(fw_result(r, 50), KILN_ST_ABORTED, "ends");
	IS(fw_result(r, 51), KILN_ST_OK, "and the queue goes on");

	/* many rounds of the ring, a cancellation in each: marks do not go astray */
	for (unsigned int i = 0; i < 300; i++) {
		struct kiln_cmd cmds[3] = {
			wait_for(fw_nop(1), FW_LINE(1), i + 1), fw_nop(2), fw_nop(3),
		};

		fw_push(r, cmds, 3);
		fw_serve(&f);
		good &= cancel(&f, 1, 2) == KILN_ST_OK && fw_result(r, 2) == KILN_ST_ABORTED;
		t.line[1] = i + 1;
		f.clock += 2 * MS;
		kiln_sim_tick(f.sim);
		fw_serve(&f);
		good &= fw_result(r, 1) == KILN_ST_OK && fw_result(r, 3) == KILN_ST_OK;
	}
	OK(good, "300 rounds");

	/*
	 * A long ring, full. What the card has not copied out keeps its slot
	 * until its turn, so a driver that counts completions can go on.
	 */
	r = fw_queue(&f, 2, 1, 7, 64);
	fw_push1(r, fw_exec(0, FW_SPIN));
	for (unsigned int i = 1; i < 128; i++)
		fw_push1(r, fw_exec(i, FW_GOOD));
	runner_start(&run, &f, start(&f));
	for (unsigned int i = 100; i < 128; i++)
		good &= cancel(&f, 2, i) == KILN_ST_OK;
	OK(good, "far back in the ring");
	IS(r->ctl->cq_tail, 0, "their turn has not come");
	for (unsigned int i = 10; i < 40; i++)
		good &= cancel(&f, 2, i) == KILN_ST_OK &&
			fw_result(r, i) == KILN_ST_ABORTED;
	OK(good, "those in front end at once");
	for (unsigned int i = 128; i < 158; i++)
		fw_push1(r, fw_exec(i, FW_GOOD));
	IS(cancel(&f, 2, 0), KILN_ST_OK, "go on");
	runner_join(&run);
	fw_pump(&f);
	for (unsigned int i = 0; i < 158; i++)
		good &= (i >= 10 && i < 40) ||
			fw_result(r, i) == (i == 0 || (i >= 100 && i < 128) ?
						    KILN_ST_ABORTED : KILN_ST_OK);
	OK(good, "each of the others in its turn, with its own end");
	IS(fw_result(r, 0), -1, "and no more");

	/* marks move along when more is copied out behind them */
	fw_push1(r, wait_for(fw_nop(0), FW_LINE(3), 1));
	for (unsigned int i = 1; i < 128; i++)
		fw_push1(r, i == 70 ? wait_for(fw_nop(i), FW_LINE(3), 2) : fw_nop(i));
	fw_serve(&f);
	IS(cancel(&f, 2, 100), KILN_ST_OK, "in the ring");
	for (unsigned int n = 0; n < 2; n++) {
		t.line[3] = n + 1;
		f.clock += 2 * MS;
		kiln_sim_tick(f.sim);
		fw_serve(&f);
		for (unsigned int i = n ? 70 : 0; i < (n ? 130 : 70); i++)
			good &= i == 129 || fw_result(r, i) ==
						    (i == 100 ? KILN_ST_ABORTED : KILN_ST_OK);
		if (n)
			break;
		fw_push1(r, fw_nop(128));
		fw_push1(r, fw_nop(129));
		good &= cancel(&f, 2, 129) == KILN_ST_OK &&
			fw_result(r, 129) == KILN_ST_ABORTED;
	}
	OK(good, "it is still that one");

	/* what comes in while a command runs has not been copied out, until it is looked for */
	fw_push1(r, fw_exec(1, FW_GOOD));
	run.core = start(&f);
	fw_push1(r, fw_nop(2));
	IS(cancel(&f, 2, 2), KILN_ST_OK, "behind a command that runs");
	IS(fw_result(r, 2), KILN_ST_ABORTED, "ends at once");
	finish(&f, run.core);
	IS(fw_result(r, 1), KILN_ST_OK, "that one does not");

	/* the completion that a running command was promised is not given away */
	r = fw_queue(&f, 3, 1, 3, 64);
	for (unsigned int i = 0; i < 7; i++)
		fw_push1(r, fw_nop(i));
	fw_serve(&f);
	fw_push1(r, fw_exec(7, FW_GOOD));
	run.core = start(&f);
	fw_push1(r, fw_nop(8));
	IS(cancel(&f, 3, 8), -1, "no room for another completion: not yet");
	IS(fw_result(r, 0), KILN_ST_OK, "one is taken out");
	f.clock += 2 * MS;
	kiln_sim_tick(f.sim);
	fw_serve(&f);
	OK(fw_pop(f.admin, &(struct kiln_completion){ 0 }), "now");
	finish(&f, run.core);
	IS(r->ctl->cq_tail, 9, "eight in a ring of eight");
	fw_free(&f);
}

static void limits(void)
{
	struct kiln_completion record;
	struct fw_tenant t;
	struct fw_ring *r;
	struct runner run;
	uint64_t begin;
	struct fw f;

	fw_boot_card(&f, 1);
	fw_tenant_new(&f, &t, 1, 64);
	r = fw_queue(&f, 1, 1, 3, 64);	/* 1000 ms */
	fw_push1(r, fw_exec(1, FW_SPIN));
	begin = f.clock;
	runner_start(&run, &f, start(&f));
	__atomic_store_n(&f.clock, begin + 999 * MS, __ATOMIC_RELAXED);
	kiln_sim_tick(f.sim);
	OK(!f.sim->core[0].timed_out, "not before its time");
	OK(kiln_sim_deadline(f.sim) <= begin + 1000 * MS, "the deadline is told");
	__atomic_store_n(&f.clock, begin + 1000 * MS, __ATOMIC_RELAXED);
	kiln_sim_tick(f.sim);
	runner_join(&run);
	OK(fw_pop(r, &record), "it ends");
	IS(record.status, KILN_ST_TIMEOUT, "in TIMEOUT");
	IS(f.sim->context[1].fault.count, 1, "which stops the context");
	fw_push1(r, fw_exec(2, FW_GOOD));
	fw_pump(&f);
	IS(fw_result(r, 2), KILN_ST_OK, "and the next one runs");

	fw_push1(r, wait_for(fw_exec(3, FW_GOOD), FW_LINE(0), 1));
	fw_pump(&f);
	f.clock += (KILN_WAIT_LIMIT_MS - 1) * MS;
	kiln_sim_tick(f.sim);
	fw_pump(&f);
	IS(fw_result(r, 3), -1, "a wait may last");
	f.clock += MS;
	kiln_sim_tick(f.sim);
	fw_pump(&f);
	IS(fw_result(r, 3), KILN_ST_TIMEOUT, "but not for ever");

	begin = fw_get(&f, KILN_REG_HEARTBEAT);
	f.clock += 1000 * MS;
	kiln_sim_tick(f.sim);
	OK(fw_get(&f, KILN_REG_HEARTBEAT) > begin, "the heart beats");
	OK(kiln_sim_deadline(f.sim) <= f.clock + 1000 * MS, "and wants to go on");
	fw_free(&f);
}

static void timelines(void)
{
	struct fw_tenant t, u;
	struct fw_ring *a, *b, *c;
	struct kiln_cmd cmd;
	struct fw f;

	fw_boot_card(&f, 1);
	fw_tenant_new(&f, &t, 1, 64);
	fw_tenant_new(&f, &u, 2, 64);
	a = fw_queue(&f, 1, 1, 4, 64);
	b = fw_queue(&f, 2, 1, 4, 64);
	c = fw_queue(&f, 3, 2, 4, 64);

	fw_push1(a, then_signal(wait_for(fw_exec(1, FW_GOOD), FW_LINE(0), 5), FW_HOST_LINE(0), 7));
	fw_push1(a, fw_nop(2));
	fw_push1(b, wait_for(fw_nop(3), FW_HOST_LINE(0), 7));
	fw_pump(&f);
	IS(a->ctl->cq_tail + b->ctl->cq_tail, 0, "both wait");
	OK(kiln_sim_deadline(f.sim) <= f.clock + 10 * MS, "and are looked at soon");
	/* c signals in its own memory at the same address: not theirs */
	fw_push1(c, then_signal(fw_nop(4), FW_LINE(0), 5));
	fw_pump(&f);
	IS(fw_result(c, 4), KILN_ST_OK, "another context signals");
	IS(u.line[0], 5, "in its own memory");
	IS(a->ctl->cq_tail + b->ctl->cq_tail, 0, "which concerns nobody");
	fw_push1(b, fw_nop(5));
	t.line[0] = 4;
	fw_pump(&f);
	IS(a->ctl->cq_tail + b->ctl->cq_tail, 0, "4 is not 5");
	t.line[0] = 6;
	f.clock += 10 * MS;
	kiln_sim_tick(f.sim);
	fw_pump(&f);
	IS(fw_result(a, 1), KILN_ST_OK, "the CPU's write is seen");
	IS(t.host_line[0], 7, "it signals, in host memory");
	IS(fw_result(a, 2), KILN_ST_OK, "the next one of its queue runs");
	IS(fw_result(b, 3), KILN_ST_OK, "and whoever waited for it, without delay");
	IS(fw_result(b, 5), KILN_ST_OK, "and what stood behind");

	/* there and back, twenty times, in one go */
	t.line[1] = t.line[2] = 0;
	for (unsigned int i = 1; i <= 10; i++) {
		fw_push1(a, then_signal(wait_for(fw_exec(i, FW_GOOD), FW_LINE(1), i - 1), FW_LINE(2), i));
		fw_push1(b, then_signal(wait_for(fw_nop(i), FW_LINE(2), i), FW_LINE(1), i));
	}
	fw_pump(&f);
	IS(t.line[1] + t.line[2], 20, "two queues take turns");
	while (fw_pop(a, &(struct kiln_completion){ 0 }))
		;
	while (fw_pop(b, &(struct kiln_completion){ 0 }))
		;

	/* a command that fails signals nothing */
	fw_push1(a, then_signal(fw_exec(6, FW_BAD), FW_LINE(3), 1));
	fw_pump(&f);
	IS(fw_result(a, 6), KILN_ST_BAD_PROGRAM, "a bad program");
	IS(t.line[3], 0, "does not signal");
	fw_push1(a, then_signal(fw_exec(7, FW_GOOD), FW_VA, 1));
	fw_pump(&f);
	IS(fw_result(a, 7), KILN_ST_PAGE_FAULT, "a signal into a read-only page");
	IS(f.sim->context[1].fault.completion.fault_addr, FW_VA, "is a fault there");
	fw_push1(a, wait_for(fw_nop(8), FW_NOWHERE, 1));
	fw_pump(&f);
	IS(fw_result(a, 8), KILN_ST_PAGE_FAULT, "a wait nowhere");
	IS(f.sim->context[1].fault.completion.fault_addr, FW_NOWHERE, "is a fault there");
	fw_map(&f, t.root, FW_VA + 12288, 0x5000 | FW_RW | KILN_PTE_HOST, KILN_PAGE_SHIFT);
	fw_push1(a, wait_for(fw_nop(9), FW_VA + 12288, 1));
	fw_pump(&f);
	IS(fw_result(a, 9), KILN_ST_BUS, "a wait on host memory that does not answer");

	/* fields */
	for (unsigned int i = 0; i < 13; i++) {
		cmd = fw_exec(20 + i, FW_GOOD);
		switch (i) {
		case 0: cmd.flags = 1; break;
		case 1: cmd.reserved = 1; break;
		case 2: cmd.opcode = 2; break;
		case 3: cmd.opcode = KILN_ADM_NOP; break;
		case 4: cmd.exec.program += 8; break;
		case 5: cmd.exec.program = 0; break;
		case 6: cmd.param = 0; break;
		case 7: cmd.param += 8; break;
		case 8: cmd.exec.wait_addr = FW_LINE(0) + 4; break;
		case 9: cmd.exec.signal_addr = FW_LINE(0) + 1; break;
		case 10: cmd.exec.args = FW_LINE(0); break;	/* without bytes */
		case 11: cmd.param = KILN_EXEC_PARAM(PROGRAM_BYTES, 8); break; /* without address */
		case 12: cmd = fw_nop(32); cmd.exec.program = FW_GOOD; break;
		}
		fw_push1(a, cmd);
		fw_push1(a, fw_exec(99, FW_GOOD));
		fw_pump(&f);
		IS(fw_result(a, 20 + i), KILN_ST_BAD_COMMAND, "bad field %u", i);
		IS(fw_result(a, 99), KILN_ST_OK, "which stops nothing");
	}
	cmd = fw_exec(40, FW_GOOD);
	cmd.param = KILN_EXEC_PARAM(PROGRAM_BYTES, KILN_MAX_ARGS_BYTES + 8);
	cmd.exec.args = FW_LINE(0);
	fw_push1(a, cmd);
	fw_pump(&f);
	IS(fw_result(a, 40), KILN_ST_BAD_COMMAND, "too many argument bytes");
	fw_free(&f);
}

static void faults(void)
{
	struct fw_tenant t, u;
	struct kiln_completion record;
	struct fw_ring *a, *b, *c;
	struct runner spin, other;
	bool good = true;
	struct fw f;
	int core;

	fw_boot_card(&f, 3);
	fw_tenant_new(&f, &t, 1, 64);
	fw_tenant_new(&f, &u, 2, 64);
	a = fw_queue(&f, 1, 1, 6, 64);
	b = fw_queue(&f, 2, 1, 6, 64);
	c = fw_queue(&f, 3, 2, 6, 64);

	/* on cores: b's spin, c's spin; then a's bad one, with more behind each */
	fw_push1(b, then_signal(fw_exec(100, FW_SPIN), FW_LINE(5), 1));
	runner_start(&spin, &f, start(&f));
	fw_push1(c, fw_exec(200, FW_SPIN));
	runner_start(&other, &f, start(&f));
	fw_push1(a, fw_exec(0, FW_BAD));
	for (unsigned int i = 1; i < 40; i++) {
		fw_push1(a, fw_nop(i));
		fw_push1(b, i & 1 ? fw_nop(100 + i) :
				    wait_for(fw_exec(100 + i, FW_GOOD), FW_LINE(0), 1));
		fw_push1(c, fw_nop(200 + i));
	}
	core = start(&f);
	finish(&f, core);
	runner_join(&spin);
	OK(fw_pop(a, &record), "the fault is reported");
	IS(record.status, KILN_ST_BAD_PROGRAM, "as what it is");
	IS(record.core, core, "with its core");
	for (unsigned int i = 1; i < 40; i++)
		good &= fw_result(a, i) == KILN_ST_CONTEXT;
	OK(good, "what stood behind it ends in CONTEXT");
	for (unsigned int i = 0; i < 40; i++)
		good &= fw_result(b, 100 + i) == KILN_ST_CONTEXT;
	OK(good, "and the context's other queue, what ran included");
	IS(t.line[5], 0, "without a signal");
	IS(f.sim->context[1].fault.count, 1, "one stop");
	IS(f.sim->context[1].fault.queue, 1, "by queue 1");
	IS(fw_get(&f, KILN_REG_FAULTS), 1, "the register counts it");
	IS(c->ctl->cq_tail, 0, "the other context still spins");
	fw_push1(a, fw_exec(50, FW_GOOD));
	fw_push1(b, fw_exec(150, FW_GOOD));
	while (fw_turn(&f))
		;
	IS(fw_result(a, 50), KILN_ST_OK, "the context goes on");
	IS(fw_result(b, 150), KILN_ST_OK, "in both queues");
	IS(cancel(&f, 3, 200), KILN_ST_OK, "now stop the spin");
	runner_join(&other);
	fw_pump(&f);
	IS(fw_result(c, 200), KILN_ST_ABORTED, "it ends");
	for (unsigned int i = 1; i < 40; i++)
		good &= fw_result(c, 200 + i) == KILN_ST_OK;
	OK(good, "and all of the other context's commands are right");
	IS(f.sim->context[2].fault.count, 0, "it was never stopped");

	/* what has come to its end but was not retired when the context stopped */
	fw_push1(b, then_signal(fw_exec(300, FW_GOOD), FW_LINE(6), 1));
	core = start(&f);
	fw_run(&f, core);
	fw_push1(a, fw_exec(51, FW_BAD));
	finish(&f, start(&f));
	kiln_sim_retire(f.sim, core);
	IS(fw_result(a, 51), KILN_ST_BAD_PROGRAM, "a fault");
	IS(fw_result(b, 300), KILN_ST_CONTEXT, "stops what is not retired yet");
	IS(t.line[6], 0, "and it does not signal");

	/* what wants a core when the context stops */
	fw_push1(a, fw_exec(52, FW_BAD));
	core = start(&f);
	fw_push1(b, fw_exec(301, FW_GOOD));
	fw_serve(&f);
	fw_run(&f, core);
	kiln_sim_retire(f.sim, core);
	IS(kiln_sim_take(f.sim), -1, "a command of a stopped context gets no core");
	fw_pump(&f);
	IS(fw_result(a, 52), KILN_ST_BAD_PROGRAM, "the fault");
	IS(fw_result(b, 301), KILN_ST_CONTEXT, "its victim");

	/* a program where there is none */
	fw_push1(a, fw_exec(1, FW_NOWHERE));
	fw_pump(&f);
	OK(fw_pop(a, &record), "a page fault");
	IS(record.status, KILN_ST_PAGE_FAULT, "is one");
	IS(record.fault_addr, FW_NOWHERE, "at its address");
	IS(f.sim->context[1].fault.count, 4, "the fourth stop");
	fw_free(&f);
}

/* A flush waits for the cores that run the context, and for no others. */
static void flushes(void)
{
	struct kiln_completion record;
	struct fw_tenant t, u;
	struct fw_ring *a, *b;
	struct runner spin;
	uint64_t cookie;
	struct fw f;
	int core;

	fw_boot_card(&f, 2);
	fw_tenant_new(&f, &t, 1, 64);
	fw_tenant_new(&f, &u, 2, 64);
	a = fw_queue(&f, 1, 1, 4, 64);
	b = fw_queue(&f, 2, 2, 4, 64);
	IS(fw_ctx(&f, KILN_ADM_TLB_FLUSH, 1), KILN_ST_OK, "nobody runs");
	fw_push1(a, fw_exec(1, FW_GOOD));
	core = start(&f);
	IS(fw_ctx(&f, KILN_ADM_TLB_FLUSH, 2), KILN_ST_OK, "somebody else runs");
	cookie = fw_admin_send(&f, (struct kiln_cmd){
		.opcode = KILN_ADM_TLB_FLUSH, .ctx.context = 1 });
	fw_serve(&f);
	OK(!fw_pop(f.admin, &record), "its own runs: not yet");
	finish(&f, core);
	OK(fw_pop(f.admin, &record) && record.cookie == cookie && !record.status,
	   "when it is over");
	IS(fw_result(a, 1), KILN_ST_OK, "the command is fine");

	/* a later command of the same context is not waited for */
	fw_push1(a, fw_exec(5, FW_GOOD));
	fw_push1(a, fw_exec(6, FW_GOOD));
	core = start(&f);
	fw_run(&f, core);
	fw_admin_send(&f, (struct kiln_cmd){
		.opcode = KILN_ADM_TLB_FLUSH, .ctx.context = 1 });
	fw_serve(&f);
	OK(!fw_pop(f.admin, &record), "a command that is not retired counts as running");
	kiln_sim_retire(f.sim, core);
	IS(kiln_sim_take(f.sim), core, "the next command has the core");
	fw_serve(&f);
	OK(fw_pop(f.admin, &record) && !record.status, "the flush is done nevertheless");
	finish(&f, core);
	IS(fw_result(a, 5) | fw_result(a, 6), KILN_ST_OK, "as are both commands");

	/* a core is cleaned between contexts, and only then */
	fw_push1(a, fw_exec(7, FW_GOOD));
	core = start(&f);
	OK(!f.sim->core[core].scrub, "its own leavings may stay");
	fw_push1(b, fw_exec(8, FW_GOOD));
	OK(start(&f) != core && !f.sim->core[!core].scrub, "an unused core is clean");
	finish(&f, 0);
	finish(&f, 1);
	fw_push1(b, fw_exec(9, FW_GOOD));
	fw_push1(b, fw_exec(10, FW_GOOD));
	IS(start(&f), !core, "a context gets the core that it had");
	b = fw_queue(&f, 3, 2, 4, 64);
	fw_push1(b, fw_exec(11, FW_GOOD));
	IS(start(&f), core, "and one of another context");
	OK(f.sim->core[core].scrub, "which is cleaned first");
	finish(&f, 0);
	finish(&f, 1);
	fw_pump(&f);
	b = &f.rings[2];
	while (fw_pop(a, &record) || fw_pop(b, &record))
		;

	/* a program that goes on takes part by itself */
	fw_push1(a, fw_exec(2, FW_SPIN));
	runner_start(&spin, &f, start(&f));
	cookie = fw_admin_send(&f, (struct kiln_cmd){
		.opcode = KILN_ADM_TLB_FLUSH, .ctx.context = 1 });
	while (!fw_pop(f.admin, &record)) {
		kiln_sim_service(f.sim);
		sched_yield();
	}
	IS(record.cookie, cookie, "flushed while the program runs");
	IS(cancel(&f, 1, 2), KILN_ST_OK, "stop it");
	runner_join(&spin);
	IS(fw_result(a, 2), KILN_ST_ABORTED, "stopped");

	/* the page goes away; the core's TLB knew it */
	fw_map(&f, t.root, FW_VA, 0, KILN_PAGE_SHIFT);
	IS(fw_ctx(&f, KILN_ADM_TLB_FLUSH, 1), KILN_ST_OK, "flush after unmapping");
	fw_push1(a, fw_exec(3, FW_GOOD));
	fw_push1(b, fw_exec(4, FW_GOOD));
	fw_pump(&f);
	IS(fw_result(a, 3), KILN_ST_PAGE_FAULT, "it is forgotten");
	IS(fw_result(b, 4), KILN_ST_OK, "the other context's page is not");
	fw_free(&f);
}

/* Reset with commands on cores, by register and from outside. */
static void resets(void)
{
	struct fw_tenant t;
	struct fw_ring *r;
	struct runner run;
	struct fw f;

	fw_boot_card(&f, 2);
	for (unsigned int i = 0; i < 3; i++) {
		fw_tenant_new(&f, &t, 1, 64);
		r = fw_queue(&f, 1, 1, 4, 64);
		fw_push1(r, fw_exec(1, FW_SPIN));
		fw_push1(r, wait_for(fw_nop(2), FW_LINE(0), 1));
		runner_start(&run, &f, start(&f));
		if (i == 2) {
			kiln_sim_stop(f.sim);
			fw_reg(&f, KILN_REG_CTRL, KILN_CTRL_ENABLE);
		} else {
			fw_reg(&f, KILN_REG_CTRL, i ? KILN_CTRL_RESET : 0);
		}
		IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_RESETTING, "reset %u under way", i);
		IS(kiln_sim_take(f.sim), -1, "nothing starts any more");
		pthread_join(run.thread, NULL);
		OK(!kiln_sim_idle(f.sim), "not over while a core is out");
		kiln_sim_service(f.sim);
		IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_RESETTING, "nor by the firmware");
		kiln_sim_retire(f.sim, run.core);
		OK(kiln_sim_idle(f.sim), "all cores are in");
		kiln_sim_service(f.sim);
		if (i == 2) {
			IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_RESETTING, "the owner ends it");
			kiln_sim_reset(f.sim);
		}
		IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_OFF, "off");
		IS(r->ctl->cq_tail, 0, "no completion after a reset");
		IS(kiln_sim_deadline(f.sim), UINT64_MAX, "no deadline");
		/* a new driver */
		memset(f.admin->ctl, 0, sizeof(*f.admin->ctl));
		f.admin->tail = f.admin->head = 0;
		fw_enable(&f, f.admin, 6);
		fw_pump(&f);
		IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_READY, "boots again");
		IS(fw_get(&f, KILN_REG_FAULTS), 0, "counters are zero");
	}
	fw_free(&f);
}

int main(void)
{
	weights(1);
	weights(2);
	suspend();
	destroy();
	cancels();
	limits();
	timelines();
	faults();
	flushes();
	resets();
	return tap_end();
}
