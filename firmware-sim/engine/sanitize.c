// SPDX-License-Identifier: MIT
/*
 * The race sanitizer.
 *
 * The threads of a core: five engines, and for each engine the transfers that
 * it starts on each ring. Every thread has a vector clock. A post carries that
 * of whoever posts, a wait joins those of the posts that it cannot have done
 * without, a transfer joins its issuer's. A ring does its transfers in order:
 * one knows of those of another engine whose start its own issuer knows of.
 * Two accesses to the same bytes, one of them writing, are a race unless the
 * later one's clock knows of the earlier one, whatever happened to come first
 * this time.
 *
 * Accesses are kept as they are written in instructions, as patterns: one for
 * each thread, place and kind, the last, which the next one replaces. Those
 * that every engine knows of are dropped.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sanitize.h"
#include "engine/state.h"
#include "kiln/isa_check.h"

#define THREADS		(KILN_ENGINES + KILN_ENGINES * KILN_DMA_RINGS)
#define POSTS		64	/* of a semaphore that are told apart */
#define ACCESSES	4096	/* that are remembered */
#define REPORTS		32	/* of a job */
#define SBUF_MAX	(256u << 10)
#define PSUM_MAX	(KILN_PSUM_BANKS * KILN_PSUM_BANK_BYTES)
#define LINE		512
#define LOOPS		4	/* of a pattern */

struct clock {
	uint32_t at[THREADS];
};

/* Runs of so many bytes, at base plus multiples of steps. */
struct pattern {
	uint64_t base;
	uint32_t run;
	uint32_t loops;
	uint32_t n[LOOPS];
	uint64_t step[LOOPS];
};

struct access {
	uint64_t lo, hi;		/* bytes [lo, hi) of each partition, or device addresses */
	uint8_t space, partition, partitions;
	uint8_t thread;
	bool write;
	uint8_t engine;			/* that the instruction stands in */
	uint32_t index;
	uint32_t at;			/* the thread's clock */
	struct pattern pattern;
};

/* Posts of a semaphore, the earliest first, but for those that every taker knows of. */
struct posts {
	uint32_t count;
	uint32_t taken;			/* units of them */
	uint8_t taker;			/* the engine that waits for it */
	struct post {
		uint64_t time;
		uint32_t units;
		uint8_t thread;
		struct clock clock;
	} post[POSTS];
};

#define NOBODY		KILN_ENGINES		/* takers */
#define SEVERAL		(KILN_ENGINES + 1)

#define PARTS		128	/* of a footprint */

struct kiln_footprint {
	uint32_t count;
	uint64_t dropped;		/* accesses that had no room */
	struct part {
		struct access access;
		uint32_t label;
		uint8_t opcode;
	} part[PARTS];
};

struct sanitizer {
	void (*report)(void *opaque, const char *text);
	void *opaque;
	struct clock clock[THREADS];
	struct posts sem[KILN_SEMAPHORES];
	struct access access[ACCESSES];
	uint32_t accesses;
	uint32_t tick;			/* accesses since the last look at what can go */
	uint64_t dropped, merged, more;	/* accesses, posts, reports that had no room */
	struct {
		uint64_t what;
	} told[REPORTS];
	uint32_t reports;
	struct kiln_footprint footprint;
	/* A bit for each byte that somebody wrote since the last scrub. */
	uint8_t sbuf[KILN_PARTITIONS][SBUF_MAX / 8];
	uint8_t psum[KILN_PARTITIONS][PSUM_MAX / 8];
};

static const char *const engine_names[] = { "tensor", "vector", "scalar", "gpsimd", "sync" };

static struct sanitizer *of(struct kiln_core *core)
{
	return (struct sanitizer *)((uint8_t *)core + core->sanitizer);
}

size_t kiln_sanitize_size(void)
{
	return (sizeof(struct sanitizer) + 4095) & ~(size_t)4095;
}

void kiln_sanitize_attach(struct kiln_core *core, void *mem)
{
	core->sanitizer = (uint8_t *)mem - (uint8_t *)core;
}

void kiln_sanitize_report_to(struct kiln_core *core,
			     void (*report)(void *opaque, const char *text), void *opaque)
{
	of(core)->report = report;
	of(core)->opaque = opaque;
}

/* ----------------------------------------------------------------- reports -- */

struct line {
	char text[LINE];
	size_t n;
};

__attribute__((format(printf, 2, 3)))
static void put(struct line *line, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line->text + line->n, LINE - line->n, format, ap);
	va_end(ap);
	line->n = line->n + n < LINE ? line->n + n : LINE - 1;
}

static void say(struct kiln_core *core, const struct line *line)
{
	const struct kiln_memory *memory = core->mmu.memory;
	struct sanitizer *z = of(core);

	if (z->report)
		z->report(z->opaque, line->text);
	else if (memory->host->log)
		memory->host->log(memory->opaque, KILN_SIM_LOG_SANITIZER, line->text);
}

/* Each thing once in a job, and only so many. */
static bool first_time(struct sanitizer *z, uint64_t what)
{
	for (uint32_t i = 0; i < z->reports; i++) {
		if (z->told[i].what == what)
			return false;
	}
	if (z->reports == REPORTS) {
		z->more++;
		return false;
	}
	z->told[z->reports++].what = what;
	return true;
}

/* An address is a register's value and what is added to it. The instruction may be one that was refused. */
static void put_address(struct line *line, const char *format, const struct stream *s,
			unsigned int reg, uint64_t add)
{
	if (reg < KILN_REGISTERS)
		put(line, format, (unsigned long long)(s->reg[reg] + add));
	else
		put(line, "r%u (of %u)", reg, KILN_REGISTERS);
}

