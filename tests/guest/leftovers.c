// SPDX-License-Identifier: MIT
/*
 * What one tenant leaves behind, another one looks for: in fresh buffers of both
 * kinds, in SBUF, PSUM and semaphores of every core, and by translations that a
 * core may still have.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kiln_asm.h>

#include "sim/core_test.h"

#define SECRET		1234567.0f
#define CHUNK		8192u		/* of one partition, in one transfer */
#define PSUM_BYTES	16384u
#define BUFFER		(8u << 20)

static struct kiln_device *device;
static struct kiln_queue *queue[2];
static struct kiln_buffer *args;

static struct kiln_program *load(struct kiln_asm *as)
{
	struct kiln_program *program;
	void *bytes;
	size_t size;

	if (kiln_asm_finish(as, &bytes, &size)) {
		printf("Bail out! assembling: %s\n", kiln_asm_error(as));
		exit(1);
	}
	kiln_asm_destroy(as);
	if (kiln_program_load(device, bytes, size, &program))
		bail("loading");
	free(bytes);
	return program;
}

/* The secret all over SBUF and PSUM, and in as many semaphores as a program can leave behind. */
static struct kiln_program *filler(uint32_t sbuf)
{
	struct kiln_asm *as = kiln_asm_create(0);

	for (uint32_t at = 0; at < sbuf; at += CHUNK)
		kiln_asm_memset(as, KILN_VECTOR, kiln_tile1(KILN_SBUF, KILN_F32, 0, 128, at, CHUNK / 4), SECRET);
	for (uint32_t at = 0; at < PSUM_BYTES; at += 2048)
		kiln_asm_memset(as, KILN_VECTOR, kiln_tile1(KILN_PSUM, KILN_F32, 0, 128, at, 512), SECRET);
	for (unsigned int sem = 0; sem < 256; sem++) {
		kiln_asm_nop(as, KILN_SYNC);
		kiln_asm_post(as, KILN_SYNC, sem, 7);
	}
	return load(as);
}

/* All of SBUF, and PSUM behind it, as they are at the start, to args[0]. */
static struct kiln_program *dumper(uint32_t sbuf)
{
	struct kiln_asm *as = kiln_asm_create(0);
	uint32_t n = 0, dumped = sbuf / CHUNK;

	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
	for (uint32_t at = 0; at < sbuf; at += CHUNK, n++) {
		kiln_asm_dma(as, KILN_SYNC, 0, kiln_dram(1, 0, CHUNK / 4, 1),
			     kiln_tile1(KILN_SBUF, KILN_F32, 0, 128, at, CHUNK / 4));
		kiln_asm_post(as, KILN_SYNC, 0, 1);
		kiln_asm_addi(as, KILN_SYNC, 1, 1, 128 * CHUNK);
	}
	kiln_asm_wait(as, KILN_SYNC, 0, dumped);
	kiln_asm_nop(as, KILN_SYNC);
	kiln_asm_post(as, KILN_SYNC, 1, 1);
	/* SBUF is safe: PSUM through its beginning. */
	kiln_asm_wait(as, KILN_VECTOR, 1, 1);
	for (uint32_t at = 0; at < PSUM_BYTES; at += 2048)
		kiln_asm_tensor_copy(as, KILN_VECTOR, kiln_tile1(KILN_SBUF, KILN_F32, 0, 128, at, 512),
				     kiln_tile1(KILN_PSUM, KILN_F32, 0, 128, at, 512));
	kiln_asm_post(as, KILN_VECTOR, 2, 1);
	kiln_asm_wait(as, KILN_SYNC, 2, 1);
	for (uint32_t at = 0; at < PSUM_BYTES; at += CHUNK) {
		kiln_asm_dma(as, KILN_SYNC, 0, kiln_dram(1, 0, CHUNK / 4, 1),
			     kiln_tile1(KILN_SBUF, KILN_F32, 0, 128, at, CHUNK / 4));
		kiln_asm_post(as, KILN_SYNC, 3, 1);
		kiln_asm_addi(as, KILN_SYNC, 1, 1, 128 * CHUNK);
	}
	kiln_asm_wait(as, KILN_SYNC, 3, PSUM_BYTES / CHUNK);
	kiln_asm_nop(as, KILN_SYNC);
	return load(as);
}

