/* SPDX-License-Identifier: GPL-2.0-only */
/* Queues: rings shared with the card, and what is in flight in them. */
#ifndef KILN_QUEUE_H
#define KILN_QUEUE_H

#include <linux/bits.h>
#include <linux/blkdev.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <drm/kiln_accel.h>

#include "kiln_ring.h"
#include "kiln_uring.h"

struct dma_fence;
struct drm_device;
struct drm_file;
struct io_uring_cmd;
struct kiln_device;
struct kiln_file;
struct kiln_vm;

#define KILN_QUEUE_DEPTH_MIN	BIT(KILN_RING_LOG2_MIN)
#define KILN_QUEUE_DEPTH_MAX	BIT(KILN_RING_LOG2_MAX)

enum kiln_slot_state {
	KILN_SLOT_FREE,
	KILN_SLOT_RESERVED,	/* its submitter is still busy with it */
	KILN_SLOT_SUBMITTED,	/* the card has it */
};

/**
 * struct kiln_slot - a command in flight
 *
 * The card gets a cookie of slot number and generation, and never a pointer:
 * a completion with a cookie that fits nothing is refused.
 */
struct kiln_slot {
	/** @ucmd: io_uring command to complete; NULL: came by ioctl. */
	struct io_uring_cmd *ucmd;
	/** @fence: out-fence, or NULL. */
	struct dma_fence *fence;
	/** @expires: jiffies at which a command with @fence is given up. */
	unsigned long expires;
	/** @seqno: of a command that came by ioctl. */
	u64 seqno;
	/** @generation: counts uses of the slot. */
	u32 generation;
	/** @state: enum kiln_slot_state. */
	u8 state;
	/** @polled: its submitter looks for its end and needs no interrupt. */
	bool polled;
	/** @cancel: it is wanted no more. */
	bool cancel;
	/** @cancel_sent: the card has been told. */
	bool cancel_sent;
	/** @cancel_error: what a canceled one ends in, if not -ECANCELED. */
	s16 cancel_error;
};

/**
 * struct kiln_queue_result - what DRM_KILN_WAIT hands out
 */
struct kiln_queue_result {
	/** @cycles: device time. */
	u64 cycles;
	/** @res: 0 or a negative errno. */
	s32 res;
	/** @done: the command has completed. */
	bool done;
};

/* Completions that are taken out under one lock. */
#define KILN_QUEUE_BATCH	32

/**
 * struct kiln_ended - commands that have ended, and whose submitters are to be told
 */
struct kiln_ended {
	/** @uring: came by io_uring. */
	struct kiln_uring_batch uring;
	/** @num_fences: in @fences. */
	unsigned int num_fences;
	/** @fences: to be signalled, with the results. */
	struct {
		struct dma_fence *fence;
		int res;
	} fences[KILN_QUEUE_BATCH];
};

/**
 * struct kiln_queue - a queue
 *
 * References: the file, each io_uring command in flight, each call that has
 * looked it up. kiln_queue_destroy() takes it from the card and gives up the
 * rings and the VM; the last reference frees only the memory of this struct.
 */
struct kiln_queue {
	/** @ref: see above. */
	struct kref ref;
	/** @rcu: lookups do not lock. */
	struct rcu_head rcu;
	/** @kdev: the card. */
	struct kiln_device *kdev;
	/** @vm: referenced until kiln_queue_destroy(). */
	struct kiln_vm *vm;
	/** @id: in its file. */
	u32 id;
	/** @hw_id: the card's queue number. */
	u32 hw_id;
	/** @depth: commands that it can hold. */
	u32 depth;
	/** @weight: share of its VM. */
	u32 weight;
	/** @limit_ms: a command may run this long. */
	u32 limit_ms;
	/** @epoch: of the card that knows the queue. */
	u32 epoch;
	/** @vector: index of its MSI-X vector. */
	unsigned int vector;
	/** @vector_link: in kiln_vector.queues. */
	struct list_head vector_link;

