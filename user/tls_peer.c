/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a finished handshake says of who is at the other end, for bindings and for backends. Only
 * reads; what it can't say for certain it doesn't say.
 */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

char *ht_tls_subject(const struct ht_tls *t)
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	BIO *b = cert ? BIO_new(BIO_s_mem()) : NULL;
	char *text, *ret = NULL;
	long len;

	if (!b)
		return NULL;
	if (X509_NAME_print_ex(b, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0) {
		len = BIO_get_mem_data(b, &text);
		ret = len > 0 ? calloc(1, (size_t)len + 1) : NULL;
		if (ret) /* the text has no NUL at its end */
			memcpy(ret, text, (size_t)len);
	}
	BIO_free(b);
	ERR_clear_error();
	return ret;
}

size_t ht_tls_common_name(const struct ht_tls *t, char *ret, size_t cap)
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	const X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	int last = -1, i, len;
	unsigned char *utf8;
	size_t n = 0;

	while (name && (i = X509_NAME_get_index_by_NID(name, NID_commonName, last)) >= 0)
		last = i;
	if (last < 0)
		return 0;
	len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)));
	ERR_clear_error();
	if (len < 0)
		return 0;
	if ((size_t)len <= cap && !memchr(utf8, 0, (size_t)len))
		n = (size_t)len;
	memcpy(ret, utf8, n);
	OPENSSL_free(utf8);
	return n;
}

bool ht_tls_spki(const struct ht_tls *t, uint8_t ret[32])
{
	const X509 *cert = SSL_get0_peer_certificate(t->ssl);
	unsigned char *der = NULL;
	int len = cert ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der) : -1;
	bool ok = len > 0 && EVP_Digest(der, (size_t)len, ret, NULL, EVP_sha256(), NULL);

	OPENSSL_free(der);
	ERR_clear_error();
	return ok;
}

bool ht_tls_exporter(const struct ht_tls *t, uint8_t ret[32])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	const unsigned char *no_context = (const unsigned char *)"";
	bool ok;

	if (SSL_version(t->ssl) < TLS1_3_VERSION && SSL_get_extms_support(t->ssl) != 1)
		return false;
	ok = SSL_export_keying_material(t->ssl, ret, 32, label, sizeof(label) - 1, no_context, 0,
					1) == 1;
	ERR_clear_error();
	return ok;
}
