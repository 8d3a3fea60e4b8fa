// SPDX-License-Identifier: MIT
/*
 * The instructions that are not element by element - scans, searches, shuffles,
 * statistics, random numbers, transfers by index - on random operands against
 * a straightforward computation.
 */
#include "engine/random.h"
#include "engine_tiles.h"
#include "kiln/isa_check.h"

#define MOST	(128 * 16384)

/* What should be in an operand afterwards; the rest of memory is looked at only around it. */
struct want {
	struct kiln_operand op;
	uint8_t bytes[MOST * 4];
};

static struct want want[2];
static struct prog p;

static void want_start(int k, const struct kiln_operand *op)
{
	want[k].op = *op;
}

static uint8_t *want_at(int k, uint32_t q, uint32_t i)
{
	return want[k].bytes + ((size_t)q * count_of(&want[k].op) + i) *
	       kiln_dtype_bytes(want[k].op.dtype);
}

static void want_value(int k, uint32_t q, uint32_t i, float v)
{
	kiln_store_one(want_at(k, q, i), v, want[k].op.dtype);
}

/* Run it on this engine, with register 1 set, and compare. */
static bool as_wanted(enum kiln_engine engine, const struct kiln_insn *insn, uint64_t reg1)
{
	struct kiln_outcome o;

	memset(&p, 0, sizeof(p));
	movi(&p, engine, 1, reg1);
	*emit(&p, engine, 0) = *insn;
	o = run(m, &p);
	if (o.status != KILN_ST_OK) {
		printf("# opcode %#x: status %d addr %#" PRIx64 "\n", insn->opcode, o.status,
		       o.fault_addr);
		return false;
	}
	for (int k = 0; k < 2; k++) {
		const struct kiln_operand *op = &want[k].op;
		uint32_t bytes = kiln_dtype_bytes(op->dtype);

		if (!op->space)
			continue;
		for (uint32_t q = 0; q < op->partitions; q++) {
			for (uint32_t i = 0; i < count_of(op); i++) {
				if (memcmp(element(op, q, i), want_at(k, q, i), bytes)) {
					printf("# opcode %#x func %u,%u flags %u result %d: "
					       "[%u][%u] is %g, want %g\n", insn->opcode,
					       insn->func, insn->func1, insn->flags, k, q, i,
					       value(op, q, i),
					       kiln_load_one(want_at(k, q, i), op->dtype));
					return false;
				}
			}
		}
	}
	return true;
}

static unsigned int any_partitions(void)
{
	return rng() % 3 ? rng() % KILN_PARTITIONS + 1 : 1u << rng() % 8;
}

static uint32_t any_count(void)
{
	return counts[rng() % (sizeof(counts) / sizeof(counts[0]))];
}

/* Sources lie below 64 KiB of SBUF or in the first half of PSUM, results above. */
static struct kiln_operand source(enum kiln_dtype dtype, unsigned int partitions, uint32_t n,
				  bool psum)
{
	return psum && n <= 720 && rng() % 3 == 0 ?
		random_tile(KILN_PSUM, dtype, partitions, n, 0, 8192, true) :
		random_tile(KILN_SBUF, dtype, partitions, n, 0, 24 << 10, true);
}

static struct kiln_operand source1(enum kiln_dtype dtype, unsigned int partitions, uint32_t n)
{
	return random_tile(KILN_SBUF, dtype, partitions, n, 24 << 10, 24 << 10, true);
}

static struct kiln_operand result(enum kiln_dtype dtype, unsigned int partitions, uint32_t n,
				  bool psum)
{
	return psum && n <= 720 && rng() % 3 == 0 ?
		random_tile(KILN_PSUM, dtype, partitions, n, 8192, 8192, false) :
		random_tile(KILN_SBUF, dtype, partitions, n, 64 << 10, 32 << 10, false);
}

static float column_of(const struct kiln_column *col, unsigned int partition)
{
	return kiln_load_one(col->space == KILN_PSUM ? psum_at(m, partition, col->addr) :
			     sbuf_at(m, partition, col->addr), col->dtype);
}

static bool try_scan(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TENSOR_TENSOR_SCAN };
	unsigned int partitions = any_partitions();
	uint32_t n = any_count();
	bool mamba = rng() % 2;

	insn.src[0] = source(any_dtype(), partitions, n, true);
	insn.src[1] = source1(any_dtype(), partitions, n);
	insn.dst = result(any_dtype(), partitions, n, true);
	insn.func = mamba ? KILN_ALU_MULTIPLY : rng() % KILN_ALU_BITWISE;
	insn.func1 = mamba ? KILN_ALU_ADD : rng() % KILN_ALU_BITWISE;
	insn.flags = rng() % 4;
	if (rng() % 2)
		insn.col[0] = column_at(KILN_SBUF, any_dtype(), 512);
	else
		insn.imm[0] = rng_float();
	if (rng() % 5 == 0)
		insn.src[0] = insn.dst;
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		float y = insn.col[0].space ?
			column_of(&insn.col[0], insn.src[0].partition + q) : insn.imm[0];

		for (uint32_t i = 0; i < n; i++) {
			float a = value(&insn.src[0], q, i), b = value(&insn.src[1], q, i);

			y = insn.flags & 1 ? kiln_alu_one(insn.func, y, a) :
				kiln_alu_one(insn.func, a, y);
			y = insn.flags & 2 ? kiln_alu_one(insn.func1, b, y) :
				kiln_alu_one(insn.func1, y, b);
			want_value(0, q, i, y);
		}
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

