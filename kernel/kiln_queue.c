// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "kiln_compat.h"
#include "kiln_drv.h"
#include "kiln_fault.h"
#include "kiln_fence.h"
#include "kiln_hw.h"
#include "kiln_queue.h"
#include "kiln_share.h"
#include "kiln_trace.h"
#include "kiln_uring.h"
#include "kiln_vm.h"

#define KILN_LIMIT_MS_MAX	10000
#define KILN_QUEUES_PER_FILE	XA_LIMIT(1, KILN_MAX_QUEUES)

/* ---------------------------------------------------------------- slots -- */

/*
 * The command has ended: free its slot, remember the result, and leave in @ended
 * what kiln_queue_tell() has to do without the lock.
 */
void kiln_queue_end_locked(struct kiln_queue *queue, struct kiln_slot *slot, int res, u64 cycles,
			   struct kiln_ended *ended)
{
	lockdep_assert_held(&queue->lock);
	if (unlikely(slot->cancel_error && res == -ECANCELED))
		res = slot->cancel_error;
	queue->num_polled -= slot->polled;
	if (unlikely(slot->fence)) {
		queue->num_fences--;
		ended->fences[ended->num_fences].fence = slot->fence;
		ended->fences[ended->num_fences++].res = res;
	}
	if (slot->ucmd)
		kiln_uring_end(&ended->uring, slot->ucmd, res, cycles);
	else
		queue->results[slot->seqno & (queue->depth - 1)] = (struct kiln_queue_result) {
			.cycles = cycles, .res = res, .done = true,
		};
	queue->commands++;
	queue->cycles += cycles;
	slot->state = KILN_SLOT_FREE;
	queue->free_slots[queue->num_free++] = slot - queue->slots;
}

/* Tell whoever submitted. Any context, no lock. */
void kiln_queue_tell(struct kiln_ended *ended)
{
	unsigned int i;

	for (i = 0; i < ended->num_fences; i++)
		kiln_fence_signal(ended->fences[i].fence, ended->fences[i].res);
	kiln_uring_tell(&ended->uring);
}

/* --------------------------------------------------------- publication -- */

/* Give the card what stands in the ring. True: it wants a doorbell. */
bool kiln_queue_publish_locked(struct kiln_queue *queue)
{
	bool doorbell;

	lockdep_assert_held(&queue->lock);
	/* It has no ring any more, or has forgotten it: whoever saw to that ends the commands. */
	if (queue->error || !queue->ring.sq)
		return false;
	doorbell = kiln_ring_publish(&queue->ring);
	queue->doorbells += doorbell;
	return doorbell;
}

/* As kiln_queue_publish_locked(), and the doorbell. Any context. */
void kiln_queue_publish(struct kiln_queue *queue)
{
	unsigned long flags;
	bool doorbell;
	int idx;

	spin_lock_irqsave(&queue->lock, flags);
	doorbell = kiln_queue_publish_locked(queue);
	spin_unlock_irqrestore(&queue->lock, flags);
	if (doorbell && drm_dev_enter(&queue->kdev->drm, &idx)) {
		trace_kiln_doorbell(queue->hw_id);
		kiln_hw_doorbell(queue->kdev, queue->hw_id);
		drm_dev_exit(idx);
	}
}

static void kiln_queue_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct kiln_queue *queue = container_of(cb, struct kiln_queue, plug_cb);

	spin_lock_irq(&queue->lock);
	queue->plug = NULL;
	spin_unlock_irq(&queue->lock);
	kiln_queue_publish(queue);
	kiln_queue_put(queue);
}

/*
 * io_uring plugs the block layer around a batch of commands, and takes the plug
 * out at its end, or when the task sleeps before. The same does for us: one
 * look at the ring's event index, and one doorbell, for the whole batch. False:
 * there is no batch, or another task's has the queue: publish at once.
 */
