// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>

#include "transport.h"

/*
 * Device addresses are plentiful, so each buffer is followed by a page that is
 * never bound: a program that runs over the end faults and does not spoil its
 * neighbour.
 */
#define GUARD	KILN_PAGE

int kiln_alloc(struct kiln_device *device, uint64_t bytes,
	       enum kiln_placement placement, unsigned int flags,
	       struct kiln_buffer **out)
{
	struct kiln_buffer *buffer;
	char text[24];
	int err;

	if (!device || !out)
		return kiln_error(-EINVAL, "kiln_alloc: an argument is NULL");
	*out = NULL;
	if (!bytes || bytes > 1ull << 47)
		return kiln_error(-EINVAL, "kiln_alloc: %s is no size for a buffer",
				  kiln_format_bytes(bytes, text));
	if (placement != KILN_HBM && placement != KILN_HOST)
		return kiln_error(-EINVAL, "kiln_alloc: placement %d is neither KILN_HBM nor KILN_HOST",
				  (int)placement);
	if (flags & ~KILN_ALLOC_READONLY)
		return kiln_error(-EINVAL, "kiln_alloc: unknown flags %#x",
				  flags & ~KILN_ALLOC_READONLY);

	buffer = calloc(1, sizeof(*buffer));
	if (!buffer)
		return kiln_error(-ENOMEM, "kiln_alloc: out of memory");
	buffer->device = device;
	buffer->bytes = KILN_ALIGN_UP(bytes, KILN_PAGE);
	buffer->placement = placement;
	buffer->flags = flags;

	pthread_mutex_lock(&device->lock);
	err = kiln_va_alloc(&device->va, buffer->bytes + GUARD,
			    bytes >= KILN_LARGE_PAGE ? KILN_LARGE_PAGE : KILN_PAGE,
			    &buffer->addr);
	pthread_mutex_unlock(&device->lock);
	if (err) {
		free(buffer);
		return kiln_error(err, "kiln_alloc: no device addresses left for %s",
				  kiln_format_bytes(bytes, text));
	}

	err = device->transport->alloc(buffer);
	if (err) {
		pthread_mutex_lock(&device->lock);
		kiln_va_free(&device->va, buffer->addr, buffer->bytes + GUARD);
		pthread_mutex_unlock(&device->lock);
		free(buffer);
		return err;
	}
	*out = buffer;
	return 0;
}

void kiln_free(struct kiln_buffer *buffer)
{
	struct kiln_device *device;

	if (!buffer)
		return;
	device = buffer->device;
	device->transport->free(buffer);
	pthread_mutex_lock(&device->lock);
	kiln_va_free(&device->va, buffer->addr, buffer->bytes + GUARD);
	pthread_mutex_unlock(&device->lock);
	free(buffer);
}

uint64_t kiln_addr(const struct kiln_buffer *buffer)
{
	return buffer->addr;
}

uint64_t kiln_bytes(const struct kiln_buffer *buffer)
{
	return buffer->bytes;
}

void *kiln_map(struct kiln_buffer *buffer)
{
	struct kiln_device *device;

	if (!buffer) {
		kiln_error(-EINVAL, "kiln_map: buffer is NULL");
		return NULL;
	}
	device = buffer->device;
	pthread_mutex_lock(&device->lock);
	if (!buffer->map)
		device->transport->map(buffer);
	pthread_mutex_unlock(&device->lock);
	return buffer->map;
}
