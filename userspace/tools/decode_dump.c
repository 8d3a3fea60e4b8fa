// SPDX-License-Identifier: MIT
/* kiln decode-dump: what the driver left of a fault or a reset (kiln/dump.h), as text. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "kiln_asm.h"
#include "options.h"
#include <kiln/dump.h>

#define AROUND	8	/* instructions shown before and after the one at fault */

static const char *const statuses[] = {
	"ok", "bad command", "bad program", "illegal instruction", "operand out of limits",
	"beyond SBUF or PSUM", "page fault", "host memory does not answer", "timeout", "deadlock",
	"stopped with its context", "aborted", "bad state", "no space",
};

static const char *const engines[] = { "tensor", "vector", "scalar", "gpsimd", "sync" };

static const struct {
	uint32_t offset;
	const char *name;
} registers[] = {
	{ KILN_REG_MAGIC, "MAGIC" },
	{ KILN_REG_HW_VERSION, "HW_VERSION" },
	{ KILN_REG_GENERATION, "GENERATION" },
	{ KILN_REG_CORES, "CORES" },
	{ KILN_REG_HBM_SIZE_LO, "HBM_SIZE_LO" },
	{ KILN_REG_HBM_SIZE_HI, "HBM_SIZE_HI" },
	{ KILN_REG_CLOCK_KHZ, "CLOCK_KHZ" },
	{ KILN_REG_CTRL, "CTRL" },
	{ KILN_REG_STATUS, "STATUS" },
	{ KILN_REG_ERROR, "ERROR" },
	{ KILN_REG_FW_VERSION, "FW_VERSION" },
	{ KILN_REG_DRV_VERSION, "DRV_VERSION" },
	{ KILN_REG_ADMIN_SQ_LO, "ADMIN_SQ_LO" },
	{ KILN_REG_ADMIN_SQ_HI, "ADMIN_SQ_HI" },
	{ KILN_REG_ADMIN_CQ_LO, "ADMIN_CQ_LO" },
	{ KILN_REG_ADMIN_CQ_HI, "ADMIN_CQ_HI" },
	{ KILN_REG_ADMIN_CTL_LO, "ADMIN_CTL_LO" },
	{ KILN_REG_ADMIN_CTL_HI, "ADMIN_CTL_HI" },
	{ KILN_REG_ADMIN_LOG2, "ADMIN_LOG2" },
	{ KILN_REG_HEARTBEAT, "HEARTBEAT" },
	{ KILN_REG_FAULTS, "FAULTS" },
	{ KILN_REG_LOG_HEAD, "LOG_HEAD" },
};

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define NAME(array, i)	((i) < COUNT(array) ? (array)[i] : "?")

/* A dump, checked: each section lies inside. */
struct dump {
	const uint8_t *data;
	struct kiln_dump_header header;
};

/* The section at *at, and on to the next one. */
static struct kiln_dump_section next(const struct dump *dump, uint64_t *at, const uint8_t **content)
{
	struct kiln_dump_section section;

	memcpy(&section, dump->data + *at, sizeof(section));
	*content = dump->data + *at + sizeof(section);
	*at += sizeof(section) + (section.bytes + 7) / 8 * 8;
	return section;
}

/* NULL, or what is wrong. */
static const char *check(struct dump *dump, const void *data, size_t bytes)
{
	uint64_t at = sizeof(dump->header);

	if (bytes < sizeof(dump->header))
		return "too short for a dump";
	dump->data = data;
	memcpy(&dump->header, data, sizeof(dump->header));
	dump->header.reason[sizeof(dump->header.reason) - 1] = 0;
	if (dump->header.magic != KILN_DUMP_MAGIC)
		return "not a dump of a Kiln card";
	if (dump->header.version != KILN_DUMP_VERSION)
		return "a dump of another version: use the kiln that came with the driver";
	if (dump->header.bytes > bytes)
		return "cut off: copy it again";
	for (uint32_t i = 0; i < dump->header.sections; i++) {
		struct kiln_dump_section section;

		if (dump->header.bytes - at < sizeof(section))
			return "broken: a section lies outside";
		memcpy(&section, dump->data + at, sizeof(section));
		if (section.bytes > dump->header.bytes - at - sizeof(section))
			return "broken: a section lies outside";
		at += sizeof(section) + (section.bytes + 7) / 8 * 8;
		if (at > dump->header.bytes)
			return "broken: a section lies outside";
	}
	return NULL;
}

