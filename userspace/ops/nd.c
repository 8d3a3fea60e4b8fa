// SPDX-License-Identifier: MIT
/*
 * Tiles of tensors with any strides: which points lie in which partition, loads,
 * stores, and the frames of SBUF between them.
 */
#include <errno.h>
#include <string.h>

#include "nd.h"

#define POINTS		2048u	/* of a partition at a time, if not more are one row */
#define FRAMES		3
#define STORER		KILN_GPSIMD
#define MOVE_POINTS	32768u	/* straight through memory */
#define ROWS_MAX	32767u	/* strides of tiles are 16 bits */

#define RINGS		4		/* that the tensors of a kind are spread over */

/* One for each ring: of two rings' posts to one semaphore nobody knows whose came first. */
enum {
	SEM_DONE, SEM_SHARED_FREE,
	SEM_FULL = 4, SEM_SHARED_FULL = SEM_FULL + RINGS, SEM_FREE = SEM_SHARED_FULL + RINGS,
	SEM_HAND = SEM_FREE + RINGS,	/* + 5 * from + to */
};

enum { RING_IN = 0, RING_SHARED = RING_IN + RINGS, RING_OUT = RING_SHARED + RINGS };

struct nd_gen {
	struct kiln_asm *as;
	const struct nd *nd;
	nd_body_fn body;
	const void *op;
	enum kiln_engine first, now;
	unsigned int outer;			/* the dimensions that are loops */
	uint32_t outer_dim[ND_DIMS];
	int64_t outer_stride[ND_TENSORS][ND_DIMS];
	uint32_t points, mid, columns;		/* of the dimensions of a tile */
	int64_t stride[ND_TENSORS][3];		/* rows, mid, columns */
	uint32_t group, chunk;			/* rows of a partition, columns of a tile */
	bool shared[ND_TENSORS];
	unsigned int shared_tensors;
	uint32_t offset[ND_TENSORS];		/* in the frame, or the shared one */
	uint32_t scratch, scratch_bytes, stats, stat_bytes;
	unsigned int limit;			/* of the rows by index, the mover's */
	struct turn frame, shared_frame;
	unsigned int addr[ND_TENSORS];		/* Sync's, of results the storer's */
};

static uint32_t unit_of(const struct nd *nd, unsigned int t)
{
	return nd->unit[t] ? nd->unit[t] : 1;
}

static bool is_index(const struct nd *nd, unsigned int t)
{
	return nd->by_index && t == nd->index;
}

/* Who has the address of a tensor */
static enum kiln_engine mover(const struct nd_gen *g, unsigned int t)
{
	if (is_index(g->nd, t))
		t = g->nd->by_index - 1;
	return t < g->nd->inputs || !g->body ? KILN_SYNC : STORER;
}

/* ------------------------------------------------------------------ shape -- */

void nd_join(struct nd *nd)
{
	uint32_t out = 0, d, t, last = nd->dims - 1;

	for (d = 0; d < nd->dims; d++) {
		bool whole = nd->rows && d == last;
		bool joins = out && !whole;

		if (nd->dim[d] == 1 && !whole)
			continue;
		for (t = 0; t < nd->tensors; t++)
			joins = joins && nd->stride[t][out - 1] ==
				nd->stride[t][d] * (int64_t)nd->dim[d];
		joins = joins && (uint64_t)nd->dim[out - 1] * nd->dim[d] <= INT32_MAX;
		if (!joins)
			out++;
		nd->dim[out - 1] = joins ? nd->dim[out - 1] * nd->dim[d] : nd->dim[d];
		for (t = 0; t < nd->tensors; t++)
			nd->stride[t][out - 1] = nd->stride[t][d];
	}
	if (!out) {
		nd->dim[0] = 1;
		for (t = 0; t < nd->tensors; t++)
			nd->stride[t][0] = unit_of(nd, t);
		out = 1;
	}
	nd->dims = out;
	for (d = out; d < ND_DIMS; d++) {
		nd->dim[d] = 0;
		for (t = 0; t < ND_TENSORS; t++)
			nd->stride[t][d] = 0;
	}
}

