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
#include "text.h"

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
	uint8_t flags;			/* KILN_PROGRAM_* */
	uint32_t args_bytes;
	struct stream stream[KILN_ENGINES];
	struct loop loop[MAX_LOOPS];
	unsigned int loops;
	bool failed, no_memory;
	char error[192];
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
	for (e = 0; e < KILN_ENGINES; e++)
		as->stream[e].taken = 1;	/* register 0 is the zero */
	if (generation > 3) {
		as->failed = true;
		snprintf(as->error, sizeof(as->error),
			 "generation %u does not exist: 1 to 3, or 0 for any", generation);
	}
	return as;
}

void kiln_asm_transient(struct kiln_asm *as)
{
	as->flags |= KILN_PROGRAM_TRANSIENT;
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
			     kiln_engine_names[engine], as->stream[engine].count,
			     opcode < 256 ? " " : "",
			     opcode < 256 ? kiln_rules[opcode].name : "");
	va_start(ap, format);
	vsnprintf(as->error + n, sizeof(as->error) - n, format, ap);
	va_end(ap);
}

/* --------------------------------------------------------------- operands -- */

/* What does not fit in a byte becomes what no instruction has. */
static uint8_t byte(unsigned int value)
{
	return value > UINT8_MAX ? UINT8_MAX : value;
}

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

struct kiln_operand kiln_tile4(enum kiln_space space, enum kiln_dtype dtype,
			       unsigned int partition, unsigned int partitions,
			       uint32_t addr, unsigned int n0, int stride0,
			       unsigned int n1, int stride1,
			       unsigned int n2, int stride2,
			       unsigned int n3, int stride3)
{
	struct kiln_operand op = kiln_tile3(space, dtype, partition, partitions, addr,
					    n0, stride0, n1, stride1, n2, stride2);

	op.ndim = 4;
	op.size[3] = n3 > UINT16_MAX ? 0 : n3;
	op.stride[3] = stride3;
	if (op.stride[3] != stride3)
		op.size[0] = 0;
	return op;
}

struct kiln_operand kiln_at(struct kiln_operand tile, unsigned int reg)
{
	tile.reg = byte(reg);
	return tile;
}

