/* SPDX-License-Identifier: MIT */
/*
 * The escape key of a terminal that is a guest's serial port: a control character, after which a
 * letter is a command for nestbox. Nestboxes inside each other on one terminal each want another.
 */
#ifndef MACHINE_ESCAPE_H
#define MACHINE_ESCAPE_H

#include "base/types.h"

#define ESCAPE_NONE 0
#define ESCAPE_NAME_LEN 8

/* The key of a nestbox that is inside `level` others; a control character. */
u8 escape_default(unsigned level);
/* "Ctrl-B", "^B" or "none", upper or lower case. False: not a key that can be had. */
bool escape_parse(const char *text, u8 *key);
/* "Ctrl-B", or "none" */
void escape_name(u8 key, char name[ESCAPE_NAME_LEN]);
/* The letter that sends the key itself: B for Ctrl-B. */
char escape_letter(u8 key);

enum escape_action {
	ESCAPE_PASS,    /* the byte is the guest's */
	ESCAPE_SWALLOW,
	ESCAPE_QUIT,
	ESCAPE_HELP,
};

struct escape {
	u8 key;
	bool pending; /* the key was typed, its letter not yet */
};

/* One typed byte, which may become another. */
enum escape_action escape_typed(struct escape *escape, u8 *byte);

#endif
