// SPDX-License-Identifier: MIT
/*
 * The Tensor engine: SBUF in, PSUM out.
 */
#include <string.h>

#include "engine/state.h"

#define AHEAD		8	/* rows, in packing */
#define LOOK_AHEAD	4	/* instructions */

/* Row p of a tile as its elements lie, contiguous: in SBUF itself or gathered in buf. */
static const void *row_of(const struct tile *tile, uint32_t p, void *buf)
{
	if (tile_contiguous(tile))
		return tile->base + p * tile->pitch;
	kiln_tile_gather(tile, p, 0, tile->count, buf);
	return buf;
}

static inline __attribute__((always_inline)) void
pack_width(uint32_t *dst, size_t pitch, unsigned int width, const uint32_t *src, uint32_t n)
{
	for (; n >= width; n -= width, src += width, dst += pitch)
		memcpy(dst, src, width * sizeof(*dst));
	if (n) {
		memcpy(dst, src, n * sizeof(*dst));
		memset(dst + n, 0, (width - n) * sizeof(*dst));
	}
}

static void pack_words(uint32_t *dst, size_t pitch, unsigned int width,
		       const uint32_t *src, uint32_t n)
{
	/* The widths that are known: without a call for each piece */
	if (width == 8)
		pack_width(dst, pitch, 8, src, n);
	else if (width == KILN_PANEL)
		pack_width(dst, pitch, KILN_PANEL, src, n);
	else
		pack_width(dst, pitch, width, src, n);
}

/* Rows of a packed matrix, see ops.h. */
static uint32_t packed_rows(uint32_t k, enum kiln_dtype dtype)
{
	return dtype == KILN_BF16 ? (k + 1) / 2 : k;
}

static size_t panel_pitch(uint32_t rows, unsigned int width)
{
	return (size_t)(rows + PANEL_PAD) * width;
}

/*
 * One column of bf16: as many as a matrix has, when it multiplies a vector. What
 * pads its panel stays as it was: nothing of it gets into the one row of results.
 */
static void pack_column(const struct tile *tile, uint32_t *dst, unsigned int width)
{
	const uint8_t *row = tile->base;
	uint32_t p = 0, k = tile->partitions;
	uint16_t even, odd;

	for (; p < k; p += 2, row += 2 * tile->pitch, dst += width) {
		memcpy(&even, row, sizeof(even));
		odd = 0;
		if (p + 1 < k)
			memcpy(&odd, row + tile->pitch, sizeof(odd));
		dst[0] = even | (uint32_t)odd << 16;
	}
}

/* A matrix of K partitions, of two rows each with twice, in panels of width columns. */
static void pack(struct kiln_core *core, const struct tile *tile, uint32_t *dst,
		 unsigned int width, bool twice)
{
	static const uint16_t zero[KILN_MATMUL_MAX_N];
	uint32_t k = tile->partitions, rows = 1 + twice;
	size_t pitch = panel_pitch(rows * packed_rows(k, tile->dtype), width);

	if (tile->dtype == KILN_F32) {
		for (uint32_t p = 0; p < k; p++) {
			tile_prefetch(tile, p + AHEAD, false);
			pack_words(dst + p * width, pitch, width,
				   row_of(tile, p, core->row[0]), tile->count);
		}
		return;
	}
	if (tile->dtype != KILN_BF16) {		/* to fp32: each product is exact there */
		uint32_t n = tile->count / rows;

		for (uint32_t p = 0; p < k; p++) {
			const uint8_t *from = row_of(tile, p, core->row[0]);

			tile_prefetch(tile, p + AHEAD, false);
			for (uint32_t r = 0; r < rows; r++, from += n * tile->esize) {
				core->ops->load((float *)core->row[1], from, n, tile->dtype);
				pack_words(dst + (p * rows + r) * width, pitch, width,
					   core->row[1], n);
			}
		}
		return;
	}
	if (tile->count == 1) {
		pack_column(tile, dst, width);
		return;
	}
	for (uint32_t p = 0; p < k; p += 2) {
		const void *even = row_of(tile, p, core->row[0]);
		const void *odd = p + 1 < k ? row_of(tile, p + 1, core->row[1]) : zero;

		tile_prefetch(tile, p + AHEAD, false);
		tile_prefetch(tile, p + AHEAD + 1, false);
		core->ops->pack_pairs(dst + p / 2 * width, pitch, width, even, odd,
				      tile->count);
	}
}

