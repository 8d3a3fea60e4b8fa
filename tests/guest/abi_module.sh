#!/bin/bash
# SPDX-License-Identifier: MIT
# Load and unload 50 times, with work in between; then the driver leaves a card that somebody is using.
# The debug kernel would take five minutes for as many times.
case $(uname -r) in *-kiln-debug) rounds=12 ;; *) rounds=50 ;; esac
work=$KILN_BUILD/tests/guest/abi_submit
n=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); echo "not ok $n - $1"; shift; printf '# %s\n' "$@"; }
check() { if "${@:2}"; then ok "$1"; else not_ok "$1" "$(dmesg | tail -n 3)"; fi; }

works() {
	"$work" >/tmp/work.tap && return
	grep -E '^(not ok|#|Bail)' /tmp/work.tap
	return 1
}

nodes() { ls /dev/accel 2>/dev/null | wc -l; }
slab() { awk '/^(Slab|KernelStack|VmallocUsed|Percpu):/ { s += $2 } END { print s }' /proc/meminfo; }
settle() { for _ in $(seq 100); do [ "$(nodes)" -eq "$1" ] && return 0; sleep 0.05; done; return 1; }

cards=$(nodes)
failed=
reload() {
	rmmod kiln || failed="rmmod in round $1"
	settle 0 || failed="a node is left in round $1"
	modprobe kiln || failed="modprobe in round $1"
	settle "$cards" || failed="no node in round $1"
}
for i in 1 2 3; do reload $i; done
before=$(slab)
for i in $(seq 4 $rounds); do
	reload "$i"
	[ -z "$failed" ] || break
done
echo 3 >/proc/sys/vm/drop_caches
after=$(slab)
if [ -z "$failed" ]; then ok "$rounds times rmmod and modprobe"; else not_ok "$rounds times rmmod and modprobe" "$failed"; fi
if [ $((after - before)) -lt 4096 ]; then
	ok "kernel memory does not grow ($before to $after kB)"
else
	not_ok "kernel memory does not grow" "expected about $before kB" "got $after kB"
fi
check "the card works" works

# A file that is open keeps the module.
exec 9<>/dev/accel/accel0
if rmmod kiln 2>/dev/null; then not_ok "rmmod with an open file is refused"; else ok "rmmod with an open file is refused"; fi

# Unbinding does not ask: whoever works gets errors, and nobody hangs.
card=$(basename "$(readlink -f /sys/class/accel/accel0/device)")
KILN_UNPLUG=1 "$KILN_BUILD/tests/guest/helper_unplugged" >/tmp/unplugged.tap &
pid=$!
for _ in $(seq 100); do grep -q working /tmp/unplugged.tap 2>/dev/null && break; sleep 0.05; done
echo "$card" >/sys/bus/pci/drivers/kiln/unbind
for _ in $(seq 200); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
if kill -0 $pid 2>/dev/null; then
	not_ok "a process at work when the card goes ends" "it hangs"
	kill -9 $pid
else
	check "a process at work when the card goes gets errors" wait $pid
	grep -E '^(not ok|#)' /tmp/unplugged.tap
fi
exec 9>&-
echo "$card" >/sys/bus/pci/drivers/kiln/bind
check "bind again" settle "$cards"
check "the card works" works

# Function reset below the driver: commands end in -EIO, and the next process finds a card that works.
KILN_UNPLUG=1 "$KILN_BUILD/tests/guest/helper_unplugged" --reset >/tmp/unplugged.tap &
pid=$!
for _ in $(seq 100); do grep -q working /tmp/unplugged.tap 2>/dev/null && break; sleep 0.05; done
echo 1 >"/sys/bus/pci/devices/$card/reset"
check "a process at work when the card is reset gets errors" wait $pid
grep -E '^(not ok|#)' /tmp/unplugged.tap
check "the card works" works
# A card that stops answering: it cannot reach memory any more. The driver finds out and resets it.
KILN_UNPLUG=1 "$KILN_BUILD/tests/guest/helper_unplugged" --reset >/tmp/unplugged.tap &
pid=$!
for _ in $(seq 100); do grep -q working /tmp/unplugged.tap 2>/dev/null && break; sleep 0.05; done
setpci -s "$card" COMMAND=0002
check "a process at work when the card falls silent gets errors" wait $pid
grep -E '^(not ok|#)' /tmp/unplugged.tap
check "the card works" works

rmmod kiln
check "rmmod" settle 0
modprobe kiln
check "modprobe" settle "$cards"
echo "1..$n"
