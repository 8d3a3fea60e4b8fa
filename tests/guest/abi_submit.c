// SPDX-License-Identifier: MIT
/* Submission by ioctl: results, order, timelines, faults, fences, every field of a command. */
#include <signal.h>
#include <sys/time.h>

#include "_abi.h"

static int fd;
static uint32_t vm, queue, bo;
static uint64_t *memory;

static struct drm_kiln_exec nop(void)
{
	return (struct drm_kiln_exec) { .queue_id = queue, .flags = DRM_KILN_EXEC_NOP };
}

static struct drm_kiln_exec program(uint64_t addr)
{
	return (struct drm_kiln_exec) { .queue_id = queue, .program = addr, .program_bytes = 256 };
}

static void test_nops(void)
{
	struct drm_kiln_exec commands[64];
	struct drm_kiln_result results[64];
	uint64_t seqno = 0, last = 0;
	int ret, i;

	is(run_nop(fd, queue), 0, "a nop");
	for (i = 0; i < 64; i++) {
		commands[i] = nop();
		commands[i].signal_addr = VA_BASE + 8 * i;
		commands[i].signal_value = i + 1;
	}
	is(submit(fd, commands, 64, &seqno), 64, "64 nops at once");
	memset(results, 0xff, sizeof(results));
	is(wait_results(fd, queue, seqno - 63, 64, 20000000000ll, results), 0, "wait for all of them");
	for (i = 0, ret = 0; i < 64; i++)
		ret += results[i].res != 0 || results[i].pad != 0;
	is(ret, 0, "each has succeeded");
	for (i = 0, ret = 0; i < 64; i++)
		ret += memory[i] != (uint64_t)i + 1;
	is(ret, 0, "each has signalled its value");
	is(wait_results(fd, queue, seqno, 1, 0, NULL), 0, "wait again, without results");
	ret = submit(fd, commands, 1, &last);
	is(ret == 1 ? (long long)last : ret, seqno + 1, "sequence numbers count up by one");
	is(wait_results(fd, queue, last, 1, -1, NULL), 0, "wait for ever");
}

static void test_timeline(void)
{
	struct drm_kiln_exec first = nop(), second = nop();
	struct drm_kiln_result result = { 0 };
	uint64_t seqno = 0;

	memory[0] = memory[1] = 0;
	first.wait_addr = VA_BASE;
	first.wait_value = 5;
	first.signal_addr = VA_BASE + 8;
	first.signal_value = 77;
	is(submit(fd, &first, 1, &seqno), 1, "a command that waits for a value");
	is(wait_results(fd, queue, seqno, 1, 50000000, NULL), -ETIME, "it does not start");
	is(memory[1], 0, "and has signalled nothing");

	/* From another queue of the same VM. */
	second.queue_id = make_queue(fd, vm, 8, 0);
	second.signal_addr = VA_BASE;
	second.signal_value = 5;
	is(run_one(fd, &second), 0, "another queue signals the value");
	is(wait_results(fd, queue, seqno, 1, 10000000000ll, &result), 0, "now it has run");
	is(result.res, 0, "with success");
	is(memory[1], 77, "and has signalled");
	is(destroy_queue(fd, second.queue_id), 0, "destroy the other queue");
}

