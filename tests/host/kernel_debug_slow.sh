#!/bin/bash
# SPDX-License-Identifier: MIT
# The driver's interface on the debug kernel: KASAN, lockdep, UBSAN, kmemleak and their like have nothing to say.
cd "$(dirname "$0")/../.." || exit
. tests/host/_guest_tests.sh
export KERNEL=debug
guest_tests abi_bind.c abi_ioctl.c abi_submit.c abi_kill.c open_file.c reset_below.c
