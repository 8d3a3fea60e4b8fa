/* SPDX-License-Identifier: MIT */
/* The subcommands: what main() calls. They return the exit status. */
#ifndef KILN_TOOL_COMMANDS_H
#define KILN_TOOL_COMMANDS_H

#include <stddef.h>

int command_info(int argc, char **argv);
int command_run(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_profile(int argc, char **argv);
int command_selftest(int argc, char **argv);
int command_top(int argc, char **argv);
int command_asm(int argc, char **argv);
int command_disasm(int argc, char **argv);
int command_decode_dump(int argc, char **argv);

/* All of a file, or of standard input for "-", with a 0 behind it; NULL after a line on stderr. */
char *read_all(const char *command, const char *path, size_t *bytes);

#endif
