// SPDX-License-Identifier: MIT
/*
 * Copies: between strides, shapes and types, quantised ones among them, to the bit
 * where the target can hold it.
 */
#include "blocks.h"
#include "tensors.h"

static const int orders[][4] = { { 0, 1, 2, 3 }, { 0, 2, 1, 3 }, { 0, 1, 3, 2 }, { 3, 2, 1, 0 },
				 { 1, 0, 2, 3 } };

/* The place in b of the element that comes at-th in a */
static void same_place(const uint32_t a[4], const uint32_t at[4], const uint32_t b[4], uint32_t to[4])
{
	uint64_t n = 0;
	int d;

	for (d = 0; d < 4; d++)
		n = n * a[d] + at[d];
	for (d = 3; d >= 0; d--) {
		to[d] = n % b[d];
		n /= b[d];
	}
}

static void check(const struct kiln_tensor *src, const struct kiln_tensor *dst)
{
	struct outcome outcome = { 0 };
	bool good, order = count_of(src) == count_of(dst);
	uint32_t from[4];

	EACH(at, src->dim)
		set_value(src, at, normal() * 100);
	clear_result(dst);
	upload_room();
	good = !run_case(kiln_copy(ops, src, dst, on_done, &outcome), &outcome);
	if (good)
		EACH(at, dst->dim) {
			double want, got = result_of(dst, at);

			memcpy(from, at, sizeof(from));
			if (order)
				same_place(dst->dim, at, src->dim, from);
			want = value_of(src, from);
			set_value(dst, at, want);	/* rounds */
			want = value_of(dst, at);
			if (good && got != want) {
				printf("# %u %u %u %u: expected %.9g, got %.9g\n", at[0], at[1], at[2],
				       at[3], want, got);
				good = false;
			}
		}
	good = good && gaps_untouched(dst);
	ok(good, "copy %s %s to %s %s, %llu cycles", any_type_name(src->type), shape_text(src),
	   any_type_name(dst->type), shape_text(dst), (unsigned long long)outcome.result.cycles);
}

static void strides(void)
{
	static const enum kiln_type types[] = { KILN_TYPE_F32, KILN_TYPE_F16, KILN_TYPE_BF16,
						KILN_TYPE_I32 };
	static const uint32_t dims[][4] = { { 3, 4, 5, 10 }, { 1, 1, 1, 7 }, { 2, 3, 257, 129 },
					    { 1, 2, 700, 64 }, { 1, 1, 3, 5000 } };
	unsigned int a, b, i, j;

	for (a = 0; a < 4; a++)
		for (b = 0; b < 4; b++)
			for (i = 0; i < 5; i++) {
				const int *from = orders[next_random() % 5], *to = orders[next_random() % 5];
				struct kiln_tensor src, dst;

				start_case();
				j = next_random() % 3;
				src = tensor_of(types[a], dims[i], from, j, j + 1);
				dst = tensor_of(types[b], dims[i], to, j, 1);
				check(&src, &dst);
			}
}

static void shapes(void)
{
	static const uint32_t from[][4] = { { 3, 4, 5, 10 }, { 1, 2, 600, 9 }, { 2, 3, 4, 5 } };
	static const uint32_t to[][4] = { { 1, 6, 10, 10 }, { 27, 1, 4, 100 }, { 4, 3, 2, 5 } };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		struct kiln_tensor src, dst;

		start_case();
		src = tensor_of(KILN_TYPE_F32, from[i], orders[1], 0, 1);
		dst = tensor_of(KILN_TYPE_F32, to[i], orders[0], 0, 1);
		check(&src, &dst);
		start_case();
		src = tensor_of(KILN_TYPE_F16, from[i], orders[0], 0, 1);
		dst = tensor_of(KILN_TYPE_F32, to[i], orders[3], 3, 1);
		check(&src, &dst);
	}
}

static void repeats(void)
{
	static const uint32_t dim[4] = { 2, 3, 4, 10 };
	unsigned int i, d;

	for (i = 0; i < 6; i++) {
		uint32_t to[4];
		struct kiln_tensor src, dst;

		for (d = 0; d < 4; d++)
			to[d] = dim[d] * (1 + next_random() % 3);
		start_case();
		src = tensor_of(i % 2 ? KILN_TYPE_F32 : KILN_TYPE_F16, dim, orders[i % 5], 0, 1);
		dst = tensor_of(i < 3 ? src.type : KILN_TYPE_F32, to, orders[0], i, 1);
		check(&src, &dst);
	}
}

