// SPDX-License-Identifier: MIT
/*
 * Two processes compute and look at every number, while a third one does
 * everything that a command can do wrong. It gets its errno and the place of
 * each fault, its next command works, and the two notice nothing.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kiln_asm.h>
#include <kiln_ops.h>

#include "sim/core_test.h"

#define M		96
#define N		160
#define K		64
#define VARIANTS	4
#define LIMIT_MS	30	/* for the commands of the third one */
#define ROUNDS		4

/* What a computing process tells the third one, which is its parent. */
struct good {
	atomic_bool ready;
	unsigned int rounds, wrong, faults;
	int error;
	uint64_t slowest_ms;
	uint64_t addr;		/* bound in its address space only */
};

static struct shared {
	atomic_bool stop;
	struct good good[2];
} *shared;

static struct kiln_device *device;
static struct kiln_queue *queue[2];
static struct kiln_buffer *data, *args, *readonly;
static struct kiln_program *copy;

/* ---------------------------------------------------- the two that compute -- */

/* Small whole numbers: bf16 holds them and their sums are exact. */
static int a_at(unsigned int which, unsigned int variant, unsigned int i, unsigned int l)
{
	return (int)((i * 3 + l * 5 + variant * 7 + which * 2) % 5) - 2;
}

static int b_at(unsigned int which, unsigned int l, unsigned int j)
{
	return (int)((l * 7 + j * 11 + which * 3 + l * j) % 5) - 2;
}

static uint16_t small_bf16(int x)
{
	float f = (float)x;
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return (uint16_t)(bits >> 16);
}

static int compute(unsigned int which, enum kiln_submit_way way)
{
	static float want[VARIANTS][M * N];
	struct good *good = &shared->good[which];
	struct kiln_queue_attr attr = { .way = way };
	struct kiln_buffer *a, *b, *c, *mine;
	struct kiln_fault_info fault;
	struct kiln_queue *q;
	struct kiln_ops *ops;
	uint16_t *pa, *pb;
	float *pc;

	device = open_card();
	if (kiln_queue_create(device, &attr, &q) || kiln_ops_create(q, &ops))
		bail("a queue");
	a = make_buffer(device, VARIANTS * M * K * 2, KILN_HBM);
	b = make_buffer(device, K * N * 2, KILN_HBM);
	c = make_buffer(device, M * N * 4, KILN_HBM);
	mine = make_buffer(device, 8 << 20, KILN_HBM);
	pa = kiln_map(a);
	pb = kiln_map(b);
	pc = kiln_map(c);
	for (unsigned int l = 0; l < K; l++)
		for (unsigned int j = 0; j < N; j++)
			pb[l * N + j] = small_bf16(b_at(which, l, j));
	for (unsigned int v = 0; v < VARIANTS; v++) {
		for (unsigned int i = 0; i < M; i++) {
			for (unsigned int l = 0; l < K; l++) {
				int x = a_at(which, v, i, l);

				pa[(v * M + i) * K + l] = small_bf16(x);
				for (unsigned int j = 0; j < N; j++)
					want[v][i * N + j] += (float)(x * b_at(which, l, j));
			}
		}
	}
	good->addr = kiln_addr(mine) + (4 << 20);

	while (!shared->stop && !good->error) {
		unsigned int v = good->rounds % VARIANTS;
		struct kiln_matmul mm = {
			.type = KILN_TYPE_BF16, .out_type = KILN_TYPE_F32,
			.m = M, .n = N, .k = K,
			.a = kiln_addr(a) + v * M * K * 2, .b = kiln_addr(b), .c = kiln_addr(c),
		};
		struct tally tally = { 0 };
		uint64_t start = now_ms();

		memset(pc, 0xff, M * N * 4);
		good->error = kiln_matmul(ops, &mm, count, &tally);
		if (!good->error)
			good->error = kiln_drain(q);
		if (!good->error)
			good->error = tally.calls == 1 ? tally.last : -EIO;
		good->wrong += memcmp(pc, want[v], sizeof(want[v])) != 0;
		if (now_ms() - start > good->slowest_ms)
			good->slowest_ms = now_ms() - start;
		good->rounds++;
		good->ready = true;
	}
	kiln_get_fault(device, &fault);
	good->faults = (unsigned int)fault.count;
	kiln_ops_destroy(ops);
	kiln_queue_destroy(q);
	kiln_free(a);
	kiln_free(b);
	kiln_free(c);
	kiln_free(mine);
	kiln_close(device);
	return 0;
}

