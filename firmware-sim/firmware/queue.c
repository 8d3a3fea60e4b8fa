// SPDX-License-Identifier: MIT
/*
 * A tenant's queue: its commands go in order, one at a time, from the ring to
 * a core and into the completion ring.
 */
#include <string.h>

#include "firmware/firmware.h"

#define BUDGET	FW_DONE	/* commands that one look at a queue may finish */

void fw_queue_set_state(struct kiln_sim *sim, struct fw_queue *q,
			enum fw_queue_state state)
{
	unsigned int id = fw_queue_id(sim, q);
	bool was = q->state == FW_QUEUE_BLOCKED || q->state == FW_QUEUE_FULL;
	bool is = state == FW_QUEUE_BLOCKED || state == FW_QUEUE_FULL;

	if (q->state == state)
		return;
	if (q->state == FW_QUEUE_READY)
		fw_sched_unready(sim, q);
	if (q->state == FW_QUEUE_BLOCKED)
		sim->context[q->context].blocked--;
	if (state == FW_QUEUE_READY)
		fw_sched_ready(sim, q);
	if (state == FW_QUEUE_BLOCKED)
		sim->context[q->context].blocked++;
	if (was != is) {
		sim->stalled[id / 64] ^= 1ull << id % 64;
		sim->stalled_count += is ? 1 : -1;
	}
	q->state = state;
}

/* What the entry alone can tell. */
static bool command_ok(const struct kiln_cmd *cmd)
{
	uint32_t program_bytes = KILN_PROGRAM_BYTES(cmd->param);
	uint32_t args_bytes = KILN_ARGS_BYTES(cmd->param);

	if (cmd->flags || cmd->reserved || (cmd->exec.wait_addr & 7) ||
	    (cmd->exec.signal_addr & 7))
		return false;
	if (cmd->opcode == KILN_CMD_NOP)
		return !cmd->param && !cmd->exec.program && !cmd->exec.args;
	return cmd->opcode == KILN_CMD_EXEC &&
	       cmd->exec.program && !(cmd->exec.program & 63) &&
	       program_bytes && !(program_bytes & 63) &&
	       !(cmd->exec.args & 7) && !cmd->exec.args == !args_bytes &&
	       args_bytes <= KILN_MAX_ARGS_BYTES;
}

/*
 * Does this status stop the context? Then that comes first, and the completion
 * second: what the driver submits upon the completion is not stopped with it.
 */
static bool is_fault(unsigned int status)
{
	return (status >= KILN_ST_BAD_PROGRAM && status <= KILN_ST_TIMEOUT) ||
	       status == KILN_ST_DEADLOCK;
}

/* Have the queue's next command, which never saw a core, end like this. */
static void end_next(struct kiln_sim *sim, struct fw_queue *q,
		     enum kiln_status status, uint64_t fault_addr)
{
	uint64_t now = fw_now(sim) - sim->boot_ns;
	struct kiln_completion record = {
		.cookie = fw_ring_next(q)->cookie,
		.status = status,
		.fault_addr = fault_addr,
		.start_ns = now,
		.end_ns = now,
	};

	q->sq_next++;
	q->wait_since = 0;
	sim->commands++;
	if (is_fault(status))
		fw_context_stop(sim, q, &record);
	fw_ring_complete_later(sim, q, &record);
}

/* After a success: the u64 there, and whoever may wait for it. */
static enum kiln_status signal(struct kiln_sim *sim, struct fw_queue *q,
			       const struct kiln_cmd *cmd)
{
	unsigned int context = q->context;
	enum kiln_status status;

	if (!cmd->exec.signal_addr)
		return KILN_ST_OK;
	fw_order_signal(sim, fw_queue_id(sim, q), cmd);
	status = fw_timeline_store(sim, sim->context[context].root,
				   cmd->exec.signal_addr, cmd->exec.signal_value);
	if (status == KILN_ST_OK)
		fw_context_look(sim, context, true);
	return status;
}

/*
 * Go on with a queue until it has a command on a core or wanting one, or
 * nothing to do. Entries that need no core end in here.
 */
