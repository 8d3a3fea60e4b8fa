#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in the tree: _packages_install.sh STOCK BOOT OUT installs kiln-dkms of build/deb in the stock Debian 13 in STOCK with the modules of
# the kernel in BOOT, and makes a guest's root OUT of it, with the list of the files from before. kiln-dkms builds the driver: here,
# because a guest without KVM takes a quarter of an hour over it. Everything else is installed in the guest.
set -euo pipefail
. /kiln/tests/machine/files.sh
kernel=$(cat "$2/version")
mkdir -p /tmp/up /tmp/work
mount -t tmpfs -o mode=755 up /tmp/up
mkdir /tmp/up/top /tmp/up/work
mount -t overlay -o "lowerdir=$2/modules:$1,upperdir=/tmp/up/top,workdir=/tmp/up/work" root /mnt
for d in proc dev; do mount --rbind /$d /mnt/$d; done
mount -t tmpfs tmp /mnt/tmp
in_stock() { chroot /mnt /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
