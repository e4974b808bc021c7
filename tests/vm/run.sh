#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The test suite's plan for a virtual machine (lib.sh): the gate and the daemon with kTLS on one of
# Debian's own kernels. Judges what comes back and ends with one line: N passed, N failed, N skipped.
# What ran goes to $O/vm/KERNEL: console.log, kernel.log, report.json; and into the table
# $O/vm/table.md, which readme.sh puts into the README.
#
# Everything takes some ten times the processor time here, and the verifier took half of that: a gate
# that it has accepted is handed on (verified.c). What runs each time on each kernel (`make test`) is
# the gate's suite and a few cases of each combination; the whole end-to-end suite is run on two, on all
# by `make test-vm`.
#
# usage: [O=build] [FULL=1] [FILTER=word | PARTS="gate smoke"] tests/vm/run.sh 6.1 | 6.12 | newest | VERSION
# parts: gate weakened everything smoke. FULL=1: with bodies of 100 MB and the long stress
# shellcheck disable=SC2034,SC2317 # out and O are lib.sh's; functions are called by name
set -u
cd "$(dirname "$0")/../.." || exit 1
export PATH=$PATH:/usr/sbin:/sbin
O=${O:-build}
kernel=${1:?which kernel}
out=$O/vm/$kernel
FULL=${FULL:-}
FILTER=${FILTER:-}
PARTS=${PARTS:-gate weakened everything smoke}
# shellcheck source=SCRIPTDIR/lib.sh
. tests/vm/lib.sh
silence=$([ -n "$FULL" ] && echo 2000 || echo 400) # more than any test waits

passed=0 failed=0 skipped=0

# ---- what runs ----

# The small suite for the other combinations: each direction and kind of body over TLS, judgements,
# a browser's login, certificates.
smoke='@(framing/uploads_by_length_tls|framing/downloads_chunked_tls|limits/head_of_exactly_16384_bytes_tls'
smoke+='|upgrade/websocket_echo_tls|curl/login_and_back|tls/certificate_by_server_name)'

cases=$(tr -dc '|' <<<"$smoke|" | wc -c)

wanted() { [[ " $PARTS " == *" $1 "* ]]; }

# With FILTER only the tests of that name, in every combination.
plan() {
	local openssl tls gate
	if [ -n "$FULL" ]; then
		echo 'export FULL=1'
	else
		echo 'export HT_SCALE=small'
	fi
	echo 'export HT_KTLS=require HT_SHARE=require HT_SLOW=1 HT_NETWORK=shared'
	echo 'export LD_PRELOAD=/ht/verified.so'
	if [ -z "$FILTER" ]; then
		wanted gate && echo "part gate 3.5 1.3 require tests/bpf -j$((cpus + 1))"
		wanted weakened && echo "part weakened 3.5 1.3 require tests/bpf-weak -j$((cpus + 1))"
		wanted everything &&
			echo "HT_GATEWAYS=shared part everything 3.5 1.3 require tests/e2e -j$((3 * cpus))"
		wanted smoke || return 0
	fi
	for openssl in 3.0 3.5; do
		for tls in 1.2 1.3; do
			for gate in require off; do
				# "everything" has done that one
				[ -z "$FILTER" ] && wanted everything && [ $openssl-$tls-$gate = 3.5-1.3-require ] &&
					continue
				echo "part smoke $openssl $tls $gate tests/e2e -j$((3 * cpus))" \
					"--filter '${FILTER:+*}${FILTER:-$smoke}${FILTER:+*}'"
			done
		done
	done
}

# The other servers that the whole suite asks how they read what arrives.
own_files() {
	local module
	[ -n "$FILTER" ] || wanted everything || return 0
	install_program "$1" /usr/bin/node || return 1
	install_program "$1" /usr/sbin/apache2 || return 1
	for module in /usr/lib/apache2/modules/mod_{mpm_prefork,authz_core,headers,reflector}.so; do
		install_program "$1" "$module" || return 1
	done
}

# ---- the verdict ----

# check WORDS CONDITION...
check() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "failed: $what"
	fi
}

judge_parts() {
	local part p f s openssl tls gate tx rx seconds rx_wanted
	while read -r part openssl tls gate p f s tx rx seconds; do
		printf '%-10s OpenSSL %s, TLS %s, gate %-7s %3d passed, %d failed, %d skipped, %3d s; kTLS tx %d, rx %d\n' \
			"$part" "$openssl" "$tls" "$gate:" "$p" "$f" "$s" "$seconds" "$tx" "$rx"
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
		case $part in gate | weakened) continue ;; esac
		[ "$part" != smoke ] || [ -n "$FILTER" ] ||
			check 'a case of the short suite is not there' [ $((p + f + s)) = "$cases" ]
		check 'no connection with kTLS transmit' [ "$tx" -gt 0 ]
		rx_wanted=yes
		[ "$openssl-$tls" != 3.0-1.3 ] || rx_wanted=
		# The whole suite asks for other versions too, and has handshakes that fail halfway.
		if [ "$part" != smoke ] || [ -n "$FILTER" ]; then
			[ -z "$rx_wanted" ] || check 'no connection with kTLS receive' [ "$rx" -gt 0 ]
		elif [ -n "$rx_wanted" ]; then
			check 'a connection without kTLS receive' [ "$rx" = "$tx" ]
		else
			check 'OpenSSL 3.0 has learnt to receive TLS 1.3 by kTLS' [ "$rx" = 0 ]
		fi
	done < <(jq -r 'select(.part) | "\(.part) \(.openssl) \(.tls) \(.gate) \(.passed) \(.failed)" +
		" \(.skipped) \(.tx) \(.rx) \(.seconds)"' "$out/report.jsonl")
}

