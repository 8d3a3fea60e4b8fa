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

/*
 * Memory only. dma_memory_rw() would take the BQL for anything else; mapping
 * fails instead, since realize leaves this address space no bounce buffer.
 */
static const MemTxAttrs kiln_attrs = { .memory = 1 };

/* The part of [addr, addr + *len) that is in one piece; NULL: no memory there. */
static void *kiln_map(KilnState *s, uint64_t addr, dma_addr_t *len,
                      DMADirection dir)
{
    dma_addr_t wanted = *len;
    void *host = dma_memory_map(pci_get_address_space(PCI_DEVICE(s)), addr,
                                len, dir, kiln_attrs);

    if (!host || !*len) {
        trace_kiln_dma_error(addr, wanted, dir == DMA_DIRECTION_FROM_DEVICE);
        return NULL;
    }
    return host;
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
    if (vector >= KILN_MSIX_VECTORS) {
        return;
    }
    /* Not the first: the bottom half is on its way already. */
    if (!qatomic_fetch_or(&s->pending, 1u << vector)) {
        qemu_bh_schedule(s->bh);
    }
}

/* Bottom half, so with the BQL. */
void kiln_raise_pending(void *opaque)
{
    KilnState *s = opaque;
    uint32_t pending = qatomic_xchg(&s->pending, 0);

    QEMU_BUILD_BUG_ON(KILN_MSIX_VECTORS > 32);
    for (; pending; pending &= pending - 1) {
        msix_notify(PCI_DEVICE(s), ctz32(pending));
    }
}

static void kiln_kick(void *opaque)
{
    kiln_pool_kick(opaque);
}

/* Host time, also while the guest's stands still: a host thread is what is timed. */
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
    .now_ns = kiln_now_ns,
    .log = kiln_log,
};
