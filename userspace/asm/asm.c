// SPDX-License-Identifier: MIT
/*
 * The builder: streams, registers, loops, and the checks that need no card.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kiln_asm.h"

#define MAX_LOOPS	16
#define STREAM_ALIGN	64

struct stream {
	struct kiln_insn *insn;
	uint32_t count, room;
	struct kiln_sync wait[2];	/* for the next instruction */
	unsigned int waits;
	uint64_t taken;			/* registers */
};

/* A loop or a condition that is being written. */
struct loop {
	bool condition;
	uint32_t count;
	uint32_t start[KILN_ENGINES];	/* index of the MOVI */
	unsigned int reg[KILN_ENGINES];
};

struct kiln_asm {
	unsigned int generation;
	uint32_t sbuf_bytes;
	uint32_t args_bytes;
	struct stream stream[KILN_ENGINES];
	struct loop loop[MAX_LOOPS];
	unsigned int loops;
	bool failed, no_memory;
	char error[192];
};

static const char *const engine_names[KILN_ENGINES] = {
	"tensor", "vector", "scalar", "gpsimd", "sync",
};

static const struct {
	const char *name;
	unsigned int engines;
} insn_table[256] = {
#define KILN_INSN(name, code, engines, ...) [code] = { #name, engines },
#include <kiln/isa.def>
#undef KILN_INSN
};

uint32_t kiln_asm_sbuf_bytes(unsigned int generation)
{
	return generation == 3 ? 256 * 1024 : generation == 2 ? 224 * 1024 : 192 * 1024;
}

struct kiln_asm *kiln_asm_create(unsigned int generation)
{
	struct kiln_asm *as = calloc(1, sizeof(*as));
	int e;

	if (!as)
		return NULL;
	as->generation = generation;
	as->sbuf_bytes = kiln_asm_sbuf_bytes(generation);
	for (e = 0; e < KILN_ENGINES; e++)
		as->stream[e].taken = 1;	/* register 0 is the zero */
	if (generation > 3) {
		as->failed = true;
		snprintf(as->error, sizeof(as->error),
			 "generation %u does not exist: 1 to 3, or 0 for any", generation);
	}
	return as;
}

void kiln_asm_destroy(struct kiln_asm *as)
{
	int e;

	if (!as)
		return;
	for (e = 0; e < KILN_ENGINES; e++)
		free(as->stream[e].insn);
	free(as);
}

const char *kiln_asm_error(const struct kiln_asm *as)
{
	return as->failed ? as->error : NULL;
}

uint32_t kiln_asm_count(const struct kiln_asm *as, enum kiln_engine engine)
{
	return as->stream[engine].count;
}

/* The first mistake, with the place: the instruction that is being written. */
__attribute__((format(printf, 4, 5)))
static void fail(struct kiln_asm *as, enum kiln_engine engine, unsigned int opcode,
		 const char *format, ...)
{
	va_list ap;
	int n = 0;

	if (as->failed)
		return;
	as->failed = true;
	if ((unsigned int)engine < KILN_ENGINES)
		n = snprintf(as->error, sizeof(as->error), "%s %u%s%s: ",
			     engine_names[engine], as->stream[engine].count,
			     opcode < 256 ? " " : "",
			     opcode < 256 ? insn_table[opcode].name : "");
	va_start(ap, format);
	vsnprintf(as->error + n, sizeof(as->error) - n, format, ap);
	va_end(ap);
}

/* --------------------------------------------------------------- operands -- */

struct kiln_operand kiln_tile1(enum kiln_space space, enum kiln_dtype dtype,
			       unsigned int partition, unsigned int partitions,
			       uint32_t addr, unsigned int n)
{
	/* A size that does not fit becomes 0, which no check lets pass. */
	return (struct kiln_operand) {
		.space = space, .dtype = dtype,
		.partition = partition > UINT8_MAX ? UINT8_MAX : partition,
		.partitions = partitions > UINT8_MAX ? 0 : partitions,
		.addr = addr, .ndim = 1,
		.size = { n > UINT16_MAX ? 0 : n }, .stride = { 1 },
	};
}

struct kiln_operand kiln_tile2(enum kiln_space space, enum kiln_dtype dtype,
			       unsigned int partition, unsigned int partitions,
			       uint32_t addr, unsigned int n0, int stride0,
			       unsigned int n1, int stride1)
{
	struct kiln_operand op = kiln_tile1(space, dtype, partition, partitions, addr, n0);

	op.ndim = 2;
	op.stride[0] = stride0;
	op.size[1] = n1 > UINT16_MAX ? 0 : n1;
	op.stride[1] = stride1;
	if (op.stride[0] != stride0 || op.stride[1] != stride1)
		op.size[0] = 0;
	return op;
}

