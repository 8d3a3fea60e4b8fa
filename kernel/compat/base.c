// SPDX-License-Identifier: GPL-2.0-only
/* Always there: shows that the probes work. */
#include <linux/io_uring/cmd.h>
#include <drm/ttm/ttm_bo.h>
#include <drm/drm_gpuvm.h>

int probe(struct io_uring_cmd *cmd)
{
	return cmd->cmd_op;
}
