// SPDX-License-Identifier: MIT
/*
 * The firmware's state as a row of bytes. What follows from the rest is not in
 * it: lists, counts, bits of who waits or wants a core. It is made anew from
 * what is, so that it cannot contradict it, and each queue is looked at again.
 */
#include <string.h>

#include "firmware/firmware.h"
#include "image.h"

#define MAGIC	0x4547414d494b4c4bull	/* "KLKIMAGE" */
#define VERSION	1

/* All that the owner's clock says of the past or the future. 0 is "not set". */
static void shift(uint64_t *when, uint64_t by)
{
	if (*when)
		*when += by;
}

void fw_shift_clock(struct kiln_sim *sim, uint64_t by)
{
	shift(&sim->boot_ns, by);
	shift(&sim->beat_ns, by);
	shift(&sim->poll_ns, by);
	for (unsigned int i = 0; i < KILN_MAX_CORES; i++) {
		struct fw_core *c = &sim->core[i];

		shift(&c->start_ns, by);
		shift(&c->end_ns, by);
		shift(&c->timeout_ns, by);
	}
	for (unsigned int i = 0; i < KILN_MAX_CONTEXTS; i++)
		if (sim->context[i].used)
			shift(&sim->context[i].suspended_ns, by);
	for (unsigned int i = 0; i < KILN_MAX_QUEUES; i++)
		if (sim->queue[i].state != FW_QUEUE_FREE)
			shift(&sim->queue[i].wait_since, by);
}

static void context_image(struct kiln_sim *sim, struct kiln_image *image,
			  struct fw_context *ctx)
{
	image_bool(image, &ctx->suspended);
	IMAGE(image, ctx->weight);
	IMAGE(image, ctx->min_share);
	IMAGE(image, ctx->priority);
	IMAGE(image, ctx->root);
	IMAGE(image, ctx->serial);
	IMAGE(image, ctx->suspended_ns);
	IMAGE(image, ctx->vruntime);
	IMAGE(image, ctx->due);
	IMAGE(image, ctx->turn);
	IMAGE(image, ctx->queue_floor);
	IMAGE(image, ctx->fault);
	image_check(image, ctx->weight && ctx->weight <= KILN_WEIGHT_MAX &&
			   ctx->priority < KILN_PRIORITIES &&
			   ctx->min_share <= KILN_MIN_SHARE_SUM - sim->promised,
		    "a context has impossible shares");
	image_check(image, !(ctx->root & 4095) && ctx->root < sim->memory.hbm_bytes,
		    "a context's page tables are not in HBM");
	image_check(image, ctx->serial && ctx->serial <= sim->serial,
		    "a context's serial number was never given");
	if (!image->loading || image->wrong)
		return;
	ctx->used = true;
	sim->promised += ctx->min_share;
}

static void queue_image(struct kiln_sim *sim, struct kiln_image *image, struct fw_queue *q)
{
	uint32_t entries;

	IMAGE(image, q->log2);
	IMAGE(image, q->context);
	IMAGE(image, q->vector);
	image_bool(image, &q->broken);
	image_bool(image, &q->dying);
	image_bool(image, &q->away);
	image_bool(image, &q->flushing);
	IMAGE(image, q->flush_status);
	IMAGE(image, q->weight);
	IMAGE(image, q->limit_ms);
	IMAGE(image, q->sq);
	IMAGE(image, q->cq);
	IMAGE(image, q->ctl);
	IMAGE(image, q->sq_next);
	IMAGE(image, q->sq_base);
	IMAGE(image, q->sq_fetched);
	IMAGE(image, q->cq_tail);
	IMAGE(image, q->cq_head);
	IMAGE(image, q->flush_to);
	IMAGE(image, q->wait_since);
	IMAGE(image, q->vruntime);
	IMAGE(image, q->last_cycles);
	IMAGE(image, q->taken);
	IMAGE(image, q->aborted);
	image_check(image, q->log2 >= KILN_RING_LOG2_MIN && q->log2 <= KILN_RING_LOG2_MAX &&
			   q->vector < KILN_MSIX_VECTORS &&
			   q->flush_status <= KILN_ST_NO_SPACE,
		    "a queue has an impossible size, vector or status");
	image_check(image, !((q->sq | q->cq | q->ctl) & (KILN_RING_ALIGN - 1)),
		    "a queue's rings are not aligned");
	if (q == &sim->queue[0])
		image_check(image, !q->context && !q->dying && !q->flushing,
			    "the admin queue is somebody's");
	else
		image_check(image, q->context && q->context < KILN_MAX_CONTEXTS &&
				   sim->context[q->context].used && q->weight &&
				   q->weight <= KILN_WEIGHT_MAX && q->limit_ms &&
				   q->limit_ms <= FW_LIMIT_MS_MAX,
			    "a queue has no context, weight or limit");
	if (image->wrong)
		return;
	entries = 1u << q->log2;
	image_check(image, q->sq_fetched - q->sq_base <= FW_FETCH &&
			   q->sq_next - q->sq_base <= q->sq_fetched - q->sq_base &&
			   q->cq_tail - q->cq_head <= entries,
		    "a queue's indices are out of order");
	image_check(image, !(q->flushing || q->dying) || q->broken ||
			   q->flush_to - q->sq_next <= entries,
		    "a queue is to end where it will never be");
	if (image->wrong)
		return;
	image_bytes(image, q->fetched, (q->sq_fetched - q->sq_base) * sizeof(*q->fetched));
	image_bytes(image, q->cancelled, (entries + 63) / 64 * sizeof(*q->cancelled));
}