struct kiln_operand kiln_tile3(enum kiln_space space, enum kiln_dtype dtype,
			       unsigned int partition, unsigned int partitions,
			       uint32_t addr, unsigned int n0, int stride0,
			       unsigned int n1, int stride1,
			       unsigned int n2, int stride2)
{
	struct kiln_operand op = kiln_tile2(space, dtype, partition, partitions, addr,
					    n0, stride0, n1, stride1);

	op.ndim = 3;
	op.size[2] = n2 > UINT16_MAX ? 0 : n2;
	op.stride[2] = stride2;
	if (op.stride[2] != stride2)
		op.size[0] = 0;
	return op;
}

struct kiln_operand kiln_at(struct kiln_operand tile, unsigned int reg)
{
	tile.reg = reg;
	return tile;
}

struct kiln_operand kiln_dram3(unsigned int base, int32_t offset, int32_t partition_step,
			       int32_t step0, int32_t step1, int32_t step2)
{
	return (struct kiln_operand) {
		.space = KILN_DRAM,
		.dram = {
			.offset = offset, .base = base,
			.step = { partition_step, step0, step1, step2 },
		},
	};
}

struct kiln_operand kiln_dram2(unsigned int base, int32_t offset, int32_t partition_step,
			       int32_t step0, int32_t step1)
{
	return kiln_dram3(base, offset, partition_step, step0, step1, 0);
}

struct kiln_operand kiln_dram(unsigned int base, int32_t offset, int32_t partition_step,
			      int32_t step0)
{
	return kiln_dram3(base, offset, partition_step, step0, 0, 0);
}

struct kiln_scalar kiln_const(float value)
{
	return (struct kiln_scalar) { .imm = value };
}

struct kiln_scalar kiln_col(enum kiln_space space, enum kiln_dtype dtype, uint32_t addr,
			    unsigned int reg)
{
	return (struct kiln_scalar) {
		.col = { .space = space, .dtype = dtype, .reg = reg, .addr = addr },
	};
}

/* ----------------------------------------------------------------- checks -- */

static uint32_t elements(const struct kiln_operand *op)
{
	uint32_t n = 1;
	int d;

	for (d = 0; d < op->ndim; d++)
		n *= op->size[d];
	return n;
}

/* Lowest and highest byte that a partition's pattern touches, from addr. */
static void extent(const struct kiln_operand *op, int64_t *low, int64_t *high)
{
	int64_t size = kiln_dtype_bytes(op->dtype);
	int d;

	*low = 0;
	*high = 0;
	for (d = 0; d < op->ndim; d++) {
		int64_t reach = (int64_t)(op->size[d] - 1) * op->stride[d] * size;

		if (reach < 0)
			*low += reach;
		else
			*high += reach;
	}
	*high += size;
}

static bool check_tile(struct kiln_asm *as, enum kiln_engine e, unsigned int code,
		       const char *what, const struct kiln_operand *op, bool dma)
{
	uint32_t size, limit;
	int64_t low, high;
	int d;

	if (op->space != KILN_SBUF && op->space != KILN_PSUM) {
		fail(as, e, code, "%s is not a tile in SBUF or PSUM", what);
		return false;
	}
	size = kiln_dtype_bytes(op->dtype);
	if (!op->dtype || op->dtype >= KILN_DTYPES) {
		fail(as, e, code, "%s has no element type", what);
		return false;
	}
	if (op->partitions < 1 || op->partitions > KILN_PARTITIONS ||
	    op->partition + op->partitions > KILN_PARTITIONS) {
		fail(as, e, code, "%s has partitions %u to %u of 128", what, op->partition,
		     op->partition + op->partitions);
		return false;
	}
	if (!dma && ((op->partitions > 64 && op->partition) ||
		     (op->partitions > 32 && op->partition % 64) || op->partition % 32)) {
		fail(as, e, code,
		     "%s of %u partitions starts at %u: 0, from 64 down also 64, from 32 down also 32 and 96",
		     what, op->partitions, op->partition);
		return false;
	}
	if (op->ndim < 1 || op->ndim > 4) {
		fail(as, e, code, "%s has %u dimensions, 1 to 4", what, op->ndim);
		return false;
	}
	for (d = 0; d < op->ndim; d++)
		if (!op->size[d]) {
			fail(as, e, code,
			     "%s: size or stride of dimension %d is 0 or does not fit", what, d);
			return false;
		}
	if (op->reg >= KILN_REGISTERS) {
		fail(as, e, code, "%s: register %u of 64", what, op->reg);
		return false;
	}
	if (op->addr % size) {
		fail(as, e, code, "%s: byte %u is not aligned to its elements", what, op->addr);
		return false;
	}
	limit = op->space == KILN_SBUF ? as->sbuf_bytes :
		KILN_PSUM_BANKS * KILN_PSUM_BANK_BYTES;
	extent(op, &low, &high);
	if (!op->reg && (op->addr + low < 0 || op->addr + high > limit)) {
		fail(as, e, code, "%s: bytes %lld to %lld of %u", what,
		     (long long)(op->addr + low), (long long)(op->addr + high), limit);
		return false;
	}
	return true;
}

