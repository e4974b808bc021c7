/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out of memory: each allocation of what runs at start and at a reload fails in turn, alone and
 * with all that follow it. Nothing may crash, nothing may leak, and whoever asked must be told.
 * The allocator is the program's own, so that the libraries' allocations fail as well.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <openssl/err.h>

#include "config.h"
#include "keyring.h"
#include "offload.h"
#include "policy.h"
#include "stats.h"

/* ---- the allocator ---- */

#ifdef __SANITIZE_ADDRESS__
/* It allocates for strdup() and its kin by itself: what lives cannot be counted then. */
#include <sanitizer/lsan_interface.h>
#define REAL(f) __interceptor_##f
#define LIVE 0
#else
#define REAL(f) __libc_##f
#define LIVE mem.live
#define __lsan_disable() ((void)0)
#define __lsan_enable() ((void)0)
#endif
void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t size);
void REAL(free)(void *p);

#define NEVER LONG_MAX

static __thread struct {
	bool counting; /* this thread is under test */
	bool failing;  /* and its allocations are numbered */
	bool forever;  /* after the one that fails no other succeeds */
	long left;     /* allocations until one fails */
	long failed, live;
} mem = {.left = NEVER};

static bool refused(void)
{
	if (!mem.counting)
		return false;
	if (mem.failing && (--mem.left == 0 || (mem.left < 0 && mem.forever))) {
		mem.failed++;
		errno = ENOMEM;
		return true;
	}
	mem.live++;
	return false;
}

void *malloc(size_t size)
{
	return refused() ? NULL : REAL(malloc)(size);
}

void *calloc(size_t n, size_t size)
{
	return refused() ? NULL : REAL(calloc)(n, size);
}

void *realloc(void *p, size_t size)
{
	if (p && mem.counting)
		mem.live--;
	if (refused()) {
		mem.live += !!p;
		return NULL;
	}
	return REAL(realloc)(p, size);
}

void free(void *p)
{
	if (p && mem.counting)
		mem.live--;
	REAL(free)(p);
}

/* ---- failing each in turn ---- */

/* Does its work once, between fail_on() and fail_off(), and cleans up; returns what it got. */
typedef int attempt_fn(void);

static void fail_on(void)
{
	mem.failing = true;
}

static void fail_off(void)
{
	mem.failing = false;
}

static int attempt(attempt_fn *fn, long nth, bool forever)
{
	int r;

	mem.left = nth;
	mem.forever = forever;
	mem.failed = mem.live = 0;
	__lsan_disable();
	mem.counting = true;
	r = fn();
	ERR_clear_error(); /* OpenSSL's own notes about it */
	mem.counting = false;
	__lsan_enable();
	return r;
}

/* What is not ours to mend. */
struct excuses {
	long leaks; /* a library's, of one failure */
	bool copes; /* the library can do without some of its allocations */
};

static void fail_each(attempt_fn *fn, bool forever, struct excuses excused)
{
	long nth = 1;

	/* what libraries allocate once and keep is none of our business */
	cr_assert_eq(attempt(fn, NEVER, false), 0);
	for (;; nth++) {
		int r = attempt(fn, nth, forever);

		if (!mem.failed) {
			cr_expect_eq(r, 0, "without a failure: %d", r);
			break;
		}
		cr_expect(r == -ENOMEM || (!r && excused.copes), "allocation %ld%s: %d", nth,
			  forever ? " and on" : "", r);
		cr_expect_leq(LIVE, excused.leaks, "allocation %ld%s: %ld leaked", nth,
			      forever ? " and on" : "", mem.live);
		cr_expect_geq(LIVE, 0, "allocation %ld: freed too much", nth);
		cr_assert_lt(nth, 100000);
	}
	cr_expect_gt(nth, 1, "it allocates nothing: the test tests nothing");
}

static void fail_all(attempt_fn *fn, struct excuses excused)
{
	fail_each(fn, false, excused);
	fail_each(fn, true, excused);
}

static const struct excuses none;

/* A failure must come with words. */
static int told(int r, const char *text)
{
	return r && !text[0] ? -ENOMSG : r;
}

/* ---- what is tested ---- */

