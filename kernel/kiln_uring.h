/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands by io_uring. */
#ifndef KILN_URING_H
#define KILN_URING_H

#include <linux/types.h>

struct io_comp_batch;
struct io_uring_cmd;
struct kiln_queue;

/**
 * struct kiln_uring_batch - commands of one task and ring that have ended
 */
struct kiln_uring_batch {
	/** @first: of the list, or NULL. */
	struct io_uring_cmd *first;
	/** @last: of the list, if there is one. */
	struct io_uring_cmd *last;
};

int kiln_uring_cmd(struct io_uring_cmd *ucmd, unsigned int issue_flags);
int kiln_uring_cmd_iopoll(struct io_uring_cmd *ucmd, struct io_comp_batch *iob,
			  unsigned int poll_flags);
void kiln_uring_prepare(struct io_uring_cmd *ucmd, struct kiln_queue *queue, u16 index,
			unsigned int issue_flags);
void kiln_uring_end(struct kiln_uring_batch *batch, struct io_uring_cmd *ucmd, int res,
		    u64 cycles);
void kiln_uring_tell(struct kiln_uring_batch *batch);

#endif
