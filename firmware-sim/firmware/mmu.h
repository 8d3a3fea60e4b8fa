/* SPDX-License-Identifier: MIT */
/*
 * Device addresses: the walk of a context's page tables and the TLB in front
 * of it. Every access that a program or the firmware makes on behalf of a
 * context goes through here.
 *
 * One struct kiln_mmu belongs to one core (and one to the firmware), so the
 * TLB needs no lock. Page tables are guest memory: each entry is loaded once
 * and checked after the load.
 */
#ifndef KILN_FIRMWARE_MMU_H
#define KILN_FIRMWARE_MMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kiln/hw.h"
#include "kiln_sim.h"

/* What all cores share: the memories behind the translations. */
struct kiln_memory {
	uint8_t *hbm;
	uint64_t hbm_bytes;
	const struct kiln_sim_host *host;
	void *opaque;
	uint64_t *fresh;	/* for fresh.c; NULL: nobody wants to know */
	bool tracked;		/* kiln_sim_track(); changes while no core runs */
};

/*
 * fresh.c, where memory->fresh is set: bytes of it for so much HBM; from now on
 * nobody, or somebody, has written [offset, offset + bytes); is there a byte
 * that nobody has, and which is the first?
 */
size_t kiln_fresh_size(uint64_t hbm_bytes);
void kiln_fresh_set(const struct kiln_memory *memory, uint64_t offset, uint64_t bytes, bool fresh);
bool kiln_fresh_find(const struct kiln_memory *memory, uint64_t offset, uint64_t bytes,
		     uint64_t *first);

/* Something has been written to these bytes of HBM. */
static inline void kiln_memory_written(const struct kiln_memory *memory, const void *at,
				       uint64_t bytes)
{
	if (__builtin_expect(memory->tracked, false))
		memory->host->written(memory->opaque, (const uint8_t *)at - memory->hbm, bytes);
}

#define KILN_TLB_ENTRIES 256

struct kiln_tlb_entry {
	uint64_t tag;		/* page number in units of its size, + 1; 0: empty */
	uint64_t pte;
};

struct kiln_mmu {
	const struct kiln_memory *memory;
	uint64_t root;		/* HBM offset of the top table */
	/*
	 * Flushes: firmware raises wanted, the owner drops its TLB and sets
	 * seen = wanted at its next access. Both are accessed atomically.
	 */
	uint64_t flush_wanted;
	uint64_t flush_seen;
	struct kiln_tlb_entry small[KILN_TLB_ENTRIES];
	struct kiln_tlb_entry large[KILN_TLB_ENTRIES];
};

/* Where a run of device addresses lies. */
struct kiln_extent {
	uint8_t *hbm;		/* direct pointer, or NULL: in host memory at addr */
	uint64_t addr;
	uint64_t bytes;		/* of the run: at least 1, at most what was asked for */
};

/* Point at another context's tables and forget everything cached. */
void kiln_mmu_attach(struct kiln_mmu *mmu, uint64_t root);

/*
 * Take part in a pending flush. The owner calls it where it holds no extent:
 * before each DMA instruction, and now and then in a loop that has none.
 */
void kiln_mmu_poll_flush(struct kiln_mmu *mmu);

/* Is one pending? For an owner that has something to do before it takes part. */
static inline bool kiln_mmu_flush_wanted(const struct kiln_mmu *mmu)
{
	return __atomic_load_n(&mmu->flush_wanted, __ATOMIC_ACQUIRE) != mmu->flush_seen;
}

/* KILN_ST_OK, or KILN_ST_PAGE_FAULT with *fault_addr the first address that failed. */
enum kiln_status kiln_mmu_translate(struct kiln_mmu *mmu, uint64_t va,
				    uint64_t bytes, bool write,
				    struct kiln_extent *extent,
				    uint64_t *fault_addr);

/* The leaf entry for va in the tables at root, past any TLB; 0: none that allows it. */
uint64_t kiln_mmu_walk(const struct kiln_memory *memory, uint64_t root,
		       uint64_t va, bool write);

/* Copy in or out. As above, or KILN_ST_BUS. May have copied a part before it fails. */
enum kiln_status kiln_mmu_read(struct kiln_mmu *mmu, uint64_t va, void *buf,
			       uint64_t bytes, uint64_t *fault_addr);
/* Are these bytes there, all of them in HBM? */
bool kiln_mmu_same(struct kiln_mmu *mmu, uint64_t va, const void *buf, uint64_t bytes);
enum kiln_status kiln_mmu_write(struct kiln_mmu *mmu, uint64_t va,
				const void *buf, uint64_t bytes,
				uint64_t *fault_addr);

#endif
