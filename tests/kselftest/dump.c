// SPDX-License-Identifier: MIT
/*
 * What a fault leaves in devcoredump, read by kiln decode-dump: the command, where it went wrong, the page tables there, the
 * program and its arguments. Then files that are no dump, or not all of one.
 */
#include "_tenants.h"

#include <fcntl.h>
#include <glob.h>

#define FILE_NAME	"/tmp/kiln.dump"

static char text[1 << 20], wanted[256];

/* Runs kiln decode-dump, all it says into text[]; its status. */
static int decode(const char *file)
{
	char command[256];
	size_t n;
	FILE *p;

	snprintf(command, sizeof(command), "kiln decode-dump %s 2>&1", file);
	p = popen(command, "r");
	n = p ? fread(text, 1, sizeof(text) - 1, p) : 0;
	text[n] = 0;
	return p ? WEXITSTATUS(pclose(p)) : -1;
}

/* Whether that is in it. */
__attribute__((format(printf, 1, 2)))
static bool says(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(wanted, sizeof(wanted), format, ap);
	va_end(ap);
	return strstr(text, wanted);
}

#define EXPECT_SAYS(...) do { \
	EXPECT_TRUE(says(__VA_ARGS__)) { \
		TH_LOG("no \"%s\" in: %.3000s", wanted, text); \
	} \
} while (0)

/* Throw the dump away that there is, if any. */
static void forget(void)
{
	glob_t g;

	if (glob("/sys/class/devcoredump/devcd*/data", 0, NULL, &g))
		return;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		int fd = open(g.gl_pathv[i], O_WRONLY);

		if (fd < 0 || write(fd, "0", 1) != 1)
			printf("# %s: %s\n", g.gl_pathv[i], strerror(errno));
		close(fd);
	}
	globfree(&g);
}

/* Copies the dump that is to come to FILE_NAME; its bytes, or 0. */
static size_t take(void)
{
	static char data[1 << 18];
	size_t bytes = 0;
	glob_t g;

	for (int i = 0; i < 100 && glob("/sys/class/devcoredump/devcd*/data", 0, NULL, &g); i++)
		usleep(50000);
	if (!glob("/sys/class/devcoredump/devcd*/data", 0, NULL, &g)) {
		FILE *in = fopen(g.gl_pathv[0], "r"), *out = fopen(FILE_NAME, "w");

		bytes = in && out ? fread(data, 1, sizeof(data), in) : 0;
		if (out && (fwrite(data, 1, bytes, out) != bytes || fclose(out)))
			bytes = 0;
		if (in)
			fclose(in);
		globfree(&g);
	}
	forget();
	return bytes;
}

/* args[0]: where 512 bytes come from; args[1]: where they go. Sync's instruction 2 reads. */
static struct kiln_program *copier(struct kiln_device *device)
{
	struct kiln_asm *as = kiln_asm_create(0);
	struct kiln_operand tile = kiln_tile1(KILN_SBUF, KILN_F32, 0, 1, 0, 128);

	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
	kiln_asm_ldarg(as, KILN_SYNC, 2, 1);
	kiln_asm_dma(as, KILN_SYNC, 0, tile, kiln_dram(1, 0, 0, 1));
	kiln_asm_label(as, KILN_SYNC, 71);
	kiln_asm_post(as, KILN_SYNC, 0, 1);
	kiln_asm_wait(as, KILN_SYNC, 0, 1);
	kiln_asm_nop(as, KILN_SYNC);
	return assemble(device, as);
}

FIXTURE(dump) {
	struct kiln_device *device;
	struct kiln_queue *queue;
	struct kiln_program *program;
	struct kiln_buffer *args;
	uint64_t bad;		/* read by the command, mapped by nobody */
	size_t bytes;
};

FIXTURE_SETUP(dump)
{
	struct tally tally = { 0 };
	uint64_t *block;

	if (access("/sys/class/devcoredump", F_OK))
		SKIP(return, "a kernel without devcoredump");
	forget();
	/* The driver makes one a second at most. */
	sleep(2);
	self->device = open_driver();
	self->queue = make_queue(self->device, 16, 0);
	self->program = copier(self->device);
	self->args = make_buffer(self->device, 4096, KILN_HOST);
	self->bad = kiln_addr(self->args) + (64 << 20);
	block = kiln_map(self->args);
	block[0] = self->bad;
	block[1] = 0x1234567;
	ASSERT_EQ(0, kiln_submit(self->queue, &(struct kiln_command){
		.program = self->program, .args = kiln_addr(self->args), .args_bytes = 16,
		.done = count, .user = &tally }, 1, NULL));
	ASSERT_EQ(0, kiln_drain(self->queue));
	ASSERT_EQ(-EFAULT, tally.last);
	self->bytes = take();
	ASSERT_LT(0, self->bytes) {
		TH_LOG("the fault has left no dump");
	}
	ASSERT_EQ(0, decode(FILE_NAME));
}

FIXTURE_TEARDOWN(dump)
{
	unlink(FILE_NAME);
	kiln_program_free(self->program);
	kiln_queue_destroy(self->queue);
	kiln_free(self->args);
	kiln_close(self->device);
}

TEST_F_TIMEOUT(dump, says_what_happened_where_and_to_whom, 120)
{
	EXPECT_SAYS("status       6, page fault");
	EXPECT_SAYS("sync, instruction 2, label 71");
	EXPECT_SAYS("address      %#" PRIx64 "\n", self->bad);
	EXPECT_SAYS("process %d,", getpid());
}

TEST_F_TIMEOUT(dump, has_the_page_tables_there, 120)
{
	EXPECT_SAYS("page tables at %#" PRIx64 "\n  level 0 [", self->bad);
	EXPECT_SAYS("not mapped");
}

TEST_F_TIMEOUT(dump, has_the_program_and_its_arguments, 120)
{
	EXPECT_SAYS("=>      2 dma_copy ");
	EXPECT_SAYS("[ 1] 0x0000000001234567");
}

TEST_F_TIMEOUT(dump, has_the_rings_registers_and_log, 120)
{
	/* Of the submission ring, of the completion ring, a register, the firmware's log. */
	EXPECT_SAYS("%#" PRIx64 " ", kiln_addr(self->args));
	EXPECT_SAYS("page fault\n");
	EXPECT_SAYS("STATUS         0x00000002");
	EXPECT_SAYS("address %#" PRIx64 "\n", self->bad);
}

TEST_F_TIMEOUT(dump, the_queue_goes_on, 120)
{
	struct tally tally = { .last = 1 };

	ASSERT_EQ(0, kiln_submit(self->queue, &(struct kiln_command){ .done = count, .user = &tally }, 1, NULL));
	ASSERT_EQ(0, kiln_drain(self->queue));
	EXPECT_EQ(0, tally.last);
}

TEST_F_TIMEOUT(dump, one_that_is_cut_off_is_refused, 120)
{
	ASSERT_EQ(0, truncate(FILE_NAME, (off_t)self->bytes - 8));
	EXPECT_EQ(1, decode(FILE_NAME));
	EXPECT_SAYS("cut off");
	ASSERT_EQ(0, truncate(FILE_NAME, 10));
	EXPECT_EQ(1, decode(FILE_NAME));
	EXPECT_SAYS("too short");
}

TEST(something_else_is_refused)
{
	EXPECT_EQ(1, decode("/proc/self/exe"));
	EXPECT_SAYS("not a dump");
	EXPECT_EQ(2, decode(""));
}

TEST_HARNESS_MAIN
