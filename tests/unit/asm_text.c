// SPDX-License-Identifier: MIT
/*
 * Programs as text: whatever the disassembler prints, the assembler turns into
 * the same bytes; what the table allows has a name; mistakes are told with the
 * line.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kiln/isa_check.h"
#include "kiln_asm.h"

static int tests, failures;

__attribute__((format(printf, 2, 3)))
static bool ok(bool good, const char *format, ...)
{
	va_list args;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	failures += !good;
	return good;
}

static uint64_t rng_state = 0x9e3779b97f4a7c15;

static uint32_t rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state >> 16;
}

/* ------------------------------------------------- random instructions -- */

static uint32_t one_of(const uint32_t *list, unsigned int n)
{
	return list[rng() % n];
}
#define ONE_OF(...) ({								\
	static const uint32_t list[] = { __VA_ARGS__ };				\
	one_of(list, sizeof(list) / sizeof(list[0]));				\
})

/* One bit of a set. */
static unsigned int bit_of(uint32_t set)
{
	for (;;) {
		unsigned int bit = rng() % 32;

		if (set >> bit & 1)
			return bit;
	}
}

/* What the operands of an instruction have in common, mostly: else few would fit together. */
struct common {
	uint32_t partitions, count, dims;
	uint8_t dtype;
};

static void random_operand(struct kiln_operand *op, const struct kiln_operand_rule *rule,
			   const struct common *common)
{
	uint8_t space = bit_of(rule->spaces);

	memset(op, 0, sizeof(*op));
	if (!space)
		return;
	op->space = space;
	op->dtype = rng() % 4 && (rule->dtypes >> common->dtype & 1) ? common->dtype :
		    bit_of(rule->dtypes);
	if (space == KILN_DRAM) {
		op->dram.base = rng() % KILN_REGISTERS;
		op->dram.offset = rng() % 3 ? (int32_t)rng() : 0;
		for (unsigned int d = 0; d < rng() % 5; d++)
			op->dram.step[d] = rng() % 4 ? (int32_t)rng() >> (rng() % 32) : 0;
		return;
	}
	op->partitions = rng() % 4 ? common->partitions : ONE_OF(1, 2, 3, 8, 16, 32, 64, 128);
	op->partition = rng() % 3 ? 0 : ONE_OF(0, 32, 64, 96, 3);
	op->reg = rng() % 2 ? rng() % KILN_REGISTERS : 0;
	op->addr = rng() % 2 ? rng() % 64 * 4 : 0;
	op->ndim = 1;
	op->size[0] = rng() % 4 ? common->count : ONE_OF(1, 2, 3, 6, 8, 16);
	op->stride[0] = rng() % 4 ? 1 : (int)(rng() % 7) - 1;
	while (op->ndim < common->dims && op->ndim < 4) {
		/* One more, of 1 or of half of what is innermost. */
		uint16_t inner = op->size[op->ndim - 1];
		bool half = inner % 2 == 0 && rng() % 2;

		op->size[op->ndim] = half ? inner / 2 : inner;
		op->size[op->ndim - 1] = half ? 2 : 1;
		op->stride[op->ndim] = rng() % 4 ? 1 : 3;
		op->stride[op->ndim - 1] = rng() % 2 ? op->size[op->ndim] : (int)(rng() % 100) - 20;
		op->ndim++;
	}
}

static float random_float(void)
{
	uint32_t bits = rng();
	float x;

	switch (rng() % 4) {
	case 0:
		return (float)(int)(rng() % 21) - 10;
	case 1:
		bits &= 0x807fffff;	/* subnormal, or -0 */
		break;
	case 2:
		bits |= 0x7f800000;	/* NaN */
		break;
	}
	memcpy(&x, &bits, sizeof(x));
	return x;
}

static void random_column(struct kiln_column *col)
{
	*col = (struct kiln_column) {
		.space = rng() % 3 ? KILN_SBUF : KILN_PSUM, .dtype = 1 + rng() % (KILN_DTYPES - 1),
		.reg = rng() % 2 ? rng() % KILN_REGISTERS : 0, .addr = rng() % 100 * 4,
	};
}

