// SPDX-License-Identifier: MIT
/*
 * The race sanitizer: a program in which everything is in order, the same with
 * one mistake at a time, each of which has to be told of at its place, and what
 * looks like a mistake and is none.
 */
#include "engine.h"

#include "engine/sanitize.h"

#define X	0u
#define W	2048u
#define Y	4096u
#define Z	8192u
#define OUT	12288u
#define SCALE	20480u
#define SUM	20544u
#define INDEX	20608u
#define SPARE	24576u
#define N	512

static struct machine *m;
static struct prog p;
static char told[65536];
static unsigned int lines;
static void *memory;

static void report(void *opaque, const char *text)
{
	size_t n = strlen(told);

	(void)opaque;
	lines++;
	snprintf(told + n, sizeof(told) - n, "%s\n", text);
}

static void wait_for(struct kiln_insn *insn, uint8_t sem, uint8_t value)
{
	insn->wait[insn->wait[0].value ? 1 : 0] = (struct kiln_sync){ sem, value };
}

static void post(struct kiln_insn *insn, uint8_t sem, uint8_t value)
{
	insn->post[insn->post[0].value ? 1 : 0] = (struct kiln_sync){ sem, value };
}

static struct kiln_insn *load(unsigned int ring, uint32_t addr, unsigned int n, int32_t offset)
{
	struct kiln_insn *insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);

	insn->func = ring;
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, addr, n);
	insn->src[0] = dram_at(KILN_F32, 1, offset, 2 * N, 1);
	return insn;
}

static struct kiln_insn *save(enum kiln_engine e, unsigned int ring, uint32_t addr, unsigned int n,
			      int32_t offset)
{
	struct kiln_insn *insn = emit(&p, e, KILN_OP_DMA_COPY);

	insn->func = ring;
	insn->dst = dram_at(KILN_F32, 1, offset, 2 * N, 1);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, addr, n);
	return insn;
}

static struct kiln_insn *copy(enum kiln_engine e, uint32_t to, enum kiln_space space,
			      uint32_t from, unsigned int n)
{
	struct kiln_insn *insn = emit(&p, e, KILN_OP_TENSOR_COPY);

	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, to, n);
	insn->src[0] = tile_at(space, KILN_F32, 0, 128, from, n);
	return insn;
}

/* Instructions of the good program, by name. */
#define SYNC_X		p.insn[KILN_SYNC][1]
#define SYNC_W		p.insn[KILN_SYNC][2]
#define SYNC_OUT	p.insn[KILN_SYNC][3]
#define SYNC_END	p.insn[KILN_SYNC][4]
#define PE_LOAD		p.insn[KILN_TENSOR][1]
#define PE_PRODUCT	p.insn[KILN_TENSOR][2]
#define VECTOR_COPY	p.insn[KILN_VECTOR][1]
#define SCALAR_EXP	p.insn[KILN_SCALAR][1]
#define GPSIMD_COPY	p.insn[KILN_GPSIMD][1]

/* Load two, multiply, PSUM to Vector to Scalar to GpSimd to device memory. */
static void good(void)
{
	struct kiln_insn *insn;

	memset(&p, 0, sizeof(p));
	for (unsigned int e = 0; e < KILN_ENGINES; e++)
		movi(&p, e, 1, DATA);
	post(load(0, X, 128, 0), 1, 1);
	post(load(0, W, N, N * 4), 1, 1);
	insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, X, 128);
	wait_for(insn, 1, 2);
	insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
	insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, 0, N);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, W, N);
	post(insn, 2, 1);
	insn = copy(KILN_VECTOR, Y, KILN_PSUM, 0, N);
	wait_for(insn, 2, 1);
	post(insn, 3, 1);
	insn = emit(&p, KILN_SCALAR, KILN_OP_ACTIVATION);
	insn->func = KILN_ACT_EXP;
	insn->imm[0] = 1;
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, Z, N);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, Y, N);
	insn->label = 77;
	wait_for(insn, 3, 1);
	post(insn, 4, 1);
	insn = copy(KILN_GPSIMD, OUT, KILN_SBUF, Z, N);
	wait_for(insn, 4, 1);
	post(insn, 5, 1);
	insn = save(KILN_SYNC, 1, OUT, N, 0x200000);
	wait_for(insn, 5, 1);
	post(insn, 6, 1);
	wait_for(emit(&p, KILN_SYNC, KILN_OP_NOP), 6, 1);
}

static void no_wait(struct kiln_insn *insn)
{
	memset(insn->wait, 0, sizeof(insn->wait));
}

