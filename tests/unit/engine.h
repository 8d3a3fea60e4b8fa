/* SPDX-License-Identifier: MIT */
/*
 * For the tests of the engine: a core with some HBM behind it, page tables, a
 * small assembler, and TAP.
 */
#ifndef TESTS_UNIT_ENGINE_H
#define TESTS_UNIT_ENGINE_H

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/state.h"

/* ---------------------------------------------------------------- TAP -- */

static unsigned int tap_count, tap_failed;

__attribute__((format(printf, 2, 3), unused))
static bool ok(bool good, const char *format, ...)
{
	va_list args;

	printf("%sok %u - ", good ? "" : "not ", ++tap_count);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	tap_failed += !good;
	return good;
}

__attribute__((unused))
static int done(void)
{
	printf("1..%u\n", tap_count);
	return tap_failed != 0;
}

/* ------------------------------------------------------------- random -- */

static uint64_t rng_state;

/* KILN_SEED repeats a run. */
__attribute__((unused))
static void rng_start(void)
{
	const char *seed = getenv("KILN_SEED");

	rng_state = seed ? strtoull(seed, NULL, 0) : 0x9e3779b97f4a7c15;
	printf("# KILN_SEED=%#" PRIx64 "\n", rng_state);
	rng_state |= 1;
}

static inline uint32_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state >> 16;
}

/* About -2 to 2. */
static inline float rng_float(void)
{
	return (int32_t)rng() * 0x1p-30f;
}

static inline float bits_float(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

static inline uint32_t float_bits(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

static inline uint16_t to_bf16(float x)
{
	uint16_t y;

	kiln_store_one(&y, x, KILN_BF16);
	return y;
}

/* ------------------------------------------------------------ machine -- */

#define HBM_BYTES	(64ull << 20)
#define TABLES		(60ull << 20)	/* page tables lie from here on */
#define PROGRAM		0x10000ull	/* device addresses are HBM offsets */
#define ARGS		0xf000ull
#define DATA		0x400000ull

struct machine {
	uint8_t *hbm;
	struct kiln_memory memory;
	struct kiln_core *core;
	unsigned int generation;
	uint64_t next_table;
	uint64_t args[KILN_MAX_ARGS_BYTES / 8];
	/* host memory, for pages of it */
	uint8_t host[64 << 10];
};

static bool machine_dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	struct machine *m = opaque;

	if (addr >= sizeof(m->host) || len > sizeof(m->host) - addr)
		return false;
	memcpy(buf, m->host + addr, len);
	return true;
}

static bool machine_dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	struct machine *m = opaque;

	if (addr >= sizeof(m->host) || len > sizeof(m->host) - addr)
		return false;
	memcpy(m->host + addr, buf, len);
	return true;
}

static void machine_kick(void *opaque)
{
	(void)opaque;
}

/* Map one 4 KiB page, with pte's flags; pte 0 takes it away. */
__attribute__((unused))
static void map_page(struct machine *m, uint64_t va, uint64_t pte)
{
	uint64_t table = TABLES;

	for (int level = KILN_PT_LEVELS - 1; level > 0; level--) {
		uint64_t *entry = (uint64_t *)(m->hbm + table) +
				  (va >> (KILN_PAGE_SHIFT + 9 * level) & 511);

		if (!(*entry & KILN_PTE_VALID)) {
			m->next_table += 4096;
			*entry = m->next_table | KILN_PTE_VALID;
		}
		table = *entry & KILN_PTE_ADDR;
	}
	((uint64_t *)(m->hbm + table))[va >> KILN_PAGE_SHIFT & 511] = pte;
	kiln_mmu_attach(kiln_core_mmu(m->core), TABLES);
}

static const struct kiln_sim_host machine_host = {
	.dma_read = machine_dma_read,
	.dma_write = machine_dma_write,
	.kick = machine_kick,
};

/* A core of that generation; all of HBM but its first page is mapped where it is. */
__attribute__((unused))
static struct machine *machine(unsigned int generation)
{
	struct machine *m = calloc(1, sizeof(*m));

	m->generation = generation;
	m->hbm = aligned_alloc(4096, HBM_BYTES);
	memset(m->hbm, 0, HBM_BYTES);
	m->memory = (struct kiln_memory){ .hbm = m->hbm, .hbm_bytes = HBM_BYTES,
					  .host = &machine_host, .opaque = m };
	m->next_table = TABLES;
	void *block = aligned_alloc(4096, kiln_core_size(generation));
	memset(block, 0, kiln_core_size(generation));
	m->core = kiln_core_init(block, generation, &m->memory);
	for (uint64_t va = 4096; va < TABLES; va += 4096)
		map_page(m, va, va | KILN_PTE_VALID | KILN_PTE_WRITE);
	return m;
}

