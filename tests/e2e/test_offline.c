/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hardtackctl sign and verify without a daemon: every profile, against tokens that another
 * implementation computed, and what is said of a line that makes no sense.
 */
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

#define VALUE "--value", "0a1b2c3d4e5f6g7h8i9j0k1l"
#define NATIVE "--profile", "native", "--name", "sid", VALUE
#define PROXYSG "--profile", "proxysg", "--name", "sid", VALUE
#define F5 "--profile", "f5-irule", VALUE
#define SESSION "--profile", "session-id"
#define SESSION_ID "AAECAwQFBgcICQoLDA0ODw**:1700000000:4inbZ7nzzShNUTRwPsHrxVseRvU*"
#define IP "--bind", "client-ip=192.0.2.10"
#define PLAIN "1.1b8dcfa8.1700000000.1700086400.sh~pLw.WF1KRB3Os__rfDF5fGDyhRJraoLA1PZVUsJPoRugzkQ"
#define SPKI "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define SEALED "--profile", "secure-cookie", "--name", "sid"
#define SEALED_VALUE                                                                               \
	"ATFiOGRjZmE4AAAAAGVVQoAAAAECAwQFBgcICQoL1qC_BlBNNFqr0Id2FS5SR_zGWuY_3kJQ7UICwkjItYUAMR-"  \
	"WqvIS6kvWj8mY71hzR44kvMH7qYQ"
#define WORDS_MAX 24

