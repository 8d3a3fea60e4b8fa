// SPDX-License-Identifier: MIT
/*
 * The kept inputs of tests/fuzz, once more, on each generation and by each
 * path: none may end this program.
 */
#include <dirent.h>

#include "../fuzz/program.c"

static unsigned int passed;

static void replay(const char *path)
{
	static uint8_t data[1 << 20];
	FILE *file = fopen(path, "rb");
	size_t size = file ? fread(data, 1, sizeof(data), file) : 0;

	if (file)
		fclose(file);
	if (!size) {
		printf("not ok %u - %s: empty\n", ++passed, path);
		return;
	}
	for (int first = 0; first < 9; first++) {
		data[0] = (data[0] & 0x80) | first;
		LLVMFuzzerTestOneInput(data, size);
		/* and cut off anywhere */
		LLVMFuzzerTestOneInput(data, size * first / 9);
	}
	printf("ok %u - %s\n", ++passed, path);
	fflush(stdout);
}

int main(void)
{
	const char *directory = "tests/fuzz/corpus";
	DIR *dir = opendir(directory);
	struct dirent *entry;
	char path[512];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		replay(path);
	}
	if (!passed)
		printf("not ok 1 - nothing in %s\n", directory);
	printf("1..%u\n", passed ? passed : 1);
	return !passed;
}