/* As in docs/isa.md, with the registers' values in place of their names. */
static void put_operand(struct line *line, const char *name, const struct stream *s,
			const struct kiln_operand *op)
{
	static const char *const dtypes[] = {
		"", "f32", "bf16", "i32", "u32", "u8", "f16", "tf32", "f8e4m3", "f8e5m2", "i8",
		"i16", "u16",
	};
	const char *type = op->dtype < KILN_DTYPES ? dtypes[op->dtype] : "?";

	if (!op->space || !name)
		return;
	if (op->space == KILN_DRAM) {
		put(line, " %s=dram@", name);
		put_address(line, "%#llx", s, op->dram.base, (int64_t)op->dram.offset);
		return;
	}
	put(line, " %s=%s.%s[%u+%u]@", name, op->space == KILN_SBUF ? "sbuf" : "psum", type,
	    op->partition, op->partitions);
	put_address(line, "%llu", s, op->reg, op->addr);
	put(line, "{");
	for (unsigned int d = 0; d < op->ndim && d < 4; d++) {
		put(line, "%s%u", d ? "," : "", op->size[d]);
		if (op->stride[d] != 1 || d + 1 < op->ndim)
			put(line, ":%d", op->stride[d]);
	}
	put(line, "}");
}

static void put_insn(struct line *line, const struct stream *s, const struct kiln_insn *insn)
{
	const struct kiln_rule *rule = &kiln_rules[insn->opcode];

	for (const char *c = rule->name; c && *c; c++)
		put(line, "%c", *c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
	if (!kiln_is_sequencer(insn->opcode)) {
		put_operand(line, rule->dst.name, s, &insn->dst);
		for (unsigned int i = 0; i < 2; i++)
			put_operand(line, rule->src[i].name, s, &insn->src[i]);
	}
	for (unsigned int i = 0; i < 2; i++) {
		if (insn->wait[i].value)
			put(line, " wait=%u:%u", insn->wait[i].sem, insn->wait[i].value);
		if (insn->post[i].value)
			put(line, " post=%u:%u", insn->post[i].sem, insn->post[i].value);
	}
	if (insn->label)
		put(line, " label=%u", insn->label);
}

static void put_place(struct line *line, const struct access *a)
{
	if (a->space == KILN_DRAM)
		put(line, "dram %#llx-%#llx", (unsigned long long)a->lo, (unsigned long long)a->hi - 1);
	else
		put(line, "%s partitions %u-%u bytes %llu-%llu",
		    a->space == KILN_SBUF ? "sbuf" : "psum", a->partition,
		    a->partition + a->partitions - 1, (unsigned long long)a->lo,
		    (unsigned long long)a->hi - 1);
}

static void put_who(struct line *line, const struct access *a)
{
	put(line, "%s[%u]", engine_names[a->engine], a->index);
	if (a->thread >= KILN_ENGINES)
		put(line, " on ring %u", (a->thread - KILN_ENGINES) % KILN_DMA_RINGS);
}

/* ------------------------------------------------------------------ clocks -- */

static void join(struct clock *to, const struct clock *from)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		if (from->at[i] > to->at[i])
			to->at[i] = from->at[i];
	}
}

static bool is_transfer(const struct kiln_insn *insn)
{
	return !kiln_is_sequencer(insn->opcode) && insn->opcode < KILN_OP_LOAD_STATIONARY;
}

static unsigned int ring_thread(unsigned int engine, unsigned int ring)
{
	return KILN_ENGINES + engine * KILN_DMA_RINGS + ring;
}

static unsigned int thread_of(const struct kiln_core *core, const struct stream *s,
			      const struct kiln_insn *insn)
{
	unsigned int engine = s - core->stream;

	return is_transfer(insn) ? ring_thread(engine, insn->func) : engine;
}

/* A transfer begins, at a time of its issuer: who knows of that knows of the transfer. */
static void begin_transfer(struct sanitizer *z, unsigned int engine, unsigned int ring)
{
	struct clock *issuer = &z->clock[engine];
	struct clock *own = &z->clock[ring_thread(engine, ring)];

	join(own, issuer);
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		uint32_t *at = &own->at[ring_thread(e, ring)];

		if (e != engine && issuer->at[e] > *at)
			*at = issuer->at[e];
	}
	own->at[ring_thread(engine, ring)] = ++issuer->at[engine];
}

void kiln_sanitize_start(struct kiln_core *core)
{
	struct sanitizer *z = of(core);

	memset(z->clock, 0, sizeof(z->clock));
	for (unsigned int i = 0; i < KILN_SEMAPHORES; i++) {
		z->sem[i].count = z->sem[i].taken = 0;
		z->sem[i].taker = NOBODY;
	}
	z->accesses = z->tick = z->reports = 0;
	z->dropped = z->merged = z->more = 0;
	z->footprint.count = 0;
	z->footprint.dropped = 0;
}

void kiln_sanitize_scrub(struct kiln_core *core)
{
	struct sanitizer *z = of(core);

	memset(z->sbuf, 0, sizeof(z->sbuf));
	memset(z->psum, 0, sizeof(z->psum));
}

static void drop_post(struct posts *p, uint32_t at)
{
	p->count--;
	memmove(p->post + at, p->post + at + 1, (p->count - at) * sizeof(p->post[0]));
}

