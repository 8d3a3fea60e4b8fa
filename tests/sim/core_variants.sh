#!/bin/bash
# SPDX-License-Identifier: MIT
# The core's queues and faults on other cards than the default: more cores, more threads, other generations.
cd "$(dirname "$0")/../.." || exit
programs=${KILN_BUILD:-build/tree}/tests/sim
n=0
for card in sim:cores=4,threads=3,generation=trn1 sim:cores=1,threads=8,generation=trn3 sim:cores=8,hbm=256M,threads=2; do
	for name in core_queue core_fault core_memory; do
		log=$(KILN_TRANSPORT=$card timeout 120 "$programs/$name" 2>&1)
		rc=$?
		n=$((n + 1))
		if [ $rc -eq 0 ]; then
			echo "ok $n - $name on $card"
		else
			echo "not ok $n - $name on $card"
			echo "# expected status 0"
			echo "# got status $rc"
			grep -A2 -E '^not ok|Bail' <<<"$log" | sed 's/^/# got /'
		fi
	done
done
echo "1..$n"
