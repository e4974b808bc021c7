// SPDX-License-Identifier: Apache-2.0
// The job of the benchmark in njs (see guard.lua). For the contestant njs only.
// The key is put in when it is started: the file would be read once for every request.
import crypto from 'crypto';

var key = '@key@';

function token(sid, address) {
	return crypto.createHmac('sha256', key).update(sid + ':' + address).digest('base64');
}

function cookie(r) {
	var sid = r.variables.cookie_sid;

	if (!sid || r.variables.cookie_sid_HMAC == token(sid, r.remoteAddress)) {
		return r.variables.http_cookie;
	}
	return r.variables.http_cookie.split(/;\s*/).filter((p) => !p.startsWith('sid=')).join('; ');
}

function response(r) {
	var set = r.headersOut['Set-Cookie'];

	if (!set) {
		return;
	}
	var out = [];
	set.forEach((line) => {
		var m = line.match(/^sid=([^;]+)/);
		out.push(line);
		if (m) {
			out.push('sid_HMAC=' + token(m[1], r.remoteAddress) + '; HttpOnly; Secure; Path=/');
		}
	});
	r.headersOut['Set-Cookie'] = out;
}

export default { cookie, response };
