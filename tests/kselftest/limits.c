// SPDX-License-Identifier: MIT
/* What an administrator lets each user have: set through sysfs, kept by the driver. */
#include <kselftest_harness.h>

#include <sys/stat.h>

#include "guest/_abi.h"

#define NODE		"/dev/accel/accel0"
#define LIMITS		"/sys/class/accel/accel0/device/limits/"
#define NOBODY		65534
#define NO_LIMITS	"default hbm=max system=max queues=max weight=max min_share=0\n"

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

static char *get(const char *name)
{
	static char text[8192];
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return text;
}

/* The line of a user, or "" if there is none. */
static const char *get_user(const char *name, const char *user)
{
	size_t length = strlen(user);

	for (char *line = strtok(get(name), "\n"); line; line = strtok(NULL, "\n"))
		if (!strncmp(line, user, length) && line[length] == ' ')
			return line;
	return "";
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

/* -------------------------------------------------- the administrator -- */

FIXTURE(administrator) {
	int fd;
	uint32_t vm, id;
};

FIXTURE_SETUP(administrator)
{
	self->fd = open_card();
	self->vm = make_vm(self->fd);
	ASSERT_STREQ(NO_LIMITS, get(LIMITS "users")) {
		TH_LOG("at first nothing is limited but promises");
	}
}

FIXTURE_TEARDOWN(administrator)
{
	close(self->fd);
	EXPECT_EQ(0, set("0 none"));
	EXPECT_EQ(0, set("65534 none"));
	EXPECT_EQ(0, set("default queues=max hbm=max"));
	EXPECT_STREQ(NO_LIMITS, get(LIMITS "users"));
}

TEST_F_TIMEOUT(administrator, bad_lines_change_nothing, 120)
{
	static const char * const lines[] = {
		"\n", "1000", "default", "nobody hbm=1", "-1 hbm=1", "4294967295 hbm=1", "1000 hbm",
		"1000 hbm=", "1000 hbm=x", "1000 hbm=-1", "1000 hbm=1Z", "1000 hbm=K", "1000 tea=1",
		"1000 hbm=1 queues", "1000 hbm=1 queues=1 1000", "default none", "1000=1",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		EXPECT_EQ(-EINVAL, set(lines[i])) {
			TH_LOG("\"%s\"", lines[i]);
		}
	}
	EXPECT_EQ(0, set(""));
	EXPECT_STREQ(NO_LIMITS, get(LIMITS "users"));
}

TEST_F_TIMEOUT(administrator, too_many_users_are_refused, 120)
{
	char line[64];
	int ret = 0, n;

	for (n = 0; n < 100 && !ret; n++) {
		snprintf(line, sizeof(line), "%d hbm=18446744073709551615 queues=%d\n", 1000 + n, n);
		ret = set(line);
	}
	EXPECT_EQ(-ENOSPC, ret);
	EXPECT_EQ(0, set("1000 hbm=1M")) {
		TH_LOG("those who are there can be changed");
	}
	EXPECT_STREQ("1000 hbm=1048576 system=max queues=0 weight=max min_share=0",
		     get_user(LIMITS "users", "1000"));
	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "%d none", 1000 + i);
		EXPECT_EQ(0, set(line));
	}
}

TEST_F_TIMEOUT(administrator, one_users_limits_are_no_others, 120)
{
	ASSERT_EQ(0, set("65534 hbm=16M system=1M queues=2 weight=100 min_share=100\n"));
	EXPECT_STREQ("65534 hbm=16777216 system=1048576 queues=2 weight=100 min_share=100",
		     get_user(LIMITS "users", "65534"));
	EXPECT_EQ(0, new_bo(self->fd, 32 * MIB, DRM_KILN_BO_HBM, &self->id));
}

