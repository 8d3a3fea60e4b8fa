// SPDX-License-Identifier: MIT
/*
 * The admin queue. A command ends where it starts, or takes a slot and is
 * stepped until it is done; meanwhile the next ones go on.
 */
#include <string.h>

#include "firmware/firmware.h"

#define BUDGET		32

/* Are the bytes of the entry from member on zero? */
#define ZERO_FROM(cmd, member) \
	zero((const uint8_t *)(cmd) + offsetof(struct kiln_cmd, member), \
	     sizeof(struct kiln_cmd) - offsetof(struct kiln_cmd, member))

static bool zero(const uint8_t *bytes, size_t count)
{
	while (count--)
		if (*bytes++)
			return false;
	return true;
}

static struct fw_context *context(struct kiln_sim *sim, uint32_t id)
{
	return id && id < KILN_MAX_CONTEXTS && sim->context[id].used ?
		       &sim->context[id] : NULL;
}

static struct fw_queue *queue(struct kiln_sim *sim, uint32_t id)
{
	return id && id < KILN_MAX_QUEUES && sim->queue[id].state != FW_QUEUE_FREE ?
		       &sim->queue[id] : NULL;
}

static enum kiln_status ctx_create(struct kiln_sim *sim, const struct kiln_cmd *cmd)
{
	uint32_t id = cmd->ctx.context;
	struct fw_context *ctx, made;
	enum kiln_status status;

	if (cmd->param || !ZERO_FROM(cmd, ctx.reserved) || !id ||
	    id >= KILN_MAX_CONTEXTS ||
	    (cmd->ctx.root & 4095) || cmd->ctx.root >= sim->memory.hbm_bytes)
		return KILN_ST_BAD_COMMAND;
	ctx = &sim->context[id];
	if (ctx->used)
		return KILN_ST_BAD_STATE;
	made = (struct fw_context){
		.used = true,
		.root = cmd->ctx.root,
		.serial = sim->serial + 1,
	};
	status = fw_sched_share(sim, &made, cmd);
	if (status != KILN_ST_OK)
		return status;
	sim->serial++;
	*ctx = made;
	return KILN_ST_OK;
}

static enum kiln_status ctx_share(struct kiln_sim *sim, const struct kiln_cmd *cmd)
{
	struct fw_context *ctx = context(sim, cmd->ctx.context);

	if (cmd->param || cmd->ctx.root || !ZERO_FROM(cmd, ctx.reserved))
		return KILN_ST_BAD_COMMAND;
	return ctx ? fw_sched_share(sim, ctx, cmd) : KILN_ST_BAD_STATE;
}

static enum kiln_status ctx_destroy(struct kiln_sim *sim, struct fw_context *ctx)
{
	if (ctx->queues)
		return KILN_ST_BAD_STATE;
	fw_sched_forget(sim, ctx);
	ctx->used = false;
	return KILN_ST_OK;
}

static enum kiln_status ctx_suspend(struct kiln_sim *sim, const struct kiln_cmd *cmd,
				    bool *done)
{
	struct fw_context *ctx = &sim->context[cmd->ctx.context];

	if (!ctx->suspended)
		ctx->suspended_ns = fw_now(sim);
	ctx->suspended = true;
	/* those that wait shall not look at memory that may be moved */
	fw_context_look(sim, cmd->ctx.context, true);
	*done = !ctx->running;
	return KILN_ST_OK;
}

static enum kiln_status ctx_resume(struct kiln_sim *sim, const struct kiln_cmd *cmd)
{
	struct fw_context *ctx = &sim->context[cmd->ctx.context];
	uint64_t away = fw_now(sim) - ctx->suspended_ns;

	if (!ctx->suspended)
		return KILN_ST_BAD_STATE;
	ctx->suspended = false;
	/* meanwhile the time of those that wait has stood still */
	for (unsigned int id = ctx->queues; id; id = sim->queue[id].sib_next)
		if (sim->queue[id].wait_since)
			sim->queue[id].wait_since += away;
	fw_sched_resume(sim, ctx);
	fw_context_look(sim, cmd->ctx.context, false);
	return KILN_ST_OK;
}

/*
 * Every core that has been this context's drops its TLB before its next
 * access. Those that run a command of it now have to be waited for.
 */
