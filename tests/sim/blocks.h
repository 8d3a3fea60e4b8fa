/* SPDX-License-Identifier: MIT */
/* Quantised blocks, as their definition reads, element by element. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include "ops_test.h"

static inline uint32_t block_elements(enum kiln_type type)
{
	switch (type) {
	case KILN_TYPE_Q1_0: return 128;
	case KILN_TYPE_Q2_0: case KILN_TYPE_NVFP4: return 64;
	default: return type >= KILN_TYPE_Q2_K ? 256 : 32;
	}
}

static inline uint32_t block_bytes(enum kiln_type type)
{
	switch (type) {
	case KILN_TYPE_Q4_0: case KILN_TYPE_IQ4_NL: return 18;
	case KILN_TYPE_Q4_1: return 20;
	case KILN_TYPE_Q5_0: return 22;
	case KILN_TYPE_Q5_1: return 24;
	case KILN_TYPE_Q8_0: return 34;
	case KILN_TYPE_MXFP4: return 17;
	case KILN_TYPE_Q2_K: return 84;
	case KILN_TYPE_Q3_K: return 110;
	case KILN_TYPE_Q4_K: return 144;
	case KILN_TYPE_Q5_K: return 176;
	case KILN_TYPE_IQ4_XS: return 136;
	case KILN_TYPE_TQ1_0: return 54;
	case KILN_TYPE_TQ2_0: return 66;
	case KILN_TYPE_Q1_0: case KILN_TYPE_Q2_0: return 18;
	case KILN_TYPE_NVFP4: return 36;
	default: return 210;
	}
}

static inline float half_at(const uint8_t *b)
{
	uint16_t bits;

	memcpy(&bits, b, 2);
	return from_f16(bits);
}

static inline void set_half(uint8_t *b, float x)
{
	uint16_t bits = to_f16(x);

	memcpy(b, &bits, 2);
}

/* Random bits, but scales that are ordinary numbers. */
static inline void random_block(enum kiln_type type, uint8_t *b)
{
	static const int8_t d_at[][2] = {
		[KILN_TYPE_Q4_0 - 32] = { 0, -1 }, [KILN_TYPE_Q4_1 - 32] = { 0, 2 },
		[KILN_TYPE_Q5_0 - 32] = { 0, -1 }, [KILN_TYPE_Q5_1 - 32] = { 0, 2 },
		[KILN_TYPE_Q8_0 - 32] = { 0, -1 }, [KILN_TYPE_IQ4_NL - 32] = { 0, -1 },
		[KILN_TYPE_MXFP4 - 32] = { -1, -1 }, [KILN_TYPE_Q2_K - 32] = { 80, 82 },
		[KILN_TYPE_Q3_K - 32] = { 108, -1 }, [KILN_TYPE_Q4_K - 32] = { 0, 2 },
		[KILN_TYPE_Q5_K - 32] = { 0, 2 }, [KILN_TYPE_IQ4_XS - 32] = { 0, -1 },
		[KILN_TYPE_TQ1_0 - 32] = { 52, -1 }, [KILN_TYPE_TQ2_0 - 32] = { 64, -1 },
		[KILN_TYPE_Q1_0 - 32] = { 0, -1 }, [KILN_TYPE_Q2_0 - 32] = { 0, -1 },
	};
	uint32_t i, n = block_bytes(type);

	for (i = 0; i < n; i++)
		b[i] = next_random() >> 20;
	if (type == KILN_TYPE_MXFP4) {
		b[0] = 120 + next_random() % 16;
	} else if (type == KILN_TYPE_NVFP4) {
		for (i = 0; i < 4; i++)
			b[i] = 40 + next_random() % 16 + (next_random() & 128);
		if (next_random() % 8 == 0)
			b[next_random() % 4] = next_random() % 2 ? 127 : next_random() % 8;
	} else if (type == KILN_TYPE_Q6_K) {
		set_half(b + 208, normal() * 0.01f);
	} else {
		set_half(b + d_at[type - 32][0], normal() * 0.05f);
		if (d_at[type - 32][1] > 0)
			set_half(b + d_at[type - 32][1], normal() * 0.05f);
	}
}

/* Six bits of scale (0) or minimum (1) j of eight, packed as q4_K and q5_K have them. */
static inline int packed_six(const uint8_t *s, int j, int which)
{
	if (j < 4)
		return s[j + 4 * which] & 63;
	return (which ? s[j + 4] >> 4 : s[j + 4] & 15) | (s[j - 4 + 4 * which] >> 6) << 4;
}

