// SPDX-License-Identifier: MIT
/*
 * Who gets how much of the card: weights, promised shares, priorities. Time is
 * the card's own: a core is busy for as many cycles as its command took, so
 * several cores work side by side and every run gives the same figures.
 */
#include "fw_harness.h"

#define MAX_TENANTS	8

struct tenant {
	struct fw_tenant t;
	struct fw_ring *r[4];
	unsigned int queues;
	uint64_t program[2];	/* taken in turn */
	unsigned int turn;
	bool away;		/* sends nothing */
	uint64_t every;		/* sends one command each so many cycles; 0: always busy */
	uint64_t next, sent;	/* then: when, and when the last one was */
	uint64_t worst;		/* then: the longest that one has waited for its core */
	uint64_t cycles;	/* of device time */
};

struct card {
	struct fw f;
	struct tenant tenant[MAX_TENANTS];
	unsigned int count;
	uint64_t now;
	uint64_t end[KILN_MAX_CORES];	/* of the command on it; 0: free */
};

#define BYTES	384

/* A program that fills n words of one partition, and takes about n cycles for it. */
static void filler(void *at, uint16_t n)
{
	struct kiln_program_header header = {
		.magic = KILN_PROGRAM_MAGIC, .isa_major = KILN_ISA_MAJOR,
		.isa_minor = KILN_ISA_MINOR, .bytes = BYTES,
		.stream[KILN_GPSIMD] = { .offset = 128, .count = 2 },
	};
	struct kiln_insn insn[2] = {
		{ .opcode = KILN_OP_MEMSET, .imm[0] = 1,
		  .dst = { .space = KILN_SBUF, .dtype = KILN_F32, .partitions = 1,
			   .ndim = 1, .size[0] = n, .stride[0] = 1 } },
		{ .opcode = KILN_OP_HALT },
	};

	memcpy(at, &header, sizeof(header));
	memcpy((uint8_t *)at + 128, insn, sizeof(insn));
}

static struct kiln_cmd share_cmd(uint32_t context, uint32_t weight, uint32_t priority,
				 uint32_t min_share)
{
	return (struct kiln_cmd){
		.opcode = KILN_ADM_CTX_SHARE,
		.ctx = { .context = context, .weight = weight, .priority = priority,
			 .min_share = min_share },
	};
}

static int set_share(struct card *c, unsigned int i, uint32_t weight, uint32_t priority,
		     uint32_t min_share)
{
	return fw_admin(&c->f, share_cmd(i + 1, weight, priority, min_share));
}

/* A tenant whose commands fill n0 and n1 words in turn. */
static struct tenant *add(struct card *c, unsigned int queues, uint32_t weight, uint16_t n0,
			  uint16_t n1)
{
	struct tenant *t = &c->tenant[c->count++];
	uint8_t *code;

	fw_tenant_new(&c->f, &t->t, c->count, weight);
	/* its programs' page lies below its timelines' */
	code = (uint8_t *)t->t.line - 4096;
	for (unsigned int i = 0; i < 2; i++) {
		t->program[i] = FW_VA + 2048 + 1024 * i;
		filler(code + 2048 + 1024 * i, i ? n1 : n0);
	}
	t->queues = queues;
	for (unsigned int i = 0; i < queues; i++)
		t->r[i] = fw_queue(&c->f, c->count * 4 + i, c->count, 3, 64);
	return t;
}

static void boot(struct card *c, unsigned int cores)
{
	memset(c, 0, sizeof(*c));
	fw_boot_card(&c->f, cores);
	c->now = 1;
}

static void send(struct tenant *t, struct fw_ring *r)
{
	struct kiln_cmd cmd = fw_exec(t->sent, t->program[t->turn++ % 2]);

	cmd.param = KILN_EXEC_PARAM(BYTES, 0);
	fw_push1(r, cmd);
}

