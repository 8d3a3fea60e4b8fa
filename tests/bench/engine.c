// SPDX-License-Identifier: MIT
/*
 * The engine beside the libraries that serve the same purpose on this host's
 * CPU, through the whole sim transport: what issue "Speed" asks for.
 *
 *	engine [-o DIR] [NAME...]
 *
 * Only the comparisons that have a NAME in theirs; DIR: engine.json and
 * engine.svg are written there. Who is compared runs in turns in this one
 * process, one thread each, and the best run of each counts: the neighbours of
 * this machine take time from all alike, but not evenly. All compute the same
 * from the same numbers, and it is looked at whether they agree.
 *
 * Environment: OMP_WAIT_POLICY=passive and OPENBLAS_NUM_THREADS=1, lest threads
 * of one peer stand in the way of the next one; BENCH_SECONDS=10, the time for
 * each comparison.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <unistd.h>

#include <cblas.h>
#include <ggml.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <kiln.h>
#include <kiln_ops.h>
#include <omp.h>

#include "host.h"
#include "onednn.h"

#define MIN_ROUNDS	3
#define GIGA		1e-9

__attribute__((format(printf, 1, 2), noreturn))
static void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("engine: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	exit(1);
}

/* ------------------------------------------------------------------ rounds -- */

struct runner {
	const char *who;
	void (*run)(void *arg);
	void *arg;
	double work;			/* of a run: 10^9 times the unit */
	double best;			/* seconds */
};

/* All in turns until time is up. The first run of each is not counted. */
static void take_turns(struct runner *r, unsigned int count)
{
	const char *text = getenv("BENCH_SECONDS");
	double until = seconds() + (text ? atof(text) : 10);

	for (unsigned int i = 0; i < count; i++)
		r[i].best = INFINITY;
	for (int round = 0; round <= MIN_ROUNDS || seconds() < until; round++)
		for (unsigned int i = 0; i < count; i++) {
			double start = seconds(), took;

			r[i].run(r[i].arg);
			took = seconds() - start;
			if (round && took < r[i].best)
				r[i].best = took;
		}
}

static double rate(const struct runner *r)
{
	return r->work / r->best;
}

/* ----------------------------------------------------------------- results -- */

static struct result {
	const char *name;
	double value, target;
	char figures[160];
} results[16];
static unsigned int result_count;
static char **wanted;

static bool want(const char *name)
{
	bool any = false;

	for (char **w = wanted; *w; w++)
		any |= strstr(name, *w) != NULL;
	return any || !*wanted;
}

static bool met(const struct result *r)
{
	return r->value >= r->target;
}

__attribute__((format(printf, 4, 5)))
static void report(const char *name, double value, double target, const char *format, ...)
{
	struct result *r;
	va_list ap;

	if (!want(name))
		return;
	r = &results[result_count++];
	*r = (struct result){ .name = name, .value = value, .target = target };
	va_start(ap, format);
	vsnprintf(r->figures, sizeof(r->figures), format, ap);
	va_end(ap);
	printf("%-30s %6.3f   target %5.3f   %-6s   %s\n", name, value, target,
	       met(r) ? "met" : "MISSED", r->figures);
	fflush(stdout);
}

/* One against another, both as rates. */
static void compare(const char *name, double target, const struct runner *our,
		    const struct runner *their, const char *unit)
{
	report(name, rate(our) / rate(their), target, "%s %.1f, %s %.1f %s", our->who, rate(our),
	       their->who, rate(their), unit);
}

static FILE *create(const char *dir, const char *file)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "w");
	if (!f)
		die("%s: %s", path, strerror(errno));
	return f;
}

static void finish(FILE *f, const char *file)
{
	if (fclose(f))
		die("%s: %s", file, strerror(errno));
}