static inline double block_element(enum kiln_type type, const uint8_t *b, uint32_t e)
{
	static const int8_t nl[16] = {
		-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
	};
	static const double fp4[8] = { 0, 0.5, 1, 1.5, 2, 3, 4, 6 };
	uint32_t j = e % 16, high = e / 16 * 4;	/* of blocks of 32 */
	uint32_t part = e / 32, l = e % 32;	/* of blocks of 256 */
	uint32_t half = e / 128, plane = e % 128 / 32;
	int q, s;

	switch (type) {
	case KILN_TYPE_Q8_0:
		return (double)half_at(b) * (int8_t)b[2 + e];
	case KILN_TYPE_Q4_0:
		return (double)half_at(b) * ((b[2 + j] >> high & 15) - 8);
	case KILN_TYPE_IQ4_NL:
		return (double)half_at(b) * nl[b[2 + j] >> high & 15];
	case KILN_TYPE_MXFP4:
		q = b[1 + j] >> high & 15;
		return (q & 8 ? -1 : 1) * fp4[q & 7] * ldexp(1, b[0] - 127);
	case KILN_TYPE_Q4_1:
		return (double)half_at(b) * (b[4 + j] >> high & 15) + half_at(b + 2);
	case KILN_TYPE_Q5_0:
		q = (b[6 + j] >> high & 15) | (b[2 + e / 8] >> e % 8 & 1) << 4;
		return (double)half_at(b) * (q - 16);
	case KILN_TYPE_Q5_1:
		q = (b[8 + j] >> high & 15) | (b[4 + e / 8] >> e % 8 & 1) << 4;
		return (double)half_at(b) * q + half_at(b + 2);
	case KILN_TYPE_Q2_K:
		q = b[16 + 32 * half + l] >> 2 * plane & 3;
		return (double)half_at(b + 80) * (b[e / 16] & 15) * q -
			(double)half_at(b + 82) * (b[e / 16] >> 4);
	case KILN_TYPE_Q3_K:
		s = e / 16;
		s = (s < 8 ? b[96 + s] & 15 : b[96 + s - 8] >> 4) |
			(b[104 + s % 4] >> s / 4 * 2 & 3) << 4;
		q = (b[32 + 32 * half + l] >> 2 * plane & 3) - (b[l] >> part & 1 ? 0 : 4);
		return (double)half_at(b + 108) * (s - 32) * q;
	case KILN_TYPE_Q4_K:
	case KILN_TYPE_Q5_K:
		q = b[(type == KILN_TYPE_Q4_K ? 16 : 48) + part / 2 * 32 + l] >> part % 2 * 4 & 15;
		if (type == KILN_TYPE_Q5_K)
			q |= (b[16 + l] >> part & 1) << 4;
		return (double)half_at(b) * packed_six(b + 4, part, 0) * q -
			(double)half_at(b + 2) * packed_six(b + 4, part, 1);
	case KILN_TYPE_IQ4_XS:
		s = (b[4 + part / 2] >> part % 2 * 4 & 15) | (b[2 + part / 4] >> part % 4 * 2 & 3) << 4;
		return (double)half_at(b) * (s - 32) * nl[b[8 + 16 * part + l % 16] >> l / 16 * 4 & 15];
	case KILN_TYPE_TQ1_0:
		if (e < 160)
			q = e % 32, s = e / 32;
		else if (e < 240)
			q = 32 + (e - 160) % 16, s = (e - 160) / 16;
		else
			q = 48 + (e - 240) % 4, s = (e - 240) / 4;
		for (q = b[q]; s; s--)
			q = q * 3 & 255;
		return (double)half_at(b + 52) * ((q * 3 >> 8) - 1);
	case KILN_TYPE_TQ2_0:
		return (double)half_at(b + 64) * ((b[32 * half + l] >> 2 * plane & 3) - 1);
	case KILN_TYPE_Q1_0:
		return (double)half_at(b) * (b[2 + e / 8] >> e % 8 & 1 ? 1 : -1);
	case KILN_TYPE_Q2_0:
		return (double)half_at(b) * ((b[2 + e / 4] >> e % 4 * 2 & 3) - 1);
	case KILN_TYPE_NVFP4:
		q = b[4 + e / 16 * 8 + e % 8] >> (e % 16 / 8) * 4 & 15;
		s = b[e / 16] & 127;
		return s == 127 ? 0 : (q & 8 ? -1 : 1) * fp4[q & 7] *
			(s < 8 ? ldexp(s, -9) : ldexp(8 + s % 8, s / 8 - 10));
	default:	/* Q6_K */
		q = b[64 * half + 32 * (plane % 2) + l] >> plane / 2 * 4 & 15;
		q |= (b[128 + 32 * half + l] >> 2 * plane & 3) << 4;
		return (double)half_at(b + 208) * (int8_t)b[192 + e / 16] * (q - 32);
	}
}

#endif
