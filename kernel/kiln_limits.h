/* SPDX-License-Identifier: GPL-2.0-only */
/* What each user has of the card, and how much an administrator lets him have. */
#ifndef KILN_LIMITS_H
#define KILN_LIMITS_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/uidgid.h>

struct kiln_device;
struct kiln_limits;

#define KILN_NO_LIMIT	U64_MAX

enum kiln_resource {
	KILN_RES_HBM,		/* bytes of buffers whose home is HBM */
	KILN_RES_SYSTEM,	/* bytes of buffers whose home is host memory */
	KILN_RES_QUEUES,
	KILN_RES_WEIGHT,	/* sum over the user's VMs */
	KILN_RES_MIN_SHARE,	/* the same, for those without CAP_SYS_NICE */
	KILN_NUM_RES,
};

/**
 * struct kiln_user - one user of the card
 *
 * References: open files, buffers, VMs. It also stays as long as an
 * administrator has given it limits of its own.
 */
struct kiln_user {
	/** @link: in kiln_limits.users. */
	struct list_head link;
	/** @limits: of the card; has the lock of everything below. */
	struct kiln_limits *limits;
	/** @uid: who opened the file. */
	kuid_t uid;
	/** @refs: see above. */
	unsigned int refs;
	/** @own: @limit counts, and not kiln_limits.fallback. */
	bool own;
	/** @limit: most that it may have. */
	u64 limit[KILN_NUM_RES];
	/** @used: that it has. */
	u64 used[KILN_NUM_RES];
};

/**
 * struct kiln_limits - the users of one card
 */
struct kiln_limits {
	/** @lock: the list and what is in it. */
	spinlock_t lock;
	/** @users: struct kiln_user. */
	struct list_head users;
	/** @num_own: users with limits of their own. */
	unsigned int num_own;
	/** @fallback: limits of all others. */
	u64 fallback[KILN_NUM_RES];
};

int kiln_limits_init(struct kiln_device *kdev);
int kiln_limits_set(struct kiln_limits *limits, char *line);
ssize_t kiln_limits_show(struct kiln_limits *limits, char *buf);
ssize_t kiln_limits_show_usage(struct kiln_limits *limits, char *buf);

struct kiln_user *kiln_user_get(struct kiln_device *kdev, kuid_t uid);
struct kiln_user *kiln_user_ref(struct kiln_user *user);
void kiln_user_put(struct kiln_user *user);
int kiln_user_charge(struct kiln_user *user, enum kiln_resource res, u64 old, u64 new);
void kiln_user_force(struct kiln_user *user, enum kiln_resource res, u64 old, u64 new);

#endif
