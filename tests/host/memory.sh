#!/bin/bash
# SPDX-License-Identifier: MIT
# QEMU's memory stays under the guest's RAM, what has been touched of HBM, and 128 MiB.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
export MEM=2G HBM=8G
dir=$(mktemp -d)
guest=
trap '[ -z "$guest" ] || kill "$guest" 2>/dev/null; wait; rm -rf "$dir"' EXIT

tests/machine/guest -- 'kiln run matmul --m 2048 --n 2048 --k 2048 --repeat 3 --check --json && echo measure && sleep 60' \
	>"$dir/out" 2>"$dir/err" &
guest=$!
while kill -0 "$guest" 2>/dev/null && ! grep -q '^measure' "$dir/out"; do sleep 0.1; done
grep -q '"verdict": "ok"' "$dir/out"
ok $? "matmul 2048x2048x2048" '"verdict": "ok"' "$(cat "$dir/out" "$dir/err")" || { done_testing; exit; }

# The one below the script above: others may run here, too.
below_guest() {
	local p=$1
	while [ "${p:-0}" -gt 1 ]; do
		[ "$p" != "$guest" ] || return 0
		p=$(sed -n 's/^PPid:\t//p' "/proc/$p/status" 2>/dev/null)
	done
	return 1
}
qemu=
for comm in /proc/[0-9]*/comm; do
	case $(cat "$comm" 2>/dev/null) in qemu-system*) ;; *) continue ;; esac
	p=${comm%/comm} p=${p#/proc/}
	! below_guest "$p" || qemu=$p
done
[ -n "$qemu" ]
ok $? "QEMU's process" "one below $guest" "none" || { done_testing; exit; }

# MiB of: the peak; what is resident of files, of the guest's RAM, of HBM.
peak=$(($(sed -nE 's/^VmHWM:\s+([0-9]+) kB/\1/p' "/proc/$qemu/status") / 1024))
files=$(($(sed -nE 's/^RssFile:\s+([0-9]+) kB/\1/p' "/proc/$qemu/status") / 1024))
# resident KIB: MiB of the one mapping of that size
resident() { awk -v of="$1" '/^Size:/ { size = $2 } /^Rss:/ && size == of { print int($2 / 1024); exit }' "/proc/$qemu/smaps"; }
ram=$(resident $((2 << 20)))
hbm=$(resident $((8 << 20)))
[ "$hbm" -ge 24 ] && [ "$hbm" -lt 64 ]
ok $? "three matrices of 8 MiB, and little else, are touched of HBM" "24 to 64 MiB" "$hbm MiB"
below "$peak" $((2048 + hbm + 128)) "MiB resident at the peak, with 2048 MiB of RAM and $hbm MiB of HBM"
echo "# peak $peak MiB: $ram of RAM touched, $hbm of HBM, $files of files mapped (kernel, QEMU itself), $((peak - ram - hbm - files)) of QEMU's own"
done_testing
