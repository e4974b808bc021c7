# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
# A virtual machine that is all software, with one of Debian's own kernels, what was built here, and
# a plan of what to run in it: sourced by who has a plan (run.sh has the test suite's). Judges
# nothing. Installs nothing on the machine it runs on.
#
#	guest_prepare KERNEL	fetches and builds what goes in, and makes the initramfs; $why if not
#	guest_run LIMIT_S	boots it until it comes to its end; $status, $tries, $cpu_s
#
# Before: O, out (a folder for this guest), and a function plan that prints the shell lines that
# init.sh sources; it runs them in /ht. After: $out/console.log, report.jsonl (what the plan
# reported), kernel.log; $package and $release say which kernel it was. Another machine than the
# usual one is a matter of $machine, $append and cpu_model(); which test programs go in, of $programs;
# what else goes in, of a function own_files ROOT.
O=${O:?} out=${out:?}
vm=$O/vm
cache=$(realpath -m "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hardtack/vm")
# Where the guest finds the second daemon's OpenSSL, C library and loader.
prefix=/ht/3.5/lib
# As many processors as this machine has, within what the memory is enough for.
cpus=$(($(nproc) < 8 ? $(nproc) : 8))
machine=(-accel 'tcg,thread=multi' -smp "$cpus" -m 2G)
programs='bpf bpf-weak e2e'
emulator=(qemu-system-x86_64)
# How many seconds a guest may say nothing once it is up, before it counts as wedged.
silence=7200
# Watchdogs would measure this machine's load, nothing else.
append='nosoftlockup nowatchdog rcupdate.rcu_cpu_stall_suppress=1'
# What only costs time here: a third of it.
append+=' mitigations=off init_on_alloc=0 tsc=reliable randomize_kstack_offset=off'
append+=' cgroup_disable=memory audit=0 lsm=capability no5lvl'
qemu='' why='' package='' release='' vmlinuz='' status='' tries=0 cpu_s=0
# shellcheck source=SCRIPTDIR/fetch.sh
. tests/vm/fetch.sh

guest_stop() { [ -z "$qemu" ] || kill "$qemu" 2>/dev/null; }
trap guest_stop EXIT
trap 'exit 130' INT TERM

# ---- what goes in ----

# The same sources against OpenSSL 3.5: its headers, its libraries, and a loader that knows them.
build_daemon() {
	local dir=$1 lib=$1/usr/lib/x86_64-linux-gnu
	make -s -j"$(nproc)" O="$vm/openssl-3.5" SAN= CPPFLAGS="-I$dir/usr/include/x86_64-linux-gnu -I$dir/usr/include" \
		LDFLAGS="-L$lib -Wl,-rpath,$prefix,--disable-new-dtags,--allow-shlib-undefined -Wl,\
--dynamic-linker=$prefix/ld-linux-x86-64.so.2" all >"$vm/openssl-3.5.log" 2>&1 && return
	tail -n 20 "$vm/openssl-3.5.log"
	return 1
}

# install_program ROOT FILE [TARGET]: a program of this machine with the libraries it needs.
install_program() {
	local lib
	install -D -m 755 "$2" "$1/${3:-$2}" || return 1
	ldd "$2" 2>/dev/null | grep -o '/[^ :]*' | sort -u | while read -r lib; do
		[ -e "$1/$lib" ] || install -D -m 755 "$lib" "$1/$lib"
	done
}

# Criterion's libgit2 brings a dozen libraries to every test's process, for what tests/git2.c does
# without.
empty_git2() {
	local lib
	lib=$(find "$1" -name 'libgit2.so.*' | head -n 1)
	[ -z "$lib" ] || gcc -shared -o "$lib" -Wl,-soname,"$(basename "$lib")" -x c /dev/null
}

