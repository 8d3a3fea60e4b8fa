/* SPDX-License-Identifier: MIT */
/*
 * The contract between the Kiln card and the software that drives it: PCI
 * identity, registers, rings, commands, completions, page tables.
 *
 * Every multi-byte field is little endian. The driver and the card include
 * this file unchanged, so it uses fixed-width types and nothing else. What an
 * instruction looks like is not in here: see isa.h, which the driver never
 * includes.
 */
#ifndef KILN_HW_H
#define KILN_HW_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/* ------------------------------------------------------------------ PCI -- */

#define KILN_PCI_VENDOR_ID	0x1234	/* unassigned; QEMU's teaching devices use it too */
#define KILN_PCI_DEVICE_ID	0x4b4c
#define KILN_PCI_CLASS		0x120000 /* processing accelerator */

#define KILN_BAR_REGS		0	/* registers and doorbells */
#define KILN_BAR_MSIX		2
#define KILN_BAR_HBM		4	/* all of HBM, 64-bit prefetchable */

#define KILN_BAR_REGS_SIZE	0x2000000
#define KILN_DOORBELL_BASE	0x1000000
#define KILN_DOORBELL_STRIDE	0x1000	/* one page a queue, so that one can be mapped alone */
#define KILN_DOORBELL(queue) \
	(KILN_DOORBELL_BASE + (queue) * KILN_DOORBELL_STRIDE)

#define KILN_MAX_QUEUES		4096	/* queue 0 is the admin queue */
#define KILN_MAX_CONTEXTS	256	/* context 0 is the firmware's own, never a tenant's */
#define KILN_MAX_CORES		8
#define KILN_MSIX_VECTORS	32	/* vector 0: admin queue and state changes */

/* ------------------------------------------------------------ registers -- */

/*
 * 32-bit registers; a 64-bit one is two, low word first. Aligned 4-byte
 * accesses only; others read as all ones and are ignored when written.
 */
#define KILN_REG_MAGIC		0x000	/* ro */
#define KILN_REG_HW_VERSION	0x004	/* ro: KILN_VERSION(major, minor) of this contract */
#define KILN_REG_GENERATION	0x008	/* ro: 1, 2 or 3 for trn1, trn2, trn3 */
#define KILN_REG_CORES		0x00c	/* ro */
#define KILN_REG_HBM_SIZE_LO	0x010	/* ro: bytes */
#define KILN_REG_HBM_SIZE_HI	0x014
#define KILN_REG_MAX_QUEUES	0x018	/* ro: including the admin queue */
#define KILN_REG_MAX_CONTEXTS	0x01c	/* ro: including context 0 */
#define KILN_REG_CLOCK_KHZ	0x020	/* ro: clock that completions count cycles of */
#define KILN_REG_SBUF_KIB	0x024	/* ro: per partition */
#define KILN_REG_PSUM_KIB	0x028	/* ro: per partition */

#define KILN_REG_CTRL		0x100	/* rw: KILN_CTRL_* */
#define KILN_REG_STATUS		0x104	/* ro: KILN_STATE_* */
#define KILN_REG_ERROR		0x108	/* ro: KILN_BOOT_*, why STATE_FAILED */
#define KILN_REG_FW_VERSION	0x10c	/* ro: valid from STATE_READY on */
#define KILN_REG_DRV_VERSION	0x110	/* rw: least firmware version that the driver can use */
#define KILN_REG_ADMIN_SQ_LO	0x120	/* rw until CTRL_ENABLE: addresses in host memory */
#define KILN_REG_ADMIN_SQ_HI	0x124
#define KILN_REG_ADMIN_CQ_LO	0x128
#define KILN_REG_ADMIN_CQ_HI	0x12c
#define KILN_REG_ADMIN_CTL_LO	0x130
#define KILN_REG_ADMIN_CTL_HI	0x134
#define KILN_REG_ADMIN_LOG2	0x138	/* rw: log2 of the admin ring's entries */
#define KILN_REG_HEARTBEAT	0x140	/* ro: grows while the firmware lives */
#define KILN_REG_FAULTS		0x144	/* ro: contexts stopped since boot */
#define KILN_REG_LOG_HEAD	0x148	/* ro: bytes that the firmware has logged since power-on */

/*
 * The end of the firmware's log, text in lines: byte n of it stands in the word
 * at KILN_LOG_BASE + n % KILN_LOG_BYTES / 4 * 4. Only power-on empties it, so
 * it tells of a crash after the reset, too.
 */
