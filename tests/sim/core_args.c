// SPDX-License-Identifier: MIT
/* Wrong arguments to each call: the right errno, a message, and no harm done. */
#include "core_test.h"

static void error(int got, int expected, const char *what)
{
	is(got, expected, what);
	if (!*kiln_last_error())
		ok(false, "%s: there is a message", what);
}

static void devices(void)
{
	static const char *const bad[] = {
		"", "x", "simx", "sim:cores", "sim:cores=", "sim:cores=0", "sim:cores=9",
		"sim:cores=1x", "sim:cores=-1", "sim:cores=99999999999999999999",
		"sim:hbm=3", "sim:hbm=0", "sim:hbm=4Q", "sim:hbm=99999999999T",
		"sim:generation=trn4", "sim:generation=2", "sim:threads=0", "sim:threads=99",
		"sim:colour=red", "sim:cores=1,,hbm=1G", "sim:=1",
	};
	struct kiln_device *device = (void *)1;
	char what[96];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(what, sizeof(what), "kiln_open(\"%s\")", bad[i]);
		error(kiln_open(bad[i], &device), -EINVAL, what);
	}
	ok(!device, "a failed kiln_open() gives NULL");
	error(kiln_open("drm:/dev/null", &device), -ENODEV, "kiln_open() of what is no card");
	error(kiln_open("drm:/nowhere", &device), -ENODEV, "kiln_open() of what is not there");
	error(kiln_open("sim", NULL), -EINVAL, "kiln_open() with nowhere to put it");
	is(kiln_open("sim:generation=trn1,cores=2,hbm=64M,threads=2", &device), 0,
	   "all properties at once");
	if (device) {
		struct kiln_info info;

		kiln_get_info(device, &info);
		ok(info.generation == 1 && info.cores == 2 && info.hbm_bytes == 64 << 20,
		   "and they are what the card has");
		kiln_close(device);
	}
}

static void memory(struct kiln_device *device)
{
	struct kiln_buffer *buffer = (void *)1;

	error(kiln_alloc(NULL, 4096, KILN_HBM, 0, &buffer), -EINVAL, "kiln_alloc() without a device");
	error(kiln_alloc(device, 4096, KILN_HBM, 0, NULL), -EINVAL, "with nowhere to put it");
	error(kiln_alloc(device, 0, KILN_HBM, 0, &buffer), -EINVAL, "of nothing");
	error(kiln_alloc(device, UINT64_MAX, KILN_HBM, 0, &buffer), -EINVAL, "of everything");
	error(kiln_alloc(device, 1ull << 46, KILN_HBM, 0, &buffer), -ENOMEM, "of more than there is");
	error(kiln_alloc(device, 4096, (enum kiln_placement)2, 0, &buffer), -EINVAL, "of an unknown placement");
	error(kiln_alloc(device, 4096, KILN_HBM, 2, &buffer), -EINVAL, "with an unknown flag");
	ok(!buffer, "and no buffer came of it");
	error(kiln_get_info(device, NULL), -EINVAL, "kiln_get_info() with nowhere to put it");
	error(kiln_get_fault(NULL, NULL), -EINVAL, "kiln_get_fault() of nothing");
}

static void shares(struct kiln_device *device)
{
	error(kiln_set_share(NULL, &(struct kiln_share){ 0 }), -EINVAL, "kiln_set_share() without a device");
	error(kiln_set_share(device, NULL), -EINVAL, "without a share");
	error(kiln_set_share(device, &(struct kiln_share){ .weight = 1025 }), -EINVAL, "of weight 1025");
	error(kiln_set_share(device, &(struct kiln_share){ .priority = 3 }), -EINVAL, "of priority 3");
	error(kiln_set_share(device, &(struct kiln_share){ .min_share = 901 }), -EINVAL, "that promises 901");
	is(kiln_set_share(device, &(struct kiln_share){ .weight = 1024, .priority = KILN_SHARE_LOW, .min_share = 900 }), 0,
	   "all that there is");
	is(kiln_set_share(device, &(struct kiln_share){ 0 }), 0, "and back");
}

static void programs(struct kiln_device *device)
{
	struct kiln_program_header good = {
		.magic = KILN_PROGRAM_MAGIC,
		.isa_major = KILN_ISA_MAJOR,
		.isa_minor = KILN_ISA_MINOR,
		.bytes = sizeof(good),
	}, bad;
	struct kiln_program *program;
	struct kiln_info info;

	kiln_get_info(device, &info);
	is(kiln_program_load(device, &good, sizeof(good), &program), 0, "a header alone is a program");
	kiln_program_free(program);
	error(kiln_program_load(device, &good, sizeof(good) - 1, &program), -EINVAL, "a short one is not");
	error(kiln_program_load(device, &good, 0, &program), -EINVAL, "nor is nothing");
	error(kiln_program_load(device, NULL, 64, &program), -EINVAL, "nor is NULL");
	error(kiln_program_load(device, &good, 1ull << 32, &program), -EINVAL, "nor is 4 GiB");
	bad = good;
	bad.magic ^= 1;
	error(kiln_program_load(device, &bad, sizeof(bad), &program), -EINVAL, "wrong magic number");
	bad = good;
	bad.isa_major++;
	error(kiln_program_load(device, &bad, sizeof(bad), &program), -EINVAL, "another instruction set");
	bad = good;
	bad.bytes += 64;
	error(kiln_program_load(device, &bad, sizeof(bad), &program), -EINVAL, "a size that is not its size");
	bad = good;
	bad.generation = info.generation % 3 + 1;
	error(kiln_program_load(device, &bad, sizeof(bad), &program), -EINVAL, "another generation");
	ok(!program, "and no program came of it");
	kiln_program_free(NULL);
}

