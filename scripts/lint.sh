#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The rules about the source that a compiler does not know: who may include what, licences, sizes,
# formatting. Each rule is one test; what breaks it is printed as FILE:LINE: REASON. Changes nothing.
# shellcheck disable=SC2317 # rules are called by name
set -u
cd "$(dirname "$0")/.." || exit 1
PATH=$PATH:/usr/sbin

passed=0 failed=0 skipped=0

# rule TITLE FUNCTION: the function prints what breaks the rule, and nothing if all is well.
rule() {
	local broken
	broken=$("$2")
	if [ -z "$broken" ]; then
		passed=$((passed + 1))
		echo "ok      $1"
	else
		failed=$((failed + 1))
		echo "FAILED  $1"
		printf '%s\n' "$broken"
	fi
}

skip() {
	skipped=$((skipped + 1))
	echo "skipped $1"
}

sources() { find bpf user include tests scripts Makefile .ci -type f \
	-not -name 'LICENSE*' -not -path 'tests/fuzz/corpus/*' | sort; }
c_files() { find user bpf include tests -name '*.[ch]' | sort; }

# includes PATTERN REASON FILE...: complains about files of the list that include what matches.
includes() {
	local pattern=$1 reason=$2
	shift 2
	[ $# = 0 ] || grep -HnE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($pattern)[>\"]" "$@" |
		sed -E "s|^([^:]*:[0-9]+):[[:space:]]*(.*)|\1: \2: $reason|"
}

# user_except NAME...: the files of user/ without those named.
user_except() {
	local f
	for f in user/*.[ch]; do
		[[ " $* " == *" ${f#user/} "* ]] || echo "$f"
	done
}

# ---- who may include what ----

# shellcheck disable=SC2046 # file names without blanks, here and below
libbpf_in_offload() {
	includes 'bpf/.*|.*\.skel\.h' \
		'only offload.c, offload_cache.c and guard_{xdp,share} talk to BPF (and log.c hooks its messages)' \
		$(user_except offload.c offload_cache.c guard_xdp.c guard_share.c guard_share.h log.c)
	includes 'xdp/.*' 'only guard_share.c knows libxdp' $(user_except guard_share.c)
	includes '.*\.skel\.h' 'only offload.c and guard_{xdp,share}.c load programs' user/log.c user/offload_cache.c
}

# shellcheck disable=SC2046
openssl_in_tls() {
	includes 'openssl/ssl\.h' 'only the files of tls know OpenSSL connections' \
		$(user_except tls_ctx.h tls_peer.c)
	includes 'tls_(ctx|socket)\.h' 'only the files of tls know its inside' \
		$(user_except tls.c tls_ctx.c tls_socket.c)
}

# shellcheck disable=SC2046
nghttp2_in_h2() {
	includes 'nghttp2/.*' 'only h2.c speaks HTTP/2' $(user_except h2.c)
}

# shellcheck disable=SC2046
maxminddb_in_geoip() {
	includes 'maxminddb\.h' 'only geoip.c looks up countries' $(user_except geoip.c)
}

# shellcheck disable=SC2046
memcached_in_fleet() {
	includes 'libmemcached.*' 'only fleet.c asks memcached' $(user_except fleet.c)
}

# What each layer must not include from above itself: the list of README.md, but that stats counts
# what policy and offload have names for.
layers() {
	local -A level=([util]=1 [log]=1 [creds]=1 [mac]=1
		[policy]=2 [token]=2 [binding]=2 [http]=2 [chunked]=2 [setcookie]=2 [balance]=2 [proxy]=2 [ticket]=2
		[config]=3 [ring]=3 [fleet]=3 [geoip]=3 [keyring]=3 [stats]=3 [tls]=3 [upstream]=3 [health]=3 [offload]=3 [guard]=3 [score]=2 [buf]=3 [splice]=3 [loop]=3 [stats]=3
		[revoked]=2 [explain]=3 [keep]=3 [gateway]=4 [conn]=4 [h1]=4 [h2]=4
		[worker]=5 [ctl]=5 [main]=6 [hardtackctl]=6)
	# Headers whose structs the lower layers take as input.
	local types='config keyring policy'
	local f name line header ours theirs
	for f in user/*.[ch]; do
		name=$(basename "${f%.*}")
		name=${name%%_*} # config_yaml.h is part of config
		ours=${level[$name]:-}
		if [ -z "$ours" ]; then
			echo "$f:1: module $name stands in no layer: give it one in scripts/lint.sh"
			continue
		fi
		while IFS=: read -r line header; do
			theirs=${level[$header]:-0}
			[ "$theirs" -gt "$ours" ] || continue
			[[ " $types " == *" $header "* ]] && [ "$ours" -le 2 ] && continue
			echo "$f:$line: $name must not include $header.h: it is of a higher layer"
		done < <(sed -nE 's|^[[:space:]]*#[[:space:]]*include[[:space:]]*"([a-z0-9_]+)\.h".*|\1|;T;=;p' \
			"$f" | paste -d: - -)
	done
}

pure_modules() {
	local f files=()
	for f in user/{policy,revoked,score,token,mac,binding,http,chunked,setcookie,proxy}{,_*}.[ch]; do
		[ ! -e "$f" ] || files+=("$f")
	done
	includes '(log|stats|offload|upstream|tls|conn|worker|ctl)\.h' 'a pure module' "${files[@]}"
	includes 'sys/epoll\.h|syslog\.h|bpf/.*' 'a pure module' "${files[@]}"
	grep -HnE '\b(time|clock_gettime|gettimeofday|socket|connect|send|recv|printf|fprintf) ?\(' \
		"${files[@]}" | grep -vE ':[[:space:]]*(\*|/\*|//)' |
		sed -E 's|^([^:]*:[0-9]+):[[:space:]]*(.*)|\1: \2: a pure module|'
}

bpf_includes() {
	includes '.*' 'bpf/ may include abi.h, guard_abi.h, words.h, head.h, cut.h, its own .bpf.h and the system' bpf/*.[ch] |
		grep -E 'include[[:space:]]*"' |
		grep -vE 'include[[:space:]]*"(abi\.h|guard_abi\.h|words\.h|head\.h|cut\.h|[a-z]+\.bpf\.h|\.\./tests/bpf/weak\.h)"'
	includes '.*' 'include/ may include itself and <linux/...>' include/*.h |
		grep -vE 'include[[:space:]]*("(abi|words|head)\.h"|<(linux/[a-z_]+|stdbool|stddef|stdint|bpf/bpf_helpers|string)\.h>)'
}

kernel_types() {
	grep -HnE '\b__u(8|16|32|64)\b' user/*.[ch] |
		sed -E 's|^([^:]*:[0-9]+):.*|\1: __uN belongs to bpf/ and include/; here it is uintN_t|'
	grep -HnE '\buint(8|16|32|64)_t\b' bpf/*.[ch] include/*.h |
		sed -E 's|^([^:]*:[0-9]+):.*|\1: uintN_t belongs to user/; here it is __uN|'
}

# ---- every file ----

licences() {
	local f want
	while read -r f; do
		case $f in
		*.json | *.md | *.txt) continue ;; # no comments there, or prose
		bpf/* | include/* | tests/bpf/weak.h | tests/bpf/*.bpf.c) want='GPL-2.0-only OR Apache-2.0' ;;
		*) want='Apache-2.0' ;;
		esac
		head -n 3 "$f" | grep -qE "SPDX-License-Identifier: $want( \*/)?\$" ||
			echo "$f:1: SPDX-License-Identifier: $want is missing"
	done < <(sources)
	for f in LICENSE bpf/LICENSE.GPL-2.0; do
		[ -s "$f" ] || echo "$f:1: the text of the licence is missing"
	done
}

