/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what is believed of a client's address: the PROXY header (a header is complete at one
 * length only, and nothing behind it matters), prefixes, and the walk through X-Forwarded-For and
 * Forwarded (never further than the first address that is not trusted). The first byte chooses.
 */
#include <arpa/inet.h>

#include "proxy.h"
#include "fuzz.h"

/* Parses a copy of exactly that size, so that a sanitizer sees a byte too far. */
static int parse(const uint8_t *in, size_t len, struct ht_proxy *ret)
{
	char *exact = malloc(len ? len : 1);
	const char *why = NULL;
	int r;

	ENSURE(exact);
	if (len)
		memcpy(exact, in, len);
	r = ht_proxy_parse(exact, len, ret, &why);
	ENSURE(r == 1 || !r || (r == -EPROTO && why));
	free(exact);
	return r;
}

static void fuzz_header(const uint8_t *in, size_t len)
{
	static struct ht_proxy whole, part;
	int r = parse(in, len, &whole), before = 0;

	ENSURE(r || len < HT_PROXY_V2_MAX);
	if (r == 1) {
		ENSURE(whole.len <= len);
		ENSURE(whole.len <= (whole.version == 1 ? HT_PROXY_V1_MAX : HT_PROXY_V2_MAX));
		ENSURE((whole.kind == HT_PROXY_ADDRESSES) == !!whole.source.ss_family);
		ENSURE(whole.source.ss_family == whole.destination.ss_family);
	}
	/* what was decided about some bytes holds with more of them */
	for (size_t n = 0; n <= len && n < 600; n++) {
		int got = parse(in, n, &part);

		ENSURE(!before || got == before);
		ENSURE(got != 1 || (r == 1 && !memcmp(&part, &whole, sizeof(part))));
		ENSURE(r != 1 || got == (n >= whole.len));
		before = got;
	}
	ENSURE(len >= 600 || before == r);
}

static void fuzz_prefix(const char *in, size_t len)
{
	struct ht_prefix p;
	const char *why = NULL;
	struct sockaddr_storage a = {0};

	if (ht_prefix_parse((struct ht_str){in, len}, &p, &why)) {
		ENSURE(why);
		return;
	}
	ENSURE(p.bits <= (p.family == AF_INET ? 32 : 128));
	a.ss_family = p.family;
	if (p.family == AF_INET)
		memcpy(&((struct sockaddr_in *)&a)->sin_addr, p.addr, 4);
	else
		memcpy(&((struct sockaddr_in6 *)&a)->sin6_addr, p.addr, 16);
	ENSURE(ht_prefix_match(&p, 1, &a));
	if (!p.bits)
		return;
	p.addr[(p.bits - 1) / 8] ^= 0x80 >> (p.bits - 1) % 8;
	ENSURE(!ht_prefix_match(&p, 1, &a));
}

/* Lines: up to four X-Forwarded-For, then ('|' first) Forwarded. */
static void fuzz_client(const char *in, size_t len)
{
	static const struct ht_prefix trusted = {AF_INET, 8, {10}};
	struct sockaddr_storage peer = {.ss_family = AF_INET}, client;
	struct ht_str x[4], f[4];
	struct ht_forwarded xs = {x, 0}, fs = {f, 0};
	const char *end = in + len, *p, *nl;

	inet_pton(AF_INET, "10.0.0.1", &((struct sockaddr_in *)&peer)->sin_addr);
	for (p = in; p < end; p = nl + 1) {
		nl = memchr(p, '\n', end - p);
		if (!nl)
			nl = end;
		if (*p == '|' && fs.n < 4)
			f[fs.n++] = (struct ht_str){p + 1, nl - p - 1};
		else if (*p != '|' && xs.n < 4)
			x[xs.n++] = (struct ht_str){p, nl - p};
	}
	ht_proxy_client(&peer, &trusted, 1, &xs, &fs, &client);
	ENSURE(client.ss_family == AF_INET || client.ss_family == AF_INET6);
	if (!xs.n && !fs.n)
		ENSURE(!memcmp(&client, &peer, sizeof(client)));
	/* who is not trusted is not listened to */
	inet_pton(AF_INET, "192.0.2.1", &((struct sockaddr_in *)&peer)->sin_addr);
	ENSURE(ht_proxy_client(&peer, &trusted, 1, &xs, &fs, &client));
	ENSURE(!memcmp(&client, &peer, sizeof(client)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (*data == 'p')
		fuzz_prefix((const char *)data + 1, size - 1);
	else if (*data == 'f')
		fuzz_client((const char *)data + 1, size - 1);
	else
		fuzz_header(data, size);
	return 0;
}
