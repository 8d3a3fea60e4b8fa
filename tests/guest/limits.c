// SPDX-License-Identifier: MIT
/* What an administrator lets each user have: set through sysfs, kept by the driver. */
#include <sys/stat.h>
#include <sys/wait.h>

#include "_abi.h"

#define NOBODY		65534
#define LIMITS		"/sys/class/accel/accel0/device/limits/"

static int set(const char *line)
{
	int fd = open(LIMITS "users", O_WRONLY);
	int ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, line, strlen(line)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static const char *get(const char *name)
{
	static char text[8192];
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return text;
}

static bool shows(const char *name, const char *line)
{
	const char *text = get(name);

	if (strstr(text, line))
		return true;
	printf("# expected %s\n# got %s\n", line, text);
	return false;
}

static int new_bo(int fd, uint64_t size, uint32_t flags, uint32_t *handle)
{
	struct drm_kiln_bo_create bo = { .size = size, .flags = flags };
	int ret = call(fd, DRM_IOCTL_KILN_BO_CREATE, &bo);

	*handle = bo.handle;
	return ret;
}

static int new_vm(int fd, uint32_t weight, uint32_t min_share, uint32_t *id)
{
	struct drm_kiln_vm_create vm = { .weight = weight, .min_share = min_share };
	int ret = call(fd, DRM_IOCTL_KILN_VM_CREATE, &vm);

	*id = vm.id;
	return ret;
}

static int new_queue(int fd, uint32_t vm, uint32_t *id)
{
	struct drm_kiln_queue_create queue = { .vm_id = vm, .depth = 8 };
	int ret = call(fd, DRM_IOCTL_KILN_QUEUE_CREATE, &queue);

	*id = queue.id;
	return ret;
}

static int set_weight(int fd, uint32_t vm, uint32_t weight)
{
	struct drm_kiln_vm_share share = {
		.vm_id = vm, .flags = DRM_KILN_SHARE_WEIGHT, .weight = weight,
	};

	return call(fd, DRM_IOCTL_KILN_VM_SHARE, &share);
}

static void bad_input(void)
{
	static const char * const lines[] = {
		"", "\n", "1000", "default", "nobody hbm=1", "-1 hbm=1", "4294967295 hbm=1", "1000 hbm",
		"1000 hbm=", "1000 hbm=x", "1000 hbm=-1", "1000 hbm=1Z", "1000 hbm=K", "1000 tea=1",
		"1000 hbm=1 queues", "1000 hbm=1 queues=1 1000", "default none", "1000=1",
	};
	char before[4096], line[64];
	int ret = 0, n;

	snprintf(before, sizeof(before), "%s", get(LIMITS "users"));
	is(strcmp(before, "default hbm=max system=max queues=max weight=max min_share=0\n"), 0,
	   "at first nothing is limited but promises");
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		is(set(lines[i]), *lines[i] ? -EINVAL : 0, "\"%s\" is refused", lines[i]);
	is(strcmp(before, get(LIMITS "users")), 0, "and nothing has changed");
	for (n = 0; n < 100 && !ret; n++) {
		snprintf(line, sizeof(line), "%d hbm=18446744073709551615 queues=%d\n", 1000 + n, n);
		ret = set(line);
	}
	is(ret, -ENOSPC, "%d users with limits of their own are as many as can be", n - 1);
	is(set("1000 hbm=1M"), 0, "one of them can be changed");
	ok(shows(LIMITS "users", "\n1000 hbm=1048576 system=max queues=0 "), "and is");
	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "%d none", 1000 + i);
		ret = set(line);
	}
	is(ret, 0, "all of them away");
	is(strcmp(before, get(LIMITS "users")), 0, "as at first");
}