/* ---------------------------------------------------------------- mistakes -- */

static void pe_early(void) { no_wait(&PE_LOAD); }
static void pe_half(void) { PE_LOAD.wait[0].value = 1; }
static void vector_early(void) { no_wait(&VECTOR_COPY); }
static void scalar_early(void) { no_wait(&SCALAR_EXP); }
static void gpsimd_early(void) { no_wait(&GPSIMD_COPY); }
static void save_early(void) { no_wait(&SYNC_OUT); }
static void no_post(void) { memset(PE_PRODUCT.post, 0, sizeof(PE_PRODUCT.post)); }
static void wrong_semaphore(void) { VECTOR_COPY.wait[0].sem = 9; }
static void waits_for_two(void) { SCALAR_EXP.wait[0].value = 2; }
static void read_too_far(void) { GPSIMD_COPY.src[0].size[0] = GPSIMD_COPY.dst.size[0] = N + 1; }
static void too_few_partitions(void) { VECTOR_COPY.dst.partitions = VECTOR_COPY.src[0].partitions = 96; }
static void accumulates_first(void) { PE_PRODUCT.flags = KILN_F_ACCUMULATE; }
static void beyond_sbuf(void) { movi(&p, KILN_VECTOR, 2, 0); p.insn[KILN_VECTOR][0].seq.imm_lo = 1 << 20; VECTOR_COPY.dst.reg = 1; }
static void across_banks(void) { movi(&p, KILN_TENSOR, 2, 0); p.insn[KILN_TENSOR][0].seq.imm_lo = 1024; p.insn[KILN_TENSOR][0].seq.imm_hi = 0; PE_PRODUCT.dst.reg = 1; }
static void not_mapped(void) { p.insn[KILN_SYNC][0].seq.imm_hi = 1; }
static void vector_has_no_matmul(void) { VECTOR_COPY.opcode = KILN_OP_MATMUL; }

/* What Sync was given last comes before it waits for the result. */
static void comes_early(void)
{
	struct kiln_insn insn = p.insn[KILN_SYNC][5];

	p.insn[KILN_SYNC][5] = SYNC_END;
	SYNC_END = SYNC_OUT;
	SYNC_OUT = insn;
}

/* The next x over this one, on another ring, before the product has it. */
static void reload(void)
{
	load(2, X, 128, 0);
	comes_early();
}

/* Vector goes on into what is being stored. */
static void overwrites_store(void)
{
	struct kiln_insn *insn = copy(KILN_VECTOR, OUT, KILN_SBUF, Y, N);

	wait_for(insn, 7, 1);
	post(&GPSIMD_COPY, 7, 1);
}

static void product_over_copy(void)
{
	struct kiln_insn *insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);

	*insn = PE_PRODUCT;
	memset(insn->post, 0, sizeof(insn->post));
}

static void two_in_a_bank(void)
{
	struct kiln_insn *insn = emit(&p, KILN_SCALAR, KILN_OP_TENSOR_COPY);

	SCALAR_EXP.post[1] = (struct kiln_sync){ 8, 1 };
	insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, 3072, 64);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, Z, 64);
	insn = emit(&p, KILN_VECTOR, KILN_OP_TENSOR_COPY);
	wait_for(insn, 8, 1);
	insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, 2048, 64);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, Y, 64);
}

static void two_stores(void)
{
	save(KILN_GPSIMD, 3, OUT, N, 0x200000);
}

/* What was stored comes back before it is there. */
static void load_back(void)
{
	load(2, SPARE, N, 0x200000);
	/* behind the store, before its end is waited for */
	p.insn[KILN_SYNC][5].wait[0] = SYNC_END.wait[0];
	SYNC_END = p.insn[KILN_SYNC][5];
	no_wait(&SYNC_END);
	memset(&p.insn[KILN_SYNC][5], 0, sizeof(p.insn[0][0]));
	wait_for(&p.insn[KILN_SYNC][5], 6, 1);
}

/* Columns side by side, that share one. */
static void one_column_too_many(void)
{
	save(KILN_GPSIMD, 3, OUT, N / 2 + 1, 0x300000);
	save(KILN_GPSIMD, 4, OUT, N / 2, 0x300000 + N / 2 * 4);
}

static void each_other(void)
{
	struct kiln_insn *insn = emit(&p, KILN_VECTOR, KILN_OP_NOP);

	wait_for(insn, 10, 1);
	post(insn, 11, 1);
	insn = emit(&p, KILN_GPSIMD, KILN_OP_NOP);
	wait_for(insn, 11, 1);
	post(insn, 10, 1);
}

