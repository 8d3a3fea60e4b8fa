/* SPDX-License-Identifier: MIT */
/* A trace of KILN_PROFILE as an HTML page. */
#ifndef KILN_TOOL_REPORT_H
#define KILN_TOOL_REPORT_H

/* 0, or 1 after a line on stderr; page is not there then. chips.h has the prices. */
int report_page(const char *command, const char *trace, const char *page);

#endif
