// SPDX-License-Identifier: MIT
/*
 * Tenants cannot reach each other: two processes compute and look at every number, while a third
 * one does everything that a command can do wrong. It gets its errno and the place of each fault,
 * its next command works, and the two notice nothing.
 */
#include "_tenants.h"

#include <kiln_ops.h>

#define M		96
#define N		160
#define K		64
#define KINDS		4	/* of A, in turn */
#define LIMIT_MS	30	/* for the commands of the third one */
#define ROUNDS		2

/* What one that computes shares with the third one, which is its parent. */
struct good {
	atomic_bool stop;
	atomic_uint rounds;
	uint64_t addr;		/* bound in its address space only */
};

/* ---------------------------------------------------- the two that compute -- */

/* Small whole numbers: bf16 holds them and their sums are exact. */
static int a_at(unsigned int which, unsigned int kind, unsigned int i, unsigned int l)
{
	return (int)((i * 3 + l * 5 + kind * 7 + which * 2) % 5) - 2;
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

static void compute(struct __test_metadata *_metadata, unsigned int which, struct good *good)
{
	static float want[KINDS][M * N];
	struct kiln_queue_attr attr = { .way = which ? KILN_SUBMIT_IOCTL : KILN_SUBMIT_URING };
	struct kiln_device *device = open_driver();
	struct kiln_buffer *a, *b, *c, *mine;
	struct kiln_fault_info fault;
	uint64_t slowest_ms = 0;
	unsigned int wrong = 0;
	struct kiln_queue *q;
	struct kiln_ops *ops;
	uint16_t *pa, *pb;
	int error = 0;
	float *pc;

	if (kiln_queue_create(device, &attr, &q) || kiln_ops_create(q, &ops))
		bail("a queue");
	a = make_buffer(device, KINDS * M * K * 2, KILN_HBM);
	b = make_buffer(device, K * N * 2, KILN_HBM);
	c = make_buffer(device, M * N * 4, KILN_HBM);
	mine = make_buffer(device, 8 << 20, KILN_HBM);
	pa = kiln_map(a);
	pb = kiln_map(b);
	pc = kiln_map(c);
	for (unsigned int l = 0; l < K; l++)
		for (unsigned int j = 0; j < N; j++)
			pb[l * N + j] = small_bf16(b_at(which, l, j));
	for (unsigned int v = 0; v < KINDS; v++) {
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

	while (!good->stop && !error) {
		unsigned int v = good->rounds % KINDS;
		struct kiln_matmul mm = {
			.type = KILN_TYPE_BF16, .out_type = KILN_TYPE_F32,
			.m = M, .n = N, .k = K,
			.a = kiln_addr(a) + v * M * K * 2, .b = kiln_addr(b), .c = kiln_addr(c),
		};
		struct tally tally = { 0 };
		uint64_t start = now_ms();

		memset(pc, 0xff, M * N * 4);
		error = kiln_matmul(ops, &mm, count, &tally);
		if (!error)
			error = kiln_drain(q);
		if (!error)
			error = tally.calls == 1 ? tally.last : -EIO;
		wrong += memcmp(pc, want[v], sizeof(want[v])) != 0;
		if (now_ms() - start > slowest_ms)
			slowest_ms = now_ms() - start;
		good->rounds++;
	}
	kiln_get_fault(device, &fault);
	EXPECT_EQ(0, error);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, fault.count);
	EXPECT_GT(2000, slowest_ms);
	ksft_print_msg("%u results, the slowest in %ju ms\n", good->rounds, (uintmax_t)slowest_ms);
	kiln_ops_destroy(ops);
	kiln_queue_destroy(q);
	kiln_free(a);
	kiln_free(b);
	kiln_free(c);
	kiln_free(mine);
	kiln_close(device);
	fflush(stdout);
}

/* ------------------------------------------------------- the one that errs -- */

FIXTURE(tenants_apart) {
	struct good *good;		/* two */
	pid_t pid[2];
	struct kiln_device *device;
	struct kiln_queue *uring, *ioctl;
	struct kiln_queue *q;		/* the variant's */
	struct kiln_buffer *data, *args, *readonly;
	struct kiln_program *copy;
	uint64_t faults;
	uint32_t stamp;
};

FIXTURE_VARIANT(tenants_apart) {
	enum kiln_submit_way way;
};

FIXTURE_VARIANT_ADD(tenants_apart, uring) { .way = KILN_SUBMIT_URING };
FIXTURE_VARIANT_ADD(tenants_apart, ioctl) { .way = KILN_SUBMIT_IOCTL };

typedef FIXTURE_DATA(tenants_apart) fixture;

/* args[0]: where 512 bytes come from (Sync 2); args[1]: where they go (Sync 4). */
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
	kiln_asm_dma(as, KILN_SYNC, 0, kiln_dram(2, 0, 0, 1), tile);
	kiln_asm_label(as, KILN_SYNC, 72);
	kiln_asm_post(as, KILN_SYNC, 1, 1);
	kiln_asm_wait(as, KILN_SYNC, 1, 1);
	kiln_asm_nop(as, KILN_SYNC);
	return assemble(device, as);
}

