// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory moves while it is bound: each VM has one fence, the eviction fence, on
 * every buffer that is bound in it, and none per command.
 *
 * Who wants to move a buffer waits for its fences. That asks the firmware to
 * suspend the context: running commands end, no other starts, so that the card
 * touches none of its memory. The fence signals, the buffer moves, and is marked
 * as evicted in its VMs; their page tables stay as they are, since nobody reads
 * them. Once the VM has commands again, or still, a worker brings its buffers
 * home, writes page tables anew, puts a new fence on all, and has the firmware
 * resume the context.
 *
 * The wait is bounded: by the longest command there is, or a reset of the card.
 */
#include <linux/dma-fence.h>
#include <linux/jiffies.h>
#include <linux/slab.h>

#include <drm/drm_gem.h>
#include <drm/drm_print.h>

#include "kiln_bo.h"
#include "kiln_drv.h"
#include "kiln_evict.h"
#include "kiln_hw.h"
#include "kiln_queue.h"
#include "kiln_trace.h"
#include "kiln_vm.h"

/*
 * Who has got memory back keeps it for a turn, so that tenants who cannot be on
 * the card together get something done, not only copied.
 */
#define KILN_EVICT_TURN		(HZ / 4)

/**
 * struct kiln_evict_fence - signals when the context is suspended
 */
struct kiln_evict_fence {
	/** @base: the fence. */
	struct dma_fence base;
	/** @lock: of @base. */
	spinlock_t lock;
	/** @vm: whose; it outlives the signal. */
	struct kiln_vm *vm;
};

static struct kiln_evict_fence *to_kiln_evict_fence(struct dma_fence *fence)
{
	return container_of(fence, struct kiln_evict_fence, base);
}

static const char *kiln_evict_driver_name(struct dma_fence *fence)
{
	return "kiln";
}

static const char *kiln_evict_timeline_name(struct dma_fence *fence)
{
	return "eviction";
}

static unsigned long kiln_evict_left_of_turn(struct kiln_vm *vm)
{
	return time_before(jiffies, vm->turn_ends) ? vm->turn_ends - jiffies : 0;
}

/* The first who waits. Any context, fence->lock is held. */
static bool kiln_evict_enable_signaling(struct dma_fence *fence)
{
	struct kiln_vm *vm = to_kiln_evict_fence(fence)->vm;

	queue_delayed_work(vm->kdev->evict_wq, &vm->suspend_work, kiln_evict_left_of_turn(vm));
	return true;
}

static const struct dma_fence_ops kiln_evict_ops = {
	.get_driver_name = kiln_evict_driver_name,
	.get_timeline_name = kiln_evict_timeline_name,
	.enable_signaling = kiln_evict_enable_signaling,
};

/* NULL if there is no memory. */
struct dma_fence *kiln_evict_create_fence(struct kiln_vm *vm)
{
	struct kiln_evict_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	if (!fence)
		return NULL;
	spin_lock_init(&fence->lock);
	fence->vm = vm;
	dma_fence_init(&fence->base, &kiln_evict_ops, &fence->lock, vm->fence_context,
		       ++vm->fence_seqno);
	return &fence->base;
}

/*
 * Somebody waits for the fence: nothing in here may allocate memory, or wait for
 * somebody who does, or who holds a reservation.
 */
static void kiln_evict_suspend_work(struct work_struct *work)
{
	struct kiln_vm *vm = container_of(to_delayed_work(work), struct kiln_vm, suspend_work);
	struct kiln_device *kdev = vm->kdev;
	bool cookie = dma_fence_begin_signalling();
	int ret;

	trace_kiln_evict(vm->hw_id, true);
	ret = kiln_admin_context_suspend(kdev, vm->epoch, vm->hw_id);
	/* After a reset, and without a card, nothing of the context runs either. */
	if (ret && ret != -EIO && ret != -ENODEV) {
		drm_err(&kdev->drm, "context %u cannot be suspended: %d\n", vm->hw_id, ret);
		kiln_hw_reset(kdev, vm->epoch, "keeps a context running");
	}
	/* Seen by who submits from here on; what is there already, the worker looks for. */
	WRITE_ONCE(vm->suspended, true);
	dma_fence_signal(vm->evict_fence);
	kiln_evict_want_back(vm);
	dma_fence_end_signalling(cookie);
}

/*
 * A context that has nothing to do stays where it is. If there is no room for
 * one that has, its commands end, and the next one tries again.
 */
