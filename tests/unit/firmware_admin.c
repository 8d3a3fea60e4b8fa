// SPDX-License-Identifier: MIT
/* Every admin command, with good fields and with each field wrong. */
#include "fw_harness.h"

static struct fw f;

/* Refused, and nothing else goes wrong by it. */
#define REFUSED(cmd, status, ...) do { \
	IS(fw_admin(&f, cmd), status, __VA_ARGS__); \
	IS(fw_admin(&f, (struct kiln_cmd){ .opcode = KILN_ADM_NOP }), \
	   KILN_ST_OK, "... and the next one works"); \
} while (0)

/* The fields that all commands have, and those that this one does not use. */
static void common(const char *name, struct kiln_cmd good, size_t used)
{
	struct kiln_cmd cmd;

	cmd = good;
	cmd.flags = 1;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "%s: flags", name);
	cmd = good;
	cmd.reserved = 1;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "%s: reserved", name);
	cmd = good;
	cmd.param = 4711;
	if (good.opcode == KILN_ADM_CTX_FAULT)
		REFUSED(cmd, KILN_ST_BAD_STATE, "%s: no such context", name);
	else
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "%s: param", name);
	for (size_t i = used; i < sizeof(cmd); i += 8) {
		cmd = good;
		((uint8_t *)&cmd)[i] = 1;
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "%s: unused byte %zu", name, i);
	}
}

#define USED(member) offsetof(struct kiln_cmd, member)

static void contexts(uint64_t root)
{
	static const uint8_t plain[] = {
		KILN_ADM_CTX_SUSPEND, KILN_ADM_CTX_RESUME, KILN_ADM_TLB_FLUSH,
		KILN_ADM_CTX_DESTROY,
	};
	struct kiln_cmd good = {
		.opcode = KILN_ADM_CTX_CREATE, .ctx.context = 255,
		.ctx.weight = 1024, .ctx.root = root,
	};
	struct kiln_cmd cmd;

	common("CTX_CREATE", good, USED(ctx.reserved));
	for (unsigned int i = 0; i < 2; i++) {
		cmd = good;
		cmd.ctx.context = i ? 256 : 0;
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "context %u", cmd.ctx.context);
		cmd = good;
		cmd.ctx.weight = i ? 1025 : 0;
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "weight %u", cmd.ctx.weight);
		cmd = good;
		cmd.ctx.root = i ? HBM_BYTES : root + 8;
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "root %#llx", (long long)cmd.ctx.root);
	}
	cmd.ctx.root = ~4095ull;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "root at the end of the world");
	for (unsigned int i = 0; i < sizeof(plain); i++) {
		cmd = (struct kiln_cmd){ .opcode = plain[i], .ctx.context = 255 };
		REFUSED(cmd, KILN_ST_BAD_STATE, "%#x: not made yet", plain[i]);
	}
	IS(fw_admin(&f, good), KILN_ST_OK, "made");
	REFUSED(good, KILN_ST_BAD_STATE, "made twice");
	for (unsigned int i = 0; i < sizeof(plain); i++) {
		cmd = (struct kiln_cmd){ .opcode = plain[i], .ctx.context = 255 };
		common("context command", cmd, USED(ctx.weight));
		cmd.ctx.context = 0;
		REFUSED(cmd, KILN_ST_BAD_STATE, "%#x: context 0", plain[i]);
		cmd.ctx.context = 1u << 31;
		REFUSED(cmd, KILN_ST_BAD_STATE, "%#x: no such context", plain[i]);
		cmd.ctx.context = 255;
		if (plain[i] == KILN_ADM_CTX_RESUME) {
			IS(fw_admin(&f, cmd), KILN_ST_OK, "resumed");
			IS(fw_admin(&f, cmd), KILN_ST_BAD_STATE, "not suspended any more");
		} else {
			IS(fw_admin(&f, cmd), KILN_ST_OK, "%#x", plain[i]);
		}
	}
	REFUSED(cmd, KILN_ST_BAD_STATE, "gone");
}