/* On its way in: IDLE, one of its context's, and to be looked at. */
static void queue_link(struct kiln_sim *sim, struct fw_queue *q)
{
	unsigned int id = fw_queue_id(sim, q);
	struct fw_context *ctx = &sim->context[q->context];

	q->state = q->broken ? FW_QUEUE_BROKEN : FW_QUEUE_IDLE;
	fw_pend(sim, id);
	if (!id)
		return;
	q->sib_next = ctx->queues;
	if (q->sib_next)
		sim->queue[q->sib_next].sib_prev = id;
	ctx->queues = id;
}

static void core_image(struct kiln_sim *sim, struct kiln_image *image, unsigned int core)
{
	struct fw_core *c = &sim->core[core];
	struct kiln_core *engine = fw_core_engine(sim, core);
	struct fw_queue *q;
	bool paused = c->state == FW_CORE_PAUSED;

	image_bool(image, &paused);
	IMAGE(image, c->run);
	IMAGE(image, c->serial);
	IMAGE(image, c->root);
	IMAGE(image, c->busy_ns);
	IMAGE(image, c->cycles);
	IMAGE(image, c->commands);
	image_check(image, c->serial <= sim->serial, "a core was somebody's who never was");
	/* the TLB stays behind: whoever waits for its flush has it */
	if (image->loading)
		kiln_mmu_attach(kiln_core_mmu(engine), c->root);
	if (paused && !image->wrong) {
		IMAGE(image, c->context);
		IMAGE(image, c->queue);
		image_bool(image, &c->doomed);
		image_bool(image, &c->timed_out);
		IMAGE(image, c->timeout_ns);
		IMAGE(image, c->charge.cycles);
		image_bool(image, &c->charge.due);
		IMAGE(image, c->limit_ns);
		IMAGE(image, c->cmd);
		IMAGE(image, c->start_ns);
		image_check(image, c->queue && c->queue < KILN_MAX_QUEUES,
			    "a core runs a command of no queue");
	}
	if (paused && !image->wrong && image->loading) {
		q = &sim->queue[c->queue];
		image_check(image, q->state == FW_QUEUE_IDLE || q->state == FW_QUEUE_BROKEN,
			    "a core runs a command of a queue that is not, or is on another core");
		image_check(image, c->context == q->context &&
				   c->serial == sim->context[c->context].serial,
			    "a core runs a command of another context");
		if (image->wrong)
			return;
		q->state = FW_QUEUE_RUNNING;
		q->core = core;
		sim->context[c->context].running++;
		c->state = FW_CORE_PAUSED;
		c->outcome.paused = true;
	}
	kiln_core_image(engine, image, paused);
}

static void admin_image(struct kiln_sim *sim, struct kiln_image *image, struct fw_admin *admin)
{
	IMAGE(image, admin->cmd);
	IMAGE(image, admin->done);
	if (!image->loading || image->wrong)
		return;
	memset(admin->flush, 0, sizeof(admin->flush));
	image_check(image, fw_admin_plausible(sim, admin),
		    "an admin command is under way that cannot be");
	if (admin->cmd.opcode != KILN_ADM_QUEUE_DESTROY)
		return;
	for (struct fw_admin *a = sim->admin; a < admin; a++)
		image_check(image, a->cmd.opcode != KILN_ADM_QUEUE_DESTROY ||
				   a->cmd.queue.queue != admin->cmd.queue.queue ||
				   !(sim->admin_used >> (a - sim->admin) & 1),
			    "a queue is being destroyed twice");
}

