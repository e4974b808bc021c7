#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make bench-guard`: what honest clients notice while somebody forges as fast as he can, with the
# guard off, with it in mode drop, and with nobody forging. Everybody has a network of his own, joined
# to the gateway's by a veth pair: honest clients, and the attacker with an address of his own. The
# states take turns, in the other order on odd rounds; only ratios within a round are claimed.
# QUICK=1 takes a minute, otherwise 5; ROUNDS and RUN_SECONDS are for trying things out.
# Results, raw runs and table are in $O/bench/guard*.
#
# Two CPUs: the gateway, one worker, has CPU 0 for itself. Generator, backend and attacker are on
# CPU 1, the attacker with what the others leave (nice 15), because his CPU would be his own
# elsewhere. It is his packets that are to be felt, not his being here: in the state `bystander` he
# does the same with an address that his own machine has no route to. veth runs the receiver's
# softirq, the guard's program in it, on the sender's CPU: what a packet costs is measured by itself.
# shellcheck disable=SC2034,SC2154 # shares contestants.sh's variables
set -u
cd "$(dirname "$0")/../.." || exit 1
PATH=$PATH:/usr/sbin:/sbin
O=${O:-build}
export O LC_ALL=C

# The gateway's network is this one.
if [ "${1:-}" != inside ]; then
	[ "$(id -u)" = 0 ] || { echo 'bench-guard: needs root' >&2; exit 1; }
	[ "$(nproc)" -ge 2 ] || { echo 'bench-guard: needs two CPUs' >&2; exit 1; }
	exec unshare --net scripts/bench/guard.sh inside
fi
# shellcheck source-path=SCRIPTDIR source=contestants.sh
. scripts/bench/contestants.sh

run=$(realpath -m "$O/bench/run-guard")
out=$O/bench
pin=/sys/fs/bpf/hardtack-bench-guard
log=$out/guard.log
rounds=${ROUNDS:-${QUICK:+2}} rounds=${rounds:-8}
seconds=${RUN_SECONDS:-${QUICK:+1}} seconds=${seconds:-2}
states='quiet quiet-drop bystander-drop attack-off attack-drop'
rate=4000 conns=32
gateway=10.77.1.1 honest_ip=10.77.1.2 door=10.77.2.1 attacker_ip=10.77.2.2 nowhere=10.78.0.1
plain=8080 tls=8443
others=()

finish() {
	local status=$? pid
	trap '' INT TERM
	for pid in "${others[@]}" ${attack_pid:-}; do kill "$pid" 2>/dev/null; done
	stop_all
	[ ! -d "$pin" ] || rm -rf "$pin"
	[ -z "${stats_before:-}" ] || echo "$stats_before" >/proc/sys/kernel/bpf_stats_enabled
	exit "$status"
}

# ---- networks ----

