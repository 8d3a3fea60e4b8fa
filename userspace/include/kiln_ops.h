/* SPDX-License-Identifier: MIT */
/*
 * libkiln, ops: matrix products, attention, norms and what else a model is made of, on a
 * queue of a Kiln card.
 *
 * An op finds its program by shape and type (made at first use and kept),
 * fills an argument block and submits. Tensors are device addresses, row-major,
 * with the strides given. Nothing is computed on the CPU: an op that the card
 * cannot do is refused.
 *
 * Threads: a struct kiln_ops belongs to one thread at a time, like its queue.
 */
#ifndef KILN_OPS_H
#define KILN_OPS_H

#include "kiln.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kiln_ops;
struct kiln_ops_list;

/* The element types of tensors. */
enum kiln_type {
	KILN_TYPE_F32	= 1,
	KILN_TYPE_BF16	= 2,
	KILN_TYPE_F16	= 3,
	/* in matmul only: */
	KILN_TYPE_F8E4M3 = 4,	/* with infinities; up to 240 */
	KILN_TYPE_F8E5M2 = 5,
	KILN_TYPE_I8	= 6,
	KILN_TYPE_I32	= 7,	/* a product of int8; kiln_copy() */
	KILN_TYPE_I64	= 8,	/* indices */
	/* quantised, in blocks as ggml packs them; in kiln_copy() */
	KILN_TYPE_Q4_0	= 32,	/* of 32 elements: */
	KILN_TYPE_Q4_1	= 33,
	KILN_TYPE_Q5_0	= 34,
	KILN_TYPE_Q5_1	= 35,
	KILN_TYPE_Q8_0	= 36,
	KILN_TYPE_IQ4_NL = 37,
	KILN_TYPE_MXFP4	= 38,
	KILN_TYPE_Q2_K	= 39,	/* of 256: */
	KILN_TYPE_Q3_K	= 40,
	KILN_TYPE_Q4_K	= 41,
	KILN_TYPE_Q5_K	= 42,
	KILN_TYPE_Q6_K	= 43,
	KILN_TYPE_IQ4_XS = 44,
	KILN_TYPE_TQ1_0	= 45,
	KILN_TYPE_TQ2_0	= 46,
	KILN_TYPE_Q1_0	= 47,	/* of 128 */
	KILN_TYPE_Q2_0	= 48,	/* of 64: */
	KILN_TYPE_NVFP4	= 49,
	KILN_TYPE_IQ2_XXS = 50,	/* of 256: */
	KILN_TYPE_IQ2_XS = 51,
	KILN_TYPE_IQ2_S	= 52,
	KILN_TYPE_IQ3_XXS = 53,
	KILN_TYPE_IQ3_S	= 54,
	KILN_TYPE_IQ1_S	= 55,
	KILN_TYPE_IQ1_M	= 56,
};

/*
 * A tensor of up to four dimensions with any strides. All strides 0: dense. Of a
 * quantised type, the last dimension is whole blocks behind each other (stride 1)
 * and the other strides are multiples of a block's elements.
 */
struct kiln_tensor {
	enum kiln_type type;
	uint32_t dim[4];	/* outermost first; 0 is 1, so fewer stand at the end */
	int64_t stride[4];	/* elements from one to the next */
	uint64_t addr;		/* device address, aligned to the element */
};

