#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# probe.sh DIR OUT CC FLAGS...: for each DIR/NAME.c that compiles, OUT defines KILN_HAVE_NAME.
# A question is asked by compiling, not by version: stable kernels change interfaces too.
set -e
dir=$1 out=$2
shift 2

{
	echo "/* Made by kernel/compat/probe.sh. */"
	for c in "$dir"/*.c; do
		name=$(basename "$c" .c | tr '[:lower:]' '[:upper:]')
		if "$@" -Werror -Wno-missing-prototypes -Wno-missing-declarations -fsyntax-only "$c" 2>/dev/null; then
			echo "#define KILN_HAVE_$name 1"
		else
			echo "/* KILN_HAVE_$name is not defined */"
		fi
	done
} >"$out.tmp"

# Nothing at all compiles: then the flags are wrong, not the kernel.
if ! grep -q '^#define KILN_HAVE_BASE' "$out.tmp"; then
	echo "kiln: the probes for kernel interfaces do not compile; the compiler says:" >&2
	"$@" -fsyntax-only "$dir/base.c" >&2 || true
	rm -f "$out.tmp"
	exit 1
fi
mv "$out.tmp" "$out"
