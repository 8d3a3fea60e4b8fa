// SPDX-License-Identifier: GPL-2.0-only
#include <linux/io.h>
#include <linux/slab.h>
#include <linux/sizes.h>

#include <drm/drm_print.h>

#include "kiln_bo.h"
#include "kiln_drv.h"
#include "kiln_hbm.h"
#include "kiln_pt.h"
#include "kiln_tt.h"

#define KILN_PT_BYTES		(KILN_PT_ENTRIES * sizeof(u64))
#define KILN_PT_CHUNK_TABLES	16u
#define KILN_PT_LAST		(KILN_PT_LEVELS - 1)

/**
 * struct kiln_pt_chunk - HBM for some page tables
 */
struct kiln_pt_chunk {
	/** @link: in kiln_pts.chunks. */
	struct list_head link;
	/** @bo: the memory. */
	struct kiln_bo *bo;
	/** @tables: in it. */
	struct kiln_pt tables[KILN_PT_CHUNK_TABLES];
};

static u32 kiln_pt_index(u64 va, unsigned int level)
{
	return va >> (KILN_PAGE_SHIFT + 9 * (KILN_PT_LAST - level)) & (KILN_PT_ENTRIES - 1);
}

/* Inside of kiln_hbm_enter(). */
static void kiln_pt_write(struct kiln_pts *pts, struct kiln_pt *table, u32 index, u64 entry)
{
	writeq_relaxed(entry, pts->kdev->hbm + table->addr + index * sizeof(u64));
}

static struct kiln_pt *kiln_pt_take(struct list_head *spares, u32 *count)
{
	struct kiln_pt *table = list_first_entry_or_null(spares, struct kiln_pt, link);

	if (!table)
		return NULL;
	list_del_init(&table->link);
	(*count)--;
	return table;
}

static struct kiln_pt *kiln_pt_take_inner(struct kiln_pts *pts)
{
	return kiln_pt_take(&pts->spare_inner, &pts->num_inner);
}

static struct kiln_pt *kiln_pt_take_leaf(struct kiln_pts *pts)
{
	return kiln_pt_take(&pts->spare_leaf, &pts->num_leaf);
}

/* A table that is empty, in HBM too. */
static void kiln_pt_give(struct kiln_pts *pts, struct kiln_pt *table)
{
	if (table->entries) {
		list_move(&table->link, &pts->spare_inner);
		pts->num_inner++;
	} else {
		list_move(&table->link, &pts->spare_leaf);
		pts->num_leaf++;
	}
}

static int kiln_pt_add_chunk(struct kiln_pts *pts, u32 inner)
{
	struct kiln_pt_chunk *chunk;
	struct kiln_bo *bo;
	int ret = 0, idx;
	u32 i;

	chunk = kzalloc(sizeof(*chunk), GFP_KERNEL);
	if (!chunk)
		return -ENOMEM;
	bo = kiln_bo_create_pinned(pts->kdev, KILN_PT_CHUNK_TABLES * KILN_PT_BYTES);
	if (IS_ERR(bo)) {
		ret = PTR_ERR(bo);
		goto err_chunk;
	}
	if (!kiln_hbm_enter(&pts->kdev->drm, &idx)) {
		ret = -ENODEV;
		goto err_bo;
	}
	memset_io(pts->kdev->hbm + kiln_bo_hbm_offset(bo), 0,
		  KILN_PT_CHUNK_TABLES * KILN_PT_BYTES);
	kiln_hbm_exit(&pts->kdev->drm, idx);

	for (i = 0; i < min(inner, KILN_PT_CHUNK_TABLES); i++) {
		chunk->tables[i].entries = kcalloc(KILN_PT_ENTRIES, sizeof(struct kiln_pt_entry),
						   GFP_KERNEL);
		if (!chunk->tables[i].entries) {
			ret = -ENOMEM;
			goto err_entries;
		}
	}
	chunk->bo = bo;
	list_add(&chunk->link, &pts->chunks);
	for (i = 0; i < KILN_PT_CHUNK_TABLES; i++) {
		INIT_LIST_HEAD(&chunk->tables[i].link);
		chunk->tables[i].addr = kiln_bo_hbm_offset(bo) + i * KILN_PT_BYTES;
		kiln_pt_give(pts, &chunk->tables[i]);
	}
	return 0;

err_entries:
	while (i--)
		kfree(chunk->tables[i].entries);
err_bo:
	kiln_bo_destroy_pinned(bo);
err_chunk:
	kfree(chunk);
	return ret;
}

int kiln_pt_init(struct kiln_pts *pts, struct kiln_device *kdev)
{
	int ret;

	pts->kdev = kdev;
	INIT_LIST_HEAD(&pts->chunks);
	INIT_LIST_HEAD(&pts->spare_inner);
	INIT_LIST_HEAD(&pts->spare_leaf);
	INIT_LIST_HEAD(&pts->unlinked);
	ret = kiln_pt_reserve(pts, 4, 0);
	if (ret)
		return ret;
	pts->root = kiln_pt_take_inner(pts);
	return 0;
}

