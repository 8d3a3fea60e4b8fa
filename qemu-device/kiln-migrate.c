/*
 * Kiln accelerator card: stopped with its machine, saved, migrated
 *
 * The card's library knows how to pause in the middle of a program and how to
 * lay its state out; what comes in is checked there. HBM is memory of the
 * machine and goes the way of all memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"
#include "exec/address-spaces.h"
#include "hw/pci/msix.h"
#include "migration/qemu-file-types.h"
#include "migration/vmstate.h"
#include "system/runstate.h"
#include "kiln.h"

#define KILN_PAUSE_NS       (10 * NANOSECONDS_PER_SECOND)
#define KILN_PAUSE_LOOK_NS  (1 * SCALE_MS)

/*
 * With the BQL. False: a core does not come out, as one with a stuck DMA.
 * Threads behind an IOMMU wait for the main loop, which is busy in here.
 */
static bool kiln_pause(KilnState *s)
{
    int64_t end = get_clock() + KILN_PAUSE_NS;
    bool idle;

    kiln_lock(s);
    kiln_sim_pause(s->sim);
    for (;;) {
        kiln_pool_retire(s);
        idle = kiln_sim_idle(s->sim);
        kiln_unlock(s);
        if (idle || get_clock() > end) {
            break;
        }
        kiln_host_tasks(s);
        kiln_pool_wait(s, get_clock() + KILN_PAUSE_LOOK_NS);
        kiln_lock(s);
    }
    kiln_host_interrupts(s);
    if (!s->tracked) {
        /* The engines have written to HBM, and nobody has taken note of it. */
        memory_region_set_dirty(&s->hbm, 0, s->hbm_size);
    }
    return idle;
}

static void kiln_resume(KilnState *s)
{
    kiln_lock(s);
    kiln_sim_resume(s->sim);
    kiln_unlock(s);
    kiln_pool_kick(s);
}

/*
 * While a machine moves, HBM that the card has written is sent again, and no
 * more than that. The cores have to come out for it: what one is about to write
 * would be missed. If one does not, all of HBM is sent in the end.
 */
static void kiln_track(KilnState *s, bool on)
{
    if (kiln_pause(s)) {
        kiln_lock(s);
        kiln_sim_track(s->sim, on);
        kiln_unlock(s);
        s->tracked = on;
    }
    if (runstate_is_running()) {
        kiln_resume(s);
    }
}

static bool kiln_log_start(MemoryListener *listener, Error **errp)
{
    kiln_track(container_of(listener, KilnState, listener), true);
    return true;
}

static void kiln_log_stop(MemoryListener *listener)
{
    kiln_track(container_of(listener, KilnState, listener), false);
}

/* What a machine does while it is stopped takes no time, on the card either. */
static void kiln_vm_change(void *opaque, bool running, RunState state)
{
    KilnState *s = opaque;

    if (!running) {
        kiln_pause(s);
        return;
    }
    kiln_resume(s);
}

static int kiln_pre_save(void *opaque)
{
    KilnState *s = opaque;
    const char *wrong = NULL;

    if (s->gone || s->stuck) {
        wrong = "it does not answer until it is reset";
    } else if (!kiln_pause(s)) {
        wrong = "a core does not stop";
    }
    if (wrong) {
        error_report("kiln: the card cannot be saved: %s", wrong);
        return -EBUSY;
    }
    return 0;
}

static bool kiln_put_bytes(void *opaque, void *data, size_t size)
{
    qemu_put_buffer(opaque, data, size);
    return true;
}

static bool kiln_get_bytes(void *opaque, void *data, size_t size)
{
    return qemu_get_buffer(opaque, data, size) == size;
}

static int kiln_put_sim(QEMUFile *f, void *pv, size_t size,
                        const VMStateField *field, JSONWriter *vmdesc)
{
    KilnState *s = container_of(pv, KilnState, sim);
    const char *wrong;

    kiln_lock(s);
    wrong = kiln_sim_save(s->sim, kiln_put_bytes, f);
    kiln_unlock(s);
    if (wrong) {
        error_report("kiln: the card cannot be saved: %s", wrong);
        return -EINVAL;
    }
    return 0;
}

static int kiln_get_sim(QEMUFile *f, void *pv, size_t size,
                        const VMStateField *field)
{
    KilnState *s = container_of(pv, KilnState, sim);
    const char *wrong;

    kiln_lock(s);
    wrong = kiln_sim_load(s->sim, kiln_get_bytes, f);
    kiln_unlock(s);
    if (wrong) {
        error_report("kiln: the card cannot be loaded: %s", wrong);
        return -EINVAL;
    }
    return 0;
}

static const VMStateInfo kiln_vmstate_sim = {
    .name = "kiln-sim",
    .put = kiln_put_sim,
    .get = kiln_get_sim,
};

const VMStateDescription kiln_vmstate = {
    .name = TYPE_KILN,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = kiln_pre_save,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, KilnState),
        VMSTATE_MSIX(parent_obj, KilnState),
        {
            .name = "sim",
            .info = &kiln_vmstate_sim,
            .size = sizeof(struct kiln_sim *),
            .flags = VMS_SINGLE,
            .offset = offsetof(KilnState, sim),
        },
        VMSTATE_END_OF_LIST()
    }
};

void kiln_migrate_init(KilnState *s)
{
    s->vm_change = qemu_add_vm_change_state_handler(kiln_vm_change, s);
    s->listener = (MemoryListener) {
        .name = TYPE_KILN,
        .log_global_start = kiln_log_start,
        .log_global_stop = kiln_log_stop,
    };
    memory_listener_register(&s->listener, &address_space_memory);
}

void kiln_migrate_cleanup(KilnState *s)
{
    memory_listener_unregister(&s->listener);
    qemu_del_vm_change_state_handler(s->vm_change);
}
