// SPDX-License-Identifier: MIT
/*
 * Sequencers, semaphores, aborts and device time.
 */
#include <pthread.h>
#include <time.h>

#include "engine.h"

static struct machine *m;
static struct prog p;

static void fresh(void)
{
	memset(&p, 0, sizeof(p));
}

static struct kiln_insn *alu(enum kiln_engine e, uint8_t opcode, unsigned int rd,
			     unsigned int rs, unsigned int rt, uint64_t imm)
{
	struct kiln_insn *insn = emit(&p, e, opcode);

	insn->seq.rd = rd;
	insn->seq.rs = rs;
	insn->seq.rt = rt;
	insn->seq.imm_lo = imm;
	insn->seq.imm_hi = imm >> 32;
	return insn;
}

static struct kiln_insn *branch(enum kiln_engine e, uint8_t opcode, unsigned int rs,
				unsigned int rt, uint32_t target)
{
	struct kiln_insn *insn = alu(e, opcode, 0, rs, rt, 0);

	insn->seq.target = target;
	return insn;
}

static void wait_post(struct kiln_insn *insn, uint8_t wait, uint8_t waits, uint8_t post,
		      uint8_t posts)
{
	insn->wait[0] = (struct kiln_sync){ wait, waits };
	insn->post[0] = (struct kiln_sync){ post, posts };
}

static void test_registers(void)
{
	struct stream *s = &m->core->stream[KILN_SYNC];

	fresh();
	m->args[3] = 0x1122334455667788;
	emit(&p, KILN_SYNC, KILN_OP_LDARG)->seq.rd = 1;
	p.insn[KILN_SYNC][0].seq.slot = 3;
	alu(KILN_SYNC, KILN_OP_MOVI, 2, 0, 0, 0xfffffffffffffffe);
	alu(KILN_SYNC, KILN_OP_ADD, 3, 1, 2, 0);
	alu(KILN_SYNC, KILN_OP_ADDI, 4, 2, 0, 5);
	alu(KILN_SYNC, KILN_OP_MUL, 5, 2, 4, 0);
	alu(KILN_SYNC, KILN_OP_XORI, 6, 1, 0, 0xff00000000000001);
	alu(KILN_SYNC, KILN_OP_MOVI, 0, 0, 0, 9);
	alu(KILN_SYNC, KILN_OP_ADDI, 63, 0, 0, 1);
	/* 7 counts to ten; a signed comparison */
	alu(KILN_SYNC, KILN_OP_MOVI, 7, 0, 0, (uint64_t)-5);
	alu(KILN_SYNC, KILN_OP_MOVI, 8, 0, 0, 5);
	alu(KILN_SYNC, KILN_OP_ADDI, 7, 7, 0, 1);
	alu(KILN_SYNC, KILN_OP_ADDI, 9, 9, 0, 1);
	branch(KILN_SYNC, KILN_OP_BLT, 7, 8, 10);
	alu(KILN_SYNC, KILN_OP_ADDI, 10, 10, 0, 1);
	branch(KILN_SYNC, KILN_OP_BNE, 10, 9, 13);
	emit(&p, KILN_SYNC, KILN_OP_HALT);
	alu(KILN_SYNC, KILN_OP_MOVI, 1, 0, 0, 1);
	ok(run(m, &p).status == KILN_ST_OK, "a program of registers and loops");
	ok(s->reg[1] == 0x1122334455667788 && s->reg[3] == 0x1122334455667786 && s->reg[4] == 3 &&
	   s->reg[5] == (uint64_t)-6 && s->reg[6] == 0xee22334455667789 && s->reg[0] == 0 &&
	   s->reg[63] == 1, "registers wrap, register 0 is 0, HALT ends");
	ok(s->reg[9] == 10 && s->reg[10] == 10, "BLT is signed, BNE counts");
	fresh();
	emit(&p, KILN_SYNC, KILN_OP_NOP);
	run(m, &p);
	ok(s->reg[1] == 0, "a job starts with registers at 0");
}

