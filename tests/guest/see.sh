#!/bin/bash
# SPDX-License-Identifier: MIT
# What can be seen of a card at work: sysfs, fdinfo, debugfs, tracepoints, kiln top.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
kiln=${KILN_BUILD:-build/tree}/bin/kiln
dev=/sys/class/accel/accel0/device
debug=/sys/kernel/debug/accel/$(basename "$(readlink -f $dev)")
[ -d "$debug" ] || debug=/sys/kernel/debug/accel/0
trace=/sys/kernel/tracing
dir=$(mktemp -d)
worker=
trap '[ -z "$worker" ] || kill "$worker" 2>/dev/null; rm -rf "$dir"' EXIT
py() { python3 -c "$@"; }

# has TEXT PATTERN WHAT
has() { grep -qE -- "$2" <<<"$1"; ok $? "$3" "$2" "$1"; }

# --- sysfs ---
info=$("$kiln" info --json)
same() { is "$(py "import json,sys; print(json.loads(sys.argv[1])['$1'])" "$info")" "$(cat $dev/$2)" "sysfs: $2 as kiln info has it"; }
same generation generation
same cores cores
same clock_khz clock_khz
same fw_version firmware_version
same hbm_bytes hbm_total
is "$(cat $dev/state)" ready "sysfs: state"
cores=$(cat $dev/cores)
for name in busy_ns cycles commands; do
	is "$(wc -w <$dev/stats/core_$name)" "$cores" "sysfs: core_$name has a figure for each core"
done
before=$(cat $dev/stats/commands)
"$kiln" run matmul --m 256 --n 256 --k 256 >"$dir/log" 2>&1
ok $? "a matmul" "status 0" "$(cat "$dir/log")"
below "$before" "$(cat $dev/stats/commands)" "sysfs: commands are counted"
below 0 "$(cat $dev/stats/uptime_ns)" "sysfs: uptime"
below 0 "$(cat $dev/stats/doorbells)" "sysfs: doorbells"

# --- somebody at work, until he is killed ---
(while :; do "$kiln" run matmul --m 512 --n 512 --k 512 --repeat 1000; done >/dev/null 2>&1) &
worker=$!
at_work() { pgrep -P "$worker" -x kiln | head -n 1; }
fd() { local f; for f in /proc/"$1"/fd/*; do case $(readlink "$f") in /dev/accel/*) echo "${f##*/}"; return ;; esac; done; }
pid='' n=
for _ in $(seq 100); do
	pid=$(at_work) n=$([ -z "$pid" ] || fd "$pid")
	[ -n "$n" ] && [ "$(awk '/^kiln-commands/ { print $2 }' "/proc/$pid/fdinfo/$n" 2>/dev/null || echo 0)" -gt 2 ] && break
	sleep 0.1
done
said=$(cat "/proc/$pid/fdinfo/$n")
for key in 'drm-driver:	kiln' 'drm-client-id:	[0-9]+' "drm-pdev:	$(basename "$(readlink -f $dev)")" 'drm-engine-core:	[1-9][0-9]* ns' \
	"drm-engine-capacity-core:	$cores" 'drm-cycles-core:	[1-9]' 'drm-maxfreq-core:	[1-9][0-9]* KHz' \
	'drm-total-hbm:	[1-9][0-9]* [KM]iB' 'drm-resident-hbm:	[1-9]' 'drm-shared-hbm:	0' 'drm-total-memory:	[0-9]' \
	'kiln-contexts:	1' 'kiln-queues:	[1-9]' 'kiln-commands:	[1-9]'; do
	has "$said" "^$key" "fdinfo: $key"
done

