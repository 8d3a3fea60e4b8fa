#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in the tree: _packages_driver.sh STOCK BOOT OUT installs kiln-dkms of build/deb, which builds the driver by dkms, in the stock
# Debian 13 in STOCK with the modules of the kernel in BOOT. What came of it becomes OUT/root.erofs, a guest's root, with OUT/before,
# the files from before. Here and not in the guest, where without KVM it takes eight minutes.
set -euo pipefail
mount -t tmpfs -o mode=755 up /mnt
mkdir /mnt/{root,top,work}
mount -t overlay -o "lowerdir=$2/modules:$1,upperdir=/mnt/top,workdir=/mnt/work" root /mnt/root
tests/host/_packages_files.sh /mnt/root >"$3/before"
for d in proc dev; do mount --rbind "/$d" "/mnt/root/$d"; done
mount -t tmpfs -o mode=1777 tmp /mnt/root/tmp
cp build/deb/kiln-dkms_*.deb /mnt/root/tmp
chroot /mnt/root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
	sh -c 'dpkg -i /tmp/*.deb && dkms status'
umount -l -R /mnt/root/{tmp,dev,proc}
tests/machine/buildimage "$3" /mnt/root stock