static const char yaml[] =
	"listeners:\n"
	"  - address: 127.0.0.1:8080\n"
	"  - { address: '[::1]:8443', tls: { certificates: [{ certificate: c.pem, key: c.key }],\n"
	"      client-ca: ca.pem, client-certificate: optional } }\n"
	"  - address: unix:in.sock\n"
	"keys: [{ name: shop, file: shop.key }, { name: other, file: other.key }]\n"
	"sites:\n"
	"  - hosts: [shop.example, '*.shop.example']\n"
	"    upstreams: [127.0.0.1:9000, name.example:80, 'unix:up.sock']\n"
	"    cookies:\n"
	"      - { name: sid, profile: f5-irule, key: shop, bind: [client-ip/24,64, x509-subject] "
	"}\n"
	"      - { name: two, profile: f5-irule, key: other, bind: [client-ip], sibling: t,\n"
	"          mode: report }\n"
	"limits: { head: 8192 }\n"
	"timeouts: { idle: 75s }\n"
	"access-log: { to: access.log }\n"
	"control: c.sock\n"
	"admin: 127.0.0.1:9144\n"
	"user: nobody\n";

static struct ht_config *config;

static int parse_config(void)
{
	struct ht_diag diag = {0};
	struct ht_config *c = NULL;
	int r;

	fail_on();
	r = ht_config_parse("dir/oom.yaml", yaml, strlen(yaml), &c, &diag);
	fail_off();
	ht_config_free(c);
	return told(r, diag.text);
}

Test(oom, config_parse)
{
	/* libyaml 0.2.5 forgets the pairs of a mapping that it has no room for */
	fail_all(parse_config, (struct excuses){.leaks = 1});
}

static void count_warning(void *arg, const struct ht_diag *diag)
{
	*(unsigned *)arg += !!diag->text[0];
}

/* Without memory there are no warnings, or fewer; there is nobody to tell. */
static int warn_config(void)
{
	unsigned n = 0;

	fail_on();
	ht_config_warnings(config, count_warning, &n);
	fail_off();
	return mem.failed ? -ENOMEM : 0;
}

static void with_config(void)
{
	struct ht_diag diag = {0};

	cr_assert_eq(ht_config_parse("dir/oom.yaml", yaml, strlen(yaml), &config, &diag), 0, "%s",
		     diag.text);
}

static void without_config(void)
{
	ht_config_free(config);
}

Test(oom, config_warnings, .init = with_config, .fini = without_config)
{
	fail_all(warn_config, none);
}

static int compile_policy(void)
{
	static struct ht_policy_site site;
	struct ht_diag diag = {0};
	int r;

	fail_on();
	r = ht_policy_compile(config, &config->sites[0], &site, &diag);
	fail_off();
	return told(r, diag.text);
}

Test(oom, policy_compile, .init = with_config, .fini = without_config)
{
	fail_all(compile_policy, (struct excuses){.copes = true});
}

static int load_keyring(void)
{
	struct ht_keyring *ring = NULL;
	struct ht_diag diag = {0};
	int r;

	fail_on();
	r = ht_keyring_load(config, &ring, &diag);
	fail_off();
	ht_keyring_unref(ring);
	return told(r, diag.text);
}

static struct ht_keyring *ring_to_bump;

static int bump_keyring(void)
{
	struct ht_keyring *ring = NULL;
	int r;

	fail_on();
	r = ht_keyring_bump(ring_to_bump, -1, &ring);
	fail_off();
	ht_keyring_unref(ring);
	return r;
}

Test(oom, keyring, .init = with_config, .fini = without_config)
{
	char file[] = "/tmp/ht-oom-XXXXXX";
	struct ht_diag diag;
	int fd = mkostemp(file, O_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, "secret\n", 7), 7);
	close(fd);
	config->keys[0].file = config->keys[1].file = file;
	fail_all(load_keyring, none);
	cr_expect_eq(ht_keyring_load(config, &ring_to_bump, &diag), 0);
	unlink(file);
	fail_all(bump_keyring, none);
	ht_keyring_unref(ring_to_bump);
}

static int open_offload(void)
{
	const struct ht_offload_params p = {.gate = HT_OFF, .max_tokens = 16, .max_slots = 16};
	struct ht_offload *o = NULL;
	char why[256] = "";
	int r;

	fail_on();
	r = ht_offload_open(&p, &o, why, sizeof(why));
	fail_off();
	ht_offload_close(o);
	return r;
}

Test(oom, offload_open)
{
	fail_all(open_offload, none);
}

static int write_stats(void)
{
	static struct ht_stats worker;
	const struct ht_stats *const workers[] = {&worker};
	const struct ht_stats_global g = {.gate_on = true};
	static size_t whole;
	size_t len = 0;
	char *text;

	fail_on();
	text = ht_stats_prometheus(workers, 1, &g, &len);
	fail_off();
	free(text);
	if (!mem.failed)
		whole = len;
	return !text ? -ENOMEM : len == whole ? 0 : -EBADMSG;
}

Test(oom, stats_text)
{
	fail_all(write_stats, none);
}