/* The card does not know the context any more. */
void kiln_pt_fini(struct kiln_pts *pts)
{
	struct kiln_pt_chunk *chunk, *next;
	u32 i;

	list_for_each_entry_safe(chunk, next, &pts->chunks, link) {
		kiln_bo_destroy_pinned(chunk->bo);
		for (i = 0; i < KILN_PT_CHUNK_TABLES; i++)
			kfree(chunk->tables[i].entries);
		kfree(chunk);
	}
	INIT_LIST_HEAD(&pts->chunks);
}

/* How many tables a range can take at most, if all of it is in 4 KiB pages. */
void kiln_pt_count(u64 va, u64 bytes, u32 *inner, u32 *leaf)
{
	u64 last = va + bytes - 1;

	*leaf = (last >> KILN_LARGE_SHIFT) - (va >> KILN_LARGE_SHIFT) + 1;
	*inner = (last >> 30) - (va >> 30) + 1 + (last >> 39) - (va >> 39) + 1;
}

/* Have that many spare tables. */
int kiln_pt_reserve(struct kiln_pts *pts, u32 inner, u32 leaf)
{
	int ret;

	while (pts->num_inner < inner || pts->num_leaf < leaf) {
		ret = kiln_pt_add_chunk(pts, pts->num_inner < inner ? inner - pts->num_inner : 0);
		if (ret)
			return ret;
	}
	return 0;
}

/* The table of the last level but one, made if it is not there. */
static struct kiln_pt *kiln_pt_walk(struct kiln_pts *pts, u64 va, bool make)
{
	struct kiln_pt *table = pts->root;
	unsigned int level;

	for (level = 0; level < KILN_PT_LAST - 1; level++) {
		u32 index = kiln_pt_index(va, level);
		struct kiln_pt_entry *entry = &table->entries[index];

		if (!entry->table) {
			if (!make)
				return NULL;
			entry->table = kiln_pt_take_inner(pts);
			if (drm_WARN_ON(&pts->kdev->drm, !entry->table))
				return NULL;
			table->used++;
			kiln_pt_write(pts, table, index, entry->table->addr | KILN_PTE_VALID);
		}
		table = entry->table;
	}
	return table;
}

/* Where a page of a buffer is, as a page table entry without its flags. */
static u64 kiln_pt_page(struct kiln_bo *bo, u64 offset)
{
	if (kiln_bo_in_hbm(bo))
		return kiln_bo_hbm_offset(bo) + offset;
	return to_kiln_tt(bo->tbo.ttm)->addresses[offset >> PAGE_SHIFT] | KILN_PTE_HOST;
}

/* Can 2 MiB of the buffer from here be one page? */
static bool kiln_pt_is_large(struct kiln_bo *bo, u64 offset)
{
	u64 first = kiln_pt_page(bo, offset);
	u64 i;

	if (!IS_ALIGNED(first & KILN_PTE_ADDR, SZ_2M))
		return false;
	if (kiln_bo_in_hbm(bo))
		return true;
	for (i = PAGE_SIZE; i < SZ_2M; i += PAGE_SIZE)
		if (kiln_pt_page(bo, offset + i) != first + i)
			return false;
	return true;
}

/* Map a part of one 2 MiB block. It is unmapped, and there are enough spare tables. */
static int kiln_pt_map_block(struct kiln_pts *pts, u64 va, u64 bytes, struct kiln_bo *bo,
			     u64 offset, u64 flags)
{
	struct kiln_pt *table = kiln_pt_walk(pts, va, true);
	struct kiln_pt_entry *entry;
	struct kiln_pt *leaf;
	bool fresh = false;
	u32 index;
	u64 i;

	if (!table)
		return -ENOMEM;
	index = kiln_pt_index(va, KILN_PT_LAST - 1);
	entry = &table->entries[index];

	if (bytes == SZ_2M && !entry->table && kiln_pt_is_large(bo, offset)) {
		entry->large = kiln_pt_page(bo, offset) | flags | KILN_PTE_LARGE;
		table->used++;
		kiln_pt_write(pts, table, index, entry->large);
		return 0;
	}

	leaf = entry->table;
	if (!leaf) {
		leaf = kiln_pt_take_leaf(pts);
		if (drm_WARN_ON(&pts->kdev->drm, !leaf))
			return -ENOMEM;
		fresh = true;
	}
	for (i = 0; i < bytes; i += PAGE_SIZE) {
		u32 slot = kiln_pt_index(va + i, KILN_PT_LAST);

		kiln_pt_write(pts, leaf, slot, kiln_pt_page(bo, offset + i) | flags);
		if (!__test_and_set_bit(slot, leaf->valid))
			leaf->used++;
	}
	if (fresh) {
		/* The table, before the entry that leads to it. */
		wmb();
		entry->table = leaf;
		table->used++;
		kiln_pt_write(pts, table, index, leaf->addr | KILN_PTE_VALID);
	}
	return 0;
}

