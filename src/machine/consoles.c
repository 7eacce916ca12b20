/* SPDX-License-Identifier: MIT */
/* Which console belongs to which device of the board. */
#include "machine/consoles.h"

#include <signal.h>
#include <string.h>

#include "board/board.h"
#include "dev/virtio_console.h"
#include "machine/console.h"

/* ---- the 16550 ---- */

static unsigned serial_output(void *console, const u8 *bytes, unsigned len)
{
	return console_output(console, bytes, len);
}

static size_t serial_input(void *uart, const u8 *bytes, size_t len)
{
	return ns16550_input(uart, bytes, len);
}

static void serial_output_ready(void *uart)
{
	ns16550_output_ready(uart);
}

static int open_serial(struct machine *machine, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN])
{
	struct ns16550 *uart = &machine->board->com1;
	struct console **console = &machine->consoles[CONSOLE_SERIAL];
	struct console_port port = { serial_input, serial_output_ready, uart };
	int error = console_open(console, "--serial", config->serial, config->escape, problem);

	if (error)
		return error;
	console_attach(*console, machine, &port);
	uart->output = serial_output;
	uart->room = console_room;
	uart->arg = *console;
	return 0;
}

/* ---- the virtio console ---- */

static size_t virtio_input(void *device, const u8 *bytes, size_t len)
{
	return virtio_console_input(device, bytes, len);
}

static void virtio_output_ready(void *device)
{
	virtio_console_output_ready(device);
}

static int open_virtio(struct machine *machine, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN])
{
	struct virtio_console *device = machine->board->console;
	struct console **console = &machine->consoles[CONSOLE_VIRTIO];
	struct console_port port = { virtio_input, virtio_output_ready, device };
	struct virtio_console_options options = { .output = console_output, .ready = console_room };
	int error = console_open(console, "--console", config->console, config->escape, problem);

	if (error)
		return error;
	console_attach(*console, machine, &port);
	options.ctx = *console;
	virtio_console_connect(device, &options);
	return 0;
}

/* ---- both ---- */

int consoles_open(struct machine *machine, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN])
{
	int error = 0;

	if (strcmp(config->serial, "off"))
		error = open_serial(machine, config, problem);
	if (!error && machine->board->console)
		error = open_virtio(machine, config, problem);
	return error;
}

void consoles_free(struct machine *machine)
{
	for (unsigned i = 0; i < CONSOLE_COUNT; i++)
		console_free(machine->consoles[i]);
}

void consoles_start(struct machine *machine)
{
	for (unsigned i = 0; i < CONSOLE_COUNT; i++)
		if (machine->consoles[i])
			console_start(machine->consoles[i]);
}

void consoles_stop(struct machine *machine)
{
	for (unsigned i = 0; i < CONSOLE_COUNT; i++)
		if (machine->consoles[i])
			console_stop(machine->consoles[i]);
}

void consoles_suspend(struct machine *machine)
{
	for (unsigned i = 0; i < CONSOLE_COUNT; i++)
		if (machine->consoles[i])
			console_lend_terminal(machine->consoles[i]);
	raise(SIGSTOP);
	for (unsigned i = 0; i < CONSOLE_COUNT; i++)
		if (machine->consoles[i])
			console_take_terminal(machine->consoles[i]);
}
