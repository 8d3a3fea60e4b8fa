// SPDX-License-Identifier: MIT
/*
 * CLEAR and COPY: the firmware moves memory for the driver, a chunk at a time
 * since it holds the card's lock meanwhile.
 */
#include <string.h>

#include "firmware/firmware.h"

#define CHUNK	(1ull << 20)
#define DISCARD	(256ull << 20)	/* giving pages back is that much quicker */
#define PAGE	4096ull

/* Does [addr, addr + bytes) lie in HBM, or (host) not wrap? */
static bool range_ok(struct kiln_sim *sim, bool host, uint64_t addr, uint64_t bytes)
{
	if (host)
		return addr + bytes - 1 >= addr;
	return addr < sim->memory.hbm_bytes &&
	       bytes <= sim->memory.hbm_bytes - addr;
}

enum kiln_status fw_copy_check(struct kiln_sim *sim, const struct kiln_cmd *cmd)
{
	bool clear = cmd->opcode == KILN_ADM_CLEAR;
	uint64_t dst = cmd->copy.dst, src = cmd->copy.src;
	uint64_t bytes = cmd->copy.bytes;

	if (cmd->param || !bytes || cmd->copy.dst_host > 1 ||
	    cmd->copy.src_host > 1 || cmd->copy.reserved[0] ||
	    cmd->copy.reserved[1] ||
	    !range_ok(sim, cmd->copy.dst_host, dst, bytes))
		return KILN_ST_BAD_COMMAND;
	if (clear)
		return src || cmd->copy.dst_host || cmd->copy.src_host ?
			       KILN_ST_BAD_COMMAND : KILN_ST_OK;
	if (!range_ok(sim, cmd->copy.src_host, src, bytes) ||
	    (cmd->copy.dst_host && cmd->copy.src_host) ||
	    (!cmd->copy.dst_host && !cmd->copy.src_host &&
	     dst < src + bytes && src < dst + bytes))
		return KILN_ST_BAD_COMMAND;
	return KILN_ST_OK;
}

/* Zero the next of bytes that are left of a CLEAR; how many it was. */
static uint64_t clear(struct kiln_sim *sim, uint64_t dst, uint64_t bytes)
{
	const struct kiln_sim_host *host = sim->memory.host;
	uint64_t whole = bytes & ~(PAGE - 1);

	/* Memory that nobody has written yet shall not cost the host any. */
	if (host->discard && !(dst & (PAGE - 1)) && whole) {
		if (whole > DISCARD)
			whole = DISCARD;
		if (host->discard(sim->memory.opaque, dst, whole))
			return whole;
	}
	if (bytes > CHUNK)
		bytes = CHUNK;
	memset(sim->memory.hbm + dst, 0, bytes);
	return bytes;
}

/* The next chunk. True: it was the last one, or the host's memory is not there. */
bool fw_copy_step(struct kiln_sim *sim, struct fw_admin *admin,
		  struct kiln_completion *record)
{
	const struct kiln_sim_host *host = sim->memory.host;
	const struct kiln_cmd *cmd = &admin->cmd;
	uint64_t bytes = cmd->copy.bytes - admin->done;
	uint64_t dst = cmd->copy.dst + admin->done;
	uint64_t src = cmd->copy.src + admin->done;
	uint8_t *hbm = sim->memory.hbm;
	bool ok = true;

	if (cmd->opcode == KILN_ADM_CLEAR) {
		bytes = clear(sim, dst, bytes);
		kiln_memory_written(&sim->memory, hbm + dst, bytes);
		admin->done += bytes;
		return admin->done == cmd->copy.bytes;
	}
	if (bytes > CHUNK)
		bytes = CHUNK;
	if (cmd->copy.src_host)
		ok = host->dma_read(sim->memory.opaque, src, hbm + dst, bytes);
	else if (cmd->copy.dst_host)
		ok = host->dma_write(sim->memory.opaque, dst, hbm + src, bytes);
	else
		memcpy(hbm + dst, hbm + src, bytes);
	/* a part of it, if it has failed */
	if (!cmd->copy.dst_host)
		kiln_memory_written(&sim->memory, hbm + dst, bytes);
	if (!ok) {
		record->status = KILN_ST_BUS;
		record->fault_addr = cmd->copy.src_host ? src : dst;
		return true;
	}
	admin->done += bytes;
	return admin->done == cmd->copy.bytes;
}