void nd_key(struct kiln_ops_key *key, unsigned int word, const struct nd *nd)
{
	uint32_t t, d;

	key->word[word++] = nd->inputs | nd->tensors << 8 | nd->dims << 16 |
		(uint32_t)nd->rows << 24 | (uint64_t)nd->by_index << 32 | (uint64_t)nd->index << 40 |
		(uint64_t)nd->accumulate << 48;
	key->word[word++] = nd->index_step;
	key->word[word++] = nd->index_rows;
	for (t = 0; t < nd->tensors; t++)
		key->word[word] |= (uint64_t)nd->dtype[t] << (4 * t);
	word++;
	for (d = 0; d < nd->dims; d++) {
		key->word[word++] = nd->dim[d];
		for (t = 0; t < nd->tensors; t++)
			key->word[word++] = nd->stride[t][d];
	}
}

/* ------------------------------------------------------------------- plan -- */

static int64_t magnitude(int64_t x)
{
	return x < 0 ? -x : x;
}

/*
 * The dimension along which rows come by index: the last along which indices differ, and
 * nothing else says where the row is. None if there is but one row: the others are loops.
 */
static int indexed(const struct nd *nd)
{
	int d;

	for (d = nd->dims - 1; d >= 0; d--)
		if (nd->stride[nd->index][d] && !nd->stride[nd->by_index - 1][d])
			return d;
	return -1;
}

static void put_tile_dim(struct nd_gen *g, unsigned int i, int d)
{
	unsigned int t;

	for (t = 0; t < g->nd->tensors; t++)
		g->stride[t][i] = d < 0 ? 0 : g->nd->stride[t][d];
}

/* Which dimensions are rows, mid and columns; most: points of a partition. */
static void plan(struct nd_gen *g, uint32_t most)
{
	const struct nd *nd = g->nd;
	int last = nd->dims - 1, rows = -1, mid = -1, columns = last, d;
	uint32_t t, longest = 0;
	int64_t widest = 1;
	bool units = false;

	for (d = 0; d < last; d++)
		if (nd->dim[d] >= longest) {
			longest = nd->dim[d];
			rows = d;
		}
	/* Few long rows: their columns fill the partitions better. */
	if (!nd->rows && (rows < 0 || (longest < 64 && nd->dim[last] >= 512))) {
		rows = last;
		columns = -1;
	}
	if (nd->by_index) {
		rows = indexed(nd);
		columns = rows == last || nd->stride[nd->index][last] ? -1 : last;
	}
	g->points = rows < 0 ? 1 : nd->dim[rows];
	g->columns = columns < 0 ? 1 : nd->dim[columns];
	g->chunk = kiln_min(g->columns, most);
	for (t = 0; t < nd->tensors; t++)
		units = units || unit_of(nd, t) > 1;
	g->mid = 1;
	for (d = last; d >= 0 && !units; d--)
		if (d != rows && d != columns) {
			if (nd->by_index && nd->stride[nd->index][d])
				break;
			if (g->chunk == g->columns && (uint64_t)nd->dim[d] * g->chunk <= most) {
				mid = d;
				g->mid = nd->dim[d];
			}
			break;
		}
	put_tile_dim(g, 0, rows);
	put_tile_dim(g, 1, mid);
	put_tile_dim(g, 2, columns);
	for (d = 0; d <= last; d++) {
		if (d == rows || d == mid || d == columns)
			continue;
		g->outer_dim[g->outer] = nd->dim[d];
		for (t = 0; t < nd->tensors; t++)
			g->outer_stride[t][g->outer] = nd->stride[t][d];
		g->outer++;
	}
	for (t = 0; t < nd->tensors; t++)
		if (magnitude(g->stride[t][0]) > widest)
			widest = magnitude(g->stride[t][0]);
	g->group = kiln_min(most / (g->chunk * g->mid), kiln_ceil_div(g->points, PART));
	while (g->group > 1 && g->group * widest > INT32_MAX)
		g->group--;
	if (nd->by_index)
		g->group = 1;
	for (t = 0; t < nd->inputs && g->body; t++) {
		g->shared[t] = !g->stride[t][0] && g->points > 1 && !is_index(nd, t) &&
			t + 1 != nd->by_index;
		g->shared_tensors += g->shared[t];
	}
}

/* Points of a dimension of the tile that the tensor really has. */
static uint32_t held(const struct nd_gen *g, unsigned int t, unsigned int i, uint32_t n)
{
	return g->stride[t][i] ? n : 1;
}

static uint32_t tensor_bytes(const struct nd_gen *g, unsigned int t)
{
	return KILN_ALIGN_UP(held(g, t, 0, g->group) * held(g, t, 1, g->mid) *
			     held(g, t, 2, g->chunk) * unit_of(g->nd, t) *
			     kiln_dtype_bytes(g->nd->dtype[t]), 64u);
}

