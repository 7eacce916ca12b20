/* SPDX-License-Identifier: MIT */
/*
 * The far end of the serial port: the user's terminal, a file, or a Unix socket. With the terminal
 * there is an escape key, machine/escape.h: X quits, H helps, the key's letter sends the key.
 */
#ifndef MACHINE_CONSOLE_H
#define MACHINE_CONSOLE_H

#include "base/types.h"

struct console;
struct machine;
struct ns16550;

/* "stdio", "file:PATH" or "unix:PATH". 0, or -errno and problem says in words what is wrong. */
int console_open(struct console **console, const char *where, u8 escape, char problem[320]);
void console_free(struct console *console);
/* Wires it to a port and the machine's loop. */
void console_attach(struct console *console, struct machine *machine, struct ns16550 *uart);
/* The VM starts: the terminal becomes raw. It ends: what is left is written, the terminal is as it
 * was. Both on the main thread without the lock. */
void console_start(struct console *console);
void console_stop(struct console *console);
/* SIGTSTP: gives the terminal back, stops the process, and goes on when it is continued. */
void console_suspend(struct console *console);

#endif
