// SPDX-License-Identifier: MIT
/*
 * SBUF and PSUM: where an operand lies, whether it may, and the way between
 * its elements and fp32.
 */
#include <string.h>

#include "engine/random.h"
#include "engine/state.h"
#include "kiln/isa_check.h"

static uint32_t space_bytes(const struct kiln_core *core, enum kiln_space space)
{
	return space == KILN_PSUM ? core->psum_bytes : core->sbuf_bytes;
}

enum kiln_status kiln_operand_range(struct kiln_core *core,
				    const struct kiln_operand *op, uint64_t reg,
				    uint32_t *lo, uint32_t *hi)
{
	enum kiln_verdict verdict = kiln_range(op, reg, space_bytes(core, op->space), lo, hi,
					       &core->fault_addr);

	return verdict == KILN_FITS ? KILN_ST_OK :
	       verdict == KILN_BAD_ADDRESS ? KILN_ST_MEMORY : KILN_ST_OPERAND;
}

/* Drop dimensions of one element and merge those that follow one another. */
static void merge(struct tile *tile, const struct kiln_operand *op)
{
	unsigned int ndim = 0;

	tile->count = 1;
	for (unsigned int d = 0; d < op->ndim; d++) {
		tile->count *= op->size[d];
		if (op->size[d] == 1)
			continue;
		if (ndim && tile->stride[ndim - 1] == (int64_t)op->size[d] * op->stride[d]) {
			tile->size[ndim - 1] *= op->size[d];
			tile->stride[ndim - 1] = op->stride[d];
			continue;
		}
		tile->size[ndim] = op->size[d];
		tile->stride[ndim] = op->stride[d];
		ndim++;
	}
	if (!ndim) {
		tile->size[0] = 1;
		tile->stride[0] = 1;
		ndim = 1;
	}
	tile->ndim = ndim;
}

enum kiln_status kiln_tile_place(struct kiln_core *core, const struct stream *s,
				 const struct kiln_operand *op, struct tile *tile)
{
	uint64_t reg = s->reg[op->reg];
	enum kiln_status status = kiln_operand_range(core, op, reg, &tile->lo, &tile->hi);
	bool psum = op->space == KILN_PSUM;

	if (status != KILN_ST_OK)
		return status;
	tile->pitch = psum ? core->psum_pitch : core->sbuf_pitch;
	tile->base = (uint8_t *)core + (psum ? core->psum : core->sbuf) +
		     op->partition * tile->pitch + op->addr + reg;
	tile->space = op->space;
	tile->dtype = op->dtype;
	tile->esize = kiln_dtype_bytes(op->dtype);
	tile->partition = op->partition;
	tile->partitions = op->partitions;
	tile->stochastic = false;
	merge(tile, op);
	return KILN_ST_OK;
}

enum kiln_status kiln_tile(struct kiln_core *core, const struct stream *s,
			   const struct kiln_operand *op, struct tile *tile)
{
	enum kiln_status status = kiln_tile_place(core, s, op, tile);

	if (status == KILN_ST_OK && core->loans)
		kiln_loan_settle(core, tile);
	return status;
}

void kiln_tile_written(struct kiln_core *core, const struct tile *tile)
{
	uint64_t *used = tile->space == KILN_PSUM ? core->psum_used : core->sbuf_used;
	unsigned int first = tile->lo >> KILN_COLUMN_SHIFT;
	unsigned int last = (tile->hi - 1) >> KILN_COLUMN_SHIFT;
	uint64_t columns = (~0ull >> (63 - (last - first))) << first;

	for (unsigned int g = tile->partition / GROUP;
	     g <= (tile->partition + tile->partitions - 1) / GROUP; g++)
		used[g] |= columns;
	if (tile->space != KILN_SBUF)
		return;
	for (unsigned int i = 0; i < core->packings; i++) {
		if (tile->lo < core->packed[i].hi && tile->hi > core->packed[i].lo)
			core->packed[i].valid = false;
	}
}

enum kiln_status kiln_tile_out(struct kiln_core *core, const struct stream *s,
			       const struct kiln_operand *op, struct tile *tile)
{
	enum kiln_status status = kiln_tile(core, s, op, tile);

	if (status != KILN_ST_OK)
		return status;
	if (s->insn[s->pc].flags & KILN_F_STOCHASTIC) {
		tile->stochastic = true;
		tile->seed = s->reg[KILN_SEED_REGISTER];
	}
	kiln_tile_written(core, tile);
	return KILN_ST_OK;
}

