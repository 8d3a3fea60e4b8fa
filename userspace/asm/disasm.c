// SPDX-License-Identifier: MIT
/*
 * The disassembler: text that text.c turns into the same bytes again. What the
 * rules do not let pass is printed as bytes, and a program whose header is not
 * as the assembler would write it as nothing but bytes.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kiln_asm.h"
#include "text.h"

#define LINE	1024	/* more than the longest instruction */

struct line {
	char text[LINE];
	size_t n;
};

/* Appends in small letters: names stand in isa.def in capitals. */
__attribute__((format(printf, 2, 3)))
static void put(struct line *line, const char *format, ...)
{
	va_list ap;
	size_t from = line->n;
	int n;

	va_start(ap, format);
	n = vsnprintf(line->text + from, LINE - from, format, ap);
	va_end(ap);
	line->n = from + n < LINE ? from + n : LINE - 1;
	for (; from < line->n; from++)
		line->text[from] = tolower((unsigned char)line->text[from]);
}

static void put_place(struct line *line, uint8_t space, uint8_t dtype)
{
	put(line, "%s", space == KILN_SBUF ? "sbuf" : space == KILN_PSUM ? "psum" : "dram");
	if (dtype)
		put(line, ".%s", text_dtype(dtype));
}

static void put_address(struct line *line, uint32_t addr, uint8_t reg)
{
	put(line, "@%u", addr);
	if (reg)
		put(line, "+r%u", reg);
}

/* last_step: the fifth step of terms, 0 of anything else. */
static void put_dram(struct line *line, const struct kiln_operand *op, int32_t last_step)
{
	const int32_t *s = op->dram.step, step[] = { s[0], s[1], s[2], s[3], last_step };
	int last = 4;

	put(line, "@r%u", op->dram.base);
	if (op->dram.offset)
		put(line, "%+" PRId32, op->dram.offset);
	while (last >= 0 && !step[last])
		last--;
	put(line, "{");
	for (int d = 0; d <= last; d++)
		put(line, "%s%" PRId32, d ? "," : "", step[d]);
	put(line, "}");
}

static void put_operand(struct line *line, const char *name, const struct kiln_operand *op,
			int32_t last_step)
{
	int64_t packed[4] = { 0 }, stride = 1;

	put(line, " %s=", name);
	put_place(line, op->space, op->dtype);
	if (op->space == KILN_DRAM) {
		put_dram(line, op, last_step);
		return;
	}
	put(line, "[%u+%u]", op->partition, op->partitions);
	put_address(line, op->addr, op->reg);
	for (int d = op->ndim - 1; d >= 0; d--) {
		packed[d] = stride;
		stride *= op->size[d];
	}
	put(line, "{");
	for (int d = 0; d < op->ndim; d++) {
		put(line, "%s%u", d ? "," : "", op->size[d]);
		if (op->stride[d] != packed[d])
			put(line, ":%d", op->stride[d]);
	}
	put(line, "}");
}

static void put_column(struct line *line, const char *name, const struct kiln_column *col)
{
	put(line, " %s=", name);
	put_place(line, col->space, col->dtype);
	put_address(line, col->addr, col->reg);
}

/* The fewest digits that give the same float again. */
static void put_float(struct line *line, const char *name, float value)
{
	char text[32];
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	if (isnan(value)) {
		put(line, " %s=nan:0x%08x", name, bits);
		return;
	}
	for (int digits = 1; digits <= 9; digits++) {
		float again;

		snprintf(text, sizeof(text), "%.*g", digits, value);
		again = strtof(text, NULL);
		if (!memcmp(&again, &value, sizeof(value)))
			break;
	}
	put(line, " %s=%s", name, text);
}

static void put_func(struct line *line, enum kiln_func_kind kind, int which, uint8_t code)
{
	const char *name = text_func(kind, code);

	if (!kind)
		return;
	if (name)
		put(line, " %s=%s", text_func_field(kind, which), name);
	else
		put(line, kind == R_REGISTER ? " %s=r%u" : " %s=%u", text_func_field(kind, which),
		    code);
}