static void test_semaphores(void)
{
	struct kiln_outcome o;

	/* Producer and consumer, three at a time */
	fresh();
	alu(KILN_SYNC, KILN_OP_MOVI, 1, 0, 0, 300);
	wait_post(alu(KILN_SYNC, KILN_OP_ADDI, 2, 2, 0, 1), 0, 0, 7, 1);
	branch(KILN_SYNC, KILN_OP_BNE, 1, 2, 1);
	alu(KILN_VECTOR, KILN_OP_MOVI, 1, 0, 0, 100);
	wait_post(alu(KILN_VECTOR, KILN_OP_ADDI, 2, 2, 0, 1), 7, 3, 0, 0);
	branch(KILN_VECTOR, KILN_OP_BNE, 1, 2, 1);
	o = run(m, &p);
	ok(o.status == KILN_ST_OK && !m->core->sem[7].value, "300 posts of 1, 100 waits of 3");

	/* One wait too many */
	alu(KILN_VECTOR, KILN_OP_MOVI, 3, 0, 0, 1)->label = 3;
	p.insn[KILN_VECTOR][3].wait[1] = (struct kiln_sync){ 7, 1 };
	o = run(m, &p);
	ok(o.status == KILN_ST_DEADLOCK && o.engine == KILN_VECTOR && o.instruction == 3 &&
	   o.label == 3, "one more wait: deadlock of engine %u at %u", o.engine, o.instruction);
	o = run(m, &p);
	ok(o.status == KILN_ST_DEADLOCK, "semaphores start at 0 again");

	/* Both waits or none: two that want the same two, in the other order */
	fresh();
	for (int i = 0; i < 2; i++) {
		struct kiln_insn *insn = emit(&p, i ? KILN_TENSOR : KILN_SCALAR, KILN_OP_NOP);

		insn->wait[i] = (struct kiln_sync){ 1, 1 };
		insn->wait[!i] = (struct kiln_sync){ 2, 1 };
		insn->post[0] = (struct kiln_sync){ 1, 1 };
		insn->post[1] = (struct kiln_sync){ 2, 1 };
	}
	emit(&p, KILN_SYNC, KILN_OP_NOP)->post[0] = (struct kiln_sync){ 1, 1 };
	emit(&p, KILN_SYNC, KILN_OP_NOP)->post[1] = (struct kiln_sync){ 2, 1 };
	o = run(m, &p);
	ok(o.status == KILN_ST_OK && m->core->sem[1].value == 1 && m->core->sem[2].value == 1,
	   "two waits are taken together");

	/* The same semaphore twice needs the sum */
	fresh();
	emit(&p, KILN_SYNC, KILN_OP_NOP)->post[0] = (struct kiln_sync){ 9, 3 };
	emit(&p, KILN_SYNC, KILN_OP_NOP);
	p.insn[KILN_SYNC][1].wait[0] = p.insn[KILN_SYNC][1].wait[1] = (struct kiln_sync){ 9, 2 };
	o = run(m, &p);
	ok(o.status == KILN_ST_DEADLOCK && o.instruction == 1, "two waits of 2 for 3");
	p.insn[KILN_SYNC][0].post[1] = (struct kiln_sync){ 9, 1 };
	ok(run(m, &p).status == KILN_ST_OK, "two waits of 2 for 4");

	/* 65535 is as far as it goes */
	fresh();
	alu(KILN_SYNC, KILN_OP_MOVI, 1, 0, 0, 257);
	wait_post(alu(KILN_SYNC, KILN_OP_ADDI, 2, 2, 0, 1), 0, 0, 255, 255);
	branch(KILN_SYNC, KILN_OP_BNE, 1, 2, 1);
	ok(run(m, &p).status == KILN_ST_OK && m->core->sem[255].value == 65535,
	   "a semaphore holds 65535");
	p.insn[KILN_SYNC][1].label = 8;
	p.insn[KILN_SYNC][0].seq.imm_lo = 258;
	o = run(m, &p);
	ok(o.status == KILN_ST_OPERAND && o.instruction == 1 && o.label == 8, "and no more");

	/* Units posted far apart in many pieces are all there, in one engine */
	fresh();
	for (int i = 0; i < 100; i++)
		emit(&p, KILN_SCALAR, KILN_OP_NOP)->post[0] = (struct kiln_sync){ 4, 2 };
	for (int i = 0; i < 25; i++)
		emit(&p, KILN_SCALAR, KILN_OP_NOP)->wait[0] = (struct kiln_sync){ 4, 8 };
	ok(run(m, &p).status == KILN_ST_OK && !m->core->sem[4].value && !m->core->sem[4].posts,
	   "more posts than are kept apart");

	/* Everyone waits */
	fresh();
	for (int e = KILN_SCALAR; e < KILN_ENGINES; e++)
		emit(&p, e, KILN_OP_NOP)->wait[0] = (struct kiln_sync){ 1, 1 };
	o = run(m, &p);
	ok(o.status == KILN_ST_DEADLOCK && o.engine == KILN_SCALAR && o.instruction == 0,
	   "the first that is blocked is named");
}