static bool check_column(struct kiln_asm *as, enum kiln_engine e, unsigned int code,
			 const struct kiln_column *col)
{
	if (!col->space)
		return true;
	if ((col->space != KILN_SBUF && col->space != KILN_PSUM) || !col->dtype ||
	    col->dtype >= KILN_DTYPES || col->reg >= KILN_REGISTERS ||
	    col->addr % kiln_dtype_bytes(col->dtype)) {
		fail(as, e, code, "a column has a wrong space, type, register or alignment");
		return false;
	}
	if (!col->reg && col->addr + kiln_dtype_bytes(col->dtype) >
	    (col->space == KILN_SBUF ? as->sbuf_bytes : KILN_PSUM_BANKS * KILN_PSUM_BANK_BYTES)) {
		fail(as, e, code, "a column is at byte %u, beyond the end", col->addr);
		return false;
	}
	return true;
}

static bool same_shape(struct kiln_asm *as, enum kiln_engine e, unsigned int code,
		       const struct kiln_operand *a, const struct kiln_operand *b)
{
	if (a->partitions != b->partitions) {
		fail(as, e, code, "operands of %u and %u partitions", a->partitions,
		     b->partitions);
		return false;
	}
	if (elements(a) != elements(b)) {
		fail(as, e, code, "operands of %u and %u elements", elements(a), elements(b));
		return false;
	}
	return true;
}

/* ------------------------------------------------------------------ emit -- */

static struct kiln_insn *append(struct kiln_asm *as, enum kiln_engine e,
				const struct kiln_insn *insn)
{
	struct stream *s;

	if (as->failed)
		return NULL;
	if ((unsigned int)e >= KILN_ENGINES) {
		fail(as, e, 256, "engine %d does not exist", (int)e);
		return NULL;
	}
	if (!(insn_table[insn->opcode].engines & 1u << e)) {
		fail(as, e, insn->opcode, "this engine does not have the instruction");
		return NULL;
	}
	s = &as->stream[e];
	if (s->count == s->room) {
		uint32_t room = s->room ? s->room * 2 : 64;
		struct kiln_insn *bigger = realloc(s->insn, room * sizeof(*bigger));

		if (!bigger) {
			as->no_memory = true;
			fail(as, e, 256, "no memory");
			return NULL;
		}
		s->insn = bigger;
		s->room = room;
	}
	s->insn[s->count] = *insn;
	memcpy(s->insn[s->count].wait, s->wait, sizeof(s->wait));
	memset(s->wait, 0, sizeof(s->wait));
	s->waits = 0;
	return &s->insn[s->count++];
}

static struct kiln_insn *last(struct kiln_asm *as, enum kiln_engine e, const char *what)
{
	if (as->failed)
		return NULL;
	if ((unsigned int)e >= KILN_ENGINES || !as->stream[e].count) {
		fail(as, e, 256, "%s without an instruction", what);
		return NULL;
	}
	return &as->stream[e].insn[as->stream[e].count - 1];
}

static bool check_sync(struct kiln_asm *as, enum kiln_engine e, unsigned int sem,
		       unsigned int value)
{
	if (sem >= KILN_SEMAPHORES || value < 1 || value > UINT8_MAX) {
		fail(as, e, 256, "semaphore %u by %u: 0 to 255, by 1 to 255", sem, value);
		return false;
	}
	return true;
}

void kiln_asm_wait(struct kiln_asm *as, enum kiln_engine engine, unsigned int sem,
		   unsigned int value)
{
	struct stream *s;

	if (as->failed || !check_sync(as, engine, sem, value))
		return;
	s = &as->stream[engine];
	if (s->waits == 2)
		kiln_asm_nop(as, engine);
	s->wait[s->waits++] = (struct kiln_sync) { .sem = sem, .value = value };
}

void kiln_asm_post(struct kiln_asm *as, enum kiln_engine engine, unsigned int sem,
		   unsigned int value)
{
	struct kiln_insn *insn = last(as, engine, "a post");
	int i;

	if (!insn || !check_sync(as, engine, sem, value))
		return;
	for (i = 0; i < 2; i++)
		if (!insn->post[i].value) {
			insn->post[i] = (struct kiln_sync) { .sem = sem, .value = value };
			return;
		}
	fail(as, engine, insn->opcode, "the instruction before has two posts already");
}

void kiln_asm_label(struct kiln_asm *as, enum kiln_engine engine, uint32_t label)
{
	struct kiln_insn *insn = last(as, engine, "a label");

	if (insn)
		insn->label = label;
}

/* --------------------------------------------------------------- sequencer -- */