static void queues(struct kiln_device *device)
{
	static const struct {
		const char *what;
		struct kiln_queue_attr attr;
	} bad[] = {
		{ "depth 4", { .depth = 4 } },
		{ "depth 100", { .depth = 100 } },
		{ "depth 8192", { .depth = 8192 } },
		{ "weight 1025", { .weight = 1025 } },
		{ "limit 10001 ms", { .limit_ms = 10001 } },
		{ "way 4", { .way = (enum kiln_submit_way)4 } },
	};
	struct kiln_queue *queue = (void *)1;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		error(kiln_queue_create(device, &bad[i].attr, &queue), -EINVAL, bad[i].what);
	ok(!queue, "and no queue came of it");
	error(kiln_queue_create(NULL, NULL, &queue), -EINVAL, "a queue without a device");
	error(kiln_queue_create(device, NULL, NULL), -EINVAL, "a queue with nowhere to put it");
	kiln_queue_destroy(NULL);
}

static void commands(struct kiln_device *device)
{
	static const struct {
		const char *what;
		struct kiln_command command;
	} bad[] = {
		{ "args without a program", { .args = 0x200000, .args_bytes = 8 } },
		{ "wait_addr not a multiple of 8", { .wait_addr = 0x200004 } },
		{ "signal_addr not a multiple of 8", { .signal_addr = 0x200001 } },
	};
	static const struct {
		const char *what;
		uint64_t args;
		uint32_t bytes;
	} bad_args[] = {
		{ "args not a multiple of 8", 0x200004, 8 },
		{ "args of no bytes", 0x200000, 0 },
		{ "bytes without args", 0, 8 },
		{ "args of 12 bytes", 0x200000, 12 },
		{ "args of 520 bytes", 0x200000, 520 },
	};
	struct kiln_program_header empty = {
		.magic = KILN_PROGRAM_MAGIC,
		.isa_major = KILN_ISA_MAJOR,
		.isa_minor = KILN_ISA_MINOR,
		.bytes = sizeof(empty),
	};
	struct kiln_queue *queue = make_queue(device, 8, 0);
	struct kiln_device *other = NULL;
	struct kiln_program *program, *foreign = NULL;
	struct kiln_command c = { 0 };
	struct tally tally = { 0 };
	unsigned int taken = 9;

	if (kiln_program_load(device, &empty, sizeof(empty), &program))
		bail("empty program");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		error(kiln_submit(queue, &bad[i].command, 1, &taken), -EINVAL, bad[i].what);
	for (size_t i = 0; i < sizeof(bad_args) / sizeof(bad_args[0]); i++) {
		c = (struct kiln_command){
			.program = program,
			.args = bad_args[i].args,
			.args_bytes = bad_args[i].bytes,
		};
		error(kiln_submit(queue, &c, 1, &taken), -EINVAL, bad_args[i].what);
	}
	is(taken, 0, "and none was taken");
	if (!kiln_open(transport(), &other) &&
	    !kiln_program_load(other, &empty, sizeof(empty), &foreign)) {
		c = (struct kiln_command){ .program = foreign };
		error(kiln_submit(queue, &c, 1, NULL), -EINVAL, "another device's program");
	}
	kiln_program_free(foreign);
	kiln_close(other);

	error(kiln_submit(NULL, &c, 1, NULL), -EINVAL, "kiln_submit() without a queue");
	error(kiln_submit(queue, NULL, 1, NULL), -EINVAL, "kiln_submit() without commands");
	is(kiln_submit(queue, NULL, 0, &taken), 0, "no commands are no mistake");
	error(kiln_wait(NULL, 0, 0), -EINVAL, "kiln_wait() without a queue");
	error(kiln_drain(NULL), -EINVAL, "kiln_drain() without a queue");
	error(kiln_queue_fd(NULL), -EINVAL, "kiln_queue_fd() without a queue");
	is(kiln_wait(queue, 5, -1), 0, "waiting for what is not pending returns at once");

	/* What comes before the wrong one is done all the same. */
	struct kiln_command mixed[3] = {
		{ .done = count, .user = &tally },
		{ .done = count, .user = &tally, .wait_addr = 4 },
		{ .done = count, .user = &tally },
	};

	error(kiln_submit(queue, mixed, 3, &taken), -EINVAL, "the second of three is wrong");
	is(taken, 1, "the first was taken");
	is(kiln_drain(queue), 0, "and completes");
	is(tally.good, 1, "well");
	c = (struct kiln_command){ .program = program, .done = count, .user = &tally };
	is(kiln_submit(queue, &c, 1, &taken), 0, "after all that a good command");
	kiln_drain(queue);
	is(tally.good, 2, "is done");
	kiln_program_free(program);
	kiln_queue_destroy(queue);
}

int main(void)
{
	struct kiln_device *device;

	devices();
	device = open_card();
	memory(device);
	shares(device);
	programs(device);
	queues(device);
	commands(device);
	kiln_close(device);
	return done_testing();
}
