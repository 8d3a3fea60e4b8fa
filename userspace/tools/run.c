// SPDX-License-Identifier: MIT
/* kiln run: one op with inputs from files or from a seed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "run.h"

#define MAX_ELEMENTS	(1ull << 40)

const char *const dtypes[] = { "f32", "bf16", "f16", NULL };
const char *const ways[] = { "uring", "ioctl", NULL };
/* Of matmul alone. */
static const char *const all_dtypes[] = { "f32", "bf16", "f16", "e4m3", "e5m2", "i8", "i32", NULL };

_Static_assert(KILN_TYPE_F32 == 1 && KILN_TYPE_BF16 == 2 && KILN_TYPE_F16 == 3 &&
	       KILN_TYPE_F8E4M3 == 4 && KILN_TYPE_F8E5M2 == 5 && KILN_TYPE_I8 == 6 &&
	       KILN_TYPE_I32 == 7, "all_dtypes[] is in their order");
_Static_assert(KILN_SUBMIT_URING == 1 && KILN_SUBMIT_IOCTL == 2, "ways[] is in their order");

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
			fprintf(stderr, "%s: --%s %s\n", r->common.command, in->option, error);
			return 1;
		}
	}
	return 0;
}

/* What a file's elements are when nothing is said. */
static enum kiln_type type_of_file(enum npy_type type)
{
	return type == NPY_F32 || type == NPY_F64 ? KILN_TYPE_F32 : type == NPY_F16 ?
	       KILN_TYPE_F16 : type == NPY_I8 ? KILN_TYPE_I8 : KILN_TYPE_BF16;
}

/* Whose bits a file can hold that has no number type for them; 0: it holds numbers. */
static enum kiln_type raw_type(enum npy_type type, enum kiln_type wanted)
{
	if (type == NPY_U16 || type == NPY_VOID2)
		return KILN_TYPE_BF16;
	if (type == NPY_U8)
		return wanted == KILN_TYPE_F8E5M2 ? KILN_TYPE_F8E5M2 : KILN_TYPE_F8E4M3;
	return 0;
}

/* The type of a run: as said, or as the first file has it, or bf16. */
static int choose_type(struct run *r)
{
	r->type = (enum kiln_type)r->common.dtype;
	r->out_type = (enum kiln_type)r->common.out_dtype;
	for (unsigned int i = 0; i < r->inputs && !r->type; i++)
		if (r->input[i].path && r->input[i].kind == INPUT_DATA)
			r->type = type_of_file(r->input[i].npy.type);
	if (!r->type)
		r->type = KILN_TYPE_BF16;
	for (unsigned int i = 0; i < r->inputs; i++) {
		struct input *in = &r->input[i];
		bool whole = in->npy.type == NPY_I32 || in->npy.type == NPY_U32;
		enum kiln_type raw = raw_type(in->npy.type, r->type);

		if (!in->path)
			continue;
		if (in->kind == INPUT_INDEX && !whole)
			return usage_error(r->common.command, "--%s %s: it holds no '<u4' or '<i4', which indices are",
					   in->option, in->path);
		if (in->kind != INPUT_INDEX && whole)
			return usage_error(r->common.command, "--%s %s: it holds 32-bit integers: only indices are that",
					   in->option, in->path);
		if (raw && (in->kind == INPUT_F32 || raw != r->type))
			return usage_error(r->common.command, "--%s %s: it holds %zu-bit elements, which are taken as %s: use --dtype %s",
					   in->option, in->path, 8 * npy_type_bytes(in->npy.type),
					   type_name(raw), type_name(raw));
	}
	return 0;
}

int settle(const struct run *r, const struct input *in, unsigned int dim, const char *option,
	   uint32_t *size)
{
	uint64_t found;

	if (!in->path)
		return 0;
	found = in->npy.dim[in->npy.ndim - 1 - dim];
	if (!found || found > MAX_SIZE)
		return usage_error(r->common.command, "--%s %s: a dimension of %llu is not within 1 to %u",
				   in->option, in->path, (unsigned long long)found, MAX_SIZE);
	if (*size && *size != found)
		return usage_error(r->common.command, "--%s %s: %s is %llu there and %u elsewhere",
				   in->option, in->path, option, (unsigned long long)found, *size);
	*size = (uint32_t)found;
	return 0;
}

