/* SPDX-License-Identifier: MIT */
/*
 * A card and a miniature driver in one process, for the tests of the firmware:
 * host memory is an arena at HOST_BASE, the clock is the test's, and each step
 * of the card's loop can be taken by hand.
 */
#ifndef FW_HARNESS_H
#define FW_HARNESS_H

/* not every test uses all of this */
#pragma GCC diagnostic ignored "-Wunused-function"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "firmware/firmware.h"
#include "kiln/hw.h"
#include "kiln/isa.h"
#include "kiln_sim.h"

#define HOST_BASE	0x100000000ull
#define HOST_BYTES	(8ull << 20)
#define HBM_BYTES	(16ull << 20)
#define MS		1000000ull

/* ------------------------------------------------------------------ TAP -- */

static unsigned int tap_count, tap_failed;

__attribute__((format(printf, 3, 4)))
static void tap(int line, bool ok, const char *format, ...)
{
	va_list args;

	tap_count++;
	tap_failed += !ok;
	printf("%sok %u - ", ok ? "" : "not ", tap_count);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	if (!ok)
		printf("# line %d\n", line);
}

#define OK(cond, ...) tap(__LINE__, (cond), __VA_ARGS__)
/* Equal numbers; says both if they are not. */
#define IS(got, want, ...) do { \
	unsigned long long got_ = (got), want_ = (want); \
	tap(__LINE__, got_ == want_, __VA_ARGS__); \
	if (got_ != want_) \
		printf("# got %llu (%#llx), wanted %llu (%#llx)\n", \
		       got_, got_, want_, want_); \
} while (0)

static int tap_end(void)
{
	printf("1..%u\n", tap_count);
	return tap_failed ? 1 : 0;
}

/* -------------------------------------------------------------- the host -- */

struct fw_ring {
	struct fw *f;
	unsigned int id;
	uint32_t entries;
	uint64_t sq_addr, cq_addr, ctl_addr;
	struct kiln_cmd *sq;
	struct kiln_completion *cq;
	struct kiln_ring_ctl *ctl;
	uint32_t tail, head;	/* sq_tail and cq_head, the driver's own copies */
	unsigned int bells;
};

struct fw {
	struct kiln_sim *sim;
	size_t sim_bytes;
	uint8_t *hbm, *host;
	uint64_t host_next, hbm_next;	/* next free page */
	uint64_t clock;			/* ns; atomic */
	uint64_t run_cost;		/* ns that kiln_sim_run() takes by it, in fw_run() */
	unsigned int interrupts[KILN_MSIX_VECTORS];
	unsigned int kicks;		/* atomic */
	unsigned int discards;
	unsigned int guest_errors;	/* atomic */
	bool gone;			/* host memory does not answer */
	void (*stored)(struct fw *f, uint64_t addr);	/* after each store32 */
	struct fw_ring *admin;
	struct fw_ring rings[64];
	unsigned int ring_count;
	uint64_t cookie;
};

static uint8_t *fw_host_at(struct fw *f, uint64_t addr, uint64_t len)
{
	if (f->gone || addr < HOST_BASE || addr - HOST_BASE > HOST_BYTES ||
	    len > HOST_BYTES - (addr - HOST_BASE))
		return NULL;
	return f->host + (addr - HOST_BASE);
}

static bool fw_dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	uint8_t *p = fw_host_at(opaque, addr, len);

	if (p)
		memcpy(buf, p, len);
	return p;
}

static bool fw_dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	uint8_t *p = fw_host_at(opaque, addr, len);

	if (p)
		memcpy(p, buf, len);
	return p;
}

static bool fw_load32(void *opaque, uint64_t addr, uint32_t *value)
{
	uint8_t *p = fw_host_at(opaque, addr, 4);

	if (p)
		*value = __atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE);
	return p;
}

static bool fw_store32(void *opaque, uint64_t addr, uint32_t value)
{
	uint8_t *p = fw_host_at(opaque, addr, 4);

	if (p)
		__atomic_store_n((uint32_t *)p, value, __ATOMIC_RELEASE);
	if (p && ((struct fw *)opaque)->stored)
		((struct fw *)opaque)->stored(opaque, addr);
	return p;
}

