/* SPDX-License-Identifier: MIT */
/*
 * The card's state and what the firmware's files call of one another.
 *
 * All of it is plain data in one block: ids, indices and offsets. The host
 * pointers stand together in struct kiln_memory (and the cores behind the
 * block are found by their number). Everything is accessed under the card's
 * lock but for what is marked [atomic], and for struct fw_core's members that
 * are marked [runner], which belong to kiln_sim_run() while the core is taken.
 *
 * The guest writes rings, page tables and timelines at any time, so a value
 * from there is loaded once, into here or a local, and checked afterwards.
 */
#ifndef KILN_FIRMWARE_FIRMWARE_H
#define KILN_FIRMWARE_FIRMWARE_H

#include "engine/core.h"
#include "firmware/mmu.h"
#include "kiln/hw.h"
#include "kiln_sim.h"

struct kiln_image;

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the rings are little endian and are copied as they are"
#endif

#define FW_FETCH	64	/* entries copied out of a ring ahead; bits of a u64 */
#define FW_DONE		32	/* completions written at a time */
#define FW_ADMIN_SLOTS	64	/* admin commands under way at once */
#define FW_WORDS	(KILN_MAX_QUEUES / 64)
#define FW_LIMIT_MS_MAX	10000	/* of a queue, for one command */

enum fw_queue_state {
	FW_QUEUE_FREE,
	FW_QUEUE_IDLE,		/* empty and armed, suspended, or about to be looked at */
	FW_QUEUE_BLOCKED,	/* its next command waits for a timeline */
	FW_QUEUE_FULL,		/* no room in the completion ring */
	FW_QUEUE_READY,		/* its next command wants a core */
	FW_QUEUE_RUNNING,
	FW_QUEUE_BROKEN,	/* its rings are nonsense; only DESTROY helps */
};

struct fw_queue {
	uint8_t state;		/* enum fw_queue_state; fw_queue_set_state() */
	uint8_t log2;
	uint8_t core;		/* RUNNING: on which */
	bool broken;		/* its rings are nonsense, or gone */
	bool dying;		/* QUEUE_DESTROY under way */
	bool away;		/* when last looked at, it had nothing for a core */
	bool flushing;		/* entries before flush_to end in flush_status */
	uint8_t flush_status;
	uint16_t context;
	uint16_t vector;
	uint16_t next, prev;	/* READY: the others of the context; 0: none */
	uint16_t sib_next, sib_prev; /* all queues of the context */
	uint32_t weight;
	uint32_t limit_ms;
	uint64_t sq, cq, ctl;	/* host memory */

	uint32_t sq_next;	/* the next entry to start or complete */
	uint32_t sq_base;	/* the ring index of fetched[0] */
	uint32_t sq_fetched;	/* the index after the last one in fetched[] */
	uint32_t cq_tail;
	uint32_t cq_head;	/* as last seen */
	uint32_t flush_to;

	uint64_t wait_since;	/* now_ns() + 1 when the next command began to wait; 0: it has not */
	uint64_t vruntime;	/* weighted cycles, against the context's other queues */
	uint64_t last_cycles;	/* what its last command took: the next one's estimate */

	/*
	 * Copied out of the ring: entries sq_base to sq_fetched - 1. Bits of
	 * those that QUEUE_CANCEL has completed before their turn, and of those
	 * that shall end in ABORTED when it comes.
	 */
	uint64_t taken, aborted;
	struct kiln_cmd fetched[FW_FETCH];
	/* The same as aborted for what still stands in the ring, by slot. */
	uint64_t cancelled[(1 << KILN_RING_LOG2_MAX) / 64];
};