static const struct {
	const char *name;
	const char *words[WORDS_MAX]; /* with --key-file behind them */
	int status;
	const char *says;
} lines[] = {
	{"native",
	 {"sign", NATIVE, IP, "--time", "1700000000", "--attributes", "; Path=/; Secure; HttpOnly"},
	 0,
	 PLAIN "\n"},
	{"native, unbound",
	 {"sign", NATIVE, "--time", "1700000000"},
	 0,
	 "1.1b8dcfa8.1700000000.1700086400..Wi3-rLZDptIlIUgRbB6VHLfmCoosYSlf6UWVdlRF4nc\n"},
	{"native, two ingredients",
	 {"sign", NATIVE, "--bind", "client-ip/24,64=192.0.2.99", "user=alice", "--time",
	  "1700000000", "--expires", "253402300799", "--attributes",
	  "; Domain=.example.com; SameSite=Strict"},
	 0,
	 "1.1b8dcfa8.1700000000.253402300799.t~dLmV4YW1wbGUuY29t."
	 "CpVsO0hMGiNGY_dy9jEGpGAdUPwArJlioPTkkhUgdeo\n"},
	{"native as JSON",
	 {"sign", NATIVE, "--time", "5", "--json"},
	 0,
	 "\"token\": \"1.1b8dcfa8.5."},
	{"a cookie's own end",
	 {"sign", NATIVE, "--time", "5", "--attributes", "; Max-Age=60"},
	 0,
	 ".5.65.e."},
	{"the default end", {"sign", NATIVE, "--time", "5"}, 0, ".5.86405."},
	{"valid", {"verify", NATIVE, IP, "--token", PLAIN, "--time", "1700086399"}, 0, "valid\n"},
	{"expired",
	 {"verify", NATIVE, IP, "--token", PLAIN, "--time", "1700086400"},
	 1,
	 "expired\n"},
	{"expired by now", {"verify", NATIVE, IP, "--token", PLAIN}, 1, "expired\n"},
	{"of another address",
	 {"verify", NATIVE, "--bind", "client-ip=192.0.2.11", "--token", PLAIN, "--time",
	  "1700000000"},
	 1,
	 "forged\n"},
	{"of another prefix",
	 {"verify", NATIVE, "--bind", "client-ip/31=192.0.2.10", "--token", PLAIN, "--time",
	  "1700000000"},
	 1,
	 "forged\n"},
	{"what a token says of itself",
	 {"verify", NATIVE, IP, "--token", PLAIN, "--time", "1700000000", "--json"},
	 0,
	 "\"verdict\": \"valid\", \"issued\": 1700000000, \"expires\": 1700086400, "
	 "\"persistent\": false, \"attributes\": \"; Path=/; Secure; HttpOnly\"}"},
	{"a forged one says nothing",
	 {"verify", NATIVE, "--token", PLAIN, "--json"},
	 1,
	 "{\"profile\": \"native\", \"verdict\": \"forged\"}\n"},
	{"binary bindings",
	 {"sign", NATIVE, "--bind", "x509-spki=" SPKI, "--bind", "tls-exporter=" SPKI},
	 0,
	 "1.1b8dcfa8."},
	{"proxysg",
	 {"sign", PROXYSG, "--bind", "192.0.2.10"},
	 0,
	 "bd4I7yrOtDkNiF+Z/ZKSi4XCuJEeathfGmF8VsfF6w4=\n"},
	{"proxysg, all its options",
	 {"sign", PROXYSG, "--bind", "alice", "--algorithm", "sha1", "--encoding", "hex",
	  "--name-in-mac", "false", "--separator", ""},
	 0,
	 "3b15e6c1c4431ab7b4bcfd08d44d249843e26612\n"},
	{"proxysg verifies",
	 {"verify", PROXYSG, "--token", "TtmZod3elLwaCsSJtTvh5GoKDQOONMK9mbvzNQVTiFU="},
	 0,
	 "valid\n"},
	{"proxysg refuses", {"sign", PROXYSG, "--bind", "a|b"}, 1, "refused: the separator"},
	{"f5-irule",
	 {"verify", F5, "--bind", "DE", "--token", "6Y2BBhGZhysaSWo/oJVtMn93j27YeVGYA8cdNYYJJkQ="},
	 0,
	 "valid\n"},

	{"session-id",
	 {"sign", SESSION, "--time", "1700000000", "--data", "000102030405060708090a0b0c0d0e0f"},
	 0,
	 SESSION_ID "\n"},
	{"session-id verifies",
	 {"verify", SESSION, "--time", "1700172800", "--value", SESSION_ID},
	 0,
	 "valid\n"},
	{"session-id ends",
	 {"verify", SESSION, "--time", "1700172801", "--value", SESSION_ID},
	 1,
	 "expired\n"},
	{"session-id ends when told",
	 {"verify", SESSION, "--time", "1700000061", "--lifetime", "60", "--value", SESSION_ID},
	 1,
	 "expired\n"},
	{"session-id of another name",
	 {"verify", SESSION, "--name", "b", "--time", "1700000000", "--value", SESSION_ID},
	 0,
	 "valid\n"},
	{"session-id forged", {"verify", SESSION, "--value", "x"}, 1, "forged\n"},
	{"session-id with a value", {"sign", SESSION, "--value", "x"}, 2, "is what sign makes"},
	{"session-id with a token",
	 {"verify", SESSION, "--value", SESSION_ID, "--token", "x"},
	 2,
	 "has no --token"},
	{"session-id bound", {"sign", SESSION, "--bind", "DE"}, 2, "no place for a binding"},
	{"session-id of short data", {"sign", SESSION, "--data", "00"}, 2, "32 digits in hex"},
	{"session-id of a time", {"sign", SESSION, "--time", "5"}, 1, "not ten digits"},
	{"data for verify",
	 {"verify", SESSION, "--value", SESSION_ID, "--data", "00"},
	 2,
	 "only sign takes it"},
	{"data of native", {"sign", NATIVE, "--data", "00"}, 2, "has no --data"},

	{"secure-cookie",
	 {"sign", SEALED, VALUE, "--bind", "x509-spki=" SPKI, "--time", "1700000000",
	  "--attributes", "; Path=/; Secure; HttpOnly", "--nonce", "000102030405060708090a0b"},
	 0,
	 SEALED_VALUE "\n"},
	{"a sealed one",
	 {"verify", SEALED, "--value", SEALED_VALUE, "--bind", "x509-spki=" SPKI, "--time",
	  "1700086399"},
	 0,
	 "valid\n"},
	{"what is sealed in it",
	 {"verify", SEALED, "--value", SEALED_VALUE, "--bind", "x509-spki=" SPKI, "--time",
	  "1700086399", "--json"},
	 0,
	 "\"plaintext\": \"0a1b2c3d4e5f6g7h8i9j0k1l\""},
	{"a sealed one, expired",
	 {"verify", SEALED, "--value", SEALED_VALUE, "--bind", "x509-spki=" SPKI, "--time",
	  "1700086400"},
	 1,
	 "expired\n"},
	{"a sealed one, of nobody", {"verify", SEALED, "--value", SEALED_VALUE}, 1, "forged\n"},
	{"sealed for a user", {"sign", SEALED, VALUE, "--bind", "user=alice"}, 0, "ATFiOGRjZmE4"},
	{"sealed, of no value", {"sign", SEALED, "--value", "a;b"}, 1, "it is no cookie's value"},
	{"a sealed one with a token",
	 {"verify", SEALED, "--value", SEALED_VALUE, "--token", "x"},
	 2,
	 "has no --token"},
	{"a short nonce", {"sign", SEALED, VALUE, "--nonce", "00"}, 2, "24 digits in hex"},
	{"a nonce of native", {"sign", NATIVE, "--nonce", "00"}, 2, "has no --nonce"},
	{"no value", {"sign", "--profile", "native", "--name", "a"}, 2, "--value are needed"},
	{"no such profile", {"sign", "--profile", "f5", VALUE}, 2, "there is no profile 'f5'"},
	{"a sealed one without a name",
	 {"sign", "--profile", "secure-cookie", VALUE},
	 2,
	 "--name is needed"},
	{"native without a name", {"sign", "--profile", "native", VALUE}, 2, "--name is needed"},
	{"proxysg without a name", {"sign", "--profile", "proxysg", VALUE}, 2, "--name is needed"},
	{"f5-irule without a binding", {"sign", F5}, 2, "--bind is needed"},
	{"a binding of no kind", {"sign", NATIVE, "--bind", "192.0.2.10"}, 2, "is no KIND=VALUE"},
	{"no such kind", {"sign", NATIVE, "--bind", "ip=192.0.2.10"}, 2, "is no KIND=VALUE"},
	{"no address", {"sign", NATIVE, "--bind", "client-ip=here"}, 2, "'here' is no value"},
	{"two clients",
	 {"sign", NATIVE, IP, "--bind", "client-ip/24=192.0.2.11"},
	 2,
	 "'192.0.2.11' is no value"},
	{"a short digest", {"sign", NATIVE, "--bind", "x509-spki=00"}, 2, "'00' is no value"},
	{"a long digest", {"sign", NATIVE, "--bind", "x509-spki=" SPKI "0"}, 2, "is no value"},
	{"time of f5-irule", {"sign", F5, "--bind", "DE", "--time", "5"}, 2, "has no --time"},
	{"algorithm of native", {"sign", NATIVE, "--algorithm", "sha1"}, 2, "has no --algorithm"},
	{"no time", {"sign", NATIVE, "--time", "now"}, 2, "is a number of seconds"},
	{"an end before the beginning",
	 {"sign", NATIVE, "--time", "5", "--expires", "5"},
	 2,
	 "must be after --time"},
	{"an end for verify", {"verify", NATIVE, "--token", "x", "--expires", "5"}, 2, "only sign"},
	{"no such encoding", {"sign", PROXYSG, "--encoding", "base32"}, 2, "can't be 'base32'"},
	{"a name and no separator", {"sign", PROXYSG, "--separator", ""}, 2, "without a separator"},
	{"verify without a token", {"verify", NATIVE}, 2, "--token is what verify needs"},
	{"sign with one", {"sign", NATIVE, "--token", "x"}, 2, "--token is for verify alone"},
	{"a word too many", {"sign", "alice", NATIVE}, 2, "'alice' belongs to no option"},
};

