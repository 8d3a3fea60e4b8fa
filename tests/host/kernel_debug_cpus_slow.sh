#!/bin/bash
# SPDX-License-Identifier: MIT
# The debug kernel once more, with two CPUs: the programs of kselftest/, but for those that measure time or memory, commands taken
# back while they are handed over, and the driver that comes and goes.
cd "$(dirname "$0")/../.." || exit
. tests/host/_guest_tests.sh
export KERNEL=debug CPUS=2
mapfile -t programs < <(cd tests/kselftest && printf '%s\n' *.c | grep -vE '^(kill_work|tenants_apart)')
guest_tests "${programs[@]}" uring_rules.c abi_module.sh
