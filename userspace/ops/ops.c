// SPDX-License-Identifier: MIT
/*
 * Programs kept by what they compute, argument blocks, submission.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <kiln/hw.h>

#include "ops.h"

#define ARGS_BYTES	(KILN_OPS_ARGS * sizeof(uint64_t))
#define ARENA_BYTES	4096
#define ARENA_SLOTS	(ARENA_BYTES / ARGS_BYTES)

struct entry {
	struct entry *next;
	struct kiln_ops_key key;
	struct kiln_program *program;
};

struct arena;

/* A command under way, and its argument block. */
struct call {
	struct call *next_free;
	struct kiln_ops *ops;
	uint64_t args;			/* device address */
	uint64_t *words;
	kiln_done_fn done;
	void *user;
	bool listed;			/* of a list: it stays until that goes */
};

struct kiln_ops_list {
	struct kiln_ops *ops;
	unsigned int count;
	struct kiln_command command[];
};

struct arena {
	struct arena *next;
	struct kiln_buffer *buffer;
	struct call call[ARENA_SLOTS];
};

struct constant {
	struct constant *next;
	struct kiln_buffer *buffer;
	uint32_t bytes;
	uint8_t data[];
};

struct kiln_ops {
	struct kiln_queue *queue;	/* NULL: dry */
	struct kiln_device *device;
	unsigned int generation;
	struct entry **bucket;
	uint32_t buckets, entries;
	struct arena *arenas;
	struct call *free_calls;
	struct constant *constants;
	struct kiln_ops_stats stats;
	bool holding;			/* commands wait in held until kiln_ops_flush() */
	struct kiln_command *held;
	unsigned int held_count, held_size;
};

static int create(struct kiln_device *device, struct kiln_queue *queue, struct kiln_ops **out)
{
	struct kiln_ops *ops;
	struct kiln_info info;
	int err;

	err = kiln_get_info(device, &info);
	if (err)
		return err;
	ops = calloc(1, sizeof(*ops));
	if (!ops)
		return kiln_error(-ENOMEM, "no memory");
	ops->queue = queue;
	ops->device = device;
	ops->generation = info.generation;
	ops->buckets = 64;
	ops->bucket = calloc(ops->buckets, sizeof(*ops->bucket));
	if (!ops->bucket) {
		free(ops);
		return kiln_error(-ENOMEM, "no memory");
	}
	*out = ops;
	return 0;
}

int kiln_ops_create(struct kiln_queue *queue, struct kiln_ops **out)
{
	if (!queue || !out)
		return kiln_error(-EINVAL, "kiln_ops_create() needs a queue and a place for the result");
	return create(kiln_queue_device(queue), queue, out);
}

int kiln_ops_create_dry(struct kiln_device *device, struct kiln_ops **out)
{
	if (!device || !out)
		return kiln_error(-EINVAL, "kiln_ops_create_dry() needs a device and a place for the result");
	return create(device, NULL, out);
}

void kiln_ops_destroy(struct kiln_ops *ops)
{
	struct arena *arena;
	uint32_t i;

	if (!ops)
		return;
	for (i = 0; i < ops->buckets; i++)
		while (ops->bucket[i]) {
			struct entry *entry = ops->bucket[i];

			ops->bucket[i] = entry->next;
			kiln_program_free(entry->program);
			free(entry);
		}
	while ((arena = ops->arenas)) {
		ops->arenas = arena->next;
		kiln_free(arena->buffer);
		free(arena);
	}
	free(ops->held);
	while (ops->constants) {
		struct constant *constant = ops->constants;

		ops->constants = constant->next;
		kiln_free(constant->buffer);
		free(constant);
	}
	free(ops->bucket);
	free(ops);
}

unsigned int kiln_ops_generation(const struct kiln_ops *ops)
{
	return ops->generation;
}

void kiln_ops_get_stats(const struct kiln_ops *ops, struct kiln_ops_stats *stats)
{
	*stats = ops->stats;
}

const void *kiln_ops_get_program(const struct kiln_ops *ops, unsigned int index, size_t *bytes)
{
	for (uint32_t i = 0; i < ops->buckets; i++)
		for (const struct entry *entry = ops->bucket[i]; entry; entry = entry->next)
			if (!index--) {
				*bytes = entry->program->bytes;
				return kiln_map(entry->program->buffer);
			}
	*bytes = 0;
	return NULL;
}

/* --------------------------------------------------------------- programs -- */

static uint64_t key_hash(const struct kiln_ops_key *key)
{
	uint64_t hash = 0xcbf29ce484222325;
	int i;

	for (i = 0; i < KILN_OPS_KEY_WORDS; i++) {
		if (!key->word[i])
			continue;	/* most are */
		hash = (hash ^ key->word[i] ^ (uint64_t)i << 56) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 29;
	}
	return hash;
}