/* Bytes of a partition for each point of a frame. */
static uint32_t point_bytes(const struct nd *nd)
{
	uint32_t bytes = 4 * nd->scratch, t;

	for (t = 0; t < nd->tensors; t++)
		bytes += unit_of(nd, t) * kiln_dtype_bytes(nd->dtype[t]);
	return bytes;
}

static uint32_t sbuf_for_frames(unsigned int generation)
{
	/* Alignment and statistics of a few hundred rows; the shared ones in two more slots. */
	return kiln_asm_sbuf_bytes(generation) - 8192;
}

uint32_t nd_longest(unsigned int generation, const struct nd *nd)
{
	uint32_t most = sbuf_for_frames(generation) / (2 * point_bytes(nd));

	return most < ROWS_MAX ? most : ROWS_MAX;
}

/* ------------------------------------------------------------------ views -- */

/* What is more than one and cannot be joined with what stands before. */
static unsigned int joined(const uint32_t n[], const int64_t a[], const int64_t b[],
			   unsigned int dims, uint32_t m[4], int64_t c[4], int64_t d[4])
{
	unsigned int out = 0, i;

	for (i = 0; i < dims; i++) {
		if (n[i] == 1)
			continue;
		if (out && c[out - 1] == a[i] * n[i] && d[out - 1] == b[i] * n[i] &&
		    m[out - 1] * n[i] <= UINT16_MAX) {
			m[out - 1] *= n[i];
			c[out - 1] = a[i];
			d[out - 1] = b[i];
			continue;
		}
		m[out] = n[i];
		c[out] = a[i];
		d[out++] = b[i];
	}
	if (!out) {
		m[0] = 1;
		c[0] = d[0] = 1;
		out = 1;
	}
	return out;
}

static struct kiln_operand tile_of(enum kiln_dtype dtype, uint32_t p, uint32_t addr,
				   unsigned int dims, const uint32_t n[], const int64_t s[])
{
	struct kiln_operand op = kiln_tile1(KILN_SBUF, dtype, 0, p, addr, 1);
	unsigned int i;

	op.ndim = dims;
	for (i = 0; i < dims; i++) {
		op.size[i] = n[i];
		op.stride[i] = s[i];
	}
	return op;
}

struct kiln_operand nd_tile3(enum kiln_dtype dtype, uint32_t p, uint32_t addr,
			     const uint32_t n[3], const int stride[3])
{
	int64_t s[3] = { stride[0], stride[1], stride[2] }, c[4], d[4];
	uint32_t m[4];
	unsigned int dims = joined(n, s, s, 3, m, c, d);

	return tile_of(dtype, p, addr, dims, m, c);
}

static const struct turn *turn_of(const struct nd_tile *t, unsigned int tensor)
{
	return tensor < t->g->nd->inputs && t->g->shared[tensor] ?
		&t->g->shared_frame : &t->g->frame;
}

/* Strides of a tensor in SBUF, where only what differs is held. */
static void held_strides(const struct nd_tile *t, unsigned int tensor, int64_t s[3])
{
	const struct nd_gen *g = t->g;
	uint32_t mid = held(g, tensor, 1, t->n[1]), columns = held(g, tensor, 2, t->n[2]);
	uint32_t unit = unit_of(g->nd, tensor);

	s[0] = g->stride[tensor][0] ? (int64_t)mid * columns * unit : 0;
	s[1] = g->stride[tensor][1] ? (int64_t)columns * unit : 0;
	s[2] = g->stride[tensor][2] ? unit : 0;
}

static struct kiln_operand merged(const struct nd_tile *t, enum kiln_dtype dtype, uint32_t addr,
				  unsigned int reg, const int64_t s[3], unsigned int dims)
{
	int64_t c[4], d[4];
	uint32_t m[4];
	unsigned int out = joined(t->n, s, s, dims, m, c, d);

	return kiln_at(tile_of(dtype, t->p, addr, out, m, c), reg);
}

/* The last dimension apart from the others. */
static struct kiln_operand row_wise(const struct nd_tile *t, enum kiln_dtype dtype, uint32_t addr,
				    unsigned int reg, const int64_t s[3])
{
	int64_t c[4], d[4];
	uint32_t m[4];
	unsigned int out = joined(t->n, s, s, 2, m, c, d);

	m[out] = t->n[2];
	c[out] = s[2];
	return kiln_at(tile_of(dtype, t->p, addr, out + 1, m, c), reg);
}