static void scale_column(void)
{
	SCALAR_EXP.imm[0] = 0;
	SCALAR_EXP.col[0] = column_at(KILN_SBUF, KILN_F32, SCALE);
}

/* It is written, but nobody waits for that. */
static void scale_race(void)
{
	struct kiln_insn *insn = emit(&p, KILN_VECTOR, KILN_OP_MEMSET);

	scale_column();
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, SCALE, 1);
	insn->imm[0] = 1;
}

static void sum_goes_on(void)
{
	SCALAR_EXP.flags = KILN_F_REDUCE | KILN_F_CONTINUE;
	SCALAR_EXP.col[1] = column_at(KILN_SBUF, KILN_F32, SUM);
}

static void gather(unsigned int ring, uint8_t wait)
{
	struct kiln_insn *insn = emit(&p, KILN_SYNC, KILN_OP_DMA_GATHER);

	insn->func = ring;
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, SPARE, 64);
	insn->src[0] = dram_at(KILN_F32, 1, 0, 64, 1);
	insn->src[1] = tile_at(KILN_SBUF, KILN_U32, 0, 128, INDEX, 1);
	if (wait)
		wait_for(insn, 12, wait);
}

static void index_in_flight(void)
{
	load(3, INDEX, 1, 0x100000);
	gather(4, 0);
}

/* The rows come into what Vector reads. */
static void gather_race(void)
{
	post(load(3, INDEX, 1, 0x100000), 12, 1);
	gather(4, 1);
	copy(KILN_VECTOR, 32768, KILN_SBUF, SPARE, 64);
}

static void transpose_race(void)
{
	struct kiln_insn *insn = emit(&p, KILN_SYNC, KILN_OP_DMA_TRANSPOSE);

	insn->func = 5;
	insn->dst = tile_at(KILN_SBUF, KILN_BF16, 0, 64, SPARE, 128);
	insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 128, Y, 64);
	comes_early();
}

static void register_early(void)
{
	struct kiln_insn *insn;

	load(3, INDEX, 1, 0x100000);
	insn = emit(&p, KILN_GPSIMD, KILN_OP_LOAD_REGISTER);
	insn->func = 9;
	insn->src[0] = tile_at(KILN_SBUF, KILN_I32, 0, 1, INDEX, 1);
}

/* Two buffers in turns, but three loads before the first is used. */
static void three_for_two(void)
{
	for (unsigned int i = 0; i < 3; i++)
		post(load(6 + i, SPARE + i % 2 * 2048, N, 0), 13, 1);
	for (unsigned int i = 0; i < 3; i++)
		wait_for(copy(KILN_GPSIMD, 65536, KILN_SBUF, SPARE + i % 2 * 2048, N), 13, 1);
}

static void scatter_source(void)
{
	struct kiln_insn *insn;

	post(load(3, INDEX, 1, 0x100000), 12, 1);
	insn = emit(&p, KILN_GPSIMD, KILN_OP_DMA_SCATTER);
	insn->func = 5;
	insn->dst = dram_at(KILN_F32, 1, 0x180000, 64, 1);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, Y, 64);
	insn->src[1] = tile_at(KILN_SBUF, KILN_U32, 0, 128, INDEX, 1);
	wait_for(insn, 12, 1);
	emit(&p, KILN_VECTOR, KILN_OP_MEMSET)->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, Y, 64);
}