TEST_F_TIMEOUT(administrator, a_default_holds_for_everybody_else, 120)
{
	ASSERT_EQ(0, new_bo(self->fd, 32 * MIB, DRM_KILN_BO_HBM, &self->id));
	ASSERT_EQ(0, set("default queues=0 hbm=32M"));
	EXPECT_EQ(-EDQUOT, new_bo(self->fd, PAGE, DRM_KILN_BO_HBM, &self->id));
	EXPECT_EQ(-EDQUOT, new_queue(self->fd, self->vm, &self->id));
	ASSERT_EQ(0, set("0 queues=max"));
	EXPECT_EQ(0, new_queue(self->fd, self->vm, &self->id));
	ASSERT_EQ(0, set("0 none"));
	EXPECT_EQ(-EDQUOT, new_queue(self->fd, self->vm, &self->id));
	ASSERT_EQ(0, set("default queues=max hbm=max"));
	EXPECT_EQ(0, new_bo(self->fd, PAGE, DRM_KILN_BO_HBM, &self->id));
}

TEST_F_TIMEOUT(administrator, less_than_a_user_has_takes_nothing_away, 120)
{
	uint32_t queue;

	ASSERT_EQ(0, new_bo(self->fd, 32 * MIB, DRM_KILN_BO_HBM, &self->id));
	ASSERT_EQ(0, new_queue(self->fd, self->vm, &queue));
	ASSERT_EQ(0, set("0 hbm=1M queues=0"));
	EXPECT_EQ(0, run_nop(self->fd, queue));
	EXPECT_EQ(-EDQUOT, new_bo(self->fd, PAGE, DRM_KILN_BO_HBM, &self->id));
	EXPECT_EQ(-EDQUOT, new_queue(self->fd, self->vm, &self->id));
	ASSERT_EQ(0, set("0 none"));
	EXPECT_EQ(0, new_bo(self->fd, PAGE, DRM_KILN_BO_HBM, &self->id));
}

/* -------------------------------------------------- a user under limits -- */

FIXTURE(user) {
	int fd, other;
	uint32_t a, b, c;	/* what he makes: its ids */
};

FIXTURE_SETUP(user)
{
	ASSERT_EQ(0, set("65534 hbm=16M system=1M queues=2 weight=100 min_share=100\n"));
	ASSERT_EQ(0, chmod(NODE, 0666));
	ASSERT_EQ(0, setgid(NOBODY));
	ASSERT_EQ(0, setuid(NOBODY));
	self->fd = open_card();
	self->other = open_card();
}

/* By root, when the user is gone. */
FIXTURE_TEARDOWN_PARENT(user)
{
	EXPECT_STREQ("", get_user(LIMITS "usage", "65534")) {
		TH_LOG("he has left something");
	}
	EXPECT_EQ(0, chmod(NODE, 0660));
	EXPECT_EQ(0, set("65534 none"));
}

TEST_F_TIMEOUT(user, hbm_is_limited, 120)
{
	EXPECT_EQ(0, new_bo(self->fd, 8 * MIB, DRM_KILN_BO_HBM, &self->a));
	EXPECT_EQ(0, new_bo(self->other, 8 * MIB, DRM_KILN_BO_HBM, &self->b));
	EXPECT_EQ(-EDQUOT, new_bo(self->fd, PAGE, DRM_KILN_BO_HBM, &self->c));
	EXPECT_EQ(-ENOMEM, new_bo(self->fd, ~0ull & ~(PAGE - 1), DRM_KILN_BO_HBM, &self->c));
	EXPECT_EQ(0, close_bo(self->fd, self->a));
	EXPECT_EQ(0, new_bo(self->fd, 8 * MIB, DRM_KILN_BO_HBM, &self->a)) {
		TH_LOG("what is freed cannot be had again");
	}
}

TEST_F_TIMEOUT(user, system_memory_is_limited, 120)
{
	EXPECT_EQ(0, new_bo(self->fd, MIB, DRM_KILN_BO_SYSTEM, &self->a));
	EXPECT_EQ(-EDQUOT, new_bo(self->fd, PAGE, DRM_KILN_BO_SYSTEM, &self->b));
}

