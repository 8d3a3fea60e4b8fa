#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in a guest of stock Debian 13 with a card, in which kiln-dkms has been installed: _packages_inside.sh DIR, with the files from
# before in DIR/before. The other packages of build/deb are installed, used as a user would, and all of them removed.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
before=$PWD/$1/before
project=$PWD
kernel=$(uname -r)
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cp build/deb/{libkiln0,libkiln-dev,kiln-tools,libggml0-backend-kiln}_*.deb "$home"
cd "$home" || exit

works "libkiln0 and kiln-tools install" dpkg -i libkiln0_*.deb kiln-tools_*.deb
is "$(kiln info 2>&1; echo $?)" "kiln info: no Kiln card in /dev/accel: is the module loaded (modprobe kiln) and the card there (lspci -d 1234:4b4c)?
1" "kiln info says that there is no card, and what to look at"
works "kiln works without one, by --transport sim" kiln run matmul --m 64 --n 64 --k 64 --check --transport sim

is "$(dkms status)" "kiln/0.1.0, $kernel, $(uname -m): installed" "dkms has built the module for this kernel"
# The guest has been given more modules since than dkms saw.
depmod
is "$(modinfo -n kiln | sed 's/\.ko.*/.ko/')" "/lib/modules/$kernel/updates/dkms/kiln.ko" "modprobe knows it"
# As at any boot: udev finds the card and loads what drives it.
/usr/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle
for _ in $(seq 100); do [ ! -c /dev/accel/accel0 ] || break; sleep 0.1; done
udevadm settle
is "$(stat -c '%G %a' /dev/accel/accel0 2>&1)" "render 660" "the card's node is the group render's"
works "kiln info" kiln info
group=$(getent group render | cut -d: -f3)
works "a user of the group render runs a matmul" setpriv --reuid=1000 --regid=1000 --groups="$group" \
	kiln run matmul --m 128 --n 128 --k 128 --check
said=$(setpriv --reuid=1000 --regid=1000 --clear-groups kiln info 2>&1)
grep -q 'group render' <<<"$said"
ok $? "another one is told of the group" "... group render ..." "$said"

works "libkiln-dev and the plug-in install" dpkg -i libkiln-dev_*.deb libggml0-backend-kiln_*.deb
# shellcheck disable=SC2046 # flags are words
works "an example builds from what is installed" cc -o hello /usr/share/doc/libkiln-dev/examples/hello-matmul.c $(pkg-config --cflags --libs kiln)
is "$(./hello drm | sed 's/[0-9]* cycles/N cycles/')" "result 0, N cycles, c[0][21] = 42" "it runs on the card"
works "the plug-in finds its libraries" sh -c '! ldd /usr/lib/*/ggml/backends0/libggml-kiln.so | grep "not found"'
is "$(for page in kiln kiln_matmul kiln_layernorm kiln_asm_max8; do man "$page" | sed -n "s/^ .*\<$page\>.*/$page/p" | head -n 1; done)" "kiln
kiln_matmul
kiln_layernorm
kiln_asm_max8" "man shows commands and functions"

echo 1 >"$(echo /sys/class/accel/accel0/device)/remove"
said=$(kiln info 2>&1)
is "$? ${said%%:*}" "1 kiln info" "a card that is gone is gone: status 1"
grep -q 'no Kiln card' <<<"$said"
ok $? "  and said so, with the module loaded" "... no Kiln card ..." "$said"
works "the module unloads" modprobe -r kiln
works "the packages go" dpkg --purge libggml0-backend-kiln libkiln-dev kiln-tools libkiln0 kiln-dkms
is "$(diff "$before" <("$project/tests/host/_packages_files.sh" /))" "" "and leave nothing"
is "$(dkms status)" "" "dkms has forgotten the module"
modprobe kiln 2>/dev/null
is "$?" 1 "and there is none to load"
done_testing