static void supply(struct card *c, struct tenant *t)
{
	struct kiln_completion record;

	for (unsigned int i = 0; i < t->queues; i++) {
		while (fw_pop(t->r[i], &record)) {
			if (record.status) {
				printf("Bail out! a command ends in status %u\n", record.status);
				exit(1);
			}
			t->cycles += record.cycles;
		}
		while (!t->away && !t->every && t->r[i]->tail - t->r[i]->head < 4)
			send(t, t->r[i]);
	}
	if (t->every && c->now >= t->next) {
		t->next = c->now + t->every;
		t->sent = c->now;
		send(t, t->r[0]);
	}
}

/* Give free cores work, go on to the next thing that happens; true if time is not up. */
static bool step(struct card *c, uint64_t until)
{
	uint64_t next = UINT64_MAX;
	int core;

	for (unsigned int i = 0; i < c->count; i++)
		supply(c, &c->tenant[i]);
	fw_serve(&c->f);
	while ((core = kiln_sim_take(c->f.sim)) >= 0) {
		struct tenant *t = &c->tenant[c->f.sim->core[core].context - 1];

		if (t->every && c->now - t->sent > t->worst)
			t->worst = c->now - t->sent;
		kiln_sim_run(c->f.sim, core);
		c->end[core] = c->now + c->f.sim->core[core].outcome.cycles;
	}
	for (unsigned int i = 0; i < KILN_MAX_CORES; i++)
		if (c->end[i] && c->end[i] < next)
			next = c->end[i];
	for (unsigned int i = 0; i < c->count; i++)
		if (c->tenant[i].every && c->tenant[i].next < next)
			next = c->tenant[i].next;
	if (next >= until)
		return false;
	c->now = next;
	for (unsigned int i = 0; i < KILN_MAX_CORES; i++) {
		if (c->end[i] != c->now)
			continue;
		c->end[i] = 0;
		kiln_sim_retire(c->f.sim, i);
	}
	return true;
}

/* So long; counts anew. */
static void go(struct card *c, uint64_t cycles)
{
	uint64_t until = c->now + cycles;

	for (unsigned int i = 0; i < c->count; i++)
		c->tenant[i].cycles = c->tenant[i].worst = 0;
	while (step(c, until))
		;
}

/* Of all device time, in thousandths. */
static unsigned int got(struct card *c, unsigned int i)
{
	uint64_t sum = 0;

	for (unsigned int j = 0; j < c->count; j++)
		sum += c->tenant[j].cycles;
	return sum ? (c->tenant[i].cycles * 1000 + sum / 2) / sum : 0;
}

/* Within a point of it, where two are promised. */
static bool near(unsigned int got, unsigned int want)
{
	return got + 10 >= want && got <= want + 10;
}

#define MILLION		1000000ull
#define SAY3		"%u : %u : %u"
#define THREE(c)	got(c, 0), got(c, 1), got(c, 2)

static void three_tenants(unsigned int cores, const uint16_t n[6], const char *what)
{
	static const unsigned int want[3] = { 700, 200, 100 };
	struct card c;
	bool good = true;

	boot(&c, cores);
	for (unsigned int i = 0; i < 3; i++)
		add(&c, cores, want[i], n[2 * i], n[2 * i + 1]);
	go(&c, 40 * MILLION);
	for (unsigned int i = 0; i < 3; i++)
		good &= near(got(&c, i), want[i]);
	OK(good, "%u core(s), 700 : 200 : 100, %s: " SAY3, cores, what, THREE(&c));

	c.tenant[0].away = true;
	go(&c, 10 * MILLION);	/* what it has sent runs out */
	go(&c, 40 * MILLION);
	OK(near(got(&c, 1), 667) && near(got(&c, 2), 333) && !c.tenant[0].cycles,
	   "%u core(s): what the first does not use goes to the others: " SAY3, cores, THREE(&c));
	c.tenant[0].away = false;
	go(&c, 40 * MILLION);
	good = true;
	for (unsigned int i = 0; i < 3; i++)
		good &= near(got(&c, i), want[i]);
	OK(good, "%u core(s): it comes back, without credit: " SAY3, cores, THREE(&c));
	fw_free(&c.f);
}

