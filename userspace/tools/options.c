// SPDX-License-Identifier: MIT
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

int usage_error(const char *command, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", command);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

/* A whole decimal number: no sign, no space, nothing behind it. */
static bool parse_u64(const char *text, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return !errno && !*end;
}

static int choose(const char *command, const struct option *o, const char *text)
{
	char list[128] = "";

	for (int i = 0; o->choices[i]; i++) {
		if (!strcmp(o->choices[i], text)) {
			*(int *)o->value = i + 1;
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 i ? ", " : "", o->choices[i]);
	}
	return usage_error(command, "--%s %s: there are %s", o->name, text, list);
}

static int set(const char *command, const struct option *o, const char *text)
{
	uint64_t n;
	char *end;
	float f;

	switch (o->kind) {
	case OPTION_U32:
		if (!parse_u64(text, &n) || n < o->min || n > o->max)
			return usage_error(command, "--%s %s: a whole number from %u to %u is wanted",
					   o->name, text, o->min, o->max);
		*(uint32_t *)o->value = (uint32_t)n;
		return 0;
	case OPTION_U64:
		if (!parse_u64(text, &n))
			return usage_error(command, "--%s %s: a whole number is wanted",
					   o->name, text);
		*(uint64_t *)o->value = n;
		return 0;
	case OPTION_FLOAT:
		f = strtof(text, &end);
		if (!*text || *end || !isfinite(f))
			return usage_error(command, "--%s %s: a number is wanted",
					   o->name, text);
		*(float *)o->value = f;
		return 0;
	case OPTION_TEXT:
		if (!*text)
			return usage_error(command, "--%s is empty", o->name);
		*(const char **)o->value = text;
		return 0;
	case OPTION_CHOICE:
		return choose(command, o, text);
	case OPTION_FLAG:
		break;
	}
	*(bool *)o->value = true;
	return 0;
}

int options_parse(const char *command, int argc, char **argv,
		  const struct option *table)
{
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i], *name = arg + 2, *value = NULL;
		size_t len;
		const struct option *o;
		int err;

		if (strncmp(arg, "--", 2) || !arg[2])
			return usage_error(command, "\"%s\" is not an option", arg);
		len = strcspn(name, "=");
		for (o = table; o->name; o++)
			if (strlen(o->name) == len && !memcmp(o->name, name, len))
				break;
		if (!o->name)
			return usage_error(command, "there is no option --%.*s (see kiln help)",
					   (int)len, name);
		if (name[len] == '=')
			value = name + len + 1;
		if (o->kind == OPTION_FLAG && value)
			return usage_error(command, "--%s takes no value", o->name);
		if (o->kind != OPTION_FLAG && !value) {
			if (i + 1 == argc)
				return usage_error(command, "--%s needs a value", o->name);
			value = argv[++i];
		}
		err = set(command, o, value);
		if (err)
			return err;
	}
	return 0;
}
