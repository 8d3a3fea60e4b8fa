/*
 * Kiln accelerator card: what the card reaches outside of itself
 *
 * These are called by the card's own threads, most of them with the card's
 * lock held, so nothing in here may wait for the BQL: its owner may be waiting
 * for the card.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/pci/msix.h"
#include "system/dma.h"
#include "kiln.h"
#include "trace.h"

/* What a thread waits for the main loop to do; lives on the thread's stack. */
struct KilnTask {
    KilnTaskFunc *func;
    void *arg;
    bool done;
    QSIMPLEQ_ENTRY(KilnTask) next;
};

/* With the BQL: what threads wait for. */
void kiln_host_tasks(KilnState *s)
{
    struct KilnTask *task;

    qemu_mutex_lock(&s->task_lock);
    while ((task = QSIMPLEQ_FIRST(&s->tasks))) {
        QSIMPLEQ_REMOVE_HEAD(&s->tasks, next);
        /* It stays: nobody can begin to refuse now, that needs the BQL. */
        qemu_mutex_unlock(&s->task_lock);
        task->func(s, task->arg);
        qemu_mutex_lock(&s->task_lock);
        task->done = true;
    }
    qemu_cond_broadcast(&s->task_done);
    qemu_mutex_unlock(&s->task_lock);
}

static void kiln_task_bh(void *opaque)
{
    kiln_host_tasks(opaque);
}

/*
 * Do something that may lead to DMA, called without the card's lock by the
 * card's threads, or by anybody with the BQL. False: refused.
 */
bool kiln_host_task(KilnState *s, KilnTaskFunc *func, void *arg)
{
    struct KilnTask task = { .func = func, .arg = arg };

    if (!qatomic_read(&s->iommu) || bql_locked()) {
        func(s, arg);
        return true;
    }

    QEMU_LOCK_GUARD(&s->task_lock);
    if (s->refuse_tasks) {
        return false;
    }
    QSIMPLEQ_INSERT_TAIL(&s->tasks, &task, next);
    qemu_bh_schedule(s->task_bh);
    while (!task.done) {
        if (s->refuse_tasks) {
            QSIMPLEQ_REMOVE(&s->tasks, &task, KilnTask, next);
            return false;
        }
        qemu_cond_wait(&s->task_done, &s->task_lock);
    }
    return true;
}

/* With the BQL: from here on no thread waits for it, or they may again. */
void kiln_host_refuse(KilnState *s, bool refuse)
{
    QEMU_LOCK_GUARD(&s->task_lock);
    s->refuse_tasks = refuse;
    qemu_cond_broadcast(&s->task_done);
}

typedef struct KilnMapping {
    uint64_t addr;
    dma_addr_t len;
    DMADirection dir;
    void *host;
} KilnMapping;

/*
 * Memory only. dma_memory_rw() would take the BQL for anything else; mapping
 * fails instead, since this address space was left no bounce buffer.
 */
static void kiln_map_task(KilnState *s, void *arg)
{
    KilnMapping *m = arg;

    m->host = dma_memory_map(pci_get_address_space(PCI_DEVICE(s)), m->addr,
                             &m->len, m->dir, (MemTxAttrs) { .memory = 1 });
}

/* The first piece of [addr, addr + *len); NULL: no memory there. */
static void *kiln_map(KilnState *s, uint64_t addr, dma_addr_t *len,
                      DMADirection dir)
{
    KilnMapping m = { .addr = addr, .len = *len, .dir = dir };

    if (qatomic_read(&s->gone) ||
        !kiln_host_task(s, kiln_map_task, &m) || !m.host || !m.len) {
        trace_kiln_dma_error(addr, *len, dir == DMA_DIRECTION_FROM_DEVICE);
        return NULL;
    }
    *len = m.len;
    return m.host;
}

static void kiln_unmap(KilnState *s, void *host, dma_addr_t len,
                       DMADirection dir)
{
    dma_memory_unmap(pci_get_address_space(PCI_DEVICE(s)), host, len, dir, len);
}

/* The card's HBM can lie on both ends of a transfer, hence memmove. */

static bool kiln_dma_read(void *opaque, uint64_t addr, void *buf, size_t size)
{
    KilnState *s = opaque;

    while (size) {
        dma_addr_t len = size;
        void *host = kiln_map(s, addr, &len, DMA_DIRECTION_TO_DEVICE);

        if (!host) {
            return false;
        }
        memmove(buf, host, len);
        kiln_unmap(s, host, len, DMA_DIRECTION_TO_DEVICE);
        addr += len;
        buf += len;
        size -= len;
    }
    return true;
}

static bool kiln_dma_write(void *opaque, uint64_t addr, const void *buf,
                           size_t size)
{
    KilnState *s = opaque;

    while (size) {
        dma_addr_t len = size;
        void *host = kiln_map(s, addr, &len, DMA_DIRECTION_FROM_DEVICE);

        if (!host) {
            return false;
        }
        memmove(host, buf, len);
        kiln_unmap(s, host, len, DMA_DIRECTION_FROM_DEVICE);
        addr += len;
        buf += len;
        size -= len;
    }
    return true;
}

