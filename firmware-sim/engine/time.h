/* SPDX-License-Identifier: MIT */
/*
 * Device time, in ticks of 1/33.6 GHz, of which every clock of every
 * generation has a whole number in a cycle.
 */
#ifndef KILN_ENGINE_TIME_H
#define KILN_ENGINE_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "kiln/isa.h"

#define KILN_TICKS_PER_NS	33.6	/* not for results: all of those are whole ticks */
#define KILN_DMA_ENGINES	16

struct kiln_core;

struct kiln_dma_clock {
	uint64_t ring[KILN_DMA_RINGS];	/* busy with it until */
};

struct kiln_clocks {
	struct kiln_dma_clock dma[KILN_DMA_ENGINES];
	uint64_t ring_start[KILN_DMA_RINGS], ring_end[KILN_DMA_RINGS];
	uint64_t pe[16];		/* 32 x 32 cells of the PE array: tiles busy until */
	uint64_t pe_end, pe_spare;	/* the last matmul's end; ticks in which it took no input */
	uint64_t hbm;			/* its bandwidth is spoken for until */
	uint64_t last;			/* completion of whatever completes last */
};

/* What an instruction costs its engine, in ticks. */
struct kiln_cost {
	uint64_t busy;			/* until the engine takes the next one */
	uint64_t latency;		/* until its result is there and its posts happen */
};

struct kiln_cost kiln_time_insn(unsigned int generation, enum kiln_engine engine,
				const struct kiln_insn *insn);

/*
 * When Tensor can start this: not while a tile that it needs is busy. A tile
 * takes the engine for its share of the array only, so that others go beside it.
 */
uint64_t kiln_time_array(struct kiln_clocks *clocks, unsigned int generation,
			 const struct kiln_insn *insn, uint64_t now, struct kiln_cost *cost);

/* One transfer, in ticks. */
struct kiln_dma_time {
	uint64_t start, end;
	uint64_t busy;			/* of the DMA engines that serve it, together */
	uint64_t bytes;			/* through HBM */
};

/*
 * The times of a transfer that an engine starts at now. Where in SBUF: the
 * partitions choose the DMA engines. run: bytes of the shortest piece that is
 * contiguous on both sides.
 */
struct kiln_dma_time kiln_time_dma(struct kiln_clocks *clocks, unsigned int generation,
				   unsigned int ring, uint64_t now, unsigned int partition,
				   unsigned int partitions, uint64_t row_bytes,
				   uint64_t run, bool both_dram);

uint64_t kiln_time_cycles(unsigned int generation, uint64_t ticks);

#endif