static const struct mistake {
	const char *what;
	void (*make)(void);
	const char *kind, *place, *other;	/* of the report, the last on the same line */
} mistakes[] = {
	{ "a matmul that does not wait for its loads", pe_early, "uninitialised", "tensor[1]", "" },
	{ "... that waits for one of two", pe_half, "race", "tensor[2] reads", "sync[2] on ring 0" },
	{ "Vector does not wait for the product", vector_early, "race", "tensor[2] writes", "vector[1]" },
	{ "Scalar does not wait for Vector", scalar_early, "race", "vector[1] writes", "scalar[1]" },
	{ "GpSimd does not wait for Scalar", gpsimd_early, "race", "scalar[1] writes", "gpsimd[1]" },
	{ "a store that does not wait", save_early, "race", "gpsimd[1] writes", "sync[3] on ring 1" },
	{ "nobody posts", no_post, "deadlock", "vector[1] waits for semaphore 2", "nobody posts" },
	{ "another semaphore", wrong_semaphore, "deadlock", "vector[1] waits for semaphore 9", "nobody posts" },
	{ "one post for two", waits_for_two, "deadlock", "scalar[1] waits for semaphore 3 to reach 2 (it is 1)", "label=77" },
	{ "one element too far", read_too_far, "uninitialised", "gpsimd[1] reads sbuf partition 0 byte 10240", "" },
	{ "96 partitions of 128", too_few_partitions, "uninitialised", "scalar[1] reads sbuf partition 96", "label=77" },
	{ "a first product that is added", accumulates_first, "uninitialised", "tensor[2] reads psum", "" },
	{ "a load over what is in use", reload, "race", "tensor[1] reads", "sync[3] on ring 2" },
	{ "a write into what is being stored", overwrites_store, "race", "vector[2]", "sync[3] on ring 1" },
	{ "a second product over what Vector reads", product_over_copy, "race", "tensor[3]", "vector[1]" },
	{ "two that write a bank", two_in_a_bank, "bank collision", "scalar[2]", "vector[2]" },
	{ "two stores to one place", two_stores, "race", "gpsimd[2] on ring 3", "sync[3] on ring 1" },
	{ "a load of what is being stored", load_back, "race", "sync[4] on ring 2 reads dram", "sync[3] on ring 1" },
	{ "stores that share a column", one_column_too_many, "race", "gpsimd[3] on ring 4 writes dram", "gpsimd[2] on ring 3" },
	{ "two wait for each other", each_other, "deadlock", "vector[2] waits for semaphore 10", "posted by gpsimd[2], which waits itself" },
	{ "a scale that nobody wrote", scale_column, "uninitialised", "scalar[1] reads sbuf partition 0 byte 20480", "label=77" },
	{ "a scale that nobody waits for", scale_race, "race", "vector[2]", "scalar[1]" },
	{ "a sum of what was not begun", sum_goes_on, "uninitialised", "scalar[1] reads sbuf partition 0 byte 20544", "" },
	{ "rows whose numbers are on their way", index_in_flight, "race", "sync[6] on ring 4 reads", "sync[5] on ring 3" },
	{ "rows that come into what is read", gather_race, "race", "sync[6] on ring 4", "vector[2]" },
	{ "a transfer that turns over what is not there yet", transpose_race, "race", "vector[1] writes", "sync[3] on ring 5, which reads" },
	{ "a register from what is on its way", register_early, "race", "sync[5] on ring 3", "gpsimd[2]" },
	{ "three loads into two buffers", three_for_two, "race", "sync[7] on ring 8 writes", "sync[5] on ring 6" },
	{ "a write to what is being scattered", scatter_source, "race", "gpsimd[2] on ring 5", "vector[2]" },
	{ "beyond SBUF", beyond_sbuf, "limit", "vector[1]", "beyond SBUF" },
	{ "a product across two banks", across_banks, "limit", "tensor[2]", "operand" },
	{ "device memory that is not mapped", not_mapped, "limit", "sync[1]", "not mapped" },
	{ "an instruction that the engine does not have", vector_has_no_matmul, "limit", "vector[1]", "does not have it" },
};

/* ------------------------------------------------------------- no mistakes -- */

static void nothing(void) { }

/* Every other element is somebody else's. */
static void interleaved(void)
{
	struct kiln_insn *insn = emit(&p, KILN_VECTOR, KILN_OP_MEMSET);

	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, SPARE, 256);
	insn->dst.stride[0] = 2;
	insn = emit(&p, KILN_GPSIMD, KILN_OP_MEMSET);
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, SPARE + 4, 256);
	insn->dst.stride[0] = 2;
}

static void other_partitions(void)
{
	emit(&p, KILN_VECTOR, KILN_OP_MEMSET)->dst = tile_at(KILN_SBUF, KILN_F32, 0, 64, SPARE, 256);
	emit(&p, KILN_GPSIMD, KILN_OP_MEMSET)->dst = tile_at(KILN_SBUF, KILN_F32, 64, 64, SPARE, 256);
}

static void columns_side_by_side(void)
{
	save(KILN_GPSIMD, 3, OUT, N / 2, 0x300000);
	save(KILN_GPSIMD, 4, OUT, N / 2, 0x300000 + N / 2 * 4);
}

static void one_ring(void)
{
	save(KILN_GPSIMD, 3, OUT, N, 0x300000);
	save(KILN_GPSIMD, 3, OUT, N, 0x300000);
}

static void in_place(void)
{
	copy(KILN_VECTOR, Y, KILN_SBUF, Y, N);
	post(&SCALAR_EXP, 14, 1);
	wait_for(&p.insn[KILN_VECTOR][2], 14, 1);
}

