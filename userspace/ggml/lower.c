// SPDX-License-Identifier: MIT
/*
 * Nodes by their op, and what their functions share.
 */
#include <string.h>

#include "lower.h"

#define SCRATCH_BYTES	(1ull << 20)
#define CONSTANT_BYTES	65536u

void lower_done(void *user, const struct kiln_result *result)
{
	struct lower *l = user;

	l->commands++;
	l->cycles += result->cycles;
	if (result->res && !l->res)
		l->res = result->res;
}

/*
 * Commands of a queue run one after the other, so that all nodes share the same
 * scratch buffers. What is too large for them gets one more.
 */
uint64_t lower_scratch(struct lower *l, uint64_t bytes)
{
	bytes = (bytes + 255) & ~255ull;
	if (!l->device)
		return 4096;
	for (; l->scratch_turn < MAX_SCRATCH; l->scratch_turn++, l->scratch_used = 0) {
		struct kiln_buffer **buffer = &l->scratch[l->scratch_turn];

		if (!*buffer) {
			uint64_t size = SCRATCH_BYTES << l->scratch_turn;

			if (kiln_alloc(l->device, size > bytes ? size : bytes, KILN_HBM, 0, buffer))
				return 0;
		}
		if (l->scratch_used + bytes <= kiln_bytes(*buffer)) {
			l->scratch_used += bytes;
			return kiln_addr(*buffer) + l->scratch_used - bytes;
		}
	}
	return 0;
}

/* Each entry: a line with the count, the values, up to the next line. */
uint64_t lower_constants(struct lower *l, const float *values, unsigned int count)
{
	uint64_t bytes = 64 + ((count * sizeof(float) + 63) & ~63ull), at;
	unsigned int i;

	if (bytes > CONSTANT_BYTES)
		return 0;
	if (!l->device)
		return 4096;
	for (i = 0; i < MAX_CONSTANTS; i++) {
		bool last = i + 1 == MAX_CONSTANTS || !l->constants[i + 1];
		char *map;

		if (!l->constants[i]) {
			if (kiln_alloc(l->device, CONSTANT_BYTES, KILN_HBM, 0, &l->constants[i]))
				return 0;
			l->constants_used = 0;
		}
		map = kiln_map(l->constants[i]);
		if (!map)
			return 0;
		for (at = 0; at < (last ? l->constants_used : CONSTANT_BYTES); ) {
			uint32_t n = *(uint32_t *)(map + at);

			if (!n)
				break;
			if (n == count && !memcmp(map + at + 64, values, count * sizeof(float)))
				return kiln_addr(l->constants[i]) + at + 64;
			at += 64 + ((n * sizeof(float) + 63) & ~63ull);
		}
		if (last && at + bytes <= CONSTANT_BYTES) {
			memcpy(map + at + 64, values, count * sizeof(float));
			*(uint32_t *)(map + at) = count;
			l->constants_used = at + bytes;
			return kiln_addr(l->constants[i]) + at + 64;
		}
	}
	return 0;
}

enum kiln_type type_of(enum ggml_type type)
{
	static const uint8_t of[GGML_TYPE_COUNT] = {
		[GGML_TYPE_F32] = KILN_TYPE_F32, [GGML_TYPE_F16] = KILN_TYPE_F16,
		[GGML_TYPE_BF16] = KILN_TYPE_BF16, [GGML_TYPE_I32] = KILN_TYPE_I32,
		[GGML_TYPE_I64] = KILN_TYPE_I64, [GGML_TYPE_Q4_0] = KILN_TYPE_Q4_0,
		[GGML_TYPE_Q4_1] = KILN_TYPE_Q4_1, [GGML_TYPE_Q5_0] = KILN_TYPE_Q5_0,
		[GGML_TYPE_Q5_1] = KILN_TYPE_Q5_1, [GGML_TYPE_Q8_0] = KILN_TYPE_Q8_0,
		[GGML_TYPE_IQ4_NL] = KILN_TYPE_IQ4_NL, [GGML_TYPE_MXFP4] = KILN_TYPE_MXFP4,
		[GGML_TYPE_Q2_K] = KILN_TYPE_Q2_K, [GGML_TYPE_Q3_K] = KILN_TYPE_Q3_K,
		[GGML_TYPE_Q4_K] = KILN_TYPE_Q4_K, [GGML_TYPE_Q5_K] = KILN_TYPE_Q5_K,
		[GGML_TYPE_Q6_K] = KILN_TYPE_Q6_K, [GGML_TYPE_IQ4_XS] = KILN_TYPE_IQ4_XS,
		[GGML_TYPE_TQ1_0] = KILN_TYPE_TQ1_0, [GGML_TYPE_TQ2_0] = KILN_TYPE_TQ2_0,
		[GGML_TYPE_Q1_0] = KILN_TYPE_Q1_0, [GGML_TYPE_Q2_0] = KILN_TYPE_Q2_0,
		[GGML_TYPE_NVFP4] = KILN_TYPE_NVFP4, [GGML_TYPE_IQ2_XXS] = KILN_TYPE_IQ2_XXS,
		[GGML_TYPE_IQ2_XS] = KILN_TYPE_IQ2_XS, [GGML_TYPE_IQ2_S] = KILN_TYPE_IQ2_S,
		[GGML_TYPE_IQ3_XXS] = KILN_TYPE_IQ3_XXS, [GGML_TYPE_IQ3_S] = KILN_TYPE_IQ3_S,
		[GGML_TYPE_IQ1_S] = KILN_TYPE_IQ1_S, [GGML_TYPE_IQ1_M] = KILN_TYPE_IQ1_M,
	};

