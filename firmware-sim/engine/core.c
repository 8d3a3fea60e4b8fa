// SPDX-License-Identifier: MIT
/*
 * A core: its memory, and the way of a job from its program's bytes to its
 * outcome.
 */
#include <string.h>

#include "engine/sanitize.h"
#include "engine/state.h"

#define PAGE	4096

/*
 * A partition's memory lies apart from the next by a little more than it
 * holds: with powers of two the rows of a tile would all want the same few
 * sets of the host's caches.
 */
#define SBUF_PAD	1088
#define PSUM_PAD	2112

static const struct {
	uint32_t sbuf_bytes, psum_bytes;
	uint32_t clock_khz;
} generations[] = {
	[1] = { 192 << 10, 16 << 10, 2800000 },
	[2] = { 224 << 10, 16 << 10, 2400000 },
	[3] = { 256 << 10, 16 << 10, 2400000 },
};

_Static_assert(sizeof(struct kiln_insn) == 128, "instruction");
_Static_assert(sizeof(struct kiln_program_header) == 64, "program header");
_Static_assert(sizeof(struct kiln_operand) == 28, "operand");

uint32_t kiln_core_clock_khz(unsigned int generation)
{
	return generations[generation].clock_khz;
}

uint32_t kiln_core_sbuf_bytes(unsigned int generation)
{
	return generations[generation].sbuf_bytes;
}

uint32_t kiln_core_psum_bytes(unsigned int generation)
{
	return generations[generation].psum_bytes;
}

/* The block: struct kiln_core, programs, SBUF, PSUM, each from a page on. */
static size_t layout(unsigned int generation, struct kiln_core *core)
{
	size_t sbuf_pitch = generations[generation].sbuf_bytes + SBUF_PAD;
	size_t psum_pitch = generations[generation].psum_bytes + PSUM_PAD;
	size_t sizes[] = { sizeof(struct kiln_core),
			   KNOWN * KNOWN_BYTES + KILN_MAX_PROGRAM_BYTES,
			   KILN_PARTITIONS * sbuf_pitch, KILN_PARTITIONS * psum_pitch };
	size_t at[5] = { 0 };

	for (unsigned int i = 0; i < 4; i++)
		at[i + 1] = (at[i] + sizes[i] + PAGE - 1) & ~(size_t)(PAGE - 1);
	if (core) {
		core->sbuf_pitch = sbuf_pitch;
		core->psum_pitch = psum_pitch;
		core->programs = at[1];
		core->sbuf = at[2];
		core->psum = at[3];
	}
	return at[4];
}

size_t kiln_core_size(unsigned int generation)
{
	return layout(generation, NULL);
}

struct kiln_core *kiln_core_init(void *mem, unsigned int generation,
				 const struct kiln_memory *memory)
{
	struct kiln_core *core = mem;

	layout(generation, core);
	core->generation = generation;
	core->sbuf_bytes = generations[generation].sbuf_bytes;
	core->psum_bytes = generations[generation].psum_bytes;
	core->mmu.memory = memory;
	core->level = kiln_ops_best();
	return core;
}

bool kiln_engine_select(struct kiln_core *core, enum kiln_ops_level level)
{
	if (!kiln_ops_get(level))
		return false;
	core->level = level;
	return true;
}

struct kiln_mmu *kiln_core_mmu(struct kiln_core *core)
{
	return &core->mmu;
}

void kiln_core_time_only(struct kiln_core *core, bool on)
{
	core->time_only = on;
}

void kiln_core_watch(struct kiln_core *core, const struct kiln_watch *watch)
{
	core->watch = watch;
}

const struct kiln_tally *kiln_core_tally(const struct kiln_core *core)
{
	return &core->tally;
}

void kiln_core_scrub(struct kiln_core *core)
{
	kiln_memory_scrub(core);
	if (core->sanitizer)
		kiln_sanitize_scrub(core);
	memset(core->args, 0, sizeof(core->args));
	memset(core->stream, 0, sizeof(core->stream));
	memset(core->sem, 0, sizeof(core->sem));
	memset(core->known, 0, sizeof(core->known));
	kiln_packed_forget(core);
	kiln_stationary_forget(core);
}

void kiln_core_abort(struct kiln_core *core, enum kiln_status why)
{
	__atomic_store_n(&core->abort, why, __ATOMIC_RELEASE);
}

