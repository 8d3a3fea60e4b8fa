// SPDX-License-Identifier: MIT
/*
 * What the engine refuses: one wrong thing in an otherwise good program, and
 * the status, engine, instruction, label and address that it is reported with.
 */
#include "engine_good.h"

static struct machine *m;

static struct kiln_outcome run_one(enum kiln_engine engine, const struct kiln_insn *insn)
{
	static struct prog p;
	struct kiln_insn load = good(KILN_OP_LOAD_STATIONARY);

	memset(&p, 0, sizeof(p));
	movi(&p, engine, 1, DATA);
	movi(&p, engine, 2, 16);
	movi(&p, engine, 3, ~0ull);
	if (engine == KILN_TENSOR)
		*emit(&p, engine, 0) = load;
	*emit(&p, engine, 0) = *insn;
	return run(m, &p);
}

/* The instruction is refused with this status, at its place. */
static void refused(const struct kiln_insn *insn, enum kiln_engine engine,
		    enum kiln_status status, uint64_t addr, const char *what)
{
	struct kiln_outcome o = run_one(engine, insn);
	uint32_t index = engine == KILN_TENSOR ? 4 : 3;

	if (!ok(o.status == status && o.engine == engine && o.instruction == index &&
		o.label == insn->label && o.fault_addr == addr, "%s", what))
		printf("# opcode %#x: status %d engine %u instruction %u label %u addr %#" PRIx64 "\n",
		       insn->opcode, o.status, o.engine, o.instruction, o.label, o.fault_addr);
}

#define WRONG(opcode, change, status, addr) do {				\
		struct kiln_insn insn = good(KILN_OP_##opcode);			\
		change;								\
		refused(&insn, engine_of(KILN_OP_##opcode), status, addr,	\
			#opcode ": " #change);					\
	} while (0)

static void test_good(void)
{
	static const struct { uint8_t opcode, engines; } table[] = {
#define KILN_INSN(name, code, engines, doc, ...) { code, engines },
#include "kiln/isa.def"
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].opcode == KILN_OP_RANGE_SELECT && m->generation == 1) {
			struct kiln_insn insn = good(table[i].opcode);

			refused(&insn, KILN_VECTOR, KILN_ST_ILLEGAL, 0, "from trn2 on");
		} else if (table[i].opcode >= KILN_OP_DMA_COPY) {
			struct kiln_insn insn = good(table[i].opcode);
			struct kiln_outcome o = run_one(engine_of(table[i].opcode), &insn);

			ok(o.status == KILN_ST_OK, "opcode %#x, as it should be: status %d",
			   table[i].opcode, o.status);
		}
		for (int e = 0; e < KILN_ENGINES; e++) {
			struct kiln_insn insn = good(table[i].opcode);

			if (!(table[i].engines & 1 << e))
				refused(&insn, e, KILN_ST_ILLEGAL, 0, "an engine without it");
		}
	}
	for (unsigned int opcode = 0; opcode < 256; opcode++) {
		struct kiln_insn insn = { .opcode = opcode, .label = 9 };
		bool known = false;

		for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
			known |= table[i].opcode == opcode;
		if (!known && (opcode < 32 || opcode % 16 == 9))
			refused(&insn, KILN_SYNC, KILN_ST_ILLEGAL, 0, "an opcode that is not");
	}
}

