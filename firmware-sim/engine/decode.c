// SPDX-License-Identifier: MIT
/*
 * Checks of an instruction that need no register: that its engine has it, that
 * its operands are of the kind and size it takes, that what it does not use is
 * zero. Addresses that no register is added to are checked here as well.
 */
#include <string.h>

#include "engine/state.h"

#define SBUF		(1 << KILN_SBUF)
#define PSUM		(1 << KILN_PSUM)
#define NONE		(1 << KILN_SPACE_NONE)
#define DRAM		(1 << KILN_DRAM)
#define F32		(1 << KILN_F32)
#define FLOATS		(1 << KILN_F32 | 1 << KILN_BF16)
#define ANY		(FLOATS | 1 << KILN_I32 | 1 << KILN_U32 | 1 << KILN_U8)

/* An operand has at most so many elements, so that every index fits in 31 bits. */
#define MAX_ELEMENTS	(1ull << 31)

static const uint8_t engines[256] = {
#define KILN_INSN(name, code, engines, summary) [code] = engines,
#include "kiln/isa.def"
#undef KILN_INSN
};

enum func { FUNC_NONE, FUNC_ALU, FUNC_COMPARE, FUNC_REDUCE, FUNC_ACT, FUNC_RING };

/* What may stand in an instruction. An operand of no spaces must be absent. */
struct rule {
	struct {
		uint8_t spaces, dtypes;
	} dst, src[2];
	uint8_t func, func1;	/* enum func */
	uint8_t flags;
	uint8_t cols;		/* bit i: col[i] may be given */
	uint8_t imms;		/* bit i: imm[i] is used; not if col[i] is given */
};

static const struct rule rules[256] = {
	/* The sides of a DMA are looked at in check_dma(). */
	[KILN_OP_DMA_COPY] = { .dst = { SBUF | DRAM, ANY },
			       .src = { { SBUF | DRAM, ANY }, { SBUF | NONE, ANY } },
			       .func = FUNC_RING },
	[KILN_OP_LOAD_STATIONARY] = { .src = { { SBUF, FLOATS } } },
	[KILN_OP_MATMUL] = { .dst = { PSUM, F32 }, .src = { { SBUF, FLOATS } },
			     .flags = KILN_F_ACCUMULATE },
	[KILN_OP_TRANSPOSE] = { .dst = { PSUM, ANY }, .src = { { SBUF, ANY } } },
	[KILN_OP_ACTIVATION] = { .dst = { SBUF | PSUM, ANY },
				 .src = { { SBUF | PSUM, ANY }, { SBUF | PSUM | NONE, ANY } },
				 .func = FUNC_ACT, .flags = KILN_F_REDUCE,
				 .cols = 3, .imms = 3 },
	[KILN_OP_TENSOR_COPY] = { .dst = { SBUF | PSUM, ANY },
				  .src = { { SBUF | PSUM, ANY } } },
	[KILN_OP_TENSOR_TENSOR] = { .dst = { SBUF | PSUM, ANY },
				    .src = { { SBUF | PSUM, ANY }, { SBUF | PSUM, ANY } },
				    .func = FUNC_ALU },
	[KILN_OP_TENSOR_SCALAR] = { .dst = { SBUF | PSUM, ANY },
				    .src = { { SBUF | PSUM, ANY } },
				    .func = FUNC_ALU, .func1 = FUNC_ALU,
				    .flags = KILN_F_REVERSE0 | KILN_F_REVERSE1,
				    .cols = 3, .imms = 3 },
	[KILN_OP_SCALAR_TENSOR_TENSOR] = { .dst = { SBUF | PSUM, ANY },
					   .src = { { SBUF | PSUM, ANY }, { SBUF | PSUM, ANY } },
					   .func = FUNC_ALU, .func1 = FUNC_ALU,
					   .flags = KILN_F_REVERSE0 | KILN_F_REVERSE1,
					   .cols = 1, .imms = 1 },
	[KILN_OP_TENSOR_REDUCE] = { .dst = { SBUF | PSUM, ANY },
				    .src = { { SBUF | PSUM, ANY } },
				    .func = FUNC_REDUCE, .flags = KILN_F_NEGATE },
	[KILN_OP_SELECT] = { .dst = { SBUF | PSUM, ANY },
			     .src = { { SBUF | PSUM, ANY }, { SBUF | PSUM, ANY } },
			     .cols = 1, .imms = 1 },
	[KILN_OP_RECIPROCAL] = { .dst = { SBUF | PSUM, ANY },
				 .src = { { SBUF | PSUM, ANY } } },
	[KILN_OP_MEMSET] = { .dst = { SBUF | PSUM, ANY }, .imms = 1 },
	[KILN_OP_AFFINE_SELECT] = { .dst = { SBUF, ANY },
				    .src = { { SBUF, ANY }, { DRAM, 1 << KILN_DT_NONE } },
				    .func = FUNC_COMPARE, .imms = 1 },
};

