#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The part of `make bench-insn` that runs in the virtual machine (insn.sh): each contestant alone,
# with the configuration that `make bench` gives it and kTLS on, proves that it does the job, and is
# then loaded with short and long runs: what PARTS says of the gate, handshakes and requests. Reports on
# the second serial port what each cost; judges nothing.
# shellcheck disable=SC2034 # much of it is contestants.sh's
set -u
cd /ht/insn || exit 1
export PATH=/ht/insn/bin:/usr/bin:/usr/sbin:/bin:/sbin LC_ALL=C
O=/ht/insn/build
files=8000
arch=x86_64-linux-gnu
contestant_tls='ssl_conf_command Options KTLS;'
hardtack_ktls=require
# shellcheck source-path=SCRIPTDIR source=contestants.sh
. scripts/bench/contestants.sh
# shellcheck source-path=SCRIPTDIR source=check.sh
. scripts/bench/check.sh
proxy_cpu=0 other_cpu=0

report() { echo "$1" >/dev/ttyS1; }
say() { echo "guest: $(cut -d. -f1 /proc/uptime) s: $*"; }
skip() {
	say "skipped $1"
	report "{\"skipped\":\"$(tr -d '"\134' <<<"$1")\"}"
}

# Requests of the short and of the long run, and the length of the answers; handshakes, more of the
# cheap ones, as what happens now and then shows more there.
declare -A short=([200]=400 [100k]=80 [full]=10 [resumed]=10)
declare -A long=([200]=1400 [100k]=400 [full]=80 [resumed]=150 [handshake12-resumed]=600)
declare -A length=([200]=200 [100k]=102400 [full]=0 [resumed]=0)

# kTLS as the kernel counts it: connections whose transmit side it took over.
ktls_count() { awk '$1 == "TlsTxSw" { n = $2 } END { print n + 0 }' /proc/net/tls_stat; }

# Cookies that the gate found the token of.
gate_hits() {
	[ -S "$run/hardtack/control.sock" ] || {
		echo 0
		return
	}
	/ht/3.0/hardtackctl -s "$run/hardtack/control.sock" metrics |
		awk '/^hardtack_verdicts_total.*where="kernel".*verdict="hit"/ { n += $NF } END { print n + 0 }'
}

# load NAME PORT SIZE REQUESTS ARGUMENT...: totals of one run: proxy, backend, generator, machine, all
# in ns of the guest's clock, which are instructions.
load() {
	local name=$1 port=$2 size=$3 requests=$4
	shift 4
	taskset -c 0 "$O/bench/load" --to "127.0.0.1:$port" --key "$run/shop.key" --path "/$size" \
		--length "${length[$size]}" --mode saturate --scenario valid --sequential --sessions 64 \
		--connections 1 --requests "$requests" --seconds 250 --warm 0 \
		--proxy "$(pids_of "$name")" --backend "$(pids_of backend)" "$@" >"$run/answer" 2>&1 || return 1
	# "cpu_us" and the like are microseconds for one request.
	awk -v n="$requests" -v resumed="$([ "$size" != resumed ] || echo $((requests - 1)))" '
		function value(name) {
			match($0, "\"" name "\": [0-9.]+")
			return substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 4)
		}
		{
			if (value("ok") != n || value("errors") != 0 || value("rps") == 0 || value("resumed") != resumed + 0)
				exit 1
			printf "%.0f %.0f %.0f %.0f\n", value("cpu_us") * n * 1000,
				value("backend_us") * n * 1000, value("load_us") * n * 1000, n * 1e9 / value("rps")
		}' "$run/answer"
}

