/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of cookies with signatures in them (sign.h), sent through a gateway: what of a request gets
 * to the backend, and what stands beside a backend's Set-Cookie.
 */
#ifndef HT_E2E_TABLES_H
#define HT_E2E_TABLES_H

#include "sign.h"

/* `fields` with patterns; `want`: the pairs at the backend in their order, patterns too. */
struct row {
	const char *name, *fields, *want;
	const char *from; /* instead of 127.0.0.1 */
};

/* Sends each twice, each time the whole table: the gate knows them the second time. */
void expect_rows(struct gw *gw, struct backend *be, const struct row *rows, size_t n,
		 const struct style *style);

/* A response with these Set-Cookie values; at the client they and `want` must be, in any order. */
struct set_row {
	const char *name, *set[4], *want[4];
};
void expect_set_row(struct gw *gw, struct backend *be, const struct set_row *row,
		    const struct style *style);

/* One request that is answered with these Set-Cookie values, those after it are not. */
struct response *answer_with(struct client *c, struct backend *be, const char *const set[4],
			     const char *fields);

/* Covered cookies that the kernel has judged so. */
double kernel_count(struct gw *gw, const char *verdict);

#endif
