// SPDX-License-Identifier: MIT
/*
 * Each instruction on random operands - shapes, strides, types, partitions -
 * against a straightforward computation, one element at a time.
 */
#include "engine/random.h"
#include "engine_tiles.h"

/* What an element-wise instruction should give for element i of partition p. */
static float s_of(const struct kiln_insn *insn, unsigned int i, uint32_t p)
{
	const struct kiln_column *col = &insn->col[i];

	if (!col->space)
		return insn->imm[i];
	return kiln_load_one(col->space == KILN_PSUM ?
			     psum_at(m, insn->src[0].partition + p, col->addr) :
			     sbuf_at(m, insn->src[0].partition + p, col->addr), col->dtype);
}

static float scalar_op(enum kiln_alu op, float a, float s, bool reverse)
{
	return reverse ? kiln_alu_one(op, s, a) : kiln_alu_one(op, a, s);
}

static float act_of(enum kiln_activation func, float x)
{
	float y;

	kiln_ops_ref.activation(func, &y, &x, 1, -0.0f, 1);
	return y;
}

static bool compare(enum kiln_alu op, int64_t v)
{
	return op == KILN_ALU_EQ ? v == 0 : op == KILN_ALU_NE ? v != 0 : op == KILN_ALU_GE ? v >= 0 :
	       op == KILN_ALU_GT ? v > 0 : op == KILN_ALU_LE ? v <= 0 : v < 0;
}

static float expected(const struct kiln_insn *insn, uint32_t p, uint32_t i)
{
	const struct kiln_operand *a = &insn->src[0], *b = &insn->src[1];
	bool r0 = insn->flags & KILN_F_REVERSE0, r1 = insn->flags & KILN_F_REVERSE1;
	float x = insn->opcode == KILN_OP_MEMSET || insn->opcode == KILN_OP_TENSOR_REDUCE ?
		0 : value(a, p, i);

	switch (insn->opcode) {
	case KILN_OP_TENSOR_TENSOR:
		return kiln_alu_one(insn->func, x, value(b, p, i));
	case KILN_OP_TENSOR_SCALAR:
		x = scalar_op(insn->func, x, s_of(insn, 0, p), r0);
		return scalar_op(insn->func1, x, s_of(insn, 1, p), r1);
	case KILN_OP_SCALAR_TENSOR_TENSOR:
		x = scalar_op(insn->func, x, s_of(insn, 0, p), r0);
		return scalar_op(insn->func1, x, value(b, p, i), r1);
	case KILN_OP_SELECT:
		return value(b, p, i) != 0 ? x : s_of(insn, 0, p);
	case KILN_OP_RECIPROCAL:
		return 1 / x;
	case KILN_OP_MEMSET:
		return insn->imm[0];
	case KILN_OP_ACTIVATION:
		return act_of(insn->func, fmaf(x, s_of(insn, 0, p),
					       b->space ? value(b, p, 0) : insn->imm[1]));
	case KILN_OP_TENSOR_REDUCE: {
		uint32_t inner = a->size[a->ndim - 1];
		float lane[KILN_LANES];

		kiln_reduce_start(insn->func, lane);
		for (uint32_t j = 0; j < inner; j++)
			lane[j % KILN_LANES] = kiln_alu_one(insn->func, lane[j % KILN_LANES],
							    value(a, p, i * inner + j));
		x = kiln_reduce_fold(insn->func, lane);
		return insn->flags & KILN_F_NEGATE ? -x : x;
	}
	case KILN_OP_AFFINE_SELECT: {
		int64_t v = (int64_t)m->args[0] + b->dram.offset + (int64_t)p * b->dram.step[0];
		uint32_t left = i;

		for (int d = a->ndim - 1; d >= 0; d--) {
			v += (int64_t)(left % a->size[d]) *
			     (d < 3 ? b->dram.step[d + 1] : insn->last_step);
			left /= a->size[d];
		}
		return compare(insn->func, v) ? x : insn->imm[0];
	}
	default:
		return x;
	}
}

