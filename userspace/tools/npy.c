// SPDX-License-Identifier: MIT
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "npy.h"

#define MAX_HEADER	65536

static const struct {
	const char *descr;
	enum npy_type type;
} types[] = {		/* the first of each type in the order of enum npy_type: for writing */
	{ "<f4", NPY_F32 },
	{ "<f8", NPY_F64 },
	{ "<u2", NPY_U16 },
	{ "|V2", NPY_VOID2 },
	{ "<f2", NPY_F16 },
	{ "<i4", NPY_I32 },
	{ "<u4", NPY_U32 },
	{ "|i1", NPY_I8 },
	{ "|u1", NPY_U8 },
	{ "<V2", NPY_VOID2 },
};

size_t npy_type_bytes(enum npy_type type)
{
	static const uint8_t bytes[] = {
		[NPY_F32] = 4, [NPY_F64] = 8, [NPY_U16] = 2, [NPY_VOID2] = 2, [NPY_F16] = 2,
		[NPY_I32] = 4, [NPY_U32] = 4, [NPY_I8] = 1, [NPY_U8] = 1,
	};

	return bytes[type];
}

struct reader {
	const char *path;
	char *error;
	size_t error_size;
};

__attribute__((format(printf, 2, 3)))
static int fail(const struct reader *r, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(r->error, r->error_size, "%s: %s", r->path, text);
	return -1;
}

static const char *skip_space(const char *p)
{
	while (isspace((unsigned char)*p))
		p++;
	return p;
}

/* What follows 'key': in the header's dictionary, or NULL. */
static const char *find(const char *header, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = header; (p = strpbrk(p, "'\"")); ) {
		char quote = *p++;
		const char *end = strchr(p, quote), *after;

		if (!end)
			return NULL;
		after = skip_space(end + 1);
		if ((size_t)(end - p) == len && !memcmp(p, key, len) && *after == ':')
			return skip_space(after + 1);
		p = end + 1;
	}
	return NULL;
}

static int parse_descr(const struct reader *r, const char *p, struct npy *npy)
{
	char quote = p ? *p : 0;
	const char *end;

	if (quote != '\'' && quote != '"')
		return fail(r, "its elements are records or its header is damaged; an array of numbers is wanted");
	end = strchr(++p, quote);
	if (!end)
		return fail(r, "its header is damaged");
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strlen(types[i].descr) == (size_t)(end - p) &&
		    !memcmp(types[i].descr, p, (size_t)(end - p))) {
			npy->type = types[i].type;
			return 0;
		}
	}
	return fail(r, "its elements are '%.*s'; '<f2', '<f4', '<f8', raw bf16 as '<u2' or '|V2', '<i4', '<u4', '|i1', or raw fp8 as '|u1' is wanted",
		    (int)(end - p < 16 ? end - p : 16), p);
}

static int parse_shape(const struct reader *r, const char *p, struct npy *npy)
{
	if (!p || *p != '(')
		return fail(r, "its header says no shape");
	npy->count = 1;
	for (p = skip_space(p + 1); *p != ')'; ) {
		char *end;

		if (npy->ndim == NPY_MAX_DIMS)
			return fail(r, "it has more than %d dimensions", NPY_MAX_DIMS);
		if (!isdigit((unsigned char)*p))
			return fail(r, "its header is damaged");
		errno = 0;
		npy->dim[npy->ndim] = strtoull(p, &end, 10);
		if (errno || __builtin_mul_overflow(npy->count, npy->dim[npy->ndim], &npy->count) ||
		    npy->count > 1ull << 40)
			return fail(r, "its shape is too large");
		npy->ndim++;
		p = skip_space(end);
		if (*p == ',')
			p = skip_space(p + 1);
		else if (*p != ')')
			return fail(r, "its header is damaged");
	}
	return 0;
}

static int parse_header(const struct reader *r, const char *header, struct npy *npy)
{
	const char *order = find(header, "fortran_order");

	if (parse_descr(r, find(header, "descr"), npy))
		return -1;
	if (!order || (strncmp(order, "False", 5) && strncmp(order, "True", 4)))
		return fail(r, "its header is damaged");
	if (*order == 'T')
		return fail(r, "it is in Fortran order; save it with numpy.ascontiguousarray()");
	return parse_shape(r, find(header, "shape"), npy);
}