/* The earliest posts go, and to (if anybody) knows of them. */
static void take_first(struct posts *p, uint32_t units, struct clock *to)
{
	while (units && p->count) {
		uint32_t n = p->post[0].units < units ? p->post[0].units : units;

		if (to)
			join(to, &p->post[0].clock);
		units -= n;
		p->post[0].units -= n;
		if (!p->post[0].units)
			drop_post(p, 0);
	}
}

/* Units that may have been there although this post, and so what comes after it, was not. */
static uint64_t units_without(const struct posts *p, const struct post *post)
{
	uint64_t units = 0;

	for (uint32_t i = 0; i < p->count; i++) {
		const struct post *q = &p->post[i];

		if (q->clock.at[post->thread] < post->clock.at[post->thread])
			units += q->units;
	}
	return units;
}

/* Of the units that were taken until now, who must have posted some? */
static void take_certain(struct posts *p, struct clock *to)
{
	for (uint32_t i = 0, n; i < p->count;) {
		if (units_without(p, &p->post[i]) >= p->taken) {
			i++;
			continue;
		}
		/* What went before this one is certain, too: look from the start again. */
		join(to, &p->post[i].clock);
		n = p->post[i].units < p->taken ? p->post[i].units : p->taken;
		p->taken -= n;
		p->post[i].units -= n;
		if (!p->post[i].units)
			drop_post(p, i);
		i = 0;
	}
}

void kiln_sanitize_take(struct kiln_core *core, const struct stream *s,
			const struct kiln_sync wait[2])
{
	struct sanitizer *z = of(core);
	uint8_t engine = s - core->stream;

	for (unsigned int i = 0; i < 2; i++) {
		struct posts *p = &z->sem[wait[i].sem];

		if (!wait[i].value)
			continue;
		if (p->taker == NOBODY) {
			p->taker = engine;
		} else if (p->taker != engine && p->taker != SEVERAL) {
			/* Who took which of them cannot be told: as it was this time. */
			take_first(p, p->taken, NULL);
			p->taker = SEVERAL;
		}
		if (p->taker == SEVERAL) {
			take_first(p, wait[i].value, &z->clock[engine]);
		} else {
			p->taken += wait[i].value;
			take_certain(p, &z->clock[engine]);
		}
	}
}

void kiln_sanitize_post(struct kiln_core *core, const struct stream *s,
			const struct kiln_insn *insn, uint64_t time)
{
	struct sanitizer *z = of(core);
	unsigned int thread = thread_of(core, s, insn);
	struct clock *clock = &z->clock[thread];

	for (unsigned int i = 0; i < 2; i++) {
		struct posts *p = &z->sem[insn->post[i].sem];
		uint32_t at = p->count;

		if (!insn->post[i].value)
			continue;
		if (at == POSTS) {	/* too many to tell apart: who takes one knows of both */
			p->post[at - 1].units += insn->post[i].value;
			join(&p->post[at - 1].clock, clock);
			z->merged++;
			continue;
		}
		while (at && p->post[at - 1].time > time)
			at--;
		memmove(&p->post[at + 1], &p->post[at], (p->count - at) * sizeof(p->post[0]));
		p->post[at].time = time;
		p->post[at].units = insn->post[i].value;
		p->post[at].thread = thread;
		p->post[at].clock = *clock;
		p->count++;
	}
	if (thread < KILN_ENGINES)	/* what comes now is after it */
		clock->at[thread]++;
}

/* ---------------------------------------------------------------- patterns -- */

/* Bytes from the first to the last that loops from this one on reach. */
static uint64_t extent(const struct pattern *p, unsigned int loop)
{
	uint64_t bytes = p->run;

	for (; loop < p->loops; loop++)
		bytes += (p->n[loop] - 1) * p->step[loop];
	return bytes;
}

static bool touches(const struct pattern *p, unsigned int loop, uint64_t base, uint64_t lo,
		    uint64_t hi)
{
	uint64_t reach, step, i;

	if (loop >= p->loops || loop >= LOOPS)
		return base < hi && base + p->run > lo;
	if (base >= hi)
		return false;
	reach = extent(p, loop + 1);
	step = p->step[loop];
	i = !step || base + reach > lo ? 0 : (lo - base - reach) / step + 1;
	for (; i < p->n[loop] && base + i * step < hi; i++) {
		if (touches(p, loop + 1, base + i * step, lo, hi))
			return true;
		if (!step)
			break;
	}
	return false;
}

static bool any_run(const struct pattern *p, unsigned int loop, uint64_t base,
		    const struct pattern *other)
{
	if (loop >= p->loops || loop >= LOOPS)
		return touches(other, 0, other->base, base, base + p->run);
	for (uint32_t i = 0; i < p->n[loop]; i++) {
		if (any_run(p, loop + 1, base + i * p->step[loop], other))
			return true;
	}
	return false;
}

static uint64_t run_count(const struct pattern *p)
{
	uint64_t n = 1;

	for (unsigned int i = 0; i < p->loops; i++)
		n *= p->n[i];
	return n;
}

static bool overlap(const struct access *a, const struct access *b)
{
	if (a->space != b->space || a->lo >= b->hi || b->lo >= a->hi ||
	    a->partition >= b->partition + b->partitions ||
	    b->partition >= a->partition + a->partitions)
		return false;
	if (run_count(&a->pattern) > run_count(&b->pattern))
		return any_run(&b->pattern, 0, b->pattern.base, &a->pattern);
	return any_run(&a->pattern, 0, a->pattern.base, &b->pattern);
}

/*
 * Loops outermost first, steps in bytes. It is the set that counts: loops that
 * go backwards are turned around, those that stay are left out, and long steps
 * come first, so that a matrix turned over is the same few runs.
 */
