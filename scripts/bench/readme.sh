#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Puts what `make bench` and `make bench-insn` measured into README.md, between its two markers, and
# their plots into scripts/bench/plots: tables, goals, and what a run was not good for. Measures
# nothing, changes nothing else. What was not run is left out, and said.
#
# usage: [O=build] scripts/bench/readme.sh
# shellcheck disable=SC2016 # jq expands what looks like shell
set -eu
cd "$(dirname "$0")/../.."
export LC_ALL=C
O=${O:-build}
plots=scripts/bench/plots
# shellcheck source-path=SCRIPTDIR source=tables.sh
. scripts/bench/tables.sh

# ---- plots ----

# as_svg NAME: gnuplot's commands on stdin. The licence is to stand in the file like in any other.
as_svg() {
	mkdir -p "$plots"
	{
		echo "set terminal svg size 900,400 font 'sans,13' background '#ffffff'"
		cat
	} | gnuplot 2>>"$dir/gnuplot.log" |
		sed -E 's/[[:space:]]+$//; 1s/$/\n<!-- SPDX-License-Identifier: Apache-2.0\n-->/' >"$plots/$1.svg"
}

# pairs NAME TITLE YLABEL DATA: for each contestant two columns, plain and TLS.
pairs() {
	as_svg "$1" <<-END
		set title "$2"
		set ylabel "$3"
		set style data histogram
		set style histogram clustered gap 1
		set style fill solid 0.85 border -1
		set bmargin 6
		set key top left
		set yrange [0:*]
		set grid ytics lc rgb '#dddddd'
		set xtics rotate by -30 nomirror
		plot '$4' using 2:xtic(1) title columnheader lc rgb '#e0a030', \\
			'' using 3 title columnheader lc rgb '#2a6f97'
	END
}

plot_all() {
	if have summary.json; then
		query summary.json '"contestant plain TLS-1.3", (.cells | group_by(.contestant)
			| sort_by(.[0].contestant as $c | $order | index($c))[]
			| (map({key: .scenario, value: .ratio}) | from_entries) as $s
			| select($s["plain-valid-200"] or $s["tls-valid-200"])
			| "\(.[0].contestant) \($s["plain-valid-200"] // 0) \($s["tls-valid-200"] // 0)")' >"$dir/cpu.dat"
		pairs cpu 'CPU time of the proxy for one request, 200-byte responses' 'nginx passing through = 1' "$dir/cpu.dat"
	fi
	if have insn.json; then
		query insn.json '"contestant plain TLS-1.3", (.rows | group_by(.contestant)
			| sort_by(.[0].contestant as $c | $order | index($c))[]
			| (map({key: .scenario, value: .edge}) | from_entries) as $s | select(.[0].proxy > 0)
			| "\(.[0].contestant) \($s["plain-200"] / 1000) \($s["tls-200"] / 1000)")' >"$dir/insn.dat"
		pairs instructions 'Instructions for one request, kernel included, 200-byte responses' thousands "$dir/insn.dat"
	fi
	rm -f "$dir"/cpu.dat "$dir"/insn.dat
}

# ---- tables ----

