// SPDX-License-Identifier: MIT
/*
 * Address spaces: what the card sees where. A nop's signal writes a u64 at a
 * device address, and its wait reads one, so no program is needed.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "_abi.h"

static int fd;
static uint32_t vm, queue;

/* Have the card write. */
static int poke(uint64_t va, uint64_t value)
{
	struct drm_kiln_exec e = {
		.queue_id = queue, .flags = DRM_KILN_EXEC_NOP, .signal_addr = va, .signal_value = value,
	};

	return run_one(fd, &e);
}

/* Have the card read: 0 if the u64 there is at least value. */
static int peek(uint64_t va, uint64_t value)
{
	struct drm_kiln_exec e = {
		.queue_id = queue, .flags = DRM_KILN_EXEC_NOP, .wait_addr = va, .wait_value = value,
	};

	return run_one(fd, &e);
}

static void test_fields(void)
{
	uint32_t bo = make_bo(fd, 64 * PAGE, DRM_KILN_BO_HBM);
	struct drm_kiln_vm_bind b, good = {
		.vm_id = vm, .handle = bo, .va = VA_BASE, .size = 4 * PAGE, .bo_offset = PAGE,
	};

#define REFUSED(error, what, ...) do { \
		b = good; \
		__VA_ARGS__; \
		is(call(fd, DRM_IOCTL_KILN_VM_BIND, &b), error, "bind: %s", what); \
	} while (0)
	REFUSED(-ENOENT, "vm_id", b.vm_id = 999);
	REFUSED(-ENOENT, "vm_id 0", b.vm_id = 0);
	REFUSED(-EINVAL, "op", b.op = 2);
	REFUSED(-ENOENT, "handle", b.handle = 999);
	REFUSED(-ENOENT, "handle 0", b.handle = 0);
	REFUSED(-EINVAL, "unknown flag", b.flags = 2);
	REFUSED(-EINVAL, "highest flag", b.flags = 1u << 31);
	REFUSED(-EINVAL, "bo_offset unaligned", b.bo_offset = 8);
	REFUSED(-EINVAL, "bo_offset beyond the end", b.bo_offset = 64 * PAGE);
	REFUSED(-EINVAL, "range beyond the end", b.bo_offset = 61 * PAGE);
	REFUSED(-EINVAL, "bo_offset that wraps", b.bo_offset = ~0ull - 4095);
	REFUSED(-EINVAL, "va 0", b.va = 0);
	REFUSED(-EINVAL, "va unaligned", b.va = VA_BASE + 16);
	REFUSED(-EINVAL, "va at the end", b.va = 1ull << 48);
	REFUSED(-EINVAL, "va reaches beyond the end", b.va = (1ull << 48) - PAGE);
	REFUSED(-EINVAL, "va that wraps", b.va = ~0ull - 4095);
	REFUSED(-EINVAL, "size 0", b.size = 0);
	REFUSED(-EINVAL, "size unaligned", b.size = 4095);
	REFUSED(-EINVAL, "size that wraps", b.size = ~0ull - 4095);
	REFUSED(-EINVAL, "reserved", b.reserved = 1);
	REFUSED(-EINVAL, "unmap with handle", b.op = DRM_KILN_VM_BIND_UNMAP, b.bo_offset = 0);
	REFUSED(-EINVAL, "unmap with bo_offset", b.op = DRM_KILN_VM_BIND_UNMAP, b.handle = 0);
	REFUSED(-EINVAL, "unmap with flag", b.op = DRM_KILN_VM_BIND_UNMAP, b.handle = 0,
		b.bo_offset = 0, b.flags = DRM_KILN_VM_BIND_READONLY);
	REFUSED(0, "unmap what is not mapped", b.op = DRM_KILN_VM_BIND_UNMAP, b.handle = 0, b.bo_offset = 0);
	REFUSED(0, "last page there is", b.va = (1ull << 48) - PAGE, b.size = PAGE);
	is(poke((1ull << 48) - 8, 1), 0, "the card writes there");
	REFUSED(0, "first page there is", b.va = PAGE, b.size = PAGE);
	is(poke(PAGE, 1), 0, "the card writes there");
	REFUSED(0, "a good one", (void)0);
	is(unbind(fd, vm, PAGE, (1ull << 48) - PAGE), 0, "unmap everything at once");
	is(poke(VA_BASE, 1), -EFAULT, "nothing is mapped");
	is(close_bo(fd, bo), 0, "close");