/* Map a range that is unmapped. */
int kiln_pt_map(struct kiln_pts *pts, u64 va, u64 bytes, struct kiln_bo *bo, u64 offset,
		bool readonly)
{
	u64 flags = KILN_PTE_VALID | (readonly ? 0 : KILN_PTE_WRITE);

	while (bytes) {
		u64 part = min(bytes, SZ_2M - (va & (SZ_2M - 1)));
		int ret;

		ret = kiln_pt_map_block(pts, va, part, bo, offset, flags);
		if (ret)
			return ret;
		va += part;
		offset += part;
		bytes -= part;
	}
	return 0;
}

/* Put 512 small pages in the place of a large one. */
static struct kiln_pt *kiln_pt_split(struct kiln_pts *pts, struct kiln_pt *table, u32 index)
{
	struct kiln_pt_entry *entry = &table->entries[index];
	struct kiln_pt *leaf = kiln_pt_take_leaf(pts);
	u32 i;

	if (drm_WARN_ON(&pts->kdev->drm, !leaf))
		return NULL;
	for (i = 0; i < KILN_PT_ENTRIES; i++)
		kiln_pt_write(pts, leaf, i, (entry->large & ~KILN_PTE_LARGE) + i * PAGE_SIZE);
	bitmap_fill(leaf->valid, KILN_PT_ENTRIES);
	leaf->used = KILN_PT_ENTRIES;
	/* The table, before the entry that leads to it. */
	wmb();
	entry->large = 0;
	entry->table = leaf;
	kiln_pt_write(pts, table, index, leaf->addr | KILN_PTE_VALID);
	pts->flush = true;
	return leaf;
}

/* Unlink the tables above va that have become empty. */
static void kiln_pt_prune(struct kiln_pts *pts, u64 va)
{
	struct kiln_pt *path[KILN_PT_LEVELS];
	int level;

	path[0] = pts->root;
	for (level = 0; level < KILN_PT_LAST; level++) {
		path[level + 1] = path[level]->entries[kiln_pt_index(va, level)].table;
		if (!path[level + 1])
			break;
	}
	for (; level > 0 && !path[level]->used; level--) {
		u32 index = kiln_pt_index(va, level - 1);

		kiln_pt_write(pts, path[level - 1], index, 0);
		path[level - 1]->entries[index].table = NULL;
		path[level - 1]->used--;
		list_move(&path[level]->link, &pts->unlinked);
		pts->flush = true;
	}
}

static int kiln_pt_unmap_block(struct kiln_pts *pts, u64 va, u64 bytes)
{
	struct kiln_pt *table = kiln_pt_walk(pts, va, false);
	struct kiln_pt_entry *entry;
	struct kiln_pt *leaf;
	u32 index;
	u64 i;

	if (!table)
		return 0;
	index = kiln_pt_index(va, KILN_PT_LAST - 1);
	entry = &table->entries[index];

	if (entry->large && bytes == SZ_2M) {
		kiln_pt_write(pts, table, index, 0);
		entry->large = 0;
		table->used--;
		pts->flush = true;
	} else {
		leaf = entry->large ? kiln_pt_split(pts, table, index) : entry->table;
		if (!leaf)
			return entry->large ? -ENOMEM : 0;
		for (i = 0; i < bytes; i += PAGE_SIZE) {
			u32 slot = kiln_pt_index(va + i, KILN_PT_LAST);

			if (!__test_and_clear_bit(slot, leaf->valid))
				continue;
			kiln_pt_write(pts, leaf, slot, 0);
			leaf->used--;
			pts->flush = true;
		}
	}
	kiln_pt_prune(pts, va);
	return 0;
}

/* Unmap a range. Memory behind it may be reused after a flush, if pts->flush is set. */
int kiln_pt_unmap(struct kiln_pts *pts, u64 va, u64 bytes)
{
	while (bytes) {
		u64 part = min(bytes, SZ_2M - (va & (SZ_2M - 1)));
		int ret;

		ret = kiln_pt_unmap_block(pts, va, part);
		if (ret)
			return ret;
		va += part;
		bytes -= part;
	}
	return 0;
}

/* No core uses an old translation, and none reads an unlinked table. */
void kiln_pt_flushed(struct kiln_pts *pts)
{
	struct kiln_pt *table, *next;

	pts->flush = false;
	list_for_each_entry_safe(table, next, &pts->unlinked, link)
		kiln_pt_give(pts, table);
}
