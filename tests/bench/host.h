/* SPDX-License-Identifier: MIT */
/* What the benchmarks share: the clock, random tensors, and what this host can do at most. */
#ifndef BENCH_HOST_H
#define BENCH_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static inline double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Zeroed memory in pages as large as the host gives, so that no peer loses time to its TLB. */
static inline void *host_alloc(size_t bytes)
{
	const size_t large = 2u << 20;
	void *p = aligned_alloc(large, (bytes + large - 1) & ~(large - 1));

	if (!p) {
		fprintf(stderr, "bench: no memory for %zu bytes\n", bytes);
		exit(1);
	}
	madvise(p, bytes, MADV_HUGEPAGE);
	memset(p, 0, bytes);
	return p;
}

#ifdef __x86_64__
#include <immintrin.h>

static inline bool host_has_bf16(void)
{
	return __builtin_cpu_supports("avx512bf16");
}

#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define HOST_PEAK_FLOPS	(12 * 64.0)	/* of a turn */

/* Sums by name, not in an array: that the compiler might keep in memory. */
__attribute__((target("avx512f,avx512bf16"), noinline, unused))
static float host_peak_loop(long turns)
{
	__m512i a = _mm512_set1_epi32(0x3f803f80), b = a;
	__m512 total = _mm512_setzero_ps();
	float out[16];
#define DECLARE(i) __m512 sum##i = _mm512_set1_ps(i);
#define STEP(i) sum##i = _mm512_dpbf16_ps(sum##i, (__m512bh)a, (__m512bh)b);
#define ADD(i) total = _mm512_add_ps(total, sum##i);

	EACH(DECLARE)
	while (turns--) {
		EACH(STEP)
		__asm__ volatile("" : "+v"(a), "+v"(b));
	}
	EACH(ADD)
	_mm512_storeu_ps(out, total);
#undef DECLARE
#undef STEP
#undef ADD
	return out[0];
}
#undef EACH

/* The sum of a buffer of whole KiB: it has to be read to be known. */
__attribute__((target("avx512f"), noinline))
static int64_t host_read_512(const void *buffer, size_t bytes)
{
	const char *p = buffer, *end = p + bytes;
	__m512i sum[8] = { _mm512_setzero_si512() };

	for (int i = 1; i < 8; i++)
		sum[i] = sum[0];
	for (; p < end; p += 512) {
#pragma GCC unroll 8
		for (int i = 0; i < 8; i++)
			sum[i] = _mm512_add_epi64(sum[i], _mm512_load_si512(p + i * 64));
	}
	for (int i = 1; i < 8; i++)
		sum[0] = _mm512_add_epi64(sum[0], sum[i]);
	return _mm512_reduce_add_epi64(sum[0]);
}
#else
#define HOST_PEAK_FLOPS	0.0

static inline bool host_has_bf16(void)
{
	return false;
}

static inline float host_peak_loop(long turns)
{
	return turns;
}
#endif

static inline int64_t host_read(const void *buffer, size_t bytes)
{
	const int64_t *p = buffer;
	int64_t sum = 0;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx512f"))
		return host_read_512(buffer, bytes);
#endif
	for (size_t i = 0; i < bytes / 8; i++)
		sum += p[i];
	return sum;
}

#endif
