#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two llama-servers on one card. One is killed while the other streams; the card is reset while one streams: that request ends with
# an error, the next one works.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
model=build/models/15m-bf16.gguf
mkdir -p build/models
[ -e "$model" ] || tests/machine/tree python3 tests/serve/model.py 15m bf16 "$model"

# shellcheck disable=SC2016 # the guest's shell
guest='
	. tests/tap.sh
	export GGML_BACKEND_PATH=/kiln/build/tree/lib/libggml-kiln.so
	card=$(readlink -f /sys/class/accel/accel0/device)
	# serve PORT: its process is in $server
	serve() {
		llama-server -m '"$model"' -ngl 99 --host 127.0.0.1 --port "$1" --no-webui -c 1024 --no-warmup >/tmp/log."$1" 2>&1 &
		server=$!
		until curl -sf "http://127.0.0.1:$1/health" >/dev/null; do
			kill -0 $server 2>/dev/null || { echo "Bail out! $(tail -n 5 /tmp/log."$1")"; exit 1; }
			sleep 0.5
		done
	}
	# ask PORT TOKENS FILE: the stream, as it comes
	ask() {
		rm -f "$3"
		curl -sN -m 200 "http://127.0.0.1:$1/v1/chat/completions" -o "$3" \
			-d "{\"messages\":[{\"role\":\"user\",\"content\":\"who are you\"}],\"max_tokens\":$2,\"temperature\":0,\"stream\":true}"
	}
	words() { grep -o "\"delta\":{\"content\":\"[^}]*" "$1" | cut -d "\"" -f 6 | tr -d "\n"; }
	# begun FILE...: each has its first words
	begun() { for f; do for _ in $(seq 300); do grep -qs "\"content\":\"" "$f" && break; sleep 0.1; done; done; }
	# same FILE WHAT: the whole answer, as the first server gave it alone
	same() {
		grep -q "^data: \[DONE\]" "$1" && [ "$(words "$1")" = "$(words /tmp/alone)" ]
		ok $? "$2" "$(words /tmp/alone)" "$(tail -c 300 "$1")"
	}

	serve 8081
	first=$server
	serve 8082
	second=$server
	ask 8081 60 /tmp/alone
	[ "$(words /tmp/alone | wc -c)" -ge 60 ]
	ok $? "an answer" "60 tokens" "$(tail -c 300 /tmp/alone)"
	ask 8081 60 /tmp/a & one=$!
	ask 8082 60 /tmp/b
	wait $one
	same /tmp/a "two servers on one card at once: the first"
	same /tmp/b "  the second"

	ask 8082 900 /tmp/b & two=$!
	begun /tmp/b
	ask 8081 60 /tmp/a & one=$!
	begun /tmp/a
	kill -9 $second
	wait $one
	same /tmp/a "one is killed while both stream: the other goes on"
	wait $two
	! grep -q "^data: \[DONE\]" /tmp/b
	ok $? "  it was not done" "no end" "$(tail -n 2 /tmp/b)"
	serve 8082
	ask 8082 60 /tmp/b
	same /tmp/b "  another takes its place"

	ask 8081 900 /tmp/a & one=$!
	ask 8082 900 /tmp/b & two=$!
	begun /tmp/a /tmp/b
	echo 1 >"$card/reset"
	wait $one $two
	for f in a b; do
		grep -q "\"error\":" /tmp/$f && ! grep -q "^data: \[DONE\]" /tmp/$f
		ok $? "the card is reset while two stream: a request ends with an error" "an error, no end" "$(tail -c 400 /tmp/$f)"
	done
	ask 8081 60 /tmp/a
	same /tmp/a "  the next one of the first server works"
	ask 8082 60 /tmp/b
	same /tmp/b "  and of the second"
	kill -0 $first $server
	ok $? "  they live" "two processes" "$(tail -n 5 /tmp/log.8081 /tmp/log.8082)"
	done_testing
'
KILN_ROOT=forky MEM=4G CPUS=2 TIMEOUT=500 tests/machine/guest -- "$guest"