#undef REFUSED
}

static void test_placement(uint32_t flags, const char *name)
{
	uint64_t bytes = 4 * MIB, used = card_info(fd).hbm_used_bytes;
	uint32_t bo = make_bo(fd, bytes, flags);
	uint64_t *p = map_bo(fd, bo, bytes), i;
	int bad = 0;

	for (i = 0; i < bytes / 8; i += 64)
		bad += p[i] != 0;
	is(bad, 0, "%s: filled with zeroes", name);
	is(bind_bo(fd, vm, bo, 0, VA_BASE, bytes), 0, "%s: bind", name);
	is(poke(VA_BASE, 11), 0, "%s: the card writes", name);
	is(poke(VA_BASE + bytes - 8, 22), 0, "%s: the card writes the end", name);
	ok(p[0] == 11 && p[bytes / 8 - 1] == 22, "%s: we see it", name);
	p[1000] = 33;
	is(peek(VA_BASE + 8000, 33), 0, "%s: the card sees what we write", name);
	is(poke(VA_BASE + bytes, 1), -EFAULT, "%s: not beyond the end", name);

	/* At an address that fits no large page. */
	is(bind_bo(fd, vm, bo, PAGE, VA_BASE + 64 * MIB + 3 * PAGE, bytes - PAGE), 0, "%s: bind again, small pages", name);
	is(poke(VA_BASE + 64 * MIB + 3 * PAGE, 44), 0, "%s: the card writes there", name);
	is(p[512], 44, "%s: it is the same memory", name);
	is(unbind(fd, vm, VA_BASE, bytes), 0, "%s: unmap", name);
	is(poke(VA_BASE, 1), -EFAULT, "%s: it is gone", name);
	is(poke(VA_BASE + 64 * MIB + 3 * PAGE, 45), 0, "%s: the other one is not", name);
	is(close_bo(fd, bo), 0, "%s: close the handle", name);
	is(poke(VA_BASE + 64 * MIB + 3 * PAGE, 46), 0, "%s: the mapping keeps the buffer", name);
	is(unbind(fd, vm, VA_BASE + 64 * MIB, 8 * MIB), 0, "%s: unmap it", name);
	munmap(p, bytes);
	ok(card_info(fd).hbm_used_bytes <= used + 2 * MIB, "%s: memory is back", name);
}

