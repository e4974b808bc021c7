#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The contestants of `make bench`: who they are, their configurations, starting and ending them. Read
# in by bench.sh. Ends only what it started; everything is on loopback and under $O/bench.
# shellcheck disable=SC2034,SC2154 # shares bench.sh's variables

# Whoever reads this in may set hardtack_program (with the loader to start it by), hardtack_ktls, and lines about TLS for every nginx
# that is a contestant (contestant_tls); tls12=2 lets TLS 1.2 in.

# Same job first, then the bounds. `nginx-pass` is the control of every turn.
all_contestants='hardtack hardtack-user hardtack-off nginx130-lua nginx-lua haproxy32 haproxy26 njs
nginx-pass nginx130-pass haproxy-pass hitch direct'
same_job='hardtack hardtack-user nginx130-lua nginx-lua haproxy32 haproxy26 njs'
control=nginx-pass

# Everybody may have that many files open.
if [ -z "${files:-}" ]; then
	files=$(ulimit -Hn)
	[ "$files" != unlimited ] && [ "$files" -lt 60000 ] || files=60000
	ulimit -n "$files"
fi

say() { printf '%s\n' "$*"; }

# is_in WORD LIST
is_in() { [[ " ${2//$'\n'/ } " == *" $1 "* ]]; }

declare -A pids=() plain_port=() tls_port=()
run=$(realpath -m "$O/bench/run")
pkg=$(realpath -m "$O/bench/pkg")
base_port=${BENCH_PORT:-21000}
backend_port=$base_port backend_tls_port=$((base_port + 1))
proxy_cpu=0 other_cpu=1

# started_as SUITE PROGRAM: the command that runs it with its own suite's libraries.
started_as() {
	local root=$pkg/$1 loader libs
	arch=${arch:-$(gcc -print-multiarch)}
	loader=$(find "$root" -name 'ld-linux*.so.*' -path '*/lib*' | head -n 1)
	libs=$root/lib/$arch:$root/usr/lib/$arch
	[ -n "$loader" ] && [ -x "$root/usr/sbin/$2" ] || return 1
	command=("$loader" --library-path "$libs" "$root/usr/sbin/$2")
}

write_common() {
	local i
	mkdir -p "$run/www"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
		-subj '/CN=shop.example.com' -addext 'subjectAltName=DNS:shop.example.com' \
		-keyout "$run/edge.key" -out "$run/edge.pem" 2>"$run/openssl.log" || return 1
	(
		umask 077
		cat "$run/edge.pem" "$run/edge.key" >"$run/edge.both"
		printf 'AzaZ5678901234567XYZ34567XYZ\n' >"$run/shop.key"
	)
	chmod 600 "$run/edge.key" "$run/shop.key"
	for i in 200:200 16k:16384 100k:102400; do
		head -c "${i#*:}" /dev/zero | tr '\0' x >"$run/www/${i%:*}"
	done
}

# ---- nginx in its several roles ----

# nginx_conf DIR HTTP-BLOCK [MAIN-LINES]
nginx_conf() {
	mkdir -p "$1/tmp"
	cat >"$1/nginx.conf" <<-END
		user root;
		daemon off;
		worker_processes 1;
		worker_rlimit_nofile $files;
		pid $1/nginx.pid;
		error_log $1/log;
		${3:-}
		events { worker_connections $((files - 100)); }
		http {
			access_log off;
			keepalive_requests 1000000000;
			keepalive_timeout 600s;
			client_body_temp_path $1/tmp; proxy_temp_path $1/tmp; fastcgi_temp_path $1/tmp;
			uwsgi_temp_path $1/tmp; scgi_temp_path $1/tmp;
			ssl_certificate $run/edge.pem;
			ssl_certificate_key $run/edge.key;
			ssl_protocols ${tls12:+TLSv1.2} TLSv1.3;
			${nginx_tls:-}
			$2
		}
	END
}

start_backend() {
	local dir=$run/backend
	nginx_conf "$dir" "
			sendfile on;
			tcp_nopush on;
			open_file_cache max=100 inactive=600s;
			map \$request_id \$session { '~^(?<s>.{24})' \$s; }
			default_type text/html;
			server {
				listen 127.0.0.1:$backend_port backlog=8192;
				listen 127.0.0.1:$backend_tls_port ssl backlog=8192;
				root $run/www;
				location = /login {
					add_header Set-Cookie 'sid=\$session; path=/; HttpOnly';
					try_files /200 =404;
				}
				location = /two {
					add_header Set-Cookie 'sid=aaaaaaaaaaaaaaaaaaaaaaaa; path=/';
					add_header Set-Cookie 'sid=bbbbbbbbbbbbbbbbbbbbbbbb; path=/';
					try_files /200 =404;
				}
				location = /upload {
					client_body_buffer_size 256k;
					proxy_method GET;
					proxy_pass_request_body off;
					proxy_set_header Content-Length '';
					proxy_pass http://127.0.0.1:$backend_port/200;
				}
				location = /echo { return 200 'got[\$http_cookie]\n'; }
			}"
	started_as bookworm nginx || command=(nginx)
	spawn backend "$other_cpu" "${command[@]}" -p "$dir/" -c "$dir/nginx.conf" -e "$dir/log"
	plain_port[backend]=$backend_port tls_port[backend]=$backend_tls_port
	await backend
}