bool kiln_queue_plug_locked(struct kiln_queue *queue)
{
	struct blk_plug *plug = current->plug;

	lockdep_assert_held(&queue->lock);
	if (!plug || (queue->plug && queue->plug != plug))
		return false;
	if (!queue->plug) {
		kref_get(&queue->ref);
		queue->plug = plug;
		queue->plug_cb.callback = kiln_queue_unplug;
		list_add_tail(&queue->plug_cb.list, &plug->cb_list);
	}
	return true;
}

/* ---------------------------------------------------------- completions -- */

/* A batch of completions. True: there may be more. */
static bool kiln_queue_process_batch(struct kiln_queue *queue, bool *any)
{
	struct kiln_completion completion;
	unsigned int left = KILN_QUEUE_BATCH;
	struct kiln_ended ended;
	struct kiln_slot *slot;
	bool stray = false, fault = false;
	bool more = false;
	unsigned long flags;
	int count, i;

	ended.uring.first = NULL;
	ended.num_fences = 0;
	spin_lock_irqsave(&queue->lock, flags);
	do {
		/* With the card gone, its commands have been ended already. */
		count = queue->ring.sq ? kiln_ring_count(&queue->ring) : 0;
		/* One that tells of a fault is the last: first the log hears of it. */
		for (i = 0; i < count && left && !stray && !fault; i++) {
			kiln_ring_read(&queue->ring, &completion);
			trace_kiln_complete(queue, &completion);
			slot = kiln_queue_find_locked(queue, completion.cookie);
			stray = !slot || slot->state != KILN_SLOT_SUBMITTED;
			if (unlikely(stray))
				break;
			fault = completion.status != KILN_ST_OK;
			kiln_queue_end_locked(queue, slot, unlikely(fault) ?
					      kiln_fault_errno(completion.status) : 0,
					      completion.cycles, &ended);
			if (completion.end_ns > completion.start_ns)
				queue->busy_ns += completion.end_ns - completion.start_ns;
			left--;
		}
		if (count > 0)
			kiln_ring_release(&queue->ring);
		more = count > 0;
	} while (more && left && !stray && !fault);
	if (!count && queue->ring.sq) {
		u32 in_flight = queue->depth - queue->num_free;

		/*
		 * No interrupt if all that are in flight are polled. If there are
		 * none, who has come last is who comes next.
		 */
		queue->armed = in_flight ? queue->num_polled < in_flight : !queue->last_polled;
		more = queue->armed && kiln_ring_rearm(&queue->ring);
	}
	spin_unlock_irqrestore(&queue->lock, flags);

	*any |= left < KILN_QUEUE_BATCH;
	if (unlikely(fault))
		kiln_fault_record(queue, &completion);
	kiln_queue_tell(&ended);
	if (likely(count >= 0 && !stray))
		return more;

	/* Some command never ends by itself. */
	if (stray)
		dev_err_ratelimited(queue->kdev->drm.dev,
				    "queue %u: completion of a command that is not in flight (%#llx)\n",
				    queue->hw_id, completion.cookie);
	else
		dev_err_ratelimited(queue->kdev->drm.dev,
				    "queue %u: completion index out of range\n", queue->hw_id);
	kiln_hw_broken(queue->kdev, queue->epoch);
	return false;
}

/* Take completions out until the card has no more, then ask for an interrupt. */
bool kiln_queue_process(struct kiln_queue *queue)
{
	bool any = false;

	while (kiln_queue_process_batch(queue, &any))
		;
	if (any && wq_has_sleeper(&queue->wait))
		wake_up_all(&queue->wait);
	return any;
}

/* End whatever the card has not completed. It has let go of it. */
static void kiln_queue_fail(struct kiln_queue *queue, int error)
{
	struct kiln_ended ended;
	u32 i;

	/* What it did complete keeps its result. */
	kiln_queue_process(queue);
	for (i = 0; i < queue->depth; i++) {
		struct kiln_slot *slot = &queue->slots[i];

		ended.uring.first = NULL;
		ended.num_fences = 0;
		spin_lock_irq(&queue->lock);
		/* The first reason is the one that is told, but for a card that is gone. */
		if (!queue->error || error == -ENODEV)
			queue->error = error;
		/* A slot that is only reserved is its submitter's to end. */
		if (slot->state == KILN_SLOT_SUBMITTED)
			kiln_queue_end_locked(queue, slot, error, 0, &ended);
		spin_unlock_irq(&queue->lock);
		kiln_queue_tell(&ended);
	}
	wake_up_all(&queue->wait);
}

