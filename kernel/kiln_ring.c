// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dma-mapping.h>
#include <linux/log2.h>

#include "kiln_ring.h"

#ifdef __BIG_ENDIAN
#error "The card's structures are little endian and used as they are."
#endif

static_assert(sizeof(struct kiln_cmd) == 64);
static_assert(sizeof(struct kiln_completion) == 64);
static_assert(sizeof(struct kiln_ring_ctl) == 128);

/* One coherent allocation; each part begins on a page, as the card wants it. */
int kiln_ring_alloc(struct device *dev, struct kiln_ring *ring, u32 entries)
{
	size_t sq_bytes = ALIGN(entries * sizeof(*ring->sq), KILN_RING_ALIGN);
	size_t cq_bytes = ALIGN(entries * sizeof(*ring->cq), KILN_RING_ALIGN);
	size_t bytes = sq_bytes + cq_bytes + KILN_RING_ALIGN;
	void *memory;

	memory = dma_alloc_coherent(dev, bytes, &ring->dma, GFP_KERNEL);
	if (!memory)
		return -ENOMEM;

	ring->sq = memory;
	ring->cq = memory + sq_bytes;
	ring->ctl = memory + sq_bytes + cq_bytes;
	ring->cq_dma = ring->dma + sq_bytes;
	ring->ctl_dma = ring->dma + sq_bytes + cq_bytes;
	ring->bytes = bytes;
	ring->entries = entries;
	ring->sq_tail = 0;
	ring->sq_published = 0;
	ring->cq_head = 0;
	return 0;
}

void kiln_ring_free(struct device *dev, struct kiln_ring *ring)
{
	if (ring->sq)
		dma_free_coherent(dev, ring->bytes, ring->sq, ring->dma);
	ring->sq = NULL;
}

/* As after kiln_ring_alloc(): for a card that starts again. */
void kiln_ring_clear(struct kiln_ring *ring)
{
	memset(ring->sq, 0, ring->bytes);
	ring->sq_tail = 0;
	ring->sq_published = 0;
	ring->cq_head = 0;
}

/*
 * Give the card what has been written into the ring. True: it asks for
 * a doorbell.
 */
bool kiln_ring_publish(struct kiln_ring *ring)
{
	u32 old = ring->sq_published;

	if (ring->sq_tail == old)
		return false;
	ring->sq_published = ring->sq_tail;
	/* The entries, before the index that gives them to the card. */
	dma_wmb();
	WRITE_ONCE(ring->ctl->sq_tail, ring->sq_tail);
	/*
	 * The index, before the look at sq_event. The card does the same the
	 * other way round, so one of the two sees what the other has written.
	 */
	mb();
	return kiln_event_crossed(READ_ONCE(ring->ctl->sq_event), ring->sq_tail, old);
}

/* How many completions there are to be read; -EPROTO: the card is broken. */
int kiln_ring_count(struct kiln_ring *ring)
{
	u32 count = READ_ONCE(ring->ctl->cq_tail) - ring->cq_head;

	if (count > ring->entries)
		return -EPROTO;
	/* The index, before what it covers. */
	dma_rmb();
	return count;
}

/* The card may write over what has been read. */
void kiln_ring_release(struct kiln_ring *ring)
{
	dma_mb();
	WRITE_ONCE(ring->ctl->cq_head, ring->cq_head);
}

/* 1: a completion was taken out; 0: there is none; -EPROTO: the card is broken. */
int kiln_ring_pop(struct kiln_ring *ring, struct kiln_completion *completion)
{
	int count = kiln_ring_count(ring);

	if (count <= 0)
		return count;
	kiln_ring_read(ring, completion);
	kiln_ring_release(ring);
	return 1;
}

/* Ask for an interrupt at the next completion. True: it is there already. */
bool kiln_ring_rearm(struct kiln_ring *ring)
{
	WRITE_ONCE(ring->ctl->cq_event, ring->cq_head);
	/* Pairs with the card's: cq_tail first, then cq_event. */
	mb();
	return READ_ONCE(ring->ctl->cq_tail) != ring->cq_head;
}