static void put_sync(struct line *line, const char *name, const struct kiln_sync sync[2])
{
	/* The second without the first keeps its place. */
	for (int i = 0; i < 2; i++)
		if (sync[i].value || (!i && sync[1].value))
			put(line, " %s=%u:%u", name, sync[i].sem, sync[i].value);
}

static void put_sequencer(struct line *line, const struct kiln_insn *insn, uint8_t fields,
			  bool labels)
{
	uint64_t imm = insn->seq.imm_lo | (uint64_t)insn->seq.imm_hi << 32;

	if (fields & R_RD)
		put(line, " rd=r%u", insn->seq.rd);
	if (fields & R_RS)
		put(line, " rs=r%u", insn->seq.rs);
	if (fields & R_RT)
		put(line, " rt=r%u", insn->seq.rt);
	if (fields & R_SLOT)
		put(line, " slot=%u", insn->seq.slot);
	if (fields & R_IMM)
		put(line, " imm=%" PRId64, (int64_t)imm);
	if (fields & R_TARGET)
		put(line, labels ? " target=l%u" : " target=%u", insn->seq.target);
}

/* An instruction that the rules have let pass. */
static void put_insn(struct line *line, const struct kiln_insn *insn, bool labels)
{
	const struct kiln_rule *rule = &kiln_rules[insn->opcode];

	line->n = 0;
	put(line, "%s", rule->name);
	if (kiln_is_sequencer(insn->opcode)) {
		put_sequencer(line, insn, rule->seq, labels);
	} else {
		if (insn->dst.space)
			put_operand(line, rule->dst.name, &insn->dst, 0);
		for (int i = 0; i < 2; i++)
			if (insn->src[i].space)
				put_operand(line, rule->src[i].name, &insn->src[i],
					    i ? insn->last_step : 0);
		for (int i = 0; i < 2; i++) {
			uint8_t use = rule->imm[i].use, kind = i ? rule->func1 : rule->func;
			uint8_t func = i ? insn->func1 : insn->func;

			if ((kind != R_ARRAY && kind != R_DIMS) || func)
				put_func(line, kind, i, func);
			if (insn->col[i].space)
				put_column(line, rule->col[i].name, &insn->col[i]);
			if (rule->func == R_ARRAY && kiln_is_zero(&insn->imm[i], sizeof(float)))
				continue;
			if (use == R_MUST || (use == R_OR_COL && !insn->col[i].space) ||
			    (use == R_OR_SRC1 && !insn->src[1].space))
				put_float(line, rule->imm[i].name, insn->imm[i]);
		}
		for (unsigned int i = 0; i < KILN_FLAGS; i++) {
			static const uint8_t bits[] = {
#define KILN_FLAG(name, bit, doc) 1 << bit,
#include <kiln/isa.def>
			};

			if ((rule->flags >> (8 + i) & 1) && (insn->flags & bits[i]))
				put(line, " %s", text_flag(i));
		}
	}
	put_sync(line, "wait", insn->wait);
	put_sync(line, "post", insn->post);
	if (insn->label)
		put(line, " label=%u", insn->label);
}

static void print_bytes(const void *data, size_t bytes, FILE *out)
{
	const uint8_t *byte = data;

	for (size_t i = 0; i < bytes; i++)
		fprintf(out, "%s%02x", i % 4 || !i ? "" : " ", byte[i]);
}

static void print_insn(const struct kiln_insn *insn, enum kiln_engine engine,
		       struct kiln_check *check, FILE *out)
{
	struct kiln_insn again;
	struct line line;
	char why[512];

