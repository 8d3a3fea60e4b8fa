/* SPDX-License-Identifier: MIT */
/* The subcommands: what main() calls. They return the exit status. */
#ifndef KILN_TOOL_COMMANDS_H
#define KILN_TOOL_COMMANDS_H

int command_info(int argc, char **argv);
int command_run(int argc, char **argv);
int command_selftest(int argc, char **argv);
int command_asm(int argc, char **argv);
int command_disasm(int argc, char **argv);

#endif
