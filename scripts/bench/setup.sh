#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `make bench` needs beyond scripts/setup.sh: installs the tools, and unpacks the contestants
# (each with its own libraries) beside the system, under $O/bench/pkg/SUITE. Starts no service,
# installs no server. What cannot be had is written to $O/bench/skipped.txt; only then it says so.
set -u
cd "$(dirname "$0")/../.." || exit 1
PATH=$PATH:/usr/sbin:/sbin
O=${O:-build}
pkg=$(realpath -m "$O/bench/pkg")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

skip() {
	echo "$1" >>"$O/bench/skipped.txt"
	echo "bench: $1" >&2
}

# ---- tools ----

tools() {
	local p missing=()
	for p in gnuplot-nox jq curl openssl util-linux procps; do
		dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
	done
	[ ${#missing[@]} != 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "bench: as root: apt-get install --no-install-recommends ${missing[*]}" >&2
		return 1
	fi
	# None of them has a service: the policy against starting one is for what they depend on.
	local policy=/usr/sbin/policy-rc.d ours=
	[ -e "$policy" ] || {
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		ours=yes
	}
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update >&2 || :
	apt-get -q -y install --no-install-recommends "${missing[@]}" >&2
	local status=$?
	[ -z "$ours" ] || rm -f "$policy"
	return "$status"
}

# ---- contestants ----

# The machine's own Debian mirror; only the suite is ours.
mirror() {
	# shellcheck disable=SC2016 # apt expands it
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
		'Label: Debian' 2>/dev/null | head -n 1
}

# in_suite SUITE COMMAND...: apt with lists of its own, to which nothing is installed.
in_suite() {
	local dir=$pkg/apt/$1 tool=$2
	shift 2
	"$tool" -oDir::State="$dir" -oDir::State::Lists="$dir/lists" -oDir::State::status="$dir/status" \
		-oDir::Cache="$dir" -oDir::Cache::archives="$dir/archives" \
		-oDir::Etc::sourcelist="$dir/sources.list" -oDir::Etc::sourceparts=/dev/null \
		-oDir::Etc::preferencesparts=/dev/null -oAPT::Sandbox::User=root \
		-oAcquire::Languages=none "$@"
}

# fetch SUITE PACKAGE...: they and the libraries that they need, unpacked.
fetch() {
	local suite=$1 root=$pkg/$1 dir=$pkg/apt/$1 uri names deb
	shift
	[ "$(cat "$root/.contents" 2>/dev/null)" != "$*" ] || return 0
	uri=$(mirror)
	[ -n "$uri" ] || { skip "suite $suite: apt knows no Debian mirror"; return 1; }
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	: >"$dir/status"
	echo "deb [signed-by=$keyring] $uri $suite main" >"$dir/sources.list"
	echo "bench: fetching from $suite: $*"
	in_suite "$suite" apt-get -q update >"$dir/log" 2>&1
	# Against an empty machine: the whole closure. Of that the servers and libraries are enough.
	names=$(in_suite "$suite" apt-get -s install --no-install-recommends "$@" 2>>"$dir/log" |
		awk '/^Inst/ { print $2 }' |
		grep -E '^(lib|lua-|nginx|haproxy|hitch)' |
		grep -vE '^lib(perl|semanage|sepol|pam|elf|bpf|mnl|krb5|k5|gssapi|tirpc|xtables|com-err)')
	if [ -z "$names" ]; then
		skip "suite $suite cannot be had ($(tail -n 1 "$dir/log"))"
		return 1
	fi
	# shellcheck disable=SC2086 # a list of words
	(cd "$dir/archives" && in_suite "$suite" apt-get -q download $names) >>"$dir/log" 2>&1 || {
		skip "suite $suite: a package could not be fetched ($(tail -n 1 "$dir/log"))"
		return 1
	}
	rm -rf "$root"
	mkdir -p "$root"
	for deb in "$dir"/archives/*.deb; do
		dpkg -x "$deb" "$root" || return 1
	done
	rm -rf "$dir/archives" "$dir/lists" "$dir"/*.bin
	echo "$*" >"$root/.contents"
}

mkdir -p "$O/bench"
: >"$O/bench/skipped.txt"
tools || exit 1
fetch bookworm nginx libnginx-mod-http-lua libnginx-mod-http-js haproxy hitch
fetch sid nginx libnginx-mod-http-lua haproxy
exit 0