static void kiln_queue_free_ring(struct kiln_queue *queue)
{
	struct kiln_ring ring;

	spin_lock_irq(&queue->lock);
	ring = queue->ring;
	queue->ring.sq = NULL;
	spin_unlock_irq(&queue->lock);
	kiln_ring_free(queue->kdev->drm.dev, &ring);
}

/* Calls @func for each queue of the card; they may come and go meanwhile. */
static void kiln_queue_for_each(struct kiln_device *kdev,
				void (*func)(struct kiln_queue *queue, int error), int error)
{
	struct kiln_queue *queue;
	unsigned long hw_id;

	rcu_read_lock();
	xa_for_each(&kdev->queues, hw_id, queue) {
		if (!kref_get_unless_zero(&queue->ref))
			continue;
		rcu_read_unlock();
		func(queue, error);
		kiln_queue_put(queue);
		rcu_read_lock();
	}
	rcu_read_unlock();
}

/* The card was reset or is gone: every command of every queue ends in @error. */
void kiln_queue_fail_all(struct kiln_device *kdev, int error)
{
	kiln_queue_for_each(kdev, kiln_queue_fail, error);
}

static void kiln_queue_poll(struct kiln_queue *queue, int error)
{
	if (READ_ONCE(queue->num_free) < queue->depth && kiln_queue_process(queue))
		drm_dbg(&queue->kdev->drm, "queue %u: completions without an interrupt\n",
			queue->hw_id);
}

/* Take out what the card has completed, in case that an interrupt was lost. */
void kiln_queue_poll_all(struct kiln_device *kdev)
{
	kiln_queue_for_each(kdev, kiln_queue_poll, 0);
}

static void kiln_queue_release(struct kiln_queue *queue, int error)
{
	kiln_queue_free_ring(queue);
}

/* The driver leaves the card, files stay open: give back memory that is mapped for DMA. */
void kiln_queue_release_all(struct kiln_device *kdev)
{
	kiln_queue_for_each(kdev, kiln_queue_release, 0);
}

/* --------------------------------------------------------------- cancel -- */

/*
 * Send cancellations that are due. A command ends when the card says so: until
 * then its memory is in use.
 */
static void kiln_queue_cancel_work(struct work_struct *work)
{
	struct kiln_queue *queue = container_of(work, struct kiln_queue, cancel_work);
	/* Commands may have fences, which somebody waits for. */
	bool signalling = dma_fence_begin_signalling();
	u32 i;

	for (i = 0; i < queue->depth; i++) {
		struct kiln_slot *slot = &queue->slots[i];
		u64 cookie = 0;
		bool send;

		spin_lock_irq(&queue->lock);
		send = slot->state == KILN_SLOT_SUBMITTED && slot->cancel && !slot->cancel_sent;
		if (send) {
			slot->cancel_sent = true;
			cookie = kiln_queue_cookie(queue, slot);
		}
		spin_unlock_irq(&queue->lock);
		if (!send)
			continue;
		/*
		 * The card can only find what it knows of, and more commands have come while the
		 * last one was looked for. This one may just have ended: then it is not found.
		 */
		kiln_queue_publish(queue);
		kiln_admin_queue_cancel(queue->kdev, queue->epoch, queue->hw_id, cookie);
	}
	dma_fence_end_signalling(signalling);
}

static void kiln_queue_cancel_locked(struct kiln_queue *queue, struct kiln_slot *slot)
{
	if (slot->cancel)
		return;
	slot->cancel = true;
	/* A reserved one is ended by its submitter, who looks at slot->cancel. */
	if (slot->state == KILN_SLOT_SUBMITTED)
		queue_work(queue->kdev->wq, &queue->cancel_work);
}

