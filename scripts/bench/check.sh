#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Does a contestant do the job at all (else it is not timed), and which attacks does it let through?
# Read in by bench.sh, after contestants.sh. Judges by what the backend received and the client got.
# shellcheck disable=SC2034,SC2154 # shares bench.sh's variables

good=0a1b2c3d4e5f6g7h8i9j0k1l
evil=evilevilevilevilevilevil

token_of() {
	printf '%s:127.0.0.1' "$1" | openssl dgst -sha256 -hmac "$(cat "$run/shop.key")" -binary | base64
}

# seen URL COOKIES: the Cookie field that the backend received.
seen() {
	curl -sk --max-time 5 -H "Cookie: $2" "$1/echo" | sed -n 's/^got\[\(.*\)\]$/\1/p'
}

urls_of() {
	[ -z "${plain_port[$1]}" ] || echo "http://127.0.0.1:${plain_port[$1]}"
	echo "https://127.0.0.1:${tls_port[$1]}"
}

# does_job NAME: sets `reason` if not.
does_job() {
	local url got token forged set sid
	token=$(token_of "$good") forged=$(token_of "$evil")
	for url in $(urls_of "$1"); do
		reason="$url: a page did not come through whole"
		curl -sk --max-time 5 "$url/100k" | cmp -s - "$run/www/100k" || return 1
		is_in "$1" "$same_job" || continue

		got=$(seen "$url" "a=1; sid=$good; sid_HMAC=$token; b=2")
		reason="$url: valid, but the backend saw: $got"
		[ "$got" = "a=1; sid=$good; sid_HMAC=$token; b=2" ] || return 1
		got=$(seen "$url" "a=1; sid=$good; sid_HMAC=$forged; b=2")
		reason="$url: a wrong token, and the backend saw: $got"
		[[ "$got" == a=1\;* && "$got" == *'b=2' && "$got" != *"$good"* ]] || return 1
		got=$(seen "$url" "a=1; sid=$evil; b=2")
		reason="$url: no token, and the backend saw: $got"
		[ "$got" = 'a=1; b=2' ] || return 1
		got=$(seen "$url" "a=1; b=2; sid=$evil")
		reason="$url: no token, and the backend saw: $got"
		[ "$got" = 'a=1; b=2' ] || return 1

		set=$(curl -sk --max-time 5 -D - -o "$run/answer" "$url/login" | tr -d '\r')
		sid=$(sed -nE 's/^[Ss]et-[Cc]ookie: sid=([^;]*).*/\1/p' <<<"$set")
		reason="$url: a login came back as: $(grep -i '^set-cookie' <<<"$set" | tr '\n' '|')"
		[ ${#sid} = 24 ] && grep -qiF "set-cookie: sid_HMAC=$(token_of "$sid");" <<<"$set" || return 1
	done
	reason=
}

# Cookie fields that carry a session nobody signed, by the ways that backends read them.
attacks=(
	'after the good one|sid=GOOD; sid_HMAC=TOKEN; sid=EVIL'
	'before the good one|sid=EVIL; sid=GOOD; sid_HMAC=TOKEN'
	'in quotes|x="1; sid=EVIL; y=2"'
	'beside SID in capitals|SID=GOOD; sid_HMAC=TOKEN; sid=EVIL'
	'with a blank before =|sid =EVIL'
)

# A cookie named sid whose value is EVIL, in what the backend got: blanks trimmed, case kept.
evil_in() {
	grep -oE '(^|;)[[:space:]"]*sid[[:space:]]*=[[:space:]]*[^;]*' <<<"$1" | grep -qF "$evil"
}

# attack NAME: lines "CASE|stopped" or "CASE|PASSES".
attack() {
	local url row got token
	token=$(token_of "$good")
	url=$(urls_of "$1" | head -n 1)
	for row in "${attacks[@]}"; do
		got=${row#*|}
		got=${got//GOOD/$good} got=${got//EVIL/$evil} got=${got//TOKEN/$token}
		got=$(seen "$url" "$got")
		evil_in "$got" && echo "${row%%|*}|PASSES" || echo "${row%%|*}|stopped"
	done
	[ "$(curl -sk --max-time 5 -D - -o "$run/answer" "$url/two" | grep -ci '^set-cookie: sid_HMAC=')" = 2 ] &&
		echo 'two Set-Cookie: sid, both signed|yes' || echo 'two Set-Cookie: sid, both signed|NO'
}