struct kiln_operand kiln_dram3(unsigned int base, int32_t offset, int32_t partition_step,
			       int32_t step0, int32_t step1, int32_t step2)
{
	return (struct kiln_operand) {
		.space = KILN_DRAM,
		.dram = {
			.offset = offset, .base = byte(base),
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
		.col = { .space = space, .dtype = dtype, .reg = byte(reg), .addr = addr },
	};
}

/* ------------------------------------------------------------------ emit -- */

static bool check_insn(struct kiln_asm *as, enum kiln_engine e, const struct kiln_insn *insn)
{
	/* Targets of branches: see kiln_asm_finish() */
	struct kiln_check check = text_check(as->generation, UINT32_MAX, MAX_ARGS * 8);
	char why[160];

	if (kiln_check_insn(&check, e, insn) == KILN_FITS)
		return true;
	text_complaint(&check, why, sizeof(why));
	fail(as, e, kiln_rules[insn->opcode].engines ? insn->opcode : 256, "%s", why);
	return false;
}

/* Append an instruction that the rules let pass. */
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
	if (!check_insn(as, e, insn))
		return NULL;
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

void kiln_asm_flags(struct kiln_asm *as, enum kiln_engine engine, unsigned int flags)
{
	struct kiln_insn *insn = last(as, engine, "a flag"), with;

	if (!insn)
		return;
	with = *insn;
	with.flags |= byte(flags);
	if (check_insn(as, engine, &with))
		*insn = with;
}

void kiln_asm_label(struct kiln_asm *as, enum kiln_engine engine, uint32_t label)
{
	struct kiln_insn *insn = last(as, engine, "a label");

	if (insn)
		insn->label = label;
}

void kiln_asm_insn(struct kiln_asm *as, enum kiln_engine engine, const struct kiln_insn *insn)
{
	struct kiln_insn *written = append(as, engine, insn);

	/* append() has put the waits of kiln_asm_wait() in; these come with it. */
	if (written && !written->wait[0].value && !written->wait[1].value)
		memcpy(written->wait, insn->wait, sizeof(written->wait));
	if (written && insn->opcode == KILN_OP_LDARG && as->args_bytes < (insn->seq.slot + 1u) * 8)
		as->args_bytes = (insn->seq.slot + 1u) * 8;
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
	if (slot >= MAX_ARGS) {
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

static bool check_base(struct kiln_asm *as, enum kiln_engine e, const struct kiln_operand *dram)
{
	/* The card would take it: addresses from 0 on. Nobody means that. */
	if (dram->space == KILN_DRAM && !dram->dram.base) {
		fail(as, e, KILN_OP_DMA_COPY, "base register 0: 1 to 63");
		return false;
	}
	return true;
}

void kiln_asm_dma(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
		  struct kiln_operand dst, struct kiln_operand src)
{
	struct kiln_operand *dram = dst.space == KILN_DRAM ? &dst : &src;
	const struct kiln_operand *tile = dst.space == KILN_DRAM ? &src : &dst;
	struct kiln_insn insn = { .opcode = KILN_OP_DMA_COPY, .func = byte(ring) };
	int d;

	if (!check_base(as, engine, dram))
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
	struct kiln_insn insn = { .opcode = KILN_OP_DMA_COPY, .func = byte(ring) };

	if (!check_base(as, engine, &dst) || !check_base(as, engine, &src))
		return;
	if (dst.space != KILN_DRAM || src.space != KILN_DRAM) {
		fail(as, engine, KILN_OP_DMA_COPY, "a side is not DRAM");
		return;
	}
	dst.dtype = shape.dtype;
	src.dtype = shape.dtype;
	insn.dst = dst;
	insn.src[0] = src;
	insn.src[1] = shape;
	append(as, engine, &insn);
}

/* DMA_GATHER and DMA_SCATTER: which of dst and src is DRAM. */
static void by_index(struct kiln_asm *as, enum kiln_engine e, struct kiln_insn *insn,
		     struct kiln_operand *rows, const struct kiln_operand *tile)
{
	if (!check_base(as, e, rows) || !check_base(as, e, &insn->src[1]))
		return;
	rows->dtype = tile->dtype;
	append(as, e, insn);
}

void kiln_asm_dma_gather(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
			 struct kiln_operand dst, struct kiln_operand rows,
			 struct kiln_operand index, unsigned int rows_reg, unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_DMA_GATHER, .func = byte(ring), .func1 = byte(rows_reg),
		.flags = byte(flags), .dst = dst, .src = { rows, index },
	};

	by_index(as, engine, &insn, &insn.src[0], &insn.dst);
}

void kiln_asm_dma_scatter(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
			  struct kiln_operand rows, struct kiln_operand src,
			  struct kiln_operand index, unsigned int rows_reg, unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_DMA_SCATTER, .func = byte(ring), .func1 = byte(rows_reg),
		.flags = byte(flags), .dst = rows, .src = { src, index },
	};

	by_index(as, engine, &insn, &insn.dst, &insn.src[0]);
}

void kiln_asm_dma_transpose(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
			    struct kiln_operand dst, struct kiln_operand src)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_DMA_TRANSPOSE, .func = byte(ring), .dst = dst, .src = { src },
	};

	if (!check_base(as, engine, &src))
		return;
	insn.src[0].dtype = dst.dtype;
	append(as, engine, &insn);
}

/* ----------------------------------------------------------------- Tensor -- */

void kiln_asm_load_stationary(struct kiln_asm *as, struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_LOAD_STATIONARY, .src = { src } };

	append(as, KILN_TENSOR, &insn);
}

void kiln_asm_matmul(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src,
		     bool accumulate)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_MATMUL, .flags = accumulate ? KILN_F_ACCUMULATE : 0,
		.dst = dst, .src = { src },
	};

	append(as, KILN_TENSOR, &insn);
}

