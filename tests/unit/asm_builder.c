// SPDX-License-Identifier: MIT
/* The assembler: what it writes, and what it does not let pass. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <kiln_asm.h>

static int tests, failures;

static void ok(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++tests, what);
	if (!good)
		failures++;
}

static void is(uint64_t got, uint64_t want, const char *what)
{
	ok(got == want, what);
	if (got != want)
		printf("# expected 0x%llx, got 0x%llx\n", (unsigned long long)want,
		       (unsigned long long)got);
}

static struct kiln_operand sbuf(unsigned int partitions, uint32_t addr, unsigned int n)
{
	return kiln_tile1(KILN_SBUF, KILN_BF16, 0, partitions, addr, n);
}

static struct kiln_operand psum(unsigned int partitions, uint32_t addr, unsigned int n)
{
	return kiln_tile1(KILN_PSUM, KILN_F32, 0, partitions, addr, n);
}

/* Finish, and hand over the header; the caller frees. */
static struct kiln_program_header *finish(struct kiln_asm *as, size_t *bytes)
{
	void *program = NULL;
	int err = kiln_asm_finish(as, &program, bytes);

	ok(!err, "finish");
	if (err)
		printf("# %d: %s\n", err, kiln_asm_error(as));
	return err ? NULL : program;
}

static const struct kiln_insn *stream(const struct kiln_program_header *program,
				      enum kiln_engine engine)
{
	return (const void *)((const char *)program + program->stream[engine].offset);
}

static void layout(void)
{
	struct kiln_asm *as = kiln_asm_create(2);
	struct kiln_program_header *program;
	const struct kiln_insn *insn;
	size_t bytes;

	kiln_asm_ldarg(as, KILN_SYNC, 3, 5);
	kiln_asm_dma(as, KILN_SYNC, 7, sbuf(128, 64, 512), kiln_dram(3, -8, 1000, 1));
	kiln_asm_post(as, KILN_SYNC, 9, 2);
	kiln_asm_label(as, KILN_SYNC, 4711);
	kiln_asm_wait(as, KILN_TENSOR, 9, 2);
	kiln_asm_load_stationary(as, kiln_at(sbuf(128, 64, 128), 4));
	kiln_asm_matmul(as, psum(128, 2048, 512), sbuf(128, 64, 512), true);
	program = finish(as, &bytes);
	if (!program)
		return;
	is(program->magic, KILN_PROGRAM_MAGIC, "magic");
	is(program->bytes, bytes, "bytes");
	is(bytes, 64 + 4 * 128, "header and four instructions");
	is(program->args_bytes, 48, "least argument block");
	is(program->generation, 2, "generation");
	is(program->stream[KILN_SYNC].count, 2, "Sync's instructions");
	is(program->stream[KILN_TENSOR].count, 2, "Tensor's instructions");
	is(program->stream[KILN_VECTOR].count, 0, "Vector has none");
	insn = stream(program, KILN_SYNC);
	is(insn[0].opcode, KILN_OP_LDARG, "LDARG");
	is(insn[0].seq.slot, 5, "its argument");
	is(insn[1].func, 7, "ring");
	is(insn[1].label, 4711, "label");
	is(insn[1].post[0].sem, 9, "post: semaphore");
	is(insn[1].post[0].value, 2, "post: value");
	is(insn[1].src[0].space, KILN_DRAM, "source in DRAM");
	is(insn[1].src[0].dram.step[0], 1000, "step of the partition");
	is((uint32_t)insn[1].src[0].dram.offset, (uint32_t)-8, "offset");
	insn = stream(program, KILN_TENSOR);
	is(insn[0].wait[0].value, 2, "the wait is with the instruction behind it");
	is(insn[0].src[0].reg, 4, "register in an address");
	is(insn[1].wait[0].value, 0, "and not with the next");
	is(insn[1].flags, KILN_F_ACCUMULATE, "accumulate");
	free(program);
	kiln_asm_destroy(as);
}