	/** @lock: everything below. Taken by interrupts. */
	spinlock_t lock;
	/** @ring: shared with the card. */
	struct kiln_ring ring;
	/** @error: why no command is taken any more; 0: they are. */
	int error;
	/** @slots: @depth of them. */
	struct kiln_slot *slots;
	/** @free_slots: stack of free slot numbers. */
	u16 *free_slots;
	/** @num_free: on the stack. */
	u32 num_free;
	/** @num_polled: slots that are polled. */
	u32 num_polled;
	/** @last_polled: the last command that came was. */
	bool last_polled;
	/** @armed: the card sends an interrupt at the next completion. */
	bool armed;
	/** @num_fences: slots with a fence. */
	u32 num_fences;
	/** @results: of commands that came by ioctl, by seqno modulo @depth. */
	struct kiln_queue_result *results;
	/** @last_seqno: given out. */
	u64 last_seqno;
	/** @cycles: device time used. */
	u64 cycles;
	/** @commands: completed. */
	u64 commands;
	/** @busy_ns: wall clock time that they have spent on a core. */
	u64 busy_ns;
	/** @doorbells: written. */
	u64 doorbells;
	/** @plug: whose end gives the card what its task has submitted, or NULL. */
	struct blk_plug *plug;
	/** @plug_cb: stands in @plug, and holds a reference. */
	struct blk_plug_cb plug_cb;

	/** @wait: for room, and for results. */
	wait_queue_head_t wait;
	/** @cancel_work: tells the card of canceled commands. */
	struct work_struct cancel_work;
};

static inline u64 kiln_queue_cookie(struct kiln_queue *queue, struct kiln_slot *slot)
{
	return (u64)slot->generation << 32 | (slot - queue->slots);
}

/* The slot that a cookie means; NULL: its command has ended, or never was. */
static inline struct kiln_slot *kiln_queue_find_locked(struct kiln_queue *queue, u64 cookie)
{
	u32 index = lower_32_bits(cookie);
	struct kiln_slot *slot;

	lockdep_assert_held(&queue->lock);
	if (index >= queue->depth)
		return NULL;
	slot = &queue->slots[index];
	if (slot->state == KILN_SLOT_FREE || slot->generation != upper_32_bits(cookie))
		return NULL;
	return slot;
}

/* NULL: the queue is full. */
static inline struct kiln_slot *kiln_queue_reserve_locked(struct kiln_queue *queue)
{
	struct kiln_slot *slot;
	u32 generation;

	lockdep_assert_held(&queue->lock);
	if (!queue->num_free)
		return NULL;
	slot = &queue->slots[queue->free_slots[--queue->num_free]];
	generation = slot->generation + 1;
	*slot = (struct kiln_slot) { .generation = generation, .state = KILN_SLOT_RESERVED };
	return slot;
}

struct kiln_queue *kiln_queue_get(struct kiln_file *kfile, u32 id);
void kiln_queue_put(struct kiln_queue *queue);
void kiln_queue_put_many(struct kiln_queue *queue, unsigned int count);
void kiln_queue_destroy(struct kiln_queue *queue, struct kiln_file *kfile);

bool kiln_queue_plug_locked(struct kiln_queue *queue);
bool kiln_queue_publish_locked(struct kiln_queue *queue);
void kiln_queue_publish(struct kiln_queue *queue);
bool kiln_queue_process(struct kiln_queue *queue);
void kiln_queue_fail_all(struct kiln_device *kdev, int error);
void kiln_queue_release_all(struct kiln_device *kdev);
void kiln_queue_expire_fences(struct kiln_device *kdev);
void kiln_queue_poll_all(struct kiln_device *kdev);
int kiln_queue_restore_all(struct kiln_device *kdev);
bool kiln_queue_vm_is_busy(struct kiln_vm *vm);
void kiln_queue_vm_cancel(struct kiln_vm *vm, int error);

void kiln_queue_end_locked(struct kiln_queue *queue, struct kiln_slot *slot, int res, u64 cycles,
			   struct kiln_ended *ended);
void kiln_queue_tell(struct kiln_ended *ended);
void kiln_queue_cancel(struct kiln_queue *queue, u16 index, struct io_uring_cmd *ucmd);
bool kiln_queue_cancel_like(struct kiln_queue *queue, struct io_uring_cmd *ucmd, u64 user_data);

int kiln_queue_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file);
int kiln_queue_destroy_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