static void write_json(const char *dir)
{
	FILE *f = create(dir, "engine.json");

	for (unsigned int i = 0; i < result_count; i++) {
		const struct result *r = &results[i];

		fprintf(f, "%s{\"name\": \"%s\", \"value\": %.3f, \"unit\": \"ratio\", \"target\": %.3f, \"met\": %s}",
			i ? ",\n " : "[", r->name, r->value, r->target,
			met(r) ? "true" : "false");
	}
	fputs("]\n", f);
	finish(f, "engine.json");
}

/* A bar each; all targets are on one line. */
static void write_svg(const char *dir)
{
	const int left = 250, target = 260, row = 44, top = 56;
	int height = top + row * (int)result_count + 8;
	FILE *f = create(dir, "engine.svg");

	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"%d\" font-family=\"sans-serif\" font-size=\"13\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
		"<text x=\"12\" y=\"22\" font-size=\"16\">The engine beside this host's own libraries, same run, same numbers</text>\n"
		"<text x=\"%d\" y=\"46\" text-anchor=\"middle\" fill=\"#555\">target</text>\n",
		height, left + target);
	for (unsigned int i = 0; i < result_count; i++) {
		const struct result *r = &results[i];
		int y = top + row * (int)i;
		double width = target * r->value / r->target;

		fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n"
			"<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"18\" fill=\"%s\"/>\n"
			"<text x=\"%d\" y=\"%d\" fill=\"%s\">%.3f of %.3f</text>\n"
			"<text x=\"%d\" y=\"%d\" font-size=\"11\" fill=\"#555\">%s</text>\n",
			left - 10, y + 14, r->name, left, y, width < 620 ? width : 620,
			met(r) ? "#4a8f5b" : "#b5533c", left + 8, y + 14, "white", r->value,
			r->target, left, y + 31, r->figures);
	}
	fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"50\" y2=\"%d\" stroke=\"black\" stroke-dasharray=\"4 3\"/>\n</svg>\n",
		left + target, left + target, height - 4);
	finish(f, "engine.svg");
}

/* ----------------------------------------------------------------- numbers -- */

