/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: what each key becomes, and for each mistake its place and what is said about
 * it. Certificates and keys are made here, in a temporary directory.
 */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include "abi.h"
#include "config_text.h"

TestSuite(config);

#define KEYS "keys: [{ name: shop, file: shop.key }]\n"
#define LISTEN "listeners: [{ address: 127.0.0.1:8080 }]\n"
#define SITES "sites: [{ hosts: [\"*\"], upstreams: [127.0.0.1:9000] }]\n"
/* One rule per line, from line 6 on; `- {` is in column 7. */
#define RULES                                                                                      \
	KEYS LISTEN "sites:\n"                                                                     \
		    "  - { hosts: [\"*\"], upstreams: [127.0.0.1:9000],\n"                         \
		    "      cookies: [\n"
#define END " ] }\n"
#define F5 "profile: f5-irule, key: shop, bind: [client-ip]"
#define MTLS                                                                                       \
	KEYS "listeners: [{ address: 127.0.0.1:8443, tls: { certificates: [{ certificate: a, "     \
	     "key: b }], client-ca: ca.pem } }]\n"

#define LONG8 "aaaaaaaa"
#define LONG96 LONG8 LONG8 LONG8 LONG8 LONG8 LONG8 LONG8 LONG8 LONG8 LONG8 LONG8 LONG8

/* ---- what is right ---- */

static const char full[] =
	"listeners:\n"
	"  - address: 0.0.0.0:443\n"
	"    tls:\n"
	"      certificates:\n"
	"        - { certificate: edge.pem, key: /keys/edge.key }\n"
	"        - { certificate: two.pem, key: two.key }\n"
	"      min-version: \"1.3\"\n"
	"      client-ca: clients.pem\n"
	"      client-certificate: required\n"
	"    proxy-protocol: off\n"
	"  - address: \"[::1]:8080\"\n"
	"  - address: unix:run/edge.sock\n"
	"trusted-proxies: []\n"
	"sites:\n"
	"  - hosts: [Shop.Example.com, \"*.shop.example.com\", \"[::1]\"]\n"
	"    upstreams: [127.0.0.1:9000, \"[2001:db8::1]:9001\", unix:/run/app.sock, "
	"app.internal:80]\n"
	"    balance: round-robin\n"
	"    exempt: []\n"
	"    cookies:\n"
	"      - name: ASP.NET_SessionId\n"
	"        profile: f5-irule\n"
	"        accept: [f5-irule]\n"
	"        key: second\n"
	"        bind: [client-ip/24,64, x509-subject]\n"
	"        on-empty: strip\n"
	"        mode: report\n"
	"        sibling: tok\n"
	"        sibling-attributes: copy\n"
	"        expire-stripped: false\n"
	"      - { name: sid, profile: f5-irule, key: shop, bind: [\"client-ip/16,48\"] }\n"
	"  - hosts: [\"*\"]\n"
	"    upstreams: [127.0.0.1:9009]\n"
	"keys:\n"
	"  - { name: shop, file: shop.key }\n"
	"  - { name: second, file: /keys/second.key }\n"
	"limits: { head: 8K, body: 10M, connections: 500, covered-cookies: 8 }\n"
	"timeouts: { handshake: 1s, head: 500ms, body: 2m, idle: 1h, connect: 1d, response: 7s, "
	"drain: 8s }\n"
	"tokens: { max: 5000, sealed-max: 0, flush-every: 12h }\n"
	"gate: \"off\"\n"
	"ktls: off\n"
	"bpf: { pin: /sys/fs/bpf/two, cgroup: /sys/fs/cgroup/x }\n"
	"workers: 3\n"
	"guard: { interface: eth0, mode: off, allow: [192.0.2.1], forged: 5, per: 10m, ban: 60s }\n"
	"access-log: { format: combined, to: logs/access.log }\n"
	"control: control.sock\n"
	"admin: 127.0.0.1:9144\n"
	"user: nobody\n";

Test(config, listeners)
{
	struct ht_config *c = parse_ok(full);
	const struct ht_tls_config *tls = c->listeners[0].tls;

	cr_assert_eq(c->nlisteners, 3);
	cr_expect_eq(c->listeners[0].addr.in.sin_family, AF_INET);
	cr_expect_eq(ntohs(c->listeners[0].addr.in.sin_port), 443);
	cr_expect_str_eq(c->listeners[0].addr.text, "0.0.0.0:443");
	cr_expect_eq(c->listeners[0].line, 2);
	cr_expect_eq(c->listeners[0].col, 5);
	cr_assert(tls);
	cr_expect_eq(tls->ncerts, 2);
	cr_expect_str_eq(tls->certs[0].certificate, "/etc/hardtack/edge.pem");
	cr_expect_str_eq(tls->certs[0].key, "/keys/edge.key");
	cr_expect_eq(tls->min_version, 0x0304);
	cr_expect_str_eq(tls->client_ca, "/etc/hardtack/clients.pem");
	cr_expect_eq(tls->client_cert, HT_CLIENT_CERT_REQUIRED);
	cr_expect_eq(c->listeners[1].addr.in6.sin6_family, AF_INET6);
	cr_expect_eq(ntohs(c->listeners[1].addr.in6.sin6_port), 8080);
	cr_expect(IN6_IS_ADDR_LOOPBACK(&c->listeners[1].addr.in6.sin6_addr));
	cr_expect(!c->listeners[1].tls);
	cr_expect_str_eq(c->listeners[2].addr.un.sun_path, "/etc/hardtack/run/edge.sock");
	cr_expect_str_eq(c->listeners[2].addr.text, "unix:run/edge.sock");
	ht_config_free(c);
}

