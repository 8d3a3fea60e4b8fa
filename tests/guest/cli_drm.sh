#!/bin/bash
# SPDX-License-Identifier: MIT
# kiln, the command, where there is a card: what it says of it, and what happens without io_uring or without the right.
cd "$(dirname "$0")/../.." || exit
kiln=${KILN_BUILD:-build/tree}/bin/kiln
dir=$(mktemp -d)
forbid=/proc/sys/kernel/io_uring_disabled
trap '[ ! -e $forbid ] || echo 0 >$forbid; rm -rf "$dir"' EXIT
n=0

result() {	# status, what
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
	return "$1"
}

# try STATUS WORDS ARGUMENTS...: that status, and WORDS in what it says
try() {
	local status=$1 words=$2 rc
	shift 2
	"$kiln" "$@" >"$dir/log" 2>&1
	rc=$?
	[ $rc -eq "$status" ] && grep -qF -- "$words" "$dir/log"
	result $? "kiln $*" || {
		echo "# expected status $status, and \"$words\""
		echo "# got status $rc"
		sed 's/^/# got /' "$dir/log"
	}
}

try 0 '/dev/accel/accel0' info
try 0 '"transport": "drm", "path": "/dev/accel/accel0"' info --json
try 0 'drm, /dev/accel/accel0' info --transport drm:/dev/accel/accel0
try 1 'there is no /dev/accel/accel9' info --transport drm:/dev/accel/accel9
try 0 'through io_uring' run matmul --m 64 --n 64 --k 64
try 0 'through ioctl' run matmul --m 64 --n 64 --k 64 --submit ioctl --check
used() { "$kiln" info --json | sed 's/.*"hbm_used_bytes": \([0-9]*\).*/\1/'; }
before=$(used)
try 0 'ok' run matmul --m 1000 --n 1000 --k 1000 --check
[ "$(used)" -le "$before" ]
result $? "no HBM stays in use" || { echo "# expected $before"; echo "# got $(used)"; }

# Behind the driver: commands with their cycles, in device time and on the host; the engines are not to be seen.
try 0 'of device time' profile -o "$dir/trace" -- "$kiln" run matmul --m 256 --n 256 --k 256 --json
cycles=$(grep -o '"cycles": [0-9]*' "$dir/log" | grep -o '[0-9]*')
grep -q "\"ph\":\"e\",\"cat\":\"host\".*\"result\":0,\"cycles\":$cycles," "$dir/trace" &&
	grep -q '"name":"matmul","ph":"X","pid":0,"tid":0,' "$dir/trace"
result $? "the trace has its command" || { echo "# expected cycles $cycles"; sed 's/^/# got /' "$dir/trace"; }
grep -q '<td>matmul (' "$dir/trace.html" && grep -q 'cannot be watched' "$dir/trace.html"
result $? "and so has the page"

if [ -e $forbid ]; then
	echo 2 >$forbid
	try 0 'through ioctl' run matmul --m 64 --n 64 --k 64 --check
	[ "$(grep -c 'kiln: /dev/accel/accel0: io_uring is forbidden here' "$dir/log")" = 1 ]
	result $? "it says once that io_uring is forbidden" || sed 's/^/# got /' "$dir/log"
	try 1 'io_uring is forbidden' run matmul --m 64 --n 64 --k 64 --submit uring
	echo 0 >$forbid
	try 0 'through io_uring' run matmul --m 64 --n 64 --k 64 --check
else
	result 0 "io_uring is forbidden # SKIP a kernel without sysctl"
fi

# Somebody who is not in the group of the device.
cat >"$dir/nobody.py" <<'END'
import os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
os.execv(sys.argv[1], sys.argv[1:])
END
chmod 755 "$dir"
python3 "$dir/nobody.py" "$kiln" info >"$dir/log" 2>&1
rc=$?
[ $rc -eq 1 ] && grep -q 'group render' "$dir/log"
result $? "without the right to open it: says what to do" || { echo "# got status $rc"; sed 's/^/# got /' "$dir/log"; }
echo "1..$n"
