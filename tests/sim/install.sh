#!/bin/bash
# SPDX-License-Identifier: MIT
# make install: what is there is enough to build the example against, shared and static, and exports what the headers say.
cd "$(dirname "$0")/../.." || exit
build=${KILN_BUILD:-build/tree}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset LD_LIBRARY_PATH
n=0

result() {	# status, what
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
	return "$1"
}
shown() { sed 's/^/# got /' "$dir/log"; }

make -C userspace CC=gcc O="$(realpath "$build")" PREFIX="$dir/usr" install >"$dir/log" 2>&1
result $? "make install" || shown
export PKG_CONFIG_PATH=$dir/usr/lib/pkgconfig
# shellcheck disable=SC2046 # flags are words
cc -std=c11 -Wall -Wextra -Werror -o "$dir/shared" userspace/examples/hello-matmul.c \
	$(pkg-config --cflags --libs kiln) >"$dir/log" 2>&1
result $? "the example builds with pkg-config" || shown
LD_LIBRARY_PATH=$dir/usr/lib "$dir/shared" sim >"$dir/log" 2>&1
result $? "it runs" || shown
grep -q 'result 0, .* c\[0\]\[21\] = 42' "$dir/log"
result $? "its result is right" || shown

mkdir "$dir/static"
cp "$dir/usr/lib/libkiln.a" "$dir/static"
# shellcheck disable=SC2046
cc -o "$dir/static/hello" userspace/examples/hello-matmul.c $(pkg-config --cflags kiln) \
	-L"$dir/static" $(pkg-config --static --libs kiln | sed "s|-L$dir/usr/lib||") >"$dir/log" 2>&1 &&
	"$dir/static/hello" sim >"$dir/log" 2>&1
result $? "it builds and runs with the static library" || shown

"$dir/usr/bin/kiln" info --transport sim >"$dir/log" 2>&1
result $? "the installed kiln finds its library" || shown

for header in kiln.h kiln_ops.h kiln_asm.h hw.h isa.h; do
	for language in c c++; do
		# shellcheck disable=SC2046
		echo "#include <$header>" | cc -x $language -Wall -Wextra -Werror -fsyntax-only \
			$(pkg-config --cflags kiln) - >"$dir/log" 2>&1
		result $? "$header alone, in $language" || shown
	done
done
# shellcheck disable=SC2046
echo '#include <drm/kiln_accel.h>' | cc -x c -fsyntax-only $(pkg-config --cflags kiln libdrm) - >"$dir/log" 2>&1
result $? "drm/kiln_accel.h" || shown

# Functions declared in the headers, against those that the library exports.
cat "$dir"/usr/include/kiln/kiln{,_ops,_asm}.h | sed 's|/\*.*\*/||' |
	grep -oE '\bkiln_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$dir/named"
nm -D --defined-only "$dir/usr/lib/libkiln.so" | sed -n 's/.* T \(.*\)@@KILN_0.1/\1/p' | sort >"$dir/exported"
comm -13 "$dir/named" "$dir/exported" >"$dir/log"
[ ! -s "$dir/log" ] && [ -s "$dir/exported" ]
result $? "nothing is exported that no header names" || shown
# Comments name kiln_x() too, so only what is declared with a type in front counts here.
cat "$dir"/usr/include/kiln/kiln{,_ops,_asm}.h | grep -E '^[a-z]' | grep -v '^typedef\|^static' |
	grep -oE '\bkiln_[a-z0-9_]+\(' | tr -d '(' | sort -u | comm -23 - "$dir/exported" >"$dir/log"
[ ! -s "$dir/log" ]
result $? "every function of the headers is exported" || shown
readelf -d "$dir/usr/lib/libkiln.so" | grep -q 'SONAME.*\[libkiln.so.0\]'
result $? "its soname is libkiln.so.0"
echo "1..$n"