enum kiln_status kiln_column_range(struct kiln_core *core,
				   const struct kiln_column *col, uint64_t reg,
				   uint32_t *addr)
{
	uint64_t at = col->addr + reg;

	core->fault_addr = at;
	if (at & (kiln_dtype_bytes(col->dtype) - 1))
		return KILN_ST_OPERAND;
	if (at >= space_bytes(core, col->space))
		return KILN_ST_MEMORY;
	*addr = at;
	return KILN_ST_OK;
}

/* A column on the partitions of data. */
static enum kiln_status column(struct kiln_core *core, const struct stream *s,
			       const struct kiln_column *col,
			       const struct tile *data, struct tile *tile)
{
	bool psum = col->space == KILN_PSUM;
	enum kiln_status status = kiln_column_range(core, col, s->reg[col->reg], &tile->lo);

	if (status != KILN_ST_OK)
		return status;
	tile->esize = kiln_dtype_bytes(col->dtype);
	tile->hi = tile->lo + tile->esize;
	tile->pitch = psum ? core->psum_pitch : core->sbuf_pitch;
	tile->base = (uint8_t *)core + (psum ? core->psum : core->sbuf) +
		     data->partition * tile->pitch + tile->lo;
	tile->space = col->space;
	tile->dtype = col->dtype;
	tile->partition = data->partition;
	tile->partitions = data->partitions;
	tile->count = 1;
	tile->ndim = 1;
	tile->size[0] = 1;
	tile->stride[0] = 1;
	tile->stochastic = false;
	if (core->loans)
		kiln_loan_settle(core, tile);
	return KILN_ST_OK;
}

/* n elements in each of data's partitions from where col says, to be written. */
static enum kiln_status wide_column(struct kiln_core *core, const struct stream *s,
				    const struct kiln_column *col, const struct tile *data,
				    uint16_t n, struct tile *tile)
{
	struct kiln_operand op = { .space = col->space, .dtype = col->dtype,
				   .partition = data->partition,
				   .partitions = data->partitions, .addr = col->addr,
				   .reg = col->reg, .ndim = 1, .size = { n },
				   .stride = { 1 } };

	return kiln_tile_out(core, s, &op, tile);
}

enum kiln_status kiln_tiles(struct kiln_core *core, const struct stream *s,
			    const struct kiln_insn *insn, struct tiles *t)
{
	const struct kiln_rule *rule = &kiln_rules[insn->opcode];
	enum kiln_status status = KILN_ST_OK;

	t->s = s;
	t->insn = insn;
	for (unsigned int i = 0; i < 2 && status == KILN_ST_OK; i++) {
		const struct kiln_operand *op = &insn->src[i];

		t->src[i].base = NULL;
		if (op->space == KILN_SBUF || op->space == KILN_PSUM)
			status = rule->src[i].how == R_WRITTEN ?
				kiln_tile_out(core, s, op, &t->src[i]) :
				kiln_tile(core, s, op, &t->src[i]);
	}
	t->dst.base = NULL;
	if (status == KILN_ST_OK && insn->dst.space)
		status = kiln_tile_out(core, s, &insn->dst, &t->dst);
	for (unsigned int i = 0; i < 2 && status == KILN_ST_OK; i++) {
		const struct kiln_column *col = &insn->col[i];
		uint8_t how = rule->col[i].how;
		const struct tile *data = t->src[0].base && how == R_READ ? &t->src[0] : &t->dst;

		t->col[i].base = NULL;
		if (!col->space)
			continue;
		status = how == R_WRITTEN8 ? wide_column(core, s, col, data, 8, &t->col[i]) :
					     column(core, s, col, data, &t->col[i]);
		if (status == KILN_ST_OK && how == R_WRITTEN)
			kiln_tile_written(core, &t->col[i]);
	}
	return status;
}

/* A walk over the elements of one partition in pieces of the innermost dimension. */
struct walk {
	const struct tile *tile;
	uint8_t *at;		/* of the next element */
	uint32_t index[4];
};

static void walk_start(struct walk *w, const struct tile *tile, uint32_t p,
		       uint32_t first)
{
	int64_t offset = 0;

	w->tile = tile;
	for (int d = (int)tile->ndim - 1; d >= 0; d--) {
		w->index[d] = first % tile->size[d];
		first /= tile->size[d];
		offset += w->index[d] * tile->stride[d];
	}
	w->at = tile->base + p * tile->pitch + offset * (int64_t)tile->esize;
}

