// SPDX-License-Identifier: MIT
/*
 * Softmax, RMS norm and layer norm of rows.
 *
 * A tile is up to 128 rows, one in each partition, and an op goes over it in
 * passes: what it has to know of the whole row first, then the result. Rows
 * that fit into SBUF are loaded once and stay there for all passes of their
 * tile; wider ones go in chunks, which each pass loads again, and each chunk
 * leaves its part of a sum or maximum in a column of its own.
 *
 *	softmax	  V: maximum   S: p = exp(scale * (x - maximum)) and its sum   V: p / sum
 *	rmsnorm	  S: sum of x^2   V: x / root * weight
 *	layernorm V: mean   S: sum of (x - mean)^2   V: (x - mean) * weight / root + bias
 *
 * The two engines hand over to each other; meanwhile Sync loads the next tiles
 * and GpSimd stores the ones before, which is what takes the time. Layer norm
 * would take more of Vector's: where rows stay, it is shared by three, none of
 * which waits for the others within a tile, and columns are taken in turn.
 *
 *	V: mean, (x - mean) * weight   S: sum of (x - mean)^2   G: that / root + bias
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "stream.h"

#define MAX_WIDTH	(1u << 24)
#define CHUNK_BYTES	16384u	/* of a row that does not fit */
#define MAX_SLOTS	8u
#define COL_SLOTS	4u	/* shared: an engine is three tiles ahead of another at most */
#define T_SLOTS		2u
#define SLOT_ROOM	65536u	/* more than this is not needed to hide memory's latency */

enum op { SOFTMAX, RMSNORM, LAYERNORM };

enum {
	SEM_FULL_V, SEM_FULL_S, SEM_X_FREE,
	SEM_W_FULL, SEM_W_FREE,
	SEM_P_FULL, SEM_P_FREE,
	SEM_V_TO_S, SEM_S_TO_V,
	SEM_OUT_FULL, SEM_OUT_FREE,
	SEM_X_FREE_S, SEM_T_FULL, SEM_T_FREE,
};

enum { RING_X = 0, RING_W = 4, RING_OUT = 8 };

enum { ARG_X, ARG_Y, ARG_WEIGHT, ARG_BIAS, ARGS };

/* What a program depends on. */
struct rows {
	enum op op;
	enum kiln_type type, weight_type;
	uint32_t rows, width, ldx, ldy;
	bool weight, bias;
	float scale, eps;
};

struct gen {
	struct kiln_asm *as;
	const struct rows *r;
	enum kiln_dtype type, weight_type;
	uint32_t es, ws;
	uint32_t chunk, full, rest;	/* width = full * chunk + rest */
	uint32_t parts;			/* chunks of a row */
	bool resident;
	bool shared;			/* layernorm by three engines */
	uint32_t x_slots, out_slots;
	uint32_t p;			/* SBUF, fp32: p of softmax, what layernorm scales; squares that nobody wants */
	uint32_t weight, bias;
	uint32_t v_part, s_part;	/* columns: of each chunk, by Vector and by Scalar */
	uint32_t v_sum, v_col, s_sum, s_col;	/* columns: of the row */
	struct turn x[KILN_ENGINES], out[KILN_ENGINES];
	/* shared: what GpSimd scales; -mean; 1 / root */
	struct turn t[KILN_ENGINES], mean[KILN_ENGINES], root[KILN_ENGINES];
	unsigned int x_tile, x_next, w_next, b_next;	/* Sync: device addresses */
	unsigned int y_next;		/* GpSimd */
	unsigned int v_reg, s_reg;	/* columns of the next chunk */
};

/* ----------------------------------------------------------------- layout -- */

static uint32_t row_bytes(const struct gen *g)
{
	uint32_t vectors = (g->r->weight + g->r->bias) * KILN_ALIGN_UP(g->chunk * g->ws, 64u);

	return KILN_ALIGN_UP(g->chunk * 4, 64u) * (1 + (g->shared ? T_SLOTS : 0)) + vectors +
		(g->x_slots + g->out_slots) * KILN_ALIGN_UP(g->chunk * g->es, 64u);
}

