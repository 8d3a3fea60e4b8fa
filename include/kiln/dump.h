/* SPDX-License-Identifier: MIT */
/*
 * What the driver leaves of a fault or a reset, in /sys/class/devcoredump:
 * written by kiln.ko, read by kiln decode-dump.
 *
 * A header, then sections, each a struct kiln_dump_section with its content
 * behind it, padded to 8 bytes. Little endian. A reader skips the types that it
 * does not know and takes as much of a section as it knows and finds.
 */
#ifndef KILN_DUMP_H
#define KILN_DUMP_H

#include "hw.h"

#define KILN_DUMP_MAGIC		0x504d55444e4c494bull	/* "KILNDUMP" */
#define KILN_DUMP_VERSION	1

struct kiln_dump_header {
	uint64_t magic;
	uint32_t version;
	uint32_t sections;
	uint64_t bytes;			/* of the whole */
	uint64_t time_ns;		/* since the machine's boot */
	uint32_t generation;
	uint32_t cores;
	uint32_t hw_version;
	uint32_t fw_version;
	char reason[64];		/* text, with a 0 at its end */
};

enum kiln_dump_type {
	KILN_DUMP_REGISTERS	= 1,	/* struct kiln_dump_register[] */
	KILN_DUMP_LOG		= 2,	/* the firmware's, text */
	KILN_DUMP_FAULT		= 3,	/* struct kiln_dump_fault */
	KILN_DUMP_CTL		= 4,	/* struct kiln_ring_ctl; addr: queue */
	KILN_DUMP_SQ		= 5,	/* struct kiln_cmd[]; addr: index of the first */
	KILN_DUMP_CQ		= 6,	/* struct kiln_completion[]; addr: index of the first */
	KILN_DUMP_WALK		= 7,	/* uint64_t[]: a page table entry a level; addr: of what */
	KILN_DUMP_PROGRAM	= 8,	/* addr: device address */
	KILN_DUMP_ARGS		= 9,	/* addr: device address */
};

struct kiln_dump_section {
	uint32_t type;			/* enum kiln_dump_type */
	uint32_t reserved;
	uint64_t addr;			/* what it is the address of: see the type */
	uint64_t bytes;			/* that follow, without the padding */
};

struct kiln_dump_register {
	uint32_t offset;
	uint32_t value;
};

/* The command that stopped its context. */
struct kiln_dump_fault {
	struct kiln_completion completion;
	struct kiln_cmd command;	/* zero: its entry was not in the ring any more */
	uint32_t context;
	uint32_t queue;
	uint32_t pid;			/* of the process that made the context */
	uint32_t reserved;
};

#endif
