/* SPDX-License-Identifier: MIT */
/*
 * The encoding of Kiln programs: what libkiln's assembler writes and what the
 * engines of a core read. The driver never includes this file: to it a program
 * is bytes.
 *
 * A program is a header and up to five streams of 128-byte instructions, one
 * for each engine. The engines run their streams side by side and in order;
 * nothing but semaphores orders one engine, or a DMA transfer, against another.
 *
 * All fields are little endian; reserved ones and those that an instruction
 * does not use must be zero. isa.def lists the instructions, docs/isa.md says
 * what each does, docs/numerics.md defines its result to the bit.
 */
#ifndef KILN_ISA_H
#define KILN_ISA_H

#include <stdint.h>

#define KILN_ISA_MAJOR		1
#define KILN_ISA_MINOR		3

#define KILN_PARTITIONS		128
#define KILN_PSUM_BANK_BYTES	2048	/* of each partition; 512 fp32 */
#define KILN_PSUM_BANKS		8
#define KILN_SEMAPHORES		256
#define KILN_DMA_RINGS		16
#define KILN_REGISTERS		64	/* of each engine, 64 bits; register 0 reads as 0 */

#define KILN_SEED_REGISTER	63	/* of each engine: the seed of STOCHASTIC */

#define KILN_MATMUL_MAX_K	128	/* contraction: partitions of both inputs */
#define KILN_MATMUL_MAX_M	128	/* stationary's free size */
#define KILN_MATMUL_MAX_N	512	/* moving's free size */

enum kiln_engine {
	KILN_TENSOR	= 0,
	KILN_VECTOR	= 1,
	KILN_SCALAR	= 2,
	KILN_GPSIMD	= 3,
	KILN_SYNC	= 4,
	KILN_ENGINES	= 5,
};

/* Sets of engines, for isa.def. */
#define KILN_ON_T	(1 << KILN_TENSOR)
#define KILN_ON_V	(1 << KILN_VECTOR)
#define KILN_ON_S	(1 << KILN_SCALAR)
#define KILN_ON_G	(1 << KILN_GPSIMD)
#define KILN_ON_Y	(1 << KILN_SYNC)
#define KILN_ON_ALL	((1 << KILN_ENGINES) - 1)

enum kiln_dtype {
	KILN_DT_NONE	= 0,
#define KILN_DTYPE(name, code, bytes, doc) KILN_##name = code,
#include "kiln/isa.def"
	KILN_DTYPES,
};

enum kiln_space {
	KILN_SPACE_NONE	= 0,
	KILN_SBUF	= 1,
	KILN_PSUM	= 2,
	KILN_DRAM	= 3,	/* device addresses; DMA only */
};

/*
 * A tile in SBUF or PSUM, or, for DMA, a pattern in device memory.
 *
 * Elements are visited partition by partition, in each over size[0] (outermost)
 * to size[ndim - 1] (innermost). Strides count elements. Two operands of one
 * instruction have the same partitions and the same number of free elements;
 * their shapes may differ.
 */
struct kiln_operand {
	uint8_t space;		/* enum kiln_space; NONE: the operand is absent, all zero */
	uint8_t dtype;		/* enum kiln_dtype */
	uint8_t partition;	/* the first; DRAM: zero */
	uint8_t partitions;	/* 1 to 128; DRAM: zero, they are the other operand's */
	union {
		struct {	/* SBUF, PSUM */
			uint32_t addr;		/* byte in the partition, aligned to the element */
			uint8_t reg;		/* added to addr */
			uint8_t ndim;		/* 1 to 4 */
			uint16_t reserved;
			uint16_t size[4];	/* unused ones zero */
			int16_t stride[4];
		};
		struct {	/* DRAM: sizes are the other operand's; at most three of them */
			int32_t offset;		/* bytes, added to the base */
			uint8_t base;		/* register: device address */
			uint8_t reserved[3];
			int32_t step[4];	/* elements: of the partition, then of size[0] to size[2] */
		} dram;
	};
};

