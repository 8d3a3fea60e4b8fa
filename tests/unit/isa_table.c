// SPDX-License-Identifier: MIT
/* The table of instructions is one that text, checks and documentation can be made from. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "kiln/isa_check.h"

static int tests, failures;

__attribute__((format(printf, 2, 3)))
static void ok(bool good, const char *format, ...)
{
	va_list args;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	failures += !good;
}

struct row {
	const char *name;
	unsigned int code;
};

/* Codes from first on without a gap, and names that differ. */
static void list(const char *what, const struct row *row, unsigned int rows, unsigned int first)
{
	bool codes = true, names = true;

	for (unsigned int i = 0; i < rows; i++) {
		codes &= row[i].code == first + i;
		for (unsigned int j = 0; j < i; j++)
			names &= strcasecmp(row[i].name, row[j].name) != 0;
	}
	ok(codes, "%s: %u codes from %u on", what, rows, first);
	ok(names, "%s: each name once", what);
}

static void lists(void)
{
	static const struct row dtypes[] = {
#define KILN_DTYPE(name, code, bytes, doc) { #name, code },
#include "kiln/isa.def"
	};
	static const struct row alus[] = {
#define KILN_ALU(name, code, doc) { #name, code },
#include "kiln/isa.def"
	};
	static const struct row acts[] = {
#define KILN_ACT(name, code, doc) { #name, code },
#include "kiln/isa.def"
	};
	static const struct row insns[] = {
#define KILN_INSN(name, code, engines, doc, ...) { #name, code },
#include "kiln/isa.def"
	};
	bool unique = true;

	list("types", dtypes, sizeof(dtypes) / sizeof(*dtypes), 1);
	list("ALU functions", alus, sizeof(alus) / sizeof(*alus), 0);
	list("activation functions", acts, sizeof(acts) / sizeof(*acts), 0);
	ok(sizeof(dtypes) / sizeof(*dtypes) == KILN_DTYPES - 1 && KILN_DTYPES < 32, "types are counted");
	ok(sizeof(alus) / sizeof(*alus) == KILN_ALU_OPS, "ALU functions are counted");
	ok(sizeof(acts) / sizeof(*acts) == KILN_ACTS, "activation functions are counted");
	for (unsigned int i = 0; i < sizeof(insns) / sizeof(*insns); i++)
		for (unsigned int j = 0; j < i; j++)
			unique &= insns[i].code != insns[j].code && strcasecmp(insns[i].name, insns[j].name);
	ok(unique, "instructions: each code and each name once");
}

/* The value's form tells a tile from a column and from a number, and nothing else does. */
static void names(const struct kiln_rule *rule)
{
	struct {
		const char *name;
		char form;
	} field[7] = {
		{ rule->dst.name, 't' }, { rule->src[0].name, 't' }, { rule->src[1].name, 't' },
		{ rule->col[0].name, 'c' }, { rule->col[1].name, 'c' },
		{ rule->imm[0].name, 'n' }, { rule->imm[1].name, 'n' },
	};
	static const char *const taken[] = { "wait", "post", "label", "func", "func1", "ring" };
	bool named = !rule->dst.spaces == !rule->dst.name, clear = true;
	uint8_t bits = 0;

	for (int i = 0; i < 2; i++)
		named &= !rule->src[i].spaces == !rule->src[i].name &&
			 !rule->col[i].use == !rule->col[i].name &&
			 !rule->imm[i].use == !rule->imm[i].name;
	ok(named, "%s: what may be given has a name", rule->name);
	for (int i = 0; i < 7; i++) {
		for (unsigned int t = 0; field[i].name && t < sizeof(taken) / sizeof(*taken); t++)
			clear &= strcmp(field[i].name, taken[t]) != 0;
		for (int j = 0; j < i; j++)
			clear &= !field[i].name || !field[j].name || field[i].form != field[j].form ||
				 strcmp(field[i].name, field[j].name) != 0;
	}
	ok(clear, "%s: each operand can be told from the others", rule->name);

	clear = true;
#define KILN_FLAG(name, bit, doc)						\
	if (rule->flags >> (8 + KILN_FLAG_INDEX_##name) & 1) {			\
		clear &= !(bits & 1 << bit);					\
		bits |= 1 << bit;						\
	}
#include "kiln/isa.def"
	ok(clear && bits == (uint8_t)rule->flags, "%s: each flag has a bit of its own", rule->name);
	for (int i = 0; i < 2; i++)
		if (rule->col[i].use && rule->col[i].use != R_MAY && rule->col[i].use != R_ALWAYS)
			ok((rule->col[i].use & bits) == rule->col[i].use,
			   "%s: it has the flag that %s comes with", rule->name, rule->col[i].name);
}

int main(void)
{
	lists();
	for (unsigned int code = 0; code < 256; code++) {
		const struct kiln_rule *rule = &kiln_rules[code];
		char path[128];

		if (!rule->engines)
			continue;
		if (kiln_is_sequencer(code))
			ok(!rule->dst.spaces && !rule->src[0].spaces && !rule->func && !rule->flags,
			   "%s: the sequencer's have no operands", rule->name);
		else
			names(rule);
		snprintf(path, sizeof(path), "docs/isa/%s.kasm", rule->name);
		ok(!access(path, R_OK), "%s: %s", rule->name, path);
	}
	printf("1..%d\n", tests);
	return failures != 0;
}
