/*
 * Kiln accelerator card: the card's threads
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "kiln.h"
#include "trace.h"

/*
 * A thread of the pool gives the card's lock back only to take it again at
 * once, and would win it each time over a vCPU that wants to read a register.
 * Whoever waits for the lock holds the turn, so that everybody else queues up
 * behind him.
 */
void kiln_lock(KilnState *s)
{
    qemu_mutex_lock(&s->turn);
    qemu_mutex_lock(&s->lock);
    qemu_mutex_unlock(&s->turn);
}

void kiln_unlock(KilnState *s)
{
    qemu_mutex_unlock(&s->lock);
}

/* Have somebody look at the card, unless somebody is about to. Pool locked. */
static void kiln_pool_call(KilnPool *p)
{
    if (p->on_duty) {
        return;
    }
    if (p->sleepers) {
        p->sleepers--;
        p->calls++;
        qemu_cond_signal(&p->work);
    } else if (p->keeper) {
        p->keeper = false;
        p->keeper_called = true;
        qemu_cond_signal(&p->alarm);
    } else {
        p->wanted = true; /* somebody is on the way between two states */
        return;
    }
    p->on_duty++;
}

/* From any thread, with or without the card's lock. */
void kiln_pool_kick(KilnState *s)
{
    KilnPool *p = &s->pool;

    /*
     * Whoever set it has called, or will; and it is cleared before the card is
     * looked at, not after.
     */
    if (qatomic_xchg(&p->kicked, true)) {
        return;
    }
    qemu_mutex_lock(&p->lock);
    kiln_pool_call(p);
    qemu_mutex_unlock(&p->lock);
}

/*
 * A doorbell, on a vCPU, with the BQL. To wake up a thread, and the main loop
 * for the interrupt, takes longer than most commands without a program do; so
 * those are done here, unless a thread is looking at the card as it is.
 */
void kiln_pool_doorbell(KilnState *s, unsigned queue)
{
    int64_t start = get_clock();

    if (qemu_mutex_trylock(&s->lock)) {
        kiln_sim_doorbell(s->sim, queue);
        return;
    }
    s->answering = true;
    kiln_sim_doorbell_now(s->sim, queue);
    s->answering = false;
    kiln_unlock(s);
    kiln_host_interrupts(s);
    s->answer_ns += get_clock() - start;
}

/* Retire what has run, whoever ran it. Card locked. */
void kiln_pool_retire(KilnState *s)
{
    KilnPool *p = &s->pool;
    uint32_t ran;

    qemu_mutex_lock(&p->lock);
    ran = p->ran;
    p->ran = 0;
    qemu_mutex_unlock(&p->lock);

    for (; ran; ran &= ran - 1) {
        trace_kiln_retire(ctz32(ran));
        s->computing--;
        kiln_sim_retire(s->sim, ctz32(ran));
        kiln_inject_retired(s);
    }
}

/* The card is being reset: what was stuck is not any more. */
void kiln_pool_unstick(KilnState *s)
{
    KilnPool *p = &s->pool;

    QEMU_LOCK_GUARD(&p->lock);
    p->ran |= p->stuck;
    p->stuck = 0;
    p->stick = false;
    qemu_cond_signal(&p->came_out);
}

/* Wait until there is something to retire; false when it is past end. */
bool kiln_pool_wait(KilnState *s, int64_t end)
{
    KilnPool *p = &s->pool;

    QEMU_LOCK_GUARD(&p->lock);
    while (!p->ran) {
        int64_t left = end - get_clock();

        if (left <= 0) {
            return false;
        }
        qemu_cond_timedwait(&p->came_out, &p->lock,
                            DIV_ROUND_UP(left, SCALE_MS));
    }
    return true;
}

typedef struct KilnLook {
    int core;               /* to run next, or -1 */
    bool more;              /* look again at once */
    uint64_t deadline;      /* look again at the latest */
} KilnLook;

/* One look at the card: what has run is retired, what can be done is done. */
static void kiln_pool_look(KilnState *s, void *arg)
{
    KilnLook *look = arg;

    kiln_lock(s);
    kiln_pool_retire(s);
    qatomic_xchg(&s->pool.kicked, false);
    look->more = kiln_sim_service(s->sim);
    kiln_sim_tick(s->sim);
    if (s->computing < s->pool.count - 1) {
        look->core = kiln_sim_take(s->sim);
        s->computing += look->core >= 0;
    }
    look->deadline = kiln_sim_deadline(s->sim);
    kiln_unlock(s);
}