static void layout_shared(struct gen *g, uint32_t *top)
{
	uint32_t bytes = KILN_ALIGN_UP(g->chunk * 4, 64u), t = take(top, T_SLOTS * bytes);
	uint32_t mean = take(top, COL_SLOTS * 4), root = take(top, COL_SLOTS * 4);

	turn_init(g->as, KILN_VECTOR, &g->t[KILN_VECTOR], t, bytes, T_SLOTS);
	turn_init(g->as, KILN_GPSIMD, &g->t[KILN_GPSIMD], t, bytes, T_SLOTS);
	turn_init(g->as, KILN_VECTOR, &g->mean[KILN_VECTOR], mean, 4, COL_SLOTS);
	turn_init(g->as, KILN_SCALAR, &g->mean[KILN_SCALAR], mean, 4, COL_SLOTS);
	turn_init(g->as, KILN_SCALAR, &g->root[KILN_SCALAR], root, 4, COL_SLOTS);
	turn_init(g->as, KILN_GPSIMD, &g->root[KILN_GPSIMD], root, 4, COL_SLOTS);
	post_free(g->as, KILN_VECTOR, SEM_X_FREE_S, g->x_slots);
	post_free(g->as, KILN_VECTOR, SEM_T_FREE, T_SLOTS);
}

static void layout(struct gen *g, unsigned int generation)
{
	uint32_t room = kiln_asm_sbuf_bytes(generation) - 8 * 64, columns, top = 0;
	enum kiln_engine e;

	g->chunk = g->r->width;
	g->x_slots = 2;
	g->out_slots = 1;
	g->shared = g->r->op == LAYERNORM && (g->r->weight || g->r->bias);
	g->shared = g->shared && g->r->width <= room / 4 && row_bytes(g) <= room;
	g->resident = g->r->width <= room / 4 && row_bytes(g) <= room;
	if (!g->resident) {
		g->chunk = CHUNK_BYTES / 4;
		columns = kiln_ceil_div(g->r->width, g->chunk);
		room -= 2 * KILN_ALIGN_UP(columns * 4, 64u);
	}
	while (g->x_slots < MAX_SLOTS &&
	       (g->out_slots < 2 || g->x_slots * g->chunk * g->es < SLOT_ROOM)) {
		uint32_t x = g->x_slots, out = g->out_slots;

		g->x_slots++;
		g->out_slots = kiln_min(g->x_slots - 1, 4);
		if (row_bytes(g) <= room)
			continue;
		g->x_slots = x;
		g->out_slots = out;
		break;
	}
	g->full = g->r->width / g->chunk;
	g->rest = g->r->width % g->chunk;
	g->parts = columns = g->full + !!g->rest;

	for (e = 0; e < KILN_ENGINES; e++)
		if (e == KILN_SYNC || e == KILN_VECTOR || e == KILN_SCALAR)
			turn_init(g->as, e, &g->x[e], top,
				  KILN_ALIGN_UP(g->chunk * g->es, 64u), g->x_slots);
	top += g->x_slots * g->x[KILN_SYNC].bytes;
	turn_init(g->as, KILN_VECTOR, &g->out[KILN_VECTOR], top,
		  KILN_ALIGN_UP(g->chunk * g->es, 64u), g->out_slots);
	turn_init(g->as, KILN_GPSIMD, &g->out[KILN_GPSIMD], top,
		  KILN_ALIGN_UP(g->chunk * g->es, 64u), g->out_slots);
	top += g->out_slots * g->out[KILN_VECTOR].bytes;
	g->p = take(&top, g->chunk * 4);
	if (g->r->weight)
		g->weight = take(&top, g->chunk * g->ws);
	if (g->r->bias)
		g->bias = take(&top, g->chunk * g->ws);
	g->v_part = take(&top, columns * 4);
	g->s_part = take(&top, columns * 4);
	g->v_sum = take(&top, 4);
	g->v_col = take(&top, 4);
	g->s_sum = take(&top, 4);
	g->s_col = take(&top, 4);
	if (g->shared)
		layout_shared(g, &top);
}

/* ---------------------------------------------------------------- a chunk -- */

static struct kiln_scalar column(uint32_t addr)
{
	return kiln_col(KILN_SBUF, KILN_F32, addr, 0);
}

static struct kiln_scalar turned(const struct turn *t)
{
	return kiln_col(KILN_SBUF, KILN_F32, 0, t->reg);
}

