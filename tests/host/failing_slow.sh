#!/bin/bash
# SPDX-License-Identifier: MIT
# The driver's allocations fail now and then while tenants drive each other out of HBM: the debug kernel lets them.
cd "$(dirname "$0")/../.." || exit
. tests/host/_guest_tests.sh
export KERNEL=debug HBM=64M CPUS=2
guest_tests helper_failing.c