static bool try_predicated(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TENSOR_COPY_PREDICATED };
	unsigned int partitions = any_partitions();
	uint32_t n = any_count();
	enum kiln_dtype dtype = any_dtype();

	insn.src[0] = source(dtype, partitions, n, true);
	insn.src[1] = source1(KILN_U8, partitions, n);
	insn.dst = result(rng() % 2 ? dtype : any_dtype(), partitions, n, true);
	insn.flags = rng() % 2 ? KILN_F_REVERSE_PRED : 0;
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++)
			*element(&insn.src[1], q, i) = rng() % 2 * rng();
	}
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			bool take = (value(&insn.src[1], q, i) != 0) != !!insn.flags;
			const void *from = element(take ? &insn.src[0] : &insn.dst, q, i);

			if (!take || insn.src[0].dtype == insn.dst.dtype)
				memcpy(want_at(0, q, i), from, kiln_dtype_bytes(insn.dst.dtype));
			else
				want_value(0, q, i, value(&insn.src[0], q, i));
		}
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

static bool try_range(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_RANGE_SELECT };
	unsigned int partitions = any_partitions();
	uint32_t n = any_count();

	insn.src[0] = source(any_dtype(), partitions, n, true);
	insn.dst = result(any_dtype(), partitions, n, true);
	insn.func = KILN_ALU_EQ + rng() % 6;
	insn.func1 = KILN_ALU_EQ + rng() % 6;
	insn.col[0] = column_at(KILN_SBUF, KILN_F32, 48 << 10);
	insn.col[1] = column_at(KILN_PSUM, KILN_I32, 4);
	insn.imm[0] = (int)(rng() % 200) - 100;
	insn.imm[1] = rng() % 2 ? -0x1.fffffep127f : rng_float();
	if (rng() % 2) {
		insn.src[1] = random_tile(KILN_SBUF, any_dtype(), partitions, 1, 50 << 10, 1024,
					  false);
		insn.flags = rng() % 2 ? KILN_F_CONTINUE : 0;
	}
	for (unsigned int q = 0; q < KILN_PARTITIONS; q++) {
		*(float *)sbuf_at(m, q, 48 << 10) = insn.imm[0] + rng() % (n + 1);
		*(int32_t *)psum_at(m, q, 4) = insn.imm[0] + rng() % (n + 1);
	}
	want_start(0, &insn.dst);
	want_start(1, &insn.src[1]);
	for (uint32_t q = 0; q < partitions; q++) {
		float most = -INFINITY;

		for (uint32_t i = 0; i < n; i++) {
			float v = insn.imm[0] + i, x = insn.imm[1];

			if (kiln_alu_one(insn.func, v, column_of(&insn.col[0], insn.src[0].partition + q)) &&
			    kiln_alu_one(insn.func1, v, column_of(&insn.col[1], insn.src[0].partition + q)))
				x = value(&insn.src[0], q, i);
			most = kiln_alu_one(KILN_ALU_MAX, most, x);
			want_value(0, q, i, x);
		}
		if (insn.flags)
			most = kiln_alu_one(KILN_ALU_MAX, value(&insn.src[1], q, 0), most);
		if (insn.src[1].space)
			want_value(1, q, 0, most);
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

/* What a reduction gives of values that stand one after the other in want[0]; old to go on from. */
static float reduction(enum kiln_alu op, const float *x, uint32_t n, const float *old)
{
	float lane[KILN_LANES], r;

	kiln_reduce_start(op, lane);
	for (uint32_t i = 0; i < n; i++)
		lane[i % KILN_LANES] = kiln_alu_one(op, lane[i % KILN_LANES], x[i]);
	r = kiln_reduce_fold(op, lane);
	return old ? kiln_alu_one(op, *old, r) : r;
}

static const uint8_t reductions[] = { KILN_ALU_ADD, KILN_ALU_MULTIPLY, KILN_ALU_MAX, KILN_ALU_MIN,
				      KILN_ALU_AND, KILN_ALU_OR, KILN_ALU_XOR };

/* The column that a reduction goes to, as an operand of dst's partitions. */
static struct kiln_operand result_column(struct kiln_insn *insn)
{
	insn->col[1] = column_at(KILN_SBUF, any_dtype(), 50 << 10);
	return tile_at(KILN_SBUF, insn->col[1].dtype, insn->dst.partition, insn->dst.partitions,
		       50 << 10, 1);
}

/* SELECT, TENSOR_SCALAR_REDUCE and ACTIVATION: results, and what they come to. */
static bool try_results(uint8_t opcode)
{
	static float x[MOST];
	struct kiln_insn insn = { .opcode = opcode };
	unsigned int partitions = any_partitions();
	uint32_t n = any_count();
	struct kiln_operand to;
	enum kiln_alu op = opcode == KILN_OP_SELECT ? KILN_ALU_MAX : KILN_ALU_ADD;

	insn.src[0] = source(any_dtype(), partitions, n, true);
	insn.dst = result(any_dtype(), partitions, n, true);
	insn.imm[0] = rng_float();
	if (opcode == KILN_OP_SELECT) {
		insn.src[1] = source1(KILN_I8, partitions, n);
		insn.flags = KILN_F_REDUCE | (rng() % 2 ? KILN_F_REVERSE_PRED : 0);
	} else if (opcode == KILN_OP_TENSOR_SCALAR_REDUCE) {
		insn.func = rng() % KILN_ALU_BITWISE;
		op = insn.func1 = reductions[rng() % 7];
		insn.flags = rng() % 2 ? KILN_F_REVERSE0 : 0;
	} else {
		insn.func = KILN_ACT_SQUARE;
		insn.flags = KILN_F_REDUCE;
	}
	insn.flags |= rng() % 2 ? KILN_F_CONTINUE : 0;
	to = result_column(&insn);
	want_start(0, &insn.dst);
	want_start(1, &to);
	for (uint32_t q = 0; q < partitions; q++) {
		float old = value(&to, q, 0);

		for (uint32_t i = 0; i < n; i++) {
			float a = value(&insn.src[0], q, i), s = insn.imm[0];

			if (opcode == KILN_OP_SELECT)
				x[i] = !value(&insn.src[1], q, i) ==
				       !!(insn.flags & KILN_F_REVERSE_PRED) ? a : s;
			else if (opcode == KILN_OP_TENSOR_SCALAR_REDUCE)
				x[i] = insn.flags & KILN_F_REVERSE0 ?
				       kiln_alu_one(insn.func, s, a) : kiln_alu_one(insn.func, a, s);
			else
				kiln_ops_ref.activation(insn.func, &x[i], &a, s, 0, 1);
			want_value(0, q, i, x[i]);
		}
		want_value(1, q, 0, reduction(op, x, n, insn.flags & KILN_F_CONTINUE ? &old : NULL));
	}
	return as_wanted(opcode == KILN_OP_ACTIVATION ? KILN_SCALAR : KILN_VECTOR, &insn, 0);
}

static bool try_select_reduce(void)
{
	return try_results(KILN_OP_SELECT);
}

static bool try_tensor_scalar_reduce(void)
{
	return try_results(KILN_OP_TENSOR_SCALAR_REDUCE);
}

static bool try_activation_reduce(void)
{
	return try_results(KILN_OP_ACTIVATION);
}

/* Over one or more of the innermost dimensions; of bits, too. */
static bool try_reduce(void)
{
	static float x[MOST];
	struct kiln_insn insn = { .opcode = KILN_OP_TENSOR_REDUCE };
	static const enum kiln_dtype integers[] = { KILN_I32, KILN_U8, KILN_I16 };
	enum kiln_dtype integer = integers[rng() % 3];
	bool bits = rng() % 2;
	unsigned int partitions = any_partitions();
	uint32_t n = any_count(), dims, inner = 1;

	insn.src[0] = source(bits ? integer : any_dtype(), partitions, n, true);
	dims = insn.func1 = rng() % (insn.src[0].ndim + 1);
	for (unsigned int d = 0; d < (dims ? dims : 1); d++)
		inner *= insn.src[0].size[insn.src[0].ndim - 1 - d];
	insn.dst = result(bits ? integer : any_dtype(), partitions, n / inner, true);
	insn.func = bits ? KILN_ALU_BITWISE_AND + rng() % 3 : reductions[rng() % 7];
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t row = 0; row < n / inner; row++) {
			uint32_t word = insn.func == KILN_ALU_BITWISE_AND ? ~0u : 0;

			for (uint32_t i = 0; i < inner; i++) {
				uint32_t w = 0;

				x[i] = value(&insn.src[0], q, row * inner + i);
				memcpy(&w, element(&insn.src[0], q, row * inner + i),
				       kiln_dtype_bytes(insn.src[0].dtype));
				word = insn.func == KILN_ALU_BITWISE_AND ? word & w :
				       insn.func == KILN_ALU_BITWISE_OR ? word | w : word ^ w;
			}
			if (bits)
				memcpy(want_at(0, q, row), &word, kiln_dtype_bytes(insn.dst.dtype));
			else
				want_value(0, q, row, reduction(insn.func, x, inner, NULL));
		}
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

static bool try_bounds(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_SEQUENCE_BOUNDS };
	uint32_t n = any_count();

	insn.src[0] = random_tile(KILN_SBUF, rng() % 2 ? KILN_F32 : KILN_I32, 1, n, 0, 24 << 10,
				  false);
	insn.dst = result(rng() % 2 ? KILN_F32 : KILN_I32, 1, 2 * n, false);
	for (uint32_t i = 0, id = 0; i < n; i++) {
		if (rng() % 8 == 0)
			id = rng() % 4;
		kiln_store_one(element(&insn.src[0], 0, i), rng() % 50 ? id : -0.0f,
			       insn.src[0].dtype);
	}
	want_start(0, &insn.dst);
	for (uint32_t i = 0; i < n; i++) {
		float id = value(&insn.src[0], 0, i);
		uint32_t first = i, last = i;

		while (first && value(&insn.src[0], 0, first - 1) == id)
			first--;
		while (last + 1 < n && value(&insn.src[0], 0, last + 1) == id)
			last++;
		want_value(0, 0, i, id ? (float)first : (float)n);
		want_value(0, 0, n + i, id ? (float)(last + 1) : -1);
	}
	return as_wanted(KILN_GPSIMD, &insn, 0);
}

