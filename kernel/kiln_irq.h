/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KILN_IRQ_H
#define KILN_IRQ_H

#include <linux/list.h>
#include <linux/spinlock.h>

struct kiln_device;
struct kiln_queue;

/**
 * struct kiln_vector - one MSI-X vector
 */
struct kiln_vector {
	/** @kdev: the card. */
	struct kiln_device *kdev;
	/** @irq: Linux's number. */
	int irq;
	/** @lock: @queues. */
	spinlock_t lock;
	/** @queues: struct kiln_queue that the card signals with this vector. */
	struct list_head queues;
	/** @name: in /proc/interrupts. */
	char name[32];
};

int kiln_irq_init(struct kiln_device *kdev);
void kiln_irq_fini(struct kiln_device *kdev);
void kiln_irq_add_queue(struct kiln_device *kdev, struct kiln_queue *queue);
void kiln_irq_remove_queue(struct kiln_device *kdev, struct kiln_queue *queue);

#endif
