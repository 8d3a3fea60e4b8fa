// SPDX-License-Identifier: MIT
/*
 * The engines' sequencers: registers, branches, semaphores, and whose turn it
 * is.
 *
 * One instruction at a time is carried out, always of the engine that comes to
 * its next one first by the device's clocks. So the order of things here is
 * that of device time, and depends on the program alone.
 */
#include <string.h>

#include "engine/sanitize.h"
#include "engine/state.h"
#include "kiln/isa_check.h"

#define POLL_INTERVAL	256	/* instructions between looks at the TLB flush */

/* Of data: the one thing besides arguments and constants that a register can have. */
static enum kiln_status load_register(struct kiln_core *core, struct stream *s,
				      const struct kiln_insn *insn)
{
	uint32_t bits = 0;
	uint64_t value;
	struct tile src;
	enum kiln_status status = kiln_tile(core, s, &insn->src[0], &src);

	if (status != KILN_ST_OK)
		return status;
	memcpy(&bits, src.base, src.esize);
	switch (src.dtype) {
	case KILN_I8:
		value = (int64_t)(int8_t)bits;
		break;
	case KILN_I16:
		value = (int64_t)(int16_t)bits;
		break;
	case KILN_I32:
		value = (int64_t)(int32_t)bits;
		break;
	default:
		value = bits;
		break;
	}
	if (insn->func)
		s->reg[insn->func] = value;
	return KILN_ST_OK;
}

static kiln_exec_fn *const exec[256] = {
	[KILN_OP_LOAD_REGISTER] = load_register,
	[KILN_OP_DMA_COPY] = kiln_exec_dma_copy,
	[KILN_OP_DMA_GATHER] = kiln_exec_dma_gather,
	[KILN_OP_DMA_SCATTER] = kiln_exec_dma_scatter,
	[KILN_OP_DMA_TRANSPOSE] = kiln_exec_dma_transpose,
	[KILN_OP_LOAD_STATIONARY] = kiln_exec_load_stationary,
	[KILN_OP_MATMUL] = kiln_exec_matmul,
	[KILN_OP_TRANSPOSE] = kiln_exec_transpose,
};

static kiln_compute_fn *const compute[256] = {
	[KILN_OP_ACTIVATION] = kiln_exec_elements,
	[KILN_OP_TENSOR_COPY] = kiln_exec_tensor_copy,
	[KILN_OP_TENSOR_TENSOR] = kiln_exec_elements,
	[KILN_OP_TENSOR_SCALAR] = kiln_exec_elements,
	[KILN_OP_SCALAR_TENSOR_TENSOR] = kiln_exec_elements,
	[KILN_OP_TENSOR_REDUCE] = kiln_exec_tensor_reduce,
	[KILN_OP_SELECT] = kiln_exec_elements,
	[KILN_OP_RECIPROCAL] = kiln_exec_elements,
	[KILN_OP_MEMSET] = kiln_exec_elements,
	[KILN_OP_AFFINE_SELECT] = kiln_exec_elements,
	[KILN_OP_IOTA] = kiln_exec_iota,
	[KILN_OP_PARTITION_REDUCE] = kiln_exec_partition_reduce,
	[KILN_OP_TENSOR_COPY_PREDICATED] = kiln_exec_tensor_copy_predicated,
	[KILN_OP_RANGE_SELECT] = kiln_exec_elements,
	[KILN_OP_TENSOR_TENSOR_SCAN] = kiln_exec_elements,
	[KILN_OP_BN_STATS] = kiln_exec_bn_stats,
	[KILN_OP_BN_AGGR] = kiln_exec_bn_aggr,
	[KILN_OP_MAX8] = kiln_exec_max8,
	[KILN_OP_FIND_INDEX8] = kiln_exec_find_index8,
	[KILN_OP_MATCH_REPLACE8] = kiln_exec_match_replace8,
	[KILN_OP_TOPK] = kiln_exec_topk,
	[KILN_OP_TRANSPOSE32] = kiln_exec_transpose32,
	[KILN_OP_STREAM_SHUFFLE] = kiln_exec_stream_shuffle,
	[KILN_OP_LOCAL_GATHER] = kiln_exec_local_gather,
	[KILN_OP_RNG] = kiln_exec_rng,
	[KILN_OP_DROPOUT] = kiln_exec_elements,
	[KILN_OP_TENSOR_SCALAR_REDUCE] = kiln_exec_elements,
	[KILN_OP_SEQUENCE_BOUNDS] = kiln_exec_sequence_bounds,
};

