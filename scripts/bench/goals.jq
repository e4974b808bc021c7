# SPDX-License-Identifier: Apache-2.0
# What hardtack was to reach, and what the figures say: rows of markdown, one for each goal and way of
# measuring it. Called by readme.sh with $bench (summary.json), $meta (meta.json), $insn (insn.json),
# $shakes (insn-shakes.json) and $gate (gate_json() of tables.sh), each an array that is empty where
# that was not run, and $sha, which says how those in $gate were hashed.

def rounded: . * 1000 | round / 1000;
# What passes everything is the control of every pair: it is 1 by definition.
def cell($s; $c): if $c == "nginx-pass" and $bench[0] then {ratio: 1, machine_ratio: 1, clean: 1} else null end // [$bench[0].cells[]? | select(.scenario == $s and .contestant == $c)][0];
def edge($s; $c): [$insn[0].rows[]? | select(.scenario == $s and .contestant == $c) | .edge][0];
def over($a; $b): if $a and $b and $b > 0 then $a / $b else null end;
def least(f): map(f | select(.)) | min;
def tls_adds: ["tls-100k", "plain-100k"] | map(edge(.; "hardtack")) | if all then .[0] - .[1] else null end;
def same_job: ["nginx130-lua", "nginx-lua", "njs", "haproxy32", "haproxy26"];
def verdict($name): [$gate[] | select(.name == $name and .bytes == 800 and .cookies == 6)][0];
def hmac: [$gate[] | select(.name == "userspace: one HMAC()")][0];
def handshakes($kind): [$bench[0].handshakes[]? | select(.kind == $kind) | {key: .contestant, value: .per_cpu_second}]
	| from_entries;

def bench_ratio($s; field; $to): {by: "bench", value: over(cell($s; "hardtack") | field;
		[$to[] as $c | cell($s; $c)] | least(field)),
	unsure: ([cell($s; "hardtack"), ($to[] as $c | cell($s; $c))] | any(.clean == 0))};
def insn_ratio($s; $to): {by: "bench-insn", value: over(edge($s; "hardtack"); [$to[] as $c | edge($s; $c)] | least(.))};
def to_valid($s): {by: "bench", value: over(cell($s; "hardtack").ratio; cell("tls-valid-200"; "hardtack").ratio),
	unsure: ([cell($s; "hardtack"), cell("tls-valid-200"; "hardtack")] | any(.clean == 0))};
def noisy: $meta[0].load > 0.7;
def gate_ratio($a; $b): {by: "bench, gate", value: over($a.ns; $b.ns), unsure: noisy};
def gate_insn($a; $b): {by: "bench-insn, gate; HMAC \($sha)", value: over($a.instructions; $b.instructions)};
def shake($k; $c): [$shakes[0].rows[]? | select(.scenario == "handshake-\($k)" and .contestant == $c) | .edge][0];
def shakes_ratio($k; $c; $peers): over([$peers[] as $p | shake($k; $p)] | least(.); shake($k; $c));
# OpenSSL is nearly all of a handshake, and nginx130 has a newer one than Debian 12.
def old_openssl: ["nginx-pass", "hitch"];
def peers: old_openssl + ["nginx130-pass"];

# A row without a value is left out.
def goal($what; $limit; $way; $figures): $figures[] | select(.value and .value > 0) | . + {what: $what, limit: $limit,
	reached: (.value | if $limit < 0 then . >= -$limit else . <= $limit end), way: $way};