/* Sync: the next n columns of p rows, and tell one engine. */
static void load(struct gen *g, uint32_t p, uint32_t n, unsigned int full)
{
	kiln_asm_wait(g->as, KILN_SYNC, SEM_X_FREE, 1);
	if (g->shared)
		kiln_asm_wait(g->as, KILN_SYNC, SEM_X_FREE_S, 1);
	kiln_asm_dma(g->as, KILN_SYNC, RING_X, slot(&g->x[KILN_SYNC], g->type, p, n),
		     kiln_dram(g->x_next, 0, g->r->ldx, 1));
	kiln_asm_post(g->as, KILN_SYNC, full, 1);
	turn_next(g->as, KILN_SYNC, &g->x[KILN_SYNC]);
	bump(g->as, KILN_SYNC, g->x_next, (int64_t)n * g->es);
}

/* Sync: n of weight and bias, the same for all rows. */
static void load_vectors(struct gen *g, uint32_t n)
{
	if (!g->r->weight && !g->r->bias)
		return;
	kiln_asm_wait(g->as, KILN_SYNC, SEM_W_FREE, 1);
	if (g->r->weight)
		kiln_asm_dma(g->as, KILN_SYNC, RING_W, sbuf(PART, g->weight_type, g->weight, n),
			     kiln_dram(g->w_next, 0, 0, 1));
	if (g->r->bias)
		kiln_asm_dma(g->as, KILN_SYNC, RING_W, sbuf(PART, g->weight_type, g->bias, n),
			     kiln_dram(g->b_next, 0, 0, 1));
	/* One ring: the second is not complete before the first. */
	kiln_asm_post(g->as, KILN_SYNC, SEM_W_FULL, 1);
	if (g->r->weight)
		bump(g->as, KILN_SYNC, g->w_next, (int64_t)n * g->ws);
	if (g->r->bias)
		bump(g->as, KILN_SYNC, g->b_next, (int64_t)n * g->ws);
}

/* The engine is through with the chunk in this pass. */
static void x_done(struct gen *g, enum kiln_engine e, bool last_pass)
{
	if (!g->resident || last_pass)
		kiln_asm_post(g->as, e, SEM_X_FREE, 1);
}

static void x_turn(struct gen *g, bool last_pass)
{
	if (g->resident && !last_pass)
		return;
	turn_next(g->as, KILN_VECTOR, &g->x[KILN_VECTOR]);
	turn_next(g->as, KILN_SCALAR, &g->x[KILN_SCALAR]);
}

/* An engine has written a chunk of the result: GpSimd stores it. */
static void store(struct gen *g, enum kiln_engine writer, uint32_t p, uint32_t n)
{
	kiln_asm_post(g->as, writer, SEM_OUT_FULL, 1);
	if (writer == KILN_VECTOR)
		turn_next(g->as, KILN_VECTOR, &g->out[KILN_VECTOR]);

	kiln_asm_wait(g->as, KILN_GPSIMD, SEM_OUT_FULL, 1);
	kiln_asm_dma(g->as, KILN_GPSIMD, RING_OUT, kiln_dram(g->y_next, 0, g->r->ldy, 1),
		     slot(&g->out[KILN_GPSIMD], g->type, p, n));
	kiln_asm_post(g->as, KILN_GPSIMD, SEM_OUT_FREE, 1);
	turn_next(g->as, KILN_GPSIMD, &g->out[KILN_GPSIMD]);
	bump(g->as, KILN_GPSIMD, g->y_next, (int64_t)n * g->es);
}

/* Vector: t = (x - mean) * weight. */
static void centre(struct gen *g, struct kiln_operand t, struct kiln_operand x,
		   struct kiln_operand weight, struct kiln_scalar mean)
{
	if (g->r->weight)
		kiln_asm_scalar_tensor_tensor(g->as, KILN_VECTOR, t, x, KILN_ALU_ADD, mean,
					      KILN_ALU_MULTIPLY, weight, 0);
	else
		kiln_asm_tensor_scalar(g->as, KILN_VECTOR, t, x, KILN_ALU_ADD, mean,
				       KILN_ALU_BYPASS, kiln_const(0), 0);
}

/* out = t / root + bias */
static void scale_back(struct gen *g, enum kiln_engine e, struct kiln_operand out,
		       struct kiln_operand t, struct kiln_scalar root, struct kiln_operand bias)
{
	if (g->r->bias)
		kiln_asm_scalar_tensor_tensor(g->as, e, out, t, KILN_ALU_MULTIPLY, root,
					      KILN_ALU_ADD, bias, 0);
	else
		kiln_asm_tensor_scalar(g->as, e, out, t, KILN_ALU_MULTIPLY, root,
				       KILN_ALU_BYPASS, kiln_const(0), 0);
}

