// SPDX-License-Identifier: GPL-2.0-only
#include <linux/seq_file.h>

#include <drm/drm_debugfs.h>
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <drm/ttm/ttm_placement.h>
#include <drm/ttm/ttm_resource.h>

#include "kiln_debugfs.h"
#include "kiln_drv.h"
#include "kiln_hw.h"
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
	seq_printf(seq, "state %u\nerror %u\nheartbeat %u\nfaults %u\nresets %u\nwedged %d\n",
		   kiln_hw_read(kdev, KILN_REG_STATUS), kiln_hw_read(kdev, KILN_REG_ERROR),
		   kiln_hw_read(kdev, KILN_REG_HEARTBEAT), kiln_hw_read(kdev, KILN_REG_FAULTS),
		   READ_ONCE(kdev->epoch), READ_ONCE(kdev->wedged));
	drm_dev_exit(idx);
	return 0;
}

static const struct drm_debugfs_info kiln_debugfs_files[] = {
	{ "card", kiln_debugfs_card },
	{ "contexts", kiln_debugfs_contexts },
	{ "queues", kiln_debugfs_queues },
	{ "hbm", kiln_debugfs_hbm },
};

void kiln_debugfs_init(struct kiln_device *kdev)
{
	drm_debugfs_add_files(&kdev->drm, kiln_debugfs_files, ARRAY_SIZE(kiln_debugfs_files));
}