struct fw_context {
	bool used;
	bool suspended;
	uint16_t queues;	/* the first one; 0: none */
	uint16_t ready;		/* the first READY queue */
	uint16_t running;	/* commands on cores */
	uint16_t blocked;	/* queues in FW_QUEUE_BLOCKED */
	uint32_t weight;
	uint32_t min_share;	/* thousandths; 0: nothing is promised */
	uint8_t priority;	/* enum kiln_priority */
	uint64_t root;
	uint64_t serial;	/* never used twice, as the id is */
	uint64_t suspended_ns;	/* since when, if it is */
	uint64_t vruntime;	/* weighted cycles, against others of this priority */
	uint64_t due;		/* sim->spent at which its min_share is due again */
	uint64_t turn;		/* sim->turns when it last got a core */
	uint64_t queue_floor;	/* least vruntime that a waking queue gets */
	struct kiln_fault fault;
};

/* What a command was charged for when it started, to be taken back when it ends. */
struct fw_charge {
	uint64_t cycles;
	bool due;		/* by its context's min_share */
};

enum fw_core_state {
	FW_CORE_FREE,
	FW_CORE_TAKEN,
	FW_CORE_PAUSED,		/* has a command, and nobody runs it */
};

struct fw_core {
	uint8_t state;
	uint16_t context;
	uint16_t queue;
	bool doomed;		/* its context was stopped: ends in KILN_ST_CONTEXT */
	bool timed_out;		/* the watchdog has spoken */
	uint64_t timeout_ns;	/* when */
	uint64_t run;		/* counts commands */
	uint64_t serial;	/* of the context whose leavings are in it; 0: clean */
	struct fw_charge charge;
	uint64_t limit_ns;
	struct kiln_cmd cmd;
	uint64_t root;
	bool scrub;		/* for [runner]: leavings of another context */
	bool attach;		/* for [runner]: its TLB is of no use */
	uint64_t start_ns;	/* [atomic] set by [runner]; 0: not yet */
	uint64_t end_ns;	/* [runner] */
	struct kiln_outcome outcome; /* [runner] */

	uint64_t busy_ns, cycles, commands;
};

struct fw_admin {
	struct kiln_cmd cmd;
	uint64_t done;		/* bytes, of CLEAR and COPY */
	uint64_t flush[KILN_MAX_CORES]; /* TLB_FLUSH: flush_seen to reach; 0: nothing to wait for */
	uint64_t run[KILN_MAX_CORES];	/* or this run of the core to be over */
};

/* Who watches a core: host pointers, the owner's for as long as he watches. */
struct fw_watch {
	struct kiln_sim *sim;
	struct kiln_watch watch;
};

struct kiln_sim {
	struct kiln_memory memory;	/* the host pointers */
	struct fw_watch watch[KILN_MAX_CORES];
	void (*watcher)(void *opaque, const struct kiln_sim_event *event);
	void *watcher_opaque;
	struct kiln_sim_config config;

	/* registers */
	uint32_t ctrl;
	uint32_t state;			/* enum kiln_state */
	uint32_t error;
	uint32_t drv_version;
	uint32_t heartbeat;
	uint32_t admin_log2;
	uint64_t admin_sq, admin_cq, admin_ctl;

	bool halted;			/* kiln_sim_stop() .. kiln_sim_reset() */
	bool paused;			/* kiln_sim_pause() .. kiln_sim_resume() */
	uint64_t paused_ns;		/* since when */
	bool hung;			/* KILN_SIM_FAULT_HANG: only a reset helps */
	uint32_t inject;		/* bits of enum kiln_sim_fault, for the next completion */
	bool off;			/* RESETTING goes on to OFF with registers kept */
	uint64_t boot_ns;
	uint64_t beat_ns;		/* the next heartbeat */
	uint64_t poll_ns;		/* when BLOCKED and FULL queues are looked at again */

	/* Queues to look at: a bit each, and a bit for each word. [atomic] */
	uint64_t pending_words;
	uint64_t pending[FW_WORDS];
	uint32_t turn;			/* the queue to look at first */
	uint64_t doorbells;		/* [atomic] */

	uint64_t stalled[FW_WORDS];	/* queues in BLOCKED or FULL */
	uint32_t stalled_count;

