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
dir=${O:-build}/bench
plots=scripts/bench/plots
order='["hardtack","hardtack-openssl35","hardtack-noktls","hardtack-user","hardtack-off","nginx130-lua",
"nginx-lua","haproxy32","haproxy26","njs","nginx-pass","nginx130-pass","haproxy-pass","hitch","direct"]'

have() { [ -s "$dir/$1" ]; }
query() { jq -r --argjson order "$order" "$2" "$dir/$1"; }

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
	query meta.json '"\(.date), \(.machine): `\(.command)`, \(.seconds / 60 | round) minutes; \(.rate) requests a second on \(.conns) connections (a sixth of that for 100 KB), \(.turns * .pairs) pairs of runs each."'
	query meta.json 'select(.command | test("QUICK")) | "**A quick run: good for a ratio between two, not for its second digit.**"'
	query meta.json 'select(.load > 0.7) | "**The machine was not quiet (load \(.load)): where a figure has a ~, the proxy had to wait for its CPU in every pair.**"'
	echo
	echo 'Ratio of CPU time to nginx passing everything through in the run beside it (and microseconds); requests a second of one core, saturated; TLS handshakes per CPU second; memory per idle TLS connection.'
	echo
	echo '| | plain, 200 B | TLS, 200 B | plain, 100 KB | TLS, 100 KB | req/s plain | req/s TLS | handshakes | resumed | KB |'
	echo '|---|---|---|---|---|---|---|---|---|---|'
	jq -r --argjson order "$order" --slurpfile memory "$dir/memory.jsonl" '. as $all
		| def num: if . == null then "-" else round | tostring end;
		def at($c; $s): [$all.cells[] | select(.contestant == $c and .scenario == $s)][0]
			| if . == null then "-" else "\(.ratio * 100 | round / 100) (\(.cpu_us | round))\(if .clean == 0 then " ~" else "" end)" end;
		def rps($c; $s): [$all.saturation[] | select(.contestant == $c and .scenario == $s) | .rps][0] | num;
		def shakes($c; $k): [$all.handshakes[] | select(.contestant == $c and .kind == $k) | .per_cpu_second][0] | num;
		([.cells[], .saturation[]] | map(.contestant) | unique | map(select(. != "direct"))
			| sort_by(. as $c | $order | index($c)))[] as $c
		| "| \($c) | \(if $c == "nginx-pass" then "1 | 1 | 1 | 1" else
			[("plain-valid-200", "tls-valid-200", "plain-valid-100k", "tls-valid-100k") as $s | at($c; $s)] | join(" | ") end) | " +
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

# gate_json: the rows of gate.txt, as they stand there. Of what was measured twice the smaller: what
# disturbs only adds.
gate_json() {
	{ ! have gate.txt || cat "$dir/gate.txt"; } |
		awk -F' *[|] *' 'NF == 7 && $5 ~ /^[0-9]+$/ { print $2 "\t" $3 "\t" $4 "\t" $5 }' |
		jq -Rn 'reduce (inputs | split("\t")) as [$name, $bytes, $cookies, $ns] ({};
			.["\($name) \($bytes) \($cookies)"] |= {name: $name, bytes: $bytes, cookies: $cookies,
				ns: ([.ns // infinite, ($ns | tonumber)] | min)}) | [.[]]'
}

gate_table() {
	echo 'The program alone, in nanoseconds by the kernel'"'"'s statistics (`make bench`), beside an HMAC in user space:'
	echo
	echo '| | head | cookies | ns |'
	echo '|---|---|---|---|'
	gate_json | jq -r '.[] | "| \(.name) | \(.bytes) | \(.cookies) | \(.ns | round) |"'
}

attack_table() {
	local names name case
	mapfile -t names < <(cut -d'|' -f1 "$dir/attacks.txt" | uniq)
	echo 'A session that nobody signed, among the cookies, and who lets it through:'
	echo
	printf '| it stands |%s\n' "$(printf ' %s |' "${names[@]}")"
	printf '|---|%s\n' "$(printf -- '---|%.0s' "${names[@]}")"
	cut -d'|' -f2 "$dir/attacks.txt" | awk '!seen[$0]++' | while read -r case; do
		printf '| %s |' "$case"
		for name in "${names[@]}"; do
			awk -F'|' -v n="$name" -v c="$case" '$1 == n && $2 == c { printf " %s |", $3 }' "$dir/attacks.txt"
		done
		echo
	done
}

goals_table() {
	echo 'What was to be reached (`~`: by runs that were disturbed):'
	echo
	jq -nr --slurpfile bench <(cat "$dir/summary.json" 2>/dev/null) --slurpfile insn <(cat "$dir/insn.json" 2>/dev/null) \
		--slurpfile meta <(cat "$dir/meta.json" 2>/dev/null) --argjson gate "$(gate_json)" -f scripts/bench/goals.jq
}

section() {
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
	goals_table
	! have gate.txt || { echo && gate_table; }
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
