/* SPDX-License-Identifier: MIT */
#include "cmd/json.h"

#include <string.h>

/* Bytes of the UTF-8 character at text (RFC 3629), 0 where there is none. */
static unsigned utf8_length(const u8 *text)
{
	u32 code = text[0];
	unsigned len = code < 0x80 ? 1 : code >> 5 == 6 ? 2 : code >> 4 == 14 ? 3 : code >> 3 == 30 ? 4 : 0;

	if (len < 2)
		return len;
	code &= 0x7f >> len;
	for (unsigned i = 1; i < len; i++) {
		if (text[i] >> 6 != 2)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	/* longer than need be, a surrogate, beyond Unicode */
	if (code < (len == 2 ? 0x80u : len == 3 ? 0x800u : 0x10000u) ||
	    (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
		return 0;
	return len;
}

static void put_string(FILE *out, const char *text)
{
	const u8 *at = (const u8 *)text;

	fputc('"', out);
	while (*at) {
		unsigned len = utf8_length(at);

		if (!len)
			fputs("\\ufffd", out);
		else if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at < 0x20)
			fprintf(out, "\\u%04x", *at);
		else
			fwrite(at, 1, len, out);
		at += MAX(len, 1u);
	}
	fputc('"', out);
}

static void indent(struct json *json)
{
	fprintf(json->out, "\n%*s", (int)json->depth * 2, "");
}

/* What stands before each value. */
static void begin(struct json *json, const char *name)
{
	if (json->inside)
		fputc(',', json->out);
	if (json->depth)
		indent(json);
	json->inside = true;
	if (name) {
		put_string(json->out, name);
		fputs(": ", json->out);
	}
}

void json_open(struct json *json, const char *name, char bracket)
{
	begin(json, name);
	fputc(bracket, json->out);
	json->depth++;
	json->inside = false;
}

void json_close(struct json *json, char bracket)
{
	json->depth--;
	if (json->inside)
		indent(json);
	fputc(bracket, json->out);
	json->inside = true;
	if (!json->depth)
		fputc('\n', json->out);
}

void json_string(struct json *json, const char *name, const char *value)
{
	if (!value) {
		json_null(json, name);
		return;
	}
	begin(json, name);
	put_string(json->out, value);
}

void json_text(struct json *json, const char *name, const char *value)
{
	json_string(json, name, value && value[0] ? value : NULL);
}

void json_number(struct json *json, const char *name, u64 value)
{
	begin(json, name);
	fprintf(json->out, "%llu", (unsigned long long)value);
}

void json_bool(struct json *json, const char *name, bool value)
{
	begin(json, name);
	fputs(value ? "true" : "false", json->out);
}

void json_null(struct json *json, const char *name)
{
	begin(json, name);
	fputs("null", json->out);
}