/* The host was slow with one of them: that is not its fault. */
static void host_time(void)
{
	struct card c;

	boot(&c, 1);
	add(&c, 1, 64, 4000, 4000);
	add(&c, 1, 64, 4000, 4000);
	for (unsigned int i = 0; i < 2000; i++) {
		step(&c, UINT64_MAX);
		if (c.f.sim->core[0].context == 1)
			c.f.clock += 50 * MS;
	}
	OK(near(got(&c, 0), 500), "equal weights, 50 ms of the host's time against none: %u : %u",
	   got(&c, 0), got(&c, 1));
	fw_free(&c.f);
}

static void latency(unsigned int cores)
{
	struct card c;
	struct tenant *t;
	uint64_t command;

	boot(&c, cores);
	add(&c, cores, 700, 9000, 9000);
	add(&c, cores, 200, 9000, 9000);
	add(&c, cores, 100, 9000, 9000);
	go(&c, MILLION);
	command = c.tenant[0].cycles / (c.tenant[0].turn - 4 * cores);
	t = add(&c, 1, 64, 100, 100);
	t->every = 40 * command;
	t->next = c.now;
	go(&c, 100 * t->every);
	OK(t->turn >= 99 && t->worst && t->worst <= 2 * command,
	   "%u core(s), all busy: a short command now and then waits %.2f command times at most",
	   cores, (double)t->worst / command);
	fw_free(&c.f);
}

static void promises(unsigned int cores)
{
	struct card c;
	struct tenant *t;

	boot(&c, cores);
	t = add(&c, cores, 1, 5000, 5000);
	for (unsigned int i = 1; i < 4; i++)
		add(&c, cores, 1024, 3000, 9000);
	go(&c, 20 * MILLION);
	OK(got(&c, 0) <= 5, "%u core(s): weight 1 against three of 1024: %u", cores, got(&c, 0));
	IS(set_share(&c, 0, 1, 0, 300), KILN_ST_OK, "promised 300");
	go(&c, 40 * MILLION);
	OK(near(got(&c, 0), 300) && near(got(&c, 1), 233) && near(got(&c, 3), 233),
	   "%u core(s): it gets %u, the others equal shares of what is left: " SAY3, cores,
	   got(&c, 0), got(&c, 1), got(&c, 2), got(&c, 3));

	IS(set_share(&c, 1, 1024, KILN_PRIORITY_HIGH, 0), KILN_ST_OK, "another has priority");
	go(&c, 40 * MILLION);
	OK(near(got(&c, 0), 300) && near(got(&c, 1), 700),
	   "%u core(s): a promise comes before priority: %u : %u", cores, got(&c, 0), got(&c, 1));
	IS(set_share(&c, 1, 1024, 0, 0), KILN_ST_OK, "not any more");

	t->away = true;
	go(&c, 40 * MILLION);
	OK(near(got(&c, 1), 333) && near(got(&c, 2), 333),
	   "%u core(s): what it does not use goes to the others: " SAY3, cores,
	   got(&c, 1), got(&c, 2), got(&c, 3));
	t->away = false;
	for (unsigned int i = 1; i < 4; i++)
		c.tenant[i].away = true;
	go(&c, 40 * MILLION);
	OK(got(&c, 0) >= 950, "%u core(s): alone it has all of the card: %u", cores, got(&c, 0));
	for (unsigned int i = 1; i < 4; i++)
		c.tenant[i].away = false;
	go(&c, 40 * MILLION);
	OK(near(got(&c, 0), 300), "%u core(s): which is not held against it: %u", cores, got(&c, 0));

	IS(set_share(&c, 0, 1024, 0, 100), KILN_ST_OK, "promised less than its weight is worth");
	go(&c, 40 * MILLION);
	OK(near(got(&c, 0), 250), "%u core(s): promise and weight do not add up: %u", cores,
	   got(&c, 0));
	IS(set_share(&c, 0, 1024, 0, 0), KILN_ST_OK, "promised nothing");
	go(&c, 40 * MILLION);
	OK(near(got(&c, 0), 250), "%u core(s): and owes nothing: %u", cores, got(&c, 0));
	fw_free(&c.f);
}

