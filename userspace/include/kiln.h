/* SPDX-License-Identifier: MIT */
/*
 * libkiln, core: a Kiln card, its memory, queues of commands, programs.
 *
 * Two transports stand behind the same calls. "drm" is the card behind the
 * kernel driver; "sim" is the card's inside in this process, which needs no
 * kernel, no root and no QEMU, and gives the same bits and the same cycles.
 *
 * Functions return 0 (or a count) and otherwise a negative errno. What went
 * wrong and what to do about it stands in kiln_last_error(), per thread. Those
 * that close, free or destroy take NULL and do nothing.
 *
 * Threads: a struct kiln_device and its buffers and programs may be used by
 * several threads at once. A struct kiln_queue belongs to one thread at a
 * time; different queues are independent. What a thread has submitted goes on
 * after its end, and whoever has the queue then gets the completions; the end
 * of the process cancels it.
 * Callbacks run in the thread that calls kiln_wait(), kiln_submit() or
 * kiln_queue_destroy() on that queue, one after the other; they may submit to
 * it, but not wait for it.
 */
#ifndef KILN_H
#define KILN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KILN_VERSION_MAJOR	0
#define KILN_VERSION_MINOR	1
#define KILN_VERSION_PATCH	0

struct kiln_device;
struct kiln_buffer;
struct kiln_program;
struct kiln_queue;

/*
 * Why the last call of this thread that failed did, and what to do: one line of text
 * without a newline. Never NULL; valid until the thread's next call.
 */
const char *kiln_last_error(void);

/* ---------------------------------------------------------------- device -- */

/*
 * Open a card, with an address space of its own on it. name is one of
 *
 *	NULL, "drm"		the first /dev/accel/accelN that is a Kiln card
 *	"drm:/dev/accel/accel1"	this one
 *	"sim"			a card in this process: trn2, 1 core, 4 GiB of HBM
 *	"sim:generation=trn1,cores=2,hbm=8G,threads=2"	with other properties
 *	"sim:time=only"		nothing is computed, only its device time
 *	"sim:sanitize=on"	or KILN_SANITIZE=1: races and the like on standard error
 *
 * -ENODEV no card or no driver, -EACCES no right to open it, -EPROTO a driver
 * that does not match this library, -ENOSPC the card has no address space left,
 * -ENOMEM no memory, -EINVAL a name or property that is none of these.
 */
int kiln_open(const char *name, struct kiln_device **device);

/* Close it. Its buffers, programs and queues have to be freed before. */
void kiln_close(struct kiln_device *device);

/* What a card is, and how much of its memory is in use. */
struct kiln_info {
	const char *transport;		/* "drm" or "sim" */
	const char *path;		/* device node, or "" */
	unsigned int generation;	/* 1 to 3 for trn1 to trn3 */
	unsigned int cores;
	uint64_t hbm_bytes;
	uint64_t hbm_used_bytes;	/* by everybody, at the time of the call */
	uint32_t sbuf_bytes;		/* of one of the 128 partitions */
	uint32_t psum_bytes;
	uint32_t clock_khz;		/* cycles are counted in it */
	uint32_t fw_version;		/* major << 16 | minor */
	uint32_t max_queue_depth;
};

/*
 * transport and path are valid until kiln_close().
 *
 * -ENODEV the card is gone, -EIO it does not answer.
 */
int kiln_get_info(struct kiln_device *device, struct kiln_info *info);

/* The last command of this device handle that faulted. */
struct kiln_fault_info {
	uint64_t count;			/* of faults so far; 0: the rest is zero */
	uint64_t address;		/* device address, or byte in SBUF or PSUM */
	unsigned int status;		/* enum kiln_status in kiln/hw.h */
	unsigned int engine;		/* enum kiln_engine in kiln/isa.h */
	unsigned int instruction;	/* index in the engine's stream */
	unsigned int label;
	unsigned int core;
};

/*
 * kiln_result says that a command failed, this where. A good command changes nothing.
 *
 * -ENODEV the card is gone.
 */
int kiln_get_fault(struct kiln_device *device, struct kiln_fault_info *fault);

/* What the engines of a "sim" card have done so far, in seconds of device time. */
struct kiln_engine_time {
	double seconds;			/* while a command ran, all cores together */
	double busy[5];			/* of them; enum kiln_engine in kiln/isa.h */
	double dma;			/* the mean of a core's 16 DMA engines */
	uint64_t hbm_bytes;		/* that DMA read and wrote */
};

/*
 * When no command is in flight.
 *
 * -EOPNOTSUPP only "sim" cards know.
 */
int kiln_get_engine_time(struct kiln_device *device, struct kiln_engine_time *time);

enum kiln_share_priority {
	KILN_SHARE_NORMAL	= 0,
	KILN_SHARE_LOW		= 1,	/* what others leave */
	KILN_SHARE_HIGH		= 2,	/* before all others; needs CAP_SYS_NICE */
};