cpu_table() {
	echo "![CPU per request]($plots/cpu.svg)"
	echo
	query meta.json '"\(.date), \(.machine): `\(.command)`, \(.seconds / 60 | round) minutes; \(.rate) requests a second on \(.conns) connections (a sixth of that for 100 KB, either way), \(.turns * .pairs) pairs of runs each."'
	query meta.json 'select(.command | test("QUICK")) | "**A quick run: good for a ratio between two, not for its second digit.**"'
	query meta.json 'select(.load > 0.7) | "**The machine was not quiet (load \(.load)): where a figure has a ~, the proxy had to wait for its CPU in every pair.**"'
	echo
	echo 'Ratio of CPU time to nginx passing everything through in the run beside it (and microseconds); requests a second of one core, saturated; TLS handshakes per CPU second; memory per idle TLS connection.'
	echo
	echo '| | plain, 200 B | TLS, 200 B | plain, 100 KB | TLS, 100 KB | plain, 100 KB sent | TLS, 100 KB sent | req/s plain | req/s TLS | handshakes | resumed | KB |'
	echo '|---|---|---|---|---|---|---|---|---|---|---|---|'
	jq -r --argjson order "$order" --slurpfile memory "$dir/memory.jsonl" '. as $all
		| def num: if . == null then "-" else round | tostring end;
		def at($c; $s): [$all.cells[] | select(.contestant == $c and .scenario == $s)][0]
			| if . == null then "-" else "\(.ratio * 100 | round / 100) (\(.cpu_us | round))\(if .clean == 0 then " ~" else "" end)" end;
		def rps($c; $s): [$all.saturation[] | select(.contestant == $c and .scenario == $s) | .rps][0] | num;
		def shakes($c; $k): [$all.handshakes[] | select(.contestant == $c and .kind == $k) | .per_cpu_second][0] | num;
		([.cells[], .saturation[]] | map(.contestant) | unique | map(select(. != "direct"))
			| sort_by(. as $c | $order | index($c)))[] as $c
		| "| \($c) | \(if $c == "nginx-pass" then "1 | 1 | 1 | 1 | 1 | 1" else
			[("plain-valid-200", "tls-valid-200", "plain-valid-100k", "tls-valid-100k", "plain-upload-100k", "tls-upload-100k") as $s | at($c; $s)] | join(" | ") end) | " +
		"\(rps($c; "plain-valid-200")) | \(rps($c; "tls-valid-200")) | \(shakes($c; "full")) | \(shakes($c; "resumed")) | " +
		"\([$memory[] | select(.contestant == $c) | .kb / .connections * 10 | round / 10][0] // "-") |"' "$dir/summary.json"
}

insn_table() {
	echo "![Instructions per request]($plots/instructions.svg)"
	echo
	query insn.json '"\(.date), Linux \(.kernel) under QEMU: `make bench-insn`. Thousands of instructions for one request, of the whole machine less the generator and the backend; one connection, nothing batched. kTLS where it is in brackets, by the kernel with \(.aes). The same twice within \([.rows[].spread] | max * 1000 | round / 10) %."'
	echo
	echo '| | plain, 200 B | TLS, 200 B | plain, 100 KB | TLS, 100 KB |'
	echo '|---|---|---|---|---|'
	query insn.json '.rows | group_by(.contestant) | sort_by(.[0].contestant as $c | $order | index($c))[]
		| select(.[0].contestant != "direct")
		| (map({key: .scenario, value: .}) | from_entries) as $s
		| def k: if . == null then "-" else "\(.edge / 1000 | round)\(if .ktls > 0 then " [kTLS]" else "" end)" end;
		"| \(.[0].contestant) | \($s["plain-200"] | k) | \($s["tls-200"] | k) | \($s["plain-100k"] | k) | \($s["tls-100k"] | k) |"'
}

