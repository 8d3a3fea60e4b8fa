// SPDX-License-Identifier: MIT
/* Finding the card, its one address space, buffers, queues. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <xf86drm.h>

#include "drm_transport.h"

#define ACCEL_DIR	"/dev/accel"
#define DRIVER		"kiln"
#define RESET_MS	10000		/* a card that boots is up by then */

/* What went wrong, in the words of somebody who can do something about it. */
static int open_error(int err, const char *path)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return kiln_error(-EACCES, "no right to open %s: it belongs to group render (usermod -aG render $USER, then log in again)",
				  path);
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return kiln_error(-ENODEV, "there is no %s: is the module loaded (modprobe kiln) and the card there (lspci -d 1234:4b4c)?",
				  path);
	default:
		return kiln_error(-err, "cannot open %s: %s", path, strerror(err));
	}
}

/* A descriptor if path is a Kiln card; -EPROTO or -ENODEV for anything else. */
static int try_node(const char *path)
{
	drmVersionPtr version;
	int fd, err = 0;

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return open_error(errno, path);
	version = drmGetVersion(fd);
	if (!version || strcmp(version->name, DRIVER))
		err = kiln_error(-ENODEV, "%s is no Kiln card: its driver is \"%.32s\"",
				 path, version ? version->name : "?");
	else if (version->version_major != 1)
		err = kiln_error(-EPROTO, "%s: its driver has interface version %d.%d, this libkiln knows 1: install a libkiln that goes with the driver",
				 path, version->version_major, version->version_minor);
	drmFreeVersion(version);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* The first card. An error that says more than "none" wins over -ENODEV. */
static int find_node(char *path, size_t size)
{
	int worst = -ENODEV;
	struct dirent *e;
	unsigned int best;
	int fd, tried = -1;
	DIR *dir;

	/* In order of number, whatever the directory's order is. */
	for (;;) {
		best = UINT32_MAX;
		dir = opendir(ACCEL_DIR);
		while (dir && (e = readdir(dir))) {
			unsigned int n;

			if (sscanf(e->d_name, "accel%u", &n) == 1 &&
			    (int)n > tried && n < best)
				best = n;
		}
		if (dir)
			closedir(dir);
		if (best == UINT32_MAX)
			break;
		snprintf(path, size, ACCEL_DIR "/accel%u", best);
		fd = try_node(path);
		if (fd >= 0)
			return fd;
		if (fd != -ENODEV)
			worst = fd;
		tried = (int)best;
	}
	if (worst == -ENODEV)
		return kiln_error(-ENODEV, "no Kiln card in " ACCEL_DIR ": is the module loaded (modprobe kiln) and the card there (lspci -d 1234:4b4c)?");
	return worst;
}

static int query(struct drm_device *dev, struct drm_kiln_info *info)
{
	struct drm_kiln_query q = {
		.type = DRM_KILN_QUERY_INFO,
		.size = sizeof(*info),
		.pointer = (uintptr_t)info,
	};

	memset(info, 0, sizeof(*info));
	if (drmIoctl(dev->fd, DRM_IOCTL_KILN_QUERY, &q)) {
		int err = errno;

		return kiln_error(-err, "%s: the driver does not say what the card is: %s",
				  dev->path, strerror(err));
	}
	return 0;
}

static void fill_info(struct drm_device *dev, const struct drm_kiln_info *from,
		      struct kiln_info *to)
{
	*to = (struct kiln_info){
		.transport = "drm",
		.path = dev->path,
		.generation = from->generation,
		.cores = from->cores,
		.hbm_bytes = from->hbm_bytes,
		.hbm_used_bytes = from->hbm_used_bytes,
		.sbuf_bytes = from->sbuf_bytes,
		.psum_bytes = from->psum_bytes,
		.clock_khz = from->clock_khz,
		.fw_version = from->fw_version,
		.max_queue_depth = from->max_queue_depth,
	};
}

static int drm_open(const char *arg, struct kiln_device **device)
{
	struct drm_kiln_vm_create vm = { 0 };
	struct drm_kiln_info info;
	struct drm_device *dev;
	int err;

	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return kiln_error(-ENOMEM, "kiln_open: out of memory");
	dev->base.transport = &kiln_drm_transport;
	if (*arg && strlen(arg) >= sizeof(dev->path)) {
		err = kiln_error(-ENODEV, "there is no %.64s...", arg);
		goto err_free;
	}
	if (*arg) {
		strcpy(dev->path, arg);
		dev->fd = try_node(arg);
	} else {
		dev->fd = find_node(dev->path, sizeof(dev->path));
	}
	if (dev->fd < 0) {
		err = dev->fd;
		goto err_free;
	}
	err = query(dev, &info);
	if (err)
		goto err_close;
	fill_info(dev, &info, &dev->base.info);
	if (drmIoctl(dev->fd, DRM_IOCTL_KILN_VM_CREATE, &vm)) {
		err = kiln_error(-errno, "%s: no address space: %s%s", dev->path,
				 strerror(errno), errno == ENOSPC ?
				 " (every context of the card is in use)" : "");
		goto err_close;
	}
	dev->vm = vm.id;
	err = kiln_va_init(&dev->base.va, info.va_start, info.va_end);
	if (err) {
		kiln_error(err, "kiln_open: out of memory");
		goto err_close;
	}
	pthread_mutex_init(&dev->base.lock, NULL);
	pthread_mutex_init(&dev->vm_lock, NULL);
	*device = &dev->base;
	return 0;

err_close:
	close(dev->fd);		/* the VM goes with it */
err_free:
	free(dev);
	return err;
}

static void drm_close(struct kiln_device *device)
{
	struct drm_device *dev = to_drm(device);

	close(dev->fd);
	free(dev);
}

static int drm_info(struct kiln_device *device, struct kiln_info *info)
{
	struct drm_device *dev = to_drm(device);
	struct drm_kiln_info raw;
	int err = query(dev, &raw);

	if (!err)
		fill_info(dev, &raw, info);
	return err;
}

static int drm_fault(struct kiln_device *device, struct kiln_fault_info *fault)
{
	struct drm_device *dev = to_drm(device);
	struct drm_kiln_vm_fault f = { 0 };

	int err;

	pthread_mutex_lock(&dev->vm_lock);
	f.vm_id = dev->vm;
	err = drmIoctl(dev->fd, DRM_IOCTL_KILN_VM_FAULT, &f);
	pthread_mutex_unlock(&dev->vm_lock);
	if (err)
		return kiln_error(-errno, "%s: no fault report: %s", dev->path,
				  strerror(errno));
	*fault = (struct kiln_fault_info){
		.count = f.count,
		.address = f.address,
		.status = f.status,
		.engine = f.engine,
		.instruction = f.instruction,
		.label = f.label,
		.core = f.core,
	};
	return 0;
}

static const char *why_no_share(int err)
{
	switch (err) {
	case EPERM:
		return "high priority, or more min_share than an administrator grants, needs CAP_SYS_NICE";
	case EDQUOT:
		return "it is beyond this user's limit";
	case ENOSPC:
		return "the card has promised too much to others";
	default:
		return strerror(err);
	}
}

/* vm_lock is held, as for the next ones. */
static int bind_buffer(struct drm_device *dev, const struct kiln_buffer *buffer)
{
	struct drm_kiln_vm_bind bind = {
		.vm_id = dev->vm,
		.op = DRM_KILN_VM_BIND_MAP,
		.flags = buffer->flags & KILN_ALLOC_READONLY ? DRM_KILN_VM_BIND_READONLY : 0,
		.handle = buffer->handle,
		.va = buffer->addr,
		.size = buffer->bytes,
	};

	return drmIoctl(dev->fd, DRM_IOCTL_KILN_VM_BIND, &bind) ? -errno : 0;
}

/* A VM that was replaced goes with its last queue: until then the driver says -EBUSY. */
static void drop_vm(struct drm_device *dev, uint32_t vm)
{
	struct drm_kiln_vm_destroy destroy = { .id = vm };

	if (vm != dev->vm)
		drmIoctl(dev->fd, DRM_IOCTL_KILN_VM_DESTROY, &destroy);
}

/*
 * A reset took the VM. Another one, with every buffer where it was: their content outlives
 * a reset, because HBM does.
 */
static int replace_vm(struct drm_device *dev)
{
	struct drm_kiln_vm_create create = {
		.weight = dev->share.weight,
		.priority = dev->share.priority,
		.min_share = dev->share.min_share,
	};
	uint32_t old = dev->vm;
	int err = 0;

	/* What it was promised can be promised again once it has gone. */
	dev->vm = 0;
	drop_vm(dev, old);
	/* While the card boots there is none: -EIO. If it does not come back, -ENODEV. */
	for (int ms = 0; ; ms++) {
		err = drmIoctl(dev->fd, DRM_IOCTL_KILN_VM_CREATE, &create) ? -errno : 0;
		if (err != -EIO || ms == RESET_MS)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	if (err) {
		dev->vm = old;
		return kiln_error(err, "%s: no address space after a reset: %s", dev->path,
				  strerror(-err));
	}
	dev->vm = create.id;
	for (struct kiln_buffer *b = dev->buffers; b && !err; b = b->next)
		err = bind_buffer(dev, b);
	if (err) {
		dev->vm = 0;
		drop_vm(dev, create.id);
		kiln_error(err, "%s: binding buffers after a reset: %s", dev->path, strerror(-err));
	}
	return err;
}

/* What the driver says of such a VM; -ENOENT: replace_vm() has failed before. */
static bool vm_is_lost(int err)
{
	return err == -EIO || err == -ENOENT;
}

static int set_share(struct drm_device *dev, struct drm_kiln_vm_share *s)
{
	s->vm_id = dev->vm;
	return drmIoctl(dev->fd, DRM_IOCTL_KILN_VM_SHARE, s) ? -errno : 0;
}

static int drm_share(struct kiln_device *device, const struct kiln_share *share)
{
	struct drm_device *dev = to_drm(device);
	struct drm_kiln_vm_share s = {
		.flags = DRM_KILN_SHARE_WEIGHT | DRM_KILN_SHARE_PRIORITY | DRM_KILN_SHARE_MIN_SHARE,
		.weight = share->weight,
		.priority = share->priority,
		.min_share = share->min_share,
	};
	int err;

	pthread_mutex_lock(&dev->vm_lock);
	err = set_share(dev, &s);
	if (vm_is_lost(err)) {
		err = replace_vm(dev);
		if (!err)
			err = set_share(dev, &s);
	}
	if (!err)
		dev->share = s;
	pthread_mutex_unlock(&dev->vm_lock);
	return err ? kiln_error(err, "%s: not this share: %s", dev->path, why_no_share(-err)) : 0;
}

static int drm_alloc(struct kiln_buffer *buffer)
{
	struct drm_device *dev = to_drm(buffer->device);
	struct drm_kiln_bo_create create = {
		.size = buffer->bytes,
		.flags = buffer->placement == KILN_HOST ? DRM_KILN_BO_SYSTEM : DRM_KILN_BO_HBM,
	};
	char text[24];
	int err;

	kiln_format_bytes(buffer->bytes, text);
	if (drmIoctl(dev->fd, DRM_IOCTL_KILN_BO_CREATE, &create))
		return kiln_error(-errno, "kiln_alloc: %s of %s: %s", text,
				  buffer->placement == KILN_HOST ? "host memory" : "HBM",
				  strerror(errno));
	buffer->handle = create.handle;
	pthread_mutex_lock(&dev->vm_lock);
	err = bind_buffer(dev, buffer);
	if (vm_is_lost(err)) {
		err = replace_vm(dev);
		if (!err)
			err = bind_buffer(dev, buffer);
	}
	if (!err) {
		buffer->next = dev->buffers;
		buffer->link = &dev->buffers;
		if (buffer->next)
			buffer->next->link = &buffer->next;
		dev->buffers = buffer;
	}
	pthread_mutex_unlock(&dev->vm_lock);
	if (err) {
		kiln_error(err, "kiln_alloc: binding %s at %#llx: %s", text,
			   (unsigned long long)buffer->addr, strerror(-err));
		drmCloseBufferHandle(dev->fd, create.handle);
	}
	return err;
}

static void drm_free(struct kiln_buffer *buffer)
{
	struct drm_device *dev = to_drm(buffer->device);
	struct drm_kiln_vm_bind unbind = {
		.op = DRM_KILN_VM_BIND_UNMAP,
		.va = buffer->addr,
		.size = buffer->bytes,
	};

	pthread_mutex_lock(&dev->vm_lock);
	*buffer->link = buffer->next;
	if (buffer->next)
		buffer->next->link = buffer->link;
	/* Fails only if the card is gone or was reset, and then it uses nothing any more. */
	unbind.vm_id = dev->vm;
	drmIoctl(dev->fd, DRM_IOCTL_KILN_VM_BIND, &unbind);
	pthread_mutex_unlock(&dev->vm_lock);
	if (buffer->map)
		munmap(buffer->map, buffer->bytes);
	drmCloseBufferHandle(dev->fd, buffer->handle);
}

static int drm_map(struct kiln_buffer *buffer)
{
	struct drm_device *dev = to_drm(buffer->device);
	struct drm_kiln_bo_info info = { .handle = buffer->handle };
	void *map;

	if (drmIoctl(dev->fd, DRM_IOCTL_KILN_BO_INFO, &info))
		return kiln_error(-errno, "kiln_map: %s", strerror(errno));
	map = mmap(NULL, buffer->bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		   dev->fd, (off_t)info.mmap_offset);
	if (map == MAP_FAILED)
		return kiln_error(-errno, "kiln_map: mmap: %s", strerror(errno));
	buffer->map = map;
	return 0;
}

void drm_queue_exec(struct drm_queue *queue, const struct kiln_command *c,
		    struct drm_kiln_exec *exec)
{
	*exec = (struct drm_kiln_exec){
		.queue_id = queue->id,
		.flags = c->program ? 0 : DRM_KILN_EXEC_NOP,
		.args_bytes = c->args_bytes,
		.args = c->args,
		.wait_addr = c->wait_addr,
		.wait_value = c->wait_value,
		.signal_addr = c->signal_addr,
		.signal_value = c->signal_value,
	};
	if (c->program) {
		exec->program = c->program->buffer->addr;
		exec->program_bytes = c->program->bytes;
	}
}

/* The driver completes what the queue holds, with -ECANCELED. */
void drm_queue_cancel(struct kiln_queue *base)
{
	struct drm_queue *q = (struct drm_queue *)base;
	struct drm_device *dev = to_drm(base->device);
	struct drm_kiln_queue_destroy destroy = { .id = q->id };

	if (q->canceled)
		return;
	drmIoctl(dev->fd, DRM_IOCTL_KILN_QUEUE_DESTROY, &destroy);
	q->canceled = true;
	pthread_mutex_lock(&dev->vm_lock);
	drop_vm(dev, q->vm);
	pthread_mutex_unlock(&dev->vm_lock);
}

/* The driver's half of a queue. Returns 0 or a negative errno. vm_lock is held. */
static int create_queue(struct drm_device *dev, struct drm_queue *q)
{
	struct drm_kiln_queue_create create = q->create;

	create.vm_id = dev->vm;
	if (drmIoctl(dev->fd, DRM_IOCTL_KILN_QUEUE_CREATE, &create))
		return -errno;
	q->id = create.id;
	q->vm = dev->vm;
	q->canceled = false;
	return 0;
}

/* The same, and if a reset took the VM, another VM first. */
static int create_queue_somewhere(struct drm_device *dev, struct drm_queue *q)
{
	int err;

	pthread_mutex_lock(&dev->vm_lock);
	err = create_queue(dev, q);
	if (vm_is_lost(err)) {
		err = replace_vm(dev);
		if (!err)
			err = create_queue(dev, q);
	}
	pthread_mutex_unlock(&dev->vm_lock);
	return err;
}

int drm_queue_revive(struct kiln_queue *base)
{
	struct drm_queue *q = (struct drm_queue *)base;
	int err;

	drm_queue_cancel(base);
	err = create_queue_somewhere(to_drm(base->device), q);
	return err ? kiln_error(err, "kiln_submit: no queue after a reset: %s", strerror(-err)) : 0;
}

static int drm_queue_create(struct kiln_device *device,
			    const struct kiln_queue_attr *attr,
			    struct kiln_queue **queue)
{
	struct drm_device *dev = to_drm(device);
	struct drm_queue *q = NULL;
	int err = -EPERM;

	if (attr->way == KILN_SUBMIT_CALLER)
		err = drm_caller_create(dev, attr, &q);
	else if (attr->way != KILN_SUBMIT_IOCTL)
		err = drm_uring_create(dev, attr, &q);
	if (attr->way == KILN_SUBMIT_AUTO && err == -EPERM &&
	    !atomic_flag_test_and_set(&dev->told))
		fprintf(stderr, "kiln: %s: io_uring is forbidden here (sysctl kernel.io_uring_disabled, or a seccomp filter): commands go by ioctl, which takes a system call more for each wait\n",
			dev->path);
	if (attr->way == KILN_SUBMIT_IOCTL ||
	    (attr->way == KILN_SUBMIT_AUTO && err == -EPERM))
		err = drm_ioctl_create(dev, attr, &q);
	if (err)
		return err;
	q->create = (struct drm_kiln_queue_create){
		.depth = attr->depth,
		.weight = attr->weight,
		.limit_ms = attr->limit_ms,
	};
	err = create_queue_somewhere(dev, q);
	if (err) {
		kiln_error(err, "kiln_queue_create: %s%s", strerror(-err),
			   err == -ENOSPC ? " (every queue of the card is in use)" : "");
		q->base.way->destroy(&q->base);
		return err;
	}
	*queue = &q->base;
	return 0;
}

const struct kiln_transport kiln_drm_transport = {
	.name = "drm",
	.open = drm_open,
	.close = drm_close,
	.info = drm_info,
	.fault = drm_fault,
	.share = drm_share,
	.alloc = drm_alloc,
	.free = drm_free,
	.map = drm_map,
	.queue_create = drm_queue_create,
};
