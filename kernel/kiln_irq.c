// SPDX-License-Identifier: GPL-2.0-only
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/pci.h>

#include <drm/drm_print.h>

#include "kiln_drv.h"
#include "kiln_hw.h"
#include "kiln_queue.h"

/*
 * A hard handler, not a thread: what it does per completion is short (a copy,
 * and task work for whoever submitted), and a command's latency is the point.
 */
static bool kiln_irq_process(struct kiln_vector *vector)
{
	struct kiln_queue *queue;
	bool any = false;

	spin_lock(&vector->lock);
	list_for_each_entry(queue, &vector->queues, vector_link)
		any |= kiln_queue_process(queue);
	spin_unlock(&vector->lock);
	return any;
}

static irqreturn_t kiln_irq_queues(int irq, void *data)
{
	kiln_irq_process(data);
	return IRQ_HANDLED;
}

/* Vector 0: the admin queue, and changes of the card's state. */
static irqreturn_t kiln_irq_admin(int irq, void *data)
{
	struct kiln_vector *vector = data;
	struct kiln_device *kdev = vector->kdev;
	bool any;

	any = kiln_irq_process(vector);
	any |= kiln_admin_process(kdev);
	if (!any && kiln_hw_read(kdev, KILN_REG_STATUS) == KILN_STATE_FAILED)
		kiln_hw_broken(kdev, READ_ONCE(kdev->epoch));
	return IRQ_HANDLED;
}

int kiln_irq_init(struct kiln_device *kdev)
{
	struct pci_dev *pdev = to_pci_dev(kdev->drm.dev);
	int wanted = clamp(num_online_cpus() + 1, 2u, (unsigned int)KILN_MSIX_VECTORS);
	int count, ret, i;

	count = pci_alloc_irq_vectors(pdev, 1, wanted, PCI_IRQ_MSIX);
	if (count < 0) {
		drm_err(&kdev->drm, "no MSI-X vectors: %d\n", count);
		return count;
	}
	for (i = 0; i < count; i++) {
		struct kiln_vector *vector = &kdev->vectors[i];

		vector->kdev = kdev;
		spin_lock_init(&vector->lock);
		INIT_LIST_HEAD(&vector->queues);
		vector->irq = pci_irq_vector(pdev, i);
		snprintf(vector->name, sizeof(vector->name), "kiln-%s-%d", pci_name(pdev), i);
		ret = request_irq(vector->irq, i ? kiln_irq_queues : kiln_irq_admin, 0,
				  vector->name, vector);
		if (ret) {
			drm_err(&kdev->drm, "interrupt %d: %d\n", vector->irq, ret);
			kiln_irq_fini(kdev);
			return ret;
		}
		kdev->num_vectors = i + 1;
	}
	return 0;
}

void kiln_irq_fini(struct kiln_device *kdev)
{
	while (kdev->num_vectors) {
		struct kiln_vector *vector = &kdev->vectors[--kdev->num_vectors];

		free_irq(vector->irq, vector);
	}
	pci_free_irq_vectors(to_pci_dev(kdev->drm.dev));
}

/* Round robin by queue number, past the admin queue's vector if there is another. */
void kiln_irq_add_queue(struct kiln_device *kdev, struct kiln_queue *queue)
{
	unsigned int count = READ_ONCE(kdev->num_vectors);
	struct kiln_vector *vector;

	queue->vector = count > 1 ? 1 + queue->hw_id % (count - 1) : 0;
	vector = &kdev->vectors[queue->vector];
	spin_lock_irq(&vector->lock);
	list_add_tail(&queue->vector_link, &vector->queues);
	spin_unlock_irq(&vector->lock);
}

/* On return no interrupt handler looks at the queue. */
void kiln_irq_remove_queue(struct kiln_device *kdev, struct kiln_queue *queue)
{
	struct kiln_vector *vector = &kdev->vectors[queue->vector];

	spin_lock_irq(&vector->lock);
	list_del_init(&queue->vector_link);
	spin_unlock_irq(&vector->lock);
}