/* Vector: a chunk of the result of a norm. */
static void norm_by_vector(struct gen *g, uint32_t p, uint32_t n)
{
	struct kiln_asm *as = g->as;
	struct kiln_operand x = slot(&g->x[KILN_VECTOR], g->type, p, n);
	struct kiln_operand out = slot(&g->out[KILN_VECTOR], g->type, p, n);
	struct kiln_operand w = sbuf(p, g->weight_type, g->weight, n);
	struct kiln_operand b = sbuf(p, g->weight_type, g->bias, n);
	struct kiln_operand t = sbuf(p, KILN_F32, g->p, n);
	struct kiln_scalar root = column(g->s_col), mean = column(g->v_col);
	bool centred = g->r->op == LAYERNORM;

	kiln_asm_wait(as, KILN_VECTOR, SEM_OUT_FREE, 1);
	if (!centred && g->r->weight) {
		kiln_asm_scalar_tensor_tensor(as, KILN_VECTOR, out, x, KILN_ALU_MULTIPLY, root,
					      KILN_ALU_MULTIPLY, w, 0);
	} else if (!centred) {
		kiln_asm_tensor_scalar(as, KILN_VECTOR, out, x, KILN_ALU_MULTIPLY, root,
				       KILN_ALU_BYPASS, kiln_const(0), 0);
	} else if (!g->r->weight && !g->r->bias) {
		kiln_asm_tensor_scalar(as, KILN_VECTOR, out, x, KILN_ALU_ADD, mean,
				       KILN_ALU_MULTIPLY, root, 0);
	} else {
		/* Scalar is done with p: its squares went through it before the root. */
		centre(g, t, x, w, mean);
		scale_back(g, KILN_VECTOR, out, t, root, b);
	}
}

/* Layer norm in three engines: Vector's and GpSimd's parts of the result. */
static void norm_by_two(struct gen *g, uint32_t p, uint32_t n)
{
	struct kiln_asm *as = g->as;

	kiln_asm_wait(as, KILN_VECTOR, SEM_T_FREE, 1);
	centre(g, slot(&g->t[KILN_VECTOR], KILN_F32, p, n), slot(&g->x[KILN_VECTOR], g->type, p, n),
	       sbuf(p, g->weight_type, g->weight, n), turned(&g->mean[KILN_VECTOR]));
	kiln_asm_post(as, KILN_VECTOR, SEM_T_FULL, 1);
	kiln_asm_post(as, KILN_VECTOR, SEM_X_FREE, 1);
	turn_next(as, KILN_VECTOR, &g->mean[KILN_VECTOR]);
	turn_next(as, KILN_VECTOR, &g->t[KILN_VECTOR]);

	kiln_asm_wait(as, KILN_GPSIMD, SEM_OUT_FREE, 1);
	kiln_asm_nop(as, KILN_GPSIMD);
	kiln_asm_wait(as, KILN_GPSIMD, SEM_T_FULL, 1);
	kiln_asm_wait(as, KILN_GPSIMD, SEM_S_TO_V, 1);
	scale_back(g, KILN_GPSIMD, slot(&g->out[KILN_GPSIMD], g->type, p, n),
		   slot(&g->t[KILN_GPSIMD], KILN_F32, p, n), turned(&g->root[KILN_GPSIMD]),
		   sbuf(p, g->weight_type, g->bias, n));
	kiln_asm_post(as, KILN_GPSIMD, SEM_T_FREE, 1);
	store(g, KILN_GPSIMD, p, n);
	turn_next(as, KILN_GPSIMD, &g->root[KILN_GPSIMD]);
	turn_next(as, KILN_GPSIMD, &g->t[KILN_GPSIMD]);
}

/* ----------------------------------------------------------------- passes -- */

typedef void (*chunk_fn)(struct gen *g, uint32_t p, uint32_t n);

/* A pass over the columns of p rows. */
static void chunks(struct gen *g, uint32_t p, chunk_fn chunk)
{
	kiln_asm_addi(g->as, KILN_SYNC, g->x_next, g->x_tile, 0);
	kiln_asm_loop(g->as, g->full);
	chunk(g, p, g->chunk);
	kiln_asm_loop_end(g->as);
	if (g->rest)
		chunk(g, p, g->rest);
}

