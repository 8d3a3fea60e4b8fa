// SPDX-License-Identifier: MIT
/* Boot, queues, commands, completions, and the event indices in both directions. */
#include "fw_harness.h"

static void boot(void)
{
	struct fw f;

	fw_init(&f, 2);
	IS(fw_get(&f, KILN_REG_MAGIC), KILN_MAGIC, "magic");
	IS(fw_get(&f, KILN_REG_GENERATION), 2, "generation");
	IS(fw_get(&f, KILN_REG_CORES), 2, "cores");
	IS(fw_get(&f, KILN_REG_HBM_SIZE_LO), HBM_BYTES, "HBM size");
	IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_OFF, "off at first");
	IS(fw_get(&f, 0x0fc), UINT32_MAX, "no register: all ones");
	IS(fw_get(&f, KILN_REG_MAGIC + 2), UINT32_MAX, "unaligned: all ones");
	IS(fw_get(&f, 0xfffffc), UINT32_MAX, "far away: all ones");
	fw_reg(&f, KILN_REG_MAGIC, 0);
	fw_reg(&f, 0xfffffc, 0);
	IS(fw_get(&f, KILN_REG_MAGIC), KILN_MAGIC, "read-only register stays");
	OK(!kiln_sim_service(f.sim), "nothing to do while off");
	IS(kiln_sim_take(f.sim), -1, "no core to run while off");
	f.admin = fw_ring_new(&f, 0, 6);
	fw_enable(&f, f.admin, 6);
	IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_BOOTING, "the register write only begins to boot");
	fw_pump(&f);
	IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_READY, "ready");
	IS(fw_get(&f, KILN_REG_FW_VERSION), KILN_FW_VERSION, "firmware version");
	IS(f.interrupts[0], 1, "vector 0 tells of it");
	fw_reg(&f, KILN_REG_ADMIN_LOG2, 3);
	IS(fw_get(&f, KILN_REG_ADMIN_LOG2), 6, "the admin ring is fixed while enabled");
	IS(fw_admin(&f, (struct kiln_cmd){ .opcode = KILN_ADM_NOP }), KILN_ST_OK, "admin NOP");
	fw_reg(&f, KILN_REG_CTRL, 0);
	fw_pump(&f);
	IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_OFF, "disabled");
	IS(fw_get(&f, KILN_REG_ADMIN_LOG2), 6, "registers are kept");
	fw_reg(&f, KILN_REG_CTRL, KILN_CTRL_RESET);
	IS(fw_get(&f, KILN_REG_CTRL), KILN_CTRL_RESET, "reset under way");
	fw_pump(&f);
	IS(fw_get(&f, KILN_REG_CTRL), 0, "reset done");
	IS(fw_get(&f, KILN_REG_ADMIN_LOG2), 0, "registers are zero");
	fw_free(&f);
}

