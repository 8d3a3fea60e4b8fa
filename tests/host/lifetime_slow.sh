#!/bin/bash
# SPDX-License-Identifier: MIT
# The card comes and goes while two processes compute: unplugged and plugged in again, reset as a function, unbound and
# bound. Every command ends, the next card computes. Once on a plain machine, once behind an IOMMU, which sees no bad DMA.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# shellcheck disable=SC2016 # the guest's shell
guest='
	. tests/tap.sh
	echo "@run $(sed "s/.*guestrun=\([^ ]*\).*/\1/" /proc/cmdline)"
	load=$KILN_BUILD/tests/guest/helper_load
	card=$(basename "$(readlink -f /sys/class/accel/accel0/device)")
	there() { for _ in $(seq 300); do [ -e /sys/bus/pci/drivers/kiln/"$card" ] && return; sleep 0.1; done; return 1; }
	gone() { for _ in $(seq 300); do [ -e /sys/bus/pci/devices/"$card" ] || return 0; sleep 0.1; done; return 1; }
	start() {
		timeout 90 "$load" 60 >/tmp/load 2>&1 &
		pid=$!
		for _ in $(seq 300); do grep -q ready /tmp/load && break; sleep 0.1; done
		grep -q ready /tmp/load && ! grep -q Bail /tmp/load
		ok $? "$1: two processes compute" ready "$(cat /tmp/load)" || { done_testing; exit 1; }
	}
	ends() {
		wait $pid
		ok $? "  every command ends, no result is wrong" "status 0" "$(cat /tmp/load)"
		! sed -n "s/.* res=\([-0-9]*\) .*/\1/p" /tmp/load | grep -vxE -e "-(5|19|125)"
		ok $? "  with an errno that says it" "-EIO, -ENODEV or -ECANCELED" "$(cat /tmp/load)"
	}
	computes() { works "$1" timeout 60 kiln run matmul --m 64 --n 64 --k 64 --check; }

	for round in 1 2; do
		start "unplugged"
		echo "@qmp {\"execute\": \"device_del\", \"arguments\": {\"id\": \"kiln0\"}}"
		ends
		gone
		ok $? "  it leaves the bus"
		echo "@wait DEVICE_DELETED"
		echo "@qmp {\"execute\": \"device_add\", \"arguments\": {\"driver\": \"kiln\", \"id\": \"kiln0\", \"bus\": \"port0\", \"hbm\": 1073741824}}"
		there
		ok $? "  plugged in, it is found" "a card in $card" "$(ls /sys/bus/pci/drivers/kiln)"
		computes "  and computes"
	done
	for round in 1 2; do
		start "function reset"
		echo 1 >/sys/bus/pci/devices/"$card"/reset
		ends
		computes "  the card computes"
	done
	start "unbound"
	echo "$card" >/sys/bus/pci/drivers/kiln/unbind
	ends
	echo "$card" >/sys/bus/pci/drivers/kiln/bind
	computes "  bound again, the card computes"
	start "firmware crash"
	echo "@qmp {\"execute\": \"qom-set\", \"arguments\": {\"path\": \"kiln0\", \"property\": \"inject\", \"value\": \"firmware-crash\"}}"
	ends
	computes "  the card computes"
	if [ -d /sys/class/iommu/dmar0 ]; then
		ok 0 "the card is behind an IOMMU"
		[ -e /sys/bus/pci/devices/"$card"/iommu_group ]
		ok $? "  in a group"
		! dmesg | grep DMAR: | grep -i fault
		ok $? "  which has refused nothing" "no fault" "$(dmesg | grep -i "DMAR:.*fault" | head -n 5)"
	fi
	done_testing'

machine() {
	local rc
	QEMU_ARGS=$1 KILN_CONSOLE=$dir/console CPUS=2 tests/machine/guest -- "$guest" 2>"$dir/err" |
		tests/machine/tree python3 tests/host/_qmp.py >"$dir/out"
	rc=${PIPESTATUS[0]}
	sed "s/^\(ok\|not ok\) [0-9]* - /\1 - $2: /; /^1\.\./d" "$dir/out"
	count=$((count + $(grep -cE '^(ok|not ok)' "$dir/out")))
	[ "$rc" -eq 0 ] || sed 's/^/# /' "$dir/err"
	grep -q '^1\.\.' "$dir/out" || echo "Bail out! $2: it did not get to its end, status $rc"
	if grep -qE 'BUG:|WARNING:|Oops:|Call Trace:|refcount_t:|Kernel panic|hung task' "$dir/console"; then
		echo "Bail out! $2: the kernel log is not clean"
		grep -E -m 3 -A 12 'BUG:|WARNING:|Oops:|Call Trace:|refcount_t:|Kernel panic|hung task' "$dir/console" | sed 's/^/# /'
	fi
}
count=0
machine "" plain
machine "-device intel-iommu" "intel-iommu"
echo "1..$count"