static void test_split(void)
{
	uint64_t bytes = 8 * MIB, *p;
	uint32_t bo = make_bo(fd, bytes, DRM_KILN_BO_HBM), other = make_bo(fd, 16 * PAGE, DRM_KILN_BO_SYSTEM);
	uint64_t *q = map_bo(fd, other, 16 * PAGE);
	int i, bad = 0;

	p = map_bo(fd, bo, bytes);
	is(bind_bo(fd, vm, bo, 0, VA_BASE, bytes), 0, "split: large pages");
	is(unbind(fd, vm, VA_BASE + 3 * MIB, PAGE), 0, "split: a hole in the middle");
	is(poke(VA_BASE + 3 * MIB, 1), -EFAULT, "split: the hole is one");
	is(poke(VA_BASE + 3 * MIB - 8, 2), 0, "split: not before it");
	is(poke(VA_BASE + 3 * MIB + PAGE, 3), 0, "split: nor behind it");
	ok(p[(3 * MIB - 8) / 8] == 2 && p[(3 * MIB + PAGE) / 8] == 3, "split: at the right place");
	is(bind_bo(fd, vm, other, PAGE, VA_BASE + 3 * MIB - PAGE, 4 * PAGE), 0, "split: another buffer over it");
	is(poke(VA_BASE + 3 * MIB, 4), 0, "split: write there");
	is(q[2 * PAGE / 8], 4, "split: it is the other buffer");
	is(poke(VA_BASE + 3 * MIB - PAGE - 8, 5), 0, "split: write before it");
	is(p[(3 * MIB - PAGE - 8) / 8], 5, "split: it is the first buffer");
	is(bind_bo(fd, vm, bo, 0, VA_BASE, bytes), 0, "split: the first one over all");
	is(poke(VA_BASE + 3 * MIB, 6), 0, "split: write there");
	is(p[3 * MIB / 8], 6, "split: it is the first buffer");
	for (i = 0; i < 64; i++)
		bad |= unbind(fd, vm, VA_BASE + (i * 37 % 64) * 128 * 1024, 128 * 1024);
	is(bad, 0, "split: unmap it in 64 pieces, out of order");
	for (i = 0, bad = 0; i < 8; i++)
		bad += poke(VA_BASE + i * MIB, 1) != -EFAULT;
	is(bad, 0, "split: nothing is left");
	munmap(p, bytes);
	munmap(q, 16 * PAGE);
	close_bo(fd, bo);
	close_bo(fd, other);
}

static void test_readonly(void)
{
	uint32_t bo = make_bo(fd, 4 * MIB, DRM_KILN_BO_HBM);
	uint64_t *p = map_bo(fd, bo, 4 * MIB);

	p[0] = 7;
	is(bind_flags(fd, vm, bo, 0, VA_BASE, 4 * MIB, DRM_KILN_VM_BIND_READONLY), 0, "readonly: bind");
	is(peek(VA_BASE, 7), 0, "readonly: read");
	is(poke(VA_BASE, 8), -EFAULT, "readonly: write");
	is(unbind(fd, vm, VA_BASE + PAGE, PAGE), 0, "readonly: split");
	is(poke(VA_BASE + 2 * PAGE, 8), -EFAULT, "readonly: the rest is still so");
	is(unbind(fd, vm, VA_BASE + PAGE, PAGE), 0, "readonly: split again");
	is(poke(VA_BASE + 3 * MIB, 8), -EFAULT, "readonly: and still");
	is(p[0], 7, "readonly: nothing was written");
	is(bind_bo(fd, vm, bo, 0, VA_BASE, 4 * MIB), 0, "readonly: bind for writing");
	is(poke(VA_BASE, 9), 0, "readonly: write");
	is(unbind(fd, vm, VA_BASE, 4 * MIB), 0, "readonly: unmap");
	munmap(p, 4 * MIB);
	close_bo(fd, bo);
}

static void test_isolation(void)
{
	uint32_t bo = make_bo(fd, MIB, DRM_KILN_BO_HBM), theirs;
	int other = open_card();
	uint32_t other_vm = make_vm(other), other_queue = make_queue(other, other_vm, 8, 0);
	struct drm_kiln_exec e = {
		.queue_id = other_queue, .flags = DRM_KILN_EXEC_NOP, .signal_addr = VA_BASE, .signal_value = 1,
	};
	struct drm_kiln_bo_info info = { .handle = bo };
	uint64_t *p;

	is(bind_bo(fd, vm, bo, 0, VA_BASE, MIB), 0, "isolation: bind");
	is(run_one(other, &e), -EFAULT, "isolation: nothing is there for another VM");
	is(bind_bo(other, other_vm, bo, 0, VA_BASE, MIB), -ENOENT, "isolation: another file's handle");
	is(bind_bo(other, vm + 100, bo, 0, VA_BASE, MIB), -ENOENT, "isolation: another file's VM");
	call(fd, DRM_IOCTL_KILN_BO_INFO, &info);
	p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, other, info.mmap_offset);
	ok(p == MAP_FAILED && errno == EACCES, "isolation: another file's mmap offset");

	/* What was somebody's is zero for the next. */
	p = map_bo(fd, bo, MIB);
	memset(p, 0xa5, MIB);
	munmap(p, MIB);
	is(unbind(fd, vm, VA_BASE, MIB), 0, "isolation: unmap");
	is(close_bo(fd, bo), 0, "isolation: free");
	theirs = make_bo(other, MIB, DRM_KILN_BO_HBM);
	p = map_bo(other, theirs, MIB);
	is(p[0] | p[1000] | p[MIB / 8 - 1], 0, "isolation: reused memory is zero");
	munmap(p, MIB);
	close(other);
}

