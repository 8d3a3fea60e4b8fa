// SPDX-License-Identifier: MIT
/*
 * Writes the inputs that fuzzing starts from, in the form that program.c takes:
 * good instructions of every kind, a few to a file. tests/fuzz/run compiles it.
 */
#include "engine_good.h"

#define EACH	6	/* instructions to a file */

static void put(FILE *file, enum kiln_engine engine, const struct kiln_insn *insn)
{
	fputc(engine, file);
	fwrite(insn, sizeof(*insn), 1, file);
}

/* Registers 1 and 2, which good instructions of DMA use. */
static FILE *start(const char *directory, unsigned int number)
{
	static const uint64_t args[8] = { 0x40000, 16 };
	uint8_t head[2] = { number % 9, 0 };
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/seed-%02u", directory, number);
	file = fopen(path, "wb");
	if (!file) {
		perror(path);
		exit(1);
	}
	fwrite(head, sizeof(head), 1, file);
	fwrite(args, sizeof(args), 1, file);
	for (uint8_t slot = 0; slot < 2; slot++) {
		struct kiln_insn insn = { .opcode = KILN_OP_LDARG };

		insn.seq.rd = slot + 1;
		insn.seq.slot = slot;
		put(file, KILN_SYNC, &insn);
	}
	return file;
}

int main(int argc, char **argv)
{
	static const uint8_t opcodes[] = {
#define KILN_INSN(name, code, engines, doc, ...) code,
#include "kiln/isa.def"
	};
	FILE *file = NULL;
	unsigned int in_file = EACH, files = 0;

	for (size_t i = 0; i < sizeof(opcodes) && argc > 1; i++) {
		struct kiln_insn insn = good(opcodes[i]);

		if (opcodes[i] < KILN_OP_DMA_COPY)
			continue;
		if (in_file == EACH) {
			if (file)
				fclose(file);
			file = start(argv[1], files++);
			in_file = 0;
		}
		insn.label = 0;
		put(file, engine_of(opcodes[i]), &insn);
		in_file++;
	}
	if (file)
		fclose(file);
	return argc < 2;
}