/* One value in each partition, [P, 1], on the partitions of the instruction's data. */
struct kiln_column {
	uint8_t space;		/* SBUF or PSUM; NONE: absent */
	uint8_t dtype;
	uint8_t reg;		/* added to addr */
	uint8_t reserved;
	uint32_t addr;		/* byte in the partition, aligned to the element */
};

/*
 * A wait holds the instruction back until semaphore sem is at least value, and
 * takes value off it. A post adds value when the instruction (for DMA: the
 * transfer) is complete; an engine completes its instructions in order, the
 * transfers that it started apart. value 0: none. Semaphores start at 0 and hold
 * up to 65535; more is KILN_ST_OPERAND.
 */
struct kiln_sync {
	uint8_t sem;
	uint8_t value;
};

struct kiln_insn {
	uint8_t opcode;			/* enum kiln_insn_code */
	uint8_t func;			/* see isa.def */
	uint8_t func1;
	uint8_t flags;			/* KILN_F_* of the instruction */
	struct kiln_sync wait[2];
	struct kiln_sync post[2];
	uint32_t label;			/* the author's: reported with faults and profiles */
	union {
		struct kiln_operand dst;
		struct {		/* sequencer instructions: src and the rest zero */
			uint8_t rd, rs, rt;
			uint8_t slot;		/* LDARG: index of the u64 in the argument block */
			uint32_t target;	/* branches: index in this stream */
			uint32_t imm_lo, imm_hi;
			uint32_t reserved[3];
		} seq;
	};
	struct kiln_operand src[2];
	struct kiln_column col[2];
	float imm[2];
	int32_t last_step;		/* terms of IOTA and AFFINE_SELECT: of a fourth dimension */
};

struct kiln_program_header {
	uint32_t magic;			/* KILN_PROGRAM_MAGIC */
	uint16_t isa_major, isa_minor;
	uint8_t generation;		/* 1 to 3: made for it; 0: any */
	uint8_t flags;			/* KILN_PROGRAM_* */
	uint8_t reserved[2];
	uint32_t bytes;			/* of the whole program, header included */
	uint32_t args_bytes;		/* least argument block that it reads */
	uint32_t reserved1;
	struct {
		uint32_t offset;	/* from the start, multiple of 64 */
		uint32_t count;		/* instructions; 0: the engine stays idle */
	} stream[KILN_ENGINES];
};

#define KILN_PROGRAM_MAGIC	0x4752504b	/* "KPRG" */

/*
 * What it leaves in SBUF and PSUM is for nobody: undefined, once it has ended well. And
 * device memory that it reads is not written by others before that.
 */
#define KILN_PROGRAM_TRANSIENT	1

enum kiln_insn_code {
#define KILN_INSN(name, code, engines, doc, ...) KILN_OP_##name = code,
#include "kiln/isa.def"
};

/* func, func1 of the Vector and GpSimd instructions: computed in fp32, but for the bitwise ones. */
enum kiln_alu {
#define KILN_ALU(name, code, doc) KILN_ALU_##name = code,
#include "kiln/isa.def"
	KILN_ALU_OPS,
	KILN_ALU_BITWISE = KILN_ALU_INVERT,	/* the first that looks at bits */
	KILN_ALU_INTEGER = KILN_ALU_INTEGER_ADD, /* the first of 32-bit integers */
};

/* func of ACTIVATION: computed in fp32. */
enum kiln_activation {
#define KILN_ACT(name, code, doc) KILN_ACT_##name = code,
#include "kiln/isa.def"
	KILN_ACTS,
};

/* flags of an instruction; each has a few of them, so they share bits */
enum kiln_flag {
#define KILN_FLAG(name, bit, doc) KILN_F_##name = 1 << bit,
#include "kiln/isa.def"
};

static inline uint32_t kiln_dtype_bytes(enum kiln_dtype dtype)
{
	switch (dtype) {
#define KILN_DTYPE(name, code, bytes, doc) case KILN_##name: return bytes;
#include "kiln/isa.def"
	default: return 0;
	}
}

#endif