static void seq(struct kiln_asm *as, enum kiln_engine e, unsigned int code, unsigned int rd,
		unsigned int rs, unsigned int rt, uint32_t target, int64_t imm, unsigned int slot)
{
	struct kiln_insn insn = { .opcode = code };

	if (rd >= KILN_REGISTERS || rs >= KILN_REGISTERS || rt >= KILN_REGISTERS) {
		fail(as, e, code, "registers %u, %u, %u: 0 to 63", rd, rs, rt);
		return;
	}
	insn.seq.rd = rd;
	insn.seq.rs = rs;
	insn.seq.rt = rt;
	insn.seq.slot = slot;
	insn.seq.target = target;
	insn.seq.imm_lo = (uint64_t)imm;
	insn.seq.imm_hi = (uint64_t)imm >> 32;
	append(as, e, &insn);
}

void kiln_asm_nop(struct kiln_asm *as, enum kiln_engine engine)
{
	seq(as, engine, KILN_OP_NOP, 0, 0, 0, 0, 0, 0);
}

void kiln_asm_halt(struct kiln_asm *as, enum kiln_engine engine)
{
	seq(as, engine, KILN_OP_HALT, 0, 0, 0, 0, 0, 0);
}

void kiln_asm_ldarg(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		    unsigned int slot)
{
	if (slot > 63) {
		fail(as, engine, KILN_OP_LDARG, "argument %u: 0 to 63", slot);
		return;
	}
	if (as->args_bytes < (slot + 1) * 8)
		as->args_bytes = (slot + 1) * 8;
	seq(as, engine, KILN_OP_LDARG, rd, 0, 0, 0, 0, slot);
}

void kiln_asm_movi(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd, int64_t imm)
{
	seq(as, engine, KILN_OP_MOVI, rd, 0, 0, 0, imm, 0);
}

void kiln_asm_add(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		  unsigned int rs, unsigned int rt)
{
	seq(as, engine, KILN_OP_ADD, rd, rs, rt, 0, 0, 0);
}

void kiln_asm_addi(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		   unsigned int rs, int64_t imm)
{
	seq(as, engine, KILN_OP_ADDI, rd, rs, 0, 0, imm, 0);
}

void kiln_asm_mul(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		  unsigned int rs, unsigned int rt)
{
	seq(as, engine, KILN_OP_MUL, rd, rs, rt, 0, 0, 0);
}

void kiln_asm_xori(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		   unsigned int rs, int64_t imm)
{
	seq(as, engine, KILN_OP_XORI, rd, rs, 0, 0, imm, 0);
}

void kiln_asm_bne(struct kiln_asm *as, enum kiln_engine engine, unsigned int rs,
		  unsigned int rt, uint32_t target)
{
	seq(as, engine, KILN_OP_BNE, 0, rs, rt, target, 0, 0);
}

void kiln_asm_blt(struct kiln_asm *as, enum kiln_engine engine, unsigned int rs,
		  unsigned int rt, uint32_t target)
{
	seq(as, engine, KILN_OP_BLT, 0, rs, rt, target, 0, 0);
}

unsigned int kiln_asm_reg(struct kiln_asm *as, enum kiln_engine engine)
{
	unsigned int reg;

	for (reg = 1; reg < KILN_REGISTERS; reg++)
		if (!(as->stream[engine].taken >> reg & 1)) {
			as->stream[engine].taken |= 1ull << reg;
			return reg;
		}
	fail(as, engine, 256, "all 63 registers are taken");
	return 0;
}

void kiln_asm_reg_free(struct kiln_asm *as, enum kiln_engine engine, unsigned int reg)
{
	if (reg && reg < KILN_REGISTERS)
		as->stream[engine].taken &= ~(1ull << reg);
}

void kiln_asm_loop(struct kiln_asm *as, uint32_t count)
{
	struct loop *loop;
	int e;

	if (as->failed)
		return;
	if (as->loops == MAX_LOOPS || !count) {
		fail(as, KILN_ENGINES, 256, count ? "loops nest deeper than %d" :
		     "a loop that runs 0 times (depth %d)", MAX_LOOPS);
		return;
	}
	loop = &as->loop[as->loops++];
	loop->condition = false;
	loop->count = count;
	if (count == 1)
		return;
	for (e = 0; e < KILN_ENGINES; e++) {
		/* What waits before the loop must not wait again in each turn. */
		if (as->stream[e].waits)
			kiln_asm_nop(as, e);
		loop->start[e] = as->stream[e].count;
		loop->reg[e] = kiln_asm_reg(as, e);
		kiln_asm_movi(as, e, loop->reg[e], count);
	}
}

