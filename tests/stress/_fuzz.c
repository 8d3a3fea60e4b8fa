// SPDX-License-Identifier: MIT
/*
 * A victim: threads that call the driver in any order, with what others of them have made, mostly as the interface wants it and
 * with one field that is not. What comes back is not judged, but for commands: the kernel has to be well, and others' results right.
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <kiln_asm.h>

#include "_stress.h"
#include "guest/_abi.h"

#define THREADS		3
#define FILES		2
#define SLOTS		8
#define BO_MAX		(24 * MIB)
#define PROGRAM_BYTES	(3 * PAGE)

/* An open file, and what was made through it. Nobody locks it: that two destroy the same thing is wanted. */
struct file {
	volatile int fd;
	volatile uint32_t bo[SLOTS], vm[SLOTS], queue[SLOTS], syncobj[SLOTS];
	/* the last commands of a queue */
	volatile uint64_t seqno[SLOTS];
};

static struct file files[FILES];
static struct stress *stress;
/* At VA_BASE of most VMs: one that ends, one that does not, one that is none. */
static uint8_t programs[PROGRAM_BYTES];
static uint32_t program_bytes[3];

/*
 * What the kernel writes to. A spoilt pointer or size must not ruin the victim itself: behind it there is nothing, and nothing
 * else within 4 GiB.
 */
struct arena {
	uint8_t args[256];
	struct drm_kiln_info info;
	struct drm_kiln_result results[8];
	struct drm_kiln_exec commands[8];
};

#define ARENA(i)	((uint8_t *)(((uint64_t)(i) + 16) << 40))

struct thread {
	struct chance c;
	struct arena *arena;
	struct io_uring ring;
	bool has_ring, wide;
	/* what makes the thread's nth allocation fail */
	int nth;
	/* the arena's end */
	uint8_t *edge;
	int pipe[2];
};

/* ------------------------------------------------------------------ chance -- */

static uint64_t odd(struct thread *t)
{
	static const uint64_t values[] = {
		0, 1, 2, 7, 8, 63, 64, 512, 4095, 4096, 4097, 65536, 0xffffc0, 1 << 21, 0x7fffffff, 0x80000000,
		0xfffff000, 0xffffffff, 1ull << 32, 1ull << 47, (1ull << 48) - 4096, 1ull << 48, 1ull << 63,
		~0ull - 4095, ~0ull - 63, ~0ull,
	};

	return once_in(&t->c, 4) ? chance(&t->c) : values[below(&t->c, sizeof(values) / sizeof(*values))];
}

/* One field is not what it should be. */
static void spoil(struct thread *t, void *args, size_t bytes)
{
	uint32_t at = below(&t->c, bytes / 4) * 4;
	uint64_t value = odd(t);

	atomic_fetch_add(&stress->broken, 1);
	if (once_in(&t->c, 4))
		((uint8_t *)args)[at] ^= 1 << below(&t->c, 8);
	else
		memcpy((uint8_t *)args + at, &value, at % 8 || once_in(&t->c, 2) ? 4 : 8);
}

/* One that is in use, mostly. */
static uint32_t some_slot(struct thread *t, volatile uint32_t *table)
{
	uint32_t n = below(&t->c, SLOTS);

	for (int i = 0; i < 8 && !table[n]; i++)
		n = below(&t->c, SLOTS);
	return n;
}

static volatile uint32_t *slot(struct thread *t, volatile uint32_t *table)
{
	return &table[some_slot(t, table)];
}

/* For what was made: a free one, or one whose thing is forgotten, but not gone. */
static void keep(struct thread *t, volatile uint32_t *table, uint32_t id)
{
	uint32_t n = below(&t->c, SLOTS);

	for (int i = 0; i < 8 && table[n]; i++)
		n = below(&t->c, SLOTS);
	table[n] = id;
}

static struct file *some_file(struct thread *t)
{
	return &files[below(&t->c, FILES)];
}

/* ------------------------------------------------------------------- calls -- */

