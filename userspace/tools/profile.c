// SPDX-License-Identifier: MIT
/* kiln profile: a command with KILN_PROFILE set, whose cards then write a trace, and a page of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chips.h"
#include "commands.h"
#include "options.h"
#include "report.h"

#define COMMAND	"kiln profile"
#define USAGE	"kiln profile [-o FILE] [--prices FILE] -- COMMAND"
#define CARDS	1000	/* that libkiln makes traces of */

/* The status of a command with KILN_PROFILE; -1 after a line on stderr. */
static int run(char **argv, const char *path)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0) {
		fprintf(stderr, COMMAND ": %s\n", strerror(errno));
		return -1;
	}
	if (!child) {
		if (setenv("KILN_PROFILE", path, 1) == 0)
			execvp(argv[0], argv);
		fprintf(stderr, COMMAND ": %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR) {
			fprintf(stderr, COMMAND ": %s\n", strerror(errno));
			return -1;
		}
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The pages of all cards' traces: FILE.html, FILE.2.html, ... */
static int write_pages(const char *path)
{
	int status = 0;

	for (unsigned int i = 1; i <= CARDS; i++) {
		char trace[4096], page[4096 + 8];

		snprintf(trace, sizeof(trace), i == 1 ? "%s" : "%s.%u", path, i);
		if (access(trace, F_OK))
			break;
		snprintf(page, sizeof(page), "%s.html", trace);
		status |= report_page(COMMAND, trace, page);
	}
	return status;
}

int command_profile(int argc, char **argv)
{
	const char *path = NULL, *prices = NULL, *report = NULL;
	char page[4096];
	int status, i;

	for (i = 0; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--"); i += 2) {
		const char **value = !strcmp(argv[i], "-o") ? &path :
				     !strcmp(argv[i], "--prices") ? &prices :
				     !strcmp(argv[i], "--report") ? &report : NULL;

		if (!value)
			return usage_error(COMMAND, "there is no option %.32s: " USAGE, argv[i]);
		if (i + 1 == argc)
			return usage_error(COMMAND, "%s wants a value: " USAGE, argv[i]);
		*value = argv[i + 1];
	}
	if (prices && (status = read_prices(COMMAND, prices)))
		return status;
	if (report) {
		if (i < argc)
			return usage_error(COMMAND, "--report makes a page of a trace that is there: no command");
		snprintf(page, sizeof(page), "%s.html", report);
		return report_page(COMMAND, report, path ? path : page);
	}
	i += i < argc && !strcmp(argv[i], "--");
	if (i >= argc)
		return usage_error(COMMAND, "a command is wanted: " USAGE);
	if (!path)
		path = "kiln-profile.json";
	snprintf(page, sizeof(page), "%s.html", path);
	if (!access(path, F_OK) || !access(page, F_OK))
		return usage_error(COMMAND, "%s is there already: take it away or give -o another name",
				   access(path, F_OK) ? page : path);

	status = run(argv + i, path);
	if (status < 0)
		return 1;
	if (access(path, F_OK)) {
		fprintf(stderr, COMMAND ": %s: no trace: the command opened no card\n", path);
		return status ? status : 1;
	}
	return write_pages(path) && !status ? 1 : status;
}
