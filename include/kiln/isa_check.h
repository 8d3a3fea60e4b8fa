/* SPDX-License-Identifier: MIT */
/*
 * What may stand in an instruction: the rules of isa.def, and the checks made
 * from them. The card's decoder and the assemblers use this one file, so that
 * what one of them lets pass, the other takes. Not installed.
 *
 * What only a register decides (an address) is checked when it is known.
 */
#ifndef KILN_ISA_CHECK_H
#define KILN_ISA_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kiln/isa.h"

/* Where an operand may lie, as sets of spaces; a set with nothing: must be absent. */
#define R_ABSENT	(1 << KILN_SPACE_NONE)
#define R_SBUF		(1 << KILN_SBUF)
#define R_PSUM		(1 << KILN_PSUM)
#define R_DRAM		(1 << KILN_DRAM)
#define R_TILE		(R_SBUF | R_PSUM)

/* Sets of element types: R_F32, ..., and combinations */
enum {
	R_NO_DTYPE = 1 << KILN_DT_NONE,
#define KILN_DTYPE(name, code, bytes, doc) R_##name = 1 << code,
#include "kiln/isa.def"
	R_ANY = (1 << KILN_DTYPES) - 2,
	R_FLOATS = R_F32 | R_BF16 | R_F16 | R_TF32 | R_F8E4M3 | R_F8E5M2,
};

/* Fields of a sequencer instruction */
#define R_RD		(1 << 0)
#define R_RS		(1 << 1)
#define R_RT		(1 << 2)
#define R_SLOT		(1 << 3)
#define R_TARGET	(1 << 4)
#define R_IMM		(1 << 5)

/* Kinds of functions */
enum kiln_func_kind {
	R_NO_FUNC,
	R_ALU,		/* enum kiln_alu */
	R_COMPARE,	/* of these EQ to LT */
	R_REDUCE,	/* ADD, MULTIPLY, MAX, MIN, AND, OR, XOR, and those three bitwise */
	R_ACT,		/* enum kiln_activation */
	R_RING,		/* a number, below KILN_DMA_RINGS */
	R_REGISTER,	/* a register's number */
	R_POWER,	/* 1, 2, 4, 8, 16 or 32 */
	R_ARRAY,	/* rows or columns of a tile: 32, 64 or 128, or 0 */
	R_DIMS,		/* so many dimensions, 0 being 1 */
};

/* A flag with its name: the bits of insn->flags below, one for the name above. */
enum {
#define KILN_FLAG(name, bit, doc) KILN_FLAG_INDEX_##name,
#include "kiln/isa.def"
	KILN_FLAGS,
};
#define R_FLAG(name)	(KILN_F_##name | 1ull << (8 + KILN_FLAG_INDEX_##name))

enum kiln_shape {
#define KILN_SHAPE(name, doc) KILN_SHAPE_##name,
#include "kiln/isa.def"
	KILN_SHAPES,
};

/* Columns: absent, given or not, always there, or else the flag that it comes with. */
#define R_NEVER		0
#define R_MAY		0xff
#define R_ALWAYS	0xfe

/*
 * What becomes of an operand that is not dst. A column that is only read is on
 * the partitions of src[0], any other on those of dst.
 */
enum { R_READ, R_ON_DST, R_WRITTEN, R_WRITTEN8 /* eight elements from the column on */ };

/* Constants: must be 0, are used, or are used unless the column or src[1] is given */
enum { R_MUST_NOT, R_MUST, R_OR_COL, R_OR_SRC1 };

struct kiln_operand_rule {
	const char *name;
	uint8_t spaces;
	uint32_t dtypes;
	uint8_t how;
};

struct kiln_value_rule {
	const char *name;
	uint8_t use;
	uint8_t how;
};

struct kiln_rule {
	const char *name, *doc;
	uint8_t engines;		/* 0: there is no such instruction */
	uint8_t seq;			/* sequencer: R_RD, ...; then nothing below counts */
	struct kiln_operand_rule dst, src[2];
	uint8_t func, func1;		/* enum kiln_func_kind */
	uint64_t flags;			/* R_FLAG() */
	struct kiln_value_rule col[2];
	struct kiln_value_rule imm[2];
	uint8_t shape;			/* enum kiln_shape */
	bool dma;			/* may start at any partition */
	uint8_t since;			/* generation */
	const char *cost;		/* for docs/isa.md; time.c is what counts */
};

