// SPDX-License-Identifier: MIT
/* kiln run: one op with inputs from files or from a seed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "card.h"
#include "commands.h"
#include "npy.h"
#include "options.h"
#include "tensor.h"

#define MAX_SIZE	(1u << 28)	/* of one dimension */
#define MAX_ELEMENTS	(1ull << 40)
#define MAX_INPUTS	3

/* Choices count from 1, as the enumerations do: 0 is what was not given. */
static const char *const dtypes[] = { "f32", "bf16", NULL };
static const char *const ways[] = { "uring", "ioctl", NULL };

_Static_assert(KILN_TYPE_F32 == 1 && KILN_TYPE_BF16 == 2, "dtypes[] is in their order");
_Static_assert(KILN_SUBMIT_URING == 1 && KILN_SUBMIT_IOCTL == 2, "ways[] is in their order");

/* What both ops take. */
struct common {
	const char *command;
	int dtype, way;
	uint64_t seed;
	uint32_t repeat;
	bool check, json, out_raw;
	const char *transport, *out, *dump_program;
};

struct input {
	const char *option;		/* "a" */
	const char *path;		/* NULL: made from the seed */
	struct npy npy;
	struct tensor tensor;
};

/* What one run holds on to, so that every way out frees it. */
struct run {
	struct common *common;
	struct card card;
	struct workload w;
	struct input input[MAX_INPUTS];
	unsigned int inputs;
	uint64_t count[MAX_INPUTS];	/* elements */
	struct tensor out;
	unsigned int out_ndim;
	uint64_t out_dim[NPY_MAX_DIMS];
};

#define COMMON_OPTIONS(c) \
	{ .name = "dtype", .kind = OPTION_CHOICE, .value = &(c)->dtype, .choices = dtypes }, \
	{ .name = "seed", .kind = OPTION_U64, .value = &(c)->seed }, \
	{ .name = "repeat", .kind = OPTION_U32, .value = &(c)->repeat, .min = 1, .max = 1000000 }, \
	{ .name = "check", .kind = OPTION_FLAG, .value = &(c)->check }, \
	{ .name = "json", .kind = OPTION_FLAG, .value = &(c)->json }, \
	{ .name = "out", .kind = OPTION_TEXT, .value = &(c)->out }, \
	{ .name = "dump-program", .kind = OPTION_TEXT, .value = &(c)->dump_program }, \
	{ .name = "out-raw", .kind = OPTION_FLAG, .value = &(c)->out_raw }, \
	{ .name = "submit", .kind = OPTION_CHOICE, .value = &(c)->way, .choices = ways }, \
	{ .name = "transport", .kind = OPTION_TEXT, .value = &(c)->transport }

#define SIZE_OPTION(text, variable) \
	{ .name = text, .kind = OPTION_U32, .value = &(variable), .min = 1, .max = MAX_SIZE }

static void free_inputs(struct run *r)
{
	for (unsigned int i = 0; i < r->inputs; i++)
		free(r->input[i].npy.data);
}

static int load_files(struct run *r)
{
	char error[512];

	for (unsigned int i = 0; i < r->inputs; i++) {
		struct input *in = &r->input[i];

		if (in->path && npy_read(in->path, &in->npy, error, sizeof(error))) {
			fprintf(stderr, "%s: --%s %s\n", r->common->command, in->option, error);
			return 1;
		}
	}
	return 0;
}

/* The type of a run: as said, or as the first file has it, or bf16. */
static int choose_type(struct run *r, enum kiln_type *type)
{
	*type = (enum kiln_type)r->common->dtype;
	for (unsigned int i = 0; i < r->inputs && !*type; i++)
		if (r->input[i].path)
			*type = r->input[i].npy.type == NPY_F32 || r->input[i].npy.type == NPY_F64 ?
				KILN_TYPE_F32 : KILN_TYPE_BF16;
	if (!*type)
		*type = KILN_TYPE_BF16;
	for (unsigned int i = 0; i < r->inputs; i++)
		if (r->input[i].path && *type == KILN_TYPE_F32 &&
		    (r->input[i].npy.type == NPY_U16 || r->input[i].npy.type == NPY_VOID2))
			return usage_error(r->common->command, "--%s %s: it holds 16-bit elements, which are taken as bf16: use --dtype bf16",
					   r->input[i].option, r->input[i].path);
	return 0;
}

