// SPDX-License-Identifier: MIT
/*
 * What a fault leaves in devcoredump, read by kiln decode-dump: the command,
 * where it went wrong, the page tables there, the program and its arguments.
 * Then files that are no dump, or not all of one.
 */
#include <fcntl.h>
#include <glob.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kiln_asm.h>
#include <kiln/dump.h>

#include "sim/core_test.h"

#define FILE_NAME	"/tmp/kiln.dump"

static char text[1 << 20];

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

__attribute__((format(printf, 2, 3)))
static void says(const char *what, const char *format, ...)
{
	char wanted[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(wanted, sizeof(wanted), format, ap);
	va_end(ap);
	if (!ok(strstr(text, wanted), "%s", what))
		printf("# expected \"%s\"\n# got %.3000s\n", wanted, text);
}

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
	struct kiln_program *program;
	void *bytes;
	size_t size;

	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
	kiln_asm_ldarg(as, KILN_SYNC, 2, 1);
	kiln_asm_dma(as, KILN_SYNC, 0, tile, kiln_dram(1, 0, 0, 1));
	kiln_asm_label(as, KILN_SYNC, 71);
	kiln_asm_post(as, KILN_SYNC, 0, 1);
	kiln_asm_wait(as, KILN_SYNC, 0, 1);
	kiln_asm_nop(as, KILN_SYNC);
	if (kiln_asm_finish(as, &bytes, &size) || kiln_program_load(device, bytes, size, &program))
		bail("a program");
	kiln_asm_destroy(as);
	free(bytes);
	return program;
}

int main(void)
{
	struct kiln_device *device;
	struct kiln_program *program;
	struct kiln_buffer *args;
	struct kiln_queue *queue;
	struct tally tally = { 0 };
	uint64_t *block, bad;
	size_t bytes;

	setenv("KILN_TRANSPORT", "drm", 0);
	if (access("/sys/class/devcoredump", F_OK)) {
		printf("1..0 # SKIP a kernel without devcoredump\n");
		return 0;
	}
	forget();
	/* The driver makes one a second at most. */
	sleep(2);
	device = open_card();
	queue = make_queue(device, 16, 0);
	program = copier(device);
	args = make_buffer(device, 4096, KILN_HOST);
	block = kiln_map(args);
	bad = kiln_addr(args) + (64 << 20);
	block[0] = bad;
	block[1] = 0x1234567;
	if (kiln_submit(queue, &(struct kiln_command){
		    .program = program, .args = kiln_addr(args), .args_bytes = 16,
		    .done = count, .user = &tally }, 1, NULL) || kiln_drain(queue))
		bail("submitting");
	is(tally.last, -EFAULT, "a command that reads what is not mapped");
	bytes = take();
	ok(bytes > 0, "it leaves a dump, of %zu bytes", bytes);
	is(decode(FILE_NAME), 0, "kiln decode-dump reads it");
	says("  what happened", "status       6, page fault");
	says("  where", "sync, instruction 2, label 71");
	says("  at which address", "address      %#" PRIx64 "\n", bad);
	says("  whose it was", "process %d,", getpid());
	says("  the page tables there", "page tables at %#" PRIx64 "\n  level 0 [", bad);
	says("  which map nothing", "not mapped");
	says("  the instruction", "=>      2 dma_copy ");
	says("  its arguments", "[ 1] 0x0000000001234567");
	says("  the submission ring", "%#" PRIx64 " ", kiln_addr(args));
	says("  the completion ring", "page fault\n");
	says("  the registers", "STATUS         0x00000002");
	says("  the firmware's log", "address %#" PRIx64 "\n", bad);
	tally.last = 1;
	if (kiln_submit(queue, &(struct kiln_command){ .done = count, .user = &tally }, 1, NULL) ||
	    kiln_drain(queue))
		bail("submitting");
	is(tally.last, 0, "the queue goes on");

	is(truncate(FILE_NAME, (off_t)bytes - 8), 0, "a dump without its end");
	is(decode(FILE_NAME), 1, "  is refused");
	says("  and why", "cut off");
	is(truncate(FILE_NAME, 10), 0, "ten bytes");
	is(decode(FILE_NAME), 1, "  are refused");
	says("  and why", "too short");
	is(decode("/proc/self/exe"), 1, "something else is refused");
	says("  and why", "not a dump");
	is(decode(""), 2, "no file is refused");
	unlink(FILE_NAME);

	kiln_program_free(program);
	kiln_queue_destroy(queue);
	kiln_free(args);
	kiln_close(device);
	return done_testing();
}
