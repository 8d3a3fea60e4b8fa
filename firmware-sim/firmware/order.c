// SPDX-License-Identifier: MIT
/*
 * The sanitizer between commands: two of one context, of different queues, that
 * touch the same device memory, one of them writing, and nothing orders them.
 *
 * What orders: being of one queue; a signal that the later one waits for; that
 * the later one was submitted after the earlier one had completed, so the host
 * may have waited for it; and whatever these come to one after the other. For
 * each command that has ended there is a bit: what a queue, a signal or a later
 * command knows of. A value that no command signalled was the host's, who may
 * know of all.
 *
 * Everything is of fixed size: the last COMMANDS of them are compared with, and
 * what a command touched is kept in so many patterns. What does not fit may
 * hide a race, it never makes one up.
 */
#include <stdio.h>
#include <string.h>

#include "engine/sanitize.h"
#include "firmware/firmware.h"

#define COMMANDS	64
#define SIGNALS		64
#define QUEUES		32	/* of a context, that a command's end is compared with */
#define RACES		32	/* that are told, of each card */
#define ALL		UINT64_MAX

struct ended {
	uint64_t serial;		/* of its context */
	uint64_t knows;
	uint16_t queue;
	/* What stood in the context's queues when it ended. */
	struct {
		uint16_t queue;
		uint32_t tail;
	} seen[QUEUES];
	uint32_t seen_count;
};

struct fw_order {
	uint64_t knows[KILN_MAX_QUEUES];
	uint64_t running[KILN_MAX_CORES];
	struct {
		uint64_t serial, addr, knows;
	} signal[SIGNALS];
	uint32_t next_signal;
	struct ended ended[COMMANDS];
	uint32_t next;
	uint32_t told;
	uint64_t what[RACES];
	/* COMMANDS footprints follow */
};

static struct kiln_footprint *footprint(struct fw_order *o, unsigned int i)
{
	return (struct kiln_footprint *)((uint8_t *)(o + 1) + i * kiln_footprint_size());
}

size_t fw_order_size(void)
{
	return (sizeof(struct fw_order) + COMMANDS * kiln_footprint_size() + 4095) & ~(size_t)4095;
}

/* Another queue takes the number: nobody has seen it. */
void fw_order_queue(struct kiln_sim *sim, unsigned int queue)
{
	struct fw_order *o = fw_order(sim);

	if (!o)
		return;
	o->knows[queue] = ALL;
	for (unsigned int i = 0; i < COMMANDS; i++) {
		struct ended *e = &o->ended[i];

		for (unsigned int j = 0; j < e->seen_count; j++)
			if (e->seen[j].queue == queue)
				e->seen[j].tail = 0;
		if (e->queue == queue)
			e->serial = 0;
	}
}

/* Was entry index of the queue submitted after this command had ended? */
static bool came_later(const struct ended *e, unsigned int queue, uint32_t index)
{
	for (unsigned int i = 0; i < e->seen_count; i++)
		if (e->seen[i].queue == queue)
			return (int32_t)(index - e->seen[i].tail) >= 0;
	return true;
}

/* The queue's entry index, with its wait satisfied, is about to go on. */
void fw_order_pass(struct kiln_sim *sim, struct fw_queue *q, uint32_t index,
		   const struct kiln_cmd *cmd)
{
	struct fw_order *o = fw_order(sim);
	unsigned int id = fw_queue_id(sim, q), i;
	uint64_t serial = sim->context[q->context].serial;

	if (!o)
		return;
	for (i = 0; i < COMMANDS; i++)
		if (came_later(&o->ended[i], id, index))
			o->knows[id] |= 1ull << i | o->ended[i].knows;
	if (!cmd->exec.wait_addr)
		return;
	for (i = 0; i < SIGNALS; i++)
		if (o->signal[i].serial == serial && o->signal[i].addr == cmd->exec.wait_addr)
			break;
	o->knows[id] |= i < SIGNALS ? o->signal[i].knows : ALL;
}

