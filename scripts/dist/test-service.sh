#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tests the Debian package under a real systemd: boots one in namespaces of its own, on a copy of
# this machine's root that is thrown away, and has service-inside.sh install, start, reload, stop and
# remove the package there. The machine's own packages, services and BPF objects are not touched.
#
# usage: [O=build] scripts/dist/test-service.sh   (after `make deb`)
set -u
here=$(realpath "$(dirname "$0")")

# ---- in the new namespaces, before systemd ----

bind_device() { touch "$2/dev/$1" && mount --bind "/dev/$1" "$2/dev/$1"; }

# What the kernel offers, as a container gets it: nothing that could change this machine.
mount_kernel() {
	local root=$1 device
	mount -t proc proc "$root/proc"
	mount --bind "$root/proc/sys" "$root/proc/sys"
	mount -o remount,bind,ro "$root/proc/sys"
	mount -t sysfs -o ro sysfs "$root/sys"
	mount -t bpf -o mode=1700 bpf "$root/sys/fs/bpf"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	for device in null zero full random urandom tty; do
		bind_device $device "$root"
	done
	mkdir "$root/dev/shm" "$root/dev/pts"
	mount -t tmpfs tmpfs "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	touch "$root/dev/console"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
}

# None of this machine's own services: what there is to start is the test.
units() {
	local root=$1
	rm -rf "$root"/etc/systemd/system "$root"/{usr/,}lib/systemd/system/*.wants \
		"$root"/{usr/,}lib/systemd/system-generators/* "$root"/etc/systemd/system-generators
	mkdir -p "$root/etc/systemd/system"
	: >"$root/etc/fstab"
	[ -s "$root/etc/machine-id" ] || tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
	cat >"$root/etc/systemd/system/inside.target" <<END
[Unit]
Requires=basic.target
Wants=inside.service
END
	cat >"$root/etc/systemd/system/inside.service" <<END
[Unit]
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/bin/bash /run/share/service-inside.sh
StandardOutput=append:/run/share/out
StandardError=inherit
END
}

boot() {
	local work=$1 root=$1/mnt/root
	set -e
	mount --make-rprivate /
	mount -t tmpfs tmpfs "$work/mnt"
	mkdir -p "$work"/mnt/{upper,work,root}
	mount -t overlay overlay \
		-o "lowerdir=/,upperdir=$work/mnt/upper,workdir=$work/mnt/work" "$root"
	mount_kernel "$root"
	units "$root"
	mkdir -p "$root/run/share"
	mount --bind "$work/share" "$root/run/share"
	ip link set lo up
	cd "$root"
	mkdir -p old-root
	pivot_root . old-root
	umount -l /old-root
	mount --make-rshared / # credentials come that way
	exec env -i container=hardtack-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		/lib/systemd/systemd --system --unit=inside.target --log-target=null --show-status=no
}

if [ "${1:-}" = --boot ]; then
	boot "$2"
	exit 1
fi

# ---- outside ----

skip() {
	echo "skipped the service: $1"
	echo '0 passed, 0 failed, 1 skipped'
	exit
}

cd "$here/../.." || exit 1
O=$(realpath "${O:-build}")
PATH=$PATH:/usr/sbin:/sbin
version=$(sed -n 's/^#define HT_VERSION "\(.*\)"$/\1/p' user/util.h)
package=$O/hardtack_${version}_$(dpkg --print-architecture).deb
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)

[ "$(id -u)" = 0 ] || skip 'only root can boot a systemd'
[ -x /lib/systemd/systemd ] || skip 'systemd is not installed'
grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || skip 'no overlayfs here'
cgroup=$cgroups/hardtack-test-$$
{ [ -n "$cgroups" ] && mkdir "$cgroup" 2>/dev/null; } || skip 'no cgroup v2 to write to here'

work=$(mktemp -d)
# shellcheck disable=SC2317 # called by trap
finish() {
	[ ! -w "$cgroup/cgroup.kill" ] || echo 1 >"$cgroup/cgroup.kill"
	for ((i = 0; i < 50; i++)); do
		find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.1
	done
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
mkdir "$work/mnt" "$work/share"
cp "$package" "$work/share/hardtack.deb" || exit 1
cp "$here/service-inside.sh" scripts/dist/test-service.sh "$work/share/"

(
	echo "$BASHPID" >"$cgroup/cgroup.procs"
	exec timeout -k 1 100 unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child \
		bash "$here/test-service.sh" --boot "$work" </dev/null
) >"$work/boot" 2>&1 &
wait $!
cat "$work/share/out" 2>/dev/null
if ! tail -n 1 "$work/share/out" 2>/dev/null | grep -q ' skipped$'; then
	cat "$work/boot"
	echo 'FAILED  systemd does not come to the end of the test'
	echo '0 passed, 1 failed, 0 skipped'
	exit 1
fi
tail -n 1 "$work/share/out" | grep -q ' 0 failed'
