/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Userspace interface of the Kiln accelerator driver, /dev/accel/accelN.
 *
 * Every structure is the same on 32 and 64 bits, its size is a multiple of
 * eight, and its padding is explicit. Reserved fields must be zero and unknown
 * flags are refused with -EINVAL, so that they can get a meaning later.
 */
#ifndef _UAPI_DRM_KILN_ACCEL_H_
#define _UAPI_DRM_KILN_ACCEL_H_

#include "drm.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define DRM_KILN_QUERY		0x00
#define DRM_KILN_BO_CREATE	0x01
#define DRM_KILN_BO_INFO	0x02
#define DRM_KILN_VM_CREATE	0x03
#define DRM_KILN_VM_DESTROY	0x04
#define DRM_KILN_VM_BIND	0x05
#define DRM_KILN_VM_FAULT	0x06
#define DRM_KILN_QUEUE_CREATE	0x07
#define DRM_KILN_QUEUE_DESTROY	0x08
#define DRM_KILN_SUBMIT		0x09
#define DRM_KILN_WAIT		0x0a
#define DRM_KILN_VM_SHARE	0x0b

/**
 * struct drm_kiln_info - what card this is
 *
 * Fields are only ever added at the end.
 */
struct drm_kiln_info {
	/** @generation: 1, 2 or 3 for trn1, trn2, trn3. */
	__u32 generation;
	/** @cores: cores of this card. */
	__u32 cores;
	/** @hbm_bytes: size of the card's memory. */
	__u64 hbm_bytes;
	/** @hbm_used_bytes: of it, bytes that buffers and page tables hold now. */
	__u64 hbm_used_bytes;
	/** @sbuf_bytes: SBUF of one partition; there are 128. */
	__u32 sbuf_bytes;
	/** @psum_bytes: PSUM of one partition. */
	__u32 psum_bytes;
	/** @clock_khz: the clock that completions count cycles of. */
	__u32 clock_khz;
	/** @fw_version: firmware, major << 16 | minor. */
	__u32 fw_version;
	/** @hw_version: register and ring contract, major << 16 | minor. */
	__u32 hw_version;
	/** @max_queue_depth: most commands that one queue can hold. */
	__u32 max_queue_depth;
	/** @va_start: lowest device address that can be bound. */
	__u64 va_start;
	/** @va_end: first device address that cannot. */
	__u64 va_end;
};

/** enum drm_kiln_query_type - what DRM_IOCTL_KILN_QUERY asks for */
enum drm_kiln_query_type {
	/** @DRM_KILN_QUERY_INFO: struct drm_kiln_info. */
	DRM_KILN_QUERY_INFO = 0,
};

/**
 * struct drm_kiln_query - copy one of the driver's descriptions out
 *
 * With @pointer 0 only @size is set. Otherwise as many bytes as both sides
 * know are copied and @size is set to the driver's own size; what a newer
 * caller asks for beyond it reads as zero.
 *
 * Errors: -EINVAL unknown @type or @reserved not zero, -EFAULT bad @pointer.
 */
struct drm_kiln_query {
	/** @type: enum drm_kiln_query_type. */
	__u32 type;
	/** @size: in: bytes at @pointer. Out: bytes the driver has. */
	__u32 size;
	/** @pointer: user memory, or 0. */
	__u64 pointer;
	/** @reserved: zero. */
	__u64 reserved;
};

/** DRM_KILN_BO_HBM - live in the card's memory (may be moved out under pressure). */
#define DRM_KILN_BO_HBM		(1 << 0)
/** DRM_KILN_BO_SYSTEM - live in host memory that the card reaches by DMA. */
#define DRM_KILN_BO_SYSTEM	(1 << 1)

/**
 * struct drm_kiln_bo_create - make a buffer object, filled with zeroes
 *
 * One whose home is HBM is there only while it is bound, and before that if
 * there is room to spare.
 *
 * Errors: -EINVAL @size 0 or not a multiple of 4096, @flags not exactly one
 * placement, @handle or @reserved not zero; -ENOMEM larger than HBM without the
 * driver's page tables, or than host memory; -EDQUOT beyond the user's limit.
 */
struct drm_kiln_bo_create {
	/** @size: bytes. */
	__u64 size;
	/** @flags: exactly one of DRM_KILN_BO_HBM and DRM_KILN_BO_SYSTEM. */
	__u32 flags;
	/** @handle: out: GEM handle. In: zero. */
	__u32 handle;
	/** @reserved: zero. */
	__u64 reserved;
};

