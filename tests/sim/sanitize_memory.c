// SPDX-License-Identifier: MIT
/*
 * The sanitizer in HBM: a program that reads what neither a program nor the host
 * has written since kiln_alloc() is told of, with the first such byte; whatever
 * was written is not, and the results are the zeroes that they always were.
 */
#define _GNU_SOURCE
#include "core_test.h"

#include <sys/mman.h>
#include <unistd.h>
#include <kiln_asm.h>

#define ROWS	64
#define COLS	32		/* f32 */
#define ROW	(COLS * 4)
#define BYTES	(ROWS * ROW)	/* two pages */

static struct kiln_device *device;
static struct kiln_queue *queue;
static struct kiln_program *loads, *stores, *adds;
static int log_fd;

static struct kiln_program *finish(struct kiln_asm *as)
{
	struct kiln_program *p;
	void *bytes;
	size_t n;

	if (kiln_asm_finish(as, &bytes, &n) || kiln_program_load(device, bytes, n, &p))
		bail("no program");
	free(bytes);
	kiln_asm_destroy(as);
	return p;
}

/* So many rows of the buffer at args[0] into SBUF, or ones out of it. */
static struct kiln_program *make_program(bool write, bool add)
{
	struct kiln_asm *as = kiln_asm_create(0);
	struct kiln_operand tile = kiln_tile1(KILN_SBUF, KILN_F32, 0, ROWS, 0, COLS);
	struct kiln_operand memory = kiln_dram(1, 0, COLS, 1);

	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
	if (write) {
		kiln_asm_memset(as, KILN_VECTOR, tile, 1);
		kiln_asm_post(as, KILN_VECTOR, 0, 1);
		kiln_asm_wait(as, KILN_SYNC, 0, 1);
	}
	kiln_asm_dma(as, KILN_SYNC, 0, write ? memory : tile, write ? tile : memory);
	if (add)
		kiln_asm_flags(as, KILN_SYNC, KILN_F_ACCUMULATE);
	return finish(as);
}

static void run(struct kiln_program *program, uint64_t addr)
{
	struct kiln_buffer *args = make_buffer(device, 4096, KILN_HOST);
	struct kiln_command c = { .program = program, .args = kiln_addr(args), .args_bytes = 8 };

	*(uint64_t *)kiln_map(args) = addr;
	if (kiln_submit(queue, &c, 1, NULL) || kiln_drain(queue))
		bail("a command");
	kiln_free(args);
}

/* The last program read addr first of what nobody wrote; 0: nothing was told. */
static void told(uint64_t addr, const char *what)
{
	char text[4096], want[96] = "";
	ssize_t got;

	fflush(stderr);
	got = pread(log_fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = 0;
	if (addr)
		snprintf(want, sizeof(want), "uninitialised: sync[1] on ring 0 reads dram %#" PRIx64 ", which nobody wrote",
			 addr);
	if (!ok(addr ? strstr(text, want) && strchr(text, '\n') == strrchr(text, '\n') : !*text,
		"%s", what))
		printf("# expected %s\n# got %s\n", addr ? want : "nothing", text);
	if (ftruncate(log_fd, 0) || lseek(log_fd, 0, SEEK_SET))
		bail("the log");
}

int main(void)
{
	struct kiln_buffer *b, *other;
	uint64_t addr;

	if (!simulated()) {
		skip("the sanitizer in HBM", "the driver hands out memory, not the card");
		return done_testing();
	}
	log_fd = memfd_create("said", 0);
	if (log_fd < 0 || dup2(log_fd, 2) < 0)
		bail("a file for what is told");
	if (kiln_open("sim:sanitize=on,hbm=64M", &device))
		bail("open");
	queue = make_queue(device, 64, 0);
	loads = make_program(false, false);
	stores = make_program(true, false);
	adds = make_program(true, true);

	b = make_buffer(device, 2 * BYTES, KILN_HBM);
	addr = kiln_addr(b);
	run(loads, addr);
	told(addr, "nobody wrote anything");
	run(stores, addr);
	run(loads, addr);
	told(0, "what a program stored");
	run(loads, addr + ROW);
	told(addr + BYTES, "a row behind what it stored");
	run(stores, addr + BYTES);
	run(loads, addr + BYTES);
	told(0, "and that stored, too");
	kiln_free(b);

	b = make_buffer(device, 2 * BYTES, KILN_HBM);
	ok(kiln_addr(b) == addr, "the memory is used again");
	run(loads, addr);
	told(addr, "what was stored there before is gone");
	run(adds, addr + BYTES);
	told(addr + BYTES, "to add to what nobody wrote");
	kiln_free(b);

	b = make_buffer(device, BYTES, KILN_HBM);
	addr = kiln_addr(b);
	memset(kiln_map(b), 0, BYTES);
	run(loads, addr);
	told(0, "what the host wrote, though it was zeroes");
	kiln_free(b);

	b = make_buffer(device, BYTES, KILN_HBM);
	addr = kiln_addr(b);
	memset(kiln_map(b), 1, 4096);
	run(loads, addr);
	told(addr + 4096, "the host wrote one page of two");
	((volatile char *)kiln_map(b))[4096] = 1;
	run(loads, addr);
	told(0, "... and then the other");
	kiln_free(b);

	b = make_buffer(device, BYTES, KILN_HOST);
	run(loads, kiln_addr(b));
	told(0, "host memory is the host's");
	kiln_free(b);

	/* Nobody's writes are taken for another's. */
	b = make_buffer(device, BYTES, KILN_HBM);
	other = make_buffer(device, BYTES, KILN_HBM);
	memset(kiln_map(other), 1, BYTES);
	run(loads, kiln_addr(b));
	told(kiln_addr(b), "the host wrote another buffer");
	run(loads, kiln_addr(other));
	told(0, "which may be read");
	ok(!*(volatile char *)kiln_map(b), "what nobody wrote is zero");
	kiln_free(b);
	kiln_free(other);

	kiln_program_free(loads);
	kiln_program_free(stores);
	kiln_program_free(adds);
	kiln_queue_destroy(queue);
	kiln_close(device);
	return done_testing();
}