/* What the driver can get wrong at boot; each is followed by a good one. */
static void boot_errors(void)
{
	static const struct {
		uint32_t offset, value, error;
		const char *name;
	} cases[] = {
		{ KILN_REG_DRV_VERSION, KILN_FW_VERSION + 1, KILN_BOOT_VERSION, "newer minor version" },
		{ KILN_REG_DRV_VERSION, KILN_FW_VERSION + 0x10000, KILN_BOOT_VERSION, "newer major version" },
		{ KILN_REG_DRV_VERSION, 1, KILN_BOOT_VERSION, "older major version" },
		{ KILN_REG_ADMIN_SQ_LO, 64, KILN_BOOT_ADMIN_RING, "misaligned submission ring" },
		{ KILN_REG_ADMIN_CQ_LO, 1, KILN_BOOT_ADMIN_RING, "misaligned completion ring" },
		{ KILN_REG_ADMIN_CTL_LO, 2048, KILN_BOOT_ADMIN_RING, "misaligned control block" },
		{ KILN_REG_ADMIN_LOG2, KILN_RING_LOG2_MIN - 1, KILN_BOOT_ADMIN_RING, "ring too small" },
		{ KILN_REG_ADMIN_LOG2, KILN_RING_LOG2_MAX + 1, KILN_BOOT_ADMIN_RING, "ring too big" },
		{ KILN_REG_ADMIN_LOG2, UINT32_MAX, KILN_BOOT_ADMIN_RING, "ring absurd" },
		{ KILN_REG_ADMIN_SQ_HI, 0, KILN_BOOT_DMA, "submission ring nowhere" },
		{ KILN_REG_ADMIN_CQ_HI, 0x7fffffff, KILN_BOOT_DMA, "completion ring nowhere" },
		{ KILN_REG_ADMIN_CTL_HI, 0xffff, KILN_BOOT_DMA, "control block nowhere" },
	};
	struct fw f;

	fw_init(&f, 1);
	f.admin = fw_ring_new(&f, 0, 6);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		fw_enable(&f, f.admin, 6);
		fw_reg(&f, KILN_REG_CTRL, 0);
		fw_pump(&f);
		fw_reg(&f, cases[i].offset, cases[i].value);
		fw_reg(&f, KILN_REG_CTRL, KILN_CTRL_ENABLE);
		fw_pump(&f);
		IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_FAILED, "%s: fails", cases[i].name);
		IS(fw_get(&f, KILN_REG_ERROR), cases[i].error, "%s: reason", cases[i].name);
		IS(fw_get(&f, KILN_REG_FW_VERSION), KILN_FW_VERSION, "%s: the version can be told", cases[i].name);
		fw_reg(&f, KILN_REG_CTRL, KILN_CTRL_RESET);
		fw_pump(&f);
		fw_enable(&f, f.admin, 6);
		fw_pump(&f);
		IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_READY, "%s: boots when put right", cases[i].name);
		fw_reg(&f, KILN_REG_CTRL, 0);
		fw_pump(&f);
	}
	fw_free(&f);
}

/* NOP and EXEC, through several rounds of the ring. */
static void commands(void)
{
	struct kiln_completion record = { 0 };
	struct fw_tenant t;
	struct fw_ring *r;
	bool good = true;
	struct fw f;

	fw_boot_card(&f, 2);
	fw_tenant_new(&f, &t, 1, 64);
	r = fw_queue(&f, 1, 1, 3, 64);
	for (unsigned int i = 0; i < 100; i++) {
		fw_push1(r, i & 1 ? fw_exec(i, FW_GOOD) : fw_nop(i));
		fw_pump(&f);
		good &= fw_result(r, i) == KILN_ST_OK;
	}
	OK(good, "100 commands one by one");
	for (unsigned int i = 0; i < 800; i += 8) {
		struct kiln_cmd cmds[8];

		for (unsigned int j = 0; j < 8; j++)
			cmds[j] = j & 1 ? fw_exec(i + j, FW_GOOD) : fw_nop(i + j);
		fw_push(r, cmds, 8);
		fw_pump(&f);
		for (unsigned int j = 0; j < 8; j++)
			good &= fw_result(r, i + j) == KILN_ST_OK;
	}
	OK(good, "800 commands, the ring full each time");
	IS(r->ctl->sq_head, r->tail, "sq_head has followed");

	f.run_cost = 5000;
	fw_push1(r, fw_exec(7, FW_GOOD));
	fw_pump(&f);
	OK(fw_pop(r, &record), "a completion");
	IS(record.end_ns - record.start_ns, 5000, "start and end of the run");
	OK(record.cycles, "device time");
	IS(record.label | record.engine | record.instruction | record.fault_addr, 0, "no fault in it");
	fw_free(&f);
}

/* A driver that is one step ahead: its entry comes before it can see that the card asks for a bell. */
static void push_late(struct fw *f, uint64_t addr)
{
	struct fw_ring *r = &f->rings[f->ring_count - 1];

	if (addr != r->ctl_addr + offsetof(struct kiln_ring_ctl, sq_event))
		return;
	f->stored = NULL;
	r->sq[r->tail++ & (r->entries - 1)] = fw_nop(4711);
	__atomic_store_n(&r->ctl->sq_tail, r->tail, __ATOMIC_RELEASE);
}

