// SPDX-License-Identifier: MIT
/* A context's queues, and what a fault does to them. */
#include "firmware/firmware.h"

/* Look at the context's queues again (only_blocked: at those that wait). */
void fw_context_look(struct kiln_sim *sim, unsigned int context,
		     bool only_blocked)
{
	struct fw_context *ctx = &sim->context[context];

	if (only_blocked && !ctx->blocked)
		return;
	for (unsigned int id = ctx->queues; id; id = sim->queue[id].sib_next)
		if (!only_blocked || sim->queue[id].state == FW_QUEUE_BLOCKED)
			fw_pend(sim, id);
}

/*
 * The command of record, in queue by, was at fault: what the context has
 * running or in its rings ends in KILN_ST_CONTEXT.
 */
void fw_context_stop(struct kiln_sim *sim, struct fw_queue *by,
		     const struct kiln_completion *record)
{
	struct fw_context *ctx = &sim->context[by->context];

	fw_log(sim, KILN_SIM_LOG_GUEST_ERROR,
	       "context %u stopped: status %u, queue %u, engine %u, instruction %u, address %#llx",
	       by->context, record->status, fw_queue_id(sim, by),
	       record->engine, record->instruction,
	       (unsigned long long)record->fault_addr);
	sim->faults++;
	ctx->fault.count++;
	ctx->fault.completion = *record;
	ctx->fault.queue = fw_queue_id(sim, by);

	for (unsigned int id = ctx->queues; id; id = sim->queue[id].sib_next) {
		struct fw_queue *q = &sim->queue[id];

		if (q->dying)
			continue;
		if (q->state == FW_QUEUE_RUNNING) {
			sim->core[q->core].doomed = true;
			kiln_core_abort(fw_core_engine(sim, q->core), KILN_ST_CONTEXT);
		}
		fw_queue_flush(sim, q, KILN_ST_CONTEXT);
	}
}
