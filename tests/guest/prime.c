// SPDX-License-Identifier: MIT
/* Buffers from and to other drivers: udmabuf (a process's pages) and vgem (a DRM driver). */
#define _GNU_SOURCE
#include <linux/udmabuf.h>
#include <xf86drmMode.h>

#include "_abi.h"

#define BYTES	(4 * MIB)

static int fd;
static uint32_t vm, queue;

/* The card checks the u64 at va and writes one behind it. */
static int touch(uint64_t va, uint64_t expected, uint64_t value)
{
	struct drm_kiln_exec e = {
		.queue_id = queue, .flags = DRM_KILN_EXEC_NOP, .wait_addr = va, .wait_value = expected,
		.signal_addr = va + 8, .signal_value = value,
	};

	return run_one(fd, &e);
}

static struct drm_kiln_bo_info info_of(uint32_t handle)
{
	struct drm_kiln_bo_info info = { .handle = handle };
	int ret = call(fd, DRM_IOCTL_KILN_BO_INFO, &info);

	if (ret)
		bail("buffer's info", -ret);
	return info;
}

/* A dma-buf of pages of ours, which p shows. */
static int make_udmabuf(uint64_t bytes, uint64_t **p)
{
	int dev = open("/dev/udmabuf", O_RDWR), mem = memfd_create("udmabuf", MFD_ALLOW_SEALING), buf;
	struct udmabuf_create create = { .memfd = mem, .flags = UDMABUF_FLAGS_CLOEXEC, .size = bytes };

	if (dev < 0 || mem < 0 || ftruncate(mem, bytes) || fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK))
		bail("/dev/udmabuf", errno);
	*p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	buf = ioctl(dev, UDMABUF_CREATE, &create);
	if (buf < 0 || *p == MAP_FAILED)
		bail("udmabuf", errno);
	close(mem);
	close(dev);
	return buf;
}

static int open_vgem(void)
{
	char path[64];

	if (system("modprobe vgem"))
		bail("modprobe vgem", ENODEV);
	for (int i = 0; i < 64; i++) {
		drmVersionPtr version;
		int card;

		snprintf(path, sizeof(path), "/dev/dri/card%d", i);
		card = open(path, O_RDWR | O_CLOEXEC);
		if (card < 0)
			continue;
		version = drmGetVersion(card);
		if (version && !strcmp(version->name, "vgem")) {
			drmFreeVersion(version);
			return card;
		}
		drmFreeVersion(version);
		close(card);
	}
	bail("no vgem in /dev/dri", ENOENT);
}

/* A dma-buf of somebody else, who sees it at p: used by the card, mapped by us. */
static void test_import(const char *name, int buf, uint64_t *p, uint64_t bytes)
{
	struct drm_kiln_bo_info info;
	uint32_t handle = 0, again = 0;
	uint64_t *q;

	is(drmPrimeFDToHandle(fd, buf, &handle), 0, "%s: import", name);
	is(drmPrimeFDToHandle(fd, buf, &again), 0, "%s: import again", name);
	is(again, handle, "%s: it is the same handle", name);
	info = info_of(handle);
	ok(info.size == bytes && !info.flags && info.placement == DRM_KILN_BO_SYSTEM,
	   "%s: size %llu, flags %#x, placement %u", name, (long long)info.size, info.flags, info.placement);
	p[0] = 100;
	p[bytes / 8 - 2] = 200;
	is(bind_bo(fd, vm, handle, 0, VA_BASE, bytes), 0, "%s: bind", name);
	is(touch(VA_BASE, 100, 101), 0, "%s: the card sees it", name);
	is(p[1], 101, "%s: and writes", name);
	is(touch(VA_BASE + bytes - 16, 200, 201), 0, "%s: up to the end", name);
	is(p[bytes / 8 - 1], 201, "%s: and writes there", name);
	is(touch(VA_BASE + bytes, 0, 1), -EFAULT, "%s: not beyond", name);
	is(bind_bo(fd, vm, handle, 0, VA_BASE + bytes, bytes + PAGE), -EINVAL, "%s: nor by a larger mapping", name);
	is(bind_flags(fd, vm, handle, PAGE, VA_BASE + 16 * MIB, PAGE, DRM_KILN_VM_BIND_READONLY), 0, "%s: a page, read-only", name);
	is(touch(VA_BASE + 16 * MIB, 0, 1), -EFAULT, "%s: is not written", name);

	q = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, info.mmap_offset);
	if (ok(q != MAP_FAILED, "%s: mmap through the card", name)) {
		is(q[0], 100, "%s: is the same memory", name);
		q[2] = 102;
		is(p[2], 102, "%s: both ways", name);
	}
	is(close_bo(fd, handle), 0, "%s: close the handle", name);
	close(buf);
	is(touch(VA_BASE, 100, 103), 0, "%s: the mapping keeps it", name);
	is(p[1], 103, "%s: and works", name);
	is(unbind(fd, vm, VA_BASE, 32 * MIB), 0, "%s: unmap", name);
	is(touch(VA_BASE, 0, 1), -EFAULT, "%s: it is gone", name);
	if (q != MAP_FAILED) {
		is(q[0], 100, "%s: our mapping stays", name);
		munmap(q, bytes);
	}
}

