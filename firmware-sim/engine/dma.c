// SPDX-License-Identifier: MIT
/*
 * DMA between device memory and SBUF. A transfer is done when it is issued;
 * when it would have been done is the clocks' business.
 */
#include <string.h>

#include "engine/state.h"

#define LOOK_AHEAD	0x10000	/* bytes translated at least: the next piece may be near */
#define MAX_COPY	0x100000 /* bytes, and elements, between looks at the abort flag */
#define PAGE		(1ull << KILN_PAGE_SHIFT)

/* One side of a transfer, and the part of device memory that was looked up last. */
struct side {
	uint8_t *sbuf;			/* NULL: device memory at va */
	uint64_t va;
	bool write;
	uint64_t start, end;		/* device addresses [start, end) lie at */
	struct kiln_extent extent;
};

/* A loop of the transfer, steps in bytes. */
struct loop {
	uint32_t n;
	int64_t dst, src;
};

/* Make [offset, at least one byte) of this side accessible: how many bytes are. */
static enum kiln_status reach(struct kiln_core *core, struct side *side,
			      int64_t offset, uint64_t want, uint64_t *bytes)
{
	uint64_t va = side->va + offset;
	enum kiln_status status;

	if (side->sbuf) {
		*bytes = want;
		return KILN_ST_OK;
	}
	if (va < side->start || va >= side->end) {
		/* From the start of the page, for patterns that go backwards. */
		uint64_t page = va & ~(PAGE - 1);
		uint64_t ahead = want > LOOK_AHEAD ? want : LOOK_AHEAD;

		status = kiln_mmu_translate(&core->mmu, page, va - page + ahead, side->write,
					    &side->extent, &core->fault_addr);
		if (status != KILN_ST_OK) {
			side->start = side->end = 0;
			core->fault_addr = va;
			return status;
		}
		side->start = page;
		side->end = page + side->extent.bytes;
	}
	*bytes = side->end - va < want ? side->end - va : want;
	return KILN_ST_OK;
}

/* Where it lies in this process, NULL if it is in host memory. */
static uint8_t *pointer(const struct side *side, int64_t offset)
{
	if (side->sbuf)
		return side->sbuf + offset;
	return side->extent.hbm ? side->extent.hbm + (side->va + offset - side->start) : NULL;
}

static uint64_t host_addr(const struct side *side, int64_t offset)
{
	return side->extent.addr + (side->va + offset - side->start);
}

static enum kiln_status copy(struct kiln_core *core, struct side *dst, int64_t dst_at,
			     struct side *src, int64_t src_at, uint64_t bytes)
{
	const struct kiln_memory *memory = core->mmu.memory;

	while (bytes) {
		uint64_t n = bytes < MAX_COPY ? bytes : MAX_COPY;
		uint8_t *from, *to;
		enum kiln_status status = reach(core, src, src_at, n, &n);

		if (status == KILN_ST_OK)
			status = reach(core, dst, dst_at, n, &n);
		if (status != KILN_ST_OK)
			return status;
		from = pointer(src, src_at);
		to = pointer(dst, dst_at);
		if (!from && !to && n > sizeof(core->out))
			n = sizeof(core->out);
		if (!from) {
			uint8_t *buf = to ? to : (uint8_t *)core->out;

			if (!memory->host->dma_read(memory->opaque, host_addr(src, src_at),
						    buf, n)) {
				core->fault_addr = src->va + src_at;
				return KILN_ST_BUS;
			}
			from = buf;
		}
		if (!to) {
			if (!memory->host->dma_write(memory->opaque, host_addr(dst, dst_at),
						     from, n)) {
				core->fault_addr = dst->va + dst_at;
				return KILN_ST_BUS;
			}
		} else if (from != to) {
			memmove(to, from, n);
		}
		bytes -= n;
		src_at += n;
		dst_at += n;
		if (aborted(core))
			return KILN_ST_OK;
	}
	return KILN_ST_OK;
}

/* Of n elements from offset on, step bytes apart: how many are in what was looked up. */
static uint32_t elements_in(const struct side *side, int64_t offset, int64_t step,
			    uint32_t n, uint32_t esize)
{
	uint64_t va = side->va + offset, fit = n;

	if (side->sbuf)
		return n;
	if (!side->extent.hbm || va < side->start || side->end - va < esize)
		return 0;
	if (step > 0)
		fit = (side->end - va - esize) / step + 1;
	else if (step < 0)
		fit = (va - side->start) / -step + 1;
	return fit < n ? fit : n;
}

/* n elements that are not contiguous on both sides. */
static enum kiln_status copy_strided(struct kiln_core *core, struct side *dst,
				     int64_t dst_at, struct side *src, int64_t src_at,
				     const struct loop *loop, uint32_t esize)
{
	for (uint32_t left = loop->n; left;) {
		uint64_t bytes;
		uint32_t n;
		enum kiln_status status = reach(core, src, src_at, esize, &bytes);

		if (status == KILN_ST_OK)
			status = reach(core, dst, dst_at, esize, &bytes);
		if (status != KILN_ST_OK)
			return status;
		n = left < MAX_COPY ? left : MAX_COPY;
		n = elements_in(src, src_at, loop->src, n, esize);
		n = elements_in(dst, dst_at, loop->dst, n, esize);
		if (n) {
			kiln_copy_elements(pointer(dst, dst_at), loop->dst,
					   pointer(src, src_at), loop->src, n, esize);
		} else {
			/* in host memory, or across the end of a page */
			n = 1;
			status = copy(core, dst, dst_at, src, src_at, esize);
			if (status != KILN_ST_OK)
				return status;
		}
		left -= n;
		src_at += n * loop->src;
		dst_at += n * loop->dst;
		if (aborted(core))
			return KILN_ST_OK;
	}
	return KILN_ST_OK;
}