/* The content of the first section of a type, as much of it as fits; false: there is none. */
static bool find(const struct dump *dump, uint32_t type, void *to, size_t bytes)
{
	uint64_t at = sizeof(dump->header);
	const uint8_t *content;

	for (uint32_t i = 0; i < dump->header.sections; i++) {
		struct kiln_dump_section section = next(dump, &at, &content);

		if (section.type != type)
			continue;
		memcpy(to, content, section.bytes < bytes ? section.bytes : bytes);
		return true;
	}
	return false;
}

static void print_registers(const uint8_t *content, uint64_t bytes)
{
	struct kiln_dump_register reg;

	printf("\nregisters\n");
	for (; bytes >= sizeof(reg); content += sizeof(reg), bytes -= sizeof(reg)) {
		const char *name = "";

		memcpy(&reg, content, sizeof(reg));
		for (size_t i = 0; i < COUNT(registers); i++)
			if (registers[i].offset == reg.offset)
				name = registers[i].name;
		printf("  0x%03x %-14s 0x%08x\n", reg.offset, name, reg.value);
	}
}

/* Whatever the card has written there: nothing that a terminal could take for a command. */
static void print_log(const uint8_t *content, uint64_t bytes)
{
	printf("\nfirmware log\n");
	for (uint64_t i = 0; i < bytes; i++) {
		if (!i || content[i - 1] == '\n')
			printf("  ");
		putchar(content[i] == '\n' || (content[i] >= ' ' && content[i] < 127) ? content[i] : '?');
	}
	if (bytes && content[bytes - 1] != '\n')
		putchar('\n');
}

static void print_fault(const struct kiln_dump_fault *f)
{
	const struct kiln_completion *c = &f->completion;
	const struct kiln_cmd *cmd = &f->command;

	printf("\nfault\n");
	printf("  status       %u, %s\n", c->status, NAME(statuses, c->status));
	printf("  where        core %u, %s, instruction %u, label %u\n", c->core,
	       NAME(engines, c->engine), c->instruction, c->label);
	printf("  address      %#" PRIx64 "\n", c->fault_addr);
	printf("  who          process %u, context %u, queue %u, command %#" PRIx64 "\n", f->pid,
	       f->context, f->queue, c->cookie);
	printf("  when         %.3f s after the firmware's boot, after %.3f ms\n", c->end_ns / 1e9,
	       (c->end_ns - c->start_ns) / 1e6);
	if (cmd->opcode == KILN_CMD_EXEC)
		printf("  program      %#" PRIx64 ", %u bytes; arguments %#" PRIx64 ", %u bytes\n",
		       cmd->exec.program, KILN_PROGRAM_BYTES(cmd->param), cmd->exec.args,
		       KILN_ARGS_BYTES(cmd->param));
	if (cmd->exec.wait_addr)
		printf("  waits for    %#" PRIx64 " >= %" PRIu64 "\n", cmd->exec.wait_addr,
		       cmd->exec.wait_value);
	if (cmd->exec.signal_addr)
		printf("  signals      %#" PRIx64 " = %" PRIu64 "\n", cmd->exec.signal_addr,
		       cmd->exec.signal_value);
}

