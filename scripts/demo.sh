#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The demonstration (`make run`): a backend (nginx), hardtack in front of it, and real requests that
# show what it does. Stays up until Ctrl-C; with ONCE=1 it ends by itself, and exits 0 only if each
# step showed what it should. Everything it makes is in build/run/, on loopback addresses and
# under /sys/fs/bpf/hardtack-demo; it ends what it started, and must touch nothing else.
# shellcheck disable=SC2317 # functions are called by name
set -u
cd "$(dirname "$0")/.." || exit 1
PATH=$PATH:/usr/sbin:/sbin

O=${O:-build}
port=${DEMO_PORT:-8443} backend_port=${DEMO_BACKEND_PORT:-8081} admin_port=${DEMO_ADMIN_PORT:-9144}
pin=${DEMO_PIN:-/sys/fs/bpf/hardtack-demo}
run=$O/run
url=https://127.0.0.1:$port
session=ASP.NET_SessionId
nginx='' daemon='' ready='' step=0 wrong=0

die() {
	printf 'demo: %s\n' "$@" >&2
	exit 1
}

# ---- starting and ending ----

# stop PID: politely, then not.
stop() {
	local i
	[ -n "$1" ] || return
	kill "$1" 2>/dev/null || return
	for ((i = 0; i < 50; i++)); do
		kill -0 "$1" 2>/dev/null || return
		sleep 0.1
	done
	kill -KILL "$1" 2>/dev/null
}

finish() {
	local status=$?
	trap '' INT TERM
	stop "$daemon"
	stop "$nginx"
	wait 2>/dev/null
	# Only there if our daemon could not clean up after itself.
	[ -z "$ready" ] || [ ! -d "$pin" ] || rm -rf "$pin"
	exit "$status"
}

need_port() {
	local who
	who=$(ss -Hltnp "sport = :$1" 2>/dev/null) || die 'ss (package iproute2) does not work'
	[ -z "$who" ] || die "port $1 ($2) is in use:" "  $who" \
		"stop that, or choose another: $3=NUMBER make run"
}

# wait_for WHAT PID COMMAND...: until the command succeeds, at most 10 s and while the process lives.
wait_for() {
	local what=$1 pid=$2 i
	shift 2
	for ((i = 0; i < 100; i++)); do
		"$@" >/dev/null 2>&1 && return
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 20 "$run/$what.log" >&2
	die "$what did not start, see $run/$what.log"
}