/* 32-bit integers, modulo 2^32 */
static bool try_integers(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TENSOR_TENSOR };
	enum kiln_dtype dtype = rng() % 2 ? KILN_I32 : KILN_U32;
	unsigned int partitions = any_partitions();
	uint32_t n = any_count();

	insn.src[0] = source(dtype, partitions, n, false);
	insn.src[1] = source1(dtype, partitions, n);
	insn.dst = result(dtype, partitions, n, false);
	insn.func = KILN_ALU_INTEGER + rng() % 3;
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t a, b, c;

			memcpy(&a, element(&insn.src[0], q, i), 4);
			memcpy(&b, element(&insn.src[1], q, i), 4);
			c = insn.func == KILN_ALU_INTEGER_ADD ? a + b :
			    insn.func == KILN_ALU_INTEGER_SUBTRACT ? a - b : a * b;
			memcpy(want_at(0, q, i), &c, 4);
		}
	}
	return as_wanted(KILN_GPSIMD, &insn, 0);
}

/* A register from data, on each engine; IOTA shows what it has. */
static bool try_register(void)
{
	static const enum kiln_dtype dtypes[] = { KILN_I8, KILN_U8, KILN_I16, KILN_U16, KILN_I32,
						  KILN_U32 };
	struct kiln_insn load = { .opcode = KILN_OP_LOAD_REGISTER };
	struct kiln_insn show = { .opcode = KILN_OP_IOTA };
	enum kiln_dtype dtype = dtypes[rng() % 6];
	uint32_t bits = rng(), bytes = kiln_dtype_bytes(dtype), got;
	uint32_t want = dtype == KILN_I8 ? (uint32_t)(int8_t)bits :
			dtype == KILN_I16 ? (uint32_t)(int16_t)bits :
			bits & (uint32_t)(~0ull >> (64 - 8 * bytes));

	load.func = rng() % 2 ? 7 : 0;
	load.src[0] = tile_at(KILN_SBUF, dtype, 32, 1, 1024, 1);
	memcpy(sbuf_at(m, 32, 1024), &bits, bytes);
	show.dst = tile_at(KILN_SBUF, KILN_I32, 0, 1, 2048, 1);
	show.src[1].space = KILN_DRAM;
	show.src[1].dram.base = load.func;
	memset(&p, 0, sizeof(p));
	for (int e = 0; e < KILN_ENGINES; e++)
		*emit(&p, e, 0) = load;
	*emit(&p, KILN_GPSIMD, 0) = show;
	if (run(m, &p).status != KILN_ST_OK)
		return false;
	memcpy(&got, sbuf_at(m, 0, 2048), 4);
	if (got == (load.func ? want : 0))
		return true;
	printf("# type %d: got %#x, expected %#x\n", dtype, got, want);
	return false;
}