static void test_operands(void)
{
	const enum kiln_status operand = KILN_ST_OPERAND, memory = KILN_ST_MEMORY;
	const uint32_t sbuf = kiln_core_sbuf_bytes(m->generation);

	/* partitions */
	WRONG(TENSOR_COPY, insn.dst.partition = 32, operand, 0);
	WRONG(TENSOR_COPY, insn.src[0].partition = 64, operand, 0);
	WRONG(TENSOR_COPY, (insn.src[0].partitions = insn.dst.partitions = 64,
			    insn.src[0].partition = 32), operand, 0);
	WRONG(TENSOR_COPY, (insn.src[0].partitions = insn.dst.partitions = 32,
			    insn.src[0].partition = 16), operand, 0);
	WRONG(TENSOR_COPY, (insn.src[0].partitions = insn.dst.partitions = 0), operand, 0);
	WRONG(TENSOR_COPY, (insn.src[0].partitions = insn.dst.partitions = 129), operand, 0);
	WRONG(TENSOR_COPY, insn.dst.partitions = 127, operand, 0);
	WRONG(DMA_COPY, (insn.dst.partition = 100, insn.dst.partitions = 29), operand, 0);

	/* shapes */
	WRONG(TENSOR_COPY, insn.dst.size[0] = 63, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.ndim = 0, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.ndim = 5, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.size[1] = 1, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.stride[3] = 1, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.size[0] = 0, operand, 0);
	WRONG(MEMSET, (insn.dst.ndim = 4, insn.dst.stride[0] = 0, insn.dst.size[0] = 65535,
		       insn.dst.size[1] = 65535, insn.dst.size[2] = 2, insn.dst.size[3] = 2),
	      operand, 0);
	WRONG(TENSOR_TENSOR, insn.src[1].size[0] = 32, operand, 0);
	WRONG(TENSOR_TENSOR, insn.src[1].partitions = 65, operand, 0);
	WRONG(TENSOR_REDUCE, insn.dst.size[0] = 2, operand, 0);
	WRONG(LOAD_STATIONARY, insn.src[0].size[0] = 129, operand, 0);
	WRONG(MATMUL, (insn.src[0].size[0] = insn.dst.size[0] = 513), operand, 0);
	WRONG(MATMUL, insn.dst.size[0] = 65, operand, 0);
	WRONG(MATMUL, insn.src[0].partitions = 64, operand, 0);	/* another K than loaded */
	WRONG(MATMUL, insn.dst.partitions = 32, operand, 0);		/* another M */
	WRONG(MATMUL, insn.src[0].dtype = KILN_BF16, operand, 0);	/* another type */
	WRONG(MATMUL, insn.src[0].dtype = KILN_F16, operand, 0);	/* f32 goes with tf32 only */
	WRONG(MATMUL, insn.src[0].dtype = KILN_I8, operand, 0);
	WRONG(TRANSPOSE, insn.dst.partitions = 32, operand, 0);
	WRONG(TRANSPOSE, insn.dst.dtype = KILN_I32, operand, 0);
	WRONG(ACTIVATION, insn.src[1] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 2), operand, 0);

	/* kinds */
	WRONG(MATMUL, insn.dst.space = KILN_SBUF, operand, 0);
	WRONG(MATMUL, insn.src[0].space = KILN_PSUM, operand, 0);
	WRONG(MATMUL, insn.dst.dtype = KILN_F16, operand, 0);
	if (m->generation < 3)
		WRONG(MATMUL, insn.dst.dtype = KILN_BF16, operand, 0);
	WRONG(LOAD_STATIONARY, insn.src[0].dtype = KILN_I32, operand, 0);
	WRONG(LOAD_STATIONARY, insn.src[0].space = KILN_PSUM, operand, 0);
	WRONG(TRANSPOSE, insn.dst.space = KILN_SBUF, operand, 0);
	WRONG(AFFINE_SELECT, insn.dst.space = KILN_PSUM, operand, 0);
	WRONG(AFFINE_SELECT, insn.src[0].space = KILN_PSUM, operand, 0);
	WRONG(AFFINE_SELECT, insn.src[1].space = KILN_SBUF, operand, 0);
	WRONG(AFFINE_SELECT, insn.func = KILN_ALU_ADD, operand, 0);
	WRONG(AFFINE_SELECT, insn.src[1].dram.step[2] = 1, operand, 0);
	WRONG(DMA_COPY, insn.dst.space = KILN_PSUM, operand, 0);
	WRONG(DMA_COPY, insn.src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 64), operand, 0);
	WRONG(DMA_COPY, insn.dst = dram_at(KILN_F32, 1, 0, 64, 1), operand, 0);
	WRONG(DMA_COPY, insn.src[0].dtype = KILN_BF16, operand, 0);
	WRONG(DMA_COPY, insn.src[0].dram.step[2] = 1, operand, 0);
	WRONG(DMA_COPY, insn.src[0].dram.base = 64, operand, 0);
	WRONG(DMA_COPY, insn.src[0].dram.reserved[1] = 1, operand, 0);
	WRONG(DMA_COPY, insn.src[0].partitions = 1, operand, 0);
	WRONG(DMA_COPY, insn.src[1] = insn.dst, operand, 0);
	WRONG(DMA_COPY, insn.func = 16, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.space = KILN_DRAM, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.space = 4, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.dtype = KILN_DT_NONE, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.dtype = KILN_DTYPES, operand, 0);
	WRONG(TENSOR_COPY, memset(&insn.src[0], 0, sizeof(insn.src[0])), operand, 0);
	WRONG(TENSOR_REDUCE, insn.func = KILN_ALU_SUBTRACT, operand, 0);
	WRONG(TENSOR_TENSOR, insn.func = KILN_ALU_OPS, operand, 0);
	WRONG(TENSOR_SCALAR, insn.func1 = KILN_ALU_OPS, operand, 0);
	WRONG(ACTIVATION, insn.func = KILN_ACTS, operand, 0);

	WRONG(TENSOR_COPY, insn.flags = KILN_F_STOCHASTIC, operand, 0);	/* to fp32 */
	WRONG(ACTIVATION, (insn.flags = KILN_F_STOCHASTIC, insn.dst.dtype = KILN_I32), operand, 0);
	WRONG(MEMSET, (insn.flags = KILN_F_STOCHASTIC, insn.dst.dtype = KILN_BF16), operand, 0);

	/* bitwise: integers of one type, one kind of function, two instructions */
#define BITS(insn) (insn.dst.dtype = insn.src[0].dtype = KILN_I32)
	WRONG(TENSOR_TENSOR, insn.func = KILN_ALU_BITWISE_AND, operand, 0);
	WRONG(TENSOR_TENSOR, (BITS(insn), insn.func = KILN_ALU_BITWISE_AND), operand, 0);
	WRONG(TENSOR_TENSOR, (BITS(insn), insn.src[1].dtype = KILN_U32,
			      insn.func = KILN_ALU_BITWISE_AND), operand, 0);
	WRONG(TENSOR_SCALAR, (BITS(insn), insn.func = KILN_ALU_LEFT_SHIFT,
			      insn.func1 = KILN_ALU_ADD), operand, 0);
	WRONG(TENSOR_SCALAR, (BITS(insn), insn.func = KILN_ALU_ADD,
			      insn.func1 = KILN_ALU_INVERT), operand, 0);
	WRONG(SCALAR_TENSOR_TENSOR, (BITS(insn), insn.src[1].dtype = KILN_I32,
				     insn.func = insn.func1 = KILN_ALU_INVERT), operand, 0);