Test(config, sites)
{
	struct ht_config *c = parse_ok(full);
	const struct ht_site_config *s = c->sites;

	cr_assert_eq(c->nsites, 2);
	cr_assert_eq(s->nhosts, 3);
	cr_expect_str_eq(s->hosts[0], "shop.example.com");
	cr_expect_str_eq(s->hosts[1], "*.shop.example.com");
	cr_expect_str_eq(s->hosts[2], "::1");
	cr_assert_eq(s->nupstreams, 4);
	cr_expect_str_eq(s->upstreams[0].host, "127.0.0.1");
	cr_expect_eq(s->upstreams[0].port, 9000);
	cr_expect_eq(ntohs(s->upstreams[0].addr.in.sin_port), 9000);
	cr_expect_str_eq(s->upstreams[1].host, "2001:db8::1");
	cr_expect_eq(s->upstreams[1].addr.sa.sa_family, AF_INET6);
	cr_expect(!s->upstreams[2].host);
	cr_expect_str_eq(s->upstreams[2].unix_path, "/run/app.sock");
	cr_expect_str_eq(s->upstreams[2].addr.un.sun_path, "/run/app.sock");
	cr_expect_str_eq(s->upstreams[3].host, "app.internal");
	cr_expect_eq(s->upstreams[3].addr.len, 0);
	cr_expect_eq(c->sites[1].nrules, 0);
	ht_config_free(c);
}

Test(config, rules)
{
	struct ht_config *c = parse_ok(full);
	const struct ht_rule_config *a = &c->sites[0].rules[0], *b = a + 1;

	cr_assert_eq(c->sites[0].nrules, 2);
	cr_expect_str_eq(a->name, "ASP.NET_SessionId");
	cr_expect_str_eq(a->sibling, "tok");
	cr_expect_eq(a->profile, HT_PROFILE_F5_IRULE);
	cr_expect_eq(a->key_index, 1);
	cr_assert_eq(a->nbinds, 2);
	cr_expect_eq(a->binds[0].kind, HT_BIND_CLIENT_IP);
	cr_expect_eq(a->binds[0].v4_bits, 24);
	cr_expect_eq(a->binds[0].v6_bits, 64);
	cr_expect_eq(a->binds[1].kind, HT_BIND_X509_SUBJECT);
	cr_expect_eq(a->on_empty, HT_ON_EMPTY_STRIP);
	cr_expect_eq(a->mode, HT_MODE_REPORT);
	cr_expect(a->copy_attributes);
	cr_expect_eq(a->line, 20);
	cr_expect_eq(a->col, 9);
	cr_expect_str_eq(b->sibling, "sid_HMAC");
	cr_expect_eq(b->mode, HT_MODE_ENFORCE);
	cr_expect(!b->copy_attributes);
	cr_expect_eq(b->binds[0].v4_bits, 16);
	cr_expect_eq(b->binds[0].v6_bits, 48);
	cr_expect_eq(b->on_empty, HT_ON_EMPTY_STRIP);
	ht_config_free(c);
}

Test(config, the_rest)
{
	struct ht_config *c = parse_ok(full);

	cr_assert_eq(c->nkeys, 2);
	cr_expect_str_eq(c->keys[0].file, "/etc/hardtack/shop.key");
	cr_expect_eq(c->keys[0].line, 34);
	cr_expect_eq(c->keys[0].col, 25);
	cr_expect_eq(c->limits.head, 8192);
	cr_expect_eq(c->limits.body, 10 << 20);
	cr_expect_eq(c->limits.connections, 500);
	cr_expect_eq(c->limits.covered_cookies, 8);
	cr_expect_eq(c->timeouts.handshake, 1000);
	cr_expect_eq(c->timeouts.head, 500);
	cr_expect_eq(c->timeouts.body, 120000);
	cr_expect_eq(c->timeouts.idle, 3600000);
	cr_expect_eq(c->timeouts.connect, 86400000);
	cr_expect_eq(c->timeouts.response, 7000);
	cr_expect_eq(c->timeouts.drain, 8000);
	cr_expect_eq(c->tokens.max, 5000);
	cr_expect_eq(c->tokens.sealed_max, 0);
	cr_expect_eq(c->tokens.flush_every_s, 43200);
	cr_expect_eq(c->gate, HT_OFF);
	cr_expect_eq(c->ktls, HT_OFF);
	cr_expect_str_eq(c->bpf_pin, "/sys/fs/bpf/two");
	cr_expect_str_eq(c->bpf_cgroup, "/sys/fs/cgroup/x");
	cr_expect_eq(c->workers, 3);
	cr_expect_eq(c->access_log.format, HT_LOG_COMBINED);
	cr_expect_str_eq(c->access_log.to, "/etc/hardtack/logs/access.log");
	cr_expect_str_eq(c->control, "/etc/hardtack/control.sock");
	cr_expect_str_eq(c->admin->text, "127.0.0.1:9144");
	cr_expect_str_eq(c->user, "nobody");
	ht_config_free(c);
}

