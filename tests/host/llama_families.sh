#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Models of other families than llama, small and generated, in Debian's llama.cpp with the plug-in over the simulated card: each
# position's logits are those of the CPU backend.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
KILN_TREE=$(tests/machine/mkforky) || { echo "Bail out! no forky tree"; exit 1; }
export KILN_TREE
models=build/models
mkdir -p "$models"

for family in gpt2 gemma2 bloom qwen2 mamba; do
	model=$models/$family.gguf
	env -u KILN_TREE tests/machine/tree python3 tests/serve/family.py $family "$model"
	# shellcheck disable=SC2016 # the tree's shell
	got=$(tests/machine/tree env LD_LIBRARY_PATH=build/tree/lib GGML_BACKEND_PATH=/kiln/build/tree/lib/libggml-kiln.so \
		KILN_GGML_CARDS=sim bash -c '
		run() { timeout 120 llama-perplexity -m "$1" -ngl 99 -c 128 -f README.md --chunks 2 --kl-divergence-base "$1.logits" \
			--device "${@:2}" </dev/null; }
		run "$1" none >/dev/null 2>&1
		# A thread writes what it says, and its exit does not wait for that.
		for _ in 1 2 3; do
			run "$1" Kiln0 --kl-divergence >/tmp/said 2>"$1.said" || break
			! grep -q "^Maximum KLD" /tmp/said || break
		done
		cat /tmp/said' - "$model")
	kld=$(sed -nE 's/^Maximum KLD: *([0-9.]+).*/\1/p' <<<"$got")
	same=$(sed -nE 's/^Same top p: *([0-9.]+).*/\1/p' <<<"$got")
	awk -v kld="$kld" -v same="$same" 'BEGIN { exit !(kld != "" && kld <= 0.0005 && same >= 97) }'
	ok $? "$family: the logits of the CPU backend, at 126 positions" "a divergence of at most 0.0005, the same first choice at 97 % of them" \
		"${kld:-none}, ${same:-none} %: $(tail -n 2 "$model.said")"
	rm -f "$model.said" "$model.logits"
done
done_testing
