#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A part of `make numerics`. Conversions, functions of one and two operands: all paths the same bits, errors within what they may be.
set -euo pipefail
"$KILN_BUILD/tests/numerics/convert" -s 1009 | sed "s/^1\.\./# /"
"$KILN_BUILD/tests/numerics/paths" -s 1009 | sed "s/^1\.\./# /"
"$KILN_BUILD/tests/numerics/ulp" -s 1009 | sed 's/^/# /'