void kiln_asm_transpose(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TRANSPOSE, .dst = dst, .src = { src } };

	append(as, KILN_TENSOR, &insn);
}

void kiln_asm_load_stationary_tile(struct kiln_asm *as, struct kiln_operand src,
				   unsigned int rows, unsigned int columns, unsigned int column)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_LOAD_STATIONARY, .func = byte(rows), .func1 = byte(columns),
		.src = { src }, .imm = { column },
	};

	append(as, KILN_TENSOR, &insn);
}

void kiln_asm_matmul_tile(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src,
			  unsigned int rows, unsigned int columns, bool accumulate)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_MATMUL, .func = byte(rows), .func1 = byte(columns),
		.flags = accumulate ? KILN_F_ACCUMULATE : 0, .dst = dst, .src = { src },
	};

	append(as, KILN_TENSOR, &insn);
}

void kiln_asm_load_stationary_double(struct kiln_asm *as, struct kiln_operand src)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_LOAD_STATIONARY, .flags = KILN_F_DOUBLE_ROW, .src = { src },
	};

	append(as, KILN_TENSOR, &insn);
}

void kiln_asm_matmul_double(struct kiln_asm *as, struct kiln_operand dst,
			    struct kiln_operand src, bool accumulate)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_MATMUL,
		.flags = KILN_F_DOUBLE_ROW | (accumulate ? KILN_F_ACCUMULATE : 0),
		.dst = dst, .src = { src },
	};

	append(as, KILN_TENSOR, &insn);
}

/* ------------------------------------------------- Scalar, Vector, GpSimd -- */

void kiln_asm_activation(struct kiln_asm *as, struct kiln_operand dst,
			 enum kiln_activation func, struct kiln_operand src,
			 struct kiln_scalar scale, struct kiln_scalar bias,
			 const struct kiln_column *sums)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_ACTIVATION, .func = byte(func), .dst = dst, .src = { src },
		.col = { scale.col }, .imm = { scale.imm, bias.imm },
	};

	if (bias.col.space) {
		insn.src[1] = kiln_tile1(bias.col.space, bias.col.dtype, src.partition,
					 src.partitions, bias.col.addr, 1);
		insn.src[1].reg = bias.col.reg;
	}
	if (sums) {
		insn.flags = KILN_F_REDUCE;
		insn.col[1] = *sums;
	}
	append(as, KILN_SCALAR, &insn);
}

void kiln_asm_tensor_copy(struct kiln_asm *as, enum kiln_engine engine,
			  struct kiln_operand dst, struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TENSOR_COPY, .dst = dst, .src = { src } };

	append(as, engine, &insn);
}

void kiln_asm_tensor_tensor(struct kiln_asm *as, enum kiln_engine engine,
			    struct kiln_operand dst, struct kiln_operand a,
			    enum kiln_alu func, struct kiln_operand b)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_TENSOR, .func = byte(func), .dst = dst, .src = { a, b },
	};

	append(as, engine, &insn);
}

void kiln_asm_tensor_scalar(struct kiln_asm *as, enum kiln_engine engine,
			    struct kiln_operand dst, struct kiln_operand src,
			    enum kiln_alu func, struct kiln_scalar s0,
			    enum kiln_alu func1, struct kiln_scalar s1,
			    unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_SCALAR, .func = byte(func), .func1 = byte(func1),
		.flags = byte(flags), .dst = dst, .src = { src }, .col = { s0.col, s1.col },
		.imm = { s0.imm, s1.imm },
	};

	append(as, engine, &insn);
}

void kiln_asm_scalar_tensor_tensor(struct kiln_asm *as, enum kiln_engine engine,
				   struct kiln_operand dst, struct kiln_operand a,
				   enum kiln_alu func, struct kiln_scalar s0,
				   enum kiln_alu func1, struct kiln_operand b,
				   unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_SCALAR_TENSOR_TENSOR, .func = byte(func), .func1 = byte(func1),
		.flags = byte(flags), .dst = dst, .src = { a, b }, .col = { s0.col },
		.imm = { s0.imm },
	};

	append(as, engine, &insn);
}