/*
 * A size that a file knows and the command line may say too. dim counts from
 * the end: 0 is the last one.
 */
static int settle(const struct run *r, const struct input *in, unsigned int dim,
		  const char *option, uint32_t *size)
{
	uint64_t found;

	if (!in->path)
		return 0;
	found = in->npy.dim[in->npy.ndim - 1 - dim];
	if (!found || found > MAX_SIZE)
		return usage_error(r->common->command, "--%s %s: a dimension of %llu is not within 1 to %u",
				   in->option, in->path, (unsigned long long)found, MAX_SIZE);
	if (*size && *size != found)
		return usage_error(r->common->command, "--%s %s: %s is %llu there and %u elsewhere",
				   in->option, in->path, option, (unsigned long long)found, *size);
	*size = (uint32_t)found;
	return 0;
}

static int check_ndim(const struct run *r, const struct input *in, unsigned int least,
		      unsigned int most)
{
	if (in->path && (in->npy.ndim < least || in->npy.ndim > most))
		return usage_error(r->common->command, "--%s %s: it has %u dimensions, not %u%s",
				   in->option, in->path, in->npy.ndim, least,
				   least == most ? "" : " or 3");
	return 0;
}

/* Into tensor->host, in the type of the run. */
static void convert(const struct npy *npy, struct tensor *t)
{
	const double *f64 = npy->data;
	const float *f32 = npy->data;
	uint16_t *h = t->host;
	float *f = t->host;

	for (uint64_t i = 0; i < t->count; i++) {
		if (npy->type == NPY_U16 || npy->type == NPY_VOID2)
			h[i] = ((const uint16_t *)npy->data)[i];
		else if (t->type == KILN_TYPE_BF16)
			h[i] = npy->type == NPY_F64 ? f64_to_bf16(f64[i]) : f32_to_bf16(f32[i]);
		else
			f[i] = npy->type == NPY_F64 ? (float)f64[i] : f32[i];
	}
}

static int fail(const struct run *r)
{
	fprintf(stderr, "%s: %s\n", r->common->command, kiln_last_error());
	return 1;
}

static int make_inputs(struct run *r, enum kiln_type type)
{
	for (unsigned int i = 0; i < r->inputs; i++) {
		struct input *in = &r->input[i];

		if (tensor_create(r->card.device, type, r->count[i], &in->tensor))
			return fail(r);
		if (in->path) {
			convert(&in->npy, &in->tensor);
			free(in->npy.data);
			in->npy.data = NULL;
		} else {
			fill_random(in->tensor.host, type, r->count[i], r->common->seed, i);
		}
		if (tensor_upload(&in->tensor))
			return fail(r);
	}
	return 0;
}

static int write_out(struct run *r)
{
	struct npy npy = {
		.type = NPY_F32,
		.ndim = r->out_ndim,
		.count = r->out.count,
		.data = r->out.host,
	};
	char error[512];
	float *wide = NULL;
	int err;

	memcpy(npy.dim, r->out_dim, sizeof(npy.dim));
	if (r->out.type == KILN_TYPE_BF16 && r->common->out_raw) {
		npy.type = NPY_U16;
	} else if (r->out.type == KILN_TYPE_BF16) {
		wide = malloc(npy.count * sizeof(*wide));
		if (!wide) {
			fprintf(stderr, "%s: no memory for the result as f4\n", r->common->command);
			return 1;
		}
		for (uint64_t i = 0; i < npy.count; i++)
			wide[i] = bf16_to_f32(((const uint16_t *)r->out.host)[i]);
		npy.data = wide;
	}
	err = npy_write(r->common->out, &npy, error, sizeof(error));
	if (err)
		fprintf(stderr, "%s: --out %s\n", r->common->command, error);
	free(wide);
	return err ? 1 : 0;
}

