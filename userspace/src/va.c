// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "va.h"

struct kiln_va_range {
	struct kiln_va_range *next;
	uint64_t start, end;
};

static bool add_spare(struct kiln_va *va)
{
	struct kiln_va_range *range = malloc(sizeof(*range));

	if (!range)
		return false;
	range->next = va->spare;
	va->spare = range;
	return true;
}

static struct kiln_va_range *take_spare(struct kiln_va *va)
{
	struct kiln_va_range *range = va->spare;

	va->spare = range->next;
	return range;
}

static void put_spare(struct kiln_va *va, struct kiln_va_range *range)
{
	range->next = va->spare;
	va->spare = range;
}

int kiln_va_init(struct kiln_va *va, uint64_t start, uint64_t end)
{
	*va = (struct kiln_va){ .free_bytes = end - start };
	va->free = malloc(sizeof(*va->free));
	if (!va->free)
		return -ENOMEM;
	*va->free = (struct kiln_va_range){ .start = start, .end = end };
	return 0;
}

static void free_list(struct kiln_va_range *range)
{
	while (range) {
		struct kiln_va_range *next = range->next;

		free(range);
		range = next;
	}
}

void kiln_va_fini(struct kiln_va *va)
{
	free_list(va->free);
	free_list(va->spare);
	*va = (struct kiln_va){ 0 };
}

int kiln_va_alloc(struct kiln_va *va, uint64_t bytes, uint64_t align,
		  uint64_t *start)
{
	struct kiln_va_range **link, *range, *rest;

	for (link = &va->free; (range = *link); link = &range->next) {
		uint64_t at = (range->start + align - 1) & ~(align - 1);

		if (at < range->start || at >= range->end ||
		    range->end - at < bytes)
			continue;

		/* One for this allocation's free, one if the range is cut in two. */
		if (!add_spare(va))
			return -ENOMEM;
		if (at > range->start && at + bytes < range->end) {
			if (!add_spare(va)) {
				free(take_spare(va));
				return -ENOMEM;
			}
			rest = take_spare(va);
			rest->start = at + bytes;
			rest->end = range->end;
			rest->next = range->next;
			range->next = rest;
			range->end = at;
		} else if (at > range->start) {
			range->end = at;
		} else if (at + bytes < range->end) {
			range->start = at + bytes;
		} else {
			*link = range->next;
			put_spare(va, range);
		}
		va->free_bytes -= bytes;
		*start = at;
		return 0;
	}
	return -ENOMEM;
}

void kiln_va_free(struct kiln_va *va, uint64_t start, uint64_t bytes)
{
	struct kiln_va_range **link = &va->free, *before = NULL, *after, *range;
	uint64_t end = start + bytes;

	while ((after = *link) && after->start < start) {
		before = after;
		link = &after->next;
	}
	va->free_bytes += bytes;
	/* The spare that came with the allocation goes with it, used or not. */
	range = take_spare(va);
	if (before && before->end == start) {
		before->end = end;
		if (after && after->start == end) {
			before->end = after->end;
			before->next = after->next;
			free(after);
		}
		free(range);
	} else if (after && after->start == end) {
		after->start = start;
		free(range);
	} else {
		range->start = start;
		range->end = end;
		range->next = after;
		*link = range;
	}
}
