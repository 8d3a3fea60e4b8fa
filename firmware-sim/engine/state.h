/* SPDX-License-Identifier: MIT */
/*
 * What a core consists of, for the engine's own files and its tests.
 *
 * All of it is plain data in the block that kiln_core_init() was given; the
 * one pointer that outlives a job is the MMU's to the card's memories.
 */
#ifndef KILN_ENGINE_STATE_H
#define KILN_ENGINE_STATE_H

#include "engine/core.h"
#include "engine/ops.h"
#include "engine/time.h"
#include "kiln/isa.h"

#define CHUNK		512	/* elements that an element-wise engine takes at a time */
#define PENDING		32	/* posts of a semaphore whose times are kept apart */
#define PANEL_PAD	2	/* rows between panels: not all in the same cache sets */
#define PACKED		65	/* moving tiles that are kept packed */
/* Room for them: 33 of fp32, 65 of bf16: a panel of 1024 columns by 2048 or 4096 rows, and one */
#define MOVING_WORDS	(33 * (KILN_MATMUL_MAX_K + PANEL_PAD) * KILN_MATMUL_MAX_N)
#define CELL		32	/* rows and columns of the PE array's smallest tile */
#define CELLS		16
#define PART_WORDS	((KILN_MATMUL_MAX_K + PANEL_PAD) * (KILN_MATMUL_MAX_M / 2 + KILN_MAX_MR))
#define KNOWN		64	/* programs that are remembered */
#define KNOWN_BYTES	(66u << 10) /* at most; a power of two: all in the same cache sets */
#define LOANS		32	/* tiles that DMA may owe at a time */
#define GROUP		32	/* partitions: granularity of the marks of what is in use */
#define KILN_COLUMN_SHIFT 12	/* of sbuf_used: 64 columns are 256 KiB */
#define KILN_SEM_MAX	65535

/* Units posted and not yet taken, earliest first. */
struct semaphore {
	uint32_t value;
	uint32_t posts;
	struct {
		uint64_t time;
		uint32_t units;
	} post[PENDING];
};

struct stream {
	uint64_t reg[KILN_REGISTERS];
	const struct kiln_insn *insn;	/* in the core's program buffer; valid within a job */
	uint32_t count;
	uint32_t pc;
	bool halted;
	bool blocked;			/* until somebody posts */
	bool ready;			/* the waits of the instruction at pc are behind it */
	uint64_t now;			/* ticks: when the engine takes the next instruction */
	uint64_t waited;		/* ticks: of now, for the waits of that instruction */
	uint64_t done;			/* ticks: when the last one is complete; DMA apart */
};

/* An operand whose place is known and checked. Strides and sizes count elements. */
struct tile {
	uint8_t *base;			/* of the first element in the first partition */
	size_t pitch;			/* bytes from a partition to the next */
	enum kiln_space space;
	enum kiln_dtype dtype;
	uint32_t esize;
	uint32_t partition, partitions;
	uint32_t count;			/* free elements */
	uint32_t lo, hi;		/* bytes [lo, hi) of each partition are touched */
	unsigned int ndim;		/* after merging what is contiguous */
	uint32_t size[4];
	int64_t stride[4];
	bool stochastic;		/* what is stored is rounded at random */
	uint64_t seed;
};

/* A packed moving tile that may serve further matmuls, with other stationary ones. */
struct packed {
	bool valid;
	uint32_t at, words;		/* its place in core->moving */
	uint32_t lo, hi;		/* bytes of SBUF partitions that it was made from */
	uint64_t used;			/* when; the one that is replaced is the oldest */
	struct kiln_operand operand;
	uint64_t reg;
	bool twice;			/* as double rows */
};

/* A matrix in the PE array, or in a tile of it. */
struct stationary {
	enum kiln_dtype dtype;		/* NONE: nothing was loaded in this job */
	uint32_t k, m;
	bool twice;			/* two rows in each of its K partitions */
	uint8_t rows, columns;		/* of the tile; whole array: 0 */
};

/*
 * A tile in SBUF whose bytes are still only where DMA was to fetch them. It is
 * copied when anybody looks at it but a transpose, or a matmul with few stationary
 * columns, which read it where it is: to copy a matrix that is used once costs
 * more than to multiply it. Nobody can tell the difference: loans end with the job,
 * before a translation is given up, and before a DMA writes device memory, which
 * is all that others can see of a program. Only who writes the source while the
 * program runs may find more than one of its states in a tile; nothing says
 * which of them DMA reads in any case. Of a transient program they end only
 * before it writes to where they come from itself, and are forgotten with the job.
 */