static void queues(void)
{
	struct fw_ring *r = fw_ring_new(&f, 4095, 3);
	struct kiln_cmd good = fw_queue_cmd(r, 1, 3), cmd;
	static const struct {
		size_t offset, size;
		uint64_t value;
		enum kiln_status status;
	} cases[] = {
		{ USED(queue.queue), 4, 0, KILN_ST_BAD_COMMAND },
		{ USED(queue.queue), 4, 4096, KILN_ST_BAD_COMMAND },
		{ USED(queue.queue), 4, UINT32_MAX, KILN_ST_BAD_COMMAND },
		{ USED(queue.context), 4, 0, KILN_ST_BAD_STATE },
		{ USED(queue.context), 4, 2, KILN_ST_BAD_STATE },
		{ USED(queue.context), 4, UINT32_MAX, KILN_ST_BAD_STATE },
		{ USED(queue.sq), 8, HOST_BASE + 64, KILN_ST_BAD_COMMAND },
		{ USED(queue.cq), 8, HOST_BASE + 2048, KILN_ST_BAD_COMMAND },
		{ USED(queue.ctl), 8, HOST_BASE + 1, KILN_ST_BAD_COMMAND },
		{ USED(queue.ctl), 8, 0, KILN_ST_BUS },
		{ USED(queue.ctl), 8, ~4095ull, KILN_ST_BUS },
		{ USED(queue.log2_entries), 4, 2, KILN_ST_BAD_COMMAND },
		{ USED(queue.log2_entries), 4, 13, KILN_ST_BAD_COMMAND },
		{ USED(queue.log2_entries), 4, 35, KILN_ST_BAD_COMMAND },
		{ USED(queue.vector), 4, 32, KILN_ST_BAD_COMMAND },
		{ USED(queue.weight), 4, 0, KILN_ST_BAD_COMMAND },
		{ USED(queue.weight), 4, 1025, KILN_ST_BAD_COMMAND },
		{ USED(queue.limit_ms), 4, 0, KILN_ST_BAD_COMMAND },
		{ USED(queue.limit_ms), 4, 10001, KILN_ST_BAD_COMMAND },
	};

	common("QUEUE_CREATE", good, sizeof(good));
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		cmd = good;
		memcpy((uint8_t *)&cmd + cases[i].offset, &cases[i].value, cases[i].size);
		REFUSED(cmd, cases[i].status, "QUEUE_CREATE: byte %zu = %#llx",
			cases[i].offset, (long long)cases[i].value);
	}
	cmd = good;
	cmd.queue.log2_entries = 12;
	cmd.queue.sq = ~4095ull;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "a ring that wraps around the end of memory");

	cmd = (struct kiln_cmd){ .opcode = KILN_ADM_QUEUE_DESTROY, .queue.queue = 4095 };
	REFUSED(cmd, KILN_ST_BAD_STATE, "QUEUE_DESTROY: not made yet");
	IS(fw_admin(&f, good), KILN_ST_OK, "made");
	REFUSED(good, KILN_ST_BAD_STATE, "made twice");
	IS(fw_ctx(&f, KILN_ADM_CTX_DESTROY, 1), KILN_ST_BAD_STATE, "its context cannot go first");
	common("QUEUE_DESTROY", cmd, USED(queue.context) + 4);
	cmd.queue.context = 1;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "QUEUE_DESTROY: context");
	cmd.queue.context = 0;
	cmd.queue.queue = 0;
	REFUSED(cmd, KILN_ST_BAD_STATE, "the admin queue cannot be destroyed");
	cmd.queue.queue = UINT32_MAX;
	REFUSED(cmd, KILN_ST_BAD_STATE, "QUEUE_DESTROY: no such queue");

	cmd = (struct kiln_cmd){ .opcode = KILN_ADM_QUEUE_CANCEL, .cancel.queue = 4095 };
	common("QUEUE_CANCEL", cmd, USED(cancel.reserved));
	cmd.cancel.reserved0 = 1;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "QUEUE_CANCEL: reserved0");
	cmd.cancel.reserved0 = 0;
	IS(fw_admin(&f, cmd), KILN_ST_OK, "nothing there to cancel");
	cmd.cancel.queue = 4094;
	REFUSED(cmd, KILN_ST_BAD_STATE, "QUEUE_CANCEL: no such queue");
	cmd.cancel.queue = 0;
	REFUSED(cmd, KILN_ST_BAD_STATE, "QUEUE_CANCEL: not the admin queue");
	IS(fw_queue_destroy(&f, 4095), KILN_ST_OK, "destroyed");
}

