# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# guest_tests NAME...: runs tests of the guest's layer, such as abi_bind.c, in a guest of their own, which the environment
# describes (KERNEL, CPUS); a word of the kernel about a bug, or memory that nobody points to, fails them all.
guest_tests() {
	local dir rc
	dir=$(mktemp -d)
	# shellcheck disable=SC2064 # this directory
	trap "rm -rf '$dir'" EXIT
	# shellcheck disable=SC2016 # the guest's shell
	TIMEOUT=${TIMEOUT:-540} KILN_CONSOLE=$dir/console tests/machine/guest -- "cpus=${CPUS:-1} kernel=${KERNEL:-6.12} tests='$*'"'
		. tests/tap.sh
		is "$(nproc)" "$cpus" "CPUs"
		case $(uname -r) in "$kernel".* | *-kiln-"$kernel") ;; *) false ;; esac
		ok $? "the kernel" "$kernel" "$(uname -r)"
		for test in $tests; do
			case $test in
			# Where its source is: the build may still have it where it was before.
			*.c) program=$(ls tests/{guest,kselftest}/"$test" 2>/dev/null) program=$KILN_BUILD/${program%.c} ;;
			*) program=tests/guest/$test ;;
			esac
			timeout -k 5 "${LIMIT:-180}" "$program" >/tmp/log 2>&1
			rc=$?
			[ $rc -eq 0 ] && ! grep -q "^not ok" /tmp/log && grep -q "^1\.\." /tmp/log
			ok $? "${test%.*}" "status 0, nothing that is not ok" "status $rc: $(grep -A 3 -E "^(not ok|Bail)" /tmp/log | head -n 12)"
		done
		said=$(tests/machine/leaks)
		ok $? "no memory is lost" "" "$(head -n 40 <<<"$said")"
		done_testing' 2>"$dir/err"
	rc=$?
	[ $rc -eq 0 ] || sed 's/^/# /' "$dir/err"
	[ $rc -ne 124 ] || tail -n 60 "$dir/console" | sed 's/^/# /'
	if ! tests/machine/reports "$dir/console" >"$dir/said"; then
		echo "# the kernel log is not clean"
		sed 's/^/# /' "$dir/said"
		return 1
	fi
	return $rc
}
