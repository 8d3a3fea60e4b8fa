// SPDX-License-Identifier: MIT
/*
 * Programs of random bytes, and good programs with some bytes changed: the
 * engine may refuse them in any way, but stays inside its memory (this is
 * worth most when built with SANITIZE=address,undefined) and comes back.
 */
#include <pthread.h>
#include <time.h>

#include "engine.h"

/* Cuts off what loops or takes long. Only ever one run at a time is under it. */
static struct kiln_core *volatile running;
static volatile unsigned long started;
static volatile bool quit;

static void *watchdog(void *arg)
{
	const struct timespec t = { .tv_nsec = 2000000 };
	unsigned long seen = 0;

	(void)arg;
	while (!quit) {
		struct kiln_core *core;

		nanosleep(&t, NULL);
		core = running;
		if (started == seen && core)
			kiln_core_abort(core, KILN_ST_TIMEOUT);
		seen = started;
	}
	return NULL;
}

static struct prog p;

static enum kiln_dtype any_type(void)
{
	return rng() % (KILN_DTYPES - 1) + 1;
}

/* A tile that is right by itself, most of the time. */
static struct kiln_operand random_tile(enum kiln_space space, enum kiln_dtype dtype,
				       unsigned int partitions, uint32_t n)
{
	uint32_t room = space == KILN_PSUM ? 16384 : 196608;
	struct kiln_operand op = tile_at(space, dtype, 0, partitions, 0, n);

	op.addr = rng() % (rng() % 8 ? room - 4096 : room) & ~3u;
	op.reg = rng() % 4 ? 0 : rng() % 4;
	op.stride[0] = rng() % 4 ? 1 : (int)(rng() % 16) - 4;
	if (n % 4 == 0 && rng() % 4 == 0) {
		op.ndim = 2;
		op.size[0] = n / 4;
		op.size[1] = 4;
		op.stride[1] = (int)(rng() % 8) - 2;
	}
	return op;
}

static struct kiln_operand random_dram(enum kiln_dtype dtype)
{
	struct kiln_operand op = { .space = KILN_DRAM, .dtype = dtype };

	op.dram.base = rng() % 16 ? 2 + rng() % 2 : rng() % 64;
	op.dram.offset = rng() % 8 ? (int)(rng() % 65536) - 1000 : (int32_t)rng();
	op.dram.step[0] = rng() % 8 ? rng() % 1024 : rng();
	op.dram.step[1] = rng() % 2 ? 1 : (int)(rng() % 600) - 100;
	return op;
}

/* A tile of the array, mostly one that is there. */
static void tiled(struct kiln_insn *insn)
{
	unsigned int size = 32 << rng() % 3, at = rng() % (128 / size) * size;

	insn->func = insn->func1 = size;
	insn->src[0].partition = rng() % (128 / size) * size;
	insn->src[0].partitions = size;
	if (insn->opcode == KILN_OP_MATMUL) {
		insn->dst.partition = at;
		insn->dst.partitions = size;
	} else {
		insn->src[0].size[0] = size;
		insn->imm[0] = at;
	}
}

static void double_rows(struct kiln_insn *insn)
{
	struct kiln_operand *op = &insn->src[0];

	insn->flags |= KILN_F_DOUBLE_ROW;
	op->dtype = rng() % 2 ? KILN_F8E4M3 : KILN_F8E5M2;
	op->ndim = 2;
	op->size[1] = insn->opcode == KILN_OP_MATMUL ? insn->dst.size[0] : op->size[0] / 2 + 1;
	op->size[0] = 2;
	op->stride[1] = 1;
}