static void count(enum stress_action action, bool fine)
{
	atomic_fetch_add_explicit(&stress->calls[action], 1, memory_order_relaxed);
	if (fine)
		atomic_fetch_add_explicit(&stress->fine[action], 1, memory_order_relaxed);
}

static void set_nth(struct thread *t, int n)
{
	char text[16];
	int bytes = snprintf(text, sizeof(text), "%d", n);

	/* This is a copy itself, which may be what fails: once. */
	if (t->nth >= 0 && pwrite(t->nth, text, bytes, 0) < 0 && pwrite(t->nth, text, bytes, 0) < 0)
		t->nth = -1;
}

/* The ioctl, or something like it. */
static int attack(struct thread *t, enum stress_action action, struct file *f, unsigned long request, void *args)
{
	size_t bytes = _IOC_SIZE(request);
	bool failing = once_in(&t->c, 64);
	void *at = t->arena->args;
	int ret;

	memcpy(at, args, bytes);
	if (once_in(&t->c, 4))
		spoil(t, at, bytes);
	if (once_in(&t->c, 64))
		request = _IOC(_IOC_DIR(request), _IOC_TYPE(request), _IOC_NR(request), below(&t->c, 256));
	else if (once_in(&t->c, 128))
		at = once_in(&t->c, 2) ? (void *)odd(t) : t->edge - below(&t->c, bytes);
	if (failing) {
		set_nth(t, 1 + below(&t->c, 24));
		atomic_fetch_add(&stress->failing, 1);
	}
	ret = ioctl(f->fd, request, at) ? -errno : 0;
	if (failing)
		set_nth(t, 0);
	memcpy(args, t->arena->args, bytes);
	count(action, !ret);
	/* The card is gone: the next one may be there. */
	if (ret == -ENODEV) {
		int fd = open("/dev/accel/accel0", O_RDWR | O_CLOEXEC);

		if (fd < 0)
			fd = open("/dev/accel/accel1", O_RDWR | O_CLOEXEC);
		if (fd >= 0) {
			dup2(fd, f->fd);
			close(fd);
		} else {
			usleep(20000);
		}
	}
	return ret;
}

/* memcpy() by the kernel: memory that is not there is an error then, and no signal. */
static bool copy(struct thread *t, void *to, const void *from, size_t bytes)
{
	uint8_t rest[64];
	bool good = write(t->pipe[1], from, bytes) == (ssize_t)bytes && read(t->pipe[0], to, bytes) == (ssize_t)bytes;

	while (!good && read(t->pipe[0], rest, sizeof(rest)) > 0)
		;
	return good;
}

static void tally(int res)
{
	atomic_fetch_add(!res ? &stress->good_ends : res == -ETIME ? &stress->late_ends : &stress->other_ends, 1);
}

static void act_query(struct thread *t, struct file *f)
{
	struct drm_kiln_query args = {
		.size = sizeof(t->arena->info), .pointer = once_in(&t->c, 4) ? 0 : (uintptr_t)&t->arena->info,
	};

	attack(t, STRESS_query, f, DRM_IOCTL_KILN_QUERY, &args);
}

static void act_bo_close(struct thread *t, struct file *f)
{
	struct drm_gem_close args = { .handle = *slot(t, f->bo) };

	attack(t, STRESS_bo_close, f, DRM_IOCTL_GEM_CLOSE, &args);
}

static void act_bo_create(struct thread *t, struct file *f)
{
	uint32_t n = below(&t->c, SLOTS);
	struct drm_kiln_bo_create args = {
		.size = (1 + below(&t->c, (once_in(&t->c, 8) ? BO_MAX : MIB) / PAGE)) * PAGE,
		.flags = once_in(&t->c, 3) ? DRM_KILN_BO_SYSTEM : DRM_KILN_BO_HBM,
	};

	if (f->bo[n]) {
		struct drm_gem_close old = { .handle = f->bo[n] };

		attack(t, STRESS_bo_close, f, DRM_IOCTL_GEM_CLOSE, &old);
	}
	if (!attack(t, STRESS_bo_create, f, DRM_IOCTL_KILN_BO_CREATE, &args))
		f->bo[n] = args.handle;
}