static struct kiln_program *endless(struct kiln_device *device)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_movi(as, KILN_SYNC, 1, 1);
	kiln_asm_bne(as, KILN_SYNC, 1, 0, 1);
	return assemble(device, as);
}

static struct kiln_program *deadlock(struct kiln_device *device)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_wait(as, KILN_SYNC, 7, 1);
	kiln_asm_nop(as, KILN_SYNC);
	kiln_asm_wait(as, KILN_TENSOR, 8, 1);
	kiln_asm_nop(as, KILN_TENSOR);
	return assemble(device, as);
}

/* A register takes the tile beyond SBUF: no assembler can see that. Vector 1. */
static struct kiln_program *beyond_sbuf(struct kiln_device *device)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_movi(as, KILN_VECTOR, 1, 1 << 20);
	kiln_asm_memset(as, KILN_VECTOR,
			kiln_at(kiln_tile1(KILN_SBUF, KILN_F32, 0, 128, 0, 16), 1), 1);
	kiln_asm_label(as, KILN_VECTOR, 73);
	return assemble(device, as);
}

/* What no assembler makes: a right header, before streams that are not. */
struct raw_program {
	struct kiln_program_header header;
	struct kiln_insn insn[KILN_ENGINES][4];
};

#define RAW_HEADER {					\
	.magic = KILN_PROGRAM_MAGIC,			\
	.isa_major = KILN_ISA_MAJOR,			\
	.isa_minor = KILN_ISA_MINOR,			\
	.bytes = sizeof(struct raw_program),		\
}

/* The last instruction is none. Tensor 2. */
static struct kiln_program *illegal(struct kiln_device *device)
{
	struct raw_program p = { .header = RAW_HEADER, .insn[0][2].opcode = 0xee };

	p.header.stream[KILN_TENSOR].offset = sizeof(p.header);
	p.header.stream[KILN_TENSOR].count = 3;
	return load(device, &p, sizeof(p));
}

static struct kiln_program *cut_short(struct kiln_device *device)
{
	struct raw_program p = { .header = RAW_HEADER };

	p.header.stream[KILN_SCALAR].offset = sizeof(p);
	p.header.stream[KILN_SCALAR].count = 5;
	return load(device, &p, sizeof(p));
}

static struct kiln_program *noise(struct kiln_device *device, unsigned int seed)
{
	struct raw_program p = { .header = RAW_HEADER };
	uint8_t *bytes = (uint8_t *)p.insn;

	srandom(seed);
	for (size_t i = 0; i < sizeof(p.insn); i++)
		bytes[i] = (uint8_t)random();
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		p.header.stream[e].offset = (uint32_t)(sizeof(p.header) + e * sizeof(p.insn[e]));
		p.header.stream[e].count = 4;
	}
	return load(device, &p, sizeof(p));
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

static int run(fixture *self, struct kiln_queue *q, struct kiln_program *program,
	       uint64_t from, uint64_t to)
{
	uint64_t *block = kiln_map(self->args);

	block[0] = from;
	block[1] = to;
	return run_args(q, program, kiln_addr(self->args));
}

static void still_works(struct __test_metadata *_metadata, fixture *self, struct kiln_queue *q,
			const char *after)
{
	uint64_t here = kiln_addr(self->data);
	uint32_t *p = kiln_map(self->data);
	int wrong = 0;

	self->stamp += 1000;
	for (uint32_t i = 0; i < 128; i++) {
		p[i] = self->stamp + i;
		p[1024 + i] = 0;
	}
	EXPECT_EQ(0, run(self, q, self->copy, here, here + 4096)) {
		TH_LOG("the next command after: %s", after);
	}
	for (uint32_t i = 0; i < 128; i++)
		wrong += p[1024 + i] != self->stamp + i;
	EXPECT_EQ(0, wrong) {
		TH_LOG("the next command after: %s", after);
	}
}

struct place {
	unsigned int status, engine, instruction, label;
	uint64_t address;
};

/* One fault more, and there (status 0: wherever it was), and none with the next command. */
static void reported(struct __test_metadata *_metadata, fixture *self, const char *what,
		     struct place want)
{
	struct kiln_fault_info f;
	bool there;

