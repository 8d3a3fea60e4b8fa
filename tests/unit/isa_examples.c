// SPDX-License-Identifier: MIT
/*
 * The examples of docs/isa.md do what they say: each is assembled and run on a
 * core of every generation that has what it needs. At least one for each
 * instruction, and it must occur in it.
 */
#include <ctype.h>
#include <strings.h>

#include "engine.h"
#include "kiln/isa_check.h"
#include "kiln_asm.h"

static char *read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text;
	long size;

	if (!file)
		return NULL;
	fseek(file, 0, SEEK_END);
	size = ftell(file);
	rewind(file);
	text = calloc(1, size + 1);
	if (fread(text, 1, size, file) != (size_t)size)
		abort();
	fclose(file);
	return text;
}

/* The index-th example in the section of this instruction; NULL: none. */
static char *example(const char *page, const char *name, unsigned int index)
{
	char head[64];
	const char *section, *next, *start, *end;

	snprintf(head, sizeof(head), "\n### `%s`\n", name);
	section = strstr(page, head);
	if (!section)
		return NULL;
	section += strlen(head);
	next = strstr(section, "\n### ");
	for (start = section;; index--) {
		start = strstr(start, "```kiln\n");
		if (!start || (next && start > next))
			return NULL;
		start += strlen("```kiln\n");
		if (!index)
			break;
	}
	end = strstr(start, "```");
	return end ? strndup(start, end - start) : NULL;
}

/* "sbuf.f32[0+2]@64{4}", by way of an instruction that has such an operand */
static bool tile_of(const char *text, struct kiln_operand *op)
{
	char source[256], error[256];
	void *program;
	size_t bytes;
	int err;

	snprintf(source, sizeof(source), ".engine vector\n\ttensor_copy dst=%s src=%s\n", text, text);
	err = kiln_asm_parse(source, &program, &bytes, error, sizeof(error));
	if (err) {
		printf("# %s: %s\n", text, error);
		return false;
	}
	*op = ((struct kiln_insn *)((char *)program + sizeof(struct kiln_program_header)))->dst;
	free(program);
	return true;
}

/* "dram.f32@0x400000" */
static bool dram_of(const char *text, enum kiln_dtype *dtype, uint64_t *addr)
{
	char tile[64], name[16];
	struct kiln_operand op;

	if (sscanf(text, "dram.%15[a-z0-9_]@%" SCNi64, name, addr) != 2 ||
	    *addr < DATA || *addr >= DATA + (1 << 20) - 16384)
		return false;
	snprintf(tile, sizeof(tile), "sbuf.%s[0+1]@0{1}", name);
	if (!tile_of(tile, &op))
		return false;
	*dtype = op.dtype;
	return true;
}

static void *element(struct machine *m, const struct kiln_operand *op, uint32_t p, uint32_t i)
{
	int64_t offset = 0;

	for (int d = op->ndim - 1; d >= 0; d--) {
		offset += (int64_t)(i % op->size[d]) * op->stride[d];
		i /= op->size[d];
	}
	offset = offset * kiln_dtype_bytes(op->dtype) + op->addr;
	return op->space == KILN_PSUM ? psum_at(m, op->partition + p, offset) :
	       sbuf_at(m, op->partition + p, offset);
}

/* One element: put there, or compared with what is there. */
static bool place_value(void *at, enum kiln_dtype dtype, const char *value, bool check,
			const char *where, unsigned int index)
{
	uint8_t want[8] = { 0 };

	if (dtype == KILN_I32 || dtype == KILN_U32) {
		uint32_t word = strtoll(value, NULL, 0);	/* more than a float holds */

		memcpy(want, &word, sizeof(word));
	} else {
		kiln_store_one(want, strtof(value, NULL), dtype);
	}
	if (!check) {
		memcpy(at, want, kiln_dtype_bytes(dtype));
		return true;
	}
	if (!memcmp(at, want, kiln_dtype_bytes(dtype)))
		return true;
	if (dtype == KILN_I32 || dtype == KILN_U32)
		printf("# %s, element %u: expected %s, got %" PRId32 "\n", where, index, value,
		       *(int32_t *)at);
	else
		printf("# %s, element %u: expected %s, got %.9g\n", where, index, value,
		       kiln_load_one(at, dtype));
	return false;
}

/* "sbuf.f32[0+2]@64{4} 1 2 3 4": the values repeat. Or device memory, as many as stand there. */
static bool values(struct machine *m, const char *line, bool check)
{
	char where[128], value[1024][24];
	struct kiln_operand op;
	enum kiln_dtype dtype;
	unsigned int n = 0;
	uint64_t addr;
	bool good = true;
	int used;

	if (sscanf(line, "%127s%n", where, &used) != 1)
		return false;
	for (line += used; n < 1024 && sscanf(line, "%23s%n", value[n], &used) == 1; n++)
		line += used;
	if (!n) {
		printf("# %s: no values\n", where);
		return false;
	}
	if (dram_of(where, &dtype, &addr)) {
		for (unsigned int i = 0; i < n; i++)
			good &= place_value(m->hbm + addr + i * kiln_dtype_bytes(dtype), dtype,
					    value[i], check, where, i);
		return good;
	}
	if (!tile_of(where, &op))
		return false;
	for (uint32_t p = 0; p < op.partitions; p++)
		for (uint32_t i = 0; i < kiln_elements(&op, op.ndim); i++) {
			uint32_t at = p * kiln_elements(&op, op.ndim) + i;

			good &= place_value(element(m, &op, p, i), op.dtype, value[at % n], check,
					    where, at);
		}
	return good;
}