static bool try_iota(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_IOTA };
	unsigned int partitions = any_partitions();
	uint32_t n = any_count();
	uint64_t base = (uint64_t)rng() << 32 | (rng() % 2 ? rng() : rng() % 1000);

	insn.dst = result(any_dtype(), partitions, n, false);
	insn.src[1].space = KILN_DRAM;
	insn.src[1].dram.base = 1;
	insn.src[1].dram.offset = rng();
	for (unsigned int d = 0; d <= insn.dst.ndim; d++)
		*(d < 4 ? &insn.src[1].dram.step[d] : &insn.last_step) =
			rng() % 2 ? rng() : rng() % 16;
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			const int32_t *step = insn.src[1].dram.step;
			uint32_t v = (uint32_t)base + insn.src[1].dram.offset + (uint32_t)step[0] * q;
			uint32_t left = i;

			for (int d = insn.dst.ndim - 1; d >= 0; d--) {
				v += (uint32_t)(d < 3 ? step[d + 1] : insn.last_step) *
				     (left % insn.dst.size[d]);
				left /= insn.dst.size[d];
			}
			if (insn.dst.dtype == KILN_I32 || insn.dst.dtype == KILN_U32)
				memcpy(want_at(0, q, i), &v, 4);
			else
				want_value(0, q, i, (int32_t)v);
		}
	}
	return as_wanted(KILN_GPSIMD, &insn, base);
}

static bool try_partition_reduce(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_PARTITION_REDUCE };
	unsigned int partitions = any_partitions();
	uint32_t n = any_count();

	insn.src[0] = source(any_dtype(), partitions, n, false);
	insn.dst = result(any_dtype(), 1, n, false);
	insn.func = reductions[rng() % 7];
	want_start(0, &insn.dst);
	for (uint32_t i = 0; i < n; i++) {
		float r = value(&insn.src[0], 0, i);

		for (uint32_t q = 1; q < partitions; q++)
			r = kiln_alu_one(insn.func, r, value(&insn.src[0], q, i));
		want_value(0, 0, i, r);
	}
	return as_wanted(KILN_GPSIMD, &insn, 0);
}