static uint64_t random_bits(void)
{
	static uint64_t state = 1;
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* About normal, variance 1. */
static float normal(void)
{
	uint64_t r = random_bits();
	float sum = (r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48);

	return (sum / 65536 - 2) * 1.7320508f;
}

static float from_bf16(uint16_t x)
{
	uint32_t bits = (uint32_t)x << 16;
	float y;

	memcpy(&y, &bits, 4);
	return y;
}

static uint16_t to_bf16(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, 4);
	return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static size_t type_bytes(enum kiln_type type)
{
	return type == KILN_TYPE_BF16 ? 2 : 4;
}

static float element(const void *data, enum kiln_type type, size_t i)
{
	return type == KILN_TYPE_BF16 ? from_bf16(((const uint16_t *)data)[i]) :
		((const float *)data)[i];
}

static void *random_matrix(enum kiln_type type, size_t n)
{
	void *data = host_alloc(n * type_bytes(type));

	for (size_t i = 0; i < n; i++) {
		float x = normal();

		if (type == KILN_TYPE_BF16)
			((uint16_t *)data)[i] = to_bf16(x);
		else
			((float *)data)[i] = x;
	}
	return data;
}

/* How far two results are apart, to the size of what they are about. */
struct difference {
	double square, most;
	size_t n;
};

static void differ(struct difference *d, double x, double y)
{
	double by = fabs(x - y);

	d->square += x * x;
	d->n++;
	if (!(by <= d->most))		/* NaN, too */
		d->most = by;
}

static void agree(const char *what, const struct difference *d, double limit)
{
	double apart = d->most / sqrt(d->square / d->n);

	if (!(apart <= limit))
		die("%s: the results are %g of their size apart, %g at most: not the same computation",
		    what, apart, limit);
}

/* -------------------------------------------------------------------- card -- */

struct card {
	struct kiln_device *device;
	struct kiln_queue *queue[2];
	struct kiln_ops *ops[2];
};

static void kiln_check(int err, const char *what)
{
	if (err)
		die("%s: %s (%s)", what, kiln_last_error(), strerror(-err));
}

static struct card card_open(const char *name, unsigned int queues)
{
	struct card card;

	kiln_check(kiln_open(name, &card.device), name);
	for (unsigned int i = 0; i < queues; i++) {
		kiln_check(kiln_queue_create(card.device, NULL, &card.queue[i]), "queue");
		kiln_check(kiln_ops_create(card.queue[i], &card.ops[i]), "ops");
	}
	return card;
}

static void card_close(struct card *card, unsigned int queues)
{
	for (unsigned int i = 0; i < queues; i++) {
		kiln_ops_destroy(card->ops[i]);
		kiln_queue_destroy(card->queue[i]);
	}
	kiln_close(card->device);
}

static struct kiln_buffer *card_buffer(struct card *card, size_t bytes, const void *content)
{
	struct kiln_buffer *buffer;

	kiln_check(kiln_alloc(card->device, bytes, KILN_HBM, 0, &buffer), "alloc");
	if (!kiln_map(buffer))
		die("map: %s", kiln_last_error());
	memset(kiln_map(buffer), 0, bytes);
	if (content)
		memcpy(kiln_map(buffer), content, bytes);
	return buffer;
}

static void on_done(void *user, const struct kiln_result *result)
{
	(void)user;
	if (result->res)
		die("the card: %s", strerror(-result->res));
}

/* ------------------------------------------------------------------ matmul -- */

/* The same product on one or two cores of a card. */
struct product {
	struct card *card;
	unsigned int cores;
	struct kiln_matmul mm;
};

static void run_product(void *arg)
{
	const struct product *p = arg;
	unsigned int i;

	for (i = 0; i < p->cores; i++) {
		struct kiln_matmul mm = p->mm;

		mm.c += i * (uint64_t)mm.m * mm.n * type_bytes(mm.type);
		kiln_check(kiln_matmul(p->card->ops[i], &mm, on_done, NULL), "matmul");
	}
	for (i = 0; i < p->cores; i++)
		kiln_check(kiln_drain(p->card->queue[i]), "drain");
}

struct blas {
	int n;
	const float *a, *b;
	float *c;
};

static void run_blas(void *arg)
{
	const struct blas *b = arg;

	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, b->n, b->n, b->n, 1, b->a, b->n,
		    b->b, b->n, 0, b->c, b->n);
}

static void run_onednn(void *arg)
{
	onednn_run(arg);
}

#define PEAK_TURNS	4000000

static void run_peak(void *arg)
{
	*(volatile float *)arg = host_peak_loop(PEAK_TURNS);
}

/* Two square matrices, as tensors of the card and for a peer. */
struct square {
	enum kiln_type type;
	uint32_t n;
	size_t bytes;
	void *a, *b, *c;
	struct kiln_buffer *on_card[3];
	struct product product;
};

static struct square square_make(struct card *card, enum kiln_type type, uint32_t n,
				 unsigned int cores)
{
	struct square s = { .type = type, .n = n, .bytes = (size_t)n * n * type_bytes(type) };

	s.a = random_matrix(type, (size_t)n * n);
	s.b = random_matrix(type, (size_t)n * n);
	s.c = host_alloc(s.bytes);
	s.on_card[0] = card_buffer(card, s.bytes, s.a);
	s.on_card[1] = card_buffer(card, s.bytes, s.b);
	s.on_card[2] = card_buffer(card, s.bytes * cores, NULL);
	s.product = (struct product){
		.card = card, .cores = 1,
		.mm = {
			.type = type, .m = n, .n = n, .k = n, .a = kiln_addr(s.on_card[0]),
			.b = kiln_addr(s.on_card[1]), .c = kiln_addr(s.on_card[2]),
		},
	};
	return s;
}

