/* SPDX-License-Identifier: MIT */
/*
 * The far end of a serial port or virtio console: the user's terminal, a file, or a Unix socket. With
 * the terminal there is an escape key, machine/escape.h: X quits, H helps, the key's letter sends the
 * key.
 */
#ifndef MACHINE_CONSOLE_H
#define MACHINE_CONSOLE_H

#include "base/types.h"

struct console;
struct machine;

/* The device before it. Machine lock held. */
struct console_port {
	/* Gives the guest input; how much it took. For more it calls console_room(). */
	size_t (*input)(void *device, const u8 *bytes, size_t len);
	/* console_output() took less than it was given and can take more now. */
	void (*output_ready)(void *device);
	void *device;
};

/* "stdio", "file:PATH" or "unix:PATH". 0, or -errno and problem says in words what is wrong with the
 * option. */
int console_open(struct console **console, const char *option, const char *where, u8 escape,
	char problem[320]);
void console_free(struct console *console);
/* Wires it to a device and the machine's loop. */
void console_attach(struct console *console, struct machine *machine,
	const struct console_port *port);
/* The VM starts: the terminal becomes raw. It ends: what is left is written, the terminal is as it
 * was. Both on the main thread without the lock. */
void console_start(struct console *console);
void console_stop(struct console *console);
/* Around a stop of the process by SIGTSTP. */
void console_lend_terminal(struct console *console);
void console_take_terminal(struct console *console);

/* ---- the device's hooks, with a struct console; machine lock held ---- */
/* How many bytes were taken. */
size_t console_output(void *console, const u8 *bytes, size_t len);
/* The guest has room for input again. */
void console_room(void *console);

#endif