void kiln_asm_tensor_reduce(struct kiln_asm *as, struct kiln_operand dst,
			    enum kiln_alu func, struct kiln_operand src, bool negate)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_REDUCE, .func = byte(func),
		.flags = negate ? KILN_F_NEGATE : 0, .dst = dst, .src = { src },
	};

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

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_reciprocal(struct kiln_asm *as, struct kiln_operand dst,
			 struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_RECIPROCAL, .dst = dst, .src = { src } };

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_memset(struct kiln_asm *as, enum kiln_engine engine, struct kiln_operand dst,
		     float value)
{
	struct kiln_insn insn = { .opcode = KILN_OP_MEMSET, .dst = dst, .imm = { value } };

	append(as, engine, &insn);
}

/* The steps of IOTA's and AFFINE_SELECT's terms. */
static void set_steps(struct kiln_insn *insn, int32_t partition_step, const int32_t *step,
		      unsigned int dims)
{
	insn->src[1].dram.step[0] = partition_step;
	for (unsigned int d = 0; d < dims && d < 4; d++)
		*(d < 3 ? &insn->src[1].dram.step[d + 1] : &insn->last_step) = step[d];
}

void kiln_asm_affine_select(struct kiln_asm *as, struct kiln_operand dst,
			    struct kiln_operand src, enum kiln_alu func, float otherwise,
			    unsigned int base, int32_t offset, int32_t partition_step,
			    const int32_t *step)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_AFFINE_SELECT, .func = byte(func), .dst = dst,
		.src = { src, { .space = KILN_DRAM } }, .imm = { otherwise },
	};

	insn.src[1].dram.base = byte(base);
	insn.src[1].dram.offset = offset;
	set_steps(&insn, partition_step, step, src.ndim);
	append(as, KILN_GPSIMD, &insn);
}

void kiln_asm_iota(struct kiln_asm *as, struct kiln_operand dst, unsigned int base,
		   int32_t offset, int32_t partition_step, const int32_t *step)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_IOTA, .dst = dst, .src = { [1] = { .space = KILN_DRAM } },
	};

	insn.src[1].dram.base = byte(base);
	insn.src[1].dram.offset = offset;
	set_steps(&insn, partition_step, step, dst.ndim);
	append(as, KILN_GPSIMD, &insn);
}

void kiln_asm_tensor_reduce_dims(struct kiln_asm *as, struct kiln_operand dst,
				 enum kiln_alu func, struct kiln_operand src, unsigned int dims)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_REDUCE, .func = byte(func), .func1 = byte(dims),
		.dst = dst, .src = { src },
	};

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_tensor_scalar_reduce(struct kiln_asm *as, struct kiln_operand dst,
				   struct kiln_operand src, enum kiln_alu func,
				   struct kiln_scalar s0, enum kiln_alu func1,
				   struct kiln_column result, unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_SCALAR_REDUCE, .func = byte(func), .func1 = byte(func1),
		.flags = byte(flags), .dst = dst, .src = { src }, .col = { s0.col, result },
		.imm = { s0.imm },
	};

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_select_reduce(struct kiln_asm *as, struct kiln_operand dst,
			    struct kiln_operand predicate, struct kiln_operand on_true,
			    struct kiln_scalar on_false, struct kiln_column max,
			    unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_SELECT, .flags = byte(flags | KILN_F_REDUCE), .dst = dst,
		.src = { on_true, predicate }, .col = { on_false.col, max },
		.imm = { on_false.imm },
	};

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_range_select(struct kiln_asm *as, struct kiln_operand dst,
			   struct kiln_operand src, enum kiln_alu func,
			   struct kiln_column bound0, enum kiln_alu func1,
			   struct kiln_column bound1, float start, float otherwise,
			   const struct kiln_operand *max)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_RANGE_SELECT, .func = byte(func), .func1 = byte(func1),
		.dst = dst, .src = { src }, .col = { bound0, bound1 },
		.imm = { start, otherwise },
	};

	if (max)
		insn.src[1] = *max;
	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_tensor_copy_predicated(struct kiln_asm *as, struct kiln_operand dst,
				     struct kiln_operand src, struct kiln_operand predicate,
				     bool reverse)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_COPY_PREDICATED,
		.flags = reverse ? KILN_F_REVERSE_PRED : 0, .dst = dst, .src = { src, predicate },
	};

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_tensor_tensor_scan(struct kiln_asm *as, struct kiln_operand dst,
				 struct kiln_operand a, enum kiln_alu func,
				 struct kiln_scalar initial, enum kiln_alu func1,
				 struct kiln_operand b, unsigned int flags)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_TENSOR_TENSOR_SCAN, .func = byte(func), .func1 = byte(func1),
		.flags = byte(flags), .dst = dst, .src = { a, b }, .col = { initial.col },
		.imm = { initial.imm },
	};

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_stream_shuffle(struct kiln_asm *as, struct kiln_operand dst,
			     struct kiln_operand src, struct kiln_column mask)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_STREAM_SHUFFLE, .dst = dst, .src = { src }, .col = { mask },
	};

	append(as, KILN_VECTOR, &insn);
}

