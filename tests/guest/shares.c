// SPDX-License-Identifier: MIT
/*
 * Tenants in processes of their own share the card by what they were given.
 * Device time is read from the outside, where a tool would read it: fdinfo.
 */
#include <kiln/isa.h>
#include <signal.h>
#include <sys/wait.h>

#include "_abi.h"

#define TENANTS		3
#define DEPTH		64
#define QUEUES		8	/* at most; as many as cores */
#define BYTES		768
#define COMMANDS	200	/* measured over so many */

/* What the parent wants, and what the tenants have. */
static struct shared {
	struct tenant {
		struct drm_kiln_vm_share share;	/* without vm_id */
		unsigned int wanted, done;	/* counts changes */
		int error;
		bool pause;
		int fd;
	} tenant[TENANTS];
} *shared;

static pid_t pids[TENANTS];

/* Some milliseconds of the host: so long that rings do not run dry while the guest refills them. */
static void make_program(void *at)
{
	struct kiln_program_header header = {
		.magic = KILN_PROGRAM_MAGIC, .isa_major = KILN_ISA_MAJOR,
		.isa_minor = KILN_ISA_MINOR, .bytes = BYTES,
		.stream[KILN_GPSIMD] = { .offset = 128, .count = 5 },
	};
	struct kiln_insn insn[5] = {
		{ .opcode = KILN_OP_MOVI, .seq = { .rd = 1, .imm_lo = 20 } },
		{ .opcode = KILN_OP_MEMSET, .imm[0] = 1,
		  .dst = { .space = KILN_SBUF, .dtype = KILN_F32, .partitions = 128,
			   .ndim = 1, .size[0] = 8192, .stride[0] = 1 } },
		{ .opcode = KILN_OP_ADDI, .seq = { .rd = 1, .rs = 1, .imm_lo = ~0u, .imm_hi = ~0u } },
		{ .opcode = KILN_OP_BNE, .seq = { .rs = 1, .target = 1 } },
		{ .opcode = KILN_OP_HALT },
	};

	memset(at, 0, BYTES);
	memcpy(at, &header, sizeof(header));
	memcpy((char *)at + 128, insn, sizeof(insn));
}

/* Keeps all of its queues full until it is killed. */
static void tenant(unsigned int which)
{
	struct tenant *me = &shared->tenant[which];
	int fd = open_card();
	uint32_t cores = card_info(fd).cores, vm = make_vm(fd);
	uint32_t bo = make_bo(fd, PAGE, DRM_KILN_BO_SYSTEM);
	struct drm_kiln_exec batch[DEPTH / 2];
	uint32_t queue[QUEUES];
	uint64_t last[QUEUES] = { 0 };

	make_program(map_bo(fd, bo, PAGE));
	if (bind_bo(fd, vm, bo, 0, VA_BASE, PAGE))
		exit(2);
	for (unsigned int i = 0; i < cores; i++)
		queue[i] = make_queue(fd, vm, DEPTH, 0);
	me->fd = fd;
	__atomic_store_n(&me->done, 1, __ATOMIC_RELEASE);
	for (;;) {
		if (me->wanted != me->done) {
			me->share.vm_id = vm;
			me->error = call(fd, DRM_IOCTL_KILN_VM_SHARE, &me->share);
			__atomic_store_n(&me->done, me->wanted, __ATOMIC_RELEASE);
		}
		for (unsigned int q = 0; q < cores && !me->pause; q++) {
			/* the half before the last one is through */
			if (last[q] > DEPTH / 2 &&
			    wait_results(fd, queue[q], last[q] - DEPTH / 2, 1, 0, NULL) == -ETIME)
				continue;
			for (unsigned int i = 0; i < DEPTH / 2; i++)
				batch[i] = (struct drm_kiln_exec) {
					.queue_id = queue[q], .program = VA_BASE, .program_bytes = BYTES,
				};
			if (submit(fd, batch, DEPTH / 2, &last[q]) != DEPTH / 2)
				exit(3);
		}
		usleep(5000);
	}
}