Test(config, defaults)
{
	struct ht_config *c = parse_ok(LISTEN SITES);

	cr_expect_eq(c->limits.head, 16384);
	cr_expect_eq(c->limits.body, 0);
	cr_expect_eq(c->limits.connections, 20000);
	cr_expect_eq(c->limits.covered_cookies, 16);
	cr_expect_eq(c->timeouts.connect, 3000);
	cr_expect_eq(c->timeouts.idle, 75000);
	cr_expect_eq(c->tokens.max, 100000);
	cr_expect_eq(c->tokens.sealed_max, 10000);
	cr_expect_eq(c->tokens.flush_every_s, 86400);
	cr_expect_eq(c->gate, HT_AUTO);
	cr_expect_eq(c->ktls, HT_AUTO);
	cr_expect_str_eq(c->bpf_pin, "/sys/fs/bpf/hardtack");
	cr_expect(!c->bpf_cgroup && !c->control && !c->admin && !c->user);
	cr_expect_eq(c->workers, 0);
	cr_expect_str_eq(c->access_log.to, "stderr");
	ht_config_free(c);
}

Test(config, words_instead_of_values)
{
	struct ht_config *c = parse_ok(LISTEN SITES "workers: auto\nbpf: { cgroup: auto }\n"
						    "control: off\nadmin: off\ngate: \"off\"\n"
						    "access-log: { to: off }\n"
						    "tokens: { flush-every: 0 }\n");

	cr_expect(!c->bpf_cgroup && !c->control && !c->admin);
	cr_expect_eq(c->gate, HT_OFF);
	cr_expect_str_eq(c->access_log.to, "off");
	cr_expect_eq(c->tokens.flush_every_s, 0);
	ht_config_free(c);
}

Test(config, client_ca_asks_and_subject_rejects)
{
	struct ht_config *c = parse_ok(MTLS "sites: [{ hosts: [\"*\"], upstreams: [a:1], cookies: "
					    "[{ name: s, profile: f5-irule, key: shop, "
					    "bind: [client-ip, x509-subject] }] }]\n");

	cr_expect_eq(c->listeners[0].tls->client_cert, HT_CLIENT_CERT_OPTIONAL);
	cr_expect_eq(c->listeners[0].tls->min_version, 0x0303);
	cr_expect_eq(c->sites[0].rules[0].on_empty, HT_ON_EMPTY_REJECT);
	ht_config_free(c);
}

Test(config, lone_number_joins_only_client_ip)
{
	struct ht_config *c = parse_ok(RULES "{ name: a, profile: f5-irule, key: shop, "
					     "bind: [client-ip/24, client-ip] }" END);

	cr_assert_eq(c->sites[0].rules[0].nbinds, 2);
	cr_expect_eq(c->sites[0].rules[0].binds[0].v4_bits, 24);
	cr_expect_eq(c->sites[0].rules[0].binds[1].v4_bits, 32);
	ht_config_free(c);
}

Test(config, longest_names_fit)
{
	struct ht_config *c = parse_ok(RULES "{ name: " LONG96 ", sibling: b, " F5 " }" END);

	cr_expect_eq(strlen(c->sites[0].rules[0].name), HT_NAME_MAX);
	ht_config_free(c);
}

/* ---- what is wrong ---- */

static const struct mistake yaml_mistakes[] = {
	{"empty file", "", 0, 0, "the file is empty"},
	{"comment only", "# nothing\n", 0, 0, "the file is empty"},
	{"not a mapping", "- a\n", 1, 1, "not a mapping"},
	{"syntax", "listeners: [\n", 2, 1, "this is not YAML"},
	{"tab", "listeners:\n\t- a\n", 2, 1, "this is not YAML"},
	{"not UTF-8", "user: ok\ncontrol: \xff\n", 2, 10, "not UTF-8"},
	{"second document", LISTEN SITES "---\na: b\n", 3, 1, "second document"},
	{"junk after the end", LISTEN SITES "...\n]\n", 4, 1, "this is not YAML"},
	{"alias", "keys: &k [{ name: a, file: b }]\nsites: *k\n", 2, 8,
	 "aliases are not understood"},
	{"alias to itself", "keys: &k [*k]\n", 1, 11, "aliases are not understood"},
	{"too deep", "a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", 1, 35, "nested too deeply"},
	{"same anchor twice", "a: &k b\nc: &k d\n", 2, 4, "this is not YAML"},
	{"tag", "gate: !!int 5\n", 1, 7, "tag"},
	{"control character", LISTEN "user: \"a\\eb\"\n" SITES, 2, 7, "control character"},
	{"key is no word", "[a]: b\n", 1, 1, "is not a word"},
};

Test(config, yaml_mistakes)
{
	CHECK_MISTAKES(yaml_mistakes);
}