int check_ndim(const struct run *r, const struct input *in, unsigned int least,
	       unsigned int most)
{
	char range[16] = "";

	if (!in->path || (in->npy.ndim >= least && in->npy.ndim <= most))
		return 0;
	if (least < most)
		snprintf(range, sizeof(range), " %s %u", most == least + 1 ? "or" : "to", most);
	return usage_error(r->common.command, "--%s %s: it has %u dimensions, not %u%s", in->option,
			   in->path, in->npy.ndim, least, range);
}

/* Into tensor->host, in the tensor's type. */
static void convert(const struct npy *npy, struct tensor *t)
{
	const void *data = npy->data;

	if (npy_type_bytes(npy->type) == type_bytes(t->type) && npy->type != NPY_F16) {
		/* Bits of the type, or indices; fp32 too. */
		memcpy(t->host, data, t->count * type_bytes(t->type));
		return;
	}
	for (uint64_t i = 0; i < t->count; i++)
		set_element(t->host, t->type, i,
			    npy->type == NPY_F64 ? ((const double *)data)[i] :
			    npy->type == NPY_F16 ? f16_to_f32(((const uint16_t *)data)[i]) :
			    npy->type == NPY_I8 ? ((const int8_t *)data)[i] :
			    ((const float *)data)[i]);
}

static bool absent(const struct input *in)
{
	return in->optional && !in->path;
}

static void make_indices(struct run *r, struct input *in, unsigned int stream)
{
	uint32_t *index = in->tensor.host;
	float *x = in->tensor.host;

	fill_random(x, KILN_TYPE_F32, in->count, r->common.seed, stream);
	for (uint64_t i = 0; i < in->count; i++)
		index[i] = (uint32_t)((x[i] + 1.0) / 2 * in->limit);
}

int (*explain)(const struct card *card, const struct workload *w);

static int fail(const struct run *r)
{
	fprintf(stderr, "%s: %s\n", r->common.command, kiln_last_error());
	return 1;
}

static int make_inputs(struct run *r)
{
	for (unsigned int i = 0; i < r->inputs; i++) {
		struct input *in = &r->input[i];
		enum kiln_type type = in->kind == INPUT_DATA ? r->type :
				      in->kind == INPUT_F32 ? KILN_TYPE_F32 : KILN_TYPE_I32;

		if (absent(in))
			continue;
		if (in->path && in->npy.count != in->count)
			return usage_error(r->common.command, "--%s %s: it has %llu elements, not %llu",
					   in->option, in->path, (unsigned long long)in->npy.count,
					   (unsigned long long)in->count);
		if (tensor_create(r->card.device, type, in->count, &in->tensor))
			return fail(r);
		if (in->path) {
			convert(&in->npy, &in->tensor);
			free(in->npy.data);
			in->npy.data = NULL;
		} else if (explain) {
			continue;	/* what stands there does not matter */
		} else if (in->kind == INPUT_INDEX) {
			make_indices(r, in, i);
		} else {
			fill_random(in->tensor.host, type, in->count, r->common.seed, i);
		}
		if (tensor_upload(&in->tensor))
			return fail(r);
	}
	return 0;
}

static int write_file(struct run *r, const char *option, const char *path,
		      const struct tensor *t)
{
	struct npy npy = {
		.type = NPY_F32, .ndim = r->out_ndim, .count = t->count, .data = t->host,
	};
	char error[512];
	float *wide = NULL;
	int err;

	memcpy(npy.dim, r->out_dim, sizeof(npy.dim));
	if (t->type == KILN_TYPE_I32) {
		npy.type = NPY_I32;
	} else if (t->type != KILN_TYPE_F32 && r->common.out_raw) {
		npy.type = t->type == KILN_TYPE_F16 ? NPY_F16 : type_bytes(t->type) == 1 ? NPY_U8 :
			   NPY_U16;
	} else if (t->type != KILN_TYPE_F32) {
		wide = malloc(npy.count * sizeof(*wide));
		if (!wide) {
			fprintf(stderr, "%s: no memory for the result as f4\n", r->common.command);
			return 1;
		}
		for (uint64_t i = 0; i < npy.count; i++)
			wide[i] = (float)element(t->host, t->type, i);
		npy.data = wide;
	}
	err = npy_write(path, &npy, error, sizeof(error));
	if (err)
		fprintf(stderr, "%s: --%s %s\n", r->common.command, option, error);
	free(wide);
	return err ? 1 : 0;
}

