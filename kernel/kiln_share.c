// SPDX-License-Identifier: GPL-2.0-only
#include <linux/capability.h>

#include <drm/drm_print.h>

#include "kiln_drv.h"
#include "kiln_share.h"
#include "kiln_vm.h"

static_assert(DRM_KILN_PRIORITY_NORMAL == (int)KILN_PRIORITY_NORMAL);
static_assert(DRM_KILN_PRIORITY_LOW == (int)KILN_PRIORITY_LOW);
static_assert(DRM_KILN_PRIORITY_HIGH == (int)KILN_PRIORITY_HIGH);

const struct kiln_share kiln_no_share;

/* May the caller change its share like this? Fills defaults in. */
int kiln_share_check(struct kiln_device *kdev, const struct kiln_share *now,
		     struct kiln_share *wanted)
{
	if (!wanted->weight)
		wanted->weight = KILN_WEIGHT_DEFAULT;
	if (wanted->weight > KILN_WEIGHT_MAX)
		return kiln_bad(kdev, -EINVAL, "weight %u", wanted->weight);
	if (wanted->priority >= KILN_PRIORITIES)
		return kiln_bad(kdev, -EINVAL, "priority %u", wanted->priority);
	if (wanted->min_share > KILN_MIN_SHARE_SUM)
		return kiln_bad(kdev, -EINVAL, "min_share %u", wanted->min_share);
	if (wanted->priority == DRM_KILN_PRIORITY_HIGH &&
	    now->priority != DRM_KILN_PRIORITY_HIGH && !capable(CAP_SYS_NICE))
		return kiln_bad(kdev, -EPERM, "high priority needs CAP_SYS_NICE");
	return 0;
}

/* The user has @new instead of @old, if he may. */
int kiln_share_charge(struct kiln_device *kdev, struct kiln_user *user,
		      const struct kiln_share *old, const struct kiln_share *new)
{
	int ret;

	ret = kiln_user_charge(user, KILN_RES_WEIGHT, old->weight, new->weight);
	if (ret)
		return kiln_bad(kdev, ret, "weight %u is beyond the user's limit", new->weight);
	ret = kiln_user_charge(user, KILN_RES_MIN_SHARE, old->min_share, new->min_share);
	if (!ret)
		return 0;
	if (capable(CAP_SYS_NICE)) {
		kiln_user_force(user, KILN_RES_MIN_SHARE, old->min_share, new->min_share);
		return 0;
	}
	kiln_user_force(user, KILN_RES_WEIGHT, new->weight, old->weight);
	return kiln_bad(kdev, -EPERM, "min_share %u needs CAP_SYS_NICE, or a limit that grants it",
			new->min_share);
}

/* It has @new instead of @old again, which is less, or what it had. */
void kiln_share_uncharge(struct kiln_user *user, const struct kiln_share *old,
			 const struct kiln_share *new)
{
	kiln_user_force(user, KILN_RES_WEIGHT, old->weight, new->weight);
	kiln_user_force(user, KILN_RES_MIN_SHARE, old->min_share, new->min_share);
}

static int kiln_vm_share_locked(struct kiln_vm *vm, const struct drm_kiln_vm_share *args)
{
	struct kiln_share share = vm->share;
	int ret;

	if (args->flags & DRM_KILN_SHARE_WEIGHT)
		share.weight = args->weight;
	if (args->flags & DRM_KILN_SHARE_PRIORITY)
		share.priority = args->priority;
	if (args->flags & DRM_KILN_SHARE_MIN_SHARE)
		share.min_share = args->min_share;
	ret = kiln_share_check(vm->kdev, &vm->share, &share);
	if (ret)
		return ret;
	ret = kiln_share_charge(vm->kdev, vm->user, &vm->share, &share);
	if (ret)
		return ret;
	ret = kiln_admin_context_share(vm->kdev, vm->epoch, vm->hw_id, &share);
	if (ret) {
		kiln_share_uncharge(vm->user, &share, &vm->share);
		return kiln_bad(vm->kdev, ret, "the card refuses weight %u, min_share %u",
				share.weight, share.min_share);
	}
	vm->share = share;
	return 0;
}

int kiln_vm_share_ioctl(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct kiln_device *kdev = to_kiln_device(drm);
	struct kiln_file *kfile = file->driver_priv;
	struct drm_kiln_vm_share *args = data;
	struct kiln_vm *vm;
	int ret;

	if (!args->flags || args->flags & ~(DRM_KILN_SHARE_WEIGHT | DRM_KILN_SHARE_PRIORITY |
					    DRM_KILN_SHARE_MIN_SHARE))
		return kiln_bad(kdev, -EINVAL, "flags %#x", args->flags);
	if ((args->weight && !(args->flags & DRM_KILN_SHARE_WEIGHT)) ||
	    (args->priority && !(args->flags & DRM_KILN_SHARE_PRIORITY)) ||
	    (args->min_share && !(args->flags & DRM_KILN_SHARE_MIN_SHARE)))
		return kiln_bad(kdev, -EINVAL, "a field without its flag, flags %#x", args->flags);
	if (args->pad)
		return kiln_bad(kdev, -EINVAL, "pad %#x", args->pad);

	/* One change at a time, and the VM stays. */
	mutex_lock(&kfile->lock);
	vm = xa_load(&kfile->vms, args->vm_id);
	if (vm)
		ret = kiln_vm_share_locked(vm, args);
	else
		ret = kiln_bad(kdev, -ENOENT, "vm_id %u", args->vm_id);
	mutex_unlock(&kfile->lock);
	return ret;
}
