// SPDX-License-Identifier: MIT
/*
 * A card that is saved while it works and loaded elsewhere goes on as if nothing
 * had happened; a card of another kind is refused with the reason; and whatever
 * comes in instead of a state does no harm.
 */
#include "fw_harness.h"
#include "bytes.h"

#define SPINNER	1	/* the core that its endless command gets: the other one had another's */

static uint64_t seed;

static uint32_t rng(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 16;
}

/* Another machine with the same memories and another clock; its card is off. */
static void clone(struct fw *g, const struct fw *f, unsigned int cores)
{
	fw_init(g, cores);
	memcpy(g->hbm, f->hbm, HBM_BYTES);
	memcpy(g->host, f->host, HOST_BYTES);
	g->host_next = f->host_next;
	g->hbm_next = f->hbm_next;
	g->cookie = f->cookie;
	g->clock = f->clock + 123456789012345;
	g->ring_count = f->ring_count;
	for (unsigned int i = 0; i < f->ring_count; i++) {
		struct fw_ring *r = &g->rings[i];

		*r = f->rings[i];
		r->f = g;
		r->sq = (void *)fw_host_at(g, r->sq_addr, 1);
		r->cq = (void *)fw_host_at(g, r->cq_addr, 1);
		r->ctl = (void *)fw_host_at(g, r->ctl_addr, 1);
	}
	g->admin = &g->rings[0];
}

static void *run_main(void *arg)
{
	struct fw *f = arg;

	kiln_sim_run(f->sim, SPINNER);
	return NULL;
}

/*
 * A card in the middle of everything: a command on a core that never ends, one
 * that waits for a timeline, a ring that was fetched in part, a suspended context,
 * a fault behind it, a queue with its completions not reaped, and two admin
 * commands under way. Paused.
 */
static void busy(struct fw *f)
{
	struct fw_tenant a, b;
	struct fw_ring *q1, *q2, *q3, *q4;
	struct kiln_cmd cmd;
	pthread_t thread;

	fw_boot_card(f, 2);
	fw_tenant_new(f, &a, 1, 64);
	fw_tenant_new(f, &b, 2, 128);
	q1 = fw_queue(f, 1, 1, 7, 64);
	q2 = fw_queue(f, 2, 1, 4, 64);
	q3 = fw_queue(f, 3, 2, 3, 64);
	q4 = fw_queue(f, 70, 2, 5, 64);
	fw_push1(q3, fw_exec(1, FW_BAD));
	fw_pump(f);
	for (unsigned int i = 0; i < 8; i++)
		fw_push1(q3, fw_nop(10 + i));
	fw_pump(f);
	fw_ctx(f, KILN_ADM_CTX_SUSPEND, 2);
	for (unsigned int i = 0; i < 20; i++)
		fw_push1(q4, fw_exec(100 + i, FW_GOOD));
	for (unsigned int i = 0; i < 100; i++)
		fw_push1(q1, fw_exec(200 + i, i ? FW_GOOD : FW_SPIN));
	fw_serve(f);
	if (kiln_sim_take(f->sim) != SPINNER || pthread_create(&thread, NULL, run_main, f)) {
		printf("Bail out! nothing to run\n");
		exit(1);
	}
	while (!__atomic_load_n(&f->sim->core[SPINNER].start_ns, __ATOMIC_RELAXED))
		sched_yield();
	cmd = fw_nop(301);
	cmd.exec.wait_addr = FW_LINE(0);
	cmd.exec.wait_value = 5;
	fw_push1(q2, fw_nop(300));
	fw_push1(q2, cmd);
	fw_push1(q2, fw_nop(302));
	fw_serve(f);
	/* One that stands in the ring is cancelled; these two wait for the core. */
	fw_admin_send(f, (struct kiln_cmd){ .opcode = KILN_ADM_QUEUE_CANCEL,
					    .cancel = { .queue = 1, .target = 290 } });
	fw_admin_send(f, (struct kiln_cmd){ .opcode = KILN_ADM_CTX_SUSPEND, .ctx.context = 1 });
	fw_admin_send(f, (struct kiln_cmd){ .opcode = KILN_ADM_TLB_FLUSH, .ctx.context = 2 });
	fw_serve(f);
	f->clock += 300 * MS;
	kiln_sim_pause(f->sim);
	pthread_join(thread, NULL);
	kiln_sim_retire(f->sim, SPINNER);
}

