#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make serve: clients of this machine get streams of tokens from a guest's llama-server on the card, one after the other, one
# after another that went away in the middle, several at once, and several requests over one connection.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
export TIMEOUT=400

if [ "${1:-}" != client ]; then
	PORT=$((20000 + RANDOM % 10000))
	export PORT
	# A file of somebody's: a name with a space in it, not where the guest looks
	dir=$(mktemp -d)
	trap 'rm -rf "$dir" "build/models/a model.gguf"' EXIT
	export MODEL="$dir/a model.gguf"
	mkdir -p build/models
	tests/machine/tree python3 tests/serve/model.py 15m bf16 build/models/15m-serve.gguf && mv build/models/15m-serve.gguf "$MODEL"
	said=$(tests/serve/run "$0" client 2>&1)
	rc=$?
	printf '%s\n' "$said" | grep -E '^(ok|not ok|#|1\.\.)' || { echo "Bail out! status $rc: $(tail -n 3 <<<"$said")"; exit 1; }
	exit $rc
fi

KILN_TREE=$(tests/machine/mkforky)
export KILN_TREE
url=http://127.0.0.1:$PORT/v1/chat/completions

# ask WORDS TOKENS [CURL'S OPTIONS...]: the answer to a request
ask() {
	local words=$1 tokens=$2
	shift 2
	tests/machine/tree curl -s -m 200 "$@" "$url" \
		-d "{\"messages\":[{\"role\":\"user\",\"content\":\"$words\"}],\"max_tokens\":$tokens,\"temperature\":0,\"stream\":true}"
}
# strip ANSWER: the words in it
strip() { grep -o '"delta":{"content":"[^}]*' <<<"$1" | cut -d'"' -f 6 | tr -d '\n'; }

first=$(ask "who are you" 16)
count=$(grep -c '"delta":{"content":' <<<"$first")
grep -q '^data: \[DONE\]' <<<"$first" && [ "$count" -ge 16 ]
ok $? "a stream of tokens" "16 and the end" "$count: $(tail -c 300 <<<"$first")"

ask "count" 2000 -m 3 >/dev/null
is $? 28 "a client that goes away in the middle: curl's status"

again=$(ask "who are you" 16)
[ -n "$(strip "$again")" ] && [ "$(strip "$again")" = "$(strip "$first")" ]
ok $? "the next one gets the same answer as the first" "$(strip "$first")" "$(strip "$again")"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for i in 1 2 3; do ask "who are you" 16 >"$dir/$i" & done
ask "count" 2000 -m 3 >/dev/null &
wait
for i in 1 2 3; do
	got=$(<"$dir/$i")
	grep -q '^data: \[DONE\]' "$dir/$i" && [ "$(strip "$got")" = "$(strip "$first")" ]
	ok $? "client $i of three at once, beside one that goes away" "$(strip "$first")" "$(strip "$got")"
done

# A connection that serves the second request is none that curl had to make; after a stream llama-server closes.
got=$(tests/machine/tree curl -s -m 200 "$url" "$url" -d '{"messages":[{"role":"user","content":"who are you"}],"max_tokens":4}' \
	-w '\n%{http_code} connects %{num_connects}\n' | grep connects | tr '\n' ' ')
is "$got" "200 connects 1 200 connects 0 " "two requests over one connection"
said=$(MODEL=$MODEL.not tests/serve/run true 2>&1)
is "$? $said" "2 kiln: MODEL=$MODEL.not: no such file" "a model that is not there"
done_testing