static void advance(struct kiln_sim *sim, struct fw_queue *q)
{
	struct fw_context *ctx = &sim->context[q->context];
	unsigned int budget = BUDGET;

	if (q->state == FW_QUEUE_FREE || q->state == FW_QUEUE_RUNNING)
		return;
	/* a READY one is looked at again too: it may have been cancelled or flushed */
	fw_queue_set_state(sim, q, FW_QUEUE_IDLE);

	for (;;) {
		enum kiln_status early, status;
		struct kiln_cmd *cmd;
		uint64_t value;
		bool more;

		if (q->broken) {
			fw_queue_set_state(sim, q, FW_QUEUE_BROKEN);
			return;
		}
		if (q->flushing && q->sq_next == q->flush_to)
			q->flushing = false;
		if (!fw_ring_fetch(sim, q)) {
			if (q->broken)
				continue;
			if (q->dying || ctx->suspended)
				return;
			if (fw_ring_arm(sim, q, &more) && !more)
				return;
			continue;
		}
		if (!budget--) {
			fw_pend(sim, fw_queue_id(sim, q));
			return;
		}
		if (q->taken & fw_ring_bit(q, q->sq_next)) {
			q->sq_next++;
			q->wait_since = 0;
			continue;
		}
		if (q->flushing)
			early = q->flush_status;
		else
			early = q->aborted & fw_ring_bit(q, q->sq_next) ?
					KILN_ST_ABORTED : KILN_ST_OK;
		if (early == KILN_ST_OK && ctx->suspended)
			return;
		if (!fw_ring_room(sim, q)) {
			if (q->broken)
				continue;
			if (q->dying) {
				fw_log(sim, KILN_SIM_LOG_GUEST_ERROR,
				       "queue %u: destroyed with its completion ring full",
				       fw_queue_id(sim, q));
				q->sq_next = q->sq_fetched = q->flush_to;
				return;
			}
			fw_queue_set_state(sim, q, FW_QUEUE_FULL);
			return;
		}
		if (early != KILN_ST_OK) {
			end_next(sim, q, early, 0);
			continue;
		}

		cmd = fw_ring_next(q);
		if (!command_ok(cmd)) {
			fw_log(sim, KILN_SIM_LOG_GUEST_ERROR,
			       "queue %u: bad command, opcode %#x param %#x",
			       fw_queue_id(sim, q), cmd->opcode, cmd->param);
			end_next(sim, q, KILN_ST_BAD_COMMAND, 0);
			continue;
		}
		if (cmd->exec.wait_addr) {
			status = fw_timeline_load(sim, ctx->root,
						  cmd->exec.wait_addr, &value);
			if (status != KILN_ST_OK) {
				end_next(sim, q, status, cmd->exec.wait_addr);
				continue;
			}
			if (value < cmd->exec.wait_value) {
				uint64_t now = fw_now(sim);

				if (!q->wait_since)
					q->wait_since = now + 1;
				if (now + 1 - q->wait_since >=
				    KILN_WAIT_LIMIT_MS * 1000000ull) {
					end_next(sim, q, KILN_ST_TIMEOUT,
						 cmd->exec.wait_addr);
					continue;
				}
				fw_queue_set_state(sim, q, FW_QUEUE_BLOCKED);
				return;
			}
		}
		if (cmd->opcode == KILN_CMD_NOP) {
			fw_order_pass(sim, q, q->sq_next, cmd);
			status = signal(sim, q, cmd);
			end_next(sim, q, status,
				 status == KILN_ST_OK ? 0 : cmd->exec.signal_addr);
			continue;
		}
		fw_queue_set_state(sim, q, FW_QUEUE_READY);
		return;
	}
}

void fw_queue_advance(struct kiln_sim *sim, struct fw_queue *q)
{
	advance(sim, q);
	fw_ring_complete_flush(sim, q);
	q->away = q->state != FW_QUEUE_READY && q->state != FW_QUEUE_RUNNING;
}

/* Everything that stands in the ring now shall end in status. */
void fw_queue_flush(struct kiln_sim *sim, struct fw_queue *q,
		    enum kiln_status status)
{
	uint32_t tail;

	if (q->state == FW_QUEUE_READY)
		fw_queue_set_state(sim, q, FW_QUEUE_IDLE);
	fw_pend(sim, fw_queue_id(sim, q));
	if (q->broken || !fw_ring_tail(sim, q, &tail))
		return;
	q->flushing = true;
	q->flush_status = status;
	q->flush_to = tail;
}

/*
 * False: it is there, and its completion has no room yet.
 *
 * What has been copied out ends at once. What has not stays in the ring until
 * its turn, and so does its completion: the driver may take a completion for
 * the permission to use the ring's slot again.
 */