static const struct mistake shape_mistakes[] = {
	{"unknown key, near", "listener: []\n", 1, 1, "did you mean 'listeners'?"},
	{"unknown key, swapped", LISTEN "sitse: []\n", 2, 1, "did you mean 'sites'?"},
	{"unknown key, far", LISTEN "quux: 1\n", 2, 1, "known here: keys, trusted-proxies"},
	{"unknown nested key", LISTEN SITES "limits: { heads: 1 }\n", 3, 11,
	 "did you mean 'head'?"},
	{"duplicate key", "gate: off\ngate: auto\n", 2, 1, "'gate' stands twice"},
	{"duplicate nested key", LISTEN SITES "tokens: { max: 50, max: 60 }\n", 3, 20,
	 "stands twice"},
	{"list for a mapping", LISTEN SITES "limits: [1]\n", 3, 9, "limits is not a mapping"},
	{"word for a list", "listeners: here\n", 1, 12, "'listeners' is not a list"},
	{"mapping for a word", LISTEN SITES "gate: { a: b }\n", 3, 7, "it takes a single value"},
	{"list for a word", LISTEN SITES "user: [a]\n", 3, 7, "'user' is a list"},
	{"no value", LISTEN SITES "user:\n", 3, 6, "'user' has no value"},
	{"null", LISTEN SITES "user: ~\n", 3, 7, "'user' has no value"},
	{"empty string", LISTEN SITES "user: \"\"\n", 3, 7, "'user' has no value"},
	{"no listeners", SITES, 1, 1, "there are no listeners"},
	{"no sites", LISTEN, 1, 1, "there are no sites"},
	{"empty listeners", "listeners: []\n" SITES, 1, 12, "empty list"},
	{"empty sites", LISTEN "sites: []\n", 2, 8, "empty list"},
	{"empty keys", "keys: []\n" LISTEN SITES, 1, 7, "empty list"},
	{"empty hosts", LISTEN "sites: [{ hosts: [], upstreams: [a:1] }]\n", 2, 18, "empty list"},
	{"no hosts", LISTEN "sites: [{ upstreams: [a:1] }]\n", 2, 9, "a site has no hosts"},
	{"no upstreams", LISTEN "sites: [{ hosts: [a] }]\n", 2, 9, "a site has no upstreams"},
	{"empty cookies", LISTEN "sites: [{ hosts: [a], upstreams: [a:1], cookies: [] }]\n", 2, 50,
	 "empty list"},
};

Test(config, shape_mistakes)
{
	CHECK_MISTAKES(shape_mistakes);
}

static const struct mistake value_mistakes[] = {
	{"duration without unit", LISTEN SITES "timeouts: { head: 10 }\n", 3, 19, "write 10s"},
	{"duration in words", LISTEN SITES "timeouts: { head: soon }\n", 3, 19, "such as 500ms"},
	{"duration, odd unit", LISTEN SITES "timeouts: { head: 10w }\n", 3, 19, "the units are"},
	{"duration, fraction", LISTEN SITES "timeouts: { head: 1.5s }\n", 3, 19, "the units are"},
	{"duration, negative", LISTEN SITES "timeouts: { head: -1s }\n", 3, 19, "a duration"},
	{"duration, zero", LISTEN SITES "timeouts: { head: 0s }\n", 3, 19, "between 1ms and 7d"},
	{"duration, too long", LISTEN SITES "timeouts: { head: 8d }\n", 3, 19,
	 "between 1ms and 7d"},
	{"duration, overflow", LISTEN SITES "timeouts: { head: 18446744073709551615d }\n", 3, 19,
	 "between"},
	{"duration, huge", LISTEN SITES "timeouts: { head: 99999999999999999999s }\n", 3, 19,
	 "a duration"},
	{"half a second", LISTEN SITES "tokens: { flush-every: 500ms }\n", 3, 24, "whole number"},
	{"size in words", LISTEN SITES "limits: { head: big }\n", 3, 17, "write a number"},
	{"size, odd suffix", LISTEN SITES "limits: { body: 10X }\n", 3, 17, "write a number"},
	{"size, negative", LISTEN SITES "limits: { body: -1 }\n", 3, 17, "write a number"},
	{"size, overflow", LISTEN SITES "limits: { body: 99999999999G }\n", 3, 17,
	 "write a number"},
	{"head too large", LISTEN SITES "limits: { head: 16385 }\n", 3, 17,
	 "between 1024 and 16384"},
	{"too many covered cookies", LISTEN SITES "limits: { covered-cookies: 17 }\n", 3, 28,
	 "between 1 and 16"},
	{"no connections", LISTEN SITES "limits: { connections: 0 }\n", 3, 24, "between 1 and"},
	{"no workers", LISTEN SITES "workers: 0\n", 3, 10, "between 1 and 1024"},
	{"gate", LISTEN SITES "gate: on\n", 3, 7, "write auto, require or off"},
	{"log format", LISTEN SITES "access-log: { format: xml }\n", 3, 23,
	 "write json or combined"},
	{"admin on a name", LISTEN SITES "admin: localhost:1\n", 3, 8, "is no IP address"},
	{"admin on a path", LISTEN SITES "admin: unix:x\n", 3, 8, "an IP address and a port"},
	{"admin on a listener", LISTEN SITES "admin: 127.0.0.1:8080\n", 3, 8, "in line 1"},
};

Test(config, value_mistakes)
{
	CHECK_MISTAKES(value_mistakes);
}

#define AT(address) "listeners: [{ address: " address " }]\n" SITES