static const struct kiln_rule kiln_rules[256] = {
#define KILN_INSN(name_, code, engines_, doc_, ...) \
	[code] = { .name = #name_, .doc = doc_, .engines = engines_, __VA_ARGS__ },
#include "kiln/isa.def"
};

enum kiln_verdict {
	KILN_FITS,
	KILN_NO_INSN,		/* the engine does not have it */
	KILN_BAD_OPERAND,
	KILN_BAD_ADDRESS,	/* beyond SBUF or PSUM */
};

/* What is checked against, and what is wrong. */
struct kiln_check {
	unsigned int generation;
	uint32_t sbuf_bytes, psum_bytes;	/* of a partition */
	uint32_t count;				/* instructions in this stream */
	uint32_t args_bytes;

	uint64_t addr;		/* the last that was looked at */
	const char *operand;	/* or NULL */
	const char *why;	/* printf format of %lld, for the values */
	long long value[4];
};

static inline enum kiln_verdict kiln_wrong(struct kiln_check *c, const char *operand,
					   const char *why, long long v0, long long v1,
					   long long v2, long long v3)
{
	c->operand = operand;
	c->why = why;
	c->value[0] = v0;
	c->value[1] = v1;
	c->value[2] = v2;
	c->value[3] = v3;
	return KILN_BAD_OPERAND;
}

static inline bool kiln_is_sequencer(uint8_t opcode)
{
	return opcode < KILN_OP_DMA_COPY;
}

static inline bool kiln_is_zero(const void *data, size_t bytes)
{
	const uint8_t *byte = (const uint8_t *)data;
	uint8_t any = 0;

	while (bytes--)
		any |= *byte++;
	return !any;
}

/* Elements of the outer ndim dimensions. */
static inline uint64_t kiln_elements(const struct kiln_operand *op, unsigned int ndim)
{
	uint64_t n = 1;

	for (unsigned int d = 0; d < ndim; d++)
		n *= op->size[d];
	return n;
}

/*
 * The bytes [lo, hi) that an operand touches in each of its partitions, of
 * which limit are there; reg is the value of its register. *at is the byte
 * that was complained about, or the first.
 */
static inline enum kiln_verdict kiln_range(const struct kiln_operand *op, uint64_t reg,
					   uint32_t limit, uint32_t *lo, uint32_t *hi,
					   uint64_t *at)
{
	int64_t esize = kiln_dtype_bytes((enum kiln_dtype)op->dtype);
	uint64_t addr = op->addr + reg;
	int64_t first = 0, last = 0;

	*at = addr;
	if (addr & (esize - 1))
		return KILN_BAD_OPERAND;
	if (addr >= limit)
		return KILN_BAD_ADDRESS;
	for (unsigned int d = 0; d < op->ndim; d++) {
		int64_t reach = (int64_t)(op->size[d] - 1) * op->stride[d] * esize;

		if (reach < 0)
			first += reach;
		else
			last += reach;
	}
	first += addr;
	last += addr;
	if (first < 0) {
		*at = first;
		return KILN_BAD_ADDRESS;
	}
	if (last >= limit) {
		*at = last;
		return KILN_BAD_ADDRESS;
	}
	*lo = first;
	*hi = last + esize;
	return KILN_FITS;
}

static inline uint32_t kiln_limit(const struct kiln_check *c, uint8_t space)
{
	return space == KILN_PSUM ? c->psum_bytes : c->sbuf_bytes;
}

/* An operand has fewer elements, so that every index fits in 31 bits. */
#define KILN_MAX_ELEMENTS	(1ull << 31)

/* An operand in SBUF or PSUM. */
static inline enum kiln_verdict kiln_check_tile(struct kiln_check *c, const char *name,
						const struct kiln_operand *op, bool dma)
{
	uint32_t lo, hi;
	uint64_t count = 1;
	enum kiln_verdict verdict;

	if (op->reg >= KILN_REGISTERS)
		return kiln_wrong(c, name, "register %lld of 64", op->reg, 0, 0, 0);
	if (op->reserved)
		return kiln_wrong(c, name, "a reserved field is not 0", 0, 0, 0, 0);
	if (!op->ndim || op->ndim > 4)
		return kiln_wrong(c, name, "%lld dimensions, 1 to 4", op->ndim, 0, 0, 0);
	if (!op->partitions || op->partition + op->partitions > KILN_PARTITIONS)
		return kiln_wrong(c, name, "partitions %lld to %lld of 128", op->partition,
				  op->partition + op->partitions, 0, 0);
	if (!dma && op->partition % (op->partitions > 64 ? 128 :
				     op->partitions > 32 ? 64 : 32))
		return kiln_wrong(c, name, "of %lld partitions starts at %lld: 0, from 64 "
				  "down also 64, from 32 down also 32 and 96",
				  op->partitions, op->partition, 0, 0);
	for (unsigned int d = 0; d < 4; d++) {
		if (d < op->ndim) {
			count *= op->size[d];
			if (!count)
				return kiln_wrong(c, name, "size or stride of dimension %lld "
						  "is 0 or does not fit", d, 0, 0, 0);
			if (count >= KILN_MAX_ELEMENTS)
				return kiln_wrong(c, name, "2^31 elements or more", 0, 0, 0, 0);
		} else if (op->size[d] || op->stride[d]) {
			return kiln_wrong(c, name, "dimension %lld of %lld is not 0", d,
					  op->ndim, 0, 0);
		}
	}
	if (op->reg)
		return KILN_FITS;
	verdict = kiln_range(op, 0, kiln_limit(c, op->space), &lo, &hi, &c->addr);
	if (verdict == KILN_BAD_OPERAND)
		kiln_wrong(c, name, "byte %lld is not aligned to its elements", op->addr,
			   0, 0, 0);
	else if (verdict == KILN_BAD_ADDRESS)
		kiln_wrong(c, name, "bytes %lld of %lld", (int64_t)c->addr,
			   kiln_limit(c, op->space), 0, 0);
	return verdict;
}

static inline enum kiln_verdict kiln_check_column(struct kiln_check *c, const char *name,
						  const struct kiln_column *col)
{
	uint32_t size = kiln_dtype_bytes((enum kiln_dtype)col->dtype);

	if (col->space != KILN_SBUF && col->space != KILN_PSUM)
		return kiln_wrong(c, name, "a column lies in SBUF or PSUM", 0, 0, 0, 0);
	if (!col->dtype || col->dtype >= KILN_DTYPES || col->reg >= KILN_REGISTERS ||
	    col->reserved)
		return kiln_wrong(c, name, "a column has a wrong type, register or reserved field",
				  0, 0, 0, 0);
	if (col->reg)
		return KILN_FITS;
	c->addr = col->addr;
	if (col->addr % size)
		return kiln_wrong(c, name, "column: byte %lld is not aligned to its elements",
				  col->addr, 0, 0, 0);
	if (col->addr > kiln_limit(c, col->space) - size) {
		kiln_wrong(c, name, "column at byte %lld of %lld", col->addr,
			   kiln_limit(c, col->space), 0, 0);
		return KILN_BAD_ADDRESS;
	}
	return KILN_FITS;
}

/* dims: sizes of the side that the pattern goes with. */
static inline enum kiln_verdict kiln_check_dram(struct kiln_check *c, const char *name,
						const struct kiln_operand *op, unsigned int dims)
{
	if (op->partition || op->partitions ||
	    !kiln_is_zero(op->dram.reserved, sizeof(op->dram.reserved)))
		return kiln_wrong(c, name, "a field that DRAM does not have is not 0", 0, 0, 0, 0);
	if (op->dram.base >= KILN_REGISTERS)
		return kiln_wrong(c, name, "register %lld of 64", op->dram.base, 0, 0, 0);
	if (dims > 3)
		return kiln_wrong(c, name, "%lld dimensions, 3 at most", dims, 0, 0, 0);
	for (unsigned int d = dims; d < 3; d++)
		if (op->dram.step[d + 1])
			return kiln_wrong(c, name, "a step for dimension %lld of %lld", d, dims,
					  0, 0);
	return KILN_FITS;
}

/* A step for each of dims dimensions, the fourth apart. */
static inline enum kiln_verdict kiln_check_terms(struct kiln_check *c,
						 const struct kiln_insn *insn, unsigned int dims)
{
	if (insn->last_step && dims < 4)
		return kiln_wrong(c, "terms", "a step for dimension 3 of %lld", dims, 0, 0, 0);
	return kiln_check_dram(c, "terms", &insn->src[1], dims < 3 ? dims : 3);
}

static inline enum kiln_verdict kiln_check_func(struct kiln_check *c, uint8_t kind,
						uint8_t func)
{
	switch (kind) {
	case R_ALU:
		if (func < KILN_ALU_OPS)
			return KILN_FITS;
		break;
	case R_COMPARE:
		if (func >= KILN_ALU_EQ && func <= KILN_ALU_LT)
			return KILN_FITS;
		return kiln_wrong(c, NULL, "function %lld is not a comparison", func, 0, 0, 0);
	case R_REDUCE:
		if (func == KILN_ALU_ADD || func == KILN_ALU_MULTIPLY || func == KILN_ALU_MAX ||
		    func == KILN_ALU_MIN || (func >= KILN_ALU_AND && func <= KILN_ALU_XOR) ||
		    (func >= KILN_ALU_BITWISE_AND && func <= KILN_ALU_BITWISE_XOR))
			return KILN_FITS;
		return kiln_wrong(c, NULL, "function %lld: ADD, MULTIPLY, MAX, MIN, AND, OR, XOR, or "
				  "one of the last three bitwise", func, 0, 0, 0);
	case R_ACT:
		if (func < KILN_ACTS)
			return KILN_FITS;
		break;
	case R_RING:
		if (func < KILN_DMA_RINGS)
			return KILN_FITS;
		return kiln_wrong(c, NULL, "ring %lld: 0 to 15", func, 0, 0, 0);
	case R_REGISTER:
		if (func < KILN_REGISTERS)
			return KILN_FITS;
		return kiln_wrong(c, NULL, "register %lld of 64", func, 0, 0, 0);
	case R_POWER:
		if (func && func <= 32 && !(func & (func - 1)))
			return KILN_FITS;
		return kiln_wrong(c, NULL, "%lld elements: 1, 2, 4, 8, 16 or 32", func, 0, 0, 0);
	case R_ARRAY:
		if (!func || func == 32 || func == 64 || func == 128)
			return KILN_FITS;
		return kiln_wrong(c, NULL, "a tile of %lld: 32, 64 or 128", func, 0, 0, 0);
	case R_DIMS:
		if (func <= 4)
			return KILN_FITS;
		return kiln_wrong(c, NULL, "%lld dimensions: 1 to 4, or 0 for 1", func, 0, 0, 0);
	default:
		if (!func)
			return KILN_FITS;
		return kiln_wrong(c, NULL, "a function, %lld, where there is none", func, 0, 0, 0);
	}
	return kiln_wrong(c, NULL, "function %lld does not exist", func, 0, 0, 0);
}

/* One PSUM bank; where a register moves the operand, the engine checks again. */
static inline enum kiln_verdict kiln_check_bank(struct kiln_check *c, const char *name,
						const struct kiln_operand *op)
{
	uint32_t lo, hi;
	uint64_t at;

	if (op->reg)
		return KILN_FITS;
	if (kiln_range(op, 0, kiln_limit(c, op->space), &lo, &hi, &at) != KILN_FITS)
		return KILN_BAD_ADDRESS;
	c->addr = lo;
	if (lo / KILN_PSUM_BANK_BYTES == (hi - 1) / KILN_PSUM_BANK_BYTES)
		return KILN_FITS;
	return kiln_wrong(c, name, "not in one bank", 0, 0, 0, 0);
}

/* Both have the same partitions and number of elements. */
static inline enum kiln_verdict kiln_check_same(struct kiln_check *c, const char *name,
						const struct kiln_operand *op,
						const struct kiln_operand *as)
{
	if (op->partitions != as->partitions)
		return kiln_wrong(c, name, "operands of %lld and %lld partitions",
				  as->partitions, op->partitions, 0, 0);
	if (kiln_elements(op, op->ndim) != kiln_elements(as, as->ndim))
		return kiln_wrong(c, name, "operands of %lld and %lld elements",
				  kiln_elements(as, as->ndim), kiln_elements(op, op->ndim),
				  0, 0);
	return KILN_FITS;
}

/* [partitions, n] */
static inline enum kiln_verdict kiln_check_sized(struct kiln_check *c, const char *name,
						 const struct kiln_operand *op,
						 long long partitions, long long n)
{
	if (op->partitions == partitions && (long long)kiln_elements(op, op->ndim) == n)
		return KILN_FITS;
	return kiln_wrong(c, name, "[%lld, %lld], not [%lld, %lld]", op->partitions,
			  kiln_elements(op, op->ndim), partitions, n);
}

static inline enum kiln_verdict kiln_check_dma(struct kiln_check *c,
					       const struct kiln_insn *insn)
{
	const struct kiln_operand *dst = &insn->dst, *src = &insn->src[0];
	const struct kiln_operand *shape;
	enum kiln_verdict verdict = KILN_FITS;

	if (dst->space == KILN_DRAM && src->space == KILN_DRAM) {
		shape = &insn->src[1];
		if (shape->space != KILN_SBUF || shape->partition || shape->addr || shape->reg)
			return kiln_wrong(c, "shape", "both sides are DRAM: wanted in SBUF, at "
					  "partition 0 and byte 0", 0, 0, 0, 0);
	} else {
		if (dst->space == KILN_SBUF && src->space == KILN_SBUF)
			return kiln_wrong(c, NULL, "neither side is DRAM", 0, 0, 0, 0);
		if (insn->src[1].space)
			return kiln_wrong(c, "shape", "only if both sides are DRAM", 0, 0, 0, 0);
		shape = dst->space == KILN_SBUF ? dst : src;
	}
	if (kiln_dtype_bytes((enum kiln_dtype)dst->dtype) !=
	    kiln_dtype_bytes((enum kiln_dtype)src->dtype) ||
	    kiln_dtype_bytes((enum kiln_dtype)shape->dtype) !=
	    kiln_dtype_bytes((enum kiln_dtype)src->dtype))
		return kiln_wrong(c, NULL, "elements of different sizes", 0, 0, 0, 0);
	if ((insn->flags & KILN_F_ACCUMULATE) && dst->dtype != src->dtype)
		return kiln_wrong(c, NULL, "src and dst are not of one type", 0, 0, 0, 0);
	if (dst->space == KILN_DRAM)
		verdict = kiln_check_dram(c, "dst", dst, shape->ndim);
	if (src->space == KILN_DRAM && verdict == KILN_FITS)
		verdict = kiln_check_dram(c, "src", src, shape->ndim);
	return verdict;
}

/* One side is a tile, the other rows of DRAM that a list names. */
static inline enum kiln_verdict kiln_check_index(struct kiln_check *c,
						 const struct kiln_insn *insn)
{
	const struct kiln_operand *dst = &insn->dst, *src = &insn->src[0];
	const struct kiln_operand *index = &insn->src[1];
	bool gather = src->space == KILN_DRAM;
	const struct kiln_operand *tile = gather ? dst : src, *rows = gather ? src : dst;
	enum kiln_verdict verdict;

	if (dst->dtype != src->dtype)
		return kiln_wrong(c, NULL, "src and dst are not of one type", 0, 0, 0, 0);
	verdict = kiln_check_dram(c, gather ? "src" : "dst", rows, tile->ndim);
	if (verdict != KILN_FITS)
		return verdict;
	if (index->space == KILN_DRAM)
		return kiln_check_dram(c, "index", index, 0);
	return kiln_check_sized(c, "index", index, tile->partitions, 1);
}

static inline enum kiln_verdict kiln_check_dma_transpose(struct kiln_check *c,
							 const struct kiln_insn *insn)
{
	const struct kiln_operand *dst = &insn->dst, *src = &insn->src[0];

	if (dst->dtype != src->dtype || kiln_dtype_bytes((enum kiln_dtype)dst->dtype) != 2)
		return kiln_wrong(c, NULL, "src and dst are not of one type of two bytes",
				  0, 0, 0, 0);
	if (dst->ndim != 1)
		return kiln_wrong(c, "dst", "%lld dimensions, not 1", dst->ndim, 0, 0, 0);
	if (src->space == KILN_DRAM)
		return kiln_check_dram(c, "src", src, 1);
	if (src->ndim != 1)
		return kiln_wrong(c, "src", "%lld dimensions, not 1", src->ndim, 0, 0, 0);
	return kiln_check_sized(c, "src", src, dst->size[0], dst->partitions);
}

/* Of so many elements, from least to most. */
static inline enum kiln_verdict kiln_check_count(struct kiln_check *c, const char *name,
						 const struct kiln_operand *op,
						 long long least, long long most)
{
	long long n = kiln_elements(op, op->ndim);

	if (n >= least && n <= most)
		return KILN_FITS;
	return kiln_wrong(c, name, "%lld elements, %lld to %lld", n, least, most, 0);
}

/* GpSimd's gather, whose func is known to be good. */
static inline enum kiln_verdict kiln_check_gather(struct kiln_check *c,
						  const struct kiln_insn *insn)
{
	const struct kiln_operand *dst = &insn->dst, *src = &insn->src[0];
	const struct kiln_operand *index = &insn->src[1];
	uint64_t n = kiln_elements(dst, dst->ndim) / insn->func;
	enum kiln_verdict verdict;

	if (dst->partitions % 16 || dst->partitions != src->partitions ||
	    dst->partitions != index->partitions)
		return kiln_wrong(c, NULL, "%lld, %lld and %lld partitions: the same multiple of 16",
				  dst->partitions, src->partitions, index->partitions, 0);
	if (dst->dtype != src->dtype)
		return kiln_wrong(c, NULL, "src and dst are not of one type", 0, 0, 0, 0);
	if (kiln_elements(dst, dst->ndim) % insn->func ||
	    kiln_elements(src, src->ndim) % insn->func)
		return kiln_wrong(c, NULL, "%lld and %lld elements, not in pieces of %lld",
				  kiln_elements(src, src->ndim), kiln_elements(dst, dst->ndim),
				  insn->func, 0);
	verdict = kiln_check_count(c, "src", src, 1, 65535);
	if (verdict != KILN_FITS)
		return verdict;
	if (n > 4096 || (n + 15) / 16 > kiln_elements(index, index->ndim))
		return kiln_wrong(c, "index", "%lld indices, of %lld there and 4096 at most", n,
				  16 * kiln_elements(index, index->ndim), 0, 0);
	return KILN_FITS;
}

/* Two rows of fp8 in each partition. */
static inline enum kiln_verdict kiln_check_double(struct kiln_check *c,
						  const struct kiln_operand *op)
{
	if (c->generation < 2) {
		kiln_wrong(c, "double_row", "there from generation 2 on, not in %lld",
			   c->generation, 0, 0, 0);
		return KILN_NO_INSN;
	}
	if (op->dtype != KILN_F8E4M3 && op->dtype != KILN_F8E5M2)
		return kiln_wrong(c, "src", "double rows are of fp8", 0, 0, 0, 0);
	if (op->ndim < 2 || op->size[0] != 2)
		return kiln_wrong(c, "src", "the outermost of %lld dimensions is %lld, not the two "
				  "rows", op->ndim, op->size[0], 0, 0);
	return KILN_FITS;
}

/* The tile of the array: its matrix has its rows at src's partitions, and m columns from column on. */
static inline enum kiln_verdict kiln_check_array(struct kiln_check *c,
						 const struct kiln_insn *insn,
						 const struct kiln_operand *src,
						 float column, long long m)
{
	unsigned int rows = insn->func ? insn->func : 128;
	unsigned int columns = insn->func1 ? insn->func1 : 128;
	unsigned int at = column > 0 && column < 128 ? (unsigned int)column : 0;

	if (!insn->func && !insn->func1) {
		if (insn->opcode == KILN_OP_MATMUL || !column)
			return KILN_FITS;
		return kiln_wrong(c, "column", "given without a tile", 0, 0, 0, 0);
	}
	if (c->generation < 2 && (rows == 32 || columns == 32)) {
		kiln_wrong(c, NULL, "tiles of 32: there from generation 2 on, not in %lld",
			   c->generation, 0, 0, 0);
		return KILN_NO_INSN;
	}
	if (insn->flags & KILN_F_DOUBLE_ROW)
		return kiln_wrong(c, NULL, "a tile of double rows", 0, 0, 0, 0);
	if (src->partition % rows || src->partitions > rows)
		return kiln_wrong(c, "src", "partitions %lld to %lld, in tiles of %lld rows",
				  src->partition, src->partition + src->partitions - 1, rows, 0);
	if (at != column || at % columns || m > columns)
		return kiln_wrong(c, NULL, "%lld columns from %lld on, in tiles of %lld", m,
				  (long long)at, columns, 0);
	return KILN_FITS;
}

/* Sizes of the operands against each other. They are known to be well formed. */
static inline enum kiln_verdict kiln_check_shape(struct kiln_check *c,
						 const struct kiln_insn *insn,
						 const struct kiln_rule *rule)
{
	const struct kiln_operand *dst = &insn->dst, *a = &insn->src[0], *b = &insn->src[1];
	long long out = kiln_elements(dst, dst->space == KILN_DRAM ? 0 : dst->ndim);
	long long in = kiln_elements(a, a->space == KILN_DRAM ? 0 : a->ndim);
	enum kiln_verdict verdict;

	switch (rule->shape) {
	case KILN_SHAPE_SAME:
		if (a->space == KILN_PSUM && b->space == KILN_PSUM)
			return kiln_wrong(c, NULL, "both sources in PSUM", 0, 0, 0, 0);
		verdict = kiln_check_same(c, "src", a, dst);
		if (verdict == KILN_FITS && b->space)
			verdict = kiln_check_same(c, rule->src[1].name, b, dst);
		return verdict;
	case KILN_SHAPE_STATIONARY:
		verdict = kiln_check_array(c, insn, a, insn->imm[0],
					   insn->flags & KILN_F_DOUBLE_ROW ? in / 2 : in);
		if (verdict != KILN_FITS)
			return verdict;
		if (insn->flags & KILN_F_DOUBLE_ROW) {
			verdict = kiln_check_double(c, a);
			if (verdict != KILN_FITS)
				return verdict;
			in /= 2;
		}
		if (in > KILN_MATMUL_MAX_M)
			return kiln_wrong(c, "src", "%lld columns, 128 at most", in, 0, 0, 0);
		return KILN_FITS;
	case KILN_SHAPE_MATMUL:
		verdict = kiln_check_array(c, insn, a, dst->partition, dst->partitions);
		if (verdict != KILN_FITS)
			return verdict;
		if (insn->flags & KILN_F_DOUBLE_ROW) {
			verdict = kiln_check_double(c, a);
			if (verdict != KILN_FITS)
				return verdict;
			in /= 2;
		}
		if (in > KILN_MATMUL_MAX_N || in != out)
			return kiln_wrong(c, NULL, "%lld columns into %lld, 512 at most", in, out,
					  0, 0);
		if (dst->dtype == KILN_BF16 && c->generation < 3)
			return kiln_wrong(c, "dst", "bf16: there from generation 3 on, not in %lld",
					  c->generation, 0, 0, 0);
		return kiln_check_bank(c, "dst", dst);
	case KILN_SHAPE_TRANSPOSE:
		if (in > KILN_PARTITIONS || dst->partitions != in || out != a->partitions)
			return kiln_wrong(c, NULL, "src [%lld, %lld], dst [%lld, %lld]",
					  a->partitions, in, dst->partitions, out);
		if (dst->dtype != a->dtype)
			return kiln_wrong(c, NULL, "src and dst are not of one type", 0, 0, 0, 0);
		return kiln_check_bank(c, "dst", dst);
	case KILN_SHAPE_ACTIVATION:
		if (b->space && (kiln_elements(b, b->ndim) != 1 || b->partitions != a->partitions))
			return kiln_wrong(c, "bias", "[%lld, %lld], not [%lld, 1]", b->partitions,
					  kiln_elements(b, b->ndim), a->partitions, 0);
		return kiln_check_same(c, "src", a, dst);
	case KILN_SHAPE_REDUCE:
		if (insn->func1 > a->ndim)
			return kiln_wrong(c, "src", "%lld dimensions, %lld of them to go",
					  a->ndim, insn->func1, 0, 0);
		in = kiln_elements(a, a->ndim - (insn->func1 ? insn->func1 : 1));
		if (out != in || dst->partitions != a->partitions)
			return kiln_wrong(c, NULL, "dst [%lld, %lld] for a result [%lld, %lld]",
					  dst->partitions, out, a->partitions, in);
		return KILN_FITS;
	case KILN_SHAPE_AFFINE:
		verdict = kiln_check_terms(c, insn, a->ndim);
		return verdict == KILN_FITS ? kiln_check_same(c, "src", a, dst) : verdict;
	case KILN_SHAPE_DMA:
		return kiln_check_dma(c, insn);
	case KILN_SHAPE_DMA_INDEX:
		return kiln_check_index(c, insn);
	case KILN_SHAPE_DMA_TRANSPOSE:
		return kiln_check_dma_transpose(c, insn);
	case KILN_SHAPE_RANGE:
		verdict = kiln_check_same(c, "src", a, dst);
		if (verdict == KILN_FITS && b->space)
			verdict = kiln_check_sized(c, "max", b, dst->partitions, 1);
		return verdict;
	case KILN_SHAPE_TRANSPOSE32:
		if (a->partitions > 32 || in > 32 || dst->partitions != in ||
		    out != a->partitions)
			return kiln_wrong(c, NULL, "src [%lld, %lld], dst [%lld, %lld]",
					  a->partitions, in, dst->partitions, out);
		if (dst->dtype != a->dtype)
			return kiln_wrong(c, NULL, "src and dst are not of one type", 0, 0, 0, 0);
		return KILN_FITS;
	case KILN_SHAPE_SHUFFLE:
		if (dst->partitions % 32)
			return kiln_wrong(c, "dst", "%lld partitions: 32, 64, 96 or 128",
					  dst->partitions, 0, 0, 0);
		if (dst->dtype != a->dtype)
			return kiln_wrong(c, NULL, "src and dst are not of one type", 0, 0, 0, 0);
		return kiln_check_same(c, "src", a, dst);
	case KILN_SHAPE_MAX8:
		verdict = kiln_check_count(c, "src", a, 8, 16384);
		return verdict == KILN_FITS ?
			kiln_check_sized(c, "dst", dst, a->partitions, 8) : verdict;
	case KILN_SHAPE_FIND8:
	case KILN_SHAPE_REPLACE8:
		verdict = kiln_check_count(c, "src", a, 8, 16384);
		if (verdict == KILN_FITS)
			verdict = kiln_check_sized(c, "vals", b, a->partitions, 8);
		if (verdict == KILN_FITS)
			verdict = rule->shape == KILN_SHAPE_FIND8 ?
				kiln_check_sized(c, "dst", dst, a->partitions, 8) :
				kiln_check_same(c, "src", a, dst);
		return verdict;
	case KILN_SHAPE_BN_STATS:
		verdict = kiln_check_count(c, "src", a, 1, 512);
		return verdict == KILN_FITS ?
			kiln_check_sized(c, "dst", dst, a->partitions, 6) : verdict;
	case KILN_SHAPE_BN_AGGR:
		if (in % 3)
			return kiln_wrong(c, "src", "%lld elements, no multiple of 3", in, 0, 0, 0);
		return kiln_check_sized(c, "dst", dst, a->partitions, 2);
	case KILN_SHAPE_SEED:
		verdict = kiln_check_dram(c, "seed", b, 0);
		if (verdict == KILN_FITS && b->dram.step[0])
			return kiln_wrong(c, "seed", "a step", 0, 0, 0, 0);
		if (verdict == KILN_FITS && a->space)
			verdict = kiln_check_same(c, "src", a, dst);
		return verdict;
	case KILN_SHAPE_IOTA:
		return kiln_check_terms(c, insn, dst->ndim);
	case KILN_SHAPE_PARTITIONS:
		return kiln_check_sized(c, "dst", dst, 1, in);
	case KILN_SHAPE_GATHER:
		return kiln_check_gather(c, insn);
	case KILN_SHAPE_BOUNDS:
		verdict = kiln_check_count(c, "src", a, 1, 65535);
		if (verdict == KILN_FITS)
			verdict = kiln_check_sized(c, "src", a, 1, in);
		return verdict == KILN_FITS ? kiln_check_sized(c, "dst", dst, 1, 2 * in) : verdict;
	case KILN_SHAPE_ONE:
		return kiln_check_sized(c, "src", a, 1, 1);
	case KILN_SHAPE_TOPK:
		verdict = kiln_check_count(c, "src", a, 1, 65535);
		if (verdict == KILN_FITS)
			verdict = kiln_check_count(c, "dst", dst, 1, in);
		if (verdict == KILN_FITS)
			verdict = kiln_check_sized(c, "dst", dst, a->partitions, out);
		if (verdict == KILN_FITS)
			verdict = kiln_check_sized(c, "index", b, a->partitions, out);
		return verdict;
	default:
		return KILN_FITS;
	}
}

static inline enum kiln_verdict kiln_check_operand(struct kiln_check *c,
						   const struct kiln_operand *op,
						   const struct kiln_operand_rule *rule,
						   enum kiln_engine engine, bool dma)
{
	if (!op->space && (!rule->spaces || (rule->spaces & R_ABSENT))) {
		if (kiln_is_zero(op, sizeof(*op)))
			return KILN_FITS;
		return kiln_wrong(c, rule->name, "not 0, though it is absent", 0, 0, 0, 0);
	}
	if (engine == KILN_GPSIMD && op->space == KILN_PSUM && (rule->spaces & R_PSUM))
		return kiln_wrong(c, rule->name, "GpSimd does not reach PSUM", 0, 0, 0, 0);
	if (op->space > KILN_DRAM || !(rule->spaces & 1 << op->space))
		return kiln_wrong(c, rule->name, !rule->spaces ? "an operand too many" :
				  dma ? "has to be in SBUF or DRAM: DMA does not reach PSUM" :
				  rule->spaces == R_SBUF ? "has to be in SBUF" :
				  rule->spaces == R_PSUM ? "has to be in PSUM" :
				  rule->spaces & R_PSUM ? "has to be in SBUF or PSUM" :
				  "has to be in DRAM", 0, 0, 0, 0);
	if (op->dtype >= KILN_DTYPES || !(rule->dtypes & 1u << op->dtype))
		return kiln_wrong(c, rule->name, op->dtype && op->dtype < KILN_DTYPES ?
				  "of a type that the instruction does not take" :
				  "has no element type", 0, 0, 0, 0);
	return op->space == KILN_DRAM ? KILN_FITS : kiln_check_tile(c, rule->name, op, dma);
}

static inline enum kiln_verdict kiln_check_values(struct kiln_check *c,
						  enum kiln_engine engine,
						  const struct kiln_insn *insn,
						  const struct kiln_rule *rule)
{
	for (unsigned int i = 0; i < 2; i++) {
		const struct kiln_column *col = &insn->col[i];
		uint8_t use = rule->col[i].use;
		bool given = !kiln_is_zero(col, sizeof(*col)), used;
		enum kiln_verdict verdict;

		if (given) {
			if (use == R_NEVER)
				return kiln_wrong(c, NULL, "a column too many", 0, 0, 0, 0);
			if (engine == KILN_GPSIMD && col->space == KILN_PSUM)
				return kiln_wrong(c, rule->col[i].name,
						  "GpSimd does not reach PSUM", 0, 0, 0, 0);
			verdict = kiln_check_column(c, rule->col[i].name, col);
			if (verdict != KILN_FITS)
				return verdict;
		}
		if ((use == R_ALWAYS && !given) ||
		    (use != R_NEVER && use != R_MAY && use != R_ALWAYS &&
		     given != !!(insn->flags & use)))
			return kiln_wrong(c, rule->col[i].name,
					  given ? "given without its flag" : "is missing",
					  0, 0, 0, 0);
		use = rule->imm[i].use;
		used = use == R_MUST || (use == R_OR_COL && !given) ||
		       (use == R_OR_SRC1 && !insn->src[1].space);
		if (!used && !kiln_is_zero(&insn->imm[i], sizeof(insn->imm[i])))
			return kiln_wrong(c, rule->imm[i].name,
					  "a constant, though it is not used", 0, 0, 0, 0);
	}
	return KILN_FITS;
}

/*
 * The bitwise functions and those of 32-bit integers take integers as they lie,
 * all operands being of one type; of a constant it is the low bits of its
 * pattern that count.
 */
static inline enum kiln_verdict kiln_check_bitwise(struct kiln_check *c,
						   enum kiln_engine engine,
						   const struct kiln_insn *insn,
						   const struct kiln_rule *rule)
{
	uint8_t type = insn->dst.dtype;
	bool reduce = rule->func == R_REDUCE;

	if ((rule->func != R_ALU && !reduce) || (insn->func < KILN_ALU_BITWISE &&
						 insn->func1 < KILN_ALU_BITWISE))
		return KILN_FITS;
	if (insn->func >= KILN_ALU_INTEGER || insn->func1 >= KILN_ALU_INTEGER) {
		if (insn->opcode != KILN_OP_TENSOR_TENSOR || engine != KILN_GPSIMD)
			return kiln_wrong(c, NULL, "function %lld is TENSOR_TENSOR's, on GpSimd",
					  insn->func, 0, 0, 0);
		if (!((R_I32 | R_U32) >> type & 1))
			return kiln_wrong(c, NULL, "function %lld takes 32-bit integers",
					  insn->func, 0, 0, 0);
	} else if (!reduce && ((insn->opcode != KILN_OP_TENSOR_TENSOR &&
				insn->opcode != KILN_OP_TENSOR_SCALAR) || engine != KILN_VECTOR))
		return kiln_wrong(c, NULL, "function %lld is TENSOR_TENSOR's and TENSOR_SCALAR's, "
				  "on Vector", insn->func, 0, 0, 0);
	if (reduce && (insn->flags & KILN_F_NEGATE))
		return kiln_wrong(c, NULL, "function %lld: nothing to negate", insn->func, 0, 0, 0);
	if (!reduce && ((insn->func && insn->func < KILN_ALU_BITWISE) ||
			(insn->func1 && insn->func1 < KILN_ALU_BITWISE)))
		return kiln_wrong(c, NULL, "functions %lld and %lld: only one is bitwise",
				  insn->func, insn->func1, 0, 0);
	if (R_FLOATS >> type & 1 || insn->src[0].dtype != type ||
	    (insn->src[1].space && insn->src[1].dtype != type) ||
	    (insn->col[0].space && insn->col[0].dtype != type) ||
	    (insn->col[1].space && insn->col[1].dtype != type))
		return kiln_wrong(c, NULL, "bitwise functions take integers of one type", 0, 0, 0, 0);
	return KILN_FITS;
}

static inline enum kiln_verdict kiln_check_tiles(struct kiln_check *c,
						 enum kiln_engine engine,
						 const struct kiln_insn *insn,
						 const struct kiln_rule *rule)
{
	enum kiln_verdict verdict;

	verdict = kiln_check_func(c, rule->func, insn->func);
	if (verdict == KILN_FITS)
		verdict = kiln_check_func(c, rule->func1, insn->func1);
	if (verdict != KILN_FITS)
		return verdict;
	if (insn->flags & ~rule->flags)
		return kiln_wrong(c, NULL, "flags 0x%llx", insn->flags, 0, 0, 0);
	if (insn->last_step && rule->shape != KILN_SHAPE_AFFINE && rule->shape != KILN_SHAPE_IOTA)
		return kiln_wrong(c, NULL, "a fifth step: it belongs to terms, of a fourth dimension",
				  0, 0, 0, 0);

	verdict = kiln_check_operand(c, &insn->dst, &rule->dst, engine, rule->dma);
	for (unsigned int i = 0; i < 2 && verdict == KILN_FITS; i++) {
		struct kiln_operand op = insn->src[i];

		/* Partitions and sizes only: it lies nowhere. */
		if (rule->shape == KILN_SHAPE_DMA && i == 1)
			memset(op.stride, 0, op.space ? sizeof(op.stride) : 0);
		verdict = kiln_check_operand(c, &op, &rule->src[i], engine, rule->dma);
	}
	if (verdict == KILN_FITS)
		verdict = kiln_check_values(c, engine, insn, rule);
	if (verdict == KILN_FITS)
		verdict = kiln_check_bitwise(c, engine, insn, rule);
	if (verdict == KILN_FITS && (insn->flags & KILN_F_CONTINUE) &&
	    !(rule->col[1].how == R_WRITTEN ? insn->col[1].space : insn->src[1].space))
		return kiln_wrong(c, NULL, "nothing is reduced that could go on", 0, 0, 0, 0);
	if (verdict == KILN_FITS && (insn->flags & KILN_F_STOCHASTIC) &&
	    !((R_FLOATS & ~R_F32) >> insn->dst.dtype & 1))
		return kiln_wrong(c, "dst", "of a type that is not rounded at random", 0, 0, 0, 0);
	return verdict == KILN_FITS ? kiln_check_shape(c, insn, rule) : verdict;
}

static inline enum kiln_verdict kiln_check_sequencer(struct kiln_check *c,
						     const struct kiln_insn *insn,
						     const struct kiln_rule *rule)
{
	uint8_t fields = rule->seq;

	if (insn->func || insn->func1 || insn->flags || insn->seq.reserved[0] ||
	    insn->seq.reserved[1] || insn->seq.reserved[2] ||
	    !kiln_is_zero(insn->src, sizeof(*insn) - offsetof(struct kiln_insn, src)))
		return kiln_wrong(c, NULL, "a field that it does not have is not 0", 0, 0, 0, 0);
	if (insn->seq.rd >= (fields & R_RD ? KILN_REGISTERS : 1) ||
	    insn->seq.rs >= (fields & R_RS ? KILN_REGISTERS : 1) ||
	    insn->seq.rt >= (fields & R_RT ? KILN_REGISTERS : 1))
		return kiln_wrong(c, NULL, "registers %lld, %lld, %lld: 0 to 63", insn->seq.rd,
				  insn->seq.rs, insn->seq.rt, 0);
	if (fields & R_SLOT ? insn->seq.slot >= c->args_bytes / 8 : insn->seq.slot)
		return kiln_wrong(c, NULL, "argument %lld of %lld", insn->seq.slot,
				  c->args_bytes / 8, 0, 0);
	if (insn->seq.target > (fields & R_TARGET ? c->count : 0))
		return kiln_wrong(c, NULL, "target %lld of %lld", insn->seq.target, c->count, 0, 0);
	if ((insn->seq.imm_lo || insn->seq.imm_hi) && !(fields & R_IMM))
		return kiln_wrong(c, NULL, "a constant, though it has none", 0, 0, 0, 0);
	return KILN_FITS;
}

/* May this instruction stand in the stream of this engine? */
static inline enum kiln_verdict kiln_check_insn(struct kiln_check *c, enum kiln_engine engine,
						const struct kiln_insn *insn)
{
	const struct kiln_rule *rule = &kiln_rules[insn->opcode];

	c->addr = 0;
	if (!(rule->engines & 1 << engine)) {
		kiln_wrong(c, NULL, rule->engines ? "this engine does not have the instruction" :
			   "opcode %lld does not exist", insn->opcode, 0, 0, 0);
		return KILN_NO_INSN;
	}
	if (c->generation < rule->since) {
		kiln_wrong(c, NULL, "there from generation %lld on, not in %lld", rule->since,
			   c->generation, 0, 0);
		return KILN_NO_INSN;
	}
	for (unsigned int i = 0; i < 2; i++) {
		if ((insn->wait[i].sem && !insn->wait[i].value) ||
		    (insn->post[i].sem && !insn->post[i].value))
			return kiln_wrong(c, NULL, "a wait or post of 0 on a semaphore other than 0",
					  0, 0, 0, 0);
	}
	if (kiln_is_sequencer(insn->opcode))
		return kiln_check_sequencer(c, insn, rule);
	return kiln_check_tiles(c, engine, insn, rule);
}

#endif