/* Fill in the operands of a random instruction of this kind. */
static void random_insn(struct kiln_insn *insn, enum kiln_engine engine, bool in_place)
{
	unsigned int partitions = rng() % 3 ? rng() % KILN_PARTITIONS + 1 : 1u << rng() % 8;
	uint32_t n = counts[rng() % (sizeof(counts) / sizeof(counts[0]))];
	bool psum_ok = engine != KILN_GPSIMD;
	struct kiln_operand *a = &insn->src[0];

	insn->imm[0] = rng_float() * 4;
	if (insn->opcode != KILN_OP_MEMSET) {
		*a = psum_ok && rng() % 3 == 0 ?
			random_tile(KILN_PSUM, any_dtype(), partitions, n, 0, 8192, true) :
			random_tile(KILN_SBUF, any_dtype(), partitions, n, 0, 24 << 10, true);
	}
	if (insn->opcode == KILN_OP_AFFINE_SELECT) {
		insn->func = KILN_ALU_EQ + rng() % 6;
		insn->src[1].space = KILN_DRAM;
		insn->src[1].dram.base = 1;
		insn->src[1].dram.offset = rng() % 200 - 100;
		for (unsigned int d = 0; d <= a->ndim; d++)
			*(d < 4 ? &insn->src[1].dram.step[d] : &insn->last_step) = rng() % 7 - 3;
	}
	if (insn->opcode == KILN_OP_TENSOR_REDUCE) {
		static const uint8_t funcs[] = { KILN_ALU_ADD, KILN_ALU_MULTIPLY, KILN_ALU_MAX,
						 KILN_ALU_MIN };

		insn->imm[0] = 0;
		insn->func = funcs[rng() % 4];
		insn->flags = rng() % 2 ? KILN_F_NEGATE : 0;
		n /= a->size[a->ndim - 1];
	}
	insn->dst = psum_ok && rng() % 3 == 0 ?
		random_tile(KILN_PSUM, any_dtype(), partitions, n, 8192, 8192, false) :
		random_tile(KILN_SBUF, any_dtype(), partitions, n, 48 << 10, 24 << 10, false);
	if (in_place && insn->opcode != KILN_OP_MEMSET && insn->opcode != KILN_OP_TENSOR_REDUCE) {
		*a = insn->dst;
		for (unsigned int d = a->ndim; d < 4 && insn->opcode == KILN_OP_AFFINE_SELECT; d++)
			*(d < 3 ? &insn->src[1].dram.step[d + 1] : &insn->last_step) = 0;
	}
	switch (insn->opcode) {
	case KILN_OP_TENSOR_COPY:
	case KILN_OP_RECIPROCAL:
		insn->imm[0] = 0;
		break;
	case KILN_OP_TENSOR_TENSOR:
		insn->imm[0] = 0;
		insn->func = rng() % KILN_ALU_BITWISE;
		insn->src[1] = random_tile(KILN_SBUF, any_dtype(), partitions, n, 24 << 10,
					   24 << 10, true);
		break;
	case KILN_OP_SELECT:
		insn->src[1] = random_tile(KILN_SBUF, KILN_U8, partitions, n, 24 << 10,
					   24 << 10, true);
		break;
	case KILN_OP_SCALAR_TENSOR_TENSOR:
		insn->src[1] = random_tile(KILN_SBUF, any_dtype(), partitions, n, 24 << 10,
					   24 << 10, true);
		/* fall through */
	case KILN_OP_TENSOR_SCALAR:
		insn->func = rng() % KILN_ALU_BITWISE;
		insn->func1 = rng() % KILN_ALU_BITWISE;
		insn->flags = rng() % 4;
		if (insn->opcode == KILN_OP_TENSOR_SCALAR)
			insn->imm[1] = rng_float();
		break;
	case KILN_OP_ACTIVATION:
		insn->func = rng() % KILN_ACTS;
		if (rng() % 2)
			insn->imm[1] = rng_float();
		else
			insn->src[1] = random_tile(KILN_SBUF, any_dtype(), partitions, 1,
						   24 << 10, 1024, false);
		if (rng() % 2) {
			insn->flags = KILN_F_REDUCE;
			insn->col[1] = column_at(KILN_SBUF, any_dtype(), 80 << 10);
		}
		break;
	}
	/* A column in place of a constant. */
	if (rng() % 2 && (insn->opcode == KILN_OP_TENSOR_SCALAR ||
			  insn->opcode == KILN_OP_SCALAR_TENSOR_TENSOR ||
			  insn->opcode == KILN_OP_SELECT || insn->opcode == KILN_OP_ACTIVATION)) {
		insn->imm[0] = 0;
		insn->col[0] = column_at(psum_ok && rng() % 2 ? KILN_PSUM : KILN_SBUF,
					 any_dtype(), 512);
	}
	if (rng() % 2 && insn->opcode == KILN_OP_TENSOR_SCALAR) {
		insn->imm[1] = 0;
		insn->col[1] = column_at(KILN_SBUF, any_dtype(), 1024);
	}
}

static uint8_t wanted[KILN_PARTITIONS * 1024 * 4];

static bool try_one(enum kiln_engine engine, uint8_t opcode)
{
	static struct prog p;
	struct kiln_outcome outcome;
	struct kiln_insn *insn;
	uint32_t n, bytes;
	float sums[KILN_PARTITIONS];
	bool good = true;

	memset(&p, 0, sizeof(p));
	m->args[0] = rng() % 300;
	insn = emit(&p, engine, KILN_OP_LDARG);
	insn->seq.rd = 1;
	insn = emit(&p, engine, opcode);
	insn->label = 77;
	random_insn(insn, engine, rng() % 5 == 0);
	n = count_of(&insn->dst);
	bytes = kiln_dtype_bytes(insn->dst.dtype);
	for (uint32_t q = 0; q < insn->dst.partitions; q++) {
		float lane[KILN_LANES];

		kiln_reduce_start(KILN_ALU_ADD, lane);
		for (uint32_t i = 0; i < n; i++) {
			float v = expected(insn, q, i);

			lane[i % KILN_LANES] = kiln_alu_one(KILN_ALU_ADD, lane[i % KILN_LANES], v);
			if (opcode == KILN_OP_TENSOR_COPY && insn->dst.dtype == insn->src[0].dtype)
				memcpy(wanted + (q * n + i) * bytes,
				       element(&insn->src[0], q, i), bytes);
			else
				kiln_store_one(wanted + (q * n + i) * bytes, v, insn->dst.dtype);
		}
		sums[q] = kiln_reduce_fold(KILN_ALU_ADD, lane);
	}
	outcome = run(m, &p);
	if (outcome.status != KILN_ST_OK) {
		printf("# status %d instruction %u label %u addr %#" PRIx64 "\n", outcome.status,
		       outcome.instruction, outcome.label, outcome.fault_addr);
		return false;
	}
	for (uint32_t q = 0; q < insn->dst.partitions && good; q++) {
		for (uint32_t i = 0; i < n && good; i++) {
			if (memcmp(wanted + (q * n + i) * bytes, element(&insn->dst, q, i), bytes)) {
				printf("# opcode %#x func %u,%u flags %u dtype %u: [%u][%u]\n",
				       opcode, insn->func, insn->func1, insn->flags,
				       insn->dst.dtype, q, i);
				good = false;
			}
		}
	}
	if (opcode == KILN_OP_ACTIVATION && (insn->flags & KILN_F_REDUCE)) {
		for (uint32_t q = 0; q < insn->dst.partitions && good; q++) {
			uint32_t want = 0, got = 0;

			kiln_store_one(&want, sums[q], insn->col[1].dtype);
			memcpy(&got, sbuf_at(m, insn->dst.partition + q, insn->col[1].addr),
			       kiln_dtype_bytes(insn->col[1].dtype));
			if (want != got) {
				printf("# sum of partition %u: %#x, want %#x\n", q, got, want);
				good = false;
			}
		}
	}
	return good;
}