static void test_fields(void)
{
	struct drm_kiln_exec e;

#define REFUSED(error, what, ...) do { \
		__VA_ARGS__; \
		is(submit(fd, &e, 1, NULL), error, "%s", what); \
	} while (0)

	REFUSED(-ENOENT, "queue_id that is not there", e = nop(), e.queue_id = 999);
	REFUSED(-ENOENT, "queue_id 0", e = nop(), e.queue_id = 0);
	REFUSED(-EINVAL, "unknown flag", e = nop(), e.flags |= 1 << 2);
	REFUSED(-EINVAL, "highest flag", e = nop(), e.flags |= 1u << 31);
	REFUSED(-EINVAL, "nop with program", e = nop(), e.program = VA_BASE);
	REFUSED(-EINVAL, "nop with program_bytes", e = nop(), e.program_bytes = 64);
	REFUSED(-EINVAL, "nop with args", e = nop(), e.args = VA_BASE);
	REFUSED(-EINVAL, "nop with args_bytes", e = nop(), e.args_bytes = 8);
	REFUSED(-EINVAL, "program 0", e = program(0));
	REFUSED(-EINVAL, "program unaligned", e = program(VA_BASE + 32));
	REFUSED(-EINVAL, "program in the first page", e = program(64));
	REFUSED(-EINVAL, "program beyond the end", e = program(1ull << 48));
	REFUSED(-EINVAL, "program_bytes 0", e = program(VA_BASE), e.program_bytes = 0);
	REFUSED(-EINVAL, "program_bytes unaligned", e = program(VA_BASE), e.program_bytes = 100);
	REFUSED(-EINVAL, "program_bytes too many", e = program(VA_BASE), e.program_bytes = 0x1000000);
	REFUSED(-EINVAL, "program reaches beyond the end",
		e = program((1ull << 48) - 64), e.program_bytes = 128);
	REFUSED(-EINVAL, "args unaligned", e = program(VA_BASE), e.args = VA_BASE + 4, e.args_bytes = 8);
	REFUSED(-EINVAL, "args beyond the end", e = program(VA_BASE), e.args = ~7ull, e.args_bytes = 8);
	REFUSED(-EINVAL, "args without args_bytes", e = program(VA_BASE), e.args = VA_BASE);
	REFUSED(-EINVAL, "args_bytes without args", e = program(VA_BASE), e.args_bytes = 8);
	REFUSED(-EINVAL, "args_bytes unaligned", e = program(VA_BASE), e.args = VA_BASE, e.args_bytes = 12);
	REFUSED(-EINVAL, "args_bytes too many", e = program(VA_BASE), e.args = VA_BASE, e.args_bytes = 520);
	REFUSED(-EINVAL, "wait_addr unaligned", e = nop(), e.wait_addr = VA_BASE + 4);
	REFUSED(-EINVAL, "wait_addr beyond the end", e = nop(), e.wait_addr = 1ull << 48);
	REFUSED(-EINVAL, "wait_value without wait_addr", e = nop(), e.wait_value = 1);
	REFUSED(-EINVAL, "signal_addr unaligned", e = nop(), e.signal_addr = VA_BASE + 1);
	REFUSED(-EINVAL, "signal_addr beyond the end", e = nop(), e.signal_addr = ~7ull);
	REFUSED(-EINVAL, "signal_value without signal_addr", e = nop(), e.signal_value = 1);
	REFUSED(-EINVAL, "syncobj without its flag", e = nop(), e.syncobj = 1);
	REFUSED(-ENOENT, "syncobj that is not there", e = nop(), e.flags |= DRM_KILN_EXEC_SYNCOBJ,
		e.syncobj = 999);
	REFUSED(-EINVAL, "pad", e = nop(), e.pad = 1);
	REFUSED(-EINVAL, "reserved", e = nop(), e.reserved = 1ull << 63);
	is(run_nop(fd, queue), 0, "the next good command works");
#undef REFUSED
}

