#!/bin/sh
# SPDX-License-Identifier: MIT
# The elementary functions at every 1009th fp32 argument: errors within what they may be, all paths the same bits.
exec "$KILN_BUILD/tests/numerics/ulp" -s 1009