void kiln_asm_loop_end(struct kiln_asm *as)
{
	struct loop *loop;
	int e;

	if (as->failed)
		return;
	if (!as->loops || as->loop[as->loops - 1].condition) {
		fail(as, KILN_ENGINES, 256, "the end of a loop that was not begun");
		return;
	}
	loop = &as->loop[--as->loops];
	if (loop->count == 1)
		return;
	for (e = KILN_ENGINES - 1; e >= 0; e--) {
		struct stream *s = &as->stream[e];

		if (s->waits)
			kiln_asm_nop(as, e);
		if (s->count == loop->start[e] + 1) {
			s->count--;	/* nothing in it: take the MOVI back */
		} else {
			kiln_asm_addi(as, e, loop->reg[e], loop->reg[e], -1);
			kiln_asm_bne(as, e, loop->reg[e], 0, loop->start[e] + 1);
		}
		kiln_asm_reg_free(as, e, loop->reg[e]);
	}
}

void kiln_asm_if(struct kiln_asm *as, const unsigned int reg[KILN_ENGINES], bool less,
		 int64_t limit)
{
	struct loop *block;
	int e;

	if (as->failed)
		return;
	if (as->loops == MAX_LOOPS) {
		fail(as, KILN_ENGINES, 256, "loops and conditions nest deeper than %d", MAX_LOOPS);
		return;
	}
	block = &as->loop[as->loops++];
	block->condition = true;
	for (e = 0; e < KILN_ENGINES; e++) {
		unsigned int tmp = kiln_asm_reg(as, e);

		if (as->stream[e].waits)
			kiln_asm_nop(as, e);
		block->start[e] = as->stream[e].count;
		/* Branch over it; the target is filled in at its end. */
		if (less) {
			kiln_asm_movi(as, e, tmp, limit - 1);
			kiln_asm_blt(as, e, tmp, reg[e], 0);
		} else {
			kiln_asm_movi(as, e, tmp, limit);
			kiln_asm_blt(as, e, reg[e], tmp, 0);
		}
		kiln_asm_reg_free(as, e, tmp);
	}
}

void kiln_asm_if_end(struct kiln_asm *as)
{
	struct loop *block;
	int e;

	if (as->failed)
		return;
	if (!as->loops || !as->loop[as->loops - 1].condition) {
		fail(as, KILN_ENGINES, 256, "the end of a condition that was not begun");
		return;
	}
	block = &as->loop[--as->loops];
	for (e = 0; e < KILN_ENGINES; e++) {
		struct stream *s = &as->stream[e];

		if (s->waits)
			kiln_asm_nop(as, e);
		if (s->count == block->start[e] + 2)
			s->count -= 2;
		else
			s->insn[block->start[e] + 1].seq.target = s->count;
	}
}

/* -------------------------------------------------------------------- DMA -- */

static bool check_dram(struct kiln_asm *as, enum kiln_engine e, const struct kiln_operand *dram,
		       const struct kiln_operand *shape)
{
	if (dram->dram.base >= KILN_REGISTERS || !dram->dram.base) {
		fail(as, e, KILN_OP_DMA_COPY, "base register %u: 1 to 63", dram->dram.base);
		return false;
	}
	if (shape->ndim > 3) {
		fail(as, e, KILN_OP_DMA_COPY, "%u dimensions, 3 at most", shape->ndim);
		return false;
	}
	return true;
}

void kiln_asm_dma(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
		  struct kiln_operand dst, struct kiln_operand src)
{
	struct kiln_operand *dram = dst.space == KILN_DRAM ? &dst : &src;
	const struct kiln_operand *tile = dst.space == KILN_DRAM ? &src : &dst;
	struct kiln_insn insn = { .opcode = KILN_OP_DMA_COPY, .func = ring };
	int d;

	if (as->failed)
		return;
	if (ring >= KILN_DMA_RINGS) {
		fail(as, engine, KILN_OP_DMA_COPY, "ring %u: 0 to 15", ring);
		return;
	}
	if (tile->space == KILN_PSUM) {
		fail(as, engine, KILN_OP_DMA_COPY, "DMA does not reach PSUM");
		return;
	}
	if (dram->space != KILN_DRAM) {
		fail(as, engine, KILN_OP_DMA_COPY, "neither side is DRAM");
		return;
	}
	if (!check_tile(as, engine, KILN_OP_DMA_COPY, "the SBUF side", tile, true) ||
	    !check_dram(as, engine, dram, tile))
		return;
	dram->dtype = tile->dtype;
	for (d = tile->ndim + 1; d < 4; d++)
		dram->dram.step[d] = 0;
	insn.dst = dst;
	insn.src[0] = src;
	append(as, engine, &insn);
}

void kiln_asm_dma_dram(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
		       struct kiln_operand dst, struct kiln_operand src,
		       struct kiln_operand shape)
{
	struct kiln_insn insn = { .opcode = KILN_OP_DMA_COPY, .func = ring };