# The guest's user space, the same for every kernel.
make_root() {
	local root=$vm/root ssl=$1 f
	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,etc,proc,root,run,sbin,sys,tmp,var/lib/nginx,var/log/nginx,usr/sbin}
	install -D -m 755 "$2" "$root/bin/busybox" || return 1
	for f in nginx curl bpftool memcached haproxy strace openssl; do
		install_program "$root" "$(command -v $f)" || return 1
	done
	install_program "$root" "$(command -v ip)" bin/ip || return 1 # before busybox's
	install_program "$root" "$(realpath /bin/sh)" bin/sh || return 1 # busybox's runs its own ip
	f=/usr/lib/$(gcc -print-multiarch)/bpf/xdp-dispatcher.o # where libxdp looks for it
	install -D -m 644 "$f" "$root/$f" || return 1
	for f in hardtackd hardtackctl; do
		install_program "$root" "$O/$f" "ht/3.0/$f" || return 1
		install -D -m 755 "$vm/openssl-3.5/$f" "$root/ht/3.5/$f" || return 1
	done
	mkdir -p "$root/$prefix"
	for f in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libcrypto.so.3 libssl.so.3 libzstd.so.1 \
		libz.so.1 libpthread.so.0 libdl.so.2; do
		cp -L "$ssl/usr/lib/x86_64-linux-gnu/$f" "$root/$prefix/" || return 1
	done
	for f in $programs; do
		install_program "$root" "$O/tests/$f" "ht/tests/$f" || return 1
	done
	empty_git2 "$root" || return 1
	gcc -Wall -Wextra -Werror -O2 -D_GNU_SOURCE -shared -fPIC -o "$root/ht/verified.so" \
		tests/vm/verified.c || return 1
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' \
		>"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
	printf 'hosts: files\n' >"$root/etc/nsswitch.conf"
	printf 'multi on\n' >"$root/etc/host.conf" # a name may have several addresses, as in Debian
	install -D -m 644 /etc/ssl/openssl.cnf "$root/usr/lib/ssl/openssl.cnf" || return 1
	cp -L /etc/nginx/mime.types "$root/etc/" 2>/dev/null
	install -m 755 tests/vm/init.sh "$root/init"
	ln -s /bin/busybox "$root/sbin/modprobe"
}

# make_own KERNEL_DIR: what this guest has of its own. The plan; TLS, the ciphers, veth pairs and
# bridges, with what modprobe needs to find them.
make_own() {
	local from to=$out/own f
	from=$(echo "$1"/usr/lib/modules/* "$1"/lib/modules/*)
	for f in $from; do
		[ ! -d "$f/kernel" ] || from=$f
	done
	release=$(basename "$from")
	rm -rf "$to"
	mkdir -p "$to/lib/modules/$release" "$to/ht"
	to=$(realpath "$to")
	(cd "$from" && find kernel/net/tls kernel/crypto kernel/lib/crypto kernel/arch/x86/crypto \
		kernel/lib/crc kernel/drivers/net/veth.ko* kernel/net/bridge/bridge.ko* kernel/net/802 \
		kernel/net/llc -name '*.ko*' 2>/dev/null | cpio --quiet -pdm "$to/lib/modules/$release")
	cp "$from"/modules.{builtin,order}* "$to/lib/modules/$release/" 2>/dev/null
	find "$to" -name '*.ko.xz' -exec xz -d {} +
	plan >"$to/ht/plan"
	if declare -F own_files >/dev/null; then own_files "$to" || return 1; fi
	depmod -b "$to" "$release" 2>/dev/null && [ -n "$(find "$to" -name tls.ko)" ]
}

archive() { (cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | zstd -q -1; }

# guest_prepare KERNEL: 0, or 1 and $why, or 2 and $why where there is nothing to blame here: no such
# kernel is to be had.
guest_prepare() {
	local dir ssl busybox
	why='the virtual machines are for amd64'
	[ "$(uname -m)" = x86_64 ] || return 2
	mkdir -p "$cache" "$out" "$vm"
	exec 9>"$cache/lock"
	flock 9 # one guest at a time, and one apt
	why="kernel $1 can't be fetched"
	dir=$(kernel_fetch "$1") || return 2
	why="OpenSSL 3.5 can't be fetched"
	ssl=$(openssl_fetch) || return 2
	read -ra emulator < <(emulator_fetch)
	why="busybox can't be fetched"
	busybox=$(busybox_fetch) || return 2
	why='the sources do not build against OpenSSL 3.5'
	build_daemon "$ssl" || return 1
	why='the initramfs lacks something'
	make_root "$ssl" "$busybox" || return 1
	why='the kernel package has no usable modules'
	make_own "$dir" || return 1
	{ archive "$vm/root" && archive "$out/own"; } >"$out/initrd" || return 1
	why='the kernel package has no kernel'
	vmlinuz=$(find "$dir" -name 'vmlinuz*' -type f | head -n 1)
	package=$(basename "$dir")
	[ -n "$vmlinuz" ]
}

# ---- one boot ----

# Without the strings that are fast in hardware: the kernel copies and clears with them, and emulated
# they go byte by byte (a quarter of all time that is spent in it).
# QEMU 7.2 breaks flags around cmpxchg16b: without it (and AVX, BMI) 6.x is safe. 7.x needs it for
# sk_storage; what then goes wrong is a false double fault, and that boot is tried again.
cpu_model() {
	local major model=max,-smap,-smep,-erms,-fsrm
	major=$("${emulator[@]}" --version | sed -n 's/.* version \([0-9]*\).*/\1/p')
	case $major:$release in
	[67]:6.*) echo $model,-cx16,-avx,-avx2,-bmi1,-bmi2 ;;
	[67]:*) echo $model ;;
	*) echo $model,-fzrm,-fsrs,-fsrc ;;
	esac
}

