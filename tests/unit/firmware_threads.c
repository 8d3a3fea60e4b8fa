// SPDX-License-Identifier: MIT
/*
 * The card with an owner as kiln_sim.h describes one: two workers, a watchdog,
 * and four threads that drive it at once. Meant for ThreadSanitizer too.
 */
#include <time.h>

#include "fw_harness.h"

#define ROUNDS 400

static struct fw f;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* kick() may be called with the lock held, so it has a mutex of its own. */
static pthread_mutex_t bell = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t rung = PTHREAD_COND_INITIALIZER;
static unsigned int kicks;
static bool quit;

static uint64_t real_clock(void *opaque)
{
	struct timespec ts;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void kick(void *opaque)
{
	(void)opaque;
	pthread_mutex_lock(&bell);
	kicks++;
	pthread_cond_broadcast(&rung);
	pthread_mutex_unlock(&bell);
}

static unsigned int kicks_so_far(void)
{
	unsigned int n;

	pthread_mutex_lock(&bell);
	n = kicks;
	pthread_mutex_unlock(&bell);
	return n;
}

static void sleep_until(uint64_t when, unsigned int seen)
{
	struct timespec ts;
	uint64_t now = real_clock(NULL);
	uint64_t ns = when > now ? when - now : 0;

	if (ns > 50 * MS)
		ns = 50 * MS;
	clock_gettime(CLOCK_REALTIME, &ts);
	ns += ts.tv_nsec;
	ts.tv_sec += ns / 1000000000;
	ts.tv_nsec = ns % 1000000000;
	pthread_mutex_lock(&bell);
	if (kicks == seen)
		pthread_cond_timedwait(&rung, &bell, &ts);
	pthread_mutex_unlock(&bell);
}

/* arg: may it run cores, or is it the watchdog? */
static void *worker(void *arg)
{
	bool runs = arg;

	pthread_mutex_lock(&lock);
	while (!quit) {
		unsigned int seen = kicks_so_far();
		bool more = kiln_sim_service(f.sim);
		int core = runs ? kiln_sim_take(f.sim) : -1;

		if (core >= 0) {
			pthread_mutex_unlock(&lock);
			kiln_sim_run(f.sim, core);
			pthread_mutex_lock(&lock);
			kiln_sim_retire(f.sim, core);
		} else if (!more) {
			uint64_t when = kiln_sim_deadline(f.sim);

			pthread_mutex_unlock(&lock);
			sleep_until(when, seen);
			pthread_mutex_lock(&lock);
		}
		kiln_sim_tick(f.sim);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* The next completion; false after 20 s. */
static bool pop(struct fw_ring *r, struct kiln_completion *record)
{
	uint64_t end = real_clock(NULL) + 20000 * MS;

	while (!fw_pop(r, record)) {
		if (real_clock(NULL) > end)
			return false;
		sched_yield();
	}
	return true;
}

struct driver {
	struct fw_tenant t;
	struct fw_ring *a, *b;
	pthread_t thread;
	unsigned int bad;	/* what went otherwise than it should */
};

/* Two queues that signal each other, programs and NOPs mixed: all succeed. */
static void *pingpong(void *arg)
{
	struct driver *d = arg;
	struct kiln_completion record;

	for (unsigned int i = 1; i <= ROUNDS; i++) {
		struct kiln_cmd x = i % 3 ? fw_exec(i, FW_GOOD) : fw_nop(i);
		struct kiln_cmd y = i % 5 ? fw_nop(i) : fw_exec(i, FW_GOOD);

		x.exec.signal_addr = FW_LINE(0);
		x.exec.signal_value = i;
		y.exec.wait_addr = FW_LINE(0);
		y.exec.wait_value = i;
		y.exec.signal_addr = FW_HOST_LINE(0);
		y.exec.signal_value = i;
		fw_push1(d->b, y);
		fw_push1(d->a, x);
		if (i % 4 == 0) {
			for (unsigned int j = i - 3; j <= i; j++) {
				d->bad += !pop(d->a, &record) || record.cookie != j || record.status;
				d->bad += !pop(d->b, &record) || record.cookie != j || record.status;
			}
			d->bad += __atomic_load_n(d->t.host_line, __ATOMIC_ACQUIRE) != i;
		}
	}
	return NULL;
}

/* Faults all the time, and never a completion that is missing. */
static void *crash(void *arg)
{
	struct driver *d = arg;
	struct kiln_completion record;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		fw_push1(d->a, fw_exec(1, i % 2 ? FW_BAD : FW_NOWHERE));
		fw_push1(d->a, fw_nop(2));
		fw_push1(d->b, fw_exec(3, FW_GOOD));
		d->bad += !pop(d->a, &record) || record.cookie != 1 ||
			  (record.status != KILN_ST_BAD_PROGRAM &&
			   record.status != KILN_ST_PAGE_FAULT);
		d->bad += !pop(d->a, &record) || record.cookie != 2 ||
			  (record.status != KILN_ST_OK && record.status != KILN_ST_CONTEXT);
		d->bad += !pop(d->b, &record) || record.cookie != 3 ||
			  (record.status != KILN_ST_OK && record.status != KILN_ST_CONTEXT);
	}
	return NULL;
}

static int ask(struct kiln_cmd cmd)
{
	struct kiln_completion record;
	uint64_t cookie = fw_admin_send(&f, cmd);

	return pop(f.admin, &record) && record.cookie == cookie ? record.status : -1;
}

/* The driver's own affairs meanwhile: suspend, resume, flush, and cancel what spins. */
static void *manage(void *arg)
{
	struct driver *d = arg;
	struct kiln_completion record;

	for (unsigned int i = 0; i < ROUNDS / 4; i++) {
		uint32_t context = 1 + i % 2;

		d->bad += ask((struct kiln_cmd){ .opcode = KILN_ADM_CTX_SUSPEND, .ctx.context = context }) != 0;
		d->bad += ask((struct kiln_cmd){ .opcode = KILN_ADM_TLB_FLUSH, .ctx.context = context }) != 0;
		d->bad += ask((struct kiln_cmd){ .opcode = KILN_ADM_CTX_RESUME, .ctx.context = context }) != 0;
		if (i % 10)
			continue;
		fw_push1(d->a, fw_exec(1, FW_SPIN));
		d->bad += ask((struct kiln_cmd){ .opcode = KILN_ADM_TLB_FLUSH, .ctx.context = 4 }) != 0;
		d->bad += ask((struct kiln_cmd){ .opcode = KILN_ADM_QUEUE_CANCEL,
						 .cancel.queue = d->a->id, .cancel.target = 1 }) != 0;
		d->bad += !pop(d->a, &record) || record.status != KILN_ST_ABORTED;
		/* 20 ms are this queue's limit */
		fw_push1(d->b, fw_exec(2, FW_SPIN));
		d->bad += !pop(d->b, &record) || record.status != KILN_ST_TIMEOUT;
	}
	return NULL;
}

int main(void)
{
	static void *(*const what[4])(void *) = { pingpong, pingpong, crash, manage };
	struct kiln_sim_host host = fw_host;
	struct driver d[4] = { 0 };
	pthread_t workers[3];

	fw_boot_card(&f, 2);
	for (unsigned int i = 0; i < 4; i++) {
		fw_tenant_new(&f, &d[i].t, i + 1, 64);
		d[i].a = fw_queue(&f, 2 * i + 1, i + 1, 4, 64);
		d[i].b = fw_queue(&f, 2 * i + 2, i + 1, 4, 64);
	}
	/* from here on with a real clock */
	host.now_ns = real_clock;
	host.kick = kick;
	f.sim->memory.host = &host;
	f.sim->boot_ns = f.sim->beat_ns = f.sim->poll_ns = real_clock(NULL);
	f.sim->queue[8].limit_ms = 20;

	for (unsigned int i = 0; i < 3; i++)
		if (pthread_create(&workers[i], NULL, worker, i < 2 ? &f : NULL))
			return 1;
	for (unsigned int i = 0; i < 4; i++)
		if (pthread_create(&d[i].thread, NULL, what[i], &d[i]))
			return 1;
	for (unsigned int i = 0; i < 4; i++) {
		pthread_join(d[i].thread, NULL);
		IS(d[i].bad, 0, "driver %u: all as it should be", i);
	}
	/* reset while a program spins, as a function reset would */
	fw_push1(d[3].a, fw_exec(9, FW_SPIN));
	pthread_mutex_lock(&lock);
	kiln_sim_stop(f.sim);
	while (!kiln_sim_idle(f.sim)) {
		pthread_mutex_unlock(&lock);
		sched_yield();
		pthread_mutex_lock(&lock);
	}
	kiln_sim_reset(f.sim);
	IS(fw_get(&f, KILN_REG_STATUS), KILN_STATE_OFF, "reset");
	quit = true;
	pthread_mutex_unlock(&lock);
	kick(NULL);
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(workers[i], NULL);
	fw_free(&f);
	return tap_end();
}
