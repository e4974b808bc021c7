#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make bench`: hardtack beside what people run today, doing the same job. Fetches and starts the
# contestants, proves that each does the job, then takes turns: every run of a contestant has a run
# of the control (nginx passing through) beside it, and only their ratio is claimed. QUICK=1 takes
# under 4 minutes, otherwise under 30; RATE, TURNS, PAIRS, RUN_SECONDS and ONLY="contestants" are for
# trying things out. Results, raw runs, table and plots are in $O/bench; readme.sh takes them from there.
#
# The proxies have CPU 0 and one worker each; the generator and the backend have CPU 1.
# shellcheck disable=SC2317 # functions are called by name
set -u
cd "$(dirname "$0")/../.." || exit 1
PATH=$PATH:/usr/sbin:/sbin
O=${O:-build}
export LC_ALL=C

# shellcheck source-path=SCRIPTDIR source=contestants.sh
. scripts/bench/contestants.sh
# shellcheck source-path=SCRIPTDIR source=check.sh
. scripts/bench/check.sh

runs=$O/bench/runs.jsonl
skipped=$O/bench/skipped.txt
rate=${RATE:-15000}
conns=64
number=0 turn=0 pair=0
started=$SECONDS

if [ -n "${QUICK:-}" ]; then
	turns=1 pairs=${PAIRS:-4} seconds=${RUN_SECONDS:-0.7} warm=0.15 idle_conns=1000
	scenarios='plain-valid-200 tls-valid-200'
else
	turns=${TURNS:-3} pairs=${PAIRS:-3} seconds=${RUN_SECONDS:-1} warm=0.25 idle_conns=5000
	# What fills the token map comes last; each turn warms it again.
	scenarios='plain-valid-200 tls-valid-200 tls-sticky-200 tls-valid-16k
		plain-valid-100k tls-valid-100k plain-upload-100k tls-upload-100k
		tls-forged-200 plain-forged-200 tls-invented-200 tls-login plain-login tls-miss-200 plain-miss-200'
fi
everybody='plain-valid-200 tls-valid-200'

# who_runs SCENARIO: all of them in two scenarios, elsewhere the best of their kind. QUICK leaves out
# the others.
who_runs() {
	case $1 in
	plain-valid-200 | tls-valid-200)
		echo hardtack hardtack-user hardtack-off nginx130-lua nginx-lua haproxy32
		[ -n "${QUICK:-}" ] || echo haproxy26 njs nginx130-pass haproxy-pass hitch
		;;
	*-upload-*) echo hardtack hardtack-user nginx130-lua haproxy32 ;;
	*-16k | *-100k) echo hardtack hardtack-user hardtack-off nginx130-lua haproxy32 ;;
	*) echo hardtack hardtack-user nginx130-lua ;;
	esac
}

skip() {
	say "bench: $1" >&2
	say "$1" >>"$skipped"
}

finish() {
	local status=$?
	trap '' INT TERM
	stop_all
	exit "$status"
}

# pairs_of SCENARIO: once a turn where it only says that TLS makes no difference.
pairs_of() {
	case $1 in
	plain-forged-200 | plain-login | plain-miss-200) echo 1 ;;
	*) echo "$pairs" ;;
	esac
}

machine() {
	echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, Linux $(uname -r)"
}

# ---- one run ----

# load NAME SCENARIO SECONDS ARGUMENT...: one run of the generator, as JSON.
load() {
	local name=$1 proto kind size port length first=0 path flags=()
	IFS=- read -r proto kind size <<<"$2"
	local seconds=$3
	shift 3
	port=${plain_port[$name]}
	[ "$proto" != tls ] || port=${tls_port[$name]} flags=(--tls)
	[ -n "$port" ] || return 1
	path=/$size length=200
	case $size in
	16k) length=16384 ;;
	100k) length=102400 ;;
	esac
	if [ "$kind" = login ]; then
		path=/login
		is_in "$name" "$same_job" || kind=none
	fi
	# Sessions that nobody has seen: numbered by the clock.
	case $kind in miss | invented) first=$(date +%s%N) ;; handshake) kind=none ;; esac
	# 100 KB to the backend, 200 bytes back.
	[ "$kind" != upload ] || kind=valid path=/upload flags+=(--upload "$length") length=200
	taskset -c "$other_cpu" "$O/bench/load" --to "127.0.0.1:$port" \
		--key "$run/shop.key" --path "$path" --length "$length" --scenario "$kind" \
		--first "$first" --connections "$conns" --seconds "$seconds" --warm "$warm" \
		--proxy "$(pids_of "$name")" --backend "$(pids_of backend)" \
		"${flags[@]}" "$@" 2>>"$O/bench/load.log"
}

