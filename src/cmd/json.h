/* SPDX-License-Identifier: MIT */
/*
 * Writes JSON (RFC 8259), indented, in the order of the calls. Names are NULL inside arrays and for
 * the outermost value.
 */
#ifndef CMD_JSON_H
#define CMD_JSON_H

#include "base/types.h"
#include <stdio.h>

struct json {
	FILE *out;
	unsigned depth;
	bool inside; /* something stands before on this level */
};

void json_open(struct json *json, const char *name, char bracket); /* '{' or '[' */
void json_close(struct json *json, char bracket);                  /* '}' or ']' */
/* Any bytes; what is no UTF-8 becomes U+FFFD. NULL: null. */
void json_string(struct json *json, const char *name, const char *value);
/* As json_string, but the empty string is null too. */
void json_text(struct json *json, const char *name, const char *value);
void json_number(struct json *json, const char *name, u64 value);
void json_bool(struct json *json, const char *name, bool value);
void json_null(struct json *json, const char *name);

#endif
