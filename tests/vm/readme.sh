#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Puts the table that `make test-vm` made into README.md, between its two markers; changes nothing
# else, and nothing at all unless every kernel's whole plan was run.
#
# usage: [O=build] tests/vm/readme.sh
set -eu
cd "$(dirname "$0")/../.."
table=${O:-build}/vm/table.md
[ -s "$table" ] || {
	echo "readme.sh: no $table: make test-vm first" >&2
	exit 1
}
! grep -q 'not run' "$table" || {
	echo "readme.sh: something in $table was not run: make test-vm once, without FILTER and PARTS" >&2
	exit 1
}
grep -q '^<!-- test-vm' README.md && grep -q '^<!-- /test-vm' README.md
awk -v table="$table" '
	/^<!-- \/test-vm/ { inside = 0 }
	!inside
	/^<!-- test-vm/ {
		inside = 1
		while ((getline line < table) > 0)
			print line
	}' README.md >README.md.new
cat README.md.new >README.md
rm README.md.new
