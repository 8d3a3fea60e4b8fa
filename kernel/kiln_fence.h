/* SPDX-License-Identifier: GPL-2.0-only */
/* Out-fences, for commands that ask for one. */
#ifndef KILN_FENCE_H
#define KILN_FENCE_H

#include <linux/dma-fence.h>

struct dma_fence *kiln_fence_create(gfp_t gfp);
void kiln_fence_signal(struct dma_fence *fence, int error);

#endif