/* Functions of one element; gelu is the exact one, quick x * sigmoid(1.702 x). */
enum kiln_unary_func {
	KILN_UNARY_COPY		= 1,
	KILN_UNARY_EXP		= 2,
	KILN_UNARY_SQUARE	= 3,
	KILN_UNARY_RELU		= 4,
	KILN_UNARY_ABS		= 5,
	KILN_UNARY_SIGMOID	= 6,
	KILN_UNARY_TANH		= 7,
	KILN_UNARY_GELU		= 8,
	KILN_UNARY_GELU_TANH	= 9,
	KILN_UNARY_GELU_QUICK	= 10,
	KILN_UNARY_SILU		= 11,
	KILN_UNARY_SOFTPLUS	= 12,
	KILN_UNARY_MISH		= 13,
	KILN_UNARY_ERF		= 14,
	KILN_UNARY_LOG		= 15,
	KILN_UNARY_SIN		= 16,	/* of -65536 to 65536; NaN beyond */
	KILN_UNARY_COS		= 17,	/* the same */
	KILN_UNARY_ARCTAN	= 18,
	KILN_UNARY_SQRT		= 19,
	KILN_UNARY_RSQRT	= 20,
	KILN_UNARY_RECIPROCAL	= 21,
	KILN_UNARY_SIGN		= 22,
	KILN_UNARY_SILU_DX	= 23,	/* derivatives */
	KILN_UNARY_GELU_DX	= 24,
	/* in kiln_pointwise() only; a and b are its param[0] and param[1]: */
	KILN_UNARY_STEP		= 25,	/* 1 above 0, else 0 */
	KILN_UNARY_CLAMP	= 26,	/* to a to b */
	KILN_UNARY_LEAKY_RELU	= 27,	/* a * x below 0 */
	KILN_UNARY_ELU		= 28,
	KILN_UNARY_EXPM1	= 29,
	KILN_UNARY_HARDSWISH	= 30,
	KILN_UNARY_HARDSIGMOID	= 31,
	KILN_UNARY_FLOOR	= 32,
	KILN_UNARY_CEIL		= 33,
	KILN_UNARY_ROUND	= 34,	/* halves away from 0 */
	KILN_UNARY_TRUNC	= 35,
	KILN_UNARY_XIELU	= 36,	/* param[0] x^2 + param[2] x above 0, else
					   (expm1(min(x, param[3])) - x) param[1] + param[2] x */
	KILN_UNARY_FILL		= 37,	/* a, whatever x is */
};

/*
 * Make what ops are submitted through. The queue stays the caller's and must outlive it.
 *
 * -ENOMEM no memory.
 */
int kiln_ops_create(struct kiln_queue *queue, struct kiln_ops **ops);

/*
 * Without a queue: ops return what they would say to their arguments, and do
 * nothing. Any number of threads may use it.
 *
 * -ENOMEM no memory.
 */
int kiln_ops_create_dry(struct kiln_device *device, struct kiln_ops **ops);

/* Give it and its programs back. Everything submitted must have completed. */
void kiln_ops_destroy(struct kiln_ops *ops);

/*
 * From hold on, what ops submit is kept back; flush hands it over together and
 * ends that: one system call where there is room. Callbacks run as ever, those of
 * what flush could not hand over before it returns its error. kiln_wait() knows
 * nothing of what is held.
 *
 * -ENOMEM no memory, or what kiln_submit() says.
 */
void kiln_ops_hold(struct kiln_ops *ops);
int kiln_ops_flush(struct kiln_ops *ops);

/*
 * In place of flush: what is held becomes a list, and holding ends. Each submission
 * of it hands the same commands over once more, on the addresses that their ops were
 * given, and runs their callbacks; nothing is checked, looked up or written again. It
 * may be under way more than once. Free it when it is not under way, and before its ops.
 *
 * -EINVAL an argument is NULL, -ENOMEM no memory, with which holding goes on, or what
 * kiln_submit() says.
 */
int kiln_ops_take_list(struct kiln_ops *ops, struct kiln_ops_list **list);
int kiln_ops_submit_list(struct kiln_ops_list *list);
void kiln_ops_free_list(struct kiln_ops_list *list);

/*
 * c[i] = activation(op(a[i]) x op(b[i]) + bias) + beta * residual[i] for i < batch.
 *
 * op(a) is [m, k] and op(b) is [k, n]; stored so, or transposed ([k, m],
 * [n, k]) where trans_a, trans_b say so. Each element is one fp32 sum from +0
 * on with k ascending, one fused multiply-add a product; bf16 takes k in pairs
 * and of each pair the odd one first, denormals are zero, and an odd k is filled
 * up with zero; fp16 and fp8 are converted to fp32. It is rounded once to
 * out_type. Shape, strides, transposition and batch do not change a bit
 * (docs/numerics.md defines the steps).
 *
 * int8 gives the exact sum, as I32 modulo 2^32 (it cannot leave that below k =
 * 131072), as F32 rounded once; k is at most 2^20.
 */
