// SPDX-License-Identifier: MIT
/* From power-on to a working admin queue, and back. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "firmware/firmware.h"

void fw_stop_cores(struct kiln_sim *sim)
{
	for (unsigned int i = 0; i < sim->config.cores; i++)
		if (sim->core[i].state == FW_CORE_TAKEN)
			kiln_core_abort(fw_core_engine(sim, i), KILN_ST_ABORTED);
}

bool fw_cores_out(struct kiln_sim *sim)
{
	for (unsigned int i = 0; i < sim->config.cores; i++)
		if (sim->core[i].state == FW_CORE_TAKEN)
			return false;
	return true;
}

/*
 * Reset waits for the cores, so it is only begun here: kiln_sim_service() ends
 * it. Whatever is written to CTRL meanwhile is lost; STATUS says when it is over.
 */
void fw_ctrl_write(struct kiln_sim *sim, uint32_t value)
{
	if (sim->halted)
		return;
	if (value & KILN_CTRL_RESET) {
		sim->hung = false;
		sim->off = false;
	} else if (sim->state == KILN_STATE_RESETTING ||
		   !((value ^ sim->ctrl) & KILN_CTRL_ENABLE)) {
		return;
	} else if (value & KILN_CTRL_ENABLE) {
		sim->ctrl = KILN_CTRL_ENABLE;
		sim->state = KILN_STATE_BOOTING;
		fw_kick(sim);
		return;
	} else {
		sim->off = true;
	}
	sim->ctrl = 0;
	sim->state = KILN_STATE_RESETTING;
	fw_stop_cores(sim);
	fw_kick(sim);
}

/* Can both ends of a ring be read? */
static bool reachable(struct kiln_sim *sim, uint64_t addr, uint64_t bytes)
{
	const struct kiln_sim_host *host = sim->memory.host;
	uint8_t byte;

	return host->dma_read(sim->memory.opaque, addr, &byte, 1) &&
	       host->dma_read(sim->memory.opaque, addr + bytes - 1, &byte, 1);
}

static enum kiln_boot_error boot(struct kiln_sim *sim)
{
	struct fw_queue *q = &sim->queue[0];
	uint64_t bytes = sizeof(struct kiln_cmd) << (sim->admin_log2 & 31);
	uint32_t wanted = sim->drv_version;

	if (wanted >> 16 != KILN_FW_VERSION >> 16 || wanted > KILN_FW_VERSION) {
		fw_log(sim, KILN_SIM_LOG_ERROR,
		       "the driver needs firmware %u.%u, this card has %u.%u: %s",
		       wanted >> 16, wanted & 0xffff, KILN_FW_VERSION >> 16,
		       KILN_FW_VERSION & 0xffff,
		       wanted > KILN_FW_VERSION ? "update the card's simulator" :
						  "update the driver");
		return KILN_BOOT_VERSION;
	}
	if (sim->admin_log2 < KILN_RING_LOG2_MIN ||
	    sim->admin_log2 > KILN_RING_LOG2_MAX ||
	    ((sim->admin_sq | sim->admin_cq | sim->admin_ctl) &
	     (KILN_RING_ALIGN - 1)) ||
	    sim->admin_sq + bytes - 1 < sim->admin_sq ||
	    sim->admin_cq + bytes - 1 < sim->admin_cq) {
		fw_log(sim, KILN_SIM_LOG_GUEST_ERROR,
		       "admin ring: sq %#llx, cq %#llx, ctl %#llx, log2 %u",
		       (unsigned long long)sim->admin_sq,
		       (unsigned long long)sim->admin_cq,
		       (unsigned long long)sim->admin_ctl, sim->admin_log2);
		return KILN_BOOT_ADMIN_RING;
	}
	memset(q, 0, sizeof(*q));
	q->log2 = sim->admin_log2;
	q->sq = sim->admin_sq;
	q->cq = sim->admin_cq;
	q->ctl = sim->admin_ctl;
	if (!reachable(sim, q->sq, bytes) || !reachable(sim, q->cq, bytes) ||
	    !fw_ring_reset(sim, q)) {
		fw_log(sim, KILN_SIM_LOG_GUEST_ERROR,
		       "admin ring cannot be reached: is bus mastering on?");
		return KILN_BOOT_DMA;
	}
	q->state = FW_QUEUE_IDLE;
	return KILN_BOOT_OK;
}