/* An instruction of this engine that is likely to be accepted. */
static void random_insn(struct kiln_insn *insn, enum kiln_engine engine)
{
	static const struct { uint8_t opcode, engines; } table[] = {
#define KILN_INSN(name, code, engines, doc, ...) { code, engines },
#include "kiln/isa.def"
	};
	static const uint8_t counts[] = { 1, 7, 32, 33, 64, 65, 127, 128, 128 };
	unsigned int partitions = counts[rng() % sizeof(counts)], i;
	uint32_t n = rng() % 3 ? 4 * (rng() % 128 + 1) : rng() % 700 + 1;
	enum kiln_dtype dtype = any_type();
	bool psum = engine != KILN_GPSIMD;
	struct kiln_operand seed = { 0 };

	do {
		i = rng() % (sizeof(table) / sizeof(table[0]));
	} while (!(table[i].engines & 1 << engine));
	memset(insn, 0, sizeof(*insn));
	insn->opcode = table[i].opcode;
	if (rng() % 8 == 0)
		insn->wait[0] = (struct kiln_sync){ rng() % 2, 1 };
	if (rng() % 2)
		insn->post[0] = (struct kiln_sync){ rng() % 2, rng() % 255 + 1 };
	switch (insn->opcode) {
	case KILN_OP_MOVI:
	case KILN_OP_ADDI:
	case KILN_OP_XORI:
		insn->seq.rd = rng() % 4;
		insn->seq.rs = insn->opcode == KILN_OP_MOVI ? 0 : rng() % 4;
		insn->seq.imm_lo = rng() % 4 ? rng() % 4096 & ~3u : rng();
		return;
	case KILN_OP_ADD:
	case KILN_OP_MUL:
		insn->seq.rd = rng() % 4;
		insn->seq.rs = rng() % 4;
		insn->seq.rt = rng() % 4;
		return;
	case KILN_OP_BNE:
	case KILN_OP_BLT:
		insn->seq.rs = rng() % 4;
		insn->seq.rt = rng() % 4;
		insn->seq.target = rng() % 8 ? 4 : rng() % 5;
		return;
	case KILN_OP_LDARG:
		insn->seq.rd = 1;
		return;
	case KILN_OP_NOP:
	case KILN_OP_HALT:
		return;
	}

	insn->src[0] = random_tile(psum && rng() % 3 == 0 ? KILN_PSUM : KILN_SBUF, dtype,
				   partitions, n);
	insn->dst = random_tile(psum && rng() % 3 == 0 ? KILN_PSUM : KILN_SBUF, any_type(),
				partitions, n);
	if (rng() % 4 == 0)
		insn->dst = insn->src[0];
	if (insn->opcode >= KILN_OP_TENSOR_TENSOR)
		insn->func = rng() % KILN_ALU_OPS;
	seed.space = KILN_DRAM;
	seed.dram.base = rng() % 4;
	seed.dram.offset = rng();
	switch (insn->opcode) {
	case KILN_OP_DMA_COPY:
		insn->func = rng() % 16;
		insn->src[0] = insn->dst = random_tile(KILN_SBUF, dtype, partitions, n);
		if (rng() % 2)
			insn->src[0] = random_dram(dtype);
		else
			insn->dst = random_dram(dtype);
		insn->flags = rng() % 4 ? 0 : KILN_F_ACCUMULATE;
		if (rng() % 4 == 0) {
			insn->src[1] = tile_at(KILN_SBUF, dtype, 0, partitions, 0, n);
			insn->src[0] = random_dram(dtype);
			insn->dst = random_dram(dtype);
		}
		break;
	case KILN_OP_LOAD_STATIONARY:
		memset(&insn->dst, 0, sizeof(insn->dst));
		insn->src[0] = random_tile(KILN_SBUF, rng() % 2 + 1, 128, 32 * (rng() % 4 + 1));
		if (rng() % 3 == 0)
			double_rows(insn);
		else if (rng() % 2)
			tiled(insn);
		break;
	case KILN_OP_MATMUL:
		insn->src[0] = random_tile(KILN_SBUF, rng() % 2 + 1, 128, n);
		insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 32 * (rng() % 4 + 1),
				    rng() % 8 * 2048, n);
		insn->dst.reg = rng() % 4 ? 0 : rng() % 4;
		insn->flags = rng() % 2;
		if (rng() % 3 == 0)
			double_rows(insn);
		else if (rng() % 2)
			tiled(insn);
		break;
	case KILN_OP_TRANSPOSE:
		n = rng() % 128 + 1;
		insn->src[0] = random_tile(KILN_SBUF, dtype, partitions, n);
		insn->dst = tile_at(KILN_PSUM, dtype, 0, n, rng() % 8 * 2048, partitions);
		break;
	case KILN_OP_ACTIVATION:
		insn->func = rng() % KILN_ACTS;
		if (rng() % 2) {
			insn->flags = KILN_F_REDUCE;
			insn->col[1] = column_at(KILN_SBUF, KILN_F32, rng() % 200000 & ~3u);
		}
		break;
	case KILN_OP_DMA_GATHER:
	case KILN_OP_DMA_SCATTER:
		insn->func = rng() % 16;
		insn->func1 = rng() % 4;
		insn->flags = rng() % 4;
		insn->src[0] = insn->dst = random_tile(KILN_SBUF, dtype, partitions, n);
		*(insn->opcode == KILN_OP_DMA_GATHER ? &insn->src[0] : &insn->dst) =
			random_dram(dtype);
		insn->src[1] = rng() % 2 ? dram_at(KILN_U32, 2, 0, rng() % 4, 0) :
			tile_at(KILN_SBUF, KILN_I32, 0, partitions, rng() % 4096 * 4, 1);
		break;
	case KILN_OP_DMA_TRANSPOSE:
		insn->func = rng() % 16;
		n = rng() % 128 + 1;
		insn->dst = tile_at(KILN_SBUF, KILN_BF16, 0, n, rng() % 4096 * 2, partitions);
		insn->src[0] = rng() % 2 ? random_dram(KILN_BF16) :
			tile_at(KILN_SBUF, KILN_BF16, 0, partitions, rng() % 4096 * 2, n);
		break;
	case KILN_OP_IOTA:
		insn->src[1] = seed;
		insn->src[1].dram.step[0] = rng();
		insn->src[1].dram.step[1] = rng();
		insn->last_step = insn->dst.ndim == 4 ? rng() : 0;
		/* fall through */
	case KILN_OP_RNG:
		insn->func = 0;
		memset(&insn->src[0], 0, sizeof(insn->src[0]));
		if (insn->opcode == KILN_OP_RNG)
			insn->src[1] = seed;
		break;
	case KILN_OP_DROPOUT:
		insn->func = 0;
		insn->src[1] = seed;
		insn->imm[0] = 0.5;
		break;
	case KILN_OP_RANGE_SELECT:
		insn->func = KILN_ALU_EQ + rng() % 6;
		insn->func1 = KILN_ALU_EQ + rng() % 6;
		insn->col[0] = column_at(KILN_PSUM, KILN_I32, rng() % 17000 & ~3u);
		insn->col[1] = column_at(KILN_SBUF, KILN_F32, rng() % 17000 & ~3u);
		if (rng() % 2)
			insn->src[1] = tile_at(KILN_PSUM, KILN_BF16, 0, partitions, 64, 1);
		break;
	case KILN_OP_TENSOR_TENSOR_SCAN:
		insn->func1 = rng() % KILN_ALU_OPS;
		insn->src[1] = random_tile(KILN_SBUF, any_type(), partitions, n);
		break;
	case KILN_OP_TENSOR_COPY_PREDICATED:
		insn->func = 0;
		insn->flags = rng() % 2;
		insn->src[1] = random_tile(KILN_SBUF, KILN_U8, partitions, n);
		break;
	case KILN_OP_TRANSPOSE32:
		insn->func = 0;
		partitions = rng() % 32 + 1;
		n = rng() % 32 + 1;
		insn->src[0] = random_tile(KILN_SBUF, dtype, partitions, n);
		insn->dst = random_tile(KILN_PSUM, dtype, n, partitions);
		break;
	case KILN_OP_STREAM_SHUFFLE:
		insn->func = 0;
		insn->src[0].partitions = insn->dst.partitions = 32 * (rng() % 4 + 1);
		insn->dst.dtype = dtype;
		insn->col[0] = column_at(KILN_SBUF, KILN_U8, rng() % 200000);
		break;
	case KILN_OP_PARTITION_REDUCE:
		insn->func = KILN_ALU_MAX;
		insn->dst.partitions = 1;
		break;
	case KILN_OP_MAX8:
		insn->func = 0;
		insn->dst = random_tile(KILN_SBUF, KILN_F32, partitions, 8);
		break;
	case KILN_OP_FIND_INDEX8:
		insn->dst = random_tile(KILN_SBUF, KILN_U32, partitions, 8);
		/* fall through */
	case KILN_OP_MATCH_REPLACE8:
		insn->func = 0;
		insn->src[1] = random_tile(KILN_SBUF, any_type(), partitions, 8);
		if (insn->opcode == KILN_OP_MATCH_REPLACE8)
			insn->col[0] = column_at(KILN_SBUF, KILN_U32, rng() % 200000 & ~3u);
		break;
	case KILN_OP_BN_STATS:
		insn->func = 0;
		insn->dst = random_tile(KILN_SBUF, KILN_F32, partitions, 6);
		break;
	case KILN_OP_BN_AGGR:
		insn->func = 0;
		insn->src[0] = random_tile(KILN_SBUF, dtype, partitions, 3 * (n / 3 + 1));
		insn->dst = random_tile(KILN_SBUF, KILN_F32, partitions, 2);
		break;
	case KILN_OP_LOCAL_GATHER:
		insn->func = 1u << rng() % 6;
		partitions = 16 * (rng() % 8 + 1);
		insn->src[0] = random_tile(KILN_SBUF, dtype, partitions, insn->func * (n / 4 + 1));
		insn->src[1] = tile_at(KILN_SBUF, KILN_I32, 0, partitions, rng() % 4096 * 4, 4);
		insn->dst = random_tile(KILN_SBUF, dtype, partitions, insn->func * (rng() % 64 + 1));
		break;
	case KILN_OP_TOPK:
		insn->func = 0;
		insn->src[0] = random_tile(KILN_SBUF, KILN_BF16, partitions, n + 40000 * (rng() % 2));
		n = rng() % n + 1;
		insn->dst = random_tile(KILN_SBUF, KILN_BF16, partitions, n);
		insn->src[1] = random_tile(KILN_SBUF, KILN_U32, partitions, n);
		break;
	case KILN_OP_TENSOR_COPY:
	case KILN_OP_RECIPROCAL:
		insn->func = 0;
		break;
	case KILN_OP_MEMSET:
		insn->func = 0;
		memset(&insn->src[0], 0, sizeof(insn->src[0]));
		break;
	case KILN_OP_SCALAR_TENSOR_TENSOR:
		insn->func1 = rng() % KILN_ALU_OPS;
		/* fall through */
	case KILN_OP_TENSOR_TENSOR:
	case KILN_OP_SELECT:
		insn->src[1] = random_tile(KILN_SBUF, any_type(), partitions, n);
		if (insn->opcode == KILN_OP_SELECT)
			insn->func = 0;
		break;
	case KILN_OP_TENSOR_SCALAR:
		insn->func1 = rng() % KILN_ALU_OPS;
		insn->flags = rng() % 4;
		insn->col[rng() % 2] = column_at(rng() % 2 && psum ? KILN_PSUM : KILN_SBUF,
						 any_type(), rng() % 17000 & ~3u);
		break;
	case KILN_OP_TENSOR_REDUCE:
		insn->func = KILN_ALU_ADD;
		insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, partitions, rng() % 4096 * 4,
				    insn->src[0].ndim == 2 ? n / 4 : 1);
		break;
	case KILN_OP_AFFINE_SELECT:
		insn->func = KILN_ALU_EQ + rng() % 6;
		insn->src[1].space = KILN_DRAM;
		insn->src[1].dram.base = rng() % 4;
		insn->src[1].dram.step[0] = rng();
		insn->src[1].dram.step[1] = rng();
		break;
	}
	/* Mostly right is not enough: */
	if (rng() % 16 == 0)
		((uint8_t *)insn)[rng() % sizeof(*insn)] = rng();
}