/* Which fields a sequencer instruction uses. */
enum { RD = 1, RS = 2, RT = 4, SLOT = 8, TARGET = 16, IMM = 32 };
static const uint8_t seq_fields[256] = {
	[KILN_OP_LDARG] = RD | SLOT,
	[KILN_OP_MOVI] = RD | IMM,
	[KILN_OP_ADD] = RD | RS | RT,
	[KILN_OP_ADDI] = RD | RS | IMM,
	[KILN_OP_MUL] = RD | RS | RT,
	[KILN_OP_XORI] = RD | RS | IMM,
	[KILN_OP_BNE] = RS | RT | TARGET,
	[KILN_OP_BLT] = RS | RT | TARGET,
};

static bool is_zero(const void *data, size_t bytes)
{
	const uint8_t *byte = data;
	uint8_t any = 0;

	while (bytes--)
		any |= *byte++;
	return !any;
}

static bool imm_is_zero(float imm)
{
	return is_zero(&imm, sizeof(imm));
}

static uint64_t elements(const struct kiln_operand *op, unsigned int ndim)
{
	uint64_t n = 1;

	for (unsigned int d = 0; d < ndim; d++)
		n *= op->size[d];
	return n;
}

/* An operand in SBUF or PSUM. dma: the partition rule does not hold. */
static enum kiln_status check_tile(struct kiln_core *core,
				   const struct kiln_operand *op, bool dma)
{
	uint64_t count = 1;
	uint32_t lo, hi;

	if (op->reg >= KILN_REGISTERS || op->reserved || !op->ndim || op->ndim > 4)
		return KILN_ST_OPERAND;
	if (!op->partitions || op->partition + op->partitions > KILN_PARTITIONS)
		return KILN_ST_OPERAND;
	if (!dma && op->partition % (op->partitions > 64 ? 128 :
				     op->partitions > 32 ? 64 : 32))
		return KILN_ST_OPERAND;
	for (unsigned int d = 0; d < 4; d++) {
		if (d < op->ndim) {
			count *= op->size[d];
			if (!count || count >= MAX_ELEMENTS)
				return KILN_ST_OPERAND;
		} else if (op->size[d] || op->stride[d]) {
			return KILN_ST_OPERAND;
		}
	}
	return op->reg ? KILN_ST_OK : kiln_operand_range(core, op, 0, &lo, &hi);
}

static enum kiln_status check_column(struct kiln_core *core,
				     const struct kiln_column *col)
{
	uint32_t addr;

	if ((col->space != KILN_SBUF && col->space != KILN_PSUM) || !col->dtype ||
	    col->dtype >= KILN_DTYPES || col->reg >= KILN_REGISTERS || col->reserved)
		return KILN_ST_OPERAND;
	return col->reg ? KILN_ST_OK : kiln_column_range(core, col, 0, &addr);
}

/* dims: sizes of the side that the pattern goes with. */
static bool dram_ok(const struct kiln_operand *op, unsigned int dims)
{
	if (op->partition || op->partitions || op->dram.base >= KILN_REGISTERS ||
	    !is_zero(op->dram.reserved, sizeof(op->dram.reserved)))
		return false;
	for (unsigned int d = dims; d < 3; d++) {
		if (op->dram.step[d + 1])
			return false;
	}
	return dims <= 3;
}

static bool func_ok(enum func kind, uint8_t func)
{
	switch (kind) {
	case FUNC_ALU:
		return func < KILN_ALU_OPS;
	case FUNC_COMPARE:
		return func >= KILN_ALU_EQ && func <= KILN_ALU_LT;
	case FUNC_REDUCE:
		return func == KILN_ALU_ADD || func == KILN_ALU_MAX ||
		       func == KILN_ALU_MIN || func == KILN_ALU_MULTIPLY;
	case FUNC_ACT:
		return func < KILN_ACTS;
	case FUNC_RING:
		return func < KILN_DMA_RINGS;
	default:
		return !func;
	}
}