static void test_prime(void)
{
	int other = open_card(), dmabuf = -1;
	uint32_t bo = make_bo(fd, MIB, DRM_KILN_BO_SYSTEM), theirs, other_vm = make_vm(other);
	uint64_t *p = map_bo(fd, bo, MIB), *q;

	is(drmPrimeHandleToFD(fd, bo, DRM_CLOEXEC | DRM_RDWR, &dmabuf), 0, "prime: export");
	is(drmPrimeFDToHandle(other, dmabuf, &theirs), 0, "prime: import in another file");
	is(bind_bo(other, other_vm, theirs, 0, VA_BASE, MIB), 0, "prime: bind there");
	q = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
	ok(q != MAP_FAILED, "prime: mmap of the dma-buf");
	if (q != MAP_FAILED) {
		p[5] = 55;
		is(q[5], 55, "prime: it is the same memory");
		munmap(q, MIB);
	}
	munmap(p, MIB);
	close(dmabuf);
	close_bo(fd, bo);
	close(other);
}

/* A mapping in two processes, and one of a dma-buf. */
static void test_fork(void)
{
	uint32_t bo = make_bo(fd, MIB, DRM_KILN_BO_HBM);
	volatile uint64_t *p = map_bo(fd, bo, MIB), *q;
	int dmabuf = -1, status = -1;
	pid_t pid;

	is(drmPrimeHandleToFD(fd, bo, DRM_CLOEXEC | DRM_RDWR, &dmabuf), 0, "fork: export");
	q = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf, 0);
	if (q == MAP_FAILED)
		bail("mmap of a dma-buf", errno);
	p[0] = 1;
	pid = fork();
	if (!pid) {
		p[1] = p[0] + 1;
		q[2] = q[1] + 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	is(status, 0, "fork: the child reads and writes");
	is(p[2], 3, "fork: both ways are the same memory");
	munmap((void *)p, MIB);
	munmap((void *)q, MIB);
	close(dmabuf);
	close_bo(fd, bo);
}

/* Bound memory stays: what does not fit beside it is refused. */
static void test_pressure(void)
{
	uint64_t total = card_info(fd).hbm_bytes;
	struct drm_kiln_bo_create c = { .size = total, .flags = DRM_KILN_BO_HBM };
	uint32_t bo = make_bo(fd, PAGE, DRM_KILN_BO_HBM);

	is(bind_bo(fd, vm, bo, 0, VA_BASE, PAGE), 0, "pressure: bind a page");
	is(poke(VA_BASE, 77), 0, "pressure: write it");
	is(call(fd, DRM_IOCTL_KILN_BO_CREATE, &c), -ENOMEM, "pressure: a buffer as large as HBM");
	is(peek(VA_BASE, 77), 0, "pressure: the page is still there");
	is(unbind(fd, vm, VA_BASE, PAGE), 0, "pressure: unmap it");
	close_bo(fd, bo);
}

