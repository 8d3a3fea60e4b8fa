// SPDX-License-Identifier: GPL-2.0-only
/*
 * dma-buf, both ways, and without pinning where the other side can do without.
 *
 * What we export is in host memory as long as somebody has it mapped. If it has
 * to move all the same (to swap), its importers are told, and map it anew.
 *
 * What we import is mapped for the card when a VM needs it. When its exporter
 * is about to move it, VMs that it is bound in are suspended, as for a move of
 * our own (kiln_evict.c), and map it anew when they are restored.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include <drm/drm_drv.h>
#include <drm/drm_prime.h>
#include <drm/drm_print.h>

#include "kiln_bo.h"
#include "kiln_compat.h"
#include "kiln_drv.h"
#include "kiln_evict.h"
#include "kiln_prime.h"
#include "kiln_tt.h"

/* --------------------------------------------------------------- export -- */

static int kiln_prime_pin(struct dma_buf_attachment *attach)
{
	return kiln_bo_pin_locked(to_kiln_bo(attach->dmabuf->priv));
}

static void kiln_prime_unpin(struct dma_buf_attachment *attach)
{
	kiln_bo_unpin_locked(to_kiln_bo(attach->dmabuf->priv));
}

static struct sg_table *kiln_prime_map(struct dma_buf_attachment *attach,
				       enum dma_data_direction dir)
{
	struct kiln_bo *bo = to_kiln_bo(attach->dmabuf->priv);
	struct sg_table *sg;
	int ret;

	ret = kiln_bo_make_host_locked(bo);
	if (ret)
		return ERR_PTR(ret);
	sg = drm_prime_pages_to_sg(bo->tbo.base.dev, bo->tbo.ttm->pages, bo->tbo.ttm->num_pages);
	if (IS_ERR(sg))
		return sg;
	ret = dma_map_sgtable(attach->dev, sg, dir, DMA_ATTR_SKIP_CPU_SYNC);
	if (ret) {
		sg_free_table(sg);
		kfree(sg);
		return ERR_PTR(ret);
	}
	bo->num_maps++;
	return sg;
}

static void kiln_prime_unmap(struct dma_buf_attachment *attach, struct sg_table *sg,
			     enum dma_data_direction dir)
{
	to_kiln_bo(attach->dmabuf->priv)->num_maps--;
	dma_unmap_sgtable(attach->dev, sg, dir, DMA_ATTR_SKIP_CPU_SYNC);
	sg_free_table(sg);
	kfree(sg);
}

/* Nobody is attached any more. */
static void kiln_prime_release_export(struct dma_buf *dmabuf)
{
	struct kiln_bo *bo = to_kiln_bo(dmabuf->priv);

	dma_resv_lock(dmabuf->resv, NULL);
	bo->exported = NULL;
	dma_resv_unlock(dmabuf->resv);
	drm_gem_dmabuf_release(dmabuf);
}

static const struct dma_buf_ops kiln_prime_ops = {
	.pin = kiln_prime_pin,
	.unpin = kiln_prime_unpin,
	.map_dma_buf = kiln_prime_map,
	.unmap_dma_buf = kiln_prime_unmap,
	.release = kiln_prime_release_export,
	.mmap = drm_gem_dmabuf_mmap,
	.vmap = drm_gem_dmabuf_vmap,
	.vunmap = drm_gem_dmabuf_vunmap,
};

/* The core exports a buffer once, and then only again if that one is gone. */
struct dma_buf *kiln_prime_export(struct drm_gem_object *gem, int flags)
{
	struct dma_buf_export_info info = {
		.exp_name = KBUILD_MODNAME,
		.owner = gem->dev->driver->fops->owner,
		.ops = &kiln_prime_ops,
		.size = gem->size,
		.flags = flags,
		.priv = gem,
		.resv = gem->resv,
	};
	struct dma_buf *dmabuf = drm_gem_dmabuf_export(gem->dev, &info);

	if (IS_ERR(dmabuf))
		return dmabuf;
	dma_resv_lock(gem->resv, NULL);
	to_kiln_bo(gem)->exported = dmabuf;
	dma_resv_unlock(gem->resv);
	return dmabuf;
}

/* The buffer is going to move, and nobody of us uses it: tell those who have mapped it. */
void kiln_prime_moved(struct kiln_bo *bo)
{
	if (bo->exported)
		kiln_dma_buf_invalidate_mappings(bo->exported);
}

/* --------------------------------------------------------------- import -- */

static void kiln_prime_unmap_import_locked(struct kiln_bo *bo)
{
	struct ttm_tt *tt = bo->tbo.ttm;

	if (!tt || !tt->sg)
		return;
	dma_buf_unmap_attachment(bo->tbo.base.import_attach, tt->sg, DMA_BIDIRECTIONAL);
	tt->sg = NULL;
}

/* Have an imported buffer mapped for the card. */
int kiln_prime_map_locked(struct kiln_bo *bo, bool interruptible)
{
	struct dma_buf_attachment *attach = bo->tbo.base.import_attach;
	struct ttm_tt *tt = bo->tbo.ttm;
	struct sg_table *sg;
	long ret;

	dma_resv_assert_held(bo->tbo.base.resv);
	if (tt->sg)
		return 0;
	if (!attach)
		return -ENODEV;
	sg = dma_buf_map_attachment(attach, DMA_BIDIRECTIONAL);
	if (IS_ERR(sg))
		return PTR_ERR(sg);
	tt->sg = sg;
	/* The exporter may still be moving it there. */
	ret = dma_resv_wait_timeout(bo->tbo.base.resv, DMA_RESV_USAGE_KERNEL, interruptible,
				    MAX_SCHEDULE_TIMEOUT);
	if (ret >= 0)
		ret = drm_prime_sg_to_dma_addr_array(sg, to_kiln_tt(tt)->addresses,
						     tt->num_pages) ? -EINVAL : 0;
	if (ret)
		kiln_prime_unmap_import_locked(bo);
	return ret;
}

