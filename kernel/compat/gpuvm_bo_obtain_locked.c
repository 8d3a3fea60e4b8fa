// SPDX-License-Identifier: GPL-2.0-only
/* drm_gpuvm_bo_obtain() got a name that says what its caller holds. */
#include <drm/drm_gpuvm.h>

struct drm_gpuvm_bo *probe(struct drm_gpuvm *gpuvm, struct drm_gem_object *obj)
{
	return drm_gpuvm_bo_obtain_locked(gpuvm, obj);
}
