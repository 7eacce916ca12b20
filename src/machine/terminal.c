/* SPDX-License-Identifier: MIT */
/*
 * The terminal belongs to the process and not to a VM, and a handler of a fatal signal gets no
 * argument: what to restore is therefore kept here and hangs off no machine.
 */
#include "machine/terminal.h"

#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static struct {
	int fd;
	struct termios before;
	volatile sig_atomic_t raw;
} terminal;

/* What ends a process by default, signal(7), is whatever is none of these. */
static bool is_fatal(int number)
{
	switch (number) {
	case SIGKILL:
	case SIGSTOP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGCONT:
	case SIGCHLD:
	case SIGURG:
	case SIGWINCH:
		return false;
	default:
		return true;
	}
}

void terminal_restore(void)
{
	if (!terminal.raw)
		return;
	terminal.raw = 0;
	tcsetattr(terminal.fd, TCSANOW, &terminal.before);
}

static void restore_and_die(int number)
{
	terminal_restore();
	signal(number, SIG_DFL);
	raise(number);
}

bool terminal_raw(int fd)
{
	struct termios raw;
	struct sigaction action = { .sa_handler = restore_and_die,
		.sa_flags = SA_ONSTACK | SA_NODEFER };

	if (tcgetattr(fd, &raw))
		return false;
	if (!terminal.raw) {
		terminal.fd = fd;
		terminal.before = raw;
		for (int i = 1; i <= SIGRTMAX; i++) {
			struct sigaction old;

			/* The engine's own handlers stay; they pass on what is not theirs */
			if (is_fatal(i) && !sigaction(i, NULL, &old) && old.sa_handler == SIG_DFL)
				sigaction(i, &action, NULL);
		}
	}
	terminal.raw = 1;
	cfmakeraw(&raw);
	return !tcsetattr(fd, TCSANOW, &raw);
}
