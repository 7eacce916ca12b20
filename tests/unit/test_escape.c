/* SPDX-License-Identifier: MIT */
/* The escape key: which words name one, and what becomes of each typed byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "machine/escape.h"

#define CTRL(letter) ((letter) & 0x1f)

static void words(void **state)
{
	static const struct {
		const char *text;
		u8 key;
		const char *name;
	} good[] = { { "Ctrl-B", 2, "Ctrl-B" }, { "ctrl-b", 2, "Ctrl-B" }, { "^b", 2, "Ctrl-B" },
		{ "CTRL-]", 0x1d, "Ctrl-]" }, { "^^", 0x1e, "Ctrl-^" }, { "^_", 0x1f, "Ctrl-_" },
		{ "^\\", 0x1c, "Ctrl-\\" }, { "none", ESCAPE_NONE, "none" },
		{ "None", ESCAPE_NONE, "none" } };
	static const char *const bad[] = { "", "b", "B", "ctrl", "Ctrl-", "^", "Ctrl-BB", "^ab",
		"alt-b", "Ctrl-1", "Ctrl- ", "Ctrl-@", "nonesuch",
		/* Backspace, Tab, Enter twice, Escape; a command's letter */
		"Ctrl-H", "^i", "Ctrl-J", "ctrl-m", "^[", "Ctrl-X", "^x" };
	char name[ESCAPE_NAME_LEN];
	u8 key;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		key = 0xff;
		assert_true(escape_parse(good[i].text, &key));
		assert_int_equal(key, good[i].key);
		escape_name(key, name);
		assert_string_equal(name, good[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(escape_parse(bad[i], &key));
}

/* Each default is a key that a user could name, and no neighbour has the same. */
static void defaults(void **state)
{
	assert_int_equal(escape_default(0), CTRL('A'));
	assert_int_equal(escape_default(1), CTRL('B'));
	for (unsigned level = 0; level < 300; level++) {
		char name[ESCAPE_NAME_LEN];
		u8 key;

		escape_name(escape_default(level), name);
		assert_true(escape_parse(name, &key));
		assert_int_equal(key, escape_default(level));
		for (unsigned inner = level + 1; inner < level + 4; inner++)
			assert_int_not_equal(key, escape_default(inner));
	}
}

static enum escape_action type(struct escape *e, u8 byte, u8 want)
{
	enum escape_action action = escape_typed(e, &byte);

	if (action == ESCAPE_PASS)
		assert_int_equal(byte, want);
	return action;
}

static void typed(void **state)
{
	struct escape e = { .key = CTRL('B') };

	/* other bytes pass, the commands' letters too */
	for (unsigned byte = 0; byte < 256; byte++)
		if (byte != CTRL('B'))
			assert_int_equal(type(&e, byte, byte), ESCAPE_PASS);
	/* the key by its letter, small or capital, and by itself */
	for (const char *c = "bB\2"; *c; c++) {
		assert_int_equal(type(&e, CTRL('B'), 0), ESCAPE_SWALLOW);
		assert_int_equal(type(&e, *c, CTRL('B')), ESCAPE_PASS);
	}
	for (const char *c = "xX"; *c; c++) {
		assert_int_equal(type(&e, CTRL('B'), 0), ESCAPE_SWALLOW);
		assert_int_equal(type(&e, *c, 0), ESCAPE_QUIT);
	}
	/* anything else helps, the outer key's letter among it, and is over then */
	for (const char *c = "hHaA\1?\xff"; *c; c++) {
		assert_int_equal(type(&e, CTRL('B'), 0), ESCAPE_SWALLOW);
		assert_int_equal(type(&e, *c, 0), ESCAPE_HELP);
		assert_int_equal(type(&e, 'x', 'x'), ESCAPE_PASS);
	}
	/* no letter: Ctrl-] */
	e.key = CTRL(']');
	assert_int_equal(type(&e, CTRL(']'), 0), ESCAPE_SWALLOW);
	assert_int_equal(type(&e, ']', CTRL(']')), ESCAPE_PASS);
}

static void none(void **state)
{
	struct escape e = { .key = ESCAPE_NONE };

	for (unsigned byte = 0; byte < 256; byte++) {
		assert_int_equal(type(&e, byte, byte), ESCAPE_PASS);
		assert_int_equal(type(&e, 'x', 'x'), ESCAPE_PASS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words), cmocka_unit_test(defaults), cmocka_unit_test(typed),
		cmocka_unit_test(none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