/* The first pass loads; the others only what did not stay. */
static void fetch(struct gen *g, uint32_t p, uint32_t n, enum kiln_engine e, bool first)
{
	unsigned int full = e == KILN_VECTOR ? SEM_FULL_V : SEM_FULL_S;

	if (g->resident && !first)
		return;
	load(g, p, n, full);
	kiln_asm_wait(g->as, e, full, 1);
}

static void wait_for(struct gen *g, enum kiln_engine e, unsigned int sem)
{
	kiln_asm_wait(g->as, e, sem, 1);
	kiln_asm_nop(g->as, e);
}

static void first_by_vector(struct gen *g, uint32_t p, uint32_t n)
{
	bool softmax = g->r->op == SOFTMAX;

	fetch(g, p, n, KILN_VECTOR, true);
	kiln_asm_tensor_reduce(g->as, kiln_at(sbuf(p, KILN_F32, 0, 1), g->v_reg),
			       softmax ? KILN_ALU_MAX : KILN_ALU_ADD,
			       slot(&g->x[KILN_VECTOR], g->type, p, n), softmax);
	x_done(g, KILN_VECTOR, false);
	kiln_asm_addi(g->as, KILN_VECTOR, g->v_reg, g->v_reg, 4);
	x_turn(g, false);
}

/* Vector: -scale * maximum, or -mean. */
static void column_by_vector(struct gen *g, uint32_t p)
{
	bool softmax = g->r->op == SOFTMAX;

	kiln_asm_tensor_reduce(g->as, sbuf(p, KILN_F32, g->v_sum, 1),
			       softmax ? KILN_ALU_MIN : KILN_ALU_ADD,
			       sbuf(p, KILN_F32, g->v_part, g->parts), false);
	kiln_asm_tensor_scalar(g->as, KILN_VECTOR,
			       g->shared ? slot(&g->mean[KILN_VECTOR], KILN_F32, p, 1) :
					   sbuf(p, KILN_F32, g->v_col, 1),
			       sbuf(p, KILN_F32, g->v_sum, 1), KILN_ALU_MULTIPLY,
			       kiln_const(softmax ? g->r->scale : -1.0f / g->r->width),
			       KILN_ALU_BYPASS, kiln_const(0), 0);
	kiln_asm_post(g->as, KILN_VECTOR, SEM_V_TO_S, 1);
	kiln_asm_movi(g->as, KILN_VECTOR, g->v_reg, g->v_part);
}

static void exp_by_scalar(struct gen *g, uint32_t p, uint32_t n)
{
	const struct kiln_column sum = kiln_col(KILN_SBUF, KILN_F32, 0, g->s_reg).col;

	fetch(g, p, n, KILN_SCALAR, false);
	kiln_asm_activation(g->as, sbuf(p, KILN_F32, g->p, n), KILN_ACT_EXP,
			    slot(&g->x[KILN_SCALAR], g->type, p, n), kiln_const(g->r->scale),
			    column(g->v_col), &sum);
	x_done(g, KILN_SCALAR, true);
	kiln_asm_addi(g->as, KILN_SCALAR, g->s_reg, g->s_reg, 4);
	x_turn(g, false);
}

static void squares_by_scalar(struct gen *g, uint32_t p, uint32_t n)
{
	const struct kiln_column sum = kiln_col(KILN_SBUF, KILN_F32, 0, g->s_reg).col;
	bool centred = g->r->op == LAYERNORM;
	struct kiln_scalar mean = g->shared ? turned(&g->mean[KILN_SCALAR]) : column(g->v_col);

	fetch(g, p, n, KILN_SCALAR, !centred);
	/* Only the sum is wanted. */
	kiln_asm_activation(g->as, sbuf(p, KILN_BF16, g->p, n), KILN_ACT_SQUARE,
			    slot(&g->x[KILN_SCALAR], g->type, p, n), kiln_const(1),
			    centred ? mean : kiln_const(0), &sum);
	if (g->shared) {
		kiln_asm_post(g->as, KILN_SCALAR, SEM_X_FREE_S, 1);
		turn_next(g->as, KILN_SCALAR, &g->mean[KILN_SCALAR]);
	}
	x_done(g, KILN_SCALAR, false);
	kiln_asm_addi(g->as, KILN_SCALAR, g->s_reg, g->s_reg, 4);
	x_turn(g, false);
}

