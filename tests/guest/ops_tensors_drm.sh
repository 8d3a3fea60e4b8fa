#!/bin/sh
# SPDX-License-Identifier: MIT
# The sim layer's tests of the ops on strided tensors, on the card behind the driver, as one.
cd "$(dirname "$0")/../.." || exit
for op in copy pointwise tensor_rows rotate attend linear; do
	KILN_TRANSPORT=drm "${KILN_BUILD:-build/tree}/tests/sim/ops_$op" || echo "not ok - ops_$op ended with $?"
done | awk '
	/^1\.\./ { next }
	/^(not )?ok / { n++; sub(/ok( [0-9]+)?/, "ok " n); if (/^not/) bad = 1 }
	{ print }
	END { print "1.." n; exit bad }'