static void sequencer(void)
{
	struct kiln_asm *as = kiln_asm_create(0);
	struct kiln_program_header *program;
	unsigned int a = kiln_asm_reg(as, KILN_VECTOR), b = kiln_asm_reg(as, KILN_VECTOR);
	const unsigned int both[KILN_ENGINES] = { 5, 5, 5, 5, 5 };
	const struct kiln_insn *insn;
	size_t bytes;

	ok(a && b && a != b, "two registers, and not the zero");
	kiln_asm_reg_free(as, KILN_VECTOR, a);
	is(kiln_asm_reg(as, KILN_VECTOR), a, "one given back is given out again");
	kiln_asm_loop(as, 10);
	kiln_asm_addi(as, KILN_VECTOR, a, a, -3);
	kiln_asm_loop(as, 1);
	kiln_asm_movi(as, KILN_VECTOR, b, 0x123456789abcll);
	kiln_asm_loop_end(as);
	kiln_asm_if(as, both, true, 4);
	kiln_asm_nop(as, KILN_VECTOR);
	kiln_asm_if_end(as);
	kiln_asm_loop_end(as);
	kiln_asm_wait(as, KILN_VECTOR, 1, 1);
	kiln_asm_wait(as, KILN_VECTOR, 2, 1);
	kiln_asm_wait(as, KILN_VECTOR, 3, 1);
	program = finish(as, &bytes);
	if (!program)
		return;
	is(program->stream[KILN_SCALAR].count, 0, "no loop where there is nothing to do");
	insn = stream(program, KILN_VECTOR);
	is(insn[0].opcode, KILN_OP_MOVI, "loop: counter");
	is(insn[0].seq.imm_lo, 10, "loop: count");
	is(insn[1].seq.imm_lo, (uint32_t)-3, "negative immediate, low");
	is(insn[1].seq.imm_hi, 0xffffffff, "negative immediate, high");
	is(insn[2].seq.imm_hi, 0x1234, "64-bit immediate");
	is(insn[3].seq.imm_lo, 3, "condition: one less than the limit");
	is(insn[4].opcode, KILN_OP_BLT, "condition: branch");
	is(insn[4].seq.rt, 5, "condition: over it unless less");
	is(insn[4].seq.target, 6, "condition: to its end");
	is(insn[6].opcode, KILN_OP_ADDI, "loop: count down");
	is(insn[7].opcode, KILN_OP_BNE, "loop: branch");
	is(insn[7].seq.target, 1, "loop: to its start");
	is(program->stream[KILN_VECTOR].count, 10, "waits with nothing behind them are kept");
	is(insn[8].wait[1].sem, 2, "two of them in one");
	is(insn[9].wait[0].sem, 3, "the third in another");
	free(program);
	kiln_asm_destroy(as);
}

/* Instructions by their names in isa.def */
static void by_name(void)
{
	struct kiln_asm *as = kiln_asm_create(2);
	struct kiln_program_header *program;
	const struct kiln_insn *insn;
	size_t bytes;

	kiln_asm_wait(as, KILN_VECTOR, 3, 1);
	KILN_ASM(as, KILN_VECTOR, MAX8, .dst = sbuf(16, 0, 8), .src = { sbuf(16, 64, 100) });
	KILN_ASM(as, KILN_VECTOR, MEMSET, .dst = sbuf(16, 0, 8), .imm = { 2 }, .wait = { { 4, 5 } });
	KILN_ASM(as, KILN_SYNC, LDARG, .seq = { .rd = 1, .slot = 2 });
	program = finish(as, &bytes);
	if (!program)
		return;
	insn = stream(program, KILN_VECTOR);
	is(insn[0].opcode, KILN_OP_MAX8, "by name: opcode");
	is(insn[0].src[0].size[0], 100, "by name: source");
	is(insn[0].wait[0].sem, 3, "by name: the wait before it");
	is(insn[1].wait[0].value, 5, "by name: its own wait");
	is(insn[1].imm[0] == 2, 1, "by name: constant");
	is(program->args_bytes, 24, "by name: arguments are counted");
	free(program);
	kiln_asm_destroy(as);
}