static void check_quantised(enum kiln_type type, enum kiln_type to, const uint32_t dim[4],
			    const int order[4], uint32_t gap)
{
	uint32_t per = block_elements(type), size = block_bytes(type), i;
	struct kiln_tensor src = { .type = type, .addr = room.addr }, dst;
	uint32_t blocks[4] = { dim[0], dim[1], dim[2], dim[3] / per };
	struct outcome outcome = { 0 };
	struct nmse nmse = { 0 };
	struct kiln_tensor places;
	uint8_t *from;
	bool good;

	start_case();
	/* Where blocks lie, in bytes; strides of the tensor count elements. */
	places = tensor_of(KILN_TYPE_I8, blocks, order, gap, 1);
	used = (used * size + 255) / 256 * 256;
	memcpy(src.dim, dim, sizeof(src.dim));
	for (i = 0; i < 4; i++)
		src.stride[i] = i < 3 ? places.stride[i] * per : 1;
	dst = tensor_of(to, dim, orders[0], type == to ? 0 : gap, 1);
	from = bytes_at(src.addr);
	EACH(at, blocks)
		random_block(type, from + index_of(&places, at) * size);
	clear_result(&dst);
	upload_room();
	good = !run_case(kiln_copy(ops, &src, &dst, on_done, &outcome), &outcome);
	if (good)
		EACH(at, dim) {
			uint32_t where[4] = { at[0], at[1], at[2], at[3] / per };
			const uint8_t *block = from + index_of(&places, where) * size;

			nmse_add(&nmse, result_of(&dst, at), block_element(type, block, at[3] % per));
		}
	good = good && nmse_good(&nmse, to == KILN_TYPE_F32 ? 1e-13 : to == KILN_TYPE_F16 ? 0x1p-22 : 0x1p-16) &&
		gaps_untouched(&dst);
	ok(good, "expand %s %s to %s, %llu cycles", any_type_name(type), shape_text(&src),
	   any_type_name(to), (unsigned long long)outcome.result.cycles);
}

static void quantised(void)
{
	static const enum kiln_type to[] = { KILN_TYPE_F32, KILN_TYPE_BF16, KILN_TYPE_F16 };
	enum kiln_type type;

	for (type = KILN_TYPE_Q4_0; type <= KILN_TYPE_NVFP4; type++) {
		check_quantised(type, to[type % 3], (uint32_t[]) { 1, 2, 3, 512 }, orders[0], 0);
		check_quantised(type, KILN_TYPE_F32, (uint32_t[]) { 3, 4, 5, 256 }, orders[1], 0);
		check_quantised(type, KILN_TYPE_F32, (uint32_t[]) { 1, 1, 300, 768 }, orders[0], 1);
		check_quantised(type, KILN_TYPE_BF16, (uint32_t[]) { 1, 1, 1, 256 }, orders[0], 0);
	}
}

/*
 * Into blocks: an element comes back within half a step of its block, and half a step is the
 * error of most of them; a 16-bit scale adds 2^-11 of the element.
 */
static void check_pack(enum kiln_type from, enum kiln_type type, const uint32_t dim[4], bool by_index)
{
	uint32_t per = block_elements(type), size = block_bytes(type), steps;
	struct kiln_tensor src, dst = { .type = type }, index = { .addr = 0 };
	struct outcome outcome = { 0 };
	bool good;
	int err;

	start_case();
	src = tensor_of(from, dim, orders[by_index ? 0 : 1], 0, 1);
	fill_normal(&src, 2);
	EACH(at, dim)		/* the first block of all is zeros */
		if (!at[0] && !at[1] && !at[2] && at[3] < per)
			set_value(&src, at, 0);
	if (by_index) {
		index = dense_of(KILN_TYPE_I64, 1, 1, 1, dim[2]);
		EACH(at, index.dim)
			set_value(&index, at, dim[2] - 1 - at[3]);
	}
	dst.addr = room.addr + used;
	memcpy(dst.dim, dim, sizeof(dst.dim));
	used += count_of(&src) / per * size + 256;
	memset(bytes_at(dst.addr), 0xa5, count_of(&src) / per * size + 256);
	upload_room();
	if (by_index) {
		struct kiln_set_rows set = { .src = src, .index = index, .out = dst };

		err = kiln_set_rows(ops, &set, on_done, &outcome);
	} else {
		err = kiln_copy(ops, &src, &dst, on_done, &outcome);
	}
	good = !run_case(err, &outcome);
	steps = type == KILN_TYPE_Q8_0 ? 254 : type <= KILN_TYPE_Q4_1 ? 15 : type == KILN_TYPE_TQ2_0 ? 2 : 31;
	if (good)
		EACH(at, dim) {
			uint32_t row = by_index ? dim[2] - 1 - at[2] : at[2], j;
			uint64_t n = ((uint64_t)(at[0] * dim[1] + at[1]) * dim[2] + row) * dim[3] + at[3];
			const uint8_t *b = after + (dst.addr - room.addr) + n / per * size;
			double x = value_of(&src, at), got = block_element(type, b, n % per), least = 0, most = 0, step;

			for (j = 0; j < per; j++) {
				uint32_t other[4] = { at[0], at[1], at[2], at[3] / per * per + j };
				double y = value_of(&src, other);

				most = fmax(most, y);
				least = fmin(least, y);
			}
			/* of those with a sign, the step of the greater side, which the lesser has less of */
			step = type == KILN_TYPE_Q4_1 || type == KILN_TYPE_Q5_1 ? (most - least) / steps :
				fmax(most, -least) / (steps == 2 ? 1 : steps == 254 ? 127 : (steps + 1) / 2);
			/* the greater one's opposite may be a step out of reach */
			step *= type == KILN_TYPE_Q4_0 || type == KILN_TYPE_Q5_0 ? 1.01 : 0.51;
			if (good && !(fabs(x - got) <= step + 0x1p-10 * fmax(most, -least))) {
				printf("# %u %u %u %u: expected %.9g +- %.3g, got %.9g\n", at[0], at[1], at[2],
				       at[3], x, step, got);
				good = false;
			}
		}
	for (uint64_t i = 0; good && i < 256; i++)
		good = after[dst.addr - room.addr + count_of(&src) / per * size + i] == 0xa5;
	ok(good, "%s %s into %s%s, %llu cycles", any_type_name(from), shape_text(&src), any_type_name(type),
	   by_index ? " by index" : "", (unsigned long long)outcome.result.cycles);
}

