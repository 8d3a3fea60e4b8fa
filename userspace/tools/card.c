// SPDX-License-Identifier: MIT
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "card.h"
#include "options.h"
#include "tensor.h"

int card_open(const char *transport, enum kiln_submit_way way, struct card *card)
{
	struct kiln_queue_attr attr = { .way = way };
	int err;

	*card = (struct card){ 0 };
	err = kiln_open(transport, &card->device);
	if (err) {
		fprintf(stderr, "kiln: %s\n", kiln_last_error());
		/* A name that means nothing is the caller's mistake, a missing card is not. */
		return err == -EINVAL ? EXIT_USAGE : 1;
	}
	if (kiln_get_info(card->device, &card->info) ||
	    kiln_queue_create(card->device, &attr, &card->queue) ||
	    kiln_ops_create(card->queue, &card->ops)) {
		fprintf(stderr, "kiln: %s\n", kiln_last_error());
		card_close(card);
		return 1;
	}
	return 0;
}

void card_close(struct card *card)
{
	if (card->ops)
		kiln_ops_destroy(card->ops);
	if (card->queue)
		kiln_queue_destroy(card->queue);
	if (card->device)
		kiln_close(card->device);
}

void card_describe(const struct card *card, char *text, size_t size)
{
	const struct kiln_info *i = &card->info;
	const char *way = kiln_queue_way(card->queue);

	snprintf(text, size, "trn%u, %u core%s, %.4g GiB HBM, firmware %u.%u, %s%s%s",
		 i->generation, i->cores, i->cores == 1 ? "" : "s",
		 (double)i->hbm_bytes / (1 << 30), i->fw_version >> 16,
		 i->fw_version & 0xffff,
		 *i->path ? i->path : "simulated in this process",
		 *i->path ? " through " : "",
		 !*i->path ? "" : !strcmp(way, "uring") ? "io_uring" : way);
}

struct completion {
	bool done;
	struct kiln_result result;
};