/* What is not bound makes room and comes back. Only with a small HBM: all of it is filled. */
static void test_evict(void)
{
	uint64_t total = card_info(fd).hbm_bytes, size = total / 4 / (2 * MIB) * 2 * MIB, *p[6], i;
	struct drm_kiln_bo_info info;
	uint32_t bo[6];
	int n, bad = 0;

	if (total > 256 * MIB) {
		ok(true, "evict # SKIP HBM is larger than 256 MiB");
		return;
	}
	for (n = 0; n < 6; n++) {
		bo[n] = make_bo(fd, size, DRM_KILN_BO_HBM);
		p[n] = map_bo(fd, bo[n], size);
		for (i = 0; i < size / 8; i += 128)
			p[n][i] = i + n;
	}
	for (n = 0; n < 6; n++)
		for (i = 0; i < size / 8; i += 128)
			bad += p[n][i] != i + n;
	is(bad, 0, "evict: six quarters of HBM, and what they hold");
	info = (struct drm_kiln_bo_info) { .handle = bo[5] };
	is(call(fd, DRM_IOCTL_KILN_BO_INFO, &info), 0, "evict: where is the last");
	is(info.placement, DRM_KILN_BO_SYSTEM, "evict: in host memory: nobody has to leave for what is not bound");
	for (n = 3; n < 6; n++)
		is(bind_bo(fd, vm, bo[n], 0, VA_BASE + n * total, size), 0, "evict: bind it, %d", n);
	info = (struct drm_kiln_bo_info) { .handle = bo[5] };
	is(call(fd, DRM_IOCTL_KILN_BO_INFO, &info), 0, "evict: where is the last now");
	is(info.placement, DRM_KILN_BO_HBM, "evict: at home");
	for (n = 3; n < 6; n++) {
		is(peek(VA_BASE + n * total + 1024, 128 + n), 0, "evict: the card sees its content, %d", n);
		is(poke(VA_BASE + n * total + 8, 99), 0, "evict: and writes, %d", n);
		is(p[n][1], 99, "evict: where we see it, %d", n);
	}
	is(bind_bo(fd, vm, bo[0], 0, VA_BASE, size), -ENOMEM, "evict: the first finds no room beside them");
	is(unbind(fd, vm, VA_BASE + 4 * total, size), 0, "evict: make some");
	is(bind_bo(fd, vm, bo[0], 0, VA_BASE, size), 0, "evict: now it does");
	for (n = 0; n < 6; n++) {
		unbind(fd, vm, VA_BASE + n * total, size);
		munmap(p[n], size);
		close_bo(fd, bo[n]);
	}
}

static void *churn(void *arg)
{
	uint64_t va = VA_BASE + (uintptr_t)arg * 64 * MIB;
	uint32_t bo = make_bo(fd, 3 * MIB, DRM_KILN_BO_HBM);
	long bad = 0;

	for (int i = 0; i < 50; i++) {
		bad += bind_bo(fd, vm, bo, 0, va + i % 7 * PAGE, 3 * MIB) != 0;
		bad += unbind(fd, vm, va + i % 5 * 64 * PAGE, 2 * MIB) != 0;
	}
	bad += unbind(fd, vm, va, 64 * MIB) != 0;
	close_bo(fd, bo);
	return (void *)bad;
}

static void test_threads(void)
{
	pthread_t threads[4];
	long bad = 0;
	void *ret;

	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, churn, (void *)i);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], &ret);
		bad += (long)ret;
	}
	is(bad, 0, "four threads bind and unbind in one VM");
	is(poke(VA_BASE, 1), -EFAULT, "and nothing is left mapped");
}

int main(void)
{
	uint64_t used;

	fd = open_card();
	used = card_info(fd).hbm_used_bytes;
	vm = make_vm(fd);
	queue = make_queue(fd, vm, 64, 2000);

	test_fields();
	test_placement(DRM_KILN_BO_HBM, "hbm");
	test_placement(DRM_KILN_BO_SYSTEM, "system");
	test_split();
	test_readonly();
	test_isolation();
	test_prime();
	test_fork();
	test_pressure();
	test_evict();
	test_threads();

	is(destroy_queue(fd, queue), 0, "destroy the queue");
	is(destroy_vm(fd, vm), 0, "destroy the VM");
	is(card_info(fd).hbm_used_bytes, used, "HBM is as it was");
	close(fd);
	return done_testing();
}
