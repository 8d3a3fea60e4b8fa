/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands by io_uring. */
#ifndef KILN_URING_H
#define KILN_URING_H

#include <linux/types.h>

struct io_comp_batch;
struct io_uring_cmd;
struct kiln_queue;

int kiln_uring_cmd(struct io_uring_cmd *ucmd, unsigned int issue_flags);
int kiln_uring_cmd_iopoll(struct io_uring_cmd *ucmd, struct io_comp_batch *iob,
			  unsigned int poll_flags);
bool kiln_uring_is_polled(struct io_uring_cmd *ucmd, unsigned int issue_flags);
bool kiln_uring_is_nonblock(struct io_uring_cmd *ucmd, unsigned int issue_flags);
void kiln_uring_prepare(struct io_uring_cmd *ucmd, struct kiln_queue *queue, u64 cookie,
			unsigned int issue_flags);
void kiln_uring_complete(struct io_uring_cmd *ucmd, int res, u64 cycles);

#endif