struct loan {
	const uint8_t *src;		/* in HBM; valid within a job */
	size_t pitch;			/* of src, from a partition to the next */
	uint32_t partition, partitions;
	uint32_t lo, hi;		/* bytes [lo, hi) of each partition; 0, 0: none */
	uint64_t va, va_end;		/* device addresses that it was taken from */
};

/*
 * A program of this context whose bytes are here and have been checked. It saves
 * time only: what is in device memory is compared with them before each use.
 */
struct known {
	uint64_t from;			/* its device address */
	uint32_t bytes;			/* 0: none */
	bool few_columns;		/* as core->few_columns */
};

struct kiln_core {
	struct kiln_mmu mmu;
	uint32_t abort;			/* atomic: enum kiln_status, KILN_PAUSE, 0: go on */
	uint32_t generation;
	uint32_t level;			/* enum kiln_ops_level */

	uint32_t sbuf_bytes, psum_bytes;	/* per partition, what a program may use */
	uint32_t sbuf_pitch, psum_pitch;	/* from a partition to the next */
	uint64_t sbuf, psum;			/* offsets in this block */
	uint64_t programs;			/* KNOWN of KNOWN_BYTES, then one of any size */
	/* 4 KiB columns that may hold anything, for each group of partitions */
	uint64_t sbuf_used[KILN_PARTITIONS / GROUP];
	uint64_t psum_used[KILN_PARTITIONS / GROUP];

	/* the job */
	const struct kiln_ops *ops;	/* valid within a job */
	uint64_t args[KILN_MAX_ARGS_BYTES / 8];
	uint32_t args_bytes;
	uint64_t program;		/* offset in this block: one of programs */
	uint64_t from;			/* where its program is: for whoever watches */
	bool transient;			/* what is in SBUF and PSUM at its end is for nobody */
	uint64_t fault_addr;
	uint32_t polls;
	struct stream stream[KILN_ENGINES];
	struct semaphore sem[KILN_SEMAPHORES];
	struct kiln_clocks clocks;
	struct kiln_dma_time dma;	/* of the transfer just issued */
	bool time_only;			/* no data are moved or computed with: see core.h */
	struct kiln_tally tally;
	struct known known[KNOWN];
	uint32_t replaced;		/* of them when another one comes */
	uint64_t sanitizer;		/* offset from this struct; 0: none */
	const struct kiln_watch *watch;	/* NULL: nobody watches; the owner's, valid while it is set */

	struct stationary stationary;		/* of the whole array */
	struct stationary part[CELLS];		/* of a tile, by the cell that it starts in */
	struct packed packed[PACKED];
	uint32_t packings;		/* of them in use */
	uint32_t moving_words;		/* so much of moving is given out */
	uint64_t packed_use;
	struct loan loan[LOANS];
	uint32_t loans;			/* of them in use */
	uint64_t lent;			/* bytes in this job */
	bool few_columns;		/* KILN_FEW at most has each stationary matrix of this program */
	/*
	 * Matmuls with one column that stand side by side are one walk over the
	 * rows: it is put off until something else than a matmul comes.
	 */
	struct kiln_matvec matvec;	/* n 0: none; valid within a job */

	/* scratch; nothing in it matters after an instruction but the packed matrices */
	float x[CHUNK] __attribute__((aligned(64)));
	float y[CHUNK] __attribute__((aligned(64)));
	float z[CHUNK] __attribute__((aligned(64)));
	uint32_t row[2][KILN_MATMUL_MAX_N] __attribute__((aligned(64)));
	uint32_t whole[(2 * KILN_MATMUL_MAX_K + PANEL_PAD) *
			    (KILN_MATMUL_MAX_M + KILN_MAX_MR)] __attribute__((aligned(64)));
	uint32_t parts[CELLS][PART_WORDS] __attribute__((aligned(64)));
	uint32_t moving[MOVING_WORDS] __attribute__((aligned(64)));
	float out[KILN_MATMUL_MAX_M * KILN_MATMUL_MAX_N] __attribute__((aligned(64)));
};

/* Use this level from the next job on; false if it is not to be had here. For tests. */
bool kiln_engine_select(struct kiln_core *core, enum kiln_ops_level level);

/* Of core->abort: to be looked at between two instructions only, where it can be gone on. */
#define KILN_PAUSE	255