static bool try_transpose32(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TRANSPOSE32 };
	uint32_t rows = rng() % 32 + 1, cols = rng() % 32 + 1;
	enum kiln_dtype dtype = any_dtype();

	insn.src[0] = source(dtype, rows, cols, true);
	insn.dst = result(dtype, cols, rows, true);
	want_start(0, &insn.dst);
	for (uint32_t i = 0; i < rows; i++) {
		for (uint32_t j = 0; j < cols; j++)
			memcpy(want_at(0, j, i), element(&insn.src[0], i, j),
			       kiln_dtype_bytes(dtype));
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

static bool try_shuffle(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_STREAM_SHUFFLE };
	unsigned int partitions = (rng() % 4 + 1) * 32;
	enum kiln_dtype dtype = any_dtype();
	uint32_t n = any_count();

	insn.src[0] = source(dtype, partitions, n, true);
	insn.dst = result(dtype, partitions, n, true);
	if (rng() % 4 == 0)
		insn.src[0] = insn.dst;
	insn.col[0] = column_at(KILN_SBUF, KILN_U8, 50 << 10);
	for (unsigned int q = 0; q < KILN_PARTITIONS; q++)
		*(uint8_t *)sbuf_at(m, q, 50 << 10) = rng() % 5 ? rng() % 32 : 255;
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		uint8_t from = *(uint8_t *)sbuf_at(m, insn.dst.partition + q, 50 << 10);

		for (uint32_t i = 0; i < n; i++)
			memcpy(want_at(0, q, i), from == 255 ? element(&insn.dst, q, i) :
			       element(&insn.src[0], q / 32 * 32 + from, i), kiln_dtype_bytes(dtype));
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

/* Few different values, so that there are equal ones. */
static void few_values(const struct kiln_operand *op)
{
	for (uint32_t q = 0; q < op->partitions; q++) {
		for (uint32_t i = 0; i < count_of(op); i++) {
			float x = (int)(rng() % 61) - 30;

			if (rng() % 50 == 0)
				x = rng() % 3 ? rng() % 2 ? -0.0f : INFINITY : NAN;
			kiln_store_one(element(op, q, i), x, op->dtype);
		}
	}
}

/* Is a before b in MAX8's order? */
static bool before(float a, float b)
{
	if (b != b)
		return false;
	if (a != a)
		return true;
	return a > b || (a == b && !signbit(a) && signbit(b));
}

static uint32_t search_count(void)
{
	return rng() % 2 ? 8 : rng() % 4 ? rng() % 1000 + 8 : 6000;
}

/* A tile of its own elements each, that fits below 24 KiB. */
static struct kiln_operand search_tile(uint32_t n, unsigned int partitions)
{
	return random_tile(KILN_SBUF, n > 1008 ? KILN_BF16 : any_dtype(), partitions, n, 0,
			   24 << 10, false);
}

static bool try_max8(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_MAX8 };
	unsigned int partitions = any_partitions();
	uint32_t n = search_count();

	insn.src[0] = search_tile(n, partitions);
	if (rng() % 2)
		few_values(&insn.src[0]);
	insn.dst = result(any_dtype(), partitions, 8, true);
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		bool gone[16384] = { false };

		for (uint32_t j = 0; j < 8; j++) {
			uint32_t best = n;

			for (uint32_t i = 0; i < n; i++) {
				if (!gone[i] && (best == n || before(value(&insn.src[0], q, i),
								     value(&insn.src[0], q, best))))
					best = i;
			}
			gone[best] = true;
			want_value(0, q, j, value(&insn.src[0], q, best));
		}
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

static bool same_value(float a, float b)
{
	return a == b || (a != a && b != b);
}

static bool try_find8(bool replace)
{
	struct kiln_insn insn = { .opcode = replace ? KILN_OP_MATCH_REPLACE8 :
						      KILN_OP_FIND_INDEX8 };
	unsigned int partitions = any_partitions();
	uint32_t n = search_count();
	struct kiln_operand where;

	insn.src[0] = search_tile(n, partitions);
	few_values(&insn.src[0]);
	insn.src[1] = random_tile(KILN_SBUF, any_dtype(), partitions, 8, 24 << 10, 1024, false);
	few_values(&insn.src[1]);
	if (replace) {
		insn.dst = rng() % 2 ? insn.src[0] :
			result(any_dtype(), partitions, n, true);
		insn.imm[0] = -77;
		where = tile_at(KILN_SBUF, KILN_U32, insn.dst.partition, partitions, 60 << 10, 8);
		if (rng() % 2)
			insn.col[0] = column_at(KILN_SBUF, KILN_U32, 60 << 10);
		want_start(0, &insn.dst);
		want_start(1, &where);
		if (!insn.col[0].space)
			want[1].op.space = KILN_SPACE_NONE;
	} else {
		insn.dst = result(rng() % 2 ? KILN_U32 : KILN_U16, partitions, 8, true);
		want_start(0, &insn.dst);
	}
	for (uint32_t q = 0; q < partitions; q++) {
		uint32_t found[8];
		bool gone[16384] = { false };

		/* one value at a time, in the order that they are served */
		for (int k = 0; k < 8; k++) {
			int j = replace ? 7 - k : k;
			float v = value(&insn.src[1], q, j);

			found[j] = UINT32_MAX;
			for (uint32_t i = 0; i < n; i++) {
				if (!gone[i] && same_value(value(&insn.src[0], q, i), v)) {
					found[j] = i;
					gone[i] = true;
					break;
				}
			}
			if (replace)
				memcpy(want_at(1, q, j), &found[j], 4);
			else
				memcpy(want_at(0, q, j), &found[j],
				       kiln_dtype_bytes(insn.dst.dtype));
		}
		for (uint32_t i = 0; replace && i < n; i++)
			want_value(0, q, i, gone[i] ? -77 : value(&insn.src[0], q, i));
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

static bool try_topk(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_TOPK };
	unsigned int partitions = rng() % 8 + 1;
	uint32_t n = rng() % 900 + 1, k = rng() % n + 1;

	insn.src[0] = random_tile(KILN_SBUF, KILN_BF16, partitions, n, 0, 24 << 10, false);
	if (rng() % 2)
		few_values(&insn.src[0]);
	insn.dst = result(KILN_BF16, partitions, k, false);
	insn.src[1] = random_tile(KILN_SBUF, rng() % 2 ? KILN_U32 : KILN_U16, partitions, k,
				  24 << 10, 32 << 10, false);
	want_start(0, &insn.dst);
	want_start(1, &insn.src[1]);
	for (uint32_t q = 0; q < partitions; q++) {
		bool gone[1024] = { false };

		for (uint32_t j = 0; j < k; j++) {
			uint32_t best = n;

			for (uint32_t i = 0; i < n; i++) {
				if (!gone[i] && (best == n || before(value(&insn.src[0], q, i),
								     value(&insn.src[0], q, best))))
					best = i;
			}
			gone[best] = true;
			want_value(0, q, j, value(&insn.src[0], q, best));
			want_value(1, q, j, best);
		}
	}
	return as_wanted(KILN_GPSIMD, &insn, 0);
}

/* Sums in the order of TENSOR_REDUCE: 32 lanes, then halves. */
static float lanes_sum(const float *x, uint32_t n)
{
	float lane[KILN_LANES];

	for (int i = 0; i < KILN_LANES; i++)
		lane[i] = -0.0f;
	for (uint32_t i = 0; i < n; i++)
		lane[i % KILN_LANES] += x[i];
	for (int half = KILN_LANES / 2; half; half /= 2) {
		for (int i = 0; i < half; i++)
			lane[i] += lane[i + half];
	}
	return lane[0];
}

static bool try_bn(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_BN_STATS };
	unsigned int partitions = any_partitions();
	uint32_t n = rng() % 512 + 1, tuples = rng() % 300 + 1;

	insn.src[0] = source(any_dtype(), partitions, n, true);
	insn.dst = result(any_dtype(), partitions, 6, true);
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t odd = 0; odd < 2; odd++) {
			float x[512], mean = 0, m2 = 0;
			uint32_t k = 0;

			for (uint32_t i = odd; i < n; i += 2)
				x[k++] = value(&insn.src[0], q, i);
			if (k) {
				mean = lanes_sum(x, k) / k;
				for (uint32_t i = 0; i < k; i++)
					x[i] = (x[i] - mean) * (x[i] - mean);
				m2 = lanes_sum(x, k);
			}
			want_value(0, q, 3 * odd, k);
			want_value(0, q, 3 * odd + 1, mean);
			want_value(0, q, 3 * odd + 2, m2);
		}
	}
	if (!as_wanted(KILN_VECTOR, &insn, 0))
		return false;

	memset(&insn, 0, sizeof(insn));
	insn.opcode = KILN_OP_BN_AGGR;
	insn.src[0] = source(KILN_F32, partitions, 3 * tuples, true);
	insn.dst = result(KILN_F32, partitions, 2, true);
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		float count = 0, total = 0, mean, m2 = 0;

		for (uint32_t i = 0; i < tuples; i++) {
			count += value(&insn.src[0], q, 3 * i);
			total += value(&insn.src[0], q, 3 * i) * value(&insn.src[0], q, 3 * i + 1);
		}
		mean = total / count;
		for (uint32_t i = 0; i < tuples; i++) {
			float d = value(&insn.src[0], q, 3 * i + 1) - mean;

			m2 += value(&insn.src[0], q, 3 * i + 2) + value(&insn.src[0], q, 3 * i) * (d * d);
		}
		want_value(0, q, 0, mean);
		want_value(0, q, 1, m2 / count);
	}
	return as_wanted(KILN_VECTOR, &insn, 0);
}