/* Scalar: func of the row's sum, which Vector multiplies by. */
static void column_by_scalar(struct gen *g, uint32_t p, enum kiln_activation func, float scale,
			     float bias)
{
	const struct kiln_column sum = column(g->s_sum).col;

	kiln_asm_activation(g->as, sbuf(p, KILN_F32, g->s_part, g->parts), KILN_ACT_COPY,
			    sbuf(p, KILN_F32, g->s_part, g->parts), kiln_const(1), kiln_const(0),
			    &sum);
	if (g->r->op == RMSNORM)	/* Vector has read what stands there */
		kiln_asm_wait(g->as, KILN_SCALAR, SEM_V_TO_S, 1);
	kiln_asm_activation(g->as, g->shared ? slot(&g->root[KILN_SCALAR], KILN_F32, p, 1) :
			    sbuf(p, KILN_F32, g->s_col, 1), func,
			    sbuf(p, KILN_F32, g->s_sum, 1), kiln_const(scale), kiln_const(bias),
			    NULL);
	kiln_asm_post(g->as, KILN_SCALAR, SEM_S_TO_V, 1);
	if (g->shared)
		turn_next(g->as, KILN_SCALAR, &g->root[KILN_SCALAR]);
	kiln_asm_movi(g->as, KILN_SCALAR, g->s_reg, g->s_part);
}

static void softmax_out(struct gen *g, uint32_t p, uint32_t n)
{
	struct kiln_asm *as = g->as;

	if (!g->resident) {
		fetch(g, p, n, KILN_SCALAR, false);
		kiln_asm_wait(as, KILN_SCALAR, SEM_P_FREE, 1);
		kiln_asm_activation(as, sbuf(p, KILN_F32, g->p, n), KILN_ACT_EXP,
				    slot(&g->x[KILN_SCALAR], g->type, p, n),
				    kiln_const(g->r->scale), column(g->v_col), NULL);
		kiln_asm_post(as, KILN_SCALAR, SEM_P_FULL, 1);
		x_done(g, KILN_SCALAR, false);
		kiln_asm_wait(as, KILN_VECTOR, SEM_P_FULL, 1);
	}
	kiln_asm_wait(as, KILN_VECTOR, SEM_OUT_FREE, 1);
	kiln_asm_tensor_scalar(as, KILN_VECTOR, slot(&g->out[KILN_VECTOR], g->type, p, n),
			       sbuf(p, KILN_F32, g->p, n), KILN_ALU_MULTIPLY, column(g->s_col),
			       KILN_ALU_BYPASS, kiln_const(0), 0);
	if (!g->resident)
		kiln_asm_post(as, KILN_VECTOR, SEM_P_FREE, 1);
	store(g, KILN_VECTOR, p, n);
	x_turn(g, true);
}

static void norm_out(struct gen *g, uint32_t p, uint32_t n)
{
	bool vectors = g->r->weight || g->r->bias;

	fetch(g, p, n, KILN_VECTOR, false);
	if (g->shared) {
		norm_by_two(g, p, n);
		x_turn(g, true);
		return;
	}
	if (vectors && !g->resident) {
		load_vectors(g, n);
		wait_for(g, KILN_VECTOR, SEM_W_FULL);
	}
	norm_by_vector(g, p, n);
	x_done(g, KILN_VECTOR, true);
	store(g, KILN_VECTOR, p, n);
	x_turn(g, true);
	if (vectors && !g->resident)
		post_free(g->as, KILN_VECTOR, SEM_W_FREE, 1);
}

static void tile(struct gen *g, uint32_t p)
{
	switch (g->r->op) {
	case SOFTMAX:
		chunks(g, p, first_by_vector);
		column_by_vector(g, p);
		wait_for(g, KILN_SCALAR, SEM_V_TO_S);
		chunks(g, p, exp_by_scalar);
		column_by_scalar(g, p, KILN_ACT_RECIPROCAL, 1, 0);
		wait_for(g, KILN_VECTOR, SEM_S_TO_V);
		chunks(g, p, softmax_out);
		break;
	case LAYERNORM:
		chunks(g, p, first_by_vector);
		column_by_vector(g, p);
		wait_for(g, KILN_SCALAR, SEM_V_TO_S);
		/* fall through */
	case RMSNORM:
		chunks(g, p, squares_by_scalar);
		column_by_scalar(g, p, KILN_ACT_RSQRT, 1.0f / g->r->width, g->r->eps);
		if (!g->shared)
			wait_for(g, KILN_VECTOR, SEM_S_TO_V);
		if (!g->resident && g->r->weight)
			kiln_asm_ldarg(g->as, KILN_SYNC, g->w_next, ARG_WEIGHT);
		if (!g->resident && g->r->bias)
			kiln_asm_ldarg(g->as, KILN_SYNC, g->b_next, ARG_BIAS);
		chunks(g, p, norm_out);
		if (g->r->op == RMSNORM)
			post_free(g->as, KILN_VECTOR, SEM_V_TO_S, 1);
		break;
	}
	bump(g->as, KILN_SYNC, g->x_tile, (int64_t)PART * g->r->ldx * g->es);
	bump(g->as, KILN_GPSIMD, g->y_next, ((int64_t)PART * g->r->ldy - g->r->width) * g->es);
}

