/* SPDX-License-Identifier: MIT */
/* A port whose write ends the VM with a value: for tests. Plug at F4h: it takes 4 ports. */
#ifndef DEV_DEBUG_EXIT_H
#define DEV_DEBUG_EXIT_H

#include "dev/device.h"

struct debug_exit {
	/* wiring */
	void (*exit)(void *arg, u32 value); /* what was written; the status is 2 * value + 1 */
	void *arg;
};

extern const struct device_class debug_exit_class;

#endif
