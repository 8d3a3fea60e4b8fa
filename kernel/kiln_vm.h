/* SPDX-License-Identifier: GPL-2.0-only */
/* Device address spaces. */
#ifndef KILN_VM_H
#define KILN_VM_H

#include <drm/drm_gpuvm.h>

#include "kiln_pt.h"
#include "kiln_share.h"

/* The card may not write there. */
#define KILN_VMA_READONLY	DRM_GPUVA_USERBITS

struct kiln_device;
struct kiln_file;

/**
 * struct kiln_vm - a device address space, a context of the card
 *
 * The file that made it holds a reference until the VM is destroyed; queues,
 * buffer mappings and ioctls hold others.
 */
struct kiln_vm {
	/** @base: what is mapped where; has the reference count. */
	struct drm_gpuvm base;
	/** @kdev: the card. */
	struct kiln_device *kdev;
	/** @id: in its file. */
	u32 id;
	/** @hw_id: the card's context number. */
	u32 hw_id;
	/** @share: of the card; changes under kiln_file.lock. */
	struct kiln_share share;
	/** @user: the file's, charged for @share; NULL: not yet. */
	struct kiln_user *user;
	/** @pid: of the process that made it, for debugfs. */
	pid_t pid;
	/** @epoch: of the card that knows the context. */
	u32 epoch;
	/** @num_queues: in it; protected by kiln_file.lock. */
	u32 num_queues;

	/** @lock: one change at a time: @base, @pts, @dead. */
	struct mutex lock;
	/** @dead: destroyed: an ioctl that still has it must not map anything. */
	bool dead;
	/** @pts: page tables. */
	struct kiln_pts pts;
	/** @hbm_bytes: of all bound buffers whose home is HBM. */
	s64 hbm_bytes;

	/**
	 * @evict_fence: on every buffer that is bound: signals when the context
	 * is suspended; see kiln_evict.c. Replaced under @lock.
	 */
	struct dma_fence *evict_fence;
	/** @fence_context: of the eviction fences. */
	u64 fence_context;
	/** @fence_seqno: of the last one; under @lock. */
	u64 fence_seqno;
	/** @suspended: a command needs the memory back first. */
	bool suspended;
	/** @turn_ends: jiffies; until then it is not suspended. */
	unsigned long turn_ends;
	/** @suspend_work: somebody waits for @evict_fence. */
	struct delayed_work suspend_work;
	/** @restore_work: brings memory back. */
	struct work_struct restore_work;

	/** @fault_lock: what follows; taken by interrupts. */
	spinlock_t fault_lock;
	/** @fault_count: commands that have stopped the context. */
	u64 fault_count;
	/** @fault: the last of them. */
	struct kiln_completion fault;
	/** @fault_queue: id of its queue. */
	u32 fault_queue;
};

struct kiln_vm *kiln_vm_get(struct kiln_file *kfile, u32 id);
void kiln_vm_put(struct kiln_vm *vm);
void kiln_vm_destroy(struct kiln_vm *vm);
int kiln_vm_create_hw(struct kiln_vm *vm);
int kiln_vm_restore(struct kiln_vm *vm);

int kiln_vm_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int kiln_vm_destroy_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int kiln_vm_bind_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