struct kiln_matmul {
	enum kiln_type type;		/* of a and b */
	enum kiln_type b_type;		/* of b, if a is fp8 and b the other fp8; 0: as type */
	enum kiln_type out_type;	/* of c; 0: as type, of fp8 F32, of int8 I32 */
	uint32_t m, n, k;		/* at least 1 */
	uint32_t batch;			/* 0 means 1 */
	bool trans_a, trans_b;
	uint64_t a, b, c;		/* device addresses, aligned to the element */
	uint32_t lda, ldb, ldc;		/* elements from row to row as stored; 0: dense */
	uint64_t stride_a, stride_b, stride_c;	/* elements from batch to batch; 0: dense */
	bool share_a, share_b;		/* one matrix for the whole batch; its stride is not used */
	/*
	 * Batches of batches, as a second dimension in front: with share_* and
	 * outer_share_*, the matrices of a or b repeat in either.
	 */
	uint32_t outer;			/* 0 means 1 */
	uint64_t outer_a, outer_b, outer_c;	/* elements from one to the next; 0: dense */
	bool outer_share_a, outer_share_b;
	uint64_t bias;			/* [n] of type (of fp8: F32), for all rows; 0: none. The sum starts with it */
	enum kiln_unary_func activation;	/* of the fp32 sum, before it is rounded; 0: none */
	uint64_t residual;		/* as c lies, of out_type; may be c; 0: none */
	float beta;			/* 0: 1. beta * residual and the sum with it round in fp32 */
	/*
	 * The last columns elsewhere: of the n, so many at the end, as dense matrices
	 * [m, more[i].n] of out_type, and behind c's those of more[0]. Of one product without
	 * residual, of up to 128 rows and 3072 columns, or a row of 4096.
	 */
	struct {
		uint32_t n;		/* 0: none */
		uint64_t c;
	} more[2];
};

/*
 * It returns when the commands are submitted. done (which may be NULL) is called
 * once, from kiln_wait() and its like, with their result and the device cycles of all of them.
 *
 * -EINVAL a size, stride or address that makes no sense, -ENOTSUP a type, or a shape
 * that has no program, -ENOMEM no memory of the host or of the card, or what
 * kiln_submit() says.
 */
int kiln_matmul(struct kiln_ops *ops, const struct kiln_matmul *matmul,
		kiln_done_fn done, void *user);

/*
 * out = softmax(score) v, head by head, of score = scale * q k^T.
 *
 * q and out are [batch, heads, seq_q, dim], k and v [batch, kv_heads, seq_kv,
 * dim]; query head h reads key-value head h / (heads / kv_heads). Query i is at
 * place i + seq_kv - seq_q among the keys.
 *
 *	softcap		score = softcap * tanh(score / softcap), before all else
 *	slopes		ALiBi: score -= slopes[h] * |place - key|
 *	mask		score += mask; -infinity is ordinary, NaN and +infinity make
 *			the row NaN
 *	causal		a query sees keys up to its place
 *	window		a query sees keys less than window from its place
 *
 * Scores are fp32. Those below -2^126 count for nothing; a row of which nothing
 * counts becomes zeros. A NaN in k or v reaches every row that has it in a tile,
 * seen or not.
 *
 * bf16 with nothing but causal is first taken without the rows' maxima, which is
 * faster; if that left a row with sums beyond 2^90 or below 2^-90, the same
 * command takes it once more with maxima, unless running_max has it so at once.
 */
struct kiln_attention {
	enum kiln_type type;		/* of q, k, v and out */
	uint32_t batch;			/* 0 means 1 */
	uint32_t heads, kv_heads;	/* heads is a multiple of kv_heads */
	uint32_t seq_q, seq_kv;		/* causal, window: seq_q <= seq_kv */
	uint32_t dim;			/* 1 to 128 */
	bool causal;
	bool running_max;		/* the same time whatever the data are; mostly a longer one */
	uint32_t window;		/* 0: none */
	float scale;			/* 0: 1 / sqrt(dim) */
	float softcap;			/* 0: none */
	uint64_t q, k, v, out;		/* device addresses, dense */
	uint64_t mask;			/* dense, aligned to the element; 0: none */
	enum kiln_type mask_type;	/* 0: as type */
	uint32_t mask_dim[4];		/* batch, heads, seq_q and seq_kv, or 1 for any; all 0: none is 1 */
	uint64_t slopes;		/* f32 [heads], for up to 4096 heads; 0: none */
};

/* As kiln_matmul(). */
int kiln_attention(struct kiln_ops *ops, const struct kiln_attention *attention,
		   kiln_done_fn done, void *user);

/*
 * y = softmax(scale * x), row by row: x and y are [rows, width].
 *
 * p = exp(scale * (x - maximum)) in fp32, then p times the reciprocal of its sum,
 * rounded once to type. A row that holds NaN or +infinity, or nothing but
 * -infinity, becomes NaN. y may be x (with ldy = ldx).
 */
struct kiln_softmax {
	enum kiln_type type;		/* of x and y */
	uint32_t rows, width;		/* at least 1; width up to 2^24 */
	uint32_t ldx, ldy;		/* elements from row to row; 0: dense */
	float scale;			/* positive; 0: 1 */
	uint64_t x, y;			/* device addresses, aligned to the element */
};

