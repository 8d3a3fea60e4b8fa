#!/bin/bash
# SPDX-License-Identifier: MIT
# A short run of the card's fuzzer, under ASan and UBSan: 40000 operations, or what a minute is enough for. KILN_SEED=N: others.
cd "$(dirname "$0")/../.." || exit
exec tests/fuzz/card --ops 40000 --session 5000 --seconds 60 --seed "${KILN_SEED:-1}"