static void copies(void)
{
	uint64_t bytes = (5 << 20) + 123;
	uint64_t host = fw_host_alloc(&f, bytes), hbm = fw_hbm_alloc(&f, bytes) + 5;
	struct kiln_cmd in = {
		.opcode = KILN_ADM_COPY,
		.copy = { .dst = hbm, .src = host, .bytes = bytes, .src_host = 1 },
	};
	struct kiln_cmd out = {
		.opcode = KILN_ADM_COPY,
		.copy = { .dst = host, .src = hbm, .bytes = bytes, .dst_host = 1 },
	};
	struct kiln_cmd clear = {
		.opcode = KILN_ADM_CLEAR, .copy = { .dst = hbm + 1, .bytes = bytes - 2 },
	};
	uint8_t *data = fw_host_at(&f, host, bytes), *copy = malloc(bytes);
	struct kiln_completion record;
	uint64_t cookies[2], sum = 0;
	unsigned int seed = 4711;
	struct kiln_cmd cmd;

	printf("# seed %u\n", seed);
	for (uint64_t i = 0; i < bytes; i++)
		data[i] = copy[i] = rand_r(&seed) >> 8;
	common("COPY", in, USED(copy.reserved));
	common("CLEAR", clear, USED(copy.dst_host));
	IS(fw_admin(&f, in), KILN_ST_OK, "host to HBM");
	OK(!memcmp(f.hbm + hbm, copy, bytes), "arrived");
	memset(data, 0, bytes);
	IS(fw_admin(&f, out), KILN_ST_OK, "HBM to host");
	OK(!memcmp(data, copy, bytes), "arrived");
	IS(fw_admin(&f, clear), KILN_ST_OK, "clear");
	for (uint64_t i = 1; i < bytes - 1; i++)
		sum += f.hbm[hbm + i];
	IS(sum, 0, "all of it is zero");
	OK(f.hbm[hbm] == copy[0] && f.hbm[hbm + bytes - 1] == copy[bytes - 1],
	   "and nothing beside it");

	/* whole pages may go back to the host, the rest is written */
	hbm -= 5;
	for (unsigned int i = 0; i < 2; i++) {
		memset(f.hbm + hbm, 0x5a, bytes);
		clear.copy.dst = hbm;
		clear.copy.bytes = bytes - 1;
		f.discards = i;
		IS(fw_admin(&f, clear), KILN_ST_OK, "clear pages");
		sum = 0;
		for (uint64_t j = 0; j < bytes - 1; j++)
			sum += f.hbm[hbm + j];
		IS(sum, 0, i ? "all of them are zero" : "all of them were given back");
		OK(f.discards > i, "the host was asked");
		IS(f.hbm[hbm + bytes - 1], 0x5a, "and nothing beside them");
	}
	hbm += 5;

	cmd = in;
	cmd.copy.src_host = 0;
	cmd.copy.src = hbm + bytes;
	cmd.copy.bytes = 4096;
	memset(f.hbm + hbm + bytes, 0x5a, 4096);
	IS(fw_admin(&f, cmd), KILN_ST_OK, "HBM to HBM");
	OK(!memcmp(f.hbm + hbm, f.hbm + hbm + bytes, 4096), "arrived");
	cmd.copy.src = hbm + 4095;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "overlapping");

	cmd = in;
	cmd.copy.bytes = 0;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "no bytes");
	cmd.copy.bytes = UINT64_MAX;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "too many bytes");
	cmd = in;
	cmd.copy.dst = HBM_BYTES - bytes + 1;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "beyond HBM");
	cmd.copy.dst = UINT64_MAX - 10;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "far beyond HBM");
	cmd = in;
	cmd.copy.dst_host = 1;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "host to host");
	cmd = in;
	cmd.copy.src_host = 2;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "src_host 2");
	cmd = out;
	cmd.copy.dst_host = 2;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "dst_host 2");
	cmd = in;
	cmd.copy.src = UINT64_MAX - 10;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "host addresses that wrap");
	cmd.copy.src = HOST_BASE + HOST_BYTES - 4096;
	REFUSED(cmd, KILN_ST_BUS, "host memory that ends in the middle");
	cmd = out;
	cmd.copy.dst = 0x1000;
	REFUSED(cmd, KILN_ST_BUS, "host memory that is not there");
	cmd = clear;
	cmd.copy.src = 1;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "CLEAR: src");
	cmd = clear;
	cmd.copy.dst = HBM_BYTES;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "CLEAR: beyond HBM");
	cmd.copy.dst = 8192;
	cmd.copy.bytes = -4096ull;
	REFUSED(cmd, KILN_ST_BAD_COMMAND, "CLEAR: so long that it wraps");

	/* a long copy does not hold up what comes after it */
	cookies[0] = fw_admin_send(&f, in);
	cookies[1] = fw_admin_send(&f, (struct kiln_cmd){ .opcode = KILN_ADM_NOP });
	kiln_sim_service(f.sim);
	OK(fw_pop(f.admin, &record) && record.cookie == cookies[1], "a NOP overtakes a copy");
	OK(!fw_pop(f.admin, &record), "which is not done in one go");
	fw_serve(&f);
	OK(fw_pop(f.admin, &record) && record.cookie == cookies[0] &&
	   record.status == KILN_ST_OK, "and is done in the end");
	free(copy);
}

