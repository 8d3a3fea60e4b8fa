#!/bin/bash
# SPDX-License-Identifier: MIT
# Ops of libkiln run under the sanitizer without a report, with the bits and cycles that they have without it.
. tests/tap.sh

err=$(mktemp)
trap 'rm -f "$err"' EXIT
kiln=$KILN_BUILD/bin/kiln

# quiet WHAT CMD...: works, and nothing is told but what ends a command on purpose
quiet() {
	local what=$1 rc=0
	shift
	KILN_SANITIZE=1 "$@" >/dev/null 2>"$err" || rc=$?
	sed -i '/sanitizer: limit:/d' "$err"
	[ "$rc" -eq 0 ] && ! grep -q sanitizer "$err"
	ok $? "$what: no report" "status 0 and no report" "status $rc, $(grep -m 3 sanitizer "$err")"
}

for generation in trn1 trn2 trn3; do
	quiet "selftest on $generation" "$kiln" selftest --transport "sim:generation=$generation"
done
for t in ops_norm ops_reduce ops_rows ops_topk ops_elements ops_pointwise ops_rotate ops_tensor_rows; do
	quiet "$t" "$KILN_BUILD/tests/sim/$t"
done

# Attention without the rows' maxima, and, with scores that want them, once more with them.
for scale in 0.1 20; do
	quiet "attention, 1100 queries, scale $scale" "$kiln" run attention --heads 2 --seq-q 1100 --seq-kv 1100 --dim 64 \
		--causal --scale $scale --check --transport sim
done

cycles() { "$kiln" run attention --heads 2 --seq-q 300 --seq-kv 300 --dim 64 --transport "$1" --json | grep -o '"cycles": [0-9]*'; }
is "$(cycles sim:sanitize=on)" "$(cycles sim)" "the same cycles with sanitize=on"
done_testing
