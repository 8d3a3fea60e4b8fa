# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# TAP for the scripts, as core_test.h has it for the programs: . tests/tap.sh
tap_number=0 tap_failed=0

# ok STATUS WHAT [EXPECTED GOT]
ok() {
	tap_number=$((tap_number + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $tap_number - $2"
		return 0
	fi
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_number - $2"
	[ $# -lt 4 ] || printf '# expected %s\n# got %s\n' "$3" "${4//$'\n'/$'\n# '}"
	return 1
}

# is GOT EXPECTED WHAT
is() { [ "$1" = "$2" ]; ok $? "$3" "$2" "$1"; }

# below GOT LIMIT WHAT
below() { [ "$1" -lt "$2" ]; ok $? "$3" "less than $2" "$1"; }

# works WHAT CMD...: its status is 0; what it said is shown if not.
works() {
	local what=$1 said rc=0
	shift
	said=$("$@" 2>&1) || rc=$?
	ok $rc "$what" "status 0 of $*" "status $rc: $(tail -n 8 <<<"$said")"
}

skip() { tap_number=$((tap_number + 1)); echo "ok $tap_number - $1 # SKIP $2"; }

done_testing() {
	echo "1..$tap_number"
	[ "$tap_failed" -eq 0 ]
}