static const struct mistake listener_mistakes[] = {
	{"no address", "listeners: [{}]\n", 1, 13, "a listener has no address"},
	{"no port", AT("0.0.0.0"), 1, 24, "has no port"},
	{"port 0", AT("0.0.0.0:0"), 1, 24, "number from 1 to 65535"},
	{"port too large", AT("0.0.0.0:65536"), 1, 24, "number from 1 to 65535"},
	{"port empty", AT("\"0.0.0.0:\""), 1, 24, "number from 1 to 65535"},
	{"port a word", AT("0.0.0.0:http"), 1, 24, "number from 1 to 65535"},
	{"a name", AT("localhost:80"), 1, 24, "is no IP address"},
	{"IPv6 bare", AT("\"::1:80\""), 1, 24, "IPv6 without brackets"},
	{"IPv6 unclosed", AT("\"[::1:80\""), 1, 24, "no ']'"},
	{"IPv4 in brackets", AT("\"[127.0.0.1]:80\""), 1, 24, "is no IP address"},
	{"unix without path", AT("\"unix:\""), 1, 24, "no path after"},
	{"unix path too long", AT("unix:/" LONG96 LONG8 LONG8), 1, 24, "at most 107 bytes"},
	{"same address twice",
	 "listeners:\n  - address: 127.0.0.1:80\n  - address: 127.0.0.1:80\n    tls: { "
	 "certificates: [{ "
	 "certificate: a, key: b }] }\n" SITES,
	 3, 14, "two listeners have the address 127.0.0.1:80 (the first in line 2)"},
	{"no certificates", AT("127.0.0.1:1, tls: {}"), 1, 42, "tls has no certificates"},
	{"certificate without key", AT("127.0.0.1:1, tls: { certificates: [{ certificate: a }] }"),
	 1, 59, "the certificate's key is missing"},
	{"old TLS",
	 AT("127.0.0.1:1, tls: { certificates: [{ certificate: a, key: b }], "
	    "min-version: 1.1 }"),
	 1, 101, "write 1.2 or 1.3"},
	{"client certificates of nobody",
	 AT("127.0.0.1:1, tls: { certificates: [{ certificate: a, key: b }], "
	    "client-certificate: optional }"),
	 1, 108, "add client-ca: FILE.pem"},
};

Test(config, listener_mistakes)
{
	CHECK_MISTAKES(listener_mistakes);
}

#define UP(upstream) LISTEN "sites: [{ hosts: [a], upstreams: [" upstream "] }]\n"
#define HOST(host) LISTEN "sites: [{ upstreams: [a:1], hosts: [" host "] }]\n"

static const struct mistake site_mistakes[] = {
	{"upstream without port", UP("app"), 2, 35, "has no port"},
	{"upstream that is a URL", UP("\"http://app:80\""), 2, 35, "is a URL; write HOST:PORT"},
	{"upstream with odd characters", UP("\"a b:80\""), 2, 35, "is no host name or address"},
	{"upstream port", UP("app:99999"), 2, 35, "number from 1 to 65535"},
	{"upstream IPv6 wrong", UP("\"[::g]:80\""), 2, 35, "is no host name or address"},
	{"host with port", HOST("a:80"), 2, 37, "write the name alone"},
	{"host with path", HOST("a/b"), 2, 37, "is no host"},
	{"host with inner star", HOST("a.*.b"), 2, 37, "*.NAME"},
	{"host with trailing dot", HOST("a.b."), 2, 37, "is no host"},
	{"star without name", HOST("\"*.\""), 2, 37, "is no host"},
	{"bracketed nonsense", HOST("\"[::g]\""), 2, 37, "is no host"},
	{"bracket alone", HOST("\"[\""), 2, 37, "is no host"},
	{"host twice in a site", HOST("a, A"), 2, 40, "stands twice in this site"},
	{"host of two sites",
	 LISTEN
	 "sites:\n  - { hosts: [a], upstreams: [a:1] }\n  - { hosts: [b, A], upstreams: [a:1] }\n",
	 4, 18, "belongs to the site in line 3"},
	{"balance", LISTEN "sites: [{ hosts: [a], upstreams: [a:1], balance: random }]\n", 2, 50,
	 "write round-robin"},
};

Test(config, site_mistakes)
{
	CHECK_MISTAKES(site_mistakes);
}

#define RULE(text) RULES text END
#define BIND(list) RULE("{ name: a, profile: f5-irule, key: shop, bind: " list " }")
#define R(name) "{ name: " name ", " F5 " },\n"