/* Philox4x32-10, written once more, with the paper's constants. */
static uint32_t philox_word(uint64_t seed, uint32_t element, uint32_t partition)
{
	uint32_t c[4] = { element / 4, partition, 0, 0 };
	uint32_t k[2] = { seed, seed >> 32 };

	for (int round = 0; round < 10; round++) {
		uint64_t a = 0xd2511f53ull * c[0], b = 0xcd9e8d57ull * c[2];
		uint32_t next[4] = { b >> 32 ^ c[1] ^ k[0], b, a >> 32 ^ c[3] ^ k[1], a };

		memcpy(c, next, sizeof(c));
		k[0] += 0x9e3779b9;
		k[1] += 0xbb67ae85;
	}
	return c[element % 4];
}

static bool try_random(bool dropout)
{
	struct kiln_insn insn = { .opcode = dropout ? KILN_OP_DROPOUT : KILN_OP_RNG };
	enum kiln_engine engine = dropout || rng() % 2 ? KILN_VECTOR : KILN_GPSIMD;
	unsigned int partitions = any_partitions();
	uint32_t n = any_count();
	uint64_t seed = (uint64_t)rng() << 32 | rng();

	insn.dst = result(any_dtype(), partitions, n, engine == KILN_VECTOR);
	insn.src[1].space = KILN_DRAM;
	insn.src[1].dram.base = 1;
	insn.src[1].dram.offset = (int)rng();
	if (dropout) {
		insn.src[0] = source(any_dtype(), partitions, n, true);
		insn.imm[0] = rng() % 100 * 0.01f;
		if (rng() % 2) {
			insn.imm[0] = 0;
			insn.col[0] = column_at(KILN_SBUF, KILN_F32, 512);
		}
	}
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t word = philox_word(seed + (int64_t)insn.src[1].dram.offset, i, q);
			float u = (word >> 8) * 0x1p-24f, prob = insn.imm[0];

			if (insn.col[0].space)
				prob = column_of(&insn.col[0], insn.src[0].partition + q);
			if (dropout)
				want_value(0, q, i, u < prob ? 0 : value(&insn.src[0], q, i));
			else if (R_FLOATS >> insn.dst.dtype & 1)
				want_value(0, q, i, u);
			else	/* integers, the low bytes */
				memcpy(want_at(0, q, i), &word, kiln_dtype_bytes(insn.dst.dtype));
		}
	}
	return as_wanted(engine, &insn, seed);
}

/* The vectors that come with the authors' Random123, which have the counter as words. */
static void test_philox(void)
{
	uint32_t zero[4] = { 0 }, ones[4] = { ~0u, ~0u, ~0u, ~0u }, out[4];

	kiln_philox(0, zero, out);
	ok(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c &&
	   out[3] == 0x9b00dbd8, "philox: all zeros");
	kiln_philox(~0ull, ones, out);
	ok(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 &&
	   out[3] == 0x6d5451fd, "philox: all ones");
}

static bool try_local_gather(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_LOCAL_GATHER };
	unsigned int partitions = (rng() % 8 + 1) * 16;
	enum kiln_dtype dtype = any_dtype();
	uint32_t e = 1u << rng() % 6, rows = rng() % 20 + 1;
	uint32_t n = rng() % (1024 / e) + 1, width = (n + 15) / 16 + rng() % 2;

	insn.func = e;
	insn.src[0] = random_tile(KILN_SBUF, dtype, partitions, rows * e, 0, 24 << 10, true);
	insn.src[1] = random_tile(KILN_SBUF, rng() % 3 ? KILN_U16 : rng() % 2 ? KILN_U32 : KILN_I32,
				  partitions, width, 24 << 10, 8 << 10, false);
	insn.dst = random_tile(KILN_SBUF, dtype, partitions, n * e, 64 << 10, 32 << 10, false);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < width; i++)
			kiln_store_one(element(&insn.src[1], q, i),
				       i * 16 + q % 16 < n ? rng() % rows : rng(),
				       insn.src[1].dtype);
	}
	want_start(0, &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n * e; i++) {
			uint32_t j = i / e, at = value(&insn.src[1], q / 16 * 16 + j % 16, j / 16);

			memcpy(want_at(0, q, i), element(&insn.src[0], q, at * e + i % e),
			       kiln_dtype_bytes(dtype));
		}
	}
	if (!as_wanted(KILN_GPSIMD, &insn, 0))
		return false;
	/* one that leads out */
	kiln_store_one(element(&insn.src[1], 15 % n, 0), rng() % 2 ? rows : 0x80000000u,
		       insn.src[1].dtype);
	*emit(&p, KILN_GPSIMD, 0) = insn;
	return run(m, &p).status == KILN_ST_MEMORY;
}

