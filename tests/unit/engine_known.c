// SPDX-License-Identifier: MIT
/*
 * Programs that a core remembers: it runs what is in device memory when the job
 * begins, as a core does that remembers nothing, with the same cycles.
 */
#include "unit/engine.h"

#define OTHER_PAGE	0x200000ull	/* where another context has its program */

/* Writes value over the first element of SBUF's first partition, after pad NOPs. */
static void some_program(struct prog *p, float value, unsigned int pad)
{
	struct kiln_insn *insn;

	memset(p, 0, sizeof(*p));
	for (unsigned int i = 0; i < pad; i++)
		emit(p, KILN_VECTOR, KILN_OP_NOP);
	insn = emit(p, KILN_VECTOR, KILN_OP_MEMSET);
	insn->dst = tile_at(KILN_SBUF, KILN_F32, 0, 4, 0, 1);
	insn->imm[0] = value;
}

static float result(struct machine *m)
{
	return *(float *)sbuf_at(m, 0, 0);
}

static unsigned int known(const struct machine *m)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < KNOWN; i++)
		n += m->core->known[i].bytes != 0;
	return n;
}

static void forget(struct machine *m)
{
	memset(m->core->known, 0, sizeof(m->core->known));
}

static struct kiln_outcome run_at(struct machine *m, uint64_t va, uint32_t bytes)
{
	struct kiln_job job = { .program = va, .program_bytes = bytes, .args = ARGS,
				.args_bytes = sizeof(m->args) };
	struct kiln_outcome o;

	kiln_core_run(m->core, &job, &o);
	return o;
}

static bool same_outcome(const struct kiln_outcome *a, const struct kiln_outcome *b)
{
	if (a->status == b->status && a->engine == b->engine && a->cycles == b->cycles &&
	    a->instruction == b->instruction && a->fault_addr == b->fault_addr)
		return true;
	printf("# known: status %d, engine %u, instruction %u, %" PRIu64 " cycles, address %#" PRIx64 "\n",
	       a->status, a->engine, a->instruction, a->cycles, a->fault_addr);
	printf("# anew: status %d, engine %u, instruction %u, %" PRIu64 " cycles, address %#" PRIx64 "\n",
	       b->status, b->engine, b->instruction, b->cycles, b->fault_addr);
	return false;
}

static void test_known(struct machine *m)
{
	struct kiln_outcome first, o;
	static struct prog p;
	uint32_t bytes;

	some_program(&p, 3, 20);
	bytes = place(m, &p);
	first = run_placed(m, bytes);
	ok(first.status == KILN_ST_OK && result(m) == 3 && known(m) == 1,
	   "a program is known when it has run: %u", known(m));
	*(float *)sbuf_at(m, 0, 0) = 0;
	o = run_placed(m, bytes);
	ok(same_outcome(&o, &first) && result(m) == 3 && known(m) == 1,
	   "the second time it does the same");
	some_program(&p, 5, 20);
	place(m, &p);
	o = run_placed(m, bytes);
	ok(same_outcome(&o, &first) && result(m) == 5 && known(m) == 1,
	   "a number in its last instruction is another one: %g", result(m));

	m->hbm[PROGRAM + sizeof(struct kiln_program_header)] = 0xff;
	o = run_placed(m, bytes);
	ok(o.status == KILN_ST_ILLEGAL && !o.instruction && known(m) == 0,
	   "an instruction that is none: status %d", o.status);
	o = run_placed(m, bytes);
	ok(o.status == KILN_ST_ILLEGAL && known(m) == 0, "and the next time: status %d", o.status);
	place(m, &p);
	o = run_placed(m, bytes);
	ok(same_outcome(&o, &first) && known(m) == 1, "it is back");
	o = run_placed(m, bytes - 64);
	ok(o.status == KILN_ST_BAD_PROGRAM, "a command that has less of it: status %d", o.status);
	run_placed(m, bytes);
	((struct kiln_program_header *)(m->hbm + PROGRAM))->args_bytes = sizeof(m->args) + 8;
	o = run_placed(m, bytes);
	ok(o.status == KILN_ST_BAD_PROGRAM, "it wants more arguments: status %d", o.status);
}

