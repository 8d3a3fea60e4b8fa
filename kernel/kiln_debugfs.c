// SPDX-License-Identifier: GPL-2.0-only
#include <linux/ctype.h>
#include <linux/seq_file.h>

#include <drm/drm_debugfs.h>
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <drm/ttm/ttm_placement.h>
#include <drm/ttm/ttm_resource.h>

#include "kiln_bo.h"
#include "kiln_debugfs.h"
#include "kiln_drv.h"
#include "kiln_hw.h"
#include "kiln_pm.h"
#include "kiln_queue.h"
#include "kiln_vm.h"

static struct kiln_device *kiln_debugfs_device(struct seq_file *seq)
{
	struct drm_debugfs_entry *entry = seq->private;

	return to_kiln_device(entry->dev);
}

static int kiln_debugfs_contexts(struct seq_file *seq, void *data)
{
	struct kiln_device *kdev = kiln_debugfs_device(seq);
	unsigned long hw_id;
	struct kiln_vm *vm;

	seq_puts(seq, "context pid weight priority min_share queues faults\n");
	/* Under the lock: a VM leaves the array before it goes. */
	xa_lock(&kdev->contexts);
	xa_for_each(&kdev->contexts, hw_id, vm)
		seq_printf(seq, "%lu %d %u %u %u %u %llu\n", hw_id, vm->pid, vm->share.weight,
			   vm->share.priority, vm->share.min_share, READ_ONCE(vm->num_queues),
			   READ_ONCE(vm->fault_count));
	xa_unlock(&kdev->contexts);
	return 0;
}

static int kiln_debugfs_queues(struct seq_file *seq, void *data)
{
	struct kiln_device *kdev = kiln_debugfs_device(seq);
	struct kiln_queue *queue;
	unsigned long hw_id;

	seq_puts(seq, "queue depth weight limit_ms vector in_flight commands cycles error doorbells\n");
	xa_lock(&kdev->queues);
	xa_for_each(&kdev->queues, hw_id, queue) {
		spin_lock_irq(&queue->lock);
		seq_printf(seq, "%lu %u %u %u %u %u %llu %llu %d %llu\n", hw_id,
			   queue->depth,
			   queue->weight, queue->limit_ms, queue->vector,
			   queue->depth - queue->num_free, queue->commands, queue->cycles,
			   queue->error, queue->doorbells);
		spin_unlock_irq(&queue->lock);
	}
	xa_unlock(&kdev->queues);
	return 0;
}

static int kiln_debugfs_hbm(struct seq_file *seq, void *data)
{
	struct kiln_device *kdev = kiln_debugfs_device(seq);
	struct drm_printer printer = drm_seq_file_printer(seq);

	ttm_resource_manager_debug(ttm_manager_type(&kdev->ttm, TTM_PL_VRAM), &printer);
	return 0;
}

static int kiln_debugfs_card(struct seq_file *seq, void *data)
{
	struct kiln_device *kdev = kiln_debugfs_device(seq);
	int idx;

	if (!drm_dev_enter(&kdev->drm, &idx))
		return -ENODEV;
	if (!kiln_pm_get_if_awake(kdev)) {
		drm_dev_exit(idx);
		seq_puts(seq, "asleep\n");
		return 0;
	}
	seq_printf(seq, "state %u\nerror %u\nheartbeat %u\nfaults %u\nresets %u\nwedged %d\n",
		   kiln_hw_read(kdev, KILN_REG_STATUS), kiln_hw_read(kdev, KILN_REG_ERROR),
		   kiln_hw_read(kdev, KILN_REG_HEARTBEAT), kiln_hw_read(kdev, KILN_REG_FAULTS),
		   READ_ONCE(kdev->epoch), READ_ONCE(kdev->wedged));
	kiln_pm_put(kdev);
	drm_dev_exit(idx);
	return 0;
}

/*
 * Text of the card's, so it is not trusted: only what can be printed goes out,
 * and it is read word by word out of its window, however long it claims to be.
 */
static int kiln_debugfs_firmware_log(struct seq_file *seq, void *data)
{
	struct kiln_device *kdev = kiln_debugfs_device(seq);
	bool have_word = false;
	u32 head, at, word = 0;
	int idx;

	if (!drm_dev_enter(&kdev->drm, &idx))
		return -ENODEV;
	head = kiln_hw_read(kdev, KILN_REG_LOG_HEAD);
	at = head > KILN_LOG_BYTES ? head - KILN_LOG_BYTES : 0;
	/* A card that is gone. */
	if (head == U32_MAX)
		at = head;
	for (; at != head; at++) {
		char c;

		if (!have_word || !(at % 4))
			word = kiln_hw_read(kdev, KILN_LOG_BASE + at % KILN_LOG_BYTES / 4 * 4);
		have_word = true;
		c = word >> at % 4 * 8;
		seq_putc(seq, c == '\n' || (isascii(c) && isprint(c)) ? c : '?');
	}
	drm_dev_exit(idx);
	return 0;
}

/* What is mapped, as the driver knows it: HBM is not read back. */
static int kiln_debugfs_page_tables(struct seq_file *seq, void *data)
{
	struct kiln_device *kdev = kiln_debugfs_device(seq);
	unsigned long hw_id = 0;
	struct kiln_vm *vm;

	seq_puts(seq, "context va bytes handle_bytes offset placement access\n");
	for (;;) {
		struct drm_gpuva *va;
		bool resident, in_hbm;

		xa_lock(&kdev->contexts);
		vm = xa_find_after(&kdev->contexts, &hw_id, ULONG_MAX, XA_PRESENT);
		if (vm)
			drm_gpuvm_get(&vm->base);
		xa_unlock(&kdev->contexts);
		if (!vm)
			return 0;
		if (mutex_lock_interruptible(&vm->lock)) {
			kiln_vm_put(vm);
			return -EINTR;
		}
		drm_gpuvm_for_each_va(va, &vm->base) {
			if (va == &vm->base.kernel_alloc_node)
				continue;
			in_hbm = kiln_bo_peek(to_kiln_bo(va->gem.obj), &resident);
			seq_printf(seq, "%lu %#llx %#llx %#zx %#llx %s %s\n", hw_id, va->va.addr,
				   va->va.range, va->gem.obj->size, va->gem.offset,
				   in_hbm ? "hbm" : "host",
				   va->flags & KILN_VMA_READONLY ? "ro" : "rw");
		}
		mutex_unlock(&vm->lock);
		kiln_vm_put(vm);
	}
}

static const struct drm_debugfs_info kiln_debugfs_files[] = {
	{ "card", kiln_debugfs_card },
	{ "contexts", kiln_debugfs_contexts },
	{ "queues", kiln_debugfs_queues },
	{ "hbm", kiln_debugfs_hbm },
	{ "page_tables", kiln_debugfs_page_tables },
	{ "firmware_log", kiln_debugfs_firmware_log },
};

void kiln_debugfs_init(struct kiln_device *kdev)
{
	drm_debugfs_add_files(&kdev->drm, kiln_debugfs_files, ARRAY_SIZE(kiln_debugfs_files));
}