static inline bool aborted(const struct kiln_core *core)
{
	uint32_t abort = __atomic_load_n(&core->abort, __ATOMIC_RELAXED);

	return abort && abort != KILN_PAUSE;
}

/* core.c: what kiln_core_run() does with a program before it runs. */
enum kiln_status kiln_core_parse(struct kiln_core *core, uint32_t program_bytes,
				 uint32_t args_bytes);
enum kiln_status kiln_core_decode(struct kiln_core *core, enum kiln_engine *engine);

/* decode.c: may this instruction stand in the stream of this engine? Registers apart. */
enum kiln_status kiln_decode(struct kiln_core *core, enum kiln_engine engine,
			     const struct kiln_insn *insn, uint32_t count,
			     uint32_t args_bytes);

/* memory.c */
/* All operand functions leave core->fault_addr with what they complain about. */
enum kiln_status kiln_operand_range(struct kiln_core *core,
				    const struct kiln_operand *op, uint64_t reg,
				    uint32_t *lo, uint32_t *hi);
enum kiln_status kiln_tile(struct kiln_core *core, const struct stream *s,
			   const struct kiln_operand *op, struct tile *tile);
/* Its place in SBUF or PSUM, whether or not its bytes are there: see struct loan. */
enum kiln_status kiln_tile_place(struct kiln_core *core, const struct stream *s,
				 const struct kiln_operand *op, struct tile *tile);
/* Remember what has to be scrubbed, and that a packed copy of it is out of date. */
void kiln_tile_written(struct kiln_core *core, const struct tile *tile);
/* The same for one that is about to be written. */
enum kiln_status kiln_tile_out(struct kiln_core *core, const struct stream *s,
			       const struct kiln_operand *op, struct tile *tile);
enum kiln_status kiln_column_range(struct kiln_core *core,
				   const struct kiln_column *col, uint64_t reg,
				   uint32_t *addr);
/* n elements of partition p from first on: in buf, or where they lie if they are fp32. */
const float *kiln_tile_load(const struct kiln_core *core, const struct tile *tile,
			    uint32_t p, uint32_t first, uint32_t n, float *buf);
void kiln_tile_store(const struct kiln_core *core, const struct tile *tile,
		     uint32_t p, uint32_t first, uint32_t n, const float *buf);
/* The same without a conversion; buf holds n elements. */
void kiln_tile_gather(const struct tile *tile, uint32_t p, uint32_t first,
		      uint32_t n, void *buf);
void kiln_tile_scatter(const struct tile *tile, uint32_t p, uint32_t first,
		       uint32_t n, const void *buf);
/* Rows that may come from memory, and do not overlap. */
void kiln_copy_rows(uint8_t *dst, size_t dst_pitch, const uint8_t *src, size_t src_pitch,
		    uint32_t rows, uint32_t bytes);
/* n elements of esize bytes, steps in bytes. */
void kiln_copy_elements(uint8_t *dst, int64_t dst_step, const uint8_t *src,
			int64_t src_step, uint32_t n, uint32_t esize);
static inline bool tile_contiguous(const struct tile *tile)
{
	return tile->ndim == 1 && tile->stride[0] == 1;
}
/*
 * Have the host's caches fetch a partition that is wanted soon, to be read or
 * written. Each is on a page of its own, where the host's own prefetching does
 * not go.
 */
static inline void tile_prefetch(const struct tile *tile, uint32_t p, const bool write)
{
	unsigned int d = tile->ndim - 1;
	uint32_t runs = d ? tile->size[0] : 1, bytes = tile->size[d] * tile->esize;

	if (p >= tile->partitions || d > 1 || tile->stride[d] != 1)
		return;
	for (uint32_t i = 0; i < runs; i++) {
		const uint8_t *run = tile->base + p * tile->pitch +
				     (d ? i * tile->stride[0] * (int64_t)tile->esize : 0);

		/* what it is for has to be a constant, also where nothing is inlined */
		for (uint32_t at = 0; at < bytes; at += 64)
			if (write)
				__builtin_prefetch(run + at, 1);
			else
				__builtin_prefetch(run + at, 0);
	}
}
/* An instruction and its operands; absent ones, and patterns of terms, have no base. */
struct tiles {
	const struct stream *s;
	const struct kiln_insn *insn;
	struct tile dst, src[2], col[2];
};
/* All of them where they lie; dst, and what else the rule says, to be written. */
enum kiln_status kiln_tiles(struct kiln_core *core, const struct stream *s,
			    const struct kiln_insn *insn, struct tiles *t);
