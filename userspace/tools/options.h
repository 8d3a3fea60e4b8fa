/* SPDX-License-Identifier: MIT */
/* Command-line options by table: "--name value", "--name=value", "--flag". */
#ifndef KILN_TOOL_OPTIONS_H
#define KILN_TOOL_OPTIONS_H

#include <stdint.h>

#define EXIT_USAGE	2

enum option_kind {
	OPTION_FLAG,		/* bool */
	OPTION_U32,		/* uint32_t within [min, max] */
	OPTION_U64,		/* uint64_t, any */
	OPTION_FLOAT,		/* float, finite */
	OPTION_TEXT,		/* const char * */
	OPTION_CHOICE,		/* int: index in choices + 1, so that 0 is "not given" */
};

struct option {
	const char *name;	/* without the dashes; NULL ends the table */
	enum option_kind kind;
	void *value;		/* untouched if the option is not given */
	uint32_t min, max;
	const char *const *choices;	/* ends in NULL */
};

/* 0, or EXIT_USAGE after one line on stderr that begins with command. */
int options_parse(const char *command, int argc, char **argv,
		  const struct option *table);

/* That line, for what only the command can know. Returns EXIT_USAGE. */
__attribute__((format(printf, 2, 3)))
int usage_error(const char *command, const char *format, ...);

#endif
