/* SPDX-License-Identifier: MIT */
/* What a core has of its chip, and what that costs by the user's own prices. */
#ifndef KILN_TOOL_CHIPS_H
#define KILN_TOOL_CHIPS_H

#define GENERATIONS	3

/* Of trn1 to trn3, by generation - 1; docs/time.md has the sources. */
struct chip {
	unsigned int cores;
	double hbm;		/* GB/s of a core's share */
	double peak;		/* TFLOP/s of a core, bf16 */
	double dollars;		/* for an hour of a chip; 0: not known */
};

extern struct chip chips[GENERATIONS];

/* The file of --prices: lines of a generation and a number, # begins a comment. 0 or EXIT_USAGE. */
int read_prices(const char *command, const char *path);

/* Dollars of device-seconds on one core; 0: not known. */
double cost_of(unsigned int generation, double seconds);

#endif