static void test_submit_fields(void)
{
	struct drm_kiln_exec commands[2] = { nop(), nop() };
	struct drm_kiln_submit good = {
		.commands = (uintptr_t)commands, .count = 1, .stride = sizeof(commands[0]),
	};
	struct drm_kiln_submit s;
	uint32_t other = make_queue(fd, vm, 8, 0);

#define REFUSED(error, what, ...) do { \
		s = good; \
		__VA_ARGS__; \
		is(call(fd, DRM_IOCTL_KILN_SUBMIT, &s), error, "submit: %s", what); \
	} while (0)

	REFUSED(-EINVAL, "count 0", s.count = 0);
	REFUSED(-EINVAL, "stride too small", s.stride = 72);
	REFUSED(-EINVAL, "stride too large", s.stride = 88);
	REFUSED(-EINVAL, "done not zero", s.done = 1);
	REFUSED(-EINVAL, "pad", s.pad = 1);
	REFUSED(-EINVAL, "seqno not zero", s.seqno = 1);
	REFUSED(-EINVAL, "reserved", s.reserved = 1);
	REFUSED(-EFAULT, "commands 0", s.commands = 0);
	REFUSED(-EFAULT, "commands in the kernel", s.commands = ~0ull - 4095);
	REFUSED(0, "a good one", (void)0);

	commands[1].queue_id = other;
	REFUSED(0, "two queues: the first command is taken", s.count = 2);
	is(s.done, 1, "and only that one");
	commands[1] = nop();
	commands[1].pad = 1;
	REFUSED(0, "the second is wrong: the first is taken", s.count = 2);
	is(s.done, 1, "and only that one");
	is(wait_results(fd, queue, s.seqno, 1, 10000000000ll, NULL), 0, "with its sequence number");
	is(destroy_queue(fd, other), 0, "destroy the other queue");
#undef REFUSED
}

static void test_wait_fields(void)
{
	struct drm_kiln_exec e = nop();
	struct drm_kiln_wait good, w;
	uint64_t seqno = 0;
	int i;

	for (i = 0; i < 130; i++) {
		is(submit(fd, &e, 1, &seqno), 1, "nop %d", i);
		if (wait_results(fd, queue, seqno, 1, 10000000000ll, NULL))
			ok(false, "wait for nop %d", i);
	}
	good = (struct drm_kiln_wait) { .queue_id = queue, .count = 1, .seqno = seqno, .timeout_ns = -1 };
#define REFUSED(error, what, ...) do { \
		w = good; \
		__VA_ARGS__; \
		is(call(fd, DRM_IOCTL_KILN_WAIT, &w), error, "wait: %s", what); \
	} while (0)
	REFUSED(-ENOENT, "no such queue", w.queue_id = 999);
	REFUSED(-EINVAL, "count 0", w.count = 0);
	REFUSED(-EINVAL, "count above the depth", w.count = 65, w.seqno = seqno - 64);
	REFUSED(-EINVAL, "seqno 0", w.seqno = 0);
	REFUSED(-EINVAL, "seqno not given out", w.seqno = seqno + 1);
	REFUSED(-EINVAL, "last seqno not given out", w.count = 2);
	REFUSED(-EINVAL, "seqno that overflows", w.seqno = ~0ull, w.count = 2);
	REFUSED(-ENODATA, "results long gone", w.seqno = seqno - 64);
	REFUSED(0, "the oldest that is remembered", w.seqno = seqno - 63, w.count = 64);
	REFUSED(-EINVAL, "reserved", w.reserved = 1);
	REFUSED(-EFAULT, "results in the kernel", w.results = ~0ull - 4095);
	REFUSED(0, "a good one", w.timeout_ns = 0);
#undef REFUSED
}

