/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The differences between the kernels that this driver builds on, and the only
 * place that knows them. What KILN_HAVE_* means stands in compat/.
 */
#ifndef KILN_COMPAT_H
#define KILN_COMPAT_H

#include <linux/dma-buf.h>
#include <linux/io_uring/cmd.h>
#include <linux/module.h>

#include <drm/drm_drv.h>
#include <drm/drm_gpuvm.h>
#include <drm/ttm/ttm_bo.h>
#include <drm/ttm/ttm_device.h>
#include <drm/ttm/ttm_tt.h>

#include "kiln_config.h"

#ifdef KILN_HAVE_CGROUP_REGION_INIT
#include <linux/cgroup_dmem.h>
#endif

#ifdef KILN_HAVE_DRM_DRIVER_DATE
#define KILN_DRM_DATE	.date = "20261123",
#else
#define KILN_DRM_DATE
#endif

#ifdef KILN_HAVE_DRIVER_GEM_GPUVA
#define KILN_DRIVER_GEM_GPUVA	DRIVER_GEM_GPUVA
#else
#define KILN_DRIVER_GEM_GPUVA	0
#endif

#ifdef KILN_HAVE_IMPORT_NS_TOKEN
#define KILN_IMPORT_NS_DMA_BUF	MODULE_IMPORT_NS(DMA_BUF)
#else
#define KILN_IMPORT_NS_DMA_BUF	MODULE_IMPORT_NS("DMA_BUF")
#endif

/* ------------------------------------------------------------- io_uring -- */

static inline void kiln_uring_cmd_done(struct io_uring_cmd *cmd, int res,
				       u64 res2, unsigned int issue_flags)
{
#ifdef KILN_HAVE_URING_CMD_DONE32
	io_uring_cmd_done32(cmd, res, res2, issue_flags);
#else
	io_uring_cmd_done(cmd, res, res2, issue_flags);
#endif
}

/* Defines a task work callback around @func(cmd, issue_flags). */
#ifdef KILN_HAVE_URING_TW_REQ
#define KILN_URING_TASK_WORK(name, func) \
static void name(struct io_tw_req tw_req, io_tw_token_t tw) \
{ \
	func(io_uring_cmd_from_tw(tw_req), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS); \
}
#else
#define KILN_URING_TASK_WORK(name, func) \
static void name(struct io_uring_cmd *cmd, unsigned int issue_flags) \
{ \
	func(cmd, issue_flags); \
}
#endif

/* Which ring the command is of. */
static inline const void *kiln_uring_ring(struct io_uring_cmd *cmd)
{
	return cmd_to_io_kiocb(cmd)->ctx;
}

static inline u64 kiln_uring_user_data(struct io_uring_cmd *cmd)
{
	return cmd_to_io_kiocb(cmd)->cqe.user_data;
}

/* The 80 bytes of an SQE128; IO_URING_F_SQE128 has been checked. */
#ifdef KILN_HAVE_URING_SQE128_CMD
#define kiln_uring_payload(cmd, type)	io_uring_sqe128_cmd((cmd)->sqe, type)
#else
#define kiln_uring_payload(cmd, type) \
	((const type *)io_uring_sqe_cmd((cmd)->sqe))
#endif

/* The 16 bytes that every SQE has. */
#define kiln_uring_short_payload(ucmd, type)	((const type *)(ucmd)->sqe->cmd)

/* ------------------------------------------------------------------ TTM -- */

static inline int kiln_ttm_device_init(struct ttm_device *ttm,
				       const struct ttm_device_funcs *funcs,
				       struct drm_device *drm)
{
#ifdef KILN_HAVE_TTM_DEVICE_INIT_BOOLS
	return ttm_device_init(ttm, funcs, drm->dev, drm->anon_inode->i_mapping,
			       drm->vma_offset_manager, false, false);
#else
	return ttm_device_init(ttm, funcs, drm->dev, drm->anon_inode->i_mapping,
			       drm->vma_offset_manager, 0);
#endif
}

static inline void kiln_ttm_bo_fini(struct ttm_buffer_object *tbo)
{
#ifdef KILN_HAVE_TTM_BO_FINI
	ttm_bo_fini(tbo);
#else
	ttm_bo_put(tbo);
#endif
}

static inline int kiln_ttm_bo_populate(struct ttm_buffer_object *tbo,
				       struct ttm_operation_ctx *ctx)
{
#ifdef KILN_HAVE_TTM_BO_POPULATE
	return ttm_bo_populate(tbo, ctx);
#else
	return ttm_tt_populate(tbo->bdev, tbo->ttm, ctx);
#endif
}

/* With the dmem cgroup, TTM charges what is in @man to who has allocated it. */
static inline int kiln_cgroup_register(struct drm_device *drm, struct ttm_resource_manager *man,
				       const char *name, u64 bytes)
{
#if defined(KILN_HAVE_CGROUP_REGION_INIT)
	const struct dmem_cgroup_init init = { .size = bytes };

	man->cg = drmm_cgroup_register_region(drm, name, &init);
	return PTR_ERR_OR_ZERO(man->cg);
#elif defined(KILN_HAVE_CGROUP_REGION)
	man->cg = drmm_cgroup_register_region(drm, name, bytes);
	return PTR_ERR_OR_ZERO(man->cg);
#else
	return 0;
#endif
}

/* -------------------------------------------------------------- dma-buf -- */

#ifdef KILN_HAVE_DMA_BUF_INVALIDATE_MAPPINGS
#define KILN_INVALIDATE_MAPPINGS	invalidate_mappings
#define kiln_dma_buf_invalidate_mappings	dma_buf_invalidate_mappings
#else
#define KILN_INVALIDATE_MAPPINGS	move_notify
#define kiln_dma_buf_invalidate_mappings	dma_buf_move_notify
#endif

/* ---------------------------------------------------------------- gpuvm -- */

static inline struct drm_gpuvm_bo *
kiln_gpuvm_bo_obtain_locked(struct drm_gpuvm *gpuvm, struct drm_gem_object *obj)
{
#ifdef KILN_HAVE_GPUVM_BO_OBTAIN_LOCKED
	return drm_gpuvm_bo_obtain_locked(gpuvm, obj);
#else
	return drm_gpuvm_bo_obtain(gpuvm, obj);
#endif
}

static inline int kiln_gpuvm_sm_map(struct drm_gpuvm *gpuvm, void *priv,
				    u64 addr, u64 range,
				    struct drm_gem_object *obj, u64 offset)
{
#ifdef KILN_HAVE_GPUVM_MAP_REQ
	struct drm_gpuvm_map_req req = {
		.map = {
			.va = { .addr = addr, .range = range },
			.gem = { .obj = obj, .offset = offset },
		},
	};

	return drm_gpuvm_sm_map(gpuvm, priv, &req);
#else
	return drm_gpuvm_sm_map(gpuvm, priv, addr, range, obj, offset);
#endif
}

#endif