static void *abort_later(void *arg)
{
	struct timespec t = { .tv_nsec = 30000000 };

	nanosleep(&t, NULL);
	kiln_core_abort(arg, KILN_ST_TIMEOUT);
	return NULL;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void aborted_run(const char *what)
{
	struct kiln_outcome o;
	pthread_t thread;
	double start = seconds();

	kiln_core_allow(m->core);
	pthread_create(&thread, NULL, abort_later, m->core);
	o = run(m, &p);
	pthread_join(thread, NULL);
	ok(o.status == KILN_ST_TIMEOUT && seconds() - start < 5, "%s: status %d after %.0f ms",
	   what, o.status, (seconds() - start) * 1e3);
	kiln_core_allow(m->core);
}

static void test_abort(void)
{
	struct kiln_insn *insn;

	fresh();
	alu(KILN_GPSIMD, KILN_OP_MOVI, 1, 0, 0, 1);
	branch(KILN_GPSIMD, KILN_OP_BNE, 1, 0, 1);
	emit(&p, KILN_TENSOR, KILN_OP_NOP)->wait[0] = (struct kiln_sync){ 1, 1 };
	aborted_run("an endless loop");

	/* single instructions that would take minutes */
	fresh();
	insn = emit(&p, KILN_SCALAR, KILN_OP_ACTIVATION);
	insn->func = KILN_ACT_EXP;
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 1);
	insn->dst.ndim = 2;
	insn->dst.size[0] = insn->dst.size[1] = 32767;
	insn->dst.stride[0] = insn->dst.stride[1] = 0;
	insn->src[0] = insn->dst;
	aborted_run("an activation of 2^37 elements");
	for (uint8_t opcode = KILN_OP_TENSOR_COPY; opcode <= KILN_OP_AFFINE_SELECT; opcode++) {
		struct kiln_operand big = p.insn[KILN_SCALAR][0].dst;
		static struct prog saved;
		char name[40];

		saved = p;
		fresh();
		insn = emit(&p, opcode == KILN_OP_AFFINE_SELECT ? KILN_GPSIMD : KILN_VECTOR, opcode);
		insn->dst = big;
		if (opcode != KILN_OP_MEMSET)
			insn->src[0] = big;
		if (opcode == KILN_OP_TENSOR_TENSOR || opcode == KILN_OP_SCALAR_TENSOR_TENSOR ||
		    opcode == KILN_OP_SELECT)
			insn->src[1] = big;
		if (opcode == KILN_OP_TENSOR_REDUCE) {
			insn->func = KILN_ALU_ADD;
			insn->dst.ndim = 1;
			insn->dst.size[1] = 0;
		}
		if (opcode == KILN_OP_AFFINE_SELECT) {
			insn->func = KILN_ALU_EQ;
			insn->src[1].space = KILN_DRAM;
		}
		snprintf(name, sizeof(name), "opcode %#x of 2^37 elements", opcode);
		aborted_run(name);
		p = saved;
	}

	fresh();
	movi(&p, KILN_SYNC, 1, DATA);
	insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);
	insn->dst = tile_at(KILN_SBUF, KILN_U8, 0, 128, 0, 1);
	insn->dst.ndim = 2;
	insn->dst.size[0] = insn->dst.size[1] = 32767;
	insn->dst.stride[0] = insn->dst.stride[1] = 0;
	insn->src[0] = dram_at(KILN_U8, 1, 0, 0, 0);
	aborted_run("a DMA of 2^37 elements");
	insn->dst.size[1] = 32000;
	insn->src[1] = insn->dst;
	insn->src[0] = dram_at(KILN_U8, 1, 0, 0, 0);
	insn->src[0].dram.step[2] = 1;
	insn->dst = insn->src[0];
	insn->dst.dram.offset = 1 << 20;
	aborted_run("a DMA of 2^37 bytes in rows");

	kiln_core_abort(m->core, KILN_ST_ABORTED);
	ok(run(m, &p).status == KILN_ST_ABORTED, "an abort before the start");
	kiln_core_allow(m->core);
	fresh();
	emit(&p, KILN_SYNC, KILN_OP_NOP);
	ok(run(m, &p).status == KILN_ST_OK, "and all is well again");
}