/**
 * struct drm_kiln_bo_info - ask about a buffer object
 *
 * Errors: -ENOENT no such @handle, -EINVAL @pad or @reserved not zero.
 */
struct drm_kiln_bo_info {
	/** @handle: GEM handle. */
	__u32 handle;
	/** @pad: zero. */
	__u32 pad;
	/** @size: out: bytes. */
	__u64 size;
	/** @mmap_offset: out: for mmap() on this file. */
	__u64 mmap_offset;
	/** @flags: out: as created (0 for an imported buffer). */
	__u32 flags;
	/** @placement: out: where it is now, DRM_KILN_BO_HBM or DRM_KILN_BO_SYSTEM. */
	__u32 placement;
	/** @reserved: zero. */
	__u64 reserved;
};

/** enum drm_kiln_priority - which of two VMs gets a core first */
enum drm_kiln_priority {
	/** @DRM_KILN_PRIORITY_NORMAL: the default. */
	DRM_KILN_PRIORITY_NORMAL = 0,
	/** @DRM_KILN_PRIORITY_LOW: what others leave. */
	DRM_KILN_PRIORITY_LOW = 1,
	/** @DRM_KILN_PRIORITY_HIGH: before all others; needs CAP_SYS_NICE. */
	DRM_KILN_PRIORITY_HIGH = 2,
};

/**
 * struct drm_kiln_vm_create - make a device address space
 *
 * A VM is a context of the card: a fault in it stops what this VM has
 * submitted and nothing else, and the card's time is shared between VMs: first
 * come those that have had less than their @min_share, then higher priorities,
 * then equals by weight. What one leaves unused goes to the others. Its id is
 * valid in this open file only.
 *
 * Errors: -EINVAL @weight, @priority or @min_share out of range or a reserved
 * field not zero; -EPERM a high priority without CAP_SYS_NICE, or a @min_share
 * without it and without a limit that grants it; -EDQUOT @weight is beyond the
 * user's limit; -ENOSPC the card has no context left, or has promised all that
 * it can; -ENOMEM.
 */
struct drm_kiln_vm_create {
	/** @flags: zero. */
	__u32 flags;
	/** @weight: share of the card against other VMs, 1 to 1024; 0 means 64. */
	__u32 weight;
	/** @id: out. In: zero. */
	__u32 id;
	/** @priority: enum drm_kiln_priority. */
	__u32 priority;
	/**
	 * @min_share: of the card's device time, in thousandths, that it gets
	 * whatever others want; 0: nothing is promised. The card can promise
	 * 900 to all together.
	 */
	__u32 min_share;
	/** @pad: zero. */
	__u32 pad;
};

/** DRM_KILN_SHARE_WEIGHT - change the weight. */
#define DRM_KILN_SHARE_WEIGHT		(1 << 0)
/** DRM_KILN_SHARE_PRIORITY - change the priority. */
#define DRM_KILN_SHARE_PRIORITY		(1 << 1)
/** DRM_KILN_SHARE_MIN_SHARE - change what is promised. */
#define DRM_KILN_SHARE_MIN_SHARE	(1 << 2)

/**
 * struct drm_kiln_vm_share - change a VM's share of the card
 *
 * In force when it returns. Fields that @flags does not name must be zero.
 * Less can be had by everybody, more as with &struct drm_kiln_vm_create.
 *
 * Errors: -ENOENT no such @vm_id; -EINVAL @flags 0 or unknown, a field out of
 * range, @pad not zero; -EPERM, -EDQUOT, -ENOSPC as above; -EIO the VM was lost
 * in a reset.
 */
struct drm_kiln_vm_share {
	/** @vm_id: of the VM. */
	__u32 vm_id;
	/** @flags: DRM_KILN_SHARE_*: what to change. */
	__u32 flags;
	/** @weight: 1 to 1024; 0 means 64. */
	__u32 weight;
	/** @priority: enum drm_kiln_priority. */
	__u32 priority;
	/** @min_share: thousandths. */
	__u32 min_share;
	/** @pad: zero. */
	__u32 pad;
};

/**
 * struct drm_kiln_vm_destroy - drop a device address space
 *
 * Errors: -ENOENT no such @id, -EBUSY it still has queues, -EINVAL @pad.
 */
struct drm_kiln_vm_destroy {
	/** @id: of the VM. */
	__u32 id;
	/** @pad: zero. */
	__u32 pad;
};