static void print_ctl(uint64_t queue, const uint8_t *content, uint64_t bytes)
{
	struct kiln_ring_ctl ctl = { 0 };

	memcpy(&ctl, content, bytes < sizeof(ctl) ? bytes : sizeof(ctl));
	printf("\nring indices of queue %" PRIu64 "\n", queue);
	printf("  driver       sq_tail %u, cq_head %u, cq_event %u\n", ctl.sq_tail, ctl.cq_head,
	       ctl.cq_event);
	printf("  card         sq_head %u, sq_event %u, cq_tail %u\n", ctl.sq_head, ctl.sq_event,
	       ctl.cq_tail);
}

static void print_sq(uint32_t index, const uint8_t *content, uint64_t bytes)
{
	struct kiln_cmd cmd;

	printf("\nsubmission ring\n  index      opcode cookie             program            args               wait for           signal\n");
	for (; bytes >= sizeof(cmd); content += sizeof(cmd), bytes -= sizeof(cmd), index++) {
		memcpy(&cmd, content, sizeof(cmd));
		/* No command has the cookie 0: nothing was here yet. */
		if (!cmd.cookie)
			continue;
		printf("  %-10u %#-6x %#-18" PRIx64 " %#-18" PRIx64 " %#-18" PRIx64 " %#-18" PRIx64 " %#" PRIx64 "\n",
		       index, cmd.opcode, cmd.cookie, cmd.exec.program, cmd.exec.args,
		       cmd.exec.wait_addr, cmd.exec.signal_addr);
	}
}

static void print_cq(uint32_t index, const uint8_t *content, uint64_t bytes)
{
	struct kiln_completion c;

	printf("\ncompletion ring\n  index      cookie             core cycles       ms         status\n");
	for (; bytes >= sizeof(c); content += sizeof(c), bytes -= sizeof(c), index++) {
		memcpy(&c, content, sizeof(c));
		if (!c.cookie)
			continue;
		printf("  %-10u %#-18" PRIx64 " %-4u %-12" PRIu64 " %-10.3f %s\n", index, c.cookie,
		       c.core, c.cycles, (c.end_ns - c.start_ns) / 1e6, NAME(statuses, c.status));
	}
}

static void print_walk(uint64_t addr, const uint8_t *content, uint64_t bytes)
{
	unsigned int levels = bytes / 8, level;
	uint64_t entry = 0;

	printf("\npage tables at %#" PRIx64 "\n", addr);
	for (level = 0; level < levels; level++) {
		bool leaf;

		memcpy(&entry, content + 8 * level, sizeof(entry));
		leaf = level == KILN_PT_LEVELS - 1 || entry & KILN_PTE_LARGE;
		printf("  level %u [%3u] 0x%016" PRIx64 "  ", level,
		       (unsigned int)(addr >> (KILN_PAGE_SHIFT + 9 * (KILN_PT_LEVELS - 1 - level))) &
			       (KILN_PT_ENTRIES - 1), entry);
		if (!(entry & KILN_PTE_VALID))
			printf("not mapped\n");
		else if (!leaf)
			printf("table at %#" PRIx64 "\n", (uint64_t)(entry & KILN_PTE_ADDR));
		else
			printf("%s page, %s, at %#" PRIx64 " of %s\n",
			       entry & KILN_PTE_LARGE ? "2 MiB" : "4 KiB",
			       entry & KILN_PTE_WRITE ? "writable" : "read-only",
			       (uint64_t)(entry & KILN_PTE_ADDR),
			       entry & KILN_PTE_HOST ? "host memory" : "HBM");
	}
}

static void print_args(uint64_t addr, const uint8_t *content, uint64_t bytes)
{
	printf("\narguments at %#" PRIx64 "\n", addr);
	for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t value;

		memcpy(&value, content + i, sizeof(value));
		printf("  [%2" PRIu64 "] 0x%016" PRIx64 "  %" PRIu64 "\n", i / 8, value, value);
	}
}

/*
 * The instructions around the one at fault. The disassembler's text is lines:
 * .engine, then one that begins with a tab for each instruction, and comments.
 */
