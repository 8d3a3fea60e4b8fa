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
#define MAX_CONSTANTS	64

/* A dense result once more, in the type of the products that it goes into. */
struct twin {
	const struct ggml_tensor *of;	/* NULL: there is none */
	int at;				/* the node that made it */
	enum kiln_type type;
};

/* Products that are one command, of which the first one's result may wait somewhere else. */
#define MAX_TOGETHER	3

struct together {
	const struct ggml_tensor *done[MAX_TOGETHER - 1];	/* those behind the first */
	const struct ggml_tensor *moved;	/* NULL: it is where it belongs */
	uint64_t to;
};

struct lower {
	struct kiln_ops *ops;
	struct kiln_device *device;	/* NULL: dry */
	struct kiln_buffer *scratch[MAX_SCRATCH];	/* each larger than the one before */
	unsigned int scratch_turn;
	uint64_t scratch_used;		/* of that */
	struct kiln_buffer *constants[MAX_CONSTANTS];
	uint64_t constants_used;	/* of the last of them */
	struct turned *turned;		/* weights.c */
	unsigned int turned_count, turned_next;
	bool turning;			/* in this graph */
	struct ggml_cgraph *graph;	/* NULL: a node on its own */
	int at;				/* its node that is being lowered */
	struct together together;
	struct kiln_buffer *moved_memory;
	struct twin twin;
	struct kiln_buffer *twin_memory;
	uint64_t twin_wanted;		/* bytes */
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

/*
 * count floats at a device address where they stay as they are: what is asked for
 * again is found again. 0: no memory.
 */
uint64_t lower_constants(struct lower *l, const float *values, unsigned int count);

/*
 * Where the matrix w of weights, [n, k], lies as [k, n], with *width elements from row to
 * row; 0: nowhere. The copy is made by this call, by a command before those that use it.
 */
uint64_t lower_turned(struct lower *l, const struct ggml_tensor *w, uint32_t *width);
/* Whether their rows, behind each other, are those of one matrix; if there are no copies yet, they will. */
bool lower_turned_together(struct lower *l, const struct ggml_tensor *const w[], unsigned int count);
/* What turned them did not come to its end. */
void lower_turned_forget(struct lower *l);
void lower_turned_free(struct lower *l);

int lower_node(struct lower *l, const struct ggml_tensor *node);
/* All scratch is free again. */
void lower_begin(struct lower *l);

/* fuse.c */
/* The node at that place, and others behind it that go into the same command: how many. */
int lower_graph(struct lower *l, struct ggml_cgraph *graph, int at, int *err);
/* Where t lies that nobody but what follows reads: not there where it belongs, perhaps. */
uint64_t lower_place(const struct lower *l, const struct ggml_tensor *t);
/* Before a graph, while no command is under way; whether what was made for other graphs holds. */
bool lower_twin_start(struct lower *l);
/* Where a command that writes t writes a twin of it; address 0: nobody wants one. */
struct kiln_tensor lower_twin(struct lower *l, const struct ggml_tensor *t);
/* As dense_copy(): perhaps a twin that there is, else one for those that follow. */
uint64_t lower_twin_of(struct lower *l, const struct ggml_tensor *t, enum kiln_type type, int *err);

/* Whether the same graph would be lowered to the same commands the next time */
bool lower_settled(const struct lower *l);

/* replay.c */
#define REPLAYS		4

struct replay {
	struct kiln_ops_list *list;	/* NULL: there is none */
	struct seen *seen;		/* the nodes, then what else they take */
	unsigned int nodes, count;
};

struct replays {
	struct replay replay[REPLAYS];
	unsigned int next;		/* to make place */
};

/* What this graph was made of, if it came before; NULL: make it. */
struct kiln_ops_list *replay_find(struct replays *all, struct ggml_cgraph *graph);
/* For the next time; false: the list remains the caller's. No list is under way. */
bool replay_keep(struct replays *all, struct ggml_cgraph *graph, struct kiln_ops_list *list);
void replay_forget(struct replays *all);

/* elements.c */
int lower_binary(struct lower *l, const struct ggml_tensor *node);
int lower_unary(struct lower *l, const struct ggml_tensor *node);
int lower_unary_back(struct lower *l, const struct ggml_tensor *node);
int lower_glu(struct lower *l, const struct ggml_tensor *node);
int lower_timestep_embedding(struct lower *l, const struct ggml_tensor *node);
int lower_scale(struct lower *l, const struct ggml_tensor *node);
int lower_copy(struct lower *l, const struct ggml_tensor *node);
int lower_set(struct lower *l, const struct ggml_tensor *node);
int lower_concat(struct lower *l, const struct ggml_tensor *node);
int lower_fill(struct lower *l, const struct ggml_tensor *node);

/* moves.c */
/* A view for copies between tensors of one type, of those, too, that nothing else takes */
struct kiln_tensor lower_bits(const struct ggml_tensor *t);
/* The same value everywhere */
int lower_constant_fill(struct lower *l, struct kiln_tensor out, float value);
int lower_roll(struct lower *l, const struct ggml_tensor *node);
int lower_pad(struct lower *l, const struct ggml_tensor *node);
int lower_pad_reflect(struct lower *l, const struct ggml_tensor *node);
int lower_repeat_back(struct lower *l, const struct ggml_tensor *node);
int lower_tri(struct lower *l, const struct ggml_tensor *node);
int lower_diag(struct lower *l, const struct ggml_tensor *node);
int lower_diag_mask(struct lower *l, const struct ggml_tensor *node);
int lower_arange(struct lower *l, const struct ggml_tensor *node);

/* resize.c */
int lower_upscale(struct lower *l, const struct ggml_tensor *node);

/* rows.c */
int lower_softmax(struct lower *l, const struct ggml_tensor *node);
int lower_softmax_back(struct lower *l, const struct ggml_tensor *node);
int lower_norm(struct lower *l, const struct ggml_tensor *node);
int lower_norm_back(struct lower *l, const struct ggml_tensor *node);
int lower_cumsum(struct lower *l, const struct ggml_tensor *node);
int lower_group_norm(struct lower *l, const struct ggml_tensor *node);
int lower_reduce(struct lower *l, const struct ggml_tensor *node);
int lower_count_equal(struct lower *l, const struct ggml_tensor *node);
int lower_top(struct lower *l, const struct ggml_tensor *node);
int lower_get_rows(struct lower *l, const struct ggml_tensor *node);
int lower_set_rows(struct lower *l, const struct ggml_tensor *node);
int lower_get_rows_back(struct lower *l, const struct ggml_tensor *node);
int lower_add_id(struct lower *l, const struct ggml_tensor *node);

/* rope.c */
int lower_rope(struct lower *l, const struct ggml_tensor *node);

/* matmul.c */
int lower_matmul(struct lower *l, const struct ggml_tensor *node);
/* Products of one src[1] as one command, the first result at c; -ENOTSUP: one after the other. */
int lower_matmul_together(struct lower *l, const struct ggml_tensor *const node[], unsigned int count,
			  uint64_t c);
/* The product plus a tensor that lies as it does; -ENOTSUP: one after the other. */
int lower_matmul_add(struct lower *l, const struct ggml_tensor *node, const struct ggml_tensor *add);
/* What the product of weights of this type is computed in; 0: it is not. */
enum kiln_type lower_product_type(enum ggml_type weights);
int lower_matmul_id(struct lower *l, const struct ggml_tensor *node);
int lower_out_prod(struct lower *l, const struct ggml_tensor *node);

/* attention.c */
int lower_attention(struct lower *l, const struct ggml_tensor *node);
int lower_indexer(struct lower *l, const struct ggml_tensor *node);

/* training.c */
int lower_cross_entropy(struct lower *l, const struct ggml_tensor *node);
int lower_cross_entropy_back(struct lower *l, const struct ggml_tensor *node);
int lower_sgd(struct lower *l, const struct ggml_tensor *node);
int lower_adamw(struct lower *l, const struct ggml_tensor *node);

/* states.c */
int lower_delta_net(struct lower *l, const struct ggml_tensor *node);
int lower_gated_linear_attention(struct lower *l, const struct ggml_tensor *node);
int lower_rwkv6(struct lower *l, const struct ggml_tensor *node);
int lower_rwkv7(struct lower *l, const struct ggml_tensor *node);
int lower_ssm_scan(struct lower *l, const struct ggml_tensor *node);
int lower_solve_triangle(struct lower *l, const struct ggml_tensor *node);

/* streams.c */
int lower_streams_in(struct lower *l, const struct ggml_tensor *node);
int lower_streams_out(struct lower *l, const struct ggml_tensor *node);
int lower_streams_mix(struct lower *l, const struct ggml_tensor *node);

/* convolution.c */
int lower_im2col(struct lower *l, const struct ggml_tensor *node);
int lower_im2col_3d(struct lower *l, const struct ggml_tensor *node);
int lower_conv_2d(struct lower *l, const struct ggml_tensor *node);
int lower_conv_3d(struct lower *l, const struct ggml_tensor *node);
int lower_pool(struct lower *l, const struct ggml_tensor *node);
int lower_conv_2d_dw(struct lower *l, const struct ggml_tensor *node);
int lower_ssm_conv(struct lower *l, const struct ggml_tensor *node);
int lower_col2im_1d(struct lower *l, const struct ggml_tensor *node);
int lower_conv_transpose_1d(struct lower *l, const struct ggml_tensor *node);
int lower_conv_transpose_2d(struct lower *l, const struct ggml_tensor *node);

/* 0: none of libkiln's */
enum kiln_type type_of(enum ggml_type type);

static inline uint32_t type_bytes(enum kiln_type type)
{
	return type == KILN_TYPE_F32 || type == KILN_TYPE_I32 ? 4 : 2;
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

/* As libkiln sees it; of type 0, which is refused by all ops, if it cannot. */
struct kiln_tensor view(const struct ggml_tensor *t);

/* A dense tensor, outermost dimension first */
static inline struct kiln_tensor dense(enum kiln_type type, uint64_t addr, uint32_t d0,
				       uint32_t d1, uint32_t d2, uint32_t d3)
{
	return (struct kiln_tensor){ .type = type, .dim = { d0, d1, d2, d3 }, .addr = addr };
}

/* The same in scratch; at address 0 if there is none, which all ops refuse */
struct kiln_tensor scratch(struct lower *l, enum kiln_type type, uint32_t d0, uint32_t d1,
			   uint32_t d2, uint32_t d3);

static inline int copy(struct lower *l, struct kiln_tensor from, struct kiln_tensor to)
{
	return kiln_copy(l->ops, &from, &to, lower_done, l);
}

/* Where t lies dense and of that type: itself or a copy of it. *err is left alone unless it fails. */
uint64_t dense_copy(struct lower *l, const struct ggml_tensor *t, enum kiln_type type, int *err);

#endif
