#!/bin/sh
# SPDX-License-Identifier: MIT
# kiln asm and kiln disasm: what libkiln's ops generate comes back byte for byte.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0 failed=0

ok() {
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; failed=1; fi
}

# trip NAME OP ARGUMENT...: run, dump, disassemble, assemble, compare
trip() {
	name=$1
	shift
	kiln run "$@" --transport sim --dump-program "$work/p" >"$work/out" 2>&1 &&
		kiln disasm "$work/p" >"$work/text" && kiln asm "$work/text" -o "$work/q" &&
		cmp "$work/p" "$work/q" >"$work/out" 2>&1
	status=$?
	ok $status "$name: the same bytes again"
	[ $status -eq 0 ] || sed 's/^/# /' "$work/out"
	! grep -qE '^\.bytes|\.insn' "$work/text"
	ok $? "$name: every instruction has a name"
}

trip "matmul bf16" matmul --m 128 --n 128 --k 128
trip "matmul fp32, transposed, odd" matmul --m 100 --n 77 --k 301 --dtype f32 --trans-a --trans-b
trip "matmul batched" matmul --m 33 --n 600 --k 129 --batch 3
trip "attention causal" attention --heads 4 --kv-heads 2 --seq-q 160 --seq-kv 160 --dim 64 --causal
trip "attention decode" attention --heads 8 --kv-heads 2 --seq-q 1 --seq-kv 500 --dim 128
trip "attention fp32" attention --heads 2 --seq-q 40 --seq-kv 90 --dim 32 --dtype f32

head -c 1000 /dev/urandom >"$work/p"
kiln disasm "$work/p" | kiln asm - >"$work/q"
cmp "$work/p" "$work/q"
ok $? "random bytes: the same again"

: >"$work/p"
kiln disasm "$work/p" | kiln asm - -o "$work/q"
cmp "$work/p" "$work/q"
ok $? "no bytes at all: the same again"

# refuse STATUS TEXT COMMAND...: exit status, and one line that has the text in it
refuse() {
	want=$1 text=$2
	shift 2
	"$@" >"$work/out" 2>"$work/err"
	status=$?
	[ $status -eq "$want" ] && grep -qF -- "$text" "$work/err" && [ "$(wc -l <"$work/err")" -eq 1 ]
	good=$?
	ok $good "$* says $text"
	[ $good -eq 0 ] || { echo "# status $status"; sed 's/^/# /' "$work/err"; }
}

printf '.engine vector\n\tadd rd=r1 rs=r2\n' >"$work/bad"
refuse 1 "line 2: rt is missing" kiln asm "$work/bad" -o "$work/q"
refuse 2 "a file is wanted" kiln asm
refuse 2 "-o needs a file" kiln asm "$work/bad" -o
refuse 2 "no option --fast" kiln asm --fast "$work/bad"
refuse 1 "No such file" kiln asm "$work/none"
printf "a\\0b" >"$work/zero"
refuse 1 "this is not text" kiln asm "$work/zero" -o "$work/q"
refuse 1 "No such file" kiln run matmul --m 8 --n 8 --k 8 --transport sim --dump-program "$work/no/p"
refuse 2 "one file is wanted" kiln disasm
refuse 1 "No such file" kiln disasm "$work/none"
refuse 1 "File too large" kiln disasm /dev/zero
echo "1..$n"
exit $failed
