// SPDX-License-Identifier: MIT
/*
 * What one tenant freed is never readable by another: a tenant leaves its secret everywhere, and
 * another one looks for it in fresh buffers of both kinds, in SBUF, PSUM and semaphores of every
 * core, and by translations that a core may still have.
 */
#include "_tenants.h"

#define SECRET		1234567.0f
#define CHUNK		8192u		/* of one partition, in one transfer */
#define PSUM_BYTES	16384u
#define BUFFER		(8u << 20)
#define BUFFERS		12

/* The secret all over SBUF and PSUM, and in as many semaphores as a program can leave behind. */
static struct kiln_program *filler(struct kiln_device *device, uint32_t sbuf)
{
	struct kiln_asm *as = kiln_asm_create(0);

	for (uint32_t at = 0; at < sbuf; at += CHUNK)
		kiln_asm_memset(as, KILN_VECTOR,
				kiln_tile1(KILN_SBUF, KILN_F32, 0, 128, at, CHUNK / 4), SECRET);
	for (uint32_t at = 0; at < PSUM_BYTES; at += 2048)
		kiln_asm_memset(as, KILN_VECTOR,
				kiln_tile1(KILN_PSUM, KILN_F32, 0, 128, at, 512), SECRET);
	for (unsigned int sem = 0; sem < 256; sem++) {
		kiln_asm_nop(as, KILN_SYNC);
		kiln_asm_post(as, KILN_SYNC, sem, 7);
	}
	return assemble(device, as);
}

/* All of SBUF, and PSUM behind it, as they are at the start, to args[0]. */
static struct kiln_program *dumper(struct kiln_device *device, uint32_t sbuf)
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
		kiln_asm_tensor_copy(as, KILN_VECTOR,
				     kiln_tile1(KILN_SBUF, KILN_F32, 0, 128, at, 512),
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
	return assemble(device, as);
}

/* Hangs unless somebody has left something in a semaphore. */
static struct kiln_program *waiter(struct kiln_device *device, unsigned int sem)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_wait(as, KILN_SYNC, sem, 1);
	kiln_asm_nop(as, KILN_SYNC);
	return assemble(device, as);
}

/* args[0]: 512 bytes from there into SBUF, after so long that both cores are at it. */
static struct kiln_program *reader(struct kiln_device *device)
{
	struct kiln_asm *as = kiln_asm_create(0);

	kiln_asm_loop(as, 200000);
	kiln_asm_nop(as, KILN_SYNC);
	kiln_asm_loop_end(as);
	kiln_asm_ldarg(as, KILN_SYNC, 1, 0);
	kiln_asm_dma(as, KILN_SYNC, 0, kiln_tile1(KILN_SBUF, KILN_F32, 0, 1, 0, 128),
		     kiln_dram(1, 0, 0, 1));
	kiln_asm_post(as, KILN_SYNC, 0, 1);
	kiln_asm_wait(as, KILN_SYNC, 0, 1);
	kiln_asm_nop(as, KILN_SYNC);
	return assemble(device, as);
}

/* With a queue for each core. */
struct tenant {
	struct kiln_device *device;
	struct kiln_queue *queue[2];
	struct kiln_buffer *args;
};

static struct tenant make_tenant(void)
{
	struct tenant t = { .device = open_driver() };

	for (int i = 0; i < 2; i++)
		t.queue[i] = make_queue(t.device, 16, 0);
	t.args = make_buffer(t.device, 4096, KILN_HOST);
	return t;
}

/* On both queues at the same time, so that each core has one; arg[i] for one each. */
static void run_both(struct tenant *t, struct kiln_program *program, const uint64_t arg[2],
		     int res[2])
{
	struct tally tally[2] = { 0 };

	memcpy(kiln_map(t->args), arg, 16);
	for (int i = 0; i < 2; i++) {
		struct kiln_command c = {
			.program = program, .args = kiln_addr(t->args) + i * 8u, .args_bytes = 8,
			.done = count, .user = &tally[i],
		};

		res[i] = kiln_submit(t->queue[i], &c, 1, NULL);
	}
	for (int i = 0; i < 2; i++) {
		if (!res[i])
			res[i] = kiln_drain(t->queue[i]);
		if (!res[i])
			res[i] = tally[i].calls == 1 ? tally[i].last : -EIO;
	}
}

static void both_run(struct __test_metadata *_metadata, struct tenant *t,
		     struct kiln_program *program, uint64_t arg0, uint64_t arg1)
{
	int res[2];

	run_both(t, program, (uint64_t[]){ arg0, arg1 }, res);
	EXPECT_EQ(0, res[0]);
	EXPECT_EQ(0, res[1]);
}

/* The first failure cancels the other one, if that is not at its own end yet. */
static void both_fail(struct __test_metadata *_metadata, struct tenant *t,
		      struct kiln_program *program, uint64_t arg, int expected)
{
	int res[2];

	run_both(t, program, (uint64_t[]){ arg, arg }, res);
	for (int i = 0; i < 2; i++) {
		EXPECT_TRUE(res[i] == expected || res[i] == -ECANCELED) {
			TH_LOG("expected %d or %d, got %d", expected, -ECANCELED, res[i]);
		}
	}
}

/* ------------------------------------------------------ who has the secret -- */

struct secret {
	atomic_int step;	/* 1: it is everywhere; 2: the victim may go */
	uint64_t addr;		/* of one of its buffers */
};

