/* SPDX-License-Identifier: GPL-2.0-only */
/* Buffers shared with other drivers, and with other cards. */
#ifndef KILN_PRIME_H
#define KILN_PRIME_H

struct dma_buf;
struct drm_device;
struct drm_gem_object;
struct kiln_bo;
struct kiln_device;

struct dma_buf *kiln_prime_export(struct drm_gem_object *gem, int flags);
struct drm_gem_object *kiln_prime_import(struct drm_device *drm, struct dma_buf *dmabuf);
int kiln_prime_map_locked(struct kiln_bo *bo, bool interruptible);
void kiln_prime_moved(struct kiln_bo *bo);
void kiln_prime_detach(struct kiln_bo *bo);
void kiln_prime_detach_all(struct kiln_device *kdev);

#endif
