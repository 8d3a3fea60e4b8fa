#!/bin/bash
# SPDX-License-Identifier: MIT
# _packages_files.sh ROOT: the files of a system, but for what changes without anybody installing anything, dpkg's own lists, and the
# key that dkms makes for a machine.
cd "$1" && find . -xdev \( -path ./boot -o -path ./var/lib/apt -o -path ./var/log -o -path ./var/lib/dpkg -o -path ./var/cache -o -path ./run -o -path ./tmp -o -path ./root -o -path ./dev \
	-o -path ./proc -o -path ./sys -o -path ./kiln -o -path ./var/lib/systemd -o -path ./etc/udev/hwdb.bin \) -prune -o -print |
	grep -vE '^./var/lib/dkms/mok\.|^./usr/lib/modules/[^/]*/modules\.' | sort
