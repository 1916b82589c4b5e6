/* JSON for programs that watch Plinth (RFC 8259). Compiles on the host. */
#pragma once

#include "lib/types.h"

#define JSON_ESCAPE_MAX 6 /* \u00XX */

/*
 * The first character of `text` (not empty) as it stands inside of a JSON string, in to[0 .. *length);
 * returns what follows it. A byte that is not UTF-8 becomes U+FFFD. Any context may call it.
 */
const char *json_escape(const char *text, char to[JSON_ESCAPE_MAX], unsigned *length);