	if (kiln_check_insn(check, engine, insn) == KILN_FITS) {
		put_insn(&line, insn, false);
		if (text_parse_insn(line.text, &again, why, sizeof(why)) &&
		    !memcmp(&again, insn, sizeof(again))) {
			put_insn(&line, insn, true);
			fprintf(out, "\t%s\n", line.text);
			return;
		}
		snprintf(why, sizeof(why), "text cannot say it");
	} else {
		text_complaint(check, why, sizeof(why));
	}
	if (kiln_rules[insn->opcode].engines)
		fprintf(out, "\t# %s: %s\n\t.insn ", kiln_rules[insn->opcode].name, why);
	else
		fprintf(out, "\t# %s\n\t.insn ", why);
	print_bytes(insn, sizeof(*insn), out);
	fputc('\n', out);
}

static void print_stream(const struct kiln_insn *insn, uint32_t count, enum kiln_engine engine,
			 struct kiln_check check, FILE *out)
{
	uint8_t *target = calloc((size_t)count + 1, 1);

	check.count = count;
	fprintf(out, "\n.engine %s\n", kiln_engine_names[engine]);
	/* Labels that no branch goes to do no harm: without memory, each has one. */
	for (uint32_t i = 0; target && i < count; i++)
		if ((kiln_rules[insn[i].opcode].seq & R_TARGET) && insn[i].seq.target <= count)
			target[insn[i].seq.target] = 1;
	for (uint32_t i = 0; i <= count; i++) {
		if (!target || target[i])
			fprintf(out, "l%" PRIu32 ":\n", i);
		if (i < count)
			print_insn(&insn[i], engine, &check, out);
	}
	free(target);
}

/* As kiln_program_layout() writes it? */
static bool ordinary(const struct kiln_program_header *h, size_t bytes)
{
	uint64_t at = sizeof(*h);

	if (h->magic != KILN_PROGRAM_MAGIC || h->generation > 3 || h->bytes != bytes ||
	    h->flags & ~KILN_PROGRAM_TRANSIENT ||
	    !kiln_is_zero(h->reserved, sizeof(h->reserved)) || h->reserved1)
		return false;
	for (int e = 0; e < KILN_ENGINES; e++) {
		if (h->stream[e].offset != at)
			return false;
		at += (uint64_t)h->stream[e].count * sizeof(struct kiln_insn);
	}
	return at == bytes;
}

int kiln_asm_print(const void *program, size_t bytes, FILE *out)
{
	struct kiln_program_header header = { 0 };
	const uint8_t *data = program;
	struct text_locale locale;
	struct kiln_check check;

	memcpy(&header, program, bytes < sizeof(header) ? bytes : sizeof(header));
	if (bytes < sizeof(header) || !ordinary(&header, bytes)) {
		fprintf(out, "# not a program that kiln asm would write: its bytes\n.bytes\n");
		for (size_t i = 0; i < bytes; i += 32) {
			fprintf(out, ".bytes ");
			print_bytes(data + i, bytes - i < 32 ? bytes - i : 32, out);
			fputc('\n', out);
		}
		return ferror(out) ? -EIO : 0;
	}
	if (!text_enter(&locale))
		return -ENOMEM;
	if (header.isa_major != KILN_ISA_MAJOR || header.isa_minor != KILN_ISA_MINOR)
		fprintf(out, ".isa %u.%u\n", header.isa_major, header.isa_minor);
	fprintf(out, ".generation %u\n.args %" PRIu32 "\n", header.generation,
		header.args_bytes);
	if (header.flags & KILN_PROGRAM_TRANSIENT)
		fprintf(out, ".transient\n");
	check = text_check(header.generation, 0, header.args_bytes);
	for (int e = 0; e < KILN_ENGINES; e++) {
		const uint8_t *at = data + header.stream[e].offset;
		uint32_t count = header.stream[e].count;
		struct kiln_insn *insn;

		if (!count)
			continue;
		/* The caller's bytes may lie anywhere. */
		insn = malloc((size_t)count * sizeof(*insn));
		if (!insn) {
			text_leave(&locale);
			return -ENOMEM;
		}
		memcpy(insn, at, (size_t)count * sizeof(*insn));
		print_stream(insn, count, e, check, out);
		free(insn);
	}
	text_leave(&locale);
	return ferror(out) ? -EIO : 0;
}