static void act_bo_info(struct thread *t, struct file *f)
{
	struct drm_kiln_bo_info args = { .handle = *slot(t, f->bo) };

	attack(t, STRESS_bo_info, f, DRM_IOCTL_KILN_BO_INFO, &args);
}

static void act_mmap(struct thread *t, struct file *f)
{
	struct drm_kiln_bo_info args = { .handle = *slot(t, f->bo) };
	uint64_t bytes, offset;
	uint8_t *p, *q;

	if (attack(t, STRESS_bo_info, f, DRM_IOCTL_KILN_BO_INFO, &args))
		return;
	bytes = once_in(&t->c, 8) ? (uint32_t)odd(t) : args.size;
	offset = once_in(&t->c, 8) ? odd(t) : args.mmap_offset;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, once_in(&t->c, 16) ? MAP_PRIVATE : MAP_SHARED, f->fd,
		 offset);
	count(STRESS_mmap, p != MAP_FAILED);
	if (p == MAP_FAILED)
		return;
	for (int i = 0; i < 4; i++)
		copy(t, p + chance(&t->c) % bytes / 8 * 8, p + chance(&t->c) % bytes / 8 * 8, 8);
	if (once_in(&t->c, 8)) {
		uint64_t other = (bytes / 2 + PAGE) / PAGE * PAGE;

		q = mremap(p, bytes, other, MREMAP_MAYMOVE);
		if (q != MAP_FAILED) {
			p = q;
			bytes = other;
		}
	}
	if (once_in(&t->c, 8))
		madvise(p, bytes, MADV_DONTNEED);
	munmap(p, bytes);
}

/* A new VM has the programs and a queue, mostly. */
static void act_vm_create(struct thread *t, struct file *f)
{
	struct drm_kiln_vm_create args = {
		.weight = below(&t->c, 3) * 64, .priority = once_in(&t->c, 8) ? DRM_KILN_PRIORITY_LOW : 0,
	};
	struct drm_kiln_bo_create bo = { .size = PROGRAM_BYTES + 16 * PAGE, .flags = DRM_KILN_BO_HBM };
	struct drm_kiln_bo_info info;
	struct drm_kiln_vm_bind bind;
	struct drm_gem_close close_args;
	uint8_t *p;

	if (attack(t, STRESS_vm_create, f, DRM_IOCTL_KILN_VM_CREATE, &args))
		return;
	keep(t, f->vm, args.id);
	if (attack(t, STRESS_bo_create, f, DRM_IOCTL_KILN_BO_CREATE, &bo))
		return;
	info = (struct drm_kiln_bo_info){ .handle = bo.handle };
	if (!attack(t, STRESS_bo_info, f, DRM_IOCTL_KILN_BO_INFO, &info)) {
		p = mmap(NULL, PROGRAM_BYTES, PROT_WRITE | PROT_READ, MAP_SHARED, f->fd, info.mmap_offset);
		count(STRESS_mmap, p != MAP_FAILED);
		if (p != MAP_FAILED) {
			copy(t, p, programs, sizeof(programs));
			munmap(p, PROGRAM_BYTES);
		}
	}
	bind = (struct drm_kiln_vm_bind){
		.vm_id = args.id, .handle = bo.handle, .va = VA_BASE, .size = bo.size,
	};
	attack(t, STRESS_vm_bind, f, DRM_IOCTL_KILN_VM_BIND, &bind);
	/* The VM keeps it. */
	close_args = (struct drm_gem_close){ .handle = bo.handle };
	ioctl(f->fd, DRM_IOCTL_GEM_CLOSE, &close_args);
	if (!once_in(&t->c, 4)) {
		struct drm_kiln_queue_create queue = {
			.vm_id = args.id, .depth = 8 << below(&t->c, 4), .limit_ms = 50,
		};

		if (!attack(t, STRESS_queue_create, f, DRM_IOCTL_KILN_QUEUE_CREATE, &queue))
			keep(t, f->queue, queue.id);
	}
}

