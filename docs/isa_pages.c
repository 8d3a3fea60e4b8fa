// SPDX-License-Identifier: MIT
/*
 * Prints a part of docs/isa.md, made from isa.def: the tables instructions,
 * dtypes, alu and activations, and pages, a section for each instruction with
 * its example from docs/isa/. docs/tables.sh compiles and runs it.
 */
#include <ctype.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "kiln/isa_check.h"

static const char *const engine_names[] = { "Tensor", "Vector", "Scalar", "GpSimd", "Sync" };

/* Each name of the set, with commas between. */
static void engines(unsigned int set)
{
	const char *comma = "";

	if (set == KILN_ON_ALL) {
		printf("all");
		return;
	}
	for (int e = 0; e < KILN_ENGINES; e++) {
		if (set & 1 << e) {
			printf("%s%s", comma, engine_names[e]);
			comma = ", ";
		}
	}
}

/* Markdown takes | for the end of a cell. */
static void cell(const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			putchar('\\');
		putchar(*text);
	}
}

static void instructions(void)
{
	printf("| code | instruction | engines | what it does |\n| --- | --- | --- | --- |\n");
	for (int code = 0; code < 256; code++) {
		const struct kiln_rule *rule = &kiln_rules[code];

		if (!rule->engines)
			continue;
		printf("| 0x%02x | `%s` | ", code, rule->name);
		engines(rule->engines);
		printf(" | ");
		cell(rule->doc);
		printf(" |\n");
	}
}

static void row(int code, const char *prefix, const char *name, const char *doc)
{
	printf("| %d | `%s%s` | ", code, prefix, name);
	cell(doc);
	printf(" |\n");
}

static void lower(const char *name)
{
	for (; *name; name++)
		putchar(tolower((unsigned char)*name));
}

