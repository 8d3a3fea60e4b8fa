/* SPDX-License-Identifier: GPL-2.0-only */
/* What is left of a fault or a reset for people to look at: kiln/dump.h, in devcoredump. */
#ifndef KILN_DEVCOREDUMP_H
#define KILN_DEVCOREDUMP_H

#include <linux/types.h>
#include <linux/workqueue.h>

#include <kiln/dump.h>

struct kiln_device;
struct kiln_queue;
struct kiln_vm;

#define KILN_DUMP_ENTRIES	16
#define KILN_DUMP_NUM_REGS	24

/**
 * struct kiln_devcoredump - what was taken down at the moment itself
 *
 * Allocated beforehand: it is filled in interrupts, and on the way to signal
 * fences. A work adds what takes time, and makes the file.
 */
struct kiln_devcoredump {
	/** @kdev: the card. */
	struct kiln_device *kdev;
	/** @busy: bit 0: it is being filled, or waits for @work. */
	unsigned long busy;
	/** @work: makes the file. */
	struct work_struct work;
	/** @next: jiffies; no fault is dumped before. */
	unsigned long next;
	/** @reason: text. */
	char reason[sizeof_field(struct kiln_dump_header, reason)];
	/** @has_card: @regs and @log are of the moment; else @work reads them. */
	bool has_card;
	/** @regs: all but the log. */
	struct kiln_dump_register regs[KILN_DUMP_NUM_REGS];
	/** @log_bytes: in @log. */
	u32 log_bytes;
	/** @log: end of the firmware's. */
	u8 log[KILN_LOG_BYTES];
	/** @vm: of the fault, referenced; NULL: there is none, nor what follows. */
	struct kiln_vm *vm;
	/** @fault: the command. */
	struct kiln_dump_fault fault;
	/** @ctl: its queue's indices. */
	struct kiln_ring_ctl ctl;
	/** @sq_first: index of the first entry in @sq. */
	u32 sq_first;
	/** @cq_first: index of the first entry in @cq. */
	u32 cq_first;
	/** @sq: entries around the one that the card copies out next. */
	struct kiln_cmd sq[KILN_DUMP_ENTRIES];
	/** @cq: last completions. */
	struct kiln_completion cq[KILN_DUMP_ENTRIES];
};

int kiln_devcoredump_init(struct kiln_device *kdev);
void kiln_devcoredump_fini(struct kiln_device *kdev);
void kiln_devcoredump_fault(struct kiln_queue *queue, const struct kiln_completion *completion);
void kiln_devcoredump_reset(struct kiln_device *kdev, const char *why);

#endif
