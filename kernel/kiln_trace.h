/* SPDX-License-Identifier: GPL-2.0-only */
/* The way of a command: submitted, completed, stopped its context. */
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