static void square_free(struct square *s, const char *name)
{
	struct difference d = { 0 };
	const void *c = kiln_map(s->on_card[2]);

	for (size_t i = 0; i < (size_t)s->n * s->n; i++)
		differ(&d, element(s->c, s->type, i), element(c, s->type, i));
	agree(name, &d, s->type == KILN_TYPE_BF16 ? 0.1 : 1e-4);
	for (unsigned int i = 0; i < 3; i++)
		kiln_free(s->on_card[i]);
	free(s->a);
	free(s->b);
	free(s->c);
}

static double square_flop(uint32_t n)
{
	return 2.0 * n * n * n * GIGA;
}

static void bench_bf16(struct card *card, uint32_t n, const char *name, const char *peak_name)
{
	bool peak = peak_name && want(peak_name);
	struct square s;
	struct onednn o;
	float sink;

	if (!want(name) && !peak)
		return;
	s = square_make(card, KILN_TYPE_BF16, n, 1);
	onednn_make(&o, dnnl_bf16, n, n, n, s.a, s.b, s.c);

	struct runner r[] = {
		{ "sim", run_product, &s.product, square_flop(n), 0 },
		{ "oneDNN", run_onednn, &o, square_flop(n), 0 },
		{ "VDPBF16PS", run_peak, &sink, PEAK_TURNS * HOST_PEAK_FLOPS * GIGA, 0 },
	};

	if (peak && !host_has_bf16())
		die("this host has no VDPBF16PS: there is nothing to compare with");
	take_turns(r, peak ? 3 : 2);
	compare(name, 0.95, &r[0], &r[1], "GFLOP/s");
	if (peak)
		compare(peak_name, 0.85, &r[0], &r[2], "GFLOP/s");
	square_free(&s, name);
}

static void bench_fp32(struct card *card, uint32_t n, const char *name)
{
	struct square s;
	struct blas b;

	if (!want(name))
		return;
	s = square_make(card, KILN_TYPE_F32, n, 1);
	b = (struct blas){ n, s.a, s.b, s.c };

	struct runner r[] = {
		{ "sim", run_product, &s.product, square_flop(n), 0 },
		{ "OpenBLAS", run_blas, &b, square_flop(n), 0 },
	};

	take_turns(r, 2);
	compare(name, 0.9, &r[0], &r[1], "GFLOP/s");
	square_free(&s, name);
}

static void bench_two_cores(uint32_t n, const char *name)
{
	struct card card;
	struct square s;
	struct product two;
	struct onednn one_thread, two_threads;
	double ours, theirs;

	if (!want(name))
		return;
	card = card_open("sim:cores=2,threads=2", 2);
	s = square_make(&card, KILN_TYPE_BF16, n, 2);
	two = s.product;
	two.cores = 2;
	onednn_make(&one_thread, dnnl_bf16, n, n, n, s.a, s.b, s.c);
	omp_set_num_threads(2);
	onednn_make(&two_threads, dnnl_bf16, n, n, n, s.a, s.b, s.c);

	struct runner r[] = {
		{ "one core", run_product, &s.product, square_flop(n), 0 },
		{ "two cores", run_product, &two, 2 * square_flop(n), 0 },
		{ "oneDNN, one thread", run_onednn, &one_thread, square_flop(n), 0 },
		{ "two threads", run_onednn, &two_threads, square_flop(n), 0 },
	};

	take_turns(r, 4);
	omp_set_num_threads(1);
	ours = rate(&r[1]) / rate(&r[0]);
	theirs = rate(&r[3]) / rate(&r[2]);
	report(name, ours, theirs >= 1.9 ? 1.8 : theirs,
	       "two cores %.1f, one %.1f; oneDNN two threads %.1f, one %.1f (%.3f) GFLOP/s",
	       rate(&r[1]), rate(&r[0]), rate(&r[3]), rate(&r[2]), theirs);
	square_free(&s, name);
	card_close(&card, 2);
}

/* ------------------------------------------------------- matrix and vector -- */

struct bytes {
	const void *data;
	size_t size;
	int64_t sum;
};

