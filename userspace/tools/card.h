/* SPDX-License-Identifier: MIT */
/* An open card with one queue, and a workload's way over it. */
#ifndef KILN_TOOL_CARD_H
#define KILN_TOOL_CARD_H

#include "check.h"
#include "kiln_ops.h"

struct card {
	struct kiln_device *device;
	struct kiln_queue *queue;
	struct kiln_ops *ops;
	struct kiln_info info;
};

/* 0, or after a line on stderr the exit status. */
int card_open(const char *transport, enum kiln_submit_way way, struct card *card);
void card_close(struct card *card);

/* "trn2, 1 core, ... through io_uring" */
void card_describe(const struct card *card, char *text, size_t size);

/* A workload: an op, and what came of it. */
struct workload {
	enum {
		WORKLOAD_MATMUL, WORKLOAD_ATTENTION, WORKLOAD_SOFTMAX, WORKLOAD_RMSNORM,
		WORKLOAD_LAYERNORM, WORKLOAD_UNARY, WORKLOAD_BINARY, WORKLOAD_GLU, WORKLOAD_GATHER,
		WORKLOAD_ROPE, WORKLOAD_REDUCE, WORKLOAD_TOPK,
	} op;
	union {
		struct kiln_matmul matmul;
		struct kiln_attention attention;
		struct kiln_softmax softmax;
		struct kiln_norm norm;
		struct kiln_unary unary;
		struct kiln_binary binary;
		struct kiln_glu glu;
		struct kiln_gather gather;
		struct kiln_rope rope;
		struct kiln_reduce reduce;
		struct kiln_topk topk;
	};
	enum kiln_type type, out_type;	/* of the two first their own count */
	char shape[64];			/* of all but the two first */
	/* out */
	uint64_t commands;		/* of one run */
	uint64_t wall_ns;		/* of the fastest run, from submission to completion */
	uint64_t cycles;
	int error;			/* negative errno: it did not run */
	char why[256];			/* then */
	bool checked;
	struct check check;
};

/* Submit it repeat times, one after the other. */
void workload_run(struct card *card, struct workload *w, unsigned int repeat);

/* 0: of an op that is not about products. */
double workload_flops(const struct workload *w);
const char *workload_name(const struct workload *w);
void workload_shape(const struct workload *w, char *text, size_t size);
void workload_dtype(const struct workload *w, char *text, size_t size);
bool workload_ok(const struct workload *w);

void print_header(void);
void print_row(const struct card *card, const struct workload *w);
void print_json(const struct card *card, const struct workload *w, uint64_t seed,
		unsigned int repeat);

/* A string as JSON has it, quotes and all. */
void print_json_string(const char *text);

#endif
