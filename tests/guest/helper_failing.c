// SPDX-License-Identifier: MIT
/*
 * Two tenants who cannot be in HBM together, while the driver's allocations fail now and then: what fails says so, nothing
 * is lost, and afterwards all is well. Wants a card with 64 MiB and a kernel with failslab; see tests/host/failing_slow.sh.
 */
#include "_abi.h"

#define BYTES	(40 * MIB)
#define ROUNDS	60
#define FAIL	"/sys/kernel/debug/failslab/"

static struct tenant {
	int fd;
	uint32_t vm, queue, bo;
	volatile uint64_t *p;
} tenants[2];

static unsigned int good, short_of, other;
static int last_other;

static void set(const char *name, const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), FAIL "%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		bail(path, errno);
	close(fd);
}

/* Of the driver's functions, and of what they call. */
static void set_up_failures(void)
{
	unsigned long long start;
	char text[32];
	FILE *f = fopen("/sys/module/kiln/sections/.text", "r");

	if (!f || fscanf(f, "%llx", &start) != 1)
		bail("where the driver is", errno);
	fclose(f);
	snprintf(text, sizeof(text), "%#llx", start);
	set("require-start", text);
	snprintf(text, sizeof(text), "%#llx", start + (1 << 17));
	set("require-end", text);
	set("stacktrace-depth", "32");
	set("ignore-gfp-wait", "N");
	set("interval", "1");
	set("times", "-1");
	set("verbose", "0");
}

static int tally(int ret)
{
	if (!ret) {
		good++;
	} else if (ret == -ENOMEM) {
		short_of++;
	} else {
		other++;
		last_other = ret;
	}
	return ret;
}

/* The card looks for the tenant's mark, and leaves a number. */
static int touch(struct tenant *t, uint64_t number)
{
	struct drm_kiln_exec e = {
		.queue_id = t->queue, .flags = DRM_KILN_EXEC_NOP, .wait_addr = VA_BASE, .wait_value = t->p[0],
		.signal_addr = VA_BASE + BYTES - 8, .signal_value = number,
	};

	return run_one(t->fd, &e);
}

/* Whatever takes memory, and gives it back. */
static void others(struct tenant *t)
{
	struct drm_kiln_bo_create bo = { .size = MIB, .flags = DRM_KILN_BO_SYSTEM };
	struct drm_kiln_vm_create vm = { 0 };

	if (!tally(call(t->fd, DRM_IOCTL_KILN_BO_CREATE, &bo))) {
		uint64_t va = VA_BASE + 2 * BYTES;
		int buf;

		if (!tally(bind_bo(t->fd, t->vm, bo.handle, 0, va, MIB)) &&
		    !tally(bind_bo(t->fd, t->vm, bo.handle, 0, va + MIB / 4, MIB / 2)))
			tally(unbind(t->fd, t->vm, va + MIB / 2, PAGE));
		if (!drmPrimeHandleToFD(t->fd, bo.handle, DRM_CLOEXEC, &buf))
			close(buf);
		while (unbind(t->fd, t->vm, va, MIB) == -ENOMEM)
			;
		close_bo(t->fd, bo.handle);
	}
	if (!tally(call(t->fd, DRM_IOCTL_KILN_VM_CREATE, &vm))) {
		struct drm_kiln_queue_create queue = { .vm_id = vm.id, .depth = 8 };

		if (!tally(call(t->fd, DRM_IOCTL_KILN_QUEUE_CREATE, &queue)))
			destroy_queue(t->fd, queue.id);
		destroy_vm(t->fd, vm.id);
	}
}

int main(void)
{
	int watcher = open_card();
	uint64_t used = card_info(watcher).hbm_used_bytes;

	for (int i = 0; i < 2; i++) {
		struct tenant *t = &tenants[i];

		t->fd = open_card();
		t->vm = make_vm(t->fd);
		t->queue = make_queue(t->fd, t->vm, 16, 0);
		t->bo = make_bo(t->fd, BYTES, DRM_KILN_BO_HBM);
		t->p = map_bo(t->fd, t->bo, BYTES);
		t->p[0] = 1000 + i;
		if (bind_bo(t->fd, t->vm, t->bo, 0, VA_BASE, BYTES))
			bail("bind", errno);
	}
	is(touch(&tenants[0], 1) | touch(&tenants[1], 1), 0, "two tenants");

	set_up_failures();
	set("probability", "3");
	for (int i = 0; i < ROUNDS; i++) {
		struct tenant *t = &tenants[i % 2];

		tally(touch(t, i));
		others(t);
	}
	set("probability", "0");
	printf("# %u calls and commands went well, %u had no memory\n", good, short_of);
	ok(good >= ROUNDS, "some went well");
	ok(short_of >= ROUNDS / 4, "some had no memory");
	is(other ? last_other : 0, 0, "no other error");

	for (int i = 0; i < 2; i++) {
		struct tenant *t = &tenants[i];

		is(t->p[0], 1000 + i, "tenant %d: its memory is what it was", i);
		is(touch(t, 5000), 0, "tenant %d: its next command is right", i);
		is(t->p[BYTES / 8 - 1], 5000, "tenant %d: and has written", i);
		is(unbind(t->fd, t->vm, VA_BASE, 4 * BYTES), 0, "tenant %d: everything is unbound", i);
		close(t->fd);
		munmap((void *)t->p, BYTES);
	}
	for (int i = 0; i < 500 && card_info(watcher).hbm_used_bytes != used; i++)
		usleep(10000);
	is(card_info(watcher).hbm_used_bytes, used, "no memory is lost");
	return done_testing();
}
