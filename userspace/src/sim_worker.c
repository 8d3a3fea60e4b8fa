// SPDX-License-Identifier: MIT
/*
 * The card's own threads: one more than may run a core at a time, all alike,
 * so that somebody is always there for doorbells and for the watchdog. Each
 * sleeps until it is kicked or the card's next deadline has come. Who waits for
 * a command helps: to run it takes less time than to wake somebody who does.
 */
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "sim.h"

void sim_kick(struct sim_device *dev)
{
	pthread_mutex_lock(&dev->kick);
	dev->kicks++;
	if (dev->sleepers)
		pthread_cond_signal(&dev->kicked);
	pthread_mutex_unlock(&dev->kick);
}

static uint64_t kicks_seen(struct sim_device *dev)
{
	uint64_t seen;

	pthread_mutex_lock(&dev->kick);
	seen = dev->kicks;
	pthread_mutex_unlock(&dev->kick);
	return seen;
}

/* Until somebody kicks (again since seen) or deadline. */
static void sleep_until(struct sim_device *dev, uint64_t seen, uint64_t deadline)
{
	struct timespec ts = {
		.tv_sec = (time_t)(deadline / 1000000000),
		.tv_nsec = (long)(deadline % 1000000000),
	};

	pthread_mutex_lock(&dev->kick);
	if (!dev->sleepers++ || !dev->sleep_until || deadline < dev->sleep_until)
		dev->sleep_until = deadline;
	while (dev->kicks == seen && !dev->quit) {
		if (deadline == UINT64_MAX)
			pthread_cond_wait(&dev->kicked, &dev->kick);
		else if (pthread_cond_timedwait(&dev->kicked, &dev->kick, &ts))
			break;
	}
	if (!--dev->sleepers || dev->sleep_until == deadline)
		dev->sleep_until = 0;	/* not known any more */
	pthread_mutex_unlock(&dev->kick);
}

/* Before this thread leaves to run a core: will somebody look at the clock in time? */
static void hand_over(struct sim_device *dev, bool more, uint64_t deadline)
{
	pthread_mutex_lock(&dev->kick);
	if (dev->sleepers && (more || deadline < dev->sleep_until || !dev->sleep_until)) {
		dev->kicks++;
		pthread_cond_signal(&dev->kicked);
	}
	pthread_mutex_unlock(&dev->kick);
}

/* Run one core to the end of its command; false: there is none to be run. [card] */
static bool turn(struct sim_device *dev, bool *more)
{
	int core = -1;

	*more = kiln_sim_service(dev->sim);
	if (dev->running < dev->threads)
		core = kiln_sim_take(dev->sim);
	if (core >= 0) {
		dev->running++;
		hand_over(dev, *more, kiln_sim_deadline(dev->sim));
		pthread_mutex_unlock(&dev->card);
		kiln_sim_run(dev->sim, core);
		pthread_mutex_lock(&dev->card);
		dev->running--;
		kiln_sim_retire(dev->sim, core);
	}
	return core >= 0;
}

bool sim_help(struct sim_device *dev)
{
	bool more, ran;

	pthread_mutex_lock(&dev->card);
	ran = turn(dev, &more);
	kiln_sim_tick(dev->sim);
	pthread_mutex_unlock(&dev->card);
	return ran || more;
}

static void *worker(void *arg)
{
	struct sim_device *dev = arg;

	pthread_mutex_lock(&dev->card);
	while (!dev->quit) {
		uint64_t seen = kicks_seen(dev);
		bool more;

		if (!turn(dev, &more) && !more) {
			uint64_t deadline = kiln_sim_deadline(dev->sim);

			pthread_mutex_unlock(&dev->card);
			sleep_until(dev, seen, deadline);
			pthread_mutex_lock(&dev->card);
		}
		kiln_sim_tick(dev->sim);
	}
	/* Cores that are running come back through their own thread. */
	pthread_mutex_unlock(&dev->card);
	return NULL;
}

int sim_workers_start(struct sim_device *dev)
{
	sigset_t all, old;
	int err = 0;

	/* The process's signals are its own threads' business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (dev->started <= dev->threads && !err) {
		err = pthread_create(&dev->thread[dev->started], NULL, worker, dev);
		if (!err)
			dev->started++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

void sim_workers_stop(struct sim_device *dev)
{
	pthread_mutex_lock(&dev->card);
	pthread_mutex_lock(&dev->kick);
	dev->quit = true;
	pthread_cond_broadcast(&dev->kicked);
	pthread_mutex_unlock(&dev->kick);
	kiln_sim_stop(dev->sim);
	pthread_mutex_unlock(&dev->card);
	while (dev->started)
		pthread_join(dev->thread[--dev->started], NULL);
}