struct kiln_operand nd_view(const struct nd_tile *t, unsigned int tensor)
{
	int64_t s[3];

	held_strides(t, tensor, s);
	return merged(t, t->g->nd->dtype[tensor], t->g->offset[tensor],
		      turn_of(t, tensor)->reg, s, 3);
}

struct kiln_operand nd_rows_of(const struct nd_tile *t, unsigned int tensor)
{
	int64_t s[3];

	held_strides(t, tensor, s);
	return row_wise(t, t->g->nd->dtype[tensor], t->g->offset[tensor],
			turn_of(t, tensor)->reg, s);
}

struct kiln_operand nd_row_view(const struct nd_tile *t, unsigned int tensor)
{
	int64_t s[3];

	held_strides(t, tensor, s);
	return merged(t, t->g->nd->dtype[tensor], t->g->offset[tensor],
		      turn_of(t, tensor)->reg, s, 2);
}

uint32_t nd_offset(const struct nd_tile *t, unsigned int tensor)
{
	return t->g->offset[tensor];
}

uint32_t nd_tmp_offset(const struct nd_tile *t, unsigned int i)
{
	return t->g->scratch + i * t->g->scratch_bytes;
}

unsigned int nd_reg(const struct nd_tile *t)
{
	return t->g->frame.reg;
}

struct kiln_operand nd_tmp_as(const struct nd_tile *t, unsigned int i, enum kiln_dtype dtype)
{
	return kiln_at(sbuf(t->p, dtype, nd_tmp_offset(t, i), nd_points(t)), nd_reg(t));
}

struct kiln_operand nd_tmp(const struct nd_tile *t, unsigned int i)
{
	return nd_tmp_as(t, i, KILN_F32);
}

struct kiln_operand nd_tmp_rows(const struct nd_tile *t, unsigned int i)
{
	const int64_t s[3] = { (int64_t)t->n[1] * t->n[2], t->n[2], 1 };

	return row_wise(t, KILN_F32, nd_tmp_offset(t, i), nd_reg(t), s);
}

static uint32_t stat_offset(const struct nd_tile *t, unsigned int i)
{
	return t->g->stats + i * t->g->stat_bytes;
}

struct kiln_operand nd_stat(const struct nd_tile *t, unsigned int i)
{
	return kiln_at(sbuf(t->p, KILN_F32, stat_offset(t, i), t->n[0] * t->n[1]), nd_reg(t));
}

struct kiln_operand nd_stat_view(const struct nd_tile *t, unsigned int i)
{
	const int64_t s[3] = { t->n[1], 1, 0 };

	return row_wise(t, KILN_F32, stat_offset(t, i), nd_reg(t), s);
}

/* ----------------------------------------------------------------- bodies -- */

void nd_on(struct nd_tile *t, enum kiln_engine e)
{
	struct nd_gen *g = t->g;
	unsigned int sem = SEM_HAND + KILN_ENGINES * g->now + e;

	if (g->now == e)
		return;
	kiln_asm_post(t->as, g->now, sem, 1);
	kiln_asm_wait(t->as, e, sem, 1);
	g->now = e;
}

void nd_ts(struct nd_tile *t, struct kiln_operand dst, struct kiln_operand src,
	   enum kiln_alu func, float s0, enum kiln_alu func1, float s1)
{
	kiln_asm_tensor_scalar(t->as, KILN_VECTOR, dst, src, func, kiln_const(s0), func1,
			       kiln_const(s1), 0);
}

void nd_tt(struct nd_tile *t, struct kiln_operand dst, struct kiln_operand a,
	   enum kiln_alu func, struct kiln_operand b)
{
	kiln_asm_tensor_tensor(t->as, KILN_VECTOR, dst, a, func, b);
}

void nd_stt(struct nd_tile *t, struct kiln_operand dst, struct kiln_operand a,
	    enum kiln_alu func, float s0, enum kiln_alu func1, struct kiln_operand b)
{
	kiln_asm_scalar_tensor_tensor(t->as, KILN_VECTOR, dst, a, func, kiln_const(s0), func1, b,
				      0);
}

void nd_act(struct nd_tile *t, struct kiln_operand dst, enum kiln_activation func,
	    struct kiln_operand src, float scale, float bias)
{
	kiln_asm_activation(t->as, dst, func, src, kiln_const(scale), kiln_const(bias), NULL);
}

