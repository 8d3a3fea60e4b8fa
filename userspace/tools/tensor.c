// SPDX-License-Identifier: MIT
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "tensor.h"

/*
 * By way of float rounded to odd: a second rounding to fewer bits is then the
 * same as rounding once.
 */
uint16_t f64_to_bf16(double d)
{
	float f = (float)d;
	uint32_t bits;

	if ((double)f != d && isfinite(f)) {
		if (fabs((double)f) > fabs(d))
			f = nextafterf(f, 0.0f);
		memcpy(&bits, &f, sizeof(bits));
		bits |= 1;
		memcpy(&f, &bits, sizeof(f));
	}
	return f32_to_bf16(f);
}

/* One step of splitmix64: two numbers out of each. */
static inline uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* 24 bits, so exact in a float. */
static inline float unit(uint32_t x)
{
	return (float)((int32_t)x >> 8) * 0x1p-23f;
}

void fill_random(void *data, enum kiln_type type, uint64_t count,
		 uint64_t seed, uint64_t stream)
{
	uint64_t base = mix(seed * 0x9e3779b97f4a7c15ull + stream);
	uint16_t *h = data;
	float *f = data;

	for (uint64_t i = 0; i < count; i += 2) {
		uint64_t x = mix(base + (i / 2) * 0x9e3779b97f4a7c15ull);
		float first = unit((uint32_t)x), second = unit((uint32_t)(x >> 32));

		if (type == KILN_TYPE_BF16) {
			h[i] = f32_to_bf16(first);
			if (i + 1 < count)
				h[i + 1] = f32_to_bf16(second);
		} else {
			f[i] = first;
			if (i + 1 < count)
				f[i + 1] = second;
		}
	}
}

int tensor_create(struct kiln_device *device, enum kiln_type type, uint64_t count,
		  struct tensor *tensor)
{
	int err;

	*tensor = (struct tensor){ .type = type, .count = count };
	tensor->host = malloc(count * type_bytes(type));
	if (!tensor->host)
		return -ENOMEM;
	err = kiln_alloc(device, count * type_bytes(type), KILN_HBM, 0, &tensor->buffer);
	if (err) {
		tensor_destroy(tensor);
		return err;
	}
	tensor->addr = kiln_addr(tensor->buffer);
	return 0;
}

void tensor_destroy(struct tensor *tensor)
{
	kiln_free(tensor->buffer);
	free(tensor->host);
	*tensor = (struct tensor){ 0 };
}

int tensor_upload(struct tensor *tensor)
{
	void *map = kiln_map(tensor->buffer);

	if (!map)
		return -ENOMEM;
	memcpy(map, tensor->host, tensor->count * type_bytes(tensor->type));
	return 0;
}

int tensor_download(struct tensor *tensor)
{
	void *map = kiln_map(tensor->buffer);

	if (!map)
		return -ENOMEM;
	memcpy(tensor->host, map, tensor->count * type_bytes(tensor->type));
	return 0;
}
