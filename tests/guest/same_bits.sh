#!/bin/bash
# SPDX-License-Identifier: MIT
# Both transports and both ways of submission give the same bits and the same cycles; two processes at once as well.
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

# run NAME ARGUMENTS...: the result goes to $dir/NAME.npy, what was said to $dir/NAME.json
run() {
	local name=$1
	shift
	rm -f "$dir/$name".*
	"$kiln" run "$@" --check --json --out-raw --out "$dir/$name.npy" >"$dir/$name.json" 2>"$dir/$name.err"
}

cycles() { sed 's/.*"cycles": \([0-9]*\).*/\1/' "$dir/$1.json"; }

same() {	# what, one, other
	cmp -s "$dir/$2.npy" "$dir/$3.npy"
	result $? "$1: the same bits" || echo "# got $(cmp "$dir/$2.npy" "$dir/$3.npy" 2>&1)"
	[ -n "$(cycles "$2")" ] && [ "$(cycles "$2")" = "$(cycles "$3")" ]
	result $? "$1: the same cycles" || { echo "# expected $(cycles "$2")"; echo "# got $(cycles "$3")"; }
}

while read -r args; do
	# shellcheck disable=SC2086 # arguments are words
	for way in uring ioctl; do
		run "$way" $args --submit "$way"
		result $? "kiln run $args --submit $way" || sed 's/^/# got /' "$dir/$way.err" "$dir/$way.json"
	done
	# shellcheck disable=SC2086
	run sim $args --transport sim:cores=2
	result $? "kiln run $args --transport sim" || sed 's/^/# got /' "$dir/sim.err" "$dir/sim.json"
	same "io_uring and ioctl, $args" uring ioctl
	same "drm and sim, $args" uring sim
done <<'END'
matmul --m 200 --n 300 --k 150
matmul --m 200 --n 300 --k 150 --dtype f32 --trans-b
matmul --m 65 --n 70 --k 130 --batch 3 --trans-a --out-dtype f32
attention --heads 2 --seq-q 130 --seq-kv 130 --dim 64 --causal
attention --heads 4 --kv-heads 2 --seq-q 3 --seq-kv 200 --dim 128 --dtype f32
END

# Two processes computing at once do not disturb each other.
run alone matmul --m 600 --n 500 --k 400
run first matmul --m 600 --n 500 --k 400 --repeat 20 &
one=$!
run second matmul --m 500 --n 600 --k 400 --dtype f32 --repeat 20 &
two=$!
wait "$one"
result $? "the first of two processes at once"
wait "$two"
result $? "the second"
same "a process with company" alone first
echo "1..$n"