void nd_also(struct nd_tile *t, const struct nd *nd)
{
	if (nd->tensors == nd->inputs + 1)
		return;
	nd_on(t, KILN_VECTOR);
	kiln_asm_tensor_copy(t->as, KILN_VECTOR, nd_view(t, nd->inputs + 1), nd_view(t, nd->inputs));
}

/* ------------------------------------------------------------------ tiles -- */

/* The same for rows by index; a step for the row, then those of the tile. */
static void move_rows(struct nd_gen *g, unsigned int t, unsigned int ring,
		      struct kiln_operand tile, const int64_t step[4], unsigned int dims)
{
	const struct nd *nd = g->nd;
	enum kiln_engine e = mover(g, t);
	struct kiln_operand rows = kiln_dram3(g->addr[t], 0, nd->index_step, step[0],
					      dims > 1 ? step[1] : 0, dims > 2 ? step[2] : 0);
	struct kiln_operand index = kiln_dram(g->addr[nd->index], 0, g->stride[nd->index][0], 0);

	index.dtype = nd->dtype[nd->index];
	if (t < nd->inputs)
		kiln_asm_dma_gather(g->as, e, ring, tile, rows, index, g->limit, 0);
	else
		kiln_asm_dma_scatter(g->as, e, ring, rows, tile, index, g->limit,
				     nd->accumulate ? KILN_F_ACCUMULATE : 0);
}

/* Between a tensor's place in the frame and device memory. */
static void move(struct nd_gen *g, unsigned int t, const struct turn *turn, unsigned int ring,
		 uint32_t p, const uint32_t n[3])
{
	const struct nd *nd = g->nd;
	uint32_t unit = unit_of(nd, t), size[4], m[4];
	int64_t *s = g->stride[t], in_sbuf[4], in_dram[4], c[4], d[4];
	enum kiln_engine e = mover(g, t);
	struct kiln_operand tile, dram;
	unsigned int dims, i;

	for (i = 0; i < 3; i++) {
		size[i] = held(g, t, i, n[i]);
		in_dram[i] = s[i];
	}
	size[3] = unit;
	in_sbuf[3] = in_dram[3] = 1;
	in_sbuf[2] = unit;
	in_sbuf[1] = in_sbuf[2] * size[2];
	in_sbuf[0] = in_sbuf[1] * size[1];
	dims = joined(size, in_sbuf, in_dram, 4, m, c, d);
	tile = kiln_at(tile_of(nd->dtype[t], p, g->offset[t], dims, m, c), turn->reg);
	dram = kiln_dram3(g->addr[t], 0, s[0] * n[0], d[0], dims > 1 ? d[1] : 0,
			  dims > 2 ? d[2] : 0);
	if (t + 1 == nd->by_index)
		move_rows(g, t, ring, tile, d, dims);
	else if (t < nd->inputs)
		kiln_asm_dma(g->as, e, ring, tile, dram);
	else
		kiln_asm_dma(g->as, e, ring, dram, tile);
}

static void step(struct nd_gen *g, int64_t points, const int64_t *stride, unsigned int pitch)
{
	unsigned int t;

	for (t = 0; t < g->nd->tensors; t++)
		bump(g->as, mover(g, t), g->addr[t],
		     stride[t * pitch] * points * kiln_dtype_bytes(g->nd->dtype[t]));
}

static void take_turn(struct nd_gen *g, struct turn *t)
{
	int e;

	for (e = KILN_VECTOR; e <= KILN_SYNC; e++)
		turn_next(g->as, e, t);
}

/* Straight from device memory to device memory. */
static void move_tile(struct nd_gen *g, uint32_t p, uint32_t rows, uint32_t n)
{
	const uint32_t size[4] = { rows, g->mid, n, unit_of(g->nd, 0) };
	const int64_t *s0 = g->stride[0], *s1 = g->stride[1];
	const int64_t src[4] = { s0[0], s0[1], s0[2], 1 }, dst[4] = { s1[0], s1[1], s1[2], 1 };
	int64_t from[4], to[4];
	uint32_t m[4];
	unsigned int dims = joined(size, src, dst, 4, m, from, to);
	static const int64_t none[4];

	kiln_asm_dma_dram(g->as, KILN_SYNC, RING_IN,
			  kiln_dram3(g->addr[1], 0, g->stride[1][0] * rows, to[0],
				     dims > 1 ? to[1] : 0, dims > 2 ? to[2] : 0),
			  kiln_dram3(g->addr[0], 0, g->stride[0][0] * rows, from[0],
				     dims > 1 ? from[1] : 0, dims > 2 ? from[2] : 0),
			  tile_of(g->nd->dtype[0], p, 0, dims, m, none));
}

