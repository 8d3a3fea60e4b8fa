/* SPDX-License-Identifier: MIT */
/*
 * For tests of the driver's interface: nothing but the kernel's headers, libdrm
 * and liburing between them and the driver. TAP, with the plan at the end.
 */
#ifndef KILN_TEST_ABI_H
#define KILN_TEST_ABI_H

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <drm/kiln_accel.h>
#include <xf86drm.h>

#define VA_BASE		0x10000000ull
#define PAGE		4096ull
#define MIB		(1ull << 20)

static int tap_number, tap_failed;

__attribute__((format(printf, 2, 3), unused))
static bool ok(bool good, const char *what, ...)
{
	va_list ap;

	va_start(ap, what);
	printf("%sok %d - ", good ? "" : "not ", ++tap_number);
	vprintf(what, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
	tap_failed += !good;
	return good;
}

/* A call's result, 0 or a negative errno, against what it should be. */
__attribute__((format(printf, 3, 4), unused))
static bool is(long long got, long long expected, const char *what, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	if (ok(got == expected, "%s", text))
		return true;
	printf("# expected %lld%s%s\n# got %lld%s%s\n", expected, expected < 0 ? " " : "",
	       expected < 0 ? strerror(-expected) : "", got, got < 0 ? " " : "",
	       got < 0 ? strerror(-got) : "");
	fflush(stdout);
	return false;
}

__attribute__((unused))
static int done_testing(void)
{
	printf("1..%d\n", tap_number);
	return tap_failed != 0;
}

__attribute__((noreturn, unused))
static void bail(const char *what, int error)
{
	printf("Bail out! %s: %s\n", what, strerror(error));
	exit(1);
}

/* Not drmIoctl(): it calls again, without end, at EAGAIN. */
__attribute__((unused))
static int call(int fd, unsigned long request, void *arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

/* The card with the lowest number; there is no library function for accel nodes. */
__attribute__((unused))
static int open_card(void)
{
	char path[64];
	int fd, i;

	for (i = 0; i < 64; i++) {
		drmVersionPtr version;

		snprintf(path, sizeof(path), "/dev/accel/accel%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		version = drmGetVersion(fd);
		if (version && !strcmp(version->name, "kiln")) {
			drmFreeVersion(version);
			return fd;
		}
		drmFreeVersion(version);
		close(fd);
	}
	bail("no card in /dev/accel", ENOENT);
}

__attribute__((unused))
static struct drm_kiln_info card_info(int fd)
{
	struct drm_kiln_info info = { 0 };
	struct drm_kiln_query query = {
		.type = DRM_KILN_QUERY_INFO, .size = sizeof(info), .pointer = (uintptr_t)&info,
	};
	int ret = call(fd, DRM_IOCTL_KILN_QUERY, &query);

	if (ret)
		bail("query", -ret);
	return info;
}

__attribute__((unused))
static uint32_t make_bo(int fd, uint64_t size, uint32_t flags)
{
	struct drm_kiln_bo_create bo = { .size = size, .flags = flags };
	int ret = call(fd, DRM_IOCTL_KILN_BO_CREATE, &bo);

	if (ret)
		bail("make a buffer", -ret);
	return bo.handle;
}

__attribute__((unused))
static void *map_bo(int fd, uint32_t handle, uint64_t size)
{
	struct drm_kiln_bo_info info = { .handle = handle };
	int ret = call(fd, DRM_IOCTL_KILN_BO_INFO, &info);
	void *p;

	if (ret)
		bail("buffer's info", -ret);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, info.mmap_offset);
	if (p == MAP_FAILED)
		bail("mmap", errno);
	return p;
}

__attribute__((unused))
static uint32_t make_vm(int fd)
{
	struct drm_kiln_vm_create vm = { 0 };
	int ret = call(fd, DRM_IOCTL_KILN_VM_CREATE, &vm);

	if (ret)
		bail("make a VM", -ret);
	return vm.id;
}

__attribute__((unused))
static int bind_flags(int fd, uint32_t vm, uint32_t handle, uint64_t offset, uint64_t va,
		      uint64_t size, uint32_t flags)
{
	struct drm_kiln_vm_bind bind = {
		.vm_id = vm, .op = DRM_KILN_VM_BIND_MAP, .handle = handle, .flags = flags,
		.bo_offset = offset, .va = va, .size = size,
	};

	return call(fd, DRM_IOCTL_KILN_VM_BIND, &bind);
}

__attribute__((unused))
static int bind_bo(int fd, uint32_t vm, uint32_t handle, uint64_t offset, uint64_t va, uint64_t size)
{
	return bind_flags(fd, vm, handle, offset, va, size, 0);
}

__attribute__((unused))
static int unbind(int fd, uint32_t vm, uint64_t va, uint64_t size)
{
	struct drm_kiln_vm_bind bind = {
		.vm_id = vm, .op = DRM_KILN_VM_BIND_UNMAP, .va = va, .size = size,
	};

	return call(fd, DRM_IOCTL_KILN_VM_BIND, &bind);
}

__attribute__((unused))
static uint32_t make_queue(int fd, uint32_t vm, uint32_t depth, uint32_t limit_ms)
{
	struct drm_kiln_queue_create queue = {
		.vm_id = vm, .depth = depth, .limit_ms = limit_ms,
	};
	int ret = call(fd, DRM_IOCTL_KILN_QUEUE_CREATE, &queue);

	if (ret)
		bail("make a queue", -ret);
	return queue.id;
}

__attribute__((unused))
static int destroy_queue(int fd, uint32_t id)
{
	struct drm_kiln_queue_destroy queue = { .id = id };

	return call(fd, DRM_IOCTL_KILN_QUEUE_DESTROY, &queue);
}

__attribute__((unused))
static int destroy_vm(int fd, uint32_t id)
{
	struct drm_kiln_vm_destroy vm = { .id = id };

	return call(fd, DRM_IOCTL_KILN_VM_DESTROY, &vm);
}

__attribute__((unused))
static int close_bo(int fd, uint32_t handle)
{
	return drmCloseBufferHandle(fd, handle) ? -errno : 0;
}

/* Returns how many were taken, or a negative errno; *seqno: of the last one. */
__attribute__((unused))
static int submit(int fd, const struct drm_kiln_exec *commands, uint32_t count, uint64_t *seqno)
{
	struct drm_kiln_submit submit = {
		.commands = (uintptr_t)commands, .count = count, .stride = sizeof(*commands),
	};
	int ret = call(fd, DRM_IOCTL_KILN_SUBMIT, &submit);

	if (ret)
		return ret;
	if (seqno)
		*seqno = submit.seqno;
	return submit.done;
}

__attribute__((unused))
static int wait_results(int fd, uint32_t queue, uint64_t seqno, uint32_t count, int64_t timeout_ns,
			struct drm_kiln_result *results)
{
	struct drm_kiln_wait wait = {
		.queue_id = queue, .count = count, .seqno = seqno, .timeout_ns = timeout_ns,
		.results = (uintptr_t)results,
	};

	return call(fd, DRM_IOCTL_KILN_WAIT, &wait);
}

/* Submit one command by ioctl and wait for it: its result, or the errno of what failed. */
__attribute__((unused))
static int run_one(int fd, const struct drm_kiln_exec *exec)
{
	struct drm_kiln_result result = { .res = 1 };
	uint64_t seqno = 0;
	int ret = submit(fd, exec, 1, &seqno);

	if (ret < 0)
		return ret;
	ret = wait_results(fd, exec->queue_id, seqno, 1, 20000000000ll, &result);
	return ret ? ret : result.res;
}

__attribute__((unused))
static int run_nop(int fd, uint32_t queue)
{
	struct drm_kiln_exec exec = { .queue_id = queue, .flags = DRM_KILN_EXEC_NOP };

	return run_one(fd, &exec);
}

__attribute__((unused))
static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* A number from /proc/PID/fdinfo/FD; -1: the key is not there. */
__attribute__((unused))
static long long fdinfo(pid_t pid, int fd, const char *key)
{
	char path[64], line[256];
	long long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			value = strtoll(line + strlen(key) + 1, NULL, 10);
	if (f)
		fclose(f);
	return value;
}

/* A file of the first card's debugfs directory, or "" if it cannot be read. */
__attribute__((unused))
static const char *debugfs(const char *name)
{
	static char text[65536];
	size_t n = 0;
	glob_t g;
	FILE *f;
	char pattern[128];

	snprintf(pattern, sizeof(pattern), "/sys/kernel/debug/accel/*/%s", name);
	if (!glob(pattern, 0, NULL, &g)) {
		f = fopen(g.gl_pathv[0], "r");
		if (f) {
			n = fread(text, 1, sizeof(text) - 1, f);
			fclose(f);
		}
		globfree(&g);
	}
	text[n] = 0;
	return text;
}

/* Lines after the heading: contexts or queues that the card has. */
__attribute__((unused))
static int debugfs_rows(const char *name)
{
	int lines = 0;

	for (const char *p = debugfs(name); *p; p++)
		lines += *p == '\n';
	return lines - 1;
}

#endif
