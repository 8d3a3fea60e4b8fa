// SPDX-License-Identifier: GPL-2.0-only
#include <linux/slab.h>

#include "kiln_fence.h"

/**
 * struct kiln_fence - completion of one command
 *
 * Each has a fence context of its own: a command that is canceled in the middle
 * of its queue signals before its predecessors, which fences of one context
 * must not do.
 */
struct kiln_fence {
	/** @base: the fence. */
	struct dma_fence base;
	/** @lock: of @base. */
	spinlock_t lock;
};

static const char *kiln_fence_driver_name(struct dma_fence *fence)
{
	return "kiln";
}

static const char *kiln_fence_timeline_name(struct dma_fence *fence)
{
	return "command";
}

static const struct dma_fence_ops kiln_fence_ops = {
	.get_driver_name = kiln_fence_driver_name,
	.get_timeline_name = kiln_fence_timeline_name,
};

/* NULL if there is no memory. */
struct dma_fence *kiln_fence_create(gfp_t gfp)
{
	struct kiln_fence *fence = kzalloc(sizeof(*fence), gfp);

	if (!fence)
		return NULL;
	spin_lock_init(&fence->lock);
	dma_fence_init(&fence->base, &kiln_fence_ops, &fence->lock,
		       dma_fence_context_alloc(1), 1);
	return &fence->base;
}

/* Signal, and drop the caller's reference. Any context. */
void kiln_fence_signal(struct dma_fence *fence, int error)
{
	if (error)
		dma_fence_set_error(fence, error);
	dma_fence_signal(fence);
	dma_fence_put(fence);
}
