// SPDX-License-Identifier: MIT
/* The simulated card's HBM: who has which part, and the page tables in it. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "sim.h"

int sim_hbm_alloc(struct sim_device *dev, uint64_t bytes, uint64_t align, uint64_t *offset)
{
	return kiln_va_alloc(&dev->memory, bytes, align, offset);
}

void sim_hbm_free(struct sim_device *dev, uint64_t offset, uint64_t bytes)
{
	/* Whoever gets it next finds zeroes, and until then it costs nothing. */
	madvise(dev->hbm + offset, bytes, MADV_DONTNEED);
	kiln_va_free(&dev->memory, offset, bytes);
}

/* The entry for va in the last level, or with large in the one before; NULL: no room for a table. */
static uint64_t *entry(struct sim_device *dev, uint64_t va, bool large, bool make)
{
	uint64_t table = dev->root, *pte, next;

	for (int shift = 39;; shift -= 9) {
		pte = (uint64_t *)(dev->hbm + table) + ((va >> shift) % KILN_PT_ENTRIES);
		if (shift == (large ? KILN_LARGE_SHIFT : KILN_PAGE_SHIFT))
			return pte;
		if (!(*pte & KILN_PTE_VALID)) {
			if (!make || sim_hbm_alloc(dev, KILN_PAGE, KILN_PAGE, &next))
				return NULL;
			__atomic_store_n(pte, next | KILN_PTE_VALID, __ATOMIC_RELEASE);
		} else if (*pte & KILN_PTE_LARGE) {
			return pte;
		}
		table = *pte & KILN_PTE_ADDR;
	}
}

/* Tables stay once they are there: device addresses are used again. */
static bool empty(const uint64_t *table)
{
	for (int i = 0; i < KILN_PT_ENTRIES; i++)
		if (table[i])
			return false;
	return true;
}

int sim_pages_map(struct sim_device *dev, uint64_t va, uint64_t addr, uint64_t bytes,
		  uint64_t flags)
{
	uint64_t done = 0;

	while (done < bytes) {
		bool large = !((va + done) % KILN_LARGE_PAGE) &&
			     !((addr + done) % KILN_LARGE_PAGE) &&
			     bytes - done >= KILN_LARGE_PAGE;
		uint64_t *pte = entry(dev, va + done, large, true);

		if (large && pte && *pte & KILN_PTE_VALID) {
			/* A table of small pages from an earlier buffer stands here. */
			uint64_t table = *pte & KILN_PTE_ADDR;

			if (empty((uint64_t *)(dev->hbm + table))) {
				__atomic_store_n(pte, 0, __ATOMIC_RELEASE);
				sim_hbm_free(dev, table, KILN_PAGE);
			} else {
				large = false;
				pte = entry(dev, va + done, false, true);
			}
		}
		if (!pte) {
			sim_pages_unmap(dev, va, done);
			return -ENOMEM;
		}
		__atomic_store_n(pte, (addr + done) | flags | KILN_PTE_VALID |
				 (large ? KILN_PTE_LARGE : 0), __ATOMIC_RELEASE);
		done += large ? KILN_LARGE_PAGE : KILN_PAGE;
	}
	return 0;
}

void sim_pages_unmap(struct sim_device *dev, uint64_t va, uint64_t bytes)
{
	uint64_t done = 0;

	while (done < bytes) {
		uint64_t *pte = entry(dev, va + done, false, false);

		done += *pte & KILN_PTE_LARGE ? KILN_LARGE_PAGE : KILN_PAGE;
		__atomic_store_n(pte, 0, __ATOMIC_RELEASE);
	}
}
