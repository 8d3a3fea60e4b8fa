#!/bin/bash
# SPDX-License-Identifier: MIT
# The guest's tests of concurrency where several CPUs run at once: what one CPU never interleaves.
cd "$(dirname "$0")/../.." || exit
. tests/host/_guest_tests.sh
export CPUS=3
guest_tests abi_submit.c abi_uring.c uring_rules.c abi_kill.c tenants_apart.c kill_work.c device_lost.c storm_slow.sh
