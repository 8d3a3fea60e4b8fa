#!/bin/bash
# SPDX-License-Identifier: MIT
# Two cards that share buffers, on the kernel that watches over DMA mappings, behind an IOMMU: nothing is mapped any more when
# the driver has left a card, whatever its tenants were doing.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export DEVICES=2 HBM=1G

# machine NAME: the same there, from the environment.
machine() {
	# shellcheck disable=SC2016 # the guest's shell
	QEMU_ARGS="-device intel-iommu" CPUS=2 TIMEOUT=300 KILN_CONSOLE=$dir/console tests/machine/guest -- '
		"$KILN_BUILD/tests/guest/helper_two_cards"; echo "status $?"
		[ -d /sys/class/iommu/dmar0 ]; echo "iommu $?"
		timeout 60 "$KILN_BUILD/tests/guest/helper_load" 30 >/tmp/load 2>&1 &
		for _ in $(seq 300); do grep -q ready /tmp/load && break; sleep 0.1; done
		cd /sys/bus/pci/drivers/kiln || exit
		for card in 0000:*; do echo "$card" >unbind; echo "unbound $?"; done
		wait
		cat /tmp/load
		dmesg | grep -E "DMAR:.*fault|DMA-API: .*kiln" | head -n 5 | sed "s/^/kernel: /"
	' >"$dir/out" 2>"$dir/err"
	is $? 0 "$1: the guest's status" || sed 's/^/# /' "$dir/err"
	! grep -E -A 2 '^not ok|^Bail|SKIP' "$dir/out" >"$dir/bad"
	ok $? "  nothing fails, nothing is skipped" "" "$(cat "$dir/bad")"
	is "$(grep -c '^status 0' "$dir/out")" 1 "  two cards share buffers"
	is "$(grep -c '^iommu 0' "$dir/out")" 1 "  behind an IOMMU"
	is "$(grep -c '^unbound 0' "$dir/out")" 2 "  the driver leaves both, one of them at work"
	is "$(sed -n 's/.* wrong=\([0-9]*\) lost=\([0-9]*\) .*/\1 \2/p' "$dir/out" | sort -u)" "0 0" "  no command is lost or wrong"
	is "$(grep '^kernel: ' "$dir/out")" "" "  and nothing is left mapped, nor was it missing"
	tests/machine/reports "$dir/console" >"$dir/said"
	ok $? "  the kernel log is clean" "" "$(cat "$dir/said")"
}
KERNEL=6.12 machine "Linux 6.12"
KERNEL=debug machine "debug kernel"
done_testing
