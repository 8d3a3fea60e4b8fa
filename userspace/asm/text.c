// SPDX-License-Identifier: MIT
/*
 * The text assembler. All names are those of isa.def, in small letters:
 *
 *	.generation 2
 *	.engine vector
 *		movi rd=r1 imm=3
 *	again:	tensor_scalar dst=sbuf.f32[0+128]@1024{512} src=psum.f32[0+128]@0{512}
 *			func=multiply s0=0.5 func1=bypass s1=0 wait=3:1 post=4:1
 *		(one line each; here broken for the width of the page)
 *		addi rd=r1 rs=r1 imm=-1
 *		bne rs=r1 rt=r0 target=again
 *
 *	sbuf.bf16[32+16]@64+r4{4:200,128}	16 partitions from 32 on, byte 64 plus
 *						register 4, 4 rows 200 apart of 128
 *	dram.f32@r3-8{1000,1}			8 bytes below register 3; steps
 *	sbuf.f32@64				a column
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kiln_asm.h"
#include "text.h"

#define WORD_MAX	64

const char *const kiln_engine_names[KILN_ENGINES] = {
	"tensor", "vector", "scalar", "gpsimd", "sync",
};

/* ------------------------------------------------------------------ names -- */

bool text_enter(struct text_locale *l)
{
	l->c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	if (!l->c)
		return false;
	l->before = uselocale(l->c);
	return true;
}

void text_leave(struct text_locale *l)
{
	uselocale(l->before);
	freelocale(l->c);
}

const char *text_dtype(unsigned int code)
{
	static const char *const names[256] = {
#define KILN_DTYPE(name, code, bytes, doc) [code] = #name,
#include <kiln/isa.def>
	};

	return code < 256 ? names[code] : NULL;
}

const char *text_func(enum kiln_func_kind kind, unsigned int code)
{
	static const char *const alu[256] = {
#define KILN_ALU(name, code, doc) [code] = #name,
#include <kiln/isa.def>
	};
	static const char *const act[256] = {
#define KILN_ACT(name, code, doc) [code] = #name,
#include <kiln/isa.def>
	};

	if (code > 255)
		return NULL;
	switch (kind) {
	case R_ALU:
	case R_COMPARE:
	case R_REDUCE:
		return alu[code];
	case R_ACT:
		return act[code];
	default:
		return NULL;
	}
}

const char *text_flag(unsigned int index)
{
	static const char *const names[] = {
#define KILN_FLAG(name, bit, doc) #name,
#include <kiln/isa.def>
	};

	return names[index];
}

static uint8_t flag_bit(unsigned int index)
{
	static const uint8_t bits[] = {
#define KILN_FLAG(name, bit, doc) 1 << bit,
#include <kiln/isa.def>
	};

	return bits[index];
}

const char *text_func_field(enum kiln_func_kind kind, int which)
{
	return kind == R_RING ? "ring" : which ? "func1" : "func";
}

void text_complaint(const struct kiln_check *check, char *text, size_t bytes)
{
	int n = 0;

	if (check->operand)
		n = snprintf(text, bytes, "%s: ", check->operand);
	snprintf(text + n, bytes - n, check->why, check->value[0], check->value[1],
		 check->value[2], check->value[3]);
}

struct kiln_check text_check(unsigned int generation, uint32_t count, uint32_t args_bytes)
{
	return (struct kiln_check) {
		.generation = generation ? generation : 1,
		.sbuf_bytes = kiln_asm_sbuf_bytes(generation),
		.psum_bytes = KILN_PSUM_BANKS * KILN_PSUM_BANK_BYTES,
		.count = count, .args_bytes = args_bytes,
	};
}

/* ------------------------------------------------------------------ values -- */

struct error {
	char *text;
	size_t bytes;
};

__attribute__((format(printf, 2, 3)))
static bool fail(struct error *error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error->text, error->bytes, format, ap);
	va_end(ap);
	return false;
}