#undef BITS

	/* what is not used is zero */
	WRONG(TENSOR_COPY, insn.last_step = 1, operand, 0);
	WRONG(RNG, insn.last_step = 1, operand, 0);
	WRONG(TENSOR_COPY, insn.flags = 1, operand, 0);
	WRONG(TENSOR_COPY, insn.func = 1, operand, 0);
	WRONG(TENSOR_COPY, insn.func1 = 1, operand, 0);
	WRONG(TENSOR_COPY, insn.src[1].addr = 4, operand, 0);
	WRONG(TENSOR_COPY, insn.src[1] = insn.src[0], operand, 0);
	WRONG(TENSOR_COPY, insn.imm[0] = 1, operand, 0);
	WRONG(TENSOR_COPY, insn.imm[1] = -0.0f, operand, 0);
	WRONG(TENSOR_COPY, insn.dst.reserved = 1, operand, 0);
	WRONG(TENSOR_COPY, insn.col[0] = column_at(KILN_SBUF, KILN_F32, 0), operand, 0);
	WRONG(TENSOR_COPY, insn.wait[1].sem = 3, operand, 0);
	WRONG(TENSOR_COPY, insn.post[0].sem = 3, operand, 0);
	WRONG(TENSOR_SCALAR, (insn.col[0] = column_at(KILN_SBUF, KILN_F32, 0), insn.imm[0] = 1),
	      operand, 0);
	WRONG(TENSOR_SCALAR, insn.col[0].addr = 4, operand, 0);
	WRONG(TENSOR_SCALAR, (insn.col[0] = column_at(KILN_SBUF, KILN_F32, 0),
			      insn.col[0].reserved = 1), operand, 0);
	WRONG(TENSOR_SCALAR, insn.col[0] = column_at(KILN_DRAM, KILN_F32, 0), operand, 0);
	WRONG(TENSOR_SCALAR, insn.col[0] = column_at(KILN_SBUF, KILN_DTYPES, 0), operand, 0);
	WRONG(TENSOR_SCALAR, insn.col[1] = column_at(KILN_SBUF, KILN_F32, 2), operand, 0);
	WRONG(TENSOR_SCALAR, (insn.col[1] = column_at(KILN_SBUF, KILN_F32, 0),
			      insn.col[1].reg = 64), operand, 0);
	WRONG(SCALAR_TENSOR_TENSOR, insn.col[1] = column_at(KILN_SBUF, KILN_F32, 0), operand, 0);
	WRONG(ACTIVATION, insn.flags = KILN_F_REDUCE, operand, 0);
	WRONG(ACTIVATION, insn.col[1] = column_at(KILN_SBUF, KILN_F32, 0), operand, 0);
	WRONG(ACTIVATION, (insn.src[1] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 1),
			   insn.imm[1] = 1), operand, 0);

	/* addresses */
	WRONG(TENSOR_COPY, insn.src[0].addr = 2, operand, 0);
	WRONG(TENSOR_COPY, insn.src[0].reg = 64, operand, 0);
	WRONG(TENSOR_COPY, insn.src[0].addr = sbuf, memory, sbuf);
	WRONG(TENSOR_COPY, insn.src[0].addr = sbuf - 252, memory, sbuf);
	WRONG(TENSOR_COPY, insn.src[0].stride[0] = -1, memory, (uint64_t)-252);
	WRONG(TENSOR_COPY, insn.dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, 16384, 64), memory, 16384);
	WRONG(TENSOR_COPY, insn.dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, 16384 - 252, 64),
	      memory, 16384);
	WRONG(TENSOR_SCALAR, insn.col[0] = column_at(KILN_PSUM, KILN_F32, 16384), memory, 16384);
	/* the same when a register moves them: found when they run */
	WRONG(TENSOR_COPY, (insn.src[0].reg = 2, insn.src[0].addr = sbuf - 256), memory, sbuf + 12);
	WRONG(TENSOR_COPY, (insn.dst.reg = 3, insn.dst.addr = 0), operand, 0);
	WRONG(TENSOR_COPY, (insn.dst.reg = 1, insn.dst.addr = 0), memory, DATA);
	WRONG(TENSOR_SCALAR, (insn.col[0] = column_at(KILN_PSUM, KILN_F32, 16384 - 4),
			      insn.col[0].reg = 2), memory, 16384 + 12);
	WRONG(DMA_COPY, (insn.dst.reg = 1, insn.dst.addr = 0), memory, DATA);

	/* one bank */
	WRONG(MATMUL, insn.dst.addr = 2048 - 128, operand, 0);
	WRONG(MATMUL, (insn.dst.addr = 2048 - 264, insn.dst.reg = 2), operand, 0);
	WRONG(TRANSPOSE, insn.dst.addr = 2048 - 256, operand, 0);
}

