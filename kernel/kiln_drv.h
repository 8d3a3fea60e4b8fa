/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Driver for Kiln accelerator cards.
 *
 * Locking order, outermost first:
 *
 *	kiln_file.lock		queues and VMs of one open file come and go
 *	kiln_vm.lock		one change of an address space at a time
 *	kiln_device.room_lock	one at a time drives others out of HBM
 *	dma_resv		of the VM and its buffers, by drm_exec
 *	kiln_device.hbm_lock	for reading, around each access to HBM by a CPU
 *	kiln_device.reset_lock	one reset at a time
 *	kiln_vector.lock	irq-safe; the list of queues that a vector serves
 *	kiln_admin.lock		irq-safe
 *	kiln_queue.lock		irq-safe; slots and rings of one queue
 *	kiln_vm.fault_lock	irq-safe
 *	kiln_limits.lock	nothing is taken inside of it
 *	kiln_fence.lock		irq-safe; signalled with no lock but kiln_vector.lock held
 *
 * An admin command may be waited for with any of the sleeping locks held but
 * reset_lock: if the card does not answer, the waiter itself resets it.
 * io_uring calls us with its uring_lock held, outside of all of the above; the
 * paths that it calls take spin locks only.
 *
 * A submission takes its queue's lock and no lock that two queues share.
 *
 * Whoever holds a reservation, or allocates memory, may wait for eviction fences
 * (kiln_evict.c). So what those wait for takes none of the locks down to
 * dma_resv, and allocates nothing, not under reset_lock either. Work of that
 * kind runs on kiln_device.wq; work that does wait for fences runs elsewhere.
 */
#ifndef KILN_DRV_H
#define KILN_DRV_H

#include <linux/bits.h>
#include <linux/completion.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <drm/kiln_accel.h>
#include <drm/ttm/ttm_device.h>

#include <kiln/hw.h>

#include "kiln_admin.h"
#include "kiln_irq.h"
#include "kiln_limits.h"

#define KILN_VA_START	4096ull
#define KILN_VA_END	BIT_ULL(KILN_VA_BITS)

/**
 * struct kiln_device - one card
 */
struct kiln_device {
	/** @drm: the DRM device. */
	struct drm_device drm;
	/** @ttm: memory of the card and of the host. */
	struct ttm_device ttm;

	/** @regs: BAR 0. */
	void __iomem *regs;
	/** @hbm: BAR 4, write-combined. */
	void __iomem *hbm;
	/** @hbm_base: CPU's physical address of BAR 4. */
	resource_size_t hbm_base;
	/** @hbm_bytes: size of HBM, all of it inside BAR 4. */
	u64 hbm_bytes;
	/** @hbm_lock: held for reading by whoever is just touching HBM. */
	struct rw_semaphore hbm_lock;
	/** @hbm_closed: BAR 4 is not decoded; changes under @hbm_lock. */
	bool hbm_closed;
	/** @hbm_opened: woken when @hbm_closed ends. */
	wait_queue_head_t hbm_opened;
	/** @hbm_pinned: bytes of HBM that the driver's own tables take. */
	atomic64_t hbm_pinned;
	/**
	 * @room_lock: two that drive each other out of HBM would not find room,
	 * each holding what the other one wants.
	 */
	struct mutex room_lock;

	/** @generation: 1, 2, 3 for trn1, trn2, trn3. */
	u32 generation;
	/** @cores: of the card. */
	u32 cores;
	/** @clock_khz: what completions count cycles of. */
	u32 clock_khz;
	/** @sbuf_bytes: of one partition. */
	u32 sbuf_bytes;
	/** @psum_bytes: of one partition. */
	u32 psum_bytes;
	/** @hw_version: of registers and rings. */
	u32 hw_version;
	/** @fw_version: of the firmware that has booted. */
	u32 fw_version;
	/** @max_queues: including the admin queue. */
	u32 max_queues;
	/** @max_contexts: including context 0. */
	u32 max_contexts;