static void dtypes(uint32_t set)
{
	const char *before = ", ";

	if ((set & R_ANY) == R_ANY) {
		printf(", any type");
		return;
	}
#define KILN_DTYPE(name, code, bytes, doc)					\
	if (set & 1u << code) {							\
		printf("%s", before);						\
		lower(#name);							\
		before = " or ";						\
	}
#include "kiln/isa.def"
}

static void operand(const struct kiln_operand_rule *rule, const char *field)
{
	static const char *const spaces[] = {
		[KILN_SBUF] = "SBUF", [KILN_PSUM] = "PSUM", [KILN_DRAM] = "DRAM",
	};
	const char *before = "";

	if (!rule->name)
		return;
	printf("| `%s` | `%s` | %s", rule->name, field,
	       rule->spaces & R_ABSENT ? "may be absent; " : "");
	for (int space = KILN_SBUF; space <= KILN_DRAM; space++) {
		if (rule->spaces & 1 << space) {
			printf("%s%s", before, spaces[space]);
			before = " or ";
		}
	}
	if (rule->dtypes == R_NO_DTYPE)
		printf(" pattern without a type: register, offset, steps");
	else
		dtypes(rule->dtypes);
	printf(" |\n");
}

static void func(uint8_t kind, const char *field)
{
	static const char *const kinds[] = {
		[R_ALU] = "an ALU function", [R_COMPARE] = "`eq`, `ne`, `ge`, `gt`, `le` or `lt`",
		[R_REDUCE] = "`add`, `multiply`, `max`, `min`, `and`, `or`, `xor`, `bitwise_and`, `bitwise_or` or `bitwise_xor`",
		[R_ACT] = "an activation function", [R_RING] = "DMA ring, 0 to 15",
		[R_REGISTER] = "a register", [R_POWER] = "1, 2, 4, 8, 16 or 32",
		[R_ARRAY] = "0, 32, 64 or 128", [R_DIMS] = "dimensions: 1 to 4, 0 for 1",
	};

	if (kind)
		printf("| `%s` | `%s` | %s |\n", kind == R_RING ? "ring" : field, field,
		       kind < sizeof(kinds) / sizeof(kinds[0]) && kinds[kind] ? kinds[kind] : "0 to 255");
}

static void values(const struct kiln_rule *rule, int i)
{
	const struct kiln_value_rule *col = &rule->col[i], *imm = &rule->imm[i];

	if (col->use)
		printf("| `%s` | `col[%d]` | a column%s |\n", col->name, i,
		       col->use == R_ALWAYS ? "" : col->use != R_MAY ? ", with its flag only" :
		       imm->use == R_OR_COL ? ", or" : ", may be absent");
	if (imm->use)
		printf("| `%s` | `imm[%d]` | a number%s |\n", imm->name, i,
		       imm->use == R_OR_COL ? ", if there is no such column" :
		       imm->use == R_OR_SRC1 ? ", if there is no such operand" : "");
}

static void flags(uint64_t set)
{
#define KILN_FLAG(name, bit, doc)						\
	if (set >> (8 + KILN_FLAG_INDEX_##name) & 1) {				\
		printf("| `");							\
		lower(#name);							\
		printf("` | flag %d | %s |\n", bit, doc);			\
	}
#include "kiln/isa.def"
}

static void seq_fields(uint8_t set)
{
	static const struct {
		uint8_t field;
		const char *name, *what;
	} fields[] = {
		{ R_RD, "rd", "the register written; r0 stays 0" }, { R_RS, "rs", "a register" },
		{ R_RT, "rt", "a register" }, { R_SLOT, "slot", "0 to 63" },
		{ R_TARGET, "target", "an instruction of this stream, or its end" },
		{ R_IMM, "imm", "64 bits" },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (set & fields[i].field)
			printf("| `%s` | `seq.%s` | %s |\n", fields[i].name, fields[i].name,
			       fields[i].what);
}

static const char *shape(uint8_t code)
{
	static const char *const docs[] = {
#define KILN_SHAPE(name, doc) doc,
#include "kiln/isa.def"
	};

	return docs[code];
}

static bool example(const char *path)
{
	FILE *file = fopen(path, "r");
	int c;

	if (!file)
		return false;
	printf("\n```kiln\n");
	while ((c = getc(file)) != EOF)
		putchar(c);
	printf("```\n");
	fclose(file);
	return true;
}

/* docs/isa/NAME.kasm, and what more there is: NAME-2.kasm, ... */
static void examples(const char *name)
{
	char path[128];
	int n = 1;

	snprintf(path, sizeof(path), "docs/isa/%s.kasm", name);
	if (!example(path)) {
		fprintf(stderr, "%s: an example is wanted for each instruction of isa.def\n", path);
		exit(1);
	}
	do {
		snprintf(path, sizeof(path), "docs/isa/%s-%d.kasm", name, ++n);
	} while (example(path));
}

static void pages(void)
{
	for (int code = 0; code < 256; code++) {
		const struct kiln_rule *rule = &kiln_rules[code];

		if (!rule->engines)
			continue;
		printf("%s### `%s`\n\n%s.\n\nEngines: ", code ? "\n" : "", rule->name, rule->doc);
		engines(rule->engines);
		if ((rule->engines & KILN_ON_G) && !kiln_is_sequencer(code) &&
		    (rule->dst.spaces & R_PSUM))
			printf(" (SBUF only)");
		if (rule->since)
			printf("; from trn%u on", rule->since);
		printf(".");
		if (rule->shape)
			printf(" Sizes: %s.", shape(rule->shape));
		printf(" Cost: %s.\n", rule->cost ? rule->cost :
		       kiln_is_sequencer(code) ? "1 cycle" : "n cycles");
		if (rule->seq || !kiln_is_sequencer(code))
			printf("\n| operand | field | what |\n| --- | --- | --- |\n");
		if (kiln_is_sequencer(code)) {
			seq_fields(rule->seq);
		} else {
			operand(&rule->dst, "dst");
			operand(&rule->src[0], "src[0]");
			operand(&rule->src[1], "src[1]");
			for (int i = 0; i < 2; i++) {
				func(i ? rule->func1 : rule->func, i ? "func1" : "func");
				values(rule, i);
			}
			flags(rule->flags);
		}
		examples(rule->name);
	}
}

int main(int argc, char **argv)
{
	const char *table = argc > 1 ? argv[1] : "";

	if (!strcmp(table, "instructions")) {
		instructions();
		return 0;
	}
	if (!strcmp(table, "pages")) {
		pages();
		return 0;
	}
	printf("| value | name | meaning |\n| --- | --- | --- |\n");
	if (!strcmp(table, "dtypes")) {
#define KILN_DTYPE(name, code, bytes, doc) row(code, "KILN_", #name, doc);
#include "kiln/isa.def"
	} else if (!strcmp(table, "alu")) {
#define KILN_ALU(name, code, doc) row(code, "KILN_ALU_", #name, doc);
#include "kiln/isa.def"
	} else if (!strcmp(table, "activations")) {
#define KILN_ACT(name, code, doc) row(code, "KILN_ACT_", #name, doc);
#include "kiln/isa.def"
	} else {
		fprintf(stderr, "isa_pages: no table \"%s\"\n", table);
		return 1;
	}
	return 0;
}
