/* SPDX-License-Identifier: MIT */
/* What the tests of ops share: TAP, random numbers, bf16, a card to run on. */
#ifndef OPS_TEST_H
#define OPS_TEST_H

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <kiln.h>
#include <kiln_ops.h>

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
	if (!good)
		failures++;
	return good;
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

/* ------------------------------------------------------------ random data -- */

static uint64_t rng;

static inline uint64_t seed_random(void)
{
	const char *text = getenv("KILN_SEED");

	rng = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;
	printf("# seed: KILN_SEED=%llu\n", (unsigned long long)rng);
	return rng;
}

static inline uint64_t next_random(void)
{
	uint64_t z = rng += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* About normal: the sum of four, variance 1. */
static inline float normal(void)
{
	uint64_t r = next_random();
	float sum = (r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48);

	return (sum / 65536 - 2) * 1.7320508f;
}

/* ---------------------------------------------------------------- elements -- */

static inline uint16_t to_bf16(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, 4);
	if (x != x)
		return 0x7fc0;
	return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static inline float from_bf16(uint16_t x)
{
	uint32_t bits = (uint32_t)x << 16;
	float y;

	memcpy(&y, &bits, 4);
	return y;
}

static inline uint16_t to_f16(float x)
{
	_Float16 half = x;
	uint16_t bits;

	memcpy(&bits, &half, 2);
	return bits;
}

static inline float from_f16(uint16_t bits)
{
	_Float16 half;

	memcpy(&half, &bits, 2);
	return half;
}

/* The rounding of a result x to its type, and what underflows in it. */
static inline double type_error(enum kiln_type type, double x)
{
	return type == KILN_TYPE_F16 ? fabs(x) * 0x1p-11 + 0x1p-25 :
		type == KILN_TYPE_BF16 ? fabs(x) * 0x1p-8 : 0;
}

static inline uint32_t type_bytes(enum kiln_type type)
{
	return type == KILN_TYPE_F32 ? 4 : 2;
}

static inline float get(const void *p, enum kiln_type type, uint64_t i)
{
	return type == KILN_TYPE_BF16 ? from_bf16(((const uint16_t *)p)[i]) :
		type == KILN_TYPE_F16 ? from_f16(((const uint16_t *)p)[i]) :
		((const float *)p)[i];
}

static inline void put(void *p, enum kiln_type type, uint64_t i, float x)
{
	if (type == KILN_TYPE_BF16)
		((uint16_t *)p)[i] = to_bf16(x);
	else if (type == KILN_TYPE_F16)
		((uint16_t *)p)[i] = to_f16(x);
	else
		((float *)p)[i] = x;
}

static inline const char *type_name(enum kiln_type type)
{
	return type == KILN_TYPE_BF16 ? "bf16" : type == KILN_TYPE_F16 ? "f16" : "f32";
}

/* -------------------------------------------------------------------- card -- */

static struct kiln_device *device;
static struct kiln_queue *queue;
static struct kiln_ops *ops;
static struct kiln_info card;

static inline void open_card(void)
{
	const char *name = getenv("KILN_TRANSPORT");

	if (kiln_open(name ? name : "sim", &device))
		bail("kiln_open");
	if (kiln_get_info(device, &card))
		bail("kiln_get_info");
	if (kiln_queue_create(device, NULL, &queue))
		bail("kiln_queue_create");
	if (kiln_ops_create(queue, &ops))
		bail("kiln_ops_create");
	printf("# %s, trn%u\n", card.transport, card.generation);
}

static inline void close_card(void)
{
	kiln_ops_destroy(ops);
	kiln_queue_destroy(queue);
	kiln_close(device);
}

/* A buffer of the card and the same bytes in plain memory, which are quick to read. */
struct tensor {
	struct kiln_buffer *buffer;
	uint64_t addr, bytes;
	void *map, *shadow;
};

static inline void tensor_make(struct tensor *t, uint64_t bytes)
{
	if (kiln_alloc(device, bytes, KILN_HBM, 0, &t->buffer))
		bail("kiln_alloc");
	t->addr = kiln_addr(t->buffer);
	t->map = kiln_map(t->buffer);
	if (!t->map)
		bail("kiln_map");
	t->bytes = bytes;
	t->shadow = malloc(bytes);
	if (!t->shadow)
		bail("malloc");
}

static inline void tensor_free(struct tensor *t)
{
	kiln_free(t->buffer);
	free(t->shadow);
}

static inline void tensor_upload(struct tensor *t, uint64_t bytes)
{
	memcpy(t->map, t->shadow, bytes);
}

static inline void tensor_download(struct tensor *t, uint64_t bytes)
{
	memcpy(t->shadow, t->map, bytes);
}

static inline void tensor_random(struct tensor *t, enum kiln_type type, uint64_t n)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		put(t->shadow, type, i, normal());
	tensor_upload(t, n * type_bytes(type));
}

struct outcome {
	unsigned int calls;
	struct kiln_result result;
};

static inline void on_done(void *user, const struct kiln_result *result)
{
	struct outcome *outcome = user;

	outcome->calls++;
	outcome->result = *result;
}

/* After an op was accepted: wait, and say what happened if it failed. */
static inline int finish(struct outcome *outcome)
{
	struct kiln_fault_info fault;
	int err = kiln_drain(queue);

	if (err) {
		printf("# kiln_drain: %d %s\n", err, kiln_last_error());
		return err;
	}
	if (outcome->calls != 1) {
		printf("# done was called %u times\n", outcome->calls);
		return -EIO;
	}
	if (outcome->result.res) {
		kiln_get_fault(device, &fault);
		printf("# result %d: fault status %u engine %u instruction %u label %u address 0x%llx\n",
		       outcome->result.res, fault.status, fault.engine, fault.instruction,
		       fault.label, (unsigned long long)fault.address);
	}
	return outcome->result.res;
}

#endif