static uint8_t random_func(uint8_t kind)
{
	if (kind == R_ARRAY)
		return rng() % 2 ? 0 : 32 << rng() % 3;
	return kind ? rng() % (kind == R_ACT ? KILN_ACTS : KILN_ALU_OPS) : 0;
}

/* Likely to be accepted. */
static void random_insn(struct kiln_insn *insn, uint8_t opcode)
{
	const struct kiln_rule *rule = &kiln_rules[opcode];
	struct common common = {
		.partitions = ONE_OF(1, 2, 8, 16, 32, 64, 96, 128),
		.count = ONE_OF(1, 2, 3, 6, 8, 8, 12, 16, 32, 128),
		.dims = rng() % 2 ? 1 : 1 + rng() % 4, .dtype = 1 + rng() % (KILN_DTYPES - 1),
	};

	memset(insn, 0, sizeof(*insn));
	insn->opcode = opcode;
	insn->label = rng() % 4 ? 0 : rng();
	for (int i = 0; i < 2; i++) {
		if (rng() % 4 == 0)
			insn->wait[i] = (struct kiln_sync) { rng(), 1 + rng() % 255 };
		if (rng() % 4 == 0)
			insn->post[i] = (struct kiln_sync) { rng(), 1 + rng() % 255 };
	}
	if (kiln_is_sequencer(opcode)) {
		uint8_t fields = rule->seq;

		insn->seq.rd = fields & R_RD ? rng() % KILN_REGISTERS : 0;
		insn->seq.rs = fields & R_RS ? rng() % KILN_REGISTERS : 0;
		insn->seq.rt = fields & R_RT ? rng() % KILN_REGISTERS : 0;
		insn->seq.slot = fields & R_SLOT ? rng() % 64 : 0;
		insn->seq.target = fields & R_TARGET ? rng() % 8 : 0;
		if (fields & R_IMM) {
			int64_t imm = (int64_t)((uint64_t)rng() << 32 | rng()) >> (rng() % 64);

			insn->seq.imm_lo = imm;
			insn->seq.imm_hi = (uint64_t)imm >> 32;
		}
		return;
	}
	if (rule->src[1].dtypes == R_NO_DTYPE && rng() % 2)
		insn->last_step = (int32_t)rng() >> (rng() % 32);
	insn->func = random_func(rule->func);
	insn->func1 = random_func(rule->func1);
	insn->flags = rng() & rule->flags;
	if (rule->dst.spaces)
		random_operand(&insn->dst, &rule->dst, &common);
	for (int i = 0; i < 2; i++) {
		const struct kiln_value_rule *col = &rule->col[i], *imm = &rule->imm[i];

		if (rule->src[i].spaces)
			random_operand(&insn->src[i], &rule->src[i], &common);
		if (col->use == R_ALWAYS || (col->use == R_MAY && rng() % 2) ||
		    (col->use && col->use != R_MAY && col->use != R_ALWAYS &&
		     (insn->flags & col->use)))
			random_column(&insn->col[i]);
		if (imm->use == R_MUST || (imm->use == R_OR_COL && !insn->col[i].space) ||
		    (imm->use == R_OR_SRC1 && !insn->src[1].space))
			insn->imm[i] = rule->func == R_ARRAY ?	/* a column; mostly without a tile */
				(insn->func || insn->func1 ? rng() % 4 * 32 : 0) : random_float();
	}
}

