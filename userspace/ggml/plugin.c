// SPDX-License-Identifier: MIT
/*
 * What ggml sees of the cards: the registration, the devices, their memory.
 *
 * KILN_GGML_CARDS names the cards as kiln_open() takes them, with spaces between;
 * without it, each Kiln card in /dev/accel is one.
 */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

#define MAX_CARDS	16
#define ALIGNMENT	128

static struct card cards[MAX_CARDS];
static size_t card_count;
static struct ggml_backend_reg registration;

/* ----------------------------------------------------------------- memory -- */

struct memory {
	struct kiln_buffer *hbm;
	_Atomic uint64_t written;	/* memory_written() */
};

/* Streams keep what they made of weights: whatever happens to a buffer, its time is its own. */
static void written(struct memory *memory)
{
	static _Atomic uint64_t clock;

	memory->written = ++clock;
}

/* Where the CPU finds what lies at a device address of the buffer */
static char *cpu_address(ggml_backend_buffer_t buffer, const void *data)
{
	struct memory *memory = buffer->context;

	return (char *)kiln_map(memory->hbm) + ((uint64_t)data - kiln_addr(memory->hbm));
}

static void buffer_free(ggml_backend_buffer_t buffer)
{
	struct memory *memory = buffer->context;

	kiln_free(memory->hbm);
	free(memory);
}

static void *buffer_base(ggml_backend_buffer_t buffer)
{
	return (void *)kiln_addr(((struct memory *)buffer->context)->hbm);
}

bool memory_is_ours(ggml_backend_buffer_t buffer)
{
	return buffer && buffer->iface.get_base == buffer_base;
}

/* The memory for weights that t lies in, or NULL */
static struct memory *weights_of(const struct ggml_tensor *t)
{
	ggml_backend_buffer_t buffer = t->view_src ? t->view_src->buffer : t->buffer;

	return memory_is_ours(buffer) &&
	       ggml_backend_buffer_get_usage(buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS ?
		buffer->context : NULL;
}

uint64_t memory_written(const struct ggml_tensor *t)
{
	struct memory *memory = weights_of(t);

	return memory ? memory->written : 0;
}

void memory_write(const struct ggml_tensor *t)
{
	struct memory *memory = weights_of(t);

	if (memory)
		written(memory);
}

static void tensor_fill(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor, uint8_t value,
			size_t offset, size_t bytes)
{
	memset(cpu_address(buffer, tensor->data) + offset, value, bytes);
	written(buffer->context);
}

static void tensor_set(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor, const void *data,
		       size_t offset, size_t bytes)
{
	memcpy(cpu_address(buffer, tensor->data) + offset, data, bytes);
	written(buffer->context);
}

static void tensor_get(ggml_backend_buffer_t buffer, const struct ggml_tensor *tensor, void *data,
		       size_t offset, size_t bytes)
{
	memcpy(data, cpu_address(buffer, tensor->data) + offset, bytes);
}

static bool tensor_copy(ggml_backend_buffer_t buffer, const struct ggml_tensor *src,
			struct ggml_tensor *dst)
{
	ggml_backend_buffer_t from = src->view_src ? src->view_src->buffer : src->buffer;

