// SPDX-License-Identifier: MIT
/*
 * The bus decodes something else, thousands of times, while every CPU waits for its local timer again and again: no wait is for
 * ever. QEMU 10.0 as it is loses what a CPU writes to its interrupt controller meanwhile (tests/machine/qemu.patch), and with it
 * all that waits in the guest; resets, removals and rescans of the card do this a dozen times each.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/sysinfo.h>

#include "_abi.h"

#define CHANGES		20000
#define LIMIT_S		20
#define COMMAND		4	/* in configuration space; bit 1: the card answers to addresses */

struct sleeper {
	pthread_t thread;
	int cpu;
	atomic_long naps;
	atomic_bool ended;
};

static atomic_bool stop;

static void *sleep_often(void *arg)
{
	struct sleeper *me = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(me->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (; !stop; me->naps++)
		usleep(50);
	me->ended = true;
	return NULL;
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

int main(void)
{
	int cpus = get_nprocs(), config;
	struct sleeper sleepers[cpus];
	char device[PATH_MAX], path[PATH_MAX];
	const char *slot;
	uint16_t command, deaf;
	bool good = true;

	if (!realpath("/sys/class/accel/accel0/device", device))
		bail("no card", errno);
	slot = strrchr(device, '/') + 1;
	ok(write_text("/sys/bus/pci/drivers/kiln/unbind", slot), "the driver leaves the card");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", slot);
	config = open(path, O_RDWR);
	if (config < 0 || pread(config, &command, 2, COMMAND) != 2)
		bail("configuration space", errno);

	memset(sleepers, 0, sizeof(sleepers));
	for (int i = 0; i < cpus; i++) {
		sleepers[i].cpu = i;
		if (pthread_create(&sleepers[i].thread, NULL, sleep_often, &sleepers[i]))
			bail("a thread", errno);
	}
	for (int i = 0; i < CHANGES && good; i++) {
		deaf = command ^ (i % 2 ? 0 : 2);
		good = pwrite(config, &deaf, 2, COMMAND) == 2;
	}
	stop = true;
	ok(good, "%d changes of what the bus decodes", CHANGES);
	/* By looking at the clock, since to wait is what may not end. */
	for (int i = 0; i < cpus; i++) {
		for (double start = now_s(); !sleepers[i].ended && now_s() < start + LIMIT_S;)
			sched_yield();
		ok(sleepers[i].ended, "CPU %d wakes up, after %ld waits", i, (long)sleepers[i].naps);
	}
	ok(write_text("/sys/bus/pci/drivers/kiln/bind", slot), "the driver takes the card again");
	return done_testing();
}