static void act_vm_destroy(struct thread *t, struct file *f)
{
	struct drm_kiln_vm_destroy args = { .id = *slot(t, f->vm) };

	attack(t, STRESS_vm_destroy, f, DRM_IOCTL_KILN_VM_DESTROY, &args);
}

/* Where addresses of commands and mappings lie, too. */
static uint64_t some_va(struct thread *t, uint64_t align)
{
	uint64_t va = VA_BASE + (once_in(&t->c, 2) ? below(&t->c, 19 * PAGE) : chance(&t->c) % (256 * MIB));

	return va / align * align;
}

static void act_vm_bind(struct thread *t, struct file *f)
{
	struct drm_kiln_bo_info info = { .handle = *slot(t, f->bo) };
	struct drm_kiln_vm_bind args = {
		.vm_id = *slot(t, f->vm), .handle = info.handle, .flags = once_in(&t->c, 8) ? DRM_KILN_VM_BIND_READONLY : 0,
		.va = some_va(t, once_in(&t->c, 3) ? 2 * MIB : PAGE), .size = PAGE,
	};

	if (!attack(t, STRESS_bo_info, f, DRM_IOCTL_KILN_BO_INFO, &info) && info.size) {
		args.size = once_in(&t->c, 2) ? info.size : (1 + chance(&t->c) % (info.size / PAGE)) * PAGE;
		args.bo_offset = chance(&t->c) % (info.size - args.size + PAGE) / PAGE * PAGE;
	}
	attack(t, STRESS_vm_bind, f, DRM_IOCTL_KILN_VM_BIND, &args);
}

static void act_vm_unbind(struct thread *t, struct file *f)
{
	struct drm_kiln_vm_bind args = {
		.vm_id = *slot(t, f->vm), .op = DRM_KILN_VM_BIND_UNMAP, .va = some_va(t, PAGE),
		.size = (1 + below(&t->c, once_in(&t->c, 4) ? 65536 : 32)) * PAGE,
	};

	attack(t, STRESS_vm_unbind, f, DRM_IOCTL_KILN_VM_BIND, &args);
}

static void act_vm_fault(struct thread *t, struct file *f)
{
	struct drm_kiln_vm_fault args = { .vm_id = *slot(t, f->vm) };

	attack(t, STRESS_vm_fault, f, DRM_IOCTL_KILN_VM_FAULT, &args);
}

static void act_vm_share(struct thread *t, struct file *f)
{
	struct drm_kiln_vm_share args = {
		.vm_id = *slot(t, f->vm), .flags = 1 + below(&t->c, 3), .weight = below(&t->c, 1100),
	};

	if (args.flags == DRM_KILN_SHARE_PRIORITY)
		args.weight = 0;
	attack(t, STRESS_vm_share, f, DRM_IOCTL_KILN_VM_SHARE, &args);
}

static void act_queue_create(struct thread *t, struct file *f)
{
	struct drm_kiln_queue_create args = {
		.vm_id = *slot(t, f->vm), .depth = 8 << below(&t->c, 4), .weight = below(&t->c, 3) * 100,
		.limit_ms = 10 + below(&t->c, 50),
	};

	if (!attack(t, STRESS_queue_create, f, DRM_IOCTL_KILN_QUEUE_CREATE, &args))
		keep(t, f->queue, args.id);
}

static void act_queue_destroy(struct thread *t, struct file *f)
{
	struct drm_kiln_queue_destroy args = { .id = *slot(t, f->queue) };

	attack(t, STRESS_queue_destroy, f, DRM_IOCTL_KILN_QUEUE_DESTROY, &args);
}

static struct drm_kiln_exec some_command(struct thread *t, struct file *f, uint32_t queue)
{
	struct drm_kiln_exec e = { .queue_id = queue, .flags = DRM_KILN_EXEC_NOP };

