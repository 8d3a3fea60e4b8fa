// SPDX-License-Identifier: GPL-2.0-only
/* The payload is reached by a macro that knows its size. */
#include <linux/io_uring/cmd.h>

struct payload { char bytes[80]; };

const void *probe(struct io_uring_cmd *cmd)
{
	return io_uring_sqe128_cmd(cmd->sqe, struct payload);
}
