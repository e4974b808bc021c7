/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of reasons, as metrics, logs and people read them. Here, so that what only talks needs
 * no gate.
 */
#include "policy.h"

const char *ht_reason_name(enum ht_reason r)
{
	static const char *const names[HT_REASON_MAX] = {
		[HT_REASON_NONE] = "none",
		[HT_REASON_CONTROL] = "control",
		[HT_REASON_REQUEST_LINE] = "request-line",
		[HT_REASON_FOLD] = "fold",
		[HT_REASON_FIELD_NAME] = "field-name",
		[HT_REASON_LENGTH] = "length",
		[HT_REASON_CODING] = "coding",
		[HT_REASON_CONNECTION] = "connection",
		[HT_REASON_UPGRADE] = "upgrade",
		[HT_REASON_INCOMPLETE] = "incomplete",
		[HT_REASON_SURPLUS] = "surplus",
		[HT_REASON_BLANKS] = "blanks",
		[HT_REASON_COOKIES] = "cookies",
		[HT_REASON_STEPS] = "steps",
		[HT_REASON_TOO_LONG] = "too-long",
		[HT_REASON_STALE] = "stale",
		[HT_REASON_KIND] = "kind",
		[HT_REASON_BODY] = "body",
		[HT_REASON_CHUNK] = "chunk",
		[HT_REASON_END] = "end",
		[HT_REASON_TUNNEL] = "tunnel",
		[HT_REASON_SLOT] = "slot",
		[HT_REASON_POLICY] = "policy",
		[HT_REASON_PULL] = "pull",
		[HT_REASON_POP] = "pop",
		[HT_REASON_PUSH] = "push",
	};

	return r < HT_REASON_MAX && names[r] ? names[r] : "unknown";
}