static int write_out(struct run *r)
{
	if (r->common.out && write_file(r, "out", r->common.out, &r->out))
		return 1;
	return r->indices_path ? write_file(r, "out-indices", r->indices_path, &r->indices) : 0;
}

static void check(struct run *r)
{
	bool random = true;

	for (unsigned int i = 0; i < r->inputs; i++)
		random &= !r->input[i].path;
	r->w.checked = true;
	r->check(r, random);
}

static int download(struct run *r)
{
	if (!r->common.check && !r->common.out && !r->indices_path)
		return 0;
	if (tensor_download(&r->out) || (r->has_indices && tensor_download(&r->indices)))
		return fail(r);
	return 0;
}

/* The program that ran, for kiln disasm. */
static int dump_program(struct run *r)
{
	const char *path = r->common.dump_program;
	size_t bytes = 0;
	const void *program = kiln_ops_get_program(r->card.ops, 0, &bytes);
	FILE *file = fopen(path, "wb");

	if (file && fwrite(program, 1, bytes, file) == bytes && !fclose(file))
		return 0;
	fprintf(stderr, "%s: --dump-program %s: %s\n", r->common.command, path, strerror(errno));
	return 1;
}

/* With the card open: memory, the op, the check, the report. */
static int on_card(struct run *r)
{
	uint64_t count = 1;
	int status;

	for (unsigned int i = 0; i < r->out_ndim; i++)
		count *= r->out_dim[i];
	status = make_inputs(r);
	if (status)
		return status;
	if (tensor_create(r->card.device, r->out_type, count, &r->out) ||
	    (r->has_indices && tensor_create(r->card.device, KILN_TYPE_I32, count, &r->indices)))
		return fail(r);
	r->bind(r);
	workload_run(&r->card, &r->w, r->common.repeat);
	if (explain && !r->w.error)
		return explain(&r->card, &r->w);
	if (!r->w.error && download(r))
		return 1;
	if (!r->w.error && r->common.check)
		check(r);

	if (r->common.json) {
		print_json(&r->card, &r->w, r->common.seed, r->common.repeat);
	} else {
		char text[160];

		card_describe(&r->card, text, sizeof(text));
		printf("%s\n", text);
		print_header();
		print_row(&r->card, &r->w);
	}
	if (!r->w.error && write_out(r))
		return 1;
	if (!r->w.error && r->common.dump_program && dump_program(r))
		return 1;
	return workload_ok(&r->w) ? 0 : 1;
}

static int with_card(struct run *r)
{
	uint64_t most = 1;
	int status;

	for (unsigned int i = 0; i < r->out_ndim; i++)
		if (__builtin_mul_overflow(most, r->out_dim[i], &most) || most > MAX_ELEMENTS)
			return usage_error(r->common.command, "the result would have more than 2^40 elements");
	for (unsigned int i = 0; i < r->inputs; i++)
		if (r->input[i].count > MAX_ELEMENTS)
			return usage_error(r->common.command, "--%s would have more than 2^40 elements",
					   r->input[i].option);

	status = card_open(r->common.transport, (enum kiln_submit_way)r->common.way, &r->card);
	if (status)
		return status;
	status = on_card(r);
	for (unsigned int i = 0; i < r->inputs; i++)
		tensor_destroy(&r->input[i].tensor);
	tensor_destroy(&r->out);
	tensor_destroy(&r->indices);
	card_close(&r->card);
	return status;
}

