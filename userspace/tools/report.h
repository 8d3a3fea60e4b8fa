/* SPDX-License-Identifier: MIT */
/* A trace of KILN_PROFILE as an HTML page. */
#ifndef KILN_TOOL_REPORT_H
#define KILN_TOOL_REPORT_H

#include "chips.h"

/* 0, or 1 after a line on stderr; page is not there then. chips.h has the prices. */
int report_page(const char *command, const char *trace, const char *page);

/* The same, and what other runs of the command took on each generation, in device-seconds; 0: not known. */
int report_pages(const char *command, const char *trace, const char *page,
		 const double seconds[GENERATIONS]);

/* Add to seconds[its generation - 1] what the trace has; the generation, or 0 after a line on stderr. */
unsigned int report_seconds(const char *command, const char *trace, double seconds[GENERATIONS]);

/*
 * Give a trace whose command was killed its end, with the sums that stood in it
 * last. 0: it is whole, now or already; 1 after a line on stderr.
 */
int report_mend(const char *command, const char *trace);

#endif