# Nothing in the kernel's log may look like a bug, whether or not the guest lived to send it.
splats='WARNING:|BUG:|BUG |refcount_t|KASAN|UBSAN|Oops|general protection|Call Trace|Kernel panic|double fault'
splats+='|INFO: task|unregister_netdevice|page allocation failure|scheduling while atomic|possible circular'
kernel_log_clean() {
	! grep -ahE "$splats" "$out/kernel.log" <(grep -a '^\[ *[0-9]' "$out/console.log") |
		grep -v -e 'Unprivileged eBPF is enabled' | sort -u | head -n 20 | grep .
}

# One row for each OpenSSL, from all the kernels that ran in this tree.
table() {
	local report
	echo '| kernel | OpenSSL | TLS 1.2 sends / receives | TLS 1.3 sends / receives | gate | verdict program: instructions | broken on purpose | ways around a weakened one |'
	echo '|---|---|---|---|---|---|---|---|'
	for report in "$vm"/*/report.json; do
		jq -r '. as $r | $r.parts | group_by(.openssl)[] | . as $g |
			def word(v; n): [$g[] | select(.tls == v and (.part == "smoke" or .part == "everything")) | .[n]] |
				if length == 0 then "not run" elif add > 0 then "kernel" else "OpenSSL" end;
			def gate: [$g[] | select(.gate == "require")] |
				if all(.failed == 0) then "works" else "fails" end;
			def weakened: [$r.parts[] | select(.part == "weakened")] |
				if length == 0 then "not run"
				else "\(.[0].passed) of \(.[0] | .passed + .failed + .skipped) shown" end;
			"| \($r.kernel) | \(($r.openssl[$g[0].openssl] // $g[0].openssl) | sub("OpenSSL "; "")) |" +
			" \(word("1.2"; "tx")) / \(word("1.2"; "rx")) | \(word("1.3"; "tx")) / \(word("1.3"; "rx")) |" +
			" \(gate) | \(if $r.insns > 0 then $r.insns else "not run" end) |" +
			" \(if $r.broken_gate == "" then "not run" else $r.broken_gate end) | \(weakened) |"' "$report"
	done | sort -V
}

# What the build machine's own kernel has to do for all of them.
left_out() {
	local what=''
	[ -z "$FILTER" ] || return 0
	wanted everything || what+='the whole end-to-end suite (make test-vm); '
	wanted weakened ||
		what+='the weakened gate, which shows that the tests of the gate can fail; '
	[ -n "$FULL" ] || what+='bodies of 100 MB and the long stress (FULL=1); '
	echo "left out: ${what}sanitizers; fuzzers; unit tests"
}

# How long a guest may take: several times what it takes on a quiet machine.
limit() {
	if [ -n "$FULL" ]; then
		echo 7200
	elif wanted everything || [ -n "$FILTER" ]; then
		echo 3600
	else
		echo 1800
	fi
}

main() {
	local ran what started=$SECONDS
	guest_prepare "$kernel"
	case $? in
	0) ;;
	2)
		echo "skipped: $why"
		echo '0 passed, 0 failed, 1 skipped'
		return 0
		;;
	*)
		echo "vm: $why"
		echo '0 passed, 1 failed, 0 skipped'
		return 1
		;;
	esac
	guest_run "${LIMIT:-$(limit)}"
	grep -a -e '^vm-failed: ' -e '^skipped: ' "$out/console.log"
	check 'the guest did not come to its end' [ "$status" = 0 ]
	judge_parts
	jq -s --argjson seconds $((SECONDS - started)) --argjson cpu "$cpu_s" \
		'(map(select(.part or .runs_with | not)) | add) + {seconds: $seconds, cpu_seconds: $cpu,
		openssl: (map(select(.runs_with) | {(.openssl): .runs_with}) | add),
		parts: map(select(.part))}' "$out/report.jsonl" >"$out/report.json" || failed=$((failed + 1))
	check "the kernel's log did not come back" [ -s "$out/kernel.log" ]
	check 'the kernel complained' kernel_log_clean
	ran=$(jq -r .kernel "$out/report.json")
	for what in leaked_sockets leaked_tls leaked_bpf; do
		check "$what is $(jq .$what "$out/report.json")" \
			[ "$(jq .$what "$out/report.json")" = 0 ]
	done
	table >"$vm/table.md"
	if [ "$status" != 0 ] || [ $failed != 0 ]; then
		tail -n 80 "$out/console.log"
	fi
	left_out
	echo "kernel $ran ($package): $((SECONDS - started)) s, $cpu_s s of processor time," \
		"$(jq '.gates_verified // 0' "$out/report.json") gates verified, $tries boot(s)"
	grep -F "| $ran |" "$vm/table.md"
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed = 0 ]
}

main; exit # at once: this file may change while it runs
