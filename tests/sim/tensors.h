/* SPDX-License-Identifier: MIT */
/* What the tests of ops on strided tensors share: a tensor of the card with its place, its elements as doubles. */
#ifndef TENSORS_H
#define TENSORS_H

#include "ops_test.h"

/* One buffer holds all tensors of a case, one behind the other, with a gap. */
static struct tensor room;
static uint64_t used;

#define ROOM_BYTES	(48u << 20)

static inline uint32_t element_bytes(enum kiln_type type)
{
	switch (type) {
	case KILN_TYPE_F32: case KILN_TYPE_I32: return 4;
	case KILN_TYPE_BF16: case KILN_TYPE_F16: return 2;
	case KILN_TYPE_I64: return 8;
	default: return 1;
	}
}

static inline void start_case(void)
{
	used = 0;
}

static inline uint64_t count_of(const struct kiln_tensor *t)
{
	return (uint64_t)t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
}

/* The bytes of what lies at a device address of the room, on this side */
static inline void *bytes_at(uint64_t addr)
{
	return (uint8_t *)room.shadow + (addr - room.addr);
}

/*
 * A tensor of these dimensions, which lie in memory in the order of perm (perm[3]
 * innermost), the innermost one with gap elements more than it has and each
 * element step from the next.
 */
static inline struct kiln_tensor tensor_of(enum kiln_type type, const uint32_t dim[4],
					   const int perm[4], uint32_t gap, uint32_t step)
{
	struct kiln_tensor t = { .type = type, .addr = room.addr + used };
	int64_t at = step;
	int i;

	for (i = 3; i >= 0; i--) {
		t.dim[perm[i]] = dim[perm[i]];
		t.stride[perm[i]] = at;
		at *= dim[perm[i]];
		if (i == 3)
			at += gap;
	}
	used += (at * element_bytes(type) + 255) / 256 * 256;
	if (used > ROOM_BYTES)
		bail("a case does not fit the test's memory");
	return t;
}

static inline struct kiln_tensor dense_of(enum kiln_type type, uint32_t d0, uint32_t d1, uint32_t d2,
					  uint32_t d3)
{
	static const int order[4] = { 0, 1, 2, 3 };
	const uint32_t dim[4] = { d0, d1, d2, d3 };

	return tensor_of(type, dim, order, 0, 1);
}

/* Where element (i, j, k, l) of a tensor, repeated if it is smaller, stands in its memory. */
static inline uint64_t index_of(const struct kiln_tensor *t, const uint32_t at[4])
{
	uint64_t index = 0;
	int d;

	for (d = 0; d < 4; d++)
		index += at[d] % t->dim[d] * t->stride[d];
	return index;
}

static inline double value_of(const struct kiln_tensor *t, const uint32_t at[4])
{
	uint64_t i = index_of(t, at);
	const void *p = bytes_at(t->addr);

	if (t->type == KILN_TYPE_I32)
		return ((const int32_t *)p)[i];
	if (t->type == KILN_TYPE_I64)
		return ((const int64_t *)p)[i];
	return get(p, t->type, i);
}

static inline void set_value(const struct kiln_tensor *t, const uint32_t at[4], double x)
{
	uint64_t i = index_of(t, at);
	void *p = bytes_at(t->addr);

	if (t->type == KILN_TYPE_I32)
		((int32_t *)p)[i] = lrint(x);
	else if (t->type == KILN_TYPE_I64)
		((int64_t *)p)[i] = lrint(x);
	else
		put(p, t->type, i, x);
}

/* The next place of a tensor's shape, innermost first; false after the last. */
static inline bool next_place(const uint32_t dim[4], uint32_t at[4])
{
	int d;

	for (d = 3; d >= 0; d--) {
		if (++at[d] < dim[d])
			return true;
		at[d] = 0;
	}
	return false;
}

#define EACH(at, dim)	for (uint32_t at[4] = { 0 }, go_on = 1; go_on; go_on = next_place(dim, at))

static inline void fill_normal(const struct kiln_tensor *t, double scale)
{
	EACH(at, t->dim)
		set_value(t, at, normal() * scale);
}

/* All that was set goes to the card; results start as a pattern. */
static inline void upload_room(void)
{
	memcpy(room.map, room.shadow, used);
}

static inline void clear_result(const struct kiln_tensor *t)
{
	uint64_t end = t->addr - room.addr;

	memset((uint8_t *)room.shadow + end, 0xa5, used - end);
}

