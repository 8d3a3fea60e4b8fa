#!/bin/bash
# SPDX-License-Identifier: MIT
# The guest's tests of concurrency where several CPUs run at once: what one CPU never interleaves.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# shellcheck disable=SC2016 # the guest's shell
CPUS=3 TIMEOUT=540 KILN_CONSOLE=$dir/console tests/machine/guest -- '
	. tests/tap.sh
	[ "$(nproc)" -eq 3 ]
	ok $? "three CPUs" 3 "$(nproc)"
	for test in abi_submit.c abi_uring.c abi_kill.c isolation.c kill_work.c device_lost.c storm_slow.sh; do
		case $test in
		*.c) program=$KILN_BUILD/tests/guest/${test%.c} ;;
		*) program=tests/guest/$test ;;
		esac
		timeout -k 5 180 "$program" >/tmp/log 2>&1
		rc=$?
		[ $rc -eq 0 ] && ! grep -q "^not ok" /tmp/log && grep -q "^1\.\." /tmp/log
		ok $? "${test%.*}" "status 0, nothing that is not ok" "status $rc: $(grep -A 3 -E "^(not ok|Bail)" /tmp/log | head -n 12)"
	done
	done_testing' 2>"$dir/err"
rc=$?
[ $rc -eq 0 ] || sed 's/^/# /' "$dir/err"
[ $rc -ne 124 ] || tail -n 60 "$dir/console" | sed 's/^/# /'
if grep -qE 'BUG:|WARNING:|Oops:|Call Trace:|refcount_t:|Kernel panic' "$dir/console"; then
	echo "# the kernel log is not clean"
	grep -E -m 3 -A 12 'BUG:|WARNING:|Oops:|Call Trace:|refcount_t:|Kernel panic' "$dir/console" | sed 's/^/# /'
	exit 1
fi
exit $rc