/* On all cores, in HBM, in host memory. Stays until it is told to go, and dies with everything. */
static void be_victim(struct __test_metadata *_metadata, struct secret *secret)
{
	struct tenant t = make_tenant();
	struct kiln_program *fill = filler(t.device, kiln_asm_sbuf_bytes(0));
	struct kiln_buffer *hbm = make_buffer(t.device, BUFFER, KILN_HBM);
	struct kiln_buffer *host = make_buffer(t.device, BUFFER, KILN_HOST);

	secret->addr = kiln_addr(hbm);
	memset(kiln_map(hbm), 0xa5, BUFFER);
	memset(kiln_map(host), 0xa5, BUFFER);
	for (int i = 0; i < 4; i++)
		both_run(_metadata, &t, fill, 0, 0);
	EXPECT_EQ(0xa5a5a5a5, *(uint32_t *)kiln_map(hbm));
	secret->step = 1;
	while (secret->step == 1)
		usleep(1000);
}

FIXTURE(leftovers) {
	struct secret *secret;
	pid_t victim;
	struct tenant t;	/* who looks for it */
};

FIXTURE_VARIANT(leftovers) {
	bool lives;
};

FIXTURE_VARIANT_ADD(leftovers, while_it_lives) { .lives = true };
FIXTURE_VARIANT_ADD(leftovers, afterwards) { .lives = false };

/* The victim goes. */
static void end_victim(struct __test_metadata *_metadata, FIXTURE_DATA(leftovers) *self)
{
	int status;

	self->secret->step = 2;
	EXPECT_EQ(self->victim, waitpid(self->victim, &status, 0));
	EXPECT_EQ(0, status);
}

FIXTURE_SETUP(leftovers)
{
	self->secret = share(sizeof(*self->secret));
	self->victim = fork_tenant();
	if (!self->victim) {
		be_victim(_metadata, self->secret);
		_exit(0);
	}
	while (!self->secret->step && !waitpid(self->victim, NULL, WNOHANG))
		usleep(1000);
	ASSERT_EQ(1, self->secret->step);
	if (!variant->lives)
		end_victim(_metadata, self);
	self->t = make_tenant();
}

FIXTURE_TEARDOWN(leftovers)
{
	if (variant->lives)
		end_victim(_metadata, self);
	for (int i = 0; i < 2; i++)
		kiln_queue_destroy(self->t.queue[i]);
	kiln_free(self->t.args);
	kiln_close(self->t.device);
}

static uint64_t nonzero(const void *bytes, uint64_t size)
{
	const uint64_t *p = bytes;
	uint64_t n = 0;

	for (uint64_t i = 0; i < size / 8; i++)
		n += p[i] != 0;
	return n;
}

TEST_F_TIMEOUT(leftovers, sbuf_and_psum_are_zero, 120)
{
	uint32_t sbuf = kiln_asm_sbuf_bytes(0);
	uint64_t bytes = 128ull * (sbuf + PSUM_BYTES);
	struct kiln_program *dump = dumper(self->t.device, sbuf);
	struct kiln_buffer *out[2];

	for (int i = 0; i < 2; i++) {
		out[i] = make_buffer(self->t.device, bytes, KILN_HBM);
		memset(kiln_map(out[i]), 0xff, bytes);
	}
	both_run(_metadata, &self->t, dump, kiln_addr(out[0]), kiln_addr(out[1]));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, nonzero(kiln_map(out[i]), bytes)) {
			TH_LOG("words of %ju; the first is %#jx", (uintmax_t)bytes / 8,
			       (uintmax_t)*(uint64_t *)kiln_map(out[i]));
		}
		kiln_free(out[i]);
	}
	kiln_program_free(dump);
}

TEST_F_TIMEOUT(leftovers, semaphores_are_zero, 120)
{
	for (unsigned int sem = 0; sem < 256; sem += 85) {
		struct kiln_program *wait = waiter(self->t.device, sem);

		both_fail(_metadata, &self->t, wait, 0, -EDEADLK);
		kiln_program_free(wait);
	}
}

TEST_F_TIMEOUT(leftovers, fresh_memory_is_zero, 120)
{
	/* Both kinds, and then again: what we had ourselves. */
	for (int round = 0; round < 4; round++) {
		struct kiln_buffer *b[BUFFERS];

		for (int i = 0; i < BUFFERS; i++) {
			b[i] = make_buffer(self->t.device, BUFFER,
					   round % 2 ? KILN_HOST : KILN_HBM);
			EXPECT_EQ(0, nonzero(kiln_map(b[i]), BUFFER)) {
				TH_LOG("words of buffer %d, round %d", i, round);
			}
		}
		for (int i = 0; i < BUFFERS; i++) {
			memset(kiln_map(b[i]), 0x5a, BUFFER);
			kiln_free(b[i]);
		}
	}
}

TEST_F_TIMEOUT(leftovers, its_addresses_lead_nowhere, 120)
{
	struct kiln_program *read = reader(self->t.device);

	both_fail(_metadata, &self->t, read, self->secret->addr + BUFFER - 512, -EFAULT);
	kiln_program_free(read);
}

/* An address that was good a moment ago, and that each core has used. */
TEST_F_TIMEOUT(leftovers, no_core_reads_what_was_freed, 120)
{
	struct kiln_program *read = reader(self->t.device);

	for (int n = 0; n < 6; n++) {
		/* Small pages and large ones. */
		struct kiln_buffer *b = make_buffer(self->t.device, n % 2 ? BUFFER : 65536,
						    n % 3 ? KILN_HBM : KILN_HOST);
		uint64_t addr = kiln_addr(b);

		both_run(_metadata, &self->t, read, addr, addr);
		kiln_free(b);
		both_fail(_metadata, &self->t, read, addr, -EFAULT);
	}
	kiln_program_free(read);
}

TEST_HARNESS_MAIN