static uint32_t raw(const void *at, uint32_t bytes)
{
	uint32_t word = 0;

	memcpy(&word, at, bytes);
	return word;
}

static uint64_t bit_op(enum kiln_alu op, uint64_t a, uint64_t b)
{
	switch (op) {
	case KILN_ALU_INVERT:
		return ~a;
	case KILN_ALU_BITWISE_AND:
		return a & b;
	case KILN_ALU_BITWISE_OR:
		return a | b;
	case KILN_ALU_BITWISE_XOR:
		return a ^ b;
	case KILN_ALU_LEFT_SHIFT:
		return b < 64 ? a << b : 0;
	case KILN_ALU_RIGHT_SHIFT:
		return b < 64 ? a >> b : 0;
	default:
		return a;
	}
}

static enum kiln_alu any_bitwise(void)
{
	return KILN_ALU_BITWISE + rng() % (KILN_ALU_INTEGER - KILN_ALU_BITWISE);
}

/* Integers as bits. Half of the shift counts are within an element, or little more. */
static bool try_bitwise(bool tensor)
{
	static const enum kiln_dtype types[] = { KILN_I8, KILN_U8, KILN_I16, KILN_U16, KILN_I32,
						 KILN_U32 };
	static struct prog p;
	static uint32_t want[KILN_PARTITIONS * 720];
	enum kiln_dtype type = types[rng() % 6];
	uint32_t bytes = kiln_dtype_bytes(type), n = counts[rng() % 11];
	uint64_t mask = (1ull << 8 * bytes) - 1;
	unsigned int partitions = rng() % 128 + 1;
	struct kiln_insn *insn;
	uint32_t bits[2] = { rng() % 2 ? rng() : rng() % 40, rng() % 2 ? rng() : rng() % 40 };

	memset(&p, 0, sizeof(p));
	insn = emit(&p, KILN_VECTOR, tensor ? KILN_OP_TENSOR_TENSOR : KILN_OP_TENSOR_SCALAR);
	insn->func = any_bitwise();
	insn->src[0] = random_tile(KILN_SBUF, type, partitions, n, 0, 24 << 10, true);
	insn->dst = random_tile(KILN_SBUF, type, partitions, n, 48 << 10, 24 << 10, false);
	if (tensor) {
		insn->src[1] = random_tile(KILN_SBUF, type, partitions, n, 24 << 10, 24 << 10, true);
		for (uint32_t i = 0; rng() % 2 && i < n; i++)
			memset(element(&insn->src[1], rng() % partitions, i), rng() % 34, 1);
	} else {
		insn->func1 = rng() % 3 ? any_bitwise() : KILN_ALU_BYPASS;
		insn->flags = rng() % 2 ? rng() % 4 : 0;
		for (unsigned int i = 0; i < 2; i++) {
			if (rng() % 2)
				insn->col[i] = column_at(KILN_SBUF, type, (80 << 10) + i * 64);
			else
				memcpy(&insn->imm[i], &bits[i], sizeof(bits[i]));
		}
	}
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			uint64_t a = raw(element(&insn->src[0], q, i), bytes);

			for (unsigned int k = 0; k < (tensor ? 1 : 2); k++) {
				uint64_t b = tensor ? raw(element(&insn->src[1], q, i), bytes) :
					     insn->col[k].space ?
					     raw(sbuf_at(m, insn->src[0].partition + q,
							 insn->col[k].addr), bytes) : bits[k] & mask;
				enum kiln_alu op = k ? insn->func1 : insn->func;
				bool reverse = insn->flags & (k ? KILN_F_REVERSE1 : KILN_F_REVERSE0);

				a = bit_op(op, reverse ? b : a, reverse ? a : b) & mask;
			}
			want[q * n + i] = a;
		}
	}
	if (run(m, &p).status != KILN_ST_OK)
		return false;
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			if (raw(element(&insn->dst, q, i), bytes) != want[q * n + i]) {
				printf("# func %u,%u flags %u type %u: %x, want %x\n", insn->func,
				       insn->func1, insn->flags, type,
				       raw(element(&insn->dst, q, i), bytes), want[q * n + i]);
				return false;
			}
		}
	}
	return true;
}

