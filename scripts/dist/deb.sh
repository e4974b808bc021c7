#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Packs what `make install DESTDIR=$O/deb/root PREFIX=/usr` has put there into a Debian package,
# with plain dpkg-deb. Run by `make deb`; changes nothing outside of $O.
#
# usage: [O=build] scripts/dist/deb.sh
set -eu
cd "$(dirname "$0")/../.."
O=$(realpath "${O:-build}")
work=$O/deb root=$O/deb/root
version=$(sed -n 's/^#define HT_VERSION "\(.*\)"$/\1/p' user/util.h)
arch=$(dpkg --print-architecture)
package=$O/hardtack_${version}_$arch.deb
maintainer="${DEBFULLNAME:-The hardtack authors} <${DEBEMAIL:-maintainers@hardtack.invalid}>"
changed=$(git log -1 --format=%cD 2>/dev/null || date -R)

# ---- the files ----

strip --strip-unneeded -R .comment -R .note "$root"/usr/sbin/hardtackd "$root"/usr/bin/hardtackctl
install -d "$root/etc/hardtack" "$root/etc/logrotate.d" "$root/DEBIAN"
install -m 644 scripts/dist/hardtack.logrotate "$root/etc/logrotate.d/hardtack"
install -m 644 scripts/dist/hardtack.yaml "$root/etc/hardtack/"
gzip -9nf "$root"/usr/share/man/man?/*
doc=$root/usr/share/doc/hardtack
rm -f "$doc/LICENSE" "$doc/hardtack.yaml"
cat >"$doc/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: hardtack

Files: *
Copyright: 2026 the hardtack authors
License: Apache-2.0

Files: bpf/* include/*
Copyright: 2026 the hardtack authors
License: GPL-2.0-only or Apache-2.0

License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

License: GPL-2.0-only
 On Debian systems the text is in /usr/share/common-licenses/GPL-2.
END
printf 'hardtack (%s) unstable; urgency=medium\n\n  * Version %s.\n\n -- %s  %s\n' \
	"$version" "$version" "$maintainer" "$changed" | gzip -9n >"$doc/changelog.gz"

# ---- what it needs ----

# The packages of the libraries that the programs load.
depends() {
	local programs=("$root/usr/sbin/hardtackd" "$root/usr/bin/hardtackctl")

	if command -v dpkg-shlibdeps >/dev/null; then
		mkdir -p "$work/debian"
		printf 'Source: hardtack\n\nPackage: hardtack\nArchitecture: any\n' >"$work/debian/control"
		(cd "$work" && dpkg-shlibdeps -O "${programs[@]/#/-e}") | sed -n 's/^shlibs:Depends=//p'
	else
		ldd "${programs[@]}" | sed -n 's|.* => \(/[^ ]*\) .*|\1|p' | sort -u | xargs realpath |
			xargs dpkg -S | cut -d: -f1 | sort -u | paste -sd , | sed 's/,/, /g'
	fi
}

cat >"$root/DEBIAN/control" <<END
Package: hardtack
Version: $version
Architecture: $arch
Maintainer: $maintainer
Section: net
Priority: optional
Depends: $(depends), passwd
Recommends: bpftool
Suggests: logrotate
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Description: TLS edge gateway that signs session cookies
 hardtack stands in front of web applications. It signs the session cookies
 that they set, binds them to the clients that they were given to, and lets no
 request carry such a cookie to an application without a valid token. A BPF
 program has the last word on every byte that leaves for a backend.
END
printf '%s\n' /etc/hardtack/hardtack.yaml /etc/logrotate.d/hardtack >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
	install -m 755 "scripts/dist/deb.$script" "$root/DEBIAN/$script"
done
(cd "$root" && find . -path ./DEBIAN -prune -o -path ./etc -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
chmod -R u+w,go-w,a+rX "$root"
chmod 644 "$root/DEBIAN/md5sums" "$root/DEBIAN/control" "$root/DEBIAN/conffiles"
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