/* What has tiles only. */
static void tiles(struct kiln_asm *as, enum kiln_engine e, unsigned int code,
		  struct kiln_operand dst, struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = code, .dst = dst, .src = { src } };

	append(as, e, &insn);
}

void kiln_asm_transpose32(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src)
{
	tiles(as, KILN_VECTOR, KILN_OP_TRANSPOSE32, dst, src);
}

void kiln_asm_max8(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src)
{
	tiles(as, KILN_VECTOR, KILN_OP_MAX8, dst, src);
}

void kiln_asm_bn_stats(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src)
{
	tiles(as, KILN_VECTOR, KILN_OP_BN_STATS, dst, src);
}

void kiln_asm_bn_aggr(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src)
{
	tiles(as, KILN_VECTOR, KILN_OP_BN_AGGR, dst, src);
}

void kiln_asm_sequence_bounds(struct kiln_asm *as, struct kiln_operand dst,
			      struct kiln_operand src)
{
	tiles(as, KILN_GPSIMD, KILN_OP_SEQUENCE_BOUNDS, dst, src);
}

void kiln_asm_find_index8(struct kiln_asm *as, struct kiln_operand dst,
			  struct kiln_operand src, struct kiln_operand vals)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_FIND_INDEX8, .dst = dst, .src = { src, vals },
	};

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_match_replace8(struct kiln_asm *as, struct kiln_operand dst,
			     struct kiln_operand src, struct kiln_operand vals, float value,
			     const struct kiln_column *indices)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_MATCH_REPLACE8, .dst = dst, .src = { src, vals },
		.imm = { value },
	};

	if (indices)
		insn.col[0] = *indices;
	append(as, KILN_VECTOR, &insn);
}

/* A seed stands as a pattern in DRAM. */
static struct kiln_operand seed(unsigned int base, int32_t offset)
{
	return kiln_dram(base, offset, 0, 0);
}

void kiln_asm_rng(struct kiln_asm *as, enum kiln_engine engine, struct kiln_operand dst,
		  unsigned int base, int32_t offset)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_RNG, .dst = dst, .src = { [1] = seed(base, offset) },
	};

	append(as, engine, &insn);
}

void kiln_asm_dropout(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src,
		      struct kiln_scalar prob, unsigned int base, int32_t offset)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_DROPOUT, .dst = dst, .src = { src, seed(base, offset) },
		.col = { prob.col }, .imm = { prob.imm },
	};

	append(as, KILN_VECTOR, &insn);
}

void kiln_asm_partition_reduce(struct kiln_asm *as, struct kiln_operand dst,
			       enum kiln_alu func, struct kiln_operand src)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_PARTITION_REDUCE, .func = byte(func), .dst = dst,
		.src = { src },
	};

	append(as, KILN_GPSIMD, &insn);
}

