// SPDX-License-Identifier: MIT
/*
 * Tiles that DMA owes, and matmuls that are put off: nobody can tell. Programs
 * in which engines get into each other's way give the same bytes everywhere on
 * every path; one of them copies at once.
 */
#include "unit/engine.h"

#define ROWS		(DATA + 0x100000)
#define PITCH		1024		/* elements from row to row in device memory */
#define SPAN		2048		/* bytes of SBUF partitions that are played with */
#define AREA		(PITCH * 2 * 160)

static uint32_t pick(uint32_t n)
{
	return rng() % n;
}

static enum kiln_dtype type;	/* of all that a program multiplies */

/* A tile, whole lines or not. */
static struct kiln_operand some_tile(enum kiln_space space, unsigned int partitions)
{
	uint32_t n = pick(4) ? 128u << pick(3) : 1 + pick(512);
	uint32_t room = SPAN / 2 - n + 1;
	uint32_t addr = pick(4) ? room / 128 * pick(2) * 128 : pick(room);

	return tile_at(space, type, 0, partitions, addr * 2, n);
}

static struct kiln_operand some_rows(void)
{
	return dram_at(type, 1, (pick(4) ? pick(4) * 256 : pick(700)) * 2 +
		       pick(16) * PITCH * 2, PITCH, 1);
}