/* The same for the instructions that have shapes of their own. */
static void test_shapes(void)
{
	const enum kiln_status operand = KILN_ST_OPERAND, memory = KILN_ST_MEMORY;
	const struct kiln_operand none = { 0 };

	WRONG(DMA_COPY, (insn.flags = KILN_F_ACCUMULATE, insn.src[0].dtype = KILN_I32), operand, 0);
	WRONG(DMA_COPY, insn.func1 = 1, operand, 0);
	WRONG(DMA_GATHER, insn.dst.dtype = KILN_I32, operand, 0);
	WRONG(DMA_GATHER, insn.dst = dram_at(KILN_F32, 1, 0, 64, 1), operand, 0);
	WRONG(DMA_GATHER, insn.src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 64), operand, 0);
	WRONG(DMA_GATHER, insn.func1 = 64, operand, 0);
	WRONG(DMA_GATHER, insn.flags = 4, operand, 0);
	WRONG(DMA_GATHER, insn.src[0].dram.step[2] = 1, operand, 0);
	WRONG(DMA_GATHER, insn.src[1].dtype = KILN_F32, operand, 0);
	WRONG(DMA_GATHER, insn.src[1].partitions = 127, operand, 0);
	WRONG(DMA_GATHER, insn.src[1].size[0] = 2, operand, 0);
	WRONG(DMA_GATHER, insn.src[1] = none, operand, 0);
	WRONG(DMA_GATHER, insn.src[1] = dram_at(KILN_U32, 1, 0, 1, 1), operand, 0);
	WRONG(DMA_GATHER, (insn.src[1].reg = 2, insn.src[1].addr = 1), operand, 0);
	WRONG(DMA_SCATTER, insn.src[1].dtype = KILN_U8, operand, 0);
	WRONG(DMA_SCATTER, insn.dst.dtype = KILN_U32, operand, 0);
	/* index 0, where there are no rows */
	WRONG(DMA_GATHER, insn.func1 = 4, memory, DATA);
	WRONG(DMA_SCATTER, insn.func1 = 4, memory, DATA);
	WRONG(DMA_TRANSPOSE, insn.dst.dtype = KILN_F32, operand, 0);
	WRONG(DMA_TRANSPOSE, insn.dst.dtype = insn.src[0].dtype = KILN_F32, operand, 0);
	WRONG(DMA_TRANSPOSE, (insn.dst.ndim = 2, insn.dst.size[1] = 1), operand, 0);
	WRONG(DMA_TRANSPOSE, insn.src[0].dram.step[2] = 1, operand, 0);
	WRONG(DMA_TRANSPOSE, insn.src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 64, 0, 127), operand, 0);

	/* tiles of the array; 64 rows and columns from the first on are not loaded */
	WRONG(MATMUL, (insn.func = 64, insn.src[0].partitions = 64), operand, 0);
	WRONG(MATMUL, (insn.func = 64, insn.func1 = 64), operand, 0);
	WRONG(MATMUL, (insn.func = 16, insn.src[0].partitions = 16), operand, 0);
	WRONG(MATMUL, (insn.func1 = 64, insn.dst.partitions = 65), operand, 0);
	WRONG(MATMUL, (insn.func1 = 64, insn.dst.partition = 32, insn.dst.partitions = 32), operand, 0);
	WRONG(MATMUL, (insn.func = insn.func1 = 32, insn.src[0].partitions = 32,
		       insn.dst.partitions = 32), m->generation > 1 ? operand : KILN_ST_ILLEGAL, 0);
	WRONG(LOAD_STATIONARY, insn.imm[0] = 32, operand, 0);
	WRONG(LOAD_STATIONARY, insn.imm[0] = NAN, operand, 0);
	WRONG(LOAD_STATIONARY, (insn.func1 = 64, insn.imm[0] = 32), operand, 0);
	WRONG(LOAD_STATIONARY, (insn.func1 = 64, insn.imm[0] = 128), operand, 0);
	WRONG(LOAD_STATIONARY, (insn.func1 = 64, insn.imm[0] = -64), operand, 0);
	WRONG(LOAD_STATIONARY, (insn.func1 = 64, insn.imm[0] = 64.5), operand, 0);
	WRONG(LOAD_STATIONARY, (insn.func1 = 64, insn.src[0].size[0] = 65), operand, 0);
	/* double rows */
	const struct kiln_operand rows = { .space = KILN_SBUF, .dtype = KILN_F8E4M3,
					   .partitions = 128, .ndim = 2, .size = { 2, 64 },
					   .stride = { 64, 1 } };
	WRONG(MATMUL, (insn.flags = KILN_F_DOUBLE_ROW, insn.src[0] = rows),
	      m->generation > 1 ? operand : KILN_ST_ILLEGAL, 0);	/* the stationary has not */
	if (m->generation > 1) {
		WRONG(MATMUL, insn.flags = KILN_F_DOUBLE_ROW, operand, 0);
		WRONG(MATMUL, (insn.flags = KILN_F_DOUBLE_ROW, insn.src[0] = rows,
			       insn.src[0].dtype = KILN_BF16), operand, 0);
		WRONG(MATMUL, (insn.flags = KILN_F_DOUBLE_ROW, insn.src[0] = rows,
			       insn.src[0].size[0] = 1), operand, 0);
		WRONG(LOAD_STATIONARY, (insn.flags = KILN_F_DOUBLE_ROW, insn.src[0] = rows,
					insn.src[0].size[1] = 129), operand, 0);
		WRONG(RANGE_SELECT, insn.func = KILN_ALU_ADD, operand, 0);
		WRONG(RANGE_SELECT, insn.func1 = KILN_ALU_OPS, operand, 0);
		WRONG(RANGE_SELECT, memset(&insn.col[0], 0, sizeof(insn.col[0])), operand, 0);
		WRONG(RANGE_SELECT, memset(&insn.col[1], 0, sizeof(insn.col[1])), operand, 0);
		WRONG(RANGE_SELECT, insn.src[1] = insn.src[0], operand, 0);
		WRONG(RANGE_SELECT, insn.flags = KILN_F_REDUCE, operand, 0);
	}
	WRONG(IOTA, insn.src[1].dram.step[2] = 1, operand, 0);
	WRONG(IOTA, insn.src[1].dram.base = 64, operand, 0);
	WRONG(IOTA, insn.src[1].dtype = KILN_I32, operand, 0);
	WRONG(IOTA, insn.src[1] = none, operand, 0);
	WRONG(IOTA, insn.last_step = 1, operand, 0);
	WRONG(IOTA, (insn.dst.ndim = 3, insn.dst.size[1] = insn.dst.size[2] = 1,
		     insn.last_step = 1), operand, 0);
	WRONG(AFFINE_SELECT, insn.last_step = 1, operand, 0);
	WRONG(IOTA, insn.dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, 0, 64), operand, 0);
	WRONG(RNG, insn.src[1].dram.step[0] = 1, operand, 0);
	WRONG(RNG, insn.src[0] = insn.dst, operand, 0);
	WRONG(DROPOUT, insn.src[1].dram.step[1] = 1, operand, 0);
	WRONG(DROPOUT, insn.src[0].size[0] = 63, operand, 0);
	WRONG(TENSOR_COPY_PREDICATED, insn.src[1] = none, operand, 0);
	WRONG(TENSOR_COPY_PREDICATED, insn.src[1].size[0] = 63, operand, 0);
	WRONG(TENSOR_COPY_PREDICATED, insn.flags = 2, operand, 0);
