#!/bin/bash
# SPDX-License-Identifier: MIT
# Everything at once: processes compute by both ways of submission, some are killed, and the card is reset, unbound or
# removed under them. Whatever becomes of them, nobody hangs, and then the card is idle, its memory free, and it computes.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
kiln=${KILN_BUILD:-build/tree}/bin/kiln
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
seed=${KILN_SEED:-$(date +%s)}
echo "# again (but for the time that things take): KILN_SEED=$seed"
RANDOM=$seed
slot=$(cd /sys/bus/pci/drivers/kiln && echo 0000:*)

rows() { tail -n +2 /sys/kernel/debug/accel/*/"$1" | wc -l; }
idle() { for _ in $(seq 200); do [ "$(rows queues)$(rows contexts)" != 00 ] || return 0; sleep 0.05; done; return 1; }
there() { for _ in $(seq 200); do ! "$kiln" info >/dev/null 2>&1 || return 0; sleep 0.05; done; return 1; }
used() { "$kiln" info --json | sed 's/.*"hbm_used_bytes": \([0-9]*\).*/\1/'; }

idle
before=$(used)
ops=("matmul --m 300 --n 200 --k 100" "matmul --m 64 --n 64 --k 64 --batch 8 --dtype f32" "attention --heads 4 --seq-q 100 --seq-kv 100 --dim 64 --causal"
	"matmul --m 700 --n 500 --k 300 --trans-b")
wrong=0 hung=0 lost=0 killed=0 through=0
for round in $(seq 12); do
	pids=()
	for i in 0 1 2 3; do
		way=uring
		[ $(((round + i) % 2)) -eq 0 ] || way=ioctl
		# shellcheck disable=SC2086 # words
		"$kiln" run ${ops[i]} --seed $round --repeat 300 --submit $way --check >"$dir/$i" 2>&1 &
		pids+=($!)
	done
	sleep "0.$((RANDOM % 9))$((RANDOM % 9))"
	case $((round % 4)) in
	0) kill -KILL "${pids[RANDOM % 4]}" "${pids[RANDOM % 4]}" 2>/dev/null ;;
	1) echo 1 >"/sys/bus/pci/devices/$slot/reset" ;;
	2) echo "$slot" >/sys/bus/pci/drivers/kiln/unbind ;;
	3) kill -KILL "${pids[0]}"; echo 1 >"/sys/bus/pci/devices/$slot/remove" ;;
	esac
	for i in 0 1 2 3; do
		# The slowest of them takes some seconds when nothing stops it.
		for _ in $(seq 600); do kill -0 "${pids[i]}" 2>/dev/null || break; sleep 0.1; done
		if kill -0 "${pids[i]}" 2>/dev/null; then
			hung=$((hung + 1))
			echo "# round $round: hangs: kiln run ${ops[i]}: $(cat "/proc/${pids[i]}/stack" 2>/dev/null | tr '\n' ' ')"
			kill -KILL "${pids[i]}"
		fi
		wait "${pids[i]}" 2>/dev/null
		case $? in
		0) through=$((through + 1)) ;;
		137) killed=$((killed + 1)) ;;
		*) lost=$((lost + 1)) ;;
		esac
		# A command that failed is told; a wrong number never is right.
		if grep -q WRONG "$dir/$i" && [ $((round % 4)) -lt 2 ]; then
			wrong=$((wrong + 1))
			sed "s/^/# round $round: /" "$dir/$i"
		fi
	done
	[ $((round % 4)) -ne 2 ] || echo "$slot" >/sys/bus/pci/drivers/kiln/bind
	[ $((round % 4)) -ne 3 ] || echo 1 >/sys/bus/pci/rescan
	there || { ok 1 "round $round: the card is there again" "kiln info works" "$("$kiln" info 2>&1)"; break; }
done
echo "# of 48 processes $through got through, $lost lost the card, $killed were killed"
is "$hung" 0 "nobody hangs"
is "$wrong" 0 "no result is wrong"
[ "$lost" -gt 0 ] && [ "$killed" -gt 0 ]
ok $? "some lost the card, some were killed" "both" "$lost, $killed"
idle
ok $? "no queue and no context is left" "none" "$(cat /sys/kernel/debug/accel/*/{queues,contexts})"
is "$(used)" "$before" "the card's memory in use is what it was"
works "it computes" "$kiln" run matmul --m 200 --n 300 --k 150 --check
# Whoever comes next finds it under its first number.
for _ in $(seq 20); do
	[ ! -e /dev/accel/accel0 ] || break
	echo "$slot" >/sys/bus/pci/drivers/kiln/unbind
	echo "$slot" >/sys/bus/pci/drivers/kiln/bind
done
[ -e /dev/accel/accel0 ]
ok $? "it is the first card again" /dev/accel/accel0 "$(echo /dev/accel/*)"
done_testing