static void set_share(unsigned int i, uint32_t weight, uint32_t priority, uint32_t min_share,
		      int expected, const char *what)
{
	struct tenant *t = &shared->tenant[i];

	t->share = (struct drm_kiln_vm_share) {
		.flags = DRM_KILN_SHARE_WEIGHT | DRM_KILN_SHARE_PRIORITY | DRM_KILN_SHARE_MIN_SHARE,
		.weight = weight, .priority = priority, .min_share = min_share,
	};
	__atomic_add_fetch(&t->wanted, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&t->done, __ATOMIC_ACQUIRE) != t->wanted) {
		if (waitpid(pids[i], NULL, WNOHANG))
			bail("a tenant has died", ECHILD);
		usleep(1000);
	}
	is(t->error, expected, "%s", what);
}

static long long look(unsigned int i, const char *key)
{
	long long value = fdinfo(pids[i], shared->tenant[i].fd, key);

	if (value < 0)
		bail(key, ENODATA);
	return value;
}

static long long commands(void)
{
	long long sum = 0;

	for (unsigned int i = 0; i < TENANTS; i++)
		sum += look(i, "kiln-commands");
	return sum;
}

static void pass(unsigned int count)
{
	long long from = commands();
	double give_up = now_s() + 300;

	while (commands() - from < count) {
		if (now_s() > give_up)
			bail("the card stands still", ETIMEDOUT);
		usleep(20000);
	}
}

/* Device time of the tenants over so many commands, against what each should have; in thousandths. */
static void measure(int a, int b, int c, const char *what)
{
	long long before[TENANTS], used[TENANTS], sum = 0;
	int want[TENANTS] = { a, b, c }, got[TENANTS];
	bool good = true;

	pass(16);	/* what is on the cores */
	for (unsigned int i = 0; i < TENANTS; i++)
		before[i] = look(i, "drm-cycles-core");
	pass(COMMANDS);
	for (unsigned int i = 0; i < TENANTS; i++)
		sum += used[i] = look(i, "drm-cycles-core") - before[i];
	for (unsigned int i = 0; i < TENANTS; i++) {
		got[i] = sum ? (1000 * used[i] + sum / 2) / sum : 0;
		/* -1: whatever is left */
		good &= want[i] < 0 || abs(got[i] - want[i]) <= 20;
	}
	if (!ok(good, "%s", what))
		printf("# expected %d : %d : %d, 20 more or less\n# got %d : %d : %d\n", a, b, c,
		       got[0], got[1], got[2]);
	else
		printf("# %d : %d : %d\n", got[0], got[1], got[2]);
	fflush(stdout);
}

/* The whole of it: what is refused, and that nothing has changed then. */
static void bad_input(void)
{
	int fd = open_card(), ret;
	uint32_t vm = make_vm(fd);
	struct drm_kiln_vm_share s, good = { .vm_id = vm, .flags = DRM_KILN_SHARE_WEIGHT, .weight = 7 };
	struct drm_kiln_vm_create c;
	pid_t child;
	int status;

#define SHARE(expected, what, ...) do { \
		s = good; \
		__VA_ARGS__; \
		is(call(fd, DRM_IOCTL_KILN_VM_SHARE, &s), expected, "%s", what); \
	} while (0)
