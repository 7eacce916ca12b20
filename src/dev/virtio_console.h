/* SPDX-License-Identifier: MIT */
/* A virtio console with one port. */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "base/types.h"

struct pci_bus;
struct virtio_console;

/* The other end. Neither direction loses a byte. */
struct virtio_console_options {
	/* What the guest writes; must not block. May take fewer bytes than it is given, and then
	 * calls virtio_console_output_ready() when it can take more. */
	size_t (*output)(void *ctx, const u8 *bytes, size_t len);
	/* The guest has room for input again, after virtio_console_input() took less than it was
	 * given. May be NULL. */
	void (*ready)(void *ctx);
	void *ctx;
};

/* -errno: the slot is taken, or no memory. The bus owns *console. */
int virtio_console_plug(struct virtio_console **console, struct pci_bus *bus, unsigned slot);
/* Before a guest runs. */
void virtio_console_connect(struct virtio_console *console,
	const struct virtio_console_options *options);

/* ---- with the machine lock ---- */
/* Gives the guest input; returns how much it took. */
size_t virtio_console_input(struct virtio_console *console, const u8 *bytes, size_t len);
/* output() can take bytes again. */
void virtio_console_output_ready(struct virtio_console *console);

#endif