bool fw_queue_cancel(struct kiln_sim *sim, struct fw_queue *q, uint64_t cookie)
{
	bool on_core = q->state == FW_QUEUE_RUNNING;
	uint64_t now = fw_now(sim) - sim->boot_ns;
	struct kiln_completion record = {
		.cookie = cookie,
		.status = KILN_ST_ABORTED,
		.start_ns = now,
		.end_ns = now,
	};
	uint32_t index;

	if (on_core && sim->core[q->core].cmd.cookie == cookie) {
		kiln_core_abort(fw_core_engine(sim, q->core), KILN_ST_ABORTED);
		return true;
	}
	if (q->broken || !fw_ring_fill(sim, q) ||
	    !fw_ring_find(sim, q, cookie, &index))
		return true;
	if (index - q->sq_next >= q->sq_fetched - q->sq_next) {
		uint32_t slot = index & ((1u << q->log2) - 1);

		q->cancelled[slot / 64] |= 1ull << slot % 64;
		return true;
	}
	if (q->taken & fw_ring_bit(q, index))
		return true;
	/* the command on a core, or about to be, has been promised its room */
	if (fw_ring_room(sim, q) < 1u + (on_core || q->state == FW_QUEUE_READY))
		return q->broken;
	q->taken |= fw_ring_bit(q, index);
	if (q->state == FW_QUEUE_READY && index == q->sq_next)
		fw_queue_set_state(sim, q, FW_QUEUE_IDLE);
	sim->commands++;
	fw_ring_complete(sim, q, &record);
	fw_pend(sim, fw_queue_id(sim, q));
	return true;
}

/* A core with nothing to do starts the queue's next command. */
void fw_queue_start(struct kiln_sim *sim, struct fw_queue *q, unsigned int core)
{
	struct fw_context *ctx = &sim->context[q->context];
	struct fw_core *c = &sim->core[core];

	fw_queue_set_state(sim, q, FW_QUEUE_RUNNING);
	q->core = core;
	ctx->running++;
	c->cmd = *fw_ring_next(q);
	fw_order_start(sim, q, core, q->sq_next);
	q->sq_next++;
	q->wait_since = 0;

	c->state = FW_CORE_TAKEN;
	c->context = q->context;
	c->queue = fw_queue_id(sim, q);
	c->doomed = false;
	c->timed_out = false;
	c->run++;
	c->charge = fw_sched_charge(sim, q);
	c->limit_ns = q->limit_ms * 1000000ull;
	c->root = ctx->root;
	c->attach = c->serial != ctx->serial;
	c->scrub = c->attach && c->serial;
	c->serial = ctx->serial;
	__atomic_store_n(&c->start_ns, 0, __ATOMIC_RELAXED);
	kiln_core_allow(fw_core_engine(sim, core));
}

/* The command on this core has come to its end. */
void fw_queue_retire(struct kiln_sim *sim, unsigned int core)
{
	struct fw_core *c = &sim->core[core];
	struct fw_queue *q = &sim->queue[c->queue];
	uint64_t start = __atomic_load_n(&c->start_ns, __ATOMIC_RELAXED);
	uint64_t took = c->end_ns - start;
	struct kiln_completion record = {
		.cookie = c->cmd.cookie,
		.status = c->doomed ? KILN_ST_CONTEXT : c->outcome.status,
		.core = core,
		.cycles = c->outcome.cycles,
		.start_ns = start - sim->boot_ns,
		.end_ns = c->end_ns - sim->boot_ns,
	};

	if (!c->doomed && c->outcome.status != KILN_ST_OK) {
		record.engine = c->outcome.engine;
		record.instruction = c->outcome.instruction;
		record.label = c->outcome.label;
		record.fault_addr = c->outcome.fault_addr;
	}
	c->busy_ns += took;
	c->cycles += c->outcome.cycles;
	c->commands++;
	sim->commands++;
	sim->context[c->context].running--;
	fw_sched_settle(sim, q, &c->charge, c->outcome.cycles,
			is_fault(record.status));

	fw_order_end(sim, core);
	if (record.status == KILN_ST_OK) {
		record.status = signal(sim, q, &c->cmd);
		if (record.status != KILN_ST_OK)
			record.fault_addr = c->cmd.exec.signal_addr;
	}
	fw_queue_set_state(sim, q, FW_QUEUE_IDLE);
	if (is_fault(record.status))
		fw_context_stop(sim, q, &record);
	fw_ring_complete(sim, q, &record);
	fw_queue_advance(sim, q);
}
