// SPDX-License-Identifier: MIT
/*
 * The flat API: registers, doorbells, and the three calls that a worker makes
 * in turn. What happens behind them is in firmware/ and engine/.
 */
#pragma GCC visibility push(default)
#include "kiln_sim.h"
#pragma GCC visibility pop

#include "engine/sanitize.h"
#include "engine/time.h"
#include "firmware/firmware.h"
#include "image.h"
#include "kiln/isa_check.h"

#define PAGE		4096ull
#define HBM_MAX		(1ull << 46)
#define QUEUES_A_CALL	32

static size_t cores_at(void)
{
	return (sizeof(struct kiln_sim) + PAGE - 1) & ~(PAGE - 1);
}

struct kiln_core *fw_core_engine(struct kiln_sim *sim, unsigned int core)
{
	return (struct kiln_core *)((uint8_t *)sim + cores_at() +
				    core * kiln_core_size(sim->config.generation));
}

const char *kiln_sim_check(const struct kiln_sim_config *config)
{
	if (config->generation < 1 || config->generation > 3)
		return "generation must be trn1, trn2 or trn3";
	if (config->cores < 1 || config->cores > KILN_MAX_CORES)
		return "cores must be 1 to 8";
	if (!config->hbm_bytes || config->hbm_bytes % (1u << KILN_LARGE_SHIFT) ||
	    config->hbm_bytes > HBM_MAX)
		return "hbm must be a multiple of 2 MiB, more than 0 and at most 64 TiB";
	return NULL;
}

size_t kiln_sim_size(const struct kiln_sim_config *config)
{
	if (kiln_sim_check(config))
		return 0;
	return cores_at() + config->cores * (kiln_core_size(config->generation) +
					     (config->sanitize ? kiln_sanitize_size() : 0)) +
	       (config->sanitize ? fw_order_size() + kiln_fresh_size(config->hbm_bytes) : 0);
}

/* Behind the cores and their sanitizers. */
struct fw_order *fw_order(struct kiln_sim *sim)
{
	if (!sim->config.sanitize)
		return NULL;
	return (struct fw_order *)((uint8_t *)fw_core_engine(sim, sim->config.cores) +
				   sim->config.cores * kiln_sanitize_size());
}

struct kiln_sim *kiln_sim_init(void *mem, const struct kiln_sim_config *config,
			       void *hbm, const struct kiln_sim_host *host,
			       void *opaque)
{
	struct kiln_sim *sim = mem;

	sim->config = *config;
	sim->memory.hbm = hbm;
	sim->memory.hbm_bytes = config->hbm_bytes;
	sim->memory.host = host;
	sim->memory.opaque = opaque;
	for (unsigned int i = 0; i < config->cores; i++) {
		kiln_core_init(fw_core_engine(sim, i), config->generation,
			       &sim->memory);
		kiln_core_time_only(fw_core_engine(sim, i), config->time_only);
		/* behind all cores */
		if (config->sanitize)
			kiln_sanitize_attach(fw_core_engine(sim, i),
					     (uint8_t *)fw_core_engine(sim, config->cores) +
					     i * kiln_sanitize_size());
	}
	if (config->sanitize && !config->time_only)
		sim->memory.fresh = (uint64_t *)((uint8_t *)fw_order(sim) + fw_order_size());
	return sim;
}

void kiln_sim_fresh(struct kiln_sim *sim, uint64_t offset, uint64_t bytes, bool fresh)
{
	if (sim->memory.fresh)
		kiln_fresh_set(&sim->memory, offset, bytes, fresh);
}

