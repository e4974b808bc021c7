#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The gate and the daemon with kTLS on one of Debian's own kernels, in a virtual machine that is all
# software: boots it with an initramfs of what was built here, judges what comes back over its serial
# ports, ends with one line: N passed, N failed, N skipped. Installs nothing. What ran goes to
# $O/vm/KERNEL: console.log, kernel.log, report.json; and into the table $O/vm/table.md.
#
# usage: [O=build] [FULL=1] [FILTER=word] tests/vm/run.sh 6.1 | 6.12 | newest | VERSION
set -u
cd "$(dirname "$0")/../.." || exit 1
export PATH=$PATH:/usr/sbin:/sbin
O=${O:-build}
kernel=${1:?which kernel}
vm=$O/vm
out=$vm/$kernel
cache=$(realpath -m "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hardtack/vm")
# Where the guest finds the second daemon's OpenSSL, C library and loader.
prefix=/ht/3.5/lib
qemu=
# shellcheck source=SCRIPTDIR/fetch.sh
. tests/vm/fetch.sh

stop_guest() { [ -z "$qemu" ] || kill "$qemu" 2>/dev/null; }
trap stop_guest EXIT
trap 'exit 130' INT TERM

skip() {
	echo "skipped: $1"
	echo '0 passed, 0 failed, 1 skipped'
	exit 0
}

fail() {
	echo "vm: $1"
	echo '0 passed, 1 failed, 0 skipped'
	exit 1
}

# ---- what goes in ----

# The same sources against OpenSSL 3.5: its headers, its libraries, and a loader that knows them.
build_daemon() {
	local dir=$1 lib=$1/usr/lib/x86_64-linux-gnu
	make -s O="$vm/openssl-3.5" SAN= CPPFLAGS="-I$dir/usr/include/x86_64-linux-gnu -I$dir/usr/include" \
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

# The guest's user space, the same for every kernel.
make_root() {
	local root=$vm/root ssl=$1 f
	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,etc,proc,root,run,sbin,sys,tmp,var/lib/nginx,var/log/nginx,usr/sbin}
	install -D -m 755 "$2" "$root/bin/busybox" || return 1
	for f in nginx curl bpftool; do
		install_program "$root" "$(command -v $f)" || return 1
	done
	for f in hardtackd hardtackctl; do
		install_program "$root" "$O/$f" "ht/3.0/$f" || return 1
		install -D -m 755 "$vm/openssl-3.5/$f" "$root/ht/3.5/$f" || return 1
	done
	mkdir -p "$root/$prefix"
	for f in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libcrypto.so.3 libssl.so.3 libzstd.so.1 \
		libz.so.1 libpthread.so.0 libdl.so.2; do
		cp -L "$ssl/usr/lib/x86_64-linux-gnu/$f" "$root/$prefix/" || return 1
	done
	for f in bpf bpf-weak e2e; do
		install_program "$root" "$O/tests/$f" "ht/tests/$f" || return 1
	done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' \
		>"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
	cp -L /etc/nginx/mime.types "$root/etc/" 2>/dev/null
	install -m 755 tests/vm/init.sh "$root/init"
	ln -s /bin/busybox "$root/sbin/modprobe"
	plan >"$root/ht/plan"
}