/* Ordered by way of a third. */
static void by_way_of_scalar(void)
{
	struct kiln_insn *insn = emit(&p, KILN_SYNC, KILN_OP_NOP);

	post(insn, 15, 1);
	insn = copy(KILN_VECTOR, OUT, KILN_SBUF, Y, N);
	wait_for(insn, 15, 1);
}

static void (*const no_mistakes[])(void) = {
	nothing, interleaved, other_partitions, columns_side_by_side, one_ring, in_place,
	by_way_of_scalar,
};

/* ------------------------------------------------------------------- tests -- */

static struct kiln_outcome watched(void (*make)(void))
{
	told[0] = 0;
	lines = 0;
	kiln_core_scrub(m->core);
	good();
	make();
	return run(m, &p);
}

/* A line of what was told that has all three. */
static bool is_told(const struct mistake *mistake)
{
	char text[sizeof(told)], *save_line = NULL;

	strcpy(text, told);
	for (char *l = strtok_r(text, "\n", &save_line); l; l = strtok_r(NULL, "\n", &save_line)) {
		if (strstr(l, mistake->kind) && strstr(l, mistake->place) &&
		    strstr(l, mistake->other))
			return true;
	}
	return false;
}

/* A loop of as many races as one can make, and more than fits. */
static void test_bounded(void)
{
	memset(&p, 0, sizeof(p));
	movi(&p, KILN_VECTOR, 3, 3000);
	movi(&p, KILN_GPSIMD, 3, 3000);
	for (unsigned int e = KILN_VECTOR; e <= KILN_GPSIMD; e += 2) {
		struct kiln_insn *insn;

		for (unsigned int i = 0; i < 8; i++) {
			insn = emit(&p, e, KILN_OP_MEMSET);
			insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, i * 4, 1);
			insn->dst.reg = 2;
		}
		insn = emit(&p, e, KILN_OP_ADDI);
		insn->seq.rd = insn->seq.rs = 2;
		insn->seq.imm_lo = 32;
		insn = emit(&p, e, KILN_OP_ADDI);
		insn->seq.rd = insn->seq.rs = 4;
		insn->seq.imm_lo = 1;
		insn = emit(&p, e, KILN_OP_BNE);
		insn->seq.rs = 3;
		insn->seq.rt = 4;
		insn->seq.target = 1;
	}
	told[0] = 0;
	lines = 0;
	ok(run(m, &p).status == KILN_ST_OK && lines && lines <= 40 && strstr(told, "not told"),
	   "many accesses that nothing orders: %u lines, and what was left out", lines);
}

/* What is said of an instruction that was refused comes from whoever wrote it. */
static void test_refused(void)
{
	good();
	SYNC_X.src[0].dram.base = 250;
	told[0] = 0;
	ok(run(m, &p).status == KILN_ST_OPERAND && strstr(told, "src=dram@r250"),
	   "a register that is none, of DRAM");
	good();
	VECTOR_COPY.dst.reg = 64;
	told[0] = 0;
	ok(run(m, &p).status == KILN_ST_OPERAND && strstr(told, "dst=sbuf.f32[0+128]@r64"),
	   "a register that is none, of a tile");
}

int main(void)
{
	struct kiln_outcome with, without;

	m = machine(2);
	without = (good(), run(m, &p));
	memory = aligned_alloc(4096, kiln_sanitize_size());
	memset(memory, 0, kiln_sanitize_size());
	kiln_sanitize_attach(m->core, memory);
	kiln_sanitize_report_to(m->core, report, NULL);

	for (unsigned int i = 0; i < sizeof(no_mistakes) / sizeof(no_mistakes[0]); i++) {
		with = watched(no_mistakes[i]);
		if (!ok(with.status == KILN_ST_OK && !lines, "no mistake %u, no report", i))
			printf("# expected nothing\n# got status %u, %s\n", with.status, told);
	}
	with = watched(nothing);
	ok(with.cycles == without.cycles, "the same cycles, watched and not");
	for (unsigned int i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		watched(mistakes[i].make);
		if (!ok(is_told(&mistakes[i]), "%s", mistakes[i].what))
			printf("# expected %s, %s, %s\n# got %s\n", mistakes[i].kind,
			       mistakes[i].place, mistakes[i].other, told);
	}
	test_bounded();
	test_refused();
	with = watched(nothing);
	ok(with.status == KILN_ST_OK && !lines, "and the next good program is a good one");
	free(memory);
	machine_free(m);
	return done();
}