static void test_faults(void)
{
	struct drm_kiln_vm_fault fault = { .vm_id = vm };
	struct drm_kiln_exec e = program(VA_BASE + 64 * MIB), after = nop();
	struct drm_kiln_result results[2];
	uint64_t before, seqno = 0;

	is(call(fd, DRM_IOCTL_KILN_VM_FAULT, &fault), 0, "ask for faults");
	before = fault.count;
	is(run_one(fd, &e), -EFAULT, "a program that is not mapped");
	is(call(fd, DRM_IOCTL_KILN_VM_FAULT, &fault), 0, "ask for the fault");
	is(fault.count, before + 1, "one more");
	is(fault.address, VA_BASE + 64 * MIB, "with the address");
	is(fault.queue_id, queue, "and the queue");
	memset(memory + 512, 0, 4096);
	e = program(VA_BASE + 4096);
	is(run_one(fd, &e), -ENOEXEC, "a program of zeroes");
	is(run_nop(fd, queue), 0, "the next good command works");

	after.wait_addr = VA_BASE + 64 * MIB;
	after.wait_value = 1;
	is(run_one(fd, &after), -EFAULT, "wait_addr that is not mapped");
	after = nop();
	after.signal_addr = VA_BASE + 64 * MIB;
	is(run_one(fd, &after), -EFAULT, "signal_addr that is not mapped");
	is(run_nop(fd, queue), 0, "the next good command works");

	/* A fault takes along what stands in the ring. */
	memory[0] = 0;
	struct drm_kiln_exec two[2] = { program(VA_BASE + 64 * MIB), nop() };

	two[0].wait_addr = VA_BASE;
	two[0].wait_value = 1;
	is(submit(fd, two, 2, &seqno), 2, "a bad one and a good one behind it");
	memory[0] = 1;
	/* The card looks again when any command signals; this one also wakes it. */
	uint32_t other = make_queue(fd, vm, 8, 0);
	struct drm_kiln_exec wake = { .queue_id = other, .flags = DRM_KILN_EXEC_NOP,
				      .signal_addr = VA_BASE, .signal_value = 1 };
	ok(run_one(fd, &wake) <= 0, "wake the card");
	is(wait_results(fd, queue, seqno - 1, 2, 10000000000ll, results), 0, "both end");
	is(results[0].res, -EFAULT, "the bad one faults");
	is(results[1].res, -ECANCELED, "the good one is stopped with it");
	is(destroy_queue(fd, other), 0, "destroy the other queue");

	fault = (struct drm_kiln_vm_fault) { .vm_id = 999 };
	is(call(fd, DRM_IOCTL_KILN_VM_FAULT, &fault), -ENOENT, "fault: no such VM");
	fault = (struct drm_kiln_vm_fault) { .vm_id = vm, .pad = 1 };
	is(call(fd, DRM_IOCTL_KILN_VM_FAULT, &fault), -EINVAL, "fault: pad");
	fault = (struct drm_kiln_vm_fault) { .vm_id = vm, .reserved = 1 };
	is(call(fd, DRM_IOCTL_KILN_VM_FAULT, &fault), -EINVAL, "fault: reserved");
}

static void test_isolation(void)
{
	int other = open_card();
	uint32_t other_vm = make_vm(other), other_queue = make_queue(other, other_vm, 8, 0);
	struct drm_kiln_exec e = program(VA_BASE + 64 * MIB), good = nop();
	int bad = 0;

	/* Ids belong to a file: another process's do not exist here. */
	good.queue_id = other_queue + 7;
	is(submit(other, &good, 1, NULL), -ENOENT, "another file's queue id");
	for (int i = 0; i < 20; i++) {
		uint64_t seqno = 0;

		submit(fd, &e, 1, &seqno);
		bad += run_nop(other, other_queue) != 0;
		wait_results(fd, queue, seqno, 1, 10000000000ll, NULL);
	}
	is(bad, 0, "20 faults in one VM, none of them felt in another");
	close(other);
}