static int make_rows(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct rows *r = shape;
	struct gen gen = {
		.as = as, .r = r, .type = kiln_type_dtype(r->type), .es = type_size(r->type),
		.weight_type = kiln_type_dtype(r->weight_type), .ws = type_size(r->weight_type),
	}, *g = &gen;

	layout(g, generation);
	g->x_tile = kiln_asm_reg(as, KILN_SYNC);
	g->x_next = kiln_asm_reg(as, KILN_SYNC);
	g->w_next = kiln_asm_reg(as, KILN_SYNC);
	g->b_next = kiln_asm_reg(as, KILN_SYNC);
	g->y_next = kiln_asm_reg(as, KILN_GPSIMD);
	g->v_reg = kiln_asm_reg(as, KILN_VECTOR);
	g->s_reg = kiln_asm_reg(as, KILN_SCALAR);
	kiln_asm_ldarg(as, KILN_SYNC, g->x_tile, ARG_X);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->y_next, ARG_Y);
	kiln_asm_movi(as, KILN_VECTOR, g->v_reg, g->v_part);
	kiln_asm_movi(as, KILN_SCALAR, g->s_reg, g->s_part);
	post_free(as, KILN_VECTOR, SEM_X_FREE, g->x_slots);
	post_free(as, KILN_VECTOR, SEM_OUT_FREE, g->out_slots);
	post_free(as, KILN_VECTOR, SEM_W_FREE, 1);
	if (r->op == SOFTMAX)
		post_free(as, KILN_VECTOR, SEM_P_FREE, 1);
	if (r->op == RMSNORM)
		post_free(as, KILN_VECTOR, SEM_V_TO_S, 1);
	if (g->resident && (r->weight || r->bias)) {
		if (r->weight)
			kiln_asm_ldarg(as, KILN_SYNC, g->w_next, ARG_WEIGHT);
		if (r->bias)
			kiln_asm_ldarg(as, KILN_SYNC, g->b_next, ARG_BIAS);
		load_vectors(g, r->width);
		wait_for(g, KILN_VECTOR, SEM_W_FULL);
	}
	if (r->rows / PART) {
		kiln_asm_loop(as, r->rows / PART);
		tile(g, PART);
		kiln_asm_loop_end(as);
	}
	if (r->rows % PART)
		tile(g, r->rows % PART);
	return 0;
}

/* ------------------------------------------------------------------ entry -- */

static int check_vector(const char *op, const char *name, uint64_t addr, uint32_t bytes)
{
	if (addr % bytes)
		return kiln_error(-EINVAL, "%s: %s is at 0x%llx: a device address, aligned to %u bytes",
				  op, name, (unsigned long long)addr, bytes);
	return 0;
}

