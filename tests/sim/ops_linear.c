// SPDX-License-Identifier: MIT
/*
 * Products with weights as they are stored, quantised and by experts, against float64. BF16
 * rounds both factors to 2^-9: a normalised mean square error of some 1e-6, and more where
 * sums nearly vanish; the limit is that of ggml's suite.
 */
#include "blocks.h"
#include "tensors.h"

static const int dense[4] = { 0, 1, 2, 3 }, swapped[4] = { 0, 2, 1, 3 };

/* Weights of a type, and what they are */
static float *weights(struct kiln_tensor *w, enum kiln_type type, const uint32_t dim[4])
{
	uint64_t n = (uint64_t)dim[0] * dim[1] * dim[2] * dim[3], i = 0;
	float *values = malloc(n * sizeof(*values));

	if (type < KILN_TYPE_Q4_0) {
		*w = tensor_of(type, dim, dense, 0, 1);
		fill_normal(w, 1);
		EACH(at, dim)
			values[i++] = value_of(w, at);
		return values;
	}
	*w = (struct kiln_tensor) { .type = type, .addr = room.addr + used };
	memcpy(w->dim, dim, sizeof(w->dim));
	for (i = 0; i < n; i++) {
		uint8_t *b = (uint8_t *)bytes_at(w->addr) + i / block_elements(type) * block_bytes(type);

		if (i % block_elements(type) == 0)
			random_block(type, b);
		values[i] = block_element(type, b, i % block_elements(type));
	}
	used += (n / block_elements(type) * block_bytes(type) + 255) / 256 * 256;
	return values;
}

static bool compare(const struct kiln_linear *d, const float *w, struct outcome *outcome)
{
	uint32_t b0 = d->x.dim[0] / d->w.dim[0], b1 = d->x.dim[1] / d->w.dim[1], c;
	struct nmse nmse = { 0 };
	bool ids = d->ids.addr;

	if (run_case(kiln_linear(ops, d, on_done, outcome), outcome))
		return false;
	EACH(at, d->out.dim) {
		uint64_t row = at[3];
		double want = 0;

		if (ids) {
			const uint32_t which[4] = { 0, 0, at[1], at[2] };

			row += (uint64_t)value_of(&d->ids, which) * d->w.dim[2];
		} else {
			row += ((uint64_t)(at[0] / b0) * d->w.dim[1] + at[1] / b1) * d->w.dim[2];
		}
		for (c = 0; c < d->x.dim[3]; c++) {
			const uint32_t from[4] = { at[0], at[1], at[2], c };

			want += value_of(&d->x, from) * w[row * d->x.dim[3] + c];
		}
		nmse_add(&nmse, result_of(&d->out, at), want);
	}
	return nmse_good(&nmse, 5e-4) && gaps_untouched(&d->out);
}

static void check(enum kiln_type type, enum kiln_type x_type, const uint32_t xd[4], const uint32_t wd[4])
{
	const uint32_t od[4] = { xd[0], xd[1], xd[2], wd[2] };
	struct kiln_linear d = { .ids = { .addr = 0 } };
	struct outcome outcome = { 0 };
	float *w;

	start_case();
	w = weights(&d.w, type, wd);
	d.x = tensor_of(x_type, xd, swapped, 3, 1);
	fill_normal(&d.x, 1);
	d.out = tensor_of(KILN_TYPE_F32, od, dense, 1, 1);
	clear_result(&d.out);
	upload_room();
	ok(compare(&d, w, &outcome), "linear %s %s x %s %s, %llu cycles", any_type_name(x_type),
	   shape_text(&d.x), any_type_name(type), shape_text(&d.w),
	   (unsigned long long)outcome.result.cycles);
	free(w);
}

