// SPDX-License-Identifier: GPL-2.0-only
/* drm_gpuvm_sm_map() takes a request, not five arguments. */
#include <drm/drm_gpuvm.h>

int probe(struct drm_gpuvm *gpuvm, struct drm_gpuvm_map_req *req)
{
	return drm_gpuvm_sm_map(gpuvm, NULL, req);
}
