// SPDX-License-Identifier: MIT
/*
 * Rotary embedding by positions against float64. An angle of a is rounded to a * 2^-23
 * and turned back by a few 2^-24 of 2 pi; the error of ggml's suite is 1e-7.
 */
#include "tensors.h"

static void check(struct kiln_rotate d, enum kiln_type type, const uint32_t dim[4], const int order[4],
		  bool sections, bool factors, int most, bool in_place)
{
	float frequency[d.pairs];
	uint8_t section[d.pairs];
	struct kiln_tensor positions, ff = { .addr = 0 };
	struct outcome outcome = { 0 };
	struct nmse nmse = { 0 };
	uint32_t j;
	bool good;

	for (j = 0; j < d.pairs; j++) {
		frequency[j] = powf(10000, -2.0f * j / (2 * d.pairs));
		section[j] = j * 4 / d.pairs;
	}
	start_case();
	d.x = tensor_of(type, dim, order, 0, 1);
	positions = dense_of(KILN_TYPE_I32, 1, 1, sections ? 4 : 1, dim[1]);
	if (factors)
		ff = dense_of(KILN_TYPE_F32, 1, 1, 1, d.pairs);
	d.y = in_place ? d.x : tensor_of(type, dim, (int[]) { 0, 1, 2, 3 }, 1, 1);
	fill_normal(&d.x, 1);
	EACH(at, positions.dim)
		set_value(&positions, at, next_random() % most);
	if (factors)
		EACH(at, ff.dim)
			set_value(&ff, at, 0.9 + (next_random() & 255) / 256.0);
	if (!in_place)
		clear_result(&d.y);
	upload_room();
	d.frequency = frequency;
	d.section = sections ? section : NULL;
	d.positions = positions.addr;
	d.factors = ff.addr;
	good = !run_case(kiln_rotate(ops, &d, on_done, &outcome), &outcome);
	if (good)
		EACH(at, dim) {
			uint32_t i = at[3], a[4] = { at[0], at[1], at[2], i }, b[4] = { at[0], at[1], at[2], i };
			bool first;
			double want, angle, scale = d.scale ? d.scale : 1;

			j = d.interleaved ? i / 2 : i % d.pairs;
			first = d.interleaved ? i % 2 == 0 : i < d.pairs;
			if (i >= 2 * d.pairs) {
				want = value_of(&d.x, at);
			} else {
				uint32_t s = sections ? section[j] : 0;
				uint32_t place[4] = { 0, 0, s, at[1] }, k[4] = { 0, 0, 0, j };

				a[3] = d.interleaved ? 2 * j : j;
				b[3] = d.interleaved ? 2 * j + 1 : j + d.pairs;
				/* The card's angle is an fp32. */
				angle = (float)(value_of(&positions, place) * frequency[j]);
				if (factors)
					angle /= value_of(&ff, k);
				if (d.back)
					angle = -angle;
				want = first ? value_of(&d.x, a) * cos(angle) - value_of(&d.x, b) * sin(angle) :
					value_of(&d.x, b) * cos(angle) + value_of(&d.x, a) * sin(angle);
				want *= scale;
			}
			nmse_add(&nmse, result_of(&d.y, at), want);
		}
	/* of an angle with a factor, the last bit of some thousands */
	good = good && nmse_good(&nmse, type == KILN_TYPE_F32 ? (most > 1000 ? 1e-8 : 1e-10) :
				 type == KILN_TYPE_F16 ? 1e-7 : 1e-5) &&
		(in_place || gaps_untouched(&d.y));
	ok(good, "rotate %s %s%s, %u pairs%s%s%s%s up to %d, %llu cycles", any_type_name(type), shape_text(&d.x),
	   in_place ? " in place" : "", d.pairs, d.interleaved ? " interleaved" : "",
	   sections ? " in sections" : "", factors ? " with factors" : "", d.back ? " back" : "",
	   most, (unsigned long long)outcome.result.cycles);
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	float frequency[32] = { 1 };
	uint8_t section[32] = { 4 };
	struct kiln_rotate d = { .pairs = 32, .frequency = frequency }, e;

	start_case();
	d.x = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	d.y = dense_of(KILN_TYPE_F32, 1, 2, 3, 64);
	d.positions = d.x.addr;
	refused(kiln_rotate(NULL, &d, NULL, NULL), -EINVAL, "no ops");
	e = d, e.y.type = KILN_TYPE_F16, refused(kiln_rotate(ops, &e, NULL, NULL), -ENOTSUP, "the same");
	e = d, e.pairs = 33, refused(kiln_rotate(ops, &e, NULL, NULL), -EINVAL, "33 pairs");
	e = d, e.frequency = NULL, refused(kiln_rotate(ops, &e, NULL, NULL), -EINVAL, "missing");
	e = d, e.section = section, refused(kiln_rotate(ops, &e, NULL, NULL), -EINVAL, "section 4");
	e = d, e.positions = 0, refused(kiln_rotate(ops, &e, NULL, NULL), -EINVAL, "positions");
	e = d, e.y.dim[1] = 3, refused(kiln_rotate(ops, &e, NULL, NULL), -EINVAL, "dimension 1");
	e = d, e.x.stride[3] = 2, refused(kiln_rotate(ops, &e, NULL, NULL), -EINVAL, "apart");
}

int main(void)
{
	static const int dense[4] = { 0, 1, 2, 3 }, swapped[4] = { 0, 2, 1, 3 };
	static const enum kiln_type types[] = { KILN_TYPE_F32, KILN_TYPE_F16, KILN_TYPE_BF16 };
	unsigned int i;

	open_room();
	for (i = 0; i < 24; i++) {
		struct kiln_rotate d = { .pairs = i % 4 == 3 ? 32 : 64, .interleaved = i % 2, .back = i % 5 == 1,
					 .scale = i % 7 == 2 ? 1.25f : 0 };
		uint32_t dim[4] = { i % 6 == 0 ? 2 : 1, i < 12 ? 3 : 150, i % 3 ? 4 : 40, 128 };

		check(d, types[i % 3], dim, i % 4 == 1 ? swapped : dense, i % 5 == 3, i % 4 == 2,
		      i % 8 == 7 ? 130000 : 512, i % 6 == 5);
	}
	bad_arguments();
	return close_room();
}