[
	(("plain", "tls") as $p | ("\($p)-valid-200" | .) as $s | "\($p)-200" as $i
	| goal("\($p) 200 B: CPU / the best that does the same job"; 0.75;
		"the socket calls that everybody makes are most of it, and by the clock they vary more than what is compared";
		[(bench_ratio($s; .ratio; same_job) | .by = "bench, process"),
		(bench_ratio($s; .machine_ratio; same_job) | .by = "bench, machine"), insn_ratio($i; same_job)]),
	goal("\($p) 200 B: CPU / nginx passing everything"; 1;
		"it reads no cookie, and makes the same socket calls";
		[bench_ratio($s; .ratio; ["nginx-pass", "nginx130-pass"]), insn_ratio($i; ["nginx-pass", "nginx130-pass"])])),
	goal("tls 200 B: CPU / Hitch passing everything"; 1; "Hitch reads no HTTP: it moves bytes";
		[bench_ratio("tls-valid-200"; .ratio; ["hitch"])]),
	(("plain", "tls") as $p
	| goal("\($p) 200 B: gate: require / mode: off"; 1.05;
		"it is the program, which reads the head once more; with an empty one in its place a sockmap costs nothing";
		[bench_ratio("\($p)-valid-200"; .ratio; ["hardtack-off"]), insn_ratio("\($p)-200"; ["hardtack-off"])])),
	goal("a verdict, one session on its connection / one HMAC()"; 0.5;
		"reading the head takes longer than hashing 40 bytes: the HMAC is the smaller part of a check";
		("same session (memo), 1 connection" | [gate_ratio(verdict(.); hmac), gate_insn(verdict(.); hmac)])),
	goal("a verdict, random one of 100,000 sessions / one HMAC()"; 1;
		"the same head, and misses of the cache in the map";
		("map, random entry of 100000" | [gate_ratio(verdict(.); hmac), gate_insn(verdict(.); hmac)])),
	goal("all forged / all valid"; 1.5; ""; [to_valid("tls-forged-200"), (to_valid("tls-invented-200") | .by = "bench, invented")]),
	goal("a login / a plain response"; 1.2; ""; [to_valid("tls-login")]),
	goal("a miss / a hit"; 2; ""; [to_valid("tls-miss-200")]),
	goal("tls 100 KB, both with kTLS / the best nginx"; 0.6;
		"what TLS adds to hardtack, AES in the kernel, is by itself \(
			over(tls_adds; ["nginx130-lua", "nginx-lua", "njs"] | map(edge("tls-100k"; .)) | least(.))
			| if . then rounded else "-" end) of all that nginx takes";
		[insn_ratio("tls-100k"; ["nginx130-lua", "nginx-lua", "njs"])]),
	(("full", "resumed") as $k | handshakes($k) as $h
	| goal("handshakes per CPU second, \($k) / the better of nginx and Hitch"; -1;
		"nearly all of it is OpenSSL for everybody, and not everybody has the same one";
		[{by: "bench", value: over($h.hardtack; [$h[peers[]] | select(.)] | max), unsure: noisy},
		{by: "bench-insn", value: shakes_ratio($k; "hardtack"; peers)}]),
	goal("handshakes per CPU second, \($k) / the better of nginx and Hitch"; -1;
		"what is left to differ is how a connection ends: nginx does not answer close_notify";
		[{by: "bench, those with the same OpenSSL", value: over($h.hardtack; [$h[old_openssl[]] | select(.)] | max), unsure: noisy},
		{by: "bench-insn, those with the same OpenSSL", value: shakes_ratio($k; "hardtack"; old_openssl)},
		{by: "bench-insn, both with that of nginx130", value: shakes_ratio($k; "hardtack-sid"; ["nginx130-pass"])}])),
	goal("a verdict among 1,000,000 tokens / among 1,000, hot"; 1.2; "";
		[gate_ratio(verdict("map, hot entry of 1000000"); verdict("map, hot entry of 1000"))]),
	goal("a verdict among 1,000,000 tokens / among 1,000, random"; 1.2;
		"a random entry of a million is in no cache: a miss of the processor's, not the map's";
		[gate_ratio(verdict("map, random entry of 1000000"); verdict("map, random entry of 1000"))]),
	goal("5,000 idle connections / none"; 1.1; "";
		[{by: "bench", value: over([$bench[0].idle[]? | select(.contestant == "hardtack") | .cpu_us][0];
			cell("tls-valid-200"; "hardtack").cpu_us), unsure: noisy}])
]
| "| goal | at most | is | by | |", "|---|---|---|---|---|",
	(.[] | "| \(.what) | \(if .limit < 0 then "at least \(-.limit)" else .limit end) | \(.value | rounded)\(
		if .unsure then " ~" else "" end) | \(.by) | \(if .reached then "reached" else "**missed**" +
		(if .way == "" then "" else ": " + .way end) end) |")
