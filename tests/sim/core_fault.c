// SPDX-License-Identifier: MIT
/* Commands that fail: each with its errno, alone, and the next one works. */
#include <kiln_asm.h>

#include "core_test.h"

static struct kiln_device *device;
static struct kiln_queue *queue;
static struct kiln_buffer *data, *args;
static uint64_t faults;

static struct kiln_program *load(struct kiln_asm *as)
{
	struct kiln_program *program;
	void *bytes;
	size_t size;

	if (kiln_asm_finish(as, &bytes, &size)) {
		printf("Bail out! assembling: %s\n", kiln_asm_error(as));
		exit(1);
	}
	kiln_asm_destroy(as);
	if (kiln_program_load(device, bytes, size, &program))
		bail("loading");
	free(bytes);
	return program;
}

/* args[0]: where 512 bytes come from; args[1]: where they go. */
static struct kiln_program *copier(void)
{
	struct kiln_asm *as = kiln_asm_create(0);
	struct kiln_operand tile = kiln_tile1(KILN_SBUF, KILN_F32, 0, 1, 0, 128);

	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
	kiln_asm_ldarg(as, KILN_SYNC, 2, 1);
	kiln_asm_dma(as, KILN_SYNC, 0, tile, kiln_dram(1, 0, 0, 1));
	kiln_asm_post(as, KILN_SYNC, 0, 1);
	kiln_asm_wait(as, KILN_SYNC, 0, 1);
	kiln_asm_dma(as, KILN_SYNC, 0, kiln_dram(2, 0, 0, 1), tile);
	kiln_asm_post(as, KILN_SYNC, 1, 1);
	kiln_asm_wait(as, KILN_SYNC, 1, 1);
	kiln_asm_nop(as, KILN_SYNC);
	return load(as);
}

static struct kiln_result run(struct kiln_program *program, uint64_t from, uint64_t to)
{
	struct tally tally = { 0 };
	struct kiln_command c = {
		.program = program,
		.args = kiln_addr(args),
		.args_bytes = 16,
		.done = count,
		.user = &tally,
	};
	uint64_t *block = kiln_map(args);

	block[0] = from;
	block[1] = to;
	if (kiln_submit(queue, &c, 1, NULL) || kiln_drain(queue))
		bail("submitting");
	return (struct kiln_result){ tally.last, tally.cycles };
}

/* A good copy: after each fault the card has to be as before. */
static void still_works(struct kiln_program *copy, uint32_t stamp)
{
	uint32_t *p = kiln_map(data);
	struct kiln_result result;
	bool good = true;

	for (int i = 0; i < 128; i++) {
		p[i] = stamp + (uint32_t)i;
		p[1024 + i] = 0;
	}
	result = run(copy, kiln_addr(data), kiln_addr(data) + 4096);
	for (int i = 0; i < 128; i++)
		good &= p[1024 + i] == stamp + (uint32_t)i;
	is(result.res, 0, "  the next command is done");
	ok(good, "  and does its work");
	ok(result.cycles > 0, "  in some time");
}

static void expect_fault(int res, int expected, const char *what, unsigned int status,
			 uint64_t address)
{
	struct kiln_fault_info f;

	is(res, expected, what);
	is(kiln_get_fault(device, &f), 0, "  there is a fault report");
	is((long long)f.count, (long long)++faults, "  it counts this fault");
	is(f.status, status, "  it has the status");
	if (address)
		is((long long)f.address, (long long)address, "  and the address");
	faults = f.count;
}

static struct kiln_program *zeroes(void)
{
	/* A header that is right, and a stream of nothing but zeroes, then an illegal opcode. */
	static struct {
		struct kiln_program_header header;
		struct kiln_insn insn[2];
	} p;
	struct kiln_program *program;

	p.header = (struct kiln_program_header){
		.magic = KILN_PROGRAM_MAGIC,
		.isa_major = KILN_ISA_MAJOR,
		.isa_minor = KILN_ISA_MINOR,
		.bytes = sizeof(p),
		.stream[KILN_VECTOR] = { sizeof(p.header), 2 },
	};
	p.insn[1].opcode = 0xff;
	if (kiln_program_load(device, &p, sizeof(p), &program))
		bail("loading");
	return program;
}

static struct kiln_program *broken_stream(void)
{
	static struct kiln_program_header h;
	struct kiln_program *program;

	h = (struct kiln_program_header){
		.magic = KILN_PROGRAM_MAGIC,
		.isa_major = KILN_ISA_MAJOR,
		.isa_minor = KILN_ISA_MINOR,
		.bytes = sizeof(h),
		.stream[KILN_TENSOR] = { 64, 1000 },	/* beyond the end */
	};
	if (kiln_program_load(device, &h, sizeof(h), &program))
		bail("loading");
	return program;
}