static void check(struct run *r)
{
	bool random = true;

	for (unsigned int i = 0; i < r->inputs; i++)
		random &= !r->input[i].path;
	r->w.checked = true;
	if (r->w.op == WORKLOAD_MATMUL)
		check_matmul(&r->w.matmul, r->input[0].tensor.host, r->input[1].tensor.host,
			     r->out.host, random, r->common->seed, &r->w.check);
	else
		check_attention(&r->w.attention, r->input[0].tensor.host,
				r->input[1].tensor.host, r->input[2].tensor.host,
				r->out.host, random, r->common->seed, &r->w.check);
}

static void set_addresses(struct run *r)
{
	if (r->w.op == WORKLOAD_MATMUL) {
		r->w.matmul.a = r->input[0].tensor.addr;
		r->w.matmul.b = r->input[1].tensor.addr;
		r->w.matmul.c = r->out.addr;
	} else {
		r->w.attention.q = r->input[0].tensor.addr;
		r->w.attention.k = r->input[1].tensor.addr;
		r->w.attention.v = r->input[2].tensor.addr;
		r->w.attention.out = r->out.addr;
	}
}

/* The program that ran, for kiln disasm. */
static int dump_program(struct run *r)
{
	const char *path = r->common->dump_program;
	size_t bytes = 0;
	const void *program = kiln_ops_get_program(r->card.ops, 0, &bytes);
	FILE *file = fopen(path, "wb");

	if (file && fwrite(program, 1, bytes, file) == bytes && !fclose(file))
		return 0;
	fprintf(stderr, "%s: --dump-program %s: %s\n", r->common->command, path, strerror(errno));
	return 1;
}

/* With the card open: memory, the op, the check, the report. */
static int on_card(struct run *r, enum kiln_type type, enum kiln_type out_type)
{
	uint64_t count = 1;

	for (unsigned int i = 0; i < r->out_ndim; i++)
		count *= r->out_dim[i];
	if (make_inputs(r, type))
		return 1;
	if (tensor_create(r->card.device, out_type, count, &r->out))
		return fail(r);
	set_addresses(r);
	workload_run(&r->card, &r->w, r->common->repeat);
	if (!r->w.error && (r->common->check || r->common->out) && tensor_download(&r->out))
		return fail(r);
	if (!r->w.error && r->common->check)
		check(r);

	if (r->common->json) {
		print_json(&r->card, &r->w, r->common->seed, r->common->repeat);
	} else {
		char text[160];

		card_describe(&r->card, text, sizeof(text));
		printf("%s\n", text);
		print_header();
		print_row(&r->card, &r->w);
	}
	if (!r->w.error && r->common->out && write_out(r))
		return 1;
	if (!r->w.error && r->common->dump_program && dump_program(r))
		return 1;
	return workload_ok(&r->w) ? 0 : 1;
}

static int with_card(struct run *r, enum kiln_type type, enum kiln_type out_type)
{
	uint64_t most = 1;
	int status;

	for (unsigned int i = 0; i < r->out_ndim; i++)
		if (__builtin_mul_overflow(most, r->out_dim[i], &most) || most > MAX_ELEMENTS)
			return usage_error(r->common->command, "the result would have more than 2^40 elements");
	for (unsigned int i = 0; i < r->inputs; i++)
		if (r->count[i] > MAX_ELEMENTS)
			return usage_error(r->common->command, "--%s would have more than 2^40 elements",
					   r->input[i].option);

	status = card_open(r->common->transport, (enum kiln_submit_way)r->common->way, &r->card);
	if (status)
		return status;
	status = on_card(r, type, out_type);
	for (unsigned int i = 0; i < r->inputs; i++)
		tensor_destroy(&r->input[i].tensor);
	tensor_destroy(&r->out);
	card_close(&r->card);
	return status;
}

/* Product of three sizes, each at most 2^28: no overflow below 2^64 for two of them. */
static uint64_t product(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t p;

	return __builtin_mul_overflow(a * b, c, &p) ? UINT64_MAX : p;
}

