// SPDX-License-Identifier: MIT
/*
 * Buffers from other drivers and to them: udmabuf (a process's pages) and vgem (a DRM driver). The card reaches what is
 * imported, and no byte more, as long as it is bound; what others have of ours is where they reach it, too.
 */
#define _GNU_SOURCE
#include <kselftest_harness.h>

#include <linux/udmabuf.h>
#include <xf86drmMode.h>

#include "guest/_abi.h"

#define BYTES	(4 * MIB)

/* A DRM node of vgem's. */
static int open_vgem(void)
{
	char path[64];

	if (system("modprobe vgem"))
		bail("modprobe vgem", ENODEV);
	for (int i = 0; i < 64; i++) {
		drmVersionPtr version;
		bool found;
		int card;

		snprintf(path, sizeof(path), "/dev/dri/card%d", i);
		card = open(path, O_RDWR | O_CLOEXEC);
		if (card < 0)
			continue;
		version = drmGetVersion(card);
		found = version && !strcmp(version->name, "vgem");
		drmFreeVersion(version);
		if (found)
			return card;
		close(card);
	}
	bail("no vgem in /dev/dri", ENOENT);
}

/* The card checks the u64 at va and writes one behind it. */
static int touch(int fd, uint32_t queue, uint64_t va, uint64_t expected, uint64_t value)
{
	struct drm_kiln_exec e = {
		.queue_id = queue, .flags = DRM_KILN_EXEC_NOP, .wait_addr = va, .wait_value = expected,
		.signal_addr = va + 8, .signal_value = value,
	};

	return run_one(fd, &e);
}

/* Memory of a process, as a dma-buf; *p shows it. */
static int make_udmabuf(int unused, uint64_t **p)
{
	int dev = open("/dev/udmabuf", O_RDWR), mem = memfd_create("udmabuf", MFD_ALLOW_SEALING), buf;
	struct udmabuf_create create = { .memfd = mem, .flags = UDMABUF_FLAGS_CLOEXEC, .size = BYTES };

	(void)unused;
	if (dev < 0 || mem < 0 || ftruncate(mem, BYTES) || fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK))
		bail("/dev/udmabuf", errno);
	*p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	buf = ioctl(dev, UDMABUF_CREATE, &create);
	if (buf < 0 || *p == MAP_FAILED)
		bail("udmabuf", errno);
	close(mem);
	close(dev);
	return buf;
}

/* A buffer of vgem, as one. */
static int make_vgem(int vgem, uint64_t **p)
{
	struct drm_mode_create_dumb dumb = { .width = 1024, .height = 1024, .bpp = 32 };
	struct drm_mode_map_dumb map = { 0 };
	int buf;

	if (drmIoctl(vgem, DRM_IOCTL_MODE_CREATE_DUMB, &dumb) || dumb.size != BYTES)
		bail("a buffer of vgem", errno);
	map.handle = dumb.handle;
	if (drmIoctl(vgem, DRM_IOCTL_MODE_MAP_DUMB, &map) ||
	    drmPrimeHandleToFD(vgem, dumb.handle, DRM_CLOEXEC | DRM_RDWR, &buf))
		bail("a dma-buf of vgem", errno);
	*p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, vgem, map.offset);
	if (*p == MAP_FAILED)
		bail("mmap of vgem", errno);
	drmCloseBufferHandle(vgem, dumb.handle);
	return buf;
}

/* --------------------------------------------------------------- import -- */

FIXTURE(imported) {
	int fd, vgem, buf;
	uint32_t vm, queue, handle;
	struct drm_kiln_bo_info info;
	uint64_t *p;		/* as its owner sees it */
};

FIXTURE_VARIANT(imported) {
	int (*make)(int vgem, uint64_t **p);
};

FIXTURE_VARIANT_ADD(imported, from_udmabuf) { .make = make_udmabuf };
FIXTURE_VARIANT_ADD(imported, from_vgem) { .make = make_vgem };

