/* SPDX-License-Identifier: GPL-2.0-only */
/* Attributes of the card. */
#ifndef KILN_SYSFS_H
#define KILN_SYSFS_H

struct attribute_group;

extern const struct attribute_group *kiln_sysfs_groups[];

#endif
