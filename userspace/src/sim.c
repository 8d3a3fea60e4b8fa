// SPDX-License-Identifier: MIT
/* Power-on of a card in this process, what it tells of itself, its memory. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim.h"

/* Whole number with an optional K, M, G, T. */
static bool parse_number(const char *text, size_t len, bool suffix, uint64_t *value)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, text[i] - '0', &n))
			return false;
	if (!i)
		return false;
	if (suffix && i + 1 == len && (unit = strchr(units, text[i]))) {
		unsigned int shift = 10 * (unsigned int)(unit - units + 1);

		if (n >> (64 - shift))
			return false;
		n <<= shift;
		i++;
	}
	*value = n;
	return i == len;
}

/* generation=,cores=,hbm=,threads=,time=,sanitize= */
static int parse(const char *arg, struct kiln_sim_config *config, unsigned int *threads)
{
	const char *wrong;

	while (*arg) {
		size_t len = strcspn(arg, ","), key = strcspn(arg, "=");
		const char *value = arg + key + 1;
		size_t value_len = len > key ? len - key - 1 : 0;
		uint64_t n;

		if (key >= len)
			goto bad;
		if (key == 10 && !memcmp(arg, "generation", key)) {
			if (value_len != 4 || memcmp(value, "trn", 3) ||
			    value[3] < '1' || value[3] > '3')
				goto bad;
			config->generation = (unsigned int)(value[3] - '0');
		} else if (key == 5 && !memcmp(arg, "cores", key)) {
			if (!parse_number(value, value_len, false, &n) || n > UINT32_MAX)
				goto bad;
			config->cores = (unsigned int)n;
		} else if (key == 3 && !memcmp(arg, "hbm", key)) {
			if (!parse_number(value, value_len, true, &config->hbm_bytes))
				goto bad;
		} else if (key == 7 && !memcmp(arg, "threads", key)) {
			if (!parse_number(value, value_len, false, &n) || !n ||
			    n > SIM_MAX_THREADS)
				goto bad;
			*threads = (unsigned int)n;
		} else if (len == 9 && !memcmp(arg, "time=only", len)) {
			config->time_only = true;
		} else if (len == 11 && !memcmp(arg, "sanitize=on", len)) {
			config->sanitize = true;
		} else {
			goto bad;
		}
		arg += len + (arg[len] == ',');
		continue;
bad:
		return kiln_error(-EINVAL, "sim: \"%.*s\" is none of generation=trn1|trn2|trn3, cores=1..%u, hbm=4G, threads=1..%u, time=only, sanitize=on",
				  (int)len, arg, KILN_MAX_CORES, SIM_MAX_THREADS);
	}
	wrong = kiln_sim_check(config);
	if (wrong)
		return kiln_error(-EINVAL, "sim: %s", wrong);
	return 0;
}

static void write64(struct sim_device *dev, uint64_t reg, const void *pointer)
{
	kiln_sim_reg_write(dev->sim, reg, (uint32_t)(uintptr_t)pointer);
	kiln_sim_reg_write(dev->sim, reg + 4, (uint32_t)((uint64_t)(uintptr_t)pointer >> 32));
}

/* Handshake, then the one context. */
static int boot(struct sim_device *dev)
{
	struct kiln_cmd create = {
		.opcode = KILN_ADM_CTX_CREATE,
		.ctx = {
			.context = SIM_CONTEXT,
			.weight = KILN_DEFAULT_WEIGHT,
		},
	};
	uint32_t state;
	int err;

	pthread_mutex_lock(&dev->card);
	kiln_sim_reg_write(dev->sim, KILN_REG_DRV_VERSION, KILN_FW_VERSION);
	write64(dev, KILN_REG_ADMIN_SQ_LO, dev->admin.sq);
	write64(dev, KILN_REG_ADMIN_CQ_LO, dev->admin.cq);
	write64(dev, KILN_REG_ADMIN_CTL_LO, dev->admin.ctl);
	kiln_sim_reg_write(dev->sim, KILN_REG_ADMIN_LOG2, SIM_ADMIN_LOG2);
	kiln_sim_reg_write(dev->sim, KILN_REG_CTRL, KILN_CTRL_ENABLE);
	while ((state = kiln_sim_reg_read(dev->sim, KILN_REG_STATUS)) ==
	       KILN_STATE_BOOTING)
		pthread_cond_wait(&dev->state, &dev->card);
	pthread_mutex_unlock(&dev->card);
	if (state != KILN_STATE_READY)
		return kiln_error(-EIO, "sim: the firmware did not boot");

	err = sim_hbm_alloc(dev, KILN_PAGE, KILN_PAGE, &dev->root);
	if (err)
		return kiln_error(err, "sim: no memory for page tables");
	create.ctx.root = dev->root;
	pthread_mutex_lock(&dev->driver);
	err = sim_admin(dev, &create);
	pthread_mutex_unlock(&dev->driver);
	return err;
}

