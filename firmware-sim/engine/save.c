// SPDX-License-Identifier: MIT
/*
 * A core's state between two jobs, or between two instructions of a job that
 * was paused: kiln_core_pause() has settled what was put off or owed, so that
 * all there is stands in memories, registers, semaphores, the PE array and the
 * clocks. What is only there to be fast (packed matrices, programs known, the TLB) stays behind.
 */
#include <string.h>

#include "engine/state.h"
#include "image.h"

#define COLUMN	(1u << KILN_COLUMN_SHIFT)

/* What of SBUF or PSUM has been used; the rest is zero on both sides. */
static void memory(struct kiln_core *core, struct kiln_image *image, uint64_t base,
		   uint32_t pitch, uint32_t bytes, uint64_t used[KILN_PARTITIONS / GROUP])
{
	unsigned int columns = (bytes + COLUMN - 1) / COLUMN;

	for (unsigned int g = 0; g < KILN_PARTITIONS / GROUP; g++) {
		uint64_t left;

		IMAGE(image, used[g]);
		image_check(image, columns == 64 || !(used[g] >> columns),
			    "SBUF or PSUM has more columns than this generation's");
		/* What is refused will be scrubbed by these. */
		if (image->wrong && image->loading)
			used[g] = 0;
		for (left = used[g]; left; left &= left - 1) {
			uint32_t at = (uint32_t)__builtin_ctzll(left) << KILN_COLUMN_SHIFT;
			uint8_t *row = (uint8_t *)core + base + g * GROUP * (size_t)pitch + at;

			for (unsigned int p = 0; p < GROUP; p++, row += pitch)
				image_bytes(image, row, at + COLUMN > bytes ? bytes - at : COLUMN);
		}
	}
}

static void semaphore(struct kiln_image *image, struct semaphore *sem)
{
	uint32_t units = 0;

	IMAGE(image, sem->value);
	IMAGE(image, sem->posts);
	image_check(image, sem->value <= KILN_SEM_MAX && sem->posts <= PENDING,
		    "a semaphore has more than it can hold");
	if (image->wrong)
		return;
	for (uint32_t i = 0; i < sem->posts; i++) {
		IMAGE(image, sem->post[i].time);
		IMAGE(image, sem->post[i].units);
		image_check(image, sem->post[i].units && sem->post[i].units <= KILN_SEM_MAX,
			    "a semaphore's post is empty or too large");
		units += sem->post[i].units;
	}
	image_check(image, units == sem->value, "a semaphore's posts do not add up");
}

static void stream(struct kiln_image *image, struct stream *s)
{
	IMAGE(image, s->reg);
	IMAGE(image, s->pc);
	image_bool(image, &s->halted);
	image_bool(image, &s->blocked);
	image_bool(image, &s->ready);
	IMAGE(image, s->now);
	IMAGE(image, s->waited);
	IMAGE(image, s->done);
	image_check(image, s->pc <= s->count && !s->reg[0],
		    "a stream stands outside of its program");
}

static void stationary(struct kiln_image *image, struct stationary *st)
{
	uint32_t dtype = st->dtype;

	IMAGE(image, dtype);
	IMAGE(image, st->k);
	IMAGE(image, st->m);
	image_bool(image, &st->twice);
	IMAGE(image, st->rows);
	IMAGE(image, st->columns);
	st->dtype = dtype;
	/* A matmul compares all of it with what it wants. */
	image_check(image, dtype < KILN_DTYPES && st->k <= KILN_MATMUL_MAX_K &&
			   st->m <= KILN_MATMUL_MAX_M, "the PE array holds no possible matrix");
}

/* The program's copy, then where its streams stand. */
static void job(struct kiln_core *core, struct kiln_image *image)
{
	enum kiln_engine engine;
	uint8_t *program;
	uint32_t bytes;

	if (image->loading)
		core->program = core->programs + KNOWN * KNOWN_BYTES;
	program = (uint8_t *)core + core->program;
	bytes = ((const struct kiln_program_header *)program)->bytes;
	IMAGE(image, bytes);
	image_check(image, bytes >= sizeof(struct kiln_program_header) &&
			   bytes <= KILN_MAX_PROGRAM_BYTES, "a program has an impossible size");
	if (image->wrong)
		return;
	image_bytes(image, program, bytes);
	IMAGE(image, core->from);
	IMAGE(image, core->args);
	IMAGE(image, core->args_bytes);
	if (image->loading && !image->wrong)
		image_check(image, core->args_bytes <= KILN_MAX_ARGS_BYTES &&
				   kiln_core_parse(core, bytes, core->args_bytes) == KILN_ST_OK &&
				   kiln_core_decode(core, &engine) == KILN_ST_OK,
			    "a program that is under way is none");
	for (unsigned int e = 0; e < KILN_ENGINES; e++)
		stream(image, &core->stream[e]);
	for (unsigned int i = 0; i < KILN_SEMAPHORES; i++)
		semaphore(image, &core->sem[i]);
	IMAGE(image, core->clocks);
	IMAGE(image, core->level);
	image_check(image, core->level < KILN_OPS_LEVELS && kiln_ops_get(core->level),
		    "a program is under way that uses vector instructions which this host lacks");
	stationary(image, &core->stationary);
	IMAGE(image, core->whole);
	for (unsigned int i = 0; i < CELLS; i++) {
		stationary(image, &core->part[i]);
		if (core->part[i].dtype)
			IMAGE(image, core->parts[i]);
	}
	for (unsigned int e = 0; e < KILN_ENGINES; e++)
		core->stream[e].insn = NULL;
}

void kiln_core_image(struct kiln_core *core, struct kiln_image *image, bool paused)
{
	uint32_t abort = core->abort == KILN_PAUSE ? 0 : core->abort;

	memory(core, image, core->sbuf, core->sbuf_pitch, core->sbuf_bytes, core->sbuf_used);
	memory(core, image, core->psum, core->psum_pitch, core->psum_bytes, core->psum_used);
	IMAGE(image, core->tally);
	if (!paused)
		return;
	/* What its last job was aborted for does not concern this one. */
	if (image->loading)
		core->abort = 0;
	job(core, image);
	IMAGE(image, abort);
	image_check(image, abort <= KILN_ST_NO_SPACE, "a core ends for no known reason");
	core->abort = abort;
}
