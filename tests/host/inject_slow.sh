#!/bin/bash
# SPDX-License-Identifier: MIT
# Faults of the card, injected while two processes compute. After each, every command has ended with an errno that says
# it, and the next process computes; a card that reads all ones is wedged, -ENODEV for everybody, until it is bound again.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# shellcheck disable=SC2016 # the guest's shell
CPUS=${CPUS:-2} KILN_CONSOLE=$dir/console tests/machine/guest -- '
	. tests/tap.sh
	echo "@run $(sed "s/.*guestrun=\([^ ]*\).*/\1/" /proc/cmdline)"
	load=$KILN_BUILD/tests/guest/helper_load
	card=$(basename "$(readlink -f /sys/class/accel/accel0/device)")
	inject() { echo "@qmp {\"execute\": \"qom-set\", \"arguments\": {\"path\": \"kiln0\", \"property\": \"inject\", \"value\": \"$1\"}}"; }
	ready() { for _ in $(seq 300); do grep -q ready /tmp/load && return; sleep 0.1; done; return 1; }
	computes() { works "$1" timeout 60 kiln run matmul --m 64 --n 64 --k 64 --check; }

	# round FAULT SECONDS RES: the load ends with RES (or goes on to its end with 0), within 30 s
	round() {
		timeout 60 "$load" "$2" >/tmp/load 2>&1 &
		pid=$!
		ready
		ok $? "$1: two processes compute"
		inject "$1"
		wait $pid
		ok $? "  every command ends, no result is wrong" "status 0" "$(cat /tmp/load)"
		is "$(sed -n "s/.* res=\([-0-9]*\) .*/\1/p" /tmp/load | sort -u | tr "\n" " ")" "$3 " "  with this result"
	}
	# resets: how often the card was
	resets() { sed -n "s/^resets //p" /sys/kernel/debug/accel/"$card"/card; }
	# hear: what userspace is told of the card; heard LINE: this
	hear() {
		"$KILN_BUILD/tests/guest/helper_uevent" WEDGED= >/tmp/event &
		heard=$!
		for _ in $(seq 300); do grep -q ready /tmp/event && break; sleep 0.1; done
	}
	heard() {
		wait $heard
		is "$(tail -n 1 /tmp/event)" "$1 DEVNAME=accel/accel0" "  a uevent says so"
	}
	# dumped TEXT: of what was on the card, to be read once; workers make and remove it. One that is there keeps the next away.
	dumps() { ls -d /sys/class/devcoredump/devcd* 2>/dev/null; }
	dumped() {
		for _ in $(seq 300); do [ -n "$(dumps)" ] && break; sleep 0.1; done
		dump=$(dumps)/data
		kiln decode-dump "$dump" >/tmp/dump 2>&1
		ok $? "  it leaves a dump" "status 0" "$(head -n 3 /tmp/dump)"
		head -n 1 /tmp/dump | grep -qE "$1" && grep -q "^registers" /tmp/dump && grep -A 2 "^firmware log" /tmp/dump | grep -q firmware
		ok $? "  with a reason, registers and log" "$1" "$(head -n 30 /tmp/dump)"
		echo 1 >"$dump"
		for _ in $(seq 300); do [ -z "$(dumps)" ] && break; sleep 0.1; done
		is "$(dumps)" "" "  which goes when it was read"
	}
	trace=/sys/kernel/tracing
	echo 1 >$trace/events/kiln/kiln_reset/enable
	for fault in firmware-crash firmware-hang bad-completion bad-index stuck-dma; do
		before=$(resets)
		hear
		round $fault:after=20 40 -5
		heard WEDGED=none
		dumped "has (stopped|no heartbeat)|does not (answer|go away)|keeps|talks nonsense"
		computes "  the card computes"
		is "$(resets)" $((before + 1)) "  after one reset"
	done
	is "$(grep -c kiln_reset: $trace/trace)" 5 "each was traced"
	before=$(resets)
	round lost-irq:after=20 6 0
	is "$(resets)" "$before" "  nothing was reset"
	round lost-irq:after=5+firmware-crash:after=40 30 -5
	computes "  and computes"

	hear
	round all-ones:after=20 40 -19
	heard WEDGED=rebind,bus-reset
	kiln info >/tmp/info 2>&1
	ok $((! $?)) "  nobody else can open it" "an error" "$(cat /tmp/info)"
	is "$(sed -n "s/^wedged //p" /sys/kernel/debug/accel/"$card"/card)" 1 "  it says that it is wedged"
	echo "$card" >/sys/bus/pci/drivers/kiln/unbind
	ok $? "  the driver can be unbound"
	# Back on the bus, with its registers as of power-on: the kernel has to set them again.
	inject none
	echo 1 >"/sys/bus/pci/devices/$card/remove"
	echo 1 >/sys/bus/pci/rescan
	for _ in $(seq 100); do [ -e /dev/accel/accel0 ] && break; sleep 0.1; done
	computes "  removed and found again, the card computes"
	done_testing' 2>"$dir/err" | tests/machine/tree python3 tests/host/_qmp.py | tee "$dir/out"
rc=${PIPESTATUS[0]}
[ "$rc" -eq 0 ] || sed 's/^/# /' "$dir/err"
if ! tests/machine/reports "$dir/console" >"$dir/said"; then
	echo "# the kernel log is not clean"
	sed 's/^/# /' "$dir/said"
	exit 1
fi
exit "$rc"
