// SPDX-License-Identifier: MIT
/* Every field of the other ioctls with a wrong value, and the next good call works. */
#include "_abi.h"

static int fd;

static void test_query(void)
{
	struct drm_kiln_info info = card_info(fd);
	struct { struct drm_kiln_info info; uint64_t newer[4]; } large;
	struct drm_kiln_query q;
	uint32_t first = 0;
	char *page;

	ok(info.generation >= 1 && info.generation <= 3, "generation %u", info.generation);
	ok(info.cores >= 1, "cores %u", info.cores);
	ok(info.hbm_bytes > 0 && info.hbm_used_bytes <= info.hbm_bytes, "hbm");
	ok(info.clock_khz > 100000, "clock %u kHz", info.clock_khz);
	ok(info.va_start >= 4096 && info.va_end == 1ull << 48, "addresses");
	ok(info.max_queue_depth >= 64, "depth");

	q = (struct drm_kiln_query) { .type = DRM_KILN_QUERY_INFO };
	is(call(fd, DRM_IOCTL_KILN_QUERY, &q), 0, "query: pointer 0");
	is(q.size, sizeof(info), "query: tells the size");
	q = (struct drm_kiln_query) { .size = 4, .pointer = (uintptr_t)&first };
	is(call(fd, DRM_IOCTL_KILN_QUERY, &q), 0, "query: short");
	is(first, info.generation, "query: short has its part");
	memset(&large, 0xff, sizeof(large));
	q = (struct drm_kiln_query) { .size = sizeof(large), .pointer = (uintptr_t)&large };
	is(call(fd, DRM_IOCTL_KILN_QUERY, &q), 0, "query: long");
	is(large.newer[0] | large.newer[3], 0, "query: what is newer reads as zero");
	q = (struct drm_kiln_query) { .type = 1 };
	is(call(fd, DRM_IOCTL_KILN_QUERY, &q), -EINVAL, "query: type");
	q = (struct drm_kiln_query) { .reserved = 1 };
	is(call(fd, DRM_IOCTL_KILN_QUERY, &q), -EINVAL, "query: reserved");
	q = (struct drm_kiln_query) { .size = sizeof(info), .pointer = ~0ull - 4095 };
	is(call(fd, DRM_IOCTL_KILN_QUERY, &q), -EFAULT, "query: pointer");
	/* What the driver does not know is cleared, so not in memory that we need. */
	page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + PAGE, PAGE);
	q = (struct drm_kiln_query) { .size = ~0u, .pointer = (uintptr_t)page };
	is(call(fd, DRM_IOCTL_KILN_QUERY, &q), -EFAULT, "query: size beyond the memory");
	munmap(page, PAGE);
}

static void test_bo(void)
{
	struct drm_kiln_bo_create c, good = { .size = 8192, .flags = DRM_KILN_BO_HBM };
	struct drm_kiln_bo_info i;
	uint64_t used = card_info(fd).hbm_used_bytes;
	uint32_t handle;

#define REFUSED(error, what, ...) do { \
		c = good; \
		__VA_ARGS__; \
		is(call(fd, DRM_IOCTL_KILN_BO_CREATE, &c), error, "bo: %s", what); \
	} while (0)
	REFUSED(-EINVAL, "size 0", c.size = 0);
	REFUSED(-EINVAL, "size unaligned", c.size = 4097);
	REFUSED(-EINVAL, "size that wraps", c.size = ~0ull);
	REFUSED(-ENOMEM, "size beyond HBM", c.size = 1ull << 50);
	REFUSED(-ENOMEM, "size beyond host memory", c.size = 1ull << 50, c.flags = DRM_KILN_BO_SYSTEM);
	REFUSED(-EINVAL, "no placement", c.flags = 0);
	REFUSED(-EINVAL, "both placements", c.flags = 3);
	REFUSED(-EINVAL, "unknown flag", c.flags = 1 | 4);
	REFUSED(-EINVAL, "unknown flag alone", c.flags = 1u << 31);
	REFUSED(-EINVAL, "handle not zero", c.handle = 1);
	REFUSED(-EINVAL, "reserved", c.reserved = 1);
	REFUSED(0, "a good one", (void)0);
