#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual: every function that libkiln exports has a page, which says what it is for and what errors it gives; kiln(1) has
# every command. (host/manual.sh looks at how the pages are written.)
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
build=${KILN_BUILD:-build/tree}
man=$build/man

missing='' unnamed='' nameless='' without='' n=0
for name in $(nm -D --defined-only "$build/lib/libkiln.so" | awk '$2 == "T" { sub("@.*", "", $3); print $3 }'); do
	n=$((n + 1))
	page=$man/man3/$name.3
	[ ! -e "$page" ] || read -r request to <"$page"
	[ "$request" != .so ] || page=$man/$to
	[ -s "$page" ] || { missing+=" $name"; continue; }
	about=$(sed -n '/^\.SH NAME/,/^\.SH LIBRARY/p' "$page")
	grep -qE "^$name(,| )" <<<"$about" || unnamed+=" $name"
	! grep -q 'a function of libkiln' <<<"$about" || nameless+=" $name"
	! grep -q '^.fBint ' "$page" || grep -q '^\.SH ERRORS' "$page" || without+=" $name"
done
[ $n -gt 100 ]
ok $? "the library has functions" "more than 100" "$n"
is "$missing" "" "each has a page of section 3"
is "$unnamed" "" "which names it"
is "$nameless" "" "and says what it is, by userspace/man/summaries"
is "$without" "" "functions that return an errno say which, in paragraphs of their comment that begin with -E"
is "$(grep -lE '^(struct|enum) |\*/' "$man"/man3/*.3 | xargs grep -L '^\.EX')" "" "types stand as they are"

page=$man/man1/kiln.1
commands=$("$build/bin/kiln" nonsense 2>&1 | sed 's/.*there are //; s/,//g; s/ and / /')
[ "$(wc -w <<<"$commands")" -ge 10 ]
ok $? "kiln has commands" "10 or more" "$commands"
for command in $commands; do
	[ "$command" = help ] || { grep -A1 '^\.TP' "$page" | grep -qx "\.B ${command//-/\\\\-}"; ok $? "kiln(1) has $command" "a paragraph .B $command" "none"; }
	grep -qE "^.fBkiln ([a-z]+ \| )?${command//-/.{2\}}[ \\]" "$page"
	ok $? "  and its usage" "kiln $command in the synopsis" "$(sed -n '/SYNOPSIS/,/DESCRIPTION/p' "$page")"
done
missing=''
for option in $("$build/bin/kiln" help | grep -oE -- '--[a-z][a-z-]*' | sort -u); do
	grep -qF -- "${option//-/\\-}" "$page" || missing+=" $option"
done
is "$missing" "" "and every option of kiln help"
is "$(grep -n '@[A-Z]*@' "$page")" "" "nothing is left to fill in"
done_testing
