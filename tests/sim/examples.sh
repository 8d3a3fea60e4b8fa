#!/bin/bash
# SPDX-License-Identifier: MIT
# The examples run, and what they answer is right: on the simulated card, or on the one that KILN_TRANSPORT names.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
examples=${KILN_BUILD:-build/tree}/bin/examples
card=${KILN_TRANSPORT:-sim}
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$dir"' EXIT

is "$("$examples/hello-matmul" "$card" | sed 's/[0-9]* cycles/N cycles/')" "result 0, N cycles, c[0][21] = 42" "hello-matmul"

said=$("$examples/decoder" "$card" 12 2>"$dir/cycles")
ok $? "decoder: its status" "0" "$(cat "$dir/cycles")"
is "$(wc -w <<<"$said")" 12 "decoder: as many tokens as were asked for"
[ "$(tr ' ' '\n' <<<"$said" | sort -u | wc -l)" -ge 4 ]
ok $? "decoder: they are not all the same" "4 or more" "$said"
grep -qE '^[1-9][0-9]* cycles a token$' "$dir/cycles"
ok $? "decoder: it took device time" "N cycles a token" "$(cat "$dir/cycles")"
is "$("$examples/decoder" "$card" 5 2>/dev/null)" "$(cut -d' ' -f1-5 <<<"$said")" "decoder: the first ones do not depend on how many follow"
if [ "$card" = sim ]; then
	# shellcheck disable=SC2086 # numbers
	found=$(python3 tests/sim/_examples.py decoder $said)
	awk '{ exit !($1 < $6 / 50) }' <<<"$found"
	ok $? "decoder: what it says is what a float64 model with its weights would, but for rounding" "below 1/50 of the spread" "$found"
	for other in sim:generation=trn1 sim:generation=trn3; do
		is "$("$examples/decoder" $other 12 2>/dev/null)" "$said" "decoder: the same on $other"
	done
else
	is "$("$examples/decoder" sim 12 2>/dev/null)" "$said" "decoder: the same on the simulated card"
fi
"$examples/decoder" "$card" 0 >"$dir/log" 2>&1
is "$? $(cat "$dir/log")" "2 decoder: 1 to 64 tokens" "decoder: no tokens is a mistake"
"$examples/decoder" nonsense >"$dir/log" 2>&1
is "$? $(grep -c 'no transport "nonsense"' "$dir/log")" "1 1" "decoder: so is a card that is none"

"$examples/server" "$dir/socket" "$card" 2>"$dir/log" &
server=$!
for _ in $(seq 600); do [ ! -S "$dir/socket" ] && kill -0 $server 2>/dev/null || break; sleep 0.1; done
is "$(timeout 200 python3 tests/sim/_examples.py server "$dir/socket" 2>&1)" "49 answers: right" "server: all clients get what they asked for"
is "$("$examples/server" "$dir/socket" "$card" 2>&1)" "server: Address already in use" "server: a second one on the same socket says so"
kill $server
wait $server
is "$? $(cat "$dir/log")" "0 " "server: ends well"
server=
[ ! -e "$dir/socket" ]
ok $? "server: and takes its socket along"
done_testing
