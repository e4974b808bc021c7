#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The virtual machine's only process of its own: sets up what the tests need, runs what /ht/plan
# says, reports on the second serial port, sends the kernel's log over the third, powers off.
# shellcheck shell=dash
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /tmp
mount -t tmpfs tmp /tmp
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debug /sys/kernel/debug
# Each time that another process runs, the emulator forgets which of its translations come next, and
# the kernel's turns are of a millisecond or two: a quarter of all time went into that. Not on 6.1:
# there, who is woken must come at once, or what sends to itself finds its buffer full.
sched=/sys/kernel/debug/sched
if [ -e $sched/base_slice_ns ]; then
	echo 24000000 >$sched/base_slice_ns
	echo NO_WAKEUP_PREEMPTION >$sched/features
else
	echo 24000000 >$sched/min_granularity_ns
fi
ln -sf /proc/self/fd /dev/fd
ip link set lo up
ulimit -n 65536
# Not by two tests at once: busybox's modprobe takes a module that another one is loading for loaded.
for module in tls veth bridge; do
	modprobe $module || echo "guest: no module $module"
done
# A machine with udev has loaded what its processor can do.
modprobe -a aesni_intel ghash_clmulni_intel 2>/dev/null
echo 1 >/proc/sys/net/core/bpf_jit_enable 2>/dev/null
counts='^[0-9]* passed, [0-9]* failed, [0-9]* skipped$'

report() { echo "$1" >/dev/ttyS1; }

now() { cut -d. -f1 /proc/uptime; }

# spent WORD: seconds of processor time so far; 2 in user space, 4 in the kernel, 5 idle.
spent() { awk -v n="$1" '$1 == "cpu" { print int($n / 100) }' /proc/stat; }

# said FILE PATTERN: what a line of that part's output says.
said() { sed -n "s/^$2.*/\\1/p" "/tmp/out.$1" 2>/dev/null | head -n 1; }

# kTLS as the kernel counts it: connections whose transmit, whose receive side it took over. Each
# start of a daemon tries it once, both ways.
tls_stat() { awk -v name="$1" '$1 == name { n = $2 } END { print n + 0 }' /proc/net/tls_stat; }

# Criterion loses what a dying binary did not report: its plan is the truth.
tap_counts() {
	awk '/^1\.\./ { plan = substr($1, 4) }
	/^ok - .*# SKIP/ { s++; next }
	/^ok - / { p++ }
	/^not ok - / { f++; print "vm-failed: " substr($0, 10) >"/dev/stderr" }
	END {
		lost = plan - p - f - s
		printf "%d passed, %d failed, %d skipped\n", p, f + (plan ? lost : 1), s
	}' "$1"
}

# part NAME OPENSSL TLS GATE PROGRAM ARGUMENT...
part() {
	local name=$1 openssl=$2 tls=$3 gate=$4 started user system tx rx status line p f s starts
	shift 4
	echo "guest: part $name, OpenSSL $openssl, TLS $tls, gate $gate"
	started=$(now) user=$(spent 2) system=$(spent 4)
	echo "tls-max = $tls" >"$HOME/.curlrc"
	tx=$(tls_stat TlsTxSw) rx=$(tls_stat TlsRxSw)
	rm -f /tmp/tap
	{
		HT_GATE=$gate HT_TLS=$tls HARDTACKD=/ht/$openssl/hardtackd "$@" --verbose=1 \
			--tap=/tmp/tap
		echo $? >/tmp/status
	} 2>&1 | tee /tmp/out | awk '!/: Test is disabled$/ { print; fflush() }'
	cp /tmp/out "/tmp/out.$name"
	status=$(cat /tmp/status)
	line=$(tap_counts /tmp/tap)
	# The suite that notes its own skips knows better.
	! grep -q "$counts" /tmp/out || line=$(grep "$counts" /tmp/out | tail -n 1)
	p=${line%% passed*} f=${line#*, } s=${line##*, }
	f=${f%% *} s=${s%% *}
	[ "$status" = 0 ] || [ "$f" != 0 ] || f=1
	starts=$(said "$name" 'starts: \([0-9]*\)')
	tx=$((tx + ${starts:-0})) rx=$((rx + ${starts:-0}))
	report "{\"part\":\"$name\",\"openssl\":\"$openssl\",\"tls\":\"$tls\",\"gate\":\"$gate\",\
\"passed\":$p,\"failed\":$f,\"skipped\":$s,\"status\":$status,\
\"tx\":$(($(tls_stat TlsTxSw) - tx)),\"rx\":$(($(tls_stat TlsRxSw) - rx)),\
\"tx_device\":$(tls_stat TlsTxDevice),\"seconds\":$(($(now) - started)),\
\"user_seconds\":$(($(spent 2) - user)),\"system_seconds\":$(($(spent 4) - system))}"
}

echo "guest: up, $(uname -r)"
report "{\"kernel\":\"$(uname -r)\",\"boot_seconds\":$(now)}"
cd /ht || poweroff -f
for d in 3.0 3.5; do
	report "{\"openssl\":\"$d\",\"runs_with\":\"$("/ht/$d/hardtackd" --version 2>&1 |
		grep -io 'openssl [0-9][^ ,;)]*' | head -n 1)\"}"
done
# shellcheck source=/dev/null
. /ht/plan
insns=$(said gate 'cost: verdict program, \([0-9]*\) ')
own=$(said gate 'cost: verdict program, [0-9]* translated instructions of \([0-9]*\)')
report "{\"insns\":${insns:-0},\"own_insns\":${own:-0},\"broken_gate\":\"$(said gate 'stack: \(.*\)')\"}"

# What verified.c has kept for processes that might yet have come is nobody's.
report "{\"gates_verified\":$(find /sys/fs/bpf/verified -name '*-*' 2>/dev/null | wc -l)}"
rm -rf /sys/fs/bpf/verified
# What is left when everything has ended: connections that somebody should have closed, kTLS
# contexts, programs and maps.
cat /proc/net/tls_stat
left() { awk 'NR > 1 && ($4 == "01" || $4 == "02" || $4 == "03" || $4 == "08")' /proc/net/tcp /proc/net/tcp6; }
left_bpf() { { bpftool prog show; bpftool map show; } | grep '^[0-9]'; }
i=0
while [ $i -lt 20 ] && [ "$(left; left_bpf)" ]; do
	sleep 0.5
	i=$((i + 1))
done
ls -A /sys/fs/bpf
left
left_bpf
report "{\"leaked_sockets\":$(left | wc -l),\"leaked_bpf\":$(left_bpf | wc -l),\
\"leaked_tls\":$(($(tls_stat TlsCurrTxSw) + $(tls_stat TlsCurrRxSw))),\
\"tls_errors\":$(tls_stat TlsDecryptError)}"
report '{"end":true}'
dmesg >/dev/ttyS2
sync
poweroff -f
