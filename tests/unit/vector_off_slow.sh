#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The engine without its vector paths passes the same tests: built apart, linked with the plain C alone.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
names=(engine_insns engine_insns_more engine_limits engine_run engine_ops fuzz_replay)

works "a build with VECTOR=off" make -s -C firmware-sim O="$out" VECTOR=off CC=gcc
works "its tests" make -s -C tests O="$out" CC=gcc "${names[@]/#/$out/tests/unit/}"
nm "$out/firmware-sim/libkilnsim.a" 2>/dev/null | grep -q kiln_ops_avx
is $? 1 "there are no vector paths in it"
for name in "${names[@]}"; do
	works "$name" "$out/tests/unit/$name"
done
done_testing
