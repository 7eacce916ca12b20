/* SPDX-License-Identifier: MIT */
/* A virtio console with one port. */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "base/types.h"

struct pci_bus;
struct virtio_console;

struct virtio_console_options {
	/* What the guest writes; must not block. */
	void (*output)(void *ctx, const u8 *bytes, size_t len);
	/* The guest has room for input again, after virtio_console_input() took less than it was
	 * given. May be NULL. */
	void (*ready)(void *ctx);
	void *ctx;
};

/* -errno: the slot is taken, or no memory. The bus owns *console. */
int virtio_console_plug(struct virtio_console **console, struct pci_bus *bus, unsigned slot,
	const struct virtio_console_options *options);
/* Gives the guest input; returns how much it took. Machine lock held. */
size_t virtio_console_input(struct virtio_console *console, const u8 *bytes, size_t len);

#endif
