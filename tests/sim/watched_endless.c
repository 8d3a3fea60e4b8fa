// SPDX-License-Identifier: MIT
/*
 * A program without an end, watched by the sanitizer and by KILN_PROFILE: its
 * queue's limit ends it, both say what they saw in bounded memory, and the next
 * command works.
 */
#define _GNU_SOURCE
#include "core_test.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <kiln_asm.h>

#define MEMORY_KIB	(64 << 10)	/* that a watched command may add */
#define MAX_TRACE	(300 << 20)

static const char endless[] =
	".engine vector\n"
	"movi rd=r1 imm=1\n"
	"again: memset dst=sbuf.f32[0+128]@0+r2{64} value=1\n"
	"xori rd=r2 rs=r2 imm=1024\n"
	"bne rs=r0 rt=r1 target=again\n"
	".engine scalar\n"
	"nop wait=5:1\n";

static const char good[] = ".engine vector\nmemset dst=sbuf.f32[0+128]@0{64} value=1\n";

static struct kiln_device *device;
static struct kiln_queue *patient, *strict;

static long memory_kib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

static int run(struct kiln_queue *queue, const char *text)
{
	struct tally tally = { 0 };
	struct kiln_command c = { .done = count, .user = &tally };
	char error[256];
	void *bytes;
	size_t n;

	if (kiln_asm_parse(text, &bytes, &n, error, sizeof(error)) ||
	    kiln_program_load(device, bytes, n, &c.program))
		bail("no program");
	free(bytes);
	if (kiln_submit(queue, &c, 1, NULL) || kiln_drain(queue))
		bail("a command");
	kiln_program_free(c.program);
	return tally.last;
}

static void is_told(const char *text, const char *what)
{
	if (!ok(strstr(text, what), "told: %s", what))
		printf("# expected %s\n# got %.2000s\n", what, text);
}

int main(void)
{
	char trace[64], text[65536], tail[8] = "";
	long before;
	ssize_t got;
	int log_fd;
	FILE *file;

	if (!simulated()) {
		skip("a program without an end, watched", "nobody watches inside the driver's cards");
		return done_testing();
	}
	log_fd = memfd_create("said", 0);
	snprintf(trace, sizeof(trace), "/tmp/kiln-endless-%d.json", getpid());
	if (log_fd < 0 || dup2(log_fd, 2) < 0 || setenv("KILN_PROFILE", trace, 1))
		bail("a file for what is told");
	if (kiln_open("sim:sanitize=on,hbm=64M", &device))
		bail("open");
	patient = make_queue(device, 8, 0);
	strict = make_queue(device, 8, 400);
	is(run(patient, good), 0, "a good command");
	before = memory_kib();
	is(run(strict, endless), -ETIME, "its limit ends it");
	ok(memory_kib() - before < MEMORY_KIB, "%ld KiB more memory, %d are allowed",
	   memory_kib() - before, MEMORY_KIB);
	is(run(patient, good), 0, "the next command is done");
	kiln_queue_destroy(patient);
	kiln_queue_destroy(strict);
	kiln_close(device);

	fflush(stderr);
	got = pread(log_fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = 0;
	is_told(text, "timeout: vector[");
	is_told(text, "has not come to its end");
	is_told(text, "timeout: scalar[0] waits for semaphore 5 to reach 1 (it is 0), which nobody posts");
	is_told(text, "3 commands, 1 failed");

	file = fopen(trace, "r");
	if (!file || fseek(file, -5, SEEK_END) || fread(tail, 1, 5, file) != 5)
		bail("no trace");
	ok(!strcmp(tail, "\n]}}\n"), "the trace has its end");
	ok(ftell(file) < MAX_TRACE, "and %ld bytes, %d are allowed", ftell(file), MAX_TRACE);
	fclose(file);
	unlink(trace);
	return done_testing();
}
