#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# compare.sh REQUIRE_DIR OFF_DIR: what the backends saw with the gate and without it must be the
# same bytes. Prints one line per difference, then how many recordings passed and failed; exit 1
# if any differs. Starts nothing and removes nothing.
set -u
if [ $# -ne 2 ] || [ ! -d "$1" ] || [ ! -d "$2" ]; then
	echo "usage: compare.sh DIR_WITH_GATE DIR_WITHOUT" >&2
	exit 2
fi
passed=0
failed=0
for name in $( (ls "$1"; ls "$2") | sort -u); do
	if [ ! -f "$1/$name" ] || [ ! -f "$2/$name" ]; then
		echo "compare: $name: recorded in one run only"
		failed=$((failed + 1))
	elif cmp -s "$1/$name" "$2/$name"; then
		passed=$((passed + 1))
	else
		where=$(cmp "$1/$name" "$2/$name" 2>&1 | sed 's/.*differ: //')
		echo "compare: $name: bytes at the backend differ ($where)"
		failed=$((failed + 1))
	fi
done
if [ $((passed + failed)) -eq 0 ] && [ -z "${FILTER:-}" ]; then
	echo "compare: nothing was recorded"
	failed=1
fi
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
