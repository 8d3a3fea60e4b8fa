/* SPDX-License-Identifier: MIT */
/*
 * libkiln, assembler: write a kernel for the Kiln card in C.
 *
 * A builder holds one growing stream for each engine. The calls below append
 * instructions of kiln/isa.def under the names they have there. One author
 * writes the whole program in one order, each instruction to its engine; what
 * runs beside what is decided by semaphores alone:
 *
 *	struct kiln_asm *as = kiln_asm_create(2);
 *
 *	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
 *	kiln_asm_dma(as, KILN_SYNC, 0, x, kiln_dram(1, 0, 512, 1));
 *	kiln_asm_post(as, KILN_SYNC, LOADED, 1);
 *	kiln_asm_wait(as, KILN_VECTOR, LOADED, 1);
 *	kiln_asm_tensor_scalar(as, KILN_VECTOR, y, x, KILN_ALU_MULTIPLY, kiln_const(2), ...);
 *	...
 *	kiln_asm_finish(as, &program, &bytes);
 *
 * kiln_asm_wait() is for the next instruction of the engine, kiln_asm_post()
 * and kiln_asm_label() for the one just written.
 *
 * A mistake does not stop the author: the first one is kept, what follows is
 * ignored, and kiln_asm_finish() fails with it. What a register decides (an
 * address) can only be checked by the card.
 */
#ifndef KILN_ASM_H
#define KILN_ASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <kiln/isa.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kiln_asm;

/*
 * A builder of programs for a generation 1 to 3, or 0: for any (within the smallest SBUF).
 * NULL: no memory. kiln_asm_destroy() takes NULL, too.
 */
struct kiln_asm *kiln_asm_create(unsigned int generation);
void kiln_asm_destroy(struct kiln_asm *as);

/* The first mistake, with engine and instruction, for as long as the builder; NULL: none so far. */
const char *kiln_asm_error(const struct kiln_asm *as);

/*
 * Check what only the whole can show, and write header and streams into
 * malloc()ed memory, which the caller frees.
 *
 * -EINVAL a mistake: kiln_asm_error() says which, -ENOMEM no memory.
 */
int kiln_asm_finish(struct kiln_asm *as, void **program, size_t *bytes);

/*
 * What the program leaves in SBUF and PSUM is for nobody: the context's next command
 * finds there what it may. Without this, it finds what was left. And what the program
 * reads from device memory, nobody else writes before its command has ended.
 */
void kiln_asm_transient(struct kiln_asm *as);

/* Bytes of SBUF in one partition of that generation. */
uint32_t kiln_asm_sbuf_bytes(unsigned int generation);

/* Instructions of an engine so far. */
uint32_t kiln_asm_count(const struct kiln_asm *as, enum kiln_engine engine);

/* -------------------------------------------------------------- operands -- */

/* [partitions, n] of a dtype from byte addr on; then with more dimensions, outermost first. */
struct kiln_operand kiln_tile1(enum kiln_space space, enum kiln_dtype dtype,
			       unsigned int partition, unsigned int partitions,
			       uint32_t addr, unsigned int n);
struct kiln_operand kiln_tile2(enum kiln_space space, enum kiln_dtype dtype,
			       unsigned int partition, unsigned int partitions,
			       uint32_t addr, unsigned int n0, int stride0,
			       unsigned int n1, int stride1);
struct kiln_operand kiln_tile3(enum kiln_space space, enum kiln_dtype dtype,
			       unsigned int partition, unsigned int partitions,
			       uint32_t addr, unsigned int n0, int stride0,
			       unsigned int n1, int stride1,
			       unsigned int n2, int stride2);
struct kiln_operand kiln_tile4(enum kiln_space space, enum kiln_dtype dtype,
			       unsigned int partition, unsigned int partitions,
			       uint32_t addr, unsigned int n0, int stride0,
			       unsigned int n1, int stride1,
			       unsigned int n2, int stride2,
			       unsigned int n3, int stride3);

/* The same tile, with a register added to its address. */
struct kiln_operand kiln_at(struct kiln_operand tile, unsigned int reg);

/*
 * Device memory for DMA: bytes offset from the address in register base;
 * steps in elements: from partition to partition, and for the other side's
 * dimensions from the first.
 */
struct kiln_operand kiln_dram(unsigned int base, int32_t offset, int32_t partition_step,
			      int32_t step0);
struct kiln_operand kiln_dram2(unsigned int base, int32_t offset, int32_t partition_step,
			       int32_t step0, int32_t step1);