/* Takes c off the front. */
static bool take(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

/* A whole number within [min, max], decimal or 0x, off the front. */
static bool number(const char **at, int64_t min, int64_t max, int64_t *value)
{
	const char *digits = *at + (**at == '-');
	char *end;

	if (!isdigit((unsigned char)*digits))
		return false;
	errno = 0;
	*value = strtoll(*at, &end, digits[0] == '0' && tolower(digits[1]) == 'x' ? 16 : 10);
	if (errno || *value < min || *value > max)
		return false;
	*at = end;
	return true;
}

static bool reg(const char **at, uint8_t *value)
{
	int64_t n;

	if (**at != 'r' && **at != 'R')
		return false;
	(*at)++;
	if (!number(at, 0, KILN_REGISTERS - 1, &n))
		return false;
	*value = n;
	return true;
}

/* A name off the front: letters, digits, underlines. */
static bool word(const char **at, char name[WORD_MAX])
{
	size_t n = 0;

	while (isalnum((unsigned char)**at) || **at == '_') {
		if (n == WORD_MAX - 1)
			return false;
		name[n++] = *(*at)++;
	}
	name[n] = 0;
	return n;
}

/* space.dtype */
static bool place(const char **at, uint8_t *space, uint8_t *dtype)
{
	static const char *const spaces[] = {
		[KILN_SBUF] = "sbuf", [KILN_PSUM] = "psum", [KILN_DRAM] = "dram",
	};
	char name[WORD_MAX];

	if (!word(at, name))
		return false;
	for (*space = KILN_SBUF; *space <= KILN_DRAM; (*space)++)
		if (!strcasecmp(name, spaces[*space]))
			break;
	if (*space > KILN_DRAM)
		return false;
	*dtype = KILN_DT_NONE;
	if (!take(at, '.'))
		return *space == KILN_DRAM;
	if (!word(at, name))
		return false;
	for (unsigned int t = 1; t < KILN_DTYPES; t++)
		if (text_dtype(t) && !strcasecmp(name, text_dtype(t)))
			*dtype = t;
	return *dtype;
}

/* last_step: where the fifth step of terms goes; NULL: there are four at most. */
static bool parse_dram(const char *at, struct kiln_operand *op, int32_t *last_step)
{
	int64_t n;

	if (!take(&at, '@') || !reg(&at, &op->dram.base))
		return false;
	if (*at == '+' || *at == '-') {
		if (*at == '+')
			at++;
		if (!number(&at, INT32_MIN, INT32_MAX, &n))
			return false;
		op->dram.offset = n;
	}
	if (!take(&at, '{'))
		return false;
	for (int d = 0; d < (last_step ? 5 : 4) && *at != '}'; d++) {
		if ((d && !take(&at, ',')) || !number(&at, INT32_MIN, INT32_MAX, &n))
			return false;
		*(d < 4 ? &op->dram.step[d] : last_step) = n;
	}
	return take(&at, '}') && !*at;
}

/* @64+r4 */
static bool address(const char **at, uint32_t *addr, uint8_t *r)
{
	int64_t n;

	if (!take(at, '@') || !number(at, 0, UINT32_MAX, &n))
		return false;
	*addr = n;
	return !take(at, '+') || reg(at, r);
}

static bool parse_operand(const char *at, struct kiln_operand *op, int32_t *last_step)
{
	bool given[4] = { false };
	int64_t n, stride = 1;

	memset(op, 0, sizeof(*op));
	if (!place(&at, &op->space, &op->dtype))
		return false;
	if (op->space == KILN_DRAM)
		return parse_dram(at, op, last_step);
	if (!take(&at, '[') || !number(&at, 0, UINT8_MAX, &n))
		return false;
	op->partition = n;
	if (!take(&at, '+') || !number(&at, 0, UINT8_MAX, &n) || !take(&at, ']'))
		return false;
	op->partitions = n;
	if (!address(&at, &op->addr, &op->reg) || !take(&at, '{'))
		return false;
	for (; op->ndim < 4; op->ndim++) {
		if (op->ndim && !take(&at, ','))
			break;
		if (!number(&at, 1, UINT16_MAX, &n))
			return false;
		op->size[op->ndim] = n;
		if (take(&at, ':')) {
			if (!number(&at, INT16_MIN, INT16_MAX, &n))
				return false;
			op->stride[op->ndim] = n;
			given[op->ndim] = true;
		}
	}
	/* Without a stride: packed, so far as that can be said. */
	for (int d = op->ndim - 1; d >= 0; d--) {
		if (!given[d]) {
			if (stride > INT16_MAX)
				return false;
			op->stride[d] = stride;
		}
		stride *= op->size[d];
	}
	return take(&at, '}') && !*at;
}

static bool parse_column(const char *at, struct kiln_column *col)
{
	memset(col, 0, sizeof(*col));
	return place(&at, &col->space, &col->dtype) && col->space != KILN_DRAM &&
	       address(&at, &col->addr, &col->reg) && !*at;
}

/* A decimal or hexadecimal float, inf, or the bits of a NaN: nan:0x7fc00000 */
static bool parse_float(const char *at, float *value)
{
	char *end;

	if (!strncasecmp(at, "nan", 3)) {
		int64_t bits = 0x7fc00000;
		uint32_t word32;

		at += 3;
		if (take(&at, ':') && !number(&at, 0, UINT32_MAX, &bits))
			return false;
		word32 = bits;
		memcpy(value, &word32, sizeof(word32));
		return !*at && *value != *value;
	}
	if (!*at || isspace((unsigned char)*at))
		return false;
	*value = strtof(at, &end);
	return !*end;
}

/* 3:1 */
static bool parse_sync(const char *at, struct kiln_sync *sync)
{
	int64_t n;

	if (!number(&at, 0, KILN_SEMAPHORES - 1, &n))
		return false;
	sync->sem = n;
	if (!take(&at, ':') || !number(&at, 0, UINT8_MAX, &n))
		return false;
	sync->value = n;
	return !*at;
}

/* ------------------------------------------------------------ instructions -- */

/* An instruction as it is read: which of its fields have been given. */
struct reader {
	struct kiln_insn *insn;
	const struct kiln_rule *rule;
	struct error *error;
	char *target;			/* receives a label instead of a number; or NULL */
	bool dst, src[2], col[2], imm[2], func[2], label;
	uint8_t seq;
	unsigned int waits, posts;
};

/* What the instruction takes, for whoever left something out. */
static void usage(const struct kiln_rule *rule, char *text, size_t bytes)
{
	static const char *const fields[] = { "rd", "rs", "rt", "slot", "target", "imm" };
	size_t n = 0;

#define ADD(...) do {								\
		n += snprintf(text + n, bytes - n, __VA_ARGS__);		\
		if (n >= bytes)							\
			return;							\
	} while (0)
	text[0] = 0;
	for (unsigned int i = 0; i < 6; i++)
		if (rule->seq & 1 << i)
			ADD(" %s=", fields[i]);
	if (rule->dst.name)
		ADD(" %s=", rule->dst.name);
	for (int i = 0; i < 2; i++)
		if (rule->src[i].name)
			ADD(rule->src[i].spaces & R_ABSENT ? " [%s=]" : " %s=", rule->src[i].name);
	for (int i = 0; i < 2; i++) {
		uint8_t kind = i ? rule->func1 : rule->func;

		if (kind)
			ADD(" %s=", text_func_field(kind, i));
		if (rule->imm[i].use && rule->imm[i].use != R_OR_SRC1)
			ADD(" %s=", rule->imm[i].name);
		else if (rule->imm[i].use)
			ADD(" (or %s=NUMBER)", rule->imm[i].name);
		if (rule->col[i].use && rule->imm[i].use != R_OR_COL)
			ADD(rule->col[i].use == R_ALWAYS ? " %s=" : " [%s=]", rule->col[i].name);
	}
	for (unsigned int i = 0; i < KILN_FLAGS; i++)
		if (rule->flags >> (8 + i) & 1)
			ADD(" [%s]", text_flag(i));
#undef ADD
	for (; *text; text++)
		*text = tolower((unsigned char)*text);
}