/* Before the engine's next instruction, so many units of each ring's semaphore. */
static void wait_rings(struct nd_gen *g, enum kiln_engine e, unsigned int sem,
		       const unsigned int units[RINGS])
{
	unsigned int ring, waits = 0;

	for (ring = 0; ring < RINGS; ring++) {
		if (!units[ring])
			continue;
		/* The instruction itself may want to wait for one more. */
		if (waits++)
			kiln_asm_nop(g->as, e);
		kiln_asm_wait(g->as, e, sem + ring, units[ring]);
	}
}

static void tile(struct nd_gen *g, uint32_t p, uint32_t rows, uint32_t n)
{
	struct nd_tile t = { .g = g, .as = g->as, .p = p, .n = { rows, g->mid, n } };
	unsigned int full[RINGS] = { 0 }, empty[RINGS] = { 0 };
	uint32_t loaded = g->nd->inputs - g->shared_tensors - (g->nd->by_index != 0), i;

	if (!g->body) {
		move_tile(g, p, rows, n);
		step(g, (int64_t)p * rows, &g->stride[0][0], 3);
		return;
	}
	for (i = g->nd->inputs; i < g->nd->tensors; i++)
		empty[i % RINGS]++;
	wait_rings(g, KILN_SYNC, SEM_FREE, empty);
	if (!loaded) {
		kiln_asm_nop(g->as, KILN_SYNC);
		kiln_asm_post(g->as, KILN_SYNC, SEM_FULL, 1);
		full[0] = 1;
	}
	for (i = 0; i < g->nd->inputs; i++)
		if (!g->shared[i] && !is_index(g->nd, i)) {
			move(g, i, &g->frame, RING_IN + i % RINGS, p, t.n);
			kiln_asm_post(g->as, KILN_SYNC, SEM_FULL + i % RINGS, 1);
			full[i % RINGS]++;
		}

	g->now = g->first;
	wait_rings(g, g->first, SEM_FULL, full);
	g->body(&t, g->op);
	kiln_asm_post(g->as, g->now, SEM_DONE, 1);

	kiln_asm_wait(g->as, STORER, SEM_DONE, 1);
	for (i = g->nd->inputs; i < g->nd->tensors; i++) {
		move(g, i, &g->frame, RING_OUT + i % RINGS, p, t.n);
		kiln_asm_post(g->as, STORER, SEM_FREE + i % RINGS, 1);
	}
	take_turn(g, &g->frame);
	step(g, (int64_t)p * rows, &g->stride[0][0], 3);
}

static void load_shared(struct nd_gen *g, uint32_t n)
{
	const uint32_t size[3] = { 1, g->mid, n };
	unsigned int full[RINGS] = { 0 };
	uint32_t i;

	kiln_asm_wait(g->as, KILN_SYNC, SEM_SHARED_FREE, 1);
	for (i = 0; i < g->nd->inputs; i++)
		if (g->shared[i]) {
			move(g, i, &g->shared_frame, RING_SHARED + i % RINGS, PART, size);
			kiln_asm_post(g->as, KILN_SYNC, SEM_SHARED_FULL + i % RINGS, 1);
			full[i % RINGS]++;
		}
	wait_rings(g, g->first, SEM_SHARED_FULL, full);
	kiln_asm_nop(g->as, g->first);
}

static void free_shared(struct nd_gen *g)
{
	post_free(g->as, g->now, SEM_SHARED_FREE, 1);
	take_turn(g, &g->shared_frame);
}

/* All rows of n columns. */
static void all_rows(struct nd_gen *g, uint32_t n)
{
	uint32_t full = PART * g->group, rest = g->points % full;

	if (g->shared_tensors)
		load_shared(g, n);
	if (g->points / full) {
		kiln_asm_loop(g->as, g->points / full);
		tile(g, PART, g->group, n);
		kiln_asm_loop_end(g->as);
	}
	if (rest / g->group)
		tile(g, rest / g->group, g->group, n);
	if (rest % g->group)
		tile(g, 1, rest % g->group, n);
	step(g, -(int64_t)g->points, &g->stride[0][0], 3);
	if (g->shared_tensors)
		free_shared(g);
	step(g, n, &g->stride[0][2], 3);
}