static const struct mistake rule_mistakes[] = {
	{"no name", RULE("{ " F5 " }"), 6, 1, "write name: COOKIE"},
	{"no key", RULE("{ name: a, profile: f5-irule, bind: [client-ip] }"), 6, 1,
	 "a rule has no key"},
	{"no binding", RULE("{ name: a, profile: f5-irule, key: shop }"), 6, 1,
	 "write bind: [client-ip]"},
	{"empty binding", BIND("[]"), 6, 48, "empty list"},
	{"no such binding", BIND("[client-op]"), 6, 49, "is no binding"},
	{"bad prefix", BIND("[client-ip/33]"), 6, 49, "is no binding"},
	{"number alone", BIND("[24]"), 6, 49, "is no binding"},
	{"number after plain client-ip", BIND("[client-ip, 64]"), 6, 60, "is no binding"},
	{"third number", BIND("[client-ip/24,64,48]"), 6, 65, "is no binding"},
	{"same binding twice", BIND("[client-ip, client-ip]"), 6, 60, "stands twice in 'bind'"},
	{"seven bindings",
	 BIND("[client-ip/8, client-ip/9, client-ip/10, client-ip/11, client-ip/12, client-ip/13, "
	      "client-ip/14]"),
	 6, 131, "more than 6 bindings"},
	{"subject of nobody", BIND("[x509-subject]"), 6, 49, "no listener asks for them"},
	{"name no token", RULE("{ name: \"a b\", " F5 " }"), 6, 9, "is no cookie name"},
	{"name too long", RULE("{ name: a" LONG96 ", " F5 " }"), 6, 9, "at most 96"},
	{"name too long for _HMAC", RULE("{ name: " LONG96 ", " F5 " }"), 6, 9,
	 "give it a shorter one with sibling"},
	{"sibling no token", RULE("{ name: a, sibling: \"b;\", " F5 " }"), 6, 21,
	 "is no cookie name"},
	{"sibling too long", RULE("{ name: a, sibling: b" LONG96 ", " F5 " }"), 6, 21,
	 "at most 96"},
	{"sibling is the name", RULE("{ name: a, sibling: a, " F5 " }"), 6, 21, "own name"},
	{"name twice", RULE(R("a") R("a")), 7, 9,
	 "already a cookie or a sibling of the rule in line 6"},
	{"name is a sibling", RULE(R("a") R("a_HMAC")), 7, 9, "already a cookie"},
	{"sibling is a name", RULE(R("a_HMAC") R("a")), 7, 1, "the sibling 'a_HMAC' is already"},
	{"sibling twice", RULE("{ name: a, sibling: s, " F5 " },\n{ name: b, sibling: s, " F5 " }"),
	 7, 21, "the sibling 's' is already"},
	{"no such key, near", RULE("{ name: a, profile: f5-irule, key: shp, bind: [client-ip] }"),
	 6, 36, "did you mean 'shop'?"},
	{"no such key", RULE("{ name: a, profile: f5-irule, key: other, bind: [client-ip] }"), 6,
	 36, "add { name: other, file: FILE }"},
	{"no such profile", RULE("{ name: a, profile: f5, key: shop, bind: [client-ip] }"), 6, 21,
	 "write native, f5-irule, proxysg, session-id or secure-cookie"},
	{"accept nonsense", RULE("{ name: a, accept: [f5], " F5 " }"), 6, 21, "names no profile"},
	{"on-empty", RULE("{ name: a, on-empty: pass, " F5 " }"), 6, 22, "write strip or reject"},
	{"mode", RULE("{ name: a, mode: on, " F5 " }"), 6, 18, "write enforce, report or off"},
	{"sibling-attributes", RULE("{ name: a, sibling-attributes: x, " F5 " }"), 6, 32,
	 "write seed or copy"},
	{"17 rules",
	 RULE(R("a") R("b") R("c") R("d") R("e") R("f") R("g") R("h") R("i") R("j") R("k") R("l")
		      R("m") R("n") R("o") R("p") R("q")),
	 22, 1, "at most 16"},
	{"five different bindings",
	 RULE("{ name: a, profile: f5-irule, key: shop, bind: [client-ip/8] },\n"
	      "{ name: b, profile: f5-irule, key: shop, bind: [client-ip/9] },\n"
	      "{ name: c, profile: f5-irule, key: shop, bind: [client-ip/10] },\n"
	      "{ name: d, profile: f5-irule, key: shop, bind: [client-ip/11] },\n"
	      "{ name: e, profile: f5-irule, key: shop, bind: [client-ip/8] },\n"
	      "{ name: f, profile: f5-irule, key: shop, bind: [client-ip/12] }"),
	 11, 48, "can have 4 different bindings"},
	{"key without name", "keys: [{ file: a }]\n" LISTEN SITES, 1, 8, "this key has no name"},
	{"key twice", "keys: [{ name: a, file: a }, { file: b, name: a }]\n" LISTEN SITES, 1, 47,
	 "two keys are named 'a'"},
};

Test(config, rule_mistakes)
{
	CHECK_MISTAKES(rule_mistakes);
}

Test(config, text_cannot_drive_the_terminal)
{
	struct ht_diag d;
	struct ht_config *c = NULL;
	const char text[] = "\"a\\e[31m\\n\": 1\n";

	cr_assert_eq(ht_config_parse("f", text, strlen(text), &c, &d), -EINVAL);
	for (const char *p = d.text; *p; p++)
		cr_expect((unsigned char)*p >= 0x20, "byte %#x", *p);
}

/* Criterion's children end without asking the leak checker, if there is one. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void expect_no_leaks(void)
{
	if (__lsan_do_recoverable_leak_check)
		cr_expect_eq(__lsan_do_recoverable_leak_check(), 0, "memory leaks");
}

/* Every prefix and every single damaged byte: nothing to find but a crash or a leak. */
Test(config, damaged_files)
{
	char copy[sizeof(full)];

	for (size_t len = 0; len < sizeof(full); len += 3) {
		struct ht_config *c = NULL;
		struct ht_diag d;

		ht_config_parse("f", full, len, &c, &d);
		ht_config_free(c);
	}
	for (size_t i = 0; i < sizeof(full) - 1; i++) {
		struct ht_config *c = NULL;
		struct ht_diag d;

		memcpy(copy, full, sizeof(full));
		copy[i] = "\0[{\n:*\xff\"-,"[i % 10];
		ht_config_parse("f", copy, sizeof(full) - 1, &c, &d);
		ht_config_free(c);
	}
	expect_no_leaks();
}

