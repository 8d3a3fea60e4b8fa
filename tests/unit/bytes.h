/* SPDX-License-Identifier: MIT */
/* A state on its way from one card to another: bytes that grow, and are read again. */
#ifndef TESTS_UNIT_BYTES_H
#define TESTS_UNIT_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
	uint8_t *data;
	size_t size, at;
};

static bool out(void *opaque, void *data, size_t size)
{
	struct bytes *b = opaque;

	b->data = realloc(b->data, b->size + size);
	memcpy(b->data + b->size, data, size);
	b->size += size;
	return true;
}

static bool in(void *opaque, void *data, size_t size)
{
	struct bytes *b = opaque;

	if (size > b->size - b->at)
		return false;
	memcpy(data, b->data + b->at, size);
	b->at += size;
	return true;
}

#endif