void kiln_stationary_forget(struct kiln_core *core)
{
	core->stationary.dtype = KILN_DT_NONE;
	for (unsigned int i = 0; i < CELLS; i++)
		core->part[i].dtype = KILN_DT_NONE;
}

/* The rows and columns of the array that an instruction names; 0: it names none. */
static unsigned int tile_rows(const struct kiln_insn *insn)
{
	return insn->func ? insn->func : insn->func1 ? KILN_MATMUL_MAX_K : 0;
}

static unsigned int tile_columns(const struct kiln_insn *insn)
{
	return insn->func1 ? insn->func1 : insn->func ? KILN_MATMUL_MAX_M : 0;
}

/* As far as all 128: then it is the whole array. */
static bool is_part(const struct kiln_insn *insn)
{
	return tile_rows(insn) && tile_rows(insn) * tile_columns(insn) <
				  KILN_MATMUL_MAX_K * KILN_MATMUL_MAX_M;
}

static unsigned int cell_of(unsigned int row, unsigned int column)
{
	return row / CELL * (KILN_MATMUL_MAX_M / CELL) + column / CELL;
}

/* Whatever lies where a tile is about to be loaded. */
static void forget_overlapping(struct kiln_core *core, const struct kiln_insn *insn)
{
	unsigned int row = insn->src[0].partition, column = (unsigned int)insn->imm[0];

	core->stationary.dtype = KILN_DT_NONE;
	for (unsigned int i = 0; i < CELLS; i++) {
		struct stationary *other = &core->part[i];
		unsigned int r = i / (KILN_MATMUL_MAX_M / CELL) * CELL;
		unsigned int c = i % (KILN_MATMUL_MAX_M / CELL) * CELL;

		if (r < row + tile_rows(insn) && row < r + other->rows &&
		    c < column + tile_columns(insn) && column < c + other->columns)
			other->dtype = KILN_DT_NONE;
	}
}

enum kiln_status kiln_exec_load_stationary(struct kiln_core *core, struct stream *s,
					   const struct kiln_insn *insn)
{
	struct tile src;
	enum kiln_status status = kiln_tile(core, s, &insn->src[0], &src);
	bool twice = insn->flags & KILN_F_DOUBLE_ROW;
	struct stationary *to = &core->stationary;
	uint32_t *words = core->whole;

	if (status != KILN_ST_OK)
		return status;
	if (is_part(insn)) {
		unsigned int cell = cell_of(src.partition, (unsigned int)insn->imm[0]);

		forget_overlapping(core, insn);
		to = &core->part[cell];
		words = core->parts[cell];
		to->rows = tile_rows(insn);
		to->columns = tile_columns(insn);
	} else {
		kiln_stationary_forget(core);
	}
	pack(core, &src, words, core->ops->mr, twice);
	to->dtype = src.dtype;
	to->k = src.partitions;
	to->m = src.count / (1 + twice);
	to->twice = twice;
	return KILN_ST_OK;
}

/* The packed copy of a moving matrix, if it is one of the last and nothing wrote there. */
static struct packed *find_packed(struct kiln_core *core, const struct stream *s,
				  const struct kiln_operand *op, bool twice)
{
	for (unsigned int i = 0; i < core->packings; i++) {
		struct packed *packed = &core->packed[i];

		if (packed->valid && packed->reg == s->reg[op->reg] &&
		    packed->twice == twice &&
		    !memcmp(&packed->operand, op, sizeof(*op)))
			return packed;
	}
	return NULL;
}

void kiln_packed_forget(struct kiln_core *core)
{
	core->packings = 0;
	core->moving_words = 0;
}