/* The rest of that life, on a card that has been resumed. */
static void go_on(struct fw *f)
{
	/* what a pause takes does not count */
	f->clock += 5000 * MS;
	kiln_sim_resume(f->sim);
	fw_serve(f);
	kiln_sim_tick(f->sim);
	f->clock += 600 * MS;
	kiln_sim_tick(f->sim);	/* 900 of the queue's 1000 ms */
	fw_serve(f);
	f->clock += 200 * MS;
	kiln_sim_tick(f->sim);	/* the watchdog speaks, then the core looks */
	fw_pump(f);
	fw_admin_send(f, (struct kiln_cmd){ .opcode = KILN_ADM_CTX_RESUME, .ctx.context = 1 });
	fw_admin_send(f, (struct kiln_cmd){ .opcode = KILN_ADM_CTX_RESUME, .ctx.context = 2 });
	/* the driver reaps: there is room again */
	f->rings[3].head = f->rings[3].ctl->cq_tail;
	__atomic_store_n(&f->rings[3].ctl->cq_head, f->rings[3].head, __ATOMIC_RELEASE);
	f->clock += 100 * MS;
	fw_pump(f);
	kiln_sim_tick(f->sim);
	fw_pump(f);
	fw_queue_destroy(f, 70);
	fw_push1(&f->rings[1], fw_exec(999, FW_GOOD));
	fw_pump(f);
}

static void same_life(void)
{
	struct fw f, g;
	struct bytes state = { 0 };
	const char *wrong;

	busy(&f);
	IS(f.sim->core[SPINNER].state, FW_CORE_PAUSED, "a core is paused in its program");
	wrong = kiln_sim_save(f.sim, out, &state);
	OK(!wrong, "it is saved: %s", wrong ? wrong : "nothing wrong");
	clone(&g, &f, 2);
	wrong = kiln_sim_load(g.sim, in, &state);
	OK(!wrong, "it is loaded: %s", wrong ? wrong : "nothing wrong");
	IS(state.at, state.size, "all of it");
	go_on(&f);
	go_on(&g);
	OK(!memcmp(f.host, g.host, HOST_BYTES), "rings, completions and their times are the same");
	OK(!memcmp(f.hbm, g.hbm, HBM_BYTES), "so is HBM");
	for (unsigned int i = 1; i < 5; i++)
		IS(g.rings[i].ctl->cq_tail, f.rings[i].ctl->cq_tail, "completions of queue %u",
		   g.rings[i].id);
	IS(g.rings[1].ctl->cq_tail, 101, "all of the first queue's have ended");
	IS(g.rings[1].cq[0].status, KILN_ST_TIMEOUT, "the endless one by its limit");
	IS(g.rings[1].cq[100].status, KILN_ST_OK, "and the next one is good");
	fw_free(&f);
	fw_free(&g);
	free(state.data);
}

