/* SPDX-License-Identifier: GPL-2.0-only */
/* Page tables of one VM: in HBM, written through BAR 4. */
#ifndef KILN_PT_H
#define KILN_PT_H

#include <linux/bitmap.h>
#include <linux/list.h>

#include <kiln/hw.h>

struct kiln_bo;
struct kiln_device;
struct kiln_pt;

/**
 * struct kiln_pt_entry - what stands in an inner table, as the driver knows it
 */
struct kiln_pt_entry {
	/** @table: the next table; NULL: none. */
	struct kiln_pt *table;
	/** @large: the entry, if it is a 2 MiB page; 0: not. */
	u64 large;
};

/**
 * struct kiln_pt - one page table
 *
 * The driver never reads HBM back: it is slow, and what stands there is only
 * as trustworthy as the card.
 */
struct kiln_pt {
	/** @link: in one of the lists of &struct kiln_pts. */
	struct list_head link;
	/** @addr: HBM offset. */
	u64 addr;
	/** @used: entries that are valid. */
	u32 used;
	/** @valid: which, in a table of the last level. */
	DECLARE_BITMAP(valid, KILN_PT_ENTRIES);
	/** @entries: of an inner table; NULL in the last level. */
	struct kiln_pt_entry *entries;
};

/**
 * struct kiln_pts - the page tables of a VM
 *
 * The owner serialises calls. Changes allocate nothing: kiln_pt_reserve() has
 * set aside what they can need at most, before anything was locked.
 */
struct kiln_pts {
	/** @kdev: the card. */
	struct kiln_device *kdev;
	/** @root: top table. */
	struct kiln_pt *root;
	/** @chunks: HBM that tables are carved from. */
	struct list_head chunks;
	/** @spare_inner: tables set aside, inner levels. */
	struct list_head spare_inner;
	/** @spare_leaf: tables set aside, last level. */
	struct list_head spare_leaf;
	/** @unlinked: empty tables that the card may still be reading: until the next flush. */
	struct list_head unlinked;
	/** @num_inner: in @spare_inner. */
	u32 num_inner;
	/** @num_leaf: in @spare_leaf. */
	u32 num_leaf;
	/** @flush: an entry that the card may have cached is gone. */
	bool flush;
};

int kiln_pt_init(struct kiln_pts *pts, struct kiln_device *kdev);
void kiln_pt_fini(struct kiln_pts *pts);
void kiln_pt_count(u64 va, u64 bytes, u32 *inner, u32 *leaf);
int kiln_pt_reserve(struct kiln_pts *pts, u32 inner, u32 leaf);
int kiln_pt_map(struct kiln_pts *pts, u64 va, u64 bytes, struct kiln_bo *bo, u64 offset,
		bool readonly);
int kiln_pt_unmap(struct kiln_pts *pts, u64 va, u64 bytes);
void kiln_pt_flushed(struct kiln_pts *pts);

#endif
