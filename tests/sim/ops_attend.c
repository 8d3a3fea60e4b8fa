// SPDX-License-Identifier: MIT
/*
 * Attention on strided tensors against float64; the error is that of ggml's suite, 5e-4,
 * or a tenth of that where all is fp16.
 */
#include "blocks.h"
#include "tensors.h"

struct shape {
	uint32_t batch, heads, kv_heads, n, keys, dk, dv;
	int q, k, v, out;		/* enum kiln_type */
	bool mask, mask_heads, sinks, swapped, beside;	/* heads of k and v, without a gap */
	float softcap, max_bias;
};

static double slope_of(float max_bias, uint32_t heads, uint32_t h)
{
	uint32_t whole = 1;

	if (max_bias == 0)
		return 1;
	while (2 * whole <= heads)
		whole *= 2;
	return h < whole ? pow(2, -max_bias / whole * (h + 1)) :
		pow(2, -max_bias / 2 / whole * (2 * (h - whole) + 1));
}

/* Dense blocks of random bits, and what they are as f32 beside it */
static struct kiln_tensor quantised_of(enum kiln_type type, const uint32_t dim[4], float **values)
{
	struct kiln_tensor t = { .type = type, .addr = room.addr + used };
	uint64_t n = (uint64_t)dim[0] * dim[1] * dim[2] * dim[3], i;
	uint32_t per = block_elements(type), size = block_bytes(type);
	uint8_t *b = bytes_at(t.addr);

	memcpy(t.dim, dim, sizeof(t.dim));
	*values = malloc(n * sizeof(**values));
	for (i = 0; i < n; i++) {
		if (i % per == 0)
			random_block(type, b + i / per * size);
		if (i % per == 0 && type == KILN_TYPE_Q8_0)
			set_half(b + i / per * size, 0.01f);
		(*values)[i] = block_element(type, b + i / per * size, i % per);
	}
	used += (n / per * size + 255) / 256 * 256;
	return t;
}

static double key_or_value(const struct kiln_tensor *t, const float *values, const uint32_t at[4])
{
	if (!values)
		return value_of(t, at);
	return values[((at[0] % t->dim[0] * t->dim[1] + at[1]) * t->dim[2] + at[2]) * t->dim[3] + at[3]];
}