/* A place for a matrix of so many words: of one that is of no use any more, a new one, the oldest. */
static struct packed *place_packed(struct kiln_core *core, uint32_t words)
{
	struct packed *oldest = NULL, *new;

	for (unsigned int i = 0; i < core->packings; i++) {
		struct packed *packed = &core->packed[i];

		if (packed->words < words)
			continue;
		if (!packed->valid)
			return packed;
		if (!oldest || packed->used < oldest->used)
			oldest = packed;
	}
	if (core->packings == PACKED || core->moving_words + words > MOVING_WORDS) {
		if (oldest)
			return oldest;
		kiln_packed_forget(core);	/* all are smaller */
	}
	new = &core->packed[core->packings++];
	new->at = core->moving_words;
	new->words = words;
	core->moving_words += words;
	return new;
}

static const uint32_t *pack_moving(struct kiln_core *core, const struct stream *s,
				   const struct kiln_operand *op, const struct tile *tile,
				   uint32_t rows, bool twice)
{
	struct packed *packed = find_packed(core, s, op, twice);

	if (!packed) {
		packed = place_packed(core, (rows + PANEL_PAD) * KILN_MATMUL_MAX_N);
		pack(core, tile, core->moving + packed->at, KILN_PANEL, twice);
		packed->twice = twice;
		packed->operand = *op;
		packed->reg = s->reg[op->reg];
		packed->lo = tile->lo;
		packed->hi = tile->hi;
		packed->valid = true;
	}
	packed->used = ++core->packed_use;
	return core->moving + packed->at;
}

/* Rows of fp32 are a packed matrix as they lie, if they consist of whole lines and panels. */
static bool needs_no_packing(const struct tile *tile)
{
	return tile->dtype == KILN_F32 && tile_contiguous(tile) && !(tile->count % KILN_PANEL) &&
	       !(tile->lo % 64);
}

/*
 * Look for the next matmul's operands in the instructions that follow. A guess:
 * registers may still change, and then something useless is fetched.
 */
static void look_ahead(struct kiln_core *core, const struct stream *s,
		       struct kiln_ahead ahead[2])
{
	memset(ahead, 0, 2 * sizeof(*ahead));
	for (uint32_t pc = s->pc + 1; pc < s->count && pc <= s->pc + LOOK_AHEAD; pc++) {
		const struct kiln_insn *insn = &s->insn[pc];
		bool moving = insn->opcode == KILN_OP_MATMUL;
		struct tile tile;

		if (!moving && insn->opcode != KILN_OP_LOAD_STATIONARY)
			continue;
		if (kiln_tile_place(core, s, &insn->src[0], &tile) == KILN_ST_OK &&
		    tile_contiguous(&tile) && !(moving && find_packed(core, s, &insn->src[0],
					     insn->flags & KILN_F_DOUBLE_ROW)))
			ahead[moving] = (struct kiln_ahead){
				tile.base, tile.pitch, tile.partitions, tile.esize *
				(moving && needs_no_packing(&tile) ? KILN_PANEL : tile.count) };
		if (moving)
			return;
	}
}

static enum kiln_status one_bank(struct kiln_core *core, const struct tile *tile)
{
	core->fault_addr = tile->lo;
	return tile->lo / KILN_PSUM_BANK_BYTES == (tile->hi - 1) / KILN_PSUM_BANK_BYTES ?
		KILN_ST_OK : KILN_ST_OPERAND;
}

/* fp32 goes with fp32 and tf32 only, bf16 with itself only; the others with one another. */
static bool match(enum kiln_dtype a, enum kiln_dtype b)
{
	if (a == KILN_F32 || b == KILN_F32)
		return (a == KILN_F32 || a == KILN_TF32) && (b == KILN_F32 || b == KILN_TF32);
	return (a == KILN_BF16) == (b == KILN_BF16);
}

void kiln_matvec_settle(struct kiln_core *core)
{
	if (core->matvec.n)
		core->ops->matvec_bf16(&core->matvec);
	core->matvec.n = 0;
}