	return of[type];
}

struct kiln_tensor view(const struct ggml_tensor *t)
{
	struct kiln_tensor v = { .type = type_of(t->type), .addr = address(t) };
	size_t bytes = ggml_type_size(t->type);

	for (int d = 0; d < GGML_MAX_DIMS; d++) {
		v.dim[3 - d] = t->ne[d];
		v.stride[3 - d] = t->nb[d] / bytes * (d ? ggml_blck_size(t->type) : 1);
		if (t->ne[d] > UINT32_MAX || t->nb[d] % bytes)
			v.type = 0;
	}
	return v;
}

struct kiln_tensor scratch(struct lower *l, enum kiln_type type, uint32_t d0, uint32_t d1,
			   uint32_t d2, uint32_t d3)
{
	uint64_t addr = lower_scratch(l, (uint64_t)d0 * d1 * d2 * d3 * type_bytes(type));

	return dense(type, addr, d0, d1, d2, d3);
}

uint64_t dense_copy(struct lower *l, const struct ggml_tensor *t, enum kiln_type type, int *err)
{
	struct kiln_tensor to;
	int said;

	if (type_of(t->type) == type && ggml_is_contiguous(t))
		return address(t);
	to = scratch(l, type, t->ne[3], t->ne[2], t->ne[1], t->ne[0]);
	said = to.addr ? copy(l, view(t), to) : -ENOMEM;
	if (said)
		*err = said;
	return to.addr;
}

void lower_begin(struct lower *l)
{
	l->scratch_turn = 0;
	l->scratch_used = 0;
}

