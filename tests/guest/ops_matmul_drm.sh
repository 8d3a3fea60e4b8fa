#!/bin/sh
# SPDX-License-Identifier: MIT
# The sim layer's test of this op, on the card behind the driver.
cd "$(dirname "$0")/../.." || exit
KILN_TRANSPORT=drm exec "${KILN_BUILD:-build/tree}/tests/sim/ops_matmul"