# Seconds of processor time that the machine has taken so far.
cpu_seconds() {
	awk -v hz="$(getconf CLK_TCK)" '{ print int(($14 + $15) / hz) }' "/proc/$qemu/stat" 2>/dev/null
}

end_boot() {
	kill "$qemu"
	wait "$qemu"
	qemu=
}

# silent SECONDS: nothing came over the console for so long.
silent() { [ -z "$(find "$out/console.log" -newermt "-$1 seconds" 2>/dev/null)" ]; }

# boot LIMIT_S: 0 came to its end, 1 died or ran out of time, 2 wedged or died of QEMU: before it was
# up, with a false double fault, or silent for longer than any test waits.
boot() {
	local started=$SECONDS spent patience=40
	rm -f "$out"/{console.log,report.jsonl,kernel.log}
	"${emulator[@]}" -cpu "$(cpu_model)" "${machine[@]}" -nodefaults -no-reboot \
		-display none -serial "file:$out/console.log" -serial "file:$out/report.jsonl" \
		-serial "file:$out/kernel.log" -kernel "$vmlinuz" -initrd "$out/initrd" \
		-append "console=ttyS0 panic=-1 log_buf_len=4M $append" \
		</dev/null >"$out/qemu.log" 2>&1 9>&- &
	qemu=$!
	while kill -0 "$qemu" 2>/dev/null; do
		sleep 0.5
		spent=$(cpu_seconds)
		[ "${spent:-0}" = 0 ] || cpu_s=$spent
		if [ $((SECONDS - started)) -gt "$1" ]; then
			end_boot
			return 1
		fi
		[ $patience != 40 ] || ! grep -q '^guest: up' "$out/console.log" 2>/dev/null ||
			patience=$silence
		if [ $((SECONDS - started)) -gt $patience ] && silent $patience; then
			end_boot
			return 2
		fi
	done
	wait "$qemu"
	qemu=
	grep -q '"end":true' "$out/report.jsonl" 2>/dev/null && return 0
	! grep -q 'double fault' "$out/console.log" || return 2
	grep -q '^guest: up' "$out/console.log" || return 2
	return 1
}

# guest_run LIMIT_S: as boot(); what wedged or died of QEMU is tried again.
guest_run() {
	for tries in 1 2 3; do
		boot "$1"
		status=$?
		[ $status = 2 ] || break
		echo "vm: boot $tries wedged or died of QEMU"
	done
	return $status
}