/* Take at most n elements: how many, *at the first; the innermost stride between them. */
static uint32_t walk_take(struct walk *w, uint32_t n, uint8_t **at)
{
	const struct tile *tile = w->tile;
	unsigned int d = tile->ndim - 1;
	uint32_t left = tile->size[d] - w->index[d];
	int64_t esize = tile->esize;

	*at = w->at;
	if (n < left) {
		w->index[d] += n;
		w->at += n * tile->stride[d] * esize;
		return n;
	}
	w->at -= w->index[d] * tile->stride[d] * esize;
	w->index[d] = 0;
	while (d-- > 0) {
		if (++w->index[d] < tile->size[d]) {
			w->at += tile->stride[d] * esize;
			break;
		}
		w->at -= (tile->size[d] - 1) * tile->stride[d] * esize;
		w->index[d] = 0;
	}
	return left;
}

const float *kiln_tile_load(const struct kiln_core *core, const struct tile *tile,
			    uint32_t p, uint32_t first, uint32_t n, float *buf)
{
	int64_t stride = tile->stride[tile->ndim - 1];
	struct walk w;

	if (tile_contiguous(tile)) {
		const uint8_t *at = tile->base + p * tile->pitch + (size_t)first * tile->esize;

		if (tile->dtype == KILN_F32)
			return (const float *)at;
		core->ops->load(buf, at, n, tile->dtype);
		return buf;
	}
	walk_start(&w, tile, p, first);
	for (uint32_t done = 0; done < n;) {
		uint8_t *at;
		uint32_t take = walk_take(&w, n - done, &at);

		if (stride == 1) {
			core->ops->load(buf + done, at, take, tile->dtype);
		} else if (!stride) {
			const float x = kiln_load_one(at, tile->dtype);

			for (uint32_t i = 0; i < take; i++)
				buf[done + i] = x;
		} else {
			uint32_t raw[CHUNK];

			kiln_copy_elements((uint8_t *)raw, tile->esize, at, stride * (int64_t)tile->esize,
					   take, tile->esize);
			core->ops->load(buf + done, raw, take, tile->dtype);
		}
		done += take;
	}
	return buf;
}

/* Elements have their numbers by their place in the tile, so it does not matter who stores how many. */
static void store_random(const struct tile *tile, uint32_t p, uint32_t first, uint32_t n,
			 const float *buf)
{
	uint32_t words[CHUNK + 8], codes[CHUNK], skip = first % 4;

	kiln_philox_row(tile->seed, p, first - skip, n + skip, KILN_RANDOM_ROUNDING, words);
	for (uint32_t i = 0; i < n; i++)
		kiln_store_random((uint8_t *)codes + i * tile->esize, buf[i], words[skip + i],
				  tile->dtype);
	kiln_tile_scatter(tile, p, first, n, codes);
}

void kiln_tile_store(const struct kiln_core *core, const struct tile *tile,
		     uint32_t p, uint32_t first, uint32_t n, const float *buf)
{
	int64_t stride = tile->stride[tile->ndim - 1];
	struct walk w;

	if (tile->stochastic) {
		store_random(tile, p, first, n, buf);
		return;
	}
	if (tile_contiguous(tile)) {
		core->ops->store(tile->base + p * tile->pitch + (size_t)first * tile->esize,
				 buf, n, tile->dtype);
		return;
	}
	walk_start(&w, tile, p, first);
	for (uint32_t done = 0; done < n;) {
		uint8_t *at;
		uint32_t take = walk_take(&w, n - done, &at);

		if (stride == 1) {
			core->ops->store(at, buf + done, take, tile->dtype);
		} else {
			uint32_t raw[CHUNK];

			core->ops->store(raw, buf + done, take, tile->dtype);
			kiln_copy_elements(at, stride * (int64_t)tile->esize, (const uint8_t *)raw,
					   tile->esize, take, tile->esize);
		}
		done += take;
	}
}

#define ROWS	4	/* at a time */
#define LINE	64
#define AHEAD	1024	/* bytes that are fetched ahead, if they are in more than as many rows */

/*
 * Some rows side by side, the next ones fetched meanwhile: the host's own
 * prefetching gets going anew on each row, and rows are short.
 */
