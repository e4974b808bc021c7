/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gateways that outlive a test, and what gateway.c has for them. Tests see harness.h only.
 */
#ifndef HT_E2E_POOL_H
#define HT_E2E_POOL_H

#include "harness.h"

bool pool_on(void);
int pool_open(void);  /* main() only, before Criterion's; -errno */
int pool_close(void); /* main() only; how many ended badly */

/*
 * `gw` is one that runs, configured as a new one would be; false, and nothing in `gw`, where that
 * takes a restart, or gateways are not shared.
 */
bool pool_take(struct gw *gw, struct backend *be, const struct gw_spec *s);
void pool_give_back(struct gw *gw);
pid_t pool_start(struct gw *gw); /* has the keeper start it */

#define GW_DIR "gw-"
void gw_name(struct gw *gw, const char *name); /* its folder, files and pins: NAME once in a run */
void gw_new_ports(struct gw *gw);
void gw_configure(struct gw *gw, struct backend *be, const struct gw_spec *s);
int gw_notify_open(const struct gw *gw); /* what the daemon tells the service manager */
int gw_launch(struct gw *gw);		 /* 1 ready, 0 ended before it was, -1 neither in time */
pid_t gw_fork(struct gw *gw);		 /* it ends with this process */
bool gw_log_is_bad(const struct gw *gw);
void gw_show_log(const struct gw *gw, const char *what);
void gw_remove(const struct gw *gw);	     /* its folder and its pins */
void gw_remove_folders(const struct gw *gw); /* those in its folder */

#endif
