/* SPDX-License-Identifier: MIT */
/*
 * The inside of a Kiln card as a library: firmware, engines, memories. A
 * simulator or a program puts an outside around it: registers and doorbells
 * come in by calls, host memory and interrupts go out by callbacks.
 *
 * The library keeps all of its state in the one block of memory that
 * kiln_sim_size() asks for, plus the HBM that its owner lends it. It allocates
 * nothing, starts no thread, reads no clock, opens no file, and never ends its
 * process, whatever the guest does.
 *
 * Locking. The owner has one lock, "the card's lock", and holds it around
 * every call that says [locked]. kiln_sim_run() is called without it, by any
 * thread, at most once at a time for each core: this is where the work is
 * done. kiln_sim_doorbell() may be called by any thread at any time. Callbacks
 * marked [locked] are called with the lock held and must not call back into
 * the library.
 *
 * A worker thread therefore looks like this:
 *
 *	lock();
 *	while (!quit) {
 *		bool more = kiln_sim_service(sim);
 *		int core = kiln_sim_take(sim);
 *		if (core >= 0) {
 *			unlock(); kiln_sim_run(sim, core); lock();
 *			kiln_sim_retire(sim, core);
 *		} else if (!more) {
 *			wait for kick(), or for kiln_sim_deadline() to pass;
 *		}
 *		kiln_sim_tick(sim);
 *	}
 *
 * While every worker is inside kiln_sim_run(), somebody else has to call
 * kiln_sim_service() and kiln_sim_tick(): the watchdog is theirs.
 */
#ifndef KILN_SIM_H
#define KILN_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kiln_sim;

enum kiln_sim_log_level {
	KILN_SIM_LOG_DEBUG,
	KILN_SIM_LOG_INFO,
	KILN_SIM_LOG_GUEST_ERROR,	/* what the guest did wrong */
	KILN_SIM_LOG_ERROR,
	KILN_SIM_LOG_SANITIZER,		/* asked for by config.sanitize; from kiln_sim_run() */
};

/* What the outside does for the card. Addresses are in host memory, as the
 * card's PCI function sees it. Accesses return false if there is no memory. */
struct kiln_sim_host {
	/* Any size and alignment; by kiln_sim_run() too, so from any thread. */
	bool (*dma_read)(void *opaque, uint64_t addr, void *buf, size_t len);
	bool (*dma_write)(void *opaque, uint64_t addr, const void *buf, size_t len);
	/* Aligned, one access each. load has acquire, store has release order. */
	bool (*load32)(void *opaque, uint64_t addr, uint32_t *value);
	bool (*store32)(void *opaque, uint64_t addr, uint32_t value);
	bool (*load64)(void *opaque, uint64_t addr, uint64_t *value);
	bool (*store64)(void *opaque, uint64_t addr, uint64_t value);
	/*
	 * May be NULL. Make whole 4 KiB pages of HBM read as zero without
	 * touching them, by giving them back to the host; false: it cannot,
	 * and the card writes zeroes. [locked]
	 */
	bool (*discard)(void *opaque, uint64_t hbm_offset, uint64_t len);
	/*
	 * May be NULL: no. Has anybody else than the card touched this 4 KiB page
	 * since kiln_sim_fresh()? For config.sanitize, from any thread.
	 */
	bool (*touched)(void *opaque, uint64_t hbm_offset);
	/*
	 * The card has just written these bytes of HBM: see kiln_sim_track().
	 * By kiln_sim_run() too, so from any thread. May be NULL if never asked for.
	 */
	void (*written)(void *opaque, uint64_t hbm_offset, uint64_t len);
	/* Raise an MSI-X vector. [locked] */
	void (*interrupt)(void *opaque, unsigned int vector);
	/* There may be something to do: wake whoever sleeps in the loop above.
	 * From any thread, with the lock or without it. */
	void (*kick)(void *opaque);
	/* Nanoseconds of a monotonic clock: watchdog and uptime, never results. */
	uint64_t (*now_ns)(void *opaque);
	void (*log)(void *opaque, enum kiln_sim_log_level level, const char *text);
};

