/* SPDX-License-Identifier: GPL-2.0-only */
/* The way of a command: submitted, doorbell, completed, fault; what the driver does around it. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kiln

#if !defined(KILN_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KILN_TRACE_H

#include <linux/tracepoint.h>

#include <kiln/hw.h>

#include "kiln_queue.h"

TRACE_EVENT(kiln_submit,
	TP_PROTO(const struct kiln_queue *queue, const struct kiln_cmd *cmd, bool doorbell),
	TP_ARGS(queue, cmd, doorbell),
	TP_STRUCT__entry(
		__field(u32, queue)
		__field(u64, cookie)
		__field(u8, opcode)
		__field(bool, doorbell)
		__field(u64, program)
		__field(u64, args)
	),
	TP_fast_assign(
		__entry->queue = queue->hw_id;
		__entry->cookie = cmd->cookie;
		__entry->opcode = cmd->opcode;
		__entry->doorbell = doorbell;
		__entry->program = cmd->exec.program;
		__entry->args = cmd->exec.args;
	),
	TP_printk("queue=%u cookie=%#llx opcode=%#x program=%#llx args=%#llx doorbell=%d",
		  __entry->queue, __entry->cookie, __entry->opcode, __entry->program,
		  __entry->args, __entry->doorbell)
);

TRACE_EVENT(kiln_doorbell,
	TP_PROTO(u32 queue),
	TP_ARGS(queue),
	TP_STRUCT__entry(
		__field(u32, queue)
	),
	TP_fast_assign(
		__entry->queue = queue;
	),
	TP_printk("queue=%u", __entry->queue)
);

/* A command to the firmware, with its answer: a status of hw.h, or a negative errno. */
TRACE_EVENT(kiln_admin,
	TP_PROTO(const struct kiln_cmd *cmd, int result),
	TP_ARGS(cmd, result),
	TP_STRUCT__entry(
		__field(u8, opcode)
		__field(u32, id)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->opcode = cmd->opcode;
		__entry->id = cmd->ctx.context;
		__entry->result = result;
	),
	TP_printk("opcode=%#x id=%u result=%d", __entry->opcode, __entry->id, __entry->result)
);

/* A buffer has moved between HBM and host memory: evicted, or brought back. */
TRACE_EVENT(kiln_move,
	TP_PROTO(u64 bytes, bool to_hbm),
	TP_ARGS(bytes, to_hbm),
	TP_STRUCT__entry(
		__field(u64, bytes)
		__field(bool, to_hbm)
	),
	TP_fast_assign(
		__entry->bytes = bytes;
		__entry->to_hbm = to_hbm;
	),
	TP_printk("bytes=%llu to=%s", __entry->bytes, __entry->to_hbm ? "hbm" : "host")
);

/* A context is suspended, so that its memory can be moved, or runs again. */
TRACE_EVENT(kiln_evict,
	TP_PROTO(u32 context, bool suspended),
	TP_ARGS(context, suspended),
	TP_STRUCT__entry(
		__field(u32, context)
		__field(bool, suspended)
	),
	TP_fast_assign(
		__entry->context = context;
		__entry->suspended = suspended;
	),
	TP_printk("context=%u suspended=%d", __entry->context, __entry->suspended)
);

TRACE_EVENT(kiln_reset,
	TP_PROTO(u32 epoch, const char *why, int result),
	TP_ARGS(epoch, why, result),
	TP_STRUCT__entry(
		__field(u32, epoch)
		__string(why, why)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->epoch = epoch;
		__assign_str(why);
		__entry->result = result;
	),
	TP_printk("epoch=%u result=%d: the card %s", __entry->epoch, __entry->result,
		  __get_str(why))
);

DECLARE_EVENT_CLASS(kiln_completion,
	TP_PROTO(const struct kiln_queue *queue, const struct kiln_completion *completion),
	TP_ARGS(queue, completion),
	TP_STRUCT__entry(
		__field(u32, queue)
		__field(u64, cookie)
		__field(u16, status)
		__field(u8, core)
		__field(u8, engine)
		__field(u32, instruction)
		__field(u64, address)
		__field(u64, cycles)
		__field(u64, busy_ns)
	),
	TP_fast_assign(
		__entry->queue = queue->hw_id;
		__entry->cookie = completion->cookie;
		__entry->status = completion->status;
		__entry->core = completion->core;
		__entry->engine = completion->engine;
		__entry->instruction = completion->instruction;
		__entry->address = completion->fault_addr;
		__entry->cycles = completion->cycles;
		__entry->busy_ns = completion->end_ns - completion->start_ns;
	),
	TP_printk("queue=%u cookie=%#llx status=%u core=%u engine=%u instruction=%u address=%#llx cycles=%llu busy_ns=%llu",
		  __entry->queue, __entry->cookie, __entry->status, __entry->core,
		  __entry->engine, __entry->instruction, __entry->address, __entry->cycles,
		  __entry->busy_ns)
);

DEFINE_EVENT(kiln_completion, kiln_complete,
	TP_PROTO(const struct kiln_queue *queue, const struct kiln_completion *completion),
	TP_ARGS(queue, completion)
);

DEFINE_EVENT(kiln_completion, kiln_fault,
	TP_PROTO(const struct kiln_queue *queue, const struct kiln_completion *completion),
	TP_ARGS(queue, completion)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kiln_trace
#include <trace/define_trace.h>
