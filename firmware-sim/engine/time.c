// SPDX-License-Identifier: MIT
/*
 * What things cost. The constants are those of AWS's public architecture
 * guides, instruction reference and DMA guide for Neuron; those that are our
 * own assumption say so.
 */
#include "engine/time.h"

#define TICKS_PER_1300NS	43680	/* 1300 ns: from a DMA's start to its first byte */
#define ACCESS_CYCLES		60	/* to reach SBUF or PSUM and come back */
#define VECTOR_CYCLES		100	/* the same for Vector, whose instructions are a longer way */
#define MIN_CYCLES		64	/* an instruction costs as much as 64 elements */
#define SEQUENCER_CYCLES	1	/* assumed: no source */
#define GPSIMD_CYCLES		150	/* of iota, affine_select */
#define REGISTER_CYCLES		140	/* to read an index from SBUF into an engine */
#define F32_PASSES		4	/* of the PE array */
#define TRANSPOSE_PASSES	2	/* of fp32 from trn2 on, which has a mode for it */
#define DMA_MIN_BYTES		256	/* a shorter piece takes as long */
#define DMA_DESCRIPTOR		4096	/* bytes that one descriptor moves at most */
#define DMA_PARTITIONS		8	/* that each DMA engine serves */

static const struct {
	/* Ticks a cycle: 2.8 GHz is 12, 2.4 is 14, 1.4 is 24, 1.2 is 28, 1.12 is 30, 0.96 is 35.
	 * Sync: assumed to be GpSimd's. */
	uint8_t cycle[KILN_ENGINES];
	/* Elements a cycle in each partition. Vector: twice or four times trn1's from trn2 on */
	uint8_t vector, vector_16bit;
	uint8_t scalar_16bit;
	/* Loading a stationary matrix against streaming a moving one; docs/time.md */
	uint8_t load;
	bool load_hides;		/* behind a product, see overlap_load() */
	/* 0.1 GB/s: one DMA engine, in theory; the chip's HBM */
	uint32_t dma, hbm;
	/*
	 * Ticks that a DMA descriptor takes beside its bytes. trn1: between what two
	 * kernels that DMA bounds imply. trn2: what is left of the 1416 ns that 32 KiB
	 * take through one engine. trn3: what makes the theoretical rate the effective
	 * one for whole descriptors.
	 */
	uint16_t descriptor;
} rates[] = {
	[1] = { { 12, 30, 24, 24, 24 }, 1, 1, 1, 2, false, 272, 8200, 403 },
	[2] = { { 14, 35, 28, 28, 28 }, 2, 4, 1, 4, true, 272, 29000, 887 },
	[3] = { { 14, 28, 28, 28, 28 }, 2, 4, 2, 4, true, 384, 48000, 586 },
};

static uint64_t elements(const struct kiln_operand *op)
{
	uint64_t n = 1;

	for (unsigned int d = 0; d < op->ndim; d++)
		n *= op->size[d];
	return n;
}

static uint64_t at_least(uint64_t n, uint64_t min)
{
	return n > min ? n : min;
}

static bool is_16bit(uint8_t dtype)
{
	return dtype == KILN_BF16 || dtype == KILN_F16;
}

static bool is_float8(uint8_t dtype)
{
	return dtype == KILN_F8E4M3 || dtype == KILN_F8E5M2;
}

/* In SBUF, 16 bits, one element after the other. */
static bool fast(const struct kiln_operand *op)
{
	return !op->space || (op->space == KILN_SBUF && is_16bit(op->dtype) &&
			      op->stride[op->ndim - 1] == 1);
}

/* How often the array takes a tile of this type. */
static unsigned int array_passes(unsigned int generation, const struct kiln_insn *insn)
{
	enum kiln_dtype dtype = insn->src[0].dtype;

	if (kiln_dtype_bytes(dtype) < 4 || dtype == KILN_TF32)
		return 1;
	return insn->opcode == KILN_OP_TRANSPOSE && generation > 1 ? TRANSPOSE_PASSES : F32_PASSES;
}

static uint64_t tensor_cycles(unsigned int generation, const struct kiln_insn *insn)
{
	const struct kiln_operand *src = &insn->src[0];
	uint64_t free = elements(src), cycles;

	if (insn->flags & KILN_F_DOUBLE_ROW && insn->opcode != KILN_OP_TRANSPOSE)
		free /= 2;
	switch (insn->opcode) {
	case KILN_OP_LOAD_STATIONARY:
		cycles = at_least(free, MIN_CYCLES);
		cycles = (cycles + rates[generation].load - 1) / rates[generation].load;
		break;
	case KILN_OP_MATMUL:
		cycles = at_least(free, insn->dst.partitions < MIN_CYCLES ?
				  insn->dst.partitions : MIN_CYCLES);
		break;
	default: /* TRANSPOSE */
		cycles = at_least(src->partitions, free < MIN_CYCLES ? free : MIN_CYCLES);
		break;
	}
	return cycles * array_passes(generation, insn);
}