purposes() {
	local f
	while read -r f; do
		case $f in
		*.c | *.h) sed -n '2,3p' "$f" | grep -q '^/\*' ||
			echo "$f:2: a paragraph on what the file is for must follow the licence" ;;
		*.sh) sed -n '3p' "$f" | grep -q '^# .' ||
			echo "$f:3: a paragraph on what the file is for must follow the licence" ;;
		esac
	done < <(sources)
}

sizes() {
	local f lines
	while read -r f; do
		lines=$(wc -l <"$f")
		[ "$lines" -le 1000 ] || echo "$f:1000: $lines lines: split it"
	done < <(sources)
}

# shellcheck disable=SC2046
no_typedefs() {
	grep -HnE '^[[:space:]]*typedef[[:space:]]+(struct|union|enum)\b' $(c_files) |
		sed -E 's|^([^:]*:[0-9]+):.*|\1: no typedef for structs, unions or enums|'
}

# What works on one machine only, and what was left for later.
portable() {
	local f
	while read -r f; do
		[ "$f" != scripts/lint.sh ] || continue
		grep -HnE '(^|[^A-Za-z0-9_.$}/-])/(work|root|home|Users)/' "$f" |
			sed -E 's|^([^:]*:[0-9]+):.*|\1: a path of one machine|'
		grep -HnE '\b(XXX|FIXME|TODO)\b' "$f" | sed -E 's|^([^:]*:[0-9]+):.*|\1: unfinished|'
	done < <(
		sources
		echo README.md
	)
}

