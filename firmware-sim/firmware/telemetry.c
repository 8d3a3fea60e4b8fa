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

static void log_put(struct kiln_sim *sim, const char *text)
{
	for (; *text; text++)
		sim->log[sim->log_head++ % KILN_LOG_BYTES] = *text;
}

/* To the card's owner, and into the log that the driver can read. */
void fw_log(struct kiln_sim *sim, enum kiln_sim_log_level level,
	    const char *format, ...)
{
	uint64_t us = sim->boot_ns ? (fw_now(sim) - sim->boot_ns) / 1000 : 0;
	char text[256], stamp[32];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	sim->memory.host->log(sim->memory.opaque, level, text);

	snprintf(stamp, sizeof(stamp), "[%5llu.%06llu] ", (unsigned long long)us / 1000000,
		 (unsigned long long)us % 1000000);
	log_put(sim, stamp);
	log_put(sim, text);
	log_put(sim, "\n");
}

/* A register of the log's window. */
uint32_t fw_log_word(struct kiln_sim *sim, uint64_t offset)
{
	uint32_t word;

	memcpy(&word, sim->log + (offset & ~3ull), sizeof(word));
	return word;
}
