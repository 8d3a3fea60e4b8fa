/* SPDX-License-Identifier: MIT */
/* Numbers on the CPU's side: made, converted, brought to the card and back. */
#ifndef KILN_TOOL_TENSOR_H
#define KILN_TOOL_TENSOR_H

#include <stdbool.h>
#include <string.h>

#include "kiln_ops.h"

static inline size_t type_bytes(enum kiln_type type)
{
	switch (type) {
	case KILN_TYPE_BF16:
	case KILN_TYPE_F16:
		return 2;
	case KILN_TYPE_F8E4M3:
	case KILN_TYPE_F8E5M2:
	case KILN_TYPE_I8:
		return 1;
	default:
		return 4;
	}
}

/* As options and reports have it. */
static inline const char *type_name(enum kiln_type type)
{
	static const char *const name[] = {
		"", "f32", "bf16", "f16", "e4m3", "e5m2", "i8", "i32",
	};

	return name[type];
}

static inline float bf16_to_f32(uint16_t h)
{
	uint32_t bits = (uint32_t)h << 16;
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

/* Round to nearest, ties to even. NaN stays NaN. */
static inline uint16_t f32_to_bf16(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	if ((bits & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t f64_to_bf16(double d);

static inline float f16_to_f32(uint16_t h)
{
	_Float16 half;

	memcpy(&half, &h, sizeof(half));
	return half;
}

float f8_to_f32(enum kiln_type type, uint8_t bits);

/* Element i of host memory of that type. */
static inline double element(const void *data, enum kiln_type type, uint64_t i)
{
	switch (type) {
	case KILN_TYPE_BF16:
		return bf16_to_f32(((const uint16_t *)data)[i]);
	case KILN_TYPE_F16:
		return f16_to_f32(((const uint16_t *)data)[i]);
	case KILN_TYPE_F8E4M3:
	case KILN_TYPE_F8E5M2:
		return f8_to_f32(type, ((const uint8_t *)data)[i]);
	case KILN_TYPE_I8:
		return ((const int8_t *)data)[i];
	case KILN_TYPE_I32:
		return ((const int32_t *)data)[i];
	default:
		return ((const float *)data)[i];
	}
}

/* Rounded once, to the nearest; ties to even. */
void set_element(void *data, enum kiln_type type, uint64_t i, double value);

/*
 * Fill with numbers spread evenly over [-1, 1), of int8 over [-127, 127]: number
 * i depends on seed, stream and i only.
 */
void fill_random(void *data, enum kiln_type type, uint64_t count,
		 uint64_t seed, uint64_t stream);

/* An array in HBM, and what the CPU keeps of it. */
struct tensor {
	enum kiln_type type;
	uint64_t count;
	void *host;			/* count elements, or NULL */
	struct kiln_buffer *buffer;
	uint64_t addr;
};

/* Allocate both. 0 or a negative errno with kiln_last_error(). */
int tensor_create(struct kiln_device *device, enum kiln_type type, uint64_t count,
		  struct tensor *tensor);
void tensor_destroy(struct tensor *tensor);
int tensor_upload(struct tensor *tensor);
int tensor_download(struct tensor *tensor);

#endif
