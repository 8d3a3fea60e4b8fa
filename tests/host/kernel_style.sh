#!/bin/bash
# SPDX-License-Identifier: MIT
# The driver as its reviewers' tools see it: checkpatch out of Debian's kernel source, and sparse as kbuild runs it.
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
dir=build/tree/style
rm -rf "$dir"
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT

# checkpatch FILE...: what it says about them, a line each, beside its sums.
checkpatch() {
	tests/machine/tree perl /usr/src/linux-source-6.12/scripts/checkpatch.pl --no-tree --strict --terse --show-types --no-summary \
		--max-line-length=100 "$@" 2>&1
}

# sparse CMD...: what it says while kbuild runs, a line each.
sparse() {
	"$@" C=2 CHECK=sparse >"$dir/log" 2>&1 || cat "$dir/log"
	grep -E '^[^ ]*: *(warning|error):' "$dir/log" | sed 's|^/kiln/build/tree/[a-z]*/||' | sort -u
}

# Both see what is planted for them: silence means something.
cat >"$dir/planted.c" <<-'END'
	// SPDX-License-Identifier: GPL-2.0-only
	#include <linux/module.h>
	static int kiln_planted(int __user *p)
	{
	        return *p;
	}
	module_param_call(planted, NULL, (void *)kiln_planted, NULL, 0);
	MODULE_LICENSE("GPL");
END
echo "obj-m := planted.o" >"$dir/Kbuild"
boot=$(tests/machine/mkkernel)
build=$(tests/machine/tree cat "$boot/build")

said=$(checkpatch -f "$dir/planted.c")
grep -q CODE_INDENT <<<"$said"
ok $? "checkpatch sees spaces where a tab belongs" "CODE_INDENT" "$said"
said=$(sparse tests/machine/tree make -C "$build" "M=/kiln/$dir" modules)
grep -q 'dereference of noderef' <<<"$said"
ok $? "sparse sees a user pointer that is followed" "dereference of noderef expression" "$said"

# The macros of tracepoints are laid out as nothing else is.
is "$(checkpatch --ignore=OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT -f kernel/kiln_trace.h)" "" "checkpatch: the tracepoints"
is "$(find kernel include/uapi -name '*.[ch]' ! -name kiln_trace.h -print0 | sort -z | xargs -0 bash -c "$(declare -f checkpatch)"'; checkpatch -f "$@"' checkpatch)" \
	"" "checkpatch: all of kernel/ and the uapi header"
is "$(sparse tests/machine/mkmodule)" "" "sparse: all of kernel/"
done_testing