int run_op(struct run *r, int argc, char **argv, const struct option *table)
{
	int err;

	r->common.seed = 1;
	r->common.repeat = 1;
	err = options_parse(r->common.command, argc, argv, table);
	if (!err)
		err = load_files(r);
	if (!err)
		err = choose_type(r);
	if (!err)
		err = r->sizes(r);
	if (!err) {
		if (!r->out_type)
			r->out_type = r->type;
		r->w.type = r->type;
		r->w.out_type = r->out_type;
		err = with_card(r);
	}
	free_inputs(r);
	return err;
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
	struct input *a = &r->input[0], *b = &r->input[1];
	const char *command = r->common.command;
	uint64_t batch;
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
	if (!r->out_type && type_bytes(r->type) == 1)
		r->out_type = r->type == KILN_TYPE_I8 ? KILN_TYPE_I32 : KILN_TYPE_F32;
	mm->type = r->type;
	mm->out_type = r->out_type ? r->out_type : r->type;
	batch = mm->batch ? mm->batch : 1;
	a->count = product(mm->m, mm->k, batch);
	b->count = product(mm->k, mm->n, batch);
	if (mm->batch)
		r->out_dim[r->out_ndim++] = batch;
	r->out_dim[r->out_ndim++] = mm->m;
	r->out_dim[r->out_ndim++] = mm->n;
	return 0;
}

static void bind_matmul(struct run *r)
{
	r->w.matmul.a = r->input[0].tensor.addr;
	r->w.matmul.b = r->input[1].tensor.addr;
	r->w.matmul.c = r->out.addr;
}

static void matmul_check(struct run *r, bool random)
{
	check_matmul(&r->w.matmul, r->input[0].tensor.host, r->input[1].tensor.host, r->out.host,
		     random, r->common.seed, &r->w.check);
}

static int run_matmul(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run matmul",
		.w.op = WORKLOAD_MATMUL,
		.input = { { .option = "a" }, { .option = "b" } },
		.inputs = 2,
		.sizes = matmul_sizes, .bind = bind_matmul, .check = matmul_check,
	};
	struct kiln_matmul *mm = &r.w.matmul;
	const struct option table[] = {
		/* Before the common one, which has fewer choices. */
		{ .name = "dtype", .kind = OPTION_CHOICE, .value = &r.common.dtype,
		  .choices = all_dtypes },
		{ .name = "out-dtype", .kind = OPTION_CHOICE, .value = &r.common.out_dtype,
		  .choices = all_dtypes },
		COMMON_OPTIONS(r.common),
		SIZE_OPTION("m", mm->m),
		SIZE_OPTION("n", mm->n),
		SIZE_OPTION("k", mm->k),
		SIZE_OPTION("batch", mm->batch),
		{ .name = "trans-a", .kind = OPTION_FLAG, .value = &mm->trans_a },
		{ .name = "trans-b", .kind = OPTION_FLAG, .value = &mm->trans_b },
		FILE_OPTION(r, 0),
		FILE_OPTION(r, 1),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

/* A mask's dimensions as NumPy broadcasts them: the last ones stand at the end. */
static int mask_sizes(struct run *r)
{
	struct kiln_attention *at = &r->w.attention;
	const uint32_t full[4] = { at->batch ? at->batch : 1, at->heads, at->seq_q, at->seq_kv };
	struct input *mask = &r->input[3], *slopes = &r->input[4];

	if (slopes->path) {
		uint32_t heads = at->heads;
		int err = check_ndim(r, slopes, 1, 1);

		slopes->count = heads;
		if (err || (err = settle(r, slopes, 0, "heads", &heads)))
			return err;
	}
	if (!mask->path)
		return 0;
	mask->count = mask->npy.count;
	at->mask_type = KILN_TYPE_F32;
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int lead = 4 - mask->npy.ndim;
		uint64_t dim = i < lead ? 1 : mask->npy.dim[i - lead];

		if (dim != 1 && dim != full[i])
			return usage_error(r->common.command, "--mask %s: a dimension is %llu, not %u or 1",
					   mask->path, (unsigned long long)dim, full[i]);
		at->mask_dim[i] = (uint32_t)dim;
	}
	return 0;
}

