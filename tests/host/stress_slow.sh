#!/bin/bash
# SPDX-License-Identifier: MIT
# A short one of what `make stress` does, on the debug kernel: calls in every way, kills, resets, unplugs, broken cards, and good
# work beside them. Nothing is reported, lost or wrong.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
out=$(mktemp)
trap 'rm -f "$out"' EXIT

tests/stress/run 60 "${SEED:-$RANDOM}" >"$out" 2>&1
ok $? "a minute of stress" "status 0" "$(grep -E -A 30 '^#|^kiln: stress|not clean|unreferenced' "$out" | head -n 60)"
score() { sed -nE "s/.*\"stress_$1\", \"value\": ([^,]*),.*/\1/p" build/bench/stress.json; }
for name in reports leaks wrong lost unexplained failed_events; do is "$(score $name)" 0 "  $name"; done
for name in calls kills unplugs resets hung_cards card_faults failed_allocations right; do
	[ "$(score $name)" -gt 0 ]
	ok $? "  $name: $(score $name)" "some" "$(score $name)"
done
done_testing
