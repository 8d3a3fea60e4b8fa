# SPDX-License-Identifier: MIT
#
# kiln(1), out of what "kiln help" says:
#
#	kiln help | awk -f kiln.awk -v version=V -v date=D kiln.1.in -
#
# The usage is the synopsis; "name  text", with lines indented further behind it, is a command; what ends in a colon, or has one
# behind names, is a heading of options; what is indented stands as it is; the rest is about files.

function literal(s) {
	gsub(/\\/, "\\e", s)
	gsub(/-/, "\\-", s)
	gsub(/'/, "\\(aq", s)
	gsub(/\^/, "\\(ha", s)
	gsub(/`/, "\\(ga", s)
	return s
}
# Running text, in lines that are not too long.
function text(s, n, r) {
	while (length(literal(s)) > 78) {
		for (n = 78; n && (substr(s, n, 1) != " " || length(literal(substr(s, 1, n))) > 78); n--) ;
		if (!n) break
		r = r literal(substr(s, 1, n - 1)) "\n"
		s = substr(s, n + 1)
	}
	return r literal(s) "\n"
}
function leave() { if (inside) options = options ".EE\n"; inside = 0 }

FNR == NR { page[++lines] = $0; next }

/^(usage:|      ) kiln / {
	sub(/^(usage:|      ) /, "")
	n = match($0, /^kiln [a-z-]+( \| [a-z]+)?/) ? RLENGTH : 0
	synopsis = synopsis "\\fB" literal(substr($0, 1, n)) "\\fR" literal(substr($0, n + 1)) "\n"
	next
}
# Commands come before the options.
!options_begin && /^[a-z-]+  +/ {
	name = $1
	sub(/^[a-z-]+ +/, "")
	commands = commands ".TP\n.B " literal(name) "\n" text($0)
	next
}
!options_begin && /^ / { sub(/^ +/, ""); commands = commands text($0); next }
/^Options/ { options_begin = 1 }
/^[A-Za-z, ]+:/ {
	leave()
	n = index($0, ":")
	options = options ".SS " literal(substr($0, 1, n - 1)) "\n"
	what = substr($0, n + 1)
	sub(/^ +/, "", what)
	if (what != "") options = options text(what) ".PP\n"
	next
}
/^ / { if (!inside) options = options ".EX\n"; inside = 1; sub(/^  /, ""); options = options literal($0) "\n"; next }
NF { leave(); options = options ".SS Files\n" text($0) }

END {
	leave()
	sub(/\n$/, "", synopsis)
	sub(/\n$/, "", commands)
	sub(/\n$/, "", options)
	for (i = 1; i <= lines; i++) {
		s = page[i]
		sub(/@DATE@/, date, s)
		sub(/@VERSION@/, version, s)
		if (s == "@SYNOPSIS@") s = synopsis
		else if (s == "@COMMANDS@") s = commands
		else if (s == "@OPTIONS@") s = options
		print s
	}
}
