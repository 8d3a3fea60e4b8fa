#!/bin/bash
# SPDX-License-Identifier: MIT
# The card behind the driver, and the sim transport on the guest's CPU, give what the sim layer's test of the same name
# got on the host's CPU: the same bits, the same cycles.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
kiln=${KILN_BUILD:-build/tree}/bin/kiln
kept=${KILN_RESULTS:-${KILN_BUILD:-build/tree}/tests/results}/same_bits
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
[ -e "$kept/1.npy" ] || { echo "1..0 # SKIP sim/same_bits_host has not run before"; exit 4; }
cycles() { sed -n 's/.*"cycles": \([0-9]*\).*/\1/p' "$1"; }
flags() { grep -m 1 '^flags' /proc/cpuinfo | tr ' ' '\n' | grep -E '^avx' | sort | tr '\n' ' '; }
echo "# this CPU: $(flags)"

n=0
while read -r -a args; do
	n=$((n + 1))
	for way in "--submit uring" "--submit ioctl" "--transport sim"; do
		# shellcheck disable=SC2086 # two words
		"$kiln" run "${args[@]}" $way --json --out-raw --out "$dir/out.npy" >"$dir/json" 2>"$dir/err"
		ok $? "kiln run ${args[*]} $way" "status 0" "$(cat "$dir/json" "$dir/err")"
		cmp -s "$kept/$n.npy" "$dir/out.npy"
		ok $? "  the host's bits" "the same" "$(cmp "$kept/$n.npy" "$dir/out.npy" 2>&1)"
		is "$(cycles "$dir/json")" "$(cat "$kept/$n.cycles")" "  the host's cycles"
		rm -f "$dir/out.npy"
	done
done <tests/sim/_same_bits.cases
done_testing
