/* SPDX-License-Identifier: MIT */
/*
 * A good instruction of each kind, for tests that then make something of it wrong.
 */
#ifndef TESTS_UNIT_ENGINE_GOOD_H
#define TESTS_UNIT_ENGINE_GOOD_H

#include "engine.h"

/* A good instruction of each opcode that computes. Register 1 has an address, 2 has 16. */
__attribute__((unused))
static struct kiln_insn good(uint8_t opcode)
{
	struct kiln_insn insn = { .opcode = opcode, .label = 1234 };
	struct kiln_operand sbuf = tile_at(KILN_SBUF, KILN_F32, 0, 128, 0, 64);
	struct kiln_operand other = tile_at(KILN_SBUF, KILN_F32, 0, 128, 4096, 64);

	insn.dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 8192, 64);
	insn.src[0] = sbuf;
	switch (opcode) {
	case KILN_OP_DMA_COPY:
		insn.src[0] = dram_at(KILN_F32, 1, 0, 64, 1);
		break;
	case KILN_OP_LOAD_STATIONARY:
		memset(&insn.dst, 0, sizeof(insn.dst));
		break;
	case KILN_OP_MATMUL:
		insn.dst = tile_at(KILN_PSUM, KILN_F32, 0, 64, 0, 64);
		break;
	case KILN_OP_TRANSPOSE:
		insn.dst = tile_at(KILN_PSUM, KILN_F32, 0, 64, 0, 128);
		break;
	case KILN_OP_TENSOR_TENSOR:
	case KILN_OP_SCALAR_TENSOR_TENSOR:
	case KILN_OP_SELECT:
	case KILN_OP_TENSOR_COPY_PREDICATED:
	case KILN_OP_TENSOR_TENSOR_SCAN:
		insn.src[1] = other;
		break;
	case KILN_OP_DMA_GATHER:
		insn.src[0] = dram_at(KILN_F32, 1, 0, 64, 1);
		insn.src[1] = tile_at(KILN_SBUF, KILN_U32, 0, 128, 65536, 1);
		break;
	case KILN_OP_DMA_SCATTER:
		insn.src[0] = insn.dst;
		insn.dst = dram_at(KILN_F32, 1, 0, 64, 1);
		insn.src[1] = tile_at(KILN_SBUF, KILN_U32, 0, 128, 65536, 1);
		break;
	case KILN_OP_DMA_TRANSPOSE:
		insn.src[0] = dram_at(KILN_BF16, 1, 0, 128, 1);
		insn.dst.dtype = KILN_BF16;
		break;
	case KILN_OP_RANGE_SELECT:
		insn.func = KILN_ALU_GE;
		insn.func1 = KILN_ALU_LT;
		insn.col[0] = insn.col[1] = column_at(KILN_SBUF, KILN_F32, 0);
		break;
	case KILN_OP_IOTA:
	case KILN_OP_RNG:
		memset(&insn.src[0], 0, sizeof(insn.src[0]));
		/* fall through */
	case KILN_OP_DROPOUT:
		insn.src[1].space = KILN_DRAM;
		break;
	case KILN_OP_TRANSPOSE32:
		insn.src[0] = tile_at(KILN_SBUF, KILN_F32, 32, 32, 0, 16);
		insn.dst = tile_at(KILN_PSUM, KILN_F32, 96, 16, 0, 32);
		break;
	case KILN_OP_STREAM_SHUFFLE:
		insn.col[0] = column_at(KILN_SBUF, KILN_U32, 65536);
		break;
	case KILN_OP_PARTITION_REDUCE:
		insn.func = KILN_ALU_MAX;
		insn.dst.partitions = 1;
		break;
	case KILN_OP_MAX8:
		insn.dst.size[0] = 8;
		break;
	case KILN_OP_FIND_INDEX8:
		insn.dst.dtype = KILN_U32;
		insn.dst.size[0] = 8;
		/* fall through */
	case KILN_OP_MATCH_REPLACE8:
		insn.src[1] = other;
		insn.src[1].size[0] = 8;
		break;
	case KILN_OP_BN_STATS:
		insn.dst.size[0] = 6;
		break;
	case KILN_OP_BN_AGGR:
		insn.src[0].size[0] = 63;
		insn.dst.size[0] = 2;
		break;
	case KILN_OP_LOCAL_GATHER:
		insn.func = 4;
		insn.src[1] = tile_at(KILN_SBUF, KILN_U32, 0, 128, 65536, 1);
		break;
	case KILN_OP_TOPK:
		insn.src[0].dtype = insn.dst.dtype = KILN_BF16;
		insn.src[1] = tile_at(KILN_SBUF, KILN_U32, 0, 128, 65536, 64);
		break;
	case KILN_OP_TENSOR_SCALAR_REDUCE:
		insn.func1 = KILN_ALU_ADD;
		insn.col[1] = column_at(KILN_SBUF, KILN_F32, 65536);
		break;
	case KILN_OP_SEQUENCE_BOUNDS:
		insn.src[0].partitions = insn.dst.partitions = 1;
		insn.dst.size[0] = 128;
		break;
	case KILN_OP_LOAD_REGISTER:
		insn.src[0] = tile_at(KILN_SBUF, KILN_I32, 0, 1, 0, 1);
		memset(&insn.dst, 0, sizeof(insn.dst));
		break;
	case KILN_OP_TENSOR_REDUCE:
		insn.func = KILN_ALU_ADD;
		insn.dst = tile_at(KILN_SBUF, KILN_F32, 0, 128, 8192, 1);
		break;
	case KILN_OP_MEMSET:
		memset(&insn.src[0], 0, sizeof(insn.src[0]));
		break;
	case KILN_OP_AFFINE_SELECT:
		insn.func = KILN_ALU_GE;
		insn.src[1].space = KILN_DRAM;
		break;
	}
	return insn;
}

__attribute__((unused))
static enum kiln_engine engine_of(uint8_t opcode)
{
	switch (opcode) {
	case KILN_OP_LOAD_STATIONARY:
	case KILN_OP_MATMUL:
	case KILN_OP_TRANSPOSE:
		return KILN_TENSOR;
	case KILN_OP_ACTIVATION:
		return KILN_SCALAR;
	case KILN_OP_AFFINE_SELECT:
	case KILN_OP_IOTA:
	case KILN_OP_PARTITION_REDUCE:
	case KILN_OP_LOCAL_GATHER:
	case KILN_OP_TOPK:
	case KILN_OP_SEQUENCE_BOUNDS:
		return KILN_GPSIMD;
	case KILN_OP_DMA_COPY:
	case KILN_OP_DMA_GATHER:
	case KILN_OP_DMA_SCATTER:
	case KILN_OP_DMA_TRANSPOSE:
		return KILN_SYNC;
	default:
		return KILN_VECTOR;
	}
}

#endif