/* What the card did: into a second memory, so that what went in can still be read. */
static uint8_t *after;

static inline double result_of(const struct kiln_tensor *t, const uint32_t at[4])
{
	uint64_t i = index_of(t, at);
	const void *p = after + (t->addr - room.addr);

	if (t->type == KILN_TYPE_I32)
		return ((const int32_t *)p)[i];
	if (t->type == KILN_TYPE_I64)
		return ((const int64_t *)p)[i];
	return get(p, t->type, i);
}

static inline int run_case(int err, struct outcome *outcome)
{
	if (err) {
		printf("# %d %s\n", err, kiln_last_error());
		return err;
	}
	err = finish(outcome);
	memcpy(after, room.map, used);
	return err;
}

/* Nothing was written between the elements of the result and behind it, up to that address. */
static inline bool gaps_untouched_below(const struct kiln_tensor *t, uint64_t end)
{
	uint64_t start = t->addr - room.addr, i, bytes = end - t->addr;
	uint32_t es = element_bytes(t->type);
	uint8_t *holds = calloc(1, bytes);
	bool good = true;

	EACH(at, t->dim)
		memset(holds + index_of(t, at) * es, 1, es);
	for (i = 0; good && i < bytes; i++)
		if (!holds[i] && after[start + i] != 0xa5) {
			printf("# byte %llu of the result's memory was written\n", (unsigned long long)i);
			good = false;
		}
	free(holds);
	return good;
}

static inline bool gaps_untouched(const struct kiln_tensor *t)
{
	return gaps_untouched_below(t, room.addr + used);
}

/* Normalised mean square error, as ggml's suite has it. */
struct nmse {
	double error, power;
};

static inline void nmse_add(struct nmse *n, double got, double want)
{
	if (isinf(want) && got == want)
		return;
	n->error += (got - want) * (got - want);
	n->power += want * want;
}

static inline bool nmse_good(const struct nmse *n, double limit)
{
	double got = n->power ? n->error / n->power : n->error;

	if (got <= limit)
		return true;
	printf("# expected a normalised mean square error of up to %.3g, got %.6g\n", limit, got);
	return false;
}

static inline const char *shape_text(const struct kiln_tensor *t)
{
	static char text[4][96];
	static int turn;
	char *s = text[turn++ % 4];

	snprintf(s, 96, "[%u,%u,%u,%u](%lld,%lld,%lld,%lld)", t->dim[0], t->dim[1], t->dim[2],
		 t->dim[3], (long long)t->stride[0], (long long)t->stride[1],
		 (long long)t->stride[2], (long long)t->stride[3]);
	return s;
}

static inline const char *any_type_name(enum kiln_type type)
{
	static const char *const name[] = {
		[KILN_TYPE_F32] = "f32", [KILN_TYPE_BF16] = "bf16", [KILN_TYPE_F16] = "f16",
		[KILN_TYPE_I8] = "i8", [KILN_TYPE_I32] = "i32", [KILN_TYPE_I64] = "i64",
		[KILN_TYPE_Q4_0] = "q4_0", [KILN_TYPE_Q4_1] = "q4_1", [KILN_TYPE_Q5_0] = "q5_0",
		[KILN_TYPE_Q5_1] = "q5_1", [KILN_TYPE_Q8_0] = "q8_0", [KILN_TYPE_IQ4_NL] = "iq4_nl",
		[KILN_TYPE_MXFP4] = "mxfp4", [KILN_TYPE_Q2_K] = "q2_K", [KILN_TYPE_Q3_K] = "q3_K",
		[KILN_TYPE_Q4_K] = "q4_K", [KILN_TYPE_Q5_K] = "q5_K", [KILN_TYPE_Q6_K] = "q6_K",
		[KILN_TYPE_IQ4_XS] = "iq4_xs", [KILN_TYPE_TQ1_0] = "tq1_0", [KILN_TYPE_TQ2_0] = "tq2_0",
		[KILN_TYPE_Q1_0] = "q1_0", [KILN_TYPE_Q2_0] = "q2_0", [KILN_TYPE_NVFP4] = "nvfp4",
	};

	return name[type];
}

static inline void open_room(void)
{
	seed_random();
	open_card();
	tensor_make(&room, ROOM_BYTES);
	after = malloc(ROOM_BYTES);
	if (!after)
		bail("malloc");
}

static inline int close_room(void)
{
	free(after);
	tensor_free(&room);
	close_card();
	return done_testing();
}

#endif
