#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make bench-insn`: how many instructions a request costs, kernel and all, with kTLS; what a TLS
# handshake does; and the gate's program alone. Boots one of Debian's own kernels in a virtual machine
# whose clock counts instructions (QEMU's -icount, one CPU, one thread), where insn-guest.sh runs
# hardtack, nginx and the others one after the other; prints tables and writes insn.json,
# insn-shakes.json, insn-gate.json and insn.md to $O/bench. Fails where a figure is not the same twice
# within 2 %, and where somebody who was to have kTLS had none. What it can't tell: how many cycles
# an instruction takes, and how long anybody waits.
#
# usage: [O=build] [KERNEL=6.12] [PARTS="gate handshakes requests"] [ONLY="hardtack nginx130-lua"] \
#	scripts/bench/insn.sh
# shellcheck disable=SC2034 # much of it is lib.sh's
set -u
cd "$(dirname "$0")/../.." || exit 1
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
O=${O:-build}
kernel=${KERNEL:-6.12}
out=$O/bench/insn
# shellcheck source-path=SCRIPTDIR source=../../tests/vm/lib.sh
. tests/vm/lib.sh
machine=(-accel 'tcg,thread=single' -icount 'shift=0,sleep=off' -smp 1 -m 2G)
programs=''
# HAProxy needs cx16, which QEMU gets wrong now and then where several threads run. And an emulated
# "rep movsb" counts once for each byte: without erms and fsrm the kernel copies eight at a time.
cpu_model() { echo max,-smap,-smep,-avx,-avx2,-bmi1,-bmi2,-erms,-fsrm; }

# The bounds of each are in the table as well: what passes everything through, and the backend alone.
contestants=${ONLY:-haproxy32 haproxy26 haproxy-pass nginx130-lua nginx-lua njs nginx130-pass nginx-pass
hardtack hardtack-openssl35 hardtack-noktls hardtack-user hardtack-off}

# Who shakes hands: the goal is nginx and Hitch. None with kTLS, which Hitch and HAProxy don't have.
shakers=${ONLY:-hardtack hardtack-openssl35 hardtack-sid hardtack-off nginx130-pass nginx-pass hitch haproxy32}

# What is measured; what is not leaves the results of another run as they are.
parts=${PARTS:-gate handshakes requests}

plan() {
	echo "PARTS='$parts' CONTESTANTS='${contestants//$'\n'/ }' SHAKERS='$shakers' \
		/ht/insn/bin/bash /ht/insn/scripts/bench/insn-guest.sh"
}

# ---- what goes in ----