static void test_flush(void)
{
	struct kiln_mmu *mmu = kiln_core_mmu(m->core);
	struct kiln_outcome o;

	/* A loop without DMA takes part in a flush. */
	fresh();
	alu(KILN_VECTOR, KILN_OP_MOVI, 1, 0, 0, 2000);
	alu(KILN_VECTOR, KILN_OP_ADDI, 2, 2, 0, 1);
	branch(KILN_VECTOR, KILN_OP_BNE, 1, 2, 1);
	__atomic_store_n(&mmu->flush_wanted, 41, __ATOMIC_RELEASE);
	o = run(m, &p);
	ok(o.status == KILN_ST_OK && mmu->flush_seen == 41, "a run takes part in a TLB flush");
}

/* A bit of everything, for time. */
static uint64_t busy_cycles(void)
{
	struct kiln_insn *insn;
	struct kiln_outcome o;

	fresh();
	movi(&p, KILN_SYNC, 1, DATA);
	for (int i = 0; i < 4; i++) {
		insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);
		insn->func = i;
		insn->dst = tile_at(KILN_SBUF, KILN_BF16, 0, 128, i * 1024, 512);
		insn->src[0] = dram_at(KILN_BF16, 1, i * 131072, 512, 1);
		insn->post[0] = (struct kiln_sync){ 1, 1 };
		insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
		insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 128, i * 1024, 128);
		insn->wait[0] = (struct kiln_sync){ 1, 1 };
		insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
		insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 128, i * 1024, 512);
		insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, i % 2 * 2048, 512);
		insn->post[0] = (struct kiln_sync){ 2, 1 };
		insn = emit(&p, i & 1 ? KILN_SCALAR : KILN_VECTOR, KILN_OP_TENSOR_COPY);
		insn->src[0] = tile_at(KILN_PSUM, KILN_F32, 0, 128, i % 2 * 2048, 512);
		insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 8192 + i * 2048, 512);
		insn->wait[0] = (struct kiln_sync){ 2, 1 };
	}
	o = run(m, &p);
	return o.status == KILN_ST_OK ? o.cycles : 0;
}

static uint64_t cycles_of(void)
{
	struct kiln_outcome o = run(m, &p);

	return o.status == KILN_ST_OK ? o.cycles : 0;
}

