// SPDX-License-Identifier: MIT
/*
 * Any bytes as page tables and a program: no crash, nothing read or written
 * outside the card's memories, no endless loop, and a status that exists.
 * For libFuzzer; tests/unit/fuzz_replay.c runs the kept inputs through it.
 *
 * An input: one byte of generation (% 3) and level (/ 3 % 3), bit 7 for a raw
 * program; one byte, how many page table entries are changed (% 32), each as a
 * u16 (% 4096) and a u64; eight u64 of arguments; then the program, or one byte
 * of engine (% 5) and 128 of an instruction, over and over.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/state.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size)	((void)(addr), (void)(size))
#endif

#define HBM		(4u << 20)
#define TABLES		(3u << 20)	/* root, three levels below, then the table of 4 KiB pages */
#define TABLE_WORDS	4096
#define PROGRAM		0x10000u
#define ARGS		0xf000u
#define DATA		0x40000u
#define PAGES		128u	/* mapped, the last 16 of them to host memory */
#define MAX_INSNS	64
#define HOST		65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct card {
	struct kiln_core *core;
	struct kiln_memory memory;
	uint8_t hbm[HBM], host[HOST];
	uint8_t gap[8192];	/* as it should be between two partitions: 0 */
};

static struct card *card[4];
static uint64_t tables[TABLE_WORDS];
static uint8_t pattern[65536];		/* some data to begin with */

static bool host_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	struct card *c = opaque;

	if (addr >= HOST || len > HOST - addr)
		return false;
	memcpy(buf, c->host + addr, len);
	return true;
}

static bool host_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	struct card *c = opaque;

	if (addr >= HOST || len > HOST - addr)
		return false;
	memcpy(c->host + addr, buf, len);
	return true;
}

static void kick(void *opaque)
{
	(void)opaque;
}

static const struct kiln_sim_host host = {
	.dma_read = host_read, .dma_write = host_write, .kick = kick,
};

/* Cuts off what does not end by itself: after one to two milliseconds, more where all is slow. */
static struct kiln_core *volatile running;
static volatile unsigned long started;

static void *watchdog(void *arg)
{
	const struct timespec t = { .tv_nsec = 1000000 };
	unsigned long seen = 0;

	for (;;) {
		struct kiln_core *core;

		nanosleep(&t, NULL);
		core = running;
		if (started == seen && core)
			kiln_core_abort(core, KILN_ST_TIMEOUT);
		seen = started;
	}
	return arg;
}

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

static struct card *make(unsigned int generation)
{
	struct card *c = calloc(1, sizeof(*c));
	void *block = aligned_alloc(4096, kiln_core_size(generation));

	memset(block, 0, kiln_core_size(generation));
	c->memory = (struct kiln_memory){ .hbm = c->hbm, .hbm_bytes = HBM, .host = &host,
					  .opaque = c };
	c->core = kiln_core_init(block, generation, &c->memory);
	for (unsigned int p = 0; p < KILN_PARTITIONS; p++) {
		ASAN_POISON_MEMORY_REGION((uint8_t *)block + c->core->sbuf +
					  p * c->core->sbuf_pitch + c->core->sbuf_bytes,
					  c->core->sbuf_pitch - c->core->sbuf_bytes);
		ASAN_POISON_MEMORY_REGION((uint8_t *)block + c->core->psum +
					  p * c->core->psum_pitch + c->core->psum_bytes,
					  c->core->psum_pitch - c->core->psum_bytes);
	}
	return c;
}

/* Device addresses are HBM offsets, but for the first page and the last 64 KiB, in host memory. */
static void start(void)
{
	static bool done;
	pthread_t thread;

	if (done)
		return;
	done = true;
	for (unsigned int level = 0; level < 3; level++)
		tables[level * KILN_PT_ENTRIES] = (TABLES + (level + 1) * 4096) | KILN_PTE_VALID;
	for (uint64_t page = 1; page < PAGES; page++)
		tables[3 * KILN_PT_ENTRIES + page] =
			(page < PAGES - 16 ? page << KILN_PAGE_SHIFT :
			 (page - (PAGES - 16)) << KILN_PAGE_SHIFT | KILN_PTE_HOST) |
			KILN_PTE_VALID | KILN_PTE_WRITE;
	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = i * 37;
	if (pthread_create(&thread, NULL, watchdog, NULL))
		fail("no thread");
	pthread_detach(thread);
}