	if (as->failed)
		return;
	if (ring >= KILN_DMA_RINGS) {
		fail(as, engine, KILN_OP_DMA_COPY, "ring %u: 0 to 15", ring);
		return;
	}
	if (dst.space != KILN_DRAM || src.space != KILN_DRAM) {
		fail(as, engine, KILN_OP_DMA_COPY, "a side is not DRAM");
		return;
	}
	if (!check_tile(as, engine, KILN_OP_DMA_COPY, "the shape", &shape, true) ||
	    !check_dram(as, engine, &dst, &shape) || !check_dram(as, engine, &src, &shape))
		return;
	dst.dtype = shape.dtype;
	src.dtype = shape.dtype;
	insn.dst = dst;
	insn.src[0] = src;
	insn.src[1] = shape;
	append(as, engine, &insn);
}

/* ----------------------------------------------------------------- Tensor -- */

static bool one_bank(const struct kiln_operand *op)
{
	int64_t low, high;

	if (op->reg)
		return true;
	extent(op, &low, &high);
	return (op->addr + low) / KILN_PSUM_BANK_BYTES ==
	       (op->addr + high - 1) / KILN_PSUM_BANK_BYTES;
}

void kiln_asm_load_stationary(struct kiln_asm *as, struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_LOAD_STATIONARY, .src = { src } };

	if (as->failed ||
	    !check_tile(as, KILN_TENSOR, insn.opcode, "src", &src, false))
		return;
	if (src.space != KILN_SBUF || (src.dtype != KILN_BF16 && src.dtype != KILN_F32))
		fail(as, KILN_TENSOR, insn.opcode, "src has to be bf16 or fp32 in SBUF");
	else if (elements(&src) > KILN_MATMUL_MAX_M)
		fail(as, KILN_TENSOR, insn.opcode, "%u columns, 128 at most", elements(&src));
	append(as, KILN_TENSOR, &insn);
}

void kiln_asm_matmul(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src,
		     bool accumulate)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_MATMUL, .flags = accumulate ? KILN_F_ACCUMULATE : 0,
		.dst = dst, .src = { src },
	};

	if (as->failed || !check_tile(as, KILN_TENSOR, insn.opcode, "dst", &dst, false) ||
	    !check_tile(as, KILN_TENSOR, insn.opcode, "src", &src, false))
		return;
	if (src.space != KILN_SBUF || (src.dtype != KILN_BF16 && src.dtype != KILN_F32))
		fail(as, KILN_TENSOR, insn.opcode, "src has to be bf16 or fp32 in SBUF");
	else if (dst.space != KILN_PSUM || dst.dtype != KILN_F32)
		fail(as, KILN_TENSOR, insn.opcode, "dst has to be fp32 in PSUM");
	else if (elements(&src) > KILN_MATMUL_MAX_N || elements(&dst) != elements(&src))
		fail(as, KILN_TENSOR, insn.opcode, "%u columns into %u, 512 at most",
		     elements(&src), elements(&dst));
	else if (!one_bank(&dst))
		fail(as, KILN_TENSOR, insn.opcode, "dst is not in one bank");
	append(as, KILN_TENSOR, &insn);
}

void kiln_asm_transpose(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TRANSPOSE, .dst = dst, .src = { src } };

	if (as->failed || !check_tile(as, KILN_TENSOR, insn.opcode, "dst", &dst, false) ||
	    !check_tile(as, KILN_TENSOR, insn.opcode, "src", &src, false))
		return;
	if (src.space != KILN_SBUF || dst.space != KILN_PSUM || src.dtype != dst.dtype)
		fail(as, KILN_TENSOR, insn.opcode, "from SBUF to PSUM, of one type");
	else if (elements(&src) != dst.partitions || elements(&dst) != src.partitions)
		fail(as, KILN_TENSOR, insn.opcode, "src [%u, %u], dst [%u, %u]", src.partitions,
		     elements(&src), dst.partitions, elements(&dst));
	else if (!one_bank(&dst))
		fail(as, KILN_TENSOR, insn.opcode, "dst is not in one bank");
	append(as, KILN_TENSOR, &insn);
}

/* ------------------------------------------------- Scalar, Vector, GpSimd -- */

/* dst and its sources: same shape, and no PSUM for GpSimd. */
static bool check_data(struct kiln_asm *as, enum kiln_engine e, unsigned int code,
		       const struct kiln_operand *dst, const struct kiln_operand *a,
		       const struct kiln_operand *b)
{
	const struct kiln_operand *op[] = { dst, a, b };
	static const char *const names[] = { "dst", "src", "the second source" };
	int i;

	if (as->failed)
		return false;
	for (i = 0; i < 3; i++) {
		if (!op[i])
			continue;
		if (!check_tile(as, e, code, names[i], op[i], false) ||
		    (i && !same_shape(as, e, code, dst, op[i])))
			return false;
		if (e == KILN_GPSIMD && op[i]->space == KILN_PSUM) {
			fail(as, e, code, "GpSimd does not reach PSUM");
			return false;
		}
	}
	return true;
}