static void tlb_flush(struct kiln_sim *sim, struct fw_admin *admin)
{
	uint64_t serial = sim->context[admin->cmd.ctx.context].serial;

	for (unsigned int i = 0; i < sim->config.cores; i++) {
		struct fw_core *c = &sim->core[i];
		struct kiln_mmu *mmu = kiln_core_mmu(fw_core_engine(sim, i));

		admin->flush[i] = 0;
		if (c->serial != serial)
			continue;
		admin->flush[i] = __atomic_add_fetch(&mmu->flush_wanted, 1,
						     __ATOMIC_ACQ_REL);
		admin->run[i] = c->run;
	}
}

static bool tlb_flushed(struct kiln_sim *sim, struct fw_admin *admin)
{
	for (unsigned int i = 0; i < sim->config.cores; i++) {
		struct fw_core *c = &sim->core[i];
		struct kiln_mmu *mmu = kiln_core_mmu(fw_core_engine(sim, i));

		if (!admin->flush[i] || c->state == FW_CORE_FREE ||
		    c->run != admin->run[i])
			continue;
		if (__atomic_load_n(&mmu->flush_seen, __ATOMIC_ACQUIRE) <
		    admin->flush[i])
			return false;
	}
	return true;
}

static bool ring_ok(uint64_t addr, uint64_t bytes)
{
	return !(addr & (KILN_RING_ALIGN - 1)) && addr + bytes - 1 >= addr;
}

static enum kiln_status queue_create(struct kiln_sim *sim, const struct kiln_cmd *cmd)
{
	uint32_t id = cmd->queue.queue, log2 = cmd->queue.log2_entries;
	struct fw_context *ctx;
	struct fw_queue *q;

	if (cmd->param || !id || id >= KILN_MAX_QUEUES ||
	    log2 < KILN_RING_LOG2_MIN || log2 > KILN_RING_LOG2_MAX ||
	    !ring_ok(cmd->queue.sq, sizeof(struct kiln_cmd) << log2) ||
	    !ring_ok(cmd->queue.cq, sizeof(struct kiln_completion) << log2) ||
	    !ring_ok(cmd->queue.ctl, sizeof(struct kiln_ring_ctl)) ||
	    cmd->queue.vector >= KILN_MSIX_VECTORS ||
	    !cmd->queue.weight || cmd->queue.weight > KILN_WEIGHT_MAX ||
	    !cmd->queue.limit_ms || cmd->queue.limit_ms > FW_LIMIT_MS_MAX)
		return KILN_ST_BAD_COMMAND;
	ctx = context(sim, cmd->queue.context);
	q = &sim->queue[id];
	if (!ctx || q->state != FW_QUEUE_FREE)
		return KILN_ST_BAD_STATE;
	memset(q, 0, sizeof(*q));
	q->log2 = log2;
	q->context = cmd->queue.context;
	q->vector = cmd->queue.vector;
	q->away = true;
	q->weight = cmd->queue.weight;
	q->limit_ms = cmd->queue.limit_ms;
	q->sq = cmd->queue.sq;
	q->cq = cmd->queue.cq;
	q->ctl = cmd->queue.ctl;
	if (!fw_ring_reset(sim, q))
		return KILN_ST_BUS;
	q->sib_next = ctx->queues;
	if (q->sib_next)
		sim->queue[q->sib_next].sib_prev = id;
	ctx->queues = id;
	fw_order_queue(sim, id);
	fw_queue_set_state(sim, q, FW_QUEUE_IDLE);
	fw_pend(sim, id);
	return KILN_ST_OK;
}

static void queue_free(struct kiln_sim *sim, struct fw_queue *q)
{
	fw_queue_set_state(sim, q, FW_QUEUE_FREE);
	if (q->sib_prev)
		sim->queue[q->sib_prev].sib_next = q->sib_next;
	else
		sim->context[q->context].queues = q->sib_next;
	if (q->sib_next)
		sim->queue[q->sib_next].sib_prev = q->sib_prev;
}

static void queue_kill(struct kiln_sim *sim, struct fw_queue *q)
{
	fw_queue_flush(sim, q, KILN_ST_ABORTED);
	q->dying = true;
	if (q->state == FW_QUEUE_RUNNING)
		kiln_core_abort(fw_core_engine(sim, q->core), KILN_ST_ABORTED);
}

static bool queue_dead(struct fw_queue *q)
{
	return q->state != FW_QUEUE_RUNNING &&
	       (q->broken || q->sq_next == q->flush_to);
}

/* KILN_ADM_CTX_FAULT, KILN_ADM_STATS: as many bytes as both sides know. */
static enum kiln_status report(struct kiln_sim *sim, const struct kiln_cmd *cmd)
{
	struct kiln_stats stats;
	const void *data = &stats;
	uint64_t bytes = cmd->copy.bytes;
	size_t size = sizeof(stats);

