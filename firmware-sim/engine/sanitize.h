/* SPDX-License-Identifier: MIT */
/*
 * What silicon does not tell: accesses that nothing orders, reads of what
 * nobody wrote, engines that wait for each other for ever. docs/sanitizer.md
 *
 * The engine calls these when core->sanitizer is set, and carries on whatever
 * they find. All of its memory is given with it, and what does not fit is
 * counted.
 */
#ifndef KILN_ENGINE_SANITIZE_H
#define KILN_ENGINE_SANITIZE_H

#include "engine/core.h"
#include "kiln/isa.h"

struct stream;

/* Bytes of a core's sanitizer. */
size_t kiln_sanitize_size(void);

/*
 * Have a core watched, by a sanitizer in mem: kiln_sanitize_size() bytes,
 * zeroed, that stay where they are as seen from the core.
 */
void kiln_sanitize_attach(struct kiln_core *core, void *mem);

/* Who is told of each report, a line of text; NULL: the log of the card's owner. */
void kiln_sanitize_report_to(struct kiln_core *core,
			     void (*report)(void *opaque, const char *text), void *opaque);

/* A job begins; its memory was scrubbed; it ended so. */
void kiln_sanitize_start(struct kiln_core *core);
void kiln_sanitize_scrub(struct kiln_core *core);
void kiln_sanitize_end(struct kiln_core *core, enum kiln_status status,
		       enum kiln_engine engine);

/* An engine took the waits of an instruction, is about to carry it out, posts at that time. */
void kiln_sanitize_take(struct kiln_core *core, const struct stream *s,
			const struct kiln_sync wait[2]);
void kiln_sanitize_access(struct kiln_core *core, const struct stream *s,
			  const struct kiln_insn *insn);
void kiln_sanitize_post(struct kiln_core *core, const struct stream *s,
			const struct kiln_insn *insn, uint64_t time);

/*
 * What a job did to device memory, as patterns, in memory of fixed size: for
 * whoever compares jobs. The core's own is that of its last job.
 */
struct kiln_footprint;

struct kiln_footprint_race {
	char a[200], b[200];	/* "dma_copy of sync[3] writes dram 0x...-0x..." */
	uint64_t what;		/* the same for the same two instructions */
};

size_t kiln_footprint_size(void);
struct kiln_footprint *kiln_sanitize_footprint(struct kiln_core *core);

/* Do both touch a byte, one of them writing? The first such pair. */
bool kiln_footprint_race(const struct kiln_footprint *a, const struct kiln_footprint *b,
			 struct kiln_footprint_race *race);

#endif