int lower_node(struct lower *l, const struct ggml_tensor *node)
{
	lower_begin(l);
	if (ggml_is_empty(node))
		return 0;
	/* To libkiln, a dimension of 0 is one of 1. */
	for (int i = 0; i < GGML_MAX_SRC; i++)
		if (node->src[i] && ggml_is_empty(node->src[i]))
			return node->op == GGML_OP_SET_ROWS ? 0 :
			       node->op == GGML_OP_CONV_3D ? lower_constant_fill(l, view(node), 0) :
			       -ENOTSUP;
	switch (node->op) {
	case GGML_OP_NONE:
	case GGML_OP_RESHAPE:
	case GGML_OP_VIEW:
	case GGML_OP_PERMUTE:
	case GGML_OP_TRANSPOSE:
		return 0;
	case GGML_OP_ADD:
	case GGML_OP_ADD1:
	case GGML_OP_SUB:
	case GGML_OP_MUL:
	case GGML_OP_DIV:
		return lower_binary(l, node);
	case GGML_OP_SQR:
	case GGML_OP_SQRT:
	case GGML_OP_LOG:
	case GGML_OP_SIN:
	case GGML_OP_COS:
	case GGML_OP_CLAMP:
	case GGML_OP_LEAKY_RELU:
	case GGML_OP_UNARY:
		return lower_unary(l, node);
	case GGML_OP_SILU_BACK:
		return lower_unary_back(l, node);
	case GGML_OP_GLU:
		return lower_glu(l, node);
	case GGML_OP_SCALE:
		return lower_scale(l, node);
	case GGML_OP_FILL:
		return lower_fill(l, node);
	case GGML_OP_CPY:
	case GGML_OP_CONT:
	case GGML_OP_DUP:
	case GGML_OP_REPEAT:
		return lower_copy(l, node);
	case GGML_OP_ACC:
	case GGML_OP_SET:
		return lower_set(l, node);
	case GGML_OP_CONCAT:
		return lower_concat(l, node);
	case GGML_OP_PAD:
		return lower_pad(l, node);
	case GGML_OP_PAD_REFLECT_1D:
		return lower_pad_reflect(l, node);
	case GGML_OP_UPSCALE:
		return lower_upscale(l, node);
	case GGML_OP_ROLL:
		return lower_roll(l, node);
	case GGML_OP_REPEAT_BACK:
		return lower_repeat_back(l, node);
	case GGML_OP_TRI:
		return lower_tri(l, node);
	case GGML_OP_DIAG:
		return lower_diag(l, node);
	case GGML_OP_DIAG_MASK_INF:
	case GGML_OP_DIAG_MASK_ZERO:
		return lower_diag_mask(l, node);
	case GGML_OP_ARANGE:
		return lower_arange(l, node);
	case GGML_OP_SOFT_MAX:
		return lower_softmax(l, node);
	case GGML_OP_NORM:
	case GGML_OP_RMS_NORM:
	case GGML_OP_L2_NORM:
		return lower_norm(l, node);
	case GGML_OP_RMS_NORM_BACK:
		return lower_norm_back(l, node);
	case GGML_OP_CUMSUM:
		return lower_cumsum(l, node);
	case GGML_OP_SOFT_MAX_BACK:
		return lower_softmax_back(l, node);
	case GGML_OP_SET_ROWS:
		return lower_set_rows(l, node);
	case GGML_OP_GET_ROWS_BACK:
		return lower_get_rows_back(l, node);
	case GGML_OP_ADD_ID:
		return lower_add_id(l, node);
	case GGML_OP_GROUP_NORM:
		return lower_group_norm(l, node);
	case GGML_OP_SUM:
	case GGML_OP_SUM_ROWS:
	case GGML_OP_MEAN:
		return lower_reduce(l, node);
	case GGML_OP_COUNT_EQUAL:
		return lower_count_equal(l, node);
	case GGML_OP_ARGMAX:
	case GGML_OP_ARGSORT:
	case GGML_OP_TOP_K:
		return lower_top(l, node);
	case GGML_OP_GET_ROWS:
		return lower_get_rows(l, node);
	case GGML_OP_ROPE:
	case GGML_OP_ROPE_BACK:
		return lower_rope(l, node);
	case GGML_OP_MUL_MAT:
		return lower_matmul(l, node);
	case GGML_OP_MUL_MAT_ID:
		return lower_matmul_id(l, node);
	case GGML_OP_OUT_PROD:
		return lower_out_prod(l, node);
	case GGML_OP_FLASH_ATTN_EXT:
		return lower_attention(l, node);
	case GGML_OP_LIGHTNING_INDEXER:
		return lower_indexer(l, node);
	case GGML_OP_CROSS_ENTROPY_LOSS:
		return lower_cross_entropy(l, node);
	case GGML_OP_CROSS_ENTROPY_LOSS_BACK:
		return lower_cross_entropy_back(l, node);
	case GGML_OP_OPT_STEP_SGD:
		return lower_sgd(l, node);
	case GGML_OP_OPT_STEP_ADAMW:
		return lower_adamw(l, node);
	case GGML_OP_GATED_DELTA_NET:
		return lower_delta_net(l, node);
	case GGML_OP_GATED_LINEAR_ATTN:
		return lower_gated_linear_attention(l, node);
	case GGML_OP_RWKV_WKV6:
		return lower_rwkv6(l, node);
	case GGML_OP_RWKV_WKV7:
		return lower_rwkv7(l, node);
	case GGML_OP_SSM_SCAN:
		return lower_ssm_scan(l, node);
	case GGML_OP_SOLVE_TRI:
		return lower_solve_triangle(l, node);
	case GGML_OP_DSV4_HC_PRE:
		return lower_streams_in(l, node);
	case GGML_OP_DSV4_HC_POST:
		return lower_streams_out(l, node);
	case GGML_OP_DSV4_HC_COMB:
		return lower_streams_mix(l, node);
	case GGML_OP_TIMESTEP_EMBEDDING:
		return lower_timestep_embedding(l, node);
	case GGML_OP_IM2COL:
		return lower_im2col(l, node);
	case GGML_OP_IM2COL_3D:
		return lower_im2col_3d(l, node);
	case GGML_OP_CONV_2D:
		return lower_conv_2d(l, node);
	case GGML_OP_CONV_3D:
		return lower_conv_3d(l, node);
	case GGML_OP_CONV_2D_DW:
		return lower_conv_2d_dw(l, node);
	case GGML_OP_SSM_CONV:
		return lower_ssm_conv(l, node);
	case GGML_OP_COL2IM_1D:
		return lower_col2im_1d(l, node);
	case GGML_OP_CONV_TRANSPOSE_1D:
		return lower_conv_transpose_1d(l, node);
	case GGML_OP_CONV_TRANSPOSE_2D:
		return lower_conv_transpose_2d(l, node);
	case GGML_OP_POOL_1D:
	case GGML_OP_POOL_2D:
		return lower_pool(l, node);
	default:
		return -ENOTSUP;
	}
}