static void fill_info(struct sim_device *dev)
{
	struct kiln_sim *sim = dev->sim;

	pthread_mutex_lock(&dev->card);
	dev->base.info = (struct kiln_info){
		.transport = "sim",
		.path = "",
		.generation = kiln_sim_reg_read(sim, KILN_REG_GENERATION),
		.cores = kiln_sim_reg_read(sim, KILN_REG_CORES),
		.hbm_bytes = dev->config.hbm_bytes,
		.sbuf_bytes = kiln_sim_reg_read(sim, KILN_REG_SBUF_KIB) * 1024,
		.psum_bytes = kiln_sim_reg_read(sim, KILN_REG_PSUM_KIB) * 1024,
		.clock_khz = kiln_sim_reg_read(sim, KILN_REG_CLOCK_KHZ),
		.fw_version = kiln_sim_reg_read(sim, KILN_REG_FW_VERSION),
		.max_queue_depth = 1u << KILN_RING_LOG2_MAX,
	};
	pthread_mutex_unlock(&dev->card);
}

static void init_locks(struct sim_device *dev)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dev->kicked, &attr);
	pthread_cond_init(&dev->state, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&dev->card, NULL);
	pthread_mutex_init(&dev->kick, NULL);
	pthread_mutex_init(&dev->driver, NULL);
	pthread_rwlock_init(&dev->host.lock, NULL);
	pthread_mutex_init(&dev->base.lock, NULL);
}