	if (once_in(&t->c, 3)) {
		/* The one without an end seldom: it takes a core for as long as the queue allows. */
		int which = once_in(&t->c, 12) ? 1 : once_in(&t->c, 4) ? 2 : 0;

		e.program = VA_BASE + which * PAGE;
		e.program_bytes = program_bytes[which];
		e.flags = 0;
	}
	if (!e.flags && once_in(&t->c, 4)) {
		e.args = some_va(t, 8);
		e.args_bytes = 8 * (1 + below(&t->c, 64));
	}
	if (once_in(&t->c, 32)) {
		e.wait_addr = some_va(t, 8);
		e.wait_value = below(&t->c, 3);
	}
	if (once_in(&t->c, 4)) {
		e.signal_addr = VA_BASE + PROGRAM_BYTES + below(&t->c, 8192) * 8;
		e.signal_value = chance(&t->c);
	}
	if (once_in(&t->c, 16)) {
		e.flags |= DRM_KILN_EXEC_SYNCOBJ;
		e.syncobj = *slot(t, f->syncobj);
	}
	return e;
}

static void act_submit(struct thread *t, struct file *f)
{
	struct drm_kiln_exec *e = t->arena->commands;
	uint32_t n = 1 + below(&t->c, 8), q = some_slot(t, f->queue);
	struct drm_kiln_submit args = { .commands = (uintptr_t)e, .count = n, .stride = sizeof(*e) };

	for (uint32_t i = 0; i < n; i++) {
		e[i] = some_command(t, f, f->queue[q]);
		if (once_in(&t->c, 32))
			spoil(t, &e[i], sizeof(*e));
	}
	if (once_in(&t->c, 32))
		args.commands = (uintptr_t)t->edge - below(&t->c, 8 * sizeof(*e));
	if (!attack(t, STRESS_submit, f, DRM_IOCTL_KILN_SUBMIT, &args))
		f->seqno[q] = args.seqno;
}

static void act_wait(struct thread *t, struct file *f)
{
	struct drm_kiln_result *results = t->arena->results;
	uint32_t n = 1 + below(&t->c, 8), q = some_slot(t, f->queue);
	uint64_t last = f->seqno[q];
	struct drm_kiln_wait args = {
		.queue_id = f->queue[q], .count = n, .seqno = last >= n ? last - n + 1 : 1,
		.timeout_ns = below(&t->c, 4000000), .results = (uintptr_t)results,
	};

	if (last < n)
		args.count = last;
	/* Even if a field is spoilt it does not wait for ever, for others go on, and it may be killed. */
	if (!attack(t, STRESS_wait, f, DRM_IOCTL_KILN_WAIT, &args) && args.results == (uintptr_t)results)
		for (uint32_t i = 0; i < args.count && i < 8; i++)
			tally(results[i].res);
}

static void act_syncobj(struct thread *t, struct file *f)
{
	volatile uint32_t *s = slot(t, f->syncobj);
	struct drm_syncobj_create create = { .flags = below(&t->c, 2) };
	struct drm_syncobj_destroy destroy = { .handle = *s };
	uint32_t handle = *s;
	struct drm_syncobj_wait wait = { .handles = (uintptr_t)&handle, .count_handles = 1 };

	bool over;

	/* As it is: DRM believes count_handles, and the page allocator warns of what it then asks for. */
	over = !ioctl(f->fd, DRM_IOCTL_SYNCOBJ_WAIT, &wait);
	count(STRESS_syncobj, over);
	if (over || once_in(&t->c, 4)) {
		attack(t, STRESS_syncobj, f, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy);
		*s = 0;
	}
	if (!*s && !attack(t, STRESS_syncobj, f, DRM_IOCTL_SYNCOBJ_CREATE, &create))
		*s = create.handle;
}

/* Out of one file, into the other. */
static void act_prime(struct thread *t, struct file *f)
{
	struct drm_prime_handle out = { .handle = *slot(t, f->bo), .flags = DRM_CLOEXEC | DRM_RDWR };
	struct drm_prime_handle in = { 0 };
	struct file *other = some_file(t);

	if (attack(t, STRESS_prime, f, DRM_IOCTL_PRIME_HANDLE_TO_FD, &out))
		return;
	in.fd = out.fd;
	if (!attack(t, STRESS_prime, other, DRM_IOCTL_PRIME_FD_TO_HANDLE, &in)) {
		volatile uint32_t *s = slot(t, other->bo);
		struct drm_gem_close old = { .handle = *s };

		if (old.handle)
			attack(t, STRESS_bo_close, other, DRM_IOCTL_GEM_CLOSE, &old);
		*s = in.handle;
	}
	close(out.fd);
}