	if (!memory_is_ours(from))
		return false;
	memmove(cpu_address(buffer, dst->data), cpu_address(from, src->data), ggml_nbytes(src));
	written(buffer->context);
	return true;
}

static void buffer_clear(ggml_backend_buffer_t buffer, uint8_t value)
{
	memset(cpu_address(buffer, buffer_base(buffer)), value, buffer->bytes);
	written(buffer->context);
}

static const struct buffer_interface buffer_interface = {
	.free_buffer = buffer_free,
	.get_base = buffer_base,
	.memset_tensor = tensor_fill,
	.set_tensor = tensor_set,
	.get_tensor = tensor_get,
	.cpy_tensor = tensor_copy,
	.clear = buffer_clear,
};

static const char *memory_name(ggml_backend_buffer_type_t type)
{
	return ((struct card *)type->context)->name;
}

static ggml_backend_buffer_t memory_alloc(ggml_backend_buffer_type_t type, size_t bytes)
{
	struct memory *memory = calloc(1, sizeof(*memory));
	struct card *card = type->context;

	if (!memory)
		return NULL;
	if (kiln_alloc(card->kiln, bytes, KILN_HBM, 0, &memory->hbm)) {
		log_error("%s: no %zu bytes of HBM: %s\n", card->name, bytes, kiln_last_error());
		goto err;
	}
	if (!kiln_map(memory->hbm)) {
		log_error("%s: %zu bytes of HBM cannot be mapped: %s\n", card->name, bytes,
			  kiln_last_error());
		goto err;
	}
	written(memory);
	return ggml_backend_buffer_init(type, buffer_interface, memory, bytes);

err:
	kiln_free(memory->hbm);
	free(memory);
	return NULL;
}

static size_t memory_alignment(ggml_backend_buffer_type_t type)
{
	(void)type;
	return ALIGNMENT;
}

/* ---------------------------------------------------------------- devices -- */

static const char *device_name(ggml_backend_dev_t dev)
{
	return ((struct card *)dev->context)->name;
}

static const char *device_description(ggml_backend_dev_t dev)
{
	return ((struct card *)dev->context)->description;
}

static void device_memory(ggml_backend_dev_t dev, size_t *free, size_t *total)
{
	struct card *card = dev->context;
	struct kiln_info info;

	*free = 0;
	*total = card->info.hbm_bytes;
	if (!kiln_get_info(card->kiln, &info))
		*free = info.hbm_bytes - info.hbm_used_bytes;
}

static enum ggml_backend_dev_type device_type(ggml_backend_dev_t dev)
{
	(void)dev;
	return GGML_BACKEND_DEVICE_TYPE_GPU;
}

static void device_props(ggml_backend_dev_t dev, struct ggml_backend_dev_props *props)
{
	*props = (struct ggml_backend_dev_props){
		.name = device_name(dev),
		.description = device_description(dev),
		.type = device_type(dev),
		.caps = { .events = true },
	};
	device_memory(dev, &props->memory_free, &props->memory_total);
}

static ggml_backend_t device_stream(ggml_backend_dev_t dev, const char *params)
{
	(void)params;
	return stream_create(dev->context);
}

static ggml_backend_buffer_type_t device_memory_type(ggml_backend_dev_t dev)
{
	return &((struct card *)dev->context)->memory;
}

static ggml_backend_event_t device_event(ggml_backend_dev_t dev)
{
	ggml_backend_event_t event = calloc(1, sizeof(*event));

	if (event)
		event->device = dev;
	return event;
}

static void device_event_free(ggml_backend_dev_t dev, ggml_backend_event_t event)
{
	(void)dev;
	free(event);
}

/* stream_event() */
static void device_event_wait(ggml_backend_dev_t dev, ggml_backend_event_t event)
{
	(void)dev;
	(void)event;
}

static bool device_supports_op(ggml_backend_dev_t dev, const struct ggml_tensor *op)
{
	return stream_supports(dev->context, op);
}

static bool device_supports_memory(ggml_backend_dev_t dev, ggml_backend_buffer_type_t type)
{
	return type == device_memory_type(dev);
}

static const struct device_interface device_interface = {
	.get_name = device_name,
	.get_description = device_description,
	.get_memory = device_memory,
	.get_type = device_type,
	.get_props = device_props,
	.init_backend = device_stream,
	.get_buffer_type = device_memory_type,
	.supports_op = device_supports_op,
	.supports_buft = device_supports_memory,
	.event_new = device_event,
	.event_free = device_event_free,
	.event_synchronize = device_event_wait,
};

static int add_card(const char *name)
{
	struct card *card = &cards[card_count];
	int err;

	if (card_count == MAX_CARDS)
		return 0;
	err = kiln_open(name, &card->kiln);
	if (err)
		return err;
	err = kiln_get_info(card->kiln, &card->info);
	if (!err)
		err = kiln_ops_create_dry(card->kiln, &card->dry);
	if (err) {
		kiln_close(card->kiln);
		return err;
	}
	snprintf(card->name, sizeof(card->name), "Kiln%zu", card_count);
	snprintf(card->description, sizeof(card->description), "Kiln trn%u, %u %s (%s)",
		 card->info.generation, card->info.cores, card->info.cores == 1 ? "core" : "cores",
		 card->info.path[0] ? card->info.path : card->info.transport);
	card->dev = (struct ggml_backend_device){ device_interface, &registration, card };
	card->memory = (struct ggml_backend_buffer_type){
		.iface = {
			.get_name = memory_name,
			.alloc_buffer = memory_alloc,
			.get_alignment = memory_alignment,
		},
		.device = &card->dev,
		.context = card,
	};
	card_count++;
	return 0;
}

/* Those that are named: one that is not there was meant to be. */
static void add_named_cards(const char *names)
{
	char *copy = strdup(names), *rest = copy, *name;

	while (copy && (name = strsep(&rest, " ")))
		if (*name && add_card(name))
			log_error("KILN_GGML_CARDS: %s: %s\n", name, kiln_last_error());
	free(copy);
}

static void add_all_cards(void)
{
	glob_t nodes;

	if (!glob("/dev/accel/accel[0-9]*", 0, NULL, &nodes)) {
		for (size_t i = 0; i < nodes.gl_pathc; i++) {
			char name[64];
			int err;

			snprintf(name, sizeof(name), "drm:%s", nodes.gl_pathv[i]);
			err = add_card(name);
			/* Other makers' cards stand there, too. */
			if (err && err != -ENODEV)
				log_warn("%s: %s\n", nodes.gl_pathv[i], kiln_last_error());
		}
		globfree(&nodes);
	}
	if (!card_count)
		log_warn("no Kiln card in /dev/accel: is kiln.ko loaded? "
			 "KILN_GGML_CARDS=sim takes a simulated one\n");
}

/* ----------------------------------------------------------- registration -- */

static const char *registration_name(ggml_backend_reg_t reg)
{
	(void)reg;
	return "Kiln";
}

static size_t registration_count(ggml_backend_reg_t reg)
{
	(void)reg;
	return card_count;
}

static ggml_backend_dev_t registration_device(ggml_backend_reg_t reg, size_t index)
{
	(void)reg;
	return &cards[index].dev;
}

static void *registration_function(ggml_backend_reg_t reg, const char *name)
{
	(void)reg;
	(void)name;
	return NULL;
}

ggml_backend_reg_t ggml_backend_init(void)
{
	const char *names = getenv("KILN_GGML_CARDS");

	if (registration.version)
		return &registration;
	/* The loader refuses another version, too; here it says what to install. */
	for (size_t i = 0; i < ggml_backend_reg_count(); i++) {
		int version = ggml_backend_reg_get(i)->version;

		if (version != GGML_INTERFACE_VERSION) {
			log_error("ggml %s has backend interface %d, this plug-in %d: install libggml0 0.27\n",
				  ggml_version(), version, GGML_INTERFACE_VERSION);
			return NULL;
		}
	}
	registration = (struct ggml_backend_reg){
		.version = GGML_INTERFACE_VERSION,
		.get_name = registration_name,
		.get_device_count = registration_count,
		.get_device = registration_device,
		.get_proc_address = registration_function,
	};
	if (names)
		add_named_cards(names);
	else
		add_all_cards();
	return &registration;
}