struct kiln_sim_config {
	unsigned int generation;	/* 1, 2, 3 for trn1, trn2, trn3 */
	unsigned int cores;		/* 1 to KILN_MAX_CORES */
	uint64_t hbm_bytes;		/* multiple of 2 MiB */
	bool sanitize;			/* watch programs, tell of what is wrong through log */
	bool time_only;			/* programs take their time and do nothing: see engine/core.h */
};

/* NULL, or a sentence that says what is wrong with config. */
const char *kiln_sim_check(const struct kiln_sim_config *config);

/* Bytes that a card of this configuration needs; 0 if config is not valid. */
size_t kiln_sim_size(const struct kiln_sim_config *config);

/*
 * Make a card, powered up and not booted, in mem: kiln_sim_size() bytes,
 * zeroed, 4096-byte aligned (sparse: pages that no program touches are never
 * touched either). hbm: hbm_bytes, 4096-byte aligned, zeroed. host and opaque
 * stay the owner's and must outlive the card. There is no destructor: free mem.
 */
struct kiln_sim *kiln_sim_init(void *mem, const struct kiln_sim_config *config,
			       void *hbm, const struct kiln_sim_host *host,
			       void *opaque);

/* A register of BAR0, below KILN_DOORBELL_BASE. [locked] */
uint32_t kiln_sim_reg_read(struct kiln_sim *sim, uint64_t offset);
void kiln_sim_reg_write(struct kiln_sim *sim, uint64_t offset, uint32_t value);

/* A write to a queue's doorbell page; calls host->kick(). */
void kiln_sim_doorbell(struct kiln_sim *sim, unsigned int queue);

/*
 * The same for an owner who happens to have the lock: the first few commands,
 * if they need no core, are done when it returns, and nobody has to be woken
 * up for them. Calls host->kick() if something is left to do. [locked]
 */
void kiln_sim_doorbell_now(struct kiln_sim *sim, unsigned int queue);

/*
 * One bounded piece of firmware work: fetch entries, resolve waits, hand
 * commands to cores, admin commands. True if there is more to do. [locked]
 */
bool kiln_sim_service(struct kiln_sim *sim);

/* A core that has a command and nobody to run it, now the caller's to run; or -1. [locked] */
int kiln_sim_take(struct kiln_sim *sim);

/* Run that command to its end. */
void kiln_sim_run(struct kiln_sim *sim, int core);

/* Signal, completion record, interrupt of the command that has run. [locked] */
void kiln_sim_retire(struct kiln_sim *sim, int core);

/* Look at the clock: time out commands past their limit, heartbeat. [locked] */
void kiln_sim_tick(struct kiln_sim *sim);

/* now_ns() at which kiln_sim_tick() wants to be called at the latest; UINT64_MAX: no need. [locked] */
uint64_t kiln_sim_deadline(struct kiln_sim *sim);

/*
 * Function reset (FLR, or power-on). First kiln_sim_stop(), which makes each
 * kiln_sim_run() return soon and hands out no core any more; when none is
 * inside (every taken core was retired), kiln_sim_reset() returns the card to
 * the state after kiln_sim_init(), HBM's content apart. CTRL_RESET through the
 * registers does the same by itself as soon as the cores are out. [locked]
 */
void kiln_sim_stop(struct kiln_sim *sim);
bool kiln_sim_idle(struct kiln_sim *sim);
void kiln_sim_reset(struct kiln_sim *sim);

/*
 * Pause: no core is handed out, no firmware work done, and each kiln_sim_run()
 * returns soon, in the middle of its program if need be; kiln_sim_idle() is true
 * when all taken cores have been retired. Registers and doorbells are answered
 * as ever. resume goes on as if no time had passed. A reset ends a pause. [locked]
 */
void kiln_sim_pause(struct kiln_sim *sim);
void kiln_sim_resume(struct kiln_sim *sim);

