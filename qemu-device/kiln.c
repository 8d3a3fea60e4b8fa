/*
 * Kiln accelerator card: the PCI device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/log.h"
#include "qemu/madvise.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "hw/resettable.h"
#include "migration/blocker.h"
#include "kiln.h"
#include "trace.h"

#define KILN_HBM_MIN        (64 * MiB)
#define KILN_HBM_MAX        (256 * GiB)     /* guests may have 40 bits only */
#define KILN_STOP_NS        (10 * NANOSECONDS_PER_SECOND)
#define KILN_CAP_PM         0x40
#define KILN_CAP_EXP        0x80

static const char *const kiln_generations[] = { "trn1", "trn2", "trn3" };

/*
 * Aligned 4-byte accesses are all the card knows. The others are let through to
 * here, because the memory core would answer them with zeros.
 */
static bool kiln_access_ok(const char *what, hwaddr addr, unsigned size)
{
    if (size == 4 && addr % 4 == 0) {
        return true;
    }
    qemu_log_mask(LOG_GUEST_ERROR,
                  "kiln: %u-byte %s at 0x%" HWADDR_PRIx
                  ": only aligned 4-byte accesses\n", size, what, addr);
    return false;
}

static uint64_t kiln_reg_read(void *opaque, hwaddr addr, unsigned size)
{
    KilnState *s = opaque;
    uint32_t value = UINT32_MAX;

    if (!kiln_access_ok("read", addr, size)) {
        return UINT64_MAX;
    }
    kiln_lock(s);
    if (!s->stuck && !s->gone) {
        value = kiln_sim_reg_read(s->sim, addr);
    }
    kiln_unlock(s);
    trace_kiln_reg_read(addr, value);
    return value;
}

static void kiln_reg_write(void *opaque, hwaddr addr, uint64_t value,
                           unsigned size)
{
    KilnState *s = opaque;

    if (!kiln_access_ok("write", addr, size)) {
        return;
    }
    trace_kiln_reg_write(addr, value);
    kiln_lock(s);
    if (!s->stuck && !s->gone) {
        kiln_sim_reg_write(s->sim, addr, value);
        if (addr == KILN_REG_CTRL && value & KILN_CTRL_RESET) {
            kiln_pool_unstick(s);
        }
    }
    kiln_unlock(s);
}

static uint64_t kiln_doorbell_read(void *opaque, hwaddr addr, unsigned size)
{
    kiln_access_ok("doorbell read", addr, size);
    return UINT64_MAX;
}

static void kiln_doorbell_write(void *opaque, hwaddr addr, uint64_t value,
                                unsigned size)
{
    KilnState *s = opaque;

    if (!kiln_access_ok("doorbell write", addr, size)) {
        return;
    }
    trace_kiln_doorbell(addr / KILN_DOORBELL_STRIDE);
    if (!qatomic_read(&s->gone)) {
        kiln_pool_doorbell(s, addr / KILN_DOORBELL_STRIDE);
    }
}