/* ---- which site ---- */

static const struct {
	const char *host;
	int site; /* -1 = none */
} lookups[] = {
	{"shop.example.com", 0},
	{"SHOP.Example.COM", 0},
	{"shop.example.com.", 0},
	{"a.example.com", 1},
	{"a.b.example.com", 1},
	{"x.deep.example.com", 2},
	{"deep.example.com", 1},
	{"example.com", -1},
	{"xexample.com", -1},
	{".example.com", -1},
	{"", -1},
	{"other", -1},
	{"[::1]", 3},
	{"::1", 3},
};

Test(config, site_of_host)
{
	struct ht_config *c = parse_ok(LISTEN
				       "sites:\n"
				       "- { hosts: [shop.example.com], upstreams: [a:1] }\n"
				       "- { hosts: [\"*.example.com\"], upstreams: [a:1] }\n"
				       "- { hosts: [\"*.deep.example.com\"], upstreams: [a:1] }\n"
				       "- { hosts: [\"[::1]\"], upstreams: [a:1] }\n");

	for (size_t i = 0; i < HT_ARRAY_SIZE(lookups); i++) {
		const struct ht_site_config *s = ht_config_site(c, HT_STR(lookups[i].host)),
					    *want = lookups[i].site < 0
							    ? NULL
							    : &c->sites[lookups[i].site];
		cr_expect(s == want, "%s", lookups[i].host);
	}
	ht_config_free(c);
	c = parse_ok(LISTEN "sites:\n- { hosts: [\"*\"], upstreams: [a:1] }\n"
			    "- { hosts: [\"*.b\"], upstreams: [a:1] }\n");
	cr_expect(ht_config_site(c, HT_STR("")) == &c->sites[0]);
	cr_expect(ht_config_site(c, HT_STR("any")) == &c->sites[0]);
	cr_expect(ht_config_site(c, HT_STR("a.b")) == &c->sites[1]);
	ht_config_free(c);
}

/* ---- warnings ---- */

#define W_SITE(rule)                                                                               \
	"sites: [{ hosts: [a], upstreams: [a:1], cookies: [{ name: sid, " rule " }] }]\n"

static const struct warning warnings[] = {
	{"nothing covered", "listeners: [{ address: 0.0.0.0:80 }]\n" SITES, "", NULL},
	{"Secure over plain HTTP", KEYS "listeners: [{ address: 0.0.0.0:80 }]\n" W_SITE(F5),
	 "2: listener 0.0.0.0:80 has no tls", "same address"},
	{"copied attributes",
	 KEYS "listeners: [{ address: 0.0.0.0:80 }]\n" W_SITE(F5 ", sibling-attributes: copy"), "",
	 NULL},
	{"a rule that is off",
	 KEYS "listeners: [{ address: 0.0.0.0:80 }]\n" W_SITE(F5 ", mode: off"), "", NULL},
	{"loopback is behind somebody", KEYS LISTEN W_SITE(F5), "2: behind another proxy",
	 "no tls"},
	{"unix has no addresses", KEYS "listeners: [{ address: unix:x }]\n" W_SITE(F5),
	 "2: listener unix:x knows no client addresses", "no tls"},
	{"fixed attributes", KEYS LISTEN W_SITE(F5), "3: the sibling sid_HMAC has fixed attributes",
	 NULL},
	{"in the order of the file", KEYS W_SITE(F5) "listeners: [{ address: unix:x }]\n",
	 "2: the sibling", NULL},
	{"unused key", KEYS LISTEN SITES, "1: no rule uses key 'shop'", NULL},
	{"a listener without client certificates",
	 KEYS "listeners: [{ address: 127.0.0.1:8443, tls: { certificates: [{ certificate: a, key: "
	      "b }], "
	      "client-ca: ca.pem } },\n{ address: 0.0.0.0:80 }]\n" W_SITE(
		      "profile: f5-irule, key: shop, bind: [x509-subject]"),
	 "3: listener 0.0.0.0:80 asks for no client certificates", "2: listener"},
};

Test(config, warnings)
{
	CHECK_WARNINGS(warnings);
}

/* ---- files ---- */

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void write_cert(const char *cert, const char *key, const char *passphrase)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f;

	cr_assert(pkey && x);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				   (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_set_pubkey(x, pkey);
	cr_assert(X509_sign(x, pkey, EVP_sha256()) > 0);
	f = fopen(in_dir(cert), "w");
	cr_assert(f && PEM_write_X509(f, x));
	fclose(f);
	f = fopen(in_dir(key), "w");
	cr_assert(f && PEM_write_PrivateKey(f, pkey, passphrase ? EVP_aes_128_cbc() : NULL,
					    (const unsigned char *)passphrase,
					    passphrase ? strlen(passphrase) : 0, NULL, NULL));
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(pkey);
}