static void *map_zeroes(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* A tile has a row in each of 128 partitions: with small pages each is a TLB miss. */
	madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

/* With the sanitizer it matters which 4 KiB pages were touched, of those that the user has. */
static void watch_pages(struct sim_device *dev)
{
	madvise(dev->hbm, dev->config.hbm_bytes, MADV_NOHUGEPAGE);
	dev->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	dev->mapped = calloc(dev->config.hbm_bytes / KILN_PAGE / 8, 1);
}

static void set_mapped(struct sim_device *dev, const struct kiln_buffer *buffer, bool mapped)
{
	uint64_t page = buffer->offset / KILN_PAGE, end = page + buffer->bytes / KILN_PAGE;

	for (; dev->mapped && page < end; page++) {
		uint8_t bit = 1 << page % 8;

		if (mapped)
			__atomic_fetch_or(&dev->mapped[page / 8], bit, __ATOMIC_RELAXED);
		else
			__atomic_fetch_and(&dev->mapped[page / 8], (uint8_t)~bit, __ATOMIC_RELAXED);
	}
}

static void sim_close(struct kiln_device *device)
{
	struct sim_device *dev = to_sim(device);

	if (dev->sim)
		sim_workers_stop(dev);
	sim_rings_fini(dev, &dev->admin);
	kiln_va_fini(&dev->memory);
	if (dev->pagemap >= 0)
		close(dev->pagemap);
	free(dev->mapped);
	if (dev->hbm)
		munmap(dev->hbm, dev->config.hbm_bytes);
	if (dev->sim)
		munmap(dev->sim, dev->sim_bytes);
	free(dev->host.range);
	pthread_cond_destroy(&dev->kicked);
	pthread_cond_destroy(&dev->state);
	pthread_mutex_destroy(&dev->card);
	pthread_mutex_destroy(&dev->kick);
	pthread_mutex_destroy(&dev->driver);
	pthread_rwlock_destroy(&dev->host.lock);
	free(dev);
}

static int sim_open(const char *arg, struct kiln_device **device)
{
	struct kiln_sim_config config = {
		.generation = 2,
		.cores = 1,
		.hbm_bytes = 4ull << 30,
	};
	unsigned int threads = 1;
	struct sim_device *dev;
	void *mem;
	int err;

	const char *sanitize = getenv("KILN_SANITIZE"), *generation = getenv("KILN_GENERATION");

	config.sanitize = sanitize && strcmp(sanitize, "0");
	if (generation && *generation) {
		if (strlen(generation) != 4 || memcmp(generation, "trn", 3) ||
		    generation[3] < '1' || generation[3] > '3')
			return kiln_error(-EINVAL, "sim: KILN_GENERATION is trn1, trn2 or trn3, not \"%.32s\"",
					  generation);
		config.generation = (unsigned int)(generation[3] - '0');
	}
	err = parse(arg, &config, &threads);
	if (err)
		return err;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return kiln_error(-ENOMEM, "sim: out of memory");
	dev->base.transport = &kiln_sim_transport;
	dev->config = config;
	dev->threads = threads;
	dev->pagemap = -1;
	init_locks(dev);

	dev->sim_bytes = kiln_sim_size(&config);
	dev->hbm = map_zeroes(config.hbm_bytes);
	mem = map_zeroes(dev->sim_bytes);
	if (!dev->hbm || !mem ||
	    kiln_va_init(&dev->memory, 0, config.hbm_bytes) ||
	    kiln_va_init(&dev->base.va, KILN_LARGE_PAGE, 1ull << KILN_VA_BITS) ||
	    sim_rings_init(dev, &dev->admin, SIM_ADMIN_LOG2)) {
		char text[24];

		if (mem)
			munmap(mem, dev->sim_bytes);
		err = kiln_error(-ENOMEM, "sim: no memory for a card with %s of HBM",
				 kiln_format_bytes(config.hbm_bytes, text));
		goto err_close;
	}
	if (config.sanitize)
		watch_pages(dev);
	dev->sim = kiln_sim_init(mem, &config, dev->hbm, &sim_host_ops, dev);
	err = sim_workers_start(dev);
	if (err) {
		kiln_error(err, "sim: cannot start a thread: %s", strerror(-err));
		goto err_close;
	}
	err = boot(dev);
	if (err)
		goto err_close;
	fill_info(dev);
	*device = &dev->base;
	return 0;

err_close:
	kiln_va_fini(&dev->base.va);
	pthread_mutex_destroy(&dev->base.lock);
	sim_close(&dev->base);
	return err;
}

static int sim_info(struct kiln_device *device, struct kiln_info *info)
{
	struct sim_device *dev = to_sim(device);

	*info = device->info;
	pthread_mutex_lock(&dev->driver);
	info->hbm_used_bytes = info->hbm_bytes - dev->memory.free_bytes;
	pthread_mutex_unlock(&dev->driver);
	return 0;
}

static int sim_fault(struct kiln_device *device, struct kiln_fault_info *fault)
{
	struct sim_device *dev = to_sim(device);
	struct kiln_fault *report = (void *)((uint8_t *)dev->admin.ctl + 1024);
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_CTX_FAULT,
		.param = SIM_CONTEXT,
		.copy = {
			.dst = (uintptr_t)report,
			.bytes = sizeof(*report),
			.dst_host = 1,
		},
	};
	int err;

	/* The control block's page has room behind it. */
	pthread_mutex_lock(&dev->driver);
	err = sim_admin(dev, &cmd);
	if (!err)
		*fault = (struct kiln_fault_info){
			.count = report->count,
			.address = report->completion.fault_addr,
			.status = report->completion.status,
			.engine = report->completion.engine,
			.instruction = report->completion.instruction,
			.label = report->completion.label,
			.core = report->completion.core,
		};
	pthread_mutex_unlock(&dev->driver);
	return err;
}

static int sim_share(struct kiln_device *device, const struct kiln_share *share)
{
	struct sim_device *dev = to_sim(device);
	struct kiln_cmd cmd = {
		.opcode = KILN_ADM_CTX_SHARE,
		.ctx = {
			.context = SIM_CONTEXT,
			.weight = share->weight,
			.priority = share->priority,
			.min_share = share->min_share,
		},
	};
	int err;

	pthread_mutex_lock(&dev->driver);
	err = sim_admin(dev, &cmd);
	pthread_mutex_unlock(&dev->driver);
	return err;
}