static void reports(void)
{
	uint64_t host = fw_host_alloc(&f, 4096);
	struct kiln_cmd stats = {
		.opcode = KILN_ADM_STATS,
		.copy = { .dst = host, .bytes = sizeof(struct kiln_stats), .dst_host = 1 },
	};
	struct kiln_cmd fault = {
		.opcode = KILN_ADM_CTX_FAULT, .param = 1,
		.copy = { .dst = host, .bytes = sizeof(struct kiln_fault), .dst_host = 1 },
	};
	struct kiln_stats *s = (void *)fw_host_at(&f, host, 4096);
	struct kiln_fault *e = (void *)s;
	struct kiln_cmd cmd;

	common("STATS", stats, USED(copy.reserved));
	common("CTX_FAULT", fault, USED(copy.reserved));
	IS(fw_admin(&f, stats), KILN_ST_OK, "statistics");
	OK(s->doorbells && s->interrupts, "something has happened");
	memset(s, 0xff, 4096);
	IS(fw_admin(&f, fault), KILN_ST_OK, "fault record");
	IS(e->count | e->completion.status | e->queue, 0, "no fault: zero");
	IS(((uint8_t *)e)[sizeof(*e)], 0xff, "and nothing behind it");
	cmd = stats;
	cmd.copy.bytes = 8;
	memset(s, 0xff, 4096);
	IS(fw_admin(&f, cmd), KILN_ST_OK, "an older driver's statistics");
	OK(s->uptime_ns != UINT64_MAX && s->commands == UINT64_MAX, "eight bytes");
	for (unsigned int i = 0; i < 2; i++) {
		const char *name = i ? "CTX_FAULT" : "STATS";

		cmd = i ? fault : stats;
		cmd.copy.bytes = 0;
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "%s: no bytes", name);
		cmd = i ? fault : stats;
		cmd.copy.dst_host = 0;
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "%s: not into HBM", name);
		cmd = i ? fault : stats;
		cmd.copy.src = 8;
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "%s: src", name);
		cmd = i ? fault : stats;
		cmd.copy.dst = UINT64_MAX - 3;
		REFUSED(cmd, KILN_ST_BAD_COMMAND, "%s: wraps", name);
		cmd.copy.dst = 64;
		REFUSED(cmd, KILN_ST_BUS, "%s: no memory there", name);
	}
	fault.param = 0;
	REFUSED(fault, KILN_ST_BAD_STATE, "CTX_FAULT: context 0");
}

/* Random bytes in every field: an answer each, and the card stays sound. */
static void noise(void)
{
	unsigned int seed = 99, answers = 0, odd = 0;
	struct kiln_completion record;

	printf("# seed %u\n", seed);
	for (unsigned int i = 0; i < 20000; i++) {
		struct kiln_cmd cmd;

		for (size_t b = 0; b < sizeof(cmd); b++)
			((uint8_t *)&cmd)[b] = rand_r(&seed) % 3 ? 0 : rand_r(&seed) >> 8;
		cmd.opcode = rand_r(&seed) % 8 ? 0x40 + rand_r(&seed) % 16 : rand_r(&seed);
		if (rand_r(&seed) % 2)
			cmd.flags = cmd.reserved = cmd.param = 0;
		fw_admin_send(&f, cmd);
		fw_serve(&f);
		f.clock += MS;
		kiln_sim_tick(f.sim);
		while (fw_pop(f.admin, &record)) {
			answers++;
			odd += record.status > KILN_ST_NO_SPACE;
		}
	}
	IS(answers, 20000, "an answer to each");
	IS(odd, 0, "with a status that there is");
	IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_READY, "still ready");
}

int main(void)
{
	struct fw_tenant t;

	fw_boot_card(&f, 2);
	fw_tenant_new(&f, &t, 1, 64);
	REFUSED(((struct kiln_cmd){ .opcode = KILN_CMD_NOP }), KILN_ST_BAD_COMMAND,
		"a tenant's command");
	REFUSED(((struct kiln_cmd){ .opcode = 0xff }), KILN_ST_BAD_COMMAND, "no such opcode");
	common("NOP", (struct kiln_cmd){ .opcode = KILN_ADM_NOP }, USED(exec));
	contexts(t.root);
	queues();
	copies();
	reports();
	noise();
	fw_free(&f);
	return tap_end();
}