uint32_t kiln_sim_reg_read(struct kiln_sim *sim, uint64_t offset)
{
	unsigned int generation = sim->config.generation;

	switch (offset) {
	case KILN_REG_MAGIC:		return KILN_MAGIC;
	case KILN_REG_HW_VERSION:	return KILN_HW_VERSION;
	case KILN_REG_GENERATION:	return generation;
	case KILN_REG_CORES:		return sim->config.cores;
	case KILN_REG_HBM_SIZE_LO:	return sim->config.hbm_bytes;
	case KILN_REG_HBM_SIZE_HI:	return sim->config.hbm_bytes >> 32;
	case KILN_REG_MAX_QUEUES:	return KILN_MAX_QUEUES;
	case KILN_REG_MAX_CONTEXTS:	return KILN_MAX_CONTEXTS;
	case KILN_REG_CLOCK_KHZ:	return kiln_core_clock_khz(generation);
	case KILN_REG_SBUF_KIB:		return kiln_core_sbuf_bytes(generation) / 1024;
	case KILN_REG_PSUM_KIB:		return kiln_core_psum_bytes(generation) / 1024;
	case KILN_REG_CTRL:
		return sim->ctrl | (sim->state == KILN_STATE_RESETTING && !sim->off ?
					    KILN_CTRL_RESET : 0);
	case KILN_REG_STATUS:		return sim->state;
	case KILN_REG_ERROR:		return sim->error;
	case KILN_REG_FW_VERSION:
		/* a driver that is too new for it wants to tell its user */
		return sim->state == KILN_STATE_READY || sim->state == KILN_STATE_FAILED ?
			       KILN_FW_VERSION : 0;
	case KILN_REG_DRV_VERSION:	return sim->drv_version;
	case KILN_REG_ADMIN_SQ_LO:	return sim->admin_sq;
	case KILN_REG_ADMIN_SQ_HI:	return sim->admin_sq >> 32;
	case KILN_REG_ADMIN_CQ_LO:	return sim->admin_cq;
	case KILN_REG_ADMIN_CQ_HI:	return sim->admin_cq >> 32;
	case KILN_REG_ADMIN_CTL_LO:	return sim->admin_ctl;
	case KILN_REG_ADMIN_CTL_HI:	return sim->admin_ctl >> 32;
	case KILN_REG_ADMIN_LOG2:	return sim->admin_log2;
	case KILN_REG_HEARTBEAT:	return sim->heartbeat;
	case KILN_REG_FAULTS:		return sim->faults;
	case KILN_REG_LOG_HEAD:		return sim->log_head;
	case KILN_LOG_BASE ... KILN_LOG_BASE + KILN_LOG_BYTES - 1:
		return fw_log_word(sim, offset - KILN_LOG_BASE);
	default:			return UINT32_MAX;
	}
}

static void set_low(uint64_t *reg, uint32_t value)
{
	*reg = (*reg & ~(uint64_t)UINT32_MAX) | value;
}

static void set_high(uint64_t *reg, uint32_t value)
{
	*reg = (*reg & UINT32_MAX) | (uint64_t)value << 32;
}

void kiln_sim_reg_write(struct kiln_sim *sim, uint64_t offset, uint32_t value)
{
	if (offset == KILN_REG_CTRL) {
		fw_ctrl_write(sim, value);
		return;
	}
	/* the rest describes the driver, and is fixed while it is enabled */
	if (sim->ctrl & KILN_CTRL_ENABLE)
		return;
	switch (offset) {
	case KILN_REG_DRV_VERSION:	sim->drv_version = value; break;
	case KILN_REG_ADMIN_SQ_LO:	set_low(&sim->admin_sq, value); break;
	case KILN_REG_ADMIN_SQ_HI:	set_high(&sim->admin_sq, value); break;
	case KILN_REG_ADMIN_CQ_LO:	set_low(&sim->admin_cq, value); break;
	case KILN_REG_ADMIN_CQ_HI:	set_high(&sim->admin_cq, value); break;
	case KILN_REG_ADMIN_CTL_LO:	set_low(&sim->admin_ctl, value); break;
	case KILN_REG_ADMIN_CTL_HI:	set_high(&sim->admin_ctl, value); break;
	case KILN_REG_ADMIN_LOG2:	sim->admin_log2 = value; break;
	}
}

/* Have kiln_sim_service() look at a queue. From any thread. */
void fw_pend(struct kiln_sim *sim, unsigned int queue)
{
	__atomic_fetch_or(&sim->pending[queue / 64], 1ull << queue % 64,
			  __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&sim->pending_words, 1ull << queue / 64,
			  __ATOMIC_SEQ_CST);
}

void kiln_sim_doorbell(struct kiln_sim *sim, unsigned int queue)
{
	if (queue >= KILN_MAX_QUEUES)
		return;
	__atomic_fetch_add(&sim->doorbells, 1, __ATOMIC_RELAXED);
	fw_pend(sim, queue);
	fw_kick(sim);
}

void kiln_sim_doorbell_now(struct kiln_sim *sim, unsigned int queue)
{
	struct fw_queue *q = &sim->queue[queue];

	/* the admin queue's commands may take long */
	if (!queue || queue >= KILN_MAX_QUEUES ||
	    sim->state != KILN_STATE_READY || sim->halted || sim->paused || sim->hung) {
		kiln_sim_doorbell(sim, queue);
		return;
	}
	__atomic_fetch_add(&sim->doorbells, 1, __ATOMIC_RELAXED);
	fw_queue_advance(sim, q);
	/* one that waits has set a deadline */
	if (q->state != FW_QUEUE_IDLE ||
	    __atomic_load_n(&sim->pending_words, __ATOMIC_SEQ_CST))
		fw_kick(sim);
}