blanks() {
	local f
	while read -r f; do
		grep -HnE '[[:blank:]]+$' "$f" | sed -E 's|^([^:]*:[0-9]+):.*|\1: blanks at the end|'
		[ -z "$(tail -c 1 "$f")" ] || echo "$f:$(wc -l <"$f"): no newline at the end"
	done < <(
		sources
		echo README.md
	)
}

top_level() {
	local f
	for f in $(git ls-files --cached --others --exclude-standard 2>/dev/null | cut -d/ -f1 | sort -u); do
		case $f in
		bpf | user | include | tests | scripts | Makefile | README.md | LICENSE) ;;
		.ci | .gitignore | .clang-format | .editorconfig) ;;
		*) echo "$f:1: does not belong at the top" ;;
		esac
	done
}

# shellcheck disable=SC2046
formatted() {
	clang-format --dry-run -Werror $(c_files) 2>&1 |
		sed -nE 's/^([^ ]*):[0-9]+: error: .*/\1: clang-format would change it (make format)/p' |
		sort -t: -k1,1 -k2,2n -u | awk -F: '++seen[$1] <= 3'
}

scripts_checked() {
	local f
	for f in $(find scripts tests .ci -name '*.sh' -o -path '.ci/run' -o -name 'deb.p*' | sort); do
		bash -n "$f" 2>&1
		[ -x "$f" ] || echo "$f:1: not executable"
		shellcheck -x -f gcc "$f"
	done
}

# Every name of the configuration stands in its manual page.
names_documented() {
	local name page=scripts/dist/hardtack.yaml.5
	while read -r name; do
		grep -E '^\.(Ss|It|Cm|Li) ' $page | grep -qE " $name(:| |,|\$)" ||
			echo "$page:1: $name is missing"
	done < <(
		sed -nE 's/.*HT_(FIELD|WHOLE|UNBUILT)\("([a-z-]+)".*/\2/p' user/config*.c
		grep -ohE 'TIMEOUT\([a-z]+\),' user/config.c | sed 's/.*(//; s/).*//'
	)
}

man_pages() {
	local f
	for f in scripts/dist/*.[1-8]; do
		mandoc -T lint -W warning "$f" 2>&1 | sed 's/^mandoc: //'
	done
}

# The programs that it names need not be installed.
unit_file() {
	local dir
	dir=$(mktemp -d)
	sed -E 's|^(Exec[A-Za-z]*)=[^ ]*|\1=/bin/true|' scripts/dist/hardtack.service >"$dir/hardtack.service"
	systemd-analyze verify --man=no "$dir/hardtack.service" 2>&1 |
		grep -F hardtack.service | sed "s|$dir|scripts/dist|"
	rm -rf "$dir"
}

rule 'libbpf and the skeletons only in offload.c and guard_xdp.c' libbpf_in_offload
rule '<openssl/ssl.h> only in the files of tls' openssl_in_tls
rule '<nghttp2/...> only in h2.c' nghttp2_in_h2
rule '<maxminddb.h> only in geoip.c' maxminddb_in_geoip
rule '<libmemcached/...> only in fleet.c' memcached_in_fleet
rule 'modules include downwards only' layers
rule 'pure modules have no sockets, clock or log' pure_modules
rule 'bpf/ and include/ include nothing of the daemon' bpf_includes
rule '__uN in bpf/ and include/, uintN_t in user/' kernel_types
rule 'every file names its licence' licences
rule 'every file says what it is for' purposes
rule 'no file over 1000 lines' sizes
rule 'no typedef for structs' no_typedefs
rule 'no paths of one machine, nothing unfinished' portable
rule 'no blanks at line ends, a newline at the end' blanks
rule 'nothing unexpected at the top of the tree' top_level
if command -v clang-format >/dev/null; then
	rule 'clang-format' formatted
else
	skip 'clang-format: not installed'
fi
if command -v shellcheck >/dev/null; then
	rule 'shellcheck' scripts_checked
else
	skip 'shellcheck: not installed'
fi
rule 'every name of the configuration is in its manual page' names_documented
if command -v mandoc >/dev/null; then
	rule 'manual pages' man_pages
else
	skip 'manual pages: mandoc is not installed'
fi
if command -v systemd-analyze >/dev/null; then
	rule 'the systemd unit' unit_file
else
	skip 'the systemd unit: systemd-analyze is not installed'
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