/* As kiln_matmul(). */
int kiln_softmax(struct kiln_ops *ops, const struct kiln_softmax *softmax,
		 kiln_done_fn done, void *user);

/*
 * rmsnorm:	y = x / sqrt(mean(x^2) + eps) * weight
 * layernorm:	y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias
 *
 * row by row: x and y are [rows, width], weight and bias [width]. Everything is
 * computed in fp32 and rounded once to type. y may be x (with ldy = ldx).
 */
struct kiln_norm {
	enum kiln_type type;		/* of x and y */
	enum kiln_type weight_type;	/* of weight and bias; 0: as type */
	uint32_t rows, width;		/* at least 1; width up to 2^24 */
	uint32_t ldx, ldy;		/* elements from row to row; 0: dense */
	float eps;			/* at least 0 */
	uint64_t x, y;			/* device addresses, aligned to the element */
	uint64_t weight, bias;		/* the same; 0: none. rmsnorm has no bias */
};

/* As kiln_matmul(). */
int kiln_rmsnorm(struct kiln_ops *ops, const struct kiln_norm *norm,
		 kiln_done_fn done, void *user);
int kiln_layernorm(struct kiln_ops *ops, const struct kiln_norm *norm,
		   kiln_done_fn done, void *user);

/*
 * y = func(scale * x + shift): x and y are [rows, width]. scale and shift round
 * once, together, in fp32; docs/numerics.md says how exact each function is.
 * COPY scales, shifts and converts. y may be x if of the same type, with ldy =
 * ldx.
 */
struct kiln_unary {
	enum kiln_type type;		/* of x */
	enum kiln_type out_type;	/* of y; 0: as type */
	enum kiln_unary_func func;
	float scale, shift;		/* finite; scale 0: 1 */
	uint32_t rows, width;		/* rows 0: 1; width at least 1 */
	uint32_t ldx, ldy;		/* elements from row to row; 0: dense */
	uint64_t x, y;			/* device addresses, aligned to the element */
};

/* As kiln_matmul(). */
int kiln_unary(struct kiln_ops *ops, const struct kiln_unary *unary,
	       kiln_done_fn done, void *user);

enum kiln_binary_func {
	KILN_BINARY_ADD		= 1,
	KILN_BINARY_SUBTRACT	= 2,
	KILN_BINARY_MULTIPLY	= 3,
	KILN_BINARY_DIVIDE	= 4,	/* a * (1 / b), both rounded: b beyond 2^127 or below 2^-126 loses more */
	KILN_BINARY_MAX		= 5,	/* NaN if either is NaN */
	KILN_BINARY_MIN		= 6,	/* the same */
	/* in kiln_pointwise() only; a and b are its param[0] and param[1]: */
	KILN_BINARY_SWIGLU_OAI	= 7,	/* x' * sigmoid(a x') * (1 + y'); x' is at most b, y' -b to b */
	KILN_BINARY_EQUAL	= 8,	/* 1, or 0; without a function or scale, both may be I32 */
};

/*
 * out = a func b with the broadcasting of NumPy: a dimension in which one of
 * them is 1 counts as often as the other's. All dense, outermost dimension
 * first; 0 is 1, so fewer dimensions stand at the end. Computed in fp32. out
 * may be a or b if that has its shape and type.
 */
struct kiln_binary {
	enum kiln_type type;		/* of a and b */
	enum kiln_type out_type;	/* of out; 0: as type */
	enum kiln_binary_func func;
	uint32_t a_dim[4], b_dim[4];
	uint64_t a, b, out;		/* device addresses, aligned to the element */
};

/* As kiln_matmul(). */
int kiln_binary(struct kiln_ops *ops, const struct kiln_binary *binary,
		kiln_done_fn done, void *user);

/*
 * out = func(gate) * up, all [rows, width]: swiglu with SILU, geglu with GELU,
 * reglu with RELU. The function and the product are fp32, rounded to type at
 * the end. Gate and up may be the two halves of one matrix: ld_gate = ld_up =
 * 2 * width. out may be gate or up, with the same ld.
 */
struct kiln_glu {
	enum kiln_type type;		/* of all three */
	enum kiln_unary_func func;
	uint32_t rows, width;		/* rows 0: 1; width at least 1 */
	uint32_t ld_gate, ld_up, ld_out;	/* elements from row to row; 0: dense */
	uint64_t gate, up, out;		/* device addresses, aligned to the element */
};