static bool fw_load64(void *opaque, uint64_t addr, uint64_t *value)
{
	uint8_t *p = fw_host_at(opaque, addr, 8);

	if (p)
		*value = __atomic_load_n((uint64_t *)p, __ATOMIC_ACQUIRE);
	return p;
}

static bool fw_store64(void *opaque, uint64_t addr, uint64_t value)
{
	uint8_t *p = fw_host_at(opaque, addr, 8);

	if (p)
		__atomic_store_n((uint64_t *)p, value, __ATOMIC_RELEASE);
	return p;
}

static void fw_interrupt(void *opaque, unsigned int vector)
{
	struct fw *f = opaque;

	f->interrupts[vector]++;
}

static void fw_kick_count(void *opaque)
{
	struct fw *f = opaque;

	__atomic_fetch_add(&f->kicks, 1, __ATOMIC_RELAXED);
}

static __thread bool fw_in_run;

static uint64_t fw_clock(void *opaque)
{
	struct fw *f = opaque;

	/* kiln_sim_run() looks at the start and at the end: so much lies between */
	return fw_in_run ? __atomic_fetch_add(&f->clock, f->run_cost, __ATOMIC_RELAXED) :
			   __atomic_load_n(&f->clock, __ATOMIC_RELAXED);
}

static void fw_print(void *opaque, enum kiln_sim_log_level level, const char *text)
{
	struct fw *f = opaque;

	if (level == KILN_SIM_LOG_GUEST_ERROR)
		__atomic_fetch_add(&f->guest_errors, 1, __ATOMIC_RELAXED);
	if (getenv("KILN_TEST_VERBOSE"))
		printf("# log: %s\n", text);
}

/* Every other time it cannot, so that both ways are gone; pages only, or CLEAR will show it. */
static bool fw_discard(void *opaque, uint64_t offset, uint64_t len)
{
	struct fw *f = opaque;

	if (f->discards++ % 2)
		return false;
	memset(f->hbm + offset, (offset | len) & 4095 ? 0xff : 0, len);
	return true;
}

static const struct kiln_sim_host fw_host = {
	.dma_read = fw_dma_read,
	.dma_write = fw_dma_write,
	.load32 = fw_load32,
	.store32 = fw_store32,
	.load64 = fw_load64,
	.store64 = fw_store64,
	.discard = fw_discard,
	.interrupt = fw_interrupt,
	.kick = fw_kick_count,
	.now_ns = fw_clock,
	.log = fw_print,
};

static uint64_t fw_host_alloc(struct fw *f, uint64_t bytes)
{
	uint64_t addr = f->host_next;

	f->host_next += (bytes + 4095) & ~4095ull;
	if (f->host_next > HOST_BASE + HOST_BYTES)
		abort();
	return addr;
}

static uint64_t fw_hbm_alloc(struct fw *f, uint64_t bytes)
{
	uint64_t addr = f->hbm_next;

	f->hbm_next += (bytes + 4095) & ~4095ull;
	if (f->hbm_next > HBM_BYTES)
		abort();
	return addr;
}

/* -------------------------------------------------------------- the card -- */

static void fw_init(struct fw *f, unsigned int cores)
{
	struct kiln_sim_config config = {
		.generation = 2, .cores = cores, .hbm_bytes = HBM_BYTES,
	};
	int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *mem;

	memset(f, 0, sizeof(*f));
	f->sim_bytes = kiln_sim_size(&config);
	mem = mmap(NULL, f->sim_bytes, prot, flags | MAP_NORESERVE, -1, 0);
	f->hbm = mmap(NULL, HBM_BYTES, prot, flags, -1, 0);
	f->host = mmap(NULL, HOST_BYTES, prot, flags, -1, 0);
	if (mem == MAP_FAILED || f->hbm == MAP_FAILED || f->host == MAP_FAILED)
		abort();
	f->host_next = HOST_BASE;
	f->clock = 1000 * MS;
	f->sim = kiln_sim_init(mem, &config, f->hbm, &fw_host, f);
}

static void fw_free(struct fw *f)
{
	munmap(f->sim, f->sim_bytes);
	munmap(f->hbm, HBM_BYTES);
	munmap(f->host, HOST_BYTES);
}

