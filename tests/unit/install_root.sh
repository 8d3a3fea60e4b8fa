#!/bin/bash
# SPDX-License-Identifier: MIT
# make install as packages are made, into a root of its own, and the README's example against what is there.
# (sim/install.sh looks at headers and libraries more closely.)
cd "$(dirname "$0")/../.." || exit
. tests/tap.sh
build=${KILN_BUILD:-$PWD/build/tree}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
root=$dir/root
unset LD_LIBRARY_PATH

# CC as in mkuser: with another name of it all would be built anew, under those who run it.
works "make install" make --no-print-directory install CC=gcc O="$build" PREFIX=/usr DESTDIR="$root"
for file in bin/kiln lib/libkiln.so lib/libkiln.so.0 lib/libkiln.a lib/pkgconfig/kiln.pc \
	include/kiln/kiln.h include/kiln/kiln_ops.h include/kiln/kiln_asm.h; do
	[ -e "$root/usr/$file" ]
	ok $? "$file is there" "/usr/$file" "$(cd "$root" && find . -type f | sort)"
done
is "$(cd "$root/usr" && find . -perm /022 ! -type l)" "" "only its owner may write what was installed"
is "$(grep -rlF -e "$build" -e "$dir" "$root/usr/lib/pkgconfig" "$root/usr/include")" "" "no text names the place where it was made"

# kiln.pc speaks of /usr; under the root it stands in for.
pc() { PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/usr/lib/pkgconfig:$(pkg-config --variable pc_path pkg-config) pkg-config "$@" kiln; }
number() { sed -nE "s/^#define KILN_VERSION_$1[[:space:]]+([0-9]+)$/\1/p" userspace/include/kiln.h; }
version=$(number MAJOR).$(number MINOR).$(number PATCH)
is "$(pc --modversion)" "$version" "kiln.pc has the header's version"
is "$("$root/usr/bin/kiln" version)" "kiln $version" "the installed command finds its library"
read -r -a cflags < <(pc --cflags)
read -r -a libs < <(pc --libs)

lib=$root/usr/lib/libkiln.so
is "$(nm -D --defined-only "$lib" | awk '$3 !~ /^kiln_.*@@KILN_0\.1$/ && $3 != "KILN_0.1" { print $3 }')" "" "the library exports kiln_* of KILN_0.1 and nothing else"

sed -n '/^<!-- table example -->/,/^<!-- end -->/p' README.md | sed '/^<!--/d; /^```/d' >"$dir/hello.c"
lines=$(wc -l <"$dir/hello.c")
[ "$lines" -ge 20 ]
ok $? "the README has an example" "20 lines or more" "$lines lines"
works "it compiles" gcc -Wall -Wextra -Werror "$dir/hello.c" "${cflags[@]}" "${libs[@]}" -o "$dir/hello"
out=$(LD_LIBRARY_PATH=$root/usr/lib "$dir/hello" sim 2>&1)
ok $? "it runs" "status 0" "$out"
grep -qE '^result 0, [1-9][0-9]* cycles, c\[0\]\[21\] = 42$' <<<"$out"
ok $? "  and computes" "result 0, N cycles, c[0][21] = 42" "$out"
done_testing