/* As kiln_matmul(). */
int kiln_glu(struct kiln_ops *ops, const struct kiln_glu *glu, kiln_done_fn done, void *user);

/*
 * dst = src, converted to dst's type: in dst's shape if that is src's, several times
 * if its dimensions are multiples of src's, or, if there are as many elements, in
 * their order (for which the shapes have to be made of common pieces: always so if
 * one of them is dense). Between equal types, bits as they are.
 *
 * Types: any to itself; F32, BF16 and F16 to each other, from and to I32 (to nearest
 * even); from a quantised type to F32, BF16 and F16, and from these, as ggml does,
 * to all but IQ1 to IQ3.
 *
 * done as of kiln_matmul().
 *
 * -EINVAL a shape that does not go into the other, a stride or an address that makes
 * no sense, -ENOTSUP a pair of types or of shapes, -ENOMEM no memory of the host or of the card.
 */
int kiln_copy(struct kiln_ops *ops, const struct kiln_tensor *src,
	      const struct kiln_tensor *dst, kiln_done_fn done, void *user);

/*
 * The same for any number of dimensions: windows of an image, pieces of a stack. A source may
 * overlap itself or stand still (stride 0).
 */
#define KILN_STRIDED_DIMS	12

struct kiln_strided {
	enum kiln_type from, to;	/* not quantised */
	uint32_t dims;
	uint32_t dim[KILN_STRIDED_DIMS];	/* outermost first */
	int64_t src_stride[KILN_STRIDED_DIMS], dst_stride[KILN_STRIDED_DIMS];	/* elements */
	uint64_t src, dst;		/* device addresses, aligned to the element */
};

/* As kiln_copy(). */
int kiln_copy_strided(struct kiln_ops *ops, const struct kiln_strided *strided,
		      kiln_done_fn done, void *user);

/*
 * out = unary(scale * x + shift) binary y, element by element: x and y are repeated
 * where out's dimension is a multiple of theirs. Types may differ, everything is
 * computed in fp32, and rounded once. Without a binary function there is no y.
 * SiLU and MULTIPLY are swiglu, 0 and ADD a sum, SILU_DX and MULTIPLY a gradient.
 * also: out once more, perhaps of another type, as a product wants it; addr 0: not.
 */
struct kiln_pointwise {
	enum kiln_unary_func unary;	/* 0: COPY */
	enum kiln_binary_func binary;	/* 0: none */
	float scale, shift;		/* finite; scale 0: 1 */
	float param[4];			/* of the functions that say so */
	struct kiln_tensor x, y, out;	/* F32, BF16 or F16; out may be x or y, with its strides */
	struct kiln_tensor also;	/* out's dimensions; nothing else lies there */
};

/* As kiln_matmul(). */
int kiln_pointwise(struct kiln_ops *ops, const struct kiln_pointwise *pointwise,
		   kiln_done_fn done, void *user);

/* What becomes of rows, the last dimension of x; n is their length. */
enum kiln_rows_func {
	KILN_ROWS_SOFTMAX	= 1,	/* of scale * x + slope * a; e^b counts in the sum, too */
	KILN_ROWS_NORM		= 2,	/* (x - mean) / sqrt(variance + eps) * a + b */
	KILN_ROWS_RMS_NORM	= 3,	/* x / sqrt(mean(x^2) + eps) * a + b */
	KILN_ROWS_L2_NORM	= 4,	/* x / max(sqrt(sum(x^2)), eps) * a + b */
	KILN_ROWS_SUM		= 5,	/* one value: scale * sum(x) */
	KILN_ROWS_MEAN		= 6,	/* the same / n */
	KILN_ROWS_CUMSUM	= 7,
	KILN_ROWS_SOFTMAX_BACK	= 8,	/* x the gradient, a the result: scale * a * (x - sum(x a)) */
	KILN_ROWS_RMS_NORM_BACK	= 9,	/* x the gradient, a what was normed */
	KILN_ROWS_CROSS_ENTROPY	= 10,	/* one value: -scale * sum(a * log softmax(x)) */
	KILN_ROWS_CROSS_ENTROPY_BACK = 11,	/* scale * b * (softmax(x) - a) */
	KILN_ROWS_MAX		= 12,	/* one value, times scale */
};

