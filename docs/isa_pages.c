// SPDX-License-Identifier: MIT
/*
 * Prints a table of docs/isa.md, made from isa.def: instructions, dtypes, alu,
 * activations, flags. docs/tables.sh compiles and runs it.
 */
#include <ctype.h>
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

int main(int argc, char **argv)
{
	const char *table = argc > 1 ? argv[1] : "";

	if (!strcmp(table, "instructions")) {
		instructions();
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