static int attention_sizes(struct run *r)
{
	struct kiln_attention *at = &r->w.attention;
	struct input *q = &r->input[0], *k = &r->input[1], *v = &r->input[2];
	const char *command = r->common.command;
	int err;

	for (unsigned int i = 0; i < 3; i++) {
		if ((err = check_ndim(r, &r->input[i], 3, 4)))
			return err;
		if (r->input[i].path && r->input[i].npy.ndim == 4 &&
		    (err = settle(r, &r->input[i], 3, "batch", &at->batch)))
			return err;
	}
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
	if ((at->causal || at->window) && at->seq_q > at->seq_kv)
		return usage_error(command, "--%s wants seq-q (%u) to be at most seq-kv (%u)",
				   at->causal ? "causal" : "window", at->seq_q, at->seq_kv);
	at->type = r->type;
	q->count = product(at->heads, at->seq_q, at->dim);
	k->count = product(at->kv_heads, at->seq_kv, at->dim);
	if (at->batch) {
		q->count = product(q->count, at->batch, 1);
		k->count = product(k->count, at->batch, 1);
		r->out_dim[r->out_ndim++] = at->batch;
	}
	v->count = k->count;
	r->out_dim[r->out_ndim++] = at->heads;
	r->out_dim[r->out_ndim++] = at->seq_q;
	r->out_dim[r->out_ndim++] = at->dim;
	return mask_sizes(r);
}

static void bind_attention(struct run *r)
{
	struct kiln_attention *at = &r->w.attention;

	at->q = r->input[0].tensor.addr;
	at->k = r->input[1].tensor.addr;
	at->v = r->input[2].tensor.addr;
	at->mask = r->input[3].tensor.addr;
	at->slopes = r->input[4].tensor.addr;
	at->out = r->out.addr;
}

static void attention_check(struct run *r, bool random)
{
	const struct input *in = r->input;

	check_attention(&r->w.attention, &(struct check_inputs) {
		in[0].tensor.host, in[1].tensor.host, in[2].tensor.host, in[3].tensor.host,
		in[4].tensor.host }, r->out.host, random, r->common.seed, &r->w.check);
}

static int run_attention(int argc, char **argv)
{
	struct run r = {
		.common.command = "kiln run attention",
		.w.op = WORKLOAD_ATTENTION,
		.input = {
			{ .option = "q" }, { .option = "k" }, { .option = "v" },
			{ .option = "mask", .kind = INPUT_F32, .optional = true },
			{ .option = "slopes", .kind = INPUT_F32, .optional = true },
		},
		.inputs = 5,
		.sizes = attention_sizes, .bind = bind_attention, .check = attention_check,
	};
	struct kiln_attention *at = &r.w.attention;
	const struct option table[] = {
		COMMON_OPTIONS(r.common),
		SIZE_OPTION("batch", at->batch),
		SIZE_OPTION("heads", at->heads),
		SIZE_OPTION("kv-heads", at->kv_heads),
		SIZE_OPTION("seq-q", at->seq_q),
		SIZE_OPTION("seq-kv", at->seq_kv),
		SIZE_OPTION("dim", at->dim),
		FLOAT_OPTION("scale", at->scale),
		{ .name = "causal", .kind = OPTION_FLAG, .value = &at->causal },
		SIZE_OPTION("window", at->window),
		FLOAT_OPTION("softcap", at->softcap),
		FILE_OPTION(r, 0),
		FILE_OPTION(r, 1),
		FILE_OPTION(r, 2),
		FILE_OPTION(r, 3),
		FILE_OPTION(r, 4),
		{ 0 },
	};

	return run_op(&r, argc, argv, table);
}

int command_run(int argc, char **argv)
{
	int (*op)(int argc, char **argv) = argc ? find_row_op(argv[0]) : NULL;

	if (argc && !strcmp(argv[0], "matmul"))
		op = run_matmul;
	if (argc && !strcmp(argv[0], "attention"))
		op = run_attention;
	if (op)
		return op(argc - 1, argv + 1);
	return usage_error(explain ? "kiln explain" : "kiln run",
			   "an op is wanted: kiln help has the list%s%.32s",
			   argc ? "; not " : "", argc ? argv[0] : "");
}
