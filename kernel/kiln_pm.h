/* SPDX-License-Identifier: GPL-2.0-only */
/* The card sleeps: with the machine, or because nobody has it open. */
#ifndef KILN_PM_H
#define KILN_PM_H

#include <linux/pm.h>

struct kiln_device;

extern const struct dev_pm_ops kiln_pm_ops;

void kiln_pm_start(struct kiln_device *kdev);
void kiln_pm_stop(struct kiln_device *kdev);
int kiln_pm_get(struct kiln_device *kdev);
void kiln_pm_get_again(struct kiln_device *kdev);
void kiln_pm_put(struct kiln_device *kdev);
bool kiln_pm_get_if_awake(struct kiln_device *kdev);

#endif
