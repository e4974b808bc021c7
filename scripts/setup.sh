#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building, demonstrating and testing need: only what is
# missing, without questions, without starting a service. Must not touch anything else.
set -eu
PATH=$PATH:/usr/sbin:/sbin

packages='gcc libc6-dev make pkg-config clang llvm clang-format libclang-rt-14-dev bpftool
linux-libc-dev libbpf-dev libxdp-dev libelf-dev zlib1g-dev libssl-dev libyaml-dev libjansson-dev libmaxminddb-dev libmemcached-dev
libcriterion-dev libhttp-parser-dev nginx-light apache2-bin nodejs memcached haproxy openssl curl jq iproute2 strace
shellcheck mandoc systemd logrotate dpkg-dev
qemu-system-x86 cpio zstd xz-utils kmod'

# Debian 13 and later have another default clang; the sanitizers' runtime must be of its version.
if [ -x /usr/bin/clang ] && version=$(clang -dumpversion 2>/dev/null); then
	packages=$(echo "$packages" | sed "s/libclang-rt-14-dev/libclang-rt-${version%%.*}-dev/")
fi

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | head -n 1)" = installed ]
}

missing=
for p in $packages; do
	# nginx in any of its flavours will do.
	[ "$p" = nginx-light ] && command -v nginx >/dev/null && continue
	installed "$p" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "setup: this is not Debian. Needed:$missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "setup: as root: apt-get install --no-install-recommends$missing" >&2
	exit 1
fi
echo "setup: installing$missing"

# A fresh nginx would be started on port 80: while packages are being installed policy-rc.d says
# no. A policy of the machine's own is put aside and comes back.
policy=/usr/sbin/policy-rc.d
saved=$policy.before-hardtack
restore() {
	rm -f "$policy"
	[ ! -e "$saved" ] || mv "$saved" "$policy"
}
if [ -e "$policy" ] && [ ! -e "$saved" ]; then
	mv "$policy" "$saved"
fi
trap restore EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"
had_nginx=$(command -v nginx || :)
had_haproxy=$(command -v haproxy || :)

export DEBIAN_FRONTEND=noninteractive
# A third party's source that cannot be reached is none of our business, as long as the packages
# can be had; so the verdict is the installation's.
apt-get -q update || echo 'setup: apt-get update had errors, going on' >&2
# shellcheck disable=SC2086 # a list of words
apt-get -q -y -o Dpkg::Options::=--force-confold install --no-install-recommends $missing

# Nor should they come up at the next boot because of us.
if command -v systemctl >/dev/null; then
	[ -n "$had_nginx" ] || systemctl --quiet disable nginx.service 2>/dev/null || :
	[ -n "$had_haproxy" ] || systemctl --quiet disable haproxy.service 2>/dev/null || :
fi