/* All at once is closed, while others are in the middle of it. */
static void act_reopen(struct thread *t, struct file *f)
{
	int fd = open("/dev/accel/accel0", O_RDWR | O_CLOEXEC);

	(void)t;
	count(STRESS_reopen, fd >= 0);
	if (fd < 0)
		return;
	dup2(fd, f->fd);
	close(fd);
}

/* ---------------------------------------------------------------- io_uring -- */

static void reap_all(struct thread *t)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&t->ring, &cqe)) {
		tally(cqe->res);
		io_uring_cqe_seen(&t->ring, cqe);
	}
}

static void act_ring(struct thread *t, struct file *f)
{
	static const unsigned int flags[] = {
		0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SQPOLL,
		IORING_SETUP_COOP_TASKRUN, IORING_SETUP_IOPOLL,
	};
	struct io_uring_params p = { .sq_thread_idle = 10 };

	(void)f;
	if (t->has_ring && !once_in(&t->c, 8))
		return reap_all(t);
	if (t->has_ring)
		io_uring_queue_exit(&t->ring);
	t->wide = !once_in(&t->c, 16);
	p.flags = flags[once_in(&t->c, 2) ? 0 : below(&t->c, 5)] | (t->wide ? IORING_SETUP_SQE128 | IORING_SETUP_CQE32 : 0);
	t->has_ring = !io_uring_queue_init_params(16, &t->ring, &p);
	count(STRESS_ring, t->has_ring);
}

static struct io_uring_sqe *get_sqe(struct thread *t, struct file *f, uint32_t op)
{
	struct io_uring_sqe *sqe = t->has_ring ? io_uring_get_sqe(&t->ring) : NULL;

	if (!sqe) {
		act_ring(t, f);
		return NULL;
	}
	memset(sqe, 0, t->wide ? 128 : 64);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = f->fd;
	sqe->cmd_op = op;
	sqe->user_data = below(&t->c, 8);
	if (once_in(&t->c, 64))
		sqe->flags = 1 << below(&t->c, 8) & ~(IOSQE_FIXED_FILE | IOSQE_IO_DRAIN);
	return sqe;
}

static void push(struct thread *t, enum stress_action action, struct io_uring_sqe *sqe, size_t bytes)
{
	bool failing = once_in(&t->c, 64);

	if (once_in(&t->c, 4))
		spoil(t, sqe->cmd, bytes);
	if (once_in(&t->c, 64))
		sqe->cmd_op = odd(t);
	if (failing) {
		set_nth(t, 1 + below(&t->c, 16));
		atomic_fetch_add(&stress->failing, 1);
	}
	count(action, true);
	if (once_in(&t->c, 3))
		io_uring_submit(&t->ring);
	if (failing)
		set_nth(t, 0);
	reap_all(t);
}

static void act_uring_exec(struct thread *t, struct file *f)
{
	struct io_uring_sqe *sqe = get_sqe(t, f, DRM_KILN_URING_EXEC);
	struct drm_kiln_exec e;

	if (!sqe)
		return;
	e = some_command(t, f, *slot(t, f->queue));
	memcpy(sqe->cmd, &e, t->wide ? sizeof(e) : 16);
	push(t, STRESS_uring_exec, sqe, t->wide ? sizeof(e) : 16);
}

static void act_uring_cancel(struct thread *t, struct file *f)
{
	struct io_uring_sqe *sqe = get_sqe(t, f, DRM_KILN_URING_CANCEL);
	struct drm_kiln_uring_cancel c = { .queue_id = *slot(t, f->queue), .user_data = below(&t->c, 8) };

	if (!sqe)
		return;
	memcpy(sqe->cmd, &c, sizeof(c));
	push(t, STRESS_uring_cancel, sqe, sizeof(c));
}

