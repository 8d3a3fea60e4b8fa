#!/bin/bash
# SPDX-License-Identifier: MIT
# Results and cycles do not depend on cores and threads. They are left for the test of the same name in the guest,
# whose CPU takes other ways through the engines than this machine's does.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
kiln=${KILN_BUILD:-build/tree}/bin/kiln
keep=${KILN_RESULTS:-${KILN_BUILD:-build/tree}/tests/results}/same_bits
rm -rf "$keep"
mkdir -p "$keep"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cycles() { sed -n 's/.*"cycles": \([0-9]*\).*/\1/p' "$1"; }

n=0
while read -r -a args; do
	n=$((n + 1))
	for card in cores=1,threads=1 cores=2,threads=1 cores=8,threads=2; do
		works "kiln run ${args[*]}, $card" "$kiln" run "${args[@]}" --transport "sim:$card" --json --out-raw --out "$dir/$card.npy"
		# A second time for what it says: works() keeps that to itself.
		"$kiln" run "${args[@]}" --transport "sim:$card" --json >"$dir/$card.json" 2>/dev/null
		[ "$card" != cores=1,threads=1 ] || continue
		cmp -s "$dir/cores=1,threads=1.npy" "$dir/$card.npy"
		ok $? "  the same bits as with one core" "the same" "$(cmp "$dir/cores=1,threads=1.npy" "$dir/$card.npy" 2>&1)"
		is "$(cycles "$dir/$card.json")" "$(cycles "$dir/cores=1,threads=1.json")" "  the same cycles"
	done
	mv "$dir/cores=1,threads=1.npy" "$keep/$n.npy"
	cycles "$dir/cores=1,threads=1.json" >"$keep/$n.cycles"
done <tests/sim/_same_bits.cases
done_testing