	if (!ZERO_FROM(cmd, copy.src_host) || cmd->copy.src || !bytes ||
	    cmd->copy.dst_host != 1 || cmd->copy.dst + bytes - 1 < cmd->copy.dst)
		return KILN_ST_BAD_COMMAND;
	if (cmd->opcode == KILN_ADM_STATS) {
		if (cmd->param)
			return KILN_ST_BAD_COMMAND;
		fw_stats(sim, &stats);
	} else {
		struct fw_context *ctx = context(sim, cmd->param);

		if (!ctx)
			return KILN_ST_BAD_STATE;
		data = &ctx->fault;
		size = sizeof(ctx->fault);
	}
	return sim->memory.host->dma_write(sim->memory.opaque, cmd->copy.dst, data,
					   bytes < size ? bytes : size) ?
		       KILN_ST_OK : KILN_ST_BUS;
}

/* *done: it is over, with the status returned; else it is to be stepped. */
static enum kiln_status start(struct kiln_sim *sim, struct fw_admin *admin, bool *done)
{
	const struct kiln_cmd *cmd = &admin->cmd;
	struct fw_queue *q;
	enum kiln_status status;

	*done = true;
	admin->done = 0;
	if (cmd->flags || cmd->reserved)
		return KILN_ST_BAD_COMMAND;

	switch (cmd->opcode) {
	case KILN_ADM_NOP:
		return cmd->param || !ZERO_FROM(cmd, exec) ?
			       KILN_ST_BAD_COMMAND : KILN_ST_OK;
	case KILN_ADM_CTX_CREATE:
		return ctx_create(sim, cmd);
	case KILN_ADM_CTX_SHARE:
		return ctx_share(sim, cmd);
	case KILN_ADM_CTX_DESTROY:
	case KILN_ADM_CTX_SUSPEND:
	case KILN_ADM_CTX_RESUME:
	case KILN_ADM_TLB_FLUSH:
		if (cmd->param || !ZERO_FROM(cmd, ctx.weight))
			return KILN_ST_BAD_COMMAND;
		if (!context(sim, cmd->ctx.context))
			return KILN_ST_BAD_STATE;
		if (cmd->opcode == KILN_ADM_CTX_DESTROY)
			return ctx_destroy(sim, &sim->context[cmd->ctx.context]);
		if (cmd->opcode == KILN_ADM_CTX_SUSPEND)
			return ctx_suspend(sim, cmd, done);
		if (cmd->opcode == KILN_ADM_CTX_RESUME)
			return ctx_resume(sim, cmd);
		tlb_flush(sim, admin);
		*done = tlb_flushed(sim, admin);
		return KILN_ST_OK;
	case KILN_ADM_QUEUE_CREATE:
		return queue_create(sim, cmd);
	case KILN_ADM_QUEUE_DESTROY:
		if (cmd->param || !ZERO_FROM(cmd, queue.context))
			return KILN_ST_BAD_COMMAND;
		q = queue(sim, cmd->queue.queue);
		if (!q || q->dying)
			return KILN_ST_BAD_STATE;
		queue_kill(sim, q);
		*done = false;
		return KILN_ST_OK;
	case KILN_ADM_QUEUE_CANCEL:
		if (cmd->param || cmd->cancel.reserved0 ||
		    !ZERO_FROM(cmd, cancel.reserved))
			return KILN_ST_BAD_COMMAND;
		q = queue(sim, cmd->cancel.queue);
		if (!q)
			return KILN_ST_BAD_STATE;
		*done = q->dying || fw_queue_cancel(sim, q, cmd->cancel.target);
		return KILN_ST_OK;
	case KILN_ADM_CLEAR:
	case KILN_ADM_COPY:
		status = fw_copy_check(sim, cmd);
		*done = status != KILN_ST_OK;
		return status;
	case KILN_ADM_CTX_FAULT:
	case KILN_ADM_STATS:
		return report(sim, cmd);
	default:
		return KILN_ST_BAD_COMMAND;
	}
}

bool fw_admin_plausible(struct kiln_sim *sim, const struct fw_admin *admin)
{
	const struct kiln_cmd *cmd = &admin->cmd;
	struct fw_queue *q;

	switch (cmd->opcode) {
	case KILN_ADM_CTX_SUSPEND:
	case KILN_ADM_TLB_FLUSH:
		return context(sim, cmd->ctx.context);
	case KILN_ADM_QUEUE_DESTROY:
		q = queue(sim, cmd->queue.queue);
		return q && q->dying;
	case KILN_ADM_QUEUE_CANCEL:
		return true;
	case KILN_ADM_CLEAR:
	case KILN_ADM_COPY:
		return fw_copy_check(sim, cmd) == KILN_ST_OK && admin->done <= cmd->copy.bytes;
	default:
		return false;
	}
}