/* Hangs unless somebody has left something in a semaphore. */
static struct kiln_program *waiter(unsigned int sem)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_wait(as, KILN_SYNC, sem, 1);
	kiln_asm_nop(as, KILN_SYNC);
	return load(as);
}

/* On both queues at the same time, so that each core has one. */
static void run_both(struct kiln_program *program, uint64_t arg0, uint64_t arg1, int res[2])
{
	struct tally tally[2] = { 0 };
	uint64_t *block = kiln_map(args);

	block[0] = arg0;
	block[1] = arg1;
	for (int i = 0; i < 2; i++) {
		struct kiln_command c = {
			.program = program, .args = kiln_addr(args) + i * 8u, .args_bytes = 8,
			.done = count, .user = &tally[i],
		};

		res[i] = kiln_submit(queue[i], &c, 1, NULL);
	}
	for (int i = 0; i < 2; i++) {
		if (!res[i])
			res[i] = kiln_drain(queue[i]);
		if (!res[i])
			res[i] = tally[i].calls == 1 ? tally[i].last : -EIO;
	}
}

static void open_both(void)
{
	device = open_card();
	for (int i = 0; i < 2; i++)
		queue[i] = make_queue(device, 16, 0);
	args = make_buffer(device, 4096, KILN_HOST);
}

/* The one with the secret: on all cores, in HBM, in host memory. Stays until it is told to go. */
static int victim(atomic_int *step, uint64_t *where)
{
	struct kiln_program *fill;
	struct kiln_buffer *hbm, *host;
	uint32_t *p;
	int res[2];

	open_both();
	fill = filler(kiln_asm_sbuf_bytes(0));
	hbm = make_buffer(device, BUFFER, KILN_HBM);
	host = make_buffer(device, BUFFER, KILN_HOST);
	*where = kiln_addr(hbm);
	memset(kiln_map(hbm), 0xa5, BUFFER);
	memset(kiln_map(host), 0xa5, BUFFER);
	for (int i = 0; i < 4; i++) {
		run_both(fill, 0, 0, res);
		if (res[0] || res[1])
			return 2;
	}
	p = kiln_map(hbm);
	if (p[0] != 0xa5a5a5a5)
		return 5;
	*step = 1;
	while (*step == 1)
		usleep(1000);
	/* Dies with everything. */
	_exit(0);
}

static uint64_t nonzero(const void *bytes, uint64_t size)
{
	const uint64_t *p = bytes;
	uint64_t n = 0;

	for (uint64_t i = 0; i < size / 8; i++)
		n += p[i] != 0;
	return n;
}

static void look_into_cores(const char *when)
{
	uint32_t sbuf = kiln_asm_sbuf_bytes(0);
	uint64_t bytes = 128ull * (sbuf + PSUM_BYTES);
	struct kiln_program *dump = dumper(sbuf);
	struct kiln_buffer *out[2];
	int res[2];

	for (int i = 0; i < 2; i++) {
		out[i] = make_buffer(device, bytes, KILN_HBM);
		memset(kiln_map(out[i]), 0xff, bytes);
	}
	run_both(dump, kiln_addr(out[0]), kiln_addr(out[1]), res);
	for (int i = 0; i < 2; i++) {
		if (!ok(!res[i], "%s: dump SBUF and PSUM", when))
			printf("# expected 0\n# got %d\n", res[i]);
		if (!ok(!nonzero(kiln_map(out[i]), bytes), "  of %u MiB nothing is left", (unsigned int)(bytes >> 20)))
			printf("# expected 0 words\n# got %" PRIu64 ", the first 8 bytes %#" PRIx64 "\n",
			       nonzero(kiln_map(out[i]), bytes), *(uint64_t *)kiln_map(out[i]));
	}
	for (unsigned int sem = 0; sem < 256; sem += 85) {
		struct kiln_program *wait = waiter(sem);

		run_both(wait, 0, 0, res);
		/* One's deadlock may have stopped the other one. */
		if (!ok(res[0] && res[1], "%s: semaphore %u is 0", when, sem))
			printf("# expected %d\n# got %d, %d\n", -EDEADLK, res[0], res[1]);
		kiln_program_free(wait);
	}
	for (int i = 0; i < 2; i++)
		kiln_free(out[i]);
	kiln_program_free(dump);
}

