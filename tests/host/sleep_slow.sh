#!/bin/bash
# SPDX-License-Identifier: MIT
# The machine sleeps (S3: the card loses its power, HBM forgets) while two processes compute, wakes up, and they go on to
# a good end, with no command lost; also while one is being killed, and while tenants drive each other out of HBM.
# And a card that nobody has open sleeps by itself, if it is allowed to.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# As a bzImage: QEMU would write an ELF kernel into memory anew when the machine wakes up. With the TSC: SeaBIOS does not
# tell the chipset again where its timer is.
# With one CPU: with two, QEMU 10.0 without KVM has aborted (iotlb_to_section) while memory of devices went away.
# Neither 9p nor virtio-serial survive the sleep: everything from memory, the current directory too, and what it says into
# the kernel's log.
kernel=$(tests/machine/tree sh -c 'ls /boot/vmlinuz-*' | tail -n 1)
# shellcheck disable=SC2016 # the guest's shell
HBM=64M KERNEL=6.12 APPEND="tsc=reliable no_console_suspend" QEMU_ARGS="-kernel $kernel -global ICH9-LPC.disable_s3=0" CPUS=1 KILN_CONSOLE=$dir/console tests/machine/guest -- '
	cp -r tests/tap.sh "$KILN_BUILD/bin" "$KILN_BUILD/lib" "$KILN_BUILD"/tests/guest/helper_{load,evict} /tmp
	cat >/tmp/script <<"END"
	cd /tmp
	. /tmp/tap.sh
	card=$(basename "$(readlink -f /sys/class/accel/accel0/device)")
	power=/sys/bus/pci/devices/$card/power
	computes() { works "$1" timeout 60 kiln run matmul --m 64 --n 64 --k 64 --check; }
	within() { for _ in $(seq 200); do [ "$(cat "$power/runtime_status")" = "$1" ] && return; sleep 0.1; done; return 1; }

	computes "the card computes"
	echo auto >"$power/control"
	within suspended
	ok $? "nobody has it open: it sleeps" suspended "$(cat "$power/runtime_status")"
	is "$(head -n 1 "/sys/kernel/debug/accel/$card/card")" asleep "  and debugfs lets it"
	computes "  opened, it computes"
	/tmp/helper_load 6 >/tmp/load 2>&1
	ok $? "  and is awake as long as somebody computes" "status 0" "$(cat /tmp/load)"
	within suspended
	ok $? "  afterwards it sleeps again" suspended "$(cat "$power/runtime_status")"

	for round in 1 2; do
		/tmp/helper_load 15 >/tmp/load 2>&1 &
		pid=$!
		for _ in $(seq 300); do grep -q ready /tmp/load && break; sleep 0.1; done
		grep -q ready /tmp/load
		ok $? "two processes compute" ready "$(cat /tmp/load)"
		before=$(sed -n "s/^resets //p" "/sys/kernel/debug/accel/$card/card")
		setsid /tmp/helper_load 60 >/tmp/killed 2>&1 &
		killed=$!
		for _ in $(seq 300); do grep -q ready /tmp/killed && break; sleep 0.1; done
		kill -KILL -- -$killed
		echo mem >/sys/power/state
		ok $? "  the machine sleeps, and wakes up" "status 0" "$(dmesg | tail -n 5)"
		is "$(sed -n "s/^resets //p" "/sys/kernel/debug/accel/$card/card")" "$before" "  nothing was reset"
		wait $pid
		ok $? "  every command ends, no result is wrong" "status 0" "$(cat /tmp/load)"
		is "$(sed -n "s/.* res=\([-0-9]*\) .*/\1/p" /tmp/load | sort -u)" 0 "  and none has failed"
		computes "  the next process computes"
	done

	events=/sys/kernel/tracing/events/kiln/kiln_evict
	evictions() { grep -c "kiln_evict:.* suspended=1" /sys/kernel/tracing/trace; }
	echo 1 >$events/enable
	/tmp/helper_evict >/tmp/evict 2>&1 &
	pid=$!
	for _ in $(seq 300); do [ "$(evictions)" -ge 4 ] && break; sleep 0.1; done
	before=$(evictions)
	[ "$before" -ge 4 ]
	ok $? "tenants drive each other out of HBM" "4 evictions" "$before, $(tail -n 2 /tmp/evict)"
	# As far as everything stands still: there an eviction must not wait for one who stands already.
	echo 0 >/sys/module/suspend/parameters/pm_test_delay
	echo freezer >/sys/power/pm_test
	frozen=0
	for _ in 1 2 3 4 5; do
		echo mem >/sys/power/state && frozen=$((frozen + 1))
		sleep 0.1
	done
	echo none >/sys/power/pm_test
	is $frozen 5 "  everything can be frozen, at any time"
	echo mem >/sys/power/state
	ok $? "  the machine sleeps, and wakes up" "status 0" "$(dmesg | tail -n 5)"
	wait $pid
	ok $? "  they come to a good end" "status 0" "$(grep -A 2 -E "^(not ok|Bail)" /tmp/evict)"
	[ "$(evictions)" -gt "$before" ]
	ok $? "  having driven out each other again" "more than $before evictions" "$(evictions)"
	echo 0 >$events/enable
	done_testing
END
	echo "@run $(sed "s/.*guestrun=\([^ ]*\).*/\1/" /proc/cmdline)"
	for round in 1 2 3; do
		echo "@wait SUSPEND"
		echo "@qmp {\"execute\": \"system_wakeup\"}"
	done
	cat >/tmp/all <<"END"
	cd /tmp
	echo on >/proc/sys/kernel/printk_devkmsg
	bash /tmp/script 2>&1 | while IFS= read -r line; do echo "<1>TAP: $line" >/dev/kmsg; done
	echo b >/proc/sysrq-trigger
END
	PATH=/tmp/bin:/usr/sbin:/usr/bin:/sbin:/bin LD_LIBRARY_PATH=/tmp/lib exec bash /tmp/all' 2>"$dir/err" |
	tests/machine/tree python3 tests/host/_qmp.py
sed -n 's/^.*TAP: //p' "$dir/console" | tr -d '\r' | tee "$dir/out"
if ! grep -q '^1\.\.' "$dir/out"; then
	sed 's/^/# /' "$dir/err"
	echo "Bail out! the guest did not get to its end"
fi
if grep -qE 'BUG:|WARNING:|Oops:|Call Trace:|refcount_t:|Kernel panic|hung task' "$dir/console"; then
	echo "Bail out! the kernel log is not clean"
	grep -E -m 3 -A 12 'BUG:|WARNING:|Oops:|Call Trace:|refcount_t:|Kernel panic|hung task' "$dir/console" | sed 's/^/# /'
fi