/*
 * Into blocks whose scales are searched for: what comes back misses no more of the squares than
 * the bits of the type let one expect of normal values. A row is of one value, which only the
 * types with a minimum, or a level at the end, have exactly; the first block is zeros.
 */
static void check_searched(enum kiln_type from, enum kiln_type type, const uint32_t dim[4], double most)
{
	uint32_t per = block_elements(type), size = block_bytes(type);
	struct kiln_tensor src, dst = { .type = type };
	struct outcome outcome = { 0 };
	struct nmse nmse = { 0 };
	bool good;

	start_case();
	src = tensor_of(from, dim, orders[0], 0, 1);
	fill_normal(&src, 2);
	EACH(at, dim)
		if (!at[0] && !at[1] && at[2] < 2 && at[3] < per)
			set_value(&src, at, at[2] ? -1.5 : 0);
	dst.addr = room.addr + used;
	memcpy(dst.dim, dim, sizeof(dst.dim));
	used += count_of(&src) / per * size + 256;
	memset(bytes_at(dst.addr), 0xa5, count_of(&src) / per * size + 256);
	upload_room();
	good = !run_case(kiln_copy(ops, &src, &dst, on_done, &outcome), &outcome);
	if (good)
		EACH(at, dim) {
			uint64_t n = ((uint64_t)(at[0] * dim[1] + at[1]) * dim[2] + at[2]) * dim[3] + at[3];
			const uint8_t *b = after + (dst.addr - room.addr) + n / per * size;
			double x = value_of(&src, at), got = block_element(type, b, n % per);
			bool first = !at[0] && !at[1] && at[2] < 2 && at[3] < per;

			nmse_add(&nmse, got, x);
			if (good && first && fabs(got - x) > 0.03) {
				printf("# element %u of a block of %g: got %.9g\n", at[3], x, got);
				good = false;
			}
		}
	good = good && nmse_good(&nmse, most);
	for (uint64_t i = 0; good && i < 256; i++)
		good = after[dst.addr - room.addr + count_of(&src) / per * size + i] == 0xa5;
	ok(good, "%s %s into %s, %llu cycles", any_type_name(from), shape_text(&src), any_type_name(type),
	   (unsigned long long)outcome.result.cycles);
}

static void searches(void)
{
	static const struct {
		enum kiln_type type;
		double most;
	} to[] = {
		{ KILN_TYPE_Q2_K, 0.09 }, { KILN_TYPE_Q3_K, 0.03 }, { KILN_TYPE_Q4_K, 0.006 },
		{ KILN_TYPE_Q5_K, 0.0015 }, { KILN_TYPE_Q6_K, 0.0004 }, { KILN_TYPE_IQ4_XS, 0.007 },
	};
	unsigned int i;

	for (i = 0; i < 6; i++) {
		check_searched(KILN_TYPE_F32, to[i].type, (uint32_t[]) { 2, 3, 4, 256 }, to[i].most);
		check_searched(KILN_TYPE_BF16, to[i].type, (uint32_t[]) { 1, 1, 140, 768 }, to[i].most);
	}
}

