// SPDX-License-Identifier: MIT
/*
 * A program that is paused before each of its instructions in turn, its core's
 * state taken out and put into another core, ends with the same bits and cycles.
 * And whatever comes in instead of such a state does no harm.
 */
#include "image.h"
#include "unit/bytes.h"
#include "unit/engine.h"

#define IN	DATA
#define WEIGHTS	(DATA + (1 << 20))
#define OUT	(DATA + (2 << 20))
#define OUT_BYTES 65536
#define ROUNDS	3

/* Three rounds of: a tile and a row come in, are multiplied, go through the other engines, and out. */
static void program(struct prog *p, bool half)
{
	struct kiln_insn *insn;
	enum { IN_HERE = 1, PRODUCT, SHARE, DONE, FREE };

	memset(p, 0, sizeof(*p));
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		movi(p, e, 1, IN);
		movi(p, e, 2, WEIGHTS);
		movi(p, e, 3, OUT);
		movi(p, e, 4, 0);
		movi(p, e, 5, ROUNDS);
	}
	/* Sync: loads, and what it has waited for goes out */
	insn = emit(p, KILN_SYNC, KILN_OP_DMA_COPY);
	insn->dst = tile_at(KILN_SBUF, KILN_BF16, 0, half ? 64 : 128, 0, half ? 32 : 100);
	insn->src[0] = dram_at(KILN_BF16, 2, 0, 512, 1);
	insn = emit(p, KILN_SYNC, KILN_OP_DMA_COPY);
	insn->dst = tile_at(KILN_SBUF, KILN_BF16, 0, half ? 64 : 128, 1024, 200);
	insn->src[0] = dram_at(KILN_BF16, 1, 0, 512, 1);
	insn->post[0] = (struct kiln_sync){ .sem = IN_HERE, .value = 1 };
	insn = emit(p, KILN_SYNC, KILN_OP_DMA_COPY);
	insn->wait[0] = (struct kiln_sync){ .sem = DONE, .value = 1 };
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, half ? 32 : 100, 4096, 200);
	insn->dst = dram_at(KILN_F32, 3, 0, 200, 1);
	/* Tensor */
	insn = emit(p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
	insn->wait[0] = (struct kiln_sync){ .sem = IN_HERE, .value = 1 };
	insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, half ? 64 : 128, 0, half ? 32 : 100);
	if (half)
		insn->func = 64, insn->func1 = 32;
	insn = emit(p, KILN_TENSOR, KILN_OP_MATMUL);
	insn->src[0] = tile_at(KILN_SBUF, KILN_BF16, 0, half ? 64 : 128, 1024, 200);
	insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, half ? 32 : 100, 0, 200);
	if (half)
		insn->func = 64, insn->func1 = 32;
	insn = emit(p, KILN_TENSOR, KILN_OP_MATMUL);
	*insn = insn[-1];
	insn->flags = KILN_F_ACCUMULATE;
	insn->post[0] = (struct kiln_sync){ .sem = PRODUCT, .value = 3 };
	/* Scalar takes two of three units, Vector the third and what Scalar made */
	insn = emit(p, KILN_SCALAR, KILN_OP_ACTIVATION);
	insn->wait[0] = (struct kiln_sync){ .sem = PRODUCT, .value = 2 };
	insn->func = KILN_ACT_TANH;
	insn->src[0] = tile_at(KILN_PSUM, KILN_F32, 0, half ? 32 : 100, 0, 200);
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, half ? 32 : 100, 8192, 200);
	insn->imm[0] = 1.0f;
	insn->post[0] = (struct kiln_sync){ .sem = SHARE, .value = 1 };
	insn = emit(p, KILN_VECTOR, KILN_OP_TENSOR_TENSOR);
	insn->wait[0] = (struct kiln_sync){ .sem = PRODUCT, .value = 1 };
	insn->wait[1] = (struct kiln_sync){ .sem = SHARE, .value = 1 };
	insn->func = KILN_ALU_ADD;
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, half ? 32 : 100, 8192, 200);
	insn->src[1] = tile_at(KILN_PSUM, KILN_F32, 0, half ? 32 : 100, 0, 200);
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, half ? 32 : 100, 4096, 200);
	insn->post[0] = (struct kiln_sync){ .sem = DONE, .value = 1 };
	/* round again */
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		if (e == KILN_GPSIMD)
			continue;
		insn = emit(p, e, KILN_OP_ADDI);
		insn->seq.rd = insn->seq.rs = 1;
		insn->seq.imm_lo = 1024;
		insn = emit(p, e, KILN_OP_ADDI);
		insn->seq.rd = insn->seq.rs = 3;
		insn->seq.imm_lo = 8;
		insn = emit(p, e, KILN_OP_ADDI);
		insn->seq.rd = insn->seq.rs = 4;
		insn->seq.imm_lo = 1;
		insn = emit(p, e, KILN_OP_BLT);
		insn->seq.rs = 4;
		insn->seq.rt = 5;
		insn->seq.target = 5;
	}
}

