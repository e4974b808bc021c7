#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs parts of the test suite one after the other, shows what each says, adds up their counts and
# ends with one line: N passed, N failed, N skipped. It fails when anything failed, and with CI set
# also when anything was skipped. It builds nothing: `make test` and its kin do that first.
#
# usage: [O=build] [FILTER=word] [KERNELS="6.1 newest"] [FULL=1] scripts/test.sh PART...
# parts: lint unit bpf e2e vm vm-short deb fuzz fuzz=SECONDS
# shellcheck disable=SC2317 # functions are called by name
set -u
cd "$(dirname "$0")/.." || exit 1
export O=${O:-build}
FILTER=${FILTER:-}
export FULL=${FULL:-}
counts='^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$'
passed=0 failed=0 skipped=0
failures=()
child=

work=$(mktemp -d)
mkfifo "$work/pipe"
finish() {
	[ -z "$child" ] || kill "$child" 2>/dev/null
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# run NAME TIMEOUT_S COMMAND...: the command ends with a line of counts. No such line, or a bad exit
# without a failure, is itself one failure.
run() {
	local name=$1 limit=$2 status tee i p f s started=$SECONDS
	shift 2
	printf '\n== %s\n' "$name"
	tee "$work/out" <"$work/pipe" &
	tee=$!
	timeout -k 10 "$limit" "$@" >"$work/pipe" 2>&1 &
	child=$!
	wait "$child"
	status=$?
	child=
	# Something that was left behind may keep the pipe open: that is no reason to wait for ever.
	for ((i = 0; i < 100; i++)); do
		kill -0 "$tee" 2>/dev/null || break
		sleep 0.05
	done
	kill "$tee" 2>/dev/null
	wait "$tee"
	read -r p f s < <(grep -E "$counts" "$work/out" | tail -n 1 | tr -dc '0-9 \n') || p=
	if [ -z "$p" ]; then
		echo "$name: ended with status $status and without counts"
		p=0 f=1 s=0
	elif [ "$status" != 0 ] && [ "$f" = 0 ]; then
		echo "$name: ended with status $status"
		f=1
	fi
	[ "$status" != 124 ] || echo "$name: took more than $limit s"
	printf '== %s: %d passed, %d failed, %d skipped, %d s\n' \
		"$name" "$p" "$f" "$s" $((SECONDS - started))
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	[ "$f" != 0 ] || return 0
	failures+=("$name")
	which_failed "$name" <"$work/out" >>"$work/failed"
}

# The failures of an output, each with what was said right before it: Criterion's own lines, or what
# a script calls FAILED. They are shown again at the end, where one looks first.
which_failed() {
	awk -v part="$1" '
	/^\[----\]/ { if (!/\[----\] *$/) said = said "    " substr($0, 8, 200) "\n"; next }
	/^\[(FAIL|ERR )\]/ { printf "%s: %s\n%s", part, $0, said; said = "" }
	/^(FAILED|failed:|not ok|lost:|SUMMARY:) / || /: failed; / { printf "%s: %s\n", part, $0; more = 2; next }
	more-- > 0 { print "    " substr($0, 1, 200) }
	' | head -n 60
}

# Criterion leaves skipped tests out of its summary and loses what a dying binary did not report, so
# the counts are taken from its TAP report and its plan.
criterion() {
	local tap=$work/tap status
	rm -f "$tap"
	"$@" --tap="$tap" ${FILTER:+--filter "*$FILTER*"}
	status=$?
	[ -s "$tap" ] || return 1
	awk '
	/^1\.\./ { plan = substr($1, 4) }
	/^ok - .*# SKIP/ { skipped++; sub(/^ok - /, ""); print "skipped: " $0; next }
	/^ok - / { passed++ }
	/^not ok - / { failed++ }
	END {
		lost = plan - passed - failed - skipped
		if (lost > 0) print "lost: " lost " tests of the plan were not reported"
		printf "%d passed, %d failed, %d skipped\n", passed, failed + lost, skipped
	}' "$tap"
	return "$status"
}

# One test per fuzzer. SECONDS are for all of them together, but at least 5 for each: new ground
# every time. Without them, each makes the same runs in every clone, so that the suite says the
# same of the same commit: a seed alone does not do it, for addresses that are compared and the
# speed of the machine steer libFuzzer too.
fuzz() {
	local seconds=${1:-} p=0 f=0 name each
	local -a fuzzers=() bound=(-runs=150000 -seed=1 -entropic=0 -use_cmp=0 -reload=0)
	for name in tests/fuzz/fuzz_*.c; do
		[ ! -e "$name" ] || fuzzers+=("$(basename "$name" .c)")
	done
	if [ ${#fuzzers[@]} = 0 ]; then
		echo 'there are no fuzzers yet'
		echo '0 passed, 0 failed, 0 skipped'
		return
	fi
	if [ -n "$seconds" ]; then
		each=$((seconds / ${#fuzzers[@]}))
		[ "$each" -ge 5 ] || each=5
		bound=(-max_total_time="$each")
	fi
	for name in "${fuzzers[@]}"; do
		local corpus=$O/fuzz/corpus/$name seeds=tests/fuzz/corpus/$name
		[ -n "$seconds" ] || corpus=$(mktemp -d "$work/corpus.XXXXXX")
		mkdir -p "$corpus"
		[ -d "$seeds" ] || seeds=
		# shellcheck disable=SC2086 # no word when there are no seeds
		if "$O/fuzz/tests/fuzz/$name" "${bound[@]}" -timeout=10 -rss_limit_mb=1024 \
			-max_len=20000 -artifact_prefix="$O/fuzz/$name-" "$corpus" $seeds \
			>"$work/fuzz" 2>&1; then
			p=$((p + 1))
			echo "$name: $(grep '^Done' "$work/fuzz")"
		else
			f=$((f + 1))
			tail -n 40 "$work/fuzz"
			echo "$name: failed; the input is in $O/fuzz/$name-*"
		fi
	done
	echo "$p passed, $f failed, 0 skipped"
	[ "$f" = 0 ]
}

# `make test SAN=...` has O=build/san: what is run there is sanitized already.
sanitized() { [ "$(basename "$O")" != san ] && [ -x "$O/san/tests/$1" ]; }
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export work FILTER
export -f criterion fuzz

# The same suite with the verdict in the kernel and in the daemon; what reached the backends must be
# the same bytes. Then once more sanitized. All three run every test: each request goes through the
# gate or its stand-in, so that leaving tests out would leave paths out; what belongs to the kernel alone
# returns at once where the gate is off (e2e_gate_only).
e2e() {
	local record=$O/e2e-record
	rm -rf "$record"
	mkdir -p "$record/require" "$record/off"
	HT_GATE=require HARDTACKD=$O/hardtackd HT_RECORD=$record/require \
		run 'e2e, gate required' 900 "$O/tests/e2e" ${FILTER:+--filter "*$FILTER*"}
	HT_GATE=off HARDTACKD=$O/hardtackd HT_RECORD=$record/off \
		run 'e2e, gate off' 900 "$O/tests/e2e" ${FILTER:+--filter "*$FILTER*"}
	run 'e2e, same bytes at the backends' 60 \
		tests/e2e/compare.sh "$record/require" "$record/off"
	if sanitized e2e; then
		HT_GATE=auto HARDTACKD=$O/san/hardtackd \
			run 'e2e, sanitized' 900 "$O/san/tests/e2e" ${FILTER:+--filter "*$FILTER*"}
	fi
}

# vm KERNELS: on Debian's kernels, one after the other; on those of KERNELS all that there is, on the
# others the gate's suite and a few cases. Each boot has a limit of its own (run.sh): three of them fit
# in here.
kernels=${KERNELS:-6.1 6.12 newest}
vm() {
	local kernel parts
	for kernel in $kernels; do
		parts='gate smoke'
		[[ " $1 " != *" $kernel "* ]] || parts=''
		PARTS=$parts run "vm, kernel $kernel" 22000 tests/vm/run.sh "$kernel"
	done
}

for part in "$@"; do
	case $part in
	lint) run lint 120 scripts/lint.sh ;;
	unit)
		run unit 300 bash -c 'criterion "$@"' -- "$O/tests/unit"
		! sanitized unit || run 'unit, sanitized' 300 bash -c 'criterion "$@"' -- \
			"$O/san/tests/unit"
		;;
	bpf)
		run bpf 300 bash -c 'criterion "$@"' -- "$O/tests/bpf" -j1
		run 'bpf, weakened' 300 bash -c 'criterion "$@"' -- "$O/tests/bpf-weak" -j1
		;;
	e2e) e2e ;;
	# Emulated, the whole end-to-end suite takes too long to run on the newest, too, every day.
	vm-short) vm "$([ -n "$FULL" ] && echo "$kernels" || echo 6.1 6.12)" ;;
	vm) vm "$kernels" ;;
	deb)
		run deb 120 scripts/dist/test-deb.sh
		run 'the service' 180 scripts/dist/test-service.sh
		;;
	fuzz) run fuzz 900 bash -c fuzz ;;
	fuzz=*) run fuzz $((${part#fuzz=} + 300)) bash -c "fuzz ${part#fuzz=}" ;;
	*)
		echo "test.sh: no such part: $part" >&2
		exit 2
		;;
	esac
done

echo
if [ ${#failures[@]} != 0 ]; then
	cat "$work/failed"
	printf 'failed: %s\n' "${failures[@]}"
fi
status=0
[ "$failed" = 0 ] || status=1
if [ -n "${CI:-}" ] && [ "$skipped" != 0 ]; then
	echo 'nothing may be skipped where CI is set'
	status=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit $status