static void all_columns(struct nd_gen *g)
{
	if (g->columns / g->chunk) {
		kiln_asm_loop(g->as, g->columns / g->chunk);
		all_rows(g, g->chunk);
		kiln_asm_loop_end(g->as);
	}
	if (g->columns % g->chunk)
		all_rows(g, g->columns % g->chunk);
	step(g, -(int64_t)g->columns, &g->stride[0][2], 3);
}

static void outer(struct nd_gen *g, unsigned int level)
{
	if (level == g->outer) {
		all_columns(g);
		return;
	}
	kiln_asm_loop(g->as, g->outer_dim[level]);
	outer(g, level + 1);
	step(g, 1, &g->outer_stride[0][level], ND_DIMS);
	kiln_asm_loop_end(g->as);
	step(g, -(int64_t)g->outer_dim[level], &g->outer_stride[0][level], ND_DIMS);
}

/* ---------------------------------------------------------------- program -- */

static void take_addresses(struct nd_gen *g)
{
	unsigned int t;

	for (t = 0; t < g->nd->tensors; t++) {
		g->addr[t] = kiln_asm_reg(g->as, mover(g, t));
		kiln_asm_ldarg(g->as, mover(g, t), g->addr[t], t);
	}
}

/* The same register for all engines, so that an operand is good for any of them. */
static void take_turns(struct nd_gen *g, struct turn *t, uint32_t start, uint32_t bytes,
		       unsigned int slots)
{
	int e;

	t->start = start;
	t->bytes = bytes;
	for (e = KILN_VECTOR; e <= KILN_SYNC; e++) {
		/* No engine has taken another one before. */
		t->reg = kiln_asm_reg(g->as, e);
		t->end = kiln_asm_reg(g->as, e);
		kiln_asm_movi(g->as, e, t->reg, start);
		kiln_asm_movi(g->as, e, t->end, start + slots * bytes);
	}
}

int nd_make(struct kiln_asm *as, unsigned int generation, const struct nd *nd,
	    enum kiln_engine first, nd_body_fn body, const void *op)
{
	struct nd_gen gen = {
		.as = as, .nd = nd, .body = body, .op = op, .first = first,
	}, *g = &gen;
	uint32_t top = 0, frame = 0, shared = 0, frames, t;
	uint32_t most = sbuf_for_frames(generation) / (FRAMES * point_bytes(nd));

	if (most > POINTS)
		most = POINTS;
	if (nd->rows && most < nd->dim[nd->dims - 1])
		most = nd->dim[nd->dims - 1];
	plan(g, most);
	for (t = 0; t < nd->tensors; t++) {
		uint32_t *place = g->shared[t] ? &shared : &frame;

		g->offset[t] = *place;
		if (!is_index(nd, t))
			*place += tensor_bytes(g, t);
	}
	g->scratch_bytes = KILN_ALIGN_UP(g->group * g->mid * g->chunk * 4, 64u);
	g->scratch = frame;
	frame += nd->scratch * g->scratch_bytes;
	g->stat_bytes = KILN_ALIGN_UP(g->group * g->mid * 4, 64u);
	g->stats = frame;
	frame += nd->stats * g->stat_bytes;
	frames = (kiln_asm_sbuf_bytes(generation) - top - 2 * shared) / frame;
	if (frames > FRAMES)
		frames = FRAMES;
	if (2 * shared + frame + top > kiln_asm_sbuf_bytes(generation))
		return kiln_error(-ENOTSUP, "rows of %u do not fit the card's memory",
				  nd->dim[nd->dims - 1]);

	take_turns(g, &g->frame, top, frame, frames);
	if (shared)
		take_turns(g, &g->shared_frame, top + frames * frame, shared, 2);
	for (t = nd->inputs; t < nd->tensors; t++)
		post_free(as, KILN_SYNC, SEM_FREE + t % RINGS, frames);
	if (shared)
		post_free(as, KILN_SYNC, SEM_SHARED_FREE, 2);
	take_addresses(g);
	if (nd->by_index) {
		g->limit = kiln_asm_reg(as, mover(g, nd->index));
		kiln_asm_movi(as, mover(g, nd->index), g->limit, nd->index_rows);
	}
	outer(g, 0);
	return 0;
}