static void events(void)
{
	struct kiln_cmd cmds[3] = { fw_nop(1), fw_nop(2), fw_nop(3) };
	struct fw_tenant t;
	struct fw_ring *r;
	struct fw f;

	fw_boot_card(&f, 1);
	fw_tenant_new(&f, &t, 1, 64);
	r = fw_queue(&f, 5, 1, 3, 64);
	IS(f.interrupts[5], 0, "none yet");

	/* doorbells: asked for when idle, not asked for while at work */
	fw_push(r, cmds, 1);
	IS(r->bells, 1, "an idle queue asks for a bell");
	fw_push(r, cmds + 1, 2);
	IS(r->bells, 1, "and for one only");
	fw_pump(&f);
	IS(r->ctl->sq_event, 3, "sq_event is at the tail again");
	IS(fw_result(r, 1) | fw_result(r, 2) | fw_result(r, 3), 0, "all done");

	fw_push1(r, fw_exec(4, FW_GOOD));
	fw_serve(&f);
	IS(kiln_sim_take(f.sim), 0, "one on the core");
	IS(r->bells, 2, "with a bell");
	fw_push(r, cmds, 2);
	IS(r->bells, 2, "none for more while it runs");
	fw_run(&f, 0);
	kiln_sim_retire(f.sim, 0);
	fw_pump(&f);
	IS(fw_result(r, 4) | fw_result(r, 1) | fw_result(r, 2), 0, "they were found without one");

	fw_push1(r, fw_nop(5));
	f.stored = push_late;
	fw_pump(&f);
	IS(fw_result(r, 5), 0, "the card goes to sleep");
	IS(fw_result(r, 4711), 0, "and finds what came at the last moment");

	/* interrupts: once, at the completion that was asked for */
	f.interrupts[5] = 0;
	fw_push(r, cmds, 3);
	fw_pump(&f);
	IS(f.interrupts[5], 0, "none asked for, none comes");
	while (fw_result(r, 1) != -1)
		;
	fw_ring_want(r);
	fw_push(r, cmds, 3);
	fw_pump(&f);
	IS(f.interrupts[5], 1, "one for three");
	while (fw_result(r, 1) != -1)
		;
	r->ctl->cq_event = r->head + 2;
	fw_push(r, cmds, 2);
	fw_pump(&f);
	IS(f.interrupts[5], 1, "not before the third");
	fw_push(r, cmds, 1);
	fw_pump(&f);
	IS(f.interrupts[5], 2, "at the third");
	fw_free(&f);
}

/* Indices run through 2^32 as if it were nothing. */
static void wrap(void)
{
	uint32_t start = UINT32_MAX - 20;
	unsigned int rang = 0, told;
	struct fw_tenant t;
	struct fw_queue *q;
	struct fw_ring *r;
	bool good = true;
	struct fw f;

	fw_boot_card(&f, 1);
	fw_tenant_new(&f, &t, 1, 64);
	r = fw_queue(&f, 1, 1, 3, 64);
	/* as if so many had gone through already */
	q = &f.sim->queue[1];
	q->sq_next = q->sq_base = q->sq_fetched = q->cq_tail = q->cq_head = start;
	r->ctl->sq_tail = r->ctl->sq_head = r->ctl->sq_event = start;
	r->ctl->cq_tail = r->ctl->cq_head = start;
	r->tail = r->head = start;
	for (unsigned int i = 0; i < 60; i += 5) {
		struct kiln_cmd cmds[5];
		unsigned int bells = r->bells;

		for (unsigned int j = 0; j < 5; j++)
			cmds[j] = fw_nop(i + j);
		fw_ring_want(r);
		fw_push(r, cmds, 5);
		fw_pump(&f);
		rang += r->bells - bells;
		for (unsigned int j = 0; j < 5; j++)
			good &= fw_result(r, i + j) == KILN_ST_OK;
	}
	told = f.interrupts[1];
	OK(good && r->tail == start + 60, "60 commands across the end of the indices");
	IS(rang, 12, "a bell for each batch");
	IS(told, 12, "an interrupt for each batch");
	fw_free(&f);
}

/* A full completion ring holds the queue back and loses nothing. */
static void back_pressure(void)
{
	struct fw_tenant t;
	struct fw_ring *r;
	bool good = true;
	struct fw f;

	fw_boot_card(&f, 1);
	fw_tenant_new(&f, &t, 1, 64);
	r = fw_queue(&f, 1, 1, 3, 64);
	for (unsigned int i = 0; i < 8; i++)
		fw_push1(r, fw_nop(i));
	fw_pump(&f);
	for (unsigned int i = 8; i < 16; i++)
		fw_push1(r, i & 1 ? fw_nop(i) : fw_exec(i, FW_GOOD));
	fw_pump(&f);
	IS(r->ctl->cq_tail, 8, "eight completions in a ring of eight, not one more");
	for (unsigned int i = 0; i < 8; i++)
		good &= fw_result(r, i) == KILN_ST_OK;
	f.clock += 5 * MS;
	f.kicks = 0;
	kiln_sim_tick(f.sim);
	IS(f.kicks, 1, "a second look is due: somebody is woken");
	fw_pump(&f);
	for (unsigned int i = 8; i < 16; i++)
		good &= fw_result(r, i) == KILN_ST_OK;
	OK(good, "the others come when there is room, without a bell");
	fw_free(&f);
}

