// SPDX-License-Identifier: MIT
#include <string.h>

#include "firmware/mmu.h"

#define SMALL	(1ull << KILN_PAGE_SHIFT)
#define LARGE	(1ull << KILN_LARGE_SHIFT)
#define VA_END	(1ull << KILN_VA_BITS)

/* Does a leaf lie where it says, and nothing else? */
static bool leaf_ok(const struct kiln_memory *memory, uint64_t pte, uint64_t size)
{
	uint64_t addr = pte & KILN_PTE_ADDR;

	if (pte & ~(KILN_PTE_ADDR | KILN_PTE_VALID | KILN_PTE_WRITE |
		    KILN_PTE_HOST | KILN_PTE_LARGE))
		return false;
	if (!(pte & KILN_PTE_LARGE) != (size == SMALL) || (addr & (size - 1)))
		return false;
	/* HBM is a multiple of the largest page: what starts in it, ends in it */
	return (pte & KILN_PTE_HOST) || addr < memory->hbm_bytes;
}

/* The leaf for va, 0 if there is none. Each entry is loaded once: the guest writes them. */
static uint64_t walk(const struct kiln_memory *memory, uint64_t root, uint64_t va)
{
	uint64_t table = root;

	if (va < SMALL || va >= VA_END)
		return 0;
	for (int level = KILN_PT_LEVELS - 1; level >= 0; level--) {
		unsigned int shift = KILN_PAGE_SHIFT + 9 * level;
		unsigned int index = va >> shift & (KILN_PT_ENTRIES - 1);
		uint64_t pte;

		if ((table & (SMALL - 1)) || table >= memory->hbm_bytes)
			return 0;
		pte = __atomic_load_n((uint64_t *)(memory->hbm + table) + index,
				      __ATOMIC_ACQUIRE);
		if (!(pte & KILN_PTE_VALID))
			return 0;
		if (level == 0 || (level == 1 && (pte & KILN_PTE_LARGE)))
			return leaf_ok(memory, pte, 1ull << shift) ? pte : 0;
		if (pte & ~(KILN_PTE_ADDR | KILN_PTE_VALID))
			return 0;
		table = pte & KILN_PTE_ADDR;
	}
	return 0;
}

uint64_t kiln_mmu_walk(const struct kiln_memory *memory, uint64_t root,
		       uint64_t va, bool write)
{
	uint64_t pte = walk(memory, root, va);

	return write && !(pte & KILN_PTE_WRITE) ? 0 : pte;
}

/* As kiln_mmu_walk(), through the TLB. */
static uint64_t lookup(struct kiln_mmu *mmu, uint64_t va, bool write)
{
	struct kiln_tlb_entry *small, *large, *entry;
	uint64_t pte;

	if (va >= VA_END)
		return 0;
	large = &mmu->large[(va >> KILN_LARGE_SHIFT) % KILN_TLB_ENTRIES];
	if (large->tag == (va >> KILN_LARGE_SHIFT) + 1 &&
	    (!write || (large->pte & KILN_PTE_WRITE)) && va >= SMALL)
		return large->pte;
	small = &mmu->small[(va >> KILN_PAGE_SHIFT) % KILN_TLB_ENTRIES];
	if (small->tag == (va >> KILN_PAGE_SHIFT) + 1 &&
	    (!write || (small->pte & KILN_PTE_WRITE)))
		return small->pte;

	/* A page that has become writable needs no flush, so look again. */
	pte = kiln_mmu_walk(mmu->memory, mmu->root, va, write);
	if (!pte)
		return 0;
	entry = pte & KILN_PTE_LARGE ? large : small;
	entry->tag = (va >> (pte & KILN_PTE_LARGE ? KILN_LARGE_SHIFT :
						    KILN_PAGE_SHIFT)) + 1;
	entry->pte = pte;
	return pte;
}

static void forget(struct kiln_mmu *mmu)
{
	memset(mmu->small, 0, sizeof(mmu->small));
	memset(mmu->large, 0, sizeof(mmu->large));
}

void kiln_mmu_attach(struct kiln_mmu *mmu, uint64_t root)
{
	uint64_t wanted = __atomic_load_n(&mmu->flush_wanted, __ATOMIC_ACQUIRE);

	mmu->root = root;
	forget(mmu);
	__atomic_store_n(&mmu->flush_seen, wanted, __ATOMIC_RELEASE);
}

