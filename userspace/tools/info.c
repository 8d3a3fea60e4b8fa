// SPDX-License-Identifier: MIT
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "card.h"
#include "commands.h"
#include "options.h"

static void print_text(const struct kiln_info *i)
{
	double gib = 1 << 30;

	printf("card        trn%u, %u core%s\n", i->generation, i->cores,
	       i->cores == 1 ? "" : "s");
	printf("transport   %s%s%s\n", i->transport, *i->path ? ", " : "", i->path);
	printf("HBM         %.4g GiB, %.4g MiB of it in use\n", (double)i->hbm_bytes / gib,
	       (double)i->hbm_used_bytes / (1 << 20));
	printf("SBUF        128 partitions of %u KiB\n", i->sbuf_bytes / 1024);
	printf("PSUM        128 partitions of %u KiB\n", i->psum_bytes / 1024);
	printf("clock       %.4g GHz\n", i->clock_khz / 1e6);
	printf("firmware    %u.%u\n", i->fw_version >> 16, i->fw_version & 0xffff);
	printf("queues      up to %u commands deep\n", i->max_queue_depth);
}

static void print_object(const struct kiln_info *i)
{
	printf("{\"transport\": \"%s\", \"path\": ", i->transport);
	print_json_string(i->path);
	printf(", \"generation\": \"trn%u\", \"cores\": %u, \"hbm_bytes\": %" PRIu64
	       ", \"hbm_used_bytes\": %" PRIu64 ", \"sbuf_bytes\": %u, \"psum_bytes\": %u, \"clock_khz\": %u, \"fw_version\": \"%u.%u\", \"max_queue_depth\": %u}\n",
	       i->generation, i->cores, i->hbm_bytes, i->hbm_used_bytes, i->sbuf_bytes,
	       i->psum_bytes, i->clock_khz, i->fw_version >> 16, i->fw_version & 0xffff,
	       i->max_queue_depth);
}

int command_info(int argc, char **argv)
{
	const char *transport = NULL;
	struct kiln_device *device;
	struct kiln_info info;
	bool json = false;
	const struct option table[] = {
		{ .name = "json", .kind = OPTION_FLAG, .value = &json },
		{ .name = "transport", .kind = OPTION_TEXT, .value = &transport },
		{ 0 },
	};
	int err;

	err = options_parse("kiln info", argc, argv, table);
	if (err)
		return err;
	err = kiln_open(transport, &device);
	if (err) {
		fprintf(stderr, "kiln info: %s\n", kiln_last_error());
		/* A name that means nothing is the caller's mistake, a missing card is not. */
		return err == -EINVAL ? EXIT_USAGE : 1;
	}
	err = kiln_get_info(device, &info);
	if (err)
		fprintf(stderr, "kiln info: %s\n", kiln_last_error());
	else if (json)
		print_object(&info);
	else
		print_text(&info);
	kiln_close(device);
	return err ? 1 : 0;
}