/** enum drm_kiln_vm_bind_op - what DRM_IOCTL_KILN_VM_BIND does */
enum drm_kiln_vm_bind_op {
	/** @DRM_KILN_VM_BIND_MAP: map a range of a buffer, replacing what was there. */
	DRM_KILN_VM_BIND_MAP = 0,
	/** @DRM_KILN_VM_BIND_UNMAP: make a range unmapped; @handle and @bo_offset zero. */
	DRM_KILN_VM_BIND_UNMAP = 1,
};

/** DRM_KILN_VM_BIND_READONLY - the card may not write there. */
#define DRM_KILN_VM_BIND_READONLY	(1 << 0)

/**
 * struct drm_kiln_vm_bind - change a device address space
 *
 * On return the change is in force for every later command, and no core uses
 * what was mapped before.
 *
 * VMs that do not fit into HBM together take turns there: one that has commands
 * is brought back, others have to leave. What one VM has bound must fit.
 *
 * Errors: -ENOENT no such @vm_id or @handle; -EINVAL an address, offset or
 * size that is 0, unaligned to 4096, wraps or leaves [va_start, va_end) or the
 * buffer, an unknown @op or flag, or @reserved not zero; -ENOMEM the buffers
 * bound in this VM would need more HBM than there is, or no host memory;
 * -EIO the VM was lost in a reset of the card.
 */
struct drm_kiln_vm_bind {
	/** @vm_id: of the VM. */
	__u32 vm_id;
	/** @op: enum drm_kiln_vm_bind_op. */
	__u32 op;
	/** @handle: GEM handle (map). */
	__u32 handle;
	/** @flags: DRM_KILN_VM_BIND_READONLY (map). */
	__u32 flags;
	/** @bo_offset: bytes into the buffer (map). */
	__u64 bo_offset;
	/** @va: device address. */
	__u64 va;
	/** @size: bytes. */
	__u64 size;
	/** @reserved: zero. */
	__u64 reserved;
};

/**
 * struct drm_kiln_vm_fault - the last command that stopped a VM
 *
 * Errors: -ENOENT no such @vm_id, -EINVAL @pad or @reserved not zero.
 */
struct drm_kiln_vm_fault {
	/** @vm_id: of the VM. */
	__u32 vm_id;
	/** @pad: zero. */
	__u32 pad;
	/** @count: out: stops so far; 0: the rest is zero. */
	__u64 count;
	/** @address: out: device address, or byte in SBUF or PSUM. */
	__u64 address;
	/** @status: out: the card's status code, enum kiln_status of kiln/hw.h. */
	__u32 status;
	/** @engine: out: enum kiln_engine of kiln/isa.h. */
	__u32 engine;
	/** @instruction: out: index in the engine's stream. */
	__u32 instruction;
	/** @label: out: the instruction's source label, 0: none. */
	__u32 label;
	/** @queue_id: out: queue that the command was in. */
	__u32 queue_id;
	/** @core: out: core that it ran on. */
	__u32 core;
	/** @reserved: zero. */
	__u64 reserved;
};

/**
 * struct drm_kiln_queue_create - make a queue of commands in a VM
 *
 * Commands of one queue start in order, one at a time; queues run side by
 * side on the card's cores.
 *
 * Errors: -ENOENT no such @vm_id; -EINVAL @depth not a power of two within
 * limits, @weight or @limit_ms out of range, a reserved field not zero;
 * -EDQUOT one more is beyond the user's limit; -ENOSPC the card has no queue
 * left; -ENOMEM.
 */
struct drm_kiln_queue_create {
	/** @vm_id: of the VM. */
	__u32 vm_id;
	/** @depth: commands that it can hold: a power of two, 8 to max_queue_depth. */
	__u32 depth;
	/** @weight: share against other queues of this VM, 1 to 1024; 0 means 64. */
	__u32 weight;
	/** @limit_ms: longest time that a command may run, up to 10000; 0 means 10000. */
	__u32 limit_ms;
	/** @flags: zero. */
	__u32 flags;
	/** @id: out: valid in this open file. In: zero. */
	__u32 id;
	/** @reserved: zero. */
	__u64 reserved;
};

/**
 * struct drm_kiln_queue_destroy - drop a queue
 *
 * What it still holds completes with -ECANCELED first.
 *
 * Errors: -ENOENT no such @id, -EINVAL @pad.
 */