int nd_move(struct kiln_asm *as, const struct nd *nd)
{
	struct nd_gen gen = { .as = as, .nd = nd }, *g = &gen;

	plan(g, MOVE_POINTS);
	take_addresses(g);
	outer(g, 0);
	return 0;
}

/* ---------------------------------------------------------------- tensors -- */

int nd_tensor(const char *op, const char *name, struct kiln_tensor *t)
{
	bool dense = true;
	uint64_t count = 1;
	int d;

	for (d = 0; d < 4; d++) {
		if (!t->dim[d])
			t->dim[d] = 1;
		dense = dense && !t->stride[d];
	}
	for (d = 3; d >= 0; d--) {
		if (dense)
			t->stride[d] = count;
		count *= t->dim[d];
		if (t->dim[d] > INT32_MAX || count > 1ull << 40)
			return kiln_error(-EINVAL, "%s: dimension %d of %s is %u: at most 2147483647, and at most 2^40 elements",
					  op, d, name, t->dim[d]);
	}
	if (!t->addr || t->addr % type_size(t->type))
		return kiln_error(-EINVAL, "%s: %s is at 0x%llx: a device address, aligned to %u bytes",
				  op, name, (unsigned long long)t->addr, type_size(t->type));
	return 0;
}

int nd_check_also(const char *op, const struct kiln_tensor *out, const struct kiln_tensor *also)
{
	for (int d = 0; d < 4; d++)
		if (also->dim[d] != out->dim[d])
			return kiln_error(-EINVAL, "%s: dimension %d of also is %u, of out %u: the same",
					  op, d, also->dim[d], out->dim[d]);
	return 0;
}

/*
 * One dimension of the space: each tensor goes through its own n elements of it
 * again and again. The periods have to divide each other; pieces are what lies
 * between one and the next.
 */
static int split(const char *op, struct nd *nd, const struct kiln_tensor *const t[], int d,
		 uint32_t n)
{
	uint32_t piece[ND_TENSORS + 1], inside = 1, pieces = 0, i;
	uint32_t at[ND_TENSORS + 1];

	while (inside < n) {
		uint32_t next = n;

		for (i = 0; i < nd->tensors; i++)
			if (t[i]->dim[d] > inside && t[i]->dim[d] < next)
				next = t[i]->dim[d];
		if (next % inside)
			return kiln_error(-ENOTSUP, "%s: in dimension %d, tensors that repeat after %u and after %u elements: one has to be a multiple of the other",
					  op, d, inside, next);
		piece[pieces] = next / inside;
		at[pieces++] = inside;
		inside = next;
	}
	while (pieces--) {
		if (nd->dims == ND_DIMS)
			return kiln_error(-ENOTSUP, "%s: these shapes and repetitions take more than %d dimensions",
					  op, ND_DIMS);
		nd->dim[nd->dims] = piece[pieces];
		for (i = 0; i < nd->tensors; i++)
			nd->stride[i][nd->dims] = at[pieces] < t[i]->dim[d] ?
				t[i]->stride[d] * at[pieces] : 0;
		nd->dims++;
	}
	return 0;
}

int nd_space(const char *op, struct nd *nd, const struct kiln_tensor *const t[],
	     const uint32_t dim[4])
{
	uint32_t i;
	int d, err;

	nd->dims = 0;
	for (i = 0; i < nd->tensors; i++)
		for (d = 0; d < 4; d++)
			if (dim[d] % t[i]->dim[d])
				return kiln_error(-EINVAL, "%s: dimension %d is %u in one tensor and %u in another: one has to be a multiple of the other",
						  op, d, dim[d], t[i]->dim[d]);
	for (d = 0; d < 4; d++) {
		if (nd->rows && d == 3) {
			nd->dim[nd->dims] = dim[d];
			for (i = 0; i < nd->tensors; i++)
				nd->stride[i][nd->dims] = t[i]->dim[d] > 1 ? t[i]->stride[d] : 0;
			nd->dims++;
			continue;
		}
		err = split(op, nd, t, d, dim[d]);
		if (err)
			return err;
	}
	if (!nd->dims)
		nd->dim[nd->dims++] = 1;
	nd_join(nd);
	if (nd->dims * (nd->tensors + 1) + 12 > KILN_OPS_KEY_WORDS)
		return kiln_error(-ENOTSUP, "%s: these shapes and repetitions take %u dimensions",
				  op, nd->dims);
	return 0;
}