/* Rounding at random: floor(|x| / unit + a number in [0, 1)), in double, where that is exact. */
static bool try_stochastic(bool count)
{
	static const struct { enum kiln_dtype type; int fraction, least; float most; } types[] = {
		{ KILN_BF16, 7, -126, 0x1.fep127f }, { KILN_F16, 10, -14, 65504 },
		{ KILN_TF32, 10, -126, 0x1.ffcp127f }, { KILN_F8E4M3, 3, -6, 240 },
		{ KILN_F8E5M2, 2, -14, 57344 },
	};
	static struct prog p;
	unsigned int t = rng() % 5, partitions = count ? 128 : rng() % 128 + 1, up = 0;
	uint32_t n = count ? 720 : counts[rng() % 11];
	uint64_t seed = (uint64_t)rng() << 32 | rng();
	struct kiln_insn *insn;

	memset(&p, 0, sizeof(p));
	movi(&p, KILN_VECTOR, KILN_SEED_REGISTER, seed);
	insn = emit(&p, KILN_VECTOR, KILN_OP_TENSOR_COPY);
	insn->flags = KILN_F_STOCHASTIC;
	insn->src[0] = random_tile(KILN_SBUF, KILN_F32, partitions, n, 0, 24 << 10, false);
	insn->dst = random_tile(KILN_SBUF, types[t].type, partitions, n, 48 << 10, 24 << 10, false);
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			/* near both ends, and in between */
			float x = ldexpf(rng_float(), (int)(rng() % 3 == 0 ? types[t].least - 6 + rng() % 12 :
							    rng() % 2 ? rng() % 40 - 20 : rng() % 17));

			if (rng() % 50 == 0)
				x = bits_float(rng());
			if (count)	/* 1.3 units of the last place above 1 */
				x = 1 + ldexpf(1.3125f, -types[t].fraction);
			memcpy(element(&insn->src[0], q, i), &x, sizeof(x));
		}
	}
	if (run(m, &p).status != KILN_ST_OK)
		return false;
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t counter[4] = { i / 4, q, 1, 0 }, words[4];
			float x = value(&insn->src[0], q, i), got = value(&insn->dst, q, i), want = x;
			double unit, a = fabs((double)x);
			int exponent = a && a < INFINITY ? ilogb(a) : -1000;

			kiln_philox(seed, counter, words);
			if (exponent < types[t].least)
				exponent = types[t].least;
			unit = ldexp(1, exponent - types[t].fraction);
			if (a < INFINITY)
				want = a < unit * 0x1p-9 ? 0 : floor(a / unit + words[i % 4] * 0x1p-32) * unit;
			if (want > types[t].most)
				want = INFINITY;
			want = copysignf(want, x);
			up += got > 1 + ldexpf(1.5f, -types[t].fraction);
			if (float_bits(got) != float_bits(want) && !(got != got && x != x)) {
				printf("# type %u: %a is %a, want %a\n", types[t].type, x, got, want);
				return false;
			}
		}
	}
	/* 0.3125 of them, with a deviation of 141 */
	return !count || fabs(up - 0.3125 * n * partitions) < 800;
}

static void test_elementwise(int level)
{
	static const struct {
		uint8_t opcode, engine;
		const char *name;
	} kinds[] = {
		{ KILN_OP_ACTIVATION, KILN_SCALAR, "activation" },
		{ KILN_OP_TENSOR_COPY, KILN_VECTOR, "tensor_copy" },
		{ KILN_OP_TENSOR_COPY, KILN_SCALAR, "tensor_copy" },
		{ KILN_OP_TENSOR_COPY, KILN_GPSIMD, "tensor_copy" },
		{ KILN_OP_TENSOR_TENSOR, KILN_VECTOR, "tensor_tensor" },
		{ KILN_OP_TENSOR_TENSOR, KILN_GPSIMD, "tensor_tensor" },
		{ KILN_OP_TENSOR_SCALAR, KILN_VECTOR, "tensor_scalar" },
		{ KILN_OP_TENSOR_SCALAR, KILN_SCALAR, "tensor_scalar" },
		{ KILN_OP_TENSOR_SCALAR, KILN_GPSIMD, "tensor_scalar" },
		{ KILN_OP_SCALAR_TENSOR_TENSOR, KILN_VECTOR, "scalar_tensor_tensor" },
		{ KILN_OP_SCALAR_TENSOR_TENSOR, KILN_GPSIMD, "scalar_tensor_tensor" },
		{ KILN_OP_TENSOR_REDUCE, KILN_VECTOR, "tensor_reduce" },
		{ KILN_OP_SELECT, KILN_VECTOR, "select" },
		{ KILN_OP_RECIPROCAL, KILN_VECTOR, "reciprocal" },
		{ KILN_OP_MEMSET, KILN_VECTOR, "memset" },
		{ KILN_OP_MEMSET, KILN_GPSIMD, "memset" },
		{ KILN_OP_AFFINE_SELECT, KILN_GPSIMD, "affine_select" },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		bool good = true;

		fill_memory();
		for (int round = 0; round < 60 && good; round++)
			good = try_one(kinds[i].engine, kinds[i].opcode);
		ok(good, "%s on engine %u (%s)", kinds[i].name, kinds[i].engine,
		   kiln_ops_get(level)->name);
	}
	bool good = true;

	for (int round = 0; round < 200 && good; round++)
		good = try_bitwise(round & 1);
	ok(good, "bitwise functions (%s)", kiln_ops_get(level)->name);
	good = true;
	for (int round = 0; round < 60 && good; round++)
		good = try_stochastic(round % 20 == 0);
	ok(good, "rounding at random (%s)", kiln_ops_get(level)->name);
}

/* Matmul and transpose with any shapes and strides, against the reference kernel's arithmetic. */
static float flushed_fma(float a, float b, float c)
{
	static uint32_t x, y;
	struct kiln_matmul mm = { .a = &x, .b = &y, .rows = 1, .m = 1, .n = 1, .c = &c, .pitch = 1,
				  .accumulate = true };

	/* the value in the even half; an odd half of +0 leaves everything but -0 alone */
	x = float_bits(a) >> 16;
	y = float_bits(b) >> 16;
	kiln_ops_ref.matmul_bf16(&mm);
	return c;
}