static struct kiln_program *waiting(void)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_wait(as, KILN_SYNC, 7, 1);
	kiln_asm_nop(as, KILN_SYNC);
	return load(as);
}

static struct kiln_program *endless(void)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_movi(as, KILN_SYNC, 1, 1);
	kiln_asm_bne(as, KILN_SYNC, 1, 0, 1);
	return load(as);
}

/* What stands behind a faulting command in any queue of the device is canceled, no more. */
static void neighbours(struct kiln_program *bad, struct kiln_program *copy)
{
	struct kiln_device *other;
	struct kiln_queue *theirs;
	struct tally mine = { 0 }, tally = { 0 };
	struct kiln_command c[3] = {
		{ .program = bad, .done = count, .user = &mine },
		{ .done = count, .user = &mine },
		{ .done = count, .user = &mine },
	}, nop = { .done = count, .user = &tally };

	if (kiln_open(transport(), &other))
		bail("a second handle");
	theirs = make_queue(other, 8, 0);
	kiln_submit(theirs, &nop, 1, NULL);
	kiln_submit(queue, c, 3, NULL);
	kiln_submit(theirs, &nop, 1, NULL);
	kiln_drain(queue);
	kiln_drain(theirs);
	is(mine.calls, 3, "three commands, the first one faults");
	ok(mine.last == -ECANCELED || mine.last == 0, "the last one is canceled, or came after");
	is(tally.good, 2, "another device handle notices nothing");
	faults++;
	still_works(copy, 900);
	kiln_queue_destroy(theirs);
	kiln_close(other);
}

int main(void)
{
	struct kiln_program *copy, *bad, *broken, *stuck, *loop;
	struct kiln_buffer *readonly;
	uint64_t nowhere;
	uint64_t start;
	struct kiln_fault_info f;

	device = open_card();
	queue = make_queue(device, 8, 300);
	data = make_buffer(device, 8192, KILN_HBM);
	args = make_buffer(device, 4096, KILN_HOST);
	if (kiln_alloc(device, 4096, KILN_HBM, KILN_ALLOC_READONLY, &readonly))
		bail("read-only memory");
	copy = copier();
	bad = zeroes();
	broken = broken_stream();
	stuck = waiting();
	loop = endless();
	nowhere = kiln_addr(data) + kiln_bytes(data);

	is(kiln_get_fault(device, &f), 0, "a fault report at the start");
	is((long long)f.count, 0, "that says there was none");
	still_works(copy, 100);

	expect_fault(run(copy, nowhere, kiln_addr(data)).res, -EFAULT,
		     "reading the page behind a buffer", KILN_ST_PAGE_FAULT, nowhere);
	still_works(copy, 200);
	expect_fault(run(copy, kiln_addr(data), 4096 * 16).res, -EFAULT,
		     "writing where nothing is", KILN_ST_PAGE_FAULT, 4096 * 16);
	still_works(copy, 300);
	expect_fault(run(copy, kiln_addr(data), kiln_addr(readonly)).res, -EFAULT,
		     "writing read-only memory", KILN_ST_PAGE_FAULT, kiln_addr(readonly));
	is(run(copy, kiln_addr(readonly), kiln_addr(data)).res, 0, "  reading it is allowed");
	still_works(copy, 400);
	expect_fault(run(bad, 0, 0).res, -ENOEXEC, "an instruction that is none", KILN_ST_ILLEGAL, 0);
	kiln_get_fault(device, &f);
	is(f.engine, KILN_VECTOR, "  the report names the engine");
	is(f.instruction, 1, "  and the instruction");
	still_works(copy, 500);
	expect_fault(run(broken, 0, 0).res, -ENOEXEC, "a stream beyond the program", KILN_ST_BAD_PROGRAM, 0);
	still_works(copy, 600);
	expect_fault(run(stuck, 0, 0).res, -EDEADLK, "a wait that nobody ends", KILN_ST_DEADLOCK, 0);
	still_works(copy, 700);
	start = now_ms();
	expect_fault(run(loop, 0, 0).res, -ETIME, "a loop without end, limit 300 ms", KILN_ST_TIMEOUT, 0);
	ok(now_ms() - start >= 290 && now_ms() - start < 5000, "  stopped about then");
	if (now_ms() - start < 290 || now_ms() - start >= 5000)
		printf("# expected 300 to 5000 ms\n# got %llu\n",
		       (unsigned long long)(now_ms() - start));
	still_works(copy, 800);
	neighbours(bad, copy);

	kiln_program_free(copy);
	kiln_program_free(bad);
	kiln_program_free(broken);
	kiln_program_free(stuck);
	kiln_program_free(loop);
	kiln_queue_destroy(queue);
	kiln_free(data);
	kiln_free(args);
	kiln_free(readonly);
	kiln_close(device);
	return done_testing();
}