#define KILN_LOG_BASE		0x10000
#define KILN_LOG_BYTES		8192

#define KILN_MAGIC		0x4e4c494b	/* "KILN" */
#define KILN_VERSION(major, minor)	((uint32_t)(major) << 16 | (minor))
#define KILN_HW_VERSION		KILN_VERSION(1, 0)
#define KILN_FW_VERSION		KILN_VERSION(1, 1)

#define KILN_CTRL_ENABLE	(1u << 0)	/* 0 -> 1 boots the firmware, 1 -> 0 stops it */
#define KILN_CTRL_RESET		(1u << 1)	/* function reset; reads as 0 when done */

enum kiln_state {
	KILN_STATE_OFF		= 0,
	KILN_STATE_BOOTING	= 1,
	KILN_STATE_READY	= 2,
	KILN_STATE_FAILED	= 3,	/* reset it; KILN_REG_ERROR says why */
	KILN_STATE_RESETTING	= 4,
};

enum kiln_boot_error {
	KILN_BOOT_OK		= 0,
	KILN_BOOT_VERSION	= 1,	/* firmware is older than KILN_REG_DRV_VERSION */
	KILN_BOOT_ADMIN_RING	= 2,	/* misaligned, or log2 out of range */
	KILN_BOOT_DMA		= 3,	/* the admin ring cannot be reached */
	KILN_BOOT_CRASHED	= 4,
	KILN_BOOT_STUCK		= 5,	/* a core does not stop: its DMA gets no answer */
};

/* ---------------------------------------------------------------- rings -- */

/*
 * A queue is three pieces of host memory: the submission ring (entries of
 * struct kiln_cmd), the completion ring (as many struct kiln_completion) and
 * this control block. Indices run freely and are taken modulo the ring size.
 *
 * Doorbell: the driver writes entries, then sq_tail, then reads sq_event; it
 * rings only if sq_event lies in [old sq_tail, new sq_tail). A device that is
 * working leaves sq_event behind; before it sleeps it sets sq_event = the
 * sq_tail it has seen, and looks at sq_tail once more.
 *
 * Interrupt: likewise with cq_tail, cq_event and the queue's MSI-X vector.
 *
 * The card never has more commands of a queue in flight than fit into the
 * completion ring beyond cq_head, so completions cannot overrun.
 */
struct kiln_ring_ctl {
	/* written by the driver */
	uint32_t sq_tail;
	uint32_t cq_head;
	uint32_t cq_event;	/* interrupt when cq_tail passes it */
	uint32_t reserved0[13];
	/* written by the device */
	uint32_t sq_head;	/* entries before it have been copied out */
	uint32_t sq_event;	/* ring when sq_tail passes it */
	uint32_t cq_tail;
	uint32_t reserved1[13];
};

/* Is event in [old, new)? The test for both directions, modulo 2^32. */
static inline int kiln_event_crossed(uint32_t event, uint32_t new_idx,
				     uint32_t old_idx)
{
	return (uint32_t)(new_idx - event - 1) < (uint32_t)(new_idx - old_idx);
}

#define KILN_RING_LOG2_MIN	3
#define KILN_RING_LOG2_MAX	12
#define KILN_RING_ALIGN		4096	/* of all three addresses */

enum kiln_opcode {
	/* any queue but the admin queue */
	KILN_CMD_NOP		= 0x00,
	KILN_CMD_EXEC		= 0x01,
	/* the admin queue */
	KILN_ADM_NOP		= 0x40,
	KILN_ADM_CTX_CREATE	= 0x41,
	KILN_ADM_CTX_DESTROY	= 0x42,	/* queues must be gone */
	KILN_ADM_CTX_SUSPEND	= 0x43,	/* done when no command of it runs */
	KILN_ADM_CTX_RESUME	= 0x44,
	KILN_ADM_QUEUE_CREATE	= 0x45,
	KILN_ADM_QUEUE_DESTROY	= 0x46,	/* aborts what is queued and running, then done */
	KILN_ADM_TLB_FLUSH	= 0x47,	/* done when no core can use an old translation */
	KILN_ADM_CLEAR		= 0x48,	/* zero a range of HBM */
	KILN_ADM_COPY		= 0x49,	/* between HBM and host memory */
	KILN_ADM_CTX_FAULT	= 0x4a,	/* write the context's struct kiln_fault to host memory */
	KILN_ADM_QUEUE_CANCEL	= 0x4b,	/* abort the one command with this cookie, if it is there */
	KILN_ADM_STATS		= 0x4c,	/* write struct kiln_stats to host memory */
	KILN_ADM_CTX_SHARE	= 0x4d,	/* change weight, priority and min_share */
};

