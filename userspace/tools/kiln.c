// SPDX-License-Identifier: MIT
/* kiln: what the card is, a run of an op, a test of all of it. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "kiln.h"
#include "options.h"

static const char help[] =
"usage: kiln info [--json] [--transport T]\n"
"       kiln run matmul --m M --n N --k K [OPTION...]\n"
"       kiln run attention --heads H --seq-q S --seq-kv S --dim D [OPTION...]\n"
"       kiln run softmax|rmsnorm|layernorm|unary|binary|glu --width W [OPTION...]\n"
"       kiln run gather|rope|reduce|topk [OPTION...]\n"
"       kiln explain OP [OPTION...] [--generation trn1|trn2|trn3] [--prices FILE] [--json]\n"
"       kiln profile [-o FILE] [--prices FILE] [--generations] -- COMMAND\n"
"       kiln profile --report TRACE [-o PAGE] [--prices FILE]\n"
"       kiln selftest [--submit W] [--transport T] [--repeat N]\n"
"       kiln top [--once [--json]] [--period MS]\n"
"       kiln asm FILE [-o PROGRAM]\n"
"       kiln disasm PROGRAM\n"
"       kiln decode-dump FILE\n"
"       kiln help | version\n"
"\n"
"info      what card this is and how much of its memory is in use\n"
"run       one op on the card: time, device time, and with --check the error\n"
"explain   how long an op would take on a chip, without running it: what bounds it, how busy\n"
"          the engines are, what it would cost by a FILE with lines \"trn2 DOLLARS-PER-CHIP-HOUR\"\n"
"profile   a command, and what its cards did when: FILE for Perfetto (kiln-profile.json), a page\n"
"          FILE.html for a browser, and a summary; of sim cards with their engines and DMA;\n"
"          --generations: run it on the other two as well, for time and cost\n"
"selftest  a table of them, each checked; exit status 1 if one is wrong\n"
"top       who uses the cards: cores, memory, contexts, queues, processes; q ends it\n"
"asm       a program from text (docs/isa.md), to PROGRAM or standard output; - is standard input\n"
"disasm    the text of a program, from which asm makes the same again\n"
"decode-dump  what the driver left of a fault or a reset, /sys/class/devcoredump/devcd*/data\n"
"\n"
"Options of every op:\n"
"  --dtype bf16|f32|f16 of the inputs (default bf16, or what the files hold)\n"
"  --seed N             for inputs that are not read from files (default 1)\n"
"  --repeat N           run it N times, show the fastest (default 1)\n"
"  --check              compare with float64 on this CPU\n"
"  --out FILE           write the result: .npy, f4 (int8's: i4)\n"
"  --out-raw            write the result's bits: .npy, u2 for bf16, f2, u1 for fp8\n"
"  --json               one JSON object\n"
"  --dump-program FILE  the program that ran, for kiln disasm\n"
"  --submit uring|ioctl (default io_uring, or the ioctl where that is forbidden)\n"
"  --transport drm[:/dev/accel/accelN] | sim[:generation=trn2,cores=1,hbm=4G,threads=1,time=only]\n"
"matmul: C = A B\n"
"  --batch N  --trans-a  --trans-b\n"
"  --dtype ...|e4m3|e5m2|i8  --out-dtype f32|bf16|f16|e4m3|e5m2, or of int8 i32|f32\n"
"  --a FILE --b FILE    .npy, [m, k] and [k, n] (transposed if so said), or three\n"
"                       dimensions with the batch first; sizes need not be given then\n"
"attention: softmax(scale Q K') V, head by head\n"
"  --batch N  --kv-heads H  --causal  --window W  --softcap X\n"
"  --scale X (default 1 / sqrt(dim))\n"
"  --q FILE --k FILE --v FILE   .npy, [heads, seq_q, dim], [kv_heads, seq_kv, dim],\n"
"                       or with the batch first\n"
"  --mask FILE          added to the scores: what broadcasts to [batch, heads, seq_q, seq_kv]\n"
"  --slopes FILE        ALiBi: [heads]\n"
"softmax, rmsnorm, layernorm: of each row of x\n"
"  --rows N  --width W  --scale X | --eps X (default 1e-5)\n"
"  --x FILE  --weight FILE  --bias FILE (layernorm)\n"
"unary: func(scale x + shift)\n"
"  --func copy|exp|square|relu|abs|sigmoid|tanh|gelu|gelu_tanh|gelu_quick|silu|softplus|mish|\n"
"         erf|log|sin|cos|arctan|sqrt|rsqrt|reciprocal|sign\n"
"  --rows N  --width W  --scale X  --shift X  --out-dtype T  --x FILE\n"
"binary: a func b, with NumPy's broadcasting\n"
"  --func add|subtract|multiply|divide|max|min  --rows N  --width W  --out-dtype T\n"
"  --a FILE  --b FILE\n"
"glu: func(gate) up\n"
"  --func F (default silu)  --rows N  --width W  --gate FILE  --up FILE\n"
"gather: rows of a table\n"
"  --table-rows N  --rows N  --width W  --table FILE  --index FILE ('<u4' or '<i4')\n"
"rope: rotary embedding\n"
"  --tokens N  --heads H  --dim D  --rotated D  --interleaved\n"
"  --x FILE  --cos FILE  --sin FILE  --positions FILE  --table-rows N\n"
"reduce: over the middle one of three dimensions\n"
"  --func sum|mean|max|min  --outer N  --n N  --inner N  --out-dtype T  --x FILE\n"
"topk: the k greatest of each row\n"
"  --k K  --rows N  --width W  --x FILE  --out-indices FILE\n"
"Files hold '<f4', '<f8' or '<f2', bf16 bits as '<u2' or '|V2', '|i1', or fp8 bits as '|u1'.\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "info", command_info },
	{ "run", command_run },
	{ "explain", command_explain },
	{ "profile", command_profile },
	{ "selftest", command_selftest },
	{ "top", command_top },
	{ "asm", command_asm },
	{ "disasm", command_disasm },
	{ "decode-dump", command_decode_dump },
};

static int finish(int status)
{
	/* A full disk or a closed pipe must not look like success. */
	if (fflush(stdout) || ferror(stdout)) {
		if (!status)
			perror("kiln: standard output");
		return status ? status : 1;
	}
	return status;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage_error("kiln", "a command is wanted: info, run, explain, profile, selftest, top, asm, disasm, decode-dump or help");
	for (int i = 1; i < argc; i++) {
		if ((i == 1 && !strcmp(argv[i], "help")) || !strcmp(argv[i], "--help") ||
		    !strcmp(argv[i], "-h")) {
			fputs(help, stdout);
			return finish(0);
		}
	}
	if (!strcmp(argv[1], "version") || !strcmp(argv[1], "--version")) {
		printf("kiln %d.%d.%d\n", KILN_VERSION_MAJOR, KILN_VERSION_MINOR,
		       KILN_VERSION_PATCH);
		return finish(0);
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return finish(commands[i].run(argc - 2, argv + 2));
	return usage_error("kiln", "there is no command \"%s\": there are info, run, explain, profile, selftest, top, asm, disasm, decode-dump and help",
			   argv[1]);
}