write_files() {
	mkdir -p "$run"
	rm -f "$run"/*.log "$run/control.sock"
	(
		umask 077
		[ -s "$run/edge.key" ] && [ -s "$run/edge.pem" ] ||
			openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
				-days 30 -subj '/CN=hardtack demo' \
				-addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
				-keyout "$run/edge.key" -out "$run/edge.pem" 2>"$run/openssl.log" ||
			die "openssl made no certificate, see $run/openssl.log"
		[ -s "$run/shop.key" ] || openssl rand -hex 24 >"$run/shop.key"
	) || exit 1

	cat >"$run/hardtack.yaml" <<-END
		# Written by scripts/demo.sh.
		listeners:
		  - address: 127.0.0.1:$port
		    tls:
		      certificates:
		        - { certificate: edge.pem, key: edge.key }
		sites:
		  - hosts: ["*"]
		    upstreams: [127.0.0.1:$backend_port]
		    cookies:
		      - name: $session
		        profile: f5-irule
		        key: shop
		        bind: [client-ip]
		keys:
		  - { name: shop, file: shop.key }
		gate: auto
		bpf: { pin: $pin }
		timeouts: { drain: 1s }
		tokens: { max: 10000 }
		access-log: { format: json, to: access.log }
		control: control.sock
		admin: 127.0.0.1:$admin_port
	END

	# The application: /login sets a session cookie, every other path echoes the cookies it got.
	cat >"$run/nginx.conf" <<-END
		daemon off;
		worker_processes 1;
		pid nginx.pid;
		error_log nginx.log;
		events { worker_connections 64; }
		http {
			access_log off;
			default_type text/plain;
			client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp;
			uwsgi_temp_path tmp; scgi_temp_path tmp;
			server {
				listen 127.0.0.1:$backend_port;
				location = /login {
					add_header Set-Cookie "$session=\$request_id; path=/; HttpOnly";
					return 200 "welcome\n";
				}
				location / { return 200 "the backend received Cookie: \$http_cookie\n"; }
			}
		}
	END
}

start() {
	need_port "$port" 'the gateway' DEMO_PORT
	need_port "$backend_port" 'the demo backend' DEMO_BACKEND_PORT
	need_port "$admin_port" 'metrics' DEMO_ADMIN_PORT
	write_files
	nginx -p "$(realpath "$run")/" -c nginx.conf -e nginx.log >>"$run/nginx.log" 2>&1 &
	nginx=$!
	"$O/hardtackd" -c "$run/hardtack.yaml" >"$run/hardtackd.log" 2>&1 &
	daemon=$!
	wait_for nginx "$nginx" curl -sSf "http://127.0.0.1:$backend_port/"
	wait_for hardtackd "$daemon" curl -sSf "http://127.0.0.1:$admin_port/healthz"
	wait_for hardtackd "$daemon" curl -sSf --cacert "$run/edge.pem" "$url/"
	ready=yes
}

# ---- showing ----

title() {
	step=$((step + 1))
	printf '\n%d. %s\n' "$step" "$1"
	shift
	printf '   %s\n' "$@"
}

# show COMMAND...: prints it as one would type it, runs it, prints and keeps what it says.
show() {
	local word line=
	for word in "$@"; do
		case $word in
		*[!A-Za-z0-9_./:=@-]*) line+=" '$word'" ;;
		*) line+=" $word" ;;
		esac
	done
	printf '\n   $%s\n' "$line"
	output=$("$@" 2>&1)
	local status=$?
	output=${output//$'\r'/}
	printf '%s\n' "$output" | sed 's/^/     /'
	[ "$status" = 0 ] || echo "     (exit status $status)"
	return "$status"
}

# check WHAT COMMAND...: the command says whether it is so.
check() {
	local what=$1
	shift
	if "$@"; then
		echo "   ok: $what"
	else
		echo "   WRONG: $what: not so"
		wrong=$((wrong + 1))
	fi
}

has() { [[ "$output" == *"$1"* ]]; }
lacks() { [[ "$output" != *"$1"* ]]; }

# verdicts WHERE VERDICT: the sum of the samples of hardtack_verdicts_total with these labels.
verdicts() {
	curl -sSf "http://127.0.0.1:$admin_port/metrics" | grep '^hardtack_verdicts_total{' |
		grep -F "where=\"$1\"" | grep -F "verdict=\"$2\"" |
		awk '{ sum += $NF } END { print sum + 0 }'
}

# rose BEFORE WHERE VERDICT. The counters are read after the answer came: give them a moment.
rose() {
	local before=$1 i
	shift
	for ((i = 0; i < 20; i++)); do
		[ "$(verdicts "$@")" -le "$before" ] || return 0
		sleep 0.1
	done
	return 1
}

# The other cookies and, as the iRule has it, the token itself pass; only the session goes.
stripped() {
	check 'the backend saw no session' lacks "$session=$sid"
	check 'the other cookie passed' has 'theme=dark'
}

# The first entry is enough to see; the map has a value for each CPU.
show_map() {
	printf '\n   $ bpftool map dump pinned %s/tokens\n' "$pin"
	output=$(bpftool map dump pinned "$pin/tokens" 2>&1)
	entries=$(grep -c '"key": {' <<<"$output")
	head -n 20 <<<"$output" | sed 's/^/     /'
	echo "     ... (entries in all: $entries)"
}

steps() {
	local -a curl=(curl -sS --cacert "$run/edge.pem")
	local before token forged expected entries

	title 'Log in' 'The backend sets a session cookie. hardtack adds its sibling, a token that' \
		'signs the session together with the address of the client.'
	show "${curl[@]}" -i "$url/login"
	sid=$(sed -nE "s/^[Ss]et-[Cc]ookie: $session=([^;]*).*/\1/p" <<<"$output")
	token=$(sed -nE "s/^[Ss]et-[Cc]ookie: ${session}_HMAC=([^;]*).*/\1/p" <<<"$output")
	check 'the session came through' [ -n "$sid" ]
	check 'it has a token' [ -n "$token" ]
	expected=$(printf '%s:127.0.0.1' "$sid" |
		openssl dgst -sha256 -hmac "$(cat "$run/shop.key")" -binary | base64)
	check 'openssl computes the same: base64(HMAC-SHA256(key, session ":" client address))' \
		[ "$token" = "$expected" ]

	title 'The next request' 'Session and token match. The kernel finds the token in its map and' \
		'passes the request untouched; the daemon computes nothing.'
	before=$(verdicts kernel hit)
	show "${curl[@]}" -b "theme=dark; $session=$sid; ${session}_HMAC=$token" "$url/cart"
	check 'the backend saw the session' has "$session=$sid"
	check 'it was a hit in the kernel (hardtack_verdicts_total{where="kernel",verdict="hit"})' \
		rose "$before" kernel hit

	title 'A forged token' 'Right form, wrong signature: the session is cut out of the request.'
	forged=$(openssl rand 32 | base64)
	before=$(verdicts kernel forged)
	show "${curl[@]}" -b "theme=dark; $session=$sid; ${session}_HMAC=$forged" "$url/cart"
	stripped
	check 'the kernel cut it, and counted it as forged' rose "$before" kernel forged

	title 'A stolen cookie' 'Session and token are right, but they come from another address. The' \
		'kernel knows no such token for it and hands the request back; the daemon verifies.'
	before=$(verdicts user forged)
	show "${curl[@]}" --interface 127.0.0.2 -b "theme=dark; $session=$sid; ${session}_HMAC=$token" \
		"$url/cart"
	stripped
	check 'the daemon cut it, and counted it as forged' rose "$before" user forged

	title 'A missing token' 'A session that nobody vouches for.'
	before=$(verdicts kernel missing)
	show "${curl[@]}" -b "theme=dark; $session=$sid" "$url/cart"
	stripped
	check 'the kernel cut it, and counted it as missing' rose "$before" kernel missing

	title 'The kernel'"'"'s token map' 'Keys and tags are keyed hashes: neither session nor token is in it.'
	show_map
	check 'the map has an entry' [ "${entries:-0}" -ge 1 ]
	check 'the session is not in it' lacks "$sid"
}