static void grow(struct kiln_ops *ops)
{
	uint32_t buckets = ops->buckets * 2, i;
	struct entry **bucket = calloc(buckets, sizeof(*bucket));

	if (!bucket)
		return;		/* slower, not wrong */
	for (i = 0; i < ops->buckets; i++)
		while (ops->bucket[i]) {
			struct entry *entry = ops->bucket[i];
			struct entry **head = &bucket[key_hash(&entry->key) & (buckets - 1)];

			ops->bucket[i] = entry->next;
			entry->next = *head;
			*head = entry;
		}
	free(ops->bucket);
	ops->bucket = bucket;
	ops->buckets = buckets;
}

static int find_program(struct kiln_ops *ops, const struct kiln_ops_key *key, const char *name,
			kiln_ops_make_fn make, const void *shape, struct kiln_program **out)
{
	struct entry **head = &ops->bucket[key_hash(key) & (ops->buckets - 1)];
	struct kiln_asm *as;
	struct entry *entry;
	void *program;
	size_t bytes;
	int err;

	for (entry = *head; entry; entry = entry->next)
		if (!memcmp(&entry->key, key, sizeof(*key))) {
			*out = entry->program;
			return 0;
		}

	entry = malloc(sizeof(*entry));
	as = kiln_asm_create(ops->generation);
	if (!entry || !as) {
		err = kiln_error(-ENOMEM, "no memory for the program of %s", name);
		goto err_free;
	}
	kiln_asm_transient(as);
	err = make(as, ops->generation, shape);
	if (!err)
		err = kiln_asm_finish(as, &program, &bytes);
	if (err) {
		/* The arguments were checked: a program that breaks a rule is our mistake. */
		kiln_error(err, "%s: the program could not be made: %s", name,
			   kiln_asm_error(as) ? kiln_asm_error(as) : "no memory");
		if (err == -EINVAL)
			err = -ENOTSUP;
		goto err_free;
	}
	if (bytes > KILN_MAX_PROGRAM_BYTES)
		err = kiln_error(-ENOTSUP, "%s: this shape takes a program of %zu bytes, the card runs up to %u: take it in parts",
				 name, bytes, KILN_MAX_PROGRAM_BYTES);
	else
		err = kiln_program_load(ops->device, program, bytes, &entry->program);
	free(program);
	if (err)
		goto err_free;
	if (ops->device->profile)
		kiln_profile_program(entry->program, name);
	kiln_asm_destroy(as);
	entry->key = *key;
	entry->next = *head;
	*head = entry;
	ops->stats.programs_made++;
	ops->stats.program_bytes += bytes;
	*out = entry->program;
	if (++ops->entries > 2 * ops->buckets)
		grow(ops);
	return 0;

err_free:
	kiln_asm_destroy(as);
	free(entry);
	return err;
}

/* -------------------------------------------------------------- constants -- */

int kiln_ops_constant(struct kiln_ops *ops, const void *data, uint32_t bytes, uint64_t *addr)
{
	struct constant *constant;
	void *map;
	int err;

	*addr = 0;
	if (!ops->queue)
		return 0;
	for (constant = ops->constants; constant; constant = constant->next)
		if (constant->bytes == bytes && !memcmp(constant->data, data, bytes)) {
			*addr = kiln_addr(constant->buffer);
			return 0;
		}
	constant = malloc(sizeof(*constant) + bytes);
	if (!constant)
		return kiln_error(-ENOMEM, "no memory for a table of %u bytes", bytes);
	err = kiln_alloc(ops->device, bytes, KILN_HBM, KILN_ALLOC_READONLY, &constant->buffer);
	if (err)
		goto err_free;
	map = kiln_map(constant->buffer);
	if (!map) {
		err = -ENOMEM;
		goto err_buffer;
	}
	memcpy(map, data, bytes);
	memcpy(constant->data, data, bytes);
	constant->bytes = bytes;
	constant->next = ops->constants;
	ops->constants = constant;
	*addr = kiln_addr(constant->buffer);
	return 0;

err_buffer:
	kiln_free(constant->buffer);
err_free:
	free(constant);
	return err;
}

/* ------------------------------------------------------------------ calls -- */

static struct call *take_call(struct kiln_ops *ops)
{
	struct arena *arena;
	struct call *call;
	uint64_t *words;
	unsigned int i;