# TLS and the ciphers, with what modprobe needs to find them.
make_modules() {
	local from release to=$out/modules f
	from=$(echo "$1"/usr/lib/modules/* "$1"/lib/modules/*)
	for f in $from; do
		[ ! -d "$f/kernel" ] || from=$f
	done
	release=$(basename "$from")
	rm -rf "$to"
	mkdir -p "$to/lib/modules/$release"
	(cd "$from" && find kernel/net/tls kernel/crypto kernel/lib/crypto kernel/arch/x86/crypto \
		kernel/lib/crc -name '*.ko*' 2>/dev/null | cpio --quiet -pdm "$OLDPWD/$to/lib/modules/$release")
	cp "$from"/modules.{builtin,order}* "$to/lib/modules/$release/" 2>/dev/null
	find "$to" -name '*.ko.xz' -exec xz -d {} +
	depmod -b "$to" "$release" 2>/dev/null && [ -n "$(find "$to" -name tls.ko)" ]
}

archive() { (cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | zstd -q -3; }

# The small suite for the other combinations: each direction and kind of body over TLS, judgements,
# a browser's login, certificates.
smoke='@(framing/uploads_by_length_tls|framing/downloads_chunked_tls|framing/slow_reader_slows_the_backend_tls'
smoke+='|limits/head_of_exactly_16384_bytes_tls|upgrade/websocket_echo_tls|curl/login_and_back'
smoke+='|curl/upload_with_expect_and_chunks|tls/certificate_by_server_name)'

# With FILTER only the tests of that name, in every combination.
plan() {
	local openssl tls gate
	[ -n "${FULL:-}" ] || echo 'export HT_SCALE=small'
	echo 'export HT_KTLS=require HT_SLOW=1 HT_NETWORK=shared HT_ORIGINS=nginx'
	if [ -z "${FILTER:-}" ]; then
		echo 'part gate 3.5 1.3 require tests/bpf -j2; cp /tmp/out /tmp/insns'
		echo 'part weakened 3.5 1.3 require tests/bpf-weak -j2'
		echo 'part everything 3.5 1.3 require tests/e2e -j3'
	fi
	for openssl in 3.0 3.5; do
		for tls in 1.2 1.3; do
			for gate in require off; do
				[ -z "${FILTER:-}" ] && [ $openssl-$tls-$gate = 3.5-1.3-require ] && continue
				echo "part smoke $openssl $tls $gate tests/e2e -j3" \
					"--filter '${FILTER:+*}${FILTER:-$smoke}${FILTER:+*}'"
			done
		done
	done
}

# ---- one boot ----

# QEMU 7.2 breaks flags around cmpxchg16b: without it (and AVX, BMI) 6.x is safe. 7.x needs it for
# sk_storage; what then goes wrong is a false double fault, and that boot is tried again.
cpu() {
	case $1 in
	*/6.*) echo max,-cx16,-avx,-avx2,-bmi1,-bmi2 ;;
	*) echo max ;;
	esac
}

# boot VMLINUZ CPU LIMIT_S: 0 ended by itself, 1 out of time, 2 never came up. Watchdogs of the
# guest would measure this machine's load, nothing else.
boot() {
	local started=$SECONDS
	rm -f "$out"/{console.log,report.jsonl,kernel.log}
	qemu-system-x86_64 -accel tcg,thread=multi -cpu "$2" -smp 2 -m 2G -nodefaults -no-reboot \
		-display none -serial "file:$out/console.log" -serial "file:$out/report.jsonl" \
		-serial "file:$out/kernel.log" -kernel "$1" -initrd "$out/initrd" -append \
		'console=ttyS0 panic=-1 nosoftlockup nowatchdog log_buf_len=4M rcupdate.rcu_cpu_stall_suppress=1' \
		</dev/null >"$out/qemu.log" 2>&1 &
	qemu=$!
	while kill -0 "$qemu" 2>/dev/null; do
		sleep 1
		if [ $((SECONDS - started)) -gt "$3" ]; then
			kill "$qemu"
			wait "$qemu"
			qemu=
			return 1
		fi
		grep -q '^guest: up' "$out/console.log" 2>/dev/null && continue
		if [ $((SECONDS - started)) -gt 40 ] &&
			[ -z "$(find "$out/console.log" -newermt '-40 seconds' 2>/dev/null)" ]; then
			kill "$qemu"
			wait "$qemu"
			qemu=
			return 2
		fi
	done
	wait "$qemu"
	qemu=
	grep -q '"end":true' "$out/report.jsonl" 2>/dev/null && return 0
	! grep -q 'double fault' "$out/console.log" || return 2
	grep -q '^guest: up' "$out/console.log" || return 2
}

# ---- the verdict ----

passed=0 failed=0 skipped=0

# check WORDS CONDITION...
check() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "failed: $what"
	fi
}

judge_parts() {
	local part p f s openssl tls gate tx rx seconds rx_wanted
	while read -r part openssl tls gate p f s tx rx seconds; do
		printf '%-10s OpenSSL %s, TLS %s, gate %-7s %3d passed, %d failed, %d skipped, %3d s; kTLS tx %d, rx %d\n' \
			"$part" "$openssl" "$tls" "$gate:" "$p" "$f" "$s" "$seconds" "$tx" "$rx"
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
		case $part in gate | weakened) continue ;; esac
		check 'no connection with kTLS transmit' [ "$tx" -gt 0 ]
		rx_wanted=yes
		[ "$openssl-$tls" != 3.0-1.3 ] || rx_wanted=
		# The whole suite asks for other versions too.
		if [ -n "$rx_wanted" ]; then
			check 'no connection with kTLS receive' [ "$rx" -gt 0 ]
		elif [ "$part" = smoke ]; then
			check 'OpenSSL 3.0 has learnt to receive TLS 1.3 by kTLS' [ "$rx" = 0 ]
		fi
	done < <(jq -r 'select(.part) | "\(.part) \(.openssl) \(.tls) \(.gate) \(.passed) \(.failed)" +
		" \(.skipped) \(.tx) \(.rx) \(.seconds)"' "$out/report.jsonl")
}