static void check(const struct shape *s)
{
	static const int dense[4] = { 0, 1, 2, 3 }, swapped[4] = { 0, 2, 1, 3 };
	const int *order = s->swapped ? swapped : dense;
	struct kiln_attend d = { .scale = 1 / sqrtf(s->dk), .softcap = s->softcap, .max_bias = s->max_bias };
	const uint32_t qd[4] = { s->batch, s->heads, s->n, s->dk }, od[4] = { s->batch, s->heads, s->n, s->dv };
	const uint32_t kd[4] = { s->batch, s->kv_heads, s->keys, s->dk };
	const uint32_t vd[4] = { s->batch, s->kv_heads, s->keys, s->dv };
	struct kiln_tensor sinks = { .addr = 0 };
	struct outcome outcome = { 0 };
	struct nmse nmse = { 0 }, again = { 0 };
	float *kf = NULL, *vf = NULL;
	double *p = malloc(s->keys * sizeof(*p)), *o = malloc(s->dv * sizeof(*o));
	uint32_t j, c;
	bool good;

	start_case();
	d.q = tensor_of(s->q, qd, order, 0, 1);
	fill_normal(&d.q, 1);
	if (s->k >= KILN_TYPE_Q4_0) {
		d.k = quantised_of(s->k, kd, &kf);
	} else {
		d.k = tensor_of(s->k, kd, order, s->beside ? 0 : 8, 1);
		fill_normal(&d.k, 1);
	}
	if (s->v >= KILN_TYPE_Q4_0) {
		d.v = quantised_of(s->v, vd, &vf);
	} else {
		d.v = tensor_of(s->v, vd, order, 0, 1);
		fill_normal(&d.v, 1);
	}
	if (s->mask) {
		d.mask = tensor_of(KILN_TYPE_F16, (uint32_t[]) { s->batch, s->mask_heads ? s->heads : 1, s->n + 3,
						   s->keys }, dense, 0, 1);
		EACH(at, d.mask.dim)
			set_value(&d.mask, at, next_random() % 3 ? normal() : -INFINITY);
	}
	if (s->sinks) {
		sinks = dense_of(KILN_TYPE_F32, 1, 1, 1, s->heads);
		fill_normal(&sinks, 3);
		d.sinks = sinks.addr;
	}
	d.out = tensor_of(s->out, od, swapped, 0, 1);
	clear_result(&d.out);
	if (s->out == KILN_TYPE_F32) {
		d.also = tensor_of(KILN_TYPE_BF16, od, swapped, 3, 1);
		clear_result(&d.also);
	}
	upload_room();
	good = !run_case(kiln_attend(ops, &d, on_done, &outcome), &outcome);
	if (good)
		EACH(at, ((uint32_t[]) { s->batch, s->heads, s->n, 1 })) {
			double most = -INFINITY, sum = 0;
			uint32_t kv = at[1] / (s->heads / s->kv_heads);

			for (j = 0; j < s->keys; j++) {
				for (p[j] = 0, c = 0; c < s->dk; c++) {
					uint32_t qa[4] = { at[0], at[1], at[2], c }, ka[4] = { at[0], kv, j, c };

					p[j] += value_of(&d.q, qa) * key_or_value(&d.k, kf, ka);
				}
				p[j] *= d.scale;
				if (s->softcap)
					p[j] = s->softcap * tanh(p[j] / s->softcap);
				if (s->mask) {
					uint32_t ma[4] = { at[0], at[1], at[2], j };

					p[j] += slope_of(s->max_bias, s->heads, at[1]) * value_of(&d.mask, ma);
				}
				most = fmax(most, p[j]);
			}
			if (s->sinks) {
				uint32_t sa[4] = { 0, 0, 0, at[1] };
				double sink = value_of(&sinks, sa);

				most = fmax(most, sink);
				sum = exp(sink - most);
			}
			memset(o, 0, s->dv * sizeof(*o));
			for (j = 0; j < s->keys; j++) {
				double e = most == -INFINITY ? 0 : exp(p[j] - most);

				sum += e;
				for (c = 0; c < s->dv; c++) {
					uint32_t va[4] = { at[0], kv, j, c };

					o[c] += e * key_or_value(&d.v, vf, va);
				}
			}
			for (c = 0; c < s->dv; c++) {
				uint32_t oa[4] = { at[0], at[1], at[2], c };

				nmse_add(&nmse, result_of(&d.out, oa), sum ? o[c] / sum : 0);
				if (d.also.addr)
					nmse_add(&again, result_of(&d.also, oa), result_of(&d.out, oa));
			}
		}
	free(p);
	free(o);
	free(kf);
	free(vf);
	good = good && nmse_good(&nmse, s->k == KILN_TYPE_F16 && s->v == KILN_TYPE_F16 ? 1e-5 : 2e-4) &&
		(d.also.addr ? gaps_untouched_below(&d.out, d.also.addr) : gaps_untouched(&d.out));
	if (d.also.addr)
		good = good && nmse_good(&again, 1e-5) && gaps_untouched(&d.also);
	ok(good, "attend %u x %u/%u heads, %u queries %s, %u keys %s %s, %u %u%s%s%s%s%s, %llu cycles",
	   s->batch, s->heads, s->kv_heads, s->n, any_type_name(s->q), s->keys, any_type_name(s->k),
	   any_type_name(s->v), s->dk, s->dv, s->mask ? ", mask" : "", s->sinks ? ", sinks" : "",
	   s->softcap ? ", softcap" : "", s->max_bias ? ", ALiBi" : "", s->beside ? ", beside" :
	   s->swapped ? ", swapped" : "",
	   (unsigned long long)outcome.result.cycles);
}

static void refused(int got, int want, const char *word)
{
	ok(got == want && strstr(kiln_last_error(), word), "refused: %s", kiln_last_error());
}

