#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Debian's llama.cpp with the plug-in, in the forky tree over the simulated card: the greedy tokens and the logits of generated
# models are those of the CPU backend; llama-bench and llama-perplexity run; files that lie, and cards too small, are refused with a word.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
KILN_TREE=$(tests/machine/mkforky) || { echo "Bail out! no forky tree"; exit 1; }
export KILN_TREE
models=build/models
mkdir -p "$models"

# on CARDS PROGRAM [ARGS...]: with the plug-in and those cards, or, if that is "", those that there are
on() {
	local cards=$1
	shift
	tests/machine/tree env LD_LIBRARY_PATH=build/tree/lib GGML_BACKEND_PATH=/kiln/build/tree/lib/libggml-kiln.so \
		${cards:+KILN_GGML_CARDS="$cards"} timeout 120 "$@" </dev/null 2>"$models/said"
}
# longest CMD...: the longest of three outputs; a thread of llama.cpp's writes it, and its exit does not wait for the last word.
longest() {
	local said best="" rc
	for _ in 1 2 3; do
		said=$("$@")
		rc=$?
		[ ${#said} -le ${#best} ] || best=$said
	done
	printf '%s\n' "$best"
	return $rc
}
# llama CARDS DEVICE MODEL: what it says after "Tell me"; auto: llama.cpp's own choice
llama() {
	local device=(--device "$2")
	[ "$2" != auto ] || device=()
	longest on "$1" llama-completion -m "$3" "${device[@]}" -ngl 99 -c 512 -p "Tell me" -n 40 --temp 0 -no-cnv
}

for type in bf16 f16 f32 q8_0; do
	model=$models/15m-$type.gguf
	[ -e "$model" ] || env -u KILN_TREE tests/machine/tree python3 tests/serve/model.py 15m $type "$model"
	expected=$(llama sim none "$model")
	got=$(llama sim Kiln0 "$model")
	[ ${#got} -gt 30 ] && [ "$got" = "$expected" ]
	ok $? "15m $type: the tokens of the CPU backend" "$expected" "$got"

	# Each position's logits, from a file that the CPU backend has written. The CPU rounds activations to q8_0 where the weights are.
	perplexity=(llama-perplexity -m "$model" -ngl 99 -c 128 -f README.md --chunks 4 --kl-divergence-base "$models/logits")
	limit=0.0002 first=99
	[ $type != q8_0 ] || limit=0.005 first=97
	on sim "${perplexity[@]}" --device none >/dev/null
	got=$(on sim "${perplexity[@]}" --device Kiln0 --kl-divergence)
	kld=$(sed -nE 's/^Maximum KLD: *([0-9.]+).*/\1/p' <<<"$got")
	same=$(sed -nE 's/^Same top p: *([0-9.]+).*/\1/p' <<<"$got")
	awk -v kld="$kld" -v limit=$limit -v same="$same" -v first=$first 'BEGIN { exit !(kld != "" && kld <= limit && same >= first) }'
	ok $? "  its logits at 252 positions" "a divergence of at most $limit, the same first choice at $first % of them" \
		"${kld:-none}, ${same:-none} %: $(tail -n 3 "$models/said")"
done
rm -f "$models/logits"

got=$(on sim llama-bench -m "$models/15m-bf16.gguf" -dev Kiln0 -ngl 99 -p 32 -n 4 -r 1 -o jsonl)
is "$(grep -cE '"backends": "Kiln".*"avg_ts": [0-9]*[1-9]' <<<"$got")" 2 "llama-bench: prefill and decode"

# refuses CARDS FILE WORDS: status 1 each time, and WORDS sooner or later: a thread writes the log, and the exit does not wait for it.
refuses() {
	for _ in 1 2 3 4 5; do
		llama "$1" Kiln0 "$2" >/dev/null
		rc=$?
		[ $rc -eq 1 ] || return 1
		! grep -q "$3" "$models/said" || return 0
	done
	return 1
}
head -c 20000000 "$models/15m-bf16.gguf" >"$models/cut.gguf"
refuses sim "$models/cut.gguf" 'corrupted or incomplete'
ok $? "a truncated file is refused" "status 1, an error that says so" "$rc: $(tail -n 3 "$models/said")"
rm -f "$models/cut.gguf"

for lie in magic version tensors keys name rows negative type offset width layers heads; do
	env -u KILN_TREE tests/machine/tree python3 tests/serve/lie.py "$lie" "$models/15m-bf16.gguf" "$models/lie.gguf"
	refuses sim "$models/lie.gguf" 'failed to load model'
	ok $? "a file that lies about its $lie is refused" "status 1, an error that says so" "$rc: $(tail -n 3 "$models/said")"
done
rm -f "$models/lie.gguf"

refuses sim:hbm=64M "$models/15m-f32.gguf" 'failed to allocate Kiln0 buffer'
ok $? "a model that does not fit the card's memory is refused" "status 1, an error that says so" "$rc: $(tail -n 3 "$models/said")"

# Without -ngl llama.cpp asks how much room there is, and puts on the card what fits.
got=$(longest on sim:hbm=64M llama-completion -m "$models/15m-f32.gguf" -c 512 -p "Tell me" -n 40 --temp 0 -no-cnv)
is "$got" "$(llama sim none "$models/15m-f32.gguf")" "  unless llama.cpp may choose what it puts there"

# refused CARDS WORDS WHAT: none of the cards is to be had
refused() {
	got=$(llama "$1" auto "$models/15m-bf16.gguf")
	[ ${#got} -gt 30 ] && grep -q "$2" "$models/said"
	ok $? "$3, llama.cpp goes on and says so" "an answer, and \"$2\"" "$got: $(grep -i kiln "$models/said")"
}
refused sim:cores=none 'KILN_GGML_CARDS: sim:cores=none: ' "without the card that was named"
if [ ! -e /dev/accel ]; then refused "" 'no Kiln card in /dev/accel: is kiln.ko loaded' "on a machine without a card"; fi
done_testing