/* The value for partition p: of the column, or the constant if there is none. */
static inline float tile_scalar(const struct tile *col, uint32_t p, float imm)
{
	return col->base ? kiln_load_one(col->base + p * col->pitch, col->dtype) : imm;
}
static inline uint32_t tile_chunk(const struct tile *tile, uint32_t at)
{
	return tile->count - at < CHUNK ? tile->count - at : CHUNK;
}
void kiln_memory_scrub(struct kiln_core *core);

/* loan.c */
/* Have what this tile touches, or (NULL) all, in SBUF. */
void kiln_loan_settle(struct kiln_core *core, const struct tile *tile);
/* All of this tile is about to be overwritten: nobody needs what is owed there. */
void kiln_loan_drop(struct kiln_core *core, const struct tile *tile);
/* Owe this tile. There is room. */
void kiln_loan_take(struct kiln_core *core, const struct tile *tile, const uint8_t *src,
		    size_t pitch, uint64_t va);
/* Pay what comes from device addresses [lo, hi). */
void kiln_loan_settle_source(struct kiln_core *core, uint64_t lo, uint64_t hi);
/* If all of it is owed, have the tile point to where its bytes are. */
bool kiln_loan_find(const struct kiln_core *core, struct tile *tile);
/* The same; else settle. */
void kiln_loan_follow(struct kiln_core *core, struct tile *tile);
/* Give up translations if the firmware wants that: what has used them is done before. */
void kiln_poll_flush(struct kiln_core *core);

/* tensor.c: do what was put off. */
void kiln_matvec_settle(struct kiln_core *core);

/* One instruction each; KILN_ST_OK, or why not. */
typedef enum kiln_status kiln_exec_fn(struct kiln_core *core, struct stream *s,
				      const struct kiln_insn *insn);
kiln_exec_fn kiln_exec_load_stationary, kiln_exec_matmul, kiln_exec_transpose;
kiln_exec_fn kiln_exec_dma_copy, kiln_exec_dma_gather, kiln_exec_dma_scatter,
	     kiln_exec_dma_transpose;

/* dma.c: the row that each partition of a gather or scatter goes to, of those that stand in op. */
enum kiln_status kiln_dma_rows(struct kiln_core *core, const struct stream *s,
			       const struct kiln_operand *op, uint32_t partitions,
			       int64_t row[KILN_PARTITIONS]);

/* tensor.c: nothing is loaded; no moving matrix is packed. */
/* The same with the operands where they lie. */
typedef enum kiln_status kiln_compute_fn(struct kiln_core *core, const struct tiles *t);
kiln_compute_fn kiln_exec_elements, kiln_exec_bitwise, kiln_exec_bitwise_reduce,
		kiln_exec_bitwise_partitions;
kiln_compute_fn kiln_exec_tensor_copy, kiln_exec_tensor_copy_predicated,
		kiln_exec_tensor_reduce;
kiln_compute_fn kiln_exec_bn_stats, kiln_exec_bn_aggr;
kiln_compute_fn kiln_exec_max8, kiln_exec_find_index8, kiln_exec_match_replace8,
		kiln_exec_topk;
kiln_compute_fn kiln_exec_transpose32, kiln_exec_stream_shuffle, kiln_exec_local_gather;
kiln_compute_fn kiln_exec_rng, kiln_exec_iota, kiln_exec_partition_reduce,
		kiln_exec_sequence_bounds;

/* n elements of partition p from element at on, on their way through an instruction. */
struct chunk {
	const struct kiln_insn *insn;
	const struct tiles *t;
	uint32_t p, at, n;
	float s0, s1;		/* the partition's scalars; a scan carries s0 on */
	const float *a, *b;	/* of src[0] and src[1], in fp32 */
};

/* What becomes of a chunk: n results, in core->z or where they were. */
typedef const float *kiln_chunk_fn(struct kiln_core *core, struct chunk *c);
kiln_chunk_fn kiln_chunk_activation, kiln_chunk_affine_select, kiln_chunk_dropout,
	      kiln_chunk_scan;

/* tensor.c: nothing is loaded. */
void kiln_stationary_forget(struct kiln_core *core);
void kiln_packed_forget(struct kiln_core *core);

/* sequencer.c: run the streams to their end; *engine is where it ended if that was no good one. */
enum kiln_status kiln_streams_run(struct kiln_core *core, enum kiln_engine *engine);

#endif