static void fw_run(struct fw *f, int core)
{
	fw_in_run = f->run_cost != 0;
	kiln_sim_run(f->sim, core);
	fw_in_run = false;
}

/* One turn of a worker's loop. False: it would go to sleep. */
static bool fw_turn(struct fw *f)
{
	bool more = kiln_sim_service(f->sim);
	int core = kiln_sim_take(f->sim);

	if (core >= 0) {
		fw_run(f, core);
		kiln_sim_retire(f->sim, core);
	}
	kiln_sim_tick(f->sim);
	return more || core >= 0;
}

static void fw_pump(struct fw *f)
{
	while (fw_turn(f))
		;
}

/* Firmware only: commands for a core stay where they are. */
static void fw_serve(struct fw *f)
{
	while (kiln_sim_service(f->sim))
		;
}

/* ---------------------------------------------------------------- rings -- */

static struct fw_ring *fw_ring_new(struct fw *f, unsigned int id, unsigned int log2)
{
	struct fw_ring *r = &f->rings[f->ring_count++];

	if (f->ring_count > 64)
		abort();
	r->f = f;
	r->id = id;
	r->entries = 1u << log2;
	r->sq_addr = fw_host_alloc(f, sizeof(struct kiln_cmd) << log2);
	r->cq_addr = fw_host_alloc(f, sizeof(struct kiln_completion) << log2);
	r->ctl_addr = fw_host_alloc(f, sizeof(struct kiln_ring_ctl));
	r->sq = (void *)fw_host_at(f, r->sq_addr, 1);
	r->cq = (void *)fw_host_at(f, r->cq_addr, 1);
	r->ctl = (void *)fw_host_at(f, r->ctl_addr, 1);
	memset(r->ctl, 0, sizeof(*r->ctl));
	return r;
}

