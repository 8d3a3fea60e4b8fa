// SPDX-License-Identifier: MIT
/*
 * The sanitizer between commands: two queues at the same device memory, with and
 * without what orders them. A gate, which a third queue opens last of all, holds
 * the commands until all are submitted; so no run depends on who was faster.
 */
#include "core_test.h"

#include <unistd.h>
#include <kiln_asm.h>

#define ROWS	64
#define COLS	32		/* f32 */
#define BYTES	(ROWS * COLS * 4)

static struct kiln_device *device;
static struct kiln_queue *queue[3];
static struct kiln_buffer *data, *gate, *args;
static struct kiln_program *reads, *writes;
static char path[] = "/tmp/kiln-sanitize-XXXXXX";
static int log_fd, stderr_fd;
static uint64_t round_number;
static unsigned int next_args;

/* A tile between SBUF and device memory, at args[0], args[1] elements of each row wide. */
static struct kiln_program *make_program(bool write, unsigned int columns)
{
	struct kiln_asm *as = kiln_asm_create(0);
	struct kiln_operand tile = kiln_tile1(KILN_SBUF, KILN_F32, 0, ROWS, 0, columns);
	struct kiln_program *p;
	void *bytes;
	size_t n;

	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
	if (write) {
		kiln_asm_memset(as, KILN_VECTOR, tile, 1);
		kiln_asm_post(as, KILN_VECTOR, 0, 1);
		kiln_asm_wait(as, KILN_SYNC, 0, 1);
		kiln_asm_dma(as, KILN_SYNC, 0, kiln_dram(1, 0, COLS, 1), tile);
	} else {
		kiln_asm_dma(as, KILN_SYNC, 0, tile, kiln_dram(1, 0, COLS, 1));
	}
	kiln_asm_label(as, KILN_SYNC, 77);
	if (kiln_asm_finish(as, &bytes, &n) || kiln_program_load(device, bytes, n, &p))
		bail("no program");
	free(bytes);
	kiln_asm_destroy(as);
	return p;
}

static struct kiln_command command(struct kiln_program *program, uint64_t offset)
{
	uint64_t *words = kiln_map(args);
	unsigned int at = next_args++ % 256;

	words[at] = kiln_addr(data) + offset;
	return (struct kiln_command){ .program = program, .args = kiln_addr(args) + at * 8,
				      .args_bytes = 8 };
}

/* Behind the gate of this round. */
static void submit(unsigned int q, struct kiln_command c)
{
	if (!c.wait_addr) {
		c.wait_addr = kiln_addr(gate);
		c.wait_value = round_number + 1;
	}
	if (kiln_submit(queue[q], &c, 1, NULL))
		bail("submit");
}

static void open_gate(void)
{
	struct kiln_command c = { .signal_addr = kiln_addr(gate), .signal_value = ++round_number };

	if (kiln_submit(queue[2], &c, 1, NULL))
		bail("the gate");
	for (unsigned int i = 0; i < 3; i++)
		if (kiln_drain(queue[i]))
			bail("drain");
}