void kiln_asm_activation(struct kiln_asm *as, struct kiln_operand dst,
			 enum kiln_activation func, struct kiln_operand src,
			 struct kiln_scalar scale, struct kiln_scalar bias,
			 const struct kiln_column *sums)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_ACTIVATION, .func = func, .dst = dst, .src = { src },
		.col = { scale.col }, .imm = { scale.imm, bias.imm },
	};

	if (!check_data(as, KILN_SCALAR, insn.opcode, &dst, &src, NULL) ||
	    !check_column(as, KILN_SCALAR, insn.opcode, &scale.col) ||
	    !check_column(as, KILN_SCALAR, insn.opcode, &bias.col))
		return;
	if ((unsigned int)func >= KILN_ACTS)
		fail(as, KILN_SCALAR, insn.opcode, "function %d does not exist", (int)func);
	if (bias.col.space) {
		insn.src[1] = kiln_tile1(bias.col.space, bias.col.dtype, src.partition,
					 src.partitions, bias.col.addr, 1);
		insn.src[1].reg = bias.col.reg;
	}
	if (sums) {
		if (!check_column(as, KILN_SCALAR, insn.opcode, sums))
			return;
		insn.flags = KILN_F_REDUCE;
		insn.col[1] = *sums;
	}
	append(as, KILN_SCALAR, &insn);
}

void kiln_asm_tensor_copy(struct kiln_asm *as, enum kiln_engine engine,
			  struct kiln_operand dst, struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TENSOR_COPY, .dst = dst, .src = { src } };

	if (check_data(as, engine, insn.opcode, &dst, &src, NULL))
		append(as, engine, &insn);
}

static bool check_alu(struct kiln_asm *as, enum kiln_engine e, unsigned int code,
		      unsigned int func)
{
	if (func < KILN_ALU_OPS)
		return true;
	fail(as, e, code, "function %u does not exist", func);
	return false;
}

void kiln_asm_tensor_tensor(struct kiln_asm *as, enum kiln_engine engine,
			    struct kiln_operand dst, struct kiln_operand a,
			    enum kiln_alu func, struct kiln_operand b)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_TENSOR, .func = func, .dst = dst, .src = { a, b },
	};

	if (check_data(as, engine, insn.opcode, &dst, &a, &b) &&
	    check_alu(as, engine, insn.opcode, func))
		append(as, engine, &insn);
}

void kiln_asm_tensor_scalar(struct kiln_asm *as, enum kiln_engine engine,
			    struct kiln_operand dst, struct kiln_operand src,
			    enum kiln_alu func, struct kiln_scalar s0,
			    enum kiln_alu func1, struct kiln_scalar s1,
			    unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_SCALAR, .func = func, .func1 = func1, .flags = flags,
		.dst = dst, .src = { src }, .col = { s0.col, s1.col }, .imm = { s0.imm, s1.imm },
	};

	if (check_data(as, engine, insn.opcode, &dst, &src, NULL) &&
	    check_alu(as, engine, insn.opcode, func) &&
	    check_alu(as, engine, insn.opcode, func1) &&
	    check_column(as, engine, insn.opcode, &s0.col) &&
	    check_column(as, engine, insn.opcode, &s1.col))
		append(as, engine, &insn);
}

void kiln_asm_scalar_tensor_tensor(struct kiln_asm *as, enum kiln_engine engine,
				   struct kiln_operand dst, struct kiln_operand a,
				   enum kiln_alu func, struct kiln_scalar s0,
				   enum kiln_alu func1, struct kiln_operand b,
				   unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_SCALAR_TENSOR_TENSOR, .func = func, .func1 = func1,
		.flags = flags, .dst = dst, .src = { a, b }, .col = { s0.col },
		.imm = { s0.imm },
	};

	if (check_data(as, engine, insn.opcode, &dst, &a, &b) &&
	    check_alu(as, engine, insn.opcode, func) &&
	    check_alu(as, engine, insn.opcode, func1) &&
	    check_column(as, engine, insn.opcode, &s0.col))
		append(as, engine, &insn);
}

