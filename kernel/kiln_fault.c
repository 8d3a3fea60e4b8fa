// SPDX-License-Identifier: GPL-2.0-only
#include <drm/drm_print.h>

#include "kiln_devcoredump.h"
#include "kiln_drv.h"
#include "kiln_fault.h"
#include "kiln_queue.h"
#include "kiln_trace.h"
#include "kiln_vm.h"

static const struct {
	int error;
	const char *text;
} kiln_statuses[] = {
	[KILN_ST_OK]		= { 0, "ok" },
	[KILN_ST_BAD_COMMAND]	= { -EINVAL, "malformed command" },
	[KILN_ST_BAD_PROGRAM]	= { -ENOEXEC, "malformed program" },
	[KILN_ST_ILLEGAL]	= { -ENOEXEC, "instruction that the engine does not have" },
	[KILN_ST_OPERAND]	= { -ENOEXEC, "operand beyond the instruction's limits" },
	[KILN_ST_MEMORY]	= { -ENOEXEC, "access beyond SBUF or PSUM" },
	[KILN_ST_PAGE_FAULT]	= { -EFAULT, "access to an address that is not mapped" },
	[KILN_ST_BUS]		= { -EIO, "host memory does not answer" },
	[KILN_ST_TIMEOUT]	= { -ETIME, "ran longer than the queue's limit" },
	[KILN_ST_DEADLOCK]	= { -EDEADLK, "every engine waits for a semaphore" },
	[KILN_ST_CONTEXT]	= { -ECANCELED, "stopped with its context" },
	[KILN_ST_ABORTED]	= { -ECANCELED, "aborted" },
	[KILN_ST_BAD_STATE]	= { -EIO, "not in this state" },
	[KILN_ST_NO_SPACE]	= { -EIO, "tables are full" },
};

/* What a command's submitter gets. */
int kiln_fault_errno(unsigned int status)
{
	return status < ARRAY_SIZE(kiln_statuses) ? kiln_statuses[status].error : -EIO;
}

const char *kiln_fault_text(unsigned int status)
{
	return status < ARRAY_SIZE(kiln_statuses) ? kiln_statuses[status].text : "unknown status";
}

static bool kiln_fault_stops_context(unsigned int status)
{
	return (status >= KILN_ST_BAD_PROGRAM && status <= KILN_ST_TIMEOUT) ||
	       status == KILN_ST_DEADLOCK;
}

/* Remember the command if it has stopped its VM. Any context. */
void kiln_fault_record(struct kiln_queue *queue, const struct kiln_completion *completion)
{
	struct kiln_vm *vm = queue->vm;
	unsigned long flags;

	if (!kiln_fault_stops_context(completion->status))
		return;

	spin_lock_irqsave(&vm->fault_lock, flags);
	vm->fault_count++;
	vm->fault = *completion;
	vm->fault_queue = queue->id;
	spin_unlock_irqrestore(&vm->fault_lock, flags);

	trace_kiln_fault(queue, completion);
	kiln_devcoredump_fault(queue, completion);
	dev_notice_ratelimited(queue->kdev->drm.dev,
			       "context %u, queue %u, core %u: %s: engine %u, instruction %u, address %#llx\n",
			       vm->hw_id, queue->hw_id, completion->core,
			       kiln_fault_text(completion->status), completion->engine,
			       completion->instruction, completion->fault_addr);
}

int kiln_vm_fault_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct drm_kiln_vm_fault *args = data;
	struct kiln_vm *vm;

	if (args->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", args->pad);
	if (args->reserved)
		return kiln_bad(kdev, -EINVAL, "reserved %#llx", args->reserved);

	vm = kiln_vm_get(file->driver_priv, args->vm_id);
	if (!vm)
		return kiln_bad(kdev, -ENOENT, "vm_id %u", args->vm_id);

	spin_lock_irq(&vm->fault_lock);
	args->count = vm->fault_count;
	args->address = vm->fault.fault_addr;
	args->status = vm->fault.status;
	args->engine = vm->fault.engine;
	args->instruction = vm->fault.instruction;
	args->label = vm->fault.label;
	args->queue_id = vm->fault_queue;
	args->core = vm->fault.core;
	spin_unlock_irq(&vm->fault_lock);

	kiln_vm_put(vm);
	return 0;
}
