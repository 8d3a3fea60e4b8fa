/*
 * Kiln accelerator card: the outside of the card as a PCI device
 *
 * The inside (firmware, engines, memories) is the library behind kiln_sim.h.
 * This directory gives it BARs, interrupts, DMA, threads and a clock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_MISC_KILN_H
#define HW_MISC_KILN_H

#include "hw/pci/pci_device.h"
#include "migration/vmstate.h"
#include "qemu/notify.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "qom/object.h"
#include "system/runstate.h"

#include "kiln/hw.h"
#include "kiln_sim.h"

#define TYPE_KILN "kiln"
OBJECT_DECLARE_SIMPLE_TYPE(KilnState, KILN)

/*
 * The card's threads: one more than may compute at a time, so that there is
 * always one to look after queues and watchdog. All run the same loop. Each is
 * on duty (it will look at the card once more before it does anything else),
 * computing, or asleep; one of those asleep is the keeper, who wakes up by
 * himself when the card's deadline comes.
 */
typedef struct KilnPool {
    QemuThread thread[KILN_MAX_CORES + 1];
    unsigned count;         /* threads that exist */
    QemuMutex lock;         /* of what follows; inside the card's lock */
    QemuCond work;          /* for sleepers */
    QemuCond alarm;         /* for the keeper */
    QemuCond came_out;      /* ran has a new bit */
    uint32_t ran;           /* cores that have run and were not retired yet */
    unsigned on_duty;       /* a thread counts from the moment it is called */
    unsigned sleepers;      /* asleep and not called, without the keeper */
    unsigned calls;         /* sleepers called and not awake yet */
    bool keeper;            /* there is one, not called */
    bool keeper_called;
    bool wanted;            /* called, but nobody slept: next who wants to */
    uint64_t deadline;      /* the keeper's, in ns of get_clock() */
    bool quit;
    bool kicked;            /* atomic: something happened since the last look */
    bool stick;             /* the next core that has run is not let out */
    uint32_t stuck;         /* cores that were not, until somebody resets */
} KilnPool;

/* Faults that can be injected, see kiln-inject.c. */
enum {
    KILN_INJECT_FIRMWARE_CRASH,
    KILN_INJECT_FIRMWARE_HANG,
    KILN_INJECT_LOST_IRQ,
    KILN_INJECT_STUCK_DMA,
    KILN_INJECT_BAD_COMPLETION,
    KILN_INJECT_BAD_INDEX,
    KILN_INJECT_ALL_ONES,
    KILN_INJECT_KINDS
};

typedef struct KilnInject {
    bool wanted;
    uint64_t after;         /* commands that are to run before */
} KilnInject;

struct KilnState {
    PCIDevice parent_obj;

    /* properties */
    char *generation;
    uint32_t cores;
    uint64_t hbm_size;
    uint32_t threads;
    bool sanitize;
    Error *unmovable;       /* why the card cannot migrate; NULL: it can */

    MemoryRegion bar0;
    MemoryRegion regs;
    MemoryRegion doorbells;
    MemoryRegion hbm;
    MemoryRegion ones;      /* in front of hbm when the card is gone */

    QemuMutex turn;         /* a queue before lock, see kiln_lock() */
    QemuMutex lock;         /* the card's lock of kiln_sim.h; inside the BQL */
    struct kiln_sim *sim;
    size_t sim_size;
    unsigned computing;     /* threads inside kiln_sim_run(), or about to be */
    bool stuck;             /* a core did not stop: off until it does */
    VMChangeStateEntry *vm_change;
    MemoryListener listener;
    bool tracked;           /* what the card writes to HBM is marked as it goes */
    Notifier suspend;       /* the machine goes to S3: the card loses its power */
    KilnPool pool;

    QEMUBH *msix_bh;
    uint32_t pending;       /* atomic: MSI-X vectors that msix_bh is to raise */
    bool answering;         /* a doorbell, in kiln_pool_doorbell(); with lock */
    uint64_t answer_ns;     /* spent there, in all; with the BQL */

    KilnInject inject[KILN_INJECT_KINDS];   /* what has not happened yet */
    bool lose_irq;          /* atomic: the next one gets lost */
    bool gone;              /* atomic: reads as all ones, until it is reset */
    QEMUBH *gone_bh;

    /*
     * Behind an IOMMU, every DMA needs the BQL: QEMU's IOMMUs raise interrupts
     * and change the memory map while they translate. The threads have the main
     * loop do it, so that whoever has the BQL and waits for them can refuse.
     */
    bool iommu;             /* atomic; changes while the card is off */
    QEMUBH *task_bh;
    QemuMutex task_lock;    /* of what follows */
    QemuCond task_done;
    QSIMPLEQ_HEAD(, KilnTask) tasks;
    bool refuse_tasks;
};

typedef void KilnTaskFunc(KilnState *s, void *arg);

/* kiln-host.c */
extern const struct kiln_sim_host kiln_host;
void kiln_host_init(KilnState *s);
void kiln_host_cleanup(KilnState *s);
bool kiln_host_task(KilnState *s, KilnTaskFunc *func, void *arg);
void kiln_host_refuse(KilnState *s, bool refuse);
void kiln_host_interrupts(KilnState *s);
void kiln_host_tasks(KilnState *s);

/* kiln-inject.c */
void kiln_inject_init(KilnState *s);
void kiln_inject_cleanup(KilnState *s);
void kiln_inject_class_init(ObjectClass *class);
void kiln_inject_retired(KilnState *s);
void kiln_inject_reset(KilnState *s);

/* kiln-migrate.c */
extern const VMStateDescription kiln_vmstate;
void kiln_migrate_init(KilnState *s);
void kiln_migrate_cleanup(KilnState *s);

/* kiln-pool.c */
void kiln_lock(KilnState *s);
void kiln_unlock(KilnState *s);
void kiln_pool_start(KilnState *s);
void kiln_pool_stop(KilnState *s);
void kiln_pool_kick(KilnState *s);
void kiln_pool_doorbell(KilnState *s, unsigned queue);
void kiln_pool_retire(KilnState *s);
bool kiln_pool_wait(KilnState *s, int64_t end);
void kiln_pool_unstick(KilnState *s);

#endif