static int read_file(const struct reader *r, FILE *file, struct npy *npy)
{
	unsigned char start[12];
	size_t len, start_len, bytes;
	struct stat st;
	char *header;
	int err;

	if (fread(start, 1, 10, file) != 10 && ferror(file))
		return fail(r, "%s", strerror(errno));
	if (feof(file) || memcmp(start, "\x93NUMPY", 6))
		return fail(r, "it is no .npy file");
	if (start[6] == 1) {
		start_len = 10;
		len = start[8] | (size_t)start[9] << 8;
	} else if (start[6] == 2) {
		start_len = 12;
		if (fread(start + 10, 1, 2, file) != 2)
			return fail(r, "it ends in the header");
		len = start[8] | (size_t)start[9] << 8 | (size_t)start[10] << 16 |
		      (size_t)start[11] << 24;
	} else {
		return fail(r, "it has .npy format %u.%u; 1.0 and 2.0 are known",
			    start[6], start[7]);
	}
	if (len > MAX_HEADER)
		return fail(r, "its header of %zu bytes is too long", len);
	header = malloc(len + 1);
	if (!header)
		return fail(r, "out of memory");
	if (fread(header, 1, len, file) != len) {
		free(header);
		return fail(r, "it ends in the header");
	}
	header[len] = 0;
	err = parse_header(r, header, npy);
	free(header);
	if (err)
		return err;

	/* Before so much memory is asked for: is there a file behind it? */
	bytes = npy->count * npy_type_bytes(npy->type);
	if (!fstat(fileno(file), &st) && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size != start_len + len + bytes)
		return fail(r, "it has %lld bytes of data, its shape wants %zu",
			    (long long)st.st_size - (long long)(start_len + len), bytes);
	npy->data = malloc(bytes ? bytes : 1);
	if (!npy->data)
		return fail(r, "no memory for its %zu bytes", bytes);
	if (fread(npy->data, 1, bytes, file) != bytes) {
		free(npy->data);
		npy->data = NULL;
		return fail(r, "it ends before its data does");
	}
	return 0;
}

int npy_read(const char *path, struct npy *npy, char *error, size_t error_size)
{
	const struct reader r = { path, error, error_size };
	FILE *file = fopen(path, "rb");
	int err;

	*npy = (struct npy){ 0 };
	if (!file)
		return fail(&r, "%s", strerror(errno));
	err = read_file(&r, file, npy);
	fclose(file);
	return err;
}

int npy_write(const char *path, const struct npy *npy, char *error, size_t error_size)
{
	const struct reader r = { path, error, error_size };
	char header[256], shape[128] = "";
	size_t len, total;
	FILE *file;
	bool bad;

	for (unsigned int i = 0; i < npy->ndim; i++)
		snprintf(shape + strlen(shape), sizeof(shape) - strlen(shape), "%llu,%s",
			 (unsigned long long)npy->dim[i], i + 1 < npy->ndim ? " " : "");
	/* (3, 4) and (3,): one comma at the end only where Python needs it. */
	if (npy->ndim > 1)
		shape[strlen(shape) - 1] = 0;
	len = (size_t)snprintf(header, sizeof(header),
			       "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
			       types[npy->type].descr, shape);
	total = (10 + len + 1 + 63) / 64 * 64 - 10;
	memset(header + len, ' ', total - len);
	header[total - 1] = '\n';

	file = fopen(path, "wb");
	if (!file)
		return fail(&r, "%s", strerror(errno));
	bad = fwrite("\x93NUMPY\x01\x00", 1, 8, file) != 8;
	bad |= fputc((int)(total & 255), file) == EOF;
	bad |= fputc((int)(total >> 8), file) == EOF;
	bad |= fwrite(header, 1, total, file) != total;
	bad |= fwrite(npy->data, npy_type_bytes(npy->type), npy->count, file) != npy->count;
	bad |= fclose(file) != 0;
	return bad ? fail(&r, "writing it: %s", strerror(errno)) : 0;
}