static const char *move(struct kiln_core *core, struct bytes *b, bool loading)
{
	struct kiln_image image = { .loading = loading, .move = loading ? in : out, .opaque = b };

	b->at = 0;
	kiln_core_image(core, &image, true);
	return image.wrong;
}

/* Pauses its core at an instruction; or aborts it, when it has had enough of them. */
struct stopper {
	struct kiln_core *core;
	unsigned int at, count, most;
};

static void event(void *opaque, const struct kiln_event *e)
{
	struct stopper *s = opaque;

	if (!e->insn)
		return;
	if (++s->count == s->at)
		kiln_core_pause(s->core);
	if (s->count == s->most)
		kiln_core_abort(s->core, KILN_ST_TIMEOUT);
}

static void fill(struct machine *m)
{
	rng_state = 12345;
	for (unsigned int i = 0; i < (OUT - DATA) / 2; i++)
		((uint16_t *)(m->hbm + DATA))[i] = to_bf16(rng_float());
	memset(m->hbm + OUT, 0, OUT_BYTES * 4);
}

static void anew(struct machine *m)
{
	const struct kiln_memory *memory = &m->memory;

	memset(m->core, 0, kiln_core_size(m->generation));
	kiln_core_init(m->core, m->generation, memory);
	kiln_mmu_attach(kiln_core_mmu(m->core), TABLES);
}

static void every_instruction(bool half)
{
	struct machine *m = machine(2);
	struct prog p;
	struct kiln_outcome want, got;
	struct stopper stopper = { .core = m->core };
	struct kiln_watch watch = { event, &stopper };
	struct bytes state = { 0 };
	unsigned int bad = 0, paused = 0;
	uint8_t *result = malloc(OUT_BYTES * 4);
	uint32_t bytes;

	program(&p, half);
	bytes = place(m, &p);
	fill(m);
	kiln_core_watch(m->core, &watch);
	want = run_placed(m, bytes);
	memcpy(result, m->hbm + OUT, OUT_BYTES * 4);
	ok(want.status == KILN_ST_OK && !want.paused, "it runs: status %u, instruction %u of engine %u",
	   want.status, want.instruction, want.engine);
	for (unsigned int n = 1, last = stopper.count; n <= last; n++) {
		const char *wrong;

		fill(m);
		anew(m);
		stopper.at = n;
		stopper.count = 0;
		kiln_core_watch(m->core, &watch);
		got = run_placed(m, bytes);
		if (got.paused) {
			paused++;
			state.size = 0;
			wrong = move(m->core, &state, false);
			anew(m);
			if (!wrong)
				wrong = move(m->core, &state, true);
			if (wrong || state.at != state.size) {
				printf("# paused at %u: %s\n", n, wrong ? wrong : "bytes are left");
				bad++;
				continue;
			}
			memset(&got, 0, sizeof(got));
			kiln_core_run(m->core, NULL, &got);
		}
		if (got.status || got.paused || got.cycles != want.cycles ||
		    memcmp(result, m->hbm + OUT, OUT_BYTES * 4)) {
			printf("# paused at %u: status %u, cycles %" PRIu64 ", wanted %" PRIu64 "\n",
			       n, got.status, got.cycles, want.cycles);
			bad++;
		}
	}
	ok(!bad && paused > 60, "paused at each of %u instructions: the same bits and cycles", paused);

	/* Bytes of it are changed, up to eight at a time: refused, or it runs to some end. */
	unsigned int refused = 0, ran = 0;

	rng_start();
	for (unsigned int i = 0; i < 400; i++) {
		struct bytes hostile = { malloc(state.size), state.size, 0 };
		const char *wrong;

		memcpy(hostile.data, state.data, state.size);
		for (unsigned int k = 1 + rng() % 8; k; k--) {
			/* half of them in what follows the memories */
			size_t at = rng() % 2 ? rng() % hostile.size :
				hostile.size - 1 - rng() % (hostile.size / 2);

			hostile.data[at] = rng() % 3 ? rng() : 0xff;
		}
		if (!(rng() % 8))
			hostile.size = rng() % hostile.size;
		anew(m);
		wrong = move(m->core, &hostile, true);
		if (wrong) {
			refused++;
		} else {
			stopper.at = 0;
			stopper.count = 0;
			stopper.most = 2000;
			kiln_core_watch(m->core, &watch);
			kiln_core_run(m->core, NULL, &got);
			ran++;
		}
		free(hostile.data);
	}
	ok(refused > 20 && ran > 20, "of 400 broken states %u are refused, %u run to some end",
	   refused, ran);
	stopper.most = 0;
	anew(m);
	fill(m);
	got = run_placed(m, bytes);
	ok(got.status == KILN_ST_OK && got.cycles == want.cycles &&
	   !memcmp(result, m->hbm + OUT, OUT_BYTES * 4), "and then it works as ever");
	free(state.data);
	free(result);
	machine_free(m);
}

int main(void)
{
	every_instruction(false);
	every_instruction(true);
	return done();
}