void kiln_mmu_poll_flush(struct kiln_mmu *mmu)
{
	uint64_t wanted = __atomic_load_n(&mmu->flush_wanted, __ATOMIC_ACQUIRE);

	if (wanted == mmu->flush_seen)
		return;
	forget(mmu);
	__atomic_store_n(&mmu->flush_seen, wanted, __ATOMIC_RELEASE);
	/* the firmware has an admin command that waits for this */
	mmu->memory->host->kick(mmu->memory->opaque);
}

enum kiln_status kiln_mmu_translate(struct kiln_mmu *mmu, uint64_t va,
				    uint64_t bytes, bool write,
				    struct kiln_extent *extent,
				    uint64_t *fault_addr)
{
	uint64_t pte = lookup(mmu, va, write);
	uint64_t size, addr, run;

	if (!pte) {
		*fault_addr = va;
		return KILN_ST_PAGE_FAULT;
	}
	size = pte & KILN_PTE_LARGE ? LARGE : SMALL;
	addr = (pte & KILN_PTE_ADDR) + (va & (size - 1));
	run = size - (va & (size - 1));

	/*
	 * Go on as long as the next page lies behind this one. If it does not,
	 * or is not mapped, that is for the caller's next call to find out.
	 */
	while (run < bytes) {
		uint64_t next = lookup(mmu, va + run, write);

		if (!next || (next & KILN_PTE_HOST) != (pte & KILN_PTE_HOST) ||
		    (next & KILN_PTE_ADDR) != addr + run)
			break;
		run += next & KILN_PTE_LARGE ? LARGE : SMALL;
	}
	extent->hbm = pte & KILN_PTE_HOST ? NULL : mmu->memory->hbm + addr;
	extent->addr = addr;
	extent->bytes = run < bytes ? run : bytes;
	return KILN_ST_OK;
}

enum kiln_status kiln_mmu_read(struct kiln_mmu *mmu, uint64_t va, void *buf,
			       uint64_t bytes, uint64_t *fault_addr)
{
	const struct kiln_memory *memory = mmu->memory;
	struct kiln_extent extent;

	for (uint64_t done = 0; done < bytes; done += extent.bytes) {
		enum kiln_status status =
			kiln_mmu_translate(mmu, va + done, bytes - done, false,
					   &extent, fault_addr);

		if (status != KILN_ST_OK)
			return status;
		if (extent.hbm) {
			memcpy((uint8_t *)buf + done, extent.hbm, extent.bytes);
		} else if (!memory->host->dma_read(memory->opaque, extent.addr,
						   (uint8_t *)buf + done,
						   extent.bytes)) {
			*fault_addr = va + done;
			return KILN_ST_BUS;
		}
	}
	return KILN_ST_OK;
}

bool kiln_mmu_same(struct kiln_mmu *mmu, uint64_t va, const void *buf, uint64_t bytes)
{
	struct kiln_extent extent;
	uint64_t fault_addr;

	for (uint64_t done = 0; done < bytes; done += extent.bytes) {
		if (kiln_mmu_translate(mmu, va + done, bytes - done, false, &extent,
				       &fault_addr) != KILN_ST_OK || !extent.hbm ||
		    memcmp((const uint8_t *)buf + done, extent.hbm, extent.bytes))
			return false;
	}
	return true;
}

enum kiln_status kiln_mmu_write(struct kiln_mmu *mmu, uint64_t va,
				const void *buf, uint64_t bytes,
				uint64_t *fault_addr)
{
	const struct kiln_memory *memory = mmu->memory;
	struct kiln_extent extent;

	for (uint64_t done = 0; done < bytes; done += extent.bytes) {
		enum kiln_status status =
			kiln_mmu_translate(mmu, va + done, bytes - done, true,
					   &extent, fault_addr);

		if (status != KILN_ST_OK)
			return status;
		if (extent.hbm) {
			memcpy(extent.hbm, (const uint8_t *)buf + done, extent.bytes);
			kiln_memory_written(memory, extent.hbm, extent.bytes);
		} else if (!memory->host->dma_write(memory->opaque, extent.addr,
						    (const uint8_t *)buf + done,
						    extent.bytes)) {
			*fault_addr = va + done;
			return KILN_ST_BUS;
		}
	}
	return KILN_ST_OK;
}
