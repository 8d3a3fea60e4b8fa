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

static char *print(const struct kiln_program_header *program, size_t bytes)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (kiln_asm_print(program, bytes, out))
		ok(false, "print");
	fclose(out);
	return text;
}

/* Each call, and what it wrote as text: one line an instruction, in the order of engines. */
static void calls(void)
{
	static const char want[] =
		".generation 2\n.args 0\n"
		"\n.engine tensor\n"
		"\tload_stationary src=sbuf.bf16[64+64]@0{64} func=64 column=64 func1=64\n"
		"\tmatmul dst=psum.f32[64+64]@0{32} src=sbuf.bf16[64+64]@0{32} func=64 func1=64 accumulate\n"
		"\tload_stationary src=sbuf.f8e4m3[0+128]@0{2,128} double_row\n"
		"\tmatmul dst=psum.f32[0+128]@0{512} src=sbuf.f8e4m3[0+128]@0{2,512} double_row\n"
		"\tload_register src=sbuf.i32[0+1]@4{1} func=r9\n"
		"\n.engine vector\n"
		"\ttensor_copy dst=sbuf.bf16[0+4]@0{8} src=sbuf.f32[0+4]@64{8} stochastic\n"
		"\ttensor_reduce dst=sbuf.f32[0+4]@0{2} src=sbuf.f32[0+4]@64{2,2,2} func=add func1=2\n"
		"\ttensor_scalar_reduce dst=sbuf.f32[0+4]@0{8} src=sbuf.f32[0+4]@64{8} func=multiply s0=2"
		" func1=max result=sbuf.f32@128 reverse0\n"
		"\tselect dst=sbuf.f32[0+4]@0{8} src=sbuf.f32[0+4]@64{8} predicate=sbuf.u8[0+4]@96{8} s0=1"
		" max=sbuf.f32@128 reduce reverse_pred\n"
		"\trange_select dst=sbuf.f32[0+4]@0{8} src=sbuf.f32[0+4]@64{8} max=sbuf.f32[0+4]@160{1}"
		" func=ge bound0=sbuf.f32@128 start=3 func1=lt bound1=sbuf.f32@128 value=-1 continue\n"
		"\ttensor_copy_predicated dst=sbuf.f32[0+4]@0{8} src=sbuf.f32[0+4]@64{8}"
		" predicate=sbuf.u8[0+4]@96{8} reverse_pred\n"
		"\ttensor_tensor_scan dst=sbuf.f32[0+4]@0{8} src=sbuf.f32[0+4]@64{8} src1=sbuf.f32[0+4]@0{8}"
		" func=multiply initial=sbuf.f32@128 func1=add\n"
		"\ttranspose32 dst=sbuf.f32[0+8]@0{4} src=sbuf.f32[0+4]@64{8}\n"
		"\tstream_shuffle dst=sbuf.f32[0+32]@0{8} src=sbuf.f32[0+32]@64{8} mask=sbuf.f32@128\n"
		"\tmax8 dst=sbuf.f32[0+4]@0{8} src=sbuf.f32[0+4]@64{8}\n"
		"\tfind_index8 dst=sbuf.u32[0+4]@0{8} src=sbuf.f32[0+4]@64{8} vals=sbuf.f32[0+4]@0{8}\n"
		"\tmatch_replace8 dst=sbuf.f32[0+4]@0{8} src=sbuf.f32[0+4]@64{8} vals=sbuf.f32[0+4]@0{8}"
		" indices=sbuf.f32@128 value=5\n"
		"\tbn_stats dst=sbuf.f32[0+4]@0{6} src=sbuf.f32[0+4]@64{8}\n"
		"\tbn_aggr dst=sbuf.f32[0+4]@0{2} src=sbuf.f32[0+4]@64{6}\n"
		"\trng dst=sbuf.f32[0+4]@0{8} seed=dram@r3+7{}\n"
		"\tdropout dst=sbuf.f32[0+4]@0{8} src=sbuf.f32[0+4]@64{8} seed=dram@r3+7{} prob=0.5\n"
		"\n.engine gpsimd\n"
		"\tiota dst=sbuf.f32[0+4]@0{2,2,2,2} terms=dram@r2-3{10,1,2,3,4}\n"
		"\tpartition_reduce dst=sbuf.i32[0+1]@0{8} src=sbuf.i32[0+4]@64{8} func=bitwise_or\n"
		"\tlocal_gather dst=sbuf.f32[0+16]@0{8} src=sbuf.f32[0+16]@64{8} index=sbuf.u16[0+16]@96{1} func=4\n"
		"\ttopk dst=sbuf.bf16[0+4]@0{3} src=sbuf.bf16[0+4]@64{8} index=sbuf.u32[0+4]@96{3}\n"
		"\tsequence_bounds dst=sbuf.f32[0+1]@0{16} src=sbuf.f32[0+1]@64{8}\n"
		"\n.engine sync\n"
		"\tdma_gather dst=sbuf.f32[0+4]@0{8} src=dram.f32@r1{8,1} index=sbuf.u32[0+4]@96{1}"
		" ring=2 func1=r5 drop\n"
		"\tdma_scatter dst=dram.f32@r1{8,1} src=sbuf.f32[0+4]@64{8} index=dram.u32@r6{1}"
		" ring=2 func1=r5 accumulate\n"
		"\tdma_transpose dst=sbuf.bf16[0+8]@0{4} src=dram.bf16@r1{8,1} ring=2\n";
	struct kiln_asm *as = kiln_asm_create(2);
	const struct kiln_operand x = kiln_tile1(KILN_SBUF, KILN_F32, 0, 4, 64, 8);
	const struct kiln_operand y = kiln_tile1(KILN_SBUF, KILN_F32, 0, 4, 0, 8);
	const struct kiln_operand u8 = kiln_tile1(KILN_SBUF, KILN_U8, 0, 4, 96, 8);
	const struct kiln_operand max = kiln_tile1(KILN_SBUF, KILN_F32, 0, 4, 160, 1);
	const struct kiln_operand list = kiln_tile1(KILN_SBUF, KILN_U32, 0, 4, 96, 1);
	struct kiln_operand words = kiln_dram(6, 0, 1, 0);
	const struct kiln_column col = { .space = KILN_SBUF, .dtype = KILN_F32, .addr = 128 };
	const struct kiln_scalar column = kiln_col(KILN_SBUF, KILN_F32, 128, 0);
	const int32_t steps[] = { 1, 2, 3, 4 };
	struct kiln_program_header *program;
	size_t bytes;
	char *text;

#define T(dtype, partitions, addr, n) kiln_tile1(KILN_SBUF, KILN_##dtype, 0, partitions, addr, n)
	words.dtype = KILN_U32;
	kiln_asm_load_stationary_tile(as, kiln_tile1(KILN_SBUF, KILN_BF16, 64, 64, 0, 64), 64, 64, 64);
	kiln_asm_matmul_tile(as, kiln_tile1(KILN_PSUM, KILN_F32, 64, 64, 0, 32),
			     kiln_tile1(KILN_SBUF, KILN_BF16, 64, 64, 0, 32), 64, 64, true);
	kiln_asm_load_stationary_double(as, kiln_tile2(KILN_SBUF, KILN_F8E4M3, 0, 128, 0, 2, 128, 128, 1));
	kiln_asm_matmul_double(as, psum(128, 0, 512),
			       kiln_tile2(KILN_SBUF, KILN_F8E4M3, 0, 128, 0, 2, 512, 512, 1), false);
	kiln_asm_load_register(as, KILN_TENSOR, 9, T(I32, 1, 4, 1));
	kiln_asm_tensor_copy(as, KILN_VECTOR, T(BF16, 4, 0, 8), x);
	kiln_asm_flags(as, KILN_VECTOR, KILN_F_STOCHASTIC);
	kiln_asm_tensor_reduce_dims(as, T(F32, 4, 0, 2), KILN_ALU_ADD,
				    kiln_tile3(KILN_SBUF, KILN_F32, 0, 4, 64, 2, 4, 2, 2, 2, 1), 2);
	kiln_asm_tensor_scalar_reduce(as, y, x, KILN_ALU_MULTIPLY, kiln_const(2), KILN_ALU_MAX, col,
				      KILN_F_REVERSE0);
	kiln_asm_select_reduce(as, y, u8, x, kiln_const(1), col, KILN_F_REVERSE_PRED);
	kiln_asm_range_select(as, y, x, KILN_ALU_GE, col, KILN_ALU_LT, col, 3, -1, &max);
	kiln_asm_flags(as, KILN_VECTOR, KILN_F_CONTINUE);
	kiln_asm_tensor_copy_predicated(as, y, x, u8, true);
	kiln_asm_tensor_tensor_scan(as, y, x, KILN_ALU_MULTIPLY, column, KILN_ALU_ADD, y, 0);
	kiln_asm_transpose32(as, T(F32, 8, 0, 4), x);
	kiln_asm_stream_shuffle(as, T(F32, 32, 0, 8), T(F32, 32, 64, 8), col);
	kiln_asm_max8(as, y, x);
	kiln_asm_find_index8(as, T(U32, 4, 0, 8), x, y);
	kiln_asm_match_replace8(as, y, x, y, 5, &col);
	kiln_asm_bn_stats(as, T(F32, 4, 0, 6), x);
	kiln_asm_bn_aggr(as, T(F32, 4, 0, 2), T(F32, 4, 64, 6));
	kiln_asm_rng(as, KILN_VECTOR, y, 3, 7);
	kiln_asm_dropout(as, y, x, kiln_const(0.5), 3, 7);
	kiln_asm_iota(as, kiln_tile4(KILN_SBUF, KILN_F32, 0, 4, 0, 2, 8, 2, 4, 2, 2, 2, 1), 2, -3, 10,
		      steps);
	kiln_asm_partition_reduce(as, T(I32, 1, 0, 8), KILN_ALU_BITWISE_OR, T(I32, 4, 64, 8));
	kiln_asm_local_gather(as, T(F32, 16, 0, 8), T(F32, 16, 64, 8), T(U16, 16, 96, 1), 4);
	kiln_asm_topk(as, T(BF16, 4, 0, 3), T(U32, 4, 96, 3), T(BF16, 4, 64, 8));
	kiln_asm_sequence_bounds(as, T(F32, 1, 0, 16), T(F32, 1, 64, 8));
	kiln_asm_dma_gather(as, KILN_SYNC, 2, y, kiln_dram(1, 0, 8, 1), list, 5, KILN_F_DROP);
	kiln_asm_dma_scatter(as, KILN_SYNC, 2, kiln_dram(1, 0, 8, 1), x, words, 5, KILN_F_ACCUMULATE);
	kiln_asm_dma_transpose(as, KILN_SYNC, 2, T(BF16, 8, 0, 4), kiln_dram(1, 0, 8, 1));
#undef T
	program = finish(as, &bytes);
	if (program) {
		text = print(program, bytes);
		ok(!strcmp(text, want), "each call writes its instruction");
		for (const char *a = text, *b = want; strcmp(text, want) && *a && *b;) {
			size_t n = strcspn(a, "\n"), k = strcspn(b, "\n");

			if (n != k || memcmp(a, b, n))
				printf("# expected %.*s\n# got      %.*s\n", (int)k, b, (int)n, a);
			a += n + (a[n] == '\n');
			b += k + (b[k] == '\n');
		}
		free(text);
		free(program);
	}
	kiln_asm_destroy(as);

	as = kiln_asm_create(2);
	kiln_asm_tensor_copy(as, KILN_VECTOR, y, x);
	kiln_asm_flags(as, KILN_VECTOR, KILN_F_STOCHASTIC);
	ok(kiln_asm_error(as) && strstr(kiln_asm_error(as), "not rounded at random"),
	   "a flag that does not fit");
	kiln_asm_destroy(as);
}

int main(void)
{
	calls();
	layout();
	sequencer();
	by_name();
	mistakes();
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}
