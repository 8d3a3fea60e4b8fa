/* SPDX-License-Identifier: MIT */
/*
 * What the tests of libkiln's core share: TAP, and a card. The same programs
 * run on both transports: KILN_TRANSPORT says which (default "sim"),
 * KILN_SUBMIT=uring|ioctl by which way.
 */
#ifndef CORE_TEST_H
#define CORE_TEST_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <kiln.h>

#include <kiln/hw.h>
#include <kiln/isa.h>

static int tests, failures;

__attribute__((format(printf, 2, 3)))
static inline bool ok(bool good, const char *format, ...)
{
	va_list ap;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	failures += !good;
	return good;
}

static inline bool is(long long got, long long expected, const char *what)
{
	if (ok(got == expected, "%s", what))
		return true;
	printf("# expected %lld\n# got %lld (last error: %s)\n", expected, got,
	       kiln_last_error());
	return false;
}

__attribute__((unused))
static void skip(const char *what, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++tests, what, why);
}

static inline int done_testing(void)
{
	printf("1..%d\n", tests);
	return failures ? 1 : 0;
}

static inline void bail(const char *what)
{
	printf("Bail out! %s: %s\n", what, kiln_last_error());
	exit(1);
}

static inline const char *transport(void)
{
	const char *t = getenv("KILN_TRANSPORT");

	return t ? t : "sim";
}

static inline bool simulated(void)
{
	return !strncmp(transport(), "sim", 3);
}

static inline struct kiln_device *open_card(void)
{
	struct kiln_device *device;

	if (kiln_open(transport(), &device))
		bail("no card");
	return device;
}

static inline struct kiln_queue *make_queue(struct kiln_device *device, unsigned int depth,
					    unsigned int limit_ms)
{
	const char *way = getenv("KILN_SUBMIT");
	struct kiln_queue_attr attr = {
		.depth = depth,
		.limit_ms = limit_ms,
		.way = !way ? KILN_SUBMIT_AUTO :
		       !strcmp(way, "ioctl") ? KILN_SUBMIT_IOCTL : KILN_SUBMIT_URING,
	};
	struct kiln_queue *queue;

	if (kiln_queue_create(device, &attr, &queue))
		bail("no queue");
	return queue;
}

static inline struct kiln_buffer *make_buffer(struct kiln_device *device, uint64_t bytes,
					      enum kiln_placement placement)
{
	struct kiln_buffer *buffer;

	if (kiln_alloc(device, bytes, placement, 0, &buffer))
		bail("no memory");
	return buffer;
}

/* Counts results by kind. */
struct tally {
	unsigned int calls, good;
	int last;
	uint64_t cycles;
};

__attribute__((unused))
static void count(void *user, const struct kiln_result *result)
{
	struct tally *t = user;

	t->calls++;
	t->good += !result->res;
	t->last = result->res;
	t->cycles = result->cycles;
}

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

#endif