void fw_order_start(struct kiln_sim *sim, struct fw_queue *q, unsigned int core, uint32_t index)
{
	struct fw_order *o = fw_order(sim);

	fw_order_pass(sim, q, index, &sim->core[core].cmd);
	if (o)
		o->running[core] = o->knows[fw_queue_id(sim, q)];
}

/* A command of this queue is about to store its signal. */
void fw_order_signal(struct kiln_sim *sim, unsigned int queue, const struct kiln_cmd *cmd)
{
	struct fw_order *o = fw_order(sim);
	uint64_t serial = sim->context[sim->queue[queue].context].serial;
	unsigned int i;

	if (!o || !cmd->exec.signal_addr)
		return;
	for (i = 0; i < SIGNALS; i++)
		if (o->signal[i].serial == serial && o->signal[i].addr == cmd->exec.signal_addr)
			break;
	if (i == SIGNALS) {	/* a forgotten one counts as the host's */
		i = o->next_signal++ % SIGNALS;
		o->signal[i].knows = 0;
	}
	o->signal[i].serial = serial;
	o->signal[i].addr = cmd->exec.signal_addr;
	o->signal[i].knows |= o->knows[queue];
}

/* A place for one more that has ended; nobody knows of the one that was there. */
static unsigned int take(struct fw_order *o)
{
	unsigned int i, place = o->next++ % COMMANDS;
	uint64_t others = ~(1ull << place);

	for (i = 0; i < KILN_MAX_QUEUES; i++)
		o->knows[i] &= others;
	for (i = 0; i < KILN_MAX_CORES; i++)
		o->running[i] &= others;
	for (i = 0; i < SIGNALS; i++)
		o->signal[i].knows &= others;
	for (i = 0; i < COMMANDS; i++)
		o->ended[i].knows &= others;
	return place;
}

static bool first_time(struct fw_order *o, uint64_t what)
{
	for (unsigned int i = 0; i < o->told; i++)
		if (o->what[i] == what)
			return false;
	if (o->told == RACES)
		return false;
	o->what[o->told++] = what;
	return true;
}

/* The command on this core has run; its signal and its completion are still to come. */
void fw_order_end(struct kiln_sim *sim, unsigned int core)
{
	struct fw_order *o = fw_order(sim);
	struct fw_core *c = &sim->core[core];
	const struct fw_context *ctx = &sim->context[c->context];
	struct kiln_footprint *mine;
	unsigned int place;
	struct ended *e;

	if (!o)
		return;
	mine = kiln_sanitize_footprint(fw_core_engine(sim, core));
	for (unsigned int i = 0; i < COMMANDS; i++) {
		struct kiln_footprint_race race;
		char text[600];

		if (o->ended[i].serial != ctx->serial || o->ended[i].queue == c->queue ||
		    o->running[core] & 1ull << i ||
		    !kiln_footprint_race(mine, footprint(o, i), &race) || !first_time(o, race.what))
			continue;
		snprintf(text, sizeof(text), "sanitizer: race: a command of queue %u, %s, nothing orders it with one of queue %u, %s%s",
			 c->queue, race.a, o->ended[i].queue, race.b,
			 o->told == RACES ? "; no more races between commands are told" : "");
		if (sim->memory.host->log)
			sim->memory.host->log(sim->memory.opaque, KILN_SIM_LOG_SANITIZER, text);
	}
	place = take(o);
	e = &o->ended[place];
	memset(e, 0, sizeof(*e));
	e->serial = ctx->serial;
	e->queue = c->queue;
	e->knows = o->running[core];
	memcpy(footprint(o, place), mine, kiln_footprint_size());
	for (unsigned int id = ctx->queues; id && e->seen_count < QUEUES; id = sim->queue[id].sib_next) {
		uint32_t tail;

		if (sim->queue[id].broken || !fw_ring_tail(sim, &sim->queue[id], &tail))
			continue;
		e->seen[e->seen_count].queue = id;
		e->seen[e->seen_count++].tail = tail;
	}
	o->knows[c->queue] |= 1ull << place;
}