#ifndef WITH_ASAN
/* Where there is no sanitizer to say so: was something written between the partitions? */
static void check_gaps(const struct card *c)
{
	const struct kiln_core *core = c->core;

	for (unsigned int p = 0; p < KILN_PARTITIONS; p++) {
		const uint8_t *sbuf = (const uint8_t *)core + core->sbuf + p * core->sbuf_pitch;
		const uint8_t *psum = (const uint8_t *)core + core->psum + p * core->psum_pitch;

		if (memcmp(sbuf + core->sbuf_bytes, c->gap, core->sbuf_pitch - core->sbuf_bytes) ||
		    memcmp(psum + core->psum_bytes, c->gap, core->psum_pitch - core->psum_bytes))
			fail("written between the partitions");
	}
}
#endif

static const uint8_t *take(const uint8_t **data, size_t *size, size_t n)
{
	const uint8_t *at = *data;

	if (*size < n)
		return NULL;
	*data += n;
	*size -= n;
	return at;
}

/* Instructions, each with its engine, as a program in HBM: how long it is. */
static uint32_t place(uint8_t *program, const uint8_t *data, size_t size)
{
	struct kiln_program_header header = { .magic = KILN_PROGRAM_MAGIC,
					      .isa_major = KILN_ISA_MAJOR,
					      .isa_minor = KILN_ISA_MINOR,
					      .args_bytes = 64 };
	const size_t each = 1 + sizeof(struct kiln_insn);
	size_t count = size / each < MAX_INSNS ? size / each : MAX_INSNS;

	header.bytes = sizeof(header);
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		header.stream[e].offset = header.bytes;
		for (size_t i = 0; i < count; i++) {
			if (data[i * each] % KILN_ENGINES != e)
				continue;
			memcpy(program + header.bytes, data + i * each + 1,
			       sizeof(struct kiln_insn));
			header.bytes += sizeof(struct kiln_insn);
			header.stream[e].count++;
		}
	}
	memcpy(program, &header, sizeof(header));
	return header.bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kiln_job job = { .program = PROGRAM, .args = ARGS, .args_bytes = 64 };
	const uint8_t *head = take(&data, &size, 2), *part;
	struct kiln_outcome outcome;
	unsigned int generation;
	struct card *c;

	if (!head)
		return 0;
	start();
	generation = head[0] % 3 + 1;
	if (!card[generation])
		card[generation] = make(generation);
	c = card[generation];

	/* Nothing of the input before this one is left where this one looks first. */
	kiln_core_scrub(c->core);
	memset(c->host, 0, sizeof(c->host));
	memset(c->hbm, 0, PAGES << KILN_PAGE_SHIFT);
	memcpy(c->hbm + TABLES, tables, sizeof(tables));
	for (unsigned int i = 0; i < head[1] % 32u; i++) {
		uint16_t slot;

		part = take(&data, &size, 10);
		if (!part)
			break;
		memcpy(&slot, part, sizeof(slot));
		memcpy(c->hbm + TABLES + slot % TABLE_WORDS * 8, part + 2, 8);
	}
	part = take(&data, &size, 64);
	if (!part)
		return 0;
	memcpy(c->hbm + ARGS, part, 64);
	memcpy(c->hbm + DATA, pattern, sizeof(pattern));
	if (head[0] & 0x80) {
		job.program_bytes = size < 65536 ? size : 65536;
		memcpy(c->hbm + PROGRAM, data, job.program_bytes);
	} else {
		job.program_bytes = place(c->hbm + PROGRAM, data, size);
	}
	kiln_mmu_attach(kiln_core_mmu(c->core), TABLES);
	if (!kiln_engine_select(c->core, head[0] / 3 % 3))
		kiln_engine_select(c->core, KILN_OPS_REF);

	kiln_core_allow(c->core);
	started++;
	running = c->core;
	kiln_core_run(c->core, &job, &outcome);
	running = NULL;
	if (outcome.status > KILN_ST_DEADLOCK || outcome.engine >= KILN_ENGINES)
		fail("a status or an engine that does not exist");
#ifndef WITH_ASAN
	if (started % 64 == 1)
		check_gaps(c);
#endif
	return 0;
}