/* Two contexts: what is at one address is not the same program in both. */
static void test_contexts(struct machine *m)
{
	static struct prog p;
	uint32_t bytes;

	forget(m);
	some_program(&p, 7, 20);
	bytes = place(m, &p);
	memcpy(m->hbm + OTHER_PAGE, m->hbm + PROGRAM, 4096);
	some_program(&p, 9, 20);
	place(m, &p);
	run_placed(m, bytes);
	map_page(m, PROGRAM, OTHER_PAGE | KILN_PTE_VALID);
	run_placed(m, bytes);
	ok(result(m) == 7, "the other context's program, even without a scrub: %g", result(m));
	map_page(m, PROGRAM, 0);
	ok(run_placed(m, bytes).status == KILN_ST_PAGE_FAULT, "it is not there any more");
	map_page(m, PROGRAM, 0 | KILN_PTE_VALID | KILN_PTE_HOST);
	memcpy(m->host, m->hbm + PROGRAM, 4096);
	ok(run_placed(m, bytes).status == KILN_ST_OK && result(m) == 9, "it is in host memory");
	m->host[0]++;
	ok(run_placed(m, bytes).status == KILN_ST_BAD_PROGRAM, "and changes there");
	map_page(m, PROGRAM, PROGRAM | KILN_PTE_VALID | KILN_PTE_WRITE);
	run_placed(m, bytes);
	kiln_core_scrub(m->core);
	ok(known(m) == 0, "a scrub leaves no program");
}

/* More of them than are remembered, and such as are too large. */
static void test_many(struct machine *m)
{
	struct kiln_program_header *header = (void *)(m->hbm + PROGRAM);
	static struct prog p;
	bool good = true;
	uint32_t bytes;

	for (int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < KNOWN + 7; i++) {
			some_program(&p, i, i % 100);
			bytes = place(m, &p);
			memcpy(m->hbm + DATA + i * 65536, m->hbm + PROGRAM, bytes);
		}
		for (unsigned int i = 0; i < KNOWN + 7; i++) {
			bytes = ((struct kiln_program_header *)(m->hbm + DATA + i * 65536))->bytes;
			good = good && run_at(m, DATA + i * 65536, bytes).status == KILN_ST_OK &&
			       result(m) == i;
		}
	}
	ok(good && known(m) == KNOWN, "of many programs the last are known: %u", known(m));

	some_program(&p, 11, 3);
	bytes = place(m, &p);
	memcpy(m->hbm + DATA, m->hbm + PROGRAM, bytes);
	header = (void *)(m->hbm + DATA);
	header->bytes = 2 * KNOWN_BYTES;
	for (int i = 0; i < 2; i++) {
		*(float *)sbuf_at(m, 0, 0) = 0;
		good = good && run_at(m, DATA, header->bytes).status == KILN_ST_OK &&
		       result(m) == 11;
	}
	ok(good, "a large one");
}

/* Whatever byte changes, what happens is what happens to a core that knows nothing. */
static void test_changes(struct machine *m, struct machine *other)
{
	static struct prog p;
	bool good = true;
	unsigned int ended = 0;
	uint32_t bytes;

	some_program(&p, 2, 8);
	movi(&p, KILN_SYNC, 1, DATA);
	emit(&p, KILN_SYNC, KILN_OP_DMA_COPY)->dst = tile_at(KILN_SBUF, KILN_F32, 0, 4, 64, 16);
	p.insn[KILN_SYNC][1].src[0] = dram_at(KILN_F32, 1, 0, 16, 1);
	bytes = place(m, &p);
	place(other, &p);
	run_placed(other, bytes);
	run_placed(m, bytes);
	for (int i = 0; i < 3000 && good; i++) {
		uint32_t at = PROGRAM + rng() % bytes;
		uint8_t old = m->hbm[at], bit = 1 << rng() % 8;
		struct kiln_outcome a, b;

		m->hbm[at] = other->hbm[at] = old ^ bit;
		a = run_placed(m, bytes);
		forget(other);
		b = run_placed(other, bytes);
		good = same_outcome(&a, &b) &&
		       !memcmp(sbuf_at(m, 0, 0), sbuf_at(other, 0, 0), 4096);
		if (!good)
			printf("# byte %u ^ %#x\n", at - (uint32_t)PROGRAM, bit);
		ended += a.status != KILN_ST_OK;
		m->hbm[at] = other->hbm[at] = old;
		if (rng() % 2) {
			run_placed(m, bytes);
			run_placed(other, bytes);
		}
	}
	printf("# %u ended in a fault\n", ended);
	ok(good && ended > 300 && ended < 2900,
	   "bits change, and nobody can tell who knew the program");
}

int main(void)
{
	struct machine *m = machine(2), *other = machine(2);

	rng_start();
	test_known(m);
	test_contexts(m);
	test_many(m);
	machine_free(m);
	m = machine(2);
	test_changes(m, other);
	machine_free(m);
	machine_free(other);
	return done();
}