static bool twice(struct reader *r, const char *key)
{
	return fail(r->error, "%s is given twice", key);
}

static bool read_func(struct reader *r, const char *key, const char *value, int which)
{
	enum kiln_func_kind kind = which ? r->rule->func1 : r->rule->func;
	uint8_t *func = which ? &r->insn->func1 : &r->insn->func;
	const char *at = value;
	int64_t n;

	if (r->func[which])
		return twice(r, key);
	r->func[which] = true;
	if (kind == R_REGISTER)
		return (reg(&at, func) && !*at) ||
		       fail(r->error, "%s=%s: a register, r0 to r63, is wanted", key, value);
	for (unsigned int code = 0; code < 256; code++) {
		const char *name = text_func(kind, code);

		if (name && !strcasecmp(name, value)) {
			*func = code;
			return true;
		}
	}
	if (!number(&at, 0, UINT8_MAX, &n) || *at)
		return fail(r->error, "%s=%s: %s is wanted", key, value, kind == R_RING ?
			    "a ring, 0 to 15," : kind == R_ACT ? "an activation function" :
			    kind == R_COMPARE ? "eq, ne, ge, gt, le or lt" :
			    kind == R_REDUCE ? "add, multiply, max, min, and, or, xor, or bitwise_and, "
			    "bitwise_or, bitwise_xor" :
			    kind == R_DIMS ? "1 to 4" :
			    kind == R_POWER ? "1, 2, 4, 8, 16 or 32" :
			    "a function (add, multiply, ...)");
	*func = n;
	return true;
}