static void packs(void)
{
	static const enum kiln_type to[] = { KILN_TYPE_Q8_0, KILN_TYPE_Q4_0, KILN_TYPE_Q4_1, KILN_TYPE_Q5_0,
					     KILN_TYPE_Q5_1, KILN_TYPE_TQ2_0 };
	unsigned int i;

	for (i = 0; i < 6; i++) {
		check_pack(KILN_TYPE_F32, to[i], (uint32_t[]) { 2, 3, 4, 256 }, false);
		check_pack(KILN_TYPE_F16, to[i], (uint32_t[]) { 1, 1, 140, 512 }, true);
	}
}

/* Windows of 3 x 3, one of two, of an image of five channels: each becomes a row. */
static void windows(enum kiln_type to)
{
	const uint32_t out[4] = { 1, 4, 6, 45 };
	struct kiln_tensor image, rows;
	struct kiln_strided d = {
		.from = KILN_TYPE_F32, .to = to, .dims = 5, .dim = { 4, 6, 5, 3, 3 },
		.src_stride = { 2 * 13, 2, 9 * 13, 13, 1 }, .dst_stride = { 6 * 45, 45, 9, 3, 1 },
	};
	struct outcome outcome = { 0 };
	bool good;

	start_case();
	image = dense_of(KILN_TYPE_F32, 1, 5, 9, 13);
	rows = tensor_of(to, out, orders[0], 0, 1);
	fill_normal(&image, 1);
	clear_result(&rows);
	upload_room();
	d.src = image.addr;
	d.dst = rows.addr;
	good = !run_case(kiln_copy_strided(ops, &d, on_done, &outcome), &outcome);
	EACH(at, out) {
		const uint32_t from[4] = { 0, at[3] / 9, 2 * at[1] + at[3] / 3 % 3, 2 * at[2] + at[3] % 3 };
		double want = value_of(&image, from), got = result_of(&rows, at);

		set_value(&rows, at, want);
		if (good && got != value_of(&rows, at)) {
			printf("# %u %u %u: expected %.9g, got %.9g\n", at[1], at[2], at[3], want, got);
			good = false;
		}
	}
	good = good && gaps_untouched(&rows);
	ok(good, "windows of an image as rows of %s", any_type_name(to));
	d.dims = 13;
	ok(kiln_copy_strided(ops, &d, NULL, NULL) == -EINVAL, "refused: %s", kiln_last_error());
	d.dims = 5, d.dim[2] = 0;
	ok(kiln_copy_strided(ops, &d, NULL, NULL) == -EINVAL, "refused: %s", kiln_last_error());
	d.dim[2] = 5, d.to = KILN_TYPE_Q8_0;
	ok(kiln_copy_strided(ops, &d, NULL, NULL) == -ENOTSUP, "refused: %s", kiln_last_error());
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct kiln_tensor a, b, t;

	start_case();
	a = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	b = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	refused(kiln_copy(NULL, &a, &b, NULL, NULL), -EINVAL, "no ops");
	refused(kiln_copy(ops, &a, NULL, NULL, NULL), -EINVAL, "no description");
	t = b, t.type = 99, refused(kiln_copy(ops, &a, &t, NULL, NULL), -ENOTSUP, "type 99");
	t = b, t.type = KILN_TYPE_IQ2_S, refused(kiln_copy(ops, &a, &t, NULL, NULL), -ENOTSUP, "52");
	t = b, t.addr += 2, refused(kiln_copy(ops, &a, &t, NULL, NULL), -EINVAL, "dst is at");
	t = a, t.addr = 0, refused(kiln_copy(ops, &t, &b, NULL, NULL), -EINVAL, "src is at");
	t = b, t.dim[2] = 4, refused(kiln_copy(ops, &a, &t, NULL, NULL), -EINVAL, "into [1, 2, 4, 64]");
	t = a, t.dim[3] = 1u << 31, refused(kiln_copy(ops, &t, &b, NULL, NULL), -EINVAL, "2147483648");
	t = a, t.type = KILN_TYPE_Q6_K;
	refused(kiln_copy(ops, &t, &b, NULL, NULL), -EINVAL, "whole blocks of 256");
	t = a, t.type = KILN_TYPE_Q8_0, t.stride[3] = 2;
	refused(kiln_copy(ops, &t, &b, NULL, NULL), -EINVAL, "2 apart");
	a = tensor_of(KILN_TYPE_F32, (uint32_t[]) { 1, 1, 3, 4 }, orders[0], 1, 1);
	b = tensor_of(KILN_TYPE_F32, (uint32_t[]) { 1, 1, 4, 3 }, orders[0], 1, 1);
	refused(kiln_copy(ops, &a, &b, NULL, NULL), -ENOTSUP, "common pieces");
	check(&a, &a);
}

int main(void)
{
	open_room();
	strides();
	shapes();
	repeats();
	quantised();
	packs();
	searches();
	windows(KILN_TYPE_F32);
	windows(KILN_TYPE_F16);
	bad_arguments();
	return close_room();
}