/* Both waits at once or none; *time becomes that of the post that satisfied them, if later. */
static bool sem_take(struct kiln_core *core, const struct kiln_sync wait[2],
		     uint64_t *time)
{
	uint32_t first = wait[0].value, second = wait[1].value;

	if (wait[0].sem == wait[1].sem) {
		first += second;
		second = 0;
	}
	if (core->sem[wait[0].sem].value < first || core->sem[wait[1].sem].value < second)
		return false;
	for (unsigned int i = 0; i < 2; i++) {
		struct semaphore *sem = &core->sem[wait[i].sem];
		uint32_t units = i ? second : first, gone = 0;

		sem->value -= units;
		while (units) {
			uint32_t n = sem->post[gone].units < units ?
				sem->post[gone].units : units;

			if (sem->post[gone].time > *time)
				*time = sem->post[gone].time;
			units -= n;
			sem->post[gone].units -= n;
			if (!sem->post[gone].units)
				gone++;
		}
		if (gone) {
			sem->posts -= gone;
			memmove(sem->post, sem->post + gone,
				sem->posts * sizeof(sem->post[0]));
		}
	}
	return true;
}

static bool sem_post(struct kiln_core *core, const struct kiln_sync *post, uint64_t time)
{
	struct semaphore *sem = &core->sem[post->sem];
	uint32_t at;

	if (!post->value)
		return true;
	if (sem->value + post->value > KILN_SEM_MAX)
		return false;
	sem->value += post->value;
	for (at = sem->posts; at && sem->post[at - 1].time > time; at--)
		;
	if (at && sem->post[at - 1].time == time) {
		sem->post[at - 1].units += post->value;
		return true;
	}
	if (sem->posts == PENDING) {
		/* Too many to tell apart: this one counts from the next later one on, or
		 * the last ones from this one on. */
		if (at == PENDING)
			sem->post[--at].time = time;
		sem->post[at].units += post->value;
		return true;
	}
	memmove(&sem->post[at + 1], &sem->post[at], (sem->posts - at) * sizeof(sem->post[0]));
	sem->post[at].time = time;
	sem->post[at].units = post->value;
	sem->posts++;
	return true;
}

static void step(struct kiln_core *core, struct stream *s, const struct kiln_insn *insn)
{
	uint64_t rs = s->reg[insn->seq.rs], rt = s->reg[insn->seq.rt];
	uint64_t imm = insn->seq.imm_lo | (uint64_t)insn->seq.imm_hi << 32;
	uint64_t *rd = &s->reg[insn->seq.rd];

	s->pc++;
	switch (insn->opcode) {
	case KILN_OP_HALT:
		s->halted = true;
		break;
	case KILN_OP_LDARG:
		*rd = core->args[insn->seq.slot];
		break;
	case KILN_OP_MOVI:
		*rd = imm;
		break;
	case KILN_OP_ADD:
		*rd = rs + rt;
		break;
	case KILN_OP_ADDI:
		*rd = rs + imm;
		break;
	case KILN_OP_MUL:
		*rd = rs * rt;
		break;
	case KILN_OP_XORI:
		*rd = rs ^ imm;
		break;
	case KILN_OP_BNE:
		if (rs != rt)
			s->pc = insn->seq.target;
		break;
	case KILN_OP_BLT:
		if ((int64_t)rs < (int64_t)rt)
			s->pc = insn->seq.target;
		break;
	}
	s->reg[0] = 0;
}

/* The engine whose turn it is, KILN_ENGINES if none can go on. */
static enum kiln_engine next(const struct kiln_core *core)
{
	enum kiln_engine best = KILN_ENGINES;

	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		const struct stream *s = &core->stream[e];

		if (!s->halted && !s->blocked &&
		    (best == KILN_ENGINES || s->now < core->stream[best].now))
			best = e;
	}
	return best;
}

static bool is_dma(const struct kiln_insn *insn)
{
	return !kiln_is_sequencer(insn->opcode) && insn->opcode < KILN_OP_LOAD_STATIONARY;
}

