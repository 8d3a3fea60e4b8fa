/* SPDX-License-Identifier: MIT */
/*
 * A core as the firmware sees it: five engines, SBUF, PSUM, semaphores and
 * DMA rings that run one program at a time.
 */
#ifndef KILN_ENGINE_CORE_H
#define KILN_ENGINE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware/mmu.h"

struct kiln_image;
struct kiln_core;
struct kiln_insn;

struct kiln_job {
	uint64_t program;	/* device address */
	uint32_t program_bytes;
	uint32_t args_bytes;
	uint64_t args;		/* device address */
};

struct kiln_outcome {
	bool paused;		/* none of the rest is valid: it is to be gone on with */
	enum kiln_status status;
	uint8_t engine;		/* of the fault */
	uint32_t instruction;
	uint32_t label;
	uint64_t fault_addr;
	uint64_t cycles;	/* device time, whatever the status */
};

/* Clock that outcome.cycles counts: the generation's TensorE clock, in kHz. */
uint32_t kiln_core_clock_khz(unsigned int generation);
uint32_t kiln_core_sbuf_bytes(unsigned int generation);	/* per partition */
uint32_t kiln_core_psum_bytes(unsigned int generation);

/* Bytes of one core, a multiple of 4096. Most of it is SBUF and PSUM. */
size_t kiln_core_size(unsigned int generation);

/* Make a core in mem: kiln_core_size() bytes, zeroed, 4096-byte aligned. */
struct kiln_core *kiln_core_init(void *mem, unsigned int generation,
				 const struct kiln_memory *memory);

/* The core's own, for kiln_mmu_attach() between jobs and for flushes. */
struct kiln_mmu *kiln_core_mmu(struct kiln_core *core);

/*
 * Zero whatever programs have left in SBUF, PSUM, semaphores and registers.
 * The firmware calls it before a job of another context.
 */
void kiln_core_scrub(struct kiln_core *core);

/*
 * From the next job on, carry device time without function: no data are moved
 * or computed with, the clocks run as ever, a thousand times faster. Programs
 * whose control flow depends on data (LOAD_REGISTER) see zeroes.
 */
void kiln_core_time_only(struct kiln_core *core, bool on);

/* One instruction as it went by. Times are ticks of 1/KILN_TICKS_PER_NS ns since the job's start. */
struct kiln_event {
	const struct kiln_insn *insn;	/* NULL: the job, until done */
	uint64_t program;		/* of the job: its device address */
	uint32_t index;			/* in its engine's stream */
	uint8_t engine;
	uint64_t arrived;		/* the engine came to it, */
	uint64_t start;			/* its waits were satisfied and its unit free, */
	uint64_t busy;			/* the engine goes on, */
	uint64_t done;			/* result there, posts made. DMA: of the transfer */
	/* DMA only */
	uint64_t dma_start;		/* the transfer leaves the ring */
	uint64_t dma_busy;		/* ticks of all DMA engines that serve it, together */
	uint64_t bytes;			/* of device memory, read and written */
};

/* Told of each instruction, from within kiln_core_run(). NULL ends it. */
struct kiln_watch {
	void (*event)(void *opaque, const struct kiln_event *event);
	void *opaque;
};

void kiln_core_watch(struct kiln_core *core, const struct kiln_watch *watch);

/* What the engines have done in all jobs so far, in ticks of device time. */
struct kiln_tally {
	uint64_t time;
	uint64_t busy[5];		/* enum kiln_engine */
	uint64_t dma;			/* of all 16 DMA engines together */
	uint64_t bytes;			/* of device memory, read and written by DMA */
};

const struct kiln_tally *kiln_core_tally(const struct kiln_core *core);

/*
 * Run a job to its end: results, a fault, or an abort. Same bits and cycles
 * always. job NULL: go on with the one that was paused.
 */
void kiln_core_run(struct kiln_core *core, const struct kiln_job *job,
		   struct kiln_outcome *outcome);

/*
 * Have kiln_core_run() return soon with this status. Any thread; taken back by
 * kiln_core_allow(), which the firmware calls before it hands out the next job.
 */
void kiln_core_abort(struct kiln_core *core, enum kiln_status why);
void kiln_core_allow(struct kiln_core *core);

/*
 * Have kiln_core_run() return soon, between two instructions, paused: unless it
 * ends or is aborted before. Any thread. Unpause it before it is run again; an
 * abort meanwhile is not lost.
 */
void kiln_core_pause(struct kiln_core *core);
void kiln_core_unpause(struct kiln_core *core);

/*
 * save.c: move the core's state out or in, while no job runs; paused: with the
 * job that is. A core that comes in has been scrubbed before.
 */
void kiln_core_image(struct kiln_core *core, struct kiln_image *image, bool paused);

#endif