/* Its exporter holds the reservation, and wants to move it when nobody uses it any more. */
static void kiln_prime_invalidate(struct dma_buf_attachment *attach)
{
	struct kiln_bo *bo = attach->importer_priv;

	dma_resv_wait_timeout(bo->tbo.base.resv, DMA_RESV_USAGE_BOOKKEEP, false,
			      MAX_SCHEDULE_TIMEOUT);
	kiln_evict_moved(bo);
	kiln_prime_unmap_import_locked(bo);
}

static const struct dma_buf_attach_ops kiln_prime_attach_ops = {
	.KILN_INVALIDATE_MAPPINGS = kiln_prime_invalidate,
};

/* The card is not going to look at it any more. */
void kiln_prime_detach(struct kiln_bo *bo)
{
	struct kiln_device *kdev = to_kiln_device(bo->tbo.base.dev);
	struct dma_buf_attachment *attach;

	dma_resv_lock(bo->dmabuf->resv, NULL);
	kiln_prime_unmap_import_locked(bo);
	attach = bo->tbo.base.import_attach;
	bo->tbo.base.import_attach = NULL;
	dma_resv_unlock(bo->dmabuf->resv);
	if (!attach)
		return;
	dma_buf_detach(bo->dmabuf, attach);
	if (atomic_dec_and_test(&kdev->num_attached))
		wake_up_var(&kdev->num_attached);
}

/* Attachments of the card are counted, so that none is left when the driver leaves it. */
static int kiln_prime_attach(struct kiln_bo *bo)
{
	struct kiln_device *kdev = to_kiln_device(bo->tbo.base.dev);
	struct dma_buf_attachment *attach;

	mutex_lock(&kdev->map_lock);
	if (drm_dev_is_unplugged(&kdev->drm)) {
		mutex_unlock(&kdev->map_lock);
		return -ENODEV;
	}
	atomic_inc(&kdev->num_attached);
	mutex_unlock(&kdev->map_lock);

	attach = dma_buf_dynamic_attach(bo->dmabuf, kdev->drm.dev, &kiln_prime_attach_ops, bo);
	if (IS_ERR(attach)) {
		if (atomic_dec_and_test(&kdev->num_attached))
			wake_up_var(&kdev->num_attached);
		return PTR_ERR(attach);
	}
	dma_resv_lock(bo->dmabuf->resv, NULL);
	bo->tbo.base.import_attach = attach;
	dma_resv_unlock(bo->dmabuf->resv);
	/* Meanwhile kiln_prime_detach_all() may have looked at it, and seen nothing. */
	if (drm_dev_is_unplugged(&kdev->drm)) {
		kiln_prime_detach(bo);
		return -ENODEV;
	}
	return 0;
}

/* dma-bufs of other drivers, and of other cards. */
struct drm_gem_object *kiln_prime_import(struct drm_device *drm, struct dma_buf *dmabuf)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_bo *bo;
	int ret;

	if (dmabuf->ops == &kiln_prime_ops) {
		struct drm_gem_object *gem = dmabuf->priv;

		if (gem->dev == drm) {
			drm_gem_object_get(gem);
			return gem;
		}
	}
	if (!dmabuf->size || !PAGE_ALIGNED(dmabuf->size))
		return ERR_PTR(kiln_bad(kdev, -EINVAL, "dma-buf of %zu bytes", dmabuf->size));
	/* It has to be complete when it is attached: from then on it can be told to move. */
	bo = kiln_bo_create_import(kdev, dmabuf);
	if (IS_ERR(bo))
		return ERR_CAST(bo);
	ret = kiln_prime_attach(bo);
	if (!ret) {
		/* Nobody can tell sooner whether the card reaches it. */
		dma_resv_lock(dmabuf->resv, NULL);
		ret = kiln_prime_map_locked(bo, true);
		dma_resv_unlock(dmabuf->resv);
	}
	if (ret) {
		drm_gem_object_put(&bo->tbo.base);
		return ERR_PTR(ret);
	}
	return &bo->tbo.base;
}

/*
 * The driver leaves the card. Whoever is just freeing a buffer detaches it
 * himself, and is waited for.
 */
void kiln_prime_detach_all(struct kiln_device *kdev)
{
	struct kiln_bo *bo, *last = NULL;

	mutex_lock(&kdev->bos_lock);
	list_for_each_entry(bo, &kdev->bos, link) {
		if (!bo->dmabuf || !kref_get_unless_zero(&bo->tbo.base.refcount))
			continue;
		mutex_unlock(&kdev->bos_lock);
		if (last)
			drm_gem_object_put(&last->tbo.base);
		last = bo;
		kiln_prime_detach(bo);
		mutex_lock(&kdev->bos_lock);
	}
	mutex_unlock(&kdev->bos_lock);
	if (last)
		drm_gem_object_put(&last->tbo.base);
	wait_var_event(&kdev->num_attached, !atomic_read(&kdev->num_attached));
}