	/** @limits: what each user has and may have. */
	struct kiln_limits limits;
	/** @admin: the firmware's own queue. */
	struct kiln_admin admin;
	/** @vectors: MSI-X vectors; the first is the admin queue's. */
	struct kiln_vector vectors[KILN_MSIX_VECTORS];
	/** @num_vectors: of @vectors in use. */
	unsigned int num_vectors;

	/** @bos: every struct kiln_bo. */
	struct list_head bos;
	/** @bos_lock: of @bos; innermost of the mutexes. */
	struct mutex bos_lock;
	/** @mapped: every struct kiln_tt that is mapped for DMA. */
	struct list_head mapped;
	/** @map_lock: of @mapped; innermost of the mutexes, too. */
	struct mutex map_lock;
	/** @num_attached: to dma-bufs of others. */
	atomic_t num_attached;

	/** @queues: by the card's queue number; holds no reference. */
	struct xarray queues;
	/** @contexts: VMs by the card's context number; holds no reference. */
	struct xarray contexts;

	/** @reset_lock: held by whoever resets the card. */
	struct mutex reset_lock;
	/**
	 * @epoch: counts resets; changes under @reset_lock and admin.lock.
	 * VMs and queues that were made in an earlier one are lost.
	 */
	u32 epoch;
	/** @wedged: a reset has failed: the card is not used any more. */
	bool wedged;
	/** @away: somebody else resets the function; under @reset_lock. */
	bool away;
	/** @stopped: the driver has left the card, which does no DMA any more. */
	struct completion stopped;

	/** @dump: of the last fault or reset. */
	struct kiln_devcoredump *dump;

	/** @wq: cancellations and resets. */
	struct workqueue_struct *wq;
	/** @evict_wq: suspensions. */
	struct workqueue_struct *evict_wq;
	/** @reset_work: for those who find a broken card where they cannot sleep. */
	struct work_struct reset_work;
	/** @broken_epoch: in which they did. */
	u32 broken_epoch;
	/** @event_work: tells userspace of a reset. */
	struct work_struct event_work;
	/** @watchdog: does the firmware live, and was there what no interrupt has told? */
	struct delayed_work watchdog;
	/** @heartbeat: KILN_REG_HEARTBEAT when it last changed; the watchdog's. */
	u32 heartbeat;
	/** @heartbeat_at: jiffies of that. */
	unsigned long heartbeat_at;
	/** @ping_at: jiffies of the watchdog's next admin command. */
	unsigned long ping_at;
};

/* What becomes of things that a reset has lost, or a card that never comes back. */
static inline int kiln_lost_errno(struct kiln_device *kdev)
{
	return READ_ONCE(kdev->wedged) ? -ENODEV : -EIO;
}

static inline struct kiln_device *to_kiln_device(struct drm_device *drm)
{
	return container_of(drm, struct kiln_device, drm);
}

/**
 * struct kiln_file - one open file
 */
struct kiln_file {
	/** @kdev: the card. */
	struct kiln_device *kdev;
	/** @user: who has opened it. */
	struct kiln_user *user;
	/** @lock: creation and destruction of what follows. */
	struct mutex lock;
	/** @vms: struct kiln_vm by id. */
	struct xarray vms;
	/** @queues: struct kiln_queue by id; looked up under RCU. */
	struct xarray queues;
	/** @first_queues: those of @queues with the least ids, at hand. */
	struct kiln_queue __rcu *first_queues[8];
	/** @cycles: device time that destroyed queues have used. */
	u64 cycles;
	/** @commands: that destroyed queues have completed. */
	u64 commands;
	/** @busy_ns: that destroyed queues have spent on cores. */
	u64 busy_ns;
};

static inline struct kiln_file *to_kiln_file(struct drm_file *file)
{
	return file->driver_priv;
}

/* Say which field of an ioctl or command is wrong: the errno alone does not tell. */
#define kiln_bad(kdev, ret, fmt, ...) ({				\
	drm_dbg(&(kdev)->drm, "%s: " fmt "\n", __func__, ##__VA_ARGS__);	\
	(ret);								\
})

#endif
