// SPDX-License-Identifier: MIT
/*
 * The sanitizer in HBM: what nobody has written since it was handed out. Only
 * who hands it out can say when that was; what it has not told of counts as
 * written. A piece of GRAIN bytes of which any is written is.
 */
#include "firmware/mmu.h"
#include "kiln_sim.h"

#define GRAIN	16
#define WORD	(64 * GRAIN)		/* bytes of a word's bits */
#define PAGE	(1ull << KILN_PAGE_SHIFT)

size_t kiln_fresh_size(uint64_t hbm_bytes)
{
	return hbm_bytes / WORD * sizeof(uint64_t);
}

/* The bits of a word that stand for any byte of [offset, end). */
static uint64_t bits_of(uint64_t word, uint64_t offset, uint64_t end)
{
	uint64_t lo = offset > word * WORD ? (offset - word * WORD) / GRAIN : 0;
	uint64_t hi = end < (word + 1) * WORD ? (end - word * WORD + GRAIN - 1) / GRAIN : 64;

	return ~0ull << lo & ~0ull >> (64 - hi);
}

void kiln_fresh_set(const struct kiln_memory *memory, uint64_t offset, uint64_t bytes, bool fresh)
{
	uint64_t end = offset + bytes;

	for (uint64_t w = offset / WORD; w * WORD < end; w++) {
		uint64_t bits = bits_of(w, offset, end);

		/* Most is not fresh, and cores share the words: look before writing. */
		if (fresh)
			__atomic_fetch_or(&memory->fresh[w], bits, __ATOMIC_RELAXED);
		else if (__atomic_load_n(&memory->fresh[w], __ATOMIC_RELAXED) & bits)
			__atomic_fetch_and(&memory->fresh[w], ~bits, __ATOMIC_RELAXED);
	}
}

bool kiln_fresh_find(const struct kiln_memory *memory, uint64_t offset, uint64_t bytes,
		     uint64_t *first)
{
	uint64_t end = offset + bytes;

	for (uint64_t w = offset / WORD; w * WORD < end; w++) {
		uint64_t bits = __atomic_load_n(&memory->fresh[w], __ATOMIC_RELAXED) &
				bits_of(w, offset, end);
		uint64_t page = w * WORD & ~(PAGE - 1);

		if (!bits)
			continue;
		if (memory->host->touched && memory->host->touched(memory->opaque, page)) {
			kiln_fresh_set(memory, page, PAGE, false);
			continue;
		}
		*first = w * WORD + (uint64_t)__builtin_ctzll(bits) * GRAIN;
		if (*first < offset)
			*first = offset;
		return true;
	}
	return false;
}
