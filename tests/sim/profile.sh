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
for event in '"name":"MATMUL","ph":"X","pid":0,"tid":1,' '"name":"DMA_COPY","ph":"X","pid":0,"tid":1[0-9],' '"name":"wait","ph":"X"' '"name":"matmul","ph":"X","pid":0,"tid":0,' '"args":{"name":"DMA ring 15"}'; do
	grep -q "$event" "$work/trace"
	ok $? "in the trace: $event"
done
if command -v python3 >/dev/null; then
	works "the trace is JSON" python3 -m json.tool "$work/trace" /dev/null
else
	skip "the trace is JSON" "no python3"
fi
is "$(sed -nE 's/.*"name":"matmul","ph":"X".*"dur":([0-9.]+).*/\1/p' "$work/trace" | cut -d. -f1)" \
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
touch "$work/other.html"
refuses 2 "a page that is there" "other.html is there already" -o "$work/other" -- true
refuses 2 "a value that is missing" "wants a value" --prices
refuses 2 "prices that are not there" "No such file" --prices "$work/none" -- true
refuses 1 "a command without a card" "no trace" -o "$work/none" -- true
refuses 127 "a command that is none" "No such file" -o "$work/none" -- "$work/nothing"
refuses 2 "an option that is none" "no option --x" --x
refuses 1 "a file that cannot be made" "KILN_PROFILE: $work/no/where: No such file" -o "$work/no/where" -- "${run[@]}"

# The page: everything in it, and nothing from elsewhere.
for part in '<title>kiln profile' 'bounds it' 'How busy' '<td>HBM</td>' '<td>SBUF</td>' '<td>PSUM</td>' 'aria-label="roofline"' \
	'TFLOP/s, bf16' 'aria-label="busy over time"' '<td>matmul (' '</html>'; do
	grep -qF "$part" "$work/trace.html"
	ok $? "on the page: $part"
done
! grep -qE 'src=|href=|url\(|<script|@import' "$work/trace.html"
ok $? "the page needs nothing else"
if command -v python3 >/dev/null; then
	works "the page's tags close" python3 - "$work/trace.html" <<'END'
import html.parser, sys
class Page(html.parser.HTMLParser):
    stack = []
    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "path", "rect"): self.stack.append(tag)
    def handle_startendtag(self, tag, attrs): pass
    def handle_endtag(self, tag):
        if self.stack.pop() != tag: sys.exit(f"</{tag}> at {self.getpos()}")
page = Page()
page.feed(open(sys.argv[1]).read())
sys.exit(f"open at the end: {page.stack}" if page.stack else 0)
END
else
	skip "the page's tags close" "no python3"
fi

# Sums and figures agree with what kiln explain has of the same op.
echo "trn2 2880" >"$work/prices"
op=(matmul --m 512 --n 512 --k 512)
"$kiln" profile -o "$work/sums" --prices "$work/prices" -- "$kiln" run "${op[@]}" --transport sim >"$work/said" 2>&1
explained=$("$kiln" explain "${op[@]}" --generation trn2 --prices "$work/prices" --json)
field() { sed -nE "s/.*\"$1\": ?([0-9.e+-]+).*/\1/p" <<<"$2" | head -n 1; }
total=$(grep '^"total"' "$work/sums")
is "$(awk "BEGIN { printf \"%.3f\", $(field device_s "$total") * 1e6 }")" "$(field device_us "$explained")" "device time as explained"
is "$(field hbm_bytes "$total")" "$(field hbm_bytes "$explained")" "bytes of HBM as explained"
is "$(field operations "$total")" $((2 * 512 * 512 * 512)) "operations of the product"
is "$(awk "BEGIN { printf \"%.1f\", 100 * $(field at_peak_s "$total") / $(field device_s "$total") }")" \
	"$(printf %.1f "$(field peak_pct "$explained")")" "the share of the peak as explained"
grep -qF "<b>\$$(printf %.3g "$(field dollars "$explained")")</b>" "$work/sums.html"
ok $? "what it cost" "$(field dollars "$explained")" "$(grep -o '<b>\$[^<]*' "$work/sums.html")"
is "$(grep -c '"ph":"b","cat":"host"' "$work/sums")" "$(field commands "$total")" "each command's time on the host is in the trace"

