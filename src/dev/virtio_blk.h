/* SPDX-License-Identifier: MIT */
/* A virtio block device over a raw disk. */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include "dev/disk_raw.h"

struct loop;
struct pci_bus;

struct virtio_blk_options {
	struct loop *loop;  /* completions arrive there, with the machine lock */
	struct disk disk;   /* opened; the device closes it when it goes, or when this call fails */
	const char *serial; /* what VIRTIO_BLK_T_GET_ID tells, up to 20 bytes; NULL: none */
};

/* -errno: the slot is taken, no memory, or no thread. */
int virtio_blk_plug(struct pci_bus *bus, unsigned slot, const struct virtio_blk_options *options);

#endif