FIXTURE_SETUP(imported)
{
	self->vgem = open_vgem();
	self->fd = open_card();
	self->vm = make_vm(self->fd);
	self->queue = make_queue(self->fd, self->vm, 16, 0);
	self->buf = variant->make(self->vgem, &self->p);
	self->p[0] = 100;
	self->p[BYTES / 8 - 2] = 200;
	ASSERT_EQ(0, drmPrimeFDToHandle(self->fd, self->buf, &self->handle));
	self->info.handle = self->handle;
	ASSERT_EQ(0, call(self->fd, DRM_IOCTL_KILN_BO_INFO, &self->info));
	ASSERT_EQ(0, bind_bo(self->fd, self->vm, self->handle, 0, VA_BASE, BYTES));
}

FIXTURE_TEARDOWN(imported)
{
	munmap(self->p, BYTES);
	close(self->buf);
	close(self->fd);
	close(self->vgem);
	/* Nobody holds it any more. */
	EXPECT_EQ(0, system("modprobe -r vgem"));
}

TEST_F_TIMEOUT(imported, is_what_it_was, 120)
{
	uint32_t again = 0;

	EXPECT_EQ(0, drmPrimeFDToHandle(self->fd, self->buf, &again));
	EXPECT_EQ(self->handle, again);
	EXPECT_EQ(BYTES, self->info.size);
	EXPECT_EQ(0, self->info.flags);
	EXPECT_EQ(DRM_KILN_BO_SYSTEM, self->info.placement);
}

TEST_F_TIMEOUT(imported, the_card_reaches_all_of_it_and_no_more, 120)
{
	EXPECT_EQ(0, touch(self->fd, self->queue, VA_BASE, 100, 101));
	EXPECT_EQ(101, self->p[1]);
	EXPECT_EQ(0, touch(self->fd, self->queue, VA_BASE + BYTES - 16, 200, 201));
	EXPECT_EQ(201, self->p[BYTES / 8 - 1]);
	EXPECT_EQ(-EFAULT, touch(self->fd, self->queue, VA_BASE + BYTES, 0, 1));
	EXPECT_EQ(-EINVAL, bind_bo(self->fd, self->vm, self->handle, 0, VA_BASE + BYTES, BYTES + PAGE));
}

TEST_F_TIMEOUT(imported, a_page_can_be_read_only, 120)
{
	ASSERT_EQ(0, bind_flags(self->fd, self->vm, self->handle, PAGE, VA_BASE + 16 * MIB, PAGE,
				DRM_KILN_VM_BIND_READONLY));
	EXPECT_EQ(-EFAULT, touch(self->fd, self->queue, VA_BASE + 16 * MIB, 0, 1));
}

TEST_F_TIMEOUT(imported, the_cpu_sees_it_through_the_card, 120)
{
	uint64_t *q = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, self->info.mmap_offset);

	ASSERT_NE(MAP_FAILED, q);
	EXPECT_EQ(100, q[0]);
	q[2] = 102;
	EXPECT_EQ(102, self->p[2]);
	ASSERT_EQ(0, close_bo(self->fd, self->handle));
	ASSERT_EQ(0, unbind(self->fd, self->vm, VA_BASE, BYTES));
	EXPECT_EQ(100, q[0]) {
		TH_LOG("the mapping did not outlive the handle");
	}
	munmap(q, BYTES);
}

TEST_F_TIMEOUT(imported, it_is_bound_until_it_is_unbound, 120)
{
	ASSERT_EQ(0, close_bo(self->fd, self->handle));
	close(self->buf);
	EXPECT_EQ(0, touch(self->fd, self->queue, VA_BASE, 100, 103));
	EXPECT_EQ(103, self->p[1]);
	ASSERT_EQ(0, unbind(self->fd, self->vm, VA_BASE, 32 * MIB));
	EXPECT_EQ(-EFAULT, touch(self->fd, self->queue, VA_BASE, 0, 1));
}

/* --------------------------------------------------------------- export -- */

FIXTURE(exported) {
	int fd, vgem, buf;
	uint32_t vm, queue, handle, theirs;
	uint64_t used;		/* of HBM, before all that */
	uint64_t *p, *q;	/* as the card and the dma-buf map it */
};