/* What a device handle gets of the card's time while others want it, too. */
struct kiln_share {
	unsigned int weight;		/* 1 to 1024, against theirs; 0: 64 */
	enum kiln_share_priority priority;
	unsigned int min_share;		/* promised, in thousandths, up to 900; needs CAP_SYS_NICE, or a limit that grants it */
};

/*
 * In force when it returns, for all queues of the device handle.
 *
 * -EINVAL a number out of its range, -EPERM a privilege is missing, -EDQUOT beyond
 * an administrator's limit, -ENOSPC the card has promised too much to others.
 */
int kiln_set_share(struct kiln_device *device, const struct kiln_share *share);

/* ---------------------------------------------------------------- memory -- */

enum kiln_placement {
	KILN_HBM	= 0,	/* the card's memory: what tensors want */
	KILN_HOST	= 1,	/* host memory that the card reaches by DMA */
};

#define KILN_ALLOC_READONLY	(1u << 0)	/* the card may not write it */

/*
 * Allocate zeroed memory, bytes rounded up to pages of 4096, and bind it into the
 * device's address space, where kiln_addr() is.
 *
 * -EINVAL bytes is 0 or too large, or placement or flags are unknown, -ENOMEM the card
 * or the host has no room for it, -EDQUOT beyond an administrator's limit.
 */
int kiln_alloc(struct kiln_device *device, uint64_t bytes,
	       enum kiln_placement placement, unsigned int flags,
	       struct kiln_buffer **buffer);

/* Give memory back. No command that uses it may be in flight. NULL is allowed. */
void kiln_free(struct kiln_buffer *buffer);

/*
 * Its device address: a multiple of 4096, of 2 MiB if it is as large; fixed for life.
 * And its size in bytes, rounded up to whole pages.
 */
uint64_t kiln_addr(const struct kiln_buffer *buffer);
uint64_t kiln_bytes(const struct kiln_buffer *buffer);

/*
 * The memory as the CPU sees it. HBM is mapped write-combined: write in order,
 * read rarely. Valid until kiln_free(); the same address each time.
 *
 * Returns NULL if it cannot be mapped; kiln_last_error() says why.
 */
void *kiln_map(struct kiln_buffer *buffer);

/* -------------------------------------------------------------- programs -- */

/*
 * Put a program (kiln/isa.h: header and streams) into the card's memory. It is
 * copied: the caller's may go. What the streams hold is checked by the card when it
 * runs.
 *
 * -EINVAL header or size wrong, or made for another generation or instruction set,
 * -ENOMEM no memory of the host or of the card.
 */
int kiln_program_load(struct kiln_device *device, const void *program,
		      size_t bytes, struct kiln_program **out);

/* Give a program back. No command that uses it may be in flight. NULL is allowed. */
void kiln_program_free(struct kiln_program *program);

/* ---------------------------------------------------------------- queues -- */

enum kiln_submit_way {
	KILN_SUBMIT_AUTO	= 0,	/* io_uring, or the ioctl where io_uring is forbidden */
	KILN_SUBMIT_URING	= 1,
	KILN_SUBMIT_IOCTL	= 2,
	KILN_SUBMIT_CALLER	= 3,	/* "drm" only: by a ring of your own, see kiln_prep_exec() */
};

/* What a queue is to be like; all 0 is a good choice. */
struct kiln_queue_attr {
	unsigned int depth;		/* commands in flight: power of two from 8; 0: 128 */
	unsigned int weight;		/* 1 to 1024 against other queues; 0: 64 */
	unsigned int limit_ms;		/* a command may run this long, up to 10000; 0: 10000 */
	enum kiln_submit_way way;	/* ignored by "sim" */
};

/*
 * Make a queue. attr may be NULL. Where io_uring is forbidden, KILN_SUBMIT_AUTO says so on
 * standard error, once for a device, and uses the ioctl.
 *
 * -EINVAL a field of attr out of its range, -ENOMEM no memory, -ENOSPC the card has no queue
 * left, -EDQUOT beyond an administrator's limit, -EPERM io_uring is forbidden.
 */
int kiln_queue_create(struct kiln_device *device,
		      const struct kiln_queue_attr *attr,
		      struct kiln_queue **queue);

/* End a queue. What is in flight is canceled; callbacks run with -ECANCELED before it returns. */
void kiln_queue_destroy(struct kiln_queue *queue);

/* The device that it was made on. */
struct kiln_device *kiln_queue_device(struct kiln_queue *queue);

/* What it really uses: "uring", "ioctl", "caller" or "sim". */
const char *kiln_queue_way(const struct kiln_queue *queue);

/*
 * What became of a command:
 *
 *	0		done
 *	-EFAULT		it touched an address that is not bound
 *	-ENOEXEC	the program breaks a rule of the engines
 *	-EDEADLK	its engines wait for each other
 *	-ETIME		it ran for longer than limit_ms
 *	-ECANCELED	canceled, or stopped together with a faulting one
 *	-EIO		the card was reset: buffers keep what was in them, and the next
 *			command works (KILN_SUBMIT_CALLER: in a new queue)
 *	-ENODEV		the card is gone
 *
 * kiln_get_fault() says where.
 */
