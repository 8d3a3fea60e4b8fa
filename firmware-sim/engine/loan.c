// SPDX-License-Identifier: MIT
/*
 * Tiles that DMA owes: what struct loan says.
 */
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "engine/state.h"

#define NEAR	(8u << 20)	/* bytes: what has been lent of late is still in the host's caches */

static bool touches(const struct loan *loan, const struct tile *tile)
{
	return tile->lo < loan->hi && tile->hi > loan->lo &&
	       tile->partition < loan->partition + loan->partitions &&
	       tile->partition + tile->partitions > loan->partition;
}

/* Every byte of the inner rectangle is in the outer one. */
static bool within(uint32_t lo, uint32_t hi, uint32_t partition, uint32_t partitions,
		   uint32_t outer_lo, uint32_t outer_hi, uint32_t outer_partition,
		   uint32_t outer_partitions)
{
	return lo >= outer_lo && hi <= outer_hi && partition >= outer_partition &&
	       partition + partitions <= outer_partition + outer_partitions;
}

static void end(struct kiln_core *core, struct loan *loan)
{
	*loan = core->loan[--core->loans];
}

/* Past the host's caches, if the host can do that. */
static void copy_past(uint8_t *dst, const uint8_t *src, size_t bytes)
{
#ifdef __SSE2__
	for (; bytes >= sizeof(__m128i) && !((uintptr_t)dst % sizeof(__m128i));
	     bytes -= sizeof(__m128i), dst += sizeof(__m128i), src += sizeof(__m128i))
		_mm_stream_si128((__m128i *)dst, _mm_loadu_si128((const __m128i *)src));
#endif
	memcpy(dst, src, bytes);
}

/* near: source and destination are in the caches, or will be wanted there. */
static void pay(struct kiln_core *core, const struct loan *loan, bool near)
{
	uint8_t *dst = (uint8_t *)core + core->sbuf + loan->lo +
		       (size_t)loan->partition * core->sbuf_pitch;
	uint32_t bytes = loan->hi - loan->lo;

	if (near) {
		kiln_copy_rows(dst, core->sbuf_pitch, loan->src, loan->pitch,
			       loan->partitions, bytes);
		return;
	}
	for (uint32_t p = 0; p < loan->partitions; p++)
		copy_past(dst + p * core->sbuf_pitch, loan->src + p * loan->pitch, bytes);
#ifdef __SSE2__
	_mm_sfence();
#endif
}

void kiln_loan_settle(struct kiln_core *core, const struct tile *tile)
{
	if (tile && tile->space != KILN_SBUF)
		return;
	for (uint32_t i = core->loans; i-- > 0;) {
		struct loan *loan = &core->loan[i];

		if (tile && !touches(loan, tile))
			continue;
		pay(core, loan, tile || core->lent < NEAR);
		end(core, loan);
	}
}

void kiln_loan_settle_source(struct kiln_core *core, uint64_t lo, uint64_t hi)
{
	for (uint32_t i = core->loans; i-- > 0;) {
		struct loan *loan = &core->loan[i];

		/* Across the end of the addresses: whatever it is, pay. */
		if (lo < hi && (hi <= loan->va || lo >= loan->va_end))
			continue;
		pay(core, loan, core->lent < NEAR);
		end(core, loan);
	}
}

void kiln_loan_drop(struct kiln_core *core, const struct tile *tile)
{
	for (uint32_t i = core->loans; i-- > 0;) {
		struct loan *loan = &core->loan[i];

		/* Some of its partitions: whoever settles pays. */
		if (!touches(loan, tile) || tile->partition > loan->partition ||
		    tile->partition + tile->partitions < loan->partition + loan->partitions)
			continue;
		if (tile->lo <= loan->lo && tile->hi >= loan->hi) {
			end(core, loan);
		} else if (tile->lo <= loan->lo) {
			loan->src += tile->hi - loan->lo;
			loan->lo = tile->hi;
		} else if (tile->hi >= loan->hi) {
			loan->hi = tile->lo;
		}
	}
}

void kiln_loan_take(struct kiln_core *core, const struct tile *tile, const uint8_t *src,
		    size_t pitch, uint64_t va)
{
	core->lent += (uint64_t)tile->partitions * (tile->hi - tile->lo);
	core->loan[core->loans++] = (struct loan){
		.src = src, .pitch = pitch,
		.partition = tile->partition, .partitions = tile->partitions,
		.lo = tile->lo, .hi = tile->hi,
		.va = va, .va_end = va + (tile->partitions - 1) * pitch + tile->hi - tile->lo,
	};
}

bool kiln_loan_find(const struct kiln_core *core, struct tile *tile)
{
	for (uint32_t i = 0; i < core->loans; i++) {
		const struct loan *loan = &core->loan[i];

		if (!within(tile->lo, tile->hi, tile->partition, tile->partitions, loan->lo,
			    loan->hi, loan->partition, loan->partitions))
			continue;
		/* The bytes are read only. */
		tile->base = (uint8_t *)loan->src + (tile->lo - loan->lo) +
			     (tile->partition - loan->partition) * loan->pitch;
		tile->pitch = loan->pitch;
		return true;
	}
	return false;
}

void kiln_loan_follow(struct kiln_core *core, struct tile *tile)
{
	if (!kiln_loan_find(core, tile))
		kiln_loan_settle(core, tile);
}

void kiln_poll_flush(struct kiln_core *core)
{
	if (!kiln_mmu_flush_wanted(&core->mmu))
		return;
	kiln_matvec_settle(core);
	kiln_loan_settle(core, NULL);
	kiln_mmu_poll_flush(&core->mmu);
}