static bool try_matmul(enum kiln_dtype dtype, enum kiln_dtype moving_dtype)
{
	static struct prog p;
	static float sums[KILN_PARTITIONS * 512];
	uint32_t k = rng() % 128 + 1, mcount = rng() % 128 + 1;
	uint32_t n = counts[rng() % 9];
	struct kiln_operand stationary, moving, out;
	struct kiln_outcome outcome;
	struct kiln_insn *insn;
	bool accumulate = rng() % 2;

	stationary = random_tile(KILN_SBUF, dtype, k, mcount, 0, 8 << 10, true);
	moving = random_tile(KILN_SBUF, moving_dtype, k, n, 8 << 10, 32 << 10, true);
	out = random_tile(KILN_PSUM, m->generation > 2 && rng() % 2 ? KILN_BF16 : KILN_F32,
			  mcount, n, 2048, 2048, false);
	memset(&p, 0, sizeof(p));
	insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
	insn->src[0] = stationary;
	insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
	insn->src[0] = moving;
	insn->dst = out;
	insn->flags = accumulate ? KILN_F_ACCUMULATE : 0;
	for (uint32_t i = 0; i < mcount; i++) {
		for (uint32_t j = 0; j < n; j++) {
			float c = accumulate ? value(&out, i, j) : 0;

			for (uint32_t q = 0; q < k; q++) {
				/* pairs: odd, even, odd, even; past the end is +0 */
				uint32_t r = dtype == KILN_BF16 ? q ^ 1 : q;

				if (dtype != KILN_BF16)
					c = fmaf(value(&stationary, q, i), value(&moving, q, j), c);
				else if (r < k)
					c = flushed_fma(value(&stationary, r, i), value(&moving, r, j), c);
				else
					c = flushed_fma(0, 0, c);
				if (dtype == KILN_BF16 && r >= k)
					c = flushed_fma(value(&stationary, q, i), value(&moving, q, j), c);
			}
			if (c != c)
				c = NAN;
			sums[i * n + j] = c;
		}
	}
	outcome = run(m, &p);
	if (outcome.status != KILN_ST_OK) {
		printf("# status %d\n", outcome.status);
		return false;
	}
	for (uint32_t i = 0; i < mcount; i++) {
		for (uint32_t j = 0; j < n; j++) {
			uint32_t want;

			kiln_store_one(&want, sums[i * n + j], out.dtype);
			if (memcmp(element(&out, i, j), &want, kiln_dtype_bytes(out.dtype))) {
				printf("# K %u M %u N %u: [%u][%u] %g, want %g\n", k, mcount, n, i, j,
				       value(&out, i, j), sums[i * n + j]);
				return false;
			}
		}
	}
	return true;
}

/* Two rows of fp8 in each partition count as two of K. */
static bool try_double_row(void)
{
	static const enum kiln_dtype fp8[] = { KILN_F8E4M3, KILN_F8E5M2 };
	static struct prog p;
	static float sums[KILN_PARTITIONS * 512];
	uint32_t k = rng() % 128 + 1, mcount = rng() % 128 + 1, n = counts[rng() % 9];
	struct kiln_operand stationary, moving, out;
	struct kiln_insn *insn;
	bool accumulate = rng() % 2;

	stationary = tile_at(KILN_SBUF, fp8[rng() % 2], 0, k, rng() % 4096, 2);
	stationary.ndim = 2;
	stationary.stride[1] = rng() % 3 + 1;
	stationary.size[1] = mcount;
	stationary.stride[0] = rng() % 2 ? mcount * stationary.stride[1] : 700;
	moving = stationary;
	moving.dtype = fp8[rng() % 2];
	moving.addr = 8192 + rng() % 4096;
	moving.size[1] = n;
	moving.stride[0] = n * moving.stride[1];
	out = random_tile(KILN_PSUM, KILN_F32, mcount, n, 2048, 2048, false);
	memset(&p, 0, sizeof(p));
	insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
	insn->src[0] = stationary;
	insn->flags = KILN_F_DOUBLE_ROW;
	insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
	insn->src[0] = moving;
	insn->dst = out;
	insn->flags = KILN_F_DOUBLE_ROW | (accumulate ? KILN_F_ACCUMULATE : 0);
	for (uint32_t i = 0; i < mcount; i++) {
		for (uint32_t j = 0; j < n; j++) {
			float c = accumulate ? value(&out, i, j) : 0;

			for (uint32_t q = 0; q < 2 * k; q++)
				c = fmaf(value(&stationary, q / 2, q % 2 * mcount + i),
					 value(&moving, q / 2, q % 2 * n + j), c);
			sums[i * n + j] = c != c ? NAN : c;
		}
	}
	if (run(m, &p).status != KILN_ST_OK)
		return false;
	for (uint32_t i = 0; i < mcount; i++) {
		for (uint32_t j = 0; j < n; j++) {
			if (memcmp(element(&out, i, j), &sums[i * n + j], 4)) {
				printf("# K %u M %u N %u: [%u][%u] %g, want %g\n", k, mcount, n, i, j,
				       value(&out, i, j), sums[i * n + j]);
				return false;
			}
		}
	}
	return true;
}