struct drm_kiln_queue_destroy {
	/** @id: of the queue. */
	__u32 id;
	/** @pad: zero. */
	__u32 pad;
};

/** DRM_KILN_EXEC_SYNCOBJ - put a fence of this command into @syncobj. */
#define DRM_KILN_EXEC_SYNCOBJ	(1 << 0)
/** DRM_KILN_EXEC_NOP - run no program: only wait, signal, complete. */
#define DRM_KILN_EXEC_NOP	(1 << 1)

/**
 * struct drm_kiln_exec - one command
 *
 * The 80 bytes that stand in the command area of an SQE128 with
 * IORING_OP_URING_CMD and cmd_op DRM_KILN_URING_EXEC, and the element of
 * &struct drm_kiln_submit. Addresses are device addresses of the queue's VM.
 *
 * Result (the CQE's res, or @res of &struct drm_kiln_result): 0 or
 *   -EFAULT	the program touched an address that is not mapped
 *   -ENOEXEC	the program is malformed or breaks a limit of the engines
 *   -EDEADLK	every engine of the program waits for a semaphore
 *   -ETIME	it ran longer than the queue's limit_ms, or waited for
 *		longer than 10 s
 *   -ECANCELED	canceled, queue destroyed, or stopped with its VM by
 *		another command's fault
 *   -ENOMEM	its VM had to leave HBM and could not be brought back
 *   -EIO	the card failed; -ENODEV the card is gone
 * DRM_IOCTL_KILN_VM_FAULT has the details. The big CQE's extra1 is the device
 * time in cycles of clock_khz.
 *
 * Errors of submission, also in res: -ENOENT no such @queue_id or @syncobj;
 * -EINVAL unknown flag, unaligned or oversized @program or @args, unaligned
 * @wait_addr or @signal_addr, a reserved field not zero, no SQE128;
 * -EAGAIN (ioctl) or a retry by io_uring itself: the queue is full.
 */
struct drm_kiln_exec {
	/** @queue_id: of the queue. */
	__u32 queue_id;
	/** @flags: DRM_KILN_EXEC_*. */
	__u32 flags;
	/** @program: device address, 64-byte aligned. */
	__u64 program;
	/** @program_bytes: multiple of 64, up to 0xffffc0. */
	__u32 program_bytes;
	/** @args_bytes: multiple of 8, up to 512. */
	__u32 args_bytes;
	/** @args: device address of the argument block, 8-byte aligned; 0 if none. */
	__u64 args;
	/**
	 * @wait_addr: start when the u64 there is at least @wait_value; 0: at
	 * once. Waiting for longer than 10 s ends in -ETIME.
	 */
	__u64 wait_addr;
	/** @wait_value: see @wait_addr. */
	__u64 wait_value;
	/** @signal_addr: on success the u64 there becomes @signal_value; 0: nothing. */
	__u64 signal_addr;
	/** @signal_value: see @signal_addr. */
	__u64 signal_value;
	/** @syncobj: handle, with DRM_KILN_EXEC_SYNCOBJ; else zero. */
	__u32 syncobj;
	/** @pad: zero. */
	__u32 pad;
	/** @reserved: zero. */
	__u64 reserved;
};

/** DRM_KILN_URING_EXEC - cmd_op of an IORING_OP_URING_CMD; needs SQE128, CQE32. */
#define DRM_KILN_URING_EXEC	0x4b01

/** DRM_KILN_URING_CANCEL - cmd_op of an IORING_OP_URING_CMD: &struct drm_kiln_uring_cancel. */
#define DRM_KILN_URING_CANCEL	0x4b02

/**
 * struct drm_kiln_uring_cancel - take one command of the same ring back
 *
 * IORING_OP_ASYNC_CANCEL reaches a command only while it waits for room in a
 * full queue; this reaches it once the queue has it. Of several with this
 * user_data, all are taken back. Each completes as ever: with -ECANCELED when
 * the card has let go of it, or with its result if that comes first.
 *
 * Stands at the beginning of the command area; any size of SQE will do.
 *
 * Errors: -ENOENT no such @queue_id, or no such command in flight; -EINVAL @pad
 * not zero; -EOPNOTSUPP the ring has IOPOLL, whose commands cannot be taken back.
 */
struct drm_kiln_uring_cancel {
	/** @queue_id: of the queue. */
	__u32 queue_id;
	/** @pad: zero. */
	__u32 pad;
	/** @user_data: of the command's SQE. */
	__u64 user_data;
};

