// SPDX-License-Identifier: MIT
/* Counters, and words for the card's owner. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "firmware/firmware.h"

void fw_stats(struct kiln_sim *sim, struct kiln_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->uptime_ns = fw_now(sim) - sim->boot_ns;
	stats->commands = sim->commands;
	stats->faults = sim->faults;
	stats->doorbells = __atomic_load_n(&sim->doorbells, __ATOMIC_RELAXED);
	stats->interrupts = sim->interrupts;
	for (unsigned int i = 0; i < sim->config.cores; i++) {
		stats->core[i].busy_ns = sim->core[i].busy_ns;
		stats->core[i].cycles = sim->core[i].cycles;
		stats->core[i].commands = sim->core[i].commands;
	}
}

void fw_log(struct kiln_sim *sim, enum kiln_sim_log_level level,
	    const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	sim->memory.host->log(sim->memory.opaque, level, text);
}
