#!/bin/bash
# SPDX-License-Identifier: MIT
# kiln profile: a trace of what a command's card did, the same cycles as without, and a clear word where there is none.
. tests/tap.sh

kiln=$KILN_BUILD/bin/kiln
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=("$kiln" run matmul --m 256 --n 512 --k 256 --transport sim --json)

said=$("$kiln" profile -o "$work/trace" -- "${run[@]}" 2>"$work/err")
is "$(grep -o '"cycles": [0-9]*' <<<"$said")" "$("${run[@]}" | grep -o '"cycles": [0-9]*')" "the cycles of a run without it"
grep -q 'busy: Tensor [0-9.]* %, .*DMA [0-9.]* %; busiest: ' "$work/err"
ok $? "a summary" "busy: Tensor ..." "$(cat "$work/err")"
for event in '"name":"MATMUL","ph":"X","pid":0,"tid":1,' '"name":"DMA_COPY","ph":"X","pid":0,"tid":1[0-9],' '"name":"wait","ph":"X"' '"name":"command","ph":"X","pid":0,"tid":0,' '"args":{"name":"DMA ring 15"}'; do
	grep -q "$event" "$work/trace"
	ok $? "in the trace: $event"
done
if command -v python3 >/dev/null; then
	works "the trace is JSON" python3 -m json.tool "$work/trace" /dev/null
else
	skip "the trace is JSON" "no python3"
fi
is "$(sed -nE 's/.*"name":"command".*"dur":([0-9.]+).*/\1/p' "$work/trace" | cut -d. -f1)" \
	"$("${run[@]}" | sed -nE 's/.*"device_us": ([0-9]+).*/\1/p')" "the command takes its device time"

# refuses STATUS WHAT TEXT ARGUMENTS...
refuses() {
	local status=$1 what=$2 text=$3 said rc=0
	shift 3
	said=$("$kiln" profile "$@" 2>&1) || rc=$?
	[ "$rc" -eq "$status" ] && grep -q -e "$text" <<<"$said"
	ok $? "$what" "status $status and $text" "status $rc and $said"
}
refuses 2 "no command" "a command is wanted"
refuses 2 "a file that is there" "is there already" -o "$work/trace" -- true
refuses 1 "a command without a card" "no trace" -o "$work/none" -- true
refuses 127 "a command that is none" "No such file" -o "$work/none" -- "$work/nothing"
refuses 2 "an option that is none" "no option --x" --x
refuses 1 "a file that cannot be made" "KILN_PROFILE: $work/no/where: No such file" -o "$work/no/where" -- "${run[@]}"
done_testing
