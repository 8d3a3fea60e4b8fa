/* SPDX-License-Identifier: MIT */
/*
 * Lowering: a node of a graph as calls of libkiln's ops.
 *
 * Each function here returns 0, or -ENOTSUP for a node that is not computed
 * exactly as ggml defines it, or what libkiln refused. With dry ops nothing is
 * submitted: so ggml's question whether a node is supported is answered by what
 * would compute it.
 */
#ifndef KILN_GGML_LOWER_H
#define KILN_GGML_LOWER_H

#include <errno.h>

#include "plugin.h"

#define MAX_SCRATCH	24

struct lower {
	struct kiln_ops *ops;
	struct kiln_device *device;	/* NULL: dry */
	struct kiln_buffer *scratch[MAX_SCRATCH];	/* each larger than the one before */
	unsigned int scratch_turn;
	uint64_t scratch_used;		/* of that */
	unsigned int commands;		/* that have completed */
	uint64_t cycles;
	int res;			/* of the first that failed */
};

/* Counts a command; user is the struct lower. */
void lower_done(void *user, const struct kiln_result *result);

/* One call of an op */
#define SUBMIT(l, op, ...) \
	op((l)->ops, &(struct op){ __VA_ARGS__ }, lower_done, l)

/* Memory until the node ends, aligned for anything; 0: there is none. */
uint64_t lower_scratch(struct lower *l, uint64_t bytes);

int lower_node(struct lower *l, const struct ggml_tensor *node);

/* elements.c */
int lower_binary(struct lower *l, const struct ggml_tensor *node);
int lower_unary(struct lower *l, const struct ggml_tensor *node);
int lower_glu(struct lower *l, const struct ggml_tensor *node);
int lower_scale(struct lower *l, const struct ggml_tensor *node);
int lower_copy(struct lower *l, const struct ggml_tensor *node);

/* rows.c */
int lower_softmax(struct lower *l, const struct ggml_tensor *node);
int lower_norm(struct lower *l, const struct ggml_tensor *node);
int lower_reduce(struct lower *l, const struct ggml_tensor *node);
int lower_argmax(struct lower *l, const struct ggml_tensor *node);
int lower_get_rows(struct lower *l, const struct ggml_tensor *node);

/* matmul.c */
int lower_matmul(struct lower *l, const struct ggml_tensor *node);

/* y = x, converted, element by element in the order of both. */
int lower_convert(struct lower *l, const struct ggml_tensor *x, uint64_t y, enum kiln_type type);

/* 0: none of libkiln's */
static inline enum kiln_type type_of(enum ggml_type type)
{
	switch (type) {
	case GGML_TYPE_F32:
		return KILN_TYPE_F32;
	case GGML_TYPE_F16:
		return KILN_TYPE_F16;
	case GGML_TYPE_BF16:
		return KILN_TYPE_BF16;
	default:
		return 0;
	}
}

static inline uint32_t type_bytes(enum kiln_type type)
{
	return type == KILN_TYPE_F32 ? 4 : 2;
}

static inline uint64_t address(const struct ggml_tensor *t)
{
	/* A dry run may come before there is memory. */
	return t->data ? (uint64_t)t->data : 4096;
}

/* As bytes of op_params say it */
static inline float float_param(const struct ggml_tensor *t, unsigned int i)
{
	union { int32_t bits; float value; } u = { .bits = t->op_params[i] };

	return u.value;
}

/*
 * Rows of several tensors of the same ne[1..3]: blocks of rows that lie evenly
 * in each of them. For every block, run() gets its rows and, in at[], where it
 * starts in each; ld[] is the distance of rows in elements. Rows are dense.
 */
#define MAX_WALK	4

struct walk {
	unsigned int count;
	const struct ggml_tensor *tensor[MAX_WALK];
	uint32_t rows, ld[MAX_WALK];
	uint64_t at[MAX_WALK];
};

int walk_rows(struct walk *walk, int (*run)(struct lower *l, const struct walk *walk, void *arg),
	      struct lower *l, void *arg);

#endif