/* ------------------------------------------------------- the one that errs -- */

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

/* args[0]: where 512 bytes come from (Sync 2); args[1]: where they go (Sync 4). */
static struct kiln_program *copier(void)
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
	kiln_asm_dma(as, KILN_SYNC, 0, kiln_dram(2, 0, 0, 1), tile);
	kiln_asm_label(as, KILN_SYNC, 72);
	kiln_asm_post(as, KILN_SYNC, 1, 1);
	kiln_asm_wait(as, KILN_SYNC, 1, 1);
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

static struct kiln_program *deadlock(void)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_wait(as, KILN_SYNC, 7, 1);
	kiln_asm_nop(as, KILN_SYNC);
	kiln_asm_wait(as, KILN_TENSOR, 8, 1);
	kiln_asm_nop(as, KILN_TENSOR);
	return load(as);
}

/* A register takes the tile beyond SBUF: no assembler can see that. Vector 1. */
static struct kiln_program *beyond_sbuf(void)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_movi(as, KILN_VECTOR, 1, 1 << 20);
	kiln_asm_memset(as, KILN_VECTOR,
			kiln_at(kiln_tile1(KILN_SBUF, KILN_F32, 0, 128, 0, 16), 1), 1);
	kiln_asm_label(as, KILN_VECTOR, 73);
	return load(as);
}

/* A right header before instructions of which the last is none. Tensor 2. */
static struct kiln_program *illegal(void)
{
	struct {
		struct kiln_program_header header;
		struct kiln_insn insn[3];
	} p = {
		.header = {
			.magic = KILN_PROGRAM_MAGIC,
			.isa_major = KILN_ISA_MAJOR,
			.isa_minor = KILN_ISA_MINOR,
			.bytes = sizeof(p),
			.stream[KILN_TENSOR] = { sizeof(p.header), 3 },
		},
		.insn[2].opcode = 0xee,
	};
	struct kiln_program *program;

	if (kiln_program_load(device, &p, sizeof(p), &program))
		bail("loading");
	return program;
}

static struct kiln_program *cut_short(void)
{
	struct kiln_program_header h = {
		.magic = KILN_PROGRAM_MAGIC,
		.isa_major = KILN_ISA_MAJOR,
		.isa_minor = KILN_ISA_MINOR,
		.bytes = sizeof(h),
		.stream[KILN_SCALAR] = { sizeof(h), 5 },
	};
	struct kiln_program *program;

	if (kiln_program_load(device, &h, sizeof(h), &program))
		bail("loading");
	return program;
}

/* Five streams of noise behind a right header. */
static struct kiln_program *noise(unsigned int seed)
{
	struct {
		struct kiln_program_header header;
		uint8_t insn[KILN_ENGINES][4][sizeof(struct kiln_insn)];
	} p = {
		.header = {
			.magic = KILN_PROGRAM_MAGIC,
			.isa_major = KILN_ISA_MAJOR,
			.isa_minor = KILN_ISA_MINOR,
			.bytes = sizeof(p),
		},
	};
	struct kiln_program *program;
	uint8_t *bytes = &p.insn[0][0][0];

	srandom(seed);
	for (size_t i = 0; i < sizeof(p.insn); i++)
		bytes[i] = (uint8_t)random();
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		p.header.stream[e].offset = (uint32_t)(sizeof(p.header) + e * sizeof(p.insn[e]));
		p.header.stream[e].count = 4;
	}
	if (kiln_program_load(device, &p, sizeof(p), &program))
		bail("loading");
	return program;
}

static int run_args(struct kiln_queue *q, struct kiln_program *program, uint64_t args_addr)
{
	struct tally tally = { 0 };
	struct kiln_command c = {
		.program = program, .args = args_addr, .args_bytes = 16,
		.done = count, .user = &tally,
	};
	int err = kiln_submit(q, &c, 1, NULL);

	if (!err)
		err = kiln_drain(q);
	return err ? err : tally.calls == 1 ? tally.last : -EIO;
}

static int run(struct kiln_queue *q, struct kiln_program *program, uint64_t from, uint64_t to)
{
	uint64_t *block = kiln_map(args);

	block[0] = from;
	block[1] = to;
	return run_args(q, program, kiln_addr(args));
}

