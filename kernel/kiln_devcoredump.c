// SPDX-License-Identifier: GPL-2.0-only
#include <linux/devcoredump.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>

#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include "kiln_bo.h"
#include "kiln_devcoredump.h"
#include "kiln_drv.h"
#include "kiln_fault.h"
#include "kiln_hbm.h"
#include "kiln_hw.h"
#include "kiln_queue.h"
#include "kiln_vm.h"

/* Of a program: more than any of ours, less than a tenant could make us copy. */
#define KILN_DUMP_PROGRAM_MAX	SZ_1M
#define KILN_DUMP_PERIOD	HZ

static const u32 kiln_dump_regs[] = {
	KILN_REG_MAGIC, KILN_REG_HW_VERSION, KILN_REG_GENERATION, KILN_REG_CORES,
	KILN_REG_HBM_SIZE_LO, KILN_REG_HBM_SIZE_HI, KILN_REG_CLOCK_KHZ, KILN_REG_CTRL,
	KILN_REG_STATUS, KILN_REG_ERROR, KILN_REG_FW_VERSION, KILN_REG_DRV_VERSION,
	KILN_REG_ADMIN_SQ_LO, KILN_REG_ADMIN_SQ_HI, KILN_REG_ADMIN_CQ_LO, KILN_REG_ADMIN_CQ_HI,
	KILN_REG_ADMIN_CTL_LO, KILN_REG_ADMIN_CTL_HI, KILN_REG_ADMIN_LOG2, KILN_REG_HEARTBEAT,
	KILN_REG_FAULTS, KILN_REG_LOG_HEAD,
};

static_assert(ARRAY_SIZE(kiln_dump_regs) <= KILN_DUMP_NUM_REGS);

/* --------------------------------------------------------- at the moment -- */

/* Any context. False: another one is being made. */
static bool kiln_dump_begin(struct kiln_devcoredump *dump, const char *reason)
{
	if (test_and_set_bit(0, &dump->busy))
		return false;
	strscpy(dump->reason, reason, sizeof(dump->reason));
	dump->has_card = false;
	dump->vm = NULL;
	return true;
}

/* Registers, and the log: after a line that is cut off at its beginning. */
static void kiln_dump_read_card(struct kiln_device *kdev)
{
	struct kiln_devcoredump *dump = kdev->dump;
	u32 head = kiln_hw_read(kdev, KILN_REG_LOG_HEAD);
	u32 i, word = 0;

	for (i = 0; i < ARRAY_SIZE(kiln_dump_regs); i++)
		dump->regs[i] = (struct kiln_dump_register) {
			.offset = kiln_dump_regs[i],
			.value = kiln_hw_read(kdev, kiln_dump_regs[i]),
		};
	dump->log_bytes = head == U32_MAX ? 0 : min_t(u32, head, KILN_LOG_BYTES);
	for (i = 0; i < dump->log_bytes; i++) {
		u32 at = (head - dump->log_bytes + i) % KILN_LOG_BYTES;

		if (!i || !(at % 4))
			word = kiln_hw_read(kdev, KILN_LOG_BASE + (at & ~3));
		dump->log[i] = word >> 8 * (at % 4);
	}
	dump->has_card = true;
}

/* The queue's last entries and completions. queue->lock is held. */
static void kiln_dump_copy_rings(struct kiln_devcoredump *dump, struct kiln_queue *queue)
{
	struct kiln_ring *ring = &queue->ring;
	u32 mask = ring->entries - 1, i;

	dump->ctl = *ring->ctl;
	/* The entry of a command is there until it has completed, so look through all of them. */
	for (i = 0; i < ring->entries; i++)
		if (ring->sq[i].cookie == dump->fault.completion.cookie)
			dump->fault.command = ring->sq[i];
	dump->sq_first = min(dump->ctl.sq_head, ring->sq_tail) - KILN_DUMP_ENTRIES / 2;
	dump->cq_first = ring->cq_head - KILN_DUMP_ENTRIES;
	for (i = 0; i < KILN_DUMP_ENTRIES; i++) {
		dump->sq[i] = ring->sq[(dump->sq_first + i) & mask];
		dump->cq[i] = ring->cq[(dump->cq_first + i) & mask];
	}
}

/* This command has stopped its VM. Any context; queue->lock is free. */
void kiln_devcoredump_fault(struct kiln_queue *queue, const struct kiln_completion *completion)
{
	struct kiln_device *kdev = queue->kdev;
	struct kiln_devcoredump *dump = kdev->dump;
	unsigned long flags;

	/* Tenants can have as many faults as they like; a reset is never one too many. */
	if (time_before(jiffies, READ_ONCE(dump->next)) ||
	    !kiln_dump_begin(dump, kiln_fault_text(completion->status)))
		return;
	dump->fault = (struct kiln_dump_fault) {
		.completion = *completion,
		.context = queue->vm->hw_id,
		.queue = queue->hw_id,
		.pid = queue->vm->pid,
	};
	spin_lock_irqsave(&queue->lock, flags);
	if (queue->ring.sq)
		kiln_dump_copy_rings(dump, queue);
	spin_unlock_irqrestore(&queue->lock, flags);
	drm_gpuvm_get(&queue->vm->base);
	dump->vm = queue->vm;
	queue_work(kdev->wq, &dump->work);
}