/* One of the others has commands that are ten times as long. */
static void long_commands(void)
{
	struct card c;

	boot(&c, 1);
	add(&c, 1, 1, 1500, 1500);
	add(&c, 1, 1024, 15000, 15000);
	IS(set_share(&c, 0, 1, 0, 400), KILN_ST_OK, "promised 400");
	go(&c, 100 * MILLION);
	OK(near(got(&c, 0), 400), "against commands of ten times the length: %u", got(&c, 0));
	fw_free(&c.f);
}

static void priorities(void)
{
	struct card c;

	boot(&c, 2);
	for (unsigned int i = 0; i < 3; i++)
		add(&c, 2, i ? 1024 : 1, 5000, 5000);
	IS(set_share(&c, 0, 1, KILN_PRIORITY_HIGH, 0), KILN_ST_OK, "high");
	IS(set_share(&c, 2, 1024, KILN_PRIORITY_LOW, 0), KILN_ST_OK, "low");
	go(&c, 2 * MILLION);
	go(&c, 20 * MILLION);
	OK(got(&c, 0) == 1000, "the high one has the card: " SAY3, THREE(&c));
	c.tenant[0].away = true;
	go(&c, 2 * MILLION);
	go(&c, 20 * MILLION);
	OK(got(&c, 1) == 1000, "away, the normal one has it: " SAY3, THREE(&c));
	c.tenant[1].away = true;
	go(&c, 2 * MILLION);
	go(&c, 20 * MILLION);
	OK(got(&c, 2) == 1000, "and then the low one: " SAY3, THREE(&c));
	c.tenant[1].away = false;
	IS(set_share(&c, 2, 1024, 0, 0), KILN_ST_OK, "low becomes normal");
	go(&c, 2 * MILLION);
	go(&c, 20 * MILLION);
	OK(near(got(&c, 1), 500) && near(got(&c, 2), 500),
	   "and shares by weight, with neither debt nor credit: " SAY3, THREE(&c));
	fw_free(&c.f);
}

static void changes(void)
{
	struct kiln_completion record;
	struct card c;
	uint64_t until;

	boot(&c, 1);
	for (unsigned int i = 0; i < 3; i++)
		add(&c, 1, 100, 3000, 5000);
	go(&c, 20 * MILLION);
	OK(near(got(&c, 0), 333), "equal weights: " SAY3, THREE(&c));
	IS(set_share(&c, 0, 600, 0, 0), KILN_ST_OK, "weight 600, while they run");
	go(&c, 40 * MILLION);
	OK(near(got(&c, 0), 750) && near(got(&c, 1), 125), "600 : 100 : 100: " SAY3, THREE(&c));

	/* nobody runs away from his debts by changing his share */
	IS(set_share(&c, 0, 1, 0, 0), KILN_ST_OK, "weight 1");
	go(&c, 2 * MILLION);
	until = c.now + 40 * MILLION;
	for (unsigned int i = 0; i < 3; i++)
		c.tenant[i].cycles = 0;
	for (unsigned int i = 0; step(&c, until); i++)
		if (set_share(&c, 0, 1 + i % 2, i % 2, 0) != KILN_ST_OK)
			break;
	OK(got(&c, 0) <= 20, "between weights 1 and 2, normal and low: %u", got(&c, 0));

	fw_admin_send(&c.f, (struct kiln_cmd){ .opcode = KILN_ADM_CTX_SUSPEND, .ctx.context = 2 });
	go(&c, MILLION);
	go(&c, 20 * MILLION);
	OK(fw_pop(c.f.admin, &record) && !record.status && !got(&c, 1), "one is suspended");
	IS(set_share(&c, 0, 100, 0, 0), KILN_ST_OK, "weight 100");
	IS(fw_ctx(&c.f, KILN_ADM_CTX_RESUME, 2), KILN_ST_OK, "resumed");
	go(&c, 10 * MILLION);
	OK(near(got(&c, 0), 333) && near(got(&c, 1), 333), "no credit for it: " SAY3, THREE(&c));
	fw_free(&c.f);
}

