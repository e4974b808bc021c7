/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and certificates that a service manager hands over (systemd.exec(5), "CREDENTIALS"): files
 * that only the unit's user may read, which is root, while a reload reads them as somebody else.
 * They can't change as long as the service runs, so copies in locked memory do for that. Knows
 * files, not what is in them.
 */
#ifndef HT_CREDS_H
#define HT_CREDS_H

#include <sys/types.h>

/*
 * Copies what is in $CREDENTIALS_DIRECTORY, for `uid` to read; nothing to do where there is none.
 * Once, before privileges go, main thread. The copies stay for the life of the process. -errno.
 */
int ht_creds_keep(uid_t uid);

/*
 * What to open to read `path`: itself, or its copy if it is one of those and can't be read by us any
 * more. The result lives as long as both.
 */
const char *ht_creds_path(const char *path);

#endif