static void write_key(char *path, size_t cap)
{
	FILE *f;

	snprintf(path, cap, "%s/offline-%d.key", run_dir(), getpid());
	f = fopen(path, "we");
	cr_assert(f);
	fchmod(fileno(f), 0600);
	fputs("AzaZ5678901234567XYZ34567XYZ\n", f);
	fclose(f);
}

Test(offline, sign_and_verify)
{
	char key[512];

	write_key(key, sizeof(key));
	for (size_t i = 0; i < E2E_ARRAY_SIZE(lines); i++) {
		const char *argv[WORDS_MAX + 4] = {run_ctl()};
		struct text out = {0};
		size_t n = 1;
		int status;

		for (size_t k = 0; k < WORDS_MAX && lines[i].words[k]; k++)
			argv[n++] = lines[i].words[k];
		argv[n++] = "--key-file";
		argv[n] = key;
		status = run_command(&out, argv);
		cr_expect_eq(status, lines[i].status, "%s: %d, not %d: %s", lines[i].name, status,
			     lines[i].status, out.p);
		cr_expect(text_has(out.p, out.len, lines[i].says), "%s: '%s', not '%s'",
			  lines[i].name, out.p, lines[i].says);
		cr_expect_not(text_has(out.p, out.len, "AzaZ"), "%s: the key shows", lines[i].name);
	}
	unlink(key);
}
