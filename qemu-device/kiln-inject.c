/*
 * Kiln accelerator card: faults on demand
 *
 * The property "inject" says what is to go wrong, for those who test a driver:
 * KIND[:after=N], several of them joined by '+'. N counts commands that are to
 * run before; without it the fault happens at once, or at the next opportunity.
 * It can be set at any time, by qom-set too. "none" takes back what has not
 * happened yet, and powers up a card that is gone; the others end with a reset.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "kiln.h"
#include "trace.h"

static const char *const kiln_inject_names[KILN_INJECT_KINDS] = {
    [KILN_INJECT_FIRMWARE_CRASH] = "firmware-crash",
    [KILN_INJECT_FIRMWARE_HANG] = "firmware-hang",
    [KILN_INJECT_LOST_IRQ] = "lost-irq",
    [KILN_INJECT_STUCK_DMA] = "stuck-dma",
    [KILN_INJECT_BAD_COMPLETION] = "bad-completion",
    [KILN_INJECT_BAD_INDEX] = "bad-index",
    [KILN_INJECT_ALL_ONES] = "all-ones",
};

/* Card locked. */
static void kiln_inject_now(KilnState *s, int kind)
{
    trace_kiln_inject(kiln_inject_names[kind]);
    switch (kind) {
    case KILN_INJECT_FIRMWARE_CRASH:
        kiln_sim_inject(s->sim, KILN_SIM_FAULT_CRASH);
        break;
    case KILN_INJECT_FIRMWARE_HANG:
        kiln_sim_inject(s->sim, KILN_SIM_FAULT_HANG);
        break;
    case KILN_INJECT_LOST_IRQ:
        qatomic_set(&s->lose_irq, true);
        break;
    case KILN_INJECT_STUCK_DMA:
        WITH_QEMU_LOCK_GUARD(&s->pool.lock) {
            s->pool.stick = true;
        }
        break;
    case KILN_INJECT_BAD_COMPLETION:
        kiln_sim_inject(s->sim, KILN_SIM_FAULT_COOKIE);
        break;
    case KILN_INJECT_BAD_INDEX:
        kiln_sim_inject(s->sim, KILN_SIM_FAULT_INDEX);
        break;
    case KILN_INJECT_ALL_ONES:
        qatomic_set(&s->gone, true);
        kiln_sim_stop(s->sim);
        qemu_bh_schedule(s->gone_bh);
        break;
    }
}

/* A command has run: is it somebody's turn? Card locked. */
void kiln_inject_retired(KilnState *s)
{
    for (int i = 0; i < KILN_INJECT_KINDS; i++) {
        KilnInject *inject = &s->inject[i];

        if (inject->wanted && !--inject->after) {
            inject->wanted = false;
            kiln_inject_now(s, i);
        }
    }
}

/* The card is reset, with the BQL held: it is back. Card locked. */
void kiln_inject_reset(KilnState *s)
{
    qatomic_set(&s->lose_irq, false);
    qatomic_set(&s->gone, false);
    memory_region_set_enabled(&s->ones, false);
}

static bool kiln_inject_parse(const char *text, KilnInject *inject,
                              Error **errp)
{
    g_auto(GStrv) words = g_strsplit(text, "+", 0);

    for (char **word = words; *word; word++) {
        char *colon = strchr(*word, ':');
        uint64_t after = 0;
        int kind = 0;

        if (colon) {
            *colon++ = 0;
            if (!g_str_has_prefix(colon, "after=") ||
                qemu_strtou64(colon + 6, NULL, 10, &after)) {
                error_setg(errp, "inject: after '%s:' comes after=N, "
                           "a number of commands, not '%s'", *word, colon);
                return false;
            }
        }
        while (kind < KILN_INJECT_KINDS &&
               strcmp(*word, kiln_inject_names[kind])) {
            kind++;
        }
        if (kind == KILN_INJECT_KINDS) {
            g_autofree char *known = NULL;

            known = g_strjoin(", ", "none", kiln_inject_names[0],
                              kiln_inject_names[1], kiln_inject_names[2],
                              kiln_inject_names[3], kiln_inject_names[4],
                              kiln_inject_names[5], kiln_inject_names[6], NULL);
            error_setg(errp, "inject must be of %s, not '%s'", known, *word);
            return false;
        }
        inject[kind] = (KilnInject) { .wanted = true, .after = after };
    }
    return true;
}

static void kiln_inject_set(Object *obj, const char *value, Error **errp)
{
    KilnState *s = KILN(obj);
    KilnInject inject[KILN_INJECT_KINDS] = { 0 };

    if (*value && strcmp(value, "none") &&
        !kiln_inject_parse(value, inject, errp)) {
        return;
    }
    if (!s->sim) {
        memcpy(s->inject, inject, sizeof(inject));
        return;
    }
    kiln_lock(s);
    for (int i = 0; i < KILN_INJECT_KINDS; i++) {
        s->inject[i] = inject[i];
        if (inject[i].wanted && !inject[i].after) {
            s->inject[i].wanted = false;
            kiln_inject_now(s, i);
        }
    }
    kiln_unlock(s);
    if (qatomic_read(&s->gone) && (!*value || !strcmp(value, "none"))) {
        pci_device_reset(PCI_DEVICE(s));
    }
}

/* What has not happened yet. */
static char *kiln_inject_get(Object *obj, Error **errp)
{
    KilnState *s = KILN(obj);
    GString *text = g_string_new(NULL);

    for (int i = 0; i < KILN_INJECT_KINDS; i++) {
        if (s->inject[i].wanted) {
            g_string_append_printf(text, "%s%s:after=%" PRIu64,
                                   text->len ? "+" : "", kiln_inject_names[i],
                                   s->inject[i].after);
        }
    }
    return g_string_free(g_string_append(text, text->len ? "" : "none"), false);
}

static uint64_t kiln_ones_read(void *opaque, hwaddr addr, unsigned size)
{
    return UINT64_MAX;
}

static void kiln_ones_write(void *opaque, hwaddr addr, uint64_t value,
                            unsigned size)
{
}

static const MemoryRegionOps kiln_ones_ops = {
    .read = kiln_ones_read,
    .write = kiln_ones_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

static void kiln_gone_bh(void *opaque)
{
    KilnState *s = opaque;

    memory_region_set_enabled(&s->ones, qatomic_read(&s->gone));
}

void kiln_inject_init(KilnState *s)
{
    memory_region_init_io(&s->ones, OBJECT(s), &kiln_ones_ops, s, "kiln-ones",
                          s->hbm_size);
    memory_region_set_enabled(&s->ones, false);
    memory_region_add_subregion(&s->hbm, 0, &s->ones);
    s->gone_bh = qemu_bh_new_guarded(kiln_gone_bh, s,
                                     &DEVICE(s)->mem_reentrancy_guard);
    /* From power-on: they count the first command as "at once". */
    for (int i = 0; i < KILN_INJECT_KINDS; i++) {
        s->inject[i].after = MAX(s->inject[i].after, 1);
    }
}

void kiln_inject_cleanup(KilnState *s)
{
    qemu_bh_delete(s->gone_bh);
    memory_region_del_subregion(&s->hbm, &s->ones);
}

void kiln_inject_class_init(ObjectClass *class)
{
    object_class_property_add_str(class, "inject", kiln_inject_get,
                                  kiln_inject_set);
    object_class_property_set_description(class, "inject",
        "faults to inject: KIND[:after=N], joined by '+'; "
        "N: commands that are to run before");
}