/* Whoever is to end needs no pause. */
void kiln_core_pause(struct kiln_core *core)
{
	uint32_t none = 0;

	__atomic_compare_exchange_n(&core->abort, &none, KILN_PAUSE, false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

void kiln_core_unpause(struct kiln_core *core)
{
	uint32_t pause = KILN_PAUSE;

	__atomic_compare_exchange_n(&core->abort, &pause, 0, false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

void kiln_core_allow(struct kiln_core *core)
{
	__atomic_store_n(&core->abort, 0, __ATOMIC_RELEASE);
}

/* Check the header of the program that has been copied in, and find its streams. */
enum kiln_status kiln_core_parse(struct kiln_core *core, uint32_t program_bytes,
				 uint32_t args_bytes)
{
	uint8_t *program = (uint8_t *)core + core->program;
	const struct kiln_program_header *header = (const void *)program;

	if (header->magic != KILN_PROGRAM_MAGIC || header->isa_major != KILN_ISA_MAJOR ||
	    header->isa_minor > KILN_ISA_MINOR || header->flags & ~KILN_PROGRAM_TRANSIENT ||
	    header->reserved[0] || header->reserved[1] || header->reserved1 ||
	    (header->generation && header->generation != core->generation) ||
	    header->bytes > program_bytes || header->bytes < sizeof(*header) ||
	    header->args_bytes > args_bytes)
		return KILN_ST_BAD_PROGRAM;
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		uint32_t offset = header->stream[e].offset, count = header->stream[e].count;

		if (!count)
			offset = sizeof(*header);
		if (offset % 64 || offset < sizeof(*header) || offset > header->bytes ||
		    count > (header->bytes - offset) / sizeof(struct kiln_insn))
			return KILN_ST_BAD_PROGRAM;
		core->stream[e].insn = (const struct kiln_insn *)(program + offset);
		core->stream[e].count = count;
	}
	core->args_bytes = header->args_bytes;
	core->transient = header->flags & KILN_PROGRAM_TRANSIENT;
	return KILN_ST_OK;
}

/*
 * Have the program's bytes where nobody else writes. One that is known, and
 * still has the bytes that were checked, lies there: what is run is always a
 * copy that has been checked, whoever writes to the program meanwhile.
 */
static enum kiln_status bring(struct kiln_core *core, const struct kiln_job *job,
			      struct known **known)
{
	uint32_t n = core->replaced;

	core->program = core->programs + KNOWN * KNOWN_BYTES;
	*known = NULL;
	if (job->program_bytes <= KNOWN_BYTES) {
		for (uint32_t i = 0; i < KNOWN; i++) {
			if (core->known[i].from == job->program) {
				n = i;
				break;
			}
		}
		*known = &core->known[n];
		core->program = core->programs + n * KNOWN_BYTES;
		if ((*known)->from == job->program && (*known)->bytes == job->program_bytes &&
		    kiln_mmu_same(&core->mmu, job->program, (uint8_t *)core + core->program,
				  job->program_bytes))
			return KILN_ST_OK;
		if ((*known)->from != job->program)
			core->replaced = (n + 1) % KNOWN;
		**known = (struct known){ .from = job->program };
	}
	return kiln_mmu_read(&core->mmu, job->program, (uint8_t *)core + core->program,
			     job->program_bytes, &core->fault_addr);
}

/* Bring program and arguments in. */
static enum kiln_status load(struct kiln_core *core, const struct kiln_job *job,
			     struct known **known)
{
	enum kiln_status status;

	if (job->program_bytes < sizeof(struct kiln_program_header) ||
	    job->program_bytes > KILN_MAX_PROGRAM_BYTES ||
	    job->args_bytes > KILN_MAX_ARGS_BYTES)
		return KILN_ST_BAD_PROGRAM;
	kiln_mmu_poll_flush(&core->mmu);
	status = bring(core, job, known);
	if (status == KILN_ST_OK && job->args_bytes)
		status = kiln_mmu_read(&core->mmu, job->args, core->args, job->args_bytes,
				       &core->fault_addr);
	return status == KILN_ST_OK ?
		kiln_core_parse(core, job->program_bytes, job->args_bytes) : status;
}

static uint32_t columns_of(const struct kiln_operand *op)
{
	uint32_t n = 1;

	for (unsigned int d = 0; d < op->ndim; d++)
		n *= op->size[d];
	return n;
}

enum kiln_status kiln_core_decode(struct kiln_core *core, enum kiln_engine *engine)
{
	uint32_t most = 0;	/* columns of a stationary matrix */

	for (*engine = 0; *engine < KILN_ENGINES; (*engine)++) {
		struct stream *s = &core->stream[*engine];

		for (s->pc = 0; s->pc < s->count; s->pc++) {
			enum kiln_status status =
				kiln_decode(core, *engine, &s->insn[s->pc], s->count,
					    core->args_bytes);

			if (status != KILN_ST_OK)
				return status;
			if (s->insn[s->pc].opcode == KILN_OP_LOAD_STATIONARY &&
			    columns_of(&s->insn[s->pc].src[0]) > most)
				most = columns_of(&s->insn[s->pc].src[0]);
			if (s->pc % 256 == 0 && aborted(core))
				return __atomic_load_n(&core->abort, __ATOMIC_ACQUIRE);
		}
		s->pc = 0;
	}
	core->few_columns = most && most <= KILN_FEW;
	return KILN_ST_OK;
}

static enum kiln_status begin(struct kiln_core *core, const struct kiln_job *job,
			      enum kiln_engine *engine)
{
	enum kiln_status status;
	struct known *known;

	core->from = job->program;
	memset(core->stream, 0, sizeof(core->stream));
	for (unsigned int i = 0; i < KILN_SEMAPHORES; i++)
		core->sem[i].value = core->sem[i].posts = 0;
	memset(&core->clocks, 0, sizeof(core->clocks));
	kiln_stationary_forget(core);
	if (core->sanitizer)
		kiln_sanitize_start(core);

	status = load(core, job, &known);
	if (status != KILN_ST_OK)
		return status;
	if (known && known->bytes) {
		core->few_columns = known->few_columns;
		*engine = KILN_ENGINES;
		return KILN_ST_OK;
	}
	status = kiln_core_decode(core, engine);
	if (known && status == KILN_ST_OK) {
		known->bytes = job->program_bytes;
		known->few_columns = core->few_columns;
	}
	return status;
}

/* After a pause: the streams stand where they stood, in a program that was checked. */
static enum kiln_status go_on(struct kiln_core *core)
{
	const struct kiln_program_header *header =
		(const void *)((uint8_t *)core + core->program);

	kiln_mmu_poll_flush(&core->mmu);
	return kiln_core_parse(core, header->bytes, header->args_bytes);
}

/* Apart from kiln_core_run(), so that nothing of it is moved past a change of MXCSR. */
static __attribute__((noinline)) void run(struct kiln_core *core, const struct kiln_job *job,
					  struct kiln_outcome *outcome)
{
	enum kiln_engine engine = 0;
	uint64_t end;

	memset(outcome, 0, sizeof(*outcome));
	core->ops = kiln_ops_get(core->level);
	kiln_packed_forget(core);
	core->polls = 0;
	core->lent = 0;
	core->transient = false;
	outcome->status = job ? begin(core, job, &engine) : go_on(core);
	if (outcome->status == KILN_ST_OK)
		outcome->status = kiln_streams_run(core, &engine);
	outcome->paused = outcome->status == KILN_PAUSE;
	if (outcome->paused) {
		kiln_matvec_settle(core);
		kiln_loan_settle(core, NULL);
		return;
	}
	if (core->sanitizer && engine < KILN_ENGINES)
		kiln_sanitize_end(core, outcome->status, engine);
	/* After a fault, too: what is in SBUF and PSUM stays for the context's next job. */
	kiln_matvec_settle(core);
	if (core->transient && outcome->status == KILN_ST_OK) {
		core->loans = 0;
		if (core->sanitizer)
			kiln_sanitize_scrub(core);
	} else {
		kiln_loan_settle(core, NULL);
	}

	end = core->clocks.last;
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		if (core->stream[e].now > end)
			end = core->stream[e].now;
	}
	if (core->watch)
		core->watch->event(core->watch->opaque,
				   &(struct kiln_event){ .program = core->from, .done = end });
	core->tally.time += end;
	outcome->cycles = kiln_time_cycles(core->generation, end);
	if (outcome->status != KILN_ST_OK && engine < KILN_ENGINES) {
		const struct stream *s = &core->stream[engine];

		outcome->engine = engine;
		outcome->instruction = s->pc;
		if (s->pc < s->count)
			outcome->label = s->insn[s->pc].label;
	}
	if (outcome->status == KILN_ST_MEMORY || outcome->status == KILN_ST_PAGE_FAULT ||
	    outcome->status == KILN_ST_BUS)
		outcome->fault_addr = core->fault_addr;
}

void kiln_core_run(struct kiln_core *core, const struct kiln_job *job,
		   struct kiln_outcome *outcome)
{
#ifdef __x86_64__
	/* Whatever the caller computes with: nearest even, nothing flushed. */
	uint32_t mxcsr = __builtin_ia32_stmxcsr();

	__builtin_ia32_ldmxcsr(0x1f80);
	run(core, job, outcome);
	__builtin_ia32_ldmxcsr(mxcsr);
#else
	run(core, job, outcome);
#endif
	/* pointers of this process: not part of the state between jobs */
	core->ops = NULL;
	memset(core->loan, 0, sizeof(core->loan));
	memset(&core->matvec, 0, sizeof(core->matvec));
	for (unsigned int e = 0; e < KILN_ENGINES; e++)
		core->stream[e].insn = NULL;
}