	ASSERT_EQ(0, kiln_get_fault(self->device, &f));
	EXPECT_EQ(self->faults + 1, f.count) {
		TH_LOG("%s", what);
	}
	self->faults = f.count;
	there = f.status == want.status && f.engine == want.engine &&
		f.instruction == want.instruction && f.label == want.label &&
		f.address == want.address;
	EXPECT_TRUE(!want.status || there) {
		TH_LOG("%s: status %u engine %u instruction %u label %u address %#" PRIx64, what,
		       want.status, want.engine, want.instruction, want.label, want.address);
		TH_LOG("got: status %u engine %u instruction %u label %u address %#" PRIx64,
		       f.status, f.engine, f.instruction, f.label, f.address);
	}
	still_works(_metadata, self, self->q, what);
}

/* @what ended with @res. */
static void failed(struct __test_metadata *_metadata, fixture *self, const char *what,
		   int expected, int res, struct place place)
{
	EXPECT_EQ(expected, res) {
		TH_LOG("%s", what);
	}
	reported(_metadata, self, what, place);
}

static void program_fails(struct __test_metadata *_metadata, fixture *self, const char *what,
			  struct kiln_program *program, int expected, struct place place)
{
	failed(_metadata, self, what, expected, run(self, self->q, program, 0, 0), place);
	kiln_program_free(program);
}

static struct kiln_queue *limited_queue(struct kiln_device *device, enum kiln_submit_way way)
{
	struct kiln_queue_attr attr = { .limit_ms = LIMIT_MS, .way = way };
	struct kiln_queue *q;

	if (kiln_queue_create(device, &attr, &q))
		bail("a queue");
	return q;
}

/* What one that computes has done, once that is @rounds; less if it does not go on. */
static unsigned int rounds_of(struct good *good, unsigned int rounds)
{
	for (int n = 0; good->rounds < rounds && n < 1000; n++)
		usleep(20000);
	return good->rounds;
}