static void enter(struct kiln_sim *sim, enum kiln_state state, enum kiln_boot_error error)
{
	sim->state = state;
	sim->error = error;
	sim->interrupts++;
	sim->memory.host->interrupt(sim->memory.opaque, 0);
}

void fw_boot(struct kiln_sim *sim)
{
	enum kiln_boot_error error;

	sim->boot_ns = fw_now(sim);
	sim->beat_ns = sim->boot_ns + FW_BEAT_NS;
	error = boot(sim);
	fw_log(sim, KILN_SIM_LOG_INFO, "firmware %u.%u, trn%u, %u cores: %s",
	       KILN_FW_VERSION >> 16, KILN_FW_VERSION & 0xffff, sim->config.generation,
	       sim->config.cores, error == KILN_BOOT_OK ? "ready" : "does not boot");
	if (error == KILN_BOOT_OK)
		fw_pend(sim, 0);
	enter(sim, error == KILN_BOOT_OK ? KILN_STATE_READY : KILN_STATE_FAILED,
	      error);
}

/* The firmware can not go on. Its last words say what the cores were at. */
void fw_crash(struct kiln_sim *sim, enum kiln_boot_error error, const char *format, ...)
{
	uint64_t now = fw_now(sim);
	char why[128];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	fw_log(sim, KILN_SIM_LOG_ERROR, "firmware stopped: %s", why);
	for (unsigned int i = 0; i < sim->config.cores; i++) {
		struct fw_core *c = &sim->core[i];
		uint64_t start = __atomic_load_n(&c->start_ns, __ATOMIC_RELAXED);

		if (c->state == FW_CORE_TAKEN)
			fw_log(sim, KILN_SIM_LOG_INFO,
			       "core %u: context %u, queue %u, program %#llx, command %#llx, for %llu ms",
			       i, c->context, c->queue,
			       (unsigned long long)c->cmd.exec.program,
			       (unsigned long long)c->cmd.cookie,
			       (unsigned long long)(start ? (now - start) / 1000000 : 0));
	}
	fw_stop_cores(sim);
	enter(sim, KILN_STATE_FAILED, error);
}

/* No core runs. Everything but HBM (and, if so wished, registers) as after power-on. */
void fw_reset(struct kiln_sim *sim, bool keep_registers)
{
	/* most queues were never used: leave their pages untouched */
	for (unsigned int i = 0; i < KILN_MAX_QUEUES; i++)
		if (sim->queue[i].state != FW_QUEUE_FREE)
			memset(&sim->queue[i], 0, sizeof(sim->queue[i]));
	for (unsigned int i = 0; i < KILN_MAX_CONTEXTS; i++)
		if (sim->context[i].used)
			memset(&sim->context[i], 0, sizeof(sim->context[i]));
	for (unsigned int i = 0; i < KILN_MAX_CORES; i++) {
		/* serials go on, so that a core knows what it has to scrub */
		struct fw_core clean = {
			.serial = sim->core[i].serial,
			.run = sim->core[i].run,
		};

		sim->core[i] = clean;
	}
	for (unsigned int i = 0; i < FW_WORDS; i++)
		__atomic_store_n(&sim->pending[i], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&sim->pending_words, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&sim->doorbells, 0, __ATOMIC_RELAXED);
	memset(sim->stalled, 0, sizeof(sim->stalled));
	memset(sim->ready_contexts, 0, sizeof(sim->ready_contexts));
	sim->stalled_count = 0;
	memset(sim->floor, 0, sizeof(sim->floor));
	sim->spent = sim->turns = 0;
	sim->promised = 0;
	sim->admin_used = 0;
	sim->admin_turn = 0;
	sim->turn = 0;
	sim->commands = sim->faults = sim->interrupts = 0;
	sim->heartbeat = 0;
	sim->boot_ns = sim->beat_ns = sim->poll_ns = 0;
	sim->halted = sim->paused = sim->off = sim->hung = false;
	sim->inject = 0;
	sim->ctrl = 0;
	sim->state = KILN_STATE_OFF;
	sim->error = KILN_BOOT_OK;
	if (keep_registers)
		return;
	sim->drv_version = 0;
	sim->admin_log2 = 0;
	sim->admin_sq = sim->admin_cq = sim->admin_ctl = 0;
}
