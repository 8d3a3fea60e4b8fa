// SPDX-License-Identifier: MIT
/* kiln profile: a command with KILN_PROFILE set, whose sim cards then write a trace. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "options.h"

#define COMMAND	"kiln profile"

int command_profile(int argc, char **argv)
{
	const char *path = "kiln-profile.json";
	int status, i = 0;
	pid_t child;

	if (argc >= 2 && !strcmp(argv[0], "-o")) {
		path = argv[1];
		i = 2;
	}
	if (i < argc && !strcmp(argv[i], "--"))
		i++;
	else if (i < argc && argv[i][0] == '-')
		return usage_error(COMMAND, "there is no option %.32s: kiln profile [-o FILE] -- COMMAND", argv[i]);
	if (i >= argc)
		return usage_error(COMMAND, "a command is wanted: kiln profile [-o FILE] -- COMMAND");
	if (!access(path, F_OK))
		return usage_error(COMMAND, "%s is there already: take it away or give -o another name", path);

	fflush(stdout);
	child = fork();
	if (child < 0) {
		fprintf(stderr, COMMAND ": %s\n", strerror(errno));
		return 1;
	}
	if (!child) {
		if (setenv("KILN_PROFILE", path, 1) == 0)
			execvp(argv[i], argv + i);
		fprintf(stderr, COMMAND ": %s: %s\n", argv[i], strerror(errno));
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR) {
			fprintf(stderr, COMMAND ": %s\n", strerror(errno));
			return 1;
		}
	}
	if (access(path, F_OK)) {
		fprintf(stderr, COMMAND ": %s: no trace: the command opened no card by --transport sim, whose engines alone can be watched\n",
			path);
		return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