rate_of() {
	case $1 in
	*-16k) echo $((rate / 2)) ;;
	*-100k) echo $((rate / 6)) ;;
	*) echo "$rate" ;;
	esac
}

# record NAME SCENARIO PAIR [MODE ARGUMENT...]: a run, kept with where it stood.
record() {
	local name=$1 scenario=$2 of=$3 mode=${4:-rate} json
	shift 3
	[ $# = 0 ] || shift
	number=$((number + 1))
	json=$(load "$name" "$scenario" "$seconds" --mode "$mode" --rate "$(rate_of "$scenario")" "$@") ||
		return 1
	jq -c --arg c "$name" --arg s "$scenario" --arg p "$of" --arg m "$mode" --argjson n "$number" \
		--argjson t "$turn" '{contestant: $c, scenario: $s, pair: $p, run: $n, turn: $t, mode: $m}
			+ (del(.mode, .scenario))' <<<"$json" >>"$runs"
}

# ---- starting ----

# part FUNCTION: one part of the whole, and how long it took.
part() {
	local began=$SECONDS
	"$1"
	say "bench: $1: $((SECONDS - began)) s"
}

# takes_part NAME: with QUICK only those that take turns, and the control.
takes_part() {
	[ -z "${ONLY:-}" ] || is_in "$1" "$ONLY $control direct" || return
	[ -z "${QUICK:-}" ] || is_in "$1" "$(who_runs tls-valid-200) $control direct"
}

meet() {
	local name
	running=
	for name in $all_contestants; do
		takes_part "$name" || continue
		if ! start "$name"; then
			skip "$name: $reason"
			stop "$name"
		elif ! does_job "$name"; then
			skip "$name does not do the job and is not timed: $reason"
			stop "$name"
		else
			running+=" $name"
		fi
	done
	is_in "$control" "$running" || {
		say "bench: without the control ($control) there is nothing to compare with" >&2
		exit 1
	}
	say "bench: running:$running"
}

who_lets_what_through() {
	local name
	for name in $running; do
		is_in "$name" "$same_job" || continue
		attack "$name" | sed "s/^/$name|/"
	done >"$O/bench/attacks.txt"
}

# The first requests of 100,000 sessions; whoever keeps tokens has them then.
warm_up() {
	is_in hardtack "$running" || return
	taskset -c "$other_cpu" "$O/bench/load" --to "127.0.0.1:${plain_port[hardtack]}" --mode saturate \
		--sequential --requests 100000 --seconds 60 --warm 0 --key "$run/shop.key" \
		>>"$O/bench/load.log" 2>&1
}

# A rate that this machine's control can hold; a slower machine gets a lower one.
find_rate() {
	local json
	while [ -z "${RATE:-}" ] && [ "$rate" -gt 2000 ]; do
		json=$(load "$control" tls-valid-200 1 --rate "$rate")
		jq -e '.late < 0.01 * .sent and .errors == 0' <<<"$json" >/dev/null && break
		rate=$((rate * 2 / 3))
	done
	say "bench: $rate requests a second (1/2 of it for 16 KB, 1/6 for 100 KB)"
}

# ---- taking turns ----

# Which of two goes first changes with every round; the control's run between them is for both.
a_round() {
	local scenario=$1 odd=$((($2 + turn) % 2)) name with='' shared names
	shift 2
	mapfile -t names < <(if [ "$odd" = 0 ]; then printf '%s\n' "$@"; else printf '%s\n' "$@" | tac; fi)
	for name in "${names[@]}"; do
		pair=$((pair + 1))
		record "$name" "$scenario" "$name/$pair"
		if [ -z "$with" ]; then
			with=$name/$pair
			record "$control" "$scenario" "$with"
		else
			shared=$(tail -n 2 "$runs" | jq -c --arg c "$control" --arg p "$name/$pair" \
				'select(.contestant == $c) | .pair = $p')
			[ -z "$shared" ] || say "$shared" >>"$runs"
			with=
		fi
	done
}

# The same load on the backend itself: what generator and backend cost the machine.
take_baseline() {
	local scenario
	for scenario in $scenarios plain-valid-16k; do
		case $scenario in
		*-valid-* | *-login | *-upload-*) ;;
		*) continue ;;
		esac
		[ -z "${QUICK:-}" ] || [[ $scenario == *-200 ]] || continue
		record direct "$scenario" baseline
	done
}

