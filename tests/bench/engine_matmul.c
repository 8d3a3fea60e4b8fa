// SPDX-License-Identifier: MIT
/*
 * How fast the Tensor engine's tile kernels are, next to the peak of this host
 * in the same run: GFLOP/s of a 128x128x512 tile from packed panels, through
 * the engine (packing, PSUM, sequencer), and of VDPBF16PS alone.
 */
#include "bench/host.h"
#include "unit/engine.h"

#define TILE_FLOPS	(2.0 * 128 * 128 * 512)
#define ROUNDS		5

static double peak(void)
{
	const long turns = 2000000;
	volatile float sink;
	double start;

	if (!kiln_ops_get(KILN_OPS_AVX512))
		return 0;
	start = seconds();
	sink = host_peak_loop(turns);
	(void)sink;
	return turns * HOST_PEAK_FLOPS / (seconds() - start) * 1e-9;
}

static double kernel(const struct kiln_ops *ops, bool bf16, int count)
{
	static uint32_t a[130 * 144] __attribute__((aligned(64)));
	static uint32_t b[130 * 512] __attribute__((aligned(64)));
	static float c[128 * 4624] __attribute__((aligned(64)));
	struct kiln_matmul mm = { .a = a, .b = b, .a_pitch = (bf16 ? 66 : 130) * ops->mr,
				  .b_pitch = (bf16 ? 66 : 130) * KILN_PANEL, .b_step = KILN_PANEL,
				  .rows = bf16 ? 64 : 128, .m = 128, .n = 512,
				  .c = c, .pitch = (16384 + 2112) / 4 };
	double start;

	for (size_t i = 0; i < sizeof(a) / 4; i++)
		a[i] = 0x3f803f80;
	for (size_t i = 0; i < sizeof(b) / 4; i++)
		b[i] = 0x3f803f80;
	start = seconds();
	for (int i = 0; i < count; i++)
		(bf16 ? ops->matmul_bf16 : ops->matmul_f32)(&mm);
	return count * TILE_FLOPS / (seconds() - start) * 1e-9;
}

/* A loop of matmuls by the engine: stationary and moving are new each time, or moving stays. */
static double engine(struct machine *m, bool bf16, bool reuse, int count)
{
	static struct prog p;
	enum kiln_dtype dtype = bf16 ? KILN_BF16 : KILN_F32;
	struct kiln_insn *insn;
	struct kiln_outcome outcome;
	double start;

	memset(&p, 0, sizeof(p));
	movi(&p, KILN_TENSOR, 1, 0);
	movi(&p, KILN_TENSOR, 2, count);
	for (int i = 0; i < 4; i++) {
		insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
		insn->src[0] = tile_at(KILN_SBUF, dtype, 0, 128, i * 512, 128);
		insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
		insn->src[0] = tile_at(KILN_SBUF, dtype, 0, 128, 4096 + (reuse ? 0 : i * 2048), 512);
		insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 128, i * 2048, 512);
		insn->flags = KILN_F_ACCUMULATE;
	}
	insn = emit(&p, KILN_TENSOR, KILN_OP_ADDI);
	insn->seq.rd = insn->seq.rs = 1;
	insn->seq.imm_lo = 4;
	insn = emit(&p, KILN_TENSOR, KILN_OP_BLT);
	insn->seq.rs = 1;
	insn->seq.rt = 2;
	insn->seq.target = 2;
	start = seconds();
	outcome = run(m, &p);
	if (outcome.status != KILN_ST_OK)
		printf("status %d\n", outcome.status);
	return count * TILE_FLOPS / (seconds() - start) * 1e-9;
}

/* GB/s of [128 x bytes] from HBM to SBUF. */
static double dma(struct machine *m, uint32_t bytes, int count)
{
	static struct prog p;
	struct kiln_insn *insn;
	double start;

	memset(&p, 0, sizeof(p));
	movi(&p, KILN_SYNC, 1, 0);
	movi(&p, KILN_SYNC, 2, count);
	movi(&p, KILN_SYNC, 3, DATA);
	insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, bytes / 4);
	insn->src[0] = dram_at(KILN_F32, 3, 0, bytes / 4, 1);
	insn = emit(&p, KILN_SYNC, KILN_OP_ADDI);
	insn->seq.rd = insn->seq.rs = 1;
	insn->seq.imm_lo = 1;
	insn = emit(&p, KILN_SYNC, KILN_OP_BLT);
	insn->seq.rs = 1;
	insn->seq.rt = 2;
	insn->seq.target = 3;
	start = seconds();
	if (run(m, &p).status != KILN_ST_OK)
		printf("dma failed\n");
	return (double)count * 128 * bytes / (seconds() - start) * 1e-9;
}

