// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "kiln/hw.h"
#include "kiln/isa.h"

/* Only what would make every run of it fail; the streams are the card's to check. */
static int check_header(const struct kiln_device *device,
			const struct kiln_program_header *h, size_t bytes)
{
	if (bytes < sizeof(*h) || bytes > KILN_MAX_PROGRAM_BYTES || bytes % 64)
		return kiln_error(-EINVAL, "kiln_program_load: %zu bytes: a program has %zu to %u, in multiples of 64",
				  bytes, sizeof(*h), KILN_MAX_PROGRAM_BYTES);
	if (h->magic != KILN_PROGRAM_MAGIC)
		return kiln_error(-EINVAL, "kiln_program_load: this is no program: its magic number is %#x, not %#x",
				  h->magic, KILN_PROGRAM_MAGIC);
	if (h->isa_major != KILN_ISA_MAJOR || h->isa_minor > KILN_ISA_MINOR)
		return kiln_error(-EINVAL, "kiln_program_load: made for instruction set %u.%u, this is %u.%u",
				  h->isa_major, h->isa_minor, KILN_ISA_MAJOR,
				  KILN_ISA_MINOR);
	if (h->generation && h->generation != device->info.generation)
		return kiln_error(-EINVAL, "kiln_program_load: made for trn%u, the card is a trn%u",
				  h->generation, device->info.generation);
	if (h->bytes != bytes)
		return kiln_error(-EINVAL, "kiln_program_load: its header says %u bytes, %zu were given",
				  h->bytes, bytes);
	return 0;
}

int kiln_program_load(struct kiln_device *device, const void *data,
		      size_t bytes, struct kiln_program **out)
{
	struct kiln_program_header header = { 0 };
	struct kiln_program *program;
	void *map;
	int err;

	if (!device || !data || !out)
		return kiln_error(-EINVAL, "kiln_program_load: an argument is NULL");
	*out = NULL;
	memcpy(&header, data, bytes < sizeof(header) ? bytes : sizeof(header));
	err = check_header(device, &header, bytes);
	if (err)
		return err;

	program = calloc(1, sizeof(*program));
	if (!program)
		return kiln_error(-ENOMEM, "kiln_program_load: out of memory");
	program->device = device;
	program->bytes = (uint32_t)bytes;
	err = kiln_alloc(device, bytes, KILN_HBM, KILN_ALLOC_READONLY,
			 &program->buffer);
	if (err)
		goto err_free;
	map = kiln_map(program->buffer);
	if (!map) {
		err = -ENOMEM;
		goto err_buffer;
	}
	memcpy(map, data, bytes);
	if (device->profile)
		kiln_profile_program(program, "program");
	*out = program;
	return 0;

err_buffer:
	kiln_free(program->buffer);
err_free:
	free(program);
	return err;
}

void kiln_program_free(struct kiln_program *program)
{
	if (!program)
		return;
	kiln_free(program->buffer);
	free(program);
}
