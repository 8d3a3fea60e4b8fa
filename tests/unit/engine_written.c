// SPDX-License-Identifier: MIT
/*
 * Whoever moves a card while it works asks what it writes to HBM: random
 * transfers of every kind, of which every byte that changes has to be told,
 * those of one that fails in its middle, too.
 */
#include "engine.h"

#define AREA	(DATA - (1ull << 20))
#define BYTES	(4u << 20)
#define HOLE	(DATA + 0x60000)	/* not mapped */
#define HOST	(DATA + 0x70000)	/* 64 KiB of host memory */
#define ROUNDS	1000

static uint8_t before[BYTES], told[BYTES];
static unsigned int calls;

static void written(void *opaque, uint64_t offset, uint64_t len)
{
	(void)opaque;
	calls++;
	for (uint64_t i = 0; i < len; i++)
		if (offset + i >= AREA && offset + i < AREA + BYTES)
			told[offset + i - AREA] = 1;
}

static struct kiln_operand there(enum kiln_dtype dtype, unsigned int ndim, bool write)
{
	static const int32_t steps[] = { 0, 1, 1, 2, 7, 64, 300, 1024, -1, -3, -300 };
	struct kiln_operand op = { .space = KILN_DRAM, .dtype = dtype };

	op.dram.base = write ? 1 : 2;
	for (unsigned int d = 0; d <= ndim; d++)
		op.dram.step[d] = steps[rng() % 11];
	return op;
}

/* What a random instruction does to HBM; its status. */
static unsigned int one(struct machine *m)
{
	static const uint8_t opcodes[] = { KILN_OP_DMA_COPY, KILN_OP_DMA_COPY, KILN_OP_DMA_COPY,
					   KILN_OP_DMA_SCATTER, KILN_OP_DMA_GATHER,
					   KILN_OP_DMA_TRANSPOSE };
	static const enum kiln_dtype dtypes[] = { KILN_F32, KILN_BF16, KILN_U8 };
	static struct prog p;
	enum kiln_dtype dtype = dtypes[rng() % 3];
	unsigned int partitions = 1 + rng() % (rng() % 2 ? 8 : 128);
	struct kiln_operand tile = tile_at(KILN_SBUF, dtype, 0, partitions, 0, 1 + rng() % 700);
	struct kiln_insn *insn;

	if (rng() % 2) {
		tile.ndim = 2;
		tile.size[1] = 1 + rng() % 5;
		tile.size[0] = 1 + rng() % 60;
		tile.stride[0] = tile.size[1];
		tile.stride[1] = 1;
	}
	memset(&p, 0, sizeof(p));
	movi(&p, KILN_SYNC, 1, DATA + rng() % 0x80000 / 4 * 4);
	movi(&p, KILN_SYNC, 2, DATA + 0x100000 + rng() % 0x80000 / 4 * 4);
	insn = emit(&p, KILN_SYNC, opcodes[rng() % 6]);
	switch (insn->opcode) {
	case KILN_OP_DMA_COPY:
		insn->dst = there(dtype, tile.ndim, true);
		insn->src[0] = tile;
		if (rng() % 4 == 0) {	/* in rows, one behind the other */
			insn->dst.dram.step[1] = tile.ndim == 1 ? 1 : tile.size[1];
			insn->dst.dram.step[2] = tile.ndim == 2;
			insn->dst.dram.step[0] = tile.size[0] * (tile.ndim == 1 ? 1 : tile.size[1]) +
						 rng() % 50;
		} else if (rng() % 4 == 0) {	/* past SBUF */
			insn->src[0] = there(dtype, tile.ndim, false);
			insn->src[1] = tile;
		}
		if (rng() % 4 == 0)
			insn->flags = KILN_F_ACCUMULATE;
		break;
	case KILN_OP_DMA_SCATTER:
		insn->src[0] = tile;
		insn->src[1] = tile_at(KILN_SBUF, KILN_U32, 0, partitions, 0x8000, 1);
		insn->dst = there(dtype, tile.ndim, true);
		break;
	case KILN_OP_DMA_GATHER:
		insn->dst = tile;
		insn->src[1] = tile_at(KILN_SBUF, KILN_U32, 0, partitions, 0x8000, 1);
		insn->src[0] = there(dtype, tile.ndim, false);
		break;
	default:
		tile.ndim = 1;
		insn->dst = tile_at(KILN_SBUF, dtype, 0, partitions, 0, 1 + rng() % 128);
		insn->src[0] = there(dtype, tile.ndim, false);
		break;
	}
	for (unsigned int i = 0; i < KILN_PARTITIONS; i++) {
		*(uint32_t *)sbuf_at(m, i, 0x8000) = rng() % 40;
		for (unsigned int at = 0; at < 4096; at += 4)
			*(uint32_t *)sbuf_at(m, i, at) = float_bits(rng_float());
	}
	return run(m, &p).status;
}

int main(void)
{
	static struct kiln_sim_host host;
	unsigned int by[KILN_ST_NO_SPACE + 1] = { 0 };
	struct machine *m = machine(2);
	unsigned int bad = 0, changes = 0;
	bool silent = true;

	host = *m->memory.host;
	host.written = written;
	m->memory.host = &host;
	map_page(m, HOLE, 0);
	for (unsigned int i = 0; i < 16; i++)
		map_page(m, HOST + i * 4096, (uint64_t)i * 4096 | KILN_PTE_VALID | KILN_PTE_WRITE |
				      KILN_PTE_HOST);
	rng_start();
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int missed = 0, changed = 0, status;

		/* place() writes the program outside of it */
		memcpy(before, m->hbm + AREA, BYTES);
		memset(told, 0, BYTES);
		calls = 0;
		m->memory.tracked = round % 16;
		status = one(m);
		by[status]++;
		if (!m->memory.tracked) {
			silent &= !calls;
			continue;
		}
		for (unsigned int i = 0; i < BYTES; i++) {
			if (before[i] == m->hbm[AREA + i])
				continue;
			changed++;
			missed += !told[i];
		}
		changes += changed != 0;
		if (missed && bad++ < 3)
			printf("# round %u, status %u, %u calls: of %u bytes that changed %u were not told\n", round, status, calls,
			       changed, missed);
	}
	ok(!bad, "each byte that changes is told: %u transfers changed some", changes);
	ok(silent, "nothing is told when nobody asks");
	ok(changes > ROUNDS / 4 && by[KILN_ST_OK] > ROUNDS / 4 && by[KILN_ST_PAGE_FAULT],
	   "enough happens: %u ok, %u page faults, %u out of bounds", by[KILN_ST_OK],
	   by[KILN_ST_PAGE_FAULT], by[KILN_ST_OPERAND] + by[KILN_ST_MEMORY] + by[KILN_ST_ILLEGAL]);
	machine_free(m);
	return done();
}