static void completed(void *user, const struct kiln_result *result)
{
	struct completion *c = user;

	c->done = true;
	c->result = *result;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* What the result of a command means, and where it went wrong. */
static void explain(struct card *card, struct workload *w, int res)
{
	struct kiln_fault_info fault;

	w->error = res;
	if (!kiln_get_fault(card->device, &fault) && fault.count)
		snprintf(w->why, sizeof(w->why),
			 "%s: status %u, engine %u, instruction %u, address %#" PRIx64,
			 strerror(-res), fault.status, fault.engine, fault.instruction,
			 fault.address);
	else
		snprintf(w->why, sizeof(w->why), "%s", strerror(-res));
}

static int submit(struct kiln_ops *ops, const struct workload *w, struct completion *c)
{
	switch (w->op) {
	case WORKLOAD_MATMUL:
		return kiln_matmul(ops, &w->matmul, completed, c);
	case WORKLOAD_ATTENTION:
		return kiln_attention(ops, &w->attention, completed, c);
	case WORKLOAD_SOFTMAX:
		return kiln_softmax(ops, &w->softmax, completed, c);
	case WORKLOAD_RMSNORM:
		return kiln_rmsnorm(ops, &w->norm, completed, c);
	case WORKLOAD_LAYERNORM:
		return kiln_layernorm(ops, &w->norm, completed, c);
	case WORKLOAD_UNARY:
		return kiln_unary(ops, &w->unary, completed, c);
	case WORKLOAD_BINARY:
		return kiln_binary(ops, &w->binary, completed, c);
	case WORKLOAD_GLU:
		return kiln_glu(ops, &w->glu, completed, c);
	case WORKLOAD_GATHER:
		return kiln_gather(ops, &w->gather, completed, c);
	case WORKLOAD_ROPE:
		return kiln_rope(ops, &w->rope, completed, c);
	case WORKLOAD_REDUCE:
		return kiln_reduce(ops, &w->reduce, completed, c);
	case WORKLOAD_TOPK:
		return kiln_topk(ops, &w->topk, completed, c);
	}
	return -EINVAL;
}

const char *workload_name(const struct workload *w)
{
	static const char *const name[] = {
		"matmul", "attention", "softmax", "rmsnorm", "layernorm", "unary", "binary", "glu",
		"gather", "rope", "reduce", "topk",
	};

	return name[w->op];
}

void workload_run(struct card *card, struct workload *w, unsigned int repeat)
{
	struct kiln_ops_stats before, after;

	w->wall_ns = UINT64_MAX;
	for (unsigned int i = 0; i < repeat; i++) {
		struct completion c = { 0 };
		uint64_t start, wall;
		int err;

		kiln_ops_get_stats(card->ops, &before);
		start = now_ns();
		err = submit(card->ops, w, &c);
		if (!err)
			err = kiln_drain(card->queue);
		wall = now_ns() - start;
		if (err || !c.done) {
			w->error = err ? err : -1;
			snprintf(w->why, sizeof(w->why), "%s", err ? kiln_last_error() :
				 "it was never reported as done");
			return;
		}
		if (c.result.res) {
			explain(card, w, c.result.res);
			return;
		}
		kiln_ops_get_stats(card->ops, &after);
		w->commands = after.commands - before.commands;
		w->cycles = c.result.cycles;
		if (wall < w->wall_ns)
			w->wall_ns = wall;
	}
}

/* Only the pairs that are not masked away. */
static double pairs(const struct kiln_attention *at)
{
	double n = (double)at->seq_q * at->seq_kv, hidden;

	if (at->causal)
		n -= (double)at->seq_q * (at->seq_q - 1.0) / 2;
	if (at->window && at->window < at->seq_kv)
		for (uint32_t i = 0; i < at->seq_q; i++) {
			double place = (double)i + at->seq_kv - at->seq_q;

			hidden = fmax(place - at->window + 1, 0);
			if (!at->causal)
				hidden += fmax(at->seq_kv - place - at->window, 0);
			n -= hidden;
		}
	return n;
}

double workload_flops(const struct workload *w)
{
	const struct kiln_attention *at = &w->attention;
	const struct kiln_matmul *mm = &w->matmul;

	if (w->op == WORKLOAD_MATMUL)
		return 2.0 * (mm->batch ? mm->batch : 1) * mm->m * mm->n * mm->k;
	if (w->op == WORKLOAD_ATTENTION)
		return 4.0 * (at->batch ? at->batch : 1) * at->heads * pairs(at) * at->dim;
	return 0;
}

static void attention_shape(const struct kiln_attention *at, char *text, size_t size)
{
	char batch[16] = "", kv[16] = "", window[20] = "";

	if (at->batch > 1)
		snprintf(batch, sizeof(batch), "%ux ", at->batch);
	if (at->heads != at->kv_heads)
		snprintf(kv, sizeof(kv), "/%u", at->kv_heads);
	if (at->window)
		snprintf(window, sizeof(window), " window %u", at->window);
	snprintf(text, size, "%s%u%sh %ux%u d%u%s%s%s%s%s", batch, at->heads, kv, at->seq_q,
		 at->seq_kv, at->dim, at->causal ? " causal" : "", window,
		 at->softcap ? " softcap" : "", at->slopes ? " ALiBi" : "", at->mask ? " mask" : "");
}

void workload_shape(const struct workload *w, char *text, size_t size)
{
	const struct kiln_matmul *mm = &w->matmul;
	char batch[16] = "";

	if (w->op == WORKLOAD_ATTENTION) {
		attention_shape(&w->attention, text, size);
	} else if (w->op == WORKLOAD_MATMUL) {
		if (mm->batch > 1)
			snprintf(batch, sizeof(batch), "%ux ", mm->batch);
		snprintf(text, size, "%s%ux%ux%u%s", batch, mm->m, mm->n, mm->k,
			 mm->trans_a ? mm->trans_b ? " A'B'" : " A'B" :
			 mm->trans_b ? " AB'" : "");
	} else {
		snprintf(text, size, "%s", w->shape);
	}
}

static enum kiln_type in_type(const struct workload *w)
{
	return w->op == WORKLOAD_MATMUL ? w->matmul.type :
	       w->op == WORKLOAD_ATTENTION ? w->attention.type : w->type;
}

static enum kiln_type out_type(const struct workload *w)
{
	enum kiln_type type = w->op == WORKLOAD_MATMUL ? w->matmul.out_type :
			      w->op == WORKLOAD_ATTENTION ? w->attention.type : w->out_type;

	return type ? type : in_type(w);
}

void workload_dtype(const struct workload *w, char *text, size_t size)
{
	if (in_type(w) == out_type(w))
		snprintf(text, size, "%s", type_name(in_type(w)));
	else
		snprintf(text, size, "%s>%s", type_name(in_type(w)), type_name(out_type(w)));
}

bool workload_ok(const struct workload *w)
{
	return !w->error && (!w->checked || w->check.ok);
}

static const char *verdict(const struct workload *w)
{
	if (w->error)
		return "FAILED";
	if (!w->checked)
		return "not checked";
	return w->check.ok ? "ok" : "WRONG";
}

static double device_us(const struct card *card, const struct workload *w)
{
	return (double)w->cycles * 1000 / card->info.clock_khz;
}

void print_header(void)
{
	printf("%-9s %-30s %-8s %4s %9s %8s %11s %11s %8s %8s  %-16s %s\n", "op",
	       "shape", "dtype", "cmds", "wall ms", "GFLOP/s", "device us", "cycles",
	       "error", "allowed", "compared", "verdict");
}

static void print_checked(const struct workload *w, char *text, size_t size)
{
	if (!w->checked)
		snprintf(text, size, "-");
	else if (w->check.full)
		snprintf(text, size, "all %" PRIu64, w->check.elements);
	else
		snprintf(text, size, w->op > WORKLOAD_ATTENTION ? "%" PRIu64 : "%" PRIu64 " + %s",
			 w->check.elements,
			 w->op == WORKLOAD_MATMUL ? "probe" :
			 w->op == WORKLOAD_ATTENTION ? "range" : "0");
}

void print_row(const struct card *card, const struct workload *w)
{
	const char *op = workload_name(w);
	char shape[96], dtype[16], checked[32], flops[16] = "-";

	workload_shape(w, shape, sizeof(shape));
	workload_dtype(w, dtype, sizeof(dtype));
	print_checked(w, checked, sizeof(checked));
	if (w->error) {
		printf("%-9s %-30s %-8s %s: %s\n", op, shape, dtype, verdict(w), w->why);
		return;
	}
	if (workload_flops(w) > 0)
		snprintf(flops, sizeof(flops), "%.1f", workload_flops(w) / (double)w->wall_ns);
	printf("%-9s %-30s %-8s %4" PRIu64 " %9.2f %8s %11.1f %11" PRIu64, op, shape,
	       dtype, w->commands, (double)w->wall_ns / 1e6, flops, device_us(card, w), w->cycles);
	if (w->checked)
		printf(" %8.1e %8.1e  %-16s %s", w->check.error, w->check.allowed,
		       checked, verdict(w));
	else
		printf(" %8s %8s  %-16s %s", "-", "-", checked, verdict(w));
	printf("%s%s\n", w->checked && !w->check.ok ? ": " : "",
	       w->checked && !w->check.ok ? w->check.what : "");
}

void print_json_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			printf("\\u%04x", *text);
		else
			putchar(*text);
	}
	putchar('"');
}