/* Tiles of the array: each has a matrix of its own, until another is loaded over it. */
static bool try_tiles(void)
{
	static const uint8_t sizes[] = { 32, 64, 128 };
	static struct prog p;
	static float sums[4][KILN_PARTITIONS * 64];
	struct kiln_operand stationary[4], moving[4], out[4];
	unsigned int rows = sizes[rng() % 3], columns = sizes[rng() % (rows == 128 ? 2 : 3)];
	unsigned int down = 128 / rows, across = 128 / columns;
	unsigned int tiles = down * across < 4 ? down * across : 4, first = rng();
	enum kiln_dtype dtype = rng() % 2 ? KILN_F32 : KILN_BF16;
	struct kiln_insn *insn;

	memset(&p, 0, sizeof(p));
	for (unsigned int t = 0; t < tiles; t++) {
		unsigned int at = (first + t) % (down * across);
		uint32_t k = rng() % rows + 1, mcount = rng() % columns + 1;

		stationary[t] = tile_at(KILN_SBUF, dtype, at / across * rows, k, t * 1024, mcount);
		moving[t] = tile_at(KILN_SBUF, dtype, at / across * rows, k, 8192 + t * 256, 50);
		out[t] = tile_at(KILN_PSUM, KILN_F32, at % across * columns, mcount,
				 t * KILN_PSUM_BANK_BYTES, 50);
		insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
		insn->src[0] = stationary[t];
		insn->func = rows;
		insn->func1 = columns;
		insn->imm[0] = out[t].partition;
		for (uint32_t i = 0; i < mcount; i++) {
			for (uint32_t j = 0; j < 50; j++) {
				float c = 0;

				for (uint32_t q = 0; q < k; q++) {
					uint32_t r = dtype == KILN_BF16 ? q ^ 1 : q;

					if (dtype == KILN_F32)
						c = fmaf(value(&stationary[t], q, i),
							 value(&moving[t], q, j), c);
					else if (r < k)
						c = flushed_fma(value(&stationary[t], r, i),
								value(&moving[t], r, j), c);
					else
						c = flushed_fma(0, 0, c);
					if (dtype == KILN_BF16 && r >= k)
						c = flushed_fma(value(&stationary[t], q, i),
								value(&moving[t], q, j), c);
				}
				sums[t][i * 50 + j] = c != c ? NAN : c;
			}
		}
	}
	for (unsigned int t = 0; t < tiles; t++) {
		insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
		insn->src[0] = moving[t];
		insn->dst = out[t];
		insn->func = rows;
		insn->func1 = columns;
	}
	if (run(m, &p).status != KILN_ST_OK)
		return false;
	for (unsigned int t = 0; t < tiles; t++) {
		for (uint32_t i = 0; i < out[t].partitions; i++) {
			for (uint32_t j = 0; j < 50; j++) {
				float got = value(&out[t], i, j), c = sums[t][i * 50 + j];

				/* flushed_fma() does not tell the signs of zeros */
				if (float_bits(got) != float_bits(c) && (got || c)) {
					printf("# tile %u of %ux%u: [%u][%u] %g, want %g\n", t, rows,
					       columns, i, j, got, c);
					return false;
				}
			}
		}
	}
	/* the whole array, loaded over them all: then they hold nothing */
	p.insn[KILN_TENSOR][tiles - 1].func = p.insn[KILN_TENSOR][tiles - 1].func1 = 0;
	p.insn[KILN_TENSOR][tiles - 1].imm[0] = 0;
	return run(m, &p).status == KILN_ST_OPERAND;
}

static bool try_transpose(void)
{
	static struct prog p;
	static const enum kiln_dtype dtypes[] = { KILN_F32, KILN_BF16, KILN_U8 };
	enum kiln_dtype dtype = dtypes[rng() % 3];
	uint32_t rows = rng() % 128 + 1, cols = rng() % 128 + 1;
	struct kiln_operand src = random_tile(KILN_SBUF, dtype, rows, cols, 0, 8 << 10, true);
	struct kiln_operand dst = random_tile(KILN_PSUM, dtype, cols, rows, 4096, 2048, false);
	struct kiln_insn *insn;

	memset(&p, 0, sizeof(p));
	insn = emit(&p, KILN_TENSOR, KILN_OP_TRANSPOSE);
	insn->src[0] = src;
	insn->dst = dst;
	if (run(m, &p).status != KILN_ST_OK)
		return false;
	for (uint32_t i = 0; i < rows; i++) {
		for (uint32_t j = 0; j < cols; j++) {
			if (memcmp(element(&src, i, j), element(&dst, j, i), kiln_dtype_bytes(dtype)))
				return false;
		}
	}
	return true;
}

static void test_tensor(int level)
{
	const char *name = kiln_ops_get(level)->name;
	bool good = true;

	fill_memory();
	for (int round = 0; round < 4 && good; round++)
		good = try_matmul(KILN_BF16, KILN_BF16);
	ok(good, "matmul bf16 (%s)", name);
	good = true;
	for (int round = 0; round < 12 && good; round++)
		good = try_matmul(KILN_F32, KILN_F32);
	ok(good, "matmul f32 (%s)", name);
	good = true;
	for (int round = 0; round < 12 && good; round++) {
		static const enum kiln_dtype small[] = { KILN_TF32, KILN_F16, KILN_F8E4M3,
							 KILN_F8E5M2 };

		good = try_matmul(small[rng() % 4], small[rng() % 4]);
	}
	ok(good && try_matmul(KILN_F32, KILN_TF32) && try_matmul(KILN_TF32, KILN_F32),
	   "matmul tf32, f16, fp8 (%s)", name);
	good = true;
	for (int round = 0; round < 8 && good; round++)
		good = try_double_row();
	ok(good, "matmul of double rows (%s)", name);
	good = true;
	for (int round = 0; round < 20 && good; round++)
		good = try_tiles();
	ok(good, "matmul in tiles (%s)", name);
	good = true;
	for (int round = 0; round < 100 && good; round++)
		good = try_transpose();
	ok(good, "transpose (%s)", name);
}