/* Rings that lie. The queue stops, its neighbour and the card do not. */
static void hostile(void)
{
	struct fw_tenant t;
	struct fw_ring *r, *other;
	struct fw f;

	fw_boot_card(&f, 1);
	fw_tenant_new(&f, &t, 1, 64);
	r = fw_queue(&f, 1, 1, 3, 64);
	other = fw_queue(&f, 2, 1, 3, 64);
	r->ctl->sq_tail = 9;
	kiln_sim_doorbell(f.sim, 1);
	fw_pump(&f);
	IS(r->ctl->cq_tail, 0, "a tail beyond the ring: nothing is taken");
	OK(f.guest_errors, "and it is said");
	fw_push1(other, fw_exec(1, FW_GOOD));
	fw_pump(&f);
	IS(fw_result(other, 1), KILN_ST_OK, "the other queue goes on");
	IS(fw_queue_destroy(&f, 1), KILN_ST_OK, "it can be destroyed");
	r->ctl->sq_tail = 0;
	IS(fw_admin(&f, fw_queue_cmd(r, 1, 3)), KILN_ST_OK, "and made anew");
	fw_push1(r, fw_nop(2));
	fw_pump(&f);
	IS(fw_result(r, 2), KILN_ST_OK, "and used");

	r->ctl->cq_head = 77;
	for (unsigned int i = 0; i < 8; i++)
		fw_push1(r, fw_nop(i));
	fw_pump(&f);
	OK(r->ctl->cq_tail < 9, "a cq_head from elsewhere stops it before the ring overruns");
	fw_push1(other, fw_nop(3));
	kiln_sim_doorbell(f.sim, 4095);
	kiln_sim_doorbell(f.sim, 4096);
	kiln_sim_doorbell(f.sim, UINT32_MAX);
	fw_pump(&f);
	IS(fw_result(other, 3), KILN_ST_OK, "doorbells of no queue are nothing");

	f.admin->ctl->sq_tail += 1000;
	kiln_sim_doorbell(f.sim, 0);
	fw_pump(&f);
	IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_FAILED, "a nonsense admin ring ends the firmware");
	IS(fw_get(&f, KILN_REG_ERROR), KILN_BOOT_CRASHED, "with a reason");
	fw_free(&f);
}

/* Cards that cannot be made. */
#define CARD(g, c, bytes)	{ .generation = g, .cores = c, .hbm_bytes = bytes }

static void configs(void)
{
	static const struct {
		struct kiln_sim_config config;
		bool good;
	} cases[] = {
		{ CARD(2, 2, 1ull << 30), true },
		{ CARD(1, 1, 1 << KILN_LARGE_SHIFT), true },
		{ CARD(3, KILN_MAX_CORES, 1ull << 40), true },
		{ CARD(0, 2, 1 << 30), false },
		{ CARD(4, 2, 1 << 30), false },
		{ CARD(2, 0, 1 << 30), false },
		{ CARD(2, KILN_MAX_CORES + 1, 1 << 30), false },
		{ CARD(2, UINT32_MAX, 1 << 30), false },
		{ CARD(2, 2, 0), false },
		{ CARD(2, 2, 3), false },
		{ CARD(2, 2, (1 << 30) + 4096), false },
		{ CARD(2, 2, 1ull << 63), false },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct kiln_sim_config *config = &cases[i].config;
		const char *why = kiln_sim_check(config);

		OK(!why == cases[i].good && !kiln_sim_size(config) == !cases[i].good,
		   "generation %u, cores %u, hbm %#llx: %s", config->generation,
		   config->cores, (long long)config->hbm_bytes, why ? why : "good");
	}
}

int main(void)
{
	configs();
	boot();
	boot_errors();
	commands();
	events();
	wrap();
	back_pressure();
	hostile();
	return tap_end();
}
