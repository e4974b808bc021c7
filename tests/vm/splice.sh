#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# From which size on a body is worth a pipe: what HT_SPLICE_MIN (user/splice.h) is set by. Counts the
# instructions of the whole machine for an answer that is spliced and for one that is copied, in a
# virtual machine whose clock counts them (QEMU's -icount), plain and with kTLS. Judges nothing.
#
# usage: [O=build] [KERNEL=6.12] tests/vm/splice.sh		after make tests
# shellcheck disable=SC2034 # most of it is lib.sh's
set -u
cd "$(dirname "$0")/../.." || exit 1
export PATH=$PATH:/usr/sbin:/sbin
O=${O:-build}
kernel=${KERNEL:-6.12}
out=$O/vm/splice
# shellcheck source=SCRIPTDIR/lib.sh
. tests/vm/lib.sh
machine=(-accel 'tcg,thread=single' -icount 'shift=0,sleep=off' -smp 1 -m 2G)
programs=e2e
# An emulated "rep movsb" counts once for each byte: without it eight at a time are copied.
cpu_model() { echo max,-smap,-smep,-avx,-avx2,-bmi1,-bmi2,-erms,-fsrm; }

plan() {
	echo 'export HT_SPLICE_COST=1 HT_KTLS=require HT_SLOW=1 HT_NETWORK=shared'
	echo "part splice splice 1.3 require tests/e2e -j1 --filter splice/cost_by_size"
}

# A daemon that splices whatever the size.
own_files() { install -D -m 755 "$vm/splice/hardtackd" "$1/ht/splice/hardtackd"; }

make -s -j"$(nproc)" O="$vm/splice" SAN= CPPFLAGS=-DHT_SPLICE_MIN=1 all || exit 1
guest_prepare "$kernel" || {
	echo "splice.sh: $why" >&2
	exit 1
}
guest_run "${LIMIT:-1800}"
grep -a '^splice: ' "$out/console.log"
[ "$status" = 0 ] && jq -e 'select(.part) | .passed == 1 and .tx > 0' "$out/report.jsonl" >/dev/null