/* A good one that fits this engine and shape; false: none was found. */
static bool good_insn(struct kiln_insn *insn, uint8_t opcode, enum kiln_engine engine)
{
	for (int tries = 0; tries < 200000; tries++) {
		struct kiln_check check = {
			.generation = 3, .sbuf_bytes = 256 * 1024, .psum_bytes = 16 * 1024,
			.count = 8, .args_bytes = 512,
		};

		random_insn(insn, opcode);
		/* Sizes that only one of many operands has by chance. */
		if (tries % 2 && insn->src[0].ndim) {
			insn->src[0].ndim = insn->src[0].stride[0] = 1;
			memset(insn->src[0].size, 0, sizeof(insn->src[0].size));
			memset(insn->src[0].stride + 1, 0, sizeof(insn->src[0].stride) - 2);
			insn->src[0].size[0] = insn->dst.partitions ? insn->dst.partitions : 1;
		}
		if (kiln_check_insn(&check, engine, insn) == KILN_FITS)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------- trips -- */

static char *print(const void *program, size_t bytes)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (kiln_asm_print(program, bytes, out))
		abort();
	fclose(out);
	return text;
}

/* There and back; *named: without hexadecimal. */
static bool trip(const void *program, size_t bytes, bool *named)
{
	char *text = print(program, bytes), error[512] = "";
	void *again = NULL;
	size_t again_bytes = 0;
	bool good;

	if (named)
		*named = !strstr(text, ".insn") && !strstr(text, ".bytes");
	good = !kiln_asm_parse(text, &again, &again_bytes, error, sizeof(error)) &&
	       again_bytes == bytes && (!bytes || !memcmp(again, program, bytes));
	if (!good || (named && !*named))
		printf("# %s\n# %.3000s\n", error, text);
	free(again);
	free(text);
	return good;
}

/* Header and count instructions for one engine. */
static void *program_of(enum kiln_engine engine, const struct kiln_insn *insn, uint32_t count,
			size_t *bytes)
{
	struct kiln_program_header *header;

	*bytes = sizeof(*header) + count * sizeof(*insn);
	header = calloc(1, *bytes);
	header->magic = KILN_PROGRAM_MAGIC;
	header->isa_major = KILN_ISA_MAJOR;
	header->isa_minor = KILN_ISA_MINOR;
	header->generation = 3;
	header->bytes = *bytes;
	header->args_bytes = 512;
	for (int e = 0; e < KILN_ENGINES; e++)
		header->stream[e].offset = e > (int)engine ? *bytes : sizeof(*header);
	header->stream[engine].count = count;
	memcpy(header + 1, insn, count * sizeof(*insn));
	return header;
}

static void every_instruction(void)
{
	for (unsigned int code = 0; code < 256; code++) {
		const struct kiln_rule *rule = &kiln_rules[code];
		bool good = rule->engines, named = true;

		if (!good)
			continue;
		for (int e = 0; e < KILN_ENGINES && good; e++) {
			for (int turn = 0; (rule->engines & 1 << e) && turn < 25 && good; turn++) {
				struct kiln_insn insn[8];
				void *program;
				size_t bytes;

				for (int i = 0; i < 8 && good; i++)
					good = good_insn(&insn[i], code, e);
				if (!good) {
					printf("# no instruction was found\n");
					break;
				}
				program = program_of(e, insn, 8, &bytes);
				good = trip(program, bytes, &named) && named;
				free(program);
			}
		}
		ok(good, "%s: random ones, all named", rule->name);
	}
}

static void garbage(void)
{
	uint8_t data[3000];
	bool good = true;

	for (int turn = 0; turn < 3000 && good; turn++) {
		size_t bytes = rng() % sizeof(data);

		for (size_t i = 0; i < bytes; i++)
			data[i] = rng();
		good = trip(data, bytes, NULL);
	}
	ok(good, "random bytes come back");

	for (int turn = 0; turn < 3000 && good; turn++) {
		struct kiln_insn insn[4];
		uint8_t *program;
		size_t bytes;

		for (int i = 0; i < 4; i++)
			random_insn(&insn[i], rng() % 2 ? rng() : rng() % 0x60);
		program = program_of(rng() % KILN_ENGINES, insn, 4, &bytes);
		for (unsigned int i = 0; i < rng() % 8; i++)
			program[rng() % (rng() % 2 ? bytes : sizeof(struct kiln_program_header))] =
				rng() % 3 ? rng() : 0;
		good = trip(program, bytes, NULL);
		if (rng() % 8 == 0)
			good = good && trip(program, rng() % bytes, NULL);
		free(program);
	}
	ok(good, "spoilt programs come back");
}

/* Any text: an answer, and no access beyond it. */
static void garbage_text(void)
{
	static const char *const words[] = {
		".engine", "vector", "scalar", "tensor_copy", "dst=", "src=", "sbuf.f32[0+128]@0{512}",
		"sbuf", ".", "f32", "[", "]", "{", "}", "@", "0", "128", ",", ":", "+", "-", "r1", "=",
		"\n", "\n\t", "movi", "rd=r1", "imm=", "99999999999999999999", "0x", "target=", "a:",
		"dram.f32@r1{1,1}", "wait=", "1:1", "nan", "nan:", "inf", "1e999", "func=", "exp", "#",
		".insn", ".bytes", "00", "zz", ".generation", ".args", "\r", " ", "\t", "memset",
		"activation", "scale=", "reduce", ".isa", "1.0", "value=", "ldarg", "slot=",
	};
	char text[4096], error[64];
	bool good = true;

	for (int turn = 0; turn < 20000; turn++) {
		size_t n = 0;
		void *program = NULL;
		size_t bytes;
		int err;

		if (rng() % 2)
			n = sprintf(text, ".engine vector\n\t");
		for (unsigned int i = rng() % 24; i; i--)
			n += sprintf(text + n, "%s%s", words[rng() % (sizeof(words) / sizeof(words[0]))],
				     rng() % 3 ? "" : " ");
		text[n] = 0;
		err = kiln_asm_parse(text, &program, &bytes, error, sizeof(error));
		good = good && (err == 0 || (err == -EINVAL && strncmp(error, "line ", 5) == 0));
		if (!err) {
			good = good && trip(program, bytes, NULL);
			free(program);
		}
	}
	ok(good, "random text: a program, or a line and a reason");
}

/* ------------------------------------------------------------- by hand -- */

static void refuse(const char *text, const char *part)
{
	char error[512] = "";
	void *program = NULL;
	size_t bytes;
	int err = kiln_asm_parse(text, &program, &bytes, error, sizeof(error));

	if (!ok(err == -EINVAL && strstr(error, part), "refused: %s", part))
		printf("# %d, %s\n", err, error);
	if (!err)
		free(program);
}

static void mistakes(void)
{
	refuse("nop\n", "line 1: an instruction, but .engine comes first");
	refuse(".engine vektor\n", "tensor, vector, scalar, gpsimd or sync");
	refuse("# a\n\n.engine vector\n\ttensor_cpy\n", "line 4: tensor_cpy: there is no such instruction");
	refuse(".engine sync\ntensor_copy dst=sbuf.f32[0+1]@0{1} src=sbuf.f32[0+1]@0{1}",
	       "line 2: TENSOR_COPY: this engine does not have the instruction");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@0{1}", "value is missing; it takes dst= value=");
	refuse(".engine vector\nmemset value=1", "dst is missing");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@0{1} value=1 value=2", "value is given twice");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@0{1} dst=sbuf.f32[0+1]@0{1} value=1",
	       "dst is given twice");
	refuse(".engine vector\nmemset dst=sbuf.f33[0+1]@0{1} value=1", "dst=sbuf.f33[0+1]@0{1}: a tile");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@0{1} value=x", "value=x: a number is wanted");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@0{1} value=1 color=1", "color=: no such field");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@0{1} value=1 negate", "negate: no such flag");
	refuse(".engine vector\nmemset dst=sbuf.f32[16+16]@0{1} value=1", "starts at 16");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@2{1} value=1", "byte 2 is not aligned");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@200000{1} value=1", "of 196608");
	refuse(".generation 2\n.engine vector\nmemset dst=sbuf.f32[0+1]@229376{1} value=1", "of 229376");
	refuse(".engine vector\nmemset dst=sbuf.f32[0+1]@0{1} value=1 wait=1:1 wait=2:1 wait=3:1",
	       "wait: two at most");
	refuse(".engine vector\nnop wait=256:1", "wait=256:1: SEMAPHORE:VALUE is wanted");
	refuse(".engine vector\nmovi rd=r64 imm=0", "rd=r64: a register, r0 to r63, is wanted");
	refuse(".engine vector\nmovi rd=r1 imm=9223372036854775808", "a whole number is wanted");
	refuse(".engine vector\nmovi rd=r1", "imm is missing; it takes rd= imm=");
	refuse(".engine vector\nbne rs=r1 rt=r0 target=there", "line 2: there is no label there");
	refuse(".engine vector\nhere: nop\n.engine sync\nbne rs=r1 rt=r0 target=here",
	       "line 4: there is no label here");
	refuse(".engine vector\nnop\nbne rs=r1 rt=r0 target=3", "line 3: BNE: target 3 of 2");
	refuse(".engine vector\na: nop\na: nop", "line 3: label a: it is there already");
	refuse(".args 8\n.engine vector\nldarg rd=r1 slot=1", "line 3: LDARG: argument 1 of 1");
	refuse(".engine vector\n.generation 1", "before the first .engine");
	refuse(".generation 4", "1 to 3");
	refuse(".transient 1", ".transient: something behind it");
	refuse(".insn 00", ".engine comes first");
	refuse(".engine vector\n.insn 00", "128 pairs");
	refuse(".bytes 0", "pairs of hexadecimal digits");
	refuse(".bytes 00\n.engine vector", "only .bytes may follow");
	refuse(".engine vector\n.bytes 00", "only in a text of nothing else");
	refuse(".color 1", ".color: there are");
	refuse(".engine scalar\nactivation dst=sbuf.f32[0+1]@0{1} src=sbuf.f32[0+1]@0{1} func=exq scale=1 bias=0",
	       "func=exq: an activation function is wanted");
	refuse(".engine vector\ntensor_reduce dst=sbuf.f32[0+1]@0{1} src=sbuf.f32[0+1]@0{1} func=subtract",
	       "ADD, MULTIPLY, MAX, MIN, AND, OR, XOR");
	refuse(".engine tensor\nmatmul dst=psum.f32[0+1]@2044{2} src=sbuf.f32[0+1]@0{2}", "not in one bank");
}