static void refusals(void)
{
	static const struct {
		struct kiln_sim_config config;
		const char *says;
	} other[] = {
		{ { .generation = 3, .cores = 2, .hbm_bytes = HBM_BYTES }, "generation=" },
		{ { .generation = 2, .cores = 1, .hbm_bytes = HBM_BYTES }, "cores=" },
		{ { .generation = 2, .cores = 2, .hbm_bytes = HBM_BYTES / 2 }, "hbm=" },
		{ { .generation = 2, .cores = 2, .hbm_bytes = HBM_BYTES, .sanitize = true }, "sanitize" },
	};
	struct fw f, g;
	struct bytes state = { 0 };
	const char *wrong;

	fw_boot_card(&f, 2);
	wrong = kiln_sim_save(f.sim, out, &state);
	OK(wrong && strstr(wrong, "rest"), "not while it works: %s", wrong ? wrong : "");
	kiln_sim_pause(f.sim);
	wrong = kiln_sim_save(f.sim, out, &state);
	OK(!wrong, "it is saved");
	for (unsigned int i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		size_t size = kiln_sim_size(&other[i].config);
		void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		struct kiln_sim *sim = kiln_sim_init(mem, &other[i].config, f.hbm, &fw_host, &f);

		state.at = 0;
		wrong = kiln_sim_load(sim, in, &state);
		OK(wrong && strstr(wrong, other[i].says), "refused: %s", wrong ? wrong : "");
		IS(kiln_sim_reg_read(sim, KILN_REG_STATUS), KILN_STATE_OFF, "and it is off");
		munmap(mem, size);
	}
	wrong = kiln_sim_load(f.sim, in, &state);
	OK(wrong && strstr(wrong, "reset"), "not over a card that is on: %s", wrong ? wrong : "");
	clone(&g, &f, 2);
	state.at = 8;
	wrong = kiln_sim_load(g.sim, in, &state);
	OK(wrong, "what is no card's state: %s", wrong ? wrong : "");
	for (size_t size = 0; size < state.size; size += 1 + size / 7) {
		struct bytes part = { state.data, size, 0 };

		if (!kiln_sim_load(g.sim, in, &part))
			break;
		if (size + 1 + size / 7 >= state.size)
			OK(true, "one that ends early is refused wherever it ends");
	}
	state.at = 0;
	OK(!kiln_sim_load(g.sim, in, &state), "then the good one is loaded");
	kiln_sim_resume(g.sim);
	IS(fw_admin(&g, (struct kiln_cmd){ .opcode = KILN_ADM_NOP }), 0, "and the card answers");
	fw_free(&f);
	fw_free(&g);
	free(state.data);
}

/* Bytes are changed: refused, or it lives on somehow and can be reset. */
static void hostile(void)
{
	const char *given = getenv("KILN_SEED");
	struct fw f, g;
	struct bytes state = { 0 };
	unsigned int refused = 0, taken = 0, dead = 0;
	const char *wrong;

	seed = given ? strtoull(given, NULL, 0) : 0x9e3779b97f4a7c15;
	printf("# KILN_SEED=%#llx\n", (unsigned long long)seed);
	seed |= 1;
	busy(&f);
	kiln_sim_save(f.sim, out, &state);
	clone(&g, &f, 2);
	for (unsigned int i = 0; i < 3000; i++) {
		struct bytes bad = { malloc(state.size), state.size, 0 };
		int core;

		memcpy(bad.data, state.data, state.size);
		for (unsigned int k = 1 + rng() % 4; k; k--)
			bad.data[rng() % bad.size] = rng() % 3 ? rng() : rng() % 2 ? 0xff : 1;
		memcpy(g.hbm, f.hbm, HBM_BYTES / 4);
		memcpy(g.host, f.host, HOST_BYTES / 4);
		if (kiln_sim_load(g.sim, in, &bad)) {
			refused++;
		} else {
			taken++;
			kiln_sim_resume(g.sim);
			for (unsigned int turn = 0; turn < 300; turn++) {
				kiln_sim_service(g.sim);
				core = kiln_sim_take(g.sim);
				if (core >= 0) {
					/* nobody would stop an endless one */
					kiln_core_abort(fw_core_engine(g.sim, core),
							KILN_ST_ABORTED);
					kiln_sim_run(g.sim, core);
					kiln_sim_retire(g.sim, core);
				}
				g.clock += 100 * MS;
				kiln_sim_tick(g.sim);
			}
		}
		kiln_sim_stop(g.sim);
		dead += !kiln_sim_idle(g.sim);
		kiln_sim_reset(g.sim);
		free(bad.data);
	}
	OK(refused > 30 && taken > 30, "of 3000 broken states %u are refused, %u live on somehow",
	   refused, taken);
	IS(dead, 0, "each can be reset");
	state.at = 0;
	memcpy(g.hbm, f.hbm, HBM_BYTES);
	memcpy(g.host, f.host, HOST_BYTES);
	wrong = kiln_sim_load(g.sim, in, &state);
	OK(!wrong, "the good one is loaded after all that: %s", wrong ? wrong : "nothing wrong");
	go_on(&f);
	go_on(&g);
	IS(g.rings[1].ctl->cq_tail, f.rings[1].ctl->cq_tail, "and goes on");
	fw_free(&f);
	fw_free(&g);
	free(state.data);
}

int main(void)
{
	same_life();
	refusals();
	hostile();
	return tap_end();
}