/*
 * The command, of which the caller has a reference, is not wanted any more. Any
 * context. If it has ended, its slot is free or another's, and nothing happens.
 */
void kiln_queue_cancel(struct kiln_queue *queue, u16 index, struct io_uring_cmd *ucmd)
{
	struct kiln_slot *slot = &queue->slots[index];
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	if (slot->state != KILN_SLOT_FREE && slot->ucmd == ucmd)
		kiln_queue_cancel_locked(queue, slot);
	spin_unlock_irqrestore(&queue->lock, flags);
}

/* The same for all commands of @ucmd's ring with this user_data. False: there is none. */
bool kiln_queue_cancel_like(struct kiln_queue *queue, struct io_uring_cmd *ucmd, u64 user_data)
{
	bool any = false;
	u32 i;

	spin_lock_irq(&queue->lock);
	for (i = 0; i < queue->depth; i++) {
		struct kiln_slot *slot = &queue->slots[i];

		/* Its command is there as long as the slot is not free. */
		if (slot->state == KILN_SLOT_FREE || !slot->ucmd ||
		    kiln_uring_ring(slot->ucmd) != kiln_uring_ring(ucmd) ||
		    kiln_uring_user_data(slot->ucmd) != user_data)
			continue;
		kiln_queue_cancel_locked(queue, slot);
		any = true;
	}
	spin_unlock_irq(&queue->lock);
	return any;
}

static void kiln_queue_expire(struct kiln_queue *queue, int error)
{
	bool work = false;
	u32 i;

	if (!READ_ONCE(queue->num_fences))
		return;
	spin_lock_irq(&queue->lock);
	for (i = 0; i < queue->depth; i++) {
		struct kiln_slot *slot = &queue->slots[i];

		if (slot->state != KILN_SLOT_SUBMITTED || !slot->fence || slot->cancel ||
		    time_before(jiffies, slot->expires))
			continue;
		slot->cancel = true;
		slot->cancel_error = -ETIME;
		work = true;
	}
	if (work)
		queue_work(queue->kdev->wq, &queue->cancel_work);
	spin_unlock_irq(&queue->lock);
}

/*
 * A dma_fence has to signal in bounded time, but a command may stand in a ring
 * behind one that waits for a value that nobody writes. So a command with a
 * fence is canceled when it is too old.
 */
void kiln_queue_expire_fences(struct kiln_device *kdev)
{
	kiln_queue_for_each(kdev, kiln_queue_expire, 0);
}

/* Has the VM commands that have not ended? */
bool kiln_queue_vm_is_busy(struct kiln_vm *vm)
{
	struct kiln_queue *queue;
	unsigned long hw_id;
	bool busy = false;

	rcu_read_lock();
	xa_for_each(&vm->kdev->queues, hw_id, queue) {
		if (READ_ONCE(queue->vm) != vm)
			continue;
		spin_lock_irq(&queue->lock);
		busy |= queue->num_free < queue->depth;
		spin_unlock_irq(&queue->lock);
	}
	rcu_read_unlock();
	return busy;
}

/* Take back all commands of a VM; they end in @error. */
void kiln_queue_vm_cancel(struct kiln_vm *vm, int error)
{
	struct kiln_queue *queue;
	unsigned long hw_id;
	u32 i;

	rcu_read_lock();
	xa_for_each(&vm->kdev->queues, hw_id, queue) {
		if (READ_ONCE(queue->vm) != vm)
			continue;
		spin_lock_irq(&queue->lock);
		for (i = 0; i < queue->depth; i++) {
			struct kiln_slot *slot = &queue->slots[i];

			if (slot->state != KILN_SLOT_SUBMITTED || slot->cancel)
				continue;
			slot->cancel = true;
			slot->cancel_error = error;
		}
		/* Not for one that is about to be destroyed, and waits for no more work. */
		if (!queue->error)
			queue_work(queue->kdev->wq, &queue->cancel_work);
		spin_unlock_irq(&queue->lock);
	}
	rcu_read_unlock();
}

/* ---------------------------------------------------- life of the queue -- */