/* What was said since the last time has so many races, and in the first of them these words. */
static void told(unsigned int races, const char *words, const char *what)
{
	static char text[65536];
	unsigned int n = 0;
	ssize_t got;
	char *line;

	fflush(stderr);
	got = pread(log_fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = 0;
	for (line = text; (line = strstr(line, "race: a command of queue")); line++)
		n++;
	if (!ok(n == races && (!words || strstr(text, words)), "%s", what))
		printf("# expected %u races%s%s\n# got %u: %.*s\n", races, words ? ", " : "",
		       words ? words : "", n, (int)strcspn(text, "\n"), text);
	if (ftruncate(log_fd, 0) || lseek(log_fd, 0, SEEK_SET))
		bail("the log");
}

static void fresh_card(void)
{
	for (unsigned int i = 0; i < 3; i++)
		queue[i] = make_queue(device, 64, 0);
}

static void open_all(const char *name)
{
	round_number = 0;
	if (kiln_open(name, &device))
		bail("open");
	fresh_card();
	data = make_buffer(device, 4 * BYTES, KILN_HBM);
	gate = make_buffer(device, 4096, KILN_HBM);
	args = make_buffer(device, 4096, KILN_HOST);
	reads = make_program(false, COLS / 2);
	writes = make_program(true, COLS / 2);
}

static void close_all(void)
{
	for (unsigned int i = 0; i < 3; i++)
		kiln_queue_destroy(queue[i]);
	kiln_program_free(reads);
	kiln_program_free(writes);
	kiln_free(data);
	kiln_free(gate);
	kiln_free(args);
	kiln_close(device);
}

static void pair(struct kiln_program *a, uint64_t a_offset, struct kiln_program *b,
		 uint64_t b_offset)
{
	submit(0, command(a, a_offset));
	submit(1, command(b, b_offset));
	open_gate();
}

static void check_card(const char *name)
{
	struct kiln_command c;

	open_all(name);
	pair(writes, 0, reads, 0);
	told(1, "nothing orders it with one of queue", "a write and a read");
	pair(writes, 0, reads, 0);
	told(0, NULL, "the same two instructions once more: told once");
	close_all();

	open_all(name);
	pair(writes, 0, writes, 0);
	told(1, "writes dram", "two writes");
	close_all();

	open_all(name);
	pair(writes, 0, writes, COLS * 4 - 4);
	told(1, "DMA_COPY label=77", "one column in common");
	close_all();

	open_all(name);
	pair(reads, 0, reads, 0);
	told(0, NULL, "two reads");
	pair(writes, 0, writes, 2 * BYTES);
	told(0, NULL, "different places");
	pair(writes, 0, writes, COLS * 2);
	told(0, NULL, "columns beside each other");

	submit(0, command(writes, 0));
	submit(0, command(reads, 0));
	open_gate();
	told(0, NULL, "one queue");

	pair(writes, 0, reads, BYTES);
	submit(1, command(reads, 0));
	open_gate();
	told(0, NULL, "the host waited in between");

	/* A signal of the writer, which the reader waits for; then by two that only pass it on. */
	c = command(writes, 0);
	c.signal_addr = kiln_addr(gate) + 8;
	c.signal_value = 1;
	submit(0, c);
	c = command(reads, 0);
	c.wait_addr = kiln_addr(gate) + 8;
	c.wait_value = 1;
	submit(1, c);
	open_gate();
	told(0, NULL, "a signal and a wait");
	submit(0, command(writes, 0));
	submit(0, (struct kiln_command){ .signal_addr = kiln_addr(gate) + 16, .signal_value = 1 });
	submit(1, (struct kiln_command){ .wait_addr = kiln_addr(gate) + 16, .wait_value = 1 });
	submit(1, command(reads, 0));
	open_gate();
	told(0, NULL, "commands without a program pass it on");

	/* The wrong one's signal orders nothing. */
	submit(0, (struct kiln_command){ .signal_addr = kiln_addr(gate) + 24, .signal_value = 1 });
	submit(0, command(writes, 0));
	c = command(reads, 0);
	c.wait_addr = kiln_addr(gate) + 24;
	c.wait_value = 1;
	submit(1, c);
	open_gate();
	told(1, "nothing orders it", "a signal before the writer");
	close_all();

	/* Queues come and go: what the last of that number did is not the new one's. */
	open_all(name);
	for (unsigned int i = 0; i < 20; i++) {
		submit(0, command(writes, 0));
		open_gate();
	}
	kiln_queue_destroy(queue[0]);
	kiln_queue_destroy(queue[1]);
	queue[0] = make_queue(device, 64, 0);
	queue[1] = make_queue(device, 64, 0);
	pair(reads, 0, reads, 0);
	told(0, NULL, "a new queue of an old number");
	/* More commands than are remembered, all in order. */
	for (unsigned int i = 0; i < 200; i++) {
		submit(i % 2, command(i % 2 ? reads : writes, 0));
		if (i % 2)
			submit(0, command(reads, BYTES));
		open_gate();
		if (i == 1)
			told(0, NULL, "one after the other");
	}
	told(0, NULL, "200 of them");
	pair(reads, 0, writes, 0);
	told(1, "nothing orders it", "and then a race");
	close_all();
}

int main(void)
{
	if (!simulated()) {
		skip("the sanitizer between commands", "the card's own tells the host of the card");
		return done_testing();
	}
	log_fd = mkstemp(path);
	stderr_fd = dup(2);
	if (log_fd < 0 || dup2(log_fd, 2) < 0)
		bail("a file for what is told");
	check_card("sim:sanitize=on,hbm=64M");
	check_card("sim:sanitize=on,hbm=64M,cores=2,threads=2");
	open_all("sim:hbm=64M");
	pair(writes, 0, writes, 0);
	told(0, NULL, "without a sanitizer nothing is told");
	close_all();
	dup2(stderr_fd, 2);
	unlink(path);
	return done_testing();
}
