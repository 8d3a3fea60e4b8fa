#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make serve: a client of this machine gets a stream of tokens from a guest's llama-server on the card, and the next one, too,
# after one that went away in the middle.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
export SIZE=15m TYPE=bf16 TIMEOUT=400

if [ "${1:-}" != client ]; then
	PORT=$((20000 + RANDOM % 10000))
	export PORT
	said=$(tests/serve/run "$0" client 2>&1)
	rc=$?
	printf '%s\n' "$said" | grep -E '^(ok|not ok|#|1\.\.)' || { echo "Bail out! status $rc: $(tail -n 3 <<<"$said")"; exit 1; }
	exit $rc
fi

# ask WORDS TOKENS [CURL'S OPTIONS...]: the answer to a request
KILN_TREE=$(tests/machine/mkforky)
export KILN_TREE
unset KILN_ROOT
ask() {
	local words=$1 tokens=$2
	shift 2
	tests/machine/tree curl -s -m 200 "$@" "http://127.0.0.1:$PORT/v1/chat/completions" \
		-d "{\"messages\":[{\"role\":\"user\",\"content\":\"$words\"}],\"max_tokens\":$tokens,\"temperature\":0,\"stream\":true}"
}

first=$(ask "who are you" 16)
count=$(grep -c '"delta":{"content":' <<<"$first")
grep -q '^data: \[DONE\]' <<<"$first" && [ "$count" -ge 16 ]
ok $? "a stream of tokens" "16 and the end" "$count: $(tail -c 300 <<<"$first")"

ask "count" 2000 -m 3 >/dev/null
rc=$?
ok $((rc != 28)) "a client that goes away in the middle" "28, curl's timeout" "$rc"

again=$(ask "who are you" 16)
strip() { grep -o '"delta":{"content":"[^}]*' <<<"$1"; }
[ -n "$(strip "$again")" ] && [ "$(strip "$again")" = "$(strip "$first")" ]
ok $? "the next one gets the same answer as the first" "$(strip "$first" | tr -d '\n')" "$(strip "$again" | tr -d '\n')"
done_testing