static void test_time(void)
{
	const uint32_t tick = m->generation == 1 ? 12 : 14;
	uint64_t first = busy_cycles(), loop, again;
	struct kiln_insn *insn;
	bool same = first != 0;

	for (int level = 0; level < KILN_OPS_LEVELS; level++) {
		if (!kiln_engine_select(m->core, level))
			continue;
		for (int i = 0; i < 3; i++)
			same &= busy_cycles() == first;
	}
	ok(same, "the same cycles each time and by every path: %" PRIu64, first);

	/* Matmuls of 512 columns take 512 cycles each, and some to get the last one out. */
	fresh();
	insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
	insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 128, 0, 128);
	for (int i = 0; i < 200; i++) {
		insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
		insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 128, 1024, 512);
		insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, 0, 512);
	}
	loop = cycles_of();
	ok(loop >= 200 * 512 && loop < 200 * 512 + 200, "200 matmuls: %" PRIu64 " cycles", loop);

	/* Tiles of the array work side by side, one by itself as long as the whole. */
	for (unsigned int tiles = 4; tiles; tiles /= 4) {
		fresh();
		for (unsigned int i = 0; i < 4 + 200; i++) {
			unsigned int row = i % tiles / 2 * 64, column = i % tiles % 2 * 64;

			insn = emit(&p, KILN_TENSOR, i < 4 ? KILN_OP_LOAD_STATIONARY : KILN_OP_MATMUL);
			insn->func = insn->func1 = 64;
			insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, row, 64, i < 4 ? 0 : 1024,
					       i < 4 ? 64 : 512);
			if (i < 4)
				insn->imm[0] = column;
			else
				insn->dst = tile_at(KILN_PSUM, KILN_F32, column, 64,
						    row / 64 * 2048, 512);
		}
		loop = cycles_of();
		ok(loop >= 200 * 512 / tiles && loop < 200 * 512 / tiles + 600,
		   "200 matmuls in %u tiles: %" PRIu64 " cycles", tiles, loop);
	}

	/* Double rows take the time of single ones. */
	for (int twice = 0; twice < 2 && m->generation > 1; twice++) {
		fresh();
		for (int i = 0; i < 2; i++) {
			insn = emit(&p, KILN_TENSOR, i ? KILN_OP_MATMUL : KILN_OP_LOAD_STATIONARY);
			insn->src[0] = tile_at(KILN_SBUF, KILN_F8E4M3, 0, 128, 0, 128);
			if (i)
				insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, 0, 128);
			if (twice) {
				insn->flags = KILN_F_DOUBLE_ROW;
				insn->src[0].ndim = 2;
				insn->src[0].size[0] = 2;
				insn->src[0].size[1] = 128;
				insn->src[0].stride[0] = 128;
				insn->src[0].stride[1] = 1;
			}
		}
		again = loop;
		loop = cycles_of();
	}
	if (m->generation > 1)
		ok(loop && loop == again, "double rows: %" PRIu64 " cycles, as single ones", loop);

	/* A transfer alone: 1300 ns and its bytes; two on other partitions run beside each other */
	fresh();
	movi(&p, KILN_SYNC, 1, DATA);
	insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 8, 0, 1024);
	insn->src[0] = dram_at(KILN_F32, 1, 0, 1024, 1);
	loop = cycles_of();
	if (m->generation == 2)	/* 32 KiB at 23 GB/s is 1425 ns */
		ok(loop * tick / 33.6 > 2700 && loop * tick / 33.6 < 2760,
		   "32 KiB through one DMA engine: %.0f ns", loop * tick / 33.6);
	insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);
	*insn = p.insn[KILN_SYNC][1];
	again = cycles_of();
	ok(again > loop + 1000, "two through the same: %" PRIu64 " cycles, one %" PRIu64, again, loop);
	insn->dst.partition = 64;
	again = cycles_of();
	ok(again <= loop + 200, "through two of them: %" PRIu64, again);
	insn->func = 3;
	insn->dst.addr = 4096;
	again = cycles_of();
	ok(again <= loop + 200, "on two rings: %" PRIu64, again);

	/* A wait moves the waiting engine to the time of the post. */
	fresh();
	insn = emit(&p, KILN_VECTOR, KILN_OP_MEMSET);
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 4096);
	insn->post[0] = (struct kiln_sync){ 5, 1 };
	loop = cycles_of();
	emit(&p, KILN_TENSOR, KILN_OP_NOP)->wait[0] = (struct kiln_sync){ 5, 1 };
	for (int i = 0; i < 50; i++)
		emit(&p, KILN_TENSOR, KILN_OP_NOP);
	again = cycles_of();
	ok(again > loop + 40 && again < loop + 70, "a wait for the end of a memset: %" PRIu64
	   " cycles, then 51: %" PRIu64, loop, again);
}

int main(void)
{
	for (unsigned int generation = 1; generation <= 3; generation++) {
		printf("# generation %u\n", generation);
		m = machine(generation);
		test_registers();
		test_semaphores();
		if (generation == 2) {
			test_abort();
			test_flush();
		}
		test_time();
		machine_free(m);
	}
	return done();
}
