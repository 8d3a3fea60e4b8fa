// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attributes of the PCI device, /sys/class/accel/accelN/device/; docs/uapi.md
 * lists them. They appear once the driver is bound and are gone, with nobody
 * left in them, before it is unbound.
 */
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "kiln_bo.h"
#include "kiln_drv.h"
#include "kiln_sysfs.h"

static struct kiln_device *kiln_sysfs_device(struct device *dev)
{
	return dev_get_drvdata(dev);
}

/* ------------------------------------------------------------- the card -- */

static ssize_t generation_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "trn%u\n", kiln_sysfs_device(dev)->generation);
}
static DEVICE_ATTR_RO(generation);

static ssize_t cores_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", kiln_sysfs_device(dev)->cores);
}
static DEVICE_ATTR_RO(cores);

static ssize_t clock_khz_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", kiln_sysfs_device(dev)->clock_khz);
}
static DEVICE_ATTR_RO(clock_khz);

static ssize_t firmware_version_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	u32 version = kiln_sysfs_device(dev)->fw_version;

	return sysfs_emit(buf, "%u.%u\n", version >> 16, version & 0xffff);
}
static DEVICE_ATTR_RO(firmware_version);

static ssize_t hardware_version_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	u32 version = kiln_sysfs_device(dev)->hw_version;

	return sysfs_emit(buf, "%u.%u\n", version >> 16, version & 0xffff);
}
static DEVICE_ATTR_RO(hardware_version);

static ssize_t hbm_total_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", kiln_sysfs_device(dev)->hbm_bytes);
}
static DEVICE_ATTR_RO(hbm_total);

static ssize_t hbm_used_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", kiln_bo_hbm_used(kiln_sysfs_device(dev)));
}
static DEVICE_ATTR_RO(hbm_used);

static ssize_t resets_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(kiln_sysfs_device(dev)->epoch));
}
static DEVICE_ATTR_RO(resets);

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n",
			  READ_ONCE(kiln_sysfs_device(dev)->wedged) ? "wedged" : "ready");
}
static DEVICE_ATTR_RO(state);

static struct attribute *kiln_sysfs_attrs[] = {
	&dev_attr_generation.attr,
	&dev_attr_cores.attr,
	&dev_attr_clock_khz.attr,
	&dev_attr_firmware_version.attr,
	&dev_attr_hardware_version.attr,
	&dev_attr_hbm_total.attr,
	&dev_attr_hbm_used.attr,
	&dev_attr_resets.attr,
	&dev_attr_state.attr,
	NULL
};

static const struct attribute_group kiln_sysfs_group = { .attrs = kiln_sysfs_attrs };

/* ------------------------------------------- what the firmware has counted -- */

static int kiln_sysfs_read_stats(struct kiln_device *kdev, struct kiln_stats *stats)
{
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_STATS,
		.copy = { .dst_host = 1, .bytes = sizeof(*stats) },
	};
	dma_addr_t dma;
	void *page;
	int ret;

	page = dma_alloc_coherent(kdev->drm.dev, PAGE_SIZE, &dma, GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	cmd.copy.dst = dma;
	ret = kiln_admin_exec(kdev, READ_ONCE(kdev->epoch), &cmd);
	/* The card may go on writing: look at a copy. */
	memcpy(stats, page, sizeof(*stats));
	dma_free_coherent(kdev->drm.dev, PAGE_SIZE, page, dma);
	return ret;
}

/**
 * struct kiln_stat - a figure of the firmware's
 */
struct kiln_stat {
	/** @attr: its file. */
	struct device_attribute attr;
	/** @offset: in struct kiln_stats; of the first core, if each has one. */
	size_t offset;
};

static ssize_t kiln_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	const struct kiln_stat *stat = container_of(attr, struct kiln_stat, attr);
	struct kiln_stats stats;
	int ret;

	ret = kiln_sysfs_read_stats(kiln_sysfs_device(dev), &stats);
	return ret ?: sysfs_emit(buf, "%llu\n", *(u64 *)((void *)&stats + stat->offset));
}

/* One for each core, in one line. */
static ssize_t kiln_stat_show_cores(struct device *dev, struct device_attribute *attr, char *buf)
{
	const struct kiln_stat *stat = container_of(attr, struct kiln_stat, attr);
	struct kiln_device *kdev = kiln_sysfs_device(dev);
	struct kiln_stats stats;
	void *core = &stats;
	int ret, at = 0;
	u32 i;

	ret = kiln_sysfs_read_stats(kdev, &stats);
	if (ret)
		return ret;
	for (i = 0; i < min_t(u32, kdev->cores, KILN_MAX_CORES); i++) {
		at += sysfs_emit_at(buf, at, "%s%llu", i ? " " : "", *(u64 *)(core + stat->offset));
		core += sizeof(stats.core[0]);
	}
	return at + sysfs_emit_at(buf, at, "\n");
}

#define KILN_STAT(_name, _member, _show)			\
static struct kiln_stat kiln_stat_##_name = {			\
	.attr = __ATTR(_name, 0444, _show, NULL),		\
	.offset = offsetof(struct kiln_stats, _member),		\
}

KILN_STAT(uptime_ns, uptime_ns, kiln_stat_show);
KILN_STAT(commands, commands, kiln_stat_show);
KILN_STAT(faults, faults, kiln_stat_show);
KILN_STAT(doorbells, doorbells, kiln_stat_show);
KILN_STAT(interrupts, interrupts, kiln_stat_show);
KILN_STAT(core_busy_ns, core[0].busy_ns, kiln_stat_show_cores);
KILN_STAT(core_cycles, core[0].cycles, kiln_stat_show_cores);
KILN_STAT(core_commands, core[0].commands, kiln_stat_show_cores);

static struct attribute *kiln_sysfs_stats_attrs[] = {
	&kiln_stat_uptime_ns.attr.attr,
	&kiln_stat_commands.attr.attr,
	&kiln_stat_faults.attr.attr,
	&kiln_stat_doorbells.attr.attr,
	&kiln_stat_interrupts.attr.attr,
	&kiln_stat_core_busy_ns.attr.attr,
	&kiln_stat_core_cycles.attr.attr,
	&kiln_stat_core_commands.attr.attr,
	NULL
};

static const struct attribute_group kiln_sysfs_stats_group = {
	.name = "stats", .attrs = kiln_sysfs_stats_attrs,
};

/* --------------------------------------------------------------- limits -- */

static ssize_t users_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return kiln_limits_show(&kiln_sysfs_device(dev)->limits, buf);
}

static ssize_t users_store(struct device *dev, struct device_attribute *attr, const char *buf,
			   size_t count)
{
	char *line = kstrndup(buf, count, GFP_KERNEL);
	int ret;

	if (!line)
		return -ENOMEM;
	ret = kiln_limits_set(&kiln_sysfs_device(dev)->limits, line);
	kfree(line);
	return ret ?: count;
}
static DEVICE_ATTR_RW(users);

static ssize_t usage_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return kiln_limits_show_usage(&kiln_sysfs_device(dev)->limits, buf);
}
static DEVICE_ATTR_RO(usage);

static struct attribute *kiln_sysfs_limits_attrs[] = {
	&dev_attr_users.attr,
	&dev_attr_usage.attr,
	NULL
};

static const struct attribute_group kiln_sysfs_limits_group = {
	.name = "limits", .attrs = kiln_sysfs_limits_attrs,
};

const struct attribute_group *kiln_sysfs_groups[] = {
	&kiln_sysfs_group,
	&kiln_sysfs_stats_group,
	&kiln_sysfs_limits_group,
	NULL
};