static void act_async_cancel(struct thread *t, struct file *f)
{
	struct io_uring_sqe *sqe = get_sqe(t, f, 0);

	if (!sqe)
		return;
	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = below(&t->c, 8);
	sqe->cancel_flags = once_in(&t->c, 2) ? IORING_ASYNC_CANCEL_ALL : 0;
	count(STRESS_async_cancel, true);
	io_uring_submit(&t->ring);
	reap_all(t);
}

/* -------------------------------------------------------------------- life -- */

static void (*const acts[])(struct thread *t, struct file *f) = {
#define X(name) [STRESS_##name] = act_##name,
	STRESS_ACTIONS(X)
#undef X
};

/* Of 1000; what is not here has 40. */
static const uint16_t weights[STRESS_NUM_ACTIONS] = {
	[STRESS_reopen] = 3, [STRESS_vm_create] = 25, [STRESS_vm_destroy] = 12, [STRESS_queue_destroy] = 12,
	[STRESS_submit] = 90, [STRESS_uring_exec] = 120, [STRESS_ring] = 15, [STRESS_bo_create] = 30,
	[STRESS_vm_bind] = 60, [STRESS_mmap] = 20,
};

static void *attacker(void *arg)
{
	struct thread *t = arg;
	t->nth = open("/proc/thread-self/fail-nth", O_RDWR);
	for (;;) {
		uint32_t sum = 0, at, i;

		for (i = 0; i < STRESS_NUM_ACTIONS; i++)
			sum += weights[i] ?: 40;
		at = below(&t->c, sum);
		for (i = 0; at >= (weights[i] ?: 40u); i++)
			at -= weights[i] ?: 40;
		acts[i](t, some_file(t));
	}
	return NULL;
}

static void make_programs(struct thread *t)
{
	for (int i = 0; i < 2; i++) {
		struct kiln_asm *as = kiln_asm_create(0);
		size_t bytes;
		void *p;

		kiln_asm_movi(as, KILN_SYNC, 1, i ? -1 : 20);
		kiln_asm_addi(as, KILN_SYNC, 2, 2, 1);
		kiln_asm_bne(as, KILN_SYNC, 1, 2, 1);
		if (kiln_asm_finish(as, &p, &bytes) || bytes > PAGE)
			bail("the programs", EINVAL);
		memcpy(programs + i * PAGE, p, bytes);
		program_bytes[i] = bytes;
		free(p);
		kiln_asm_destroy(as);
	}
	program_bytes[2] = 512;
	for (uint64_t i = 0; i < PAGE; i++)
		programs[2 * PAGE + i] = chance(&t->c);
}

void fuzz(struct stress *s, struct chance c)
{
	static struct thread threads[THREADS];
	pthread_t thread;

	stress = s;
	for (int i = 0; i < THREADS; i++) {
		struct thread *t = &threads[i];

		t->c = chance_of(chance(&c), i);
		t->arena = mmap(ARENA(i), PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (t->arena == MAP_FAILED || pipe2(t->pipe, O_NONBLOCK))
			bail("a thread's memory", errno);
		t->edge = (uint8_t *)t->arena + PAGE;
	}
	make_programs(&threads[0]);
	for (int i = 0; i < FILES; i++) {
		do {
			files[i].fd = open("/dev/accel/accel0", O_RDWR | O_CLOEXEC);
			if (files[i].fd < 0)
				usleep(20000);
		} while (files[i].fd < 0);
	}
	setpriority(PRIO_PROCESS, 0, 5);
	if (setgid(STRESS_NOBODY) || setuid(STRESS_NOBODY) || prctl(PR_SET_DUMPABLE, 1))
		bail("nobody", errno);
	/* Whoever is counted is the one who opens. */
	for (int i = 0; i < FILES; i++)
		act_reopen(&threads[0], &files[i]);
	for (int i = 1; i < THREADS; i++)
		if (pthread_create(&thread, NULL, attacker, &threads[i]))
			bail("a thread", EAGAIN);
	attacker(&threads[0]);
}