#define BOTH_IN_PSUM	insn.src[0] = insn.src[1] = tile_at(KILN_PSUM, KILN_F32, 0, 128, 0, 64)
	WRONG(TENSOR_TENSOR, BOTH_IN_PSUM, operand, 0);
	WRONG(SCALAR_TENSOR_TENSOR, BOTH_IN_PSUM, operand, 0);
	WRONG(SELECT, BOTH_IN_PSUM, operand, 0);
	WRONG(TENSOR_COPY_PREDICATED, BOTH_IN_PSUM, operand, 0);
	WRONG(SELECT, insn.flags = KILN_F_REDUCE, operand, 0);
	WRONG(SELECT, insn.col[1] = column_at(KILN_SBUF, KILN_F32, 65536), operand, 0);
	WRONG(SELECT, insn.flags = KILN_F_CONTINUE, operand, 0);
	WRONG(ACTIVATION, insn.flags = KILN_F_CONTINUE, operand, 0);
	WRONG(TENSOR_SCALAR_REDUCE, memset(&insn.col[1], 0, sizeof(insn.col[1])), operand, 0);
	WRONG(TENSOR_SCALAR_REDUCE, insn.func1 = KILN_ALU_SUBTRACT, operand, 0);
	WRONG(TENSOR_SCALAR_REDUCE, insn.func = KILN_ALU_INVERT, operand, 0);
	WRONG(TENSOR_SCALAR_REDUCE, (insn.dst.dtype = insn.src[0].dtype = KILN_I32,
				     insn.func1 = KILN_ALU_BITWISE_OR), operand, 0);
	WRONG(TENSOR_REDUCE, insn.func1 = 2, operand, 0);	/* of one dimension */
	WRONG(TENSOR_REDUCE, insn.func1 = 5, operand, 0);
	WRONG(TENSOR_REDUCE, insn.func = KILN_ALU_BITWISE_AND, operand, 0);	/* of fp32 */
	WRONG(TENSOR_REDUCE, (insn.dst.dtype = insn.src[0].dtype = KILN_I8,
			      insn.func = KILN_ALU_BITWISE_OR, insn.flags = KILN_F_NEGATE), operand, 0);
	WRONG(PARTITION_REDUCE, (insn.src[0].dtype = KILN_I8, insn.func = KILN_ALU_BITWISE_OR),
	      operand, 0);
	WRONG(TENSOR_TENSOR, (insn.dst.dtype = insn.src[0].dtype = insn.src[1].dtype = KILN_I32,
			      insn.func = KILN_ALU_INTEGER_ADD), operand, 0);	/* on Vector */
	WRONG(SEQUENCE_BOUNDS, insn.src[0].dtype = KILN_U32, operand, 0);
	WRONG(SEQUENCE_BOUNDS, insn.src[0].partitions = 2, operand, 0);
	WRONG(SEQUENCE_BOUNDS, insn.dst.size[0] = 64, operand, 0);
	WRONG(LOAD_REGISTER, insn.func = 64, operand, 0);
	WRONG(LOAD_REGISTER, insn.src[0].dtype = KILN_F32, operand, 0);
	WRONG(LOAD_REGISTER, insn.src[0].size[0] = 2, operand, 0);
	WRONG(LOAD_REGISTER, insn.src[0].space = KILN_PSUM, operand, 0);
	WRONG(TENSOR_TENSOR_SCAN, insn.src[0] = insn.src[1] =
	      tile_at(KILN_PSUM, KILN_F32, 0, 128, 0, 64), operand, 0);
	WRONG(TENSOR_TENSOR_SCAN, insn.src[1].size[0] = 63, operand, 0);
	WRONG(TENSOR_TENSOR_SCAN, insn.imm[1] = 1, operand, 0);
	WRONG(TRANSPOSE32, insn.dst.dtype = KILN_I32, operand, 0);
	WRONG(TRANSPOSE32, insn.dst.size[0] = 16, operand, 0);
	WRONG(TRANSPOSE32, (insn.src[0].size[0] = 33, insn.dst.partition = 0,
			    insn.dst.partitions = 33), operand, 0);
	WRONG(TRANSPOSE32, (insn.src[0].partition = 0, insn.src[0].partitions = 33,
			    insn.dst.size[0] = 33), operand, 0);
	WRONG(STREAM_SHUFFLE, insn.dst.partitions = insn.src[0].partitions = 100, operand, 0);
	WRONG(STREAM_SHUFFLE, insn.dst.dtype = KILN_I32, operand, 0);
	WRONG(STREAM_SHUFFLE, memset(&insn.col[0], 0, sizeof(insn.col[0])), operand, 0);
	*(uint32_t *)sbuf_at(m, 77, 65536) = 32;
	WRONG(STREAM_SHUFFLE, insn.label = 3, operand, 0);
	*(uint32_t *)sbuf_at(m, 77, 65536) = 0;
	WRONG(PARTITION_REDUCE, insn.dst.partitions = 2, operand, 0);
	WRONG(PARTITION_REDUCE, insn.dst.size[0] = 63, operand, 0);
	WRONG(PARTITION_REDUCE, insn.func = KILN_ALU_SUBTRACT, operand, 0);
	WRONG(MAX8, insn.dst.size[0] = 7, operand, 0);
	WRONG(MAX8, insn.src[0].size[0] = 7, operand, 0);
	WRONG(MAX8, (insn.src[0].dtype = KILN_U8, insn.src[0].size[0] = 16385), operand, 0);
	WRONG(FIND_INDEX8, insn.src[1].size[0] = 9, operand, 0);
	WRONG(FIND_INDEX8, insn.dst.dtype = KILN_I32, operand, 0);
	WRONG(FIND_INDEX8, insn.dst.size[0] = 9, operand, 0);
	WRONG(FIND_INDEX8, insn.src[0].size[0] = 7, operand, 0);
	WRONG(MATCH_REPLACE8, insn.dst.size[0] = 63, operand, 0);
	WRONG(MATCH_REPLACE8, insn.src[1].size[0] = 7, operand, 0);
	/* the first of eight is in SBUF, the last is not */
	WRONG(MATCH_REPLACE8, insn.col[0] = column_at(KILN_SBUF, KILN_U32,
						      kiln_core_sbuf_bytes(m->generation) - 28),
	      memory, kiln_core_sbuf_bytes(m->generation));
	WRONG(BN_STATS, insn.src[0].size[0] = 513, operand, 0);
	WRONG(BN_STATS, insn.dst.size[0] = 5, operand, 0);
	WRONG(BN_AGGR, insn.src[0].size[0] = 64, operand, 0);
	WRONG(BN_AGGR, insn.dst.size[0] = 3, operand, 0);
	WRONG(LOCAL_GATHER, insn.func = 0, operand, 0);
	WRONG(LOCAL_GATHER, insn.func = 3, operand, 0);
	WRONG(LOCAL_GATHER, insn.func = 64, operand, 0);
	WRONG(LOCAL_GATHER, insn.dst.size[0] = 63, operand, 0);
	WRONG(LOCAL_GATHER, insn.dst.size[0] = 68, operand, 0);	/* 17 indices of 16 */
	WRONG(LOCAL_GATHER, insn.src[1].dtype = KILN_F32, operand, 0);
	WRONG(LOCAL_GATHER, insn.dst.dtype = KILN_I32, operand, 0);
	WRONG(LOCAL_GATHER, (insn.dst.partitions = insn.src[0].partitions =
			     insn.src[1].partitions = 120), operand, 0);
	WRONG(LOCAL_GATHER, (insn.func = 1, insn.dst.ndim = 2, insn.dst.size[0] = 64,
			     insn.dst.stride[0] = 0, insn.dst.size[1] = 65, insn.dst.stride[1] = 1,
			     insn.src[1].size[0] = 300), operand, 0);
	WRONG(LOCAL_GATHER, (insn.src[0].size[0] = 256, insn.src[0].ndim = 2,
			     insn.src[0].stride[0] = 0, insn.src[0].size[1] = 256,
			     insn.src[0].stride[1] = 1), operand, 0);
	WRONG(TOPK, insn.src[0].dtype = KILN_F32, operand, 0);
	WRONG(TOPK, insn.dst.size[0] = insn.src[1].size[0] = 65, operand, 0);
	WRONG(TOPK, insn.src[1].size[0] = 63, operand, 0);
	WRONG(TOPK, (insn.src[0].size[0] = 256, insn.src[0].ndim = 2, insn.src[0].stride[0] = 0,
		     insn.src[0].size[1] = 256, insn.src[0].stride[1] = 1), operand, 0);
}

