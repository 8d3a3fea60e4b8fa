#!/bin/bash
# SPDX-License-Identifier: MIT
# Another kernel takes over by kexec while two processes compute: it finds a card that is off, and that works as soon as it
# has a driver.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
dir=$(mktemp -d)
trap 'rm -rf "$dir" build/kexec' EXIT

# shellcheck disable=SC2016 # the tree's shell
KERNEL=6.12 tests/machine/tree sh -c 'mkdir -p build/kexec && cp /boot/vmlinuz-6.12* build/kexec/vmlinuz && cp "$0" build/kexec/' \
	"$(KERNEL=6.12 tests/machine/mkkernel)/initramfs"
ok $? "a kernel to boot" || { done_testing; exit 1; }

# Both kernels run it.
# shellcheck disable=SC2016 # the guest's shell
KERNEL=6.12 LOAD=no TIMEOUT=300 KILN_CONSOLE=$dir/console tests/machine/guest -- '
	again=/kiln/build/kexec/again helper=$KILN_BUILD/tests/guest/helper_kexec
	card=$(basename "$(dirname "$(grep -lx 0x120000 /sys/bus/pci/devices/*/class)")")
	if [ ! -e $again ]; then
		echo 1 >$again
		modprobe kiln
		"$KILN_BUILD/tests/guest/helper_load" 60 >/tmp/load 2>&1 &
		for _ in $(seq 300); do grep -q ready /tmp/load && break; sleep 0.1; done
		cat /tmp/load
		"$helper" build/kexec/vmlinuz build/kexec/initramfs
		exit 1
	fi
	echo "second $(cut -d. -f1 /proc/uptime)"
	"$helper" "$card"
	modprobe kiln
	timeout 60 kiln run matmul --m 64 --n 64 --k 64 --check >/tmp/log 2>&1; echo "computes $?"
	cat /tmp/log
' >"$dir/out" 2>"$dir/err"
is $? 0 "the guest's status" || sed 's/^/# /' "$dir/err"
is "$(grep -c '^ready' "$dir/out")" 1 "two processes compute"
grep -q '^second' "$dir/out"
ok $? "another kernel takes over" "second ..." "$(cat "$dir/out")"
is "$(grep '^bus-master' "$dir/out")" "bus-master 0" "the card may do no DMA"
is "$(grep '^magic' "$dir/out")" "magic 0x4e4c494b ctrl 0 status 0 heartbeat 0" "nor has it anything to do: it is off"
is "$(grep '^computes' "$dir/out")" "computes 0" "with a driver, it computes"
tests/machine/reports "$dir/console" >"$dir/said"
ok $? "both kernels' logs are clean" "" "$(cat "$dir/said")"
done_testing
