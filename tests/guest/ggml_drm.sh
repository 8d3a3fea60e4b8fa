#!/bin/bash
# SPDX-License-Identifier: MIT
# The ggml plug-in on /dev/accel/accel0: what tests/sim/ggml.sh samples on the simulated card, a few cases of it.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
suite=/usr/libexec/x86_64-linux-gnu/ggml/test-backend-ops
export GGML_BACKEND_PATH=${KILN_BUILD:-build/tree}/lib/libggml-kiln.so

sample() {
	local said good
	said=$("$suite" test -b Kiln0 -o "$1" ${2:+-p "$2"} 2>&1 | sed 's/\x1b\[[0-9;]*m//g')
	good=$(grep -c '): OK$' <<<"$said")
	[ "$good" -gt 0 ] && grep -q '^2/2 backends passed' <<<"$said" && grep -q 'Kiln trn.* (/dev/accel/accel0)' <<<"$said"
	ok $? "$1${2:+, $2}: $good pass" "some pass, none fails" "$(grep -E 'FAIL|kiln:' <<<"$said" | head -n 4)"
}

sample SQR 'type=f32'
sample ADD 'type=f16,ne=\[10,5,4,3\]'
sample MUL_MAT 'type_a=(bf16|q4_K),type_b=f32,m=16,n=[1-2],k=256,bs=\[1,1\],nr=\[1,1\]'
sample SOFT_MAX 'ne=\[16,2,32,1\],mask=1,sinks=0,m_prec=f16'
done_testing
