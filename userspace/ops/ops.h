/* SPDX-License-Identifier: MIT */
/*
 * What the ops share: programs by key, argument blocks, submission.
 */
#ifndef KILN_OPS_INTERNAL_H
#define KILN_OPS_INTERNAL_H

#include "internal.h"
#include "kiln_asm.h"
#include "kiln_ops.h"

#define KILN_OPS_KEY_WORDS	96
#define KILN_OPS_ARGS		16	/* u64s of an argument block */

enum kiln_ops_kind {
	KILN_OPS_MATMUL		= 1,
	KILN_OPS_ATTENTION	= 2,
	KILN_OPS_ROWS		= 3,
	KILN_OPS_ELEMENTS	= 4,
	KILN_OPS_GATHER		= 5,
	KILN_OPS_ROPE		= 6,
	KILN_OPS_REDUCE		= 7,
	KILN_OPS_TOPK		= 8,
	KILN_OPS_COPY		= 9,
	KILN_OPS_BY_INDEX	= 10,
	KILN_OPS_TENSOR_ROWS	= 11,
	KILN_OPS_TENSOR_ROPE	= 12,
	KILN_OPS_ATTEND		= 13,
	KILN_OPS_LINEAR		= 14,
	KILN_OPS_OPTIMIZER	= 15,
	KILN_OPS_ORDER		= 16,
};

/* Everything that a program depends on; what is not used is zero. */
struct kiln_ops_key {
	uint64_t word[KILN_OPS_KEY_WORDS];
};

/* Writes the program; what is wrong with it is as's to say. 0 or -ENOMEM. */
typedef int (*kiln_ops_make_fn)(struct kiln_asm *as, unsigned int generation,
				 const void *shape);

/*
 * Run the program of key, made by make(shape) if it is not there yet, on an
 * argument block that holds args.
 */
int kiln_ops_run(struct kiln_ops *ops, const struct kiln_ops_key *key, const char *name,
		 kiln_ops_make_fn make, const void *shape, const uint64_t *args,
		 unsigned int count, kiln_done_fn done, void *user);

/* 1 to 3 for trn1 to trn3 */
unsigned int kiln_ops_generation(const struct kiln_ops *ops);

/* A table of numbers that a program reads, in the card's memory once and kept. */
int kiln_ops_constant(struct kiln_ops *ops, const void *data, uint32_t bytes, uint64_t *addr);

/* ALiBi's slopes of so many heads: [1, heads, 1, 1]. */
int kiln_ops_slopes(struct kiln_ops *ops, uint32_t heads, float max_bias, struct kiln_tensor *t);

/* The card's function, or -ENOTSUP: op says it. */
int kiln_ops_activation(const char *op, uint32_t func, enum kiln_activation *act);

static inline uint32_t kiln_ceil_div(uint64_t a, uint32_t b)
{
	return (a + b - 1) / b;
}

static inline uint32_t kiln_min(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline enum kiln_dtype kiln_type_dtype(enum kiln_type type)
{
	static const uint8_t dtype[] = {
		[KILN_TYPE_F32] = KILN_F32, [KILN_TYPE_BF16] = KILN_BF16,
		[KILN_TYPE_F16] = KILN_F16, [KILN_TYPE_F8E4M3] = KILN_F8E4M3,
		[KILN_TYPE_F8E5M2] = KILN_F8E5M2, [KILN_TYPE_I8] = KILN_I8,
		[KILN_TYPE_I32] = KILN_I32, [KILN_TYPE_I64] = KILN_U32,
	};

	return type < sizeof(dtype) ? dtype[type] : KILN_U8;
}

/* What every op takes; matmul knows more. */
static inline bool known_type(enum kiln_type type)
{
	return type == KILN_TYPE_F32 || type == KILN_TYPE_BF16 || type == KILN_TYPE_F16;
}

static inline uint32_t type_size(enum kiln_type type)
{
	return type == KILN_TYPE_I64 ? 8 : kiln_dtype_bytes(kiln_type_dtype(type));
}

/* Elements and bytes of a block; of other types 1 and the element's. */
struct kiln_block {
	uint32_t elements, bytes;
};

struct kiln_block kiln_type_block(enum kiln_type type);

static inline bool quantised(enum kiln_type type)
{
	return type >= KILN_TYPE_Q4_0 && type <= KILN_TYPE_IQ1_M;
}

#endif
