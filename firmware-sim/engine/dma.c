// SPDX-License-Identifier: MIT
/*
 * DMA between device memory and SBUF. A transfer is done when it is issued (or
 * owed, see struct loan); when it would have been done is the clocks' business.
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

/* n elements of device memory have been written, from there on. */
static void written(struct kiln_core *core, const struct side *dst, int64_t at, int64_t step,
		    uint32_t n, uint32_t esize)
{
	int64_t span = (n - 1) * step;

	kiln_memory_written(core->mmu.memory, pointer(dst, span < 0 ? at + span : at),
			    (span < 0 ? -span : span) + esize);
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
				/* a part of it has come */
				if (to && !dst->sbuf)
					kiln_memory_written(memory, to, n);
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
		if (to && !dst->sbuf)
			kiln_memory_written(memory, to, n);
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
			if (!dst->sbuf)
				written(core, dst, dst_at, loop->dst, n, esize);
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

/* The elements of one loop. */
static enum kiln_status copy_loop(struct kiln_core *core, struct side *dst, int64_t dst_at,
				  struct side *src, int64_t src_at,
				  const struct loop *loop, uint32_t esize)
{
	if (loop->n == 1 || (loop->dst == esize && loop->src == esize))
		return copy(core, dst, dst_at, src, src_at, (uint64_t)loop->n * esize);
	return copy_strided(core, dst, dst_at, src, src_at, loop, esize);
}

/*
 * The same, adding to what is there, one element after the other: a sum is fp32
 * and rounded to the type.
 */
static enum kiln_status add_loop(struct kiln_core *core, struct side *dst, int64_t dst_at,
				 struct side *src, int64_t src_at,
				 const struct loop *loop, enum kiln_dtype dtype)
{
	struct side old = { .sbuf = (uint8_t *)core->row[0] };
	struct side new = { .sbuf = (uint8_t *)core->row[1] };
	uint32_t esize = kiln_dtype_bytes(dtype);
	/* Where all go to one place, each has to see the one before. */
	uint32_t most = loop->dst ? CHUNK : 1;

	for (uint32_t done = 0; done < loop->n;) {
		uint32_t n = loop->n - done < most ? loop->n - done : most;
		const struct loop take = { n, esize, loop->src }, look = { n, esize, loop->dst };
		const struct loop give = { n, loop->dst, esize };
		enum kiln_status status = copy_loop(core, &new, 0, src, src_at, &take, esize);

		if (status == KILN_ST_OK)
			status = copy_loop(core, &old, 0, dst, dst_at, &look, esize);
		if (status == KILN_ST_OK) {
			core->ops->load(core->x, old.sbuf, n, dtype);
			core->ops->load(core->y, new.sbuf, n, dtype);
			core->ops->binary(KILN_ALU_ADD, core->z, core->x, core->y, n);
			core->ops->store(old.sbuf, core->z, n, dtype);
			status = copy_loop(core, dst, dst_at, &old, 0, &give, esize);
		}
		if (status != KILN_ST_OK || aborted(core))
			return status;
		done += n;
		src_at += n * loop->src;
		dst_at += n * loop->dst;
	}
	return KILN_ST_OK;
}

/* add: the type of what is added to dst; NONE: src replaces it. */
static enum kiln_status transfer(struct kiln_core *core, struct side *dst,
				 struct side *src, const struct loop *loop,
				 unsigned int loops, uint32_t esize, enum kiln_dtype add)
{
	static const struct loop once = { .n = 1 };
	const struct loop *inner = loops ? &loop[loops - 1] : &once;
	int64_t dst_at = 0, src_at = 0;
	uint32_t index[4] = { 0 };

	for (;;) {
		enum kiln_status status;
		int d = (int)loops - 2;

		if (add)
			status = add_loop(core, dst, dst_at, src, src_at, inner, add);
		else
			status = copy_loop(core, dst, dst_at, src, src_at, inner, esize);
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

#define ROW_MIN		64		/* bytes: of a row for which the following is worth while */
#define SPREAD		32		/* what lies between the rows may be this much more */

/* Do pieces of so many bytes, in two loops with these steps, lie apart from each other? */
static bool apart(const struct loop loop[2], int64_t outer, int64_t inner, uint64_t bytes)
{
	int64_t outer_span = (loop[0].n - 1) * outer + (int64_t)bytes;
	int64_t inner_span = (loop[1].n - 1) * inner + (int64_t)bytes;

	return outer >= (int64_t)bytes && inner >= (int64_t)bytes &&
	       (outer >= inner_span || inner >= outer_span);
}

/*
 * Where rows lie, or pieces of rows, if they and all between them are HBM, one
 * page behind the other; else NULL.
 */
static uint8_t *whole_rows(struct kiln_core *core, const struct side *dst, const struct side *src,
			   const struct loop *loop, unsigned int loops, uint64_t bytes)
{
	const struct side *side = dst->sbuf ? src : dst;
	struct loop rows[2] = { loop[0], { .n = 1, .dst = bytes, .src = bytes } };
	uint64_t span, fault = core->fault_addr;
	struct kiln_extent extent;
	int64_t outer, inner;
	bool found;

	if (loops == 3)
		rows[1] = loop[1];
	if (bytes < ROW_MIN || (uint64_t)rows[0].n * rows[1].n > MAX_COPY / bytes ||
	    !apart(rows, rows[0].dst, rows[1].dst, bytes) ||
	    !apart(rows, rows[0].src, rows[1].src, bytes))
		return NULL;
	outer = dst->sbuf ? rows[0].src : rows[0].dst;
	inner = dst->sbuf ? rows[1].src : rows[1].dst;
	span = (rows[0].n - 1) * outer + (rows[1].n - 1) * inner + bytes;
	if (span / SPREAD > (uint64_t)rows[0].n * rows[1].n * bytes)
		return NULL;
	found = kiln_mmu_translate(&core->mmu, side->va, span, side->write, &extent,
				   &core->fault_addr) == KILN_ST_OK &&
		extent.hbm && extent.bytes == span;
	core->fault_addr = fault;
	return found ? extent.hbm : NULL;
}

static void copy_whole(uint8_t *dst, const uint8_t *src, const struct loop *loop,
		       unsigned int loops, uint64_t bytes)
{
	for (uint32_t i = 0; i < (loops == 3 ? loop[1].n : 1); i++)
		kiln_copy_rows(dst + i * loop[1].dst, loop[0].dst, src + i * loop[1].src,
			       loop[0].src, loop[0].n, bytes);
}

/* From the first byte that it writes to the last one. */
static uint64_t whole_span(const struct loop *loop, unsigned int loops, uint64_t bytes)
{
	return (loop[0].n - 1) * (uint64_t)loop[0].dst + bytes +
	       (loops == 3 ? (loop[1].n - 1) * (uint64_t)loop[1].dst : 0);
}

/*
 * How many pieces of so many bytes lie in each partition of a tile, and nothing else; 0: there is
 * something else.
 */
static uint32_t pieces_of(const struct loop *loop, unsigned int loops, uint64_t row, uint64_t bytes)
{
	uint32_t n = loops == 3 ? loop[1].n : 1;

	return n * bytes == row ? n : 0;
}

static struct tile piece_of(const struct tile *tile, const struct loop *loop, uint32_t i,
			    uint64_t bytes)
{
	struct tile piece = *tile;

	piece.lo += i * loop[1].dst;
	piece.hi = piece.lo + bytes;
	return piece;
}

/* A transient program is about to write there: what it owes from there is paid. */
static void settle_sources(struct kiln_core *core, uint64_t va, const struct loop *loop,
			   unsigned int loops, uint32_t esize)
{
	uint64_t lo = va, hi = va + esize;

	for (unsigned int i = 0; i < loops; i++) {
		int64_t span = (int64_t)(loop[i].n - 1) * loop[i].dst;

		if (span < 0)
			lo += span;
		else
			hi += span;
	}
	kiln_loan_settle_source(core, lo, hi);
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
	uint8_t *rows = NULL;
	uint32_t pieces = 0;	/* of the tile, each of which rows are copied to */

	if (insn->dst.space == KILN_DRAM && !core->transient)
		kiln_loan_settle(core, NULL);
	if (shape == &insn->dst)
		status = kiln_tile_place(core, s, shape, &tile);
	else if (shape == &insn->src[0])
		status = kiln_tile(core, s, shape, &tile);
	if (status != KILN_ST_OK)
		return status;
	kiln_poll_flush(core);

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
	if (core->loans && insn->dst.space == KILN_DRAM)
		settle_sources(core, dst.va, loop, loops, esize);
	loops = merge(loop, loops);
	if (loops && loop[loops - 1].dst == esize && loop[loops - 1].src == esize)
		run = (uint64_t)loop[loops - 1].n * esize;
	if (run > row)
		run = row;
	if ((loops == 2 || loops == 3) && loop[loops - 1].dst == esize &&
	    loop[loops - 1].src == esize && !(insn->flags & KILN_F_ACCUMULATE) &&
	    !core->time_only && !dst.sbuf != !src.sbuf)
		rows = whole_rows(core, &dst, &src, loop, loops, run);
	if (rows)
		pieces = pieces_of(loop, loops, row, run);
	if (dst.sbuf) {
		/* What replaces all of a tile for certain leaves nothing owed there. */
		for (uint32_t i = 0; i < pieces; i++) {
			struct tile piece = piece_of(&tile, loop, i, run);

			kiln_loan_drop(core, &piece);
		}
		kiln_loan_settle(core, &tile);
		kiln_tile_written(core, &tile);
	}
	if (rows && src.sbuf)
		copy_whole(rows, src.sbuf, loop, loops, run);
	else if (pieces && core->few_columns && core->loans + pieces <= LOANS &&
		 core->ops->matvec_bf16)
		for (uint32_t i = 0; i < pieces; i++) {
			struct tile piece = piece_of(&tile, loop, i, run);

			kiln_loan_take(core, &piece, rows + i * loop[1].src, loop[0].src,
				       src.va + i * loop[1].src);
		}
	else if (rows)
		copy_whole(dst.sbuf, rows, loop, loops, run);
	else if (!core->time_only)
		status = transfer(core, &dst, &src, loop, loops, esize,
				  insn->flags & KILN_F_ACCUMULATE ? shape->dtype : KILN_DT_NONE);
	if (rows && src.sbuf)
		kiln_memory_written(core->mmu.memory, rows, whole_span(loop, loops, run));
	if (status != KILN_ST_OK)
		return status;
	core->dma = kiln_time_dma(&core->clocks, core->generation, insn->func, s->now,
				  shape->partition, shape->partitions, row, run,
				  (!dst.sbuf && !src.sbuf) || insn->flags & KILN_F_ACCUMULATE);
	return KILN_ST_OK;
}

enum kiln_status kiln_dma_rows(struct kiln_core *core, const struct stream *s,
			       const struct kiln_operand *op, uint32_t partitions,
			       int64_t row[KILN_PARTITIONS])
{
	struct side list, words = { .sbuf = (uint8_t *)core->row[0] };
	struct loop loop = { .n = partitions, .dst = sizeof(uint32_t) };
	enum kiln_status status = KILN_ST_OK;
	int64_t step[4];
	struct tile tile;

	if (op->space == KILN_SBUF)
		status = kiln_tile(core, s, op, &tile);
	if (status != KILN_ST_OK)
		return status;
	set_side(core, s, op, &tile, sizeof(uint32_t), &list, step);
	loop.src = step[0];
	status = copy_loop(core, &words, 0, &list, 0, &loop, sizeof(uint32_t));
	for (uint32_t p = 0; p < partitions; p++)
		row[p] = op->dtype == KILN_I32 ? (int32_t)core->row[0][p] :
						 (int64_t)core->row[0][p];
	return status;
}

/*
 * One side is a tile, the other rows in device memory, one for each partition:
 * base + offset + index * step[0]. Register func1 has the number of rows; a row
 * that is not among them is KILN_ST_MEMORY at the address that it would have,
 * with DROP nothing happens to that partition. Register 0: any row.
 */
static enum kiln_status by_index(struct kiln_core *core, struct stream *s,
				 const struct kiln_insn *insn, bool gather)
{
	const struct kiln_operand *op = gather ? &insn->dst : &insn->src[0];
	const struct kiln_operand *list = gather ? &insn->src[0] : &insn->dst;
	uint32_t esize = kiln_dtype_bytes(op->dtype);
	uint64_t bytes = esize, run = esize, rows = s->reg[insn->func1], base;
	int64_t tile_step[4], step[4], row[KILN_PARTITIONS];
	struct loop loop[3];
	struct side here, there;
	struct tile tile;
	unsigned int loops;
	enum kiln_status status = gather ? kiln_tile_out(core, s, op, &tile) :
					   kiln_tile(core, s, op, &tile);

	kiln_poll_flush(core);
	if (!gather)
		kiln_loan_settle(core, NULL);
	if (status == KILN_ST_OK && !core->time_only)
		status = kiln_dma_rows(core, s, &insn->src[1], op->partitions, row);
	if (status != KILN_ST_OK)
		return status;
	set_side(core, s, op, &tile, esize, &here, tile_step);
	set_side(core, s, list, &tile, esize, &there, step);
	here.write = gather;
	there.write = !gather;
	base = there.va;
	for (unsigned int d = 0; d < op->ndim; d++) {
		loop[d].n = op->size[d];
		loop[d].dst = gather ? tile_step[d + 1] : step[d + 1];
		loop[d].src = gather ? step[d + 1] : tile_step[d + 1];
		bytes *= op->size[d];
	}
	loops = merge(loop, op->ndim);
	if (loops && loop[loops - 1].dst == esize && loop[loops - 1].src == esize)
		run = (uint64_t)loop[loops - 1].n * esize;

	for (uint32_t p = 0; p < op->partitions && !core->time_only; p++) {
		here.sbuf = tile.base + p * tile.pitch;
		there.va = base + (uint64_t)row[p] * (uint64_t)step[0];
		if (insn->func1 && (uint64_t)row[p] >= rows) {
			if (insn->flags & KILN_F_DROP)
				continue;
			core->fault_addr = there.va;
			return KILN_ST_MEMORY;
		}
		status = transfer(core, gather ? &here : &there, gather ? &there : &here,
				  loop, loops, esize,
				  insn->flags & KILN_F_ACCUMULATE ? op->dtype : KILN_DT_NONE);
		if (status != KILN_ST_OK || aborted(core))
			return status;
	}
	core->dma = kiln_time_dma(&core->clocks, core->generation, insn->func, s->now,
				  op->partition, op->partitions, bytes, run,
				  insn->flags & KILN_F_ACCUMULATE);
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_dma_gather(struct kiln_core *core, struct stream *s,
				      const struct kiln_insn *insn)
{
	return by_index(core, s, insn, true);
}

enum kiln_status kiln_exec_dma_scatter(struct kiln_core *core, struct stream *s,
				       const struct kiln_insn *insn)
{
	return by_index(core, s, insn, false);
}

#define TRANSPOSE_RUN	64	/* bytes that a transposing transfer moves at a time; assumed */

/* dst [F, P] in SBUF = src [P, F] transposed, in SBUF or at step[0] and step[1] in DRAM. */
enum kiln_status kiln_exec_dma_transpose(struct kiln_core *core, struct stream *s,
					 const struct kiln_insn *insn)
{
	uint32_t esize = kiln_dtype_bytes(insn->dst.dtype);
	uint64_t row = (uint64_t)insn->dst.size[0] * esize;
	int64_t dst_step[4], src_step[4];
	struct side dst, src;
	struct loop loop[2];
	struct tile to, from;
	unsigned int loops;
	enum kiln_status status = kiln_tile_out(core, s, &insn->dst, &to);

	if (status == KILN_ST_OK && insn->src[0].space == KILN_SBUF)
		status = kiln_tile(core, s, &insn->src[0], &from);
	if (status != KILN_ST_OK)
		return status;
	kiln_poll_flush(core);
	set_side(core, s, &insn->dst, &to, esize, &dst, dst_step);
	set_side(core, s, &insn->src[0], &from, esize, &src, src_step);
	loop[0] = (struct loop){ insn->dst.partitions, dst_step[0], src_step[1] };
	loop[1] = (struct loop){ insn->dst.size[0], dst_step[1], src_step[0] };
	loops = merge(loop, 2);
	if (!core->time_only)
		status = transfer(core, &dst, &src, loop, loops, esize, KILN_DT_NONE);
	if (status != KILN_ST_OK)
		return status;
	core->dma = kiln_time_dma(&core->clocks, core->generation, insn->func, s->now,
				  insn->dst.partition, insn->dst.partitions, row,
				  row < TRANSPOSE_RUN ? row : TRANSPOSE_RUN, false);
	return KILN_ST_OK;
}