static void run_read(void *arg)
{
	struct bytes *b = arg;

	*(volatile int64_t *)&b->sum = host_read(b->data, b->size);
}

/* y = x W, W [k, n] larger than any cache, against reading it. */
static void run_gemv(struct card *card, uint32_t k, uint32_t n, const char *name,
		     struct runner r[2])
{
	const size_t size = (size_t)k * n * 2;
	struct kiln_buffer *on_card[3];
	struct product p;
	struct bytes bytes;
	struct difference d = { 0 };
	const uint16_t *y;
	uint16_t *w, *x;

	w = random_matrix(KILN_TYPE_BF16, (size_t)k * n);
	x = random_matrix(KILN_TYPE_BF16, k);
	on_card[0] = card_buffer(card, (size_t)k * 2, x);
	on_card[1] = card_buffer(card, size, w);
	on_card[2] = card_buffer(card, (size_t)n * 2, NULL);
	bytes = (struct bytes){ .data = w, .size = size };
	p = (struct product){
		.card = card, .cores = 1,
		.mm = {
			.type = KILN_TYPE_BF16, .m = 1, .n = n, .k = k,
			.a = kiln_addr(on_card[0]), .b = kiln_addr(on_card[1]),
			.c = kiln_addr(on_card[2]),
		},
	};
	r[0] = (struct runner){ "sim", run_product, &p, size * GIGA, 0 };
	r[1] = (struct runner){ "reading", run_read, &bytes, size * GIGA, 0 };
	take_turns(r, 2);

	y = kiln_map(on_card[2]);
	for (uint32_t j = 0; j < n; j += n / 64) {
		double sum = 0;

		for (uint32_t i = 0; i < k; i++)
			sum += (double)from_bf16(x[i]) * from_bf16(w[(size_t)i * n + j]);
		differ(&d, sum, from_bf16(y[j]));
	}
	agree(name, &d, 0.05);
	for (unsigned int i = 0; i < 3; i++)
		kiln_free(on_card[i]);
	free(w);
	free(x);
}

/* A decode step of an 8B Llama, its feed-forward's way up and down: the worse one counts. */
static void bench_gemv(struct card *card, const char *name)
{
	const uint32_t wide = 14336, narrow = 4096;
	struct runner up[2], down[2];
	double ratio[2];

	if (!want(name))
		return;
	run_gemv(card, narrow, wide, name, up);
	run_gemv(card, wide, narrow, name, down);
	ratio[0] = rate(&up[0]) / rate(&up[1]);
	ratio[1] = rate(&down[0]) / rate(&down[1]);
	report(name, fmin(ratio[0], ratio[1]), 0.8,
	       "%ux%u: sim %.1f, reading %.1f (%.3f); %ux%u: %.1f, %.1f (%.3f) GB/s",
	       narrow, wide, rate(&up[0]), rate(&up[1]), ratio[0], wide, narrow,
	       rate(&down[0]), rate(&down[1]), ratio[1]);
}

/* --------------------------------------------------------------- attention -- */

#define HEADS	16
#define SEQ	4096
#define DIM	128
#define NUMBERS	((size_t)HEADS * SEQ * DIM)

struct attention {
	struct card *card;
	struct kiln_attention at;
};

static void run_attention(void *arg)
{
	const struct attention *a = arg;

	kiln_check(kiln_attention(a->card->ops[0], &a->at, on_done, NULL), "attention");
	kiln_check(kiln_drain(a->card->queue[0]), "drain");
}

/* The same graph with keys and values of one type. */
struct flash {
	ggml_backend_t backend;
	struct ggml_context *context;
	struct ggml_cgraph *graph;
	ggml_backend_buffer_t buffer;
	struct ggml_tensor *out;
};

static void run_flash(void *arg)
{
	const struct flash *g = arg;

	if (ggml_backend_graph_compute(g->backend, g->graph) != GGML_STATUS_SUCCESS)
		die("ggml: the graph failed");
}