# Nothing in the kernel's log may look like a bug, whether or not the guest lived to send it.
splats='WARNING:|BUG:|BUG |refcount_t|KASAN|UBSAN|Oops|general protection|Call Trace|Kernel panic|double fault'
splats+='|INFO: task|unregister_netdevice|page allocation failure|scheduling while atomic|possible circular'
kernel_log_clean() {
	! grep -ahE "$splats" "$out/kernel.log" <(grep -a '^\[ *[0-9]' "$out/console.log") |
		grep -v -e 'Unprivileged eBPF is enabled' | sort -u | head -n 20 | grep .
}

# One row for each OpenSSL, from all the kernels that ran in this tree.
table() {
	local report
	echo '| kernel | OpenSSL | TLS 1.2 tx / rx | TLS 1.3 tx / rx | gate | verdict instructions |'
	echo '|---|---|---|---|---|---|'
	for report in "$vm"/*/report.json; do
		jq -r '. as $r | $r.parts | group_by(.openssl)[] | . as $g |
			def word(v; n): [$g[] | select(.tls == v and (.part == "smoke" or .part == "everything")) | .[n]] |
				if length == 0 then "not run" elif add > 0 then "kernel" else "OpenSSL" end;
			def gate: [$g[] | select(.gate == "require")] |
				if all(.failed == 0) then "works" else "fails" end;
			"| \($r.kernel) | \($r.openssl[$g[0].openssl] // $g[0].openssl) | \(word("1.2"; "tx")) / \(word("1.2"; "rx"))" +
			" | \(word("1.3"; "tx")) / \(word("1.3"; "rx")) | \(gate) | \(if $r.insns > 0 then $r.insns else "not run" end) |"' "$report"
	done | sort -V
}

main() {
	local dir ssl busybox vmlinuz tries=0 status started=$SECONDS ran
	[ "$(uname -m)" = x86_64 ] || skip 'the virtual machines are for amd64'
	mkdir -p "$cache" "$out"
	exec 9>"$cache/lock"
	flock 9 # one guest at a time, and one apt
	dir=$(kernel_fetch "$kernel") || skip "kernel $kernel can't be fetched"
	ssl=$(openssl_fetch) || skip "OpenSSL 3.5 can't be fetched"
	busybox=$(busybox_fetch) || skip "busybox can't be fetched"
	build_daemon "$ssl" || fail 'the sources do not build against OpenSSL 3.5'
	make_root "$ssl" "$busybox" || fail 'the initramfs lacks something'
	make_modules "$dir" || fail 'the kernel package has no usable modules'
	archive "$vm/root" >"$out/initrd"
	archive "$out/modules" >>"$out/initrd"
	vmlinuz=$(find "$dir" -name 'vmlinuz*' -type f | head -n 1)
	[ -n "$vmlinuz" ] || fail 'the kernel package has no kernel'
	while :; do
		tries=$((tries + 1))
		boot "$vmlinuz" "$(cpu "/$(make_release)")" "${LIMIT:-$([ -n "${FULL:-}" ] && echo 5400 || echo 1500)}"
		status=$?
		if [ $status != 2 ] || [ $tries = 3 ]; then
			break
		fi
		echo "vm: boot $tries wedged or died of QEMU, trying again"
	done
	grep -a -e '^vm-failed: ' -e '^skipped: ' "$out/console.log"
	check 'the guest did not come to its end' [ $status = 0 ]
	judge_parts
	jq -s '{kernel: (map(.kernel // empty)[0]), insns: (map(.insns // empty)[0] // 0),
		openssl: (map(select(.runs_with) | {(.openssl): .runs_with}) | add),
		leaked_sockets: (map(.leaked_sockets // empty)[0]), parts: map(select(.part))}' \
		"$out/report.jsonl" >"$out/report.json" || failed=$((failed + 1))
	check "the kernel's log did not come back" [ -s "$out/kernel.log" ]
	check 'the kernel complained' kernel_log_clean
	ran=$(jq -r .kernel "$out/report.json")
	check 'sockets were leaked' [ "$(jq .leaked_sockets "$out/report.json")" = 0 ]
	table >"$vm/table.md"
	if [ $status != 0 ] || [ $failed != 0 ]; then
		tail -n 80 "$out/console.log"
	fi
	echo "kernel $ran ($(basename "$dir")): $((SECONDS - started)) s, $tries boot(s)," \
		"$(jq .insns "$out/report.json") verdict instructions"
	grep -F "| $ran |" "$vm/table.md"
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed = 0 ]
}

make_release() { basename "$(echo "$out"/modules/lib/modules/*)"; }

main
