// SPDX-License-Identifier: MIT
/*
 * Searching a partition: the eight greatest, where values are, and the K
 * greatest with their places.
 *
 * "Greatest" is by an order of all fp32: NaN before everything (every NaN the
 * same), then from infinity down, +0 before -0. "The same" is ==, so +0 and -0
 * are, and NaN is the same as NaN.
 */
#include <string.h>

#include "engine/state.h"

/* Greater keys come first. */
static uint32_t key_of(float x)
{
	uint32_t bits;

	if (x != x)
		return UINT32_MAX;
	memcpy(&bits, &x, sizeof(bits));
	return bits >> 31 ? ~bits : bits | 0x80000000;
}

static bool same(float a, float b)
{
	return a == b || (a != a && b != b);
}

/* dst = the eight greatest elements of src, greatest first, as often as they occur. */
enum kiln_status kiln_exec_max8(struct kiln_core *core, const struct tiles *t)
{
	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		float best[8];
		uint32_t keys[8], have = 0;

		for (uint32_t at = 0; at < t->src[0].count; at += CHUNK) {
			uint32_t n = tile_chunk(&t->src[0], at);
			const float *x = kiln_tile_load(core, &t->src[0], p, at, n, core->x);

			for (uint32_t i = 0; i < n; i++) {
				uint32_t key = key_of(x[i]), to = have;

				if (have == 8 && key <= keys[7])
					continue;
				if (have < 8)
					have++;
				else
					to = 7;
				for (; to && keys[to - 1] < key; to--) {
					keys[to] = keys[to - 1];
					best[to] = best[to - 1];
				}
				keys[to] = key;
				best[to] = x[i];
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
		kiln_tile_store(core, &t->dst, p, 0, 8, best);
	}
	return KILN_ST_OK;
}

#define NOT_FOUND	0x1p32f		/* saturates to all ones in every unsigned type */

/*
 * dst[j] = where in src vals[j] is first; all ones if nowhere. A value that
 * stands in vals several times has its places in src in order.
 */
enum kiln_status kiln_exec_find_index8(struct kiln_core *core, const struct tiles *t)
{
	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		float vals[8], found[8];
		unsigned int missing = 8;

		memcpy(vals, kiln_tile_load(core, &t->src[1], p, 0, 8, core->y), sizeof(vals));
		for (int j = 0; j < 8; j++)
			found[j] = NOT_FOUND;
		for (uint32_t at = 0; at < t->src[0].count && missing; at += CHUNK) {
			uint32_t n = tile_chunk(&t->src[0], at);
			const float *x = kiln_tile_load(core, &t->src[0], p, at, n, core->x);

			for (uint32_t i = 0; i < n; i++) {
				for (int j = 0; j < 8; j++) {
					if (found[j] == NOT_FOUND && same(x[i], vals[j])) {
						found[j] = at + i;
						missing--;
						break;
					}
				}
			}
			if (aborted(core))
				return KILN_ST_OK;
		}
		kiln_tile_store(core, &t->dst, p, 0, 8, found);
	}
	return KILN_ST_OK;
}

/*
 * dst = src with the first of each of vals replaced by imm[0]. A value that
 * stands in vals several times replaces as many; the first of them belongs to
 * the last of vals (the other way round than FIND_INDEX8). col[0]: where they
 * were, eight for each partition, all ones for a value that is nowhere.
 */
enum kiln_status kiln_exec_match_replace8(struct kiln_core *core, const struct tiles *t)
{
	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		float vals[8], found[8];
		unsigned int missing = 8;

		memcpy(vals, kiln_tile_load(core, &t->src[1], p, 0, 8, core->y), sizeof(vals));
		for (int j = 0; j < 8; j++)
			found[j] = NOT_FOUND;
		for (uint32_t at = 0; at < t->src[0].count; at += CHUNK) {
			uint32_t n = tile_chunk(&t->src[0], at);
			const float *x = kiln_tile_load(core, &t->src[0], p, at, n, core->x);

			memcpy(core->z, x, n * sizeof(float));
			for (uint32_t i = 0; i < n && missing; i++) {
				for (int j = 7; j >= 0; j--) {
					if (found[j] == NOT_FOUND && same(x[i], vals[j])) {
						found[j] = at + i;
						core->z[i] = t->insn->imm[0];
						missing--;
						break;
					}
				}
			}
			kiln_tile_store(core, &t->dst, p, at, n, core->z);
			if (aborted(core))
				return KILN_ST_OK;
		}
		if (t->col[0].base)
			kiln_tile_store(core, &t->col[0], p, 0, 8, found);
	}
	return KILN_ST_OK;
}

/* The greatest at the top: h[i] is at least h[2i + 1] and h[2i + 2]. */
static void sift(uint32_t *h, uint32_t n, uint32_t i)
{
	uint32_t x = h[i];

	for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && h[child + 1] > h[child])
			child++;
		if (h[child] <= x)
			break;
		h[i] = h[child];
	}
	h[i] = x;
}

/*
 * dst = the K greatest of src, greatest first; src[1] = their indices in src,
 * the lower one first where elements have the same rank. src is bf16, so that
 * an element's rank and its index fit in a word.
 */
enum kiln_status kiln_exec_topk(struct kiln_core *core, const struct tiles *t)
{
	uint32_t *heap = (uint32_t *)core->out;
	uint32_t n = t->src[0].count;

	_Static_assert(sizeof(core->out) >= 65535 * sizeof(uint32_t), "room for the heap");
	for (uint32_t p = 0; p < t->dst.partitions; p++) {
		uint32_t left = n;

		for (uint32_t at = 0; at < n; at += CHUNK) {
			uint32_t part = tile_chunk(&t->src[0], at);
			const float *x = kiln_tile_load(core, &t->src[0], p, at, part, core->x);

			for (uint32_t i = 0; i < part; i++)
				heap[at + i] = (key_of(x[i]) & 0xffff0000) | (0xffff - (at + i));
		}
		for (uint32_t i = n / 2; i-- > 0;)
			sift(heap, n, i);
		for (uint32_t at = 0; at < t->dst.count; at += CHUNK) {
			uint32_t part = tile_chunk(&t->dst, at);

			for (uint32_t i = 0; i < part; i++) {
				uint32_t top = heap[0], key = top & 0xffff0000, bits;

				heap[0] = heap[--left];
				sift(heap, left, 0);
				bits = key >> 31 ? key & 0x7fffffff : ~(key | 0xffff);
				if (key == 0xffff0000)
					bits = 0x7fc00000;
				memcpy(&core->z[i], &bits, sizeof(bits));
				core->y[i] = 0xffff - (top & 0xffff);
			}
			kiln_tile_store(core, &t->dst, p, at, part, core->z);
			kiln_tile_store(core, &t->src[1], p, at, part, core->y);
			if (aborted(core))
				return KILN_ST_OK;
		}
	}
	return KILN_ST_OK;
}