/* From bf16 to what the tensor holds. */
static void tensor_fill(struct ggml_tensor *t, const uint16_t *data)
{
	size_t n = ggml_nelements(t);
	float *plain = malloc(n * sizeof(*plain));
	void *content = malloc(ggml_nbytes(t));

	if (!plain || !content)
		die("no memory");
	for (size_t i = 0; i < n; i++)
		plain[i] = from_bf16(data[i]);
	if (t->type == GGML_TYPE_F32)
		memcpy(content, plain, n * sizeof(*plain));
	else
		ggml_quantize_chunk(t->type, plain, content, 0, 1, n, NULL);
	ggml_backend_tensor_set(t, content, 0, ggml_nbytes(t));
	free(plain);
	free(content);
}

static bool flash_make(struct flash *g, ggml_backend_t backend, enum ggml_type type,
		      const uint16_t *const qkv[3])
{
	struct ggml_init_params params = {
		.mem_size = ggml_tensor_overhead() * 16 + ggml_graph_overhead(),
		.no_alloc = true,
	};
	struct ggml_tensor *t[3], *mask;
	ggml_fp16_t *row;

	g->backend = backend;
	g->context = ggml_init(params);
	for (int i = 0; i < 3; i++)
		t[i] = ggml_new_tensor_3d(g->context, i ? type : GGML_TYPE_F32, DIM, SEQ, HEADS);
	mask = ggml_new_tensor_2d(g->context, GGML_TYPE_F16, SEQ, SEQ);
	g->out = ggml_flash_attn_ext(g->context, t[0], t[1], t[2], mask, 1 / sqrtf(DIM), 0, 0);
	g->graph = ggml_new_graph(g->context);
	ggml_build_forward_expand(g->graph, g->out);
	if (!ggml_backend_supports_op(backend, g->out)) {
		ggml_free(g->context);
		return false;
	}
	g->buffer = ggml_backend_alloc_ctx_tensors(g->context, backend);
	row = malloc(SEQ * sizeof(*row));
	if (!g->buffer || !row)
		die("no memory");
	for (int i = 0; i < 3; i++)
		tensor_fill(t[i], qkv[i]);
	for (size_t i = 0; i < SEQ; i++) {
		for (size_t j = 0; j < SEQ; j++)
			row[j] = ggml_fp32_to_fp16(j <= i ? 0 : -INFINITY);
		ggml_backend_tensor_set(mask, row, i * SEQ * sizeof(*row), SEQ * sizeof(*row));
	}
	free(row);
	return true;
}

static void flash_drop(struct flash *g)
{
	ggml_backend_buffer_free(g->buffer);
	ggml_free(g->context);
}

static ggml_backend_t flash_backend(void)
{
	ggml_backend_set_n_threads_t set_threads;
	ggml_backend_t backend;

	ggml_backend_load_all();
	backend = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, NULL);
	if (!backend)
		die("ggml has no CPU backend");
	set_threads = (ggml_backend_set_n_threads_t)ggml_backend_reg_get_proc_address(
		ggml_backend_dev_backend_reg(ggml_backend_get_device(backend)),
		"ggml_backend_set_n_threads");
	if (!set_threads)
		die("ggml's CPU backend does not let its threads be counted");
	set_threads(backend, 1);
	return backend;
}

/* With the type of keys and values that suits it best. */
static enum ggml_type flash_choose(struct flash *best, const uint16_t *const qkv[3])
{
	static const enum ggml_type types[] = { GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_F32 };
	enum ggml_type chosen = GGML_TYPE_COUNT;
	ggml_backend_t backend = flash_backend();
	double least = INFINITY;

