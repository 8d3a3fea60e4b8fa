/* SPDX-License-Identifier: MIT */
/* What the text assembler and the disassembler share. */
#ifndef KILN_ASM_TEXT_H
#define KILN_ASM_TEXT_H

#include <locale.h>
#include <kiln/isa_check.h>

#define MAX_ARGS	64	/* an argument block holds */

extern const char *const kiln_engine_names[KILN_ENGINES];

/* Numbers are written with a point, whatever the process's language. */
struct text_locale {
	locale_t c, before;
};

bool text_enter(struct text_locale *l);
void text_leave(struct text_locale *l);

/* The names of codes, in the letters of isa.def; NULL: there is none. */
const char *text_dtype(unsigned int code);
const char *text_func(enum kiln_func_kind kind, unsigned int code);
const char *text_flag(unsigned int index);

/* Fields of func and func1 are named so. */
const char *text_func_field(enum kiln_func_kind kind, int which);

/*
 * One instruction without a label in front of it or a comment behind it. A
 * target may be a number only. On failure error says why.
 */
bool text_parse_insn(const char *text, struct kiln_insn *insn, char *error, size_t bytes);

/* What the checks of isa_check.h found, as text. */
void text_complaint(const struct kiln_check *check, char *text, size_t bytes);

/* Limits for a program of this generation, 0 to 3. */
struct kiln_check text_check(unsigned int generation, uint32_t count, uint32_t args_bytes);

/* asm.c: header and streams in malloc()ed memory; header gives version, generation, args_bytes. */
int kiln_program_layout(const struct kiln_program_header *header,
			struct kiln_insn *const insn[KILN_ENGINES],
			const uint32_t count[KILN_ENGINES], void **program, size_t *bytes);

#endif