/*
 * Tell host->written() of whatever the card writes to HBM from now on, or no
 * more, so that its owner can send what has changed only. Writes of the owner's
 * own, and by DMA to where HBM stands in host memory, are not told of. [locked],
 * and no core running.
 */
void kiln_sim_track(struct kiln_sim *sim, bool on);

/* Takes the next bytes, or gives them; false: it cannot. */
typedef bool kiln_sim_move_fn(void *opaque, void *data, size_t bytes);

/*
 * Save a card that is paused and idle; load it into one that has just been made
 * or reset, of the same configuration, which is paused then. HBM and host memory
 * are the owner's to carry along. What runs goes on at the instruction where it
 * was, and ends with the same bits and cycles. NULL, or a sentence that says what
 * is wrong; then the card is as after a reset. The bytes that come in may be
 * anybody's. [locked]
 */
const char *kiln_sim_save(struct kiln_sim *sim, kiln_sim_move_fn *move, void *opaque);
const char *kiln_sim_load(struct kiln_sim *sim, kiln_sim_move_fn *move, void *opaque);

/*
 * For config.sanitize: whole pages of HBM have just been handed out, so nobody
 * has written there, and a program that reads them is told of until it, a signal
 * or (host->touched) somebody else has. Or not fresh: they are anybody's again.
 * No program may use them yet.
 */
void kiln_sim_fresh(struct kiln_sim *sim, uint64_t offset, uint64_t bytes, bool fresh);

/* What the card's engines have done since power-on, all cores together. */
struct kiln_sim_usage {
	double seconds;			/* of device time, while a command ran */
	double busy[5];			/* of them: Tensor, Vector, Scalar, GpSimd, Sync */
	double dma;			/* the mean of the 16 DMA engines */
	uint64_t hbm_bytes;		/* read and written by DMA */
};

/* [locked], and no core running. */
void kiln_sim_usage(struct kiln_sim *sim, struct kiln_sim_usage *usage);

/*
 * An instruction, a transfer or a whole command as it went by, in nanoseconds of
 * its core's device time, which goes on from one command to the next.
 */
struct kiln_sim_event {
	unsigned int core;
	enum {
		KILN_SIM_INSN,
		KILN_SIM_TRANSFER,
		KILN_SIM_COMMAND,
	} kind;
	unsigned int engine;		/* that it stands in */
	unsigned int ring;		/* TRANSFER */
	const char *name;		/* of the instruction, "DMA_COPY" */
	unsigned int index, label;
	uint64_t program;		/* COMMAND: its device address */
	double wait, start, end;	/* INSN: it came at wait, was taken at start */
	double busy;			/* the engine; TRANSFER: the mean of the DMA engines */
	uint64_t hbm_bytes;		/* TRANSFER: read and written */
	uint64_t sbuf_bytes, psum_bytes;	/* INSN: the same; of a transfer, too */
	double operations, at_peak;	/* INSN, a product: how many, and the time for them at best */
};

/*
 * Have each of them told from now on, by kiln_sim_run(), so from any thread;
 * NULL: no more. [locked], and no core running.
 */
void kiln_sim_watch(struct kiln_sim *sim,
		    void (*event)(void *opaque, const struct kiln_sim_event *event),
		    void *opaque);

/* What can be made to go wrong, for those who test a driver. */
enum kiln_sim_fault {
	KILN_SIM_FAULT_CRASH,	/* the firmware stops and says so */
	KILN_SIM_FAULT_HANG,	/* it stops and says nothing: READY for ever, no heartbeat */
	KILN_SIM_FAULT_COOKIE,	/* a tenant's next completion has a cookie that nobody gave */
	KILN_SIM_FAULT_INDEX,	/* from its next completion on, a tenant's cq_tail is nonsense */
};

/* Inject a fault; a reset takes it back. [locked] */
void kiln_sim_inject(struct kiln_sim *sim, enum kiln_sim_fault fault);

#ifdef __cplusplus
}
#endif

#endif
