// SPDX-License-Identifier: MIT
/*
 * Timelines: u64s in a context's memory that commands wait for and signal.
 * The firmware looks at them rarely and for many contexts, so it walks the
 * page tables each time and has no TLB that would need flushing.
 */
#include "firmware/firmware.h"

#define PAGE_MASK(pte) \
	(((pte) & KILN_PTE_LARGE ? 1ull << KILN_LARGE_SHIFT : \
				   1ull << KILN_PAGE_SHIFT) - 1)

/* va is 8-byte aligned, so the value lies in one page. */
enum kiln_status fw_timeline_load(struct kiln_sim *sim, uint64_t root,
				  uint64_t va, uint64_t *value)
{
	struct kiln_memory *memory = &sim->memory;
	uint64_t pte = kiln_mmu_walk(memory, root, va, false);
	uint64_t addr = (pte & KILN_PTE_ADDR) + (va & PAGE_MASK(pte));

	if (!pte)
		return KILN_ST_PAGE_FAULT;
	if (pte & KILN_PTE_HOST)
		return memory->host->load64(memory->opaque, addr, value) ?
			       KILN_ST_OK : KILN_ST_BUS;
	*value = __atomic_load_n((uint64_t *)(memory->hbm + addr), __ATOMIC_ACQUIRE);
	return KILN_ST_OK;
}

enum kiln_status fw_timeline_store(struct kiln_sim *sim, uint64_t root,
				   uint64_t va, uint64_t value)
{
	struct kiln_memory *memory = &sim->memory;
	uint64_t pte = kiln_mmu_walk(memory, root, va, true);
	uint64_t addr = (pte & KILN_PTE_ADDR) + (va & PAGE_MASK(pte));

	if (!pte)
		return KILN_ST_PAGE_FAULT;
	if (pte & KILN_PTE_HOST)
		return memory->host->store64(memory->opaque, addr, value) ?
			       KILN_ST_OK : KILN_ST_BUS;
	if (memory->fresh)
		kiln_fresh_set(memory, addr, sizeof(value), false);
	__atomic_store_n((uint64_t *)(memory->hbm + addr), value, __ATOMIC_RELEASE);
	kiln_memory_written(memory, memory->hbm + addr, sizeof(value));
	return KILN_ST_OK;
}
