// SPDX-License-Identifier: MIT
/*
 * Rows of a table by index. Sync gathers a tile of up to 128 rows into SBUF,
 * GpSimd stores it; the slots between them hide the latency of memory.
 */
#include <errno.h>

#include "stream.h"

#define CHUNK_BYTES	16384u	/* of a row */
#define SLOTS		8

enum { SEM_FULL, SEM_FREE };
enum { RING_IN = 0, RING_OUT = 8 };
enum { ARG_TABLE, ARG_INDEX, ARG_OUT, ARGS };

struct gen {
	struct kiln_asm *as;
	const struct kiln_gather *ga;
	enum kiln_dtype type;
	uint32_t es;
	unsigned int table, column, index, limit;	/* Sync */
	unsigned int out;				/* GpSimd */
	struct turn in[KILN_ENGINES];
};

static void chunk(struct gen *g, uint32_t p, uint32_t n)
{
	kiln_asm_wait(g->as, KILN_SYNC, SEM_FREE, 1);
	gather_rows(g->as, RING_IN, slot(&g->in[KILN_SYNC], g->type, p, n), g->column,
		    g->ga->ld_table, g->index, g->limit);
	kiln_asm_post(g->as, KILN_SYNC, SEM_FULL, 1);
	turn_next(g->as, KILN_SYNC, &g->in[KILN_SYNC]);
	bump(g->as, KILN_SYNC, g->column, (int64_t)n * g->es);

	kiln_asm_wait(g->as, KILN_GPSIMD, SEM_FULL, 1);
	kiln_asm_dma(g->as, KILN_GPSIMD, RING_OUT, kiln_dram(g->out, 0, g->ga->ld_out, 1),
		     slot(&g->in[KILN_GPSIMD], g->type, p, n));
	kiln_asm_post(g->as, KILN_GPSIMD, SEM_FREE, 1);
	turn_next(g->as, KILN_GPSIMD, &g->in[KILN_GPSIMD]);
	bump(g->as, KILN_GPSIMD, g->out, (int64_t)n * g->es);
}

static void tile(struct gen *g, uint32_t p)
{
	uint32_t width = g->ga->width, most = CHUNK_BYTES / g->es;

	kiln_asm_addi(g->as, KILN_SYNC, g->column, g->table, 0);
	if (width / most) {
		kiln_asm_loop(g->as, width / most);
		chunk(g, p, most);
		kiln_asm_loop_end(g->as);
	}
	if (width % most)
		chunk(g, p, width % most);
	bump(g->as, KILN_SYNC, g->index, PART * 4);
	bump(g->as, KILN_GPSIMD, g->out, ((int64_t)PART * g->ga->ld_out - width) * g->es);
}

static int make_gather(struct kiln_asm *as, unsigned int generation, const void *shape)
{
	const struct kiln_gather *ga = shape;
	struct gen gen = { .as = as, .ga = ga, .type = kiln_type_dtype(ga->type),
			   .es = type_size(ga->type) }, *g = &gen;
	uint32_t bytes = KILN_ALIGN_UP(kiln_min((uint64_t)ga->width * g->es < CHUNK_BYTES ?
						ga->width * g->es : CHUNK_BYTES, CHUNK_BYTES), 64u);

	(void)generation;	/* fits into the smallest */
	turn_init(as, KILN_SYNC, &g->in[KILN_SYNC], 0, bytes, SLOTS);
	turn_init(as, KILN_GPSIMD, &g->in[KILN_GPSIMD], 0, bytes, SLOTS);
	g->table = kiln_asm_reg(as, KILN_SYNC);
	g->column = kiln_asm_reg(as, KILN_SYNC);
	g->index = kiln_asm_reg(as, KILN_SYNC);
	g->limit = kiln_asm_reg(as, KILN_SYNC);
	g->out = kiln_asm_reg(as, KILN_GPSIMD);
	kiln_asm_ldarg(as, KILN_SYNC, g->table, ARG_TABLE);
	kiln_asm_ldarg(as, KILN_SYNC, g->index, ARG_INDEX);
	kiln_asm_ldarg(as, KILN_GPSIMD, g->out, ARG_OUT);
	kiln_asm_movi(as, KILN_SYNC, g->limit, ga->table_rows);
	post_free(as, KILN_GPSIMD, SEM_FREE, SLOTS);
	if (ga->rows / PART) {
		kiln_asm_loop(as, ga->rows / PART);
		tile(g, PART);
		kiln_asm_loop_end(as);
	}
	if (ga->rows % PART)
		tile(g, ga->rows % PART);
	return 0;
}

int kiln_gather(struct kiln_ops *ops, const struct kiln_gather *gather, kiln_done_fn done,
		void *user)
{
	struct kiln_ops_key key;
	struct kiln_gather ga;
	uint64_t args[ARGS];
	uint32_t es;

	if (!ops || !gather)
		return kiln_error(-EINVAL, "gather: no ops or no description");
	ga = *gather;
	if (!known_type(ga.type))
		return kiln_error(-ENOTSUP, "gather: type %d is not KILN_TYPE_F32, _BF16 or _F16",
				  (int)ga.type);
	if (!ga.rows || !ga.width || !ga.table_rows || ga.rows > INT32_MAX ||
	    ga.width > INT32_MAX || ga.table_rows > INT32_MAX)
		return kiln_error(-EINVAL, "gather: %u rows of %u from a table of %u: each 1 to 2147483647",
				  ga.rows, ga.width, ga.table_rows);
	if (!ga.ld_table)
		ga.ld_table = ga.width;
	if (!ga.ld_out)
		ga.ld_out = ga.width;
	if (ga.ld_table < ga.width || ga.ld_out < ga.width || ga.ld_table > INT32_MAX ||
	    ga.ld_out > INT32_MAX)
		return kiln_error(-EINVAL, "gather: ld_table is %u and ld_out %u: 0, or from a row of %u elements up to 2147483647",
				  ga.ld_table, ga.ld_out, ga.width);
	es = type_size(ga.type);
	if (!ga.table || ga.table % es || !ga.out || ga.out % es || !ga.index || ga.index % 4)
		return kiln_error(-EINVAL, "gather: table is at 0x%llx, index at 0x%llx, out at 0x%llx: device addresses, aligned to %u, 4 and %u bytes",
				  (unsigned long long)ga.table, (unsigned long long)ga.index,
				  (unsigned long long)ga.out, es, es);
	args[ARG_TABLE] = ga.table;
	args[ARG_INDEX] = ga.index;
	args[ARG_OUT] = ga.out;
	key = (struct kiln_ops_key) { .word = {
		KILN_OPS_GATHER | (uint64_t)ga.type << 8, ga.rows, ga.width, ga.table_rows,
		ga.ld_table, ga.ld_out,
	} };
	return kiln_ops_run(ops, &key, "gather", make_gather, &ga, args, ARGS, done, user);
}