static bool read_seq(struct reader *r, const char *key, const char *value, uint8_t field)
{
	const char *at = value;
	bool good = true;
	int64_t n = 0;

	if (r->seq & field)
		return twice(r, key);
	r->seq |= field;
	switch (field) {
	case R_RD:
		good = reg(&at, &r->insn->seq.rd);
		break;
	case R_RS:
		good = reg(&at, &r->insn->seq.rs);
		break;
	case R_RT:
		good = reg(&at, &r->insn->seq.rt);
		break;
	case R_SLOT:
		good = number(&at, 0, MAX_ARGS - 1, &n);
		r->insn->seq.slot = n;
		break;
	case R_TARGET:
		if (r->target && !isdigit((unsigned char)*at))
			good = word(&at, r->target);
		else
			good = number(&at, 0, UINT32_MAX, &n);
		r->insn->seq.target = n;
		break;
	case R_IMM:
		good = number(&at, INT64_MIN, INT64_MAX, &n);
		r->insn->seq.imm_lo = n;
		r->insn->seq.imm_hi = (uint64_t)n >> 32;
		break;
	}
	if (good && !*at)
		return true;
	return fail(r->error, "%s=%s: %s is wanted", key, value,
		    field & (R_RD | R_RS | R_RT) ? "a register, r0 to r63," :
		    field == R_SLOT ? "an argument, 0 to 63," :
		    field == R_TARGET ? "a label" : "a whole number");
}

/* A name may stand for a tile, a column or a constant; the value's form says which. */
static bool read_value(struct reader *r, const char *key, const char *value)
{
	const struct kiln_rule *rule = r->rule;
	const char *wanted = NULL;

	if (rule->dst.name && !strcasecmp(key, rule->dst.name)) {
		if (r->dst)
			return twice(r, key);
		r->dst = true;
		if (parse_operand(value, &r->insn->dst, NULL))
			return true;
		wanted = "a tile, as sbuf.f32[0+128]@0{512},";
	}
	for (int i = 0; i < 2; i++) {
		if (!rule->src[i].name || strcasecmp(key, rule->src[i].name))
			continue;
		wanted = rule->src[i].spaces & R_TILE ? "a tile, as sbuf.f32[0+128]@0{512}," :
			 "device memory, as dram@r1+0{1,1},";
		if (!parse_operand(value, &r->insn->src[i], rule->src[i].dtypes == R_NO_DTYPE ?
				   &r->insn->last_step : NULL)) {
			memset(&r->insn->src[i], 0, sizeof(r->insn->src[i]));
			continue;
		}
		if (r->src[i])
			return twice(r, key);
		r->src[i] = true;
		return true;
	}
	for (int i = 0; i < 2; i++) {
		struct kiln_column col;
		float imm;

		if (rule->col[i].name && !strcasecmp(key, rule->col[i].name)) {
			if (!wanted)
				wanted = "a column, as sbuf.f32@64,";
			if (parse_column(value, &col)) {
				if (r->col[i] || (r->imm[i] && rule->imm[i].use == R_OR_COL))
					return twice(r, key);
				r->col[i] = true;
				r->insn->col[i] = col;
				return true;
			}
		}
		if (rule->imm[i].name && !strcasecmp(key, rule->imm[i].name)) {
			wanted = !wanted ? "a number" : rule->imm[i].use == R_OR_SRC1 ?
				 "a tile, as sbuf.f32[0+128]@0{1}, or a number" :
				 "a column, as sbuf.f32@64, or a number";
			if (parse_float(value, &imm)) {
				if (r->imm[i] || (r->col[i] && rule->imm[i].use == R_OR_COL))
					return twice(r, key);
				r->imm[i] = true;
				r->insn->imm[i] = imm;
				return true;
			}
		}
	}
	if (wanted)
		return fail(r->error, "%s=%s: %s is wanted", key, value, wanted);
	return false;
}