/* What has taken a slot: is it done now? */
static bool step(struct kiln_sim *sim, struct fw_admin *admin,
		 struct kiln_completion *record)
{
	const struct kiln_cmd *cmd = &admin->cmd;
	struct fw_context *ctx;
	struct fw_queue *q;

	switch (cmd->opcode) {
	case KILN_ADM_CTX_SUSPEND:
		ctx = &sim->context[cmd->ctx.context];
		if (!ctx->suspended)	/* resumed before it was done */
			record->status = KILN_ST_ABORTED;
		return !ctx->suspended || !ctx->running;
	case KILN_ADM_TLB_FLUSH:
		return tlb_flushed(sim, admin);
	case KILN_ADM_QUEUE_DESTROY:
		q = &sim->queue[cmd->queue.queue];
		if (!queue_dead(q))
			return false;
		queue_free(sim, q);
		return true;
	case KILN_ADM_QUEUE_CANCEL:
		q = queue(sim, cmd->cancel.queue);
		return !q || q->dying ||
		       fw_queue_cancel(sim, q, cmd->cancel.target);
	default:
		return fw_copy_step(sim, admin, record);
	}
}

static void finish(struct kiln_sim *sim, const struct kiln_cmd *cmd,
		   struct kiln_completion *record)
{
	record->cookie = cmd->cookie;
	record->end_ns = fw_now(sim) - sim->boot_ns;
	record->start_ns = record->end_ns;
	fw_ring_complete(sim, &sim->queue[0], record);
}

/* Take entries out of the admin ring as long as there are slots for them. */
void fw_admin_advance(struct kiln_sim *sim)
{
	struct fw_queue *q = &sim->queue[0];
	unsigned int budget = BUDGET;

	fw_queue_set_state(sim, q, FW_QUEUE_IDLE);
	while (!q->broken && ~sim->admin_used) {
		unsigned int slot = __builtin_ctzll(~sim->admin_used);
		struct fw_admin *admin = &sim->admin[slot];
		struct kiln_completion record = { 0 };
		bool more, done;

		if (!budget--) {
			fw_pend(sim, 0);
			return;
		}
		if (!fw_ring_fetch(sim, q)) {
			if (!fw_ring_arm(sim, q, &more) || !more)
				return;
			continue;
		}
		/* what is under way has been promised its room */
		if (fw_ring_room(sim, q) <=
		    (unsigned int)__builtin_popcountll(sim->admin_used)) {
			fw_queue_set_state(sim, q, FW_QUEUE_FULL);
			return;
		}
		admin->cmd = *fw_ring_next(q);
		q->sq_next++;
		record.status = start(sim, admin, &done);
		if (record.status != KILN_ST_OK)
			fw_log(sim, KILN_SIM_LOG_GUEST_ERROR,
			       "admin command %#x: status %u",
			       admin->cmd.opcode, record.status);
		if (done)
			finish(sim, &admin->cmd, &record);
		else
			sim->admin_used |= 1ull << slot;
	}
}

/* Go on with what has slots; one chunk of one copy. True: there is another chunk. */
bool fw_admin_step(struct kiln_sim *sim)
{
	unsigned int first = sim->admin_turn;
	bool copied = false, more = false;

	for (unsigned int n = 0; n < FW_ADMIN_SLOTS && sim->admin_used; n++) {
		unsigned int slot = (first + n) % FW_ADMIN_SLOTS;
		struct fw_admin *admin = &sim->admin[slot];
		struct kiln_completion record = { 0 };
		bool copy;

		if (!(sim->admin_used & 1ull << slot))
			continue;
		copy = admin->cmd.opcode == KILN_ADM_CLEAR ||
		       admin->cmd.opcode == KILN_ADM_COPY;
		if (copy && copied) {
			more = true;
			continue;
		}
		if (copy) {
			copied = true;
			sim->admin_turn = slot + 1;
		}
		if (!step(sim, admin, &record)) {
			more |= copy;
			continue;
		}
		sim->admin_used &= ~(1ull << slot);
		finish(sim, &admin->cmd, &record);
		fw_pend(sim, 0);
	}
	return more;
}