static void make_files(void)
{
	strcpy(dir, "/tmp/ht-config-XXXXXX");
	cr_assert(mkdtemp(dir));
	write_cert("a.pem", "a.key", NULL);
	write_cert("b.pem", "b.key", NULL);
	write_cert("c.pem", "c.key", "secret");
	write_file("shop.key", "0123456789\n", 0600);
	write_file("open.key", "0123456789\n", 0604);
	write_file("empty.key", "\n", 0600);
	mkfifo(in_dir("fifo"), 0600);
}

static void remove_files(void)
{
	static const char *const names[] = {"a.pem",	"a.key",    "b.pem",	"b.key",
					    "c.pem",	"c.key",    "fifo",	"x.yaml",
					    "shop.key", "open.key", "empty.key"};

	for (size_t i = 0; i < HT_ARRAY_SIZE(names); i++)
		unlink(in_dir(names[i]));
	rmdir(dir);
}

#define TLS(cert, key)                                                                             \
	"listeners:\n  - address: 127.0.0.1:8443\n    tls:\n      certificates:\n"                 \
	"        - { certificate: " cert ", key: " key " }\n" SITES

static const struct mistake file_mistakes[] = {
	{"no certificate file", TLS("none.pem", "a.key"), 5, 11, "can't read certificate"},
	{"no certificate in it", TLS("a.key", "a.key"), 5, 11, "holds no certificate"},
	{"no key file", TLS("a.pem", "none.key"), 5, 11, "can't read key"},
	{"no key in it", TLS("a.pem", "a.pem"), 5, 11, "holds no private key"},
	{"another key", TLS("a.pem", "b.key"), 5, 11, "does not match key"},
	{"encrypted key", TLS("c.pem", "c.key"), 5, 11, "is encrypted"},
	{"a FIFO", TLS("fifo", "a.key"), 5, 11, "not a plain file"},
	{"no client-ca",
	 "listeners: [{ address: 127.0.0.1:1, tls: { certificates: [{ certificate: "
	 "a.pem, key: a.key }], client-ca: none.pem } }]\n" SITES,
	 1, 42, "can't read client-ca"},
	{"empty client-ca",
	 "listeners: [{ address: 127.0.0.1:1, tls: { certificates: [{ certificate: "
	 "a.pem, key: a.key }], client-ca: shop.key } }]\n" SITES,
	 1, 42, "holds no certificate"},
	{"no key file", "keys: [{ name: a, file: none }]\n" LISTEN SITES, 1, 25, "No such file"},
	{"open key file", "keys: [{ name: a, file: open.key }]\n" LISTEN SITES, 1, 25, "chmod 600"},
	{"empty key file", "keys: [{ name: a, file: empty.key }]\n" LISTEN SITES, 1, 25,
	 "is empty"},
	{"no user", LISTEN SITES "user: nobody-of-that-name\n", 3, 7, "there is no user"},
	{"no upstream", UP("no-such-host.invalid:80"), 2, 35, "does not resolve"},
};

Test(config, file_mistakes, .init = make_files, .fini = remove_files)
{
	for (size_t i = 0; i < HT_ARRAY_SIZE(file_mistakes); i++) {
		const struct mistake *m = &file_mistakes[i];
		struct ht_config *c = NULL;
		struct ht_diag d = {0};

		write_file("x.yaml", m->text, 0600);
		cr_expect(ht_config_load(in_dir("x.yaml"), &c, &d) == -EINVAL && !c, "%s", m->name);
		cr_expect(d.line == m->line && d.col == m->col, "%s: at %u:%u (%s)", m->name,
			  d.line, d.col, d.text);
		cr_expect(strstr(d.text, m->says), "%s: says '%s'", m->name, d.text);
	}
	expect_no_leaks();
}

Test(config, load, .init = make_files, .fini = remove_files)
{
	struct ht_config *c = NULL;
	struct ht_diag d = {0};

	write_file(
		"x.yaml",
		"listeners: [{ address: 127.0.0.1:1, tls: { certificates: [{ certificate: a.pem, "
		"key: a.key }, { certificate: b.pem, key: b.key }], client-ca: a.pem } }]\n"
		"keys: [{ name: shop, file: shop.key }]\n"
		"sites: [{ hosts: [a], upstreams: [localhost:9000] }]\nuser: root\n",
		0600);
	cr_assert(ht_config_load(in_dir("x.yaml"), &c, &d) == 0, "%s", d.text);
	cr_expect_str_eq(c->file, in_dir("x.yaml"));
	cr_expect_str_eq(c->keys[0].file, in_dir("shop.key"));
	cr_expect(c->sites[0].upstreams[0].addr.len > 0);
	cr_expect_eq(ntohs(c->sites[0].upstreams[0].addr.in.sin_port), 9000);
	cr_expect_str_eq(c->sites[0].upstreams[0].addr.text, "localhost:9000");
	ht_config_free(c);
}

Test(config, no_file)
{
	struct ht_config *c = NULL;
	struct ht_diag d = {0};

	cr_expect_eq(ht_config_load("/nonexistent/x.yaml", &c, &d), -ENOENT);
	cr_expect_str_eq(d.file, "/nonexistent/x.yaml");
	cr_expect_eq(d.line, 0);
	cr_expect(strstr(d.text, "No such file") != NULL);
	cr_expect_eq(ht_config_load("/", &c, &d), -EISDIR);
}

Test(config, free_nothing)
{
	ht_config_free(NULL);
}
