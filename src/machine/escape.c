/* SPDX-License-Identifier: MIT */
#include "machine/escape.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define CONTROL(letter) ((letter) & 0x1f)

/*
 * After Ctrl-A come keys that line editors bind to what has another key as well (Ctrl-B is the
 * left arrow) or is seldom meant (Ctrl-T, Ctrl-O). They are none that Linux' terminals, ssh
 * or telnet use. From the fifth on they repeat: an outer key followed by its letter
 * reaches further in.
 */
static const char defaults[] = { 'A', 'B', 'T', 'O' };

u8 escape_default(unsigned level)
{
	return CONTROL(defaults[level % sizeof(defaults)]);
}

char escape_letter(u8 key)
{
	return key | 0x40;
}

/*
 * Not the keys that terminals send for Backspace, Tab, Enter and Escape, and not X: its letter is
 * a command, as H is.
 */
static bool is_usable(char letter)
{
	return letter > '@' && letter <= '_' && !strchr("HIJMX[", letter);
}

bool escape_parse(const char *text, u8 *key)
{
	const char *letter;

	if (!strcasecmp(text, "none")) {
		*key = ESCAPE_NONE;
		return true;
	}
	if (!strncasecmp(text, "ctrl-", 5))
		letter = text + 5;
	else if (text[0] == '^')
		letter = text + 1;
	else
		return false;
	if (!letter[0] || letter[1] || !is_usable(toupper((unsigned char)letter[0])))
		return false;
	*key = CONTROL(letter[0]);
	return true;
}

void escape_name(u8 key, char name[ESCAPE_NAME_LEN])
{
	if (key == ESCAPE_NONE) {
		strcpy(name, "none");
	} else {
		strcpy(name, "Ctrl-?");
		name[5] = escape_letter(key);
	}
}

enum escape_action escape_typed(struct escape *escape, u8 *byte)
{
	char letter = toupper(*byte);

	if (escape->key == ESCAPE_NONE)
		return ESCAPE_PASS;
	if (!escape->pending) {
		escape->pending = *byte == escape->key;
		return escape->pending ? ESCAPE_SWALLOW : ESCAPE_PASS;
	}
	escape->pending = false;
	if (letter == 'X')
		return ESCAPE_QUIT;
	if (letter != escape_letter(escape->key) && *byte != escape->key)
		return ESCAPE_HELP;
	*byte = escape->key;
	return ESCAPE_PASS;
}