# --- kiln top ---
"$kiln" top --once --json --period 300 >"$dir/top"
ok $? "kiln top --once --json"
py '
import json, sys
top = json.load(open(sys.argv[1]))
card = top["cards"][0]
p = card["processes"][0]
assert card["name"] == "accel0" and card["state"] == "ready", card
assert len(card["cores"]) == int(sys.argv[2]), card
assert any(c["busy_ns"] > 0 and c["cycles"] > 0 for c in card["cores"]), card
assert all(0 <= c["busy"] <= 1 for c in card["cores"]), card
assert 0 < card["hbm_used_bytes"] < card["hbm_bytes"], card
assert p["command"] == "kiln" and p["uid"] == 0 and p["contexts"] == 1 and p["queues"] >= 1, p
assert p["hbm_bytes"] >= 3 * 512 * 512 * 2 and p["share"] in (0, 1), p
assert len(card["processes"]) == 1, card
' "$dir/top" "$cores" 2>"$dir/why"
ok $? "it shows the card, its cores and the process" "one process at work" "$(tail -n 1 "$dir/why")"
said=$("$kiln" top --once --period 50)
has "$said" "^accel0  $(cat $dev/generation)  firmware $(cat $dev/firmware_version)  ready  up " "kiln top --once: the card"
has "$said" "core $((cores - 1)) \[[| ]{40}\]" "kiln top --once: a bar for each core"
has "$said" "^ *[0-9]+ root +accel0 +1 +[1-9].* kiln$" "kiln top --once: the process"
# On a terminal: it draws, and ends with q.
said=$(py '
import os, pty, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "top", "--period", "100"])
out, end = b"", time.time() + 60
while out.count(b"COMMAND") < 3 and time.time() < end:
    if select.select([fd], [], [], 1)[0]:
        out += os.read(fd, 65536)
os.write(fd, b"q")
while True:
    try:
        more = os.read(fd, 65536)
    except OSError:
        break
    if not more:
        break
    out += more
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), out.count(b"COMMAND") >= 3, out.endswith(b"\033[?25h\033[?1049l"))
' "$kiln")
is "$said" "0 True True" "kiln top on a terminal draws, ends with q, and leaves the terminal as it was"
# Without root: no process but one's own, and it says so.
said=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$kiln" top --once --json --period 50)
is "$(py 'import json, sys; t = json.loads(sys.argv[1]); print(t["cards"][0]["processes"], t["hidden"] > 0, t["cards"][0]["hbm_used_bytes"] > 0)' "$said")" \
	"[] True True" "kiln top of a user shows the card and not the processes of others"
bad() {	# STATUS WORDS ARGUMENTS...
	local status=$1 words=$2 rc=0 said
	shift 2
	said=$("$kiln" top "$@" 2>&1 </dev/null) || rc=$?
	[ $rc -eq "$status" ] && grep -qF -- "$words" <<<"$said"
	ok $? "kiln top $*" "status $status: $words" "status $rc: $said"
}
bad 2 'use --once'
bad 2 '--json needs --once' --json
bad 2 'from 10 to' --once --period 0
bad 2 'no option --tea' --tea

# --- debugfs ---
has "$(cat "$debug/contexts")" '^[0-9]+ [0-9]+ 64 0 0 [1-9]' "debugfs: contexts"
has "$(cat "$debug/queues")" '^[0-9]+ [0-9]+ 64 ' "debugfs: queues"
has "$(cat "$debug/page_tables")" '^[0-9]+ 0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ hbm rw$' "debugfs: page tables"

# --- tracepoints ---
echo 1 >$trace/events/kiln/enable
"$kiln" run matmul --m 64 --n 64 --k 64 >"$dir/log" 2>&1
ok $? "a matmul under trace" "status 0" "$(cat "$dir/log")"
pid=$(at_work)
kill "$worker" $pid && wait "$worker" 2>/dev/null
worker=
said=$(cat $trace/trace)
for event in 'kiln_submit: queue=[0-9]+ cookie' 'kiln_doorbell: queue=[1-9]' 'kiln_doorbell: queue=0' 'kiln_complete: queue=[0-9]+ .* status=0' \
	'kiln_admin: opcode=0x41 id=[1-9][0-9]* result=0' 'kiln_admin: opcode=0x46 .* result=0'; do
	has "$(grep -m 3 -E "$event" <<<"$said")" "$event" "trace: $event"
done
for _ in $(seq 100); do [ "$(wc -l <"$debug/contexts")" -eq 1 ] && break; sleep 0.1; done
is "$(wc -l <"$debug/contexts")" 1 "debugfs: no context is left"
echo 0 >$trace/events/kiln/enable
echo >$trace/trace

# --- the firmware's own words ---
"$KILN_BUILD/tests/guest/abi_submit" >/dev/null 2>&1
has "$(cat "$debug/firmware_log")" 'context [0-9]+ stopped: status 6' "debugfs: the firmware's log tells of a page fault"
has "$(cat "$debug/firmware_log" | tr -d '\n' | tr -d '[:print:]' | wc -c)" '^0$' "debugfs: and holds nothing but text"
done_testing
