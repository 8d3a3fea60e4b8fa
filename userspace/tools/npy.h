/* SPDX-License-Identifier: MIT */
/* NumPy's .npy files, formats 1.0 and 2.0, arrays in C order. */
#ifndef KILN_TOOL_NPY_H
#define KILN_TOOL_NPY_H

#include <stddef.h>
#include <stdint.h>

#define NPY_MAX_DIMS	4

enum npy_type {
	NPY_F32,		/* <f4 */
	NPY_F64,		/* <f8 */
	NPY_U16,		/* <u2 */
	NPY_VOID2,		/* |V2, <V2: what bfloat16 extensions write */
	NPY_F16,		/* <f2 */
	NPY_I32,		/* <i4 */
	NPY_U32,		/* <u4 */
	NPY_I8,			/* |i1 */
	NPY_U8,			/* |u1 */
};

struct npy {
	enum npy_type type;
	unsigned int ndim;
	uint64_t dim[NPY_MAX_DIMS];
	uint64_t count;		/* product of dim */
	void *data;		/* the caller's to free() */
};

/* 0, or -1 with one line that names the file in error. */
int npy_read(const char *path, struct npy *npy, char *error, size_t error_size);
int npy_write(const char *path, const struct npy *npy, char *error, size_t error_size);

size_t npy_type_bytes(enum npy_type type);

#endif