static const MemoryRegionOps kiln_reg_ops = {
    .read = kiln_reg_read,
    .write = kiln_reg_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

static const MemoryRegionOps kiln_doorbell_ops = {
    .read = kiln_doorbell_read,
    .write = kiln_doorbell_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

/*
 * Stop the card and wait until no core computes, with the BQL. The threads do
 * not need it to come out: whatever has run is retired here. Card locked.
 */
static bool kiln_quiesce(KilnState *s)
{
    int64_t end = get_clock() + KILN_STOP_NS;

    kiln_host_refuse(s, true);
    kiln_sim_stop(s->sim);
    kiln_pool_unstick(s);
    do {
        kiln_pool_retire(s);
        if (kiln_sim_idle(s->sim)) {
            return true;
        }
    } while (kiln_pool_wait(s, end));
    return false;
}

static void kiln_reset_hold(Object *obj, ResetType type)
{
    KilnState *s = KILN(obj);

    kiln_lock(s);
    kiln_inject_reset(s);
    s->stuck = !kiln_quiesce(s);
    if (s->stuck) {
        error_report("kiln: a core has not stopped within %d s; "
                     "the card stays off until it is reset again",
                     (int)(KILN_STOP_NS / NANOSECONDS_PER_SECOND));
    } else {
        kiln_sim_reset(s->sim);
        qatomic_set(&s->iommu, pci_device_iommu_address_space(PCI_DEVICE(s)) !=
                               &address_space_memory);
        kiln_host_refuse(s, false);
    }
    qatomic_set(&s->pending, 0);
    kiln_pool_kick(s);
    trace_kiln_reset(s->stuck);
    kiln_unlock(s);
}

/* In S3 a slot has no power, and HBM forgets. */
static void kiln_suspend(Notifier *notifier, void *data)
{
    KilnState *s = container_of(notifier, KilnState, suspend);

    pci_device_reset(PCI_DEVICE(s));
    if (ram_block_discard_range(s->hbm.ram_block, 0, s->hbm_size)) {
        memset(memory_region_get_ram_ptr(&s->hbm), 0, s->hbm_size);
    }
    memory_region_set_dirty(&s->hbm, 0, s->hbm_size);
}

static uint32_t kiln_read_config(PCIDevice *pdev, uint32_t addr, int len)
{
    return KILN(pdev)->gone ? UINT32_MAX : pci_default_read_config(pdev, addr, len);
}

static void kiln_write_config(PCIDevice *pdev, uint32_t addr, uint32_t value,
                              int len)
{
    if (KILN(pdev)->gone) {
        return;
    }
    pci_default_write_config(pdev, addr, value, len);
    pcie_cap_flr_write_config(pdev, addr, value, len);
}

/* Answer wrong properties with what would be right. */
static bool kiln_configure(KilnState *s, struct kiln_sim_config *config,
                           Error **errp)
{
    const char *generation = s->generation ?: "trn2";
    const char *wrong;

    for (int i = 0; i < ARRAY_SIZE(kiln_generations); i++) {
        if (!strcmp(generation, kiln_generations[i])) {
            config->generation = i + 1;
        }
    }
    if (!config->generation) {
        error_setg(errp, "generation must be trn1, trn2 or trn3, not '%s'",
                   generation);
        return false;
    }
    if (s->cores < 1 || s->cores > KILN_MAX_CORES) {
        error_setg(errp, "cores must be 1 to %d, not %" PRIu32,
                   KILN_MAX_CORES, s->cores);
        return false;
    }
    if (s->hbm_size < KILN_HBM_MIN || s->hbm_size > KILN_HBM_MAX ||
        !is_power_of_2(s->hbm_size)) {
        error_setg(errp, "hbm must be a power of two from 64M to 256G, "
                   "not %" PRIu64 " bytes", s->hbm_size);
        return false;
    }
    if (s->threads > KILN_MAX_CORES) {
        error_setg(errp, "threads must be 0 (as the host has CPUs) to %d, "
                   "not %" PRIu32, KILN_MAX_CORES, s->threads);
        return false;
    }
    if (!s->threads) {
        s->threads = g_get_num_processors();
    }
    s->threads = MIN(s->threads, s->cores);
    config->cores = s->cores;
    config->hbm_bytes = s->hbm_size;
    config->sanitize = s->sanitize;
    wrong = kiln_sim_check(config);
    if (wrong) {
        error_setg(errp, "%s", wrong);
        return false;
    }
    return true;
}

static bool kiln_init_caps(PCIDevice *pdev, Error **errp)
{
    int pos = pci_pm_init(pdev, KILN_CAP_PM, errp);

    if (pos < 0) {
        return false;
    }
    pci_set_word(pdev->config + pos + PCI_PM_PMC, PCI_PM_CAP_VER_1_2);
    pci_set_word(pdev->config + pos + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET);
    pci_set_word(pdev->wmask + pos + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);

    pos = pcie_endpoint_cap_init(pdev, KILN_CAP_EXP);
    if (pos < 0) {
        error_setg_errno(errp, -pos, "no room for the PCI Express capability");
        return false;
    }
    pcie_cap_flr_init(pdev);
    return true;
}

static void kiln_realize(PCIDevice *pdev, Error **errp)
{
    KilnState *s = KILN(pdev);
    struct kiln_sim_config config = { 0 };
    void *mem;

    if (!kiln_configure(s, &config, errp) ||
        /*
         * Sparse. Anonymous, because the host gives huge pages for it without
         * being configured to: a matrix is read at twice the speed.
         */
        !memory_region_init_ram_flags_nomigrate(&s->hbm, OBJECT(s), "kiln-hbm",
                                                s->hbm_size, RAM_NORESERVE,
                                                errp)) {
        return;
    }
    if (!kiln_init_caps(pdev, errp) ||
        msix_init_exclusive_bar(pdev, KILN_MSIX_VECTORS, KILN_BAR_MSIX, errp)) {
        return;
    }
    for (int i = 0; i < KILN_MSIX_VECTORS; i++) {
        msix_vector_use(pdev, i);
    }

    if (s->sanitize) {
        error_setg(&s->unmovable, "a kiln card with sanitize=on cannot be "
                   "saved or moved: what it knows about programs stays here");
        if (migrate_add_blocker(&s->unmovable, errp) < 0) {
            msix_uninit_exclusive_bar(pdev);
            return;
        }
    }

    /* Sparse: SBUF that no program touches costs nothing. */
    s->sim_size = ROUND_UP(kiln_sim_size(&config), qemu_real_host_page_size());
    mem = mmap(NULL, s->sim_size, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mem == MAP_FAILED) {
        error_setg_errno(errp, errno, "no memory for the card's %zu bytes",
                         s->sim_size);
        migrate_del_blocker(&s->unmovable);
        msix_uninit_exclusive_bar(pdev);
        return;
    }
    /*
     * A tile has a row in each of 128 partitions: with small pages each of
     * them is a TLB miss of the host.
     */
    qemu_madvise(mem, s->sim_size, QEMU_MADV_HUGEPAGE);

    memory_region_init(&s->bar0, OBJECT(s), "kiln", KILN_BAR_REGS_SIZE);
    memory_region_init_io(&s->regs, OBJECT(s), &kiln_reg_ops, s,
                          "kiln-registers", KILN_DOORBELL_BASE);
    memory_region_add_subregion(&s->bar0, 0, &s->regs);
    memory_region_init_io(&s->doorbells, OBJECT(s), &kiln_doorbell_ops, s,
                          "kiln-doorbells",
                          KILN_MAX_QUEUES * KILN_DOORBELL_STRIDE);
    memory_region_add_subregion(&s->bar0, KILN_DOORBELL_BASE, &s->doorbells);
    pci_register_bar(pdev, KILN_BAR_REGS, PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &s->bar0);
    vmstate_register_ram(&s->hbm, DEVICE(s));
    pci_register_bar(pdev, KILN_BAR_HBM,
                     PCI_BASE_ADDRESS_MEM_TYPE_64 |
                     PCI_BASE_ADDRESS_MEM_PREFETCH, &s->hbm);

    object_property_add_uint64_ptr(OBJECT(s), "answer-ns", &s->answer_ns,
                                   OBJ_PROP_FLAG_READ);
    qemu_mutex_init(&s->turn);
    qemu_mutex_init(&s->lock);
    kiln_host_init(s);
    kiln_inject_init(s);
    s->sim = kiln_sim_init(mem, &config, memory_region_get_ram_ptr(&s->hbm),
                           &kiln_host, s);
    kiln_pool_start(s);
    kiln_migrate_init(s);
    s->suspend.notify = kiln_suspend;
    qemu_register_suspend_notifier(&s->suspend);
}

static void kiln_exit(PCIDevice *pdev)
{
    KilnState *s = KILN(pdev);

    notifier_remove(&s->suspend);
    migrate_del_blocker(&s->unmovable);
    kiln_migrate_cleanup(s);
    /* However long it takes: the threads use what is freed below. */
    kiln_lock(s);
    while (!kiln_quiesce(s)) {
        warn_report("kiln: still waiting for a core to stop");
    }
    kiln_unlock(s);
    kiln_pool_stop(s);

    kiln_inject_cleanup(s);
    kiln_host_cleanup(s);
    qemu_mutex_destroy(&s->lock);
    qemu_mutex_destroy(&s->turn);
    munmap(s->sim, s->sim_size);
    /* A subregion holds a reference to its owner, which is this device. */
    memory_region_del_subregion(&s->bar0, &s->doorbells);
    memory_region_del_subregion(&s->bar0, &s->regs);
    vmstate_unregister_ram(&s->hbm, DEVICE(s));
    pcie_cap_exit(pdev);
    msix_uninit_exclusive_bar(pdev);
}

static const Property kiln_properties[] = {
    DEFINE_PROP_STRING("generation", KilnState, generation),
    DEFINE_PROP_UINT32("cores", KilnState, cores, 2),
    DEFINE_PROP_SIZE("hbm", KilnState, hbm_size, 8 * GiB),
    DEFINE_PROP_UINT32("threads", KilnState, threads, 0),
    DEFINE_PROP_BOOL("sanitize", KilnState, sanitize, false),
};

static void kiln_class_init(ObjectClass *class, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(class);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(class);
    ResettableClass *rc = RESETTABLE_CLASS(class);

    pc->realize = kiln_realize;
    pc->exit = kiln_exit;
    pc->config_read = kiln_read_config;
    pc->config_write = kiln_write_config;
    pc->vendor_id = KILN_PCI_VENDOR_ID;
    pc->device_id = KILN_PCI_DEVICE_ID;
    pc->class_id = KILN_PCI_CLASS >> 8;
    pc->revision = KILN_HW_VERSION >> 16;
    rc->phases.hold = kiln_reset_hold;
    dc->desc = "Kiln accelerator card";
    dc->vmsd = &kiln_vmstate;
    device_class_set_props(dc, kiln_properties);
    kiln_inject_class_init(class);
    object_class_property_set_description(class, "generation",
                                          "trn1, trn2 or trn3");
    object_class_property_set_description(class, "cores", "1 to 8");
    object_class_property_set_description(class, "hbm",
                                          "a power of two from 64M to 256G");
    object_class_property_set_description(class, "threads",
        "host threads that compute, 0 to 8; 0: as many as cores, "
        "but no more than the host has CPUs");
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo kiln_types[] = {
    {
        .name = TYPE_KILN,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(KilnState),
        .class_init = kiln_class_init,
        .interfaces = (InterfaceInfo[]) {
            { INTERFACE_PCIE_DEVICE },
            { }
        },
    },
};

DEFINE_TYPES(kiln_types)