void kiln_asm_tensor_reduce(struct kiln_asm *as, struct kiln_operand dst,
			    enum kiln_alu func, struct kiln_operand src, bool negate)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_REDUCE, .func = func,
		.flags = negate ? KILN_F_NEGATE : 0, .dst = dst, .src = { src },
	};
	unsigned int outer;

	if (as->failed || !check_tile(as, KILN_VECTOR, insn.opcode, "dst", &dst, false) ||
	    !check_tile(as, KILN_VECTOR, insn.opcode, "src", &src, false))
		return;
	outer = elements(&src) / src.size[src.ndim - 1];
	if (func != KILN_ALU_ADD && func != KILN_ALU_MAX && func != KILN_ALU_MIN &&
	    func != KILN_ALU_MULTIPLY)
		fail(as, KILN_VECTOR, insn.opcode, "function %d: ADD, MAX, MIN or MULTIPLY",
		     (int)func);
	else if (dst.partitions != src.partitions || elements(&dst) != outer)
		fail(as, KILN_VECTOR, insn.opcode, "dst [%u, %u] for a result [%u, %u]",
		     dst.partitions, elements(&dst), src.partitions, outer);
	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_select(struct kiln_asm *as, struct kiln_operand dst,
		     struct kiln_operand predicate, struct kiln_operand on_true,
		     struct kiln_scalar on_false)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_SELECT, .dst = dst, .src = { on_true, predicate },
		.col = { on_false.col }, .imm = { on_false.imm },
	};

	if (check_data(as, KILN_VECTOR, insn.opcode, &dst, &on_true, &predicate) &&
	    check_column(as, KILN_VECTOR, insn.opcode, &on_false.col))
		append(as, KILN_VECTOR, &insn);
}

void kiln_asm_reciprocal(struct kiln_asm *as, struct kiln_operand dst,
			 struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_RECIPROCAL, .dst = dst, .src = { src } };

	if (check_data(as, KILN_VECTOR, insn.opcode, &dst, &src, NULL))
		append(as, KILN_VECTOR, &insn);
}

void kiln_asm_memset(struct kiln_asm *as, enum kiln_engine engine, struct kiln_operand dst,
		     float value)
{
	struct kiln_insn insn = { .opcode = KILN_OP_MEMSET, .dst = dst, .imm = { value } };

	if (check_data(as, engine, insn.opcode, &dst, NULL, NULL))
		append(as, engine, &insn);
}

void kiln_asm_affine_select(struct kiln_asm *as, struct kiln_operand dst,
			    struct kiln_operand src, enum kiln_alu func, float otherwise,
			    unsigned int base, int32_t offset, int32_t partition_step,
			    const int32_t step[3])
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_AFFINE_SELECT, .func = func, .dst = dst,
		.src = { src, { .space = KILN_DRAM } }, .imm = { otherwise },
	};

	if (!check_data(as, KILN_GPSIMD, insn.opcode, &dst, &src, NULL))
		return;
	if (func < KILN_ALU_EQ || func > KILN_ALU_LT)
		fail(as, KILN_GPSIMD, insn.opcode, "function %d is not a comparison", (int)func);
	if (base >= KILN_REGISTERS || src.ndim > 3)
		fail(as, KILN_GPSIMD, insn.opcode, "register %u, %u dimensions: 63, 3 at most",
		     base, src.ndim);
	insn.src[1].dram.base = base;
	insn.src[1].dram.offset = offset;
	insn.src[1].dram.step[0] = partition_step;
	memcpy(&insn.src[1].dram.step[1], step, src.ndim * sizeof(*step));
	append(as, KILN_GPSIMD, &insn);
}

/* ----------------------------------------------------------------- finish -- */

int kiln_asm_finish(struct kiln_asm *as, void **program, size_t *bytes)
{
	struct kiln_program_header *header;
	size_t at = sizeof(*header), total;
	int e;

	if (!as->failed && as->loops)
		fail(as, KILN_ENGINES, 256, "%u loops or conditions have no end", as->loops);
	for (e = 0; e < KILN_ENGINES; e++)
		if (as->stream[e].waits)
			kiln_asm_nop(as, e);
	if (as->failed)
		return as->no_memory ? -ENOMEM : -EINVAL;

	total = at;
	for (e = 0; e < KILN_ENGINES; e++)
		total += (size_t)as->stream[e].count * sizeof(struct kiln_insn);
	if (total > UINT32_MAX) {
		fail(as, KILN_ENGINES, 256, "the program is larger than 4 GiB");
		return -EINVAL;
	}
	header = calloc(1, total);
	if (!header)
		return -ENOMEM;
	header->magic = KILN_PROGRAM_MAGIC;
	header->isa_major = KILN_ISA_MAJOR;
	header->isa_minor = KILN_ISA_MINOR;
	header->generation = as->generation;
	header->bytes = total;
	header->args_bytes = as->args_bytes;
	for (e = 0; e < KILN_ENGINES; e++) {
		size_t size = (size_t)as->stream[e].count * sizeof(struct kiln_insn);

		header->stream[e].offset = at;
		header->stream[e].count = as->stream[e].count;
		if (size)
			memcpy((char *)header + at, as->stream[e].insn, size);
		at += size;
	}
	*program = header;
	*bytes = total;
	return 0;
}

_Static_assert(sizeof(struct kiln_insn) == 128, "isa.h");
_Static_assert(sizeof(struct kiln_program_header) % STREAM_ALIGN == 0, "isa.h");
