#!/bin/bash
# SPDX-License-Identifier: MIT
# kiln, the command: wrong arguments get one line and status 2; the right ones work; its output is what it says.
cd "$(dirname "$0")/../.." || exit
kiln=${KILN_BUILD:-build/tree}/bin/kiln
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0

result() {	# status, what
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
	return "$1"
}

# fails STATUS WORDS ARGUMENTS...: that status, nothing on stdout, one line on stderr with WORDS in it
fails() {
	local status=$1 words=$2 rc
	shift 2
	timeout 60 "$kiln" "$@" >"$dir/out" 2>"$dir/err"
	rc=$?
	[ $rc -eq "$status" ] && [ ! -s "$dir/out" ] && [ "$(wc -l <"$dir/err")" -eq 1 ] && grep -qF -- "$words" "$dir/err"
	result $? "kiln $*" || {
		echo "# expected status $status, one line with \"$words\""
		echo "# got status $rc"
		sed 's/^/# got stderr: /' "$dir/err"
		sed 's/^/# got stdout: /' "$dir/out"
	}
}
wrong() { fails 2 "$@"; }

# works ARGUMENTS...: status 0 and nothing on stderr
works() {
	local rc
	timeout 60 "$kiln" "$@" >"$dir/out" 2>"$dir/err"
	rc=$?
	[ $rc -eq 0 ] && [ ! -s "$dir/err" ]
	result $? "kiln $*" || {
		echo "# expected status 0"
		echo "# got status $rc"
		sed 's/^/# got /' "$dir/err" "$dir/out"
	}
}
says() { grep -qF -- "$1" "$dir/out"; result $? "  says $1" || sed 's/^/# got /' "$dir/out"; }

wrong 'a command is wanted'
wrong 'no command "frob"' frob
wrong 'no command ""' ''
wrong 'not an option' info x
wrong 'no option --xyz' info --xyz
wrong 'takes no value' info --json=yes
wrong 'needs a value' info --transport
wrong 'is empty' info --transport ''
wrong 'no transport' info --transport foo
wrong 'none of generation' info --transport sim:cores
wrong 'cores must be 1 to 8' info --transport sim:cores=0
wrong 'hbm must be' info --transport sim:hbm=3
wrong 'none of generation' info --transport sim:generation=trn9
wrong 'an op is wanted' run
wrong 'not frob' run frob
wrong '--m is missing' run matmul
wrong '--n is missing' run matmul --m 1 --k 1
wrong '--k is missing' run matmul --m 1 --n 1
for bad in 0 -1 x 1x 1.5 '' ' 1' 0x10 99999999999 18446744073709551616 +1; do
	wrong "--m" run matmul --m "$bad" --n 1 --k 1
done
wrong '--dtype f64: there are f32, bf16, f16, e4m3' run matmul --m 1 --n 1 --k 1 --dtype f64
wrong '--dtype i8: there are f32, bf16, f16' run softmax --width 5 --dtype i8
wrong '--submit mail: there are uring, ioctl' run matmul --m 1 --n 1 --k 1 --submit mail
wrong '--repeat 0' run matmul --m 1 --n 1 --k 1 --repeat 0
wrong '--seed x' run matmul --m 1 --n 1 --k 1 --seed x
wrong 'no transport' run matmul --m 1 --n 1 --k 1 --transport mars
wrong '2^40' run matmul --m 200000000 --n 200000000 --k 1 --transport sim
wrong '2^40' run matmul --m 1 --n 200000000 --k 200000000 --transport sim
wrong '--heads is missing' run attention
wrong '--dim is missing' run attention --heads 1 --seq-q 1 --seq-kv 1
wrong 'at most 128' run attention --heads 1 --seq-q 1 --seq-kv 1 --dim 129
wrong 'not a multiple' run attention --heads 3 --kv-heads 2 --seq-q 1 --seq-kv 1 --dim 8
wrong '--causal wants' run attention --heads 1 --seq-q 2 --seq-kv 1 --dim 8 --causal
wrong '--scale nan' run attention --heads 1 --seq-q 1 --seq-kv 1 --dim 8 --scale nan
wrong '--scale x' run attention --heads 1 --seq-q 1 --seq-kv 1 --dim 8 --scale x
wrong 'no option --trans-a' run attention --trans-a
wrong '--window wants' run attention --heads 1 --seq-q 2 --seq-kv 1 --dim 8 --window 1
wrong '--softcap inf' run attention --heads 1 --seq-q 2 --seq-kv 1 --dim 8 --softcap inf
for op in softmax rmsnorm layernorm glu; do wrong '--width is missing' run $op; done
wrong '--func is missing' run unary --width 3
wrong '--func frob: there are copy, exp' run unary --width 3 --func frob
wrong '--func is missing' run binary --width 3
wrong '--width is missing' run binary --func add
wrong '--table-rows is missing' run gather --rows 3 --width 4
wrong '--tokens is missing' run rope --heads 1 --dim 8
wrong '--func is missing' run reduce --n 4
wrong '--n is missing' run reduce --func sum
wrong '--k is missing' run topk --width 9
wrong 'no option --bias' run rmsnorm --width 9 --bias x
wrong '2^40' run reduce --func sum --outer 200000000 --n 200000000 --transport sim
wrong 'no option --frob' selftest --frob
wrong '--repeat 0' selftest --repeat 0
fails 1 'no Kiln card' info --transport drm 2>/dev/null
fails 1 'there is no /dev/nowhere' info --transport drm:/dev/nowhere
fails 1 'is no Kiln card' info --transport drm:/dev/null
fails 1 'HBM' run matmul --m 16384 --n 16384 --k 16 --dtype f32 --transport sim:hbm=64M