/* What a program does is the same for all machines; k: the partitions of all matrices. */
static void some_program(struct prog *p, unsigned int k)
{
	uint32_t columns = pick(2) ? 1 : 1 + pick(20);	/* of stationary matrices */
	struct kiln_insn *insn;

	type = pick(2) ? KILN_BF16 : KILN_F16;
	memset(p, 0, sizeof(*p));
	for (unsigned int e = 0; e < KILN_ENGINES; e++)
		movi(p, e, 1, ROWS);
	insn = emit(p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
	insn->src[0] = tile_at(KILN_SBUF, type, 0, k, SPAN, columns);
	for (unsigned int i = 0; i < 60; i++) {
		/* Nobody waits for DMA: on Tensor it comes between the matmuls. */
		enum kiln_engine loader = pick(2) ? KILN_TENSOR : pick(KILN_ENGINES);
		unsigned int parts = pick(3) ? k : 1 + pick(128);

		if (!pick(120)) {	/* some of its rows are there, and then none */
			insn = emit(p, loader, KILN_OP_DMA_COPY);
			insn->dst = some_tile(KILN_SBUF, 128);
			insn->src[0] = dram_at(type, 1, TABLES - ROWS - 64 * PITCH * 2, PITCH, 1);
			continue;
		}
		switch (pick(12)) {
		case 0:
			insn = emit(p, loader, KILN_OP_DMA_COPY);
			insn->dst = some_tile(KILN_SBUF, parts);
			insn->src[0] = some_rows();
			if (insn->dst.size[0] % 2)
				break;
			/* In two pieces, side by side or not */
			insn->dst.ndim = 2;
			insn->dst.size[0] = 2;
			insn->dst.size[1] = some_tile(KILN_SBUF, 1).size[0] / 2 + 1;
			insn->dst.addr = 0;
			insn->dst.stride[0] = pick(3) ? SPAN / 4 : insn->dst.size[1];
			insn->dst.stride[1] = 1;
			insn->src[0].dram.step[1] = pick(3) ? 600 : insn->dst.size[1];
			insn->src[0].dram.step[2] = 1;
			break;
		case 1:
		case 2:
			insn = emit(p, loader, KILN_OP_DMA_COPY);
			insn->dst = some_tile(KILN_SBUF, parts);
			insn->src[0] = some_rows();
			if (!pick(8))
				insn->flags = KILN_F_ACCUMULATE;
			break;
		case 3:
			if (pick(3))
				continue;
			insn = emit(p, loader, KILN_OP_DMA_COPY);
			insn->src[0] = some_tile(KILN_SBUF, parts);
			insn->dst = some_rows();
			break;
		case 4:
			insn = emit(p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
			insn->src[0] = tile_at(KILN_SBUF, type, 0, k,
					       (pick(4) ? SPAN + 64 * pick(4) : pick(SPAN / 2) * 2),
					       columns);
			break;
		case 5:
			insn = emit(p, KILN_VECTOR, KILN_OP_TENSOR_COPY);
			insn->src[0] = some_tile(KILN_SBUF, k <= 32 ? k : 32);
			insn->dst = insn->src[0];
			insn->dst.addr = insn->src[0].addr ? 0 : SPAN / 2;
			insn->dst.size[0] = insn->src[0].size[0] =
				insn->src[0].size[0] > SPAN / 4 ? SPAN / 4 : insn->src[0].size[0];
			break;
		case 6:
			insn = emit(p, KILN_SCALAR, KILN_OP_TENSOR_COPY);
			insn->src[0] = tile_at(KILN_PSUM, KILN_F32, 0, 1, 2048 * pick(8), 256);
			insn->dst = tile_at(KILN_SBUF, type, 0, 1, pick(SPAN / 2 - 256) * 2, 256);
			break;
		case 7:
			insn = emit(p, KILN_TENSOR, KILN_OP_TRANSPOSE);
			insn->src[0] = some_tile(KILN_SBUF, parts);
			if (insn->src[0].size[0] > 128)
				insn->src[0].size[0] = 128;
			insn->dst = tile_at(KILN_PSUM, type, 0, insn->src[0].size[0], 2048 * pick(8),
					    parts);
			break;
		default:	/* side by side, or wherever */
			for (unsigned int bank = pick(8), n = 1 + pick(4), at = 0; n--; bank++) {
				uint32_t cols = pick(4) ? 512u >> pick(2) : 1 + pick(511);

				if (at + cols > SPAN / 2)
					at = SPAN / 2 - cols;
				insn = emit(p, KILN_TENSOR, KILN_OP_MATMUL);
				insn->src[0] = tile_at(KILN_SBUF, type, 0, k, at * 2, cols);
				insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, columns, 2048 * (bank % 8),
						    cols);
				insn->flags = pick(3) ? KILN_F_ACCUMULATE : 0;
				at += cols;
				if (p->count[KILN_TENSOR] > PROG_MAX - 8)
					return;
			}
			break;
		}
	}
}

/* The same memories everywhere. */
static void fill_machine(struct machine *m, uint64_t seed)
{
	rng_state = seed;
	for (uint32_t i = 0; i < AREA / 2; i++) {
		uint16_t x = pick(64) ? to_bf16(rng_float()) : rng();

		memcpy(m->hbm + ROWS + 2 * i, &x, 2);
	}
	for (unsigned int p = 0; p < 128; p++) {
		for (uint32_t i = 0; i < 2 * SPAN / 2; i++) {
			uint16_t x = to_bf16(rng_float());

			memcpy(sbuf_at(m, p, 2 * i), &x, 2);
		}
	}
	for (unsigned int p = 0; p < 20; p++) {
		for (uint32_t i = 0; i < 4096; i++) {
			float x = rng_float();

			memcpy(psum_at(m, p, 4 * i), &x, 4);
		}
	}
}

static bool same_machines(struct machine *a, struct machine *b)
{
	if (memcmp(a->hbm + ROWS, b->hbm + ROWS, AREA)) {
		printf("# device memory differs\n");
		return false;
	}
	for (unsigned int p = 0; p < 128; p++) {
		if (memcmp(sbuf_at(a, p, 0), sbuf_at(b, p, 0), 2 * SPAN)) {
			printf("# SBUF differs in partition %u\n", p);
			return false;
		}
	}
	for (unsigned int p = 0; p < 128; p++) {
		if (memcmp(psum_at(a, p, 0), psum_at(b, p, 0), 16384)) {
			printf("# PSUM differs in partition %u\n", p);
			return false;
		}
	}
	return true;
}

static void test_programs(struct machine *m, struct machine *other, int count)
{
	static const unsigned int ks[] = { 1, 2, 7, 8, 9, 12, 13, 20, 24, 32, 64, 127, 128 };
	static struct prog p;
	bool good = true;
	int i, whole = 0;

	for (i = 0; i < count && good; i++) {
		unsigned int k = ks[pick(sizeof(ks) / sizeof(*ks))];
		uint64_t seed = (uint64_t)rng() << 32 | rng() | 1, next;
		struct kiln_outcome a, b;

		some_program(&p, k);
		next = rng_state;
		fill_machine(m, seed);
		fill_machine(other, seed);
		rng_state = next;
		a = run(m, &p);
		b = run(other, &p);
		good = a.status == b.status && a.cycles == b.cycles && a.engine == b.engine &&
		       a.instruction == b.instruction;
		if (!good)
			printf("# status %d and %d, instruction %u and %u\n", a.status, b.status,
			       a.instruction, b.instruction);
		/* After a fault, too: the next program of the context may look. */
		good = good && same_machines(m, other);
		whole += a.status == KILN_ST_OK;
		if (!good)
			printf("# program %d of k %u\n", i, k);
	}
	printf("# %d programs, %d to their end\n", i, whole);
	ok(good && whole > i / 2 && whole < i, "programs leave the same behind");
}

/* In the middle of a program: a tile is loaded, and multiplied with. */
static void load_and_multiply(struct machine *m, const struct kiln_ops *ops)
{
	struct stream *s = &m->core->stream[KILN_TENSOR];
	struct kiln_insn insn = { .opcode = KILN_OP_LOAD_STATIONARY };

	m->core->ops = ops;
	s->insn = &insn;
	s->reg[1] = ROWS;
	insn.src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 64, SPAN, 1);
	ok(kiln_exec_load_stationary(m->core, s, &insn) == KILN_ST_OK, "a column is loaded");
	insn = (struct kiln_insn){ .opcode = KILN_OP_DMA_COPY };
	insn.dst = tile_at(KILN_SBUF, KILN_BF16, 0, 64, 0, 512);
	insn.src[0] = dram_at(KILN_BF16, 1, 0, PITCH, 1);
	ok(kiln_exec_dma_copy(m->core, s, &insn) == KILN_ST_OK, "and a tile");
	insn = (struct kiln_insn){ .opcode = KILN_OP_MATMUL };
	insn.src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 64, 0, 512);
	insn.dst = tile_at(KILN_PSUM, KILN_F32, 0, 1, 0, 512);
	ok(kiln_exec_matmul(m->core, s, &insn) == KILN_ST_OK, "they are multiplied");
}