/* One row of products: more columns of the walk that was put off, or another one. */
static void matvec(struct kiln_core *core, const uint32_t *stationary, struct tile *src,
		   const struct tile *dst, bool accumulate)
{
	struct kiln_matvec *mv = &core->matvec;

	if (core->loans)
		kiln_loan_follow(core, src);
	if (mv->n && stationary == mv->a && src->base == mv->b + mv->n * sizeof(uint16_t) &&
	    src->pitch == mv->pitch && src->partitions == mv->rows &&
	    (float *)dst->base == mv->c + mv->n && accumulate == mv->accumulate &&
	    mv->n + src->count <= KILN_MATVEC_MAX_N) {
		mv->n += src->count;
		return;
	}
	kiln_matvec_settle(core);
	*mv = (struct kiln_matvec){
		.a = stationary, .a_step = core->ops->mr,
		.b = src->base, .pitch = src->pitch, .rows = src->partitions,
		.n = src->count, .c = (float *)dst->base, .accumulate = accumulate,
	};
}

/* A moving matrix that is not worth packing */
static bool is_few(const struct kiln_core *core, const struct tile *src, uint32_t columns)
{
	return columns <= KILN_FEW && core->few_columns && core->ops->matmul_few &&
	       (src->dtype == KILN_F16 || src->dtype == KILN_BF16) && tile_contiguous(src);
}

/* Where the rows of the next matmul lie, if that is known: a guess as that of look_ahead(). */
static const uint8_t *next_rows(struct kiln_core *core, const struct stream *s)
{
	for (uint32_t pc = s->pc + 1; pc < s->count && pc <= s->pc + LOOK_AHEAD; pc++) {
		struct tile tile;

		if (s->insn[pc].opcode != KILN_OP_MATMUL)
			continue;
		if (kiln_tile_place(core, s, &s->insn[pc].src[0], &tile) == KILN_ST_OK &&
		    kiln_loan_find(core, &tile))
			return tile.base;
		return NULL;
	}
	return NULL;
}

/* A row of sums, where it does not lie as the kernels want it. */
static void load_row(const struct kiln_core *core, const struct tile *tile, uint32_t p, float *to)
{
	const float *from = kiln_tile_load(core, tile, p, 0, tile->count, to);

	if (from != to)
		memcpy(to, from, tile->count * sizeof(*to));
}

