/* SPDX-License-Identifier: GPL-2.0-only */
/* The rings of kiln/hw.h: submission, completion and control block of one queue. */
#ifndef KILN_RING_H
#define KILN_RING_H

#include <linux/types.h>

#include <kiln/hw.h>

struct device;

/**
 * struct kiln_ring - host memory of one queue
 *
 * The card writes into @cq and @ctl whenever it likes, and it is not trusted:
 * what is read from there is read once and checked. The owner serialises calls.
 */
struct kiln_ring {
	/** @sq: submission ring; NULL: no memory. */
	struct kiln_cmd *sq;
	/** @cq: completion ring, as long as @sq. */
	struct kiln_completion *cq;
	/** @ctl: indices and events. */
	struct kiln_ring_ctl *ctl;
	/** @dma: address of @sq, and of the whole allocation. */
	dma_addr_t dma;
	/** @cq_dma: address of @cq. */
	dma_addr_t cq_dma;
	/** @ctl_dma: address of @ctl. */
	dma_addr_t ctl_dma;
	/** @bytes: of the allocation. */
	size_t bytes;
	/** @entries: a power of two. */
	u32 entries;
	/** @sq_tail: free-running: entries before it have been written. */
	u32 sq_tail;
	/** @sq_published: as @sq_tail, for those that the card knows of; its copy is in @ctl. */
	u32 sq_published;
	/** @cq_head: free-running; the card's copy is in @ctl. */
	u32 cq_head;
};

int kiln_ring_alloc(struct device *dev, struct kiln_ring *ring, u32 entries);
void kiln_ring_free(struct device *dev, struct kiln_ring *ring);
void kiln_ring_clear(struct kiln_ring *ring);

bool kiln_ring_publish(struct kiln_ring *ring);
int kiln_ring_count(struct kiln_ring *ring);
void kiln_ring_release(struct kiln_ring *ring);
int kiln_ring_pop(struct kiln_ring *ring, struct kiln_completion *completion);
bool kiln_ring_rearm(struct kiln_ring *ring);

/*
 * The next entry, to be written; the card sees it after kiln_ring_publish().
 * There must be room, which the owner knows because it counts what is in flight.
 */
static inline struct kiln_cmd *kiln_ring_next(struct kiln_ring *ring)
{
	return &ring->sq[ring->sq_tail++ & (ring->entries - 1)];
}

/* The next completion, which must be there. It stays there until kiln_ring_release(). */
static inline void kiln_ring_read(struct kiln_ring *ring, struct kiln_completion *completion)
{
	*completion = ring->cq[ring->cq_head++ & (ring->entries - 1)];
}

#endif
