# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What every script of this folder shares: where things are, how they are keyed, how progress is told.

set -euo pipefail
# A caller's locale, umask or CDPATH must not change what is built.
export LC_ALL=C.UTF-8
umask 022
unset CDPATH

KILN_MACHINE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KILN_TOP=$(cd "$KILN_MACHINE/../.." && pwd)
KILN_CACHE=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/kiln

# Without root, everything below happens in one user namespace: enter it once.
if [ "$(id -u)" -ne 0 ] && [ -z "${KILN_IN_USERNS:-}" ]; then
	export KILN_IN_USERNS=1
	if unshare --map-root-user --map-auto -m true 2>/dev/null; then
		exec unshare --map-root-user --map-auto -m --propagation private -- "$BASH" "$0" "$@"
	fi
	echo "kiln: not root, and user namespaces with subordinate ids are not to be had here" \
		"(apt-get install uidmap, and a line for you in /etc/subuid and /etc/subgid); or run as root" >&2
	exit 1
fi

say() { echo "kiln: $*" >&2; }
die() { say "$*"; exit 1; }

# hash_of FILE_OR_DIR...: a short key for the content and the names of what is given, wherever the checkout stands.
hash_of() {
	(cd "$KILN_TOP" && find "$@" -type f ! -name '*.swp' ! -name '*~' -print0 2>/dev/null |
		sort -z | xargs -0r sha256sum) | sha256sum | cut -c1-16
}

# with_lock NAME CMD...: runs CMD while no other make, in any checkout, does the same.
with_lock() {
	local name=$1 fd
	shift
	mkdir -p "$KILN_CACHE"
	exec {fd}>"$KILN_CACHE/$name.lock"
	if ! flock -n "$fd"; then
		say "waiting for another run that is making the same ($name)"
		flock "$fd"
	fi
	"$@" # under set -e: a failure ends the script, and with it the lock
	exec {fd}>&-
}

# step TITLE LOG COUNT CMD...: runs CMD with its output in LOG and says every few seconds how far it is.
# COUNT is a function that reads the log's path from $1 and prints progress; "true" if there is none.
step() {
	local title=$1 log=$2 count=$3 pid start=$SECONDS told=0 rc=0
	shift 3
	say "$title ..."
	mkdir -p "$(dirname "$log")"
	# A process group of its own, so that an interrupted step takes all of its children along.
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	trap 'kill -- "-$pid" 2>/dev/null; exit 130' INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if [ $((SECONDS - start - told)) -ge 5 ]; then
			told=$((SECONDS - start))
			say "  $title: $("$count" "$log" 2>/dev/null || true) (${told} s)"
		fi
	done
	wait "$pid" || rc=$?
	trap - INT TERM HUP
	if [ "$rc" -ne 0 ]; then
		tail -n 25 "$log" >&2
		say "$title failed after $((SECONDS - start)) s; the whole log is $log"
		return "$rc"
	fi
	say "$title: done in $((SECONDS - start)) s"
}

# Counters for step().
count_ninja() { grep -oE '^\[[0-9]+/[0-9]+\]' "$1" | tail -n 1; }