static void refusals(void)
{
	static const struct {
		struct kiln_cmd cmd;
		int status;
		const char *what;
	} cases[] = {
		{ { .ctx = { .context = 1 } }, KILN_ST_BAD_COMMAND, "weight 0" },
		{ { .ctx = { 1, 1025 } }, KILN_ST_BAD_COMMAND, "weight 1025" },
		{ { .ctx = { 1, 1, 0, 3 } }, KILN_ST_BAD_COMMAND, "priority 3" },
		{ { .ctx = { 1, 1, 0, ~0u } }, KILN_ST_BAD_COMMAND, "priority -1" },
		{ { .ctx = { 1, 1, 0, 0, 901 } }, KILN_ST_BAD_COMMAND, "min_share 901" },
		{ { .ctx = { 1, 1, 0, 0, ~0u } }, KILN_ST_BAD_COMMAND, "min_share -1" },
		{ { .ctx = { 1, 1, 4096 } }, KILN_ST_BAD_COMMAND, "root" },
		{ { .ctx = { 1, 1, 0, 0, 0, { 0, 0, 1 } } }, KILN_ST_BAD_COMMAND, "reserved" },
		{ { .param = 1, .ctx = { 1, 1 } }, KILN_ST_BAD_COMMAND, "param" },
		{ { .ctx = { 0, 1 } }, KILN_ST_BAD_STATE, "context 0" },
		{ { .ctx = { 7, 1 } }, KILN_ST_BAD_STATE, "no such context" },
		{ { .ctx = { 256, 1 } }, KILN_ST_BAD_STATE, "context out of range" },
		{ { .ctx = { 1, 1, 0, 0, 500 } }, KILN_ST_NO_SPACE, "500 on top of 401" },
		{ { .ctx = { 1, 1, 0, 0, 499 } }, KILN_ST_OK, "499 on top of 401" },
		{ { .ctx = { 1, 1, 0, 0, 1 } }, KILN_ST_OK, "1 instead of it" },
		{ { .ctx = { 2, 1, 0, 0, 899 } }, KILN_ST_OK, "899 for the other" },
		{ { .ctx = { 2, 1, 0, 0, 900 } }, KILN_ST_NO_SPACE, "900 for it" },
	};
	struct kiln_cmd cmd = { .opcode = KILN_ADM_CTX_CREATE,
				.ctx = { .context = 9, .weight = 1, .min_share = 1 } };
	struct card c;

	boot(&c, 1);
	add(&c, 1, 100, 3000, 3000);
	add(&c, 1, 100, 3000, 3000);
	IS(set_share(&c, 1, 100, 0, 401), KILN_ST_OK, "401");
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct kiln_cmd bad = cases[i].cmd;

		bad.opcode = KILN_ADM_CTX_SHARE;
		IS(fw_admin(&c.f, bad), cases[i].status, "%s", cases[i].what);
	}
	IS(fw_admin(&c.f, cmd), KILN_ST_NO_SPACE, "no context is made with a promise beyond the last one");
	IS(fw_ctx(&c.f, KILN_ADM_CTX_DESTROY, 9), KILN_ST_BAD_STATE, "it was not made");
	IS(fw_queue_destroy(&c.f, 4), KILN_ST_OK, "one goes");
	IS(fw_ctx(&c.f, KILN_ADM_CTX_DESTROY, 1), KILN_ST_OK, "with its promise");
	IS(fw_admin(&c.f, cmd), KILN_ST_OK, "which another gets");
	go(&c, MILLION);
	OK(c.tenant[1].cycles, "the card works");
	fw_free(&c.f);
}

int main(void)
{
	static const uint16_t same[6] = { 6000, 6000, 6000, 6000, 6000, 6000 };
	static const uint16_t unlike[6] = { 300, 300, 12000, 12000, 2400, 2400 };
	static const uint16_t unsteady[6] = { 1000, 15000, 400, 7000, 9000, 900 };

	for (unsigned int cores = 1; cores <= 4; cores *= 2) {
		three_tenants(cores, same, "equal commands");
		three_tenants(cores, unlike, "lengths 1 : 40 : 8");
		three_tenants(cores, unsteady, "lengths that change");
		latency(cores);
	}
	host_time();
	promises(1);
	promises(2);
	long_commands();
	priorities();
	changes();
	refusals();
	return tap_end();
}