FIXTURE_VARIANT(exported) {
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(exported, hbm) { .flags = DRM_KILN_BO_HBM };
FIXTURE_VARIANT_ADD(exported, system) { .flags = DRM_KILN_BO_SYSTEM };

static uint32_t placement(int fd, uint32_t handle)
{
	struct drm_kiln_bo_info info = { .handle = handle };

	return call(fd, DRM_IOCTL_KILN_BO_INFO, &info) ? ~0u : info.placement;
}

/* Bound, seen by the card, and then attached by vgem. */
FIXTURE_SETUP(exported)
{
	self->vgem = open_vgem();
	self->fd = open_card();
	self->used = card_info(self->fd).hbm_used_bytes;
	self->vm = make_vm(self->fd);
	self->queue = make_queue(self->fd, self->vm, 16, 0);
	self->handle = make_bo(self->fd, BYTES, variant->flags);
	self->p = map_bo(self->fd, self->handle, BYTES);
	self->p[0] = 10;
	ASSERT_EQ(0, bind_bo(self->fd, self->vm, self->handle, 0, VA_BASE, BYTES));
	ASSERT_EQ(0, touch(self->fd, self->queue, VA_BASE, 10, 11));
	ASSERT_EQ(variant->flags, placement(self->fd, self->handle));
	ASSERT_EQ(0, drmPrimeHandleToFD(self->fd, self->handle, DRM_CLOEXEC | DRM_RDWR, &self->buf));
	self->q = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, self->buf, 0);
	ASSERT_NE(MAP_FAILED, self->q);
	ASSERT_EQ(0, drmPrimeFDToHandle(self->vgem, self->buf, &self->theirs));
}

FIXTURE_TEARDOWN(exported)
{
	munmap(self->p, BYTES);
	munmap(self->q, BYTES);
	close(self->buf);
	close(self->fd);
	close(self->vgem);
	EXPECT_EQ(0, system("modprobe -r vgem"));
}

TEST_F_TIMEOUT(exported, it_is_where_both_reach_it, 120)
{
	/* Linux 6.12 maps it for vgem at once, later ones when vgem looks at it; helper_two_cards.c has importers that do. */
	if (placement(self->fd, self->handle) != DRM_KILN_BO_SYSTEM)
		EXPECT_EQ(variant->flags, placement(self->fd, self->handle));
	EXPECT_EQ(11, self->q[1]) {
		TH_LOG("it has moved without its content");
	}
	self->q[2] = 12;
	EXPECT_EQ(0, touch(self->fd, self->queue, VA_BASE + 16, 12, 13));
	EXPECT_EQ(13, self->p[3]);
	EXPECT_EQ(13, self->q[3]);
}

TEST_F_TIMEOUT(exported, it_comes_back_as_what_it_was, 120)
{
	uint32_t back = 0;
	int buf = -1;

	ASSERT_EQ(0, drmPrimeHandleToFD(self->vgem, self->theirs, DRM_CLOEXEC | DRM_RDWR, &buf));
	ASSERT_EQ(0, drmCloseBufferHandle(self->vgem, self->theirs));
	ASSERT_EQ(0, drmPrimeFDToHandle(self->fd, buf, &back));
	EXPECT_EQ(self->handle, back);
	close(buf);
}

TEST_F_TIMEOUT(exported, it_goes_home_when_nobody_is_attached, 120)
{
	ASSERT_EQ(0, drmCloseBufferHandle(self->vgem, self->theirs));
	ASSERT_EQ(0, unbind(self->fd, self->vm, VA_BASE, BYTES));
	ASSERT_EQ(0, bind_bo(self->fd, self->vm, self->handle, 0, VA_BASE, BYTES));
	self->q[2] = 12;
	EXPECT_EQ(0, touch(self->fd, self->queue, VA_BASE + 16, 12, 14));
	/* Not before: the VM was suspended when it moved, and goes on with its next command. */
	EXPECT_EQ(variant->flags, placement(self->fd, self->handle));
	EXPECT_EQ(14, self->p[3]);
	EXPECT_EQ(14, self->q[3]);
}

TEST_F_TIMEOUT(exported, its_memory_goes_back, 120)
{
	int other = open_card();

	ASSERT_EQ(0, drmCloseBufferHandle(self->vgem, self->theirs));
	munmap(self->p, BYTES);
	munmap(self->q, BYTES);
	close(self->buf);
	close(self->fd);
	for (int i = 0; i < 500 && card_info(other).hbm_used_bytes != self->used; i++)
		usleep(10000);
	EXPECT_EQ(self->used, card_info(other).hbm_used_bytes);
	close(other);
}

TEST_HARNESS_MAIN
