// SPDX-License-Identifier: MIT
/*
 * Checks of an instruction that need no register: those of isa_check.h, for
 * this core.
 */
#include "engine/state.h"
#include "kiln/isa_check.h"

enum kiln_status kiln_decode(struct kiln_core *core, enum kiln_engine engine,
			     const struct kiln_insn *insn, uint32_t count,
			     uint32_t args_bytes)
{
	static const enum kiln_status status[] = {
		[KILN_FITS] = KILN_ST_OK,
		[KILN_NO_INSN] = KILN_ST_ILLEGAL,
		[KILN_BAD_OPERAND] = KILN_ST_OPERAND,
		[KILN_BAD_ADDRESS] = KILN_ST_MEMORY,
	};
	struct kiln_check check = {
		.generation = core->generation,
		.sbuf_bytes = core->sbuf_bytes,
		.psum_bytes = core->psum_bytes,
		.count = count,
		.args_bytes = args_bytes,
	};
	enum kiln_verdict verdict = kiln_check_insn(&check, engine, insn);

	core->fault_addr = check.addr;
	return status[verdict];
}
