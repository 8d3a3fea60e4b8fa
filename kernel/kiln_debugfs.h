/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KILN_DEBUGFS_H
#define KILN_DEBUGFS_H

struct kiln_device;

void kiln_debugfs_init(struct kiln_device *kdev);

#endif
