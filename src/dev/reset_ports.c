/* SPDX-License-Identifier: MIT */
/*
 * Reset by port: 92h (PS/2 system control port A), CF9h (PIIX3 reset control) and the 8042
 * keyboard controller with nothing plugged into it.
 *
 * Not modelled: the A20 gate itself, whose bits read back while the address line is always open;
 * the 8042's second port, its memory beyond the command byte, and its test inputs.
 */
#include "dev/reset_ports.h"

#define PORT92_FAST_RESET 0x01
#define PORT92_A20 0x02

#define CF9_SYSTEM_RESET 0x02 /* hard, else soft */
#define CF9_RESET_CPU 0x04
#define CF9_FULL_RESET 0x08

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM 0x04
#define STATUS_COMMAND 0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_TIMEOUT 0x40

#define CONTROL_IRQ1 0x01
#define CONTROL_SYSTEM 0x04
#define CONTROL_DISABLE_KEYBOARD 0x10
#define CONTROL_DISABLE_AUX 0x20

#define RESEND 0xfe /* what stands in the output buffer when no keyboard answered */

static void request(struct reset_ports *ports)
{
	if (ports->request)
		ports->request(ports->arg);
}

static u64 port92_read(void *device, u64 offset, unsigned size)
{
	struct reset_ports *ports = device;

	return ports->port92;
}

static void port92_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct reset_ports *ports = device;
	bool rises = (value & ~ports->port92) & PORT92_FAST_RESET;

	ports->port92 = value & (PORT92_FAST_RESET | PORT92_A20);
	if (rises)
		request(ports);
}

static u64 cf9_read(void *device, u64 offset, unsigned size)
{
	struct reset_ports *ports = device;

	return ports->cf9;
}

static void cf9_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct reset_ports *ports = device;
	bool rises = (value & ~ports->cf9) & CF9_RESET_CPU;

	ports->cf9 = value & (CF9_SYSTEM_RESET | CF9_RESET_CPU | CF9_FULL_RESET);
	if (rises)
		request(ports);
}

/* ---- the 8042 ---- */

static void put_output(struct reset_ports *ports, u8 value, u8 flags)
{
	ports->output = value;
	ports->status = (ports->status & ~STATUS_TIMEOUT) | STATUS_OUTPUT_FULL | flags;
	if (ports->control & CONTROL_IRQ1)
		line_set(&ports->keyboard_irq, true);
}

static u64 data_read(void *device, u64 offset, unsigned size)
{
	struct reset_ports *ports = device;

	ports->status &= (u8)~(STATUS_OUTPUT_FULL | STATUS_TIMEOUT);
	line_set(&ports->keyboard_irq, false);
	return ports->output;
}

static u8 output_port(const struct reset_ports *ports)
{
	return 0x01 | (ports->port92 & PORT92_A20);
}

static void write_output_port(struct reset_ports *ports, u8 value)
{
	ports->port92 = (ports->port92 & ~PORT92_A20) | (value & PORT92_A20);
	/* Bit 0 is the processor's reset, active low. */
	if (!(value & 1))
		request(ports);
}

static void data_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct reset_ports *ports = device;
	u8 command = ports->command;

	ports->command = 0;
	ports->status &= (u8)~STATUS_COMMAND;
	switch (command) {
	case 0x60: /* write the command byte */
		ports->control = value;
		ports->status = (ports->status & ~STATUS_SYSTEM) | (value & CONTROL_SYSTEM);
		break;
	case 0xd1:
		write_output_port(ports, value);
		break;
	case 0xd2: /* as if it came from the keyboard */
		put_output(ports, value, 0);
		break;
	default: /* to the keyboard, or (D4h) the mouse: nobody answers */
		put_output(ports, RESEND, STATUS_TIMEOUT);
		break;
	}
}

static u64 status_read(void *device, u64 offset, unsigned size)
{
	struct reset_ports *ports = device;

	return ports->status;
}

static void command_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct reset_ports *ports = device;

	ports->status |= STATUS_COMMAND;
	ports->command = 0;
	switch (value) {
	case 0x20: /* read the command byte */
		put_output(ports, ports->control, 0);
		break;
	case 0xaa: /* self-test */
		ports->status |= STATUS_SYSTEM;
		put_output(ports, 0x55, 0);
		break;
	case 0xab: /* test of the keyboard's wires: they are idle */
		put_output(ports, 0x00, 0);
		break;
	case 0xad:
		ports->control |= CONTROL_DISABLE_KEYBOARD;
		break;
	case 0xae:
		ports->control &= (u8)~CONTROL_DISABLE_KEYBOARD;
		break;
	case 0xd0:
		put_output(ports, output_port(ports), 0);
		break;
	case 0x60:
	case 0xd1:
	case 0xd2:
	case 0xd4:
		ports->command = value;
		break;
	case 0xf0 ... 0xff: /* pulses the output port's bits that are 0: bit 0 is the reset */
		if (!(value & 1))
			request(ports);
		break;
	}
}

static void reset(void *device)
{
	struct reset_ports *ports = device;

	ports->port92 = PORT92_A20;
	ports->cf9 = 0;
	ports->command = ports->output = 0;
	/* As firmware leaves it. */
	ports->control = CONTROL_SYSTEM | CONTROL_DISABLE_KEYBOARD | CONTROL_DISABLE_AUX;
	ports->status = STATUS_SYSTEM | STATUS_UNLOCKED;
	line_set(&ports->keyboard_irq, false);
}

static const struct field state[] = {
	FIELD(struct reset_ports, port92),
	FIELD(struct reset_ports, cf9),
	FIELD(struct reset_ports, control),
	FIELD(struct reset_ports, command),
	FIELD(struct reset_ports, output),
	FIELD(struct reset_ports, status),
	{ 0 },
};

const struct device_class reset_ports_class = {
	.name = "reset_ports",
	.size = sizeof(struct reset_ports),
	.ranges = {
		{ PORT, 0x00, 1, { data_read, data_write, .sizes = 1 } },
		{ PORT, 0x04, 1, { status_read, command_write, .sizes = 1 } },
		{ PORT, 0x32, 1, { port92_read, port92_write, .sizes = 1 } },
		{ PORT, 0xc99, 1, { cf9_read, cf9_write, .sizes = 1 } },
	},
	.state = state,
	.reset = reset,
};
