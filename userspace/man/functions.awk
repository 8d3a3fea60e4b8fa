# SPDX-License-Identifier: MIT
#
# The manual pages of libkiln's functions, out of the comments of its headers:
#
#	awk -f functions.awk -v out=DIR -v version=V -v date=D isa.def summaries kiln.h kiln_ops.h kiln_asm.h EXAMPLE.c
#
# The headers keep these rules:
#	- a comment stands right above what it describes; functions without a gap between them share it, and a page,
#	  whose name is the first one's; in kiln_asm.h a section ("---- name --") has one page
#	- a paragraph that begins with "-E..." lists errors, "-EXXX text, -EYYY text; ..."; one that begins with
#	  "Returns" is the page's RETURN VALUE
#	- lines with a tab in them, or indented by two spaces, are shown as they stand
#	- "As kiln_x()." takes over the comment of kiln_x()
# Types that a function's declaration names, and those that these name, are shown in full.

# ----------------------------------------------------------------- reading --

function base(path) { sub(/.*\//, "", path); return path }

FNR == 1 { file = base(FILENAME); header = file ~ /\.h$/; comment = ""; section = ""; fresh = 1; gap = 1; state = "" }

file == "isa.def" {
	if (match($0, /^KILN_INSN\([A-Z0-9_]+,/)) insn = substr($0, 11, RLENGTH - 11)
	if (insn != "" && match($0, /"[^"]*"/)) {
		insn_doc[insn] = substr($0, RSTART + 1, RLENGTH - 2)
		insn = ""
	}
	next
}
file == "summaries" {
	if ($0 !~ /^#/ && NF) { n = index($0, "\t"); name = substr($0, 1, n - 1); sub(/.*\t/, ""); summary[name] = $0 }
	next
}
file ~ /\.c$/ { example = example $0 "\n"; next }

# The text of a comment, without its stars.
state == "comment" {
	line = $0
	ends = sub(/[ \t]*\*\/.*/, "", line)
	sub(/^ \*/, "", line)
	sub(/^ /, "", line)
	comment = comment line "\n"
	if (ends) end_comment()
	next
}
state == "" && /^\/\*/ {
	if (match($0, /-----* [^-].* --/)) {
		section = substr($0, RSTART, RLENGTH)
		gsub(/^-* | --$/, "", section)
		comment = ""
		gap = 1
		next
	}
	comment = ""
	gap = 1
	state = "comment"
	line = $0
	sub(/^\/\* ?/, "", line)
	if (sub(/[ \t]*\*\/.*/, "", line)) { comment = line "\n"; end_comment() } else if (line != "") comment = line "\n"
	next
}
function end_comment() {
	state = ""
	# The first of a header is about all of it.
	if (comment ~ /^SPDX/) comment = ""
	else if (fresh) { about[file] = comment; comment = ""; fresh = 0 }
}

state == "" && /^$/ { comment = ""; gap = 1; next }
state == "" && /^#define KILN_[A-Z_]+(\(|[ \t])/ && $0 !~ /_H$/ {
	name = $2
	sub(/\(.*/, "", name)
	state = "define"
	text = ""
}
state == "define" {
	text = text $0 "\n"
	if ($0 !~ /\\$/) { add_type(name, text); state = "" }
	next
}
state == "" && /^(#|extern|})/ { next }
state == "" && /^(struct|enum) [a-z_]+;$/ { next }
state == "" && /^(struct|enum) [a-z0-9_]+ {$/ { state = "type"; name = $2; text = "" }
state == "type" {
	text = text $0 "\n"
	if (/^};/) { add_type(name, text); state = "" }
	next
}
state == "" && /^typedef/ { name = $0; sub(/\)\(.*/, "", name); sub(/.*\*/, "", name); add_type(name, $0 "\n"); next }
state == "" && /^[a-z]/ { state = "function"; text = "" }
state == "function" {
	text = text $0 "\n"
	if (/;$/) { add_function(text); state = "" }
	next
}

function add_type(name, text) {
	type_text[name] = text
	type_comment[name] = comment
	type_number[name] = ++type_count
	type_name[type_count] = name
	recent = recent " " name
	comment = ""
	gap = 1
}

function add_function(text, name, insn) {
	name = text
	sub(/\(.*/, "", name)
	sub(/.*[ *]/, "", name)
	declaration[name] = text
	insn = toupper(name)
	sub(/^KILN_ASM_/, "", insn)
	if (insn == "DMA") insn = "DMA_COPY"
	if (file == "kiln_asm.h") {
		if (page_of_section[section] == "") { page_of_section[section] = name; new_page(name) }
		page = page_of_section[section]
		# Without a word of its own it shares the words before it.
		if (comment == "" && !(insn in insn_doc) && !gap) group_of[name] = last
		else group_of[name] = name
		if (insn in insn_doc) lead[name] = insn ": " insn_doc[insn] "."
	} else {
		if (gap) { page = name; new_page(name) }
		group_of[name] = page
	}
	if (group_of[name] == name) last = name
	functions[page] = functions[page] " " name
	if (comment != "") text_of[group_of[name]] = text_of[group_of[name]] comment
	own[page] = own[page] recent
	recent = comment = ""
	gap = 0
}

function new_page(name) {
	pages[++page_count] = name
	header_of[name] = file
	section_of[name] = section
}

# ----------------------------------------------------------------- writing --

# As it stands: every character itself, tabs to eight columns.
function literal(s, i, c, r, n) {
	for (i = 1; i <= length(s); i++) {
		c = substr(s, i, 1)
		if (c == "\t") { do { r = r " "; n++ } while (n % 8); continue }
		n++
		if (c == "\\") c = "\\e"
		else if (c == "-") c = "\\-"
		else if (c == "'") c = "\\(aq"
		else if (c == "`") c = "\\(ga"
		else if (c == "^") c = "\\(ha"
		else if (c == "~") c = "\\(ti"
		r = r c
	}
	return r ~ /^[.]/ ? "\\&" r : r
}

# Running text: minus signs, and functions of ours as references.
function prose(s, r, word) {
	gsub(/\\/, "\\e", s)
	gsub(/\^/, "\\(ha", s)
	gsub(/~/, "\\(ti", s)
	gsub(/`/, "\\(ga", s)
	s = " " s
	while (match(s, /[^A-Za-z0-9\\]-[A-Za-z0-9]/)) s = substr(s, 1, RSTART) "\\-" substr(s, RSTART + 2)
	s = substr(s, 2)
	while (match(s, /kiln_[a-z0-9_]+\(\)/)) {
		word = substr(s, RSTART, RLENGTH - 2)
		r = r substr(s, 1, RSTART - 1) "\\fB" word "\\fR" (word in declaration ? "(3)" : "()")
		s = substr(s, RSTART + RLENGTH)
	}
	s = r s
	return s ~ /^[.']/ ? "\\&" s : s
}

function put(s) { print s > path }

# A line of running text, short enough when what is marked in it is.
function put_line(s, n) {
	while (length(s) > 62) {
		for (n = 62; n && substr(s, n, 1) != " "; n--) ;
		if (!n) break
		put(prose(substr(s, 1, n - 1)))
		s = substr(s, n + 1)
	}
	put(prose(s))
}

function put_literal(text, n, i, lines) {
	n = split(text, lines, "\n")
	while (n && lines[n] == "") n--
	put(".EX")
	for (i = 1; i <= n; i++) put(literal(lines[i]))
	put(".EE")
}

# Paragraphs go to where they belong; first: no .PP before the first one.
function put_text(text, first, n, i, lines, buffer, verbatim, v) {
	n = split(text, lines, "\n")
	for (i = 1; i <= n + 1; i++) {
		v = lines[i] ~ /\t|^  /
		if (buffer != "" && (i > n || lines[i] == "" || v != verbatim)) {
			if (verbatim) { if (!first) put(".PP"); put_literal(buffer); first = 0 }
			else first = put_paragraph(buffer, first)
			buffer = ""
		}
		if (i <= n && lines[i] != "") { buffer = buffer lines[i] "\n"; verbatim = v }
	}
	return first
}

function put_paragraph(s, first, n, i, lines) {
	if (s ~ /^-E[A-Z]/) { errors = errors (errors == "" ? "" : ", ") s; return first }
	if (s ~ /^Returns/) { returns = returns s; return first }
	if (!first) put(".PP")
	n = split(s, lines, "\n")
	for (i = 1; i <= n; i++) if (lines[i] != "") put_line(lines[i])
	return 0
}

function put_errors(s, code) {
	put(".SH ERRORS")
	gsub(/\n/, " ", s)
	while (match(s, /-E[A-Z0-9]+/)) {
		code = substr(s, RSTART, RLENGTH)
		s = substr(s, RSTART + RLENGTH)
		sub(/^:? +/, "", s)
		match(s, /[,;.:]? *-E[A-Z]/)
		text = RSTART ? substr(s, 1, RSTART - 1) : s
		if (RSTART) s = substr(s, RSTART)
		sub(/[.,; ]+$/, "", text)
		put(".TP")
		put(".B \\" code)
		if (text == "") text = meaning[code]
		if (text !~ /^[a-z]+_/) text = toupper(substr(text, 1, 1)) substr(text, 2)
		put_line(text (text ~ /[.]$/ ? "" : "."))
		if (s !~ /-E[A-Z]/) break
	}
}

# All types that a text names, and those that they name.
function want_types(text, i) {
	for (i = 1; i <= type_count; i++)
		if (!(type_name[i] in wanted) && text ~ ("(^|[^a-zA-Z0-9_])" type_name[i] "([^a-zA-Z0-9_(]|$)")) {
			if (type_text[type_name[i]] ~ /^#define/ && text !~ type_name[i]) continue
			wanted[type_name[i]] = 1
			want_types(type_text[type_name[i]])
		}
}

function title(page) { return page in summary ? summary[page] : "a function of libkiln" }

function comment_of(name, text, other) {
	text = text_of[name]
	if (match(text, /As kiln_[a-z_]+\(\)\./)) {
		other = substr(text, RSTART + 3, RLENGTH - 6)
		sub(/As kiln_[a-z_]+\(\)\.\n?/, text_of[other] == "" ? "" : "\n" text_of[other], text)
	}
	return text
}

function write_page(page, names, n, i, j, m, part, text, first, list, group, members) {
	path = out "/" page ".3"
	put(".\\\" SPDX-License-Identifier: MIT")
	put(".TH " toupper(page) " 3 " date " \"libkiln " version "\" \"Kiln Programmer's Manual\"")
	put(".SH NAME")
	n = split(functions[page], names, " ")
	for (i = 1; i <= n; i++) put(names[i] (i < n ? "," : " \\- " prose(title(page))))
	put(".SH LIBRARY")
	put("libkiln, the runtime of the Kiln accelerator")
	put(".RI ( \"pkg-config \\-\\-cflags \\-\\-libs kiln\" )")
	put(".SH SYNOPSIS")
	put(".nf")
	put(".B #include <" header_of[page] ">")
	put(".PP")
	text = ""
	for (i = 1; i <= n; i++) text = text declaration[names[i]]
	m = split(text, part, "\n")
	for (i = 1; i < m; i++) put("\\fB" literal(part[i]) "\\fR")
	put(".fi")

	put(".SH DESCRIPTION")
	errors = returns = ""
	first = 1
	if (header_of[page] == "kiln_asm.h") {
		for (i = 1; i <= n; i++) {
			if (group_of[names[i]] != names[i]) continue
			members = ""
			for (j = 1; j <= n; j++)
				if (group_of[names[j]] == names[i]) members = members (members == "" ? "" : ", ") "\\fB" names[j] "\\fR()"
			put(".TP")
			put(members)
			put_text((names[i] in lead ? lead[names[i]] "\n" : "") text_of[names[i]], 1)
		}
	} else {
		m = split(own[page], part, " ")
		for (i = 1; i <= m; i++) first = put_text(type_comment[part[i]], first)
		first = put_text(comment_of(page), first)
	}
	if (returns != "" || declaration[page] ~ /^int /) {
		put(".SH RETURN VALUE")
		if (returns != "") { text = returns; returns = ""; put_paragraph_plain(text) }
		else {
			put("0, or a negative error number: then")
			put(".BR kiln_last_error (3)")
			put("says what was wrong, and what to do.")
		}
	}
	if (errors != "") put_errors(errors)

	split("", wanted)
	text = ""
	for (i = 1; i <= n; i++) text = text declaration[names[i]]
	want_types(text)
	m = split(own[page], part, " ")
	for (i = 1; i <= m; i++) { wanted[part[i]] = 1; want_types(type_text[part[i]]) }
	# The page's own ones first: the description has said already what they are.
	first = 1
	for (i = 1; i <= m; i++) {
		if (first) put(".SH TYPES")
		if (!first) put(".PP")
		put_literal(type_text[part[i]])
		delete wanted[part[i]]
		first = 0
	}
	for (i = 1; i <= type_count; i++) {
		if (!(type_name[i] in wanted)) continue
		if (first) put(".SH TYPES")
		if (type_comment[type_name[i]] == "") { if (!first) put(".PP") }
		else { put_text(type_comment[type_name[i]], first); put(".PP") }
		put_literal(type_text[type_name[i]])
		first = 0
	}
	put(".SH SEE ALSO")
	put(".BR libkiln (3)" (text_of[page] ~ /kiln_last_error/ ? "" : ","))
	if (text_of[page] !~ /kiln_last_error/) put(".BR kiln_last_error (3)")
	close(path)

	for (i = 2; i <= n; i++) alias(names[i], page)
	m = split(own[page], part, " ")
	for (i = 1; i <= m; i++) if (!(part[i] in declaration) && part[i] !~ /^KILN/) alias(part[i], page)
}

function put_paragraph_plain(s, n, i, lines) {
	n = split(s, lines, "\n")
	for (i = 1; i <= n; i++) if (lines[i] != "") put_line(lines[i])
}

function alias(name, page) {
	path = out "/" name ".3"
	put(".so man3/" page ".3")
	close(path)
}

function write_overview(i, h, headers, tier) {
	path = out "/libkiln.3"
	put(".\\\" SPDX-License-Identifier: MIT")
	put(".TH LIBKILN 3 " date " \"libkiln " version "\" \"Kiln Programmer's Manual\"")
	put(".SH NAME")
	put("libkiln \\- the runtime of the Kiln accelerator")
	put(".SH SYNOPSIS")
	put(".nf")
	put(".B #include <kiln.h>")
	put(".B #include <kiln_ops.h>")
	put(".B #include <kiln_asm.h>")
	put(".PP")
	put("\\fBcc\\fR \\fIFILE\\fR... $(\\fBpkg\\-config \\-\\-cflags \\-\\-libs kiln\\fR)")
	put(".fi")
	put(".SH DESCRIPTION")
	split("kiln.h kiln_ops.h kiln_asm.h", headers, " ")
	for (h = 1; h <= 3; h++) {
		put(".SS " headers[h])
		put_text(about[headers[h]], 1)
		put(".PP")
		put("Its pages:")
		for (i = 1; i <= page_count; i++) {
			if (header_of[pages[i]] != headers[h]) continue
			put(".TP")
			put(".BR " pages[i] " (3)")
			put(prose(title(pages[i])))
		}
	}
	put(".SH ENVIRONMENT")
	put(".TP")
	put(".B KILN_SANITIZE=1")
	put("A \"sim\" card tells on standard error of races,")
	put("and of reads of what was never written.")
	put(".TP")
	put(".B KILN_PROFILE=\\fIFILE\\fR")
	put("A \"sim\" card writes there what its engines and DMA did when, for Perfetto; see")
	put(".BR kiln (1).")
	put(".TP")
	put(".B KILN_GENERATION=trn1|trn2|trn3")
	put("What a \"sim\" card is whose name does not say it.")
	put(".SH EXAMPLES")
	put("A matrix product, on the card, or with the argument")
	put(".I sim")
	put("on one inside the process:")
	put(".PP")
	put_literal(example)
	put(".SH SEE ALSO")
	put(".BR kiln (1)")
	close(path)
}

END {
	meaning["-EINVAL"] = "An argument makes no sense."
	meaning["-ENOMEM"] = "Out of memory, of the host or of the card."
	for (i = 1; i <= page_count; i++) write_page(pages[i])
	write_overview()
}
