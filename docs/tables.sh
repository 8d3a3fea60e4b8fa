#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Rewrites the tables in docs/*.md that are made from the source. A table
# stands between "<!-- table NAME -->" and "<!-- end -->". With --check it
# changes nothing and fails, with the difference, if a table is out of date.
set -eu
cd "$(dirname "$0")/.."

hw=include/kiln/hw.h
uapi=include/uapi/drm/kiln_accel.h
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${CC:-cc} -Wall -Iinclude -o "$work/isa_pages" docs/isa_pages.c

registers() {
	echo '| offset | register | access and meaning |'
	echo '| --- | --- | --- |'
	sed -nE 's,^#define (KILN_REG_[A-Z0-9_]+)[[:space:]]+(0x[0-9a-f]+)[[:space:]]*(/\* (.*) \*/)?$,| \2 | `\1` | \4 |,p' $hw
}

# enumerators NAME... of the enum $2 in file $1
enumerators() {
	echo '| value | name | meaning |'
	echo '| --- | --- | --- |'
	sed -n "/^enum $2 {/,/^};/p" "$1" |
	sed -nE 's,^[[:space:]]+([A-Z0-9_]+)[[:space:]]*= (0x[0-9a-f]+|[0-9]+)\,[[:space:]]*(/\* (.*) \*/)?$,| \2 | `\1` | \4 |,p'
}

# The instruction set's, by a program that includes isa.def
isa() {
	"$work/isa_pages" "$1"
}

ioctls() {
	echo '| ioctl | argument | purpose |'
	echo '| --- | --- | --- |'
	sed -nE '/^#define DRM_IOCTL_KILN_/{N;s/^#define (DRM_IOCTL_KILN_[A-Z_]+) .*struct (drm_kiln_[a-z_]+)\).*/\1 \2/p}' $uapi |
	while read -r ioctl arg; do
		purpose=$(sed -nE "s/^ \* struct $arg - (.*)/\1/p" $uapi)
		echo "| \`$ioctl\` | \`struct $arg\` | $purpose |"
	done
}

errors() {
	echo '| errno | when |'
	echo '| --- | --- |'
	sed -n '/^ \* Result (the CQE/,/^ \* DRM_IOCTL_KILN_VM_FAULT/p' $uapi |
	sed -nE 's/^ \*[ \t]+(.*)/\1/p' | sed -nE '/^(-E|[a-z]|an)/p' |
	awk '/^-E/ { if (row) print row " |"; code = $1; $1 = ""; row = "| `" code "` |" $0; next }
	     /^(Result|DRM_)/ { next }
	     row { row = row " " $0 }
	     END { if (row) print row " |" }' |
	grep -v 'Result (the'
}

example() {
	echo '```c'
	sed 1d userspace/examples/hello-matmul.c
	echo '```'
}

table() {
	case $1 in
	registers)	registers ;;
	statuses)	enumerators $hw kiln_status ;;
	commands)	enumerators $hw kiln_opcode ;;
	instructions | alu | activations | dtypes | pages) isa "$1" ;;
	ioctls)		ioctls ;;
	errors)		errors ;;
	example)	example ;;
	*)		echo "docs/tables.sh: no table '$1'" >&2; exit 1 ;;
	esac
}

status=0
for page in docs/*.md README.md; do
	[ -e "$page" ] || continue
	grep -q '^<!-- table ' "$page" || continue
	new=$(mktemp)
	skip=
	while IFS= read -r line; do
		case $line in
		'<!-- table '*)
			echo "$line"
			name=${line#<!-- table }
			table "${name% -->}"
			skip=1 ;;
		'<!-- end -->')
			skip=
			echo "$line" ;;
		*)
			[ -n "$skip" ] || printf '%s\n' "$line" ;;
		esac
	done < "$page" > "$new"
	if [ "${1-}" = --check ]; then
		diff -u "$page" "$new" || { echo "$page is out of date: run docs/tables.sh"; status=1; }
		rm "$new"
	else
		cat "$new" > "$page"
		rm "$new"
	fi
done
exit $status