static void still_works(struct kiln_queue *q)
{
	static uint32_t stamp;
	uint32_t *p = kiln_map(data);
	int res, bad = 0;

	stamp += 1000;
	for (uint32_t i = 0; i < 128; i++) {
		p[i] = stamp + i;
		p[1024 + i] = 0;
	}
	res = run(q, copy, kiln_addr(data), kiln_addr(data) + 4096);
	for (uint32_t i = 0; i < 128; i++)
		bad += p[1024 + i] != stamp + i;
	if (!ok(!res && !bad, "  the next command is right"))
		printf("# expected 0, 0 wrong numbers\n# got %d, %d\n", res, bad);
}

struct place {
	unsigned int status, engine, instruction, label;
	uint64_t address;
};

/* One fault more, and there. status 0: wherever it was. */
static void reported(const struct place *want)
{
	static uint64_t faults;
	struct kiln_fault_info f;
	bool same;

	if (kiln_get_fault(device, &f))
		bail("the fault report");
	same = f.count == ++faults;
	if (want->status)
		same = same && f.status == want->status && f.engine == want->engine &&
		       f.instruction == want->instruction && f.label == want->label &&
		       f.address == want->address;
	if (!ok(same, "  the report says where"))
		printf("# expected fault %" PRIu64 ": status %u engine %u instruction %u label %u address %#" PRIx64 "\n"
		       "# got fault %" PRIu64 ": status %u engine %u instruction %u label %u address %#" PRIx64 "\n",
		       faults, want->status, want->engine, want->instruction, want->label,
		       want->address, f.count, f.status, f.engine, f.instruction, f.label, f.address);
	faults = f.count;
}

static void test_addresses(struct kiln_queue *q, const char *way)
{
	uint64_t here = kiln_addr(data);
	const struct {
		uint64_t addr;
		const char *what;
		bool readable;
	} bad[] = {
		{ here + kiln_bytes(data), "behind its buffer", false },
		{ shared->good[0].addr, "where another process has memory", false },
		{ 8, "in the page that is never mapped", false },
		{ (1ull << 48) - 4096, "in the last page there is", false },
		{ 1ull << 48, "beyond the address space", false },
		{ ~0ull - 4095, "at the end of 64 bits", false },
		{ kiln_addr(readonly), "in read-only memory", true },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct place place = {
			KILN_ST_PAGE_FAULT, KILN_SYNC, 2, 71, bad[i].addr,
		};

		if (bad[i].readable) {
			is(run(q, copy, bad[i].addr, here), 0, "reading read-only memory");
		} else {
			if (!ok(run(q, copy, bad[i].addr, here) == -EFAULT, "%s: reading %s", way,
				bad[i].what))
				printf("# expected %d\n", -EFAULT);
			reported(&place);
			still_works(q);
		}
		place.instruction = 4;
		place.label = 72;
		if (!ok(run(q, copy, here, bad[i].addr) == -EFAULT, "%s: writing %s", way,
			bad[i].what))
			printf("# expected %d\n", -EFAULT);
		reported(&place);
		still_works(q);
	}
	is(run_args(q, copy, shared->good[1].addr), -EFAULT, "arguments in another process's memory");
	reported(&(struct place){ 0 });
	still_works(q);
}

static void test_program(struct kiln_queue *q, const char *way, struct kiln_program *program,
			 const char *what, int res, struct place place)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: %s", way, what);
	is(run(q, program, 0, 0), res, text);
	reported(&place);
	still_works(q);
	kiln_program_free(program);
}

static void test_programs(struct kiln_queue *q, const char *way, unsigned int round)
{
	struct kiln_program *program;
	uint64_t start;
	int res;

	test_program(q, way, illegal(), "an instruction that is none", -ENOEXEC,
		     (struct place){ KILN_ST_ILLEGAL, KILN_TENSOR, 2, 0, 0 });
	test_program(q, way, cut_short(), "a stream beyond its program", -ENOEXEC,
		     (struct place){ 0 });
	test_program(q, way, beyond_sbuf(), "a tile beyond SBUF", -ENOEXEC,
		     (struct place){ KILN_ST_MEMORY, KILN_VECTOR, 1, 73, 1 << 20 });
	test_program(q, way, deadlock(), "engines that wait for each other", -EDEADLK,
		     (struct place){ 0 });
	start = now_ms();
	test_program(q, way, endless(), "a loop without end", -ETIME, (struct place){ 0 });
	if (!ok(now_ms() - start >= LIMIT_MS - 5, "  after its limit"))
		printf("# expected %d ms\n# got %" PRIu64 "\n", LIMIT_MS, now_ms() - start);

	program = noise(round);
	res = run(q, program, kiln_addr(data), kiln_addr(data));
	if (!ok(res == -ENOEXEC || res == -EFAULT, "%s: noise", way))
		printf("# expected %d or %d\n# got %d\n", -ENOEXEC, -EFAULT, res);
	reported(&(struct place){ 0 });
	still_works(q);
	kiln_program_free(program);
}