# suite_files SUITE TO: servers, their modules and the libraries that these need, with their loader.
suite_files() {
	local from to=$2/$1 arch loader libs file
	from=$(realpath "$O/bench/pkg/$1")
	arch=$(gcc -print-multiarch)
	loader=$(find "$from" -name 'ld-linux*.so.*' -path '*/lib*' | head -n 1)
	[ -n "$loader" ] || return 1
	libs=$from/lib/$arch:$from/usr/lib/$arch
	mkdir -p "$to/usr/share" "$to/usr/lib/nginx/modules"
	cp -r "$from/usr/share/lua" "$to/usr/share/" || return 1
	cp -L "$from"/usr/lib/nginx/modules/*.so "$to/usr/lib/nginx/modules/" || return 1
	for file in "$from"/usr/sbin/{nginx,haproxy,hitch}; do
		[ ! -e "$file" ] || install -D -m 755 "$file" "$to/usr/sbin/$(basename "$file")" || return 1
	done
	for file in "$from"/usr/sbin/{nginx,haproxy,hitch} "$from"/usr/lib/nginx/modules/*.so; do
		[ ! -e "$file" ] || "$loader" --library-path "$libs" --list "$file" | grep -o "$from/[^ ]*"
	done | sort -u | while read -r file; do
		install -D -m 755 "$(realpath "$file")" "$to/usr/lib/$arch/$(basename "$file")" || return 1
	done && install -m 755 "$(realpath "$loader")" "$to/usr/lib/$arch/$(basename "$loader")"
}

own_files() {
	local to=$1/ht/insn f
	for f in bash openssl taskset pgrep head realpath grep sed awk; do
		install_program "$1" "$(realpath "$(command -v $f)")" "ht/insn/bin/$f" || return 1
	done
	install -D -m 644 /etc/ssl/openssl.cnf "$1/usr/lib/ssl/openssl.cnf"
	for f in load gate; do
		install_program "$1" "$O/bench/$f" "ht/insn/build/bench/$f" || return 1
	done
	mkdir -p "$to/scripts/bench"
	cp scripts/bench/{insn-guest.sh,contestants.sh,check.sh,guard.js,guard.lua} "$to/scripts/bench/"
	suite_files bookworm "$to/build/bench/pkg" && suite_files sid "$to/build/bench/pkg"
}

# ---- what comes out ----

# What came over the serial port, of one part. A guest that dies may end within a line.
runs() { jq -cR 'fromjson? | select('"$1"')' "$out/report.jsonl"; }

declare -A rows_of=([gate]=.verdict
	[handshakes]='.contestant and (.scenario | test("^handshake"))'
	[requests]='.contestant and (.scenario | test("^handshake") | not)')

# written_of PART: its results.
written_of() {
	case $1 in
	requests) echo "$O/bench/insn.json" ;;
	handshakes) echo "$O/bench/insn-shakes.json" ;;
	gate) echo "$O/bench/insn-gate.json" ;;
	esac
}

# as_result JQ-FILTER: rows on stdin become those of a file, with where they are from.
as_result() {
	jq -s --arg kernel "$(runs .kernel | jq -r .kernel)" --arg aes "$(runs .aes | jq -r .aes)" \
		--arg sha "$(runs .aes | jq -r .sha)" '
		def mean(f): map(f) | add / length;
		def apart(a): (a | [min, max]) as $x | ($x[1] - $x[0]) / ([$x[0], 1] | max);
		def spread(f): apart(map(f));
		{date: (now | strftime("%F")), kernel: $kernel, aes: $aes, sha: $sha, rows: ('"$1"')}'
}

# Both runs of each, their mean and how far they are apart. `edge` is all that the machine did less
# the generator's and the backend's own time: the proxy, and what the kernel did outside of any
# process.
summarize() {
	if [ "$1" = gate ]; then
		runs "${rows_of[gate]}" | as_result 'to_entries | group_by([.value.verdict, .value.bytes, .value.cookies])
			| sort_by(.[0].key) | map(map(.value) | {name: .[0].verdict,
			bytes: .[0].bytes, cookies: .[0].cookies, runs: (2 * length), instructions: mean(.ns),
			spread: apart(if .[0].verdict | test("^seed") then map(.ns) else map(.least, .most) end)})'
	else
		runs "${rows_of[$1]}" | as_result 'group_by([.scenario, .contestant]) | map({
			scenario: .[0].scenario, contestant: .[0].contestant, runs: length,
			proxy: mean(.proxy), edge: mean(.machine - .load - .backend), machine: mean(.machine),
			load: mean(.load), backend: mean(.backend),
			spread: ([spread(.proxy), spread(.machine)] | max),
			ktls: (map(.ktls) | min), ktls_wanted: .[0].ktls_wanted,
			gate_hits: (map(.gate_hits) | min), gate_wanted: .[0].gate_wanted})'
	fi
}

# The better nginx of those that do the job (or that pass through) with kTLS is what counts as 1.
table() {
	jq -r 'def k: . / 1000 | round | tostring;
		def r: if . == null then "-" else . * 100 | round / 100 | tostring end;
		def ktls: if .contestant == "direct" then "-" elif .ktls > 0 then "yes" else "no" end;
		["hardtack", "hardtack-openssl35", "hardtack-noktls", "hardtack-user", "nginx130-lua", "nginx-lua", "njs",
			"haproxy32", "haproxy26", "hardtack-off", "nginx130-pass", "nginx-pass", "haproxy-pass",
			"direct"] as $order
		| .rows | group_by(.scenario) | reverse[]
		| ([.[] | select(.contestant | IN("nginx130-lua", "nginx-lua", "njs")) | .edge] | min) as $job
		| ([.[] | select(.contestant | IN("nginx130-pass", "nginx-pass")) | .edge] | min) as $pass
		| "\n### \(.[0].scenario)\n",
		"| | kTLS transmit | proxy process | whole machine less generator and backend | / best nginx, same job | / best nginx passing through | whole machine | spread |",
		"|---|---|---|---|---|---|---|---|",
		(sort_by(.contestant as $c | $order | index($c) // 99)[]
		| "| \(.contestant) | \(ktls) | \(if .proxy > 0 then .proxy | k else "-" end) | \(.edge | k) | " +
		"\(if $job and .proxy > 0 then .edge / $job else null end | r) | " +
		"\(if $pass and .proxy > 0 then .edge / $pass else null end | r) | \(.machine | k) | " +
		"\(.spread * 1000 | round / 10) % |")' "$O/bench/insn.json"
}

# The goals are ratios; where one of the two is missing there is none.
goals() {
	echo
	echo '| | ratio | goal |'
	echo '|---|---|---|'
	jq -r '. as $all
		| def edge(s; c): [$all.rows[] | select(.scenario == s and .contestant == c) | .edge][0];
		def best(s; names): [names[] as $c | edge(s; $c) | select(.)] | min;
		def ratio(a; b): if a and b then a / b * 100 | round / 100 | tostring else "-" end;
		["nginx130-lua", "nginx-lua", "njs"] as $nginx
		| "| tls-100k: hardtack / the best nginx with kTLS | \(ratio(edge("tls-100k"; "hardtack"); best("tls-100k"; $nginx))) | 0.6 |",
		"| tls-100k: the same without what TLS adds to each | \(ratio(edge("plain-100k"; "hardtack"); best("plain-100k"; $nginx))) | |",
		"| tls-200: hardtack / the best that does the same job | \(ratio(edge("tls-200"; "hardtack");
			best("tls-200"; $nginx + ["haproxy32", "haproxy26"]))) | 0.75 |",
		"| tls-200: hardtack / nginx passing through | \(ratio(edge("tls-200"; "hardtack"); edge("tls-200"; "nginx-pass"))) | below 1 |",
		(("tls-200", "plain-200", "tls-100k") as $s
			| "| \($s): gate: require / mode: off | \(ratio(edge($s; "hardtack"); edge($s; "hardtack-off"))) | 1.05 |")
		' "$O/bench/insn.json"
}

report_requests() {
	cat <<-END
		## Instructions per request, with kTLS

		Thousands of guest instructions, kernel and user space, on Linux $(jq -r .kernel "$O/bench/insn.json") under QEMU's
		-icount with one CPU; $(date -u +%F), \`make bench-insn\`. One keep-alive connection, TLS 1.3 with
		AES-128-GCM, one request at a time: nothing is batched for anybody. 64 sessions in turn, each token
		known. The difference of a long run and a short one, so that starting cancels; twice, and the spread is
		how far the two are apart.

		hardtack, the older nginx and HAProxy 2.6 run with OpenSSL 3.0 (whose kTLS transmits TLS 1.3, and does
		not receive it); nginx130 and HAProxy 3.2 with that of their suite. nginx has \`ssl_conf_command Options
		KTLS\` and does the job in Lua with one kept HMAC context, or in njs. HAProxy has no kTLS before 3.3:
		its TLS is in user space; so is that of hardtack-noktls (\`ktls: off\`). The kernel encrypts with $(jq -r .aes "$O/bench/insn.json"). Without AVX (QEMU 7 breaks it) and
		without "rep movsb" (QEMU counts each byte). Instructions are a measure of work, not of time.
	END
	table
	goals
}

report_handshakes() {
	cat <<-END
		## Instructions per TLS handshake

		Thousands, as above, of a connection that does a handshake (ECDSA P-256, X25519, AES-128-GCM), gets a
		ticket (of TLS 1.2, once) and is closed; nobody has kTLS. OpenSSL does nearly all of it: 3.0 with hardtack, nginx-pass
		and Hitch, 3.5 with hardtack-openssl35, sid's with nginx130-pass, haproxy32 and hardtack-sid.

		| | TLS 1. | handshake | process | whole machine less generator | spread |
		|---|---|---|---|---|---|
	END
	jq -r 'def k: . / 1000 | round;
		.rows | sort_by([.scenario, .edge])[] | (.scenario | split("-")) as $s
		| "| \(.contestant) | \(if $s[0] == "handshake12" then 2 else 3 end) | \($s[1]) | \(.proxy | k) | " +
		"\(.edge | k) | \(.spread * 1000 | round / 10) % |"' "$O/bench/insn-shakes.json"
}

report_gate() {
	cat <<-END
		## Instructions per verdict

		Of the gate's program, by the kernel's BPF statistics, which count themselves a little: see the empty
		program. The HMACs are OpenSSL's, $(jq -r .sha "$O/bench/insn-gate.json").

		| verdict | head bytes | cookies | instructions | spread |
		|---|---|---|---|---|
	END
	jq -r '.rows[] | "| \(.name) | \(if .bytes > 0 then .bytes else "-" end) | \(if .bytes > 0 then .cookies else "-" end) | " +
		"\(.instructions | round) | \(.spread * 1000 | round / 10) % |"' "$O/bench/insn-gate.json"
}

# fails PART WORDS FILTER: rows that the filter finds are a reason to fail.
fails() {
	local rows
	rows=$(jq -r ".rows[] | select($3) | .name // \"\(.contestant) in \(.scenario)\"" "$(written_of "$1")")
	[ -n "$rows" ] || return 1
	echo "bench-insn: $2: ${rows//$'\n'/, }"
}

judge() {
	local failed=0 part
	for part in $parts; do
		fails "$part" 'not the same within 2 %' '.spread > 0.02' && failed=1
		fails "$part" 'ran once only' '.runs < 2' && failed=1
		[ "$part" != gate ] || continue
		fails "$part" 'was to have kTLS and had none' '.ktls_wanted and .ktls == 0' && failed=1
		fails "$part" 'not each request was a hit of the gate' '.gate_wanted and .gate_hits == 0' && failed=1
	done
	runs .skipped | jq -r '"bench-insn: skipped " + .skipped'
	# Without somebody else there is less to compare, without hardtack nothing.
	[ -z "$(runs '.skipped // "" | test("^(hardtack|everything|the gate)")')" ] || failed=1
	[ $failed != 0 ] || echo 'bench-insn: each figure the same twice within 2 %'
	return $failed
}

# ---- all of it ----

main() {
	local part
	scripts/bench/setup.sh || return 1
	guest_prepare "$kernel" || {
		echo "bench-insn: $why" >&2
		return 1
	}
	guest_run "${LIMIT:-7200}" # of a clock that others may slow down
	exec 9>&-
	if [ "$status" != 0 ]; then
		tail -n 40 "$out/console.log" >&2
		echo "bench-insn: the guest did not come to its end" >&2
		return 1
	fi
	for part in $parts; do
		if [ -z "$(runs "${rows_of[$part]}")" ]; then
			runs .skipped
			echo "bench-insn: nothing came of the part $part" >&2
			return 1
		fi
		summarize "$part" >"$(written_of "$part")" || return 1
	done
	for part in $parts; do
		"report_$part" || return 1
		echo
	done >"$O/bench/insn.md"
	cat "$O/bench/insn.md"
	judge
}

main