static void bad_arguments(void)
{
	struct kiln_attend d = { .scale = 1 }, e;

	start_case();
	d.q = dense_of(KILN_TYPE_F32, 1, 4, 3, 64);
	d.k = d.v = dense_of(KILN_TYPE_F16, 1, 2, 7, 64);
	d.out = dense_of(KILN_TYPE_F32, 1, 4, 3, 64);
	refused(kiln_attend(NULL, &d, NULL, NULL), -EINVAL, "no ops");
	e = d, e.q.type = KILN_TYPE_Q8_0, refused(kiln_attend(ops, &e, NULL, NULL), -ENOTSUP, "of q");
	e = d, e.k.dim[3] = 32, refused(kiln_attend(ops, &e, NULL, NULL), -EINVAL, "32 in k");
	e = d, e.q.dim[1] = e.out.dim[1] = 3, refused(kiln_attend(ops, &e, NULL, NULL), -EINVAL, "3 heads of q");
	e = d, e.v.dim[2] = 6, refused(kiln_attend(ops, &e, NULL, NULL), -EINVAL, "6 values");
	e = d, e.mask = d.q, refused(kiln_attend(ops, &e, NULL, NULL), 0, "");
	e.mask.dim[1] = 3, refused(kiln_attend(ops, &e, NULL, NULL), -EINVAL, "mask");
	e = d, e.scale = NAN, refused(kiln_attend(ops, &e, NULL, NULL), -EINVAL, "scale");
	e = d, e.out.addr = 0, refused(kiln_attend(ops, &e, NULL, NULL), -EINVAL, "out is at");
	kiln_drain(queue);
}

int main(void)
{
	enum { F32 = KILN_TYPE_F32, F16 = KILN_TYPE_F16, BF16 = KILN_TYPE_BF16 };
	static const struct shape shapes[] = {
		{ 1, 4, 4, 1, 113, 64, 64, F32, F16, F16, F32, .mask = false },
		{ 2, 8, 2, 3, 512, 128, 128, F32, F16, F16, F32, .mask = true },
		{ 1, 8, 2, 40, 700, 80, 80, F32, F16, F16, F32, .mask = true, .sinks = true, .swapped = true },
		{ 1, 2, 1, 150, 300, 40, 40, F32, F16, F16, F16, .mask = true, .swapped = true },
		{ 1, 4, 1, 5, 260, 256, 256, F32, F16, F16, F32, .softcap = 10 },
		{ 1, 4, 1, 2, 200, 576, 512, F32, F16, F16, F32, .mask = true, .swapped = true },
		{ 1, 4, 1, 2, 200, 192, 128, F16, F16, F16, F32, .mask = true, .max_bias = 8 },
		{ 2, 12, 12, 7, 130, 72, 72, F32, BF16, BF16, F32, .mask = true, .mask_heads = true, .max_bias = 8 },
		{ 1, 4, 2, 7, 600, 96, 96, F32, F32, F32, F32, .mask = true, .sinks = true, .softcap = 10 },
		{ 1, 4, 2, 7, 140, 64, 64, F32, KILN_TYPE_Q8_0, KILN_TYPE_Q8_0, F32, .mask = true },
		{ 1, 4, 2, 7, 140, 128, 128, F32, KILN_TYPE_Q4_0, KILN_TYPE_Q4_0, F32, .mask = false },
		{ 1, 4, 4, 1, 1100, 128, 128, F32, KILN_TYPE_Q8_0, F16, F32, .mask = true, .max_bias = 8, .sinks = true },
		{ 1, 12, 4, 1, 700, 64, 64, F32, F16, F16, F32, .mask = true, .swapped = true, .beside = true },
		{ 2, 8, 4, 3, 300, 32, 48, F32, F16, F16, F32, .mask = true, .mask_heads = true, .max_bias = 8,
		  .sinks = true, .swapped = true, .beside = true },
		{ 1, 18, 6, 1, 1100, 64, 96, BF16, BF16, BF16, F32, .sinks = true, .softcap = 10, .swapped = true,
		  .beside = true },
		{ 1, 1, 1, 1, 1, 32, 32, BF16, BF16, BF16, BF16, .mask = false },
	};
	unsigned int i;

	open_room();
	for (i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		check(&shapes[i]);
	bad_arguments();
	return close_room();
}
