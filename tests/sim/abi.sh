#!/bin/bash
# SPDX-License-Identifier: MIT
# What libkiln.so exports, name by name with its version, is what userspace/debian/libkiln0.symbols says. A program that was
# linked against it stays right: nothing goes away, and what is new is written down.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
lib=${KILN_BUILD:-build/tree}/lib/libkiln.so
list=userspace/debian/libkiln0.symbols

exported=$(nm -D --defined-only --with-symbol-versions "$lib" | awk '$2 != "A" { sub("@@", "@", $3); print $3 }' | sort)
listed=$(sed -nE 's/^ ([^ ]+) [0-9.]+$/\1/p' "$list" | grep -v '^KILN_' | sort)
is "$(grep -vE '^(#|libkiln\.so\.0 libkiln0 #MINVER#$| [^ ]+ [0-9.]+$)' "$list")" "" "$list has the form that dpkg-gensymbols reads"
[ "$(wc -l <<<"$exported")" -gt 100 ]
ok $? "the library exports functions" "more than 100" "$(wc -l <<<"$exported")"
is "$(comm -13 <(echo "$exported") <(echo "$listed"))" "" "nothing went away: a program that uses it would not start any more"
is "$(comm -23 <(echo "$exported") <(echo "$listed"))" "" "what is new stands in $list, with the version that has it first"
is "$(grep -v '@KILN_' <<<"$exported")" "" "every function has a version"
is "$(readelf -d "$lib" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')" "libkiln.so.0" "soname"
done_testing
