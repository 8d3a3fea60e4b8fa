/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands to the firmware: sent, waited for, and never lost. */
#ifndef KILN_ADMIN_H
#define KILN_ADMIN_H

#include <linux/bits.h>
#include <linux/completion.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "kiln_ring.h"

struct kiln_device;
struct kiln_share;

#define KILN_ADMIN_LOG2		6
#define KILN_ADMIN_DEPTH	BIT(KILN_ADMIN_LOG2)

/**
 * struct kiln_admin_slot - an admin command on its way
 */
struct kiln_admin_slot {
	/** @answered: completed by the card, or by kiln_admin_fail(). */
	struct completion answered;
	/** @generation: high half of the cookie: tells a late answer from ours. */
	u32 generation;
	/** @busy: somebody waits for it. */
	bool busy;
	/** @result: kiln_status, or negative errno of kiln_admin_fail(). */
	int result;
};

/**
 * struct kiln_admin - the admin queue
 */
struct kiln_admin {
	/** @lock: everything below. Taken by the interrupt. */
	spinlock_t lock;
	/** @room: waiters for a slot. */
	wait_queue_head_t room;
	/** @ring: host memory. */
	struct kiln_ring ring;
	/** @error: why no command is taken now; 0: they are. */
	int error;
	/** @slots: commands on their way. */
	struct kiln_admin_slot slots[KILN_ADMIN_DEPTH];
};

int kiln_admin_init(struct kiln_device *kdev);
void kiln_admin_fini(struct kiln_device *kdev);
void kiln_admin_start(struct kiln_device *kdev);
void kiln_admin_pause(struct kiln_device *kdev);
void kiln_admin_fail(struct kiln_device *kdev, int error);
bool kiln_admin_process(struct kiln_device *kdev);

int kiln_admin_exec(struct kiln_device *kdev, u32 epoch, struct kiln_cmd *cmd);
void kiln_admin_ping(struct kiln_device *kdev, u32 epoch);
int kiln_admin_context_create(struct kiln_device *kdev, u32 epoch, u32 context,
			      const struct kiln_share *share, u64 root);
int kiln_admin_context_share(struct kiln_device *kdev, u32 epoch, u32 context,
			     const struct kiln_share *share);
int kiln_admin_context_destroy(struct kiln_device *kdev, u32 epoch, u32 context);
int kiln_admin_context_suspend(struct kiln_device *kdev, u32 epoch, u32 context);
int kiln_admin_context_resume(struct kiln_device *kdev, u32 epoch, u32 context);
int kiln_admin_tlb_flush(struct kiln_device *kdev, u32 epoch, u32 context);
int kiln_admin_queue_destroy(struct kiln_device *kdev, u32 epoch, u32 queue);
int kiln_admin_queue_cancel(struct kiln_device *kdev, u32 epoch, u32 queue, u64 cookie);
int kiln_admin_copy(struct kiln_device *kdev, u32 epoch, u64 dst, bool to_host, u64 src, u64 bytes);
int kiln_admin_clear(struct kiln_device *kdev, u32 epoch, u64 addr, u64 bytes);

#endif
