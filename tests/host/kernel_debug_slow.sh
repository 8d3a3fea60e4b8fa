#!/bin/bash
# SPDX-License-Identifier: MIT
# The driver's interface on the debug kernel: KASAN, lockdep, UBSAN, kmemleak and their like have nothing to say. All programs of guest/
# but the one that measures who gets how much of a core, which wants a guest that keeps up.
cd "$(dirname "$0")/../.." || exit
. tests/host/_guest_tests.sh
export KERNEL=debug
mapfile -t programs < <(cd tests/guest && printf '%s\n' *.c | grep -vE '^(_|helper_|shares)')
guest_tests "${programs[@]}"
