/* SPDX-License-Identifier: MIT */
/*
 * A card's state as a row of bytes: one walk over its members for both
 * directions, so that what is saved is what is loaded. Little endian, as the
 * rings are. What comes in may come from anybody: each value that is used as
 * an index, a count or a size is checked right after it.
 */
#ifndef KILN_IMAGE_H
#define KILN_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kiln_sim.h"

struct kiln_image {
	bool loading;
	kiln_sim_move_fn *move;
	void *opaque;
	const char *wrong;	/* the first thing that was; nothing is moved any more */
};

/* Say what is wrong with the image, unless something before it was. */
static inline void image_check(struct kiln_image *image, bool good, const char *wrong)
{
	if (!good && !image->wrong)
		image->wrong = wrong;
}

/* After something was wrong, zeroes come in. */
static inline void image_bytes(struct kiln_image *image, void *data, size_t bytes)
{
	if (!image->wrong && image->move(image->opaque, data, bytes))
		return;
	image_check(image, false, "the stream ends too early");
	if (image->loading)
		__builtin_memset(data, 0, bytes);
}

/* A member of whatever integer type, or an array or structure of such. */
#define IMAGE(image, member) image_bytes(image, &(member), sizeof(member))

static inline void image_bool(struct kiln_image *image, bool *value)
{
	uint8_t byte = *value;

	image_bytes(image, &byte, 1);
	image_check(image, byte <= 1, "a truth value is neither true nor false");
	*value = byte == 1;
}

/* A number that has to be what it is here already. */
static inline void image_same(struct kiln_image *image, uint64_t value, const char *wrong)
{
	uint64_t other = value;

	image_bytes(image, &other, sizeof(other));
	image_check(image, other == value, wrong);
}

#endif