	if (!ops->free_calls) {
		arena = calloc(1, sizeof(*arena));
		if (!arena)
			return NULL;
		/* Written by the CPU and read once by the card: host memory is nearest to both. */
		if (kiln_alloc(ops->device, ARENA_BYTES, KILN_HOST, 0, &arena->buffer)) {
			free(arena);
			return NULL;
		}
		words = kiln_map(arena->buffer);
		if (!words) {
			kiln_free(arena->buffer);
			free(arena);
			return NULL;
		}
		for (i = 0; i < ARENA_SLOTS; i++) {
			call = &arena->call[i];
			call->ops = ops;
			call->args = kiln_addr(arena->buffer) + i * ARGS_BYTES;
			call->words = words + i * KILN_OPS_ARGS;
			call->next_free = ops->free_calls;
			ops->free_calls = call;
		}
		arena->next = ops->arenas;
		ops->arenas = arena;
	}
	call = ops->free_calls;
	ops->free_calls = call->next_free;
	return call;
}

static void give_call(struct call *call)
{
	call->listed = false;
	call->next_free = call->ops->free_calls;
	call->ops->free_calls = call;
}

static void call_done(void *user, const struct kiln_result *result)
{
	struct call *call = user;
	kiln_done_fn done = call->done;
	void *done_user = call->user;

	if (!call->listed)
		give_call(call);
	if (done)
		done(done_user, result);
}

void kiln_ops_hold(struct kiln_ops *ops)
{
	ops->holding = true;
}

static int hand_over(struct kiln_ops *ops, const struct kiln_command *commands, unsigned int count)
{
	struct kiln_result result = { 0 };
	unsigned int taken;

	if (!count)
		return 0;
	result.res = kiln_submit(ops->queue, commands, count, &taken);
	for (; taken < count; taken++)
		call_done(commands[taken].user, &result);
	return result.res;
}

int kiln_ops_flush(struct kiln_ops *ops)
{
	unsigned int count = ops->held_count;

	ops->holding = false;
	ops->held_count = 0;
	return hand_over(ops, ops->held, count);
}

int kiln_ops_take_list(struct kiln_ops *ops, struct kiln_ops_list **out)
{
	struct kiln_ops_list *list;
	unsigned int i;

	if (!ops || !out)
		return kiln_error(-EINVAL, "kiln_ops_take_list() needs ops and a place for the result");
	*out = NULL;
	list = malloc(sizeof(*list) + ops->held_count * sizeof(*list->command));
	if (!list)
		return kiln_error(-ENOMEM, "no memory for a list of %u commands", ops->held_count);
	list->ops = ops;
	list->count = ops->held_count;
	for (i = 0; i < list->count; i++) {
		list->command[i] = ops->held[i];
		((struct call *)list->command[i].user)->listed = true;
	}
	ops->holding = false;
	ops->held_count = 0;
	*out = list;
	return 0;
}

int kiln_ops_submit_list(struct kiln_ops_list *list)
{
	return list ? hand_over(list->ops, list->command, list->count) :
		kiln_error(-EINVAL, "kiln_ops_submit_list() needs a list");
}

void kiln_ops_free_list(struct kiln_ops_list *list)
{
	for (unsigned int i = 0; list && i < list->count; i++)
		give_call(list->command[i].user);
	free(list);
}

static int submit(struct kiln_ops *ops, const struct kiln_command *command)
{
	if (!ops->holding)
		return kiln_submit(ops->queue, command, 1, NULL);
	if (ops->held_count == ops->held_size) {
		unsigned int size = ops->held_size ? 2 * ops->held_size : 64;
		struct kiln_command *more = realloc(ops->held, size * sizeof(*more));

		if (!more)
			return kiln_error(-ENOMEM, "no memory for %u commands", size);
		ops->held = more;
		ops->held_size = size;
	}
	ops->held[ops->held_count++] = *command;
	return 0;
}

int kiln_ops_run(struct kiln_ops *ops, const struct kiln_ops_key *key, const char *name,
		 kiln_ops_make_fn make, const void *shape, const uint64_t *args,
		 unsigned int count, kiln_done_fn done, void *user)
{
	struct kiln_command command = { .args_bytes = count * sizeof(*args) };
	struct call *call;
	int err;

	if (!ops->queue)
		return 0;
	err = find_program(ops, key, name, make, shape, &command.program);
	if (err)
		return err;
	call = take_call(ops);
	if (!call)
		return kiln_error(-ENOMEM, "no memory for the arguments of %s", name);
	memcpy(call->words, args, count * sizeof(*args));
	call->done = done;
	call->user = user;
	command.args = call->args;
	command.done = call_done;
	command.user = call;
	err = submit(ops, &command);
	if (err < 0) {
		give_call(call);
		return err;
	}
	ops->stats.commands++;
	return 0;
}