static void set_pattern(struct access *a, uint64_t base, unsigned int loops, const uint32_t *n,
			const int64_t *step, uint32_t esize)
{
	struct pattern *p = &a->pattern;

	memset(p, 0, sizeof(*p));
	p->base = base;
	p->run = esize;
	for (unsigned int i = 0; i < loops; i++) {
		uint64_t bytes = step[i] < 0 ? -step[i] : step[i];
		unsigned int at;

		if (n[i] == 1 || !bytes)
			continue;
		if (step[i] < 0)
			p->base += (int64_t)(n[i] - 1) * step[i];
		for (at = p->loops++; at && p->step[at - 1] < bytes; at--) {
			p->n[at] = p->n[at - 1];
			p->step[at] = p->step[at - 1];
		}
		p->n[at] = n[i];
		p->step[at] = bytes;
	}
	/* What follows one another is one run. */
	while (p->loops && p->step[p->loops - 1] == p->run &&
	       (uint64_t)p->run * p->n[p->loops - 1] <= UINT32_MAX) {
		p->run *= p->n[p->loops - 1];
		p->loops--;
	}
	a->lo = p->base;
	a->hi = p->base + extent(p, 0);
}

/* --------------------------------------------------- reads of what is not -- */

static uint8_t *written(struct sanitizer *z, uint8_t space, unsigned int partition)
{
	return space == KILN_PSUM ? z->psum[partition] : z->sbuf[partition];
}

static void mark(uint8_t *bits, uint64_t lo, uint64_t hi)
{
	for (; lo < hi && lo % 8; lo++)
		bits[lo / 8] |= 1 << lo % 8;
	if (hi - lo >= 8)
		memset(bits + lo / 8, 0xff, (hi - lo) / 8);
	for (lo += (hi - lo) & ~7ull; lo < hi; lo++)
		bits[lo / 8] |= 1 << lo % 8;
}

/* The first byte of [lo, hi) without a mark; hi: none. */
static uint64_t unmarked(const uint8_t *bits, uint64_t lo, uint64_t hi)
{
	for (; lo < hi; lo++) {
		while (lo % 8 == 0 && hi - lo >= 8 && bits[lo / 8] == 0xff)
			lo += 8;
		if (lo < hi && !(bits[lo / 8] & 1 << lo % 8))
			return lo;
	}
	return hi;
}

/* Mark all runs, or find the first byte that is not; UINT64_MAX: all are. */
static uint64_t each_run(uint8_t *bits, const struct pattern *p, unsigned int loop,
			 uint64_t base, bool write)
{
	if (loop >= p->loops || loop >= LOOPS) {
		uint64_t at;

		if (write) {
			mark(bits, base, base + p->run);
			return UINT64_MAX;
		}
		at = unmarked(bits, base, base + p->run);
		return at < base + p->run ? at : UINT64_MAX;
	}
	for (uint32_t i = 0; i < p->n[loop]; i++) {
		uint64_t at = each_run(bits, p, loop + 1, base + i * p->step[loop], write);

		if (at != UINT64_MAX)
			return at;
	}
	return UINT64_MAX;
}

static void check_written(struct kiln_core *core, const struct stream *s,
			  const struct kiln_insn *insn, const struct access *a)
{
	struct sanitizer *z = of(core);

	for (unsigned int p = a->partition; p < a->partition + a->partitions; p++) {
		uint64_t at = each_run(written(z, a->space, p), &a->pattern, 0, a->pattern.base,
				       false);
		struct line line = { .n = 0 };

		if (at == UINT64_MAX)
			continue;
		if (!first_time(z, 1ull << 63 | (uint64_t)a->engine << 32 | a->index))
			return;
		put(&line, "sanitizer: uninitialised: ");
		put_who(&line, a);
		put(&line, " reads %s partition %u byte %llu, which nobody wrote: ",
		    a->space == KILN_SBUF ? "sbuf" : "psum", p, (unsigned long long)at);
		put_insn(&line, s, insn);
		say(core, &line);
		return;
	}
}

struct hbm_walk {
	struct kiln_core *core;
	bool write;
	uint64_t clean;		/* a page in which nothing is fresh any more */
	bool found;
	uint64_t va;		/* the first byte that nobody wrote */
};

/* True: a byte was found, or there is no memory, which the engine will say. */
static bool walk_run(struct hbm_walk *walk, uint64_t va, uint64_t bytes)
{
	const struct kiln_memory *memory = walk->core->mmu.memory;
	struct kiln_extent extent;

	while (bytes) {
		uint64_t n = 4096 - va % 4096, fault, at, first;

		if (n > bytes)
			n = bytes;
		if (va / 4096 != walk->clean) {
			if (kiln_mmu_translate(&walk->core->mmu, va, n, walk->write, &extent,
					       &fault) != KILN_ST_OK)
				return true;
			at = extent.hbm ? (uint64_t)(extent.hbm - memory->hbm) : 0;
			if (extent.hbm && walk->write) {
				kiln_fresh_set(memory, at, n, false);
			} else if (extent.hbm && kiln_fresh_find(memory, at, n, &first)) {
				walk->found = true;
				walk->va = va + (first - at);
				return true;
			}
			if (!extent.hbm || !kiln_fresh_find(memory, at & ~4095ull, 4096, &first))
				walk->clean = va / 4096;
		}
		va += n;
		bytes -= n;
	}
	return false;
}