static int matmul_sizes(struct run *r)
{
	struct kiln_matmul *mm = &r->w.matmul;
	const struct input *a = &r->input[0], *b = &r->input[1];
	const char *command = r->common->command;
	int err;

	if ((err = check_ndim(r, a, 2, 3)) || (err = check_ndim(r, b, 2, 3)))
		return err;
	if (a->path && b->path && a->npy.ndim != b->npy.ndim)
		return usage_error(command, "--a has %u dimensions and --b has %u",
				   a->npy.ndim, b->npy.ndim);
	for (int i = 0; i < 2; i++) {
		const struct input *in = &r->input[i];

		if (in->path && in->npy.ndim == 3)
			err = settle(r, in, 2, "batch", &mm->batch);
		else if (in->path && mm->batch > 1)
			err = usage_error(command, "--%s %s: it has 2 dimensions, but batch is %u",
					  in->option, in->path, mm->batch);
		if (err)
			return err;
	}
	if ((err = settle(r, a, mm->trans_a ? 0 : 1, "m", &mm->m)) ||
	    (err = settle(r, a, mm->trans_a ? 1 : 0, "k", &mm->k)) ||
	    (err = settle(r, b, mm->trans_b ? 0 : 1, "k", &mm->k)) ||
	    (err = settle(r, b, mm->trans_b ? 1 : 0, "n", &mm->n)))
		return err;
	if (!mm->m || !mm->n || !mm->k)
		return usage_error(command, "--%s is missing, and no file says it",
				   !mm->m ? "m" : !mm->n ? "n" : "k");
	return 0;
}

static int run_matmul(int argc, char **argv)
{
	struct common c = { .command = "kiln run matmul", .seed = 1, .repeat = 1 };
	struct run r = {
		.common = &c,
		.w.op = WORKLOAD_MATMUL,
		.input = { { .option = "a" }, { .option = "b" } },
		.inputs = 2,
	};
	struct kiln_matmul *mm = &r.w.matmul;
	int out_dtype = 0, err;
	const struct option table[] = {
		COMMON_OPTIONS(&c),
		SIZE_OPTION("m", mm->m),
		SIZE_OPTION("n", mm->n),
		SIZE_OPTION("k", mm->k),
		SIZE_OPTION("batch", mm->batch),
		{ .name = "out-dtype", .kind = OPTION_CHOICE, .value = &out_dtype,
		  .choices = dtypes },
		{ .name = "trans-a", .kind = OPTION_FLAG, .value = &mm->trans_a },
		{ .name = "trans-b", .kind = OPTION_FLAG, .value = &mm->trans_b },
		{ .name = "a", .kind = OPTION_TEXT, .value = &r.input[0].path },
		{ .name = "b", .kind = OPTION_TEXT, .value = &r.input[1].path },
		{ 0 },
	};
	uint64_t batch;

	err = options_parse(c.command, argc, argv, table);
	if (!err)
		err = load_files(&r);
	if (!err)
		err = matmul_sizes(&r);
	if (!err)
		err = choose_type(&r, &mm->type);
	if (err)
		goto out;
	mm->out_type = out_dtype ? (enum kiln_type)out_dtype : mm->type;
	batch = mm->batch ? mm->batch : 1;
	r.count[0] = product(mm->m, mm->k, batch);
	r.count[1] = product(mm->k, mm->n, batch);
	if (mm->batch)
		r.out_dim[r.out_ndim++] = batch;
	r.out_dim[r.out_ndim++] = mm->m;
	r.out_dim[r.out_ndim++] = mm->n;
	err = with_card(&r, mm->type, mm->out_type);
out:
	free_inputs(&r);
	return err;
}