# network NAME OUR-ADDRESS ITS-ADDRESS: the pid that holds it is in $holder.
network() {
	unshare --net sleep 3600 &
	holder=$!
	others+=("$holder")
	# until it is in a network of its own
	while [ "$(readlink "/proc/$holder/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
	ip link add "$1" type veth peer name eth0 netns "$holder" || return 1
	ip addr add "$2/24" dev "$1" && ip link set "$1" up || return 1
	within "$holder" ip addr add "$3/24" dev eth0 && within "$holder" ip link set eth0 up
}

within() {
	local pid=$1
	shift
	nsenter --target "$pid" --net -- "$@"
}

# ---- the gateway ----

start_gateway() {
	hardtack_conf "$run" 0.0.0.0 "$plain" "$tls" enforce "$pin" \
		"guard: { mode: $1, interface: [honest, attacker], forged: 5, ban: 10m }" >"$run/gateway.yaml"
	plain_port[gateway]=$plain
	spawn gateway "$proxy_cpu" "$O/hardtackd" -c "$run/gateway.yaml"
	await gateway
}

metric() {
	"$O/hardtackctl" -s "$run/control.sock" metrics | awk -v name="$1" '$1 == name { print $2 }'
}

gateway_ns() { awk '{ n += $1 } END { printf "%.0f\n", n }' /proc/"${pids[gateway]}"/task/*/schedstat; }

# load ARGUMENT...: honest clients, as JSON.
load() {
	within "$honest" taskset -c "$other_cpu" "$O/bench/load" --key "$run/shop.key" \
		--client-ip "$honest_ip" --path /200 --length 200 --sessions 2000 --warm 0.3 \
		--seconds "$seconds" --proxy "$(pids_of gateway)" --backend "$(pids_of backend)" \
		"$@" 2>>"$log"
}

# attack ARGUMENT...: in the background, with what CPU is left.
attack() {
	nsenter --target "$attacker" --net -- nice -n 15 taskset -c "$other_cpu" "$O/bench/guard_attack" \
		--from "$attacker_ip" --seconds 60 "$@" >"$run/attack.json" 2>>"$log" &
	attack_pid=$!
}

# He is at it: banned where there is a guard, else answered.
attack_is_on() {
	local i
	for ((i = 0; i < 500; i++)); do
		if [ "$1" = attack-drop ]; then
			[ "$(metric hardtack_guard_dropped_total)" -lt 100 ] || return 0
		else
			[ "$("$O/hardtackctl" -s "$run/control.sock" metrics |
				awk '/^hardtack_verdicts_total.*forged/ { n += $2 } END { print n + 0 }')" -lt 100 ] || return 0
		fi
		sleep 0.02
	done
	say "bench-guard: nothing of the attack arrives, see $log" >&2
	return 1
}

attack_ends() {
	[ -n "${attack_pid:-}" ] || return 0
	kill "$attack_pid" 2>/dev/null
	wait "$attack_pid"
	attack_pid=
}

# ---- one state ----

# measure STATE ROUND KIND ARGUMENT...: a run of the honest clients.
measure() {
	local state=$1 round=$2 kind=$3 json before after
	shift 3
	before=$(metric hardtack_guard_dropped_total)
	json=$(load --to "$gateway:$plain" "$@") || return 1
	after=$(metric hardtack_guard_dropped_total)
	jq -c --arg s "$state" --arg k "$kind" --argjson r "$round" --argjson d "$((after - before))" \
		'{state: $s, kind: $k, round: $r, dropped: $d} + .' <<<"$json" >>"$out/guard-runs.jsonl"
}

take_state() {
	local state=$1 round=$2 mode=off
	case $state in *-drop) mode=drop ;; esac
	start_gateway "$mode" || {
		say "bench-guard: the gateway did not start: $(tail -n 1 "$run/gateway/log")" >&2
		return 1
	}
	: >"$run/attack.json"
	case $state in
	attack-*) attack --to "$door:$plain" && { attack_is_on "$state" || return 1; } ;;
	bystander-*) attack --to "$nowhere:$plain" ;;
	esac
	measure "$state" "$round" rate --mode rate --rate "$rate" --connections "$conns" &&
		measure "$state" "$round" saturate --mode saturate --connections "$conns" || return 1
	attack_ends
	[ ! -s "$run/attack.json" ] ||
		jq -c --arg s "$state" --argjson r "$round" '{state: $s, kind: "attacker", round: $r} + .' \
			"$run/attack.json" >>"$out/guard-runs.jsonl"
	stop gateway
	rm -rf "$pin"
}

take_round() {
	local round=$1 order=$states state
	[ $((round % 2)) = 0 ] || order=$(tr ' ' '\n' <<<"$states" | tac | tr '\n' ' ')
	for state in $order; do take_state "$state" "$round" || return 1; done
}

# ---- what one packet costs ----

# Nobody else is at work: SYNs from a raw socket, so that nearly all of it is the packet's way in.
# What it takes is counted twice: the program alone, by the kernel's BPF statistics; and all CPU of
# the sender, his system call and the veth pair included, which is more than a packet can cost us.
packet_cost() {
	local before after gate_before gate_after json runs
	start_gateway drop || return 1
	handshake=$(load --to "$gateway:$tls" --tls --mode handshake --connections 8) || return 1
	attack --to "$door:$plain"
	attack_is_on attack-drop || return 1
	attack_ends
	stats_before=$(cat /proc/sys/kernel/bpf_stats_enabled)
	for json in 1 0; do
		echo "$json" >/proc/sys/kernel/bpf_stats_enabled
		before=$(metric hardtack_guard_dropped_total)
		runs=$(bpftool -j prog show pinned "$pin/guard")
		gate_before=$(gateway_ns)
		attack --to "$door:$plain" --flood --seconds "$seconds"
		wait "$attack_pid"
		attack_pid=
		gate_after=$(gateway_ns)
		after=$(metric hardtack_guard_dropped_total)
		jq -n -c --argjson a "$(cat "$run/attack.json")" --argjson b "$runs" \
			--argjson e "$(bpftool -j prog show pinned "$pin/guard")" --argjson stats "$json" \
			--argjson d "$((after - before))" --argjson g "$((gate_after - gate_before))" \
			--argjson h "$handshake" '{state: "attack-drop", kind: "flood", stats: $stats, dropped: $d,
				sent: $a.packets, sender_ns: ($a.cpu_s * 1e9 / $a.packets),
				gateway_ns: ($g / $a.packets),
				program_ns: (if $stats == 1 then (($e.run_time_ns - ($b.run_time_ns // 0))
					/ ($e.run_cnt - ($b.run_cnt // 0))) else null end),
				handshake_ns: ($h.cpu_us * 1000)}' >>"$out/guard-runs.jsonl" || return 1
	done
	echo "$stats_before" >/proc/sys/kernel/bpf_stats_enabled
	stats_before=
	stop gateway
}

# ---- all of it ----

report() {
	jq -s -f scripts/bench/guard.jq "$out/guard-runs.jsonl" >"$out/guard.json" || return 1
	jq -r '.table[]' "$out/guard.json" | tee "$out/guard.md"
}

mkdir -p "$run" "$out"
: >"$out/guard-runs.jsonl"
: >"$log"
trap finish EXIT
trap 'exit 130' INT TERM
awk '$1 > 0.7 { exit 1 }' /proc/loadavg ||
	say "bench-guard: the machine is not quiet: load $(cut -d' ' -f1 /proc/loadavg)"
ip link set lo up
network honest "$gateway" "$honest_ip" && honest=$holder || exit 1
network attacker "$door" "$attacker_ip" && attacker=$holder || exit 1
if ! write_common || ! start_backend 2>>"$log"; then
	say "bench-guard: the backend did not start, see $run/backend/log" >&2
	exit 1
fi
for ((i = 0; i < rounds; i++)); do
	take_round "$i" || exit 1
done
packet_cost || exit 1
report