static bool read_field(struct reader *r, char *token)
{
	static const struct {
		const char *name;
		uint8_t field;
	} seq[] = {
		{ "rd", R_RD }, { "rs", R_RS }, { "rt", R_RT }, { "slot", R_SLOT },
		{ "target", R_TARGET }, { "imm", R_IMM },
	};
	char *value = strchr(token, '='), list[256];
	const char *at;
	int64_t n;

	if (!value) {
		for (unsigned int i = 0; i < KILN_FLAGS; i++) {
			if (!(r->rule->flags >> (8 + i) & 1) || strcasecmp(token, text_flag(i)))
				continue;
			if (r->insn->flags & flag_bit(i))
				return twice(r, token);
			r->insn->flags |= flag_bit(i);
			return true;
		}
		usage(r->rule, list, sizeof(list));
		return fail(r->error, "%s: no such flag; it takes%s", token,
			    *list ? list : " nothing");
	}
	*value++ = 0;
	at = value;
	if (!strcasecmp(token, "wait") || !strcasecmp(token, "post")) {
		bool wait = tolower((unsigned char)*token) == 'w';
		unsigned int *count = wait ? &r->waits : &r->posts;

		if (*count == 2)
			return fail(r->error, "%s: two at most", token);
		if (!parse_sync(value, &(wait ? r->insn->wait : r->insn->post)[(*count)++]))
			return fail(r->error, "%s=%s: SEMAPHORE:VALUE is wanted, each up to 255",
				    token, value);
		return true;
	}
	if (!strcasecmp(token, "label")) {
		if (r->label)
			return twice(r, token);
		r->label = true;
		if (!number(&at, 0, UINT32_MAX, &n) || *at)
			return fail(r->error, "label=%s: a number is wanted", value);
		r->insn->label = n;
		return true;
	}
	for (unsigned int i = 0; i < sizeof(seq) / sizeof(seq[0]); i++)
		if ((r->rule->seq & seq[i].field) && !strcasecmp(token, seq[i].name))
			return read_seq(r, token, value, seq[i].field);
	for (int i = 0; i < 2; i++) {
		uint8_t kind = i ? r->rule->func1 : r->rule->func;

		if (kind && !strcasecmp(token, text_func_field(kind, i)))
			return read_func(r, token, value, i);
	}
	*r->error->text = 0;
	if (read_value(r, token, value))
		return true;
	if (*r->error->text)
		return false;
	usage(r->rule, list, sizeof(list));
	return fail(r->error, "%s=: no such field; it takes%s", token, *list ? list : " nothing");
}

static bool missing(struct reader *r, const char *name)
{
	char list[256];

	usage(r->rule, list, sizeof(list));
	return fail(r->error, "%s is missing; it takes%s", name, list);
}

static bool complete(struct reader *r)
{
	static const char *const fields[] = { "rd", "rs", "rt", "slot", "target", "imm" };
	const struct kiln_rule *rule = r->rule;

	for (unsigned int i = 0; i < 6; i++)
		if ((rule->seq & ~r->seq) & 1 << i)
			return missing(r, fields[i]);
	if (rule->dst.name && !(rule->dst.spaces & R_ABSENT) && !r->dst)
		return missing(r, rule->dst.name);
	for (int i = 0; i < 2; i++) {
		uint8_t kind = i ? rule->func1 : rule->func;

		if (rule->src[i].name && !(rule->src[i].spaces & R_ABSENT) && !r->src[i])
			return missing(r, rule->src[i].name);
		if (kind == R_ARRAY || kind == R_DIMS)	/* 0 will do, for a column, too */
			continue;
		if (kind && !r->func[i])
			return missing(r, text_func_field(kind, i));
		if (!r->imm[i] &&
		    (rule->imm[i].use == R_MUST || (rule->imm[i].use == R_OR_COL && !r->col[i]) ||
		     (rule->imm[i].use == R_OR_SRC1 && !r->src[1])))
			return missing(r, rule->imm[i].name);
	}
	return true;
}

/* target: see struct reader. */
static bool parse_insn(const char *text, struct kiln_insn *insn, char *target,
		       struct error *error)
{
	struct reader r = { .insn = insn, .error = error, .target = target };
	char *copy = strdup(text), *state, *token;
	bool good;

	memset(insn, 0, sizeof(*insn));
	if (!copy)
		return fail(error, "out of memory");
	token = strtok_r(copy, " \t\r", &state);
	for (unsigned int code = 0; token && code < 256; code++)
		if (kiln_rules[code].engines && !strcasecmp(kiln_rules[code].name, token)) {
			insn->opcode = code;
			r.rule = &kiln_rules[code];
		}
	good = r.rule || fail(error, "%s: there is no such instruction", token ? token : "");
	while (good && (token = strtok_r(NULL, " \t\r", &state)))
		good = read_field(&r, token);
	good = good && complete(&r);
	free(copy);
	return good;
}

