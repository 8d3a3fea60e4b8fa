#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Debian's llama.cpp with the plug-in, in the forky tree over the simulated card: the greedy tokens of generated models are
# those of the CPU backend, and bad files and cards too small are refused with a word.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
KILN_TREE=$(tests/machine/mkforky) || { echo "Bail out! no forky tree"; exit 1; }
export KILN_TREE
models=build/models
mkdir -p "$models"

# llama CARDS DEVICE MODEL: what it says after "Tell me"
llama() {
	tests/machine/tree env LD_LIBRARY_PATH=build/tree/lib GGML_BACKEND_PATH=/kiln/build/tree/lib/libggml-kiln.so \
		KILN_GGML_CARDS="$1" timeout 120 llama-completion -m "$3" --device "$2" -ngl 99 -c 512 -p "Tell me" -n 40 \
		--temp 0 -no-cnv 2>"$models/said"
}

for type in bf16 f16 f32 q8_0; do
	model=$models/15m-$type.gguf
	[ -e "$model" ] || env -u KILN_TREE tests/machine/tree python3 tests/serve/model.py 15m $type "$model"
	expected=$(llama sim none "$model")
	got=$(llama sim Kiln0 "$model")
	[ ${#got} -gt 30 ] && [ "$got" = "$expected" ]
	ok $? "15m $type: the tokens of the CPU backend" "$expected" "$got"
done

head -c 20000000 "$models/15m-bf16.gguf" >"$models/cut.gguf"
llama sim Kiln0 "$models/cut.gguf" >/dev/null
[ $? -ne 0 ] && grep -q 'corrupted or incomplete' "$models/said"
ok $? "a truncated file is refused" "an error that says so" "$(tail -n 3 "$models/said")"
rm -f "$models/cut.gguf"

llama sim:hbm=64M Kiln0 "$models/15m-f32.gguf" >/dev/null
[ $? -ne 0 ] && grep -q 'failed to allocate Kiln0 buffer' "$models/said"
ok $? "a model that does not fit the card's memory is refused" "an error that says so" "$(tail -n 3 "$models/said")"

got=$(llama sim:cores=none none "$models/15m-bf16.gguf")
[ ${#got} -gt 30 ]
ok $? "without the card that was named, llama.cpp goes on" "an answer" "$(tail -n 3 "$models/said")"
done_testing
