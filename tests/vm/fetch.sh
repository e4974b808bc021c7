# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Packages of other Debian suites for the virtual machines, unpacked and never installed: sourced
# by run.sh. apt gets a configuration of its own for each suite; only the mirror's address is taken
# from the machine's. Everything fetched stays in $cache and is used again.
cache=${cache:?}

# mirror [-security]: where this machine has its own suite from.
mirror() {
	local codename
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk -v suite="$codename${1:-}" '$1 == suite && $2 == "main" { print $3; exit }'
}

# suite_apt SUITE COMMAND...: apt-get or apt-cache as if that suite were all there is.
suite_apt() {
	local dir=$cache/apt/$1 command=$2
	shift 2
	"$command" -q -oDir::State::Lists="$dir/lists" -oDir::State::status=/dev/null \
		-oDir::Etc::sourcelist="$dir/sources.list" -oDir::Etc::sourceparts=/dev/null \
		-oDir::Etc::preferences=/dev/null -oDir::Etc::preferencesparts=/dev/null \
		-oDir::Cache="$dir/cache" -oDir::Cache::pkgcache=pkgcache.bin \
		-oDir::Cache::srcpkgcache=srcpkgcache.bin -oAPT::Architecture=amd64 \
		-oAPT::Architectures::=amd64 -oAPT::Sandbox::User=root -oAcquire::Languages=none \
		"$@"
}

# suite_update SUITE: its package lists, unless they are of the last twelve hours.
suite_update() {
	local suite=$1 dir=$cache/apt/$1 main security keyring
	local keys=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -z "$(find "$dir/updated" -mmin -720 2>/dev/null)" ] || return 0
	main=$(mirror)
	security=$(mirror -security)
	keyring=$([ ! -e "$keys" ] || echo "[signed-by=$keys]")
	[ -n "$main" ] || {
		echo "vm: apt's configuration names no mirror of this machine's own suite" >&2
		return 1
	}
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	echo "deb $keyring $main $suite main" >"$dir/sources.list"
	case $suite in
	sid | *-backports) ;;
	*) [ -z "$security" ] || echo "deb $keyring $security $suite-security main" ;;
	esac >>"$dir/sources.list"
	suite_apt "$suite" apt-get update >"$dir/update.log" 2>&1 || {
		tail -n 3 "$dir/update.log" >&2
		return 1
	}
	touch "$dir/updated"
}

# suite_version SUITE PACKAGE: what that suite has, or nothing. Backports are not apt's first choice.
suite_version() {
	suite_apt "$1" apt-cache madison "$2" 2>/dev/null | awk -F' *\\| *' '{ print $2 }' |
		sort -rV | head -n 1
}

# suite_depends SUITE PACKAGE VERSION PATTERN: names it depends on that match.
suite_depends() {
	suite_apt "$1" apt-cache show "$2=$3" 2>/dev/null | sed -n 's/^Depends: //p' |
		tr ',' '\n' | awk '{ print $1 }' | grep -E "$4"
}

# fetch_into DIR SUITE PACKAGE[=VERSION]...: downloads what is not there yet and unpacks it.
fetch_into() {
	local dir=$1 suite=$2 deb
	shift 2
	[ ! -e "$dir/.complete" ] || return 0
	rm -rf "$dir"
	mkdir -p "$dir/debs"
	(cd "$dir/debs" && suite_apt "$suite" apt-get download "$@") >"$dir/download.log" 2>&1 || {
		tail -n 3 "$dir/download.log" >&2
		return 1
	}
	for deb in "$dir"/debs/*.deb; do
		dpkg -x "$deb" "$dir" || return 1
	done
	rm -rf "$dir/debs"
	touch "$dir/.complete"
}

# kernel_suite KERNEL: "SUITE VERSION" of a cloud kernel: of that series, of that very version where
# it can still be had, or the newest of all.
kernel_suite() {
	local suite version best='' best_suite=''
	local -a suites
	case $1 in
	6.1 | 6.1.*) suites=(bookworm) ;;
	6.12 | 6.12.*) suites=(trixie bookworm-backports) ;;
	*) suites=(trixie-backports sid) ;;
	esac
	for suite in "${suites[@]}"; do
		suite_update "$suite" || continue
		version=$(suite_version "$suite" linux-image-cloud-amd64)
		case $1:$version in
		*:) continue ;;
		newest:* | "$1":"$1" | "$1":"$1".*) ;;
		*) [ "$1" = "${1%.*.*}" ] || echo "vm: $1 is not to be had, taking $version" >&2 ;;
		esac
		if [ -z "$best" ] || dpkg --compare-versions "$version" gt "$best"; then
			best=$version best_suite=$suite
		fi
	done
	[ -n "$best" ] && echo "$best_suite $best"
}

# kernel_fetch KERNEL: prints the folder it is unpacked in. Debian splits newer kernels up.
kernel_fetch() {
	local suite version image dir part
	local -a parts
	read -r suite version < <(kernel_suite "$1") || return 1
	dir=$cache/kernel-$version
	if [ ! -e "$dir/.complete" ]; then
		image=$(suite_depends "$suite" linux-image-cloud-amd64 "$version" '^linux-image-[0-9]')
		[ -n "$image" ] || return 1
		parts=("$image=$version")
		while read -r part; do
			parts+=("$part=$version")
		done < <(suite_depends "$suite" "$image" "$version" '^linux-(binary|modules)-[0-9]')
		fetch_into "$dir" "$suite" "${parts[@]}" || return 1
	fi
	echo "$dir"
}

# openssl_fetch: OpenSSL 3.5 with headers, and the C library it wants; prints the folder.
openssl_fetch() {
	local version dir
	suite_update trixie || return 1
	version=$(suite_version trixie libssl3t64)
	[ -n "$version" ] || return 1
	dir=$cache/openssl-$version
	fetch_into "$dir" trixie "libssl3t64=$version" "libssl-dev=$version" libc6 libzstd1 zlib1g ||
		return 1
	echo "$dir"
}

# busybox_fetch: a static one that is in nobody's way; prints the file.
busybox_fetch() {
	fetch_into "$cache/busybox" trixie busybox-static || return 1
	find "$cache/busybox" -name busybox -type f -perm -u+x | head -n 1
}

# emulator_fetch: prints the QEMU to use, with its arguments for where its files are. That of this
# machine's backports, where it is to be had and runs: 10.0 takes a tenth less processor time than
# bookworm's 7.2, and has mended what 7.2 does to flags around cmpxchg16b.
emulator_fetch() {
	local suite version dir
	suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)-backports
	if suite_update "$suite"; then
		version=$(suite_version "$suite" qemu-system-x86)
		dir=$cache/qemu-$version
		if [ -n "$version" ] && fetch_into "$dir" "$suite" "qemu-system-x86=$version" \
			"qemu-system-data=$version" seabios &&
			"$dir/usr/bin/qemu-system-x86_64" --version >/dev/null 2>&1; then
			echo "$dir/usr/bin/qemu-system-x86_64 -L $dir/usr/share/qemu -L $dir/usr/share/seabios"
			return
		fi
	fi
	echo "vm: no newer QEMU to be had, taking this machine's own" >&2
	echo qemu-system-x86_64
}
