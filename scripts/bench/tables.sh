# shellcheck shell=bash disable=SC2016,SC2034
# SPDX-License-Identifier: Apache-2.0
# What report.sh and readme.sh have in common: where results stand, in which order contestants are
# named, and the tables that both of them show. Read in by them, with O. Measures nothing.

dir=${O:?}/bench
control=nginx-pass
order='["hardtack","hardtack-openssl35","hardtack-sid","hardtack-noktls","hardtack-user","hardtack-off","nginx130-lua",
"nginx-lua","haproxy32","haproxy26","njs","nginx-pass","nginx130-pass","haproxy-pass","hitch","direct"]'

have() { [ -s "$dir/$1" ]; }

# query FILE FILTER
query() { jq -r --argjson order "$order" "$2" "$dir/$1"; }

# or_nothing FILE: its path, or one with nothing in it.
or_nothing() { if have "$1"; then echo "$dir/$1"; else echo /dev/null; fi; }

# Who lets through what nobody signed.
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

# gate_json: the rows of the gate alone, by the clock (gate.jsonl) and in instructions
# (insn-gate.json), as one array. Of what was measured twice the smaller: what disturbs only adds.
gate_json() {
	jq -n --slurpfile clock "$(or_nothing gate.jsonl)" --slurpfile insn "$(or_nothing insn-gate.json)" '
		def key: [.name, .bytes, .cookies];
		[$insn[0].rows[]?] as $counted
		| [$clock[] | .name = .verdict] as $timed
		| reduce ($timed + $counted)[] as $r ([]; if any(.[]; . == ($r | key)) then . else . + [$r | key] end)
		| map(. as $k | {name: $k[0], bytes: $k[1], cookies: $k[2]}
			+ ([$timed[] | select(key == $k)] | min_by(.ns)
				| if . then {ns, least, most, cycles_per_ns} else {} end)
			+ {instructions: [$counted[] | select(key == $k) | .instructions][0]})'
}

gate_table() {
	echo 'The program alone, by the kernel'"'"'s BPF statistics: nanoseconds and cycles of the time stamp counter (`make bench`),'
	echo 'instructions (`make bench-insn`, which tries no million entries: a miss of the processor'"'"'s cache is no instruction).'
	! have insn-gate.json || query insn-gate.json '"Instructions: \(.date), Linux \(.kernel), HMACs \(.sha), the same twice within " +
		"\([.rows[].spread] | max * 1000 | round / 10) %."'
	echo
	echo '| | head | cookies | ns | cycles | instructions |'
	echo '|---|---|---|---|---|---|'
	gate_json | jq -r 'def n: if . then round else "-" end;
		.[] | "| \(.name) | \(if .bytes > 0 then "\(.bytes) | \(.cookies)" else "- | -" end) | \(.ns | n) | " +
		"\(if .ns and .cycles_per_ns > 0 then .ns * .cycles_per_ns else null end | n) | \(.instructions | n) |"'
}

# The seed of f5-irule says what it took.
seed_table() {
	local row
	row=$(gate_json | jq -r 'def cycles($r): . * $r.cycles_per_ns | round;
		.[] | select((.name | startswith("seed")) and .cycles_per_ns > 0) | . as $r
		| "\(.ns | cycles($r)) | \(.least | cycles($r)) | \(.most | cycles($r))"')
	[ -n "$row" ] || return 0
	echo
	echo 'The scenario with which the iRule that `f5-irule` follows was published: one session, 25 pages of 40 objects, four connections. Cycles for checking one of its 1,000 requests:'
	echo
	echo '| | average | least | most |'
	echo '|---|---|---|---|'
	echo '| the iRule (HTTP_REQUEST, on a two-core LTM-1600) | 67600 | 27200 | 189400 |'
	echo "| the gate here and, for the first request, the daemon's HMAC and push | $row |"
}
