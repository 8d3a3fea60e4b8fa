// SPDX-License-Identifier: MIT
/* .npy files: what is written is read back, and whatever is damaged is refused without harm. */
#include <unistd.h>

#include "../../userspace/tools/npy.c"
#include "core_test.h"

static char name[] = "/tmp/kiln-npy-XXXXXX";

static void put(const void *bytes, size_t size)
{
	FILE *f = fopen(name, "wb");

	if (!f || fwrite(bytes, 1, size, f) != size)
		exit(1);
	fclose(f);
}

/* A file of format major with this dictionary and so many bytes of data. */
static size_t compose(char *buf, int major, const char *dict, size_t data)
{
	size_t len = strlen(dict), start = major == 1 ? 10 : 12;

	memset(buf, 0, start);
	memcpy(buf, "\x93NUMPY", 6);
	buf[6] = (char)major;
	buf[8] = (char)len;
	buf[9] = (char)(len >> 8);
	memcpy(buf + start, dict, len);
	memset(buf + start + len, 1, data);
	return start + len + data;
}

static void try(const char *what, int major, const char *dict, size_t data, int expected)
{
	static char buf[70000];
	struct npy npy;
	char error[512] = "";
	int err;

	put(buf, compose(buf, major, dict, data));
	err = npy_read(name, &npy, error, sizeof(error));
	is(err, expected, what);
	if (err && (!strstr(error, name) || strchr(error, '\n')))
		ok(false, "%s: one line that names the file: %s", what, error);
	if (!err)
		free(npy.data);
}

static void round_trip(void)
{
	static const struct npy shapes[] = {
		{ .type = NPY_F32, .ndim = 2, .dim = { 3, 4 }, .count = 12 },
		{ .type = NPY_F64, .ndim = 1, .dim = { 5 }, .count = 5 },
		{ .type = NPY_U16, .ndim = 4, .dim = { 2, 1, 3, 2 }, .count = 12 },
		{ .type = NPY_F32, .ndim = 0, .count = 1 },
		{ .type = NPY_F32, .ndim = 2, .dim = { 0, 7 }, .count = 0 },
	};
	uint8_t data[96];
	char error[512];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct npy in = shapes[i], out;

		in.data = data;
		is(npy_write(name, &in, error, sizeof(error)), 0, "written");
		is(npy_read(name, &out, error, sizeof(error)), 0, "read");
		ok(out.type == in.type && out.ndim == in.ndim && out.count == in.count &&
		   !memcmp(out.dim, in.dim, sizeof(in.dim)), "type and shape");
		ok(!memcmp(out.data, data, in.count * npy_type_bytes(in.type)), "data");
		free(out.data);
	}
}

/* Each byte of a good file's head replaced by others: read or refused, never worse. */
static void damage(void)
{
	static const char dict[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }";
	static const unsigned char junk[] = { 0, 1, 0x7f, 0xff, '\'', '(', ')', ',', '9', ' ' };
	char buf[256], error[512];
	size_t size = compose(buf, 1, dict, 24), tried = 0;
	struct npy npy;

	for (size_t at = 0; at < 10 + sizeof(dict) - 1; at++) {
		for (size_t j = 0; j < sizeof(junk); j++) {
			char good = buf[at];

			buf[at] = (char)junk[j];
			put(buf, size);
			if (!npy_read(name, &npy, error, sizeof(error)))
				free(npy.data);
			buf[at] = good;
			tried++;
		}
	}
	for (size_t cut = 0; cut <= size; cut++) {
		put(buf, cut);
		if (!npy_read(name, &npy, error, sizeof(error))) {
			free(npy.data);
			if (cut != size)
				ok(false, "a file cut to %zu bytes is refused", cut);
		}
		tried++;
	}
	ok(tried > 700, "%zu damaged files", tried);
}

#define DICT(descr, order, shape) \
	"{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }"

int main(void)
{
	close(mkstemp(name));
	round_trip();
	try("format 1.0", 1, DICT("'<f4'", "False", "(3, 4)"), 48, 0);
	try("format 2.0", 2, DICT("'<f4'", "False", "(3, 4)"), 48, 0);
	try("format 3.0", 3, DICT("'<f4'", "False", "(3, 4)"), 48, -1);
	try("other spaces and quotes", 1,
	    "{ \"shape\" :(3,4,),\"fortran_order\":False  ,\"descr\" : \"<f4\"}\n", 48, 0);
	try("V2", 1, DICT("'|V2'", "False", "(4,)"), 8, 0);
	try("no shape", 1, "{'descr': '<f4', 'fortran_order': False, }", 48, -1);
	try("no descr", 1, "{'fortran_order': False, 'shape': (3,), }", 12, -1);
	try("no order", 1, "{'descr': '<f4', 'shape': (3,), }", 12, -1);
	try("Fortran order", 1, DICT("'<f4'", "True", "(3, 4)"), 48, -1);
	try("records", 1, DICT("[('x', '<f4')]", "False", "(3,)"), 12, -1);
	try("unknown type", 1, DICT("'<c8'", "False", "(3,)"), 24, -1);
	try("a prefix of a type", 1, DICT("'<f'", "False", "(3,)"), 12, -1);
	try("no end of the type", 1, "{'shape': (3,), 'fortran_order': False, 'descr': '<f4", 12, -1);
	try("no end of the shape", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, ", 12, -1);
	try("a negative size", 1, DICT("'<f4'", "False", "(-3,)"), 12, -1);
	try("five dimensions", 1, DICT("'<f4'", "False", "(1, 1, 1, 1, 1)"), 4, -1);
	try("a shape that overflows", 1, DICT("'<f4'", "False", "(4294967296, 4294967296)"), 0, -1);
	try("a shape that overflows more", 1, DICT("'<f4'", "False", "(99999999999999999999999,)"), 0, -1);
	try("a shape larger than the file", 1, DICT("'<f4'", "False", "(1000000000,)"), 16, -1);
	try("less data than the shape says", 1, DICT("'<f4'", "False", "(3, 4)"), 47, -1);
	try("more data than the shape says", 1, DICT("'<f4'", "False", "(3, 4)"), 49, -1);
	try("an empty header", 1, "", 0, -1);
	damage();
	unlink(name);
	return done_testing();
}
