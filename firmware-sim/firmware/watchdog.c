// SPDX-License-Identifier: MIT
/* What depends on the clock: limits, heartbeat, second looks. */
#include "firmware/firmware.h"

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When the command on this core is over its limit, or should have stopped; UINT64_MAX: never. */
static uint64_t due(struct fw_core *c, uint64_t now)
{
	uint64_t start = __atomic_load_n(&c->start_ns, __ATOMIC_RELAXED);

	if (c->state == FW_CORE_FREE)
		return UINT64_MAX;
	if (c->timed_out)
		return c->timeout_ns + FW_STUCK_NS;
	return (start ? start : now) + c->limit_ns;
}

void fw_watchdog_tick(struct kiln_sim *sim)
{
	uint64_t now = fw_now(sim);
	bool kick = false;

	for (unsigned int i = 0; i < sim->config.cores; i++) {
		struct fw_core *c = &sim->core[i];

		if (due(c, now) > now)
			continue;
		if (c->timed_out) {
			/* Its memory is in use until it stops, so nobody can be told anything. */
			fw_crash(sim, KILN_BOOT_STUCK, "core %u does not stop", i);
			return;
		}
		c->timed_out = true;
		c->timeout_ns = now;
		kiln_core_abort(fw_core_engine(sim, i), KILN_ST_TIMEOUT);
	}
	if (now >= sim->beat_ns) {
		sim->heartbeat++;
		sim->beat_ns = now + FW_BEAT_NS;
	}
	/*
	 * Timelines can also be written by the CPU or by another context, and
	 * cq_head rings no bell: look at whoever waits for those. The more they
	 * are, the less often.
	 */
	if ((sim->stalled_count || sim->admin_used) && now >= sim->poll_ns) {
		sim->poll_ns = now + FW_POLL_NS * (1 + sim->stalled_count / 64);
		for (unsigned int i = 0; i < FW_WORDS && sim->stalled_count; i++) {
			for (uint64_t bits = sim->stalled[i]; bits; bits &= bits - 1)
				fw_pend(sim, i * 64 + __builtin_ctzll(bits));
		}
		kick = true;
	}
	if (kick)
		fw_kick(sim);
}

uint64_t fw_watchdog_deadline(struct kiln_sim *sim)
{
	uint64_t now = fw_now(sim), when = sim->beat_ns;

	for (unsigned int i = 0; i < sim->config.cores; i++)
		when = sooner(when, due(&sim->core[i], now));
	if (sim->stalled_count || sim->admin_used)
		when = sooner(when, sim->poll_ns);
	return when;
}