FIXTURE_SETUP(tenants_apart)
{
	self->good = share(2 * sizeof(*self->good));
	for (unsigned int i = 0; i < 2; i++) {
		self->pid[i] = fork_tenant();
		if (!self->pid[i]) {
			compute(_metadata, i, &self->good[i]);
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++)
		ASSERT_LE(1, rounds_of(&self->good[i], 1));

	self->device = open_driver();
	self->uring = limited_queue(self->device, KILN_SUBMIT_URING);
	self->ioctl = limited_queue(self->device, KILN_SUBMIT_IOCTL);
	self->q = variant->way == KILN_SUBMIT_URING ? self->uring : self->ioctl;
	self->args = make_buffer(self->device, 4096, KILN_HOST);
	self->data = make_buffer(self->device, 8192, KILN_HBM);
	ASSERT_EQ(0, kiln_alloc(self->device, 4096, KILN_HBM, KILN_ALLOC_READONLY,
				&self->readonly));
	self->copy = copier(self->device);
	still_works(_metadata, self, self->uring, "nothing");
	still_works(_metadata, self, self->ioctl, "nothing");
}

/* The two have noticed nothing, nor has the other queue. */
FIXTURE_TEARDOWN(tenants_apart)
{
	struct kiln_fault_info f;
	int status;

	still_works(_metadata, self, self->uring, "all");
	still_works(_metadata, self, self->ioctl, "all");
	EXPECT_EQ(0, kiln_get_fault(self->device, &f));
	EXPECT_EQ(self->faults, f.count);
	for (int i = 0; i < 2; i++) {
		unsigned int rounds = self->good[i].rounds + 20;

		EXPECT_LE(rounds, rounds_of(&self->good[i], rounds));
		self->good[i].stop = true;
		EXPECT_EQ(self->pid[i], waitpid(self->pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	kiln_program_free(self->copy);
	kiln_queue_destroy(self->uring);
	kiln_queue_destroy(self->ioctl);
	kiln_free(self->args);
	kiln_free(self->data);
	kiln_free(self->readonly);
	kiln_close(self->device);
}

TEST_F_TIMEOUT(tenants_apart, a_wrong_address_is_a_fault, 120)
{
	uint64_t here = kiln_addr(self->data);
	const struct {
		uint64_t addr;
		const char *read, *written;
	} wrong[] = {
		{ here + kiln_bytes(self->data), "reading behind its buffer", "writing there" },
		{ self->good[0].addr, "reading where another tenant has memory", "writing there" },
		{ 8, "reading the page that is never mapped", "writing it" },
		{ (1ull << 48) - 4096, "reading the last page there is", "writing it" },
		{ 1ull << 48, "reading beyond the address space", "writing there" },
		{ ~0ull - 4095, "reading at the end of 64 bits", "writing there" },
		{ kiln_addr(self->readonly), NULL, "writing read-only memory" },
	};

	for (size_t i = 0; i < ROUNDS * sizeof(wrong) / sizeof(wrong[0]); i++) {
		const typeof(wrong[0]) *w = &wrong[i % (sizeof(wrong) / sizeof(wrong[0]))];
		int res = run(self, self->q, self->copy, w->addr, here);

		if (w->read)
			failed(_metadata, self, w->read, -EFAULT, res,
			       (struct place){ KILN_ST_PAGE_FAULT, KILN_SYNC, 2, 71, w->addr });
		else
			EXPECT_EQ(0, res);
		res = run(self, self->q, self->copy, here, w->addr);
		failed(_metadata, self, w->written, -EFAULT, res,
		       (struct place){ KILN_ST_PAGE_FAULT, KILN_SYNC, 4, 72, w->addr });
	}
	for (int i = 0; i < ROUNDS; i++)
		failed(_metadata, self, "arguments in another tenant's memory", -EFAULT,
		       run_args(self->q, self->copy, self->good[1].addr), (struct place){ 0 });
}

TEST_F_TIMEOUT(tenants_apart, a_wrong_program_fails, 120)
{
	for (int i = 0; i < ROUNDS; i++) {
		program_fails(_metadata, self, "an instruction that is none",
			      illegal(self->device), -ENOEXEC,
			      (struct place){ KILN_ST_ILLEGAL, KILN_TENSOR, 2, 0, 0 });
		program_fails(_metadata, self, "a stream beyond its program",
			      cut_short(self->device), -ENOEXEC, (struct place){ 0 });
		program_fails(_metadata, self, "a tile beyond SBUF",
			      beyond_sbuf(self->device), -ENOEXEC,
			      (struct place){ KILN_ST_MEMORY, KILN_VECTOR, 1, 73, 1 << 20 });
	}
}

TEST_F_TIMEOUT(tenants_apart, noise_fails, 120)
{
	for (unsigned int seed = 0; seed < 4; seed++) {
		struct kiln_program *program = noise(self->device, seed);
		int res = run(self, self->q, program, kiln_addr(self->data), kiln_addr(self->data));

		EXPECT_TRUE(res == -ENOEXEC || res == -EFAULT) {
			TH_LOG("seed %u: got %d", seed, res);
		}
		reported(_metadata, self, "noise", (struct place){ 0 });
		kiln_program_free(program);
	}
}

TEST_F_TIMEOUT(tenants_apart, what_never_ends_is_ended, 120)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct kiln_program *program = endless(self->device);
		uint64_t start = now_ms();
		int res = run(self, self->q, program, 0, 0);

		EXPECT_LE(LIMIT_MS - 5, now_ms() - start);
		failed(_metadata, self, "a loop without end", -ETIME, res, (struct place){ 0 });
		kiln_program_free(program);
		program_fails(_metadata, self, "engines that wait for each other",
			      deadlock(self->device), -EDEADLK, (struct place){ 0 });
	}
}

/* What was done before it stays done. */
TEST_F_TIMEOUT(tenants_apart, one_wrong_among_good_ones_fails_alone, 120)
{
	struct kiln_program *bad = illegal(self->device);
	uint64_t *block = kiln_map(self->args);

	for (int round = 0; round < ROUNDS; round++) {
		struct tally tally[8] = { 0 };
		struct kiln_command c[8];

		block[0] = kiln_addr(self->data);
		block[1] = kiln_addr(self->data) + 4096;
		for (int i = 0; i < 8; i++)
			c[i] = (struct kiln_command){
				.program = i == 3 ? bad : self->copy, .args = kiln_addr(self->args),
				.args_bytes = 16, .done = count, .user = &tally[i],
			};
		ASSERT_EQ(0, kiln_submit(self->q, c, 8, NULL));
		ASSERT_EQ(0, kiln_drain(self->q));
		for (int i = 0; i < 8; i++) {
			EXPECT_EQ(1, tally[i].calls);
			if (i > 3 && tally[i].last == -ECANCELED)
				continue;
			EXPECT_EQ(i == 3 ? -ENOEXEC : 0, tally[i].last) {
				TH_LOG("command %d of 8", i);
			}
		}
		reported(_metadata, self, "a wrong one among good ones", (struct place){ 0 });
	}
	kiln_program_free(bad);
}

TEST_HARNESS_MAIN
