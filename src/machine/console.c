/* SPDX-License-Identifier: MIT */
/*
 * Consoles' far ends. Everything runs with the machine lock. Output is gathered for half a
 * millisecond and written by the loop, so that a vCPU never waits for a terminal; where the reader
 * is slow the buffer fills and the device holds its bytes back. Input that the guest does not read
 * stays where it is, but a terminal is always read, since its escape must work with a dead guest.
 */
#include "machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "machine/escape.h"
#include "machine/machine.h"
#include "machine/terminal.h"

#define GATHER_NS 500000
/* What poll(2) promises to be writable of a blocking pipe without waiting. */
#define BLOCKING_CHUNK 512

struct console {
	struct machine *machine;
	struct console_port port;
	bool stdio;
	bool tty;
	struct escape escape; /* of stdio alone */
	bool own_out;       /* out is a descriptor of ours, not blocking */
	bool out_blocking;
	int in, out;        /* -1: none */
	int listener;
	char *path;         /* of the socket, to be removed */
	unsigned watching_in, watching_out;
	u8 input[256];
	unsigned input_len;
	u8 output[16 * KIB];
	unsigned output_len;
	bool output_refused; /* the device waits for room */
	struct loop_timer gather;
};

static void ready(void *arg, int fd, unsigned events);

/* ---- which descriptors the loop looks at ---- */

static void update_watches(struct console *c)
{
	struct loop *loop = c->machine->loop;
	/* A terminal is drained whatever the guest does */
	bool read = c->in >= 0 && (c->tty || c->input_len < sizeof(c->input));
	bool write = c->out >= 0 && c->output_len && !c->gather.deadline;
	unsigned in = read ? LOOP_READ : 0, out = write ? LOOP_WRITE : 0;

	if (c->in == c->out) {
		in |= out;
		out = 0;
	}
	if (in != c->watching_in)
		loop_watch(loop, c->in, in, ready, c);
	if (out != c->watching_out)
		loop_watch(loop, c->out, out, ready, c);
	c->watching_in = in;
	c->watching_out = out;
}

/* A socket's peer has gone. */
static void hang_up(struct console *c)
{
	if (c->listener < 0)
		return;
	loop_watch(c->machine->loop, c->in, 0, NULL, NULL);
	close(c->in);
	c->in = c->out = -1;
	c->watching_in = c->watching_out = 0;
	c->output_len = 0;
}

/* ---- from the guest ---- */

/* Writes what can be written without waiting. */
static void flush(struct console *c)
{
	unsigned done = 0;

	while (done < c->output_len && c->out >= 0) {
		unsigned len = c->output_len - done;
		ssize_t n;

		if (c->out_blocking) {
			struct pollfd p = { .fd = c->out, .events = POLLOUT };

			if (poll(&p, 1, 0) <= 0)
				break;
			len = MIN(len, BLOCKING_CHUNK);
		}
		n = write(c->out, c->output + done, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) { /* nobody will read it, or the disk is full: it is lost, no more */
			done = c->output_len;
			if (errno == EPIPE || errno == ECONNRESET)
				hang_up(c);
			break;
		}
		done += n;
	}
	if (c->out < 0)
		done = c->output_len;
	memmove(c->output, c->output + done, c->output_len - done);
	c->output_len -= done;
	if (done && c->output_refused) {
		c->output_refused = false;
		c->port.output_ready(c->port.device);
	}
}

static void gathered(void *arg)
{
	struct console *c = arg;

	flush(c);
	update_watches(c);
}

size_t console_output(void *console, const u8 *bytes, size_t len)
{
	struct console *c = console;
	size_t took = MIN(len, sizeof(c->output) - c->output_len);

	if (!c->output_len && took)
		loop_timer_set(c->machine->loop, &c->gather, clock_ns() + GATHER_NS);
	memcpy(c->output + c->output_len, bytes, took);
	c->output_len += took;
	c->output_refused |= took < len;
	return took;
}

/* ---- to the guest ---- */

static void feed(struct console *c)
{
	size_t took = c->input_len ? c->port.input(c->port.device, c->input, c->input_len) : 0;

	memmove(c->input, c->input + took, c->input_len - took);
	c->input_len -= took;
}

void console_room(void *console)
{
	struct console *c = console;

	feed(c);
	update_watches(c);
}

static void put_help(struct console *c)
{
	char key[ESCAPE_NAME_LEN], help[160];
	int len;

	escape_name(c->escape.key, key);
	len = snprintf(help, sizeof(help), "\r\n%s%s X quits, %s H shows this, %s %c sends %s\r\n",
		message_prefix(), key, key, key, escape_letter(c->escape.key), key);
	console_output(c, (const u8 *)help, len);
}

static void typed(struct console *c, u8 byte)
{
	switch (escape_typed(&c->escape, &byte)) {
	case ESCAPE_PASS:
		break;
	case ESCAPE_SWALLOW:
		return;
	case ESCAPE_QUIT:
		machine_end(c->machine, END_STOPPED);
		return;
	case ESCAPE_HELP:
		put_help(c);
		return;
	}
	/* A full buffer of a terminal: the guest is not listening, the key is lost */
	if (c->input_len < sizeof(c->input))
		c->input[c->input_len++] = byte;
}