static void card_image(struct kiln_sim *sim, struct kiln_image *image)
{
	IMAGE(image, sim->ctrl);
	IMAGE(image, sim->state);
	IMAGE(image, sim->error);
	IMAGE(image, sim->drv_version);
	IMAGE(image, sim->heartbeat);
	IMAGE(image, sim->admin_log2);
	IMAGE(image, sim->admin_sq);
	IMAGE(image, sim->admin_cq);
	IMAGE(image, sim->admin_ctl);
	image_bool(image, &sim->hung);
	image_bool(image, &sim->off);
	IMAGE(image, sim->boot_ns);
	IMAGE(image, sim->beat_ns);
	IMAGE(image, sim->poll_ns);
	IMAGE(image, sim->doorbells);
	IMAGE(image, sim->floor);
	IMAGE(image, sim->spent);
	IMAGE(image, sim->turns);
	IMAGE(image, sim->serial);
	IMAGE(image, sim->turn);
	IMAGE(image, sim->admin_turn);
	IMAGE(image, sim->commands);
	IMAGE(image, sim->faults);
	IMAGE(image, sim->interrupts);
	IMAGE(image, sim->log_head);
	IMAGE(image, sim->log);
	image_check(image, sim->state <= KILN_STATE_RESETTING && !(sim->ctrl & ~KILN_CTRL_ENABLE),
		    "the card is in no known state");
	image_check(image, sim->turn < KILN_MAX_QUEUES && sim->admin_turn <= FW_ADMIN_SLOTS,
		    "it is the turn of a queue or an admin command that cannot be");
}

/* Each one that is there, by its number, then the number that ends it. */
#define FOR_EACH(image, id, count, there) \
	for (uint32_t id = next_id(image, count, 0, there, sim); id < (count); \
	     id = next_id(image, count, id + 1, there, sim))

static bool is_context(struct kiln_sim *sim, uint32_t id)
{
	return sim->context[id].used;
}

static bool is_queue(struct kiln_sim *sim, uint32_t id)
{
	return sim->queue[id].state != FW_QUEUE_FREE;
}

static bool is_admin(struct kiln_sim *sim, uint32_t id)
{
	return sim->admin_used >> id & 1;
}

static uint32_t next_id(struct kiln_image *image, uint32_t count, uint32_t first,
			bool (*there)(struct kiln_sim *, uint32_t), struct kiln_sim *sim)
{
	uint32_t id = first;

	while (!image->loading && id < count && !there(sim, id))
		id++;
	IMAGE(image, id);
	image_check(image, id >= first && id <= count, "numbers are out of order");
	return image->wrong ? count : id;
}

void fw_image(struct kiln_sim *sim, struct kiln_image *image)
{
	uint64_t now = image->loading ? 0 : sim->paused_ns;

	image_same(image, MAGIC, "this is not the state of a Kiln card");
	image_same(image, VERSION, "the state is of another version of the card");
	image_same(image, sim->config.generation, "generation= is another one than where it was saved");
	image_same(image, sim->config.cores, "cores= is another number than where it was saved");
	image_same(image, sim->config.hbm_bytes, "hbm= is another size than where it was saved");
	IMAGE(image, now);
	card_image(sim, image);
	FOR_EACH(image, id, KILN_MAX_CONTEXTS, is_context) {
		image_check(image, id, "context 0 is the firmware's");
		context_image(sim, image, &sim->context[id]);
	}
	FOR_EACH(image, id, KILN_MAX_QUEUES, is_queue) {
		queue_image(sim, image, &sim->queue[id]);
		if (image->loading && !image->wrong)
			queue_link(sim, &sim->queue[id]);
	}
	image_check(image, sim->state != KILN_STATE_READY ||
			   sim->queue[0].state != FW_QUEUE_FREE, "there is no admin queue");
	FOR_EACH(image, id, FW_ADMIN_SLOTS, is_admin) {
		admin_image(sim, image, &sim->admin[id]);
		if (image->loading)
			sim->admin_used |= 1ull << id;
	}
	for (unsigned int i = 0; i < sim->config.cores && !image->wrong; i++)
		core_image(sim, image, i);
	image_same(image, MAGIC, "the state does not end where it should");
	if (!image->loading || image->wrong)
		return;
	sim->paused_ns = fw_now(sim);
	fw_shift_clock(sim, sim->paused_ns - now);
}