/* Elements that pass, as trn1's Vector engine counts them. */
static uint64_t passes(const struct kiln_insn *insn)
{
	const struct kiln_operand *dst = &insn->dst, *a = &insn->src[0], *b = &insn->src[1];
	bool psum = a->space == KILN_PSUM || b->space == KILN_PSUM;
	uint64_t n = elements(a->space ? a : dst);

	switch (insn->opcode) {
	case KILN_OP_TENSOR_TENSOR:
	case KILN_OP_SCALAR_TENSOR_TENSOR:
		return psum || (fast(dst) && fast(a) && fast(b)) ? n : 2 * n;
	case KILN_OP_TENSOR_TENSOR_SCAN:
		return 2 * n;
	case KILN_OP_BN_AGGR:
		return (13 * n + 2) / 3;
	case KILN_OP_SELECT:
	case KILN_OP_TENSOR_COPY_PREDICATED:
		return a->space != b->space ? n : 2 * n;
	case KILN_OP_TENSOR_REDUCE:
		return is_16bit(a->dtype) && insn->func != KILN_ALU_MULTIPLY ? (n + 1) / 2 : n;
	case KILN_OP_MEMSET:
		return !insn->imm[0] && kiln_dtype_bytes(dst->dtype) == 2 ? (n + 1) / 2 : n;
	case KILN_OP_RECIPROCAL:
		return n;	/* the documents say 8 n, measurements much less */
	default:
		return n;
	}
}

/* What only GpSimd has, whatever the rates; 0: anything else. */
static uint64_t gpsimd_cycles(const struct kiln_insn *insn)
{
	const struct kiln_operand *dst = &insn->dst, *a = &insn->src[0];
	uint64_t e, bytes, piece;

	switch (insn->opcode) {
	case KILN_OP_AFFINE_SELECT:
	case KILN_OP_IOTA:
		return GPSIMD_CYCLES + elements(dst);
	case KILN_OP_PARTITION_REDUCE:	/* assumed: no source */
	case KILN_OP_SEQUENCE_BOUNDS:	/* the same */
		return GPSIMD_CYCLES + elements(a);
	case KILN_OP_LOCAL_GATHER:
		e = insn->func;
		bytes = kiln_dtype_bytes(a->dtype);
		piece = 4 / bytes < e ? 4 / bytes : e;
		/* elements / ((28 + 4 e) / 4 e / piece) */
		return GPSIMD_CYCLES + (elements(dst) * 4 * e * piece + 27 + 4 * e) / (28 + 4 * e);
	case KILN_OP_TOPK:
		return 4 * elements(a) + elements(dst);
	default:
		return 0;
	}
}