static void kiln_evict_restore_work(struct work_struct *work)
{
	struct kiln_vm *vm = container_of(work, struct kiln_vm, restore_work);
	int ret;

	mutex_lock(&vm->lock);
	if (!vm->dead && vm->epoch == READ_ONCE(vm->kdev->epoch) &&
	    kiln_evict_is_suspended(vm) && kiln_queue_vm_is_busy(vm)) {
		ret = kiln_vm_restore(vm);
		if (ret && ret != -EIO && ret != -ENODEV) {
			drm_dbg(&vm->kdev->drm,
				"vm %u: its memory cannot be brought back (%d), %lld bytes of HBM: its commands end\n",
				vm->id, ret, vm->hbm_bytes);
			kiln_queue_vm_cancel(vm, -ENOMEM);
		}
	}
	mutex_unlock(&vm->lock);
}

/* Does the card touch nothing of the VM, until it is restored? vm->lock, or a bound buffer's. */
bool kiln_evict_is_suspended(struct kiln_vm *vm)
{
	return dma_fence_is_signaled(vm->evict_fence);
}

/* Everything is at its place and has @fence on it: go on. */
void kiln_evict_restored(struct kiln_vm *vm, struct dma_fence *fence)
{
	struct kiln_device *kdev = vm->kdev;
	int ret;

	dma_fence_put(vm->evict_fence);
	vm->evict_fence = fence;
	vm->turn_ends = jiffies + KILN_EVICT_TURN;
	WRITE_ONCE(vm->suspended, false);
	trace_kiln_evict(vm->hw_id, false);
	ret = kiln_admin_context_resume(kdev, vm->epoch, vm->hw_id);
	if (ret && ret != -EIO && ret != -ENODEV) {
		drm_err(&kdev->drm, "context %u cannot be resumed: %d\n", vm->hw_id, ret);
		kiln_hw_reset(kdev, vm->epoch, "keeps a context suspended");
	}
}

/* A suspended VM has a command. Any context; the VM has a queue. Not while the machine sleeps. */
void kiln_evict_want_back(struct kiln_vm *vm)
{
	queue_work(system_freezable_wq, &vm->restore_work);
}

/* The buffer is not any more where page tables say. Its VMs are suspended, its lock is held. */
void kiln_evict_moved(struct kiln_bo *bo)
{
	struct drm_gpuvm_bo *vm_bo;

	drm_gem_for_each_gpuvm_bo(vm_bo, &bo->tbo.base)
		drm_gpuvm_bo_evict(vm_bo, true);
}

/* The machine goes to sleep: no eviction runs, and none starts before kiln_evict_let(). */
int kiln_evict_hold(struct kiln_vm *vm)
{
	disable_delayed_work_sync(&vm->suspend_work);
	return 0;
}

/* All are awake: who was asked meanwhile, or just before, gives its memory up now. */
int kiln_evict_let(struct kiln_vm *vm)
{
	struct kiln_evict_fence *fence = to_kiln_evict_fence(vm->evict_fence);

	/* With the lock nobody asks between our two steps. */
	spin_lock_irq(&fence->lock);
	enable_delayed_work(&vm->suspend_work);
	if (test_bit(DMA_FENCE_FLAG_ENABLE_SIGNAL_BIT, &fence->base.flags) &&
	    !test_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &fence->base.flags))
		queue_delayed_work(vm->kdev->evict_wq, &vm->suspend_work, 0);
	spin_unlock_irq(&fence->lock);
	return 0;
}

int kiln_evict_init(struct kiln_vm *vm)
{
	INIT_DELAYED_WORK(&vm->suspend_work, kiln_evict_suspend_work);
	INIT_WORK(&vm->restore_work, kiln_evict_restore_work);
	vm->turn_ends = jiffies;
	vm->fence_context = dma_fence_context_alloc(1);
	vm->evict_fence = kiln_evict_create_fence(vm);
	return vm->evict_fence ? 0 : -ENOMEM;
}

/* There are no queues any more. On return no work is left, and none can start. */
void kiln_evict_fini(struct kiln_vm *vm)
{
	if (!vm->evict_fence)
		return;
	if (vm->hw_id) {
		/* A wait for no time is what starts it, on all kernels. */
		dma_fence_wait_timeout(vm->evict_fence, false, 0);
		/* Does not wait for the end of a turn. */
		flush_delayed_work(&vm->suspend_work);
	} else {
		/* The card has never seen it, nor has any buffer. */
		dma_fence_signal(vm->evict_fence);
	}
	cancel_work_sync(&vm->restore_work);
}