bool text_parse_insn(const char *text, struct kiln_insn *insn, char *error, size_t bytes)
{
	struct error e = { error, bytes };

	return parse_insn(text, insn, NULL, &e);
}

/* ---------------------------------------------------------------- programs -- */

struct label {
	char name[WORD_MAX];
	uint32_t index, line;
};

struct fixup {
	char name[WORD_MAX];
	uint32_t index;
};

/* A stream of the program with what belongs to its instructions. */
struct section {
	struct kiln_insn *insn;
	uint32_t *line;		/* of each instruction; 0: raw, not checked */
	uint32_t count, room;
	struct label *label;
	uint32_t labels, label_room;
	struct fixup *fixup;
	uint32_t fixups, fixup_room;
};

struct source {
	struct kiln_program_header header;
	bool args, any;		/* .args was given; something was written */
	int engine;		/* of the section; -1: none yet */
	struct section section[KILN_ENGINES];
	uint8_t *raw;		/* .bytes: then there is nothing else */
	size_t raw_bytes, raw_room;
	uint32_t line;
	bool no_memory;
	struct error error;
};

/* Room for one more of size bytes; the array, or NULL. */
static void *grow(struct source *s, void *array, uint32_t count, uint32_t *room, size_t size)
{
	uint32_t more = *room ? *room * 2 : 64;
	void *bigger;

	if (count < *room)
		return array;
	bigger = more > *room ? realloc(array, (size_t)more * size) : NULL;
	if (!bigger) {
		s->no_memory = true;
		fail(&s->error, "out of memory");
		return NULL;
	}
	*room = more;
	return bigger;
}

static bool add_insn(struct source *s, const struct kiln_insn *insn, uint32_t line)
{
	struct section *section = &s->section[s->engine];
	uint32_t room = section->room;
	void *bigger;

	bigger = grow(s, section->line, section->count, &room, sizeof(*section->line));
	if (!bigger)
		return false;
	section->line = bigger;
	bigger = grow(s, section->insn, section->count, &section->room, sizeof(*insn));
	if (!bigger)
		return false;
	section->insn = bigger;
	section->line[section->count] = line;
	section->insn[section->count++] = *insn;
	return true;
}

