#!/bin/bash
# SPDX-License-Identifier: MIT
# The examples on the card behind the driver: the same tokens as on the simulated one, and a server's ring with the card's commands.
cd "$(dirname "$0")/../.." || exit
KILN_TRANSPORT=drm exec tests/sim/examples.sh
