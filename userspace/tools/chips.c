// SPDX-License-Identifier: MIT
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chips.h"
#include "options.h"

struct chip chips[GENERATIONS] = {
	{ .cores = 2, .hbm = 820 / 2., .peak = 2 * 128 * 128 * 2.8e-3 },
	{ .cores = 8, .hbm = 2900 / 8., .peak = 2 * 128 * 128 * 2.4e-3 },
	{ .cores = 8, .hbm = 4800 / 8., .peak = 2 * 128 * 128 * 2.4e-3 },
};

int read_prices(const char *command, const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned int number = 0;
	char line[256];

	if (!file)
		return usage_error(command, "--prices %s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		char name[8], rest[2];
		double dollars;
		int n;

		number++;
		line[strcspn(line, "#\n")] = 0;
		n = sscanf(line, " %7s %lf %1s", name, &dollars, rest);
		if (n <= 0)
			continue;
		if (n != 2 || strncmp(name, "trn", 3) || name[3] < '1' || name[3] > '3' ||
		    name[4] || !(dollars >= 0) || isinf(dollars)) {
			fclose(file);
			return usage_error(command, "--prices %s, line %u: a line is like \"trn2 1.25\", dollars for an hour of a chip",
					   path, number);
		}
		chips[name[3] - '1'].dollars = dollars;
	}
	fclose(file);
	return 0;
}

double cost_of(unsigned int generation, double seconds)
{
	const struct chip *chip = &chips[generation - 1];

	return seconds / 3600 * chip->dollars / chip->cores;
}