static int sim_engine_time(struct kiln_device *device, struct kiln_engine_time *time)
{
	struct sim_device *dev = to_sim(device);
	struct kiln_sim_usage usage;

	pthread_mutex_lock(&dev->card);
	kiln_sim_usage(dev->sim, &usage);
	pthread_mutex_unlock(&dev->card);
	time->seconds = usage.seconds;
	memcpy(time->busy, usage.busy, sizeof(time->busy));
	time->dma = usage.dma;
	time->hbm_bytes = usage.hbm_bytes;
	return 0;
}

static void sim_watch(struct kiln_device *device,
		      void (*event)(void *opaque, const struct kiln_sim_event *event),
		      void *opaque)
{
	struct sim_device *dev = to_sim(device);

	pthread_mutex_lock(&dev->card);
	kiln_sim_watch(dev->sim, event, opaque);
	pthread_mutex_unlock(&dev->card);
}

static void free_hbm(struct sim_device *dev, struct kiln_buffer *buffer)
{
	set_mapped(dev, buffer, false);
	kiln_sim_fresh(dev->sim, buffer->offset, buffer->bytes, false);
	sim_hbm_free(dev, buffer->offset, buffer->bytes);
}

static int sim_alloc(struct kiln_buffer *buffer)
{
	struct sim_device *dev = to_sim(buffer->device);
	uint64_t flags = buffer->flags & KILN_ALLOC_READONLY ? 0 : KILN_PTE_WRITE;
	uint64_t where;
	char text[24];
	int err;

	pthread_mutex_lock(&dev->driver);
	if (buffer->placement == KILN_HOST) {
		buffer->map = map_zeroes(buffer->bytes);
		err = buffer->map ? 0 : -ENOMEM;
		if (!err)
			err = sim_host_add(dev, buffer->map, buffer->bytes,
					   flags & KILN_PTE_WRITE);
		where = (uintptr_t)buffer->map;
		flags |= KILN_PTE_HOST;
	} else {
		err = sim_hbm_alloc(dev, buffer->bytes,
				    buffer->bytes >= KILN_LARGE_PAGE ? KILN_LARGE_PAGE : KILN_PAGE,
				    &buffer->offset);
		if (!err)
			kiln_sim_fresh(dev->sim, buffer->offset, buffer->bytes, true);
		where = buffer->offset;
	}
	if (err)
		goto err_unlock;
	err = sim_pages_map(dev, buffer->addr, where, buffer->bytes, flags);
	if (err)
		goto err_free;
	pthread_mutex_unlock(&dev->driver);
	return 0;

err_free:
	if (buffer->placement == KILN_HOST)
		sim_host_remove(dev, buffer->map);
	else
		free_hbm(dev, buffer);
err_unlock:
	if (buffer->map)
		munmap(buffer->map, buffer->bytes);
	pthread_mutex_unlock(&dev->driver);
	return kiln_error(-ENOMEM, "kiln_alloc: no %s left for %s",
			  buffer->placement == KILN_HOST ? "host memory" : "HBM",
			  kiln_format_bytes(buffer->bytes, text));
}

static void sim_free(struct kiln_buffer *buffer)
{
	struct sim_device *dev = to_sim(buffer->device);
	struct kiln_cmd flush = {
		.opcode = KILN_ADM_TLB_FLUSH,
		.ctx.context = SIM_CONTEXT,
	};

	pthread_mutex_lock(&dev->driver);
	sim_pages_unmap(dev, buffer->addr, buffer->bytes);
	sim_admin(dev, &flush);
	if (buffer->placement == KILN_HOST) {
		sim_host_remove(dev, buffer->map);
		munmap(buffer->map, buffer->bytes);
	} else {
		free_hbm(dev, buffer);
	}
	pthread_mutex_unlock(&dev->driver);
}

static int sim_map(struct kiln_buffer *buffer)
{
	set_mapped(to_sim(buffer->device), buffer, true);
	buffer->map = to_sim(buffer->device)->hbm + buffer->offset;
	return 0;
}

const struct kiln_transport kiln_sim_transport = {
	.name = "sim",
	.open = sim_open,
	.close = sim_close,
	.info = sim_info,
	.fault = sim_fault,
	.engine_time = sim_engine_time,
	.watch = sim_watch,
	.share = sim_share,
	.alloc = sim_alloc,
	.free = sim_free,
	.map = sim_map,
	.queue_create = sim_queue_create,
};
