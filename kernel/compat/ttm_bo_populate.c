// SPDX-License-Identifier: GPL-2.0-only
/* Pages are allocated for the object, not for its ttm_tt. */
#include <drm/ttm/ttm_bo.h>

int probe(struct ttm_buffer_object *bo, struct ttm_operation_ctx *ctx)
{
	return ttm_bo_populate(bo, ctx);
}
