#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What test-service.sh has a systemd of its own do: the package is installed, and its unit started,
# used, reloaded, stopped and removed as an operator does it. Never run on a machine that one wants
# to keep.
# shellcheck disable=SC2317 # tests are called by name
set -u
[ "$(cat /run/systemd/container 2>/dev/null)" = hardtack-test ] || exit 1
share=/run/share
dir=/etc/hardtack
yaml=$dir/hardtack.yaml
passed=0 failed=0 skipped=0
cd / || exit 1
export HOME=/root LC_ALL=C

# check TITLE COMMAND...
check() {
	local title=$1
	shift
	if "$@" >/tmp/check 2>&1; then
		passed=$((passed + 1))
		echo "ok      $title"
	else
		failed=$((failed + 1))
		echo "FAILED  $title"
		cat /tmp/check
		journalctl --no-pager -n 30 -o cat -u hardtack
	fi
}

# The daemon, a client, a backend.
but() { # says what there is instead, and fails
	"$@"
	return 1
}
is() { [ "$(systemctl show -P "$1" hardtack)" = "$2" ] || but systemctl show -p "$1" hardtack; }
pid() { systemctl show -P MainPID hardtack; }
ask() { curl -sSk --max-time 20 --resolve shop.example.com:443:127.0.0.1 "$@"; }
shop() { ask "https://shop.example.com$1" "${@:2}"; }
field() { sed -n "s/^$1:[[:blank:]]*//p" "/proc/$(pid)/status" | tr '\t' ' '; }
wait_for() {
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.05
	done
	echo "waited in vain: $*"
	return 1
}

backend() {
	cat >/tmp/backend.js <<'END'
require('http').createServer((request, response) => {
	const cookies = request.headers.cookie || 'none';
	response.setHeader('Set-Cookie', 'ASP.NET_SessionId=s1; Path=/');
	if (request.url === '/slow')
		require('fs').writeFileSync('/tmp/slow', '');
	setTimeout(() => response.end(cookies + '\n'), request.url === '/slow' ? 1500 : 0);
}).listen(9000, '127.0.0.1');
END
	node /tmp/backend.js &
	wait_for curl -sS http://127.0.0.1:9000/
}

# ---- installing ----

installs() {
	dpkg -i $share/hardtack.deb && getent passwd hardtack && [ -d $dir ] &&
		! systemctl --quiet is-active hardtack && ! systemctl --quiet is-enabled hardtack
}

# As postinst says; the sample, with a backend of ours.
configure() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-subj /CN=shop.example.com -keyout $dir/edge.key -out $dir/edge.pem &&
		openssl rand -base64 48 >$dir/shop.key &&
		chown root:hardtack $dir/{edge,shop}.key && chmod 640 $dir/{edge,shop}.key &&
		sed -i -e 's/upstreams: .*/upstreams: [127.0.0.1:9000]/' -e 's/mode: report/mode: enforce/' \
			-e 's|to: stderr|to: /var/log/hardtack/access.log|' $yaml &&
		hardtackd --check -c $yaml
}

starts() { systemctl enable --now hardtack && is ActiveState active && is Type notify; }
gate_is_on() {
	hardtackctl status --json >/tmp/status
	jq -e .gate.on /tmp/status || but cat /tmp/status
}

has_no_privileges() {
	local all
	all=$(id -u hardtack)
	cat "/proc/$(pid)/status"
	[ "$(field Uid)" = "$all $all $all $all" ] && [ "$(field CapEff)" = 0000000000000000 ] &&
		[ "$(field CapPrm)" = 0000000000000000 ] && [ "$(field NoNewPrivs)" = 1 ] &&
		[ "$(field Seccomp)" = 2 ]
}

# In its mount namespace, but with all privileges: what is closed there is closed to everybody.
within() { nsenter --mount --target "$(pid)" "$@"; }
is_confined() {
	touch ~/x && within true && ! within touch /usr/x && ! within touch $dir/x &&
		! within ls ~/x && ! within mkdir /sys/fs/cgroup/x && ! within touch /sys/x &&
		within touch /var/log/hardtack/x && within rm /var/log/hardtack/x
}

# ---- serving ----

