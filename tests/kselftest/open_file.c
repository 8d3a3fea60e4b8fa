// SPDX-License-Identifier: MIT
/*
 * What belongs to an open file of the card: its ids mean nothing in another one, whoever inherits it can go on with it, a
 * mapping outlives it, and with it everything goes back to the card, however it is closed.
 */
#include <kselftest_harness.h>

#include <poll.h>
#include <signal.h>

#include "guest/_abi.h"

#define BYTES	(64 * PAGE)

FIXTURE(open_file) {
	int fd, other;
	uint32_t vm, queue, bo;
	uint64_t used;		/* of the card's memory, before all that */
	uint64_t *map;
};

FIXTURE_VARIANT(open_file) {
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(open_file, hbm) { .flags = DRM_KILN_BO_HBM };
FIXTURE_VARIANT_ADD(open_file, system) { .flags = DRM_KILN_BO_SYSTEM };

FIXTURE_SETUP(open_file)
{
	self->other = open_card();
	self->used = card_info(self->other).hbm_used_bytes;
	self->fd = open_card();
	self->vm = make_vm(self->fd);
	self->queue = make_queue(self->fd, self->vm, 8, 0);
	self->bo = make_bo(self->fd, BYTES, variant->flags);
	self->map = map_bo(self->fd, self->bo, BYTES);
	ASSERT_EQ(0, bind_bo(self->fd, self->vm, self->bo, 0, VA_BASE, BYTES));
}

FIXTURE_TEARDOWN(open_file)
{
	munmap(self->map, BYTES);
	close(self->fd);
	close(self->other);
}

/* The card writes @value into the buffer, asked through @fd. */
static int card_writes(int fd, uint32_t queue, uint64_t value)
{
	struct drm_kiln_exec exec = {
		.queue_id = queue, .flags = DRM_KILN_EXEC_NOP, .signal_addr = VA_BASE, .signal_value = value,
	};

	return run_one(fd, &exec);
}

/* Memory goes back when the last command is through, a little later than the call that lets go of it. */
static uint64_t memory_in_use(int fd, uint64_t expected)
{
	for (int i = 0; i < 2000 && card_info(fd).hbm_used_bytes != expected; i++)
		poll(NULL, 0, 10);
	return card_info(fd).hbm_used_bytes;
}

TEST_F_TIMEOUT(open_file, ids_mean_nothing_in_another_one, 120)
{
	struct drm_kiln_vm_fault fault = { .vm_id = self->vm };
	struct drm_kiln_bo_info info = { .handle = self->bo };
	struct drm_kiln_queue_create create = { .vm_id = self->vm, .depth = 8 };

	EXPECT_EQ(-ENOENT, call(self->other, DRM_IOCTL_KILN_VM_FAULT, &fault));
	EXPECT_EQ(-ENOENT, call(self->other, DRM_IOCTL_KILN_BO_INFO, &info));
	EXPECT_EQ(-ENOENT, call(self->other, DRM_IOCTL_KILN_QUEUE_CREATE, &create));
	EXPECT_EQ(-ENOENT, run_nop(self->other, self->queue));
	EXPECT_EQ(-ENOENT, destroy_queue(self->other, self->queue));
	EXPECT_EQ(-ENOENT, destroy_vm(self->other, self->vm));
	ASSERT_EQ(0, call(self->fd, DRM_IOCTL_KILN_BO_INFO, &info));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, BYTES, PROT_READ, MAP_SHARED, self->other, info.mmap_offset));
	EXPECT_EQ(0, card_writes(self->fd, self->queue, 1));
	EXPECT_EQ(1, self->map[0]);
}

TEST_F_TIMEOUT(open_file, a_child_goes_on_with_it, 120)
{
	pid_t child = fork();
	int status;

	ASSERT_LE(0, child);
	if (!child) {
		/* The parent's file, ids and mapping are the child's, too. */
		status = card_writes(self->fd, self->queue, 2);
		_exit(status ? -status : self->map[0] != 2);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, self->map[0]);
	EXPECT_EQ(0, card_writes(self->fd, self->queue, 3)) {
		TH_LOG("the child's end took something away");
	}
}

TEST_F_TIMEOUT(open_file, a_mapping_outlives_it, 120)
{
	ASSERT_EQ(0, card_writes(self->fd, self->queue, 4));
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	EXPECT_EQ(4, self->map[0]);
	self->map[BYTES / 8 - 1] = 5;
	EXPECT_EQ(5, self->map[BYTES / 8 - 1]);
	ASSERT_EQ(0, munmap(self->map, BYTES));
	EXPECT_EQ(self->used, memory_in_use(self->other, self->used));
}

TEST_F_TIMEOUT(open_file, the_last_close_gives_everything_back, 120)
{
	int copy = dup(self->fd);

	ASSERT_LE(0, copy);
	ASSERT_EQ(0, munmap(self->map, BYTES));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(0, card_writes(copy, self->queue, 6));
	ASSERT_EQ(0, close(copy));
	self->fd = -1;
	EXPECT_EQ(self->used, memory_in_use(self->other, self->used));
}

TEST_F_TIMEOUT(open_file, a_killed_owner_gives_everything_back, 120)
{
	/* Never true: the command waits in the card until somebody ends it. */
	struct drm_kiln_exec forever = {
		.flags = DRM_KILN_EXEC_NOP, .wait_addr = VA_BASE, .wait_value = ~0ull,
	};
	uint64_t used = card_info(self->other).hbm_used_bytes;
	int pipes[2], status;
	char byte;
	pid_t child;

	ASSERT_EQ(0, pipe(pipes));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		int fd = open_card();
		uint32_t vm = make_vm(fd);

		forever.queue_id = make_queue(fd, vm, 8, 0);
		bind_bo(fd, vm, make_bo(fd, BYTES, variant->flags), 0, VA_BASE, BYTES);
		if (submit(fd, &forever, 1, NULL) == 1 && write(pipes[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(pipes[1]);
	EXPECT_EQ(1, read(pipes[0], &byte, 1));
	EXPECT_LT(used, card_info(self->other).hbm_used_bytes);
	kill(child, SIGKILL);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(used, memory_in_use(self->other, used));
	EXPECT_EQ(0, card_writes(self->fd, self->queue, 7));
}

TEST_HARNESS_MAIN