/*
 * out = func(x, a, b), row by row; everything is computed in fp32 and rounded to out's
 * type. a and b repeat where x's dimension is a multiple of theirs, and in the last
 * dimension have n elements or 1 (b of SOFTMAX has 1). Those that are optional, of
 * SOFTMAX and the norms, are left out with addr 0.
 *
 * With max_bias, a of SOFTMAX is times ALiBi's slope of its head, which dimension 1 of
 * x counts: powers of 2^(-max_bias / heads).
 *
 * Rows have to fit into a partition: about 5000 to 14000 elements, by the number of
 * tensors and the generation; -ENOTSUP says how many. (kiln_softmax() and others
 * take longer ones.)
 */
struct kiln_rows {
	enum kiln_rows_func func;
	float scale;			/* finite; 0: 1 */
	float eps, max_bias;		/* at least 0 */
	struct kiln_tensor x, a, b, out;	/* F32, BF16 or F16; out may be x, with its strides */
	struct kiln_tensor also;	/* as of kiln_pointwise() */
};

/* As kiln_matmul(). */
int kiln_rows(struct kiln_ops *ops, const struct kiln_rows *rows, kiln_done_fn done,
	      void *user);

/*
 * Rotary embedding of x [batch, tokens, heads, dim], strided, by positions that lie in the
 * card's memory: pair j of each head is turned by the angle position * frequency[j] /
 * factors[j], and then scaled. What is behind the pairs is copied. Angles are fp32, up
 * to 400000.
 *
 * With sections there are four positions for each token, and section[j] says which of
 * them counts for pair j.
 */
struct kiln_rotate {
	struct kiln_tensor x, y;	/* F32, BF16 or F16, of one type; y may be x */
	uint32_t pairs;			/* up to dim / 2 */
	bool interleaved;		/* a pair is 2 j and 2 j + 1, else j and j + pairs */
	bool back;			/* the other way round: the gradient */
	float scale;			/* 0: 1 */
	const float *frequency;		/* [pairs], on the host: part of the program's shape */
	const uint8_t *section;		/* [pairs], 0 to 3, on the host; NULL: all 0, one position */
	uint64_t positions;		/* I32 [tokens], with sections [4, tokens] */
	uint64_t factors;		/* F32 [pairs]; 0: all 1 */
};

/* As kiln_matmul(). */
int kiln_rotate(struct kiln_ops *ops, const struct kiln_rotate *rotate, kiln_done_fn done,
		void *user);

/*
 * kiln_attention() for strided tensors of mixed types: out = softmax(scale * q k^T + slope *
 * mask) v, with softcap * tanh(score / softcap) in place of a score before the mask.
 *
 *	q	[batch, heads, queries, dk]	F32, BF16 or F16
 *	k	[batch, kv_heads, keys, dk]	the same, or quantised; query head h has key
 *	v	[batch, kv_heads, keys, dv]	head h / (heads / kv_heads); batch may be 1
 *	mask	[batch or 1, heads or 1, queries, keys], may be larger in the last two
 *	out	[batch, heads, queries, dv]
 *	sinks	F32 [heads]: a score for each head that has no value
 *
 * dk and dv are up to 640, their elements dense. What is multiplied is rounded to F16, or
 * BF16 where k is BF16 or F32. A row of which nothing counts becomes zeros.
 */
struct kiln_attend {
	struct kiln_tensor q, k, v, out;
	struct kiln_tensor also;	/* out once more, as of kiln_pointwise() */
	struct kiln_tensor mask;	/* addr 0: none */
	uint64_t sinks;			/* 0: none */
	float scale;			/* as it is */
	float softcap, max_bias;	/* 0: none; max_bias: ALiBi's slopes, as of kiln_rows() */
};

/* As kiln_matmul(). */
int kiln_attend(struct kiln_ops *ops, const struct kiln_attend *attend, kiln_done_fn done,
		void *user);

/*
 * out = x w^T with weights of any type, which are expanded as they are read:
 *
 *	x	[b0, b1, n, k]		F32, BF16 or F16
 *	w	[c0, c1, m, k]		the same, or quantised; b0 and b1 are multiples of c0
 *	out	[b0, b1, n, m]		and c1: x[b] goes with w[b / (b1 / c1)]
 *
 * By experts, with ids I32 [1, 1, tokens, used], row (t, u) goes with w[0][ids[t][u]]:
 *
 *	x	[1, tokens, used or 1, k]
 *	w	[1, experts, m, k]
 *	out	[1, tokens, used, m]
 *
 * The last dimensions are dense, k is up to 32768. What is multiplied is rounded to BF16, or
 * F16 where w is F16; sums are fp32. A number in ids that is no expert's fails the command
 * with -ENOEXEC. (kiln_matmul() is quicker where both are of one type.)
 */
