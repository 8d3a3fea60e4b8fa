// SPDX-License-Identifier: MIT
/*
 * The function is reset below the driver, by sysfs. The card does not decode HBM meanwhile, but
 * keeps it: what processes have there, and write there, is not the reset's to lose.
 */
#include "_tenants.h"

#include <fcntl.h>

#include <kiln_ops.h>

#define RESET		"/sys/class/accel/accel0/device/reset"
#define RESETS		5
#define WORDS		1024u
#define M		64

/* A process that resets the card some times; *over is set when it is done, to 2 if it failed. */
static pid_t fork_resets(volatile int *over)
{
	pid_t pid = fork_tenant();

	if (pid)
		return pid;
	for (int i = 0; i < RESETS; i++) {
		int fd = open(RESET, O_WRONLY);

		if (fd < 0 || write(fd, "1", 1) != 1) {
			*over = 2;
			_exit(1);
		}
		close(fd);
		usleep(100000);
	}
	*over = 1;
	_exit(0);
}

FIXTURE(reset)
{
	volatile int *over;
};

FIXTURE_SETUP(reset)
{
	self->over = share(sizeof(*self->over));
}

FIXTURE_TEARDOWN(reset)
{
	munmap((void *)self->over, sizeof(*self->over));
}

TEST_F(reset, what_is_written_meanwhile_stays)
{
	struct kiln_device *device = open_driver();
	struct kiln_buffer *buffer = make_buffer(device, WORDS * 4, KILN_HBM);
	volatile uint32_t *words = kiln_map(buffer);
	uint32_t value = 0;
	pid_t pid;

	ASSERT_NE(NULL, words);
	pid = fork_resets(self->over);
	while (!*self->over) {
		uint32_t first = ++value;

		for (uint32_t i = 0; i < WORDS; i++)
			words[i] = value++;
		for (uint32_t i = 0; i < WORDS; i++) {
			ASSERT_EQ(first + i, words[i]);
		}
	}
	waitpid(pid, NULL, 0);
	EXPECT_EQ(1, *self->over);
	/* At least one round for each reset, or there was nothing to see. */
	EXPECT_LT(RESETS * WORDS, value);
	kiln_free(buffer);
	kiln_close(device);
}

static void ended(void *user, const struct kiln_result *result)
{
	*(int *)user = result->res;
}

/* A row of ones times a matrix of ones: M, or the errno that it cost. */
static int compute(struct __test_metadata *_metadata)
{
	struct kiln_queue_attr attr = { .depth = 32 };
	struct kiln_queue *queue = NULL;
	struct kiln_buffer *buffer = NULL;
	struct kiln_ops *ops = NULL;
	struct kiln_device *device;
	float *ones, *c;
	int ret, res = 0;

	ret = kiln_open(NULL, &device);
	if (ret)
		return ret;
	ret = kiln_queue_create(device, &attr, &queue);
	if (!ret)
		ret = kiln_ops_create(queue, &ops);
	if (!ret)
		ret = kiln_alloc(device, (M + 1) * M * 4, KILN_HBM, 0, &buffer);
	if (!ret) {
		ones = kiln_map(buffer);
		c = ones + M * M;
		for (int i = 0; i < M * M; i++)
			ones[i] = 1;
		memset(c, 0xff, M * 4);
		ret = kiln_matmul(ops, &(struct kiln_matmul){
			.type = KILN_TYPE_F32, .m = 1, .n = M, .k = M, .a = kiln_addr(buffer),
			.b = kiln_addr(buffer), .c = kiln_addr(buffer) + M * M * 4,
		}, ended, &res);
		if (!ret)
			ret = kiln_drain(queue);
		if (!ret)
			ret = res;
		for (int i = 0; !ret && i < M; i++)
			EXPECT_EQ(M, c[i]);
	}
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	kiln_free(buffer);
	kiln_close(device);
	return ret;
}

TEST_F(reset, who_comes_meanwhile_computes_or_is_told)
{
	unsigned int right = 0, told = 0;
	pid_t pid = fork_resets(self->over);

	setenv("KILN_TRANSPORT", "drm", 0);
	while (!*self->over) {
		int ret = compute(_metadata);

		if (!ret)
			right++;
		else if (ret == -EIO || ret == -ENODEV || ret == -ECANCELED)
			told++;
		else
			EXPECT_EQ(0, ret);
	}
	waitpid(pid, NULL, 0);
	EXPECT_EQ(1, *self->over);
	TH_LOG("%u right, %u told of a reset", right, told);
	EXPECT_EQ(0, compute(_metadata));
}

TEST_HARNESS_MAIN