# start_nginx NAME SUITE [LINES-IN-SERVER] [LINES-IN-HTTP] [MAIN-LINES]
start_nginx() {
	local name=$1 dir=$run/$1 nginx_tls=${contestant_tls:-}
	nginx_conf "$dir" "
			proxy_http_version 1.1;
			proxy_set_header Connection '';
			proxy_set_header Host \$http_host;
			proxy_max_temp_file_size 0;
			upstream backend {
				server 127.0.0.1:$backend_port;
				keepalive 256;
				keepalive_requests 1000000000;
				keepalive_timeout 600s;
			}
			${4:-}
			server {
				listen 127.0.0.1:${plain_port[$name]} backlog=8192;
				listen 127.0.0.1:${tls_port[$name]} ssl backlog=8192;
				location / {
					${3:-}
					proxy_pass http://backend;
				}
			}" "${5:-}"
	started_as "$2" nginx || return 1
	spawn "$name" "$proxy_cpu" "${command[@]}" -p "$dir/" -c "$dir/nginx.conf" -e "$dir/log"
}

start_nginx_lua() {
	local modules=$pkg/$2/usr/lib/nginx/modules
	[ -e "$modules/ngx_http_lua_module.so" ] || return 1
	start_nginx "$1" "$2" "
					access_by_lua_block { guard.request() }
					header_filter_by_lua_block { guard.response() }" "
			lua_package_path '$PWD/scripts/bench/?.lua;$pkg/$2/usr/share/lua/5.1/?.lua;;';
			init_by_lua_block {
				guard = require 'guard'
				guard.init('$run/shop.key')
			}" "load_module $modules/ndk_http_module.so;
		load_module $modules/ngx_http_lua_module.so;"
}

start_njs() {
	local module=$pkg/bookworm/usr/lib/nginx/modules/ngx_http_js_module.so
	[ -e "$module" ] || return 1
	mkdir -p "$run/njs"
	sed "s|@key@|$(cat "$run/shop.key")|" scripts/bench/guard.js >"$run/njs/guard.js"
	# One proxy_set_header here, and those of the http block count no more.
	start_nginx njs bookworm "
					proxy_set_header Connection '';
					proxy_set_header Host \$http_host;
					proxy_set_header Cookie \$judged;
					js_header_filter guard.response;" "
			js_path $run/njs;
			js_import guard from guard.js;
			js_set \$judged guard.cookie;" "load_module $module;"
}

# ---- HAProxy ----

# The key is base64 there. There is no del-cookie, and replace-value would split at commas.
haproxy_job() {
	local key
	key=$(head -c -1 "$run/shop.key" | base64)
	cat <<-END
		http-request set-var(txn.ip) src
		http-request set-var(txn.mac) req.cook(sid),concat(:,txn.ip),hmac(sha256,$key),base64
		acl has_sid req.cook(sid) -m found
		acl good req.cook(sid_HMAC),secure_memcmp(txn.mac)
		http-request replace-header Cookie '^(.*;[ ]*|)sid=[^;]*;[ ]*(.*)$' '\1\2' if has_sid !good
		http-request replace-header Cookie '^(.*);[ ]*sid=[^;]*$' '\1' if has_sid !good
		http-request del-header Cookie if has_sid !good { req.hdr(Cookie) -m reg ^sid=[^;]*$ }
		http-response set-var(txn.new) res.cook(sid),concat(:,txn.ip),hmac(sha256,$key),base64
		http-response add-header Set-Cookie "sid_HMAC=%[var(txn.new)]; HttpOnly; Secure; Path=/" if { res.cook(sid) -m found }
	END
}

# start_haproxy NAME SUITE [JOB]
start_haproxy() {
	local name=$1 dir=$run/$1
	mkdir -p "$dir"
	cat >"$dir/haproxy.cfg" <<-END
		global
			nbthread 1
			maxconn $((files / 2 - 200))
			ssl-default-bind-options ssl-min-ver TLSv1.${tls12:-3}
		defaults
			mode http
			timeout client 600s
			timeout server 600s
			timeout connect 5s
			timeout http-keep-alive 600s
			http-reuse always
		frontend edge
			bind 127.0.0.1:${plain_port[$name]} backlog 8192
			bind 127.0.0.1:${tls_port[$name]} backlog 8192 ssl crt $run/edge.both
			${3:-}
			default_backend app
		backend app
			server app 127.0.0.1:$backend_port pool-max-conn 256
	END
	started_as "$2" haproxy || return 1
	spawn "$name" "$proxy_cpu" "${command[@]}" -db -f "$dir/haproxy.cfg"
}

# ---- the others ----

