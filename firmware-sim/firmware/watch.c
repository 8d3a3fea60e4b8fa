// SPDX-License-Identifier: MIT
/* What the owner is told of each instruction: in nanoseconds, bytes and operations. */
#pragma GCC visibility push(default)
#include "kiln_sim.h"
#pragma GCC visibility pop

#include "engine/time.h"
#include "firmware/firmware.h"
#include "kiln/isa_check.h"

#define CELLS	(128 * 128)	/* of the array */

static uint64_t elements(const struct kiln_operand *op)
{
	uint64_t n = 1;

	for (unsigned int d = 0; d < op->ndim; d++)
		n *= op->size[d];
	return n * op->partitions;
}

static void count_bytes(struct kiln_sim_event *event, const struct kiln_operand *op)
{
	uint64_t bytes = elements(op) * kiln_dtype_bytes(op->dtype);

	if (op->space == KILN_SBUF)
		event->sbuf_bytes += bytes;
	else if (op->space == KILN_PSUM)
		event->psum_bytes += bytes;
}

/* Of a product: its operations, and the time that the array would take for them at its peak. */
static void count_product(struct kiln_sim_event *event, unsigned int generation,
			  const struct kiln_insn *insn)
{
	const struct kiln_operand *src = &insn->src[0];
	double peak = 2. * CELLS * kiln_core_clock_khz(generation) * 1e3;

	if (src->dtype == KILN_F32)
		peak /= 4;
	else if ((src->dtype == KILN_F8E4M3 || src->dtype == KILN_F8E5M2) && generation > 1)
		peak *= 2;
	event->operations = 2. * elements(src) * insn->dst.partitions;
	event->at_peak = event->operations / peak * 1e9;
}

/* From the engine's ticks since the job's start to the owner's nanoseconds. */
static void watched(void *opaque, const struct kiln_event *e)
{
	const struct fw_watch *w = opaque;
	struct kiln_sim *sim = w->sim;
	unsigned int core = w - sim->watch;
	uint64_t before = kiln_core_tally(fw_core_engine(sim, core))->time;
	struct kiln_sim_event event = { .core = core, .kind = KILN_SIM_COMMAND };
	bool sequencer;

	if (!e->insn) {
		event.program = e->program;
		event.start = before / KILN_TICKS_PER_NS;
		event.end = (before + e->done) / KILN_TICKS_PER_NS;
		sim->watcher(sim->watcher_opaque, &event);
		return;
	}
	/* A cycle of the sequencer is worth a line only if it waited. */
	sequencer = kiln_is_sequencer(e->insn->opcode);
	if (sequencer && e->start == e->arrived)
		return;
	event.kind = KILN_SIM_INSN;
	event.engine = e->engine;
	event.name = kiln_rules[e->insn->opcode].name;
	event.index = e->index;
	event.label = e->insn->label;
	event.wait = (before + e->arrived) / KILN_TICKS_PER_NS;
	event.start = (before + e->start) / KILN_TICKS_PER_NS;
	event.end = (before + e->busy) / KILN_TICKS_PER_NS;
	if (!sequencer) {
		event.busy = (e->busy - e->start) / KILN_TICKS_PER_NS;
		count_bytes(&event, &e->insn->dst);
		count_bytes(&event, &e->insn->src[0]);
		count_bytes(&event, &e->insn->src[1]);
		if (e->insn->opcode == KILN_OP_MATMUL)
			count_product(&event, sim->config.generation, e->insn);
	}
	sim->watcher(sim->watcher_opaque, &event);
	if (!e->dma_busy)
		return;
	event = (struct kiln_sim_event){
		.core = core, .kind = KILN_SIM_TRANSFER, .engine = e->engine,
		.ring = e->insn->func, .name = event.name, .index = e->index,
		.label = event.label, .hbm_bytes = e->bytes,
		.busy = e->dma_busy / KILN_TICKS_PER_NS / KILN_DMA_ENGINES,
		.wait = (before + e->dma_start) / KILN_TICKS_PER_NS,
		.start = (before + e->dma_start) / KILN_TICKS_PER_NS,
		.end = (before + e->done) / KILN_TICKS_PER_NS,
	};
	sim->watcher(sim->watcher_opaque, &event);
}

void kiln_sim_watch(struct kiln_sim *sim,
		    void (*event)(void *opaque, const struct kiln_sim_event *event),
		    void *opaque)
{
	sim->watcher = event;
	sim->watcher_opaque = opaque;
	for (unsigned int i = 0; i < sim->config.cores; i++) {
		sim->watch[i] = (struct fw_watch){
			.sim = sim, .watch = { watched, &sim->watch[i] },
		};
		kiln_core_watch(fw_core_engine(sim, i), event ? &sim->watch[i].watch : NULL);
	}
}