static void test_from_vgem(int vgem)
{
	struct drm_mode_create_dumb dumb = { .width = 1024, .height = 1024, .bpp = 32 };
	struct drm_mode_map_dumb map = { 0 };
	uint64_t *p;
	int buf = -1;

	is(drmIoctl(vgem, DRM_IOCTL_MODE_CREATE_DUMB, &dumb), 0, "vgem: a buffer");
	map.handle = dumb.handle;
	is(drmIoctl(vgem, DRM_IOCTL_MODE_MAP_DUMB, &map), 0, "vgem: its mmap offset");
	p = mmap(NULL, dumb.size, PROT_READ | PROT_WRITE, MAP_SHARED, vgem, map.offset);
	if (p == MAP_FAILED)
		bail("mmap of vgem", errno);
	is(drmPrimeHandleToFD(vgem, dumb.handle, DRM_CLOEXEC | DRM_RDWR, &buf), 0, "vgem: export");
	test_import("vgem", buf, p, dumb.size);
	munmap(p, dumb.size);
	drmCloseBufferHandle(vgem, dumb.handle);
}

/* A buffer of ours with vgem attached: in host memory as long as that is so, bound or not. */
static void test_to_vgem(int vgem, uint32_t flags, const char *name)
{
	uint32_t handle = make_bo(fd, BYTES, flags), theirs = 0;
	uint64_t *p = map_bo(fd, handle, BYTES), *q;
	int buf = -1, back = -1;

	p[0] = 10;
	is(bind_bo(fd, vm, handle, 0, VA_BASE, BYTES), 0, "%s: bind", name);
	is(touch(VA_BASE, 10, 11), 0, "%s: the card sees it", name);
	is(info_of(handle).placement, flags, "%s: it is at home", name);
	is(drmPrimeHandleToFD(fd, handle, DRM_CLOEXEC | DRM_RDWR, &buf), 0, "%s: export", name);
	q = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, buf, 0);
	ok(q != MAP_FAILED, "%s: mmap of the dma-buf", name);
	is(drmPrimeFDToHandle(vgem, buf, &theirs), 0, "%s: vgem takes it, bound as it is", name);
	is(info_of(handle).placement, DRM_KILN_BO_SYSTEM, "%s: it has moved where vgem can reach it", name);
	is(q[1], 11, "%s: with its content", name);
	q[2] = 12;
	is(touch(VA_BASE + 16, 12, 13), 0, "%s: the card reaches it there", name);
	ok(p[3] == 13 && q[3] == 13, "%s: and all see what it writes", name);
	is(drmPrimeHandleToFD(vgem, theirs, DRM_CLOEXEC | DRM_RDWR, &back), 0, "%s: vgem exports it again", name);
	theirs = theirs ? drmCloseBufferHandle(vgem, theirs) : 1;
	is(theirs, 0, "%s: vgem lets go", name);
	is(drmPrimeFDToHandle(fd, back, &theirs), 0, "%s: it comes back to us", name);
	is(theirs, handle, "%s: as what it was", name);
	close(back);
	is(unbind(fd, vm, VA_BASE, BYTES), 0, "%s: unmap", name);
	is(bind_bo(fd, vm, handle, 0, VA_BASE, BYTES), 0, "%s: and bind again", name);
	is(info_of(handle).placement, flags, "%s: it is at home again", name);
	is(touch(VA_BASE + 16, 12, 14), 0, "%s: the card sees it", name);
	ok(p[3] == 14 && q[3] == 14, "%s: so do we", name);
	is(unbind(fd, vm, VA_BASE, BYTES), 0, "%s: unmap", name);
	munmap(p, BYTES);
	munmap(q, BYTES);
	close(buf);
	close_bo(fd, handle);
}

int main(void)
{
	uint64_t *p, used;
	int buf, vgem;

	fd = open_card();
	vm = make_vm(fd);
	queue = make_queue(fd, vm, 16, 0);
	used = card_info(fd).hbm_used_bytes;
	buf = make_udmabuf(BYTES, &p);
	test_import("udmabuf", buf, p, BYTES);
	munmap(p, BYTES);
	vgem = open_vgem();
	test_from_vgem(vgem);
	test_to_vgem(vgem, DRM_KILN_BO_HBM, "HBM to vgem");
	test_to_vgem(vgem, DRM_KILN_BO_SYSTEM, "host memory to vgem");
	close(vgem);
	is(system("modprobe -r vgem"), 0, "vgem is not held any more");
	ok(card_info(fd).hbm_used_bytes <= used + MIB, "memory is back");
	return done_testing();
}