works help
says 'kiln run matmul'
works version
says 'kiln 0.'
works info --transport sim
says 'trn2'
works info --json --transport sim:generation=trn1,cores=2,hbm=1G
says '"generation": "trn1", "cores": 2, "hbm_bytes": 1073741824'
works run matmul --m 3 --n 5 --k 7 --check --transport sim
says 'ok'
works run matmul --m=3 --n=5 --k=7 --batch=2 --trans-a --trans-b --dtype=f32 --out-dtype=bf16 --check --transport=sim
works run attention --heads 2 --seq-q 5 --seq-kv 9 --dim 16 --check --transport sim
works run attention --heads 4 --kv-heads 2 --seq-q 5 --seq-kv 5 --dim 16 --causal --scale 0.5 --dtype f32 --check --transport sim --json
says '"verdict": "ok"'
for dtype in f32 bf16 f16; do
	t="--dtype $dtype --check --transport sim"
	works run attention --batch 2 --heads 4 --kv-heads 2 --seq-q 50 --seq-kv 70 --dim 16 --causal --window 20 --softcap 5 $t
	works run softmax --rows 7 --width 300 --scale 3 $t
	says 'ok'
	works run rmsnorm --rows 7 --width 300 $t
	works run layernorm --rows 7 --width 300 $t
	works run glu --rows 7 --width 300 $t
	for func in copy exp square relu abs sigmoid tanh gelu gelu_tanh gelu_quick silu softplus mish erf sin cos arctan sign; do
		works run unary --func $func --rows 3 --width 300 --scale 3 $t
	done
	for func in log sqrt rsqrt reciprocal; do works run unary --func $func --rows 3 --width 300 --shift 1.5 $t; done
	for func in add subtract multiply divide max min; do works run binary --func $func --rows 3 --width 300 $t; done
	works run gather --rows 20 --width 77 --table-rows 9 $t
	works run rope --tokens 9 --heads 3 --dim 64 $t
	works run rope --tokens 9 --heads 3 --dim 64 --rotated 32 --interleaved $t
	for func in sum mean max min; do works run reduce --func $func --outer 3 --n 300 --inner 5 $t; done
	works run topk --rows 5 --width 500 --k 20 $t
done
for dtype in e4m3 e5m2 i8; do works run matmul --m 70 --n 50 --k 1200 --dtype $dtype --check --transport sim; done
works run matmul --m 70 --n 50 --k 1200 --dtype i8 --out-dtype f32 --trans-a --batch 2 --check --transport sim
works run matmul --m 300 --n 400 --k 70 --dtype bf16 --out-dtype e4m3 --check --transport sim
works run matmul --m 300 --n 400 --k 7000 --dtype i8 --check --transport sim
works run softmax --rows 7 --width 300 --check --json --transport sim
says '"op": "softmax", "shape": "7x300", "dtype": "bf16", "out_dtype": "bf16"'
says '"verdict": "ok"'
works run matmul --m 3 --n 5 --k 7 --transport sim
says 'not checked'

"$kiln" info --transport sim >/dev/full 2>"$dir/err"
[ $? -eq 1 ] && grep -q 'No space' "$dir/err"
result $? "a full disk is an error" || sed 's/^/# got /' "$dir/err"
echo "1..$n"
