// SPDX-License-Identifier: MIT
/* kiln profile: a command with KILN_PROFILE set, whose cards then write a trace, and a page of it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
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
#define USAGE	"kiln profile [-o FILE] [--prices FILE] [--generations] -- COMMAND"
#define CARDS	1000	/* that libkiln makes traces of */

static volatile sig_atomic_t child;

static void forward(int signal)
{
	if (child > 0)
		kill(child, signal);
}

/* Whoever stops the command wants its trace: a terminal tells both of us, kill only this one. */
static void outlive_signals(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, hand_on = { .sa_handler = forward };

	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGQUIT, &ignore, NULL);
	sigaction(SIGTERM, &hand_on, NULL);
	sigaction(SIGHUP, &hand_on, NULL);
}

/* What a trace of the command on this generation is called, while it is there. */
static const char *trace_of(const char *path, unsigned int generation, char name[4096])
{
	snprintf(name, 4096, "%.4080s.trn%u", path, generation);
	return name;
}

/*
 * The status of a command with KILN_PROFILE, on a generation if it is not 0, and
 * then without what it says; -1 after a line on stderr.
 */
static int run(char **argv, const char *path, unsigned int generation)
{
	char name[8];
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0) {
		fprintf(stderr, COMMAND ": %s\n", strerror(errno));
		return -1;
	}
	if (!child) {
		snprintf(name, sizeof(name), "trn%u", generation);
		if (generation && (setenv("KILN_GENERATION", name, 1) || !freopen("/dev/null", "w", stdout) ||
				   !freopen("/dev/null", "w", stderr)))
			_exit(126);
		if (setenv("KILN_PROFILE", path, 1) == 0)
			execvp(argv[0], argv);
		fprintf(stderr, COMMAND ": %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	outlive_signals();
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR) {
			fprintf(stderr, COMMAND ": %s\n", strerror(errno));
			return -1;
		}
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The trace of the command's i-th card, from 1 on; false: there is none. */
static bool card_trace(const char *path, unsigned int i, char trace[4096])
{
	snprintf(trace, 4096, i == 1 ? "%.4080s" : "%.4080s.%u", path, i);
	return i <= CARDS && !access(trace, F_OK);
}

/* Device-seconds of all cards of a command; 0: not all were of that generation. */
static double seconds_of(const char *path, unsigned int generation)
{
	double seconds[GENERATIONS] = { 0 };
	char trace[4096];
	bool same = true;

	for (unsigned int i = 1; card_trace(path, i, trace); i++)
		same &= report_seconds(COMMAND, trace, seconds) == generation;
	return same ? seconds[generation - 1] : 0;
}

/* Run it once more on each of the other generations. */
static void run_elsewhere(char **argv, const char *path, double seconds[GENERATIONS])
{
	double here[GENERATIONS] = { 0 };
	unsigned int generation = report_seconds(COMMAND, path, here);
	char name[4096], trace[4096];

	if (!generation || !(seconds[generation - 1] = seconds_of(path, generation)))
		return;
	for (unsigned int g = 1; g <= GENERATIONS; g++) {
		if (g == generation)
			continue;
		trace_of(path, g, name);
		if (run(argv, name, g) == 0)
			seconds[g - 1] = seconds_of(name, g);
		if (!(seconds[g - 1] > 0))
			fprintf(stderr, COMMAND ": trn%u: not known: the command failed there, says its generation itself, or its card is the driver's\n",
				g);
		for (unsigned int i = 1; card_trace(name, i, trace); i++)
			unlink(trace);
	}
	for (unsigned int g = 1; g <= GENERATIONS; g++) {
		double dollars = cost_of(g, seconds[g - 1]);

		if (!(seconds[g - 1] > 0))
			continue;
		fprintf(stderr, "  on trn%u: %.3f us of device time, %.3g device-seconds", g,
			seconds[g - 1] * 1e6, seconds[g - 1]);
		if (dollars > 0)
			fprintf(stderr, ", $%.3g", dollars);
		fputc('\n', stderr);
	}
}

/* The pages of all cards' traces: FILE.html, FILE.2.html, ... */
static int write_pages(const char *path, const double seconds[GENERATIONS])
{
	char trace[4096], page[4096 + 8];
	int status = 0;

	for (unsigned int i = 1; card_trace(path, i, trace); i++) {
		snprintf(page, sizeof(page), "%s.html", trace);
		status |= report_pages(COMMAND, trace, page, seconds);
	}
	return status;
}

int command_profile(int argc, char **argv)
{
	const char *path = NULL, *prices = NULL, *report = NULL;
	double seconds[GENERATIONS] = { 0 };
	char page[4096], trace[4096];
	bool elsewhere = false;
	int status, i;

	for (i = 0; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--"); i += 2) {
		if (!strcmp(argv[i], "--generations")) {
			elsewhere = true;
			i--;
			continue;
		}
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
		if (elsewhere)
			return usage_error(COMMAND, "--generations runs a command, and --report makes a page of a trace that is there");
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

	status = run(argv + i, path, 0);
	if (status < 0)
		return 1;
	if (access(path, F_OK)) {
		fprintf(stderr, COMMAND ": %s: no trace: the command opened no card\n", path);
		return status ? status : 1;
	}
	for (unsigned int card = 1; card_trace(path, card, trace); card++)
		if (report_mend(COMMAND, trace))
			return status ? status : 1;
	if (elsewhere && !status)
		run_elsewhere(argv + i, path, seconds);
	return write_pages(path, seconds) && !status ? 1 : status;
}
