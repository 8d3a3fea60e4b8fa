#!/bin/bash
# SPDX-License-Identifier: MIT
# A Linux guest moves, live and by a snapshot in a file, while its driver has matmuls on the card. Its root and all it runs are on
# disks, since directories of the host cannot be migrated.
cd "$(dirname "$0")/../.." || exit
KILN_QEMU=${KILN_QEMU:-$(tests/machine/mkqemu)} || exit
BOOT=$(tests/machine/mkkernel) ROOT=$(tests/machine/mkimage) || exit
export KILN_QEMU KILN_BUILD=build/tree
disk=build/tree/tests/migrate
rm -rf "$disk" "$disk.erofs"
mkdir -p "$disk/lib" "$disk/build"
cp -r build/tree/guest "$disk/modules"
cp build/tree/lib/libkiln.so* "$disk/lib/"
cp build/tree/tests/guest/helper_moving "$disk/"
cat >"$disk/start" <<'START'
cd /
exec >/dev/ttyS0 2>&1
mount -t tmpfs -o mode=1777 tmp /tmp
cp -r "/kiln/modules/$(uname -r)/." "/lib/modules/$(uname -r)/"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LD_LIBRARY_PATH=/kiln/lib KILN_TRANSPORT=drm
dmesg -n 7
modprobe kiln
# nothing is added to its lines
stty -F /dev/ttyS0 -opost
/kiln/helper_moving 1000000
echo "status $?"
busybox poweroff -f
START
accel=$(tests/machine/accel "$KILN_QEMU" "$BOOT")
tests/machine/tree mkfs.erofs --quiet "$disk.erofs" "$disk" || exit
exec tests/machine/tree python3 tests/host/_migrate_guest.py "$accel" "$BOOT" "$ROOT" "$disk.erofs"