/* The "#: what" lines; -1: one is wrong, else how many. */
static int lines(struct machine *m, const char *text, const char *what)
{
	char head[16];
	int n = 0;
	bool good = true;

	snprintf(head, sizeof(head), "#: %s ", what);
	for (; text && *text; text = strchr(text, '\n'), text += text ? 1 : 0) {
		char line[4096];
		uint64_t slot, value;

		if (strncmp(text, head, strlen(head)))
			continue;
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
		if (!strcmp(what, "arg")) {
			if (sscanf(line + strlen(head), "%" SCNu64 " %" SCNi64, &slot, &value) != 2 ||
			    slot >= KILN_MAX_ARGS_BYTES / 8)
				return -1;
			m->args[slot] = value;
		} else {
			good &= values(m, line + strlen(head), !strcmp(what, "out"));
		}
		n++;
	}
	return good ? n : -1;
}

static bool contains(const struct kiln_program_header *program, uint8_t opcode)
{
	for (int e = 0; e < KILN_ENGINES; e++)
		for (uint32_t i = 0; i < program->stream[e].count; i++) {
			const struct kiln_insn *insn = (const void *)((const char *)program +
								      program->stream[e].offset);

			if (insn[i].opcode == opcode)
				return true;
		}
	return false;
}

/* One core of each generation, with everything zero again. */
static struct machine *fresh(unsigned int generation)
{
	static struct machine *machines[4];
	struct machine *m = machines[generation];

	if (!m)
		return machines[generation] = machine(generation);
	memset(sbuf_at(m, 0, 0), 0, (size_t)KILN_PARTITIONS * m->core->sbuf_pitch);
	memset(psum_at(m, 0, 0), 0, (size_t)KILN_PARTITIONS * m->core->psum_pitch);
	memset(m->hbm + DATA, 0, 1 << 20);
	memset(m->args, 0, sizeof(m->args));
	return m;
}

static void run_example(const char *text, uint8_t opcode, unsigned int index,
			unsigned int generation)
{
	const struct kiln_rule *rule = &kiln_rules[opcode];
	struct machine *m = fresh(generation);
	char error[512] = "";
	struct kiln_outcome outcome;
	struct kiln_job job = { .program = PROGRAM, .args = ARGS, .args_bytes = sizeof(m->args) };
	void *program = NULL;
	size_t bytes = 0;
	bool good;

	good = !kiln_asm_parse(text, &program, &bytes, error, sizeof(error));
	if (!good)
		printf("# %s\n", error);
	if (good && !contains(program, opcode)) {
		printf("# the example does not contain it\n");
		good = false;
	}
	good = good && lines(m, text, "arg") >= 0 && lines(m, text, "in") >= 0;
	if (good) {
		/* Made for the first that has the instruction, it runs on later ones, too. */
		((struct kiln_program_header *)program)->generation = 0;
		memcpy(m->hbm + PROGRAM, program, bytes);
		memcpy(m->hbm + ARGS, m->args, sizeof(m->args));
		job.program_bytes = bytes;
		kiln_core_run(m->core, &job, &outcome);
		good = outcome.status == KILN_ST_OK;
		if (!good)
			printf("# status %d, engine %u, instruction %u, address %#" PRIx64 "\n",
			       outcome.status, outcome.engine, outcome.instruction,
			       outcome.fault_addr);
		else
			good = lines(m, text, "out") > 0;
	}
	ok(good, "%s, example %u on trn%u", rule->name, index + 1, generation);
	free(program);
}

/* The generation that it is made for, as it says: later ones have it, too. */
static unsigned int least(const char *text)
{
	const char *at = strstr(text, "\n.generation ");
	unsigned int generation = 1;

	if (at)
		sscanf(at, "\n.generation %u", &generation);
	return generation;
}

int main(void)
{
	char *page = read_file("docs/isa.md");

	if (!ok(page, "docs/isa.md is there"))
		return done();
	for (unsigned int code = 0; code < 256; code++) {
		const struct kiln_rule *rule = &kiln_rules[code];
		unsigned int n = 0;
		char *text;

		if (!rule->engines)
			continue;
		for (; (text = example(page, rule->name, n)); n++) {
			for (unsigned int g = least(text); g <= 3; g++)
				run_example(text, code, n, g);
			free(text);
		}
		ok(n, "%s has an example", rule->name);
	}
	free(page);
	return done();
}
