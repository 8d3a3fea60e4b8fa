#!/bin/bash
# SPDX-License-Identifier: MIT
# The driver's interface on the newest kernel that Debian has for this release: what the compile probes chose for it works.
cd "$(dirname "$0")/../.." || exit
. tests/host/_guest_tests.sh
export KERNEL=7.3
guest_tests abi_bind.c abi_ioctl.c abi_submit.c abi_uring.c abi_kill.c open_file.c tenants_apart.c kill_work.c device_lost.c abi_module.sh core_drm.sh own_ring.c uring_rules.c