/* Some of the queues that have something, going round so that each gets its turn. */
static void look_at_queues(struct kiln_sim *sim)
{
	unsigned int budget = QUEUES_A_CALL;
	unsigned int first = sim->turn / 64;

	for (unsigned int n = 0; n <= FW_WORDS && budget; n++) {
		unsigned int word = (first + n) % FW_WORDS;
		uint64_t bits, later = 0;

		if (!(__atomic_load_n(&sim->pending_words, __ATOMIC_SEQ_CST) &
		      1ull << word))
			continue;
		/* first the word's bit, then the bits: the other way round than fw_pend() */
		__atomic_fetch_and(&sim->pending_words, ~(1ull << word), __ATOMIC_SEQ_CST);
		bits = __atomic_exchange_n(&sim->pending[word], 0, __ATOMIC_SEQ_CST);
		if (n == 0) {
			later = bits & ((1ull << sim->turn % 64) - 1);
			bits ^= later;
		}
		for (; bits && budget; bits &= bits - 1, budget--) {
			unsigned int queue = word * 64 + __builtin_ctzll(bits);

			sim->turn = (queue + 1) % KILN_MAX_QUEUES;
			if (queue)
				fw_queue_advance(sim, &sim->queue[queue]);
			else
				fw_admin_advance(sim);
		}
		for (bits |= later; bits; bits &= bits - 1)
			fw_pend(sim, word * 64 + __builtin_ctzll(bits));
	}
}

bool kiln_sim_service(struct kiln_sim *sim)
{
	bool more = false;

	if (sim->halted || sim->paused || sim->hung)
		return false;
	switch (sim->state) {
	case KILN_STATE_BOOTING:
		fw_boot(sim);
		return sim->state == KILN_STATE_READY;
	case KILN_STATE_RESETTING:
		if (fw_cores_out(sim))
			fw_reset(sim, sim->off);
		return false;
	case KILN_STATE_READY:
		look_at_queues(sim);
		if (sim->state == KILN_STATE_READY)
			more = fw_admin_step(sim);
		return sim->state == KILN_STATE_READY &&
		       (more || __atomic_load_n(&sim->pending_words, __ATOMIC_SEQ_CST));
	default:
		return false;
	}
}

/*
 * The free core that suits a context best: its own, with a warm TLB and
 * nothing to scrub, then an unused one, then any.
 */
static int free_core(struct kiln_sim *sim, uint64_t serial)
{
	int best = -1;

	for (unsigned int i = 0; i < sim->config.cores; i++) {
		struct fw_core *c = &sim->core[i];

		if (c->state != FW_CORE_FREE)
			continue;
		if (c->serial == serial)
			return i;
		if (best < 0 || (!c->serial && sim->core[best].serial))
			best = i;
	}
	return best;
}

int kiln_sim_take(struct kiln_sim *sim)
{
	struct fw_queue *q;
	int core;

	if (sim->state != KILN_STATE_READY || sim->paused || sim->hung)
		return -1;
	for (unsigned int i = 0; i < sim->config.cores; i++) {
		if (sim->core[i].state == FW_CORE_PAUSED) {
			sim->core[i].state = FW_CORE_TAKEN;
			fw_kick(sim);	/* for the next one */
			return i;
		}
	}
	if (free_core(sim, 0) < 0)
		return -1;
	q = fw_sched_pick(sim);
	if (!q)
		return -1;
	core = free_core(sim, sim->context[q->context].serial);
	fw_queue_start(sim, q, core);
	/* there may be work for another worker too, which may be asleep */
	if (free_core(sim, 0) >= 0 && fw_sched_pick(sim))
		fw_kick(sim);
	return core;
}

void kiln_sim_run(struct kiln_sim *sim, int core)
{
	struct kiln_core *engine = fw_core_engine(sim, core);
	struct fw_core *c = &sim->core[core];
	struct kiln_job job = {
		.program = c->cmd.exec.program,
		.program_bytes = KILN_PROGRAM_BYTES(c->cmd.param),
		.args_bytes = KILN_ARGS_BYTES(c->cmd.param),
		.args = c->cmd.exec.args,
	};
	uint64_t start;

	if (c->outcome.paused) {
		kiln_core_run(engine, NULL, &c->outcome);
		c->end_ns = fw_now(sim);
		return;
	}
	if (c->scrub)
		kiln_core_scrub(engine);
	if (c->attach)
		kiln_mmu_attach(kiln_core_mmu(engine), c->root);
	else
		kiln_mmu_poll_flush(kiln_core_mmu(engine));
	start = fw_now(sim);
	__atomic_store_n(&c->start_ns, start ? start : 1, __ATOMIC_RELAXED);
	kiln_core_run(engine, &job, &c->outcome);
	c->end_ns = fw_now(sim);
}