/**
 * struct drm_kiln_submit - the same commands by ioctl
 *
 * For places where io_uring is not allowed. Commands are taken in order until
 * one is refused; @done says how many were taken. The ioctl fails only if the
 * first one was refused, with that one's errno.
 *
 * Errors: those of &struct drm_kiln_exec; -EINVAL @count 0, @stride not the
 * size of struct drm_kiln_exec, commands of more than one queue, @reserved not
 * zero; -EFAULT.
 */
struct drm_kiln_submit {
	/** @commands: user memory: array of struct drm_kiln_exec. */
	__u64 commands;
	/** @count: of @commands. */
	__u32 count;
	/** @stride: bytes from one to the next: sizeof(struct drm_kiln_exec). */
	__u32 stride;
	/** @done: out: commands taken. In: zero. */
	__u32 done;
	/** @pad: zero. */
	__u32 pad;
	/**
	 * @seqno: out: sequence number of the last one taken; they count up by
	 * one in a queue. In: zero.
	 */
	__u64 seqno;
	/** @reserved: zero. */
	__u64 reserved;
};

/** struct drm_kiln_result - what became of a command submitted by ioctl */
struct drm_kiln_result {
	/** @cycles: device time, in cycles of clock_khz. */
	__u64 cycles;
	/** @res: 0 or a negative errno, see &struct drm_kiln_exec. */
	__s32 res;
	/** @pad: zero. */
	__u32 pad;
};

/**
 * struct drm_kiln_wait - wait for commands submitted by ioctl
 *
 * Waits until the commands @seqno to @seqno + @count - 1 have completed and
 * copies their results. A queue remembers as many as its depth.
 *
 * Errors: -ENOENT no such queue; -EINVAL @count 0 or above the depth, a
 * sequence number not given out yet, @reserved not zero; -ENODATA results no
 * longer remembered; -ETIME; -EINTR; -EFAULT; -ENODEV.
 */
struct drm_kiln_wait {
	/** @queue_id: of the queue. */
	__u32 queue_id;
	/** @count: commands. */
	__u32 count;
	/** @seqno: the first one. */
	__u64 seqno;
	/**
	 * @timeout_ns: relative; negative: for ever. Out, when a signal came
	 * first: what is left of it, so that the call can be made again as it is.
	 */
	__s64 timeout_ns;
	/** @results: user memory: array of @count struct drm_kiln_result, or 0. */
	__u64 results;
	/** @reserved: zero. */
	__u64 reserved;
};

#define DRM_IOCTL_KILN_QUERY \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_KILN_QUERY, struct drm_kiln_query)
#define DRM_IOCTL_KILN_BO_CREATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_KILN_BO_CREATE, struct drm_kiln_bo_create)
#define DRM_IOCTL_KILN_BO_INFO \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_KILN_BO_INFO, struct drm_kiln_bo_info)
#define DRM_IOCTL_KILN_VM_CREATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_KILN_VM_CREATE, struct drm_kiln_vm_create)
#define DRM_IOCTL_KILN_VM_DESTROY \
	DRM_IOW(DRM_COMMAND_BASE + DRM_KILN_VM_DESTROY, struct drm_kiln_vm_destroy)
#define DRM_IOCTL_KILN_VM_BIND \
	DRM_IOW(DRM_COMMAND_BASE + DRM_KILN_VM_BIND, struct drm_kiln_vm_bind)
#define DRM_IOCTL_KILN_VM_FAULT \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_KILN_VM_FAULT, struct drm_kiln_vm_fault)
#define DRM_IOCTL_KILN_QUEUE_CREATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_KILN_QUEUE_CREATE, struct drm_kiln_queue_create)
#define DRM_IOCTL_KILN_QUEUE_DESTROY \
	DRM_IOW(DRM_COMMAND_BASE + DRM_KILN_QUEUE_DESTROY, struct drm_kiln_queue_destroy)
#define DRM_IOCTL_KILN_SUBMIT \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_KILN_SUBMIT, struct drm_kiln_submit)
#define DRM_IOCTL_KILN_WAIT \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_KILN_WAIT, struct drm_kiln_wait)
#define DRM_IOCTL_KILN_VM_SHARE \
	DRM_IOW(DRM_COMMAND_BASE + DRM_KILN_VM_SHARE, struct drm_kiln_vm_share)

#if defined(__cplusplus)
}
#endif

#endif