struct kiln_operand kiln_dram3(unsigned int base, int32_t offset, int32_t partition_step,
			       int32_t step0, int32_t step1, int32_t step2);

/* What a scalar operand of an instruction is: a constant, or one value for each partition. */
struct kiln_scalar {
	struct kiln_column col;
	float imm;
};

/* value, or a column of SBUF or PSUM, one for each partition; reg is added to addr, 0: none. */
struct kiln_scalar kiln_const(float value);
struct kiln_scalar kiln_col(enum kiln_space space, enum kiln_dtype dtype, uint32_t addr,
			    unsigned int reg);

/* ------------------------------------------------------------- semaphores -- */

/* Hold the engine's next instruction until sem >= value, and take value off it. */
void kiln_asm_wait(struct kiln_asm *as, enum kiln_engine engine, unsigned int sem,
		   unsigned int value);

/* The engine's last instruction, when complete, adds value to sem. Two at most. */
void kiln_asm_post(struct kiln_asm *as, enum kiln_engine engine, unsigned int sem,
		   unsigned int value);

/*
 * Flags for the engine's last instruction, which has to be a good one with them
 * as it was without: KILN_F_STOCHASTIC, KILN_F_CONTINUE, ...
 */
void kiln_asm_flags(struct kiln_asm *as, enum kiln_engine engine, unsigned int flags);

/* Name the engine's last instruction in faults and profiles. */
void kiln_asm_label(struct kiln_asm *as, enum kiln_engine engine, uint32_t label);

/*
 * Any instruction of isa.def, by its name there, checked as all are; for those
 * that have no call of their own below. docs/isa.md says which operand stands
 * in which field:
 *
 *	KILN_ASM(as, KILN_VECTOR, MAX8, .dst = greatest, .src = { x });
 *
 * Waits among the fields count if kiln_asm_wait() has not been called for it.
 */