# measure ROW NAME SCENARIO KTLS GATE: two runs, each a long one less a short one.
measure() {
	local row=$1 name=$2 scenario=$3 ktls=$4 gate=$5 size=${3#*-} port=${plain_port[$2]} i tx hits many
	local -a a b flags=()
	many=${long[$scenario]:-${long[$size]}}
	case $scenario in
	tls-*) port=${tls_port[$name]} flags=(--tls) ;;
	handshake*)
		port=${tls_port[$name]} flags=(--tls --mode handshake)
		[[ $scenario != handshake12-* ]] || flags+=(--tls12)
		[ "$size" != resumed ] || flags+=(--resume)
		;;
	*) ktls=false ;;
	esac
	for i in warm 1 2; do
		tx=$(ktls_count) hits=$(gate_hits)
		read -r -a a < <(load "$name" "$port" "$size" "${short[$size]}" "${flags[@]}")
		[ "$i" != warm ] || continue
		read -r -a b < <(load "$name" "$port" "$size" "$many" "${flags[@]}")
		if [ ${#a[@]} != 4 ] || [ ${#b[@]} != 4 ]; then
			skip "$row, $scenario: $(tail -c 300 "$run/answer")"
			return
		fi
		hits=$(($(gate_hits) - hits))
		[ "$hits" -ge $((short[$size] + many)) ] || hits=0
		report "$(awk -v n=$((many - short[$size])) -v a="${a[*]}" -v b="${b[*]}" \
			-v head="\"contestant\":\"$row\",\"scenario\":\"$scenario\",\"run\":$i,\
\"ktls\":$(($(ktls_count) - tx)),\"ktls_wanted\":$ktls,\"gate_hits\":$hits,\"gate_wanted\":$gate" \
			'BEGIN {
				split(a, x); split(b, y)
				printf "{%s,\"proxy\":%.1f,\"backend\":%.1f,\"load\":%.1f,\"machine\":%.1f}\n", head,
					(y[1] - x[1]) / n, (y[2] - x[2]) / n, (y[3] - x[3]) / n, (y[4] - x[4]) / n
			}')"
	done
	say "$row, $scenario: done"
}

# contest ROW SCENARIO...: one contestant from its start to its end.
contest() {
	local row=$1 name=$1 ktls=true gate=false scenario
	shift
	case $row in
	hardtack) gate=true ;;
	hardtack-openssl35 | hardtack-sid) name=hardtack gate=true ;; # the libraries of others
	hardtack-noktls) name=hardtack gate=true ktls=false ;;
	haproxy*) ktls=false ;; # learns it in 3.3
	esac
	local hardtack_program=(/ht/3.0/hardtackd) hardtack_ktls=$hardtack_ktls contestant_tls=$contestant_tls tls12=
	case $row in
	hardtack-openssl35) hardtack_program=(/ht/3.5/hardtackd) ;;
	hardtack-sid) ! started_as sid nginx || hardtack_program=("${command[@]:0:3}" /ht/3.0/hardtackd) ;;
	esac
	[ "$row" != hardtack-noktls ] || hardtack_ktls=off
	[[ $1 != handshake* ]] || gate=false ktls=false tls12=2 hardtack_ktls=off contestant_tls=''
	# What shakes hands has answered; what it does with a request is not asked.
	if ! start "$name" || { [ -z "$tls12" ] && ! does_job "$name"; }; then
		skip "$row: $reason"
	else
		for scenario in "$@"; do measure "$row" "$name" "$scenario" $ktls $gate; done
	fi
	stop "$name"
	rm -f "$run/$name/control.sock"
}

# Without a proxy: what generator and backend cost, and what TLS is to them.
bare() {
	local scenario
	start direct
	for scenario in plain-200 tls-200 plain-100k tls-100k; do
		measure direct direct "$scenario" false false
	done
}

# The program alone, and the HMAC that it saves.
verdicts() {
	"$O/bench/gate" --instructions --json /dev/ttyS1 >"$run/gate.log" 2>&1 ||
		skip "the gate's own cost: $(tail -n 1 "$run/gate.log")"
	say 'the gate: done'
}

# A proxy with a processor of its own is not pushed off it by whom it has just woken: here nobody is,
# or each answer would be sent and read in other parts.
echo NO_WAKEUP_PREEMPTION >/sys/kernel/debug/sched/features
# A machine with udev has loaded what its processor can do.
modprobe -a aesni_intel ghash_clmulni_intel 2>/dev/null
report "{\"aes\":\"$(awk '/^driver/ { d = $3 } /^name/ { n = $3 } /^priority/ && n == "gcm(aes)" && $3 > p { p = $3 }
	/^priority/ && n == "gcm(aes)" && $3 == p { best = d } END { print best }' /proc/crypto)\",\
\"sha\":\"$(grep -qw sha_ni /proc/cpuinfo && echo with || echo without) SHA-NI\"}"
if ! write_common || ! start_backend; then
	skip "everything: the backend did not start: $(tail -n 1 "$run/backend/log")"
	PARTS=
fi
for part in $PARTS; do
	case $part in
	gate) verdicts ;;
	handshakes)
		for name in $SHAKERS; do contest "$name" handshake{,12}-{full,resumed}; done
		;;
	requests)
		bare
		for name in $CONTESTANTS; do contest "$name" tls-200 tls-100k plain-200 plain-100k; done
		;;
	esac
	say "part $part: done"
done
stop_all
