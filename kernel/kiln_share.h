/* SPDX-License-Identifier: GPL-2.0-only */
/* What a VM gets of the card's time, and who may ask for how much. */
#ifndef KILN_SHARE_H
#define KILN_SHARE_H

#include <linux/types.h>

struct drm_device;
struct drm_file;
struct kiln_device;
struct kiln_user;

#define KILN_WEIGHT_DEFAULT	64

/**
 * struct kiln_share - a VM's share of the card
 */
struct kiln_share {
	/** @weight: 1 to KILN_WEIGHT_MAX. */
	u32 weight;
	/** @priority: enum drm_kiln_priority, which is enum kiln_priority. */
	u32 priority;
	/** @min_share: promised, in thousandths. */
	u32 min_share;
};

extern const struct kiln_share kiln_no_share;

int kiln_share_check(struct kiln_device *kdev, const struct kiln_share *now,
		     struct kiln_share *wanted);
int kiln_share_charge(struct kiln_device *kdev, struct kiln_user *user,
		      const struct kiln_share *old, const struct kiln_share *new);
void kiln_share_uncharge(struct kiln_user *user, const struct kiln_share *old,
			 const struct kiln_share *new);
int kiln_vm_share_ioctl(struct drm_device *drm, void *data, struct drm_file *file);

#endif