signs() {
	local token
	shop / -o /dev/null -c /tmp/jar && cat /tmp/jar &&
		token=$(awk '$6 == "ASP.NET_SessionId_HMAC" { print $7 }' /tmp/jar) && [ ${#token} = 44 ] &&
		shop / -b /tmp/jar | grep -F ASP.NET_SessionId=s1 &&
		[ "$(shop / -b "ASP.NET_SessionId=s2; ASP.NET_SessionId_HMAC=$token; a=b" | tee /dev/stderr)" = \
			"ASP.NET_SessionId_HMAC=$token; a=b" ]
}

# "Why was this user logged out?" by one grep for the request id; and its level, for the journal.
says_why() {
	local id
	id=$(jq -r 'select(.verdicts // "" | contains("forged")) | .request_id' /var/log/hardtack/access.log | tail -n 1)
	[ -n "$id" ] && journalctl -u hardtack -o json | grep -F "request_id=$id" | tee /dev/stderr |
		jq -e '.PRIORITY == "6" and (.MESSAGE | test("cookie=ASP.NET_SessionId reason=forged source="))'
}

reloads() {
	local before
	before=$(pid)
	sed -i 's/^    cookies:/    hsts: 1h\n    cookies:/' $yaml && systemctl reload hardtack &&
		[ "$(pid)" = "$before" ] && shop / -I | grep -i '^strict-transport-security: max-age=3600'
}

refuses_what_is_wrong() {
	sed -i 's/^sites:/sitse:/' $yaml
	! systemctl reload hardtack && is ActiveState active && shop / &&
		journalctl -u hardtack -o cat | grep 'reload refused' && sed -i 's/^sitse:/sites:/' $yaml &&
		systemctl reload hardtack
}

rotates() {
	local log=/var/log/hardtack/access.log
	shop /before-rotation && logrotate --force /etc/logrotate.d/hardtack && shop /after-rotation &&
		ls -l /var/log/hardtack && wait_for grep /after-rotation $log && ! grep /before-rotation $log &&
		grep /before-rotation $log.1 && ! grep /after-rotation $log.1
}

comes_back() {
	local before
	before=$(pid)
	kill -KILL "$before"
	# by the count of restarts: right after the kill, systemd still calls the dead one active
	wait_for is NRestarts 1 && wait_for is SubState running && [ "$(pid)" != "$before" ] && shop /
}

drains() {
	local client
	rm -f /tmp/slow
	shop /slow >/tmp/answer &
	client=$!
	wait_for [ -e /tmp/slow ] && systemctl stop hardtack && wait $client &&
		[ "$(cat /tmp/answer)" = none ] && is Result success && is ActiveState inactive &&
		! pgrep -x hardtackd && [ ! -e /run/hardtack ]
}

# Once, and no more of it: trying again does not help.
stays_down() {
	sed -i 's/^sites:/sitse:/' $yaml
	! systemctl start hardtack && is ExecMainStatus 2 && is NRestarts 0 && is ActiveState failed &&
		journalctl -u hardtack -o cat | grep -F "$yaml:" && sed -i 's/^sitse:/sites:/' $yaml &&
		systemctl reset-failed hardtack
}

# ---- credentials ----

takes_credentials() {
	local run=/run/credentials/hardtack.service drop=/etc/systemd/system/hardtack.service.d
	mkdir -p $drop /etc/secrets && chmod 700 /etc/secrets &&
		mv $dir/edge.key $dir/shop.key /etc/secrets &&
		chown root:root /etc/secrets/* && chmod 600 /etc/secrets/* &&
		printf '[Service]\nLoadCredential=%s\nLoadCredential=%s\n' \
			shop.key:/etc/secrets/shop.key edge.key:/etc/secrets/edge.key >$drop/keys.conf &&
		sed -i -e "s|key: edge.key|key: $run/edge.key|" -e "s|file: shop.key|file: $run/shop.key|" $yaml &&
		systemctl daemon-reload && systemctl start hardtack && shop / -b /tmp/jar | grep SessionId=
}
reloads_with_credentials() {
	local i
	for i in 1 2 3; do
		systemctl reload hardtack || return
	done
	shop / -b /tmp/jar | grep SessionId= && is ActiveState active
}

# ---- leaving ----

upgrades() {
	local before
	before=$(pid)
	dpkg -i $share/hardtack.deb && [ "$(pid)" != "$before" ] && is ActiveState active &&
		shop / -b /tmp/jar | grep SessionId=
}

removes() {
	dpkg -r hardtack && ! pgrep -x hardtackd && [ ! -e /sys/fs/bpf/hardtack ] &&
		! systemctl --quiet is-active hardtack && [ -e $yaml ] && ! shop / &&
		[ -z "$(find /etc/systemd/system -name 'hardtack.service')" ]
}
purges() {
	dpkg -P hardtack && [ ! -e $yaml ] && [ ! -e /etc/logrotate.d/hardtack ] &&
		[ ! -e /var/log/hardtack ] && [ -e $dir/edge.pem ]
}

systemctl start systemd-journald
backend
check 'the package installs, and starts nothing' installs
check 'with certificate, keys and upstreams the sample is good' configure
check 'the unit starts and says so' starts
check 'the gate is on' gate_is_on
check 'the daemon has no privileges left' has_no_privileges
check 'it is confined' is_confined
check 'a session is signed, a forged one stripped' signs
check 'the journal says why' says_why
check 'it reloads' reloads
check 'it refuses a wrong configuration and goes on' refuses_what_is_wrong
if command -v logrotate >/dev/null; then
	check 'its access log is rotated' rotates
else
	skipped=$((skipped + 1))
	echo 'skipped the rotation of the access log: logrotate is not installed'
fi
check 'it comes back when it was killed' comes_back
check 'it drains when it is stopped' drains
check 'a wrong configuration is tried once' stays_down
check 'it takes keys as credentials' takes_credentials
check 'it reloads with credentials' reloads_with_credentials
check 'an upgrade restarts it' upgrades
check 'removing the package stops it' removes
check 'purging leaves keys only' purges
echo "$passed passed, $failed failed, $skipped skipped"