static int attention_sizes(struct run *r)
{
	struct kiln_attention *at = &r->w.attention;
	const struct input *q = &r->input[0], *k = &r->input[1], *v = &r->input[2];
	const char *command = r->common->command;
	int err;

	for (unsigned int i = 0; i < 3; i++)
		if ((err = check_ndim(r, &r->input[i], 3, 3)))
			return err;
	if ((err = settle(r, q, 2, "heads", &at->heads)) ||
	    (err = settle(r, q, 1, "seq-q", &at->seq_q)) ||
	    (err = settle(r, q, 0, "dim", &at->dim)) ||
	    (err = settle(r, k, 2, "kv-heads", &at->kv_heads)) ||
	    (err = settle(r, k, 1, "seq-kv", &at->seq_kv)) ||
	    (err = settle(r, k, 0, "dim", &at->dim)) ||
	    (err = settle(r, v, 2, "kv-heads", &at->kv_heads)) ||
	    (err = settle(r, v, 1, "seq-kv", &at->seq_kv)) ||
	    (err = settle(r, v, 0, "dim", &at->dim)))
		return err;
	if (!at->kv_heads)
		at->kv_heads = at->heads;
	if (!at->heads || !at->seq_q || !at->seq_kv || !at->dim)
		return usage_error(command, "--%s is missing, and no file says it",
				   !at->heads ? "heads" : !at->seq_q ? "seq-q" :
				   !at->seq_kv ? "seq-kv" : "dim");
	if (at->dim > 128)
		return usage_error(command, "dim is %u; at most 128 is possible", at->dim);
	if (at->heads % at->kv_heads)
		return usage_error(command, "heads (%u) is not a multiple of kv-heads (%u)",
				   at->heads, at->kv_heads);
	if (at->causal && at->seq_q > at->seq_kv)
		return usage_error(command, "--causal wants seq-q (%u) to be at most seq-kv (%u)",
				   at->seq_q, at->seq_kv);
	return 0;
}

static int run_attention(int argc, char **argv)
{
	struct common c = { .command = "kiln run attention", .seed = 1, .repeat = 1 };
	struct run r = {
		.common = &c,
		.w.op = WORKLOAD_ATTENTION,
		.input = { { .option = "q" }, { .option = "k" }, { .option = "v" } },
		.inputs = 3,
	};
	struct kiln_attention *at = &r.w.attention;
	const struct option table[] = {
		COMMON_OPTIONS(&c),
		SIZE_OPTION("heads", at->heads),
		SIZE_OPTION("kv-heads", at->kv_heads),
		SIZE_OPTION("seq-q", at->seq_q),
		SIZE_OPTION("seq-kv", at->seq_kv),
		SIZE_OPTION("dim", at->dim),
		{ .name = "scale", .kind = OPTION_FLOAT, .value = &at->scale },
		{ .name = "causal", .kind = OPTION_FLAG, .value = &at->causal },
		{ .name = "q", .kind = OPTION_TEXT, .value = &r.input[0].path },
		{ .name = "k", .kind = OPTION_TEXT, .value = &r.input[1].path },
		{ .name = "v", .kind = OPTION_TEXT, .value = &r.input[2].path },
		{ 0 },
	};
	int err;

	err = options_parse(c.command, argc, argv, table);
	if (!err)
		err = load_files(&r);
	if (!err)
		err = attention_sizes(&r);
	if (!err)
		err = choose_type(&r, &at->type);
	if (err)
		goto out;
	r.count[0] = product(at->heads, at->seq_q, at->dim);
	r.count[1] = product(at->kv_heads, at->seq_kv, at->dim);
	r.count[2] = r.count[1];
	r.out_dim[0] = at->heads;
	r.out_dim[1] = at->seq_q;
	r.out_dim[2] = at->dim;
	r.out_ndim = 3;
	err = with_card(&r, at->type, at->type);
out:
	free_inputs(&r);
	return err;
}

int command_run(int argc, char **argv)
{
	if (argc && !strcmp(argv[0], "matmul"))
		return run_matmul(argc - 1, argv + 1);
	if (argc && !strcmp(argv[0], "attention"))
		return run_attention(argc - 1, argv + 1);
	return usage_error("kiln run", "an op is wanted: matmul or attention%s%.32s",
			   argc ? ", not " : "", argc ? argv[0] : "");
}