/* The same moving tile twice may be packed once, but not if it was written in between. */
static void test_repack(void)
{
	static struct prog p;
	struct kiln_insn *insn;
	float sum;

	memset(&p, 0, sizeof(p));
	for (unsigned int q = 0; q < KILN_PARTITIONS; q++) {
		*(float *)sbuf_at(m, q, 0) = 1;
		*(float *)sbuf_at(m, q, 64) = 2;
		*(float *)sbuf_at(m, q, 128) = 5;
	}
	insn = emit(&p, KILN_TENSOR, KILN_OP_LOAD_STATIONARY);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 1);
	for (int i = 0; i < 3; i++) {
		insn = emit(&p, KILN_TENSOR, KILN_OP_MATMUL);
		insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 64, 1);
		insn->dst = tile_at(KILN_PSUM, KILN_F32, 0, 1, i * 4, 1);
		insn->post[0] = (struct kiln_sync){ 1, i == 1 };
		insn->wait[0] = (struct kiln_sync){ 2 * (i == 2), i == 2 };
		insn->post[0].sem = i == 1;
	}
	insn = emit(&p, KILN_VECTOR, KILN_OP_TENSOR_COPY);
	insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 128, 1);
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 64, 1);
	insn->wait[0] = (struct kiln_sync){ 1, 1 };
	insn->post[0] = (struct kiln_sync){ 2, 1 };
	ok(run(m, &p).status == KILN_ST_OK, "three matmuls and a write between them");
	sum = *(float *)psum_at(m, 0, 4);
	ok(sum == 256, "the second of the same moving tile: %g", sum);
	sum = *(float *)psum_at(m, 0, 8);
	ok(sum == 640, "the third sees what was written: %g", sum);
}

/* DMA between HBM, host pages and SBUF with any steps. */
static bool try_dma(void)
{
	static struct prog p;
	static uint8_t before[4 << 20];
	static const enum kiln_dtype dtypes[] = { KILN_F32, KILN_BF16, KILN_U8, KILN_I32 };
	enum kiln_dtype dtype = dtypes[rng() % 4];
	uint32_t esize = kiln_dtype_bytes(dtype), n = counts[rng() % 11];
	unsigned int partitions = rng() % 128 + 1;
	int direction = rng() % 3;	/* in, out, both in DRAM */
	struct kiln_operand tile, src, dst;
	struct kiln_outcome outcome;
	struct kiln_insn *insn;
	uint64_t extent = 1, at[2];
	uint8_t *base = m->hbm + DATA;
	unsigned int order[4];

	do {
		tile = random_tile(KILN_SBUF, dtype, partitions, n, 0, 24 << 10, direction == 1);
	} while (tile.ndim == 4);
	tile.partition = rng() % (KILN_PARTITIONS - partitions + 1);
	/* Steps in DRAM: each loop outside of those before it, in any order. */
	for (unsigned int d = 0; d <= tile.ndim; d++)
		order[d] = tile.ndim - d;
	if (rng() % 2) {
		unsigned int a = rng() % (tile.ndim + 1), b = rng() % (tile.ndim + 1), t = order[a];

		order[a] = order[b];
		order[b] = t;
	}
	memset(&dst, 0, sizeof(dst));
	dst.space = KILN_DRAM;
	dst.dtype = dtype;
	for (unsigned int k = 0; k <= tile.ndim; k++) {
		unsigned int d = order[k];
		uint32_t size = d ? tile.size[d - 1] : partitions;

		dst.dram.step[d] = extent + (rng() % 3 ? 0 : rng() % 5);
		extent += (uint64_t)dst.dram.step[d] * (size - 1);
	}
	if (extent * esize > (1 << 20))
		return true;
	src = dst;
	dst.dram.base = 1;
	src.dram.base = 2;
	src.dram.offset = rng() % 64;
	dst.dram.offset = -(int32_t)(rng() % 64);
	at[0] = DATA + 64 + rng() % 5000;
	at[1] = DATA + (2 << 20) + rng() % 5000;

	for (size_t i = 0; i < sizeof(before); i += 4)
		*(uint32_t *)(base + i) = rng();
	memcpy(before, base, sizeof(before));

	memset(&p, 0, sizeof(p));
	movi(&p, KILN_GPSIMD, 1, at[0]);
	movi(&p, KILN_GPSIMD, 2, at[1]);
	insn = emit(&p, KILN_GPSIMD, KILN_OP_DMA_COPY);
	insn->func = rng() % KILN_DMA_RINGS;
	insn->dst = direction ? dst : tile;
	insn->src[0] = direction == 1 ? tile : src;
	if (direction == 2) {
		insn->src[1] = tile;
		insn->src[1].partition = 0;
		insn->src[1].addr = 0;
	}
	outcome = run(m, &p);
	if (outcome.status != KILN_ST_OK) {
		printf("# status %d, instruction %u\n", outcome.status, outcome.instruction);
		return false;
	}
	for (uint32_t q = 0; q < partitions; q++) {
		for (uint32_t i = 0; i < n; i++) {
			int64_t offset = (int64_t)q * dst.dram.step[0];
			uint32_t left = i;
			uint8_t *from, *to;

			for (int d = tile.ndim - 1; d >= 0; d--) {
				offset += (int64_t)(left % tile.size[d]) * dst.dram.step[d + 1];
				left /= tile.size[d];
			}
			offset *= esize;
			from = direction == 1 ? element(&tile, q, i) :
				before + (at[1] - DATA) + src.dram.offset + offset;
			to = direction ? base + (at[0] - DATA) + dst.dram.offset + offset :
				element(&tile, q, i);
			if (memcmp(from, to, esize)) {
				printf("# direction %d partition %u element %u\n", direction, q, i);
				return false;
			}
			if (direction)	/* put it back: the rest must be as it was */
				memcpy(to, before + (to - base), esize);
		}
	}
	if (direction && memcmp(base, before, sizeof(before))) {
		printf("# direction %d wrote beside its elements\n", direction);
		return false;
	}
	return true;
}

