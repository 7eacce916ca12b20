/* SPDX-License-Identifier: MIT */
/* The user's terminal: raw while a VM has it, and as it was before after every way out. */
#ifndef MACHINE_TERMINAL_H
#define MACHINE_TERMINAL_H

#include "base/types.h"

/* Makes the terminal raw, if fd is one; once it was called, a fatal signal brings it back. False:
 * no terminal. */
bool terminal_raw(int fd);
/* As it was before terminal_raw(). Any thread, signal handlers too; may be called twice. */
void terminal_restore(void);

#endif