static void check_experts(enum kiln_type type, uint32_t experts, uint32_t tokens, uint32_t of, bool shared,
			  uint32_t m, uint32_t k)
{
	const uint32_t xd[4] = { 1, tokens, shared ? 1 : of, k }, wd[4] = { 1, experts, m, k };
	struct kiln_linear d = { .ids = { .addr = 0 } };
	struct outcome outcome = { 0 };
	float *w;

	start_case();
	w = weights(&d.w, type, wd);
	d.x = tensor_of(KILN_TYPE_F32, xd, dense, 0, 1);
	fill_normal(&d.x, 1);
	d.ids = tensor_of(KILN_TYPE_I32, (uint32_t[]) { 1, 1, tokens, of }, dense, 2, 1);
	EACH(at, d.ids.dim)
		set_value(&d.ids, at, next_random() % experts);
	d.out = tensor_of(KILN_TYPE_F32, (uint32_t[]) { 1, tokens, of, m }, dense, 0, 1);
	clear_result(&d.out);
	upload_room();
	ok(compare(&d, w, &outcome), "%u of %u experts %s%s, %u tokens, %u x %u, %llu cycles", of, experts,
	   any_type_name(type), shared ? ", one row for all" : "", tokens, m, k,
	   (unsigned long long)outcome.result.cycles);
	((int32_t *)bytes_at(d.ids.addr))[0] = experts;
	upload_room();
	outcome.calls = 0;
	ok(!kiln_linear(ops, &d, on_done, &outcome) && finish(&outcome) == -ENOEXEC,
	   "a number that is no expert's fails the command");
	free(w);
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct kiln_linear d = { .ids = { .addr = 0 } }, e;

	start_case();
	d.x = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	d.w = dense_of(KILN_TYPE_F16, 1, 2, 5, 64);
	d.out = dense_of(KILN_TYPE_F32, 1, 2, 3, 5);
	refused(kiln_linear(NULL, &d, NULL, NULL), -EINVAL, "no ops");
	e = d, e.x.type = KILN_TYPE_Q8_0, refused(kiln_linear(ops, &e, NULL, NULL), -ENOTSUP, "of x");
	e = d, e.out.dim[3] = 4, refused(kiln_linear(ops, &e, NULL, NULL), -EINVAL, "go together");
	e = d, e.w.dim[1] = 3, refused(kiln_linear(ops, &e, NULL, NULL), -EINVAL, "go together");
	e = d, e.ids = d.x, refused(kiln_linear(ops, &e, NULL, NULL), -ENOTSUP, "ids");
	e = d, e.w.type = KILN_TYPE_Q4_K, refused(kiln_linear(ops, &e, NULL, NULL), -EINVAL, "whole blocks");
	e = d, e.w.addr += 1, refused(kiln_linear(ops, &e, NULL, NULL), -EINVAL, "w is at");
	e = d, e.x.dim[3] = e.w.dim[3] = 65536, refused(kiln_linear(ops, &e, NULL, NULL), -ENOTSUP, "65536");
}

int main(void)
{
	enum kiln_type type;

	open_room();
	check(KILN_TYPE_F16, KILN_TYPE_F32, (uint32_t[]) { 1, 1, 1, 64 }, (uint32_t[]) { 1, 1, 3, 64 });
	check(KILN_TYPE_BF16, KILN_TYPE_F32, (uint32_t[]) { 2, 4, 5, 40 }, (uint32_t[]) { 1, 2, 17, 40 });
	check(KILN_TYPE_F32, KILN_TYPE_BF16, (uint32_t[]) { 1, 1, 150, 300 }, (uint32_t[]) { 1, 1, 600, 300 });
	for (type = KILN_TYPE_Q4_0; type <= KILN_TYPE_NVFP4; type++)
		check(type, KILN_TYPE_F32, (uint32_t[]) { 1, 2, type % 2 ? 1 : 9, 256 },
		      (uint32_t[]) { 1, 1, 16, 256 });
	check(KILN_TYPE_Q8_0, KILN_TYPE_F32, (uint32_t[]) { 1, 1, 2, 2080 }, (uint32_t[]) { 1, 1, 530, 2080 });
	check(KILN_TYPE_Q4_K, KILN_TYPE_F16, (uint32_t[]) { 1, 1, 130, 1280 }, (uint32_t[]) { 1, 1, 130, 1280 });
	check_experts(KILN_TYPE_Q4_0, 8, 1, 2, true, 50, 256);
	check_experts(KILN_TYPE_F16, 4, 3, 2, false, 50, 64);
	check_experts(KILN_TYPE_Q8_0, 4, 129, 2, false, 16, 64);
	check_experts(KILN_TYPE_F32, 8, 40, 4, true, 520, 96);
	bad_arguments();
	return close_room();
}