static enum kiln_status check_dma(const struct kiln_insn *insn)
{
	const struct kiln_operand *dst = &insn->dst, *src = &insn->src[0];
	const struct kiln_operand *shape;

	if (dst->space == KILN_DRAM && src->space == KILN_DRAM) {
		shape = &insn->src[1];
		if (shape->space != KILN_SBUF || shape->partition || shape->addr ||
		    shape->reg)
			return KILN_ST_OPERAND;
	} else {
		if (insn->src[1].space || (dst->space == KILN_SBUF &&
					   src->space == KILN_SBUF))
			return KILN_ST_OPERAND;
		shape = dst->space == KILN_SBUF ? dst : src;
	}
	if (kiln_dtype_bytes(dst->dtype) != kiln_dtype_bytes(src->dtype) ||
	    kiln_dtype_bytes(shape->dtype) != kiln_dtype_bytes(src->dtype))
		return KILN_ST_OPERAND;
	if ((dst->space == KILN_DRAM && !dram_ok(dst, shape->ndim)) ||
	    (src->space == KILN_DRAM && !dram_ok(src, shape->ndim)))
		return KILN_ST_OPERAND;
	return KILN_ST_OK;
}

/* One PSUM bank; where a register moves the operand, the engine checks again. */
static bool in_bank(struct kiln_core *core, const struct kiln_operand *op)
{
	uint32_t lo, hi;

	if (op->reg)
		return true;
	kiln_operand_range(core, op, 0, &lo, &hi);
	core->fault_addr = lo;
	return lo / KILN_PSUM_BANK_BYTES == (hi - 1) / KILN_PSUM_BANK_BYTES;
}

/* Sizes of the operands against each other. They are known to be well formed. */
static bool shapes_ok(struct kiln_core *core, const struct kiln_insn *insn)
{
	const struct kiln_operand *dst = &insn->dst, *a = &insn->src[0], *b = &insn->src[1];
	uint64_t out = elements(dst, dst->ndim), in = elements(a, a->ndim);

	switch (insn->opcode) {
	case KILN_OP_LOAD_STATIONARY:
		return in <= KILN_MATMUL_MAX_M;
	case KILN_OP_MATMUL:
		return in <= KILN_MATMUL_MAX_N && out == in && in_bank(core, dst);
	case KILN_OP_TRANSPOSE:
		return in <= KILN_PARTITIONS && dst->partitions == in &&
		       out == a->partitions && dst->dtype == a->dtype && in_bank(core, dst);
	case KILN_OP_MEMSET:
		return true;
	case KILN_OP_TENSOR_REDUCE:
		return out == elements(a, a->ndim - 1) && dst->partitions == a->partitions;
	case KILN_OP_ACTIVATION:
		if (b->space && (elements(b, b->ndim) != 1 || b->partitions != a->partitions))
			return false;
		break;
	case KILN_OP_TENSOR_TENSOR:
	case KILN_OP_SCALAR_TENSOR_TENSOR:
	case KILN_OP_SELECT:
		if (elements(b, b->ndim) != in || b->partitions != a->partitions)
			return false;
		break;
	case KILN_OP_AFFINE_SELECT:
		if (!dram_ok(b, a->ndim))
			return false;
		break;
	}
	return out == in && dst->partitions == a->partitions;
}

static enum kiln_status check_operand(struct kiln_core *core,
				      const struct kiln_operand *op, uint8_t spaces,
				      uint8_t dtypes, bool gpsimd, bool dma)
{
	if (gpsimd)
		spaces &= ~PSUM;
	if (!op->space && (!spaces || (spaces & NONE)))
		return is_zero(op, sizeof(*op)) ? KILN_ST_OK : KILN_ST_OPERAND;
	if (op->space > KILN_DRAM || !(spaces & 1 << op->space) ||
	    op->dtype >= KILN_DTYPES || !(dtypes & 1 << op->dtype))
		return KILN_ST_OPERAND;
	return op->space == KILN_DRAM ? KILN_ST_OK : check_tile(core, op, dma);
}