/* Loops of one pass go, those that follow one another on both sides become one. */
static unsigned int merge(struct loop *loop, unsigned int n)
{
	unsigned int out = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (loop[i].n == 1)
			continue;
		if (out && loop[out - 1].dst == loop[i].n * loop[i].dst &&
		    loop[out - 1].src == loop[i].n * loop[i].src &&
		    (uint64_t)loop[out - 1].n * loop[i].n <= UINT32_MAX) {
			loop[out - 1].n *= loop[i].n;
			loop[out - 1].dst = loop[i].dst;
			loop[out - 1].src = loop[i].src;
			continue;
		}
		loop[out++] = loop[i];
	}
	return out;
}

static enum kiln_status transfer(struct kiln_core *core, struct side *dst,
				 struct side *src, const struct loop *loop,
				 unsigned int loops, uint32_t esize)
{
	const struct loop *inner = loops ? &loop[loops - 1] : NULL;
	bool contiguous = inner && inner->dst == esize && inner->src == esize;
	int64_t dst_at = 0, src_at = 0;
	uint32_t index[4] = { 0 };

	for (;;) {
		enum kiln_status status;
		int d = (int)loops - 2;

		if (!inner)
			status = copy(core, dst, dst_at, src, src_at, esize);
		else if (contiguous)
			status = copy(core, dst, dst_at, src, src_at,
				      (uint64_t)inner->n * esize);
		else
			status = copy_strided(core, dst, dst_at, src, src_at, inner, esize);
		if (status != KILN_ST_OK || aborted(core))
			return status;

		for (; d >= 0; d--) {
			dst_at += loop[d].dst;
			src_at += loop[d].src;
			if (++index[d] < loop[d].n)
				break;
			dst_at -= loop[d].n * loop[d].dst;
			src_at -= loop[d].n * loop[d].src;
			index[d] = 0;
		}
		if (d < 0)
			return KILN_ST_OK;
	}
}

/* Fill in a side and its steps: of the partition, then of each dimension. */
static void set_side(struct kiln_core *core, const struct stream *s,
		     const struct kiln_operand *op, const struct tile *tile,
		     uint32_t esize, struct side *side, int64_t step[4])
{
	memset(side, 0, sizeof(*side));
	if (op->space == KILN_DRAM) {
		side->va = s->reg[op->dram.base] + (int64_t)op->dram.offset;
		for (unsigned int d = 0; d < 4; d++)
			step[d] = (int64_t)op->dram.step[d] * esize;
		return;
	}
	side->sbuf = tile->base;
	step[0] = core->sbuf_pitch;
	for (unsigned int d = 0; d < 3; d++)
		step[d + 1] = (int64_t)op->stride[d] * esize;
}

enum kiln_status kiln_exec_dma_copy(struct kiln_core *core, struct stream *s,
				    const struct kiln_insn *insn)
{
	const struct kiln_operand *shape = insn->dst.space == KILN_SBUF ? &insn->dst :
		insn->src[0].space == KILN_SBUF ? &insn->src[0] : &insn->src[1];
	uint32_t esize = kiln_dtype_bytes(shape->dtype);
	int64_t dst_step[4], src_step[4];
	unsigned int loops = shape->ndim + 1;
	enum kiln_status status = KILN_ST_OK;
	struct loop loop[4];
	struct side dst, src;
	struct tile tile;
	uint64_t row = esize, run = esize;

	if (shape == &insn->dst)
		status = kiln_tile_out(core, s, shape, &tile);
	else if (shape == &insn->src[0])
		status = kiln_tile(core, s, shape, &tile);
	if (status != KILN_ST_OK)
		return status;
	kiln_mmu_poll_flush(&core->mmu);

	set_side(core, s, &insn->dst, &tile, esize, &dst, dst_step);
	set_side(core, s, &insn->src[0], &tile, esize, &src, src_step);
	dst.write = true;
	for (unsigned int i = 0; i < loops; i++) {
		loop[i].n = i ? shape->size[i - 1] : shape->partitions;
		loop[i].dst = dst_step[i];
		loop[i].src = src_step[i];
		if (i)
			row *= loop[i].n;
	}
	loops = merge(loop, loops);
	if (loops && loop[loops - 1].dst == esize && loop[loops - 1].src == esize)
		run = (uint64_t)loop[loops - 1].n * esize;
	if (run > row)
		run = row;
	status = transfer(core, &dst, &src, loop, loops, esize);
	if (status != KILN_ST_OK)
		return status;
	core->dma_end = kiln_time_dma(&core->clocks, core->generation, insn->func, s->now,
				      shape->partition, shape->partitions, row, run,
				      !dst.sbuf && !src.sbuf);
	return KILN_ST_OK;
}