static void test_syncobj(void)
{
	struct drm_kiln_exec e = nop(), wake;
	uint32_t syncobj, other = make_queue(fd, vm, 8, 0);
	uint64_t seqno = 0;
	int ret;

	if (drmSyncobjCreate(fd, 0, &syncobj))
		bail("syncobj", errno);
	memory[0] = 0;
	e.flags |= DRM_KILN_EXEC_SYNCOBJ;
	e.syncobj = syncobj;
	e.wait_addr = VA_BASE;
	e.wait_value = 9;
	is(submit(fd, &e, 1, &seqno), 1, "a command with an out-fence");
	ret = drmSyncobjWait(fd, &syncobj, 1, 1, 0, NULL);
	is(ret, -ETIME, "not signalled while it waits");
	wake = (struct drm_kiln_exec) { .queue_id = other, .flags = DRM_KILN_EXEC_NOP,
					.signal_addr = VA_BASE, .signal_value = 9 };
	is(run_one(fd, &wake), 0, "let it go");
	ret = drmSyncobjWait(fd, &syncobj, 1, INT64_MAX, 0, NULL);
	is(ret, 0, "signalled");
	is(wait_results(fd, queue, seqno, 1, 0, NULL), 0, "with the command done");
	is(drmSyncobjDestroy(fd, syncobj), 0, "drop the syncobj");
	is(destroy_queue(fd, other), 0, "destroy the other queue");
}

static void test_full(void)
{
	struct drm_kiln_exec commands[20];
	uint32_t small = make_queue(fd, vm, 8, 0);
	struct drm_kiln_result results[8];
	uint64_t seqno = 0, last;
	int i;

	memory[0] = 0;
	for (i = 0; i < 20; i++) {
		commands[i] = nop();
		commands[i].queue_id = small;
		commands[i].wait_addr = VA_BASE;
		commands[i].wait_value = 1;
	}
	is(submit(fd, commands, 20, &seqno), 8, "a queue of 8 takes 8 of 20");
	is(submit(fd, commands, 1, &last), -EAGAIN, "and then none");
	is(destroy_queue(fd, small), 0, "destroy it with all of them in it");
	is(wait_results(fd, small, seqno, 1, 0, results), -ENOENT, "it is gone");
	is(run_nop(fd, queue), 0, "the next good command works");
}

static void nothing(int signal)
{
	(void)signal;
}

/* A signal comes first: the call goes on by itself for what is left, or says what that is. */
static void test_wait_signals(void)
{
	struct itimerval often = { { 0, 50000 }, { 0, 50000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct drm_kiln_wait w = { .queue_id = queue, .count = 1, .timeout_ns = 600000000 };
	struct sigaction restart = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	struct sigaction end = { .sa_handler = nothing };
	struct drm_kiln_exec e = nop();
	int ret;

	memory[0] = 0;
	e.wait_addr = VA_BASE;
	e.wait_value = 1;
	w.seqno = 0;
	is(submit(fd, &e, 1, (uint64_t *)&w.seqno), 1, "a command that waits");
	sigaction(SIGALRM, &restart, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	ret = ioctl(fd, DRM_IOCTL_KILN_WAIT, &w) ? -errno : 0;
	is(ret, -ETIME, "signals do not end a wait, time does");
	sigaction(SIGALRM, &end, NULL);
	w.timeout_ns = 60000000000;
	ret = ioctl(fd, DRM_IOCTL_KILN_WAIT, &w) ? -errno : 0;
	is(ret, -EINTR, "a handler that wants it ends a wait");
	setitimer(ITIMER_REAL, &never, NULL);
	is(w.timeout_ns > 0 && w.timeout_ns < 60000000000, true, "which says how much time is left");
	memory[0] = 1;
	is(wait_results(fd, queue, w.seqno, 1, -1, NULL), 0, "let it go");
}

int main(void)
{
	fd = open_card();
	vm = make_vm(fd);
	queue = make_queue(fd, vm, 64, 0);
	bo = make_bo(fd, MIB, DRM_KILN_BO_HBM);
	memory = map_bo(fd, bo, MIB);
	is(bind_bo(fd, vm, bo, 0, VA_BASE, MIB), 0, "bind");

	test_nops();
	test_timeline();
	test_fields();
	test_submit_fields();
	test_wait_fields();
	test_faults();
	test_isolation();
	test_syncobj();
	test_full();
	test_wait_signals();

	is(destroy_queue(fd, queue), 0, "destroy the queue");
	is(destroy_vm(fd, vm), 0, "destroy the VM");
	close(fd);
	return done_testing();
}