/* Takes no lock: kiln_queue_put() frees after a grace period. */
struct kiln_queue *kiln_queue_get(struct kiln_file *kfile, u32 id)
{
	struct kiln_queue *queue;

	rcu_read_lock();
	if (likely(id < ARRAY_SIZE(kfile->first_queues)))
		queue = rcu_dereference(kfile->first_queues[id]);
	else
		queue = xa_load(&kfile->queues, id);
	if (queue && !kref_get_unless_zero(&queue->ref))
		queue = NULL;
	rcu_read_unlock();
	return queue;
}

static void kiln_queue_free_rcu(struct rcu_head *rcu)
{
	struct kiln_queue *queue = container_of(rcu, struct kiln_queue, rcu);

	kvfree(queue->results);
	kvfree(queue->free_slots);
	kvfree(queue->slots);
	kfree(queue);
}

static void kiln_queue_free(struct kref *ref)
{
	struct kiln_queue *queue = container_of(ref, struct kiln_queue, ref);

	call_rcu(&queue->rcu, kiln_queue_free_rcu);
}

/* Any context. */
void kiln_queue_put(struct kiln_queue *queue)
{
	kref_put(&queue->ref, kiln_queue_free);
}

void kiln_queue_put_many(struct kiln_queue *queue, unsigned int count)
{
	if (refcount_sub_and_test(count, &queue->ref.refcount))
		kiln_queue_free(&queue->ref);
}

/* Make the card know the queue. */
static int kiln_queue_admin_create(struct kiln_queue *queue)
{
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_QUEUE_CREATE,
		.queue = {
			.queue = queue->hw_id,
			.context = queue->vm->hw_id,
			.sq = queue->ring.dma,
			.cq = queue->ring.cq_dma,
			.ctl = queue->ring.ctl_dma,
			.log2_entries = ilog2(queue->depth),
			.vector = queue->vector,
			.weight = queue->weight,
			.limit_ms = queue->limit_ms,
		},
	};

	return kiln_admin_exec(queue->kdev, queue->epoch, &cmd);
}

static int kiln_queue_create_hw(struct kiln_queue *queue)
{
	struct kiln_device *kdev = queue->kdev;
	int ret;

	ret = xa_alloc(&kdev->queues, &queue->hw_id, queue, XA_LIMIT(1, kdev->max_queues - 1),
		       GFP_KERNEL);
	if (ret)
		return ret == -EBUSY ? -ENOSPC : ret;
	kiln_irq_add_queue(kdev, queue);
	ret = kiln_queue_admin_create(queue);
	if (ret) {
		kiln_irq_remove_queue(kdev, queue);
		xa_erase(&kdev->queues, queue->hw_id);
	}
	return ret;
}

/* Put into the empty ring again what had not ended; @entries is what stood in the full one. */
static void kiln_queue_replay(struct kiln_queue *queue, const struct kiln_cmd *entries, u32 tail)
{
	u32 i;

	spin_lock_irq(&queue->lock);
	for (i = tail - queue->depth; i != tail; i++) {
		const struct kiln_cmd *cmd = &entries[i & (queue->depth - 1)];
		struct kiln_slot *slot = kiln_queue_find_locked(queue, cmd->cookie);

		if (!slot || slot->state != KILN_SLOT_SUBMITTED)
			continue;
		*kiln_ring_next(&queue->ring) = *cmd;
		if (slot->cancel) {
			slot->cancel_sent = false;
			queue_work(queue->kdev->wq, &queue->cancel_work);
		}
	}
	kiln_ring_publish(&queue->ring);
	spin_unlock_irq(&queue->lock);
	kiln_hw_doorbell(queue->kdev, queue->hw_id);
}