static void test_sequencer(void)
{
	const enum kiln_status operand = KILN_ST_OPERAND;
	struct kiln_insn insn;

#define SEQ(op, change) do {							\
		memset(&insn, 0, sizeof(insn));					\
		insn.opcode = KILN_OP_##op;					\
		insn.label = 5;							\
		change;								\
		refused(&insn, KILN_SYNC, operand, 0, #op ": " #change);	\
	} while (0)
	SEQ(NOP, insn.seq.rd = 1);
	SEQ(NOP, insn.seq.imm_lo = 1);
	SEQ(NOP, insn.seq.reserved[2] = 1);
	SEQ(NOP, insn.src[0].addr = 1);
	SEQ(NOP, insn.imm[1] = 1);
	SEQ(NOP, insn.last_step = 1);
	SEQ(NOP, insn.func = 1);
	SEQ(MOVI, insn.seq.rd = 64);
	SEQ(MOVI, insn.seq.rs = 1);
	SEQ(ADD, insn.seq.rt = 64);
	SEQ(ADD, insn.seq.imm_hi = 1);
	SEQ(ADDI, insn.seq.rt = 1);
	SEQ(LDARG, insn.seq.slot = 64);
	SEQ(ADD, insn.seq.slot = 1);
	SEQ(BNE, insn.seq.target = 5);	/* the stream has four: 4 is its end */
	SEQ(BLT, insn.seq.target = 0xffffffff);
	SEQ(ADD, insn.seq.target = 1);
	SEQ(NOP, insn.flags = 1);
}