/* The user under limits, in this process. */
static void user(void)
{
	uint32_t a, b, c, vm, vm2, q, q2;
	int fd = open_card(), other = open_card(), before = tap_number;

	is(new_bo(fd, 8 * MIB, DRM_KILN_BO_HBM, &a), 0, "hbm: 8 MiB of 16");
	is(new_bo(other, 8 * MIB, DRM_KILN_BO_HBM, &b), 0, "hbm: 8 more, by another open file");
	is(new_bo(fd, PAGE, DRM_KILN_BO_HBM, &c), -EDQUOT, "hbm: not a page more");
	is(new_bo(fd, ~0ull & ~(PAGE - 1), DRM_KILN_BO_HBM, &c), -ENOMEM, "hbm: nor all there is");
	close_bo(fd, a);
	is(new_bo(fd, 8 * MIB, DRM_KILN_BO_HBM, &a), 0, "hbm: what is freed can be had again");
	is(new_bo(fd, MIB, DRM_KILN_BO_SYSTEM, &b), 0, "system: 1 MiB");
	is(new_bo(fd, PAGE, DRM_KILN_BO_SYSTEM, &b), -EDQUOT, "system: not a page more");

	is(new_vm(fd, 60, 0, &vm), 0, "weight: 60 of 100");
	is(new_vm(fd, 0, 0, &vm2), -EDQUOT, "weight: not 64 more");
	is(new_vm(other, 40, 0, &vm2), 0, "weight: 40 more");
	is(set_weight(fd, vm, 61), -EDQUOT, "weight: not 61 instead of 60");
	is(set_weight(fd, vm, 50), 0, "weight: 50 instead of 60");
	is(set_weight(other, vm2, 50), 0, "weight: and then 50 instead of 40");
	is(destroy_vm(other, vm2), 0, "weight: one goes");
	is(new_vm(other, 50, 100, &vm2), 0, "min_share: 100 are granted");
	is(new_vm(fd, 1, 0, &vm2), -EDQUOT, "weight: and counts with it");
	is(set_weight(fd, vm, 40), 0, "weight: less");
	is(new_vm(fd, 1, 1, &vm2), -EPERM, "min_share: not one more");
	is(new_vm(fd, 10, 0, &vm2), 0, "weight: a refused promise has cost nothing");

	is(new_queue(fd, vm, &q), 0, "queues: one of two");
	is(new_queue(fd, vm, &q2), 0, "queues: two of two");
	is(new_queue(fd, vm2, &q2), -EDQUOT, "queues: not three");
	is(destroy_queue(fd, q), 0, "queues: one goes");
	is(new_queue(fd, vm2, &q), 0, "queues: another comes");
	is(run_nop(fd, q), 0, "and works");
	ok(shows(LIMITS "usage",
		 "\n65534 hbm=16777216 system=1048576 queues=2 weight=100 min_share=100\n"),
	   "usage shows all of it");
	close(other);
	ok(shows(LIMITS "usage", "\n65534 hbm=8388608 system=1048576 queues=2 weight=50 min_share=0\n"),
	   "what a closed file had counts no more");
	is(set("65534 none"), -EACCES, "the user cannot change his limits");
	fflush(stdout);
	exit(tap_failed ? 255 : tap_number - before);
}

int main(void)
{
	uint32_t handle, vm;
	int fd = open_card(), status;
	pid_t child;

	bad_input();
	is(set("65534 hbm=16M system=1M queues=2 weight=100 min_share=100\n"), 0, "limits for a user");
	ok(shows(LIMITS "users", "\n65534 hbm=16777216 system=1048576 queues=2 weight=100 min_share=100\n"),
	   "they can be read");
	chmod("/dev/accel/accel0", 0666);
	fflush(stdout);
	child = fork();
	if (!child) {
		if (setgid(NOBODY) || setuid(NOBODY))
			exit(255);
		user();
	}
	waitpid(child, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) < 255)
		tap_number += WEXITSTATUS(status);
	ok(WIFEXITED(status) && WEXITSTATUS(status) < 255, "that user");
	ok(!strstr(get(LIMITS "usage"), "65534"), "he is gone and has left nothing");

	is(new_bo(fd, 32 * MIB, DRM_KILN_BO_HBM, &handle), 0, "others have other limits");
	is(set("default queues=0 hbm=32M"), 0, "a default");
	is(new_bo(fd, PAGE, DRM_KILN_BO_HBM, &handle), -EDQUOT, "which holds for everybody else");
	vm = make_vm(fd);
	is(new_queue(fd, vm, &handle), -EDQUOT, "at once");
	is(set("0 hbm=1M queues=max"), 0, "less than root has");
	is(new_queue(fd, vm, &handle), 0, "but more queues");
	is(run_nop(fd, handle), 0, "nothing was taken away");
	is(new_bo(fd, PAGE, DRM_KILN_BO_HBM, &handle), -EDQUOT, "and nothing is added");
	is(set("0 none"), 0, "as default again");
	is(set("default queues=max hbm=max"), 0, "no limits");
	is(new_bo(fd, PAGE, DRM_KILN_BO_HBM, &handle), 0, "nor are there any");
	chmod("/dev/accel/accel0", 0660);
	return done_testing();
}