struct kiln_linear {
	struct kiln_tensor x, w, out;
	struct kiln_tensor ids;		/* addr 0: none */
};

/* As kiln_matmul(). */
int kiln_linear(struct kiln_ops *ops, const struct kiln_linear *linear, kiln_done_fn done,
		void *user);

/* With params in the card's memory, F32: */
enum kiln_optimizer_func {
	KILN_OPTIMIZER_ADAMW	= 1,	/* rate, beta1, beta2, eps, decay, 1 / (1 - beta1^t), 1 / (1 - beta2^t) */
	KILN_OPTIMIZER_SGD	= 2,	/* rate, decay */
};

/*
 * A step of an optimizer, in place, of tensors of one shape:
 *
 *	sgd	x = x * (1 - rate * decay) - rate * gradient
 *	adamw	m = beta1 * m + (1 - beta1) * gradient, v likewise of its square,
 *		x = x * (1 - rate * decay) - rate * m' / (sqrt(v') + eps), m' and v' being
 *		m and v times the last two parameters
 */
struct kiln_optimizer {
	enum kiln_optimizer_func func;
	struct kiln_tensor x, gradient, m, v;	/* F32; sgd has no m and v */
	uint64_t params;
};

/* As kiln_matmul(). */
int kiln_optimizer(struct kiln_ops *ops, const struct kiln_optimizer *optimizer,
		   kiln_done_fn done, void *user);

/*
 * out[b][h][i] = table[b][h][index[b][h][i]] + addend[b][h][i], rows of the last
 * dimension: looked up, expanded if quantised, converted to out's type. index has up to
 * three dimensions, which stand at the end; it, table and addend repeat in those
 * that are multiples of theirs. Without an addend, addend.addr is 0.
 *
 * An index that is not a row makes the command fail with -ENOEXEC, as of kiln_gather().
 */
struct kiln_get_rows {
	struct kiln_tensor table;	/* F32, BF16, F16, I32 (out, too), or quantised */
	struct kiln_tensor index;	/* I32 or I64, of which the lower half counts */
	struct kiln_tensor addend;
	struct kiln_tensor out;		/* F32, BF16 or F16 */
};

/* As kiln_matmul(). */
int kiln_get_rows(struct kiln_ops *ops, const struct kiln_get_rows *get,
		  kiln_done_fn done, void *user);

/*
 * out[b][h][index[b][h][i]] = src[b][h][i], or += with add (in fp32, rounded to out's type
 * each time): the other direction. Where an index stands twice, without add, any
 * of the rows is there in the end.
 */
struct kiln_set_rows {
	struct kiln_tensor src, index, out;	/* F32, BF16 or F16; index as above. out may be
						   what kiln_copy() quantises to, without add */
	bool add;
};

/* As kiln_matmul(). */
int kiln_set_rows(struct kiln_ops *ops, const struct kiln_set_rows *set,
		  kiln_done_fn done, void *user);

/*
 * out[i] = table[index[i]]: an embedding. table is [table_rows, width], index
 * [rows] of u32, out [rows, width]. Every bit is copied as it is. An index that
 * is not less than table_rows makes the command fail with -ENOEXEC; the fault names
 * the address that the row would have.
 */
struct kiln_gather {
	enum kiln_type type;		/* of table and out */
	uint32_t rows, width;		/* at least 1 */
	uint32_t table_rows;		/* at least 1 */
	uint32_t ld_table, ld_out;	/* elements from row to row; 0: dense */
	uint64_t table, index, out;	/* device addresses, aligned to the element */
};

/* As kiln_matmul(). */
int kiln_gather(struct kiln_ops *ops, const struct kiln_gather *gather,
		kiln_done_fn done, void *user);

/*
 * Rotary embedding: x and y are [tokens, heads, dim]. Of the first rotated
 * elements of each head, pair j becomes
 *
 *	x0 * cos[j] - x1 * sin[j], x1 * cos[j] + x0 * sin[j]
 *
 * with cos and sin of the token; the others are copied. A pair is j and j +
 * rotated / 2 (NeoX), or 2 j and 2 j + 1 if interleaved. Products and sums
 * round in fp32, the result to type. y may be x (with ldy = ldx).
 */