for file in "$O/hardtackd" "$O/hardtackctl"; do
	[ -x "$file" ] || die "$file is not there: use make run"
done
trap finish EXIT
trap 'exit 130' INT TERM
echo "Starting nginx as the application, and hardtack in front of it on $url"
start
grep -iE 'gate' "$run/hardtackd.log" | head -n 3 | sed 's/^/   /'
steps

echo
if [ "$wrong" = 0 ]; then
	echo 'Every step showed what it should.'
else
	echo "$wrong checks were WRONG."
	[ -e "$pin/tokens" ] ||
		echo 'The gate is off, so nothing could be shown of the kernel. The reason is in the log:'
	[ -e "$pin/tokens" ] || grep -i 'gate' "$run/hardtackd.log" | sed 's/^/   /'
fi
if [ -n "${ONCE:-}" ]; then
	[ "$wrong" = 0 ]
	exit
fi

cat <<END

hardtack stays up on $url until Ctrl-C. To look around:
   curl --cacert $run/edge.pem -i $url/login
   curl http://127.0.0.1:$admin_port/metrics
   $O/hardtackctl -s $run/control.sock status
   less $run/hardtack.yaml $run/hardtackd.log $run/access.log
END
trap 'echo; exit $((wrong > 0))' INT TERM
wait -n "$daemon" "$nginx"
die "hardtackd or nginx ended by itself, see $run/hardtackd.log and $run/nginx.log"