static bool walk_hbm(struct hbm_walk *walk, const struct pattern *p, unsigned int loop,
		     uint64_t base)
{
	if (loop >= p->loops || loop >= LOOPS)
		return walk_run(walk, base, p->run);
	for (uint32_t i = 0; i < p->n[loop]; i++)
		if (walk_hbm(walk, p, loop + 1, base + i * p->step[loop]))
			return true;
	return false;
}

/* A read of device memory that nobody wrote is told of; what is written is from now on. */
static void check_hbm(struct kiln_core *core, const struct stream *s,
		      const struct kiln_insn *insn, const struct access *a, bool write)
{
	struct hbm_walk walk = { .core = core, .write = write, .clean = UINT64_MAX };
	struct line line = { .n = 0 };

	if (!walk_hbm(&walk, &a->pattern, 0, a->pattern.base) || !walk.found ||
	    !first_time(of(core), 1ull << 63 | (uint64_t)a->engine << 32 | a->index))
		return;
	put(&line, "sanitizer: uninitialised: ");
	put_who(&line, a);
	put(&line, " reads dram %#llx, which nobody wrote: ", (unsigned long long)walk.va);
	put_insn(&line, s, insn);
	say(core, &line);
}

/* -------------------------------------------------------------- footprints -- */

/* Make a pattern of two that follow one another; false: they do not. */
static bool extend(struct access *to, const struct access *a)
{
	struct pattern *p = &to->pattern;
	const struct pattern *q = &a->pattern;

	if (p->loops != q->loops)
		return false;
	if (!p->loops) {	/* runs that touch */
		uint64_t lo = p->base < q->base ? p->base : q->base;
		uint64_t hi = to->hi > a->hi ? to->hi : a->hi;

		if (a->lo > to->hi || a->hi < to->lo || hi - lo > UINT32_MAX)
			return false;
		p->base = lo;
		p->run = hi - lo;
	} else {
		bool same = !memcmp(p->step, q->step, sizeof(p->step)) &&
			    !memcmp(p->n + 1, q->n + 1, sizeof(p->n) - sizeof(p->n[0]));

		if (same && p->n[0] == q->n[0] && q->base >= p->base &&
		    q->base + q->run <= p->base + p->run)
			return true;	/* within it */
		if (same && p->n[0] == q->n[0] && q->base == p->base + p->run &&
		    (uint64_t)p->run + q->run <= p->step[p->loops - 1])
			p->run += q->run;
		else if (same && p->run == q->run && q->base == p->base + p->n[0] * p->step[0] &&
			 (uint64_t)p->n[0] + q->n[0] <= UINT32_MAX)
			p->n[0] += q->n[0];
		else
			return false;
	}
	to->lo = p->base;
	to->hi = p->base + extent(p, 0);
	return true;
}

static void note_footprint(struct kiln_footprint *f, const struct access *a,
			   const struct kiln_insn *insn)
{
	for (uint32_t i = 0; i < f->count; i++) {
		struct access *b = &f->part[i].access;

		if (b->write == a->write && b->engine == a->engine && b->index == a->index &&
		    extend(b, a))
			return;
	}
	if (f->count == PARTS) {
		f->dropped++;
		return;
	}
	f->part[f->count++] = (struct part){ *a, insn->label, insn->opcode };
}

size_t kiln_footprint_size(void)
{
	return sizeof(struct kiln_footprint);
}

struct kiln_footprint *kiln_sanitize_footprint(struct kiln_core *core)
{
	return &of(core)->footprint;
}

static void put_part(char *text, size_t size, const struct part *p)
{
	const struct access *a = &p->access;
	struct line line = { .n = 0 };

	put(&line, "%s[%u] %s dram %#llx-%#llx (%s", engine_names[a->engine], a->index,
	    a->write ? "writes" : "reads", (unsigned long long)a->lo,
	    (unsigned long long)a->hi - 1, kiln_rules[p->opcode].name);
	if (p->label)
		put(&line, " label=%u", p->label);
	put(&line, ")");
	snprintf(text, size, "%.*s", (int)size - 1, line.text);
}

