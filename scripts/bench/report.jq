# SPDX-License-Identifier: Apache-2.0
# From raw runs (an array) to what is claimed: the median and range of each contestant's ratio to
# the control run beside it. Called by report.sh with $control.

def median: sort | if length == 0 then null elif length % 2 == 1 then .[(length - 1) / 2]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def round_to($n): if . == null then null else . * $n | round / $n end;

# What the same load costs the machine without a proxy. With TLS on the backend the backend's own
# share is taken back to that of plain HTTP: behind a proxy it speaks no TLS.
def proto: split("-")[0];
def size: split("-") | if .[1] | IN("login", "upload") then .[1] else .[2] end;
def baselines: map(select(.pair == "baseline")) | group_by([.turn, (.scenario | proto), (.scenario | size)])
	| map({key: (.[0] | "\(.turn) \(.scenario | proto) \(.scenario | size)"),
		value: {busy: map(.busy_us) | median, backend: map(.backend_us) | median}}) | from_entries;
def machine($base):
	$base["\(.turn) \(.scenario | proto) \(.scenario | size)"] as $own
	| $base["\(.turn) plain \(.scenario | size)"] as $plain
	| if $own and $plain then .busy_us - ($own.busy - $own.backend + $plain.backend) else null end;

# Held back by others on its CPU, or wrong, or not at the rate asked for: no run to claim from.
def clean: .wait_us < 1 and .errors == 0 and .late <= 0.01 * .sent;

def pairs: map(select(.pair | test("/"))) | group_by(.pair) | map(
	{control: map(select(.contestant == $control))[0], own: map(select(.contestant != $control))[0]}
	| select(.own.cpu_us > 0 and .control.cpu_us > 0));

def summary($all): {
	contestant: .[0].own.contestant, scenario: .[0].own.scenario, pairs: length,
	clean: map(select((.own | clean) and (.control | clean))) | length}
	+ (map(select((.own | clean) and (.control | clean))) as $clean
	| (if ($clean | length) > 0 then $clean else . end)
	| {
		ratio: map(.own.cpu_us / .control.cpu_us) | median,
		least: map(.own.cpu_us / .control.cpu_us) | min,
		most: map(.own.cpu_us / .control.cpu_us) | max,
		machine_ratio: map(select(.own.machine_us and .control.machine_us and .control.machine_us > 0)
			| .own.machine_us / .control.machine_us) | median,
		cpu_us: map(.own.cpu_us) | median,
		control_us: map(.control.cpu_us) | median,
		machine_us: map(.own.machine_us | select(.)) | median,
		p50_us: map(.own.p50_us) | median,
		p99_us: map(.own.p99_us) | median});

baselines as $base
| map(select(.contestant != "direct" or .mode != "rate" or .pair == "baseline"))
| map(. + {machine_us: (if .mode == "rate" then machine($base) else null end)}) as $all
| {
	rows: ($all | unique_by(.run) | map(select(.mode != "handshake"))
		| map({contestant, scenario: (if .pair == "saturation" then .scenario + "-saturated" else .scenario end),
			run, cpu_us_per_request: (if .contestant == "direct" then null else .cpu_us end),
			machine_cpu_us_per_request: (.machine_us | round_to(1000)), rps, p50_us, p99_us})),
	cells: ($all | pairs | group_by([.own.scenario, .own.contestant]) | map(summary($all))),
	saturation: ($all | map(select(.pair == "saturation") | {contestant, scenario, rps, cpu_us})),
	handshakes: ($all | map(select(.mode == "handshake" and .cpu_us > 0) | {contestant,
		kind: (.scenario | split("-")[2]), per_cpu_second: (1e6 / .cpu_us), rate: .rps, resumed, ok})),
	idle: ($all | map(select(.scenario == "tls-valid-200-idle")))
}