static int print_program(uint64_t addr, const uint8_t *content, uint64_t bytes,
			 const struct kiln_dump_fault *fault)
{
	const char *engine = fault ? NAME(engines, fault->completion.engine) : NULL;
	uint32_t at = fault ? fault->completion.instruction : 0, n = 0;
	bool here = !fault;
	size_t size;
	char *text = NULL, *line, *rest;
	FILE *out = open_memstream(&text, &size);
	int err = out ? kiln_asm_print(content, bytes, out) : -ENOMEM;

	if (out && fclose(out))
		err = -ENOMEM;
	if (err) {
		free(text);
		fprintf(stderr, "kiln decode-dump: %s\n", strerror(-err));
		return 1;
	}
	printf("\nprogram at %#" PRIx64 ", %" PRIu64 " bytes%s%s\n", addr, bytes,
	       fault ? ", around the fault: " : "", fault ? engine : "");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (fault && !strncmp(line, ".engine ", 8)) {
			here = !strcmp(line + 8, engine);
			n = 0;
		} else if (!here || (fault && (n + AROUND < at || n > at + AROUND))) {
			n += line[0] == '\t' && line[1] != '#';
		} else if (line[0] == '\t' && line[1] != '#') {
			printf("%s %6u %s\n", fault && n == at ? "=>" : "  ", n, line + 1);
			n++;
		} else {
			printf("          %s\n", line + (line[0] == '\t'));
		}
	}
	free(text);
	return 0;
}

static int print(const struct dump *dump)
{
	const struct kiln_dump_header *h = &dump->header;
	uint64_t at = sizeof(*h);
	struct kiln_dump_fault fault = { 0 };
	bool faulted = find(dump, KILN_DUMP_FAULT, &fault, sizeof(fault));
	int err = 0;

	printf("%.*s\n", (int)sizeof(h->reason), h->reason);
	printf("trn%u, %u cores, firmware %u.%u, hardware interface %u.%u, %.3f s after the machine's boot\n",
	       h->generation, h->cores, h->fw_version >> 16, h->fw_version & 0xffff,
	       h->hw_version >> 16, h->hw_version & 0xffff, h->time_ns / 1e9);
	for (uint32_t i = 0; i < h->sections; i++) {
		const uint8_t *content;
		struct kiln_dump_section s = next(dump, &at, &content);

		switch (s.type) {
		case KILN_DUMP_REGISTERS:
			print_registers(content, s.bytes);
			break;
		case KILN_DUMP_LOG:
			print_log(content, s.bytes);
			break;
		case KILN_DUMP_FAULT:
			print_fault(&fault);
			break;
		case KILN_DUMP_CTL:
			print_ctl(s.addr, content, s.bytes);
			break;
		case KILN_DUMP_SQ:
			print_sq(s.addr, content, s.bytes);
			break;
		case KILN_DUMP_CQ:
			print_cq(s.addr, content, s.bytes);
			break;
		case KILN_DUMP_WALK:
			print_walk(s.addr, content, s.bytes);
			break;
		case KILN_DUMP_PROGRAM:
			err |= print_program(s.addr, content, s.bytes, faulted ? &fault : NULL);
			break;
		case KILN_DUMP_ARGS:
			print_args(s.addr, content, s.bytes);
			break;
		default:
			printf("\nsection of type %u, which this kiln does not know: %" PRIu64 " bytes\n",
			       s.type, s.bytes);
		}
	}
	return err;
}

int command_decode_dump(int argc, char **argv)
{
	struct dump dump;
	const char *wrong;
	size_t bytes;
	char *data;
	int err = 1;

	if (argc != 1 || (argv[0][0] == '-' && argv[0][1]))
		return usage_error("kiln decode-dump",
				   "one file is wanted (/sys/class/devcoredump/devcd*/data), or - for standard input");
	data = read_all("kiln decode-dump", argv[0], &bytes);
	if (!data)
		return 1;
	wrong = check(&dump, data, bytes);
	if (wrong)
		fprintf(stderr, "kiln decode-dump: %s: %s\n", argv[0], wrong);
	else
		err = print(&dump);
	free(data);
	return err;
}
