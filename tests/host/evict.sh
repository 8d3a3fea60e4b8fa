#!/bin/bash
# SPDX-License-Identifier: MIT
# A card with 64 MiB, so that tenants drive each other out of HBM.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
export HBM=64M
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# shellcheck disable=SC2016 # the guest's variables
tests/machine/guest -- '
	guest=$KILN_BUILD/tests/guest out=$KILN_BUILD/tests/results/evict
	cd /sys/kernel/tracing/events/kiln && echo 1 | tee kiln_evict/enable kiln_move/enable >/dev/null; cd /kiln
	"$guest/helper_evict"; echo "status $?"
	cd /sys/kernel/tracing/events/kiln && echo 0 | tee kiln_evict/enable kiln_move/enable >/dev/null; cd /kiln
	for what in "kiln_evict: .*suspended=1" "kiln_evict: .*suspended=0" "kiln_move: .*to=host" "kiln_move: .*to=hbm"; do
		echo "traced $(grep -c "$what" /sys/kernel/tracing/trace)"
	done
	"$guest/abi_bind"; echo "status $?"
	"$guest/helper_swap"; echo "status $?"
	echo 0x2 >/sys/module/drm/parameters/debug
	"$guest/helper_too_much"; echo "status $?"
	echo 0 >/sys/module/drm/parameters/debug
	dmesg | grep "do not fit" | tail -1
	for i in 1 2; do
		kiln run matmul --m 2048 --n 1536 --k 1536 --dtype f32 --check --json &
	done
	wait
	dmesg | grep -E "WARNING|BUG|eviction failed" | sed "s/^/kernel: /"
' >"$dir/out" 2>"$dir/err"
is $? 0 "64 MiB of HBM: the guest's status"
! grep -E '^not ok|SKIP|^Bail|^status [^0]' "$dir/out"
ok $? "nothing fails, nothing is skipped" "" "$(grep -E -A 3 '^not ok|SKIP|^Bail|^status [^0]' "$dir/out")"
is "$(grep -c '^status 0' "$dir/out")" 4 "four programs end well"
is "$(grep -c '^traced [1-9]' "$dir/out")" 4 "contexts suspended and resumed, and buffers that move there and back, are traced"
is "$(grep -c '"verdict": "ok"' "$dir/out")" 2 "two matmuls at once, each with 36 MiB of buffers, are right"
grep -q 'vm [0-9]*: [0-9]* bytes more .* do not fit' "$dir/out"
ok $? "who binds more than there is, is told why" "a line of the kernel log" "none"
is "$(grep -c '^kernel: ' "$dir/out")" 0 "the kernel has nothing to complain about"
sed -n 's/^\(not \)*ok [0-9]* - tenant/# tenant/p' "$dir/out"
done_testing
