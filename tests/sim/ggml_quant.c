// SPDX-License-Identifier: MIT
/*
 * What copies make of rows of ordinary and of odd values is what ggml makes of them: each
 * element of each block, as it is read.
 */
#include <ggml.h>

#include "blocks.h"
#include "tensors.h"

#define ROWS	224u
#define WIDTH	256u

/* A row of its kind; from the last kind on, normal values of more and more */
static float value(uint32_t row, uint32_t i)
{
	switch (row) {
	case 0: return 0;
	case 1: return 0.7f;
	case 2: return -0.3f;
	case 3: return i == 77 ? -5 : 0;
	case 4: return i % 2 ? 1 : -1;
	case 5: return (float)i / 16;
	case 6: return -(float)i / 16;
	case 7: return fabsf(normal());
	case 8: return -fabsf(normal());
	case 9: return i < 128 ? 0 : normal();
	case 10: return i / 16 % 2 ? normal() : 0.001f * normal();
	case 11: return i % 16 ? 0 : normal();
	case 12: return i % 32 < 16 ? 0.5f : -0.25f;
	case 13: return 1000 + normal();
	case 14: return i / 32 % 2 ? 1000 : normal();
	default: return normal() * (row % 7 + 1) / 7;
	}
}

static void check(enum kiln_type type, enum ggml_type theirs)
{
	static float x[ROWS * WIDTH];
	uint32_t per = block_elements(type), size = block_bytes(type), bytes = ROWS * WIDTH / per * size;
	uint8_t *want = malloc(bytes);
	struct outcome outcome = { 0 };
	struct kiln_tensor src, dst = { .type = type, .dim = { 1, 1, ROWS, WIDTH } };
	int wrong = 0;

	if (!want)
		bail("no memory");
	start_case();
	src = dense_of(KILN_TYPE_F32, 1, 1, ROWS, WIDTH);
	dst.addr = room.addr + used;
	used += bytes;
	for (uint32_t i = 0; i < ROWS * WIDTH; i++)
		((float *)bytes_at(src.addr))[i] = x[i] = value(i / WIDTH, i % WIDTH);
	upload_room();
	if (ggml_quantize_chunk(theirs, x, want, 0, ROWS, WIDTH, NULL) != bytes)
		bail("ggml has blocks of another size");
	if (run_case(kiln_copy(ops, &src, &dst, on_done, &outcome), &outcome))
		wrong = -1;
	for (uint32_t i = 0; i < ROWS * WIDTH && wrong >= 0; i++) {
		uint64_t at = i / per * size;
		double expected = block_element(type, want + at, i % per);
		double got = block_element(type, after + (dst.addr - room.addr) + at, i % per);

		if (expected != got && !wrong++)
			printf("# row %u, %u: %.9g: expected %.9g, got %.9g\n", i / WIDTH, i % WIDTH,
			       x[i], expected, got);
	}
	ok(!wrong, "%s is ggml's, all elements but %d", any_type_name(type), wrong);
	free(want);
}

int main(void)
{
	static const struct {
		enum kiln_type type;
		enum ggml_type theirs;
	} all[] = {
		{ KILN_TYPE_Q2_K, GGML_TYPE_Q2_K }, { KILN_TYPE_Q3_K, GGML_TYPE_Q3_K },
		{ KILN_TYPE_Q4_K, GGML_TYPE_Q4_K }, { KILN_TYPE_Q5_K, GGML_TYPE_Q5_K },
		{ KILN_TYPE_Q6_K, GGML_TYPE_Q6_K }, { KILN_TYPE_IQ4_XS, GGML_TYPE_IQ4_XS },
		{ KILN_TYPE_Q8_0, GGML_TYPE_Q8_0 }, { KILN_TYPE_Q4_0, GGML_TYPE_Q4_0 },
		{ KILN_TYPE_Q5_1, GGML_TYPE_Q5_1 },
	};

	open_room();
	for (unsigned int i = 0; i < sizeof(all) / sizeof(*all); i++)
		check(all[i].type, all[i].theirs);
	return close_room();
}