struct kiln_result {
	int res;
	uint64_t cycles;		/* device time, in cycles of clock_khz; 0 unless res is 0 */
};

typedef void (*kiln_done_fn)(void *user, const struct kiln_result *result);

/* One command: a program with its arguments, what it waits for and what it tells. */
struct kiln_command {
	struct kiln_program *program;	/* NULL: only wait, signal and complete */
	uint64_t args;			/* device address of the argument block, or 0 */
	uint32_t args_bytes;		/* multiple of 8, up to 512 */
	uint64_t wait_addr, wait_value;	/* start when the u64 there is >= value; 0: at once */
	uint64_t signal_addr, signal_value;	/* on success the u64 there becomes value; 0: none */
	kiln_done_fn done;		/* may be NULL */
	void *user;
};

/*
 * Hand over commands. They start in order, one at a time. All of them are
 * taken (waiting for room, and running callbacks meanwhile, if the queue is
 * full) unless the result is negative, and then those before *taken were.
 * taken may be NULL. One system call for all of them where there is room.
 *
 * -EINVAL a command that makes no sense, -ECANCELED the queue is being destroyed,
 * -ENOTSUP its commands go through a ring of yours, -ENOMEM no memory, -EIO, -ENODEV
 * the card failed or is gone.
 */
int kiln_submit(struct kiln_queue *queue, const struct kiln_command *commands,
		unsigned int count, unsigned int *taken);

/* Commands handed over and not yet called back. */
unsigned int kiln_pending(const struct kiln_queue *queue);

/*
 * Run the callbacks of what has completed, waiting until at least min have
 * (or all that are pending, if fewer). timeout_ns is in nanoseconds: 0 only looks,
 * negative waits for ever.
 *
 * Returns how many callbacks ran (commands without one count, too), or a negative
 * errno.
 *
 * -ETIME time was up first, -EINTR a signal came first (both after running those that
 * there were), -EBUSY called from a callback of the queue, -EIO io_uring failed.
 */
int kiln_wait(struct kiln_queue *queue, unsigned int min, int64_t timeout_ns);

/*
 * Wait for everything that is pending, and run the callbacks.
 *
 * -EINTR a signal came first, -EBUSY called from a callback of the queue, -EIO io_uring
 * failed.
 */
int kiln_drain(struct kiln_queue *queue);

/*
 * A descriptor that is readable (POLLIN) when kiln_wait(queue, 0, 0) has something
 * to do: for a server's event loop. It is the queue's own: only poll it. With io_uring,
 * epoll_wait() ends in EINTR when a command of the same thread completes: go around the
 * loop, then the descriptor is readable.
 *
 * Returns the descriptor, or a negative errno.
 *
 * -ENOTSUP the way of submission has none (the ioctl, or a ring of yours).
 */
int kiln_queue_fd(struct kiln_queue *queue);

/* ---------------------------------------------------------- a ring of yours -- */

struct io_uring_sqe;
struct io_uring_cqe;

/*
 * The card's descriptor, for the SQEs of kiln_prep_exec(). It is the device's own: do not
 * close it.
 *
 * Returns the descriptor, or a negative errno.
 *
 * -ENOTSUP "sim" has none.
 */
int kiln_device_fd(struct kiln_device *device);

/*
 * A server that has an io_uring already takes Kiln's commands into it, beside
 * its sockets and files: the ring has IORING_SETUP_SQE128 and _CQE32, the queue
 * KILN_SUBMIT_CALLER, and kiln_submit(), kiln_wait() and callbacks are not used.
 *
 *	sqe = io_uring_get_sqe(&ring);
 *	kiln_prep_exec(sqe, fd, queue, &command);
 *	io_uring_sqe_set_data(sqe, request);
 *	io_uring_submit(&ring);
 *	...
 *	kiln_parse_cqe(cqe, &result);
 *
 * fd is kiln_device_fd(), or, with IOSQE_FIXED_FILE among the SQE's flags, its
 * index among the ring's registered files, which is cheaper. With a ring of
 * mixed sizes (Linux 7: IORING_SETUP_SQE_MIXED and _CQE_MIXED) the SQE must be
 * one of 128 bytes, and its opcode is changed to IORING_OP_URING_CMD128.
 *
 * Links, drains, SQPOLL, IOPOLL work as with any command. The queue has to
 * outlive its commands; kiln_queue_destroy() ends them with -ECANCELED, and the
 * ring has their CQEs. This is for "drm" only: of "sim", the ring polls
 * kiln_queue_fd().
 *
 * All 128 bytes of the SQE are filled in; its user_data and flags are 0 and yours to set
 * afterwards. command->done and ->user must be NULL.
 *
 * -EINVAL the command makes no sense, or the queue is of another way: nothing is filled
 * in.
 */
int kiln_prep_exec(struct io_uring_sqe *sqe, int fd, struct kiln_queue *queue,
		   const struct kiln_command *command);

/* What a big CQE says of a command of kiln_prep_exec(). */
void kiln_parse_cqe(const struct io_uring_cqe *cqe, struct kiln_result *result);

#ifdef __cplusplus
}
#endif

#endif
