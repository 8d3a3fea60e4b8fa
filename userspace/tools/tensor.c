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

static int fraction_bits(enum kiln_type type)
{
	return type == KILN_TYPE_F8E4M3 ? 3 : 2;
}

static int exponent_bias(enum kiln_type type)
{
	return type == KILN_TYPE_F8E4M3 ? 7 : 15;
}

float f8_to_f32(enum kiln_type type, uint8_t bits)
{
	int fraction = fraction_bits(type), exponent = (bits & 0x7f) >> fraction;
	int m = bits & ((1 << fraction) - 1), shift = exponent_bias(type) + fraction;
	float x = exponent ? ldexpf((float)((1 << fraction) + m), exponent - shift) :
			     ldexpf((float)m, 1 - shift);

	if (exponent == 0x7f >> fraction)
		x = m ? NAN : INFINITY;
	return bits & 0x80 ? -x : x;
}

static uint8_t f64_to_f8(enum kiln_type type, double d)
{
	int fraction = fraction_bits(type), least = 1 - exponent_bias(type), exponent;
	int infinity = (0x7f >> fraction) << fraction;
	double m = fabs(d), code;

	if (isnan(d))
		return (uint8_t)(infinity | 1 << (fraction - 1));
	if (isinf(d))
		return (uint8_t)(infinity | (signbit(d) ? 0x80 : 0));
	exponent = m < ldexp(1, least) ? least : ilogb(m);
	/* A fraction that becomes 2 counts the exponent up by itself. */
	code = ldexp(exponent - least, fraction) + rint(ldexp(m, fraction - exponent));
	return (uint8_t)((int)fmin(code, infinity) | (signbit(d) ? 0x80 : 0));
}

static double within(double value, double low, double high)
{
	return isnan(value) ? 0 : fmin(fmax(rint(value), low), high);
}

void set_element(void *data, enum kiln_type type, uint64_t i, double value)
{
	_Float16 half;

	switch (type) {
	case KILN_TYPE_BF16:
		((uint16_t *)data)[i] = f64_to_bf16(value);
		break;
	case KILN_TYPE_F16:
		half = (_Float16)value;
		memcpy((uint16_t *)data + i, &half, sizeof(half));
		break;
	case KILN_TYPE_F8E4M3:
	case KILN_TYPE_F8E5M2:
		((uint8_t *)data)[i] = f64_to_f8(type, value);
		break;
	case KILN_TYPE_I8:
		((int8_t *)data)[i] = (int8_t)within(value, INT8_MIN, INT8_MAX);
		break;
	case KILN_TYPE_I32:
		((int32_t *)data)[i] = (int32_t)within(value, INT32_MIN, INT32_MAX);
		break;
	default:
		((float *)data)[i] = (float)value;
	}
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
	float range = type == KILN_TYPE_I8 ? 127 : 1;

	for (uint64_t i = 0; i < count; i += 2) {
		uint64_t x = mix(base + (i / 2) * 0x9e3779b97f4a7c15ull);

		set_element(data, type, i, range * unit((uint32_t)x));
		if (i + 1 < count)
			set_element(data, type, i + 1, range * unit((uint32_t)(x >> 32)));
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
