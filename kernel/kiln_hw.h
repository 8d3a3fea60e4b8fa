/* SPDX-License-Identifier: GPL-2.0-only */
/* Registers, boot handshake, reset. */
#ifndef KILN_HW_REGS_H
#define KILN_HW_REGS_H

#include <linux/io.h>

#include "kiln_drv.h"

static inline u32 kiln_hw_read(struct kiln_device *kdev, u32 offset)
{
	return readl(kdev->regs + offset);
}

static inline void kiln_hw_write(struct kiln_device *kdev, u32 offset, u32 value)
{
	writel(value, kdev->regs + offset);
}

static inline void kiln_hw_doorbell(struct kiln_device *kdev, u32 queue)
{
	writel(0, kdev->regs + KILN_DOORBELL(queue));
}

int kiln_hw_init(struct kiln_device *kdev);
int kiln_hw_boot(struct kiln_device *kdev);
void kiln_hw_stop(struct kiln_device *kdev);
void kiln_hw_reset(struct kiln_device *kdev, u32 epoch, const char *why);
void kiln_hw_broken(struct kiln_device *kdev, u32 epoch);
void kiln_hw_reset_prepare(struct kiln_device *kdev);
void kiln_hw_reset_done(struct kiln_device *kdev);
void kiln_hw_sleep(struct kiln_device *kdev);
int kiln_hw_wake(struct kiln_device *kdev);
void kiln_hw_start_watchdog(struct kiln_device *kdev);
void kiln_hw_stop_watchdog(struct kiln_device *kdev);

#endif