static struct kiln_asm *as;

/* The mistake that was just made is found, and told with the place. */
static void refuse(const char *what, const char *part)
{
	void *program = NULL;
	size_t bytes;
	int err = kiln_asm_finish(as, &program, &bytes);
	const char *error = kiln_asm_error(as);

	ok(err == -EINVAL && error && strstr(error, part), what);
	if (err != -EINVAL || !error || !strstr(error, part))
		printf("# expected -EINVAL and \"%s\", got %d, %s\n", part, err,
		       error ? error : "no error");
	if (!err)
		free(program);
	kiln_asm_destroy(as);
	as = kiln_asm_create(2);
}

static void mistakes(void)
{
	const struct kiln_scalar none = kiln_const(0);
	static const int32_t step[3];
	int i;

	as = kiln_asm_create(4);
	refuse("generation", "generation 4");
	kiln_asm_matmul(as, psum(128, 0, 513), sbuf(128, 0, 513), false);
	refuse("moving too wide", "tensor 0 MATMUL: 513");
	kiln_asm_nop(as, KILN_TENSOR);
	kiln_asm_matmul(as, psum(128, 1024, 512), sbuf(128, 0, 512), false);
	refuse("result across two banks", "tensor 1 MATMUL: dst: not in one bank");
	kiln_asm_matmul(as, sbuf(128, 0, 512), sbuf(128, 0, 512), false);
	refuse("result in SBUF", "PSUM");
	kiln_asm_load_stationary(as, sbuf(128, 0, 129));
	refuse("stationary too wide", "129 columns");
	kiln_asm_load_stationary(as, sbuf(129, 0, 128));
	refuse("129 partitions", "partitions");
	kiln_asm_load_stationary(as, kiln_tile1(KILN_SBUF, KILN_BF16, 16, 16, 0, 8));
	refuse("start partition", "starts at 16");
	kiln_asm_load_stationary(as, sbuf(128, 1, 8));
	refuse("alignment", "not aligned");
	kiln_asm_load_stationary(as, sbuf(128, 224 * 1024 - 14, 8));
	refuse("beyond SBUF", "of 229376");
	kiln_asm_load_stationary(as, kiln_tile2(KILN_SBUF, KILN_BF16, 0, 128, 0, 2, -1, 2, 1));
	refuse("before SBUF", "bytes -2");
	kiln_asm_load_stationary(as, kiln_tile2(KILN_SBUF, KILN_BF16, 0, 128, 0, 2, 40000, 2, 1));
	refuse("stride of more than 16 bits", "does not fit");
	kiln_asm_load_stationary(as, kiln_at(sbuf(128, 0, 8), 64));
	refuse("register in an address", "register 64");
	kiln_asm_transpose(as, psum(64, 0, 128), sbuf(128, 0, 64));
	refuse("transposing into another type", "one type");
	kiln_asm_dma(as, KILN_SYNC, 16, sbuf(128, 0, 8), kiln_dram(1, 0, 8, 1));
	refuse("ring", "ring 16");
	kiln_asm_dma(as, KILN_SYNC, 0, psum(128, 0, 8), kiln_dram(1, 0, 8, 1));
	refuse("DMA to PSUM", "PSUM");
	kiln_asm_dma(as, KILN_SYNC, 0, sbuf(128, 0, 8), sbuf(128, 0, 8));
	refuse("DMA without DRAM", "DRAM");
	kiln_asm_dma(as, KILN_SYNC, 0, sbuf(128, 0, 8), kiln_dram(0, 0, 8, 1));
	refuse("DMA from the zero register", "base register 0");
	kiln_asm_tensor_copy(as, KILN_GPSIMD, sbuf(128, 0, 8), psum(128, 0, 8));
	refuse("GpSimd at PSUM", "gpsimd 0 TENSOR_COPY: src: GpSimd");
	kiln_asm_tensor_copy(as, KILN_VECTOR, sbuf(128, 0, 8), psum(128, 0, 9));
	refuse("shapes", "8 and 9 elements");
	kiln_asm_tensor_copy(as, KILN_VECTOR, sbuf(64, 0, 8), psum(128, 0, 8));
	refuse("partitions of two operands", "64 and 128 partitions");
	kiln_asm_tensor_copy(as, KILN_SYNC, sbuf(128, 0, 8), sbuf(128, 64, 8));
	refuse("an engine that cannot", "this engine does not have");
	kiln_asm_tensor_tensor(as, KILN_SCALAR, sbuf(8, 0, 8), sbuf(8, 0, 8), KILN_ALU_ADD,
			       sbuf(8, 0, 8));
	refuse("TENSOR_TENSOR on Scalar", "scalar 0 TENSOR_TENSOR");
	kiln_asm_tensor_tensor(as, KILN_VECTOR, sbuf(8, 0, 8), sbuf(8, 0, 8), KILN_ALU_OPS,
			       sbuf(8, 0, 8));
	refuse("ALU function", "does not exist");
	kiln_asm_tensor_reduce(as, sbuf(8, 0, 1), KILN_ALU_SUBTRACT, sbuf(8, 0, 8), false);
	refuse("reducing by subtraction", "MULTIPLY");
	kiln_asm_tensor_reduce(as, sbuf(8, 0, 2), KILN_ALU_ADD, sbuf(8, 0, 8), false);
	refuse("reduced shape", "result [8, 1]");
	kiln_asm_activation(as, sbuf(8, 0, 8), KILN_ACTS, sbuf(8, 0, 8), none, none, NULL);
	refuse("activation function", "does not exist");
	kiln_asm_activation(as, sbuf(8, 0, 8), KILN_ACT_EXP, sbuf(8, 0, 8), none,
			    kiln_col(KILN_SBUF, KILN_F32, 2, 0), NULL);
	refuse("column's alignment", "bias: byte 2");
	kiln_asm_affine_select(as, sbuf(8, 0, 8), sbuf(8, 0, 8), KILN_ALU_ADD, 0, 0, 0, 1, step);
	refuse("AFFINE_SELECT without comparison", "comparison");
	kiln_asm_addi(as, KILN_SYNC, 64, 0, 1);
	refuse("register", "64");
	KILN_ASM(as, KILN_VECTOR, MAX8, .dst = sbuf(16, 0, 8), .src = { sbuf(16, 64, 7) });
	refuse("by name: too few", "MAX8: src: 7 elements");
	KILN_ASM(as, KILN_SYNC, BNE, .seq = { .rs = 1, .target = 2 });
	refuse("by name: a branch beyond the end", "target 2 of 1");
	kiln_asm_ldarg(as, KILN_SYNC, 1, 64);
	refuse("argument", "argument 64");
	kiln_asm_wait(as, KILN_SYNC, 256, 1);
	refuse("semaphore", "semaphore 256");
	kiln_asm_wait(as, KILN_SYNC, 1, 256);
	refuse("semaphore's value", "by 256");
	kiln_asm_post(as, KILN_SYNC, 1, 1);
	refuse("post without instruction", "a post without");
	kiln_asm_nop(as, KILN_SYNC);
	for (i = 0; i < 3; i++)
		kiln_asm_post(as, KILN_SYNC, 1, 1);
	refuse("three posts", "two posts already");
	kiln_asm_loop(as, 0);
	refuse("loop of no turns", "0 times");
	kiln_asm_loop(as, 2);
	refuse("loop without end", "no end");
	kiln_asm_loop_end(as);
	refuse("end without loop", "not begun");
	for (i = 0; i < 64; i++)
		kiln_asm_reg(as, KILN_SCALAR);
	refuse("too many registers", "all 63");
	/* The first mistake stays. */
	kiln_asm_nop(as, 9);
	kiln_asm_addi(as, KILN_SYNC, 64, 0, 1);
	refuse("engine; and a later mistake changes nothing", "engine 9");
	kiln_asm_destroy(as);
}

int main(void)
{
	layout();
	sequencer();
	by_name();
	mistakes();
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}
