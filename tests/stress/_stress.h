/* SPDX-License-Identifier: MIT */
/* What the parts of the stress program share: counts, chance, and where the card is. */
#ifndef KILN_STRESS_H
#define KILN_STRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A user without rights, who has limits: what it asks for must not use up the guest's memory. */
#define STRESS_NOBODY	65534

/* What a victim does. */
#define STRESS_ACTIONS(X) \
	X(query) X(bo_create) X(bo_info) X(bo_close) X(vm_create) X(vm_destroy) X(vm_bind) X(vm_unbind) X(vm_fault) \
	X(vm_share) X(queue_create) X(queue_destroy) X(submit) X(wait) X(uring_exec) X(uring_cancel) \
	X(async_cancel) X(mmap) X(syncobj) X(prime) X(reopen) X(ring)

enum stress_action {
#define X(name) STRESS_##name,
	STRESS_ACTIONS(X)
#undef X
	STRESS_NUM_ACTIONS
};

/* Written by all processes. */
struct stress {
	/* calls that victims have made, and those that went well */
	atomic_ulong calls[STRESS_NUM_ACTIONS], fine[STRESS_NUM_ACTIONS];
	/* of the calls: with a broken field, with an allocation that was to fail */
	atomic_ulong broken, failing;
	/* commands of theirs that ended well, that ran or waited for too long, and all others */
	atomic_ulong good_ends, late_ends, other_ends;
	/* results that were right and wrong; commands that never ended; runs that an event has ended, and those that nothing has */
	atomic_ulong right, wrong, lost, disturbed, unexplained;
	atomic_int last_unexplained;
	/* odd while an event goes on */
	atomic_uint events;
	/* of victims; and by themselves */
	atomic_ulong kills, died;
	atomic_ulong unplugs, resets, hangs, faults, failed_events;
	atomic_bool stop;
};

/* Chance that can be had again: xorshift64*. */
struct chance {
	uint64_t x;
};

static inline struct chance chance_of(uint64_t seed, uint64_t number)
{
	struct chance c = { (seed + 1) * 0x9e3779b97f4a7c15ull ^ (number + 1) * 0xbf58476d1ce4e5b9ull };

	c.x += !c.x;
	return c;
}

static inline uint64_t chance(struct chance *c)
{
	c->x ^= c->x >> 12;
	c->x ^= c->x << 25;
	c->x ^= c->x >> 27;
	return c->x * 0x2545f4914f6cdd1dull;
}

static inline uint32_t below(struct chance *c, uint32_t n)
{
	return (chance(c) >> 32) * n >> 32;
}

/* Once in n times. */
static inline bool once_in(struct chance *c, uint32_t n)
{
	return !below(c, n);
}

/* A process that calls the driver in every way until it is killed. */
void fuzz(struct stress *s, struct chance chance);

/* A process whose results must be right until s->stop; way: enum kiln_submit_way. */
void good(struct stress *s, int way);

/* Every allocation of every call fails once; returns how many there were, -1: something was wrong, and is said. */
int fail_each(void);

#endif
