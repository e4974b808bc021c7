#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Writes what a benchmark's raw runs say: results.json, table.md (also to stdout) and SVG plots in
# $O/bench, from runs.jsonl and meta.json there. Measures nothing.
# shellcheck disable=SC2016 # jq expands what looks like shell
set -u
cd "$(dirname "$0")/../.." || exit 1
O=${O:-build}
# shellcheck source-path=SCRIPTDIR source=tables.sh
. scripts/bench/tables.sh
meta() { jq -r "$1" "$dir/meta.json"; }
conns=$(meta .conns) idle_conns=$(meta .idle)

jq -s --arg control "$control" -f scripts/bench/report.jq "$dir/runs.jsonl" >"$dir/summary.json" || exit 1
jq '.rows' "$dir/summary.json" >"$dir/results.json"

cell_table() {
	echo
	echo "### CPU of the proxy per request, at the same rate"
	echo
	echo "Median (least to most) of the ratio to \`$control\` in the same pair of runs; then CPU"
	echo 'microseconds of the process, and of the whole machine less those of the bare backend.'
	echo
	echo '| scenario | contestant | ratio | machine ratio | process us | machine us | p50 us | p99 us | clean pairs |'
	echo '|---|---|---|---|---|---|---|---|---|'
	query summary.json 'def f($n): if . == null then "-" else . * $n | round / $n | tostring end;
		.cells | sort_by([.scenario, (.contestant as $c | $order | index($c))])[] |
		"| \(.scenario) | \(.contestant) | **\(.ratio | f(100))** (\(.least | f(100)) to \(.most | f(100)))" +
		"\(if .clean == 0 then " ~" else "" end) | \(.machine_ratio | f(100)) | \(.cpu_us | f(10)) | " +
		"\(.machine_us | f(10)) | \(.p50_us | f(1)) | \(.p99_us | f(1)) | \(.clean) of \(.pairs) |"'
	echo
	echo '`~`: the proxy had to wait for its CPU in every pair: not to be relied upon.'
}

goal_table() {
	echo
	echo '### hardtack beside the best that does the same job'
	echo
	echo '| scenario | best other | hardtack / it | gate required / mode off | kernel gate / userspace |'
	echo '|---|---|---|---|---|'
	query summary.json 'def f: if . == null then "-" else . * 100 | round / 100 | tostring end;
		def over($a; $b): if $a and $b then $a.ratio / $b.ratio else null end;
		.cells | group_by(.scenario)[] | . as $row
		| (map({key: .contestant, value: .}) | from_entries) as $c
		| (map(select(.contestant | IN("nginx130-lua", "nginx-lua", "haproxy32", "haproxy26", "njs")))
			| min_by(.ratio)) as $best
		| "| \($row[0].scenario) | \($best.contestant // "-") | \(over($c.hardtack; $best) | f) | " +
		"\(over($c.hardtack; $c["hardtack-off"]) | f) | \(over($c.hardtack; $c["hardtack-user"]) | f) |"'
	echo
	echo '| hardtack, TLS | against valid | goal |'
	echo '|---|---|---|'
	query summary.json '(.cells | map(select(.contestant == "hardtack")) | map({key: .scenario, value: .ratio})
			| from_entries) as $s
		| [["tls-forged-200", "1.5"], ["tls-invented-200", "1.5"], ["tls-login", "1.2"], ["tls-miss-200", "2.0"]][]
		| select($s[.[0]] and $s["tls-valid-200"])
		| "| \(.[0]) | \($s[.[0]] / $s["tls-valid-200"] * 100 | round / 100) | \(.[1]) |"'
}