static enum kiln_status check_tiles(struct kiln_core *core, enum kiln_engine engine,
				    const struct kiln_insn *insn)
{
	const struct rule *rule = &rules[insn->opcode];
	bool gpsimd = engine == KILN_GPSIMD;
	bool dma = insn->opcode == KILN_OP_DMA_COPY;
	enum kiln_status status;

	if (!func_ok(rule->func, insn->func) || !func_ok(rule->func1, insn->func1) ||
	    (insn->flags & ~rule->flags) || insn->reserved)
		return KILN_ST_OPERAND;

	status = check_operand(core, &insn->dst, rule->dst.spaces, rule->dst.dtypes,
			       gpsimd, dma);
	for (unsigned int i = 0; i < 2 && status == KILN_ST_OK; i++) {
		struct kiln_operand op = insn->src[i];

		if (dma && i == 1)	/* partitions and sizes only: it lies nowhere */
			memset(op.stride, 0, op.space ? sizeof(op.stride) : 0);
		status = check_operand(core, &op, rule->src[i].spaces, rule->src[i].dtypes,
				       gpsimd, dma);
	}
	if (status != KILN_ST_OK)
		return status;

	for (unsigned int i = 0; i < 2; i++) {
		const struct kiln_column *col = &insn->col[i];
		bool given = !is_zero(col, sizeof(*col));

		if (given) {
			if (!(rule->cols & 1 << i) || (gpsimd && col->space == KILN_PSUM))
				return KILN_ST_OPERAND;
			status = check_column(core, col);
			if (status != KILN_ST_OK)
				return status;
		}
		/* ACTIVATION's second constant is the bias, its second column a result. */
		if (insn->opcode == KILN_OP_ACTIVATION && i == 1)
			given = insn->src[1].space;
		if ((given || !(rule->imms & 1 << i)) && !imm_is_zero(insn->imm[i]))
			return KILN_ST_OPERAND;
	}
	if (insn->opcode == KILN_OP_ACTIVATION &&
	    !(insn->flags & KILN_F_REDUCE) != !insn->col[1].space)
		return KILN_ST_OPERAND;
	if (dma)
		return check_dma(insn);
	return shapes_ok(core, insn) ? KILN_ST_OK : KILN_ST_OPERAND;
}

static enum kiln_status check_sequencer(const struct kiln_insn *insn, uint32_t count,
					uint32_t args_bytes)
{
	uint8_t fields = seq_fields[insn->opcode];

	if (insn->func || insn->func1 || insn->flags || insn->seq.reserved[0] ||
	    insn->seq.reserved[1] || insn->seq.reserved[2] ||
	    !is_zero(insn->src, sizeof(*insn) - offsetof(struct kiln_insn, src)))
		return KILN_ST_OPERAND;
	if (insn->seq.rd >= (fields & RD ? KILN_REGISTERS : 1) ||
	    insn->seq.rs >= (fields & RS ? KILN_REGISTERS : 1) ||
	    insn->seq.rt >= (fields & RT ? KILN_REGISTERS : 1))
		return KILN_ST_OPERAND;
	if (insn->seq.slot && (!(fields & SLOT)))
		return KILN_ST_OPERAND;
	if ((fields & SLOT) && insn->seq.slot >= args_bytes / 8)
		return KILN_ST_OPERAND;
	if (insn->seq.target > (fields & TARGET ? count : 0))
		return KILN_ST_OPERAND;
	if ((insn->seq.imm_lo || insn->seq.imm_hi) && !(fields & IMM))
		return KILN_ST_OPERAND;
	return KILN_ST_OK;
}

enum kiln_status kiln_decode(struct kiln_core *core, enum kiln_engine engine,
			     const struct kiln_insn *insn, uint32_t count,
			     uint32_t args_bytes)
{
	core->fault_addr = 0;
	if (!(engines[insn->opcode] & 1 << engine))
		return KILN_ST_ILLEGAL;
	for (unsigned int i = 0; i < 2; i++) {
		if ((insn->wait[i].sem && !insn->wait[i].value) ||
		    (insn->post[i].sem && !insn->post[i].value))
			return KILN_ST_OPERAND;
	}
	if (insn->opcode < KILN_OP_DMA_COPY)
		return check_sequencer(insn, count, args_bytes);
	return check_tiles(core, engine, insn);
}