/* Map what is to be accessed at once. */
static void *kiln_map_word(KilnState *s, uint64_t addr, dma_addr_t size,
                           DMADirection dir)
{
    dma_addr_t len = size;
    void *host;

    if (addr % size) {
        return NULL;
    }
    host = kiln_map(s, addr, &len, dir);
    if (host && (len != size || (uintptr_t)host % size)) {
        kiln_unmap(s, host, 0, dir);
        return NULL;
    }
    return host;
}

#define KILN_DEFINE_WORD(bits)                                              \
static bool kiln_load##bits(void *opaque, uint64_t addr,                    \
                            uint##bits##_t *value)                          \
{                                                                           \
    uint##bits##_t *p = kiln_map_word(opaque, addr, sizeof(*p),             \
                                      DMA_DIRECTION_TO_DEVICE);             \
                                                                            \
    if (!p) {                                                               \
        return false;                                                       \
    }                                                                       \
    *value = le##bits##_to_cpu(qatomic_load_acquire(p));                    \
    kiln_unmap(opaque, p, sizeof(*p), DMA_DIRECTION_TO_DEVICE);             \
    return true;                                                            \
}                                                                           \
                                                                            \
static bool kiln_store##bits(void *opaque, uint64_t addr,                   \
                             uint##bits##_t value)                          \
{                                                                           \
    uint##bits##_t *p = kiln_map_word(opaque, addr, sizeof(*p),             \
                                      DMA_DIRECTION_FROM_DEVICE);           \
                                                                            \
    if (!p) {                                                               \
        return false;                                                       \
    }                                                                       \
    qatomic_store_release(p, cpu_to_le##bits(value));                       \
    kiln_unmap(opaque, p, sizeof(*p), DMA_DIRECTION_FROM_DEVICE);           \
    return true;                                                            \
}

KILN_DEFINE_WORD(32)
KILN_DEFINE_WORD(64)

static void kiln_interrupt(void *opaque, unsigned int vector)
{
    KilnState *s = opaque;

    trace_kiln_interrupt(vector);
    if (vector >= KILN_MSIX_VECTORS || qatomic_read(&s->gone) ||
        (qatomic_read(&s->lose_irq) && qatomic_xchg(&s->lose_irq, false))) {
        return;
    }
    /* Not the first: the bottom half is on its way already. */
    if (!qatomic_fetch_or(&s->pending, 1u << vector) && !s->answering) {
        qemu_bh_schedule(s->msix_bh);
    }
}

/* With the BQL: raise what is pending. */
void kiln_host_interrupts(KilnState *s)
{
    uint32_t pending = qatomic_xchg(&s->pending, 0);

    QEMU_BUILD_BUG_ON(KILN_MSIX_VECTORS > 32);
    for (; pending; pending &= pending - 1) {
        msix_notify(PCI_DEVICE(s), ctz32(pending));
    }
}

static void kiln_msix_bh(void *opaque)
{
    kiln_host_interrupts(opaque);
}

static void kiln_kick(void *opaque)
{
    kiln_pool_kick(opaque);
}

static bool kiln_discard(void *opaque, uint64_t offset, uint64_t len)
{
    KilnState *s = opaque;

    return !ram_block_discard_range(s->hbm.ram_block, offset, len);
}

/* While the machine moves: this has to be sent again. */
static void kiln_written(void *opaque, uint64_t offset, uint64_t len)
{
    KilnState *s = opaque;

    memory_region_set_dirty(&s->hbm, offset, len);
}

/* Host time, even if the guest's stands still: host threads are timed. */
static uint64_t kiln_now_ns(void *opaque)
{
    return get_clock();
}

static void kiln_log(void *opaque, enum kiln_sim_log_level level,
                     const char *text)
{
    trace_kiln_log(level, text);
    switch (level) {
    case KILN_SIM_LOG_GUEST_ERROR:
        qemu_log_mask(LOG_GUEST_ERROR, "kiln: %s\n", text);
        break;
    case KILN_SIM_LOG_ERROR:
    case KILN_SIM_LOG_SANITIZER:
        warn_report("kiln: %s", text);
        break;
    default:
        break;
    }
}

const struct kiln_sim_host kiln_host = {
    .dma_read = kiln_dma_read,
    .dma_write = kiln_dma_write,
    .load32 = kiln_load32,
    .store32 = kiln_store32,
    .load64 = kiln_load64,
    .store64 = kiln_store64,
    .interrupt = kiln_interrupt,
    .kick = kiln_kick,
    .discard = kiln_discard,
    .written = kiln_written,
    .now_ns = kiln_now_ns,
    .log = kiln_log,
};

void kiln_host_init(KilnState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    MemReentrancyGuard *guard = &DEVICE(s)->mem_reentrancy_guard;

    pdev->bus_master_as.max_bounce_buffer_size = 0;
    s->msix_bh = qemu_bh_new_guarded(kiln_msix_bh, s, guard);
    s->task_bh = qemu_bh_new_guarded(kiln_task_bh, s, guard);
    qemu_mutex_init(&s->task_lock);
    qemu_cond_init(&s->task_done);
    QSIMPLEQ_INIT(&s->tasks);
}

void kiln_host_cleanup(KilnState *s)
{
    qemu_cond_destroy(&s->task_done);
    qemu_mutex_destroy(&s->task_lock);
    qemu_bh_delete(s->task_bh);
    qemu_bh_delete(s->msix_bh);
}
