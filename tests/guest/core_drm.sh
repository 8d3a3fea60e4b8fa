#!/bin/bash
# SPDX-License-Identifier: MIT
# The core tests of the sim layer once more, on the card behind the driver, by both ways of submission.
cd "$(dirname "$0")/../.." || exit
programs=${KILN_BUILD:-build/tree}/tests/sim
n=0

for way in uring ioctl; do
	for name in core_memory core_args core_queue core_fault; do
		log=$(mktemp)
		KILN_TRANSPORT=drm KILN_SUBMIT=$way timeout 120 "$programs/$name" >"$log" 2>&1
		rc=$?
		echo "# $name through $way"
		before=$n
		while IFS= read -r line; do
			case $line in
			"ok "* | "not ok "*)
				n=$((n + 1))
				echo "${line%%ok *}ok $n - $way: ${line#* - }"
				;;
			1..*) plan=${line#1..} ;;
			*) echo "${line/#[^#]/# &}" ;;
			esac
		done <"$log"
		if [ "$rc" -gt 1 ] || [ "${plan:-0}" -ne $((n - before)) ]; then
			n=$((n + 1))
			echo "not ok $n - $way: $name runs to its end"
			echo "# expected ${plan:-its plan} tests"
			echo "# got $((n - 1 - before)), exit status $rc"
		fi
		plan=
		rm -f "$log"
	done
done
echo "1..$n"