static void look_into_memory(const char *when, enum kiln_placement placement, const char *name)
{
	struct kiln_buffer *b[12];
	uint64_t left = 0;

	for (int i = 0; i < 12; i++) {
		b[i] = make_buffer(device, BUFFER, placement);
		left += nonzero(kiln_map(b[i]), BUFFER);
	}
	if (!ok(!left, "%s: 96 MiB of fresh %s are zero", when, name))
		printf("# expected 0 words\n# got %" PRIu64 "\n", left);
	/* Dirty for the next round. */
	for (int i = 0; i < 12; i++) {
		memset(kiln_map(b[i]), 0x5a, BUFFER);
		kiln_free(b[i]);
	}
}

/* args[0]: 512 bytes from there into SBUF, after so long that both cores are at it. */
static struct kiln_program *reader(void)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_loop(as, 200000);
	kiln_asm_nop(as, KILN_SYNC);
	kiln_asm_loop_end(as);
	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
	kiln_asm_dma(as, KILN_SYNC, 0, kiln_tile1(KILN_SBUF, KILN_F32, 0, 1, 0, 128), kiln_dram(1, 0, 0, 1));
	kiln_asm_post(as, KILN_SYNC, 0, 1);
	kiln_asm_wait(as, KILN_SYNC, 0, 1);
	kiln_asm_nop(as, KILN_SYNC);
	return load(as);
}

/* An address that was good a moment ago, and that each core has used. */
static void look_through_translations(void)
{
	struct kiln_program *read = reader();

	for (int n = 0; n < 6; n++) {
		/* Small pages and large ones. */
		struct kiln_buffer *b = make_buffer(device, n % 2 ? BUFFER : 65536, n % 3 ? KILN_HBM : KILN_HOST);
		uint64_t addr = kiln_addr(b);
		int res[2];

		run_both(read, addr, addr, res);
		ok(!res[0] && !res[1], "read a buffer");
		kiln_free(b);
		run_both(read, addr, addr, res);
		/* The first fault stops the other one, if that is not at its end yet. */
		if (!ok((res[0] == -EFAULT || res[0] == -ECANCELED) &&
			(res[1] == -EFAULT || res[1] == -ECANCELED), "  it is freed: no core reads it any more"))
			printf("# expected %d\n# got %d, %d\n", -EFAULT, res[0], res[1]);
	}
	kiln_program_free(read);
}

int main(void)
{
	struct {
		atomic_int step;
		uint64_t where;
	} *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kiln_program *read;
	int status = -1, res[2];
	pid_t pid;

	setenv("KILN_TRANSPORT", "drm", 0);
	if (shared == MAP_FAILED)
		bail("mmap");
	pid = fork();
	if (!pid)
		_exit(victim(&shared->step, &shared->where));
	while (!shared->step && !waitpid(pid, &status, WNOHANG))
		usleep(1000);
	is(shared->step, 1, "a tenant has its secret everywhere");

	open_both();
	look_into_cores("while it lives");
	look_into_memory("while it lives", KILN_HBM, "HBM");
	read = reader();
	run_both(read, shared->where + BUFFER - 512, shared->where + BUFFER - 512, res);
	ok(res[0] && res[1], "where it has its memory, we have nothing");
	kiln_program_free(read);

	shared->step = 2;
	waitpid(pid, &status, 0);
	is(status, 0, "it has ended");
	look_into_cores("afterwards");
	look_into_memory("afterwards", KILN_HBM, "HBM");
	look_into_memory("afterwards", KILN_HOST, "host memory");
	look_into_memory("our own again", KILN_HBM, "HBM");
	look_through_translations();
	for (int i = 0; i < 2; i++)
		kiln_queue_destroy(queue[i]);
	kiln_close(device);
	return done_testing();
}
