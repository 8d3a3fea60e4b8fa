#!/bin/bash
# SPDX-License-Identifier: MIT
# The Debian packages: they build without an error of lintian's, kiln-dkms builds the driver in stock Debian 13, and a guest of that
# works with the card by them, and is as it was when they are gone.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
unset KERNEL KILN_ROOT
out=build/packages
log=$(mktemp)
trap 'rm -rf "$log" "$out"' EXIT

tests/machine/mkdeb >"$log" 2>&1
ok $? "make deb, and lintian finds no error" "status 0" "$(tail -n 20 "$log")"
is "$(cd build/deb && ls ./*.deb | sed 's/_.*//' | grep -v dbgsym | tr '\n' ' ')" "./kiln-dkms ./kiln-tools ./libggml0-backend-kiln ./libkiln-dev ./libkiln0 " "the packages"
version=$(sed -nE 's/^#define KILN_VERSION_(MAJOR|MINOR|PATCH)\t+([0-9]+)$/\2/p' userspace/include/kiln.h | paste -sd.)
is "$(ls build/deb/*_"$version"_*.deb | wc -l)" "$(ls build/deb/*.deb | wc -l)" "they have the version of kiln.h, $version"

rm -rf "$out"
mkdir -p "$out"
stock=$(tests/machine/mkstock) boot=$(tests/machine/mkkernel)
tests/machine/tree tests/host/_packages_driver.sh "/cache/${stock##*/}" "$boot" "$out" >"$log" 2>&1
ok $? "kiln-dkms installs, and builds the driver" "status 0" "$(tail -n 20 "$log")"
KILN_ROOT=/kiln/$out/root.erofs LOAD=no DEVICES=1 MEM=3G tests/machine/guest -- "tests/host/_packages_inside.sh $out" >"$log" 2>&1
rc=$?
# The guest's results as ours.
while read -r line; do
	case $line in
	"ok "* | "not ok "*) ok "$([ "${line%% *}" = ok ]; echo $?)" "${line#* - }" ;;
	1..*) plan=${line#1..} ;;
	"#"*) echo "$line" ;;
	esac
done <"$log"
is "$rc ${plan:-no plan}" "0 $(grep -cE '^(not )?ok ' "$log")" "the guest has come to its end" || tail -n 20 "$log" | sed 's/^/# /'
done_testing