/* JSON has no infinity and no NaN. */
static void print_json_number(double x)
{
	if (isfinite(x))
		printf("%.9g", x);
	else
		printf("null");
}

void print_json(const struct card *card, const struct workload *w, uint64_t seed,
		unsigned int repeat)
{
	const struct kiln_attention *at = &w->attention;
	const struct kiln_matmul *mm = &w->matmul;

	printf("{\"op\": \"%s\", ", workload_name(w));
	if (w->op == WORKLOAD_MATMUL)
		printf("\"m\": %u, \"n\": %u, \"k\": %u, \"batch\": %u, \"dtype\": \"%s\", \"out_dtype\": \"%s\", \"trans_a\": %s, \"trans_b\": %s, ",
		       mm->m, mm->n, mm->k, mm->batch ? mm->batch : 1, type_name(mm->type),
		       type_name(mm->out_type ? mm->out_type : mm->type),
		       mm->trans_a ? "true" : "false", mm->trans_b ? "true" : "false");
	else if (w->op == WORKLOAD_ATTENTION)
		printf("\"batch\": %u, \"heads\": %u, \"kv_heads\": %u, \"seq_q\": %u, \"seq_kv\": %u, \"dim\": %u, \"causal\": %s, \"window\": %u, \"softcap\": %.9g, \"alibi\": %s, \"mask\": %s, \"scale\": %.9g, \"dtype\": \"%s\", ",
		       at->batch ? at->batch : 1, at->heads, at->kv_heads, at->seq_q, at->seq_kv,
		       at->dim, at->causal ? "true" : "false", at->window, at->softcap,
		       at->slopes ? "true" : "false", at->mask ? "true" : "false",
		       at->scale != 0 ? at->scale : 1 / sqrt(at->dim), type_name(at->type));
	else
		printf("\"shape\": \"%s\", \"dtype\": \"%s\", \"out_dtype\": \"%s\", ", w->shape,
		       type_name(w->type), type_name(out_type(w)));
	printf("\"transport\": \"%s\", \"path\": ", card->info.transport);
	print_json_string(card->info.path);
	printf(", \"submit\": \"%s\", \"seed\": %" PRIu64 ", \"repeat\": %u, ",
	       kiln_queue_way(card->queue), seed, repeat);
	if (w->error) {
		printf("\"errno\": %d, \"error_text\": ", -w->error);
		print_json_string(w->why);
	} else {
		printf("\"commands\": %" PRIu64 ", \"wall_ms\": %.6g, ", w->commands,
		       (double)w->wall_ns / 1e6);
		if (workload_flops(w) > 0)
			printf("\"gflops\": %.6g, ", workload_flops(w) / (double)w->wall_ns);
		printf("\"device_us\": %.9g, \"cycles\": %" PRIu64, device_us(card, w), w->cycles);
	}
	if (w->checked) {
		printf(", \"check\": {\"kind\": \"%s\", \"elements\": %" PRIu64 ", \"rows\": %" PRIu64 ", \"error\": ",
		       w->check.full ? "full" : "sampled", w->check.elements, w->check.rows);
		print_json_number(w->check.error);
		printf(", \"allowed\": ");
		print_json_number(w->check.allowed);
		printf(", \"ok\": %s", w->check.ok ? "true" : "false");
		if (!w->check.ok) {
			printf(", \"what\": ");
			print_json_string(w->check.what);
		}
		printf("}");
	}
	printf(", \"verdict\": \"%s\"}\n", verdict(w));
}