__attribute__((unused))
static void machine_free(struct machine *m)
{
	free(m->core);
	free(m->hbm);
	free(m);
}

/* ---------------------------------------------------------- assembler -- */

#define PROG_MAX	256

struct prog {
	struct kiln_insn insn[KILN_ENGINES][PROG_MAX];
	uint32_t count[KILN_ENGINES];
};

/* A new instruction of an engine, all zero but for its opcode. */
__attribute__((unused))
static struct kiln_insn *emit(struct prog *p, enum kiln_engine engine, uint8_t opcode)
{
	struct kiln_insn *insn = &p->insn[engine][p->count[engine]++];

	if (p->count[engine] > PROG_MAX)
		abort();
	memset(insn, 0, sizeof(*insn));
	insn->opcode = opcode;
	return insn;
}

/* [P, n] contiguous at addr */
__attribute__((unused))
static struct kiln_operand tile_at(enum kiln_space space, enum kiln_dtype dtype,
				   unsigned int partition, unsigned int partitions,
				   uint32_t addr, unsigned int n)
{
	return (struct kiln_operand){ .space = space, .dtype = dtype,
				      .partition = partition, .partitions = partitions,
				      .addr = addr, .ndim = 1, .size = { n },
				      .stride = { 1 } };
}

/* Device memory at register base: a step for the partition and one for one dimension. */
__attribute__((unused))
static struct kiln_operand dram_at(enum kiln_dtype dtype, unsigned int base,
				   int32_t offset, int32_t step0, int32_t step1)
{
	struct kiln_operand op = { .space = KILN_DRAM, .dtype = dtype };

	op.dram.base = base;
	op.dram.offset = offset;
	op.dram.step[0] = step0;
	op.dram.step[1] = step1;
	return op;
}

__attribute__((unused))
static struct kiln_column column_at(enum kiln_space space, enum kiln_dtype dtype,
				    uint32_t addr)
{
	return (struct kiln_column){ .space = space, .dtype = dtype, .addr = addr };
}

__attribute__((unused))
static struct kiln_insn *movi(struct prog *p, enum kiln_engine engine, unsigned int rd,
			      uint64_t imm)
{
	struct kiln_insn *insn = emit(p, engine, KILN_OP_MOVI);

	insn->seq.rd = rd;
	insn->seq.imm_lo = imm;
	insn->seq.imm_hi = imm >> 32;
	return insn;
}

/* Lay the program out in HBM; bytes of it. */
__attribute__((unused))
static uint32_t place(struct machine *m, const struct prog *p)
{
	struct kiln_program_header *header = (void *)(m->hbm + PROGRAM);
	uint32_t at = sizeof(*header);

	memset(header, 0, sizeof(*header));
	header->magic = KILN_PROGRAM_MAGIC;
	header->isa_major = KILN_ISA_MAJOR;
	header->isa_minor = KILN_ISA_MINOR;
	header->args_bytes = sizeof(m->args);
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		header->stream[e].offset = at;
		header->stream[e].count = p->count[e];
		memcpy(m->hbm + PROGRAM + at, p->insn[e],
		       p->count[e] * sizeof(struct kiln_insn));
		at += p->count[e] * sizeof(struct kiln_insn);
	}
	header->bytes = at;
	memcpy(m->hbm + ARGS, m->args, sizeof(m->args));
	return at;
}

__attribute__((unused))
static struct kiln_outcome run_placed(struct machine *m, uint32_t bytes)
{
	struct kiln_job job = { .program = PROGRAM, .program_bytes = bytes,
				.args = ARGS, .args_bytes = sizeof(m->args) };
	struct kiln_outcome outcome;

	kiln_core_run(m->core, &job, &outcome);
	return outcome;
}

__attribute__((unused))
static struct kiln_outcome run(struct machine *m, const struct prog *p)
{
	return run_placed(m, place(m, p));
}

/* Bytes of a partition of SBUF or PSUM, past all instructions. */
__attribute__((unused))
static void *sbuf_at(struct machine *m, unsigned int partition, uint32_t addr)
{
	return (uint8_t *)m->core + m->core->sbuf + (size_t)partition * m->core->sbuf_pitch +
	       addr;
}

__attribute__((unused))
static void *psum_at(struct machine *m, unsigned int partition, uint32_t addr)
{
	return (uint8_t *)m->core + m->core->psum + (size_t)partition * m->core->psum_pitch +
	       addr;
}

#endif