static void by_hand(void)
{
	static const char text[] =
		"# all that a line may hold\n"
		".generation 2\n"
		".transient\n"
		".engine SCALAR\r\n"
		"first: second:\tACTIVATION dst=sbuf.bf16[32+16]@0x40+r4{4:200,128} src=psum.f32[0+16]@0{512}"
		" func=EXP scale=0x1p-3 bias=-inf wait=7:2 post=255:255 label=4711 # here\n"
		"\tblt rs=r1 rt=r2 target=second\n"
		"\tldarg rd=r3 slot=5\n"
		"\tbne rs=r1 rt=r2 target=end\n"
		"end:\n";
	struct kiln_program_header *program = NULL;
	const struct kiln_insn *insn;
	char error[256] = "";
	size_t bytes;
	int err = kiln_asm_parse(text, (void **)&program, &bytes, error, sizeof(error));

	if (!ok(!err, "a program by hand")) {
		printf("# %s\n", error);
		return;
	}
	insn = (const void *)((char *)program + program->stream[KILN_SCALAR].offset);
	ok(program->generation == 2 && program->stream[KILN_SCALAR].count == 4 &&
	   program->flags == KILN_PROGRAM_TRANSIENT, "its header");
	ok(program->args_bytes == 48, "the argument block is what LDARG needs");
	ok(insn->opcode == KILN_OP_ACTIVATION && insn->func == KILN_ACT_EXP, "its instruction");
	ok(insn->dst.partition == 32 && insn->dst.partitions == 16 && insn->dst.addr == 64 &&
	   insn->dst.reg == 4 && insn->dst.ndim == 2 && insn->dst.size[0] == 4 &&
	   insn->dst.stride[0] == 200 && insn->dst.size[1] == 128 && insn->dst.stride[1] == 1 &&
	   insn->dst.dtype == KILN_BF16, "its destination");
	ok(insn->src[0].space == KILN_PSUM && insn->src[0].stride[0] == 1, "its source");
	ok(insn->imm[0] == 0.125f && isinf(insn->imm[1]) && insn->imm[1] < 0, "its constants");
	ok(insn->wait[0].sem == 7 && insn->wait[0].value == 2 && insn->post[0].sem == 255 &&
	   insn->post[0].value == 255 && insn->label == 4711, "its semaphores and label");
	ok(insn[1].seq.target == 0 && insn[3].seq.target == 4, "its branches");
	free(program);
}

int main(void)
{
	by_hand();
	mistakes();
	every_instruction();
	garbage();
	garbage_text();
	printf("1..%d\n", tests);
	return failures != 0;
}