/* A bad one among good ones: what was done before it stays done. */
static void test_among_others(struct kiln_queue *q, const char *way)
{
	struct kiln_program *bad = illegal();
	struct tally tally[8] = { 0 };
	struct kiln_command c[8];
	uint64_t *block = kiln_map(args);
	int wrong = 0;

	block[0] = kiln_addr(data);
	block[1] = kiln_addr(data) + 4096;
	for (int i = 0; i < 8; i++)
		c[i] = (struct kiln_command){
			.program = i == 3 ? bad : copy, .args = kiln_addr(args), .args_bytes = 16,
			.done = count, .user = &tally[i],
		};
	if (kiln_submit(q, c, 8, NULL) || kiln_drain(q))
		bail("submitting");
	for (int i = 0; i < 8; i++) {
		bool good = tally[i].calls == 1 &&
			    (i < 3 ? !tally[i].last : i == 3 ? tally[i].last == -ENOEXEC :
			     !tally[i].last || tally[i].last == -ECANCELED);

		if (!good)
			printf("# command %d of 8: %d calls, %d\n", i, tally[i].calls, tally[i].last);
		wrong += !good;
	}
	ok(!wrong, "%s: the fourth of eight is wrong: three done, one fails, the rest done or canceled", way);
	reported(&(struct place){ 0 });
	still_works(q);
	kiln_program_free(bad);
}

int main(void)
{
	static const char *const names[] = { "uring", "ioctl" };
	pid_t pid[2];
	int status;

	setenv("KILN_TRANSPORT", "drm", 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		bail("mmap");
	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(compute(i, i ? KILN_SUBMIT_IOCTL : KILN_SUBMIT_URING));
	}
	for (int i = 0; i < 2; i++)
		for (int n = 0; !shared->good[i].ready && n < 1000; n++)
			usleep(20000);

	device = open_card();
	for (int i = 0; i < 2; i++) {
		struct kiln_queue_attr attr = {
			.limit_ms = LIMIT_MS,
			.way = i ? KILN_SUBMIT_IOCTL : KILN_SUBMIT_URING,
		};

		if (kiln_queue_create(device, &attr, &queue[i]))
			bail("a queue");
	}
	args = make_buffer(device, 4096, KILN_HOST);
	data = make_buffer(device, 8192, KILN_HBM);
	if (kiln_alloc(device, 4096, KILN_HBM, KILN_ALLOC_READONLY, &readonly))
		bail("read-only memory");
	copy = copier();
	still_works(queue[0]);
	still_works(queue[1]);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct kiln_queue *q = queue[round % 2];
		const char *way = names[round % 2];

		test_addresses(q, way);
		test_programs(q, way, round);
		test_among_others(q, way);
	}

	shared->stop = true;
	for (int i = 0; i < 2; i++) {
		struct good *good = &shared->good[i];

		waitpid(pid[i], &status, 0);
		is(status, 0, "a process that computed meanwhile ends well");
		is(good->error, 0, "  none of its commands failed");
		is(good->wrong, 0, "  all of its results are right");
		is(good->faults, 0, "  no fault is laid to it");
		if (!ok(good->rounds >= 20, "  it got its turn"))
			printf("# expected 20 results or more\n# got %u\n", good->rounds);
		if (!ok(good->slowest_ms < 2000, "  and never waited long"))
			printf("# expected less than 2000 ms\n# got %" PRIu64 "\n", good->slowest_ms);
		printf("# %u results, the slowest in %" PRIu64 " ms\n", good->rounds, good->slowest_ms);
	}
	kiln_program_free(copy);
	for (int i = 0; i < 2; i++)
		kiln_queue_destroy(queue[i]);
	kiln_free(args);
	kiln_free(data);
	kiln_free(readonly);
	kiln_close(device);
	return done_testing();
}