void kiln_asm_local_gather(struct kiln_asm *as, struct kiln_operand dst,
			   struct kiln_operand src, struct kiln_operand index,
			   unsigned int elements)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_LOCAL_GATHER, .func = byte(elements), .dst = dst,
		.src = { src, index },
	};

	append(as, KILN_GPSIMD, &insn);
}

void kiln_asm_topk(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand index,
		   struct kiln_operand src)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TOPK, .dst = dst, .src = { src, index } };

	append(as, KILN_GPSIMD, &insn);
}

void kiln_asm_load_register(struct kiln_asm *as, enum kiln_engine engine, unsigned int reg,
			    struct kiln_operand src)
{
	struct kiln_insn insn = {
		.opcode = KILN_OP_LOAD_REGISTER, .func = byte(reg), .src = { src },
	};

	append(as, engine, &insn);
}

/* ----------------------------------------------------------------- finish -- */

static void check_targets(struct kiln_asm *as, enum kiln_engine e)
{
	const struct stream *s = &as->stream[e];

	for (uint32_t i = 0; i < s->count; i++) {
		const struct kiln_insn *insn = &s->insn[i];

		if ((kiln_rules[insn->opcode].seq & R_TARGET) && insn->seq.target > s->count)
			fail(as, KILN_ENGINES, 256, "%s %u %s: target %u of %u",
			     kiln_engine_names[e], i, kiln_rules[insn->opcode].name, insn->seq.target, s->count);
	}
}

int kiln_program_layout(const struct kiln_program_header *base,
			struct kiln_insn *const insn[KILN_ENGINES],
			const uint32_t count[KILN_ENGINES], void **program, size_t *bytes)
{
	struct kiln_program_header *header;
	size_t at = sizeof(*header), total = at;
	int e;

	for (e = 0; e < KILN_ENGINES; e++)
		total += (size_t)count[e] * sizeof(struct kiln_insn);
	if (total > UINT32_MAX)
		return -EFBIG;
	header = calloc(1, total);
	if (!header)
		return -ENOMEM;
	*header = *base;
	header->magic = KILN_PROGRAM_MAGIC;
	header->bytes = total;
	for (e = 0; e < KILN_ENGINES; e++) {
		size_t size = (size_t)count[e] * sizeof(struct kiln_insn);

		header->stream[e].offset = at;
		header->stream[e].count = count[e];
		if (size)
			memcpy((char *)header + at, insn[e], size);
		at += size;
	}
	*program = header;
	*bytes = total;
	return 0;
}

int kiln_asm_finish(struct kiln_asm *as, void **program, size_t *bytes)
{
	struct kiln_program_header header = {
		.isa_major = KILN_ISA_MAJOR, .isa_minor = KILN_ISA_MINOR,
		.generation = as->generation, .flags = as->flags, .args_bytes = as->args_bytes,
	};
	struct kiln_insn *insn[KILN_ENGINES];
	uint32_t count[KILN_ENGINES];
	int e, err;

	if (!as->failed && as->loops)
		fail(as, KILN_ENGINES, 256, "%u loops or conditions have no end", as->loops);
	for (e = 0; e < KILN_ENGINES; e++)
		if (as->stream[e].waits)
			kiln_asm_nop(as, e);
	for (e = 0; e < KILN_ENGINES; e++)
		check_targets(as, e);
	if (as->failed)
		return as->no_memory ? -ENOMEM : -EINVAL;

	for (e = 0; e < KILN_ENGINES; e++) {
		insn[e] = as->stream[e].insn;
		count[e] = as->stream[e].count;
	}
	err = kiln_program_layout(&header, insn, count, program, bytes);
	if (err == -EFBIG) {
		fail(as, KILN_ENGINES, 256, "the program is larger than 4 GiB");
		return -EINVAL;
	}
	return err;
}

_Static_assert(sizeof(struct kiln_insn) == 128, "isa.h");
_Static_assert(sizeof(struct kiln_program_header) % STREAM_ALIGN == 0, "isa.h");
