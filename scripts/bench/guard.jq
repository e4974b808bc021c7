# SPDX-License-Identifier: Apache-2.0
# What the runs of guard.sh say: medians of ratios within a round, and the table as lines.

def median: sort | if length == 0 then null
	elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def f($n): if . == null then "-" else (pow(10; $n) as $p | . * $p | round / $p | tostring) end;
def spread($n): "\(median | f($n)) (\(min | f($n)) to \(max | f($n)))";

. as $runs
| ($runs | map(.round // empty) | unique) as $rounds
| def of($state; $kind): [$runs[] | select(.state == $state and .kind == $kind)];
def ratios_to($base; $state; $kind; value):
	[$rounds[] as $r
		| ([$runs[] | select(.round == $r and .kind == $kind and .state == $state) | value][0]) as $a
		| ([$runs[] | select(.round == $r and .kind == $kind and .state == $base) | value][0]) as $b
		| select($a and $b and $b > 0) | $a / $b];
def ratios($state; $kind; value): ratios_to("quiet"; $state; $kind; value);
(["quiet", "quiet-drop", "bystander-drop", "attack-off", "attack-drop"] | map(. as $s | {key: $s, value: {
	rps: [of($s; "saturate")[].rps], rps_ratio: ratios($s; "saturate"; .rps),
	p99_us: [of($s; "rate")[].p99_us], p99_ratio: ratios($s; "rate"; .p99_us),
	cpu_us: [of($s; "rate")[].cpu_us], cpu_ratio: ratios($s; "rate"; .cpu_us),
	late: ([of($s; "rate")[].late] | add), errors: ([$runs[] | select(.state == $s) | .errors // 0] | add),
	attack_rps: [of($s; "attacker")[] | .answered / .seconds],
	dropped_rps: [of($s; "saturate")[] | .dropped / .seconds]
}}) | from_entries) as $states
| ($runs | map(select(.kind == "flood"))) as $floods
| ($floods | map(select(.stats == 0))[0]) as $plain
| ($floods | map(select(.stats == 1))[0]) as $counted
| ratios_to("bystander-drop"; "attack-drop"; "saturate"; .rps) as $saturated
| (ratios_to("bystander-drop"; "attack-drop"; "rate"; .rps)) as $at_rate
| ([($saturated | median), ($at_rate | median)] | min) as $kept
| ($plain.sender_ns / $plain.handshake_ns) as $packet
| {
	states: $states, flood: $floods,
	goals: {
		honest_throughput: {ratio: $kept, goal: 0.9, met: ($kept >= 0.9)},
		dropped_packet: {handshakes: $packet, goal: 0.1, met: ($packet <= 0.1)}
	},
	table: ([
		"| honest clients | requests/s, as many as there can be | of quiet | p99 us at a fixed rate | of quiet | gateway CPU us a request | of quiet | attack: answered/s | dropped/s |",
		"|---|---|---|---|---|---|---|---|---|"
	] + ([["quiet", "nobody forges, guard off"], ["quiet-drop", "nobody forges, guard on"],
		["bystander-drop", "nobody forges here, guard on, his CPU as busy"],
		["attack-off", "forging, guard off"], ["attack-drop", "forging, guard on"]]
		| map(. as [$s, $text] | $states[$s]
			| "| \($text) | \(.rps | median | f(0)) | **\(.rps_ratio | spread(2))** | \(.p99_us | median | f(0)) | \(.p99_ratio | spread(2)) | \(.cpu_us | median | f(1)) | \(.cpu_ratio | spread(2)) | \(.attack_rps | median | f(0)) | \(.dropped_rps | median | f(0)) |"))
	+ [
		"",
		"Medians of \($rounds | length) rounds, in brackets the least and the most. Late at the fixed rate: \($states | to_entries | map("\(.key) \(.value.late)") | join(", ")); errors: \($states | to_entries | map("\(.key) \(.value.errors)") | join(", ")).",
		"",
		"A TLS 1.3 handshake: \($plain.handshake_ns / 1000 | f(1)) us of the gateway\u0027s CPU. A dropped SYN: the program \($counted.program_ns | f(0)) ns (with the cost of taking the time); all of the sender\u0027s CPU, his system call and both ends of the veth pair included, \($plain.sender_ns | f(0)) ns, which is **\($packet | f(3))** of a handshake; the gateway itself \($plain.gateway_ns | f(1)) ns.",
		"",
		"Honest throughput with the guard while he forges, beside that while he keeps his CPU as busy with nobody: **\($saturated | spread(3))** of as many as there can be, **\($at_rate | spread(2))** at the fixed rate.",
		"",
		"Goals: honest throughput at least 0.9: \($kept | f(3)), \(if $kept >= 0.9 then "met" else "NOT met" end). A dropped packet at most 0.1 of a handshake: \($packet | f(3)), \(if $packet <= 0.1 then "met" else "NOT met" end)."
	])
}
