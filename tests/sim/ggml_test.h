/* SPDX-License-Identifier: MIT */
/* For tests of the ggml plug-in: it is loaded from the build, with cards of the sim transport. */
#ifndef KILN_GGML_TEST_H
#define KILN_GGML_TEST_H

#include <stdio.h>
#include <stdlib.h>

#include <ggml-backend.h>

/* The first of these cards, named as KILN_GGML_CARDS has them; NULL: there is none. */
static inline ggml_backend_dev_t load_plugin(const char *cards)
{
	const char *build = getenv("KILN_BUILD");
	char path[4096];

	setenv("KILN_GGML_CARDS", cards, 1);
	snprintf(path, sizeof(path), "%s/lib/libggml-kiln.so", build ? build : "build/tree");
	return ggml_backend_load(path) ? ggml_backend_dev_by_name("Kiln0") : NULL;
}

#endif