/* Entries into the ring, tail, doorbell if one is asked for. */
static void fw_push(struct fw_ring *r, const struct kiln_cmd *cmds, unsigned int count)
{
	uint32_t old = r->tail;

	for (unsigned int i = 0; i < count; i++)
		r->sq[r->tail++ & (r->entries - 1)] = cmds[i];
	__atomic_store_n(&r->ctl->sq_tail, r->tail, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (kiln_event_crossed(__atomic_load_n(&r->ctl->sq_event, __ATOMIC_ACQUIRE),
			       r->tail, old)) {
		r->bells++;
		kiln_sim_doorbell(r->f->sim, r->id);
	}
}

/* The next completion, if there is one. */
static bool fw_pop(struct fw_ring *r, struct kiln_completion *record)
{
	if (__atomic_load_n(&r->ctl->cq_tail, __ATOMIC_ACQUIRE) == r->head)
		return false;
	*record = r->cq[r->head++ & (r->entries - 1)];
	__atomic_store_n(&r->ctl->cq_head, r->head, __ATOMIC_RELEASE);
	return true;
}

/* Ask for an interrupt at the next completion. */
static void fw_ring_want(struct fw_ring *r)
{
	__atomic_store_n(&r->ctl->cq_event, r->head, __ATOMIC_RELEASE);
}

static void fw_reg(struct fw *f, uint32_t offset, uint32_t value)
{
	kiln_sim_reg_write(f->sim, offset, value);
}

static uint32_t fw_get(struct fw *f, uint32_t offset)
{
	return kiln_sim_reg_read(f->sim, offset);
}

/* Tell the card where the admin ring is and switch it on. */
static void fw_enable(struct fw *f, struct fw_ring *r, uint32_t log2)
{
	fw_reg(f, KILN_REG_DRV_VERSION, KILN_FW_VERSION);
	fw_reg(f, KILN_REG_ADMIN_SQ_LO, r->sq_addr);
	fw_reg(f, KILN_REG_ADMIN_SQ_HI, r->sq_addr >> 32);
	fw_reg(f, KILN_REG_ADMIN_CQ_LO, r->cq_addr);
	fw_reg(f, KILN_REG_ADMIN_CQ_HI, r->cq_addr >> 32);
	fw_reg(f, KILN_REG_ADMIN_CTL_LO, r->ctl_addr);
	fw_reg(f, KILN_REG_ADMIN_CTL_HI, r->ctl_addr >> 32);
	fw_reg(f, KILN_REG_ADMIN_LOG2, log2);
	fw_reg(f, KILN_REG_CTRL, KILN_CTRL_ENABLE);
}

static void fw_boot_card(struct fw *f, unsigned int cores)
{
	fw_init(f, cores);
	f->admin = fw_ring_new(f, 0, 6);
	fw_enable(f, f->admin, 6);
	fw_pump(f);
	if (fw_get(f, KILN_REG_STATUS) != KILN_STATE_READY) {
		printf("Bail out! the card does not boot\n");
		exit(1);
	}
}

/* ---------------------------------------------------------------- admin -- */

/* Send without waiting; the cookie says which it was. */
static uint64_t fw_admin_send(struct fw *f, struct kiln_cmd cmd)
{
	cmd.cookie = ++f->cookie << 32;
	fw_push(f->admin, &cmd, 1);
	return cmd.cookie;
}

/* Send, serve the firmware until it answers; -1: no answer. */
static int fw_admin(struct fw *f, struct kiln_cmd cmd)
{
	struct kiln_completion record;
	uint64_t cookie = fw_admin_send(f, cmd);

	fw_serve(f);
	if (!fw_pop(f->admin, &record))
		return -1;
	return record.cookie == cookie ? record.status : -2;
}

static int fw_ctx(struct fw *f, uint8_t opcode, uint32_t context)
{
	return fw_admin(f, (struct kiln_cmd){
		.opcode = opcode, .ctx.context = context,
	});
}

static int fw_ctx_create(struct fw *f, uint32_t context, uint32_t weight, uint64_t root)
{
	return fw_admin(f, (struct kiln_cmd){
		.opcode = KILN_ADM_CTX_CREATE, .ctx.context = context,
		.ctx.weight = weight, .ctx.root = root,
	});
}

static struct kiln_cmd fw_queue_cmd(struct fw_ring *r, uint32_t context, uint32_t log2)
{
	return (struct kiln_cmd){
		.opcode = KILN_ADM_QUEUE_CREATE,
		.queue = {
			.queue = r->id, .context = context, .sq = r->sq_addr,
			.cq = r->cq_addr, .ctl = r->ctl_addr, .log2_entries = log2,
			.vector = r->id % KILN_MSIX_VECTORS, .weight = 64,
			.limit_ms = 1000,
		},
	};
}

/* A queue with a ring of its own; exits if the card refuses. */
static struct fw_ring *fw_queue(struct fw *f, uint32_t id, uint32_t context,
				uint32_t log2, uint32_t weight)
{
	struct fw_ring *r = fw_ring_new(f, id, log2);
	struct kiln_cmd cmd = fw_queue_cmd(r, context, log2);
	int status;

	cmd.queue.weight = weight;
	status = fw_admin(f, cmd);
	if (status) {
		printf("Bail out! queue %u: status %d\n", id, status);
		exit(1);
	}
	return r;
}

static int fw_queue_destroy(struct fw *f, uint32_t id)
{
	return fw_admin(f, (struct kiln_cmd){
		.opcode = KILN_ADM_QUEUE_DESTROY, .queue.queue = id,
	});
}

/* ---------------------------------------------------------- page tables -- */

/* Write one leaf; makes the tables above it. shift: KILN_PAGE_SHIFT or KILN_LARGE_SHIFT. */
static uint64_t *fw_map(struct fw *f, uint64_t root, uint64_t va, uint64_t pte,
			unsigned int shift)
{
	uint64_t table = root;

	for (unsigned int s = 39; ; s -= 9) {
		uint64_t *entry = (uint64_t *)(f->hbm + table) + (va >> s & 511);

		if (s == shift) {
			*entry = pte;
			return entry;
		}
		if (!(*entry & KILN_PTE_VALID))
			*entry = fw_hbm_alloc(f, 4096) | KILN_PTE_VALID;
		table = *entry & KILN_PTE_ADDR;
	}
}

#define FW_RW (KILN_PTE_VALID | KILN_PTE_WRITE)

/* ------------------------------------------------------------- programs -- */

#define PROGRAM_BYTES 384

/* One stream on the Sync engine, of two instructions. */
static void fw_program(void *at, const struct kiln_insn insn[2])
{
	struct kiln_program_header header = {
		.magic = KILN_PROGRAM_MAGIC, .isa_major = KILN_ISA_MAJOR,
		.isa_minor = KILN_ISA_MINOR, .bytes = PROGRAM_BYTES,
		.stream[KILN_SYNC] = { .offset = 128, .count = 2 },
	};

	memset(at, 0, PROGRAM_BYTES);
	memcpy(at, &header, sizeof(header));
	memcpy((uint8_t *)at + 128, insn, 2 * sizeof(*insn));
}

/*
 * A tenant: a context whose address space has, from FW_VA on, a page with
 * programs, one with timelines, both in HBM, and one in host memory.
 */
#define FW_VA		0x40000000ull
#define FW_GOOD		(FW_VA)			/* ends at once */
#define FW_SPIN		(FW_VA + 512)		/* never ends */
#define FW_BAD		(FW_VA + 1024)		/* is not a program */
#define FW_LINE(n)	(FW_VA + 4096 + 8 * (n))
#define FW_HOST_LINE(n)	(FW_VA + 8192 + 8 * (n))
#define FW_NOWHERE	0x12345678000ull

struct fw_tenant {
	struct fw *f;
	uint32_t context;
	uint64_t root;
	uint64_t *line, *host_line;
};

static void fw_tenant_new(struct fw *f, struct fw_tenant *t, uint32_t context,
			  uint32_t weight)
{
	static const struct kiln_insn good[2] = {
		{ .opcode = KILN_OP_NOP }, { .opcode = KILN_OP_HALT },
	};
	static const struct kiln_insn spin[2] = {
		{ .opcode = KILN_OP_MOVI, .seq = { .rd = 1, .imm_lo = 1 } },
		{ .opcode = KILN_OP_BNE, .seq = { .rs = 1, .target = 1 } },
	};
	uint64_t code, data, host;
	int status;

	t->f = f;
	t->context = context;
	t->root = fw_hbm_alloc(f, 4096);
	code = fw_hbm_alloc(f, 4096);
	data = fw_hbm_alloc(f, 4096);
	host = fw_host_alloc(f, 4096);
	fw_map(f, t->root, FW_VA, code | KILN_PTE_VALID, KILN_PAGE_SHIFT);
	fw_map(f, t->root, FW_VA + 4096, data | FW_RW, KILN_PAGE_SHIFT);
	fw_map(f, t->root, FW_VA + 8192, host | FW_RW | KILN_PTE_HOST, KILN_PAGE_SHIFT);
	fw_program(f->hbm + code, good);
	fw_program(f->hbm + code + 512, spin);
	memset(f->hbm + code + 1024, 0x55, PROGRAM_BYTES);
	t->line = (uint64_t *)(f->hbm + data);
	t->host_line = (uint64_t *)fw_host_at(f, host, 4096);
	status = fw_ctx_create(f, context, weight, t->root);
	if (status) {
		printf("Bail out! context %u: status %d\n", context, status);
		exit(1);
	}
}

static struct kiln_cmd fw_exec(uint64_t cookie, uint64_t program)
{
	return (struct kiln_cmd){
		.opcode = KILN_CMD_EXEC, .cookie = cookie,
		.param = KILN_EXEC_PARAM(PROGRAM_BYTES, 0), .exec.program = program,
	};
}

static struct kiln_cmd fw_nop(uint64_t cookie)
{
	return (struct kiln_cmd){ .opcode = KILN_CMD_NOP, .cookie = cookie };
}

static void fw_push1(struct fw_ring *r, struct kiln_cmd cmd)
{
	fw_push(r, &cmd, 1);
}

/* The next completion's status if its cookie is this one, else -1 or -2. */
static int fw_result(struct fw_ring *r, uint64_t cookie)
{
	struct kiln_completion record;

	if (!fw_pop(r, &record))
		return -1;
	return record.cookie == cookie ? record.status : -2;
}

#endif