bool kiln_footprint_race(const struct kiln_footprint *a, const struct kiln_footprint *b,
			 struct kiln_footprint_race *race)
{
	for (uint32_t i = 0; i < a->count; i++) {
		for (uint32_t j = 0; j < b->count; j++) {
			const struct part *p = &a->part[i], *q = &b->part[j];

			if (!(p->access.write || q->access.write) ||
			    !overlap(&p->access, &q->access))
				continue;
			put_part(race->a, sizeof(race->a), p);
			put_part(race->b, sizeof(race->b), q);
			race->what = (uint64_t)p->access.engine << 60 |
				     (uint64_t)q->access.engine << 56 |
				     (uint64_t)(p->access.index & 0xfffffff) << 28 |
				     (q->access.index & 0xfffffff);
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------- races -- */

/* Drop what every engine that goes on knows of, then, if there is no room, the oldest. */
static void make_room(struct kiln_core *core)
{
	struct sanitizer *z = of(core);
	uint32_t kept = 0;

	z->tick = 0;
	for (uint32_t i = 0; i < z->accesses; i++) {
		const struct access *a = &z->access[i];
		bool known = true;

		for (unsigned int e = 0; e < KILN_ENGINES; e++)
			known &= core->stream[e].halted || !core->stream[e].count ||
				 e == a->thread || z->clock[e].at[a->thread] >= a->at;
		if (!known)
			z->access[kept++] = *a;
	}
	z->accesses = kept;
	if (kept == ACCESSES) {
		memmove(z->access, z->access + ACCESSES / 4,
			(ACCESSES - ACCESSES / 4) * sizeof(z->access[0]));
		z->accesses -= ACCESSES / 4;
		z->dropped += ACCESSES / 4;
	}
}

static bool same_place(const struct access *a, const struct access *b)
{
	return a->thread == b->thread && a->write == b->write && a->space == b->space &&
	       a->lo == b->lo && a->hi == b->hi && a->partition == b->partition &&
	       a->partitions == b->partitions &&
	       !memcmp(&a->pattern, &b->pattern, sizeof(a->pattern));
}

static void race(struct kiln_core *core, const struct stream *s, const struct kiln_insn *insn,
		 const struct access *a, const struct access *b, const char *kind)
{
	const struct stream *other = &core->stream[b->engine];
	struct line line = { .n = 0 };

	if (!first_time(of(core), (uint64_t)(a->engine + 1) << 56 | (uint64_t)b->engine << 48 |
			(uint64_t)(a->index & 0xffffff) << 24 | (b->index & 0xffffff)))
		return;
	put(&line, "sanitizer: %s: ", kind);
	put_who(&line, a);
	put(&line, " %s ", a->write ? "writes" : "reads");
	put_place(&line, a);
	put(&line, ", nothing orders it with ");
	put_who(&line, b);
	put(&line, ", which %s ", b->write ? "writes" : "reads");
	put_place(&line, b);
	put(&line, ": ");
	put_insn(&line, s, insn);
	put(&line, " | ");
	put_insn(&line, other, &other->insn[b->index]);
	say(core, &line);
}

/* To read a bank that somebody writes only costs time, and some do it knowingly. */
static bool same_bank(const struct access *a, const struct access *b)
{
	return a->space == KILN_PSUM && b->space == KILN_PSUM &&
	       a->lo / KILN_PSUM_BANK_BYTES <= (b->hi - 1) / KILN_PSUM_BANK_BYTES &&
	       b->lo / KILN_PSUM_BANK_BYTES <= (a->hi - 1) / KILN_PSUM_BANK_BYTES &&
	       a->partition < b->partition + b->partitions &&
	       b->partition < a->partition + a->partitions;
}

/* What one operand of an instruction touches: one access, or, of rows, several. */
static void note_all(struct kiln_core *core, const struct stream *s,
		     const struct kiln_insn *insn, struct access *all, uint32_t n, bool write)
{
	struct sanitizer *z = of(core);
	unsigned int thread = thread_of(core, s, insn);
	const struct clock *clock = &z->clock[thread];
	struct access *place = NULL;

	for (struct access *a = all; a < all + n; a++) {
		a->thread = thread;
		a->engine = s - core->stream;
		a->index = insn - s->insn;
		a->write = write;
		a->at = clock->at[thread];
		if (a->space == KILN_DRAM) {
			note_footprint(&z->footprint, a, insn);
			if (core->mmu.memory->fresh)
				check_hbm(core, s, insn, a, write);
		} else if (!write) {
			check_written(core, s, insn, a);
		}
	}
	for (uint32_t i = 0; i < z->accesses; i++) {
		struct access *b = &z->access[i];

		if (b->thread == thread) {
			if (n == 1 && !place && same_place(all, b))
				place = b;
			continue;
		}
		if (!(write || b->write) || clock->at[b->thread] >= b->at)
			continue;
		for (struct access *a = all; a < all + n; a++) {
			if (overlap(a, b))
				race(core, s, insn, a, b, "race");
			else if (write && b->write && same_bank(a, b))
				race(core, s, insn, a, b, "bank collision");
		}
	}
	for (struct access *a = all; a < all + n; a++) {
		if (write && a->space != KILN_DRAM)
			for (unsigned int p = a->partition; p < a->partition + a->partitions; p++)
				each_run(written(z, a->space, p), &a->pattern, 0, a->pattern.base,
					 true);
		if (!place) {
			if (z->accesses == ACCESSES || ++z->tick > ACCESSES / 8)
				make_room(core);
			place = &z->access[z->accesses++];
		}
		*place = *a;
		place = NULL;
	}
}

static void note(struct kiln_core *core, const struct stream *s, const struct kiln_insn *insn,
		 struct access *a, bool write)
{
	note_all(core, s, insn, a, 1, write);
}

/* ---------------------------------------------------------------- accesses -- */

static void note_tile(struct kiln_core *core, const struct stream *s,
		      const struct kiln_insn *insn, const struct kiln_operand *op, bool write)
{
	struct access a = { .space = op->space, .partition = op->partition,
			    .partitions = op->partitions };
	uint32_t lo, hi, n[4], esize = kiln_dtype_bytes(op->dtype);
	uint64_t fault = core->fault_addr;
	int64_t step[4];

	if (kiln_operand_range(core, op, s->reg[op->reg], &lo, &hi) != KILN_ST_OK)
		return;		/* the engine says so itself */
	core->fault_addr = fault;
	for (unsigned int d = 0; d < op->ndim; d++) {
		n[d] = op->size[d];
		step[d] = (int64_t)op->stride[d] * esize;
	}
	set_pattern(&a, op->addr + s->reg[op->reg], op->ndim, n, step, esize);
	note(core, s, insn, &a, write);
}

static void note_column(struct kiln_core *core, const struct stream *s,
			const struct kiln_insn *insn, const struct kiln_column *col,
			const struct kiln_operand *data, unsigned int n, bool write)
{
	const struct kiln_operand op = {
		.space = col->space, .dtype = col->dtype, .partition = data->partition,
		.partitions = data->partitions, .addr = col->addr, .reg = col->reg, .ndim = 1,
		.size = { n }, .stride = { 1 },
	};

	note_tile(core, s, insn, &op, write);
}

/* Device memory, with the sizes of the other side: outermost its partitions. */
static void note_dram(struct kiln_core *core, const struct stream *s,
		      const struct kiln_insn *insn, const struct kiln_operand *op,
		      const struct kiln_operand *shape, bool write)
{
	struct access a = { .space = KILN_DRAM, .partitions = 1 };
	uint32_t n[4] = { shape->partitions }, esize = kiln_dtype_bytes(shape->dtype);
	int64_t step[4] = { (int64_t)op->dram.step[0] * esize };
	unsigned int loops = 1;

	for (; loops <= shape->ndim && loops < 4; loops++) {
		n[loops] = shape->size[loops - 1];
		step[loops] = (int64_t)op->dram.step[loops] * esize;
	}
	set_pattern(&a, s->reg[op->dram.base] + (int64_t)op->dram.offset, loops, n, step, esize);
	note(core, s, insn, &a, write);
}

static void note_side(struct kiln_core *core, const struct stream *s,
		      const struct kiln_insn *insn, const struct kiln_operand *op,
		      const struct kiln_operand *shape, bool write)
{
	if (op->space == KILN_DRAM)
		note_dram(core, s, insn, op, shape, write);
	else if (op->space)
		note_tile(core, s, insn, op, write);
}

static int by_row(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Rows whose numbers are data: in order, those at equal distances as one access. */
static void note_rows(struct kiln_core *core, const struct stream *s,
		      const struct kiln_insn *insn, const struct kiln_operand *op,
		      const struct kiln_operand *shape, bool write)
{
	uint64_t base = s->reg[op->dram.base] + (int64_t)op->dram.offset;
	uint64_t limit = s->reg[insn->func1], fault = core->fault_addr;
	uint32_t n[4], esize = kiln_dtype_bytes(shape->dtype), rows = 0, runs = 0, count;
	struct access access[KILN_PARTITIONS];
	int64_t row[KILN_PARTITIONS], step[4];
	bool known;

	known = kiln_dma_rows(core, s, &insn->src[1], shape->partitions, row) == KILN_ST_OK;
	core->fault_addr = fault;
	if (!known || core->time_only)
		return;
	for (unsigned int p = 0; p < shape->partitions; p++)
		if (!insn->func1 || (uint64_t)row[p] < limit)
			row[rows++] = row[p];
	qsort(row, rows, sizeof(row[0]), by_row);
	for (unsigned int d = 0; d < shape->ndim; d++) {
		n[d + 1] = shape->size[d];
		step[d + 1] = (int64_t)op->dram.step[d + 1] * esize;
	}
	for (uint32_t i = 0; i < rows; i += count) {
		for (count = 1; i + count < rows; count++)
			if (count > 1 && row[i + count] - row[i + count - 1] != row[i + 1] - row[i])
				break;
		n[0] = count;
		step[0] = count > 1 ? (row[i + 1] - row[i]) * op->dram.step[0] * esize : 0;
		access[runs] = (struct access){ .space = KILN_DRAM, .partitions = 1 };
		set_pattern(&access[runs++], base + row[i] * (op->dram.step[0] * (int64_t)esize),
			    shape->ndim + 1, n, step, esize);
	}
	note_all(core, s, insn, access, runs, write);
}

static void note_transfer(struct kiln_core *core, const struct stream *s,
			  const struct kiln_insn *insn)
{
	bool adds = insn->flags & KILN_F_ACCUMULATE;
	const struct kiln_operand *shape = insn->dst.space == KILN_SBUF ? &insn->dst :
		insn->src[0].space == KILN_SBUF ? &insn->src[0] : &insn->src[1];
	struct kiln_operand turned, index;

	switch (insn->opcode) {
	case KILN_OP_DMA_COPY:
		note_side(core, s, insn, &insn->src[0], shape, false);
		if (adds)
			note_side(core, s, insn, &insn->dst, shape, false);
		note_side(core, s, insn, &insn->dst, shape, true);
		break;
	case KILN_OP_DMA_TRANSPOSE:
		/* The source's partitions are dst's elements. */
		turned = insn->dst;
		turned.partitions = insn->dst.size[0];
		turned.size[0] = insn->dst.partitions;
		note_side(core, s, insn, &insn->src[0], &turned, false);
		note_tile(core, s, insn, &insn->dst, true);
		break;
	default:
		index = insn->src[1];
		if (index.space == KILN_SBUF) {
			note_tile(core, s, insn, &index, false);
		} else {
			turned = *shape;
			turned.dtype = KILN_U32;
			turned.ndim = 0;
			note_dram(core, s, insn, &index, &turned, false);
		}
		if (insn->opcode == KILN_OP_DMA_GATHER) {
			note_rows(core, s, insn, &insn->src[0], shape, false);
			if (adds)
				note_tile(core, s, insn, &insn->dst, false);
			note_tile(core, s, insn, &insn->dst, true);
		} else {
			note_tile(core, s, insn, &insn->src[0], false);
			if (adds)
				note_rows(core, s, insn, &insn->dst, shape, false);
			note_rows(core, s, insn, &insn->dst, shape, true);
		}
		break;
	}
}

static void note_compute(struct kiln_core *core, const struct stream *s,
			 const struct kiln_insn *insn)
{
	const struct kiln_rule *rule = &kiln_rules[insn->opcode];
	bool on = insn->flags & KILN_F_CONTINUE;

	/* What is read comes before what is written: an instruction may work in place. */
	for (unsigned int pass = 0; pass < 2; pass++) {
		for (unsigned int i = 0; i < 2; i++) {
			const struct kiln_operand *op = &insn->src[i];
			bool write = rule->src[i].how == R_WRITTEN;

			if ((op->space == KILN_SBUF || op->space == KILN_PSUM) &&
			    (pass ? write : !write || on))
				note_tile(core, s, insn, op, pass);
		}
		for (unsigned int i = 0; i < 2; i++) {
			const struct kiln_column *col = &insn->col[i];
			uint8_t how = rule->col[i].how;
			bool write = how == R_WRITTEN || how == R_WRITTEN8;
			const struct kiln_operand *data = insn->src[0].space && how == R_READ ?
				&insn->src[0] : &insn->dst;

			if (col->space && (pass ? write : !write || on))
				note_column(core, s, insn, col, data, how == R_WRITTEN8 ? 8 : 1,
					    pass);
		}
		if (insn->dst.space &&
		    (pass || (insn->opcode == KILN_OP_MATMUL &&
			      insn->flags & KILN_F_ACCUMULATE)))
			note_tile(core, s, insn, &insn->dst, pass);
	}
}

void kiln_sanitize_access(struct kiln_core *core, const struct stream *s,
			  const struct kiln_insn *insn)
{
	struct sanitizer *z = of(core);

	if (is_transfer(insn)) {
		begin_transfer(z, s - core->stream, insn->func);
		note_transfer(core, s, insn);
	} else {
		z->clock[s - core->stream].at[s - core->stream]++;
		note_compute(core, s, insn);
	}
}

/* ------------------------------------------------------------------ its end -- */

/* Who would post this semaphore; the first that stands in a stream that is not through. */
static void put_poster(const struct kiln_core *core, struct line *line, unsigned int sem)
{
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		const struct stream *s = &core->stream[e];

		for (uint32_t i = 0; i < s->count; i++) {
			const struct kiln_sync *post = s->insn[i].post;

			if ((post[0].value && post[0].sem == sem) ||
			    (post[1].value && post[1].sem == sem)) {
				put(line, ", posted by %s[%u], which %s", engine_names[e], i,
				    s->halted ? "is through" : "waits itself");
				return;
			}
		}
	}
	put(line, ", which nobody posts");
}

/* Each engine that waits, for what; and of a program that took too long, who did not wait. */
static void tell_stuck(struct kiln_core *core, const char *kind)
{
	for (unsigned int e = 0; e < KILN_ENGINES; e++) {
		const struct stream *s = &core->stream[e];
		struct line line = { .n = 0 };

		if (s->halted || s->pc >= s->count)
			continue;
		put(&line, "sanitizer: %s: %s[%u] %s", kind, engine_names[e], s->pc,
		    s->blocked ? "waits for" : "has not come to its end");
		for (unsigned int i = 0; i < 2; i++) {
			const struct kiln_sync *wait = &s->insn[s->pc].wait[i];

			if (!s->blocked || !wait->value ||
			    core->sem[wait->sem].value >= wait->value)
				continue;
			put(&line, " semaphore %u to reach %u (it is %u)", wait->sem, wait->value,
			    core->sem[wait->sem].value);
			put_poster(core, &line, wait->sem);
		}
		put(&line, ": ");
		put_insn(&line, s, &s->insn[s->pc]);
		say(core, &line);
	}
}

static bool overflows(const struct kiln_core *core, const struct kiln_insn *insn)
{
	for (unsigned int i = 0; i < 2; i++)
		if (core->sem[insn->post[i].sem].value + insn->post[i].value > KILN_SEM_MAX)
			return true;
	return false;
}

void kiln_sanitize_end(struct kiln_core *core, enum kiln_status status,
		       enum kiln_engine engine)
{
	static const char *const why[] = {
		[KILN_ST_ILLEGAL] = "this engine or generation does not have it",
		[KILN_ST_OPERAND] = "an operand is beyond the instruction's limits",
		[KILN_ST_MEMORY] = "beyond SBUF or PSUM, or the rows of a table",
		[KILN_ST_PAGE_FAULT] = "device memory that is not mapped, or not for writing",
		[KILN_ST_BUS] = "host memory that does not answer",
	};
	struct sanitizer *z = of(core);
	const struct stream *s = &core->stream[engine];
	struct line line = { .n = 0 };

	if (status == KILN_ST_DEADLOCK) {
		tell_stuck(core, "deadlock");
	} else if (status == KILN_ST_TIMEOUT) {
		tell_stuck(core, "timeout");
	} else if (status == KILN_ST_OPERAND && s->pc < s->count && overflows(core, &s->insn[s->pc])) {
		put(&line, "sanitizer: limit: %s[%u] posts a semaphore beyond %u, which nobody takes: ",
		    engine_names[engine], s->pc, KILN_SEM_MAX);
		put_insn(&line, s, &s->insn[s->pc]);
		say(core, &line);
	} else if (status < sizeof(why) / sizeof(why[0]) && why[status] && s->pc < s->count) {
		put(&line, "sanitizer: limit: %s[%u]: %s, at %#llx: ", engine_names[engine], s->pc,
		    why[status], (unsigned long long)core->fault_addr);
		put_insn(&line, s, &s->insn[s->pc]);
		say(core, &line);
	}
	if (z->more || z->dropped || z->merged) {
		line.n = 0;
		put(&line, "sanitizer: not told: %llu more reports; forgotten: %llu accesses, %llu posts",
		    (unsigned long long)z->more, (unsigned long long)z->dropped,
		    (unsigned long long)z->merged);
		say(core, &line);
	}
}
