/* SPDX-License-Identifier: MIT */
/*
 * The ways a PC is reset by a port: 92h, CF9h and the keyboard controller, of which there is as
 * much as a guest needs to see that no keyboard is there. Plug at port 60h, after the PCI host
 * bridge, whose CF8h-CFBh it shares: it takes 60h, 64h, 92h and CF9h.
 */
#ifndef DEV_RESET_PORTS_H
#define DEV_RESET_PORTS_H

#include "dev/device.h"

struct reset_ports {
	/* wiring */
	void (*request)(void *arg); /* the guest asks for a reset */
	void *arg;
	struct line keyboard_irq;   /* ISA IRQ 1 */
	/* state */
	u8 port92, cf9;
	u8 control;        /* the 8042's command byte */
	u8 command;        /* the one that waits for its data byte at 60h; 0: none */
	u8 output;
	u8 status;
};

extern const struct device_class reset_ports_class;

#endif