void kiln_copy_rows(uint8_t *dst, size_t dst_pitch, const uint8_t *src, size_t src_pitch,
		    uint32_t rows, uint32_t bytes)
{
	uint32_t ahead = bytes < AHEAD / ROWS ? AHEAD / bytes : ROWS, p = 0;

	/* Those that nobody has asked for when their turn comes */
	for (uint32_t i = ROWS; i < ahead && i < rows; i++) {
		for (uint32_t at = 0; at < bytes; at += LINE) {
			__builtin_prefetch(src + i * src_pitch + at, 0, 2);
			__builtin_prefetch(dst + i * dst_pitch + at, 1, 2);
		}
	}
	for (; p + ROWS + ahead <= rows; p += ROWS) {
		uint32_t at = 0;

		for (; at + LINE <= bytes; at += LINE) {
			for (unsigned int i = 0; i < ROWS; i++) {
				__builtin_prefetch(src + (i + ahead) * src_pitch + at, 0, 2);
				__builtin_prefetch(dst + (i + ahead) * dst_pitch + at, 1, 2);
				memcpy(dst + i * dst_pitch + at, src + i * src_pitch + at, LINE);
			}
		}
		for (unsigned int i = 0; at < bytes && i < ROWS; i++)
			memcpy(dst + i * dst_pitch + at, src + i * src_pitch + at, bytes - at);
		src += ROWS * src_pitch;
		dst += ROWS * dst_pitch;
	}
	for (; p < rows; p++, src += src_pitch, dst += dst_pitch)
		memcpy(dst, src, bytes);
}

void kiln_copy_elements(uint8_t *dst, int64_t dst_step, const uint8_t *src,
			int64_t src_step, uint32_t n, uint32_t esize)
{
	if (dst_step == esize && src_step == esize) {
		memmove(dst, src, (size_t)n * esize);
		return;
	}
	switch (esize) {
	case 4:
		for (uint32_t i = 0; i < n; i++)
			memcpy(dst + i * dst_step, src + i * src_step, 4);
		break;
	case 2:
		for (uint32_t i = 0; i < n; i++)
			memcpy(dst + i * dst_step, src + i * src_step, 2);
		break;
	default:
		for (uint32_t i = 0; i < n; i++)
			dst[i * dst_step] = src[i * src_step];
		break;
	}
}

void kiln_tile_gather(const struct tile *tile, uint32_t p, uint32_t first,
		      uint32_t n, void *buf)
{
	uint32_t esize = tile->esize;
	struct walk w;

	if (tile_contiguous(tile)) {
		memmove(buf, tile->base + p * tile->pitch + (size_t)first * esize,
			(size_t)n * esize);
		return;
	}
	walk_start(&w, tile, p, first);
	for (uint32_t done = 0; done < n;) {
		uint8_t *at;
		uint32_t take = walk_take(&w, n - done, &at);

		kiln_copy_elements((uint8_t *)buf + (size_t)done * esize, esize, at,
			      tile->stride[tile->ndim - 1] * (int64_t)esize, take, esize);
		done += take;
	}
}

void kiln_tile_scatter(const struct tile *tile, uint32_t p, uint32_t first,
		       uint32_t n, const void *buf)
{
	uint32_t esize = tile->esize;
	struct walk w;

	if (tile_contiguous(tile)) {
		memmove(tile->base + p * tile->pitch + (size_t)first * esize, buf,
			(size_t)n * esize);
		return;
	}
	walk_start(&w, tile, p, first);
	for (uint32_t done = 0; done < n;) {
		uint8_t *at;
		uint32_t take = walk_take(&w, n - done, &at);

		kiln_copy_elements(at, tile->stride[tile->ndim - 1] * (int64_t)esize,
			      (const uint8_t *)buf + (size_t)done * esize, esize, take, esize);
		done += take;
	}
}

static void scrub(uint8_t *memory, uint32_t pitch, uint32_t bytes,
		  uint64_t used[KILN_PARTITIONS / GROUP])
{
	for (unsigned int p = 0; p < KILN_PARTITIONS; p++) {
		for (uint64_t left = used[p / GROUP]; left; left &= left - 1) {
			uint32_t at = (uint32_t)__builtin_ctzll(left) << KILN_COLUMN_SHIFT;
			uint32_t n = 1u << KILN_COLUMN_SHIFT;

			memset(memory + p * pitch + at, 0, at + n > bytes ? bytes - at : n);
		}
	}
	memset(used, 0, sizeof(uint64_t) * (KILN_PARTITIONS / GROUP));
}

void kiln_memory_scrub(struct kiln_core *core)
{
	scrub((uint8_t *)core + core->sbuf, core->sbuf_pitch, core->sbuf_bytes,
	      core->sbuf_used);
	scrub((uint8_t *)core + core->psum, core->psum_pitch, core->psum_bytes,
	      core->psum_used);
}