shakes_table() {
	query insn-shakes.json '"\(.date), in the same machine: thousands of instructions for a connection that does a handshake (ECDSA P-256, X25519), gets a ticket (of TLS 1.2, once) and is closed; nobody has kTLS. OpenSSL 3.0 with hardtack, nginx-pass and Hitch, 3.5 with hardtack-openssl35, sid\u0027s with nginx130-pass, haproxy32 and hardtack-sid. The same twice within \([.rows[].spread] | max * 1000 | round / 10) %."'
	echo
	echo '| | TLS 1.3, full | resumed | TLS 1.2, full | resumed |'
	echo '|---|---|---|---|---|'
	query insn-shakes.json '.rows | group_by(.contestant) | sort_by(.[0].contestant as $c | $order | index($c))[]
		| (map({key: .scenario, value: (.edge / 1000 | round)}) | from_entries) as $s
		| ([("handshake", "handshake12") as $h | ("full", "resumed") as $k | $s["\($h)-\($k)"] // "-"] | join(" | ")) as $row
		| "| \(.[0].contestant) | \($row) |"'
}

# The paragraph above has no figures: these are they.
in_numbers() {
	jq -nr --slurpfile insn "$(or_nothing insn.json)" --argjson gate "$(gate_json)" '
		def edge($s; $c): [$insn[0].rows[]? | select(.scenario == $s and .contestant == $c) | .edge][0];
		def than($a; $b): if $a and $b then ($a / $b * 100 - 100 | round) as $p
			| "\($p | fabs) % \(if $p < 0 then "fewer" else "more" end)" else null end;
		def best($s): [("nginx130-lua", "nginx-lua", "njs", "haproxy32", "haproxy26") as $c | edge($s; $c) | select(.)] | min;
		def at($name; $bytes): [$gate[] | select(.name == $name and .bytes == $bytes and .cookies == (if $bytes > 0 then 6 else 0 end))][0];
		def both($r): [($r.instructions | select(.) | "\(round) instructions"), ($r.ns | select(.) | "\(round) ns")] | join(", ");
		[
			([("plain-200", "tls-200") as $s
				| [than(edge($s; "hardtack"); edge($s; "hardtack-user")), than(edge($s; "hardtack"); edge($s; "hardtack-off"))]
				| select(all) | "\(.[0]) instructions than if the daemon judges it, \(.[1]) than if nobody does (\($s))"]
				| select(length > 0) | "A request that the kernel judges takes " + join("; ") + "."),
			([at("same session (memo), 1 connection"; 800, 2000) | select(. and (.ns or .instructions))
				| "\(both(.)) for a head of \(.bytes) bytes"] | select(length > 0)
				| "The program takes " + join("; ") + (at("an empty sk_msg program"; 800) | select(.) | "; an empty one \(both(.))") + "."),
			([["one-shot", at("userspace: one HMAC()"; 0)], ["with a kept key", at("userspace: HMAC with a kept key"; 0)]
				| select(.[1]) | "\(both(.[1])) \(.[0])"] | select(length > 0) | "The HMAC that a lookup saves takes " + join("; ") + "."),
			([("plain-200", "tls-200") as $s | select(edge($s; "hardtack") and best($s))
				| "\(edge($s; "hardtack") / best($s) * 100 | round / 100) (\($s))"] | select(length > 0)
				| "Of the instructions of the best that does the same job hardtack takes " + join(", ") + "."),
			([("tls-200", "tls-100k") as $s | than(edge($s; "hardtack"); edge($s; "hardtack-noktls")) | select(.)
				| "\(.) (\($s))"] | select(length > 0) | "With kTLS they are " + join(", ") + " than with OpenSSL in the daemon.")
		] | join(" ")'
}

goals_table() {
	echo 'What was to be reached (`~`: by runs that were disturbed):'
	echo
	jq -nr --slurpfile bench "$(or_nothing summary.json)" --slurpfile insn "$(or_nothing insn.json)" \
		--slurpfile shakes "$(or_nothing insn-shakes.json)" --slurpfile meta "$(or_nothing meta.json)" \
		--argjson gate "$(gate_json)" --arg sha "$(jq -r .sha "$(or_nothing insn-gate.json)")" -f scripts/bench/goals.jq
}

section() {
	in_numbers
	echo
	if have summary.json; then
		cpu_table
		echo
	else
		echo '(`make bench`: no run with this version yet; it takes a quiet machine.)'
		echo
	fi
	if have insn.json; then
		insn_table
		echo
	else
		echo '(`make bench-insn`: no run with this version yet.)'
		echo
	fi
	! have insn-shakes.json || { shakes_table && echo; }
	goals_table
	[ "$(gate_json)" = '[]' ] || { echo && gate_table && seed_table; }
	! have attacks.txt || { echo && attack_table; }
	! have guard.md || { echo && cat "$dir/guard.md"; }
	if have skipped.txt; then
		printf '\nNot run: %s.\n' "$(paste -sd'|' "$dir/skipped.txt" | sed 's/|/; /g')"
	fi
}

# ---- all of it ----

have summary.json || have insn.json || {
	echo "readme.sh: nothing in $dir: make bench, make bench-insn" >&2
	exit 1
}
grep -q '^<!-- bench' README.md && grep -q '^<!-- /bench' README.md
plot_all
section >"$dir/readme.md"
awk -v section="$dir/readme.md" '
	/^<!-- \/bench/ { inside = 0 }
	!inside
	/^<!-- bench/ {
		inside = 1
		while ((getline line < section) > 0)
			print line
	}' README.md >README.md.new
cat README.md.new >README.md
rm README.md.new
echo "readme.sh: README.md and $plots are as $dir says"