	uint64_t ready_contexts[KILN_MAX_CONTEXTS / 64];
	uint64_t floor[KILN_PRIORITIES]; /* least vruntime that a waking context gets */
	uint64_t spent;			/* cycles that all contexts together have used */
	uint64_t turns;			/* commands that got a core */
	uint32_t promised;		/* sum of all min_share */
	uint64_t serial;

	uint64_t admin_used;		/* bit for each slot */
	uint32_t admin_turn;		/* which slot copies next */
	struct fw_admin admin[FW_ADMIN_SLOTS];

	uint64_t commands, faults, interrupts;

	/* Completions that fw_ring_complete_later() has of the queue that is looked at. */
	uint32_t done_count;
	struct kiln_completion done[FW_DONE];

	uint32_t log_head;		/* bytes written since power-on */
	char log[KILN_LOG_BYTES];

	struct fw_core core[KILN_MAX_CORES];
	struct fw_context context[KILN_MAX_CONTEXTS];
	struct fw_queue queue[KILN_MAX_QUEUES];
};

static inline uint64_t fw_now(struct kiln_sim *sim)
{
	return sim->memory.host->now_ns(sim->memory.opaque);
}

static inline void fw_kick(struct kiln_sim *sim)
{
	sim->memory.host->kick(sim->memory.opaque);
}

static inline unsigned int fw_queue_id(struct kiln_sim *sim, struct fw_queue *q)
{
	return (unsigned int)(q - sim->queue);
}

/* sim.c */
struct kiln_core *fw_core_engine(struct kiln_sim *sim, unsigned int core);
void fw_pend(struct kiln_sim *sim, unsigned int queue);

/* boot.c: handshake, disable, reset */
void fw_ctrl_write(struct kiln_sim *sim, uint32_t value);
void fw_boot(struct kiln_sim *sim);
__attribute__((format(printf, 3, 4)))
void fw_crash(struct kiln_sim *sim, enum kiln_boot_error error, const char *format, ...);
void fw_stop_cores(struct kiln_sim *sim);
bool fw_cores_out(struct kiln_sim *sim);
void fw_reset(struct kiln_sim *sim, bool keep_registers);

/* ring.c: a queue's three pieces of host memory */
bool fw_ring_reset(struct kiln_sim *sim, struct fw_queue *q);
bool fw_ring_fetch(struct kiln_sim *sim, struct fw_queue *q);
bool fw_ring_fill(struct kiln_sim *sim, struct fw_queue *q);
bool fw_ring_find(struct kiln_sim *sim, struct fw_queue *q, uint64_t cookie,
		  uint32_t *index);
bool fw_ring_tail(struct kiln_sim *sim, struct fw_queue *q, uint32_t *tail);
bool fw_ring_arm(struct kiln_sim *sim, struct fw_queue *q, bool *more);
uint32_t fw_ring_room(struct kiln_sim *sim, struct fw_queue *q);
void fw_ring_complete(struct kiln_sim *sim, struct fw_queue *q,
		      const struct kiln_completion *completion);
void fw_ring_complete_later(struct kiln_sim *sim, struct fw_queue *q,
			    const struct kiln_completion *completion);
void fw_ring_complete_flush(struct kiln_sim *sim, struct fw_queue *q);
void fw_ring_broken(struct kiln_sim *sim, struct fw_queue *q, const char *why);
static inline struct kiln_cmd *fw_ring_next(struct fw_queue *q)
{
	return &q->fetched[q->sq_next - q->sq_base];
}
static inline uint64_t fw_ring_bit(struct fw_queue *q, uint32_t index)
{
	return 1ull << (index - q->sq_base);
}

/* queue.c: a tenant's queue from entry to core */
void fw_queue_set_state(struct kiln_sim *sim, struct fw_queue *q,
			enum fw_queue_state state);
