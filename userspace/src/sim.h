/* SPDX-License-Identifier: MIT */
/*
 * The transport "sim": a card in this process, and the little driver that it
 * needs. Four files: sim.c opens it and manages memory, sim_queue.c is a
 * queue's two rings, sim_worker.c the card's own threads, sim_host.c what the
 * card reaches of this process.
 *
 * Locks, outermost first: driver (admin queue, HBM, page tables), card (what
 * kiln_sim.h calls the card's lock), then host and kick, which are leaves.
 */
#ifndef KILN_SIM_TRANSPORT_H
#define KILN_SIM_TRANSPORT_H

#include "kiln/hw.h"
#include "kiln_sim.h"
#include "transport.h"

#define SIM_MAX_THREADS		8
#define SIM_CONTEXT		1	/* the only one */
#define SIM_ADMIN_LOG2		KILN_RING_LOG2_MIN

/* Memory of this process that the card may reach: [start, end). */
struct sim_range {
	uint64_t start, end;
	bool writable;
};

struct sim_host {
	pthread_rwlock_t lock;
	struct sim_range *range;	/* by address */
	unsigned int count, size;
};

/* Three rings' worth of memory; offsets of its parts. */
struct sim_rings {
	uint8_t *mem;
	size_t bytes;
	uint32_t entries;
	struct kiln_cmd *sq;
	struct kiln_completion *cq;
	struct kiln_ring_ctl *ctl;
	uint32_t sq_tail, cq_head;	/* ours; those in ctl are what the card sees */
};

struct sim_device {
	struct kiln_device base;
	struct kiln_sim *sim;
	struct kiln_sim_config config;
	size_t sim_bytes;
	uint8_t *hbm;
	int pagemap;			/* with sanitize: which pages there are; -1: nobody knows */
	uint8_t *mapped;		/* a bit for each page of hbm that the user has; NULL: as well */
	struct sim_host host;

	pthread_mutex_t card;
	pthread_cond_t state;		/* vector 0: admin completions, state changes */
	struct sim_queue *queues;	/* [card] */

	pthread_mutex_t kick;
	pthread_cond_t kicked;
	uint64_t kicks;			/* [kick] */
	uint64_t sleep_until;		/* [kick] when the first sleeper wakes by itself */
	unsigned int sleepers;		/* [kick] */
	unsigned int running;		/* [card] threads inside kiln_sim_run(), helpers too */
	bool quit;			/* [card] and [kick] */
	unsigned int threads;		/* of them may run a core at a time */
	pthread_t thread[SIM_MAX_THREADS + 1];
	unsigned int started;

	pthread_mutex_t driver;
	struct sim_rings admin;
	uint64_t root;			/* of the page tables, in HBM */
	struct kiln_va memory;		/* free HBM */
	uint64_t queue_ids[KILN_MAX_QUEUES / 64];	/* in use */
};

static inline struct sim_device *to_sim(struct kiln_device *device)
{
	return (struct sim_device *)device;
}

/* sim_host.c */
extern const struct kiln_sim_host sim_host_ops;
int sim_host_add(struct sim_device *dev, void *start, uint64_t bytes, bool writable);
void sim_host_remove(struct sim_device *dev, void *start);

/* sim_worker.c */
int sim_workers_start(struct sim_device *dev);
void sim_workers_stop(struct sim_device *dev);
void sim_kick(struct sim_device *dev);
/* Be one of the card's threads for one command, if there is one; false: nothing to do. */
bool sim_help(struct sim_device *dev);

/* sim_queue.c */
int sim_rings_init(struct sim_device *dev, struct sim_rings *rings, unsigned int log2);
void sim_rings_fini(struct sim_device *dev, struct sim_rings *rings);
int sim_admin(struct sim_device *dev, const struct kiln_cmd *cmd);
int sim_errno(unsigned int status);
int sim_queue_create(struct kiln_device *device, const struct kiln_queue_attr *attr,
		     struct kiln_queue **queue);
void sim_queue_interrupt(struct sim_device *dev, unsigned int vector);

/* sim_pages.c */
int sim_pages_map(struct sim_device *dev, uint64_t va, uint64_t addr, uint64_t bytes,
		  uint64_t flags);
void sim_pages_unmap(struct sim_device *dev, uint64_t va, uint64_t bytes);
int sim_hbm_alloc(struct sim_device *dev, uint64_t bytes, uint64_t align, uint64_t *offset);
void sim_hbm_free(struct sim_device *dev, uint64_t offset, uint64_t bytes);

#endif
