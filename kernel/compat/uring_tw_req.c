// SPDX-License-Identifier: GPL-2.0-only
/* Task work gets a struct io_tw_req instead of the command and its flags. */
#include <linux/io_uring/cmd.h>

static void callback(struct io_tw_req req, io_tw_token_t tw)
{
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(req);

	io_uring_cmd_done(cmd, 0, IO_URING_CMD_TASK_WORK_ISSUE_FLAGS);
}

void probe(struct io_uring_cmd *cmd)
{
	io_uring_cmd_complete_in_task(cmd, callback);
}
