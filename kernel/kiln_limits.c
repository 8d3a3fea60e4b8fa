// SPDX-License-Identifier: GPL-2.0-only
/*
 * Until there is a cgroup controller for such memory and time on every kernel
 * that this driver runs on, limits are per user: the one who opened the file,
 * whoever it is passed on to. They are set through sysfs; docs/uapi.md has the
 * format. A limit that is below what somebody has takes nothing away from him:
 * he gets no more.
 */
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include <drm/drm_managed.h>

#include "kiln_drv.h"
#include "kiln_limits.h"

/* So that all lines fit into the one page that sysfs has. */
#define KILN_LIMITS_OWN		24
#define KILN_LIMITS_LINE	160

static const char * const kiln_resources[KILN_NUM_RES] = {
	[KILN_RES_HBM]		= "hbm",
	[KILN_RES_SYSTEM]	= "system",
	[KILN_RES_QUEUES]	= "queues",
	[KILN_RES_WEIGHT]	= "weight",
	[KILN_RES_MIN_SHARE]	= "min_share",
};

static void kiln_limits_fini(struct drm_device *drm, void *data)
{
	struct kiln_limits *limits = data;
	struct kiln_user *user, *next;

	list_for_each_entry_safe(user, next, &limits->users, link)
		kfree(user);
}

int kiln_limits_init(struct kiln_device *kdev)
{
	struct kiln_limits *limits = &kdev->limits;
	unsigned int i;

	spin_lock_init(&limits->lock);
	INIT_LIST_HEAD(&limits->users);
	for (i = 0; i < KILN_NUM_RES; i++)
		limits->fallback[i] = KILN_NO_LIMIT;
	/* A promise takes from others, so somebody has to grant it. */
	limits->fallback[KILN_RES_MIN_SHARE] = 0;
	return drmm_add_action_or_reset(&kdev->drm, kiln_limits_fini, limits);
}

/* ---------------------------------------------------------------- users -- */

static struct kiln_user *kiln_user_find_locked(struct kiln_limits *limits, kuid_t uid)
{
	struct kiln_user *user;

	list_for_each_entry(user, &limits->users, link)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

static struct kiln_user *kiln_limits_get(struct kiln_limits *limits, kuid_t uid)
{
	struct kiln_user *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL);
	struct kiln_user *user;

	if (!fresh)
		return NULL;
	spin_lock(&limits->lock);
	user = kiln_user_find_locked(limits, uid);
	if (!user) {
		user = fresh;
		fresh = NULL;
		user->limits = limits;
		user->uid = uid;
		list_add_tail(&user->link, &limits->users);
	}
	user->refs++;
	spin_unlock(&limits->lock);
	kfree(fresh);
	return user;
}

/* NULL: no memory. */
struct kiln_user *kiln_user_get(struct kiln_device *kdev, kuid_t uid)
{
	return kiln_limits_get(&kdev->limits, uid);
}

struct kiln_user *kiln_user_ref(struct kiln_user *user)
{
	spin_lock(&user->limits->lock);
	user->refs++;
	spin_unlock(&user->limits->lock);
	return user;
}

void kiln_user_put(struct kiln_user *user)
{
	struct kiln_limits *limits = user->limits;
	bool last;

	spin_lock(&limits->lock);
	last = !--user->refs && !user->own;
	if (last)
		list_del(&user->link);
	spin_unlock(&limits->lock);
	if (last)
		kfree(user);
}

/* It has @new instead of @old of this. -EDQUOT: more than it may. */
int kiln_user_charge(struct kiln_user *user, enum kiln_resource res, u64 old, u64 new)
{
	struct kiln_limits *limits = user->limits;
	u64 limit, others;
	int ret = 0;

	spin_lock(&limits->lock);
	limit = user->own ? user->limit[res] : limits->fallback[res];
	others = user->used[res] - old;
	if (new > old && (others > limit || new > limit - others))
		ret = -EDQUOT;
	else
		user->used[res] = others + new;
	spin_unlock(&limits->lock);
	return ret;
}

/* The same, whatever the limit: to give back, or by privilege. */
void kiln_user_force(struct kiln_user *user, enum kiln_resource res, u64 old, u64 new)
{
	spin_lock(&user->limits->lock);
	user->used[res] += new - old;
	spin_unlock(&user->limits->lock);
}

/* ---------------------------------------------------------------- sysfs -- */

