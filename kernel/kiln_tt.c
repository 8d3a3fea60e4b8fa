// SPDX-License-Identifier: GPL-2.0-only
/*
 * Host pages come from TTM's pool. They are mapped for the card as they are
 * allocated, by ourselves, so that the mappings can go before the pages do:
 * when the driver leaves the card, others may still look at the pages.
 */
#include <linux/dma-mapping.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_prime.h>
#include <drm/ttm/ttm_bo.h>
#include <drm/ttm/ttm_pool.h>

#include "kiln_drv.h"
#include "kiln_tt.h"

struct ttm_tt *kiln_tt_create(struct ttm_buffer_object *tbo, u32 page_flags)
{
	struct kiln_tt *ktt = kzalloc(sizeof(*ktt), GFP_KERNEL);

	if (!ktt)
		return NULL;
	if (page_flags & TTM_TT_FLAG_EXTERNAL) {
		if (ttm_sg_tt_init(&ktt->base, tbo, page_flags, ttm_cached))
			goto err_free;
		ktt->addresses = ktt->base.dma_address;
		return &ktt->base;
	}
	if (ttm_tt_init(&ktt->base, tbo, page_flags, ttm_cached, 0))
		goto err_free;
	ktt->addresses = kvmalloc_array(ktt->base.num_pages, sizeof(*ktt->addresses), GFP_KERNEL);
	if (!ktt->addresses)
		goto err_fini;
	return &ktt->base;

err_fini:
	ttm_tt_fini(&ktt->base);
err_free:
	kfree(ktt);
	return NULL;
}

void kiln_tt_destroy(struct ttm_device *ttm, struct ttm_tt *tt)
{
	struct kiln_tt *ktt = to_kiln_tt(tt);

	if (!(tt->page_flags & TTM_TT_FLAG_EXTERNAL))
		kvfree(ktt->addresses);
	ttm_tt_fini(tt);
	kfree(ktt);
}

static int kiln_tt_map(struct kiln_device *kdev, struct kiln_tt *ktt)
{
	struct ttm_tt *tt = &ktt->base;
	struct sg_table *sg;
	int ret;

	sg = drm_prime_pages_to_sg(&kdev->drm, tt->pages, tt->num_pages);
	if (IS_ERR(sg))
		return PTR_ERR(sg);
	mutex_lock(&kdev->map_lock);
	/* kiln_tt_unmap_all() comes after that, and only once. */
	if (drm_dev_is_unplugged(&kdev->drm))
		ret = -ENODEV;
	else
		ret = dma_map_sgtable(kdev->drm.dev, sg, DMA_BIDIRECTIONAL, 0);
	if (ret) {
		sg_free_table(sg);
		kfree(sg);
		goto unlock;
	}
	ktt->sg = sg;
	list_add(&ktt->link, &kdev->mapped);
	/* Before it can be unmapped, which frees it. */
	ret = drm_prime_sg_to_dma_addr_array(sg, ktt->addresses, tt->num_pages) ? -EINVAL : 0;
unlock:
	mutex_unlock(&kdev->map_lock);
	return ret;
}

static void kiln_tt_unmap_locked(struct kiln_device *kdev, struct kiln_tt *ktt)
{
	lockdep_assert_held(&kdev->map_lock);
	if (!ktt->sg)
		return;
	list_del(&ktt->link);
	dma_unmap_sgtable(kdev->drm.dev, ktt->sg, DMA_BIDIRECTIONAL, 0);
	sg_free_table(ktt->sg);
	kfree(ktt->sg);
	ktt->sg = NULL;
}

void kiln_tt_unpopulate(struct ttm_device *ttm, struct ttm_tt *tt)
{
	struct kiln_device *kdev = container_of(ttm, struct kiln_device, ttm);

	if (tt->page_flags & TTM_TT_FLAG_EXTERNAL)
		return;
	mutex_lock(&kdev->map_lock);
	kiln_tt_unmap_locked(kdev, to_kiln_tt(tt));
	mutex_unlock(&kdev->map_lock);
	ttm_pool_free(&ttm->pool, tt);
}

/* What is imported has no pages of its own: see kiln_prime.c. */
int kiln_tt_populate(struct ttm_device *ttm, struct ttm_tt *tt, struct ttm_operation_ctx *ctx)
{
	struct kiln_device *kdev = container_of(ttm, struct kiln_device, ttm);
	int ret;

	if (tt->page_flags & TTM_TT_FLAG_EXTERNAL)
		return 0;
	ret = ttm_pool_alloc(&ttm->pool, tt, ctx);
	if (ret)
		return ret;
	ret = kiln_tt_map(kdev, to_kiln_tt(tt));
	if (ret)
		kiln_tt_unpopulate(ttm, tt);
	return ret;
}

/*
 * The driver leaves the card: it reaches nothing any more. Not by
 * ttm_device_clear_dma_mappings(): that takes the pages away from whoever has
 * them by dma-buf, and if somebody is just freeing a buffer it waits for him
 * for ever, holding the lock that he wants.
 */
void kiln_tt_unmap_all(struct kiln_device *kdev)
{
	struct kiln_tt *ktt, *next;

	mutex_lock(&kdev->map_lock);
	list_for_each_entry_safe(ktt, next, &kdev->mapped, link)
		kiln_tt_unmap_locked(kdev, ktt);
	mutex_unlock(&kdev->map_lock);
}