void kiln_asm_insn(struct kiln_asm *as, enum kiln_engine engine, const struct kiln_insn *insn);
#define KILN_ASM(as, engine, name, ...) \
	kiln_asm_insn(as, engine, &(struct kiln_insn) { .opcode = KILN_OP_##name, __VA_ARGS__ })

/* -------------------------------------------------------------- sequencer -- */

void kiln_asm_nop(struct kiln_asm *as, enum kiln_engine engine);
void kiln_asm_halt(struct kiln_asm *as, enum kiln_engine engine);
void kiln_asm_ldarg(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		    unsigned int slot);
void kiln_asm_movi(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd, int64_t imm);
void kiln_asm_add(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		  unsigned int rs, unsigned int rt);
void kiln_asm_addi(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		   unsigned int rs, int64_t imm);
void kiln_asm_mul(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		  unsigned int rs, unsigned int rt);
void kiln_asm_xori(struct kiln_asm *as, enum kiln_engine engine, unsigned int rd,
		   unsigned int rs, int64_t imm);
void kiln_asm_bne(struct kiln_asm *as, enum kiln_engine engine, unsigned int rs,
		  unsigned int rt, uint32_t target);
void kiln_asm_blt(struct kiln_asm *as, enum kiln_engine engine, unsigned int rs,
		  unsigned int rt, uint32_t target);

/*
 * Registers that nobody has taken yet, of one engine or the same one of all.
 * They are given back in reverse order.
 */
unsigned int kiln_asm_reg(struct kiln_asm *as, enum kiln_engine engine);
void kiln_asm_reg_free(struct kiln_asm *as, enum kiln_engine engine, unsigned int reg);

/*
 * What is written between them, to whichever engine, runs count times. An
 * engine that has nothing in the body gets no loop; count 1 gives none at all.
 * Loops nest.
 */
void kiln_asm_loop(struct kiln_asm *as, uint32_t count);
void kiln_asm_loop_end(struct kiln_asm *as);

/*
 * What is written between them runs if the register of its engine is less than
 * limit, or (less = false) is not. All engines' registers have to agree.
 */
void kiln_asm_if(struct kiln_asm *as, const unsigned int reg[KILN_ENGINES], bool less,
		 int64_t limit);
void kiln_asm_if_end(struct kiln_asm *as);

/* -------------------------------------------------------------------- DMA -- */

/* One side DRAM, the other SBUF. */
void kiln_asm_dma(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
		  struct kiln_operand dst, struct kiln_operand src);
/* Both sides DRAM; shape gives partitions and sizes. */
void kiln_asm_dma_dram(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
		       struct kiln_operand dst, struct kiln_operand src,
		       struct kiln_operand shape);
/*
 * Row index[p] of DRAM to partition p of dst, or partition p of src to it. The
 * register has the number of rows, 0: any row; flags: KILN_F_ACCUMULATE, KILN_F_DROP.
 */
void kiln_asm_dma_gather(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
			 struct kiln_operand dst, struct kiln_operand rows,
			 struct kiln_operand index, unsigned int rows_reg, unsigned int flags);
void kiln_asm_dma_scatter(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
			  struct kiln_operand rows, struct kiln_operand src,
			  struct kiln_operand index, unsigned int rows_reg, unsigned int flags);
void kiln_asm_dma_transpose(struct kiln_asm *as, enum kiln_engine engine, unsigned int ring,
			    struct kiln_operand dst, struct kiln_operand src);

/* ----------------------------------------------------------------- Tensor -- */

void kiln_asm_load_stationary(struct kiln_asm *as, struct kiln_operand src);
void kiln_asm_matmul(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src,
		     bool accumulate);
void kiln_asm_transpose(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src);
/* In a tile of so many rows and columns of the array: 32, 64 or 128, the matrix from column on. */
void kiln_asm_load_stationary_tile(struct kiln_asm *as, struct kiln_operand src,
				   unsigned int rows, unsigned int columns, unsigned int column);
void kiln_asm_matmul_tile(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src,
			  unsigned int rows, unsigned int columns, bool accumulate);
/* Two rows of fp8 in each partition, the outermost dimension; from trn2 on. */
void kiln_asm_load_stationary_double(struct kiln_asm *as, struct kiln_operand src);
void kiln_asm_matmul_double(struct kiln_asm *as, struct kiln_operand dst,
			    struct kiln_operand src, bool accumulate);

/* ----------------------------------------------------------------- Scalar -- */

/* dst = func(src * scale + bias); sums, if not NULL, becomes the sum over the free elements. */
void kiln_asm_activation(struct kiln_asm *as, struct kiln_operand dst,
			 enum kiln_activation func, struct kiln_operand src,
			 struct kiln_scalar scale, struct kiln_scalar bias,
			 const struct kiln_column *sums);

/* ------------------------------------------------- Vector, Scalar, GpSimd -- */

void kiln_asm_tensor_copy(struct kiln_asm *as, enum kiln_engine engine,
			  struct kiln_operand dst, struct kiln_operand src);
void kiln_asm_tensor_tensor(struct kiln_asm *as, enum kiln_engine engine,
			    struct kiln_operand dst, struct kiln_operand a,
			    enum kiln_alu func, struct kiln_operand b);
/* dst = (src func s0) func1 s1 */
void kiln_asm_tensor_scalar(struct kiln_asm *as, enum kiln_engine engine,
			    struct kiln_operand dst, struct kiln_operand src,
			    enum kiln_alu func, struct kiln_scalar s0,
			    enum kiln_alu func1, struct kiln_scalar s1,
			    unsigned int flags);
/* dst = (a func s0) func1 b */
void kiln_asm_scalar_tensor_tensor(struct kiln_asm *as, enum kiln_engine engine,
				   struct kiln_operand dst, struct kiln_operand a,
				   enum kiln_alu func, struct kiln_scalar s0,
				   enum kiln_alu func1, struct kiln_operand b,
				   unsigned int flags);
void kiln_asm_tensor_reduce(struct kiln_asm *as, struct kiln_operand dst,
			    enum kiln_alu func, struct kiln_operand src, bool negate);
void kiln_asm_select(struct kiln_asm *as, struct kiln_operand dst,
		     struct kiln_operand predicate, struct kiln_operand on_true,
		     struct kiln_scalar on_false);
void kiln_asm_reciprocal(struct kiln_asm *as, struct kiln_operand dst,
			 struct kiln_operand src);
void kiln_asm_memset(struct kiln_asm *as, enum kiln_engine engine, struct kiln_operand dst,
		     float value);
/*
 * dst = v func 0 ? src : otherwise; v = offset + base register
 * + p * partition_step + sum of i[d] * step[d], over the dimensions of src.
 */
void kiln_asm_affine_select(struct kiln_asm *as, struct kiln_operand dst,
			    struct kiln_operand src, enum kiln_alu func, float otherwise,
			    unsigned int base, int32_t offset, int32_t partition_step,
			    const int32_t *step);
/* dst = the same v, over the dimensions of dst */
void kiln_asm_iota(struct kiln_asm *as, struct kiln_operand dst, unsigned int base,
		   int32_t offset, int32_t partition_step, const int32_t *step);

/* Over the last dims dimensions of src. */
void kiln_asm_tensor_reduce_dims(struct kiln_asm *as, struct kiln_operand dst,
				 enum kiln_alu func, struct kiln_operand src, unsigned int dims);
/* dst = src func s0; result = func1 over what each partition got */
void kiln_asm_tensor_scalar_reduce(struct kiln_asm *as, struct kiln_operand dst,
				   struct kiln_operand src, enum kiln_alu func,
				   struct kiln_scalar s0, enum kiln_alu func1,
				   struct kiln_column result, unsigned int flags);
/* kiln_asm_select(), and the greatest of each partition; flags: KILN_F_REVERSE_PRED, ... */
void kiln_asm_select_reduce(struct kiln_asm *as, struct kiln_operand dst,
			    struct kiln_operand predicate, struct kiln_operand on_true,
			    struct kiln_scalar on_false, struct kiln_column max,
			    unsigned int flags);
/* dst = start + i is within both bounds ? src : otherwise; max may be NULL. From trn2 on. */
void kiln_asm_range_select(struct kiln_asm *as, struct kiln_operand dst,
			   struct kiln_operand src, enum kiln_alu func,
			   struct kiln_column bound0, enum kiln_alu func1,
			   struct kiln_column bound1, float start, float otherwise,
			   const struct kiln_operand *max);
void kiln_asm_tensor_copy_predicated(struct kiln_asm *as, struct kiln_operand dst,
				     struct kiln_operand src, struct kiln_operand predicate,
				     bool reverse);
/* dst[i] = (a[i] func dst[i - 1]) func1 b[i], with initial before the first */
void kiln_asm_tensor_tensor_scan(struct kiln_asm *as, struct kiln_operand dst,
				 struct kiln_operand a, enum kiln_alu func,
				 struct kiln_scalar initial, enum kiln_alu func1,
				 struct kiln_operand b, unsigned int flags);
void kiln_asm_transpose32(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src);
void kiln_asm_stream_shuffle(struct kiln_asm *as, struct kiln_operand dst,
			     struct kiln_operand src, struct kiln_column mask);
void kiln_asm_max8(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src);
void kiln_asm_find_index8(struct kiln_asm *as, struct kiln_operand dst,
			  struct kiln_operand src, struct kiln_operand vals);
/* indices may be NULL. */
void kiln_asm_match_replace8(struct kiln_asm *as, struct kiln_operand dst,
			     struct kiln_operand src, struct kiln_operand vals, float value,
			     const struct kiln_column *indices);
void kiln_asm_bn_stats(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src);
void kiln_asm_bn_aggr(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src);
/* The seed is base register + offset. */
void kiln_asm_rng(struct kiln_asm *as, enum kiln_engine engine, struct kiln_operand dst,
		  unsigned int base, int32_t offset);
void kiln_asm_dropout(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand src,
		      struct kiln_scalar prob, unsigned int base, int32_t offset);
void kiln_asm_partition_reduce(struct kiln_asm *as, struct kiln_operand dst,
			       enum kiln_alu func, struct kiln_operand src);
/* So many elements for each index. */
void kiln_asm_local_gather(struct kiln_asm *as, struct kiln_operand dst,
			   struct kiln_operand src, struct kiln_operand index,
			   unsigned int elements);
void kiln_asm_topk(struct kiln_asm *as, struct kiln_operand dst, struct kiln_operand index,
		   struct kiln_operand src);
void kiln_asm_sequence_bounds(struct kiln_asm *as, struct kiln_operand dst,
			      struct kiln_operand src);
/* A register of the engine from one integer in SBUF. */
void kiln_asm_load_register(struct kiln_asm *as, enum kiln_engine engine, unsigned int reg,
			    struct kiln_operand src);

/* ------------------------------------------------------------------- text -- */

/*
 * Programs as text: docs/isa.md shows the form. kiln_asm_parse() gives what
 * kiln_asm_finish() gives. What kiln_asm_print() writes, it turns into the same
 * bytes again, whatever bytes they were.
 *
 * -EINVAL the text is wrong: error, of error_bytes, says line and reason, -ENOMEM no
 * memory, -EIO kiln_asm_print() could not write.
 */
int kiln_asm_parse(const char *text, void **program, size_t *bytes, char *error,
		   size_t error_bytes);
int kiln_asm_print(const void *program, size_t bytes, FILE *out);

#ifdef __cplusplus
}
#endif

#endif