	for (unsigned int i = 0; i < 3; i++) {
		struct flash g;
		double start, took;

		if (!flash_make(&g, backend, types[i], qkv))
			continue;
		start = seconds();
		run_flash(&g);
		took = seconds() - start;
		fprintf(stderr, "engine: ggml with %s keys and values: %.2f s\n",
			ggml_type_name(types[i]), took);
		if (took >= least) {
			flash_drop(&g);
			continue;
		}
		if (chosen != GGML_TYPE_COUNT)
			flash_drop(best);
		*best = g;
		least = took;
		chosen = types[i];
	}
	if (chosen == GGML_TYPE_COUNT)
		die("ggml's CPU backend has no flash attention");
	return chosen;
}

static void bench_attention(struct card *card, const char *name)
{
	struct kiln_buffer *on_card[4];
	struct attention a;
	struct difference d = { 0 };
	const uint16_t *ours;
	uint16_t *qkv[3];
	struct flash g;
	char who[32];
	double flop = 4.0 * HEADS * DIM * (SEQ * (SEQ + 1.0) / 2) * GIGA;

	if (!want(name))
		return;
	for (int i = 0; i < 3; i++) {
		qkv[i] = random_matrix(KILN_TYPE_BF16, NUMBERS);
		on_card[i] = card_buffer(card, NUMBERS * 2, qkv[i]);
	}
	on_card[3] = card_buffer(card, NUMBERS * 2, NULL);
	a = (struct attention){
		.card = card,
		.at = {
			.type = KILN_TYPE_BF16, .heads = HEADS, .kv_heads = HEADS,
			.seq_q = SEQ, .seq_kv = SEQ, .dim = DIM, .causal = true,
			.q = kiln_addr(on_card[0]), .k = kiln_addr(on_card[1]),
			.v = kiln_addr(on_card[2]), .out = kiln_addr(on_card[3]),
		},
	};
	snprintf(who, sizeof(who), "ggml (%s)",
		 ggml_type_name(flash_choose(&g, (const uint16_t *const *)qkv)));

	struct runner r[] = {
		{ "sim", run_attention, &a, flop, 0 },
		{ who, run_flash, &g, flop, 0 },
	};

	take_turns(r, 2);
	compare(name, 2, &r[0], &r[1], "GFLOP/s");

	ours = kiln_map(on_card[3]);
	for (size_t i = 0; i < SEQ; i++)
		for (size_t h = 0; h < HEADS; h++)
			for (size_t j = 0; j < DIM; j++)
				differ(&d, ((float *)g.out->data)[(i * HEADS + h) * DIM + j],
				       from_bf16(ours[(h * SEQ + i) * DIM + j]));
	agree(name, &d, 0.25);
	for (int i = 0; i < 3; i++)
		free(qkv[i]);
	for (int i = 0; i < 4; i++)
		kiln_free(on_card[i]);
	flash_drop(&g);
}

int main(int argc, char **argv)
{
	const char *dir = NULL;
	struct card card;
	bool all = true;
	int c;

	while ((c = getopt(argc, argv, "o:")) != -1) {
		if (c != 'o') {
			fprintf(stderr, "usage: engine [-o DIR] [NAME...]\n");
			return 2;
		}
		dir = optarg;
	}
	wanted = argv + optind;
	omp_set_num_threads(1);
	openblas_set_num_threads(1);

	card = card_open("sim", 1);
	bench_bf16(&card, 2048, "matmul_bf16_2048_vs_onednn", "matmul_bf16_2048_vs_peak");
	bench_bf16(&card, 4096, "matmul_bf16_4096_vs_onednn", NULL);
	bench_fp32(&card, 2048, "matmul_fp32_2048_vs_openblas");
	bench_attention(&card, "attention_bf16_4096_vs_ggml");
	bench_gemv(&card, "gemv_bf16_vs_bandwidth");
	card_close(&card, 1);
	bench_two_cores(2048, "two_cores_vs_one");

	if (dir) {
		write_json(dir);
		write_svg(dir);
	}
	for (unsigned int i = 0; i < result_count; i++)
		all &= met(&results[i]);
	return all && result_count ? 0 : 1;
}