void fw_queue_advance(struct kiln_sim *sim, struct fw_queue *q);
void fw_queue_flush(struct kiln_sim *sim, struct fw_queue *q,
		    enum kiln_status status);
bool fw_queue_cancel(struct kiln_sim *sim, struct fw_queue *q, uint64_t cookie);
void fw_queue_start(struct kiln_sim *sim, struct fw_queue *q,
		    unsigned int core);
void fw_queue_retire(struct kiln_sim *sim, unsigned int core);

/* context.c */
void fw_context_stop(struct kiln_sim *sim, struct fw_queue *by,
		     const struct kiln_completion *record);
void fw_context_look(struct kiln_sim *sim, unsigned int context,
		     bool only_blocked);

/* timeline.c: the u64s that commands wait for and signal */
enum kiln_status fw_timeline_load(struct kiln_sim *sim, uint64_t root,
				  uint64_t va, uint64_t *value);
enum kiln_status fw_timeline_store(struct kiln_sim *sim, uint64_t root,
				   uint64_t va, uint64_t value);

/* sched.c: who gets a core */
enum kiln_status fw_sched_share(struct kiln_sim *sim, struct fw_context *ctx,
				const struct kiln_cmd *cmd);
void fw_sched_forget(struct kiln_sim *sim, struct fw_context *ctx);
void fw_sched_resume(struct kiln_sim *sim, struct fw_context *ctx);
void fw_sched_ready(struct kiln_sim *sim, struct fw_queue *q);
void fw_sched_unready(struct kiln_sim *sim, struct fw_queue *q);
struct fw_queue *fw_sched_pick(struct kiln_sim *sim);
struct fw_charge fw_sched_charge(struct kiln_sim *sim, struct fw_queue *q);
void fw_sched_settle(struct kiln_sim *sim, struct fw_queue *q,
		     const struct fw_charge *charge, uint64_t cycles, bool fault);

/* admin.c, copy.c: done when they return true */
void fw_admin_advance(struct kiln_sim *sim);
bool fw_admin_step(struct kiln_sim *sim);
/* admin.c: could a command that has a slot be this one? */
bool fw_admin_plausible(struct kiln_sim *sim, const struct fw_admin *admin);
enum kiln_status fw_copy_check(struct kiln_sim *sim, const struct kiln_cmd *cmd);
bool fw_copy_step(struct kiln_sim *sim, struct fw_admin *admin,
		  struct kiln_completion *record);

/* order.c: the sanitizer between commands, where there is one */
struct fw_order *fw_order(struct kiln_sim *sim);
size_t fw_order_size(void);
void fw_order_queue(struct kiln_sim *sim, unsigned int queue);
void fw_order_pass(struct kiln_sim *sim, struct fw_queue *q, uint32_t index,
		   const struct kiln_cmd *cmd);
void fw_order_start(struct kiln_sim *sim, struct fw_queue *q, unsigned int core, uint32_t index);
void fw_order_end(struct kiln_sim *sim, unsigned int core);
void fw_order_signal(struct kiln_sim *sim, unsigned int queue, const struct kiln_cmd *cmd);

/* save.c */
void fw_shift_clock(struct kiln_sim *sim, uint64_t by);
void fw_image(struct kiln_sim *sim, struct kiln_image *image);

/* telemetry.c */
void fw_stats(struct kiln_sim *sim, struct kiln_stats *stats);
uint32_t fw_log_word(struct kiln_sim *sim, uint64_t offset);
__attribute__((format(printf, 3, 4)))
void fw_log(struct kiln_sim *sim, enum kiln_sim_log_level level,
	    const char *format, ...);

/* watchdog.c */
#define FW_BEAT_NS	500000000ull
#define FW_POLL_NS	1000000ull
#define FW_STUCK_NS	3000000000ull	/* a core that has been told to stop has stopped by then */
void fw_watchdog_tick(struct kiln_sim *sim);
uint64_t fw_watchdog_deadline(struct kiln_sim *sim);

#endif