take_turn() {
	local scenario name i take_part
	warm_up
	take_baseline
	for scenario in $scenarios; do
		take_part=()
		for name in $(who_runs "$scenario"); do
			! is_in "$name" "$running" || take_part+=("$name")
		done
		for ((i = 0; i < $(pairs_of "$scenario"); i++)); do a_round "$scenario" "$i" "${take_part[@]}"; done
	done
}

# ---- beside the turns ----

saturate() {
	local name scenario
	for scenario in $everybody; do
		for name in $running; do
			record "$name" "$scenario" saturation saturate
		done
	done
}

handshakes() {
	local name
	for name in $running; do
		[ "$name" != direct ] || continue
		record "$name" tls-handshake-full handshakes handshake --connections 16
		record "$name" tls-handshake-resumed handshakes handshake --connections 16 \
			--resume
	done
}

pss_kb() {
	local pid sum=0 n
	for pid in $(pids_of "$1" | tr , ' '); do
		n=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null)
		sum=$((sum + ${n:-0}))
	done
	echo "$sum"
}

# Many connections that do nothing: what one costs in memory, and whether the others notice.
idle() {
	local name before after fd_in fd_out line holder_PID
	for name in $running; do
		is_in "$name" 'direct hitch' && continue
		before=$(pss_kb "$name")
		coproc holder { load "$name" tls-none-200 120 --mode idle --connections "$idle_conns" --warm 0; }
		fd_out=${holder[0]} fd_in=${holder[1]}
		if read -r -t 60 line <&"$fd_out" && [[ $line == *'"errors": 0'* ]]; then
			after=$(pss_kb "$name")
			say "{\"contestant\": \"$name\", \"connections\": $idle_conns, \"kb\": $((after - before))}" \
				>>"$O/bench/memory.jsonl"
			record "$name" tls-valid-200 "idle" rate
			jq -c 'if .pair == "idle" then .scenario = "tls-valid-200-idle" else . end' "$runs" >"$runs.new" &&
				mv "$runs.new" "$runs"
		else
			skip "$name: $idle_conns idle connections could not be opened: ${line:-no answer}"
		fi
		exec {fd_in}>&-
		wait "${holder_PID:-}" 2>/dev/null
	done
}

# ---- all of it ----

[ "$(nproc)" -ge 2 ] || {
	say 'bench: needs two CPUs: one for the proxy, one for the rest' >&2
	exit 1
}
scripts/bench/setup.sh || exit 1
load_before=$(cut -d' ' -f1 /proc/loadavg)
jq -ne "$load_before <= 0.7" >/dev/null ||
	skip "a quiet machine: the load was $load_before when this began"
rm -f "$runs" "$O"/bench/{memory.jsonl,gate.jsonl,attacks.txt,guard.md,guard.json,summary.json,load.log}
: >"$runs"
: >"$O/bench/memory.jsonl"
trap finish EXIT
trap 'exit 130' INT TERM
if ! write_common || ! start_backend; then
	say "bench: the backend did not start, see $run/backend/log" >&2
	exit 1
fi
plain_port[direct]=$backend_port tls_port[direct]=$backend_tls_port
part meet
part who_lets_what_through
find_rate
[ -z "${QUICK:-}" ] || skip "in a quick run: bodies of 16 and 100 KB, forged, login and miss, a million tokens, $(
	for name in $all_contestants; do takes_part "$name" || echo -n "$name "; done)"
for ((turn = 1; turn <= turns; turn++)); do
	take_turn
	say "bench: turn $turn of $turns done, $((SECONDS - started)) s"
done
part saturate
part handshakes
part idle
if [ "$(id -u)" = 0 ] && [ -x "$O/bench/gate" ]; then
	taskset -c "$proxy_cpu" "$O/bench/gate" ${QUICK:+--quick} --json "$O/bench/gate.jsonl" \
		>"$O/bench/gate.txt" 2>"$O/bench/gate.log" ||
		skip "the gate's own cost: $(tail -n 1 "$O/bench/gate.log")"
else
	skip "the gate's own cost: needs root"
fi
stop_all
say "bench: $((SECONDS - started)) s so far"
scripts/bench/guard.sh || skip "what forging costs with the guard: see $O/bench/guard.log"
jq -n --arg date "$(date -u +%F)" --arg machine "$(machine)" --arg command "make bench${QUICK:+ QUICK=1}" \
	--argjson load "$load_before" --argjson rate "$rate" --argjson conns "$conns" \
	--argjson idle "$idle_conns" --argjson turns "$turns" --argjson pairs "$pairs" \
	--argjson seconds "$((SECONDS - started))" '$ARGS.named' >"$O/bench/meta.json"
scripts/bench/report.sh
say "bench: $((SECONDS - started)) s; tables in $O/bench/table.md, plots in $O/bench/*.svg"