#undef REFUSED
	handle = c.handle;
	is(card_info(fd).hbm_used_bytes, used + 8192, "bo: it counts");

	i = (struct drm_kiln_bo_info) { .handle = handle };
	is(call(fd, DRM_IOCTL_KILN_BO_INFO, &i), 0, "info");
	is(i.size, 8192, "info: size");
	is(i.flags, DRM_KILN_BO_HBM, "info: flags");
	is(i.placement, DRM_KILN_BO_HBM, "info: placement");
	i = (struct drm_kiln_bo_info) { .handle = handle + 100 };
	is(call(fd, DRM_IOCTL_KILN_BO_INFO, &i), -ENOENT, "info: handle");
	i = (struct drm_kiln_bo_info) { .handle = handle, .pad = 1 };
	is(call(fd, DRM_IOCTL_KILN_BO_INFO, &i), -EINVAL, "info: pad");
	i = (struct drm_kiln_bo_info) { .handle = handle, .reserved = 1 };
	is(call(fd, DRM_IOCTL_KILN_BO_INFO, &i), -EINVAL, "info: reserved");
	is(close_bo(fd, handle), 0, "close");
	is(card_info(fd).hbm_used_bytes, used, "bo: all of it is free again");
}

static void test_vm(void)
{
	struct drm_kiln_vm_create c, good = { .weight = 1024 };
	struct drm_kiln_vm_destroy d;
	uint32_t queue, ids[300];
	int other, n, ret = 0;

#define REFUSED(error, what, ...) do { \
		c = good; \
		__VA_ARGS__; \
		is(call(fd, DRM_IOCTL_KILN_VM_CREATE, &c), error, "vm: %s", what); \
	} while (0)
	REFUSED(-EINVAL, "flags", c.flags = 1);
	REFUSED(-EINVAL, "weight", c.weight = 1025);
	REFUSED(-EINVAL, "weight wraps", c.weight = ~0u);
	REFUSED(-EINVAL, "id not zero", c.id = 1);
	REFUSED(-EINVAL, "pad", c.pad = 1);
	REFUSED(0, "a good one", (void)0);
#undef REFUSED
	queue = make_queue(fd, c.id, 8, 0);
	d = (struct drm_kiln_vm_destroy) { .id = c.id };
	is(call(fd, DRM_IOCTL_KILN_VM_DESTROY, &d), -EBUSY, "vm: destroy with a queue");
	d.pad = 1;
	is(call(fd, DRM_IOCTL_KILN_VM_DESTROY, &d), -EINVAL, "vm: destroy, pad");
	is(destroy_vm(fd, 999), -ENOENT, "vm: destroy what is not there");
	is(destroy_vm(fd, 0), -ENOENT, "vm: destroy 0");
	other = open_card();
	is(destroy_vm(other, c.id), -ENOENT, "vm: destroy another file's");
	close(other);
	is(destroy_queue(fd, queue), 0, "destroy the queue");
	is(destroy_vm(fd, c.id), 0, "vm: destroy");
	is(destroy_vm(fd, c.id), -ENOENT, "vm: destroy again");

	for (n = 0; n < 300; n++) {
		c = good;
		ret = call(fd, DRM_IOCTL_KILN_VM_CREATE, &c);
		if (ret)
			break;
		ids[n] = c.id;
	}
	is(ret, -ENOSPC, "vm: the card has no more contexts (%d)", n);
	ok(n > 100, "vm: many");
	for (ret = 0; n--;)
		ret |= destroy_vm(fd, ids[n]);
	is(ret, 0, "vm: destroy all");
	is(destroy_vm(fd, make_vm(fd)), 0, "vm: a good one");
}