struct kiln_rope {
	enum kiln_type type;		/* of x and y */
	uint32_t tokens, heads;		/* at least 1 */
	uint32_t dim;			/* 2 to 1024 */
	uint32_t rotated;		/* even, up to dim; 0: dim */
	bool interleaved;
	uint32_t ldx, ldy;		/* elements from token to token; 0: dense */
	uint32_t table_rows;		/* of cos and sin, if there are positions */
	uint64_t x, y;			/* device addresses, aligned to the element */
	uint64_t cos, sin;		/* fp32 [tokens or table_rows, rotated / 2], dense */
	uint64_t positions;		/* u32 [tokens]: rows of cos and sin, as kiln_gather(); 0: row i is token i's */
};

/* As kiln_matmul(). */
int kiln_rope(struct kiln_ops *ops, const struct kiln_rope *rope,
	      kiln_done_fn done, void *user);

enum kiln_reduce_func {
	KILN_REDUCE_SUM		= 1,
	KILN_REDUCE_MEAN	= 2,
	KILN_REDUCE_MAX		= 3,	/* NaN if there is one */
	KILN_REDUCE_MIN		= 4,	/* the same */
};

/*
 * y[o][i] = func over k of x[o][k][i]: x is [outer, n, inner], y [outer, inner],
 * dense. The last dimension of a tensor has inner 1, the first outer 1. Sums are
 * fp32, at most n / 32 + 16 roundings in a row if inner is 1 and n up to 4096; a
 * mean is the sum times 1 / n. The result is rounded to out_type.
 */
struct kiln_reduce {
	enum kiln_type type;		/* of x */
	enum kiln_type out_type;	/* of y; 0: as type */
	enum kiln_reduce_func func;
	uint32_t outer, n, inner;	/* outer and inner 0: 1; n at least 1 */
	uint64_t x, y;			/* device addresses, aligned to the element */
};

/* As kiln_matmul(). */
int kiln_reduce(struct kiln_ops *ops, const struct kiln_reduce *reduce,
		kiln_done_fn done, void *user);

/*
 * The k greatest of each row of x [rows, width], greatest first, and where they
 * are: values and indices are [rows, k], dense. Of equals the first comes first;
 * NaN comes before everything, +0 before -0. k = 1 is the argmax. Where fewer
 * than k elements are more than -infinity, the indices of the rest say nothing.
 *
 * width is at most 2^24, and at most 16384 times as often as k, rounded up to
 * eights, goes into 8192: 131072 for k = 1024.
 */
struct kiln_topk {
	enum kiln_type type;		/* of x and values; indices are u32 */
	uint32_t rows, width;		/* at least 1 */
	uint32_t k;			/* 1 to width, up to 1024 */
	uint32_t ldx;			/* elements from row to row; 0: dense */
	uint64_t x, values, indices;	/* device addresses, aligned to the element */
};

/* As kiln_matmul(). */
int kiln_topk(struct kiln_ops *ops, const struct kiln_topk *topk,
	      kiln_done_fn done, void *user);

/*
 * Which elements of each row of x [rows, width], F32, are the k greatest, or with ascending the
 * least, those first; of equals the first comes first. indices are [rows, k]. NaN makes an order
 * that says nothing, but each place stands in it once. kiln_topk() is quicker for few of
 * them.
 *
 * width is at most 2^19. From 8193 on, work is memory that the command uses.
 */
struct kiln_order {
	uint32_t rows, width, k;	/* at least 1; k up to width */
	bool ascending;
	uint64_t x, indices;		/* device addresses, aligned to 4 bytes; indices are u32 */
	uint64_t work;			/* of kiln_order_work() bytes; 0 if these are 0 */
};

/* Bytes of work for rows of this width */
uint64_t kiln_order_work(uint32_t width);

/* As kiln_matmul(). */
int kiln_order(struct kiln_ops *ops, const struct kiln_order *order, kiln_done_fn done, void *user);

/* What an object of ops has done so far. */
struct kiln_ops_stats {
	uint64_t commands;	/* submitted */
	uint64_t programs_made;	/* each kept until kiln_ops_destroy() */
	uint64_t program_bytes;	/* of HBM, in all of them */
};

/* Commands submitted by this object so far, and programs it keeps. */
void kiln_ops_get_stats(const struct kiln_ops *ops, struct kiln_ops_stats *stats);

/*
 * The programs that it keeps, for kiln_asm_print(): one for each index from 0
 * on, in no order that means anything. *bytes is its size.
 *
 * Returns the program, valid until kiln_ops_destroy(), or NULL and 0 bytes past the
 * last.
 */
const void *kiln_ops_get_program(const struct kiln_ops *ops, unsigned int index, size_t *bytes);

#ifdef __cplusplus
}
#endif

#endif