TEST_F_TIMEOUT(user, weight_is_limited, 120)
{
	EXPECT_EQ(0, new_vm(self->fd, 60, 0, &self->a));
	/* 0 stands for 64. */
	EXPECT_EQ(-EDQUOT, new_vm(self->fd, 0, 0, &self->b));
	EXPECT_EQ(0, new_vm(self->other, 40, 0, &self->b));
	EXPECT_EQ(-EDQUOT, set_weight(self->fd, self->a, 61));
	EXPECT_EQ(0, set_weight(self->fd, self->a, 50));
	EXPECT_EQ(0, set_weight(self->other, self->b, 50));
	EXPECT_EQ(0, destroy_vm(self->other, self->b));
	EXPECT_EQ(0, new_vm(self->other, 50, 0, &self->b));
}

TEST_F_TIMEOUT(user, min_share_is_limited, 120)
{
	EXPECT_EQ(0, new_vm(self->fd, 50, 0, &self->a));
	EXPECT_EQ(0, new_vm(self->other, 50, 100, &self->b));
	EXPECT_EQ(-EDQUOT, new_vm(self->fd, 1, 0, &self->c)) {
		TH_LOG("the weight beside a promise does not count");
	}
	EXPECT_EQ(0, set_weight(self->fd, self->a, 40));
	EXPECT_EQ(-EPERM, new_vm(self->fd, 1, 1, &self->c));
	EXPECT_EQ(0, new_vm(self->fd, 10, 0, &self->c)) {
		TH_LOG("a refused promise has cost weight");
	}
}

TEST_F_TIMEOUT(user, queues_are_limited, 120)
{
	uint32_t vm, other;

	ASSERT_EQ(0, new_vm(self->fd, 40, 0, &vm));
	ASSERT_EQ(0, new_vm(self->fd, 10, 0, &other));
	EXPECT_EQ(0, new_queue(self->fd, vm, &self->a));
	EXPECT_EQ(0, new_queue(self->fd, vm, &self->b));
	EXPECT_EQ(-EDQUOT, new_queue(self->fd, other, &self->c));
	EXPECT_EQ(0, destroy_queue(self->fd, self->a));
	EXPECT_EQ(0, new_queue(self->fd, other, &self->a));
	EXPECT_EQ(0, run_nop(self->fd, self->a));
}

TEST_F_TIMEOUT(user, usage_is_that_of_his_open_files, 120)
{
	ASSERT_EQ(0, new_bo(self->fd, 8 * MIB, DRM_KILN_BO_HBM, &self->a));
	ASSERT_EQ(0, new_bo(self->other, 8 * MIB, DRM_KILN_BO_HBM, &self->a));
	ASSERT_EQ(0, new_bo(self->fd, MIB, DRM_KILN_BO_SYSTEM, &self->a));
	ASSERT_EQ(0, new_vm(self->fd, 50, 0, &self->a));
	ASSERT_EQ(0, new_vm(self->other, 50, 100, &self->b));
	ASSERT_EQ(0, new_queue(self->fd, self->a, &self->c));
	ASSERT_EQ(0, new_queue(self->fd, self->a, &self->c));
	EXPECT_STREQ("65534 hbm=16777216 system=1048576 queues=2 weight=100 min_share=100",
		     get_user(LIMITS "usage", "65534"));
	ASSERT_EQ(0, close(self->other));
	EXPECT_STREQ("65534 hbm=8388608 system=1048576 queues=2 weight=50 min_share=0",
		     get_user(LIMITS "usage", "65534"));
}

TEST_F_TIMEOUT(user, he_cannot_change_his_limits, 120)
{
	EXPECT_EQ(-EACCES, set("65534 none"));
}

TEST_HARNESS_MAIN