/* The card is about to be reset; it may be gone, too. */
void kiln_devcoredump_reset(struct kiln_device *kdev, const char *why)
{
	struct kiln_devcoredump *dump = kdev->dump;

	if (!kiln_dump_begin(dump, why))
		return;
	kiln_dump_read_card(kdev);
	queue_work(kdev->wq, &dump->work);
}

/* --------------------------------------------------------------- the file -- */

/**
 * struct kiln_dump_file - the file that is being made
 */
struct kiln_dump_file {
	/** @data: vmalloc'ed. */
	u8 *data;
	/** @bytes: in it. */
	size_t bytes;
	/** @room: for it. */
	size_t room;
};

/*
 * What follows runs under vm->lock, so it enters the device only to look at the
 * card: whoever has that lock may be waiting for the driver to leave the card.
 */

/* Room for a section's content; NULL: there is none. */
static void *kiln_dump_section(struct kiln_dump_file *file, u32 type, u64 addr, size_t bytes)
{
	struct kiln_dump_section section = { .type = type, .addr = addr, .bytes = bytes };
	struct kiln_dump_header *header = (void *)file->data;
	u8 *at = file->data + file->bytes;

	if (sizeof(section) + ALIGN(bytes, 8) > file->room - file->bytes)
		return NULL;
	memcpy(at, &section, sizeof(section));
	file->bytes += sizeof(section) + ALIGN(bytes, 8);
	header->sections++;
	return at + sizeof(section);
}

static void kiln_dump_put(struct kiln_dump_file *file, u32 type, u64 addr, const void *from,
			  size_t bytes)
{
	void *to = kiln_dump_section(file, type, addr, bytes);

	if (to)
		memcpy(to, from, bytes);
}

/* As the card sees it: what stands in HBM, and not what the driver thinks. vm->lock is held. */
static void kiln_dump_walk(struct kiln_dump_file *file, struct kiln_vm *vm, u64 va)
{
	struct kiln_device *kdev = vm->kdev;
	u64 entries[KILN_PT_LEVELS], table = vm->pts.root->addr;
	unsigned int level = 0;
	int idx;

	if (va >= KILN_VA_END || !kiln_hbm_enter(&kdev->drm, &idx))
		return;
	do {
		u32 shift = KILN_PAGE_SHIFT + 9 * (KILN_PT_LEVELS - 1 - level);

		entries[level] = readq(kdev->hbm + table +
				       (va >> shift & (KILN_PT_ENTRIES - 1)) * sizeof(u64));
		table = entries[level] & KILN_PTE_ADDR;
	} while (entries[level++] & KILN_PTE_VALID && level < KILN_PT_LEVELS &&
		 !(entries[level - 1] & KILN_PTE_LARGE) && table < kdev->hbm_bytes);
	kiln_hbm_exit(&kdev->drm, idx);
	kiln_dump_put(file, KILN_DUMP_WALK, va, entries, level * sizeof(u64));
}

/* What a buffer holds. Its reservation is held. */
static int kiln_dump_read_bo(struct kiln_bo *bo, u64 offset, void *to, size_t bytes)
{
	unsigned long first = offset >> PAGE_SHIFT;
	struct ttm_bo_kmap_obj map;
	bool is_iomem;
	void *from;
	int ret, idx;

	ret = ttm_bo_kmap(&bo->tbo, first, ((offset + bytes - 1) >> PAGE_SHIFT) - first + 1, &map);
	if (ret)
		return ret;
	from = ttm_kmap_obj_virtual(&map, &is_iomem) + offset_in_page(offset);
	if (!is_iomem) {
		memcpy(to, from, bytes);
	} else if (kiln_hbm_enter(bo->tbo.base.dev, &idx)) {
		memcpy_fromio(to, (void __iomem *)from, bytes);
		kiln_hbm_exit(bo->tbo.base.dev, idx);
	} else {
		ret = -ENODEV;
	}
	ttm_bo_kunmap(&map);
	return ret;
}

/* A range of device addresses, as far as it is mapped. vm->lock is held. */
static void kiln_dump_memory(struct kiln_dump_file *file, u32 type, struct kiln_vm *vm, u64 va,
			     size_t bytes)
{
	u8 *to = bytes ? kiln_dump_section(file, type, va, bytes) : NULL;

	while (to && bytes) {
		struct drm_gpuva *vma = drm_gpuva_find_first(&vm->base, va, 1);
		struct drm_gem_object *gem = vma ? vma->gem.obj : NULL;
		size_t part;
		int ret;

		if (!gem)
			return;
		part = min_t(u64, bytes, vma->va.addr + vma->va.range - va);
		dma_resv_lock(gem->resv, NULL);
		ret = kiln_dump_read_bo(to_kiln_bo(gem), vma->gem.offset + va - vma->va.addr, to,
					part);
		dma_resv_unlock(gem->resv);
		if (ret)
			return;
		to += part;
		va += part;
		bytes -= part;
	}
}