/* What lies between the partitions belongs to nobody: is it as it was? */
static bool gaps_clean(struct machine *m)
{
	for (unsigned int q = 0; q < KILN_PARTITIONS; q++) {
		const uint8_t *gap = sbuf_at(m, q, m->core->sbuf_bytes);

		for (uint32_t i = 0; i < m->core->sbuf_pitch - m->core->sbuf_bytes; i++) {
			if (gap[i])
				return false;
		}
		gap = psum_at(m, q, m->core->psum_bytes);
		for (uint32_t i = 0; i < m->core->psum_pitch - m->core->psum_bytes; i++) {
			if (gap[i])
				return false;
		}
	}
	return true;
}

int main(void)
{
	const char *rounds_text = getenv("KILN_ROUNDS");
	unsigned long rounds = rounds_text ? strtoul(rounds_text, NULL, 0) : 4000;
	unsigned long by_status[16] = { 0 }, executed = 0;
	pthread_t thread;
	bool good = true, clean = true;

	rng_start();
	pthread_create(&thread, NULL, watchdog, NULL);
	for (unsigned int generation = 1; generation <= 3; generation++) {
		struct machine *m = machine(generation);

		for (int i = 0; i < 4; i++)
			m->args[i] = i ? DATA + i * 65536 : 64;
		for (unsigned long round = 0; round < rounds; round++) {
			struct kiln_outcome o;
			uint32_t bytes;

			memset(&p, 0, sizeof(p));
			for (int e = 0; e < KILN_ENGINES; e++) {
				for (int i = 0; i < 3; i++) {
					struct kiln_insn *insn = emit(&p, e, KILN_OP_LDARG);

					insn->seq.rd = i + 1;
					insn->seq.slot = rng() % 4;
				}
				for (int i = rng() % 4; i > 0; i--) {
					struct kiln_insn *insn = emit(&p, e, 0);

					random_insn(insn, e);
				}
			}
			bytes = place(m, &p);
			if (round % 16 == 0) {
				for (uint32_t i = 64; i < bytes; i++)
					m->hbm[PROGRAM + i] = rng();
			} else if (round % 16 < 4) {
				for (int i = 0; i < 8; i++)
					m->hbm[PROGRAM + rng() % bytes] = rng();
			}
			kiln_engine_select(m->core, rng() % 8 ? rng() % 2 + 1 : 0);
			kiln_core_allow(m->core);
			started++;
			running = m->core;
			o = run_placed(m, bytes);
			running = NULL;
			if (o.status > KILN_ST_DEADLOCK || o.engine >= KILN_ENGINES)
				good = false;
			by_status[o.status & 15]++;
			executed += o.cycles > 100;
		}
		clean &= gaps_clean(m);
		machine_free(m);
	}
	quit = true;
	pthread_join(thread, NULL);
	for (int i = 0; i < 16; i++) {
		if (by_status[i])
			printf("# status %d: %lu\n", i, by_status[i]);
	}
	ok(good, "every program ends in a status of its own");
	ok(clean, "nothing was written between the partitions");
	ok(by_status[KILN_ST_OK] > rounds / 20 && executed > rounds / 10,
	   "and enough of them ran: %lu", executed);
	return done();
}