/*
 * One 64-byte submission entry. Reserved fields, and those that an opcode does
 * not use, must be zero.
 *
 * limit_ms counts what a command spends on a core. A wait for wait_value that
 * lasts KILN_WAIT_LIMIT_MS ends in KILN_ST_TIMEOUT as well. The card looks at
 * wait_addr when a command of its context signals, and every few milliseconds.
 */
#define KILN_WAIT_LIMIT_MS	10000

/*
 * Who gets a core. Of two contexts that want one, that of higher priority;
 * among equals, device time is shared by weight. Before both come contexts that
 * have had less than their min_share, in thousandths of the device time that
 * the card has spent while they wanted it: neither weights nor priorities of
 * others take that from them. What somebody leaves unused goes to the others.
 * All of them together can be promised KILN_MIN_SHARE_SUM; beyond that:
 * KILN_ST_NO_SPACE. A queue is on one core at a time, so a context uses as many
 * cores as it has queues with work.
 */
#define KILN_WEIGHT_MAX		1024
#define KILN_MIN_SHARE_SUM	900
enum kiln_priority {
	KILN_PRIORITY_NORMAL	= 0,
	KILN_PRIORITY_LOW	= 1,
	KILN_PRIORITY_HIGH	= 2,
};
#define KILN_PRIORITIES		3

struct kiln_cmd {
	uint8_t opcode;
	uint8_t flags;			/* none yet */
	uint16_t reserved;
	uint32_t param;
	uint64_t cookie;		/* comes back in the completion */
	union {
		/* KILN_CMD_EXEC, KILN_CMD_NOP (program and args zero) */
		struct {
			uint64_t program;	/* device address, 64-byte aligned */
			uint64_t args;		/* device address, 8-byte aligned; 0: none */
			uint64_t wait_addr;	/* 0: none. Starts when the u64 there is >= wait_value */
			uint64_t wait_value;
			uint64_t signal_addr;	/* 0: none. u64 there becomes signal_value on success */
			uint64_t signal_value;
		} exec;			/* param: program bytes | args bytes / 8 << 24 */
		struct {
			uint32_t context;
			uint32_t weight;	/* 1 to 1024 */
			uint64_t root;		/* HBM offset of the top page table; CTX_SHARE: 0 */
			uint32_t priority;	/* enum kiln_priority */
			uint32_t min_share;	/* 0 to KILN_MIN_SHARE_SUM */
			uint64_t reserved[3];
		} ctx;	/* CTX_CREATE, CTX_SHARE; the others only context */
		struct {
			uint32_t queue;
			uint32_t context;
			uint64_t sq, cq, ctl;	/* addresses in host memory */
			uint32_t log2_entries;
			uint32_t vector;
			uint32_t weight;	/* 1 to 1024, within the context */
			uint32_t limit_ms;	/* a command may run this long; 1 to 10000 */
		} queue;
		struct {
			uint64_t dst;
			uint64_t src;
			uint64_t bytes;
			uint32_t dst_host;	/* 1: dst is an address in host memory, 0: in HBM */
			uint32_t src_host;
			uint64_t reserved[2];
		} copy;	/*
			 * CLEAR: dst and bytes. COPY: not from host to host, and
			 * ranges of HBM must not overlap. CTX_FAULT (param:
			 * context), STATS: dst, dst_host = 1, bytes: as many as
			 * both sides know are written.
			 */
		struct {
			uint32_t queue;
			uint32_t reserved0;
			uint64_t target;	/* cookie */
			uint64_t reserved[4];
		} cancel;
	};
};

#define KILN_EXEC_PARAM(program_bytes, args_bytes) \
	((uint32_t)(program_bytes) | (uint32_t)((args_bytes) / 8) << 24)
#define KILN_PROGRAM_BYTES(param)	((param) & 0xffffff)
#define KILN_ARGS_BYTES(param)		(((param) >> 24) * 8)
#define KILN_MAX_PROGRAM_BYTES		0xffffc0
#define KILN_MAX_ARGS_BYTES		512