/* On duty until there is a core to run or nothing to do, which is -1. */
static int kiln_pool_duty(KilnState *s)
{
    KilnPool *p = &s->pool;

    for (;;) {
        KilnLook look = { .core = -1, .deadline = UINT64_MAX };

        if (!kiln_host_task(s, kiln_pool_look, &look)) {
            /* The card is being stopped; the one who does so will kick. */
            qatomic_xchg(&p->kicked, false);
        }

        QEMU_LOCK_GUARD(&p->lock);
        if (look.deadline < p->deadline) {
            p->deadline = look.deadline;
            if (p->keeper) {
                qemu_cond_signal(&p->alarm);
            }
        }
        look.more |= qatomic_read(&p->kicked);
        if (look.core < 0 && look.more && !p->quit) {
            continue;
        }
        p->on_duty--;
        /* Leave neither work nor watch to nobody. */
        if (look.core >= 0 && (look.more || !p->keeper)) {
            kiln_pool_call(p);
        }
        return look.core;
    }
}

/* Sleep until the deadline, or until called. Pool locked. */
static void kiln_pool_keep(KilnPool *p)
{
    /* Not at once: the card may be unable to do anything about it yet. */
    uint64_t earliest = get_clock() + SCALE_MS;

    p->keeper = true;
    while (!p->keeper_called && !p->quit) {
        uint64_t now = get_clock();
        uint64_t at = MAX(p->deadline, earliest);

        if (at == UINT64_MAX) {
            qemu_cond_wait(&p->alarm, &p->lock);
        } else if (now < at) {
            qemu_cond_timedwait(&p->alarm, &p->lock,
                                MIN(DIV_ROUND_UP(at - now, SCALE_MS), INT_MAX));
        } else {
            p->keeper = false;
            p->on_duty++;
            break;
        }
    }
    p->keeper_called = false;
    /* The look that follows finds the next one. */
    p->deadline = UINT64_MAX;
}

/* Sleep until there is something to look at; false when it is time to end. */
static bool kiln_pool_sleep(KilnPool *p)
{
    QEMU_LOCK_GUARD(&p->lock);

    if (p->wanted) {
        p->wanted = false;
        p->on_duty++;
    } else if (!p->keeper && !p->keeper_called) {
        kiln_pool_keep(p);
    } else {
        p->sleepers++;
        while (!p->calls && !p->quit) {
            qemu_cond_wait(&p->work, &p->lock);
        }
        if (p->calls) {
            p->calls--;
        }
    }
    return !p->quit;
}

static void *kiln_pool_thread(void *opaque)
{
    KilnState *s = opaque;
    KilnPool *p = &s->pool;

    rcu_register_thread();
    while (kiln_pool_sleep(p)) {
        int core = kiln_pool_duty(s);

        while (core >= 0) {
            trace_kiln_run(core);
            kiln_sim_run(s->sim, core);
            qemu_mutex_lock(&p->lock);
            /* A DMA without an answer: only a reset gets the core out. */
            *(p->stick ? &p->stuck : &p->ran) |= 1u << core;
            p->stick = false;
            p->on_duty++;
            qemu_cond_signal(&p->came_out);
            qemu_mutex_unlock(&p->lock);
            core = kiln_pool_duty(s);
        }
    }
    rcu_unregister_thread();
    return NULL;
}

void kiln_pool_start(KilnState *s)
{
    KilnPool *p = &s->pool;

    qemu_mutex_init(&p->lock);
    qemu_cond_init(&p->work);
    qemu_cond_init(&p->alarm);
    qemu_cond_init(&p->came_out);
    p->deadline = UINT64_MAX;
    p->count = s->threads + 1;
    for (unsigned i = 0; i < p->count; i++) {
        g_autofree char *name = g_strdup_printf("kiln-%u", i);

        qemu_thread_create(&p->thread[i], name, kiln_pool_thread, s,
                           QEMU_THREAD_JOINABLE);
    }
}

/* The card has been stopped: no thread finds a core to run any more. */
void kiln_pool_stop(KilnState *s)
{
    KilnPool *p = &s->pool;

    qemu_mutex_lock(&p->lock);
    p->quit = true;
    qemu_cond_broadcast(&p->work);
    qemu_cond_broadcast(&p->alarm);
    qemu_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->count; i++) {
        qemu_thread_join(&p->thread[i]);
    }
    qemu_cond_destroy(&p->came_out);
    qemu_cond_destroy(&p->alarm);
    qemu_cond_destroy(&p->work);
    qemu_mutex_destroy(&p->lock);
}
