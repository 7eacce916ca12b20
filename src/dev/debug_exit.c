/* SPDX-License-Identifier: MIT */
/* The port by which a test in the guest ends the VM with a value. */
#include "dev/debug_exit.h"

static u64 exit_read(void *device, u64 offset, unsigned size)
{
	return 0;
}

static void exit_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct debug_exit *port = device;

	if (port->exit)
		port->exit(port->arg, value);
}

static const struct field state[] = { { 0 } };

const struct device_class debug_exit_class = {
	.name = "debug_exit",
	.size = sizeof(struct debug_exit),
	.ranges = { { PORT, 0, 4, { exit_read, exit_write } } },
	.state = state,
};