/* Everything about the command at fault. */
static void kiln_dump_put_fault(struct kiln_dump_file *file, struct kiln_devcoredump *dump)
{
	struct kiln_cmd *cmd = &dump->fault.command;
	struct kiln_vm *vm = dump->vm;

	kiln_dump_put(file, KILN_DUMP_FAULT, 0, &dump->fault, sizeof(dump->fault));
	kiln_dump_put(file, KILN_DUMP_CTL, dump->fault.queue, &dump->ctl, sizeof(dump->ctl));
	kiln_dump_put(file, KILN_DUMP_SQ, dump->sq_first, dump->sq, sizeof(dump->sq));
	kiln_dump_put(file, KILN_DUMP_CQ, dump->cq_first, dump->cq, sizeof(dump->cq));
	mutex_lock(&vm->lock);
	/* Its process may have gone meanwhile, and its memory with it. */
	if (!vm->dead) {
		if (dump->fault.completion.status == KILN_ST_PAGE_FAULT)
			kiln_dump_walk(file, vm, dump->fault.completion.fault_addr);
		if (cmd->opcode == KILN_CMD_EXEC) {
			kiln_dump_memory(file, KILN_DUMP_PROGRAM, vm, cmd->exec.program,
					 min_t(u32, KILN_PROGRAM_BYTES(cmd->param),
					       KILN_DUMP_PROGRAM_MAX));
			kiln_dump_memory(file, KILN_DUMP_ARGS, vm, cmd->exec.args,
					 KILN_ARGS_BYTES(cmd->param));
		}
	}
	mutex_unlock(&vm->lock);
}

static void kiln_dump_make(struct kiln_device *kdev, struct kiln_dump_file *file)
{
	struct kiln_devcoredump *dump = kdev->dump;
	struct kiln_dump_header *header;
	int idx;

	file->room = SZ_32K;
	if (dump->vm)
		file->room += min_t(u32, KILN_PROGRAM_BYTES(dump->fault.command.param),
				    KILN_DUMP_PROGRAM_MAX);
	file->data = vzalloc(file->room);
	if (!file->data)
		return;
	header = (void *)file->data;
	*header = (struct kiln_dump_header) {
		.magic = KILN_DUMP_MAGIC,
		.version = KILN_DUMP_VERSION,
		.time_ns = ktime_get_boottime_ns(),
		.generation = kdev->generation,
		.cores = kdev->cores,
		.hw_version = kdev->hw_version,
		.fw_version = kdev->fw_version,
	};
	strscpy(header->reason, dump->reason, sizeof(header->reason));
	file->bytes = sizeof(*header);

	if (!dump->has_card && drm_dev_enter(&kdev->drm, &idx)) {
		kiln_dump_read_card(kdev);
		drm_dev_exit(idx);
	}
	if (dump->vm)
		kiln_dump_put_fault(file, dump);
	if (dump->has_card) {
		kiln_dump_put(file, KILN_DUMP_REGISTERS, 0, dump->regs,
			      ARRAY_SIZE(kiln_dump_regs) * sizeof(dump->regs[0]));
		kiln_dump_put(file, KILN_DUMP_LOG, 0, dump->log, dump->log_bytes);
	}
	header->bytes = file->bytes;
}

static void kiln_dump_work(struct work_struct *work)
{
	struct kiln_devcoredump *dump = container_of(work, struct kiln_devcoredump, work);
	struct kiln_device *kdev = dump->kdev;
	struct kiln_dump_file file = {};

	kiln_dump_make(kdev, &file);
	if (dump->vm)
		kiln_vm_put(dump->vm);
	/* Takes the memory; one at a time is kept, the first, until it is read or 5 minutes old. */
	if (file.data)
		dev_coredumpv(kdev->drm.dev, file.data, file.bytes, GFP_KERNEL);
	WRITE_ONCE(dump->next, jiffies + KILN_DUMP_PERIOD);
	clear_bit_unlock(0, &dump->busy);
}

int kiln_devcoredump_init(struct kiln_device *kdev)
{
	struct kiln_devcoredump *dump = drmm_kzalloc(&kdev->drm, sizeof(*dump), GFP_KERNEL);

	if (!dump)
		return -ENOMEM;
	dump->kdev = kdev;
	dump->next = jiffies;
	INIT_WORK(&dump->work, kiln_dump_work);
	kdev->dump = dump;
	return 0;
}

/* Nothing comes any more; what has come is finished, for it holds a VM. */
void kiln_devcoredump_fini(struct kiln_device *kdev)
{
	flush_work(&kdev->dump->work);
}