static void read_input(struct console *c)
{
	u8 bytes[sizeof(c->input)];
	/* A terminal is read whole; the rest only as far as there is room */
	size_t want = c->tty ? sizeof(bytes) : sizeof(bytes) - c->input_len;
	ssize_t n = want ? read(c->in, bytes, want) : 0;

	if (!want || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	if (n <= 0) {
		if (c->listener >= 0) {
			hang_up(c);
		} else {
			loop_watch(c->machine->loop, c->in, 0, NULL, NULL);
			c->watching_in = 0;
			c->in = -1;
		}
		return;
	}
	for (ssize_t i = 0; i < n; i++)
		typed(c, bytes[i]);
	feed(c);
}

static void ready(void *arg, int fd, unsigned events)
{
	struct console *c = arg;

	if (events & LOOP_WRITE)
		flush(c);
	if ((events & LOOP_READ) && c->in >= 0)
		read_input(c);
	update_watches(c);
}

static void connected(void *arg, int fd, unsigned events)
{
	struct console *c = arg;
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (peer < 0)
		return;
	if (c->in >= 0) { /* one at a time */
		close(peer);
		return;
	}
	c->in = c->out = peer;
	update_watches(c);
}

/* ---- opening ---- */

/*
 * Our own description of what standard output leads to, so that it can be made not to block
 * without the shell's sharing that. Files and sockets stay as they are.
 */
static void open_stdout(struct console *c)
{
	struct stat st;
	int fd = -1;

	c->out = STDOUT_FILENO;
	if (!fstat(STDOUT_FILENO, &st) && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
		fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0) {
		c->out = fd;
		c->own_out = true;
	}
	c->out_blocking = fd < 0 && !S_ISREG(st.st_mode);
}

/* Binds to a path, also to a socket that a killed process left behind: nobody answers there. -errno */
static int bind_path(int fd, const struct sockaddr_un *address)
{
	struct stat st;
	int probe;
	bool dead;

	if (!bind(fd, (const void *)address, sizeof(*address)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	/* connect() is refused by other files too */
	if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return -EEXIST;
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return -errno;
	dead = connect(probe, (const void *)address, sizeof(*address)) && errno == ECONNREFUSED;
	close(probe);
	if (!dead)
		return -EADDRINUSE;
	unlink(address->sun_path);
	return bind(fd, (const void *)address, sizeof(*address)) ? -errno : 0;
}

static int open_socket(struct console *c, const char *option, const char *path, char problem[320])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int error;

	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(problem, 320, "%s unix: the path is longer than %zu characters; give a "
			"shorter one", option, sizeof(address.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	strcpy(address.sun_path, path);
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listener < 0)
		return -errno;
	error = bind_path(c->listener, &address);
	if (!error) {
		c->path = strdup(path); /* ours to remove from now on */
		error = !c->path ? -ENOMEM : listen(c->listener, 1) ? -errno : 0;
	}
	if (error)
		snprintf(problem, 320, "%s unix: cannot listen at %.200s: %s; give another path",
			option, path, strerror(-error));
	return error;
}

int console_open(struct console **console, const char *option, const char *where, u8 escape,
	char problem[320])
{
	struct console *c = calloc(1, sizeof(*c));
	int error = 0;

	problem[0] = 0;
	*console = NULL;
	if (!c)
		return -ENOMEM;
	c->in = c->out = c->listener = -1;
	if (!strcmp(where, "stdio")) {
		c->stdio = true;
		c->escape.key = escape;
		c->in = STDIN_FILENO;
		c->tty = isatty(STDIN_FILENO);
		open_stdout(c);
	} else if (!strncmp(where, "file:", 5) && where[5]) {
		c->out = open(where + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		c->own_out = true;
		if (c->out < 0) {
			error = -errno;
			snprintf(problem, 320, "%s file: cannot write %.200s: %s; give another path",
				option, where + 5, strerror(-error));
		}
	} else if (!strncmp(where, "unix:", 5) && where[5]) {
		error = open_socket(c, option, where + 5, problem);
	} else {
		error = -EINVAL;
		snprintf(problem, 320, "%s %.100s: is not known; give stdio, file:PATH, unix:PATH or "
			"off", option, where);
	}
	if (error) {
		console_free(c);
		return error;
	}
	*console = c;
	return 0;
}

void console_free(struct console *c)
{
	if (!c)
		return;
	if (c->listener >= 0) {
		close(c->listener);
		if (c->in >= 0)
			close(c->in);
		if (c->path)
			unlink(c->path);
	}
	if (c->own_out && c->out >= 0)
		close(c->out);
	free(c->path);
	free(c);
}

/* ---- life ---- */

void console_attach(struct console *c, struct machine *machine, const struct console_port *port)
{
	c->machine = machine;
	c->port = *port;
	c->gather.fire = gathered;
	c->gather.arg = c;
}

static bool is_terminal(const struct console *c)
{
	return c->stdio && c->tty;
}

void console_start(struct console *c)
{
	if (is_terminal(c))
		terminal_raw(STDIN_FILENO);
	machine_lock(c->machine);
	if (c->listener >= 0)
		loop_watch(c->machine->loop, c->listener, LOOP_READ, connected, c);
	update_watches(c);
	machine_unlock(c->machine);
}

void console_stop(struct console *c)
{
	u64 patience = clock_ns() + 1000000000ull;

	/* The last words are worth a moment, but a reader that is stuck does not hold the exit up */
	machine_lock(c->machine);
	flush(c);
	while (c->output_len && c->out >= 0 && clock_ns() < patience) {
		struct pollfd p = { .fd = c->out, .events = POLLOUT };

		poll(&p, 1, 50);
		flush(c);
	}
	machine_unlock(c->machine);
	terminal_restore();
}

void console_lend_terminal(struct console *c)
{
	if (is_terminal(c))
		terminal_restore();
}

void console_take_terminal(struct console *c)
{
	if (is_terminal(c))
		terminal_raw(STDIN_FILENO);
}