/* Nanoseconds of exp or a copy of 128 x 512, of [128, 1], of a turn of an empty loop. */
static double other(struct machine *m, int which, int count)
{
	static struct prog p;
	struct kiln_insn *insn;
	double start;

	memset(&p, 0, sizeof(p));
	movi(&p, KILN_SCALAR, 1, 0);
	movi(&p, KILN_SCALAR, 2, count);
	if (which == 0) {
		insn = emit(&p, KILN_SCALAR, KILN_OP_ACTIVATION);
		insn->func = KILN_ACT_EXP;
		insn->dst = tile_at(KILN_SBUF, KILN_BF16, 0, 128, 0, 512);
		insn->src[0] = tile_at(KILN_PSUM, KILN_F32, 0, 128, 0, 512);
		insn->imm[0] = 1e-3f;
		insn->flags = KILN_F_REDUCE;
		insn->col[1] = column_at(KILN_SBUF, KILN_F32, 4096);
	} else if (which == 1) {
		insn = emit(&p, KILN_SCALAR, KILN_OP_TENSOR_COPY);
		insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 512);
		insn->src[0] = tile_at(KILN_PSUM, KILN_F32, 0, 128, 0, 512);
	} else if (which == 2) {
		insn = emit(&p, KILN_SCALAR, KILN_OP_TENSOR_SCALAR);
		insn->func = KILN_ALU_ADD;
		insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 1);
		insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 4, 1);
		insn->col[0] = column_at(KILN_SBUF, KILN_F32, 8);
	}
	insn = emit(&p, KILN_SCALAR, KILN_OP_ADDI);
	insn->seq.rd = insn->seq.rs = 1;
	insn->seq.imm_lo = 1;
	insn = emit(&p, KILN_SCALAR, KILN_OP_BLT);
	insn->seq.rs = 1;
	insn->seq.rt = 2;
	insn->seq.target = 2;
	start = seconds();
	if (run(m, &p).status != KILN_ST_OK)
		printf("failed\n");
	return (seconds() - start) / count * 1e9;
}

int main(void)
{
	for (int level = KILN_OPS_LEVELS - 1; level >= 0; level--) {
		const struct kiln_ops *ops = kiln_ops_get(level);
		struct machine *m;
		bool slow = level == KILN_OPS_REF;

		if (!ops)
			continue;
		m = machine(2);
		kiln_engine_select(m->core, level);
		for (int round = 0; round < (slow ? 1 : ROUNDS); round++) {
			printf("%-7s", ops->name);
			for (int bf16 = 1; bf16 >= 0; bf16--) {
				int count = slow ? 4 : bf16 ? 1600 : 800;
				double top = bf16 ? peak() : 0;

				printf(" %s:", bf16 ? "bf16" : "f32");
				if (top)
					printf(" vdpbf16ps peak %.1f,", top);
				printf(" tile %.1f, engine %.1f, same moving %.1f GFLOP/s;",
				       kernel(ops, bf16, count), engine(m, bf16, false, count),
				       engine(m, bf16, true, count));
			}
			putchar('\n');
		}
		printf("%-7s dma 128 x 2 KiB %.1f GB/s, 128 x 512 B %.1f GB/s; exp 128x512 %.1f us, copy %.1f us, [128,1] %.2f us, loop %.0f ns\n",
		       ops->name, dma(m, 2048, 2000), dma(m, 512, 4000),
		       other(m, 0, slow ? 10 : 1000) * 1e-3, other(m, 1, slow ? 10 : 1000) * 1e-3,
		       other(m, 2, slow ? 100 : 10000) * 1e-3, other(m, 3, 1000000));
		machine_free(m);
	}
	return 0;
}