static void test_each(int level)
{
	struct { const char *name; bool (*one)(void); int rounds; } kinds[] = {
		{ "tensor_tensor_scan", try_scan, 60 },
		{ "tensor_copy_predicated", try_predicated, 60 },
		{ "range_select", try_range, 60 },
		{ "iota", try_iota, 60 },
		{ "select with max", try_select_reduce, 60 },
		{ "tensor_scalar_reduce", try_tensor_scalar_reduce, 60 },
		{ "activation with sum", try_activation_reduce, 60 },
		{ "tensor_reduce", try_reduce, 100 },
		{ "sequence_bounds", try_bounds, 60 },
		{ "integers", try_integers, 40 },
		{ "load_register", try_register, 40 },
		{ "partition_reduce", try_partition_reduce, 60 },
		{ "transpose32", try_transpose32, 100 },
		{ "stream_shuffle", try_shuffle, 60 },
		{ "max8", try_max8, 10 },
		{ "topk", try_topk, 20 },
		{ "bn_stats, bn_aggr", try_bn, 40 },
		{ "local_gather", try_local_gather, 60 },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		bool good = true;

		fill_memory();
		memset(&want[0].op, 0, sizeof(want[0].op));
		for (int round = 0; round < kinds[i].rounds && good; round++) {
			memset(&want[1].op, 0, sizeof(want[1].op));
			good = kinds[i].one();
		}
		ok(good, "%s (%s)", kinds[i].name, kiln_ops_get(level)->name);
	}
	for (int which = 0; which < 4; which++) {
		bool good = true;

		fill_memory();
		memset(&want[1].op, 0, sizeof(want[1].op));
		for (int round = 0; round < 20 && good; round++) {
			memset(&want[1].op, 0, sizeof(want[1].op));
			good = which < 2 ? try_find8(which) : try_random(which == 3);
		}
		ok(good, "%s (%s)", (const char *[]){ "find_index8", "match_replace8", "rng",
						      "dropout" }[which], kiln_ops_get(level)->name);
	}
}

/* Gather and scatter by index, in memory that is otherwise left alone. */
static bool try_index(bool gather)
{
	static uint8_t before_[2 << 20];
	static const enum kiln_dtype dtypes[] = { KILN_F32, KILN_BF16, KILN_U8, KILN_I32 };
	struct kiln_insn insn = { .opcode = gather ? KILN_OP_DMA_GATHER : KILN_OP_DMA_SCATTER };
	enum kiln_dtype dtype = dtypes[rng() % 4];
	unsigned int partitions = rng() % 128 + 1, esize = kiln_dtype_bytes(dtype);
	uint32_t n = any_count(), rows = rng() % 200 + 1, pitch;
	bool add = rng() % 2, drop = rng() % 2, list_in_dram = rng() % 2;
	struct kiln_operand tile, list = { .space = KILN_DRAM, .dtype = dtype };
	uint32_t index[KILN_PARTITIONS], extent = 1;
	uint8_t *base = m->hbm + DATA;
	int bad = -1;

	do {
		tile = random_tile(KILN_SBUF, dtype, partitions, n, 0, 24 << 10, false);
	} while (tile.ndim == 4);
	tile.partition = rng() % (KILN_PARTITIONS - partitions + 1);
	for (int d = tile.ndim - 1; d >= 0; d--) {
		list.dram.step[d + 1] = extent + rng() % 2;
		extent += list.dram.step[d + 1] * (tile.size[d] - 1);
	}
	pitch = extent + rng() % 3;
	list.dram.step[0] = pitch;
	list.dram.base = 1;
	list.dram.offset = 64;
	if ((uint64_t)pitch * rows * esize + 64 > 1 << 20)
		return true;
	for (size_t i = 0; i < sizeof(before_); i += 4)
		*(uint32_t *)(base + i) = float_bits(rng_float());
	for (unsigned int q = 0; q < partitions; q++) {
		index[q] = rng() % rows;
		if (rng() % 40 == 0) {
			index[q] = rng() % 2 ? rows + rng() % 5 : rng() | 0x80000000;
			if (bad < 0)
				bad = q;
		}
	}
	insn.func = rng() % KILN_DMA_RINGS;
	insn.func1 = 2;
	insn.flags = (add ? KILN_F_ACCUMULATE : 0) | (drop ? KILN_F_DROP : 0);
	insn.dst = gather ? tile : list;
	insn.src[0] = gather ? list : tile;
	if (list_in_dram) {
		insn.src[1] = dram_at(rng() % 2 ? KILN_U32 : KILN_I32, 1, 1 << 20, 3, 0);
		for (unsigned int q = 0; q < partitions; q++)
			memcpy(base + (1 << 20) + q * 12, &index[q], 4);
	} else {
		insn.src[1] = tile_at(KILN_SBUF, rng() % 2 ? KILN_U32 : KILN_I32,
				      rng() % (129 - partitions), partitions, 40 << 10, 1);
		for (unsigned int q = 0; q < partitions; q++)
			memcpy(element(&insn.src[1], q, 0), &index[q], 4);
	}
	memcpy(before_, base, sizeof(before_));
	memset(want, 0, sizeof(struct kiln_operand));
	want[0].op = tile;
	for (unsigned int q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t at = index[q] * pitch, left = i;
			uint8_t *there, *here = element(&tile, q, i);

			memcpy(want_at(0, q, i), here, esize);
			if (index[q] >= rows)
				continue;
			for (int d = tile.ndim - 1; d >= 0; d--) {
				at += left % tile.size[d] * list.dram.step[d + 1];
				left /= tile.size[d];
			}
			there = before_ + 64 + at * esize;
			if (gather && add)
				want_value(0, q, i, kiln_load_one(here, dtype) +
					   kiln_load_one(there, dtype));
			else if (gather)
				memcpy(want_at(0, q, i), there, esize);
			else if (add)
				kiln_store_one(there, kiln_load_one(there, dtype) +
					       kiln_load_one(here, dtype), dtype);
			else
				memcpy(there, here, esize);
		}
	}
	if (bad >= 0 && !drop) {
		struct kiln_outcome o;
		bool is_signed = insn.src[1].dtype == KILN_I32;
		uint64_t row = is_signed ? (uint64_t)(int64_t)(int32_t)index[bad] : index[bad];

		memset(&p, 0, sizeof(p));
		movi(&p, KILN_SYNC, 1, DATA);
		movi(&p, KILN_SYNC, 2, rows);
		*emit(&p, KILN_SYNC, 0) = insn;
		o = run(m, &p);
		return o.status == KILN_ST_MEMORY &&
		       o.fault_addr == DATA + 64 + row * pitch * esize;
	}
	memset(&p, 0, sizeof(p));
	movi(&p, KILN_SYNC, 1, DATA);
	movi(&p, KILN_SYNC, 2, rows);
	*emit(&p, KILN_SYNC, 0) = insn;
	if (run(m, &p).status != KILN_ST_OK)
		return false;
	if (memcmp(base, before_, sizeof(before_)))
		return false;
	for (unsigned int q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			if (memcmp(element(&tile, q, i), want_at(0, q, i), esize))
				return false;
		}
	}
	return true;
}