static void test_queue(void)
{
	uint32_t vm = make_vm(fd);
	struct drm_kiln_queue_create c, good = { .vm_id = vm, .depth = 64 };
	struct drm_kiln_queue_destroy d;
	int other;

#define REFUSED(error, what, ...) do { \
		c = good; \
		__VA_ARGS__; \
		is(call(fd, DRM_IOCTL_KILN_QUEUE_CREATE, &c), error, "queue: %s", what); \
	} while (0)
	REFUSED(-ENOENT, "vm_id", c.vm_id = 999);
	REFUSED(-EINVAL, "depth 0", c.depth = 0);
	REFUSED(-EINVAL, "depth too small", c.depth = 4);
	REFUSED(-EINVAL, "depth not a power of two", c.depth = 100);
	REFUSED(-EINVAL, "depth too large", c.depth = 1u << 31);
	REFUSED(-EINVAL, "depth just too large", c.depth = card_info(fd).max_queue_depth * 2);
	REFUSED(-EINVAL, "weight", c.weight = 1025);
	REFUSED(-EINVAL, "limit_ms", c.limit_ms = 10001);
	REFUSED(-EINVAL, "flags", c.flags = 1);
	REFUSED(-EINVAL, "id not zero", c.id = 1);
	REFUSED(-EINVAL, "reserved", c.reserved = 1);
	REFUSED(0, "largest of everything", c.depth = card_info(fd).max_queue_depth, c.weight = 1024,
		c.limit_ms = 10000);
	is(run_nop(fd, c.id), 0, "queue: it works");
#undef REFUSED
	other = open_card();
	is(destroy_queue(other, c.id), -ENOENT, "queue: destroy another file's");
	c = good;
	is(call(other, DRM_IOCTL_KILN_QUEUE_CREATE, &c), -ENOENT, "queue: in another file's VM");
	close(other);
	is(destroy_queue(fd, 999), -ENOENT, "queue: destroy what is not there");
	d = (struct drm_kiln_queue_destroy) { .id = 1, .pad = 1 };
	is(call(fd, DRM_IOCTL_KILN_QUEUE_DESTROY, &d), -EINVAL, "queue: destroy, pad");
	close(fd);
	fd = open_card();
	is(debugfs_rows("queues"), 0, "queue: closing the file destroys them");
	is(debugfs_rows("contexts"), 0, "vm: closing the file destroys them");
}

/* A caller that knows less of a structure passes a shorter one; the rest counts as zero. */
static void test_short(void)
{
	struct drm_kiln_bo_create c = { .size = 4096, .flags = DRM_KILN_BO_HBM, .reserved = 1 };
	struct drm_kiln_bo_info i = { .handle = 0, .reserved = 1 };

	is(call(fd, _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE, DRM_COMMAND_BASE + DRM_KILN_BO_CREATE, 16), &c),
	   0, "short struct: the rest counts as zero");
	is(close_bo(fd, c.handle), 0, "close");
	is(call(fd, _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE, DRM_COMMAND_BASE + DRM_KILN_BO_CREATE, 8), &c),
	   -EINVAL, "too short: no placement");
	is(call(fd, _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE, DRM_COMMAND_BASE + DRM_KILN_BO_INFO, 4), &i),
	   -ENOENT, "too short: no handle");
	is(call(fd, DRM_IO(DRM_COMMAND_BASE + 0x0b), &i), -EINVAL, "unknown ioctl");
	is(call(fd, DRM_IO(DRM_COMMAND_BASE + 0x1f), &i), -EINVAL, "unknown ioctl further on");
}

/* What DRM has for displays needs a DRM master, which a file of ours has not. */
static void test_displays(void)
{
	static const struct {
		unsigned int nr;
		const char *name;
	} no[] = {
		{ 0x01, "GET_UNIQUE" }, { 0x02, "GET_MAGIC" }, { 0x05, "GET_CLIENT" }, { 0x07, "SET_VERSION" },
		{ 0x0a, "GEM_FLINK" }, { 0x0d, "SET_CLIENT_CAP" }, { 0x11, "AUTH_MAGIC" }, { 0x1e, "SET_MASTER" },
		{ 0x1f, "DROP_MASTER" }, { 0x3a, "WAIT_VBLANK" }, { 0xa0, "MODE_GETRESOURCES" },
		{ 0xb2, "MODE_CREATE_DUMB" }, { 0xc6, "MODE_CREATE_LEASE" },
	};
	uint64_t arg[64] = { 0 };

	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		is(call(fd, _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE, no[i].nr, 64), arg), -EACCES,
		   "%s is for displays", no[i].name);
	is(call(fd, DRM_IOCTL_GET_CAP, &(struct drm_get_cap) { .capability = DRM_CAP_PRIME }), 0,
	   "GET_CAP is for all");
}

int main(void)
{
	fd = open_card();
	test_query();
	test_bo();
	test_vm();
	test_queue();
	test_short();
	test_displays();
	close(fd);
	return done_testing();
}