#define CREATE(expected, what, ...) do { \
		c = (struct drm_kiln_vm_create) { 0 }; \
		__VA_ARGS__; \
		is(ret = call(fd, DRM_IOCTL_KILN_VM_CREATE, &c), expected, "create: %s", what); \
		if (!ret) \
			destroy_vm(fd, c.id); \
	} while (0)

	SHARE(0, "weight 7");
	SHARE(-ENOENT, "vm_id that is not there", s.vm_id = 999);
	SHARE(-EINVAL, "no flags", s.flags = 0, s.weight = 0);
	SHARE(-EINVAL, "unknown flag", s.flags |= 8);
	SHARE(-EINVAL, "weight without its flag", s.flags = DRM_KILN_SHARE_PRIORITY);
	SHARE(-EINVAL, "priority without its flag", s.priority = 1);
	SHARE(-EINVAL, "min_share without its flag", s.min_share = 1);
	SHARE(-EINVAL, "weight 1025", s.weight = 1025);
	SHARE(-EINVAL, "priority 3", s.flags |= DRM_KILN_SHARE_PRIORITY, s.priority = 3);
	SHARE(-EINVAL, "min_share 901", s.flags |= DRM_KILN_SHARE_MIN_SHARE, s.min_share = 901);
	SHARE(-EINVAL, "pad", s.pad = 1);
	SHARE(0, "high priority, as root", s.flags |= DRM_KILN_SHARE_PRIORITY, s.priority = 2);
	SHARE(0, "normal priority", s.flags |= DRM_KILN_SHARE_PRIORITY);
	SHARE(0, "min_share 500", s.flags |= DRM_KILN_SHARE_MIN_SHARE, s.min_share = 500);
	CREATE(-EINVAL, "priority 3", c.priority = 3);
	CREATE(-EINVAL, "min_share 901", c.min_share = 901);
	CREATE(-ENOSPC, "401 on top of the 500 that are promised", c.min_share = 401);
	CREATE(0, "400 on top of them", c.min_share = 400);
	SHARE(0, "min_share 900", s.flags |= DRM_KILN_SHARE_MIN_SHARE, s.min_share = 900);
	ok(strstr(debugfs("contexts"), " 7 0 900 "), "debugfs shows weight, priority and promise");

	fflush(stdout);
	child = fork();
	if (!child) {
		if (setgid(65534) || setuid(65534))
			exit(1);
		SHARE(0, "nobody: weight 7");
		SHARE(0, "nobody: low priority", s.flags |= DRM_KILN_SHARE_PRIORITY, s.priority = 1);
		SHARE(-EPERM, "nobody: high priority", s.flags |= DRM_KILN_SHARE_PRIORITY, s.priority = 2);
		SHARE(0, "nobody: less is promised", s.flags |= DRM_KILN_SHARE_MIN_SHARE, s.min_share = 10);
		SHARE(-EPERM, "nobody: more is promised", s.flags |= DRM_KILN_SHARE_MIN_SHARE,
		      s.min_share = 11);
		CREATE(-EPERM, "nobody: high priority", c.priority = 2);
		CREATE(-EPERM, "nobody: a promise", c.min_share = 1);
		CREATE(0, "nobody: low priority", c.priority = 1);
		fflush(stdout);
		exit(tap_failed);
	}
	waitpid(child, &status, 0);
	tap_number += 8;
	ok(!status, "somebody without CAP_SYS_NICE");
	is(destroy_vm(fd, vm), 0, "destroyed, with its promise");
	CREATE(0, "900 is to be had again", c.min_share = 900);
	close(fd);
#undef SHARE
#undef CREATE
}

int main(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		bail("mmap", errno);
	bad_input();

	for (unsigned int i = 0; i < TENANTS; i++) {
		shared->tenant[i].wanted = 1;
		fflush(stdout);
		pids[i] = fork();
		if (!pids[i])
			tenant(i);
		while (!__atomic_load_n(&shared->tenant[i].done, __ATOMIC_ACQUIRE)) {
			if (waitpid(pids[i], NULL, WNOHANG))
				bail("a tenant has died", ECHILD);
			usleep(1000);
		}
	}
	measure(333, 333, 333, "equal weights, equal time");
	set_share(0, 700, 0, 0, 0, "weight 700");
	set_share(1, 200, 0, 0, 0, "weight 200");
	set_share(2, 100, 0, 0, 0, "weight 100");
	measure(700, 200, 100, "700 : 200 : 100");
	shared->tenant[0].pause = true;
	pass(4 * DEPTH);
	measure(0, 667, 333, "what the first does not use goes to the others");
	shared->tenant[0].pause = false;
	measure(700, 200, 100, "when it is back it gets no more than its share");
	set_share(2, 100, 0, 400, 0, "the last is promised 400");
	measure(467, 133, 400, "and gets it from the others");
	set_share(1, 200, 2, 0, 0, "the second has priority");
	measure(0, 600, 400, "and all that is not promised");
	set_share(1, 200, 0, 501, -ENOSPC, "the card does not promise more than it can keep");
	set_share(1, 200, 1, 0, 0, "the second comes after all others");
	measure(600, 0, 400, "and gets what they leave, which is nothing");
	ok(look(0, "drm-engine-core") > 0, "fdinfo: time on cores");
	is(look(0, "drm-engine-capacity-core"), card_info(open_card()).cores, "fdinfo: cores");
	for (unsigned int i = 0; i < TENANTS; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	return done_testing();
}
