#!/bin/sh
# SPDX-License-Identifier: MIT
# The sim layer's test of kiln run with files once more, on the card behind the driver.
cd "$(dirname "$0")/../.." || exit
KILN_TRANSPORT=drm exec python3 tests/sim/cli_numpy.sh