start_hitch() {
	local dir=$run/hitch
	mkdir -p "$dir"
	cat >"$dir/hitch.conf" <<-END
		frontend = "[127.0.0.1]:${tls_port[hitch]}"
		backend = "[127.0.0.1]:$backend_port"
		pem-file = "$run/edge.both"
		tls-protos = ${tls12:+TLSv1.2} TLSv1.3
		workers = 1
		backlog = 8192
		user = "root"
		ocsp-dir = ""
		keepalive = 3600
		daemon = off
		quiet = on
	END
	started_as bookworm hitch || return 1
	plain_port[hitch]=
	spawn hitch "$proxy_cpu" "${command[@]}" --config="$dir/hitch.conf"
}

# hardtack_conf DIR ADDRESS PLAIN-PORT TLS-PORT COOKIE-MODE PIN LINES: its configuration.
hardtack_conf() {
	cat <<-END
		listeners:
		  - address: $2:$3
		  - address: $2:$4
		    tls:
		      certificates:
		        - { certificate: $run/edge.pem, key: $run/edge.key }
		      min-version: "1.${tls12:-3}"
		sites:
		  - hosts: ["*"]
		    upstreams: [127.0.0.1:$backend_port]
		    cookies:
		      - { name: sid, profile: f5-irule, key: shop, bind: [client-ip], mode: $5 }
		keys:
		  - { name: shop, file: $run/shop.key }
		limits: { connections: $((files / 2 - 200)) }
		timeouts: { drain: 1s, idle: 600s }
		tokens: { max: 200000 }
		bpf: { pin: $6 }
		workers: 1
		access-log: { to: off }
		control: $1/control.sock
		$7
	END
}

# start_hardtack NAME GATE MODE
start_hardtack() {
	local name=$1 dir=$run/$1
	mkdir -p "$dir"
	hardtack_conf "$dir" 127.0.0.1 "${plain_port[$name]}" "${tls_port[$name]}" "$3" "/sys/fs/bpf/hardtack-bench-$name" "gate: $2
ktls: ${hardtack_ktls:-auto}" >"$dir/hardtack.yaml"
	spawn "$name" "$proxy_cpu" "${hardtack_program[@]:-$O/hardtackd}" -c "$dir/hardtack.yaml"
}

# ---- processes ----

# spawn NAME CPU COMMAND...
spawn() {
	local name=$1 cpu=$2
	shift 2
	mkdir -p "$run/$name"
	OPENSSL_CONF=/dev/null taskset -c "$cpu" "$@" >"$run/$name/log" 2>&1 &
	pids[$name]=$!
}

# Its own process and its children, as 1,2,3.
pids_of() {
	local main=${pids[$1]:-}
	[ -z "$main" ] || echo "$main${main:+ $(pgrep -P "$main" -d ' ')}" | sed 's/ *$//; s/ /,/g'
}

# await NAME: until it answers. One that ends, or says nothing for 30 s, did not start.
await() {
	local i url=http://127.0.0.1:${plain_port[$1]}/200
	[ -n "${plain_port[$1]}" ] || url=https://127.0.0.1:${tls_port[$1]}/200
	for ((i = 0; i < 300; i++)); do
		kill -0 "${pids[$1]}" 2>/dev/null || break
		curl -skf -o "$run/answer" --max-time 2 "$url" && return 0
		sleep 0.1
	done
	return 1
}

start() {
	local name=$1 index=0 n
	for n in $all_contestants; do
		index=$((index + 1))
		[ "$n" != "$name" ] || break
	done
	plain_port[$name]=$((base_port + 2 * index)) tls_port[$name]=$((base_port + 2 * index + 1))
	case $name in
	direct)
		plain_port[direct]=$backend_port tls_port[direct]=$backend_tls_port
		return
		;;
	hardtack) start_hardtack "$name" require enforce ;;
	hardtack-user) start_hardtack "$name" off enforce ;;
	hardtack-off) start_hardtack "$name" off off ;;
	nginx-pass) start_nginx "$name" bookworm ;;
	nginx130-pass) start_nginx "$name" sid ;;
	nginx-lua) start_nginx_lua "$name" bookworm ;;
	nginx130-lua) start_nginx_lua "$name" sid ;;
	njs) start_njs ;;
	haproxy26) start_haproxy "$name" bookworm "$(haproxy_job)" ;;
	haproxy32) start_haproxy "$name" sid "$(haproxy_job)" ;;
	haproxy-pass) start_haproxy "$name" sid ;;
	hitch) start_hitch ;;
	esac || {
		reason='not to be had'
		return 1
	}
	await "$name" || {
		reason="did not start: $(tail -n 1 "$run/$name/log")"
		return 1
	}
}

stop() {
	local pid=${pids[$1]:-} i
	[ -n "$pid" ] || return 0
	unset "pids[$1]"
	kill "$pid" 2>/dev/null || return 0
	for ((i = 0; i < 50; i++)); do
		kill -0 "$pid" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null
}

stop_all() {
	local name
	for name in "${!pids[@]}"; do stop "$name"; done
	wait 2>/dev/null
	for name in hardtack hardtack-user hardtack-off; do
		[ ! -d "/sys/fs/bpf/hardtack-bench-$name" ] || rm -rf "/sys/fs/bpf/hardtack-bench-$name"
	done
}