static int by_name(const void *a, const void *b)
{
	const struct label *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* In order of their names, each but once. */
static bool sort_labels(struct source *s, struct section *section)
{
	if (section->labels)
		qsort(section->label, section->labels, sizeof(*section->label), by_name);
	for (uint32_t i = 1; i < section->labels; i++) {
		if (strcmp(section->label[i - 1].name, section->label[i].name))
			continue;
		s->line = section->label[i].line;
		return fail(&s->error, "label %s: it is there already", section->label[i].name);
	}
	return true;
}

static int is_label(const void *name, const void *label)
{
	return strcmp(name, ((const struct label *)label)->name);
}

static const struct label *find_label(const struct section *section, const char *name)
{
	return section->labels ? bsearch(name, section->label, section->labels,
					 sizeof(*section->label), is_label) : NULL;
}

static bool add_label(struct source *s, const char *name)
{
	struct section *section = &s->section[s->engine];
	void *bigger;

	bigger = grow(s, section->label, section->labels, &section->label_room,
		      sizeof(*section->label));
	if (!bigger)
		return false;
	section->label = bigger;
	section->label[section->labels].index = section->count;
	section->label[section->labels].line = s->line;
	strcpy(section->label[section->labels++].name, name);
	return true;
}

static bool add_fixup(struct source *s, const char *name)
{
	struct section *section = &s->section[s->engine];
	void *bigger = grow(s, section->fixup, section->fixups, &section->fixup_room,
			    sizeof(*section->fixup));

	if (!bigger)
		return false;
	section->fixup = bigger;
	section->fixup[section->fixups].index = section->count;
	strcpy(section->fixup[section->fixups++].name, name);
	return true;
}

/* Pairs of hexadecimal digits into buf; how many, or -1. */
static long hex(const char *at, uint8_t *buf, size_t bytes)
{
	size_t n = 0;

	for (;;) {
		unsigned int value;

		while (isspace((unsigned char)*at))
			at++;
		if (!*at)
			return n;
		if (n == bytes || !isxdigit((unsigned char)at[0]) ||
		    !isxdigit((unsigned char)at[1]))
			return -1;
		sscanf(at, "%2x", &value);
		buf[n++] = value;
		at += 2;
	}
}

static bool add_bytes(struct source *s, const char *at)
{
	size_t most = strlen(at) / 2 + 1;
	long n;

	if (s->raw_room - s->raw_bytes < most) {
		uint8_t *bigger = realloc(s->raw, s->raw_room * 2 + most);

		if (!bigger) {
			s->no_memory = true;
			return fail(&s->error, "out of memory");
		}
		s->raw = bigger;
		s->raw_room = s->raw_room * 2 + most;
	}
	n = hex(at, s->raw + s->raw_bytes, most);
	if (n < 0)
		return fail(&s->error, ".bytes: pairs of hexadecimal digits are wanted");
	s->raw_bytes += n;
	return true;
}

static bool directive(struct source *s, const char *at)
{
	char name[WORD_MAX] = "";
	struct kiln_insn insn;
	int64_t n, minor;

	at++;
	word(&at, name);
	while (isblank((unsigned char)*at))
		at++;
	if (!strcmp(name, "bytes")) {
		if (s->any)
			return fail(&s->error, ".bytes: only in a text of nothing else");
		if (!s->raw && !(s->raw = malloc(s->raw_room = 64))) {
			s->no_memory = true;
			return fail(&s->error, "out of memory");
		}
		return add_bytes(s, at);
	}
	if (s->raw)
		return fail(&s->error, ".%s: only .bytes may follow .bytes", name);
	s->any = true;
	if (!strcmp(name, "engine")) {
		char engine[WORD_MAX] = "";

		word(&at, engine);
		for (s->engine = 0; s->engine < KILN_ENGINES; s->engine++)
			if (!strcasecmp(engine, kiln_engine_names[s->engine]))
				return !*at || fail(&s->error, ".engine %s: something behind it",
						    engine);
		s->engine = -1;
		return fail(&s->error, ".engine %s: tensor, vector, scalar, gpsimd or sync "
			    "is wanted", engine);
	}
	if (!strcmp(name, "generation")) {
		if (s->engine >= 0)
			return fail(&s->error, ".generation: before the first .engine");
		if (!number(&at, 0, 3, &n) || *at)
			return fail(&s->error, ".generation: 1 to 3, or 0 for any, is wanted");
		s->header.generation = n;
		return true;
	}
	if (!strcmp(name, "args")) {
		if (!number(&at, 0, UINT32_MAX, &n) || *at)
			return fail(&s->error, ".args: bytes of the argument block are wanted");
		s->header.args_bytes = n;
		s->args = true;
		return true;
	}
	if (!strcmp(name, "transient")) {
		if (*at)
			return fail(&s->error, ".transient: something behind it");
		s->header.flags |= KILN_PROGRAM_TRANSIENT;
		return true;
	}
	if (!strcmp(name, "isa")) {
		if (!number(&at, 0, UINT16_MAX, &n) || !take(&at, '.') ||
		    !number(&at, 0, UINT16_MAX, &minor) || *at)
			return fail(&s->error, ".isa: MAJOR.MINOR is wanted");
		s->header.isa_major = n;
		s->header.isa_minor = minor;
		return true;
	}
	if (!strcmp(name, "insn")) {
		if (s->engine < 0)
			return fail(&s->error, ".insn: .engine comes first");
		if (hex(at, (uint8_t *)&insn, sizeof(insn)) != sizeof(insn))
			return fail(&s->error, ".insn: 128 pairs of hexadecimal digits are wanted");
		return add_insn(s, &insn, 0);
	}
	return fail(&s->error, ".%s: there are .generation, .args, .transient, .isa, .engine, .insn and .bytes",
		    name);
}

/* An instruction without regard to what only the whole can show. */
static bool check_insn(struct source *s, const struct kiln_insn *insn)
{
	struct kiln_check check = text_check(s->header.generation, UINT32_MAX, MAX_ARGS * 8);
	char why[160];

	if (kiln_check_insn(&check, s->engine, insn) == KILN_FITS)
		return true;
	text_complaint(&check, why, sizeof(why));
	return fail(&s->error, "%s: %s", kiln_rules[insn->opcode].name, why);
}

static bool statement(struct source *s, char *line)
{
	char name[WORD_MAX], target[WORD_MAX] = "";
	struct kiln_insn insn;
	const char *at;
	char *end;

	end = strchr(line, '#');
	if (end)
		*end = 0;
	end = line + strlen(line);
	while (end > line && isspace((unsigned char)end[-1]))
		*--end = 0;
	for (;;) {
		while (isspace((unsigned char)*line))
			line++;
		at = line;
		if (!word(&at, name) || isdigit((unsigned char)*name) || *at != ':')
			break;
		if (s->engine < 0)
			return fail(&s->error, "%s: .engine comes first", name);
		if (!add_label(s, name))
			return false;
		line = (char *)at + 1;
	}
	if (!*line)
		return true;
	if (*line == '.')
		return directive(s, line);
	if (s->raw)
		return fail(&s->error, "an instruction, where only .bytes may follow .bytes");
	if (s->engine < 0)
		return fail(&s->error, "an instruction, but .engine comes first");
	s->any = true;
	if (!parse_insn(line, &insn, target, &s->error) || !check_insn(s, &insn))
		return false;
	if (*target && !add_fixup(s, target))
		return false;
	return add_insn(s, &insn, s->line);
}

/* Labels, and what depends on the whole: targets and arguments. */
static bool finish(struct source *s)
{
	uint32_t args = s->header.args_bytes;

	for (int e = 0; e < KILN_ENGINES; e++) {
		struct section *section = &s->section[e];

		if (!sort_labels(s, section))
			return false;
		for (uint32_t i = 0; i < section->fixups; i++) {
			const struct fixup *f = &section->fixup[i];
			const struct label *label = find_label(section, f->name);

			s->line = section->line[f->index];
			if (!label)
				return fail(&s->error, "there is no label %s on this engine",
					    f->name);
			section->insn[f->index].seq.target = label->index;
		}
		for (uint32_t i = 0; i < section->count; i++) {
			const struct kiln_insn *insn = &section->insn[i];

			if (section->line[i] && !s->args && insn->opcode == KILN_OP_LDARG &&
			    args < (insn->seq.slot + 1u) * 8)
				args = (insn->seq.slot + 1u) * 8;
		}
	}
	s->header.args_bytes = args;
	for (int e = 0; e < KILN_ENGINES; e++) {
		struct section *section = &s->section[e];
		struct kiln_check check = text_check(s->header.generation, section->count, args);

		for (uint32_t i = 0; i < section->count; i++) {
			char why[160];

			if (!section->line[i] ||
			    kiln_check_insn(&check, e, &section->insn[i]) == KILN_FITS)
				continue;
			s->line = section->line[i];
			text_complaint(&check, why, sizeof(why));
			return fail(&s->error, "%s: %s",
				    kiln_rules[section->insn[i].opcode].name, why);
		}
	}
	return true;
}

int kiln_asm_parse(const char *text, void **program, size_t *bytes, char *error,
		   size_t error_bytes)
{
	struct source s = {
		.header = { .isa_major = KILN_ISA_MAJOR, .isa_minor = KILN_ISA_MINOR },
		.engine = -1,
	};
	char why[512] = "";
	struct kiln_insn *insn[KILN_ENGINES];
	uint32_t count[KILN_ENGINES];
	struct text_locale locale;
	bool good = true;
	int err = 0;

	s.error = (struct error) { why, sizeof(why) };
	if (!text_enter(&locale))
		return -ENOMEM;
	while (good && *text) {
		size_t n = strcspn(text, "\n");
		char *line = strndup(text, n);

		s.line++;
		if (!line)
			s.no_memory = true;
		good = line && statement(&s, line);
		free(line);
		text += n + (text[n] == '\n');
	}
	good = good && (s.raw || finish(&s));
	if (!good) {
		err = s.no_memory ? -ENOMEM : -EINVAL;
		if (error_bytes)
			snprintf(error, error_bytes, "line %u: %s", s.line, why);
	} else if (s.raw) {
		*program = s.raw;
		*bytes = s.raw_bytes;
		s.raw = NULL;
	} else {
		for (int e = 0; e < KILN_ENGINES; e++) {
			insn[e] = s.section[e].insn;
			count[e] = s.section[e].count;
		}
		err = kiln_program_layout(&s.header, insn, count, program, bytes);
		if (err && error_bytes)
			snprintf(error, error_bytes, "%s", err == -ENOMEM ? "out of memory" :
				 "the program is larger than 4 GiB");
	}
	for (int e = 0; e < KILN_ENGINES; e++) {
		free(s.section[e].insn);
		free(s.section[e].line);
		free(s.section[e].label);
		free(s.section[e].fixup);
	}
	free(s.raw);
	text_leave(&locale);
	return err;
}