other_tables() {
	echo
	echo "### Saturated: $conns connections, as fast as they are answered"
	echo
	echo '| contestant | plain 200 B, requests/s | TLS 1.3 200 B, requests/s |'
	echo '|---|---|---|'
	query summary.json '.saturation | group_by(.contestant) | sort_by(.[0].contestant as $c | $order | index($c))[]
		| (map({key: .scenario, value: (.rps | round)}) | from_entries) as $s
		| "| \(.[0].contestant) | \($s["plain-valid-200"] // "-") | \($s["tls-valid-200"] // "-") |"'
	echo
	echo '### TLS handshakes per CPU second'
	echo
	echo '| contestant | full | resumed |'
	echo '|---|---|---|'
	query summary.json '.handshakes | group_by(.contestant) | sort_by(.[0].contestant as $c | $order | index($c))[]
		| (map({key: .kind, value: (.per_cpu_second | round)}) | from_entries) as $s
		| "| \(.[0].contestant) | \($s.full // "-") | \($s.resumed // "-") |"'
	echo
	echo "### $idle_conns idle TLS connections"
	echo
	echo 'Memory of the process for each, and its CPU per request for the others while they are there.'
	echo
	echo '| contestant | KB each | us a request beside them | and without |'
	echo '|---|---|---|---|'
	jq -r --slurpfile s "$dir/summary.json" '. as $m
		| ($s[0].idle | map(select(.contestant == $m.contestant)) | .[0].cpu_us // null) as $with
		| ($s[0].cells | map(select(.scenario == "tls-valid-200" and .contestant == $m.contestant))
			| .[0].cpu_us // ($s[0].cells | map(select(.scenario == "tls-valid-200")) | .[0].control_us)) as $without
		| "| \(.contestant) | \(.kb / .connections * 10 | round / 10) | \($with) | \($without * 10 | round / 10) |"' \
		"$dir/memory.jsonl"
}

# ---- plots ----

# plot FILE TITLE SCENARIO...: ratio to the control, with its range.
plot() {
	local file=$1 title=$2 data=$dir/$1.dat
	shift 2
	query summary.json '.cells | sort_by(.contestant as $c | $order | index($c))[]
		| select(.scenario | IN('"$(printf '"%s",' "$@" | sed 's/,$//')"'))
		| "\(.scenario) \(.contestant) \(.ratio) \(.least) \(.most)"' >"$data"
	[ -s "$data" ] || return 0
	gnuplot 2>>"$dir/gnuplot.log" <<-END
		set terminal svg size 900,420 font 'sans,13' background '#ffffff'
		set output '$dir/$file.svg'
		set title '$title'
		set ylabel 'CPU per request, $control = 1'
		set style fill solid 0.85 border -1
		set boxwidth 0.6
		set bmargin 6
		set yrange [0:*]
		set grid ytics lc rgb '#dddddd'
		set key off
		set xtics rotate by -30 nomirror
		set arrow from graph 0, first 1 to graph 1, first 1 nohead dt 2 lc rgb '#555555'
		plot '$data' using 0:3:(stringcolumn(2)[1:8] eq 'hardtack' ? 0x2a6f97 : 0xb0b7bf):xtic(2) \\
			with boxes lc rgb variable, '' using 0:3:4:5 with yerrorbars pt 0 lc rgb '#000000'
	END
}

bars() {
	local data=$dir/$1.dat
	query summary.json "$3" >"$data"
	[ -s "$data" ] || return 0
	gnuplot 2>>"$dir/gnuplot.log" <<-END
		set terminal svg size 900,420 font 'sans,13' background '#ffffff'
		set output '$dir/$1.svg'
		set title '$2'
		set style data histogram
		set bmargin 6
		set key outside
		set style fill solid 0.85 border -1
		set yrange [0:*]
		set grid ytics lc rgb '#dddddd'
		set xtics rotate by -30 nomirror
		plot '$data' using 2:xtic(1) title columnheader lc rgb '#2a6f97', \\
			'' using 3 title columnheader lc rgb '#e0a030'
	END
}

{
	meta '"\(.date), \(.machine),"'
	meta '"\(.rate) requests a second on \(.conns) connections (half of that for 16 KB, a sixth for 100 KB), `\(.command)`"'
	cell_table
	goal_table
	printf '\n### Who lets what through\n\n'
	attack_table
	other_tables
	if have gate.jsonl; then
		printf '\n### The gate alone\n\n'
		gate_table
		seed_table
	fi
	if have skipped.txt; then
		echo
		echo '### Not run'
		echo
		sed 's/^/- /' "$dir/skipped.txt"
	fi
} >"$dir/table.md"
cat "$dir/table.md"

for scenario in $(query summary.json '.cells | map(.scenario) | unique[]'); do
	plot "cpu-$scenario" "$scenario: CPU per request, ratio to nginx passing through" "$scenario"
done
bars saturated 'Requests per second, one core, saturated' '"contestant plain TLS-1.3", (.saturation
	| group_by(.contestant) | sort_by(.[0].contestant as $c | $order | index($c))[]
	| (map({key: .scenario, value: .rps}) | from_entries) as $s
	| "\(.[0].contestant) \($s["plain-valid-200"] // 0) \($s["tls-valid-200"] // 0)")'
bars handshakes 'TLS handshakes per CPU second' '"contestant full resumed", (.handshakes
	| group_by(.contestant) | sort_by(.[0].contestant as $c | $order | index($c))[]
	| (map({key: .kind, value: .per_cpu_second}) | from_entries) as $s
	| "\(.[0].contestant) \($s.full // 0) \($s.resumed // 0)")'
rm -f "$dir"/*.dat
exit 0
