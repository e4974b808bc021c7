#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tests the Debian package: installs, removes and purges it in a scratch directory, with a package
# database of its own, no network and no service. The machine's own packages are not touched.
#
# usage: [O=build] scripts/dist/test-deb.sh   (after `make deb`)
# shellcheck disable=SC2317 # tests are called by name
set -u
cd "$(dirname "$0")/../.." || exit 1
O=$(realpath "${O:-build}")
PATH=$PATH:/usr/sbin:/sbin
version=$(sed -n 's/^#define HT_VERSION "\(.*\)"$/\1/p' user/util.h)
package=$(realpath "$O/hardtack_${version}_$(dpkg --print-architecture).deb")
passed=0 failed=0 skipped=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/etc" "$work/db/updates" "$work/db/info" "$work/db/triggers"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
cp /var/lib/dpkg/status "$work/db/" # so that the dependencies are there

# check TITLE COMMAND...
check() {
	local title=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		passed=$((passed + 1))
		echo "ok      $title"
	else
		failed=$((failed + 1))
		echo "FAILED  $title"
		cat "$work/out"
	fi
}

dpkg_() {
	dpkg --admindir="$work/db" --instdir="$root" --log="$work/log" \
		--force-script-chrootless --force-confold "$@"
}

state_is() {
	[ "$(dpkg-query --admindir="$work/db" -W -f '${db:Status-Abbrev}' hardtack 2>/dev/null | tr -d ' ')" = "$1" ]
}

installs() { dpkg_ -i "$package" && state_is ii; }
runs() {
	"$root/usr/sbin/hardtackd" --version | grep -qx "hardtackd $version" &&
		"$root/usr/bin/hardtackctl" --version | grep -qx "hardtackctl $version"
}
has_user() { grep -q '^hardtack:.*/usr/sbin/nologin$' "$root/etc/passwd"; }
closed() { [ "$(stat -c %a "$root/etc/hardtack")" = 750 ]; }
complete() {
	(cd "$root" && md5sum --quiet -c "$work/db/info/hardtack.md5sums" &&
		ls lib/systemd/system/hardtack.service usr/share/man/man8/hardtack{d,ctl}.8.gz \
			usr/share/man/man5/hardtack.yaml.5.gz usr/share/man/man7/hardtack-{native,fleet,secure-cookie}.7.gz \
			etc/hardtack/hardtack.yaml)
}

# As postinst says: certificate, key, and then the sample is good as it stands.
sample_is_good() {
	local dir=$root/etc/hardtack

	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x \
		-addext subjectAltName=DNS:shop.example.com,DNS:*.shop.example.com \
		-keyout "$dir/edge.key" -out "$dir/edge.pem" 2>/dev/null || return 1
	(umask 027 && openssl rand -base64 48 >"$dir/shop.key")
	chmod 640 "$dir/edge.key"
	# the user was made in the scratch directory only
	sed 's/^user: .*/user: nobody/' "$dir/hardtack.yaml" >"$dir/check.yaml"
	"$root/usr/sbin/hardtackd" --check -c "$dir/check.yaml"
	local status=$?
	rm -f "$dir/check.yaml"
	return $status
}

upgrades() {
	echo '# mine' >>"$root/etc/hardtack/hardtack.yaml"
	dpkg_ -i "$package" && state_is ii && grep -q '^# mine' "$root/etc/hardtack/hardtack.yaml"
}
removes() {
	dpkg_ -r hardtack && state_is rc && [ ! -e "$root/usr/sbin/hardtackd" ] &&
		[ ! -e "$root/lib/systemd/system/hardtack.service" ] &&
		[ -e "$root/etc/hardtack/hardtack.yaml" ]
}
purges() {
	mkdir -p "$root/var/log/hardtack"
	dpkg_ -P hardtack && ! state_is rc && [ ! -e "$root/var/log/hardtack" ] &&
		[ ! -e "$root/etc/hardtack/hardtack.yaml" ] && [ -e "$root/etc/hardtack/shop.key" ]
}
leaves_nothing() {
	[ -z "$(find "$root" -type f -not -path "$root/etc/passwd*" -not -path "$root/etc/group*" \
		-not -path "$root/etc/*shadow*" -not -path "$root/etc/sub*" \
		-not -path "$root/etc/hardtack/*.key" -not -path "$root/etc/hardtack/edge.pem" | tee /dev/stderr)" ]
}
is_linted() { lintian --fail-on error "$package"; }

if [ "$(id -u)" != 0 ]; then
	echo 'skipped the package: only root can install one'
	echo '0 passed, 0 failed, 1 skipped'
	exit
fi
check 'the package installs' installs
check 'its programs run' runs
check 'its files are all there' complete
check 'the user hardtack is made' has_user
check 'others cannot look into /etc/hardtack' closed
check 'with certificate and key the sample configuration is good' sample_is_good
check 'it can be installed over itself, and a changed configuration stays' upgrades
check 'it is removed' removes
check 'it is purged, but for keys' purges
check 'nothing else is left' leaves_nothing
if command -v lintian >/dev/null; then
	check 'lintian' is_linted
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