/* The card has forgotten the queue, and knows its context again. */
static int kiln_queue_restore(struct kiln_queue *queue)
{
	size_t bytes = queue->depth * sizeof(struct kiln_cmd);
	struct kiln_cmd *entries = kvmalloc(bytes, GFP_KERNEL);
	u32 tail = 0;
	bool lost;
	int ret;

	if (!entries)
		return -ENOMEM;
	spin_lock_irq(&queue->lock);
	lost = queue->error || !queue->ring.sq;
	if (!lost) {
		memcpy(entries, queue->ring.sq, bytes);
		tail = queue->ring.sq_tail;
		kiln_ring_clear(&queue->ring);
	}
	spin_unlock_irq(&queue->lock);
	ret = lost ? 0 : kiln_queue_admin_create(queue);
	if (!lost && !ret)
		kiln_queue_replay(queue, entries, tail);
	kvfree(entries);
	return ret;
}

/* All commands are where they were before the card lost its power. */
int kiln_queue_restore_all(struct kiln_device *kdev)
{
	struct kiln_queue *queue;
	unsigned long hw_id;
	int ret = 0;

	rcu_read_lock();
	xa_for_each(&kdev->queues, hw_id, queue) {
		if (!kref_get_unless_zero(&queue->ref))
			continue;
		rcu_read_unlock();
		ret = kiln_queue_restore(queue);
		kiln_queue_put(queue);
		rcu_read_lock();
		if (ret)
			break;
	}
	rcu_read_unlock();
	return ret;
}

static struct kiln_queue *kiln_queue_create(struct kiln_vm *vm,
					    const struct drm_kiln_queue_create *args)
{
	struct kiln_device *kdev = vm->kdev;
	struct kiln_queue *queue;
	u32 depth = args->depth;
	int ret = -ENOMEM;

	queue = kzalloc(sizeof(*queue), GFP_KERNEL);
	if (!queue)
		return ERR_PTR(-ENOMEM);
	kref_init(&queue->ref);
	queue->kdev = kdev;
	queue->vm = vm;
	queue->depth = depth;
	queue->weight = args->weight ?: KILN_WEIGHT_DEFAULT;
	queue->limit_ms = args->limit_ms ?: KILN_LIMIT_MS_MAX;
	queue->armed = true;	/* a new ring is */
	queue->epoch = vm->epoch;
	INIT_LIST_HEAD(&queue->vector_link);
	spin_lock_init(&queue->lock);
	init_waitqueue_head(&queue->wait);
	INIT_WORK(&queue->cancel_work, kiln_queue_cancel_work);

	queue->slots = kvcalloc(depth, sizeof(*queue->slots), GFP_KERNEL);
	queue->free_slots = kvcalloc(depth, sizeof(*queue->free_slots), GFP_KERNEL);
	queue->results = kvcalloc(depth, sizeof(*queue->results), GFP_KERNEL);
	if (!queue->slots || !queue->free_slots || !queue->results)
		goto err_put;
	for (queue->num_free = 0; queue->num_free < depth; queue->num_free++) {
		queue->free_slots[queue->num_free] = depth - 1 - queue->num_free;
		queue->results[queue->num_free].done = true;
	}
	ret = kiln_ring_alloc(kdev->drm.dev, &queue->ring, depth);
	if (ret)
		goto err_put;
	ret = kiln_queue_create_hw(queue);
	if (ret)
		goto err_ring;
	drm_gpuvm_get(&vm->base);
	return queue;

err_ring:
	kiln_queue_free_ring(queue);
err_put:
	kiln_queue_put(queue);
	return ERR_PTR(ret);
}