# Of a command that is killed there is what was until then, as a whole trace.
# killed AT: after so many bytes
killed() {
	rm -f "$work/cut" "$work/cut.html"
	# shellcheck disable=SC2016 # expanded by that shell
	refuses 137 "a command that is killed after $1 bytes" "$2" -o "$work/cut" -- sh -c \
		'trace=$KILN_PROFILE at=$1; shift; "$@" >/dev/null 2>&1; head -c "$at" "$trace" >"$trace.part"; cat "$trace.part" >"$trace"; kill -9 $$' \
		sh "$1" "${run[@]}"
}
whole=$(wc -c <"$work/trace")
for at in $((whole / 2)) $((whole / 2 + 1)) $((whole / 2 + 77)) $((whole - 3000)); do
	killed "$at" "the command was killed; the trace has what was until then"
	[ -e "$work/cut.html" ] && grep -q 'The command was killed' "$work/cut.html"
	ok $? "a page of it"
	if command -v python3 >/dev/null; then
		works "it is JSON" python3 -m json.tool "$work/cut" /dev/null
	fi
done
killed 100 "before its card did anything"
[ ! -e "$work/cut.html" ]
ok $? "and no page"

# The same command on the other generations, each with the device time that explain has for it.
echo "trn1 1152" >>"$work/prices"
"$kiln" profile -o "$work/all" --prices "$work/prices" --generations -- "$kiln" run "${op[@]}" --transport sim >"$work/said" 2>&1
for g in 1 2 3; do
	is "$(sed -nE "s/^  on trn$g: ([0-9.]+) us of device time.*/\1/p" "$work/said")" \
		"$(field device_us "$("$kiln" explain "${op[@]}" --generation trn$g --json)")" "device time on trn$g"
done
is "$(grep -c '^  on trn.*\$' "$work/said")" 2 "dollars where there is a price"
grep -q '<td>trn2 (this run)</td>.*<td>1.00 x</td>' "$work/all.html"
ok $? "they are on the page"
is "$(find "$work" -name 'all.trn*' | wc -l)" 0 "no other traces are left"
"$kiln" profile -o "$work/fixed" --generations -- "$kiln" run "${op[@]}" --transport sim:generation=trn3 >"$work/said" 2>&1
is "$(grep -c 'trn[12]: not known' "$work/said")" 2 "a command that says its generation itself"
refuses 2 "generations of a trace that is there" "runs a command" --generations --report "$work/trace"
said=$(KILN_GENERATION=trn9 "${run[@]}" 2>&1)
grep -q "KILN_GENERATION is trn1, trn2 or trn3" <<<"$said"
ok $? "a generation that is none" "KILN_GENERATION is ..." "$said"

# refused WHAT TEXT: a trace that is none
refused() {
	rm -f "$work/page"
	refuses 1 "$1" "$2" --report "$work/bad" -o "$work/page"
	[ ! -e "$work/page" ]
	ok $? "$1: no page"
}
works "a page of a trace that is there" "$kiln" profile --report "$work/trace" -o "$work/again"
cmp -s "$work/again" "$work/trace.html"
ok $? "it is the same page"
: >"$work/bad"; refused "an empty trace" "line 1: the file is empty"
echo hello >"$work/bad"; refused "something else" "no trace of kiln profile"
echo '{"displayTimeUnit":"ns","traceEvents":[' >"$work/bad"; refused "an old trace" "an older kiln"
sed 1s/trace.2/trace\ 7/ "$work/trace" >"$work/bad"; refused "a trace of another version" "version 7, this kiln reads 2"
head -c 5000 "$work/trace" >"$work/bad"; refused "a trace cut short" "the trace ends here"
sed '/^"kiln"/,$d' "$work/trace" >"$work/bad"; refused "a trace without its sums" "the trace ends here"
sed 40s/ph/hp/ "$work/trace" >"$work/bad"; refused "a broken event" "line 40: this is no event"
sed 's/"dma_s":[0-9.]*/"dma_s":x/' "$work/trace" >"$work/bad"; refused "broken sums" "no sums of a program"
sed 's/"generation":2/"generation":9/' "$work/trace" >"$work/bad"; refused "a card that is none" "what card it was"
head -c 100000 /dev/urandom >"$work/bad"; refused "noise" "line 1: this is no trace"
{ head -n 1 "$work/trace"; head -c 100000 /dev/zero | tr '\0' x; } >"$work/bad"; refused "an endless line" "line 2: this is no "
refuses 1 "a trace that is not there" "No such file" --report "$work/none" -o "$work/page"
refuses 2 "a trace and a command" "no command" --report "$work/trace" -- true

done_testing