static void header(const char *what, enum kiln_status status, uint32_t bytes)
{
	struct kiln_outcome o = run_placed(m, bytes);

	if (!ok(o.status == status, "header: %s", what))
		printf("# status %d\n", o.status);
}

static void test_header(void)
{
	struct kiln_program_header *h = (void *)(m->hbm + PROGRAM);
	static struct prog p;
	uint32_t bytes;

	memset(&p, 0, sizeof(p));
	movi(&p, KILN_SYNC, 1, 1);
#define HEADER(change, status) do {						\
		bytes = place(m, &p);						\
		change;								\
		header(#change, status, bytes);					\
	} while (0)
	HEADER((void)0, KILN_ST_OK);
	HEADER(h->generation = m->generation, KILN_ST_OK);
	HEADER(h->stream[0].offset = 0x12345, KILN_ST_OK);	/* no instructions: no matter */
	HEADER(bytes += 64, KILN_ST_OK);
	HEADER(h->magic++, KILN_ST_BAD_PROGRAM);
	HEADER(h->isa_major++, KILN_ST_BAD_PROGRAM);
	HEADER(h->isa_minor++, KILN_ST_BAD_PROGRAM);
	HEADER(h->generation = m->generation % 3 + 1, KILN_ST_BAD_PROGRAM);
	HEADER(h->generation = 9, KILN_ST_BAD_PROGRAM);
	HEADER(h->flags = KILN_PROGRAM_TRANSIENT, KILN_ST_OK);
	HEADER(h->flags = 0x80, KILN_ST_BAD_PROGRAM);
	HEADER(h->reserved[1] = 1, KILN_ST_BAD_PROGRAM);
	HEADER(h->reserved1 = 1, KILN_ST_BAD_PROGRAM);
	HEADER(h->bytes++, KILN_ST_BAD_PROGRAM);
	HEADER(h->bytes--, KILN_ST_BAD_PROGRAM);
	HEADER(h->bytes = 0, KILN_ST_BAD_PROGRAM);
	HEADER(h->args_bytes = KILN_MAX_ARGS_BYTES + 8, KILN_ST_BAD_PROGRAM);
	HEADER(h->stream[4].offset += 64, KILN_ST_BAD_PROGRAM);
	HEADER(h->stream[4].offset = 0, KILN_ST_BAD_PROGRAM);
	HEADER(h->stream[4].offset = 65, KILN_ST_BAD_PROGRAM);
	HEADER(h->stream[4].offset = 0xffffffc0, KILN_ST_BAD_PROGRAM);
	HEADER(h->stream[4].count = 2, KILN_ST_BAD_PROGRAM);
	HEADER(h->stream[4].count = 0xffffffff, KILN_ST_BAD_PROGRAM);
	HEADER(bytes = 63, KILN_ST_BAD_PROGRAM);
	HEADER(bytes = 0, KILN_ST_BAD_PROGRAM);
	HEADER(bytes = 0x1000000, KILN_ST_BAD_PROGRAM);
}