static bool tile_is_there(struct machine *m)
{
	for (unsigned int p = 0; p < 64; p++)
		if (memcmp(sbuf_at(m, p, 0), m->hbm + ROWS + p * PITCH * 2, 1024))
			return false;
	return true;
}

static void test_lending(const struct kiln_ops *ops)
{
	struct machine *m = machine(2);
	uint64_t wanted;

	fill_machine(m, 5);
	load_and_multiply(m, ops);
	ok(!m->core->loans && tile_is_there(m), "not known to be used once: a tile is copied");
	m->core->few_columns = true;
	fill_machine(m, 7);
	load_and_multiply(m, ops);
	ok(m->core->loans == 1 && m->core->matvec.n && !tile_is_there(m), "else it is owed");

	/* The firmware takes translations back: nobody may use them behind that. */
	wanted = ++m->core->mmu.flush_wanted;
	kiln_poll_flush(m->core);
	ok(!m->core->loans && !m->core->matvec.n && m->core->mmu.flush_seen == wanted &&
	   tile_is_there(m), "a flush of the TLB ends that");
	machine_free(m);
}

/* A program that leaves nothing does not pay at its end; one that faults does. */
static void test_transient(int level)
{
	struct machine *m = machine(2);
	static struct prog p;
	struct kiln_program_header *header = (void *)(m->hbm + PROGRAM);
	struct kiln_insn *insn;
	struct kiln_outcome o;
	uint32_t bytes;
	float wanted, got;

	memset(&p, 0, sizeof(p));
	kiln_engine_select(m->core, level);
	movi(&p, KILN_TENSOR, 1, ROWS);
	insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
	insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 64, SPAN, 1);
	insn = emit(&p, KILN_TENSOR, KILN_OP_DMA_COPY);
	insn->dst = tile_at(KILN_SBUF, KILN_BF16, 0, 64, 0, 512);
	insn->src[0] = dram_at(KILN_BF16, 1, 0, PITCH, 1);
	insn->post[0] = (struct kiln_sync){ .sem = 1, .value = 1 };
	insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
	insn->wait[0] = (struct kiln_sync){ .sem = 1, .value = 1 };
	insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 64, 0, 512);
	insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 1, 0, 512);

	fill_machine(m, 5);
	o = run(m, &p);
	memcpy(&wanted, psum_at(m, 0, 4 * 511), 4);
	ok(o.status == KILN_ST_OK && tile_is_there(m), "a tile stays for the next program");
	fill_machine(m, 5);
	bytes = place(m, &p);
	header->flags = KILN_PROGRAM_TRANSIENT;
	o = run_placed(m, bytes);
	memcpy(&got, psum_at(m, 0, 4 * 511), 4);
	ok(o.status == KILN_ST_OK && !tile_is_there(m) && got == wanted,
	   "not of one that leaves nothing, whose result is the same");

	/* It writes elsewhere, then where the tile comes from, and looks at it again. */
	for (int i = 0; i < 2; i++) {
		insn = emit(&p, KILN_TENSOR, KILN_OP_DMA_COPY);
		insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, 64, 2 * SPAN, 16);
		insn->dst = dram_at(KILN_BF16, 1, i ? 0 : 64 * PITCH * 2, PITCH, 1);
		insn->post[0] = (struct kiln_sync){ .sem = 1, .value = 1 };
		p.insn[KILN_TENSOR][p.count[KILN_TENSOR]] = p.insn[KILN_TENSOR][3];
		insn = &p.insn[KILN_TENSOR][p.count[KILN_TENSOR]++];
		insn->dst.addr = 2048;
		fill_machine(m, 5);
		bytes = place(m, &p);
		header->flags = KILN_PROGRAM_TRANSIENT;
		o = run_placed(m, bytes);
		memcpy(&got, psum_at(m, 0, 2048 + 4 * 511), 4);
		ok(o.status == KILN_ST_OK && got == wanted && !memcmp(psum_at(m, 0, 0),
		   psum_at(m, 0, 2048), 2048), "the tile is as it was loaded");
	}
	insn = emit(&p, KILN_TENSOR, KILN_OP_DMA_COPY);
	insn->dst = tile_at(KILN_SBUF, KILN_BF16, 0, 64, SPAN, 512);
	insn->src[0] = dram_at(KILN_BF16, 2, 0x7fffffff, PITCH, 1);
	fill_machine(m, 5);
	bytes = place(m, &p);
	header->flags = KILN_PROGRAM_TRANSIENT;
	o = run_placed(m, bytes);
	ok(o.status == KILN_ST_PAGE_FAULT && !memcmp(sbuf_at(m, 1, 32), m->hbm + ROWS + PITCH * 2 + 32,
						     1024 - 32), "it stays after a fault");
	machine_free(m);
}

int main(void)
{
	rng_start();
	for (int level = 0; level < KILN_OPS_LEVELS; level++) {
		const struct kiln_ops *ops = kiln_ops_get(level);
		struct machine *m, *other;

		if (!ops || !ops->matvec_bf16) {
			ok(true, "level %d # SKIP not on this host, or copies at once", level);
			continue;
		}
		printf("# %s\n", ops->name);
		test_lending(ops);
		test_transient(level);
		m = machine(2);
		other = machine(2);
		kiln_engine_select(m->core, level);
		if (kiln_engine_select(other->core, KILN_OPS_AVX2))
			test_programs(m, other, level == KILN_OPS_REF ? 60 : 300);
		else
			ok(true, "programs leave the same behind # SKIP needs AVX2");
		machine_free(m);
		machine_free(other);
	}
	return done();
}
