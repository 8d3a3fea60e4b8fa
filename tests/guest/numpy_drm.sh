#!/bin/sh
# SPDX-License-Identifier: MIT
# kiln run with NumPy's files, on the card.
KILN_TRANSPORT=drm exec "$(dirname "$0")/../sim/cli_numpy.sh"