/* Out of the file already; drops the file's reference. kfile->lock is held. */
void kiln_queue_destroy(struct kiln_queue *queue, struct kiln_file *kfile)
{
	struct kiln_device *kdev = queue->kdev;
	int ret;

	lockdep_assert_held(&kfile->lock);
	if (queue->id < ARRAY_SIZE(kfile->first_queues))
		RCU_INIT_POINTER(kfile->first_queues[queue->id], NULL);
	spin_lock_irq(&queue->lock);
	if (!queue->error)
		queue->error = -ECANCELED;
	spin_unlock_irq(&queue->lock);
	wake_up_all(&queue->wait);

	/* The card aborts what it holds, and tells it in the completion ring. */
	ret = kiln_admin_queue_destroy(kdev, queue->epoch, queue->hw_id);
	if (ret && ret != -EIO && ret != -ENODEV) {
		drm_err(&kdev->drm, "queue %u does not go away: %d\n", queue->hw_id, ret);
		kiln_hw_reset(kdev, queue->epoch, "keeps a queue");
	}
	kiln_irq_remove_queue(kdev, queue);
	kiln_queue_fail(queue, -ECANCELED);
	/* No slot is left that a cancellation could find. */
	cancel_work_sync(&queue->cancel_work);
	xa_erase(&kdev->queues, queue->hw_id);
	kiln_queue_free_ring(queue);

	spin_lock_irq(&queue->lock);
	kfile->cycles += queue->cycles;
	kfile->commands += queue->commands;
	kfile->busy_ns += queue->busy_ns;
	spin_unlock_irq(&queue->lock);
	kiln_user_force(kfile->user, KILN_RES_QUEUES, 1, 0);
	queue->vm->num_queues--;
	kiln_vm_put(queue->vm);
	queue->vm = NULL;
	kiln_queue_put(queue);
}

int kiln_queue_create_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_file *kfile = file->driver_priv;
	struct drm_kiln_queue_create *args = data;
	struct kiln_queue *queue;
	struct kiln_vm *vm;
	u32 id;
	int ret;

	if (!is_power_of_2(args->depth) || args->depth < KILN_QUEUE_DEPTH_MIN ||
	    args->depth > KILN_QUEUE_DEPTH_MAX)
		return kiln_bad(kdev, -EINVAL, "depth %u", args->depth);
	if (args->weight > KILN_WEIGHT_MAX)
		return kiln_bad(kdev, -EINVAL, "weight %u", args->weight);
	if (args->limit_ms > KILN_LIMIT_MS_MAX)
		return kiln_bad(kdev, -EINVAL, "limit_ms %u", args->limit_ms);
	if (args->flags)
		return kiln_bad(kdev, -EINVAL, "flags %#x", args->flags);
	if (args->id)
		return kiln_bad(kdev, -EINVAL, "id %u", args->id);
	if (args->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", args->reserved);

	mutex_lock(&kfile->lock);
	vm = xa_load(&kfile->vms, args->vm_id);
	if (!vm) {
		ret = kiln_bad(kdev, -ENOENT, "vm_id %u", args->vm_id);
		goto out;
	}
	ret = xa_alloc(&kfile->queues, &id, NULL, KILN_QUEUES_PER_FILE, GFP_KERNEL);
	if (ret) {
		ret = ret == -EBUSY ? -ENOSPC : ret;
		goto out;
	}
	ret = kiln_user_charge(kfile->user, KILN_RES_QUEUES, 0, 1);
	if (ret) {
		kiln_bad(kdev, ret, "one more is beyond the user's limit");
		xa_release(&kfile->queues, id);
		goto out;
	}
	queue = kiln_queue_create(vm, args);
	if (IS_ERR(queue)) {
		ret = PTR_ERR(queue);
		kiln_user_force(kfile->user, KILN_RES_QUEUES, 1, 0);
		xa_release(&kfile->queues, id);
		goto out;
	}
	queue->id = id;
	vm->num_queues++;
	args->id = id;
	xa_store(&kfile->queues, id, queue, GFP_KERNEL);
	if (id < ARRAY_SIZE(kfile->first_queues))
		rcu_assign_pointer(kfile->first_queues[id], queue);
out:
	mutex_unlock(&kfile->lock);
	return ret;
}

int kiln_queue_destroy_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_file *kfile = file->driver_priv;
	struct drm_kiln_queue_destroy *args = data;
	struct kiln_queue *queue;

	if (args->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", args->pad);

	mutex_lock(&kfile->lock);
	queue = xa_erase(&kfile->queues, args->id);
	if (queue)
		kiln_queue_destroy(queue, kfile);
	mutex_unlock(&kfile->lock);
	return queue ? 0 : kiln_bad(kdev, -ENOENT, "id %u", args->id);
}
