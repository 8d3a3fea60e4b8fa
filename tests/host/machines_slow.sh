#!/bin/bash
# SPDX-License-Identifier: MIT
# Other machines than the usual one: what the variables ask for is what the guest has, the results on each are right and
# take the cycles that the sim transport says; what cannot be is said in one line. The guest command's status comes back.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
value() { sed -nE "s/.*\"$1\": \"?([^,\"}]*).*/\1/p" "$2"; }

# wrong WORDS VARIABLE=VALUE...: no guest, one line with the words in it
wrong() {
	local words=$1 rc=0
	shift
	env "$@" tests/machine/guest -- true >"$dir/out" 2>"$dir/err" || rc=$?
	grep -v '^kiln: guest: ' "$dir/err" >"$dir/lines"
	[ "$rc" -ne 0 ] && [ "$(wc -l <"$dir/lines")" -eq 1 ] && grep -qF -- "$words" "$dir/lines"
	ok $? "$* is refused" "a status, and one line with \"$words\"" "status $rc, $(cat "$dir/lines")"
}
wrong cores CORES=0
wrong cores CORES=9
wrong hbm HBM=3
wrong generation GENERATION=trn9
wrong DEVICES DEVICES=many

rc=0
BOOT_TIMEOUT=1 tests/machine/guest -- true >"$dir/out" 2>"$dir/err" || rc=$?
is "$rc" 124 "a guest that does not come up: the status"
is "$(grep -c 'did not come up within 1 s' "$dir/err")" 3 "  it was tried three times"

shape="--m 300 --n 200 --k 150 --seed 5 --json"
# machine CARDS GENERATION CORES: two guests can not be had for one's time, so all is asked in one.
machine() {
	local cards=$1 generation=$2 cores=$3 i rc=0
	# shellcheck disable=SC2016 # the guest's shell
	DEVICES=$cards GENERATION=$generation CORES=$cores HBM=1G tests/machine/guest -- '
		for card in /dev/accel/accel*; do
			kiln info --json --transport "drm:$card" && kiln run matmul '"$shape"' --check --transport "drm:$card"
		done
		echo "to stderr" >&2
		exit 7' >"$dir/out" 2>"$dir/err" || rc=$?
	is "$rc" 7 "$cards x $generation, $cores cores: the command's status"
	grep -q '^to stderr$' "$dir/err" && ! grep -q 'to stderr' "$dir/out"
	ok $? "  its stderr" "to stderr" "$(cat "$dir/err")"
	is "$(grep -c '"hbm_bytes": 1073741824,' "$dir/out")" "$cards" "  cards with 1 GiB"
	grep '"hbm_bytes"' "$dir/out" >"$dir/info"
	is "$(value generation "$dir/info" | sort -u)" "$generation" "  their generation"
	is "$(value cores "$dir/info" | sort -u)" "$cores" "  their cores"
	is "$(grep -c '"verdict": "ok"' "$dir/out")" "$cards" "  each computes"
	# shellcheck disable=SC2086 # words
	tests/machine/tree build/tree/bin/kiln run matmul $shape --transport "sim:generation=$generation,cores=$cores" >"$dir/sim"
	grep '"op"' "$dir/out" >"$dir/runs"
	is "$(value cycles "$dir/runs" | sort -u)" "$(value cycles "$dir/sim")" "  in the cycles that sim takes"
}
machine 2 trn1 1
machine 1 trn3 8

# A card small enough to be filled: buffers are moved out of HBM and come back.
HBM=64M tests/machine/guest -- '"$KILN_BUILD/tests/guest/abi_bind"' >"$dir/out" 2>"$dir/err"
is $? 0 "64 MiB of HBM: the status of abi_bind"
! grep -E '^not ok|SKIP' "$dir/out"
ok $? "  nothing fails, nothing is skipped" "" "$(grep -E -A 3 '^not ok|SKIP' "$dir/out")"
done_testing
