// SPDX-License-Identifier: GPL-2.0-only
/* ttm_bo_put() got the name ttm_bo_fini(). */
#include <drm/ttm/ttm_bo.h>

void probe(struct ttm_buffer_object *bo)
{
	ttm_bo_fini(bo);
}