static void test_dma(void)
{
	bool good = true;

	fill_memory();
	for (int round = 0; round < 150 && good; round++)
		good = try_dma();
	ok(good, "dma with random patterns");

	/* The same with pages strewn over HBM and some of it in host memory. */
	for (uint64_t i = 0; i < 1024; i++)
		map_page(m, (8ull << 20) + i * 4096, (DATA + (i * 37 % 1024) * 4096) |
			 KILN_PTE_VALID | KILN_PTE_WRITE);
	for (uint64_t i = 0; i < 16; i++)
		map_page(m, (8ull << 20) + i * 8192, i * 4096 | KILN_PTE_VALID | KILN_PTE_WRITE |
			 KILN_PTE_HOST);
	static struct prog p;
	struct kiln_insn *insn;
	struct kiln_outcome outcome;

	for (int strided = 0; strided < 2; strided++) {
		memset(&p, 0, sizeof(p));
		movi(&p, KILN_SYNC, 1, (8ull << 20) + 100);
		insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);
		insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 300);
		insn->src[0] = dram_at(KILN_F32, 1, 0, strided ? 1 : 300, strided ? 128 : 1);
		insn->post[0] = (struct kiln_sync){ 1, 1 };
		insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);
		insn->wait[0] = (struct kiln_sync){ 1, 1 };
		insn->src[0] = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 300);
		insn->dst = dram_at(KILN_F32, 1, 1 << 20, strided ? 1 : 300, strided ? 128 : 1);
		for (size_t i = 0; i < sizeof(m->host); i++)
			m->host[i] = rng();
		outcome = run(m, &p);
		good = outcome.status == KILN_ST_OK;
		for (uint64_t i = 0; i < 128 * 300 * 4 && good; i++) {
			uint64_t va = (8ull << 20) + 100 + i;
			uint64_t page = (va - (8ull << 20)) / 4096;
			uint8_t want = page < 32 && page % 2 == 0 ?
				m->host[page / 2 * 4096 + va % 4096] :
				m->hbm[DATA + (page * 37 % 1024) * 4096 + va % 4096];

			page += 256;
			good = want == m->hbm[DATA + (page * 37 % 1024) * 4096 + va % 4096];
		}
		ok(good, "dma over scattered pages and host memory%s", strided ? ", strided" : "");
	}
}

#define AREA	(1u << 20)
#define ROW	512		/* bytes of SBUF partitions that are looked at */

/*
 * [P, 2, 64] of bf16, the pieces of a row 64 bytes apart in SBUF; in device
 * memory they and the rows have steps of so many bytes. What comes to lie on
 * another is as if one element after the other had been copied.
 */
static bool try_pieces(bool out, int32_t row, int32_t piece)
{
	static uint8_t want[AREA], tile[KILN_PARTITIONS][ROW];
	struct kiln_operand sbuf = { .space = KILN_SBUF, .dtype = KILN_BF16, .addr = 64,
				     .partitions = KILN_PARTITIONS, .ndim = 2,
				     .size = { 2, 64 }, .stride = { 96, 1 } };
	struct kiln_operand dram = dram_at(KILN_BF16, 1, 0, row / 2, piece / 2);
	uint8_t *base = m->hbm + DATA;
	static struct prog p;
	struct kiln_insn *insn;
	struct kiln_outcome o;

	dram.dram.step[2] = 1;
	memset(&p, 0, sizeof(p));
	movi(&p, KILN_SYNC, 1, DATA + AREA / 2);
	insn = emit(&p, KILN_SYNC, KILN_OP_DMA_COPY);
	insn->dst = out ? dram : sbuf;
	insn->src[0] = out ? sbuf : dram;
	for (unsigned int i = 0; i < AREA; i++)
		want[i] = base[i] = rng();
	for (unsigned int q = 0; q < KILN_PARTITIONS; q++)
		for (unsigned int i = 0; i < ROW; i++)
			tile[q][i] = *(uint8_t *)sbuf_at(m, q, i) = rng();
	for (int q = 0; q < KILN_PARTITIONS; q++) {
		for (int i = 0; i < 2; i++) {
			uint8_t *there = want + AREA / 2 + q * row + i * piece;
			uint8_t *here = &tile[q][64 + i * 192];

			memcpy(out ? there : here, out ? here : there, 128);
		}
	}
	o = run(m, &p);
	if (o.status != KILN_ST_OK || memcmp(want, base, AREA)) {
		printf("# rows %d, pieces %d bytes apart: status %d, or device memory is wrong\n",
		       row, piece, o.status);
		return false;
	}
	for (unsigned int q = 0; q < KILN_PARTITIONS; q++) {
		if (memcmp(tile[q], sbuf_at(m, q, 0), ROW)) {
			printf("# rows %d, pieces %d bytes apart: partition %u is wrong\n", row,
			       piece, q);
			return false;
		}
	}
	return true;
}

static void test_pieces(void)
{
	static const int32_t step[] = { 512, 256, 130, 128, 100, 64, 0, -128, -512, 16384 };
	bool good = true;

	for (unsigned int i = 0; i < 9; i++)
		for (unsigned int j = 0; j < 10; j++)
			for (int out = 0; out < 2; out++)
				good = good && try_pieces(out, step[i], step[j]);
	ok(good, "dma of rows in pieces, apart or not");
}

int main(void)
{
	rng_start();
	m = machine(3);
	for (int level = 0; level < KILN_OPS_LEVELS; level++) {
		if (!kiln_engine_select(m->core, level)) {
			ok(true, "level %d # SKIP not on this host", level);
			continue;
		}
		test_elementwise(level);
		test_tensor(level);
	}
	test_repack();
	test_dma();
	test_pieces();
	machine_free(m);
	return done();
}