void kiln_sim_retire(struct kiln_sim *sim, int core)
{
	if (sim->core[core].outcome.paused && sim->state == KILN_STATE_READY && !sim->hung) {
		sim->core[core].state = FW_CORE_PAUSED;
		fw_kick(sim);
		return;
	}
	sim->core[core].state = FW_CORE_FREE;
	if (sim->state == KILN_STATE_READY && !sim->hung)
		fw_queue_retire(sim, core);
	else
		fw_kick(sim);	/* a reset may be waiting for this core */
}

void kiln_sim_tick(struct kiln_sim *sim)
{
	if (sim->state == KILN_STATE_READY && !sim->hung && !sim->paused)
		fw_watchdog_tick(sim);
}

uint64_t kiln_sim_deadline(struct kiln_sim *sim)
{
	if (sim->state != KILN_STATE_READY || sim->hung || sim->paused)
		return UINT64_MAX;
	return fw_watchdog_deadline(sim);
}

void kiln_sim_stop(struct kiln_sim *sim)
{
	sim->halted = true;
	sim->state = KILN_STATE_RESETTING;
	fw_stop_cores(sim);
}

bool kiln_sim_idle(struct kiln_sim *sim)
{
	return fw_cores_out(sim);
}

void kiln_sim_reset(struct kiln_sim *sim)
{
	fw_reset(sim, false);
}

void kiln_sim_pause(struct kiln_sim *sim)
{
	if (sim->paused)
		return;
	sim->paused = true;
	sim->paused_ns = fw_now(sim);
	for (unsigned int i = 0; i < sim->config.cores; i++)
		if (sim->core[i].state == FW_CORE_TAKEN)
			kiln_core_pause(fw_core_engine(sim, i));
}

void kiln_sim_resume(struct kiln_sim *sim)
{
	if (!sim->paused)
		return;
	sim->paused = false;
	fw_shift_clock(sim, fw_now(sim) - sim->paused_ns);
	for (unsigned int i = 0; i < sim->config.cores; i++)
		kiln_core_unpause(fw_core_engine(sim, i));
	fw_kick(sim);
}

void kiln_sim_track(struct kiln_sim *sim, bool on)
{
	sim->memory.tracked = on;
}

const char *kiln_sim_save(struct kiln_sim *sim, kiln_sim_move_fn *move, void *opaque)
{
	struct kiln_image image = { .move = move, .opaque = opaque };

	if (sim->config.sanitize)
		return "what sanitize=on knows about a program cannot be saved";
	if (sim->halted || !sim->paused || !fw_cores_out(sim))
		return "the card has not come to rest";
	fw_image(sim, &image);
	return image.wrong;
}

const char *kiln_sim_load(struct kiln_sim *sim, kiln_sim_move_fn *move, void *opaque)
{
	struct kiln_image image = { .loading = true, .move = move, .opaque = opaque };

	if (sim->config.sanitize)
		return "what sanitize=on knows about a program cannot be loaded";
	if (sim->state != KILN_STATE_OFF || !fw_cores_out(sim))
		return "the card has not been reset";
	for (unsigned int i = 0; i < sim->config.cores; i++)
		kiln_core_scrub(fw_core_engine(sim, i));
	sim->paused = true;
	fw_image(sim, &image);
	if (!image.wrong)
		return NULL;
	/* Nothing of it stays. */
	for (unsigned int i = 0; i < sim->config.cores; i++) {
		kiln_core_scrub(fw_core_engine(sim, i));
		sim->core[i].serial = 0;
	}
	fw_reset(sim, false);
	return image.wrong;
}

void kiln_sim_usage(struct kiln_sim *sim, struct kiln_sim_usage *usage)
{
	const double second = KILN_TICKS_PER_NS * 1e9;

	*usage = (struct kiln_sim_usage){ 0 };
	for (unsigned int i = 0; i < sim->config.cores; i++) {
		const struct kiln_tally *tally = kiln_core_tally(fw_core_engine(sim, i));

		usage->seconds += tally->time / second;
		for (unsigned int e = 0; e < KILN_ENGINES; e++)
			usage->busy[e] += tally->busy[e] / second;
		usage->dma += tally->dma / second / KILN_DMA_ENGINES;
		usage->hbm_bytes += tally->bytes;
	}
}

void kiln_sim_inject(struct kiln_sim *sim, enum kiln_sim_fault fault)
{
	if (fault == KILN_SIM_FAULT_CRASH && sim->state == KILN_STATE_READY)
		fw_crash(sim, KILN_BOOT_CRASHED, "as injected");
	else if (fault == KILN_SIM_FAULT_HANG && sim->state == KILN_STATE_READY)
		sim->hung = true;
	else
		sim->inject |= 1u << fault;
}