/* Whoever watches. */
static void tell(const struct kiln_core *core, const struct stream *s,
		 const struct kiln_insn *insn, uint64_t start, uint64_t done)
{
	struct kiln_event event = {
		.insn = insn,
		.index = insn - s->insn,
		.engine = s - core->stream,
		.arrived = start - s->waited,
		.start = start,
		.busy = s->now,
		.done = done,
	};

	if (is_dma(insn)) {
		event.dma_start = core->dma.start;
		event.dma_busy = core->dma.busy;
		event.bytes = core->dma.bytes;
	}
	core->watch->event(core->watch->opaque, &event);
}

static enum kiln_status carry_out(struct kiln_core *core, struct stream *s,
				  const struct kiln_insn *insn)
{
	enum kiln_status status;
	struct tiles t;

	if (core->time_only && insn->opcode >= KILN_OP_LOAD_STATIONARY &&
	    insn->opcode != KILN_OP_LOAD_REGISTER)
		return KILN_ST_OK;
	if (exec[insn->opcode])
		return exec[insn->opcode](core, s, insn);
	status = kiln_tiles(core, s, insn, &t);
	return status == KILN_ST_OK ? compute[insn->opcode](core, &t) : status;
}

enum kiln_status kiln_streams_run(struct kiln_core *core, enum kiln_engine *engine)
{
	enum kiln_engine e;

	while ((e = next(core)) != KILN_ENGINES) {
		struct stream *s = &core->stream[e];
		const struct kiln_insn *insn = &s->insn[s->pc];
		enum kiln_status status = KILN_ST_OK;
		struct kiln_cost cost;
		uint64_t start, done;

		*engine = e;
		if (__atomic_load_n(&core->abort, __ATOMIC_RELAXED))
			return __atomic_load_n(&core->abort, __ATOMIC_ACQUIRE);
		if (++core->polls % POLL_INTERVAL == 0)
			kiln_poll_flush(core);
		if (s->pc >= s->count) {
			s->halted = true;
			continue;
		}
		if (!s->ready) {
			uint64_t time = s->now;

			if (!sem_take(core, insn->wait, &time)) {
				s->blocked = true;
				continue;
			}
			s->ready = true;
			if (time > s->now) {	/* others come first */
				s->waited = time - s->now;
				s->now = time;
				continue;
			}
		}
		s->ready = false;
		if (core->sanitizer)
			kiln_sanitize_take(core, s, insn->wait);

		cost = kiln_time_insn(core->generation, e, insn);
		if (kiln_rules[insn->opcode].engines == KILN_ON_T)
			s->now = kiln_time_array(&core->clocks, core->generation, insn, s->now,
						 &cost);
		done = s->now + cost.latency;
		if (!kiln_is_sequencer(insn->opcode)) {
			if (core->matvec.n && insn->opcode != KILN_OP_MATMUL)
				kiln_matvec_settle(core);
			if (core->sanitizer)
				kiln_sanitize_access(core, s, insn);
			status = carry_out(core, s, insn);
			if (status != KILN_ST_OK)
				return status;
			if (aborted(core))
				return __atomic_load_n(&core->abort, __ATOMIC_ACQUIRE);
			s->pc++;
		} else {
			step(core, s, insn);
		}
		start = s->now;
		s->now += cost.busy;
		if (is_dma(insn)) {
			done = core->dma.end;
			core->tally.dma += core->dma.busy;
			core->tally.bytes += core->dma.bytes;
		} else {
			/* An engine completes in order: a NOP says that all before it is done. */
			if (done < s->done)
				done = s->done;
			s->done = done;
			if (insn->opcode >= KILN_OP_LOAD_STATIONARY)
				core->tally.busy[e] += cost.busy;
		}
		if (done > core->clocks.last)
			core->clocks.last = done;
		if (core->watch)
			tell(core, s, insn, start, done);
		s->waited = 0;
		for (unsigned int i = 0; i < 2; i++) {
			if (!sem_post(core, &insn->post[i], done)) {
				s->pc = insn - s->insn;
				return KILN_ST_OPERAND;
			}
		}
		if (insn->post[0].value || insn->post[1].value) {
			if (core->sanitizer)
				kiln_sanitize_post(core, s, insn, done);
			for (unsigned int i = 0; i < KILN_ENGINES; i++)
				core->stream[i].blocked = false;
		}
	}
	for (unsigned int i = 0; i < KILN_ENGINES; i++) {
		if (!core->stream[i].halted) {
			*engine = i;
			return KILN_ST_DEADLOCK;
		}
	}
	return KILN_ST_OK;
}
