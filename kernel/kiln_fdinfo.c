// SPDX-License-Identifier: GPL-2.0-only
/*
 * The keys that begin with drm- are those of Documentation/gpu/drm-usage-stats.rst,
 * which stock tools read; those that begin with kiln- are listed in docs/uapi.md.
 */
#include <linux/idr.h>

#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_print.h>

#include "kiln_bo.h"
#include "kiln_drv.h"
#include "kiln_fdinfo.h"
#include "kiln_queue.h"
#include "kiln_vm.h"

/* "memory" is the name that every driver has for host memory. */
static void kiln_fdinfo_show_memory(struct drm_printer *p, struct drm_file *file)
{
	struct drm_memory_stats hbm = { 0 }, host = { 0 };
	struct drm_gem_object *gem;
	int id;

	spin_lock(&file->table_lock);
	idr_for_each_entry(&file->object_idr, gem, id) {
		bool resident, in_hbm = kiln_bo_peek(to_kiln_bo(gem), &resident);
		struct drm_memory_stats *stats = in_hbm ? &hbm : &host;

		if (drm_gem_object_is_shared_for_memory_stats(gem))
			stats->shared += gem->size;
		else
			stats->private += gem->size;
		if (resident)
			stats->resident += gem->size;
	}
	spin_unlock(&file->table_lock);
	drm_print_memory_stats(p, &hbm, DRM_GEM_OBJECT_RESIDENT, "hbm");
	drm_print_memory_stats(p, &host, DRM_GEM_OBJECT_RESIDENT, "memory");
}

/*
 * Without kiln_file.lock, which is held while the card is waited for: whoever
 * looks after a card that hangs shall not hang with it. A queue that goes just
 * now may be missed; the next look has it in the file's own sums.
 */
void kiln_fdinfo_show(struct drm_printer *p, struct drm_file *file)
{
	struct kiln_file *kfile = file->driver_priv;
	u64 cycles = READ_ONCE(kfile->cycles);
	u64 commands = READ_ONCE(kfile->commands);
	u64 busy_ns = READ_ONCE(kfile->busy_ns);
	u32 contexts = 0, queues = 0, in_flight = 0;
	struct kiln_queue *queue;
	struct kiln_vm *vm;
	unsigned long id;

	rcu_read_lock();
	xa_for_each(&kfile->queues, id, queue) {
		spin_lock_irq(&queue->lock);
		cycles += queue->cycles;
		commands += queue->commands;
		busy_ns += queue->busy_ns;
		in_flight += queue->depth - queue->num_free;
		spin_unlock_irq(&queue->lock);
		queues++;
	}
	rcu_read_unlock();
	xa_for_each(&kfile->vms, id, vm)
		contexts++;

	drm_printf(p, "drm-engine-core:\t%llu ns\n", busy_ns);
	drm_printf(p, "drm-engine-capacity-core:\t%u\n", kfile->kdev->cores);
	drm_printf(p, "drm-cycles-core:\t%llu\n", cycles);
	drm_printf(p, "drm-maxfreq-core:\t%u KHz\n", kfile->kdev->clock_khz);
	kiln_fdinfo_show_memory(p, file);
	drm_printf(p, "kiln-contexts:\t%u\n", contexts);
	drm_printf(p, "kiln-queues:\t%u\n", queues);
	drm_printf(p, "kiln-in-flight:\t%u\n", in_flight);
	drm_printf(p, "kiln-commands:\t%llu\n", commands);
}