/* "KEY=VALUE" for any of the resources, the others as they are. */
static int kiln_limits_parse(char *line, u64 limit[KILN_NUM_RES])
{
	char *word;

	while ((word = strsep(&line, " \t\n"))) {
		char *value, *end;
		int res;

		if (!*word)
			continue;
		value = strchr(word, '=');
		if (!value)
			return -EINVAL;
		*value++ = 0;
		res = match_string(kiln_resources, KILN_NUM_RES, word);
		if (res < 0)
			return -EINVAL;
		if (!strcmp(value, "max")) {
			limit[res] = KILN_NO_LIMIT;
			continue;
		}
		/* memparse() takes a lone suffix for a number */
		if (!isdigit(*value))
			return -EINVAL;
		limit[res] = memparse(value, &end);
		if (*end)
			return -EINVAL;
	}
	return 0;
}

static int kiln_limits_set_user(struct kiln_limits *limits, const char *who, char *rest)
{
	u64 limit[KILN_NUM_RES];
	struct kiln_user *user;
	bool none = sysfs_streq(rest, "none");
	kuid_t uid;
	u32 id;
	int ret;

	if (kstrtou32(who, 10, &id))
		return -EINVAL;
	uid = make_kuid(current_user_ns(), id);
	if (!uid_valid(uid))
		return -EINVAL;
	user = kiln_limits_get(limits, uid);
	if (!user)
		return -ENOMEM;

	spin_lock(&limits->lock);
	memcpy(limit, user->own ? user->limit : limits->fallback, sizeof(limit));
	ret = none ? 0 : kiln_limits_parse(rest, limit);
	if (!ret && !none && !user->own && limits->num_own == KILN_LIMITS_OWN)
		ret = -ENOSPC;
	if (!ret) {
		limits->num_own += !none - user->own;
		user->own = !none;
		memcpy(user->limit, limit, sizeof(limit));
	}
	spin_unlock(&limits->lock);
	kiln_user_put(user);
	return ret;
}

/* "UID|default KEY=VALUE...", or "UID none": as default again. Changes all of it, or nothing. */
int kiln_limits_set(struct kiln_limits *limits, char *line)
{
	u64 limit[KILN_NUM_RES];
	char *who;
	int ret;

	line = strim(line);
	who = strsep(&line, " \t");
	if (!line)
		return -EINVAL;
	if (strcmp(who, "default"))
		return kiln_limits_set_user(limits, who, skip_spaces(line));

	spin_lock(&limits->lock);
	memcpy(limit, limits->fallback, sizeof(limit));
	ret = kiln_limits_parse(line, limit);
	if (!ret)
		memcpy(limits->fallback, limit, sizeof(limit));
	spin_unlock(&limits->lock);
	return ret;
}

static int kiln_limits_show_line(char *buf, int at, const char *who, const u64 values[KILN_NUM_RES])
{
	int start = at;
	unsigned int i;

	at += sysfs_emit_at(buf, at, "%s", who);
	for (i = 0; i < KILN_NUM_RES; i++) {
		if (values[i] == KILN_NO_LIMIT)
			at += sysfs_emit_at(buf, at, " %s=max", kiln_resources[i]);
		else
			at += sysfs_emit_at(buf, at, " %s=%llu", kiln_resources[i], values[i]);
	}
	at += sysfs_emit_at(buf, at, "\n");
	return at - start;
}

static ssize_t kiln_limits_show_users(struct kiln_limits *limits, char *buf, bool usage)
{
	struct kiln_user *user;
	char who[16];
	int at = 0;

	spin_lock(&limits->lock);
	if (!usage)
		at += kiln_limits_show_line(buf, at, "default", limits->fallback);
	list_for_each_entry(user, &limits->users, link) {
		if (usage ? !user->refs : !user->own)
			continue;
		/* Of usage there may be more than a page. */
		if (at > PAGE_SIZE - KILN_LIMITS_LINE)
			break;
		snprintf(who, sizeof(who), "%u", from_kuid_munged(current_user_ns(), user->uid));
		at += kiln_limits_show_line(buf, at, who, usage ? user->used : user->limit);
	}
	spin_unlock(&limits->lock);
	return at;
}

ssize_t kiln_limits_show(struct kiln_limits *limits, char *buf)
{
	return kiln_limits_show_users(limits, buf, false);
}

ssize_t kiln_limits_show_usage(struct kiln_limits *limits, char *buf)
{
	return kiln_limits_show_users(limits, buf, true);
}
