/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the decoder of the chunked coding: however the bytes are cut into pieces, the same body
 * comes out, the same bytes are consumed and the same answer is given.
 */
#include "http.h"
#include "fuzz.h"

struct result {
	int answer;
	size_t used, body_len;
	uint64_t hash;
};

/* Decodes in pieces of `step` bytes. */
static struct result decode(const char *in, size_t len, size_t step)
{
	struct ht_http_chunked c = {0};
	struct result r = {0};

	while (r.used < len && !r.answer) {
		size_t piece = HT_MIN(step, len - r.used), done = 0;

		while (done < piece && !r.answer) {
			const char *body = NULL;
			size_t used = 0, n = 0;

			r.answer = ht_http_dechunk(&c, in + r.used, piece - done, &used, &body, &n);
			if (r.answer < 0)
				return r;
			ENSURE(used <= piece - done && n <= used && (used || r.answer));
			ENSURE(!n || (body >= in + r.used && body + n <= in + r.used + used));
			for (size_t i = 0; i < n; i++)
				r.hash = r.hash * 31 + (uint8_t)body[i];
			r.body_len += n;
			r.used += used;
			done += used;
		}
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole, pieces;

	if (size < 2)
		return 0;
	whole = decode((const char *)data + 1, size - 1, size);
	pieces = decode((const char *)data + 1, size - 1, 1 + data[0] % 64);
	ENSURE(whole.answer == pieces.answer);
	if (whole.answer >= 0)
		ENSURE(whole.used == pieces.used && whole.body_len == pieces.body_len &&
		       whole.hash == pieces.hash);
	return 0;
}
