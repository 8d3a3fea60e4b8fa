/* SPDX-License-Identifier: MIT */
/* kiln run: what its ops share, from options and files to the report. */
#ifndef KILN_TOOL_RUN_H
#define KILN_TOOL_RUN_H

#include "card.h"
#include "npy.h"
#include "options.h"
#include "tensor.h"

#define MAX_SIZE	(1u << 28)	/* of one dimension */
#define MAX_INPUTS	5

struct common {
	const char *command;
	int dtype, out_dtype, way;
	uint64_t seed;
	uint32_t repeat;
	bool check, json, out_raw;
	const char *transport, *out, *dump_program;
};

enum input_kind {
	INPUT_DATA,			/* of the type of the run */
	INPUT_F32,
	INPUT_INDEX,			/* u32 below limit */
};

struct input {
	const char *option;		/* "a" */
	const char *path;		/* NULL: made from the seed */
	enum input_kind kind;
	bool optional;			/* without a file it is not there */
	uint32_t limit;
	uint64_t count;			/* elements */
	struct npy npy;
	struct tensor tensor;
};

/* What one run holds on to, so that every way out frees it. */
struct run {
	struct common common;
	struct card card;
	struct workload w;
	struct input input[MAX_INPUTS];
	unsigned int inputs;
	enum kiln_type type, out_type;
	struct tensor out, indices;
	const char *indices_path;	/* of a second result: kiln run topk */
	bool has_indices;
	unsigned int out_ndim;
	uint64_t out_dim[NPY_MAX_DIMS];

	/* Sizes from options and files; 0 or an exit status. type is known, out_type where it was said. */
	int (*sizes)(struct run *r);
	/* Addresses into the op's description. */
	void (*bind)(struct run *r);
	/* Fills in w.check. random: all inputs are fill_random()'s. */
	void (*check)(struct run *r, bool random);
};

#define SIZE_OPTION(text, variable) \
	{ .name = text, .kind = OPTION_U32, .value = &(variable), .min = 1, .max = MAX_SIZE }
#define FLOAT_OPTION(text, variable) \
	{ .name = text, .kind = OPTION_FLOAT, .value = &(variable) }
#define FILE_OPTION(r, i) \
	{ .name = (r).input[i].option, .kind = OPTION_TEXT, .value = &(r).input[i].path }
#define COMMON_OPTIONS(c) \
	{ .name = "dtype", .kind = OPTION_CHOICE, .value = &(c).dtype, .choices = dtypes }, \
	{ .name = "seed", .kind = OPTION_U64, .value = &(c).seed }, \
	{ .name = "repeat", .kind = OPTION_U32, .value = &(c).repeat, .min = 1, .max = 1000000 }, \
	{ .name = "check", .kind = OPTION_FLAG, .value = &(c).check }, \
	{ .name = "json", .kind = OPTION_FLAG, .value = &(c).json }, \
	{ .name = "out", .kind = OPTION_TEXT, .value = &(c).out }, \
	{ .name = "dump-program", .kind = OPTION_TEXT, .value = &(c).dump_program }, \
	{ .name = "out-raw", .kind = OPTION_FLAG, .value = &(c).out_raw }, \
	{ .name = "submit", .kind = OPTION_CHOICE, .value = &(c).way, .choices = ways }, \
	{ .name = "transport", .kind = OPTION_TEXT, .value = &(c).transport }
#define OUT_DTYPE_OPTION(c) \
	{ .name = "out-dtype", .kind = OPTION_CHOICE, .value = &(c).out_dtype, .choices = dtypes }

/* Choices count from 1, as the enumerations do: 0 is what was not given. */
extern const char *const dtypes[];	/* of every op */
extern const char *const ways[];

/* kiln explain: instead of data and a report. NULL: kiln run */
extern int (*explain)(const struct card *card, const struct workload *w);

/* From the command line to the exit status. */
int run_op(struct run *r, int argc, char **argv, const struct option *table);

/*
 * A size that a file knows and the command line may say too. dim counts from
 * the end: 0 is the last one. 0 or an exit status.
 */
int settle(const struct run *r, const struct input *in, unsigned int dim, const char *option,
	   uint32_t *size);
int check_ndim(const struct run *r, const struct input *in, unsigned int least,
	       unsigned int most);

/* The ops of row.c: by their name, or NULL. */
int (*find_row_op(const char *name))(int argc, char **argv);

#endif
