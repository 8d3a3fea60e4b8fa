/* SPDX-License-Identifier: MIT */
/* Numbers on the CPU's side: made, converted, brought to the card and back. */
#ifndef KILN_TOOL_TENSOR_H
#define KILN_TOOL_TENSOR_H

#include <stdbool.h>
#include <string.h>

#include "kiln_ops.h"

static inline size_t type_bytes(enum kiln_type type)
{
	return type == KILN_TYPE_BF16 ? 2 : 4;
}

static inline const char *type_name(enum kiln_type type)
{
	return type == KILN_TYPE_BF16 ? "bf16" : "f32";
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

/* Element i of host memory of that type. */
static inline double element(const void *data, enum kiln_type type, uint64_t i)
{
	return type == KILN_TYPE_BF16 ? bf16_to_f32(((const uint16_t *)data)[i]) :
					((const float *)data)[i];
}

/*
 * Fill with numbers spread evenly over [-1, 1): number i depends on seed,
 * stream and i only.
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
