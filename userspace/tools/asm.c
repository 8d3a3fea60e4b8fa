// SPDX-License-Identifier: MIT
/* kiln asm, kiln disasm: programs from text, and text from programs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "kiln_asm.h"
#include "options.h"

/* More than any program, its text or a dump of a fault; and /dev/zero has no end. */
#define READ_MOST	(256u << 20)

char *read_all(const char *command, const char *path, size_t *bytes)
{
	FILE *in = strcmp(path, "-") ? fopen(path, "rb") : stdin;
	size_t room = 1 << 16, n = 0;
	char *data = in ? malloc(room) : NULL;

	while (data) {
		n += fread(data + n, 1, room - n - 1, in);
		if (n < room - 1)
			break;
		char *bigger = room < READ_MOST ? realloc(data, room *= 2) : NULL;

		if (!bigger) {
			free(data);
			errno = room < READ_MOST ? ENOMEM : EFBIG;
		}
		data = bigger;
	}
	if (data && ferror(in)) {
		free(data);
		data = NULL;
	}
	if (!data)
		fprintf(stderr, "%s: %s: %s\n", command, path, strerror(errno));
	else
		data[n] = 0;
	if (in && in != stdin)
		fclose(in);
	*bytes = n;
	return data;
}

static int write_all(const char *path, const void *data, size_t bytes)
{
	FILE *out = path ? fopen(path, "wb") : stdout;

	if (out && fwrite(data, 1, bytes, out) == bytes && !(path ? fclose(out) : fflush(out)))
		return 0;
	fprintf(stderr, "kiln asm: %s: %s\n", path ? path : "standard output", strerror(errno));
	return 1;
}

int command_asm(int argc, char **argv)
{
	const char *in = NULL, *out = NULL;
	char error[512] = "", *text;
	void *program;
	size_t bytes;
	int err;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "-o")) {
			if (++i == argc)
				return usage_error("kiln asm", "-o needs a file");
			out = argv[i];
		} else if (argv[i][0] == '-' && argv[i][1]) {
			return usage_error("kiln asm", "there is no option %s (see kiln help)",
					   argv[i]);
		} else if (in) {
			return usage_error("kiln asm", "one file, please: %s, %s", in, argv[i]);
		} else {
			in = argv[i];
		}
	}
	if (!in)
		return usage_error("kiln asm", "a file is wanted, or - for standard input");
	if (!out && isatty(STDOUT_FILENO))
		return usage_error("kiln asm",
				   "-o FILE is wanted: a program is nothing for a terminal");
	text = read_all("kiln asm", in, &bytes);
	if (!text)
		return 1;
	if (strlen(text) != bytes) {
		fprintf(stderr, "kiln asm: %s: this is not text\n", in);
		free(text);
		return 1;
	}
	err = kiln_asm_parse(text, &program, &bytes, error, sizeof(error));
	free(text);
	if (err) {
		fprintf(stderr, "kiln asm: %s: %s\n", in, *error ? error : strerror(-err));
		return 1;
	}
	err = write_all(out, program, bytes);
	free(program);
	return err;
}

int command_disasm(int argc, char **argv)
{
	size_t bytes;
	char *data;
	int err;

	if (argc != 1 || (argv[0][0] == '-' && argv[0][1]))
		return usage_error("kiln disasm", "one file is wanted, or - for standard input");
	data = read_all("kiln disasm", argv[0], &bytes);
	if (!data)
		return 1;
	err = kiln_asm_print(data, bytes, stdout);
	free(data);
	if (err)
		fprintf(stderr, "kiln disasm: %s\n", strerror(-err));
	return err ? 1 : 0;
}
