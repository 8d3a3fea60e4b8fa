// SPDX-License-Identifier: GPL-2.0-only
/* What an importer is told when a dma-buf moves was called move_notify. */
#include <linux/dma-buf.h>

void probe(struct dma_buf *dmabuf)
{
	dma_buf_invalidate_mappings(dmabuf);
}