static void test_faults(void)
{
	struct kiln_insn insn;
	struct kiln_outcome o;
	uint64_t hole = DATA + 8 * 4096;
	uint8_t *row;

	/* a hole in the middle of a transfer: 128 rows of 256 bytes from DATA */
	map_page(m, DATA + 4 * 4096, 0);
	insn = good(KILN_OP_DMA_COPY);
	refused(&insn, KILN_SYNC, KILN_ST_PAGE_FAULT, DATA + 4 * 4096, "DMA from a hole");
	map_page(m, DATA + 4 * 4096, (DATA + 4 * 4096) | KILN_PTE_VALID);
	o = run_one(KILN_SYNC, &insn);
	ok(o.status == KILN_ST_OK, "DMA from a page for reading");

	insn.src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 8192, 64);
	insn.dst = dram_at(KILN_F32, 1, 0, 64, 1);
	refused(&insn, KILN_SYNC, KILN_ST_PAGE_FAULT, DATA + 4 * 4096,
		"DMA to a page for reading");
	map_page(m, DATA + 4 * 4096, (DATA + 4 * 4096) | KILN_PTE_VALID | KILN_PTE_WRITE);

	/* strided, backwards, and in the middle of an element */
	map_page(m, hole, 0);
	insn = good(KILN_OP_DMA_COPY);
	insn.src[0] = dram_at(KILN_F32, 1, 9 * 4096 + 12, 0, -64);
	refused(&insn, KILN_SYNC, KILN_ST_PAGE_FAULT, hole + 4096 - 244, "DMA that walks back into a hole");
	insn.src[0] = dram_at(KILN_F32, 1, 8 * 4096 - 2, 0, 64);
	refused(&insn, KILN_SYNC, KILN_ST_PAGE_FAULT, hole, "DMA of an element half in a hole");
	map_page(m, hole, hole | KILN_PTE_VALID | KILN_PTE_WRITE);

	insn.src[0] = dram_at(KILN_F32, 0, 0, 64, 1);
	refused(&insn, KILN_SYNC, KILN_ST_PAGE_FAULT, 0, "DMA from address 0");
	insn.src[0] = dram_at(KILN_F32, 3, -255, 64, 1);
	refused(&insn, KILN_SYNC, KILN_ST_PAGE_FAULT, (uint64_t)-256, "DMA from the end of 64 bits");

	map_page(m, hole, (1 << 20) | KILN_PTE_VALID | KILN_PTE_WRITE | KILN_PTE_HOST);
	insn.src[0] = dram_at(KILN_F32, 1, 8 * 4096, 0, 1);
	refused(&insn, KILN_SYNC, KILN_ST_BUS, hole, "DMA from host memory that is not there");
	map_page(m, hole, hole | KILN_PTE_VALID | KILN_PTE_WRITE);

	/* a program, or arguments, in a hole */
	map_page(m, PROGRAM, 0);
	o = run_one(KILN_SYNC, &insn);
	ok(o.status == KILN_ST_PAGE_FAULT && o.fault_addr == PROGRAM, "a program that is not mapped");
	map_page(m, PROGRAM, PROGRAM | KILN_PTE_VALID);
	map_page(m, ARGS, 0);
	o = run_one(KILN_SYNC, &insn);
	ok(o.status == KILN_ST_PAGE_FAULT && o.fault_addr == ARGS, "arguments that are not mapped");
	map_page(m, ARGS, ARGS | KILN_PTE_VALID);

	/* scrub */
	insn = good(KILN_OP_MEMSET);
	insn.imm[0] = 3;
	insn.dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, kiln_core_sbuf_bytes(m->generation) - 4096,
			   1024);
	ok(run_one(KILN_VECTOR, &insn).status == KILN_ST_OK, "write the end of SBUF");
	insn.dst = tile_at(KILN_PSUM, KILN_F32, 96, 32, 4092, 2);
	ok(run_one(KILN_VECTOR, &insn).status == KILN_ST_OK, "write some of PSUM");
	insn = good(KILN_OP_DMA_COPY);
	insn.dst = tile_at(KILN_SBUF, KILN_U8, 37, 3, 8191, 3);
	insn.src[0] = dram_at(KILN_U8, 1, 0, 1, 1);
	memset(m->hbm + DATA, 0x55, 4096);
	ok(run_one(KILN_SYNC, &insn).status == KILN_ST_OK, "DMA a little");
	row = sbuf_at(m, 38, 8191);
	ok(row[0] == 0x55 && *(float *)psum_at(m, 127, 4096) == 3, "it is there");
	kiln_core_scrub(m->core);
	bool zero = true;
	for (unsigned int p = 0; p < KILN_PARTITIONS; p++) {
		row = sbuf_at(m, p, 0);
		for (uint32_t i = 0; i < m->core->sbuf_bytes; i++)
			zero &= !row[i];
		row = psum_at(m, p, 0);
		for (uint32_t i = 0; i < m->core->psum_bytes; i++)
			zero &= !row[i];
	}
	ok(zero, "scrubbing leaves nothing of it");
}

int main(void)
{
	for (unsigned int generation = 1; generation <= 3; generation++) {
		printf("# generation %u\n", generation);
		m = machine(generation);
		test_good();
		test_operands();
		test_shapes();
		test_sequencer();
		test_header();
		test_faults();
		machine_free(m);
	}
	return done();
}
