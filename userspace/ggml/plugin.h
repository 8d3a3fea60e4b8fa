/* SPDX-License-Identifier: MIT */
/*
 * libggml-kiln: a Kiln card as a backend of ggml.
 *
 * A tensor's data pointer is its device address; the CPU reaches it through the
 * buffer's mapping. A node of a graph becomes calls of libkiln's ops, and one
 * function a node says both whether that can be done and how (lower.h).
 */
#ifndef KILN_GGML_PLUGIN_H
#define KILN_GGML_PLUGIN_H

#include "kiln_ops.h"

#include "interface.h"

#define log_error(...)	ggml_log_internal(GGML_LOG_LEVEL_ERROR, "kiln: " __VA_ARGS__)
#define log_warn(...)	ggml_log_internal(GGML_LOG_LEVEL_WARN, "kiln: " __VA_ARGS__)

struct card {
	struct kiln_device *kiln;
	struct kiln_info info;
	struct kiln_ops *dry;		/* to ask what it computes */
	char name[16], description[64];
	struct ggml_backend_device dev;
	struct ggml_backend_buffer_type memory;
};

/*
 * When the buffer of a tensor was last written to, by a clock that is never the same
 * twice; 0: it is not one for weights.
 */
uint64_t memory_written(const struct ggml_tensor *t);
/* Whether it is memory of a card of ours */
bool memory_is_ours(ggml_backend_buffer_t buffer);
/* A node of a graph writes there. */
void memory_write(const struct ggml_tensor *t);

/* A stream of graphs on a card; NULL after saying why not. */
ggml_backend_t stream_create(struct card *card);

/* Whether the card computes this node, exactly as it is. */
bool stream_supports(struct card *card, const struct ggml_tensor *node);

#endif
