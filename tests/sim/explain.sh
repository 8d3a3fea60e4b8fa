#!/bin/bash
# SPDX-License-Identifier: MIT
# kiln explain: the device time of a run, without one; and what it says to what it does not understand.
. tests/tap.sh

kiln=$KILN_BUILD/bin/kiln
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for generation in trn1 trn2 trn3; do
	for op in "matmul --m 300 --n 200 --k 257" "attention --heads 2 --seq-q 200 --seq-kv 200 --dim 64 --causal" \
		"softmax --rows 100 --width 300" "topk --k 8 --rows 64 --width 500"; do
		# shellcheck disable=SC2086
		is "$("$kiln" explain $op --generation $generation | sed -nE 's/.*, ([0-9]+) cycles.*/\1/p')" \
			"$("$kiln" run $op --transport sim:generation=$generation --json | sed -nE 's/.*"cycles": ([0-9]+).*/\1/p')" \
			"${op%% *} on $generation: the cycles of a run"
	done
done
is "$("$kiln" explain matmul --m 128 --n 128 --k 128 | grep -c '^trn')" 3 "without a generation, all of them"

# An hour of eight cores at 2880: 0.1 a second of one core
printf '# dollars\ntrn2 2880 # a chip\n\n' >"$work/prices"
said=$("$kiln" explain matmul --m 2048 --n 2048 --k 2048 --generation trn2 --prices "$work/prices")
us=$(sed -nE 's/.*time +([0-9.]+) us.*/\1/p' <<<"$said")
is "$(sed -nE 's/.*\$([0-9.e-]+) \(of.*/\1/p' <<<"$said")" "$(awk "BEGIN { printf \"%.3g\", $us * 1e-6 * 0.1 }")" "what it costs"
sed -nE 's/.*array.s peak.*/yes/p; s/.*bound by +PE/yes/p; s/.*Vector [0-9.]+ %.*/yes/p' <<<"$said" | grep -c yes >"$work/count"
is "$(cat "$work/count")" 3 "share of the peak, how busy, what bounds it"

json=$("$kiln" explain matmul --m 2048 --n 2048 --k 2048 --prices "$work/prices" --json)
is "$(grep -c '"generation": "trn' <<<"$json")" 3 "--json: an object for each generation"
is "$(grep -o '"dollars": [^}]*' <<<"$json" | cut -d' ' -f2 | sed 's/^[0-9].*/x/' | paste -sd' ')" "null x null" "--json: dollars where they are known"
if command -v python3 >/dev/null; then
	works "--json: it is JSON" python3 -m json.tool <<<"$json"
else
	skip "--json: it is JSON" "no python3"
fi

# refuses WHAT TEXT ARGUMENTS...
refuses() {
	local what=$1 text=$2 said rc=0
	shift 2
	said=$("$kiln" explain "$@" 2>&1) || rc=$?
	[ "$rc" -eq 2 ] && grep -q -e "$text" <<<"$said"
	ok $? "$what" "status 2 and $text" "status $rc and $said"
}
refuses "no op" "^kiln explain: an op is wanted: kiln help has the list$"
refuses "an op that is none" "^kiln explain: an op is wanted: .*; not sum$" sum
refuses "a generation that is none" "trn1, trn2 or trn3" matmul --m 1 --n 1 --k 1 --generation trn4
refuses "a generation without a name" "wants a value" matmul --m 1 --n 1 --k 1 --generation
refuses "a check of nothing" "no --check" matmul --m 1 --n 1 --k 1 --check
refuses "prices that are not there" "No such file" matmul --m 1 --n 1 --k 1 --prices "$work/none"
echo "trn2 cheap" >"$work/bad"
refuses "prices that are none" "line 1" matmul --m 1 --n 1 --k 1 --prices "$work/bad"
done_testing