static int check_rows(const char *op, struct rows *r, uint64_t x, uint64_t y)
{
	if (!known_type(r->type))
		return kiln_error(-ENOTSUP, "%s: type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  op, (int)r->type);
	if (!r->rows || !r->width || r->rows > INT32_MAX)
		return kiln_error(-EINVAL, "%s: %u rows of %u: each at least 1, rows at most 2147483647",
				  op, r->rows, r->width);
	if (r->width > MAX_WIDTH)
		return kiln_error(-ENOTSUP, "%s: width is %u, at most %u", op, r->width, MAX_WIDTH);
	if (!r->ldx)
		r->ldx = r->width;
	if (!r->ldy)
		r->ldy = r->width;
	if (r->ldx < r->width || r->ldy < r->width || r->ldx > INT32_MAX || r->ldy > INT32_MAX)
		return kiln_error(-EINVAL, "%s: ldx is %u and ldy %u: 0, or from a row of %u elements up to 2147483647",
				  op, r->ldx, r->ldy, r->width);
	if (!x || !y)
		return kiln_error(-EINVAL, "%s: no address of %s", op, x ? "y" : "x");
	if (check_vector(op, "x", x, type_size(r->type)))
		return -EINVAL;
	return check_vector(op, "y", y, type_size(r->type));
}

static int run_rows(struct kiln_ops *ops, const char *name, const struct rows *r,
		    const uint64_t args[ARGS], kiln_done_fn done, void *user)
{
	struct kiln_ops_key key = { .word = {
		KILN_OPS_ROWS | (uint64_t)r->op << 8 | (uint64_t)r->type << 16 |
			(uint64_t)r->weight_type << 24 | (uint64_t)r->weight << 32 |
			(uint64_t)r->bias << 33,
		r->rows, r->width, r->ldx, r->ldy,
	} };

	memcpy(&key.word[5], &r->scale, sizeof(r->scale));
	memcpy(&key.word[6], &r->eps, sizeof(r->eps));
	return kiln_ops_run(ops, &key, name, make_rows, r, args, ARGS, done, user);
}

int kiln_softmax(struct kiln_ops *ops, const struct kiln_softmax *softmax, kiln_done_fn done,
		 void *user)
{
	uint64_t args[ARGS] = { 0 };
	struct rows r;
	int err;

	if (!ops || !softmax)
		return kiln_error(-EINVAL, "softmax: no ops or no description");
	r = (struct rows) {
		.op = SOFTMAX, .type = softmax->type, .weight_type = KILN_TYPE_F32,
		.rows = softmax->rows, .width = softmax->width, .ldx = softmax->ldx,
		.ldy = softmax->ldy, .scale = softmax->scale == 0 ? 1 : softmax->scale,
	};
	err = check_rows("softmax", &r, softmax->x, softmax->y);
	if (err)
		return err;
	if (!isfinite(r.scale) || r.scale < 0)
		return kiln_error(-EINVAL, "softmax: scale is %g: positive and finite, or 0 for 1",
				  r.scale);
	args[ARG_X] = softmax->x;
	args[ARG_Y] = softmax->y;
	return run_rows(ops, "softmax", &r, args, done, user);
}

static int run_norm(struct kiln_ops *ops, enum op op, const char *name,
		    const struct kiln_norm *norm, kiln_done_fn done, void *user)
{
	uint64_t args[ARGS] = { 0 };
	struct rows r;
	int err;

	if (!ops || !norm)
		return kiln_error(-EINVAL, "%s: no ops or no description", name);
	r = (struct rows) {
		.op = op, .type = norm->type,
		.weight_type = norm->weight_type ? norm->weight_type : norm->type,
		.rows = norm->rows, .width = norm->width, .ldx = norm->ldx, .ldy = norm->ldy,
		.weight = norm->weight, .bias = norm->bias, .eps = norm->eps,
	};
	err = check_rows(name, &r, norm->x, norm->y);
	if (err)
		return err;
	if (!known_type(r.weight_type))
		return kiln_error(-ENOTSUP, "%s: weight_type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  name, (int)r.weight_type);
	if (op == RMSNORM && r.bias)
		return kiln_error(-EINVAL, "%s: it has no bias", name);
	if (!isfinite(r.eps) || r.eps < 0)
		return kiln_error(-EINVAL, "%s: eps is %g: at least 0 and finite", name, r.eps);
	err = check_vector(name, "weight", norm->weight, type_size(r.weight_type));
	if (!err)
		err = check_vector(name, "bias", norm->bias, type_size(r.weight_type));
	if (err)
		return err;
	args[ARG_X] = norm->x;
	args[ARG_Y] = norm->y;
	args[ARG_WEIGHT] = norm->weight;
	args[ARG_BIAS] = norm->bias;
	return run_rows(ops, name, &r, args, done, user);
}

int kiln_rmsnorm(struct kiln_ops *ops, const struct kiln_norm *norm, kiln_done_fn done,
		 void *user)
{
	return run_norm(ops, RMSNORM, "rmsnorm", norm, done, user);
}

int kiln_layernorm(struct kiln_ops *ops, const struct kiln_norm *norm, kiln_done_fn done,
		   void *user)
{
	return run_norm(ops, LAYERNORM, "layernorm", norm, done, user);
}