enum kiln_status kiln_exec_matmul(struct kiln_core *core, struct stream *s,
				  const struct kiln_insn *insn)
{
	struct tile dst, src;
	enum kiln_status status = kiln_tile_place(core, s, &insn->src[0], &src);
	bool bf16 = insn->src[0].dtype == KILN_BF16, twice = insn->flags & KILN_F_DOUBLE_ROW;
	bool in_place;
	const struct stationary *stationary = &core->stationary;
	struct kiln_matmul mm = { .a = core->whole };

	if (status == KILN_ST_OK)
		status = kiln_tile_out(core, s, &insn->dst, &dst);
	if (status == KILN_ST_OK)
		status = one_bank(core, &dst);
	if (status != KILN_ST_OK)
		return status;
	if (is_part(insn)) {
		unsigned int cell = cell_of(src.partition, dst.partition);

		stationary = &core->part[cell];
		if (stationary->rows != tile_rows(insn) ||
		    stationary->columns != tile_columns(insn))
			return KILN_ST_OPERAND;
		mm.a = core->parts[cell];
	}
	if (!stationary->dtype || !match(stationary->dtype, src.dtype) ||
	    stationary->k != src.partitions || stationary->twice != twice ||
	    stationary->m != dst.partitions)
		return KILN_ST_OPERAND;
	in_place = dst.dtype == KILN_F32 && tile_contiguous(&dst);
	if (bf16 && dst.partitions == 1 && core->ops->matvec_bf16 && tile_contiguous(&src) &&
	    in_place) {
		matvec(core, mm.a, &src, &dst, insn->flags & KILN_F_ACCUMULATE);
		return KILN_ST_OK;
	}
	kiln_matvec_settle(core);
	mm.rows = packed_rows(src.partitions, src.dtype) << twice;
	if (is_few(core, &src, dst.partitions) && !twice && in_place) {
		if (core->loans)
			kiln_loan_follow(core, &src);
		core->ops->matmul_few(&(struct kiln_few){
			.a = mm.a, .a_pitch = panel_pitch(mm.rows, core->ops->mr),
			.b = src.base, .pitch = src.pitch, .next = next_rows(core, s),
			.dtype = src.dtype, .rows = src.partitions, .m = dst.partitions, .n = dst.count,
			.c = (float *)dst.base, .c_pitch = dst.pitch / sizeof(float),
			.accumulate = insn->flags & KILN_F_ACCUMULATE,
		});
		return KILN_ST_OK;
	}
	if (core->loans)
		kiln_loan_settle(core, &src);

	mm.a_pitch = panel_pitch(mm.rows, core->ops->mr);
	if (needs_no_packing(&src)) {
		mm.b = (const uint32_t *)src.base;
		mm.b_pitch = KILN_PANEL;
		mm.b_step = src.pitch / sizeof(*mm.b);
	} else {
		mm.b = pack_moving(core, s, &insn->src[0], &src, mm.rows, twice);
		mm.b_pitch = panel_pitch(mm.rows, KILN_PANEL);
		mm.b_step = KILN_PANEL;
	}
	look_ahead(core, s, mm.ahead);
	mm.m = dst.partitions;
	mm.n = dst.count;
	mm.accumulate = insn->flags & KILN_F_ACCUMULATE;
	if (in_place) {
		mm.c = (float *)dst.base;
		mm.pitch = dst.pitch / sizeof(float);
	} else {
		mm.c = core->out;
		mm.pitch = KILN_MATMUL_MAX_N;
		for (uint32_t p = 0; mm.accumulate && p < mm.m; p++)
			load_row(core, &dst, p, mm.c + p * mm.pitch);
	}
	if (bf16)
		core->ops->matmul_bf16(&mm);
	else
		core->ops->matmul_f32(&mm);
	for (uint32_t p = 0; !in_place && p < mm.m; p++)
		kiln_tile_store(core, &dst, p, 0, dst.count, mm.c + p * mm.pitch);
	return KILN_ST_OK;
}

enum kiln_status kiln_exec_transpose(struct kiln_core *core, struct stream *s,
				     const struct kiln_insn *insn)
{
	struct tile dst, src;
	enum kiln_status status = kiln_tile_place(core, s, &insn->src[0], &src);
	uint8_t *in, *out = (uint8_t *)core->out;
	size_t in_pitch, out_pitch;

	if (status == KILN_ST_OK)
		status = kiln_tile_out(core, s, &insn->dst, &dst);
	if (status == KILN_ST_OK)
		status = one_bank(core, &dst);
	if (status != KILN_ST_OK)
		return status;

	if (core->loans)
		kiln_loan_follow(core, &src);
	in = src.base;
	in_pitch = src.pitch;
	if (!tile_contiguous(&src)) {
		in = (uint8_t *)core->out;
		in_pitch = src.count * src.esize;
		out += KILN_PARTITIONS * in_pitch;
		for (uint32_t p = 0; p < src.partitions; p++)
			kiln_tile_gather(&src, p, 0, src.count, in + p * in_pitch);
	}
	out_pitch = dst.count * dst.esize;
	if (tile_contiguous(&dst)) {
		out = dst.base;
		out_pitch = dst.pitch;
	}
	if (src.esize == 4) {
		core->ops->transpose32(out, out_pitch, in, in_pitch, src.partitions, src.count);
	} else if (src.esize == 2) {
		core->ops->transpose16(out, out_pitch, in, in_pitch, src.partitions, src.count);
	} else {
		for (uint32_t p = 0; p < src.partitions; p++) {
			for (uint32_t f = 0; f < src.count; f++)
				out[f * out_pitch + p] = in[p * in_pitch + f];
		}
	}
	if (!tile_contiguous(&dst)) {
		for (uint32_t p = 0; p < dst.partitions; p++)
			kiln_tile_scatter(&dst, p, 0, dst.count, out + p * out_pitch);
	}
	return KILN_ST_OK;
}