/* Adding, where elements come one after the other to the same place as well. */
static bool try_accumulate(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_DMA_COPY };
	enum kiln_dtype dtype = rng() % 2 ? KILN_F32 : rng() % 2 ? KILN_BF16 : KILN_I32;
	unsigned int partitions = rng() % 128 + 1, esize = kiln_dtype_bytes(dtype);
	uint32_t n = any_count();
	int32_t step0 = rng() % 3 ? n : rng() % 2, step1 = rng() % 3 ? 1 : rng() % 3;
	bool out = rng() % 2;
	static uint8_t copy[1 << 20];
	uint8_t *base = m->hbm + DATA;

	insn.flags = KILN_F_ACCUMULATE;
	insn.dst = tile_at(KILN_SBUF, dtype, 0, partitions, 4096, n);
	insn.src[0] = dram_at(dtype, 1, 0, step0, step1);
	if (out) {
		insn.src[0] = insn.dst;
		insn.dst = dram_at(dtype, 1, 0, step0, step1);
	}
	for (size_t i = 0; i < sizeof(copy); i += 4)
		*(uint32_t *)(base + i) = dtype == KILN_I32 ? rng() % 1000 : float_bits(rng_float());
	memcpy(copy, base, sizeof(copy));
	want_start(0, out ? &insn.src[0] : &insn.dst);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			uint8_t *here = element(&want[0].op, q, i);
			uint8_t *there = copy + (q * step0 + i * step1) * esize;

			if (dtype == KILN_I32)
				*(int32_t *)here = rng() % 1000;
			memcpy(want_at(0, q, i), here, esize);
			if (out)
				kiln_store_one(there, kiln_load_one(there, dtype) +
					       kiln_load_one(here, dtype), dtype);
			else
				want_value(0, q, i, kiln_load_one(here, dtype) +
					   kiln_load_one(there, dtype));
		}
	}
	return as_wanted(KILN_SYNC, &insn, DATA) && !memcmp(copy, base, sizeof(copy));
}

static bool try_dma_transpose(void)
{
	struct kiln_insn insn = { .opcode = KILN_OP_DMA_TRANSPOSE };
	uint32_t rows = rng() % 128 + 1, cols = rng() % 128 + 1;
	bool dram = rng() % 2;

	insn.dst = tile_at(KILN_SBUF, KILN_BF16, rng() % (129 - cols), cols, 8192, rows);
	insn.src[0] = dram ? dram_at(KILN_BF16, 1, 2, cols + 3, 1) :
		tile_at(KILN_SBUF, KILN_BF16, rng() % (129 - rows), rows, 1024, cols);
	want_start(0, &insn.dst);
	for (uint32_t i = 0; i < rows; i++) {
		for (uint32_t j = 0; j < cols; j++)
			memcpy(want_at(0, j, i), dram ? m->hbm + DATA + 2 + (i * (cols + 3) + j) * 2 :
			       element(&insn.src[0], i, j), 2);
	}
	return as_wanted(KILN_SYNC, &insn, DATA);
}

static void test_dma(void)
{
	bool good = true;

	fill_memory();
	memset(&want[1].op, 0, sizeof(want[1].op));
	for (int round = 0; round < 150 && good; round++)
		good = try_index(true);
	ok(good, "dma_gather");
	good = true;
	for (int round = 0; round < 150 && good; round++)
		good = try_index(false);
	ok(good, "dma_scatter");
	good = true;
	for (int round = 0; round < 80 && good; round++)
		good = try_accumulate();
	ok(good, "dma_copy, accumulate");
	good = true;
	for (int round = 0; round < 80 && good; round++)
		good = try_dma_transpose();
	ok(good, "dma_transpose");
}

int main(void)
{
	rng_start();
	m = machine(3);
	test_philox();
	for (int level = 0; level < KILN_OPS_LEVELS; level++) {
		if (!kiln_engine_select(m->core, level)) {
			ok(true, "level %d # SKIP not on this host", level);
			continue;
		}
		test_each(level);
	}
	test_dma();
	machine_free(m);
	return done();
}