struct kiln_cost kiln_time_insn(unsigned int generation, enum kiln_engine engine,
				const struct kiln_insn *insn)
{
	unsigned int tick = rates[generation].cycle[engine];
	struct kiln_cost cost;
	uint64_t cycles, rate = 1;

	if (insn->opcode < KILN_OP_LOAD_STATIONARY) {	/* DMA: starting one */
		cost.busy = cost.latency = SEQUENCER_CYCLES * tick;
		return cost;
	}
	if (insn->opcode == KILN_OP_LOAD_REGISTER) {
		cost.busy = cost.latency = REGISTER_CYCLES * tick;
		return cost;
	}
	if (engine == KILN_TENSOR) {
		cycles = tensor_cycles(generation, insn);
		cost.busy = cycles * tick;
		cost.latency = (cycles + ACCESS_CYCLES) * tick;
		return cost;
	}

	cycles = passes(insn);
	if (engine == KILN_VECTOR) {
		bool simple = insn->opcode == KILN_OP_TENSOR_COPY ||
			      insn->opcode == KILN_OP_TENSOR_SCALAR;

		rate = simple && fast(&insn->dst) && fast(&insn->src[0]) ?
			rates[generation].vector_16bit : rates[generation].vector;
	} else if (engine == KILN_SCALAR &&
		   (is_16bit(insn->src[0].dtype) || is_float8(insn->src[0].dtype))) {
		rate = rates[generation].scalar_16bit;
	}
	cycles = at_least((cycles + rate - 1) / rate, MIN_CYCLES);
	if ((insn->opcode == KILN_OP_ACTIVATION && (insn->flags & KILN_F_REDUCE)) ||
	    insn->opcode == KILN_OP_TENSOR_SCALAR_REDUCE)
		cycles += MIN_CYCLES;
	if (gpsimd_cycles(insn))
		cycles = gpsimd_cycles(insn);
	cycles += engine == KILN_VECTOR ? VECTOR_CYCLES : ACCESS_CYCLES;
	cost.busy = cost.latency = cycles * tick;
	return cost;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/*
 * Of a matrix that is loaded right after a product, so much is hidden behind it
 * as the product left the way into the array free: a tile that passes four
 * times comes once.
 */
static void overlap_load(struct kiln_clocks *clocks, unsigned int generation,
			 const struct kiln_insn *insn, uint64_t now, struct kiln_cost *cost)
{
	unsigned int passes = array_passes(generation, insn);

	if (insn->opcode == KILN_OP_LOAD_STATIONARY) {
		uint64_t hidden = now > clocks->pe_end ? 0 : clocks->pe_spare;

		if (hidden > cost->busy)
			hidden = cost->busy;
		clocks->pe_spare -= hidden;
		cost->busy -= hidden;
		cost->latency -= hidden;
	} else if (rates[generation].load_hides) {
		clocks->pe_spare = cost->busy / passes * (passes - 1);
	}
	clocks->pe_end = now + cost->busy;
}

uint64_t kiln_time_array(struct kiln_clocks *clocks, unsigned int generation,
			 const struct kiln_insn *insn, uint64_t now, struct kiln_cost *cost)
{
	bool tiled = insn->opcode != KILN_OP_TRANSPOSE && (insn->func || insn->func1);
	unsigned int rows = tiled && insn->func ? insn->func / 32 : 4;
	unsigned int columns = tiled && insn->func1 ? insn->func1 / 32 : 4;
	unsigned int row = tiled ? insn->src[0].partition / 32 : 0;
	unsigned int column = !tiled ? 0 : insn->opcode == KILN_OP_MATMUL ?
			      insn->dst.partition / 32 : (unsigned int)insn->imm[0] / 32;

	for (unsigned int r = row; r < row + rows; r++) {
		for (unsigned int c = column; c < column + columns; c++)
			now = later(now, clocks->pe[4 * r + c]);
	}
	if (!tiled) {
		overlap_load(clocks, generation, insn, now, cost);
		return now;	/* the engine is busy meanwhile */
	}
	for (unsigned int r = row; r < row + rows; r++) {
		for (unsigned int c = column; c < column + columns; c++)
			clocks->pe[4 * r + c] = now + cost->busy;
	}
	cost->busy = (cost->busy * rows * columns + 15) / 16;
	return now;
}

/* Ticks that bytes take at a rate in 0.1 GB/s, rounded up. */
static uint64_t transfer(uint64_t bytes, uint32_t rate)
{
	return (bytes * 336 + rate - 1) / rate;
}

/*
 * A DMA engine gives its rings turns: when does it end work of this one that
 * may begin at start? What the others have before it goes on beside it, and
 * ends so much later itself: later transfers see that, those that are under way
 * keep the time that they were given.
 */
static uint64_t serve(struct kiln_dma_clock *engine, unsigned int ring,
		      const unsigned int *others, unsigned int active, uint64_t start,
		      uint64_t work)
{
	uint64_t begin = later(start, engine->ring[ring]), end = begin + work;

	for (unsigned int i = 0; i < active; i++) {
		uint64_t *other = &engine->ring[others[i]];

		if (*other > begin) {
			uint64_t beside = *other - begin < work ? *other - begin : work;

			end += beside;
			*other += beside;
		}
	}
	engine->ring[ring] = end;
	return end;
}

struct kiln_dma_time kiln_time_dma(struct kiln_clocks *clocks, unsigned int generation,
				   unsigned int ring, uint64_t now, unsigned int partition,
				   unsigned int partitions, uint64_t row_bytes,
				   uint64_t run, bool both_dram)
{
	/* What a row costs a DMA engine: short pieces count as longer ones, long ones are several. */
	uint64_t descriptors = (run + DMA_DESCRIPTOR - 1) / DMA_DESCRIPTOR;
	uint64_t row = row_bytes / run *
		       (transfer(at_least(run, DMA_MIN_BYTES), rates[generation].dma) +
			descriptors * rates[generation].descriptor);
	struct kiln_dma_time time = {
		.start = later(now + TICKS_PER_1300NS, clocks->ring_start[ring]),
		.busy = partitions * row,
		.bytes = row_bytes * partitions * (both_dram ? 2 : 1),
	};
	unsigned int others[KILN_DMA_RINGS], active = 0;

	time.end = time.start;
	clocks->ring_start[ring] = time.start;
	for (unsigned int r = 0; r < KILN_DMA_RINGS; r++) {
		if (r != ring && clocks->ring_end[r] > time.start)
			others[active++] = r;
	}
	for (unsigned int e = partition / DMA_PARTITIONS;
	     e <= (partition + partitions - 1) / DMA_PARTITIONS; e++) {
		unsigned int first = later(e * DMA_PARTITIONS, partition);
		unsigned int last = (e + 1) * DMA_PARTITIONS;

		if (last > partition + partitions)
			last = partition + partitions;
		time.end = later(time.end, serve(&clocks->dma[e], ring, others, active, time.start,
						 (last - first) * row));
	}
	/* HBM serves one transfer after the other, at its own rate. */
	clocks->hbm = later(clocks->hbm, time.start) + transfer(time.bytes, rates[generation].hbm);
	time.end = later(time.end, clocks->hbm);
	/* A ring completes in order. */
	time.end = later(time.end, clocks->ring_end[ring]);
	clocks->ring_end[ring] = time.end;
	return time;
}

uint64_t kiln_time_cycles(unsigned int generation, uint64_t ticks)
{
	unsigned int tick = rates[generation].cycle[KILN_TENSOR];

	return (ticks + tick - 1) / tick;
}