/* What became of a command. */
enum kiln_status {
	KILN_ST_OK		= 0,
	KILN_ST_BAD_COMMAND	= 1,	/* a field of the entry is wrong */
	KILN_ST_BAD_PROGRAM	= 2,	/* header, version, generation or a stream's bounds */
	KILN_ST_ILLEGAL		= 3,	/* an instruction that the engine does not have */
	KILN_ST_OPERAND		= 4,	/* an operand beyond the instruction's limits */
	KILN_ST_MEMORY		= 5,	/* beyond SBUF or PSUM */
	KILN_ST_PAGE_FAULT	= 6,	/* fault_addr is not mapped, or not for writing */
	KILN_ST_BUS		= 7,	/* mapped host memory does not answer */
	KILN_ST_TIMEOUT		= 8,	/* ran longer than the queue's limit_ms */
	KILN_ST_DEADLOCK	= 9,	/* every stream waits for a semaphore */
	KILN_ST_CONTEXT		= 10,	/* another command stopped this context */
	KILN_ST_ABORTED		= 11,	/* cancel, queue destroyed, or reset */
	KILN_ST_BAD_STATE	= 12,	/* admin: exists already, or does not exist */
	KILN_ST_NO_SPACE	= 13,	/* admin: tables are full */
};

/*
 * One 64-byte completion record. Commands of a tenant's queue complete in
 * order, but for one that KILN_ADM_QUEUE_CANCEL takes out before its turn;
 * those of the admin queue in any order. A completion gives the entry's place
 * in the submission ring back, too.
 *
 * A command that ends in BAD_PROGRAM to TIMEOUT or DEADLOCK stops its context:
 * each command of it that is running, or that stands in a ring at that moment,
 * ends in KILN_ST_CONTEXT; then the context goes on, with whatever is
 * submitted from there. Other contexts notice nothing. BAD_COMMAND, CONTEXT and
 * ABORTED end that one command and stop nothing.
 */
struct kiln_completion {
	uint64_t cookie;
	uint16_t status;	/* enum kiln_status */
	uint8_t core;
	uint8_t engine;		/* of the fault; enum kiln_engine in isa.h */
	uint32_t instruction;	/* of the fault: index in the engine's stream */
	uint64_t fault_addr;	/* device address, or byte in SBUF or PSUM */
	uint64_t cycles;	/* device time, in cycles of KILN_REG_CLOCK_KHZ */
	uint64_t start_ns;	/* card's uptime at the start: for tools, not for results */
	uint64_t end_ns;
	uint32_t label;		/* of the fault: source label, 0: none */
	uint32_t reserved[3];
};

/* The last command that stopped a context (KILN_ADM_CTX_FAULT). */
struct kiln_fault {
	uint64_t count;		/* of stops so far; 0: the rest is zero */
	struct kiln_completion completion;
	uint32_t queue;
	uint32_t reserved;
};

/* KILN_ADM_STATS. Counters since boot. */
struct kiln_stats {
	uint64_t uptime_ns;
	uint64_t commands;
	uint64_t faults;
	uint64_t doorbells;
	uint64_t interrupts;
	struct {
		uint64_t busy_ns;	/* host time spent running commands */
		uint64_t cycles;	/* device time */
		uint64_t commands;
	} core[KILN_MAX_CORES];
};

/* ---------------------------------------------------------- page tables -- */

/*
 * Each context has 48-bit device addresses and a four-level tree of 4 KiB
 * tables in HBM, 512 entries each, indexed by bits 47-39, 38-30, 29-21, 20-12.
 * A leaf stands in the last level (4 KiB page) or, with KILN_PTE_LARGE, in the
 * one before (2 MiB page). Address 0 to 4095 is never mapped.
 */
#define KILN_VA_BITS		48
#define KILN_PT_LEVELS		4
#define KILN_PT_ENTRIES		512
#define KILN_PAGE_SHIFT		12
#define KILN_LARGE_SHIFT	21

#define KILN_PTE_VALID		(1ull << 0)
#define KILN_PTE_WRITE		(1ull << 1)	/* leaf only */
#define KILN_PTE_HOST		(1ull << 2)	/* leaf only: address in host memory, else in HBM */
#define KILN_PTE_LARGE		(1ull << 3)	/* leaf only: 2 MiB */
#define KILN_PTE_ADDR		0x000ffffffffff000ull
/* every other bit must be zero: the walk faults on it */

#endif
