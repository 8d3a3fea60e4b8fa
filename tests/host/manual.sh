#!/bin/bash
# SPDX-License-Identifier: MIT
# The pages of the manual as two readers see them, mandoc and groff: nothing to complain of.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
stock=$(tests/machine/mkstock) || exit
pages=$(cd build/tree/man && ls man[13]/*)

in_stock() { KILN_TREE=$stock tests/machine/tree sh -c "cd build/tree/man && $1" 2>&1; }
[ "$(wc -l <<<"$pages")" -gt 100 ]
ok $? "there are pages" "more than 100" "$(wc -l <<<"$pages")"
is "$(in_stock 'for p in man?/*; do grep -q "^\.so" $p || mandoc -T lint -W style $p; done')" "" "mandoc -T lint says nothing"
is "$(in_stock 'for p in man?/*; do MANROFFSEQ= MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z $p >/dev/null; done')" "" "man --warnings says nothing"
is "$(in_stock 'for p in man?/*; do man -l $p | grep -q "^NAME" || echo $p; done')" "" "each page has a name"
done_testing
