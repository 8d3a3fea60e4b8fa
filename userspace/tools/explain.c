// SPDX-License-Identifier: MIT
/* kiln explain: what an op costs on a chip, from its program's device time alone. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chips.h"
#include "commands.h"
#include "run.h"

#define COMMAND		"kiln explain"
#define MAX_ARGS	64

static bool json;
static const char *sep = "[";

/* Operations in a cycle of the array at most, by what is multiplied. */
static double peak(const struct card *card, const struct workload *w)
{
	const double cells = 2 * 128 * 128;

	if (w->type == KILN_TYPE_F32)
		return cells / 4;
	if ((w->type == KILN_TYPE_F8E4M3 || w->type == KILN_TYPE_F8E5M2) && card->info.generation > 1)
		return cells * 2;
	return cells;
}

static int report(const struct card *card, const struct workload *w)
{
	static const char *const names[] = { "PE", "Vector", "Scalar", "GpSimd" };
	unsigned int g = card->info.generation - 1;
	struct kiln_engine_time time;
	const char *bound = "DMA";
	char shape[128], dtype[32];
	double most, seconds, dollars, share = 0;

	if (kiln_get_engine_time(card->device, &time)) {
		fprintf(stderr, COMMAND ": %s\n", kiln_last_error());
		return 1;
	}
	seconds = time.seconds;
	dollars = cost_of(g + 1, seconds);
	most = time.dma;
	for (unsigned int e = 0; e < 4; e++) {
		if (time.busy[e] > most) {
			most = time.busy[e];
			bound = names[e];
		}
	}
	if (most < seconds / 2)
		bound = "latency: each waits for the other";
	workload_shape(w, shape, sizeof(shape));
	workload_dtype(w, dtype, sizeof(dtype));
	if (workload_flops(w) > 0)
		share = 100 * workload_flops(w) / peak(card, w) /
			(seconds * card->info.clock_khz * 1e3);
	if (json) {
		printf("%s{\"generation\": \"trn%u\", \"op\": \"%s\", \"shape\": \"%s\", \"dtype\": \"%s\", "
		       "\"device_us\": %.3f, \"cycles\": %llu, \"commands\": %llu, \"tflops\": %.3f, "
		       "\"peak_pct\": %.2f, \"busy_pct\": {\"PE\": %.2f, \"Vector\": %.2f, \"Scalar\": %.2f, "
		       "\"GpSimd\": %.2f, \"DMA\": %.2f}, \"hbm_bytes\": %llu, \"bound\": \"%s\", "
		       "\"device_seconds\": %.9g, \"dollars\": ",
		       sep, g + 1, workload_name(w), shape, dtype, seconds * 1e6,
		       (unsigned long long)w->cycles, (unsigned long long)w->commands,
		       workload_flops(w) > 0 ? workload_flops(w) / seconds * 1e-12 : 0, share,
		       100 * time.busy[0] / seconds, 100 * time.busy[1] / seconds,
		       100 * time.busy[2] / seconds, 100 * time.busy[3] / seconds,
		       100 * time.dma / seconds, (unsigned long long)time.hbm_bytes, bound, seconds);
		if (dollars > 0)
			printf("%.9g}", dollars);
		else
			printf("null}");
		sep = ",\n ";
		return 0;
	}
	printf("trn%u, one core: %s %s %s\n", g + 1, workload_name(w), shape, dtype);
	printf("  device time  %.2f us, %llu cycles, %llu commands\n", seconds * 1e6,
	       (unsigned long long)w->cycles, (unsigned long long)w->commands);
	if (workload_flops(w) > 0)
		printf("  products     %.1f TFLOP/s, %.1f %% of the array's peak\n",
		       workload_flops(w) / seconds * 1e-12, share);
	printf("  busy         PE %.1f %%, Vector %.1f %%, Scalar %.1f %%, GpSimd %.1f %%, DMA %.1f %%\n",
	       100 * time.busy[0] / seconds, 100 * time.busy[1] / seconds,
	       100 * time.busy[2] / seconds, 100 * time.busy[3] / seconds,
	       100 * time.dma / seconds);
	printf("  HBM          %.3f MB, %.1f GB/s, %.1f %% of a core's share\n", time.hbm_bytes * 1e-6,
	       time.hbm_bytes / seconds * 1e-9,
	       100 * time.hbm_bytes / seconds * 1e-9 / chips[g].hbm);
	printf("  bound by     %s\n", bound);
	printf("  cost         %.3g device-seconds", seconds);
	if (dollars > 0)
		printf(", $%.3g (of $%g for an hour of %u cores)", dollars, chips[g].dollars,
		       chips[g].cores);
	putchar('\n');
	return 0;
}

int command_explain(int argc, char **argv)
{
	static const char *const mine[] = { "--generation", "--prices" };
	const char *value[2] = { NULL, NULL };
	unsigned int first = 0, last = GENERATIONS - 1;
	char transport[64], *args[MAX_ARGS];
	int n = 0, status;

	for (int i = 0; i < argc; i++) {
		bool taken = !strcmp(argv[i], "--json");

		json |= taken;
		for (unsigned int j = 0; j < 2 && !taken; j++) {
			size_t length = strlen(mine[j]);

			if (strncmp(argv[i], mine[j], length) || (argv[i][length] && argv[i][length] != '='))
				continue;
			if (!argv[i][length] && i + 1 == argc)
				return usage_error(COMMAND, "%s wants a value", mine[j]);
			value[j] = argv[i][length] ? argv[i] + length + 1 : argv[++i];
			taken = true;
		}
		if (taken)
			continue;
		if (!strncmp(argv[i], "--transport", 11) || !strcmp(argv[i], "--check") ||
		    !strncmp(argv[i], "--out", 5) || !strncmp(argv[i], "--repeat", 8)) {
			if (strncmp(argv[i], "--out-dtype", 11))
				return usage_error(COMMAND, "nothing runs, so there is no %.40s", argv[i]);
		}
		if (n == MAX_ARGS - 2)
			return usage_error(COMMAND, "too many arguments");
		args[n++] = argv[i];
	}
	if (value[0]) {
		if (strncmp(value[0], "trn", 3) || value[0][3] < '1' || value[0][3] > '3' || value[0][4])
			return usage_error(COMMAND, "--generation is trn1, trn2 or trn3, not \"%.32s\"", value[0]);
		first = last = (unsigned int)(value[0][3] - '1');
	}
	if (value[1]) {
		status = read_prices(COMMAND, value[1]);
		if (status)
			return status;
	}
	explain = report;
	if (!n)
		return command_run(0, args);
	args[n++] = "--transport";
	args[n++] = transport;
	for (unsigned int g = first; g <= last; g++) {
		snprintf(transport, sizeof(transport), "sim:time=only,hbm=64G,generation=trn%u", g + 1);
		status = command_run(n, args);
		if (status)
			return status;
	}
	if (json)
		puts("]");
	return 0;
}
