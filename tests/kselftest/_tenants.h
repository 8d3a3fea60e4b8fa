/* SPDX-License-Identifier: MIT */
/* Tenants of one card: processes that have it open through libkiln, with programs of their own. */
#ifndef KILN_KSELFTEST_TENANTS_H
#define KILN_KSELFTEST_TENANTS_H

#include <kselftest_harness.h>

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kiln_asm.h>

#include "sim/core_test.h"

/* What tenants tell each other through. */
static inline void *share(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bail("mmap");
	return p;
}

/* As fork(), but the child never outlives its test. */
static inline pid_t fork_tenant(void)
{
	pid_t pid = fork();

	if (pid < 0)
		bail("fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static inline struct kiln_device *open_driver(void)
{
	setenv("KILN_TRANSPORT", "drm", 0);
	return open_card();
}

static inline struct kiln_program *load(struct kiln_device *device, const void *bytes, size_t size)
{
	struct kiln_program *program;

	if (kiln_program_load(device, bytes, size, &program))
		bail("loading");
	return program;
}

/* The program that @as has collected, which ends with that. */
static inline struct kiln_program *assemble(struct kiln_device *device, struct kiln_asm *as)
{
	struct kiln_program *program;
	void *bytes;
	size_t size;

	if (kiln_asm_finish(as, &bytes, &size)) {
		printf("Bail out! assembling: %s\n", kiln_asm_error(as));
		exit(1);
	}
	kiln_asm_destroy(as);
	program = load(device, bytes, size);
	free(bytes);
	return program;
}

#endif
