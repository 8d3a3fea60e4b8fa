// SPDX-License-Identifier: MIT
/*
 * Host memory as the simulated card sees it: an address is a pointer of this
 * process, but only inside of rings and KILN_HOST buffers. Whatever else a
 * command makes the card try is refused, as an IOMMU would.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

/* The last range that starts at addr or before, or -1. */
static int find(const struct sim_host *host, uint64_t addr)
{
	unsigned int low = 0, high = host->count;

	while (low < high) {
		unsigned int mid = (low + high) / 2;

		if (host->range[mid].start <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return (int)low - 1;
}

int sim_host_add(struct sim_device *dev, void *start, uint64_t bytes, bool writable)
{
	struct sim_host *host = &dev->host;
	int at, err = 0;

	pthread_rwlock_wrlock(&host->lock);
	if (host->count == host->size) {
		unsigned int size = host->size ? 2 * host->size : 16;
		struct sim_range *more = realloc(host->range, size * sizeof(*more));

		if (!more) {
			err = -ENOMEM;
			goto out;
		}
		host->range = more;
		host->size = size;
	}
	at = find(host, (uintptr_t)start) + 1;
	memmove(&host->range[at + 1], &host->range[at],
		(host->count - (unsigned int)at) * sizeof(host->range[0]));
	host->range[at] = (struct sim_range){
		.start = (uintptr_t)start,
		.end = (uintptr_t)start + bytes,
		.writable = writable,
	};
	host->count++;
out:
	pthread_rwlock_unlock(&host->lock);
	return err;
}

void sim_host_remove(struct sim_device *dev, void *start)
{
	struct sim_host *host = &dev->host;
	int at;

	pthread_rwlock_wrlock(&host->lock);
	at = find(host, (uintptr_t)start);
	host->count--;
	memmove(&host->range[at], &host->range[at + 1],
		(host->count - (unsigned int)at) * sizeof(host->range[0]));
	pthread_rwlock_unlock(&host->lock);
}

/* Pointer to [addr, addr + len), with the lock held for reading; or NULL, without. */
static void *enter(struct sim_device *dev, uint64_t addr, uint64_t len, bool write)
{
	struct sim_host *host = &dev->host;
	const struct sim_range *r;
	int at;

	pthread_rwlock_rdlock(&host->lock);
	at = find(host, addr);
	r = at < 0 ? NULL : &host->range[at];
	if (r && addr < r->end && r->end - addr >= len && (r->writable || !write))
		return (void *)(uintptr_t)addr;
	pthread_rwlock_unlock(&host->lock);
	return NULL;
}

static void leave(struct sim_device *dev)
{
	pthread_rwlock_unlock(&dev->host.lock);
}

static bool dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	void *p = enter(opaque, addr, len, false);

	if (!p)
		return false;
	memcpy(buf, p, len);
	leave(opaque);
	return true;
}

static bool dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	void *p = enter(opaque, addr, len, true);

	if (!p)
		return false;
	memcpy(p, buf, len);
	leave(opaque);
	return true;
}

static bool load32(void *opaque, uint64_t addr, uint32_t *value)
{
	uint32_t *p = addr % 4 ? NULL : enter(opaque, addr, 4, false);

	if (!p)
		return false;
	*value = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	leave(opaque);
	return true;
}

static bool store32(void *opaque, uint64_t addr, uint32_t value)
{
	uint32_t *p = addr % 4 ? NULL : enter(opaque, addr, 4, true);

	if (!p)
		return false;
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
	leave(opaque);
	return true;
}

static bool load64(void *opaque, uint64_t addr, uint64_t *value)
{
	uint64_t *p = addr % 8 ? NULL : enter(opaque, addr, 8, false);

	if (!p)
		return false;
	*value = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	leave(opaque);
	return true;
}

static bool store64(void *opaque, uint64_t addr, uint64_t value)
{
	uint64_t *p = addr % 8 ? NULL : enter(opaque, addr, 8, true);

	if (!p)
		return false;
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
	leave(opaque);
	return true;
}

static void interrupt(void *opaque, unsigned int vector)
{
	struct sim_device *dev = opaque;

	if (!vector)
		pthread_cond_broadcast(&dev->state);
	else
		sim_queue_interrupt(dev, vector);
}

static void kick(void *opaque)
{
	sim_kick(opaque);
}

static bool discard(void *opaque, uint64_t offset, uint64_t len)
{
	struct sim_device *dev = opaque;

	/* private anonymous memory reads as zero afterwards */
	return !madvise(dev->hbm + offset, len, MADV_DONTNEED);
}

/*
 * Of a buffer that is mapped, a page that is there, or was and is swapped out,
 * somebody has touched: its user, or the card itself. Nobody knows: somebody has.
 */
static bool touched(void *opaque, uint64_t offset)
{
	struct sim_device *dev = opaque;
	uint64_t page = (uintptr_t)(dev->hbm + offset) / (uint64_t)sysconf(_SC_PAGESIZE), entry;

	offset /= KILN_PAGE;
	if (dev->mapped && !(__atomic_load_n(&dev->mapped[offset / 8], __ATOMIC_RELAXED) &
			     1 << offset % 8))
		return false;
	if (!dev->mapped || dev->pagemap < 0 ||
	    pread(dev->pagemap, &entry, sizeof(entry), (off_t)(page * sizeof(entry))) != sizeof(entry))
		return true;
	return entry >> 62;	/* present, swapped */
}

static uint64_t now_ns(void *opaque)
{
	struct timespec ts;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* What a program did wrong comes back with its command; this is for whoever debugs one. */
static void log_text(void *opaque, enum kiln_sim_log_level level, const char *text)
{
	(void)opaque;
	if (level >= KILN_SIM_LOG_ERROR || getenv("KILN_SIM_LOG"))
		fprintf(stderr, "kiln sim: %s\n", text);
}

const struct kiln_sim_host sim_host_ops = {
	.dma_read = dma_read,
	.dma_write = dma_write,
	.load32 = load32,
	.store32 = store32,
	.load64 = load64,
	.store64 = store64,
	.interrupt = interrupt,
	.kick = kick,
	.discard = discard,
	.touched = touched,
	.now_ns = now_ns,
	.log = log_text,
};
